/* SPDX-License-Identifier: BSD-3-Clause */
/* The data path of lib/ring: what fits, how it lies in memory, what kills an end. */
#include <stdlib.h>
#include <string.h>

#include <hv/ring.h>

#include "ring_pair.h"
#include "suite.h"

static const struct hv_packet_desc inband = {.trans_id = 1, .type = HV_PACKET_INBAND};

enum { SMALL = 4096, LARGE = 1 << 20 };

static const struct {
    const char *name;
    uint32_t data_bytes, ext_bytes, payload_bytes;
    int want;
} sizes[] = {
    {"empty packet", SMALL, 0, 0, 0},
    {"one byte", SMALL, 0, 1, 0},
    {"seven bytes", SMALL, 0, 7, 0},
    {"eight bytes", SMALL, 0, 8, 0},
    {"largest", SMALL, 0, SMALL - 8 - 24, 0},
    {"largest, not padded", SMALL, 0, SMALL - 8 - 24 - 7, 0},
    {"one too many", SMALL, 0, SMALL - 8 - 24 + 1, -EMSGSIZE},
    {"whole ring", SMALL, 0, SMALL - 24, -EMSGSIZE},
    {"payload wraps u32", SMALL, 0, UINT32_MAX, -EMSGSIZE},
    {"payload wraps with padding", SMALL, 0, UINT32_MAX - 7, -EMSGSIZE},
    {"extension", SMALL, 8, 8, 0},
    {"largest extension", SMALL, SMALL - 8 - 24, 0, 0},
    {"extension too long", SMALL, SMALL - 24, 0, -EMSGSIZE},
    {"extension wraps u32", SMALL, UINT32_MAX - 7, 64, -EMSGSIZE},
    {"extension of 4", SMALL, 4, 8, -EINVAL},
    {"extension of 1", SMALL, 1, 8, -EINVAL},
    {"largest that length8 can say", LARGE, 0, 65535 * 8 - 16, 0},
    {"one more than length8 can say", LARGE, 0, 65535 * 8 - 16 + 1, -EMSGSIZE},
};

static void test_ring_sizes(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(sizes); i++) {
        struct ring_pair p;
        struct hv_packet_desc desc = inband;
        struct hv_packet_slot slot = {&p, &desc};
        struct hv_packet got = {0};
        int err;

        if (!ring_pair_create(&p, sizes[i].data_bytes))
            return;
        desc.ext_bytes = sizes[i].ext_bytes;
        desc.payload_bytes = sizes[i].payload_bytes;
        err = hv_ring_tx_reserve(&p.tx, &desc, &slot);
        HV_CHECK_ROW(sizes[i].name, err == sizes[i].want);
        if (sizes[i].want) {
            HV_CHECK_ROW(sizes[i].name, slot.ext == &p && slot.payload == &desc);
            HV_CHECK_ROW(sizes[i].name, hv_ring_tx_free(&p.tx) == sizes[i].data_bytes);
            HV_CHECK_ROW(sizes[i].name, p.tx.stats.packets == 0 && p.tx.stats.full == 0);
            HV_CHECK_ROW(sizes[i].name, !hv_ring_tx_publish(&p.tx));
        } else {
            HV_CHECK_ROW(sizes[i].name, hv_ring_tx_publish(&p.tx));
            HV_CHECK_ROW(sizes[i].name, !hv_ring_rx_peek(&p.rx, &got));
            HV_CHECK_ROW(sizes[i].name, got.ext_bytes == sizes[i].ext_bytes);
            HV_CHECK_ROW(sizes[i].name, got.payload_bytes == ((sizes[i].payload_bytes + 7) & ~7u));
            HV_CHECK_ROW(sizes[i].name,
                         got.payload == (const uint8_t *)got.ext + sizes[i].ext_bytes);
            HV_CHECK_ROW(sizes[i].name,
                         p.tx.stats.bytes ==
                             hv_ring_packet_bytes(sizes[i].ext_bytes, sizes[i].payload_bytes));
        }
        HV_CHECK_ROW(sizes[i].name,
                     hv_ring_tx_max_bytes(&p.tx) ==
                         (sizes[i].data_bytes == SMALL ? SMALL - 32 : 65535 * 8 - 16));
        ring_pair_destroy(&p);
    }
}

