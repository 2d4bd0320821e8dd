/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands that touch the medium, on every kind of store and both block sizes: the same behaviour everywhere. */
#include "scsi_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hv/base/endian.h>

#include "suite.h"

#define MIB      (1ull << 20)
#define IMAGE    "test_scsi_data.img"
#define MAX_IOV  2050
#define DATA_MAX (8u << 20)

static const struct kind {
    const char *name;
    enum hv_disk_store store;
    uint32_t block;
    bool buffered, no_write_cache, no_thin;
} kinds[] = {
    {"memory, 512", HV_DISK_MEMORY, 512, false, false, false},
    {"memory, 4096", HV_DISK_MEMORY, 4096, false, true, false},
    {"direct file, 512", HV_DISK_FILE, 512, false, false, false},
    {"direct file, 4096", HV_DISK_FILE, 4096, false, false, false},
    {"direct file, no write cache", HV_DISK_FILE, 512, false, true, false},
    {"direct file, not thin", HV_DISK_FILE, 512, false, false, true},
    {"buffered file, 512", HV_DISK_FILE, 512, true, false, false},
    {"buffered file, no write cache", HV_DISK_FILE, 4096, true, true, false},
};

static int open_kind(struct scsi_rig *rig, const struct kind *kind, uint64_t bytes)
{
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;
    int err;

    (void)unlink(IMAGE);
    opts.store = kind->store;
    opts.path = IMAGE;
    opts.bytes = bytes;
    opts.block_bytes = kind->block;
    opts.buffered = kind->buffered;
    opts.no_write_cache = kind->no_write_cache;
    opts.no_thin = kind->no_thin;
    err = scsi_rig_open(rig, opts);
    HV_CHECK_ROW(kind->name, err == 0);
    return err;
}

/* Run a test on each kind of disk, 64 MiB. */
static void on_each(void (*run)(struct scsi_rig *rig, const char *name))
{
    for (size_t i = 0; i < HV_TEST_COUNT(kinds); i++) {
        struct scsi_rig rig;

        if (open_kind(&rig, &kinds[i], 64 * MIB) == 0)
            run(&rig, kinds[i].name);
        scsi_rig_close(&rig);
    }
    (void)unlink(IMAGE);
}

static uint8_t *pages(size_t bytes)
{
    void *at = aligned_alloc(4096, (bytes + 4095) & ~4095ull);

    memset(at, 0, bytes);
    return at;
}

/* READ and WRITE in all four sizes land where they should. */
static void read_write_forms(struct scsi_rig *rig, const char *name)
{
    static const struct {
        uint8_t write[16], read[16];
        uint8_t bytes;
        uint32_t lba, blocks;
    } forms[] = {
        {{0x0a, 0, 0, 7, 3}, {0x08, 0, 0, 7, 3}, 6, 7, 3},
        {{0x0a, 0, 1, 0, 0}, {0x08, 0, 1, 0, 0}, 6, 256, 256}, /* 0 means 256 */
        {{0x2a, 0x10, 0, 0, 4, 0, 0, 0, 5}, {0x28, 0x10, 0, 0, 4, 0, 0, 0, 5}, 10, 1024, 5},
        {{0xaa, 0x08, 0, 0, 5, 1, 0, 0, 0, 9}, {0xa8, 0x08, 0, 0, 5, 1, 0, 0, 0, 9}, 12, 1281, 9},
        {{0x8a, 0, [8] = 6, 2, 0, 0, 0, 1}, {0x88, 0, [8] = 6, 2, 0, 0, 0, 1}, 16, 1538, 1},
    };
    uint32_t block = hv_disk_block_bytes(rig->disk);
    uint8_t *out = pages(DATA_MAX), *in = pages(DATA_MAX);

    for (size_t i = 0; i < HV_TEST_COUNT(forms); i++) {
        uint32_t bytes = forms[i].blocks * block;

        scsi_fill(out, bytes, i);
        memset(in, 0xee, bytes + block);
        HV_CHECK_ROW(
            name,
            scsi_is_good(scsi_out(rig, 1, forms[i].write, forms[i].bytes, out, bytes), bytes));
        /* More room than data: the count is the data's. */
        HV_CHECK_ROW(
            name,
            scsi_is_good(scsi_in(rig, 1, forms[i].read, forms[i].bytes, in, bytes + block), bytes));
        HV_CHECK_ROW(name, memcmp(in, out, bytes) == 0 && in[bytes] == 0xee);
        HV_CHECK_ROW(name,
                     scsi_is_good(scsi_read(rig, forms[i].lba, forms[i].blocks, 0, in), bytes));
        HV_CHECK_ROW(name, memcmp(in, out, bytes) == 0);
    }
    /* The last block is there, the first behind it is not. */
    scsi_fill(out, block, 99);
    HV_CHECK_ROW(name, scsi_is_good(scsi_write(rig, 64 * MIB / block - 1, 1, 8, out), block));
    HV_CHECK_ROW(name, scsi_is_good(scsi_read(rig, 64 * MIB / block - 1, 1, 8, in), block));
    HV_CHECK_ROW(name, memcmp(in, out, block) == 0);
    HV_CHECK_ROW(name, scsi_is_sense(scsi_write(rig, 64 * MIB / block, 1, 0, out),
                                     HV_SENSE_ILLEGAL_REQUEST, HV_ASC_LBA_OUT_OF_RANGE));
    free(out);
    free(in);
}

