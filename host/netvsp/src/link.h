/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a NIC is plugged into.  netvsp*.c speak NVSP and RNDIS with the guest and know frames; link*.c move frames and know
 * nothing of the guest.
 *
 *   guest -> netvsp -> hv_link_send()            frames that the guest sent, offloads still to be done
 *   hv_link_poll() -> nic->deliver() -> guest    frames for the guest
 *
 * THREADS: send and poll of queue q run in the worker of channel q, one thread at a time; different queues in different
 * threads.  create, destroy, and the setters run in the control thread.  deliver() may be called from any worker.
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
#define HV_FRAME_L4_OK   0x80u /* towards the guest: checksums are known to be good */
#define HV_FRAME_IP_OK   0x100u

/** One frame.  Guest memory under `iov` may change at any moment: what is decided upon must be copied first. */
struct hv_frame {
    const struct iovec *iov;
    uint32_t iov_count;
    uint32_t bytes;
    uint16_t flags; /* HV_FRAME_* */
    uint16_t l4_offset;
    uint16_t mss;
    uint16_t vlan_tci; /* priority 13-15, CFI 12, id 0-11 */
};

/** The NIC as its link sees it. */
struct hv_link_nic {
    void *arg;
    /**
     * Frames for the guest; copied before it returns.  `from_queue`: the queue whose worker calls, -1 = some other
     * thread.  `to_queue`: -1 = as RSS says.  Returns how many were taken or dropped by a rule (filter, length); fewer
     * than `count` = no room now (the link keeps or drops the rest, and counts).
     */
    uint16_t (*deliver)(void *arg, int from_queue, int to_queue, const struct hv_frame *frames,
                        uint16_t count);
    /** The other side of the link appeared or went.  Any thread. */
    void (*carrier)(void *arg, bool up);
};

struct hv_link_opts {
    const char *text; /* "tap:NAME", "loop", "pair:ID", "source:BYTES", "sink", "pcap:IN[,OUT]" */
    uint16_t queues;
    uint32_t frame_bytes_max; /* largest frame that the NIC ever takes, tag included */
    struct hv_log_hook log;
};

/** Errors and `why` as hv_netvsp_create(). */
int hv_link_create(const struct hv_link_opts *opts, const struct hv_link_nic *nic,
                   char why[HV_NETVSP_WHY_BYTES], struct hv_link **ret_link);
/** No queue is polled any more.  NULL is fine. */
void hv_link_destroy(struct hv_link *link);
/** Takes all frames: sent, or dropped and counted.  Memory is free again on return. */
void hv_link_send(struct hv_link *link, uint16_t queue, const struct hv_frame *frames,
                  uint16_t count);
/** Deliver up to `budget` frames that wait for queue's worker.  Returns how many. */
int hv_link_poll(struct hv_link *link, uint16_t queue, uint16_t budget);
/** About to sleep: true = poll has work now. */
bool hv_link_arm(struct hv_link *link, uint16_t queue);
/** Descriptor that wakes the worker of this queue, or -1. */
int hv_link_fd(const struct hv_link *link, uint16_t queue);
/** Is there somebody at the other end? */
bool hv_link_carrier(const struct hv_link *link);

struct hv_link_stats {
    uint64_t sent, sent_bytes, delivered, delivered_bytes;
    uint64_t send_dropped, deliver_dropped, segmented, checksummed;
};
void hv_link_get_stats(const struct hv_link *link, struct hv_link_stats *ret_stats);

#endif
