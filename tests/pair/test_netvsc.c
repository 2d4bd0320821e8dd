/* SPDX-License-Identifier: BSD-3-Clause */
/* The network driver and the emulated provider: every version, start and stop, settings. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <suite.h>

#include <hv/wire/ndis.h>
#include <hv/wire/nvsp.h>
#include <hv/wire/rndis.h>

#include "netvsc_client.h"

static void begin(struct net_client *c, uint16_t queues)
{
    struct hv_netvsp_opts po;
    struct hv_netvsc_opts no;
    struct machine_opts mo;

    net_defaults(&mo, &po, &no, queues);
    net_start(c, &mo, &po, &no);
    if (c->error)
        fprintf(stderr, "open: %s\n", strerror(-c->error));
    CU_ASSERT_EQUAL(c->error, 0);
}

/* ---- Versions ---- */

static void test_levels(void)
{
    static const struct {
        const char *name;
        uint32_t host, guest, want;
        uint16_t queues;
    } rows[] = {
        {"6.1", 0, 0, HV_NVSP_VERSION_6_1, 2},
        {"6", HV_NVSP_VERSION_6, 0, HV_NVSP_VERSION_6, 2},
        {"5", HV_NVSP_VERSION_5, 0, HV_NVSP_VERSION_5, 2},
        {"4", HV_NVSP_VERSION_4, 0, HV_NVSP_VERSION_4, 1},
        {"2", HV_NVSP_VERSION_2, 0, HV_NVSP_VERSION_2, 1},
        {"1", HV_NVSP_VERSION_1, 0, HV_NVSP_VERSION_1, 1},
        {"old guest", 0, HV_NVSP_VERSION_2, HV_NVSP_VERSION_2, 1},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_netvsp_state state;
        struct hv_netvsc_info info;
        struct hv_netvsp_opts po;
        struct hv_netvsc_opts no;
        struct machine_opts mo;
        struct net_client c;

        net_defaults(&mo, &po, &no, 2);
        po.max_version = rows[i].host;
        no.max_version = rows[i].guest;
        net_start(&c, &mo, &po, &no);
        HV_CHECK_ROW(rows[i].name, !c.error);
        if (!c.error) {
            hv_netvsc_get_info(c.netvsc, &info);
            machine_nic_get_state(c.nic, &state);
            HV_CHECK_ROW(rows[i].name,
                         info.nvsp_version == rows[i].want && state.nvsp_version == rows[i].want);
            HV_CHECK_ROW(rows[i].name, info.max_queues == rows[i].queues);
            HV_CHECK_ROW(rows[i].name, !memcmp(info.mac, state.mac, 6) && info.link_up);
            net_run(&c, rows[i].queues);
            net_exchange(&c, 100, 60);
            net_exchange(&c, 20, 1514);
        }
        net_stop(&c);
    }
}

/* ---- Life ---- */

static void test_cycles(void)
{
    struct hv_netvsp_state state;
    struct net_client c;

    begin(&c, 4);
    for (unsigned i = 0; i < 40 && !c.error; i++) {
        uint16_t queues = (uint16_t)(i % 4 + 1);

        net_run(&c, queues);
        machine_nic_get_state(c.nic, &state);
        CU_ASSERT_EQUAL(state.packet_filter, 0x0d);
        CU_ASSERT_EQUAL(state.rss, queues > 1);
        net_exchange(&c, 10, 60 + i);
        CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
        machine_nic_get_state(c.nic, &state);
        CU_ASSERT_EQUAL(state.packet_filter, 0);
    }
    CU_ASSERT_EQUAL(c.events[HV_NETVSC_DEAD], 0);
    net_stop(&c);
}

/** Open and close, and the provider has forgotten the guest each time. */
static void test_open_close(void)
{
    struct hv_netvsp_opts po;
    struct hv_netvsc_opts no;
    struct machine_opts mo;

    net_defaults(&mo, &po, &no, 2);
    for (unsigned i = 0; i < 10; i++) {
        struct hv_netvsp_state state;
        struct net_client c;

        net_start(&c, &mo, &po, &no);
        CU_ASSERT_EQUAL(c.error, 0);
        if (!c.error && i & 1)
            net_run(&c, 2);
        hv_netvsc_close(c.netvsc); /* stopped or running */
        c.netvsc = NULL;
        machine_nic_get_state(c.nic, &state);
        CU_ASSERT(!state.open_channels && !state.nvsp_version);
        net_stop(&c);
    }
}

