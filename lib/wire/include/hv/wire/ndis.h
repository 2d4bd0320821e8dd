/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NDIS structures that RNDIS queries and sets carry: offloads, RSS, the MAC address.
 * Source: docs/wire.md "NDIS structures" (FreeBSD sys/dev/hyperv/netvsc/ndis.h, Linux drivers/net/hyperv, OpenVMM netvsp).
 */
#ifndef HV_WIRE_NDIS_H
#define HV_WIRE_NDIS_H

#include <stddef.h>
#include <stdint.h>

struct hv_ndis_header {
    uint8_t type; /* HV_NDIS_OBJECT_* */
    uint8_t revision;
    uint16_t size_bytes;
};
#define HV_NDIS_OBJECT_DEFAULT        0x80u
#define HV_NDIS_OBJECT_OFFLOAD_CAPS   0xa7u
#define HV_NDIS_OBJECT_OFFLOAD_PARAMS 0x80u
#define HV_NDIS_OBJECT_RSS_CAPS       0x88u
#define HV_NDIS_OBJECT_RSS_PARAMS     0x89u

/** HV_OID_OFFLOAD_CAPS: 112 bytes in revision 1, 144 in 2, 156 in 3. */
struct hv_ndis_csum_caps {
    uint32_t ip4_tx_encap, ip4_tx, ip4_rx_encap, ip4_rx;
    uint32_t ip6_tx_encap, ip6_tx, ip6_rx_encap, ip6_rx;
};
struct hv_ndis_lso2_caps {
    uint32_t ip4_encap, ip4_max_bytes, ip4_min_segments;
    uint32_t ip6_encap, ip6_max_bytes, ip6_min_segments, ip6_options;
};
struct hv_ndis_offload {
    struct hv_ndis_header hdr;
    struct hv_ndis_csum_caps csum; /* @4 */
    uint8_t lso1[16];              /* @36 */
    uint8_t ipsec1[28];            /* @52 */
    struct hv_ndis_lso2_caps lso2; /* @80 */
    uint32_t flags;                /* @108 */
    uint8_t ipsec2[32];            /* @112, revision 2 */
    uint8_t rsc_ip4, rsc_ip6;      /* @144, revision 3 */
    uint8_t pad[2];
    uint8_t encap_gre[8];
};
_Static_assert(sizeof(struct hv_ndis_offload) == 156, "NDIS offload, revision 3");
_Static_assert(offsetof(struct hv_ndis_offload, lso2) == 80, "LSOv2");
_Static_assert(offsetof(struct hv_ndis_offload, rsc_ip4) == 144, "RSC");
#define HV_NDIS_OFFLOAD_BYTES_REV1 112u
#define HV_NDIS_OFFLOAD_BYTES_REV2 144u
#define HV_NDIS_CSUM_IP_OPTIONS    0x001u
#define HV_NDIS_CSUM_TCP_OPTIONS   0x004u
#define HV_NDIS_CSUM_TCP           0x010u
#define HV_NDIS_CSUM_UDP           0x040u
#define HV_NDIS_CSUM_IP            0x100u
#define HV_NDIS_ENCAP_8023         2u
#define HV_NDIS_LSO_MAX_BYTES      0xf53cu

struct hv_ndis_offload_params {
    struct hv_ndis_header hdr;
    uint8_t ip4_csum, tcp4_csum, udp4_csum, tcp6_csum, udp6_csum; /* @4, HV_NDIS_CSUM_SET_* */
    uint8_t lso1, ipsec1;
    uint8_t lso2_ip4, lso2_ip6; /* @11, HV_NDIS_OFFLOAD_* */
    uint8_t tcp_conn_ip4, tcp_conn_ip6;
    uint8_t pad;
    uint32_t flags;                     /* @16; revision 1 ends at 20 */
    uint8_t ipsec2[2];                  /* revision 2 ends at 22 */
    uint8_t rsc_ip4, rsc_ip6, encap[2]; /* revision 3 ends at 26 */
    uint8_t pad2[2];
};
_Static_assert(sizeof(struct hv_ndis_offload_params) == 28, "offload parameters");
_Static_assert(offsetof(struct hv_ndis_offload_params, flags) == 16, "flags");
#define HV_NDIS_OFFLOAD_PARAMS_BYTES_REV1 20u
#define HV_NDIS_OFFLOAD_PARAMS_BYTES_REV2 22u
#define HV_NDIS_OFFLOAD_PARAMS_BYTES_REV3 26u
#define HV_NDIS_CSUM_SET_NO_CHANGE        0u
#define HV_NDIS_CSUM_SET_OFF              1u
#define HV_NDIS_CSUM_SET_TX               2u
#define HV_NDIS_CSUM_SET_RX               3u
#define HV_NDIS_CSUM_SET_BOTH             4u
#define HV_NDIS_OFFLOAD_NO_CHANGE         0u
#define HV_NDIS_OFFLOAD_OFF               1u
#define HV_NDIS_OFFLOAD_ON                2u

