/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive side of a queue of the network driver: bursts, giving back, holding, pausing, dying. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include <suite.h>

#include "netvsc_rig.h"

#define SECTION(n) ((n)*RIG_SECTION_BYTES)

/* ---- Bursts ---- */

static void test_in_place(void)
{
    struct rig rig;
    struct hv_netvsc_frame frames[8];
    uint64_t ids[8];

    rig_start(&rig, NULL);
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, 8), 0);
    CU_ASSERT(rig_deliver_one(&rig, 5, 0xa5, 60));
    CU_ASSERT(rig_deliver_one(&rig, 9, 0x5a, 1518));
    CU_ASSERT(hv_netvsc_rx_arm(rig.queue)); /* takes them out of the ring, and says so */
    CU_ASSERT(hv_netvsc_rx_arm(rig.queue));
    CU_ASSERT_EQUAL_FATAL(hv_netvsc_rx_burst(rig.queue, frames, 8), 2);
    CU_ASSERT_FALSE(hv_netvsc_rx_arm(rig.queue));
    CU_ASSERT_PTR_EQUAL(frames[0].data, rig.receive + SECTION(5) + 44);
    CU_ASSERT_EQUAL(frames[0].bytes, 60);
    CU_ASSERT_EQUAL(frames[0].flags, 0);
    CU_ASSERT_PTR_EQUAL(frames[1].data, rig.receive + SECTION(9) + 44);
    CU_ASSERT_EQUAL(frames[1].bytes, 1518);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 8), 0);
    hv_netvsc_rx_done(rig.queue);
    CU_ASSERT_EQUAL(hv_nq_held(rig.queue), 0);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 8), 2);
    CU_ASSERT(ids[0] == 5 && ids[1] == 9);
    CU_ASSERT_EQUAL(rig.channel->flushes, 1);
    CU_ASSERT_EQUAL(rig_stats(&rig).rx_packets, 2);
    CU_ASSERT_EQUAL(rig_stats(&rig).rx_bytes, 1578);
    CU_ASSERT_EQUAL(rig_stats(&rig).rx_messages, 2);
    CU_ASSERT_EQUAL(rig_stats(&rig).completions_sent, 2);
    rig_stop(&rig);
}

/** One message of five frames, taken by two and two and one. */
static void test_one_completion_a_message(void)
{
    struct rig rig;
    struct hv_transfer_range ranges[5];
    struct hv_netvsc_frame frames[4];
    uint8_t frame[64] = {1};
    uint64_t ids[4];

    rig_start(&rig, NULL);
    for (uint32_t i = 0; i < 5; i++) {
        frame[20] = (uint8_t)i;
        ranges[i].byte_offset = SECTION(10) + i * 256 + i; /* data need not be aligned */
        ranges[i].byte_count = rig_put_frame(&rig, ranges[i].byte_offset, frame, 64, NULL, 0);
    }
    CU_ASSERT(rig_deliver(&rig, 0, ranges, 5));
    for (unsigned want = 0; want < 5;) {
        uint16_t n = hv_netvsc_rx_burst(rig.queue, frames, 2);

        CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 4), 0);
        CU_ASSERT_FATAL(n > 0);
        for (uint16_t i = 0; i < n; i++)
            CU_ASSERT_EQUAL(frames[i].data[20], want + i);
        want += n;
        hv_netvsc_rx_done(rig.queue);
    }
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, 2), 0);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 4), 1);
    CU_ASSERT_EQUAL(ids[0], 0);
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, 2), 0);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 4), 0);
    rig_stop(&rig);
}

