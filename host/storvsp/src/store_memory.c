/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A store in anonymous memory.  Untouched blocks cost nothing; discarded ones are given back to the system.
 *
 * Address space is reserved for the disk to grow into, so that it never moves under the queues.  One byte per 64 KiB
 * says whether something was written there.  Order: a writer stores the data, then the byte; a discard clears the byte,
 * then drops the data; so written data is never taken for a hole, whatever the threads do.
 */
#include "disk_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hv/base/bits.h>

#define CHUNK_SHIFT   16
#define CHUNK_BYTES   (1ull << CHUNK_SHIFT)
#define RESERVE_BYTES (64ull << 30)

struct memory_store {
    uint8_t *base;
    uint64_t reserved_bytes;       /* address space */
    _Atomic uint64_t usable_bytes; /* readable and writable, only grows */
    uint8_t *written;              /* per chunk, atomic access only */
    uint64_t page_bytes;
};

static void mark_written(struct memory_store *m, uint64_t offset, uint64_t length)
{
    uint64_t last = (offset + length - 1) >> CHUNK_SHIFT;

    for (uint64_t chunk = offset >> CHUNK_SHIFT; chunk <= last; chunk++)
        __atomic_store_n(&m->written[chunk], 1, __ATOMIC_RELEASE);
}

static bool memory_start(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct memory_store *m = queue->disk->store;
    struct hv_store_io *io = &command->impl.io;
    uint8_t *at;

    io->is_durable = true; /* nothing outlives the process, and nothing is lost before */
    io->result = 0;
    if (io->op == HV_STORE_SYNC || !io->length)
        return true;
    if (!hv_range_fits(io->offset, io->length, m->usable_bytes)) {
        io->result = -EIO;
        return true;
    }
    at = m->base + io->offset;
    if (io->op == HV_STORE_READ) {
        if (io->buffer)
            memcpy(io->buffer, at, io->length);
        else
            hv_iov_write(&io->data, at, io->length);
    } else {
        if (io->buffer)
            memcpy(at, io->buffer, io->length);
        else
            hv_iov_read(&io->data, at, io->length);
        mark_written(m, io->offset, io->length);
    }
    io->result = (int64_t)io->length;
    return true;
}

/* Whole chunks become holes; what is left at both ends is cleared. */
static int memory_discard(struct hv_disk *disk, uint64_t offset, uint64_t length)
{
    struct memory_store *m = disk->store;
    uint64_t end = offset + length;
    uint64_t first = hv_align_up(offset, CHUNK_BYTES), last = end & ~(CHUNK_BYTES - 1);

    if (!hv_range_fits(offset, length, m->usable_bytes))
        return -EIO;
    if (end == disk->bytes) /* a last, partial chunk is whole as well */
        last = end;
    if (first >= last) {
        memset(m->base + offset, 0, length);
        return 0;
    }
    memset(m->base + offset, 0, first - offset);
    memset(m->base + last, 0, end - last);
    for (uint64_t chunk = first >> CHUNK_SHIFT; chunk << CHUNK_SHIFT < last; chunk++)
        __atomic_store_n(&m->written[chunk], 0, __ATOMIC_SEQ_CST);
    /* Chunks are whole pages; a last page is rounded up by the kernel, and nothing lives behind it. */
    return madvise(m->base + first, last - first, MADV_DONTNEED) ? -errno : 0;
}

static int memory_zero(struct hv_disk *disk, uint64_t offset, uint64_t length)
{
    struct memory_store *m = disk->store;

    if (!hv_range_fits(offset, length, m->usable_bytes))
        return -EIO;
    memset(m->base + offset, 0, length);
    mark_written(m, offset, length);
    return 0;
}

static int memory_extent(struct hv_disk *disk, uint64_t offset, bool *ret_mapped,
                         uint64_t *ret_length)
{
    struct memory_store *m = disk->store;
    uint64_t chunk = offset >> CHUNK_SHIFT;
    uint64_t bytes = hv_min_u64(disk->bytes, m->usable_bytes);
    uint8_t mapped;

    if (offset >= bytes)
        return -EIO;
    mapped = __atomic_load_n(&m->written[chunk], __ATOMIC_ACQUIRE);
    do
        chunk++;
    while (chunk << CHUNK_SHIFT < bytes &&
           __atomic_load_n(&m->written[chunk], __ATOMIC_RELAXED) == mapped);
    *ret_mapped = mapped;
    *ret_length = hv_min_u64(chunk << CHUNK_SHIFT, bytes) - offset;
    return 0;
}

