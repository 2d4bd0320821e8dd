/* SPDX-License-Identifier: BSD-3-Clause */
/* What a NIC keeps of its guest: rules, ports, the session and its queues.  Who may touch what: netvsp_impl.h. */
#ifndef HV_NETVSP_TYPES_H
#define HV_NETVSP_TYPES_H

#include <pthread.h>
#include <stdatomic.h>

#include <hv/base/bits.h>
#include <hv/base/log.h>
#include <hv/netvsp.h>
#include <hv/ring.h>
#include <hv/wire/ndis.h>
#include <hv/wire/nvsp.h>
#include <hv/wire/rndis.h>

#include "handover.h"
#include "link.h"
#include "netvsp_fault.h"
#include "toeplitz.h"

#define HV_NETVSP_ETHERNET_BYTES 14u
#define HV_NETVSP_TAG_BYTES      4u
#define HV_NETVSP_MTU            1500u
#define HV_NETVSP_CONTROL_BYTES  512u /* longest control message to the guest */
#define HV_NETVSP_CONTROL_QUEUE  64u  /* such messages that wait for room */
#define HV_NETVSP_MULTICASTS     64u
#define HV_NETVSP_PACKETS        64u /* taken per poll, so that completions are not kept waiting */
#define HV_NETVSP_FRAMES         128u
#define HV_NETVSP_PIECES         512u
#define HV_NETVSP_PIECES_MAX     72u /* of one message: 64 KiB by page, and headers */
#define HV_NETVSP_RANGES         375u
#define HV_NETVSP_DELAYED        256u
#define HV_NETVSP_NONE           UINT32_MAX

/* Receive sections, see netvsp_rx.c. */
#define HV_NETVSP_CONTROL_SECTIONS 16u
#define HV_NETVSP_HEADROOM_BYTES   128u
#define HV_NETVSP_TAIL_BYTES       36u

/** Counters with one writer; other threads may read them at any time. */
struct hv_netvsp_counters {
    _Atomic uint64_t from_packets, from_bytes, from_messages;
    _Atomic uint64_t to_packets, to_bytes, to_messages;
    _Atomic uint64_t no_buffer, dry, filter, bad, link, control, handed_over;
    _Atomic uint64_t signals_from, signals_to;
};

static inline void hv_netvsp_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/** What the guest wants to receive; each queue has a copy. */
struct hv_netvsp_rules {
    uint32_t filter; /* HV_FILTER_* */
    uint8_t mac[6];
    uint16_t multicast_count;
    uint8_t multicast[HV_NETVSP_MULTICASTS][6];
    bool checksums; /* are reported */
    bool link_up;
};

/** Which queue a frame goes to. */
struct hv_netvsp_steering {
    bool on;
    uint32_t hash_types;
    uint16_t mask; /* entries of the table - 1 */
    uint8_t table[HV_NDIS_RSS_TABLE_MAX];
    uint8_t key[HV_NDIS_RSS_KEY_BYTES];
    struct hv_toeplitz toeplitz; /* made from the key */
};

struct hv_netvsp_queue;

struct hv_netvsp_port {
    struct hv_handover *handover;
    int event_fd;
    _Atomic bool kicked;    /* something changed; set after event_fd was written */
    _Atomic bool open;      /* takes frames */
    _Atomic uint32_t flaps; /* of port 0: the fault plan wants the link down and up again */
    /* under lock */
    struct hv_netvsp_queue *queue;  /* of the channel of this number */
    struct hv_netvsp_queue *poller; /* who polls the link's queue */
    bool wanted;                    /* by `queue`, while the primary still polls it */
};

enum hv_netvsp_phase {
    HV_NETVSP_PHASE_VERSION, /* before an INIT that was accepted */
    HV_NETVSP_PHASE_SETUP,   /* 100, 101, 104, 125 */
    HV_NETVSP_PHASE_RNDIS,   /* RNDIS INITIALIZE came */
    HV_NETVSP_PHASE_REVOKED, /* the guest takes its buffers back: the end */
};

