/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVSP: the network protocol inside VMBus packets.  g = guest (VSC), h = host (VSP).
 *
 *   0x00 type    0x04 body by type          28 bytes on the wire up to 6.0, 40 from 6.1; guests send 40, zero-padded
 *
 * Requests are in-band packets; their answers are VMBus completions of the same transaction id, except that 128 and 134
 * come from the host unasked, and receive data as transfer-page packets whose payload is a SEND_RNDIS_PACKET.
 * Source: docs/wire.md "NVSP" (Linux drivers/net/hyperv/hyperv_net.h, DPDK drivers/net/netvsc/hn_nvs.h, OpenVMM netvsp).
 */
#ifndef HV_WIRE_NVSP_H
#define HV_WIRE_NVSP_H

#include <stddef.h>
#include <stdint.h>

#define HV_NVSP_VERSION_1   0x00000002u
#define HV_NVSP_VERSION_2   0x00030002u
#define HV_NVSP_VERSION_4   0x00040000u
#define HV_NVSP_VERSION_5   0x00050000u
#define HV_NVSP_VERSION_6   0x00060000u
#define HV_NVSP_VERSION_6_1 0x00060001u

enum hv_nvsp_type {
    HV_NVSP_INIT = 1,                         /* g>h */
    HV_NVSP_INIT_COMPLETE = 2,                /* h>g completion */
    HV_NVSP_SEND_NDIS_VERSION = 100,          /* g>h, no reply */
    HV_NVSP_SEND_RECEIVE_BUFFER = 101,        /* g>h */
    HV_NVSP_RECEIVE_BUFFER_COMPLETE = 102,    /* h>g completion */
    HV_NVSP_REVOKE_RECEIVE_BUFFER = 103,      /* g>h, no reply */
    HV_NVSP_SEND_SEND_BUFFER = 104,           /* g>h */
    HV_NVSP_SEND_BUFFER_COMPLETE = 105,       /* h>g completion */
    HV_NVSP_REVOKE_SEND_BUFFER = 106,         /* g>h, no reply */
    HV_NVSP_SEND_RNDIS_PACKET = 107,          /* both */
    HV_NVSP_SEND_RNDIS_PACKET_COMPLETE = 108, /* both, completion */
    HV_NVSP_SEND_NDIS_CONFIG = 125,           /* g>h from 2, no reply */
    HV_NVSP_SEND_VF_ASSOCIATION = 128,        /* h>g from 4 */
    HV_NVSP_SWITCH_DATA_PATH = 129,           /* g>h from 4 */
    HV_NVSP_OID_QUERY_EX = 131,               /* g>h */
    HV_NVSP_OID_QUERY_EX_COMPLETE = 132,
    HV_NVSP_SUBCHANNEL = 133,             /* g>h from 5; request and reply */
    HV_NVSP_SEND_INDIRECTION_TABLE = 134, /* h>g from 5 */
};

#define HV_NVSP_STATUS_NONE          0u
#define HV_NVSP_STATUS_SUCCESS       1u
#define HV_NVSP_STATUS_FAILURE       2u
#define HV_NVSP_STATUS_TOO_NEW       3u
#define HV_NVSP_STATUS_TOO_OLD       4u
#define HV_NVSP_STATUS_INVALID_RNDIS 5u
#define HV_NVSP_STATUS_BUSY          6u
#define HV_NVSP_STATUS_UNSUPPORTED   7u

#define HV_NVSP_RECEIVE_BUFFER_ID    0xcafeu
#define HV_NVSP_SEND_BUFFER_ID       0xfaceu /* DPDK, FreeBSD; Linux sends 0 */
#define HV_NVSP_SECTION_NONE         0xffffffffu
#define HV_NVSP_CHANNEL_DATA         0u
#define HV_NVSP_CHANNEL_CONTROL      1u
#define HV_NVSP_MESSAGE_BYTES        40u
#define HV_NVSP_MESSAGE_MIN_BYTES    28u
#define HV_NVSP_RECEIVE_MAX_BYTES_V2 (15u << 20) /* receive buffer limit of 1 and 2 */
#define HV_NVSP_INDIRECTION_COUNT    16u

#define HV_NDIS_VERSION_6_1  0x00060001u /* sent up to NVSP 4 */
#define HV_NDIS_VERSION_6_30 0x0006001eu /* sent from NVSP 5 */

