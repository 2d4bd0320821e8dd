/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From frames to messages, without the lock: into sections of the send buffer, as many in one as the host takes, or as a
 * list of pages behind a header of our own.
 *
 *   section   | RNDIS header, PPIs | frame | pad | header | frame | pad | ...      one NVSP message, one completion
 *   by page   range 0: header, PPIs and, to be cut by the host, a copy of the frame's headers; then a range per piece
 *
 * Sections go round first in first out: the one used longest ago has left the host's cache by now.
 */
#include "queue_impl.h"

#include <errno.h>
#include <string.h>

#define AHEAD          4u
#define SECTIONS_AHEAD 4u
#define BYTES_AHEAD    384u
#define CHUNK_FULL     1 /* no error: publish this much first */

/** Longest headers that are copied in front of a list of pages. */
#define TSO_HEADERS_MAX ((uint32_t)(HV_NQ_HEAD_BYTES - HV_NQ_ENCODE_MAX))

/** Frames are short: two copies that overlap in the middle spare a call and the loop in it. */
static inline void copy_short(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    if (bytes >= 64 && bytes <= 128) {
        memcpy(to, from, 64);
        memcpy(to + bytes - 64, from + bytes - 64, 64);
    } else if (bytes >= 32 && bytes < 64) {
        memcpy(to, from, 32);
        memcpy(to + bytes - 32, from + bytes - 32, 32);
    } else {
        memcpy(to, from, bytes);
    }
}

static const void *piece(const struct hv_netvsc_tx *f, uint32_t index, uint32_t *ret_bytes)
{
    if (!index) {
        *ret_bytes = f->data_bytes;
        return f->data;
    }
    *ret_bytes = (uint32_t)f->more[index - 1].iov_len; /* pieces_fit() has seen it */
    return f->more[index - 1].iov_base;
}

/** The first `bytes` bytes of a frame, which has as many. */
static void gather(uint8_t *to, const struct hv_netvsc_tx *f, uint32_t bytes)
{
    for (uint32_t i = 0; bytes; i++) {
        uint32_t n;
        const void *from = piece(f, i, &n);

        n = hv_min_u32(n, bytes);
        if (n)
            memcpy(to, from, n);
        to += n;
        bytes -= n;
    }
}

static bool pieces_fit(const struct hv_netvsc_tx *f)
{
    uint32_t left = f->bytes;

    if (f->more_count >= HV_NETVSC_SEGMENTS_MAX || f->data_bytes > left)
        return false;
    left -= f->data_bytes;
    for (uint16_t i = 0; i < f->more_count; i++) {
        if (f->more[i].iov_len > left)
            return false;
        left -= (uint32_t)f->more[i].iov_len;
    }
    return !left;
}

/** A frame with flags: 0 with the bytes in front of it, and of its own headers that are copied; -EINVAL. */
static int check_flags(const struct hv_nq_tx *tx, const struct hv_netvsc_tx *f,
                       uint32_t *head_bytes, uint32_t *copied)
{
    uint8_t headers[TSO_HEADERS_MAX];
    uint32_t bytes = hv_min_u32(f->bytes, sizeof(headers));
    int n;

    if (f->flags >= sizeof(tx->allowed) || !tx->allowed[f->flags] || hv_nq_check_info(f))
        return -EINVAL;
    *head_bytes = hv_nq_encode_bytes(f->flags);
    if (!(f->flags & HV_NETVSC_TX_FLAG_TSO))
        return 0;
    gather(headers, f, bytes);
    n = hv_nq_tso_headers(headers, bytes, f);
    if (n < 0)
        return n;
    *copied = (uint32_t)n;
    return 0;
}

/* ---- Sections ---- */

static inline void ask_for_line(const uint8_t *at)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*at)); /* the builtin asks for a copy to read */
#else
    __builtin_prefetch(at, 1);
#endif
}

/**
 * The section that will be opened a few messages from now: the host's cache has its lines, and asking early for the right
 * to write them hides the way.  As many as the first frames take; append_plain() asks for what follows.
 * Measured by queuebench, 64 bytes: 32 a message 29 -> 22 cycles a frame, 8 a message 42 -> 32, one 77 -> 65.
 */
static inline void ask_for_section(const struct hv_nq_tx *tx)
{
    const struct hv_nq_fifo *f = &tx->sections;
    uint32_t lines = tx->frames_max > 1 ? BYTES_AHEAD / HV_NQ_LINE : 3;
    const uint8_t *at =
        tx->section_base +
        (size_t)f->entries[(f->head + SECTIONS_AHEAD) & f->mask] * tx->section_bytes;

    for (uint32_t line = 0; line < lines; line++)
        ask_for_line(at + line * HV_NQ_LINE);
}

