/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private: scatter-gather lists under the host's page rule, and the bounce pages for what breaks it.
 *
 * The host takes ONE byte range: an offset into the first page and whole pages from there, without holes.
 *
 *    caller's segments    |--- a ---|-- b --|---------- c ----------|
 *    list pages       |....aaaaaaaaa|bbbbbbbb|ccccccccccccc|cccccccccc....|
 *                      o            4096     8192
 *
 * The list starts at the in-page offset `o` of the first segment.  A list page is used in place when all of its bytes
 * come from one stretch of DMA memory that lies at the same offset in its own page; otherwise that page, and only that
 * page, is a bounce page.  Neighbours that touch are one stretch.
 */
#ifndef HV_STORVSC_SGL_IMPL_H
#define HV_STORVSC_SGL_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/** Bounce pages of one queue; lent first in first out.  Owner: the queue's thread. */
struct hv_storvsc_pool {
    uint8_t *base;  /* page_count pages of DMA memory */
    uint64_t *pfns; /* of each page */
    uint32_t *next; /* chain of free pages, or of the pages of one list */
    uint32_t page_count;
    uint32_t free_count;
    uint32_t head; /* of the free chain; valid while free_count > 0 */
    uint32_t tail;
};

/** One stretch to copy back when the device has written a bounce page. */
struct hv_storvsc_piece {
    uint8_t *user;
    const uint8_t *bounce;
    uint32_t bytes;
};
#define HV_STORVSC_INLINE_PIECES 2u

/** The pages of one command.  Storage of `pfns` is the caller's; the rest is filled by hv_storvsc_sgl_build(). */
struct hv_storvsc_sgl {
    uint64_t *pfns;
    uint32_t pfn_max;
    uint32_t pfn_count;
    uint32_t offset; /* into the first page */
    uint32_t bytes;
    uint32_t bounce_pages;
    uint32_t bounce_head; /* chain in pool->next; valid while bounce_pages > 0 */
    uint32_t bounce_tail;
    uint32_t bounced_bytes;
    uint32_t bounced_segments;
    uint32_t piece_count;
    struct hv_storvsc_piece *pieces; /* inline_pieces, or allocated when there are more */
    struct hv_storvsc_piece inline_pieces[HV_STORVSC_INLINE_PIECES];
};

/** Where a list begins inside a caller's vector. */
struct hv_storvsc_cursor {
    const struct iovec *iov;
    uint32_t iov_count; /* from iov on */
    size_t offset;      /* into iov[0] */
};

/** Page numbers of DMA memory: as hv_dma_pfns(). */
typedef ssize_t hv_storvsc_resolve_fn(const void *ctx, const void *va, size_t bytes, uint64_t *pfns,
                                      size_t max);

/** `base` is DMA memory of page_count pages, `pfns` their numbers; arrays are allocated.  0 or -ENOMEM. */
int hv_storvsc_pool_init(struct hv_storvsc_pool *pool, uint8_t *base, const uint64_t *pfns,
                         uint32_t page_count);
/** Takes a zeroed pool too. */
void hv_storvsc_pool_fini(struct hv_storvsc_pool *pool);

/**
 * Build the list for `bytes` bytes from the cursor on.
 *
 * @device_writes  Data from the device: bounce pages are zeroed, and hv_storvsc_sgl_copy_back() brings the bytes home.
 *                 Else the caller's bytes are copied into them now.
 *
 * Returns 0, or (nothing is held)
 *   -EAGAIN    too few free bounce pages now;
 *   -EMSGSIZE  more than sgl->pfn_max pages, or more bounce pages than the pool has;
 *   -EINVAL    the vector is shorter than `bytes`, or `bytes` is 0;
 *   -ENOMEM    no memory for the copy-back list of a badly scattered read.
 */
int hv_storvsc_sgl_build(struct hv_storvsc_pool *pool, hv_storvsc_resolve_fn *resolve,
                         const void *resolve_ctx, const struct hv_storvsc_cursor *from,
                         uint32_t bytes, bool device_writes, struct hv_storvsc_sgl *sgl);
/** After the device has written: bounce pages to the caller's memory. */
void hv_storvsc_sgl_copy_back(const struct hv_storvsc_sgl *sgl);
/** Give bounce pages and copy-back list back.  Takes an empty list too. */
void hv_storvsc_sgl_release(struct hv_storvsc_pool *pool, struct hv_storvsc_sgl *sgl);

/** Move a cursor forward over `bytes` bytes that are known to be there. */
void hv_storvsc_cursor_advance(struct hv_storvsc_cursor *cursor, size_t bytes);

#endif
