/* SPDX-License-Identifier: BSD-3-Clause */
/* NBD transmission: what is refused and how, replies as bytes, and who waits for what. */
#include <stdlib.h>
#include <string.h>

#include "nbd_rig.h"
#include "suite.h"

#define EPERM_     1u
#define EIO_       5u
#define EINVAL_    22u
#define ENOSPC_    28u
#define ENOTSUP_   95u
#define ESHUTDOWN_ 108u

enum { FUA = 1, NO_HOLE = 2, DF = 4, REQ_ONE = 8, FAST_ZERO = 16, PAYLOAD_LEN = 32 };
enum { READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS, RESIZE };

#define COOKIE UINT64_C(0x1122334455667788)
#define DISK   ((uint64_t)RIG_DISK_BYTES)

static struct nbd_rig rig;
static struct bytes in;
static uint8_t out[1 << 20];

static struct nbd_conn *begin(const char *export, enum rig_mode mode)
{
    nbd_rig_init(&rig, 40);
    in.count = 0;
    return nbd_rig_ready(&rig, 0, export, mode);
}

static size_t exchange(struct nbd_conn *conn)
{
    CU_ASSERT(nbd_rig_put(conn, in.at, in.count, SIZE_MAX) == in.count);
    in.count = 0;
    return nbd_rig_get(conn, out, sizeof(out), SIZE_MAX);
}

/* ---- Refusals ---- */

static const struct {
    const char *name;
    const char *export;
    uint16_t flags, type;
    uint64_t offset;
    uint32_t length;
    uint32_t want;
} rows[] = {
    {"read", "", 0, READ, 0, 512, 0},
    {"read last block", "", 0, READ, DISK - 512, 512, 0},
    {"read past the end", "", 0, READ, DISK - 512, 1024, EINVAL_},
    {"read behind the end", "", 0, READ, DISK, 512, EINVAL_},
    {"read at 2^64 - 512", "", 0, READ, UINT64_MAX - 511, 512, EINVAL_},
    {"read that would wrap", "", 0, READ, UINT64_MAX - 511, 1024, EINVAL_},
    {"read of nothing", "", 0, READ, 0, 0, EINVAL_},
    {"read misaligned offset", "", 0, READ, 1, 512, EINVAL_},
    {"read misaligned length", "", 0, READ, 0, 511, EINVAL_},
    {"read 512 of a 4096 disk", "lun1", 0, READ, 0, 512, EINVAL_},
    {"read 4096 of a 4096 disk", "lun1", 0, READ, 4096, 4096, 0},
    {"read 32 MiB", "lun3", 0, READ, 0, 32u << 20, 0},
    {"read 32 MiB and a block", "lun3", 0, READ, 0, (32u << 20) + 512, EINVAL_},
    {"read with FUA", "", FUA, READ, 0, 512, 0},
    {"read with DF without structured", "", DF, READ, 0, 512, EINVAL_},
    {"read with an unknown flag", "", 0x80, READ, 0, 512, EINVAL_},
    {"read with NO_HOLE", "", NO_HOLE, READ, 0, 512, EINVAL_},
    {"flush", "", 0, FLUSH, 0, 0, 0},
    {"flush with a range", "", 0, FLUSH, 12345, 678, 0},
    {"flush of a read-only disk", "lun1", 0, FLUSH, 0, 0, 0},
    {"trim", "", 0, TRIM, 512, 4096, 0},
    {"trim with FUA", "", FUA, TRIM, 512, 4096, 0},
    {"trim past the end", "", 0, TRIM, DISK - 512, 1024, EINVAL_},
    {"trim misaligned", "", 0, TRIM, 100, 512, EINVAL_},
    {"trim of 4 GiB", "lun3", 0, TRIM, 0, 0xfffffe00u, 0},
    {"trim read-only", "lun1", 0, TRIM, 0, 4096, EPERM_},
    {"write zeroes", "", 0, ZEROES, 0, 4096, 0},
    {"write zeroes with all flags", "", FUA | NO_HOLE | FAST_ZERO, ZEROES, 0, 4096, 0},
    {"write zeroes with DF", "", DF, ZEROES, 0, 4096, EINVAL_},
    {"write zeroes past the end", "", 0, ZEROES, DISK, 512, ENOSPC_},
    {"write zeroes of 4 GiB", "lun3", 0, ZEROES, 0, 0xfffffe00u, 0},
    {"write zeroes read-only", "lun1", 0, ZEROES, 0, 4096, EPERM_},
    {"cache", "", 0, CACHE, 0, 4096, 0},
    {"cache past the end", "", 0, CACHE, DISK - 512, 4096, EINVAL_},
    {"status without its context", "", 0, STATUS, 0, 4096, EINVAL_},
    {"resize", "", 0, RESIZE, 4096, 0, EINVAL_},
    {"unknown command", "", 0, 99, 0, 512, EINVAL_},
    {"unknown command 65535", "", 0xffff, 0xffff, UINT64_MAX, UINT32_MAX, EINVAL_},
};