/** A message that takes frames, in a fresh section.  0, CHUNK_FULL, -EAGAIN. */
static int open_section(struct hv_nq_tx *tx)
{
    struct hv_nq_message *m = &tx->messages[tx->message_count];

    tx->open = NULL;
    if (tx->message_count == HV_NQ_CHUNK)
        return CHUNK_FULL;
    if (!hv_nq_fifo_count(&tx->descriptors)) {
        HV_NQ_COUNT(tx->stats.tx_full, 1);
        return -EAGAIN;
    }
    if (!hv_nq_fifo_count(&tx->sections)) {
        HV_NQ_COUNT(tx->stats.tx_no_section, 1);
        return -EAGAIN;
    }
    *m = (struct hv_nq_message){
        .descriptor = hv_nq_fifo_get(&tx->descriptors),
        .section = hv_nq_fifo_get(&tx->sections),
    };
    tx->message_count++;
    tx->open = m;
    tx->open_at = 0;
    tx->open_base = tx->section_base + (size_t)m->section * tx->section_bytes;
    if (hv_nq_fifo_count(&tx->sections) > SECTIONS_AHEAD)
        ask_for_section(tx);
    return 0;
}

/** The message before, if any, ends where this one begins; then header and frame. */
static inline void put_frame(struct hv_nq_tx *tx, struct hv_nq_message *m, uint32_t at,
                             struct hv_netvsc_tx *f)
{
    uint32_t length = at - tx->open_at;
    uint32_t head_bytes = sizeof(struct hv_rndis_packet);
    uint8_t *base = tx->open_base;

    if (at)
        memcpy(base + tx->open_at + offsetof(struct hv_rndis_header, length_bytes), &length,
               sizeof(length));
    tx->open_at = at;
    base += at;
    if (hv_nq_likely(!(f->flags & HV_NQ_TX_INFO)))
        hv_nq_encode_plain(base, f->bytes);
    else
        head_bytes = hv_nq_encode(base, f);
    base += head_bytes;
    if (hv_nq_likely(!f->more_count))
        copy_short(base, f->data, f->bytes);
    else
        gather(base, f, f->bytes);
    if (hv_nq_unlikely(f->flags & HV_NETVSC_TX_FLAG_TSO))
        hv_nq_tso_prepare(base, f);
    m->section_bytes = at + head_bytes + f->bytes;
    m->frames++;
    m->frame_bytes += f->bytes;
    f->copied = 1;
}

/** Where the next frame goes in the open message; 0: not into this one. */
static inline uint32_t place_in(const struct hv_nq_tx *tx, const struct hv_nq_message *m,
                                uint32_t need)
{
    uint32_t at = (m->section_bytes + tx->align_mask) & ~tx->align_mask;

    return m->frames < tx->frames_max && at + need <= tx->message_bytes_max ? at : 0;
}

static int add_to_section(struct hv_nq_tx *tx, struct hv_netvsc_tx *f, uint32_t head_bytes)
{
    uint32_t at = tx->open ? place_in(tx, tx->open, head_bytes + f->bytes) : 0;

    if (!at) {
        int err = open_section(tx);

        if (err)
            return err;
    }
    put_frame(tx, tx->open, at, f);
    return 0;
}

/** What most frames are: one short piece, nothing asked for, room in the open message.  False: nothing was done. */
static inline bool append_plain(struct hv_nq_tx *tx, struct hv_netvsc_tx *f)
{
    struct hv_nq_message *m = tx->open;
    uint32_t at;

    if (!m || f->flags & ~HV_NETVSC_TX_FLAG_COPY || f->more_count || f->data_bytes != f->bytes ||
        f->bytes - HV_NQ_ETHER_BYTES > tx->plain_span) /* shorter ones wrap */
        return false;
    at = place_in(tx, m, (uint32_t)sizeof(struct hv_rndis_packet) + f->bytes);
    if (!at)
        return false;
    if (at + BYTES_AHEAD + 2 * HV_NQ_LINE <= tx->section_bytes) {
        ask_for_line(tx->open_base + at + BYTES_AHEAD);
        ask_for_line(tx->open_base + at + BYTES_AHEAD + HV_NQ_LINE);
    }
    put_frame(tx, m, at, f);
    return true;
}