/** More frames than fit the FIFO, one at a time, so that its positions and the rings wrap. */
static void test_wrap(void)
{
    struct rig rig;
    struct hv_netvsc_frame frames[32];
    uint64_t ids[64];
    unsigned bad = 0;

    rig_start(&rig, NULL);
    for (unsigned round = 0; round < 3000; round++) {
        unsigned n = round % 7 + 1;

        for (unsigned i = 0; i < n; i++)
            bad += !rig_deliver_one(&rig, (round + i) % RIG_SECTIONS, (uint8_t)(round + i), 60);
        bad += hv_netvsc_rx_burst(rig.queue, frames, 32) != n;
        for (unsigned i = 0; i < n; i++)
            bad += frames[i].data[59] != (uint8_t)(round + i);
        hv_netvsc_rx_done(rig.queue);
        hv_nq_poll(rig.queue);
        bad += rig_take_completions(&rig, ids, 64) != n;
        for (unsigned i = 0; i < n; i++)
            bad += ids[i] != (round + i) % RIG_SECTIONS;
    }
    CU_ASSERT_EQUAL(bad, 0);
    CU_ASSERT_EQUAL(rig_stats(&rig).rx_overrun, 0);
    rig_stop(&rig);
}

/** Nobody polls the receive side: frames are dropped, the host gets its sections back, the rest arrives. */
static void test_overrun(void)
{
    struct rig rig;
    struct rig_opts opts = {.ring_bytes = 0x40000};
    struct hv_transfer_range ranges[100];
    struct hv_netvsc_frame frames[64];
    uint64_t ids[RIG_SECTIONS];
    uint8_t frame[60] = {0};
    unsigned got = 0, n;

    rig_start(&rig, &opts);
    for (unsigned i = 0; i < 100; i++)
        ranges[i] = (struct hv_transfer_range){rig_put_frame(&rig, 0, frame, 60, NULL, 0), 0};
    for (unsigned i = 0; i < RIG_SECTIONS; i++)
        CU_ASSERT(rig_deliver(&rig, i, ranges, 100));
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(rig_stats(&rig).rx_overrun, RIG_SECTIONS * 100 - 4096);
    CU_ASSERT_EQUAL(hv_netvsc_rx_pending(rig.queue), 4096);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, RIG_SECTIONS), RIG_SECTIONS - 41);
    while ((n = hv_netvsc_rx_burst(rig.queue, frames, 64)) > 0) {
        got += n;
        hv_netvsc_rx_done(rig.queue);
    }
    CU_ASSERT_EQUAL(got, 4096);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, RIG_SECTIONS), 41);
    CU_ASSERT_EQUAL(hv_nq_held(rig.queue), 0);
    rig_stop(&rig);
}

/* ---- Completions and a full ring ---- */

static void test_delayed_completions(void)
{
    struct rig rig;
    struct rig_opts opts = {.ring_bytes = 4096};
    struct hv_netvsc_frame frames[32];
    uint64_t ids[128];
    unsigned sent = 0, taken = 0;

    rig_start(&rig, &opts);
    /* the host reads nothing: 127 completions of 32 bytes fit */
    while (!rig_stats(&rig).completions_delayed && sent < 1000) {
        CU_ASSERT_FATAL(rig_deliver_one(&rig, sent % RIG_SECTIONS, 1, 60));
        CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, 32), 1);
        hv_netvsc_rx_done(rig.queue);
        hv_nq_poll(rig.queue);
        sent++;
    }
    CU_ASSERT_EQUAL(sent, 128);
    CU_ASSERT_EQUAL(hv_nq_held(rig.queue), 1);
    CU_ASSERT(hv_netvsc_rx_arm(rig.queue)); /* stay awake for it */
    taken = rig_take_completions(&rig, ids, 128);
    CU_ASSERT_EQUAL(taken, 127);
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, 32), 0);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 128), 1);
    CU_ASSERT_EQUAL(ids[0], 127 % RIG_SECTIONS);
    CU_ASSERT_FALSE(hv_netvsc_rx_arm(rig.queue));
    rig_stop(&rig);
}

/* ---- Hold ---- */

