/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens to open channels: sub-channels, rescind, a lying ring, a host that goes, and who is told. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hv/ring.h>

#include "suite.h"
#include "vmbus_peer.h"

#define GPADL 0xe1e10u

/** Open channel `index`, the nth of this bus (from 0), rings of 2 pages each. */
static struct hv_channel *open_nth(struct peer *peer, uint32_t relid, uint16_t index, uint32_t nth)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    struct hv_channel *channel = NULL;

    opts.out_bytes = 0x2000;
    opts.in_bytes = 0x2000;
    peer_channel_opened(peer, relid, PEER_FIRST_PFN + 4 * nth, GPADL + nth, 1 + nth);
    CU_ASSERT_EQUAL(hv_channel_open(peer->bus, &peer_instance, index, &opts, &channel), 0);
    return channel;
}

static struct hv_channel *begin(struct peer *peer)
{
    peer_init(peer);
    peer_open_device(peer, -1);
    return open_nth(peer, 1, 0, 0);
}

/** Next frame gives relid back. */
static bool released(struct peer *peer, uint32_t relid)
{
    struct hv_msg_relid msg;

    return !peer_expect(peer, HV_MSG_RELID_RELEASED, &msg, sizeof(msg)) && msg.relid == relid;
}

static bool nothing_said(struct peer *peer)
{
    struct peer_frame frame;

    peer_read(peer, &frame);
    return !frame.length;
}

/** Every data-path call fails with `err`, and nobody sleeps. */
static void check_dead(struct hv_channel *channel, int err)
{
    const struct hv_packet_desc desc = {.trans_id = 1, .type = HV_PACKET_INBAND};
    struct hv_packet_slot slot;
    struct hv_packet packet;

    CU_ASSERT_EQUAL(hv_channel_status(channel), err);
    CU_ASSERT_EQUAL(hv_channel_reserve(channel, &desc, &slot), err);
    CU_ASSERT_EQUAL(hv_channel_flush(channel), err);
    CU_ASSERT_EQUAL(hv_channel_peek(channel, &packet), err);
    CU_ASSERT(hv_channel_want_room(channel, 24));
    CU_ASSERT(hv_channel_arm(channel));
    hv_channel_release(channel);
    hv_channel_disarm(channel);
}

/* ---- Rescind ---- */

static void test_rescind_open_channel(void)
{
    struct hv_msg_gpadl_teardown teardown;
    struct hv_channel *channel = NULL, *again = NULL;
    struct peer peer;

    channel = begin(&peer);
    CU_ASSERT(!hv_channel_arm(channel));
    peer_skip(&peer);
    peer_rescind(&peer, 1);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT(peer_readable(hv_channel_fd(channel))); /* the owner wakes */
    hv_channel_disarm(channel);
    check_dead(channel, -ENODEV);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_DEVICE_REMOVED], 1);
    CU_ASSERT(hv_guid_equal(&peer.event_instance, &peer_instance));
    CU_ASSERT_EQUAL(hv_vmbus_devices(peer.bus, NULL, 0), 0);
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 0, NULL, &again), -ENODEV);
    CU_ASSERT_EQUAL(hv_channel_set_target(channel, 1), -ENODEV);
    CU_ASSERT(nothing_said(&peer)); /* not released while it is open */

    /* the same device comes back before the old channel is closed */
    peer_offer(&peer, 2, 0, -1);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_DEVICE_ADDED], 1);
    again = open_nth(&peer, 2, 0, 1);
    CU_ASSERT_EQUAL(hv_channel_status(again), 0);
    peer_skip(&peer);

    peer_torndown(&peer, GPADL);
    hv_channel_close(channel);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_GPADL_TEARDOWN, &teardown, sizeof(teardown)), 0);
    CU_ASSERT_EQUAL(peer_expect_remove(&peer, PEER_FIRST_PFN, 4), 0);
    CU_ASSERT(released(&peer, 1));
    CU_ASSERT(nothing_said(&peer));
    peer_fini(&peer);
}

