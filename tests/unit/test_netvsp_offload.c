/* SPDX-License-Identifier: BSD-3-Clause */
/* Checksums, segmentation and tags in software: known answers, random frames against a naive judge, hostile headers. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>

#include "frame.h"
#include "netvsp_frames.h"
#include "offload.h"
#include "suite.h"

static struct net_frame net;
static struct net_flat flat;
static struct hv_offload *offload;

/* The example of RFC 1071 section 3. */
static void test_known_sum(void)
{
    static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

    CU_ASSERT_EQUAL(hv_offload_fold(hv_offload_sum(bytes, sizeof(bytes), 0)), 0x220d);
    CU_ASSERT_EQUAL(hv_offload_fold(0), 0xffff);
}

static void test_random_sums(void)
{
    static uint8_t bytes[3000];

    srandom(2);
    for (unsigned round = 0; round < 3000; round++) {
        size_t from = (size_t)random() % 64;
        size_t length = (size_t)random() % (round % 3 ? 200 : sizeof(bytes) - 64);

        for (size_t i = 0; i < length; i++)
            bytes[from + i] = round % 5 ? (uint8_t)random() : 0xff;
        CU_ASSERT_EQUAL(hv_offload_fold(hv_offload_sum(bytes + from, length, 0)),
                        (uint16_t)~net_naive_sum(bytes + from, length, 0));
    }
}

static struct net_shape random_shape(void)
{
    struct net_shape shape = {
        .ipv6 = random() & 1,
        .tags = (unsigned)random() % 3,
        .options = (unsigned)random() % 4 * 8,
        .tcp_options = (unsigned)random() % 11 * 4,
        .padding = random() % 3 ? 0 : (unsigned)random() % 20,
        .max_piece = random() % 3 ? 40 + (unsigned)random() % 2000 : 0,
    };

    return shape;
}

static void test_checksums(void)
{
    srandom(3);
    for (unsigned round = 0; round < 2000; round++) {
        struct net_shape shape = random_shape();
        const struct hv_frame *out = NULL;

        shape.udp = random() & 1;
        shape.payload = (unsigned)random() % (round % 4 ? 100 : 9000);
        net_make(&net, &shape);
        net.frame.flags = (shape.udp ? HV_FRAME_UDP : HV_FRAME_TCP) |
                          (shape.ipv6 ? HV_FRAME_IPV6 : HV_FRAME_IPV4 | HV_FRAME_IP_CSUM) |
                          HV_FRAME_VLAN;
        net.frame.l4_offset = round & 1 ? (uint16_t)net.l4 : 0;
        net.frame.vlan_tci = 0x6123;
        CU_ASSERT_EQUAL_FATAL(hv_offload_start(offload, &net.frame), 0);
        CU_ASSERT_EQUAL_FATAL(hv_offload_next(offload, &out), 1);
        net_flatten(out, &flat);
        CU_ASSERT_EQUAL(flat.bytes, net.frame.bytes);
        CU_ASSERT(net_checksums_good(flat.data, flat.bytes, net.l3, net.l4));
        CU_ASSERT_EQUAL(flat.vlan_tci, 0x6123);
        CU_ASSERT_EQUAL(flat.flags,
                        HV_FRAME_VLAN | HV_FRAME_L4_OK | (shape.udp ? HV_FRAME_UDP : HV_FRAME_TCP) |
                            (shape.ipv6 ? HV_FRAME_IPV6 : HV_FRAME_IPV4 | HV_FRAME_IP_OK));
        /* Nothing else was touched, and the guest's own memory not at all. */
        shape.finished = true;
        CU_ASSERT_EQUAL(hv_offload_next(offload, &out), 0);
        net_make(&net, &shape);
        CU_ASSERT(!memcmp(flat.data, net.data, flat.bytes));
    }
}

