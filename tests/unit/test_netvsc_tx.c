/* SPDX-License-Identifier: BSD-3-Clause */
/* Transmit side of a queue of the network driver: the bytes that the host sees, and what comes back. */
#include <errno.h>
#include <string.h>

#include <suite.h>

#include "netvsc_rig.h"

#define SECTION(n) ((size_t)(n)*RIG_TX_SECTION_BYTES)

static uint32_t word(const uint8_t *bytes, unsigned at)
{
    uint32_t w;

    memcpy(&w, bytes + at, 4);
    return w;
}

/** NVSP 107, data, section, bytes; zeroes up to 40 bytes. */
static bool is_section_message(const struct rig_packet *p, uint32_t section, uint32_t bytes)
{
    const uint32_t want[10] = {107, 0, section, bytes};

    return p->type == HV_PACKET_INBAND && p->flags == 1 && !p->ext_bytes &&
           p->payload_bytes == 40 && !memcmp(p->payload, want, 40);
}

/* ---- Sections ---- */

/** The section byte by byte: two frames, the first padded to 8 and told so. */
static void test_section_bytes(void)
{
    static const uint8_t
        want[] =
            {
                0x01, 0,   0,   0,   0x40, 0,   0,   0,   0x24, 0,   0,   0,   0x0f, 0,   0,
                0, /* 64 bytes: 44 + 15 + 5 */
                0,    0,   0,   0,   0,    0,   0,   0,   0,    0,   0,   0,   0,    0,   0,
                0, /* out of band, information */
                0,    0,   0,   0,   0,    0,   0,   0,   0,    0,   0,   0, /* none, vc */
                'a',  'b', 'c', 'd', 'e',  'f', 'g', 'h', 'i',  'j', 'k', 'l', 'm',  'n', 'o',
                0,    0,   0,   0,   0, /* padding */
                0x01, 0,   0,   0,   0x3b, 0,   0,   0,   0x24, 0,   0,   0,   0x0f, 0,   0,
                0, /* the last is 59 */
                0,    0,   0,   0,   0,    0,   0,   0,   0,    0,   0,   0,   0,    0,   0,
                0,    0,   0,   0,   0,    0,   0,   0,   0,    0,   0,   0,   0,    'A', 'B',
                'C',  'D', 'E', 'F', 'G',  'H', 'I', 'J', 'K',  'L', 'M', 'N', 'O',
            };
    struct rig rig;
    struct hv_netvsc_tx tx[2] = {rig_frame("abcdefghijklmno", 15),
                                 rig_frame("ABCDEFGHIJKLMNO", 15)};
    struct rig_packet p;
    int error = 1;

    rig_start(&rig, NULL);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 2, &error), 2);
    CU_ASSERT_EQUAL(error, 0);
    CU_ASSERT(tx[0].copied == 1 && tx[1].copied == 1);
    CU_ASSERT_FATAL(rig_take(&rig, &p));
    CU_ASSERT(is_section_message(&p, 0, 123));
    CU_ASSERT_EQUAL(sizeof(want), 123);
    CU_ASSERT(!memcmp(rig.send, want, sizeof(want)));
    CU_ASSERT(!rig_take(&rig, &p));
    CU_ASSERT_EQUAL(rig.channel->flushes, 1);
    CU_ASSERT_EQUAL(hv_netvsc_tx_in_flight(rig.queue), 1);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_packets, 2);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_bytes, 30);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_messages, 1);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_copied, 2);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_aggregated, 2);
    rig_stop(&rig);
}

