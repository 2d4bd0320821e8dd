/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Start and stop.
 *
 * Sub-channels are asked for at the first start.  NVSP has no way to give them back, they end with the primary channel,
 * so they stay open over stop, and a start with as many queues or fewer finds them there.  More queues than were ever
 * asked for take a new attachment, as with other drivers.
 */
#include "netvsc_impl.h"

#include <errno.h>
#include <string.h>

#define SUBCHANNEL_ALLOCATE 1u

uint16_t hv_netvsc_max_queues(const struct hv_netvsc *n)
{
    uint32_t most = hv_min_u32(n->opts.max_queues, n->rss.max_queues);

    if (n->open_count && !hv_channel_may_grow(n->channels[0]))
        return 1;
    if (n->asked_subs > n->granted_subs) /* the host has no more */
        most = hv_min_u32(most, n->granted_subs + 1u);
    return (uint16_t)most;
}

/* ---- Channels ---- */

static int ask_subchannels(struct hv_netvsc *n, uint16_t count)
{
    const struct hv_nvsp_message request = {
        .type = HV_NVSP_SUBCHANNEL,
        .subchannel_request = {.operation = SUBCHANNEL_ALLOCATE, .count = count},
    };
    struct hv_nvsp_message reply;
    uint32_t granted = 0;
    size_t bytes;
    int err = hv_netvsc_nvsp_ask(n, &request, &reply, &bytes);

    if (err)
        return err;
    if (reply.type == HV_NVSP_SUBCHANNEL &&
        reply.subchannel_complete.status == HV_NVSP_STATUS_SUCCESS)
        granted = reply.subchannel_complete.count;
    if (reply.type != HV_NVSP_SUBCHANNEL || bytes < 8 || granted > count ||
        (granted && bytes < sizeof(reply.type) + sizeof(reply.subchannel_complete))) {
        hv_log(&n->opts.log, HV_LOG_ERROR,
               "network: %u sub-channels were asked for, and the host grants %u", count, granted);
        return -EPROTO;
    }
    n->asked_subs = count;
    n->granted_subs = (uint16_t)granted;
    return 0;
}

/** Open what was granted, up to `queues` channels in all; fewer is no error. */
static int open_granted(struct hv_netvsc *n, uint16_t queues)
{
    uint16_t subs = (uint16_t)hv_min_u32(queues - 1u, n->granted_subs);
    size_t offered;

    if (n->open_count > subs)
        return 0;
    offered = hv_vmbus_wait_subchannels(n->bus, &n->instance, subs, n->opts.timeout_ms);
    if (offered < subs) {
        hv_log(&n->opts.log, HV_LOG_WARNING,
               "network: %u sub-channels were granted, and %zu are offered", subs, offered);
        subs = n->granted_subs = (uint16_t)offered; /* what never came is not waited for again */
    }
    while (n->open_count <= subs) {
        int err = hv_netvsc_open_channel(n, n->open_count);

        if (!err)
            continue;
        if (hv_netvsc_look(n))
            return hv_netvsc_status(n);
        hv_log(&n->opts.log, HV_LOG_WARNING, "network: sub-channel %u cannot be opened: %s",
               n->open_count, strerrordesc_np(-err));
        n->granted_subs = (uint16_t)(n->open_count - 1);
        break;
    }
    return 0;
}

static int open_channels(struct hv_netvsc *n, uint16_t queues)
{
    int err = 0;

    if (queues > n->asked_subs + 1 && n->asked_subs && n->granted_subs == n->asked_subs) {
        err = hv_netvsc_reattach(n);
        if (err && err != -EBUSY)
            hv_netvsc_mark_dead(n, err == -ENODEV ? -ENODEV : -EPROTO);
    }
    if (!err && queues > 1 && !n->asked_subs)
        err = ask_subchannels(n, (uint16_t)(queues - 1));
    return err ? err : open_granted(n, queues);
}

