/* SPDX-License-Identifier: BSD-3-Clause */
#include "uio_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suite.h"

#define RING_DEFAULT (2u << 20)

const struct tree_kernel tree_kernels[] = {
    {"4.20.17", 4096, RING_DEFAULT, 4096, true, true, false},
    {"5.15.0-1089-azure", 4096, RING_DEFAULT, 4096, true, true, false},
    {"6.1.0-56-amd64", 4096, RING_DEFAULT, 4096, true, false, false},
    {"6.1.0-56-arm64", 65536, 512 * 65536u, 65536, true, false, false},
    {"6.12.95+deb12-amd64", 4096, 0x11000, 4096, true, false, true},
    {"6.16.3", 4096, 0x11000, 4096, false, true, true},
    {"6.18.0", 4096, 0x11000, 4096, false, false, true},
    {"6.18.0-64k", 65536, 0x20000, 4096, false, false, true},
};
const size_t tree_kernel_count = HV_TEST_COUNT(tree_kernels);

const struct tree_kernel *tree_kernel(const char *release)
{
    for (size_t i = 0; i < tree_kernel_count; i++)
        if (!strncmp(tree_kernels[i].release, release, strlen(release)))
            return &tree_kernels[i];
    abort();
}

/* ---- Files ---- */

static __attribute__((format(printf, 3, 0))) void
format_path(const struct tree *tree, char path[PATH_MAX], const char *format, va_list args)
{
    int length = snprintf(path, PATH_MAX, "%s/", tree->root);

    (void)vsnprintf(path + length, PATH_MAX - (size_t)length, format, args);
}

static void make_parents(char *path)
{
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        if (mkdir(path, 0700) && errno != EEXIST)
            abort();
        *slash = '/';
    }
}

static void put_file(char *path, const void *content, size_t bytes)
{
    int fd;

    make_parents(path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, content, bytes) != (ssize_t)bytes)
        abort();
    (void)close(fd);
}

void tree_put(struct tree *tree, const char *text, const char *path_format, ...)
{
    char path[PATH_MAX];
    va_list args;

    va_start(args, path_format);
    format_path(tree, path, path_format, args);
    va_end(args);
    put_file(path, text, strlen(text));
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void tree_remove(struct tree *tree, const char *path_format, ...)
{
    char path[PATH_MAX];
    va_list args;

    va_start(args, path_format);
    format_path(tree, path, path_format, args);
    va_end(args);
    if (nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) && errno != ENOENT)
        abort();
}

bool tree_has(const struct tree *tree, const char *path_format, ...)
{
    char path[PATH_MAX];
    va_list args;

    va_start(args, path_format);
    format_path(tree, path, path_format, args);
    va_end(args);
    return !access(path, F_OK);
}

/** A file of holes. */
static __attribute__((format(printf, 3, 4))) void put_sparse(struct tree *tree, uint64_t bytes,
                                                             const char *path_format, ...)
{
    char path[PATH_MAX];
    va_list args;

    va_start(args, path_format);
    format_path(tree, path, path_format, args);
    va_end(args);
    put_file(path, "", 0);
    if (truncate(path, (off_t)bytes))
        abort();
}

/* ---- A device ---- */

#define DEVICE "sys/bus/vmbus/devices/%s"

static void put_map(struct tree *tree, const struct tree_device *device, unsigned index,
                    const char *name, uint64_t bytes)
{
    char text[64];

    tree_put(tree, name, DEVICE "/uio/uio%u/maps/map%u/name", device->instance_id, device->number,
             index);
    (void)snprintf(text, sizeof(text), "0x%016llx\n", (unsigned long long)bytes);
    tree_put(tree, text, DEVICE "/uio/uio%u/maps/map%u/size", device->instance_id, device->number,
             index);
    tree_put(tree, "0x0\n", DEVICE "/uio/uio%u/maps/map%u/offset", device->instance_id,
             device->number, index);
}

