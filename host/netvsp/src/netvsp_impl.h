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

#include "netvsp_types.h"

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
/** A packet that is going to be taken soon. */
void hv_netvsp_prefetch(const struct hv_netvsp_queue *q, const struct hv_packet *packet);
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
/** About to sleep without wanting frames. */
void hv_netvsp_rx_mute(struct hv_netvsp_queue *q);
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
