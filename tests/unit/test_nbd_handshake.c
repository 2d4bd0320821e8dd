/* SPDX-License-Identifier: BSD-3-Clause */
/* The NBD handshake, byte by byte.  Source of all numbers: NetworkBlockDevice/nbd doc/proto.md. */
#include <stdlib.h>
#include <string.h>

#include "nbd_rig.h"
#include "suite.h"

static const uint8_t hello[18] = {'N', 'B', 'D', 'M', 'A', 'G', 'I', 'C', 'I',
                                  'H', 'A', 'V', 'E', 'O', 'P', 'T', 0,   3};
static const uint8_t reply_magic[8] = {0x00, 0x03, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9};

static struct nbd_rig rig;
static struct bytes in;
static uint8_t out[262144];

static struct nbd_conn *begin(uint32_t client_flags)
{
    struct nbd_conn *conn;

    nbd_rig_init(&rig, 4);
    conn = nbd_rig_open(&rig, 0);
    in.count = 0;
    put_u32(&in, client_flags);
    return conn;
}

/** Type of the last option reply in out[18 .. bytes), 0 = none.  Checks that replies are well formed. */
static uint32_t last_reply(size_t bytes, unsigned *ret_replies)
{
    size_t at = sizeof(hello);
    uint32_t type = 0;
    unsigned replies = 0;

    while (at < bytes) {
        if (bytes - at < 20 || memcmp(out + at, reply_magic, 8) != 0)
            return UINT32_MAX;
        type = get_u32(out + at + 12);
        at += 20 + get_u32(out + at + 16);
        replies++;
    }
    if (ret_replies)
        *ret_replies = replies;
    return at == bytes ? type : UINT32_MAX;
}

static void test_hello(void)
{
    struct nbd_conn *conn = begin(3);

    CU_ASSERT(nbd_rig_get(conn, out, sizeof(out), SIZE_MAX) == sizeof(hello));
    CU_ASSERT(!memcmp(out, hello, sizeof(hello)));
    CU_ASSERT(conn->phase == NBD_HELLO);
    CU_ASSERT(nbd_rig_fini(&rig));
}

/** The whole answer to GO, as bytes. */
static void test_go_bytes(void)
{
    static const uint8_t want[] = {
        /* INFO_EXPORT: 4 MiB; flags, flush, FUA, trim, zeroes, multi, cache, fast zero */
        0x00, 0x03, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 12, 0, 0,
        0, 0, 0, 0, 0, 0x40, 0, 0, 0x0d, 0x6d,
        /* INFO_BLOCK_SIZE: 512, 4096, 32 MiB */
        0x00, 0x03, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 14, 0, 3,
        0, 0, 2, 0, 0, 0, 0x10, 0, 2, 0, 0, 0,
        /* ACK */
        0x00, 0x03, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0};

    for (size_t step = 1; step < 64; step++) {
        struct nbd_conn *conn = begin(3);

        put_go(&in, 7, "");
        CU_ASSERT(nbd_rig_put(conn, in.at, in.count, step) == in.count);
        CU_ASSERT(conn->phase == NBD_TRANSMISSION && conn->slot == 0);
        CU_ASSERT(nbd_rig_get(conn, out, sizeof(out), step) == sizeof(hello) + sizeof(want));
        CU_ASSERT(!memcmp(out + sizeof(hello), want, sizeof(want)));
        CU_ASSERT(conn->handshake == NULL);
        CU_ASSERT(nbd_rig_fini(&rig));
    }
}