/* A UDP checksum that comes out as 0 is sent as 0xffff. */
static void test_udp_zero(void)
{
    struct net_shape shape = {.udp = true, .payload = 2, .finished = true};
    const struct hv_frame *out;
    uint16_t sum;

    net_make(&net, &shape);
    hv_put_be16(net.data + net.payload, 0);
    net.frame.flags = HV_FRAME_UDP;
    CU_ASSERT_EQUAL_FATAL(hv_offload_start(offload, &net.frame), 0);
    CU_ASSERT_EQUAL_FATAL(hv_offload_next(offload, &out), 1);
    net_flatten(out, &flat);
    sum = hv_get_be16(flat.data + net.l4 + 6);
    hv_put_be16(net.data + net.payload, sum); /* now everything else adds up to ~sum */
    CU_ASSERT_EQUAL_FATAL(hv_offload_start(offload, &net.frame), 0);
    CU_ASSERT_EQUAL_FATAL(hv_offload_next(offload, &out), 1);
    net_flatten(out, &flat);
    CU_ASSERT_EQUAL(hv_get_be16(flat.data + net.l4 + 6), 0xffff);
    CU_ASSERT(net_checksums_good(flat.data, flat.bytes, net.l3, net.l4));
}

/* One segment against the frame that it was cut from. */
static void judge_segment(const struct hv_frame *out, const struct net_shape *shape, unsigned mss,
                          unsigned index, unsigned done)
{
    unsigned total = net.frame.bytes - net.payload;
    unsigned want = total - done < mss ? total - done : mss;
    bool is_last = done + want == total;
    uint8_t flags = 0x10 | (is_last ? 0x09 : 0) | (index ? 0 : 0x80) | 0x40;
    const uint8_t *l4 = flat.data + net.l4;

    net_flatten(out, &flat);
    CU_ASSERT_EQUAL(flat.bytes, net.payload + want);
    CU_ASSERT(net_checksums_good(flat.data, flat.bytes, net.l3, net.l4));
    CU_ASSERT_EQUAL(hv_get_be32(l4 + 4), 0xfffff000u + done);
    CU_ASSERT_EQUAL(l4[13], flags);
    if (shape->ipv6)
        CU_ASSERT_EQUAL(hv_get_be16(flat.data + net.l3 + 4), flat.bytes - net.l3 - 40);
    if (!shape->ipv6) {
        CU_ASSERT_EQUAL(hv_get_be16(flat.data + net.l3 + 2), flat.bytes - net.l3);
        CU_ASSERT_EQUAL(hv_get_be16(flat.data + net.l3 + 4), (uint16_t)(0xfffe + index));
    }
    CU_ASSERT(!memcmp(flat.data + net.payload, net.data + net.payload + done, want));
    CU_ASSERT(!memcmp(flat.data, net.data, net.l3));
    CU_ASSERT(!memcmp(l4 + 20, net.data + net.l4 + 20, shape->tcp_options));
    CU_ASSERT(!hv_offload_is_needed(out));
}

static void test_segments(void)
{
    static const unsigned edges[] = {0, 1, 1447, 1448, 1449, 2896, 2897, 62000};

    srandom(4);
    for (unsigned round = 0; round < 300; round++) {
        struct net_shape shape = random_shape();
        unsigned mss = round < 16 ? 1448 : HV_OFFLOAD_MSS_MIN + (unsigned)random() % 9000;
        unsigned done = 0, segments = 0, want;
        const struct hv_frame *out;
        uint16_t count;

        shape.padding = 0; /* the IP length says nothing here */
        shape.lso = true;
        shape.tcp_flags = 0x10 | 0x09 | 0x80 | 0x40; /* FIN, PSH, CWR, ECE */
        shape.payload = round < 16 ? edges[round / 2] : (unsigned)random() % 64000;
        net_make(&net, &shape);
        net.frame.flags = HV_FRAME_TSO | (shape.ipv6 ? HV_FRAME_IPV6 : HV_FRAME_IPV4);
        net.frame.mss = (uint16_t)mss;
        net.frame.l4_offset = (uint16_t)net.l4;
        CU_ASSERT_EQUAL_FATAL(hv_offload_start(offload, &net.frame), 0);
        while ((count = hv_offload_next(offload, &out)) != 0) {
            CU_ASSERT(count <= HV_OFFLOAD_BATCH);
            for (uint16_t i = 0; i < count; i++) {
                judge_segment(&out[i], &shape, mss, segments++, done);
                done += out[i].bytes - net.payload;
            }
        }
        want = shape.payload ? (shape.payload + mss - 1) / mss : 1;
        CU_ASSERT_EQUAL(segments, want);
        CU_ASSERT_EQUAL(done, shape.payload);
    }
}