static void test_hold(void)
{
    struct rig rig;
    struct hv_netvsc_frame frames[4];
    uint64_t ids[4];

    rig_start(&rig, NULL);
    CU_ASSERT(rig_deliver_one(&rig, 1, 0x11, 100));
    CU_ASSERT(rig_deliver_one(&rig, 2, 0x22, 100));
    CU_ASSERT(rig_deliver_one(&rig, 3, 0x33, 100));
    CU_ASSERT_EQUAL_FATAL(hv_netvsc_rx_burst(rig.queue, frames, 4), 3);
    CU_ASSERT(hv_netvsc_rx_hold(rig.queue, &frames[0]));
    CU_ASSERT(hv_netvsc_rx_hold(rig.queue, &frames[2]));
    hv_netvsc_rx_release(rig.queue, frames[2].hold); /* before done: does not go back yet */
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 4), 0);
    hv_netvsc_rx_done(rig.queue);
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 4), 2);
    CU_ASSERT(ids[0] == 2 && ids[1] == 3);
    CU_ASSERT_EQUAL(frames[0].data[99], 0x11);
    CU_ASSERT_EQUAL(hv_nq_held(rig.queue), 1);
    hv_netvsc_rx_release(rig.queue, frames[0].hold);
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 4), 1);
    CU_ASSERT_EQUAL(ids[0], 1);
    CU_ASSERT_EQUAL(hv_nq_held(rig.queue), 0);
    CU_ASSERT_EQUAL(rig_stats(&rig).rx_held, 2);
    rig_stop(&rig);
}

/** A message with several frames held, released in every order around done. */
static void test_hold_many_of_one(void)
{
    for (unsigned before = 0; before <= 4; before++) {
        struct rig rig;
        struct hv_transfer_range ranges[4];
        struct hv_netvsc_frame frames[4];
        uint8_t frame[60] = {0};
        uint64_t ids[4];

        rig_start(&rig, NULL);
        for (uint32_t i = 0; i < 4; i++)
            ranges[i] = (struct hv_transfer_range){
                rig_put_frame(&rig, SECTION(i), frame, 60, NULL, 0), SECTION(i)};
        CU_ASSERT(rig_deliver(&rig, 63, ranges, 4));
        CU_ASSERT_EQUAL_FATAL(hv_netvsc_rx_burst(rig.queue, frames, 4), 4);
        for (unsigned i = 0; i < 4; i++)
            CU_ASSERT(hv_netvsc_rx_hold(rig.queue, &frames[i]));
        for (unsigned i = 0; i < before; i++)
            hv_netvsc_rx_release(rig.queue, frames[i].hold);
        hv_netvsc_rx_done(rig.queue);
        for (unsigned i = before; i < 4; i++) {
            hv_nq_poll(rig.queue);
            CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 4), 0);
            hv_netvsc_rx_release(rig.queue, frames[i].hold);
        }
        hv_nq_poll(rig.queue);
        CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 4), 1);
        rig_stop(&rig);
    }
}

/** Half of the sections at most, counted with all sections of a message that one frame keeps. */
static void test_hold_cap(void)
{
    struct rig rig;
    struct hv_transfer_range ranges[8];
    struct hv_netvsc_frame frames[8], kept[RIG_SECTIONS];
    uint8_t frame[60] = {0};
    unsigned held = 0;

    rig_start(&rig, NULL);
    for (uint32_t i = 0; i < 8; i++)
        ranges[i] = (struct hv_transfer_range){rig_put_frame(&rig, SECTION(i), frame, 60, NULL, 0),
                                               SECTION(i)};
    for (uint32_t id = 0; id < 8; id++) {
        CU_ASSERT(rig_deliver(&rig, id, ranges, 8));
        CU_ASSERT_EQUAL_FATAL(hv_netvsc_rx_burst(rig.queue, frames, 8), 8);
        if (hv_netvsc_rx_hold(rig.queue, &frames[3]))
            kept[held++] = frames[3];
        hv_netvsc_rx_done(rig.queue);
    }
    CU_ASSERT_EQUAL(held, 4);
    CU_ASSERT_EQUAL(rig_stats(&rig).rx_hold_refused, 4);
    hv_netvsc_rx_release(rig.queue, kept[0].hold);
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, 8), 0); /* notices it */
    CU_ASSERT(rig_deliver(&rig, 40, ranges, 8));
    CU_ASSERT_EQUAL_FATAL(hv_netvsc_rx_burst(rig.queue, frames, 8), 8);
    CU_ASSERT(hv_netvsc_rx_hold(rig.queue, &frames[0]));
    CU_ASSERT(hv_netvsc_rx_hold(rig.queue, &frames[1])); /* of a message that counts already */
    hv_netvsc_rx_done(rig.queue);
    hv_netvsc_rx_release(rig.queue, 4000000); /* of nobody */
    rig_stop(&rig);
}

