/* SPDX-License-Identifier: BSD-3-Clause */
/* Three initiators on one disk: registrations, reservations, and what each may do and is told. */
#include "scsi_rig.h"

#include <string.h>

#include <hv/base/endian.h>

#include "suite.h"

enum {
    A = 1,
    B = 2,
    C = 3,
};

enum {
    REGISTER,
    RESERVE,
    RELEASE,
    CLEAR,
    PREEMPT,
    PREEMPT_ABORT,
    IGNORE,
};

#define ASC_RELEASED        0x2a04u
#define ASC_INVALID_RELEASE 0x2604u
#define WE                  1
#define EA                  3
#define WE_RO               5
#define EA_RO               6
#define WE_AR               7
#define EA_AR               8

static struct scsi_result pr_out(struct scsi_rig *rig, uint64_t who, uint8_t action, uint8_t type,
                                 uint64_t key, uint64_t new_key)
{
    uint8_t cdb[10] = {HV_SCSI_PERSISTENT_RESERVE_OUT, action, type, [8] = 24};
    uint8_t list[24] = {0};

    hv_put_be64(list, key);
    hv_put_be64(list + 8, new_key);
    return scsi_out(rig, who, cdb, 10, list, sizeof(list));
}

static bool ok(struct scsi_rig *rig, uint64_t who, uint8_t action, uint8_t type, uint64_t key,
               uint64_t new_key)
{
    return scsi_is_good(pr_out(rig, who, action, type, key, new_key), 24);
}

static bool conflict(struct scsi_rig *rig, uint64_t who, uint8_t action, uint8_t type, uint64_t key,
                     uint64_t new_key)
{
    return scsi_is_conflict(pr_out(rig, who, action, type, key, new_key));
}

/* Type of the reservation, 0 = none; generation and holder's key too. */
static int reservation(struct scsi_rig *rig, uint64_t who, uint32_t *ret_generation,
                       uint64_t *ret_key)
{
    static const uint8_t cdb[10] = {HV_SCSI_PERSISTENT_RESERVE_IN, 1, [8] = 24};
    uint8_t reply[24] = {0};
    struct scsi_result r = scsi_in(rig, who, cdb, 10, reply, sizeof(reply));
    uint32_t bytes = hv_get_be32(reply + 4);

    if (!scsi_is_good(r, 8 + bytes) || (bytes && bytes != 16))
        return -1;
    *ret_generation = hv_get_be32(reply);
    *ret_key = hv_get_be64(reply + 8);
    return bytes ? reply[8 + 13] : 0;
}

static int held(struct scsi_rig *rig)
{
    uint32_t generation;
    uint64_t key;

    return reservation(rig, A, &generation, &key);
}

static uint32_t keys(struct scsi_rig *rig, uint64_t key[4])
{
    static const uint8_t cdb[10] = {HV_SCSI_PERSISTENT_RESERVE_IN, 0, [8] = 40};
    uint8_t reply[40] = {0};

    if (scsi_in(rig, A, cdb, 10, reply, sizeof(reply)).status != HV_SCSI_STATUS_GOOD)
        return 99;
    for (int i = 0; i < 4; i++)
        key[i] = hv_get_be64(reply + 8 + 8 * i);
    return hv_get_be32(reply + 4) / 8;
}

static struct scsi_result ready(struct scsi_rig *rig, uint64_t who)
{
    return scsi_none(rig, who, (const uint8_t[6]){HV_SCSI_TEST_UNIT_READY}, 6);
}

/* A, B, C have been here. */
static void open_rig(struct scsi_rig *rig)
{
    CU_ASSERT_FATAL(scsi_rig_memory(rig, 1u << 20) == 0);
    for (uint64_t who = A; who <= C; who++)
        CU_ASSERT(scsi_is_good(ready(rig, who), 0));
}