static void test_refusals(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct nbd_conn *conn = begin(rows[i].export, RIG_SIMPLE);
        size_t payload = rows[i].type == READ && !rows[i].want ? rows[i].length : 0;
        static uint8_t big[(32u << 20) + 64];
        size_t bytes;

        put_request(&in, rows[i].flags, rows[i].type, COOKIE, rows[i].offset, rows[i].length);
        (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
        bytes = nbd_rig_get(conn, big, sizeof(big), SIZE_MAX);
        HV_CHECK_ROW(rows[i].name, bytes == 16 + payload);
        HV_CHECK_ROW(rows[i].name, get_u32(big) == 0x67446698 && get_u64(big + 8) == COOKIE);
        HV_CHECK_ROW(rows[i].name, get_u32(big + 4) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, conn->phase == NBD_TRANSMISSION);
        HV_CHECK_ROW(rows[i].name, (rig.started != 0) == !rows[i].want);
        HV_CHECK_ROW(rows[i].name, nbd_rig_fini(&rig));
    }
}

/** A refused WRITE is read past before its answer, and the next request is understood. */
static void test_refused_writes(void)
{
    static const struct {
        const char *name;
        const char *export;
        uint16_t flags;
        uint64_t offset;
        uint32_t length;
        uint32_t want;
    } writes[] = {
        {"read-only", "lun1", 0, 0, 4096, EPERM_},
        {"past the end", "", 0, DISK - 512, 1024, ENOSPC_},
        {"wraps", "", 0, UINT64_MAX - 511, 1024, ENOSPC_},
        {"misaligned", "", 0, 7, 512, EINVAL_},
        {"unknown flag", "", 0x4000, 0, 512, EINVAL_},
        {"payload flag without extended headers", "", PAYLOAD_LEN, 0, 512, EINVAL_},
        {"33 MiB", "lun3", 0, 0, 33u << 20, EINVAL_},
    };

    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        struct nbd_conn *conn = begin(writes[i].export, RIG_SIMPLE);
        static uint8_t payload[33u << 20];
        size_t bytes;

        memset(payload, 0x25, 4096); /* looks like the start of a request, and is none */
        put_request(&in, writes[i].flags, WRITE, COOKIE, writes[i].offset, writes[i].length);
        CU_ASSERT(nbd_rig_put(conn, in.at, in.count, SIZE_MAX) == in.count);
        CU_ASSERT(nbd_rig_put(conn, payload, writes[i].length - 1, 99991) == writes[i].length - 1);
        HV_CHECK_ROW(writes[i].name, nbd_rig_get(conn, out, sizeof(out), SIZE_MAX) == 0);
        CU_ASSERT(nbd_rig_put(conn, payload, 1, 1) == 1);
        in.count = 0;
        put_request(&in, 0, FLUSH, 9, 0, 0);
        bytes = exchange(conn);
        HV_CHECK_ROW(writes[i].name, bytes == 32 && get_u32(out + 4) == writes[i].want);
        HV_CHECK_ROW(writes[i].name, get_u32(out + 20) == 0 && get_u64(out + 24) == 9);
        HV_CHECK_ROW(writes[i].name, nbd_rig_fini(&rig));
    }
}

