/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bus for a guest driver alone: no host, no rings, no threads; what the driver sends is handed to the test when the
 * driver publishes it, and the test puts in front of the driver whatever it likes.  It stands in for lib/vmbus (defines
 * the hv_vmbus_*, hv_channel_* and hv_dma_* functions that drivers call), so link the driver's objects with this instead.
 *
 * Page numbers are addresses of this process, shifted: what the driver names can be read and written by the test.
 */
#ifndef HV_TEST_LOOP_GUEST_H
#define HV_TEST_LOOP_GUEST_H

#include <hv/vmbus.h>
#include <hv/wire/ring.h>
#include <hv/wire/vstor.h>

#define LOOP_GUEST_CHANNELS 5
#define LOOP_GUEST_PFNS     2051
#define LOOP_GUEST_QUEUE    2048 /* packets to the driver that fit */

/** What the driver sent, taken apart; pfn_count 0 = in-band. */
struct loop_packet {
    uint16_t channel;
    uint16_t type;
    uint64_t id;
    uint32_t vstor_bytes;
    struct hv_vstor_packet vstor; /* zero behind vstor_bytes */
    uint32_t range_bytes;
    uint32_t range_offset;
    uint32_t pfn_count;
    uint64_t pfns[LOOP_GUEST_PFNS];
};

struct loop_guest;

struct loop_guest_opts {
    /** Each packet of the driver, in order, while it publishes them.  May call loop_guest_send(). */
    void (*sent)(void *arg, struct loop_guest *loop, const struct loop_packet *packet);
    void *arg;
    uint16_t sub_channels; /* offered; those beyond `openable` fail to open */
    uint16_t openable;
    bool lonely;         /* sub-channels must not be asked for */
    uint32_t max_bytes;  /* of a packet; 0 = as in a ring of 128 KiB */
    uint32_t room_bytes; /* ring space between two publishes; 0 = plenty */
};

struct loop_guest *loop_guest_create(const struct loop_guest_opts *opts);
/** Aborts when DMA memory or channels are left. */
void loop_guest_destroy(struct loop_guest *loop);
struct hv_vmbus *loop_guest_bus(struct loop_guest *loop);

/** A packet in front of the driver; the bytes are copied.  False: the channel is closed or full. */
bool loop_guest_send(struct loop_guest *loop, uint16_t channel, uint16_t type, uint64_t id,
                     const void *payload, uint32_t bytes);
/** The next look at the ring of this channel fails like this. */
void loop_guest_break(struct loop_guest *loop, uint16_t channel, int error);
/** Why the driver killed the channel; NULL when it did not. */
const char *loop_guest_killed(const struct loop_guest *loop, uint16_t channel);

/** Bytes between `data` and the range of a packet; returns how many. */
uint32_t loop_guest_copy_out(const struct loop_packet *packet, void *data, uint32_t bytes);
uint32_t loop_guest_copy_in(const struct loop_packet *packet, const void *data, uint32_t bytes);

#endif
