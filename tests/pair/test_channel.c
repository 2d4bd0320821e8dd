/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets through a channel, guest library against host library, with ends that sleep. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hv/vmbus.h>
#include <hv/wire/ring.h>

#include "suite.h"
#include "test_bus_guest.h"
#include "test_bus_rig.h"

/** xorshift: the same sizes in every run. */
static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

struct traffic {
    struct hv_channel *channel;
    uint32_t max_payload;
    uint64_t sent, received, count;
    uint32_t send_state, receive_state;
    int err;
};

/** As many as fit.  The ids count from 1. */
static void send_some(struct traffic *t)
{
    while (!t->err && t->sent < t->count) {
        uint32_t state = t->send_state;
        uint32_t bytes = 1 + next_random(&state) % t->max_payload;
        int err = guest_send(t->channel, t->sent + 1, bytes);

        if (err == -EAGAIN) {
            (void)hv_channel_flush(t->channel);
            (void)hv_channel_want_room(t->channel, 24 + ((bytes + 7) & ~7u));
            return;
        }
        t->err = err;
        t->send_state = state;
        t->sent++;
    }
    if (!t->err)
        t->err = hv_channel_flush(t->channel);
}

static void receive_some(struct traffic *t)
{
    struct hv_packet packet;
    int err;

    while (!(err = hv_channel_peek(t->channel, &packet))) {
        uint32_t bytes = 1 + next_random(&t->receive_state) % t->max_payload;

        t->received++;
        if (packet.trans_id != t->received || packet.payload_bytes != ((bytes + 7) & ~7u) ||
            ((const uint8_t *)packet.payload)[0] != guest_pattern(t->received, 0) ||
            ((const uint8_t *)packet.payload)[bytes - 1] != guest_pattern(t->received, bytes - 1))
            err = -EBADMSG;
        if (err)
            break;
    }
    if (err != -EAGAIN)
        t->err = err;
    hv_channel_release(t->channel);
}

/** Packets there and back, both ends asleep whenever there is nothing to do.  A lost wake-up shows as -ETIMEDOUT. */
static int run_traffic(struct hv_channel *channel, uint64_t count, uint32_t max_payload)
{
    struct traffic t = {.channel = channel,
                        .max_payload = max_payload,
                        .count = count,
                        .send_state = 7,
                        .receive_state = 7};

    while (!t.err && t.received < count) {
        uint64_t before = t.sent + t.received;

        send_some(&t);
        receive_some(&t);
        if (!t.err && t.sent + t.received == before && !guest_sleep(channel))
            t.err = -ETIMEDOUT;
    }
    if (t.err)
        fprintf(stderr, "traffic: %s after %llu sent, %llu received\n", strerror(-t.err),
                (unsigned long long)t.sent, (unsigned long long)t.received);
    return t.err;
}

static void traffic_over(uint32_t ring_pages, uint64_t count, uint32_t max_payload, bool monitored)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channel = NULL;
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;

    rig_start(&rig, &(struct rig_opts){.monitored = monitored});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    opts.out_bytes = opts.in_bytes = ring_pages * 4096;
    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig.echo.instance, 0, &opts, &channel), 0);
    CU_ASSERT_EQUAL(run_traffic(channel, count, max_payload), 0);
    hv_channel_close(channel);
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.packets), count);
    if (monitored) {
        CU_ASSERT_EQUAL(atomic_load(&rig.echo.wakeups), 0); /* not one signal by descriptor */
    } else {
        CU_ASSERT(atomic_load(&rig.echo.wakeups) > 0);
    }
    hv_vmbus_close(bus);
    rig_stop(&rig);
}

static void test_traffic(void)
{
    traffic_over(32, 100000, 1500, false);
}

static void test_traffic_smallest_ring(void)
{
    traffic_over(2, 30000, 1000, false);
}

static void test_traffic_large_packets(void)
{
    traffic_over(2, 5000, 4096 - 32, false); /* one packet fills the ring */
    traffic_over(256, 2000, 300000, false);
}

static void test_traffic_monitored(void)
{
    traffic_over(4, 20000, 1500, true);
}

/** One packet at a time, so that each end sleeps for each of them. */
static void ping_pong(bool monitored, unsigned count)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channel = NULL;

    rig_start(&rig, &(struct rig_opts){.monitored = monitored});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig.echo.instance, 0, NULL, &channel), 0);
    CU_ASSERT_EQUAL(guest_echo(channel, count, 64), 0);
    hv_channel_close(channel);
    hv_vmbus_close(bus);
    rig_stop(&rig);
}

static void test_ping_pong(void)
{
    ping_pong(false, 5000);
}

static void test_ping_pong_monitored(void)
{
    ping_pong(true, 500);
}

/* ---- Several at once ---- */

struct owner {
    struct hv_channel *channel;
    pthread_t thread;
    int err;
};

static void *run_owner(void *arg)
{
    struct owner *owner = arg;

    owner->err = run_traffic(owner->channel, 5000, 1000);
    return NULL;
}

