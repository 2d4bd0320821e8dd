/* SPDX-License-Identifier: BSD-3-Clause */
/* What answers mean: every SRB status, SCSI status and sense that is told apart. */
#include <errno.h>
#include <string.h>

#include <suite.h>

#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

#include "sense_impl.h"

#define OK      HV_SRB_SUCCESS
#define FAILED  HV_SRB_ERROR
#define VALID   HV_SRB_SENSE_VALID
#define CHECK   HV_SCSI_STATUS_CHECK_CONDITION
#define NOTHING 0xff

static const struct {
    const char *name;
    unsigned srb, scsi;
    unsigned key, asc; /* key NOTHING: no sense */
    int action, error;
    bool rescan;
} answers[] = {
    {"good", OK, 0, NOTHING, 0, HV_STORVSC_DONE, 0, false},
    {"good, queue frozen", OK | HV_SRB_QUEUE_FROZEN, 0, NOTHING, 0, HV_STORVSC_DONE, 0, false},
    {"check without sense", OK, CHECK, NOTHING, 0, HV_STORVSC_DONE, -EIO, false},
    {"sense without the flag", FAILED, CHECK, 6, 0x2900, HV_STORVSC_DONE, -EIO, false},
    {"busy", OK, HV_SCSI_STATUS_BUSY, NOTHING, 0, HV_STORVSC_AGAIN_LATER, -EIO, false},
    {"task set full", FAILED, HV_SCSI_STATUS_TASK_SET_FULL, NOTHING, 0, HV_STORVSC_AGAIN_LATER,
     -EIO, false},
    {"reservation conflict", FAILED, HV_SCSI_STATUS_RESERVATION_CONFLICT, NOTHING, 0,
     HV_STORVSC_DONE, -EBUSY, false},
    {"task aborted", HV_SRB_ABORTED, HV_SCSI_STATUS_TASK_ABORTED, NOTHING, 0, HV_STORVSC_AGAIN,
     -EIO, false},
    {"unknown SCSI status", OK, 0x77, NOTHING, 0, HV_STORVSC_DONE, -EIO, false},
    {"SRB busy", HV_SRB_BUSY, 0, NOTHING, 0, HV_STORVSC_AGAIN_LATER, -EIO, false},
    {"SRB pending", HV_SRB_PENDING, 0, NOTHING, 0, HV_STORVSC_DONE, -EIO, false},
    {"SRB aborted", HV_SRB_ABORTED, 0, NOTHING, 0, HV_STORVSC_AGAIN, -EIO, false},
    {"SRB bus reset", HV_SRB_BUS_RESET, 0, NOTHING, 0, HV_STORVSC_AGAIN, -EIO, false},
    {"SRB flushed", HV_SRB_FLUSHED, 0, NOTHING, 0, HV_STORVSC_AGAIN, -EIO, false},
    {"SRB timeout", HV_SRB_TIMEOUT, 0, NOTHING, 0, HV_STORVSC_AGAIN, -EIO, false},
    {"SRB error, good status", FAILED, 0, NOTHING, 0, HV_STORVSC_DONE, -EIO, false},
    {"SRB overrun", HV_SRB_DATA_OVERRUN, 0, NOTHING, 0, HV_STORVSC_DONE, -EIO, false},
    {"SRB internal error", HV_SRB_INTERNAL_ERROR, 0, NOTHING, 0, HV_STORVSC_DONE, -EIO, false},
    {"SRB nobody knows", 0x3a, 0, NOTHING, 0, HV_STORVSC_DONE, -EIO, false},
    {"SRB invalid request", HV_SRB_INVALID_REQUEST, 0, NOTHING, 0, HV_STORVSC_DONE, -EINVAL, false},
    {"SRB invalid LUN", HV_SRB_INVALID_LUN, CHECK, NOTHING, 0, HV_STORVSC_DONE, -ENODEV, true},
    {"SRB invalid target", HV_SRB_INVALID_TARGET, 0, NOTHING, 0, HV_STORVSC_DONE, -ENODEV, true},
    {"SRB no device", HV_SRB_NO_DEVICE | HV_SRB_QUEUE_FROZEN, 0, NOTHING, 0, HV_STORVSC_DONE,
     -ENODEV, true},
    {"SRB invalid path", HV_SRB_INVALID_PATH, 0, NOTHING, 0, HV_STORVSC_DONE, -ENODEV, true},
    {"recovered", FAILED | VALID, CHECK, 1, 0x1700, HV_STORVSC_DONE, 0, false},
    {"recovered, but aborted", HV_SRB_ABORTED | VALID, CHECK, 1, 0x1700, HV_STORVSC_DONE, -EIO,
     false},
    {"sense without key", FAILED | VALID, CHECK, 0, 0, HV_STORVSC_DONE, -EIO, false},
    {"becoming ready", FAILED | VALID, CHECK, 2, 0x0401, HV_STORVSC_AGAIN_LATER, -EIO, false},
    {"no medium", FAILED | VALID, CHECK, 2, 0x3a00, HV_STORVSC_DONE, -EIO, false},
    {"medium", FAILED | VALID, CHECK, 3, 0x1100, HV_STORVSC_DONE, -EIO, false},
    {"medium, SRB success", OK | VALID, CHECK, 3, 0x1100, HV_STORVSC_DONE, -EIO, false},
    {"hardware", FAILED | VALID, CHECK, 4, 0x4400, HV_STORVSC_DONE, -EIO, false},
    {"opcode", FAILED | VALID, CHECK, 5, 0x2000, HV_STORVSC_DONE, -EOPNOTSUPP, false},
    {"range", FAILED | VALID, CHECK, 5, 0x2100, HV_STORVSC_DONE, -EINVAL, false},
    {"field", HV_SRB_INVALID_REQUEST | VALID, CHECK, 5, 0x2400, HV_STORVSC_DONE, -EINVAL, false},
    {"LUN not supported", FAILED | VALID, CHECK, 5, 0x2500, HV_STORVSC_DONE, -ENODEV, true},
    {"reset", FAILED | VALID, CHECK, 6, 0x2900, HV_STORVSC_AGAIN, -EIO, false},
    {"capacity changed", FAILED | VALID, CHECK, 6, 0x2a09, HV_STORVSC_AGAIN, -EIO, true},
    {"LUNs changed", FAILED | VALID, CHECK, 6, 0x3f0e, HV_STORVSC_AGAIN, -EIO, true},
    {"attention, other", FAILED | VALID, CHECK, 6, 0x2f00, HV_STORVSC_AGAIN, -EIO, false},
    {"write-protected", FAILED | VALID, CHECK, 7, 0x2700, HV_STORVSC_DONE, -EPERM, true},
    {"space", FAILED | VALID, CHECK, 7, 0x2707, HV_STORVSC_DONE, -ENOSPC, false},
    {"aborted command", FAILED | VALID, CHECK, 0xb, 0x4700, HV_STORVSC_AGAIN, -EIO, false},
    {"overflow", FAILED | VALID, CHECK, 0xd, 0, HV_STORVSC_DONE, -ENOSPC, false},
    {"miscompare", FAILED | VALID, CHECK, 0xe, 0x1d00, HV_STORVSC_DONE, -EILSEQ, false},
    {"vendor", FAILED | VALID, CHECK, 9, 0x8000, HV_STORVSC_DONE, -EIO, false},
};

