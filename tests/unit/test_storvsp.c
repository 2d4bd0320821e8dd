/* SPDX-License-Identifier: BSD-3-Clause */
/* The storage controller: handshake byte for byte, requests, and guests that send nonsense. */
#include <errno.h>
#include <string.h>

#include <hv/base/endian.h>
#include <hv/wire/ring.h>

#include "storvsp_rig.h"
#include "suite.h"
#include "vector.h"

#define SENSE_KEY(reply) ((reply).packet.srb.sense[2] & 0xf)
#define SENSE_ASC(reply) hv_get_be16((reply).packet.srb.sense + 12)

/** Send one vector, expect the answer to be another, byte for byte. */
static void exchange(struct storvsp_rig *rig, const char *request, const char *answer)
{
    uint8_t out[64], want[64];
    ssize_t out_bytes = hv_test_vector_load(request, out, sizeof(out));
    ssize_t want_bytes = hv_test_vector_load(answer, want, sizeof(want));
    struct rig_reply reply = {0};

    HV_CHECK_ROW(request, out_bytes > 0 && want_bytes > 0);
    if (out_bytes <= 0 || want_bytes <= 0)
        return;
    rig_send(rig, 0, 99, out, (uint32_t)out_bytes);
    HV_CHECK_ROW(request, rig_receive(rig, 0, &reply));
    HV_CHECK_ROW(request, reply.id == 99 && reply.type == HV_PACKET_COMPLETION);
    HV_CHECK_ROW(request, reply.bytes == (uint32_t)want_bytes);
    HV_CHECK_ROW(request, !memcmp(&reply.packet, want, (size_t)want_bytes));
}

static void test_handshake_vectors(void)
{
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
    struct storvsp_rig rig;

    opts.max_sub_channels = 15;
    opts.max_transfer_bytes = 256 * 1024;
    opts.max_version = HV_VSTOR_VERSION_6_0;
    rig_init(&rig, &opts, 1, 0);
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_BEGIN_INITIALIZATION, 0), 0);
    exchange(&rig, "vstor-query-version", "vstor-version-refused");
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_QUERY_PROTOCOL_VERSION, 0x0600), 0);
    exchange(&rig, "vstor-query-properties", "vstor-properties");
    rig_fini(&rig);
}

/** An answer is as long as its request: old guests get 48 bytes although they will speak revision 2. */
static void test_handshake_reply_is_as_long_as_request(void)
{
    static const uint32_t sizes[] = {16, 24, 48, 56, 64, 72, 256};
    struct storvsp_rig rig;

    for (size_t i = 0; i < HV_TEST_COUNT(sizes); i++) {
        uint8_t request[256] = {HV_VSTOR_BEGIN_INITIALIZATION, 0, 0, 0, 1};
        struct rig_reply reply;

        rig_init(&rig, NULL, 1, 0);
        memset(request + 64, 0xee, sizeof(request) - 64);
        rig_send(&rig, 0, 5, request, sizes[i]);
        CU_ASSERT(rig_receive(&rig, 0, &reply));
        CU_ASSERT_EQUAL(reply.bytes, sizes[i] > 64 ? 64 : sizes[i]);
        CU_ASSERT_EQUAL(reply.packet.hdr.status, 0);
        rig_fini(&rig);
    }
}

