/* SPDX-License-Identifier: BSD-3-Clause */
/* The page rule: the known cases by table, and everything else against a byte-by-byte model. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <suite.h>

#include "sgl_impl.h"

#define PAGE       4096u
#define DMA_PAGES  256u
#define POOL_PAGES 48u
#define PFN_MAX    40u
#define SEGMENTS   16u

struct memory {
    uint8_t *dma;     /* DMA_PAGES the host can reach */
    uint8_t *foreign; /* as many that it cannot */
    uint8_t *pool_base;
    struct hv_storvsc_pool pool;
    uint64_t pfns[PFN_MAX];
    struct hv_storvsc_sgl sgl;
};

/* Page numbers are addresses, shifted. */
static ssize_t resolve(const void *ctx, const void *va, size_t bytes, uint64_t *pfns, size_t max)
{
    const struct memory *m = ctx;
    const uint8_t *at = va;
    uintptr_t first = (uintptr_t)at / PAGE, last = ((uintptr_t)at + bytes - 1) / PAGE;

    if (at < m->dma || at >= m->dma + DMA_PAGES * PAGE ||
        bytes > (size_t)(m->dma + DMA_PAGES * PAGE - at))
        return -EFAULT;
    if (last - first + 1 > max)
        return -ENOBUFS;
    for (uintptr_t pfn = first; pfn <= last; pfn++)
        *pfns++ = pfn;
    return (ssize_t)(last - first + 1);
}

static void set_up(struct memory *m)
{
    uint64_t pfns[POOL_PAGES];

    memset(m, 0, sizeof(*m));
    m->dma = aligned_alloc(PAGE, DMA_PAGES * PAGE);
    m->foreign = aligned_alloc(PAGE, DMA_PAGES * PAGE);
    m->pool_base = aligned_alloc(PAGE, POOL_PAGES * PAGE);
    if (!m->dma || !m->foreign || !m->pool_base)
        abort();
    memset(m->pool_base, 0xdd, POOL_PAGES * PAGE); /* stale data of others */
    for (uint32_t i = 0; i < POOL_PAGES; i++)
        pfns[i] = (uintptr_t)m->pool_base / PAGE + i;
    if (hv_storvsc_pool_init(&m->pool, m->pool_base, pfns, POOL_PAGES))
        abort();
    m->sgl.pfns = m->pfns;
    m->sgl.pfn_max = PFN_MAX;
}

static void tear_down(struct memory *m)
{
    hv_storvsc_pool_fini(&m->pool);
    free(m->dma);
    free(m->foreign);
    free(m->pool_base);
}

static int build(struct memory *m, const struct iovec *iov, uint32_t count, uint32_t bytes,
                 bool device_writes)
{
    struct hv_storvsc_cursor from = {iov, count, 0};

    return hv_storvsc_sgl_build(&m->pool, resolve, m, &from, bytes, device_writes, &m->sgl);
}

static uint8_t *page_of(uint64_t pfn)
{
    return (uint8_t *)(uintptr_t)(pfn * PAGE);
}

static bool in_pool(const struct memory *m, uint64_t pfn)
{
    return page_of(pfn) >= m->pool_base && page_of(pfn) < m->pool_base + POOL_PAGES * PAGE;
}

/* ---- Known cases ---- */

