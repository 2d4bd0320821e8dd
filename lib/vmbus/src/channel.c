/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An open channel.  The data path is the ring's (hv/ring.h) with three things added: a status that the control thread
 * can set, signals through the transport, and going to sleep.
 */
#include "bus_impl.h"

#include <errno.h>
#include <stdlib.h>

#include <hv/base/bits.h>
#include <hv/wire/message.h>

#define RING_DEFAULT_BYTES 0x20000u

/* ---- Set-up: control thread ---- */

int hv_channel_start(struct hv_channel *channel)
{
    hv_ring_reset(&channel->out);
    hv_ring_reset(&channel->in);
    return hv_channel_adopt(channel);
}

int hv_channel_adopt(struct hv_channel *channel)
{
    int err = hv_ring_tx_init(&channel->tx, &channel->out);

    if (!err)
        err = hv_ring_rx_init(&channel->rx, &channel->in);
    if (!err)
        hv_ring_rx_mask(&channel->rx);
    return err;
}

static int check_opts(const struct hv_channel_opts *opts)
{
    if (opts->size != sizeof(*opts))
        return -EINVAL;
    if (opts->out_bytes % HV_PAGE_BYTES || opts->in_bytes % HV_PAGE_BYTES)
        return -EINVAL;
    if (opts->out_bytes < HV_RING_MIN_BYTES || opts->in_bytes < HV_RING_MIN_BYTES)
        return -EINVAL;
    if (opts->out_bytes > HV_RING_MAX_BYTES || opts->in_bytes > HV_RING_MAX_BYTES)
        return -EINVAL;
    if (opts->user_data_bytes > sizeof(((struct hv_msg_open *)0)->user_data))
        return -EINVAL;
    return opts->user_data_bytes && !opts->user_data ? -EINVAL : 0;
}

/** The device is there and the channel is free. */
static int find_channel(struct hv_vmbus *bus, const struct hv_guid *instance, uint16_t index,
                        struct hv_offer **ret_offer)
{
    struct hv_offer *offer = hv_bus_find_offer(bus, instance, index);

    if (bus->gone || !hv_bus_find_offer(bus, instance, 0))
        return -ENODEV;
    if (!offer)
        return -EINVAL;
    if (offer->channel)
        return -EBUSY;
    *ret_offer = offer;
    return 0;
}

int hv_channel_open(struct hv_vmbus *bus, const struct hv_guid *instance, uint16_t index,
                    const struct hv_channel_opts *opts, struct hv_channel **ret_channel)
{
    struct hv_channel_opts all = HV_CHANNEL_OPTS_INIT;
    struct hv_channel *channel;
    struct hv_offer *offer;
    int err;

    if (opts)
        all = *opts;
    if (!all.out_bytes)
        all.out_bytes = RING_DEFAULT_BYTES;
    if (!all.in_bytes)
        all.in_bytes = RING_DEFAULT_BYTES;
    err = check_opts(&all);
    if (!err)
        err = find_channel(bus, instance, index, &offer);
    if (err)
        return err;
    channel = calloc(1, sizeof(*channel));
    if (!channel)
        return -ENOMEM;
    channel->bus = bus;
    channel->ops = bus->ops;
    channel->offer = offer;
    channel->wait_fd = -1;
    channel->signal_fd = -1;
    offer->channel = channel; /* from here on a rescind reaches it */
    err = bus->ops->channel_open(channel, &all);
    if (err) {
        offer->channel = NULL;
        free(channel);
        hv_bus_reap(bus);
        return err;
    }
    *ret_channel = channel;
    return 0;
}

/** Sub-channels should be closed by now; the host takes them away when it sees the primary close. */
static void warn_about_subchannels(const struct hv_channel *primary)
{
    for (const struct hv_offer *offer = primary->bus->offers; offer; offer = offer->next)
        if (offer->channel && offer->channel != primary &&
            hv_guid_equal(&offer->instance_id, &primary->offer->instance_id))
            hv_log(&primary->bus->opts.log, HV_LOG_WARNING,
                   "channel %u: closed before its sub-channel %u", primary->offer->relid,
                   offer->relid);
}