static void test_fatal(void)
{
    struct nbd_conn *conn = begin("", RIG_SIMPLE);

    put_request(&in, 0, READ, COOKIE, 0, 512);
    in.at[3] ^= 1;
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    CU_ASSERT(conn->phase == NBD_DEAD && conn->reason);
    CU_ASSERT(nbd_rig_fini(&rig));

    conn = begin("lun3", RIG_SIMPLE);
    put_request(&in, 0, WRITE, COOKIE, 0, (128u << 20) + 512);
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    CU_ASSERT(conn->phase == NBD_DEAD && conn->reason);
    CU_ASSERT(nbd_rig_fini(&rig));

    conn = begin("", RIG_EXTENDED); /* compact headers after extended ones were agreed upon */
    put_request(&in, 0, READ, COOKIE, 0, 512);
    put_u32(&in, 0);
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    CU_ASSERT(conn->phase == NBD_DEAD);
    CU_ASSERT(nbd_rig_fini(&rig));
}

static void test_disc(void)
{
    struct nbd_conn *conn = begin("", RIG_SIMPLE);

    rig.hold = true;
    put_request(&in, 0, READ, 1, 0, 512);
    put_request(&in, 0, DISC, 2, 0, 0);
    put_request(&in, 0, READ, 3, 0, 512); /* too late */
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    CU_ASSERT(conn->phase == NBD_CLOSING && rig.started == 1 && !nbd_conn_finished(conn));
    nbd_rig_complete(&rig, 0, NBD_OK);
    CU_ASSERT(nbd_rig_get(conn, out, sizeof(out), SIZE_MAX) == 16 + 512);
    CU_ASSERT(nbd_conn_finished(conn) && !conn->reason);
    CU_ASSERT(nbd_rig_fini(&rig));
}

/* ---- Data ---- */

/** Writes of many sizes cut at every sort of place arrive whole; reads give them back. */
static void test_write_read(void)
{
    static const uint32_t sizes[] = {512,   4096,     16384 - 512,      16384,
                                     65536, 1u << 20, (1u << 20) + 512, 3u << 20};
    static const size_t steps[] = {1, 27, 28, 29, 511, 4096, 65536, SIZE_MAX};
    static uint8_t data[3u << 20], back[(3u << 20) + 16];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + (i >> 9) + 1);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (size_t t = 0; t < sizeof(steps) / sizeof(steps[0]); t++) {
            struct nbd_conn *conn = begin("", RIG_SIMPLE);

            for (unsigned k = 0; k < 2; k++) { /* the second one finds other read sizes */
                in.count = 0;
                put_request(&in, 0, WRITE, 5, 512, sizes[s]);
                CU_ASSERT(nbd_rig_put(conn, in.at, in.count, steps[t]) == in.count);
                CU_ASSERT(nbd_rig_put(conn, data, sizes[s], steps[t]) == sizes[s]);
                CU_ASSERT(nbd_rig_get(conn, out, sizeof(out), 3) == 16 && !get_u32(out + 4));
                CU_ASSERT(!memcmp(rig.disk + 512, data, sizes[s]));
                memset(rig.disk, 0, 8192);
            }
            memcpy(rig.disk + 512, data, sizes[s]);
            in.count = 0;
            put_request(&in, 0, READ, 6, 512, sizes[s]);
            CU_ASSERT(nbd_rig_put(conn, in.at, in.count, steps[t]) == in.count);
            CU_ASSERT(nbd_rig_get(conn, back, sizeof(back), steps[t]) == 16 + sizes[s]);
            CU_ASSERT(!memcmp(back + 16, data, sizes[s]));
            CU_ASSERT(nbd_rig_fini(&rig));
        }
    }
}

/** Many small writes in one receive, then a large one: nothing is lost between the two ways of receiving. */
static void test_mixed_stream(void)
{
    struct nbd_conn *conn = begin("", RIG_SIMPLE);
    static uint8_t block[65536];
    size_t bytes;

    for (unsigned i = 0; i < 20; i++) {
        memset(block, (int)i + 1, sizeof(block));
        put_request(&in, 0, WRITE, i, i * 65536, i % 5 == 4 ? 20480 : 1024);
        put_data(&in, block, i % 5 == 4 ? 20480 : 1024);
    }
    bytes = exchange(conn);
    CU_ASSERT(bytes == 20 * 16);
    for (unsigned i = 0; i < 20; i++) {
        CU_ASSERT(get_u32(out + i * 16 + 4) == 0 && get_u64(out + i * 16 + 8) == i);
        CU_ASSERT(rig.disk[i * 65536] == i + 1 && rig.disk[i * 65536 + 1023] == i + 1);
        CU_ASSERT(rig.disk[i * 65536 + 1024] == (i % 5 == 4 ? i + 1 : 0));
    }
    CU_ASSERT(nbd_rig_fini(&rig));
}

