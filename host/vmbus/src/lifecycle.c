/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * States of a channel, control thread.
 *
 *                 open                 worker: opened, result is sent
 *    CLOSED ---------------> OPENING --------------------------------> OPEN <------> MOVING
 *      ^                        | refused                                |    modify
 *      |<-----------------------+                                        | close, rescind, reset, guest gone
 *      |                worker: provider has stopped                     v
 *      +----------------------------------------------------------- CLOSING
 *
 * A close that comes while the worker has something to answer is remembered (close_wanted).  A primary closes after
 * its sub-channels have.  What waits for the end of a close is carried out then, in this order: give up the rings and
 * answer their teardown, rescind, carry out an open that came meanwhile, go on with the reset.
 */
#include "host_impl.h"

#include <errno.h>
#include <string.h>

#include <hv/base/bits.h>

static struct hv_host_worker *worker_for(struct hv_host_guest *guest, uint32_t target_vp)
{
    uint32_t vp = target_vp == HV_VP_NONE ? 0 : target_vp;

    return &guest->workers[vp % guest->worker_count];
}

static void post_open_result(struct hv_host_channel *channel, uint32_t open_id, uint32_t status)
{
    const struct hv_msg_open_result message = {.hdr.type = HV_MSG_OPEN_RESULT,
                                               .relid = channel->relid,
                                               .open_id = open_id,
                                               .status = status};

    hv_host_guest_post(channel->guest, &message, sizeof(message));
}

/** Is on its way to closed: an open that comes now has to wait. */
static bool is_closing(const struct hv_host_channel *channel)
{
    return channel->state == HV_CHANNEL_CLOSING || channel->close_wanted;
}

/* ---- Rings ---- */

/** Place every page in its file.  Returns the number of runs, which is what mapping costs, or -EFAULT. */
static int locate(const struct hv_host_memory *memory, const uint64_t *pfns, uint32_t pages,
                  int *fds, uint64_t *offsets)
{
    int runs = 0;

    for (uint32_t i = 0; i < pages; i++) {
        const struct hv_host_memory_region *region = hv_host_memory_find_lasting(memory, pfns[i]);

        if (!region)
            return -EFAULT;
        fds[i] = region->fd;
        offsets[i] = region->offset + (pfns[i] - region->first_pfn) * HV_PAGE_BYTES;
        if (!i || fds[i] != fds[i - 1] || offsets[i] != offsets[i - 1] + HV_PAGE_BYTES)
            runs++;
    }
    return runs;
}

static void unmap_rings(struct hv_host_channel *channel)
{
    hv_ring_unmap(&channel->out_area);
    hv_ring_unmap(&channel->in_area);
    channel->guest->ring_runs -= channel->ring_runs;
    channel->ring_runs = 0;
}

static int map_rings(struct hv_host_channel *channel, const uint64_t *pfns, uint32_t pages,
                     uint32_t in_ring_page)
{
    struct hv_host_guest *guest = channel->guest;
    int fds[HV_GPADL_RANGE_MAX_PAGES];
    uint64_t offsets[HV_GPADL_RANGE_MAX_PAGES];
    int err, runs;

    if (pages > HV_GPADL_RANGE_MAX_PAGES || in_ring_page < 2 || in_ring_page > pages - 2)
        return -EINVAL;
    runs = locate(&guest->memory, pfns, pages, fds, offsets);
    if (runs < 0)
        return runs;
    /* mappings are scarce (vm.max_map_count), and other guests need some too */
    if ((uint32_t)runs > HV_HOST_RING_RUNS_MAX - guest->ring_runs)
        return -ENOSPC;
    guest->ring_runs += (uint32_t)runs;
    channel->ring_runs = (uint32_t)runs;
    err = hv_ring_map_pages(fds, offsets, in_ring_page, &channel->out_area);
    if (!err)
        err = hv_ring_map_pages(fds + in_ring_page, offsets + in_ring_page, pages - in_ring_page,
                                &channel->in_area);
    if (!err)
        err = hv_ring_rx_init(&channel->rx, &channel->out_area);
    if (!err)
        err = hv_ring_tx_init(&channel->tx, &channel->in_area);
    if (err)
        unmap_rings(channel);
    else
        hv_ring_rx_mask(&channel->rx); /* the worker is awake when it starts */
    return err;
}

