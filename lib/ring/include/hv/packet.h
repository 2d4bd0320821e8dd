/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a packet looks like to the two ends of a channel, without the ring around it.
 * Public because hv/vmbus.h and hv/host.h hand these out; the ring itself is not.
 */
#ifndef HV_PACKET_H
#define HV_PACKET_H

#include <stdint.h>

/**
 * One received packet, in place.
 *
 * All members are checked copies.  `ext` and `payload` point into shared memory: the peer may rewrite those bytes at
 * any moment, so copy out what you interpret and interpret the copy.  They stay readable until the ring's space is
 * given back (hv_channel_release(), hv_host_channel_release()).
 */
struct hv_packet {
    uint64_t trans_id;
    const void *ext;     /* between descriptor and payload; 8-byte aligned */
    const void *payload; /* 8-byte aligned */
    uint32_t ext_bytes;
    uint32_t payload_bytes; /* rounded up to 8 by the sender */
    uint16_t type;          /* HV_PACKET_* */
    uint16_t flags;         /* HV_PACKET_FLAG_* */
};

/** What a packet to be sent consists of; the caller fills extension and payload in place. */
struct hv_packet_desc {
    uint64_t trans_id;
    uint32_t ext_bytes;     /* multiple of 8 */
    uint32_t payload_bytes; /* any; padded to 8 with zeroes */
    uint16_t type;
    uint16_t flags;
};

/** Where the reserved packet's bytes go; contiguous, 8-byte aligned, valid until the next publish. */
struct hv_packet_slot {
    void *ext;
    void *payload; /* directly behind ext */
};

/** Counters of one end of one ring; monotonic, survive reset of the ring. */
struct hv_ring_stats {
    uint64_t packets;
    uint64_t bytes;         /* ring space used, trailers included */
    uint64_t signals;       /* peer had to be signalled */
    uint64_t signals_saved; /* publishes or releases that needed none */
    uint64_t full;          /* tx: reservations refused for want of space */
};

#endif
