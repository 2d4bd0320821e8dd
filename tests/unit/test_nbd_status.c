/* SPDX-License-Identifier: BSD-3-Clause */
/* base:allocation out of GET LBA STATUS parameter data (T10 SBC-3, 5.6), and the buffers of a reactor. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <buffer.h>
#include <nbd_status.h>

#include "nbd_rig.h"
#include "suite.h"

#define BLOCK 512u

struct extent {
    uint64_t blocks;
    uint64_t flags;
};

/** Rows: descriptors as (lba, blocks, status), the range asked for in blocks, and the extents wanted. */
static const struct {
    const char *name;
    struct {
        uint64_t lba;
        uint32_t blocks;
        uint8_t status;
    } list[5];
    uint64_t offset, length;
    bool one, no_zeroes;
    struct extent want[5];
} rows[] = {
    {"all mapped", {{0, 100, 0}}, 0, 100, false, false, {{100, 0}}},
    {"all deallocated", {{0, 100, 1}}, 0, 100, false, false, {{100, 3}}},
    {"deallocated, contents unknown", {{0, 100, 1}}, 0, 100, false, true, {{100, 1}}},
    {"anchored", {{0, 100, 2}}, 0, 100, false, false, {{100, 2}}},
    {"anchored, contents unknown", {{0, 100, 2}}, 0, 100, false, true, {{100, 0}}},
    {"in turn",
     {{0, 10, 0}, {10, 20, 1}, {30, 70, 0}},
     0,
     100,
     false,
     false,
     {{10, 0}, {20, 3}, {70, 0}}},
    {"neighbours alike are joined",
     {{0, 10, 1}, {10, 20, 1}, {30, 70, 0}},
     0,
     100,
     false,
     false,
     {{30, 3}, {70, 0}}},
    {"one only", {{0, 10, 0}, {10, 20, 1}}, 0, 30, true, false, {{10, 0}}},
    {"first begins before", {{0, 50, 1}, {50, 50, 0}}, 40, 20, false, false, {{10, 3}, {10, 0}}},
    {"last goes on behind", {{0, 1000, 1}}, 10, 20, false, false, {{20, 3}}},
    {"device says less", {{0, 10, 1}}, 0, 100, false, false, {{10, 3}}},
    {"empty list", {{0, 0, 0}}, 5, 10, false, false, {{10, 0}}},
    {"gap ends the list", {{0, 10, 1}, {20, 10, 1}}, 0, 30, false, false, {{10, 3}}},
    {"begins too late", {{50, 10, 1}}, 0, 30, false, false, {{30, 0}}},
    {"going back ends the list", {{0, 10, 1}, {0, 10, 0}}, 0, 30, false, false, {{10, 3}}},
    {"lba that overflows", {{UINT64_MAX, 10, 1}}, 0, 30, false, false, {{30, 0}}},
    {"unknown status is allocated", {{0, 10, 15}}, 0, 10, false, false, {{10, 0}}},
    {"reserved bits of the status", {{0, 10, 0xf1}}, 0, 10, false, false, {{10, 3}}},
};

static uint32_t build(size_t row, struct bytes *bytes)
{
    uint32_t count = 0;

    while (count < 5 && rows[row].list[count].blocks)
        count++;
    bytes->count = 0;
    put_u32(bytes, 4 + count * 16);
    put_u32(bytes, 0);
    for (uint32_t i = 0; i < count; i++) {
        put_u64(bytes, rows[row].list[i].lba);
        put_u32(bytes, rows[row].list[i].blocks);
        put_u32(bytes, (uint32_t)rows[row].list[i].status << 24);
    }
    return (uint32_t)bytes->count;
}

