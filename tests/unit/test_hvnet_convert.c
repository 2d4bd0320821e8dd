/* SPDX-License-Identifier: BSD-3-Clause */
#include "convert.h"
#include "suite.h"

#define ALL_TX                                                                                     \
    (HV_NETVSC_TX_IP_CSUM | HV_NETVSC_TX_TCP4 | HV_NETVSC_TX_UDP4 | HV_NETVSC_TX_TCP6 |            \
     HV_NETVSC_TX_UDP6 | HV_NETVSC_TX_TSO4 | HV_NETVSC_TX_TSO6 | HV_NETVSC_TX_VLAN)
#define ALL_RX (HV_NETVSC_RX_CSUM | HV_NETVSC_RX_VLAN | HV_NETVSC_RX_HASH)

static void test_rss(void)
{
    static const struct {
        const char *name;
        uint64_t dpdk;
        uint32_t ndis;
    } rows[] = {
        {"ipv4", RTE_ETH_RSS_IPV4, HVNET_HASH_IPV4},
        {"ipv6", RTE_ETH_RSS_IPV6, HVNET_HASH_IPV6},
        {"tcp4", RTE_ETH_RSS_NONFRAG_IPV4_TCP, HVNET_HASH_TCP4},
        {"tcp6", RTE_ETH_RSS_NONFRAG_IPV6_TCP, HVNET_HASH_TCP6},
        {"udp4", RTE_ETH_RSS_NONFRAG_IPV4_UDP, HVNET_HASH_UDP4},
        {"udp6", RTE_ETH_RSS_NONFRAG_IPV6_UDP, HVNET_HASH_UDP6},
        {"none", 0, 0},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        HV_CHECK_ROW(rows[i].name, hvnet_rss_from_dpdk(rows[i].dpdk, UINT32_MAX) == rows[i].ndis);
        HV_CHECK_ROW(rows[i].name,
                     (hvnet_rss_to_dpdk(rows[i].ndis) & rows[i].dpdk) == rows[i].dpdk);
        HV_CHECK_ROW(rows[i].name, hvnet_rss_from_dpdk(rows[i].dpdk, 0) == 0);
    }
    CU_ASSERT_EQUAL(hvnet_rss_from_dpdk(RTE_ETH_RSS_NONFRAG_IPV4_SCTP, UINT32_MAX), 0);
}

static void test_capabilities(void)
{
    static const struct {
        const char *name;
        uint32_t possible;
        uint64_t tx;
    } rows[] = {
        {"nothing", 0, 0},
        {"tcp4 alone claims nothing", HV_NETVSC_TX_TCP4, 0},
        {"tcp", HV_NETVSC_TX_TCP4 | HV_NETVSC_TX_TCP6, RTE_ETH_TX_OFFLOAD_TCP_CKSUM},
        {"udp", HV_NETVSC_TX_UDP4 | HV_NETVSC_TX_UDP6, RTE_ETH_TX_OFFLOAD_UDP_CKSUM},
        {"tso4 alone claims nothing", HV_NETVSC_TX_TSO4, 0},
        {"tso", HV_NETVSC_TX_TSO4 | HV_NETVSC_TX_TSO6, RTE_ETH_TX_OFFLOAD_TCP_TSO},
        {"vlan", HV_NETVSC_TX_VLAN, RTE_ETH_TX_OFFLOAD_VLAN_INSERT},
        {"ip", HV_NETVSC_TX_IP_CSUM, RTE_ETH_TX_OFFLOAD_IPV4_CKSUM},
    };
    const uint64_t always = RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        HV_CHECK_ROW(rows[i].name,
                     hvnet_tx_capabilities(rows[i].possible) == (always | rows[i].tx));
    CU_ASSERT_EQUAL(hvnet_rx_capabilities(0), RTE_ETH_RX_OFFLOAD_SCATTER);
    CU_ASSERT_EQUAL(hvnet_rx_capabilities(ALL_RX),
                    RTE_ETH_RX_OFFLOAD_SCATTER | RTE_ETH_RX_OFFLOAD_VLAN_STRIP |
                        RTE_ETH_RX_OFFLOAD_CHECKSUM | RTE_ETH_RX_OFFLOAD_RSS_HASH);
}

