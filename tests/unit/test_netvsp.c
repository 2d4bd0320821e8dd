/* SPDX-License-Identifier: BSD-3-Clause */
/* The NIC's handshake: versions, order, geometry, RNDIS control, sub-channels. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "netvsp_rig.h"
#include "suite.h"

static const uint32_t versions[] = {HV_NVSP_VERSION_1, HV_NVSP_VERSION_2, HV_NVSP_VERSION_4,
                                    HV_NVSP_VERSION_5, HV_NVSP_VERSION_6, HV_NVSP_VERSION_6_1};

static void test_versions(void)
{
    for (size_t most = 0; most < HV_TEST_COUNT(versions); most++) {
        struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;

        opts.max_version = versions[most];
        for (size_t i = 0; i < HV_TEST_COUNT(versions); i++) {
            struct netvsp_rig rig;
            struct rig_packet answer;

            rig_init(&rig, &opts);
            rig_nvsp(&rig, HV_NVSP_INIT, versions[i], versions[i], 0, &answer);
            CU_ASSERT_EQUAL(rig_word(&answer, 0), HV_NVSP_INIT_COMPLETE);
            CU_ASSERT_EQUAL(rig_word(&answer, 12) == HV_NVSP_STATUS_SUCCESS, i <= most);
            if (i <= most) {
                CU_ASSERT_EQUAL(rig_word(&answer, 4),
                                versions[i] == HV_NVSP_VERSION_1 ? 2 : 0xffffffffu);
                CU_ASSERT_EQUAL(answer.bytes, versions[i] == HV_NVSP_VERSION_6_1 ? 40 : 32);
            }
            rig_fini(&rig);
        }
    }
}

static void test_version_steps(void)
{
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
    struct netvsp_rig rig;
    struct rig_packet answer;

    opts.max_version = HV_NVSP_VERSION_5;
    rig_init(&rig, &opts);
    rig_nvsp(&rig, HV_NVSP_INIT, 0x00060001, 0x00060001, 0, &answer);
    CU_ASSERT_EQUAL(rig_word(&answer, 12), HV_NVSP_STATUS_TOO_NEW);
    rig_nvsp(&rig, HV_NVSP_INIT, 0x00030000, 0x00030000, 0, &answer); /* there is no 3 */
    CU_ASSERT_EQUAL(rig_word(&answer, 12), HV_NVSP_STATUS_FAILURE);
    rig_nvsp(&rig, HV_NVSP_INIT, HV_NVSP_VERSION_5, HV_NVSP_VERSION_5, 0, &answer);
    CU_ASSERT_EQUAL(rig_word(&answer, 12), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT_FALSE(rig.loop->channels[0].killed);
    rig_fini(&rig);
}

/** Sections: what the receive buffer holds, by version and MTU. */
static void test_geometry(void)
{
    static const struct {
        const char *name;
        uint32_t version, mtu, section_bytes, ret_mtu;
    } rows[] = {
        {"1500", HV_NVSP_VERSION_6_1, 1500, 1728, 1500},
        {"9000", HV_NVSP_VERSION_6_1, 9000, 9216, 9000},
        {"4000 at 5", HV_NVSP_VERSION_5, 4000, 4224, 4000},
        {"too small is 1500", HV_NVSP_VERSION_6, 576, 1728, 1500},
        {"too large is 1500", HV_NVSP_VERSION_2, 9001, 1728, 1500},
        {"none told", HV_NVSP_VERSION_1, 0, 1728, 1500},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_netvsp_state state;
        struct netvsp_rig rig;
        uint32_t status;

        rig_init(&rig, NULL);
        if (rows[i].section_bytes > 4096)
            rig.loop->gpadls[0].pages = LOOP_PAGES; /* enough of them */
        status = rig_attach(&rig, rows[i].version, rows[i].mtu);
        hv_netvsp_get_state(rig.nic, &state);
        if (rows[i].section_bytes * 33 > rig.loop->gpadls[0].pages * HV_PAGE_BYTES) {
            HV_CHECK_ROW(rows[i].name, status == HV_NVSP_STATUS_FAILURE); /* too few sections */
        } else {
            HV_CHECK_ROW(rows[i].name, status == HV_NVSP_STATUS_SUCCESS);
            HV_CHECK_ROW(rows[i].name, rig.section_bytes == rows[i].section_bytes);
            HV_CHECK_ROW(rows[i].name, rig.sections == rig.loop->gpadls[0].pages * HV_PAGE_BYTES /
                                                           rows[i].section_bytes);
        }
        HV_CHECK_ROW(rows[i].name, state.mtu == rows[i].ret_mtu);
        HV_CHECK_ROW(rows[i].name, state.nvsp_version == rows[i].version);
        rig_fini(&rig);
    }
}

