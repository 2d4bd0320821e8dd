/* SPDX-License-Identifier: BSD-3-Clause */
/* What the SCSI disk says of itself, byte by byte, and every way to refuse a CDB. */
#include "scsi_rig.h"

#include <string.h>

#include <hv/base/endian.h>

#include "suite.h"

#define MIB (1ull << 20)

/* Data in, against bytes written down from SPC-3 and SBC-3. */
static const struct {
    const char *name;
    uint8_t cdb[16];
    uint8_t cdb_bytes;
    uint8_t want[96];
    uint8_t want_bytes;
} answers[] = {
    {"INQUIRY",
     {0x12, 0, 0, 0, 96},
     6,
     "\x00\x00\x05\x12\x1f\x00\x00\x02"
     "Msft    Virtual Disk    1.0 ",
     36},
    {"INQUIRY, allocation cuts", {0x12, 0, 0, 0, 5}, 6, "\x00\x00\x05\x12\x1f", 5},
    {"INQUIRY, allocation 0", {0x12}, 6, "", 0},
    {"VPD 00", {0x12, 1, 0, 0, 96}, 6, "\x00\x00\x00\x06\x00\x80\x83\xb0\xb1\xb2", 10},
    {"VPD 80", {0x12, 1, 0x80, 0, 96}, 6, "\x00\x80\x00\x06TEST-1", 10},
    {"VPD B0",
     {0x12, 1, 0xb0, 0, 96},
     6,
     /* WSNZ, 255 blocks to compare, granularity 1, 8 MiB at most, 1 MiB best, unmap without limit by 256
      * descriptors, granularity 1, alignment 0 valid, WRITE SAME of 32 MiB */
     "\x00\xb0\x00\x3c\x01\xff\x00\x01\x00\x00\x40\x00\x00\x00\x08\x00\x00\x00\x00\x00"
     "\xff\xff\xff\xff\x00\x00\x01\x00\x00\x00\x00\x01\x80\x00\x00\x00"
     "\x00\x00\x00\x00\x00\x01\x00\x00",
     64},
    {"VPD B1", {0x12, 1, 0xb1, 0, 96}, 6, "\x00\xb1\x00\x3c\x00\x01", 64},
    {"VPD B2", {0x12, 1, 0xb2, 0, 96}, 6, "\x00\xb2\x00\x04\x00\xe4\x02\x00", 8},
    {"READ CAPACITY(10)", {0x25}, 10, "\x00\x00\x7f\xff\x00\x00\x02\x00", 8},
    {"READ CAPACITY(16)",
     {0x9e, 0x10, [13] = 32},
     16,
     "\x00\x00\x00\x00\x00\x00\x7f\xff\x00\x00\x02\x00\x00\x00\xc0\x00",
     32},
    {"READ CAPACITY(16), allocation cuts",
     {0x9e, 0x10, [13] = 12},
     16,
     "\x00\x00\x00\x00\x00\x00\x7f\xff\x00\x00\x02\x00",
     12},
    {"MODE SENSE(6) caching",
     {0x1a, 0, 0x08, 0, 96},
     6,
     "\x1f\x00\x10\x08\x00\x00\x80\x00\x00\x00\x02\x00\x08\x12\x04",
     32},
    {"MODE SENSE(6) control, no descriptor",
     {0x1a, 0x08, 0x0a, 0, 96},
     6,
     "\x0f\x00\x10\x00\x0a\x0a\x00\x10",
     16},
    {"MODE SENSE(6) all, no descriptor",
     {0x1a, 0x08, 0x3f, 0, 96},
     6,
     "\x23\x00\x10\x00\x08\x12\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
     "\x00\x0a\x0a\x00\x10",
     36},
    {"MODE SENSE(6) changeable caching",
     {0x1a, 0x08, 0x48, 0, 96},
     6,
     "\x17\x00\x10\x00\x08\x12\x04",
     24},
    {"MODE SENSE(6) default caching",
     {0x1a, 0x08, 0x88, 0, 96},
     6,
     "\x17\x00\x10\x00\x08\x12\x04",
     24},
    {"MODE SENSE(6) changeable control",
     {0x1a, 0x08, 0x4a, 0, 96},
     6,
     "\x0f\x00\x10\x00\x0a\x0a",
     16},
    {"MODE SENSE(10) caching",
     {0x5a, 0, 0x08, [8] = 96},
     10,
     "\x00\x22\x00\x10\x00\x00\x00\x08\x00\x00\x80\x00\x00\x00\x02\x00\x08\x12\x04",
     36},
    {"MODE SENSE(10) caching, long descriptor",
     {0x5a, 0x10, 0x08, [8] = 96},
     10,
     "\x00\x2a\x00\x10\x01\x00\x00\x10\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x02"
     "\x00\x08\x12\x04",
     44},
    {"REQUEST SENSE", {0x03, 0, 0, 0, 96}, 6, "\x70\x00\x00\x00\x00\x00\x00\x0a", 18},
    {"REQUEST SENSE, descriptors", {0x03, 1, 0, 0, 96}, 6, "\x72", 8},
    {"PERSISTENT RESERVE IN, keys", {0x5e, 0, [8] = 96}, 10, "", 8},
    {"PERSISTENT RESERVE IN, capabilities",
     {0x5e, 2, [8] = 96},
     10,
     "\x00\x08\x10\x80\xea\x01\x00\x00",
     8},
    {"GET LBA STATUS",
     {0x9e, 0x12, [13] = 96},
     16,
     "\x00\x00\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x00\x01",
     24},
};

