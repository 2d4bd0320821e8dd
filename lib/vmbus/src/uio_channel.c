/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Open and close.  The kernel opens the primary channel with the first open of /dev/uioN and closes all channels of the
 * device with the last close; a mapping counts as long as it exists.  So a close is: unmap everything, then close.
 */
#include "uio_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <hv/base/clock.h>
#include <hv/wire/ring.h>

/** Guest states of `state` in sysfs. */
#define STATE_OPENED 3u

static struct hv_uio *uio_of(const struct hv_channel *channel)
{
    return channel->bus->transport;
}

static void complain(const struct hv_channel *channel, const char *what, int err)
{
    hv_log(&channel->bus->opts.log, HV_LOG_ERROR, "channel %u: %s: %s", channel->offer->relid, what,
           strerror(-err));
}

/* ---- Rings ---- */

/** The kernel decides how large they are; `bytes` is that of both. */
int hv_uio_map_rings(const struct hv_uio *uio, int fd, uint64_t offset, uint64_t bytes,
                     struct hv_ring_area *ret_out, struct hv_ring_area *ret_in)
{
    uint32_t half = (uint32_t)(bytes / 2);
    int err;

    if (bytes % 2 || bytes / 2 > HV_RING_MAX_BYTES)
        return -EINVAL;
    err = hv_ring_map_device(fd, offset, uio->env.page_bytes, half, half, ret_out, ret_in);
    if (!err || err == -EINVAL)
        return err;
    hv_log(&uio->bus->opts.log, HV_LOG_WARNING,
           "the kernel does not let a ring be mapped twice in a row (%s): using copies, which is "
           "slower",
           strerror(-err));
    return hv_ring_map_device_copied(fd, offset, uio->env.page_bytes, half, half, ret_out, ret_in);
}

static int map_primary(struct hv_channel *channel, const struct hv_uio_link *link)
{
    const struct hv_uio *uio = uio_of(channel);
    struct hv_uio_map map;
    int err = hv_uio_find_map(uio, &link->device->facts, "txrx_rings", &map, NULL);

    if (!err && map.skip)
        err = -EPROTO;
    if (!err)
        err = hv_uio_map_rings(uio, link->map_fd, map.index * uio->env.map_stride, map.bytes,
                               &channel->out, &channel->in);
    if (err)
        complain(channel, "cannot map the rings (map \"txrx_rings\")", err);
    return err;
}

int hv_uio_map_monitor(struct hv_channel *channel, struct hv_uio_link *link)
{
    const struct hv_uio *uio = uio_of(channel);
    struct hv_uio_device *device = link->device;
    struct hv_uio_map map;
    int err = hv_uio_find_map(uio, &device->facts, "monitor_page", &map, NULL);
    void *at;

    if (!err && (map.skip % 8 || map.bytes < sizeof(struct hv_monitor_page) ||
                 map.skip > uio->env.page_bytes - sizeof(struct hv_monitor_page)))
        err = -EPROTO;
    if (!err) {
        at = mmap(NULL, uio->env.page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, link->map_fd,
                  (off_t)(map.index * uio->env.map_stride));
        if (at == MAP_FAILED)
            err = -errno;
    }
    if (err) {
        complain(channel, "cannot map the monitor page", err);
        return err;
    }
    device->monitor = at;
    device->monitor_page = (void *)((uint8_t *)at + map.skip);
    return 0;
}

/** How the channel signals: a bit of the page, or by write(). */
static void set_signal(struct hv_channel *channel, const struct hv_uio_device *device)
{
    const struct hv_offer *offer = channel->offer;

    if (!offer->monitored)
        return;
    channel->monitor_word =
        &device->monitor_page->group[offer->monitor_id / HV_MONITOR_PER_GROUP].pending;
    channel->monitor_bit = 1u << offer->monitor_id % HV_MONITOR_PER_GROUP;
}

/* ---- Descriptors ---- */

