/* SPDX-License-Identifier: BSD-3-Clause */
/* What a lying host may put in front of the receive side: the checks of docs/wire.md "Network validation", row by row. */
#include <errno.h>
#include <string.h>

#include <suite.h>

#include "netvsc_rig.h"

#define AT        (5 * RIG_SECTION_BYTES) /* of the message under test */
#define BUFFER    (RIG_SECTIONS * RIG_SECTION_BYTES)
#define GOOD      7u /* section of a good frame beside it */
#define DATA_TYPE HV_NVSP_CHANNEL_DATA

/* ---- The packet: checks 1 and 3 ---- */

static const struct {
    const char *name;
    struct rig_raw raw;
    uint32_t ranges; /* in the packet */
    bool dies;
} packets[] = {
    {"good", {5, 0xcafe, 1, DATA_TYPE, 107, 0}, 1, false},
    {"40 bytes of NVSP", {5, 0xcafe, 1, DATA_TYPE, 107, 40}, 1, false},
    {"more room than ranges", {5, 0xcafe, 1, DATA_TYPE, 107, 0}, 2, false},
    {"another buffer", {5, 0xcaff, 1, DATA_TYPE, 107, 0}, 1, true},
    {"no range", {5, 0xcafe, 0, DATA_TYPE, 107, 0}, 1, true},
    {"one range too many", {5, 0xcafe, 2, DATA_TYPE, 107, 0}, 1, true},
    {"ranges that wrap", {5, 0xcafe, 0x20000001, DATA_TYPE, 107, 0}, 1, true},
    {"all ranges there are", {5, 0xcafe, 0xffffffff, DATA_TYPE, 107, 0}, 1, true},
    {"header only", {5, 0xcafe, 1, DATA_TYPE, 107, 0}, 0, true},
    {"short NVSP", {5, 0xcafe, 1, DATA_TYPE, 107, 8}, 1, true},
    {"last id", {RIG_SECTIONS - 1, 0xcafe, 1, DATA_TYPE, 107, 0}, 1, false},
    {"id past the last", {RIG_SECTIONS, 0xcafe, 1, DATA_TYPE, 107, 0}, 1, true},
    {"id with high bits", {1ull << 32 | 5, 0xcafe, 1, DATA_TYPE, 107, 0}, 1, true},
    {"id of all ones", {UINT64_MAX, 0xcafe, 1, DATA_TYPE, 107, 0}, 1, true},
};

static void test_packets(void)
{
    for (unsigned i = 0; i < HV_TEST_COUNT(packets); i++) {
        struct rig rig;
        uint8_t frame[60] = {9};
        struct hv_transfer_range ranges[2] = {{0, AT}, {0, AT}};
        struct hv_netvsc_frame got;
        struct rig_packet p;

        rig_start(&rig, NULL);
        ranges[0].byte_count = ranges[1].byte_count =
            rig_put_frame(&rig, AT, frame, sizeof(frame), NULL, 0);
        HV_CHECK_ROW(packets[i].name,
                     rig_deliver_raw(&rig, &packets[i].raw, ranges, packets[i].ranges));
        HV_CHECK_ROW(packets[i].name, hv_netvsc_rx_burst(rig.queue, &got, 1) == !packets[i].dies);
        HV_CHECK_ROW(packets[i].name, rig.deaths == packets[i].dies);
        HV_CHECK_ROW(packets[i].name,
                     hv_channel_status(rig.channel) == (packets[i].dies ? -EPROTO : 0));
        hv_netvsc_rx_done(rig.queue);
        hv_nq_poll(rig.queue);
        HV_CHECK_ROW(packets[i].name, rig_take(&rig, &p) == !packets[i].dies);
        HV_CHECK_ROW(packets[i].name, packets[i].dies || p.id == packets[i].raw.id);
        rig_stop(&rig);
    }
}

