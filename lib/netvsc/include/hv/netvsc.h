/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libnetvsc: a VMBus network device in poll mode (NVSP 6.1 .. 1, RNDIS), without DPDK.
 *
 *   hv_netvsc_open(bus, instance)         primary channel, NVSP, buffers, RNDIS: stopped, nothing is received
 *     hv_netvsc_get_info()                MAC, MTU limits, what the host can do
 *     hv_netvsc_start(queues)             sub-channels, RSS, packet filter
 *       hv_netvsc_get_queue(0 .. n-1)     one per channel: a receive side and a transmit side
 *         rx_burst -> look at frames in place -> rx_done
 *         tx_burst (copies or takes) ... tx_reap
 *     hv_netvsc_stop()                    filter 0, quiet; channels stay for another start
 *   hv_netvsc_close()
 *
 * THREADS: open, start, stop, close and all settings in one thread at a time, the control thread of the bus.  It talks to
 * the host through queue 0, which others may be polling meanwhile.  A queue's receive side and its transmit side may each
 * be polled by a thread of its own.  They share one channel, so each burst holds the channel's lock while it touches the
 * ring: one uncontended atomic exchange a burst when one thread has both.
 *
 * TRUST: the eleven checks of docs/wire.md "Network validation".  A violation drops the frame, or kills the channel where
 * that table says so, and is counted by cause.
 */
#ifndef HV_NETVSC_H
#define HV_NETVSC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <hv/vmbus.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hv_netvsc;
struct hv_netvsc_queue;

#define HV_NETVSC_QUEUES_MAX   64
#define HV_NETVSC_RSS_TABLE    128
#define HV_NETVSC_RSS_KEY      40
#define HV_NETVSC_SEGMENTS_MAX 31 /* of one frame: and the RNDIS header, 32 ranges */

enum hv_netvsc_event {
    HV_NETVSC_LINK_UP,
    HV_NETVSC_LINK_DOWN,
    HV_NETVSC_VF_ADDED, /* serial in info */
    HV_NETVSC_VF_REMOVED,
    HV_NETVSC_DEAD, /* taken away, host gone, protocol broken: stop polling, close */
};

struct hv_netvsc_opts {
    size_t size;
    struct hv_log_hook log;
    uint32_t max_version;       /* HV_NVSP_VERSION_*; 0 = 6.1 */
    uint16_t mtu;               /* 0 = 1500 */
    uint16_t max_queues;        /* that start() may ask for; 0 = 1 */
    uint32_t ring_bytes;        /* each direction, control page included; 0 = 1 MiB */
    uint32_t receive_bytes;     /* receive buffer; 0 = 31 MiB (15 MiB for NVSP 1 and 2) */
    uint32_t send_bytes;        /* send buffer; 0 = 16 MiB */
    uint32_t tx_copy_bytes;     /* frames up to this are copied into a section; 0 = 2048 */
    uint32_t aggregate_packets; /* frames in one message; 0 = what the host allows, 1 = off */
    uint32_t timeout_ms;        /* of each answer; 0 = 10,000 */
    uint32_t link_debounce_ms;  /* after a link event no other comes so long; 0 = 2,000 */
    /** From hv_netvsc_poll_control() and from settings; never from a burst.  May be NULL. */
    void (*event)(void *arg, enum hv_netvsc_event event);
    void *event_arg;
};
#define HV_NETVSC_OPTS_INIT                                                                        \
    {                                                                                              \
        .size = sizeof(struct hv_netvsc_opts)                                                      \
    }

/* Offloads. */
#define HV_NETVSC_TX_IP_CSUM 0x0001u
#define HV_NETVSC_TX_TCP4    0x0002u
#define HV_NETVSC_TX_UDP4    0x0004u
#define HV_NETVSC_TX_TCP6    0x0008u
#define HV_NETVSC_TX_UDP6    0x0010u
#define HV_NETVSC_TX_TSO4    0x0020u
#define HV_NETVSC_TX_TSO6    0x0040u
#define HV_NETVSC_TX_VLAN    0x0080u
#define HV_NETVSC_RX_CSUM    0x0100u
#define HV_NETVSC_RX_VLAN    0x0200u
#define HV_NETVSC_RX_HASH    0x0400u