static void test_handshake_versions(void)
{
    static const struct {
        const char *name;
        uint16_t max, ask;
        uint32_t status;
        uint16_t sub_channels; /* shown */
    } rows[] = {
        {"6.2 newest", 0, 0x0602, 0, 3},
        {"6.3 unknown", 0, 0x0603, HV_NTSTATUS_REVISION_MISMATCH, 0},
        {"6.1 never was", 0, 0x0601, HV_NTSTATUS_REVISION_MISMATCH, 0},
        {"5.1", 0, 0x0501, 0, 3},
        {"4.2 knows no sub-channels", 0, 0x0402, 0, 0},
        {"2.0", 0, 0x0200, 0, 0},
        {"1.0", 0, 0x0100, HV_NTSTATUS_REVISION_MISMATCH, 0},
        {"0", 0, 0, HV_NTSTATUS_REVISION_MISMATCH, 0},
        {"5.1 above limit", 0x0402, 0x0501, HV_NTSTATUS_REVISION_MISMATCH, 0},
        {"4.2 at limit", 0x0402, 0x0402, 0, 0},
        {"2.0 below limit", 0x0402, 0x0200, 0, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_vstor_packet packet = {.hdr = {.operation = HV_VSTOR_QUERY_PROPERTIES}};
        struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
        struct storvsp_rig rig;
        struct rig_reply reply;

        opts.max_version = rows[i].max;
        opts.max_sub_channels = 3;
        rig_init(&rig, &opts, 1, 0);
        CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_BEGIN_INITIALIZATION, 0), 0);
        HV_CHECK_ROW(rows[i].name, rig_operation(&rig, 0, HV_VSTOR_QUERY_PROTOCOL_VERSION,
                                                 rows[i].ask) == rows[i].status);
        rig_send(&rig, 0, 1, &packet, 64);
        HV_CHECK_ROW(rows[i].name, rig_receive(&rig, 0, &reply));
        HV_CHECK_ROW(rows[i].name,
                     reply.packet.hdr.status == (rows[i].status ? HV_NTSTATUS_INVALID_STATE : 0));
        HV_CHECK_ROW(rows[i].name,
                     reply.packet.properties.max_sub_channels == rows[i].sub_channels);
        HV_CHECK_ROW(rows[i].name, reply.packet.properties.flags == (rows[i].sub_channels ? 1 : 0));
        HV_CHECK_ROW(rows[i].name,
                     reply.packet.properties.max_transfer_bytes == (rows[i].status ? 0 : 1u << 20));
        rig_fini(&rig);
    }
}

/** In every state every operation but the right one is refused and changes nothing. */
static void test_handshake_wrong_order(void)
{
    static const struct {
        uint32_t right;
        uint16_t argument;
    } steps[] = {{HV_VSTOR_BEGIN_INITIALIZATION, 0},
                 {HV_VSTOR_QUERY_PROTOCOL_VERSION, 0x0602},
                 {HV_VSTOR_QUERY_PROPERTIES, 0},
                 {HV_VSTOR_END_INITIALIZATION, 0},
                 {0, 0}};
    struct storvsp_rig rig;

    rig_init(&rig, NULL, 1, 0);
    for (size_t i = 0; i < HV_TEST_COUNT(steps); i++) {
        for (uint32_t op = 0; op < 16; op++) {
            uint32_t status, want = HV_NTSTATUS_INVALID_STATE;

            if (op == steps[i].right)
                continue;
            if (!steps[i].right && op >= HV_VSTOR_EXECUTE_SRB && op <= HV_VSTOR_RESET_BUS)
                continue; /* READY is what they wait for */
            if (op == HV_VSTOR_FC_HBA_DATA)
                want = HV_NTSTATUS_INVALID_REQUEST;
            if (op == HV_VSTOR_CREATE_SUB_CHANNELS && i >= 3)
                want = HV_NTSTATUS_INVALID_PARAMETER; /* right time, but there are none */
            status = rig_operation(&rig, 0, op, 0x0602);
            CU_ASSERT_EQUAL(status, want);
        }
        if (steps[i].right)
            CU_ASSERT_EQUAL(rig_operation(&rig, 0, steps[i].right, steps[i].argument), 0);
    }
    CU_ASSERT_FALSE(rig.loop->channels[0].killed);
    rig_fini(&rig);
}

