/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests become commands: the bytes of SRBs, splitting, and what is done where a LUN cannot do it itself. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <suite.h>

#include <hv/base/endian.h>
#include <hv/storvsc.h>
#include <hv/wire/scsi.h>

#include "storvsc_loop.h"

#define FLUSHED HV_SCSI_SYNCHRONIZE_CACHE_10

/* ---- Bytes ---- */

/* Revision 2, WRITE(16) with FUA of 8 blocks at 0x1122334455: written out by hand from docs/wire.md. */
static void test_srb_bytes(void)
{
    static const uint8_t want[64] = {
        3,    0,    0,    0,    1,    0,    0,    0,    0,    0,    0, 0, /* EXECUTE_SRB, completion, status */
        0x34, 0,    0,    0,    0,    0,    0,    0,    16,   20,   0, 0, /* length .. lun; CDB, sense, to device */
        0x00, 0x10, 0,    0,                                              /* 4096 bytes */
        0x8a, 0x08, 0,    0,    0,    0x11, 0x22, 0x33, 0x44, 0x55, 0, 0, 0, 8, 0, 0, /* CDB */
        0,    0,    0,    0, /* rest of the sense area */
        0,    0,    0xff, 0x20, 0x8a, 0x01, 0,    0,    60,   0,    0, 0, /* tag, action, flags, seconds */
        0,    0,    0,    0,
    };
    struct fixture f;
    struct loop_disk disk = fixture_disk();
    struct test_io io;

    disk.blocks = UINT64_C(1) << 40;
    disk.data = NULL;
    fixture_start(&f, &disk, NULL);
    io = fixture_io(HV_STORVSC_WRITE, 0x1122334455, 8, f.memory, 4096);
    io.request.flags = HV_STORVSC_FUA;
    CU_ASSERT_EQUAL(fixture_run(&f, &io), 0);
    CU_ASSERT(!memcmp(&f.last.vstor, want, sizeof(want)));
    CU_ASSERT_EQUAL(f.last.vstor_bytes, 64);
    CU_ASSERT_EQUAL(f.last.type, HV_PACKET_GPA_DIRECT);
    CU_ASSERT_EQUAL(f.last.range_bytes, 4096);
    CU_ASSERT_EQUAL(f.last.pfn_count, 1);
    CU_ASSERT_EQUAL(f.last.pfns[0], (uintptr_t)f.memory >> 12);
    /* A command without data is in-band and keeps no range of an earlier one. */
    io = fixture_io(HV_STORVSC_FLUSH, 0, 0, NULL, 0);
    CU_ASSERT_EQUAL(fixture_run(&f, &io), 0);
    CU_ASSERT_EQUAL(f.last.type, HV_PACKET_INBAND);
    CU_ASSERT_EQUAL(f.last.vstor.srb.data_in, HV_VSTOR_DATA_NONE);
    CU_ASSERT_EQUAL(f.last.vstor.srb.data_transfer_bytes, 0);
    CU_ASSERT_EQUAL(f.last.vstor.srb.cdb[0], FLUSHED);
    CU_ASSERT_EQUAL(f.last.vstor.srb.cdb_bytes, 10);
    CU_ASSERT_EQUAL(f.last.vstor.srb.srb_flags, 0x10a);
    fixture_stop(&f);
}

static void test_revision1(void)
{
    struct fixture f;
    struct loop_disk disk = fixture_disk();
    struct test_io io;

    disk.version = HV_VSTOR_VERSION_4_2;
    fixture_start(&f, &disk, NULL);
    CU_ASSERT_EQUAL(hv_storvsc_version(f.storvsc), HV_VSTOR_VERSION_4_2);
    io = fixture_io(HV_STORVSC_READ, 1, 1, f.memory + 100, 512);
    CU_ASSERT_EQUAL(fixture_run(&f, &io), 0);
    CU_ASSERT_EQUAL(f.last.vstor_bytes, 48);
    CU_ASSERT_EQUAL(f.last.vstor.srb.length, 36);
    CU_ASSERT_EQUAL(f.last.vstor.srb.sense_bytes, 18);
    CU_ASSERT_EQUAL(f.last.vstor.srb.data_in, HV_VSTOR_DATA_IN);
    CU_ASSERT_EQUAL(f.last.range_offset, 100);
    fixture_stop(&f);
}

