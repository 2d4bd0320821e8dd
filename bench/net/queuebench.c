/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a frame costs the network driver, without a host, without DPDK: one thread, a queue over real rings in one cache,
 * the host's end as short as it can be and not counted.  Time-stamp cycles per frame, the median of many rounds.
 *
 *   queuebench [-l BYTES] [-b BURST] [-a FRAMES_PER_MESSAGE] [-p] [-n ROUNDS] [-s SECTIONS]
 *     tx   hv_netvsc_tx_burst()  headers, copy into sections (-p: by page), ring, publish; reap of what came back
 *     rx   hv_netvsc_rx_burst()  completions, drain, staging, RNDIS;  touch: the frame's first line;  done
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include <ring_bus.h>

#include <queue.h>

#define SECTIONS_MAX  2048u
#define SECTION_BYTES 6144u
#define RX_SECTIONS   4096u
#define RX_BYTES      2048u
#define BURST_MAX     256u

struct bench {
    uint32_t bytes, burst, aggregate, rounds, sections;
    bool by_page;
    struct ring_bus *bus;
    struct hv_channel *channel;
    struct hv_nq_device device;
    struct hv_netvsc_queue *queue;
    uint8_t *frames;
    uint32_t next_section;
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "queuebench: %s\n", what);
    exit(1);
}

static void start(struct bench *b)
{
    struct hv_nq_share share = {0, b->sections, RX_SECTIONS};
    size_t send = (size_t)b->sections * SECTION_BYTES, receive = (size_t)RX_SECTIONS * RX_BYTES;
    size_t frames = (size_t)BURST_MAX * 2048;

    b->bus = ring_bus_create();
    b->channel = ring_bus_open(b->bus, (1u << 20) - 4096);
    b->frames = aligned_alloc(4096, frames);
    b->device = (struct hv_nq_device){
        .receive = {aligned_alloc(4096, receive), receive, 1},
        .send = {aligned_alloc(4096, send), send, 2},
        .receive_sections = RX_SECTIONS,
        .receive_section_bytes = RX_BYTES,
        .send_sections = b->sections,
        .send_section_bytes = SECTION_BYTES,
        .max_packets_per_message = b->aggregate,
        .max_message_bytes = SECTION_BYTES,
        .packet_align_bytes = 8,
        .tx_copy_bytes = b->by_page ? 0 : 2048,
        .frame_bytes_max = 1518,
    };
    must(b->frames && b->device.receive.address && b->device.send.address, "memory");
    memset(b->frames, 0x5a, frames);
    memset(b->device.receive.address, 0, receive);
    memset(b->device.send.address, 0, send);
    ring_bus_reach(b->bus, b->frames, frames);
    must(!hv_nq_create(&b->device, b->channel, 1024, &b->queue), "queue");
    must(!hv_nq_set_share(b->queue, &share), "share");
    hv_nq_resume(b->queue);
}

static void stop(struct bench *b)
{
    hv_nq_detach(b->queue);
    ring_bus_close(b->channel);
    hv_nq_destroy(b->queue);
    ring_bus_destroy(b->bus);
    free(b->device.receive.address);
    free(b->device.send.address);
    free(b->frames);
}

