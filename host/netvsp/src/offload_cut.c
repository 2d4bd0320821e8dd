/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One frame of the guest into finished ones.  Each has its headers in our memory and its payload where the guest left it,
 * so that payload is copied once, by whoever takes the frame.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>

#include "frame.h"
#include "offload_impl.h"

/* A frame always fits: its headers and all of its pieces. */
#define IOV_POOL (HV_OFFLOAD_BATCH * 4u + HV_FRAME_PIECES_MAX + 1u)

#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u

struct hv_offload {
    struct hv_offload_headers headers; /* of the whole frame */
    const struct hv_frame *frame;      /* NULL: nothing to do */
    uint32_t segment_bytes;            /* payload of each but the last */
    uint32_t offset;                   /* next payload byte of the frame */
    uint32_t sequence;                 /* TCP, of the first segment */
    uint16_t ip_id;
    uint16_t segment_index;
    struct hv_frame out[HV_OFFLOAD_BATCH];
    struct iovec iov[IOV_POOL];
    struct hv_offload_headers out_headers[HV_OFFLOAD_BATCH];
};

int hv_offload_create(struct hv_offload **ret_offload)
{
    struct hv_offload *offload = calloc(1, sizeof(*offload));

    if (!offload)
        return -ENOMEM;
    *ret_offload = offload;
    return 0;
}

void hv_offload_destroy(struct hv_offload *offload)
{
    free(offload);
}

int hv_offload_start(struct hv_offload *offload, const struct hv_frame *frame)
{
    struct hv_offload_headers *h = &offload->headers;
    int err = hv_offload_parse(frame, h);

    offload->frame = NULL;
    if (err)
        return err;
    offload->frame = frame;
    offload->offset = h->payload_offset;
    offload->segment_index = 0;
    offload->segment_bytes = frame->bytes - h->payload_offset;
    if (h->flags & HV_FRAME_TSO) {
        offload->segment_bytes = frame->mss;
        offload->sequence = hv_get_be32(h->bytes + h->l4_offset + 4);
        offload->ip_id = hv_get_be16(h->bytes + h->l3_offset + 4);
    }
    return 0;
}

/* What differs between the segments of one frame. */
static void adapt_segment(const struct hv_offload *offload, struct hv_offload_headers *h,
                          uint32_t payload_bytes, bool is_last)
{
    uint8_t *tcp = h->bytes + h->l4_offset;
    uint8_t clear = 0;

    h->end = h->payload_offset + payload_bytes;
    hv_offload_set_ip_length(h, h->end);
    if (h->flags & HV_FRAME_IPV4)
        hv_put_be16(h->bytes + h->l3_offset + 4,
                    (uint16_t)(offload->ip_id + offload->segment_index));
    hv_put_be32(tcp + 4, offload->sequence + (offload->offset - h->payload_offset));
    if (!is_last)
        clear |= TCP_FIN | TCP_PSH;
    if (offload->segment_index)
        clear |= TCP_CWR;
    tcp[13] &= (uint8_t)~clear;
}

/* The checksum over headers and payload; `iov` is the payload, maybe with padding behind it. */
static void checksum_l4(struct hv_offload_headers *h, const struct iovec *iov, uint32_t count)
{
    uint8_t *at = h->bytes + h->l4_offset + hv_offload_csum_offset(h);
    uint32_t left = h->end - h->payload_offset;
    size_t offset = h->payload_offset - h->l4_offset; /* even: headers are multiples of 4 bytes */
    uint64_t sum = hv_offload_pseudo_sum(h, h->end - h->l4_offset);
    uint16_t checksum;
    uint32_t whole = 0;

    hv_put_be16(at, 0);
    sum = hv_offload_sum(h->bytes + h->l4_offset, offset, sum);
    while (whole < count && iov[whole].iov_len <= left)
        left -= (uint32_t)iov[whole++].iov_len;
    if (left && whole < count) { /* padding begins inside a piece */
        struct iovec part[HV_FRAME_PIECES_MAX];

        memcpy(part, iov, (whole + 1) * sizeof(*iov));
        part[whole].iov_len = left;
        sum = hv_offload_sum_pieces(part, whole + 1, sum);
    } else {
        sum = hv_offload_sum_pieces(iov, whole, sum);
    }
    checksum = hv_offload_fold(sum);
    if (!checksum && (h->flags & HV_FRAME_UDP))
        checksum = 0xffff; /* 0 would say: none */
    hv_put_be16(at, checksum);
}

static uint16_t finished_flags(const struct hv_frame *frame, const struct hv_offload_headers *h)
{
    uint16_t flags = frame->flags & (HV_FRAME_VLAN | HV_FRAME_HASH | HV_FRAME_IP_OK);

    flags |= h->flags & (HV_FRAME_IPV4 | HV_FRAME_IPV6);
    if (h->flags & HV_FRAME_IP_CSUM)
        flags |= HV_FRAME_IP_OK;
    if (h->l4_offset)
        flags |= HV_FRAME_L4_OK | (h->flags & (HV_FRAME_TCP | HV_FRAME_UDP));
    return flags;
}

/* One finished frame with the next `bytes` of payload.  Returns how many pieces it took, 0 = too few left. */
static uint32_t emit(struct hv_offload *offload, uint16_t index, struct iovec *iov, uint32_t max,
                     uint32_t bytes)
{
    const struct hv_frame *frame = offload->frame;
    struct hv_offload_headers *h = &offload->out_headers[index];
    uint32_t count = 0;

    if (max < 1)
        return 0;
    if (bytes) {
        count = hv_frame_slice(frame, offload->offset, bytes, iov + 1, max - 1);
        if (!count)
            return 0;
    }
    memcpy(h->bytes, offload->headers.bytes, offload->headers.payload_offset);
    memcpy(&h->l3_offset, &offload->headers.l3_offset,
           sizeof(*h) - offsetof(struct hv_offload_headers, l3_offset));
    if (h->flags & HV_FRAME_TSO)
        adapt_segment(offload, h, bytes, offload->offset + bytes == frame->bytes);
    if (h->flags & HV_FRAME_IP_CSUM)
        hv_offload_ip_checksum(h);
    if (h->l4_offset)
        checksum_l4(h, iov + 1, count);
    iov[0] = (struct iovec){h->bytes, h->payload_offset};
    offload->out[index] = (struct hv_frame){
        .iov = iov,
        .iov_count = count + 1,
        .bytes = h->payload_offset + bytes,
        .flags = finished_flags(frame, h),
        .l4_offset = h->l4_offset,
        .vlan_tci = frame->vlan_tci,
        .rss_hash = frame->rss_hash,
    };
    offload->segment_index++;
    return count + 1;
}

uint16_t hv_offload_next(struct hv_offload *offload, const struct hv_frame **ret_frames)
{
    uint32_t used = 0;
    uint16_t count = 0;

    *ret_frames = offload->out;
    while (offload->frame && count < HV_OFFLOAD_BATCH) {
        uint32_t left = offload->frame->bytes - offload->offset;
        uint32_t bytes = hv_min_u32(left, offload->segment_bytes);
        uint32_t pieces =
            emit(offload, count, offload->iov + used, (uint32_t)IOV_POOL - used, bytes);

        if (!pieces)
            break;
        used += pieces;
        count++;
        offload->offset += bytes;
        if (offload->offset == offload->frame->bytes)
            offload->frame = NULL;
    }
    return count;
}
