/* SPDX-License-Identifier: BSD-3-Clause */
/* From hello to the offers: the bytes, the ways it can fail, and hosts that lie. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "suite.h"
#include "vmbus_peer.h"

/* ---- Bytes ---- */

/** docs/socket-transport.md, section 11: written there by hand, not made from the structs. */
static void test_handshake_bytes(void)
{
    static const uint8_t hello[] = {1, 0, 0, 0, 0x40, 0, 0, 0, 0x48, 0x56, 0x42, 0x53, 1, 0, 0, 0};
    static const uint8_t add[] = {2, 0, 0, 0, 0x20, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0,
                                  2, 0, 0, 0, 0,    0, 0, 0, 0, 0,    0, 0, 0, 0, 0, 0};
    static const uint8_t contact[] = {5, 0, 0,    0, 0x38, 0, 0, 0,    4, 0, 0, 0, 0x28, 0,
                                      0, 0, 0x0e, 0, 0,    0, 0, 0,    0, 0, 3, 0, 5,    0,
                                      0, 0, 0,    0, 2,    0, 0, 0,    0, 0, 0, 0, 0,    0,
                                      0, 1, 0,    0, 0,    0, 0, 0x10, 0, 1, 0, 0, 0,    0};
    static const uint8_t request[] = {5, 0, 0, 0, 0x18, 0, 0, 0, 77, 0, 0, 0,
                                      8, 0, 0, 0, 3,    0, 0, 0, 0,  0, 0, 0};
    static const struct {
        const uint8_t *bytes;
        size_t compare;
        size_t length;
    } want[] = {{hello, sizeof(hello), 64},
                {add, sizeof(add), sizeof(add)},
                {contact, sizeof(contact), sizeof(contact)},
                {request, sizeof(request), sizeof(request)}};
    struct peer_frame frame;
    struct peer peer;

    peer_init(&peer);
    peer_start(&peer);
    peer_all_offers(&peer);
    CU_ASSERT_EQUAL(peer_open(&peer), 0);
    for (size_t i = 0; i < HV_TEST_COUNT(want); i++) {
        peer_read(&peer, &frame);
        CU_ASSERT_EQUAL(frame.length, want[i].length);
        CU_ASSERT(!memcmp(frame.bytes, want[i].bytes, want[i].compare));
        CU_ASSERT_EQUAL(frame.fd >= 0, frame.hdr.type == HV_SOCK_MEMORY_ADD);
        if (frame.fd >= 0) {
            CU_ASSERT_EQUAL(fcntl(frame.fd, F_GET_SEALS),
                            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
            close(frame.fd);
        }
    }
    peer_read(&peer, &frame);
    CU_ASSERT_EQUAL(frame.length, 0);
    CU_ASSERT_EQUAL(hv_vmbus_version(peer.bus), HV_VERSION_5_3);
    peer_fini(&peer);
}

/* ---- Versions ---- */

static const struct {
    uint32_t version;
    uint32_t post_contact_to;
} known[] = {
    {HV_VERSION_5_3, 4}, {HV_VERSION_5_2, 4}, {HV_VERSION_5_1, 4}, {HV_VERSION_5_0, 4},
    {HV_VERSION_4_1, 1}, {HV_VERSION_4_0, 1}, {HV_VERSION_3_0, 1}, {HV_VERSION_2_4, 1},
};

/** The host accepts known[accepted] and nothing before it. */
static void check_version(size_t accepted)
{
    bool v5 = known[accepted].version >= HV_VERSION_5_0;
    struct hv_msg_initiate_contact contact;
    struct peer_frame frame;
    struct peer peer;
    int fd;

    peer_init(&peer);
    peer_hello(&peer, 1);
    peer_memory_result(&peer, PEER_MONITOR_PFN, 0);
    for (size_t i = 0; i < accepted; i++)
        peer_version(&peer, 0, 99);
    peer_version(&peer, 1, v5 ? 77 : 0);
    peer_all_offers(&peer);
    CU_ASSERT_EQUAL(peer_open(&peer), 0);
    peer_read(&peer, &frame);
    CU_ASSERT_EQUAL(peer_expect_memory(&peer, PEER_MONITOR_PFN, 2, &fd), 0);
    close(fd);
    for (size_t i = 0; i <= accepted; i++) {
        peer_read(&peer, &frame);
        CU_ASSERT_EQUAL(frame.length, 16 + sizeof(contact));
        memcpy(&contact, frame.message.payload, sizeof(contact));
        CU_ASSERT_EQUAL(contact.version, known[i].version);
        CU_ASSERT_EQUAL(frame.message.connection_id, known[i].post_contact_to);
        CU_ASSERT_EQUAL(contact.interrupt_page, known[i].version >= HV_VERSION_5_0 ? 2 : 0);
    }
    peer_read(&peer, &frame); /* request offers */
    CU_ASSERT_EQUAL(frame.message.connection_id, v5 ? 77 : 1);
    CU_ASSERT_EQUAL(hv_vmbus_version(peer.bus), known[accepted].version);
    /* unload exists from 3.0 on */
    peer_end(&peer);
    hv_vmbus_close(peer.bus);
    peer.bus = NULL;
    peer_read(&peer, &frame);
    CU_ASSERT_EQUAL(frame.length, known[accepted].version >= HV_VERSION_3_0 ? 24 : 0);
    peer_fini(&peer);
}

static void test_versions(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(known); i++)
        check_version(i);
}

