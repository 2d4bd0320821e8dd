/* SPDX-License-Identifier: BSD-3-Clause */
/* A host that breaks the rules: the bus is dead afterwards, nothing is leaked, and the reason is in the log. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "suite.h"
#include "vmbus_peer.h"

/** How far the connection got before the bad frame. */
enum stage {
    FIRST,       /* nothing was said */
    AFTER_HELLO, /* no version yet */
    WITH_DEVICE, /* open, one device with relid 1 */
};

static void begin(struct peer *peer, enum stage stage)
{
    peer_init(peer);
    if (stage == AFTER_HELLO)
        peer_hello(peer, 1);
    if (stage == WITH_DEVICE)
        peer_open_device(peer, -1);
}

/** The frame was queued: the bus must die of it.  Result of the call that met it. */
static int meet(struct peer *peer, enum stage stage)
{
    if (stage != WITH_DEVICE)
        return peer_open(peer);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer->bus), -ENODEV);
    CU_ASSERT_EQUAL(peer->events[HV_VMBUS_HOST_GONE], 1);
    return peer->events[HV_VMBUS_HOST_GONE] ? -EPROTO : 0;
}

/* ---- Frames ---- */

static const struct {
    const char *name;
    enum stage stage;
    size_t length; /* of the datagram; what `bytes` does not give is zero */
    size_t fd_count;
    const char *log;
    uint8_t bytes[32];
} frames[] = {
    {"one byte", FIRST, 1, 0, "shorter than its header", {1}},
    {"seven bytes", FIRST, 7, 0, "shorter than its header", {1, 0, 0, 0, 7}},
    {"length too small", FIRST, 64, 0, "wrong length", {1, 0, 0, 0, 63}},
    {"length too large", FIRST, 64, 0, "wrong length", {1, 0, 0, 0, 65}},
    {"length 4 GiB", FIRST, 64, 0, "wrong length", {1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}},
    {"flags", FIRST, 64, 0, "unknown flags", {1, 0, 1, 0, 64}},
    {"type 0", FIRST, 8, 0, "unknown type", {0, 0, 0, 0, 8}},
    {"type 7", FIRST, 8, 0, "unknown type", {7, 0, 0, 0, 8}},
    {"type 0x0101", FIRST, 64, 0, "unknown type", {1, 1, 0, 0, 64}},
    {"memory add", FIRST, 32, 0, "unknown type", {2, 0, 0, 0, 32}},
    {"513 bytes", FIRST, 513, 0, "longer than 512", {5, 0, 0, 0, 1, 2}},
    {"4096 bytes", WITH_DEVICE, 4096, 2, "longer than 512", {5, 0, 0, 0, 0, 16}},
    {"hello of 63 bytes", FIRST, 63, 0, "too short or too long", {1, 0, 0, 0, 63}},
    {"hello of 65 bytes", FIRST, 65, 0, "too short or too long", {1, 0, 0, 0, 65}},
    {"hello without magic",
     FIRST,
     64,
     0,
     "magic",
     {1, 0, 0, 0, 64, 0, 0, 0, 0x48, 0x56, 0x42, 0x54, 1}},
    {"hello with descriptor",
     FIRST,
     64,
     1,
     "too many descriptors",
     {1, 0, 0, 0, 64, 0, 0, 0, 0x48, 0x56, 0x42, 0x53, 1}},
    {"second hello",
     AFTER_HELLO,
     64,
     0,
     "second hello",
     {1, 0, 0, 0, 64, 0, 0, 0, 0x48, 0x56, 0x42, 0x53, 1}},
    {"second hello later",
     WITH_DEVICE,
     64,
     0,
     "second hello",
     {1, 0, 0, 0, 64, 0, 0, 0, 0x48, 0x56, 0x42, 0x53, 1}},
    {"memory result first", FIRST, 24, 0, "before hello", {4, 0, 0, 0, 24}},
    {"message first", FIRST, 24, 0, "before hello", {5, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 8}},
    {"memory result of 23 bytes", AFTER_HELLO, 23, 0, "too short", {4, 0, 0, 0, 23}},
    {"memory result with descriptor", AFTER_HELLO, 24, 1, "too many descriptors", {4, 0, 0, 0, 24}},
    {"message of 7 bytes",
     WITH_DEVICE,
     23,
     0,
     "too short",
     {5, 0, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 7}},
    {"message of 241 bytes",
     WITH_DEVICE,
     257,
     0,
     "too long",
     {5, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 241}},
    {"payload length too small",
     WITH_DEVICE,
     28,
     0,
     "message of wrong length",
     {5, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 11}},
    {"payload length too large",
     WITH_DEVICE,
     28,
     0,
     "message of wrong length",
     {5, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 13}},
    {"payload length 4 GiB",
     WITH_DEVICE,
     28,
     0,
     "message of wrong length",
     {5, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}},
    {"rescind with descriptor", WITH_DEVICE, 28, 1, "brings none", {5, 0, 0, 0,  28, 0, 0, 0, 0,
                                                                    0, 0, 0, 12, 0,  0, 0, 2, 0,
                                                                    0, 0, 0, 0,  0,  0, 1}},
    {"three descriptors",
     WITH_DEVICE,
     28,
     3,
     "too many descriptors",
     {5, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 12}},
    {"sixteen descriptors",
     WITH_DEVICE,
     28,
     16,
     "descriptors lost",
     {5, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 12}},
    {"goodbye of 409 bytes", WITH_DEVICE, 409, 0, "too long", {6, 0, 0, 0, 0x99, 1}},
    {"goodbye with descriptor", WITH_DEVICE, 8, 1, "too many descriptors", {6, 0, 0, 0, 8}},
};