/** Until the host has done with everything that was sent. */
static int wait_quiet(struct hv_netvsc *n)
{
    uint64_t deadline_ns = hv_netvsc_deadline(n);
    uint32_t busy;
    int err = 0;

    do {
        busy = 0;
        for (uint16_t i = 0; i < n->queue_count; i++) {
            hv_nq_poll(n->queues[i]);
            busy += hv_nq_busy(n->queues[i]);
        }
        if (busy)
            err = hv_netvsc_look(n);
        if (busy && !err)
            err = hv_netvsc_sleep(n, hv_min_u64(deadline_ns, hv_clock_ns() + HV_NETVSC_MS_NS));
    } while (busy && !err);
    return err ? err : hv_netvsc_status(n); /* what is dead is quiet, too */
}

/** Both buffers are divided among the queues, the receive buffer only as a limit to what is held. */
static int share_out(struct hv_netvsc *n)
{
    uint32_t sections = hv_min_u32(n->device->send_sections / n->queue_count, UINT16_MAX);
    struct hv_nq_share share = {
        .section_count = sections,
        .receive_sections = n->device->receive_sections / n->queue_count,
    };
    int err;

    if (n->shared_among == n->queue_count)
        return 0;
    err = wait_quiet(n); /* answers of the handshake may be ahead of its completions */
    if (!err && hv_netvsc_holds_frames(n))
        err = -EBUSY;
    if (err)
        return err;
    n->shared_among = 0;
    for (uint16_t i = 0; i < n->queue_count && !err; i++) {
        share.first_section = i * sections;
        err = hv_nq_set_share(n->queues[i], &share);
    }
    if (!err)
        n->shared_among = n->queue_count;
    return err;
}

/* ---- Start ---- */

static int go(struct hv_netvsc *n)
{
    int err = hv_netvsc_rss_apply(n);

    if (err)
        return err;
    hv_netvsc_rx_disarm(n->queues[0]); /* from now on the program's to arm */
    (void)hv_netvsc_watch(n, false);
    for (uint16_t i = 0; i < n->queue_count; i++) {
        hv_nq_poll(n->queues[i]); /* what came meanwhile goes back */
        hv_nq_resume(n->queues[i]);
    }
    n->running = true;
    return hv_netvsc_send_filter(n, n->filter);
}

static void halt(struct hv_netvsc *n)
{
    for (uint16_t i = 0; i < n->queue_count; i++)
        hv_nq_pause(n->queues[i]);
    n->running = false;
    if (!hv_netvsc_status(n))
        (void)hv_netvsc_watch(n, true); /* without it the program learns a little later */
}

int hv_netvsc_start(struct hv_netvsc *n, uint16_t queues, uint16_t *ret_queues)
{
    uint16_t before = n->queue_count;
    int err = hv_netvsc_status(n);

    if (!err && n->running)
        err = -EALREADY;
    if (!err && (!queues || queues > n->opts.max_queues))
        err = -EINVAL;
    if (!err) {
        queues = (uint16_t)hv_min_u32(queues, hv_netvsc_max_queues(n));
        err = open_channels(n, queues);
    }
    if (!err) {
        n->queue_count = (uint16_t)hv_min_u32(queues, n->open_count);
        err = share_out(n);
        if (err)
            n->queue_count = before; /* what it has is still fit for those */
    }
    if (!err) {
        err = go(n);
        if (err && n->running)
            halt(n);
    }
    if (!err)
        *ret_queues = n->queue_count;
    hv_netvsc_tell(n);
    return err;
}

/* ---- Stop ---- */

int hv_netvsc_stop(struct hv_netvsc *n)
{
    int err;

    if (!n->running)
        return hv_netvsc_status(n);
    err = hv_netvsc_send_filter(n, 0);
    halt(n);
    if (!err || err == -EIO || err == -EOPNOTSUPP) /* refused: paused queues drop what comes */
        err = wait_quiet(n);
    if (err && !hv_netvsc_status(n)) {
        hv_log(&n->opts.log, HV_LOG_ERROR, "network: the host does not let go: %s",
               strerrordesc_np(-err));
        hv_channel_kill(n->channels[0], "the host does not let go of what was sent");
        hv_netvsc_mark_dead(n, -EPROTO);
    }
    hv_netvsc_tell(n);
    return err;
}
