/* SPDX-License-Identifier: BSD-3-Clause */
/* The fault plan of a NIC: every word of it does what hv/netvsp.h says. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "netvsp_rig.h"
#include "suite.h"

#define FRAME 60u

/** The packet that a frame of the guest comes back in. */
static void next_packet(struct netvsp_rig *rig, struct rig_packet *ret_packet)
{
    CU_ASSERT_EQUAL(rig_send_frame(rig, 0, 2, FRAME), HV_NVSP_STATUS_SUCCESS);
    rig_receive(rig, 0, ret_packet);
}

static uint32_t ext_word(const struct rig_packet *packet, uint32_t offset)
{
    uint32_t word;

    memcpy(&word, packet->ext + offset, sizeof(word));
    return word;
}

/** Of the first frame's RNDIS header. */
static uint32_t head_word(struct netvsp_rig *rig, const struct rig_packet *packet, uint32_t offset)
{
    uint32_t word;

    memcpy(&word, rig->loop->memory + packet->id * rig->section_bytes + offset, sizeof(word));
    return word;
}

static void test_faults_from_guest(void)
{
    static const struct {
        const char *plan;
        unsigned completions;
        uint64_t id;
        uint32_t status;
    } rows[] = {
        {"drop@1", 0, 0, 0},
        {"repeat@1", 2, 5, HV_NVSP_STATUS_SUCCESS},
        {"wrong-id@1", 1, 5 ^ UINT64_C(0x5a5a5a5a5a5a5a5a), HV_NVSP_STATUS_SUCCESS},
        {"fail@1", 1, 5, HV_NVSP_STATUS_FAILURE},
        {"fail@2", 1, 5, HV_NVSP_STATUS_SUCCESS},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
        uint32_t message[10] = {HV_NVSP_SEND_RNDIS_PACKET};
        uint8_t frame[FRAME] = {2};
        struct rig_packet packet;
        struct netvsp_rig rig;
        unsigned completions = 0;

        opts.link = "sink";
        opts.fault = rows[i].plan;
        rig_init(&rig, &opts);
        rig_ready(&rig, HV_NVSP_VERSION_6_1);
        message[3] = rig_build(rig_section(&rig, 0), frame, sizeof(frame), NULL, 0);
        rig_send(&rig, 0, 5, message, sizeof(message));
        for (rig_receive(&rig, 0, &packet); packet.type; rig_receive(&rig, 0, &packet)) {
            HV_CHECK_ROW(rows[i].plan, packet.type == HV_PACKET_COMPLETION);
            HV_CHECK_ROW(rows[i].plan, packet.id == rows[i].id);
            HV_CHECK_ROW(rows[i].plan, rig_word(&packet, 4) == rows[i].status);
            completions++;
        }
        HV_CHECK_ROW(rows[i].plan, completions == rows[i].completions);
        rig_fini(&rig);
    }
}

static void test_faults_to_guest(void)
{
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
    struct rig_packet p;
    struct netvsp_rig rig;
    uint32_t ppi;
    uint64_t first;

    opts.fault = "bad-offset@1,bad-range@2,bad-rndis@3,bad-data@4,bad-ppi@5,bad-buffer@6,"
                 "bad-count@7,rx-twice@8,no-buffer@9,bad-rx-id@10";
    rig_init(&rig, &opts);
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    rig_filter(&rig, HV_FILTER_PROMISCUOUS);
    next_packet(&rig, &p);
    CU_ASSERT(ext_word(&p, 12) > rig.sections * rig.section_bytes);
    next_packet(&rig, &p);
    CU_ASSERT_EQUAL(ext_word(&p, 8), rig.section_bytes + 1);
    next_packet(&rig, &p);
    CU_ASSERT(head_word(&rig, &p, 4) > ext_word(&p, 8));
    next_packet(&rig, &p);
    CU_ASSERT(head_word(&rig, &p, 8) > 0xffff0000u);
    next_packet(&rig, &p);
    ppi = head_word(&rig, &p, 28) + 8;
    CU_ASSERT_EQUAL(head_word(&rig, &p, ppi), 0);
    CU_ASSERT(head_word(&rig, &p, 32) >= 12);
    next_packet(&rig, &p);
    CU_ASSERT_EQUAL(ext_word(&p, 0) & 0xffff, 0xbeef);
    next_packet(&rig, &p);
    CU_ASSERT_EQUAL(ext_word(&p, 4), 1001);
    next_packet(&rig, &p);
    first = p.id;
    rig_receive(&rig, 0, &p);
    CU_ASSERT_EQUAL(p.type, HV_PACKET_TRANSFER_PAGES);
    CU_ASSERT_EQUAL(p.id, first);
    next_packet(&rig, &p);
    CU_ASSERT_EQUAL(p.type, 0);
    CU_ASSERT_EQUAL(rig_stats(&rig).dropped_no_buffer, 1);
    next_packet(&rig, &p);
    CU_ASSERT(p.id >= rig.sections);
    rig_fini(&rig);
}

