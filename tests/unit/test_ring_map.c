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

/* ---- Devices ---- */

/** What /dev/uioN and sysfs give: both rings in one piece, control areas as large as a page of the guest. */
static void test_ring_map_device(void)
{
    static const uint32_t pages[] = {4096, 16384, 65536};

    for (size_t i = 0; i < HV_TEST_COUNT(pages); i++) {
        uint32_t page = pages[i], out_bytes = 3 * page, in_bytes = 5 * page;
        int fd = new_file(2 * page + out_bytes + in_bytes);
        struct hv_ring_area out, in;
        uint64_t word;

        CU_ASSERT(!hv_ring_map_device(fd, page, page, out_bytes, in_bytes, &out, &in));
        CU_ASSERT(out.data_bytes == 2 * page && in.data_bytes == 4 * page);
        CU_ASSERT(!out.shared && !in.shared);
        /* tried out, and put back */
        CU_ASSERT(pread(fd, &word, 8, page + out_bytes - 8) == 8 && !word);
        CU_ASSERT(pread(fd, &word, 8, page + out_bytes + in_bytes - 8) == 8 && !word);
        for (uint32_t at = 0; at < out.data_bytes; at += 1021) {
            out.data[at] = 0x11;
            CU_ASSERT(out.data[out.data_bytes + at] == 0x11);
        }
        CU_ASSERT(!readable(out.data - 1) && !readable(out.data + 2 * (size_t)out.data_bytes));
        CU_ASSERT(!readable((uint8_t *)in.control - 1));
        atomic_store(&in.control->write_index, 0x12345678);
        CU_ASSERT(pread(fd, &word, 4, page + out_bytes) == 4 && (uint32_t)word == 0x12345678);
        in.data[2 * (size_t)in.data_bytes - 1] = 0x22;
        CU_ASSERT(pread(fd, &word, 1, page + out_bytes + in_bytes - 1) == 1);
        CU_ASSERT_EQUAL(word & 0xff, 0x22);
        hv_ring_unmap(&out);
        hv_ring_unmap(&in);
        CU_ASSERT(!out.control && !in.control);
        close(fd);
    }
}

static void test_ring_map_device_refused(void)
{
    static const struct {
        const char *name;
        uint32_t page, offset, out, in;
    } rows[] = {
        {"no data", 4096, 0, 4096, 8192},
        {"no data in", 4096, 0, 8192, 4096},
        {"odd page", 4097, 0, 8192, 8192},
        {"small page", 2048, 0, 8192, 8192},
        {"part of a page", 65536, 0, 65536 + 4096, 131072},
        {"offset", 65536, 4096, 131072, 131072},
        {"too large", 4096, 0, HV_RING_MAX_BYTES + 4096, 8192},
        {"beyond the file", 4096, 8 * 65536 - 8192, 8192, 8192},
    };
    struct hv_ring_area out = {.data_bytes = 7}, in = {.data_bytes = 8};
    int fd = new_file(8 * 65536);

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        HV_CHECK_ROW(rows[i].name, hv_ring_map_device(fd, rows[i].offset, rows[i].page, rows[i].out,
                                                      rows[i].in, &out, &in) == -EINVAL);
        HV_CHECK_ROW(rows[i].name,
                     hv_ring_map_device_copied(fd, rows[i].offset, rows[i].page, rows[i].out,
                                               rows[i].in, &out, &in) == -EINVAL);
    }
    CU_ASSERT(hv_ring_map_device(-1, 0, 4096, 8192, 8192, &out, &in) == -EBADF);
    CU_ASSERT(out.data_bytes == 7 && in.data_bytes == 8);
    close(fd);
}

/** In place of a packet that a failure leaves out. */
static uint8_t dummy[4096];

/** Packets of many sizes through a small ring, so that they lie across its end; each is looked at in one piece. */
static void pump(struct hv_ring_area *tx_area, struct hv_ring_area *rx_area)
{
    struct hv_ring_tx tx = {0};
    struct hv_ring_rx rx = {0};

    CU_ASSERT(!hv_ring_tx_init(&tx, tx_area) && !hv_ring_rx_init(&rx, rx_area));
    for (uint32_t i = 0; i < 200; i++) {
        struct hv_packet_desc desc = {
            .trans_id = i, .type = HV_PACKET_INBAND, .payload_bytes = 8 + i * 8};
        struct hv_packet_slot slot = {.payload = dummy};
        struct hv_packet packet = {.payload = dummy};
        bool same = true;

        CU_ASSERT(!hv_ring_tx_reserve(&tx, &desc, &slot));
        memset(slot.payload, (int)i, desc.payload_bytes);
        CU_ASSERT(hv_ring_rx_peek(&rx, &packet) == -EAGAIN); /* not published */
        (void)hv_ring_tx_publish(&tx);
        CU_ASSERT(!hv_ring_rx_peek(&rx, &packet) && packet.trans_id == i);
        for (uint32_t at = 0; at < packet.payload_bytes; at++)
            same = same && ((const uint8_t *)packet.payload)[at] == (uint8_t)i;
        CU_ASSERT(same && packet.payload_bytes == desc.payload_bytes);
        (void)hv_ring_rx_release(&rx);
    }
}

