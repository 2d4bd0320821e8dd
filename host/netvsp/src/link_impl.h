/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kinds of link share.  link.c: create, destroy, dispatch, counters; link_<kind>.c: one kind each. */
#ifndef HV_NETVSP_LINK_IMPL_H
#define HV_NETVSP_LINK_IMPL_H

#include "link.h"

#include <stdatomic.h>

#include "offload.h"

struct hv_link_queue;

struct hv_link_ops {
    const char *name; /* of the text, up to ':' or the end */
    bool takes_text;  /* something follows the ':' */
    /* `text` is behind the ':' and may be written to.  On failure `why` says it; destroy() runs on what was made. */
    int (*create)(struct hv_link *link, char *text, char why[HV_NETVSP_WHY_BYTES]);
    void (*destroy)(struct hv_link *link);
    void (*send)(struct hv_link *link, struct hv_link_queue *queue, const struct hv_frame *frames,
                 uint16_t count);
    /* The rest is optional. */
    int (*poll)(struct hv_link *link, struct hv_link_queue *queue, uint16_t budget);
    bool (*arm)(struct hv_link *link, struct hv_link_queue *queue);
    void (*mute)(struct hv_link *link, struct hv_link_queue *queue);
    int (*fd)(const struct hv_link *link, const struct hv_link_queue *queue);
    bool (*carrier)(const struct hv_link *link); /* absent: always */
    void (*set_up)(struct hv_link *link, bool up);
    void (*set_mtu)(struct hv_link *link, uint32_t mtu);
};

extern const struct hv_link_ops hv_link_loop, hv_link_pair, hv_link_pcap, hv_link_sink,
    hv_link_source, hv_link_tap;

/* Counters of one queue; written by its worker alone. */
struct hv_link_counters {
    _Atomic uint64_t sent, sent_bytes, delivered, delivered_bytes;
    _Atomic uint64_t send_dropped, deliver_dropped, segmented, checksummed;
};

struct hv_link_queue {
    _Alignas(64) struct hv_link_counters count;
    uint16_t index;
    bool is_blocked; /* deliver() took fewer than given */
    struct hv_offload *offload;
    void *impl;
};

struct hv_link {
    const struct hv_link_ops *ops;
    struct hv_link_nic nic;
    struct hv_log_hook log;
    const void *scope;
    uint32_t frame_bytes_max;
    uint8_t mac[6];
    uint16_t queue_count;
    struct hv_link_queue *queues;
    void *impl;
    struct hv_link_counters foreign; /* by threads that are no worker of ours: atomic additions */
};

/** One writer. */
static inline void hv_link_count(_Atomic uint64_t *counter, uint64_t add)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + add,
                          memory_order_relaxed);
}

/** Sentence and error at once: return hv_link_fail(why, -EINVAL, ...). */
int hv_link_fail(char why[HV_NETVSP_WHY_BYTES], int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/**
 * One "key=number" piece of a link's text.  1 = it was `key` and *ret_value is set, 0 = another key, -EINVAL = out of range.
 */
int hv_link_option(const char *piece, const char *key, uint64_t min, uint64_t max,
                   uint64_t *ret_value, char why[HV_NETVSP_WHY_BYTES]);

uint64_t hv_link_bytes(const struct hv_frame *frames, uint32_t count);

/** Give frames to the NIC from its own worker, count them, note whether it has room.  Returns how many it took. */
uint16_t hv_link_deliver(struct hv_link *link, struct hv_link_queue *queue, int to_queue,
                         const struct hv_frame *frames, uint16_t count);

/**
 * Finish what the guest left undone, and pass all on in order: `take` returns how many of the frames it took, the others
 * are dropped and counted by it.
 */
void hv_link_finish(struct hv_link_queue *queue, const struct hv_frame *frames, uint16_t count,
                    void (*take)(void *arg, const struct hv_frame *frames, uint16_t count),
                    void *arg);

#endif
