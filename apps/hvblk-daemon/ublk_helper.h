/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What must not be done by the control thread: opening and flushing our own block device waits for requests that we serve.
 * A thread for the one call; its end is news UBLK_HELPED with data = the device and fd = the result.
 */
#ifndef HVBLK_UBLK_HELPER_H
#define HVBLK_UBLK_HELPER_H

#include "ublk_device.h"

enum ublk_help {
    UBLK_HELP_FLUSH, /* write everything out: file system, then cache */
    UBLK_HELP_TRY,   /* is it held by a mount, a volume group ...?  -EBUSY: yes */
};

/** Sets device->helping; the news come even when no thread can be made. */
void ublk_help(struct ublk_device *device, enum ublk_help help);

#endif
