/* SPDX-License-Identifier: BSD-3-Clause */
/* When lib/ring says "signal the peer", and how an end goes to sleep without missing anything. */
#include <stdlib.h>
#include <string.h>

#include <hv/ring.h>

#include "ring_pair.h"
#include "suite.h"

static void test_ring_publish_signals(void)
{
    static const struct {
        const char *name;
        uint32_t mask;
        int before;  /* packets in the ring already */
        int drained; /* of these, read and released meanwhile */
        int batch;   /* packets published at once */
        bool want;
    } rows[] = {
        {"empty, one packet", 0, 0, 0, 1, true},
        {"empty, a batch", 0, 0, 0, 5, true},
        {"empty, masked", 1, 0, 0, 1, false},
        {"empty, a batch, masked", 1, 0, 0, 5, false},
        {"any mask bit counts", 0x80000000u, 0, 0, 1, false},
        {"not empty", 0, 1, 0, 1, false},
        {"not empty, masked", 1, 1, 0, 1, false},
        {"reader got to it meanwhile", 0, 3, 3, 1, true},
        {"reader got to it meanwhile, masked", 1, 3, 3, 1, false},
        {"reader got half way", 0, 4, 2, 1, false},
        {"nothing to publish", 0, 0, 0, 0, false},
        {"nothing to publish, not empty", 0, 2, 0, 0, false},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_packet_desc desc = {.trans_id = 9, .payload_bytes = 16, .type = HV_PACKET_INBAND};
        struct hv_packet_slot slot = {0};
        struct hv_packet got = {0};
        struct hv_ring_stats was;
        struct ring_pair p;

        if (!ring_pair_create(&p, 4096))
            return;
        for (int k = 0; k < rows[i].before; k++)
            CU_ASSERT(!ring_pair_send(&p, 16));
        was = p.tx.stats;
        atomic_store(&p.area.control->interrupt_mask, rows[i].mask);
        for (int k = 0; k < rows[i].batch; k++)
            CU_ASSERT(!hv_ring_tx_reserve(&p.tx, &desc, &slot));
        for (int k = 0; k < rows[i].drained; k++)
            CU_ASSERT(!hv_ring_rx_peek(&p.rx, &got));
        (void)hv_ring_rx_release(&p.rx);
        HV_CHECK_ROW(rows[i].name, hv_ring_tx_publish(&p.tx) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, p.tx.stats.signals - was.signals == rows[i].want);
        HV_CHECK_ROW(rows[i].name, p.tx.stats.signals_saved - was.signals_saved ==
                                       (rows[i].batch && !rows[i].want));
        HV_CHECK_ROW(rows[i].name, !hv_ring_tx_publish(&p.tx));
        ring_pair_destroy(&p);
    }
}

static void test_ring_release_signals(void)
{
    enum { USED = 40 * 88, FREE = 4096 - USED }; /* 40 packets of 88 bytes leave 576 */
    static const struct {
        const char *name;
        uint32_t pending;
        bool feature;
        int take; /* packets read and released at once */
        bool want;
    } rows[] = {
        {"nobody waits", 0, true, 10, false},
        {"not enough becomes enough", 1000, true, 5, true},
        {"becomes exactly what is wanted: not yet more", FREE + 88, true, 1, false},
        {"8 less than that", FREE + 80, true, 1, true},
        {"was just not enough", FREE, true, 1, true},
        {"was enough before", FREE - 8, true, 1, false},
        {"still not enough", 2000, true, 1, false},
        {"in one long step", 2000, true, 40, true},
        {"all but 8, drained", 4088, true, 40, true},
        {"all but 8, nearly drained", 4088, true, 39, false},
        {"all but one, as some guests ask", 4095, true, 40, true},
        {"more than there is", 4096, true, 40, true},
        {"all ones", UINT32_MAX, true, 40, true},
        {"less than 8", 7, true, 40, false},
        {"nothing released", 1000, true, 0, false},
        {"waits, but did not say that it would", 1000, false, 5, false},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_packet got = {0};
        struct ring_pair p;

        if (!ring_pair_create(&p, 4096))
            return;
        for (int k = 0; k < 40; k++)
            CU_ASSERT(!ring_pair_send(&p, 64));
        /* the mask is about new data, not about room */
        atomic_store(&p.area.control->interrupt_mask, 1);
        atomic_store(&p.area.control->pending_send_size, rows[i].pending);
        atomic_store(&p.area.control->feature_bits, rows[i].feature ? 1 : 0xfffffffe);
        for (int k = 0; k < rows[i].take; k++)
            CU_ASSERT(!hv_ring_rx_peek(&p.rx, &got));
        HV_CHECK_ROW(rows[i].name, hv_ring_rx_release(&p.rx) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, p.rx.stats.signals == rows[i].want);
        HV_CHECK_ROW(rows[i].name, p.rx.stats.signals_saved == (rows[i].take && !rows[i].want));
        HV_CHECK_ROW(rows[i].name,
                     atomic_load(&p.area.control->read_index) == (uint32_t)rows[i].take * 88);
        /* one signal per transition */
        if (rows[i].want && !hv_ring_rx_peek(&p.rx, &got))
            HV_CHECK_ROW(rows[i].name, !hv_ring_rx_release(&p.rx));
        ring_pair_destroy(&p);
    }
}

