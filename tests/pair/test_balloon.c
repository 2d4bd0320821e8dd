/* SPDX-License-Identifier: BSD-3-Clause */
/* The balloon example against a host end of its protocol, which is written here byte by byte. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <hv/wire/ring.h>

#include "balloon.h"
#include "suite.h"
#include "test_bus_rig.h"

static const struct hv_guid dynmem_class =
    HV_GUID_INIT(0x525074dcu, 0x8985u, 0x46e2u, 0x80, 0x57, 0xa3, 0x07, 0xdc, 0x18, 0xa5, 0x02);

#define LAST_BYTES 48u

/** What the host does; set before the guest connects. */
struct peer {
    uint32_t newest;       /* version that it accepts, and below */
    uint64_t caps_flags;   /* of its answer to the capabilities */
    bool silent;           /* no answers at all */
    bool asks_first;       /* sends requests before each answer */
    uint16_t packet_type;  /* of its packets; 0 = in-band */
    uint16_t claims_bytes; /* in the header of its answers; 0 = the truth */
    uint32_t wrong_id;     /* added to the transaction id of its answers */
    bool rescinds;         /* instead of an answer */
    struct hv_host_device *device;
    struct hv_host_channel *channel;
    bool closing;
    atomic_uint opened, closed, requests, statuses, balloon_answers, unballoon_answers,
        hot_add_answers;
    uint8_t last_status[LAST_BYTES];
};

static int peer_open(void *ctx, struct hv_host_channel *channel, const void *user_data,
                     size_t bytes, void **ret_ctx)
{
    struct peer *peer = ctx;

    (void)user_data;
    (void)bytes;
    peer->channel = channel;
    peer->closing = false;
    atomic_fetch_add(&peer->opened, 1);
    *ret_ctx = peer;
    return 0;
}

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i--;)
        value = value << 8 | at[i];
    return value;
}

static void say(struct peer *peer, uint16_t type, uint32_t id, uint64_t body, uint32_t bytes)
{
    struct hv_packet_desc desc = {.type = peer->packet_type ? peer->packet_type
                                                            : (uint16_t)HV_PACKET_INBAND,
                                  .payload_bytes = bytes};
    struct hv_packet_slot slot;
    uint8_t message[16] = {0};

    put(message, type, 2);
    put(message + 2, peer->claims_bytes ? peer->claims_bytes : bytes, 2);
    put(message + 4, id, 4);
    put(message + 8, body, 8);
    if (hv_host_channel_reserve(peer->channel, &desc, &slot))
        CU_FAIL_FATAL("room in the ring");
    memcpy(slot.payload, message, bytes);
}

/** Requests of every kind, and one that no client knows. */
static void ask(struct peer *peer)
{
    say(peer, 6, 70, 1000, 16);          /* balloon */
    say(peer, 8, 71, 1, 16);             /* unballoon, more follows */
    say(peer, 8, 71, 0, 16);             /* unballoon */
    say(peer, 10, 72, 0x1000001000, 16); /* hot add */
    say(peer, 12, 73, 0, 16);            /* information */
    say(peer, 4711, 74, 0, 16);
}

static void answer(struct peer *peer, const uint8_t *message, uint32_t bytes)
{
    uint16_t type = (uint16_t)get(message, 2);
    uint32_t id = (uint32_t)get(message + 4, 4) + peer->wrong_id;

    if (type == 1 || type == 3) {
        atomic_fetch_add(&peer->requests, 1);
        if (peer->rescinds)
            hv_host_channel_rescind(peer->channel);
        if (peer->silent || peer->rescinds)
            return;
        if (peer->asks_first)
            ask(peer);
        if (type == 1)
            say(peer, 2, id, get(message + 8, 4) <= peer->newest, 16);
        else
            say(peer, 4, id, peer->caps_flags, 16);
    } else if (type == 5 && bytes >= LAST_BYTES) {
        memcpy(peer->last_status, message, LAST_BYTES);
        atomic_fetch_add(&peer->statuses, 1);
    } else if (type == 7 && bytes == 16 && !get(message + 8, 8)) {
        atomic_fetch_add(&peer->balloon_answers, 1);
    } else if (type == 9 && bytes == 8) {
        atomic_fetch_add(&peer->unballoon_answers, 1);
    } else if (type == 11 && bytes == 16 && !get(message + 8, 8)) {
        atomic_fetch_add(&peer->hot_add_answers, 1);
    }
}

