/* SPDX-License-Identifier: BSD-3-Clause */
/* --export ublk[:ID][,KEY=VALUE...] */
#ifndef HVBLK_UBLK_OPTION_H
#define HVBLK_UBLK_OPTION_H

#include <stdbool.h>
#include <stdint.h>

#define UBLK_EXPORTS_MAX   16u
#define UBLK_ID_MAX        999999u
#define UBLK_DEPTH_MAX     1024u
#define UBLK_DEPTH_DEFAULT 64u
#define UBLK_IO_DEFAULT    (256u << 10)

/** What becomes of the device, and of requests, when the daemon dies. */
enum ublk_recovery {
    UBLK_RECOVERY_REISSUE, /* all requests wait; those on their way are sent again */
    UBLK_RECOVERY_WAIT,    /* those on their way fail, new ones wait */
    UBLK_RECOVERY_FAIL,    /* all fail until --recover (kernel 6.13) */
    UBLK_RECOVERY_NONE,    /* the device is gone */
};

struct ublk_option {
    bool given_id;
    uint32_t id;
    char lun[40]; /* empty: every disk */
    uint16_t depth;
    bool user_copy;
    uint32_t max_io_bytes;
    enum ublk_recovery recovery;
};

/** True when an export address is about ublk. */
bool ublk_option_is(const char *text);
/** 0, or -EINVAL with why[HV_OPTION_WHY_BYTES]. */
int ublk_option_parse(const char *text, struct ublk_option *ret_option, char *why);
/** DMA memory that one device takes in each reactor. */
uint64_t ublk_option_bytes(const struct ublk_option *option);

#endif