/* ---- Control messages, notifications ---- */

static void test_control(void)
{
    static const uint8_t link[20] = {7, 0, 0, 0, 20, 0, 0, 0, 0x0b, 0, 1, 0x40};
    static const uint8_t types[] = {HV_NVSP_CHANNEL_CONTROL, HV_NVSP_CHANNEL_DATA};

    for (unsigned i = 0; i < 4; i++) {
        struct rig rig;
        struct rig_opts opts = {.paused = i >= 2};
        struct rig_raw raw = {3, HV_NVSP_RECEIVE_BUFFER_ID, 1, types[i % 2], 107, 0};
        struct hv_transfer_range range = {RIG_SECTION_BYTES, SECTION(7)};
        struct hv_netvsc_frame frame;
        uint64_t id;

        rig_start(&rig, &opts);
        memcpy(rig.receive + SECTION(7), link, sizeof(link));
        CU_ASSERT(rig_deliver_raw(&rig, &raw, &range, 1));
        hv_nq_poll(rig.queue);
        CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, &frame, 1), 0);
        CU_ASSERT_EQUAL(rig.controls, 1);
        CU_ASSERT_EQUAL(rig.last_bytes, RIG_SECTION_BYTES); /* old hosts lie about the length */
        CU_ASSERT(!memcmp(rig.last, link, sizeof(link)));
        hv_netvsc_rx_done(rig.queue);
        hv_nq_poll(rig.queue);
        CU_ASSERT_EQUAL(rig_take_completions(&rig, &id, 1), 1);
        rig_stop(&rig);
    }
}

static void test_notify(void)
{
    struct rig rig;
    uint8_t nvsp[300] = {128, 0, 0, 0, 1, 0, 0, 0, 42};

    rig_start(&rig, NULL);
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_INBAND, 1ull << 63, NULL, 0, nvsp, 40));
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(rig.notifies, 1);
    CU_ASSERT_EQUAL(rig.last_bytes, 40);
    CU_ASSERT(!memcmp(rig.last, nvsp, 40));
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_INBAND, 1, NULL, 0, nvsp, 300));
    CU_ASSERT(ring_bus_send(rig.channel, HV_PACKET_INBAND, 1, NULL, 0, nvsp, 0));
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(rig.notifies, 2);
    CU_ASSERT_EQUAL(rig.last_bytes, HV_NQ_NVSP_MAX);
    CU_ASSERT_EQUAL(rig_stats(&rig).rx_unknown, 1);
    rig_stop(&rig);
}

/* ---- Pause, death ---- */