static void test_reserve_register(void)
{
    struct scsi_rig rig;
    uint64_t key[4], holder;
    uint32_t generation;

    open_rig(&rig);
    CU_ASSERT(conflict(&rig, A, REGISTER, 0, 5, 10)); /* a key it does not have */
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 0, 10));
    CU_ASSERT(conflict(&rig, A, REGISTER, 0, 0, 11)); /* has a key now, must name it */
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 10, 11));
    CU_ASSERT(ok(&rig, B, IGNORE, 0, 77, 20));
    CU_ASSERT(ok(&rig, B, IGNORE, 0, 78, 21));
    CU_ASSERT(keys(&rig, key) == 2 && key[0] == 11 && key[1] == 21);
    CU_ASSERT(reservation(&rig, C, &generation, &holder) == 0 && generation == 4);
    CU_ASSERT(conflict(&rig, C, RESERVE, WE, 0, 0));  /* not registered */
    CU_ASSERT(conflict(&rig, A, RESERVE, WE, 10, 0)); /* not its key */
    CU_ASSERT(ok(&rig, A, RESERVE, WE, 11, 0));
    CU_ASSERT(ok(&rig, A, RESERVE, WE, 11, 0));       /* once more is nothing new */
    CU_ASSERT(conflict(&rig, A, RESERVE, EA, 11, 0)); /* but not another type */
    CU_ASSERT(conflict(&rig, B, RESERVE, WE, 21, 0));
    CU_ASSERT(reservation(&rig, B, &generation, &holder) == WE && generation == 4 && holder == 11);
    CU_ASSERT(ok(&rig, B, RELEASE, WE, 21, 0)); /* not the holder: nothing happens */
    CU_ASSERT(held(&rig) == WE);
    CU_ASSERT(scsi_is_sense(pr_out(&rig, A, RELEASE, EA, 11, 0), HV_SENSE_ILLEGAL_REQUEST,
                            ASC_INVALID_RELEASE));
    CU_ASSERT(conflict(&rig, A, RELEASE, WE, 10, 0));
    CU_ASSERT(ok(&rig, A, RELEASE, WE, 11, 0));
    CU_ASSERT(held(&rig) == 0);
    CU_ASSERT(ok(&rig, A, RESERVE, EA, 11, 0));
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 11, 0)); /* the holder leaves, and with it the reservation */
    CU_ASSERT(held(&rig) == 0 && keys(&rig, key) == 1 && key[0] == 21);
    CU_ASSERT(scsi_is_good(ready(&rig, B), 0)); /* exclusive to one: nobody else is told */
    scsi_rig_close(&rig);
}

/* What REPORT CAPABILITIES does not claim is refused, not ignored: who asks for it relies on it. */
static void test_reserve_refusals(void)
{
    static const struct {
        const char *name;
        uint8_t action, bits;
        bool refused;
    } rows[] = {
        {"REGISTER, APTPL", REGISTER, 0x01, true},
        {"REGISTER AND IGNORE, APTPL", IGNORE, 0x01, true},
        {"REGISTER, ALL_TG_PT", REGISTER, 0x04, true},
        {"REGISTER, SPEC_I_PT", REGISTER, 0x08, true},
        {"CLEAR, APTPL means nothing", CLEAR, 0x01, false},
    };
    static const uint8_t ask[10] = {HV_SCSI_PERSISTENT_RESERVE_IN, 2, [8] = 8};
    uint8_t capabilities[8] = {0};
    struct scsi_rig rig;
    uint64_t key[4];

    open_rig(&rig);
    CU_ASSERT(scsi_is_good(scsi_in(&rig, A, ask, 10, capabilities, 8), 8));
    CU_ASSERT((capabilities[2] & 0x0d) == 0); /* SIP_C, ATP_C, PTPL_C */
    CU_ASSERT((capabilities[3] & 0x01) == 0); /* PTPL_A */
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 0, 10));
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        uint8_t cdb[10] = {HV_SCSI_PERSISTENT_RESERVE_OUT, rows[i].action, [8] = 24};
        uint8_t list[24] = {[7] = 10, [15] = 11, [20] = rows[i].bits};
        struct scsi_result r = scsi_out(&rig, A, cdb, 10, list, sizeof(list));

        HV_CHECK_ROW(rows[i].name,
                     rows[i].refused == scsi_is_sense(r, HV_SENSE_ILLEGAL_REQUEST, 0x2600));
        HV_CHECK_ROW(rows[i].name,
                     keys(&rig, key) == rows[i].refused && (!rows[i].refused || key[0] == 10));
    }
    scsi_rig_close(&rig);
}