/** All lengths that are copied arrive, whatever way they are copied in. */
static void test_section_lengths(void)
{
    struct rig rig;
    unsigned bad = 0;

    rig_start(&rig, NULL);
    for (uint32_t bytes = 14; bytes <= 512; bytes++) {
        struct hv_netvsc_tx tx = rig_frame(rig.memory + bytes, bytes);
        struct iovec more[3] = {
            {rig.memory + bytes + 1, 5}, {NULL, 0}, {rig.memory + bytes + 6, bytes - 6}};
        struct hv_netvsc_tx pieces = {.data = rig.memory + bytes,
                                      .data_bytes = 1,
                                      .bytes = bytes,
                                      .more = more,
                                      .more_count = 3};
        struct hv_netvsc_tx both[2] = {tx, pieces};
        struct rig_packet p;
        const uint8_t *at;
        uint32_t second = (44 + bytes + 7) / 8 * 8;

        bad += hv_netvsc_tx_burst(rig.queue, both, 2, NULL) != 2;
        bad += !rig_take(&rig, &p);
        bad += word(p.payload, 12) != second + 44 + bytes;
        at = rig.send + SECTION(word(p.payload, 8));
        bad += memcmp(at + 44, rig.memory + bytes, bytes) != 0;
        bad += memcmp(at + second + 44, rig.memory + bytes, bytes) != 0;
        bad += !rig_complete(&rig, p.id, 1);
    }
    CU_ASSERT_EQUAL(bad, 0);
    CU_ASSERT_EQUAL(rig_stats(&rig).bad_completions, 0);
    rig_stop(&rig);
}

static const struct {
    const char *name;
    struct rig_opts opts;
    uint32_t frame_bytes;
    unsigned count;
    unsigned in_message[6];
} limits[] = {
    {"packets of a message", {.packets_per_message = 3}, 60, 8, {3, 3, 2}},
    {"no aggregation", {.packets_per_message = 1}, 60, 3, {1, 1, 1}},
    {"bytes of a message", {.message_bytes = 4 * 104}, 60, 9, {4, 4, 1}},
    {"bytes of a message, one short", {.message_bytes = 4 * 104 - 1}, 60, 7, {3, 3, 1}},
    {"one frame larger than a message", {.message_bytes = 80}, 60, 2, {1, 1}},
    {"section", {.packets_per_message = 100, .tx_copy_bytes = 2000}, 1492, 9, {4, 4, 1}},
};

static void test_limits(void)
{
    for (unsigned i = 0; i < HV_TEST_COUNT(limits); i++) {
        struct rig rig;
        struct hv_netvsc_tx tx[16];
        struct rig_packet p;

        rig_start(&rig, &limits[i].opts);
        for (unsigned j = 0; j < limits[i].count; j++)
            tx[j] = rig_frame(rig.memory + j * 64, limits[i].frame_bytes);
        HV_CHECK_ROW(limits[i].name, hv_netvsc_tx_burst(rig.queue, tx, (uint16_t)limits[i].count,
                                                        NULL) == limits[i].count);
        for (unsigned m = 0; limits[i].in_message[m]; m++) {
            uint32_t one = (44 + limits[i].frame_bytes + 7) / 8 * 8;
            uint32_t last = 44 + limits[i].frame_bytes;

            HV_CHECK_ROW(limits[i].name, rig_take(&rig, &p));
            HV_CHECK_ROW(limits[i].name,
                         is_section_message(&p, m, (limits[i].in_message[m] - 1) * one + last));
        }
        HV_CHECK_ROW(limits[i].name, !rig_take(&rig, &p));
        rig_stop(&rig);
    }
}

/** First in first out, none used before its completion, none lost, and the queue's own ones only. */
static void test_sections_go_round(void)
{
    struct rig rig;
    struct rig_opts opts = {.first_section = 3, .packets_per_message = 1};
    struct hv_netvsc_tx tx[6];
    struct rig_packet p[6];
    int error = 0;

    rig_start(&rig, &opts);
    for (unsigned i = 0; i < 6; i++)
        tx[i] = rig_frame(rig.memory, 60);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 6, &error), 5);
    CU_ASSERT_EQUAL(error, -EAGAIN);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_no_section, 1);
    for (unsigned i = 0; i < 5; i++) {
        CU_ASSERT(rig_take(&rig, &p[i]));
        CU_ASSERT(is_section_message(&p[i], 3 + i, 104));
    }
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 1, &error), 0);
    CU_ASSERT_EQUAL(error, -EAGAIN);
    CU_ASSERT(rig_complete(&rig, p[2].id, 1));
    CU_ASSERT(rig_complete(&rig, p[0].id, 1));
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 3, &error), 2);
    CU_ASSERT(rig_take(&rig, &p[0]) && is_section_message(&p[0], 5, 104));
    CU_ASSERT(rig_take(&rig, &p[1]) && is_section_message(&p[1], 3, 104));
    CU_ASSERT(!rig_take(&rig, &p[2]));
    rig_stop(&rig);
}