static uint32_t ring_bytes_of(const struct tree *tree, const struct tree_device *device)
{
    if (strcmp(device->class_id, TREE_NETWORK))
        return tree->kernel->ring_bytes;
    /* from 6.10 on 2 MiB, before that 512 pages */
    return tree->env.kernel >= HV_UIO_KERNEL(6, 10, 0) ? RING_DEFAULT
                                                       : 512 * tree->kernel->page_bytes;
}

static void put_maps(struct tree *tree, const struct tree_device *device)
{
    bool network = !strcmp(device->class_id, TREE_NETWORK);

    tree_put(tree, "uio_hv_generic\n", DEVICE "/uio/uio%u/name", device->instance_id,
             device->number);
    put_map(tree, device, 0, "txrx_rings\n", 2 * (uint64_t)ring_bytes_of(tree, device));
    put_map(tree, device, 1, "int_page\n", tree->kernel->small_map_bytes);
    put_map(tree, device, 2, "monitor_page\n", tree->kernel->small_map_bytes);
    if (network || tree->kernel->buffers_for_all) {
        put_map(tree, device, 3, "recv:925200\n", 31u << 20);
        put_map(tree, device, 4, "send:925201\n", 16u << 20);
    }
    put_sparse(tree, 5 * TREE_MAP_STRIDE, "dev/uio%u", device->number);
}

static void put_number(struct tree *tree, const struct tree_device *device, const char *leaf,
                       uint32_t number)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%u\n", number);
    tree_put(tree, text, DEVICE "/%s", device->instance_id, leaf);
}

void tree_device(struct tree *tree, const struct tree_device *device)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "{%s}\n", device->instance_id);
    tree_put(tree, text, DEVICE "/device_id", device->instance_id);
    (void)snprintf(text, sizeof(text), "{%s}\n", device->class_id);
    tree_put(tree, text, DEVICE "/class_id", device->instance_id);
    put_number(tree, device, "id", device->relid);
    put_number(tree, device, "state", tree->env.kernel < HV_UIO_KERNEL(4, 20, 0) ? 3 : 2);
    if (device->monitor_id >= 0)
        put_number(tree, device, "monitor_id", (uint32_t)device->monitor_id);
    tree_put(tree, "0\n", DEVICE "/channels/%u/subchannel_id", device->instance_id, device->relid);
    tree_put(tree, "0\n", DEVICE "/channels/%u/cpu", device->instance_id, device->relid);
    put_maps(tree, device);
}

struct tree_device tree_network(int monitor_id)
{
    return (struct tree_device){
        .class_id = TREE_NETWORK,
        .instance_id = TREE_INSTANCE,
        .relid = 14,
        .number = 3,
        .monitor_id = monitor_id,
    };
}

void tree_sub(struct tree *tree, const struct tree_device *device, uint32_t relid, unsigned index,
              int monitor_id)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%u\n", index);
    tree_put(tree, text, DEVICE "/channels/%u/subchannel_id", device->instance_id, relid);
    if (monitor_id < 0)
        return;
    (void)snprintf(text, sizeof(text), "%d\n", monitor_id);
    tree_put(tree, text, DEVICE "/channels/%u/monitor_id", device->instance_id, relid);
}

void tree_sub_opened(struct tree *tree, const struct tree_device *device, uint32_t relid)
{
    tree_put(tree, "0\n", DEVICE "/channels/%u/in_mask", device->instance_id, relid);
    tree_put(tree, "0\n", DEVICE "/channels/%u/out_mask", device->instance_id, relid);
}

void tree_sub_ring(struct tree *tree, const struct tree_device *device, uint32_t relid,
                   uint32_t ring_bytes)
{
    put_sparse(tree, 2 * (uint64_t)ring_bytes, DEVICE "/channels/%u/ring", device->instance_id,
               relid);
}

struct hv_guid tree_instance(const struct tree_device *device)
{
    struct hv_guid guid = {0};

    CU_ASSERT(!hv_guid_parse(device->instance_id, &guid));
    return guid;
}