/** Check 3: an id that is with us; after its completion it may come again. */
static void test_id_twice(void)
{
    struct rig rig;
    struct hv_netvsc_frame frame;

    rig_start(&rig, NULL);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT(rig_deliver_one(&rig, 5, 1, 60));
        CU_ASSERT_EQUAL_FATAL(hv_netvsc_rx_burst(rig.queue, &frame, 1), 1);
        CU_ASSERT(!i || hv_netvsc_rx_hold(rig.queue, &frame));
        hv_netvsc_rx_done(rig.queue);
        hv_nq_poll(rig.queue);
    }
    CU_ASSERT_EQUAL(rig.deaths, 0);
    CU_ASSERT(rig_deliver_one(&rig, 5, 1, 60));
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, &frame, 1), 0);
    CU_ASSERT_EQUAL(rig.deaths, 1);
    CU_ASSERT_EQUAL(hv_channel_status(rig.channel), -EPROTO);
    rig_stop(&rig);
}

/** Other packet and message types are counted and cost nothing. */
static void test_unknown(void)
{
    struct rig rig;
    struct rig_raw raw = {6, 0xcafe, 1, DATA_TYPE, 135, 0};
    struct hv_transfer_range range = {100, AT};
    struct hv_netvsc_frame frame;
    struct rig_packet p;
    uint64_t ext[2] = {1ull << 32, 8};

    rig_start(&rig, NULL);
    CU_ASSERT(rig_deliver_raw(&rig, &raw, &range, 1));
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_GPA_DIRECT, 1, ext, 16, ext, 8));
    CU_ASSERT(rig_deliver_one(&rig, GOOD, 1, 60));
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, &frame, 1), 1);
    CU_ASSERT_EQUAL(rig_stats(&rig).rx_unknown, 2);
    CU_ASSERT_FATAL(rig_take(&rig, &p));
    CU_ASSERT(p.id == 6 && p.payload[0] == 108 && p.payload[4] == HV_NVSP_STATUS_FAILURE);
    CU_ASSERT_EQUAL(rig.deaths, 0);
    rig_stop(&rig);
}

/* ---- Ranges: check 2 ---- */

static const struct {
    const char *name;
    struct hv_transfer_range range;
    bool good;
} ranges[] = {
    {"whole section", {RIG_SECTION_BYTES, AT}, true},
    {"across two sections", {RIG_SECTION_BYTES, AT + 8}, true},
    {"longer than a section", {RIG_SECTION_BYTES + 1, AT}, false},
    {"to the end", {104, BUFFER - 104}, true},
    {"past the end", {104, BUFFER - 103}, false},
    {"at the end", {104, BUFFER}, false},
    {"empty at the end", {0, BUFFER}, false},
    {"far past the end", {104, 0xfffffff8}, false},
    {"sum wraps to inside", {0xfffffff0, 0x20}, false},
    {"all ones", {0xffffffff, 0xffffffff}, false},
    {"empty", {0, AT}, false},
    {"7 bytes", {7, AT}, false},
};

static void test_ranges(void)
{
    for (unsigned i = 0; i < HV_TEST_COUNT(ranges); i++) {
        struct rig rig;
        uint8_t frame[60] = {9};
        struct hv_transfer_range two[2] = {ranges[i].range, {0, GOOD * RIG_SECTION_BYTES}};
        struct hv_netvsc_frame got[2];
        struct rig_packet p;
        uint32_t bad = !ranges[i].good;

        rig_start(&rig, NULL);
        if (ranges[i].good)
            (void)rig_put_frame(&rig, ranges[i].range.byte_offset, frame, 60, NULL, 0);
        two[1].byte_count = rig_put_frame(&rig, two[1].byte_offset, frame, 60, NULL, 0);
        CU_ASSERT(rig_deliver(&rig, 5, two, 2));
        HV_CHECK_ROW(ranges[i].name, hv_netvsc_rx_burst(rig.queue, got, 2) == 2 - bad);
        HV_CHECK_ROW(ranges[i].name, rig_stats(&rig).rx_bad_range == bad);
        hv_netvsc_rx_done(rig.queue);
        hv_nq_poll(rig.queue);
        HV_CHECK_ROW(ranges[i].name, rig_take(&rig, &p) && p.payload[4] == 1 + bad);
        HV_CHECK_ROW(ranges[i].name, !rig.deaths);
        rig_stop(&rig);
    }
}