static int peer_poll(void *ctx)
{
    struct peer *peer = ctx;
    struct hv_packet packet;
    int done = 0;

    if (peer->closing) {
        atomic_fetch_add(&peer->closed, 1);
        hv_host_channel_closed(peer->channel);
        return 1;
    }
    while (!hv_host_channel_peek(peer->channel, &packet)) {
        uint8_t message[64] = {0};
        uint32_t bytes = packet.payload_bytes < sizeof(message) ? packet.payload_bytes
                                                                : (uint32_t)sizeof(message);

        memcpy(message, packet.payload, bytes);
        if (packet.type == HV_PACKET_INBAND && get(message + 2, 2) == bytes)
            answer(peer, message, bytes);
        done++;
    }
    (void)hv_host_channel_flush(peer->channel);
    hv_host_channel_release(peer->channel);
    return done;
}

static void peer_close(void *ctx)
{
    ((struct peer *)ctx)->closing = true;
}

static void do_offer(struct rig *rig, void *arg)
{
    static const struct hv_host_device_ops ops = {
        .open = peer_open, .poll = peer_poll, .close = peer_close};
    struct hv_host_device_opts opts = {.size = sizeof(opts),
                                       .class_id = dynmem_class,
                                       .instance_id = {{0xba}},
                                       .max_sub_channels = 0};
    struct peer *peer = arg;

    if (hv_host_device_offer(rig->host, &opts, &ops, peer, &peer->device))
        CU_FAIL_FATAL("offer");
}

static void do_withdraw(struct rig *rig, void *arg)
{
    (void)rig;
    hv_host_device_withdraw(((struct peer *)arg)->device, NULL, NULL);
}

/** A host with the device, and a guest at it. */
struct pair {
    struct rig rig;
    struct peer peer;
    struct balloon balloon;
};

static int pair_open(struct pair *p)
{
    char address[32];

    rig_address(&p->rig, address, sizeof(address));
    return balloon_open(&p->balloon, address, NULL);
}

static void pair_start(struct pair *p, const struct peer *peer)
{
    memset(p, 0, sizeof(*p));
    p->peer = *peer;
    if (!p->peer.newest)
        p->peer.newest = 0x20000;
    if (!p->peer.caps_flags)
        p->peer.caps_flags = 1;
    rig_start(&p->rig, &(struct rig_opts){.no_device = true});
    rig_call(&p->rig, do_offer, &p->peer);
    CU_ASSERT_EQUAL_FATAL(pair_open(p), 0);
}

static void pair_stop(struct pair *p)
{
    balloon_close(&p->balloon);
    rig_call(&p->rig, do_withdraw, &p->peer);
    rig_stop(&p->rig);
    CU_ASSERT_EQUAL(atomic_load(&p->peer.opened), atomic_load(&p->peer.closed));
}

static void test_versions(void)
{
    static const struct {
        const char *name;
        uint32_t newest, agreed, requests;
        int err;
    } rows[] = {
        {"2.0", 0x20000, 0x20000, 1, 0},
        {"1.0", 0x1ffff, 0x10000, 2, 0},
        {"0.3", 3, 3, 3, 0},
        {"none", 2, 0, 3, -EPROTONOSUPPORT},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pair p;

        pair_start(&p, &(struct peer){.newest = rows[i].newest});
        HV_CHECK_ROW(rows[i].name, balloon_agree(&p.balloon) == rows[i].err);
        HV_CHECK_ROW(rows[i].name, p.balloon.version == rows[i].agreed);
        HV_CHECK_ROW(rows[i].name, atomic_load(&p.peer.requests) == rows[i].requests);
        pair_stop(&p);
    }
}

static void test_capabilities(void)
{
    static const struct {
        const char *name;
        uint64_t flags;
        int err;
        bool none;
    } rows[] = {
        {"accepted", 1, 0, false},
        {"no reports", 5, 0, true},
        {"refused", 4, -ECONNREFUSED, false},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pair p;

        pair_start(&p, &(struct peer){.caps_flags = rows[i].flags});
        HV_CHECK_ROW(rows[i].name, balloon_agree(&p.balloon) == 0);
        HV_CHECK_ROW(rows[i].name, balloon_report_capabilities(&p.balloon) == rows[i].err);
        HV_CHECK_ROW(rows[i].name, p.balloon.host_wants_none == rows[i].none);
        pair_stop(&p);
    }
}

/** The bytes of the third message: type 5, 48 bytes, then both counts. */
static void test_status(void)
{
    static const uint8_t wanted[LAST_BYTES] = {5,    0,    48,   0,    3,    0,    0,    0,
                                               0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
                                               0xef, 0xbe, 0,    0,    0,    0,    0,    0};
    struct pair p;

    pair_start(&p, &(struct peer){0});
    CU_ASSERT_EQUAL(balloon_agree(&p.balloon), 0);
    CU_ASSERT_EQUAL(balloon_report_capabilities(&p.balloon), 0);
    CU_ASSERT_EQUAL(balloon_report_status(&p.balloon, 0x1122334455667788, 0xbeef), 0);
    CU_ASSERT_TRUE(rig_wait(&p.peer.statuses, 1));
    CU_ASSERT_EQUAL(memcmp(p.peer.last_status, wanted, sizeof(wanted)), 0);
    pair_stop(&p);
}