static void test_read_and_write(void)
{
    struct rig_srb write = rig_rw(true, 0, 5, 8), read = rig_rw(false, 0, 5, 8);
    struct storvsp_rig rig;
    struct rig_reply reply;

    rig_init(&rig, NULL, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    write.page_offset = 512; /* two pages for one page of data */
    for (uint32_t i = 0; i < 4096; i++)
        rig_page(&rig, 0)[512 + i] = (uint8_t)(i * 13 + 1);
    reply = rig_do(&rig, &write);
    CU_ASSERT_EQUAL(reply.bytes, 64);
    CU_ASSERT_EQUAL(reply.packet.hdr.status, 0);
    CU_ASSERT_EQUAL(reply.packet.srb.length, HV_VSTOR_SRB_V2_BYTES);
    CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_SUCCESS);
    CU_ASSERT_EQUAL(reply.packet.srb.scsi_status, HV_SCSI_STATUS_GOOD);
    CU_ASSERT_EQUAL(reply.packet.srb.data_transfer_bytes, 4096);
    CU_ASSERT_EQUAL(reply.packet.srb.sense_bytes, 0);
    read.first_page = 10;
    reply = rig_do(&rig, &read);
    CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_SUCCESS);
    CU_ASSERT_EQUAL(reply.packet.srb.data_transfer_bytes, 4096);
    CU_ASSERT(!memcmp(rig_page(&rig, 10), rig_page(&rig, 0) + 512, 4096));
    rig_fini(&rig);
}

