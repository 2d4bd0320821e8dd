/* SPDX-License-Identifier: BSD-3-Clause */
/* Device classes of VMBus by name.  Facts: Linux include/linux/hyperv.h and drivers/hv/channel_mgmt.c, OpenVMM. */
#ifndef HVCTL_CLASSES_H
#define HVCTL_CLASSES_H

#include <hv/vmbus.h>

/** How packets of its channels are read. */
enum class_layer {
    LAYER_NONE,
    LAYER_VSTOR,
    LAYER_NVSP,
};

struct class_facts {
    const char *id; /* lower case, without braces */
    const char *name;
    const char *driver; /* the kernel's, as sysfs and modprobe name it; NULL = none */
    enum class_layer layer;
    bool isolated; /* offered to confidential VMs, too */
};

/** Never NULL: unlisted classes are "unknown". */
const struct class_facts *class_find(const struct hv_guid *id);

#endif
