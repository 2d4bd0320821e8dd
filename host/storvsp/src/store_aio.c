/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The direct way of a file store: O_DIRECT through the kernel's asynchronous I/O.
 *
 * One context per queue.  A command carries its own control block; what was started since the last flush goes to the
 * kernel with one io_submit().  Completions are read from the ring that the kernel shares with us, without a system
 * call; each one also counts on the queue's eventfd, for a thread that sleeps.  The eventfd is read only by a poll that
 * found nothing, so that a busy queue does not pay for it.
 *
 * io_submit() may block: where the file system must allocate blocks or take a lock that a truncate or hole punch holds,
 * and when the device's request queue is full.  That is the worker's time; a disk that must never wait for it is given
 * a pre-allocated image or a block device.
 *
 * Data goes straight from and to guest memory where the device's alignment allows it.  Where it does not (a guest may
 * use any 2-byte aligned address) it is copied through one of the queue's bounce buffers, in pieces of their size.
 */
#include "disk_impl.h"

#include <errno.h>
#include <libaio.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/log.h>

#define RING_MAGIC 0xa10a10a1u
#define REAP_MAX   1024u /* completions in one poll, so that it ends */

_Static_assert(sizeof(struct iocb) <= sizeof(((struct hv_scsi_command *)0)->impl.aio),
               "a command has room for its control block");

/* The completion ring at the context's address (Linux fs/aio.c). */
struct completion_ring {
    unsigned id, nr;
    unsigned head; /* ours */
    unsigned tail; /* the kernel's */
    unsigned magic, compat_features, incompat_features, header_length;
    struct io_event event[];
};
_Static_assert(sizeof(struct completion_ring) == 32, "aio ring header");

struct aio_queue {
    io_context_t context;
    struct completion_ring *ring; /* NULL: a layout we do not know, use io_getevents() */
    uint32_t in_kernel;
    uint32_t staged;               /* in `stage`, not yet submitted */
    struct hv_command_list failed; /* refused by io_submit(), completed by the next poll */
    struct iocb *stage[];
};

static bool is_aligned(const struct hv_store_file *file, const struct iovec *iov, size_t count,
                       size_t *ret_bytes)
{
    uintptr_t bits = 0;
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
        bytes += iov[i].iov_len;
    }
    *ret_bytes = bytes;
    return !(bits & (file->memory_align - 1));
}

/*
 * The pieces that can go to the kernel as they are: aligned, from the start of one on, no more than the kernel takes,
 * and none longer than the transfer.  0 pieces: bounce.
 */
static size_t direct_pieces(const struct hv_store_file *file, const struct hv_store_io *io)
{
    const struct hv_iov_cursor *c = &io->data;
    size_t count = c->count - c->index;
    size_t bytes;

    if (c->offset || !count)
        return 0;
    if (count > IOV_MAX)
        count = IOV_MAX;
    if (!is_aligned(file, c->iov + c->index, count, &bytes))
        return 0;
    return bytes && bytes <= io->length && !(bytes & (file->offset_align - 1)) ? count : 0;
}

static void stage(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct aio_queue *aio = queue->store;
    struct iocb *iocb = (struct iocb *)command->impl.aio;

    iocb->data = command;
    io_set_eventfd(iocb, queue->fd);
    aio->stage[aio->staged++] = iocb;
}

/* False: no bounce buffer. */
static bool prepare(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    const struct hv_store_file *file = queue->disk->store;
    struct hv_store_io *io = &command->impl.io;
    struct iocb *iocb = (struct iocb *)command->impl.aio;
    bool writing = io->op == HV_STORE_WRITE;
    long long offset = (long long)io->offset;
    size_t pieces;

    io->bounced = false;
    if (io->op == HV_STORE_SYNC) {
        io_prep_fdsync(iocb, file->fd);
        return true;
    }
    if (io->buffer) { /* a bounce buffer or page aligned memory */
        (writing ? io_prep_pwrite : io_prep_pread)(iocb, file->fd, io->buffer, io->length, offset);
    } else if ((pieces = direct_pieces(file, io)) != 0) {
        (writing ? io_prep_pwritev : io_prep_preadv)(iocb, file->fd, io->data.iov + io->data.index,
                                                     (int)pieces, offset);
    } else {
        size_t bytes = hv_min_u64(io->length, HV_DISK_BOUNCE_BYTES);

        command->impl.buffer = hv_disk_get_bounce(queue);
        if (!command->impl.buffer)
            return false;
        io->bounced = true;
        if (writing) {
            struct hv_iov_cursor from = io->data;

            (void)hv_iov_read(&from, command->impl.buffer, bytes);
        }
        (writing ? io_prep_pwrite : io_prep_pread)(iocb, file->fd, command->impl.buffer, bytes,
                                                   offset);
    }
    io->is_durable = writing && io->want_durable && !file->no_dsync;
    iocb->aio_rw_flags = io->is_durable ? RWF_DSYNC : 0;
    return true;
}