static void test_scsi_answers(void)
{
    struct scsi_rig rig;

    CU_ASSERT_FATAL(scsi_rig_memory(&rig, 16 * MIB) == 0);
    for (size_t i = 0; i < HV_TEST_COUNT(answers); i++) {
        uint8_t data[96];
        struct scsi_result r;

        memset(data, 0xee, sizeof(data));
        r = scsi_in(&rig, 1, answers[i].cdb, answers[i].cdb_bytes, data, sizeof(data));
        HV_CHECK_ROW(answers[i].name, scsi_is_good(r, answers[i].want_bytes));
        HV_CHECK_ROW(answers[i].name, memcmp(data, answers[i].want, answers[i].want_bytes) == 0);
        if (answers[i].want_bytes < sizeof(data))
            HV_CHECK_ROW(answers[i].name, data[answers[i].want_bytes] == 0xee);
        /* The guest's buffer clamps as well, and the count tells the truth. */
        memset(data, 0xee, sizeof(data));
        r = scsi_in(&rig, 1, answers[i].cdb, answers[i].cdb_bytes, data, 3);
        HV_CHECK_ROW(answers[i].name, scsi_is_good(r, answers[i].want_bytes < 3 ? 0 : 3));
        HV_CHECK_ROW(answers[i].name, data[3] == 0xee);
    }
    scsi_rig_close(&rig);
}

static void test_scsi_identifiers(void)
{
    static const uint8_t cdb[6] = {0x12, 1, 0x83, 0, 255};
    uint8_t first[255] = {0}, second[255] = {0};
    struct scsi_rig rig;

    CU_ASSERT_FATAL(scsi_rig_memory(&rig, MIB) == 0);
    CU_ASSERT(scsi_is_good(scsi_in(&rig, 1, cdb, 6, first, sizeof(first)), 4 + 18 + 20));
    CU_ASSERT(memcmp(first, "\x00\x83\x00\x26\x02\x01\x00\x0eMsft    TEST-1\x01\x03\x00\x10", 26) ==
              0);
    CU_ASSERT(memcmp(first + 26, "\x60\x02\x24\x80", 4) == 0);
    scsi_rig_close(&rig);
    /* The same serial number, the same name: also in another life. */
    CU_ASSERT_FATAL(scsi_rig_memory(&rig, 2 * MIB) == 0);
    CU_ASSERT(scsi_is_good(scsi_in(&rig, 1, cdb, 6, second, sizeof(second)), 42));
    CU_ASSERT(memcmp(first, second, sizeof(first)) == 0);
    scsi_rig_close(&rig);
}

