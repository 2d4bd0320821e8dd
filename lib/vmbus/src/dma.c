/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that the host can reach, and the way from an address to page numbers.
 *
 * Looking up is lock-free and runs once per request in many threads: a sorted table of runs that nobody changes.
 * Adding or freeing memory makes a new table and swaps it in; the old ones stay until no channel is open any more, since
 * owners may still look at them.  That is a few bytes per change, and changes are rare.
 */
#include "bus_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/wire/ring.h>

static int compare_runs(const void *a, const void *b)
{
    const struct hv_dma_run *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

/** A new table of all memory in bus->dma.  -ENOMEM; -EINVAL when two runs overlap. */
static int publish_table(struct hv_vmbus *bus)
{
    struct hv_dma_table *table;
    size_t count = 0, i = 0;

    for (const struct hv_dma *dma = bus->dma; dma; dma = dma->next)
        count += dma->run_count;
    table = malloc(sizeof(*table) + count * sizeof(table->runs[0]));
    if (!table)
        return -ENOMEM;
    for (const struct hv_dma *dma = bus->dma; dma; dma = dma->next) {
        memcpy(&table->runs[i], dma->runs, dma->run_count * sizeof(dma->runs[0]));
        i += dma->run_count;
    }
    qsort(table->runs, count, sizeof(table->runs[0]), compare_runs);
    for (i = 1; i < count; i++)
        if (table->runs[i].start < table->runs[i - 1].end) {
            free(table);
            return -EINVAL;
        }
    table->count = count;
    table->older = atomic_load_explicit(&bus->dma_table, memory_order_relaxed);
    atomic_store_explicit(&bus->dma_table, table, memory_order_release);
    return 0;
}

static void unlink_dma(struct hv_dma *dma)
{
    struct hv_dma **link = &dma->bus->dma;

    while (*link != dma)
        link = &(*link)->next;
    *link = dma->next;
}

static void release(struct hv_dma *dma)
{
    dma->bus->ops->dma_free(dma);
    if (dma->runs != &dma->only)
        free(dma->runs);
    free(dma);
}

/** The transport filled `dma`: let everybody see it. */
static int publish(struct hv_dma *dma, struct hv_dma **ret_dma)
{
    int err;

    dma->next = dma->bus->dma;
    dma->bus->dma = dma;
    err = publish_table(dma->bus);
    if (err) {
        unlink_dma(dma);
        release(dma);
        return err;
    }
    *ret_dma = dma;
    return 0;
}

static struct hv_dma *new_dma(struct hv_vmbus *bus)
{
    struct hv_dma *dma = calloc(1, sizeof(*dma));

    if (dma) {
        dma->bus = bus;
        dma->runs = &dma->only;
    }
    return dma;
}

int hv_dma_alloc(struct hv_vmbus *bus, size_t bytes, struct hv_dma **ret_dma)
{
    struct hv_dma *dma;
    int err;

    if (!bytes)
        return -EINVAL;
    if (bus->gone)
        return -ENODEV;
    if (bytes > SIZE_MAX / 4)
        return -ENOMEM;
    dma = new_dma(bus);
    if (!dma)
        return -ENOMEM;
    err = bus->ops->dma_alloc(dma, hv_align_up(bytes, HV_PAGE_BYTES));
    if (err) {
        free(dma);
        return err;
    }
    return publish(dma, ret_dma);
}

int hv_dma_register(struct hv_vmbus *bus, void *va, size_t bytes, int fd, uint64_t offset,
                    struct hv_dma **ret_dma)
{
    struct hv_dma *dma;
    int err;

    if (!va || !bytes || ((uintptr_t)va | bytes | offset) % HV_PAGE_BYTES ||
        bytes > UINTPTR_MAX - (uintptr_t)va)
        return -EINVAL;
    if (bus->gone)
        return -ENODEV;
    dma = new_dma(bus);
    if (!dma)
        return -ENOMEM;
    dma->va = va;
    dma->bytes = bytes;
    dma->registered = true;
    err = bus->ops->dma_register(dma, fd, offset);
    if (err) {
        free(dma);
        return err;
    }
    return publish(dma, ret_dma);
}

void hv_dma_free(struct hv_dma *dma)
{
    if (!dma)
        return;
    unlink_dma(dma);
    /* without memory for a new table the old one stays: it names memory that the caller promised not to use */
    (void)publish_table(dma->bus);
    release(dma);
}

static void free_tables(struct hv_dma_table *table)
{
    while (table) {
        struct hv_dma_table *older = table->older;

        free(table);
        table = older;
    }
}

void hv_dma_trim(struct hv_vmbus *bus)
{
    struct hv_dma_table *table = atomic_load_explicit(&bus->dma_table, memory_order_relaxed);

    if (!table)
        return;
    free_tables(table->older);
    table->older = NULL;
}

void hv_dma_free_all(struct hv_vmbus *bus)
{
    while (bus->dma) {
        struct hv_dma *dma = bus->dma;

        bus->dma = dma->next;
        release(dma);
    }
    free_tables(atomic_load_explicit(&bus->dma_table, memory_order_relaxed));
    atomic_store_explicit(&bus->dma_table, NULL, memory_order_relaxed);
}

void *hv_dma_address(const struct hv_dma *dma)
{
    return dma->va;
}

size_t hv_dma_bytes(const struct hv_dma *dma)
{
    return dma->bytes;
}

/** The run that contains `at`, or NULL. */
static const struct hv_dma_run *find_run(const struct hv_dma_table *table, uintptr_t at)
{
    size_t low = 0, high = table->count; /* runs below `low` start at or before `at` */

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (table->runs[middle].start <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low && at < table->runs[low - 1].end ? &table->runs[low - 1] : NULL;
}

ssize_t hv_dma_pfns(const struct hv_vmbus *bus, const void *va, size_t bytes, uint64_t *pfns,
                    size_t max)
{
    const struct hv_dma_table *table = atomic_load_explicit(&bus->dma_table, memory_order_acquire);
    uintptr_t at = (uintptr_t)va & ~(uintptr_t)(HV_PAGE_BYTES - 1);
    uintptr_t end;
    size_t count = 0;

    if (!bytes)
        return 0;
    if (!table || bytes > UINTPTR_MAX - HV_PAGE_BYTES - (uintptr_t)va)
        return -EFAULT;
    end = hv_align_up((uintptr_t)va + bytes, HV_PAGE_BYTES);
    while (at < end) {
        const struct hv_dma_run *run = find_run(table, at);
        uintptr_t stop;
        uint64_t pfn;

        if (!run)
            return -EFAULT;
        stop = end < run->end ? end : run->end;
        if ((stop - at) >> HV_PAGE_SHIFT > max - count)
            return -ENOBUFS;
        for (pfn = run->first_pfn + ((at - run->start) >> HV_PAGE_SHIFT); at < stop;
             at += HV_PAGE_BYTES)
            pfns[count++] = pfn++;
    }
    return (ssize_t)count;
}
