/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue with everybody at it at once: the receive side, the transmit side, a thread that releases held frames, the
 * control thread, and the host.  Every frame carries its number; each must arrive once, in order, whole.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include <suite.h>

#include "netvsc_rig.h"

#define FRAMES     40000u /* each way */
#define HELD       512u   /* tokens on their way to whoever releases them; power of two */
#define TX_BUFFERS 24u    /* of a page, for frames that are named by page */
#define FRAME_MAX  1200u

struct world {
    struct rig rig;
    /* host */
    unsigned sent, seen, completions, bad_host;
    uint32_t free_sections[RIG_SECTIONS], free_count;
    /* rx */
    unsigned received, bad_rx, held_count;
    /* tx */
    unsigned transmitted, reaped, by_page;
    _Atomic bool rx_done, tx_done, all_done;
    /* rx -> releaser */
    uint32_t held[HELD];
    _Atomic uint32_t held_head, held_tail;
    unsigned released;
    unsigned requests;
};

static uint32_t length_of(uint32_t number)
{
    return 60 + number * 37 % (FRAME_MAX - 60);
}

static void fill(uint8_t *frame, uint32_t number)
{
    uint32_t bytes = length_of(number);

    memset(frame, (int)(number & 0xff), bytes);
    memcpy(frame + 14, &number, 4);
    memcpy(frame + bytes - 4, &number, 4);
}

static bool is_frame(const uint8_t *frame, uint32_t bytes, uint32_t number)
{
    return bytes == length_of(number) && !memcmp(frame + 14, &number, 4) &&
           !memcmp(frame + bytes - 4, &number, 4) && frame[20] == (number & 0xff);
}

/* ---- Host ---- */

/** Frames of one message of the driver. */
static void host_check(struct world *w, const uint8_t *bytes, uint32_t total)
{
    uint32_t at = 0;

    while (at < total) {
        struct hv_rndis_packet p;

        memcpy(&p, bytes + at, sizeof(p));
        if (p.hdr.length_bytes < sizeof(p) || p.hdr.length_bytes > total - at ||
            !is_frame(bytes + at + 8 + p.data_offset, p.data_bytes, w->seen)) {
            w->bad_host++;
            return;
        }
        w->seen++;
        at += p.hdr.length_bytes;
    }
}

static bool host_take(struct world *w)
{
    static uint8_t list[4096];
    static struct rig_packet p;
    uint32_t words[4], first;

    if (!rig_take(&w->rig, &p))
        return false;
    if (p.type == HV_PACKET_COMPLETION) {
        w->completions++;
        w->free_sections[w->free_count++ % RIG_SECTIONS] = (uint32_t)p.id;
        return true;
    }
    memcpy(words, p.payload, sizeof(words));
    if (p.type == HV_PACKET_GPA_DIRECT)
        host_check(w, list, rig_gather(&p, list, sizeof(list), &first));
    else if (words[0] == HV_NVSP_SEND_RNDIS_PACKET)
        host_check(w, w->rig.send + (size_t)words[2] * RIG_TX_SECTION_BYTES, words[3]);
    while (!rig_complete(&w->rig, p.id, HV_NVSP_STATUS_SUCCESS))
        (void)sched_yield();
    return true;
}

static bool host_send(struct world *w)
{
    struct hv_transfer_range range;
    uint8_t frame[FRAME_MAX];
    uint32_t section;

    if (w->sent == FRAMES || !w->free_count)
        return false;
    section = w->free_sections[(w->free_count - 1) % RIG_SECTIONS];
    fill(frame, w->sent);
    range.byte_offset = section * RIG_SECTION_BYTES;
    range.byte_count =
        rig_put_frame(&w->rig, range.byte_offset, frame, length_of(w->sent), NULL, 0);
    if (!rig_deliver(&w->rig, section, &range, 1))
        return false;
    w->free_count--;
    w->sent++;
    return true;
}

static void *host(void *arg)
{
    struct world *w = arg;

    while (!atomic_load(&w->all_done)) {
        bool busy = false;

        for (int i = 0; i < 16; i++)
            busy |= host_take(w) | host_send(w);
        if (!busy)
            (void)sched_yield();
    }
    return NULL;
}

/* ---- Guest ---- */

static void *receiver(void *arg)
{
    struct world *w = arg;
    struct hv_netvsc_queue *q = w->rig.queue;
    struct hv_netvsc_frame frames[16];

    while (w->received < FRAMES) {
        uint16_t n = hv_netvsc_rx_burst(q, frames, 16);

        for (uint16_t i = 0; i < n; i++) {
            uint32_t tail = atomic_load_explicit(&w->held_tail, memory_order_relaxed);

            w->bad_rx += !is_frame(frames[i].data, frames[i].bytes, w->received);
            w->received++;
            if (tail - atomic_load(&w->held_head) < HELD && hv_netvsc_rx_hold(q, &frames[i])) {
                w->held[tail % HELD] = frames[i].hold;
                atomic_store_explicit(&w->held_tail, tail + 1, memory_order_release);
                w->held_count++;
            }
        }
        hv_netvsc_rx_done(q);
        if (!n)
            (void)sched_yield();
    }
    atomic_store(&w->rx_done, true);
    return NULL;
}

