/* SPDX-License-Identifier: BSD-3-Clause */
/* The fault plan: its words, its counting, and what each fault does to an answer. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include <hv/base/clock.h>
#include <hv/base/endian.h>
#include <hv/wire/ring.h>

#include "storvsp_fault.h"
#include "storvsp_rig.h"
#include "suite.h"

static void test_parse_refuses(void)
{
    static const struct {
        const char *plan;
        const char *say;
    } rows[] = {
        {"", "empty word"},
        {",", "empty word"},
        {"drop@1,", "empty word"},
        {"drop", "\"@N\" is missing"},
        {"drop@", "drop@"},
        {"drop@0", "drop@0"},
        {"drop@-1", "drop@-1"},
        {"drop@1x", "drop@1x"},
        {"drop@1++", "drop@1++"},
        {"drop@1/", "drop@1/"},
        {"drop@1/0", "drop@1/0"},
        {"drop@4294967296", "4294967296"},
        {"drop@99999999999999999999", "99999999999999999999"},
        {"explode@1", "\"explode\" is not known; allowed: drop"},
        {"delay@5", "delay:200@5"},
        {"drop:5@5", "delay:200@5"},
        {"delay:@5", "1 to 600000"},
        {"delay:0@5", "1 to 600000"},
        {"delay:600001@5", "1 to 600000"},
        {"delay:5ms@5", "5ms"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@1",
         "not known"},
    };
    struct hv_storvsp_fault_plan plan = {.count = 77};
    char why[HV_DISK_WHY_BYTES], many[512] = "drop@1";

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        HV_CHECK_ROW(rows[i].plan, hv_storvsp_fault_parse(rows[i].plan, &plan, why) == -EINVAL);
        HV_CHECK_ROW(rows[i].plan, strstr(why, rows[i].say) != NULL);
        HV_CHECK_ROW(rows[i].plan, hv_storvsp_parse_fault(rows[i].plan, why) == -EINVAL);
    }
    for (size_t i = 1; i < HV_FAULT_RULES_MAX; i++)
        memcpy(many + strlen(many), ",drop@1", 8);
    CU_ASSERT_EQUAL(hv_storvsp_parse_fault(many, why), 0);
    memcpy(many + strlen(many), ",drop@1", 8);
    CU_ASSERT_EQUAL(hv_storvsp_parse_fault(many, why), -EINVAL);
    CU_ASSERT_EQUAL(plan.count, 77);
}

static void test_counting(void)
{
    static const enum hv_storvsp_fault_action want[] = {
        HV_FAULT_NONE,   HV_FAULT_DROP,   HV_FAULT_BUSY, HV_FAULT_NONE,
        HV_FAULT_NONE,   HV_FAULT_DELAY,  HV_FAULT_BUSY, HV_FAULT_REPEAT,
        HV_FAULT_REPEAT, HV_FAULT_REPEAT, HV_FAULT_BUSY,
    };
    struct hv_storvsp_fault_plan plan;
    char why[HV_DISK_WHY_BYTES];

    CU_ASSERT_EQUAL(hv_storvsp_fault_parse("drop@2,busy@3/4,delay:250@6,repeat@8+", &plan, why), 0);
    for (size_t i = 0; i < HV_TEST_COUNT(want); i++) {
        const struct hv_storvsp_fault_rule *rule = hv_storvsp_fault_next(&plan);

        CU_ASSERT_EQUAL(rule ? rule->action : HV_FAULT_NONE, want[i]);
        if (rule && rule->action == HV_FAULT_DELAY)
            CU_ASSERT_EQUAL(rule->delay_ms, 250);
    }
    CU_ASSERT(hv_storvsp_fault_has(&plan, HV_FAULT_DELAY));
    CU_ASSERT_FALSE(hv_storvsp_fault_has(&plan, HV_FAULT_RESCIND));
}

static void faulty(struct storvsp_rig *rig, const char *plan)
{
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;

    opts.fault = plan;
    rig_init(rig, &opts, 1, 0);
    rig_handshake(rig, HV_VSTOR_VERSION_6_2);
}

static void test_answers(void)
{
    static const struct {
        const char *plan;
        uint32_t bytes;
        uint8_t srb, scsi, sense_bytes, key;
        uint16_t asc;
        uint32_t moved;
    } rows[] = {
        {"shorten@1", 8, 0, 0, 0, 0, 0, 0},
        {"bad-length@1", 64, 0x01, 0, 0, 0, 0, 513},
        {"bad-sense@1", 64, 0x84, 2, 255, 0, 0, 512},
        {"medium-error@1", 64, 0x84, 2, 18, 3, 0x0c00, 0},
        {"nospace@1", 64, 0x84, 2, 18, 7, 0x2707, 0},
        {"busy@1", 64, 0x05, 8, 0, 0, 0, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rig_srb write = rig_rw(true, 0, 0, 1), read = rig_rw(false, 0, 0, 1);
        struct storvsp_rig rig;
        struct rig_reply reply;
        bool done_before_answer = rows[i].plan[0] == 's' || !strncmp(rows[i].plan, "bad", 3);

        faulty(&rig, rows[i].plan);
        rig_page(&rig, 0)[0] = 0xab;
        reply = rig_do(&rig, &write);
        HV_CHECK_ROW(rows[i].plan, reply.bytes == rows[i].bytes);
        HV_CHECK_ROW(rows[i].plan, reply.packet.srb.srb_status == rows[i].srb);
        HV_CHECK_ROW(rows[i].plan, reply.packet.srb.scsi_status == rows[i].scsi);
        HV_CHECK_ROW(rows[i].plan, reply.packet.srb.sense_bytes == rows[i].sense_bytes);
        HV_CHECK_ROW(rows[i].plan, reply.packet.srb.data_transfer_bytes == rows[i].moved);
        HV_CHECK_ROW(rows[i].plan, (reply.packet.srb.sense[2] & 0xf) == rows[i].key);
        HV_CHECK_ROW(rows[i].plan, hv_get_be16(reply.packet.srb.sense + 12) == rows[i].asc);
        /* The next one is fine, and shows whether the disk was touched. */
        read.first_page = 1;
        reply = rig_do(&rig, &read);
        HV_CHECK_ROW(rows[i].plan, reply.packet.srb.srb_status == HV_SRB_SUCCESS);
        HV_CHECK_ROW(rows[i].plan, rig_page(&rig, 1)[0] == (done_before_answer ? 0xab : 0));
        rig_fini(&rig);
    }
}

