/* SPDX-License-Identifier: BSD-3-Clause */
/* ublk without a kernel: parameters of a LUN, requests checked against it, options. */
#include <errno.h>
#include <string.h>

#include <nbd_wire.h>
#include <ublk_lun.h>
#include <ublk_option.h>

#include "common/option.h"
#include "suite.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define IO  (256u << 10)

static struct lun plain_lun(void)
{
    return (struct lun){.present = true,
                        .write_cache = true,
                        .fua = true,
                        .unmap = true,
                        .write_same = true,
                        .block_bytes = 512,
                        .physical_bytes = 4096,
                        .optimal_bytes = 65536,
                        .unmap_granularity_bytes = 8192,
                        .unmap_max_bytes = 64 * MIB,
                        .bytes = 128 * MIB,
                        .identity = 0x1234};
}

/* ---- Parameters ---- */

static void test_params(void)
{
    struct lun lun = plain_lun();
    struct ublkw_params p;

    CU_ASSERT_EQUAL_FATAL(ublk_params(&lun, IO, &p), 0);
    CU_ASSERT_EQUAL(p.bytes, 60);
    CU_ASSERT_EQUAL(p.types, UBLKW_PARAM_BASIC | UBLKW_PARAM_DISCARD);
    CU_ASSERT_EQUAL(p.basic.attributes, UBLKW_ATTR_CACHE | UBLKW_ATTR_FUA);
    CU_ASSERT_EQUAL(p.basic.logical_shift, 9);
    CU_ASSERT_EQUAL(p.basic.physical_shift, 12);
    CU_ASSERT_EQUAL(p.basic.minimum_shift, 12);
    CU_ASSERT_EQUAL(p.basic.optimal_shift, 16);
    CU_ASSERT_EQUAL(p.basic.max_sectors, 512);
    CU_ASSERT_EQUAL(p.basic.chunk_sectors, 0);
    CU_ASSERT_EQUAL(p.basic.sectors, 262144);
    CU_ASSERT_EQUAL(p.discard.granularity, 8192);
    CU_ASSERT_EQUAL(p.discard.max_sectors, 131072);
    CU_ASSERT_EQUAL(p.discard.max_segments, 1);
    CU_ASSERT(p.discard.max_zero_sectors > 0);
}

static void test_params_attributes(void)
{
    static const struct {
        const char *name;
        bool read_only, cache, fua, rotational;
        uint32_t want;
    } rows[] = {
        {"plain", false, false, false, false, 0},
        {"cache", false, true, false, false, UBLKW_ATTR_CACHE},
        {"FUA counts only with a cache", false, false, true, false, 0},
        {"both", false, true, true, false, UBLKW_ATTR_CACHE | UBLKW_ATTR_FUA},
        {"read-only needs no flush", true, true, true, false, UBLKW_ATTR_READ_ONLY},
        {"rotational", false, false, false, true, UBLKW_ATTR_ROTATIONAL},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct lun lun = plain_lun();
        struct ublkw_params p;

        lun.read_only = rows[i].read_only;
        lun.write_cache = rows[i].cache;
        lun.fua = rows[i].fua;
        lun.rotational = rows[i].rotational;
        HV_CHECK_ROW(rows[i].name, !ublk_params(&lun, IO, &p));
        HV_CHECK_ROW(rows[i].name, p.basic.attributes == rows[i].want);
        HV_CHECK_ROW(rows[i].name, !(p.types & UBLKW_PARAM_DISCARD) == rows[i].read_only);
    }
}

/** What a host may say, and what the kernel would refuse. */
static void test_params_odd(void)
{
    struct lun lun = plain_lun();
    struct ublkw_params p = {.bytes = 77};

    lun.block_bytes = 8192;
    CU_ASSERT_EQUAL(ublk_params(&lun, IO, &p), -EINVAL);
    lun.block_bytes = 4096;
    lun.bytes = 4095;
    CU_ASSERT_EQUAL(ublk_params(&lun, IO, &p), -EINVAL);
    lun.bytes = 4096;
    CU_ASSERT_EQUAL(ublk_params(&lun, 2048, &p), -EINVAL);
    CU_ASSERT_EQUAL(p.bytes, 77); /* untouched by failures */
    lun.physical_bytes = 512;     /* smaller than a block */
    lun.optimal_bytes = 5000;     /* no power of two */
    lun.unmap_granularity_bytes = 12288;
    lun.unmap_max_bytes = 4095;
    lun.write_same_max_bytes = 1;
    CU_ASSERT_EQUAL(ublk_params(&lun, IO, &p), 0);
    CU_ASSERT_EQUAL(p.basic.physical_shift, 12);
    CU_ASSERT_EQUAL(p.basic.optimal_shift, 12);
    CU_ASSERT_EQUAL(p.discard.granularity, 4096);
    CU_ASSERT_EQUAL(p.discard.max_sectors, 8);
    CU_ASSERT_EQUAL(p.discard.max_zero_sectors, 8);
    lun.unmap_max_bytes = UINT64_MAX;
    lun.write_same_max_bytes = UINT64_MAX;
    lun.bytes = INT64_MAX & ~UINT64_C(4095);
    CU_ASSERT_EQUAL(ublk_params(&lun, IO, &p), 0);
    CU_ASSERT_EQUAL(p.discard.max_sectors, 1u << 21);
    CU_ASSERT_EQUAL(p.discard.max_zero_sectors, 1u << 21);
    CU_ASSERT_EQUAL(p.basic.sectors, lun.bytes / 512);
    lun.unmap = false;
    lun.write_same = false; /* written, so only a little at a time */
    CU_ASSERT_EQUAL(ublk_params(&lun, IO, &p), 0);
    CU_ASSERT_EQUAL(p.discard.max_sectors, 0);
    CU_ASSERT_EQUAL(p.discard.max_zero_sectors, 8 * MIB / 512);
}

