/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private: inside of a queue.  The seam to the device is queue.h, the user's view hv/netvsc.h.
 *
 *   queue.c         life, messages of the control thread, statistics
 *   queue_drain.c   what the host sends: staging, completions                        (lock)
 *   queue_rx.c      rx bursts, hold and release                                      (rx thread)
 *   queue_tx.c      tx bursts, cookies                                               (tx thread; the ring: lock)
 *   queue_build.c   frames -> messages: sections, aggregation, lists of pages        (tx thread)
 *   queue_parse.c, queue_encode.c   RNDIS                                            (pure)
 *
 *                      lock holder                          owner
 *   ring from host --> drain --> `staged` (frames) -------> rx_burst, rx_done --+
 *                          |                                                    | last frame of a message:
 *                          |  <------------ `returned` (messages) <------------+--- rx_release (any thread)
 *                          |--> completion to the host
 *                          +---> `done` (descriptors) ----> tx: sections and descriptors free, cookies to be reaped
 *
 * Members are grouped by who writes them, each group on cache lines of its own.  `staged` and `done` are FIFOs with one
 * writer (whoever has the lock) and one reader; `returned` is a stack that only grows one by one and is taken whole, so
 * no element can come back while somebody looks at it.
 */
#ifndef HV_NETVSC_QUEUE_IMPL_H
#define HV_NETVSC_QUEUE_IMPL_H

#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>

#include <hv/base/bits.h>
#include <hv/base/log.h>
#include <hv/wire/ring.h>

#include "queue.h"
#include "queue_rndis.h"

#define HV_NQ_LINE     64u
#define HV_NQ_STAGED   4096u /* frames that wait for rx_burst; power of two */
#define HV_NQ_CHUNK    64u   /* messages that one turn of tx_burst prepares */
#define HV_NQ_PFNS_MAX 160u  /* of one frame: 64 KiB in 31 pieces */
#define HV_NQ_LISTS    1024u /* 8-byte words of page lists in one chunk */
#define HV_NQ_HEAD_BYTES                                                                           \
    256u /* RNDIS header and copied headers of a frame sent by page; divides a page */
#define HV_NQ_BOUNCES       16u /* frames that neither fit a section nor may be named; power of two */
#define HV_NQ_CONTROL_PAGES 4u
#define HV_NQ_REQUESTS      4u
#define HV_NQ_DRAIN_PACKETS 512u /* in one turn: bounds how long the lock is held */
#define HV_NQ_DRAIN_ALL     (1u << 30)
#define HV_NQ_LIST_MAX      (1u + HV_NETVSC_SEGMENTS_MAX + 2u + HV_NQ_PFNS_MAX) /* words of one frame */
#define HV_NQ_NONE          UINT32_MAX
#define HV_NQ_BOUNCED       (1u << 31) /* in place of a section: in memory of the queue, by page */
#define HV_NQ_COMPLETION_BYTES                                                                     \
    (HV_RING_DESCRIPTOR_BYTES + 8u + HV_RING_TRAILER_BYTES) /* type and status */

#define hv_nq_likely(x)   __builtin_expect(!!(x), 1)
#define hv_nq_unlikely(x) __builtin_expect(!!(x), 0)

/** A counter with one writer that others may read at any time. */
#define HV_NQ_COUNT(counter, n)                                                                    \
    __atomic_store_n(&(counter), (counter) + (uint64_t)(n), __ATOMIC_RELAXED)

/** A frame that waits. */
struct hv_nq_staged {
    uint32_t offset; /* into the receive buffer; checked */
    uint32_t bytes;
    uint32_t slot;
};

/**
 * A transfer-page packet that the host has not got back; the index is its transaction id.  Handed from owner to owner:
 * lock holder (fills it, sends its completion) -> rx thread -> whoever finishes it -> lock holder.
 *
 * Holds are counted without atomics by the rx thread, and releases by everybody in `refs`, from 0 downwards; when the rx
 * thread has done with the message it adds its holds, and whoever then sees 0 gives the message back.
 */
struct hv_nq_slot {
    uint16_t ranges; /* 0 = the host has it */
    uint16_t left;   /* frames that rx_done has not seen */
    uint16_t holds;
    bool held;   /* counts against the cap */
    bool failed; /* a range made no sense: the host is told */
    _Atomic uint32_t refs;
    uint32_t next; /* in `returned` or in the list of due completions */
};

/** A message of the transmit side. */
struct hv_nq_descriptor {
    void *cookie;
    uint32_t section; /* HV_NQ_NONE: by page; HV_NQ_BOUNCED and which */
    bool busy;        /* with the host */
};

