/* SPDX-License-Identifier: BSD-3-Clause */
/* storvsc against the emulated host: what is found, every operation, limits. */
#include "storvsc_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <suite.h>

#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

#define DISK_BYTES (16u << 20)

/* ---- What is found ---- */

static void test_luns(void)
{
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct hv_storvsc_lun luns[8];

    machine_opts_init(&mo);
    mo.luns = 0;
    mo.storvsp.max_transfer_bytes = 1u << 20;
    m = machine_start(&mo);
    machine_attach(m, 0, 8u << 20);
    machine_attach(m, 3, 4u << 20);
    machine_attach(m, 9, 2u << 20);
    CU_ASSERT_EQUAL(client_open(&c, m, NULL), 0);
    CU_ASSERT_EQUAL(hv_storvsc_luns(c.storvsc, luns, 8), 3);
    CU_ASSERT_EQUAL(luns[0].address.lun, 0);
    CU_ASSERT_EQUAL(luns[1].address.lun, 3);
    CU_ASSERT_EQUAL(luns[2].address.lun, 9);
    CU_ASSERT_EQUAL(luns[1].block_count, (4u << 20) / 512);
    CU_ASSERT_EQUAL(luns[0].block_bytes, 512);
    CU_ASSERT_EQUAL(luns[0].type, 0);
    CU_ASSERT_STRING_EQUAL(luns[0].vendor, "Msft");
    CU_ASSERT_STRING_EQUAL(luns[0].product, "Virtual Disk");
    CU_ASSERT_STRING_EQUAL(luns[1].serial, "TEST-3-4194304");
    CU_ASSERT(luns[0].naa_bytes == 16 && luns[0].naa[0] >> 4 == 6);
    CU_ASSERT(memcmp(luns[0].naa, luns[1].naa, 16) != 0);
    CU_ASSERT(luns[0].thin && luns[0].unmap && luns[0].write_same);
    CU_ASSERT(luns[0].write_cache && luns[0].fua && !luns[0].read_only);
    CU_ASSERT(luns[0].max_transfer_bytes > 0 && luns[0].max_transfer_bytes <= 1u << 20);
    CU_ASSERT_EQUAL(luns[0].max_transfer_bytes % 4096, 0);
    /* A short array gets what fits, and the true number. */
    memset(luns, 0xff, sizeof(luns));
    CU_ASSERT_EQUAL(hv_storvsc_luns(c.storvsc, luns, 1), 3);
    CU_ASSERT_EQUAL(luns[1].address.lun, 0xff);
    client_close(&c);
    machine_stop(m);
}

static void test_no_luns(void)
{
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct client_io io;

    machine_opts_init(&mo);
    mo.luns = 0;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, NULL), 0);
    CU_ASSERT_EQUAL(hv_storvsc_luns(c.storvsc, NULL, 0), 0);
    client_io_init(&io, HV_STORVSC_READ, 0, 1, c.memory, 512);
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), -EINVAL);
    client_close(&c);
    machine_stop(m);
}

static void test_open_refused(void)
{
    static const struct hv_guid nobody = HV_GUID_INIT(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct hv_storvsc *s = NULL;
    struct machine_opts mo;
    struct machine *m;
    struct client c;

    machine_opts_init(&mo);
    mo.storvsp.max_version = HV_VSTOR_VERSION_4_2;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, NULL), 0);
    CU_ASSERT_EQUAL(hv_storvsc_open(c.bus, &nobody, NULL, &s), -ENODEV);
    CU_ASSERT_EQUAL(hv_storvsc_open(c.bus, NULL, NULL, &s), -EBUSY);
    so.depth = 1025;
    CU_ASSERT_EQUAL(hv_storvsc_open(c.bus, NULL, &so, &s), -EINVAL);
    so = (struct hv_storvsc_opts)HV_STORVSC_OPTS_INIT;
    so.size--;
    CU_ASSERT_EQUAL(hv_storvsc_open(c.bus, NULL, &so, &s), -EINVAL);
    so = (struct hv_storvsc_opts)HV_STORVSC_OPTS_INIT;
    so.ring_bytes = 5000;
    CU_ASSERT_EQUAL(hv_storvsc_open(c.bus, NULL, &so, &s), -EINVAL);
    CU_ASSERT_PTR_NULL(s);
    hv_storvsc_close(NULL);
    client_close(&c);
    /* Closed means closed: the next one gets it. */
    CU_ASSERT_EQUAL(client_open(&c, m, NULL), 0);
    client_close(&c);
    machine_stop(m);
}

