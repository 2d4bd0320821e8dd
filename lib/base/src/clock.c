/* SPDX-License-Identifier: BSD-3-Clause */
#include <hv/base/clock.h>

#include <time.h>

uint64_t hv_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