#define BAD_FIELD  HV_SENSE_ILLEGAL_REQUEST, HV_ASC_INVALID_FIELD_IN_CDB, HV_SRB_INVALID_REQUEST
#define BAD_OPCODE HV_SENSE_ILLEGAL_REQUEST, HV_ASC_INVALID_OPCODE, HV_SRB_INVALID_REQUEST
#define BAD_RANGE  HV_SENSE_ILLEGAL_REQUEST, HV_ASC_LBA_OUT_OF_RANGE, HV_SRB_ERROR
#define BAD_LENGTH HV_SENSE_ILLEGAL_REQUEST, HV_ASC_PARAMETER_LIST_LENGTH, HV_SRB_ERROR
#define BAD_LIST   HV_SENSE_ILLEGAL_REQUEST, HV_ASC_INVALID_FIELD_IN_PARAMETER, HV_SRB_ERROR

#define ONES 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff

/* 32768 blocks of 512; data out of 64 zero bytes unless the row brings its own. */
static const struct {
    const char *name;
    uint8_t cdb[16];
    uint8_t cdb_bytes;
    uint8_t direction;
    uint8_t key;
    uint16_t asc;
    uint8_t srb;
    uint8_t data[32];
} refusals[] = {
    {"unknown operation", {0xc0}, 10, HV_VSTOR_DATA_NONE, BAD_OPCODE, ""},
    {"REPORT LUNS is the controller's", {0xa0}, 12, HV_VSTOR_DATA_IN, BAD_OPCODE, ""},
    {"CDB cut short", {0x28}, 6, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"CDB of 16 cut short", {0x88}, 12, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"INQUIRY page without EVPD", {0x12, 0, 0x80, 0, 96}, 6, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"INQUIRY CMDDT", {0x12, 2, 0, 0, 96}, 6, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"VPD page unknown", {0x12, 1, 0x81, 0, 96}, 6, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"INQUIRY into data out", {0x12, 0, 0, 0, 96}, 6, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"READ(10) behind the end",
     {0x28, 0, 0, 0, 0x80, 0, 0, 0, 1},
     10,
     HV_VSTOR_DATA_IN,
     BAD_RANGE,
     ""},
    {"READ(10) over the end",
     {0x28, 0, 0, 0, 0x7f, 0xff, 0, 0, 2},
     10,
     HV_VSTOR_DATA_IN,
     BAD_RANGE,
     ""},
    {"READ(10) of nothing behind the end",
     {0x28, 0, 0, 0, 0x80, 1},
     10,
     HV_VSTOR_DATA_NONE,
     BAD_RANGE,
     ""},
    {"READ(16) at the last LBA there is",
     {0x88, 0, ONES, 0, 0, 0, 1},
     16,
     HV_VSTOR_DATA_IN,
     BAD_RANGE,
     ""},
    {"READ(16) over 2^64",
     {0x88, 0, ONES, 0xff, 0xff, 0xff, 0xff},
     16,
     HV_VSTOR_DATA_IN,
     BAD_RANGE,
     ""},
    {"READ(16) shifted out", {0x88, 0, 0x80, [13] = 1}, 16, HV_VSTOR_DATA_IN, BAD_RANGE, ""},
    {"WRITE(16) over 2^64",
     {0x8a, 0, ONES, 0xff, 0xff, 0xff, 0xff},
     16,
     HV_VSTOR_DATA_OUT,
     BAD_RANGE,
     ""},
    {"READ(12) too long",
     {0xa8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
     12,
     HV_VSTOR_DATA_IN,
     BAD_RANGE,
     ""},
    {"READ(6) behind the end", {0x08, 0x1f, 0xff, 0xff, 1}, 6, HV_VSTOR_DATA_IN, BAD_RANGE, ""},
    {"READ(10) with protection", {0x28, 0x20, [8] = 1}, 10, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"WRITE(10) with protection", {0x2a, 0x20, [8] = 1}, 10, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"SYNCHRONIZE CACHE behind the end", {0x35, 0, 0, 1}, 10, HV_VSTOR_DATA_NONE, BAD_RANGE, ""},
    {"SYNCHRONIZE CACHE(16) over 2^64",
     {0x91, 0, ONES, [13] = 2},
     16,
     HV_VSTOR_DATA_NONE,
     BAD_RANGE,
     ""},
    {"VERIFY behind the end",
     {0x2f, 0, 0, 0, 0x80, 0, 0, 0, 1},
     10,
     HV_VSTOR_DATA_NONE,
     BAD_RANGE,
     ""},
    {"VERIFY BYTCHK 2", {0x2f, 4, [8] = 1}, 10, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"VERIFY BYTCHK 3", {0x2f, 6, [8] = 1}, 10, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"VERIFY beyond the limit", {0x2f, [7] = 0x40, 1}, 10, HV_VSTOR_DATA_NONE, BAD_FIELD, ""},
    {"WRITE AND VERIFY BYTCHK 3", {0x2e, 6, [8] = 1}, 10, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"COMPARE AND WRITE behind the end",
     {0x89, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, [13] = 1},
     16,
     HV_VSTOR_DATA_OUT,
     BAD_RANGE,
     ""},
    {"COMPARE AND WRITE with protection",
     {0x89, 0x20, [13] = 1},
     16,
     HV_VSTOR_DATA_OUT,
     BAD_FIELD,
     ""},
    {"WRITE SAME of no length", {0x41}, 10, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"WRITE SAME(16) of no length", {0x93}, 16, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"WRITE SAME ANCHOR", {0x41, 0x18, [8] = 1}, 10, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"WRITE SAME LBDATA", {0x41, 0x02, [8] = 1}, 10, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"WRITE SAME(10) without data", {0x41, 0x01, [8] = 1}, 10, HV_VSTOR_DATA_NONE, BAD_FIELD, ""},
    {"WRITE SAME(16) over 2^64",
     {0x93, 0x01, ONES, [13] = 2},
     16,
     HV_VSTOR_DATA_NONE,
     BAD_RANGE,
     ""},
    {"UNMAP ANCHOR", {0x42, 1, [8] = 24}, 10, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"UNMAP list of 7", {0x42, [8] = 7}, 10, HV_VSTOR_DATA_OUT, BAD_LENGTH, ""},
    {"UNMAP descriptors longer than the list",
     {0x42, [8] = 24},
     10,
     HV_VSTOR_DATA_OUT,
     BAD_LENGTH,
     "\x00\x26\x00\x20"},
    {"UNMAP behind the end",
     {0x42, [8] = 24},
     10,
     HV_VSTOR_DATA_OUT,
     BAD_RANGE,
     "\x00\x16\x00\x10\0\0\0\0\0\0\0\0\0\0\x80\x00\0\0\0\x01"},
    {"UNMAP over 2^64",
     {0x42, [8] = 24},
     10,
     HV_VSTOR_DATA_OUT,
     BAD_RANGE,
     "\x00\x16\x00\x10\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"},
    {"GET LBA STATUS behind the end",
     {0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 32},
     16,
     HV_VSTOR_DATA_IN,
     BAD_RANGE,
     ""},
    {"service action unknown", {0x9e, 0x11}, 16, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"READ CAPACITY of an LBA", {0x25, 0, 0, 0, 0, 1}, 10, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"MODE SENSE page unknown", {0x1a, 0, 0x1c, 0, 96}, 6, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"MODE SENSE subpage", {0x1a, 0, 0x08, 1, 96}, 6, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"MODE SENSE saved",
     {0x1a, 0, 0xc8, 0, 96},
     6,
     HV_VSTOR_DATA_IN,
     HV_SENSE_ILLEGAL_REQUEST,
     HV_ASC_SAVING_NOT_SUPPORTED,
     HV_SRB_ERROR,
     ""},
    {"MODE SELECT without PF", {0x15, 0, 0, 0, 24}, 6, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"MODE SELECT to be saved", {0x15, 0x11, 0, 0, 24}, 6, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"MODE SELECT list of 3", {0x15, 0x10, 0, 0, 3}, 6, HV_VSTOR_DATA_OUT, BAD_LENGTH, ""},
    {"MODE SELECT list too long", {0x15, 0x10, 0, 0, 64}, 6, HV_VSTOR_DATA_OUT, BAD_LENGTH, ""},
    {"MODE SELECT page cut short",
     {0x15, 0x10, 0, 0, 10},
     6,
     HV_VSTOR_DATA_OUT,
     BAD_LENGTH,
     "\0\0\0\0\x08\x12"},
    {"MODE SELECT page of wrong length",
     {0x15, 0x10, 0, 0, 16},
     6,
     HV_VSTOR_DATA_OUT,
     BAD_LIST,
     "\0\0\0\0\x08\x0a\x04"},
    {"MODE SELECT page unknown",
     {0x15, 0x10, 0, 0, 8},
     6,
     HV_VSTOR_DATA_OUT,
     BAD_LIST,
     "\0\0\0\0\x1c\x02"},
    {"MODE SELECT what cannot change",
     {0x15, 0x10, 0, 0, 24},
     6,
     HV_VSTOR_DATA_OUT,
     BAD_LIST,
     "\0\0\0\0\x08\x12\x05"},
    {"MODE SELECT control cannot change",
     {0x15, 0x10, 0, 0, 16},
     6,
     HV_VSTOR_DATA_OUT,
     BAD_LIST,
     "\0\0\0\0\x0a\x0a\x00\x00"},
    {"MODE SELECT other block length",
     {0x15, 0x10, 0, 0, 12},
     6,
     HV_VSTOR_DATA_OUT,
     BAD_LIST,
     "\0\0\0\x08\0\0\0\0\0\0\x10\0"},
    {"MODE SELECT descriptor longer than the list",
     {0x15, 0x10, 0, 0, 8},
     6,
     HV_VSTOR_DATA_OUT,
     BAD_LENGTH,
     "\0\0\0\x08"},
    {"START STOP IMMED", {0x1b, 1, 0, 0, 1}, 6, HV_VSTOR_DATA_NONE, BAD_FIELD, ""},
    {"START STOP LOEJ", {0x1b, 0, 0, 0, 2}, 6, HV_VSTOR_DATA_NONE, BAD_FIELD, ""},
    {"START STOP power condition", {0x1b, 0, 0, 0, 0x30}, 6, HV_VSTOR_DATA_NONE, BAD_FIELD, ""},
    {"SEND DIAGNOSTIC with parameters", {0x1d, 0, 0, 0, 4}, 6, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"FORMAT UNIT with protection", {0x04, 0x80}, 6, HV_VSTOR_DATA_NONE, BAD_FIELD, ""},
    {"RESERVE of an extent", {0x16, 1}, 6, HV_VSTOR_DATA_NONE, BAD_FIELD, ""},
    {"PERSISTENT RESERVE IN unknown", {0x5e, 4, [8] = 96}, 10, HV_VSTOR_DATA_IN, BAD_FIELD, ""},
    {"PERSISTENT RESERVE OUT unknown", {0x5f, 7, [8] = 24}, 10, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"PERSISTENT RESERVE OUT type 2", {0x5f, 1, 2, [8] = 24}, 10, HV_VSTOR_DATA_OUT, BAD_FIELD, ""},
    {"PERSISTENT RESERVE OUT scope",
     {0x5f, 1, 0x21, [8] = 24},
     10,
     HV_VSTOR_DATA_OUT,
     BAD_FIELD,
     ""},
    {"PERSISTENT RESERVE OUT list of 23",
     {0x5f, 0, [8] = 23},
     10,
     HV_VSTOR_DATA_OUT,
     BAD_LENGTH,
     ""},
    {"PERSISTENT RESERVE OUT APTPL",
     {0x5f, 0, [8] = 24},
     10,
     HV_VSTOR_DATA_OUT,
     BAD_LIST,
     {[15] = 1, [20] = 1}},
};

static void test_scsi_refusals(void)
{
    struct scsi_rig rig;

    CU_ASSERT_FATAL(scsi_rig_memory(&rig, 16 * MIB) == 0);
    for (size_t i = 0; i < HV_TEST_COUNT(refusals); i++) {
        uint8_t data[8192] = {0};
        struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
        uint8_t direction = refusals[i].direction;
        struct scsi_result r;

        memcpy(data, refusals[i].data, sizeof(refusals[i].data));
        r = scsi_run_iov(rig.queue, 1, refusals[i].cdb, refusals[i].cdb_bytes, direction, &iov,
                         direction != HV_VSTOR_DATA_NONE);
        HV_CHECK_ROW(refusals[i].name, scsi_is_sense(r, refusals[i].key, refusals[i].asc));
        HV_CHECK_ROW(refusals[i].name, r.srb == refusals[i].srb && r.transferred == 0);
    }
    scsi_rig_close(&rig);
}

static void test_scsi_short_buffers(void)
{
    static const struct {
        const char *name;
        uint8_t cdb[16];
        uint8_t cdb_bytes;
        uint8_t direction;
        uint32_t bytes; /* one less than needed */
    } rows[] = {
        {"READ(6) of 256", {0x08}, 6, HV_VSTOR_DATA_IN, 256 * 512 - 1},
        {"READ(10)", {0x28, [8] = 2}, 10, HV_VSTOR_DATA_IN, 1023},
        {"WRITE(10)", {0x2a, [8] = 2}, 10, HV_VSTOR_DATA_OUT, 1023},
        {"WRITE(12) without data", {0xaa, [9] = 1}, 12, HV_VSTOR_DATA_OUT, 0},
        {"VERIFY BYTCHK 1", {0x2f, 2, [8] = 1}, 10, HV_VSTOR_DATA_OUT, 511},
        {"COMPARE AND WRITE", {0x89, [13] = 1}, 16, HV_VSTOR_DATA_OUT, 1023},
        {"WRITE SAME", {0x41, [8] = 1}, 10, HV_VSTOR_DATA_OUT, 511},
        {"UNMAP", {0x42, [8] = 24}, 10, HV_VSTOR_DATA_OUT, 23},
        {"MODE SELECT", {0x15, 0x10, 0, 0, 24}, 6, HV_VSTOR_DATA_OUT, 23},
        {"PERSISTENT RESERVE OUT", {0x5f, [8] = 24}, 10, HV_VSTOR_DATA_OUT, 23},
    };
    static uint8_t data[256 * 512];
    struct scsi_rig rig;

    CU_ASSERT_FATAL(scsi_rig_memory(&rig, 16 * MIB) == 0);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct iovec iov = {.iov_base = data, .iov_len = rows[i].bytes};
        struct scsi_result r =
            scsi_run_iov(rig.queue, 1, rows[i].cdb, rows[i].cdb_bytes, rows[i].direction, &iov, 1);

        HV_CHECK_ROW(rows[i].name, r.srb == HV_SRB_DATA_OVERRUN && !r.transferred && !r.key);
    }
    scsi_rig_close(&rig);
}

