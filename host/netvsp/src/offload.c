/* SPDX-License-Identifier: BSD-3-Clause */
/* What the headers of a frame say, and checksums. */
#include "offload.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <hv/base/endian.h>

#include "frame.h"
#include "offload_impl.h"

#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_IPV6 0x86ddu
#define ETHERTYPE_VLAN 0x8100u
#define ETHERTYPE_QINQ 0x88a8u
#define EXTENSIONS_MAX 8

/*
 * Sums are taken in the machine's own byte order: the ones' complement sum commutes with swapping bytes (RFC 1071), so
 * only the result is turned.
 */
uint64_t hv_offload_sum(const void *data, size_t bytes, uint64_t sum)
{
    const uint8_t *p = data;
    uint64_t lanes[4] = {0};

    for (; bytes >= 32; bytes -= 32, p += 32) {
        uint32_t w[8];

        memcpy(w, p, sizeof(w));
        for (unsigned i = 0; i < 4; i++)
            lanes[i] += (uint64_t)w[i] + w[i + 4];
    }
    for (; bytes >= 4; bytes -= 4, p += 4) {
        uint32_t w;

        memcpy(&w, p, sizeof(w));
        sum += w;
    }
    if (bytes) {
        uint32_t w = 0;

        memcpy(&w, p, bytes);
        sum += w;
    }
    for (unsigned i = 0; i < 4; i++)
        sum += lanes[i];
    return sum;
}

uint16_t hv_offload_fold(uint64_t sum)
{
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffu) + (sum >> 16);
    sum = (sum & 0xffffu) + (sum >> 16);
    sum = (sum & 0xffffu) + (sum >> 16);
    return be16toh((uint16_t)~sum);
}

static inline uint64_t swap_sum(uint64_t sum)
{
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffu) + (sum >> 16);
    sum = (sum & 0xffffu) + (sum >> 16);
    return (sum & 0xffu) << 8 | sum >> 8;
}

uint64_t hv_offload_sum_pieces(const struct iovec *iov, uint32_t count, uint64_t sum)
{
    size_t offset = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t piece = hv_offload_sum(iov[i].iov_base, iov[i].iov_len, 0);

        sum += offset & 1 ? swap_sum(piece) : piece;
        offset += iov[i].iov_len;
    }
    return sum;
}

uint64_t hv_offload_pseudo_sum(const struct hv_offload_headers *h, uint32_t l4_bytes)
{
    const uint8_t *ip = h->bytes + h->l3_offset;
    uint8_t tail[8] = {0};
    uint64_t sum;

    if (h->flags & HV_FRAME_IPV6)
        sum = hv_offload_sum(ip + 8, 32, 0);
    else
        sum = hv_offload_sum(ip + 12, 8, 0);
    hv_put_be32(tail, l4_bytes);
    tail[7] = h->flags & HV_FRAME_TCP ? IPPROTO_TCP : IPPROTO_UDP;
    return hv_offload_sum(tail, sizeof(tail), sum);
}

void hv_offload_ip_checksum(struct hv_offload_headers *h)
{
    uint8_t *ip = h->bytes + h->l3_offset;

    hv_put_be16(ip + 10, 0);
    hv_put_be16(ip + 10, hv_offload_fold(hv_offload_sum(ip, (ip[0] & 15u) * 4, 0)));
}

/* IPv4: sets end, payload_offset, *ret_protocol (-1 = a fragment, or nothing that we look into). */
static int parse_ipv4(struct hv_offload_headers *h, uint32_t copied, uint32_t frame_bytes,
                      int *ret_protocol)
{
    const uint8_t *ip = h->bytes + h->l3_offset;
    uint32_t header, total;

    if (copied - h->l3_offset < 20 || ip[0] >> 4 != 4)
        return -EINVAL;
    header = (ip[0] & 15u) * 4;
    if (header < 20 || header > copied - h->l3_offset)
        return -EINVAL;
    total = hv_get_be16(ip + 2);
    if (h->flags & HV_FRAME_TSO)
        total = frame_bytes - h->l3_offset;
    if (total < header || total > frame_bytes - h->l3_offset || total > 65535)
        return -EINVAL;
    h->end = h->l3_offset + total;
    h->payload_offset = (uint16_t)(h->l3_offset + header);
    *ret_protocol = hv_get_be16(ip + 6) & 0x3fffu ? -1 : ip[9];
    return 0;
}

