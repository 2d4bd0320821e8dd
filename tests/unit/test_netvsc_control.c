/* SPDX-License-Identifier: BSD-3-Clause */
/* An open network device: start and stop, settings, another MTU. */
#include <errno.h>
#include <string.h>

#include <suite.h>

#include "netvsc_nic.h"

static const uint8_t some_mac[6] = {0x02, 0xab, 0x0c, 0xd0, 0x01, 0xff};

static unsigned count_in_log(const struct loop_nic_seen *seen, uint32_t what)
{
    unsigned count = 0;

    for (unsigned i = 0; i < seen->log_count; i++)
        count += seen->log[i] == what;
    return count;
}

/* ---- Start and stop ---- */

static void test_start_stop(void)
{
    const struct loop_nic_opts lo = {.rx_queues = 4, .sub_channels = 3};
    struct hv_netvsc_queue *queue;
    struct loop_nic_seen *seen;
    struct nic_fixture f;
    uint16_t queues = 0;

    nic_begin(&f, &lo, 4);
    seen = loop_nic_seen(f.nic);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 0, &queues), -EINVAL);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 5, &queues), -EINVAL);
    CU_ASSERT_EQUAL(queues, 0);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 3, &queues), 0);
    CU_ASSERT_EQUAL(queues, 3);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 3, &queues), -EALREADY);
    CU_ASSERT_EQUAL(seen->filter, 0x0d);
    CU_ASSERT(seen->rss_off == 1 && seen->rss_on == 1);
    CU_ASSERT_EQUAL(hv_netvsc_queue_count(f.netvsc), 3);
    queue = hv_netvsc_get_queue(f.netvsc, 2);
    CU_ASSERT(queue && !hv_netvsc_get_queue(f.netvsc, 3));
    CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), 0);
    CU_ASSERT_EQUAL(seen->filter, 0);
    CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), 0);

    /* fewer, and as many again: the channels are there */
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 2, &queues), 0);
    CU_ASSERT_EQUAL(queues, 2);
    CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), 0);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 3, &queues), 0);
    CU_ASSERT_EQUAL(queues, 3);
    CU_ASSERT_PTR_EQUAL(hv_netvsc_get_queue(f.netvsc, 2), queue);
    CU_ASSERT_EQUAL(count_in_log(seen, HV_NVSP_SUBCHANNEL), 1);
    CU_ASSERT_EQUAL(seen->opens, 3);
    CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), 0);

    /* more than ever before: attached anew */
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 4, &queues), 0);
    CU_ASSERT_EQUAL(queues, 4);
    CU_ASSERT(seen->opens == 7 && seen->halts == 1 && seen->revokes == 2);
    CU_ASSERT_EQUAL(count_in_log(seen, HV_NVSP_SUBCHANNEL), 2);
    nic_stop(&f); /* running */
}

/** Grants, offers, opens and RSS of hosts that have less than is wanted. */
static void test_fewer(void)
{
    static const struct {
        const char *name;
        struct loop_nic_opts lo;
        uint16_t want;
    } rows[] = {
        {"all", {.rx_queues = 8, .sub_channels = 4}, 4},
        {"no RSS", {.sub_channels = 4}, 1},
        {"RSS over two", {.rx_queues = 2, .sub_channels = 4}, 2},
        {"none granted", {.rx_queues = 8}, 1},
        {"one granted", {.rx_queues = 8, .sub_channels = 1}, 2},
        {"granted and not offered", {.rx_queues = 8, .sub_channels = 4, .offered = 2}, 3},
        {"offered and not openable", {.rx_queues = 8, .sub_channels = 4, .openable = 1}, 2},
        {"kernel without", {.rx_queues = 8, .sub_channels = 4, .may_not_grow = true}, 1},
        {"old", {.rx_queues = 8, .sub_channels = 4, .max_version = HV_NVSP_VERSION_4}, 1},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_netvsc_info info;
        struct nic_fixture f;
        uint16_t queues = 0;

        nic_begin(&f, &rows[i].lo, 4);
        for (unsigned round = 0; round < 2; round++) {
            HV_CHECK_ROW(rows[i].name, hv_netvsc_start(f.netvsc, 4, &queues) == 0);
            HV_CHECK_ROW(rows[i].name, queues == rows[i].want);
            HV_CHECK_ROW(rows[i].name,
                         loop_nic_seen(f.nic)->rss_on == (rows[i].want > 1 ? round + 1 : 0));
            HV_CHECK_ROW(rows[i].name, hv_netvsc_stop(f.netvsc) == 0);
        }
        hv_netvsc_get_info(f.netvsc, &info);
        HV_CHECK_ROW(rows[i].name, info.max_queues == rows[i].want);
        HV_CHECK_ROW(rows[i].name, loop_nic_seen(f.nic)->halts == 0);
        nic_stop(&f);
    }
}