/* ---- Per-packet information ---- */

#define F(name) HV_NETVSC_TX_FLAG_##name
static const struct {
    const char *name;
    uint16_t flags, l4, mss, tci;
    uint32_t count;
    uint32_t words[8];
} infos[] = {
    {"IP sum", F(IPV4) | F(IP_CSUM), 0, 0, 0, 4, {16, 0, 12, 0x11}},
    {"TCP over IPv4", F(IPV4) | F(IP_CSUM) | F(TCP), 34, 0, 0, 4, {16, 0, 12, 0x00220015}},
    {"UDP over IPv4", F(IPV4) | F(UDP), 34, 0, 0, 4, {16, 0, 12, 0x00220009}},
    {"TCP over IPv6", F(IPV6) | F(TCP), 54, 0, 0, 4, {16, 0, 12, 0x00360006}},
    {"UDP over IPv6", F(IPV6) | F(UDP), 54, 0, 0, 4, {16, 0, 12, 0x0036000a}},
    {"VLAN", F(VLAN), 0, 0, 0xb07b, 4, {16, 6, 12, 0x07bd}},
    {"VLAN and UDP",
     F(VLAN) | F(IPV4) | F(UDP),
     34,
     0,
     0x0001,
     8,
     {16, 0, 12, 0x00220009, 16, 6, 12, 0x10}},
    {"IPv4 named only", F(IPV4), 0, 0, 0, 0, {0}},
    {"copy", F(COPY), 0, 0, 0, 0, {0}},
};

static void test_infos(void)
{
    for (unsigned i = 0; i < HV_TEST_COUNT(infos); i++) {
        struct rig rig;
        struct hv_netvsc_tx tx;
        uint32_t ppi_bytes = infos[i].count * 4;

        rig_start(&rig, NULL);
        tx = rig_frame(rig.memory, 80);
        tx.flags = infos[i].flags;
        tx.l4_offset = infos[i].l4;
        tx.mss = infos[i].mss;
        tx.vlan_tci = infos[i].tci;
        HV_CHECK_ROW(infos[i].name, hv_netvsc_tx_burst(rig.queue, &tx, 1, NULL) == 1);
        HV_CHECK_ROW(infos[i].name, word(rig.send, 4) == 44 + ppi_bytes + 80);
        HV_CHECK_ROW(infos[i].name, word(rig.send, 8) == 36 + ppi_bytes);
        HV_CHECK_ROW(infos[i].name, word(rig.send, 12) == 80);
        HV_CHECK_ROW(infos[i].name, word(rig.send, 28) == (ppi_bytes ? 36 : 0));
        HV_CHECK_ROW(infos[i].name, word(rig.send, 32) == ppi_bytes);
        HV_CHECK_ROW(infos[i].name, !memcmp(rig.send + 44, infos[i].words, ppi_bytes));
        HV_CHECK_ROW(infos[i].name, !memcmp(rig.send + 44 + ppi_bytes, rig.memory, 80));
        rig_stop(&rig);
    }
}

/* ---- By page ---- */