/** The index that decides about room is the peer's too: a bad one kills. */
static void test_ring_release_bad_index(void)
{
    struct hv_packet got = {0};
    struct ring_pair p;

    if (!ring_pair_create(&p, 4096))
        return;
    CU_ASSERT(!ring_pair_send(&p, 64) && !ring_pair_send(&p, 64));
    CU_ASSERT(!hv_ring_rx_peek(&p.rx, &got));
    atomic_store(&p.area.control->pending_send_size, 4088);
    atomic_store(&p.area.control->write_index, 4096);
    CU_ASSERT(!hv_ring_rx_release(&p.rx));
    CU_ASSERT(p.rx.fault == HV_RING_FAULT_INDEX_RANGE);
    CU_ASSERT(hv_ring_rx_peek(&p.rx, &got) == -EPROTO);
    ring_pair_destroy(&p);
}

static void test_ring_want_room(void)
{
    static const struct {
        const char *name;
        uint32_t bytes;
        bool want;
        uint32_t want_pending;
    } rows[] = {
        {"nothing", 0, true, 0},           {"room already", 88, true, 0},
        {"just room", 568, true, 0},       {"exactly what is free", 576, false, 576},
        {"not rounded", 569, false, 576},  {"more", 1000, false, 1000},
        {"largest", 4088, false, 4088},    {"larger than ever fits", 4089, false, 4088},
        {"whole ring", 4096, false, 4088}, {"all ones", UINT32_MAX, false, 4088},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct ring_pair p;

        if (!ring_pair_create(&p, 4096))
            return;
        for (int k = 0; k < 40; k++)
            CU_ASSERT(!ring_pair_send(&p, 64));
        HV_CHECK_ROW(rows[i].name, hv_ring_tx_want_room(&p.tx, rows[i].bytes) == rows[i].want);
        HV_CHECK_ROW(rows[i].name,
                     atomic_load(&p.area.control->pending_send_size) == rows[i].want_pending);
        if (!rows[i].want) {
            /* the reader's one signal comes, and no second one after the request is withdrawn */
            struct hv_packet got = {0};
            int signals = 0;

            while (!hv_ring_rx_peek(&p.rx, &got))
                signals += hv_ring_rx_release(&p.rx);
            HV_CHECK_ROW(rows[i].name, signals == 1);
            hv_ring_tx_clear_want(&p.tx);
            HV_CHECK_ROW(rows[i].name, atomic_load(&p.area.control->pending_send_size) == 0);
            HV_CHECK_ROW(rows[i].name, hv_ring_tx_want_room(&p.tx, rows[i].bytes));
        }
        ring_pair_destroy(&p);
    }
}

