/* SPDX-License-Identifier: BSD-3-Clause */
/* Address space of a ring: aliases, guards, refusals. */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hv/ring.h>

#include "suite.h"

#define PAGE ((size_t)HV_PAGE_BYTES)

static int new_file(size_t bytes)
{
    int fd = memfd_create("ring", MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, (off_t)bytes)) {
        close(fd);
        fd = -1;
    }
    CU_ASSERT(fd >= 0);
    return fd;
}

/** The kernel says whether a byte can be read, without dying of it. */
static bool readable(const void *at)
{
    int fds[2];
    bool ok;

    if (pipe(fds))
        return false;
    ok = write(fds[1], at, 1) == 1;
    close(fds[0]);
    close(fds[1]);
    return ok;
}

static void check_area(const struct hv_ring_area *area, uint32_t data_bytes)
{
    uint8_t *control = (uint8_t *)area->control;

    CU_ASSERT(area->data_bytes == data_bytes);
    for (uint32_t i = 0; i < data_bytes; i += 1021) {
        area->data[i] = (uint8_t)(i / 1021 + 1);
        CU_ASSERT(area->data[data_bytes + i] == (uint8_t)(i / 1021 + 1));
        area->data[data_bytes + i] ^= 0x80;
        CU_ASSERT(area->data[i] == (uint8_t)((i / 1021 + 1) ^ 0x80));
    }
    CU_ASSERT(readable(control) && readable(control + PAGE - 1));
    CU_ASSERT(!readable(control - 1) && !readable(control + PAGE));
    CU_ASSERT(readable(area->data) && readable(area->data + 2 * (size_t)data_bytes - 1));
    CU_ASSERT(!readable(area->data - 1) && !readable(area->data + 2 * (size_t)data_bytes));
}

static void test_ring_map_pair(void)
{
    int fd = new_file(20 * PAGE);
    struct hv_ring_area out, in;
    uint8_t byte = 0;

    CU_ASSERT(!hv_ring_map(fd, 2 * PAGE, 2 * PAGE, 5 * PAGE, &out, &in));
    check_area(&out, PAGE);
    check_area(&in, 4 * PAGE);
    /* which page of the file is what */
    *(uint8_t *)out.control = 0xa1;
    out.data[0] = 0xa2;
    *(uint8_t *)in.control = 0xa3;
    in.data[4 * PAGE - 1] = 0xa4;
    CU_ASSERT(pread(fd, &byte, 1, 2 * PAGE) == 1 && byte == 0xa1);
    CU_ASSERT(pread(fd, &byte, 1, 3 * PAGE) == 1 && byte == 0xa2);
    CU_ASSERT(pread(fd, &byte, 1, 4 * PAGE) == 1 && byte == 0xa3);
    CU_ASSERT(pread(fd, &byte, 1, 9 * PAGE - 1) == 1 && byte == 0xa4);
    close(fd);
    out.data[1] = 1; /* lives on without the descriptor */
    hv_ring_unmap(&out);
    hv_ring_unmap(&in);
    CU_ASSERT(!out.control && !out.data && !out.data_bytes);
    hv_ring_unmap(&out);
    hv_ring_unmap(NULL);
}

static void test_ring_map_refuses(void)
{
    static const struct {
        const char *name;
        uint64_t offset;
        uint32_t out_bytes, in_bytes;
        int want;
    } rows[] = {
        {"smallest", 0, 2 * 4096, 2 * 4096, 0},
        {"to the end of the file", 12 * 4096, 2 * 4096, 2 * 4096, 0},
        {"no out ring", 0, 0, 2 * 4096, -EINVAL},
        {"out without data", 0, 4096, 2 * 4096, -EINVAL},
        {"in without data", 0, 2 * 4096, 4096, -EINVAL},
        {"uneven out", 0, 2 * 4096 + 8, 2 * 4096, -EINVAL},
        {"uneven in", 0, 2 * 4096, 3 * 4096 - 1, -EINVAL},
        {"uneven offset", 8, 2 * 4096, 2 * 4096, -EINVAL},
        {"file too short by a page", 13 * 4096, 2 * 4096, 2 * 4096, -EINVAL},
        {"beyond the file", 64 * 4096, 2 * 4096, 2 * 4096, -EINVAL},
        {"too large", 0, HV_RING_MAX_BYTES + 4096, 2 * 4096, -EINVAL},
        {"offset overflows", UINT64_MAX - 4095, 2 * 4096, 2 * 4096, -EINVAL},
        {"offset beyond off_t", 1ull << 63, 2 * 4096, 2 * 4096, -EINVAL},
    };
    int fd = new_file(16 * PAGE), bell = eventfd(0, EFD_CLOEXEC); /* cannot be mapped */
    struct hv_ring_area out = {.data_bytes = 7}, in = {.data_bytes = 8};

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        int err = hv_ring_map(fd, rows[i].offset, rows[i].out_bytes, rows[i].in_bytes, &out, &in);

        HV_CHECK_ROW(rows[i].name, err == rows[i].want);
        if (err) {
            HV_CHECK_ROW(rows[i].name, out.data_bytes == 7 && in.data_bytes == 8);
            continue;
        }
        hv_ring_unmap(&out);
        hv_ring_unmap(&in);
        out.data_bytes = 7;
        in.data_bytes = 8;
    }
    CU_ASSERT(hv_ring_map(-1, 0, 2 * PAGE, 2 * PAGE, &out, &in) == -EBADF);
    CU_ASSERT(hv_ring_map(bell, 0, 2 * PAGE, 2 * PAGE, &out, &in) == -ENODEV);
    close(bell);
    CU_ASSERT(out.data_bytes == 7 && in.data_bytes == 8);
    close(fd);
}

