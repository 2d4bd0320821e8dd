/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private: what the files of the device's control side share.  Users: hv/netvsc.h; one channel: queue.h.
 *
 *   netvsc.c       a device's life: open, close, another MTU; what it says about itself
 *   attach.c       from a closed channel to a stopped device, and back
 *   handshake.c    NVSP: version, NDIS configuration, buffers
 *   mailbox.c      what arrives on queue 0, from whichever thread; waiting for answers
 *   rndis.c        RNDIS requests
 *   oid.c          addresses, filter, link, MTU
 *   offload.c      offloads: what both sides can do, what is on
 *   rss.c          hash, key, table
 *   subchannels.c  start and stop
 *   events.c       link, VF, the end: what the program is told
 *
 * Everything runs in the control thread but the hooks of mailbox.c, which run under the lock of a queue.  They leave what
 * they find in the mailbox, under its lock, and raise an eventfd; no data-path call takes that lock.
 */
#ifndef HV_NETVSC_IMPL_H
#define HV_NETVSC_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include <hv/base/bits.h>
#include <hv/base/clock.h>
#include <hv/base/log.h>
#include <hv/netvsc.h>
#include <hv/wire/ring.h>

#include "queue.h"

#define HV_NETVSC_MS_NS       UINT64_C(1000000)
#define HV_NETVSC_ETHER_BYTES 14u
#define HV_NETVSC_MTU_MIN     68u
#define HV_NETVSC_MTU_DEFAULT 1500u
/** Largest that a known host takes, for a frame of 9216 bytes. */
#define HV_NETVSC_MTU_MAX       9202u
#define HV_NETVSC_MULTICAST_MAX 512u /* addresses: fit one control message */
#define HV_NETVSC_SEND_TABLE    HV_NVSP_INDIRECTION_COUNT

/** What the hooks found and the control thread has not looked at yet.  The latest of each kind. */
struct hv_netvsc_news {
    bool link, link_up, network_change;
    bool speed;
    uint32_t speed_100bps;
    bool vf, vf_present;
    uint32_t vf_serial;
    bool offload;
    struct hv_ndis_offload offloads;
    bool table;
    uint32_t table_channels[HV_NETVSC_SEND_TABLE];
    uint32_t late;      /* answers that nobody waits for */
    uint32_t malformed; /* messages that make no sense */
};

struct hv_netvsc_mailbox {
    pthread_mutex_t lock;
    /* One request at a time: 0 = none. */
    uint32_t want_tag; /* NVSP */
    uint32_t want_id;  /* RNDIS ... */
    uint32_t want_type;
    bool answered;
    size_t reply_bytes;
    uint8_t reply[HV_RNDIS_CONTROL_MAX] __attribute__((aligned(8)));
    struct hv_netvsc_news news;
    uint32_t nvsp_version; /* decides how a table is read */
};

/** Protocols whose sums the host can check in what it delivers. */
struct hv_netvsc_checked {
    bool ip4, tcp4, udp4, tcp6, udp6;
};

struct hv_netvsc_rss {
    bool possible;
    bool on; /* at the host */
    uint16_t max_queues, table_entries;
    uint32_t possible_types;
    /* as wanted */
    uint32_t types;
    bool own_types, own_table; /* set by the program, not by us */
    uint16_t table[HV_NETVSC_RSS_TABLE];
    uint8_t key[HV_NETVSC_RSS_KEY];
};

struct hv_netvsc {
    struct hv_vmbus *bus;
    struct hv_guid instance;
    struct hv_netvsc_opts opts; /* defaults filled in */

    /* One attachment: from an open channel to its close. */
    struct hv_nq_device *device;
    struct hv_channel *channels[HV_NETVSC_QUEUES_MAX];
    struct hv_netvsc_queue *queues[HV_NETVSC_QUEUES_MAX];
    uint16_t open_count;   /* channels */
    uint16_t queue_count;  /* of the latest start; 1 before */
    uint16_t shared_among; /* queues that have their share of the buffers; 0 = none yet */
    uint16_t asked_subs;   /* sub-channels asked for in this attachment */
    uint16_t granted_subs; /* of these */
    bool told_receive, told_send, rndis_up;
    bool running;
    bool watched; /* channel 0 is in the wait descriptor */
    uint32_t nvsp_version, ndis_version;
    uint32_t next_tag, next_id;
    uint32_t multicast_max; /* addresses that the host takes */

    /* What holds over a new attachment. */
    uint16_t mtu;
    uint8_t mac[6];
    bool own_mac; /* set by the program */
    uint32_t filter;
    uint8_t multicast[HV_NETVSC_MULTICAST_MAX][6];
    size_t multicast_count;
    struct hv_netvsc_rss rss;
    uint32_t offloads_possible, offloads_wanted;
    bool own_offloads;
    struct hv_netvsc_checked rx_checked;
    uint32_t tso_max_bytes;
    uint16_t send_table[HV_NETVSC_SEND_TABLE];

    /* Events. */
    bool link_up, link_told; /* as the host says; as the program knows */
    bool renew;              /* down and up must be told, for another network */
    uint64_t link_quiet_ns;  /* no link event is told before */
    uint64_t link_bits_per_second;
    bool vf_present, vf_told, data_path_due;
    uint32_t vf_serial, vf_serial_told;
    bool dead_told, telling;