/* What an unregistered, a registered and the holding initiator may do, by type.  '+' allowed, '-' conflict. */
static const struct {
    const char *name;
    uint8_t cdb[16];
    uint8_t bytes;
    uint8_t direction;
    const char *unregistered; /* WE EA WE_RO EA_RO WE_AR EA_AR */
    const char *registered;
} accesses[] = {
    {"INQUIRY", {0x12, 0, 0, 0, 36}, 6, HV_VSTOR_DATA_IN, "++++++", "++++++"},
    {"REQUEST SENSE", {0x03, 0, 0, 0, 18}, 6, HV_VSTOR_DATA_IN, "++++++", "++++++"},
    {"TEST UNIT READY", {0x00}, 6, HV_VSTOR_DATA_NONE, "++++++", "++++++"},
    {"READ CAPACITY(10)", {0x25}, 10, HV_VSTOR_DATA_IN, "++++++", "++++++"},
    {"READ CAPACITY(16)", {0x9e, 0x10, [13] = 32}, 16, HV_VSTOR_DATA_IN, "++++++", "++++++"},
    {"PERSISTENT RESERVE IN", {0x5e, [8] = 8}, 10, HV_VSTOR_DATA_IN, "++++++", "++++++"},
    {"START", {0x1b, 0, 0, 0, 1}, 6, HV_VSTOR_DATA_NONE, "++++++", "++++++"},
    {"ALLOW REMOVAL", {0x1e}, 6, HV_VSTOR_DATA_NONE, "++++++", "++++++"},
    {"READ(6)", {0x08, 0, 0, 0, 1}, 6, HV_VSTOR_DATA_IN, "+-+-+-", "+-++++"},
    {"READ(10)", {0x28, [8] = 1}, 10, HV_VSTOR_DATA_IN, "+-+-+-", "+-++++"},
    {"READ(16)", {0x88, [13] = 1}, 16, HV_VSTOR_DATA_IN, "+-+-+-", "+-++++"},
    {"VERIFY", {0x2f, [8] = 1}, 10, HV_VSTOR_DATA_NONE, "+-+-+-", "+-++++"},
    {"GET LBA STATUS", {0x9e, 0x12, [13] = 24}, 16, HV_VSTOR_DATA_IN, "+-+-+-", "+-++++"},
    {"MODE SENSE", {0x1a, 0, 8, 0, 96}, 6, HV_VSTOR_DATA_IN, "+-+-+-", "+-++++"},
    {"WRITE(6)", {0x0a, 0, 0, 0, 1}, 6, HV_VSTOR_DATA_OUT, "------", "--++++"},
    {"WRITE(12)", {0xaa, [9] = 1}, 12, HV_VSTOR_DATA_OUT, "------", "--++++"},
    {"WRITE AND VERIFY", {0x2e, [8] = 1}, 10, HV_VSTOR_DATA_OUT, "------", "--++++"},
    {"COMPARE AND WRITE", {0x89, [13] = 1}, 16, HV_VSTOR_DATA_OUT, "------", "--++++"},
    {"WRITE SAME", {0x41, [8] = 1}, 10, HV_VSTOR_DATA_OUT, "------", "--++++"},
    {"UNMAP", {0x42, [8] = 8}, 10, HV_VSTOR_DATA_OUT, "------", "--++++"},
    {"SYNCHRONIZE CACHE", {0x35}, 10, HV_VSTOR_DATA_NONE, "------", "--++++"},
    {"MODE SELECT", {0x15, 0x10}, 6, HV_VSTOR_DATA_NONE, "------", "--++++"},
    {"FORMAT UNIT", {0x04}, 6, HV_VSTOR_DATA_NONE, "------", "--++++"},
    {"STOP", {0x1b}, 6, HV_VSTOR_DATA_NONE, "------", "--++++"},
    {"PREVENT REMOVAL", {0x1e, 0, 0, 0, 1}, 6, HV_VSTOR_DATA_NONE, "------", "--++++"},
};