/* ---- Open ---- */

/** A sub-channel that is still offered has an open primary: they are taken away before it closes. */
static int prepare(struct hv_host_channel *channel, const struct hv_msg_open *open)
{
    const uint64_t *pfns;
    struct hv_host_gpadl *gpadl;
    uint32_t pages;
    int err;

    if (!channel->device)
        return -ENODEV;
    err = hv_host_gpadl_ring(channel, open->gpadl, &gpadl, &pfns, &pages);
    if (!err && pages < 4)
        err = -EINVAL;
    if (!err)
        err = map_rings(channel, pfns, pages, open->in_ring_page);
    if (err)
        return err;
    hv_host_gpadl_use(gpadl);
    channel->ring_gpadl = gpadl;
    return 0;
}

static void fresh_data_path(struct hv_host_channel *channel)
{
    channel->ctx = NULL;
    channel->serving = false;
    channel->stopping = false;
    channel->stopped = false;
    channel->held = false;
    channel->waiting_room = false;
    channel->killed = false;
    channel->corrupted = false;
    channel->subchannels_wanted = 0;
    memset(&channel->hit, 0, sizeof(channel->hit));
    memset(channel->watched, 0, sizeof(channel->watched));
}

static void start_opening(struct hv_host_channel *channel)
{
    struct hv_host_guest *guest = channel->guest;
    const struct hv_msg_open *open = &channel->open;
    int err = prepare(channel, open);

    if (err) {
        hv_host_guest_complain(guest, "open of channel %u refused: %s", channel->relid,
                               strerror(-err));
        post_open_result(channel, open->open_id, HV_STATUS_UNSUCCESSFUL);
        return;
    }
    fresh_data_path(channel);
    memcpy(channel->user_data, open->user_data, sizeof(channel->user_data));
    channel->target_vp = open->target_vp;
    channel->interrupts = open->target_vp != HV_VP_NONE;
    channel->worker = worker_for(guest, open->target_vp);
    channel->version = guest->version;
    channel->serial = ++guest->serial;
    channel->state = HV_CHANNEL_OPENING;
    hv_host_worker_request(channel, HV_REQUEST_OPEN);
}

void hv_host_channel_open(struct hv_host_channel *channel, const struct hv_msg_open *open)
{
    if (channel->revoking || channel->revoked)
        return; /* the rescind wakes the guest */
    if (is_closing(channel) && !channel->reopen && !channel->released) {
        channel->open = *open;
        channel->reopen = true;
        return;
    }
    if (channel->state != HV_CHANNEL_CLOSED) {
        hv_host_guest_doom(channel->guest, "open of channel %u, which is open", channel->relid);
        return;
    }
    channel->open = *open;
    start_opening(channel);
}

/* ---- Close ---- */

static bool sub_channels_are_closed(const struct hv_host_channel *primary)
{
    struct hv_host_channel *channel;
    bool closed = true;

    TAILQ_FOREACH(channel, &primary->guest->channels, entry)
    {
        if (channel == primary || channel->device != primary->device || !primary->device)
            continue;
        hv_host_channel_close(channel);
        closed &= channel->state == HV_CHANNEL_CLOSED;
    }
    return closed;
}

void hv_host_channel_close(struct hv_host_channel *channel)
{
    switch (channel->state) {
    case HV_CHANNEL_CLOSED:
    case HV_CHANNEL_CLOSING:
        return;
    case HV_CHANNEL_OPENING:
    case HV_CHANNEL_MOVING:
        channel->close_wanted = true;
        return;
    case HV_CHANNEL_OPEN:
        break;
    }
    if (!channel->index && !sub_channels_are_closed(channel)) {
        channel->close_wanted = true;
        return;
    }
    channel->close_wanted = false;
    channel->state = HV_CHANNEL_CLOSING;
    hv_host_worker_request(channel, HV_REQUEST_CLOSE);
}

