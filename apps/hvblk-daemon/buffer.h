/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data buffers of one reactor: one arena of DMA memory, taken once, cut into slabs of 1 MiB; a slab holds buffers of one
 * size, 4 KiB to 1 MiB in powers of two.  A slab whose buffers are all free may change its size.
 *
 * A request takes all its buffers at once or none: `take` never leaves it half-served, so two requests cannot wait for
 * each other.  Requests above 1 MiB get several buffers, all but the last of 1 MiB.  The memory of a reactor is thereby
 * bounded by its arena, whatever its clients ask for; who finds none waits.
 *
 * ORDER: buffers of a size are used first in first out while a host on another CPU fills them: its cache still has the
 * lines of the one returned last.  When the owner thread is the host, too (`warm`), the last one is the best one.
 *
 * One owner thread, no locks, no allocation after init.
 */
#ifndef HVBLK_BUFFER_H
#define HVBLK_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUFFER_SLAB_BYTES  (1u << 20)
#define BUFFER_MIN_BYTES   4096u
#define BUFFER_CLASS_COUNT 9u
#define BUFFER_PER_REQUEST 32u /* 32 MiB */

struct buffer {
    struct buffer *next, *prev; /* in the free list of its size */
    uint8_t *data;              /* page aligned */
    uint32_t slab;
};

struct buffer_list {
    struct buffer *first, *last;
    uint32_t count;
};

struct buffer_slab {
    uint8_t class;      /* BUFFER_CLASS_COUNT = not cut */
    uint16_t used;      /* buffers handed out */
    struct buffer *cut; /* its buffers, BUFFER_SLAB_BYTES / size of them */
};

struct buffer_pool {
    uint8_t *arena;
    uint32_t slab_count, uncut_count;
    struct buffer_slab *slabs;
    struct buffer *buffers; /* 256 for each slab */
    struct buffer_list free[BUFFER_CLASS_COUNT];
    uint64_t used_bytes;
    bool warm; /* reuse the last one first */
};

/** @arena page aligned, stays the caller's; @bytes at least one slab.  0, -EINVAL, -ENOMEM. */
int buffer_pool_init(struct buffer_pool *pool, void *arena, size_t bytes);
void buffer_pool_fini(struct buffer_pool *pool);

/** How many buffers a request of `bytes` needs. */
static inline unsigned buffer_count(uint32_t bytes)
{
    return (bytes + BUFFER_SLAB_BYTES - 1) / BUFFER_SLAB_BYTES;
}
/**
 * Buffers for a request, all or none.
 * @bytes        1 .. BUFFER_PER_REQUEST MiB.
 * @ret_buffers  Room for buffer_count(bytes).
 * Returns how many were written to ret_buffers, 0 = not now.
 */
unsigned buffer_take(struct buffer_pool *pool, uint32_t bytes, struct buffer **ret_buffers);
void buffer_give(struct buffer_pool *pool, struct buffer *const *buffers, unsigned count);

#endif
