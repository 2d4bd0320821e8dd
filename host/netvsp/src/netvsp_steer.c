/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the link delivers: which queue it belongs to, and how it gets there.  A frame of the calling worker's own queue goes
 * into the receive buffer at once; others are left in the hand-over FIFO of theirs.
 */
#include "netvsp_impl.h"

#include "frame.h"

#define HEAD_BYTES    128u /* that the hash may look at */
#define TAKEN_AT_ONCE 64u

static struct hv_netvsp_hash hash_frame(const struct hv_netvsp_steering *steering,
                                        const struct hv_frame *frame)
{
    struct hv_netvsp_hash hash = {0};
    uint32_t bytes = hv_min_u32(frame->bytes, HEAD_BYTES);
    const void *head = frame->iov->iov_base;
    uint8_t copy[HEAD_BYTES];

    if (frame->iov->iov_len < bytes) {
        bytes = (uint32_t)hv_frame_copy(frame, 0, copy, bytes);
        head = copy;
    }
    hash.value =
        hv_toeplitz_frame(&steering->toeplitz, steering->hash_types, head, bytes, &hash.type);
    return hash;
}

static uint16_t choose(struct hv_netvsp *nic, const struct hv_netvsp_steering *steering,
                       const struct hv_frame *frame, struct hv_netvsp_hash *ret_hash)
{
    uint16_t target = 0;

    *ret_hash = (struct hv_netvsp_hash){0};
    if (steering->on) {
        *ret_hash = hash_frame(steering, frame);
        if (ret_hash->type)
            target = steering->table[ret_hash->value & steering->mask];
    }
    return target < nic->queues &&
                   atomic_load_explicit(&nic->ports[target].open, memory_order_relaxed)
               ? target
               : 0;
}

/** From a queue's own worker.  Stops where that queue has no room; what another has no room for is lost. */
static uint16_t deliver_inside(struct hv_netvsp_queue *q, int to_queue,
                               const struct hv_frame *frames, uint16_t count)
{
    struct hv_netvsp *nic = q->nic;

    for (uint16_t i = 0; i < count; i++) {
        struct hv_netvsp_hash hash;
        uint16_t target = choose(nic, &q->steering, &frames[i], &hash);

        if (to_queue >= 0)
            target = atomic_load_explicit(&nic->ports[to_queue].open, memory_order_relaxed)
                         ? (uint16_t)to_queue
                         : q->index;
        if (target == q->index) {
            if (!hv_netvsp_rx_place(q, &frames[i], hash))
                return i;
        } else if (hv_handover_put(nic->ports[target].handover, &frames[i], 1)) {
            hv_netvsp_count(&q->counters.handed_over, 1);
        } else {
            hv_netvsp_count(&q->counters.no_buffer, 1);
        }
    }
    return count;
}

/** From the worker of another NIC. */
static uint16_t deliver_outside(struct hv_netvsp *nic, int to_queue, const struct hv_frame *frames,
                                uint16_t count)
{
    uint16_t open = atomic_load_explicit(&nic->open_count, memory_order_acquire), i;

    if (!open) {
        atomic_fetch_add_explicit(&nic->unowned_drops, count, memory_order_relaxed);
        return count;
    }
    if (open == 1)
        return hv_handover_put(nic->ports[0].handover, frames, count);
    pthread_mutex_lock(&nic->lock); /* the guest may be changing its table */
    for (i = 0; i < count; i++) {
        struct hv_netvsp_hash hash;
        uint16_t target = choose(nic, &nic->steering, &frames[i], &hash);

        if (to_queue >= 0 && to_queue < nic->queues && atomic_load(&nic->ports[to_queue].open))
            target = (uint16_t)to_queue;
        if (!hv_handover_put(nic->ports[target].handover, &frames[i], 1))
            break;
    }
    pthread_mutex_unlock(&nic->lock);
    return i;
}

uint16_t hv_netvsp_deliver(void *arg, int from_queue, int to_queue, const struct hv_frame *frames,
                           uint16_t count)
{
    struct hv_netvsp *nic = arg;

    if (from_queue < 0 || from_queue >= nic->queues)
        return deliver_outside(nic, to_queue, frames, count);
    return deliver_inside(nic->ports[from_queue].poller, to_queue, frames, count);
}

int hv_netvsp_take_handover(struct hv_netvsp_queue *q)
{
    struct hv_frame frames[TAKEN_AT_ONCE];
    uint16_t count, done = 0;

    if (q->handover_armed) {
        hv_handover_disarm(q->port->handover);
        q->handover_armed = false;
    }
    count = hv_handover_peek(q->port->handover, frames, TAKEN_AT_ONCE);
    for (; done < count; done++) {
        struct hv_netvsp_hash hash = {0};

        if (q->steering.on)
            hash = hash_frame(&q->steering, &frames[done]);
        if (!hv_netvsp_rx_place(q, &frames[done], hash))
            break;
    }
    if (done)
        hv_handover_release(q->port->handover, done);
    return done;
}
