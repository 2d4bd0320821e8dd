/* SPDX-License-Identifier: BSD-3-Clause */
/* GPADLs that a provider maps: what it sees there, who is refused, and when a teardown is answered. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <hv/ring.h>

#include "suite.h"
#include "test_bus_raw.h"

#define BUFFER       5u
#define BUFFER_PAGE  64u
#define BUFFER_PAGES 40u /* header and a body */
#define RING_PAGE    16u /* where raw_open() puts the rings */
#define RING_BYTES   (4u * HV_PAGE_BYTES)
#define STRANGER     0x77u

struct gpadl_rig {
    struct rig rig;
    struct raw raw;
    uint32_t relid;
    struct hv_ring_area out_area, in_area;
    struct hv_ring_tx tx;
    struct hv_ring_rx rx;
};

static void gpadl_start(struct gpadl_rig *g)
{
    memset(g, 0, sizeof(*g));
    rig_start(&g->rig, &(struct rig_opts){0});
    raw_ready(&g->raw, &g->rig, RAW_VERSION);
    g->relid = g->raw.offers[0].message.relid;
    CU_ASSERT_EQUAL_FATAL(raw_open(&g->raw, g->relid), 0);
    CU_ASSERT_EQUAL_FATAL(hv_ring_map(g->raw.memory_fd, RING_PAGE * HV_PAGE_BYTES, RING_BYTES,
                                      RING_BYTES, &g->out_area, &g->in_area),
                          0);
    CU_ASSERT_EQUAL_FATAL(hv_ring_tx_init(&g->tx, &g->out_area), 0);
    CU_ASSERT_EQUAL_FATAL(hv_ring_rx_init(&g->rx, &g->in_area), 0);
    raw_gpadl_backwards(&g->raw, g->relid, BUFFER, RAW_PFN + BUFFER_PAGE, BUFFER_PAGES);
    CU_ASSERT_EQUAL_FATAL(raw_gpadl_status(&g->raw), 0);
}

static void gpadl_stop(struct gpadl_rig *g)
{
    hv_ring_unmap(&g->out_area);
    hv_ring_unmap(&g->in_area);
    raw_disconnect(&g->raw);
    rig_stop(&g->rig);
}

/** A command and its answer. */
static struct echo_gpa_result command(struct gpadl_rig *g, unsigned what, unsigned gpadl)
{
    const struct hv_packet_desc desc = {.trans_id = ECHO_COMMAND_OF(what, gpadl),
                                        .type = HV_PACKET_INBAND,
                                        .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED,
                                        .payload_bytes = 8};
    struct echo_gpa_result result = {.pieces = -ETIMEDOUT};
    struct pollfd fd = {.fd = g->raw.offers[0].event_fd, .events = POLLIN};
    struct hv_packet_slot slot;
    struct hv_packet packet = {0};
    uint64_t count;

    if (hv_ring_tx_reserve(&g->tx, &desc, &slot))
        return result;
    if (hv_ring_tx_publish(&g->tx))
        raw_signal(&g->raw, 0);
    while (hv_ring_rx_peek(&g->rx, &packet) == -EAGAIN) {
        if (hv_ring_rx_unmask(&g->rx))
            continue;
        if (poll(&fd, 1, 10000) != 1)
            return result;
        CU_ASSERT_EQUAL(read(fd.fd, &count, sizeof(count)), (ssize_t)sizeof(count));
    }
    if (packet.trans_id == desc.trans_id && packet.payload_bytes == sizeof(result))
        memcpy(&result, packet.payload, sizeof(result));
    (void)hv_ring_rx_release(&g->rx);
    return result;
}

static uint8_t *buffer_page(struct gpadl_rig *g, uint32_t page)
{
    return g->raw.memory + (size_t)(BUFFER_PAGE + BUFFER_PAGES - 1 - page) * HV_PAGE_BYTES;
}

static bool torn_down(struct gpadl_rig *g, uint32_t id)
{
    const struct hv_msg_gpadl_torndown *message = raw_expect(&g->raw, HV_MSG_GPADL_TORNDOWN);

    return message && message->gpadl == id;
}

static void test_map(void)
{
    struct echo_gpa_result result;
    struct gpadl_rig g;

    gpadl_start(&g);
    for (uint32_t i = 0; i < BUFFER_PAGES; i++)
        *buffer_page(&g, i) = (uint8_t)(i * 3);
    result = command(&g, ECHO_MAP, BUFFER);
    CU_ASSERT_EQUAL(result.pieces, 0);
    CU_ASSERT_EQUAL(result.bytes, BUFFER_PAGES * HV_PAGE_BYTES);
    CU_ASSERT_EQUAL(result.sum, 3 * BUFFER_PAGES * (BUFFER_PAGES - 1) / 2);
    (void)command(&g, ECHO_TOUCH, 0);
    for (uint32_t i = 0; i < BUFFER_PAGES; i++) /* in the order of the list, not of the memory */
        CU_ASSERT_EQUAL(*buffer_page(&g, i), (uint8_t)(i * 3 + i + 1));
    CU_ASSERT_EQUAL(command(&g, ECHO_UNMAP, BUFFER).pieces, 0);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, BUFFER).pieces, 0); /* and again */
    gpadl_stop(&g);
}

