/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus, guest library against host library: versions, offers, open and close, rescind, the ends of either side. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hv/vmbus.h>

#include "suite.h"
#include "test_bus_guest.h"
#include "test_bus_rig.h"

static const uint32_t versions[] = {0x00020004u, 0x00030000u, 0x00040000u, 0x00040001u,
                                    0x00050000u, 0x00050001u, 0x00050002u, 0x00050003u};

/** Echo works over this bus. */
static void check_echo(struct hv_vmbus *bus, const struct hv_guid *instance)
{
    struct hv_channel *channel;
    int err = hv_channel_open(bus, instance, 0, NULL, &channel);

    CU_ASSERT_EQUAL(err, 0);
    if (err)
        return;
    CU_ASSERT_EQUAL(guest_echo(channel, 10, 100), 0);
    hv_channel_close(channel);
}

/* ---- Versions ---- */

static void test_every_version(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(versions); i++) {
        struct rig rig;
        struct hv_vmbus *bus;
        char name[32];

        (void)snprintf(name, sizeof(name), "%u.%u", versions[i] >> 16, versions[i] & 0xffff);
        rig_start(&rig, &(struct rig_opts){.max_version = versions[i]});
        bus = guest_open(&rig, 0);
        HV_CHECK_ROW(name, bus != NULL);
        if (bus) {
            HV_CHECK_ROW(name, hv_vmbus_version(bus) == versions[i]);
            check_echo(bus, &rig.echo.instance);
        }
        hv_vmbus_close(bus);
        rig_stop(&rig);
    }
}

static void test_guest_asks_for_less(void)
{
    struct rig rig;

    rig_start(&rig, &(struct rig_opts){0});
    for (size_t i = 0; i < HV_TEST_COUNT(versions); i++) {
        struct hv_vmbus *bus = guest_open(&rig, versions[i]);

        CU_ASSERT_PTR_NOT_NULL(bus);
        if (bus)
            CU_ASSERT_EQUAL(hv_vmbus_version(bus), versions[i]);
        hv_vmbus_close(bus);
    }
    rig_stop(&rig);
}

/* ---- Devices ---- */

static void test_devices_come_and_go(void)
{
    struct hv_vmbus_device devices[4];
    struct rig rig;
    struct echo first = {0}, second = {0};
    struct hv_vmbus *bus;

    rig_start(&rig, &(struct rig_opts){.no_device = true});
    rig_offer(&rig, &first, 9, false);
    rig_offer(&rig, &second, 3, true);
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    CU_ASSERT_EQUAL(hv_vmbus_devices(bus, devices, 4), 2);
    CU_ASSERT(hv_guid_equal(&devices[0].class_id, &rig_class));
    CU_ASSERT_EQUAL(devices[0].instance_id.b[0], 9); /* in the order they were made */
    CU_ASSERT_EQUAL(devices[1].instance_id.b[0], 3);
    CU_ASSERT_EQUAL(devices[1].user_data[0], 3);
    CU_ASSERT_FALSE(devices[0].monitored);
    CU_ASSERT_TRUE(devices[1].monitored);
    check_echo(bus, &first.instance);
    check_echo(bus, &second.instance);
    rig_withdraw(&rig, &first);
    CU_ASSERT(rig_wait_flag(&first.gone));
    CU_ASSERT(guest_wait_devices(bus, 1));
    rig_offer(&rig, &first, 9, false);
    CU_ASSERT(guest_wait_devices(bus, 2));
    check_echo(bus, &first.instance);
    hv_vmbus_close(bus);
    rig_withdraw(&rig, &first);
    rig_withdraw(&rig, &second);
    CU_ASSERT(rig_wait_flag(&first.gone));
    CU_ASSERT(rig_wait_flag(&second.gone));
    rig_stop(&rig);
}