struct hv_netvsp_control {
    uint32_t bytes;
    uint8_t data[HV_NETVSP_CONTROL_BYTES];
};

struct hv_netvsp_buffer {
    uint8_t *address; /* NULL = none */
    uint32_t gpadl;
    uint16_t id;
    uint32_t section_bytes, section_count;
};

/** Primary's worker, except where said. */
struct hv_netvsp_session {
    uint32_t guest_id;
    enum hv_netvsp_phase phase;
    uint32_t version;      /* HV_NVSP_VERSION_* */
    uint32_t ndis_version; /* 0 = not told */
    uint64_t capabilities;
    bool configured;
    uint16_t mtu;
    uint32_t frame_bytes_max; /* with a tag */
    struct hv_netvsp_buffer receive, send;
    _Atomic bool operational; /* RNDIS is initialised: data may come */
    _Atomic bool revoked;     /* no queue may touch the buffers any more */
    uint16_t granted;         /* sub-channels */
    bool table_told;          /* message 134 */
    struct hv_ndis_offload_params offloads;
    /* receive sections; an entry is its owner's */
    uint32_t *next_section; /* in the same packet */
    uint8_t *section_state; /* 0 = here, else with the guest: number of the queue + 1 */
    uint32_t *share[HV_NETVSP_QUEUES_MAX]; /* sections of each sub-channel's queue */
    uint32_t share_count[HV_NETVSP_QUEUES_MAX];
    /* control messages to the guest */
    struct hv_netvsp_control *out; /* HV_NETVSP_CONTROL_QUEUE */
    uint32_t out_head, out_tail;
    uint16_t control_free; /* bit per control section */
    bool told_link, told_vf;
    uint32_t told_vf_serial;
    /* under lock */
    unsigned users; /* sub-channels' queues that may touch the buffers */
};

struct hv_netvsp_delayed {
    uint64_t due_ns; /* 0 = unused */
    uint64_t trans_id;
    uint32_t status;
};

struct hv_netvsp_done {
    uint64_t trans_id;
    uint32_t status;
    const struct hv_netvsp_fault_rule *fault;
};

struct hv_netvsp_queue {
    struct hv_netvsp *nic;
    struct hv_netvsp_session *session;
    struct hv_host_channel *channel;
    struct hv_netvsp_port *port;
    uint16_t index;
    uint16_t polled_count;
    uint8_t polled[HV_NETVSP_QUEUES_MAX]; /* ports */
    bool closing, dead, held, unreleased, unpublished, detached, signals_stale;
    bool short_of_room;     /* ring space towards the guest */
    bool short_of_sections; /* receive sections */
    bool was_short;
    uint32_t room; /* ring bytes that are free at least */
    uint32_t message_bytes;
    uint16_t offer_sub_channels;
    bool handover_armed;
    bool tags_aside; /* the guest takes VLAN tags beside the frame */
    bool told_due;   /* perhaps there is something to tell */
    struct hv_netvsp_rules rules;
    uint64_t steering_serial; /* of the copy */
    struct hv_netvsp_steering steering;

    /* from the guest */
    uint32_t frame_count, piece_count, done_count;
    uint32_t ahead; /* packets looked at, not taken yet */
    struct hv_frame frames[HV_NETVSP_FRAMES];
    struct iovec pieces[HV_NETVSP_PIECES];
    struct hv_netvsp_done done[HV_NETVSP_PACKETS];

    /* to the guest */
    uint32_t *sections; /* free ones, first in, first out */
    uint32_t section_mask, section_head, section_tail;
    uint32_t range_count, chain_head, chain_tail;
    struct hv_transfer_range ranges[HV_NETVSP_RANGES];

    struct hv_netvsp_delayed *delayed; /* NULL without delays */
    uint32_t delayed_count;
    int timer_fd;
    struct hv_netvsp_counters counters;
};

#endif