static void test_ring_packet_bytes(void)
{
    static const uint8_t want[] = {
        0x0b, 0,   3,   0,   5,    0,   1,   0,   8,   7, 6, 5, 4, 3, 2, 1, /* descriptor */
        'e',  'x', 't', 'e', 'n',  's', 'i', 'o',                           /* extension */
        'p',  'a', 'y', 'l', 'o',  'a', 'd', '9', '!', 0, 0, 0, 0, 0, 0, 0, /* padded */
        0,    0,   0,   0,   0x18, 0,   0,   0, /* trailer: where the packet starts */
    };
    const struct hv_packet_desc desc = {.trans_id = 0x0102030405060708,
                                        .ext_bytes = 8,
                                        .payload_bytes = 9,
                                        .type = HV_PACKET_COMPLETION,
                                        .flags = 1};
    struct hv_packet_slot slot = {0};
    struct ring_pair p;

    if (!ring_pair_create(&p, 4096))
        return;
    memset(p.area.data, 0xee, 4096);
    CU_ASSERT(!ring_pair_send(&p, 0)); /* 24 bytes, so that the next starts at 0x18 */
    CU_ASSERT(!hv_ring_tx_reserve(&p.tx, &desc, &slot));
    memcpy(slot.ext, "extensio", 8);
    memcpy(slot.payload, "payload9!", 9);
    CU_ASSERT(atomic_load(&p.area.control->write_index) == 0x18);
    (void)hv_ring_tx_publish(&p.tx);
    CU_ASSERT(!memcmp(p.area.data + 0x18, want, sizeof(want)));
    CU_ASSERT(atomic_load(&p.area.control->write_index) == 0x18 + sizeof(want));
    ring_pair_destroy(&p);
}

/** A packet fits when it needs less than what is free, never when it needs all of it. */
static void test_ring_full(void)
{
    for (uint32_t first = 0; first <= 4064; first += 8) {
        struct hv_packet_desc desc = inband;
        struct hv_packet_slot slot = {&slot, &desc};
        struct ring_pair p;
        uint32_t left;

        if (!ring_pair_create(&p, 4096))
            return;
        CU_ASSERT(!ring_pair_send(&p, first));
        left = 4096 - hv_ring_packet_bytes(0, first);
        CU_ASSERT(hv_ring_tx_free(&p.tx) == left);
        if (left >= 24) {
            desc.payload_bytes = left - 24;
            CU_ASSERT(hv_ring_tx_reserve(&p.tx, &desc, &slot) == -EAGAIN);
            CU_ASSERT(slot.ext == &slot && slot.payload == &desc);
            CU_ASSERT(p.tx.stats.full == 1);
        }
        if (left >= 32) {
            desc.payload_bytes = left - 32;
            CU_ASSERT(!hv_ring_tx_reserve(&p.tx, &desc, &slot));
            CU_ASSERT(hv_ring_tx_free(&p.tx) == 8);
        }
        (void)hv_ring_tx_publish(&p.tx);
        CU_ASSERT(ring_pair_send(&p, 0) == -EAGAIN || left < 32);
        /* all comes back at once */
        CU_ASSERT(ring_pair_drain(&p) == (left >= 32 ? 2 : 1));
        CU_ASSERT(hv_ring_tx_free(&p.tx) == 4096);
        ring_pair_destroy(&p);
    }
}

/** Every start position, lengths around the edges: contents survive the wrap, in place and in one piece. */
static void test_ring_wrap(void)
{
    static const uint32_t lengths[] = {0, 1, 8, 64, 1500, 4000, 4064};
    struct ring_pair p;

    if (!ring_pair_create(&p, 4096))
        return;
    for (uint32_t round = 0; round < 4096 / 8 * 3; round++) {
        uint32_t bytes = lengths[round % HV_TEST_COUNT(lengths)];
        uint32_t start = p.tx.write, trailer[2];
        struct hv_packet got = {0};

        CU_ASSERT(!ring_pair_send(&p, bytes));
        if (hv_ring_rx_peek(&p.rx, &got)) {
            CU_FAIL("nothing there");
            break;
        }
        CU_ASSERT(got.payload == p.area.data + start + 16);
        CU_ASSERT(ring_pair_payload_ok(&got, bytes, p.sent - 1));
        memcpy(trailer, (const uint8_t *)got.payload + got.payload_bytes, 8);
        CU_ASSERT(trailer[0] == 0 && trailer[1] == start);
        (void)hv_ring_rx_release(&p.rx);
        CU_ASSERT(p.tx.write < 4096 && atomic_load(&p.area.control->read_index) == p.tx.write);
    }
    CU_ASSERT(p.rx.stats.packets == p.tx.stats.packets && p.rx.stats.bytes == p.tx.stats.bytes);
    ring_pair_destroy(&p);
}

