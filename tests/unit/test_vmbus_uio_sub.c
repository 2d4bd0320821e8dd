/* SPDX-License-Identifier: BSD-3-Clause */
/* Sub-channels of uio devices: they come late, must not be interrupted or signalled at times, and end with their primary. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <hv/wire/ring.h>

#include "suite.h"
#include "uio_tree.h"

#define SUB_RELID 21u
#define SUB_BYTES (2u << 20)

struct rig {
    struct tree tree;
    struct tree_device device;
    struct hv_guid instance;
    struct hv_vmbus *bus;
    struct hv_channel *primary, *sub;
    struct hv_ring_area to_host, to_guest; /* of the sub-channel, once there */
    struct hv_ring_rx host_rx;
    struct hv_ring_tx host_tx;
};

static void rig_init(struct rig *rig, const char *release, int monitor_id)
{
    *rig = (struct rig){0};
    tree_init(&rig->tree, tree_kernel(release));
    rig->device = tree_network(monitor_id);
    rig->instance = tree_instance(&rig->device);
    tree_device(&rig->tree, &rig->device);
    CU_ASSERT(!tree_open(&rig->tree, "uio:" TREE_INSTANCE, &rig->bus));
    CU_ASSERT(!hv_channel_open(rig->bus, &rig->instance, 0, NULL, &rig->primary));
}

static void rig_fini(struct rig *rig)
{
    hv_vmbus_close(rig->bus);
    hv_ring_unmap(&rig->to_host);
    hv_ring_unmap(&rig->to_guest);
    tree_fini(&rig->tree);
}

/** Sub-channel 1, all of it, opened by us. */
static void add_sub(struct rig *rig, int monitor_id)
{
    tree_sub(&rig->tree, &rig->device, SUB_RELID, 1, monitor_id);
    tree_sub_opened(&rig->tree, &rig->device, SUB_RELID);
    tree_sub_ring(&rig->tree, &rig->device, SUB_RELID, SUB_BYTES);
    tree_map_sub_rings(&rig->tree, &rig->device, SUB_RELID, &rig->to_host, &rig->to_guest);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(rig->bus, &rig->instance, 1, 1000), 1);
    CU_ASSERT(!hv_channel_open(rig->bus, &rig->instance, 1, NULL, &rig->sub));
    CU_ASSERT(!hv_ring_rx_init(&rig->host_rx, &rig->to_host));
    CU_ASSERT(!hv_ring_tx_init(&rig->host_tx, &rig->to_guest));
}

static uint32_t sub_mask(const struct rig *rig)
{
    return atomic_load(&rig->to_guest.control->interrupt_mask);
}

static int send_word(struct hv_channel *channel, uint64_t word)
{
    struct hv_packet_desc desc = {.trans_id = 1, .type = HV_PACKET_INBAND, .payload_bytes = 8};
    struct hv_packet_slot slot;
    int err = hv_channel_reserve(channel, &desc, &slot);

    if (err)
        return err;
    memcpy(slot.payload, &word, sizeof(word));
    return hv_channel_flush(channel);
}

/* ---- Coming ---- */

/** The kernel lists it, then opens it, then its file appears: only then is it ours, and masked at once. */
static void test_sub_comes_late(void)
{
    struct rig rig;

    rig_init(&rig, "6.12", 37);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(rig.bus, &rig.instance, 1, 20), 0);
    tree_sub(&rig.tree, &rig.device, SUB_RELID, 1, 38);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(rig.bus, &rig.instance, 1, 20), 0);
    tree_sub_opened(&rig.tree, &rig.device, SUB_RELID);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(rig.bus, &rig.instance, 1, 20), 0);
    CU_ASSERT_EQUAL(hv_channel_open(rig.bus, &rig.instance, 1, NULL, &rig.sub), -EINVAL);
    tree_sub_ring(&rig.tree, &rig.device, SUB_RELID, SUB_BYTES);
    tree_map_sub_rings(&rig.tree, &rig.device, SUB_RELID, &rig.to_host, &rig.to_guest);
    CU_ASSERT_EQUAL(sub_mask(&rig), 0);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(rig.bus, &rig.instance, 1, 1000), 1);
    CU_ASSERT_EQUAL(sub_mask(&rig), 1);
    CU_ASSERT(!hv_vmbus_poll(rig.bus));
    CU_ASSERT_EQUAL(rig.tree.told[HV_VMBUS_SUBCHANNEL_ADDED], 1);
    CU_ASSERT(!hv_channel_open(rig.bus, &rig.instance, 1, NULL, &rig.sub));
    rig_fini(&rig);
}