static void revoke_sub_channels(struct hv_host_channel *primary)
{
    struct hv_host_channel *channel, *next;

    for (channel = TAILQ_FIRST(&primary->guest->channels); channel; channel = next) {
        next = TAILQ_NEXT(channel, entry);
        if (channel != primary && primary->device && channel->device == primary->device)
            hv_host_channel_revoke(channel);
    }
}

void hv_host_channel_close_by_guest(struct hv_host_channel *channel)
{
    if (channel->revoking || channel->revoked)
        return; /* it crossed with the rescind */
    if (is_closing(channel) && channel->reopen) {
        channel->reopen = false; /* the open that waited is closed again */
        return;
    }
    if (channel->state == HV_CHANNEL_CLOSED || is_closing(channel)) {
        hv_host_guest_doom(channel->guest, "close of channel %u, which is not open",
                           channel->relid);
        return;
    }
    if (!channel->index)
        revoke_sub_channels(channel);
    hv_host_channel_close(channel);
}

/* ---- Rescind ---- */

static void finish_revoke(struct hv_host_channel *channel)
{
    const struct hv_msg_relid message = {.hdr.type = HV_MSG_RESCIND_OFFER, .relid = channel->relid};

    channel->revoking = false;
    channel->revoked = true;
    hv_host_channel_drop_device(channel);
    hv_host_gpadl_revoke(channel);
    hv_host_guest_post(channel->guest, &message, sizeof(message));
}

/** Both the device and the guest are there to hear of it; else the reset takes the channel away. */
void hv_host_channel_revoke(struct hv_host_channel *channel)
{
    struct hv_host_guest *guest = channel->guest;

    if (channel->revoking || channel->revoked)
        return;
    if (!channel->index)
        revoke_sub_channels(channel);
    channel->reopen = false;
    if (guest->state != HV_GUEST_LIVE || guest->reset) {
        hv_host_channel_close(channel);
        if (channel->state == HV_CHANNEL_CLOSED)
            hv_host_channel_drop_device(channel);
        return;
    }
    channel->revoking = true;
    hv_host_channel_close(channel);
    if (channel->state == HV_CHANNEL_CLOSED)
        finish_revoke(channel);
}

void hv_host_channel_release_relid(struct hv_host_channel *channel)
{
    bool in_hand = channel->state != HV_CHANNEL_CLOSED;

    if (in_hand && !is_closing(channel)) {
        hv_host_guest_doom(channel->guest, "release of channel %u, which is open", channel->relid);
        return;
    }
    channel->released = true;
    channel->reopen = false;
    if (!in_hand)
        hv_host_channel_free(channel);
}

/* ---- Modify ---- */

static void post_modified(struct hv_host_channel *channel, uint32_t status)
{
    const struct hv_msg_modify_channel_result message = {
        .hdr.type = HV_MSG_MODIFY_CHANNEL_RESULT, .relid = channel->relid, .status = status};

    if (channel->guest->version >= HV_VERSION_5_3)
        hv_host_guest_post(channel->guest, &message, sizeof(message));
}

void hv_host_channel_modify(struct hv_host_channel *channel, uint32_t target_vp)
{
    struct hv_host_guest *guest = channel->guest;

    if (channel->revoking || channel->revoked)
        return;
    if (channel->state == HV_CHANNEL_MOVING && !is_closing(channel) && target_vp != HV_VP_NONE &&
        guest->version < HV_VERSION_5_3) {
        channel->target_vp = target_vp; /* before there were replies the last request counts */
        return;
    }
    if (channel->state != HV_CHANNEL_OPEN || is_closing(channel) || target_vp == HV_VP_NONE) {
        if (guest->version >= HV_VERSION_5_3)
            post_modified(channel, HV_STATUS_UNSUCCESSFUL);
        else
            hv_host_guest_doom(guest, "modify of channel %u, which is not open", channel->relid);
        return;
    }
    channel->target_vp = target_vp;
    if (channel->worker == worker_for(guest, target_vp) && channel->interrupts) {
        post_modified(channel, 0);
        return;
    }
    channel->state = HV_CHANNEL_MOVING;
    hv_host_worker_request(channel, HV_REQUEST_LEAVE);
}

/* ---- What workers report ---- */

/** Of a sub-channel, also one that is being taken away; NULL for a primary. */
static struct hv_host_channel *primary_of(const struct hv_host_channel *channel)
{
    struct hv_host_channel *primary;

