/* SPDX-License-Identifier: BSD-3-Clause */
/* The provider of fuzz_vmbus_host: echoes, and does what the guest's bytes say. */
#ifndef HV_FUZZ_VMBUS_HOST_ECHO_H
#define HV_FUZZ_VMBUS_HOST_ECHO_H

#include <stdlib.h>

#include <hv/host.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

struct echo {
    unsigned open, opened, closed;
    bool hold_close; /* do not answer closes for now */
    bool refuse;     /* refuse opens */
    bool gone;       /* the device was withdrawn for good */
};
extern struct echo echo;

extern const struct hv_host_device_ops echo_ops;
void echo_gone(void *arg);

#endif
