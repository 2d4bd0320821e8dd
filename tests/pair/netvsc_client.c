/* SPDX-License-Identifier: BSD-3-Clause */
#include "netvsc_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <suite.h>

#define BATCH     32
#define PATIENCE  10 /* s */
#define HEADER    14u
#define COPY_MAX  6000u /* what surely fits a section of the send buffer */
#define SIGNATURE 0x6e657476u

void net_defaults(struct machine_opts *mo, struct hv_netvsp_opts *po, struct hv_netvsc_opts *no,
                  uint16_t queues)
{
    machine_opts_init(mo);
    mo->luns = 0;
    mo->host.workers_per_guest = queues;
    *po = (struct hv_netvsp_opts)HV_NETVSP_OPTS_INIT;
    po->link = "loop";
    po->queues = queues;
    *no = (struct hv_netvsc_opts)HV_NETVSC_OPTS_INIT;
    no->max_queues = queues;
    no->receive_bytes = no->send_bytes = 2u << 20;
    no->ring_bytes = 128u << 10;
    no->link_debounce_ms = 1;
}

static void on_event(void *arg, enum hv_netvsc_event event)
{
    struct net_client *c = arg;

    c->events[event]++;
}

void net_start(struct net_client *c, const struct machine_opts *mo, const struct hv_netvsp_opts *po,
               const struct hv_netvsc_opts *no)
{
    static const struct hv_guid network = HV_CLASS_NETWORK;
    struct hv_netvsc_opts opts = *no;
    struct hv_vmbus_device device;

    memset(c, 0, sizeof(*c));
    c->machine = machine_start(mo);
    c->nic = machine_nic_add(c->machine, po);
    c->bus = machine_bus(c->machine);
    opts.event = on_event;
    opts.event_arg = c;
    opts.log = machine_log(c->machine);
    if (hv_vmbus_find(c->bus, &network, &device)) {
        fprintf(stderr, "no NIC on the bus\n");
        abort();
    }
    if (hv_dma_alloc(c->bus, NET_DMA_FRAMES * NET_FRAME_MAX, &c->dma))
        abort();
    c->error = hv_netvsc_open(c->bus, &device.instance_id, &opts, &c->netvsc);
}

void net_stop(struct net_client *c)
{
    hv_netvsc_close(c->netvsc);
    hv_vmbus_close(c->bus);
    machine_nic_remove(c->nic);
    machine_stop(c->machine);
}

void net_run(struct net_client *c, uint16_t queues)
{
    uint16_t got = 0;
    int err = hv_netvsc_start(c->netvsc, queues, &got);

    if (err || got != queues)
        fprintf(stderr, "start: error %d, %u queues\n", err, got);
    CU_ASSERT(!err && got == queues);
}

/* ---- Frames: broadcast, a local type, a length, a number and bytes that follow from it ---- */

struct body {
    uint32_t signature, number, bytes;
};

static void make_frame(uint8_t *frame, uint32_t number, uint32_t bytes)
{
    struct body body = {SIGNATURE, number, bytes};

    memset(frame, 0xff, 6);
    memset(frame + 6, 2, 6);
    frame[12] = 0x88; /* for local experiments */
    frame[13] = 0xb5;
    memcpy(frame + HEADER, &body, sizeof(body));
    for (uint32_t i = HEADER + (uint32_t)sizeof(body); i < bytes; i++)
        frame[i] = (uint8_t)(number * 7 + i);
}

static bool check_frame(const uint8_t *frame, uint32_t bytes)
{
    struct body body;

    if (bytes < HEADER + sizeof(body))
        return false;
    memcpy(&body, frame + HEADER, sizeof(body));
    if (body.signature != SIGNATURE || body.bytes != bytes)
        return false;
    for (uint32_t i = HEADER + (uint32_t)sizeof(body); i < bytes; i++)
        if (frame[i] != (uint8_t)(body.number * 7 + i))
            return false;
    return true;
}

static void receive(struct net_client *c, uint16_t index)
{
    struct hv_netvsc_queue *queue = hv_netvsc_get_queue(c->netvsc, index);
    struct hv_netvsc_frame frames[BATCH];
    uint16_t count = hv_netvsc_rx_burst(queue, frames, BATCH);

    for (uint16_t i = 0; i < count; i++) {
        c->bad += !check_frame(frames[i].data, frames[i].bytes);
        c->received_bytes += frames[i].bytes;
    }
    c->received[index] += count;
    hv_netvsc_rx_done(queue);
}

