/* SPDX-License-Identifier: BSD-3-Clause */
#include "netvsp_frames.h"

#include <string.h>

#include <hv/base/endian.h>

uint16_t net_naive_sum(const uint8_t *data, size_t bytes, uint32_t sum)
{
    for (size_t i = 0; i < bytes; i++) {
        sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

static uint16_t pseudo_sum(const uint8_t *ip, uint32_t l4_bytes, uint8_t protocol)
{
    uint8_t tail[8] = {(uint8_t)(l4_bytes >> 24),
                       (uint8_t)(l4_bytes >> 16),
                       (uint8_t)(l4_bytes >> 8),
                       (uint8_t)l4_bytes,
                       0,
                       0,
                       0,
                       protocol};
    uint16_t addresses =
        ip[0] >> 4 == 6 ? net_naive_sum(ip + 8, 32, 0) : net_naive_sum(ip + 12, 8, 0);

    return net_naive_sum(tail, sizeof(tail), addresses);
}

bool net_checksums_good(const uint8_t *frame, uint32_t bytes, unsigned l3, unsigned l4)
{
    const uint8_t *ip = frame + l3;
    bool v6 = ip[0] >> 4 == 6;
    uint32_t end = l3 + (v6 ? 40u + hv_get_be16(ip + 4) : hv_get_be16(ip + 2));
    uint8_t protocol = v6 ? ip[6] : ip[9];

    if (end > bytes || end < l4)
        return false;
    if (v6 && protocol == 60)
        protocol = ip[40];
    if (!v6 && net_naive_sum(ip, (ip[0] & 15u) * 4, 0) != 0xffff)
        return false;
    if (protocol == 17 && !hv_get_be16(frame + l4 + 6))
        return false; /* says that there is none */
    return net_naive_sum(frame + l4, end - l4, pseudo_sum(ip, end - l4, protocol)) == 0xffff;
}

static void put_ip(struct net_frame *net, const struct net_shape *shape, uint8_t protocol)
{
    uint8_t *ip = net->data + net->l3;

    if (shape->ipv6) {
        hv_put_be16(net->data + net->l3 - 2, 0x86dd);
        ip[0] = 0x60;
        hv_put_be16(ip + 4, shape->lso ? 0 : (uint16_t)(net->end - net->l3 - 40));
        ip[6] = shape->options ? 60 : protocol;
        ip[7] = 64;
        memcpy(ip + 8, "\x20\x01\x0d\xb8\0\0\0\1\0\0\0\0\0\0\0\1", 16);
        memcpy(ip + 24, "\x20\x01\x0d\xb8\0\0\0\2\0\0\0\0\xff\xfe\0\2", 16);
        if (shape->options) {
            ip[40] = protocol;
            ip[41] = (uint8_t)(shape->options / 8 - 1);
        }
        return;
    }
    hv_put_be16(net->data + net->l3 - 2, 0x0800);
    ip[0] = (uint8_t)(0x45 + shape->options / 4);
    hv_put_be16(ip + 2, shape->lso ? 0 : (uint16_t)(net->end - net->l3));
    /* wraps within a few segments */
    hv_put_be16(ip + 4, (uint16_t)(0xfffe + shape->sequence / 1448));
    hv_put_be16(ip + 6, 0x4000);
    ip[8] = 64;
    ip[9] = protocol;
    memcpy(ip + 12, "\xc0\0\2\1\xc6\x33\x64\2", 8);
    memset(ip + 20, 1, shape->options);
}

static void put_l4(struct net_frame *net, const struct net_shape *shape)
{
    uint8_t *l4 = net->data + net->l4;
    uint8_t *checksum = l4 + (shape->udp ? 6 : 16);
    uint16_t pseudo;

    hv_put_be16(l4, 40000);
    hv_put_be16(l4 + 2, 443);
    if (shape->udp) {
        hv_put_be16(l4 + 4, (uint16_t)(net->end - net->l4));
    } else {
        hv_put_be32(l4 + 4, 0xfffff000u + shape->sequence); /* wraps */
        hv_put_be32(l4 + 8, 0x12345678);
        l4[12] = (uint8_t)((20 + shape->tcp_options) / 4 << 4);
        l4[13] = shape->tcp_flags ? shape->tcp_flags : 0x10;
        hv_put_be16(l4 + 14, 8192);
        memset(l4 + 20, 1, shape->tcp_options);
    }
    pseudo =
        pseudo_sum(net->data + net->l3, shape->lso ? 0 : net->end - net->l4, shape->udp ? 17 : 6);
    hv_put_be16(checksum, pseudo);
    if (shape->finished) {
        uint16_t sum;

        hv_put_be16(checksum, 0);
        sum = (uint16_t)~net_naive_sum(l4, net->end - net->l4, pseudo);
        hv_put_be16(checksum, sum ? sum : 0xffff);
    }
}

void net_make(struct net_frame *net, const struct net_shape *shape)
{
    unsigned bytes;
    unsigned at = 0;
    unsigned piece = 0;

    net->l3 = 14 + 4 * shape->tags;
    net->l4 = net->l3 + (shape->ipv6 ? 40 : 20) + shape->options;
    net->payload = net->l4 + (shape->udp ? 8 : 20 + shape->tcp_options);
    net->end = net->payload + shape->payload;
    bytes = net->end + shape->padding;
    memset(net->data, 0, net->payload);
    memcpy(net->data, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02", 12);
    for (unsigned i = 0; i < shape->tags; i++)
        hv_put_be32(net->data + 12 + 4 * i, (i + 1 < shape->tags ? 0x88a80000u : 0x81000000u) | 7);
    for (unsigned i = net->payload; i < bytes; i++)
        net->data[i] = (uint8_t)(i * 7 + i / 251);
    put_ip(net, shape, shape->udp ? 17 : 6);
    put_l4(net, shape);
    if (shape->finished && !shape->ipv6)
        hv_put_be16(net->data + net->l3 + 10,
                    (uint16_t)~net_naive_sum(net->data + net->l3, net->l4 - net->l3, 0));
    while (at < bytes) {
        unsigned left = bytes - at;
        unsigned take = shape->max_piece && piece + 1 < HV_FRAME_IOV_MAX && left > shape->max_piece
                            ? 1 + (at * 31 + piece) % shape->max_piece
                            : left;

        net->iov[piece++] = (struct iovec){net->data + at, take};
        at += take;
    }
    net->frame = (struct hv_frame){.iov = net->iov, .iov_count = piece, .bytes = bytes};
}

void net_flatten(const struct hv_frame *frame, struct net_flat *ret_flat)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < frame->iov_count; i++) {
        memcpy(ret_flat->data + at, frame->iov[i].iov_base, frame->iov[i].iov_len);
        at += (uint32_t)frame->iov[i].iov_len;
    }
    ret_flat->bytes = at == frame->bytes ? at : 0;
    ret_flat->flags = frame->flags;
    ret_flat->vlan_tci = frame->vlan_tci;
}