static void test_rescind_closed(void)
{
    struct peer peer;

    peer_init(&peer);
    peer_open_device(&peer, -1);
    peer_rescind(&peer, 1);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_DEVICE_REMOVED], 1);
    CU_ASSERT(released(&peer, 1));
    peer_offer(&peer, 1, 0, -1); /* the relid is free again */
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_DEVICE_ADDED], 1);
    CU_ASSERT_EQUAL(hv_vmbus_devices(peer.bus, NULL, 0), 1);
    peer_fini(&peer);
}

/** A device that comes and goes between two polls is never mentioned, but given back. */
static void test_came_and_went(void)
{
    struct peer peer;

    peer_init(&peer);
    peer_start(&peer);
    peer_all_offers(&peer);
    CU_ASSERT_EQUAL(peer_open(&peer), 0);
    peer_skip(&peer);
    peer_offer(&peer, 1, 0, -1);
    peer_rescind(&peer, 1);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_DEVICE_ADDED], 0);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_DEVICE_REMOVED], 0);
    CU_ASSERT(released(&peer, 1));
    peer_fini(&peer);
}

/* ---- Sub-channels ---- */

static void test_subchannels(void)
{
    struct hv_channel *sub = NULL, *primary = NULL;
    struct hv_vmbus_device device;
    struct peer peer;

    primary = begin(&peer);
    peer_offer(&peer, 2, 1, -1);
    peer_offer(&peer, 3, 2, -1);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(peer.bus, &peer_instance, 2, 5000), 2);
    CU_ASSERT(peer_readable(hv_vmbus_fd(peer.bus))); /* events to be told */
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT(!peer_readable(hv_vmbus_fd(peer.bus)));
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_SUBCHANNEL_ADDED], 2);
    CU_ASSERT_EQUAL(hv_vmbus_devices(peer.bus, &device, 1), 1);
    CU_ASSERT_EQUAL(device.sub_channel_count, 2);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(peer.bus, &peer_instance, 3, 20), 2);
    sub = open_nth(&peer, 3, 2, 1);
    peer_skip(&peer);

    peer_rescind(&peer, 2); /* not open */
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT(released(&peer, 2));
    CU_ASSERT_EQUAL(hv_channel_status(sub), 0);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(peer.bus, &peer_instance, 0, 0), 1);

    peer_rescind(&peer, 1); /* its primary: nothing works any more */
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_DEVICE_REMOVED], 1);
    check_dead(sub, -ENODEV);
    CU_ASSERT(peer_readable(peer.event_fd[2]));
    check_dead(primary, -ENODEV);
    peer_fini(&peer);
}

/** Closing the bus closes sub-channels first, and unloads at the end. */
static void test_close_order(void)
{
    struct hv_msg_relid relid;
    struct hv_msg_gpadl_teardown teardown;
    struct hv_msg_header unload;
    struct peer peer;

    (void)begin(&peer);
    peer_offer(&peer, 2, 1, -1);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    (void)open_nth(&peer, 2, 1, 1);
    peer_skip(&peer);
    peer_torndown(&peer, GPADL + 1);
    peer_torndown(&peer, GPADL);
    peer_words(&peer, 2, (const uint32_t[]){HV_MSG_UNLOAD_COMPLETE, 0});
    hv_vmbus_close(peer.bus);
    peer.bus = NULL;
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_CLOSE_CHANNEL, &relid, sizeof(relid)), 0);
    CU_ASSERT_EQUAL(relid.relid, 2);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_GPADL_TEARDOWN, &teardown, sizeof(teardown)), 0);
    CU_ASSERT_EQUAL(peer_expect_remove(&peer, PEER_FIRST_PFN + 4, 4), 0);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_CLOSE_CHANNEL, &relid, sizeof(relid)), 0);
    CU_ASSERT_EQUAL(relid.relid, 1);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_GPADL_TEARDOWN, &teardown, sizeof(teardown)), 0);
    CU_ASSERT_EQUAL(peer_expect_remove(&peer, PEER_FIRST_PFN, 4), 0);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_UNLOAD, &unload, sizeof(unload)), 0);
    CU_ASSERT_STRING_EQUAL(peer.log, "");
    peer_fini(&peer);
}