static const struct {
    const char *name;
    struct {
        uint32_t page, offset, bytes; /* page: where in memory; same or next = neighbours */
    } segments[4];
    uint32_t count;
    uint32_t offset;   /* of the list */
    uint32_t bounced;  /* bytes */
    const char *pages; /* d = in place, b = bounced */
} known[] = {
    {"one segment", {{0, 512, 3584}}, 1, 512, 0, "d"},
    {"one, inside its page", {{0, 100, 200}}, 1, 100, 0, "d"},
    {"one, over pages", {{0, 4000, 8192}}, 1, 4000, 0, "ddd"},
    {"ends, whole, starts", {{0, 512, 3584}, {10, 0, 4096}, {20, 0, 512}}, 3, 512, 0, "ddd"},
    {"several whole pages between",
     {{0, 512, 3584}, {10, 0, 12288}, {20, 0, 512}},
     3,
     512,
     0,
     "ddddd"},
    {"all at 512: the first stays",
     {{0, 512, 3584}, {10, 512, 4096}, {20, 512, 3584}},
     3,
     512,
     7680,
     "dbb"},
    {"first ends inside its page", {{0, 0, 2048}, {10, 0, 4096}}, 2, 0, 6144, "bb"},
    {"short middle", {{0, 0, 4096}, {10, 0, 2048}, {20, 0, 4096}}, 3, 0, 6144, "dbb"},
    {"last starts late", {{0, 0, 4096}, {10, 1024, 512}}, 2, 0, 512, "db"},
    {"neighbours in a page", {{0, 1024, 1024}, {0, 2048, 2048}}, 2, 1024, 0, "d"},
    {"neighbours over pages", {{0, 1024, 3072}, {1, 0, 4096}, {2, 0, 100}}, 3, 1024, 0, "ddd"},
    {"odd start", {{0, 511, 513}}, 1, 0, 513, "b"},
    {"a good stretch after a bad one",
     {{0, 0, 100}, {10, 0, 3996}, {20, 0, 8192}},
     3,
     0,
     4096,
     "bdd"},
    {"only the last page of the first", {{0, 0, 12288 + 512}, {10, 512, 3584}}, 2, 0, 4096, "dddb"},
    {"empty segments do not count", {{0, 512, 3584}, {5, 77, 0}, {10, 0, 4096}}, 3, 512, 0, "dd"},
};

static void test_table(void)
{
    struct memory m;

    set_up(&m);
    for (size_t i = 0; i < HV_TEST_COUNT(known); i++) {
        struct iovec iov[4];
        uint32_t bytes = 0;

        for (uint32_t k = 0; k < known[i].count; k++) {
            iov[k].iov_base =
                m.dma + known[i].segments[k].page * PAGE + known[i].segments[k].offset;
            iov[k].iov_len = known[i].segments[k].bytes;
            bytes += known[i].segments[k].bytes;
        }
        HV_CHECK_ROW(known[i].name, build(&m, iov, known[i].count, bytes, false) == 0);
        HV_CHECK_ROW(known[i].name, m.sgl.offset == known[i].offset);
        HV_CHECK_ROW(known[i].name, m.sgl.bytes == bytes);
        HV_CHECK_ROW(known[i].name, m.sgl.pfn_count == (m.sgl.offset + bytes + PAGE - 1) / PAGE);
        HV_CHECK_ROW(known[i].name, m.sgl.bounced_bytes == known[i].bounced);
        HV_CHECK_ROW(known[i].name, strlen(known[i].pages) == m.sgl.pfn_count);
        for (uint32_t k = 0; k < m.sgl.pfn_count && known[i].pages[k]; k++)
            HV_CHECK_ROW(known[i].name, in_pool(&m, m.sgl.pfns[k]) == (known[i].pages[k] == 'b'));
        hv_storvsc_sgl_release(&m.pool, &m.sgl);
        HV_CHECK_ROW(known[i].name, m.pool.free_count == POOL_PAGES);
    }
    tear_down(&m);
}

/* ---- Model ---- */

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % limit;
}

static uint32_t random_segments(struct memory *m, uint64_t *state, struct iovec *iov,
                                uint32_t *ret_bytes)
{
    static const uint32_t sizes[] = {1,    2,    100,  512,  1024, 2048,
                                     3584, 4095, 4096, 4097, 8192, 12288};
    uint32_t count = 1 + random_below(state, SEGMENTS);
    uint32_t total = 0;
    uint8_t *at = NULL;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t bytes = sizes[random_below(state, HV_TEST_COUNT(sizes))];

        if (random_below(state, 12) == 0)
            bytes = 0;
        if (total + bytes > (PFN_MAX - 2) * PAGE)
            bytes = 0;
        /* A third follow their predecessor; each has a place of its own otherwise. */
        if (!at || random_below(state, 3)) {
            static const uint32_t offsets[] = {0, 0, 0, 512, 511, 2048, 4094};

            at = (random_below(state, 8) ? m->dma : m->foreign) + i * 16 * PAGE +
                 offsets[random_below(state, HV_TEST_COUNT(offsets))];
        }
        iov[i] = (struct iovec){at, bytes};
        at += bytes;
        if (at > m->dma + (i + 1) * 16 * PAGE && at < m->dma + DMA_PAGES * PAGE)
            at = NULL; /* would run into the next one's place */
        total += bytes;
    }
    *ret_bytes = total;
    return count;
}

