/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RNDIS as carried by NVSP 107, per-packet information and OIDs.  The structures behind the OIDs: hv/wire/ndis.h.
 * "offset" members of message bodies count from byte 8 of the message.
 * Source: docs/wire.md "RNDIS" (Linux include/linux/rndis.h, drivers/net/hyperv; FreeBSD sys/dev/hyperv/netvsc/ndis.h;
 * OpenVMM netvsp rndisprot).
 */
#ifndef HV_WIRE_RNDIS_H
#define HV_WIRE_RNDIS_H

#include <stddef.h>
#include <stdint.h>

#define HV_RNDIS_PACKET     0x00000001u
#define HV_RNDIS_INITIALIZE 0x00000002u
#define HV_RNDIS_HALT       0x00000003u
#define HV_RNDIS_QUERY      0x00000004u
#define HV_RNDIS_SET        0x00000005u
#define HV_RNDIS_RESET      0x00000006u
#define HV_RNDIS_INDICATE   0x00000007u
#define HV_RNDIS_KEEPALIVE  0x00000008u
#define HV_RNDIS_COMPLETE   0x80000000u /* OR-ed into the type of an answer */

#define HV_RNDIS_STATUS_SUCCESS          0x00000000u
#define HV_RNDIS_STATUS_MEDIA_CONNECT    0x4001000bu
#define HV_RNDIS_STATUS_MEDIA_DISCONNECT 0x4001000cu
#define HV_RNDIS_STATUS_LINK_SPEED       0x40010013u
#define HV_RNDIS_STATUS_NETWORK_CHANGE   0x40010018u
#define HV_RNDIS_STATUS_OFFLOAD_CONFIG   0x40020006u
#define HV_RNDIS_STATUS_FAILURE          0xc0000001u
#define HV_RNDIS_STATUS_NOT_SUPPORTED    0xc00000bbu
#define HV_RNDIS_STATUS_MULTICAST_FULL   0xc0010009u
#define HV_RNDIS_STATUS_INVALID_LENGTH   0xc0010014u
#define HV_RNDIS_STATUS_INVALID_DATA     0xc0010015u
#define HV_RNDIS_STATUS_BUFFER_TOO_SHORT 0xc0010016u
#define HV_RNDIS_STATUS_INVALID_OID      0xc0010017u

#define HV_RNDIS_OFFSET_BASE 8u      /* offsets in bodies count from here */
#define HV_RNDIS_MAX_XFER    0x4000u /* what a guest names in INITIALIZE */
#define HV_RNDIS_CONTROL_MAX 4096u

struct hv_rndis_header {
    uint32_t type;
    uint32_t length_bytes; /* whole message */
};

struct hv_rndis_packet {
    struct hv_rndis_header hdr;
    uint32_t data_offset; /* from byte 8 */
    uint32_t data_bytes;
    uint32_t oob_offset;
    uint32_t oob_bytes;
    uint32_t oob_count;
    uint32_t ppi_offset; /* from byte 8 */
    uint32_t ppi_bytes;
    uint32_t vc_handle;
    uint32_t reserved;
};
_Static_assert(sizeof(struct hv_rndis_packet) == 44, "RNDIS packet");

struct hv_rndis_initialize {
    struct hv_rndis_header hdr;
    uint32_t request_id;
    uint32_t major;
    uint32_t minor;
    uint32_t max_xfer_bytes;
};
_Static_assert(sizeof(struct hv_rndis_initialize) == 24, "INITIALIZE");

struct hv_rndis_initialize_complete {
    struct hv_rndis_header hdr;
    uint32_t request_id;
    uint32_t status;
    uint32_t major;
    uint32_t minor;
    uint32_t device_flags;
    uint32_t medium;
    uint32_t max_packets_per_message;
    uint32_t max_xfer_bytes;
    uint32_t packet_align_log2;
    uint32_t af_list_offset;
    uint32_t af_list_bytes;
};
_Static_assert(sizeof(struct hv_rndis_initialize_complete) == 52, "INITIALIZE complete");
#define HV_RNDIS_INITIALIZE_COMPLETE_MIN_BYTES 48u