    if (!channel->index || !channel->device)
        return NULL;
    TAILQ_FOREACH(primary, &channel->guest->channels, entry)
    {
        if (primary->device == channel->device && !primary->index)
            return primary;
    }
    return NULL;
}

static void on_closed(struct hv_host_channel *channel)
{
    struct hv_host_guest *guest = channel->guest;
    struct hv_host_gpadl *gpadl = channel->ring_gpadl;
    struct hv_host_channel *primary = primary_of(channel);

    channel->state = HV_CHANNEL_CLOSED;
    channel->close_wanted = false;
    unmap_rings(channel);
    channel->ring_gpadl = NULL;
    hv_host_gpadl_unmap_all(channel);
    hv_host_gpadl_answer_unmapped(channel);
    hv_host_gpadl_unuse(gpadl);
    if (channel->released) {
        hv_host_channel_free(channel);
    } else if (channel->revoking) {
        finish_revoke(channel);
    } else if (channel->device && channel->device->withdrawn) {
        hv_host_channel_drop_device(channel);
    } else if (channel->reopen) {
        channel->reopen = false;
        start_opening(channel);
    }
    if (primary && primary->close_wanted)
        hv_host_channel_close(primary);
    hv_host_guest_reap_memory(guest);
}

static void on_opened(struct hv_host_channel *channel, uint16_t subchannels)
{
    struct hv_host_guest *guest = channel->guest;
    bool unwanted = channel->close_wanted;

    if (channel->open_status) {
        hv_host_guest_complain(guest, "the provider refused to open channel %u: %s", channel->relid,
                               strerror(-channel->open_status));
        if (!unwanted)
            post_open_result(channel, channel->open.open_id, HV_STATUS_UNSUCCESSFUL);
        on_closed(channel);
        return;
    }
    channel->state = HV_CHANNEL_OPEN;
    if (unwanted) {
        hv_host_channel_close(channel);
        return;
    }
    post_open_result(channel, channel->open.open_id, 0);
    hv_host_worker_request(channel, HV_REQUEST_START);
    hv_host_offers_subchannels(channel, subchannels); /* the provider may have asked in open */
}

static void on_left(struct hv_host_channel *channel)
{
    struct hv_host_guest *guest = channel->guest;

    channel->worker = worker_for(guest, channel->target_vp);
    channel->interrupts = true;
    channel->state = HV_CHANNEL_OPEN;
    hv_host_worker_request(channel, HV_REQUEST_START);
    if (channel->close_wanted) {
        hv_host_channel_close(channel);
        return;
    }
    post_modified(channel, 0); /* the old worker is out of it */
}

static void on_rescind(struct hv_host_channel *channel)
{
    struct hv_host_guest *guest = channel->guest;
    struct hv_host_channel *primary =
        channel->device ? hv_host_channel_of_device(guest, channel->device, 0) : NULL;

    hv_host_channel_revoke(primary ? primary : channel);
}

void hv_host_channel_event(struct hv_host_channel *channel, uint32_t events)
{
    struct hv_host_guest *guest = channel->guest;
    char why[HV_HOST_WHY_BYTES];
    uint16_t subchannels;

    pthread_mutex_lock(&guest->lock); /* workers write these */
    memcpy(why, guest->kill_why, sizeof(why));
    subchannels = channel->subchannels_wanted;
    pthread_mutex_unlock(&guest->lock);
    if (events & HV_EVENT_KILL)
        hv_host_guest_doom(guest, "%s", why);
    if (events & HV_EVENT_RESCIND)
        on_rescind(channel);
    if (events & HV_EVENT_OPENED) {
        on_opened(channel, subchannels);
        return; /* a worker that has only just opened has nothing else to tell */
    }
    if (events & HV_EVENT_SUBCHANNELS)
        hv_host_offers_subchannels(channel, subchannels);
    if (events & HV_EVENT_LEFT)
        on_left(channel);
    if (events & HV_EVENT_UNMAPPED)
        hv_host_gpadl_answer_unmapped(channel);
    if (events & HV_EVENT_CLOSED)
        on_closed(channel);
}
