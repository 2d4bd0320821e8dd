/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames through a NIC: in sections and by page, filters, sections that come back, queues, hostile guests. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "netvsp_rig.h"
#include "suite.h"

#define FRAME 60u

static void init(struct netvsp_rig *rig, const char *link)
{
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;

    opts.link = link;
    rig_init(rig, &opts);
    rig_ready(rig, HV_NVSP_VERSION_6_1);
    rig_filter(rig, HV_FILTER_PROMISCUOUS);
}

/* ---- There and back ---- */

static void test_loop(void)
{
    struct hv_rndis_packet head;
    struct hv_netvsp_stats stats;
    struct netvsp_rig rig;
    uint8_t data[2048];
    uint64_t id;

    init(&rig, "loop");
    for (uint32_t bytes = 14; bytes <= 1518; bytes += 47) {
        CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, bytes), HV_NVSP_STATUS_SUCCESS);
        CU_ASSERT_EQUAL(rig_receive_frames(&rig, 0, &head, data, &id), 1);
        CU_ASSERT_EQUAL(head.data_bytes, bytes);
        CU_ASSERT_EQUAL((head.data_offset + 8) % 4, 2); /* so that the IP header is aligned */
        CU_ASSERT(!memcmp(data + 8 + head.data_offset, rig_section(&rig, 0) + 44, bytes));
        rig_complete(&rig, 0, id);
    }
    stats = rig_stats(&rig);
    CU_ASSERT_EQUAL(stats.from_guest_packets, 33);
    CU_ASSERT_EQUAL(stats.to_guest_packets, 33);
    CU_ASSERT_EQUAL(stats.from_guest_bytes, stats.to_guest_bytes);
    CU_ASSERT_EQUAL(stats.dropped_bad + stats.dropped_filter + stats.dropped_no_buffer, 0);
    rig_fini(&rig);
}