static void test_by_page(void)
{
    struct rig rig;
    struct hv_netvsc_tx tx[3];
    struct iovec more[2];
    struct rig_packet p;
    uint8_t bytes[4096];
    uint32_t first;
    void *cookies[4];

    rig_start(&rig, NULL);
    more[0] = (struct iovec){rig.memory + 3 * 4096 - 3, 6};
    more[1] = (struct iovec){rig.memory + 9 * 4096, 600};
    tx[0] = rig_frame(rig.memory, 60);
    tx[1] = (struct hv_netvsc_tx){rig.memory + 4000, 200, 806, more, 2, 0, 0, 0, 0, 7, &tx[1]};
    tx[2] = rig_frame(rig.memory, 60);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 3, NULL), 3);
    CU_ASSERT(tx[0].copied == 1 && tx[1].copied == 0 && tx[2].copied == 1);
    CU_ASSERT(rig_take(&rig, &p) && is_section_message(&p, 0, 104));
    CU_ASSERT_FATAL(rig_take(&rig, &p));
    CU_ASSERT(p.type == HV_PACKET_GPA_DIRECT && p.flags == 1);
    CU_ASSERT_EQUAL(word(p.ext, 4), 4); /* header and three pieces */
    CU_ASSERT_EQUAL(p.ext_bytes, 8 + 4 * 8 + (1 + 2 + 2 + 1) * 8);
    CU_ASSERT_EQUAL(rig_gather(&p, bytes, sizeof(bytes), &first), 44 + 806);
    CU_ASSERT_EQUAL(first, 44);
    CU_ASSERT_EQUAL(word(bytes, 4), 44 + 806);
    CU_ASSERT_EQUAL(word(bytes, 12), 806);
    CU_ASSERT(!memcmp(bytes + 44, rig.memory + 4000, 200));
    CU_ASSERT(!memcmp(bytes + 244, rig.memory + 3 * 4096 - 3, 6));
    CU_ASSERT(!memcmp(bytes + 250, rig.memory + 9 * 4096, 600));
    CU_ASSERT_EQUAL(word(p.payload, 8), HV_NVSP_SECTION_NONE);
    CU_ASSERT_EQUAL(word(p.payload, 12), 0);
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, cookies, 4), 0);
    CU_ASSERT(rig_complete(&rig, p.id, 1));
    CU_ASSERT(rig_take(&rig, &p) && is_section_message(&p, 1, 104)); /* order is kept */
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, cookies, 4), 1);
    CU_ASSERT_PTR_EQUAL(cookies[0], &tx[1]);
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, cookies, 4), 0);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_by_page, 1);
    CU_ASSERT_EQUAL(hv_netvsc_tx_in_flight(rig.queue), 2);
    rig_stop(&rig);
}

/** By page and in a section: lengths zero in the copy, the frame itself untouched. */
static void test_tso(void)
{
    for (unsigned i = 0; i < 16; i++) {
        bool ip6 = i & 1, page = i & 2, split = i & 8;
        unsigned tags = i & 4 ? 2 : 0;
        struct rig rig;
        struct rig_packet p;
        static uint8_t sent[70000], before[70000], bytes[70000];
        uint32_t l3 = 14 + tags * 4, total, first = 0, zero = ip6 ? 4 : 2;
        struct hv_netvsc_tx tx;
        struct iovec more;

        rig_start(&rig, NULL);
        tx = (struct hv_netvsc_tx){.data = rig.memory + 100, .mss = 1448};
        total = rig_put_tcp(rig.memory + 100, ip6, tags, page ? 60000 : 3000, &tx.l4_offset);
        tx.bytes = tx.data_bytes = total;
        if (split) { /* in the middle of the TCP header */
            tx.data_bytes = tx.l4_offset + 5u;
            more = (struct iovec){rig.memory + 100 + tx.data_bytes, total - tx.data_bytes};
            tx.more = &more;
            tx.more_count = 1;
        }
        tx.flags = F(TSO) | F(TCP) | (uint16_t)(ip6 ? F(IPV6) : F(IPV4) | F(IP_CSUM));
        if (!page)
            tx.flags |= F(COPY);
        memcpy(before, rig.memory + 100, total);
        CU_ASSERT_EQUAL_FATAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, NULL), 1);
        CU_ASSERT(!memcmp(before, rig.memory + 100, total));
        CU_ASSERT_FATAL(rig_take(&rig, &p));
        if (page) {
            CU_ASSERT_EQUAL(rig_gather(&p, bytes, sizeof(bytes), &first), 60 + total);
            CU_ASSERT_EQUAL(first, 60u + tx.l4_offset + 32);
        } else {
            CU_ASSERT(is_section_message(&p, 0, 60 + total));
            memcpy(bytes, rig.send, 60 + total);
        }
        CU_ASSERT_EQUAL(word(bytes, 8), 52);
        CU_ASSERT_EQUAL(word(bytes, 12), total);
        CU_ASSERT_EQUAL(word(bytes, 48), HV_PPI_LSO);
        CU_ASSERT_EQUAL(word(bytes, 56),
                        1448u | (uint32_t)tx.l4_offset << 20 | 1u << 30 | (ip6 ? 1u << 31 : 0));
        memcpy(sent, before, total);
        sent[l3 + zero] = sent[l3 + zero + 1] = 0;
        if (!ip6)
            sent[l3 + 10] = sent[l3 + 11] = 0;
        CU_ASSERT(!memcmp(bytes + 60, sent, total));
        rig_stop(&rig);
    }
}

