/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest with one network device on a machine's NIC, and frames to send through it, for pair tests. */
#ifndef HV_TEST_NETVSC_CLIENT_H
#define HV_TEST_NETVSC_CLIENT_H

#include <hv/netvsc.h>

#include "machine_nic.h"

#define NET_FRAME_MAX  9216u
#define NET_QUEUES_MAX 4
#define NET_DMA_FRAMES 32

struct net_client {
    struct machine *machine;
    struct machine_nic *nic;
    struct hv_vmbus *bus;
    struct hv_netvsc *netvsc; /* NULL when it could not be opened */
    int error;                /* of hv_netvsc_open() */
    unsigned events[8];       /* by kind */
    uint64_t received[NET_QUEUES_MAX], received_bytes;
    struct hv_dma *dma; /* frames that are too large to be copied */
    bool busy[NET_DMA_FRAMES];
    uint32_t bad; /* frames that are not as they were sent */
    uint32_t seed;
};

/** Defaults for both sides: loop link, so many queues and workers. */
void net_defaults(struct machine_opts *mo, struct hv_netvsp_opts *po, struct hv_netvsc_opts *no,
                  uint16_t queues);
void net_start(struct net_client *c, const struct machine_opts *mo, const struct hv_netvsp_opts *po,
               const struct hv_netvsc_opts *no);
void net_stop(struct net_client *c);

/** hv_netvsc_start(), which must give as many queues. */
void net_run(struct net_client *c, uint16_t queues);
/** Send `count` frames of `bytes` each from every queue, and wait until all came back. */
void net_exchange(struct net_client *c, unsigned count, uint32_t bytes);
/** Poll all queues once. */
void net_poll(struct net_client *c);
/** Poll the control side until so many events of the kind were told, or 10 s. */
bool net_wait_event(struct net_client *c, enum hv_netvsc_event event, unsigned count);

#endif
