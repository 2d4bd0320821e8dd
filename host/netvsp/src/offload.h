/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the guest left to its NIC, done in software: checksums, TCP segmentation, VLAN tags.
 *
 *   hv_offload_parse()      what the headers say, from a private copy: the only place where they are believed
 *   hv_offload_prepare()    headers as a kernel wants them that does the rest itself (tap)
 *   hv_offload_start() ... next() until 0     finished frames: checksums in place, none longer than its segment size
 *
 * TRUST: frames lie in memory of the guest.  Headers are copied once; offsets and lengths come from the copy alone and are
 * checked against the frame.  Payload may change while it is summed: the guest then sends a wrong checksum, nothing else.
 *
 * A sender that asks for segmentation leaves the IP length 0 and the checksum a pseudo-header sum without length, one that
 * asks for a checksum the sum with it (docs/wire.md "RNDIS"); as guests differ, neither is used but computed anew.
 */
#ifndef HV_NETVSP_OFFLOAD_H
#define HV_NETVSP_OFFLOAD_H

#include "frame.h"
#include "link.h"

#define HV_OFFLOAD_HEADER_MAX 256u /* Ethernet to TCP options; longer ones are refused */
#define HV_OFFLOAD_MSS_MIN    48u  /* smaller is an attack, not a path */
#define HV_OFFLOAD_BATCH      32u
#define HV_FRAME_WORK         (HV_FRAME_IP_CSUM | HV_FRAME_TCP | HV_FRAME_UDP | HV_FRAME_TSO)

struct hv_offload_headers {
    uint8_t bytes[HV_OFFLOAD_HEADER_MAX];
    uint16_t l3_offset;
    uint16_t l4_offset;      /* 0: flags ask for nothing above IP */
    uint16_t payload_offset; /* how much of bytes[] is headers */
    uint16_t flags;          /* the frame's, without contradictions */
    uint32_t end;            /* behind the last byte of the IP packet; padding follows */
};

/** HV_FRAME_TCP and _UDP together with _L4_OK are finished. */
static inline bool hv_offload_is_needed(const struct hv_frame *frame)
{
    return (frame->flags & HV_FRAME_WORK) && !(frame->flags & HV_FRAME_L4_OK);
}

/** 0, or -EINVAL: flags and headers contradict each other, or the frame. */
int hv_offload_parse(const struct hv_frame *frame, struct hv_offload_headers *ret_headers);

/**
 * Parse, and fill in: IP length, IP checksum where it is to be done, and in the place of the L4 checksum the pseudo-header
 * sum with length.  The frame to send is bytes[0 .. payload_offset) and the rest of the frame.  A segment size is kept
 * (HV_FRAME_TSO in flags) only where the payload is longer.
 */
int hv_offload_prepare(const struct hv_frame *frame, struct hv_offload_headers *ret_headers);

/** Sum of 16-bit big-endian words, not folded to the end; `sum` from an earlier piece of even length. */
uint64_t hv_offload_sum(const void *data, size_t bytes, uint64_t sum);
/** Internet checksum of a sum. */
uint16_t hv_offload_fold(uint64_t sum);

/** Working memory of one thread. */
struct hv_offload;
int hv_offload_create(struct hv_offload **ret_offload);
void hv_offload_destroy(struct hv_offload *offload);
/** Begin with a frame that needs work; it and its pieces stay until next() has returned 0.  0 or -EINVAL as parse. */
int hv_offload_start(struct hv_offload *offload, const struct hv_frame *frame);
/** The next finished frames, good until the next call; 0 = all done. */
uint16_t hv_offload_next(struct hv_offload *offload, const struct hv_frame **ret_frames);

#define HV_VLAN_HEAD_BYTES 16u
#define HV_VLAN_PIECES     (HV_FRAME_PIECES_MAX + 1)
/**
 * The same frame with the tag of vlan_tci in it.  `head` and `iov` (room for HV_VLAN_PIECES) hold the new pieces.
 * The frame is sound (hv_frame_is_sound()); its work, if any, is done.
 */
void hv_offload_vlan_insert(const struct hv_frame *frame, uint8_t head[HV_VLAN_HEAD_BYTES],
                            struct iovec *iov, struct hv_frame *ret_frame);
/**
 * A tagged frame with its tag aside; others are left alone.  `iov` has room for 2, the frame is one piece of memory of ours.
 */
void hv_offload_vlan_strip(struct hv_frame *frame, struct iovec iov[2]);

#endif
