/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: sealed memory files, and the page numbers under which the host knows them. */
#include "sock_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/wire/ring.h>

/** Page numbers of the page table of the specification end here. */
#define PFN_LIMIT (UINT64_C(1) << 40)

#define HUGE_BYTES (2u << 20)
#define HUGE_PAGES (HUGE_BYTES / HV_PAGE_BYTES)

int hv_memory_file(size_t bytes)
{
    int fd = memfd_create("libvmbus", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int err;

    if (fd < 0)
        return -errno;
    if (!ftruncate(fd, (off_t)bytes) &&
        !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return fd;
    err = -errno;
    (void)close(fd);
    return err;
}

int hv_sock_memory_add(struct hv_sock *sock, int fd, uint64_t offset, size_t bytes,
                       uint64_t align_pages, uint64_t *ret_first_pfn)
{
    uint64_t deadline_ns = hv_sock_deadline(sock);
    struct hv_sock_memory add = {
        .hdr.type = HV_SOCK_MEMORY_ADD,
        .first_pfn = hv_align_up(sock->next_pfn, align_pages),
        .page_count = bytes >> HV_PAGE_SHIFT,
        .offset_bytes = offset,
    };
    struct hv_reply reply = {.kind = HV_REPLY_MEMORY, .key = add.first_pfn};
    int err;

    if (!hv_range_fits(add.first_pfn, add.page_count, PFN_LIMIT))
        return -ENOMEM;
    sock->next_pfn = add.first_pfn + add.page_count;
    err = hv_sock_send(sock, &add.hdr, sizeof(add), fd, deadline_ns);
    if (!err)
        err = hv_sock_wait(sock, &reply, deadline_ns);
    if (err)
        return err;
    if (reply.status) {
        hv_log(&sock->bus->opts.log, HV_LOG_ERROR, "host refuses %llu pages of memory: error %lld",
               (unsigned long long)add.page_count, (long long)reply.status);
        return reply.status == -EACCES || reply.status == -EINVAL ? (int)reply.status : -ENOMEM;
    }
    *ret_first_pfn = add.first_pfn;
    return 0;
}

void hv_sock_memory_remove(struct hv_sock *sock, uint64_t first_pfn, uint64_t page_count)
{
    struct hv_sock_memory remove = {
        .hdr.type = HV_SOCK_MEMORY_REMOVE,
        .first_pfn = first_pfn,
        .page_count = page_count,
    };

    /* a host that cannot be told keeps its mapping until the connection ends: nothing of ours lies there any more */
    if (!hv_sock_send(sock, &remove.hdr, sizeof(remove), -1, hv_sock_deadline(sock)))
        sock->removes++;
}

int hv_sock_monitor_create(struct hv_sock *sock)
{
    const size_t bytes = 2 * sizeof(struct hv_monitor_page);
    int fd = hv_memory_file(bytes);
    void *va;
    int err = 0;

    if (fd < 0)
        return fd;
    va = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (va == MAP_FAILED)
        err = -errno;
    else
        sock->monitor = va;
    if (!err)
        err = hv_sock_memory_add(sock, fd, 0, bytes, 1, &sock->monitor_pfn);
    (void)close(fd); /* both sides have it mapped */
    return err;
}

void hv_sock_monitor_destroy(struct hv_sock *sock)
{
    if (sock->monitor)
        (void)munmap(sock->monitor, 2 * sizeof(struct hv_monitor_page));
    sock->monitor = NULL;
}

/* ---- DMA memory ---- */

/** Map a whole file; large ones where a huge page could lie.  The kernel decides whether it gives any. */
static void *map_file(int fd, size_t bytes)
{
    size_t align = bytes >= HUGE_BYTES ? HUGE_BYTES : HV_PAGE_BYTES;
    uint8_t *span = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *at, *end;

    if (span == MAP_FAILED)
        return NULL;
    at = span + (hv_align_up((uintptr_t)span, align) - (uintptr_t)span);
    end = span + bytes + align;
    if (at > span)
        (void)munmap(span, (size_t)(at - span));
    if (end > at + bytes)
        (void)munmap(at + bytes, (size_t)(end - at - (ptrdiff_t)bytes));
    if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
        int err = errno;

        (void)munmap(at, bytes);
        errno = err;
        return NULL;
    }
    (void)madvise(at, bytes, MADV_HUGEPAGE); /* a wish */
    return at;
}

/** All pages present now: the data path takes no page fault, and lack of memory is an error here, not a signal there. */
static int populate(void *va, size_t bytes)
{
    if (!madvise(va, bytes, MADV_POPULATE_WRITE))
        return 0;
    if (errno != EINVAL) /* which is a kernel before 5.14: pages come when they are touched */
        return errno == EFAULT || errno == EHWPOISON ? -ENOMEM : -errno;
    return 0;
}

static void set_run(struct hv_dma *dma, uint64_t first_pfn)
{
    dma->only = (struct hv_dma_run){
        .start = (uintptr_t)dma->va,
        .end = (uintptr_t)dma->va + dma->bytes,
        .first_pfn = first_pfn,
    };
    dma->run_count = 1;
}

int hv_sock_dma_alloc(struct hv_dma *dma, size_t bytes)
{
    struct hv_sock *sock = dma->bus->transport;
    uint64_t first_pfn;
    int fd, err;

    if (bytes >= HUGE_BYTES)
        bytes = hv_align_up(bytes, HUGE_BYTES);
    fd = hv_memory_file(bytes);
    if (fd < 0)
        return fd == -EINVAL || fd == -EFBIG ? -ENOMEM : fd;
    dma->va = map_file(fd, bytes);
    err = dma->va ? populate(dma->va, bytes) : -ENOMEM;
    if (!err)
        err = hv_sock_memory_add(sock, fd, 0, bytes, bytes >= HUGE_BYTES ? HUGE_PAGES : 1,
                                 &first_pfn);
    (void)close(fd);
    if (err) {
        if (dma->va)
            (void)munmap(dma->va, bytes);
        return err;
    }
    dma->bytes = bytes;
    set_run(dma, first_pfn);
    return 0;
}

/** The file must not be able to lose pages under the host; one of hugetlbfs always is, and the host decides. */
static int check_registered(int fd, uint64_t offset, size_t bytes)
{
    struct statfs fs;
    struct stat st;
    int seals;

    if (fstat(fd, &st))
        return -errno;
    if (st.st_size < 0 || !hv_range_fits(offset, bytes, (uint64_t)st.st_size))
        return -EINVAL;
    if (!fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC)
        return 0;
    seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return -EACCES; /* no file that can be sealed */
    if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return -EACCES;
    if (!(seals & F_SEAL_SHRINK) && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
        return -EACCES;
    return 0;
}

int hv_sock_dma_register(struct hv_dma *dma, int fd, uint64_t offset)
{
    uint64_t first_pfn;
    int err = check_registered(fd, offset, dma->bytes);

    if (!err)
        err = hv_sock_memory_add(dma->bus->transport, fd, offset, dma->bytes, 1, &first_pfn);
    if (!err)
        set_run(dma, first_pfn);
    return err;
}

void hv_sock_dma_free(struct hv_dma *dma)
{
    struct hv_sock *sock = dma->bus->transport;

    if (sock)
        hv_sock_memory_remove(sock, dma->only.first_pfn, dma->bytes >> HV_PAGE_SHIFT);
    if (!dma->registered)
        (void)munmap(dma->va, dma->bytes);
}