/* ---- Order ---- */

/** Steps: I init, C config, N NDIS version, R receive buffer, S send buffer, r RNDIS INITIALIZE, q a query, d a frame,
 *  s sub-channels, P data path, X revoke, u an unknown message, U one of TCP chimney. */
static const struct {
    char step;
    uint32_t words[4];
} steps[] = {
    {'I', {HV_NVSP_INIT, HV_NVSP_VERSION_6_1, HV_NVSP_VERSION_6_1, 0}},
    {'4', {HV_NVSP_INIT, HV_NVSP_VERSION_4, HV_NVSP_VERSION_4, 0}},
    {'1', {HV_NVSP_INIT, HV_NVSP_VERSION_1, HV_NVSP_VERSION_1, 0}},
    {'C', {HV_NVSP_SEND_NDIS_CONFIG, 1514, 0, 0}},
    {'N', {HV_NVSP_SEND_NDIS_VERSION, 6, 30, 0}},
    {'R', {HV_NVSP_SEND_RECEIVE_BUFFER, RIG_RECEIVE_GPADL, HV_NVSP_RECEIVE_BUFFER_ID, 0}},
    {'S', {HV_NVSP_SEND_SEND_BUFFER, RIG_SEND_GPADL, 0, 0}},
    {'s', {HV_NVSP_SUBCHANNEL, 1, 1, 0}},
    {'P', {HV_NVSP_SWITCH_DATA_PATH, 0, 0, 0}},
    {'X', {HV_NVSP_REVOKE_RECEIVE_BUFFER, HV_NVSP_RECEIVE_BUFFER_ID, 0, 0}},
    {'U', {110, 0, 0, 0}},
    {'u', {999, 0, 0, 0}},
    {'r',
     {HV_NVSP_SEND_RNDIS_PACKET, HV_NVSP_CHANNEL_CONTROL, 0, sizeof(struct hv_rndis_initialize)}},
    {'q', {HV_NVSP_SEND_RNDIS_PACKET, HV_NVSP_CHANNEL_CONTROL, 0, sizeof(struct hv_rndis_request)}},
    {'d', {HV_NVSP_SEND_RNDIS_PACKET, HV_NVSP_CHANNEL_DATA, 0, 84}},
};

static void run_step(struct netvsp_rig *rig, char step)
{
    const struct hv_rndis_initialize initialize = {.hdr = {HV_RNDIS_INITIALIZE, sizeof(initialize)},
                                                   .major = 1};
    const struct hv_rndis_request query = {
        .hdr = {HV_RNDIS_QUERY, sizeof(query)}, .oid = HV_OID_MAX_FRAME_SIZE, .info_offset = 20};
    uint32_t message[10] = {0};

    for (size_t i = 0; i < HV_TEST_COUNT(steps); i++)
        if (steps[i].step == step)
            memcpy(message, steps[i].words, sizeof(steps[i].words));
    if (step == 'r')
        memcpy(rig_section(rig, 0), &initialize, sizeof(initialize));
    else if (step == 'q')
        memcpy(rig_section(rig, 0), &query, sizeof(query));
    else
        (void)rig_build(rig_section(rig, 0), message, 40, NULL, 0);
    rig_send(rig, 0, rig->next_id++, message, sizeof(message));
    CU_ASSERT(loop_settle(rig->loop));
}