/** After a first announcement the bus looks again by itself until the file is there. */
static void test_sub_by_announcement(void)
{
    struct pollfd pfd = {.events = POLLIN};
    struct hv_vmbus_device device;
    struct rig rig;

    rig_init(&rig, "6.16", 37);
    tree_sub(&rig.tree, &rig.device, SUB_RELID, 1, 38);
    tree_uevent(&rig.tree, "channels");
    CU_ASSERT(!hv_vmbus_poll(rig.bus));
    tree_sub_opened(&rig.tree, &rig.device, SUB_RELID);
    tree_sub_ring(&rig.tree, &rig.device, SUB_RELID, SUB_BYTES);
    pfd.fd = hv_vmbus_fd(rig.bus);
    CU_ASSERT_EQUAL(poll(&pfd, 1, 5000), 1);
    CU_ASSERT(!hv_vmbus_poll(rig.bus));
    CU_ASSERT_EQUAL(hv_vmbus_devices(rig.bus, &device, 1), 1);
    CU_ASSERT_EQUAL(device.sub_channel_count, 1);
    CU_ASSERT(!hv_vmbus_poll(rig.bus));
    CU_ASSERT(!tree_fd_readable(hv_vmbus_fd(rig.bus))); /* and not for ever */
    rig_fini(&rig);
}

static void test_sub_exchange(void)
{
    static const char *const releases[] = {"4.20", "5.15", "6.1.0-56-amd64",
                                           "6.12", "6.16", "6.18"};

    for (size_t i = 0; i < HV_TEST_COUNT(releases); i++) {
        struct hv_packet packet;
        struct rig rig;

        rig_init(&rig, releases[i], 37);
        add_sub(&rig, 70);
        HV_CHECK_ROW(releases[i], !send_word(rig.sub, 77) && tree_take(&rig.host_rx, 1, 77, 1));
        tree_send(&rig.host_tx, 9, 78, 1);
        HV_CHECK_ROW(releases[i], !hv_channel_peek(rig.sub, &packet) && packet.trans_id == 9);
        HV_CHECK_ROW(releases[i], tree_writes(&rig.tree) == 0);
        rig_fini(&rig);
    }
}

/* ---- Sleeping ---- */

/** One counter for the device: an interrupt wakes everybody, and nobody eats it for somebody else. */
static void test_sub_all_wake(void)
{
    struct rig rig;

    rig_init(&rig, "6.18", 37);
    add_sub(&rig, 70);
    CU_ASSERT(!hv_channel_arm(rig.primary) && !hv_channel_arm(rig.sub));
    CU_ASSERT_EQUAL(sub_mask(&rig), 0);
    tree_interrupt(&rig.tree);
    CU_ASSERT(tree_fd_readable(hv_channel_fd(rig.primary)));
    hv_channel_disarm(rig.primary);
    CU_ASSERT(!tree_fd_readable(hv_channel_fd(rig.primary)));
    CU_ASSERT(tree_fd_readable(hv_channel_fd(rig.sub)));
    hv_channel_disarm(rig.sub);
    CU_ASSERT(!tree_fd_readable(hv_channel_fd(rig.sub)));
    CU_ASSERT_EQUAL(sub_mask(&rig), 1);
    rig_fini(&rig);
}