struct hv_ndis_rss_caps {
    struct hv_ndis_header hdr; /* revision 2, size 18 */
    uint32_t flags;            /* HV_NDIS_RSS_CAP_* */
    uint32_t msi_count;
    uint32_t rx_queues;
    uint16_t table_entries;
    uint16_t pad;
};
_Static_assert(sizeof(struct hv_ndis_rss_caps) == 20, "RSS capabilities");
#define HV_NDIS_RSS_CAP_TOEPLITZ 0x001u
#define HV_NDIS_RSS_CAP_TCP4     0x100u
#define HV_NDIS_RSS_CAP_TCP6     0x200u
#define HV_NDIS_RSS_CAP_UDP4     0x800u
#define HV_NDIS_RSS_CAP_UDP6     0x1000u

struct hv_ndis_rss_params {
    struct hv_ndis_header hdr; /* revision 2, size 40 */
    uint16_t flags;            /* HV_NDIS_RSS_* */
    uint16_t base_cpu;
    uint32_t hash_info; /* HV_NDIS_HASH_* */
    uint16_t table_bytes;
    uint16_t pad;
    uint32_t table_offset; /* from the structure's start */
    uint16_t key_bytes;
    uint16_t pad2;
    uint32_t key_offset;
    uint32_t cpu_mask_offset;
    uint32_t cpu_mask_count;
    uint32_t cpu_mask_entry_bytes;
};
_Static_assert(sizeof(struct hv_ndis_rss_params) == 40, "RSS parameters");
_Static_assert(offsetof(struct hv_ndis_rss_params, table_offset) == 16, "table offset");
_Static_assert(offsetof(struct hv_ndis_rss_params, key_offset) == 24, "key offset");
#define HV_NDIS_RSS_PARAMS_BYTES_REV1 28u
#define HV_NDIS_RSS_TABLE_MAX         128u
#define HV_NDIS_RSS_KEY_BYTES         40u
#define HV_NDIS_RSS_HASH_UNCHANGED    0x02u
#define HV_NDIS_RSS_TABLE_UNCHANGED   0x04u
#define HV_NDIS_RSS_KEY_UNCHANGED     0x08u
#define HV_NDIS_RSS_DISABLE           0x10u
#define HV_NDIS_HASH_TOEPLITZ         0x00001u
#define HV_NDIS_HASH_IPV4             0x00100u
#define HV_NDIS_HASH_TCP4             0x00200u
#define HV_NDIS_HASH_IPV6             0x00400u
#define HV_NDIS_HASH_TCP6             0x01000u
#define HV_NDIS_HASH_UDP4             0x04000u
#define HV_NDIS_HASH_UDP6             0x08000u

/** HV_OID_LINK_STATE. */
struct hv_ndis_link_state {
    struct hv_ndis_header hdr; /* default object, revision 1, size 40 */
    uint32_t connect;          /* HV_NDIS_MEDIA_* */
    uint32_t duplex;           /* HV_NDIS_DUPLEX_FULL */
    uint32_t pad;
    uint64_t xmit_bits_per_second;
    uint64_t receive_bits_per_second;
    uint32_t pause_functions;
    uint32_t auto_negotiation;
};
_Static_assert(sizeof(struct hv_ndis_link_state) == 40, "link state");
_Static_assert(offsetof(struct hv_ndis_link_state, xmit_bits_per_second) == 16, "link speeds");
#define HV_NDIS_MEDIA_CONNECTED    1u
#define HV_NDIS_MEDIA_DISCONNECTED 2u
#define HV_NDIS_DUPLEX_FULL        2u

/** HV_OID_CONFIG_PARAMETER ("NetworkAddress"); offsets from the structure's start. */
struct hv_ndis_config_parameter {
    uint32_t name_offset;
    uint32_t name_bytes;
    uint32_t type; /* 0 integer, 2 string */
    uint32_t value_offset;
    uint32_t value_bytes;
};
_Static_assert(sizeof(struct hv_ndis_config_parameter) == 20, "config parameter");

#endif