static void test_wanted(void)
{
    const uint32_t all = ALL_TX | ALL_RX;

    CU_ASSERT_EQUAL(hvnet_offloads_wanted(0, 0, false, all), HV_NETVSC_RX_VLAN);
    CU_ASSERT_EQUAL(hvnet_offloads_wanted(0, 0, false, 0), 0);
    CU_ASSERT_EQUAL(hvnet_offloads_wanted(RTE_ETH_RX_OFFLOAD_CHECKSUM, 0, true, all),
                    HV_NETVSC_RX_VLAN | HV_NETVSC_RX_CSUM | HV_NETVSC_RX_HASH);
    CU_ASSERT_EQUAL(hvnet_offloads_wanted(0, RTE_ETH_TX_OFFLOAD_TCP_TSO, false, all),
                    HV_NETVSC_RX_VLAN | HV_NETVSC_TX_TSO4 | HV_NETVSC_TX_TSO6 | HV_NETVSC_TX_TCP4 |
                        HV_NETVSC_TX_TCP6 | HV_NETVSC_TX_IP_CSUM);
    CU_ASSERT_EQUAL(hvnet_offloads_wanted(0, hvnet_tx_capabilities(all), false, all),
                    HV_NETVSC_RX_VLAN | ALL_TX);
}

static void test_rx_flags(void)
{
    static const struct {
        const char *name;
        uint32_t frame;
        uint64_t mbuf;
    } rows[] = {
        {"unknown", 0, 0},
        {"both good", HV_NETVSC_RX_IP_OK | HV_NETVSC_RX_L4_OK,
         RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD},
        {"bad address sum", HV_NETVSC_RX_IP_BAD, RTE_MBUF_F_RX_IP_CKSUM_BAD},
        {"bad wins", HV_NETVSC_RX_L4_OK | HV_NETVSC_RX_L4_BAD, RTE_MBUF_F_RX_L4_CKSUM_BAD},
        {"hash", HV_NETVSC_RX_HAS_HASH, RTE_MBUF_F_RX_RSS_HASH},
        {"vlan", HV_NETVSC_RX_HAS_VLAN, RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        HV_CHECK_ROW(rows[i].name, hvnet_rx_flags(rows[i].frame) == rows[i].mbuf);
}

static void test_tx_flags(void)
{
    static const struct {
        const char *name;
        uint64_t mbuf;
        uint16_t frame;
    } rows[] = {
        {"nothing", 0, 0},
        {"a family alone asks for nothing", RTE_MBUF_F_TX_IPV4, 0},
        {"vlan", RTE_MBUF_F_TX_VLAN, HV_NETVSC_TX_FLAG_VLAN},
        {"ip", RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM,
         HV_NETVSC_TX_FLAG_IPV4 | HV_NETVSC_TX_FLAG_IP_CSUM},
        {"tcp6", RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_TCP_CKSUM,
         HV_NETVSC_TX_FLAG_IPV6 | HV_NETVSC_TX_FLAG_TCP},
        {"udp4", RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_UDP_CKSUM,
         HV_NETVSC_TX_FLAG_IPV4 | HV_NETVSC_TX_FLAG_UDP},
        {"tso", RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_SEG,
         HV_NETVSC_TX_FLAG_IPV4 | HV_NETVSC_TX_FLAG_IP_CSUM | HV_NETVSC_TX_FLAG_TCP |
             HV_NETVSC_TX_FLAG_TSO},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        HV_CHECK_ROW(rows[i].name, hvnet_tx_flags(rows[i].mbuf) == rows[i].frame);
}

static void test_filter_and_speed(void)
{
    CU_ASSERT_EQUAL(hvnet_filter(false, false),
                    HVNET_FILTER_DIRECTED | HVNET_FILTER_BROADCAST | HVNET_FILTER_MULTICAST);
    CU_ASSERT_EQUAL(hvnet_filter(false, true),
                    HVNET_FILTER_DIRECTED | HVNET_FILTER_BROADCAST | HVNET_FILTER_ALLMULTI);
    CU_ASSERT_EQUAL(hvnet_filter(true, true), HVNET_FILTER_PROMISCUOUS);
    CU_ASSERT_EQUAL(hvnet_link_speed(UINT64_C(40000000000)), RTE_ETH_SPEED_NUM_40G);
    CU_ASSERT_EQUAL(hvnet_link_speed(0), RTE_ETH_SPEED_NUM_UNKNOWN);
    CU_ASSERT_EQUAL(hvnet_link_speed(UINT64_MAX), RTE_ETH_SPEED_NUM_UNKNOWN);
}

static const struct hv_test_case cases[] = {
    {"RSS words", test_rss},           {"capabilities are true", test_capabilities},
    {"offloads wanted", test_wanted},  {"receive flags", test_rx_flags},
    {"transmit flags", test_tx_flags}, {"filter and speed", test_filter_and_speed},
};

int main(int argc, char **argv)
{
    return hv_test_main("hvnet.convert", cases, HV_TEST_COUNT(cases), argc, argv);
}