static void test_identity(void)
{
    struct lun a = plain_lun(), b = plain_lun();

    CU_ASSERT_EQUAL(ublk_identity(&a), ublk_identity(&b));
    CU_ASSERT(ublk_identity_ours(ublk_identity(&a)));
    CU_ASSERT(!ublk_identity_ours(0));
    CU_ASSERT(!ublk_identity_ours(a.identity));
    b.identity++;
    CU_ASSERT_NOT_EQUAL(ublk_identity(&a), ublk_identity(&b));
}

/* ---- Requests ---- */

static void test_decode(void)
{
    static const struct {
        const char *name;
        uint32_t word, sectors;
        uint64_t start;
        int want;
        uint16_t type, flags;
        uint64_t offset, length;
    } rows[] = {
        {"read", 0, 8, 16, 0, NBD_CMD_READ, 0, 8192, 4096},
        {"read, flags of no concern", 0xffffff00u & ~UBLKW_IO_FUA, 8, 16, 0, NBD_CMD_READ, 0, 8192,
         4096},
        {"write", 1, 1, 0, 0, NBD_CMD_WRITE, 0, 0, 512},
        {"write with FUA", 1 | UBLKW_IO_FUA, 1, 0, 0, NBD_CMD_WRITE, NBD_CMD_FUA, 0, 512},
        {"flush", 2, 0, 0, 0, NBD_CMD_FLUSH, 0, 0, 0},
        {"flush has no range", 2, 99, UINT64_MAX, 0, NBD_CMD_FLUSH, 0, 0, 0},
        {"discard", 3, 262144, 0, 0, NBD_CMD_TRIM, 0, 0, 128 * MIB},
        {"zeroes", 5, 8, 8, 0, NBD_CMD_WRITE_ZEROES, 0, 4096, 4096},
        {"zeroes that stay allocated", 5 | UBLKW_IO_NO_UNMAP, 8, 8, 0, NBD_CMD_WRITE_ZEROES,
         NBD_CMD_NO_HOLE, 4096, 4096},
        {"zeroes with FUA", 5 | UBLKW_IO_FUA, 8, 8, 0, NBD_CMD_WRITE_ZEROES, NBD_CMD_FUA, 4096,
         4096},
        {"last sector", 0, 1, 262143, 0, NBD_CMD_READ, 0, 128 * MIB - 512, 512},
        {"largest", 0, 512, 0, 0, NBD_CMD_READ, 0, 0, IO},
        {"write same", 4, 8, 0, -EOPNOTSUPP, 0, 0, 0, 0},
        {"zone report", 18, 8, 0, -EOPNOTSUPP, 0, 0, 0, 0},
        {"unknown", 255, 8, 0, -EOPNOTSUPP, 0, 0, 0, 0},
        {"nothing", 0, 0, 0, -EINVAL, 0, 0, 0, 0},
        {"more than the buffer", 1, 513, 0, -EINVAL, 0, 0, 0, 0},
        {"most sectors", 1, UINT32_MAX, 0, -EINVAL, 0, 0, 0, 0},
        {"one past the end", 0, 1, 262144, -EIO, 0, 0, 0, 0},
        {"across the end", 0, 2, 262143, -EIO, 0, 0, 0, 0},
        {"discard across the end", 3, UINT32_MAX, 1, -EIO, 0, 0, 0, 0},
        {"start overflows to 0", 0, 8, UINT64_C(1) << 55, -EIO, 0, 0, 0, 0},
        {"start overflows", 3, 8, UINT64_MAX, -EIO, 0, 0, 0, 0},
    };
    struct lun lun = plain_lun();

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct ublkw_desc desc = {
            .op_flags = rows[i].word, .sectors = rows[i].sectors, .start_sector = rows[i].start};
        struct ublk_request request = {.type = 99};

        HV_CHECK_ROW(rows[i].name, ublk_decode(&desc, &lun, IO, &request) == rows[i].want);
        if (rows[i].want) {
            HV_CHECK_ROW(rows[i].name, request.type == 99);
            continue;
        }
        HV_CHECK_ROW(rows[i].name, request.type == rows[i].type);
        HV_CHECK_ROW(rows[i].name, request.flags == rows[i].flags);
        HV_CHECK_ROW(rows[i].name, request.offset == rows[i].offset);
        HV_CHECK_ROW(rows[i].name, request.length == rows[i].length);
    }
}

