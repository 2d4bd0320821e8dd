/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP segments that follow each other go to the kernel as one large frame: it then walks its stack once for up to 64 KiB,
 * which is most of what a tap costs.  The kernel cuts the frame again where it leaves for a wire, as it does with its own.
 *
 * A segment joins a train when it differs from the one before in nothing but what segmentation changes: sequence number,
 * lengths, IP identification, checksums, PSH of the last.  Its checksums must be good, or left to be done: with a train the
 * kernel does not look at them any more.
 */
#include <netinet/in.h>
#include <string.h>

#include <hv/base/endian.h>

#include "frame.h"
#include "link_tap.h"
#include "offload_impl.h"

#define TCP_ACK     0x10u
#define TCP_PSH     0x08u
#define IPV4_DF     0x4000u
#define IP_BYTES    65535u
#define PAYLOAD_MIN 64u /* where it begins to be worth while */

struct segment {
    struct hv_offload_headers h;
    uint32_t payload_bytes;
};

static bool has_good_checksums(const struct hv_frame *frame, const struct segment *segment)
{
    const struct hv_offload_headers *h = &segment->h;
    struct iovec iov[HV_FRAME_PIECES_MAX];
    uint32_t count;
    uint64_t sum;

    if ((h->flags & HV_FRAME_IPV4) && !(frame->flags & HV_FRAME_IP_CSUM) &&
        hv_offload_fold(hv_offload_sum(h->bytes + h->l3_offset, 20, 0)))
        return false;
    if (frame->flags & HV_FRAME_TCP)
        return true; /* to be done, by the kernel now */
    count =
        hv_frame_slice(frame, h->payload_offset, segment->payload_bytes, iov, HV_FRAME_PIECES_MAX);
    sum = hv_offload_pseudo_sum(h, h->end - h->l4_offset);
    sum = hv_offload_sum(h->bytes + h->l4_offset, (size_t)(h->payload_offset - h->l4_offset), sum);
    return count && !hv_offload_fold(hv_offload_sum_pieces(iov, count, sum));
}

/* A data segment of TCP with nothing unusual about it. */
static bool read_segment(const struct hv_frame *frame, struct segment *ret_segment)
{
    struct hv_offload_headers *h = &ret_segment->h;
    struct hv_frame as_tcp = *frame;
    const uint8_t *ip;

    if (frame->flags & (HV_FRAME_TSO | HV_FRAME_UDP | HV_FRAME_VLAN))
        return false;
    as_tcp.flags = HV_FRAME_TCP;
    if (hv_offload_parse(&as_tcp, h) || h->end == h->payload_offset)
        return false;
    ip = h->bytes + h->l3_offset;
    if (h->flags & HV_FRAME_IPV4 ? ip[0] != 0x45 || (hv_get_be16(ip + 6) & 0xbfffu)
                                 : ip[6] != IPPROTO_TCP)
        return false;
    ret_segment->payload_bytes = h->end - h->payload_offset;
    return ret_segment->payload_bytes >= PAYLOAD_MIN &&
           (h->bytes[h->l4_offset + 13] & ~TCP_PSH) == TCP_ACK;
}

/* Alike but for what segmentation changes; `index` is how many segments lie between. */
static bool follows(const struct segment *first, const struct segment *next, uint16_t index)
{
    const struct hv_offload_headers *a = &first->h;
    const struct hv_offload_headers *b = &next->h;
    const uint8_t *ip = a->bytes + a->l3_offset, *next_ip = b->bytes + a->l3_offset;
    const uint8_t *tcp = a->bytes + a->l4_offset, *next_tcp = b->bytes + a->l4_offset;

    if (a->l3_offset != b->l3_offset || a->l4_offset != b->l4_offset ||
        a->payload_offset != b->payload_offset || memcmp(a->bytes, b->bytes, a->l3_offset))
        return false;
    if (a->flags & HV_FRAME_IPV4) {
        if (memcmp(ip, next_ip, 2) || memcmp(ip + 6, next_ip + 6, 4) ||
            memcmp(ip + 12, next_ip + 12, 8))
            return false;
        if (!(hv_get_be16(ip + 6) & IPV4_DF) &&
            hv_get_be16(next_ip + 4) != (uint16_t)(hv_get_be16(ip + 4) + index))
            return false;
    } else if (memcmp(ip, next_ip, 4) || memcmp(ip + 6, next_ip + 6, 34)) {
        return false;
    }
    return !memcmp(tcp, next_tcp, 4) && !memcmp(tcp + 8, next_tcp + 8, 5) &&
           !memcmp(tcp + 14, next_tcp + 14, 2) &&
           !memcmp(tcp + 18, next_tcp + 18, (size_t)(a->payload_offset - a->l4_offset - 18));
}