static int parse_ipv6(struct hv_offload_headers *h, uint32_t copied, uint32_t frame_bytes,
                      int *ret_protocol)
{
    const uint8_t *ip = h->bytes + h->l3_offset;
    uint32_t total, at = 40;
    int next;

    if (copied - h->l3_offset < 40 || ip[0] >> 4 != 6)
        return -EINVAL;
    total = 40u + hv_get_be16(ip + 4);
    if (h->flags & HV_FRAME_TSO)
        total = frame_bytes - h->l3_offset;
    if (total > frame_bytes - h->l3_offset || total - 40 > 65535)
        return -EINVAL;
    h->end = h->l3_offset + total;
    next = ip[6];
    *ret_protocol = -1;
    for (unsigned i = 0; i < EXTENSIONS_MAX; i++) {
        if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) {
            *ret_protocol = next == IPPROTO_FRAGMENT ? -1 : next;
            break;
        }
        if (at + 8 > copied - h->l3_offset || at + 8 > total)
            return -EINVAL;
        next = ip[at];
        at += (ip[at + 1] + 1u) * 8;
        if (at > copied - h->l3_offset || at > total)
            return -EINVAL;
    }
    h->payload_offset = (uint16_t)(h->l3_offset + at);
    return 0;
}

static int parse_l4(const struct hv_frame *frame, struct hv_offload_headers *h, uint32_t copied,
                    int protocol)
{
    bool tcp = h->flags & HV_FRAME_TCP;
    uint32_t at = h->payload_offset;
    uint32_t header = 8;

    if (protocol != (tcp ? IPPROTO_TCP : IPPROTO_UDP))
        return -EINVAL;
    if (frame->l4_offset && frame->l4_offset != at)
        return -EINVAL;
    if (copied - at < (tcp ? 20u : 8u))
        return -EINVAL;
    if (tcp)
        header = (h->bytes[at + 12] >> 4) * 4u;
    if (header < (tcp ? 20u : 8u) || header > copied - at || header > h->end - at)
        return -EINVAL;
    h->l4_offset = (uint16_t)at;
    h->payload_offset = (uint16_t)(at + header);
    return 0;
}

/* The place of the IP header, and which IP it is. */
static int parse_ethernet(struct hv_offload_headers *h, uint32_t copied)
{
    unsigned ethertype;
    uint16_t at = 14;

    if (copied < at)
        return -EINVAL;
    ethertype = hv_get_be16(h->bytes + 12);
    for (unsigned tags = 0; tags < 2; tags++) {
        if ((ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ) || copied < at + 4u)
            break;
        ethertype = hv_get_be16(h->bytes + at + 2);
        at = (uint16_t)(at + 4);
    }
    h->l3_offset = at;
    if (ethertype == ETHERTYPE_IPV4 && !(h->flags & HV_FRAME_IPV6))
        h->flags |= HV_FRAME_IPV4;
    else if (ethertype == ETHERTYPE_IPV6 && !(h->flags & (HV_FRAME_IPV4 | HV_FRAME_IP_CSUM)))
        h->flags |= HV_FRAME_IPV6;
    else
        return -EINVAL;
    return 0;
}