static void test_open_close_reopen(void)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channel;
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    const uint8_t refused = 42;

    rig_start(&rig, &(struct rig_opts){0});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    for (int i = 0; i < 20; i++)
        check_echo(bus, &rig.echo.instance);
    rig.echo.refuse = refused;
    opts.user_data = &refused;
    opts.user_data_bytes = 1;
    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig.echo.instance, 0, &opts, &channel), -EIO);
    check_echo(bus, &rig.echo.instance);
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.closed), 21);
    hv_vmbus_close(bus);
    rig_stop(&rig);
}

static void test_ring_sizes(void)
{
    static const struct {
        uint32_t out_pages, in_pages, payload;
    } rows[] = {
        {2, 2, 64},   {2, 64, 64},      {64, 2, 64},          {16, 16, 8000},
        {27, 3, 200}, {512, 512, 9000}, {4096, 4094, 100000}, {8188, 2, 1000},
    };
    struct rig rig;
    struct hv_vmbus *bus;

    rig_start(&rig, &(struct rig_opts){0});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
        struct hv_channel *channel = NULL;
        char name[32];
        int err;

        (void)snprintf(name, sizeof(name), "%u + %u", rows[i].out_pages, rows[i].in_pages);
        opts.out_bytes = rows[i].out_pages * 4096;
        opts.in_bytes = rows[i].in_pages * 4096;
        err = hv_channel_open(bus, &rig.echo.instance, 0, &opts, &channel);
        HV_CHECK_ROW(name, err == 0);
        if (!err)
            HV_CHECK_ROW(name, guest_echo(channel, 50, rows[i].payload) == 0);
        hv_channel_close(channel);
    }
    hv_vmbus_close(bus);
    rig_stop(&rig);
}

/* ---- Sub-channels ---- */

#define SUBS 3

static void open_with_subs(struct rig *rig, struct hv_vmbus *bus, struct hv_channel **channels)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;

    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig->echo.instance, 0, NULL, &channels[0]), 0);
    CU_ASSERT_EQUAL(guest_command(channels[0], ECHO_SUBCHANNELS, 1), 0);
    CU_ASSERT_EQUAL(guest_command(channels[0], ECHO_SUBCHANNELS, SUBS), 0);
    CU_ASSERT_EQUAL(guest_command(channels[0], ECHO_SUBCHANNELS, 99), 0); /* more than there are */
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(bus, &rig->echo.instance, SUBS, 10000), SUBS);
    for (uint16_t i = 1; i <= SUBS; i++) {
        opts.target_vp = i;
        CU_ASSERT_EQUAL(hv_channel_open(bus, &rig->echo.instance, i, &opts, &channels[i]), 0);
    }
    for (uint16_t i = 0; i <= SUBS; i++)
        CU_ASSERT_EQUAL(guest_echo(channels[i], 100, 200), 0);
}

static void test_sub_channels(void)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channels[SUBS + 1];

    rig_start(&rig, &(struct rig_opts){0});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    for (int round = 0; round < 3; round++) {
        open_with_subs(&rig, bus, channels);
        for (int i = SUBS; i >= 0; i--)
            hv_channel_close(channels[i]);
        CU_ASSERT(guest_wait_subchannels_gone(bus, &rig.echo.instance));
    }
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.closed), 3 * (SUBS + 1));
    hv_vmbus_close(bus);
    rig_stop(&rig);
}

static void test_sub_channels_at_open(void)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channel;

    rig_start(&rig, &(struct rig_opts){0});
    rig.echo.subchannels_at_open = 2;
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig.echo.instance, 0, NULL, &channel), 0);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(bus, &rig.echo.instance, 2, 10000), 2);
    hv_channel_close(channel);
    hv_vmbus_close(bus);
    rig_stop(&rig);
}

/** The bus is closed with everything open: unload does the rest. */
static void test_unload_with_open_channels(void)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channels[SUBS + 1];

    rig_start(&rig, &(struct rig_opts){0});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    open_with_subs(&rig, bus, channels);
    hv_vmbus_close(bus);
    CU_ASSERT(rig_wait(&rig.guests_removed, 1));
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.closed), SUBS + 1);
    rig_stop(&rig);
}