static bool lying_grant(void *arg, struct loop_nic *nic, const struct loop_nic_message *m)
{
    const uint32_t *words = arg;

    if (m->rndis_bytes || m->nvsp.type != HV_NVSP_SUBCHANNEL)
        return false;
    return loop_nic_complete(nic, 0, m->id, words, 12);
}

static void test_lying_grant(void)
{
    static const uint32_t rows[][3] = {
        {HV_NVSP_SUBCHANNEL, HV_NVSP_STATUS_SUCCESS, 4},
        {HV_NVSP_SUBCHANNEL, HV_NVSP_STATUS_SUCCESS, UINT32_MAX},
        {HV_NVSP_INIT_COMPLETE, HV_NVSP_STATUS_SUCCESS, 1},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        uint32_t words[3];
        const struct loop_nic_opts lo = {
            .rx_queues = 4, .sub_channels = 3, .hook = lying_grant, .arg = words};
        struct nic_fixture f;
        uint16_t queues = 7;

        memcpy(words, rows[i], sizeof(words));
        nic_begin(&f, &lo, 4);
        CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 4, &queues), -EPROTO);
        CU_ASSERT_EQUAL(queues, 7);
        CU_ASSERT_EQUAL(loop_nic_seen(f.nic)->filter, 0);
        nic_stop(&f);
    }
}

/* ---- Settings ---- */

static void test_filter(void)
{
    struct nic_fixture f;
    uint16_t queues;

    nic_begin(&f, NULL, 1);
    CU_ASSERT_EQUAL(hv_netvsc_set_filter(f.netvsc, 0x100), -EINVAL);
    CU_ASSERT_EQUAL(hv_netvsc_set_filter(f.netvsc, HV_FILTER_PROMISCUOUS), 0);
    CU_ASSERT_EQUAL(loop_nic_seen(f.nic)->filter, 0); /* stopped: in force later */
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), 0);
    CU_ASSERT_EQUAL(loop_nic_seen(f.nic)->filter, HV_FILTER_PROMISCUOUS);
    CU_ASSERT_EQUAL(hv_netvsc_set_filter(f.netvsc, HV_FILTER_DIRECTED), 0);
    CU_ASSERT_EQUAL(loop_nic_seen(f.nic)->filter, HV_FILTER_DIRECTED);
    nic_stop(&f);
}

/** The name and the digits as Windows reads them: UTF-16, little-endian. */
static void test_mac(void)
{
    static const char name[] = "NetworkAddress", digits[] = "02ab0cd001ff";
    static const uint8_t multicast[6] = {1, 0, 0x5e, 0, 0, 1}, zero[6];
    const uint32_t want[5] = {20, 28, 2, 48, 24};
    struct loop_nic_seen *seen;
    struct hv_netvsc_info info;
    struct nic_fixture f;
    uint8_t text[52];

    nic_begin(&f, NULL, 1);
    seen = loop_nic_seen(f.nic);
    CU_ASSERT_EQUAL(hv_netvsc_set_mac(f.netvsc, multicast), -EINVAL);
    CU_ASSERT_EQUAL(hv_netvsc_set_mac(f.netvsc, zero), -EINVAL);
    CU_ASSERT_EQUAL(hv_netvsc_set_mac(f.netvsc, some_mac), 0);
    for (unsigned i = 0; i < 14; i++) {
        text[2 * i] = (uint8_t)name[i];
        text[2 * i + 1] = 0;
    }
    for (unsigned i = 0; i < 12; i++) {
        text[28 + 2 * i] = (uint8_t)digits[i];
        text[29 + 2 * i] = 0;
    }
    CU_ASSERT_EQUAL(seen->mac_parameter_bytes, 72);
    CU_ASSERT(!memcmp(seen->mac_parameter, want, 20));
    CU_ASSERT(!memcmp(seen->mac_parameter + 20, text, 52));
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT(!memcmp(info.mac, some_mac, 6));
    nic_stop(&f);
}

