/* SPDX-License-Identifier: BSD-3-Clause */
/* The transmit side: prepared messages into the ring under the lock, one publish; cookies of what the host has done with. */
#include "queue_impl.h"

#include <errno.h>
#include <string.h>

/* ---- What came back ---- */

static void settle(struct hv_nq_tx *tx, uint16_t index)
{
    struct hv_nq_descriptor *d = &tx->table[index];

    d->busy = false;
    if (d->section == HV_NQ_NONE) {
        hv_nq_fifo_put(&tx->cookies, index); /* free when its cookie is taken */
        return;
    }
    hv_nq_fifo_put(d->section & HV_NQ_BOUNCED ? &tx->bounces : &tx->sections, (uint16_t)d->section);
    hv_nq_fifo_put(&tx->descriptors, index);
}

void hv_nq_tx_collect(struct hv_netvsc_queue *q)
{
    uint32_t tail = atomic_load_explicit(&q->done_tail, memory_order_acquire);

    for (; q->tx.done_head != tail; q->tx.done_head++)
        settle(&q->tx, q->done[q->tx.done_head & q->done_mask]);
}

/** The channel is dead: what was with the host is nobody's but ours. */
static void collect_all(struct hv_netvsc_queue *q)
{
    hv_nq_lock(q); /* whoever was draining has seen it die */
    atomic_store_explicit(&q->messages, 0, memory_order_relaxed);
    hv_nq_unlock(q);
    hv_nq_tx_collect(q);
    for (uint32_t i = 0; i < q->descriptor_count; i++)
        if (q->tx.table[i].busy)
            settle(&q->tx, (uint16_t)i);
}

static void drain_all(struct hv_netvsc_queue *q)
{
    hv_nq_lock(q);
    if (!hv_nq_is_dead(q))
        hv_nq_drain_for_others(q);
    hv_nq_unlock(q);
    hv_nq_tx_collect(q);
}

static uint16_t take_cookies(struct hv_nq_tx *tx, void **cookies, uint16_t max)
{
    uint16_t n = 0;

    while (n < max && hv_nq_fifo_count(&tx->cookies)) {
        uint16_t index = hv_nq_fifo_get(&tx->cookies);

        cookies[n++] = tx->table[index].cookie;
        hv_nq_fifo_put(&tx->descriptors, index);
    }
    return n;
}

uint16_t hv_netvsc_tx_reap(struct hv_netvsc_queue *q, void **cookies, uint16_t max)
{
    hv_nq_tx_collect(q);
    if (hv_nq_unlikely(hv_nq_is_dead(q)))
        collect_all(q);
    else if (hv_nq_fifo_count(&q->tx.cookies) < max &&
             atomic_load_explicit(&q->messages, memory_order_relaxed))
        drain_all(q);
    return take_cookies(&q->tx, cookies, max);
}

uint32_t hv_netvsc_tx_in_flight(const struct hv_netvsc_queue *q)
{
    return atomic_load_explicit(&q->messages, memory_order_relaxed);
}

uint32_t hv_netvsc_tx_descriptors(const struct hv_netvsc_queue *q)
{
    return q->descriptor_count;
}

/* ---- Sending ---- */

static int death_of(const struct hv_netvsc_queue *q)
{
    int err = q->detached ? -ENODEV : hv_channel_status(q->channel);

    return err ? err : -EPROTO;
}

/** One prepared message into the ring; under the lock.  0 or why not. */
static int put_message(struct hv_netvsc_queue *q, const struct hv_nq_message *m)
{
    struct hv_packet_desc desc = {
        .trans_id = q->generation << 16 | (m->descriptor + 1u),
        .ext_bytes = m->list_bytes,
        .payload_bytes = HV_NVSP_MESSAGE_BYTES,
        .type = m->list_bytes ? HV_PACKET_GPA_DIRECT : HV_PACKET_INBAND,
        .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED,
    };
    uint32_t bytes =
        HV_RING_DESCRIPTOR_BYTES + m->list_bytes + HV_NVSP_MESSAGE_BYTES + HV_RING_TRAILER_BYTES;
    struct hv_packet_slot place;
    static const struct hv_nvsp_message nvsp = {
        .type = HV_NVSP_SEND_RNDIS_PACKET,
        .rndis = {HV_NVSP_CHANNEL_DATA, HV_NVSP_SECTION_NONE, 0},
    };
    int err;

    if (hv_nq_unlikely(m->list_bytes + HV_NVSP_MESSAGE_BYTES > hv_channel_max_bytes(q->channel)))
        return -EMSGSIZE;
    if (hv_nq_unlikely(!hv_nq_has_room(q, bytes)))
        return -EAGAIN;
    err = hv_channel_reserve(q->channel, &desc, &place);
    if (hv_nq_unlikely(err))
        return err;
    q->room -= bytes;
    memcpy(place.payload, &nvsp, sizeof(nvsp)); /* the constant first: see hv_nq_encode_plain() */
    if (hv_nq_likely(!m->list_bytes)) {
        struct hv_nvsp_message *to = place.payload;

        to->rndis.section_index = q->first_section + m->section;
        to->rndis.section_bytes = m->section_bytes;
    } else {
        memcpy(place.ext, &q->tx.lists[m->list_at], m->list_bytes);
    }
    q->ids[m->descriptor] = desc.trans_id;
    q->generation++;
    return 0;
}