/** An interrupt of a sub-channel crashes these kernels: the host is never asked for one, and the owner sleeps by the clock. */
static void test_sub_without_interrupts(void)
{
    static const char *const releases[] = {"4.20", "5.15", "6.1.0-56-amd64"};

    for (size_t i = 0; i < HV_TEST_COUNT(releases); i++) {
        const char *name = releases[i];
        struct hv_packet packet;
        struct pollfd pfd = {.events = POLLIN};
        struct rig rig;
        uint32_t room;

        rig_init(&rig, name, 37);
        add_sub(&rig, 70);
        pfd.fd = hv_channel_fd(rig.sub);
        HV_CHECK_ROW(name, !hv_channel_arm(rig.sub) && sub_mask(&rig) == 1);
        HV_CHECK_ROW(name, poll(&pfd, 1, 5000) == 1); /* nobody signalled */
        hv_channel_disarm(rig.sub);
        HV_CHECK_ROW(name, !tree_fd_readable(pfd.fd) && sub_mask(&rig) == 1);
        tree_send(&rig.host_tx, 9, 78, 1);
        HV_CHECK_ROW(name, hv_channel_arm(rig.sub) && !hv_channel_peek(rig.sub, &packet));
        HV_CHECK_ROW(name, hv_channel_arm(rig.sub)); /* peeked, not released */
        hv_channel_release(rig.sub);
        room = hv_channel_free_bytes(rig.sub);
        HV_CHECK_ROW(name, hv_channel_want_room(rig.sub, room - 8));
        HV_CHECK_ROW(name, !hv_channel_want_room(rig.sub, room));
        HV_CHECK_ROW(name, !atomic_load(&rig.to_host.control->pending_send_size));
        HV_CHECK_ROW(name, poll(&pfd, 1, 5000) == 1);
        HV_CHECK_ROW(name, !hv_channel_arm(rig.primary)); /* that one may */
        rig_fini(&rig);
    }
}

/* ---- Signals ---- */

static void test_sub_signals(void)
{
    struct hv_monitor_page *monitor;
    struct rig rig;

    rig_init(&rig, "6.16", 37);
    monitor = tree_map_monitor(&rig.tree, &rig.device);
    add_sub(&rig, 70);
    CU_ASSERT(!send_word(rig.sub, 1));
    CU_ASSERT_EQUAL(atomic_load(&monitor->group[2].pending), 1u << 6);
    CU_ASSERT_EQUAL(atomic_load(&monitor->group[1].pending), 0);
    tree_unmap_monitor(monitor);
    rig_fini(&rig);

    rig_init(&rig, "6.16", -1); /* no monitor anywhere */
    add_sub(&rig, -1);
    CU_ASSERT(!send_word(rig.sub, 1));
    CU_ASSERT_EQUAL(tree_writes(&rig.tree), 1);
    rig_fini(&rig);
}

/** A primary without monitor and a sub-channel with one: each has the page it needs. */
static void test_sub_alone_is_monitored(void)
{
    struct hv_monitor_page *monitor;
    struct rig rig;

    rig_init(&rig, "6.12", -1);
    monitor = tree_map_monitor(&rig.tree, &rig.device);
    add_sub(&rig, 70);
    CU_ASSERT(!send_word(rig.sub, 1));
    CU_ASSERT_EQUAL(atomic_load(&monitor->group[2].pending), 1u << 6);
    CU_ASSERT_EQUAL(tree_writes(&rig.tree), 0);
    tree_unmap_monitor(monitor);
    rig_fini(&rig);
}

static void test_sub_cannot_signal(void)
{
    struct rig rig;

    rig_init(&rig, "6.1.0-56-amd64", 37);
    tree_sub(&rig.tree, &rig.device, SUB_RELID, 1, -1);
    tree_sub_opened(&rig.tree, &rig.device, SUB_RELID);
    tree_sub_ring(&rig.tree, &rig.device, SUB_RELID, SUB_BYTES);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(rig.bus, &rig.instance, 1, 1000), 1);
    CU_ASSERT_EQUAL(hv_channel_open(rig.bus, &rig.instance, 1, NULL, &rig.sub), -EOPNOTSUPP);
    CU_ASSERT(strstr(rig.tree.log, "cannot signal") != NULL);
    rig_fini(&rig);
}

