/* SPDX-License-Identifier: BSD-3-Clause */
/* The page rule and bouncing; the picture is in sgl_impl.h.  Wire: docs/wire.md "Scatter-gather". */
#include "sgl_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/wire/ring.h>

#define PAGE_MASK ((uint32_t)HV_PAGE_BYTES - 1u)

int hv_storvsc_pool_init(struct hv_storvsc_pool *pool, uint8_t *base, const uint64_t *pfns,
                         uint32_t page_count)
{
    struct hv_storvsc_pool p = {.base = base, .page_count = page_count, .free_count = page_count};

    p.pfns = calloc(page_count, sizeof(*p.pfns));
    p.next = calloc(page_count, sizeof(*p.next));
    if (!p.pfns || !p.next) {
        hv_storvsc_pool_fini(&p);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < page_count; i++) {
        p.pfns[i] = pfns[i];
        p.next[i] = i + 1;
    }
    p.tail = page_count ? page_count - 1 : 0;
    *pool = p;
    return 0;
}

void hv_storvsc_pool_fini(struct hv_storvsc_pool *pool)
{
    free(pool->pfns);
    free(pool->next);
    *pool = (struct hv_storvsc_pool){0};
}

static uint32_t take_page(struct hv_storvsc_pool *pool, struct hv_storvsc_sgl *sgl)
{
    uint32_t page = pool->head;

    pool->head = pool->next[page];
    pool->free_count--;
    if (!sgl->bounce_pages)
        sgl->bounce_head = page;
    else
        pool->next[sgl->bounce_tail] = page;
    sgl->bounce_tail = page;
    sgl->bounce_pages++;
    return page;
}

static void give_pages(struct hv_storvsc_pool *pool, struct hv_storvsc_sgl *sgl)
{
    if (!sgl->bounce_pages)
        return;
    if (!pool->free_count)
        pool->head = sgl->bounce_head;
    else
        pool->next[pool->tail] = sgl->bounce_head;
    pool->tail = sgl->bounce_tail;
    pool->free_count += sgl->bounce_pages;
    sgl->bounce_pages = 0;
}

void hv_storvsc_sgl_release(struct hv_storvsc_pool *pool, struct hv_storvsc_sgl *sgl)
{
    give_pages(pool, sgl);
    if (sgl->pieces && sgl->pieces != sgl->inline_pieces)
        free(sgl->pieces);
    sgl->pieces = NULL;
    sgl->piece_count = 0;
}

void hv_storvsc_sgl_copy_back(const struct hv_storvsc_sgl *sgl)
{
    for (uint32_t i = 0; i < sgl->piece_count; i++)
        memcpy(sgl->pieces[i].user, sgl->pieces[i].bounce, sgl->pieces[i].bytes);
}

/* The stretch that the cursor stands in: rest of its segment, and what touches it. */
struct stretch {
    uint8_t *va;
    size_t bytes; /* 0 = the vector is used up */
    bool foreign; /* known to be no DMA memory, at least in part */
};

static struct stretch stretch_at(struct hv_storvsc_cursor *cursor)
{
    struct stretch s = {0};

    while (cursor->iov_count && cursor->offset == cursor->iov->iov_len) {
        cursor->iov++;
        cursor->iov_count--;
        cursor->offset = 0;
    }
    if (!cursor->iov_count)
        return s;
    s.va = (uint8_t *)cursor->iov->iov_base + cursor->offset;
    s.bytes = cursor->iov->iov_len - cursor->offset;
    for (uint32_t i = 1; i < cursor->iov_count; i++) {
        if (!cursor->iov[i].iov_len)
            continue;
        if (s.va + s.bytes != (uint8_t *)cursor->iov[i].iov_base)
            break;
        s.bytes += cursor->iov[i].iov_len;
    }
    return s;
}

void hv_storvsc_cursor_advance(struct hv_storvsc_cursor *cursor, size_t bytes)
{
    while (bytes && cursor->iov_count) {
        size_t rest = cursor->iov->iov_len - cursor->offset;

        if (bytes < rest) {
            cursor->offset += bytes;
            return;
        }
        bytes -= rest;
        cursor->iov++;
        cursor->iov_count--;
        cursor->offset = 0;
    }
}

/* Where a build stands. */
struct builder {
    struct hv_storvsc_pool *pool;
    hv_storvsc_resolve_fn *resolve;
    const void *resolve_ctx;
    struct hv_storvsc_sgl *sgl;
    struct hv_storvsc_cursor *cursor;
    struct stretch stretch;
    uint32_t in_page; /* offset of the next byte in its list page */
    uint32_t left;    /* bytes still to be listed */
    bool device_writes;
    struct hv_storvsc_piece *pieces; /* sgl's own few, or allocated */
    uint32_t piece_count, piece_max;
};

/*
 * Remember a stretch to copy back.  Grows by allocation: a read that needs many pieces is badly scattered or lies
 * outside DMA memory, and pays for a copy of every byte anyway.
 */