int hv_offload_parse(const struct hv_frame *frame, struct hv_offload_headers *ret_headers)
{
    struct hv_offload_headers *h = ret_headers;
    uint32_t copied;
    int protocol = -1;
    int err;

    if (!hv_frame_is_sound(frame))
        return -EINVAL;
    h->flags = frame->flags;
    h->l4_offset = 0;
    if (h->flags & HV_FRAME_TSO) {
        if (h->flags & HV_FRAME_UDP || frame->mss < HV_OFFLOAD_MSS_MIN)
            return -EINVAL;
        h->flags |= HV_FRAME_TCP;
    }
    if ((h->flags & HV_FRAME_TCP) && (h->flags & HV_FRAME_UDP))
        return -EINVAL;
    copied = (uint32_t)hv_frame_copy(frame, 0, h->bytes, sizeof(h->bytes));
    err = parse_ethernet(h, copied);
    if (!err && (h->flags & HV_FRAME_IPV4))
        err = parse_ipv4(h, copied, frame->bytes, &protocol);
    else if (!err)
        err = parse_ipv6(h, copied, frame->bytes, &protocol);
    if (!err && (h->flags & (HV_FRAME_TCP | HV_FRAME_UDP)))
        err = parse_l4(frame, h, copied, protocol);
    if (err)
        return err;
    /* Segments carry IP lengths and, for IPv4, identifications of their own. */
    if ((h->flags & HV_FRAME_TSO) && (h->flags & HV_FRAME_IPV4))
        h->flags |= HV_FRAME_IP_CSUM;
    return 0;
}

void hv_offload_set_ip_length(struct hv_offload_headers *h, uint32_t end)
{
    uint8_t *ip = h->bytes + h->l3_offset;

    if (h->flags & HV_FRAME_IPV6)
        hv_put_be16(ip + 4, (uint16_t)(end - h->l3_offset - 40));
    else
        hv_put_be16(ip + 2, (uint16_t)(end - h->l3_offset));
}

int hv_offload_prepare(const struct hv_frame *frame, struct hv_offload_headers *ret_headers)
{
    struct hv_offload_headers *h = ret_headers;
    int err = hv_offload_parse(frame, h);

    if (err)
        return err;
    if (h->flags & HV_FRAME_TSO) {
        hv_offload_set_ip_length(h, h->end);
        if (h->end - h->payload_offset <= frame->mss)
            h->flags &= (uint16_t)~HV_FRAME_TSO;
    }
    if (h->flags & HV_FRAME_IP_CSUM)
        hv_offload_ip_checksum(h);
    if (h->l4_offset) {
        uint8_t *at = h->bytes + h->l4_offset + hv_offload_csum_offset(h);
        uint16_t sum = hv_offload_fold(hv_offload_pseudo_sum(h, h->end - h->l4_offset));

        hv_put_be16(at, (uint16_t)~sum);
    }
    return 0;
}

void hv_offload_vlan_insert(const struct hv_frame *frame, uint8_t head[HV_VLAN_HEAD_BYTES],
                            struct iovec *iov, struct hv_frame *ret_frame)
{
    uint32_t rest;

    (void)hv_frame_copy(frame, 0, head, 12);
    hv_put_be16(head + 12, ETHERTYPE_VLAN);
    hv_put_be16(head + 14, frame->vlan_tci);
    iov[0] = (struct iovec){head, HV_VLAN_HEAD_BYTES};
    rest = hv_frame_slice(frame, 12, frame->bytes - 12, iov + 1, HV_FRAME_PIECES_MAX);
    *ret_frame = *frame;
    ret_frame->iov = iov;
    ret_frame->iov_count = rest + 1;
    ret_frame->bytes = frame->bytes + 4;
    ret_frame->vlan_tci = 0;
    ret_frame->flags &= (uint16_t)~HV_FRAME_VLAN;
    if (ret_frame->l4_offset)
        ret_frame->l4_offset = (uint16_t)(ret_frame->l4_offset + 4);
}

void hv_offload_vlan_strip(struct hv_frame *frame, struct iovec iov[2])
{
    uint8_t *p = frame->iov[0].iov_base;
    uint32_t bytes = frame->bytes;

    if (bytes < 18 || (frame->flags & HV_FRAME_VLAN) || hv_get_be16(p + 12) != ETHERTYPE_VLAN)
        return;
    frame->vlan_tci = hv_get_be16(p + 14);
    frame->flags |= HV_FRAME_VLAN;
    iov[0] = (struct iovec){p, 12};
    iov[1] = (struct iovec){p + 16, bytes - 16};
    frame->iov = iov;
    frame->iov_count = 2;
    frame->bytes = bytes - 4;
    if (frame->l4_offset)
        frame->l4_offset = (uint16_t)(frame->l4_offset - 4);
}
