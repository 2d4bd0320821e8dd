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
static int check_file(const struct hv_host_memory *memory, int fd, uint64_t offset, uint64_t bytes,
                      bool *ret_vanishes)
{
    int seals = fcntl(fd, F_GET_SEALS);
    uint64_t unit = HV_PAGE_BYTES;
    struct statfs fs;
    struct stat st;
    bool huge;

    if (seals < 0)
        return -EOPNOTSUPP;
    if (fstatfs(fd, &fs) || fstat(fd, &st))
        return -errno;
    /* hugetlb: one cut off, or a hole punched into it when the pool is empty, is a SIGBUS */
    huge = fs.f_type == HUGETLBFS_MAGIC && memory->kick_fd >= 0;
    if ((fs.f_type != TMPFS_MAGIC && !huge) || !S_ISREG(st.st_mode))
        return -EOPNOTSUPP;
    if (!huge && !(seals & F_SEAL_SHRINK))
        return -EACCES;
    if (huge)
        unit = (uint64_t)st.st_blksize; /* its page size: what can be mapped, and replaced */
    if (offset % unit || (huge && bytes % unit) ||
        !hv_range_fits(offset, bytes, (uint64_t)st.st_size))
        return -EINVAL;
    *ret_vanishes = huge;
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

/** Returns the slot of a mapping that can vanish, or a negative errno. */
static int watch(struct hv_host_memory *memory, void *base, size_t bytes)
{
    int err = memory->faults ? 0 : hv_host_faults_take(memory->kick_fd, &memory->faults);

    return err ? err : hv_host_faults_watch(memory->faults, base, bytes);
}

static int map_region(struct hv_host_memory *memory, struct hv_host_memory_region *region,
                      bool vanishes)
{
    size_t bytes = region->page_count * HV_PAGE_BYTES;
    void *base =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, (off_t)region->offset);

    if (base == MAP_FAILED)
        return errno == EACCES || errno == EPERM ? -EACCES : -ENOMEM;
    region->fault_slot = vanishes ? watch(memory, base, bytes) : -1;
    if (vanishes && region->fault_slot < 0) {
        (void)munmap(base, bytes);
        return region->fault_slot;
    }
    region->base = base;
    return 0;
}

int hv_host_memory_add(struct hv_host_memory *memory, uint64_t first_pfn, uint64_t page_count,
                       int fd, uint64_t offset)
{
    struct hv_host_memory_region region = {
        .first_pfn = first_pfn, .page_count = page_count, .offset = offset, .fd = fd};
    int err = check_region(memory, first_pfn, page_count);
    bool vanishes = false;

    if (!err)
        err = check_file(memory, fd, offset, page_count * HV_PAGE_BYTES, &vanishes);
    if (!err)
        err = map_region(memory, &region, vanishes);
    if (err) {
        (void)close(fd);
        return err;
    }
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
    if (region->fault_slot >= 0)
        hv_host_faults_unwatch(memory->faults, region->fault_slot);
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
    hv_host_faults_give(memory->faults);
    memory->faults = NULL;
}

const struct hv_host_memory_region *hv_host_memory_find_lasting(const struct hv_host_memory *memory,
                                                                uint64_t pfn)
{
    uint32_t low = 0, high = atomic_load_explicit(&memory->count, memory_order_relaxed);

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct hv_host_memory_region *region = &memory->region[middle];

        if (pfn < region->first_pfn)
            high = middle;
        else if (pfn - region->first_pfn < region->page_count)
            return region->fault_slot < 0 ? region : NULL;
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