/** Frames are under way when it stops: none arrives afterwards, all memory is back. */
static void test_stop_busy(void)
{
    struct net_client c;

    begin(&c, 2);
    for (unsigned round = 0; round < 10 && !c.error; round++) {
        uint64_t before;

        net_run(&c, 2);
        for (uint16_t i = 0; i < 2; i++) {
            struct hv_netvsc_queue *queue = hv_netvsc_get_queue(c.netvsc, i);
            uint8_t frame[512] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 2, 2, 2, 2, 2, 0x88, 0xb5};
            struct hv_netvsc_tx tx[32];

            for (unsigned k = 0; k < 32; k++)
                tx[k] = (struct hv_netvsc_tx){.data = frame,
                                              .data_bytes = sizeof(frame),
                                              .bytes = sizeof(frame),
                                              .flags = HV_NETVSC_TX_FLAG_COPY};
            CU_ASSERT(hv_netvsc_tx_burst(queue, tx, 32, NULL) > 0);
        }
        CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
        CU_ASSERT_EQUAL(hv_netvsc_tx_in_flight(hv_netvsc_get_queue(c.netvsc, 0)), 0);
        CU_ASSERT_EQUAL(hv_netvsc_tx_in_flight(hv_netvsc_get_queue(c.netvsc, 1)), 0);
        before = c.received[0] + c.received[1];
        net_poll(&c);
        CU_ASSERT_EQUAL(c.received[0] + c.received[1], before);
    }
    net_stop(&c);
}

/** Frames held over stop and start stay as they are; another number of queues must wait for them. */
static void test_held(void)
{
    struct hv_netvsc_frame frame = {0};
    struct hv_netvsc_queue *queue;
    struct net_client c;
    uint8_t sent[200] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 2, 2, 2, 2, 2, 0x88, 0xb5, 42};
    struct hv_netvsc_tx tx = {.data = sent,
                              .data_bytes = sizeof(sent),
                              .bytes = sizeof(sent),
                              .flags = HV_NETVSC_TX_FLAG_COPY};
    uint16_t queues;
    uint16_t got = 0;

    begin(&c, 2);
    net_run(&c, 1);
    queue = hv_netvsc_get_queue(c.netvsc, 0);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(queue, &tx, 1, NULL), 1);
    for (unsigned i = 0; i < 100000000 && !got && !hv_netvsc_status(c.netvsc); i++)
        got = hv_netvsc_rx_burst(queue, &frame, 1);
    CU_ASSERT_EQUAL(got, 1);
    CU_ASSERT(got && hv_netvsc_rx_hold(queue, &frame));
    hv_netvsc_rx_done(queue);
    CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(c.netvsc, 9000), -EBUSY);
    CU_ASSERT_EQUAL(hv_netvsc_start(c.netvsc, 2, &queues), -EBUSY);
    net_run(&c, 1);
    net_exchange(&c, 50, 200);
    CU_ASSERT(got && frame.bytes == sizeof(sent) && !memcmp(frame.data, sent, sizeof(sent)));
    CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
    hv_netvsc_rx_release(queue, frame.hold);
    net_run(&c, 2);
    net_exchange(&c, 50, 200);
    net_stop(&c);
}

/* ---- Settings ---- */

static void test_mtu(void)
{
    struct hv_netvsp_state state;
    struct hv_netvsc_info info;
    struct net_client c;

    begin(&c, 2);
    net_run(&c, 2);
    net_exchange(&c, 10, 1514);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(c.netvsc, 9000), -EBUSY);
    CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(c.netvsc, 9000), 0);
    net_run(&c, 2);
    machine_nic_get_state(c.nic, &state);
    CU_ASSERT(state.mtu == 9000 && state.open_channels == 2);
    net_exchange(&c, 10, 9014);
    CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(c.netvsc, 9100), -EINVAL); /* beyond the NIC's 9000 */
    hv_netvsc_get_info(c.netvsc, &info);
    CU_ASSERT_EQUAL(info.mtu, 9000);
    net_run(&c, 1);
    net_exchange(&c, 10, 9014);
    net_stop(&c);
}