struct hv_netvsc_info {
    uint8_t mac[6];
    bool link_up;
    bool vf_present;
    uint32_t vf_serial;
    uint32_t nvsp_version;
    uint32_t ndis_version;
    uint64_t link_bits_per_second;
    uint16_t mtu, max_mtu;
    uint16_t max_queues; /* smaller of the host's and opts.max_queues; 1 below NVSP 5 */
    uint16_t rss_table_entries;
    uint32_t rss_hash_types;    /* HV_NDIS_HASH_* that the host can do */
    uint32_t offloads_possible; /* HV_NETVSC_TX_*, RX_* */
    uint32_t offloads;          /* switched on */
    uint32_t tso_max_bytes;
    uint32_t receive_sections, receive_section_bytes;
    uint32_t send_sections, send_section_bytes;
    uint32_t max_packets_per_message, packet_align_bytes;
    uint16_t send_table[16]; /* queue that the host wants hash & 15 on; 0 until it says so */
};

/**
 * Open a network device and learn what it can do.  All offloads that host and library know are switched on.
 * Returns 0, -EINVAL (opts), -ENODEV (no such device, taken away, host gone), -EBUSY, -EPROTONOSUPPORT (no version in
 * common), -EPROTO (the host's answers make no sense), -EIO (it refused a step), -ETIMEDOUT, -ENOMEM, or as
 * hv_channel_open() and hv_channel_share().  Nothing is left after a failure.
 */
int hv_netvsc_open(struct hv_vmbus *bus, const struct hv_guid *instance,
                   const struct hv_netvsc_opts *opts, struct hv_netvsc **ret_netvsc);
/**
 * NULL and a running device are fine.  Frames still held (hv_netvsc_rx_hold) become invalid; cookies that did not come
 * back are lost, their memory is not used any more.  Queues must not be polled meanwhile.
 */
void hv_netvsc_close(struct hv_netvsc *netvsc);
void hv_netvsc_get_info(const struct hv_netvsc *netvsc, struct hv_netvsc_info *ret_info);

/**
 * Open `queues` channels, RSS over them, receive.  The host may grant fewer: *ret_queues.  Another number of queues than
 * last time divides the buffers anew, and more than ever before attaches anew; both need that no frame is held.
 * Errors as open; -EINVAL (0, more than opts.max_queues), -EALREADY, -EBUSY (frames are held).
 */
int hv_netvsc_start(struct hv_netvsc *netvsc, uint16_t queues, uint16_t *ret_queues);
/**
 * No frame arrives after it returned, no memory of a tx is in use.  Queues must not be polled meanwhile.  Held frames stay
 * valid, cookies can still be reaped, sub-channels wait for the next start.  Stopped already: fine.
 * 0, or why the device is dead: a host that does not let go in time makes it so, and only close gives the memory back.
 */
int hv_netvsc_stop(struct hv_netvsc *netvsc);
/**
 * Stopped only and no frame held (-EBUSY), cookies reaped: attach anew with another MTU, all settings kept.
 * -EINVAL outside 68 .. max_mtu, or when the host allows less; on failure the old one is back, or the device is dead.
 */
int hv_netvsc_set_mtu(struct hv_netvsc *netvsc, uint16_t mtu);
int hv_netvsc_set_mac(struct hv_netvsc *netvsc, const uint8_t mac[6]);
/** HV_FILTER_* of hv/wire/rndis.h; in force while started.  The default is directed, all-multicast and broadcast. */
int hv_netvsc_set_filter(struct hv_netvsc *netvsc, uint32_t filter);
/** -ENOSPC: more than the host takes; ask for all-multicast then. */
int hv_netvsc_set_multicast(struct hv_netvsc *netvsc, const uint8_t (*macs)[6], size_t count);
/**
 * table: 128 queue numbers, NULL = keep; key: 40 bytes, NULL = keep; hash_types HV_NDIS_HASH_*, 0 = RSS off (everything
 * comes to queue 0).  Kept over stop and start.  -EINVAL (a queue that is not there), -EOPNOTSUPP (hash types).
 */
