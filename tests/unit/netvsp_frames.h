/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames made and judged for the tests of links and offloads, by the book and byte by byte. */
#ifndef HV_TEST_NETVSP_FRAMES_H
#define HV_TEST_NETVSP_FRAMES_H

#include "link.h"

#define NET_BYTES 70000u

struct net_shape {
    bool ipv6;
    bool udp;         /* else TCP */
    unsigned tags;    /* in the frame */
    unsigned options; /* bytes of IPv4 options, or of IPv6 extension headers; multiples of 8 */
    unsigned tcp_options;
    unsigned payload;
    unsigned padding;   /* behind the IP packet */
    uint8_t tcp_flags;  /* 0 = ACK */
    unsigned sequence;  /* added to that of TCP, to IPv4's identification how many of 1448 bytes */
    bool finished;      /* checksums in place */
    bool lso;           /* lengths and checksums as a sender of large segments leaves them */
    unsigned max_piece; /* of the iovec; 0 = one piece */
};

struct net_frame {
    uint8_t data[NET_BYTES];
    struct iovec iov[HV_FRAME_IOV_MAX];
    struct hv_frame frame; /* flags 0 */
    unsigned l3, l4, payload, end;
};

void net_make(struct net_frame *net, const struct net_shape *shape);

/** One finished frame in one piece. */
struct net_flat {
    uint8_t data[NET_BYTES];
    uint32_t bytes;
    uint16_t flags, vlan_tci;
};
void net_flatten(const struct hv_frame *frame, struct net_flat *ret_flat);

/** Sum of 16-bit words as RFC 1071 writes it, one byte after the other; 0xffff = good when the checksum is inside. */
uint16_t net_naive_sum(const uint8_t *data, size_t bytes, uint32_t sum);
/** IP and transport checksums of a frame made by net_make() or cut from one; l3, l4 from the maker. */
bool net_checksums_good(const uint8_t *frame, uint32_t bytes, unsigned l3, unsigned l4);

#endif