static void test_scsi_read_write(void)
{
    on_each(read_write_forms);
}

/* Cut `bytes` at `data` into pieces; returns how many. */
static uint32_t cut(struct iovec *iov, uint8_t *data, size_t bytes, const size_t *sizes,
                    size_t size_count)
{
    uint32_t count = 0;

    for (size_t at = 0; at < bytes; count++) {
        size_t n = sizes[count % size_count];

        if (n > bytes - at)
            n = bytes - at;
        iov[count] = (struct iovec){.iov_base = data + at, .iov_len = n};
        at += n;
    }
    return count;
}

/* Any memory will do: aligned or not, few pieces or more than the kernel takes at once. */
static void odd_memory(struct scsi_rig *rig, const char *name)
{
    static const struct {
        const char *name;
        size_t shift, bytes, size_count, sizes[4];
    } rows[] = {
        {"one page", 0, 4096, 1, {4096}},
        {"2-byte aligned", 2, 65536, 1, {1u << 20}},
        {"odd address", 1, 3 * 4096, 1, {4096}},
        {"small pieces", 0, 3 * 4096, 1, {512}},
        {"pieces across sectors", 0, 16 * 4096, 3, {100, 924, 5000}},
        {"aligned, then not", 0, 64 * 4096, 2, {8192, 8190}},
        {"more pieces than IOV_MAX", 0, 1500 * 4096, 1, {4096}},
        {"as many as there can be", 2048, DATA_MAX, 1, {4096}},
        {"larger than a bounce buffer, unaligned", 6, 1u << 20, 1, {DATA_MAX}},
    };
    uint8_t *out = pages(DATA_MAX + 4096), *in = pages(DATA_MAX + 4096);
    struct iovec *iov = calloc(MAX_IOV, sizeof(*iov));
    uint32_t block = hv_disk_block_bytes(rig->disk);

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        size_t bytes = rows[i].bytes;
        uint32_t blocks = (uint32_t)(bytes / block), count;
        uint8_t cdb[16];

        scsi_fill(out + rows[i].shift, bytes, i);
        memset(in, 0xee, DATA_MAX + 4096);
        count = cut(iov, out + rows[i].shift, bytes, rows[i].sizes, rows[i].size_count);
        scsi_cdb16(cdb, HV_SCSI_WRITE_16, 0, 3, blocks);
        HV_CHECK_ROW(rows[i].name, scsi_is_good(scsi_run_iov(rig->queue, 1, cdb, 16,
                                                             HV_VSTOR_DATA_OUT, iov, count),
                                                (uint32_t)bytes));
        count = cut(iov, in + rows[i].shift, bytes, rows[i].sizes, rows[i].size_count);
        scsi_cdb16(cdb, HV_SCSI_READ_16, 0, 3, blocks);
        HV_CHECK_ROW(rows[i].name, scsi_is_good(scsi_run_iov(rig->queue, 1, cdb, 16,
                                                             HV_VSTOR_DATA_IN, iov, count),
                                                (uint32_t)bytes));
        HV_CHECK_ROW(rows[i].name, memcmp(in + rows[i].shift, out + rows[i].shift, bytes) == 0 &&
                                       in[rows[i].shift + bytes] == 0xee);
        /* And read another way. */
        memset(in, 0, DATA_MAX);
        HV_CHECK_ROW(name, scsi_is_good(scsi_read(rig, 3, blocks, 0, in), (uint32_t)bytes));
        HV_CHECK_ROW(name, memcmp(in, out + rows[i].shift, bytes) == 0);
    }
    free(iov);
    free(out);
    free(in);
}

