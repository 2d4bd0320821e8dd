/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening: the handshake with hosts of every kind, and what a scan makes of what LUNs say about themselves. */
#include <errno.h>
#include <string.h>

#include <suite.h>

#include <hv/base/endian.h>
#include <hv/storvsc.h>
#include <hv/wire/scsi.h>

#include "inquiry_impl.h"
#include "storvsc_loop.h"

/* ---- Handshake ---- */

/* A host that answers well but for one step. */
struct odd_host {
    struct loop_disk disk;
    uint32_t operation; /* of the step; its answer is changed */
    enum { REFUSE, WRONG_OPERATION, SHORT, SILENT, NO_ID } how;
    unsigned versions; /* queries seen */
    uint16_t asked[8];
    bool lonely;
    unsigned sub_requests; /* for sub-channels, seen */
};

static void odd_sent(void *arg, struct loop_guest *loop, const struct loop_packet *p)
{
    struct odd_host *h = arg;
    struct hv_vstor_packet reply;
    uint32_t bytes = p->vstor_bytes;
    uint64_t id = p->id;

    if (p->vstor.hdr.operation == HV_VSTOR_QUERY_PROTOCOL_VERSION && h->versions < 8)
        h->asked[h->versions++] = p->vstor.version.version;
    h->sub_requests += p->vstor.hdr.operation == HV_VSTOR_CREATE_SUB_CHANNELS;
    loop_disk_answer(&h->disk, p, &reply);
    if (p->vstor.hdr.operation == h->operation) {
        switch (h->how) {
        case REFUSE:
            reply.hdr.status = HV_NTSTATUS_INVALID_STATE;
            break;
        case WRONG_OPERATION:
            reply.hdr.operation = HV_VSTOR_ENUMERATE_BUS;
            break;
        case SHORT:
            bytes = 8;
            break;
        case SILENT:
            return;
        case NO_ID:
            id = 0;
            break;
        }
    }
    (void)loop_guest_send(loop, p->channel, HV_PACKET_COMPLETION, id, &reply, bytes);
}

static int open_odd(struct odd_host *h, uint16_t channels, uint16_t *ret_queues)
{
    struct loop_guest_opts go = {
        .sent = odd_sent, .arg = h, .sub_channels = 3, .openable = 3, .lonely = h->lonely};
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct loop_guest *loop;
    struct hv_storvsc *s = NULL;
    int rc;

    h->disk = fixture_disk();
    h->disk.data = NULL;
    h->disk.max_sub_channels = 3;
    loop = loop_guest_create(&go);
    so.init_timeout_ms = 30;
    so.timeout_ms = 30;
    so.channels = channels;
    rc = hv_storvsc_open(loop_guest_bus(loop), NULL, &so, &s);
    if (!rc && ret_queues)
        *ret_queues = hv_storvsc_queue_count(s);
    hv_storvsc_close(s);
    loop_guest_destroy(loop); /* aborts when anything is left behind */
    return rc;
}

static void test_handshake(void)
{
    static const struct {
        const char *name;
        uint32_t operation;
        int how, want;
    } rows[] = {
        {"all is well", 0, REFUSE, 0},
        {"begin refused", HV_VSTOR_BEGIN_INITIALIZATION, REFUSE, -EPROTO},
        {"begin not answered", HV_VSTOR_BEGIN_INITIALIZATION, SILENT, -ETIMEDOUT},
        {"begin answered shortly", HV_VSTOR_BEGIN_INITIALIZATION, SHORT, -EPROTO},
        {"every version refused", HV_VSTOR_QUERY_PROTOCOL_VERSION, REFUSE, -EPROTONOSUPPORT},
        {"version answered by nonsense", HV_VSTOR_QUERY_PROTOCOL_VERSION, WRONG_OPERATION, -EPROTO},
        {"version not answered", HV_VSTOR_QUERY_PROTOCOL_VERSION, SILENT, -ETIMEDOUT},
        {"properties refused", HV_VSTOR_QUERY_PROPERTIES, REFUSE, -EPROTO},
        {"properties answered to nobody", HV_VSTOR_QUERY_PROPERTIES, NO_ID, -EPROTO},
        {"end refused", HV_VSTOR_END_INITIALIZATION, REFUSE, -EPROTO},
        {"end not answered", HV_VSTOR_END_INITIALIZATION, SILENT, -ETIMEDOUT},
        {"commands not answered", HV_VSTOR_EXECUTE_SRB, SILENT, -ETIMEDOUT},
        {"commands answered shortly", HV_VSTOR_EXECUTE_SRB, SHORT, -EPROTO},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct odd_host h = {.operation = rows[i].operation};

        h.how = rows[i].how;
        HV_CHECK_ROW(rows[i].name, open_odd(&h, 1, NULL) == rows[i].want);
    }
}

