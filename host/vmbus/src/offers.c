/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices, and the channels that guests are offered of them. */
#include "host_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>

#define CONNECTION_ID_FIRST 0x2000u /* + relid: SINT 2, VTL 0 */

/* ---- Finding ---- */

struct hv_host_channel *hv_host_channel_find(struct hv_host_guest *guest, uint32_t relid)
{
    struct hv_host_channel *channel;

    TAILQ_FOREACH(channel, &guest->channels, entry)
    {
        if (channel->relid == relid)
            return channel;
    }
    return NULL;
}

struct hv_host_channel *hv_host_channel_of_device(struct hv_host_guest *guest,
                                                  const struct hv_host_device *device,
                                                  uint16_t index)
{
    struct hv_host_channel *channel;

    TAILQ_FOREACH(channel, &guest->channels, entry)
    {
        if (channel->device == device && channel->index == index && !channel->revoking &&
            !channel->revoked && !channel->released)
            return channel;
    }
    return NULL;
}

/* ---- Numbers ---- */

static uint32_t take_relid(struct hv_host_guest *guest)
{
    /* the next one after the last, so that a relid comes back as late as possible */
    for (uint32_t i = 0; i < HV_CHANNELS_MAX; i++) {
        uint32_t relid = 1 + (guest->relid_hint + i) % HV_CHANNELS_MAX;
        uint8_t bit = (uint8_t)(1u << relid % 8);

        if (guest->relid_used[relid / 8] & bit)
            continue;
        guest->relid_used[relid / 8] |= bit;
        guest->relid_hint = relid;
        return relid;
    }
    return 0;
}

static uint8_t take_monitor_id(struct hv_host_guest *guest)
{
    for (uint32_t id = 0; id < HV_MONITOR_MAX; id++) {
        uint32_t *used = &guest->monitor_used[id / HV_MONITOR_PER_GROUP];
        uint32_t bit = 1u << id % HV_MONITOR_PER_GROUP;

        if (*used & bit)
            continue;
        *used |= bit;
        return (uint8_t)id;
    }
    return HV_MONITOR_NONE;
}

static void give_back_numbers(struct hv_host_guest *guest, uint32_t relid, uint8_t monitor_id)
{
    guest->relid_used[relid / 8] &= (uint8_t) ~(1u << relid % 8);
    if (monitor_id != HV_MONITOR_NONE)
        guest->monitor_used[monitor_id / HV_MONITOR_PER_GROUP] &=
            ~(1u << monitor_id % HV_MONITOR_PER_GROUP);
}

/* ---- Channels ---- */

static void set_monitor(struct hv_host_channel *channel, bool wanted)
{
    struct hv_host_guest *guest = channel->guest;

    channel->monitor_id = HV_MONITOR_NONE;
    if (wanted && guest->monitor)
        channel->monitor_id = take_monitor_id(guest);
    if (channel->monitor_id == HV_MONITOR_NONE)
        return;
    channel->monitor_group =
        &guest->monitor->group[channel->monitor_id / HV_MONITOR_PER_GROUP].pending;
    channel->monitor_bit = 1u << channel->monitor_id % HV_MONITOR_PER_GROUP;
}

static struct hv_host_channel *create_channel(struct hv_host_guest *guest,
                                              struct hv_host_device *device, uint16_t index)
{
    struct hv_host_channel *channel;

    if (guest->channel_count >= HV_HOST_CHANNELS_MAX)
        return NULL;
    channel = aligned_alloc(alignof(struct hv_host_channel), sizeof(*channel));
    if (!channel)
        return NULL;
    memset(channel, 0, sizeof(*channel));
    if (guest->ops->link_create(guest->impl, &channel->link)) {
        free(channel);
        return NULL;
    }
    channel->guest = guest;
    channel->guest_id = guest->id;
    channel->version = guest->version;
    channel->device = device;
    channel->ops = device->ops;
    channel->device_ctx = device->ctx;
    channel->poll = device->ops.poll;
    channel->index = index;
    channel->max_sub_channels = device->opts.max_sub_channels;
    channel->relid = take_relid(guest);
    set_monitor(channel, device->opts.monitored);
    device->channels++;
    guest->channel_count++;
    TAILQ_INSERT_TAIL(&guest->channels, channel, entry);
    return channel;
}

void hv_host_channel_drop_device(struct hv_host_channel *channel)
{
    struct hv_host_device *device = channel->device;

    if (!device)
        return;
    channel->device = NULL;
    device->channels--;
    if (device->withdrawn && !device->channels)
        hv_host_kick(device->host);
}

void hv_host_channel_free(struct hv_host_channel *channel)
{
    struct hv_host_guest *guest = channel->guest;

    hv_host_gpadl_drop_all(channel);
    hv_host_channel_drop_device(channel);
    give_back_numbers(guest, channel->relid, channel->monitor_id);
    guest->ops->link_destroy(guest->impl, &channel->link);
    TAILQ_REMOVE(&guest->channels, channel, entry);
    guest->channel_count--;
    free(channel);
}

/* ---- Offers ---- */

static void offer(struct hv_host_guest *guest, struct hv_host_device *device, uint16_t index)
{
    struct hv_host_channel *channel = create_channel(guest, device, index);
    struct hv_msg_offer message = {
        .hdr.type = HV_MSG_OFFER_CHANNEL,
        .class_id = device->opts.class_id,
        .instance_id = device->opts.instance_id,
        .flags = device->opts.offer_flags,
        .sub_channel_index = index,
        .dedicated_interrupt = 1,
    };

    if (!channel) {
        hv_host_guest_complain(guest, "no room for another channel, one is not offered");
        return;
    }
    memcpy(message.user_data, device->opts.user_data, sizeof(message.user_data));
    message.relid = channel->relid;
    message.monitor_id = channel->monitor_id;
    message.monitor_allocated = channel->monitor_id != HV_MONITOR_NONE;
    message.connection_id = CONNECTION_ID_FIRST + channel->relid;
    guest->ops->post(guest->impl, &message, sizeof(message), &channel->link);
}