/** HALT, KEEPALIVE. */
struct hv_rndis_bare {
    struct hv_rndis_header hdr;
    uint32_t request_id;
};
_Static_assert(sizeof(struct hv_rndis_bare) == 12, "HALT, KEEPALIVE");

/** QUERY, SET: info_bytes of data at info_offset (20 even when there is none). */
struct hv_rndis_request {
    struct hv_rndis_header hdr;
    uint32_t request_id;
    uint32_t oid;
    uint32_t info_bytes;
    uint32_t info_offset;
    uint32_t vc_handle;
};
_Static_assert(sizeof(struct hv_rndis_request) == 28, "QUERY, SET");
#define HV_RNDIS_REQUEST_INFO_OFFSET 20u

struct hv_rndis_query_complete {
    struct hv_rndis_header hdr;
    uint32_t request_id;
    uint32_t status;
    uint32_t info_bytes;
    uint32_t info_offset; /* 16 */
};
_Static_assert(sizeof(struct hv_rndis_query_complete) == 24, "QUERY complete");

/** SET, KEEPALIVE complete. */
struct hv_rndis_set_complete {
    struct hv_rndis_header hdr;
    uint32_t request_id;
    uint32_t status;
};
_Static_assert(sizeof(struct hv_rndis_set_complete) == 16, "SET complete");

struct hv_rndis_indicate {
    struct hv_rndis_header hdr;
    uint32_t status;
    uint32_t buffer_bytes;
    uint32_t buffer_offset;
};
_Static_assert(sizeof(struct hv_rndis_indicate) == 20, "INDICATE_STATUS");

/* ---- Per-packet information ---- */

struct hv_rndis_ppi {
    uint32_t size_bytes;  /* header included, multiple of 4 */
    uint32_t type;        /* HV_PPI_* */
    uint32_t data_offset; /* from the header's start, 12 */
};
_Static_assert(sizeof(struct hv_rndis_ppi) == 12, "PPI header");

#define HV_PPI_CHECKSUM   0u
#define HV_PPI_LSO        2u
#define HV_PPI_VLAN       6u
#define HV_PPI_HASH_VALUE 8u
#define HV_PPI_HASH_INFO  9u

/* HV_PPI_CHECKSUM towards the host. */
#define HV_TX_CSUM_IPV4     (1u << 0)
#define HV_TX_CSUM_IPV6     (1u << 1)
#define HV_TX_CSUM_TCP      (1u << 2)
#define HV_TX_CSUM_UDP      (1u << 3)
#define HV_TX_CSUM_IPHDR    (1u << 4)
#define HV_TX_CSUM_L4_SHIFT 16 /* bits 16-25: offset of the L4 header */
#define HV_TX_CSUM_L4_MASK  0x3ffu
/* HV_PPI_CHECKSUM from the host. */
#define HV_RX_CSUM_TCP_FAILED (1u << 0)
#define HV_RX_CSUM_UDP_FAILED (1u << 1)
#define HV_RX_CSUM_IP_FAILED  (1u << 2)
#define HV_RX_CSUM_TCP_OK     (1u << 3)
#define HV_RX_CSUM_UDP_OK     (1u << 4)
#define HV_RX_CSUM_IP_OK      (1u << 5)
#define HV_RX_CSUM_LOOPBACK   (1u << 6)
/* HV_PPI_LSO, version 2. */
#define HV_LSO_MSS_MASK  0xfffffu
#define HV_LSO_TCP_SHIFT 20 /* bits 20-29: offset of the TCP header */
#define HV_LSO_TCP_MASK  0x3ffu
#define HV_LSO_V2        (1u << 30)
#define HV_LSO_IPV6      (1u << 31)
/* HV_PPI_VLAN. */
#define HV_VLAN_PRIORITY_MASK 0x7u
#define HV_VLAN_CFI           (1u << 3)
#define HV_VLAN_ID_SHIFT      4