static void test_scsi_odd_memory(void)
{
    on_each(odd_memory);
}

static void verify_forms(struct scsi_rig *rig, const char *name)
{
    uint32_t block = hv_disk_block_bytes(rig->disk), blocks = (1u << 20) / block;
    uint8_t *data = pages(DATA_MAX);
    struct scsi_result r;
    uint8_t cdb[16];

    scsi_fill(data, 1u << 20, 5);
    HV_CHECK_ROW(name, scsi_is_good(scsi_write(rig, 11, blocks, 0, data), 1u << 20));
    scsi_cdb16(cdb, HV_SCSI_VERIFY_16, 0, 11, blocks);
    HV_CHECK_ROW(name, scsi_is_good(scsi_none(rig, 1, cdb, 16), 0));
    scsi_cdb16(cdb, HV_SCSI_VERIFY_16, 2, 11, blocks);
    HV_CHECK_ROW(name, scsi_is_good(scsi_out(rig, 1, cdb, 16, data, 1u << 20), 1u << 20));
    data[700001] ^= 1;
    r = scsi_out(rig, 1, cdb, 16, data, 1u << 20);
    HV_CHECK_ROW(name, scsi_is_sense(r, HV_SENSE_MISCOMPARE, HV_ASC_MISCOMPARE));
    HV_CHECK_ROW(name, r.has_information && r.information == 700001);
    /* WRITE AND VERIFY puts it right, with and without comparing. */
    scsi_cdb16(cdb, HV_SCSI_WRITE_AND_VERIFY_16, 2, 11, blocks);
    HV_CHECK_ROW(name, scsi_is_good(scsi_out(rig, 1, cdb, 16, data, 1u << 20), 1u << 20));
    scsi_cdb16(cdb, HV_SCSI_VERIFY_16, 2, 11, blocks);
    HV_CHECK_ROW(name, scsi_is_good(scsi_out(rig, 1, cdb, 16, data, 1u << 20), 1u << 20));
    data[0] ^= 1;
    memset(cdb, 0, sizeof(cdb));
    cdb[0] = HV_SCSI_WRITE_AND_VERIFY_10;
    cdb[5] = 11;
    cdb[8] = 1;
    HV_CHECK_ROW(name, scsi_is_good(scsi_out(rig, 1, cdb, 10, data, block), block));
    cdb[0] = HV_SCSI_VERIFY_10;
    cdb[1] = 2;
    HV_CHECK_ROW(name, scsi_is_good(scsi_out(rig, 1, cdb, 10, data, block), block));
    free(data);
}

static void test_scsi_verify(void)
{
    on_each(verify_forms);
}

static struct scsi_result compare_and_write(struct scsi_rig *rig, uint64_t lba, uint8_t blocks,
                                            const uint8_t *data)
{
    uint8_t cdb[16] = {HV_SCSI_COMPARE_AND_WRITE, [13] = blocks};

    hv_put_be64(cdb + 2, lba);
    return scsi_out(rig, 1, cdb, 16, data, 2ul * blocks * hv_disk_block_bytes(rig->disk));
}