int hv_netvsc_set_rss(struct hv_netvsc *netvsc, uint32_t hash_types, const uint16_t *table,
                      const uint8_t *key);
void hv_netvsc_get_rss(const struct hv_netvsc *netvsc, uint32_t *ret_hash_types,
                       uint16_t table[HV_NETVSC_RSS_TABLE], uint8_t key[HV_NETVSC_RSS_KEY]);
/** HV_NETVSC_TX_*, RX_* wanted; -EOPNOTSUPP: one of them is not possible. */
int hv_netvsc_set_offloads(struct hv_netvsc *netvsc, uint32_t offloads);
/** Ask the host whether it is alive (RNDIS keepalive).  0, -ETIMEDOUT, -ENODEV, -EPROTO. */
int hv_netvsc_keepalive(struct hv_netvsc *netvsc);
/**
 * Wait descriptor: readable when hv_netvsc_poll_control() has work.  It also watches the bus: who uses it need not poll
 * the bus.  It stays the same over stop, start and set_mtu.
 */
int hv_netvsc_fd(const struct hv_netvsc *netvsc);
/** Link changes, VF messages, loss of the device; runs the event callback.  Never blocks.  0 or hv_netvsc_status(). */
int hv_netvsc_poll_control(struct hv_netvsc *netvsc);
/** 0 while alive, else -ENODEV or -EPROTO.  Any thread. */
int hv_netvsc_status(const struct hv_netvsc *netvsc);

uint16_t hv_netvsc_queue_count(const struct hv_netvsc *netvsc);
/** The same handle until another start or set_mtu; queue 0 is there always.  NULL: no such queue. */
struct hv_netvsc_queue *hv_netvsc_get_queue(struct hv_netvsc *netvsc, uint16_t index);

/* ---- Receive side: one thread at a time ---- */

#define HV_NETVSC_RX_IP_OK    0x01u
#define HV_NETVSC_RX_IP_BAD   0x02u
#define HV_NETVSC_RX_L4_OK    0x04u
#define HV_NETVSC_RX_L4_BAD   0x08u
#define HV_NETVSC_RX_HAS_VLAN 0x10u
#define HV_NETVSC_RX_HAS_HASH 0x20u

/** One Ethernet frame, in the receive buffer; a host that lies may rewrite it at any moment. */
struct hv_netvsc_frame {
    const uint8_t *data;
    uint32_t bytes;
    uint32_t flags; /* HV_NETVSC_RX_* */
    uint32_t hash;
    uint16_t vlan_tci; /* priority 13-15, CFI 12, id 0-11 */
    uint16_t reserved;
    uint32_t hold; /* token for rx_hold; below receive_sections */
};
/**
 * Up to `max` frames.  They lie in the receive buffer until hv_netvsc_rx_done(), which must come before the next burst.
 * 0 when there is none or the device is dead: hv_netvsc_status().
 */
uint16_t hv_netvsc_rx_burst(struct hv_netvsc_queue *queue, struct hv_netvsc_frame *frames,
                            uint16_t max);
/**
 * Keep a frame of this burst beyond rx_done.  True: it stays valid until hv_netvsc_rx_release(frame->hold).  False: so
 * many are kept that the host would run dry; copy it.
 */
bool hv_netvsc_rx_hold(struct hv_netvsc_queue *queue, const struct hv_netvsc_frame *frame);
/** Exactly once for each frame held.  Any thread, lock-free; it goes back to the host at a later burst or reap. */
void hv_netvsc_rx_release(struct hv_netvsc_queue *queue, uint32_t hold);
/** Frames of the burst that are not held go back to the host. */
void hv_netvsc_rx_done(struct hv_netvsc_queue *queue);
/**
 * Descriptor to sleep on between arm (true: do not sleep) and disarm; the same for the queue's life.  It also wakes when
 * another thread, sending or changing settings, took a frame out of the ring.
 */
int hv_netvsc_rx_fd(const struct hv_netvsc_queue *queue);
bool hv_netvsc_rx_arm(struct hv_netvsc_queue *queue);
void hv_netvsc_rx_disarm(struct hv_netvsc_queue *queue);
/** Frames known to wait, at least. */
uint32_t hv_netvsc_rx_pending(struct hv_netvsc_queue *queue);