/** By class, then in the order the devices were made. */
static int compare_offers(const void *a, const void *b)
{
    const struct hv_host_device *x = *(struct hv_host_device *const *)a;
    const struct hv_host_device *y = *(struct hv_host_device *const *)b;
    int by_class = memcmp(&x->opts.class_id, &y->opts.class_id, sizeof(x->opts.class_id));

    if (by_class)
        return by_class;
    return x->order < y->order ? -1 : x->order > y->order;
}

void hv_host_offers_request(struct hv_host_guest *guest)
{
    const struct hv_msg_header done = {.type = HV_MSG_ALL_OFFERS_DELIVERED};
    struct hv_host_device *sorted[HV_HOST_CHANNELS_MAX];
    struct hv_host_device *device;
    size_t count = 0;

    TAILQ_FOREACH(device, &guest->host->devices, entry)
    {
        if (!device->withdrawn && count < HV_COUNT_OF(sorted))
            sorted[count++] = device;
    }
    qsort(sorted, count, sizeof(sorted[0]), compare_offers);
    for (size_t i = 0; i < count; i++)
        offer(guest, sorted[i], 0);
    hv_host_guest_post(guest, &done, sizeof(done));
}

void hv_host_offers_subchannels(struct hv_host_channel *primary, uint16_t count)
{
    struct hv_host_guest *guest = primary->guest;
    struct hv_host_device *device = primary->device;

    if (!device || device->withdrawn || primary->revoking || primary->close_wanted ||
        (primary->state != HV_CHANNEL_OPEN && primary->state != HV_CHANNEL_MOVING) ||
        guest->reset || guest->state != HV_GUEST_LIVE)
        return;
    for (uint16_t index = 1; index <= count; index++) {
        if (!hv_host_channel_of_device(guest, device, index))
            offer(guest, device, index);
    }
}

/* ---- Devices ---- */

static bool opts_are_legal(const struct hv_host_device_opts *opts,
                           const struct hv_host_device_ops *ops)
{
    return opts && opts->size == sizeof(*opts) && ops && ops->open && ops->poll && ops->close;
}

int hv_host_device_offer(struct hv_host *host, const struct hv_host_device_opts *opts,
                         const struct hv_host_device_ops *ops, void *device_ctx,
                         struct hv_host_device **ret_device)
{
    struct hv_host_device *device;
    struct hv_host_guest *guest;
    uint32_t count = 0;

    if (!opts_are_legal(opts, ops))
        return -EINVAL;
    TAILQ_FOREACH(device, &host->devices, entry)
    {
        count += !device->withdrawn;
        if (!device->withdrawn && hv_host_guid_same(&device->opts.class_id, &opts->class_id) &&
            hv_host_guid_same(&device->opts.instance_id, &opts->instance_id))
            return -EEXIST;
    }
    if (count >= HV_HOST_CHANNELS_MAX)
        return -ENOSPC;
    device = calloc(1, sizeof(*device));
    if (!device)
        return -ENOMEM;
    device->host = host;
    device->opts = *opts;
    device->ops = *ops;
    device->ctx = device_ctx;
    device->order = host->device_order++;
    TAILQ_INSERT_TAIL(&host->devices, device, entry);
    TAILQ_FOREACH(guest, &host->guests, entry)
    {
        if (guest->state == HV_GUEST_LIVE && !guest->reset && guest->contact == HV_CONTACT_OFFERED)
            offer(guest, device, 0);
    }
    *ret_device = device;
    return 0;
}

/** Sub-channels before their primary: the rescinds go out in that order. */
static void revoke_device(struct hv_host_guest *guest, const struct hv_host_device *device)
{
    struct hv_host_channel *channel, *next;

    for (int primary = 0; primary < 2; primary++) {
        for (channel = TAILQ_FIRST(&guest->channels); channel; channel = next) {
            next = TAILQ_NEXT(channel, entry);
            if (channel->device == device && (channel->index == 0) == primary)
                hv_host_channel_revoke(channel);
        }
    }
}

void hv_host_device_withdraw(struct hv_host_device *device, void (*gone)(void *arg), void *arg)
{
    struct hv_host_guest *guest;

    if (!device || device->withdrawn)
        return;
    device->withdrawn = true;
    device->gone = gone;
    device->gone_arg = arg;
    TAILQ_FOREACH(guest, &device->host->guests, entry)
    revoke_device(guest, device);
    hv_host_kick(device->host); /* gone() runs from poll, not from here */
}

void hv_host_offers_reap_devices(struct hv_host *host)
{
    struct hv_host_device *device, *next;

    for (device = TAILQ_FIRST(&host->devices); device; device = next) {
        next = TAILQ_NEXT(device, entry);
        if (!device->withdrawn || device->channels)
            continue;
        TAILQ_REMOVE(&host->devices, device, entry);
        if (device->gone)
            device->gone(device->gone_arg);
        free(device);
        next = TAILQ_FIRST(&host->devices); /* gone() may have changed the list */
    }
}

void hv_host_offers_guest_gone(struct hv_host_guest *guest)
{
    struct hv_host_device *device;

    TAILQ_FOREACH(device, &guest->host->devices, entry)
    {
        if (device->ops.guest_gone)
            device->ops.guest_gone(device->ctx, guest->id);
    }
}
