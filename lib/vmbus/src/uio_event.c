/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The owner's side of /dev/uioN: signals, sleep, and the end of the device.
 *
 * The kernel counts the interrupts of a device, not of a channel.  Each open of /dev/uioN has its own idea of which of
 * them it has seen, so each channel opens the device for itself: all sleepers are woken by an interrupt of any of them,
 * and none can take another's wake-up away.  docs/uio.md, "Waking up".
 */
#include "uio_impl.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

/** How long a channel sleeps at most that must not be interrupted. */
#define TICK_NS 1000000

void hv_uio_detach(struct hv_channel *channel)
{
    int out = hv_ring_detach(&channel->out);
    int in = hv_ring_detach(&channel->in);

    if (out || in)
        hv_log(&channel->bus->opts.log, HV_LOG_ERROR,
               "channel %u: no memory to put in the place of its rings: error %d",
               channel->offer->relid, out ? out : in);
}

/** The kernel says that the device is gone: its rings are somebody else's memory any moment. */
static void lost(struct hv_channel *channel)
{
    hv_channel_fail(channel, -ENODEV);
    hv_uio_detach(channel);
}

/* ---- Signals ---- */

/** Signals every channel of the device that has no monitor, and unmasks the primary (from 6.16 on: all of them). */
static void write_signal(struct hv_channel *channel)
{
    const struct hv_uio_link *link = channel->link;
    const int32_t one = 1;

    if (write(link->event_fd, &one, sizeof(one)) != sizeof(one))
        lost(channel);
    else if (!channel->armed && !hv_channel_status(channel))
        hv_ring_rx_mask(&channel->rx); /* we are awake, whatever the kernel did to the mask */
}

void hv_uio_signal(struct hv_channel *channel)
{
    struct hv_uio_link *link = channel->link;
    struct hv_uio_device *device = link->device;

    if (channel->monitor_word) {
        /* after our stores to the ring, which the host looks at when it has taken the bit */
        atomic_fetch_or_explicit(channel->monitor_word, channel->monitor_bit, memory_order_release);
        return;
    }
    if (atomic_load(&device->hold)) {
        atomic_store(&device->owed, true);
        /* let go meanwhile: whoever takes the word pays */
        if (atomic_load(&device->hold) || !atomic_exchange(&device->owed, false))
            return;
    }
    write_signal(channel);
}

void hv_uio_hold(struct hv_uio_device *device, bool hold)
{
    const struct hv_uio_link *link = device->primary ? device->primary->link : NULL;
    const int32_t one = 1;

    atomic_store(&device->hold, hold);
    if (hold || !link || !atomic_exchange(&device->owed, false))
        return;
    if (write(link->event_fd, &one, sizeof(one)) < 0)
        return; /* the device is gone, and its owners learn it from their own descriptors */
}

/* ---- Sleep ---- */

bool hv_uio_drain(struct hv_channel *channel)
{
    const struct hv_uio_link *link = channel->link;
    uint64_t ticks;
    uint32_t events;
    ssize_t got = read(link->event_fd, &events, sizeof(events));
    bool woken = got >= 0 || errno != EAGAIN;

    if (got != sizeof(events) && woken)
        lost(channel);
    if (link->timer_fd >= 0 && read(link->timer_fd, &ticks, sizeof(ticks)) > 0)
        woken = true;
    return woken; /* wake_fd stays as it is: what it says stays true */
}

void hv_uio_tick(struct hv_channel *channel)
{
    const struct hv_uio_link *link = channel->link;
    const struct itimerspec once = {.it_value.tv_nsec = TICK_NS};

    (void)timerfd_settime(link->timer_fd, 0, &once, NULL); /* cannot fail: a timer, a legal time */
}

void hv_uio_wake(struct hv_channel *channel)
{
    const struct hv_uio_link *link = channel->link;
    const uint64_t one = 1;

    if (!link)
        return; /* not open yet */
    hv_uio_detach(channel);
    if (link->wake_fd >= 0 && write(link->wake_fd, &one, sizeof(one)) < 0)
        return; /* full, so readable */
}