static void test_versions_asked(void)
{
    static const uint16_t all[] = {0x602, 0x600, 0x501, 0x402, 0x200};
    struct odd_host h = {.operation = HV_VSTOR_QUERY_PROTOCOL_VERSION, .how = REFUSE};

    CU_ASSERT_EQUAL(open_odd(&h, 1, NULL), -EPROTONOSUPPORT);
    CU_ASSERT_EQUAL(h.versions, 5);
    CU_ASSERT(!memcmp(h.asked, all, sizeof(all)));
}

/* Sub-channels are a wish: refused, unanswered or failing, the controller goes on with fewer. */
static void test_subchannels(void)
{
    static const struct {
        const char *name;
        uint32_t operation;
        int how;
        uint16_t want;
    } rows[] = {
        {"granted", 0, REFUSE, 4},
        {"refused", HV_VSTOR_CREATE_SUB_CHANNELS, REFUSE, 1},
        {"not answered", HV_VSTOR_CREATE_SUB_CHANNELS, SILENT, 1},
    };
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct loop_guest_opts go = {.sub_channels = 3, .openable = 2};
    struct loop_disk disk = fixture_disk();
    struct fixture f;

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct odd_host h = {.operation = rows[i].operation};
        uint16_t queues = 0;

        h.how = rows[i].how;
        HV_CHECK_ROW(rows[i].name, open_odd(&h, 4, &queues) == 0);
        HV_CHECK_ROW(rows[i].name, queues == rows[i].want && h.sub_requests == 1);
    }
    /* One of three fails to open. */
    disk.max_sub_channels = 3;
    so.channels = 4;
    fixture_start_with(&f, &disk, &go, &so);
    CU_ASSERT_EQUAL(f.error, 0);
    CU_ASSERT_EQUAL(hv_storvsc_queue_count(f.storvsc), 3);
    CU_ASSERT_PTR_NULL(hv_storvsc_queue(f.storvsc, 4));
    fixture_stop(&f);
    /* Announced below the version that knows them: not asked for. */
    disk = fixture_disk();
    disk.version = HV_VSTOR_VERSION_4_2;
    disk.max_sub_channels = 3;
    fixture_start_with(&f, &disk, &go, &so);
    CU_ASSERT_EQUAL(f.error, 0);
    CU_ASSERT_EQUAL(hv_storvsc_queue_count(f.storvsc), 1);
    fixture_stop(&f);
}

/** Where a sub-channel on its way does harm, none is asked for. */
static void test_no_subchannels(void)
{
    struct odd_host h = {.lonely = true};
    uint16_t queues = 0;

    CU_ASSERT_EQUAL(open_odd(&h, 4, &queues), 0);
    CU_ASSERT_EQUAL(queues, 1);
    CU_ASSERT_EQUAL(h.sub_requests, 0);
}

static void test_useless_limit(void)
{
    struct fixture f;
    struct loop_disk disk = fixture_disk();

    disk.max_transfer_bytes = 4095;
    fixture_start_with(&f, &disk, NULL, NULL);
    CU_ASSERT_EQUAL(f.error, -EPROTO);
    fixture_stop(&f);
}

/* ---- Scan ---- */

static void test_lun(void)
{
    struct fixture f;
    struct loop_disk disk = fixture_disk();
    struct hv_storvsc_lun lun;

    disk.unmap_granularity = 8;
    fixture_start(&f, &disk, NULL);
    CU_ASSERT_EQUAL(hv_storvsc_luns(f.storvsc, &lun, 1), 1);
    CU_ASSERT_STRING_EQUAL(lun.vendor, "Msft");
    CU_ASSERT_STRING_EQUAL(lun.product, "Virtual Disk");
    CU_ASSERT_STRING_EQUAL(lun.serial, "S3RIAL");
    CU_ASSERT_EQUAL(lun.naa_bytes, 0);
    CU_ASSERT_EQUAL(lun.block_count, FIXTURE_DISK_BYTES / 512);
    CU_ASSERT(lun.write_cache && lun.fua && lun.thin && lun.unmap && lun.unmap_zeroes);
    CU_ASSERT(lun.write_same && lun.write_same_unmap && !lun.read_only && !lun.rotational);
    CU_ASSERT_EQUAL(lun.write_same_max_blocks, 16384);
    CU_ASSERT_EQUAL(lun.unmap_max_blocks, 0); /* FFFFFFFF: none */
    CU_ASSERT_EQUAL(lun.unmap_granularity_blocks, 8);
    fixture_stop(&f);
}