static void test_whole_batch_in_one_poll(void)
{
    struct storvsp_rig rig;
    struct rig_reply reply;
    struct hv_storvsp_stats stats;
    unsigned flushes, seen = 0;

    rig_init(&rig, NULL, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    CU_ASSERT(loop_settle(rig.loop));
    flushes = rig.loop->channels[0].flushes;
    for (uint64_t i = 0; i < 32; i++) {
        struct rig_srb srb = rig_rw(i & 1, 0, i, 1);

        rig_send_srb(&rig, 0, 100 + i, &srb);
    }
    CU_ASSERT_EQUAL(loop_poll(rig.loop), 32);
    CU_ASSERT_EQUAL(rig.loop->channels[0].flushes, flushes + 1);
    while (rig_receive(&rig, 0, &reply))
        seen += reply.id >= 100 && reply.id < 132 && reply.packet.srb.srb_status == HV_SRB_SUCCESS;
    CU_ASSERT_EQUAL(seen, 32);
    hv_storvsp_get_stats(rig.storvsp, &stats);
    CU_ASSERT_EQUAL(stats.requests, 32);
    CU_ASSERT_EQUAL(stats.read_bytes, 16 * 512);
    CU_ASSERT_EQUAL(stats.write_bytes, 16 * 512);
    CU_ASSERT_EQUAL(stats.in_flight, 0);
    rig_fini(&rig);
}

static void test_sense_by_revision(void)
{
    static const struct {
        const char *name;
        uint16_t version;
        const char *vector;
        uint8_t sense;
        uint16_t length;
    } rows[] = {
        {"revision 2", HV_VSTOR_VERSION_6_2, "vstor-complete-io-sense", 18, 52},
        {"revision 1", HV_VSTOR_VERSION_2_0, "vstor-complete-io-sense-v1", 18, 36},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rig_srb srb = rig_command(0, HV_SCSI_INQUIRY); /* page code without EVPD */
        struct storvsp_rig rig;
        struct rig_reply reply;
        uint8_t want[64];
        ssize_t bytes = hv_test_vector_load(rows[i].vector, want, sizeof(want));

        rig_init(&rig, NULL, 1, 0);
        rig_handshake(&rig, rows[i].version);
        srb.cdb[2] = 0x80;
        srb.data_in = HV_VSTOR_DATA_IN;
        srb.data_bytes = srb.range_bytes = 96;
        hv_put_be16(srb.cdb + 3, 96);
        srb.packet_bytes = (uint32_t)bytes;
        reply = rig_do(&rig, &srb);
        HV_CHECK_ROW(rows[i].name, reply.bytes == (uint32_t)bytes);
        HV_CHECK_ROW(rows[i].name, reply.packet.hdr.status == HV_NTSTATUS_IO_ERROR);
        HV_CHECK_ROW(rows[i].name, reply.packet.srb.length == rows[i].length);
        HV_CHECK_ROW(rows[i].name, reply.packet.srb.sense_bytes == rows[i].sense);
        HV_CHECK_ROW(rows[i].name, reply.packet.srb.srb_status & HV_SRB_SENSE_VALID);
        HV_CHECK_ROW(rows[i].name, reply.packet.srb.scsi_status == 2);
        /* The first 14 bytes of fixed-format sense: response code to additional sense code. */
        HV_CHECK_ROW(rows[i].name, !memcmp(reply.packet.srb.sense, want + 0x1c, 14));
        rig_fini(&rig);
    }
}

static void test_hostile_srbs(void)
{
    static const struct {
        const char *name;
        uint32_t packet_bytes;
        uint8_t cdb_bytes, data_in;
        uint32_t data_bytes, range_bytes, page_offset, first_page;
        uint8_t want; /* SRB status */
    } rows[] = {
        {"cut behind the header", 16, 10, 1, 0, 0, 0, 0, HV_SRB_BAD_LENGTH},
        {"cut inside the CDB", 40, 10, 1, 0, 0, 0, 0, HV_SRB_BAD_LENGTH},
        {"no CDB", 64, 0, 1, 512, 512, 0, 0, HV_SRB_INVALID_REQUEST},
        {"CDB of 17", 64, 17, 1, 512, 512, 0, 0, HV_SRB_INVALID_REQUEST},
        {"direction 3", 64, 16, 3, 512, 512, 0, 0, HV_SRB_INVALID_REQUEST},
        {"data but no range", 64, 16, 1, 512, 0, 0, 0, HV_SRB_INVALID_REQUEST},
        {"range shorter than data", 64, 16, 1, 512, 511, 0, 0, HV_SRB_INVALID_REQUEST},
        {"offset beyond a page", 64, 16, 1, 512, 512, 4096, 0, HV_SRB_INVALID_REQUEST},
        {"not guest memory", 64, 16, 1, 512, 512, 0, LOOP_PAGES, HV_SRB_INVALID_REQUEST},
        {"more than the limit", 64, 16, 1, (1u << 20) + 512, 512, 0, 0, HV_SRB_INVALID_REQUEST},
        {"4 GiB", 64, 16, 1, 0xffffffff, 512, 0, 0, HV_SRB_INVALID_REQUEST},
    };
    struct storvsp_rig rig;
    struct hv_storvsp_stats stats;
    struct rig_srb good = rig_rw(false, 0, 0, 1);

    rig_init(&rig, NULL, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rig_srb srb = rig_rw(false, 0, 0, 1);
        struct rig_reply reply;

        srb.packet_bytes = rows[i].packet_bytes;
        srb.cdb_bytes = rows[i].cdb_bytes;
        srb.data_in = rows[i].data_in;
        srb.data_bytes = rows[i].data_bytes;
        srb.range_bytes = rows[i].range_bytes;
        srb.page_offset = rows[i].page_offset;
        srb.first_page = rows[i].first_page;
        reply = rig_do(&rig, &srb);
        HV_CHECK_ROW(rows[i].name, reply.bytes == rows[i].packet_bytes);
        if (reply.bytes > 16) {
            HV_CHECK_ROW(rows[i].name, (reply.packet.srb.srb_status & 0x3f) == rows[i].want);
            HV_CHECK_ROW(rows[i].name, reply.packet.srb.data_transfer_bytes == 0);
        }
        HV_CHECK_ROW(rows[i].name, reply.packet.hdr.status != 0);
        /* It failed alone. */
        reply = rig_do(&rig, &good);
        HV_CHECK_ROW(rows[i].name, reply.packet.srb.srb_status == HV_SRB_SUCCESS);
    }
    hv_storvsp_get_stats(rig.storvsp, &stats);
    CU_ASSERT_EQUAL(stats.malformed, HV_TEST_COUNT(rows));
    CU_ASSERT_FALSE(rig.loop->channels[0].killed);
    rig_fini(&rig);
}

/** The controller's limit holds for what is well formed too, and the disk names it in its block limits page. */
static void test_transfer_limit(void)
{
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
    struct rig_srb fits = rig_rw(false, 0, 0, 16), above = rig_rw(false, 0, 0, 17);
    struct rig_srb limits = {.cdb = {HV_SCSI_INQUIRY, 1, 0xb0, [4] = 64},
                             .cdb_bytes = 6,
                             .data_in = HV_VSTOR_DATA_IN,
                             .data_bytes = 64,
                             .range_bytes = 64};
    struct storvsp_rig rig;

    opts.max_transfer_bytes = 8192;
    rig_init(&rig, &opts, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    CU_ASSERT_EQUAL(rig_do(&rig, &fits).packet.srb.data_transfer_bytes, 8192);
    CU_ASSERT_EQUAL(rig_do(&rig, &above).packet.srb.srb_status,
                    HV_SRB_INVALID_REQUEST | HV_SRB_SENSE_VALID);
    CU_ASSERT_EQUAL(rig_do(&rig, &limits).packet.srb.data_transfer_bytes, 64);
    CU_ASSERT_EQUAL(hv_get_be32(rig_page(&rig, 0) + 8), 16);
    rig_fini(&rig);
}

static void test_longer_range_is_cut(void)
{
    struct rig_srb srb = rig_rw(false, 0, 0, 1);
    struct storvsp_rig rig;
    struct rig_reply reply;

    rig_init(&rig, NULL, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    memset(rig_page(&rig, 0), 0x55, 2 * 4096);
    srb.range_bytes = 4096;
    srb.page_offset = 3900; /* the data itself crosses a page, the range goes on behind it */
    reply = rig_do(&rig, &srb);
    CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_SUCCESS);
    CU_ASSERT_EQUAL(reply.packet.srb.data_transfer_bytes, 512);
    CU_ASSERT_EQUAL(rig_page(&rig, 0)[3899], 0x55);
    CU_ASSERT_EQUAL(rig_page(&rig, 0)[3900], 0);
    CU_ASSERT_EQUAL(rig_page(&rig, 0)[3900 + 511], 0);
    CU_ASSERT_EQUAL(rig_page(&rig, 0)[3900 + 512], 0x55);
    rig_fini(&rig);
}

static void test_packets_that_are_no_requests(void)
{
    struct hv_vstor_packet packet = {.hdr = {.operation = HV_VSTOR_BEGIN_INITIALIZATION}};
    struct hv_packet_desc desc = {.trans_id = 3, .payload_bytes = 64};
    struct storvsp_rig rig;
    struct rig_reply reply;

    rig_init(&rig, NULL, 1, 0);
    /* Nobody waits for an answer: none comes, and nothing is done. */
    desc.type = HV_PACKET_INBAND;
    CU_ASSERT_EQUAL(loop_send(rig.loop, 0, &desc, NULL, &packet), 0);
    desc.type = HV_PACKET_COMPLETION;
    CU_ASSERT_EQUAL(loop_send(rig.loop, 0, &desc, NULL, &packet), 0);
    CU_ASSERT_FALSE(rig_receive(&rig, 0, &reply));
    CU_ASSERT(strstr(rig.log, "want no answer") != NULL);
    /* With an id and a wish for an answer: refused. */
    desc.flags = HV_PACKET_FLAG_COMPLETION_REQUESTED;
    CU_ASSERT_EQUAL(loop_send(rig.loop, 0, &desc, NULL, &packet), 0);
    CU_ASSERT(rig_receive(&rig, 0, &reply));
    CU_ASSERT_EQUAL(reply.packet.hdr.status, HV_NTSTATUS_INVALID_REQUEST);
    desc.type = HV_PACKET_INBAND;
    desc.payload_bytes = 8;
    CU_ASSERT_EQUAL(loop_send(rig.loop, 0, &desc, NULL, &packet), 0);
    CU_ASSERT(rig_receive(&rig, 0, &reply));
    CU_ASSERT_EQUAL(reply.bytes, 8);
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_BEGIN_INITIALIZATION, 0), 0);
    rig_fini(&rig);
}