static void test_frames(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(frames); i++) {
        unsigned open_before = peer_count_fds();
        uint8_t bytes[4096] = {0};
        struct peer peer;
        int fds[16];

        begin(&peer, frames[i].stage);
        for (size_t f = 0; f < HV_TEST_COUNT(fds); f++)
            fds[f] = eventfd(0, EFD_CLOEXEC);
        memcpy(bytes, frames[i].bytes, sizeof(frames[i].bytes));
        peer_raw(&peer, bytes, frames[i].length, fds, frames[i].fd_count);
        for (size_t f = 0; f < HV_TEST_COUNT(fds); f++)
            close(fds[f]);
        HV_CHECK_ROW(frames[i].name, meet(&peer, frames[i].stage) == -EPROTO);
        HV_CHECK_ROW(frames[i].name, strstr(peer.log, frames[i].log) != NULL);
        if (!strstr(peer.log, frames[i].log))
            fprintf(stderr, "log: %s", peer.log);
        peer_fini(&peer);
        HV_CHECK_ROW(frames[i].name, peer_count_fds() == open_before);
    }
}

/* ---- Messages ---- */

static const struct {
    const char *name;
    enum stage stage;
    size_t words;
    const char *log;
    uint32_t word[6];
} messages[] = {
    {"offers end before the version", AFTER_HELLO, 2, "before a version", {4}},
    {"rescind before the version", AFTER_HELLO, 3, "before a version", {2, 0, 1}},
    {"version before contact", AFTER_HELLO, 4, "before contact", {15, 0, 1, 1}},
    {"unknown before the version", AFTER_HELLO, 2, "before a version", {99}},
    {"short offer", WITH_DEVICE, 6, "too short", {1, 0}},
    {"short rescind", WITH_DEVICE, 2, "too short", {2, 0}},
    {"short open result", WITH_DEVICE, 4, "too short", {6, 0, 1, 1}},
    {"short GPADL created", WITH_DEVICE, 4, "too short", {10, 0, 1, 1}},
    {"short GPADL torndown", WITH_DEVICE, 2, "too short", {12, 0}},
    {"short version response", WITH_DEVICE, 3, "too short", {15, 0, 1}},
    {"short modify result", WITH_DEVICE, 3, "too short", {24, 0, 1}},
    {"request offers", WITH_DEVICE, 2, "only a guest sends", {3}},
    {"open", WITH_DEVICE, 6, "only a guest sends", {5}},
    {"close", WITH_DEVICE, 3, "only a guest sends", {7, 0, 1}},
    {"GPADL header", WITH_DEVICE, 6, "only a guest sends", {8}},
    {"GPADL body", WITH_DEVICE, 6, "only a guest sends", {9}},
    {"GPADL teardown", WITH_DEVICE, 4, "only a guest sends", {11}},
    {"relid released", WITH_DEVICE, 3, "only a guest sends", {13, 0, 1}},
    {"contact", WITH_DEVICE, 6, "only a guest sends", {14}},
    {"unload", WITH_DEVICE, 2, "only a guest sends", {16}},
    {"modify channel", WITH_DEVICE, 4, "only a guest sends", {22}},
    {"rescind of relid 0", WITH_DEVICE, 3, "unknown channel", {2, 0, 0}},
    {"rescind of relid 2", WITH_DEVICE, 3, "unknown channel", {2, 0, 2}},
    {"rescind of relid 4G", WITH_DEVICE, 3, "unknown channel", {2, 0, UINT32_MAX}},
};