/** A write() while the kernel lists a sub-channel without rings crashes it: held back, and made up for. */
static void test_sub_holds_writes(void)
{
    struct rig rig;

    rig_init(&rig, "6.12", -1);
    tree_sub(&rig.tree, &rig.device, SUB_RELID, 1, -1);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(rig.bus, &rig.instance, 1, 0), 0);
    CU_ASSERT(!send_word(rig.primary, 1));
    CU_ASSERT_EQUAL(tree_writes(&rig.tree), 0);
    tree_sub_opened(&rig.tree, &rig.device, SUB_RELID);
    tree_sub_ring(&rig.tree, &rig.device, SUB_RELID, SUB_BYTES);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(rig.bus, &rig.instance, 1, 1000), 1);
    CU_ASSERT_EQUAL(tree_writes(&rig.tree), 1);
    rig_fini(&rig);
}

/** One that is never born: who can only signal by write() is told, once. */
static void test_sub_never_born(void)
{
    struct pollfd pfd = {.events = POLLIN};
    struct rig rig;

    rig_init(&rig, "6.12", -1);
    tree_sub(&rig.tree, &rig.device, SUB_RELID, 1, -1);
    tree_uevent(&rig.tree, "channels");
    pfd.fd = hv_vmbus_fd(rig.bus);
    for (int i = 0; i < 1000 && !hv_channel_status(rig.primary); i++) {
        CU_ASSERT_EQUAL(poll(&pfd, 1, 5000), 1);
        CU_ASSERT(!hv_vmbus_poll(rig.bus));
    }
    CU_ASSERT_EQUAL(hv_channel_status(rig.primary), -ENODEV);
    CU_ASSERT(tree_fd_readable(hv_channel_fd(rig.primary)));
    CU_ASSERT(strstr(rig.tree.log, "does not open") != NULL);
    CU_ASSERT_EQUAL(tree_writes(&rig.tree), 0);
    CU_ASSERT(!tree_fd_readable(hv_vmbus_fd(rig.bus)));
    rig_fini(&rig);
}

/** Left over from an earlier use, and not taken back by the host: no open where write() is the only signal. */
static void test_sub_left_over(void)
{
    struct hv_channel *channel = NULL;
    struct rig rig;

    rig_init(&rig, "6.12", -1);
    hv_channel_close(rig.primary);
    tree_sub(&rig.tree, &rig.device, SUB_RELID, 1, -1);
    CU_ASSERT_EQUAL(hv_channel_open(rig.bus, &rig.instance, 0, NULL, &channel), -EBUSY);
    CU_ASSERT(strstr(rig.tree.log, "of an earlier use") != NULL);
    tree_remove(&rig.tree, "sys/bus/vmbus/devices/" TREE_INSTANCE "/channels/%u", SUB_RELID);
    CU_ASSERT(!hv_channel_open(rig.bus, &rig.instance, 0, NULL, &channel));
    rig_fini(&rig);
}

/* ---- Going ---- */

/** The owner did not stop in time: it finds a dead channel, and nothing that it touches is anybody's. */
static void test_sub_ends_with_primary(void)
{
    struct rig rig;

    rig_init(&rig, "6.12", 37);
    add_sub(&rig, 70);
    CU_ASSERT(!hv_channel_arm(rig.sub));
    atomic_store(&rig.to_guest.control->interrupt_mask, 0x55);
    hv_channel_close(rig.primary);
    CU_ASSERT(tree_fd_readable(hv_channel_fd(rig.sub)));
    hv_channel_disarm(rig.sub);
    CU_ASSERT_EQUAL(hv_channel_status(rig.sub), -ENODEV);
    CU_ASSERT_EQUAL(sub_mask(&rig), 0x55);
    CU_ASSERT_EQUAL(send_word(rig.sub, 1), -ENODEV);
    hv_channel_close(rig.sub);
    rig_fini(&rig);
}

/** The rings stay as long as the kernel has them: a second owner goes on where the first stopped. */
static void test_sub_reopen(void)
{
    struct rig rig;

    rig_init(&rig, "6.12", 37);
    add_sub(&rig, 70);
    CU_ASSERT(!send_word(rig.sub, 77) && tree_take(&rig.host_rx, 1, 77, 1));
    CU_ASSERT(!hv_channel_arm(rig.sub));
    hv_channel_close(rig.sub);
    CU_ASSERT_EQUAL(sub_mask(&rig), 1);
    CU_ASSERT(!hv_channel_open(rig.bus, &rig.instance, 1, NULL, &rig.sub));
    CU_ASSERT(!send_word(rig.sub, 78) && tree_take(&rig.host_rx, 1, 78, 1));
    rig_fini(&rig);
}