/* ---- By page ---- */

struct list {
    uint64_t *words;
    uint32_t count, ranges;
};

static void list_range(struct list *l, uint32_t bytes, uint32_t offset)
{
    struct hv_gpa_range range = {.byte_count = bytes, .byte_offset = offset};

    memcpy(&l->words[l->count++], &range, sizeof(range));
    l->ranges++;
}

/** One range for [at, at + bytes).  0, -EFAULT (no DMA memory), -EINVAL (too many pages). */
static int list_memory(const struct hv_vmbus *bus, struct list *l, const uint8_t *at,
                       uint32_t bytes)
{
    ssize_t n;

    if (l->count == HV_NQ_LIST_MAX)
        return -EINVAL;
    list_range(l, bytes, (uint32_t)((uintptr_t)at & (HV_PAGE_BYTES - 1)));
    n = hv_dma_pfns(bus, at, bytes, &l->words[l->count], HV_NQ_LIST_MAX - l->count);
    if (n < 0)
        return n == -EFAULT ? -EFAULT : -EINVAL;
    l->count += (uint32_t)n;
    return 0;
}

/** Ranges for all of a frame behind its first `skip` bytes. */
static int list_frame(const struct hv_vmbus *bus, struct list *l, const struct hv_netvsc_tx *f,
                      uint32_t skip)
{
    for (uint32_t i = 0; i <= f->more_count; i++) {
        uint32_t bytes, cut;
        const uint8_t *at = piece(f, i, &bytes);
        int err;

        cut = hv_min_u32(skip, bytes);
        skip -= cut;
        if (bytes == cut)
            continue;
        err = list_memory(bus, l, at + cut, bytes - cut);
        if (err)
            return err;
    }
    return 0;
}

/**
 * A frame too large for a section out of memory that the host does not reach (a jumbo frame that lies in the receive buffer
 * and is forwarded, say): a copy of it, of which *ret_copy is the frame.  0, -EAGAIN, -EFAULT (no such memory).
 */
static int bounce(struct hv_nq_tx *tx, const struct hv_netvsc_tx *f, struct hv_netvsc_tx *ret_copy,
                  uint32_t *ret_section)
{
    uint32_t index;
    uint8_t *to;

    if (!tx->bounce_dma || f->bytes > tx->bounce_bytes)
        return -EFAULT;
    if (!hv_nq_fifo_count(&tx->bounces)) {
        HV_NQ_COUNT(tx->stats.tx_no_section, 1);
        return -EAGAIN;
    }
    index = hv_nq_fifo_get(&tx->bounces);
    to = (uint8_t *)hv_dma_address(tx->bounce_dma) + (size_t)index * tx->bounce_bytes;
    gather(to, f, f->bytes);
    *ret_copy = *f;
    ret_copy->data = to;
    ret_copy->data_bytes = f->bytes;
    ret_copy->more_count = 0;
    *ret_section = HV_NQ_BOUNCED | index;
    return 0;
}

/** 0, CHUNK_FULL, -EAGAIN, -EFAULT, -EINVAL. */
static int add_by_page(struct hv_netvsc_queue *q, struct hv_netvsc_tx *f, uint32_t head_bytes,
                       uint32_t copied)
{
    struct hv_nq_tx *tx = &q->tx;
    struct hv_gpa_direct direct = {0};
    struct list l = {.words = &tx->lists[tx->list_words], .count = 1};
    struct hv_nq_message *m = &tx->messages[tx->message_count];
    size_t head_at;
    uint16_t index;
    int err;

    if (tx->message_count == HV_NQ_CHUNK || tx->list_words + HV_NQ_LIST_MAX > HV_NQ_LISTS)
        return CHUNK_FULL;
    if (!hv_nq_fifo_count(&tx->descriptors)) {
        HV_NQ_COUNT(tx->stats.tx_full, 1);
        return -EAGAIN;
    }
    index = hv_nq_fifo_get(&tx->descriptors);
    head_at = (size_t)index * HV_NQ_HEAD_BYTES;
    list_range(&l, head_bytes + copied, (uint32_t)(head_at & (HV_PAGE_BYTES - 1)));
    l.words[l.count++] = q->head_pfns[head_at >> HV_PAGE_SHIFT];
    err = list_frame(q->bus, &l, f, copied);
    if (err) {
        hv_nq_fifo_unget(&tx->descriptors, 1);
        return err;
    }
    direct.range_count = l.ranges;
    memcpy(l.words, &direct, sizeof(direct));
    (void)hv_nq_encode(q->heads + head_at, f);
    if (copied) {
        gather(q->heads + head_at + head_bytes, f, copied);
        hv_nq_tso_prepare(q->heads + head_at + head_bytes, f);
    }
    *m = (struct hv_nq_message){
        .descriptor = index,
        .frames = 1,
        .section = HV_NQ_NONE,
        .list_at = tx->list_words,
        .list_bytes = l.count * 8,
        .frame_bytes = f->bytes,
    };
    tx->table[index].cookie = f->cookie;
    tx->message_count++;
    tx->list_words += l.count;
    tx->open = NULL; /* frames stay in order */
    f->copied = 0;
    return 0;
}