/** Structured READ: data, holes found in zeroes, DF in one piece, errors as chunks. */
static void test_structured_read(void)
{
    static const uint8_t data_chunk[] = {0x66, 0x8e, 0x33, 0xef, 0,    1,    0, 1, 0x11, 0x22,
                                         0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 2,    8,
                                         0,    0,    0,    0,    0,    1,    0, 0};
    static const uint8_t hole_chunk[] = {0x66, 0x8e, 0x33, 0xef, 0,    1, 0, 2, 0x11, 0x22, 0x33,
                                         0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 0, 12,   0,    0,
                                         0,    0,    0,    0,    0,    0, 0, 0, 0x10, 0};
    static const uint8_t error_chunk[] = {0x66, 0x8e, 0x33, 0xef, 0,    1,    0x80, 1, 0x11,
                                          0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, 0,
                                          0,    6,    0,    0,    0,    22,   0,    0};
    struct nbd_conn *conn = begin("", RIG_STRUCTURED);

    memset(rig.disk + 65536, 0xab, 512);
    put_request(&in, 0, READ, COOKIE, 65536, 512);
    CU_ASSERT(exchange(conn) == sizeof(data_chunk) + 512);
    CU_ASSERT(!memcmp(out, data_chunk, sizeof(data_chunk)) && out[28] == 0xab);
    put_request(&in, 0, READ, COOKIE, 0, 4096);
    CU_ASSERT(exchange(conn) == sizeof(hole_chunk));
    CU_ASSERT(!memcmp(out, hole_chunk, sizeof(hole_chunk)));
    put_request(&in, 0, READ, COOKIE, 0, 100);
    CU_ASSERT(exchange(conn) == sizeof(error_chunk));
    CU_ASSERT(!memcmp(out, error_chunk, sizeof(error_chunk)));
    put_request(&in, 0, READ, COOKIE, 0, 196608); /* zeroes, data, zeroes */
    CU_ASSERT(exchange(conn) == 32 + 28 + 65536 + 32);
    CU_ASSERT(get_u16(out + 6) == 2 && get_u16(out + 4) == 0);
    CU_ASSERT(get_u16(out + 32 + 6) == 1 && get_u64(out + 32 + 20) == 65536);
    CU_ASSERT(get_u16(out + 32 + 28 + 65536 + 4) == 1 &&
              get_u64(out + 32 + 28 + 65536 + 20) == 131072);
    put_request(&in, DF, READ, COOKIE, 0, 196608);
    CU_ASSERT(exchange(conn) == 28 + 196608 && get_u16(out + 4) == 1);
    CU_ASSERT(nbd_rig_fini(&rig));
}

/** Zeroes and data in turn, more often than a reply has parts: still every byte, each once. */
static void test_many_holes(void)
{
    struct nbd_conn *conn = begin("", RIG_STRUCTURED);
    static uint8_t seen[2u << 20], reply[3u << 20];
    size_t bytes, at = 0;
    bool last = false;

    for (uint32_t i = 0; i < sizeof(seen); i += 131072)
        memset(rig.disk + i, (int)(1 + i / 131072), 65536);
    put_request(&in, 0, READ, COOKIE, 0, sizeof(seen));
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    bytes = nbd_rig_get(conn, reply, sizeof(reply), 70001);
    memset(seen, 0xff, sizeof(seen));
    while (at < bytes) {
        uint32_t payload = get_u32(reply + at + 16);
        uint64_t offset = get_u64(reply + at + 20);

        CU_ASSERT(!last);
        last = get_u16(reply + at + 4) & 1;
        if (get_u16(reply + at + 6) == 2)
            memset(seen + offset, 0, get_u32(reply + at + 28));
        else
            memcpy(seen + offset, reply + at + 28, payload - 8);
        at += 20 + payload;
    }
    CU_ASSERT(last && at == bytes);
    CU_ASSERT(!memcmp(seen, rig.disk, sizeof(seen)));
    CU_ASSERT(nbd_rig_fini(&rig));
}