static int open_node(const struct hv_uio *uio, const char *path, int *ret_map_fd, int *ret_event_fd)
{
    int fd;

    if (uio->env.open_device)
        return uio->env.open_device(uio->env.arg, path, ret_map_fd, ret_event_fd);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    *ret_map_fd = fd;
    *ret_event_fd = fd;
    return 0;
}

static void explain_open(const struct hv_channel *channel, const char *path, int err)
{
    const char *hint = "";

    if (err == -EACCES || err == -EPERM)
        hint = ": run as root, or give the user the node";
    else if (err == -ENOENT)
        hint = ": the device is bound, but its node is not there (udev, container?)";
    else if (err == -ENOMEM)
        hint = ": the kernel found no memory for the rings, in one piece each; try with less load";
    hv_log(&channel->bus->opts.log, HV_LOG_ERROR, "channel %u: open %s: %s%s",
           channel->offer->relid, path, strerror(-err), hint);
}

/** A device that was bound this moment has its node soon. */
int hv_uio_open_device(const struct hv_channel *channel, struct hv_uio_link *link)
{
    const struct hv_uio *uio = uio_of(channel);
    char path[PATH_MAX];
    int length = snprintf(path, sizeof(path), "%s/uio%u", uio->env.dev, link->device->facts.number);
    uint64_t deadline_ns = hv_uio_deadline(uio);
    int err;

    if (length < 0 || (size_t)length >= sizeof(path))
        return -EINVAL;
    while ((err = open_node(uio, path, &link->map_fd, &link->event_fd)) == -ENOENT &&
           hv_clock_ns() < deadline_ns)
        hv_uio_pause(uio);
    if (err)
        explain_open(channel, path, err);
    return err == -ENOENT ? -ENODEV : err;
}

