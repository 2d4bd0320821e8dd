/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * storvsc against a host with a fault plan: nothing hangs, nothing completes twice, errors are the right ones, a host
 * that breaks the protocol costs the channel, and after a reopen all is well.
 */
#include "storvsc_client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <suite.h>

#include <hv/wire/scsi.h>

#define REQUESTS 24u

/* How many commands opening takes: a fault of a request has to come after the scan. */
static unsigned commands_of_open(uint16_t channels)
{
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct hv_storvsp_stats stats = {0};

    so.channels = channels;
    machine_opts_init(&mo);
    mo.storvsp.max_sub_channels = 3;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, &so), 0);
    hv_storvsp_get_stats(machine_storvsp(m), &stats);
    client_close(&c);
    machine_stop(m);
    return (unsigned)stats.requests;
}

/* What the requests of one run became. */
struct tally {
    unsigned good, failed, twice, missing;
    int error; /* of a failed one */
};

static struct tally count(const struct client_io *io, unsigned n)
{
    struct tally t = {0};

    for (unsigned i = 0; i < n; i++) {
        t.twice += io[i].done_count > 1;
        t.missing += io[i].done_count == 0;
        if (!io[i].done_count)
            continue;
        t.good += io[i].result.error == 0;
        t.failed += io[i].result.error != 0;
        if (io[i].result.error)
            t.error = io[i].result.error;
    }
    return t;
}

static struct machine *start_with_fault(struct client *c, const char *fault, unsigned nth,
                                        const struct hv_storvsc_opts *so)
{
    struct machine_opts mo;
    struct machine *m;
    char plan[64];

    (void)snprintf(plan, sizeof(plan), "%s@%u", fault, nth);
    machine_opts_init(&mo);
    mo.storvsp.max_sub_channels = 3;
    mo.storvsp.fault = plan;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(c, m, so), 0);
    return m;
}

static void submit_all(struct client *c, struct client_io *io, enum hv_storvsc_op op)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        client_io_init(&io[i], op, i * 8, 8, c->memory + (size_t)i * 4096, 4096);
        CU_ASSERT_EQUAL(client_submit(c, 0, &io[i]), 0);
    }
}

static void wait_all(struct client *c, const struct client_io *io)
{
    for (unsigned i = 0; i < REQUESTS; i++)
        (void)client_wait(c, 0, &io[i], 10000);
}

/* After whatever happened: reopen, and everything works. */
static void check_reopen(struct client *c, const char *row)
{
    struct client_io io;

    HV_CHECK_ROW(row, hv_storvsc_reopen(c->storvsc, c->bus) == 0);
    HV_CHECK_ROW(row, hv_storvsc_in_flight(hv_storvsc_queue(c->storvsc, 0)) == 0);
    client_io_init(&io, HV_STORVSC_READ, 0, 64, c->memory, 32768);
    HV_CHECK_ROW(row, client_run(c, 0, &io) == 0);
}

/* ---- The host breaks the protocol ---- */

static const char *const violations[] = {"repeat",     "shorten",   "wrong-id",
                                         "bad-length", "bad-sense", "bad-index"};

static void test_violations(void)
{
    unsigned first = commands_of_open(1);

    for (size_t i = 0; i < HV_TEST_COUNT(violations); i++) {
        static struct client_io io[REQUESTS];
        const char *row = violations[i];
        struct client c;
        struct machine *m = start_with_fault(&c, row, first + 5, NULL);
        struct hv_storvsc_queue *q = hv_storvsc_queue(c.storvsc, 0);
        struct tally t;

        submit_all(&c, io, HV_STORVSC_READ);
        wait_all(&c, io);
        HV_CHECK_ROW(row, hv_storvsc_poll(q) == -EPROTO);
        HV_CHECK_ROW(row, hv_storvsc_submit(q, &io[0].request) == -EPROTO);
        HV_CHECK_ROW(row, hv_storvsc_flush(q) == -EPROTO);
        HV_CHECK_ROW(row, hv_storvsc_arm(q));
        HV_CHECK_ROW(row, hv_storvsc_next_deadline_ms(q) == -1);
        HV_CHECK_ROW(row, client_wait_event(&c, HV_STORVSC_DEAD, 1000) != NULL);
        t = count(io, REQUESTS);
        /* What the host may still write to is not given back before the channel is closed. */
        HV_CHECK_ROW(row, t.failed == 0 && t.missing > 0 && t.twice == 0);
        HV_CHECK_ROW(row, hv_storvsc_in_flight(q) == t.missing);
        check_reopen(&c, row);
        t = count(io, REQUESTS);
        HV_CHECK_ROW(row, t.missing == 0 && t.twice == 0 && t.failed > 0 && t.error == -EIO);
        HV_CHECK_ROW(row, c.event_count == 1); /* dead, once; the LUN is the same */
        client_close(&c);
        machine_stop(m);
    }
}

