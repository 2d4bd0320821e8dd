/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA memory: what the host is given, and the way from addresses to page numbers. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "suite.h"
#include "vmbus_peer.h"

#define PAGE ((size_t)4096)

static void begin(struct peer *peer)
{
    peer_init(peer);
    peer_open_device(peer, -1);
}

static void test_alloc(void)
{
    struct hv_dma *dma = NULL;
    struct peer peer;
    uint8_t byte = 0;
    uint64_t pfn;
    uint8_t *va;
    int fd;

    begin(&peer);
    peer_memory_result(&peer, PEER_FIRST_PFN, 0);
    CU_ASSERT_EQUAL(hv_dma_alloc(peer.bus, 5000, &dma), 0);
    CU_ASSERT_EQUAL(hv_dma_bytes(dma), 2 * PAGE);
    va = hv_dma_address(dma);
    CU_ASSERT_EQUAL((uintptr_t)va % PAGE, 0);
    CU_ASSERT_EQUAL(va[0] | va[2 * PAGE - 1], 0);
    CU_ASSERT_EQUAL(peer_expect_memory(&peer, PEER_FIRST_PFN, 2, &fd), 0);
    CU_ASSERT_EQUAL(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    va[PAGE + 1] = 42; /* the host sees it at the page that the number names */
    CU_ASSERT_EQUAL(hv_dma_pfns(peer.bus, va + PAGE + 1, 1, &pfn, 1), 1);
    CU_ASSERT_EQUAL(pfn, PEER_FIRST_PFN + 1);
    CU_ASSERT_EQUAL(pread(fd, &byte, 1, (off_t)((pfn - PEER_FIRST_PFN) * PAGE + 1)), 1);
    CU_ASSERT_EQUAL(byte, 42);
    close(fd);
    hv_dma_free(dma);
    CU_ASSERT_EQUAL(peer_expect_remove(&peer, PEER_FIRST_PFN, 2), 0);
    CU_ASSERT_EQUAL(hv_dma_pfns(peer.bus, va, 1, &pfn, 1), -EFAULT);
    CU_ASSERT_EQUAL(hv_dma_alloc(peer.bus, 0, &dma), -EINVAL);
    hv_dma_free(NULL);
    peer_fini(&peer);
}

static void test_huge(void)
{
    struct hv_dma *dma = NULL;
    struct peer peer;
    uint64_t pfns[512];
    int fd;

    begin(&peer);
    peer_memory_result(&peer, 0x1200, 0); /* the next number that is a multiple of 512 */
    CU_ASSERT_EQUAL(hv_dma_alloc(peer.bus, (2u << 20) + 1, &dma), 0);
    CU_ASSERT_EQUAL(hv_dma_bytes(dma), 4u << 20);
    CU_ASSERT_EQUAL((uintptr_t)hv_dma_address(dma) % (2u << 20), 0);
    CU_ASSERT_EQUAL(peer_expect_memory(&peer, 0x1200, 1024, &fd), 0);
    close(fd);
    CU_ASSERT_EQUAL(
        hv_dma_pfns(peer.bus, (uint8_t *)hv_dma_address(dma) + (2u << 20), 2u << 20, pfns, 512),
        512);
    CU_ASSERT(pfns[0] == 0x1400 && pfns[511] == 0x15ff);
    peer_fini(&peer);
}

static void test_lookup(void)
{
    struct hv_dma *dma[3] = {NULL};
    uint64_t pfns[8] = {0};
    struct peer peer;
    uint8_t *va;

    begin(&peer);
    CU_ASSERT_EQUAL(hv_dma_pfns(peer.bus, &peer, 1, pfns, 8), -EFAULT); /* none yet */
    for (uint32_t i = 0; i < 3; i++) {
        peer_memory_result(&peer, PEER_FIRST_PFN + 4 * i, 0);
        CU_ASSERT_EQUAL(hv_dma_alloc(peer.bus, 4 * PAGE, &dma[i]), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        const struct {
            size_t offset, bytes, max;
            ssize_t want;
            uint64_t first;
        } rows[] = {
            {0, 1, 8, 1, 0},
            {0, 0, 8, 0, 0},
            {PAGE - 1, 1, 8, 1, 0},
            {PAGE - 1, 2, 8, 2, 0},
            {PAGE, PAGE, 1, 1, 1},
            {PAGE, PAGE + 1, 1, -ENOBUFS, 0},
            {PAGE - 1, 2, 1, -ENOBUFS, 0},
            {1, 4 * PAGE - 1, 4, 4, 0},
            {0, 4 * PAGE, 3, -ENOBUFS, 0},
            {0, SIZE_MAX, 8, -EFAULT, 0},
            {0, SIZE_MAX - PAGE, 8, -EFAULT, 0},
        };

        va = hv_dma_address(dma[i]);
        for (size_t r = 0; r < HV_TEST_COUNT(rows); r++) {
            CU_ASSERT_EQUAL(
                hv_dma_pfns(peer.bus, va + rows[r].offset, rows[r].bytes, pfns, rows[r].max),
                rows[r].want);
            for (ssize_t n = 0; n < rows[r].want; n++)
                CU_ASSERT_EQUAL(pfns[n], PEER_FIRST_PFN + 4 * i + rows[r].first + (uint64_t)n);
        }
    }
    hv_dma_free(dma[1]);
    CU_ASSERT_EQUAL(hv_dma_pfns(peer.bus, hv_dma_address(dma[2]), PAGE, pfns, 8), 1);
    CU_ASSERT_EQUAL(pfns[0], PEER_FIRST_PFN + 8);
    peer_fini(&peer);
}

/* ---- Memory of the caller ---- */

static int file_with(size_t bytes, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CU_ASSERT(fd >= 0 && !ftruncate(fd, (off_t)bytes) && !fcntl(fd, F_ADD_SEALS, seals));
    return fd;
}

static void test_register(void)
{
    static const struct {
        const char *name;
        size_t bytes, offset, file;
        size_t shift; /* of the address */
        int seals;
        int want;
    } rows[] = {
        {"whole file", 4 * PAGE, 0, 4 * PAGE, 0, F_SEAL_SHRINK, 0},
        {"part, not sealed yet", PAGE, 2 * PAGE, 4 * PAGE, 0, 0, 0},
        {"address not aligned", PAGE, 0, 4 * PAGE, 8, 0, -EINVAL},
        {"length not aligned", PAGE + 1, 0, 4 * PAGE, 0, 0, -EINVAL},
        {"offset not aligned", PAGE, 8, 4 * PAGE, 0, 0, -EINVAL},
        {"nothing", 0, 0, 4 * PAGE, 0, 0, -EINVAL},
        {"behind the file", 4 * PAGE, PAGE, 4 * PAGE, 0, 0, -EINVAL},
        {"far behind", PAGE, UINT64_MAX - PAGE + 1, 4 * PAGE, 0, 0, -EINVAL},
        {"cannot be sealed any more", PAGE, 0, 4 * PAGE, 0, F_SEAL_SEAL, -EACCES},
        {"read-only", PAGE, 0, 4 * PAGE, 0, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE, -EACCES},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        int fd = file_with(rows[i].file, 0), got = -1;
        uint8_t *va = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        struct hv_dma *dma = NULL;
        struct peer peer;
        uint64_t pfn;

        CU_ASSERT(va != MAP_FAILED && !fcntl(fd, F_ADD_SEALS, rows[i].seals));
        begin(&peer);
        peer_memory_result(&peer, PEER_FIRST_PFN, 0);
        HV_CHECK_ROW(rows[i].name, hv_dma_register(peer.bus, va + rows[i].shift, rows[i].bytes, fd,
                                                   rows[i].offset, &dma) == rows[i].want);
        if (!rows[i].want) {
            HV_CHECK_ROW(rows[i].name,
                         !peer_expect_memory(&peer, PEER_FIRST_PFN, rows[i].bytes / PAGE, &got));
            HV_CHECK_ROW(rows[i].name, fcntl(got, F_GET_SEALS) & F_SEAL_SHRINK);
            close(got);
            HV_CHECK_ROW(rows[i].name, hv_dma_pfns(peer.bus, va, PAGE, &pfn, 1) == 1);
            HV_CHECK_ROW(rows[i].name, hv_dma_address(dma) == va);
            hv_dma_free(dma);
            va[0] = 1; /* still mapped */
        } else {
            HV_CHECK_ROW(rows[i].name, !dma);
        }
        peer_fini(&peer);
        munmap(va, 4 * PAGE);
        close(fd);
    }
}

static void test_register_others(void)
{
    int fd = file_with(2 * PAGE, 0), file = open("/dev/null", O_RDWR | O_CLOEXEC);
    uint8_t *va = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct hv_dma *dma = NULL, *second = NULL;
    uint64_t pfns[2];
    struct peer peer;

    begin(&peer);
    CU_ASSERT_EQUAL(hv_dma_register(peer.bus, va, PAGE, file, 0, &dma), -EINVAL); /* no length */
    CU_ASSERT_EQUAL(hv_dma_register(peer.bus, va, PAGE, -1, 0, &dma), -EBADF);
    CU_ASSERT_EQUAL(hv_dma_register(peer.bus, NULL, PAGE, fd, 0, &dma), -EINVAL);
    peer_memory_result(&peer, PEER_FIRST_PFN, 0);
    peer_memory_result(&peer, PEER_FIRST_PFN + 2, 0);
    CU_ASSERT_EQUAL(hv_dma_register(peer.bus, va, 2 * PAGE, fd, 0, &dma), 0);
    CU_ASSERT_EQUAL(hv_dma_register(peer.bus, va + PAGE, PAGE, fd, PAGE, &second), -EINVAL);
    CU_ASSERT_PTR_NULL(second);
    CU_ASSERT_EQUAL(hv_dma_pfns(peer.bus, va, 2 * PAGE, pfns, 2), 2); /* as before */
    CU_ASSERT_EQUAL(pfns[1], PEER_FIRST_PFN + 1);
    peer_fini(&peer);
    munmap(va, 2 * PAGE);
    close(fd);
    close(file);
}

/** Two runs beside each other in our addresses, not in page numbers: one lookup crosses both. */
static void test_neighbours(void)
{
    int fd = file_with(2 * PAGE, 0);
    uint8_t *va = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct hv_dma *dma[2] = {NULL};
    uint64_t pfns[2];
    struct peer peer;

    begin(&peer);
    peer_memory_result(&peer, PEER_FIRST_PFN, 0);
    peer_memory_result(&peer, PEER_FIRST_PFN + 1, 0);
    CU_ASSERT_EQUAL(hv_dma_register(peer.bus, va + PAGE, PAGE, fd, PAGE, &dma[0]), 0);
    CU_ASSERT_EQUAL(hv_dma_register(peer.bus, va, PAGE, fd, 0, &dma[1]), 0);
    CU_ASSERT_EQUAL(hv_dma_pfns(peer.bus, va + 100, PAGE, pfns, 2), 2);
    CU_ASSERT(pfns[0] == PEER_FIRST_PFN + 1 && pfns[1] == PEER_FIRST_PFN);
    CU_ASSERT_EQUAL(hv_dma_pfns(peer.bus, va + PAGE, PAGE + 1, pfns, 2), -EFAULT);
    peer_fini(&peer);
    munmap(va, 2 * PAGE);
    close(fd);
}

static void test_refused(void)
{
    static const struct {
        int32_t answer;
        int want;
    } rows[] = {{-ENOMEM, -ENOMEM}, {-ENOSPC, -ENOMEM}, {-EACCES, -EACCES},
                {-EINVAL, -EINVAL}, {1, -ENOMEM},       {INT32_MIN, -ENOMEM}};

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        unsigned fds = peer_count_fds();
        struct hv_dma *dma = NULL;
        struct peer peer;

        begin(&peer);
        peer_memory_result(&peer, PEER_FIRST_PFN, rows[i].answer);
        CU_ASSERT_EQUAL(hv_dma_alloc(peer.bus, PAGE, &dma), rows[i].want);
        CU_ASSERT_PTR_NULL(dma);
        peer_memory_result(&peer, PEER_FIRST_PFN + 1, 0); /* the number is not used again */
        CU_ASSERT_EQUAL(hv_dma_alloc(peer.bus, PAGE, &dma), 0);
        peer_fini(&peer);
        CU_ASSERT_EQUAL(peer_count_fds(), fds);
    }
}

/* ---- Readers while memory comes and goes ---- */

struct reader {
    const struct hv_vmbus *bus;
    const uint8_t *va;
    atomic_bool stop;
    unsigned long good, bad;
};

static void *read_pfns(void *arg)
{
    struct reader *r = arg;
    uint64_t pfns[2];

    do {
        if (hv_dma_pfns(r->bus, r->va + 1, PAGE, pfns, 2) == 2 && pfns[0] == PEER_FIRST_PFN &&
            pfns[1] == PEER_FIRST_PFN + 1)
            r->good++;
        else
            r->bad++;
    } while (!atomic_load_explicit(&r->stop, memory_order_relaxed));
    return NULL;
}

static void test_readers(void)
{
    struct hv_dma *keep = NULL, *dma = NULL;
    struct reader reader = {.bus = NULL};
    uint64_t pfn = PEER_FIRST_PFN;
    struct peer peer;
    pthread_t thread;

    begin(&peer);
    peer_memory_result(&peer, pfn, 0);
    CU_ASSERT_EQUAL(hv_dma_alloc(peer.bus, 2 * PAGE, &keep), 0);
    pfn += 2;
    reader.bus = peer.bus;
    reader.va = hv_dma_address(keep);
    CU_ASSERT_EQUAL(pthread_create(&thread, NULL, read_pfns, &reader), 0);
    for (unsigned i = 0; i < 500; i++, pfn++) {
        peer_memory_result(&peer, pfn, 0);
        CU_ASSERT_EQUAL(hv_dma_alloc(peer.bus, PAGE, &dma), 0);
        hv_dma_free(dma);
        peer_memory_result(&peer, pfn, 0);
        peer_skip(&peer);
    }
    atomic_store(&reader.stop, true);
    CU_ASSERT_EQUAL(pthread_join(thread, NULL), 0);
    CU_ASSERT(reader.good > 0);
    CU_ASSERT_EQUAL(reader.bad, 0);
    peer_fini(&peer);
}

/** Memory that comes and goes with a device, which a host may take away as often as it likes, leaves nothing behind. */
static void test_tables_are_freed(void)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    uint32_t pfn = PEER_FIRST_PFN;
    struct peer peer;
    size_t before = 0;

    opts.out_bytes = opts.in_bytes = 2 * PAGE;
    begin(&peer);
    for (uint32_t i = 0; i < 200; i++) {
        struct hv_channel *channel = NULL;
        struct hv_dma *dma = NULL;

        if (i == 100)
            before = mallinfo2().uordblks;
        peer_channel_opened(&peer, 1, pfn, HV_GPADL_FIRST + i, 1 + i);
        CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 0, &opts, &channel), 0);
        peer_memory_result(&peer, pfn + 4, 0);
        CU_ASSERT_EQUAL(hv_dma_alloc(peer.bus, PAGE, &dma), 0);
        hv_dma_free(dma);
        peer_torndown(&peer, HV_GPADL_FIRST + i);
        hv_channel_close(channel);
        peer_memory_result(&peer, pfn, 0);
        peer_memory_result(&peer, pfn + 4, 0);
        peer_skip(&peer);
        pfn += 5;
    }
    CU_ASSERT(mallinfo2().uordblks <= before + 512); /* both 0 with a sanitizer */
    peer_fini(&peer);
}

static const struct hv_test_case cases[] = {
    {"allocate and free", test_alloc},
    {"large allocation", test_huge},
    {"look up", test_lookup},
    {"register", test_register},
    {"register what cannot be", test_register_others},
    {"neighbours", test_neighbours},
    {"host refuses", test_refused},
    {"readers", test_readers},
    {"tables are freed", test_tables_are_freed},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.dma", cases, HV_TEST_COUNT(cases), argc, argv);
}