static void test_corrupt_ring_kills(void)
{
    struct storvsp_rig rig;

    rig_init(&rig, NULL, 1, 0);
    rig.loop->channels[0].to_host.control->write_index = 12345677;
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT(rig.loop->channels[0].killed);
    CU_ASSERT(strstr(rig.loop->channels[0].why, "guest 7") != NULL);
    loop_close(rig.loop, 0);
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT_FALSE(rig.loop->channels[0].open);
    rig_fini(&rig);
}

static void test_reopen_begins_again(void)
{
    struct storvsp_rig rig;

    rig_init(&rig, NULL, 1, 0);
    for (int i = 0; i < 3; i++) {
        rig_handshake(&rig, i & 1 ? HV_VSTOR_VERSION_2_0 : HV_VSTOR_VERSION_6_2);
        loop_close(rig.loop, 0);
        CU_ASSERT(loop_settle(rig.loop));
        CU_ASSERT_EQUAL(rig.loop->channels[0].watches, 0);
        CU_ASSERT_EQUAL(loop_open(rig.loop, 0), 0);
        CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_END_INITIALIZATION, 0),
                        HV_NTSTATUS_INVALID_STATE);
    }
    loop_close(rig.loop, 0);
    CU_ASSERT(loop_settle(rig.loop));
    loop_guest_gone(rig.loop);
    rig_fini(&rig);
}