static void test_mac_and_filter(void)
{
    static const uint8_t mac[6] = {2, 0x12, 0x34, 0x56, 0x78, 0x9a};
    struct hv_netvsp_state state;
    struct net_client c;

    begin(&c, 1);
    CU_ASSERT_EQUAL(hv_netvsc_set_mac(c.netvsc, mac), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_filter(c.netvsc, HV_FILTER_PROMISCUOUS), 0);
    net_run(&c, 1);
    machine_nic_get_state(c.nic, &state);
    CU_ASSERT(!memcmp(state.current_mac, mac, 6));
    CU_ASSERT_EQUAL(state.packet_filter, HV_FILTER_PROMISCUOUS);
    net_exchange(&c, 10, 100);
    CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(c.netvsc, 4000), 0);
    machine_nic_get_state(c.nic, &state);
    CU_ASSERT(!memcmp(state.current_mac, mac, 6)); /* told again */
    net_stop(&c);
}

static void test_rss(void)
{
    uint16_t table[HV_NETVSC_RSS_TABLE];
    struct hv_netvsp_state state;
    struct hv_netvsc_info info;
    struct net_client c;

    begin(&c, 4);
    hv_netvsc_get_info(c.netvsc, &info);
    CU_ASSERT_EQUAL(info.rss_table_entries, HV_NETVSC_RSS_TABLE);
    net_run(&c, 4);
    machine_nic_get_state(c.nic, &state);
    CU_ASSERT(state.rss);
    for (unsigned i = 0; i < HV_NETVSC_RSS_TABLE; i++)
        table[i] = 3;
    CU_ASSERT_EQUAL(hv_netvsc_set_rss(c.netvsc, info.rss_hash_types, table, NULL), 0);
    net_exchange(&c, 20, 100);
    CU_ASSERT_EQUAL(hv_netvsc_set_rss(c.netvsc, 0, NULL, NULL), 0);
    machine_nic_get_state(c.nic, &state);
    CU_ASSERT(!state.rss);
    net_exchange(&c, 20, 100);
    net_stop(&c);
}

static void test_offloads(void)
{
    static const struct {
        const char *name;
        uint32_t off, possible;
    } rows[] = {
        {"all", 0, 0x7ff},
        {"no TSO", HV_NETVSP_OFF_TSO, 0x7ff & ~0x60u},
        {"no sums towards the host", HV_NETVSP_OFF_TX_CSUM | HV_NETVSP_OFF_TSO, 0x780},
        {"no sums towards the guest", HV_NETVSP_OFF_RX_CSUM, 0x6ff},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_netvsc_info info;
        struct hv_netvsp_opts po;
        struct hv_netvsc_opts no;
        struct machine_opts mo;
        struct net_client c;

        net_defaults(&mo, &po, &no, 2);
        po.offloads_off = rows[i].off;
        net_start(&c, &mo, &po, &no);
        HV_CHECK_ROW(rows[i].name, !c.error);
        if (!c.error) {
            hv_netvsc_get_info(c.netvsc, &info);
            if (info.offloads_possible != rows[i].possible)
                fprintf(stderr, "possible: %x\n", info.offloads_possible);
            HV_CHECK_ROW(rows[i].name, info.offloads_possible == rows[i].possible);
            HV_CHECK_ROW(rows[i].name, info.offloads == rows[i].possible);
            HV_CHECK_ROW(rows[i].name, !hv_netvsc_set_offloads(c.netvsc, 0));
            hv_netvsc_get_info(c.netvsc, &info);
            HV_CHECK_ROW(rows[i].name, info.offloads == 0);
            HV_CHECK_ROW(rows[i].name, !hv_netvsc_set_offloads(c.netvsc, rows[i].possible));
            HV_CHECK_ROW(rows[i].name, !hv_netvsc_keepalive(c.netvsc));
            hv_netvsc_get_info(c.netvsc, &info);
            HV_CHECK_ROW(rows[i].name, info.offloads == rows[i].possible);
            net_run(&c, 2);
            net_exchange(&c, 10, 100);
        }
        net_stop(&c);
    }
}

static const struct hv_test_case cases[] = {
    {"every version", test_levels},
    {"start and stop", test_cycles},
    {"open and close", test_open_close},
    {"stop while busy", test_stop_busy},
    {"held frames", test_held},
    {"MTU", test_mtu},
    {"MAC and filter", test_mac_and_filter},
    {"RSS", test_rss},
    {"offloads", test_offloads},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc", cases, HV_TEST_COUNT(cases), argc, argv);
}