static void test_multicast(void)
{
    static const uint8_t macs[3][6] = {{1, 0, 0x5e, 0, 0, 1}, {0x33, 0x33, 0, 0, 0, 1}, {2}};
    const struct loop_nic_opts lo = {.multicast_max = 2};
    struct loop_nic_seen *seen;
    struct nic_fixture f;

    nic_begin(&f, &lo, 1);
    seen = loop_nic_seen(f.nic);
    CU_ASSERT_EQUAL(hv_netvsc_set_multicast(f.netvsc, macs, 2), 0);
    CU_ASSERT(seen->multicast_bytes == 12 && !memcmp(seen->multicast, macs, 12));
    CU_ASSERT_EQUAL(hv_netvsc_set_multicast(f.netvsc, macs, 3), -EINVAL); /* no group */
    seen->multicast_bytes = 99;
    CU_ASSERT_EQUAL(hv_netvsc_set_multicast(f.netvsc, NULL, 0), 0);
    CU_ASSERT_EQUAL(seen->multicast_bytes, 0);
    nic_stop(&f);

    nic_begin(&f, NULL, 1); /* a host without list */
    CU_ASSERT_EQUAL(hv_netvsc_set_multicast(f.netvsc, macs, 1), -ENOSPC);
    CU_ASSERT_EQUAL(hv_netvsc_set_multicast(f.netvsc, NULL, 0), 0);
    CU_ASSERT_EQUAL(count_in_log(loop_nic_seen(f.nic), HV_OID_MULTICAST_LIST), 0);
    nic_stop(&f);
}

static void test_rss(void)
{
    const struct loop_nic_opts lo = {.rx_queues = 4, .sub_channels = 3};
    uint16_t table[HV_NETVSC_RSS_TABLE], read_table[HV_NETVSC_RSS_TABLE];
    uint8_t key[HV_NETVSC_RSS_KEY], read_key[HV_NETVSC_RSS_KEY];
    struct loop_nic_seen *seen;
    struct nic_fixture f;
    uint16_t queues;
    uint32_t types;

    nic_begin(&f, &lo, 4);
    seen = loop_nic_seen(f.nic);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 4, &queues), 0);
    CU_ASSERT_EQUAL(seen->rss.params.hash_info, HV_NDIS_HASH_TOEPLITZ | HV_NDIS_HASH_IPV4 |
                                                    HV_NDIS_HASH_TCP4 | HV_NDIS_HASH_IPV6 |
                                                    HV_NDIS_HASH_TCP6);
    CU_ASSERT(seen->rss.table[1] == 1 && seen->rss.table[127] == 3);
    CU_ASSERT(seen->rss.key[0] == 0x6d && seen->rss.key[39] == 0xfa);
    for (unsigned i = 0; i < HV_NETVSC_RSS_TABLE; i++)
        table[i] = (uint16_t)(i % 3 + 1);
    memset(key, 0x42, sizeof(key));
    CU_ASSERT_EQUAL(hv_netvsc_set_rss(f.netvsc, HV_NDIS_HASH_TCP4, table, key), 0);
    CU_ASSERT(seen->rss_off == 2 && seen->rss_on == 2); /* off before it changes */
    CU_ASSERT_EQUAL(seen->rss.params.hash_info, HV_NDIS_HASH_TOEPLITZ | HV_NDIS_HASH_TCP4);
    CU_ASSERT(seen->rss.table[0] == 1 && seen->rss.table[2] == 3);
    CU_ASSERT(!memcmp(seen->rss.key, key, sizeof(key)));
    table[5] = 4; /* no such queue */
    CU_ASSERT_EQUAL(hv_netvsc_set_rss(f.netvsc, HV_NDIS_HASH_TCP4, table, NULL), -EINVAL);
    CU_ASSERT_EQUAL(hv_netvsc_set_rss(f.netvsc, HV_NDIS_HASH_UDP4, NULL, NULL), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(seen->rss_off, 2);
    hv_netvsc_get_rss(f.netvsc, &types, read_table, read_key);
    CU_ASSERT(types == HV_NDIS_HASH_TCP4 && read_table[5] == 3 && !memcmp(key, read_key, 40));

    /* kept over stop and start, within the queues that are there */
    CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), 0);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 2, &queues), 0);
    CU_ASSERT(seen->rss.table[0] == 1 && seen->rss.table[1] == 0 && seen->rss.table[2] == 1);
    CU_ASSERT(!memcmp(seen->rss.key, key, sizeof(key)));
    CU_ASSERT_EQUAL(hv_netvsc_set_rss(f.netvsc, 0, NULL, NULL), 0);
    CU_ASSERT(seen->rss_off == 4 && seen->rss_on == 3);
    nic_stop(&f);
}

