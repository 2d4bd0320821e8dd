/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The least that a ublk server can do: one queue, every request is done as soon as it is told.  Nothing is checked,
 * counted or moved but by the kernel.  What hvblk-daemon takes beyond that is its own.
 *
 *   ublknull ID [DEPTH]     1 GiB at /dev/ublkbID; prints "ready"; ends with SIGTERM
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ublk_wire.h>

#define DISK_BYTES (UINT64_C(1) << 30)
#define IO_BYTES   (256u << 10)
#define DEPTH      64u

struct null_disk {
    struct ublkw_info info;
    int control_fd, queue_fd;
    struct io_uring control, queue;
    const struct ublkw_desc *descs;
    size_t desc_bytes;
    uint8_t *data;
    sem_t fetched;
};

_Noreturn static void fail(const char *what, int error)
{
    (void)fprintf(stderr, "ublknull: %s: %s\n", what, strerror(error < 0 ? -error : error));
    exit(1);
}

static void *check(const char *what, void *address)
{
    if (!address || address == MAP_FAILED)
        fail(what, errno);
    return address;
}

/** Rings are as large as what is under way in them. */
static struct io_uring_sqe *free_entry(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    if (!sqe)
        fail("ring", ENOSPC);
    return sqe;
}

/* ---- Control ---- */

static void control(struct null_disk *disk, const char *what, unsigned long op, void *data,
                    size_t bytes, uint64_t value)
{
    struct io_uring_sqe *sqe = free_entry(&disk->control);
    const struct ublkw_control wire = {.device = disk->info.device,
                                       .queue = UBLKW_NO_QUEUE,
                                       .bytes = (uint16_t)bytes,
                                       .address = (uintptr_t)data,
                                       .value = value};
    struct io_uring_cqe *cqe;
    int ret;

    memset(sqe, 0, 2 * sizeof(*sqe));
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = disk->control_fd;
    sqe->cmd_op = (uint32_t)op;
    memcpy(sqe->cmd, &wire, sizeof(wire));
    ret = io_uring_submit_and_wait(&disk->control, 1);
    if (ret >= 0)
        ret = io_uring_wait_cqe(&disk->control, &cqe);
    if (ret < 0)
        fail(what, ret);
    ret = cqe->res;
    io_uring_cqe_seen(&disk->control, cqe);
    if (ret < 0)
        fail(what, ret);
}

static void make(struct null_disk *disk)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SQE128};
    struct ublkw_params p = {
        .bytes = offsetof(struct ublkw_params, discard),
        .types = UBLKW_PARAM_BASIC,
        .basic = {.logical_shift = 9,
                  .physical_shift = 12,
                  .optimal_shift = 12,
                  .minimum_shift = 12,
                  .max_sectors = IO_BYTES / 512,
                  .sectors = DISK_BYTES / 512},
    };
    int ret;

    disk->control_fd = open(UBLKW_CONTROL_PATH, O_RDWR | O_CLOEXEC);
    if (disk->control_fd < 0)
        fail(UBLKW_CONTROL_PATH, errno);
    ret = io_uring_queue_init_params(4, &disk->control, &params);
    if (ret)
        fail("io_uring", ret);
    control(disk, "add", UBLKW_ADD, &disk->info, sizeof(disk->info), 0);
    control(disk, "parameters", UBLKW_SET_PARAMS, &p, p.bytes, 0);
}

/* ---- Queue ---- */

static void command(struct null_disk *disk, unsigned long op, uint16_t tag, int result)
{
    struct io_uring_sqe *sqe = free_entry(&disk->queue);
    const struct ublkw_io wire = {
        .tag = tag, .result = result, .address = (uintptr_t)(disk->data + (size_t)tag * IO_BYTES)};

    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = disk->queue_fd;
    sqe->cmd_op = (uint32_t)op;
    memcpy(sqe->cmd, &wire, sizeof(wire));
    sqe->user_data = tag;
}

static void *serve(void *arg)
{
    struct null_disk *disk = arg;
    struct io_uring_params params = {.flags =
                                         IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    unsigned left = disk->info.depth;
    int ret = io_uring_queue_init_params(disk->info.depth, &disk->queue, &params);

    if (ret)
        fail("io_uring", ret);
    for (uint16_t tag = 0; tag < disk->info.depth; tag++)
        command(disk, UBLKW_FETCH, tag, 0);
    (void)io_uring_submit(&disk->queue);
    (void)sem_post(&disk->fetched);
    while (left) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;

        (void)io_uring_submit_and_wait(&disk->queue, 1);
        io_uring_for_each_cqe(&disk->queue, head, cqe)
        {
            uint16_t tag = (uint16_t)cqe->user_data;

            if (cqe->res < 0)
                left--;
            else
                command(disk, UBLKW_COMMIT_FETCH, tag, (int)disk->descs[tag].sectors << 9);
            count++;
        }
        io_uring_cq_advance(&disk->queue, count);
    }
    io_uring_queue_exit(&disk->queue);
    return NULL;
}

/** udev may hold the node for a moment. */
static void open_queue(struct null_disk *disk)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char path[32];

    (void)snprintf(path, sizeof(path), "/dev/ublkc%u", disk->info.device);
    do
        disk->queue_fd = open(path, O_RDWR | O_CLOEXEC);
    while (disk->queue_fd < 0 && (errno == EBUSY || errno == ENOENT));
    if (disk->queue_fd < 0)
        fail(path, errno);
    disk->desc_bytes = (disk->info.depth * sizeof(*disk->descs) + page - 1) / page * page;
    disk->descs = check("descriptors", mmap(NULL, disk->desc_bytes, PROT_READ,
                                            MAP_SHARED | MAP_POPULATE, disk->queue_fd, 0));
    disk->data =
        check("memory", mmap(NULL, (size_t)disk->info.depth * IO_BYTES, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
}

int main(int argc, char **argv)
{
    static struct null_disk disk;
    pthread_t thread;
    sigset_t set;
    int number;

    if (argc < 2) {
        (void)fprintf(stderr, "usage: ublknull ID [DEPTH]\n");
        return 2;
    }
    disk.info = (struct ublkw_info){
        .queues = 1,
        .depth = (uint16_t)(argc > 2 ? strtoul(argv[2], NULL, 10) : DEPTH),
        .max_io_bytes = IO_BYTES,
        .device = (uint32_t)strtoul(argv[1], NULL, 10),
        .flags = UBLKW_F_IOCTL,
    };
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)sem_init(&disk.fetched, 0, 0);
    make(&disk);
    open_queue(&disk);
    if (pthread_create(&thread, NULL, serve, &disk))
        fail("thread", EAGAIN);
    (void)sem_wait(&disk.fetched);
    control(&disk, "start", UBLKW_START, NULL, 0, (uint64_t)getpid());
    (void)puts("ready");
    (void)fflush(stdout);
    (void)sigwait(&set, &number);
    control(&disk, "stop", UBLKW_STOP, NULL, 0, 0);
    (void)pthread_join(thread, NULL);
    (void)munmap((void *)(uintptr_t)disk.descs, disk.desc_bytes);
    (void)close(disk.queue_fd);
    control(&disk, "delete", UBLKW_DELETE, NULL, 0, 0);
    return 0;
}
