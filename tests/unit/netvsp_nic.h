/* SPDX-License-Identifier: BSD-3-Clause */
/* A NIC for a link under test: keeps what it is given, has as much room as the test says. */
#ifndef HV_TEST_NETVSP_NIC_H
#define HV_TEST_NETVSP_NIC_H

#include <stdatomic.h>

#include "link.h"
#include "netvsp_frames.h"

#define NIC_KEEP 64u

struct nic {
    struct hv_link *link;
    unsigned room; /* frames that it still takes */
    struct net_flat kept[NIC_KEEP];
    unsigned kept_count;
    int from_queue, to_queue; /* of the last delivery */
    _Atomic uint64_t frames;
    _Atomic int carrier; /* last told; -1 = nothing */
    _Atomic unsigned told;
    char why[HV_NETVSP_WHY_BYTES];
};

/** NIC 02:01:02:03:04:05 that takes frames of up to 1518 bytes; errors as hv_link_create(). */
int nic_open(struct nic *nic, const char *text, uint16_t queues, const void *scope);
void nic_close(struct nic *nic);
struct hv_link_stats nic_stats(const struct nic *nic);

#endif