static void test_drop(void)
{
    struct rig_srb srb = rig_rw(true, 0, 0, 1);
    struct hv_storvsp_stats stats;
    struct storvsp_rig rig;
    struct rig_reply reply;

    faulty(&rig, "drop@1");
    rig_send_srb(&rig, 0, 1, &srb);
    CU_ASSERT_FALSE(rig_receive(&rig, 0, &reply));
    hv_storvsp_get_stats(rig.storvsp, &stats);
    CU_ASSERT_EQUAL(stats.in_flight, 0);
    CU_ASSERT_EQUAL(stats.write_bytes, 512);
    CU_ASSERT_EQUAL(rig_do(&rig, &srb).packet.srb.srb_status, HV_SRB_SUCCESS);
    rig_fini(&rig);
}

static void test_repeat_and_wrong_id(void)
{
    struct rig_srb srb = rig_rw(false, 0, 0, 1);
    struct storvsp_rig rig;
    struct rig_reply first, second;

    faulty(&rig, "repeat@1,wrong-id@2");
    rig_send_srb(&rig, 0, 77, &srb);
    CU_ASSERT(rig_receive(&rig, 0, &first));
    CU_ASSERT(rig_receive(&rig, 0, &second));
    CU_ASSERT_EQUAL(first.id, 77);
    CU_ASSERT(!memcmp(&first, &second, sizeof(first)));
    rig_send_srb(&rig, 0, 78, &srb);
    CU_ASSERT(rig_receive(&rig, 0, &first));
    CU_ASSERT_NOT_EQUAL(first.id, 78);
    CU_ASSERT_NOT_EQUAL(first.id, 0);
    CU_ASSERT_FALSE(rig_receive(&rig, 0, &second));
    rig_fini(&rig);
}

