/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's side of tests of the bus, by the guest library. */
#ifndef HV_TEST_BUS_GUEST_H
#define HV_TEST_BUS_GUEST_H

#include <hv/vmbus.h>

#include "test_bus_rig.h"

/** NULL on failure.  max_version 0 = newest. */
struct hv_vmbus *guest_open(struct rig *rig, uint32_t max_version);

/** Send one packet of a pattern made of id; 0, or what reserve said. */
int guest_send(struct hv_channel *channel, uint64_t id, uint32_t bytes);
/** Wait up to 10 s for the next completion and compare it.  0, -ETIMEDOUT, -EBADMSG or what peek said. */
int guest_receive(struct hv_channel *channel, uint64_t id, uint32_t bytes);
/** `count` packets there and back, one at a time. */
int guest_echo(struct hv_channel *channel, unsigned count, uint32_t bytes);
/** Send a command to the echo device.  0 or a negative errno. */
int guest_command(struct hv_channel *channel, unsigned command, unsigned argument);
/** Sleep until the channel has something, or 10 s.  False = nothing came. */
bool guest_sleep(struct hv_channel *channel);

/** Poll the bus until it has so many devices; false after 10 s. */
bool guest_wait_devices(struct hv_vmbus *bus, size_t count);
bool guest_wait_subchannels_gone(struct hv_vmbus *bus, const struct hv_guid *instance);

/** Byte `position` of the payload of packet `id`. */
static inline uint8_t guest_pattern(uint64_t id, uint32_t position)
{
    return (uint8_t)(id * 31 + position * 7 + (position >> 8));
}

#endif
