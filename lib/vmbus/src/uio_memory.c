/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that the host can reach: the machine's own, by page number, with nothing in between.  A page number that is
 * wrong or goes stale makes the host write into somebody else's memory, so only hugepages are taken, which nobody swaps
 * or compacts, and only page numbers that the kernel really told us.  docs/uio.md, "DMA memory".
 */
#include "uio_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/wire/ring.h>

/** One entry of /proc/self/pagemap. */
#define PAGE_PRESENT (UINT64_C(1) << 63)
#define PAGE_SWAPPED (UINT64_C(1) << 62)
#define PAGE_PFN     ((UINT64_C(1) << 55) - 1)

#define ENTRIES_MAX 512u

static const struct hv_log_hook *log_of(const struct hv_dma *dma)
{
    return &dma->bus->opts.log;
}

static const struct hv_uio_env *env_of(const struct hv_dma *dma)
{
    const struct hv_uio *uio = dma->bus->transport;

    return &uio->env;
}

static int proc_path(const struct hv_dma *dma, const char *leaf, char path[PATH_MAX])
{
    int length = snprintf(path, PATH_MAX, "%s/%s", env_of(dma)->proc, leaf);

    return length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static FILE *open_proc(const struct hv_dma *dma, const char *leaf)
{
    char path[PATH_MAX];

    return proc_path(dma, leaf, path) ? NULL : fopen(path, "re");
}

/** "Name:   123 kB" -> 123; false for other lines. */
static bool take_value(const char *line, const char *name, uint64_t *value)
{
    size_t length = strlen(name);
    unsigned long long number;

    if (strncmp(line, name, length) || line[length] != ':' ||
        sscanf(line + length + 1, "%18llu", &number) != 1)
        return false;
    *value = number;
    return true;
}

/* ---- Is it huge? ---- */

/** First line of an area in smaps: "start-end perms ..." in hexadecimal. */
static bool take_area(const char *line, uint64_t *start, uint64_t *end)
{
    unsigned long long from, to;

    if (sscanf(line, "%16llx-%16llx ", &from, &to) != 2)
        return false;
    *start = from;
    *end = to;
    return true;
}

/** How far from `at` on memory is in hugepages; `at` itself: not at all. */
static uintptr_t huge_until(FILE *smaps, uintptr_t at, uintptr_t end, uint32_t page_bytes)
{
    char line[512];
    uint64_t from = 0, to = 0, page_kib;

    rewind(smaps);
    while (at < end && fgets(line, sizeof(line), smaps)) {
        if (take_area(line, &from, &to)) {
            if (from > at)
                return at; /* ascending: nothing is mapped there */
        } else if (at >= from && at < to && take_value(line, "KernelPageSize", &page_kib)) {
            if (page_kib * 1024 <= page_bytes)
                return at;
            at = to < end ? (uintptr_t)to : end;
        }
    }
    return at;
}

static int check_huge(const struct hv_dma *dma)
{
    uintptr_t start = (uintptr_t)dma->va, end = start + dma->bytes, huge;
    FILE *smaps = open_proc(dma, "self/smaps");

    if (!smaps) {
        hv_log(log_of(dma), HV_LOG_ERROR, "%s/self/smaps: %s", env_of(dma)->proc, strerror(errno));
        return -EPERM;
    }
    huge = huge_until(smaps, start, end, env_of(dma)->page_bytes);
    (void)fclose(smaps);
    if (huge >= end)
        return 0;
    hv_log(log_of(dma), HV_LOG_ERROR,
           "memory at %p is not in hugepages, so it can move while the host writes to it: "
           "use hv_dma_alloc(), or hugetlbfs (DPDK: its default)",
           (void *)huge); /* NOLINT(performance-no-int-to-ptr): printed */
    return -EINVAL;
}

/* ---- Page numbers ---- */

/** Why a page has no number that we may give to the host; 0 = it has. */
static int check_entry(const struct hv_dma *dma, uint64_t entry)
{
    if (!(entry & PAGE_PRESENT) || (entry & PAGE_SWAPPED)) {
        hv_log(log_of(dma), HV_LOG_ERROR, "DMA memory is not present");
        return -EFAULT;
    }
    if (entry & PAGE_PFN)
        return 0;
    hv_log(log_of(dma), HV_LOG_ERROR,
           "the kernel hides page numbers from this process: it needs the capability CAP_SYS_ADMIN "
           "(systemd: AmbientCapabilities=CAP_SYS_ADMIN), or root");
    return -EPERM;
}

/** Append a page of the guest to the runs; `room` of them are allocated. */
static int add_page(struct hv_dma *dma, uintptr_t at, uint64_t pfn, size_t *room)
{
    uint32_t page_bytes = env_of(dma)->page_bytes;
    struct hv_dma_run *last = dma->run_count ? &dma->runs[dma->run_count - 1] : NULL;

    pfn *= page_bytes / HV_PAGE_BYTES;
    if (last && pfn == last->first_pfn + ((last->end - last->start) >> HV_PAGE_SHIFT)) {
        last->end = at + page_bytes;
        return 0;
    }
    if (dma->run_count == *room) {
        size_t more = *room ? *room * 2 : 16;
        struct hv_dma_run *runs = realloc(dma->runs, more * sizeof(*runs));

        if (!runs)
            return -ENOMEM;
        dma->runs = runs;
        *room = more;
    }
    dma->runs[dma->run_count++] = (struct hv_dma_run){
        .start = at,
        .end = at + page_bytes,
        .first_pfn = pfn,
    };
    return 0;
}

static int read_entries(struct hv_dma *dma, int pagemap)
{
    uint32_t page_bytes = env_of(dma)->page_bytes;
    uintptr_t at = (uintptr_t)dma->va, end = at + dma->bytes;
    uint64_t entries[ENTRIES_MAX];
    size_t room = 0;
    int err = 0;

    while (!err && at < end) {
        size_t count = hv_min_u64((end - at) / page_bytes, ENTRIES_MAX);
        ssize_t got = pread(pagemap, entries, count * sizeof(entries[0]),
                            (off_t)(at / page_bytes * sizeof(entries[0])));

        if (got < (ssize_t)sizeof(entries[0]))
            return got < 0 ? -errno : -EFAULT;
        count = (size_t)got / sizeof(entries[0]);
        for (size_t i = 0; !err && i < count; i++, at += page_bytes) {
            err = check_entry(dma, entries[i]);
            if (!err)
                err = add_page(dma, at, entries[i] & PAGE_PFN, &room);
        }
    }
    return err;
}

/** Fill the runs of memory that is in place. */
static int find_pages(struct hv_dma *dma)
{
    char path[PATH_MAX];
    int fd, err = proc_path(dma, "self/pagemap", path);

    if (err)
        return err;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        hv_log(log_of(dma), HV_LOG_ERROR, "%s: %s; DMA needs CAP_SYS_ADMIN", path, strerror(errno));
        return -EPERM;
    }
    dma->runs = NULL;
    dma->run_count = 0;
    err = read_entries(dma, fd);
    (void)close(fd);
    if (!err)
        return 0;
    free(dma->runs);
    dma->runs = &dma->only;
    dma->run_count = 0;
    return err;
}