static void compare_forms(struct scsi_rig *rig, const char *name)
{
    uint32_t block = hv_disk_block_bytes(rig->disk), most = block == 512 ? 255 : 32;
    uint32_t bytes = most * block;
    uint8_t *data = pages(2ul * 256 * 4096), *in = pages(256 * 4096);
    struct scsi_result r;

    scsi_fill(data + bytes, bytes, 17);
    HV_CHECK_ROW(name, scsi_is_good(compare_and_write(rig, 5, (uint8_t)most, data), 2 * bytes));
    HV_CHECK_ROW(name, scsi_is_good(scsi_read(rig, 5, most, 0, in), bytes));
    HV_CHECK_ROW(name, memcmp(in, data + bytes, bytes) == 0);
    /* Not what is there any more: refused, nothing written. */
    r = compare_and_write(rig, 5, (uint8_t)most, data);
    HV_CHECK_ROW(name, scsi_is_sense(r, HV_SENSE_MISCOMPARE, HV_ASC_MISCOMPARE));
    HV_CHECK_ROW(name, r.has_information && r.information == 0 && !r.transferred);
    memcpy(data, in, bytes);
    data[bytes - 1] ^= 0x80;
    r = compare_and_write(rig, 5, (uint8_t)most, data);
    HV_CHECK_ROW(name, r.has_information && r.information == bytes - 1);
    HV_CHECK_ROW(name, scsi_is_good(scsi_read(rig, 5, most, 0, in), bytes));
    HV_CHECK_ROW(name, memcmp(in, data + bytes, bytes) == 0);
    HV_CHECK_ROW(name, scsi_is_good(compare_and_write(rig, 5, 0, data), 0));
    if (most < 255)
        HV_CHECK_ROW(name, scsi_is_sense(compare_and_write(rig, 5, (uint8_t)(most + 1), data),
                                         HV_SENSE_ILLEGAL_REQUEST, HV_ASC_INVALID_FIELD_IN_CDB));
    free(data);
    free(in);
}

static void test_scsi_compare_and_write(void)
{
    on_each(compare_forms);
}

static bool reads_as(struct scsi_rig *rig, uint64_t lba, uint32_t blocks, const uint8_t *want,
                     size_t period)
{
    size_t bytes = (size_t)blocks * hv_disk_block_bytes(rig->disk);
    uint8_t *in = pages(bytes);
    bool same = scsi_is_good(scsi_read(rig, lba, blocks, 0, in), (uint32_t)bytes);

    for (size_t at = 0; at < bytes && same; at += period)
        same = memcmp(in + at, want, period) == 0;
    free(in);
    return same;
}

