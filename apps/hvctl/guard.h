/* SPDX-License-Identifier: BSD-3-Clause */
/* What the machine would lose with a device: file systems, swap, its way to the network. */
#ifndef HVCTL_GUARD_H
#define HVCTL_GUARD_H

#include "devices.h"

#define GUARD_WHY_BYTES 512

/**
 * @ret_why  At least GUARD_WHY_BYTES: "sda1 below it is mounted on /", when the device is needed.
 * Returns 0: nothing needs it; -EBUSY: something does, or it cannot be told; other errno: /proc cannot be read.
 */
int guard_check(const struct sys *sys, const struct device *device, char *ret_why);

#endif
