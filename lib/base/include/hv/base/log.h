/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Libraries never print.  Each handle is given a hook when it is opened; these helpers format into it.
 * The type of the hook is public: hv/log_hook.h.
 */
#ifndef HV_BASE_LOG_H
#define HV_BASE_LOG_H

#include <stdarg.h>

#include <hv/log_hook.h>

/** One line, no newline at the end.  Does nothing without a hook.  Not for the data path. */
void hv_log(const struct hv_log_hook *hook, enum hv_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
