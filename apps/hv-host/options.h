/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef HV_HOST_OPTIONS_H
#define HV_HOST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cpus.h"
#include "common/disk_option.h"

struct options {
    const char *listen;
    struct hv_disk_option *disks;
    unsigned disk_count;
    const char **nics; /* as given, checked */
    unsigned nic_count;
    uint16_t channels;
    uint32_t max_vmbus;
    uint32_t max_storvsc;
    uint32_t max_transfer_bytes;
    uint32_t depth;
    bool monitor;
    const char *fault;
    uint16_t workers;
    struct hv_cpus cpus;
    bool poll;
    uint32_t max_guests;
    int log_level; /* enum hv_log_level */
    bool json;
    const char *pid_file;
    int ready_fd; /* -1 = none */
    const char *control;
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_DONE,  /* --help, --version: exit 0 */
    OPTIONS_WRONG, /* said on stderr what is wrong: exit 2 */
};

enum options_result options_parse(int argc, char **argv, struct options *ret_options);
void options_fini(struct options *options);

#endif