static void test_reserve_access(void)
{
    static const uint8_t types[] = {WE, EA, WE_RO, EA_RO, WE_AR, EA_AR};
    static uint8_t data[1024];
    struct scsi_rig rig;

    open_rig(&rig);
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 0, 10) && ok(&rig, B, REGISTER, 0, 0, 20));
    for (size_t t = 0; t < HV_TEST_COUNT(types); t++) {
        CU_ASSERT(ok(&rig, A, RESERVE, types[t], 10, 0));
        for (size_t i = 0; i < HV_TEST_COUNT(accesses); i++)
            for (uint64_t who = A; who <= C; who++) {
                const char *want = who == B ? accesses[i].registered : accesses[i].unregistered;
                struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
                struct scsi_result r = scsi_run_iov(rig.queue, who, accesses[i].cdb,
                                                    accesses[i].bytes, accesses[i].direction, &iov,
                                                    accesses[i].direction != HV_VSTOR_DATA_NONE);

                memset(data, 0, sizeof(data));
                if (who == A || want[t] == '+')
                    HV_CHECK_ROW(accesses[i].name, r.status == HV_SCSI_STATUS_GOOD && r.srb == 1);
                else
                    HV_CHECK_ROW(accesses[i].name, scsi_is_conflict(r));
            }
        CU_ASSERT(ok(&rig, A, RELEASE, types[t], 10, 0));
        (void)ready(&rig, B); /* hears of the release, for some types */
    }
    scsi_rig_close(&rig);
}

static void test_reserve_preempt(void)
{
    struct scsi_rig rig;
    uint64_t key[4], holder;
    uint32_t generation;

    open_rig(&rig);
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 0, 10) && ok(&rig, B, REGISTER, 0, 0, 20));
    CU_ASSERT(ok(&rig, C, REGISTER, 0, 0, 30));
    CU_ASSERT(ok(&rig, A, RESERVE, WE_RO, 10, 0));
    CU_ASSERT(conflict(&rig, B, PREEMPT, WE_RO, 21, 10)); /* not its own key */
    CU_ASSERT(conflict(&rig, B, PREEMPT, WE_RO, 20, 99)); /* nobody has that one */
    CU_ASSERT(scsi_is_sense(pr_out(&rig, B, PREEMPT, WE_RO, 20, 0), HV_SENSE_ILLEGAL_REQUEST,
                            HV_ASC_INVALID_FIELD_IN_PARAMETER));
    CU_ASSERT(reservation(&rig, C, &generation, &holder) == WE_RO && generation == 3);
    CU_ASSERT(ok(&rig, B, PREEMPT, EA, 20, 10)); /* takes over, with another type */
    CU_ASSERT(reservation(&rig, B, &generation, &holder) == EA && generation == 4 && holder == 20);
    CU_ASSERT(
        scsi_is_sense(ready(&rig, A), HV_SENSE_UNIT_ATTENTION, HV_ASC_REGISTRATIONS_PREEMPTED));
    CU_ASSERT(scsi_is_good(ready(&rig, A), 0)); /* once */
    CU_ASSERT(scsi_is_sense(ready(&rig, C), HV_SENSE_UNIT_ATTENTION, ASC_RELEASED));
    CU_ASSERT(scsi_is_good(ready(&rig, B), 0));
    CU_ASSERT(keys(&rig, key) == 2);
    /* A key that does not hold the reservation: only the registration goes. */
    CU_ASSERT(ok(&rig, B, PREEMPT_ABORT, EA, 20, 30));
    CU_ASSERT(reservation(&rig, B, &generation, &holder) == EA && holder == 20 && generation == 5);
    CU_ASSERT(keys(&rig, key) == 1 && key[0] == 20);
    CU_ASSERT(
        scsi_is_sense(ready(&rig, C), HV_SENSE_UNIT_ATTENTION, HV_ASC_REGISTRATIONS_PREEMPTED));
    /* CLEAR tells who is left. */
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 0, 11));
    CU_ASSERT(ok(&rig, A, CLEAR, 0, 11, 0));
    CU_ASSERT(held(&rig) == 0 && keys(&rig, key) == 0);
    CU_ASSERT(
        scsi_is_sense(ready(&rig, B), HV_SENSE_UNIT_ATTENTION, HV_ASC_RESERVATIONS_PREEMPTED));
    CU_ASSERT(scsi_is_good(ready(&rig, A), 0));
    CU_ASSERT(conflict(&rig, A, CLEAR, 0, 11, 0)); /* not registered any more */
    scsi_rig_close(&rig);
}

