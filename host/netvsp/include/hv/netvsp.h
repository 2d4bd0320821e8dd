/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Network provider of the emulated Hyper-V: NICs (NVSP 1 .. 6.1, RNDIS) on a link.
 *
 *   hv_netvsp_create(host, opts)   offers a NIC to all guests; the first to open it owns it until it closes
 *   hv_netvsp_set_link() ...       from the control thread
 *   hv_netvsp_destroy()
 *
 * Links: "tap:NAME" a tap device (made when missing; checksum offload and segmentation by the kernel's virtio header),
 * "loop" every sent frame comes back, "pair:ID" two NICs of the same ID wired together, "source:BYTES" frames of that
 * size as fast as they are taken, "sink" swallows, "pcap:IN[,OUT]" replays IN and records OUT.
 */
#ifndef HV_NETVSP_H
#define HV_NETVSP_H

#include <hv/host.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hv_netvsp;

struct hv_netvsp_opts {
    size_t size;
    struct hv_log_hook log;
    struct hv_guid instance_id;  /* all zero = made from the MAC */
    const char *link;            /* see above; required */
    uint8_t mac[6];              /* all zero = made from the link's text, locally administered */
    uint16_t queues;             /* 1 .. 64; 0 = 1 */
    uint16_t max_mtu;            /* 0 = 9000 */
    uint32_t max_version;        /* HV_NVSP_VERSION_*; 0 = 6.1 */
    uint32_t send_section_bytes; /* 0 = 6144 */
    uint32_t max_packets_per_message; /* 0 = 8; up to 32 */
    uint32_t offloads_off;            /* HV_NETVSP_OFF_* */
    uint64_t link_bits_per_second;    /* 0 = 40 Gbit/s */
    bool monitored;
    const char *fault; /* as hv_storvsp: ACTION@N[,...]; NULL = none */
};
#define HV_NETVSP_OPTS_INIT                                                                        \
    {                                                                                              \
        .size = sizeof(struct hv_netvsp_opts)                                                      \
    }
#define HV_NETVSP_OFF_TX_CSUM 0x1u
#define HV_NETVSP_OFF_TSO     0x2u
#define HV_NETVSP_OFF_RX_CSUM 0x4u
#define HV_NETVSP_OFF_VLAN    0x8u
#define HV_NETVSP_OFF_RSS     0x10u

#define HV_NETVSP_WHY_BYTES 256
/** Returns 0, -EINVAL (option), -EPERM, -EBUSY, -ENOENT (link); why[] says it in a sentence. */
int hv_netvsp_create(struct hv_host *host, const struct hv_netvsp_opts *opts,
                     char why[HV_NETVSP_WHY_BYTES], struct hv_netvsp **ret_netvsp);
void hv_netvsp_destroy(struct hv_netvsp *netvsp, void (*gone)(void *arg), void *arg);
/** Administratively up or down, over the carrier of the link itself; the guest is told. */
void hv_netvsp_set_link(struct hv_netvsp *netvsp, bool up);
/** Tell the guest that a VF came or went (message 128). */
void hv_netvsp_set_vf(struct hv_netvsp *netvsp, bool present, uint32_t serial);

struct hv_netvsp_stats {
    uint64_t from_guest_packets, from_guest_bytes; /* frames */
    uint64_t to_guest_packets, to_guest_bytes;
    uint64_t from_guest_messages, to_guest_messages; /* VMBus packets that carried them */
    uint64_t signals_from_guest, signals_to_guest;
    uint64_t dropped_no_buffer, dropped_filter, dropped_bad, dropped_link;
    uint64_t segmented, checksummed;
    uint64_t control_messages;
};
void hv_netvsp_get_stats(const struct hv_netvsp *netvsp, struct hv_netvsp_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
