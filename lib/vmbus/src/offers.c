/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the host offers.  An offer is born in hv_bus_add_offer(), marked by hv_bus_rescind(), and freed by
 * hv_bus_reap() when it is rescinded, its channel closed, and the program was told.  The program is told from
 * hv_vmbus_poll() only, so that its callback may open and close channels.
 */
#include "bus_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/** Make the bus' wait descriptor readable. */
static void raise_news(struct hv_vmbus *bus)
{
    const uint64_t one = 1;

    if (write(bus->news_fd, &one, sizeof(one)) < 0)
        return; /* EAGAIN: the counter is full, so it is readable */
}

struct hv_offer *hv_bus_find_relid(const struct hv_vmbus *bus, uint32_t relid)
{
    struct hv_offer *offer = bus->offers;

    while (offer && offer->relid != relid)
        offer = offer->next;
    return offer;
}

struct hv_offer *hv_bus_find_offer(const struct hv_vmbus *bus, const struct hv_guid *instance,
                                   uint16_t index)
{
    struct hv_offer *offer = bus->offers;

    while (offer && (offer->rescinded || offer->index != index ||
                     !hv_guid_equal(&offer->instance_id, instance)))
        offer = offer->next;
    return offer;
}

/** What is wrong with an offer, or NULL. */
static const char *check_offer(const struct hv_vmbus *bus, const struct hv_offer *offer)
{
    const struct hv_offer *primary;

    if (bus->offer_count >= HV_OFFERS_MAX)
        return "too many channels offered";
    if (hv_bus_find_relid(bus, offer->relid))
        return "relid offered twice";
    if (hv_bus_find_offer(bus, &offer->instance_id, offer->index))
        return "channel offered twice";
    if (!offer->index)
        return NULL;
    primary = hv_bus_find_offer(bus, &offer->instance_id, 0);
    if (!primary || !hv_guid_equal(&primary->class_id, &offer->class_id))
        return "sub-channel of an unknown device offered";
    return NULL;
}

int hv_bus_add_offer(struct hv_vmbus *bus, const struct hv_offer *offer, const char **ret_why)
{
    const char *why = check_offer(bus, offer);
    struct hv_offer **end = &bus->offers;
    struct hv_offer *copy = calloc(1, sizeof(*copy));

    if (copy)
        *copy = *offer;
    if (why || !copy) {
        struct hv_offer refused = *offer;

        bus->ops->forget_offer(&refused);
        free(copy);
        if (why)
            *ret_why = why;
        return why ? -EPROTO : -ENOMEM;
    }
    while (*end)
        end = &(*end)->next;
    *end = copy;
    copy->next = NULL;
    copy->channel = NULL;
    copy->rescinded = false;
    copy->added_told = bus->opening;
    copy->removed_told = false;
    bus->offer_count++;
    if (!bus->opening)
        raise_news(bus);
    return 0;
}

/** The owner may sleep: first the reason, then the wake-up. */
static void fail_and_wake(struct hv_offer *offer, int error)
{
    struct hv_channel *channel = offer->channel;

    if (!channel)
        return;
    hv_channel_fail(channel, error);
    channel->ops->wake(channel);
}

void hv_bus_rescind(struct hv_vmbus *bus, struct hv_offer *offer)
{
    offer->rescinded = true;
    fail_and_wake(offer, -ENODEV);
    if (offer->index) {
        offer->added_told = true;
        offer->removed_told = true; /* the owner learns by its channel, the program by the count */
    } else {
        /* no sub-channel works without its primary, whatever the host does next */
        for (struct hv_offer *sub = bus->offers; sub; sub = sub->next)
            if (hv_guid_equal(&sub->instance_id, &offer->instance_id))
                fail_and_wake(sub, -ENODEV);
        if (!offer->added_told || bus->opening)
            offer->removed_told = true; /* came and went unseen */
        offer->added_told = true;
    }
    raise_news(bus);
}

void hv_bus_mark_gone(struct hv_vmbus *bus, int error)
{
    if (bus->gone)
        return;
    bus->gone = error;
    /* closing alone would leave it in the epoll set as long as somebody else has a copy */
    (void)epoll_ctl(bus->wait_fd, EPOLL_CTL_DEL, bus->ops->fd(bus), NULL);
    for (struct hv_offer *offer = bus->offers; offer; offer = offer->next)
        fail_and_wake(offer, -ENODEV);
    raise_news(bus);
}

static void free_offer(struct hv_vmbus *bus, struct hv_offer **link)
{
    struct hv_offer *offer = *link;

    *link = offer->next;
    bus->offer_count--;
    bus->ops->forget_offer(offer);
    free(offer);
}

void hv_bus_reap(struct hv_vmbus *bus)
{
    struct hv_offer **link = &bus->offers;

    while (*link && !bus->gone) {
        struct hv_offer *offer = *link;

        if (!offer->rescinded || !offer->removed_told || offer->channel) {
            link = &offer->next;
            continue;
        }
        if (bus->ops->release_offer(bus, offer)) {
            raise_news(bus); /* no room in the socket: the next poll tries again */
            return;
        }
        free_offer(bus, link);
    }
}

void hv_bus_forget_offers(struct hv_vmbus *bus)
{
    while (bus->offers)
        free_offer(bus, &bus->offers);
}

/** Next thing that the program was not told; marks it told. */
static bool next_news(struct hv_vmbus *bus, enum hv_vmbus_event *ret_event,
                      struct hv_guid *ret_instance)
{
    for (struct hv_offer *offer = bus->offers; offer; offer = offer->next) {
        *ret_instance = offer->instance_id;
        if (!offer->added_told) {
            offer->added_told = true;
            *ret_event = offer->index ? HV_VMBUS_SUBCHANNEL_ADDED : HV_VMBUS_DEVICE_ADDED;
            return true;
        }
        if (offer->rescinded && !offer->removed_told) {
            offer->removed_told = true;
            *ret_event = HV_VMBUS_DEVICE_REMOVED;
            return true;
        }
    }
    if (bus->gone && !bus->gone_told) {
        bus->gone_told = true;
        *ret_event = HV_VMBUS_HOST_GONE;
        *ret_instance = (struct hv_guid){0};
        return true;
    }
    return false;
}

void hv_bus_tell(struct hv_vmbus *bus)
{
    enum hv_vmbus_event event;
    struct hv_guid instance;
    uint64_t count;

    if (read(bus->news_fd, &count, sizeof(count)) < 0)
        count = 0; /* EAGAIN: nothing was raised */
    /* from the start after each callback, for it may have changed the list */
    while (next_news(bus, &event, &instance))
        if (bus->opts.event)
            bus->opts.event(bus->opts.event_arg, event, &instance);
}
