/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets that name guest memory: what the host finds there, and what it refuses. */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <hv/vmbus.h>
#include <hv/wire/ring.h>

#include "suite.h"
#include "test_bus_guest.h"
#include "test_bus_rig.h"

#define PAGES 16

struct gpa_rig {
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channel;
    struct hv_dma *dma;
    uint8_t *memory;
    uint64_t pfn[PAGES];
};

static void gpa_start(struct gpa_rig *g)
{
    rig_start(&g->rig, &(struct rig_opts){0});
    g->bus = guest_open(&g->rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g->bus);
    CU_ASSERT_EQUAL_FATAL(hv_channel_open(g->bus, &g->rig.echo.instance, 0, NULL, &g->channel), 0);
    CU_ASSERT_EQUAL_FATAL(hv_dma_alloc(g->bus, PAGES * 4096, &g->dma), 0);
    g->memory = hv_dma_address(g->dma);
    CU_ASSERT_EQUAL(hv_dma_pfns(g->bus, g->memory, PAGES * 4096, g->pfn, PAGES), PAGES);
}

static void gpa_stop(struct gpa_rig *g)
{
    hv_channel_close(g->channel);
    hv_dma_free(g->dma);
    hv_vmbus_close(g->bus);
    rig_stop(&g->rig);
}

/** One packet with this extension; the host's answer. */
static struct echo_gpa_result ask_as(struct hv_channel *channel, uint64_t trans_id, const void *ext,
                                     uint32_t ext_bytes)
{
    struct hv_packet_desc desc = {
        .trans_id = trans_id, .type = HV_PACKET_GPA_DIRECT, .flags = 1, .ext_bytes = ext_bytes};
    struct echo_gpa_result result = {.pieces = -ETIMEDOUT};
    struct hv_packet_slot slot;
    struct hv_packet packet;
    int err = hv_channel_reserve(channel, &desc, &slot);

    if (!err) {
        memcpy(slot.ext, ext, ext_bytes);
        err = hv_channel_flush(channel);
    }
    while (!err && (err = hv_channel_peek(channel, &packet)) == -EAGAIN)
        err = guest_sleep(channel) ? 0 : -ETIMEDOUT;
    if (!err && packet.payload_bytes == sizeof(result))
        memcpy(&result, packet.payload, sizeof(result));
    hv_channel_release(channel);
    return result;
}

static struct echo_gpa_result ask(struct hv_channel *channel, const void *ext, uint32_t ext_bytes)
{
    return ask_as(channel, 1, ext, ext_bytes);
}

/** Extension of one range, or of something that only looks like it. */
struct extension {
    uint32_t reserved, range_count, byte_count, byte_offset;
    uint64_t pfn[PAGES];
};

static void test_map(void)
{
    static const struct {
        const char *name;
        uint32_t range_count, byte_count, byte_offset, pages;
        uint8_t order[PAGES]; /* of the pages of the memory */
        int64_t want;
    } rows[] = {
        {"one page", 1, 4096, 0, 1, {0}, 1},
        {"a byte", 1, 1, 4095, 1, {3}, 1},
        {"neighbours are one piece", 1, 4 * 4096, 0, 4, {2, 3, 4, 5}, 1},
        {"from the middle", 1, 2 * 4096, 100, 3, {2, 3, 4}, 1},
        {"scattered", 1, 3 * 4096, 0, 3, {2, 4, 6}, 3},
        {"backwards", 1, 3 * 4096, 0, 3, {6, 5, 4}, 3},
        {"as many as fit", 1, 8 * 4096, 0, 8, {0, 2, 4, 6, 8, 10, 12, 14}, 8},
        {"one too many", 1, 8 * 4096 + 1, 0, 9, {0, 2, 4, 6, 8, 10, 12, 14, 1}, -ENOBUFS},
        {"surplus page numbers", 1, 100, 0, 5, {1, 2, 3, 4, 5}, 1},
        {"no range", 0, 4096, 0, 1, {0}, -EINVAL},
        {"two ranges", 2, 4096, 0, 3, {0, 1, 2}, -EINVAL},
        {"no bytes", 1, 0, 0, 1, {0}, -EINVAL},
        {"offset beyond the page", 1, 1, 4096, 2, {0, 1}, -EINVAL},
        {"a page short", 1, 4097, 0, 1, {0}, -EINVAL},
        {"a page short by offset", 1, 4096, 1, 1, {0}, -EINVAL},
        {"no page", 1, 1, 0, 0, {0}, -EINVAL},
        {"4 GiB", 1, ~0u, 4095, 2, {0, 1}, -EINVAL},
    };
    struct gpa_rig g;

    gpa_start(&g);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct extension ext = {.reserved = 0xdeadbeefu,
                                .range_count = rows[i].range_count,
                                .byte_count = rows[i].byte_count,
                                .byte_offset = rows[i].byte_offset};
        struct echo_gpa_result result;
        uint64_t touched = 0;

        memset(g.memory, 0, PAGES * 4096);
        for (uint32_t page = 0; page < rows[i].pages; page++)
            ext.pfn[page] = g.pfn[rows[i].order[page]];
        result = ask(g.channel, &ext, 16 + 8 * rows[i].pages);
        HV_CHECK_ROW(rows[i].name, result.pieces == rows[i].want);
        for (uint32_t at = 0; at < PAGES * 4096; at++)
            touched += g.memory[at];
        if (rows[i].want < 0) {
            HV_CHECK_ROW(rows[i].name, touched == 0);
            continue;
        }
        HV_CHECK_ROW(rows[i].name, touched == rows[i].byte_count);
        HV_CHECK_ROW(rows[i].name, result.bytes == rows[i].byte_count);
        HV_CHECK_ROW(rows[i].name, result.sum == rows[i].byte_count);
        HV_CHECK_ROW(rows[i].name, g.memory[rows[i].order[0] * 4096 + rows[i].byte_offset] == 1);
    }
    gpa_stop(&g);
}