static void test_reserve_all_registrants(void)
{
    static const uint8_t full[10] = {HV_SCSI_PERSISTENT_RESERVE_IN, 3, [8] = 200};
    uint8_t reply[200] = {0};
    struct scsi_rig rig;
    uint64_t key[4], holder;
    uint32_t generation;

    open_rig(&rig);
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 0, 10) && ok(&rig, B, REGISTER, 0, 0, 20));
    CU_ASSERT(ok(&rig, A, RESERVE, WE_AR, 10, 0));
    CU_ASSERT(ok(&rig, B, RESERVE, WE_AR, 20, 0)); /* holds it as well */
    CU_ASSERT(reservation(&rig, C, &generation, &holder) == WE_AR && holder == 0);
    CU_ASSERT(scsi_is_good(scsi_in(&rig, C, full, 10, reply, sizeof(reply)), 8 + 2 * 48));
    CU_ASSERT(hv_get_be32(reply + 4) == 96 && hv_get_be64(reply + 8) == 10);
    CU_ASSERT(reply[8 + 12] == 1 && reply[8 + 13] == WE_AR && hv_get_be32(reply + 8 + 20) == 24);
    CU_ASSERT(hv_get_be64(reply + 56) == 20 && reply[56 + 12] == 1);
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 10, 0)); /* one leaves, the reservation stays */
    CU_ASSERT(held(&rig) == WE_AR);
    CU_ASSERT(ok(&rig, A, IGNORE, 0, 0, 11) && ok(&rig, C, REGISTER, 0, 0, 30));
    CU_ASSERT(ok(&rig, C, PREEMPT, WE_AR, 30, 20)); /* one of them */
    CU_ASSERT(held(&rig) == WE_AR && keys(&rig, key) == 2);
    CU_ASSERT(
        scsi_is_sense(ready(&rig, B), HV_SENSE_UNIT_ATTENTION, HV_ASC_REGISTRATIONS_PREEMPTED));
    CU_ASSERT(ok(&rig, C, PREEMPT, EA, 30, 0)); /* all of them */
    CU_ASSERT(reservation(&rig, C, &generation, &holder) == EA && holder == 30);
    CU_ASSERT(
        scsi_is_sense(ready(&rig, A), HV_SENSE_UNIT_ATTENTION, HV_ASC_REGISTRATIONS_PREEMPTED));
    CU_ASSERT(keys(&rig, key) == 1 && key[0] == 30);
    CU_ASSERT(ok(&rig, C, RELEASE, EA, 30, 0) && ok(&rig, C, RESERVE, EA_AR, 30, 0));
    CU_ASSERT(ok(&rig, C, REGISTER, 0, 30, 0)); /* the last one takes it along */
    CU_ASSERT(held(&rig) == 0);
    scsi_rig_close(&rig);
}

static void test_reserve_release_told(void)
{
    struct scsi_rig rig;

    open_rig(&rig);
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 0, 10) && ok(&rig, B, REGISTER, 0, 0, 20));
    CU_ASSERT(ok(&rig, A, RESERVE, EA_RO, 10, 0) && ok(&rig, A, RELEASE, EA_RO, 10, 0));
    CU_ASSERT(scsi_is_sense(ready(&rig, B), HV_SENSE_UNIT_ATTENTION, ASC_RELEASED));
    CU_ASSERT(scsi_is_good(ready(&rig, C), 0)); /* not registered, no concern of its */
    CU_ASSERT(ok(&rig, A, RESERVE, WE_RO, 10, 0) && ok(&rig, A, REGISTER, 0, 10, 0));
    CU_ASSERT(scsi_is_sense(ready(&rig, B), HV_SENSE_UNIT_ATTENTION, ASC_RELEASED));
    scsi_rig_close(&rig);
}