/* ---- OIDs ---- */

#define HV_OID_SUPPORTED_LIST        0x00010101u
#define HV_OID_HARDWARE_STATUS       0x00010102u
#define HV_OID_MEDIA_SUPPORTED       0x00010103u
#define HV_OID_MEDIA_IN_USE          0x00010104u
#define HV_OID_MAX_LOOKAHEAD         0x00010105u
#define HV_OID_MAX_FRAME_SIZE        0x00010106u
#define HV_OID_LINK_SPEED            0x00010107u /* 100 bit/s */
#define HV_OID_TRANSMIT_SPACE        0x00010108u
#define HV_OID_RECEIVE_SPACE         0x00010109u
#define HV_OID_TRANSMIT_BLOCK        0x0001010au
#define HV_OID_RECEIVE_BLOCK         0x0001010bu
#define HV_OID_VENDOR_ID             0x0001010cu
#define HV_OID_VENDOR_TEXT           0x0001010du
#define HV_OID_PACKET_FILTER         0x0001010eu
#define HV_OID_CURRENT_LOOKAHEAD     0x0001010fu
#define HV_OID_DRIVER_VERSION        0x00010110u /* u16 */
#define HV_OID_MAX_TOTAL_SIZE        0x00010111u
#define HV_OID_PROTOCOL_OPTIONS      0x00010112u /* set */
#define HV_OID_MAC_OPTIONS           0x00010113u
#define HV_OID_MEDIA_CONNECT         0x00010114u /* 0 connected, 1 not */
#define HV_OID_MAX_SEND_PACKETS      0x00010115u
#define HV_OID_VENDOR_DRIVER_VERSION 0x00010116u
#define HV_OID_NETWORK_ADDRESSES     0x00010118u /* set */
#define HV_OID_RSS_CAPABILITIES      0x00010203u
#define HV_OID_RSS_PARAMETERS        0x00010204u /* set */
#define HV_OID_MAX_LINK_SPEED        0x00010206u /* two u64 */
#define HV_OID_LINK_STATE            0x00010207u
#define HV_OID_LINK_PARAMETERS       0x00010208u /* set */
#define HV_OID_INTERRUPT_MODERATION  0x00010209u
#define HV_OID_MACHINE_NAME          0x0001021au /* set */
#define HV_OID_CONFIG_PARAMETER      0x0001021bu /* set */
#define HV_OID_VLAN_ID               0x0001021cu
#define HV_OID_TX_OK                 0x00020101u
#define HV_OID_RX_OK                 0x00020102u
#define HV_OID_TX_ERROR              0x00020103u
#define HV_OID_RX_ERROR              0x00020104u
#define HV_OID_RX_NO_BUFFER          0x00020105u
#define HV_OID_PERMANENT_MAC         0x01010101u
#define HV_OID_CURRENT_MAC           0x01010102u
#define HV_OID_MULTICAST_LIST        0x01010103u
#define HV_OID_MULTICAST_MAX         0x01010104u
#define HV_OID_OFFLOAD_ENCAPSULATION 0x0101010au /* set */
#define HV_OID_ALIGNMENT_ERRORS      0x01020101u
#define HV_OID_ONE_COLLISION         0x01020102u
#define HV_OID_MORE_COLLISIONS       0x01020103u
#define HV_OID_OFFLOAD_CONFIG        0xfc01020bu
#define HV_OID_OFFLOAD_PARAMETERS    0xfc01020cu /* set */
#define HV_OID_OFFLOAD_CAPS          0xfc01020du

#define HV_FILTER_DIRECTED    0x01u
#define HV_FILTER_MULTICAST   0x02u
#define HV_FILTER_ALLMULTI    0x04u
#define HV_FILTER_BROADCAST   0x08u
#define HV_FILTER_PROMISCUOUS 0x20u

#endif
