/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef HV_APP_LIMITS_H
#define HV_APP_LIMITS_H

/**
 * Let the process open as many files as it may: soft limit to hard limit.  The usual soft limit of 1024 is what a single
 * guest may use (one descriptor for each region of its memory), and a process without any left loses those that
 * others send.  Best effort.
 */
void hv_raise_file_limit(void);

#endif