/** What is reserved and hidden looks free to the reader: the request must cover it, or no signal ever comes. */
static void test_ring_want_room_hidden(void)
{
    struct hv_packet_desc desc = {.trans_id = 1, .payload_bytes = 64, .type = HV_PACKET_INBAND};
    struct hv_packet_slot slot = {0};
    struct hv_packet got = {0};
    struct ring_pair p;
    int signals = 0;

    if (!ring_pair_create(&p, 4096))
        return;
    for (int k = 0; k < 20; k++)
        CU_ASSERT(!ring_pair_send(&p, 64));
    while (!hv_ring_tx_reserve(&p.tx, &desc, &slot))
        continue; /* 26 more, hidden, leave 48 bytes */
    CU_ASSERT(!hv_ring_tx_want_room(&p.tx, 88));
    CU_ASSERT(atomic_load(&p.area.control->pending_send_size) == 88 + 26 * 88);
    CU_ASSERT(!hv_ring_rx_peek(&p.rx, &got));
    signals += hv_ring_rx_release(&p.rx);
    CU_ASSERT(signals == 1 && hv_ring_tx_free(&p.tx) == 48 + 88);
    ring_pair_destroy(&p);
}

static void test_ring_want_room_dead(void)
{
    struct ring_pair p;

    if (!ring_pair_create(&p, 4096))
        return;
    for (int k = 0; k < 40; k++)
        CU_ASSERT(!ring_pair_send(&p, 64));
    atomic_store(&p.area.control->read_index, 3);
    CU_ASSERT(hv_ring_tx_want_room(&p.tx, 1000));
    CU_ASSERT(p.tx.fault == HV_RING_FAULT_INDEX_ALIGN);
    CU_ASSERT(atomic_load(&p.area.control->pending_send_size) == 0);
    ring_pair_destroy(&p);
}

static void test_ring_mask(void)
{
    struct hv_packet got = {0};
    struct ring_pair p;

    if (!ring_pair_create(&p, 4096))
        return;
    hv_ring_rx_mask(&p.rx);
    CU_ASSERT(atomic_load(&p.area.control->interrupt_mask) == 1);
    CU_ASSERT(!hv_ring_rx_ready(&p.rx));
    CU_ASSERT(!hv_ring_rx_unmask(&p.rx)); /* empty: sleep */
    CU_ASSERT(atomic_load(&p.area.control->interrupt_mask) == 0);

    hv_ring_rx_mask(&p.rx);
    CU_ASSERT(!ring_pair_send(&p, 8)); /* masked: no signal will come for this one */
    CU_ASSERT(p.tx.stats.signals == 0 && hv_ring_rx_ready(&p.rx));
    CU_ASSERT(hv_ring_rx_unmask(&p.rx)); /* so it must be seen now */

    CU_ASSERT(!hv_ring_rx_peek(&p.rx, &got));
    CU_ASSERT(!hv_ring_rx_ready(&p.rx));
    CU_ASSERT(hv_ring_rx_unmask(&p.rx)); /* unreleased: the producer would not signal */
    CU_ASSERT(!hv_ring_rx_release(&p.rx));
    CU_ASSERT(!hv_ring_rx_unmask(&p.rx));

    CU_ASSERT(!ring_pair_send(&p, 8) && !ring_pair_send(&p, 8));
    CU_ASSERT(p.tx.stats.signals == 1 && p.tx.stats.signals_saved == 2);
    CU_ASSERT(!hv_ring_rx_peek(&p.rx, &got) && hv_ring_rx_ready(&p.rx));
    (void)hv_ring_rx_release(&p.rx);
    CU_ASSERT(hv_ring_rx_unmask(&p.rx)); /* known, not peeked */
    atomic_store(&p.area.control->write_index, 5);
    CU_ASSERT(hv_ring_rx_unmask(&p.rx) && p.rx.fault == HV_RING_FAULT_INDEX_ALIGN);
    ring_pair_destroy(&p);
}

