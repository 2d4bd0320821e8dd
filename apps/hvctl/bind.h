/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvctl bind, unbind: a device between the kernel's driver and uio_hv_generic.
 *
 * driver_override names one device only; kernels before 4.18 have it not for VMBus, there the class is added to the
 * driver's ids (new_id).  What fails half-way is undone: the device goes back to the driver that it had.
 */
#ifndef HVCTL_BIND_H
#define HVCTL_BIND_H

#include "devices.h"

#define BIND_WHY_BYTES 1024

/**
 * @ret_why  At least BIND_WHY_BYTES.  What failed and what to do, or on success what is worth knowing; "" = nothing.
 *
 * Returns 0, also when it is bound already, or
 *   -ENOENT  uio_hv_generic is not loaded;
 *   -EBUSY   something needs the device, and force is false; or a program has it open (unbind);
 *   -EIO     the device went astray: neither the new driver nor the old one has it;
 *   other    what the kernel said; the device is where it was.
 */
int bind_device(const struct sys *sys, const struct device *device, bool force, char *ret_why);
/** Give it back to the kernel's driver, or to nobody when that is not there.  -EINVAL: it is not with uio_hv_generic. */
int unbind_device(const struct sys *sys, const struct device *device, bool force, char *ret_why);

#endif
