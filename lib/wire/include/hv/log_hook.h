/* SPDX-License-Identifier: BSD-3-Clause */
/* How a library tells its program something worth a line: a hook given at open.  Libraries never print. */
#ifndef HV_LOG_HOOK_H
#define HV_LOG_HOOK_H

enum hv_log_level {
    HV_LOG_ERROR,   /* something stopped working */
    HV_LOG_WARNING, /* something was refused or repaired */
    HV_LOG_INFO,    /* a guest came, a device was found */
    HV_LOG_DEBUG,   /* every control message */
};

struct hv_log_hook {
    /** Called from whichever thread has something to say; `line` lives during the call only. */
    void (*line)(void *arg, enum hv_log_level level, const char *line);
    void *arg;
};

#endif
