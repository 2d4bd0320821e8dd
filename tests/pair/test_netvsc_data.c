/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames between the network driver and the provider, both ways over its loop: every one arrives once and whole, copied
 * and aggregated or named by page, over one queue and two, with offloads, with frames held, with a host that fails.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <suite.h>

#include "netvsc_client.h"

#define BATCH        32u
#define WINDOW       200u /* frames under way: fewer than the host has sections for */
#define PATIENCE     20   /* s */
#define HEADERS      42u  /* Ethernet, IPv4, UDP */
#define BUFFER_BYTES 16384u
#define FRAMES_MAX   20000u
#define LOST_MAX     40u /* by one fault: fewer than the window */

/* ---- Frames: UDP to ourselves with a number, and bytes that follow from it ---- */

static uint32_t put16(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
    return value;
}

static void put_ipv4(uint8_t *ip, uint32_t total, uint8_t protocol)
{
    uint32_t sum = 0;

    memset(ip, 0, 20);
    ip[0] = 0x45;
    put16(ip + 2, total);
    ip[8] = 64;
    ip[9] = protocol;
    memcpy(ip + 12, "\x0a\x00\x00\x01\x0a\x00\x00\x02", 8);
    for (int i = 0; i < 20; i += 2)
        sum += (uint32_t)ip[i] << 8 | ip[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(ip + 10, ~sum & 0xffff);
}

static void put_ether(uint8_t *frame, const uint8_t mac[6])
{
    memcpy(frame, mac, 6);
    memcpy(frame + 6, "\x02\x00\x00\x00\x00\x99", 6);
    put16(frame + 12, 0x0800);
}

static void make_frame(uint8_t *frame, const uint8_t mac[6], uint32_t number, uint32_t bytes)
{
    put_ether(frame, mac);
    put_ipv4(frame + 14, bytes - 14, 17);
    put16(frame + 34, 1024 + number % 61);
    put16(frame + 36, 9);
    put16(frame + 38, bytes - 34);
    put16(frame + 40, 0); /* no sum */
    memcpy(frame + HEADERS, &number, 4);
    memcpy(frame + HEADERS + 4, &bytes, 4);
    for (uint32_t i = HEADERS + 8; i < bytes; i++)
        frame[i] = (uint8_t)(number * 13 + i * 5);
}

/** Its number, or UINT32_MAX. */
static uint32_t check_frame(const uint8_t *frame, uint32_t bytes, const uint8_t mac[6])
{
    uint8_t want[1600];
    uint32_t number;

    if (bytes < HEADERS + 8 || bytes > sizeof(want))
        return UINT32_MAX;
    memcpy(&number, frame + HEADERS, 4);
    make_frame(want, mac, number, bytes);
    return memcmp(want, frame, bytes) ? UINT32_MAX : number;
}

/* ---- One queue with its own thread ---- */

struct lane {
    struct net_client *client;
    struct hv_netvsc_queue *queue;
    uint8_t mac[6];
    uint8_t *memory; /* WINDOW * 2 buffers of 2 KiB that the host reaches; NULL = not */
    uint8_t *plain;  /* BATCH buffers of 2 KiB */
    uint32_t free_buffers[WINDOW * 2], free_count;
    uint32_t total, sent, received, bad, twice;
    uint32_t min_bytes, span_bytes, pieces;
    bool hold;
    uint16_t flags; /* of the frames */
    int error;
    uint8_t *seen; /* by number */
    uint32_t holds[WINDOW * 2], hold_count;
};

static void lane_init(struct lane *lane, struct net_client *c, uint16_t index, uint8_t *memory)
{
    struct hv_netvsc_info info;

    memset(lane, 0, sizeof(*lane));
    hv_netvsc_get_info(c->netvsc, &info);
    memcpy(lane->mac, info.mac, 6);
    lane->client = c;
    lane->queue = hv_netvsc_get_queue(c->netvsc, index);
    lane->memory = memory;
    lane->plain = malloc(BATCH * 2048);
    lane->seen = calloc(FRAMES_MAX, 1);
    if (!lane->plain || !lane->seen)
        abort();
    for (uint32_t i = 0; i < WINDOW * 2; i++)
        lane->free_buffers[lane->free_count++] = i;
    lane->flags = memory ? 0 : HV_NETVSC_TX_FLAG_COPY;
    lane->min_bytes = 60;
    lane->span_bytes = 1455;
    lane->pieces = 1;
}

static void lane_fini(struct lane *lane)
{
    free(lane->plain);
    free(lane->seen);
}

/** Cut a frame that lies in one piece into up to `pieces`. */
static void cut(struct hv_netvsc_tx *tx, struct iovec *more, uint32_t pieces)
{
    const uint8_t *at = tx->data;
    uint32_t step = tx->bytes / pieces, left = tx->bytes - step;

    if (pieces < 2)
        return;
    tx->data_bytes = step;
    tx->more = more;
    for (at += step; left; at += step, left -= step) {
        if (tx->more_count == pieces - 2u)
            step = left;
        more[tx->more_count++] = (struct iovec){(void *)(uintptr_t)at, step};
    }
}

static void lane_send(struct lane *lane)
{
    struct hv_netvsc_tx tx[BATCH];
    struct iovec more[BATCH][4];
    uint32_t buffers[BATCH], n = 0;
    uint16_t taken;
    int err;

    while (n < BATCH && lane->sent + n < lane->total && lane->free_count &&
           lane->sent + n - lane->received < WINDOW) {
        uint32_t number = lane->sent + n;
        uint32_t bytes = lane->min_bytes + number * 31 % lane->span_bytes;
        uint8_t *at = lane->plain + n * 2048u;

        buffers[n] = lane->free_buffers[--lane->free_count];
        if (lane->memory)
            at = lane->memory + buffers[n] * 2048u;
        make_frame(at, lane->mac, number, bytes);
        tx[n] = (struct hv_netvsc_tx){.data = at,
                                      .data_bytes = bytes,
                                      .bytes = bytes,
                                      .flags = lane->flags,
                                      .vlan_tci = (uint16_t)number,
                                      .cookie = at};
        cut(&tx[n], more[n], number % lane->pieces + 1);
        n++;
    }
    taken = hv_netvsc_tx_burst(lane->queue, tx, (uint16_t)n, &err);
    for (uint32_t i = 0; i < n; i++)
        if (i >= taken || tx[i].copied)
            lane->free_buffers[lane->free_count++] = buffers[i];
    lane->sent += taken;
    if (err && err != -EAGAIN)
        lane->error = err;
}

static void lane_reap(struct lane *lane)
{
    void *cookies[BATCH];
    uint16_t n = hv_netvsc_tx_reap(lane->queue, cookies, BATCH);

    for (uint16_t i = 0; i < n; i++)
        lane->free_buffers[lane->free_count++] =
            (uint32_t)((uint8_t *)cookies[i] - lane->memory) / 2048;
}

static void lane_receive(struct lane *lane)
{
    struct hv_netvsc_frame frames[BATCH];
    uint16_t n = hv_netvsc_rx_burst(lane->queue, frames, BATCH);

    for (uint16_t i = 0; i < n; i++) {
        uint32_t number = check_frame(frames[i].data, frames[i].bytes, lane->mac);

        lane->received++;
        if (lane->flags & HV_NETVSC_TX_FLAG_VLAN && frames[i].vlan_tci != (uint16_t)number)
            lane->bad++;
        if (number >= lane->total)
            lane->bad++;
        else if (lane->seen[number]++)
            lane->twice++;
        if (lane->hold && number % 3 == 0 && lane->hold_count < WINDOW * 2 &&
            hv_netvsc_rx_hold(lane->queue, &frames[i]))
            lane->holds[lane->hold_count++] = frames[i].hold;
    }
    hv_netvsc_rx_done(lane->queue);
    while (lane->hold_count > 40 || (!n && lane->hold_count))
        hv_netvsc_rx_release(lane->queue, lane->holds[--lane->hold_count]);
}

static void *lane_run(void *arg)
{
    struct lane *lane = arg;
    time_t end = time(NULL) + PATIENCE;

    while ((lane->received < lane->total || lane->free_count < WINDOW * 2) && time(NULL) < end &&
           !lane->error) {
        lane_send(lane);
        lane_reap(lane);
        lane_receive(lane);
        if (hv_netvsc_status(lane->client->netvsc))
            lane->error = hv_netvsc_status(lane->client->netvsc);
    }
    while (lane->hold_count)
        hv_netvsc_rx_release(lane->queue, lane->holds[--lane->hold_count]);
    return NULL;
}

static void lane_check(const struct lane *lane)
{
    CU_ASSERT_EQUAL(lane->error, 0);
    CU_ASSERT_EQUAL(lane->sent, lane->total);
    CU_ASSERT_EQUAL(lane->received, lane->total);
    CU_ASSERT(!lane->bad && !lane->twice);
    CU_ASSERT_EQUAL(lane->free_count, WINDOW * 2);
}

static struct hv_netvsc_queue_stats stats_of(const struct lane *lane)
{
    struct hv_netvsc_queue_stats stats;

    hv_netvsc_get_queue_stats(lane->queue, &stats);
    return stats;
}

static uint8_t *reachable(struct net_client *c, uint32_t lanes)
{
    struct hv_dma *dma;

    if (hv_dma_alloc(c->bus, (size_t)lanes * WINDOW * 2 * 2048, &dma))
        abort();
    return hv_dma_address(dma); /* given back with the bus */
}

/* ---- Tests ---- */

static const struct {
    const char *name;
    bool memory, hold;
    uint32_t copy_bytes, aggregate, pieces;
    uint16_t queues;
} ways[] = {
    {"copied, aggregated", false, false, 0, 0, 1, 1},
    {"copied one by one", false, false, 0, 1, 1, 1},
    {"by page", true, false, 1, 0, 1, 1},
    {"by page in pieces", true, false, 1, 0, 4, 1},
    {"both", true, false, 512, 0, 4, 1},
    {"held", true, true, 512, 0, 2, 1},
    {"two queues", true, true, 512, 0, 3, 2},
};

static void test_ways(void)
{
    for (unsigned w = 0; w < HV_TEST_COUNT(ways); w++) {
        struct net_client c;
        struct machine_opts mo;
        struct hv_netvsp_opts po;
        struct hv_netvsc_opts no;
        struct lane lanes[2];
        pthread_t threads[2];
        uint8_t *memory;

        net_defaults(&mo, &po, &no, ways[w].queues);
        no.tx_copy_bytes = ways[w].copy_bytes;
        no.aggregate_packets = ways[w].aggregate;
        net_start(&c, &mo, &po, &no);
        CU_ASSERT_EQUAL_FATAL(c.error, 0);
        net_run(&c, ways[w].queues);
        memory = ways[w].memory ? reachable(&c, ways[w].queues) : NULL;
        for (uint16_t q = 0; q < ways[w].queues; q++) {
            lane_init(&lanes[q], &c, q, memory ? memory + (size_t)q * WINDOW * 2 * 2048 : NULL);
            lanes[q].total = FRAMES_MAX;
            lanes[q].pieces = ways[w].pieces;
            lanes[q].hold = ways[w].hold;
            if (pthread_create(&threads[q], NULL, lane_run, &lanes[q]))
                abort();
        }
        for (uint16_t q = 0; q < ways[w].queues; q++) {
            struct hv_netvsc_queue_stats s;

            (void)pthread_join(threads[q], NULL);
            lane_check(&lanes[q]);
            s = stats_of(&lanes[q]);
            HV_CHECK_ROW(ways[w].name, s.tx_packets == FRAMES_MAX && s.rx_packets == FRAMES_MAX);
            HV_CHECK_ROW(ways[w].name, s.tx_packets == s.tx_copied + s.tx_by_page);
            HV_CHECK_ROW(ways[w].name,
                         !!s.tx_aggregated == (ways[w].copy_bytes != 1 && ways[w].aggregate != 1));
            HV_CHECK_ROW(ways[w].name, (s.tx_by_page > 0) == ways[w].memory);
            HV_CHECK_ROW(ways[w].name, (s.rx_held > 0) == ways[w].hold);
            HV_CHECK_ROW(ways[w].name, !s.tx_failed && !s.bad_completions && !s.rx_overrun);
            lane_fini(&lanes[q]);
        }
        CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
        net_stop(&c);
    }
}

/** Frames larger than a section out of memory that the host does not reach. */
static void test_jumbo(void)
{
    struct net_client c;
    struct machine_opts mo;
    struct hv_netvsp_opts po;
    struct hv_netvsc_opts no;

    net_defaults(&mo, &po, &no, 1);
    no.mtu = 9000;
    net_start(&c, &mo, &po, &no);
    CU_ASSERT_EQUAL_FATAL(c.error, 0);
    net_run(&c, 1);
    net_exchange(&c, 60, 9014);
    CU_ASSERT_EQUAL(c.received_bytes, 60 * 9014);
    net_stop(&c);
}

/* ---- Offloads ---- */

static uint32_t sum16(const uint8_t *at, uint32_t bytes, uint32_t sum)
{
    for (uint32_t i = 0; i + 1 < bytes; i += 2)
        sum += (uint32_t)at[i] << 8 | at[i + 1];
    if (bytes & 1)
        sum += (uint32_t)at[bytes - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/** Pseudo header of an IPv4 segment, length not included. */
static uint32_t pseudo(const uint8_t *ip, uint32_t length)
{
    return sum16(ip + 12, 8, ip[9] + length);
}

static uint16_t wait_frames(struct net_client *c, struct hv_netvsc_queue *queue,
                            struct hv_netvsc_frame *frames, uint16_t want)
{
    time_t end = time(NULL) + PATIENCE;
    uint16_t n = 0;

    (void)c;
    while (n < want && time(NULL) < end) { /* frames stay until done: hold each to go on polling */
        uint16_t more = hv_netvsc_rx_burst(queue, frames + n, (uint16_t)(want - n));

        for (uint16_t i = 0; i < more; i++)
            CU_ASSERT(hv_netvsc_rx_hold(queue, &frames[n + i]));
        hv_netvsc_rx_done(queue);
        n = (uint16_t)(n + more);
    }
    return n;
}

static void start_one(struct net_client *c, const char *fault)
{
    struct machine_opts mo;
    struct hv_netvsp_opts po;
    struct hv_netvsc_opts no;

    net_defaults(&mo, &po, &no, 1);
    po.fault = fault;
    net_start(c, &mo, &po, &no);
    CU_ASSERT_EQUAL_FATAL(c->error, 0);
    net_run(c, 1);
}

#define TSO_DATA 20000u
#define TSO_MSS  1400u

/** One large segment comes back as the host cut it; its own memory is as it was. */
static void test_tso(void)
{
    struct net_client c;
    struct lane lane;
    uint8_t *frame, *copy = malloc(TSO_DATA + 54);
    struct hv_netvsc_frame got[16];
    struct hv_netvsc_tx tx;
    uint32_t at = 0, want = (TSO_DATA + TSO_MSS - 1) / TSO_MSS;
    uint16_t n;

    start_one(&c, NULL);
    frame = reachable(&c, 1) + 1234;
    lane_init(&lane, &c, 0, frame);
    put_ether(frame, lane.mac);
    put_ipv4(frame + 14, TSO_DATA + 40, 6);
    memset(frame + 34, 0, 20);
    frame[46] = 0x50;
    frame[47] = 0x18; /* PSH, ACK */
    put16(frame + 50, pseudo(frame + 14, 0));
    for (uint32_t i = 0; i < TSO_DATA; i++)
        frame[54 + i] = (uint8_t)(i * 11 + (i >> 8));
    memcpy(copy, frame, TSO_DATA + 54);
    tx = (struct hv_netvsc_tx){
        .data = frame,
        .data_bytes = TSO_DATA + 54,
        .bytes = TSO_DATA + 54,
        .flags = HV_NETVSC_TX_FLAG_TSO | HV_NETVSC_TX_FLAG_IPV4,
        .l4_offset = 34,
        .mss = TSO_MSS,
        .cookie = &tx,
    };
    CU_ASSERT_EQUAL_FATAL(hv_netvsc_tx_burst(lane.queue, &tx, 1, NULL), 1);
    CU_ASSERT_EQUAL(tx.copied, 0);
    n = wait_frames(&c, lane.queue, got, (uint16_t)want);
    CU_ASSERT_EQUAL(n, want);
    for (uint16_t i = 0; i < n; i++) {
        const uint8_t *ip = got[i].data + 14;
        uint32_t data = got[i].bytes - 54;

        CU_ASSERT_EQUAL(data, i + 1u < want ? TSO_MSS : TSO_DATA - at);
        CU_ASSERT_EQUAL((uint32_t)ip[2] << 8 | ip[3], data + 40);
        CU_ASSERT_EQUAL(sum16(ip, 20, 0), 0xffff);
        CU_ASSERT_EQUAL(sum16(ip + 20, data + 20, pseudo(ip, data + 20)), 0xffff);
        CU_ASSERT_EQUAL((uint32_t)ip[26] << 8 | ip[27], at);
        CU_ASSERT(!memcmp(ip + 40, copy + 54 + at, data));
        at += data;
        hv_netvsc_rx_release(lane.queue, got[i].hold);
    }
    CU_ASSERT_EQUAL(at, TSO_DATA);
    CU_ASSERT(!memcmp(copy, frame, TSO_DATA + 54));
    free(copy);
    lane_fini(&lane);
    net_stop(&c);
}

/** UDP sum by the host, a VLAN tag beside the frame both ways. */
static void test_sum_and_tag(void)
{
    struct net_client c;
    struct lane lane;
    uint8_t frame[100];
    struct hv_netvsc_frame got;
    struct hv_netvsc_tx tx = {
        .data = frame,
        .data_bytes = sizeof(frame),
        .bytes = sizeof(frame),
        .flags = HV_NETVSC_TX_FLAG_UDP | HV_NETVSC_TX_FLAG_IPV4 | HV_NETVSC_TX_FLAG_IP_CSUM |
                 HV_NETVSC_TX_FLAG_VLAN | HV_NETVSC_TX_FLAG_COPY,
        .l4_offset = 34,
        .vlan_tci = 0x6123,
    };

    start_one(&c, NULL);
    lane_init(&lane, &c, 0, NULL);
    make_frame(frame, lane.mac, 3, sizeof(frame));
    put16(frame + 24, 0);
    put16(frame + 40, pseudo(frame + 14, sizeof(frame) - 34));
    CU_ASSERT_EQUAL_FATAL(hv_netvsc_tx_burst(lane.queue, &tx, 1, NULL), 1);
    CU_ASSERT_EQUAL_FATAL(wait_frames(&c, lane.queue, &got, 1), 1);
    CU_ASSERT_EQUAL(got.bytes, sizeof(frame));
    CU_ASSERT(got.flags & HV_NETVSC_RX_HAS_VLAN);
    CU_ASSERT_EQUAL(got.vlan_tci, 0x6123);
    CU_ASSERT_EQUAL(sum16(got.data + 14, 20, 0), 0xffff);
    CU_ASSERT_EQUAL(sum16(got.data + 34, 66, pseudo(got.data + 14, 66)), 0xffff);
    CU_ASSERT(got.flags & HV_NETVSC_RX_L4_OK);
    hv_netvsc_rx_release(lane.queue, got.hold);
    lane_fini(&lane);
    net_stop(&c);
}

/* ---- A host that fails ---- */

static const struct {
    const char *name, *plan;
    size_t counter; /* of the queue's statistics that must be `count` */
    uint32_t count;
    bool dies;
    bool loses; /* frames on the way to or from the host */
} faults[] = {
#define COUNTER(name) offsetof(struct hv_netvsc_queue_stats, name)
    {"range outside the buffer", "bad-offset@5", COUNTER(rx_bad_range), 1, false, true},
    {"range too long", "bad-range@5", COUNTER(rx_bad_range), 1, false, true},
    {"RNDIS too long", "bad-rndis@5", COUNTER(rx_bad_rndis), 1, false, true},
    {"data beyond the message", "bad-data@5", COUNTER(rx_bad_rndis), 1, false, true},
    {"information of length 0", "bad-ppi@5", COUNTER(rx_bad_ppi), 1, false, true},
    {"unknown buffer", "bad-buffer@5", COUNTER(rx_bad_range), 0, true, true},
    {"ranges beyond the packet", "bad-count@5", COUNTER(rx_bad_range), 0, true, true},
    {"impossible id", "bad-rx-id@5", COUNTER(rx_bad_range), 0, true, true},
    {"impossible index", "bad-index@9", COUNTER(rx_bad_range), 0, true, true},
    {"taken away", "rescind@9", COUNTER(rx_bad_range), 0, true, true},
    {"completion twice", "repeat@9", COUNTER(bad_completions), 1, false, false},
    {"frames dropped", "fail@9", COUNTER(tx_failed), 1, false, true},
    {"late completions", "delay:20@9/40", COUNTER(tx_failed), 0, false, false},
};

static void test_faults(void)
{
    for (unsigned f = 0; f < HV_TEST_COUNT(faults); f++) {
        struct net_client c;
        struct lane lane;
        struct hv_netvsc_queue_stats s;
        time_t end = time(NULL) + PATIENCE;
        uint64_t counter;

        start_one(&c, faults[f].plan);
        lane_init(&lane, &c, 0, reachable(&c, 1));
        lane.total = 2000;
        lane.flags = HV_NETVSC_TX_FLAG_VLAN; /* so that there is information beside every frame */
        /* what is on its way when the fault strikes may be lost: wait for all the others */
        while (!lane.error && time(NULL) < end &&
               (lane.sent < lane.total ||
                lane.received < lane.total - (faults[f].loses ? LOST_MAX : 0))) {
            lane_send(&lane);
            lane_reap(&lane);
            lane_receive(&lane);
            (void)hv_netvsc_poll_control(c.netvsc); /* sees it taken away */
            if (!lane.error)
                lane.error = hv_netvsc_status(c.netvsc);
        }
        while (lane.free_count < WINDOW * 2 && time(NULL) < end)
            lane_reap(&lane);
        s = stats_of(&lane);
        memcpy(&counter, (const uint8_t *)&s + faults[f].counter, sizeof(counter));
        HV_CHECK_ROW(faults[f].name, !!lane.error == faults[f].dies);
        HV_CHECK_ROW(faults[f].name, counter == faults[f].count);
        HV_CHECK_ROW(faults[f].name, !lane.bad && !lane.twice);
        HV_CHECK_ROW(faults[f].name, lane.free_count == WINDOW * 2); /* every cookie came back */
        HV_CHECK_ROW(faults[f].name, faults[f].dies || lane.sent == lane.total);
        lane_fini(&lane);
        net_stop(&c);
    }
}

static const struct hv_test_case cases[] = {
    {"ways of sending", test_ways},    {"jumbo frames", test_jumbo}, {"segmentation", test_tso},
    {"sum and tag", test_sum_and_tag}, {"faults", test_faults},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.data", cases, HV_TEST_COUNT(cases), argc, argv);
}