/* Capabilities of SEND_NDIS_CONFIG. */
#define HV_NVSP_CAP_VMQ     (1ull << 0)
#define HV_NVSP_CAP_SRIOV   (1ull << 2)
#define HV_NVSP_CAP_8021Q   (1ull << 3)
#define HV_NVSP_CAP_TEAMING (1ull << 5)
#define HV_NVSP_CAP_RSC     (1ull << 7)

struct hv_nvsp_init {
    uint32_t min_version;
    uint32_t max_version;
};
struct hv_nvsp_init_complete {
    uint32_t version; /* deprecated: 2 for NVSP 1, else 0xffffffff */
    uint32_t max_mdl_chain;
    uint32_t status;
};
struct hv_nvsp_ndis_version {
    uint32_t major;
    uint32_t minor;
};
struct hv_nvsp_buffer { /* 101, 104 */
    uint32_t gpadl;
    uint16_t id;
    uint16_t reserved;
};
struct hv_nvsp_section {
    uint32_t offset;
    uint32_t sub_allocation_bytes;
    uint32_t sub_allocation_count;
    uint32_t end_offset;
};
struct hv_nvsp_receive_buffer_complete {
    uint32_t status;
    uint32_t section_count; /* every known host: 1 */
    struct hv_nvsp_section section[1];
};
struct hv_nvsp_send_buffer_complete {
    uint32_t status;
    uint32_t section_bytes;
};
struct hv_nvsp_revoke {
    uint16_t id;
    uint16_t reserved;
};
struct hv_nvsp_rndis {
    uint32_t channel_type;  /* HV_NVSP_CHANNEL_* */
    uint32_t section_index; /* HV_NVSP_SECTION_NONE = data by GPA or transfer pages */
    uint32_t section_bytes;
};
struct hv_nvsp_rndis_complete {
    uint32_t status;
};
struct hv_nvsp_ndis_config {
    uint32_t mtu; /* L3 MTU + 14 */
    uint32_t reserved;
    uint64_t capabilities;
} __attribute__((packed));
struct hv_nvsp_vf_association {
    uint32_t allocated;
    uint32_t serial;
};
struct hv_nvsp_data_path {
    uint32_t active; /* 0 synthetic, 1 VF */
};
struct hv_nvsp_subchannel_request {
    uint32_t operation; /* 1 = allocate */
    uint32_t count;
};
struct hv_nvsp_subchannel_complete {
    uint32_t status;
    uint32_t count; /* granted */
};
struct hv_nvsp_indirection {
    uint32_t count;
    uint32_t offset; /* from message start */
    uint32_t channel[HV_NVSP_INDIRECTION_COUNT];
};

struct hv_nvsp_message {
    uint32_t type; /* enum hv_nvsp_type */
    union {
        struct hv_nvsp_init init;
        struct hv_nvsp_init_complete init_complete;
        struct hv_nvsp_ndis_version ndis_version;
        struct hv_nvsp_buffer buffer;
        struct hv_nvsp_receive_buffer_complete receive_buffer_complete;
        struct hv_nvsp_send_buffer_complete send_buffer_complete;
        struct hv_nvsp_revoke revoke;
        struct hv_nvsp_rndis rndis;
        struct hv_nvsp_rndis_complete rndis_complete;
        struct hv_nvsp_ndis_config ndis_config;
        struct hv_nvsp_vf_association vf_association;
        struct hv_nvsp_data_path data_path;
        struct hv_nvsp_subchannel_request subchannel_request;
        struct hv_nvsp_subchannel_complete subchannel_complete;
        uint8_t raw[HV_NVSP_MESSAGE_BYTES - 4];
    };
};
_Static_assert(sizeof(struct hv_nvsp_message) == HV_NVSP_MESSAGE_BYTES, "NVSP message");
_Static_assert(offsetof(struct hv_nvsp_message, raw) == 4, "NVSP body");
_Static_assert(sizeof(struct hv_nvsp_receive_buffer_complete) == 24, "102");
_Static_assert(sizeof(struct hv_nvsp_ndis_config) == 16, "125");
_Static_assert(offsetof(struct hv_nvsp_ndis_config, capabilities) == 8,
               "125: at 12 of the message");

/** 134 is longer than the others. */
struct hv_nvsp_indirection_message {
    uint32_t type;
    struct hv_nvsp_indirection indirection;
};
_Static_assert(sizeof(struct hv_nvsp_indirection_message) == 76, "134");

#endif