static void test_primary_before_sub(void)
{
    struct hv_channel *primary;
    struct peer peer;

    primary = begin(&peer);
    peer_offer(&peer, 2, 1, -1);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    (void)open_nth(&peer, 2, 1, 1);
    peer_torndown(&peer, GPADL);
    hv_channel_close(primary);
    CU_ASSERT(strstr(peer.log, "channel 1: closed before its sub-channel 2") != NULL);
    peer_fini(&peer);
}

/* ---- A host that lies or goes ---- */

static void test_corrupt_ring(void)
{
    struct hv_ring_area out, in;
    struct hv_channel *channel = NULL;
    struct hv_packet packet;
    struct peer peer;
    int fd;

    peer_init(&peer);
    peer_open_device(&peer, -1);
    channel = open_nth(&peer, 1, 0, 0);
    CU_ASSERT_EQUAL(peer_expect_memory(&peer, PEER_FIRST_PFN, 4, &fd), 0);
    CU_ASSERT_EQUAL(hv_ring_map(fd, 0, 0x2000, 0x2000, &out, &in), 0);
    close(fd);
    atomic_store(&in.control->write_index, 0x1000u); /* beyond the data */
    CU_ASSERT_EQUAL(hv_channel_peek(channel, &packet), -EPROTO);
    atomic_store(&in.control->write_index, 0u);
    check_dead(channel, -EPROTO);
    CU_ASSERT(strstr(peer.log, "channel 1: ring index beyond") != NULL);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0); /* the bus lives, and can open it again */
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_HOST_GONE], 0);
    peer_torndown(&peer, GPADL);
    hv_channel_close(channel);
    channel = open_nth(&peer, 1, 0, 1);
    CU_ASSERT_EQUAL(hv_channel_status(channel), 0);
    hv_ring_unmap(&out);
    hv_ring_unmap(&in);
    peer_fini(&peer);
}

/** The read index lies: whichever call looks at it first says so. */
static void test_corrupt_read_index(void)
{
    const struct hv_packet_desc desc = {
        .trans_id = 1, .payload_bytes = 4000, .type = HV_PACKET_INBAND};
    struct hv_packet_slot slot;

    for (unsigned how = 0; how < 3; how++) {
        struct hv_ring_area out, in;
        struct hv_channel *channel;
        struct peer peer;
        int fd;

        peer_init(&peer);
        peer_open_device(&peer, -1);
        channel = open_nth(&peer, 1, 0, 0);
        CU_ASSERT_EQUAL(peer_expect_memory(&peer, PEER_FIRST_PFN, 4, &fd), 0);
        CU_ASSERT_EQUAL(hv_ring_map(fd, 0, 0x2000, 0x2000, &out, &in), 0);
        close(fd);
        CU_ASSERT_EQUAL(hv_channel_reserve(channel, &desc, &slot), 0);
        CU_ASSERT_EQUAL(hv_channel_flush(channel), 0);
        atomic_store(&out.control->read_index, 4u);
        if (how == 0)
            CU_ASSERT_EQUAL(hv_channel_reserve(channel, &desc, &slot), -EPROTO);
        if (how == 1)
            CU_ASSERT_EQUAL(hv_channel_free_bytes(channel), 0);
        if (how == 2)
            CU_ASSERT(hv_channel_want_room(channel, 4024));
        check_dead(channel, -EPROTO);
        hv_ring_unmap(&out);
        hv_ring_unmap(&in);
        peer_fini(&peer);
    }
}

