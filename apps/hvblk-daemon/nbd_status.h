/* SPDX-License-Identifier: BSD-3-Clause */
/* Block status for base:allocation out of SCSI GET LBA STATUS parameter data (SBC-3 5.6). */
#ifndef HVBLK_NBD_STATUS_H
#define HVBLK_NBD_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "lun.h"

#define NBD_STATUS_CONTEXT_ID   1u
#define NBD_STATUS_CONTEXT_NAME "base:allocation"

/** Bytes of parameter data worth asking for. */
uint32_t nbd_status_memory(unsigned command_flags);

struct nbd_status_range {
    uint64_t offset, length; /* asked for, multiples of the block */
    bool one;                /* REQ_ONE */
    bool extended;           /* 64-bit extents */
};

/**
 * Turn parameter data into extents, in place (an extent is never longer than the descriptor it comes from).
 *
 * @data   Buffer of at least 16 bytes; `bytes` of it came from the device, and nothing in it is trusted.
 * @ret_count  Extents, at least one: what the device does not say, or says wrongly, counts as allocated.
 *
 * Returns bytes of extents in `data`.
 */
uint32_t nbd_status_convert(const struct lun *lun, const struct nbd_status_range *range,
                            uint8_t *data, uint32_t bytes, uint32_t *ret_count);

#endif