static void test_scsi_short_commands(void)
{
    static const struct {
        const char *name;
        uint8_t cdb[10];
        uint8_t cdb_bytes;
    } rows[] = {
        {"TEST UNIT READY", {0x00}, 6},
        {"START", {0x1b, 0, 0, 0, 1}, 6},
        {"STOP", {0x1b}, 6},
        {"PREVENT", {0x1e, 0, 0, 0, 1}, 6},
        {"ALLOW", {0x1e}, 6},
        {"SEND DIAGNOSTIC, self-test", {0x1d, 4}, 6},
        {"FORMAT UNIT", {0x04}, 6},
        {"RESERVE", {0x16}, 6},
        {"RELEASE", {0x17}, 6},
        {"SYNCHRONIZE CACHE", {0x35}, 10},
        {"SYNCHRONIZE CACHE IMMED", {0x35, 2}, 10},
        {"VERIFY of nothing", {0x2f}, 10},
        {"READ(10) of nothing", {0x28}, 10},
        {"WRITE(10) of nothing", {0x2a}, 10},
        {"UNMAP of nothing", {0x42}, 10},
        {"MODE SELECT of nothing", {0x15, 0x10}, 6},
    };
    struct scsi_rig rig;

    CU_ASSERT_FATAL(scsi_rig_memory(&rig, MIB) == 0);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++)
        HV_CHECK_ROW(rows[i].name,
                     scsi_is_good(scsi_none(&rig, 1, rows[i].cdb, rows[i].cdb_bytes), 0));
    scsi_rig_close(&rig);
}