/* ---- Extended headers ---- */

static void test_extended(void)
{
    static const uint8_t none[] = {0x6e, 0x8a, 0x27, 0x8c, 0,    1, 0, 0, 0x11, 0x22, 0x33,
                                   0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 0, 0,    0,    0,
                                   2,    0,    0,    0,    0,    0, 0, 0, 0,    0};
    struct nbd_conn *conn = begin("lun3", RIG_EXTENDED);
    uint8_t block[512] = {1};

    put_ext_request(&in, PAYLOAD_LEN, WRITE, COOKIE, 512, 512);
    put_data(&in, block, sizeof(block));
    CU_ASSERT(exchange(conn) == sizeof(none) && !memcmp(out, none, sizeof(none)));
    put_ext_request(&in, 0, ZEROES, COOKIE, 512, UINT64_C(1) << 40); /* 1 TiB in one request */
    CU_ASSERT(exchange(conn) == sizeof(none) && !memcmp(out, none, sizeof(none)));
    CU_ASSERT(rig.last.length == UINT64_C(1) << 40);
    put_ext_request(&in, 0, READ, COOKIE, 512, 512);
    CU_ASSERT(exchange(conn) == 40 + 512 && get_u16(out + 6) == 1 && get_u64(out + 24) == 520);
    put_ext_request(&in, 0, READ, COOKIE, 0, UINT64_C(1) << 32);
    CU_ASSERT(exchange(conn) == 38 && get_u16(out + 6) == 0x8001 && get_u32(out + 32) == EINVAL_);
    put_ext_request(&in, 0, WRITE, COOKIE, 0, 512); /* without PAYLOAD_LEN: read past, refused */
    put_data(&in, block, sizeof(block));
    CU_ASSERT(exchange(conn) == 38 && get_u32(out + 32) == EINVAL_);
    put_ext_request(&in, PAYLOAD_LEN, TRIM, COOKIE, 0, 512); /* a payload nobody wants */
    put_data(&in, block, sizeof(block));
    CU_ASSERT(exchange(conn) == 38 && get_u32(out + 32) == EINVAL_);
    put_ext_request(&in, REQ_ONE, STATUS, COOKIE, 0, UINT64_C(1) << 40);
    CU_ASSERT(exchange(conn) == 32 + 8 + 16 && get_u16(out + 6) == 6);
    CU_ASSERT(get_u32(out + 32) == 1 && get_u32(out + 36) == 1);
    CU_ASSERT(get_u64(out + 40) == UINT64_C(1) << 40 && get_u64(out + 48) == 0);
    CU_ASSERT(nbd_rig_fini(&rig));
}

/* ---- Waiting ---- */

static void test_too_many(void)
{
    struct nbd_conn *conn = begin("", RIG_SIMPLE);
    unsigned i;

    rig.hold = true;
    for (i = 0; i < 600; i++)
        put_request(&in, 0, READ, i, 0, 512);
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    CU_ASSERT(rig.started == NBD_CONN_IO_MAX && conn->stall == NBD_STALL_ROOM);
    nbd_rig_complete(&rig, 5, NBD_OK);
    nbd_conn_parse(conn);
    CU_ASSERT(rig.started == NBD_CONN_IO_MAX); /* answered, but not sent: still counts */
    CU_ASSERT(nbd_rig_get(conn, out, sizeof(out), SIZE_MAX) == 528);
    CU_ASSERT(get_u64(out + 8) == 5);
    nbd_conn_parse(conn);
    CU_ASSERT(rig.started == NBD_CONN_IO_MAX + 1);
    while (rig.held_count) {
        nbd_rig_complete(&rig, 0, NBD_OK);
        (void)nbd_rig_get(conn, out, sizeof(out), SIZE_MAX);
        nbd_conn_parse(conn);
    }
    CU_ASSERT(rig.started == 600 && !conn->stall);
    CU_ASSERT(nbd_rig_fini(&rig));
}