static void test_kill(void)
{
    struct hv_channel *channel = NULL;
    struct peer peer;

    channel = begin(&peer);
    hv_channel_kill(channel, "answer to nothing");
    hv_channel_kill(channel, "again");
    check_dead(channel, -EPROTO);
    CU_ASSERT_STRING_EQUAL(peer.log, "channel 1: answer to nothing; it is dead\n");
    peer_rescind(&peer, 1); /* the first reason stays */
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT_EQUAL(hv_channel_status(channel), -EPROTO);
    peer_fini(&peer);
}

static void test_host_gone(void)
{
    const uint64_t full = UINT64_MAX - 1;
    struct hv_channel *channel = NULL;
    struct hv_dma *dma = NULL;
    struct peer peer;

    channel = begin(&peer);
    CU_ASSERT(!hv_channel_arm(channel));
    CU_ASSERT_EQUAL(write(peer.signal_fd[0], &full, 8), 8); /* an owner that signals now is stuck */
    peer_end(&peer);
    CU_ASSERT(peer_readable(hv_vmbus_fd(peer.bus)));
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), -ENODEV);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_HOST_GONE], 1);
    CU_ASSERT(!peer_readable(peer.signal_fd[0])); /* until the loss is noticed */
    CU_ASSERT(peer_readable(hv_channel_fd(channel)));
    hv_channel_disarm(channel);
    check_dead(channel, -ENODEV);
    CU_ASSERT_EQUAL(hv_dma_alloc(peer.bus, 4096, &dma), -ENODEV);
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(peer.bus, &peer_instance, 1, 10000), 0);
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 0, NULL, &channel), -ENODEV);
    hv_channel_close(channel); /* at once: there is nobody to ask */
    peer_fini(&peer);
}

/** A teardown without answer: the host is cut off, since it may go on writing. */
static void test_not_torn_down(void)
{
    struct hv_channel *channel = NULL;
    struct peer peer;

    peer_init(&peer);
    peer.timeout_ms = PEER_TIMEOUT_MS;
    peer_open_device(&peer, -1);
    channel = open_nth(&peer, 1, 0, 0);
    peer_torndown(&peer, GPADL + 7); /* another one */
    hv_channel_close(channel);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), -ENODEV);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_HOST_GONE], 1);
    peer_fini(&peer);
}

/**
 * A host that fills its counters and makes the descriptors blocking: signalling must not block us.  In a child, so that
 * a failure is a timeout of the test and not a hang of the suite.
 */
static void test_signal_never_blocks(void)
{
    const uint64_t full = UINT64_MAX - 1;
    int status = 0;
    pid_t child = fork();

    if (!child) {
        const struct hv_packet_desc desc = {.trans_id = 1, .type = HV_PACKET_INBAND};
        struct hv_packet_slot slot;
        struct hv_channel *channel;
        struct peer peer;

        alarm(20);
        channel = begin(&peer);
        if (fcntl(peer.signal_fd[0], F_SETFL, 0) || fcntl(peer.event_fd[0], F_SETFL, 0))
            _exit(2);
        (void)hv_channel_arm(channel);
        hv_channel_disarm(channel); /* drains an empty counter */
        if (write(peer.signal_fd[0], &full, 8) != 8 || write(peer.event_fd[0], &full, 8) != 8)
            _exit(3);
        if (hv_channel_reserve(channel, &desc, &slot) || hv_channel_flush(channel))
            _exit(4);
        peer_end(&peer);
        _exit(hv_vmbus_poll(peer.bus) == -ENODEV ? 0 : 5); /* wakes the owner */
    }
    CU_ASSERT(child > 0 && waitpid(child, &status, 0) == child);
    CU_ASSERT(WIFEXITED(status) && !WEXITSTATUS(status));
}

