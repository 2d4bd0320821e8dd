/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory: regions of page numbers, each backed by a file and mapped here.
 *
 * The control thread adds and removes; workers look page numbers up at the same time without a lock.  The table is a
 * sorted array under a sequence count (odd while it changes): a reader that saw a change looks again.  Only the
 * guest's own requests change its table, so only its own workers ever repeat.
 *
 * What a lookup found stays mapped after removal: the region lingers until hv_host_memory_reap(), which the bus calls when
 * no channel and no GPADL is left that was there at the time.
 */
#ifndef HV_HOST_MEMORY_H
#define HV_HOST_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"

#define HV_MEMORY_REGIONS_MAX 1024u
#define HV_MEMORY_PFN_END     (1ull << 40)
#define HV_MEMORY_PAGES_MAX   (1ull << 28) /* 1 TiB of address space for one guest */

/** What workers see. */
struct hv_host_memory_slot {
    _Atomic uint64_t first_pfn;
    _Atomic uint64_t page_count;
    _Atomic(uint8_t *) base;
};

/** What the control thread knows besides. */
struct hv_host_memory_region {
    uint64_t first_pfn;
    uint64_t page_count;
    uint8_t *base;
    uint64_t offset;
    int fd;
    int fault_slot;  /* -1 = cannot vanish */
    uint64_t serial; /* lingering: what was there when it was removed */
};

struct hv_host_memory {
    _Atomic uint32_t seq;
    _Atomic uint32_t count;
    struct hv_host_memory_slot slot[HV_MEMORY_REGIONS_MAX];
    /* control thread only */
    struct hv_host_memory_region region[HV_MEMORY_REGIONS_MAX]; /* same order as slot */
    struct hv_host_memory_region lingering[HV_MEMORY_REGIONS_MAX];
    uint32_t lingering_count;
    uint64_t pages; /* mapped, lingering ones too */
    int kick_fd;    /* for memory of hugetlbfs, which is welcome then; -1 = it is not */
    struct hv_host_faults *faults; /* of such memory; NULL = there was none yet */
};

/** The region found last, kept by the reader: page numbers come in runs.  Zeroed = none. */
struct hv_host_memory_hit {
    uint64_t first_pfn;
    uint64_t page_count;
    uint8_t *base;
    uint32_t seq;
};

/** Errors as docs/socket-transport.md, section 4, has them.  Takes fd over, also on failure. */
int hv_host_memory_add(struct hv_host_memory *memory, uint64_t first_pfn, uint64_t page_count,
                       int fd, uint64_t offset);
/** No new lookups succeed; the region lingers with `serial`.  0 or -ENOENT. */
int hv_host_memory_remove(struct hv_host_memory *memory, uint64_t first_pfn, uint64_t page_count,
                          uint64_t serial);
/** Unmap one lingering region of a serial below `oldest`.  False when there is none. */
bool hv_host_memory_reap(struct hv_host_memory *memory, uint64_t oldest, uint64_t *ret_first_pfn);
/** Unmap everything. */
void hv_host_memory_fini(struct hv_host_memory *memory);

/** Control thread: where a page lies in its file; NULL when it is not guest memory, or could vanish. */
const struct hv_host_memory_region *hv_host_memory_find_lasting(const struct hv_host_memory *memory,
                                                                uint64_t pfn);

/** Any thread: find the region of a page number.  False when it is not guest memory. */
bool hv_host_memory_lookup(struct hv_host_memory *memory, uint64_t pfn,
                           struct hv_host_memory_hit *hit);

/** Any thread: address of a page, NULL when it is not guest memory.  `hit` is the reader's own. */
static inline uint8_t *hv_host_memory_page(struct hv_host_memory *memory, uint64_t pfn,
                                           struct hv_host_memory_hit *hit)
{
    if (atomic_load_explicit(&memory->seq, memory_order_acquire) != hit->seq ||
        pfn - hit->first_pfn >= hit->page_count) {
        if (!hv_host_memory_lookup(memory, pfn, hit))
            return NULL;
    }
    return hit->base + ((pfn - hit->first_pfn) << 12);
}

#endif