/** Memory for one large request: the second waits, and nobody overtakes it. */
static void test_memory(void)
{
    struct nbd_conn *a = begin("lun3", RIG_SIMPLE), *b = nbd_rig_ready(&rig, 1, "lun3", RIG_SIMPLE);

    rig.hold = true;
    put_request(&in, 0, READ, 1, 0, 32u << 20);
    put_request(&in, 0, READ, 2, 0, 32u << 20);
    (void)nbd_rig_put(a, in.at, in.count, SIZE_MAX);
    CU_ASSERT(rig.started == 1 && a->stall == NBD_STALL_MEMORY);
    in.count = 0;
    put_request(&in, 0, READ, 3, 0, 4096);
    (void)nbd_rig_put(b, in.at, in.count, SIZE_MAX);
    CU_ASSERT(rig.started == 1 && b->stall == NBD_STALL_MEMORY);
    nbd_rig_complete(&rig, 0, NBD_EIO); /* an error reply needs no memory */
    nbd_conn_parse(b);
    CU_ASSERT(rig.started == 1);
    nbd_conn_parse(a);
    nbd_conn_parse(b);
    CU_ASSERT(rig.started == 3 && !a->stall && !b->stall);
    nbd_conn_kill(a, NULL); /* with a request at the device */
    CU_ASSERT(a->io_count == 1);
    nbd_rig_complete(&rig, 0, NBD_OK);
    CU_ASSERT(a->io_count == 0);
    CU_ASSERT(nbd_rig_fini(&rig));
}

/** Who waits for memory and dies does not block the others for ever. */
static void test_waiter_dies(void)
{
    struct nbd_conn *a = begin("lun3", RIG_SIMPLE), *b = nbd_rig_ready(&rig, 1, "lun3", RIG_SIMPLE);

    rig.hold = true;
    put_request(&in, 0, READ, 1, 0, 32u << 20);
    put_request(&in, 0, READ, 2, 0, 32u << 20);
    (void)nbd_rig_put(a, in.at, in.count, SIZE_MAX);
    nbd_conn_kill(a, NULL);
    in.count = 0;
    put_request(&in, 0, READ, 3, 0, 4096);
    (void)nbd_rig_put(b, in.at, in.count, SIZE_MAX);
    CU_ASSERT(rig.started == 2 && !b->stall);
    CU_ASSERT(nbd_rig_fini(&rig));
}

static void test_turn_limit(void)
{
    struct nbd_conn *conn = begin("", RIG_SIMPLE);

    rig.engine.turn_limit = 8192;
    for (unsigned i = 0; i < 5; i++)
        put_request(&in, 0, READ, i, 0, 4096);
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    CU_ASSERT(rig.started == 2 && conn->stall == NBD_STALL_TURN);
    for (unsigned turn = 2; turn <= 3; turn++) {
        rig.engine.turn_bytes = 0;
        nbd_conn_parse(conn);
        CU_ASSERT(rig.started == (turn == 2 ? 4 : 5));
    }
    CU_ASSERT(!conn->stall && nbd_rig_get(conn, out, sizeof(out), SIZE_MAX) == 5 * 4112);
    CU_ASSERT(nbd_rig_fini(&rig));
}

static void test_half_a_write(void)
{
    struct nbd_conn *conn = begin("", RIG_SIMPLE);

    put_request(&in, 0, WRITE, 1, 0, 65536);
    put_data(&in, out, 1000);
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    CU_ASSERT(conn->io_count == 1 && rig.started == 0);
    nbd_conn_kill(conn, "gone");
    CU_ASSERT(conn->io_count == 0 && rig.started == 0);
    CU_ASSERT(nbd_rig_fini(&rig));
}

/* ---- The server stops, the device dies, LUNs go ---- */

static void test_shutdown(void)
{
    struct nbd_conn *conn = begin("", RIG_SIMPLE);

    rig.hold = true;
    rig.engine.turn_limit = 1;
    put_request(&in, 0, READ, 1, 0, 512);
    put_request(&in, 0, READ, 2, 0, 512); /* came, but was not begun */
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    CU_ASSERT(rig.started == 1);
    rig.engine.shutting_down = true;
    rig.engine.turn_bytes = 0;
    nbd_conn_shutdown(conn);
    CU_ASSERT(conn->phase == NBD_CLOSING && rig.started == 1);
    nbd_rig_complete(&rig, 0, NBD_OK);
    CU_ASSERT(nbd_rig_get(conn, out, sizeof(out), SIZE_MAX) == 16 + 16 + 512);
    CU_ASSERT(get_u32(out + 4) == ESHUTDOWN_ && get_u64(out + 8) == 2);
    CU_ASSERT(get_u32(out + 20) == 0 && get_u64(out + 24) == 1);
    CU_ASSERT(nbd_conn_finished(conn));
    CU_ASSERT(nbd_rig_fini(&rig));
}

