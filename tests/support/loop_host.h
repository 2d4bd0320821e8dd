/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host of one guest in one thread, for tests of a provider alone: real rings, no sockets, no threads, nothing happens
 * but in loop_poll().  It stands in for host/vmbus (defines the hv_host_* functions that providers call), so link the
 * provider's objects with this instead.
 *
 *   loop_create() -> provider's create(loop_host(loop), ...) -> loop_open(loop, 0) -> guest packets, loop_poll() ...
 *   -> loop_close() -> provider's destroy -> loop_destroy()
 */
#ifndef HV_TEST_LOOP_HOST_H
#define HV_TEST_LOOP_HOST_H

#include <hv/host.h>
#include <hv/ring.h>

#define LOOP_CHANNELS  8
#define LOOP_GUEST_ID  7
#define LOOP_FIRST_PFN 0x1000u
#define LOOP_PAGES     64u
#define LOOP_GPADL     0x10u
#define LOOP_GPADLS    4

/** Both ends of a channel.  Tests look at it; the guest's ends are theirs. */
struct hv_host_channel {
    struct loop *loop;
    uint16_t index;
    bool open, closing, closed;
    bool held, killed, rescinded, corrupted;
    unsigned flushes; /* publishes of the host */
    unsigned watches;
    char why[256]; /* it was killed */
    void *ctx;
    struct hv_ring_area to_host, to_guest;
    struct hv_ring_rx host_rx;
    struct hv_ring_tx host_tx;
    struct hv_ring_tx guest_tx;
    struct hv_ring_rx guest_rx;
};

struct loop {
    struct hv_host_device_opts device;
    const struct hv_host_device_ops *ops;
    void *device_ctx;
    uint16_t sub_channels_offered;
    struct hv_host_channel channels[LOOP_CHANNELS];
    struct hv_host_work *work, **work_tail;
    void (*withdrawn)(void *arg);
    void *withdrawn_arg;
    bool withdrawing;
    uint8_t *memory; /* of the guest: LOOP_PAGES from LOOP_FIRST_PFN on */
    /* GPADLs of LOOP_GPADL and up: their first page and number of pages (0 = there is none). */
    struct {
        uint32_t first, pages;
        void *mapped; /* for the provider, NULL = not */
        size_t mapped_bytes;
    } gpadls[LOOP_GPADLS];
};

/** data_bytes of each ring, without control page. */
struct loop *loop_create(uint32_t data_bytes);
void loop_destroy(struct loop *loop);
struct hv_host *loop_host(struct loop *loop);

/** Fresh rings, then the provider's open.  0 or what the provider said. */
int loop_open(struct loop *loop, uint16_t index);
/** The guest closes; loop_poll() until ->closed. */
void loop_close(struct loop *loop, uint16_t index);
/** The guest is gone, all channels being closed. */
void loop_guest_gone(struct loop *loop);

/** Poll every channel once and run posted work.  Returns how much was done. */
int loop_poll(struct loop *loop);
/** Poll until nothing is left to do, at most 10,000 times.  False = it never settled. */
bool loop_settle(struct loop *loop);
/** What the worker asks before sleeping: true = work. */
bool loop_arm(struct loop *loop, uint16_t index);

/** A GPA-direct or in-band packet of the guest: published at once.  Returns what the ring said. */
int loop_send(struct loop *loop, uint16_t index, const struct hv_packet_desc *desc, const void *ext,
              const void *payload);

#endif