/** A message that is prepared and not yet in the ring. */
struct hv_nq_message {
    uint16_t descriptor;
    uint16_t frames;
    uint32_t section, section_bytes;
    uint32_t list_at, list_bytes; /* in `lists`; 0 bytes = in a section */
    uint32_t frame_bytes;
};

/** FIFO of small numbers, one thread; never holds more than its size, a power of two. */
struct hv_nq_fifo {
    uint16_t *entries;
    uint32_t mask, head, tail;
};

struct hv_nq_rx {
    uint32_t first, next; /* frames of the present burst in `staged` */
    uint32_t held_taken;  /* sections under messages with held frames, ever */
    uint32_t held_max;
    struct hv_netvsc_queue_stats stats; /* rx_*, but those of the drain */
};

struct hv_nq_tx {
    struct hv_nq_fifo descriptors, sections; /* free ones */
    struct hv_nq_fifo cookies;               /* descriptors whose cookies wait for reap */
    uint32_t done_head;
    uint32_t offloads; /* that `allowed` was made for */
    uint8_t allowed[256];
    /* from the handshake */
    uint8_t *section_base;
    uint32_t section_count, section_bytes;
    uint32_t frames_max, message_bytes_max, align_mask;
    uint32_t copy_bytes, frame_bytes_max, tso_bytes_max;
    struct hv_nq_fifo bounces;
    struct hv_dma *bounce_dma; /* NULL: every frame fits a section */
    uint32_t bounce_bytes;     /* of one */
    uint32_t plain_span; /* by how much a frame that is copied may exceed an Ethernet header */
    struct hv_nq_descriptor *table;
    /* chunk in preparation */
    struct hv_nq_message *open; /* section message that takes more frames, or NULL */
    uint8_t *open_base;         /* its section */
    uint32_t open_at;           /* where its last frame's message starts */
    uint32_t message_count;
    uint32_t list_words;
    struct hv_nq_message messages[HV_NQ_CHUNK];
    uint64_t lists[HV_NQ_LISTS];
    struct hv_netvsc_queue_stats stats; /* tx_*, but those of the drain */
};

struct hv_netvsc_queue {
    /* constant while the queue is polled */
    const struct hv_nq_device *device;
    struct hv_channel *channel;
    const struct hv_vmbus *bus;
    uint32_t first_section;
    uint32_t slot_count;
    struct hv_nq_slot *slots;
    struct hv_nq_staged *staged; /* HV_NQ_STAGED */
    uint16_t *done;              /* done_mask + 1 */
    uint32_t done_mask;
    uint32_t descriptor_count;
    uint32_t id_count; /* descriptors, then control pages, then requests */
    struct hv_dma *dma;
    uint8_t *heads;      /* HV_NQ_HEAD_BYTES per descriptor */
    uint64_t *head_pfns; /* of each page of it */
    uint8_t *control_pages;
    uint64_t control_pfns[HV_NQ_CONTROL_PAGES];
    int wait_fd,
        kick_fd; /* epoll of the channel's descriptor and of kick_fd: what the rx thread sleeps on */

    /* under the lock */
    alignas(HV_NQ_LINE) _Atomic uint32_t lock;
    bool detached;
    bool armed, kicked;          /* the rx thread sleeps; kick_fd was raised for it */
    uint32_t armed_tail;         /* of `staged` when it armed */
    uint32_t due_head, due_tail; /* completions to be sent; HV_NQ_NONE */
    uint32_t staged_head;        /* copy of the reader's position */
    uint32_t room;               /* free bytes of the ring to the host, at least */
    uint32_t next_request;
    uint64_t generation;
    uint64_t *ids; /* of messages with the host; 0 = none */
    uint32_t request_tags[HV_NQ_REQUESTS];
    uint8_t *scratch; /* HV_RNDIS_CONTROL_MAX */
    struct hv_netvsc_queue_stats stats;
    /* written under the lock, read by anybody */
    _Atomic uint32_t messages;      /* of tx, with the host */
    _Atomic uint32_t controls;      /* control messages with the host */
    _Atomic uint32_t outstanding;   /* slots that the host has not got back */
    _Atomic uint32_t held_returned; /* sections, ever */
    _Atomic bool dead, paused;

    alignas(HV_NQ_LINE) _Atomic uint32_t staged_tail; /* lock holder */
    _Atomic uint32_t done_tail;
    alignas(HV_NQ_LINE) _Atomic uint32_t staged_seen; /* rx thread: its position */
    alignas(HV_NQ_LINE) _Atomic uint32_t returned;    /* any thread: last slot, HV_NQ_NONE */

