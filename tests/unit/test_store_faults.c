/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest hears when the file below fails, and that nothing is called durable which is not. */
#include "scsi_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store_faults.h"
#include "suite.h"

#define IMAGE "test_store_faults.img"
#define MIB   (1u << 20)

static const uint8_t sync_cdb[10] = {HV_SCSI_SYNCHRONIZE_CACHE_10};
static uint8_t data[4 * MIB] __attribute__((aligned(4096)));
static uint8_t in[4 * MIB] __attribute__((aligned(4096)));

static void open_file(struct scsi_rig *rig, bool buffered, bool no_write_cache)
{
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;

    memset(&store_faults, 0, sizeof(store_faults));
    (void)unlink(IMAGE);
    opts.path = IMAGE;
    opts.bytes = 16 * MIB;
    opts.buffered = buffered;
    opts.no_write_cache = no_write_cache;
    CU_ASSERT_FATAL(scsi_rig_open(rig, opts) == 0);
    memset(&store_faults, 0, sizeof(store_faults));
}

static void close_file(struct scsi_rig *rig)
{
    memset(&store_faults, 0, sizeof(store_faults));
    scsi_rig_close(rig);
    (void)unlink(IMAGE);
}

static struct scsi_result sync_cache(struct scsi_rig *rig)
{
    return scsi_none(rig, 1, sync_cdb, 10);
}

static bool is_medium_error(struct scsi_result r, uint16_t asc, uint32_t lba)
{
    return scsi_is_sense(r, HV_SENSE_MEDIUM_ERROR, asc) && r.srb == HV_SRB_ERROR &&
           r.has_information && r.information == lba;
}

static void errors(bool buffered)
{
    static const struct {
        const char *name;
        int error;
        uint8_t key;
        uint16_t asc;
    } rows[] = {
        {"EIO", EIO, HV_SENSE_MEDIUM_ERROR, HV_ASC_WRITE_ERROR},
        {"ENOSPC", ENOSPC, HV_SENSE_DATA_PROTECT, HV_ASC_SPACE_ALLOCATION_FAILED},
        {"EDQUOT", EDQUOT, HV_SENSE_DATA_PROTECT, HV_ASC_SPACE_ALLOCATION_FAILED},
        {"EROFS", EROFS, HV_SENSE_DATA_PROTECT, HV_ASC_WRITE_PROTECTED},
        {"EFAULT", EFAULT, HV_SENSE_HARDWARE_ERROR, HV_ASC_INTERNAL_TARGET_FAILURE},
        {"ENXIO", ENXIO, HV_SENSE_MEDIUM_ERROR, HV_ASC_WRITE_ERROR},
    };
    struct scsi_result r;
    struct scsi_rig rig;

    open_file(&rig, buffered, false);
    for (size_t i = 0; buffered && i < HV_TEST_COUNT(rows); i++) {
        store_faults.write_errno = rows[i].error;
        HV_CHECK_ROW(rows[i].name,
                     scsi_is_sense(scsi_write(&rig, 9, 8, 0, data), rows[i].key, rows[i].asc));
    }
    store_faults.write_errno = buffered ? EAGAIN : 0;
    if (buffered) {
        r = scsi_write(&rig, 9, 8, 0, data);
        CU_ASSERT(r.srb == HV_SRB_BUSY && r.status == HV_SCSI_STATUS_BUSY);
    }
    store_faults.write_errno = store_faults.read_errno = EIO;
    CU_ASSERT(is_medium_error(scsi_write(&rig, 9, 8, 0, data), HV_ASC_WRITE_ERROR, 9));
    CU_ASSERT(is_medium_error(scsi_write(&rig, 9, 8, 8, data), HV_ASC_WRITE_ERROR, 9));
    CU_ASSERT(is_medium_error(scsi_read(&rig, 7, 8, 0, in), HV_ASC_UNRECOVERED_READ_ERROR, 7));
    r = scsi_none(&rig, 1, (const uint8_t[10]){HV_SCSI_VERIFY_10, 0, 0, 0, 0, 5, 0, 0, 1}, 10);
    CU_ASSERT(is_medium_error(r, HV_ASC_UNRECOVERED_READ_ERROR, 5));
    store_faults.write_errno = store_faults.read_errno = 0; /* and the disk lives on */
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 9, 8, 0, data), 4096));
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 9, 8, 0, in), 4096));
    store_faults.fallocate_errno = EIO;
    CU_ASSERT(is_medium_error(scsi_unmap(&rig, 16, 8), HV_ASC_WRITE_ERROR, 16));
    store_faults.fallocate_errno = ENOSPC;
    CU_ASSERT(scsi_is_sense(scsi_unmap(&rig, 16, 8), HV_SENSE_DATA_PROTECT,
                            HV_ASC_SPACE_ALLOCATION_FAILED));
    close_file(&rig);
}

