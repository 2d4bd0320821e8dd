/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a NIC is plugged into.  netvsp*.c speak NVSP and RNDIS with the guest and know frames; link*.c move frames and know
 * nothing of the guest.
 *
 *   guest -> netvsp -> hv_link_send()            frames that the guest sent, offloads still to be done
 *   hv_link_poll() -> nic->deliver() -> guest    frames for the guest
 *
 * THREADS: send, poll and arm of queue q run in the worker of channel q, one thread at a time; different queues in
 * different threads.  create, destroy, and the setters run in the control thread.  deliver() may be called from any worker,
 * also of other NICs; hv_link_destroy() returns when no deliver() of the link runs any more.
 */
#ifndef HV_NETVSP_LINK_H
#define HV_NETVSP_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <hv/netvsp.h>

struct hv_link;

#define HV_FRAME_IPV4    0x01u
#define HV_FRAME_IPV6    0x02u
#define HV_FRAME_IP_CSUM 0x04u /* to do */
#define HV_FRAME_TCP     0x08u /* L4 checksum to do; the frame holds the pseudo-header sum */
#define HV_FRAME_UDP     0x10u
#define HV_FRAME_TSO     0x20u /* to be cut into segments of mss */
#define HV_FRAME_VLAN    0x40u /* tag in vlan_tci, not in the frame */
#define HV_FRAME_L4_OK   0x80u /* towards the guest: TCP or UDP (flag) checksum is known to be good */
#define HV_FRAME_IP_OK   0x100u
#define HV_FRAME_HASH    0x200u /* rss_hash is known */

#define HV_FRAME_IOV_MAX   64u
#define HV_FRAME_BYTES_MIN 14u
#define HV_FRAME_BYTES_MAX                                                                         \
    (65535u + 22u) /* an IPv4 packet behind an Ethernet header with two tags */

/**
 * One frame.  Guest memory under `iov` may change at any moment: what is decided upon must be copied first.
 *
 * From the guest: HV_FRAME_IPV4/IPV6/IP_CSUM/TCP/UDP/TSO say what is to be done; a link believes none of it before it has
 * looked at the headers.  Where the guest named no offset, l4_offset is 0.  Offsets count the bytes of the frame, so a tag
 * in vlan_tci does not shift them.
 *
 * Towards the guest nothing is left to be done: TCP and UDP come only together with L4_OK and name the protocol.
 */
struct hv_frame {
    const struct iovec *iov;
    uint32_t iov_count; /* 1 .. HV_FRAME_IOV_MAX; towards the guest up to two more */
    uint32_t bytes;     /* HV_FRAME_BYTES_MIN .. HV_FRAME_BYTES_MAX */
    uint16_t flags;     /* HV_FRAME_* */
    uint16_t l4_offset;
    uint16_t mss;
    uint16_t vlan_tci; /* priority 13-15, CFI 12, id 0-11 */
    uint32_t rss_hash;
};

/** The NIC as its link sees it. */
struct hv_link_nic {
    void *arg;
    /**
     * Frames for the guest; copied before it returns.  `from_queue`: the queue whose worker calls, -1 = some other
     * thread (the worker of another NIC).  `to_queue`: -1 = as RSS says.  Returns how many were taken or dropped by a rule
     * (filter, length); fewer than `count` = no room now (the link keeps or drops the rest, and counts).
     * May be called from within hv_link_send() of the same queue.
     */
    uint16_t (*deliver)(void *arg, int from_queue, int to_queue, const struct hv_frame *frames,
                        uint16_t count);
    /** The other side of the link appeared or went.  Any thread. */
    void (*carrier)(void *arg, bool up);
};

struct hv_link_opts {
    /*
     * "loop", "sink", "pair:ID",
     * "source:BYTES[,flows=N][,rss][,count=N]"   flows per queue; rss: RSS picks the queue; N frames per queue, then none
     * "tap:NAME[,kernel-offloads=off]"
     * "pcap:IN[,OUT][,repeat=N]"                 IN or OUT may be empty; 0 = for ever
     */
    const char *text;
    uint16_t queues;          /* 1 .. 64 */
    uint32_t frame_bytes_max; /* largest frame that the NIC ever takes, tag included */
    uint8_t mac[6];           /* the NIC's, receiver of made-up frames; zero = broadcast */
    const void *scope;        /* pairs find each other within one scope (the host) */
    struct hv_log_hook log;
};

/** Errors and `why` as hv_netvsp_create(). */
int hv_link_create(const struct hv_link_opts *opts, const struct hv_link_nic *nic,
                   char why[HV_NETVSP_WHY_BYTES], struct hv_link **ret_link);
/** No queue is polled any more.  NULL is fine. */
void hv_link_destroy(struct hv_link *link);
/** Takes all frames: sent, or dropped and counted.  Guest memory is free again on return. */
void hv_link_send(struct hv_link *link, uint16_t queue, const struct hv_frame *frames,
                  uint16_t count);
/**
 * Deliver up to `budget` frames (somewhat more where one had to be cut) that wait for queue's worker.  Returns how many.
 * Only while the guest wants frames: what a NIC without packet filter is given, it drops.
 */
int hv_link_poll(struct hv_link *link, uint16_t queue, uint16_t budget);
/**
 * About to sleep: true = poll has work now.  False after deliver() took fewer frames than given: poll again when the guest
 * has given room back.
 */
bool hv_link_arm(struct hv_link *link, uint16_t queue);
/**
 * About to sleep and no frame is wanted (no filter, no room): the descriptor keeps quiet until the next hv_link_arm().
 */
void hv_link_mute(struct hv_link *link, uint16_t queue);
/** Descriptor that wakes the worker of this queue, or -1.  Before sleeping call hv_link_arm() or hv_link_mute(). */
int hv_link_fd(const struct hv_link *link, uint16_t queue);
/** Is there somebody at the other end? */
bool hv_link_carrier(const struct hv_link *link);
/** The NIC was switched on (as after create) or off: the other end sees its carrier come or go. */
void hv_link_set_up(struct hv_link *link, bool up);
/** Largest packet that the guest expects: a tap that we made takes it over.  Any thread; not the data path. */
void hv_link_set_mtu(struct hv_link *link, uint32_t mtu);

struct hv_link_stats {
    uint64_t sent, sent_bytes, delivered, delivered_bytes;
    uint64_t send_dropped, deliver_dropped, segmented, checksummed;
};
void hv_link_get_stats(const struct hv_link *link, struct hv_link_stats *ret_stats);

#endif