static void test_quirks(void)
{
    struct fixture f;
    struct loop_disk disk;
    struct hv_storvsc_lun lun;

    /* Eight bytes of INQUIRY, no pages, no list of LUNs, only the short forms: still a disk. */
    disk = fixture_disk();
    disk.short_inquiry = disk.no_vpd = disk.no_report_luns = disk.no_capacity16 =
        disk.no_mode_sense10 = true;
    disk.fua = false;
    fixture_start(&f, &disk, NULL);
    CU_ASSERT_EQUAL(hv_storvsc_luns(f.storvsc, &lun, 1), 1);
    CU_ASSERT_EQUAL(lun.block_count, FIXTURE_DISK_BYTES / 512);
    CU_ASSERT(lun.write_cache && !lun.fua && !lun.unmap && !lun.write_same);
    CU_ASSERT_STRING_EQUAL(lun.vendor, "");
    fixture_stop(&f);

    /* No MODE SENSE at all: a cache is assumed, FUA is not. */
    disk = fixture_disk();
    fixture_start(&f, &disk, NULL);
    hv_storvsc_close(f.storvsc);
    f.storvsc = NULL;
    fixture_fail_opcode(&f, HV_SCSI_MODE_SENSE_6, 5, 0x2000);
    disk.no_mode_sense10 = true;
    CU_ASSERT_EQUAL(hv_storvsc_open(loop_guest_bus(f.loop), NULL, &f.opts, &f.storvsc), 0);
    CU_ASSERT_EQUAL(hv_storvsc_luns(f.storvsc, &lun, 1), 1);
    CU_ASSERT(lun.write_cache && !lun.fua);
    fixture_stop(&f);
}

/* A LUN whose probe fails for another reason than absence stays; one that says it is absent goes. */
static void test_rescan(void)
{
    struct fixture f;
    struct loop_disk disk = fixture_disk();
    struct hv_storvsc_queue *q;
    struct hv_storvsc_lun lun;

    fixture_start(&f, &disk, NULL);
    q = hv_storvsc_queue(f.storvsc, 0);
    fixture_fail_opcode(&f, HV_SCSI_SERVICE_ACTION_IN_16, 3, 0x1100);
    CU_ASSERT_EQUAL(hv_storvsc_rescan(f.storvsc), 0);
    for (unsigned i = 0; i < 300; i++)
        CU_ASSERT(hv_storvsc_poll(q) >= 0);
    CU_ASSERT_EQUAL(hv_storvsc_luns(f.storvsc, &lun, 1), 1);
    fixture_fail_opcode(&f, HV_SCSI_REPORT_LUNS, 4, 0x4400);
    CU_ASSERT_EQUAL(hv_storvsc_rescan(f.storvsc), 0);
    for (unsigned i = 0; i < 300; i++)
        CU_ASSERT(hv_storvsc_poll(q) >= 0);
    CU_ASSERT_EQUAL(hv_storvsc_luns(f.storvsc, &lun, 1), 1);
    CU_ASSERT_EQUAL(f.events[HV_STORVSC_LUN_REMOVED] + f.events[HV_STORVSC_LUN_CHANGED], 0);
    fixture_fail_opcode(&f, HV_SCSI_INQUIRY, 5, HV_ASC_LUN_NOT_SUPPORTED);
    CU_ASSERT_EQUAL(hv_storvsc_rescan(f.storvsc), 0);
    for (unsigned i = 0; i < 300; i++)
        CU_ASSERT(hv_storvsc_poll(q) >= 0);
    CU_ASSERT_EQUAL(hv_storvsc_luns(f.storvsc, &lun, 1), 0);
    CU_ASSERT_EQUAL(f.events[HV_STORVSC_LUN_REMOVED], 1);
    fixture_fail_opcode(&f, 0, 0, 0);
    CU_ASSERT_EQUAL(hv_storvsc_rescan(f.storvsc), 0);
    for (unsigned i = 0; i < 300; i++)
        CU_ASSERT(hv_storvsc_poll(q) >= 0);
    CU_ASSERT_EQUAL(f.events[HV_STORVSC_LUN_ADDED], 1);
    fixture_stop(&f);
}

/* ---- Parsers ---- */

static struct hv_storvsc_identity fresh(void)
{
    struct hv_storvsc_identity id = {.disk.lun.write_cache = true};

    memset(id.has_page, true, sizeof(id.has_page));
    return id;
}

