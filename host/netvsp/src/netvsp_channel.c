/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel, polled by one worker.  A poll does, in this order:
 *
 *   news (kicked) -> delayed completions -> packets of the guest, a batch -> their frames to the link, once
 *   -> frames for the guest: left by other workers, then from the link -> control messages
 *   -> completions, one packet of all frames placed -> publish once -> release the guest's ring space once
 *
 * Room in the ring towards the guest is promised before anything is taken that needs it: a completion for each packet,
 * a range for each frame.
 */
#include "netvsp_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define COMPLETION_ROOM (HV_RING_DESCRIPTOR_BYTES + HV_NVSP_MESSAGE_BYTES + HV_RING_TRAILER_BYTES)
#define LOOK_AHEAD      16u
#define CONTROL_ROOM    512u /* besides: answers, indications, messages of our own */
#define LINK_BUDGET     64u

void hv_netvsp_broken(struct hv_netvsp_queue *q, const char *format, ...)
{
    char why[160];
    va_list args;

    if (q->dead)
        return;
    q->dead = true;
    va_start(args, format);
    (void)vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    hv_host_channel_kill(q->channel, "NIC: %s", why);
}

/* ---- Room ---- */

static uint32_t promised(const struct hv_netvsp_queue *q)
{
    return (q->done_count + q->ahead + q->delayed_count) * COMPLETION_ROOM +
           hv_netvsp_rx_promised(q) + (q->index ? 0 : CONTROL_ROOM);
}

bool hv_netvsp_has_room(struct hv_netvsp_queue *q, uint32_t bytes)
{
    uint32_t need = promised(q) + bytes;

    if (q->room > need)
        return true;
    q->room = hv_host_channel_free_bytes(q->channel);
    if (q->room > need)
        return true;
    q->short_of_room = true;
    return false;
}

bool hv_netvsp_reserve(struct hv_netvsp_queue *q, const struct hv_packet_desc *desc,
                       struct hv_packet_slot *ret_slot)
{
    uint32_t bytes = hv_ring_packet_bytes(desc->ext_bytes, desc->payload_bytes);

    if (q->dead || q->closing)
        return false;
    if (hv_host_channel_reserve(q->channel, desc, ret_slot)) {
        hv_netvsp_broken(q, "the guest took back room in its ring");
        return false;
    }
    q->room -= hv_min_u32(q->room, bytes);
    q->unpublished = true;
    return true;
}

/* ---- Packets of the guest ---- */

/** What may be looked at of an NVSP message; the rest is zero. */
static void take_control(struct hv_netvsp_queue *q, const struct hv_packet *packet)
{
    struct hv_nvsp_message message = {0};
    uint32_t bytes = hv_min_u32(packet->payload_bytes, sizeof(message));

    hv_netvsp_snapshot(&message, packet->payload, bytes);
    if (bytes < sizeof(message.type))
        hv_netvsp_broken(q, "message of %u bytes", bytes);
    else if (message.type == HV_NVSP_SEND_RNDIS_PACKET)
        hv_netvsp_broken(q, "message 107 of %u bytes", bytes); /* else it had been taken as such */
    else if (q->index)
        hv_netvsp_broken(q, "message %u on a sub-channel", message.type);
    else
        hv_netvsp_control_message(q, packet, &message, bytes);
}

/** Nearly all are 107: those words are loaded once. */
static void take_message(struct hv_netvsp_queue *q, const struct hv_packet *packet)
{
    struct {
        uint32_t type;
        struct hv_nvsp_rndis rndis;
    } head;

    if (packet->payload_bytes >= sizeof(head)) {
        hv_netvsp_snapshot(&head, packet->payload, sizeof(head));
        if (head.type == HV_NVSP_SEND_RNDIS_PACKET) {
            hv_netvsp_take_rndis(q, packet, &head.rndis);
            return;
        }
    }
    take_control(q, packet);
}

static void take_packet(struct hv_netvsp_queue *q, const struct hv_packet *packet)
{
    switch (packet->type) {
    case HV_PACKET_COMPLETION:
        hv_netvsp_rx_completed(q, packet->trans_id);
        return;
    case HV_PACKET_INBAND:
    case HV_PACKET_GPA_DIRECT:
        take_message(q, packet);
        return;
    default:
        hv_netvsp_broken(q, "packet of type %u", packet->type);
    }
}

/** Room for the completion of one more, and not in the middle of becoming a queue. */
static bool may_take(struct hv_netvsp_queue *q)
{
    if (!q->polled_count || q->done_count + q->ahead >= HV_NETVSP_PACKETS ||
        (q->delayed && q->delayed_count + q->done_count + q->ahead >= HV_NETVSP_DELAYED))
        return false;
    return hv_netvsp_has_room(q, COMPLETION_ROOM);
}

/**
 * Look at some packets, and fetch what they point to: it lies in the cache of the guest's CPU, and a load each would wait
 * for it one after the other.  Returns how many; *ret_held: more may wait, but not be taken.
 */
