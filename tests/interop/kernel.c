/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernel.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fcntl.h>
#include <hv/wire/guid.h>
#include <hv/wire/ring.h>

#include "connection.h"

#define RING_BYTES    (2u << 20) /* of one direction, control page included */
#define RECEIVE_BYTES (31u << 20)
#define SEND_BYTES    (16u << 20)
#define DEVICES       16
#define SUBS          64
#define OPENS         256                 /* of one device at a time */
#define FIRST_PFN     (UINT64_C(1) << 38) /* above any memory of a machine */
#define FIRST_GPADL   0xe1e10u

struct channel {
    struct kernel_device *device;
    uint32_t relid;
    uint32_t index;
    int monitor_id; /* -1 = none */
    int signal_fd, event_fd;
    int ring_fd;
    uint8_t *ring; /* both, guest to host first */
    uint64_t pfn;
    uint32_t gpadl;
    atomic_bool open;
    atomic_bool rescinded;
};

struct kernel_device {
    char guid[37];
    unsigned number;
    struct channel primary;
    struct channel sub[SUBS]; /* those that were offered */
    unsigned sub_count;
    int buffer_fd; /* receive, then send */
    uint64_t buffer_pfn;
    uint32_t receive_gpadl, send_gpadl;
    _Atomic int event_fd[OPENS]; /* interrupts of all channels, one counter an open; 0 = free */
    unsigned opens;
};

/* Class of network devices, as bytes of the offer. */
static const uint8_t network_class[16] = {0x63, 0x51, 0x61, 0xf8, 0x3e, 0xdf, 0xc5, 0x46,
                                          0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e};

static struct kernel_device devices[DEVICES];
static unsigned device_count;
static const char *sysfs_path;
static int page_fd; /* interrupt page, monitor pages host to guest and guest to host */
static uint64_t page_pfn;
static uint64_t next_pfn = FIRST_PFN;
static uint32_t next_gpadl = FIRST_GPADL;
static int epoll_fd, work_fd;
static bool serving; /* bound: later offers are sub-channels */
static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* who opens and closes; waits for the host */
static pthread_mutex_t offer_lock = PTHREAD_MUTEX_INITIALIZER; /* the lists; never waits */

void kernel_panic(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "interop: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    _exit(99);
}

/* ---- Memory ---- */

static int new_memory(size_t bytes, uint64_t *ret_pfn)
{
    int fd = memfd_create("interop", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int err;

    if (fd < 0 || ftruncate(fd, (off_t)bytes) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
        kernel_panic("no memory: %s", strerror(errno));
    *ret_pfn = next_pfn;
    next_pfn += bytes / HV_PAGE_BYTES + 1;
    err = connection_memory_add(*ret_pfn, bytes / HV_PAGE_BYTES, fd, 0);
    if (err)
        kernel_panic("the host refuses memory: %s", strerror(-err));
    return fd;
}

static uint32_t new_gpadl(const struct channel *channel, uint64_t pfn, size_t bytes)
{
    uint32_t gpadl = next_gpadl++;
    int err =
        connection_gpadl_create(channel->relid, gpadl, pfn, (uint32_t)(bytes / HV_PAGE_BYTES));

    if (err)
        kernel_panic("the host refuses a GPADL: %d", err);
    return gpadl;
}

int kernel_memory_add(uint64_t pfn, uint64_t pages, int fd, off_t offset)
{
    return connection_memory_add(pfn, pages, fd, (uint64_t)offset);
}

void kernel_memory_remove(uint64_t pfn, uint64_t pages)
{
    connection_memory_remove(pfn, pages);
}

/* ---- Channels ---- */

static void set_up_ring(struct channel *channel)
{
    channel->ring_fd = new_memory(2 * RING_BYTES, &channel->pfn);
    channel->ring =
        mmap(NULL, 2 * RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, channel->ring_fd, 0);
    if (channel->ring == MAP_FAILED)
        kernel_panic("no ring");
}

static struct hv_ring_control *incoming(const struct channel *channel)
{
    return (struct hv_ring_control *)(void *)(channel->ring + RING_BYTES);
}

static struct hv_ring_control *outgoing(const struct channel *channel)
{
    return (struct hv_ring_control *)(void *)channel->ring;
}

static int open_channel(struct channel *channel)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = channel};
    int err;

    memset(incoming(channel), 0, HV_PAGE_BYTES);
    memset(outgoing(channel), 0, HV_PAGE_BYTES);
    atomic_store(&incoming(channel)->feature_bits, HV_RING_FEATURE_PENDING_SEND_SIZE);
    atomic_store(&outgoing(channel)->feature_bits, HV_RING_FEATURE_PENDING_SEND_SIZE);
    channel->gpadl = new_gpadl(channel, channel->pfn, 2 * RING_BYTES);
    err =
        connection_open(channel->relid, channel->gpadl, RING_BYTES / HV_PAGE_BYTES, channel->index);
    if (err)
        return err < 0 ? err : -EIO;
    atomic_store(&channel->open, true);
    (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, channel->event_fd, &event);
    return 0;
}

