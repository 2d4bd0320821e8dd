/* SPDX-License-Identifier: BSD-3-Clause */
/* What changes under a running guest: disks come, go, grow; the device is taken away; the host dies. */
#include "storvsc_client.h"

#include <errno.h>
#include <string.h>

#include <suite.h>

#include <hv/wire/vstor.h>

#define EVENT_MS 5000u
#define MIB      (UINT64_C(1) << 20)

static struct machine *start(struct client *c, uint16_t version, uint16_t channels)
{
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct machine_opts mo;
    struct machine *m;

    machine_opts_init(&mo);
    mo.storvsp.max_version = version;
    mo.storvsp.max_sub_channels = 3;
    so.channels = channels;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(c, m, &so), 0);
    return m;
}

static int read_block(struct client *c, uint16_t queue, uint8_t lun, uint64_t lba)
{
    struct client_io io;

    client_io_init(&io, HV_STORVSC_READ, lba, 1, c->memory, 512);
    io.request.address.lun = lun;
    return client_run(c, queue, &io);
}

static void test_hot_plug(void)
{
    const struct client_event *e;
    struct hv_storvsc_lun luns[4];
    struct client c;
    struct machine *m = start(&c, 0, 1);

    CU_ASSERT_EQUAL(read_block(&c, 0, 5, 0), -EINVAL);
    machine_attach(m, 5, 2 * MIB);
    e = client_wait_event(&c, HV_STORVSC_LUN_ADDED, EVENT_MS);
    CU_ASSERT(e && e->lun.address.lun == 5 && e->lun.block_count == 2 * MIB / 512);
    CU_ASSERT_EQUAL(hv_storvsc_luns(c.storvsc, luns, 4), 2);
    CU_ASSERT_EQUAL(read_block(&c, 0, 5, 4095), 0);
    CU_ASSERT_EQUAL(c.event_count, 1);

    machine_detach(m, 5);
    e = client_wait_event(&c, HV_STORVSC_LUN_REMOVED, EVENT_MS);
    CU_ASSERT(e && e->lun.address.lun == 5);
    CU_ASSERT_EQUAL(hv_storvsc_luns(c.storvsc, luns, 4), 1);
    CU_ASSERT_EQUAL(read_block(&c, 0, 5, 0), -EINVAL);
    CU_ASSERT_EQUAL(read_block(&c, 0, 0, 0), 0);
    CU_ASSERT_EQUAL(c.event_count, 2);
    client_close(&c);
    machine_stop(m);
}

/* Many disks at once all appear (none is lost because a scan was running). */
static void test_many_disks(void)
{
    struct hv_storvsc_lun luns[MACHINE_LUNS_MAX];
    struct client c;
    struct machine *m = start(&c, 0, 1);
    uint64_t rounds = 0;

    for (uint8_t i = 1; i < MACHINE_LUNS_MAX; i++)
        machine_attach(m, i, MIB);
    while (hv_storvsc_luns(c.storvsc, luns, MACHINE_LUNS_MAX) < MACHINE_LUNS_MAX && rounds++ < 10)
        (void)client_wait_event(&c, HV_STORVSC_LUN_CHANGED, 100);
    CU_ASSERT_EQUAL(hv_storvsc_luns(c.storvsc, luns, MACHINE_LUNS_MAX), MACHINE_LUNS_MAX);
    CU_ASSERT_EQUAL(c.event_count, MACHINE_LUNS_MAX - 1);
    for (uint8_t i = 0; i < MACHINE_LUNS_MAX; i++) {
        CU_ASSERT_EQUAL(luns[i].address.lun, i);
        CU_ASSERT_EQUAL(read_block(&c, 0, i, 0), 0);
    }
    client_close(&c);
    machine_stop(m);
}

/* Below 4.2 the host does not tell; asking finds it. */
static void test_rescan_by_hand(void)
{
    const struct client_event *e;
    struct client c;
    struct machine *m = start(&c, HV_VSTOR_VERSION_2_0, 1);

    machine_attach(m, 1, MIB);
    CU_ASSERT_EQUAL(hv_storvsc_rescan(c.storvsc), 0);
    e = client_wait_event(&c, HV_STORVSC_LUN_ADDED, EVENT_MS);
    CU_ASSERT(e && e->lun.address.lun == 1);
    client_close(&c);
    machine_stop(m);
}