/* ---- Full ---- */

/** The host reads nothing: whatever is taken is published, whatever is not leaves nothing behind, a thousand times. */
static void test_full_ring(void)
{
    struct rig rig;
    struct rig_opts opts = {
        .ring_bytes = 4096, .descriptors = 128, .packets_per_message = 1, .send_sections = 100};
    struct hv_netvsc_tx tx[96];
    void *cookies[128];
    unsigned bad = 0, taken = 0, reaped = 0;
    int error;

    rig_start(&rig, &opts);
    for (unsigned round = 0; round < 1000; round++) {
        unsigned n, pages = 0;

        for (unsigned i = 0; i < 96; i++) {
            tx[i] = rig_frame(rig.memory + i, (i + round) % 3 ? 60 : 600);
            tx[i].cookie = &tx[i];
        }
        n = hv_netvsc_tx_burst(rig.queue, tx, 96, &error);
        bad += n == 96 || n < 40 || error != -EAGAIN;
        for (unsigned i = 0; i < n; i++)
            pages += !tx[i].copied;
        taken += n;
        bad += rig_complete_all(&rig) != n;
        n = hv_netvsc_tx_reap(rig.queue, cookies, 128);
        bad += n != pages;
        reaped += n;
    }
    CU_ASSERT_EQUAL(bad, 0);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_packets, taken);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_by_page, reaped);
    CU_ASSERT(rig_stats(&rig).tx_full >= 1000);
    CU_ASSERT_EQUAL(hv_nq_busy(rig.queue), 0);
    rig_stop(&rig);
}

static void test_descriptors_run_out(void)
{
    struct rig rig;
    struct rig_opts opts = {.descriptors = 16, .packets_per_message = 1, .send_sections = 64};
    struct hv_netvsc_tx tx[20];
    void *cookies[20];
    int error;

    rig_start(&rig, &opts);
    for (unsigned i = 0; i < 20; i++) {
        tx[i] = rig_frame(rig.memory, 600);
        tx[i].cookie = &tx[i];
    }
    CU_ASSERT_EQUAL(hv_netvsc_tx_descriptors(rig.queue), 16);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 20, &error), 16);
    CU_ASSERT_EQUAL(error, -EAGAIN);
    CU_ASSERT_EQUAL(rig_complete_all(&rig), 16);
    /* cookies not taken hold their descriptors */
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 20, &error), 0);
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, cookies, 3), 3);
    CU_ASSERT_PTR_EQUAL(cookies[0], &tx[0]);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 20, &error), 3);
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, cookies, 20), 13);
    rig_stop(&rig);
}

/** Frames to be sent never take the room that completions of received ones need. */
static void test_room_for_completions(void)
{
    struct rig rig;
    struct rig_opts opts = {
        .ring_bytes = 4096, .descriptors = 128, .packets_per_message = 1, .send_sections = 100};
    struct hv_netvsc_frame frames[RIG_SECTIONS];
    struct hv_netvsc_tx tx[96];
    struct rig_packet p;
    unsigned n = 0, sent;

    rig_start(&rig, &opts);
    for (unsigned i = 0; i < 96; i++)
        tx[i] = rig_frame(rig.memory, 60);
    for (unsigned i = 0; i < 30; i++)
        CU_ASSERT(rig_deliver_one(&rig, i, 1, 60));
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, RIG_SECTIONS), 30);
    sent = hv_netvsc_tx_burst(rig.queue, tx, 96, NULL);
    CU_ASSERT_EQUAL(sent, (4096 - 30 * 32 - 1) / 64);
    hv_netvsc_rx_done(rig.queue);
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(rig_stats(&rig).completions_delayed, 0);
    CU_ASSERT_EQUAL(rig_stats(&rig).completions_sent, 30);
    while (rig_take(&rig, &p))
        n++;
    CU_ASSERT_EQUAL(n, sent + 30);
    rig_stop(&rig);
}