static void test_order(void)
{
    static const struct {
        const char *steps;
        const char *
            why; /* what the guest is told when its last step breaks the rules; NULL = nothing is wrong */
    } rows[] = {
        {"ICNRSrqds", NULL},
        {"ICNRSr", NULL},
        {"INCRSr", NULL},
        {"ICRNSr", NULL},
        {"1NRSr", NULL},
        {"4CNRSr", NULL},
        {"ICNRSrqX", NULL},
        {"ICNRSrqXdq", NULL},
        {"ICNRSrP", NULL},
        {"ICNRX", NULL},
        {"C", "message 125 before INIT"},
        {"R", "message 101 before INIT"},
        {"r", "RNDIS before there is a receive buffer"},
        {"u", "message 999 before INIT"},
        {"II", "INIT after INIT"},
        {"ICNRSrI", "INIT after INIT"},
        {"IR", "receive buffer before NDIS configuration"},
        {"ICC", "a second NDIS configuration"},
        {"1C", "message 125, which version 0x2 does not have"},
        {"ICNN", "a second NDIS version"},
        {"ICRR", "a second receive buffer"},
        {"ICSS", "a second send buffer"},
        {"ICRSr", "RNDIS before the NDIS version"},
        {"ICNSr", "RNDIS before there is a receive buffer"},
        {"ICNRSq", "RNDIS begins with INITIALIZE"},
        {"ICNRSd", "frames before RNDIS INITIALIZE"},
        {"ICNRSrN", "message 100 after RNDIS INITIALIZE"},
        {"ICNRSrC", "message 125 after RNDIS INITIALIZE"},
        {"ICNRSrR", "message 101 after RNDIS INITIALIZE"},
        {"ICNRSrS", "message 104 after RNDIS INITIALIZE"},
        {"ICNRSs", "sub-channels before RNDIS INITIALIZE"},
        {"4CNRSrs", "message 133, which version 0x40000 does not have"},
        {"1NRSrP", "message 129, which version 0x2 does not have"},
        {"ICu", "message 999, which version 0x60001 does not have"},
        {"ICNRSrU", "message 110, which version 0x60001 does not have"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
        struct netvsp_rig rig;

        opts.queues = 4;
        rig_init(&rig, &opts);
        for (const char *step = rows[i].steps; *step; step++) {
            HV_CHECK_ROW(rows[i].steps, !rig.loop->channels[0].killed);
            run_step(&rig, *step);
        }
        HV_CHECK_ROW(rows[i].steps, rig.loop->channels[0].killed == (rows[i].why != NULL));
        HV_CHECK_ROW(rows[i].steps,
                     !rows[i].why || strstr(rig.loop->channels[0].why, rows[i].why) != NULL);
        rig_fini(&rig);
    }
}

static void test_cut_messages(void)
{
    static const struct {
        uint32_t type, bytes;
        bool killed;
    } rows[] = {
        {HV_NVSP_INIT, 8, true},
        {HV_NVSP_INIT, 16, false},
        {HV_NVSP_SEND_RNDIS_PACKET, 8, true},
        {HV_NVSP_INIT, 0, true},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        const uint32_t message[10] = {rows[i].type, HV_NVSP_VERSION_5, HV_NVSP_VERSION_5};
        struct netvsp_rig rig;

        rig_init(&rig, NULL);
        rig_send(&rig, 0, 1, message, rows[i].bytes);
        CU_ASSERT(loop_settle(rig.loop));
        CU_ASSERT_EQUAL(rig.loop->channels[0].killed, rows[i].killed);
        rig_fini(&rig);
    }
}

static void test_buffers_refused(void)
{
    static const struct {
        const char *name;
        uint32_t gpadl, id, pages, status;
    } rows[] = {
        {"fine", RIG_RECEIVE_GPADL, HV_NVSP_RECEIVE_BUFFER_ID, 40, HV_NVSP_STATUS_SUCCESS},
        {"no such GPADL", 0x99, HV_NVSP_RECEIVE_BUFFER_ID, 40, HV_NVSP_STATUS_FAILURE},
        {"another id", RIG_RECEIVE_GPADL, 0xbeef, 40, HV_NVSP_STATUS_FAILURE},
        {"33 sections", RIG_RECEIVE_GPADL, HV_NVSP_RECEIVE_BUFFER_ID, 14, HV_NVSP_STATUS_SUCCESS},
        {"too few", RIG_RECEIVE_GPADL, HV_NVSP_RECEIVE_BUFFER_ID, 13, HV_NVSP_STATUS_FAILURE},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rig_packet answer;
        struct netvsp_rig rig;

        rig_init(&rig, NULL);
        rig.loop->gpadls[0].pages = rows[i].pages;
        run_step(&rig, 'I');
        rig_receive(&rig, 0, &answer);
        run_step(&rig, 'C');
        rig_nvsp(&rig, HV_NVSP_SEND_RECEIVE_BUFFER, rows[i].gpadl, rows[i].id, 0, &answer);
        HV_CHECK_ROW(rows[i].name, rig_word(&answer, 4) == rows[i].status);
        HV_CHECK_ROW(rows[i].name,
                     !rig.loop->gpadls[0].mapped == (rows[i].status != HV_NVSP_STATUS_SUCCESS));
        if (rows[i].status != HV_NVSP_STATUS_SUCCESS) { /* it may try another one */
            rig.loop->gpadls[0].pages = 40;
            rig_nvsp(&rig, HV_NVSP_SEND_RECEIVE_BUFFER, RIG_RECEIVE_GPADL,
                     HV_NVSP_RECEIVE_BUFFER_ID, 0, &answer);
            HV_CHECK_ROW(rows[i].name, rig_word(&answer, 4) == HV_NVSP_STATUS_SUCCESS);
        }
        rig_fini(&rig);
    }
}

static void test_revoke_unmaps(void)
{
    struct netvsp_rig rig;

    rig_init(&rig, NULL);
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    CU_ASSERT(rig.loop->gpadls[0].mapped && rig.loop->gpadls[1].mapped);
    rig_nvsp(&rig, HV_NVSP_REVOKE_RECEIVE_BUFFER, HV_NVSP_RECEIVE_BUFFER_ID, 0, 0, NULL);
    CU_ASSERT(!rig.loop->gpadls[0].mapped && !rig.loop->gpadls[1].mapped);
    rig_nvsp(&rig, HV_NVSP_REVOKE_SEND_BUFFER, 0, 0, 0, NULL);
    CU_ASSERT_FALSE(rig.loop->channels[0].killed);
    /* and again, from the beginning */
    loop_close(rig.loop, 0);
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT_EQUAL(loop_open(rig.loop, 0), 0);
    rig.loop->gpadls[0].pages = RIG_RECEIVE_PAGES;
    rig.loop->gpadls[1].first = RIG_SEND_PAGE;
    rig.loop->gpadls[1].pages = RIG_SEND_PAGES;
    rig_ready(&rig, HV_NVSP_VERSION_5);
    rig_fini(&rig);
}

/** Frames, the revocation and more in one go: the frames are sent before their section is unmapped. */
static void test_revoke_behind_frames(void)
{
    const uint32_t sum[4] = {16, HV_PPI_CHECKSUM, 12, HV_TX_CSUM_IPV4 | HV_TX_CSUM_IPHDR};
    const uint32_t revoke[10] = {HV_NVSP_REVOKE_RECEIVE_BUFFER, HV_NVSP_RECEIVE_BUFFER_ID};
    uint32_t head[4] = {HV_NVSP_SEND_RNDIS_PACKET, HV_NVSP_CHANNEL_DATA, 0};
    struct netvsp_rig rig;
    uint8_t frame[60] = {2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 8, 0, 0x45};

    frame[17] = 46;
    rig_init(&rig, NULL);
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    rig_filter(&rig, HV_FILTER_PROMISCUOUS);
    /* one whose header must be read to be sent */
    head[3] = rig_build(rig_section(&rig, 0), frame, sizeof(frame), sum, sizeof(sum));
    rig_send(&rig, 0, 0, head, sizeof(head));
    for (unsigned i = 0; i < 40; i++)
        rig_send(&rig, 0, 0, revoke, sizeof(revoke));
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT_EQUAL(rig_stats(&rig).from_guest_packets, 1);
    CU_ASSERT(!rig.loop->gpadls[0].mapped && !rig.loop->gpadls[1].mapped);
    CU_ASSERT_FALSE(rig.loop->channels[0].killed);
    rig_fini(&rig);
}

/* ---- RNDIS ---- */

static void test_initialize(void)
{
    struct hv_rndis_initialize initialize = {
        .hdr = {HV_RNDIS_INITIALIZE, sizeof(initialize)}, .request_id = 0x1234, .major = 1};
    struct hv_rndis_initialize_complete reply;
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
    struct netvsp_rig rig;

    opts.max_packets_per_message = 17;
    rig_init(&rig, &opts);
    CU_ASSERT_EQUAL(rig_attach(&rig, HV_NVSP_VERSION_6_1, 1500), 1);
    CU_ASSERT_EQUAL(rig_control(&rig, &initialize, sizeof(initialize), &reply, sizeof(reply)), 52);
    CU_ASSERT_EQUAL(reply.hdr.type, 0x80000002u);
    CU_ASSERT_EQUAL(reply.hdr.length_bytes, 52);
    CU_ASSERT_EQUAL(reply.request_id, 0x1234);
    CU_ASSERT_EQUAL(reply.status, 0);
    CU_ASSERT_EQUAL(reply.major, 1);
    CU_ASSERT_EQUAL(reply.device_flags, 1);
    CU_ASSERT_EQUAL(reply.max_packets_per_message, 17);
    CU_ASSERT_EQUAL(reply.max_xfer_bytes, 0xefffffffu);
    CU_ASSERT_EQUAL(reply.packet_align_log2, 3);
    rig_fini(&rig);
}

static void test_keepalive_reset_halt(void)
{
    struct hv_rndis_bare bare = {.hdr = {HV_RNDIS_KEEPALIVE, sizeof(bare)}, .request_id = 77};
    struct hv_rndis_set_complete reply;
    struct netvsp_rig rig;
    uint32_t filter, bytes;

    rig_init(&rig, NULL);
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    CU_ASSERT_EQUAL(rig_control(&rig, &bare, sizeof(bare), &reply, sizeof(reply)), 16);
    CU_ASSERT_EQUAL(reply.hdr.type, 0x80000008u);
    CU_ASSERT_EQUAL(reply.request_id, 77);
    CU_ASSERT_EQUAL(reply.status, 0);
    rig_filter(&rig, 0xd);
    bare.hdr.type = HV_RNDIS_RESET;
    CU_ASSERT_EQUAL(rig_control(&rig, &bare, sizeof(bare), &reply, sizeof(reply)), 16);
    CU_ASSERT_EQUAL(reply.hdr.type, 0x80000006u);
    CU_ASSERT_EQUAL(reply.request_id, 0); /* the status stands there */
    CU_ASSERT_EQUAL(rig_query(&rig, HV_OID_PACKET_FILTER, NULL, 0, &filter, 4, &bytes), 0);
    CU_ASSERT_EQUAL(filter, 0);
    rig_filter(&rig, 0x20);
    bare.hdr.type = HV_RNDIS_HALT;
    CU_ASSERT_EQUAL(rig_control(&rig, &bare, sizeof(bare), &reply, sizeof(reply)), 0);
    CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 0xff, 60), HV_NVSP_STATUS_FAILURE);
    CU_ASSERT_FALSE(rig.loop->channels[0].killed);
    rig_fini(&rig);
}

