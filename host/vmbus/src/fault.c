/* SPDX-License-Identifier: BSD-3-Clause */
#include "fault.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hv/host.h>

#define SLOTS  1024u
#define TABLES 1024u

struct slot {
    _Atomic uintptr_t base; /* 0 = free */
    _Atomic size_t bytes;
};

struct hv_host_faults {
    atomic_bool taken;
    atomic_bool vanished;
    int kick_fd;
    struct slot slot[SLOTS];
};

/* Process-wide, because a signal handler is.  From the front, never shrinks. */
static _Atomic(struct hv_host_faults *) tables[TABLES];

/** A table that nobody has; NULL when there is none. */
static struct hv_host_faults *claim(void)
{
    for (unsigned i = 0; i < TABLES; i++) {
        struct hv_host_faults *table = atomic_load_explicit(&tables[i], memory_order_acquire);

        if (!table)
            return NULL;
        if (!atomic_exchange(&table->taken, true))
            return table;
    }
    return NULL;
}

static int add(struct hv_host_faults **ret_table)
{
    struct hv_host_faults *table = calloc(1, sizeof(*table));

    if (!table)
        return -ENOMEM;
    atomic_store_explicit(&table->taken, true, memory_order_relaxed);
    for (unsigned i = 0; i < TABLES; i++) {
        struct hv_host_faults *none = NULL;

        if (atomic_compare_exchange_strong(&tables[i], &none, table)) {
            *ret_table = table;
            return 0;
        }
    }
    free(table);
    return -ENOSPC;
}

int hv_host_faults_take(int kick_fd, struct hv_host_faults **ret_faults)
{
    struct hv_host_faults *table = claim();

    if (!table) {
        int err = add(&table);

        if (err)
            return err;
    }
    table->kick_fd = kick_fd; /* read for a slot only, and there is none yet */
    atomic_store_explicit(&table->vanished, false, memory_order_relaxed);
    *ret_faults = table;
    return 0;
}

void hv_host_faults_give(struct hv_host_faults *faults)
{
    if (faults)
        atomic_store(&faults->taken, false);
}

int hv_host_faults_watch(struct hv_host_faults *faults, void *base, size_t bytes)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &faults->slot[i];

        if (atomic_load_explicit(&slot->base, memory_order_relaxed))
            continue;
        atomic_store_explicit(&slot->bytes, bytes, memory_order_relaxed);
        atomic_store_explicit(&slot->base, (uintptr_t)base, memory_order_release);
        return (int)i;
    }
    return -ENOSPC;
}

void hv_host_faults_unwatch(struct hv_host_faults *faults, int slot)
{
    atomic_store_explicit(&faults->slot[slot].base, 0, memory_order_release);
}

bool hv_host_faults_vanished(const struct hv_host_faults *faults)
{
    return faults && atomic_load_explicit(&faults->vanished, memory_order_relaxed);
}

/* ---- In the signal handler: atomics, mmap and write only ---- */

/** Zeroes where the whole mapping was: a part of it cannot be replaced. */
static bool replace(struct hv_host_faults *table, struct slot *slot, uintptr_t address)
{
    uintptr_t base = atomic_load_explicit(&slot->base, memory_order_acquire);
    size_t bytes = atomic_load_explicit(&slot->bytes, memory_order_relaxed);
    const uint64_t one = 1;

    if (!base || address < base || address - base >= bytes)
        return false;
    if (mmap((void *)base, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
             -1, 0) == MAP_FAILED)
        return false;
    if (!atomic_exchange(&table->vanished, true))
        (void)!write(table->kick_fd, &one, sizeof(one)); /* full = kicked already */
    return true;
}

bool hv_host_memory_fault(const void *address)
{
    int saved = errno;
    bool ours = false;

    for (unsigned i = 0; i < TABLES && !ours; i++) {
        struct hv_host_faults *table = atomic_load_explicit(&tables[i], memory_order_acquire);

        if (!table)
            break;
        for (unsigned j = 0; j < SLOTS && !ours; j++)
            ours = replace(table, &table->slot[j], (uintptr_t)address);
    }
    errno = saved;
    return ours;
}