/* Where READ CAPACITY(16) is not known, no 16-byte command is. */
static void test_short_cdbs(void)
{
    static const uint8_t want[10] = {0x28, 0, 0, 0, 1, 2, 0, 0, 3, 0};
    struct fixture f;
    struct loop_disk disk = fixture_disk();
    struct test_io io;

    disk.no_capacity16 = true;
    fixture_start(&f, &disk, NULL);
    io = fixture_io(HV_STORVSC_READ, 0x102, 3, f.memory, 1536);
    CU_ASSERT_EQUAL(fixture_run(&f, &io), 0);
    CU_ASSERT(!memcmp(f.last.vstor.srb.cdb, want, sizeof(want)));
    CU_ASSERT_EQUAL(f.last.vstor.srb.cdb_bytes, 10);
    io = fixture_io(HV_STORVSC_WRITE_ZEROES, 0, 8, NULL, 0);
    CU_ASSERT_EQUAL(fixture_run(&f, &io), 0);
    CU_ASSERT_EQUAL(f.last.vstor.srb.cdb[0], HV_SCSI_WRITE_10);
    io = fixture_io(HV_STORVSC_LBA_STATUS, 0, 8, f.memory, 24);
    CU_ASSERT_EQUAL(fixture_run(&f, &io), -EOPNOTSUPP);
    fixture_stop(&f);
}

/* ---- Splitting ---- */

/* Every part inside the limit, in order, without gap or overlap. */
static void check_parts(const struct loop_disk *disk, uint8_t opcode, uint64_t lba, uint64_t count,
                        uint32_t max, unsigned want_parts)
{
    unsigned parts = 0;

    for (unsigned i = 0; i < disk->log_count; i++) {
        const struct hv_vstor_srb *srb = &disk->log[i];

        if (srb->cdb[0] != opcode)
            continue;
        parts++;
        CU_ASSERT_EQUAL(loop_disk_lba(srb), lba);
        CU_ASSERT(loop_disk_count(srb) > 0 && loop_disk_count(srb) <= max);
        lba += loop_disk_count(srb);
        count -= loop_disk_count(srb);
    }
    CU_ASSERT_EQUAL(count, 0);
    CU_ASSERT_EQUAL(parts, want_parts);
}

static void test_split(void)
{
    static const struct {
        const char *name;
        uint32_t host_bytes, vpd_blocks, block_bytes;
        uint32_t want_bytes; /* max_transfer_bytes of the LUN */
        uint64_t count;
        unsigned parts;
    } rows[] = {
        {"below", 65536, 0, 512, 65536, 127, 1},
        {"equal", 65536, 0, 512, 65536, 128, 1},
        {"one more", 65536, 0, 512, 65536, 129, 2},
        {"twice", 65536, 0, 512, 65536, 256, 2},
        {"rounded to pages", 70000, 0, 512, 69632, 137, 2},
        {"limit of the LUN", 65536, 16, 512, 8192, 160, 10},
        {"limit of the LUN below a page", 65536, 3, 512, 1536, 10, 4},
        {"4096-byte blocks", 65536, 0, 4096, 65536, 33, 3},
        {"no limit said: 128 KiB", 0, 0, 512, 131072, 257, 2},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct fixture f;
        struct loop_disk disk = fixture_disk();
        struct hv_storvsc_lun lun;
        struct test_io io;
        size_t bytes = rows[i].count * rows[i].block_bytes;

        disk.max_transfer_bytes = rows[i].host_bytes;
        disk.max_transfer_blocks = rows[i].vpd_blocks;
        disk.block_bytes = rows[i].block_bytes;
        disk.blocks = FIXTURE_DISK_BYTES / rows[i].block_bytes;
        fixture_start(&f, &disk, NULL);
        CU_ASSERT_EQUAL(hv_storvsc_luns(f.storvsc, &lun, 1), 1);
        HV_CHECK_ROW(rows[i].name, lun.max_transfer_bytes == rows[i].want_bytes);
        io = fixture_io(HV_STORVSC_READ, 5, rows[i].count, f.memory, bytes);
        HV_CHECK_ROW(rows[i].name, fixture_run(&f, &io) == 0);
        HV_CHECK_ROW(rows[i].name, io.result.bytes == bytes);
        HV_CHECK_ROW(rows[i].name,
                     !memcmp(f.memory, f.data + 5 * (size_t)rows[i].block_bytes, bytes));
        check_parts(&disk, HV_SCSI_READ_16, 5, rows[i].count,
                    rows[i].want_bytes / rows[i].block_bytes, rows[i].parts);
        fixture_stop(&f);
    }
}