static void test_ring_map_copied(void)
{
    int fd = new_file(5 * PAGE);
    struct hv_ring_area out, in, host_out, host_in;

    CU_ASSERT(!hv_ring_map_device(fd, 0, 4096, 2 * PAGE, 3 * PAGE, &host_out, &host_in));
    CU_ASSERT(!hv_ring_map_device_copied(fd, 0, 4096, 2 * PAGE, 3 * PAGE, &out, &in));
    CU_ASSERT(out.shared && in.shared && out.data != out.shared);
    CU_ASSERT(!readable(in.data + 2 * (size_t)in.data_bytes));
    pump(&out, &host_out);
    pump(&host_in, &in);
    hv_ring_unmap(&host_out);
    hv_ring_unmap(&host_in);
    hv_ring_unmap(&out);
    hv_ring_unmap(&in);
    close(fd);
}

/** A reader in a copy sees what was there when it looked, not what a peer makes of it afterwards. */
static void test_ring_map_copied_keeps(void)
{
    int fd = new_file(4 * PAGE);
    struct hv_ring_area out, in, host_out, host_in;
    struct hv_packet_desc desc = {.type = HV_PACKET_INBAND, .payload_bytes = 8};
    struct hv_packet_slot slot = {.payload = dummy};
    struct hv_packet packet = {.payload = dummy};
    struct hv_ring_tx tx = {0};
    struct hv_ring_rx rx = {0};

    CU_ASSERT(!hv_ring_map_device(fd, 0, 4096, 2 * PAGE, 2 * PAGE, &host_out, &host_in));
    CU_ASSERT(!hv_ring_tx_init(&tx, &host_in) && !hv_ring_tx_reserve(&tx, &desc, &slot));
    memset(slot.payload, 0x11, 8);
    (void)hv_ring_tx_publish(&tx);
    /* what is there at the start is copied, too */
    CU_ASSERT(!hv_ring_map_device_copied(fd, 0, 4096, 2 * PAGE, 2 * PAGE, &out, &in));
    CU_ASSERT(!hv_ring_rx_init(&rx, &in));
    memset(slot.payload, 0x22, 8);
    CU_ASSERT(!hv_ring_rx_peek(&rx, &packet));
    CU_ASSERT_EQUAL(*(const uint8_t *)packet.payload, 0x11);
    hv_ring_unmap(&host_out);
    hv_ring_unmap(&host_in);
    hv_ring_unmap(&out);
    hv_ring_unmap(&in);
    close(fd);
}

/** After that both ends work on, and nothing of it reaches the file. */
static void test_ring_detach(void)
{
    static const bool copied[] = {false, true};

    for (size_t i = 0; i < HV_TEST_COUNT(copied); i++) {
        int fd = new_file(4 * PAGE);
        struct hv_ring_area out, in, host_out, host_in;
        uint8_t before[4 * 4096], after[4 * 4096];
        struct hv_ring_tx tx = {0};
        struct hv_packet_desc desc = {.type = HV_PACKET_INBAND, .payload_bytes = 8};
        struct hv_packet_slot slot = {.payload = dummy};

        CU_ASSERT(!(copied[i] ? hv_ring_map_device_copied
                              : hv_ring_map_device)(fd, 0, 4096, 2 * PAGE, 2 * PAGE, &out, &in));
        CU_ASSERT(!hv_ring_map_device(fd, 0, 4096, 2 * PAGE, 2 * PAGE, &host_out, &host_in));
        pump(&out, &host_out);
        CU_ASSERT(!hv_ring_tx_init(&tx, &out));
        CU_ASSERT(pread(fd, before, sizeof(before), 0) == sizeof(before));
        CU_ASSERT(!hv_ring_detach(&out) && !hv_ring_detach(&in));
        CU_ASSERT(!hv_ring_detach(&out)); /* once more is fine */
        CU_ASSERT(!hv_ring_tx_reserve(&tx, &desc, &slot));
        memset(slot.payload, 0x5a, 8);
        (void)hv_ring_tx_publish(&tx);
        atomic_store(&in.control->interrupt_mask, 9);
        CU_ASSERT(pread(fd, after, sizeof(after), 0) == sizeof(after));
        CU_ASSERT(!memcmp(before, after, sizeof(before)));
        hv_ring_unmap(&out);
        hv_ring_unmap(&in);
        hv_ring_unmap(&host_out);
        hv_ring_unmap(&host_in);
        close(fd);
    }
}

static const struct hv_test_case cases[] = {
    {"device", test_ring_map_device},
    {"device refused", test_ring_map_device_refused},
    {"copied", test_ring_map_copied},
    {"copied keeps", test_ring_map_copied_keeps},
    {"detach", test_ring_detach},
    {"pair", test_ring_map_pair},
    {"refuses", test_ring_map_refuses},
    {"scattered", test_ring_map_scattered},
    {"pages refused", test_ring_map_pages_refuses},
};

int main(int argc, char **argv)
{
    return hv_test_main("ring_map", cases, HV_TEST_COUNT(cases), argc, argv);
}
