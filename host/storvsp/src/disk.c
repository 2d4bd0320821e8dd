/* SPDX-License-Identifier: BSD-3-Clause */
/* hv_disk_*: options, opening, closing, size. */
#include "disk_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/base/log.h>

#define BYTES_MAX (1ull << 60) /* offsets stay far from any overflow */

static bool is_serial(const char *serial)
{
    size_t bytes = strnlen(serial, HV_DISK_SERIAL_BYTES + 1);

    for (size_t i = 0; i < bytes; i++)
        if (serial[i] < 0x20 || serial[i] > 0x7e)
            return false;
    return bytes && bytes <= HV_DISK_SERIAL_BYTES;
}

static int check_opts(const struct hv_disk_opts *o, char *why)
{
    uint32_t block = o->block_bytes ? o->block_bytes : 512;

    if (block != 512 && block != 4096) {
        hv_disk_why(why, "block size %u: 512 and 4096 are possible", block);
        return -EINVAL;
    }
    if (o->serial && !is_serial(o->serial)) {
        hv_disk_why(why, "serial number: 1 to %u printable ASCII characters are possible",
                    HV_DISK_SERIAL_BYTES);
        return -EINVAL;
    }
    if (o->store != HV_DISK_FILE && o->store != HV_DISK_MEMORY && o->store != HV_DISK_NULL) {
        hv_disk_why(why, "store %d: file, memory and null are possible", (int)o->store);
        return -EINVAL;
    }
    if (o->store == HV_DISK_FILE && (!o->path || !*o->path)) {
        hv_disk_why(why, "a file disk needs a path");
        return -EINVAL;
    }
    if (o->store != HV_DISK_FILE && !o->bytes) {
        hv_disk_why(why, "a %s disk needs a size", o->store == HV_DISK_MEMORY ? "memory" : "null");
        return -EINVAL;
    }
    if (o->bytes > BYTES_MAX) {
        hv_disk_why(why, "size %llu: at most %llu bytes are possible", (unsigned long long)o->bytes,
                    (unsigned long long)BYTES_MAX);
        return -EINVAL;
    }
    if (o->bytes % block) {
        uint64_t below = o->bytes - o->bytes % block;

        hv_disk_why(why,
                    "size %llu is no multiple of the block of %u bytes; the nearest sizes are %llu "
                    "and %llu",
                    (unsigned long long)o->bytes, block,
                    (unsigned long long)(below ? below : block),
                    (unsigned long long)(below ? below + block : 2ull * block));
        return -EINVAL;
    }
    return 0;
}

static int open_store(struct hv_disk *disk, const struct hv_disk_opts *opts, char *why)
{
    switch (opts->store) {
    case HV_DISK_FILE:
        return hv_store_file_open(disk, opts, why);
    case HV_DISK_MEMORY:
        return hv_store_memory_open(disk, opts, why);
    default:
        return hv_store_null_open(disk, opts, why);
    }
}

int hv_disk_create(const struct hv_disk_opts *opts, char why[HV_DISK_WHY_BYTES],
                   struct hv_disk **ret_disk)
{
    struct hv_disk_opts o = HV_DISK_OPTS_INIT;
    struct hv_disk *disk;
    int err;

    if (!opts->size || opts->size > sizeof(o)) {
        hv_disk_why(why, "options of %zu bytes: this library knows %zu", opts->size, sizeof(o));
        return -EINVAL;
    }
    memcpy(&o, opts, opts->size);
    err = check_opts(&o, why);
    if (err)
        return err;
    disk = calloc(1, sizeof(*disk));
    if (!disk || hv_gate_init(disk)) {
        free(disk);
        hv_disk_why(why, "out of memory");
        return -ENOMEM;
    }
    disk->log = o.log;
    disk->block_bytes = o.block_bytes ? o.block_bytes : 512;
    disk->block_shift = (uint32_t)__builtin_ctz(disk->block_bytes);
    disk->read_only = o.read_only;
    disk->rotational = o.rotational;
    disk->cache_fixed = o.no_write_cache;
    disk->write_cache = !o.no_write_cache;
    disk->max_transfer_bytes = HV_SCSI_TRANSFER_MAX;
    err = open_store(disk, &o, why);
    if (!err) {
        err = hv_disk_set_identity(disk, o.serial, o.store == HV_DISK_FILE ? o.path : NULL);
        if (err)
            hv_disk_why(why, "%s: %s", o.path, strerror(-err));
    }
    if (err) {
        hv_disk_destroy(disk);
        return err;
    }
    *ret_disk = disk;
    return 0;
}

void hv_disk_destroy(struct hv_disk *disk)
{
    if (!disk)
        return;
    if (disk->ops)
        disk->ops->close(disk);
    free(disk->initiators);
    hv_gate_fini(disk);
    free(disk);
}

uint64_t hv_disk_bytes(const struct hv_disk *disk)
{
    return disk->bytes;
}

uint32_t hv_disk_block_bytes(const struct hv_disk *disk)
{
    return disk->block_bytes;
}

bool hv_disk_is_direct(const struct hv_disk *disk)
{
    return disk->direct;
}

int hv_disk_resize(struct hv_disk *disk, uint64_t bytes)
{
    uint64_t old = disk->bytes, now = old;
    int err;

    if (bytes % disk->block_bytes || bytes > BYTES_MAX)
        return -EINVAL;
    if (bytes && bytes < old)
        disk->bytes = bytes; /* no new command past the end, before the end moves */
    err = disk->ops->resize(disk, bytes, &now);
    now -= now % disk->block_bytes; /* a tail that is no block is not part of the disk */
    if (!err && !now)
        err = -EINVAL;
    if (err) {
        disk->bytes = old;
        return err;
    }
    disk->bytes = now;
    if (now != old) {
        hv_log(&disk->log, HV_LOG_INFO, "disk %s: %llu bytes became %llu", disk->serial,
               (unsigned long long)old, (unsigned long long)now);
        hv_disk_raise_attention(disk, HV_ASC_CAPACITY_CHANGED);
    }
    return 0;
}

void hv_disk_set_max_transfer(struct hv_disk *disk, uint32_t bytes)
{
    disk->max_transfer_bytes = bytes;
}