/** The host takes the sub-channel alone: nothing tells but its folder. */
static void test_sub_taken_away(void)
{
    struct hv_vmbus_device device;
    struct rig rig;

    rig_init(&rig, "6.12", 37);
    add_sub(&rig, 70);
    tree_remove(&rig.tree, "sys/bus/vmbus/devices/" TREE_INSTANCE "/channels/%u", SUB_RELID);
    tree_uevent(&rig.tree, "channels");
    CU_ASSERT(!hv_vmbus_poll(rig.bus));
    CU_ASSERT_EQUAL(hv_channel_status(rig.sub), -ENODEV);
    CU_ASSERT(!hv_channel_status(rig.primary));
    CU_ASSERT_EQUAL(hv_vmbus_devices(rig.bus, &device, 1), 1);
    CU_ASSERT_EQUAL(device.sub_channel_count, 0);
    hv_channel_close(rig.sub);
    rig_fini(&rig);
}

static void test_sub_device_ends(void)
{
    unsigned fds = tree_count_fds();
    struct rig rig;

    rig_init(&rig, "6.18", 37);
    add_sub(&rig, 70);
    tree_die(&rig.tree);
    tree_remove(&rig.tree, "sys/bus/vmbus/devices/" TREE_INSTANCE);
    CU_ASSERT(!hv_vmbus_poll(rig.bus));
    CU_ASSERT_EQUAL(hv_channel_status(rig.sub), -ENODEV);
    CU_ASSERT_EQUAL(hv_channel_status(rig.primary), -ENODEV);
    hv_channel_close(rig.sub);
    hv_channel_close(rig.primary);
    rig_fini(&rig);
    CU_ASSERT_EQUAL(tree_count_fds(), fds);
    CU_ASSERT_EQUAL(tree_count_maps(), 0);
}

/* ---- Processors ---- */

static bool cpu_is(const struct rig *rig, uint32_t relid, const char *want)
{
    char path[256], got[16] = "";
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/bus/vmbus/devices/" TREE_INSTANCE "/channels/%u/cpu",
                   rig->tree.sysfs, relid);
    file = fopen(path, "re");
    if (!file)
        return false;
    (void)!fgets(got, sizeof(got), file);
    (void)fclose(file);
    return !strncmp(got, want, strlen(want));
}

static void test_sub_target(void)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    struct rig rig;

    rig_init(&rig, "6.12", 37);
    CU_ASSERT(!hv_channel_set_target(rig.primary, 3) && cpu_is(&rig, 14, "3"));
    add_sub(&rig, 70);
    CU_ASSERT_EQUAL(hv_channel_set_target(rig.sub, 1), -EOPNOTSUPP); /* no such file */
    hv_channel_close(rig.sub);
    tree_put(&rig.tree, "0\n", "sys/bus/vmbus/devices/" TREE_INSTANCE "/channels/21/cpu");
    opts.target_vp = 2;
    CU_ASSERT(!hv_channel_open(rig.bus, &rig.instance, 1, &opts, &rig.sub));
    CU_ASSERT(cpu_is(&rig, 21, "2") && cpu_is(&rig, 14, "3"));
    rig_fini(&rig);
}

static const struct hv_test_case cases[] = {
    {"target", test_sub_target},
    {"comes late", test_sub_comes_late},
    {"by announcement", test_sub_by_announcement},
    {"exchange", test_sub_exchange},
    {"all wake", test_sub_all_wake},
    {"without interrupts", test_sub_without_interrupts},
    {"signals", test_sub_signals},
    {"alone is monitored", test_sub_alone_is_monitored},
    {"cannot signal", test_sub_cannot_signal},
    {"holds writes", test_sub_holds_writes},
    {"never born", test_sub_never_born},
    {"left over", test_sub_left_over},
    {"ends with primary", test_sub_ends_with_primary},
    {"reopen", test_sub_reopen},
    {"taken away", test_sub_taken_away},
    {"device ends", test_sub_device_ends},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.uio.sub", cases, HV_TEST_COUNT(cases), argc, argv);
}