/** A ring over two files, with a run, a page backwards and the control page in the middle. */
static void test_ring_map_scattered(void)
{
    int a = new_file(8 * PAGE), b = new_file(8 * PAGE);
    const int fds[] = {a, b, b, b, a, a};
    const uint64_t offsets[] = {3 * PAGE, 2 * PAGE, 3 * PAGE, 4 * PAGE, 7 * PAGE, 1 * PAGE};
    struct hv_ring_area area = {.data_bytes = 7};
    uint8_t byte = 0;

    CU_ASSERT(!hv_ring_map_pages(fds, offsets, 6, &area));
    check_area(&area, 5 * PAGE);
    for (uint32_t i = 0; i < 6; i++) {
        uint8_t *page = i ? area.data + (i - 1) * PAGE : (uint8_t *)area.control;

        page[100] = (uint8_t)(0x70 + i);
        CU_ASSERT(pread(fds[i], &byte, 1, (off_t)offsets[i] + 100) == 1 && byte == 0x70 + i);
        if (i)
            CU_ASSERT(page[5 * PAGE + 100] == 0x70 + i);
    }
    hv_ring_unmap(&area);
    close(a);
    close(b);
}

static void test_ring_map_pages_refuses(void)
{
    static const struct {
        const char *name;
        uint64_t offsets[3];
        uint32_t page_count;
        int bad_fd; /* page whose descriptor is closed, or -1 */
        int want;
    } rows[] = {
        {"smallest", {0, 4096}, 2, -1, 0},
        {"one page twice", {0, 4096, 4096}, 3, -1, 0},
        {"no page", {0}, 0, -1, -EINVAL},
        {"control page alone", {0}, 1, -1, -EINVAL},
        {"too many", {0}, HV_RING_MAX_BYTES / 4096 + 1, -1, -EINVAL},
        {"uneven", {0, 4100}, 2, -1, -EINVAL},
        {"uneven control page", {1, 4096}, 2, -1, -EINVAL},
        {"beyond the file", {0, 4096, 8 * 4096}, 3, -1, -EINVAL},
        {"run beyond the file", {0, 7 * 4096, 8 * 4096}, 3, -1, -EINVAL},
        {"control page beyond the file", {8 * 4096, 0}, 2, -1, -EINVAL},
        {"bad descriptor", {0, 4096, 8192}, 3, 2, -EBADF},
        {"bad descriptor of the control page", {0, 4096}, 2, 0, -EBADF},
    };
    int fd = new_file(8 * PAGE);
    struct hv_ring_area area = {.data_bytes = 7};

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        int fds[3] = {fd, fd, fd}, err;

        if (rows[i].bad_fd >= 0)
            fds[rows[i].bad_fd] = -1;
        err = hv_ring_map_pages(fds, rows[i].offsets, rows[i].page_count, &area);
        HV_CHECK_ROW(rows[i].name, err == rows[i].want);
        if (!err)
            hv_ring_unmap(&area);
        else
            HV_CHECK_ROW(rows[i].name, area.data_bytes == 7 && !area.control);
        area.data_bytes = 7;
    }
    close(fd);
}

static const struct hv_test_case cases[] = {
    {"pair", test_ring_map_pair},
    {"refuses", test_ring_map_refuses},
    {"scattered", test_ring_map_scattered},
    {"pages refused", test_ring_map_pages_refuses},
};

int main(int argc, char **argv)
{
    return hv_test_main("ring_map", cases, HV_TEST_COUNT(cases), argc, argv);
}
