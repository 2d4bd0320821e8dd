/* SPDX-License-Identifier: BSD-3-Clause */
#include "test_bus_guest.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

struct hv_vmbus *guest_open(struct rig *rig, uint32_t max_version)
{
    struct hv_vmbus_opts opts = HV_VMBUS_OPTS_INIT;
    struct hv_vmbus *bus = NULL;
    char address[32];
    int err;

    opts.max_version = max_version;
    rig_address(rig, address, sizeof(address));
    err = hv_vmbus_open(address, &opts, &bus);
    if (err) {
        fprintf(stderr, "cannot open the bus: %s\n", strerror(-err));
        return NULL;
    }
    return bus;
}

int guest_send(struct hv_channel *channel, uint64_t id, uint32_t bytes)
{
    struct hv_packet_desc desc = {.trans_id = id, .type = 0x6, .flags = 1, .payload_bytes = bytes};
    struct hv_packet_slot slot;
    int err = hv_channel_reserve(channel, &desc, &slot);

    if (err)
        return err;
    for (uint32_t i = 0; i < bytes; i++)
        ((uint8_t *)slot.payload)[i] = guest_pattern(id, i);
    return 0;
}

bool guest_sleep(struct hv_channel *channel)
{
    struct pollfd fd = {.fd = hv_channel_fd(channel), .events = POLLIN};
    bool woken = true;

    if (!hv_channel_arm(channel)) {
        woken = poll(&fd, 1, 10000) > 0;
    }
    hv_channel_disarm(channel);
    return woken;
}

int guest_receive(struct hv_channel *channel, uint64_t id, uint32_t bytes)
{
    struct hv_packet packet;
    int err;

    while ((err = hv_channel_peek(channel, &packet)) == -EAGAIN) {
        if (!guest_sleep(channel))
            return -ETIMEDOUT;
    }
    if (err)
        return err;
    if (packet.trans_id != id || packet.payload_bytes != ((bytes + 7) & ~7u))
        return -EBADMSG;
    for (uint32_t i = 0; i < bytes; i++) {
        if (((const uint8_t *)packet.payload)[i] != guest_pattern(id, i))
            return -EBADMSG;
    }
    hv_channel_release(channel);
    return 0;
}

int guest_echo(struct hv_channel *channel, unsigned count, uint32_t bytes)
{
    for (unsigned i = 1; i <= count; i++) {
        int err = guest_send(channel, i, bytes);

        if (!err)
            err = hv_channel_flush(channel);
        if (!err)
            err = guest_receive(channel, i, bytes);
        if (err)
            return err;
    }
    return 0;
}

int guest_command(struct hv_channel *channel, unsigned command, unsigned argument)
{
    int err = guest_send(channel, ECHO_COMMAND_OF(command, argument), 8);

    return err ? err : hv_channel_flush(channel);
}

/** Poll the bus until `done`; false after 10 s without. */
static bool wait_bus(struct hv_vmbus *bus, bool (*done)(struct hv_vmbus *bus, const void *arg),
                     const void *arg)
{
    struct pollfd fd = {.fd = hv_vmbus_fd(bus), .events = POLLIN};

    for (;;) {
        if (hv_vmbus_poll(bus))
            return false;
        if (done(bus, arg))
            return true;
        if (poll(&fd, 1, 10000) <= 0)
            return false;
    }
}

static bool has_devices(struct hv_vmbus *bus, const void *arg)
{
    struct hv_vmbus_device devices[8];

    return hv_vmbus_devices(bus, devices, 8) == *(const size_t *)arg;
}

bool guest_wait_devices(struct hv_vmbus *bus, size_t count)
{
    return wait_bus(bus, has_devices, &count);
}

static bool has_no_subchannels(struct hv_vmbus *bus, const void *arg)
{
    return hv_vmbus_wait_subchannels(bus, arg, 0, 0) == 0;
}

bool guest_wait_subchannels_gone(struct hv_vmbus *bus, const struct hv_guid *instance)
{
    return wait_bus(bus, has_no_subchannels, instance);
}