/** More reports than the ring holds: the client waits for room. */
static void test_many_reports(void)
{
    const unsigned count = 20000;
    struct pair p;
    int err = 0;

    pair_start(&p, &(struct peer){0});
    CU_ASSERT_EQUAL(balloon_agree(&p.balloon), 0);
    for (unsigned i = 0; i < count && !err; i++)
        err = balloon_report_status(&p.balloon, i, i);
    CU_ASSERT_EQUAL(err, 0);
    CU_ASSERT_TRUE(rig_wait(&p.peer.statuses, count));
    pair_stop(&p);
}

/** What the host asks is answered, also while we wait for something else. */
static void test_requests(void)
{
    struct pair p;

    pair_start(&p, &(struct peer){.asks_first = true});
    CU_ASSERT_EQUAL(balloon_agree(&p.balloon), 0);
    CU_ASSERT_TRUE(rig_wait(&p.peer.hot_add_answers, 1));
    CU_ASSERT_EQUAL(atomic_load(&p.peer.balloon_answers), 1);
    CU_ASSERT_EQUAL(atomic_load(&p.peer.unballoon_answers), 1);
    CU_ASSERT_EQUAL(p.balloon.host_requests, 6);
    CU_ASSERT_EQUAL(balloon_serve(&p.balloon, 1), -EAGAIN);
    pair_stop(&p);
}

static void test_hostile(void)
{
    static const struct {
        const char *name;
        struct peer peer;
        int err;
    } rows[] = {
        {"not in-band", {.packet_type = HV_PACKET_COMPLETION}, -EPROTO},
        {"longer than its packet", {.claims_bytes = 17}, -EPROTO},
        {"shorter than a header", {.claims_bytes = 7}, -EPROTO},
        {"shorter than an answer", {.claims_bytes = 12}, -EPROTO},
        {"to another question", {.wrong_id = 1}, -EPROTO},
        {"taken away", {.rescinds = true}, -ENODEV},
        {"silent", {.silent = true}, -ETIMEDOUT},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pair p;

        pair_start(&p, &rows[i].peer);
        if (rows[i].peer.silent)
            p.balloon.timeout_ms = 50;
        HV_CHECK_ROW(rows[i].name, balloon_agree(&p.balloon) == rows[i].err);
        if (rows[i].err == -EPROTO)
            HV_CHECK_ROW(rows[i].name, balloon_report_status(&p.balloon, 1, 1) == -EPROTO);
        pair_stop(&p);
    }
}

static void test_rounds(void)
{
    const unsigned rounds = 10000;
    struct pair p;
    int err = 0;

    pair_start(&p, &(struct peer){0});
    for (unsigned i = 0; i < rounds && !err; i++) {
        bool accepted = true;

        err = balloon_ask_version(&p.balloon, 0xffff0000, false, &accepted);
        if (accepted)
            err = -EBADMSG;
    }
    CU_ASSERT_EQUAL(err, 0);
    CU_ASSERT_EQUAL(atomic_load(&p.peer.requests), rounds);
    CU_ASSERT_TRUE(p.balloon.sleeps > 0);
    CU_ASSERT_EQUAL(balloon_agree(&p.balloon), 0);
    pair_stop(&p);
}

static void test_cycles(void)
{
    const unsigned cycles = 200;
    struct pair p;

    pair_start(&p, &(struct peer){0});
    for (unsigned i = 1; i < cycles; i++) {
        CU_ASSERT_EQUAL(balloon_agree(&p.balloon), 0);
        balloon_close(&p.balloon);
        CU_ASSERT_EQUAL_FATAL(pair_open(&p), 0);
    }
    CU_ASSERT_EQUAL(atomic_load(&p.peer.opened), cycles);
    pair_stop(&p);
}

static void test_no_device(void)
{
    struct balloon b;
    char address[32];
    struct rig rig;

    rig_start(&rig, &(struct rig_opts){0});
    rig_address(&rig, address, sizeof(address));
    CU_ASSERT_EQUAL(balloon_open(&b, address, NULL), -ENODEV);
    CU_ASSERT_PTR_NOT_NULL(strstr(b.problem, "no dynamic memory"));
    balloon_close(&b); /* harmless */
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"versions", test_versions},   {"capabilities", test_capabilities},
        {"status", test_status},       {"reports", test_many_reports},
        {"requests", test_requests},   {"hostile", test_hostile},
        {"rounds", test_rounds},       {"cycles", test_cycles},
        {"no device", test_no_device},
    };

    return hv_test_main("balloon", cases, HV_TEST_COUNT(cases), argc, argv);
}
