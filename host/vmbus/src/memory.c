/* SPDX-License-Identifier: BSD-3-Clause */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/wire/ring.h>

/**
 * The file cannot vanish under us, and cannot stall or fail a page fault of ours.  Seals first: only files in memory have
 * them, and any other question may go to a file system that is a process of the guest (FUSE) and never answers.
 */
static int check_file(int fd, uint64_t offset, uint64_t bytes)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct statfs fs;
    struct stat st;

    if (seals < 0)
        return -EOPNOTSUPP;
    if (fstatfs(fd, &fs) || fstat(fd, &st))
        return -errno;
    /* hugetlb: a hole punched into it could kill us when the pool is empty */
    if (fs.f_type != TMPFS_MAGIC || !S_ISREG(st.st_mode))
        return -EOPNOTSUPP;
    if (!(seals & F_SEAL_SHRINK))
        return -EACCES;
    if (offset % HV_PAGE_BYTES || !hv_range_fits(offset, bytes, (uint64_t)st.st_size))
        return -EINVAL;
    return 0;
}

static bool overlaps(const struct hv_host_memory_region *region, uint32_t count, uint64_t first_pfn,
                     uint64_t page_count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (first_pfn < region[i].first_pfn + region[i].page_count &&
            region[i].first_pfn < first_pfn + page_count)
            return true;
    }
    return false;
}

static int check_region(const struct hv_host_memory *memory, uint64_t first_pfn,
                        uint64_t page_count)
{
    uint32_t count = atomic_load_explicit(&memory->count, memory_order_relaxed);

    if (!first_pfn || !page_count || !hv_range_fits(first_pfn, page_count, HV_MEMORY_PFN_END))
        return -EINVAL;
    if (overlaps(memory->region, count, first_pfn, page_count) ||
        overlaps(memory->lingering, memory->lingering_count, first_pfn, page_count))
        return -EINVAL;
    if (count + memory->lingering_count >= HV_MEMORY_REGIONS_MAX ||
        page_count > HV_MEMORY_PAGES_MAX - memory->pages)
        return -ENOSPC;
    return 0;
}

/*
 * Writer side of the sequence count.  The slots are stored with release after the odd count and before the even one, so
 * a reader that saw any of it sees a count other than the one it began with.
 */
static uint32_t change_begin(struct hv_host_memory *memory)
{
    uint32_t seq = atomic_load_explicit(&memory->seq, memory_order_relaxed);

    atomic_store_explicit(&memory->seq, seq + 1, memory_order_relaxed);
    return seq + 2;
}

static void change_end(struct hv_host_memory *memory, uint32_t seq, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct hv_host_memory_slot *slot = &memory->slot[i];
        const struct hv_host_memory_region *region = &memory->region[i];

        atomic_store_explicit(&slot->first_pfn, region->first_pfn, memory_order_release);
        atomic_store_explicit(&slot->page_count, region->page_count, memory_order_release);
        atomic_store_explicit(&slot->base, region->base, memory_order_release);
    }
    atomic_store_explicit(&memory->count, count, memory_order_release);
    atomic_store_explicit(&memory->seq, seq, memory_order_release);
}

static void insert(struct hv_host_memory *memory, const struct hv_host_memory_region *region)
{
    uint32_t count = atomic_load_explicit(&memory->count, memory_order_relaxed);
    uint32_t seq = change_begin(memory);
    uint32_t at = count;

    while (at && memory->region[at - 1].first_pfn > region->first_pfn) {
        memory->region[at] = memory->region[at - 1];
        at--;
    }
    memory->region[at] = *region;
    change_end(memory, seq, count + 1);
}

int hv_host_memory_add(struct hv_host_memory *memory, uint64_t first_pfn, uint64_t page_count,
                       int fd, uint64_t offset)
{
    struct hv_host_memory_region region = {
        .first_pfn = first_pfn, .page_count = page_count, .offset = offset, .fd = fd};
    int err = check_region(memory, first_pfn, page_count);
    void *base;

    if (!err)
        err = check_file(fd, offset, page_count * HV_PAGE_BYTES);
    if (!err) {
        base = mmap(NULL, page_count * HV_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                    (off_t)offset);
        if (base == MAP_FAILED)
            err = errno == EACCES || errno == EPERM ? -EACCES : -ENOMEM;
    }
    if (err) {
        (void)close(fd);
        return err;
    }
    region.base = base;
    memory->pages += page_count;
    insert(memory, &region);
    return 0;
}