/* ---- Transmit side: one thread at a time ---- */

#define HV_NETVSC_TX_FLAG_IPV4    0x01u
#define HV_NETVSC_TX_FLAG_IPV6    0x02u
#define HV_NETVSC_TX_FLAG_IP_CSUM 0x04u
#define HV_NETVSC_TX_FLAG_TCP     0x08u /* checksum; the frame holds the pseudo-header sum */
#define HV_NETVSC_TX_FLAG_UDP     0x10u /* the same */
#define HV_NETVSC_TX_FLAG_TSO                                                                      \
    0x20u /* the TCP field holds the pseudo-header sum without length; what else NDIS wants of the headers is done in a copy */
#define HV_NETVSC_TX_FLAG_VLAN 0x40u
#define HV_NETVSC_TX_FLAG_COPY                                                                     \
    0x80u /* the memory is not DMA memory, or is wanted back at once: copy (up to MTU and headers), or refuse */

/** One frame to send.  The first piece stands here; `more` names the others. */
struct hv_netvsc_tx {
    const void *data;
    uint32_t data_bytes; /* of the first piece */
    uint32_t bytes;      /* of the whole frame */
    const struct iovec *more;
    uint16_t more_count; /* together with the first at most HV_NETVSC_SEGMENTS_MAX */
    uint16_t flags;      /* HV_NETVSC_TX_FLAG_* */
    uint16_t l4_offset;  /* of the TCP or UDP header, from the frame's start */
    uint16_t mss;        /* TSO */
    uint16_t vlan_tci;
    uint16_t
        copied; /* out: 1 = the memory is free again; 0 = it is in use until the cookie comes back */
    void *cookie;
};
/**
 * Send frames: copied into send-buffer sections, several in one message where the host allows, or named by page when
 * they are large; then published with at most one signal.  Memory is read during the call, or, where `copied` comes out
 * as 0, until hv_netvsc_tx_reap() gives the cookie back.
 *
 * Returns how many were taken, from the first on; *ret_error (may be NULL) says why not more:
 *   0            all were taken;
 *   -EAGAIN      ring, sections or descriptors are used up: reap, try the rest again;
 *   -EMSGSIZE    the next frame is larger than MTU and headers, or than the TSO limit: never;
 *   -EINVAL      it has too many pieces, an offload that is not switched on, offsets that make no sense: never;
 *   -EFAULT      it is not DMA memory, and too large to be copied: never;
 *   -ENODEV, -EPROTO   the device is dead.
 */
uint16_t hv_netvsc_tx_burst(struct hv_netvsc_queue *queue, struct hv_netvsc_tx *frames,
                            uint16_t count, int *ret_error);
/** Cookies of frames that the host has done with; returns how many.  After death: all of them. */
uint16_t hv_netvsc_tx_reap(struct hv_netvsc_queue *queue, void **cookies, uint16_t max);
/** Messages in the host's hands, and how many there can be. */
uint32_t hv_netvsc_tx_in_flight(const struct hv_netvsc_queue *queue);
uint32_t hv_netvsc_tx_descriptors(const struct hv_netvsc_queue *queue);

struct hv_netvsc_queue_stats {
    uint64_t rx_packets, rx_bytes;
    uint64_t rx_messages; /* transfer-page packets */
    uint64_t rx_held, rx_hold_refused;
    uint64_t rx_bad_range, rx_bad_rndis, rx_bad_ppi, rx_bad_length, rx_unknown;
    uint64_t rx_overrun; /* dropped because nobody polled the receive side */
    uint64_t tx_packets, tx_bytes;
    uint64_t tx_messages; /* NVSP messages */
    uint64_t tx_copied, tx_by_page, tx_aggregated;
    uint64_t tx_full, tx_no_section, tx_refused;
    uint64_t tx_failed; /* the host's completion said so */
    uint64_t completions_sent, completions_delayed, bad_completions;
    struct hv_channel_stats channel;
};
void hv_netvsc_get_queue_stats(const struct hv_netvsc_queue *queue,
                               struct hv_netvsc_queue_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