static void close_channel(struct channel *channel)
{
    if (!atomic_exchange(&channel->open, false))
        return;
    (void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, channel->event_fd, NULL);
    if (!atomic_load(&channel->rescinded))
        connection_close_channel(channel->relid);
    (void)connection_gpadl_teardown(channel->relid, channel->gpadl);
}

static void publish(const struct channel *channel)
{
    const struct kernel_sysfs_channel shown = {
        .relid = channel->relid,
        .sub_channel = channel->index,
        .monitor_id = channel->monitor_id,
        .ring_fd = channel->ring_fd,
    };

    sysfs_add_channel(sysfs_path, channel->device->guid, &shown);
}

/* ---- What the host offers: the reader's thread ---- */

static void fill(struct channel *channel, struct kernel_device *device,
                 const struct hv_msg_offer *offer, int signal_fd, int event_fd)
{
    channel->device = device;
    channel->relid = offer->relid;
    channel->index = offer->sub_channel_index;
    channel->monitor_id = offer->monitor_allocated & 1 ? offer->monitor_id : -1;
    channel->signal_fd = signal_fd;
    channel->event_fd = event_fd;
}

static void guid_text(const struct hv_guid *guid, char text[37])
{
    const uint8_t *b = guid->b;

    (void)snprintf(text, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12],
                   b[13], b[14], b[15]);
}

void kernel_offered(const struct hv_msg_offer *offer, int signal_fd, int event_fd)
{
    const uint64_t one = 1;
    char guid[37];

    guid_text(&offer->instance_id, guid);
    if (memcmp(&offer->class_id, network_class, sizeof(network_class)) != 0)
        return; /* another driver's */
    (void)pthread_mutex_lock(&offer_lock);
    if (!offer->sub_channel_index && !serving && device_count < DEVICES) {
        struct kernel_device *device = &devices[device_count];

        device->number = device_count++;
        memcpy(device->guid, guid, sizeof(guid));
        fill(&device->primary, device, offer, signal_fd, event_fd);
    }
    for (unsigned i = 0; offer->sub_channel_index && i < device_count; i++) {
        struct kernel_device *device = &devices[i];

        if (strcmp(device->guid, guid) != 0 || device->sub_count == SUBS)
            continue;
        fill(&device->sub[device->sub_count], device, offer, signal_fd, event_fd);
        device->sub_count++;
        (void)!write(work_fd, &one, sizeof(one));
    }
    (void)pthread_mutex_unlock(&offer_lock);
}

static void tell(struct kernel_device *device)
{
    for (unsigned i = 0; i < OPENS; i++) {
        int fd = atomic_load(&device->event_fd[i]);

        if (fd)
            (void)eventfd_write(fd, 1); /* write() to it would be taken for the program's */
    }
}

void kernel_rescind(uint32_t relid)
{
    for (unsigned i = 0; i < device_count; i++) {
        struct kernel_device *device = &devices[i];

        for (unsigned j = 0; j < device->sub_count; j++) {
            if (device->sub[j].relid == relid)
                atomic_store(&device->sub[j].rescinded, true);
        }
        if (device->primary.relid == relid) {
            atomic_store(&device->primary.rescinded, true);
            tell(device);
        }
    }
}