static void check_row(size_t i, bool extended)
{
    struct lun lun = {.block_bytes = BLOCK, .unmap_zeroes = !rows[i].no_zeroes};
    struct nbd_status_range range = {.offset = rows[i].offset * BLOCK,
                                     .length = rows[i].length * BLOCK,
                                     .one = rows[i].one,
                                     .extended = extended};
    static struct bytes bytes;
    uint32_t listed = build(i, &bytes), count = 99, step = extended ? 16 : 8, used, want = 0;
    uint8_t *data = malloc(listed < 16 ? 16 : listed); /* exact, so that a sanitizer sees more */

    memcpy(data, bytes.at, listed);
    used = nbd_status_convert(&lun, &range, data, listed, &count);
    while (want < 5 && rows[i].want[want].blocks)
        want++;
    HV_CHECK_ROW(rows[i].name, count == want && used == count * step);
    for (uint32_t k = 0; k < want && used == want * step; k++) {
        const uint8_t *at = data + k * step;
        uint64_t length = extended ? get_u64(at) : get_u32(at);
        uint64_t flags = extended ? get_u64(at + 8) : get_u32(at + 4);

        HV_CHECK_ROW(rows[i].name, length == rows[i].want[k].blocks * BLOCK);
        HV_CHECK_ROW(rows[i].name, flags == rows[i].want[k].flags);
    }
    free(data);
}

static void test_convert(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_row(i, false);
        check_row(i, true);
    }
}

/** Lengths that lie about what the device sent. */
static void test_lying_lengths(void)
{
    struct lun lun = {.block_bytes = BLOCK, .unmap_zeroes = true};
    struct nbd_status_range range = {.offset = 0, .length = 100 * BLOCK};
    static const uint32_t listed[] = {0, 3, 4, 11, 19, 20, 21, 4096, UINT32_MAX - 4, UINT32_MAX};

    for (size_t i = 0; i < sizeof(listed) / sizeof(listed[0]); i++)
        for (uint32_t sent = 0; sent <= 24; sent++) {
            static struct bytes bytes;
            uint8_t *data = calloc(1, sent < 16 ? 16 : sent);
            uint32_t count = 0;

            bytes.count = 0;
            put_u32(&bytes, listed[i]);
            put_u32(&bytes, 0);
            put_u64(&bytes, 0);
            put_u32(&bytes, 100);
            put_u32(&bytes, 1u << 24);
            memcpy(data, bytes.at, sent);
            CU_ASSERT(nbd_status_convert(&lun, &range, data, sent, &count) == 8 && count == 1);
            CU_ASSERT(get_u32(data) == 100 * BLOCK);
            CU_ASSERT(get_u32(data + 4) == (sent == 24 && listed[i] >= 20 ? 3 : 0));
            free(data);
        }
}

/** 32-bit extents of a range of almost 4 GiB, and 64-bit ones beyond. */
static void test_large(void)
{
    struct lun lun = {.block_bytes = 4096, .unmap_zeroes = true};
    struct nbd_status_range range = {.offset = 0, .length = 0xfffff000u};
    static struct bytes bytes;
    uint8_t data[24];
    uint32_t count;

    put_u32(&bytes, 20);
    put_u32(&bytes, 0);
    put_u64(&bytes, 0);
    put_u32(&bytes, UINT32_MAX);
    put_u32(&bytes, 1u << 24);
    memcpy(data, bytes.at, sizeof(data));
    CU_ASSERT(nbd_status_convert(&lun, &range, data, sizeof(data), &count) == 16 && count == 2);
    CU_ASSERT((uint64_t)get_u32(data) + get_u32(data + 8) == range.length);
    CU_ASSERT(get_u32(data) % 4096 == 0 && get_u32(data + 4) == 3 && get_u32(data + 12) == 3);
    range.extended = true;
    range.length = UINT64_C(1) << 45;
    memcpy(data, bytes.at, sizeof(data));
    CU_ASSERT(nbd_status_convert(&lun, &range, data, sizeof(data), &count) == 16 && count == 1);
    CU_ASSERT(get_u64(data) == (uint64_t)UINT32_MAX * 4096 && get_u64(data + 8) == 3);
}

/* ---- Buffers ---- */

static void *arena;
static struct buffer_pool pool;

static void begin_pool(unsigned mib)
{
    arena = aligned_alloc(4096, (size_t)mib << 20);
    CU_ASSERT(buffer_pool_init(&pool, arena, (size_t)mib << 20) == 0);
}

