/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the host sends, under the lock.  Received frames are only noted (offset, length) after their ranges were checked
 * on a private copy: no frame is touched here, and a full FIFO drops frames but never keeps a completion waiting.
 */
#include "queue_impl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/** A word of shared memory, loaded once. */
static uint64_t load64(const void *at)
{
    return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
}

void hv_nq_die(struct hv_netvsc_queue *q)
{
    if (hv_nq_is_dead(q))
        return;
    atomic_store_explicit(&q->dead, true, memory_order_release);
    if (q->device->dead)
        q->device->dead(q->device->hook_arg);
}

static __attribute__((cold)) void kill(struct hv_netvsc_queue *q, const char *why)
{
    hv_channel_kill(q->channel, why);
    hv_nq_die(q);
}

/* ---- Completions that we send ---- */

uint32_t hv_nq_reserved_bytes(const struct hv_netvsc_queue *q)
{
    uint32_t bytes =
        atomic_load_explicit(&q->outstanding, memory_order_relaxed) * HV_NQ_COMPLETION_BYTES;

    /* half of the ring is enough for completions that go out as soon as there is room */
    return hv_min_u32(bytes, hv_channel_max_bytes(q->channel) / 2);
}

bool hv_nq_has_room(struct hv_netvsc_queue *q, uint32_t bytes)
{
    uint32_t needed = bytes + hv_nq_reserved_bytes(q);

    if (hv_nq_unlikely(q->room <= needed))
        q->room =
            hv_channel_free_bytes(q->channel); /* the shared line: only when our count runs out */
    return q->room > needed;
}

/** Messages that others gave back, behind those that are due already, oldest first. */
static void take_returned(struct hv_netvsc_queue *q)
{
    uint32_t slot, newest, before = HV_NQ_NONE;

    if (atomic_load_explicit(&q->returned, memory_order_relaxed) == HV_NQ_NONE)
        return;
    newest = atomic_exchange_explicit(&q->returned, HV_NQ_NONE, memory_order_acquire);
    for (slot = newest; slot != HV_NQ_NONE;) {
        uint32_t next = q->slots[slot].next;

        q->slots[slot].next = before;
        before = slot;
        slot = next;
    }
    if (q->due_head == HV_NQ_NONE)
        q->due_head = before;
    else
        q->slots[q->due_tail].next = before;
    q->due_tail = newest;
}

static void make_due(struct hv_netvsc_queue *q, uint32_t slot)
{
    q->slots[slot].next = HV_NQ_NONE;
    if (q->due_head == HV_NQ_NONE)
        q->due_head = slot;
    else
        q->slots[q->due_tail].next = slot;
    q->due_tail = slot;
}

/** One completion into the ring.  False: not now, or never again. */
static bool send_completion(struct hv_netvsc_queue *q, uint32_t index)
{
    struct hv_packet_desc desc = {
        .trans_id = index,
        .payload_bytes = 8,
        .type = HV_PACKET_COMPLETION,
    };
    uint32_t words[2] = {
        HV_NVSP_SEND_RNDIS_PACKET_COMPLETE,
        q->slots[index].failed ? HV_NVSP_STATUS_FAILURE : HV_NVSP_STATUS_SUCCESS,
    };
    struct hv_packet_slot place;

    if (hv_nq_unlikely(hv_channel_reserve(q->channel, &desc, &place))) {
        if (hv_channel_status(q->channel))
            hv_nq_die(q);
        else
            HV_NQ_COUNT(q->stats.completions_delayed, 1);
        return false;
    }
    memcpy(place.payload, words, sizeof(words));
    q->room -= hv_min_u32(q->room, HV_NQ_COMPLETION_BYTES);
    return true;
}

void hv_nq_complete(struct hv_netvsc_queue *q)
{
    uint32_t gone = 0, sent = 0;

    take_returned(q);
    while (q->due_head != HV_NQ_NONE) {
        struct hv_nq_slot *slot = &q->slots[q->due_head];

        if (!hv_nq_is_dead(q)) { /* a dead channel's messages are only forgotten */
            if (!send_completion(q, q->due_head))
                break;
            sent++;
        }
        if (slot->held)
            hv_nq_add(&q->held_returned, slot->ranges);
        q->due_head = slot->next;
        slot->ranges = 0;
        gone++;
    }
    if (!gone)
        return;
    HV_NQ_COUNT(q->stats.completions_sent, sent);
    hv_nq_add(&q->outstanding, 0u - gone);
}

void hv_nq_flush(struct hv_netvsc_queue *q)
{
    if (!hv_nq_is_dead(q) && hv_nq_unlikely(hv_channel_flush(q->channel)))
        hv_nq_die(q);
}

/* ---- Received frames ---- */

void hv_nq_control(struct hv_netvsc_queue *q, uint32_t offset, uint32_t bytes)
{
    bytes = hv_min_u32(bytes, HV_RNDIS_CONTROL_MAX);
    memcpy(q->scratch, (const uint8_t *)q->device->receive.address + offset, bytes);
    __asm__ volatile("" ::: "memory"); /* what is looked at from here on is the copy */
    if (q->device->control)
        q->device->control(q->device->hook_arg, q->scratch, bytes);
}