void kernel_host_gone(void)
{
    for (unsigned i = 0; i < device_count; i++) {
        atomic_store(&devices[i].primary.rescinded, true);
        tell(&devices[i]);
    }
}

/* ---- The kernel's own thread: interrupts and sub-channels ---- */

static void open_new_subs(void)
{
    for (unsigned i = 0; i < device_count; i++) {
        struct kernel_device *device = &devices[i];

        for (unsigned j = 0; device->opens && j < device->sub_count; j++) {
            struct channel *sub = &device->sub[j];

            if (atomic_load(&sub->open) || atomic_load(&sub->rescinded))
                continue;
            if (!sub->ring)
                set_up_ring(sub);
            if (!open_channel(sub))
                publish(sub);
        }
    }
}

static void *serve(void *arg)
{
    struct epoll_event events[16];

    (void)arg;
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 16, -1);

        for (int i = 0; i < n; i++) {
            struct channel *channel = events[i].data.ptr;
            uint64_t count;

            if (channel) {
                (void)!read(channel->event_fd, &count, sizeof(count));
                tell(channel->device);
                continue;
            }
            (void)!read(work_fd, &count, sizeof(count));
            (void)pthread_mutex_lock(&lock);
            open_new_subs();
            (void)pthread_mutex_unlock(&lock);
        }
    }
    return NULL;
}

/* ---- For the program ---- */

struct kernel_device *kernel_device(unsigned number)
{
    return number < device_count ? &devices[number] : NULL;
}

static int new_event(struct kernel_device *device)
{
    for (unsigned i = 0; i < OPENS; i++) {
        if (atomic_load(&device->event_fd[i]))
            continue;
        atomic_store(&device->event_fd[i], eventfd(0, EFD_CLOEXEC));
        return atomic_load(&device->event_fd[i]);
    }
    return -EMFILE;
}

int kernel_open(struct kernel_device *device)
{
    int fd = -ENODEV;

    (void)pthread_mutex_lock(&lock);
    if (!atomic_load(&device->primary.rescinded))
        fd = device->opens ? 0 : open_channel(&device->primary);
    if (!fd)
        fd = new_event(device);
    if (fd > 0 && device->opens++ == 0)
        sysfs_set_open(sysfs_path, device->guid, true);
    (void)pthread_mutex_unlock(&lock);
    return fd;
}

void kernel_close(struct kernel_device *device, int fd)
{
    unsigned count;

    (void)pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < OPENS; i++) {
        if (atomic_load(&device->event_fd[i]) == fd)
            atomic_store(&device->event_fd[i], 0);
    }
    if (--device->opens == 0) {
        (void)pthread_mutex_lock(&offer_lock);
        count = device->sub_count;
        (void)pthread_mutex_unlock(&offer_lock);
        for (unsigned i = 0; i < count; i++) {
            struct channel *sub = &device->sub[i];

            close_channel(sub);
            sysfs_remove_channel(sysfs_path, device->guid, sub->relid);
            connection_relid_released(sub->relid);
            if (!sub->ring)
                continue;
            (void)munmap(sub->ring, 2 * RING_BYTES);
            (void)close(sub->ring_fd);
        }
        (void)pthread_mutex_lock(&offer_lock);
        device->sub_count -= count; /* one that was offered meanwhile is the next open's */
        memmove(device->sub, device->sub + count, device->sub_count * sizeof(device->sub[0]));
        memset(device->sub + device->sub_count, 0, count * sizeof(device->sub[0]));
        (void)pthread_mutex_unlock(&offer_lock);
        close_channel(&device->primary);
        sysfs_set_open(sysfs_path, device->guid, false);
    }
    (void)pthread_mutex_unlock(&lock);
}

bool kernel_rescinded(const struct kernel_device *device)
{
    return atomic_load(&device->primary.rescinded);
}