/** Eight frames in a section are one message there, and one packet of eight ranges back. */
static void test_aggregated(void)
{
    struct hv_rndis_packet head;
    uint8_t frame[FRAME] = {2, 2, 2, 2, 2, 2}, data[2048];
    struct netvsp_rig rig;
    uint32_t bytes = 0;
    uint64_t id;

    init(&rig, "loop");
    for (uint8_t i = 0; i < 8; i++) {
        frame[20] = i;
        bytes += rig_build(rig_section(&rig, 2) + bytes, frame, sizeof(frame), NULL, 0);
    }
    CU_ASSERT_EQUAL(rig_send_section(&rig, 0, 2, bytes), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT_EQUAL(rig_receive_frames(&rig, 0, &head, data, &id), 8);
    CU_ASSERT_EQUAL(head.data_bytes, FRAME);
    CU_ASSERT_EQUAL(rig_stats(&rig).from_guest_messages, 1);
    CU_ASSERT_EQUAL(rig_stats(&rig).to_guest_messages, 1);
    rig_complete(&rig, 0, id);
    /* one more than was allowed: eight are sent, the guest is told */
    bytes += rig_build(rig_section(&rig, 2) + bytes, frame, sizeof(frame), NULL, 0);
    CU_ASSERT_EQUAL(rig_send_section(&rig, 0, 2, bytes), HV_NVSP_STATUS_INVALID_RNDIS);
    CU_ASSERT_EQUAL(rig_receive_frames(&rig, 0, &head, data, &id), 8);
    CU_ASSERT_EQUAL(rig_stats(&rig).dropped_bad, 1);
    rig_fini(&rig);
}

/** Headers in a range of their own, or across two pages; the frame in three more. */
static const struct {
    const char *name;
    uint32_t first_bytes, first_offset; /* of the first range: header and perhaps more */
} page_layouts[] = {
    {"header alone", 44, 0},           {"header at the end of a page", 44, 4052},
    {"header across pages", 44, 4080}, {"header and some", 60, 100},
    {"header in pieces", 20, 0},
};

static void test_by_page(void)
{
    struct netvsp_rig rig;
    uint8_t message[2048], frame[1500], data[2048];

    init(&rig, "loop");
    for (uint32_t i = 0; i < sizeof(frame); i++)
        frame[i] = (uint8_t)(i * 13 + 1);
    for (size_t i = 0; i < HV_TEST_COUNT(page_layouts); i++) {
        const uint32_t nvsp[10] = {HV_NVSP_SEND_RNDIS_PACKET, HV_NVSP_CHANNEL_DATA,
                                   HV_NVSP_SECTION_NONE};
        uint32_t length = rig_build(message, frame, sizeof(frame), NULL, 0);
        uint32_t done = 0, words = 1, ranges = 0, page = RIG_FREE_PAGE;
        uint64_t ext[32] = {0}, id;
        struct hv_rndis_packet head;
        struct rig_packet answer;

        while (done < length) {
            uint32_t bytes = ranges ? 500 : page_layouts[i].first_bytes;
            uint32_t offset = ranges ? 7 * ranges : page_layouts[i].first_offset, at = 0;

            if (bytes > length - done)
                bytes = length - done;
            ext[words++] = (uint64_t)offset << 32 | bytes;
            while (at < bytes) {
                uint32_t n = bytes - at < 4096 - offset ? bytes - at : 4096 - offset;

                memcpy(rig.loop->memory + (size_t)page * 4096 + offset, message + done + at, n);
                ext[words++] = LOOP_FIRST_PFN + page++;
                at += n;
                offset = 0;
            }
            done += bytes;
            ranges++;
        }
        ext[0] = (uint64_t)ranges << 32;
        CU_ASSERT_EQUAL(loop_send(rig.loop, 0,
                                  &(struct hv_packet_desc){.trans_id = 9,
                                                           .type = HV_PACKET_GPA_DIRECT,
                                                           .flags = 1,
                                                           .ext_bytes = words * 8,
                                                           .payload_bytes = 40},
                                  ext, nvsp),
                        0);
        rig_receive(&rig, 0, &answer);
        HV_CHECK_ROW(page_layouts[i].name,
                     answer.type == HV_PACKET_COMPLETION && rig_word(&answer, 4) == 1);
        HV_CHECK_ROW(page_layouts[i].name, rig_receive_frames(&rig, 0, &head, data, &id) == 1);
        HV_CHECK_ROW(page_layouts[i].name,
                     head.data_bytes == sizeof(frame) &&
                         !memcmp(data + 8 + head.data_offset, frame, sizeof(frame)));
        rig_complete(&rig, 0, id);
    }
    rig_fini(&rig);
}

static void test_vlan(void)
{
    const uint32_t ppi[4] = {16, HV_PPI_VLAN, 12, 5u | HV_VLAN_CFI | 0xabcu << HV_VLAN_ID_SHIFT};
    struct hv_rndis_packet head;
    uint8_t frame[FRAME] = {2, 2, 2, 2, 2, 2}, data[2048];
    struct netvsp_rig rig;
    uint32_t bytes;
    uint64_t id;

    init(&rig, "loop");
    bytes = rig_build(rig_section(&rig, 0), frame, sizeof(frame), ppi, sizeof(ppi));
    CU_ASSERT_EQUAL(rig_send_section(&rig, 0, 0, bytes), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT_EQUAL(rig_receive_frames(&rig, 0, &head, data, &id), 1);
    CU_ASSERT_EQUAL(head.ppi_bytes, 16);
    CU_ASSERT(!memcmp(data + 8 + head.ppi_offset, ppi, sizeof(ppi)));
    CU_ASSERT_EQUAL(head.data_bytes, FRAME);
    rig_fini(&rig);
}

/** A guest that did not say 802.1Q gets its tags in the frame. */
static void test_vlan_inside(void)
{
    const uint32_t ppi[4] = {16, HV_PPI_VLAN, 12, 5u | HV_VLAN_CFI | 0xabcu << HV_VLAN_ID_SHIFT};
    const uint8_t tag[4] = {0x81, 0x00, 0xba, 0xbc};
    struct hv_rndis_packet head;
    uint8_t frame[FRAME] = {2, 2, 2, 2, 2, 2}, data[2048], *at;
    struct netvsp_rig rig;
    uint32_t bytes;
    uint64_t id;

    rig_init(&rig, NULL);
    rig_ready(&rig, HV_NVSP_VERSION_1); /* there is nowhere to say it */
    rig_filter(&rig, HV_FILTER_PROMISCUOUS);
    for (uint8_t i = 6; i < FRAME; i++)
        frame[i] = i;
    bytes = rig_build(rig_section(&rig, 0), frame, sizeof(frame), ppi, sizeof(ppi));
    CU_ASSERT_EQUAL(rig_send_section(&rig, 0, 0, bytes), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT_EQUAL(rig_receive_frames(&rig, 0, &head, data, &id), 1);
    CU_ASSERT_EQUAL(head.ppi_bytes, 0);
    CU_ASSERT_EQUAL(head.data_bytes, FRAME + 4);
    at = data + 8 + head.data_offset;
    CU_ASSERT(!memcmp(at, frame, 12) && !memcmp(at + 12, tag, 4) &&
              !memcmp(at + 16, frame + 12, FRAME - 12));
    rig_fini(&rig);
}

/* ---- Hostile guests ---- */

static const struct {
    const char *name;
    int field;                     /* of the header, set to `value`; -1 = none */
    uint32_t value, section_bytes; /* 0 = as long as the message */
    uint32_t ppi[4];
} bad_packets[] = {
    {"type", 0, 2, 0, {0}},
    {"length beyond the section's bytes", 1, 5000, 0, {0}},
    {"length below the header", 1, 43, 0, {0}},
    {"length 0", 1, 0, 0, {0}},
    {"offset inside the header", 2, 35, 0, {0}},
    {"offset wraps", 2, 0xfffffff8u, 0, {0}},
    {"data beyond the message", 3, 61, 0, {0}},
    {"data wraps", 3, 0xffffffffu, 0, {0}},
    {"no data", 3, 0, 0, {0}},
    {"thirteen bytes", 3, 13, 0, {0}},
    {"out of band", 5, 4, 0, {0}},
    {"out of band, counted", 6, 1, 0, {0}},
    {"PPI inside the header", 7, 32, 0, {16, 8, 12, 0}},
    {"PPI misaligned", 7, 38, 0, {16, 8, 12, 0}},
    {"PPI beyond the message", 8, 200, 0, {16, 8, 12, 0}},
    {"PPI wraps", 8, 0xfffffff0u, 0, {16, 8, 12, 0}},
    {"PPI cut", 8, 8, 0, {16, 8, 12, 0}},
    {"PPI of length 0", -1, 0, 0, {0, 8, 12, 0}},
    {"PPI longer than the list", -1, 0, 0, {20, 8, 12, 0}},
    {"PPI of odd length", -1, 0, 0, {13, 8, 12, 0}},
    {"PPI data inside its header", -1, 0, 0, {16, 0, 8, 1}},
    {"PPI data beyond it", -1, 0, 0, {16, 0, 13, 1}},
    {"LSO without a size", -1, 0, 0, {16, 2, 12, HV_LSO_V2}},
    {"cut after the header", -1, 0, 43, {0}},
    {"a byte", -1, 0, 1, {0}},
    {"nothing", -1, 0, 0xffff0000u, {0}},
    {"more than a section", -1, 0, 6145, {0}},
};

static void test_bad_packets(void)
{
    uint8_t frame[FRAME] = {2, 2, 2, 2, 2, 2};
    struct netvsp_rig rig;

    init(&rig, "loop");
    for (size_t i = 0; i < HV_TEST_COUNT(bad_packets); i++) {
        uint8_t *section = rig_section(&rig, 0);
        bool ppis = bad_packets[i].ppi[1] || bad_packets[i].ppi[0];
        uint32_t bytes = rig_build(section, frame, sizeof(frame), bad_packets[i].ppi,
                                   ppis ? sizeof(bad_packets[i].ppi) : 0);
        struct rig_packet packet;

        if (bad_packets[i].field >= 0)
            memcpy(section + 4 * bad_packets[i].field, &bad_packets[i].value, 4);
        if (bad_packets[i].section_bytes)
            bytes = bad_packets[i].section_bytes == 0xffff0000u ? 0 : bad_packets[i].section_bytes;
        HV_CHECK_ROW(bad_packets[i].name,
                     rig_send_section(&rig, 0, 0, bytes) == HV_NVSP_STATUS_INVALID_RNDIS);
        HV_CHECK_ROW(bad_packets[i].name, rig_stats(&rig).dropped_bad == i + 1);
        rig_receive(&rig, 0, &packet);
        HV_CHECK_ROW(bad_packets[i].name, packet.type == 0);
        HV_CHECK_ROW(bad_packets[i].name, !rig.loop->channels[0].killed);
    }
    CU_ASSERT_EQUAL(rig_send_section(&rig, 0, 8, 104), HV_NVSP_STATUS_INVALID_RNDIS);
    CU_ASSERT_EQUAL(rig_send_section(&rig, 0, 0xfffffffeu, 104), HV_NVSP_STATUS_INVALID_RNDIS);
    CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, 1519), HV_NVSP_STATUS_INVALID_RNDIS); /* MTU */
    CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, 60), HV_NVSP_STATUS_SUCCESS); /* it goes on */
    rig_fini(&rig);
}