/* As a kernel completes it: the sum from the L4 header on, with what lies in the place of the checksum. */
static void test_prepare(void)
{
    static struct hv_offload_headers h;

    srandom(5);
    for (unsigned round = 0; round < 1000; round++) {
        struct net_shape shape = random_shape();
        uint16_t sum;
        uint8_t *at;

        shape.udp = random() & 1;
        shape.lso = !shape.udp && (random() & 1);
        shape.payload = (unsigned)random() % 9000;
        if (shape.lso)
            shape.padding = 0;
        net_make(&net, &shape);
        net.frame.flags = shape.udp ? HV_FRAME_UDP : HV_FRAME_TCP;
        net.frame.flags |= shape.ipv6 ? HV_FRAME_IPV6 : HV_FRAME_IPV4 | HV_FRAME_IP_CSUM;
        if (shape.lso)
            net.frame.flags |= HV_FRAME_TSO;
        net.frame.mss = 1448;
        CU_ASSERT_EQUAL_FATAL(hv_offload_prepare(&net.frame, &h), 0);
        CU_ASSERT_EQUAL(h.l3_offset, net.l3);
        CU_ASSERT_EQUAL(h.l4_offset, net.l4);
        CU_ASSERT_EQUAL(h.payload_offset, net.payload);
        CU_ASSERT_EQUAL(h.end, net.end);
        CU_ASSERT_EQUAL(!!(h.flags & HV_FRAME_TSO), shape.lso && shape.payload > 1448);
        net_flatten(&net.frame, &flat);
        memcpy(flat.data, h.bytes, h.payload_offset);
        at = flat.data + net.l4 + (shape.udp ? 6 : 16);
        sum = (uint16_t)~net_naive_sum(flat.data + net.l4, net.end - net.l4, 0);
        hv_put_be16(at, sum ? sum : 0xffff);
        CU_ASSERT(net_checksums_good(flat.data, flat.bytes, net.l3, net.l4));
    }
}

enum spoil {
    AS_IS,
    SHORT_FRAME, /* only so many bytes are there */
    BYTE,        /* data[where] = value */
    FLAGS,
    L4_OFFSET,
    MSS,
    CLAIMED, /* frame.bytes says more than the pieces */
};

static const struct {
    const char *name;
    bool ipv6, udp, tso;
    enum spoil spoil;
    uint32_t where, value;
    int want;
} hostile[] = {
    {"good tcp4", false, false, false, AS_IS, 0, 0, 0},
    {"good udp6", true, true, false, AS_IS, 0, 0, 0},
    {"good tso4", false, false, true, AS_IS, 0, 0, 0},
    {"less than Ethernet", false, false, false, SHORT_FRAME, 13, 0, -EINVAL},
    {"Ethernet only", false, false, false, SHORT_FRAME, 14, 0, -EINVAL},
    {"half an IPv4 header", false, false, false, SHORT_FRAME, 33, 0, -EINVAL},
    {"no TCP header", false, false, false, SHORT_FRAME, 34, 0, -EINVAL},
    {"half a TCP header", false, false, true, SHORT_FRAME, 53, 0, -EINVAL},
    {"half an IPv6 header", true, true, false, SHORT_FRAME, 53, 0, -EINVAL},
    {"half a UDP header", true, true, false, SHORT_FRAME, 61, 0, -EINVAL},
    {"IP longer than the frame", false, false, false, SHORT_FRAME, 60, 0, -EINVAL},
    {"pieces do not add up", false, false, false, CLAIMED, 10, 0, -EINVAL},
    {"ARP", false, false, false, BYTE, 13, 0x06, -EINVAL},
    {"version 5", false, false, false, BYTE, 14, 0x55, -EINVAL},
    {"header of 16 bytes", false, false, false, BYTE, 14, 0x44, -EINVAL},
    {"version 4 in IPv6", true, true, false, BYTE, 14, 0x40, -EINVAL},
    {"total length below header", false, false, false, BYTE, 17, 19, -EINVAL},
    {"IP ends inside the TCP header", false, false, false, BYTE, 17, 39, -EINVAL},
    {"IP ends behind the TCP header", false, false, false, BYTE, 17, 40, 0},
    {"a fragment", false, false, false, BYTE, 20, 0x20, -EINVAL},
    {"a later fragment", false, false, false, BYTE, 21, 0x01, -EINVAL},
    {"UDP where TCP was said", false, false, false, BYTE, 23, 17, -EINVAL},
    {"ESP in IPv6", true, true, false, BYTE, 20, 50, -EINVAL},
    {"fragment header", true, true, false, BYTE, 20, 44, -EINVAL},
    {"extension header too long", true, true, false, BYTE, 20, 60, -EINVAL},
    {"data offset 4", false, false, false, BYTE, 46, 0x40, -EINVAL},
    {"data offset beyond the end", false, false, false, BYTE, 46, 0xf0, 0}, /* 60 fit in 100 */
    {"TCP and UDP", false, false, false, FLAGS, HV_FRAME_TCP | HV_FRAME_UDP, 0, -EINVAL},
    {"TSO of UDP", false, true, false, FLAGS, HV_FRAME_TSO | HV_FRAME_UDP, 0, -EINVAL},
    {"IPv6 said, IPv4 sent", false, false, false, FLAGS, HV_FRAME_TCP | HV_FRAME_IPV6, 0, -EINVAL},
    {"IP checksum of IPv6", true, true, false, FLAGS, HV_FRAME_UDP | HV_FRAME_IP_CSUM, 0, -EINVAL},
    {"another L4 offset", false, false, false, L4_OFFSET, 36, 0, -EINVAL},
    {"the L4 offset", false, false, false, L4_OFFSET, 34, 0, 0},
    {"no segment size", false, false, true, MSS, 0, 0, -EINVAL},
    {"tiny segments", false, false, true, MSS, HV_OFFLOAD_MSS_MIN - 1, 0, -EINVAL},
    {"small segments", false, false, true, MSS, HV_OFFLOAD_MSS_MIN, 0, 0},
};

