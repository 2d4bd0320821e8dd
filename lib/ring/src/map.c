/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address space of one ring, guard pages without access between and around:
 *
 *   | guard | control page | guard | data | the same data again | guard |
 */
#include <hv/ring.h>

#include <sys/mman.h>
#include <sys/stat.h>

#include <hv/base/bits.h>

#define GUARD_BYTES HV_PAGE_BYTES

static size_t span_bytes(uint32_t data_bytes)
{
    return 3u * GUARD_BYTES + HV_PAGE_BYTES + 2 * (size_t)data_bytes;
}

/** Address space alone; sizes were checked. */
static int reserve_span(uint32_t data_bytes, struct hv_ring_area *ret_area)
{
    uint8_t *start = mmap(NULL, span_bytes(data_bytes), PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (start == MAP_FAILED)
        return -errno;
    ret_area->span = start;
    ret_area->span_bytes = span_bytes(data_bytes);
    ret_area->control = (void *)(start + GUARD_BYTES);
    ret_area->data = start + 2 * GUARD_BYTES + HV_PAGE_BYTES;
    ret_area->data_bytes = data_bytes;
    return 0;
}

/** Populated now, so that the data path takes no page fault. */
static int place(void *at, size_t bytes, int fd, uint64_t offset)
{
    void *got = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd,
                     (off_t)offset);

    return got == MAP_FAILED ? -errno : 0;
}

/** A run of data at `position` of the data area, into both copies. */
static int place_data(const struct hv_ring_area *area, uint32_t position, uint32_t bytes, int fd,
                      uint64_t offset)
{
    int err = place(area->data + position, bytes, fd, offset);

    return err ? err : place(area->data + area->data_bytes + position, bytes, fd, offset);
}

/** Touching a mapping beyond the end of its file kills the process: refuse it here. */
static int check_file(int fd, uint64_t offset, uint64_t bytes)
{
    struct stat st;

    if (offset % HV_PAGE_BYTES || !hv_range_fits(offset, bytes, INT64_MAX))
        return -EINVAL;
    if (fstat(fd, &st))
        return -errno;
    if (S_ISREG(st.st_mode) && !hv_range_fits(offset, bytes, (uint64_t)st.st_size))
        return -EINVAL;
    return 0;
}

static bool ring_bytes_are_legal(uint64_t bytes)
{
    return bytes >= HV_RING_MIN_BYTES && bytes <= HV_RING_MAX_BYTES && bytes % HV_PAGE_BYTES == 0;
}

static int map_one(int fd, uint64_t offset, uint32_t ring_bytes, struct hv_ring_area *ret_area)
{
    struct hv_ring_area area = {0};
    int err = reserve_span(ring_bytes - HV_PAGE_BYTES, &area);

    if (err)
        return err;
    err = place(area.control, HV_PAGE_BYTES, fd, offset);
    if (!err)
        err = place_data(&area, 0, area.data_bytes, fd, offset + HV_PAGE_BYTES);
    if (err) {
        hv_ring_unmap(&area);
        return err;
    }
    *ret_area = area;
    return 0;
}

int hv_ring_map(int fd, uint64_t offset, uint32_t out_bytes, uint32_t in_bytes,
                struct hv_ring_area *ret_out, struct hv_ring_area *ret_in)
{
    struct hv_ring_area out = {0}, in = {0};
    int err;

    if (!ring_bytes_are_legal(out_bytes) || !ring_bytes_are_legal(in_bytes))
        return -EINVAL;
    err = check_file(fd, offset, (uint64_t)out_bytes + in_bytes);
    if (err)
        return err;
    err = map_one(fd, offset, out_bytes, &out);
    if (err)
        return err;
    err = map_one(fd, offset + out_bytes, in_bytes, &in);
    if (err) {
        hv_ring_unmap(&out);
        return err;
    }
    *ret_out = out;
    *ret_in = in;
    return 0;
}

/** How many pages from `first` on follow each other in one file. */
static uint32_t run_pages(const int *fds, const uint64_t *offsets, uint32_t first, uint32_t count)
{
    uint32_t n = 1;

    while (first + n < count && fds[first + n] == fds[first] &&
           offsets[first + n] == offsets[first] + (uint64_t)n * HV_PAGE_BYTES)
        n++;
    return n;
}

static int map_runs(const struct hv_ring_area *area, const int *fds, const uint64_t *offsets,
                    uint32_t page_count)
{
    int err = check_file(fds[0], offsets[0], HV_PAGE_BYTES);

    if (!err)
        err = place(area->control, HV_PAGE_BYTES, fds[0], offsets[0]);
    for (uint32_t i = 1, n; !err && i < page_count; i += n) {
        n = run_pages(fds, offsets, i, page_count);
        err = check_file(fds[i], offsets[i], (uint64_t)n * HV_PAGE_BYTES);
        if (!err)
            err = place_data(area, (i - 1) * HV_PAGE_BYTES, n * HV_PAGE_BYTES, fds[i], offsets[i]);
    }
    return err;
}

int hv_ring_map_pages(const int *fds, const uint64_t *offsets, uint32_t page_count,
                      struct hv_ring_area *ret_area)
{
    struct hv_ring_area area = {0};
    int err;

    if (!ring_bytes_are_legal((uint64_t)page_count * HV_PAGE_BYTES))
        return -EINVAL;
    err = reserve_span((page_count - 1) * HV_PAGE_BYTES, &area);
    if (err)
        return err;
    err = map_runs(&area, fds, offsets, page_count);
    if (err) {
        hv_ring_unmap(&area);
        return err;
    }
    *ret_area = area;
    return 0;
}

void hv_ring_unmap(struct hv_ring_area *area)
{
    if (!area || !area->control)
        return;
    if (area->shared) /* outside of the span, behind the control page */
        (void)munmap(area->control,
                     (size_t)(area->shared - (uint8_t *)area->control) + area->data_bytes);
    (void)munmap(area->span, area->span_bytes); /* cannot fail: it is a mapping */
    *area = (struct hv_ring_area){0};
}