static void test_violation_in_scan(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(violations); i++) {
        struct machine_opts mo;
        struct machine *m;
        struct client c;
        char plan[64];

        (void)snprintf(plan, sizeof(plan), "%s@20", violations[i]);
        machine_opts_init(&mo);
        mo.storvsp.fault = plan;
        m = machine_start(&mo);
        HV_CHECK_ROW(violations[i], client_open(&c, m, NULL) == -EPROTO);
        HV_CHECK_ROW(violations[i], c.storvsc == NULL);
        /* The bus is alive, and the plan has had its turn. */
        HV_CHECK_ROW(violations[i], hv_storvsc_open(c.bus, NULL, NULL, &c.storvsc) == 0);
        client_close(&c);
        machine_stop(m);
    }
}

/* ---- The host fails properly ---- */

static void test_errors(void)
{
    static const struct {
        const char *fault;
        enum hv_storvsc_op op;
        unsigned failed;
        int error;
        uint8_t key;
        uint16_t asc;
    } rows[] = {
        {"medium-error", HV_STORVSC_READ, 1, -EIO, HV_SENSE_MEDIUM_ERROR, 0},
        {"medium-error", HV_STORVSC_WRITE, 1, -EIO, HV_SENSE_MEDIUM_ERROR, 0},
        {"nospace", HV_STORVSC_WRITE, 1, -ENOSPC, HV_SENSE_DATA_PROTECT,
         HV_ASC_SPACE_ALLOCATION_FAILED},
        {"busy", HV_STORVSC_READ, 0, 0, 0, 0},
        {"delay:30", HV_STORVSC_READ, 0, 0, 0, 0},
    };
    unsigned first = commands_of_open(1);

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        static struct client_io io[REQUESTS];
        const char *row = rows[i].fault;
        struct client c;
        struct machine *m = start_with_fault(&c, row, first + 5, NULL);
        struct hv_storvsc_stats stats;
        struct tally t;

        submit_all(&c, io, rows[i].op);
        wait_all(&c, io);
        t = count(io, REQUESTS);
        HV_CHECK_ROW(row, t.missing == 0 && t.twice == 0);
        HV_CHECK_ROW(row, t.failed == rows[i].failed && t.error == rows[i].error);
        for (unsigned k = 0; k < REQUESTS; k++)
            if (io[k].result.error) {
                HV_CHECK_ROW(row, io[k].result.sense_key == rows[i].key);
                HV_CHECK_ROW(row, !rows[i].asc || io[k].result.asc == rows[i].asc);
            }
        hv_storvsc_get_stats(hv_storvsc_queue(c.storvsc, 0), &stats);
        HV_CHECK_ROW(row, stats.failed == rows[i].failed);
        HV_CHECK_ROW(row, (stats.retries > 0) == (strcmp(row, "busy") == 0));
        client_close(&c);
        machine_stop(m);
    }
}

/* A host that stays busy: tried with pauses until the deadline, then an error, without a reset. */
static void test_busy_for_ever(void)
{
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct client c;
    struct client_io io;
    struct machine *m;
    struct hv_storvsc_stats stats;
    char plan[32];

    (void)snprintf(plan, sizeof(plan), "%u+", commands_of_open(1) + 1);
    so.timeout_ms = 200;
    {
        struct machine_opts mo;
        char fault[64];

        (void)snprintf(fault, sizeof(fault), "busy@%s", plan);
        machine_opts_init(&mo);
        mo.storvsp.fault = fault;
        m = machine_start(&mo);
    }
    CU_ASSERT_EQUAL(client_open(&c, m, &so), 0);
    client_io_init(&io, HV_STORVSC_READ, 0, 1, c.memory, 512);
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), -EIO);
    CU_ASSERT_EQUAL(io.done_count, 1);
    hv_storvsc_get_stats(hv_storvsc_queue(c.storvsc, 0), &stats);
    CU_ASSERT(stats.retries >= 5 && stats.retries < 100);
    CU_ASSERT_EQUAL(stats.resets, 0);
    CU_ASSERT_EQUAL(stats.timeouts, 1);
    client_close(&c);
    machine_stop(m);
}

/* ---- The host does not answer ---- */

static void test_ladder(void)
{
    static struct client_io io[REQUESTS];
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct hv_storvsc_stats stats;
    struct client c;
    struct machine *m;
    struct hv_storvsc_queue *q;
    struct tally t;

    so.timeout_ms = 100;
    m = start_with_fault(&c, "drop", commands_of_open(1) + 5, &so);
    q = hv_storvsc_queue(c.storvsc, 0);
    submit_all(&c, io, HV_STORVSC_WRITE);
    wait_all(&c, io);
    t = count(io, REQUESTS);
    /* The others were answered; the lost one belongs to the host until the channel is closed. */
    CU_ASSERT(t.good == REQUESTS - 1 && t.missing == 1 && t.failed == 0);
    CU_ASSERT_EQUAL(hv_storvsc_poll(q), -ETIMEDOUT);
    CU_ASSERT_EQUAL(hv_storvsc_submit(q, &io[0].request), -ETIMEDOUT);
    hv_storvsc_get_stats(q, &stats);
    CU_ASSERT_EQUAL(stats.timeouts, 1);
    CU_ASSERT_EQUAL(stats.resets, 2);
    CU_ASSERT(machine_said(m, "reset of the LUN"));
    CU_ASSERT(machine_said(m, "reset of the bus"));
    CU_ASSERT_PTR_NOT_NULL(client_wait_event(&c, HV_STORVSC_DEAD, 1000));
    check_reopen(&c, "ladder");
    t = count(io, REQUESTS);
    CU_ASSERT(t.missing == 0 && t.twice == 0 && t.failed == 1 && t.error == -ETIMEDOUT);
    client_close(&c);
    machine_stop(m);
}

