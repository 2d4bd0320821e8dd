/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RING: one direction of one channel.  Little-endian; offsets in bytes.
 *
 *         field                 written by
 *  0x0000 +-------------------+              one packet, starts 8-byte aligned:
 *         | write_index       |  producer
 *  0x0004 | read_index        |  consumer    +-------------+-----------+-----------------+---------+
 *  0x0008 | interrupt_mask    |  consumer    | descriptor, | extension | payload, padded | trailer |
 *  0x000c | pending_send_size |  producer    | 16 bytes    | (by type) | to 8 bytes      | 8 bytes |
 *  0x0010 | reserved          |              +-------------+-----------+-----------------+---------+
 *  0x0040 | feature_bits      |  producer    |<----- offset8 * 8 ----->|                 |
 *  0x0ff8 | interrupt count   |  guest       |<---------------- length8 * 8 ------------>|
 *  0x1000 +-------------------+
 *         | data, wraps       |  producer
 *         +-------------------+
 *
 * A channel's memory is the guest-to-host ring (G2H, "out") followed by the host-to-guest ring (H2G, "in").
 * EMPTY: equal indexes, so at least 8 bytes always stay free.
 * TRUST: what the peer writes may change at any moment.  Load once, check the copy, use the copy.
 * ORDER: the producer stores write_index after the packet (release); the consumer loads it first (acquire).
 * Source: docs/wire.md "Ring".
 */
#ifndef HV_WIRE_RING_H
#define HV_WIRE_RING_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/** A page on the wire, whatever the page size of the guest. */
#define HV_PAGE_BYTES 4096u
#define HV_PAGE_SHIFT 12

/** The control page at the start of each ring. */
struct hv_ring_control {
    _Atomic uint32_t write_index;       /* producer: offset of the next write in the data area */
    _Atomic uint32_t read_index;        /* consumer: offset of the next read */
    _Atomic uint32_t interrupt_mask;    /* consumer: 1 = do not signal new data */
    _Atomic uint32_t pending_send_size; /* producer: bytes it waits for; 0 = not blocked */
    uint32_t reserved1[12];
    _Atomic uint32_t feature_bits; /* HV_RING_FEATURE_* */
    uint8_t reserved2[4020];
    uint64_t guest_to_host_interrupts; /* FreeBSD only; reserved for everybody else */
};
static_assert(sizeof(struct hv_ring_control) == HV_PAGE_BYTES, "control page");
static_assert(offsetof(struct hv_ring_control, feature_bits) == 64, "feature bits");
static_assert(offsetof(struct hv_ring_control, guest_to_host_interrupts) == 4088, "counter");

/** Set by a side that honours pending_send_size of the ring it produces into. */
#define HV_RING_FEATURE_PENDING_SEND_SIZE 0x1u

/** First 16 bytes of every packet. */
struct hv_ring_descriptor {
    uint16_t type;     /* HV_PACKET_* */
    uint16_t offset8;  /* start of the payload in 8-byte units, >= 2 */
    uint16_t length8;  /* whole packet without trailer in 8-byte units, >= offset8 */
    uint16_t flags;    /* HV_PACKET_FLAG_*; every other bit is 0 */
    uint64_t trans_id; /* chosen by the requester, echoed by the completion; never 0 from a guest */
};
static_assert(sizeof(struct hv_ring_descriptor) == 16, "packet descriptor");

#define HV_RING_DESCRIPTOR_BYTES 16u
/** Each packet is followed by u32 0 and the u32 offset at which the packet starts. */
#define HV_RING_TRAILER_BYTES 8u
#define HV_RING_ALIGN_BYTES   8u
/** Longest packet that length8 can express, trailer excluded. */
#define HV_RING_PACKET_MAX_BYTES (65535u * 8u)

#define HV_PACKET_INBAND         0x6u /* payload follows the descriptor */
#define HV_PACKET_TRANSFER_PAGES 0x7u /* extension: hv_transfer_pages, then hv_transfer_range[] */
#define HV_PACKET_GPA_DIRECT     0x9u /* extension: hv_gpa_direct, then ranges of pages */
#define HV_PACKET_COMPLETION     0xbu /* trans_id is that of the request */

#define HV_PACKET_FLAG_COMPLETION_REQUESTED 0x1u

/** Extension of a transfer-page packet (network receive). */
struct hv_transfer_pages {
    uint16_t set_id;
    uint8_t sender_owns_set; /* may hold garbage */
    uint8_t reserved;        /* may hold garbage */
    uint32_t range_count;
};
static_assert(sizeof(struct hv_transfer_pages) == 8, "transfer pages");

struct hv_transfer_range {
    uint32_t byte_count;
    uint32_t byte_offset; /* from the start of the page set */
};
static_assert(sizeof(struct hv_transfer_range) == 8, "transfer range");

/** Extension of a GPA-direct packet; range_count ranges follow. */
struct hv_gpa_direct {
    uint32_t reserved; /* may hold garbage */
    uint32_t range_count;
};
static_assert(sizeof(struct hv_gpa_direct) == 8, "GPA-direct header");

/** One byte range without holes; ceil((byte_offset + byte_count) / 4096) page numbers follow. */
struct hv_gpa_range {
    uint32_t byte_count;
    uint32_t byte_offset; /* into the first page, 0 .. 4095 */
    uint64_t pfn[];       /* 4096-byte guest page numbers */
};
static_assert(sizeof(struct hv_gpa_range) == 8, "GPA range header");

#endif