static int add_piece(struct builder *b, const uint8_t *bounce, uint32_t bytes)
{
    struct hv_storvsc_piece *last = b->piece_count ? &b->pieces[b->piece_count - 1] : NULL;

    if (last && last->user + last->bytes == b->stretch.va && last->bounce + last->bytes == bounce) {
        last->bytes += bytes;
        return 0;
    }
    if (b->piece_count == b->piece_max) {
        struct hv_storvsc_piece *grown = malloc(8 * b->piece_max * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        memcpy(grown, b->pieces, b->piece_count * sizeof(*grown));
        if (b->pieces != b->sgl->inline_pieces)
            free(b->pieces);
        b->pieces = grown;
        b->piece_max *= 8;
    }
    b->pieces[b->piece_count++] = (struct hv_storvsc_piece){b->stretch.va, bounce, bytes};
    return 0;
}

static void step(struct builder *b, uint32_t bytes)
{
    hv_storvsc_cursor_advance(b->cursor, bytes);
    b->in_page = (b->in_page + bytes) & PAGE_MASK;
    b->left -= bytes;
    b->stretch.va += bytes;
    b->stretch.bytes -= bytes;
    if (!b->stretch.bytes)
        b->stretch = stretch_at(b->cursor);
}

/*
 * How many bytes from here on can be listed in place: whole list pages of one stretch, the last page of the list
 * being whole when the list ends in it.  0 = this page has to be bounced.
 */
static uint32_t direct_bytes(const struct builder *b)
{
    uint64_t n = hv_min_u64(b->stretch.bytes, b->left);

    if (b->stretch.foreign || ((uintptr_t)b->stretch.va & PAGE_MASK) != b->in_page ||
        (b->in_page & 1u))
        return 0;
    if (n == b->left)
        return b->left;
    n += b->in_page;
    n &= ~(uint64_t)PAGE_MASK;
    return n > b->in_page ? (uint32_t)(n - b->in_page) : 0;
}

/* Returns bytes listed, 0 when the memory is not the host's to reach, or a negative errno. */
static ssize_t list_direct(struct builder *b, uint32_t bytes)
{
    struct hv_storvsc_sgl *sgl = b->sgl;
    ssize_t n = b->resolve(b->resolve_ctx, b->stretch.va, bytes, sgl->pfns + sgl->pfn_count,
                           sgl->pfn_max - sgl->pfn_count);

    if (n == -ENOBUFS)
        return -EMSGSIZE;
    if (n < 0) {
        b->stretch.foreign = true;
        return 0;
    }
    sgl->pfn_count += (uint32_t)n;
    return bytes;
}

/* Gather one list page in a bounce page. */
static int list_bounced(struct builder *b)
{
    struct hv_storvsc_sgl *sgl = b->sgl;
    uint32_t bytes = hv_min_u32(b->left, HV_PAGE_BYTES - b->in_page);
    uint32_t index;
    uint8_t *page;

    if (sgl->pfn_count == sgl->pfn_max || sgl->bounce_pages == b->pool->page_count)
        return -EMSGSIZE;
    if (!b->pool->free_count)
        return -EAGAIN;
    index = take_page(b->pool, sgl);
    page = b->pool->base + (size_t)index * HV_PAGE_BYTES;
    sgl->pfns[sgl->pfn_count++] = b->pool->pfns[index];
    sgl->bounced_bytes += bytes;
    if (b->device_writes) {
        /* What an earlier request left here must reach neither the host nor, when the host writes less than it
         * claims, the caller. */
        memset(page, 0, HV_PAGE_BYTES);
    } else {
        memset(page, 0, b->in_page);
        memset(page + b->in_page + bytes, 0, HV_PAGE_BYTES - b->in_page - bytes);
    }
    page += b->in_page;
    while (bytes) {
        uint32_t n = (uint32_t)hv_min_u64(bytes, b->stretch.bytes);

        if (!n)
            return -EINVAL;
        sgl->bounced_segments++;
        if (!b->device_writes) {
            memcpy(page, b->stretch.va, n);
        } else {
            int rc = add_piece(b, page, n);

            if (rc)
                return rc;
        }
        page += n;
        bytes -= n;
        step(b, n);
    }
    return 0;
}

static int build(struct builder *b)
{
    while (b->left) {
        uint32_t bytes = direct_bytes(b);
        ssize_t done = bytes ? list_direct(b, bytes) : 0;
        int rc = 0;

        if (!b->stretch.bytes)
            return -EINVAL;
        if (done < 0)
            return (int)done;
        if (done)
            step(b, (uint32_t)done);
        else
            rc = list_bounced(b);
        if (rc)
            return rc;
    }
    return 0;
}

int hv_storvsc_sgl_build(struct hv_storvsc_pool *pool, hv_storvsc_resolve_fn *resolve,
                         const void *resolve_ctx, const struct hv_storvsc_cursor *from,
                         uint32_t bytes, bool device_writes, struct hv_storvsc_sgl *sgl)
{
    struct hv_storvsc_cursor cursor = *from;
    struct builder b = {
        .pool = pool,
        .resolve = resolve,
        .resolve_ctx = resolve_ctx,
        .sgl = sgl,
        .cursor = &cursor,
        .left = bytes,
        .device_writes = device_writes,
        .pieces = sgl->inline_pieces,
        .piece_max = HV_STORVSC_INLINE_PIECES,
    };
    uint64_t first_pfn;
    int rc;

    sgl->pfn_count = 0;
    sgl->bytes = bytes;
    sgl->bounce_pages = 0;
    sgl->bounced_bytes = 0;
    sgl->bounced_segments = 0;
    sgl->pieces = sgl->inline_pieces;
    sgl->piece_count = 0;
    b.stretch = stretch_at(b.cursor);
    if (!b.left || !b.stretch.bytes)
        return -EINVAL;
    /* A first segment that is bounced anyway may start anywhere: at a page start it needs the fewest pages. */
    b.in_page = (uint32_t)((uintptr_t)b.stretch.va & PAGE_MASK);
    if (!direct_bytes(&b) || resolve(resolve_ctx, b.stretch.va, 1, &first_pfn, 1) != 1)
        b.in_page = 0;
    sgl->offset = b.in_page;
    rc = build(&b);
    sgl->pieces = b.pieces;
    sgl->piece_count = b.piece_count;
    if (rc)
        hv_storvsc_sgl_release(pool, sgl);
    return rc;
}