/* ---- RNDIS: checks 4, 5, 7 ---- */

enum cause { FRAME, BAD_RNDIS, BAD_PPI, BAD_LENGTH };

#define P(length, data_offset, data_bytes, oob_offset, oob_bytes, ppi_offset, ppi_bytes)           \
    {                                                                                              \
        {1, length}, data_offset, data_bytes, oob_offset, oob_bytes, 0, ppi_offset, ppi_bytes, 0,  \
            0                                                                                      \
    }
static const struct {
    const char *name;
    struct hv_rndis_packet packet;
    uint32_t range_bytes;
    enum cause cause;
} messages[] = {
    {"plain", P(104, 36, 60, 0, 0, 0, 0), 104, FRAME},
    {"range and message are the section", P(2048, 36, 60, 0, 0, 0, 0), 2048, FRAME},
    {"message shorter than its range", P(104, 36, 60, 0, 0, 0, 0), 2048, FRAME},
    {"message longer than its range", P(105, 36, 60, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"length 0", P(0, 36, 60, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"length of a header", P(8, 36, 60, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"length 43", P(43, 36, 0, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"length all ones", P(0xffffffff, 36, 60, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"range of 43", P(104, 36, 60, 0, 0, 0, 0), 43, BAD_RNDIS},
    {"range of 8", P(8, 36, 60, 0, 0, 0, 0), 8, BAD_RNDIS},
    {"data in the header", P(104, 35, 60, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"data offset 0", P(104, 0, 60, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"data past the end", P(104, 36, 61, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"data at the end", P(104, 96, 1, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"data offset wraps", P(104, 0xfffffff8, 60, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"data length wraps", P(104, 36, 0xffffffff, 0, 0, 0, 0), 104, BAD_RNDIS},
    {"no data", P(104, 36, 0, 0, 0, 0, 0), 104, BAD_LENGTH},
    {"13 bytes", P(104, 36, 13, 0, 0, 0, 0), 104, BAD_LENGTH},
    {"14 bytes", P(104, 36, 14, 0, 0, 0, 0), 104, FRAME},
    {"largest", P(2048, 36, RIG_FRAME_MAX, 0, 0, 0, 0), 2048, FRAME},
    {"larger than the MTU", P(2048, 36, RIG_FRAME_MAX + 1, 0, 0, 0, 0), 2048, BAD_LENGTH},
    {"odd offset", P(105, 37, 60, 0, 0, 0, 0), 105, FRAME},
    {"information before data", P(120, 52, 60, 0, 0, 36, 16), 120, FRAME},
    {"information behind data", P(120, 36, 60, 0, 0, 96, 16), 120, FRAME},
    {"information over data", P(120, 36, 60, 0, 0, 92, 16), 120, BAD_RNDIS},
    {"data over information", P(120, 48, 60, 0, 0, 36, 16), 120, BAD_RNDIS},
    {"information in the header", P(120, 52, 60, 0, 0, 32, 16), 120, BAD_RNDIS},
    {"information offset 0", P(120, 52, 60, 0, 0, 0, 16), 120, BAD_RNDIS},
    {"information not aligned", P(120, 54, 58, 0, 0, 38, 16), 120, BAD_RNDIS},
    {"information past the end", P(120, 36, 60, 0, 0, 100, 16), 120, BAD_RNDIS},
    {"information wraps", P(120, 36, 60, 0, 0, 0xfffffff8, 16), 120, BAD_RNDIS},
    {"information length wraps", P(120, 36, 60, 0, 0, 96, 0xfffffff0), 120, BAD_RNDIS},
    {"lengths sum to more", P(120, 36, 60, 36, 60, 0, 0), 120, BAD_RNDIS},
    {"lengths sum past 32 bits", P(120, 36, 60, 36, 0xfffffff0, 0, 0), 120, BAD_RNDIS},
    {"out of band behind data", P(120, 36, 60, 96, 16, 0, 0), 120, FRAME},
    {"out of band in the header", P(120, 36, 60, 8, 16, 0, 0), 120, BAD_RNDIS},
    {"out of band past the end", P(120, 36, 60, 97, 16, 0, 0), 120, BAD_RNDIS},
};

static enum cause cause_of(const struct hv_netvsc_queue_stats *s)
{
    if (s->rx_bad_rndis == 1)
        return BAD_RNDIS;
    if (s->rx_bad_ppi == 1)
        return BAD_PPI;
    return s->rx_bad_length == 1 ? BAD_LENGTH : FRAME;
}

/** A message as it stands at AT, then a good one; what came of it. */
static enum cause try_message(struct rig *rig, uint32_t range_bytes, struct hv_netvsc_frame *frame)
{
    struct hv_transfer_range range = {range_bytes, AT};
    struct hv_netvsc_frame got[2];
    struct hv_netvsc_queue_stats stats;
    uint64_t ids[2];
    uint16_t n;

    CU_ASSERT(rig_deliver(rig, 5, &range, 1));
    CU_ASSERT(rig_deliver_one(rig, GOOD, 0x33, 60));
    n = hv_netvsc_rx_burst(rig->queue, got, 2);
    CU_ASSERT(n == 1 || n == 2);
    CU_ASSERT_EQUAL(got[n - 1].data[0], 0x33);
    if (n == 2)
        *frame = got[0];
    stats = rig_stats(rig);
    CU_ASSERT_EQUAL(stats.rx_packets, n);
    hv_netvsc_rx_done(rig->queue);
    hv_nq_poll(rig->queue);
    CU_ASSERT_EQUAL(rig_take_completions(rig, ids, 2), 2);
    CU_ASSERT_EQUAL(rig->deaths, 0);
    CU_ASSERT_EQUAL(n == 2, cause_of(&stats) == FRAME);
    return cause_of(&stats);
}

static void test_messages(void)
{
    for (unsigned i = 0; i < HV_TEST_COUNT(messages); i++) {
        struct rig rig;
        struct hv_netvsc_frame frame = {0};
        const struct hv_rndis_packet *p = &messages[i].packet;
        struct hv_rndis_ppi ppi = {16, HV_PPI_CHECKSUM, 12};

        rig_start(&rig, NULL);
        if (p->ppi_bytes == 16 && p->ppi_offset < 1000)
            memcpy(rig.receive + AT + 8 + p->ppi_offset, &ppi, sizeof(ppi));
        memcpy(rig.receive + AT, p, sizeof(*p));
        HV_CHECK_ROW(messages[i].name,
                     try_message(&rig, messages[i].range_bytes, &frame) == messages[i].cause);
        if (messages[i].cause == FRAME) {
            HV_CHECK_ROW(messages[i].name, frame.bytes == p->data_bytes);
            HV_CHECK_ROW(messages[i].name, frame.data == rig.receive + AT + 8 + p->data_offset);
        }
        rig_stop(&rig);
    }
}

/* ---- Per-packet information: check 6 ---- */

static const struct {
    const char *name;
    uint32_t words[10];
    uint32_t bytes;
    enum cause cause;
    uint32_t flags;
    uint32_t hash;
    uint16_t tci;
} infos[] = {
    {"all sums good", {16, 0, 12, 0x28}, 16, FRAME, HV_NETVSC_RX_IP_OK | HV_NETVSC_RX_L4_OK, 0, 0},
    {"UDP good", {16, 0, 12, 0x10}, 16, FRAME, HV_NETVSC_RX_L4_OK, 0, 0},
    {"TCP bad", {16, 0, 12, 0x21}, 16, FRAME, HV_NETVSC_RX_IP_OK | HV_NETVSC_RX_L4_BAD, 0, 0},
    {"UDP bad, IP bad",
     {16, 0, 12, 0x06},
     16,
     FRAME,
     HV_NETVSC_RX_IP_BAD | HV_NETVSC_RX_L4_BAD,
     0,
     0},
    {"good and bad is bad",
     {16, 0, 12, 0x2d},
     16,
     FRAME,
     HV_NETVSC_RX_IP_BAD | HV_NETVSC_RX_L4_BAD,
     0,
     0},
    {"VLAN", {16, 6, 12, 0x07bd}, 16, FRAME, HV_NETVSC_RX_HAS_VLAN, 0, 5u << 13 | 1u << 12 | 0x7b},
    {"hash", {16, 8, 12, 0xdeadbeef}, 16, FRAME, HV_NETVSC_RX_HAS_HASH, 0xdeadbeef, 0},
    {"hash and VLAN",
     {16, 8, 12, 1, 16, 6, 12, 0xfff0},
     32,
     FRAME,
     HV_NETVSC_RX_HAS_HASH | HV_NETVSC_RX_HAS_VLAN,
     1,
     0xfff},
    {"unknown type", {12, 77, 12}, 12, FRAME, 0, 0, 0},
    {"unknown type, offset 0", {12, 77, 0, 16, 8, 12, 5}, 28, FRAME, HV_NETVSC_RX_HAS_HASH, 5, 0},
    {"data further on", {20, 8, 16, 0, 3}, 20, FRAME, HV_NETVSC_RX_HAS_HASH, 3, 0},
    {"packet id that nobody asked for", {16, 0x80000001, 12, 0x01010601}, 16, FRAME, 0, 0, 0},
    {"size 0", {0, 0, 12, 0x28}, 16, BAD_PPI, 0, 0, 0},
    {"size 8", {8, 0, 12, 0x28}, 16, BAD_PPI, 0, 0, 0},
    {"size not aligned", {14, 77, 12, 0x28}, 16, BAD_PPI, 0, 0, 0},
    {"size past the list", {20, 0, 12, 0x28}, 16, BAD_PPI, 0, 0, 0},
    {"size all ones", {0xffffffff, 0, 12, 0x28}, 16, BAD_PPI, 0, 0, 0},
    {"size wraps", {0xfffffffc, 0, 12, 0x28}, 16, BAD_PPI, 0, 0, 0},
    {"no room for data", {12, 0, 12}, 12, BAD_PPI, 0, 0, 0},
    {"data in the header", {16, 0, 8, 0x28}, 16, BAD_PPI, 0, 0, 0},
    {"data past its end", {16, 0, 13, 0x28}, 16, BAD_PPI, 0, 0, 0},
    {"data offset wraps", {16, 0, 0xfffffffc, 0x28}, 16, BAD_PPI, 0, 0, 0},
    {"rest shorter than a header", {16, 0, 12, 0x28, 12, 0}, 24, BAD_PPI, 0, 0, 0},
    {"second is bad", {16, 0, 12, 0x28, 0, 0, 0, 0}, 32, BAD_PPI, 0, 0, 0},
};

static void test_infos(void)
{
    for (unsigned i = 0; i < HV_TEST_COUNT(infos); i++) {
        struct rig rig;
        struct hv_netvsc_frame frame = {0};
        uint8_t data[60] = {1};
        uint32_t bytes;

        rig_start(&rig, NULL);
        bytes = rig_put_frame(&rig, AT, data, 60, infos[i].words, infos[i].bytes);
        HV_CHECK_ROW(infos[i].name, try_message(&rig, bytes, &frame) == infos[i].cause);
        HV_CHECK_ROW(infos[i].name, frame.flags == infos[i].flags);
        HV_CHECK_ROW(infos[i].name, frame.hash == infos[i].hash);
        HV_CHECK_ROW(infos[i].name, frame.vlan_tci == infos[i].tci);
        rig_stop(&rig);
    }
}

/** A list of a whole section ends, too. */
static void test_long_list(void)
{
    struct rig rig;
    struct hv_netvsc_frame frame = {0};
    uint32_t words[1900 / 4];
    uint8_t data[60] = {1};
    uint32_t bytes;

    rig_start(&rig, NULL);
    for (unsigned i = 0; i + 3 <= HV_TEST_COUNT(words); i += 3) {
        words[i] = 12;
        words[i + 1] = 99;
        words[i + 2] = 12;
    }
    bytes = rig_put_frame(&rig, AT, data, 60, words, sizeof(words) / 12 * 12);
    CU_ASSERT_EQUAL(try_message(&rig, bytes, &frame), FRAME);
    rig_stop(&rig);
}

/* ---- Completions of the host: check 8 ---- */

static void test_completions(void)
{
    struct rig rig;
    struct hv_netvsc_tx tx[2];
    struct rig_packet p[2];
    uint32_t words[2] = {105, 1};
    void *cookie;

    rig_start(&rig, NULL);
    tx[0] = rig_frame(rig.memory, 1000);
    tx[1] = rig_frame(rig.memory + 4096, 1000);
    tx[0].cookie = &tx[0];
    tx[1].cookie = &tx[1];
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 2, NULL), 2);
    CU_ASSERT(rig_take(&rig, &p[0]) && rig_take(&rig, &p[1]));
    CU_ASSERT(p[0].id != p[1].id && p[0].id && p[1].id);
    CU_ASSERT(rig_complete(&rig, 0, 1));
    CU_ASSERT(rig_complete(&rig, (uint64_t)(uintptr_t)&tx[0], 1)); /* as if ids were pointers */
    CU_ASSERT(rig_complete(&rig, UINT64_MAX, 1));
    CU_ASSERT(rig_complete(&rig, p[0].id + (1u << 16), 1)); /* of another generation */
    CU_ASSERT(rig_complete(&rig, p[0].id + 9, 1));          /* of a free descriptor */
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, &cookie, 1), 0);
    CU_ASSERT_EQUAL(rig_stats(&rig).bad_completions, 5);
    CU_ASSERT(rig_complete(&rig, p[1].id, 1));
    CU_ASSERT(rig_complete(&rig, p[1].id, 1)); /* twice */
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, &cookie, 1), 1);
    CU_ASSERT_PTR_EQUAL(cookie, &tx[1]);
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, &cookie, 1), 0);
    CU_ASSERT_EQUAL(rig_stats(&rig).bad_completions, 6);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_failed, 0);
    /* a message of another type: the host has done with it all the same */
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_COMPLETION, p[0].id, NULL, 0, words, 8));
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, &cookie, 1), 1);
    CU_ASSERT_EQUAL(rig_stats(&rig).bad_completions, 7);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 2, NULL), 2);
    CU_ASSERT(rig_take(&rig, &p[0]) && rig_take(&rig, &p[1]));
    CU_ASSERT(rig_complete(&rig, p[0].id, HV_NVSP_STATUS_INVALID_RNDIS));
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_COMPLETION, p[1].id, NULL, 0, NULL, 0));
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, &cookie, 1), 1);
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, &cookie, 1), 1);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_failed, 1);
    CU_ASSERT_EQUAL(rig_stats(&rig).bad_completions, 8);
    CU_ASSERT_EQUAL(hv_nq_busy(rig.queue), 0);
    CU_ASSERT_EQUAL(rig.deaths, 0);
    rig_stop(&rig);
}

static const struct hv_test_case cases[] = {
    {"packets", test_packets},       {"id twice", test_id_twice},
    {"unknown types", test_unknown}, {"ranges", test_ranges},
    {"messages", test_messages},     {"information", test_infos},
    {"long list", test_long_list},   {"completions", test_completions},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.hostile", cases, HV_TEST_COUNT(cases), argc, argv);
}