static void test_pause(void)
{
    struct rig rig;
    struct hv_netvsc_frame frames[4];
    uint64_t ids[8];

    rig_start(&rig, NULL);
    for (unsigned i = 0; i < 4; i++)
        CU_ASSERT(rig_deliver_one(&rig, i, 1, 60));
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, 2), 2); /* never done with */
    hv_nq_poll(rig.queue);
    hv_nq_pause(rig.queue);
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, 4), 0);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 8), 4);
    CU_ASSERT(rig_deliver_one(&rig, 2, 1, 60));
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(rig_take_completions(&rig, ids, 8), 1);
    CU_ASSERT_EQUAL(hv_nq_held(rig.queue), 0);
    hv_nq_resume(rig.queue);
    CU_ASSERT(rig_deliver_one(&rig, 2, 7, 60));
    CU_ASSERT_EQUAL_FATAL(hv_netvsc_rx_burst(rig.queue, frames, 4), 1);
    CU_ASSERT_EQUAL(frames[0].data[0], 7);
    rig_stop(&rig);
}

static void test_share(void)
{
    struct rig rig;
    struct hv_nq_share share = {0, 2, RIG_SECTIONS};
    struct hv_netvsc_frame frame;
    void *cookie;
    struct hv_netvsc_tx tx;

    rig_start(&rig, NULL);
    CU_ASSERT_EQUAL(hv_nq_set_share(rig.queue, &share), -EBUSY); /* runs */
    CU_ASSERT(rig_deliver_one(&rig, 0, 1, 60));
    CU_ASSERT_EQUAL_FATAL(hv_netvsc_rx_burst(rig.queue, &frame, 1), 1);
    CU_ASSERT(hv_netvsc_rx_hold(rig.queue, &frame));
    hv_nq_pause(rig.queue);
    CU_ASSERT_EQUAL(hv_nq_set_share(rig.queue, &share), -EBUSY); /* a frame is held */
    hv_netvsc_rx_release(rig.queue, frame.hold);
    share.section_count = RIG_TX_SECTIONS + 1;
    CU_ASSERT_EQUAL(hv_nq_set_share(rig.queue, &share), -EINVAL);
    share = (struct hv_nq_share){6, 2, RIG_SECTIONS};
    CU_ASSERT_EQUAL(hv_nq_set_share(rig.queue, &share), 0);
    hv_nq_resume(rig.queue);
    tx = rig_frame(rig.memory, 60);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, NULL), 1);
    CU_ASSERT(!memcmp(rig.send + 6 * RIG_TX_SECTION_BYTES + 44, rig.memory, 60));
    hv_nq_pause(rig.queue);
    CU_ASSERT_EQUAL(hv_nq_set_share(rig.queue, &share), -EBUSY); /* a message is with the host */
    CU_ASSERT_EQUAL(rig_complete_all(&rig), 1);
    hv_nq_poll(rig.queue);
    CU_ASSERT_EQUAL(hv_nq_set_share(rig.queue, &share), 0);
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, &cookie, 1), 0);
    rig_stop(&rig);
}

static void test_death(void)
{
    struct rig rig;
    struct hv_netvsc_frame frames[4];
    struct hv_netvsc_tx tx;
    void *cookies[4];
    int error;

    rig_start(&rig, NULL);
    tx = rig_frame(rig.memory, 1400);
    tx.cookie = &tx;
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, NULL), 1);
    CU_ASSERT(rig_deliver_one(&rig, 0, 0x77, 60));
    CU_ASSERT(rig_deliver_one(&rig, 1, 0x78, 60));
    CU_ASSERT_EQUAL_FATAL(hv_netvsc_rx_burst(rig.queue, frames, 1), 1);
    CU_ASSERT(hv_netvsc_rx_hold(rig.queue, &frames[0]));
    hv_netvsc_rx_done(rig.queue);
    atomic_store(&rig.channel->status, -ENODEV);
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames + 1, 3), 0);
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames + 1, 3), 0);
    CU_ASSERT_EQUAL(rig.deaths, 1);
    CU_ASSERT(hv_netvsc_rx_arm(rig.queue));
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, &error), 0);
    CU_ASSERT_EQUAL(error, -ENODEV);
    CU_ASSERT_EQUAL(hv_nq_busy(rig.queue), 0);
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, cookies, 4), 1);
    CU_ASSERT_PTR_EQUAL(cookies[0], &tx);
    CU_ASSERT_EQUAL(hv_netvsc_tx_reap(rig.queue, cookies, 4), 0);
    CU_ASSERT_EQUAL(hv_netvsc_tx_in_flight(rig.queue), 0);
    hv_nq_detach(rig.queue);
    CU_ASSERT_EQUAL(hv_nq_held(rig.queue), 1);
    CU_ASSERT_EQUAL(frames[0].data[0], 0x77);
    hv_netvsc_rx_release(rig.queue, frames[0].hold);
    CU_ASSERT_EQUAL(hv_nq_held(rig.queue), 0);
    CU_ASSERT_EQUAL(rig.deaths, 1);
    rig_stop(&rig);
}