static void test_no_send_buffer(void)
{
    struct rig rig;
    struct rig_opts opts = {.send_sections = UINT32_MAX};
    struct hv_netvsc_tx tx;
    struct rig_packet p;
    uint8_t bytes[200];
    uint32_t first;
    int error;

    rig_start(&rig, &opts);
    tx = rig_frame(rig.memory + 4090, 60);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, NULL), 1);
    CU_ASSERT_EQUAL(tx.copied, 0);
    CU_ASSERT(rig_take(&rig, &p));
    CU_ASSERT_EQUAL(rig_gather(&p, bytes, sizeof(bytes), &first), 104);
    CU_ASSERT(!memcmp(bytes + 44, rig.memory + 4090, 60));
    tx.flags = F(COPY);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, &error), 1);
    CU_ASSERT_EQUAL(tx.copied, 1);
    CU_ASSERT(rig_take(&rig, &p));
    CU_ASSERT_EQUAL(rig_gather(&p, bytes, sizeof(bytes), &first), 104);
    CU_ASSERT(!memcmp(bytes + 44, rig.memory + 4090, 60));
    rig_stop(&rig);
}

/** Jumbo frames out of memory that the host does not reach: copied, as many as there is room for, the room comes back. */
static void test_bounced(void)
{
    struct rig rig;
    struct rig_opts opts = {.frame_bytes_max = 9018};
    static uint8_t foreign[9018], bytes[9200];
    struct iovec more = {foreign + 5000, 4000};
    struct hv_netvsc_tx tx[20];
    struct rig_packet p;
    uint32_t first;
    void *cookie;
    int error;

    memset(foreign, 0x3c, sizeof(foreign));
    memset(foreign + 5000, 0xc3, 4000);
    rig_start(&rig, &opts);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 20; i++)
            tx[i] = (struct hv_netvsc_tx){foreign, 5000, 9000, &more, 1, 0, 0, 0, 0, 7, tx};
        CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 20, &error), 16);
        CU_ASSERT_EQUAL(error, -EAGAIN);
        CU_ASSERT_EQUAL(tx[15].copied, 1);
        CU_ASSERT_FATAL(rig_take(&rig, &p));
        CU_ASSERT_EQUAL(rig_gather(&p, bytes, sizeof(bytes), &first), 44 + 9000);
        CU_ASSERT(!memcmp(bytes + 44, foreign, 9000));
        CU_ASSERT(rig_complete(&rig, p.id, 1));
        CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 2, &error), 1);
        CU_ASSERT_EQUAL(rig_complete_all(&rig), 16);
        CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, &cookie, 1), 0);
    }
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_copied, 3 * 17);
    /* memory of the host needs no copy */
    tx[0] = rig_frame(rig.memory, 9018);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 1, &error), 1);
    CU_ASSERT_EQUAL(tx[0].copied, 0);
    rig_stop(&rig);
}

/* ---- The control thread's messages ---- */

static void test_nvsp(void)
{
    struct rig rig;
    struct hv_nvsp_message m = {.type = HV_NVSP_INIT, .init = {0x60001, 0x60001}};
    uint32_t reply[4] = {2, 0xffffffff, 34, 1};
    struct rig_packet p, old;

    rig_start(&rig, NULL);
    CU_ASSERT_EQUAL(hv_nq_send_nvsp(rig.queue, &m, sizeof(m), true, 77), 0);
    CU_ASSERT_FATAL(rig_take(&rig, &p));
    CU_ASSERT(p.type == HV_PACKET_INBAND && p.flags == 1 && p.id && !memcmp(p.payload, &m, 40));
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_COMPLETION, p.id, NULL, 0, reply, 16));
    hv_nq_poll(rig.queue);
    CU_ASSERT(rig.answers == 1 && rig.last_tag == 77 && rig.last_bytes == 16);
    CU_ASSERT(!memcmp(rig.last, reply, 16));
    CU_ASSERT_EQUAL(hv_nq_send_nvsp(rig.queue, &m, sizeof(m), false, 1), 0);
    CU_ASSERT(rig_take(&rig, &p) && p.flags == 0 && p.id);
    CU_ASSERT(rig_complete(&rig, p.id, 1)); /* nobody asked for it */
    /* two at a time, answered the other way round */
    CU_ASSERT_EQUAL(hv_nq_send_nvsp(rig.queue, &m, sizeof(m), true, 5), 0);
    CU_ASSERT_EQUAL(hv_nq_send_nvsp(rig.queue, &m, sizeof(m), true, 6), 0);
    CU_ASSERT(rig_take(&rig, &old) && rig_take(&rig, &p));
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_COMPLETION, p.id, NULL, 0, reply, 16));
    hv_nq_poll(rig.queue);
    CU_ASSERT(rig.answers == 2 && rig.last_tag == 6);
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_COMPLETION, old.id, NULL, 0, reply, 16));
    hv_nq_poll(rig.queue);
    CU_ASSERT(rig.answers == 3 && rig.last_tag == 5);
    /* requests that were given up do not stop newer ones, and their answers are nobody's */
    CU_ASSERT_EQUAL(hv_nq_send_nvsp(rig.queue, &m, sizeof(m), true, 0), 0);
    CU_ASSERT(rig_take(&rig, &old));
    for (uint32_t i = 1; i < 20; i++) {
        CU_ASSERT_EQUAL(hv_nq_send_nvsp(rig.queue, &m, sizeof(m), true, i), 0);
        CU_ASSERT(rig_take(&rig, &p));
    }
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_COMPLETION, old.id, NULL, 0, reply, 16));
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(rig.answers, 3);
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_COMPLETION, p.id, NULL, 0, reply, 16));
    hv_nq_poll(rig.queue);
    CU_ASSERT(rig.answers == 4 && rig.last_tag == 19);
    CU_ASSERT_EQUAL(rig_stats(&rig).bad_completions, 2);
    rig_stop(&rig);
}