static void test_export_name(void)
{
    for (uint32_t flags = 1; flags <= 3; flags += 2) {
        struct nbd_conn *conn = begin(flags);
        size_t want = sizeof(hello) + 10 + (flags == 3 ? 0 : 124);

        put_option(&in, 1, "lun1", 4);
        CU_ASSERT(nbd_rig_put(conn, in.at, in.count, 5) == in.count);
        CU_ASSERT(nbd_rig_get(conn, out, sizeof(out), SIZE_MAX) == want);
        CU_ASSERT(get_u64(out + 18) == RIG_DISK_BYTES);
        CU_ASSERT(get_u16(out + 26) & 2); /* read-only */
        CU_ASSERT(!(get_u16(out + 26) & (0x20 | 0x40 | 0x80)));
        CU_ASSERT(conn->phase == NBD_TRANSMISSION && conn->slot == 1);
        CU_ASSERT(nbd_rig_fini(&rig));
    }
}

#define UNSUP    0x80000001u
#define INVALID  0x80000003u
#define UNKNOWN  0x80000006u
#define SHUTDOWN 0x80000007u
#define TOO_BIG  0x80000009u
#define EXT_REQD 0x8000000au
#define DROPPED  0u

enum before { NOTHING, STRUCTURED, EXTENDED, STOPPING, NOT_FIXED };

/** Rows: one option after `before`; the last reply, or the connection dropped.  Afterwards LIST must still work. */
static const struct {
    const char *name;
    enum before before;
    uint32_t option;
    const char *data;
    uint32_t data_bytes;
    uint32_t want;
} rows[] = {
    {"unknown option", NOTHING, 77, "xyz", 3, UNSUP},
    {"withdrawn PEEK_EXPORT", NOTHING, 4, "", 0, UNSUP},
    {"STARTTLS", NOTHING, 5, "", 0, UNSUP},
    {"STARTTLS with data", NOTHING, 5, "x", 1, INVALID},
    {"LIST", NOTHING, 3, "", 0, 1},
    {"LIST with data", NOTHING, 3, "x", 1, INVALID},
    {"STRUCTURED_REPLY", NOTHING, 8, "", 0, 1},
    {"STRUCTURED_REPLY with data", NOTHING, 8, "x", 1, INVALID},
    {"STRUCTURED_REPLY after extended headers", EXTENDED, 8, "", 0, EXT_REQD},
    {"EXTENDED_HEADERS", NOTHING, 11, "", 0, 1},
    {"EXTENDED_HEADERS with data", NOTHING, 11, "x", 1, INVALID},
    {"INFO default", NOTHING, 6, "\0\0\0\0\0\0", 6, 1},
    {"INFO lun1", NOTHING, 6, "\0\0\0\4lun1\0\0", 10, 1},
    {"INFO with two kinds", NOTHING, 6, "\0\0\0\0\0\2\0\1\0\2", 10, 1},
    {"INFO unknown", NOTHING, 6, "\0\0\0\4lun9\0\0", 10, UNKNOWN},
    {"INFO of a LUN that went", NOTHING, 6, "\0\0\0\4lun2\0\0", 10, UNKNOWN},
    {"INFO name almost right", NOTHING, 6, "\0\0\0\5lun00\0\0", 11, UNKNOWN},
    {"INFO empty", NOTHING, 6, "", 0, INVALID},
    {"INFO without a list", NOTHING, 6, "\0\0\0\0", 4, INVALID},
    {"INFO name beyond data", NOTHING, 6, "\0\0\0\5lun\0\0", 9, INVALID},
    {"INFO name length huge", NOTHING, 6, "\377\377\377\377\0\0", 6, INVALID},
    {"INFO list longer than data", NOTHING, 6, "\0\0\0\0\0\2\0\1", 8, INVALID},
    {"INFO list shorter than data", NOTHING, 6, "\0\0\0\0\0\0\0\1", 8, INVALID},
    {"GO unknown", NOTHING, 7, "\0\0\0\1x\0\0", 7, UNKNOWN},
    {"GO malformed", NOTHING, 7, "\0\0", 2, INVALID},
    {"INFO while stopping", STOPPING, 6, "\0\0\0\0\0\0", 6, SHUTDOWN},
    {"GO while stopping", STOPPING, 7, "\0\0\0\0\0\0", 6, SHUTDOWN},
    {"EXPORT_NAME while stopping", STOPPING, 1, "", 0, DROPPED},
    {"EXPORT_NAME unknown", NOTHING, 1, "lun9", 4, DROPPED},
    {"EXPORT_NAME after extended headers", EXTENDED, 1, "", 0, DROPPED},
    {"LIST without fixed newstyle", NOT_FIXED, 3, "", 0, DROPPED},
    {"SET_META before structured", NOTHING, 10, "\0\0\0\0\0\0\0\0", 8, INVALID},
    {"LIST_META before structured", NOTHING, 9, "\0\0\0\0\0\0\0\0", 8, INVALID},
    {"SET_META without query", STRUCTURED, 10, "\0\0\0\0\0\0\0\0", 8, 1},
    {"SET_META empty", STRUCTURED, 10, "", 0, INVALID},
    {"SET_META no count", STRUCTURED, 10, "\0\0\0\0", 4, INVALID},
    {"SET_META count too large", STRUCTURED, 10, "\0\0\0\0\0\0\0\1", 8, INVALID},
    {"SET_META count huge", STRUCTURED, 10, "\0\0\0\0\377\377\377\377", 8, INVALID},
    {"SET_META query beyond data", STRUCTURED, 10, "\0\0\0\0\0\0\0\1\0\0\0\2x", 13, INVALID},
    {"SET_META data behind", STRUCTURED, 10, "\0\0\0\0\0\0\0\0x", 9, INVALID},
    {"SET_META unknown export", STRUCTURED, 10, "\0\0\0\1x\0\0\0\0", 9, UNKNOWN},
    {"SET_META unknown name space", STRUCTURED, 10, "\0\0\0\0\0\0\0\1\0\0\0\4a:b:", 16, 1},
    {"LIST_META all", EXTENDED, 9, "\0\0\0\0\0\0\0\0", 8, 1},
};