static bool aio_start(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct aio_queue *aio = queue->store;

    if (aio->in_kernel + aio->staged >= queue->depth || !prepare(queue, command))
        hv_disk_wait(queue, command);
    else
        stage(queue, command);
    return false;
}

static void aio_flush(struct hv_disk_queue *queue)
{
    struct aio_queue *aio = queue->store;
    uint32_t done = 0;

    while (done < aio->staged) {
        int n = io_submit(aio->context, (long)(aio->staged - done), aio->stage + done);

        if (n > 0) {
            done += (uint32_t)n;
            aio->in_kernel += (uint32_t)n;
            continue;
        }
        if (n == -EINTR)
            continue;
        if (n == -EAGAIN || n == 0) {
            if (!aio->in_kernel)
                hv_gate_kick(queue); /* no completion will bring the owner back here */
            break;
        }
        /* The first one is wrong in itself. */
        struct hv_scsi_command *command = aio->stage[done++]->data;

        command->impl.io.result = n;
        hv_command_list_push(&aio->failed, command);
        hv_gate_kick(queue);
    }
    if (done && done < aio->staged)
        memmove(aio->stage, aio->stage + done, (aio->staged - done) * sizeof(*aio->stage));
    aio->staged -= done;
}

/* One transfer came back. */
static void complete(struct hv_disk_queue *queue, struct hv_scsi_command *command, int64_t result)
{
    struct hv_store_file *file = queue->disk->store;
    struct hv_store_io *io = &command->impl.io;

    if (io->op == HV_STORE_SYNC) {
        /* Kernels before 4.18 have no asynchronous sync. */
        if (result == -EINVAL)
            result = fdatasync(file->fd) ? -errno : 0;
        result = hv_store_file_sync_result(file, result);
    }
    if (io->bounced) {
        if (io->op == HV_STORE_READ && result > 0) {
            struct hv_iov_cursor to = io->data;

            (void)hv_iov_write(&to, command->impl.buffer, (size_t)result);
        }
        hv_disk_put_bounce(queue, command->impl.buffer);
        command->impl.buffer = NULL;
    }
    if (io->is_durable && (result == -EOPNOTSUPP || result == -EINVAL)) {
        file->no_dsync = true;
        (void)aio_start(queue, command);
        return;
    }
    /* What was moved in part goes on at a boundary that direct I/O can start from. */
    if (result > 0 && (uint64_t)result < io->length)
        result &= ~(int64_t)(queue->disk->block_bytes - 1);
    io->result = result;
    hv_disk_continue(queue, command);
}

static bool next_event(struct aio_queue *aio, struct io_event *event)
{
    struct completion_ring *ring = aio->ring;
    struct timespec zero = {0};
    unsigned head;

    if (!ring)
        return io_getevents(aio->context, 0, 1, event, &zero) == 1;
    head = ring->head;
    if (head == __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE))
        return false;
    *event = ring->event[head];
    __atomic_store_n(&ring->head, head + 1 == ring->nr ? 0 : head + 1, __ATOMIC_RELEASE);
    return true;
}

static void aio_reap(struct hv_disk_queue *queue)
{
    struct aio_queue *aio = queue->store;
    struct hv_scsi_command *command;
    struct io_event event;

    while ((command = hv_command_list_pop(&aio->failed)) != NULL)
        complete(queue, command, command->impl.io.result);
    for (uint32_t n = 0; n < REAP_MAX && next_event(aio, &event); n++) {
        aio->in_kernel--;
        queue->events_seen++;
        complete(queue, event.data, (int64_t)event.res);
    }
}

static void aio_queue_fini(struct hv_disk_queue *queue)
{
    struct aio_queue *aio = queue->store;

    if (!aio)
        return;
    if (aio->context)
        (void)io_destroy(aio->context);
    free(aio);
    queue->store = NULL;
}

static int aio_queue_init(struct hv_disk_queue *queue)
{
    struct aio_queue *aio = calloc(1, sizeof(*aio) + queue->depth * sizeof(aio->stage[0]));
    int err;

    if (!aio)
        return -ENOMEM;
    queue->store = aio;
    hv_command_list_init(&aio->failed);
    err = io_setup((int)queue->depth, &aio->context);
    if (err) {
        aio->context = NULL;
        hv_log(&queue->disk->log, HV_LOG_ERROR,
               "no asynchronous I/O context for %u requests: %s (see fs.aio-max-nr)", queue->depth,
               strerror(-err));
        return err;
    }
    aio->ring = (struct completion_ring *)aio->context;
    if (aio->ring->magic != RING_MAGIC || aio->ring->incompat_features)
        aio->ring = NULL;
    return 0;
}

const struct hv_store_ops hv_store_aio_ops = {
    .start = aio_start,
    .discard = hv_store_file_discard,
    .zero = hv_store_file_zero,
    .extent = hv_store_file_extent,
    .resize = hv_store_file_resize,
    .close = hv_store_file_close,
    .queue_init = aio_queue_init,
    .queue_fini = aio_queue_fini,
    .flush = aio_flush,
    .reap = aio_reap,
};
