/* SPDX-License-Identifier: BSD-3-Clause */
/* What the program says: log lines on stderr, the ready line on stdout; as text or as JSON. */
#ifndef HV_HOST_REPORT_H
#define HV_HOST_REPORT_H

#include <stdbool.h>

#include <hv/log_hook.h>

/** Before anything else; `highest` level is still shown. */
void report_init(int highest, bool json);

/** The hook for the libraries; any thread. */
struct hv_log_hook report_hook(void);

void report(enum hv_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Guests may come: line on stdout, on ready_fd (-1 = none), pid file (NULL = none), service manager. */
int report_ready(const char *listen, int ready_fd, const char *pid_file);
void report_stopping(const char *pid_file);

#endif