static void test_traffic_moves_between_workers(void)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct owner owner = {0};
    unsigned before, moved = 0;

    rig_start(&rig, &(struct rig_opts){.workers = 3});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig.echo.instance, 0, NULL, &owner.channel), 0);
    CU_ASSERT_EQUAL(pthread_create(&owner.thread, NULL, run_owner, &owner), 0);
    for (uint32_t vp = 1; vp <= 60; vp++)
        CU_ASSERT_EQUAL(hv_channel_set_target(owner.channel, vp), 0);
    (void)pthread_join(owner.thread, NULL);
    CU_ASSERT_EQUAL(owner.err, 0);
    before = atomic_load(&rig.echo.last_thread);
    for (uint32_t vp = 0; vp < 3; vp++) {
        CU_ASSERT_EQUAL(hv_channel_set_target(owner.channel, vp), 0);
        CU_ASSERT_EQUAL(guest_echo(owner.channel, 1, 8), 0);
        moved += atomic_load(&rig.echo.last_thread) != before;
    }
    CU_ASSERT_EQUAL(moved, 2); /* three workers, one of them where it was */
    hv_channel_close(owner.channel);
    hv_vmbus_close(bus);
    rig_stop(&rig);
}

#define GUESTS 3
#define SUBS   2

static void test_traffic_of_many(void)
{
    struct rig rig;
    struct hv_vmbus *bus[GUESTS];
    struct owner owners[GUESTS][SUBS + 1] = {0};

    rig_start(&rig, &(struct rig_opts){0});
    for (int g = 0; g < GUESTS; g++) {
        bus[g] = guest_open(&rig, 0);
        CU_ASSERT_PTR_NOT_NULL_FATAL(bus[g]);
        for (uint16_t i = 0; i <= SUBS; i++) {
            struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;

            opts.target_vp = i;
            if (i == 1) {
                CU_ASSERT_EQUAL(guest_command(owners[g][0].channel, ECHO_SUBCHANNELS, SUBS), 0);
                CU_ASSERT_EQUAL(hv_vmbus_wait_subchannels(bus[g], &rig.echo.instance, SUBS, 10000),
                                SUBS);
            }
            CU_ASSERT_EQUAL(
                hv_channel_open(bus[g], &rig.echo.instance, i, &opts, &owners[g][i].channel), 0);
        }
    }
    for (int g = 0; g < GUESTS; g++) {
        for (int i = 0; i <= SUBS; i++)
            CU_ASSERT_EQUAL(pthread_create(&owners[g][i].thread, NULL, run_owner, &owners[g][i]),
                            0);
    }
    for (int g = 0; g < GUESTS; g++) {
        for (int i = 0; i <= SUBS; i++) {
            (void)pthread_join(owners[g][i].thread, NULL);
            CU_ASSERT_EQUAL(owners[g][i].err, 0);
        }
    }
    for (int g = 0; g < GUESTS; g++) {
        for (int i = SUBS; i >= 0; i--)
            hv_channel_close(owners[g][i].channel);
        hv_vmbus_close(bus[g]);
    }
    rig_stop(&rig);
}

/* ---- A guest that does not take its answers ---- */

static void test_full_ring_lets_the_worker_sleep(void)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channel = NULL;
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    unsigned long long polls;
    unsigned sent = 0;

    rig_start(&rig, &(struct rig_opts){0});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    opts.out_bytes = 64 * 4096;
    opts.in_bytes = 2 * 4096;
    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig.echo.instance, 0, &opts, &channel), 0);
    for (; sent < 100; sent++)
        CU_ASSERT_EQUAL(guest_send(channel, sent + 1, 500), 0);
    CU_ASSERT_EQUAL(hv_channel_flush(channel), 0);
    do { /* until it stops looking: a worker that spins never does, and the test times out */
        polls = atomic_load(&rig.echo.polls);
        (void)poll(NULL, 0, 100);
    } while (atomic_load(&rig.echo.polls) != polls);
    CU_ASSERT(atomic_load(&rig.echo.packets) > 0);
    CU_ASSERT(atomic_load(&rig.echo.packets) < sent);
    for (unsigned i = 1; i <= sent; i++) /* taking them wakes it */
        CU_ASSERT_EQUAL(guest_receive(channel, i, 500), 0);
    hv_channel_close(channel);
    hv_vmbus_close(bus);
    rig_stop(&rig);
}

static void test_host_corrupts_index(void)
{
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channel = NULL;

    rig_start(&rig, &(struct rig_opts){0});
    bus = guest_open(&rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig.echo.instance, 0, NULL, &channel), 0);
    CU_ASSERT_EQUAL(guest_command(channel, ECHO_CORRUPT, 0), 0);
    CU_ASSERT_EQUAL(guest_receive(channel, 1, 8), -EPROTO);
    hv_channel_close(channel);
    CU_ASSERT_EQUAL(hv_channel_open(bus, &rig.echo.instance, 0, NULL, &channel), 0);
    CU_ASSERT_EQUAL(guest_echo(channel, 10, 100), 0); /* a fresh ring is a fresh start */
    hv_channel_close(channel);
    hv_vmbus_close(bus);
    rig_stop(&rig);
}

static const struct hv_test_case cases[] = {
    {"100000 packets, sleeping ends", test_traffic},
    {"smallest ring", test_traffic_smallest_ring},
    {"large packets", test_traffic_large_packets},
    {"monitored", test_traffic_monitored},
    {"ping-pong", test_ping_pong},
    {"ping-pong monitored", test_ping_pong_monitored},
    {"channel moves between workers", test_traffic_moves_between_workers},
    {"three guests, three channels each", test_traffic_of_many},
    {"full ring lets the worker sleep", test_full_ring_lets_the_worker_sleep},
    {"host corrupts an index", test_host_corrupts_index},
};

int main(int argc, char **argv)
{
    return hv_test_main("pair.channel", cases, HV_TEST_COUNT(cases), argc, argv);
}
