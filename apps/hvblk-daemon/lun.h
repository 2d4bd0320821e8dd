/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LUNs as exports.  A LUN keeps its slot for the life of the daemon, also while it is away, so a connection names its
 * LUN by slot.  The control thread owns the table and sends every reactor a copy when it changes.
 */
#ifndef HVBLK_LUN_H
#define HVBLK_LUN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <hv/storvsc.h>

#define LUN_MAX  256u
#define LUN_NONE UINT16_MAX

struct lun {
    bool present; /* false: taken away; requests fail, the name is gone */
    bool read_only;
    bool write_cache;
    bool rotational;
    bool status; /* GET LBA STATUS is worth asking */
    bool unmap;
    bool unmap_zeroes;
    bool fua;        /* FUA writes without a flush of the whole cache */
    bool write_same; /* zeroes need not be sent */
    struct hv_storvsc_address address;
    uint32_t block_bytes; /* power of two */
    uint32_t preferred_bytes;
    uint32_t physical_bytes, optimal_bytes; /* as the host says; 0 = not said */
    uint32_t unmap_granularity_bytes;       /* 0 = not said */
    uint64_t unmap_max_bytes;               /* 0 = not said */
    uint64_t write_same_max_bytes;          /* 0 = not said */
    uint64_t bytes;
    uint32_t
        identity; /* which disk it is, as far as it tells: a hash of its name, description and block size */
    char name[40]; /* "lun0"; "path1-target2-lun3" beside path 0, target 0 */
    char description[64];
};

struct lun_table {
    uint16_t count; /* slots ever used */
    struct lun lun[LUN_MAX];
};

/** What all reactors must know at once about a slot. */
struct lun_shared {
    atomic_bool dirty; /* writes acknowledged since the last flush that succeeded */
    atomic_bool lost;  /* such writes may be gone: the next flush must say so */
};

/** False when a LUN cannot be an NBD export (no disk, odd block size). */
bool lun_from_device(const struct hv_storvsc_lun *device, struct lun *ret_lun);
/** Slot of an address, a new one if there is room, else LUN_NONE. */
uint16_t lun_slot(struct lun_table *table, const struct hv_storvsc_address *address);
/** Slot of the export called `name` (not terminated); the empty name is the first LUN.  LUN_NONE: unknown. */
uint16_t lun_find(const struct lun_table *table, const char *name, size_t name_bytes);
/** NBD transmission flags; `structured` adds DF. */
uint16_t lun_export_flags(const struct lun *lun, bool structured);

#endif
