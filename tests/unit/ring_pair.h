/* SPDX-License-Identifier: BSD-3-Clause */
/* Both ends of one ring in one process, over one mapping, for the ring's tests. */
#ifndef HV_TEST_RING_PAIR_H
#define HV_TEST_RING_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include <hv/ring.h>

struct ring_pair {
    struct hv_ring_area area;
    struct hv_ring_tx tx;
    struct hv_ring_rx rx;
    uint32_t sent; /* packets that ring_pair_send() published; transaction ids count from 1 */
};

/** False, with a failed assertion, when the machine gives no memory. */
bool ring_pair_create(struct ring_pair *p, uint32_t data_bytes);
void ring_pair_destroy(struct ring_pair *p);

/** One in-band packet with a pattern as payload, published.  Returns as hv_ring_tx_reserve(). */
int ring_pair_send(struct ring_pair *p, uint32_t payload_bytes);
bool ring_pair_payload_ok(const struct hv_packet *packet, uint32_t payload_bytes, uint32_t seed);
/** Peek all, release once.  Returns how many there were. */
int ring_pair_drain(struct ring_pair *p);

/** A descriptor as the peer could write it; transaction id 0x1122334455. */
void ring_pair_raw(struct ring_pair *p, uint32_t at, uint16_t type, uint16_t offset8,
                   uint16_t length8, uint16_t flags);
/** Whatever the peer repairs now, the consumer stays dead and moves nothing. */
void ring_pair_check_rx_dead(struct ring_pair *p, const char *row);

#endif