static void test_messages(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(messages); i++) {
        unsigned open_before = peer_count_fds();
        struct peer peer;

        begin(&peer, messages[i].stage);
        peer_words(&peer, messages[i].words, messages[i].word);
        HV_CHECK_ROW(messages[i].name, meet(&peer, messages[i].stage) == -EPROTO);
        HV_CHECK_ROW(messages[i].name, strstr(peer.log, messages[i].log) != NULL);
        peer_fini(&peer);
        HV_CHECK_ROW(messages[i].name, peer_count_fds() == open_before);
    }
}

static void test_rescinded_twice(void)
{
    struct peer peer;

    begin(&peer, WITH_DEVICE);
    peer_rescind(&peer, 1);
    peer_rescind(&peer, 1);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), -ENODEV);
    CU_ASSERT(strstr(peer.log, "rescinded twice") != NULL);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_DEVICE_REMOVED], 1);
    CU_ASSERT_EQUAL(peer.events[HV_VMBUS_HOST_GONE], 1);
    peer_fini(&peer);
}

/** What a newer or slower host may do is no violation. */
static void test_harmless(void)
{
    static const struct {
        const char *name;
        size_t words;
        const char *log;
        uint32_t word[60];
    } rows[] = {
        {"type above all", 2, "unknown type 25", {25}},
        {"type far above", 2, "unknown type 4294967295", {UINT32_MAX}},
        {"type in a gap", 2, "unknown type 18", {18}},
        {"type 0", 2, "unknown type 0", {0}},
        {"open result for nobody", 5, "not asked", {6, 0, 1, 1, 0}},
        {"GPADL created for nobody", 5, "not asked", {10, 0, 1, 0xe1e10, 0}},
        {"torndown for nobody", 3, "not asked", {12, 0, 0xe1e10}},
        {"second version response", 4, "not asked", {15, 0, 1, 1}},
        {"second end of offers", 2, "not asked", {4}},
        {"unload complete", 2, "not asked", {17}},
        {"modify result", 4, "not asked", {24, 0, 1, 0}},
        {"answer longer than known", 60, "not asked", {6, 0, 1, 1, 0}},
    };
    struct peer peer;

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        begin(&peer, WITH_DEVICE);
        peer_words(&peer, rows[i].words, rows[i].word);
        HV_CHECK_ROW(rows[i].name, hv_vmbus_poll(peer.bus) == 0);
        HV_CHECK_ROW(rows[i].name, strstr(peer.log, rows[i].log) != NULL);
        peer_fini(&peer);
    }
    begin(&peer, WITH_DEVICE);
    peer_memory_result(&peer, PEER_MONITOR_PFN, -EIO);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT(strstr(peer.log, "not asked") != NULL);
    peer_fini(&peer);
}

