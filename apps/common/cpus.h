/* SPDX-License-Identifier: BSD-3-Clause */
/* CPU lists: "0,2-5".  Order is kept, since threads are pinned round robin along it. */
#ifndef HV_APP_CPUS_H
#define HV_APP_CPUS_H

#include <pthread.h>
#include <stdint.h>

#define HV_CPUS_MAX 1024

struct hv_cpus {
    uint16_t count; /* 0 = none given: do not pin */
    uint16_t cpu[HV_CPUS_MAX];
};

/** Returns 0 or -EINVAL: malformed, a CPU twice, a CPU that this process may not run on (the sentence lists those). */
int hv_cpus_parse(const char *text, struct hv_cpus *ret_cpus, char *why);

/** Pin a thread to the CPU of its turn; does nothing with an empty list.  0 or a negative errno. */
int hv_cpus_pin(pthread_t thread, const struct hv_cpus *cpus, unsigned turn);

#endif