/* ---- Taking away ---- */

static void test_rescind_open_device(void)
{
    struct rig rig;
    struct hv_vmbus *bus, *other;
    struct hv_channel *channels[SUBS + 1], *untouched;

    rig_start(&rig, &(struct rig_opts){0});
    bus = guest_open(&rig, 0);
    other = guest_open(&rig, 0);
    CU_ASSERT_FATAL(bus && other);
    CU_ASSERT_EQUAL(hv_channel_open(other, &rig.echo.instance, 0, NULL, &untouched), 0);
    open_with_subs(&rig, bus, channels);
    CU_ASSERT_EQUAL(guest_command(channels[2], ECHO_RESCIND, 0), 0); /* takes the whole device */
    CU_ASSERT(guest_wait_devices(bus, 0));
    for (int i = SUBS; i >= 0; i--) {
        CU_ASSERT_EQUAL(hv_channel_status(channels[i]), -ENODEV);
        hv_channel_close(channels[i]);
    }
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.closed), SUBS + 1);
    CU_ASSERT_EQUAL(guest_echo(untouched, 100, 100), 0);
    hv_channel_close(untouched);
    hv_vmbus_close(bus);
    bus = guest_open(&rig, 0); /* a new connection sees it again */
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    check_echo(bus, &rig.echo.instance);
    hv_vmbus_close(bus);
    hv_vmbus_close(other);
    rig_stop(&rig);
}

static void test_withdraw_while_open(void)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channel;

    rig_start(&rig, &(struct rig_opts){0});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig.echo.instance, 0, NULL, &channel), 0);
    atomic_store(&rig.echo.hold_close, true);
    rig_withdraw(&rig, &rig.echo);
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.open_channels), 1);
    CU_ASSERT_FALSE(atomic_load(&rig.echo.gone)); /* the provider is still inside */
    atomic_store(&rig.echo.hold_close, false);
    CU_ASSERT(rig_wait_flag(&rig.echo.gone));
    CU_ASSERT(guest_wait_devices(bus, 0));
    hv_channel_close(channel);
    hv_vmbus_close(bus);
    rig_stop(&rig);
}

static void test_killed_guest_leaves_others_alone(void)
{
    struct rig rig;
    struct hv_vmbus *bus[3];
    struct hv_channel *channel[3];

    rig_start(&rig, &(struct rig_opts){0});
    for (int i = 0; i < 3; i++) {
        bus[i] = guest_open(&rig, 0);
        CU_ASSERT_PTR_NOT_NULL_FATAL(bus[i]);
        CU_ASSERT_EQUAL(hv_channel_open(bus[i], &rig.echo.instance, 0, NULL, &channel[i]), 0);
    }
    CU_ASSERT_EQUAL(guest_command(channel[1], ECHO_KILL, 5), 0);
    CU_ASSERT(rig_wait(&rig.guests_removed, 1));
    CU_ASSERT(rig_warned(&rig, "asked to be killed 5"));
    CU_ASSERT_EQUAL(guest_echo(channel[0], 1000, 100), 0);
    CU_ASSERT_EQUAL(guest_echo(channel[2], 1000, 100), 0);
    while (!hv_vmbus_poll(bus[1])) {
    }
    CU_ASSERT_EQUAL(hv_channel_status(channel[1]), -ENODEV);
    for (int i = 0; i < 3; i++) {
        hv_channel_close(channel[i]);
        hv_vmbus_close(bus[i]);
    }
    rig_stop(&rig);
}

static void *wait_for_end(void *arg)
{
    struct hv_channel *channel = arg;

    while (!hv_channel_status(channel)) {
        if (!guest_sleep(channel))
            return channel; /* 10 s without a word */
    }
    return NULL;
}