static void write_same_forms(struct scsi_rig *rig, const char *name)
{
    static const uint8_t zero[4096];
    uint32_t block = hv_disk_block_bytes(rig->disk), blocks = (3u << 19) / block;
    bool thin = strcmp(name, "direct file, not thin") != 0, mapped = false;
    uint8_t cdb[16], pattern[4096], other[4096];

    scsi_fill(pattern, block, 23);
    scsi_fill(other, block, 24);
    HV_CHECK_ROW(name, scsi_is_good(scsi_write(rig, 99, 1, 0, other), block));
    HV_CHECK_ROW(name, scsi_is_good(scsi_write(rig, 100 + blocks, 1, 0, other), block));
    scsi_cdb16(cdb, HV_SCSI_WRITE_SAME_16, 0, 100, blocks);
    HV_CHECK_ROW(name, scsi_is_good(scsi_out(rig, 1, cdb, 16, pattern, block), block));
    HV_CHECK_ROW(name, reads_as(rig, 100, blocks, pattern, block));
    HV_CHECK_ROW(name, reads_as(rig, 99, 1, other, block) &&
                           reads_as(rig, 100 + blocks, 1, other, block));
    /* Zeroes, written. */
    HV_CHECK_ROW(name, scsi_is_good(scsi_out(rig, 1, cdb, 16, zero, block), block));
    HV_CHECK_ROW(name, reads_as(rig, 100, blocks, zero, block));
    /* A pattern with UNMAP is written; zeroes with UNMAP become a hole; NDOB needs no data. */
    cdb[1] = 0x08;
    if (!thin) {
        HV_CHECK_ROW(name, scsi_is_sense(scsi_out(rig, 1, cdb, 16, zero, block),
                                         HV_SENSE_ILLEGAL_REQUEST, HV_ASC_INVALID_FIELD_IN_CDB));
        cdb[1] = 0;
    }
    HV_CHECK_ROW(name, scsi_is_good(scsi_out(rig, 1, cdb, 16, pattern, block), block));
    HV_CHECK_ROW(name, reads_as(rig, 100, blocks, pattern, block));
    cdb[1] |= 0x01;
    HV_CHECK_ROW(name, scsi_is_good(scsi_none(rig, 1, cdb, 16), 0));
    HV_CHECK_ROW(name, reads_as(rig, 100, blocks, zero, block));
    HV_CHECK_ROW(name, reads_as(rig, 99, 1, other, block) &&
                           reads_as(rig, 100 + blocks, 1, other, block));
    if (thin)
        HV_CHECK_ROW(name, scsi_lba_status(rig, 65536 / block * 8, &mapped) > 0 && !mapped);
    /* More than the limit. */
    scsi_cdb16(cdb, HV_SCSI_WRITE_SAME_16, 1, 0, (32u << 20) / block + 1);
    HV_CHECK_ROW(name, scsi_is_sense(scsi_none(rig, 1, cdb, 16), HV_SENSE_ILLEGAL_REQUEST,
                                     HV_ASC_INVALID_FIELD_IN_CDB));
    memset(cdb, 0, sizeof(cdb));
    cdb[0] = HV_SCSI_WRITE_SAME_10;
    cdb[5] = 7;
    cdb[8] = 9;
    HV_CHECK_ROW(name, scsi_is_good(scsi_out(rig, 1, cdb, 10, pattern, block), block));
    HV_CHECK_ROW(name, reads_as(rig, 7, 9, pattern, block));
}

static void test_scsi_write_same(void)
{
    on_each(write_same_forms);
}

static void unmap_forms(struct scsi_rig *rig, const char *name)
{
    static const uint8_t zero[4096];
    static const uint8_t cdb[10] = {HV_SCSI_UNMAP, [8] = 56};
    uint32_t block = hv_disk_block_bytes(rig->disk), mib = (1u << 20) / block;
    uint8_t list[56] = {[1] = 54, [3] = 48}, *data;
    bool mapped = false;

    if (strcmp(name, "direct file, not thin") == 0) {
        HV_CHECK_ROW(name, scsi_is_sense(scsi_unmap(rig, 0, 1), HV_SENSE_ILLEGAL_REQUEST,
                                         HV_ASC_INVALID_OPCODE));
        return;
    }
    data = pages(4u << 20);
    scsi_fill(data, 4u << 20, 31);
    HV_CHECK_ROW(name, scsi_lba_status(rig, 0, &mapped) == 64 * mib && !mapped);
    HV_CHECK_ROW(name, scsi_is_good(scsi_write(rig, mib, 4 * mib, 0x08, data), 4u << 20));
    HV_CHECK_ROW(name, scsi_lba_status(rig, 0, &mapped) == mib && !mapped);
    HV_CHECK_ROW(name, scsi_lba_status(rig, mib, &mapped) == 4 * mib && mapped);
    HV_CHECK_ROW(name, scsi_lba_status(rig, mib + 1, &mapped) == 4 * mib - 1 && mapped);
    HV_CHECK_ROW(name, scsi_lba_status(rig, 5 * mib, &mapped) == 59 * mib && !mapped);
    /* Three descriptors: a MiB, nothing, one block in the middle of what stays. */
    hv_put_be64(list + 8, 2 * mib);
    hv_put_be32(list + 16, mib);
    hv_put_be64(list + 24, 3 * mib);
    hv_put_be64(list + 40, 4 * mib + 1);
    hv_put_be32(list + 48, 1);
    HV_CHECK_ROW(name, scsi_is_good(scsi_out(rig, 1, cdb, 10, list, sizeof(list)), sizeof(list)));
    HV_CHECK_ROW(name, reads_as(rig, mib, mib, data, 1u << 20));
    HV_CHECK_ROW(name, reads_as(rig, 2 * mib, mib, zero, block));
    HV_CHECK_ROW(name, reads_as(rig, 3 * mib, mib, data + (2u << 20), 1u << 20));
    HV_CHECK_ROW(name, reads_as(rig, 4 * mib, 1, data + (3u << 20), block));
    HV_CHECK_ROW(name, reads_as(rig, 4 * mib + 1, 1, zero, block));
    HV_CHECK_ROW(name, reads_as(rig, 4 * mib + 2, 1, data + (3u << 20) + 2 * block, block));
    HV_CHECK_ROW(name, scsi_lba_status(rig, 2 * mib, &mapped) == mib && !mapped);
    HV_CHECK_ROW(name, scsi_lba_status(rig, 3 * mib, &mapped) >= mib && mapped);
    /* One bad descriptor: none is obeyed. */
    hv_put_be64(list + 8, mib);
    hv_put_be32(list + 48, 64 * mib);
    HV_CHECK_ROW(name, scsi_is_sense(scsi_out(rig, 1, cdb, 10, list, sizeof(list)),
                                     HV_SENSE_ILLEGAL_REQUEST, HV_ASC_LBA_OUT_OF_RANGE));
    HV_CHECK_ROW(name, reads_as(rig, mib, mib, data, 1u << 20));
    HV_CHECK_ROW(name, scsi_is_good(scsi_unmap(rig, 0, 64 * mib), 24)); /* everything */
    HV_CHECK_ROW(name, scsi_lba_status(rig, 0, &mapped) == 64 * mib && !mapped);
    free(data);
}

