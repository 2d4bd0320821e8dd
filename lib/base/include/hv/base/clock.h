/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef HV_BASE_CLOCK_H
#define HV_BASE_CLOCK_H

#include <stdint.h>

/** Monotonic time; deadlines are absolute values of it. */
uint64_t hv_clock_ns(void);

#endif
