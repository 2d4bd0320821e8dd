/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emulated disk as an option word, the same for hv-host --disk and hvblk-daemon --emulate:
 *
 *   --disk    PATH[,KEY=VALUE...]          PATH | mem:SIZE | null:SIZE; a comma inside a value is written twice
 *   --emulate disk=PATH[,KEY=VALUE...]
 *
 *   size=SIZE            create the file with this size when it is missing (files only)
 *   block=512|4096       logical block, default 512
 *   ro                   read-only
 *   serial=TEXT          1 .. 64 printable characters
 *   cache=on|off         volatile write cache, default on
 *   thin=on|off          UNMAP and thin provisioning, default on
 *   direct=on|off        O_DIRECT, default on (files only)
 *   rotational=on|off    what the disk says about itself, default off
 *   lun=0..63            --disk only; default: the lowest free one
 *   luns=1..64           --emulate only: that many LUNs; a file gets ".1", ".2" ... from the second on
 *   channels=1..64       --emulate only: channels of the controller
 *   version=6.2 ...      --emulate only: highest storage protocol version
 *   max-transfer=SIZE    --emulate only: 4K .. 8M
 *   fault=PLAN           --emulate only: fault plan (hv/storvsp.h)
 */
#ifndef HV_APP_DISK_OPTION_H
#define HV_APP_DISK_OPTION_H

#include <hv/storvsp.h>

#include "common/option.h"

#define HV_DISK_OPTION_LUNS     64u
#define HV_DISK_OPTION_CHANNELS 64u

enum hv_disk_option_kind {
    HV_DISK_OPTION_DISK,    /* value of --disk */
    HV_DISK_OPTION_EMULATE, /* value of --emulate */
};

struct hv_disk_option {
    struct hv_disk_opts disk;    /* path and serial point into `words` */
    const char *name;            /* the disk as it was given, for messages */
    int lun;                     /* -1 = not said */
    uint16_t luns;               /* 1 when not said */
    uint16_t channels;           /* 0 = not said */
    uint16_t max_version;        /* 0 = not said */
    uint32_t max_transfer_bytes; /* 0 = not said */
    const char *fault;           /* NULL = not said */
    char *words;
};

/**
 * @ret_option  Release with hv_disk_option_fini().
 * @why         At least HV_OPTION_WHY_BYTES.
 * Returns 0, -EINVAL (why says what), -ENOMEM.
 */
int hv_disk_option_parse(enum hv_disk_option_kind kind, const char *text,
                         struct hv_disk_option *ret_option, char *why);
void hv_disk_option_fini(struct hv_disk_option *option);

/** Storage protocol versions that the emulated controller speaks (major << 8 | minor), newest first, 0 at the end. */
extern const uint32_t hv_disk_option_versions[];

#endif