static void test_inquiry(void)
{
    static const struct {
        const char *name;
        uint8_t first;
        size_t bytes;
        int want;
    } rows[] = {
        {"disk", 0x00, 36, 0},
        {"DVD", 0x05, 36, 0},
        {"one byte", 0x00, 1, 0},
        {"nothing", 0x00, 0, -EINVAL},
        {"absent", 0x7f, 36, -ENODEV},
        {"not connected", 0x20, 36, -ENODEV},
        {"type unknown", 0x1f, 36, -ENODEV},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_storvsc_identity id = fresh();
        uint8_t data[36] = {rows[i].first};

        memcpy(data + 8, "AB\x01gone  x", 11);
        HV_CHECK_ROW(rows[i].name,
                     hv_storvsc_parse_inquiry(data, rows[i].bytes, &id) == rows[i].want);
        if (!rows[i].want && rows[i].bytes == 36)
            HV_CHECK_ROW(rows[i].name, !strcmp(id.disk.lun.vendor, "AB"));
    }
}

static void test_capacity(void)
{
    static const struct {
        const char *name;
        uint64_t last;
        uint32_t block_bytes;
        int want;
    } rows[] = {
        {"one block", 0, 512, 0},
        {"4096", 99, 4096, 0},
        {"8192", 99, 8192, -EINVAL},
        {"256", 99, 256, -EINVAL},
        {"520", 99, 520, -EINVAL},
        {"zero", 99, 0, -EINVAL},
        {"more than there can be", UINT64_MAX, 512, -EINVAL},
        {"overflow in bytes", UINT64_MAX / 512, 512, -EINVAL},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_storvsc_identity id = fresh();
        uint8_t data[32] = {0};

        hv_put_be64(data, rows[i].last);
        hv_put_be32(data + 8, rows[i].block_bytes);
        data[13] = 3;
        HV_CHECK_ROW(rows[i].name, hv_storvsc_parse_capacity16(data, 32, &id) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, hv_storvsc_identity_finish(&id, 0x602, 65536) == rows[i].want);
        if (!rows[i].want) {
            HV_CHECK_ROW(rows[i].name, id.disk.lun.block_count == rows[i].last + 1);
            HV_CHECK_ROW(rows[i].name, id.disk.lun.physical_block_bytes == rows[i].block_bytes * 8);
            HV_CHECK_ROW(rows[i].name, id.disk.max_blocks == 65536 / rows[i].block_bytes);
        }
        HV_CHECK_ROW(rows[i].name, hv_storvsc_parse_capacity16(data, 11, &id) == -EINVAL);
    }
    {
        struct hv_storvsc_identity id = fresh();
        uint8_t data[8] = {0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0};

        CU_ASSERT_EQUAL(hv_storvsc_parse_capacity10(data, 8, &id), -EOVERFLOW);
        data[0] = 0;
        CU_ASSERT_EQUAL(hv_storvsc_parse_capacity10(data, 8, &id), 0);
        CU_ASSERT_EQUAL(id.disk.lun.block_count, 0x1000000);
        CU_ASSERT(id.disk.short_cdb);
    }
}

static void test_identifiers(void)
{
    struct hv_storvsc_identity id = fresh();
    uint8_t data[64] = {0, 0x83, 0, 60};
    uint8_t *d = data + 4;

    /* T10 name of the LUN; NAA of the target port; short NAA of the LUN; long NAA of the LUN; cut one. */
    memcpy(d, "\x02\x01\x00\x04Msft", 8);
    d += 8;
    memcpy(d, "\x01\x13\x00\x08\x50\x01\x02\x03\x04\x05\x06\x07", 12);
    d += 12;
    memcpy(d, "\x01\x03\x00\x08\x51\x01\x02\x03\x04\x05\x06\x07", 12);
    d += 12;
    memcpy(d, "\x01\x03\x00\x10\x60\x02\x24\x80 1234567890A", 20);
    d += 20;
    memcpy(d, "\x01\x03\x00\x10\x61", 5);
    hv_storvsc_parse_vpd(0x83, data, sizeof(data), &id);
    CU_ASSERT_EQUAL(id.disk.lun.naa_bytes, 16);
    CU_ASSERT(!memcmp(id.disk.lun.naa, "\x60\x02\x24\x80 1234567890A", 16));
    /* The wrong page: nothing is taken. */
    id = fresh();
    hv_storvsc_parse_vpd(0x80, data, sizeof(data), &id);
    CU_ASSERT_EQUAL(id.disk.lun.naa_bytes, 0);
    CU_ASSERT_STRING_EQUAL(id.disk.lun.serial, "");
}