/* A ring that holds only small packets bounds the transfer, too, wherever data start in their page. */
static void test_ring_limit(void)
{
    struct loop_guest_opts go = {.max_bytes = 64 + 16 + 8 * 9};
    struct fixture f;
    struct loop_disk disk = fixture_disk();
    struct hv_storvsc_lun lun;
    struct test_io io;

    disk.max_transfer_bytes = 1u << 20;
    fixture_start(&f, &disk, &go);
    CU_ASSERT_EQUAL(hv_storvsc_luns(f.storvsc, &lun, 1), 1);
    CU_ASSERT_EQUAL(lun.max_transfer_bytes, 8 * 4096);
    io = fixture_io(HV_STORVSC_READ, 0, 64, f.memory + 4094, 8 * 4096);
    CU_ASSERT_EQUAL(fixture_run(&f, &io), 0);
    CU_ASSERT_EQUAL(f.last.pfn_count, 9);
    fixture_stop(&f);
}

static void test_unmap_split(void)
{
    static const struct {
        const char *name;
        uint32_t max, granularity, alignment;
        uint64_t lba, count;
        unsigned parts;
        uint64_t second; /* where the second part starts */
    } rows[] = {
        {"one", 1000, 1, 0, 7, 1000, 1, 0},
        {"two", 1000, 1, 0, 7, 1001, 2, 1007},
        {"between granules", 1000, 8, 0, 7, 2000, 3, 1000},
        {"with alignment", 1000, 8, 3, 7, 2000, 3, 1003},
        {"granule larger than the limit", 10, 64, 0, 0, 20, 2, 10},
        {"no limit", UINT32_MAX, 1, 0, 0, 9999, 1, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct fixture f;
        struct loop_disk disk = fixture_disk();
        struct test_io io;

        disk.unmap_max_blocks = rows[i].max;
        disk.unmap_granularity = rows[i].granularity;
        disk.unmap_alignment = rows[i].alignment;
        fixture_start(&f, &disk, NULL);
        io = fixture_io(HV_STORVSC_UNMAP, rows[i].lba, rows[i].count, NULL, 0);
        HV_CHECK_ROW(rows[i].name, fixture_run(&f, &io) == 0);
        check_parts(&disk, HV_SCSI_UNMAP, rows[i].lba, rows[i].count, rows[i].max, rows[i].parts);
        if (rows[i].parts > 1)
            HV_CHECK_ROW(rows[i].name, loop_disk_lba(&disk.log[1]) == rows[i].second);
        fixture_stop(&f);
    }
}

/* UNMAP's list and CDB, by hand. */
static void test_unmap_bytes(void)
{
    static const uint8_t want_cdb[10] = {0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0};
    static const uint8_t want_list[24] = {0, 22, 0, 16,   0, 0, 0, 0,    0, 0, 0, 0,
                                          0, 0,  3, 0xe9, 0, 0, 0, 0x11, 0, 0, 0, 0};
    struct fixture f;
    struct loop_disk disk = fixture_disk();
    struct test_io io;

    fixture_start(&f, &disk, NULL);
    io = fixture_io(HV_STORVSC_UNMAP, 1001, 17, NULL, 0);
    CU_ASSERT_EQUAL(fixture_run(&f, &io), 0);
    CU_ASSERT(!memcmp(f.last.vstor.srb.cdb, want_cdb, sizeof(want_cdb)));
    CU_ASSERT_EQUAL(f.last.vstor.srb.data_in, HV_VSTOR_DATA_OUT);
    CU_ASSERT_EQUAL(f.last_bytes, 24);
    CU_ASSERT(!memcmp(f.last_data, want_list, sizeof(want_list)));
    fixture_stop(&f);
}

/* ---- What a LUN cannot do itself ---- */

static unsigned logged(const struct loop_disk *disk, uint8_t opcode)
{
    unsigned n = 0;

    for (unsigned i = 0; i < disk->log_count; i++)
        n += disk->log[i].cdb[0] == opcode;
    return n;
}

static void test_fua(void)
{
    static const struct {
        const char *name;
        bool cache, fua;
        bool bit;         /* in the CDB */
        unsigned flushes; /* behind it */
    } rows[] = {
        {"cache, FUA known", true, true, true, 0},
        {"cache, FUA unknown", true, false, false, 1},
        {"no cache, FUA known", false, true, true, 0},
        {"no cache, FUA unknown", false, false, false, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct fixture f;
        struct loop_disk disk = fixture_disk();
        struct test_io io;

        disk.write_cache = rows[i].cache;
        disk.fua = rows[i].fua;
        fixture_start(&f, &disk, NULL);
        io = fixture_io(HV_STORVSC_WRITE, 0, 8, f.memory, 4096);
        io.request.flags = HV_STORVSC_FUA;
        HV_CHECK_ROW(rows[i].name, fixture_run(&f, &io) == 0);
        HV_CHECK_ROW(rows[i].name, io.result.bytes == 4096);
        HV_CHECK_ROW(rows[i].name, disk.log[0].cdb[0] == HV_SCSI_WRITE_16);
        HV_CHECK_ROW(rows[i].name, (disk.log[0].cdb[1] == 0x08) == rows[i].bit);
        HV_CHECK_ROW(rows[i].name, logged(&disk, FLUSHED) == rows[i].flushes);
        HV_CHECK_ROW(rows[i].name, disk.log_count == 1 + rows[i].flushes);
        /* Split: the flush comes once, behind all parts. */
        disk.log_count = 0;
        io = fixture_io(HV_STORVSC_WRITE, 0, 1024, f.memory, 1024 * 512);
        io.request.flags = HV_STORVSC_FUA;
        HV_CHECK_ROW(rows[i].name, fixture_run(&f, &io) == 0);
        HV_CHECK_ROW(rows[i].name, logged(&disk, HV_SCSI_WRITE_16) == 8);
        HV_CHECK_ROW(rows[i].name, logged(&disk, FLUSHED) == rows[i].flushes);
        HV_CHECK_ROW(rows[i].name,
                     !rows[i].flushes || disk.log[disk.log_count - 1].cdb[0] == FLUSHED);
        fixture_stop(&f);
    }
}

/* The flush that stands for FUA fails: so does the write, and it is not reported good. */
static void test_fua_flush_fails(void)
{
    struct fixture f;
    struct loop_disk disk = fixture_disk();
    struct test_io io;

    disk.fua = false;
    fixture_start(&f, &disk, NULL);
    /* The write itself is tried again first. */
    for (unsigned i = 0; i < 3; i++)
        disk.faults[i] = (struct loop_fault){.srb_status = HV_SRB_BUSY};
    disk.fault_count = 3;
    io = fixture_io(HV_STORVSC_WRITE, 0, 8, f.memory, 4096);
    io.request.flags = HV_STORVSC_FUA;
    CU_ASSERT_EQUAL(fixture_run(&f, &io), 0);
    CU_ASSERT_EQUAL(disk.log_count, 5);
    CU_ASSERT_EQUAL(disk.log[3].cdb[0], HV_SCSI_WRITE_16);
    CU_ASSERT_EQUAL(disk.log[4].cdb[0], FLUSHED);
    fixture_fail_opcode(&f, FLUSHED, 3, 0x0c00);
    io = fixture_io(HV_STORVSC_WRITE, 0, 8, f.memory, 4096);
    io.request.flags = HV_STORVSC_FUA;
    CU_ASSERT_EQUAL(fixture_run(&f, &io), -EIO);
    CU_ASSERT_EQUAL(io.result.sense_key, 3);
    CU_ASSERT_EQUAL(io.result.asc, 0x0c00);
    fixture_stop(&f);
}

static void test_zeroes(void)
{
    static const struct {
        const char *name;
        uint64_t ws_max;
        bool ws_unmap, lbprz, refuse;
        uint32_t flags;
        int want;
        uint8_t opcode, byte1;
        unsigned commands;
    } rows[] = {
        {"WRITE SAME", 2048, true, true, false, 0, 0, 0x93, 0, 2},
        {"WRITE SAME that may unmap", 2048, true, true, false, HV_STORVSC_MAY_UNMAP, 0, 0x93, 8, 2},
        {"unmapped blocks are no zeroes", 2048, true, false, false, HV_STORVSC_MAY_UNMAP, 0, 0x93,
         0, 2},
        {"cannot unmap by it", 2048, false, true, false, HV_STORVSC_MAY_UNMAP, 0, 0x93, 0, 2},
        {"announced, refused", 2048, true, true, true, 0, 0, 0x8a, 0, 2 + 32},
        {"announced, refused, fast", 2048, true, true, true, HV_STORVSC_FAST_ONLY, -EOPNOTSUPP,
         0x93, 0, 2},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct fixture f;
        struct loop_disk disk = fixture_disk();
        struct test_io io;

        disk.write_same_max_blocks = rows[i].ws_max;
        disk.write_same_unmap = rows[i].ws_unmap;
        disk.lbprz = rows[i].lbprz;
        disk.refuse_write_same = rows[i].refuse;
        fixture_start(&f, &disk, NULL);
        io = fixture_io(HV_STORVSC_WRITE_ZEROES, 1, 4096, NULL, 0);
        io.request.flags = rows[i].flags;
        HV_CHECK_ROW(rows[i].name, fixture_run(&f, &io) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, disk.log_count == rows[i].commands);
        HV_CHECK_ROW(rows[i].name, disk.log[disk.log_count - 1].cdb[0] == rows[i].opcode);
        HV_CHECK_ROW(rows[i].name, disk.log[disk.log_count - 1].cdb[1] == rows[i].byte1);
        if (!rows[i].want) {
            HV_CHECK_ROW(rows[i].name, f.data[511] == 0xa5 && f.data[4097 * 512] == 0xa5);
            HV_CHECK_ROW(rows[i].name,
                         f.data[512] == 0 && !memcmp(f.data + 512, f.data + 513, 4096 * 512 - 1));
        }
        /* Once refused, it is not tried again. */
        if (rows[i].refuse) {
            disk.log_count = 0;
            io = fixture_io(HV_STORVSC_WRITE_ZEROES, 1, 8, NULL, 0);
            io.request.flags = rows[i].flags;
            HV_CHECK_ROW(rows[i].name, fixture_run(&f, &io) == rows[i].want);
            HV_CHECK_ROW(rows[i].name, logged(&disk, HV_SCSI_WRITE_SAME_16) == 0);
        }
        fixture_stop(&f);
    }
}

/* ---- Answers ---- */

static void test_retries(void)
{
    static const struct {
        const char *name;
        struct loop_fault fault;
        unsigned times;
        int want;
        unsigned sent;
    } rows[] = {
        {"reset once", {HV_SRB_ERROR, 0, 6, 0x2900, 0}, 1, 0, 2},
        {"resets without end", {HV_SRB_ERROR, 0, 6, 0x2900, 0}, 16, -EIO, 9},
        {"busy", {HV_SRB_SUCCESS, HV_SCSI_STATUS_BUSY, 0, 0, 0}, 3, 0, 4},
        {"aborted", {HV_SRB_ABORTED, 0, 0, 0, 0}, 2, 0, 3},
        {"short but good", {HV_SRB_SUCCESS, 0, 0, 0, 1}, 1, -EIO, 1},
        {"unknown SRB status", {0x2f, 0, 0, 0, 0}, 1, -EIO, 1},
        {"medium", {HV_SRB_ERROR, 0, 3, 0x1100, 0}, 1, -EIO, 1},
        {"space", {HV_SRB_ERROR, 0, 7, 0x2707, 0}, 1, -ENOSPC, 1},
        {"protected", {HV_SRB_ERROR, 0, 7, 0x2700, 0}, 1, -EPERM, 1},
        {"conflict", {HV_SRB_ERROR, HV_SCSI_STATUS_RESERVATION_CONFLICT, 0, 0, 0}, 1, -EBUSY, 1},
    };

    for (int descriptor = 0; descriptor < 2; descriptor++)
        for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
            struct fixture f;
            struct loop_disk disk = fixture_disk();
            struct test_io io;
            uint64_t id;

            disk.descriptor_sense = descriptor;
            fixture_start(&f, &disk, NULL);
            for (unsigned k = 0; k < rows[i].times; k++)
                disk.faults[k] = rows[i].fault;
            disk.fault_count = rows[i].times;
            id = f.last.id;
            io = fixture_io(HV_STORVSC_WRITE, 3, 1, f.memory, 512);
            HV_CHECK_ROW(rows[i].name, fixture_run(&f, &io) == rows[i].want);
            HV_CHECK_ROW(rows[i].name, disk.log_count == rows[i].sent);
            HV_CHECK_ROW(rows[i].name, io.done_count == 1);
            /* Each try is a packet of its own. */
            HV_CHECK_ROW(rows[i].name, f.ids_repeated == 0 && f.last.id != id);
            if (rows[i].want && rows[i].fault.key) {
                HV_CHECK_ROW(rows[i].name, io.result.sense_key == rows[i].fault.key);
                HV_CHECK_ROW(rows[i].name, io.result.asc == rows[i].fault.asc);
            }
            fixture_stop(&f);
        }
}

/* A raw command is nobody's to repeat; its caller sees what came. */
static void test_raw_is_not_retried(void)
{
    struct fixture f;
    struct loop_disk disk = fixture_disk();
    struct test_io io;

    fixture_start(&f, &disk, NULL);
    disk.faults[0] = (struct loop_fault){HV_SRB_ERROR, 0, 6, 0x2900, 0};
    disk.fault_count = 1;
    io = fixture_io(HV_STORVSC_SCSI, 0, 0, f.memory, 512);
    io.request.cdb[0] = HV_SCSI_READ_10;
    io.request.cdb[8] = 1;
    io.request.cdb_bytes = 10;
    io.request.data_in = true;
    CU_ASSERT_EQUAL(fixture_run(&f, &io), -EIO);
    CU_ASSERT_EQUAL(disk.log_count, 1);
    CU_ASSERT_EQUAL(io.result.sense_key, 6);
    CU_ASSERT_EQUAL(io.result.sense_bytes, 18);
    CU_ASSERT_EQUAL(io.sense[0], 0x70);
    CU_ASSERT_EQUAL(io.result.srb_status, HV_SRB_ERROR); /* flags removed */
    fixture_stop(&f);
}

/* An answer to an earlier user of the same slot does not complete the request that has it now. */
static void test_old_answer(void)
{
    struct hv_vstor_packet reply = {.hdr = {.operation = HV_VSTOR_COMPLETE_IO}};
    struct hv_storvsc_stats stats;
    struct fixture f;
    struct loop_disk disk = fixture_disk();
    struct hv_storvsc_queue *q;
    struct test_io io;
    uint64_t old = 0;

    fixture_start(&f, &disk, NULL);
    q = hv_storvsc_queue(f.storvsc, 0);
    io = fixture_io(HV_STORVSC_READ, 0, 1, f.memory, 512);
    CU_ASSERT_EQUAL(fixture_run(&f, &io), 0);
    old = f.last.id;
    /* Slots are used in turn: go on until the same one comes again, and leave that one unanswered. */
    for (unsigned i = 0; i < 2000; i++) {
        f.silent = true;
        io = fixture_io(HV_STORVSC_READ, 0, 1, f.memory, 512);
        CU_ASSERT_EQUAL(fixture_submit(&f, &io), 0);
        CU_ASSERT_EQUAL(hv_storvsc_flush(q), 0);
        if ((f.last.id & 0xffff) == (old & 0xffff))
            break;
        f.silent = false;
        reply.srb = (struct hv_vstor_srb){.srb_status = HV_SRB_SUCCESS, .data_transfer_bytes = 512};
        CU_ASSERT(loop_guest_send(f.loop, 0, HV_PACKET_COMPLETION, f.last.id, &reply, 64));
        CU_ASSERT_EQUAL(hv_storvsc_poll(q), 1);
    }
    CU_ASSERT_EQUAL(f.last.id & 0xffff, old & 0xffff);
    CU_ASSERT_NOT_EQUAL(f.last.id, old);
    CU_ASSERT_EQUAL(f.ids_repeated, 0);
    CU_ASSERT(loop_guest_send(f.loop, 0, HV_PACKET_COMPLETION, old, &reply, 64));
    CU_ASSERT_EQUAL(hv_storvsc_poll(q), -EPROTO);
    CU_ASSERT_EQUAL(io.done_count, 0);
    CU_ASSERT_PTR_NOT_NULL(loop_guest_killed(f.loop, 0));
    hv_storvsc_get_stats(q, &stats);
    CU_ASSERT_EQUAL(stats.unknown_ids, 1);
    fixture_stop(&f);
    CU_ASSERT(io.done_count == 1 && io.result.error == -ENODEV);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"bytes of an SRB", test_srb_bytes},
        {"revision 1", test_revision1},
        {"short CDBs", test_short_cdbs},
        {"splitting", test_split},
        {"limit of the ring", test_ring_limit},
        {"UNMAP: splitting", test_unmap_split},
        {"UNMAP: bytes", test_unmap_bytes},
        {"FUA", test_fua},
        {"FUA: flush fails", test_fua_flush_fails},
        {"zeroes", test_zeroes},
        {"retries and errors", test_retries},
        {"raw commands are not retried", test_raw_is_not_retried},
        {"old answer", test_old_answer},
    };

    return hv_test_main("storvsc.block", cases, HV_TEST_COUNT(cases), argc, argv);
}