/** The same request against LUNs that changed under the device. */
static void test_decode_luns(void)
{
    struct ublkw_desc write = {.op_flags = 1, .sectors = 8}, trim = {.op_flags = 3, .sectors = 8};
    struct ublkw_desc part = {.op_flags = 0, .sectors = 1, .start_sector = 1};
    struct ublk_request request;
    struct lun lun = plain_lun();

    lun.read_only = true;
    CU_ASSERT_EQUAL(ublk_decode(&write, &lun, IO, &request), -EPERM);
    lun.read_only = false;
    lun.unmap = false;
    CU_ASSERT_EQUAL(ublk_decode(&trim, &lun, IO, &request), -EOPNOTSUPP);
    lun.block_bytes = 4096;
    CU_ASSERT_EQUAL(ublk_decode(&part, &lun, IO, &request), -EINVAL);
    lun.bytes = 2048;
    lun.block_bytes = 512;
    CU_ASSERT_EQUAL(ublk_decode(&write, &lun, IO, &request), -EIO);
    lun.present = false;
    CU_ASSERT_EQUAL(ublk_decode(&part, &lun, IO, &request), -EIO);
}

/* ---- Options ---- */

static void test_options(void)
{
    char why[HV_OPTION_WHY_BYTES];
    struct ublk_option o;

    CU_ASSERT(ublk_option_is("ublk") && ublk_option_is("ublk:3") && ublk_option_is("ublk,depth=4"));
    CU_ASSERT(!ublk_option_is("ublk3") && !ublk_option_is("nbd:unix:ublk"));
    CU_ASSERT_EQUAL_FATAL(ublk_option_parse("ublk", &o, why), 0);
    CU_ASSERT(!o.given_id && !o.lun[0] && !o.user_copy);
    CU_ASSERT_EQUAL(o.depth, UBLK_DEPTH_DEFAULT);
    CU_ASSERT_EQUAL(o.max_io_bytes, UBLK_IO_DEFAULT);
    CU_ASSERT_EQUAL(o.recovery, UBLK_RECOVERY_REISSUE);
    CU_ASSERT_EQUAL_FATAL(
        ublk_option_parse("ublk:12,lun=lun3,depth=8,max-io=4M,recovery=none,copy=user", &o, why),
        0);
    CU_ASSERT(o.given_id && o.id == 12 && o.user_copy);
    CU_ASSERT_STRING_EQUAL(o.lun, "lun3");
    CU_ASSERT_EQUAL(o.depth, 8);
    CU_ASSERT_EQUAL(o.max_io_bytes, 4 * MIB);
    CU_ASSERT_EQUAL(o.recovery, UBLK_RECOVERY_NONE);
    CU_ASSERT_EQUAL(ublk_option_bytes(&o), 0);
    CU_ASSERT_EQUAL_FATAL(ublk_option_parse("ublk,depth=3,max-io=260K", &o, why), 0);
    CU_ASSERT_EQUAL(ublk_option_bytes(&o), 2 * MIB); /* 512 KiB each, in whole slabs */
}

static void test_options_wrong(void)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"ublk:", "number"},
        {"ublk:x", "number"},
        {"ublk:-1", "number"},
        {"ublk:1000000", "999999"},
        {"ublk:1:2", "number"},
        {"ublk,", "not known"},
        {"ublk,depth", "needs a value"},
        {"ublk,depth=0", "depth"},
        {"ublk,depth=1025", "1024"},
        {"ublk,depth=4,depth=5", "twice"},
        {"ublk,max-io=2048", "max-io"},
        {"ublk,max-io=4097", "multiples of 4K"},
        {"ublk,max-io=33M", "max-io"},
        {"ublk,max-io=2M", "copy=user"},
        {"ublk,recovery=maybe", "reissue, wait, fail, none"},
        {"ublk,copy=never", "kernel, user"},
        {"ublk,lun=", "no name"},
        {"ublk,lun=0123456789012345678901234567890123456789", "no name"},
        {"ublk,colour=red", "lun=, depth=, max-io=, recovery=, copy="},
        {"ublk,x=0123456789012345678901234567890123456789012345678901234567890123456789", "long"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        char why[HV_OPTION_WHY_BYTES] = "";
        struct ublk_option o = {.depth = 77};

        HV_CHECK_ROW(rows[i].text, ublk_option_parse(rows[i].text, &o, why) == -EINVAL);
        HV_CHECK_ROW(rows[i].text, strstr(why, rows[i].why));
        HV_CHECK_ROW(rows[i].text, o.depth == 77);
    }
}

static const struct hv_test_case cases[] = {
    {"parameters", test_params},
    {"attributes", test_params_attributes},
    {"parameters of an odd host", test_params_odd},
    {"identity", test_identity},
    {"requests", test_decode},
    {"requests to a changed disk", test_decode_luns},
    {"options", test_options},
    {"wrong options", test_options_wrong},
};

int main(int argc, char **argv)
{
    return hv_test_main("ublk", cases, HV_TEST_COUNT(cases), argc, argv);
}