static void test_bad_pages(void)
{
    static const struct {
        const char *name;
        uint32_t words;
        uint64_t ext[4];
    } rows[] = {
        {"no range", 3, {0, 104, LOOP_FIRST_PFN}},
        {"no page", 2, {1ull << 32, 104}},
        {"not guest memory", 3, {1ull << 32, 104, 5}},
        {"empty range", 3, {1ull << 32, 0, LOOP_FIRST_PFN}},
    };
    const uint32_t nvsp[10] = {HV_NVSP_SEND_RNDIS_PACKET, HV_NVSP_CHANNEL_DATA,
                               HV_NVSP_SECTION_NONE};
    struct netvsp_rig rig;

    init(&rig, "loop");
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        const struct hv_packet_desc desc = {.trans_id = 5,
                                            .type = HV_PACKET_GPA_DIRECT,
                                            .flags = 1,
                                            .ext_bytes = rows[i].words * 8,
                                            .payload_bytes = 40};
        struct rig_packet answer;

        CU_ASSERT_EQUAL(loop_send(rig.loop, 0, &desc, rows[i].ext, nvsp), 0);
        rig_receive(&rig, 0, &answer);
        HV_CHECK_ROW(rows[i].name, answer.type == HV_PACKET_COMPLETION && answer.id == 5 &&
                                       rig_word(&answer, 4) == HV_NVSP_STATUS_INVALID_RNDIS);
    }
    rig_fini(&rig);
}

