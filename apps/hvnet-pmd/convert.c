/* SPDX-License-Identifier: BSD-3-Clause */
#include "convert.h"

static const struct {
    uint64_t dpdk;
    uint32_t ndis;
} hashes[] = {
    {RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER, HVNET_HASH_IPV4},
    {RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_OTHER, HVNET_HASH_IPV6},
    {RTE_ETH_RSS_NONFRAG_IPV4_TCP, HVNET_HASH_TCP4},
    {RTE_ETH_RSS_NONFRAG_IPV6_TCP, HVNET_HASH_TCP6},
    {RTE_ETH_RSS_NONFRAG_IPV4_UDP, HVNET_HASH_UDP4},
    {RTE_ETH_RSS_NONFRAG_IPV6_UDP, HVNET_HASH_UDP6},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

uint64_t hvnet_rss_to_dpdk(uint32_t hash_types)
{
    uint64_t out = 0;

    for (size_t i = 0; i < COUNT(hashes); i++)
        if (hash_types & hashes[i].ndis)
            out |= hashes[i].dpdk;
    return out;
}

uint32_t hvnet_rss_from_dpdk(uint64_t rss_hf, uint32_t possible)
{
    uint32_t out = 0;

    for (size_t i = 0; i < COUNT(hashes); i++)
        if (rss_hf & hashes[i].dpdk)
            out |= hashes[i].ndis;
    return out & possible;
}

/** One word of DPDK stands for IPv4 and IPv6: claimed where both are there. */
static bool both(uint32_t possible, uint32_t bits)
{
    return (possible & bits) == bits;
}

uint64_t hvnet_rx_capabilities(uint32_t possible)
{
    uint64_t out = RTE_ETH_RX_OFFLOAD_SCATTER;

    if (possible & HV_NETVSC_RX_VLAN)
        out |= RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
    if (possible & HV_NETVSC_RX_CSUM)
        out |= RTE_ETH_RX_OFFLOAD_CHECKSUM;
    if (possible & HV_NETVSC_RX_HASH)
        out |= RTE_ETH_RX_OFFLOAD_RSS_HASH;
    return out;
}

uint64_t hvnet_tx_capabilities(uint32_t possible)
{
    uint64_t out = RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;

    if (possible & HV_NETVSC_TX_VLAN)
        out |= RTE_ETH_TX_OFFLOAD_VLAN_INSERT;
    if (possible & HV_NETVSC_TX_IP_CSUM)
        out |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
    if (both(possible, HV_NETVSC_TX_TCP4 | HV_NETVSC_TX_TCP6))
        out |= RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
    if (both(possible, HV_NETVSC_TX_UDP4 | HV_NETVSC_TX_UDP6))
        out |= RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
    if (both(possible, HV_NETVSC_TX_TSO4 | HV_NETVSC_TX_TSO6))
        out |= RTE_ETH_TX_OFFLOAD_TCP_TSO;
    return out;
}

uint32_t hvnet_offloads_wanted(uint64_t rx, uint64_t tx, bool rss_hash, uint32_t possible)
{
    /* Tags come beside the frame or in it, as the host likes: the driver puts them where the application wants them. */
    uint32_t out = HV_NETVSC_RX_VLAN;

    if (rx & RTE_ETH_RX_OFFLOAD_CHECKSUM)
        out |= HV_NETVSC_RX_CSUM;
    if (rss_hash || (rx & RTE_ETH_RX_OFFLOAD_RSS_HASH))
        out |= HV_NETVSC_RX_HASH;
    if (tx & RTE_ETH_TX_OFFLOAD_VLAN_INSERT)
        out |= HV_NETVSC_TX_VLAN;
    if (tx & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM)
        out |= HV_NETVSC_TX_IP_CSUM;
    if (tx & RTE_ETH_TX_OFFLOAD_TCP_CKSUM)
        out |= HV_NETVSC_TX_TCP4 | HV_NETVSC_TX_TCP6;
    if (tx & RTE_ETH_TX_OFFLOAD_UDP_CKSUM)
        out |= HV_NETVSC_TX_UDP4 | HV_NETVSC_TX_UDP6;
    if (tx & RTE_ETH_TX_OFFLOAD_TCP_TSO) /* the host fills in the sums of the segments */
        out |= HV_NETVSC_TX_TSO4 | HV_NETVSC_TX_TSO6 | HV_NETVSC_TX_TCP4 | HV_NETVSC_TX_TCP6 |
               HV_NETVSC_TX_IP_CSUM;
    return out & possible;
}

uint64_t hvnet_rx_flags(uint32_t frame_flags)
{
    uint64_t out = 0;

    if (frame_flags & HV_NETVSC_RX_IP_BAD)
        out |= RTE_MBUF_F_RX_IP_CKSUM_BAD;
    else if (frame_flags & HV_NETVSC_RX_IP_OK)
        out |= RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    if (frame_flags & HV_NETVSC_RX_L4_BAD)
        out |= RTE_MBUF_F_RX_L4_CKSUM_BAD;
    else if (frame_flags & HV_NETVSC_RX_L4_OK)
        out |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    if (frame_flags & HV_NETVSC_RX_HAS_HASH)
        out |= RTE_MBUF_F_RX_RSS_HASH;
    if (frame_flags & HV_NETVSC_RX_HAS_VLAN)
        out |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    return out;
}

uint16_t hvnet_tx_flags(uint64_t ol_flags)
{
    unsigned out = 0;

    if (ol_flags & RTE_MBUF_F_TX_VLAN)
        out |= HV_NETVSC_TX_FLAG_VLAN;
    if (!(ol_flags & (RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG)))
        return (uint16_t)out;
    out |= (ol_flags & RTE_MBUF_F_TX_IPV6) ? HV_NETVSC_TX_FLAG_IPV6 : HV_NETVSC_TX_FLAG_IPV4;
    if (ol_flags & RTE_MBUF_F_TX_IP_CKSUM)
        out |= HV_NETVSC_TX_FLAG_IP_CSUM;
    if (ol_flags & RTE_MBUF_F_TX_TCP_SEG)
        return (uint16_t)(out | HV_NETVSC_TX_FLAG_TSO | HV_NETVSC_TX_FLAG_TCP);
    if ((ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM)
        out |= HV_NETVSC_TX_FLAG_TCP;
    else if ((ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM)
        out |= HV_NETVSC_TX_FLAG_UDP;
    return (uint16_t)out;
}

uint32_t hvnet_filter(bool promiscuous, bool all_multicast)
{
    if (promiscuous)
        return HVNET_FILTER_PROMISCUOUS;
    return HVNET_FILTER_DIRECTED | HVNET_FILTER_BROADCAST |
           (all_multicast ? HVNET_FILTER_ALLMULTI : HVNET_FILTER_MULTICAST);
}

uint32_t hvnet_link_speed(uint64_t bits_per_second)
{
    uint64_t mega = bits_per_second / 1000000;

    return mega == 0 || mega >= RTE_ETH_SPEED_NUM_UNKNOWN ? RTE_ETH_SPEED_NUM_UNKNOWN
                                                          : (uint32_t)mega;
}
