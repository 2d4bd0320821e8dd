/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of LUNs and the news about it.
 *
 * Any queue may learn that something changed (a unit attention, a notification, its own death); queue 0 acts on it, in
 * its owner's thread, and is woken for that when it sleeps.
 */
#include "storvsc_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void hv_storvsc_wake(struct hv_storvsc *s)
{
    uint64_t one = 1;

    /* Full is fine: then it is readable anyway. */
    if (s->wake_fd >= 0)
        (void)!write(s->wake_fd, &one, sizeof(one));
}

void hv_storvsc_want_rescan(struct hv_storvsc *s)
{
    if (!atomic_exchange_explicit(&s->rescan_wanted, true, memory_order_acq_rel))
        hv_storvsc_wake(s);
}

static int add_event(struct hv_storvsc *s, enum hv_storvsc_event event,
                     const struct hv_storvsc_lun *lun)
{
    struct hv_storvsc_event_entry *entry;

    if (s->event_count == s->event_max) {
        size_t max = s->event_max ? 2 * s->event_max : 16;

        entry = realloc(s->events, max * sizeof(*entry));
        if (!entry)
            return -ENOMEM;
        s->events = entry;
        s->event_max = max;
    }
    entry = &s->events[s->event_count++];
    entry->event = event;
    entry->has_lun = lun != NULL;
    if (lun)
        entry->lun = *lun;
    return 0;
}

static int compare_address(struct hv_storvsc_address a, struct hv_storvsc_address b)
{
    if (a.path != b.path)
        return a.path < b.path ? -1 : 1;
    if (a.target != b.target)
        return a.target < b.target ? -1 : 1;
    return a.lun < b.lun ? -1 : a.lun > b.lun;
}

static bool same_text(const char *a, const char *b)
{
    return !strcmp(a, b);
}

/* Another disk at the same address, not the same one changed.  Without names there is no telling. */
static bool is_other_disk(const struct hv_storvsc_lun *a, const struct hv_storvsc_lun *b)
{
    if (a->type != b->type || a->block_bytes != b->block_bytes)
        return true;
    if (a->naa_bytes || b->naa_bytes)
        return a->naa_bytes != b->naa_bytes || memcmp(a->naa, b->naa, a->naa_bytes) != 0;
    return !same_text(a->serial, b->serial);
}

static bool is_changed(const struct hv_storvsc_lun *a, const struct hv_storvsc_lun *b)
{
    return a->read_only != b->read_only || a->write_cache != b->write_cache || a->fua != b->fua ||
           a->rotational != b->rotational || a->thin != b->thin || a->unmap != b->unmap ||
           a->unmap_zeroes != b->unmap_zeroes || a->write_same != b->write_same ||
           a->write_same_unmap != b->write_same_unmap ||
           a->physical_block_bytes != b->physical_block_bytes ||
           a->max_transfer_bytes != b->max_transfer_bytes ||
           a->optimal_transfer_bytes != b->optimal_transfer_bytes ||
           a->unmap_max_blocks != b->unmap_max_blocks ||
           a->unmap_granularity_blocks != b->unmap_granularity_blocks ||
           a->write_same_max_blocks != b->write_same_max_blocks ||
           !same_text(a->serial, b->serial) || !same_text(a->vendor, b->vendor) ||
           !same_text(a->product, b->product) || !same_text(a->revision, b->revision);
}

static int tell_pair(struct hv_storvsc *s, const struct hv_storvsc_lun *was,
                     const struct hv_storvsc_lun *is)
{
    int rc = 0;

    if (is_other_disk(was, is)) {
        rc = add_event(s, HV_STORVSC_LUN_REMOVED, was);
        return rc ? rc : add_event(s, HV_STORVSC_LUN_ADDED, is);
    }
    if (was->block_count != is->block_count)
        rc = add_event(s, HV_STORVSC_LUN_RESIZED, is);
    if (!rc && is_changed(was, is))
        rc = add_event(s, HV_STORVSC_LUN_CHANGED, is);
    return rc;
}

/* Both tables are in address order. */
static int tell_differences(struct hv_storvsc *s, const struct hv_storvsc_table *was,
                            const struct hv_storvsc_table *is)
{
    size_t w = 0, i = 0;
    int rc = 0;

    while (!rc && (w < was->count || i < is->count)) {
        const struct hv_storvsc_lun *old = w < was->count ? &was->disks[w].lun : NULL;
        const struct hv_storvsc_lun *new = i < is->count ? &is->disks[i].lun : NULL;
        int order = !old ? 1 : !new ? -1 : compare_address(old->address, new->address);

        if (order < 0)
            rc = add_event(s, HV_STORVSC_LUN_REMOVED, old);
        else if (order > 0)
            rc = add_event(s, HV_STORVSC_LUN_ADDED, new);
        else
            rc = tell_pair(s, old, new);
        w += order <= 0;
        i += order >= 0;
    }
    return rc;
}

int hv_storvsc_table_publish(struct hv_storvsc *s, const struct hv_storvsc_table *next, bool tell)
{
    size_t before = s->event_count;
    int rc = tell ? tell_differences(s, s->table, next) : 0;

    if (rc) {
        s->event_count = before;
        return rc;
    }
    pthread_mutex_lock(&s->table_lock);
    s->table->count = next->count;
    memcpy(s->table->disks, next->disks, next->count * sizeof(next->disks[0]));
    /* Pairs with the acquire load in hv_storvsc_queue_table(). */
    atomic_fetch_add_explicit(&s->table_generation, 1, memory_order_release);
    pthread_mutex_unlock(&s->table_lock);
    return 0;
}

static void deliver(struct hv_storvsc *s)
{
    struct hv_storvsc_event_entry *events = s->events;
    size_t count = s->event_count;

    if (!count)
        return;
    /* The callback may cause more: those wait for the next poll. */
    s->events = NULL;
    s->event_count = s->event_max = 0;
    for (size_t i = 0; i < count && s->opts.event; i++)
        s->opts.event(s->opts.event_arg, events[i].event,
                      events[i].has_lun ? &events[i].lun : NULL);
    free(events);
}

void hv_storvsc_housekeeping(struct hv_storvsc *s)
{
    if (!s->queues[0]->status) {
        /* Every poll comes here: the exchange, a locked instruction, only when there is something to take. */
        if (s->scan_allowed && *hv_storvsc_scan_idle(s) &&
            atomic_load_explicit(&s->rescan_wanted, memory_order_relaxed) &&
            atomic_exchange_explicit(&s->rescan_wanted, false, memory_order_acq_rel))
            hv_storvsc_scan_start(s);
        hv_storvsc_scan_pump(s);
    }
    if (!s->scan_allowed) /* opening: whoever opens looks for himself */
        return;
    if (!s->dead_told && atomic_load_explicit(&s->dead, memory_order_acquire) &&
        add_event(s, HV_STORVSC_DEAD, NULL) == 0)
        s->dead_told = true;
    deliver(s);
}

bool hv_storvsc_has_news(const struct hv_storvsc *s)
{
    return s->event_count ||
           (*hv_storvsc_scan_idle(s) &&
            atomic_load_explicit(&s->rescan_wanted, memory_order_relaxed)) ||
           (!s->dead_told && atomic_load_explicit(&s->dead, memory_order_relaxed));
}
