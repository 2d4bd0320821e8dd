/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings from a device file (/dev/uioN) or from the sysfs file of a sub-channel: mapped whole, and cut to pieces.
 *
 *   file          | control | data, out | control | data, in |
 *   span of out   | guard | control | guard | data | the same data again | guard |
 *   span of in    the same
 *
 * The pieces of a first mapping and the data areas of a second one are moved into the spans by mremap(2).
 */
#include <hv/ring.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hv/base/bits.h>

/** What is asked for, checked. */
struct rings {
    int fd;
    uint64_t offset;
    uint32_t page_bytes;
    uint32_t out_bytes;
    uint32_t in_bytes;
};

static bool ring_bytes_are_legal(uint32_t bytes, uint32_t page_bytes)
{
    return bytes > page_bytes && bytes >= HV_RING_MIN_BYTES && bytes <= HV_RING_MAX_BYTES &&
           bytes % page_bytes == 0;
}

/** Only a stand-in for a device has a size; touching it beyond its end would kill the process. */
static int check_rings(const struct rings *rings)
{
    uint64_t bytes = (uint64_t)rings->out_bytes + rings->in_bytes;
    struct stat st;

    if (!hv_is_power_of_two(rings->page_bytes) || rings->page_bytes < HV_PAGE_BYTES ||
        rings->offset % rings->page_bytes || !hv_range_fits(rings->offset, bytes, INT64_MAX) ||
        !ring_bytes_are_legal(rings->out_bytes, rings->page_bytes) ||
        !ring_bytes_are_legal(rings->in_bytes, rings->page_bytes))
        return -EINVAL;
    if (fstat(rings->fd, &st))
        return -errno;
    if (S_ISREG(st.st_mode) && !hv_range_fits(rings->offset, bytes, (uint64_t)st.st_size))
        return -EINVAL;
    return 0;
}

static int map_whole(const struct rings *rings, uint8_t **ret_start)
{
    void *start = mmap(NULL, (size_t)rings->out_bytes + rings->in_bytes, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_POPULATE, rings->fd, (off_t)rings->offset);

    if (start == MAP_FAILED)
        return -errno;
    *ret_start = start;
    return 0;
}

/** Address space for one ring: see the drawing above. */
static int reserve_span(const struct rings *rings, uint32_t ring_bytes,
                        struct hv_ring_area *ret_area)
{
    size_t page = rings->page_bytes;
    uint32_t data_bytes = ring_bytes - rings->page_bytes;
    size_t bytes = 4 * page + 2 * (size_t)data_bytes;
    uint8_t *span =
        mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (span == MAP_FAILED)
        return -errno;
    *ret_area = (struct hv_ring_area){
        .control = (void *)(span + page),
        .data = span + 3 * page,
        .data_bytes = data_bytes,
        .span = span,
        .span_bytes = bytes,
    };
    return 0;
}

/** A part of a whole mapping, and where it goes; NULL: nowhere. */
struct piece {
    uint8_t *from;
    size_t bytes;
    void *to;
};

/** Move or unmap all of them.  After a failure none is left where it was either. */
static int move_pieces(const struct piece *pieces, size_t count)
{
    int err = 0;

    for (size_t i = 0; i < count; i++) {
        const struct piece *p = &pieces[i];

        if (!err && p->to &&
            mremap(p->from, p->bytes, p->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, p->to) == MAP_FAILED)
            err = -errno;
        if (err || !p->to)
            (void)munmap(p->from, p->bytes);
    }
    return err;
}

/** Control page and data of both rings in a whole mapping, into the first or the second copy. */
static int move_whole(const struct rings *rings, uint8_t *start, const struct hv_ring_area *out,
                      const struct hv_ring_area *in, bool second)
{
    size_t page = rings->page_bytes;
    uint8_t *start_in = start + rings->out_bytes;
    const struct piece pieces[] = {
        {start, page, second ? NULL : out->control},
        {start + page, out->data_bytes, out->data + (second ? out->data_bytes : 0)},
        {start_in, page, second ? NULL : in->control},
        {start_in + page, in->data_bytes, in->data + (second ? in->data_bytes : 0)},
    };

    return move_pieces(pieces, HV_COUNT_OF(pieces));
}

/**
 * Write to one copy, look at the other.  Nobody has got to the last 8 bytes of a fresh ring; should the peer get there
 * this instant, what it writes stays.
 */