/** Completions of what was never sent are counted; sections do not double. */
static void test_bad_completions(void)
{
    struct hv_rndis_packet head;
    struct netvsp_rig rig;
    uint8_t data[2048];
    uint64_t id;

    init(&rig, "loop");
    CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, 60), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT_EQUAL(rig_receive_frames(&rig, 0, &head, data, &id), 1);
    rig_complete(&rig, 0, id + 1);
    rig_complete(&rig, 0, rig.sections);
    rig_complete(&rig, 0, UINT64_MAX);
    rig_complete(&rig, 0, id | 1ull << 32);
    CU_ASSERT_EQUAL(rig_stats(&rig).dropped_bad, 4);
    rig_complete(&rig, 0, id);
    CU_ASSERT_EQUAL(rig_stats(&rig).dropped_bad, 4);
    rig_complete(&rig, 0, id);
    CU_ASSERT_EQUAL(rig_stats(&rig).dropped_bad, 5);
    CU_ASSERT_FALSE(rig.loop->channels[0].killed);
    rig_fini(&rig);
}

/* ---- Sections ---- */

/** All sections go out once before the first is used again; none is left: frames are dropped and counted. */
static void test_sections_rotate(void)
{
    struct hv_rndis_packet head;
    struct rig_packet packet;
    struct netvsp_rig rig;
    uint8_t data[2048];
    uint64_t id, first = 0;
    uint32_t usable, sent = 0;

    init(&rig, "loop");
    usable = rig.sections - 16;
    for (uint32_t i = 0; i < usable; i++) {
        CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, 60), HV_NVSP_STATUS_SUCCESS);
        CU_ASSERT_EQUAL(rig_receive_frames(&rig, 0, &head, data, &id), 1);
        CU_ASSERT(id >= 16 && id < rig.sections);
        if (!i)
            first = id;
        else
            CU_ASSERT_EQUAL(id, first + i); /* first in, first out */
        sent++;
        if (i == 5)
            rig_complete(&rig, 0, first + 2); /* back of the queue */
    }
    CU_ASSERT_EQUAL(sent, usable);
    CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, 60), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT_EQUAL(rig_receive_frames(&rig, 0, &head, data, &id), 1);
    CU_ASSERT_EQUAL(id, first + 2);
    CU_ASSERT_EQUAL(rig_stats(&rig).buffer_ran_dry, 1);
    CU_ASSERT_EQUAL(rig_stats(&rig).dropped_no_buffer, 0);
    CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, 60), HV_NVSP_STATUS_SUCCESS);
    rig_receive(&rig, 0, &packet);
    CU_ASSERT_EQUAL(packet.type, 0);
    CU_ASSERT_EQUAL(rig_stats(&rig).dropped_no_buffer, 1);
    CU_ASSERT_FALSE(loop_arm(rig.loop, 0)); /* nothing to do but wait */
    rig_complete(&rig, 0, first);
    CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, 60), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT_EQUAL(rig_receive_frames(&rig, 0, &head, data, &id), 1);
    CU_ASSERT_EQUAL(id, first);
    rig_fini(&rig);
}