/** The host hangs up, and the guest notices when it sends: the reason is waiting in its receive buffer. */
static void test_gone_while_sending(void)
{
    struct hv_channel *channel = NULL;
    struct peer peer;
    int pair[2];

    peer_init(&peer);
    peer_open_device(&peer, -1);
    peer_words(&peer, 2, (const uint32_t[]){99, 0}); /* something before it */
    peer_goodbye(&peer, "power cut");
    CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    CU_ASSERT_EQUAL(dup2(pair[0], peer.fd), peer.fd); /* closes the host's end */
    close(pair[0]);
    close(pair[1]);
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 0, NULL, &channel), -ENODEV);
    CU_ASSERT(strstr(peer.log, "host lost: it says: power cut") != NULL);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), -ENODEV);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_HOST_GONE], 1);
    peer_fini(&peer);
}

/** A host that does not read: sending ends by time, and what can wait is sent by a later poll. */
static void test_host_does_not_read(void)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    struct hv_channel *channel = NULL;
    struct peer peer;

    peer_init(&peer);
    peer.timeout_ms = PEER_TIMEOUT_MS;
    peer_open_device(&peer, -1);
    peer_memory_result(&peer, PEER_FIRST_PFN, 0);
    opts.out_bytes = 8000 * 4096; /* page list of 286 frames, more than the socket holds */
    opts.in_bytes = 0x2000;
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 0, &opts, &channel), -ETIMEDOUT);
    peer_rescind(&peer, 1);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_DEVICE_REMOVED], 1);
    CU_ASSERT(peer_readable(hv_vmbus_fd(peer.bus))); /* the relid is still to be given back */
    peer_skip(&peer);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT(released(&peer, 1));
    CU_ASSERT(nothing_said(&peer));
    (void)hv_vmbus_poll(peer.bus);
    CU_ASSERT(!peer_readable(hv_vmbus_fd(peer.bus)));
    peer_fini(&peer);
}

/* ---- Target processor ---- */

static void test_target(void)
{
    static const struct {
        const char *name;
        uint32_t version;
        bool answered;
        uint32_t status;
        int want;
    } rows[] = {
        {"4.0", HV_VERSION_4_0, false, 0, -EOPNOTSUPP},
        {"4.1 has no answer", HV_VERSION_4_1, false, 0, 0},
        {"5.2 has no answer", HV_VERSION_5_2, false, 0, 0},
        {"5.3", HV_VERSION_5_3, true, 0, 0},
        {"5.3 refused", HV_VERSION_5_3, true, 1, -EIO},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_msg_modify_channel modify;
        struct hv_channel *channel;
        struct peer peer;

        peer_init(&peer);
        peer.max_version = rows[i].version;
        peer_open_device(&peer, -1);
        channel = open_nth(&peer, 1, 0, 0);
        peer_skip(&peer);
        if (rows[i].answered)
            peer_words(&peer, 4, (const uint32_t[]){24, 0, 1, rows[i].status});
        HV_CHECK_ROW(rows[i].name, hv_channel_set_target(channel, 5) == rows[i].want);
        if (rows[i].want == -EOPNOTSUPP)
            HV_CHECK_ROW(rows[i].name, nothing_said(&peer));
        else
            HV_CHECK_ROW(rows[i].name,
                         !peer_expect(&peer, HV_MSG_MODIFY_CHANNEL, &modify, sizeof(modify)) &&
                             modify.relid == 1 && modify.target_vp == 5);
        peer_fini(&peer);
    }
}

static const struct hv_test_case cases[] = {
    {"rescind an open channel", test_rescind_open_channel},
    {"rescind a closed channel", test_rescind_closed},
    {"came and went", test_came_and_went},
    {"sub-channels", test_subchannels},
    {"close in order", test_close_order},
    {"primary before sub-channel", test_primary_before_sub},
    {"corrupt ring", test_corrupt_ring},
    {"corrupt read index", test_corrupt_read_index},
    {"killed by the driver", test_kill},
    {"host gone", test_host_gone},
    {"not torn down", test_not_torn_down},
    {"signals never block", test_signal_never_blocks},
    {"gone while sending", test_gone_while_sending},
    {"host does not read", test_host_does_not_read},
    {"target processor", test_target},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.lifecycle", cases, HV_TEST_COUNT(cases), argc, argv);
}
