/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvctl over a recorded tree (uio_tree.h), with a kernel that answers writes to sysfs: it moves the link "driver" of
 * devices as the driver core does, refuses what it is told to refuse, and keeps a journal.
 */
#ifndef CTL_RIG_H
#define CTL_RIG_H

#include <stdio.h>

#include "devices.h"
#include "uio_tree.h"

#define RIG_DISK     "ba6163d9-0001-1000-2000-00155d4edc44"
#define RIG_SCSI     "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f"
#define RIG_BALLOON  "1eccfd72-4b41-45ef-b73a-4a6e44c12924"
#define RIG_REFUSALS 3

struct rig {
    struct tree tree;
    struct sys sys;
    struct devices devices;
    char journal[4096]; /* "uio_hv_generic/bind ba61...\n" for each write */
    bool has_id;        /* uio_hv_generic knows the class by new_id */
    bool lies;          /* bind answers success although the driver refused, as old kernels do */
    const char *probe_driver; /* who answers drivers_probe; NULL = nobody */
    struct {
        const char *file; /* "uio_hv_generic/bind", "driver_override" ... */
        int err;
    } refuse[RIG_REFUSALS];
};

void rig_init(struct rig *rig, const char *release);
void rig_fini(struct rig *rig);
/** A driver that is loaded. */
void rig_driver(struct rig *rig, const char *name);
/** A device without rings of its own: class, instance, relid, driver ("" = none), override file or not. */
void rig_device(struct rig *rig, const char *class_id, const char *instance, uint32_t relid,
                const char *driver, bool has_override);
/** A link below the root; `target` is below the root, too. */
void rig_link(struct rig *rig, const char *target, const char *path_format, ...)
    __attribute__((format(printf, 3, 4)));
/** Load (again), and find. */
struct device *rig_load(struct rig *rig, const char *instance);
/** The driver as the kernel has it now. */
const char *rig_driver_of(struct rig *rig, const char *instance);
/** What `print` writes; free() it. */
char *rig_capture(struct rig *rig, void (*print)(struct rig *rig, FILE *out));

#endif
