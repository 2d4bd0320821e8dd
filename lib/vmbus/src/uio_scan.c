/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is there now, against what the bus knows: devices bound to uio_hv_generic, and the sub-channels of those that
 * are open.  Nothing in sysfs tells of its changes, so this runs when the kernel announces something about its devices
 * (uevents), while somebody waits, and a bounded number of times more when something is half done.
 */
#include "uio_impl.h"

#include <errno.h>
#include <string.h>

#include <hv/base/clock.h>

/* ---- Sub-channels ---- */

struct sub_scan {
    struct hv_uio_device *device;
    unsigned unborn;
};

static void rescind_relid(struct hv_uio *uio, uint32_t relid)
{
    struct hv_offer *offer = hv_bus_find_relid(uio->bus, relid);

    if (offer && !offer->rescinded)
        hv_bus_rescind(uio->bus, offer);
}

/** A refusal is worth a line, not the bus: the kernel has more channels than we can use. */
static int add_offer(struct hv_uio *uio, const struct hv_offer *offer)
{
    const char *why = "no memory";
    int err = hv_bus_add_offer(uio->bus, offer, &why);

    if (err)
        hv_log(&uio->bus->opts.log, HV_LOG_WARNING, "channel %u ignored: %s", offer->relid, why);
    return err;
}

static void read_sub_monitor(const struct hv_uio *uio, const char *folder, struct hv_offer *offer)
{
    uint64_t id;

    if (hv_uio_read_number(uio, HV_MONITOR_MAX - 1, &id, folder, "channels/%u/monitor_id",
                           offer->relid))
        return;
    offer->monitored = true;
    offer->monitor_id = (uint8_t)id;
}

/** The kernel has opened it: have it masked before anything else, then tell the bus.  False: not ready yet. */
static bool take_sub(struct hv_uio_device *device, uint32_t relid, uint16_t index)
{
    struct hv_uio *uio = device->uio;
    struct hv_offer offer = {
        .class_id = device->facts.class_id,
        .instance_id = device->facts.instance_id,
        .relid = relid,
        .index = index,
        .signal_fd = -1,
        .event_fd = -1,
    };
    int err = hv_uio_sub_map(device, relid);

    if (err == -EAGAIN)
        return false;
    if (err) { /* said once: it is known now */
        hv_log(&uio->bus->opts.log, HV_LOG_ERROR, "channel %u: cannot map its rings: %s", relid,
               strerror(-err));
        return true;
    }
    read_sub_monitor(uio, device->facts.folder, &offer);
    (void)add_offer(uio, &offer); /* refused, it stays masked and unused */
    return true;
}

static bool know_sub(const struct hv_uio_device *device, uint32_t relid)
{
    for (struct hv_uio_sub *sub = device->subs; sub; sub = sub->next)
        if (sub->relid == relid) {
            sub->seen = true;
            return true;
        }
    return false;
}

static bool scan_sub(void *arg, const char *name)
{
    struct sub_scan *scan = arg;
    struct hv_uio_device *device = scan->device;
    const struct hv_uio *uio = device->uio;
    uint64_t relid, index;

    if (hv_uio_parse_number(name, UINT32_MAX, &relid) || relid == device->facts.relid ||
        know_sub(device, (uint32_t)relid))
        return true;
    if (hv_uio_read_number(uio, UINT16_MAX, &index, device->facts.folder,
                           "channels/%u/subchannel_id", (uint32_t)relid) ||
        !index || !hv_uio_sub_is_open(uio, device->facts.folder, (uint32_t)relid)) {
        scan->unborn++;
        return true;
    }
    if (hv_bus_find_relid(uio->bus, (uint32_t)relid)) {
        scan->unborn++; /* an earlier one of that number, not given back yet */
        return true;
    }
    if (!take_sub(device, (uint32_t)relid, (uint16_t)index))
        scan->unborn++;
    return true;
}

static void drop_unseen(struct hv_uio_device *device)
{
    struct hv_uio_sub *sub = device->subs, *next;

    for (; sub; sub = next) {
        next = sub->next;
        if (sub->seen)
            continue;
        rescind_relid(device->uio, sub->relid);
        if (!sub->taken) /* else with its channel */
            hv_uio_sub_unmap(device, sub);
    }
}