static void test_faults_of_requests(void)
{
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
    struct rig_packet answer;
    struct netvsp_rig rig;

    opts.fault = "refuse@1,ignore@3,refuse@4";
    rig_init(&rig, &opts);
    CU_ASSERT_EQUAL(rig_attach(&rig, HV_NVSP_VERSION_6_1, 1500), HV_NVSP_STATUS_FAILURE);
    rig_nvsp(&rig, HV_NVSP_INIT, 0x60000, 0x60000, 0, &answer);
    CU_ASSERT_EQUAL(rig_word(&answer, 12), HV_NVSP_STATUS_SUCCESS);
    rig_nvsp(&rig, HV_NVSP_SEND_SEND_BUFFER, RIG_SEND_GPADL, 0, 0, &answer);
    CU_ASSERT_EQUAL(answer.type, 0);
    rig_nvsp(&rig, HV_NVSP_SEND_SEND_BUFFER, RIG_SEND_GPADL, 0, 0, &answer);
    CU_ASSERT_EQUAL(rig_word(&answer, 4), HV_NVSP_STATUS_FAILURE);
    rig_fini(&rig);
}

static void test_faults_of_the_machine(void)
{
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
    struct netvsp_rig rig;
    struct rig_packet packet;
    unsigned indications = 0;

    opts.link = "sink";
    opts.fault = "link-flap@1,rescind@2,bad-index@3";
    rig_init(&rig, &opts);
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, 60), HV_NVSP_STATUS_SUCCESS);
    for (rig_receive(&rig, 0, &packet); packet.type; rig_receive(&rig, 0, &packet))
        indications += packet.type == HV_PACKET_TRANSFER_PAGES;
    CU_ASSERT_EQUAL(indications, 2);
    CU_ASSERT_FALSE(rig.loop->channels[0].rescinded);
    CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, 60), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT(rig.loop->channels[0].rescinded);
    (void)rig_send_frame(&rig, 0, 2, 60);
    CU_ASSERT(rig.loop->channels[0].corrupted);
    rig_fini(&rig);
}

static void test_delay(void)
{
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
    uint32_t message[10] = {HV_NVSP_SEND_RNDIS_PACKET};
    struct rig_packet packet = {0};
    uint8_t frame[FRAME] = {2};
    struct netvsp_rig rig;

    opts.link = "sink";
    opts.fault = "delay:20@1";
    rig_init(&rig, &opts);
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    message[3] = rig_build(rig_section(&rig, 0), frame, sizeof(frame), NULL, 0);
    rig_send(&rig, 0, 5, message, sizeof(message));
    rig_send(&rig, 0, 6, message, sizeof(message));
    rig_receive(&rig, 0, &packet);
    CU_ASSERT_EQUAL(packet.id, 6);
    while (!packet.type || packet.id == 6) /* bounded by the test's time limit */
        rig_receive(&rig, 0, &packet);
    CU_ASSERT_EQUAL(packet.id, 5);
    rig_fini(&rig);
}

static void test_plans(void)
{
    static const struct {
        const char *plan;
        const char *why; /* NULL = fine */
    } rows[] = {
        {"drop@1", NULL},
        {"drop@1+,delay:5@2/3,no-buffer@7", NULL},
        {"drop", "ACTION@N"},
        {"", "empty"},
        {"drop@1,", "empty"},
        {"drop@0", "from 1"},
        {"drop@1x", "from 1"},
        {"drop:5@1", "belong to delay"},
        {"delay@1", "belong to delay"},
        {"delay:0@1", "1 to 600000"},
        {"explode@1", "allowed: refuse"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        char why[HV_NETVSP_WHY_BYTES] = "";
        int err = hv_netvsp_parse_fault(rows[i].plan, why);

        HV_CHECK_ROW(rows[i].plan, err == (rows[i].why ? -EINVAL : 0));
        HV_CHECK_ROW(rows[i].plan, !rows[i].why || strstr(why, rows[i].why));
    }
}

static const struct hv_test_case cases[] = {
    {"from guest", test_faults_from_guest},
    {"to guest", test_faults_to_guest},
    {"requests", test_faults_of_requests},
    {"the machine", test_faults_of_the_machine},
    {"delay", test_delay},
    {"plans", test_plans},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsp.fault", cases, HV_TEST_COUNT(cases), argc, argv);
}
