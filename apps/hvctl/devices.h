/* SPDX-License-Identifier: BSD-3-Clause */
/* What sysfs says about the devices of the bus, as a snapshot.  Sources: docs/uio.md "What is read". */
#ifndef HVCTL_DEVICES_H
#define HVCTL_DEVICES_H

#include <hv/vmbus.h>

#include "classes.h"
#include "sys.h"

#define DEVICE_PATH "sys/bus/vmbus/devices/%s"
#define DRIVER_PATH "sys/bus/vmbus/drivers/%s"
#define UIO_DRIVER  "uio_hv_generic"

#define MONITOR_MAX 128 /* bits of the monitor page */

/** How the kernel calls the states of a channel. */
enum device_state {
    STATE_OFFERED,
    STATE_OPENING,
    STATE_CLOSED,
    STATE_OPEN,
    STATE_UNKNOWN,
};
extern const char *const device_state_names[];

struct ring_fill {
    bool known;
    uint64_t used_bytes;
    uint64_t size_bytes; /* of the data area; 0 = not to be seen */
};

/** Counters of the kernel for each channel, from its opening on; what user space signals by monitor bit is not in them. */
enum channel_counter {
    COUNT_INTERRUPTS,     /* from the host */
    COUNT_EVENTS,         /* to the host, by hypercall */
    COUNT_INTR_IN_FULL,   /* to the host: there is room again */
    COUNT_INTR_OUT_EMPTY, /* to the host: there is data */
    COUNT_OUT_FULL_FIRST, /* times that the ring to the host became full */
    COUNT_OUT_FULL_TOTAL, /* packets that met it full */
    COUNTERS,
};
extern const char *const channel_counter_names[COUNTERS]; /* files of sysfs */

struct channel {
    uint32_t relid;
    uint32_t index; /* 0 = primary */
    int cpu;        /* -1 = not to be seen */
    int monitor_id; /* -1 = none */
    struct ring_fill out, in;
    uint64_t ring_file_bytes; /* 0 = no file "ring" */
    bool has_counter[COUNTERS];
    uint64_t counter[COUNTERS];
};

struct device {
    char folder[SYS_TEXT_BYTES];
    char instance_text[HV_GUID_TEXT_BYTES];
    struct hv_guid instance_id;
    struct hv_guid class_id;
    const struct class_facts *facts;
    uint32_t relid;
    enum device_state state;
    int monitor_id;              /* of the primary; -1 = none */
    char driver[SYS_TEXT_BYTES]; /* "" = none */
    bool has_override;           /* the file driver_override is there */
    char override[SYS_TEXT_BYTES];
    int uio; /* N of /dev/uioN; -1 = none */
    uint64_t uio_events;
    struct channel *channels; /* by index, then relid */
    size_t channel_count;
};

struct devices {
    struct device *list; /* by class name, then instance */
    size_t count;
    size_t broken; /* folders that are no device as a kernel would show it */
};

/** 0; -ENOENT: no VMBus; -ENOMEM; other errno of reading the folder. */
int devices_load(const struct sys *sys, struct devices *ret_devices);
void devices_fini(struct devices *devices);
/** NULL = not there. */
struct device *devices_find(const struct devices *devices, const struct hv_guid *instance);
bool device_is_on_uio(const struct device *device);
/** The driver as of now; "" = none. */
void device_read_driver(const struct sys *sys, const char *folder, char ret_driver[SYS_TEXT_BYTES]);

#endif
