/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels for a guest driver alone: real rings whose host ends are the test's, no host, no sockets.  It stands in for
 * lib/vmbus (defines the hv_channel_* and hv_dma_* functions that a driver's data path calls), so link the driver's
 * objects with this instead.
 *
 * Page numbers are addresses of this process, shifted: what the driver names can be read and written by the test.
 * The host's ends may be used by another thread than the driver's.
 */
#ifndef HV_TEST_RING_BUS_H
#define HV_TEST_RING_BUS_H

#include <stdatomic.h>

#include <hv/ring.h>
#include <hv/vmbus.h>

struct ring_bus;

/** A channel, open.  Tests look at it; the host's ends are theirs. */
struct hv_channel {
    struct ring_bus *bus;
    struct hv_ring_area out, in;
    struct hv_ring_tx tx;
    struct hv_ring_rx rx;
    struct hv_ring_rx host_rx;
    struct hv_ring_tx host_tx;
    int fd; /* nobody raises it: the host's signals are lost */
    bool pending;
    _Atomic int status;
    unsigned flushes; /* publishes of the driver */
    unsigned signals; /* that the driver sent */
    char why[128];    /* it was killed */
};

struct ring_bus *ring_bus_create(void);
/** Aborts when DMA memory is left. */
void ring_bus_destroy(struct ring_bus *bus);
struct hv_vmbus *ring_bus_vmbus(struct ring_bus *bus);
/** data_bytes of each ring, without control page. */
struct hv_channel *ring_bus_open(struct ring_bus *bus, uint32_t data_bytes);
void ring_bus_close(struct hv_channel *channel);
/** Further memory of the test that the host reaches, page aligned; forgotten at destroy. */
void ring_bus_reach(struct ring_bus *bus, void *va, size_t bytes);

/** The host sends one packet and publishes it.  False: the ring is full. */
bool ring_bus_send(struct hv_channel *channel, uint16_t type, uint64_t id, const void *ext,
                   uint32_t ext_bytes, const void *payload, uint32_t payload_bytes);

#endif