static void test_send_control(void)
{
    struct rig rig;
    uint8_t message[4097], seen[4096];
    struct rig_packet p[5];
    uint32_t first;

    memset(message, 0x6b, sizeof(message));
    rig_start(&rig, NULL);
    CU_ASSERT_EQUAL(hv_nq_send_control(rig.queue, message, 4097), -EINVAL);
    CU_ASSERT_EQUAL(hv_nq_send_control(rig.queue, message, 0), -EINVAL);
    for (unsigned i = 0; i < 4; i++) {
        message[0] = (uint8_t)i;
        CU_ASSERT_EQUAL(hv_nq_send_control(rig.queue, message, 4096), 0);
    }
    CU_ASSERT_EQUAL(hv_nq_send_control(rig.queue, message, 24), -EAGAIN);
    CU_ASSERT_EQUAL(hv_nq_busy(rig.queue), 4);
    for (unsigned i = 0; i < 4; i++) {
        CU_ASSERT(rig_take(&rig, &p[i]));
        CU_ASSERT_EQUAL(rig_gather(&p[i], seen, sizeof(seen), &first), 4096);
        CU_ASSERT(seen[0] == i && seen[4095] == 0x6b);
        CU_ASSERT(word(p[i].payload, 0) == 107 && word(p[i].payload, 4) == 1 &&
                  word(p[i].payload, 8) == HV_NVSP_SECTION_NONE);
    }
    CU_ASSERT(rig_complete(&rig, p[1].id, 1));
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(hv_nq_busy(rig.queue), 3);
    message[0] = 9;
    CU_ASSERT_EQUAL(hv_nq_send_control(rig.queue, message, 24), 0);
    CU_ASSERT(rig_take(&rig, &p[4]));
    CU_ASSERT_EQUAL(rig_gather(&p[4], seen, sizeof(seen), &first), 24);
    CU_ASSERT_EQUAL(seen[0], 9);
    CU_ASSERT(!memcmp(p[4].ext + 16, p[1].ext + 16, 8)); /* the page that came back */
    rig_stop(&rig);
}

static const struct hv_test_case cases[] = {
    {"bytes of a section", test_section_bytes},
    {"lengths", test_section_lengths},
    {"limits of a message", test_limits},
    {"sections go round", test_sections_go_round},
    {"information", test_infos},
    {"by page", test_by_page},
    {"segmentation", test_tso},
    {"full ring", test_full_ring},
    {"descriptors run out", test_descriptors_run_out},
    {"room for completions", test_room_for_completions},
    {"no send buffer", test_no_send_buffer},
    {"bounced", test_bounced},
    {"NVSP", test_nvsp},
    {"control messages", test_send_control},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.tx", cases, HV_TEST_COUNT(cases), argc, argv);
}
