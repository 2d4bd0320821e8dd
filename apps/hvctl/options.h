/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef HVCTL_OPTIONS_H
#define HVCTL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <hv/vmbus.h>

enum command {
    COMMAND_LIST,
    COMMAND_BIND,
    COMMAND_UNBIND,
    COMMAND_INFO,
    COMMAND_WATCH,
    COMMAND_RING_DUMP,
    COMMAND_TRACE,
};

struct options {
    enum command command;
    bool json;
    bool force;
    bool hex;             /* payloads in hexadecimal */
    const char *root;     /* --root, for tests: "" is the system itself */
    uint32_t interval_ms; /* watch */
    uint64_t
        count; /* watch: reports, trace: packets; 0 = for ever.  ring dump: packets of each ring */
    uint32_t channel; /* ring dump, trace: sub-channel index */
    struct hv_guid *ids;
    size_t id_count;
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_DONE,  /* --help, --version: exit 0 */
    OPTIONS_WRONG, /* said on stderr what is wrong: exit 2 */
};

enum options_result options_parse(int argc, char **argv, struct options *ret_options);
void options_fini(struct options *options);

#endif
