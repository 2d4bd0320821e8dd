/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA memory over uio: page numbers from pagemap, hugepages only, and what is said when there are none. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "suite.h"
#include "uio_tree.h"

#define HUGE    (2u << 20)
#define PRESENT (UINT64_C(1) << 63)
#define SWAPPED (UINT64_C(1) << 62)

struct rig {
    struct tree tree;
    struct hv_vmbus *bus;
    uint8_t *memory; /* registered by the test: 4 MiB */
};

static void rig_init(struct rig *rig, const char *release)
{
    struct tree_device device = tree_network(37);

    *rig = (struct rig){0};
    tree_init(&rig->tree, tree_kernel(release));
    tree_device(&rig->tree, &device);
    rig->memory = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT(rig->memory != MAP_FAILED);
    CU_ASSERT(!tree_open(&rig->tree, "uio:" TREE_INSTANCE, &rig->bus));
}

static void rig_fini(struct rig *rig)
{
    hv_vmbus_close(rig->bus);
    (void)munmap(rig->memory, 2 * HUGE);
    tree_fini(&rig->tree);
}

/** What smaps says about [at, at + bytes), between two neighbours of small pages. */
static void put_smaps(struct rig *rig, const void *at, size_t bytes, unsigned kernel_page_kib)
{
    uintptr_t start = (uintptr_t)at;
    char text[1024];

    (void)snprintf(
        text, sizeof(text),
        "1000-2000 r--p 00000000 00:00 0 [x]\nSize:  4 kB\nKernelPageSize:        4 kB\n"
        "%lx-%lx rw-s 00000000 00:0f 1  /anon_hugepage (deleted)\nSize:   1 kB\n"
        "KernelPageSize:     %u kB\nMMUPageSize:        4 kB\n"
        "7ffffffff000-800000000000 rw-p 00000000 00:00 0 [stack]\nKernelPageSize:  4 kB\n",
        start, start + bytes, kernel_page_kib);
    tree_put(&rig->tree, text, "proc/self/smaps");
}

/** Entries of pagemap for consecutive pages of the guest from `at` on. */
static void put_pages(struct rig *rig, const void *at, size_t count, uint64_t first_entry)
{
    uint32_t page_bytes = rig->tree.kernel->page_bytes;
    char path[PATH_MAX];
    int fd;

    if (!tree_has(&rig->tree, "proc/self/pagemap"))
        tree_put(&rig->tree, "", "proc/self/pagemap");
    (void)snprintf(path, sizeof(path), "%s/self/pagemap", rig->tree.proc);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < count; i++) {
        uint64_t entry = first_entry + i;

        CU_ASSERT(pwrite(fd, &entry, sizeof(entry),
                         (off_t)(((uintptr_t)at / page_bytes + i) * sizeof(entry))) ==
                  sizeof(entry));
    }
    (void)close(fd);
}

static int register_all(struct rig *rig, struct hv_dma **ret_dma)
{
    return hv_dma_register(rig->bus, rig->memory, 2 * HUGE, -1, 0, ret_dma);
}

/** Two hugepages that are far from each other. */
static void put_both(struct rig *rig)
{
    put_smaps(rig, rig->memory, 2 * HUGE, 2048);
    put_pages(rig, rig->memory, 512, PRESENT | 0x10000);
    put_pages(rig, rig->memory + HUGE, 512, PRESENT | 0x4000);
}

static void test_dma_register(void)
{
    struct hv_dma *dma = NULL;
    uint64_t pfns[4] = {0};
    struct rig rig;

    rig_init(&rig, "6.12");
    put_both(&rig);
    CU_ASSERT(!register_all(&rig, &dma));
    CU_ASSERT_EQUAL(hv_dma_pfns(rig.bus, rig.memory + 4095, 2, pfns, 4), 2);
    CU_ASSERT(pfns[0] == 0x10000 && pfns[1] == 0x10001);
    CU_ASSERT_EQUAL(hv_dma_pfns(rig.bus, rig.memory + HUGE - 4096, 8192, pfns, 4), 2);
    CU_ASSERT(pfns[0] == 0x101ff && pfns[1] == 0x4000);
    CU_ASSERT_EQUAL(hv_dma_pfns(rig.bus, rig.memory + 2 * HUGE - 1, 1, pfns, 4), 1);
    CU_ASSERT_EQUAL(pfns[0], 0x41ff);
    hv_dma_free(dma);
    CU_ASSERT_EQUAL(hv_dma_pfns(rig.bus, rig.memory, 1, pfns, 4), -EFAULT);
    CU_ASSERT_EQUAL(rig.memory[0], 0); /* still the caller's */
    rig_fini(&rig);
}