/** A host with fewer entries: a shorter table, and the key behind it. */
static void test_short_table(void)
{
    const struct loop_nic_opts lo = {.rx_queues = 2, .sub_channels = 1, .table_entries = 16};
    struct loop_nic_seen *seen;
    struct nic_fixture f;
    uint16_t queues;

    nic_begin(&f, &lo, 2);
    seen = loop_nic_seen(f.nic);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 2, &queues), 0);
    CU_ASSERT(seen->rss.params.table_bytes == 64 && seen->rss.params.key_offset == 104);
    CU_ASSERT(seen->rss.table[15] == 1 && seen->rss.key[0] == 0x6d);
    nic_stop(&f);
}

static bool refuse_offloads(void *arg, struct loop_nic *nic, const struct loop_nic_message *m)
{
    (void)arg;
    return m->rndis_bytes && m->rndis.hdr.type == HV_RNDIS_SET &&
           m->rndis.request.oid == HV_OID_OFFLOAD_PARAMETERS &&
           loop_nic_reply_set(nic, HV_RNDIS_SET, m->rndis.request.request_id,
                              HV_RNDIS_STATUS_FAILURE);
}

static void test_offloads(void)
{
    struct loop_nic_seen *seen;
    struct hv_netvsc_info info;
    struct nic_fixture f;
    uint32_t all, on;

    nic_begin(&f, NULL, 1);
    seen = loop_nic_seen(f.nic);
    hv_netvsc_get_info(f.netvsc, &info);
    all = info.offloads_possible;
    CU_ASSERT_EQUAL(all, 0x3ff); /* no RSS, no hash */
    CU_ASSERT_EQUAL(seen->offload.tcp4_csum, HV_NDIS_CSUM_SET_BOTH);
    CU_ASSERT_EQUAL(seen->offload.ip4_csum, HV_NDIS_CSUM_SET_BOTH);
    CU_ASSERT(seen->offload.lso2_ip4 == 2 && seen->offload.lso2_ip6 == 2);
    CU_ASSERT(seen->offload.rsc_ip4 == 1 && seen->offload.lso1 == 1);
    CU_ASSERT_EQUAL(hv_netvsc_set_offloads(f.netvsc, HV_NETVSC_RX_HASH), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(hv_netvsc_set_offloads(f.netvsc, HV_NETVSC_TX_TSO4), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(
        hv_netvsc_set_offloads(f.netvsc, HV_NETVSC_TX_TCP4 | HV_NETVSC_TX_TSO4 | HV_NETVSC_TX_VLAN),
        0);
    CU_ASSERT_EQUAL(seen->offload.tcp4_csum, HV_NDIS_CSUM_SET_TX);
    CU_ASSERT(seen->offload.udp4_csum == 1 && seen->offload.tcp6_csum == 1);
    CU_ASSERT(seen->offload.lso2_ip4 == 2 && seen->offload.lso2_ip6 == 1);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.offloads, HV_NETVSC_TX_TCP4 | HV_NETVSC_TX_TSO4 | HV_NETVSC_TX_VLAN);
    CU_ASSERT_EQUAL(hv_netvsc_set_offloads(f.netvsc, HV_NETVSC_RX_CSUM), 0);
    CU_ASSERT_EQUAL(seen->offload.tcp4_csum, HV_NDIS_CSUM_SET_RX);
    CU_ASSERT_EQUAL(hv_netvsc_set_offloads(f.netvsc, 0), 0);
    CU_ASSERT_EQUAL(seen->offload.tcp4_csum, HV_NDIS_CSUM_SET_OFF);
    CU_ASSERT_EQUAL(hv_netvsc_set_offloads(f.netvsc, all), 0);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.offloads, all);

    /* the host switches off what it likes: use what is on */
    seen->offload.tcp4_csum = HV_NDIS_CSUM_SET_OFF;
    CU_ASSERT(loop_nic_indicate_offloads(f.nic));
    CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), 0);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.offloads & (HV_NETVSC_TX_TCP4 | HV_NETVSC_TX_TSO4), 0);
    CU_ASSERT(info.offloads & HV_NETVSC_TX_TCP6);
    CU_ASSERT_EQUAL(info.offloads_possible, all);
    /* a setting that it refuses leaves what is on, and not what was once wanted */
    on = info.offloads;
    loop_nic_opts(f.nic)->hook = refuse_offloads;
    CU_ASSERT_EQUAL(hv_netvsc_set_offloads(f.netvsc, HV_NETVSC_TX_TCP6), -EIO);
    loop_nic_opts(f.nic)->hook = NULL;
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.offloads, on);
    seen->offload.tcp4_csum = HV_NDIS_CSUM_SET_BOTH;
    CU_ASSERT(loop_nic_indicate_offloads(f.nic));
    CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), 0);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.offloads, all);
    nic_stop(&f);
}