/* Registrations belong to the initiator, not to its connection. */
static void test_reserve_outlives_connection(void)
{
    uint8_t data[512];
    struct scsi_rig rig;
    uint64_t key[4];

    open_rig(&rig);
    CU_ASSERT(ok(&rig, B, REGISTER, 0, 0, 20) && ok(&rig, B, RESERVE, EA, 20, 0));
    hv_disk_forget_initiator(rig.disk, B);
    CU_ASSERT(keys(&rig, key) == 1 && held(&rig) == EA);
    CU_ASSERT(scsi_is_conflict(scsi_read(&rig, 0, 1, 0, data)));
    CU_ASSERT(ok(&rig, B, RELEASE, EA, 20, 0));
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 0, 1, 0, data), 512));
    scsi_rig_close(&rig);
}

static void test_reserve_registrations_end(void)
{
    struct scsi_rig rig;

    open_rig(&rig);
    for (uint64_t who = 0; who < 128; who++)
        CU_ASSERT(ok(&rig, 100 + who, REGISTER, 0, 0, 1 + who));
    CU_ASSERT(scsi_is_sense(pr_out(&rig, A, REGISTER, 0, 0, 10), HV_SENSE_ILLEGAL_REQUEST, 0x5504));
    CU_ASSERT(ok(&rig, 150, REGISTER, 0, 51, 0));
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 0, 10));
    scsi_rig_close(&rig);
}

static void test_reserve_legacy(void)
{
    static const uint8_t reserve[6] = {HV_SCSI_RESERVE_6}, release[6] = {HV_SCSI_RELEASE_6};
    static const uint8_t inquiry[6] = {HV_SCSI_INQUIRY};
    uint8_t data[512];
    struct scsi_rig rig;
    uint64_t key[4];

    open_rig(&rig);
    CU_ASSERT(scsi_is_good(scsi_none(&rig, B, reserve, 6), 0));
    CU_ASSERT(scsi_is_good(scsi_none(&rig, B, reserve, 6), 0));
    CU_ASSERT(scsi_is_conflict(scsi_none(&rig, A, reserve, 6)));
    CU_ASSERT(scsi_is_conflict(scsi_read(&rig, 0, 1, 0, data)) && scsi_is_conflict(ready(&rig, A)));
    CU_ASSERT(scsi_is_good(scsi_none(&rig, A, inquiry, 6), 0));
    CU_ASSERT(conflict(&rig, A, REGISTER, 0, 0, 10) && conflict(&rig, B, REGISTER, 0, 0, 20));
    CU_ASSERT(scsi_is_good(scsi_none(&rig, A, release, 6), 0)); /* not its own: nothing happens */
    CU_ASSERT(scsi_is_conflict(ready(&rig, A)) && scsi_is_good(ready(&rig, B), 0));
    CU_ASSERT(scsi_is_good(scsi_none(&rig, B, release, 6), 0));
    CU_ASSERT(scsi_is_good(ready(&rig, A), 0));
    CU_ASSERT(scsi_is_good(scsi_none(&rig, B, reserve, 6), 0));
    hv_disk_forget_initiator(rig.disk, B); /* ends with the connection */
    CU_ASSERT(scsi_is_good(ready(&rig, A), 0));
    /* Beside registrations: a registered initiator hears good, nothing is reserved. */
    CU_ASSERT(ok(&rig, A, REGISTER, 0, 0, 10) && keys(&rig, key) == 1);
    CU_ASSERT(scsi_is_good(scsi_none(&rig, A, reserve, 6), 0));
    CU_ASSERT(scsi_is_conflict(scsi_none(&rig, C, reserve, 6)));
    CU_ASSERT(scsi_is_good(ready(&rig, C), 0));
    scsi_rig_close(&rig);
}