static void test_judge(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(answers); i++) {
        struct hv_storvsc_sense sense = {(uint8_t)answers[i].key, (uint16_t)answers[i].asc, false};
        struct hv_storvsc_verdict v =
            hv_storvsc_judge((uint8_t)answers[i].srb, (uint8_t)answers[i].scsi,
                             answers[i].key == NOTHING ? NULL : &sense);

        HV_CHECK_ROW(answers[i].name, (int)v.action == answers[i].action);
        HV_CHECK_ROW(answers[i].name, v.error == answers[i].error);
        HV_CHECK_ROW(answers[i].name, v.rescan == answers[i].rescan);
    }
}

/* Only SRB success with good or recovered status is ever no error. */
static void test_success_is_rare(void)
{
    for (unsigned srb = 0; srb < 256; srb++)
        for (unsigned scsi = 0; scsi < 256; scsi++) {
            struct hv_storvsc_verdict v = hv_storvsc_judge((uint8_t)srb, (uint8_t)scsi, NULL);

            if ((srb & HV_SRB_STATUS_MASK) != HV_SRB_SUCCESS || scsi != HV_SCSI_STATUS_GOOD)
                CU_ASSERT(v.error != 0);
        }
}

/* A failure of earlier writes is never hidden by a second try. */
static void test_deferred(void)
{
    struct hv_storvsc_sense sense = {HV_SENSE_ABORTED_COMMAND, 0, true};
    struct hv_storvsc_verdict v = hv_storvsc_judge(FAILED | VALID, CHECK, &sense);

    CU_ASSERT(v.action == HV_STORVSC_DONE && v.error == -EIO);
    sense = (struct hv_storvsc_sense){HV_SENSE_RECOVERED, 0, true};
    v = hv_storvsc_judge(FAILED | VALID, CHECK, &sense);
    CU_ASSERT(v.action == HV_STORVSC_DONE && v.error == -EIO);
    sense = (struct hv_storvsc_sense){HV_SENSE_DATA_PROTECT, HV_ASC_SPACE_ALLOCATION_FAILED, true};
    v = hv_storvsc_judge(FAILED | VALID, CHECK, &sense);
    CU_ASSERT_EQUAL(v.error, -ENOSPC);
}