static void test_resize(void)
{
    const struct client_event *e;
    struct hv_storvsc_lun lun;
    struct client c;
    struct machine *m = start(&c, 0, 1);

    CU_ASSERT_EQUAL(read_block(&c, 0, 0, 32768), -EINVAL);
    machine_resize(m, 0, 32 * MIB);
    /* The next command meets the unit attention, is sent again and succeeds. */
    CU_ASSERT_EQUAL(read_block(&c, 0, 0, 0), 0);
    e = client_wait_event(&c, HV_STORVSC_LUN_RESIZED, EVENT_MS);
    CU_ASSERT(e && e->lun.block_count == 32 * MIB / 512);
    CU_ASSERT_EQUAL(hv_storvsc_luns(c.storvsc, &lun, 1), 1);
    CU_ASSERT_EQUAL(lun.block_count, 32 * MIB / 512);
    CU_ASSERT_EQUAL(read_block(&c, 0, 0, 65535), 0);

    c.event_count = 0;
    machine_resize(m, 0, 8 * MIB);
    /* Beyond the new end, which we do not know yet: the host's answer. */
    CU_ASSERT_EQUAL(read_block(&c, 0, 0, 65535), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(client_wait_event(&c, HV_STORVSC_LUN_RESIZED, EVENT_MS));
    CU_ASSERT_EQUAL(hv_storvsc_luns(c.storvsc, &lun, 1), 1);
    CU_ASSERT_EQUAL(lun.block_count, 8 * MIB / 512);
    CU_ASSERT_EQUAL(read_block(&c, 0, 0, 16384), -EINVAL);
    client_close(&c);
    machine_stop(m);
}

/* News met on a sub-channel: queue 0 is woken and does the work, and every queue knows. */
static void test_resize_on_subchannel(void)
{
    const struct client_event *e;
    struct client c;
    struct machine *m = start(&c, 0, 3);

    CU_ASSERT_EQUAL(hv_storvsc_queue_count(c.storvsc), 3);
    machine_resize(m, 0, 64 * MIB);
    CU_ASSERT_EQUAL(read_block(&c, 2, 0, 0), 0);
    e = client_wait_event(&c, HV_STORVSC_LUN_RESIZED, EVENT_MS);
    CU_ASSERT(e && e->lun.block_count == 64 * MIB / 512);
    for (uint16_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(read_block(&c, i, 0, 131071), 0);
    client_close(&c);
    machine_stop(m);
}

/* Another disk at the same address is another disk. */
static void test_exchange(void)
{
    struct client c;
    struct machine *m = start(&c, 0, 1);

    machine_detach(m, 0);
    machine_attach(m, 0, 4 * MIB);
    CU_ASSERT_PTR_NOT_NULL(client_wait_event(&c, HV_STORVSC_LUN_REMOVED, EVENT_MS));
    CU_ASSERT_PTR_NOT_NULL(client_wait_event(&c, HV_STORVSC_LUN_ADDED, EVENT_MS));
    CU_ASSERT_EQUAL(c.events[c.event_count - 1].event, HV_STORVSC_LUN_ADDED);
    CU_ASSERT_EQUAL(c.events[c.event_count - 1].lun.block_count, 4 * MIB / 512);
    CU_ASSERT_EQUAL(read_block(&c, 0, 0, 8191), 0);
    client_close(&c);
    machine_stop(m);
}

#define REQUESTS 16u

static void submit_all(struct client *c, uint16_t queue, struct client_io *io)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        client_io_init(&io[i], HV_STORVSC_WRITE, i * 8, 8, c->memory + (size_t)i * 4096, 4096);
        CU_ASSERT_EQUAL(client_submit(c, queue, &io[i]), 0);
    }
    CU_ASSERT_EQUAL(hv_storvsc_flush(hv_storvsc_queue(c->storvsc, queue)), 0);
}

static unsigned done_once(const struct client_io *io)
{
    unsigned n = 0;

    for (unsigned i = 0; i < REQUESTS; i++)
        n += io[i].done_count == 1;
    return n;
}

static void test_withdrawn(void)
{
    static struct client_io io[2][REQUESTS];
    struct client c;
    struct machine *m = start(&c, 0, 2);
    struct hv_storvsc_queue *q = hv_storvsc_queue(c.storvsc, 0);

    submit_all(&c, 0, io[0]);
    submit_all(&c, 1, io[1]);
    machine_withdraw(m);
    CU_ASSERT_PTR_NOT_NULL(client_wait_event(&c, HV_STORVSC_DEAD, EVENT_MS));
    CU_ASSERT_EQUAL(hv_storvsc_poll(q), -ENODEV);
    CU_ASSERT_EQUAL(hv_storvsc_submit(q, &io[0][0].request), -ENODEV);
    CU_ASSERT_EQUAL(hv_storvsc_rescan(c.storvsc), -ENODEV);
    /* It does not come back: a reopen completes what was pending, and says so. */
    CU_ASSERT_EQUAL(hv_storvsc_reopen(c.storvsc, c.bus), -ENODEV);
    CU_ASSERT_EQUAL(done_once(io[0]), REQUESTS);
    CU_ASSERT_EQUAL(done_once(io[1]), REQUESTS);
    CU_ASSERT_EQUAL(hv_storvsc_reopen(c.storvsc, c.bus), -ENODEV);
    CU_ASSERT_EQUAL(hv_storvsc_poll(q), -ENODEV);
    CU_ASSERT_EQUAL(hv_storvsc_queue_fd(hv_storvsc_queue(c.storvsc, 1)), -1);
    CU_ASSERT_EQUAL(hv_storvsc_queue_count(c.storvsc), 0);
    client_close(&c);
    machine_stop(m);
}

