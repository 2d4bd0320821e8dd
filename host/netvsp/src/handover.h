/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames for another queue's worker: a bounded FIFO, many producers, one consumer.
 *
 *   producer, any thread      hv_handover_put()       copies frames in; wakes the consumer if it sleeps
 *   consumer, one thread      peek ... release        in place, in the order of put
 *                             arm -> sleep on the descriptor -> disarm
 *
 * A batch is reserved with one compare-and-swap over (slot, byte) positions, copied, then published slot by slot: producers
 * never wait for each other.  No allocation after create, no system call while the consumer is awake.
 */
#ifndef HV_NETVSP_HANDOVER_H
#define HV_NETVSP_HANDOVER_H

#include "link.h"

struct hv_handover;

/**
 * @slots  Most frames inside, a power of two, 2 .. 65536.
 * @bytes  Memory for them, a power of two, 4096 .. 1 GiB; each takes its length rounded up to 64.  A frame longer than
 *         half of it is never taken.
 * Returns 0, -EINVAL, -ENOMEM, or the negative errno of eventfd(2).
 */
int hv_handover_create(uint32_t slots, uint32_t bytes, struct hv_handover **ret_handover);
/** No thread uses it any more; what is inside is lost.  NULL is fine. */
void hv_handover_destroy(struct hv_handover *handover);

/** Returns how many of the first frames went in; the others found no room. */
uint16_t hv_handover_put(struct hv_handover *handover, const struct hv_frame *frames,
                         uint16_t count);

/** The oldest frames, up to max; good until released.  Each is in one piece, with flags, tag and hash as put. */
uint16_t hv_handover_peek(struct hv_handover *handover, struct hv_frame *ret_frames, uint16_t max);
/** Give the oldest `count` of the frames that were peeked back. */
void hv_handover_release(struct hv_handover *handover, uint16_t count);

/** Before sleeping: true = there are frames, do not sleep (nothing is armed then). */
bool hv_handover_arm(struct hv_handover *handover);
/** After waking, or instead of sleeping. */
void hv_handover_disarm(struct hv_handover *handover);
/** Readable when an armed consumer has frames. */
int hv_handover_fd(const struct hv_handover *handover);

#endif