/** The host counts in pages of 4096 bytes, whatever the guest does. */
static void test_dma_large_pages(void)
{
    struct hv_dma *dma = NULL;
    uint64_t pfns[20] = {0};
    uint8_t *at;
    struct rig rig;

    rig_init(&rig, "6.18.0-64k");
    at = rig.memory + (-(uintptr_t)rig.memory & 0xffff);
    put_smaps(&rig, at, HUGE, 2048);
    put_pages(&rig, at, 32, PRESENT | 0x100);
    CU_ASSERT(!hv_dma_register(rig.bus, at, HUGE, -1, 0, &dma));
    CU_ASSERT_EQUAL(hv_dma_pfns(rig.bus, at + 15 * 4096, 8192, pfns, 20), 2);
    CU_ASSERT(pfns[0] == 0x100f && pfns[1] == 0x1010);
    CU_ASSERT_EQUAL(hv_dma_register(rig.bus, at + 4096, 65536, -1, 0, &dma), -EINVAL);
    rig_fini(&rig);
}

static void test_dma_movable(void)
{
    struct hv_dma *dma = NULL;
    struct rig rig;

    rig_init(&rig, "6.12");
    put_both(&rig);
    put_smaps(&rig, rig.memory, 2 * HUGE, 4); /* transparent hugepages look like this, too */
    CU_ASSERT_EQUAL(register_all(&rig, &dma), -EINVAL);
    CU_ASSERT(strstr(rig.tree.log, "is not in hugepages") != NULL);
    put_smaps(&rig, rig.memory, HUGE, 2048); /* half of it */
    CU_ASSERT_EQUAL(register_all(&rig, &dma), -EINVAL);
    put_smaps(&rig, rig.memory + HUGE, HUGE, 2048); /* the other half */
    CU_ASSERT_EQUAL(register_all(&rig, &dma), -EINVAL);
    tree_put(&rig.tree, "", "proc/self/smaps");
    CU_ASSERT_EQUAL(register_all(&rig, &dma), -EINVAL);
    tree_put(&rig.tree, "garbage\nffffffffffffffff-0 \nKernelPageSize: x kB\n:\n",
             "proc/self/smaps");
    CU_ASSERT_EQUAL(register_all(&rig, &dma), -EINVAL);
    tree_remove(&rig.tree, "proc/self/smaps");
    CU_ASSERT_EQUAL(register_all(&rig, &dma), -EPERM);
    CU_ASSERT(!dma);
    rig_fini(&rig);
}