static void test_scsi_unmap(void)
{
    on_each(unmap_forms);
}

/* The runs of a reply follow each other without a gap and end where the disk ends. */
static void lba_status_runs(struct scsi_rig *rig, const char *name)
{
    uint32_t block = hv_disk_block_bytes(rig->disk), step = 65536 / block;
    uint8_t cdb[16], reply[8 + 16 * 16], data[4096] = {1};
    uint64_t next = 3;

    for (uint32_t i = 0; i < 5; i++)
        HV_CHECK_ROW(name, scsi_is_good(scsi_write(rig, (2 * i + 2) * step, 1, 8, data), block));
    scsi_cdb16(cdb, HV_SCSI_SERVICE_ACTION_IN_16, HV_SCSI_SAI_GET_LBA_STATUS, next, sizeof(reply));
    HV_CHECK_ROW(name, scsi_is_good(scsi_in(rig, 1, cdb, 16, reply, sizeof(reply)), 8 + 11 * 16));
    HV_CHECK_ROW(name, hv_get_be32(reply) == 4 + 11 * 16);
    for (uint32_t i = 0; i < 11; i++) {
        const uint8_t *d = reply + 8 + 16 * i;

        HV_CHECK_ROW(name, hv_get_be64(d) == next && d[12] == (i % 2 == 0));
        next += hv_get_be32(d + 8);
    }
    HV_CHECK_ROW(name, next == 64 * MIB / block);
}

static void test_scsi_lba_status(void)
{
    on_each(lba_status_runs);
}

static const struct hv_test_case cases[] = {
    {"READ and WRITE in every form", test_scsi_read_write},
    {"any memory", test_scsi_odd_memory},
    {"VERIFY, WRITE AND VERIFY", test_scsi_verify},
    {"COMPARE AND WRITE", test_scsi_compare_and_write},
    {"WRITE SAME", test_scsi_write_same},
    {"UNMAP", test_scsi_unmap},
    {"GET LBA STATUS", test_scsi_lba_status},
};

int main(int argc, char **argv)
{
    return hv_test_main("scsi data", cases, HV_TEST_COUNT(cases), argc, argv);
}