/** The host takes what there is and completes messages of frames. */
static void host(struct bench *b)
{
    static const uint32_t done[2] = {HV_NVSP_SEND_RNDIS_PACKET_COMPLETE, HV_NVSP_STATUS_SUCCESS};
    struct hv_packet p;

    while (!hv_ring_rx_peek(&b->channel->host_rx, &p))
        if (p.type != HV_PACKET_COMPLETION) {
            struct hv_packet_desc desc = {p.trans_id, 0, 8, HV_PACKET_COMPLETION, 0};
            struct hv_packet_slot slot;

            must(!hv_ring_tx_reserve(&b->channel->host_tx, &desc, &slot), "ring to the guest");
            memcpy(slot.payload, done, sizeof(done));
        }
    (void)hv_ring_rx_release(&b->channel->host_rx);
    (void)hv_ring_tx_publish(&b->channel->host_tx);
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void report(const char *what, double *cycles, uint32_t count)
{
    qsort(cycles, count, sizeof(*cycles), compare);
    printf("%-6s %6.1f cycles a frame (%.1f .. %.1f)\n", what, cycles[count / 2],
           cycles[count / 20], cycles[count - 1 - count / 20]);
}

static void bench_tx(struct bench *b, double *cycles)
{
    struct hv_netvsc_tx tx[BURST_MAX];
    void *cookies[BURST_MAX];

    for (uint32_t i = 0; i < b->burst; i++)
        tx[i] = (struct hv_netvsc_tx){
            .data = b->frames + (size_t)i * 2048, .data_bytes = b->bytes, .bytes = b->bytes};
    for (uint32_t round = 0; round < b->rounds; round++) {
        uint64_t from = __rdtsc();

        must(hv_netvsc_tx_burst(b->queue, tx, (uint16_t)b->burst, NULL) == b->burst, "tx burst");
        if (b->by_page)
            (void)hv_netvsc_tx_reap(b->queue, cookies, BURST_MAX);
        cycles[round] = (double)(__rdtsc() - from) / b->burst;
        host(b);
    }
    report("tx", cycles, b->rounds);
    while (hv_nq_busy(b->queue))
        hv_nq_poll(b->queue);
}

/** Messages of `aggregate` frames, sections in turn. */
static void deliver(struct bench *b)
{
    uint32_t words[2] = {HV_NVSP_SEND_RNDIS_PACKET, HV_NVSP_CHANNEL_DATA};

    for (uint32_t i = 0; i < b->burst;) {
        struct {
            struct hv_transfer_pages pages;
            struct hv_transfer_range ranges[BURST_MAX];
        } ext = {.pages = {.set_id = HV_NVSP_RECEIVE_BUFFER_ID}};
        uint32_t first = b->next_section, n = 0;
        uint64_t payload[2] = {0};

        for (; n < b->aggregate && i < b->burst; n++, i++) {
            uint32_t section = b->next_section++ % RX_SECTIONS;
            struct hv_rndis_packet *p =
                (struct hv_rndis_packet *)(void *)((uint8_t *)b->device.receive.address +
                                                   (size_t)section * RX_BYTES);

            *p = (struct hv_rndis_packet){
                .hdr = {HV_RNDIS_PACKET, RX_BYTES}, .data_offset = 248, .data_bytes = b->bytes};
            ext.ranges[n] = (struct hv_transfer_range){RX_BYTES, section * RX_BYTES};
        }
        ext.pages.range_count = n;
        memcpy(payload, words, sizeof(words));
        must(ring_bus_send(b->channel, HV_PACKET_TRANSFER_PAGES, first % RX_SECTIONS, &ext,
                           8 + n * 8, payload, 16),
             "ring to the guest");
    }
}

static void bench_rx(struct bench *b, double *cycles)
{
    static double touch[1 << 20], done[1 << 20];
    struct hv_netvsc_frame frames[BURST_MAX];
    volatile uint32_t sum = 0;

    for (uint32_t round = 0; round < b->rounds; round++) {
        uint64_t at[4];

        deliver(b);
        at[0] = __rdtsc();
        must(hv_netvsc_rx_burst(b->queue, frames, (uint16_t)b->burst) == b->burst, "rx burst");
        at[1] = __rdtsc();
        for (uint32_t i = 0; i < b->burst; i++)
            sum += frames[i].data[12];
        at[2] = __rdtsc();
        hv_netvsc_rx_done(b->queue);
        at[3] = __rdtsc();
        cycles[round] = (double)(at[1] - at[0]) / b->burst;
        touch[round] = (double)(at[2] - at[1]) / b->burst;
        done[round] = (double)(at[3] - at[2]) / b->burst;
        host(b);
    }
    report("rx", cycles, b->rounds);
    report("touch", touch, b->rounds);
    report("done", done, b->rounds);
}

int main(int argc, char **argv)
{
    struct bench b = {
        .bytes = 64, .burst = 32, .aggregate = 32, .rounds = 20000, .sections = SECTIONS_MAX};
    double *cycles;
    int c;

    while ((c = getopt(argc, argv, "l:b:a:n:s:p")) != -1) {
        if (c == 'p')
            b.by_page = true;
        else if (c == '?')
            return 2;
        else
            *(c == 'l'   ? &b.bytes
              : c == 'b' ? &b.burst
              : c == 'a' ? &b.aggregate
                         : &b.rounds) = (uint32_t)strtoul(optarg, NULL, 0);
    }
    must(b.bytes >= 14 && b.bytes <= 1518 && b.burst && b.burst <= BURST_MAX && b.aggregate &&
             b.aggregate <= BURST_MAX && b.rounds && b.rounds <= 1 << 20 && b.sections &&
             b.sections <= SECTIONS_MAX,
         "a number is out of range");
    cycles = calloc(b.rounds, sizeof(*cycles));
    must(cycles != NULL, "memory");
    start(&b);
    bench_tx(&b, cycles);
    bench_rx(&b, cycles);
    stop(&b);
    free(cycles);
    return 0;
}