static bool any_open(const struct hv_vmbus *bus)
{
    const struct hv_offer *offer = bus->offers;

    while (offer && !offer->channel)
        offer = offer->next;
    return offer != NULL;
}

void hv_channel_close(struct hv_channel *channel)
{
    struct hv_vmbus *bus;

    if (!channel)
        return;
    bus = channel->bus;
    if (!channel->offer->index)
        warn_about_subchannels(channel);
    bus->ops->channel_close(channel);
    /* after the rings, in the order of Windows Server 2016 and later: nothing that runs can name them any more */
    hv_channel_unshare(channel, HV_SHARED_SEND);
    hv_channel_unshare(channel, HV_SHARED_RECEIVE);
    channel->offer->channel = NULL;
    free(channel);
    hv_bus_reap(bus);
    if (!any_open(bus))
        hv_dma_trim(bus);
}

int hv_channel_set_target(struct hv_channel *channel, uint32_t target_vp)
{
    if (atomic_load_explicit(&channel->status, memory_order_relaxed) == -ENODEV)
        return -ENODEV;
    return channel->ops->channel_set_target(channel, target_vp);
}

int hv_channel_share(struct hv_channel *primary, enum hv_shared_kind kind, size_t bytes,
                     struct hv_shared *ret_shared)
{
    struct hv_shared shared;
    int err;

    if (primary->offer->index || (unsigned)kind >= HV_SHARED_KINDS || !bytes ||
        bytes > (size_t)HV_GPADL_RANGE_MAX_PAGES << HV_PAGE_SHIFT)
        return -EINVAL;
    if (primary->shared[kind].address)
        return -EBUSY;
    if (primary->bus->gone || primary->offer->rescinded)
        return -ENODEV;
    err = primary->ops->share(primary, kind, hv_align_up(bytes, HV_PAGE_BYTES), &shared);
    if (err)
        return err;
    primary->shared[kind] = shared;
    *ret_shared = shared;
    return 0;
}

void hv_channel_unshare(struct hv_channel *primary, enum hv_shared_kind kind)
{
    if ((unsigned)kind >= HV_SHARED_KINDS || !primary->shared[kind].address)
        return;
    primary->ops->unshare(primary, kind);
    primary->shared[kind] = (struct hv_shared){0};
}

bool hv_channel_may_grow(const struct hv_channel *channel)
{
    return !channel->ops->channel_may_grow || channel->ops->channel_may_grow(channel);
}

/* ---- Status ---- */

void hv_channel_fail(struct hv_channel *channel, int error)
{
    int alive = 0;

    /* the owner sees the reason when it sees the wake-up that follows */
    (void)atomic_compare_exchange_strong(&channel->status, &alive, error);
}

static int status_of(const struct hv_channel *channel)
{
    return atomic_load_explicit(&channel->status, memory_order_relaxed);
}

int hv_channel_status(const struct hv_channel *channel)
{
    return atomic_load_explicit(&channel->status, memory_order_acquire);
}

void hv_channel_kill(struct hv_channel *channel, const char *reason)
{
    int alive = 0;

    if (atomic_compare_exchange_strong(&channel->status, &alive, -EPROTO))
        hv_log(&channel->bus->opts.log, HV_LOG_ERROR, "channel %u: %s; it is dead",
               channel->offer->relid, reason);
}

/** A ring end found the host lying: say so once, and fail alike from now on. */
static __attribute__((cold)) int ring_died(struct hv_channel *channel, enum hv_ring_fault fault)
{
    hv_channel_kill(channel, hv_ring_fault_text(fault));
    return hv_channel_status(channel);
}

struct hv_vmbus *hv_channel_bus(const struct hv_channel *channel)
{
    return channel->bus;
}