/** What was peeked is not overwritten before it is released. */
static void test_ring_peeked_stays(void)
{
    struct hv_packet first = {0}, second = {0};
    struct ring_pair p;

    if (!ring_pair_create(&p, 4096))
        return;
    CU_ASSERT(!ring_pair_send(&p, 2000));
    CU_ASSERT(!ring_pair_send(&p, 1900));
    CU_ASSERT(!hv_ring_rx_peek(&p.rx, &first));
    CU_ASSERT(!hv_ring_rx_peek(&p.rx, &second));
    CU_ASSERT(hv_ring_rx_peek(&p.rx, &second) == -EAGAIN);
    CU_ASSERT(atomic_load(&p.area.control->read_index) == 0);
    CU_ASSERT(ring_pair_send(&p, 200) == -EAGAIN);
    CU_ASSERT(ring_pair_payload_ok(&first, 2000, 0));
    CU_ASSERT(ring_pair_payload_ok(&second, 1900, 1));
    CU_ASSERT(!hv_ring_rx_release(&p.rx));
    CU_ASSERT(!hv_ring_rx_release(&p.rx));
    CU_ASSERT(p.rx.stats.signals_saved == 1);
    CU_ASSERT(!ring_pair_send(&p, 200));
    ring_pair_destroy(&p);
}

/** A descriptor that changes after the look changes nothing. */
static void test_ring_descriptor_is_copied(void)
{
    struct hv_packet got = {0};
    struct ring_pair p;

    if (!ring_pair_create(&p, 4096))
        return;
    CU_ASSERT(!ring_pair_send(&p, 40));
    CU_ASSERT(!ring_pair_send(&p, 8));
    CU_ASSERT(!hv_ring_rx_peek(&p.rx, &got));
    memset(p.area.data, 0xff, 16);
    CU_ASSERT(got.payload_bytes == 40 && got.type == HV_PACKET_INBAND && got.trans_id == 1);
    CU_ASSERT(!hv_ring_rx_peek(&p.rx, &got) && got.payload_bytes == 8 && got.trans_id == 2);
    ring_pair_destroy(&p);
}

static void test_ring_bad_write_index(void)
{
    static const struct {
        const char *name;
        uint32_t index;
        enum hv_ring_fault want;
    } rows[] = {
        {"end of the data", 4096, HV_RING_FAULT_INDEX_RANGE},
        {"behind the end", 4104, HV_RING_FAULT_INDEX_RANGE},
        {"all ones", UINT32_MAX, HV_RING_FAULT_INDEX_RANGE},
        {"aligned to 4", 92, HV_RING_FAULT_INDEX_ALIGN},
        {"odd", 89, HV_RING_FAULT_INDEX_ALIGN},
        {"last byte", 4095, HV_RING_FAULT_INDEX_ALIGN},
        {"back to the start", 0, HV_RING_FAULT_INDEX_MOVED},
        {"back by 8", 80, HV_RING_FAULT_INDEX_MOVED},
        {"too little for a descriptor", 96, HV_RING_FAULT_LENGTH},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_packet got = {.trans_id = 77}, was = got;
        struct ring_pair p;

        if (!ring_pair_create(&p, 4096))
            return;
        memset(p.area.data, 0, 4096);
        CU_ASSERT(!ring_pair_send(&p, 64)); /* to 88, known and not released */
        CU_ASSERT(!hv_ring_rx_peek(&p.rx, &got));
        ring_pair_raw(&p, 88, HV_PACKET_INBAND, 2, 2, 0);
        got = was;
        atomic_store(&p.area.control->write_index, rows[i].index);
        HV_CHECK_ROW(rows[i].name, hv_ring_rx_peek(&p.rx, &got) == -EPROTO);
        HV_CHECK_ROW(rows[i].name, p.rx.fault == rows[i].want);
        HV_CHECK_ROW(rows[i].name, !memcmp(&got, &was, sizeof(got)));
        ring_pair_check_rx_dead(&p, rows[i].name);
        ring_pair_destroy(&p);
    }
}