/* ---- Offers ---- */

static struct hv_msg_offer good_offer(void)
{
    return (struct hv_msg_offer){
        .hdr.type = HV_MSG_OFFER_CHANNEL,
        .class_id = peer_class,
        .instance_id = {{9}},
        .relid = 7,
        .monitor_id = HV_MONITOR_NONE,
    };
}

static void send_offer(struct peer *peer, const struct hv_msg_offer *offer, const int *fds,
                       size_t fd_count)
{
    uint8_t bytes[sizeof(struct hv_sock_message) + sizeof(*offer)];
    struct hv_sock_message head = {
        .hdr = {HV_SOCK_MESSAGE, 0, sizeof(bytes)},
        .payload_bytes = sizeof(*offer),
    };

    memcpy(bytes, &head, sizeof(head));
    memcpy(bytes + sizeof(head), offer, sizeof(*offer));
    peer_raw(peer, bytes, sizeof(bytes), fds, fd_count);
}

static void no_descriptor(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)offer;
    (void)fds;
    *fd_count = 0;
}

static void one_descriptor(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)offer;
    (void)fds;
    *fd_count = 1;
}

static void pipe_as_signal(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    int ends[2];

    (void)offer;
    (void)fd_count;
    CU_ASSERT_EQUAL(pipe(ends), 0);
    close(fds[0]);
    close(ends[0]);
    fds[0] = ends[1];
}

static void file_as_event(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)offer;
    (void)fd_count;
    close(fds[1]);
    fds[1] = dup(2);
}

static void relid_0(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)fds;
    (void)fd_count;
    offer->relid = 0;
}

static void relid_2048(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)fds;
    (void)fd_count;
    offer->relid = 2048;
}

static void relid_in_use(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)fds;
    (void)fd_count;
    offer->relid = 1;
}

static void instance_in_use(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)fds;
    (void)fd_count;
    offer->instance_id = peer_instance;
}

static void orphan(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)fds;
    (void)fd_count;
    offer->sub_channel_index = 1;
}

static void other_class(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)fds;
    (void)fd_count;
    offer->instance_id = peer_instance;
    offer->class_id.b[0] ^= 1;
    offer->sub_channel_index = 1;
}

static void monitor_128(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)fds;
    (void)fd_count;
    offer->monitor_allocated = 1;
    offer->monitor_id = 128;
}

static void relid_2047(struct hv_msg_offer *offer, int *fds, size_t *fd_count)
{
    (void)fds;
    (void)fd_count;
    offer->relid = 2047;
    offer->monitor_allocated = 1;
    offer->monitor_id = 127;
}