/** The client is answered at once; the buffers stay with the device until it lets go. */
static void test_orphan(void)
{
    struct nbd_conn *conn = begin("", RIG_SIMPLE);
    struct io *old;

    rig.hold = true;
    put_request(&in, 0, READ, 7, 0, 4096);
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    old = rig.held[0];
    nbd_orphan(&rig.engine, old);
    CU_ASSERT(nbd_rig_get(conn, out, sizeof(out), SIZE_MAX) == 16);
    CU_ASSERT(get_u32(out + 4) == EIO_ && get_u64(out + 8) == 7);
    CU_ASSERT(conn->io_count == 0 && rig.engine.buffers.used_bytes == 4096);
    nbd_rig_complete(&rig, 0, NBD_EIO);
    CU_ASSERT(nbd_rig_get(conn, out, sizeof(out), SIZE_MAX) == 0);
    CU_ASSERT(rig.engine.buffers.used_bytes == 0);
    CU_ASSERT(nbd_rig_fini(&rig));
}

static void test_lun_changes(void)
{
    struct nbd_conn *conn = begin("", RIG_SIMPLE);

    rig.luns.lun[0].bytes = 4096; /* shrunk */
    put_request(&in, 0, READ, 1, 4096, 512);
    CU_ASSERT(exchange(conn) == 16 && get_u32(out + 4) == EINVAL_);
    rig.luns.lun[0].present = false;
    put_request(&in, 0, READ, 1, 0, 512);
    CU_ASSERT(exchange(conn) == 16 && get_u32(out + 4) == ESHUTDOWN_);
    rig.luns.lun[0].present = true;
    put_request(&in, 0, READ, 1, 0, 512);
    CU_ASSERT(exchange(conn) == 16 + 512);
    rig.luns.lun[0].unmap = false; /* TRIM was offered, and is not possible any more */
    put_request(&in, 0, TRIM, 1, 0, 512);
    CU_ASSERT(exchange(conn) == 16 && get_u32(out + 4) == ENOTSUP_);
    CU_ASSERT(nbd_rig_fini(&rig));
}

static void test_counters(void)
{
    struct nbd_conn *conn = begin("", RIG_SIMPLE);

    put_request(&in, 0, READ, 1, 0, 8192);
    put_request(&in, 0, READ, 2, 1, 8192);
    put_request(&in, 0, 99, 3, 0, 0);
    (void)exchange(conn);
    CU_ASSERT(stats_get(&rig.stats.ops[READ]) == 2 && stats_get(&rig.stats.errors[READ]) == 1);
    CU_ASSERT(stats_get(&rig.stats.read_bytes) == 8192 && stats_get(&rig.stats.in_flight) == 0);
    CU_ASSERT(nbd_rig_fini(&rig));
}

static const struct hv_test_case cases[] = {
    {"refusals", test_refusals},
    {"refused writes", test_refused_writes},
    {"what ends the connection", test_fatal},
    {"disc", test_disc},
    {"write and read, cut anywhere", test_write_read},
    {"mixed stream", test_mixed_stream},
    {"structured read", test_structured_read},
    {"many holes", test_many_holes},
    {"extended headers", test_extended},
    {"too many requests", test_too_many},
    {"memory", test_memory},
    {"waiter dies", test_waiter_dies},
    {"turn limit", test_turn_limit},
    {"half a write", test_half_a_write},
    {"shutdown", test_shutdown},
    {"orphan", test_orphan},
    {"lun changes", test_lun_changes},
    {"counters", test_counters},
};

int main(int argc, char **argv)
{
    return hv_test_main("nbd request", cases, HV_TEST_COUNT(cases), argc, argv);
}