/** In hugepages, in memory, here to stay, and the host can be told where. */
static int pin(struct hv_dma *dma)
{
    int err = check_huge(dma);

    if (err)
        return err;
    if (mlock(dma->va, dma->bytes)) {
        err = errno == ENOMEM ? -EPERM : -errno;
        hv_log(log_of(dma), HV_LOG_ERROR,
               "cannot lock %zu bytes of DMA memory (%s): raise the limit (ulimit -l, "
               "LimitMEMLOCK=) or "
               "give the capability CAP_IPC_LOCK",
               dma->bytes, strerror(errno));
        return err;
    }
    return find_pages(dma);
}

/* ---- Allocation ---- */

struct hugepages {
    uint64_t page_kib;
    uint64_t total;
    uint64_t free;
};

static void read_hugepages(const struct hv_dma *dma, struct hugepages *ret_huge)
{
    FILE *meminfo = open_proc(dma, "meminfo");
    struct hugepages huge = {.page_kib = 2048};
    char line[256];

    while (meminfo && fgets(line, sizeof(line), meminfo))
        if (!take_value(line, "Hugepagesize", &huge.page_kib) &&
            !take_value(line, "HugePages_Total", &huge.total))
            (void)take_value(line, "HugePages_Free", &huge.free);
    if (meminfo)
        (void)fclose(meminfo);
    if (!hv_is_power_of_two(huge.page_kib) || huge.page_kib > 16u << 20)
        huge.page_kib = 2048;
    *ret_huge = huge;
}

static void explain_none(const struct hv_dma *dma, const struct hugepages *huge, size_t bytes,
                         int err)
{
    uint64_t needed = bytes / (huge->page_kib * 1024);
    uint64_t more = huge->total - huge->free + needed;

    hv_log(log_of(dma), HV_LOG_ERROR,
           "no DMA memory (%s): %llu hugepages of %llu kB are needed, %llu of %llu are free; add "
           "some: "
           "sysctl vm.nr_hugepages=%llu",
           strerror(-err), (unsigned long long)needed, (unsigned long long)huge->page_kib,
           (unsigned long long)huge->free, (unsigned long long)huge->total,
           (unsigned long long)more);
}

static int map_huge(struct hv_dma *dma, size_t bytes)
{
    int fd = memfd_create("libvmbus", env_of(dma)->file_flags);
    void *va;
    int err = 0;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)bytes))
        err = -errno;
    if (!err) {
        va = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (va == MAP_FAILED)
            err = -errno;
    }
    (void)close(fd);
    if (err)
        return err;
    dma->va = va;
    dma->bytes = bytes;
    return 0;
}

int hv_uio_dma_alloc(struct hv_dma *dma, size_t bytes)
{
    struct hugepages huge;
    int err;

    read_hugepages(dma, &huge);
    bytes = hv_align_up(bytes, huge.page_kib * 1024);
    err = map_huge(dma, bytes);
    if (err) {
        explain_none(dma, &huge, bytes, err);
        return -ENOMEM;
    }
    err = pin(dma);
    if (err)
        (void)munmap(dma->va, bytes);
    return err;
}

int hv_uio_dma_register(struct hv_dma *dma, int fd, uint64_t offset)
{
    uint32_t page_bytes = env_of(dma)->page_bytes;

    (void)fd; /* where the memory is, its address says for sure */
    (void)offset;
    if (((uintptr_t)dma->va | dma->bytes) % page_bytes)
        return -EINVAL;
    return pin(dma);
}

void hv_uio_dma_free(struct hv_dma *dma)
{
    if (!dma->registered) /* the caller's stays locked: hugepages do not care, and others may have locked it too */
        (void)munmap(dma->va, dma->bytes);
}