/** A cookie is where its frame is marked as busy. */
static void reap(struct net_client *c, struct hv_netvsc_queue *queue)
{
    void *cookies[BATCH];
    uint16_t count = hv_netvsc_tx_reap(queue, cookies, BATCH);

    for (uint16_t i = 0; i < count; i++) {
        bool *busy = cookies[i];

        c->bad += !*busy;
        *busy = false;
    }
}

void net_poll(struct net_client *c)
{
    for (uint16_t i = 0; i < hv_netvsc_queue_count(c->netvsc); i++) {
        receive(c, i);
        reap(c, hv_netvsc_get_queue(c->netvsc, i));
    }
}

static uint64_t total(const struct net_client *c)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < NET_QUEUES_MAX; i++)
        sum += c->received[i];
    return sum;
}

static bool send_one(struct net_client *c, uint16_t index, uint32_t bytes)
{
    struct hv_netvsc_tx tx = {.data_bytes = bytes, .bytes = bytes};
    uint8_t *frame = hv_dma_address(c->dma);
    unsigned slot = 0;
    int err = 0;

    while (slot < NET_DMA_FRAMES && c->busy[slot])
        slot++;
    if (slot == NET_DMA_FRAMES)
        return false;
    frame += slot * NET_FRAME_MAX;
    make_frame(frame, c->seed, bytes);
    tx.data = frame;
    tx.cookie = &c->busy[slot];
    tx.flags = bytes > COPY_MAX ? 0 : HV_NETVSC_TX_FLAG_COPY;
    if (hv_netvsc_tx_burst(hv_netvsc_get_queue(c->netvsc, index), &tx, 1, &err) == 1) {
        CU_ASSERT_EQUAL(tx.copied, bytes <= COPY_MAX);
        c->busy[slot] = !tx.copied;
        c->seed++;
        return true;
    }
    if (err != -EAGAIN)
        fprintf(stderr, "tx of %u bytes: %d\n", bytes, err);
    CU_ASSERT_EQUAL(err, -EAGAIN);
    return false;
}

void net_exchange(struct net_client *c, unsigned count, uint32_t bytes)
{
    uint16_t queues = hv_netvsc_queue_count(c->netvsc);
    uint64_t want = total(c) + (uint64_t)count * queues;
    unsigned left[NET_QUEUES_MAX], failures = CU_get_number_of_failures();
    time_t end = time(NULL) + PATIENCE;

    for (uint16_t i = 0; i < queues; i++)
        left[i] = count;
    while (total(c) < want && time(NULL) < end && CU_get_number_of_failures() == failures) {
        for (uint16_t i = 0; i < queues; i++)
            while (left[i] && send_one(c, i, bytes))
                left[i]--;
        net_poll(c);
        if (hv_netvsc_status(c->netvsc))
            break;
    }
    if (total(c) != want) {
        struct hv_netvsp_stats stats;

        machine_nic_get_stats(c->nic, &stats);
        fprintf(
            stderr,
            "%llu frames of %llu came back; the host took %llu, gave %llu, dropped %llu for want "
            "of room, %llu by filter, %llu bad, %llu by link\n",
            (unsigned long long)total(c), (unsigned long long)want,
            (unsigned long long)stats.from_guest_packets,
            (unsigned long long)stats.to_guest_packets, (unsigned long long)stats.dropped_no_buffer,
            (unsigned long long)stats.dropped_filter, (unsigned long long)stats.dropped_bad,
            (unsigned long long)stats.dropped_link);
    }
    CU_ASSERT_EQUAL(total(c), want);
    CU_ASSERT_EQUAL(c->bad, 0);
}

bool net_wait_event(struct net_client *c, enum hv_netvsc_event event, unsigned count)
{
    struct pollfd pfd = {.fd = hv_netvsc_fd(c->netvsc), .events = POLLIN};
    time_t end = time(NULL) + PATIENCE;

    while (c->events[event] < count && time(NULL) < end) {
        (void)poll(&pfd, 1, 100);
        (void)hv_netvsc_poll_control(c->netvsc);
    }
    return c->events[event] == count;
}
