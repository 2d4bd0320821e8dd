/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sub-channels.  The kernel opens them as soon as the host offers them, and closes them with their primary; so their
 * rings are mapped when they appear, in use or not, and unmapped before the primary is closed, which frees them.
 */
#include "uio_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hv/wire/ring.h>

static struct hv_uio_sub *find_sub(const struct hv_uio_device *device, uint32_t relid)
{
    struct hv_uio_sub *sub = device->subs;

    while (sub && sub->relid != relid)
        sub = sub->next;
    return sub;
}

/** Its size is the true one: sub-channels have the default size, which old kernels show for every channel. */
static int map_sub(const struct hv_uio_device *device, struct hv_uio_sub *sub)
{
    const struct hv_uio *uio = device->uio;
    char leaf[HV_UIO_NAME_BYTES], path[PATH_MAX];
    struct stat st;
    int fd, err;

    (void)snprintf(leaf, sizeof(leaf), "channels/%u/ring", sub->relid);
    err = hv_uio_path(uio, path, sizeof(path), device->facts.folder, leaf);
    if (err)
        return err;
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    err = fstat(fd, &st) ? -errno : 0;
    if (!err)
        err = hv_uio_map_rings(uio, fd, 0, (uint64_t)st.st_size, &sub->out, &sub->in);
    (void)close(fd);
    return err;
}

int hv_uio_sub_map(struct hv_uio_device *device, uint32_t relid)
{
    struct hv_uio_sub *sub = calloc(1, sizeof(*sub));
    int err;

    if (!sub)
        return -ENOMEM;
    sub->relid = relid;
    err = map_sub(device, sub);
    if (err == -ENOENT || err == -ENODEV) {
        free(sub);
        return -EAGAIN;
    }
    if (!err) /* before the host can interrupt: some kernels do not survive an interrupt of a sub-channel */
        atomic_store(&sub->in.control->interrupt_mask, 1);
    sub->seen = true;
    sub->next = device->subs;
    device->subs = sub;
    return err;
}

void hv_uio_sub_unmap(struct hv_uio_device *device, struct hv_uio_sub *sub)
{
    struct hv_uio_sub **at = &device->subs;

    while (*at != sub)
        at = &(*at)->next;
    *at = sub->next;
    hv_ring_unmap(&sub->out);
    hv_ring_unmap(&sub->in);
    free(sub);
}

int hv_uio_sub_open(struct hv_channel *channel, struct hv_uio_link *link)
{
    const struct hv_uio *uio = channel->bus->transport;
    const struct hv_offer *offer = channel->offer;
    struct hv_uio_device *device = hv_uio_find_device(uio, &offer->instance_id);
    struct hv_uio_sub *sub =
        device ? find_sub(device, offer->relid) : NULL; /* offered, so it has rings */
    int err;

    if (!sub)
        return -ENODEV;
    if (!offer->monitored && !hv_uio_sub_can_signal(uio->env.kernel)) {
        hv_log(&channel->bus->opts.log, HV_LOG_ERROR,
               "channel %u: a sub-channel without monitor: this kernel cannot signal it (Linux "
               "6.16 can)",
               offer->relid);
        return -EOPNOTSUPP;
    }
    link->device = device;
    device->users++;
    if (offer->monitored && !device->monitor) {
        err = hv_uio_map_monitor(channel, device->primary->link);
        if (err)
            return err;
    }
    err = hv_uio_open_device(channel, link);
    if (err)
        return err;
    if (link->map_fd != link->event_fd)
        (void)close(link->map_fd);
    link->map_fd = -1; /* the rings are mapped, and events are all we want */
    link->sub = sub;
    sub->taken = true;
    channel->out = sub->out;
    channel->in = sub->in;
    channel->ticks = !hv_uio_sub_may_interrupt(uio->env.kernel);
    return 0;
}

void hv_uio_sub_close(struct hv_channel *channel, struct hv_uio_link *link)
{
    struct hv_uio_device *device = link->device;

    if (!link->sub)
        return;
    link->sub->taken = false;
    if (!device->primary || channel->offer->rescinded)
        hv_uio_sub_unmap(device, link->sub);
    else
        hv_uio_quiet(channel);
}

/** They end with their primary; owners that still run find out as if the host had taken them away. */
void hv_uio_end_subs(struct hv_uio_device *device)
{
    struct hv_vmbus *bus = device->uio->bus;
    struct hv_uio_sub *sub = device->subs, *next;

    for (; sub; sub = next) {
        struct hv_offer *offer = hv_bus_find_relid(bus, sub->relid);

        next = sub->next;
        if (offer && !offer->rescinded)
            hv_bus_rescind(bus, offer);
        if (!sub->taken) {
            hv_uio_sub_unmap(device, sub);
        } else if (offer && offer->channel) {
            struct hv_uio_link *link = offer->channel->link;

            /* what is open keeps the kernel's channels open; the number stays good, its owner may be using it */
            (void)dup3(link->wake_fd, link->event_fd, O_CLOEXEC);
        }
    }
    if (device->monitor && device->users > 1)
        (void)mmap(device->monitor, device->uio->env.page_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}