/** Nobody polls the receive side: control messages still count. */
static void take_paused(struct hv_netvsc_queue *q, uint32_t offset, uint32_t bytes)
{
    struct hv_rndis_header header;

    memcpy(&header, (const uint8_t *)q->device->receive.address + offset, sizeof(header));
    if (header.type != HV_RNDIS_PACKET)
        hv_nq_control(q, offset, bytes);
}

/** Room for one more frame, after a look at where the reader is. */
static bool staged_full(struct hv_netvsc_queue *q, uint32_t tail)
{
    if (tail - q->staged_head < HV_NQ_STAGED)
        return false;
    q->staged_head = atomic_load_explicit(&q->staged_seen, memory_order_acquire);
    return tail - q->staged_head == HV_NQ_STAGED;
}

/** Ranges of a packet whose header is checked; returns how many frames were staged. */
static uint16_t stage(struct hv_netvsc_queue *q, const uint8_t *ranges, uint16_t count,
                      uint32_t slot, bool control)
{
    const struct hv_nq_device *device = q->device;
    uint32_t tail = atomic_load_explicit(&q->staged_tail, memory_order_relaxed);
    bool paused = hv_nq_is_paused(q);
    uint16_t staged = 0;

    for (uint16_t i = 0; i < count; i++) {
        uint64_t word = load64(ranges + (size_t)i * sizeof(struct hv_transfer_range));
        struct hv_transfer_range range;

        memcpy(&range, &word, sizeof(range));
        if (hv_nq_unlikely(
                range.byte_count < sizeof(struct hv_rndis_header) ||
                range.byte_count > device->receive_section_bytes ||
                !hv_range_fits(range.byte_offset, range.byte_count, device->receive.bytes))) {
            HV_NQ_COUNT(q->stats.rx_bad_range, 1);
            q->slots[slot].failed = true;
        } else if (hv_nq_unlikely(control)) {
            hv_nq_control(q, range.byte_offset, range.byte_count);
        } else if (hv_nq_unlikely(paused)) {
            take_paused(q, range.byte_offset, range.byte_count);
        } else if (hv_nq_unlikely(staged_full(q, tail))) {
            HV_NQ_COUNT(q->stats.rx_overrun, 1);
        } else {
            q->staged[tail++ & (HV_NQ_STAGED - 1)] =
                (struct hv_nq_staged){range.byte_offset, range.byte_count, slot};
            staged++;
        }
    }
    q->slots[slot].left = staged; /* before the reader can see any of them */
    atomic_store_explicit(&q->staged_tail, tail, memory_order_release);
    return staged;
}

static void received(struct hv_netvsc_queue *q, const struct hv_packet *packet)
{
    uint64_t words[2], ext;
    struct hv_transfer_pages pages;
    struct hv_nq_slot *slot;
    uint32_t index = (uint32_t)packet->trans_id;
    uint32_t type;
    bool control;

    if (packet->payload_bytes < sizeof(words))
        return kill(q, "a receive packet without NVSP message");
    words[0] = load64(packet->payload);
    words[1] = load64((const uint8_t *)packet->payload + 8);
    ext = load64(packet->ext); /* the ring has checked that it is there */
    memcpy(&pages, &ext, sizeof(pages));
    if (pages.set_id != HV_NVSP_RECEIVE_BUFFER_ID)
        return kill(q, "a receive packet of an unknown buffer");
    if (!pages.range_count || pages.range_count > UINT16_MAX ||
        pages.range_count > (packet->ext_bytes - sizeof(pages)) / sizeof(struct hv_transfer_range))
        return kill(q, "a receive packet shorter than its ranges");
    if (packet->trans_id >= q->slot_count)
        return kill(q, "a receive packet with an impossible id");
    slot = &q->slots[index];
    if (slot->ranges)
        return kill(q, "a receive packet with the id of another");
    slot->ranges = (uint16_t)pages.range_count;
    slot->left = slot->holds = 0;
    slot->held = false;
    slot->failed = false;
    atomic_store_explicit(&slot->refs, 0, memory_order_relaxed);
    hv_nq_add(&q->outstanding, 1);
    HV_NQ_COUNT(q->stats.rx_messages, 1);
    type = (uint32_t)words[0];
    control = words[0] >> 32 == HV_NVSP_CHANNEL_CONTROL;
    if (hv_nq_unlikely(type != HV_NVSP_SEND_RNDIS_PACKET)) {
        HV_NQ_COUNT(q->stats.rx_unknown, 1);
        slot->failed = true;
        make_due(q, index);
    } else if (!stage(q, (const uint8_t *)packet->ext + sizeof(pages), slot->ranges, index,
                      control)) {
        make_due(q, index);
    }
}

void hv_nq_unstage(struct hv_netvsc_queue *q)
{
    uint32_t head = atomic_load_explicit(&q->staged_seen, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&q->staged_tail, memory_order_relaxed);
    struct hv_nq_chain chain = {HV_NQ_NONE, HV_NQ_NONE};

    for (; head != tail; head++)
        hv_nq_slot_done(q, q->staged[head & (HV_NQ_STAGED - 1)].slot, &chain);
    hv_nq_return(q, &chain);
    atomic_store_explicit(&q->staged_seen, tail, memory_order_release);
    q->rx.first = q->rx.next = tail;
}