/* Address of each byte of the list, in order. */
static void flatten(const struct iovec *iov, uint32_t count, uint8_t **map)
{
    for (uint32_t i = 0; i < count; i++)
        for (size_t k = 0; k < iov[i].iov_len; k++)
            *map++ = (uint8_t *)iov[i].iov_base + k;
}

/* Must this list page be bounced?  Byte by byte. */
static bool model_bounces(const struct memory *m, uint8_t *const *map, uint32_t first,
                          uint32_t last, uint32_t in_page)
{
    for (uint32_t k = first; k < last; k++)
        if (map[k] != map[first] + (k - first) || map[k] < m->dma ||
            map[k] >= m->dma + DMA_PAGES * PAGE)
            return true;
    return ((uintptr_t)map[first] & (PAGE - 1)) != in_page || (in_page & 1);
}

static bool any_foreign(const struct memory *m, uint8_t *const *map, uint32_t bytes)
{
    for (uint32_t k = 0; k < bytes; k++)
        if (map[k] < m->dma || map[k] >= m->dma + DMA_PAGES * PAGE)
            return true;
    return false;
}

static uint8_t *list_byte(const struct memory *m, uint32_t k)
{
    uint32_t at = m->sgl.offset + k;

    return page_of(m->sgl.pfns[at / PAGE]) + at % PAGE;
}

static void check_pages(struct memory *m, uint8_t *const *map, uint32_t bytes)
{
    bool exact = !any_foreign(m, map, bytes);
    uint32_t bounced = 0;

    CU_ASSERT_EQUAL(m->sgl.pfn_count, (m->sgl.offset + bytes + PAGE - 1) / PAGE);
    for (uint32_t p = 0; p < m->sgl.pfn_count; p++) {
        uint32_t first = p ? p * PAGE - m->sgl.offset : 0;
        uint32_t last = (p + 1) * PAGE - m->sgl.offset;
        uint32_t in_page = p ? 0 : m->sgl.offset;
        bool pool = in_pool(m, m->sgl.pfns[p]);

        if (last > bytes)
            last = bytes;
        if (model_bounces(m, map, first, last, in_page))
            CU_ASSERT(pool);
        /* A stretch that is partly foreign may be bounced as a whole; without any, nothing more than needed. */
        if (exact && !model_bounces(m, map, first, last, in_page))
            CU_ASSERT(!pool);
        bounced += pool ? last - first : 0;
    }
    CU_ASSERT_EQUAL(m->sgl.bounced_bytes, bounced);
}

/* Nothing stale in what the host sees of a bounce page. */
static void check_slack(const struct memory *m, uint32_t bytes)
{
    for (uint32_t p = 0; p < m->sgl.pfn_count; p++) {
        const uint8_t *page = page_of(m->sgl.pfns[p]);
        uint32_t from = p ? 0 : m->sgl.offset;
        uint32_t to = m->sgl.offset + bytes - p * PAGE;

        if (!in_pool(m, m->sgl.pfns[p]))
            continue;
        for (uint32_t k = 0; k < PAGE; k++)
            if (k < from || k >= to)
                CU_ASSERT(page[k] == 0);
    }
}

static void test_random(void)
{
    static uint8_t *map[PFN_MAX * PAGE];
    struct memory m;
    uint64_t state = 7;
    unsigned built = 0;

    set_up(&m);
    for (unsigned round = 0; round < 3000; round++) {
        struct iovec iov[SEGMENTS];
        bool device_writes = round & 1;
        uint32_t bytes, count = random_segments(&m, &state, iov, &bytes);
        unsigned wrong = 0;
        int rc;

        flatten(iov, count, map);
        for (uint32_t k = 0; k < bytes; k++)
            *map[k] = (uint8_t)(k * 31 + round);
        rc = build(&m, iov, count, bytes, device_writes);
        CU_ASSERT(bytes ? rc == 0 : rc == -EINVAL);
        if (rc)
            continue;
        built++;
        check_pages(&m, map, bytes);
        if (!device_writes) {
            check_slack(&m, bytes);
            for (uint32_t k = 0; k < bytes; k++)
                wrong += *list_byte(&m, k) != *map[k];
        } else {
            for (uint32_t k = 0; k < bytes; k++)
                if (in_pool(&m, m.sgl.pfns[(m.sgl.offset + k) / PAGE]))
                    wrong += *list_byte(&m, k) != 0;
            check_slack(&m, bytes);
            for (uint32_t k = 0; k < bytes; k++)
                *list_byte(&m, k) = (uint8_t)(k * 7 + round);
            hv_storvsc_sgl_copy_back(&m.sgl);
            for (uint32_t k = 0; k < bytes; k++)
                wrong += *map[k] != (uint8_t)(k * 7 + round);
        }
        CU_ASSERT_EQUAL(wrong, 0);
        memset(m.pool_base, 0xdd, POOL_PAGES * PAGE);
        hv_storvsc_sgl_release(&m.pool, &m.sgl);
        CU_ASSERT_EQUAL(m.pool.free_count, POOL_PAGES);
    }
    CU_ASSERT(built > 2500);
    tear_down(&m);
}

