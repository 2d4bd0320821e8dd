/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A NIC between a guest and a link (link.h).
 *
 *   hv_netvsp  1 --- 0..1  session        the guest that owns it, from open to close of the primary
 *      |  1                   | 1
 *      n                      n
 *    port  0..n --- 1      queue          one per channel, served by one worker
 *
 * A port is what outlives guests: a queue of the link, where other workers leave frames for the queue of that number, and
 * how it is woken.  A queue polls its own port; the primary polls those whose channel is not open.
 *
 * THREADS.  A queue belongs to one worker.  What several of them see is changed under nic->lock by whoever changes it
 * (the primary's worker for what the guest sets, the control thread for what the owner sets), then the ports are kicked:
 * a queue that finds itself kicked copies what it needs (hv_netvsp_attend) before it goes on.  No lock per frame or burst.
 */
#ifndef HV_NETVSP_IMPL_H
#define HV_NETVSP_IMPL_H

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

struct hv_netvsp {
    struct hv_log_hook log;
    struct hv_host *host;
    struct hv_host_device *device;
    struct hv_link *link;
    struct hv_netvsp_fault_plan *fault; /* NULL = none */
    uint8_t mac[6];
    struct hv_guid instance_id;
    uint16_t queues, max_mtu;
    uint32_t max_version, send_section_bytes, max_packets_per_message, offloads_off;
    uint64_t link_bits_per_second;
    _Atomic bool carrier;
    _Atomic uint64_t unowned_drops; /* frames for a NIC that no guest has open */
    struct hv_netvsp_port *ports;   /* queues of them */
    _Atomic uint16_t open_count;
    pthread_mutex_t lock;
    /* under lock */
    struct hv_netvsp_session *session;
    struct hv_netvsp_rules rules;
    struct hv_netvsp_steering steering;
    uint64_t steering_serial;
    bool link_up; /* administrative */
    bool vf_present, vf_active;
    uint32_t vf_serial;
    struct hv_netvsp_stats past; /* of closed channels */
    void (*gone)(void *arg);
    void *gone_arg;
};

/** Copy of what the guest may change meanwhile; the compiler must not look again. */
static inline void hv_netvsp_snapshot(void *to, const void *from, size_t bytes)
{
    __builtin_memcpy(to, from, bytes);
    __asm__ volatile("" ::: "memory");
}

static inline bool hv_netvsp_can_offload(const struct hv_netvsp *nic, uint32_t what)
{
    return !(nic->offloads_off & what);
}

/* netvsp.c */
void hv_netvsp_kick(struct hv_netvsp_port *port);
/** Under lock. */
void hv_netvsp_kick_all(struct hv_netvsp *nic);
void hv_netvsp_add_stats(struct hv_netvsp_stats *sum, const struct hv_netvsp_queue *q);

/* netvsp_session.c: a guest comes and goes */
int hv_netvsp_open(void *device_ctx, struct hv_host_channel *channel, const void *user_data,
                   size_t user_data_bytes, void **ret_ctx);
void hv_netvsp_close(void *ctx);
/** Something changed: copy what concerns this queue. */
void hv_netvsp_attend(struct hv_netvsp_queue *q);
/** The guest revoked a buffer: nobody touches either from now on. */
void hv_netvsp_revoke(struct hv_netvsp_queue *q);
/** Under lock: the rules changed. */
void hv_netvsp_publish_rules(struct hv_netvsp *nic);

/* netvsp_channel.c: poll */
int hv_netvsp_poll(void *ctx);
bool hv_netvsp_arm(void *ctx);
/** Is there ring space for `bytes` more besides everything that is promised? */
bool hv_netvsp_has_room(struct hv_netvsp_queue *q, uint32_t bytes);
/** Reserve out of that.  False: the guest broke the ring. */
bool hv_netvsp_reserve(struct hv_netvsp_queue *q, const struct hv_packet_desc *desc,
                       struct hv_packet_slot *ret_slot);
/** The fault plan on a request.  True = it is never answered; *ret_refuse = answer with a failure. */
bool hv_netvsp_fault_request(struct hv_netvsp_queue *q, bool *ret_refuse);
/** The guest broke the protocol. */
void hv_netvsp_broken(struct hv_netvsp_queue *q, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* netvsp_nvsp.c: everything but 107; primary only */
void hv_netvsp_control_message(struct hv_netvsp_queue *q, const struct hv_packet *packet,
                               const struct hv_nvsp_message *message, uint32_t bytes);
/** Messages of our own that are due: 128, 134. */
void hv_netvsp_tell(struct hv_netvsp_queue *q);

/* netvsp_rndis.c: control messages; primary only */
/** A whole message, a private copy.  False: it made no sense. */
bool hv_netvsp_rndis_control(struct hv_netvsp_queue *q, const uint8_t *message, uint32_t bytes);
/** A status indication. */
void hv_netvsp_indicate(struct hv_netvsp_queue *q, uint32_t status, const void *buffer,
                        uint32_t bytes);
/** Link changes that the guest does not know of yet. */
void hv_netvsp_indicate_link(struct hv_netvsp_queue *q);
/** Put waiting control messages into the ring.  Returns how many. */
int hv_netvsp_send_control(struct hv_netvsp_queue *q);

/* netvsp_oid.c.  Return an RNDIS status; `reply` holds HV_NETVSP_CONTROL_BYTES less the header. */
uint32_t hv_netvsp_oid_query(struct hv_netvsp_queue *q, uint32_t oid, const uint8_t *in,
                             uint32_t in_bytes, uint8_t *reply, uint32_t *ret_bytes);
uint32_t hv_netvsp_oid_set(struct hv_netvsp_queue *q, uint32_t oid, const uint8_t *in,
                           uint32_t in_bytes);

/* netvsp_task.c: offloads and RSS, the same way */
uint32_t hv_netvsp_query_offloads(struct hv_netvsp_queue *q, const uint8_t *in, uint32_t in_bytes,
                                  bool current, uint8_t *reply, uint32_t *ret_bytes);
uint32_t hv_netvsp_set_offloads(struct hv_netvsp_queue *q, const uint8_t *in, uint32_t in_bytes);
uint32_t hv_netvsp_query_rss(struct hv_netvsp_queue *q, uint8_t *reply, uint32_t *ret_bytes);
uint32_t hv_netvsp_set_rss(struct hv_netvsp_queue *q, const uint8_t *in, uint32_t in_bytes);
void hv_netvsp_default_offloads(struct hv_netvsp_queue *q);

/* netvsp_tx.c: frames from the guest */
void hv_netvsp_take_rndis(struct hv_netvsp_queue *q, const struct hv_packet *packet,
                          const struct hv_nvsp_rndis *rndis);
/** Hand what was taken to the link, then promise nothing more: completions. */
void hv_netvsp_finish_taken(struct hv_netvsp_queue *q);
int hv_netvsp_run_delayed(struct hv_netvsp_queue *q);

/* netvsp_rx.c: frames to the guest */
/** 102: geometry of the receive buffer, free lists.  0 or -ENOMEM. */
int hv_netvsp_rx_setup(struct hv_netvsp_queue *q);
/** Free list of a queue over `count` sections; `ids` NULL = from `first` on. */
int hv_netvsp_rx_take_sections(struct hv_netvsp_queue *q, const uint32_t *ids, uint32_t first,
                               uint32_t count, uint32_t capacity);
/** Set a share of the primary's free sections aside for sub-channels `from` .. `to`. */
int hv_netvsp_rx_split(struct hv_netvsp_queue *q, uint16_t from, uint16_t to);
void hv_netvsp_rx_completed(struct hv_netvsp_queue *q, uint64_t trans_id);
/** Ring bytes promised to the frames that were placed. */
uint32_t hv_netvsp_rx_promised(const struct hv_netvsp_queue *q);
void hv_netvsp_rx_flush(struct hv_netvsp_queue *q);
int hv_netvsp_rx_poll(struct hv_netvsp_queue *q);
/** About to sleep: is there something that can be delivered? */
bool hv_netvsp_rx_arm(struct hv_netvsp_queue *q);
/** Header of a transfer-page packet. */
void hv_netvsp_fill_transfer(const struct hv_netvsp_queue *q, const struct hv_packet_slot *slot,
                             uint32_t channel_type, const struct hv_transfer_range *ranges,
                             uint32_t count);

/* netvsp_steer.c: what the link delivers */
uint16_t hv_netvsp_deliver(void *arg, int from_queue, int to_queue, const struct hv_frame *frames,
                           uint16_t count);
/** Frames that other workers left for this queue.  Returns how many. */
int hv_netvsp_take_handover(struct hv_netvsp_queue *q);

/** What RSS found out about a frame. */
struct hv_netvsp_hash {
    uint32_t value;
    uint32_t type; /* HV_NDIS_HASH_*, 0 = none */
};
/** netvsp_rx.c: into the receive buffer, or dropped by a rule.  False: no room now. */
bool hv_netvsp_rx_place(struct hv_netvsp_queue *q, const struct hv_frame *frame,
                        struct hv_netvsp_hash hash);

#endif
