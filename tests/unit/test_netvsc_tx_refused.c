/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames that the transmit side does not take, and what becomes of those beside them. */
#include <errno.h>
#include <string.h>

#include <suite.h>

#include "netvsc_rig.h"

#define F(name) HV_NETVSC_TX_FLAG_##name

static const struct row {
    const char *name;
    uint32_t bytes, first; /* first: of the first piece; 0 = all */
    uint16_t flags, l4, mss;
    uint16_t more; /* pieces of 30 bytes behind it */
    bool foreign;  /* not memory that the host reaches */
    int error;
} rows[] = {
    {"shortest", 14, 0, 0, 0, 0, 0, false, 0},
    {"no Ethernet header", 13, 0, 0, 0, 0, 0, false, -EINVAL},
    {"empty", 0, 0, 0, 0, 0, 0, false, -EINVAL},
    {"largest", RIG_FRAME_MAX, 0, 0, 0, 0, 0, false, 0},
    {"too large", RIG_FRAME_MAX + 1, 0, 0, 0, 0, 0, false, -EMSGSIZE},
    {"first piece short", 60, 59, 0, 0, 0, 0, false, -EINVAL},
    {"first piece long", 60, 61, 0, 0, 0, 0, false, -EINVAL},
    {"pieces short", 61, 30, 0, 0, 0, 1, false, -EINVAL},
    {"pieces long", 59, 30, 0, 0, 0, 1, false, -EINVAL},
    {"31 pieces", 930, 30, 0, 0, 0, 30, false, 0},
    {"32 pieces", 960, 30, 0, 0, 0, 31, false, -EINVAL},
    {"unknown flag", 60, 0, 0x100, 0, 0, 0, false, -EINVAL},
    {"sum of nothing", 80, 0, F(TCP), 34, 0, 0, false, -EINVAL},
    {"both versions", 80, 0, F(TCP) | F(IPV4) | F(IPV6), 34, 0, 0, false, -EINVAL},
    {"both protocols", 80, 0, F(TCP) | F(UDP) | F(IPV4), 34, 0, 0, false, -EINVAL},
    {"IPv6 header sum", 80, 0, F(IPV6) | F(IP_CSUM), 0, 0, 0, false, -EINVAL},
    {"L4 inside L3", 80, 0, F(UDP) | F(IPV4), 33, 0, 0, false, -EINVAL},
    {"L4 inside L3, IPv6", 80, 0, F(UDP) | F(IPV6), 53, 0, 0, false, -EINVAL},
    {"UDP to the end", 80, 0, F(UDP) | F(IPV4), 72, 0, 0, false, 0},
    {"UDP past the end", 80, 0, F(UDP) | F(IPV4), 73, 0, 0, false, -EINVAL},
    {"TCP past the end", 80, 0, F(TCP) | F(IPV4), 61, 0, 0, false, -EINVAL},
    {"L4 past what fits", 1400, 0, F(UDP) | F(IPV4), 1024, 0, 0, false, -EINVAL},
    {"no mss", 1400, 0, F(TSO) | F(IPV4), 34, 0, 0, false, -EINVAL},
    {"no such headers", 1400, 0, F(TSO) | F(IPV4), 34, 9, 0, false, -EINVAL},
    {"not DMA memory, copied", 1400, 0, 0, 0, 0, 0, true, 0},
    {"small, not DMA memory", 60, 0, 0, 0, 0, 0, true, 0},
    {"to be copied", 1400, 0, F(COPY), 0, 0, 0, true, 0},
};

static void try_row(struct rig *rig, const struct row *row, uint8_t *foreign)
{
    struct iovec more[HV_NETVSC_SEGMENTS_MAX + 1];
    uint64_t refused = rig_stats(rig).tx_refused;
    struct hv_netvsc_tx tx = {
        .data = row->foreign ? foreign : rig->memory,
        .data_bytes = row->first ? row->first : row->bytes,
        .bytes = row->bytes,
        .more = more,
        .more_count = row->more,
        .flags = row->flags,
        .l4_offset = row->l4,
        .mss = row->mss,
    };
    void *cookie;
    int error = 99;

    for (unsigned i = 0; i < row->more; i++)
        more[i] = (struct iovec){rig->memory + (i + 1) * HV_PAGE_BYTES, 30};
    HV_CHECK_ROW(row->name, hv_netvsc_tx_burst(rig->queue, &tx, 1, &error) == !row->error);
    HV_CHECK_ROW(row->name, error == row->error);
    HV_CHECK_ROW(row->name, rig_stats(rig).tx_refused == refused + !!row->error);
    HV_CHECK_ROW(row->name, rig_complete_all(rig) == !row->error);
    hv_nq_poll(rig->queue);
    HV_CHECK_ROW(row->name, hv_netvsc_tx_reap(rig->queue, &cookie, 1) == !tx.copied * !row->error);
    HV_CHECK_ROW(row->name, hv_netvsc_tx_in_flight(rig->queue) == 0);
}