/* Everything from `from` on becomes a hole. */
static int forget_from(struct memory_store *m, uint64_t from, uint64_t to)
{
    uint64_t page = hv_align_up(from, m->page_bytes);

    if (page < to && madvise(m->base + page, to - page, MADV_DONTNEED))
        return -errno;
    memset(m->base + from, 0, hv_min_u64(page, to) - from);
    for (uint64_t chunk = hv_align_up(from, CHUNK_BYTES) >> CHUNK_SHIFT; chunk << CHUNK_SHIFT < to;
         chunk++)
        __atomic_store_n(&m->written[chunk], 0, __ATOMIC_SEQ_CST);
    return 0;
}

/* disk->bytes is the lesser of the old and the new size here. */
static int memory_resize(struct hv_disk *disk, uint64_t bytes, uint64_t *ret_bytes)
{
    struct memory_store *m = disk->store;
    uint64_t usable = hv_align_up(bytes, m->page_bytes);
    int err;

    if (!bytes) {
        *ret_bytes = disk->bytes;
        return 0;
    }
    if (bytes > m->reserved_bytes)
        return -ENOSPC;
    if (usable > m->usable_bytes) {
        if (mprotect(m->base, usable, PROT_READ | PROT_WRITE))
            return -errno;
        (void)madvise(m->base, usable, MADV_HUGEPAGE); /* fewer page faults; a wish */
        m->usable_bytes = usable;
    }
    /* A command that was checked against an older size may have written behind the end until now. */
    err = forget_from(m, disk->bytes, m->usable_bytes);
    if (!err)
        *ret_bytes = bytes;
    return err;
}

static void memory_close(struct hv_disk *disk)
{
    struct memory_store *m = disk->store;

    if (!m)
        return;
    if (m->base)
        munmap(m->base, m->reserved_bytes);
    if (m->written)
        munmap(m->written, m->reserved_bytes >> CHUNK_SHIFT);
    free(m);
    disk->store = NULL;
}

static const struct hv_store_ops memory_ops = {
    .start = memory_start,
    .discard = memory_discard,
    .zero = memory_zero,
    .extent = memory_extent,
    .resize = memory_resize,
    .close = memory_close,
};

static void *reserve(uint64_t bytes, int protection)
{
    void *at = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED)
        return NULL;
    /* A process that locks its memory (mlockall) could not give back what is discarded. */
    (void)munlock(at, bytes);
    return at;
}

static int map_store(struct memory_store *m, uint64_t bytes)
{
    uint64_t usable = hv_align_up(bytes, m->page_bytes);

    m->reserved_bytes =
        hv_align_up(bytes > RESERVE_BYTES / 2 ? 2 * bytes : RESERVE_BYTES, CHUNK_BYTES);
    m->base = reserve(m->reserved_bytes, PROT_NONE);
    if (!m->base) { /* a limited address space: then without room to grow */
        m->reserved_bytes = hv_align_up(bytes, CHUNK_BYTES);
        m->base = reserve(m->reserved_bytes, PROT_NONE);
    }
    if (!m->base || mprotect(m->base, usable, PROT_READ | PROT_WRITE))
        return -ENOMEM;
    (void)madvise(m->base, usable, MADV_HUGEPAGE);
    m->usable_bytes = usable;
    m->written = reserve(m->reserved_bytes >> CHUNK_SHIFT, PROT_READ | PROT_WRITE);
    return m->written ? 0 : -ENOMEM;
}

int hv_store_memory_open(struct hv_disk *disk, const struct hv_disk_opts *opts, char *why)
{
    struct memory_store *m = NULL;
    int err = -ENOMEM;

    if (opts->bytes <= 1ull << 46)
        m = calloc(1, sizeof(*m));
    disk->store = m;
    if (m) {
        m->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
        err = map_store(m, opts->bytes);
    }
    if (err) {
        memory_close(disk);
        hv_disk_why(why, "memory disk: this machine cannot map %llu bytes",
                    (unsigned long long)opts->bytes);
        return err;
    }
    disk->ops = &memory_ops;
    disk->bytes = opts->bytes;
    disk->thin = !opts->no_thin;
    disk->discard_zeroes = true;
    disk->physical_bytes = disk->block_bytes;
    return 0;
}