static void test_hostile(void)
{
    static struct hv_offload_headers h;

    for (size_t i = 0; i < HV_COUNT_OF(hostile); i++) {
        struct net_shape shape = {
            .ipv6 = hostile[i].ipv6, .udp = hostile[i].udp, .lso = hostile[i].tso, .payload = 100};
        const struct hv_frame *out;

        net_make(&net, &shape);
        net.frame.flags = hostile[i].tso ? HV_FRAME_TSO : shape.udp ? HV_FRAME_UDP : HV_FRAME_TCP;
        net.frame.mss = 1000;
        switch (hostile[i].spoil) {
        case AS_IS:
            break;
        case SHORT_FRAME:
            net.frame.bytes = hostile[i].where;
            net.iov[0].iov_len = hostile[i].where;
            break;
        case BYTE:
            net.data[hostile[i].where] = (uint8_t)hostile[i].value;
            break;
        case FLAGS:
            net.frame.flags = (uint16_t)hostile[i].where;
            break;
        case L4_OFFSET:
            net.frame.l4_offset = (uint16_t)hostile[i].where;
            break;
        case MSS:
            net.frame.mss = (uint16_t)hostile[i].where;
            break;
        case CLAIMED:
            net.frame.bytes += hostile[i].where;
            break;
        }
        HV_CHECK_ROW(hostile[i].name, hv_offload_parse(&net.frame, &h) == hostile[i].want);
        HV_CHECK_ROW(hostile[i].name, hv_offload_prepare(&net.frame, &h) == hostile[i].want);
        HV_CHECK_ROW(hostile[i].name, hv_offload_start(offload, &net.frame) == hostile[i].want);
        if (hostile[i].want)
            HV_CHECK_ROW(hostile[i].name, hv_offload_next(offload, &out) == 0);
        while (!hostile[i].want && hv_offload_next(offload, &out))
            continue;
    }
}

/* An IPv4 packet has at most 65535 bytes, also before it is cut. */
static void test_too_long(void)
{
    struct net_shape shape = {.lso = true};
    static struct hv_offload_headers h;

    for (unsigned extra = 0; extra < 2; extra++) {
        shape.payload = 65535 - 40 + extra;
        net_make(&net, &shape);
        net.frame.flags = HV_FRAME_TSO;
        net.frame.mss = 1448;
        CU_ASSERT_EQUAL(hv_offload_parse(&net.frame, &h), extra ? -EINVAL : 0);
    }
}

