/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The RSS hash against the verification vectors that Microsoft publishes ("Verifying the RSS Hash Calculation", Windows
 * driver documentation), and against a bit by bit reference.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>
#include <hv/wire/ndis.h>

#include "suite.h"
#include "toeplitz.h"

static const uint8_t key[HV_TOEPLITZ_KEY_BYTES] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

static const struct {
    const char *to;
    uint16_t to_port;
    const char *from;
    uint16_t from_port;
    uint32_t address_hash;
    uint32_t tcp_hash;
} published[] = {
    {"161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178},
    {"65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea},
    {"12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a},
    {"209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f},
    {"202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2},
    {"3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d},
    {"ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf},
    {"fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4b61e985,
     0x02d1feef},
};

static struct hv_toeplitz toeplitz;

#define ALL_TYPES                                                                                  \
    (HV_NDIS_HASH_IPV4 | HV_NDIS_HASH_TCP4 | HV_NDIS_HASH_UDP4 | HV_NDIS_HASH_IPV6 |               \
     HV_NDIS_HASH_TCP6 | HV_NDIS_HASH_UDP6)

/* A frame of the flow; returns its length. */
static size_t make_frame(uint8_t *p, size_t row, uint8_t protocol, unsigned tags)
{
    bool v6 = strchr(published[row].to, ':') != NULL;
    size_t at = 14;

    memset(p, 0, 128);
    for (unsigned i = 0; i < tags; i++, at += 4)
        hv_put_be16(p + at - 2, i + 1 < tags ? 0x88a8 : 0x8100);
    hv_put_be16(p + at - 2, v6 ? 0x86dd : 0x0800);
    if (v6) {
        p[at] = 0x60;
        p[at + 6] = protocol;
        CU_ASSERT(inet_pton(AF_INET6, published[row].from, p + at + 8) == 1);
        CU_ASSERT(inet_pton(AF_INET6, published[row].to, p + at + 24) == 1);
        at += 40;
    } else {
        p[at] = 0x45;
        p[at + 9] = protocol;
        CU_ASSERT(inet_pton(AF_INET, published[row].from, p + at + 12) == 1);
        CU_ASSERT(inet_pton(AF_INET, published[row].to, p + at + 16) == 1);
        at += 20;
    }
    hv_put_be16(p + at, published[row].from_port);
    hv_put_be16(p + at + 2, published[row].to_port);
    return at + 20;
}

static void test_published(void)
{
    for (size_t row = 0; row < HV_COUNT_OF(published); row++) {
        bool v6 = strchr(published[row].to, ':') != NULL;
        uint32_t tcp = v6 ? HV_NDIS_HASH_TCP6 : HV_NDIS_HASH_TCP4;
        uint32_t udp = v6 ? HV_NDIS_HASH_UDP6 : HV_NDIS_HASH_UDP4;
        uint32_t ip = v6 ? HV_NDIS_HASH_IPV6 : HV_NDIS_HASH_IPV4;

        for (unsigned tags = 0; tags <= 2; tags++) {
            const struct {
                uint8_t protocol;
                uint32_t types, want_type, want_hash;
            } cases[] = {
                {6, ALL_TYPES, tcp, published[row].tcp_hash},
                {6, ALL_TYPES & ~tcp, ip, published[row].address_hash},
                {6, udp, 0, 0},
                {6, 0, 0, 0},
                {17, ALL_TYPES, udp, published[row].tcp_hash}, /* the same input, the same hash */
                {17, ALL_TYPES & ~udp, ip, published[row].address_hash},
                {1, ALL_TYPES, ip, published[row].address_hash},
                {1, tcp | udp, 0, 0},
            };
            for (size_t i = 0; i < HV_COUNT_OF(cases); i++) {
                uint8_t frame[128];
                size_t bytes = make_frame(frame, row, cases[i].protocol, tags);
                uint32_t type = 99;
                uint32_t hash = hv_toeplitz_frame(&toeplitz, cases[i].types, frame, bytes, &type);

                HV_CHECK_ROW(published[row].to, type == cases[i].want_type);
                HV_CHECK_ROW(published[row].to, hash == cases[i].want_hash);
            }
        }
    }
}

static uint32_t reference(const uint8_t *input, size_t bytes)
{
    uint32_t hash = 0;

    for (size_t bit = 0; bit < bytes * 8; bit++) {
        if (!(input[bit / 8] & (0x80u >> (bit % 8))))
            continue;
        for (size_t i = 0; i < 32; i++)
            if (key[(bit + i) / 8] & (0x80u >> ((bit + i) % 8)))
                hash ^= 0x80000000u >> i;
    }
    return hash;
}

static void test_random(void)
{
    uint8_t input[HV_TOEPLITZ_INPUT_BYTES];

    srandom(1);
    for (unsigned round = 0; round < 2000; round++) {
        size_t bytes = (size_t)random() % (sizeof(input) + 1);

        for (size_t i = 0; i < sizeof(input); i++)
            input[i] = (uint8_t)random();
        CU_ASSERT_EQUAL(hv_toeplitz_hash(&toeplitz, input, bytes), reference(input, bytes));
    }
}

static void test_fragments(void)
{
    uint8_t frame[128];
    uint32_t type;
    size_t bytes = make_frame(frame, 0, 6, 0);

    hv_put_be16(frame + 14 + 6, 0x2000); /* the first of several */
    CU_ASSERT_EQUAL(hv_toeplitz_frame(&toeplitz, ALL_TYPES, frame, bytes, &type), 0x323e8fc2);
    CU_ASSERT_EQUAL(type, HV_NDIS_HASH_IPV4);
    hv_put_be16(frame + 14 + 6, 185); /* another */
    CU_ASSERT_EQUAL(hv_toeplitz_frame(&toeplitz, ALL_TYPES, frame, bytes, &type), 0x323e8fc2);
    CU_ASSERT_EQUAL(type, HV_NDIS_HASH_IPV4);
    hv_put_be16(frame + 14 + 6, 0x4000); /* only "do not fragment" */
    CU_ASSERT_EQUAL(hv_toeplitz_frame(&toeplitz, ALL_TYPES, frame, bytes, &type), 0x51ccc178);
    bytes = make_frame(frame, 5, 44, 0); /* IPv6 fragment header in front of TCP */
    frame[54] = 6;
    CU_ASSERT_EQUAL(hv_toeplitz_frame(&toeplitz, ALL_TYPES, frame, bytes, &type), 0x2cc18cd5);
    CU_ASSERT_EQUAL(type, HV_NDIS_HASH_IPV6);
}

/* Options and extension headers move the ports. */
static void test_moved_ports(void)
{
    uint8_t frame[160];
    uint32_t type;

    (void)make_frame(frame, 0, 6, 0);
    memmove(frame + 34 + 8, frame + 34, 4);
    memset(frame + 34, 1, 8);
    frame[14] = 0x47;
    CU_ASSERT_EQUAL(hv_toeplitz_frame(&toeplitz, ALL_TYPES, frame, 80, &type), 0x51ccc178);
    (void)make_frame(frame, 5, 0, 0); /* hop-by-hop, destination options, TCP */
    memmove(frame + 54 + 24, frame + 54, 4);
    memset(frame + 54, 0, 24);
    frame[54] = 60;
    frame[62] = 6;
    frame[63] = 1;
    CU_ASSERT_EQUAL(hv_toeplitz_frame(&toeplitz, ALL_TYPES, frame, 100, &type), 0x40207d3d);
    CU_ASSERT_EQUAL(type, HV_NDIS_HASH_TCP6);
}

/* Cut anywhere, in memory of exactly that size (sanitizers look), with every byte of the headers at its worst. */
static void test_hostile(void)
{
    for (size_t row = 0; row < HV_COUNT_OF(published); row += 5) {
        uint8_t whole[128];
        size_t bytes = make_frame(whole, row, 6, 1);

        for (size_t cut = 0; cut <= bytes; cut++) {
            for (size_t poison = 0; poison <= cut; poison++) {
                uint8_t *frame = malloc(cut ? cut : 1);
                uint32_t type = 99;
                uint32_t hash;

                if (!frame)
                    return;
                memcpy(frame, whole, cut);
                if (poison < cut)
                    frame[poison] = 0xff;
                hash = hv_toeplitz_frame(&toeplitz, ALL_TYPES, frame, cut, &type);
                CU_ASSERT(type != 99);
                CU_ASSERT(type || !hash);
                free(frame);
            }
        }
    }
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"published vectors", test_published}, {"random against reference", test_random},
        {"fragments", test_fragments},         {"moved ports", test_moved_ports},
        {"hostile headers", test_hostile},
    };

    hv_toeplitz_init(&toeplitz, key);
    return hv_test_main("netvsp.toeplitz", cases, HV_TEST_COUNT(cases), argc, argv);
}