static void test_host_dies(void)
{
    static struct client_io io[2][REQUESTS];
    struct client c;
    struct machine *m = start(&c, 0, 2);
    struct client_io after;

    submit_all(&c, 0, io[0]);
    submit_all(&c, 1, io[1]);
    machine_cut(m);
    CU_ASSERT_PTR_NOT_NULL(client_wait_event(&c, HV_STORVSC_DEAD, EVENT_MS));
    CU_ASSERT_EQUAL(hv_storvsc_poll(hv_storvsc_queue(c.storvsc, 0)), -ENODEV);
    CU_ASSERT_NOT_EQUAL(hv_storvsc_reopen(c.storvsc, c.bus), 0);
    CU_ASSERT_EQUAL(done_once(io[0]), REQUESTS);
    CU_ASSERT_EQUAL(done_once(io[1]), REQUESTS);
    /* The same queues go on over a new connection. */
    CU_ASSERT_EQUAL(client_reopen_on_new_bus(&c), 0);
    CU_ASSERT_EQUAL(hv_storvsc_queue_count(c.storvsc), 2);
    for (uint16_t i = 0; i < 2; i++) {
        client_io_init(&after, HV_STORVSC_READ, 0, 8, c.memory, 4096);
        CU_ASSERT_EQUAL(client_run(&c, i, &after), 0);
    }
    client_close(&c);
    machine_stop(m);
}

/* What changed while the connection was down is told after the reopen. */
static void test_news_after_reopen(void)
{
    const struct client_event *e;
    struct client c;
    struct machine *m = start(&c, 0, 1);

    machine_cut(m);
    CU_ASSERT_PTR_NOT_NULL(client_wait_event(&c, HV_STORVSC_DEAD, EVENT_MS));
    machine_attach(m, 2, MIB);
    machine_resize(m, 0, 20 * MIB);
    CU_ASSERT_EQUAL(client_reopen_on_new_bus(&c), 0);
    e = client_wait_event(&c, HV_STORVSC_LUN_ADDED, EVENT_MS);
    CU_ASSERT(e && e->lun.address.lun == 2);
    e = client_wait_event(&c, HV_STORVSC_LUN_RESIZED, EVENT_MS);
    CU_ASSERT(e && e->lun.block_count == 20 * MIB / 512);
    client_close(&c);
    machine_stop(m);
}

/* Reopen a healthy controller with requests in flight: they fail once, nothing else happens. */
static void test_reopen_alive(void)
{
    static struct client_io io[REQUESTS];
    struct client c;
    struct machine *m = start(&c, 0, 2);
    int rc;

    for (unsigned round = 0; round < 5; round++) {
        submit_all(&c, (uint16_t)(round & 1), io);
        rc = hv_storvsc_reopen(c.storvsc, c.bus);
        CU_ASSERT_EQUAL(rc, 0);
        CU_ASSERT_EQUAL(done_once(io), REQUESTS);
        CU_ASSERT_EQUAL(hv_storvsc_queue_count(c.storvsc), 2);
        CU_ASSERT_EQUAL(read_block(&c, 1, 0, 0), 0);
    }
    CU_ASSERT_EQUAL(c.event_count, 0);
    client_close(&c);
    machine_stop(m);
}

/* Two guests share the controller; the death of one does not touch the other. */
static void test_two_guests(void)
{
    struct client a, b;
    struct client_io io;
    struct machine *m = start(&a, 0, 1);

    CU_ASSERT_EQUAL(client_open(&b, m, NULL), 0);
    memset(a.memory, 0x77, 4096);
    client_io_init(&io, HV_STORVSC_WRITE, 8, 8, a.memory, 4096);
    CU_ASSERT_EQUAL(client_run(&a, 0, &io), 0);
    client_io_init(&io, HV_STORVSC_READ, 8, 8, b.memory, 4096);
    CU_ASSERT_EQUAL(client_run(&b, 0, &io), 0);
    CU_ASSERT(!memcmp(a.memory, b.memory, 4096));
    machine_cut(m); /* b's */
    CU_ASSERT_PTR_NOT_NULL(client_wait_event(&b, HV_STORVSC_DEAD, EVENT_MS));
    CU_ASSERT_EQUAL(read_block(&a, 0, 0, 0), 0);
    client_close(&b);
    CU_ASSERT_EQUAL(read_block(&a, 0, 0, 0), 0);
    client_close(&a);
    machine_stop(m);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"hot plug", test_hot_plug},
        {"many disks at once", test_many_disks},
        {"rescan by hand", test_rescan_by_hand},
        {"resize", test_resize},
        {"resize met on a sub-channel", test_resize_on_subchannel},
        {"disk exchanged", test_exchange},
        {"controller withdrawn", test_withdrawn},
        {"host dies", test_host_dies},
        {"news after reopen", test_news_after_reopen},
        {"reopen while alive", test_reopen_alive},
        {"two guests", test_two_guests},
    };

    return hv_test_main("storvsc.events", cases, HV_TEST_COUNT(cases), argc, argv);
}
