/* SPDX-License-Identifier: BSD-3-Clause */
/* The receive side: staged frames are looked at in place, and their messages go back to the host when all of it is done. */
#include "queue_impl.h"

#include <unistd.h>

#define AHEAD 4u /* frames whose headers are asked for early: the host's core has them */

static uint8_t *address_of(const struct hv_netvsc_queue *q, const struct hv_nq_staged *s)
{
    return (uint8_t *)q->device->receive.address + s->offset;
}

/* ---- Messages given back ---- */

void hv_nq_return(struct hv_netvsc_queue *q, const struct hv_nq_chain *chain)
{
    uint32_t top;

    if (chain->first == HV_NQ_NONE)
        return;
    top = atomic_load_explicit(&q->returned, memory_order_relaxed);
    do {
        q->slots[chain->first].next = top;
    } while (!atomic_compare_exchange_weak_explicit(&q->returned, &top, chain->last,
                                                    memory_order_release, memory_order_relaxed));
}

/** `first` is given back before `last`: the stack's top is the newest. */
static void chain_add(struct hv_netvsc_queue *q, struct hv_nq_chain *chain, uint32_t slot)
{
    if (chain->first == HV_NQ_NONE)
        chain->first = slot;
    else
        q->slots[slot].next = chain->last;
    chain->last = slot;
}

void hv_nq_slot_done(struct hv_netvsc_queue *q, uint32_t index, struct hv_nq_chain *chain)
{
    struct hv_nq_slot *slot = &q->slots[index];

    if (--slot->left)
        return;
    if (hv_nq_unlikely(slot->holds)) {
        uint32_t holds = slot->holds;

        /* acquire and release: whoever finishes the message has seen all that was done under it */
        if (atomic_fetch_add_explicit(&slot->refs, holds, memory_order_acq_rel) + holds)
            return;
    }
    chain_add(q, chain, index);
}

void hv_netvsc_rx_release(struct hv_netvsc_queue *q, uint32_t hold)
{
    struct hv_nq_chain chain = {hold, hold};

    if (hold >= q->slot_count)
        return; /* not from a frame of this queue */
    if (atomic_fetch_sub_explicit(&q->slots[hold].refs, 1, memory_order_acq_rel) == 1)
        hv_nq_return(q, &chain);
}

bool hv_netvsc_rx_hold(struct hv_netvsc_queue *q, const struct hv_netvsc_frame *frame)
{
    struct hv_nq_slot *slot = &q->slots[frame->hold];

    if (!slot->held) {
        uint32_t held =
            q->rx.held_taken - atomic_load_explicit(&q->held_returned, memory_order_relaxed);

        if (held + slot->ranges > q->rx.held_max) {
            HV_NQ_COUNT(q->rx.stats.rx_hold_refused, 1);
            return false;
        }
        slot->held = true;
        q->rx.held_taken += slot->ranges;
    }
    slot->holds++; /* at most one for each frame of the message: fits */
    HV_NQ_COUNT(q->rx.stats.rx_held, 1);
    return true;
}

void hv_netvsc_rx_done(struct hv_netvsc_queue *q)
{
    struct hv_nq_chain chain = {HV_NQ_NONE, HV_NQ_NONE};
    uint32_t at = q->rx.first;

    if (at == q->rx.next)
        return;
    for (; at != q->rx.next; at++)
        hv_nq_slot_done(q, q->staged[at & (HV_NQ_STAGED - 1)].slot, &chain);
    q->rx.first = at;
    atomic_store_explicit(&q->staged_seen, at, memory_order_release);
    hv_nq_return(q, &chain);
}

/* ---- Bursts ---- */

static __attribute__((cold)) void refused(struct hv_netvsc_queue *q, const struct hv_nq_staged *s,
                                          enum hv_nq_verdict verdict)
{
    struct hv_netvsc_queue_stats *stats = &q->rx.stats;

    switch (verdict) {
    case HV_NQ_CONTROL: /* sent as if it were data: some hosts do not tell them apart */
        hv_nq_lock(q);
        hv_nq_control(q, s->offset, s->bytes);
        hv_nq_unlock(q);
        break;
    case HV_NQ_BAD_RNDIS:
        HV_NQ_COUNT(stats->rx_bad_rndis, 1);
        break;
    case HV_NQ_BAD_PPI:
        HV_NQ_COUNT(stats->rx_bad_ppi, 1);
        break;
    case HV_NQ_BAD_LENGTH:
    case HV_NQ_FRAME:
        HV_NQ_COUNT(stats->rx_bad_length, 1);
        break;
    }
}

