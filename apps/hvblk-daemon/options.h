/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options: on the command line as --key value or --key=value, in the file of --config as "key = value" or "key" lines.
 * What the command line says about a key replaces what the file says.
 */
#ifndef HVBLK_OPTIONS_H
#define HVBLK_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <hv/log_hook.h>

#include "common/cpus.h"
#include "common/disk_option.h"
#include "listener.h"
#include "ublk_option.h"

#define OPTIONS_DISKS_MAX HV_DISK_OPTION_LUNS

struct options {
    struct hv_disk_option disks[OPTIONS_DISKS_MAX];
    unsigned disk_count;
    char *device;
    char *exports[LISTENER_MAX];
    unsigned export_count;
    struct ublk_option ublk[UBLK_EXPORTS_MAX];
    unsigned ublk_count;
    bool recover;
    struct hv_cpus cpus;
    unsigned reactors; /* 0 = as many as CPUs or channels are named, else 1 */
    bool poll, status, monitor;
    bool normal; /* --sched normal */
    char *pid_file, *stats_json, *control, *fault, *config;
    uint32_t depth, max_transfer_bytes, max_vmbus;
    uint16_t max_storvsc;
    uint64_t buffer_bytes;
    unsigned reconnect_s, max_connections;
    enum hv_log_level log_level;
    uint32_t given;   /* keys set by the command line, as bits of the table */
    uint32_t in_file; /* keys set by the file */
};

enum options_verdict {
    OPTIONS_RUN,
    OPTIONS_DONE, /* --help or --version was printed: exit 0 */
    OPTIONS_BAD,  /* said why on stderr: exit 2 */
};

/** @sockets_given  systemd hands sockets over: --export may be missing. */
enum options_verdict options_parse(struct options *options, int argc, char **argv,
                                   bool sockets_given);
void options_fini(struct options *options);

/* ---- between options.c and options_file.c ---- */

/** One key; `value` NULL when none was given.  0 or -EINVAL with why[HV_OPTION_WHY_BYTES]. */
int options_set(struct options *options, const char *key, const char *value, bool from_file,
                char *why);
/** Read --config.  0 or -EINVAL with a whole sentence in why. */
int options_file(struct options *options, const char *path, char *why);

#endif