static void test_no_offloads(void)
{
    const struct loop_nic_opts lo = {.no_offloads = true};
    struct hv_netvsc_info info;
    struct nic_fixture f;

    nic_begin(&f, &lo, 1);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.offloads_possible, HV_NETVSC_TX_VLAN | HV_NETVSC_RX_VLAN);
    CU_ASSERT_EQUAL(info.tso_max_bytes, 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_offloads(f.netvsc, HV_NETVSC_TX_TCP4), -EOPNOTSUPP);
    nic_stop(&f);
}

/* ---- MTU ---- */

static void test_mtu(void)
{
    static const uint8_t group[1][6] = {{1, 0, 0x5e, 0, 0, 1}};
    const struct loop_nic_opts lo = {.rx_queues = 2, .sub_channels = 1, .multicast_max = 4};
    struct loop_nic_seen *seen;
    struct hv_netvsc_info info;
    struct nic_fixture f;
    uint16_t queues;

    nic_begin(&f, &lo, 2);
    seen = loop_nic_seen(f.nic);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 2, &queues), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(f.netvsc, 9000), -EBUSY);
    CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(f.netvsc, 67), -EINVAL);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(f.netvsc, 9203), -EINVAL);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(f.netvsc, 1500), 0);
    CU_ASSERT_EQUAL(seen->opens, 2); /* that was no change */
    CU_ASSERT_EQUAL(hv_netvsc_set_mac(f.netvsc, some_mac), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_multicast(f.netvsc, group, 1), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_offloads(f.netvsc, HV_NETVSC_TX_TCP4), 0);
    seen->mac_parameter_bytes = seen->multicast_bytes = 0;
    memset(&seen->offload, 0, sizeof(seen->offload));
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(f.netvsc, 9000), 0);
    CU_ASSERT_EQUAL(seen->mtu, 9014);
    CU_ASSERT(seen->mac_parameter_bytes == 72 && seen->multicast_bytes == 6);
    CU_ASSERT_EQUAL(seen->offload.tcp4_csum, HV_NDIS_CSUM_SET_TX);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT(info.mtu == 9000 && info.offloads == HV_NETVSC_TX_TCP4);
    CU_ASSERT(!memcmp(info.mac, some_mac, 6));
    CU_ASSERT_EQUAL(hv_netvsc_queue_count(f.netvsc), 1);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 2, &queues), 0);
    CU_ASSERT_EQUAL(queues, 2);
    CU_ASSERT_EQUAL(f.event_count, 0);
    nic_stop(&f);
}

static void test_mtu_refused(void)
{
    const struct loop_nic_opts lo = {.max_mtu = 4000};
    struct hv_netvsc_info info;
    struct nic_fixture f;
    uint16_t queues;

    nic_begin(&f, &lo, 1);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(f.netvsc, 3000), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(f.netvsc, 9000), -EINVAL);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.mtu, 3000); /* rolled back */
    CU_ASSERT_EQUAL(loop_nic_seen(f.nic)->mtu, 3014);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), 0);
    nic_stop(&f);
}

/** The host does not take the new attachment, and then neither the old one. */
struct refusal {
    unsigned good; /* INITs answered before */
    unsigned bad;  /* ... and refused after these */
};