static void test_faults_errors(void)
{
    errors(true);
    errors(false);
}

static void short_transfers(bool buffered)
{
    static const size_t most[] = {4096, 512, 1536, 100};
    struct scsi_rig rig;

    open_file(&rig, buffered, false);
    for (size_t i = 0; i < (buffered ? 4 : 3); i++) {
        struct iovec iov[4];
        uint8_t cdb[16], pattern[512];

        store_faults.most_bytes = most[i];
        scsi_fill(data, 65536, i);
        CU_ASSERT(scsi_is_good(scsi_write(&rig, 3, 128, 8, data), 65536));
        memset(in, 0, 65536);
        CU_ASSERT(scsi_is_good(scsi_read(&rig, 3, 128, 0, in), 65536));
        CU_ASSERT(memcmp(in, data, 65536) == 0);
        for (int k = 0; k < 4; k++) /* aligned pieces */
            iov[k] = (struct iovec){.iov_base = in + (3 - k) * 16384, .iov_len = 16384};
        scsi_cdb16(cdb, HV_SCSI_READ_16, 0, 3, 128);
        CU_ASSERT(
            scsi_is_good(scsi_run_iov(rig.queue, 1, cdb, 16, HV_VSTOR_DATA_IN, iov, 4), 65536));
        for (int k = 0; k < 4; k++)
            CU_ASSERT(memcmp(iov[k].iov_base, data + k * 16384, 16384) == 0);
        scsi_cdb16(cdb, HV_SCSI_VERIFY_16, 2, 3, 128);
        CU_ASSERT(scsi_is_good(scsi_out(&rig, 1, cdb, 16, data, 65536), 65536));
        /* The pattern of WRITE SAME keeps step, wherever a piece ends. */
        scsi_fill(pattern, 512, i + 9);
        scsi_cdb16(cdb, HV_SCSI_WRITE_SAME_16, 0, 3, 128);
        CU_ASSERT(scsi_is_good(scsi_out(&rig, 1, cdb, 16, pattern, 512), 512));
        CU_ASSERT(scsi_is_good(scsi_read(&rig, 3, 128, 0, in), 65536));
        for (int k = 0; k < 128; k++)
            CU_ASSERT(memcmp(in + k * 512, pattern, 512) == 0);
    }
    close_file(&rig);
}

static void test_faults_short(void)
{
    short_transfers(true);
    short_transfers(false);
}

/* FUA, a switched-off cache and SYNCHRONIZE CACHE reach the kernel; plain writes do not pay for them. */
static void durable(bool buffered)
{
    static const uint8_t off[24] = {[4] = 0x08, 0x12}, on[24] = {[4] = 0x08, 0x12, 0x04};
    static const uint8_t select[6] = {HV_SCSI_MODE_SELECT_6, 0x10, 0, 0, 24};
    struct scsi_rig rig;

    open_file(&rig, buffered, false);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 8, 0, data), 4096));
    CU_ASSERT(store_faults.writes == 1 && store_faults.durable_writes == 0 && !store_faults.syncs);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 8, 8, data), 4096));
    CU_ASSERT(store_faults.durable_writes == 1 && store_faults.syncs == 0);
    CU_ASSERT(scsi_is_good(sync_cache(&rig), 0) && store_faults.syncs == 1);
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 0, 8, 8, in), 4096) &&
              store_faults.syncs == 2);                                          /* FUA */
    CU_ASSERT(scsi_is_good(scsi_none(&rig, 1, (const uint8_t[6]){0x1b}, 6), 0)); /* stop */
    CU_ASSERT(store_faults.syncs == 3);
    CU_ASSERT(scsi_is_good(scsi_unmap(&rig, 0, 8), 24) && store_faults.syncs == 3);
    /* The guest switches the cache off: what it held is synced, every change after it as well. */
    CU_ASSERT(scsi_is_good(scsi_out(&rig, 1, select, 6, off, 24), 24) && store_faults.syncs == 4);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 8, 0, data), 4096));
    CU_ASSERT(store_faults.durable_writes == 2);
    CU_ASSERT(scsi_is_good(scsi_unmap(&rig, 0, 8), 24) && store_faults.syncs == 5);
    CU_ASSERT(scsi_is_good(scsi_out(&rig, 1, select, 6, on, 24), 24));
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 8, 0, data), 4096));
    CU_ASSERT(store_faults.durable_writes == 2 && store_faults.syncs == 5);
    close_file(&rig);
    /* No write cache by option: so from the start, and the guest cannot switch it on. */
    open_file(&rig, buffered, true);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 8, 0, data), 4096));
    CU_ASSERT(store_faults.durable_writes == 1);
    CU_ASSERT(scsi_is_sense(scsi_out(&rig, 1, select, 6, on, 24), HV_SENSE_ILLEGAL_REQUEST,
                            HV_ASC_INVALID_FIELD_IN_PARAMETER));
    CU_ASSERT(scsi_is_good(scsi_out(&rig, 1, select, 6, off, 24), 24));
    close_file(&rig);
}