static void test_dma_bad_pages(void)
{
    static const struct {
        const char *name;
        uint64_t entry; /* of one page in the middle */
        int want;
        const char *log;
    } rows[] = {
        {"not present", 0x4010, -EFAULT, "not present"},
        {"swapped", PRESENT | SWAPPED | 0x4010, -EFAULT, "not present"},
        {"hidden", PRESENT, -EPERM, "CAP_SYS_ADMIN"},
        {"hidden, flags shown", PRESENT | UINT64_C(1) << 61 | UINT64_C(1) << 55, -EPERM,
         "CAP_SYS_ADMIN"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_dma *dma = NULL;
        struct rig rig;
        uint64_t pfn;

        rig_init(&rig, "6.12");
        put_both(&rig);
        put_pages(&rig, rig.memory + HUGE + 0x10000, 1, rows[i].entry);
        HV_CHECK_ROW(rows[i].name, register_all(&rig, &dma) == rows[i].want && !dma);
        HV_CHECK_ROW(rows[i].name, strstr(rig.tree.log, rows[i].log));
        HV_CHECK_ROW(rows[i].name, hv_dma_pfns(rig.bus, rig.memory, 1, &pfn, 1) == -EFAULT);
        rig_fini(&rig);
    }
}

static void test_dma_no_pagemap(void)
{
    struct hv_dma *dma = NULL;
    struct rig rig;

    rig_init(&rig, "6.12");
    put_smaps(&rig, rig.memory, 2 * HUGE, 2048);
    CU_ASSERT_EQUAL(register_all(&rig, &dma), -EPERM);
    tree_put(&rig.tree, "short", "proc/self/pagemap");
    CU_ASSERT_EQUAL(register_all(&rig, &dma), -EFAULT);
    rig_fini(&rig);
}

/** Without hugepages there is no DMA memory, and the log says how to get some. */
static void test_dma_no_hugepages(void)
{
    struct hv_dma *dma = NULL;
    struct rlimit limit, low;
    struct rig rig;

    rig_init(&rig, "6.12");
    tree_put(&rig.tree,
             "MemTotal: 1 kB\nHugePages_Total:       5\nHugePages_Free:        2\n"
             "Hugepagesize:       2048 kB\n",
             "proc/meminfo");
    CU_ASSERT(!getrlimit(RLIMIT_FSIZE, &limit));
    low = limit;
    rig.tree.log[0] = '\0';
    low.rlim_cur = 0;
    CU_ASSERT(!getrlimit(RLIMIT_AS, &limit));
    low = limit;
    low.rlim_cur = 1u << 20; /* no room for anything */
    CU_ASSERT(!setrlimit(RLIMIT_AS, &low));
    CU_ASSERT_EQUAL(hv_dma_alloc(rig.bus, 7u << 20, &dma), -ENOMEM);
    CU_ASSERT(!setrlimit(RLIMIT_AS, &limit));
    CU_ASSERT(strstr(rig.tree.log, "4 hugepages of 2048 kB are needed, 2 of 5 are free") != NULL);
    CU_ASSERT(strstr(rig.tree.log, "sysctl vm.nr_hugepages=7") != NULL);
    CU_ASSERT(!dma);
    rig_fini(&rig);
}

/** Ordinary memory in place of hugepages is refused like any other, so nothing is left of it. */
static void test_dma_alloc_checks(void)
{
    unsigned fds = tree_count_fds();
    struct hv_dma *dma = NULL;
    struct rig rig;

    rig_init(&rig, "6.12");
    put_smaps(&rig, rig.memory, 2 * HUGE, 2048);
    CU_ASSERT_EQUAL(hv_dma_alloc(rig.bus, 4096, &dma), -EINVAL);
    CU_ASSERT(!dma && strstr(rig.tree.log, "is not in hugepages"));
    rig_fini(&rig);
    CU_ASSERT_EQUAL(tree_count_fds(), fds);
}

/** Real hugepages and this kernel's own files, where the machine has some. */
static void test_dma_real(void)
{
    struct hv_dma *dma = NULL;
    uint64_t pfns[512];
    struct rig rig;
    int err;

    rig_init(&rig, "6.12");
    hv_vmbus_close(rig.bus);
    rig.tree.env.proc = "/proc";
    rig.tree.env.file_flags |= MFD_HUGETLB;
    rig.tree.env.uevent_fd = -1;
    CU_ASSERT(!tree_open(&rig.tree, "uio:", &rig.bus));
    err = hv_dma_alloc(rig.bus, 4096, &dma);
    if (!err) {
        CU_ASSERT_EQUAL(hv_dma_bytes(dma) % HUGE, 0);
        CU_ASSERT_EQUAL(hv_dma_pfns(rig.bus, hv_dma_address(dma), HUGE, pfns, 512), 512);
        CU_ASSERT(pfns[0] % 512 == 0 && pfns[511] == pfns[0] + 511);
        CU_ASSERT(!*(const uint8_t *)hv_dma_address(dma));
    } else {
        CU_ASSERT(err == -ENOMEM || err == -EPERM);
        CU_ASSERT(strstr(rig.tree.log, "hugepages") || strstr(rig.tree.log, "CAP_"));
        (void)printf("(no hugepages here, or not allowed: %s) ", strerror(-err));
    }
    CU_ASSERT_EQUAL(register_all(&rig, &dma), -EINVAL); /* ordinary memory, by this kernel's word */
    rig_fini(&rig);
}

static const struct hv_test_case cases[] = {
    {"register", test_dma_register},         {"large pages", test_dma_large_pages},
    {"movable", test_dma_movable},           {"bad pages", test_dma_bad_pages},
    {"no pagemap", test_dma_no_pagemap},     {"no hugepages", test_dma_no_hugepages},
    {"alloc checks", test_dma_alloc_checks}, {"real", test_dma_real},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.uio.dma", cases, HV_TEST_COUNT(cases), argc, argv);
}