/* ---- Either ---- */

/** By page, but a copy. */
static int add_bounced(struct hv_netvsc_queue *q, struct hv_netvsc_tx *f, uint32_t head_bytes,
                       uint32_t copied)
{
    struct hv_netvsc_tx copy;
    uint32_t section;
    int err = bounce(&q->tx, f, &copy, &section);

    if (err)
        return err;
    err = add_by_page(q, &copy, head_bytes, copied);
    if (err) {
        hv_nq_fifo_unget(&q->tx.bounces, 1);
        return err;
    }
    q->tx.messages[q->tx.message_count - 1].section = section;
    f->copied = 1;
    return 0;
}

static int add_frame(struct hv_netvsc_queue *q, struct hv_netvsc_tx *f)
{
    struct hv_nq_tx *tx = &q->tx;
    uint32_t head_bytes = sizeof(struct hv_rndis_packet), copied = 0;
    uint32_t max = tx->frame_bytes_max;
    int err = -EFAULT, bounced;
    bool fits;

    if (hv_nq_unlikely(f->more_count ? !pieces_fit(f) : f->data_bytes != f->bytes))
        return -EINVAL;
    if (hv_nq_unlikely(f->flags & ~HV_NETVSC_TX_FLAG_COPY)) {
        int bad = check_flags(tx, f, &head_bytes, &copied);

        if (bad)
            return bad;
        if (f->flags & HV_NETVSC_TX_FLAG_TSO)
            max = tx->tso_bytes_max;
    }
    if (hv_nq_unlikely(f->bytes < HV_NQ_ETHER_BYTES))
        return -EINVAL;
    if (hv_nq_unlikely(f->bytes > max))
        return -EMSGSIZE;
    fits = tx->section_count && head_bytes + f->bytes <= tx->section_bytes;
    if (hv_nq_likely(fits && (f->bytes <= tx->copy_bytes || f->flags & HV_NETVSC_TX_FLAG_COPY)))
        return add_to_section(tx, f, head_bytes);
    if (!(f->flags & HV_NETVSC_TX_FLAG_COPY)) {
        err = add_by_page(q, f, head_bytes, copied);
        if (err != -EFAULT && err != -EINVAL)
            return err;
    }
    /* to be copied, or not the host's memory, or in pieces that make too long a list */
    if (fits)
        return add_to_section(tx, f, head_bytes);
    bounced = add_bounced(q, f, head_bytes, copied);
    return bounced == -EFAULT ? err : bounced;
}

uint16_t hv_nq_build(struct hv_netvsc_queue *q, struct hv_netvsc_tx *frames, uint16_t count,
                     int *error)
{
    uint16_t n;

    q->tx.open = NULL;
    q->tx.message_count = 0;
    q->tx.list_words = 0;
    *error = 0;
    for (n = 0; n < count; n++) {
        int err;

        if (n + AHEAD < count)
            __builtin_prefetch(frames[n + AHEAD].data);
        if (hv_nq_likely(append_plain(&q->tx, &frames[n])))
            continue;
        err = add_frame(q, &frames[n]);
        if (!err)
            continue;
        if (err != CHUNK_FULL)
            *error = err;
        break;
    }
    return n;
}

void hv_nq_unbuild(struct hv_netvsc_queue *q, uint32_t first)
{
    struct hv_nq_tx *tx = &q->tx;

    for (uint32_t i = first; i < tx->message_count; i++) {
        hv_nq_fifo_unget(&tx->descriptors, 1);
        if (tx->messages[i].section < HV_NQ_BOUNCED)
            hv_nq_fifo_unget(&tx->sections, 1);
        else if (tx->messages[i].section != HV_NQ_NONE)
            hv_nq_fifo_unget(&tx->bounces, 1);
    }
}