static void test_faults_durable(void)
{
    durable(true);
    durable(false);
}

/* Where RWF_DSYNC is not known, a sync follows the write. */
static void test_faults_no_dsync(void)
{
    struct scsi_rig rig;

    open_file(&rig, true, true);
    store_faults.dsync_errno = EOPNOTSUPP;
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 8, 0, data), 4096));
    CU_ASSERT(store_faults.writes == 1 && !store_faults.durable_writes && store_faults.syncs == 1);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 8, 0, data), 4096) && store_faults.syncs == 2);
    memcpy(data + 512, data, 512); /* COMPARE AND WRITE of a block: what is there, what comes */
    CU_ASSERT(scsi_is_good(
        scsi_out(&rig, 1, (const uint8_t[16]){HV_SCSI_COMPARE_AND_WRITE, [13] = 1}, 16, data, 1024),
        1024));
    CU_ASSERT(store_faults.syncs == 3);
    close_file(&rig);
}

/* The kernel tells a failed write-back once; the disk never calls such data durable afterwards. */
static void failed_sync(bool buffered)
{
    struct scsi_rig rig;

    open_file(&rig, buffered, false);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 8, 0, data), 4096) &&
              scsi_is_good(sync_cache(&rig), 0));
    store_faults.sync_errno = EIO;
    CU_ASSERT(scsi_is_sense(sync_cache(&rig), HV_SENSE_MEDIUM_ERROR, HV_ASC_WRITE_ERROR));
    store_faults.sync_errno = 0;
    CU_ASSERT(scsi_is_sense(sync_cache(&rig), HV_SENSE_MEDIUM_ERROR, HV_ASC_WRITE_ERROR));
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 0, 8, 0, in), 4096)); /* reading goes on */
    close_file(&rig);
}

static void test_faults_sync(void)
{
    failed_sync(true);
    failed_sync(false);
}

static void test_faults_write_zeroes_fall_back(void)
{
    static const uint8_t zero[512];
    uint8_t cdb[16];
    struct scsi_rig rig;

    open_file(&rig, false, false);
    memset(data, 0x5a, MIB);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 2048, 0, data), MIB));
    store_faults.fallocate_errno = EOPNOTSUPP;
    scsi_cdb16(cdb, HV_SCSI_WRITE_SAME_16, 0x08, 8, 1024);
    CU_ASSERT(scsi_is_good(scsi_out(&rig, 1, cdb, 16, zero, 512), 512));
    CU_ASSERT(store_faults.holes == 2 && store_faults.writes >= 3);
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 0, 2048, 0, in), MIB));
    for (uint32_t i = 0; i < MIB; i++)
        if (in[i] != (i / 512 >= 8 && i / 512 < 1032 ? 0 : 0x5a)) {
            CU_FAIL("zeroes in the wrong place");
            break;
        }
    close_file(&rig);
}

struct many {
    struct hv_scsi_command command[200];
    struct iovec iov[200];
    int done, good;
};

static void counted(struct hv_scsi_command *command)
{
    struct many *many = command->arg;

    many->done++;
    many->good += command->scsi_status == HV_SCSI_STATUS_GOOD && command->transferred_bytes == 4096;
}

/* Start `count` writes of 4 KiB, from memory shifted by `shift`. */
static void start_many(struct scsi_rig *rig, struct many *many, uint32_t count, size_t shift)
{
    memset(many, 0, sizeof(*many));
    for (uint32_t i = 0; i < count; i++) {
        struct hv_scsi_command *c = &many->command[i];

        many->iov[i] = (struct iovec){.iov_base = data + i * 4096 + shift, .iov_len = 4096};
        scsi_cdb16(c->cdb, HV_SCSI_WRITE_16, 0, i * 8, 8);
        c->cdb_bytes = 16;
        c->data_direction = HV_VSTOR_DATA_OUT;
        c->data_bytes = 4096;
        c->initiator = 1;
        c->iov = &many->iov[i];
        c->iov_count = 1;
        c->done = counted;
        c->arg = many;
        hv_disk_execute(rig->queue, c);
    }
}