/** One range that starts inside a page, or two ranges. */
static void post_odd_gpadl(struct gpadl_rig *g, uint32_t id, uint16_t ranges, uint32_t byte_offset)
{
    struct {
        struct hv_msg_gpadl_header header;
        struct {
            struct hv_gpa_range range;
            uint64_t pfn[1];
        } __attribute__((packed)) range[2];
    } __attribute__((packed)) message = {.header = {.hdr.type = HV_MSG_GPADL_HEADER,
                                                    .relid = g->relid,
                                                    .gpadl = id,
                                                    .range_bytes = (uint16_t)(16 * ranges),
                                                    .range_count = ranges}};

    for (uint16_t i = 0; i < ranges; i++) {
        message.range[i].range =
            (struct hv_gpa_range){.byte_count = 512, .byte_offset = byte_offset};
        message.range[i].pfn[0] = RAW_PFN + BUFFER_PAGE + i;
    }
    (void)raw_post(&g->raw, &message, sizeof(message.header) + 16u * ranges);
    CU_ASSERT_EQUAL(raw_gpadl_status(&g->raw), 0);
}

static void test_refused(void)
{
    struct gpadl_rig g;

    gpadl_start(&g);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, STRANGER).pieces, -ENOENT);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, RAW_GPADL & 0xffffu).pieces, -ENOENT);
    raw_gpadl_pages(&g.raw, g.relid, 9, RAW_PFN + BUFFER_PAGE, 4);
    CU_ASSERT_EQUAL(raw_gpadl_status(&g.raw), 0);
    raw_post_teardown(&g.raw, g.relid, 9);
    CU_ASSERT(torn_down(&g, 9));
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, 9).pieces, -ENOENT);
    post_odd_gpadl(&g, 10, 1, 8);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, 10).pieces, -EINVAL);
    post_odd_gpadl(&g, 11, 2, 0);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, 11).pieces, -EINVAL);
    post_odd_gpadl(&g, 12, 1, 0);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, 12).bytes, 512); /* a part of a page is fine */
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, BUFFER).pieces, 0);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, BUFFER).pieces, -EEXIST);
    CU_ASSERT_EQUAL(command(&g, ECHO_UNMAP, STRANGER).pieces, 0);
    gpadl_stop(&g);
}

static void test_teardown_waits(void)
{
    struct gpadl_rig g;

    gpadl_start(&g);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, BUFFER).pieces, 0);
    raw_post_teardown(&g.raw, g.relid, BUFFER);
    CU_ASSERT(raw_silent(&g.raw, 100));
    CU_ASSERT_EQUAL(command(&g, ECHO_TOUCH, 0).bytes, BUFFER_PAGES * HV_PAGE_BYTES);
    CU_ASSERT_EQUAL(*buffer_page(&g, 2), 3);
    CU_ASSERT_EQUAL(command(&g, ECHO_UNMAP, BUFFER).pieces, 0);
    CU_ASSERT(torn_down(&g, BUFFER));
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, BUFFER).pieces, -ENOENT);
    gpadl_stop(&g);
}

static void test_close_unmaps(void)
{
    struct gpadl_rig g;

    gpadl_start(&g);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, BUFFER).pieces, 0);
    raw_post_teardown(&g.raw, g.relid, BUFFER);
    CU_ASSERT(raw_silent(&g.raw, 50));
    raw_post_relid(&g.raw, HV_MSG_CLOSE_CHANNEL, g.relid);
    CU_ASSERT(torn_down(&g, BUFFER));
    gpadl_stop(&g);
}

/** What the guest removes stays as long as it is mapped; a second guest memory in its place changes nothing. */
static void test_memory_removed(void)
{
    struct gpadl_rig g;

    gpadl_start(&g);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, BUFFER).pieces, 0);
    CU_ASSERT_EQUAL(raw_memory_frame(&g.raw, HV_SOCK_MEMORY_REMOVE, RAW_PFN, RAW_PAGES, 0, -1), 0);
    CU_ASSERT_EQUAL(command(&g, ECHO_TOUCH, 0).bytes, BUFFER_PAGES * HV_PAGE_BYTES);
    CU_ASSERT_EQUAL(*buffer_page(&g, 7), 8);
    CU_ASSERT_EQUAL(command(&g, ECHO_UNMAP, BUFFER).pieces, 0);
    CU_ASSERT_EQUAL(command(&g, ECHO_MAP, BUFFER).pieces, -ENOENT); /* no guest memory any more */
    gpadl_stop(&g);
}

static unsigned mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "re");
    unsigned lines = 0;

    for (int c = file ? fgetc(file) : EOF; c != EOF; c = fgetc(file))
        lines += c == '\n';
    if (file)
        (void)fclose(file);
    return lines;
}

/** A guest that dies with its buffers mapped leaves nothing behind. */
static void test_death_unmaps(void)
{
    unsigned before = 0;
    struct gpadl_rig g;

    for (int round = 0; round < 5; round++) {
        gpadl_start(&g);
        CU_ASSERT_EQUAL(command(&g, ECHO_MAP, BUFFER).pieces, 0);
        gpadl_stop(&g);
        if (!round)
            before = mappings();
    }
    CU_ASSERT(mappings() <
              before + BUFFER_PAGES); /* one would be as many: the pages are backwards */
}

static const struct hv_test_case cases[] = {
    {"map", test_map},
    {"refused", test_refused},
    {"teardown waits", test_teardown_waits},
    {"close unmaps", test_close_unmaps},
    {"memory removed", test_memory_removed},
    {"death unmaps", test_death_unmaps},
};

int main(int argc, char **argv)
{
    return hv_test_main("pair.channel.gpadl", cases, HV_TEST_COUNT(cases), argc, argv);
}