/** Nobody can signal by write() any more: better dead than waiting for ever. */
static void give_up(struct hv_uio_device *device)
{
    struct hv_vmbus *bus = device->uio->bus;

    hv_log(&bus->opts.log, HV_LOG_ERROR,
           "device of channel %u: the kernel lists %u sub-channels that it does not open (no "
           "memory in one piece?)",
           device->facts.relid, device->unborn);
    for (struct hv_offer *offer = bus->offers; offer; offer = offer->next) {
        struct hv_channel *channel = offer->channel;

        if (!channel || offer->monitored ||
            !hv_guid_equal(&offer->instance_id, &device->facts.instance_id))
            continue;
        hv_channel_fail(channel, -ENODEV);
        bus->ops->wake(channel);
    }
}

void hv_uio_scan_subs(struct hv_uio_device *device)
{
    struct sub_scan scan = {.device = device};

    for (struct hv_uio_sub *sub = device->subs; sub; sub = sub->next)
        sub->seen = false;
    if (hv_uio_each(device->uio, device->facts.folder, "channels", scan_sub, &scan))
        return; /* not there yet, or not any more: the device itself says which */
    drop_unseen(device);
    if (scan.unborn != device->unborn)
        device->give_up_ns = hv_uio_deadline(device->uio);
    device->unborn = scan.unborn;
    hv_uio_hold(device, scan.unborn != 0);
    if (!scan.unborn || !device->give_up_ns)
        return;
    if (hv_clock_ns() < device->give_up_ns) {
        device->uio->look_again = true;
        return;
    }
    device->give_up_ns = 0; /* once */
    give_up(device);
}

/* ---- Devices ---- */

struct device_scan {
    struct hv_uio *uio;
    bool seen[HV_OFFERS_MAX]; /* by place in the bus' list */
};

/** The live primary of this instance, and its place in the list. */
static struct hv_offer *find_primary(const struct hv_uio *uio, const struct hv_guid *instance,
                                     size_t *ret_place)
{
    size_t place = 0;

    for (struct hv_offer *offer = uio->bus->offers; offer; offer = offer->next, place++)
        if (!offer->rescinded && !offer->index && hv_guid_equal(&offer->instance_id, instance)) {
            *ret_place = place;
            return offer;
        }
    return NULL;
}

static void offer_device(struct hv_uio *uio, const struct hv_uio_facts *facts,
                         struct device_scan *scan)
{
    struct hv_offer offer = {
        .class_id = facts->class_id,
        .instance_id = facts->instance_id,
        .relid = facts->relid,
        .monitored = facts->monitored,
        .monitor_id = facts->monitor_id,
        .signal_fd = -1,
        .event_fd = -1,
    };
    size_t place;

    if (hv_bus_find_relid(uio->bus, facts->relid)) {
        uio->look_again = true; /* the one before it is not given back yet */
        return;
    }
    if (!add_offer(uio, &offer) && find_primary(uio, &facts->instance_id, &place))
        scan->seen[place] = true;
}

static bool scan_device(void *arg, const char *name)
{
    struct device_scan *scan = arg;
    struct hv_uio *uio = scan->uio;
    struct hv_uio_facts facts;
    struct hv_offer *offer;
    size_t place;

    if (hv_uio_read_facts(uio, name, &facts))
        return true; /* another driver's, or about to come or to go: the kernel says when that is done */
    if (uio->bus->has_instance && !hv_guid_equal(&facts.instance_id, &uio->bus->instance))
        return true;
    offer = find_primary(uio, &facts.instance_id, &place);
    if (offer && offer->relid == facts.relid) {
        scan->seen[place] = true;
        return true;
    }
    if (offer)
        hv_bus_rescind(uio->bus, offer); /* it went and came back between two looks */
    offer_device(uio, &facts, scan);
    return true;
}

int hv_uio_scan(struct hv_uio *uio)
{
    struct device_scan scan = {.uio = uio};
    struct hv_offer *offer;
    size_t place = 0;
    int err;

    uio->look_again = false;
    err = hv_uio_each(uio, NULL, NULL, scan_device, &scan);
    if (err)
        return err;
    for (offer = uio->bus->offers; offer; offer = offer->next, place++)
        if (!offer->index && !offer->rescinded && !scan.seen[place])
            hv_bus_rescind(uio->bus, offer);
    for (struct hv_uio_device *device = uio->devices; device; device = device->next)
        if (device->primary && !device->primary->offer->rescinded)
            hv_uio_scan_subs(device);
    return 0;
}