static uint16_t parse_staged(struct hv_netvsc_queue *q, struct hv_netvsc_frame *frames,
                             uint16_t max)
{
    uint32_t tail = atomic_load_explicit(&q->staged_tail, memory_order_acquire);
    uint32_t at = q->rx.next;
    uint32_t frame_bytes_max = q->device->frame_bytes_max;
    uint64_t bytes = 0;
    uint16_t count = 0;

    for (uint32_t i = at; i != tail && i - at < AHEAD; i++)
        __builtin_prefetch(address_of(q, &q->staged[i & (HV_NQ_STAGED - 1)]));
    for (; at != tail && count < max; at++) {
        const struct hv_nq_staged *s = &q->staged[at & (HV_NQ_STAGED - 1)];
        enum hv_nq_verdict verdict;

        if (tail - at > AHEAD)
            __builtin_prefetch(address_of(q, &q->staged[(at + AHEAD) & (HV_NQ_STAGED - 1)]));
        verdict = hv_nq_parse(address_of(q, s), s->bytes, frame_bytes_max, &frames[count]);
        if (hv_nq_unlikely(verdict != HV_NQ_FRAME)) {
            refused(q, s, verdict);
            continue;
        }
        __builtin_prefetch(frames[count].data);
        frames[count].hold = s->slot;
        bytes += frames[count].bytes;
        count++;
    }
    q->rx.next = at;
    HV_NQ_COUNT(q->rx.stats.rx_packets, count);
    HV_NQ_COUNT(q->rx.stats.rx_bytes, bytes);
    return count;
}

uint16_t hv_netvsc_rx_burst(struct hv_netvsc_queue *q, struct hv_netvsc_frame *frames, uint16_t max)
{
    bool alive;

    hv_netvsc_rx_done(q); /* nothing left to do where the caller did */
    if (hv_nq_unlikely(hv_nq_is_paused(q)))
        return 0;
    hv_nq_lock(q);
    alive = !hv_nq_is_dead(q) && !hv_nq_is_paused(q);
    if (hv_nq_likely(alive)) {
        hv_nq_drain(q, max);
        hv_nq_complete(q);
        hv_nq_flush(q);
        alive = !hv_nq_is_dead(q);
    }
    hv_nq_unlock(q);
    return hv_nq_likely(alive) ? parse_staged(q, frames, max) : 0;
}

uint32_t hv_netvsc_rx_pending(struct hv_netvsc_queue *q)
{
    return atomic_load_explicit(&q->staged_tail, memory_order_acquire) - q->rx.next;
}

/* ---- Sleeping ---- */

int hv_netvsc_rx_fd(const struct hv_netvsc_queue *q)
{
    return q->wait_fd;
}

bool hv_netvsc_rx_arm(struct hv_netvsc_queue *q)
{
    bool stay = true;

    hv_nq_lock(q);
    if (!hv_nq_is_dead(q)) {
        hv_nq_drain(q, HV_NQ_STAGED);
        hv_nq_complete(q);
        hv_nq_flush(q);
        /* a completion that found no room goes out at the next burst: be there */
        stay = hv_nq_is_dead(q) || q->due_head != HV_NQ_NONE ||
               atomic_load_explicit(&q->staged_tail, memory_order_relaxed) != q->rx.next ||
               hv_channel_arm(q->channel);
    }
    q->armed = !stay;
    q->armed_tail = atomic_load_explicit(&q->staged_tail, memory_order_relaxed);
    hv_nq_unlock(q);
    return stay;
}

void hv_netvsc_rx_disarm(struct hv_netvsc_queue *q)
{
    uint64_t count;

    hv_nq_lock(q);
    q->armed = false;
    if (q->kicked)
        (void)!read(q->kick_fd, &count, sizeof(count)); /* it was raised: never waits */
    q->kicked = false;
    if (!q->detached)
        hv_channel_disarm(q->channel);
    hv_nq_unlock(q);
}
