/* SPDX-License-Identifier: BSD-3-Clause */
#include "ublk_lun.h"

#include <errno.h>

#include "nbd_wire.h"

#define SECTOR_SHIFT    9
#define BLOCK_MAX       4096u /* a page: larger blocks came much later, and no SCSI disk has them */
#define ZERO_FAST_BYTES (UINT64_C(1) << 30)
#define ZERO_SLOW_BYTES                                                                            \
    (UINT64_C(8) << 20) /* zeroes that have to be written: no request for ever */
#define DISCARD_MAX_BYTES (UINT64_C(1) << 30)
#define IDENTITY_MAGIC    UINT64_C(0x4856424b) /* "HVBK", upper half */

static uint8_t shift_of(uint32_t bytes)
{
    return (uint8_t)(31 - __builtin_clz(bytes));
}

/** Sectors of a limit in bytes, whole blocks, at least one. */
static uint32_t limit_sectors(uint64_t bytes, uint64_t most, uint32_t block_bytes)
{
    if (bytes > most)
        bytes = most;
    bytes -= bytes % block_bytes;
    if (bytes < block_bytes)
        bytes = block_bytes;
    return (uint32_t)(bytes >> SECTOR_SHIFT);
}

static uint32_t power_of_two_or(uint32_t bytes, uint32_t least)
{
    return bytes > least && !(bytes & (bytes - 1)) ? bytes : least;
}

static void fill_discard(const struct lun *lun, struct ublkw_params *params)
{
    struct ublkw_discard *discard = &params->discard;
    uint64_t zero = lun->write_same ? ZERO_FAST_BYTES : ZERO_SLOW_BYTES;

    params->types |= UBLKW_PARAM_DISCARD;
    discard->max_segments = 1;
    discard->granularity = power_of_two_or(lun->unmap_granularity_bytes, lun->block_bytes);
    if (lun->unmap)
        discard->max_sectors =
            limit_sectors(lun->unmap_max_bytes ? lun->unmap_max_bytes : DISCARD_MAX_BYTES,
                          DISCARD_MAX_BYTES, lun->block_bytes);
    if (lun->write_same && lun->write_same_max_bytes && lun->write_same_max_bytes < zero)
        zero = lun->write_same_max_bytes;
    discard->max_zero_sectors = limit_sectors(zero, ZERO_FAST_BYTES, lun->block_bytes);
}

int ublk_params(const struct lun *lun, uint32_t max_io_bytes, struct ublkw_params *ret_params)
{
    struct ublkw_params params = {.bytes = offsetof(struct ublkw_params, more),
                                  .types = UBLKW_PARAM_BASIC};
    struct ublkw_basic *basic = &params.basic;
    uint32_t physical = power_of_two_or(lun->physical_bytes, lun->block_bytes);

    if (lun->block_bytes > BLOCK_MAX || lun->bytes < lun->block_bytes ||
        max_io_bytes < lun->block_bytes)
        return -EINVAL;
    basic->attributes = (lun->read_only ? UBLKW_ATTR_READ_ONLY : 0u) |
                        (lun->rotational ? UBLKW_ATTR_ROTATIONAL : 0u);
    if (lun->write_cache && !lun->read_only)
        basic->attributes |= UBLKW_ATTR_CACHE | (lun->fua ? UBLKW_ATTR_FUA : 0u);
    basic->logical_shift = shift_of(lun->block_bytes);
    basic->physical_shift = basic->minimum_shift = shift_of(physical);
    basic->optimal_shift = shift_of(power_of_two_or(lun->optimal_bytes, physical));
    basic->max_sectors = limit_sectors(max_io_bytes, max_io_bytes, lun->block_bytes);
    basic->sectors = lun->bytes >> SECTOR_SHIFT;
    if (!lun->read_only)
        fill_discard(lun, &params);
    *ret_params = params;
    return 0;
}

/* ---- Identity ---- */

uint64_t ublk_identity(const struct lun *lun)
{
    return IDENTITY_MAGIC << 32 | lun->identity;
}

bool ublk_identity_ours(uint64_t server_flags)
{
    return server_flags >> 32 == IDENTITY_MAGIC;
}

/* ---- Requests ---- */

/** Type and flags; false = nothing that we know. */
static bool translate(uint32_t word, struct ublk_request *request)
{
    switch (UBLKW_OP(word)) {
    case UBLKW_OP_READ:
        request->type = NBD_CMD_READ;
        return true;
    case UBLKW_OP_WRITE:
        request->type = NBD_CMD_WRITE;
        break;
    case UBLKW_OP_FLUSH:
        request->type = NBD_CMD_FLUSH;
        return true;
    case UBLKW_OP_DISCARD:
        request->type = NBD_CMD_TRIM;
        return true;
    case UBLKW_OP_WRITE_ZEROES:
        request->type = NBD_CMD_WRITE_ZEROES;
        if (word & UBLKW_IO_NO_UNMAP)
            request->flags |= NBD_CMD_NO_HOLE;
        break;
    default:
        return false;
    }
    if (word & UBLKW_IO_FUA)
        request->flags |= NBD_CMD_FUA;
    return true;
}

int ublk_decode(const struct ublkw_desc *desc, const struct lun *lun, uint32_t max_io_bytes,
                struct ublk_request *ret_request)
{
    struct ublk_request request = {0};
    bool data;

    if (!lun->present)
        return -EIO;
    if (!translate(desc->op_flags, &request))
        return -EOPNOTSUPP;
    if (request.type != NBD_CMD_FLUSH) {
        if (__builtin_mul_overflow(desc->start_sector, UINT64_C(512), &request.offset))
            return -EIO;
        request.length = (uint64_t)desc->sectors << SECTOR_SHIFT;
        data = request.type == NBD_CMD_READ || request.type == NBD_CMD_WRITE;
        if (!request.length || (request.offset | request.length) & (lun->block_bytes - 1) ||
            (data && request.length > max_io_bytes))
            return -EINVAL;
        if (request.offset > lun->bytes || request.length > lun->bytes - request.offset)
            return -EIO;
        if (request.type != NBD_CMD_READ && lun->read_only)
            return -EPERM;
        if (request.type == NBD_CMD_TRIM && !lun->unmap)
            return -EOPNOTSUPP;
    }
    *ret_request = request;
    return 0;
}