/* ---- Operations ---- */

static void test_submit_refuses(void)
{
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct client_io io;
    uint64_t end = DISK_BYTES / 512;

    machine_opts_init(&mo);
    mo.luns = 2;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, NULL), 0);
    client_io_init(&io, HV_STORVSC_READ, end, 1, c.memory, 512);
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io), -EINVAL);
    client_io_init(&io, HV_STORVSC_READ, end - 1, 2, c.memory, 1024);
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io), -EINVAL);
    client_io_init(&io, HV_STORVSC_READ, UINT64_MAX, 2, c.memory, 1024);
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io), -EINVAL);
    client_io_init(&io, HV_STORVSC_READ, 0, 2, c.memory, 512);
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io), -EINVAL);
    client_io_init(&io, HV_STORVSC_READ, 0, 0, c.memory, 0);
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io), -EINVAL);
    client_io_init(&io, HV_STORVSC_WRITE_ZEROES, end - 1, 2, NULL, 0);
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io), -EINVAL);
    client_io_init(&io, HV_STORVSC_READ, 0, 1, c.memory, 512);
    io.request.address.lun = 7;
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io), -EINVAL);
    client_io_init(&io, HV_STORVSC_READ, 0, 1, c.memory, 512);
    io.request.flags = 0x80000000u;
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io), -EINVAL);
    client_io_init(&io, HV_STORVSC_SCSI, 0, 0, NULL, 0);
    io.request.cdb_bytes = 17;
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io), -EINVAL);
    CU_ASSERT_EQUAL(io.done_count, 0);
    CU_ASSERT_EQUAL(hv_storvsc_in_flight(hv_storvsc_queue(c.storvsc, 0)), 0);
    /* The very last block is there. */
    client_io_init(&io, HV_STORVSC_READ, end - 1, 1, c.memory, 512);
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), 0);
    client_close(&c);
    machine_stop(m);
}

static void test_read_only(void)
{
    static const enum hv_storvsc_op ops[] = {HV_STORVSC_WRITE, HV_STORVSC_WRITE_ZEROES,
                                             HV_STORVSC_UNMAP};
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct client_io io;
    struct hv_storvsc_lun lun;

    machine_opts_init(&mo);
    mo.disk.read_only = true;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, NULL), 0);
    CU_ASSERT_EQUAL(hv_storvsc_luns(c.storvsc, &lun, 1), 1);
    CU_ASSERT(lun.read_only);
    for (size_t i = 0; i < HV_TEST_COUNT(ops); i++) {
        client_io_init(&io, ops[i], 0, 1, c.memory, ops[i] == HV_STORVSC_WRITE ? 512 : 0);
        CU_ASSERT_EQUAL(client_run(&c, 0, &io), -EPERM);
    }
    /* The host says no as well, to a command that the library does not look into. */
    client_io_init(&io, HV_STORVSC_SCSI, 0, 0, c.memory, 512);
    io.request.cdb[0] = HV_SCSI_WRITE_10;
    io.request.cdb[8] = 1;
    io.request.cdb_bytes = 10;
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), -EPERM);
    CU_ASSERT_EQUAL(io.result.sense_key, HV_SENSE_DATA_PROTECT);
    CU_ASSERT_EQUAL(io.result.asc, HV_ASC_WRITE_PROTECTED);
    client_io_init(&io, HV_STORVSC_READ, 0, 1, c.memory, 512);
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), 0);
    client_close(&c);
    machine_stop(m);
}