static const struct {
    const char *name;
    uint16_t type, offset8, length8, flags;
    enum hv_ring_fault want;
} descriptors[] = {
    {"in-band", 0x6, 2, 10, 0, 0},
    {"in-band, completion wanted", 0x6, 2, 10, 1, 0},
    {"completion", 0xb, 2, 10, 0, 0},
    {"bare descriptor", 0x6, 2, 2, 0, 0},
    {"no payload", 0x9, 10, 10, 0, 0},
    {"transfer pages", 0x7, 3, 10, 1, 0},
    {"type 0", 0x0, 2, 10, 0, HV_RING_FAULT_TYPE},
    {"type 1", 0x1, 2, 10, 0, HV_RING_FAULT_TYPE},
    {"type 5", 0x5, 2, 10, 0, HV_RING_FAULT_TYPE},
    {"type 8", 0x8, 2, 10, 0, HV_RING_FAULT_TYPE},
    {"type 10", 0xa, 2, 10, 0, HV_RING_FAULT_TYPE},
    {"type 12", 0xc, 2, 10, 0, HV_RING_FAULT_TYPE},
    {"type 32 + 6", 0x26, 2, 10, 0, HV_RING_FAULT_TYPE},
    {"type 256 + 6", 0x106, 2, 10, 0, HV_RING_FAULT_TYPE},
    {"type ffff", 0xffff, 2, 10, 0, HV_RING_FAULT_TYPE},
    {"flag 2", 0x6, 2, 10, 2, HV_RING_FAULT_FLAGS},
    {"flags 3", 0x6, 2, 10, 3, HV_RING_FAULT_FLAGS},
    {"flag 8000", 0x6, 2, 10, 0x8000, HV_RING_FAULT_FLAGS},
    {"offset 0", 0x6, 0, 10, 0, HV_RING_FAULT_OFFSET},
    {"offset 1", 0x6, 1, 10, 0, HV_RING_FAULT_OFFSET},
    {"offset behind the packet", 0x6, 11, 10, 0, HV_RING_FAULT_OFFSET},
    {"offset ffff", 0x6, 0xffff, 10, 0, HV_RING_FAULT_OFFSET},
    {"length 0", 0x6, 2, 0, 0, HV_RING_FAULT_OFFSET},
    {"length 1", 0x6, 2, 1, 0, HV_RING_FAULT_OFFSET},
    {"GPA-direct without its header", 0x9, 2, 10, 0, HV_RING_FAULT_OFFSET},
    {"transfer pages without their header", 0x7, 2, 10, 0, HV_RING_FAULT_OFFSET},
    {"no room for the trailer", 0x6, 2, 11, 0, HV_RING_FAULT_LENGTH},
    {"beyond what was published", 0x6, 2, 12, 0, HV_RING_FAULT_LENGTH},
    {"larger than the ring", 0x6, 2, 600, 0, HV_RING_FAULT_LENGTH},
    {"length ffff", 0x6, 2, 0xffff, 0, HV_RING_FAULT_LENGTH},
    {"all ff", 0xffff, 0xffff, 0xffff, 0xffff, HV_RING_FAULT_TYPE},
};

static void test_ring_bad_descriptor(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(descriptors); i++) {
        struct hv_packet got = {.trans_id = 77}, was = got;
        struct ring_pair p;
        int err;

        if (!ring_pair_create(&p, 4096))
            return;
        memset(p.area.data, 0, 4096);
        ring_pair_raw(&p, 0, descriptors[i].type, descriptors[i].offset8, descriptors[i].length8,
                      descriptors[i].flags);
        atomic_store(&p.area.control->write_index, 10 * 8 + 8);
        err = hv_ring_rx_peek(&p.rx, &got);
        HV_CHECK_ROW(descriptors[i].name, p.rx.fault == descriptors[i].want);
        if (descriptors[i].want) {
            HV_CHECK_ROW(descriptors[i].name, err == -EPROTO && !memcmp(&got, &was, sizeof(got)));
            ring_pair_check_rx_dead(&p, descriptors[i].name);
        } else {
            HV_CHECK_ROW(descriptors[i].name, !err && got.flags == descriptors[i].flags);
            HV_CHECK_ROW(descriptors[i].name,
                         got.type == descriptors[i].type && got.trans_id == 0x1122334455);
            HV_CHECK_ROW(descriptors[i].name, got.ext_bytes == descriptors[i].offset8 * 8u - 16);
            HV_CHECK_ROW(descriptors[i].name,
                         got.payload_bytes ==
                             (descriptors[i].length8 - descriptors[i].offset8) * 8u);
        }
        ring_pair_destroy(&p);
    }
}