static void end_pool(void)
{
    CU_ASSERT(pool.used_bytes == 0);
    buffer_pool_fini(&pool);
    buffer_pool_fini(&pool); /* twice is fine */
    free(arena);
}

static void test_buffer_sizes(void)
{
    static const struct {
        uint32_t bytes, count, used;
    } sizes[] = {{1, 1, 4096},
                 {4096, 1, 4096},
                 {4097, 1, 8192},
                 {65536, 1, 65536},
                 {65537, 1, 131072},
                 {1u << 20, 1, 1u << 20},
                 {(1u << 20) + 1, 2, (1u << 20) + 4096},
                 {4u << 20, 4, 4u << 20}};
    struct buffer *b[BUFFER_PER_REQUEST];

    begin_pool(4);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        CU_ASSERT(buffer_take(&pool, sizes[i].bytes, b) == sizes[i].count);
        CU_ASSERT(pool.used_bytes == sizes[i].used);
        for (unsigned k = 0; k < sizes[i].count; k++)
            CU_ASSERT((uintptr_t)b[k]->data % 4096 == 0);
        memset(b[0]->data, 1, sizes[i].bytes < 1u << 20 ? sizes[i].bytes : 1u << 20);
        buffer_give(&pool, b, sizes[i].count);
    }
    CU_ASSERT(buffer_take(&pool, 5u << 20, b) == 0); /* never fits: nothing is taken */
    CU_ASSERT(buffer_take(&pool, (32u << 20) + 1, b) == 0);
    end_pool();
    CU_ASSERT(buffer_pool_init(&pool, (void *)4096, 4096) == -EINVAL);
    CU_ASSERT(buffer_pool_init(&pool, (void *)1, 1u << 20) == -EINVAL);
}

/** All or none, no two buffers overlap, and slabs change their size when they are free. */
static void test_buffer_exhaustion(void)
{
    struct buffer *small[512], *large[BUFFER_PER_REQUEST];

    begin_pool(2);
    for (unsigned i = 0; i < 512; i++) {
        CU_ASSERT(buffer_take(&pool, 4096, &small[i]) == 1);
        memset(small[i]->data, (int)(i % 251), 4096);
    }
    CU_ASSERT(buffer_take(&pool, 4096, large) == 0);
    for (unsigned i = 0; i < 512; i++)
        CU_ASSERT(small[i]->data[0] == i % 251 && small[i]->data[4095] == i % 251);
    for (unsigned i = 0; i < 511; i++)
        buffer_give(&pool, &small[i], 1);
    CU_ASSERT(buffer_take(&pool, 2u << 20, large) == 0); /* one buffer keeps its slab */
    CU_ASSERT(buffer_take(&pool, 1u << 20, large) == 1);
    buffer_give(&pool, large, 1);
    buffer_give(&pool, &small[511], 1);
    CU_ASSERT(buffer_take(&pool, 2u << 20, large) == 2);
    buffer_give(&pool, large, 2);
    end_pool();
}

static void test_buffer_order(void)
{
    struct buffer *a, *b, *c;

    begin_pool(1);
    CU_ASSERT(buffer_take(&pool, 4096, &a) == 1);
    buffer_give(&pool, &a, 1);
    CU_ASSERT(buffer_take(&pool, 4096, &b) == 1 && b != a); /* first in first out */
    pool.warm = true;
    buffer_give(&pool, &b, 1);
    CU_ASSERT(buffer_take(&pool, 4096, &c) == 1 && c == b);
    buffer_give(&pool, &c, 1);
    end_pool();
}

static const struct hv_test_case cases[] = {
    {"extents", test_convert},
    {"lengths that lie", test_lying_lengths},
    {"large ranges", test_large},
    {"buffer sizes", test_buffer_sizes},
    {"buffers run out", test_buffer_exhaustion},
    {"order of reuse", test_buffer_order},
};

int main(int argc, char **argv)
{
    return hv_test_main("nbd status", cases, HV_TEST_COUNT(cases), argc, argv);
}