/** Messages that make no sense cost a completion with "invalid RNDIS", nothing more. */
static void test_bad_control(void)
{
    static const struct {
        const char *name;
        uint32_t bytes, word[8];
        uint32_t reply_status; /* of a reply, ~0 = none but the completion's status */
    } rows[] = {
        {"four bytes", 4, {HV_RNDIS_QUERY}, ~0u},
        {"longer than the message", 28, {HV_RNDIS_QUERY, 32, 1, HV_OID_LINK_SPEED, 0, 20}, ~0u},
        {"query without an OID", 12, {HV_RNDIS_QUERY, 12, 1}, ~0u},
        {"an answer", 16, {HV_RNDIS_QUERY | HV_RNDIS_COMPLETE, 16}, ~0u},
        {"a frame", 28, {HV_RNDIS_PACKET, 28}, ~0u},
        {"unknown", 28, {0x99, 28}, ~0u},
        {"data outside",
         28,
         {HV_RNDIS_QUERY, 28, 1, HV_OID_LINK_SPEED, 4, 20},
         HV_RNDIS_STATUS_INVALID_DATA},
        {"data before the data",
         32,
         {HV_RNDIS_SET, 32, 1, HV_OID_PACKET_FILTER, 4, 0},
         HV_RNDIS_STATUS_INVALID_DATA},
        {"offset wraps",
         32,
         {HV_RNDIS_SET, 32, 1, HV_OID_PACKET_FILTER, 4, 0xfffffffcu},
         HV_RNDIS_STATUS_INVALID_DATA},
        {"length wraps",
         32,
         {HV_RNDIS_SET, 32, 1, HV_OID_PACKET_FILTER, 0xffffffffu, 20},
         HV_RNDIS_STATUS_INVALID_DATA},
    };
    struct netvsp_rig rig;

    rig_init(&rig, NULL);
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        const uint32_t message[10] = {HV_NVSP_SEND_RNDIS_PACKET, HV_NVSP_CHANNEL_CONTROL, 0,
                                      rows[i].bytes};
        uint32_t status = ~0u, completed = ~0u;
        struct rig_packet packet;

        memcpy(rig_section(&rig, 0), rows[i].word, sizeof(rows[i].word));
        rig_send(&rig, 0, 5, message, sizeof(message));
        for (int n = 0; n < 2; n++) {
            rig_receive(&rig, 0, &packet);
            if (packet.type == HV_PACKET_COMPLETION)
                completed = rig_word(&packet, 4);
            if (packet.type != HV_PACKET_TRANSFER_PAGES)
                continue;
            memcpy(&status, rig.loop->memory + 12 + rig.section_bytes * packet.id, 4);
            rig_complete(&rig, 0, packet.id);
        }
        HV_CHECK_ROW(rows[i].name, status == rows[i].reply_status);
        HV_CHECK_ROW(rows[i].name,
                     completed == (rows[i].reply_status == ~0u ? HV_NVSP_STATUS_INVALID_RNDIS
                                                               : HV_NVSP_STATUS_SUCCESS));
    }
    CU_ASSERT_EQUAL(rig_stats(&rig).dropped_bad, 6);
    rig_fini(&rig);
}