/* An answer that comes while the ladder is being climbed is an answer. */
static void test_late_answer(void)
{
    static struct client_io io[REQUESTS];
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct hv_storvsc_stats stats;
    struct client c;
    struct machine *m;
    struct tally t;

    so.timeout_ms = 200;
    m = start_with_fault(&c, "delay:250", commands_of_open(1) + 5, &so);
    submit_all(&c, io, HV_STORVSC_READ);
    wait_all(&c, io);
    t = count(io, REQUESTS);
    CU_ASSERT(t.good == REQUESTS && t.twice == 0);
    hv_storvsc_get_stats(hv_storvsc_queue(c.storvsc, 0), &stats);
    CU_ASSERT_EQUAL(stats.timeouts, 1);
    CU_ASSERT_EQUAL(stats.resets, 1);
    CU_ASSERT_EQUAL(hv_storvsc_poll(hv_storvsc_queue(c.storvsc, 0)), 0);
    client_close(&c);
    machine_stop(m);
}

static void test_drop_in_scan(void)
{
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct machine_opts mo;
    struct machine *m;
    struct client c;

    so.timeout_ms = 60;
    machine_opts_init(&mo);
    mo.storvsp.fault = "drop@20";
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, &so), -ETIMEDOUT);
    client_close(&c);
    machine_stop(m);
}

/* ---- Requests of several commands ---- */

static void test_split_fails_once(void)
{
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct client_io io;
    char plan[64];

    (void)snprintf(plan, sizeof(plan), "medium-error@%u", commands_of_open(1) + 4);
    machine_opts_init(&mo);
    mo.storvsp.max_transfer_bytes = 65536;
    mo.storvsp.fault = plan;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, NULL), 0);
    client_io_init(&io, HV_STORVSC_READ, 0, 4096, c.memory, 2u << 20);
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), -EIO);
    CU_ASSERT_EQUAL(io.done_count, 1);
    CU_ASSERT_EQUAL(io.result.sense_key, HV_SENSE_MEDIUM_ERROR);
    CU_ASSERT(io.result.bytes < 2u << 20);
    CU_ASSERT_EQUAL(hv_storvsc_in_flight(hv_storvsc_queue(c.storvsc, 0)), 0);
    client_io_init(&io, HV_STORVSC_READ, 0, 4096, c.memory, 2u << 20);
    CU_ASSERT_EQUAL(client_run(&c, 0, &io), 0);
    client_close(&c);
    machine_stop(m);
}

static void test_split_dies_once(void)
{
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct client_io io[3];
    struct tally t;
    char plan[64];

    so.depth = 4; /* so that some have nothing in flight yet */
    (void)snprintf(plan, sizeof(plan), "wrong-id@%u", commands_of_open(1) + 2);
    machine_opts_init(&mo);
    mo.storvsp.max_transfer_bytes = 65536;
    mo.storvsp.fault = plan;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, &so), 0);
    client_io_init(&io[0], HV_STORVSC_READ, 0, 4096, c.memory, 2u << 20);
    CU_ASSERT_EQUAL(client_submit(&c, 0, &io[0]), 0);
    (void)client_wait(&c, 0, &io[0], 5000);
    CU_ASSERT_EQUAL(io[0].done_count, 0);
    check_reopen(&c, "split");
    t = count(io, 1);
    CU_ASSERT(t.failed == 1 && t.error == -EIO && t.twice == 0);
    client_close(&c);
    machine_stop(m);
}

/* Close with everything in flight: each callback once, -ENODEV. */
static void test_close_in_flight(void)
{
    static struct client_io io[REQUESTS];
    struct client c;
    struct machine *m = start_with_fault(&c, "delay:300", commands_of_open(1) + 3, NULL);
    struct tally t;

    submit_all(&c, io, HV_STORVSC_READ);
    CU_ASSERT_EQUAL(hv_storvsc_flush(hv_storvsc_queue(c.storvsc, 0)), 0);
    client_close(&c);
    t = count(io, REQUESTS);
    CU_ASSERT(t.missing == 0 && t.twice == 0 && t.failed > 0 && t.error == -ENODEV);
    machine_stop(m);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"protocol violations", test_violations},
        {"violations while opening", test_violation_in_scan},
        {"errors and retries", test_errors},
        {"busy for ever", test_busy_for_ever},
        {"no answer: reset ladder", test_ladder},
        {"late answer", test_late_answer},
        {"no answer while opening", test_drop_in_scan},
        {"split request fails once", test_split_fails_once},
        {"split request dies once", test_split_dies_once},
        {"close in flight", test_close_in_flight},
    };

    return hv_test_main("storvsc.faults", cases, HV_TEST_COUNT(cases), argc, argv);
}