/** The host publishes an impossible index. */
static void test_corrupt_ring(void)
{
    struct rig rig;
    struct hv_netvsc_frame frame;
    int error;
    struct hv_netvsc_tx tx;

    rig_start(&rig, NULL);
    tx = rig_frame(rig.memory, 60);
    atomic_store(&rig.channel->in.control->write_index, 3);
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, &frame, 1), 0);
    CU_ASSERT_EQUAL(rig.deaths, 1);
    CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, &error), 0);
    CU_ASSERT_EQUAL(error, -EPROTO);
    rig_stop(&rig);
}

/* ---- Sleeping ---- */

static bool wakes(const struct hv_netvsc_queue *queue)
{
    struct pollfd fd = {.fd = hv_netvsc_rx_fd(queue), .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

/**
 * A frame that another thread takes out of the ring before the host looks whether somebody did: no signal comes, and who
 * sleeps is woken all the same.
 */
static void test_woken_by_others(void)
{
    struct rig rig;
    struct hv_netvsc_frame frames[8];
    uint8_t *data;
    struct hv_netvsc_tx tx;
    void *cookie;

    rig_start(&rig, NULL);
    data = rig.memory;
    for (int by_tx = 0; by_tx < 2; by_tx++) {
        memset(data, 1, 1500);
        tx = rig_frame(data, 60);
        CU_ASSERT_EQUAL(hv_netvsc_tx_burst(rig.queue, &tx, 1, NULL), 1);
        CU_ASSERT_FALSE(hv_netvsc_rx_arm(rig.queue));
        hv_nq_poll(rig.queue);
        CU_ASSERT_FALSE(wakes(rig.queue)); /* there is nothing */
        CU_ASSERT(rig_deliver_one(&rig, 5, 0xa5, 60));
        if (by_tx)
            (void)hv_netvsc_tx_reap(rig.queue, &cookie, 1);
        else
            hv_nq_poll(rig.queue);
        CU_ASSERT(wakes(rig.queue));
        hv_netvsc_rx_disarm(rig.queue);
        CU_ASSERT_FALSE(wakes(rig.queue));
        CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, 8), 1);
        hv_netvsc_rx_done(rig.queue);
        (void)rig_complete_all(&rig);
        CU_ASSERT_EQUAL(hv_netvsc_rx_burst(rig.queue, frames, 8), 0);
    }
    rig_stop(&rig);
}

static const struct hv_test_case cases[] = {
    {"woken by others", test_woken_by_others},
    {"frames in place", test_in_place},
    {"one completion a message", test_one_completion_a_message},
    {"wrap", test_wrap},
    {"overrun", test_overrun},
    {"completions wait for room", test_delayed_completions},
    {"hold", test_hold},
    {"hold many of one message", test_hold_many_of_one},
    {"hold cap", test_hold_cap},
    {"control messages", test_control},
    {"notifications", test_notify},
    {"pause", test_pause},
    {"shares", test_share},
    {"death", test_death},
    {"corrupt ring", test_corrupt_ring},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.queue", cases, HV_TEST_COUNT(cases), argc, argv);
}