static void test_scsi_large_disk(void)
{
    static const uint8_t ten[10] = {0x25}, sense[6] = {0x1a, 0, 0x08, 0, 96};
    static const uint8_t sixteen[16] = {0x9e, 0x10, [13] = 32}, limits[6] = {0x12, 1, 0xb0, 0, 64};
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;
    uint8_t data[96];
    struct scsi_rig rig;

    opts.store = HV_DISK_NULL;
    opts.bytes = 1ull << 60;
    opts.block_bytes = 4096;
    opts.no_thin = true;
    opts.rotational = true;
    CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
    CU_ASSERT(scsi_is_good(scsi_in(&rig, 1, ten, 10, data, 8), 8));
    CU_ASSERT(memcmp(data, "\xff\xff\xff\xff\x00\x00\x10\x00", 8) == 0);
    CU_ASSERT(scsi_is_good(scsi_in(&rig, 1, sixteen, 16, data, 32), 32));
    CU_ASSERT(hv_get_be64(data) == (1ull << 48) - 1 && hv_get_be32(data + 8) == 4096);
    CU_ASSERT(data[13] == 0 && data[14] == 0); /* fully provisioned */
    CU_ASSERT(scsi_is_good(scsi_in(&rig, 1, sense, 6, data, 96), 32));
    CU_ASSERT(memcmp(data + 4, "\xff\xff\xff\xff\x00\x00\x10\x00", 8) == 0);
    CU_ASSERT(scsi_is_good(scsi_in(&rig, 1, limits, 6, data, 64), 64));
    CU_ASSERT(data[5] == 32 && hv_get_be32(data + 8) == 2048 && !hv_get_be32(data + 20));
    hv_disk_set_max_transfer(rig.disk, 1u << 20);
    CU_ASSERT(scsi_is_good(scsi_in(&rig, 1, limits, 6, data, 64), 64));
    CU_ASSERT(hv_get_be32(data + 8) == 256);
    CU_ASSERT(
        scsi_is_good(scsi_in(&rig, 1, (const uint8_t[6]){0x12, 1, 0xb1, 0, 64}, 6, data, 64), 64));
    CU_ASSERT(hv_get_be16(data + 4) == 7200);
    CU_ASSERT(scsi_is_sense(scsi_in(&rig, 1, (const uint8_t[6]){0x12, 1, 0xb2, 0, 64}, 6, data, 64),
                            HV_SENSE_ILLEGAL_REQUEST, HV_ASC_INVALID_FIELD_IN_CDB));
    CU_ASSERT(
        scsi_is_sense(scsi_unmap(&rig, 0, 1), HV_SENSE_ILLEGAL_REQUEST, HV_ASC_INVALID_OPCODE));
    scsi_rig_close(&rig);
}

static const struct hv_test_case cases[] = {
    {"answers, byte by byte", test_scsi_answers},
    {"identifiers", test_scsi_identifiers},
    {"refusals", test_scsi_refusals},
    {"buffers shorter than the command needs", test_scsi_short_buffers},
    {"short commands", test_scsi_short_commands},
    {"a large disk", test_scsi_large_disk},
};

int main(int argc, char **argv)
{
    return hv_test_main("scsi", cases, HV_TEST_COUNT(cases), argc, argv);
}