/** A source fills the receive buffer, stops, and goes on with what comes back; whole packets of ranges. */
static void test_source(void)
{
    struct hv_rndis_packet head;
    struct netvsp_rig rig;
    uint8_t data[2048];
    uint32_t frames = 0, n;
    uint64_t id;

    init(&rig, "source:200");
    for (int round = 0; round < 10; round++) {
        while ((n = rig_receive_frames(&rig, 0, &head, data, &id))) {
            CU_ASSERT_EQUAL(head.data_bytes, 200);
            frames += n;
            if (round)
                break;
        }
        if (n)
            rig_complete(&rig, 0, id);
        else if (!round)
            CU_ASSERT_EQUAL(frames, rig.sections - 16);
    }
    CU_ASSERT_EQUAL(rig_stats(&rig).to_guest_bytes, 200 * rig_stats(&rig).to_guest_packets);
    rig_filter(&rig, 0);
    rig_fini(&rig);
}

/* ---- Packet filter ---- */

static void test_filter(void)
{
    static const struct {
        const char *name;
        uint32_t filter;
        uint8_t destination; /* six times */
        bool wanted;
    } rows[] = {
        {"nothing is wanted", 0, 0xff, false},
        {"broadcast", HV_FILTER_BROADCAST, 0xff, true},
        {"no broadcast", HV_FILTER_DIRECTED | HV_FILTER_ALLMULTI, 0xff, false},
        {"own", HV_FILTER_DIRECTED, 0x02, true},
        {"not directed", HV_FILTER_BROADCAST, 0x02, false},
        {"somebody else's", HV_FILTER_DIRECTED | HV_FILTER_BROADCAST | HV_FILTER_ALLMULTI, 0x04,
         false},
        {"promiscuous", HV_FILTER_PROMISCUOUS, 0x04, true},
        {"all groups", HV_FILTER_ALLMULTI, 0x33, true},
        {"a group on the list", HV_FILTER_MULTICAST, 0x35, true},
        {"a group not on it", HV_FILTER_MULTICAST, 0x33, false},
        {"groups not wanted", HV_FILTER_DIRECTED, 0x35, false},
    };
    const uint8_t list[12] = {1, 2, 3, 4, 5, 6, 0x35, 0x35, 0x35, 0x35, 0x35, 0x35};
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
    struct netvsp_rig rig;
    uint64_t dropped = 0;

    memset(opts.mac, 2, 6);
    rig_init(&rig, &opts);
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_MULTICAST_LIST, list, sizeof(list)), 0);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_rndis_packet head;
        uint8_t data[2048];
        uint64_t id;
        uint32_t n;

        rig_filter(&rig, rows[i].filter);
        CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, rows[i].destination, 60), HV_NVSP_STATUS_SUCCESS);
        n = rig_receive_frames(&rig, 0, &head, data, &id);
        HV_CHECK_ROW(rows[i].name, n == (rows[i].wanted ? 1 : 0));
        if (n)
            rig_complete(&rig, 0, id);
        dropped += !rows[i].wanted;
        HV_CHECK_ROW(rows[i].name, rig_stats(&rig).dropped_filter == dropped);
    }
    rig_fini(&rig);
}

static const struct hv_test_case cases[] = {
    {"loop", test_loop},
    {"aggregated", test_aggregated},
    {"by page", test_by_page},
    {"vlan", test_vlan},
    {"vlan inside", test_vlan_inside},
    {"bad packets", test_bad_packets},
    {"bad pages", test_bad_pages},
    {"bad completions", test_bad_completions},
    {"sections rotate", test_sections_rotate},
    {"source", test_source},
    {"filter", test_filter},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsp.data", cases, HV_TEST_COUNT(cases), argc, argv);
}
