/* SPDX-License-Identifier: BSD-3-Clause */
/* Private: RNDIS packet messages to and from bytes.  Pure functions. */
#ifndef HV_NETVSC_QUEUE_RNDIS_H
#define HV_NETVSC_QUEUE_RNDIS_H

#include <stdbool.h>
#include <string.h>

#include <hv/netvsc.h>
#include <hv/wire/rndis.h>

/** What is wrong with a received message; each has a counter. */
enum hv_nq_verdict {
    HV_NQ_FRAME,     /* nothing: ret_frame is filled */
    HV_NQ_CONTROL,   /* a message of another type, at least a header long */
    HV_NQ_BAD_RNDIS, /* lengths and offsets of the message */
    HV_NQ_BAD_PPI,
    HV_NQ_BAD_LENGTH, /* the frame is empty, shorter than a header, or larger than the MTU allows */
};

/**
 * One range of a transfer-page packet, at least 8 bytes long, in shared memory: each byte that is interpreted is loaded
 * once.  Fills everything but `hold`.  Checks 4 to 7 of docs/wire.md "Network validation".
 */
enum hv_nq_verdict hv_nq_parse(const uint8_t *message, uint32_t range_bytes,
                               uint32_t frame_bytes_max, struct hv_netvsc_frame *ret_frame);

/** RNDIS header and per-packet information: 44 .. 44 + 3 * 16 bytes, a multiple of 4. */
#define HV_NQ_PPI_BYTES    (sizeof(struct hv_rndis_ppi) + 4)
#define HV_NQ_ENCODE_MAX   (sizeof(struct hv_rndis_packet) + 3 * HV_NQ_PPI_BYTES)
#define HV_NQ_ETHER_BYTES  14u
#define HV_NQ_L4_MAX_BYTES HV_TX_CSUM_L4_MASK

/** Flags that cost per-packet information. */
#define HV_NQ_TX_INFO                                                                              \
    (HV_NETVSC_TX_FLAG_IP_CSUM | HV_NETVSC_TX_FLAG_TCP | HV_NETVSC_TX_FLAG_UDP |                   \
     HV_NETVSC_TX_FLAG_TSO | HV_NETVSC_TX_FLAG_VLAN)
#define HV_NQ_TX_FLAGS                                                                             \
    (HV_NQ_TX_INFO | HV_NETVSC_TX_FLAG_IPV4 | HV_NETVSC_TX_FLAG_IPV6 | HV_NETVSC_TX_FLAG_COPY)

/** Offloads (HV_NETVSC_TX_*) that flags ask for; UINT32_MAX: the flags contradict each other. */
uint32_t hv_nq_offloads_of(uint32_t flags);
/** Offsets and segment size of a frame with HV_NQ_TX_INFO make sense.  0 or -EINVAL. */
int hv_nq_check_info(const struct hv_netvsc_tx *frame);
/** Bytes that hv_nq_encode() will write for these flags. */
uint32_t hv_nq_encode_bytes(uint32_t flags);
/** Header and per-packet information of a frame; the message is as long as both and the frame.  Returns their length. */
uint32_t hv_nq_encode(uint8_t *to, const struct hv_netvsc_tx *frame);

/**
 * The same for a frame without per-packet information, the usual case.  A constant, then the two lengths over it: bytes put
 * together in a structure on the stack would have to leave the store buffer before they could be copied as a vector.
 */
static inline void hv_nq_encode_plain(uint8_t *to, uint32_t frame_bytes)
{
    static const struct hv_rndis_packet plain = {
        .hdr.type = HV_RNDIS_PACKET,
        .data_offset = sizeof(plain) - HV_RNDIS_OFFSET_BASE,
    };
    uint32_t length_bytes = (uint32_t)sizeof(plain) + frame_bytes;

    memcpy(to, &plain, sizeof(plain));
    memcpy(to + offsetof(struct hv_rndis_packet, hdr.length_bytes), &length_bytes, 4);
    memcpy(to + offsetof(struct hv_rndis_packet, data_bytes), &frame_bytes, 4);
}

/**
 * Length of all headers of a frame that the host is to cut: `head` holds its first `bytes` bytes.  -EINVAL: what the
 * headers say does not agree with the offsets, or they are not within `bytes`.
 */
int hv_nq_tso_headers(const uint8_t *head, uint32_t bytes, const struct hv_netvsc_tx *frame);
/** In a copy of these headers: IP length 0, IPv4 header sum 0, as the host expects them (LSO version 2). */
void hv_nq_tso_prepare(uint8_t *head, const struct hv_netvsc_tx *frame);

#endif