/* Headers of the whole train, and what the kernel is told about it. */
static void describe(struct hv_tap_train *train, struct hv_offload_headers *h, uint32_t mss,
                     bool push)
{
    uint8_t *tcp = h->bytes + h->l4_offset;
    uint16_t sum;

    h->end = h->payload_offset + train->payload_bytes;
    hv_offload_set_ip_length(h, h->end);
    if (h->flags & HV_FRAME_IPV4)
        hv_offload_ip_checksum(h);
    if (push)
        tcp[13] |= TCP_PSH;
    sum = hv_offload_fold(hv_offload_pseudo_sum(h, h->end - h->l4_offset));
    hv_put_be16(tcp + 16, (uint16_t)~sum);
    train->header_bytes = h->payload_offset;
    memcpy(train->headers, h->bytes, h->payload_offset);
    train->header = (struct virtio_net_hdr_v1){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = h->flags & HV_FRAME_IPV4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
        .hdr_len = h->payload_offset,
        .gso_size = (uint16_t)mss,
        .csum_start = h->l4_offset,
        .csum_offset = 16,
    };
    train->iov[0] = (struct iovec){&train->header, sizeof(train->header)};
    train->iov[1] = (struct iovec){train->headers, train->header_bytes};
}

/* Payload of one more segment; false = no room. */
static bool append(struct hv_tap_train *train, const struct hv_frame *frame,
                   const struct segment *segment)
{
    uint32_t pieces =
        hv_frame_slice(frame, segment->h.payload_offset, segment->payload_bytes,
                       train->iov + train->iov_count, HV_TAP_TRAIN_IOV - train->iov_count);

    if (!pieces)
        return false;
    train->iov_count += pieces;
    train->payload_bytes += segment->payload_bytes;
    return true;
}

uint16_t hv_tap_train_collect(struct hv_tap_train *train, const struct hv_frame *frames,
                              uint16_t count)
{
    struct segment first, next;
    uint16_t joined;
    uint32_t sequence;
    bool ends = false;

    if (count < 2 || !read_segment(&frames[0], &first) ||
        (first.h.bytes[first.h.l4_offset + 13] & TCP_PSH))
        return 1;
    train->iov_count = 2;
    train->payload_bytes = 0;
    sequence = hv_get_be32(first.h.bytes + first.h.l4_offset + 4);
    for (joined = 1; joined < count && !ends; joined++) {
        if (!read_segment(&frames[joined], &next) || !follows(&first, &next, joined) ||
            next.payload_bytes > first.payload_bytes ||
            hv_get_be32(next.h.bytes + next.h.l4_offset + 4) !=
                sequence + first.payload_bytes * joined ||
            first.h.payload_offset - first.h.l3_offset + first.payload_bytes * (joined + 1u) >
                IP_BYTES ||
            !has_good_checksums(&frames[joined], &next))
            break;
        if (joined == 1 &&
            (!has_good_checksums(&frames[0], &first) || !append(train, &frames[0], &first)))
            return 1;
        if (!append(train, &frames[joined], &next))
            break;
        /* A short one, or one that is to be pushed, is the last. */
        ends = (next.h.bytes[next.h.l4_offset + 13] & TCP_PSH) ||
               next.payload_bytes < first.payload_bytes;
    }
    if (joined < 2)
        return 1;
    describe(train, &first.h, first.payload_bytes,
             ends && (next.h.bytes[next.h.l4_offset + 13] & TCP_PSH));
    return joined;
}