/** The host goes while a guest sleeps on its channel: it wakes at once. */
static void test_host_dies(void)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channel;
    struct pollfd fd = {.events = POLLIN};
    pthread_t owner;
    void *timed_out;

    rig_start(&rig, &(struct rig_opts){0});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig.echo.instance, 0, NULL, &channel), 0);
    CU_ASSERT_EQUAL(pthread_create(&owner, NULL, wait_for_end, channel), 0);
    rig_stop(&rig);
    fd.fd = hv_vmbus_fd(bus);
    CU_ASSERT_EQUAL(poll(&fd, 1, 10000), 1);
    while (!hv_vmbus_poll(bus)) {
    }
    (void)pthread_join(owner, &timed_out);
    CU_ASSERT_PTR_NULL(timed_out);
    CU_ASSERT_EQUAL(hv_channel_status(channel), -ENODEV);
    hv_channel_close(channel);
    hv_vmbus_close(bus);
}

/* ---- Listening ---- */

struct listen_call {
    const char *path;
    int err;
};

static void do_listen(struct rig *rig, void *arg)
{
    struct listen_call *call = arg;

    call->err = hv_host_listen(rig->host, call->path);
}

static void test_listen(void)
{
    char folder[] = "/tmp/hv-bus-XXXXXX", path[64], address[80];
    struct listen_call call = {.path = path};
    struct rig first, second;
    struct hv_vmbus *bus = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/sock", folder);
    (void)snprintf(address, sizeof(address), "unix:%s", path);
    rig_start(&first, &(struct rig_opts){0});
    rig_start(&second, &(struct rig_opts){0});
    rig_call(&first, do_listen, &call);
    CU_ASSERT_EQUAL(call.err, 0);
    rig_call(&first, do_listen, &call);
    CU_ASSERT_EQUAL(call.err, -EALREADY);
    rig_call(&second, do_listen, &call);
    CU_ASSERT_EQUAL(call.err, -EADDRINUSE); /* somebody lives there */
    CU_ASSERT_EQUAL(hv_vmbus_open(address, NULL, &bus), 0);
    if (bus)
        check_echo(bus, &first.echo.instance);
    hv_vmbus_close(bus);
    (void)snprintf(address, sizeof(address), "%s/kept", folder);
    CU_ASSERT_EQUAL(link(path, address), 0);
    rig_stop(&first); /* removes its socket file */
    CU_ASSERT_EQUAL(access(path, F_OK), -1);
    CU_ASSERT_EQUAL(rename(address, path), 0); /* a dead one in the way */
    rig_call(&second, do_listen, &call);
    CU_ASSERT_EQUAL(call.err, 0);
    (void)snprintf(address, sizeof(address), "unix:%s", path);
    CU_ASSERT_EQUAL(hv_vmbus_open(address, NULL, &bus), 0);
    hv_vmbus_close(bus);
    rig_stop(&second);
    CU_ASSERT_EQUAL(rmdir(folder), 0);
}

static const struct hv_test_case cases[] = {
    {"every version of the host", test_every_version},
    {"every version of the guest", test_guest_asks_for_less},
    {"devices come and go", test_devices_come_and_go},
    {"open, close, reopen, refused", test_open_close_reopen},
    {"ring sizes", test_ring_sizes},
    {"sub-channels", test_sub_channels},
    {"sub-channels asked for at open", test_sub_channels_at_open},
    {"unload with open channels", test_unload_with_open_channels},
    {"rescind of an open device", test_rescind_open_device},
    {"withdraw while open", test_withdraw_while_open},
    {"killed guest leaves others alone", test_killed_guest_leaves_others_alone},
    {"host dies", test_host_dies},
    {"listen", test_listen},
};

int main(int argc, char **argv)
{
    return hv_test_main("pair.bus", cases, HV_TEST_COUNT(cases), argc, argv);
}