/* ---- Limits ---- */

static void test_limits(void)
{
    struct memory m;
    struct iovec iov = {NULL, 0};
    struct hv_storvsc_sgl other;
    uint64_t other_pfns[PFN_MAX];

    set_up(&m);
    /* Shorter vector than length; nothing at all. */
    iov = (struct iovec){m.dma, 4096};
    CU_ASSERT_EQUAL(build(&m, &iov, 1, 4097, false), -EINVAL);
    CU_ASSERT_EQUAL(build(&m, &iov, 1, 0, false), -EINVAL);
    CU_ASSERT_EQUAL(build(&m, &iov, 0, 1, false), -EINVAL);
    iov = (struct iovec){m.foreign, 4096};
    CU_ASSERT_EQUAL(build(&m, &iov, 1, 4097, false), -EINVAL);
    CU_ASSERT_EQUAL(m.pool.free_count, POOL_PAGES);
    /* More pages than the list holds, in place and bounced. */
    iov = (struct iovec){m.dma + 2, PFN_MAX * PAGE};
    CU_ASSERT_EQUAL(build(&m, &iov, 1, PFN_MAX * PAGE, false), -EMSGSIZE);
    iov = (struct iovec){m.foreign, (PFN_MAX + 1) * PAGE};
    CU_ASSERT_EQUAL(build(&m, &iov, 1, (PFN_MAX + 1) * PAGE, false), -EMSGSIZE);
    CU_ASSERT_EQUAL(m.pool.free_count, POOL_PAGES);
    /* The pool used up by another: later. */
    iov = (struct iovec){m.foreign, 30 * PAGE};
    CU_ASSERT_EQUAL(build(&m, &iov, 1, 30 * PAGE, true), 0);
    other = m.sgl;
    other.pieces = other.inline_pieces;
    m.sgl.pfns = other_pfns;
    CU_ASSERT_EQUAL(build(&m, &iov, 1, 30 * PAGE, true), -EAGAIN);
    CU_ASSERT_EQUAL(m.pool.free_count, POOL_PAGES - 30);
    hv_storvsc_sgl_release(&m.pool, &other);
    CU_ASSERT_EQUAL(build(&m, &iov, 1, 30 * PAGE, true), 0);
    hv_storvsc_sgl_release(&m.pool, &m.sgl);
    hv_storvsc_sgl_release(&m.pool, &m.sgl); /* empty: fine */
    CU_ASSERT_EQUAL(m.pool.free_count, POOL_PAGES);
    tear_down(&m);
}

static void test_cursor(void)
{
    char a[10], b[5];
    struct iovec iov[4] = {{a, 10}, {a, 0}, {b, 5}, {b, 0}};
    struct hv_storvsc_cursor c = {iov, 4, 0};

    hv_storvsc_cursor_advance(&c, 4);
    CU_ASSERT(c.iov == iov && c.offset == 4);
    hv_storvsc_cursor_advance(&c, 0);
    CU_ASSERT(c.iov == iov && c.offset == 4);
    hv_storvsc_cursor_advance(&c, 8);
    CU_ASSERT(c.iov == iov + 2 && c.offset == 2 && c.iov_count == 2);
    hv_storvsc_cursor_advance(&c, 3);
    CU_ASSERT(c.iov == iov + 3 && c.offset == 0);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"known cases", test_table},
        {"random lists against a model", test_random},
        {"limits", test_limits},
        {"cursor", test_cursor},
    };

    return hv_test_main("storvsc.sgl", cases, HV_TEST_COUNT(cases), argc, argv);
}