static void test_parse(void)
{
    static const struct {
        const char *name;
        uint8_t bytes[18];
        size_t length;
        bool ok;
        uint8_t key;
        uint16_t asc;
        bool deferred;
    } rows[] = {
        {"fixed", {0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 0x09}, 18, true, 6, 0x2a09, false},
        {"fixed with valid bit and flags",
         {0xf0, 0, 0xe3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0},
         18,
         true,
         3,
         0x1100,
         false},
        {"fixed, deferred",
         {0x71, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x0c, 0},
         18,
         true,
         3,
         0x0c00,
         true},
        {"fixed, cut before the code",
         {0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0},
         13,
         true,
         5,
         0,
         false},
        {"fixed, cut behind the key", {0x70, 0, 5}, 3, true, 5, 0, false},
        {"too short", {0x70, 0}, 2, false, 0, 0, false},
        {"nothing", {0}, 0, false, 0, 0, false},
        {"descriptor", {0x72, 5, 0x24, 0x00, 0, 0, 0, 0}, 8, true, 5, 0x2400, false},
        {"descriptor, deferred", {0x73, 7, 0x27, 0x07, 0, 0, 0, 0}, 8, true, 7, 0x2707, true},
        {"descriptor, cut", {0x72, 5, 0x24}, 3, true, 5, 0, false},
        {"unknown format", {0x7f, 5, 0x24, 0}, 8, false, 0, 0, false},
        {"zeroes", {0}, 18, false, 0, 0, false},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_storvsc_sense sense = {0x55, 0x5555, true};
        bool ok = hv_storvsc_sense_parse(rows[i].bytes, rows[i].length, &sense);

        HV_CHECK_ROW(rows[i].name, ok == rows[i].ok);
        if (!ok) {
            HV_CHECK_ROW(rows[i].name, sense.key == 0x55); /* untouched */
            continue;
        }
        HV_CHECK_ROW(rows[i].name, sense.key == rows[i].key);
        HV_CHECK_ROW(rows[i].name, sense.asc == rows[i].asc);
        HV_CHECK_ROW(rows[i].name, sense.deferred == rows[i].deferred);
    }
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"answers", test_judge},
        {"success is rare", test_success_is_rare},
        {"deferred errors", test_deferred},
        {"sense formats", test_parse},
    };

    return hv_test_main("storvsc.sense", cases, HV_TEST_COUNT(cases), argc, argv);
}