static void test_zeroes_and_unmap(void)
{
    static const struct {
        const char *name;
        bool no_thin;
        uint32_t flags;
        int want;
    } cases[] = {
        {"thin, write", false, 0, 0},
        {"thin, may unmap", false, HV_STORVSC_MAY_UNMAP, 0},
        {"thin, fast", false, HV_STORVSC_FAST_ONLY | HV_STORVSC_MAY_UNMAP, 0},
        {"thin, FUA", false, HV_STORVSC_FUA, 0},
        {"thick", true, HV_STORVSC_MAY_UNMAP, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(cases); i++) {
        struct machine_opts mo;
        struct machine *m;
        struct client c;
        struct client_io io;
        uint64_t blocks = DISK_BYTES / 512 - 20;

        machine_opts_init(&mo);
        mo.disk.no_thin = cases[i].no_thin;
        m = machine_start(&mo);
        CU_ASSERT_EQUAL(client_open(&c, m, NULL), 0);
        memset(c.memory, 0xa5, 65536);
        for (uint64_t lba = 0; lba < DISK_BYTES / 512; lba += 8192) {
            client_io_init(&io, HV_STORVSC_WRITE, lba, 128, c.memory, 65536);
            CU_ASSERT_EQUAL(client_run(&c, 0, &io), 0);
        }
        client_io_init(&io, HV_STORVSC_WRITE_ZEROES, 10, blocks, NULL, 0);
        io.request.flags = cases[i].flags;
        HV_CHECK_ROW(cases[i].name, client_run(&c, 0, &io) == cases[i].want);
        client_io_init(&io, HV_STORVSC_READ, 0, 128, c.memory, 65536);
        CU_ASSERT_EQUAL(client_run(&c, 0, &io), 0);
        HV_CHECK_ROW(cases[i].name, c.memory[5119] == 0xa5 && c.memory[5120] == 0);
        HV_CHECK_ROW(cases[i].name, !memcmp(c.memory + 5120, c.memory + 5121, 65536 - 5121));
        client_io_init(&io, HV_STORVSC_READ, 8192, 128, c.memory, 65536);
        CU_ASSERT_EQUAL(client_run(&c, 0, &io), 0);
        HV_CHECK_ROW(cases[i].name, c.memory[0] == 0 && !memcmp(c.memory, c.memory + 1, 65535));
        client_io_init(&io, HV_STORVSC_UNMAP, 1, blocks, NULL, 0);
        HV_CHECK_ROW(cases[i].name, client_run(&c, 0, &io) == (cases[i].no_thin ? -EOPNOTSUPP : 0));
        client_io_init(&io, HV_STORVSC_FLUSH, 0, 0, NULL, 0);
        CU_ASSERT_EQUAL(client_run(&c, 0, &io), 0);
        client_close(&c);
        machine_stop(m);
    }
}

static void test_raw_and_lba_status(void)
{
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct client_io io;
    struct hv_storvsc_lun lun;

    machine_opts_init(&mo);
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, NULL), 0);
    CU_ASSERT_EQUAL(hv_storvsc_luns(c.storvsc, &lun, 1), 1);
    client_io_init(&io, HV_STORVSC_LBA_STATUS, 0, 1, c.memory, 24);
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), 0);
    CU_ASSERT_EQUAL(io.result.bytes, 24);
    /* INQUIRY into memory of nobody's: bounced, short answer. */
    uint8_t answer[255] = {0};
    client_io_init(&io, HV_STORVSC_SCSI, 0, 0, answer + 1, 254);
    io.request.cdb[0] = HV_SCSI_INQUIRY;
    io.request.cdb[4] = 254;
    io.request.cdb_bytes = 6;
    io.request.data_in = true;
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), 0);
    CU_ASSERT(io.result.bytes >= 36 && io.result.bytes < 254);
    CU_ASSERT(!memcmp(answer + 1 + 8, "Msft    ", 8));
    /* Sense of a refused command. */
    client_io_init(&io, HV_STORVSC_SCSI, 0, 0, NULL, 0);
    io.request.cdb[0] = 0xff;
    io.request.cdb_bytes = 16;
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(io.result.sense_key, HV_SENSE_ILLEGAL_REQUEST);
    CU_ASSERT_EQUAL(io.result.asc, HV_ASC_INVALID_OPCODE);
    CU_ASSERT_EQUAL(io.result.scsi_status, HV_SCSI_STATUS_CHECK_CONDITION);
    client_io_init(&io, HV_STORVSC_SCSI, 0, 0, c.memory, lun.max_transfer_bytes + 4096);
    io.request.cdb[0] = HV_SCSI_READ_10;
    io.request.cdb_bytes = 10;
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), -EINVAL);
    client_close(&c);
    machine_stop(m);
}

/* ---- Many at a time ---- */

#define MANY 200u

struct chain {
    struct client_io io[MANY];
    struct hv_storvsc_queue *queue;
    unsigned left;
    int error;
};

static void chain_done(struct hv_storvsc_request *request, const struct hv_storvsc_result *result)
{
    struct chain *chain = request->arg;

    if (result->error)
        chain->error = result->error;
    if (chain->left) {
        chain->left--;
        if (hv_storvsc_submit(chain->queue, request)) /* from inside the callback */
            chain->error = -EAGAIN;
    }
}