static uint32_t look_ahead(struct hv_netvsp_queue *q, struct hv_packet *packets, uint32_t max,
                           bool *ret_held)
{
    int err;

    while (q->ahead < max) {
        if (!may_take(q)) {
            *ret_held = true;
            break;
        }
        err = hv_host_channel_peek(q->channel, &packets[q->ahead]);
        if (err) {
            q->dead |= err != -EAGAIN;
            break;
        }
        hv_netvsp_prefetch(q, &packets[q->ahead++]);
        q->unreleased = true;
    }
    return q->ahead;
}

static int take_batch(struct hv_netvsp_queue *q)
{
    struct hv_packet packets[LOOK_AHEAD];
    bool held = false;
    uint32_t n = 0, count;

    while (n < HV_NETVSP_PACKETS && !held && !q->dead) {
        count = look_ahead(q, packets, hv_min_u32(LOOK_AHEAD, HV_NETVSP_PACKETS - n), &held);
        if (!count)
            break;
        /*
         * The guest may have sent these after the answer to what changed since the start of this poll.  What was taken
         * goes first: it lies in buffers that the news may be the end of.
         */
        if (atomic_load_explicit(&q->port->kicked, memory_order_acquire)) {
            hv_netvsp_finish_taken(q);
            hv_netvsp_rx_flush(q);
            hv_netvsp_attend(q);
        }
        for (uint32_t i = 0; i < count; i++, q->ahead--)
            if (!q->dead)
                take_packet(q, &packets[i]);
        n += count;
    }
    hv_netvsp_finish_taken(q);
    if (held != q->held) {
        q->held = held;
        hv_host_channel_hold(q->channel, held);
    }
    return (int)n;
}

/* ---- Poll ---- */

static void note_signals(struct hv_netvsp_queue *q)
{
    struct hv_host_stats stats;

    hv_host_channel_get_stats(q->channel, &stats);
    atomic_store_explicit(&q->counters.signals_from, stats.wakeups, memory_order_relaxed);
    atomic_store_explicit(&q->counters.signals_to, stats.out.signals, memory_order_relaxed);
    q->signals_stale = false;
}

static void flap_link(struct hv_netvsp_queue *q)
{
    bool up = q->rules.link_up;

    q->rules.link_up = !up;
    hv_netvsp_indicate_link(q);
    q->rules.link_up = up;
    hv_netvsp_indicate_link(q);
}

/** Primary only. */
static int control(struct hv_netvsp_queue *q)
{
    int done;

    if (atomic_load_explicit(&q->nic->ports[0].flaps, memory_order_relaxed) &&
        atomic_exchange(&q->nic->ports[0].flaps, 0))
        flap_link(q);
    hv_netvsp_indicate_link(q);
    done = hv_netvsp_send_control(q);
    hv_netvsp_tell(q); /* after the answers: some guests wait for those alone */
    return done;
}

static void publish(struct hv_netvsp_queue *q)
{
    if (q->unpublished && !q->dead && !q->closing)
        (void)hv_host_channel_flush(q->channel);
    q->unpublished = false;
    if (q->unreleased && !q->dead && !q->closing)
        hv_host_channel_release(q->channel);
    q->unreleased = false;
}

int hv_netvsp_poll(void *ctx)
{
    struct hv_netvsp_queue *q = ctx;
    int done = 0;

    q->short_of_room = q->short_of_sections = false; /* until somebody misses some */
    if (atomic_load_explicit(&q->port->kicked, memory_order_acquire)) {
        hv_netvsp_attend(q);
        done++;
    }
    if (q->delayed_count)
        done += hv_netvsp_run_delayed(q);
    if (!q->dead)
        done += take_batch(q);
    if (!q->dead)
        done += hv_netvsp_rx_poll(q);
    if (!q->index && !q->dead)
        done += control(q);
    hv_netvsp_rx_flush(q);
    publish(q);
    if (q->offer_sub_channels && !q->dead) {
        /* After the answer: a guest that is still handling it must not find its list of channels growing. */
        (void)hv_host_channel_offer_subchannels(q->channel, q->offer_sub_channels);
        q->offer_sub_channels = 0;
    }
    if (done)
        q->signals_stale = true;
    else if (q->signals_stale)
        note_signals(q);
    return done;
}

bool hv_netvsp_arm(void *ctx)
{
    struct hv_netvsp_queue *q = ctx;

    if (q->signals_stale)
        note_signals(q);
    if (atomic_load_explicit(&q->port->kicked, memory_order_acquire))
        return true;
    if (q->dead || q->short_of_room)
        hv_netvsp_rx_mute(q);
    if (q->dead)
        return false;
    if (q->short_of_room) /* nothing more fits: packets and frames wait for the guest */
        return hv_host_channel_want_room(q->channel, promised(q) + 2 * COMPLETION_ROOM);
    return hv_netvsp_rx_arm(q);
}
