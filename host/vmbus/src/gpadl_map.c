/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GPADLs that a provider maps as one piece of memory: the shared buffers of a NIC.
 *
 * A worker maps and unmaps while the control thread owns the list.  guest->gpadl_lock covers the list and what says that
 * a GPADL is held: as long as it is, the control thread neither frees nor answers it.  No page is mapped under the lock.
 */
#include "host_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <hv/base/bits.h>

/** Lock held. */
static struct hv_host_gpadl *find(const struct hv_host_channel *channel, uint32_t id)
{
    struct hv_host_gpadl *gpadl;

    TAILQ_FOREACH(gpadl, &channel->guest->gpadls, entry)
    {
        if (gpadl->id == id && gpadl->channel == channel && gpadl->created && !gpadl->tearing_down)
            return gpadl;
    }
    return NULL;
}

/** Takes hold of it.  From a page boundary and one range: anything else is no buffer. */
static int hold(struct hv_host_channel *channel, uint32_t id, struct hv_host_gpadl **ret_gpadl,
                struct hv_gpa_range *ret_range)
{
    struct hv_host_guest *guest = channel->guest;
    struct hv_host_gpadl *gpadl;
    int err = 0;

    pthread_mutex_lock(&guest->gpadl_lock);
    gpadl = find(channel, id);
    if (!gpadl || gpadl->in_use) {
        err = -ENOENT;
    } else if (gpadl->held) {
        err = -EEXIST;
    } else {
        memcpy(ret_range, gpadl->words, sizeof(*ret_range));
        if (gpadl->range_count != 1 || ret_range->byte_offset)
            err = -EINVAL;
        else
            gpadl->held = true;
    }
    pthread_mutex_unlock(&guest->gpadl_lock);
    if (!err)
        *ret_gpadl = gpadl;
    return err;
}

/** The GPADL may be gone when this returns. */
static void let_go(struct hv_host_channel *channel, struct hv_host_gpadl *gpadl)
{
    struct hv_host_guest *guest = channel->guest;
    bool owed;

    pthread_mutex_lock(&guest->gpadl_lock);
    guest->buffer_runs -= gpadl->map_runs;
    gpadl->map_runs = 0;
    gpadl->mapped = NULL;
    gpadl->held = false;
    owed = gpadl->tearing_down;
    pthread_mutex_unlock(&guest->gpadl_lock);
    if (owed)
        hv_host_worker_report(channel, HV_EVENT_UNMAPPED);
}

/** Pages that follow each other in one region, from the first on; NULL when it is not guest memory any more. */
static uint8_t *find_run(struct hv_host_channel *channel, const uint64_t *pfns, uint64_t pages,
                         uint64_t *ret_run)
{
    struct hv_host_memory_hit *hit = &channel->hit;
    uint8_t *first = hv_host_memory_page(&channel->guest->memory, pfns[0], hit);
    uint64_t run = 1, max;

    if (!first)
        return NULL;
    max = hv_min_u64(pages, hit->page_count - (pfns[0] - hit->first_pfn));
    while (run < max && pfns[run] == pfns[0] + run)
        run++;
    *ret_run = run;
    return first;
}

/** Mappings are scarce (vm.max_map_count), and other guests need some too. */
static bool take_run(struct hv_host_guest *guest, struct hv_host_gpadl *gpadl)
{
    bool taken;

    pthread_mutex_lock(&guest->gpadl_lock);
    taken = guest->buffer_runs < HV_HOST_BUFFER_RUNS_MAX;
    if (taken) {
        guest->buffer_runs++;
        gpadl->map_runs++;
    }
    pthread_mutex_unlock(&guest->gpadl_lock);
    return taken;
}

/**
 * Pages of the guest's memory, seen a second time one behind the other: mremap() of size 0 duplicates a shared mapping.
 * They stay when the guest takes the memory away.
 */
static int map_pages(struct hv_host_channel *channel, struct hv_host_gpadl *gpadl, uint8_t *base,
                     uint64_t pages)
{
    const uint64_t *pfns = gpadl->words + 1;
    uint64_t run;

    for (uint64_t at = 0; at < pages; at += run) {
        uint8_t *from = find_run(channel, pfns + at, pages - at, &run);
        uint8_t *to = base + at * HV_PAGE_BYTES;

        if (!from)
            return -ENOENT;
        if (!take_run(channel->guest, gpadl))
            return -ENOSPC;
        if (mremap(from, 0, run * HV_PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
            return -ENOMEM;
    }
    return 0;
}

int hv_host_channel_map_gpadl(struct hv_host_channel *channel, uint32_t gpadl, void **ret_address,
                              size_t *ret_bytes)
{
    struct hv_host_gpadl *found = NULL;
    struct hv_gpa_range range;
    int err = hold(channel, gpadl, &found, &range);
    uint64_t bytes;
    void *base;

    if (err)
        return err;
    bytes = hv_align_up((uint64_t)range.byte_count, HV_PAGE_BYTES);
    base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    err = base == MAP_FAILED ? -ENOMEM
                             : map_pages(channel, found, (uint8_t *)base, bytes / HV_PAGE_BYTES);
    if (err) {
        if (base != MAP_FAILED)
            (void)munmap(base, bytes);
        let_go(channel, found);
        return err;
    }
    pthread_mutex_lock(&channel->guest->gpadl_lock);
    found->mapped = base;
    found->mapped_bytes = bytes;
    pthread_mutex_unlock(&channel->guest->gpadl_lock);
    *ret_address = base;
    *ret_bytes = range.byte_count;
    return 0;
}

/** Next mapping of this channel, `id` or any.  Only who unmaps changes that, and there is one at a time. */
static struct hv_host_gpadl *find_mapped(struct hv_host_channel *channel, const uint32_t *id)
{
    struct hv_host_gpadl *gpadl;

    pthread_mutex_lock(&channel->guest->gpadl_lock);
    TAILQ_FOREACH(gpadl, &channel->guest->gpadls, entry)
    {
        if (gpadl->channel == channel && gpadl->mapped && (!id || gpadl->id == *id))
            break;
    }
    pthread_mutex_unlock(&channel->guest->gpadl_lock);
    return gpadl;
}

static void unmap(struct hv_host_channel *channel, struct hv_host_gpadl *gpadl)
{
    (void)munmap(gpadl->mapped, gpadl->mapped_bytes); /* cannot fail: a mapping */
    let_go(channel, gpadl);
}

void hv_host_channel_unmap_gpadl(struct hv_host_channel *channel, uint32_t gpadl)
{
    struct hv_host_gpadl *found = find_mapped(channel, &gpadl);

    if (found)
        unmap(channel, found);
}

void hv_host_gpadl_unmap_all(struct hv_host_channel *channel)
{
    struct hv_host_gpadl *gpadl;

    while ((gpadl = find_mapped(channel, NULL)))
        unmap(channel, gpadl);
}