/** Sixteen answers go out; more wait for the guest to take some; who never does is dropped. */
static void test_answers_not_taken(void)
{
    const struct hv_rndis_bare bare = {.hdr = {HV_RNDIS_KEEPALIVE, sizeof(bare)}};
    const uint32_t message[10] = {HV_NVSP_SEND_RNDIS_PACKET, HV_NVSP_CHANNEL_CONTROL, 0,
                                  sizeof(bare)};
    struct rig_packet packet;
    struct netvsp_rig rig;
    unsigned answers = 0, asked;

    rig_init(&rig, NULL);
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    memcpy(rig_section(&rig, 0), &bare, sizeof(bare));
    for (int i = 0; i < 20; i++)
        rig_send(&rig, 0, 0, message, sizeof(message));
    for (rig_receive(&rig, 0, &packet); packet.type; rig_receive(&rig, 0, &packet))
        answers++;
    CU_ASSERT_EQUAL(answers, 16);
    for (uint64_t id = 0; id < 16; id++)
        rig_complete(&rig, 0, id);
    for (rig_receive(&rig, 0, &packet); packet.type; rig_receive(&rig, 0, &packet))
        answers++;
    CU_ASSERT_EQUAL(answers, 20);
    for (asked = 0; asked < 200 && !rig.loop->channels[0].killed; asked++) {
        rig_send(&rig, 0, 0, message, sizeof(message));
        rig_receive(&rig, 0, &packet);
    }
    CU_ASSERT(asked > 64 && asked < 100);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.loop->channels[0].why, "takes no answers"));
    rig_fini(&rig);
}

