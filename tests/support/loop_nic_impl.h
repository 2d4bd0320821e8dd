/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to loop_nic.c (the host's behaviour) and loop_nic_bus.c (what stands in for lib/vmbus). */
#ifndef HV_TEST_LOOP_NIC_IMPL_H
#define HV_TEST_LOOP_NIC_IMPL_H

#include <hv/wire/ring.h>

#include "loop_nic.h"

#define LOOP_NIC_PACKET_BYTES 128u
#define LOOP_NIC_PENDING      64u

struct loop_nic_packet {
    struct hv_packet packet;
    uint64_t bytes[LOOP_NIC_PACKET_BYTES / 8]; /* extension, payload */
};

struct loop_nic_pending {
    struct hv_packet_desc desc;
    uint8_t *bytes; /* extension, payload */
};

struct hv_channel {
    struct loop_nic *nic;
    uint16_t index;
    bool open;
    bool flushing;
    int status;
    char why[128];
    struct loop_nic_packet queue[LOOP_NIC_QUEUE]; /* [head, tail) waits; below head: peeked */
    uint32_t head, tail;
    struct loop_nic_pending pending[LOOP_NIC_PENDING];
    uint32_t pending_count;
};

struct hv_dma {
    struct hv_dma *next;
    struct hv_vmbus *bus;
    uint8_t *base;
    size_t bytes;
};

struct loop_nic {
    struct loop_nic_opts opts;
    struct loop_nic_seen seen;
    struct hv_channel channels[LOOP_NIC_CHANNELS];
    struct hv_dma *dma;
    struct hv_shared shared[2];
    bool receive_told, send_told;
    uint32_t granted;      /* sub-channels */
    bool with_guest[4096]; /* transaction ids of transfer pages */
    uint32_t receive_sections;
    uint32_t next_id;
    int bus_fd, channel_fd; /* always readable: nobody sleeps here */
};

void loop_nic_must(bool ok, const char *what);
/** A packet in front of the driver. */
bool loop_nic_put(struct loop_nic *nic, uint16_t channel, uint16_t type, uint64_t id,
                  const void *ext, uint32_t ext_bytes, const void *payload, uint32_t bytes);
/** A packet of the driver: check it, and answer. */
void loop_nic_take(struct loop_nic *nic, uint16_t channel, const struct hv_packet_desc *desc,
                   const uint8_t *bytes);
/** The primary channel was closed. */
void loop_nic_closed(struct loop_nic *nic);

#endif