static void test_serial(void)
{
    static const struct {
        const char *name, *text;
        const char *want;
    } rows[] = {
        {"plain", "ABC123", "ABC123"},
        {"blanks around", "  ABC 123   ", "ABC 123"},
        {"zeroes are none", "00000000", ""},
        {"nothing", "", ""},
        {"control characters end it", "AB\nCD", "AB"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_storvsc_identity id = fresh();
        uint8_t data[68] = {0, 0x80, 0, (uint8_t)strlen(rows[i].text)};

        memcpy(data + 4, rows[i].text, strlen(rows[i].text));
        hv_storvsc_parse_vpd(0x80, data, sizeof(data), &id);
        HV_CHECK_ROW(rows[i].name, !strcmp(id.disk.lun.serial, rows[i].want));
    }
}

struct found {
    unsigned count;
    uint8_t luns[16];
};

static void note_lun(void *arg, uint8_t lun)
{
    struct found *f = arg;

    if (f->count < 16)
        f->luns[f->count++] = lun;
}

static void test_report_luns(void)
{
    uint8_t data[8 + 8 * 6] = {0, 0, 0, 48};
    struct found f = {0};

    data[8 + 1] = 3;                   /* peripheral */
    data[16] = 0x40, data[16 + 1] = 7; /* flat */
    data[24] = 0x41, data[24 + 1] = 7; /* flat, 263: no LUN of ours */
    data[32] = 0xc1, data[32 + 1] = 1; /* well-known */
    data[40 + 1] = 255;                /* beyond */
    data[48 + 1] = 254;
    CU_ASSERT_EQUAL(hv_storvsc_parse_report_luns(data, sizeof(data), note_lun, &f), 0);
    CU_ASSERT(f.count == 3 && f.luns[0] == 3 && f.luns[1] == 7 && f.luns[2] == 254);
    /* A length that claims more than came; an odd one; less than a header. */
    f = (struct found){0};
    data[0] = 0xff;
    CU_ASSERT_EQUAL(hv_storvsc_parse_report_luns(data, 20, note_lun, &f), 0);
    CU_ASSERT_EQUAL(f.count, 1);
    CU_ASSERT_EQUAL(hv_storvsc_parse_report_luns(data, 7, note_lun, &f), -EINVAL);
}

static void test_mode(void)
{
    /* 10-byte header, one block descriptor, page 01 before page 08. */
    static const uint8_t ten[] = {0,    8 + 8 + 4 + 6 - 2,
                                  0,    0x90,
                                  0,    0,
                                  0,    8,
                                  0,    0,
                                  0,    0,
                                  0,    0,
                                  0,    0,
                                  0x01, 2,
                                  0,    0,
                                  0x08, 0x12,
                                  0x00, 0,
                                  0,    0};
    static const uint8_t six[] = {10, 0, 0x00, 0, 0x88, 0x12, 0x04, 0, 0, 0, 0};
    static const uint8_t zero[8] = {0};
    struct hv_storvsc_identity id = fresh();

    CU_ASSERT_EQUAL(hv_storvsc_parse_mode(ten, sizeof(ten), 8, &id), 0);
    CU_ASSERT(id.disk.lun.read_only && id.disk.lun.fua && !id.disk.lun.write_cache);
    CU_ASSERT_EQUAL(hv_storvsc_parse_mode(six, sizeof(six), 4, &id), 0);
    CU_ASSERT(!id.disk.lun.read_only && !id.disk.lun.fua && id.disk.lun.write_cache);
    /* Cut before the cache bit: what is not said stays. */
    id = fresh();
    CU_ASSERT_EQUAL(hv_storvsc_parse_mode(six, 6, 4, &id), 0);
    CU_ASSERT(id.disk.lun.write_cache);
    /* All zero is a wrong answer, not a disk without anything. */
    CU_ASSERT_EQUAL(hv_storvsc_parse_mode(zero, 8, 8, &id), -EINVAL);
    CU_ASSERT_EQUAL(hv_storvsc_parse_mode(ten, 7, 8, &id), -EINVAL);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"handshake", test_handshake},
        {"versions asked for", test_versions_asked},
        {"sub-channels", test_subchannels},
        {"no sub-channels", test_no_subchannels},
        {"useless limit", test_useless_limit},
        {"a LUN", test_lun},
        {"quirks", test_quirks},
        {"rescan", test_rescan},
        {"INQUIRY", test_inquiry},
        {"READ CAPACITY", test_capacity},
        {"VPD 83", test_identifiers},
        {"VPD 80", test_serial},
        {"REPORT LUNS", test_report_luns},
        {"MODE SENSE", test_mode},
    };

    return hv_test_main("storvsc.scan", cases, HV_TEST_COUNT(cases), argc, argv);
}
