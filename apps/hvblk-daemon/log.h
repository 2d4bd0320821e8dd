/* SPDX-License-Identifier: BSD-3-Clause */
/* Lines to stderr, one write each, with a level prefix that the journal understands when it is the journal. */
#ifndef HVBLK_LOG_H
#define HVBLK_LOG_H

#include <hv/log_hook.h>

void log_init(enum hv_log_level highest);
void log_line(enum hv_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** For libraries; arg is a short word that says which. */
struct hv_log_hook log_hook(const char *who);
/** Called before and after each line, under the lock: the status line steps aside.  NULL = nothing. */
void log_set_around(void (*before)(void), void (*after)(void));

#endif