static void finish_many(struct scsi_rig *rig, const struct many *many, int count)
{
    while (many->done < count) {
        struct pollfd p = {.fd = hv_disk_queue_fd(rig->queue), .events = POLLIN};

        if (!hv_disk_queue_poll(rig->queue))
            (void)poll(&p, 1, -1);
    }
    CU_ASSERT(hv_disk_queue_in_flight(rig->queue) == 0);
}

/* A batch is one submission; more than the kernel takes, or than there are bounce buffers, waits its turn. */
static void test_faults_many(void)
{
    struct many *many = malloc(sizeof(*many));
    struct scsi_rig rig;

    open_file(&rig, false, false);
    if (!hv_disk_is_direct(rig.disk)) {
        fprintf(stderr, "(no O_DIRECT here: batches are not tested)\n");
        close_file(&rig);
        free(many);
        return;
    }
    scsi_fill(data, sizeof(data), 77);
    start_many(&rig, many, 60, 0); /* the queue's depth is 64 */
    CU_ASSERT(store_faults.submits == 0 && hv_disk_queue_in_flight(rig.queue) == 60);
    hv_disk_queue_flush(rig.queue);
    CU_ASSERT(store_faults.submits == 1);
    finish_many(&rig, many, 60);
    CU_ASSERT(many->good == 60);
    for (size_t shift = 0; shift <= 2; shift += 2) {
        start_many(&rig, many, 200, shift);
        hv_disk_queue_flush(rig.queue);
        finish_many(&rig, many, 200);
        CU_ASSERT(many->good == 200 && many->done == 200);
        CU_ASSERT(scsi_is_good(scsi_read(&rig, 0, 1600, 0, in), 200 * 4096));
        CU_ASSERT(memcmp(in, data + shift, 200 * 4096) == 0);
    }
    close_file(&rig);
    free(many);
}

/* Two programs create the same image: who was quicker with the lock keeps it, the other one must not remove it. */
static void test_faults_created_by_two(void)
{
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;
    struct hv_disk *disk = NULL;
    char why[HV_DISK_WHY_BYTES];

    (void)unlink(IMAGE);
    opts.path = IMAGE;
    opts.bytes = MIB;
    memset(&store_faults, 0, sizeof(store_faults));
    store_faults.lock_errno = EAGAIN;
    CU_ASSERT(hv_disk_create(&opts, why, &disk) == -EBUSY && !disk);
    store_faults.lock_errno = 0;
    CU_ASSERT(unlink(IMAGE) == 0);
}

static void test_faults_submit(void)
{
    struct many *many = malloc(sizeof(*many));
    struct scsi_rig rig;

    open_file(&rig, false, false);
    if (hv_disk_is_direct(rig.disk)) {
        /* No resources for now: tried again, though nothing in the kernel would wake us. */
        store_faults.submit_errno = EAGAIN;
        store_faults.submit_errno_count = 3;
        start_many(&rig, many, 10, 0);
        hv_disk_queue_flush(rig.queue);
        finish_many(&rig, many, 10);
        CU_ASSERT(many->good == 10 && store_faults.submits >= 4);
        /* One that the kernel does not take fails alone. */
        store_faults.submit_errno = EBADF;
        store_faults.submit_errno_count = 1;
        start_many(&rig, many, 10, 0);
        hv_disk_queue_flush(rig.queue);
        finish_many(&rig, many, 10);
        CU_ASSERT(many->good == 9);
        CU_ASSERT(many->command[0].scsi_status == HV_SCSI_STATUS_CHECK_CONDITION);
    }
    close_file(&rig);
    free(many);
}

static const struct hv_test_case cases[] = {
    {"errors below", test_faults_errors},
    {"short reads and writes", test_faults_short},
    {"durable means synced", test_faults_durable},
    {"no RWF_DSYNC", test_faults_no_dsync},
    {"a failed sync is not forgotten", test_faults_sync},
    {"zeroes are written where nothing else works", test_faults_write_zeroes_fall_back},
    {"many at once", test_faults_many},
    {"submission fails", test_faults_submit},
    {"created by two", test_faults_created_by_two},
};

int main(int argc, char **argv)
{
    return hv_test_main("store faults", cases, HV_TEST_COUNT(cases), argc, argv);
}