/* ---- Data path: owner thread ---- */

int hv_channel_reserve(struct hv_channel *channel, const struct hv_packet_desc *desc,
                       struct hv_packet_slot *ret_slot)
{
    int err = status_of(channel);

    if (err)
        return err;
    err = hv_ring_tx_reserve(&channel->tx, desc, ret_slot);
    if (!err)
        channel->pending = true;
    else if (err == -EPROTO)
        return ring_died(channel, channel->tx.fault);
    return err;
}

int hv_channel_flush(struct hv_channel *channel)
{
    if (!channel->pending)
        return status_of(channel);
    channel->pending = false;
    if (hv_ring_tx_publish(&channel->tx))
        channel->ops->signal(channel);
    return status_of(channel);
}

int hv_channel_peek(struct hv_channel *channel, struct hv_packet *ret_packet)
{
    int err = status_of(channel);

    if (err)
        return err;
    err = hv_ring_rx_peek(&channel->rx, ret_packet);
    return err == -EPROTO ? ring_died(channel, channel->rx.fault) : err;
}

void hv_channel_release(struct hv_channel *channel)
{
    if (hv_ring_rx_release(&channel->rx))
        channel->ops->signal(channel);
}

uint32_t hv_channel_free_bytes(struct hv_channel *channel)
{
    uint32_t bytes = hv_ring_tx_free(&channel->tx);

    if (channel->tx.fault) /* or an owner that only waits for room would wait for ever */
        (void)ring_died(channel, channel->tx.fault);
    return bytes;
}

uint32_t hv_channel_max_bytes(const struct hv_channel *channel)
{
    return hv_ring_tx_max_bytes(&channel->tx);
}

/** Its host must not be asked for a signal: look now, and again soon. */
static bool tick_for_room(struct hv_channel *channel, uint32_t bytes)
{
    if (status_of(channel) || hv_channel_free_bytes(channel) > bytes || channel->tx.fault)
        return true;
    channel->ops->tick(channel);
    return false;
}

bool hv_channel_want_room(struct hv_channel *channel, uint32_t bytes)
{
    if (channel->ticks)
        return tick_for_room(channel, bytes);
    if (status_of(channel) || hv_ring_tx_want_room(&channel->tx, bytes)) {
        if (channel->tx.fault)
            (void)ring_died(channel, channel->tx.fault);
        channel->wants_room = false;
        return true;
    }
    channel->wants_room = true;
    return false;
}

int hv_channel_fd(const struct hv_channel *channel)
{
    return channel->wait_fd;
}

/** hv_channel_arm() of a channel whose host must not interrupt: it stays masked. */
static bool arm_by_clock(struct hv_channel *channel)
{
    if (status_of(channel) || hv_ring_rx_busy(&channel->rx))
        return true;
    channel->armed = true;
    channel->ops->tick(channel);
    return false;
}

bool hv_channel_arm(struct hv_channel *channel)
{
    if (channel->ticks)
        return arm_by_clock(channel);
    if (!status_of(channel) && !hv_ring_rx_unmask(&channel->rx)) {
        channel->armed = true;
        return false; /* dead since the check above: the wait descriptor is readable by now or soon */
    }
    hv_ring_rx_mask(&channel->rx);
    return true;
}

void hv_channel_disarm(struct hv_channel *channel)
{
    if (channel->wants_room)
        hv_ring_tx_clear_want(&channel->tx);
    channel->wants_room = false;
    if (!channel->armed)
        return; /* never slept: saves the system call */
    channel->armed = false;
    hv_ring_rx_mask(&channel->rx);
    if (channel->ops->drain(channel))
        channel->wakeups++;
}

void hv_channel_get_stats(const struct hv_channel *channel, struct hv_channel_stats *ret_stats)
{
    *ret_stats = (struct hv_channel_stats){
        .out = channel->tx.stats,
        .in = channel->rx.stats,
        .wakeups = channel->wakeups,
    };
}