static int try_out(const struct hv_ring_area *area)
{
    _Atomic uint64_t *one = (void *)(area->data + area->data_bytes - sizeof(*one));
    const _Atomic uint64_t *other =
        (const void *)(area->data + 2 * (size_t)area->data_bytes - sizeof(*other));
    uint64_t was = atomic_load(one);
    uint64_t now = ~was, seen;

    if (!atomic_compare_exchange_strong(one, &was, now))
        return 0; /* the peer is at work right here */
    seen = atomic_load(other);
    if (!atomic_compare_exchange_strong(one, &now, was))
        return 0; /* the same */
    return seen == ~was ? 0 : -EIO;
}

static int fill_spans(const struct rings *rings, const struct hv_ring_area *out,
                      const struct hv_ring_area *in)
{
    int err = 0;

    for (int second = 0; !err && second < 2; second++) {
        uint8_t *start = NULL;

        err = map_whole(rings, &start);
        if (!err)
            err = move_whole(rings, start, out, in, second);
    }
    if (!err)
        err = try_out(out);
    return err ? err : try_out(in);
}

int hv_ring_map_device(int fd, uint64_t offset, uint32_t page_bytes, uint32_t out_bytes,
                       uint32_t in_bytes, struct hv_ring_area *ret_out, struct hv_ring_area *ret_in)
{
    const struct rings rings = {fd, offset, page_bytes, out_bytes, in_bytes};
    struct hv_ring_area out = {0}, in = {0};
    int err = check_rings(&rings);

    if (!err)
        err = reserve_span(&rings, out_bytes, &out);
    if (!err)
        err = reserve_span(&rings, in_bytes, &in);
    if (!err)
        err = fill_spans(&rings, &out, &in);
    if (err) {
        hv_ring_unmap(&out);
        hv_ring_unmap(&in);
        return err;
    }
    *ret_out = out;
    *ret_in = in;
    return 0;
}

/* ---- Without a second mapping ---- */

/** Private memory twice in a row, for the data area of one ring. */
static int make_copy(const struct rings *rings, struct hv_ring_area *area, uint32_t ring_bytes)
{
    uint32_t bytes = ring_bytes - rings->page_bytes;
    int fd = memfd_create("ring copy", MFD_CLOEXEC);
    int err = 0;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)bytes))
        err = -errno;
    if (!err)
        err = reserve_span(rings, ring_bytes, area);
    for (int second = 0; !err && second < 2; second++)
        if (mmap(area->data + (second ? bytes : 0), bytes, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED)
            err = -errno;
    (void)close(fd);
    return err;
}

/** The span's own place for the control page stays empty. */
static void use_whole(const struct rings *rings, uint8_t *start, struct hv_ring_area *area)
{
    area->control = (void *)start;
    area->shared = start + rings->page_bytes;
}

int hv_ring_map_device_copied(int fd, uint64_t offset, uint32_t page_bytes, uint32_t out_bytes,
                              uint32_t in_bytes, struct hv_ring_area *ret_out,
                              struct hv_ring_area *ret_in)
{
    const struct rings rings = {fd, offset, page_bytes, out_bytes, in_bytes};
    struct hv_ring_area out = {0}, in = {0};
    uint8_t *start = NULL;
    int err = check_rings(&rings);

    if (!err)
        err = make_copy(&rings, &out, out_bytes);
    if (!err)
        err = make_copy(&rings, &in, in_bytes);
    if (!err)
        err = map_whole(&rings, &start);
    if (err) {
        hv_ring_unmap(&out);
        hv_ring_unmap(&in);
        return err;
    }
    use_whole(&rings, start, &out);
    use_whole(&rings, start + out_bytes, &in);
    *ret_out = out;
    *ret_in = in;
    return 0;
}

/* ---- The memory goes away ---- */

static int replace(void *at, size_t bytes)
{
    void *got = mmap(at, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);

    return got == MAP_FAILED ? -errno : 0;
}

int hv_ring_detach(const struct hv_ring_area *area)
{
    int err;

    if (!area->control)
        return 0;
    if (area->shared) /* what else there is, is private already */
        return replace(area->control,
                       (size_t)(area->shared - (uint8_t *)area->control) + area->data_bytes);
    err = replace(area->control, HV_PAGE_BYTES);
    return err ? err : replace(area->data, 2 * (size_t)area->data_bytes);
}
