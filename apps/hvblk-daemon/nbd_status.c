/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbd_status.h"

#include <endian.h>
#include <string.h>

#include "nbd_wire.h"

/* Parameter data: u32 length of what follows it, 4 reserved bytes, then descriptors. */
#define LIST_HEADER_BYTES 8u
#define LIST_LENGTH_BASE  4u
#define STATUS_MAPPED     0u
#define STATUS_UNMAPPED   1u
#define STATUS_ANCHORED   2u
#define LENGTH_32_MAX     UINT32_C(0x80000000) /* per extent; a multiple of any block */

struct descriptor {
    uint64_t lba;
    uint32_t blocks;
    uint8_t status; /* low 4 bits */
    uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct descriptor) == 16, "LBA status descriptor");

struct out {
    uint8_t *data;
    uint32_t bytes, limit, count;
    bool extended;
    uint64_t last_length;
    uint32_t last_flags;
};

uint32_t nbd_status_memory(unsigned command_flags)
{
    /* One descriptor answers REQ_ONE; 16 KiB are 1,023, and a client asks again for the rest. */
    return command_flags & NBD_CMD_REQ_ONE ? 4096 : 16384;
}

static void put_extent(struct out *out, uint32_t at, uint64_t length, uint32_t flags)
{
    if (out->extended) {
        struct nbd_wire_ext_extent e = {htobe64(length), htobe64(flags)};

        memcpy(out->data + at, &e, sizeof(e));
    } else {
        struct nbd_wire_extent e = {htobe32((uint32_t)length), htobe32(flags)};

        memcpy(out->data + at, &e, sizeof(e));
    }
    out->last_length = length;
    out->last_flags = flags;
}

/** Append, joined with its neighbour where they are alike.  False = no room. */
static bool add_extent(struct out *out, uint64_t length, uint32_t flags)
{
    uint32_t step =
        out->extended ? sizeof(struct nbd_wire_ext_extent) : sizeof(struct nbd_wire_extent);
    uint64_t most = out->extended ? UINT64_MAX : LENGTH_32_MAX;

    if (out->count && out->last_flags == flags && out->last_length < most) {
        uint64_t join = most - out->last_length;

        if (join > length)
            join = length;
        put_extent(out, out->bytes - step, out->last_length + join, flags);
        length -= join;
    }
    while (length) {
        uint64_t take = length < most ? length : most;

        if (out->limit - out->bytes < step)
            return false;
        put_extent(out, out->bytes, take, flags);
        out->bytes += step;
        out->count++;
        length -= take;
    }
    return true;
}

static uint32_t flags_of(const struct lun *lun, uint8_t status)
{
    switch (status & 0xf) {
    case STATUS_UNMAPPED:
        return NBD_STATE_HOLE | (lun->unmap_zeroes ? NBD_STATE_ZERO : 0);
    case STATUS_ANCHORED:
        return lun->unmap_zeroes ? NBD_STATE_ZERO : 0;
    case STATUS_MAPPED:
    default:
        return 0;
    }
}

/** The part of a descriptor that goes on at `at`; 0 when it does not, which ends the list. */
static uint64_t usable(const struct lun *lun, const struct descriptor *d, uint64_t at, uint64_t end)
{
    uint64_t first, length = (uint64_t)be32toh(d->blocks) * lun->block_bytes;

    if (__builtin_mul_overflow(be64toh(d->lba), lun->block_bytes, &first) || first > at ||
        length <= at - first)
        return 0;
    length -= at - first;
    return length < end - at ? length : end - at;
}

uint32_t nbd_status_convert(const struct lun *lun, const struct nbd_status_range *range,
                            uint8_t *data, uint32_t bytes, uint32_t *ret_count)
{
    struct out out = {.data = data, .extended = range->extended};
    uint64_t at = range->offset, end = range->offset + range->length;
    uint32_t listed = 0;

    if (bytes >= LIST_HEADER_BYTES) {
        memcpy(&listed, data, sizeof(listed));
        listed = be32toh(listed);
        listed = listed > UINT32_MAX - LIST_LENGTH_BASE ? UINT32_MAX : listed + LIST_LENGTH_BASE;
        if (listed < bytes)
            bytes = listed;
    }
    for (uint32_t i = LIST_HEADER_BYTES;
         at < end && bytes >= sizeof(struct descriptor) && i <= bytes - sizeof(struct descriptor);
         i += (uint32_t)sizeof(struct descriptor)) {
        struct descriptor d;
        uint64_t length;

        memcpy(&d, data + i, sizeof(d));
        length = usable(lun, &d, at, end);
        /* The descriptors read so far end here: extents must not grow past them. */
        out.limit = i + (uint32_t)sizeof(d);
        if (!length || !add_extent(&out, length, flags_of(lun, d.status)))
            break;
        at += length;
    }
    if (!out.count) {
        uint64_t length = range->length;

        if (!range->extended && length > LENGTH_32_MAX)
            length = LENGTH_32_MAX;
        out.limit = sizeof(struct descriptor);
        (void)add_extent(&out, length, 0);
    }
    if (range->one && out.count > 1) {
        out.count = 1;
        out.bytes =
            range->extended ? sizeof(struct nbd_wire_ext_extent) : sizeof(struct nbd_wire_extent);
    }
    *ret_count = out.count;
    return out.bytes;
}
