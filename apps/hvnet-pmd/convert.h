/* SPDX-License-Identifier: BSD-3-Clause */
/* Between DPDK's words and the library's: pure functions, no device. */
#ifndef HVNET_CONVERT_H
#define HVNET_CONVERT_H

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <hv/netvsc.h>

/* NDIS packet filter and hash types, as hv_netvsc_set_filter() and hv_netvsc_set_rss() take them. */
#define HVNET_FILTER_DIRECTED    0x01u
#define HVNET_FILTER_MULTICAST   0x02u
#define HVNET_FILTER_ALLMULTI    0x04u
#define HVNET_FILTER_BROADCAST   0x08u
#define HVNET_FILTER_PROMISCUOUS 0x20u

#define HVNET_HASH_IPV4 0x0100u
#define HVNET_HASH_TCP4 0x0200u
#define HVNET_HASH_IPV6 0x0400u
#define HVNET_HASH_TCP6 0x1000u
#define HVNET_HASH_UDP4 0x4000u
#define HVNET_HASH_UDP6 0x8000u

/** RTE_ETH_RSS_* that the host's hash types cover. */
uint64_t hvnet_rss_to_dpdk(uint32_t hash_types);
/** NDIS hash types for RTE_ETH_RSS_*, of those the host can do; what it cannot do is left out. */
uint32_t hvnet_rss_from_dpdk(uint64_t rss_hf, uint32_t possible);
/** RTE_ETH_RX_OFFLOAD_*, RTE_ETH_TX_OFFLOAD_* that are true for HV_NETVSC_TX_*, RX_*. */
uint64_t hvnet_rx_capabilities(uint32_t possible);
uint64_t hvnet_tx_capabilities(uint32_t possible);
/** Offloads of the device to be switched on for what was configured. */
uint32_t hvnet_offloads_wanted(uint64_t rx, uint64_t tx, bool rss_hash, uint32_t possible);
/** RTE_MBUF_F_RX_* for HV_NETVSC_RX_* of a frame; the caller has masked what is not wanted. */
uint64_t hvnet_rx_flags(uint32_t frame_flags);
/** HV_NETVSC_TX_FLAG_* for RTE_MBUF_F_TX_* of an mbuf. */
uint16_t hvnet_tx_flags(uint64_t ol_flags);
uint32_t hvnet_filter(bool promiscuous, bool all_multicast);
uint32_t hvnet_link_speed(uint64_t bits_per_second);

#endif