    alignas(HV_NQ_LINE) struct hv_nq_rx rx;
    alignas(HV_NQ_LINE) struct hv_nq_tx tx;
};

/*
 * The lock: receive and transmit side share a ring.  With one thread for both it costs one exchange a burst.  A holder
 * copies nothing but ring packets; one that was preempted is waited for by giving up the processor.
 */
static inline void hv_nq_lock(struct hv_netvsc_queue *q)
{
    while (hv_nq_unlikely(atomic_exchange_explicit(&q->lock, 1, memory_order_acquire))) {
        for (int spins = 0; atomic_load_explicit(&q->lock, memory_order_relaxed); spins++) {
            if (spins < 1000) {
#if defined(__x86_64__)
                __builtin_ia32_pause();
#endif
            } else {
                (void)sched_yield();
            }
        }
    }
}

static inline void hv_nq_unlock(struct hv_netvsc_queue *q)
{
    atomic_store_explicit(&q->lock, 0, memory_order_release);
}

static inline bool hv_nq_is_dead(const struct hv_netvsc_queue *q)
{
    return atomic_load_explicit(&q->dead, memory_order_acquire);
}

static inline bool hv_nq_is_paused(const struct hv_netvsc_queue *q)
{
    return atomic_load_explicit(&q->paused, memory_order_acquire);
}

/** Change of a number that only the lock holder writes. */
static inline void hv_nq_add(_Atomic uint32_t *number, uint32_t n)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline uint32_t hv_nq_fifo_count(const struct hv_nq_fifo *f)
{
    return f->tail - f->head;
}

static inline uint16_t hv_nq_fifo_get(struct hv_nq_fifo *f)
{
    return f->entries[f->head++ & f->mask];
}

/** Undo the last `n` gets. */
static inline void hv_nq_fifo_unget(struct hv_nq_fifo *f, uint32_t n)
{
    f->head -= n;
}

static inline void hv_nq_fifo_put(struct hv_nq_fifo *f, uint16_t number)
{
    f->entries[f->tail++ & f->mask] = number;
}

/* ---- queue_drain.c; all under the lock ---- */

/** Take what the host sent, until `frames` are staged or the ring is empty.  A channel that died: hv_nq_die(). */
void hv_nq_drain(struct hv_netvsc_queue *q, uint32_t frames);
/** Messages given back since the last time: completions into the ring.  Those that find no room wait. */
void hv_nq_complete(struct hv_netvsc_queue *q);
/** Publish. */
void hv_nq_flush(struct hv_netvsc_queue *q);
/** Everything that there is, for another thread than that of rx: wakes that one when it sleeps and finds something now. */
void hv_nq_drain_for_others(struct hv_netvsc_queue *q);
/** From now on nothing touches the channel. */
void hv_nq_die(struct hv_netvsc_queue *q);
/** Ring bytes that messages to be sent must leave free. */
uint32_t hv_nq_reserved_bytes(const struct hv_netvsc_queue *q);
/** A packet of this many bytes with all around it leaves the reserve alone. */
bool hv_nq_has_room(struct hv_netvsc_queue *q, uint32_t bytes);
/** A range of the receive buffer that holds no frame: to the device. */
void hv_nq_control(struct hv_netvsc_queue *q, uint32_t offset, uint32_t bytes);
/** Drop all staged frames; nobody else polls. */
void hv_nq_unstage(struct hv_netvsc_queue *q);

/* ---- queue_rx.c ---- */

/** A frame of a message is dealt with.  Adds the message to *chain (first, last) when it was the last one. */
struct hv_nq_chain {
    uint32_t first, last;
};
void hv_nq_slot_done(struct hv_netvsc_queue *q, uint32_t slot, struct hv_nq_chain *chain);
/** Any thread: messages to be completed, linked by `next`. */
void hv_nq_return(struct hv_netvsc_queue *q, const struct hv_nq_chain *chain);

/* ---- queue_tx.c ---- */

/** Take over what the drain found done. */
void hv_nq_tx_collect(struct hv_netvsc_queue *q);

/* ---- queue_build.c ---- */

/** Prepare frames[0 .. count) as messages in q->tx; returns how many, *error (0 = chunk full) why not more. */
uint16_t hv_nq_build(struct hv_netvsc_queue *q, struct hv_netvsc_tx *frames, uint16_t count,
                     int *error);
/** Messages [first, ...) do not go: sections and descriptors back. */
void hv_nq_unbuild(struct hv_netvsc_queue *q, uint32_t first);

#endif