static void *releaser(void *arg)
{
    struct world *w = arg;

    for (;;) {
        bool last = atomic_load(&w->rx_done);
        uint32_t head = atomic_load_explicit(&w->held_head, memory_order_relaxed);

        if (head != atomic_load_explicit(&w->held_tail, memory_order_acquire)) {
            hv_netvsc_rx_release(w->rig.queue, w->held[head % HELD]);
            w->released++;
            atomic_store(&w->held_head, head + 1);
        } else if (last) {
            return NULL;
        } else {
            (void)sched_yield();
        }
    }
}

static void *transmitter(void *arg)
{
    struct world *w = arg;
    struct hv_netvsc_queue *q = w->rig.queue;
    static uint8_t copies[8][FRAME_MAX];
    uint8_t *pages[TX_BUFFERS];
    unsigned free_pages = TX_BUFFERS;
    void *cookies[TX_BUFFERS];

    for (unsigned i = 0; i < TX_BUFFERS; i++)
        pages[i] = w->rig.memory + (size_t)i * HV_PAGE_BYTES;
    while (w->transmitted < FRAMES || free_pages < TX_BUFFERS) {
        struct hv_netvsc_tx tx[8];
        unsigned n = 0, pages_before = free_pages;
        uint16_t taken, back;

        for (; n < 8 && w->transmitted + n < FRAMES; n++) {
            uint32_t number = w->transmitted + n, bytes = length_of(number);
            bool page = bytes > 512;
            uint8_t *at = copies[n];

            if (page && !free_pages)
                break;
            if (page)
                at = pages[--free_pages];
            fill(at, number);
            tx[n] = rig_frame(at, bytes);
            tx[n].cookie = at;
        }
        taken = hv_netvsc_tx_burst(q, tx, (uint16_t)n, NULL);
        w->transmitted += taken;
        for (unsigned i = 0; i < taken; i++) {
            w->by_page += !tx[i].copied;
            pages_before -= !tx[i].copied;
        }
        free_pages = pages_before; /* pages of frames not taken are on top still */
        back = hv_netvsc_tx_reap(q, cookies, TX_BUFFERS);
        for (uint16_t i = 0; i < back; i++)
            pages[free_pages++] = cookies[i];
        w->reaped += back;
        if (!taken && !back)
            (void)sched_yield();
    }
    atomic_store(&w->tx_done, true);
    return NULL;
}

static void *control(void *arg)
{
    struct world *w = arg;
    struct hv_nvsp_message m = {.type = HV_NVSP_OID_QUERY_EX};
    struct hv_netvsc_queue_stats stats;

    while (!atomic_load(&w->rx_done) || !atomic_load(&w->tx_done)) {
        hv_nq_poll(w->rig.queue);
        hv_netvsc_get_queue_stats(w->rig.queue, &stats);
        w->requests += !hv_nq_send_nvsp(w->rig.queue, &m, sizeof(m), true, 0);
        (void)hv_nq_busy(w->rig.queue);
        (void)hv_netvsc_tx_in_flight(w->rig.queue);
        (void)sched_yield();
    }
    return NULL;
}

static void test_everybody(void)
{
    static struct world w;
    static void *(*const roles[])(void *) = {host, receiver, releaser, transmitter, control};
    struct rig_opts opts = {.ring_bytes = 0x4000, .descriptors = 64};
    pthread_t threads[HV_TEST_COUNT(roles)];

    rig_start(&w.rig, &opts);
    for (uint32_t i = 0; i < RIG_SECTIONS; i++)
        w.free_sections[w.free_count++] = i;
    for (unsigned i = 0; i < HV_TEST_COUNT(roles); i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, roles[i], &w), 0);
    for (unsigned i = 1; i < HV_TEST_COUNT(roles); i++)
        (void)pthread_join(threads[i], NULL);
    while (hv_nq_held(w.rig.queue) || hv_nq_busy(w.rig.queue)) {
        hv_nq_poll(w.rig.queue);
        (void)sched_yield();
    }
    atomic_store(&w.all_done, true);
    (void)pthread_join(threads[0], NULL);
    while (host_take(&w))
        ;
    CU_ASSERT(w.received == FRAMES && w.seen == FRAMES);
    CU_ASSERT(!w.bad_rx && !w.bad_host);
    CU_ASSERT_EQUAL(w.completions, FRAMES);
    CU_ASSERT(w.held_count > 0 && w.held_count == w.released);
    CU_ASSERT(w.by_page > 0 && w.by_page == w.reaped);
    CU_ASSERT(w.requests > 0 && w.rig.answers > 0);
    CU_ASSERT_EQUAL(w.rig.deaths, 0);
    CU_ASSERT_EQUAL(rig_stats(&w.rig).rx_packets, FRAMES);
    CU_ASSERT_EQUAL(rig_stats(&w.rig).tx_packets, FRAMES);
    rig_stop(&w.rig);
}

static const struct hv_test_case cases[] = {
    {"everybody at once", test_everybody},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.threads", cases, HV_TEST_COUNT(cases), argc, argv);
}
