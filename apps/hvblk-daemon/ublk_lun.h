/* SPDX-License-Identifier: BSD-3-Clause */
/* What a LUN means to ublk: parameters of its device, requests of the kernel checked against it.  No system calls. */
#ifndef HVBLK_UBLK_LUN_H
#define HVBLK_UBLK_LUN_H

#include "lun.h"
#include "ublk_wire.h"

/**
 * Parameters of the block device.
 * @max_io_bytes  Largest READ or WRITE.
 * Returns 0, or -EINVAL when the kernel has no such block device (blocks above 4096 bytes, no blocks at all).
 */
int ublk_params(const struct lun *lun, uint32_t max_io_bytes, struct ublkw_params *ret_params);

/** 64 bits that the kernel keeps with a device: ours, and of which disk.  Never 0. */
uint64_t ublk_identity(const struct lun *lun);
/** True when a device with these flags was made by this program, for whatever disk. */
bool ublk_identity_ours(uint64_t server_flags);

/** A checked request, in the terms of struct io. */
struct ublk_request {
    uint16_t type;  /* enum nbd_command_type */
    uint16_t flags; /* NBD_CMD_* */
    uint64_t offset, length;
};

/**
 * Check a descriptor.
 * Returns 0, -EIO (the LUN is gone, or does not reach so far any more), -EPERM (read-only), -EINVAL (not whole blocks, more
 * than max_io_bytes), -EOPNOTSUPP.
 */
int ublk_decode(const struct ublkw_desc *desc, const struct lun *lun, uint32_t max_io_bytes,
                struct ublk_request *ret_request);

#endif