/* Attentions: once to each initiator that was there, never to a new one, and not by INQUIRY. */
static void test_attention(void)
{
    static const uint8_t inquiry[6] = {HV_SCSI_INQUIRY},
                         sense_cdb[6] = {HV_SCSI_REQUEST_SENSE, 0, 0, 0, 18};
    static const uint8_t capacity[10] = {HV_SCSI_READ_CAPACITY_10};
    static const uint8_t off[24] = {[4] = 0x08, 0x12}, on[24] = {[4] = 0x08, 0x12, 0x04};
    static const uint8_t select[6] = {HV_SCSI_MODE_SELECT_6, 0x10, 0, 0, 24};
    static const uint8_t sense_mode[6] = {HV_SCSI_MODE_SENSE_6, 8, 8, 0, 24};
    uint8_t data[24], sense[18];
    struct scsi_rig rig;

    open_rig(&rig);
    CU_ASSERT(hv_disk_resize(rig.disk, 2u << 20) == 0);
    CU_ASSERT(scsi_is_good(scsi_none(&rig, A, inquiry, 6), 0));
    CU_ASSERT(scsi_is_sense(scsi_in(&rig, A, capacity, 10, data, 8), HV_SENSE_UNIT_ATTENTION,
                            HV_ASC_CAPACITY_CHANGED));
    CU_ASSERT(scsi_is_good(scsi_in(&rig, A, capacity, 10, data, 8), 8) &&
              hv_get_be32(data) == 4095);
    CU_ASSERT(scsi_is_good(ready(&rig, 4), 0)); /* came later */
    CU_ASSERT(scsi_is_good(scsi_in(&rig, B, sense_cdb, 6, sense, 18), 18));
    CU_ASSERT((sense[2] & 15) == HV_SENSE_UNIT_ATTENTION &&
              hv_get_be16(sense + 12) == HV_ASC_CAPACITY_CHANGED);
    CU_ASSERT(scsi_is_good(ready(&rig, B), 0)); /* told already */
    /* Two things: one after the other.  The cache is switched by B. */
    CU_ASSERT(scsi_is_good(scsi_out(&rig, B, select, 6, off, 24), 24));
    CU_ASSERT(scsi_is_good(scsi_in(&rig, B, sense_mode, 6, data, 24), 24) && data[6] == 0);
    CU_ASSERT(scsi_is_good(scsi_out(&rig, B, select, 6, off, 24), 24)); /* no change, nobody told */
    CU_ASSERT(scsi_is_sense(ready(&rig, C), HV_SENSE_UNIT_ATTENTION, HV_ASC_CAPACITY_CHANGED));
    CU_ASSERT(scsi_is_sense(ready(&rig, C), HV_SENSE_UNIT_ATTENTION, 0x2a01));
    CU_ASSERT(scsi_is_good(ready(&rig, C), 0));
    CU_ASSERT(scsi_is_sense(ready(&rig, A), HV_SENSE_UNIT_ATTENTION, 0x2a01));
    CU_ASSERT(scsi_is_good(scsi_out(&rig, B, select, 6, on, 24), 24));
    CU_ASSERT(scsi_is_good(scsi_in(&rig, B, sense_mode, 6, data, 24), 24) && data[6] == 4);
    /* Who left and comes back starts anew. */
    hv_disk_raise_attention(rig.disk, HV_ASC_LUNS_CHANGED);
    hv_disk_raise_attention(rig.disk, HV_ASC_LUNS_CHANGED);
    hv_disk_forget_initiator(rig.disk, C);
    CU_ASSERT(scsi_is_good(ready(&rig, C), 0));
    CU_ASSERT(scsi_is_sense(ready(&rig, B), HV_SENSE_UNIT_ATTENTION, HV_ASC_LUNS_CHANGED));
    CU_ASSERT(scsi_is_good(ready(&rig, B), 0));
    scsi_rig_close(&rig);
}

static const struct hv_test_case cases[] = {
    {"register, reserve, release", test_reserve_register},
    {"what is not claimed is refused", test_reserve_refusals},
    {"who may do what", test_reserve_access},
    {"preempt and clear", test_reserve_preempt},
    {"all registrants", test_reserve_all_registrants},
    {"a release is told", test_reserve_release_told},
    {"registrations outlive a connection", test_reserve_outlives_connection},
    {"registrations end", test_reserve_registrations_end},
    {"RESERVE and RELEASE", test_reserve_legacy},
    {"unit attentions", test_attention},
};

int main(int argc, char **argv)
{
    return hv_test_main("scsi reserve", cases, HV_TEST_COUNT(cases), argc, argv);
}