/* ---- Open ---- */

static int open_device(void *arg, const char *path, int *ret_map_fd, int *ret_event_fd)
{
    struct tree *tree = arg;
    int pair[2], fd, err = tree->open_error;

    if (err)
        return err;
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (tree->open_count == TREE_OPENS_MAX ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        abort();
    tree->opens[tree->open_count++] = pair[0];
    *ret_map_fd = fd;
    *ret_event_fd = pair[1];
    return 0;
}

static void keep_log(void *arg, enum hv_log_level level, const char *line)
{
    struct tree *tree = arg;
    size_t used = strlen(tree->log);

    (void)level;
    (void)snprintf(tree->log + used, sizeof(tree->log) - used, "%s\n", line);
}

static void count_event(void *arg, enum hv_vmbus_event event, const struct hv_guid *instance)
{
    struct tree *tree = arg;

    (void)instance;
    tree->told[event]++;
}

int tree_open(struct tree *tree, const char *address, struct hv_vmbus **ret_bus)
{
    struct hv_vmbus_opts opts = HV_VMBUS_OPTS_INIT;

    opts.log = (struct hv_log_hook){keep_log, tree};
    opts.timeout_ms = tree->timeout_ms;
    opts.event = count_event;
    opts.event_arg = tree;
    return hv_uio_vmbus_open(address, &opts, &tree->env, ret_bus);
}

void tree_init(struct tree *tree, const struct tree_kernel *kernel)
{
    int pair[2];

    *tree = (struct tree){.kernel = kernel, .timeout_ms = 50};
    (void)snprintf(tree->root, sizeof(tree->root), "/tmp/uio-tree-XXXXXX");
    if (!mkdtemp(tree->root) ||
        socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        abort();
    (void)signal(SIGPIPE, SIG_IGN); /* a write to a dead device is an error here, too */
    (void)snprintf(tree->sysfs, sizeof(tree->sysfs), "%s/sys", tree->root);
    (void)snprintf(tree->dev, sizeof(tree->dev), "%s/dev", tree->root);
    (void)snprintf(tree->proc, sizeof(tree->proc), "%s/proc", tree->root);
    tree->uevent_fd = pair[0];
    tree->env = (struct hv_uio_env){
        .sysfs = tree->sysfs,
        .dev = tree->dev,
        .proc = tree->proc,
        .page_bytes = kernel->page_bytes,
        .map_stride = TREE_MAP_STRIDE,
        .kernel = hv_uio_parse_kernel(kernel->release),
        .file_flags = MFD_CLOEXEC,
        .uevent_fd = pair[1],
        .open_device = open_device,
        .arg = tree,
    };
    for (unsigned i = 0; i < TREE_OPENS_MAX; i++)
        tree->opens[i] = -1;
    tree_put(tree, "", "sys/bus/vmbus/devices/.keep");
    tree_put(tree, "", "dev/.keep");
}

void tree_fini(struct tree *tree)
{
    tree_die(tree);
    (void)close(tree->uevent_fd);
    tree_remove(tree, "%s", "");
}

/* ---- The host's side ---- */

static void map_file(struct tree *tree, const char *path, uint32_t ring_bytes,
                     struct hv_ring_area *ret_to_host, struct hv_ring_area *ret_to_guest)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0 || hv_ring_map_device(fd, 0, tree->kernel->page_bytes, ring_bytes, ring_bytes,
                                     ret_to_host, ret_to_guest))
        abort();
    (void)close(fd);
}

void tree_map_rings(struct tree *tree, const struct tree_device *device,
                    struct hv_ring_area *ret_to_host, struct hv_ring_area *ret_to_guest)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/uio%u", tree->dev, device->number);
    map_file(tree, path, ring_bytes_of(tree, device), ret_to_host, ret_to_guest);
}