static void test_bad_index_and_rescind(void)
{
    struct rig_srb srb = rig_rw(false, 0, 0, 1);
    struct storvsp_rig rig;
    struct rig_reply reply;

    faulty(&rig, "rescind@1,bad-index@2");
    rig_send_srb(&rig, 0, 77, &srb);
    CU_ASSERT_FALSE(rig_receive(&rig, 0, &reply));
    CU_ASSERT(rig.loop->channels[0].rescinded);
    rig_send_srb(&rig, 0, 78, &srb);
    (void)loop_poll(rig.loop);
    CU_ASSERT(rig.loop->channels[0].corrupted);
    CU_ASSERT_EQUAL(rig_receive(&rig, 0, &reply), false);
    CU_ASSERT_NOT_EQUAL(rig.loop->channels[0].guest_rx.fault, HV_RING_FAULT_NONE);
    rig_fini(&rig);
}

/** Poll as a worker does until an answer is there; the delay ends it. */
static bool receive_within(struct storvsp_rig *rig, uint64_t ns, struct rig_reply *reply)
{
    uint64_t deadline = hv_clock_ns() + ns;

    while (hv_clock_ns() < deadline)
        if (rig_receive(rig, 0, reply))
            return true;
    return false;
}

static void test_delay_holds_nobody_up(void)
{
    struct rig_srb slow = rig_rw(true, 0, 0, 1), fast = rig_rw(false, 0, 0, 1);
    uint64_t start = hv_clock_ns();
    struct storvsp_rig rig;
    struct rig_reply reply;

    faulty(&rig, "delay:60@1,delay:20@2");
    rig_page(&rig, 0)[0] = 0xcd;
    fast.first_page = 1;
    rig_send_srb(&rig, 0, 1, &slow);
    rig_send_srb(&rig, 0, 2, &fast);
    rig_send_srb(&rig, 0, 3, &fast);
    CU_ASSERT(rig_receive(&rig, 0, &reply));
    CU_ASSERT_EQUAL(reply.id, 3);
    CU_ASSERT_EQUAL(rig_page(&rig, 1)[0], 0); /* the write has not begun */
    CU_ASSERT(receive_within(&rig, 10000000000u, &reply));
    CU_ASSERT_EQUAL(reply.id, 2);
    CU_ASSERT(hv_clock_ns() - start >= 20000000);
    CU_ASSERT(receive_within(&rig, 10000000000u, &reply));
    CU_ASSERT_EQUAL(reply.id, 1);
    CU_ASSERT(hv_clock_ns() - start >= 60000000);
    CU_ASSERT_EQUAL(rig_do(&rig, &fast).packet.srb.srb_status, HV_SRB_SUCCESS);
    CU_ASSERT_EQUAL(rig_page(&rig, 1)[0], 0xcd);
    rig_fini(&rig);
}

static void test_close_drops_delayed(void)
{
    struct rig_srb srb = rig_rw(true, 0, 0, 1);
    struct storvsp_rig rig;
    struct rig_reply reply;

    faulty(&rig, "delay:600000@1+");
    for (uint64_t i = 1; i < 20; i++)
        rig_send_srb(&rig, 0, i, &srb);
    CU_ASSERT_FALSE(rig_receive(&rig, 0, &reply));
    loop_close(rig.loop, 0);
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT_FALSE(rig.loop->channels[0].open);
    rig_fini(&rig);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"parse: refuses", test_parse_refuses},
        {"parse: counting", test_counting},
        {"answers", test_answers},
        {"drop", test_drop},
        {"repeat and wrong id", test_repeat_and_wrong_id},
        {"bad index and rescind", test_bad_index_and_rescind},
        {"delay holds nobody up", test_delay_holds_nobody_up},
        {"close drops delayed", test_close_drops_delayed},
    };

    return hv_test_main("storvsp.fault", cases, HV_TEST_COUNT(cases), argc, argv);
}