/** An empty ring that died and looks sound again is not slept on. */
static void test_ring_mask_dead(void)
{
    struct hv_packet got;
    struct ring_pair p;

    if (!ring_pair_create(&p, 4096))
        return;
    atomic_store(&p.area.control->write_index, 4096);
    CU_ASSERT(hv_ring_rx_peek(&p.rx, &got) == -EPROTO);
    atomic_store(&p.area.control->write_index, 0);
    CU_ASSERT(hv_ring_rx_unmask(&p.rx));
    CU_ASSERT(hv_ring_rx_ready(&p.rx));
    ring_pair_destroy(&p);
}

static void test_ring_init(void)
{
    static const struct {
        const char *name;
        uint32_t data_bytes, write, read;
        int want;
    } rows[] = {
        {"where it stands", 4096, 96, 88, 0},
        {"wrapped", 4096, 8, 4088, 0},
        {"largest index", 4096, 4088, 4088, 0},
        {"no data", 0, 0, 0, -EINVAL},
        {"half a page", 2048, 0, 0, -EINVAL},
        {"page and a half", 6144, 0, 0, -EINVAL},
        {"too large", 1u << 30, 0, 0, -EINVAL},
        {"write out of range", 4096, 4096, 0, -EPROTO},
        {"read out of range", 4096, 0, 4096, -EPROTO},
        {"write misaligned", 4096, 4, 0, -EPROTO},
        {"read misaligned", 4096, 0, 4, -EPROTO},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_ring_area area;
        struct hv_ring_tx tx = {.stats.packets = 3};
        struct hv_ring_rx rx = {.stats.signals = 4};
        struct ring_pair p;

        if (!ring_pair_create(&p, 4096))
            return;
        area = p.area;
        area.data_bytes = rows[i].data_bytes;
        memset(area.control, 0, sizeof(*area.control));
        atomic_store(&area.control->write_index, rows[i].write);
        atomic_store(&area.control->read_index, rows[i].read);
        atomic_store(&area.control->pending_send_size, 4088);
        atomic_store(&area.control->interrupt_mask, 1);
        HV_CHECK_ROW(rows[i].name, hv_ring_rx_init(&rx, &area) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, hv_ring_tx_init(&tx, &area) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, tx.stats.packets == 3 && rx.stats.signals == 4);
        HV_CHECK_ROW(rows[i].name, atomic_load(&area.control->interrupt_mask) == 1);
        HV_CHECK_ROW(rows[i].name,
                     atomic_load(&area.control->pending_send_size) == (rows[i].want ? 4088u : 0));
        HV_CHECK_ROW(rows[i].name,
                     atomic_load(&area.control->feature_bits) == (rows[i].want ? 0u : 1));
        if (rows[i].want)
            HV_CHECK_ROW(rows[i].name, !tx.area.data && !rx.area.data);
        else
            HV_CHECK_ROW(rows[i].name, tx.write == rows[i].write && rx.read == rows[i].read);
        ring_pair_destroy(&p);
    }
}

static void test_ring_reset(void)
{
    static const uint8_t zero[4020];
    struct ring_pair p;

    if (!ring_pair_create(&p, 4096))
        return;
    memset(p.area.control, 0xff, sizeof(*p.area.control));
    hv_ring_reset(&p.area);
    CU_ASSERT(!memcmp(p.area.control, zero, 64));
    CU_ASSERT(atomic_load(&p.area.control->feature_bits) == 1);
    CU_ASSERT(!memcmp(p.area.control->reserved2, zero, sizeof(zero)));
    CU_ASSERT(p.area.control->guest_to_host_interrupts == 0);
    ring_pair_destroy(&p);
}

static const struct hv_test_case cases[] = {
    {"publish signals", test_ring_publish_signals},
    {"release signals", test_ring_release_signals},
    {"release with a bad index", test_ring_release_bad_index},
    {"want room", test_ring_want_room},
    {"want room, hidden packets", test_ring_want_room_hidden},
    {"want room, dead", test_ring_want_room_dead},
    {"mask", test_ring_mask},
    {"mask, dead", test_ring_mask_dead},
    {"init", test_ring_init},
    {"reset", test_ring_reset},
};

int main(int argc, char **argv)
{
    return hv_test_main("ring_signal", cases, HV_TEST_COUNT(cases), argc, argv);
}