static void test_refused(void)
{
    uint8_t foreign[2000] = {0};
    struct rig rig;

    rig_start(&rig, NULL);
    for (unsigned i = 0; i < HV_TEST_COUNT(rows); i++)
        try_row(&rig, &rows[i], foreign);
    rig_stop(&rig);
}

/** Too large for a section and nobody may name it. */
static void test_unreachable(void)
{
    uint8_t foreign[8000] = {0};
    struct hv_netvsc_tx tx = {.data = foreign, .mss = 1000, .flags = F(TSO) | F(IPV4)};
    struct rig rig;
    int error;

    rig_start(&rig, NULL);
    tx.bytes = tx.data_bytes = rig_put_tcp(foreign, false, 0, 7000, &tx.l4_offset);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, &error), 0);
    CU_ASSERT_EQUAL(error, -EFAULT);
    tx.flags |= F(COPY);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, &error), 0);
    CU_ASSERT_EQUAL(error, -EFAULT);
    rig_stop(&rig);
}

static void test_offloads_off(void)
{
    static const struct {
        uint32_t offload;
        uint16_t flags;
    } offloads[] = {
        {HV_NETVSC_TX_IP_CSUM, F(IPV4) | F(IP_CSUM)}, {HV_NETVSC_TX_TCP4, F(IPV4) | F(TCP)},
        {HV_NETVSC_TX_UDP4, F(IPV4) | F(UDP)},        {HV_NETVSC_TX_TCP6, F(IPV6) | F(TCP)},
        {HV_NETVSC_TX_UDP6, F(IPV6) | F(UDP)},        {HV_NETVSC_TX_TSO4, F(IPV4) | F(TSO)},
        {HV_NETVSC_TX_TSO6, F(IPV6) | F(TSO)},        {HV_NETVSC_TX_VLAN, F(VLAN)},
    };
    struct rig rig;
    struct hv_netvsc_tx tx;
    int error;

    rig_start(&rig, NULL);
    for (unsigned i = 0; i < HV_TEST_COUNT(offloads); i++) {
        tx = (struct hv_netvsc_tx){.data = rig.memory, .mss = 500, .flags = offloads[i].flags};
        tx.bytes = tx.data_bytes =
            rig_put_tcp(rig.memory, offloads[i].flags & F(IPV6), 0, 100, &tx.l4_offset);
        rig.device.offloads = 0x7ff & ~offloads[i].offload;
        CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, &error), 0);
        CU_ASSERT_EQUAL(error, -EINVAL);
        rig.device.offloads = offloads[i].offload;
        CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, &error), 1);
    }
    rig_stop(&rig);
}

/** What stands before a bad frame goes out, in one publish; the rest stays with the caller. */
static void test_bad_in_the_middle(void)
{
    struct rig rig;
    struct rig_opts opts = {.packets_per_message = 1, .send_sections = 100, .descriptors = 100};
    struct hv_netvsc_tx tx[80];
    struct rig_packet p;
    int error;
    unsigned messages = 0;

    rig_start(&rig, &opts);
    for (unsigned i = 0; i < 80; i++)
        tx[i] = rig_frame(rig.memory, 60);
    tx[64].bytes = 5; /* first of the second chunk */
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, tx, 80, &error), 64);
    CU_ASSERT_EQUAL(error, -EINVAL);
    while (rig_take(&rig, &p))
        messages++;
    CU_ASSERT_EQUAL(messages, 64);
    CU_ASSERT_EQUAL(rig.channel->flushes, 1);
    CU_ASSERT_EQUAL(rig_stats(&rig).tx_packets, 64);
    rig_stop(&rig);
}

/**
 * The host has no room for completions and reads nothing until it has: whoever only sends takes out what the host sent,
 * although descriptors and sections are left.
 */
static void test_both_rings_full(void)
{
    struct rig rig;
    struct rig_opts opts = {.ring_bytes = 4096,
                            .receive_sections = 200,
                            .descriptors = 128,
                            .packets_per_message = 1,
                            .send_sections = 100};
    struct hv_netvsc_tx tx;
    uint32_t section = 0, sent = 0;
    int error = 0;

    rig_start(&rig, &opts);
    while (section < 199 && rig_deliver_one(&rig, section, 1, 60))
        section++;
    CU_ASSERT(section > 20 && section < 199);
    for (; !error && sent < 100; sent++) {
        tx = rig_frame(rig.memory, 60);
        (void)hv_netvsc_tx_burst(rig.queue, &tx, 1, &error);
    }
    CU_ASSERT_EQUAL(error, -EAGAIN);
    CU_ASSERT(rig_deliver_one(&rig, section, 1, 60)); /* there is room again */
    rig_stop(&rig);
}

static const struct hv_test_case cases[] = {
    {"both rings full", test_both_rings_full},
    {"refused", test_refused},
    {"unreachable", test_unreachable},
    {"offloads off", test_offloads_off},
    {"bad frame in the middle", test_bad_in_the_middle},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.tx.refused", cases, HV_TEST_COUNT(cases), argc, argv);
}