static void test_create_options(void)
{
    static const struct {
        const char *name;
        uint16_t version;
        uint32_t transfer, depth;
        const char *fault;
        int want;
        size_t size; /* of the options; 0 = as they are */
    } rows[] = {
        {"older options", 0x0500, 0, 0, "drop@", 0, offsetof(struct hv_storvsp_opts, max_version)},
        {"options of no size", 0, 0, 0, NULL, -EINVAL, SIZE_MAX},
        {"newer options", 0, 0, 0, NULL, -EINVAL, sizeof(struct hv_storvsp_opts) + 8},
        {"defaults", 0, 0, 0, NULL, 0, 0},
        {"version 5.0", 0x0500, 0, 0, NULL, -EINVAL, 0},
        {"transfer 4095", 0, 4095, 0, NULL, -EINVAL, 0},
        {"transfer 4096", 0, 4096, 0, NULL, 0, 0},
        {"transfer 8 MiB", 0, 8u << 20, 0, NULL, 0, 0},
        {"transfer above", 0, (8u << 20) + 1, 0, NULL, -EINVAL, 0},
        {"depth 4096", 0, 0, 4096, NULL, 0, 0},
        {"depth 4097", 0, 0, 4097, NULL, -EINVAL, 0},
        {"fault plan", 0, 0, 0, "drop@", -EINVAL, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
        struct hv_storvsp *storvsp = (void *)1;
        struct loop *loop = loop_create(4096);

        opts.max_version = rows[i].version;
        opts.max_transfer_bytes = rows[i].transfer;
        opts.depth = rows[i].depth;
        opts.fault = rows[i].fault;
        if (rows[i].size)
            opts.size = rows[i].size == SIZE_MAX ? 0 : rows[i].size;
        HV_CHECK_ROW(rows[i].name,
                     hv_storvsp_create(loop_host(loop), &opts, &storvsp) == rows[i].want);
        if (rows[i].want)
            HV_CHECK_ROW(rows[i].name, storvsp == (void *)1);
        else
            hv_storvsp_destroy(storvsp, NULL, NULL);
        CU_ASSERT(loop_settle(loop));
        loop_destroy(loop);
    }
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"handshake: vectors", test_handshake_vectors},
        {"handshake: reply length", test_handshake_reply_is_as_long_as_request},
        {"handshake: versions", test_handshake_versions},
        {"handshake: wrong order", test_handshake_wrong_order},
        {"read and write", test_read_and_write},
        {"batch in one poll", test_whole_batch_in_one_poll},
        {"sense by revision", test_sense_by_revision},
        {"hostile SRBs fail alone", test_hostile_srbs},
        {"transfer limit", test_transfer_limit},
        {"longer range is cut", test_longer_range_is_cut},
        {"packets that are no requests", test_packets_that_are_no_requests},
        {"corrupt ring kills", test_corrupt_ring_kills},
        {"reopen begins again", test_reopen_begins_again},
        {"options", test_create_options},
    };

    return hv_test_main("storvsp", cases, HV_TEST_COUNT(cases), argc, argv);
}