static void test_offers(void)
{
    static const struct {
        const char *name;
        void (*spoil)(struct hv_msg_offer *offer, int *fds, size_t *fd_count);
        int want;
        const char *log;
    } rows[] = {
        {"as high as allowed", relid_2047, 0, ""},
        {"no descriptor", no_descriptor, -ENODEV, "two descriptors"},
        {"one descriptor", one_descriptor, -ENODEV, "two descriptors"},
        {"pipe as signal", pipe_as_signal, -ENODEV, "no eventfd"},
        {"file as event", file_as_event, -ENODEV, "no eventfd"},
        {"relid 0", relid_0, -ENODEV, "impossible relid"},
        {"relid 2048", relid_2048, -ENODEV, "impossible relid"},
        {"relid in use", relid_in_use, -ENODEV, "relid offered twice"},
        {"instance in use", instance_in_use, -ENODEV, "channel offered twice"},
        {"sub-channel of nothing", orphan, -ENODEV, "unknown device"},
        {"sub-channel of other class", other_class, -ENODEV, "unknown device"},
        {"monitor 128", monitor_128, -ENODEV, "impossible monitor id"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        unsigned open_before = peer_count_fds();
        struct hv_msg_offer offer = good_offer();
        int fds[2] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
        size_t fd_count = 2;
        struct peer peer;

        begin(&peer, WITH_DEVICE);
        rows[i].spoil(&offer, fds, &fd_count);
        send_offer(&peer, &offer, fds, fd_count);
        close(fds[0]);
        close(fds[1]);
        HV_CHECK_ROW(rows[i].name, hv_vmbus_poll(peer.bus) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, strstr(peer.log, rows[i].log) != NULL);
        peer_fini(&peer);
        HV_CHECK_ROW(rows[i].name, peer_count_fds() == open_before);
    }
}

/** 256 channels are legal, one more is not; and none is leaked. */
static void test_too_many_offers(void)
{
    unsigned open_before = peer_count_fds();
    int fds[2] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
    struct peer peer;

    begin(&peer, WITH_DEVICE);
    for (uint32_t i = 2; i <= 257; i++) {
        struct hv_msg_offer offer = good_offer();

        offer.relid = i;
        offer.instance_id.b[1] = (uint8_t)i;
        offer.instance_id.b[2] = (uint8_t)(i >> 8);
        if (i == 257) {
            CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
            CU_ASSERT_EQUAL(hv_vmbus_devices(peer.bus, NULL, 0), 256);
        }
        send_offer(&peer, &offer, fds, 2);
        if (i % 32 == 0) /* the socket holds a limited number of them */
            CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    }
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), -ENODEV);
    CU_ASSERT(strstr(peer.log, "too many channels") != NULL);
    close(fds[0]);
    close(fds[1]);
    peer_fini(&peer);
    CU_ASSERT_EQUAL(peer_count_fds(), open_before);
}

/** Sends messages that nobody asked for until the guest hangs up. */
static void *talk(void *arg)
{
    const struct {
        struct hv_sock_message head;
        struct hv_msg_header message;
    } frame = {
        .head = {.hdr = {HV_SOCK_MESSAGE, 0, sizeof(frame)}, .payload_bytes = 8},
        .message.type = HV_MSG_UNLOAD_COMPLETE,
    };
    const struct peer *peer = arg;

    while (send(peer->fd, &frame, sizeof(frame), MSG_NOSIGNAL) > 0)
        ;
    return NULL;
}

/** A host that talks without end and never answers: the wait ends all the same, and so does a poll. */
static void test_talks_without_end(void)
{
    struct hv_channel *channel = NULL;
    pthread_t thread;
    struct peer peer;

    peer_init(&peer);
    peer.timeout_ms = PEER_TIMEOUT_MS;
    peer_open_device(&peer, -1);
    CU_ASSERT_EQUAL(pthread_create(&thread, NULL, talk, &peer), 0);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 0, NULL, &channel), -ETIMEDOUT);
    hv_vmbus_close(peer.bus);
    peer.bus = NULL;
    CU_ASSERT_EQUAL(pthread_join(thread, NULL), 0);
    peer_fini(&peer);
}

/** A host that says something new whenever it was heard: waiting for sub-channels ends by the clock as well. */
static void test_talks_back(void)
{
    struct peer peer;

    peer_init(&peer);
    peer_open_device(&peer, -1);
    peer.babble = 1000000;
    peer_words(&peer, 2, (const uint32_t[]){HV_MSG_UNLOAD_COMPLETE, 0});
    CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(peer.bus, &peer_instance, 1, 1), 0);
    CU_ASSERT(peer.babble > 0);
    peer.babble = 0;
    peer_fini(&peer);
}

static const struct hv_test_case cases[] = {
    {"talks without end", test_talks_without_end},
    {"talks back", test_talks_back},
    {"malformed frames", test_frames},
    {"malformed messages", test_messages},
    {"rescinded twice", test_rescinded_twice},
    {"harmless surprises", test_harmless},
    {"malformed offers", test_offers},
    {"too many offers", test_too_many_offers},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.hostile", cases, HV_TEST_COUNT(cases), argc, argv);
}