void tree_map_sub_rings(struct tree *tree, const struct tree_device *device, uint32_t relid,
                        struct hv_ring_area *ret_to_host, struct hv_ring_area *ret_to_guest)
{
    char path[PATH_MAX];
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/bus/vmbus/devices/%s/channels/%u/ring", tree->sysfs,
                   device->instance_id, relid);
    if (stat(path, &st))
        abort();
    map_file(tree, path, (uint32_t)(st.st_size / 2), ret_to_host, ret_to_guest);
}

struct hv_monitor_page *tree_map_monitor(struct tree *tree, const struct tree_device *device)
{
    char path[PATH_MAX];
    void *at;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/uio%u", tree->dev, device->number);
    fd = open(path, O_RDWR | O_CLOEXEC);
    at = mmap(NULL, sizeof(struct hv_monitor_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
              2 * TREE_MAP_STRIDE);
    if (at == MAP_FAILED)
        abort();
    (void)close(fd);
    return at;
}

void tree_unmap_monitor(struct hv_monitor_page *page)
{
    (void)munmap(page, sizeof(*page));
}

void tree_interrupt(struct tree *tree)
{
    tree->events++;
    for (unsigned i = 0; i < tree->open_count; i++)
        if (tree->opens[i] >= 0)
            (void)!send(tree->opens[i], &tree->events, sizeof(tree->events), MSG_DONTWAIT);
}

unsigned tree_writes(struct tree *tree)
{
    unsigned count = 0;

    for (unsigned i = 0; i < tree->open_count; i++) {
        uint8_t got[8];
        ssize_t bytes;

        while (tree->opens[i] >= 0 &&
               (bytes = recv(tree->opens[i], got, sizeof(got), MSG_DONTWAIT)) > 0) {
            CU_ASSERT(bytes == 4 && got[0] == 1 && !got[1] && !got[2] && !got[3]);
            count++;
        }
    }
    return count;
}

void tree_die(struct tree *tree)
{
    for (unsigned i = 0; i < tree->open_count; i++) {
        if (tree->opens[i] >= 0)
            (void)close(tree->opens[i]);
        tree->opens[i] = -1;
    }
    tree->open_count = 0;
}

void tree_uevent(struct tree *tree, const char *subsystem)
{
    char text[256];
    int length = snprintf(text, sizeof(text), "add@/devices/x%cACTION=add%cSUBSYSTEM=%s%cSEQNUM=9",
                          0, 0, subsystem, 0);

    CU_ASSERT(send(tree->uevent_fd, text, (size_t)length + 1, 0) == length + 1);
}

/* ---- Packets ---- */

void tree_send(struct hv_ring_tx *tx, uint64_t id, uint64_t word, uint32_t words)
{
    struct hv_packet_desc desc = {
        .trans_id = id,
        .type = HV_PACKET_INBAND,
        .payload_bytes = words * 8,
    };
    struct hv_packet_slot slot;
    uint64_t *payload;

    if (hv_ring_tx_reserve(tx, &desc, &slot)) {
        CU_FAIL("no room for a packet of the host");
        return;
    }
    payload = slot.payload;
    for (uint32_t i = 0; i < words; i++)
        payload[i] = word;
    (void)hv_ring_tx_publish(tx);
}

bool tree_take(struct hv_ring_rx *rx, uint64_t id, uint64_t word, uint32_t words)
{
    struct hv_packet packet;
    const uint64_t *payload;
    bool same;

    if (hv_ring_rx_peek(rx, &packet))
        return false;
    payload = packet.payload;
    same = packet.trans_id == id && packet.payload_bytes == words * 8;
    for (uint32_t i = 0; same && i < words; i++)
        same = payload[i] == word;
    (void)hv_ring_rx_release(rx);
    return same;
}

/* ---- This process ---- */

bool tree_fd_readable(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    return poll(&pfd, 1, 0) == 1;
}

unsigned tree_count_fds(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

unsigned tree_count_maps(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned count = 0;

    while (maps && fgets(line, sizeof(line), maps))
        count += strstr(line, "uio-tree-") != NULL;
    if (maps)
        (void)fclose(maps);
    return count;
}
