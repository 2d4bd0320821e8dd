/* SPDX-License-Identifier: BSD-3-Clause */
#include "lun.h"

#include <stdio.h>
#include <string.h>

#include "nbd_wire.h"

#define PREFERRED_MIN_BYTES 4096u

static unsigned rank(const struct hv_storvsc_address *a)
{
    return (unsigned)a->path << 16 | (unsigned)a->target << 8 | a->lun;
}

static bool power_of_two(uint32_t n)
{
    return n && !(n & (n - 1));
}

static uint32_t hash(uint32_t h, const void *data, size_t bytes)
{
    const uint8_t *at = data;

    while (bytes--)
        h = (h ^ *at++) * UINT32_C(16777619); /* FNV-1a */
    return h;
}

bool lun_from_device(const struct hv_storvsc_lun *device, struct lun *ret_lun)
{
    struct lun lun = {
        .present = true,
        .read_only = device->read_only,
        .write_cache = device->write_cache,
        .rotational = device->rotational,
        .status = device->thin,
        .unmap = device->unmap && !device->read_only,
        .unmap_zeroes = device->unmap_zeroes,
        .fua = device->fua,
        .write_same = device->write_same,
        .address = device->address,
        .block_bytes = device->block_bytes,
        .preferred_bytes = PREFERRED_MIN_BYTES,
        .physical_bytes = device->physical_block_bytes,
        .optimal_bytes = device->optimal_transfer_bytes,
    };

    if (device->type != 0 || !power_of_two(device->block_bytes) || device->block_bytes < 512 ||
        device->block_bytes > 65536 ||
        __builtin_mul_overflow(device->block_count, device->block_bytes, &lun.bytes) ||
        lun.bytes > INT64_MAX)
        return false;
    lun.unmap_max_bytes = (uint64_t)device->unmap_max_blocks * lun.block_bytes;
    if (device->unmap_granularity_blocks <= UINT32_MAX / lun.block_bytes)
        lun.unmap_granularity_bytes = device->unmap_granularity_blocks * lun.block_bytes;
    if (device->write_same_max_blocks <= UINT64_MAX / lun.block_bytes)
        lun.write_same_max_bytes = device->write_same_max_blocks * lun.block_bytes;
    if (power_of_two(device->physical_block_bytes) &&
        device->physical_block_bytes > lun.preferred_bytes && device->physical_block_bytes <= 65536)
        lun.preferred_bytes = device->physical_block_bytes;
    if (lun.preferred_bytes < lun.block_bytes)
        lun.preferred_bytes = lun.block_bytes;
    if (device->address.path || device->address.target)
        (void)snprintf(lun.name, sizeof(lun.name), "path%u-target%u-lun%u", device->address.path,
                       device->address.target, device->address.lun);
    else
        (void)snprintf(lun.name, sizeof(lun.name), "lun%u", device->address.lun);
    (void)snprintf(lun.description, sizeof(lun.description), "%.8s %.16s %.32s", device->vendor,
                   device->product, device->serial);
    lun.identity = hash(UINT32_C(2166136261), lun.name, strlen(lun.name));
    lun.identity = hash(lun.identity, lun.description, strlen(lun.description));
    lun.identity = hash(lun.identity, &lun.block_bytes, sizeof(lun.block_bytes));
    *ret_lun = lun;
    return true;
}

uint16_t lun_slot(struct lun_table *table, const struct hv_storvsc_address *address)
{
    for (uint16_t i = 0; i < table->count; i++)
        if (rank(&table->lun[i].address) == rank(address))
            return i;
    if (table->count == LUN_MAX)
        return LUN_NONE;
    table->lun[table->count].address = *address;
    return table->count++;
}

static uint16_t first_lun(const struct lun_table *table)
{
    uint16_t best = LUN_NONE;

    for (uint16_t i = 0; i < table->count; i++)
        if (table->lun[i].present &&
            (best == LUN_NONE || rank(&table->lun[i].address) < rank(&table->lun[best].address)))
            best = i;
    return best;
}

uint16_t lun_find(const struct lun_table *table, const char *name, size_t name_bytes)
{
    if (!name_bytes)
        return first_lun(table);
    for (uint16_t i = 0; i < table->count; i++) {
        const struct lun *lun = &table->lun[i];

        if (lun->present && strlen(lun->name) == name_bytes && !memcmp(lun->name, name, name_bytes))
            return i;
    }
    return LUN_NONE;
}

uint16_t lun_export_flags(const struct lun *lun, bool structured)
{
    unsigned flags = NBD_EXPORT_HAS_FLAGS | NBD_EXPORT_FLUSH | NBD_EXPORT_FUA |
                     NBD_EXPORT_MULTI_CONN | NBD_EXPORT_CACHE;

    if (lun->read_only)
        flags |= NBD_EXPORT_READ_ONLY;
    else
        flags |= NBD_EXPORT_WRITE_ZEROES | NBD_EXPORT_FAST_ZERO;
    if (lun->unmap)
        flags |= NBD_EXPORT_TRIM;
    if (lun->rotational)
        flags |= NBD_EXPORT_ROTATIONAL;
    if (structured)
        flags |= NBD_EXPORT_DF;
    return (uint16_t)flags;
}