/** Counted when they are in the ring. */
struct sent {
    uint32_t frames, copied, aggregated, by_page;
    uint64_t bytes;
};

static void count_message(struct hv_nq_tx *tx, const struct hv_nq_message *m, struct sent *sent)
{
    tx->table[m->descriptor].section = m->section;
    tx->table[m->descriptor].busy = true;
    sent->frames += m->frames;
    sent->bytes += m->frame_bytes;
    if (m->section == HV_NQ_NONE)
        sent->by_page++;
    else
        sent->copied += m->frames;
    if (m->frames > 1)
        sent->aggregated += m->frames;
}

/** What is prepared; publishes when it is the last of a burst or something went wrong.  Returns frames sent. */
static uint16_t send_prepared(struct hv_netvsc_queue *q, bool last, int *error)
{
    struct hv_nq_tx *tx = &q->tx;
    struct sent sent = {0};
    uint32_t done = 0;
    int err = 0;

    hv_nq_lock(q);
    if (hv_nq_unlikely(hv_nq_is_dead(q)))
        err = death_of(q);
    else if (hv_nq_unlikely(hv_nq_is_paused(q)))
        err = -EAGAIN;
    for (; !err && done < tx->message_count; done++) {
        err = put_message(q, &tx->messages[done]);
        if (err)
            break;
        count_message(tx, &tx->messages[done], &sent);
    }
    hv_nq_add(&q->messages, done);
    if (last || err) {
        hv_nq_complete(q);
        hv_nq_flush(q);
    }
    hv_nq_unlock(q);
    if (hv_nq_unlikely(err)) {
        if (err == -EAGAIN)
            HV_NQ_COUNT(tx->stats.tx_full, 1);
        hv_nq_unbuild(q, done);
        *error = err;
    }
    HV_NQ_COUNT(tx->stats.tx_packets, sent.frames);
    HV_NQ_COUNT(tx->stats.tx_bytes, sent.bytes);
    HV_NQ_COUNT(tx->stats.tx_messages, done);
    HV_NQ_COUNT(tx->stats.tx_copied, sent.copied);
    HV_NQ_COUNT(tx->stats.tx_aggregated, sent.aggregated);
    HV_NQ_COUNT(tx->stats.tx_by_page, sent.by_page);
    return (uint16_t)sent.frames;
}

/** Which flags may be set, anew after the offloads changed. */
static void learn_offloads(struct hv_nq_tx *tx, uint32_t offloads)
{
    for (uint32_t flags = 0; flags < sizeof(tx->allowed); flags++) {
        uint32_t wanted = hv_nq_offloads_of(flags);

        tx->allowed[flags] = wanted != UINT32_MAX && !(wanted & ~offloads);
    }
    tx->offloads = offloads;
}

/** 0, or why nothing can be sent; looks for free descriptors and sections when they run low. */
static int prepare(struct hv_netvsc_queue *q, uint16_t count)
{
    struct hv_nq_tx *tx = &q->tx;
    uint32_t offloads = atomic_load_explicit(&q->device->offloads, memory_order_relaxed);

    if (hv_nq_unlikely(hv_nq_is_dead(q)))
        return death_of(q);
    if (hv_nq_unlikely(hv_nq_is_paused(q)))
        return -EAGAIN;
    if (hv_nq_unlikely(offloads != tx->offloads))
        learn_offloads(tx, offloads);
    hv_nq_tx_collect(q);
    if (hv_nq_unlikely(hv_nq_fifo_count(&tx->descriptors) < count ||
                       (tx->section_count && hv_nq_fifo_count(&tx->sections) < count) ||
                       (tx->bounce_dma && hv_nq_fifo_count(&tx->bounces) < HV_NQ_BOUNCES / 2)))
        drain_all(q);
    return 0;
}

uint16_t hv_netvsc_tx_burst(struct hv_netvsc_queue *q, struct hv_netvsc_tx *frames, uint16_t count,
                            int *ret_error)
{
    uint16_t taken = 0;
    int err = prepare(q, count);

    while (!err && taken < count) {
        uint16_t n = hv_nq_build(q, frames + taken, (uint16_t)(count - taken), &err);
        int failed = 0;

        if (!n && !taken)
            break;
        /* nothing prepared and an error: publishes what went before */
        taken = (uint16_t)(taken + send_prepared(q, err || taken + n == count, &failed));
        if (failed)
            err = failed; /* it came before what build stopped at */
    }
    /* the ring is full: perhaps because the host has no room for completions, and nobody else takes out what it sent */
    if (hv_nq_unlikely(err == -EAGAIN))
        drain_all(q);
    if (hv_nq_unlikely(err && err != -EAGAIN && err != -ENODEV && err != -EPROTO))
        HV_NQ_COUNT(q->tx.stats.tx_refused, 1);
    if (ret_error)
        *ret_error = err;
    return taken;
}