    int wait_fd;  /* epoll of the following, of the bus, and of channel 0 while nobody polls it */
    int wake_fd;  /* eventfd: mail */
    int timer_fd; /* a link event is due */
    struct hv_netvsc_mailbox mail;
    _Atomic int status; /* any thread */
};

/* ---- attach.c ---- */

/** Open the channel and make a stopped device of it.  Nothing is left after a failure. */
int hv_netvsc_attach(struct hv_netvsc *n);
/** Undo it, from whatever state.  Stopped.  Queue 0 is detached and still there: the caller's to destroy. */
void hv_netvsc_detach(struct hv_netvsc *n);
/** Attach anew; queue 0 becomes another one on success.  Frames are held: -EBUSY.  After a failure nothing is attached. */
int hv_netvsc_reattach(struct hv_netvsc *n);
/** The program has not given all frames back. */
bool hv_netvsc_holds_frames(struct hv_netvsc *n);
int hv_netvsc_open_channel(struct hv_netvsc *n, uint16_t index);
/** Have channel 0 wake the wait descriptor, or not. */
int hv_netvsc_watch(struct hv_netvsc *n, bool wanted);

/* ---- handshake.c ---- */

int hv_netvsc_nvsp_init(struct hv_netvsc *n);
/** Take the buffers back, as far as the host was told of them. */
void hv_netvsc_nvsp_revoke(struct hv_netvsc *n);

/* ---- mailbox.c ---- */

void hv_netvsc_mail_init(struct hv_netvsc_mailbox *mail);
void hv_netvsc_set_hooks(struct hv_netvsc *n, struct hv_nq_device *device);
uint64_t hv_netvsc_deadline(const struct hv_netvsc *n);
/** One round of queue 0 and the bus; notices death. */
int hv_netvsc_look(struct hv_netvsc *n);
/** Sleep until there is something to look at; at most until `deadline_ns`.  -ETIMEDOUT when that is over. */
int hv_netvsc_sleep(struct hv_netvsc *n, uint64_t deadline_ns);
/** Send an NVSP message, waiting for room.  No answer is asked for. */
int hv_netvsc_nvsp_post(struct hv_netvsc *n, const struct hv_nvsp_message *message);
/** The same, and wait for the answer: zeroes behind its end.  0, -ETIMEDOUT, or the device's death. */
int hv_netvsc_nvsp_ask(struct hv_netvsc *n, const struct hv_nvsp_message *message,
                       struct hv_nvsp_message *ret_reply, size_t *ret_bytes);
/** An RNDIS message; `ask` waits for the answer to its request id, and leaves it in n->mail.reply. */
int hv_netvsc_control_post(struct hv_netvsc *n, const void *message, size_t bytes);
int hv_netvsc_control_ask(struct hv_netvsc *n, const void *message, size_t bytes,
                          size_t *ret_bytes);
/** Take the news out of the mailbox. */
void hv_netvsc_take_news(struct hv_netvsc *n, struct hv_netvsc_news *ret_news);
/** Make the wait descriptor readable.  Any thread. */
void hv_netvsc_wake(struct hv_netvsc *n);
/** The first reason stays.  Any thread. */
void hv_netvsc_mark_dead(struct hv_netvsc *n, int error);

/* ---- rndis.c ---- */

int hv_netvsc_rndis_init(struct hv_netvsc *n);
/** Say goodbye; the host does not answer. */
void hv_netvsc_rndis_halt(struct hv_netvsc *n);
/**
 * Ask for an OID: `in` goes along (may be NULL).  Between min_bytes and max_bytes of the answer come out, zeroes behind.
 * 0, -EOPNOTSUPP (the host does not know it), -EIO (refused), -EPROTO (too short, malformed), or as an ask.
 */
int hv_netvsc_query(struct hv_netvsc *n, uint32_t oid, const void *in, size_t in_bytes, void *ret,
                    size_t min_bytes, size_t max_bytes);
/** 0, -EOPNOTSUPP, -ENOSPC (multicast list full), -EIO, -EPROTO, or as an ask. */
int hv_netvsc_set(struct hv_netvsc *n, uint32_t oid, const void *data, size_t bytes);

/* ---- oid.c ---- */

/** Addresses, MTU, link: what the host says about the NIC. */
int hv_netvsc_query_all(struct hv_netvsc *n);
/** Settings of the program, after a new attachment. */
int hv_netvsc_restore(struct hv_netvsc *n);
int hv_netvsc_send_filter(struct hv_netvsc *n, uint32_t filter);

/* ---- offload.c ---- */

int hv_netvsc_offload_init(struct hv_netvsc *n);
/** The host says what is on: use nothing else. */
void hv_netvsc_offload_current(struct hv_netvsc *n, const struct hv_ndis_offload *current);

/* ---- rss.c ---- */

void hv_netvsc_rss_defaults(struct hv_netvsc_rss *rss);
int hv_netvsc_rss_query(struct hv_netvsc *n);
/** Off, then on as wanted, for n->queue_count queues. */
int hv_netvsc_rss_apply(struct hv_netvsc *n);

/* ---- subchannels.c ---- */

/** Queues that a start can have at most, as far as is known. */
uint16_t hv_netvsc_max_queues(const struct hv_netvsc *n);

/* ---- events.c ---- */

/** Digest the news. */
void hv_netvsc_digest(struct hv_netvsc *n);
/**
 * End of everything that the program calls: run its callback for what it does not know, and, while nobody polls queue 0,
 * have its channel wake the wait descriptor.
 */
void hv_netvsc_tell(struct hv_netvsc *n);

#endif