int hv_host_memory_remove(struct hv_host_memory *memory, uint64_t first_pfn, uint64_t page_count,
                          uint64_t serial)
{
    uint32_t count = atomic_load_explicit(&memory->count, memory_order_relaxed);
    struct hv_host_memory_region *gone = &memory->lingering[memory->lingering_count];
    uint32_t seq;

    for (uint32_t i = 0; i < count; i++) {
        if (memory->region[i].first_pfn != first_pfn || memory->region[i].page_count != page_count)
            continue;
        *gone = memory->region[i]; /* there is a place: both together stay below the maximum */
        gone->serial = serial;
        memory->lingering_count++;
        seq = change_begin(memory);
        memmove(&memory->region[i], &memory->region[i + 1],
                (count - i - 1) * sizeof(memory->region[0]));
        change_end(memory, seq, count - 1);
        return 0;
    }
    return -ENOENT;
}

static void release(struct hv_host_memory *memory, struct hv_host_memory_region *region)
{
    (void)munmap(region->base, region->page_count * HV_PAGE_BYTES); /* cannot fail: a mapping */
    (void)close(region->fd);
    memory->pages -= region->page_count;
}

bool hv_host_memory_reap(struct hv_host_memory *memory, uint64_t oldest, uint64_t *ret_first_pfn)
{
    for (uint32_t i = 0; i < memory->lingering_count; i++) {
        struct hv_host_memory_region region = memory->lingering[i];

        if (region.serial >= oldest)
            continue;
        memory->lingering[i] = memory->lingering[--memory->lingering_count];
        release(memory, &region);
        *ret_first_pfn = region.first_pfn;
        return true;
    }
    return false;
}

void hv_host_memory_fini(struct hv_host_memory *memory)
{
    uint32_t count = atomic_load_explicit(&memory->count, memory_order_relaxed);
    uint64_t pfn;

    while (hv_host_memory_reap(memory, UINT64_MAX, &pfn)) {
    }
    change_end(memory, change_begin(memory), 0);
    for (uint32_t i = 0; i < count; i++)
        release(memory, &memory->region[i]);
}

const struct hv_host_memory_region *hv_host_memory_find(const struct hv_host_memory *memory,
                                                        uint64_t pfn)
{
    uint32_t low = 0, high = atomic_load_explicit(&memory->count, memory_order_relaxed);

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct hv_host_memory_region *region = &memory->region[middle];

        if (pfn < region->first_pfn)
            high = middle;
        else if (pfn - region->first_pfn < region->page_count)
            return region;
        else
            low = middle + 1;
    }
    return NULL;
}

/** One look at the table; what it saw counts only if the sequence count did not move. */
static bool search(struct hv_host_memory *memory, uint64_t pfn, struct hv_host_memory_hit *hit)
{
    uint32_t low = 0, high = atomic_load_explicit(&memory->count, memory_order_acquire);

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        struct hv_host_memory_slot *slot = &memory->slot[middle];

        hit->first_pfn = atomic_load_explicit(&slot->first_pfn, memory_order_acquire);
        if (pfn < hit->first_pfn) {
            high = middle;
            continue;
        }
        hit->page_count = atomic_load_explicit(&slot->page_count, memory_order_acquire);
        hit->base = atomic_load_explicit(&slot->base, memory_order_acquire);
        if (pfn - hit->first_pfn < hit->page_count)
            return true;
        low = middle + 1;
    }
    return false;
}

bool hv_host_memory_lookup(struct hv_host_memory *memory, uint64_t pfn,
                           struct hv_host_memory_hit *hit)
{
    bool found;
    uint32_t seq;

    do {
        seq = atomic_load_explicit(&memory->seq, memory_order_acquire);
        found = search(memory, pfn, hit);
        /* the acquire loads of the search keep this one behind them */
    } while ((seq & 1) || atomic_load_explicit(&memory->seq, memory_order_relaxed) != seq);
    hit->seq = seq;
    if (!found)
        hit->page_count = 0;
    return found;
}