static void test_ring_bad_read_index(void)
{
    static const struct {
        const char *name;
        uint32_t index;
        enum hv_ring_fault want;
    } rows[] = {
        {"nothing read", 88, 0},
        {"one read", 176, 0},
        {"all read", 264, 0},
        {"end of the data", 4096, HV_RING_FAULT_INDEX_RANGE},
        {"all ones", UINT32_MAX, HV_RING_FAULT_INDEX_RANGE},
        {"odd", 177, HV_RING_FAULT_INDEX_ALIGN},
        {"aligned to 4", 172, HV_RING_FAULT_INDEX_ALIGN},
        {"back by 8", 80, HV_RING_FAULT_INDEX_MOVED},
        {"back to the start", 0, HV_RING_FAULT_INDEX_MOVED},
        {"read what was only reserved", 352, HV_RING_FAULT_INDEX_MOVED},
        {"read what was never written", 400, HV_RING_FAULT_INDEX_MOVED},
        {"last position", 4088, HV_RING_FAULT_INDEX_MOVED},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_packet_desc desc = inband;
        struct hv_packet_slot slot = {&slot, &desc};
        struct ring_pair p;

        if (!ring_pair_create(&p, 4096))
            return;
        CU_ASSERT(!ring_pair_send(&p, 64) && ring_pair_drain(&p) == 1);
        CU_ASSERT(hv_ring_tx_free(&p.tx) == 4096); /* 88 is known */
        CU_ASSERT(!ring_pair_send(&p, 64) && !ring_pair_send(&p, 64));
        desc.payload_bytes = 64;
        CU_ASSERT(!hv_ring_tx_reserve(&p.tx, &desc, &slot)); /* to 352, not published */
        slot = (struct hv_packet_slot){&slot, &desc};
        atomic_store(&p.area.control->read_index, rows[i].index);
        desc.payload_bytes = 4000; /* too much for the private copy: look at the peer's */
        HV_CHECK_ROW(rows[i].name,
                     hv_ring_tx_reserve(&p.tx, &desc, &slot) == (rows[i].want ? -EPROTO : -EAGAIN));
        HV_CHECK_ROW(rows[i].name, p.tx.fault == rows[i].want);
        HV_CHECK_ROW(rows[i].name, slot.ext == &slot && slot.payload == &desc);
        if (rows[i].want) {
            atomic_store(&p.area.control->read_index, 88); /* repaired: too late */
            desc.payload_bytes = 0;
            HV_CHECK_ROW(rows[i].name, hv_ring_tx_reserve(&p.tx, &desc, &slot) == -EPROTO);
            HV_CHECK_ROW(rows[i].name, !hv_ring_tx_publish(&p.tx));
            HV_CHECK_ROW(rows[i].name, atomic_load(&p.area.control->write_index) == 264);
            HV_CHECK_ROW(rows[i].name, hv_ring_tx_free(&p.tx) == 0);
            HV_CHECK_ROW(rows[i].name, hv_ring_tx_want_room(&p.tx, 4088));
            desc.payload_bytes = 5000;
            HV_CHECK_ROW(rows[i].name, hv_ring_tx_reserve(&p.tx, &desc, &slot) == -EPROTO);
        }
        ring_pair_destroy(&p);
    }
}

static void test_ring_fault_texts(void)
{
    for (int a = HV_RING_FAULT_NONE; a <= HV_RING_FAULT_LENGTH; a++)
        for (int b = a + 1; b <= HV_RING_FAULT_LENGTH + 1; b++)
            CU_ASSERT(strcmp(hv_ring_fault_text((enum hv_ring_fault)a),
                             hv_ring_fault_text((enum hv_ring_fault)b)));
}

static const struct hv_test_case cases[] = {
    {"sizes", test_ring_sizes},
    {"packet bytes", test_ring_packet_bytes},
    {"full", test_ring_full},
    {"wrap", test_ring_wrap},
    {"peeked stays", test_ring_peeked_stays},
    {"descriptor is copied", test_ring_descriptor_is_copied},
    {"bad write index", test_ring_bad_write_index},
    {"bad descriptor", test_ring_bad_descriptor},
    {"bad read index", test_ring_bad_read_index},
    {"fault texts", test_ring_fault_texts},
};

int main(int argc, char **argv)
{
    return hv_test_main("ring", cases, HV_TEST_COUNT(cases), argc, argv);
}