static int add_to_wait(const struct hv_channel *channel, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(channel->wait_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/** What the owner sleeps on: interrupts of the device, news of the control thread, and the clock where there is need. */
static int make_wait(struct hv_channel *channel, struct hv_uio_link *link)
{
    int err;

    channel->wait_fd = epoll_create1(EPOLL_CLOEXEC);
    link->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (channel->wait_fd < 0 || link->wake_fd < 0)
        return -errno;
    err = add_to_wait(channel, link->event_fd);
    if (!err)
        err = add_to_wait(channel, link->wake_fd);
    if (err || !channel->ticks)
        return err;
    link->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return link->timer_fd < 0 ? -errno : add_to_wait(channel, link->timer_fd);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* ---- Devices ---- */

struct hv_uio_device *hv_uio_find_device(const struct hv_uio *uio, const struct hv_guid *instance)
{
    struct hv_uio_device *device = uio->devices;

    while (device && (!device->primary || !hv_guid_equal(&device->facts.instance_id, instance)))
        device = device->next;
    return device;
}

static void put_device(struct hv_uio_device *device)
{
    struct hv_uio_device **at = &device->uio->devices;

    if (--device->users)
        return;
    while (*at != device)
        at = &(*at)->next;
    *at = device->next;
    if (device->monitor)
        (void)munmap(device->monitor, device->uio->env.page_bytes);
    free(device);
}

static int new_device(struct hv_channel *channel, const struct hv_uio_facts *facts,
                      struct hv_uio_link *link)
{
    struct hv_uio *uio = uio_of(channel);
    struct hv_uio_device *device = calloc(1, sizeof(*device));

    if (!device)
        return -ENOMEM;
    device->uio = uio;
    device->facts = *facts;
    device->primary = channel;
    device->users = 1;
    device->next = uio->devices;
    uio->devices = device;
    link->device = device;
    return 0;
}

/* ---- Primary: open ---- */

static int check_open(const struct hv_channel *channel, const struct hv_channel_opts *opts)
{
    const uint8_t *user_data = opts->user_data;

    for (size_t i = 0; i < opts->user_data_bytes; i++)
        if (user_data[i]) {
            hv_log(&channel->bus->opts.log, HV_LOG_ERROR,
                   "channel %u: uio_hv_generic opens channels without user data",
                   channel->offer->relid);
            return -EOPNOTSUPP;
        }
    return 0;
}

/** Somebody else has the device open: two programs on one ring would garble it.  Before 4.20 nobody can tell. */
static int check_state(const struct hv_channel *channel, const struct hv_uio_facts *facts)
{
    const struct hv_uio *uio = uio_of(channel);
    uint64_t state;

    if (uio->env.kernel < HV_UIO_KERNEL(4, 20, 0) ||
        hv_uio_read_number(uio, UINT32_MAX, &state, facts->folder, "state") ||
        state != STATE_OPENED)
        return 0;
    hv_log(&channel->bus->opts.log, HV_LOG_ERROR,
           "channel %u: another program has /dev/uio%u open; see: fuser -v /dev/uio%u",
           channel->offer->relid, facts->number, facts->number);
    return -EBUSY;
}

struct leftovers {
    const struct hv_uio *uio;
    const struct hv_uio_facts *facts;
    unsigned count;
};

static bool count_leftover(void *arg, const char *name)
{
    struct leftovers *left = arg;
    uint64_t relid;

    if (!hv_uio_parse_number(name, UINT32_MAX, &relid) && relid != left->facts->relid &&
        !hv_uio_sub_is_open(left->uio, left->facts->folder, (uint32_t)relid))
        left->count++;
    return true;
}

/**
 * Sub-channels of an earlier open that the host has not taken back have no rings, and a write() makes some kernels look
 * at those.  A channel that can only signal by write() waits until they are gone.
 */
static int wait_for_leftovers(const struct hv_channel *channel, const struct hv_uio_facts *facts)
{
    const struct hv_uio *uio = uio_of(channel);
    struct leftovers left = {.uio = uio, .facts = facts};
    uint64_t deadline_ns = hv_uio_deadline(uio);

    for (;;) {
        left.count = 0;
        if (hv_uio_each(uio, facts->folder, "channels", count_leftover, &left) || !left.count)
            return 0; /* no such folder: no sub-channels */
        if (hv_clock_ns() >= deadline_ns)
            break;
        hv_uio_pause(uio);
    }
    hv_log(&channel->bus->opts.log, HV_LOG_ERROR,
           "channel %u: %u sub-channels of an earlier use are left, and signalling could crash the "
           "kernel: "
           "unbind the device and bind it again",
           channel->offer->relid, left.count);
    return -EBUSY;
}

static int find_primary(struct hv_channel *channel, struct hv_uio_facts *ret_facts)
{
    const struct hv_offer *offer = channel->offer;
    int err = hv_uio_find_facts(uio_of(channel), &offer->instance_id, ret_facts);

    if (!err && ret_facts->relid != offer->relid)
        err = -ENODEV; /* taken away and offered again: the next scan says so */
    if (!err)
        err = check_state(channel, ret_facts);
    if (!err && !offer->monitored)
        err = wait_for_leftovers(channel, ret_facts);
    return err == -ENOENT ? -ENODEV : err;
}

/** Among programs on libvmbus; `state` is looked at too early to be more than a courtesy. */
static int lock_device(const struct hv_channel *channel, const struct hv_uio_link *link)
{
    if (!flock(link->map_fd, LOCK_EX | LOCK_NB))
        return 0;
    complain(channel, "another program has the device open", -EBUSY);
    return -EBUSY;
}

/** The control thread learns that the kernel took the device away. */
static int watch_device(const struct hv_channel *channel, const struct hv_uio_link *link)
{
    struct epoll_event event = {.data.ptr = link->device}; /* EPOLLERR, EPOLLHUP: always */

    return epoll_ctl(uio_of(channel)->fd, EPOLL_CTL_ADD, link->event_fd, &event) ? -errno : 0;
}

static int open_primary(struct hv_channel *channel, struct hv_uio_link *link)
{
    struct hv_uio_facts facts;
    int err = find_primary(channel, &facts);

    if (!err)
        err = new_device(channel, &facts, link);
    if (!err)
        err = hv_uio_open_device(channel, link);
    if (!err)
        err = lock_device(channel, link);
    if (!err)
        err = map_primary(channel, link);
    if (!err && channel->offer->monitored)
        err = hv_uio_map_monitor(channel, link);
    if (!err)
        err = watch_device(channel, link);
    return err;
}

/* ---- Close ---- */

static void close_link(struct hv_channel *channel, struct hv_uio_link *link)
{
    close_fd(&channel->wait_fd);
    if (link->map_fd != link->event_fd)
        close_fd(&link->map_fd);
    close_fd(&link->event_fd);
    close_fd(&link->wake_fd);
    close_fd(&link->timer_fd);
}

void hv_uio_quiet(const struct hv_channel *channel)
{
    if (channel->in.control && !hv_channel_status(channel)) /* else there is no host to ask */
        atomic_store(&channel->in.control->interrupt_mask, 1);
}

static void close_primary(struct hv_channel *channel, struct hv_uio_link *link)
{
    if (link->event_fd >= 0) /* closing alone would leave it there as long as a mapping exists */
        (void)epoll_ctl(uio_of(channel)->fd, EPOLL_CTL_DEL, link->event_fd, NULL);
    hv_uio_quiet(channel);
    if (link->device) {
        link->device->primary = NULL;
        hv_uio_end_subs(link->device);
    }
    for (unsigned kind = 0; kind < HV_SHARED_KINDS; kind++)
        if (channel->shared[kind].address) /* its mapping would keep the device open */
            hv_uio_unshare(channel, kind);
    hv_ring_unmap(&channel->out);
    hv_ring_unmap(&channel->in);
}

static void close_steps(struct hv_channel *channel)
{
    struct hv_uio_link *link = channel->link;

    if (channel->offer->index)
        hv_uio_sub_close(channel, link);
    else
        close_primary(channel, link);
    if (link->device)
        put_device(link->device);
    close_link(channel, link);
    channel->link = NULL;
    free(link);
}

void hv_uio_channel_close(struct hv_channel *channel)
{
    close_steps(channel);
}

/* ---- Both ---- */

int hv_uio_channel_open(struct hv_channel *channel, const struct hv_channel_opts *opts)
{
    struct hv_uio_link *link;
    int err = check_open(channel, opts);

    if (err)
        return err;
    link = calloc(1, sizeof(*link));
    if (!link)
        return -ENOMEM;
    *link = (struct hv_uio_link){.map_fd = -1, .event_fd = -1, .wake_fd = -1, .timer_fd = -1};
    channel->link = link;
    err = channel->offer->index ? hv_uio_sub_open(channel, link) : open_primary(channel, link);
    if (!err)
        err = make_wait(channel, link);
    if (!err)
        err = hv_channel_adopt(channel);
    if (err) {
        close_steps(channel);
        return err;
    }
    set_signal(channel, link->device);
    if (opts->target_vp && hv_uio_channel_set_target(channel, opts->target_vp))
        hv_log(&channel->bus->opts.log, HV_LOG_WARNING,
               "channel %u: the kernel does not move it to processor %u", channel->offer->relid,
               opts->target_vp);
    return 0;
}

int hv_uio_channel_set_target(struct hv_channel *channel, uint32_t target_vp)
{
    const struct hv_uio_link *link = channel->link;
    char leaf[HV_UIO_NAME_BYTES], path[PATH_MAX], text[16];
    int length = snprintf(text, sizeof(text), "%u", target_vp);
    int fd, err;

    (void)snprintf(leaf, sizeof(leaf), "channels/%u/cpu", channel->offer->relid);
    err =
        hv_uio_path(channel->bus->transport, path, sizeof(path), link->device->facts.folder, leaf);
    if (err)
        return err;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == EACCES ? -EOPNOTSUPP : -errno;
    if (write(fd, text, (size_t)length) != length)
        err = -EIO;
    (void)close(fd);
    return err;
}

bool hv_uio_channel_may_grow(const struct hv_channel *channel)
{
    return channel->monitor_word != NULL;
}
