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
 *
 * THREADS: create, destroy, setters and queries in the host's control thread.  Frames move in the workers of the guest
 * that owns the NIC, one queue per channel.
 */
#ifndef HV_NETVSP_H
#define HV_NETVSP_H

#include <hv/host.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hv_netvsp;

#define HV_NETVSP_QUEUES_MAX  64
#define HV_NETVSP_MTU_MAX     9202 /* 9216 with the Ethernet header */
#define HV_NETVSP_MESSAGE_MAX 32   /* frames in one message of the guest */

struct hv_netvsp_opts {
    size_t size;
    struct hv_log_hook log;
    struct hv_guid instance_id;  /* all zero = made from the MAC */
    const char *link;            /* see above; required */
    uint8_t mac[6];              /* all zero = made from the link's text, locally administered */
    uint16_t queues;             /* 1 .. 64; 0 = 1 */
    uint16_t max_mtu;            /* 1500 .. 9202; 0 = 9000 */
    uint32_t max_version;        /* HV_NVSP_VERSION_*; 0 = 6.1 */
    uint32_t send_section_bytes; /* 2048 .. 65536, multiple of 64; 0 = 6144 */
    uint32_t max_packets_per_message; /* 0 = 8; up to 32 */
    uint32_t offloads_off;            /* HV_NETVSP_OFF_* */
    uint64_t link_bits_per_second;    /* 0 = 40 Gbit/s */
    bool monitored;
    const char *fault; /* see hv_netvsp_parse_fault(); NULL = none */
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

/**
 * Check a fault plan: comma-separated ACTION@N, "N+" = from the Nth on, "N/M" = the Nth and then every Mth, counted from 1
 * over all channels.  What N counts depends on the action:
 *
 *   requests of the guest that want an answer (NVSP 1, 101, 104, 131, 133; RNDIS but data and HALT)
 *     refuse         answer with a failure
 *     ignore         never answer
 *   messages with frames from the guest
 *     drop           frames sent, no completion
 *     delay:MS       ... the completion comes later
 *     repeat         ... and comes twice
 *     wrong-id       ... with an id never asked
 *     fail           frames dropped, completion says so
 *     link-flap      link down and up again
 *     bad-index      impossible write index
 *     rescind        the NIC is taken away
 *   packets of frames to the guest
 *     bad-offset     a range outside the receive buffer
 *     bad-range      a range longer than its section
 *     bad-rndis      RNDIS message longer than its range
 *     bad-data       frame that reaches beyond its message
 *     bad-ppi        per-packet information of length 0
 *     bad-buffer     another receive buffer's id
 *     bad-count      more ranges than the packet holds
 *     bad-rx-id      transaction id beyond the receive buffer
 *     rx-twice       the same packet again
 *     no-buffer      dropped as if the guest had no room
 *
 * Where several fit, the first one counts.
 *
 * @why  On failure a sentence that names the word and what is allowed.
 *
 * Returns 0 or -EINVAL.
 */
int hv_netvsp_parse_fault(const char *plan, char why[HV_NETVSP_WHY_BYTES]);

/**
 * Offer a NIC.  Options are copied.
 *
 * Returns 0, -EINVAL (option), -EPERM, -EBUSY, -ENOENT (link), -EEXIST (instance id taken), -ENOSPC (devices), -ENOMEM;
 * why[] says it in a sentence.
 */
int hv_netvsp_create(struct hv_host *host, const struct hv_netvsp_opts *opts,
                     char why[HV_NETVSP_WHY_BYTES], struct hv_netvsp **ret_netvsp);
/** Withdraws the NIC; `gone` (may be NULL) runs in the control thread when it is freed.  NULL is fine. */
void hv_netvsp_destroy(struct hv_netvsp *netvsp, void (*gone)(void *arg), void *arg);
/** Administratively up or down, over the carrier of the link itself; the guest is told. */
void hv_netvsp_set_link(struct hv_netvsp *netvsp, bool up);
/** Tell the guest that a VF came or went (message 128), now or when it can hear of it. */
void hv_netvsp_set_vf(struct hv_netvsp *netvsp, bool present, uint32_t serial);

struct hv_netvsp_state {
    uint8_t mac[6], current_mac[6]; /* permanent; as the guest set it */
    struct hv_guid instance_id;
    uint16_t queues, open_channels; /* at most; now */
    uint16_t max_mtu, mtu;          /* mtu: of the guest, 0 = none attached */
    uint32_t nvsp_version;          /* 0 = no guest attached */
    uint32_t guest_id;              /* owner, 0 = none */
    uint32_t packet_filter;
    uint64_t link_bits_per_second;
    bool link_up, carrier; /* administrative; other end of the link */
    bool rss;
    bool vf_present, vf_active; /* active: the guest moved its traffic there */
    uint32_t vf_serial;
};
void hv_netvsp_get_state(struct hv_netvsp *netvsp, struct hv_netvsp_state *ret_state);

/** Sums over all queues of all guests, those gone included. */
struct hv_netvsp_stats {
    uint64_t from_guest_packets, from_guest_bytes; /* frames */
    uint64_t to_guest_packets, to_guest_bytes;
    uint64_t from_guest_messages, to_guest_messages; /* VMBus packets that carried them */
    uint64_t signals_from_guest, signals_to_guest;
    uint64_t dropped_no_buffer; /* frames for which there was no room */
    uint64_t
        buffer_ran_dry; /* times the guest had all its receive sections; nothing is lost by that alone */
    uint64_t dropped_filter, dropped_bad, dropped_link;
    uint64_t segmented, checksummed;
    uint64_t control_messages;
    uint64_t handed_over; /* frames that came in on one queue's worker and belong to another */
};
void hv_netvsp_get_stats(struct hv_netvsp *netvsp, struct hv_netvsp_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