/* ---- Sub-channels ---- */

static void test_subchannels(void)
{
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
    struct hv_netvsp_state state;
    struct rig_packet packet;
    struct netvsp_rig rig;

    opts.queues = 4;
    rig_init(&rig, &opts);
    CU_ASSERT_EQUAL(rig.loop->device.max_sub_channels, 3);
    CU_ASSERT_EQUAL(loop_open(rig.loop, 1), -EINVAL); /* not granted */
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    rig_nvsp(&rig, HV_NVSP_SUBCHANNEL, 2, 1, 0, &packet);
    CU_ASSERT_EQUAL(rig_word(&packet, 4), HV_NVSP_STATUS_FAILURE); /* no such operation */
    rig_nvsp(&rig, HV_NVSP_SUBCHANNEL, 1, 9, 0, &packet);
    CU_ASSERT_EQUAL(rig_word(&packet, 0), HV_NVSP_SUBCHANNEL);
    CU_ASSERT_EQUAL(rig_word(&packet, 4), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT_EQUAL(rig_word(&packet, 8), 3); /* fewer than asked */
    CU_ASSERT_EQUAL(rig.loop->sub_channels_offered, 3);
    for (uint16_t i = 1; i <= 3; i++) {
        rig_receive(&rig, 0, &packet);
        CU_ASSERT_EQUAL(packet.type, 0); /* not before all are open */
        CU_ASSERT_EQUAL(loop_open(rig.loop, i), 0);
    }
    rig_receive(&rig, 0, &packet);
    CU_ASSERT_EQUAL(packet.type, HV_PACKET_INBAND);
    CU_ASSERT_EQUAL(packet.bytes, 80); /* 76, padded */
    CU_ASSERT_EQUAL(rig_word(&packet, 0), HV_NVSP_SEND_INDIRECTION_TABLE);
    CU_ASSERT_EQUAL(rig_word(&packet, 4), 16);
    CU_ASSERT_EQUAL(rig_word(&packet, 8), 12);
    for (uint32_t i = 0; i < 16; i++)
        CU_ASSERT_EQUAL(rig_word(&packet, 12 + 4 * i), i % 4);
    hv_netvsp_get_state(rig.nic, &state);
    CU_ASSERT_EQUAL(state.open_channels, 4);
    /* buffers are unmapped when every queue has heard of it */
    rig_nvsp(&rig, HV_NVSP_REVOKE_RECEIVE_BUFFER, HV_NVSP_RECEIVE_BUFFER_ID, 0, 0, NULL);
    CU_ASSERT(!rig.loop->gpadls[0].mapped);
    rig_fini(&rig);
}

static const struct hv_test_case cases[] = {
    {"versions", test_versions},           {"version steps", test_version_steps},
    {"geometry", test_geometry},           {"order", test_order},
    {"cut messages", test_cut_messages},   {"buffers refused", test_buffers_refused},
    {"revoke unmaps", test_revoke_unmaps}, {"revoke behind frames", test_revoke_behind_frames},
    {"initialize", test_initialize},       {"keepalive, reset, halt", test_keepalive_reset_halt},
    {"bad control", test_bad_control},     {"answers not taken", test_answers_not_taken},
    {"subchannels", test_subchannels},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsp", cases, HV_TEST_COUNT(cases), argc, argv);
}