static bool refuse_init(void *arg, struct loop_nic *nic, const struct loop_nic_message *m)
{
    static const uint32_t words[4] = {HV_NVSP_INIT_COMPLETE, 0, 0, HV_NVSP_STATUS_FAILURE};
    struct refusal *r = arg;

    if (m->rndis_bytes || m->nvsp.type != HV_NVSP_INIT)
        return false;
    if (r->good) {
        r->good--;
        return false;
    }
    if (!r->bad)
        return false;
    r->bad--;
    return loop_nic_complete(nic, 0, m->id, words, sizeof(words));
}

static void test_roll_back(void)
{
    struct refusal r = {.good = 1, .bad = 1};
    const struct loop_nic_opts lo = {.hook = refuse_init, .arg = &r};
    struct hv_netvsc_frame frame;
    struct hv_netvsc_info info;
    struct nic_fixture f;
    uint16_t queues;

    nic_begin(&f, &lo, 1);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(f.netvsc, 9000), -EPROTONOSUPPORT);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.mtu, 1500);
    CU_ASSERT_EQUAL(hv_netvsc_status(f.netvsc), 0);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), 0);
    CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), 0);
    r.bad = 100;
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(f.netvsc, 9000), -EPROTONOSUPPORT);
    CU_ASSERT_EQUAL(hv_netvsc_status(f.netvsc), -EPROTO);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_DEAD], 1);
    /* what is left answers nothing, and breaks nothing */
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), -EPROTO);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(f.netvsc, 1400), -EPROTO);
    CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), -EPROTO);
    CU_ASSERT_PTR_NOT_NULL(hv_netvsc_get_queue(f.netvsc, 0));
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(hv_netvsc_get_queue(f.netvsc, 0), &frame, 1), 0);
    hv_netvsc_get_info(f.netvsc, &info);
    nic_stop(&f);
}

/* ---- No memory ---- */

/** Fewer queues do; a start that fails for want of memory can be tried again. */
static int start_at_last(struct hv_netvsc *netvsc, uint16_t *ret_queues)
{
    int err = hv_netvsc_start(netvsc, 3, ret_queues);

    return err == -ENOMEM ? hv_netvsc_start(netvsc, 3, ret_queues) : err;
}

/** The n-th request for a channel or memory fails, for every n: nothing is left, and what can go on goes on. */
static void test_no_memory(void)
{
    bool all_well = false;

    for (unsigned i = 1; i < 100 && !all_well; i++) {
        const struct loop_nic_opts lo = {.rx_queues = 4, .sub_channels = 2, .fail_at = i};
        struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;
        struct hv_netvsc_info info;
        struct nic_fixture f;
        uint16_t queues = 0;
        int err;

        no.max_queues = 3;
        nic_start(&f, &lo, &no);
        CU_ASSERT(!f.error || f.error == -ENOMEM);
        if (f.error) {
            nic_stop(&f);
            continue;
        }
        err = start_at_last(f.netvsc, &queues);
        CU_ASSERT_EQUAL(err, 0);
        CU_ASSERT(queues >= 1 && queues <= 3);
        CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), 0);
        err = hv_netvsc_set_mtu(f.netvsc, 9000);
        CU_ASSERT(!err || err == -ENOMEM);
        CU_ASSERT_EQUAL(hv_netvsc_status(f.netvsc), 0);
        hv_netvsc_get_info(f.netvsc, &info);
        CU_ASSERT_EQUAL(info.mtu, err ? 1500 : 9000);
        err = start_at_last(f.netvsc, &queues);
        CU_ASSERT_EQUAL(err, 0);
        all_well = loop_nic_opts(f.nic)->fail_at != 0; /* there were fewer requests */
        nic_stop(&f);
    }
    CU_ASSERT(all_well);
}

static const struct hv_test_case cases[] = {
    {"start and stop", test_start_stop},
    {"fewer queues than wanted", test_fewer},
    {"grants that cannot be", test_lying_grant},
    {"packet filter", test_filter},
    {"MAC address", test_mac},
    {"multicast list", test_multicast},
    {"RSS", test_rss},
    {"short RSS table", test_short_table},
    {"offloads", test_offloads},
    {"no offloads", test_no_offloads},
    {"MTU", test_mtu},
    {"MTU that the host does not allow", test_mtu_refused},
    {"roll back", test_roll_back},
    {"no memory", test_no_memory},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.control", cases, HV_TEST_COUNT(cases), argc, argv);
}
