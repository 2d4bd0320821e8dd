/* SPDX-License-Identifier: BSD-3-Clause */
/* hvctl info: is this Hyper-V, and is the machine ready for devices in user space? */
#ifndef HVCTL_INFO_H
#define HVCTL_INFO_H

#include <stdio.h>

#include "devices.h"
#include "hyperv.h"

struct info {
    struct hyperv hyperv;
    bool has_bus;
    size_t device_count, uio_count; /* of the latter: bound to uio_hv_generic */
    unsigned monitor_used;          /* of MONITOR_MAX bits, by channels that can be seen */
    bool uio_loaded;
    char release[SYS_TEXT_BYTES];
    uint32_t kernel;
    char vmbus_version[16]; /* "" = the kernel's log does not say, or may not be read */
    uint64_t huge_total, huge_free, huge_bytes;
    uint64_t capabilities;      /* effective */
    bool locks_all;             /* RLIMIT_MEMLOCK is no limit, or CAP_IPC_LOCK */
    uint64_t memory_lock_bytes; /* that limit */
};

void info_read(const struct sys *sys, struct info *ret_info);
void info_print(FILE *out, const struct info *info);
int info_print_json(FILE *out, const struct info *info);
/** Hyper-V: by CPUID, or (where there is none) by its bus. */
bool info_is_hyperv(const struct info *info);

/** One thing to have, or to do. */
struct need {
    const char *name; /* one word, for scripts */
    bool (*met)(const struct info *info);
    const char *what;
    const char *todo;
};
extern const struct need needs[];
extern const size_t need_count;

#endif