static void prepare(struct nbd_conn *conn, enum before before)
{
    if (before == STRUCTURED || before == EXTENDED)
        put_option(&in, before == EXTENDED ? 11 : 8, NULL, 0);
    rig.engine.shutting_down = before == STOPPING;
    (void)conn;
}

static void test_options(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct nbd_conn *conn = begin(rows[i].before == NOT_FIXED ? 2 : 3);
        size_t bytes;

        prepare(conn, rows[i].before);
        put_option(&in, rows[i].option, rows[i].data, rows[i].data_bytes);
        (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
        if (rows[i].want == DROPPED) {
            HV_CHECK_ROW(rows[i].name, conn->phase == NBD_DEAD && conn->reason);
        } else {
            bytes = nbd_rig_get(conn, out, sizeof(out), SIZE_MAX);
            HV_CHECK_ROW(rows[i].name, last_reply(bytes, NULL) == rows[i].want);
            HV_CHECK_ROW(rows[i].name, conn->phase == NBD_HAGGLING);
            in.count = 0; /* still of use */
            put_option(&in, 3, NULL, 0);
            (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
            memcpy(out, hello, sizeof(hello));
            bytes =
                sizeof(hello) + nbd_rig_get(conn, out + sizeof(hello), sizeof(out) - 18, SIZE_MAX);
            HV_CHECK_ROW(rows[i].name, last_reply(bytes, NULL) == 1);
        }
        HV_CHECK_ROW(rows[i].name, nbd_rig_fini(&rig));
    }
}

/** What ends the connection before any option is understood. */
static void test_garbage(void)
{
    static const struct {
        const char *name;
        uint32_t flags;
        const char *data;
    } bad[] = {
        {"unknown client flag", 4, ""},
        {"all client flags", UINT32_MAX, ""},
        {"no magic", 3, "IHAVENOT\0\0\0\3\0\0\0\0"},
        {"17 MiB of option data", 3, "IHAVEOPT\0\0\0\3\1\1\0\0"},
        {"4 GiB of option data", 3, "IHAVEOPT\0\0\0\6\377\377\377\377"},
        {"export name of 64 KiB", 3, "IHAVEOPT\0\0\0\1\0\1\0\0"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct nbd_conn *conn = begin(bad[i].flags);

        put_data(&in, bad[i].data, bad[i].data[0] ? 16 : 0);
        (void)nbd_rig_put(conn, in.at, in.count, 3);
        HV_CHECK_ROW(bad[i].name, conn->phase == NBD_DEAD && conn->reason);
        HV_CHECK_ROW(bad[i].name, nbd_rig_fini(&rig));
    }
}

/** Data too long to look at is read past, then refused; what follows is understood. */
static void test_too_big(void)
{
    struct nbd_conn *conn = begin(3);
    static uint8_t junk[40000];
    unsigned replies = 0;
    size_t bytes;

    put_option(&in, 3, junk, sizeof(junk));
    put_option(&in, 3, NULL, 0);
    CU_ASSERT(nbd_rig_put(conn, in.at, in.count, 777) == in.count);
    bytes = nbd_rig_get(conn, out, sizeof(out), SIZE_MAX);
    CU_ASSERT(get_u32(out + 18 + 12) == TOO_BIG);
    CU_ASSERT(last_reply(bytes, &replies) == 1);
    CU_ASSERT(replies == 1 + 3 + 1); /* lun0, lun1, lun3; lun2 is away */
    CU_ASSERT(nbd_rig_fini(&rig));
}

static void test_abort(void)
{
    struct nbd_conn *conn = begin(3);
    size_t bytes;

    put_option(&in, 2, NULL, 0);
    put_option(&in, 3, NULL, 0); /* not answered any more */
    (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    CU_ASSERT(conn->phase == NBD_CLOSING && !nbd_conn_finished(conn));
    bytes = nbd_rig_get(conn, out, sizeof(out), SIZE_MAX);
    CU_ASSERT(bytes == 18 + 20 && last_reply(bytes, NULL) == 1);
    CU_ASSERT(nbd_conn_finished(conn));
    CU_ASSERT(nbd_rig_fini(&rig));
}

/** A client that asks and asks but reads nothing is not read either, and loses nothing. */
static void test_deaf_client(void)
{
    struct nbd_conn *conn = begin(3);
    size_t sent = 0, got = 0;
    unsigned replies;

    for (int i = 0; i < 5000; i++)
        put_option(&in, 3, NULL, 0);
    sent = nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
    CU_ASSERT(sent < in.count);
    CU_ASSERT(conn->phase == NBD_HAGGLING);
    while (got < sizeof(out) && sent < in.count) {
        got += nbd_rig_get(conn, out + got, sizeof(out) - got, 1000);
        nbd_conn_parse(conn);
        sent += nbd_rig_put(conn, in.at + sent, in.count - sent, SIZE_MAX);
    }
    CU_ASSERT(sent == in.count);
    while (nbd_conn_tx_pending(conn)) {
        got = nbd_rig_get(conn, out, sizeof(out), SIZE_MAX);
        nbd_conn_parse(conn);
    }
    memmove(out + 18, out, got);
    CU_ASSERT(last_reply(got + 18, &replies) == 1);
    CU_ASSERT(nbd_rig_fini(&rig));
}

static void put_meta(uint32_t option, const char *export, const char *query)
{
    struct bytes *data = calloc(1, sizeof(*data));

    if (!data)
        abort();
    put_u32(data, (uint32_t)strlen(export));
    put_data(data, export, strlen(export));
    put_u32(data, query ? 1 : 0);
    if (query) {
        put_u32(data, (uint32_t)strlen(query));
        put_data(data, query, strlen(query));
    }
    put_option(&in, option, data->at, (uint32_t)data->count);
    free(data);
}

/** LIST: everything, a name space, one; context id and name in the reply. */
static void test_list_meta(void)
{
    static const struct {
        const char *query;
        unsigned replies;
    } lists[] = {{NULL, 2},     {"base:", 2},           {"base:allocation", 2},
                 {"base:x", 1}, {"qemu:allocation", 1}, {"", 1}};

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct nbd_conn *conn = begin(3);
        unsigned replies;
        size_t bytes;

        put_option(&in, 8, NULL, 0);
        put_meta(9, "", lists[i].query);
        (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
        bytes = nbd_rig_get(conn, out, sizeof(out), SIZE_MAX);
        CU_ASSERT(last_reply(bytes, &replies) == 1 && replies == 1 + lists[i].replies);
        if (lists[i].replies == 2) {
            CU_ASSERT(get_u32(out + 38 + 12) == 4 && get_u32(out + 38 + 16) == 4 + 15);
            CU_ASSERT(!memcmp(out + 38 + 24, "base:allocation", 15));
        }
        CU_ASSERT(nbd_rig_fini(&rig));
    }
}

/** The last SET counts, and only for the export it named. */
static void test_set_meta(void)
{
    static const struct {
        const char *name;
        const char *export[2], *query[2];
        const char *go;
        bool want;
    } sets[] = {
        {"set", {"", NULL}, {"base:allocation", NULL}, "", true},
        {"other export", {"lun1", NULL}, {"base:allocation", NULL}, "lun0", false},
        {"same LUN by another name", {"lun0", NULL}, {"base:allocation", NULL}, "", false},
        {"wildcard is for LIST only", {"", NULL}, {"base:", NULL}, "", false},
        {"cleared by an empty set", {"", ""}, {"base:allocation", NULL}, "", false},
        {"cleared by a refused set",
         {"", "nope"},
         {"base:allocation", "base:allocation"},
         "",
         false},
        {"moved", {"", "lun1"}, {"base:allocation", "base:allocation"}, "lun1", true},
        {"never", {NULL, NULL}, {NULL, NULL}, "", false},
    };

    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        struct nbd_conn *conn = begin(3);

        put_option(&in, 8, NULL, 0);
        for (int k = 0; k < 2; k++)
            if (sets[i].export[k])
                put_meta(10, sets[i].export[k], sets[i].query[k]);
        put_go(&in, 7, sets[i].go);
        (void)nbd_rig_put(conn, in.at, in.count, SIZE_MAX);
        HV_CHECK_ROW(sets[i].name, conn->phase == NBD_TRANSMISSION);
        HV_CHECK_ROW(sets[i].name, conn->allocation == sets[i].want);
        HV_CHECK_ROW(sets[i].name, nbd_rig_fini(&rig));
    }
}

/** Options do not leak from one connection to the next. */
static void test_fresh_state(void)
{
    struct nbd_conn *a = begin(3), *b;

    put_option(&in, 11, NULL, 0);
    put_go(&in, 7, "");
    (void)nbd_rig_put(a, in.at, in.count, SIZE_MAX);
    CU_ASSERT(a->structured && a->extended);
    b = nbd_rig_ready(&rig, 1, "", RIG_SIMPLE);
    CU_ASSERT(!b->structured && !b->extended && !b->allocation);
    CU_ASSERT(nbd_rig_fini(&rig));
}

static const struct hv_test_case cases[] = {
    {"hello", test_hello},
    {"go, whole answer as bytes, split everywhere", test_go_bytes},
    {"export name", test_export_name},
    {"options, well formed and not", test_options},
    {"garbage", test_garbage},
    {"option data too big", test_too_big},
    {"abort", test_abort},
    {"deaf client", test_deaf_client},
    {"list meta contexts", test_list_meta},
    {"set meta contexts", test_set_meta},
    {"fresh state for each connection", test_fresh_state},
};

int main(int argc, char **argv)
{
    return hv_test_main("nbd handshake", cases, HV_TEST_COUNT(cases), argc, argv);
}