static void test_max_version(void)
{
    struct hv_msg_initiate_contact contact;
    struct peer_frame frame;
    struct peer peer;

    peer_init(&peer);
    peer.max_version = HV_VERSION_4_1;
    peer_hello(&peer, 1);
    peer_memory_result(&peer, PEER_MONITOR_PFN, 0);
    peer_version(&peer, 1, 0);
    peer_all_offers(&peer);
    CU_ASSERT_EQUAL(peer_open(&peer), 0);
    peer_read(&peer, &frame);
    peer_read(&peer, &frame);
    close(frame.fd);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_INITIATE_CONTACT, &contact, sizeof(contact)), 0);
    CU_ASSERT_EQUAL(contact.version, HV_VERSION_4_1);
    peer_fini(&peer);
}

static void test_no_version(void)
{
    struct peer peer;

    peer_init(&peer);
    peer_hello(&peer, 1);
    peer_memory_result(&peer, PEER_MONITOR_PFN, 0);
    for (size_t i = 0; i < HV_TEST_COUNT(known); i++)
        peer_version(&peer, 0, 0);
    CU_ASSERT_EQUAL(peer_open(&peer), -EPROTONOSUPPORT);
    CU_ASSERT(strstr(peer.log, "no VMBus version") != NULL);
    peer_fini(&peer);
}

/* ---- Ways not to get in ---- */

static void host_speaks_2(struct peer *peer)
{
    peer_hello(peer, 2);
    peer_goodbye(peer, "version 2 only");
}

static void host_is_full(struct peer *peer)
{
    peer_goodbye(peer, "no room\x1b[2J");
}

static void host_refuses_memory(struct peer *peer)
{
    peer_hello(peer, 1);
    peer_memory_result(peer, PEER_MONITOR_PFN, -ENOSPC);
}

static void host_has_no_resources(struct peer *peer)
{
    struct hv_msg_version_response response = {
        .hdr.type = HV_MSG_VERSION_RESPONSE, .supported = 1, .connection_state = 1};

    peer_hello(peer, 1);
    peer_memory_result(peer, PEER_MONITOR_PFN, 0);
    peer_message(peer, &response, sizeof(response));
}

static void host_ends(struct peer *peer)
{
    peer_end(peer);
}

static void host_ends_later(struct peer *peer)
{
    peer_start(peer);
    peer_end(peer);
}

static void host_is_silent(struct peer *peer)
{
    peer->timeout_ms = PEER_TIMEOUT_MS;
}

static void host_forgets_offers(struct peer *peer)
{
    peer->timeout_ms = PEER_TIMEOUT_MS;
    peer_start(peer);
    peer_offer(peer, 1, 0, -1);
}

static void test_no_entry(void)
{
    static const struct {
        const char *name;
        void (*host)(struct peer *peer);
        int want;
        const char *log;
    } rows[] = {
        {"other socket protocol", host_speaks_2, -EPROTONOSUPPORT, "protocol 2, we speak 1"},
        {"full", host_is_full, -ECONNREFUSED, "it says: no room?[2J"},
        {"refuses memory", host_refuses_memory, -ENOMEM, "refuses 2 pages"},
        {"low resources", host_has_no_resources, -ECONNREFUSED, "state 1"},
        {"ends at once", host_ends, -ECONNREFUSED, "closed the connection"},
        {"ends before the offers", host_ends_later, -ENODEV, "closed the connection"},
        {"silent", host_is_silent, -ETIMEDOUT, "does not answer"},
        {"never ends the offers", host_forgets_offers, -ETIMEDOUT, "does not answer"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        unsigned fds = peer_count_fds();
        struct peer peer;

        peer_init(&peer);
        rows[i].host(&peer);
        HV_CHECK_ROW(rows[i].name, peer_open(&peer) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, !peer.bus && strstr(peer.log, rows[i].log));
        peer_fini(&peer);
        HV_CHECK_ROW(rows[i].name, peer_count_fds() == fds);
    }
}

/** A host that dies with frames of ours unread: its last words still arrive. */
static void test_last_words(void)
{
    struct peer peer;
    int other;

    peer_init(&peer);
    peer_start(&peer);
    peer_all_offers(&peer);
    CU_ASSERT_EQUAL(peer_open(&peer), 0);
    peer_goodbye(&peer, "out of paper");
    other = peer.fd;
    peer.fd = eventfd(0, EFD_CLOEXEC);
    close(other);
    CU_ASSERT(peer_readable(hv_vmbus_fd(peer.bus)));
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), -ENODEV);
    CU_ASSERT(strstr(peer.log, "it says: out of paper") != NULL);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_HOST_GONE], 1);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), -ENODEV);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_HOST_GONE], 1);
    CU_ASSERT(!peer_readable(hv_vmbus_fd(peer.bus)));
    peer_fini(&peer);
}

static const struct hv_test_case cases[] = {
    {"handshake bytes", test_handshake_bytes},
    {"every version", test_versions},
    {"highest version allowed", test_max_version},
    {"no version in common", test_no_version},
    {"no entry", test_no_entry},
    {"last words", test_last_words},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.connection", cases, HV_TEST_COUNT(cases), argc, argv);
}