/* Several ranges, as words: the pages stand for themselves. */
#define RANGE(bytes, offset) ((uint64_t)(offset) << 32 | (bytes))
#define PAGE(n)              (0x8000000000000000u | (n)) /* replaced by the number of that page */
static const struct {
    const char *name;
    uint32_t range_count, words;
    uint64_t word[12];
    int64_t want;
    uint32_t bytes;
} range_lists[] = {
    {"one", 1, 2, {RANGE(100, 0), PAGE(1)}, 1, 100},
    {"two", 2, 4, {RANGE(60, 4036), PAGE(1), RANGE(4096, 0), PAGE(2)}, 2, 4156},
    {"two pieces of a page", 2, 4, {RANGE(60, 0), PAGE(1), RANGE(40, 60), PAGE(1)}, 2, 100},
    {"several pages each",
     2,
     6,
     {RANGE(8192, 0), PAGE(1), PAGE(2), RANGE(4097, 0), PAGE(5), PAGE(9)},
     3,
     12289},
    {"no range", 0, 2, {RANGE(100, 0), PAGE(1)}, -EINVAL, 0},
    {"more ranges than words", 3, 4, {RANGE(1, 0), PAGE(1), RANGE(1, 0), PAGE(1)}, -EINVAL, 0},
    {"a count beyond everything", ~0u, 2, {RANGE(1, 0), PAGE(1)}, -EINVAL, 0},
    {"second range cut",
     2,
     5,
     {RANGE(8192, 0), PAGE(1), PAGE(2), RANGE(4097, 0), PAGE(1)},
     -EINVAL,
     0},
    {"second range without pages",
     2,
     4,
     {RANGE(4097, 0), PAGE(1), PAGE(2), RANGE(1, 0)},
     -EINVAL,
     0},
    {"empty range", 2, 4, {RANGE(8, 0), PAGE(1), RANGE(0, 0), PAGE(2)}, -EINVAL, 0},
    {"offset beyond the page", 1, 3, {RANGE(8, 4096), PAGE(1), PAGE(2)}, -EINVAL, 0},
    {"not guest memory", 2, 4, {RANGE(8, 0), PAGE(1), RANGE(8, 0), 1}, -EFAULT, 0},
    {"as many pieces as fit",
     5,
     12,
     {RANGE(1, 0), PAGE(0), RANGE(1, 0), PAGE(2), RANGE(1, 0), PAGE(4), RANGE(1, 0), PAGE(6),
      RANGE(12288, 0), PAGE(8), PAGE(10), PAGE(12)},
     7,
     12292},
};
#undef RANGE
#undef PAGE

static void test_map_ranges(void)
{
    struct gpa_rig g;

    gpa_start(&g);
    for (size_t i = 0; i < HV_TEST_COUNT(range_lists); i++) {
        uint64_t ext[13] = {(uint64_t)range_lists[i].range_count << 32};
        struct echo_gpa_result result;

        for (uint32_t at = 0; at < range_lists[i].words; at++)
            ext[1 + at] = range_lists[i].word[at] >> 63 ? g.pfn[range_lists[i].word[at] & 15]
                                                        : range_lists[i].word[at];
        result = ask_as(g.channel, ECHO_RANGES, ext, 8 * (1 + range_lists[i].words));
        HV_CHECK_ROW(range_lists[i].name, result.pieces == range_lists[i].want);
        HV_CHECK_ROW(range_lists[i].name, result.bytes == range_lists[i].bytes);
        HV_CHECK_ROW(range_lists[i].name, result.sum == range_lists[i].bytes);
    }
    gpa_stop(&g);
}