static void test_submit_from_callback(void)
{
    static struct chain chain;
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct hv_storvsc_stats stats;

    machine_opts_init(&mo);
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, NULL), 0);
    chain = (struct chain){.queue = hv_storvsc_queue(c.storvsc, 0), .left = 5000};
    for (unsigned i = 0; i < MANY; i++) {
        client_io_init(&chain.io[i], HV_STORVSC_READ, i, 8, c.memory + i * 4096, 4096);
        chain.io[i].request.arg = &chain;
        chain.io[i].request.done = chain_done;
        CU_ASSERT_EQUAL(hv_storvsc_submit(chain.queue, &chain.io[i].request), 0);
    }
    CU_ASSERT_EQUAL(hv_storvsc_in_flight(chain.queue), MANY);
    while (hv_storvsc_in_flight(chain.queue) && !chain.error)
        if (hv_storvsc_poll(chain.queue) < 0)
            break;
    CU_ASSERT_EQUAL(chain.error, 0);
    hv_storvsc_get_stats(chain.queue, &stats);
    CU_ASSERT_EQUAL(stats.completed, MANY + 5000);
    CU_ASSERT_EQUAL(stats.submitted, MANY + 5000);
    CU_ASSERT_EQUAL(stats.read_bytes, (MANY + 5000) * 4096);
    CU_ASSERT_EQUAL(stats.bounced_bytes, 0);
    /* One publish per burst: far fewer signals than packets, or the host was never asleep. */
    CU_ASSERT(stats.channel.out.signals < stats.channel.out.packets / 4);
    client_close(&c);
    machine_stop(m);
}

static void test_depth(void)
{
    struct client_io io[5];
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct hv_storvsc_queue *q;

    so.depth = 4;
    machine_opts_init(&mo);
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, &so), 0);
    q = hv_storvsc_queue(c.storvsc, 0);
    for (unsigned i = 0; i < 5; i++) {
        client_io_init(&io[i], HV_STORVSC_READ, i, 1, c.memory + i * 512, 512);
        CU_ASSERT_EQUAL(hv_storvsc_submit(q, &io[i].request), i < 4 ? 0 : -EAGAIN);
    }
    CU_ASSERT_EQUAL(hv_storvsc_in_flight(q), 4);
    CU_ASSERT_EQUAL(client_run(&c, 0, &io[4]), 0);
    for (unsigned i = 0; i < 5; i++)
        CU_ASSERT(client_wait(&c, 0, &io[i], 5000) && io[i].result.error == 0);
    client_close(&c);
    machine_stop(m);
}

/* Larger than everything: transfer limit, depth, bounce memory. */
static void test_huge(void)
{
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct client_io io, other;
    size_t bytes = 12u << 20;
    uint8_t *data = malloc(bytes), *back = malloc(bytes);
    struct hv_storvsc_stats stats;

    so.depth = 3;
    so.bounce_bytes = 4096;
    machine_opts_init(&mo);
    mo.storvsp.max_transfer_bytes = 128u << 10;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, &so), 0);
    for (size_t i = 0; data && i < bytes; i++)
        data[i] = (uint8_t)(i * 7 + i / 4096);
    client_io_init(&io, HV_STORVSC_WRITE, 5, bytes / 512, data, bytes);
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), 0);
    CU_ASSERT_EQUAL(io.result.bytes, bytes);
    client_io_init(&io, HV_STORVSC_READ, 5, bytes / 512, back, bytes);
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io), 0);
    client_io_init(&other, HV_STORVSC_READ, 5, 1, c.memory, 512);
    CU_ASSERT_EQUAL(client_run(&c, 0, &other), 0); /* waits behind it, but not for ever */
    CU_ASSERT(client_wait(&c, 0, &io, 10000));
    CU_ASSERT_EQUAL(io.result.error, 0);
    CU_ASSERT(data && back && !memcmp(data, back, bytes));
    hv_storvsc_get_stats(hv_storvsc_queue(c.storvsc, 0), &stats);
    CU_ASSERT_EQUAL(stats.split_requests, 2);
    CU_ASSERT_EQUAL(stats.bounced_bytes, 2 * bytes);
    free(data);
    free(back);
    client_close(&c);
    machine_stop(m);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"LUNs and what they say", test_luns},
        {"no LUN at all", test_no_luns},
        {"open refused", test_open_refused},
        {"submit refuses", test_submit_refuses},
        {"read-only LUN", test_read_only},
        {"zeroes and unmap", test_zeroes_and_unmap},
        {"raw commands, LBA status", test_raw_and_lba_status},
        {"submit from a callback", test_submit_from_callback},
        {"depth", test_depth},
        {"larger than every limit", test_huge},
    };

    return hv_test_main("storvsc", cases, HV_TEST_COUNT(cases), argc, argv);
}