/** Frames towards a guest may have two pieces more than those from one. */
static void test_vlan_pieces(void)
{
    struct iovec iov[HV_VLAN_PIECES], pieces[HV_FRAME_PIECES_MAX];
    uint8_t data[HV_FRAME_PIECES_MAX * 5], head[HV_VLAN_HEAD_BYTES];
    struct hv_frame frame = {.iov = pieces,
                             .iov_count = HV_FRAME_PIECES_MAX,
                             .bytes = sizeof(data),
                             .flags = HV_FRAME_VLAN,
                             .vlan_tci = 7};
    struct hv_frame tagged;

    for (uint32_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    for (uint32_t i = 0; i < HV_FRAME_PIECES_MAX; i++)
        pieces[i] = (struct iovec){data + 5 * (size_t)i, 5};
    hv_offload_vlan_insert(&frame, head, iov, &tagged);
    CU_ASSERT_EQUAL(tagged.bytes, sizeof(data) + 4);
    net_flatten(&tagged, &flat);
    CU_ASSERT_EQUAL(flat.bytes, sizeof(data) + 4);
    CU_ASSERT(!memcmp(flat.data + 16, data + 12, sizeof(data) - 12));
}

static void test_vlan(void)
{
    static struct net_flat back;
    struct net_shape shape = {.payload = 300, .max_piece = 5};
    struct iovec iov[HV_VLAN_PIECES];
    uint8_t head[HV_VLAN_HEAD_BYTES];
    struct hv_frame tagged, frame;
    struct iovec one;

    net_make(&net, &shape);
    CU_ASSERT(net.frame.iov_count == HV_FRAME_IOV_MAX);
    net.frame.flags = HV_FRAME_VLAN | HV_FRAME_HASH;
    net.frame.vlan_tci = 0xa064;
    net.frame.l4_offset = 34;
    hv_offload_vlan_insert(&net.frame, head, iov, &tagged);
    CU_ASSERT_EQUAL(tagged.flags, HV_FRAME_HASH);
    CU_ASSERT_EQUAL(tagged.l4_offset, 38);
    CU_ASSERT(hv_frame_is_sound(&tagged));
    net_flatten(&tagged, &flat);
    CU_ASSERT_EQUAL(flat.bytes, net.frame.bytes + 4);
    CU_ASSERT(!memcmp(flat.data, net.data, 12));
    CU_ASSERT(!memcmp(flat.data + 12, "\x81\x00\xa0\x64", 4));
    CU_ASSERT(!memcmp(flat.data + 16, net.data + 12, net.frame.bytes - 12));

    hv_frame_set(&frame, &one, flat.data, flat.bytes); /* and out again */
    hv_offload_vlan_strip(&frame, iov);
    CU_ASSERT_EQUAL(frame.flags, HV_FRAME_VLAN);
    CU_ASSERT_EQUAL(frame.vlan_tci, 0xa064);
    net_flatten(&frame, &back);
    CU_ASSERT_EQUAL(back.bytes, net.frame.bytes);
    CU_ASSERT(!memcmp(back.data, net.data, back.bytes));

    hv_frame_set(&frame, &one, back.data, back.bytes); /* untagged: as it was */
    hv_offload_vlan_strip(&frame, iov);
    CU_ASSERT(frame.iov == &one && !frame.flags && frame.bytes == back.bytes);
    hv_put_be16(net.data + 12, 0x8100);
    hv_frame_set(&frame, &one, net.data, 17); /* a tag without anything behind it */
    hv_offload_vlan_strip(&frame, iov);
    CU_ASSERT(frame.iov == &one && !frame.flags && frame.bytes == 17);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"known sum", test_known_sum}, {"random sums", test_random_sums},
        {"checksums", test_checksums}, {"UDP checksum 0", test_udp_zero},
        {"segments", test_segments},   {"prepare", test_prepare},
        {"hostile", test_hostile},     {"too long", test_too_long},
        {"vlan", test_vlan},           {"vlan, most pieces", test_vlan_pieces},
    };
    int failed;

    if (hv_offload_create(&offload))
        return 1;
    failed = hv_test_main("netvsp.offload", cases, HV_TEST_COUNT(cases), argc, argv);
    hv_offload_destroy(offload);
    return failed;
}