/* ---- Completions that the host sends ---- */

/** A private copy of an NVSP message, cut where nothing known reaches. */
static uint32_t copy_nvsp(const struct hv_packet *packet, uint8_t copy[HV_NQ_NVSP_MAX])
{
    uint32_t bytes = hv_min_u32(packet->payload_bytes, HV_NQ_NVSP_MAX);

    memcpy(copy, packet->payload, bytes);
    __asm__ volatile("" ::: "memory");
    return bytes;
}

static void sent_frames(struct hv_netvsc_queue *q, const struct hv_packet *packet, uint32_t index)
{
    uint32_t tail = atomic_load_explicit(&q->done_tail, memory_order_relaxed);
    uint64_t word = packet->payload_bytes >= 8 ? load64(packet->payload) : 0;

    if (hv_nq_unlikely((uint32_t)word != HV_NVSP_SEND_RNDIS_PACKET_COMPLETE))
        HV_NQ_COUNT(q->stats.bad_completions, 1); /* whatever it says, the host has done with it */
    else if (hv_nq_unlikely(word >> 32 != HV_NVSP_STATUS_SUCCESS))
        HV_NQ_COUNT(q->stats.tx_failed, 1);
    q->done[tail & q->done_mask] = (uint16_t)index;
    atomic_store_explicit(&q->done_tail, tail + 1, memory_order_release);
    hv_nq_add(&q->messages, UINT32_MAX);
}

static void completed(struct hv_netvsc_queue *q, const struct hv_packet *packet)
{
    uint32_t index = (uint32_t)(packet->trans_id & 0xffff) - 1;

    if (hv_nq_unlikely(index >= q->id_count || q->ids[index] != packet->trans_id)) {
        HV_NQ_COUNT(q->stats.bad_completions, 1); /* nobody's, or one given up */
        return;
    }
    q->ids[index] = 0;
    if (hv_nq_likely(index < q->descriptor_count)) {
        sent_frames(q, packet, index);
    } else if (index < q->descriptor_count + HV_NQ_CONTROL_PAGES) {
        hv_nq_add(&q->controls, UINT32_MAX);
    } else if (q->device->answer) {
        uint8_t copy[HV_NQ_NVSP_MAX];
        uint32_t bytes = copy_nvsp(packet, copy);

        q->device->answer(q->device->hook_arg,
                          q->request_tags[index - q->descriptor_count - HV_NQ_CONTROL_PAGES], copy,
                          bytes);
    }
}

static void notified(struct hv_netvsc_queue *q, const struct hv_packet *packet)
{
    uint8_t copy[HV_NQ_NVSP_MAX];
    uint32_t bytes = copy_nvsp(packet, copy);

    if (bytes < 8) {
        HV_NQ_COUNT(q->stats.rx_unknown, 1);
        return;
    }
    if (q->device->notify)
        q->device->notify(q->device->hook_arg, copy, bytes);
}

void hv_nq_drain(struct hv_netvsc_queue *q, uint32_t frames)
{
    uint32_t until = atomic_load_explicit(&q->staged_seen, memory_order_relaxed) + frames;
    uint32_t packets = 0;
    int err = 0;

    while (packets < HV_NQ_DRAIN_PACKETS && !hv_nq_is_dead(q)) {
        struct hv_packet packet;

        if ((int32_t)(atomic_load_explicit(&q->staged_tail, memory_order_relaxed) - until) >= 0)
            break;
        err = hv_channel_peek(q->channel, &packet);
        if (err)
            break;
        packets++;
        if (packet.type == HV_PACKET_COMPLETION)
            completed(q, &packet);
        else if (hv_nq_likely(packet.type == HV_PACKET_TRANSFER_PAGES))
            received(q, &packet);
        else if (packet.type == HV_PACKET_INBAND)
            notified(q, &packet);
        else
            HV_NQ_COUNT(q->stats.rx_unknown, 1);
    }
    if (hv_nq_unlikely(err && err != -EAGAIN))
        hv_nq_die(q);
    if (packets && !hv_nq_is_dead(q))
        hv_channel_release(q->channel);
}

/**
 * The host signals when it finds that the ring was empty before.  It may look after we took the packet out: then it sees a
 * reader that is awake, and the rx thread sleeps with a frame staged for it.
 */
void hv_nq_drain_for_others(struct hv_netvsc_queue *q)
{
    const uint64_t one = 1;

    hv_nq_drain(q, HV_NQ_DRAIN_ALL);
    hv_nq_complete(q);
    hv_nq_flush(q);
    if (hv_nq_unlikely(q->armed) &&
        (hv_nq_is_dead(q) ||
         atomic_load_explicit(&q->staged_tail, memory_order_relaxed) != q->armed_tail)) {
        q->armed = false;
        q->kicked = true;
        (void)!write(q->kick_fd, &one,
                     sizeof(one)); /* cannot fill up: once for each time it sleeps */
    }
}