static void test_short_extension(void)
{
    const uint64_t ext[1] = {1ull << 32};
    struct gpa_rig g;

    gpa_start(&g);
    CU_ASSERT_EQUAL(ask(g.channel, ext, sizeof(ext)).pieces, -EINVAL);
    gpa_stop(&g);
}

static void test_not_guest_memory(void)
{
    static const uint64_t strangers[] = {0, 1, 1ull << 39, 1ull << 40, 1ull << 52, ~0ull};
    struct extension ext = {.range_count = 1, .byte_count = 8192};
    struct hv_dma *other;
    struct gpa_rig g;

    gpa_start(&g);
    for (size_t i = 0; i < HV_TEST_COUNT(strangers); i++) {
        ext.pfn[0] = g.pfn[0];
        ext.pfn[1] = strangers[i];
        CU_ASSERT_EQUAL(ask(g.channel, &ext, 32).pieces, -EFAULT);
    }
    ext.pfn[1] = g.pfn[PAGES - 1] + 1; /* right behind the memory, unless something is there */
    CU_ASSERT_EQUAL(hv_dma_alloc(g.bus, 4096, &other), 0);
    CU_ASSERT_EQUAL(hv_dma_pfns(g.bus, hv_dma_address(other), 4096, &ext.pfn[1], 1), 1);
    CU_ASSERT_EQUAL(ask(g.channel, &ext, 32).bytes, 8192); /* two regions in one packet */
    hv_dma_free(other);
    CU_ASSERT_EQUAL(guest_wait_devices(g.bus, 1), true);
    /* the host has handled the removal when it has answered something that came later */
    CU_ASSERT_EQUAL(hv_dma_alloc(g.bus, 4096, &other), 0);
    CU_ASSERT_EQUAL(ask(g.channel, &ext, 32).pieces, -EFAULT);
    hv_dma_free(other);
    gpa_stop(&g);
}

/* ---- Memory comes and goes while packets name other memory ---- */

struct user {
    struct gpa_rig *g;
    atomic_bool stop;
    unsigned count;
    int err;
};

static void *use_memory(void *arg)
{
    struct user *user = arg;
    struct gpa_rig *g = user->g;
    struct extension ext = {.range_count = 1, .byte_count = PAGES * 4096};

    memcpy(ext.pfn, g->pfn, sizeof(ext.pfn));
    while (!atomic_load(&user->stop) && !user->err) {
        if (ask(g->channel, &ext, sizeof(ext)).bytes != PAGES * 4096)
            user->err = -EIO;
        user->count++;
    }
    return NULL;
}

static void test_memory_changes_under_traffic(void)
{
    struct gpa_rig g;
    struct user user = {.g = &g};
    struct hv_dma *dma[40];
    pthread_t thread;

    gpa_start(&g);
    memset(g.memory, 0, PAGES * 4096);
    CU_ASSERT_EQUAL(pthread_create(&thread, NULL, use_memory, &user), 0);
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < HV_TEST_COUNT(dma); i++)
            CU_ASSERT_EQUAL(hv_dma_alloc(g.bus, 4096 * (i + 1), &dma[i]), 0);
        for (size_t i = 0; i < HV_TEST_COUNT(dma); i++)
            hv_dma_free(dma[(i * 7) % HV_TEST_COUNT(dma)]);
        (void)hv_vmbus_poll(g.bus);
    }
    atomic_store(&user.stop, true);
    (void)pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(user.err, 0);
    CU_ASSERT(user.count > 0);
    CU_ASSERT_EQUAL(g.memory[0], (uint8_t)user.count);
    CU_ASSERT_EQUAL(g.memory[PAGES * 4096 - 1], (uint8_t)user.count);
    gpa_stop(&g);
}

static const struct hv_test_case cases[] = {
    {"map", test_map},
    {"map ranges", test_map_ranges},
    {"short extension", test_short_extension},
    {"not guest memory", test_not_guest_memory},
    {"memory changes under traffic", test_memory_changes_under_traffic},
};

int main(int argc, char **argv)
{
    return hv_test_main("pair.channel.gpa", cases, HV_TEST_COUNT(cases), argc, argv);
}