static void signal_host(const struct channel *channel)
{
    const uint64_t one = 1;

    if (channel->monitor_id < 0)
        (void)!write(channel->signal_fd, &one, sizeof(one));
}

void kernel_irqcontrol(struct kernel_device *device, int32_t on)
{
    (void)pthread_mutex_lock(&lock);
    for (unsigned i = 0; i <= device->sub_count; i++) {
        struct channel *channel = i ? &device->sub[i - 1] : &device->primary;

        if (!atomic_load(&channel->open))
            continue;
        atomic_store(&incoming(channel)->interrupt_mask, on ? 0 : 1);
        if (on)
            signal_host(channel);
    }
    (void)pthread_mutex_unlock(&lock);
}

bool kernel_map(const struct kernel_device *device, unsigned number, int *ret_fd, off_t *ret_offset,
                size_t *ret_bytes)
{
    const struct {
        int fd;
        size_t offset, bytes;
    } maps[KERNEL_UIO_MAPS] = {
        {device->primary.ring_fd, 0, 2 * RING_BYTES},   {page_fd, 0, HV_PAGE_BYTES},
        {page_fd, 2 * HV_PAGE_BYTES, HV_PAGE_BYTES},    {device->buffer_fd, 0, RECEIVE_BYTES},
        {device->buffer_fd, RECEIVE_BYTES, SEND_BYTES},
    };

    if (number >= KERNEL_UIO_MAPS)
        return false;
    *ret_fd = maps[number].fd;
    *ret_offset = (off_t)maps[number].offset;
    *ret_bytes = maps[number].bytes;
    return true;
}

/* ---- Start ---- */

/** What uio_hv_generic does when it is bound: rings, and two buffers under GPADLs. */
static void bind_device(struct kernel_device *device)
{
    struct kernel_sysfs_device shown = {
        .number = device->number,
        .class_guid = "f8615163-df3e-46c5-913f-f2d2f965ed0e",
        .relid = device->primary.relid,
        .monitor_id = device->primary.monitor_id,
        .map = {{"txrx_rings", 2 * RING_BYTES},
                {"int_page", HV_PAGE_BYTES},
                {"monitor_page", HV_PAGE_BYTES},
                {"", RECEIVE_BYTES},
                {"", SEND_BYTES}},
    };

    set_up_ring(&device->primary);
    device->buffer_fd = new_memory(RECEIVE_BYTES + SEND_BYTES, &device->buffer_pfn);
    device->receive_gpadl = new_gpadl(&device->primary, device->buffer_pfn, RECEIVE_BYTES);
    device->send_gpadl =
        new_gpadl(&device->primary, device->buffer_pfn + RECEIVE_BYTES / HV_PAGE_BYTES, SEND_BYTES);
    memcpy(shown.guid, device->guid, sizeof(shown.guid));
    (void)snprintf(shown.map[3].name, sizeof(shown.map[3].name), "recv:%u", device->receive_gpadl);
    (void)snprintf(shown.map[4].name, sizeof(shown.map[4].name), "send:%u", device->send_gpadl);
    sysfs_add_device(sysfs_path, &shown);
    publish(&device->primary);
}

void kernel_start(const char *socket_path, const char *sysfs)
{
    struct epoll_event event = {.events = EPOLLIN};
    pthread_t thread;

    sysfs_path = sysfs;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    work_fd = eventfd(0, EFD_CLOEXEC);
    (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, work_fd, &event);
    connection_start(socket_path);
    page_fd = new_memory(3 * (size_t)HV_PAGE_BYTES, &page_pfn);
    connection_contact((page_pfn + 1) * HV_PAGE_BYTES, (page_pfn + 2) * HV_PAGE_BYTES);
    connection_request_offers();
    serving = true;
    for (unsigned i = 0; i < device_count; i++)
        bind_device(&devices[i]);
    if (!device_count)
        kernel_panic("%s offers no network device", socket_path);
    if (pthread_create(&thread, NULL, serve, NULL))
        kernel_panic("no thread");
    (void)pthread_detach(thread);
}
