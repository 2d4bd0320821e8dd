/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread per channel, as programs run it: each owns a queue and a part of the disk and memory, spins and sleeps,
 * while disks come and go.  Run under ThreadSanitizer by its preset.
 */
#include "storvsc_client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <suite.h>

#define THREADS     4u
#define IN_FLIGHT   16u
#define ROUNDS      1500u
#define IO_BYTES    8192u
#define PART_BLOCKS 1024u /* of the disk, each thread's own */

struct thread {
    pthread_t thread;
    struct hv_storvsc_queue *queue;
    uint8_t *memory;
    unsigned index, left, running, wrong;
    int error;
    struct slot {
        struct client_io io;
        struct thread *thread;
        bool reading; /* what was written before */
        uint8_t fill;
    } slots[IN_FLIGHT];
    _Atomic bool finished;
};

static void next(struct slot *slot);

static void slot_done(struct hv_storvsc_request *request, const struct hv_storvsc_result *result)
{
    struct slot *slot = request->arg;
    struct thread *t = slot->thread;
    const uint8_t *data = slot->io.iov.iov_base;

    t->running--;
    if (result->error)
        t->error = result->error;
    if (slot->reading)
        for (unsigned i = 0; i < IO_BYTES; i += 511)
            t->wrong += data[i] != slot->fill;
    slot->reading = !slot->reading;
    if (t->left && !t->error) {
        t->left--;
        next(slot);
    }
}

static void next(struct slot *slot)
{
    struct thread *t = slot->thread;
    unsigned n = (unsigned)(slot - t->slots);
    uint8_t *data = t->memory + (size_t)n * 2 * IO_BYTES + (n % 3) * 512;
    uint64_t lba = t->index * PART_BLOCKS + n * (IO_BYTES / 512);
    int rc;

    if (!slot->reading)
        slot->fill = (uint8_t)(slot->fill * 5 + t->index + 1);
    memset(data, slot->reading ? 0 : slot->fill, IO_BYTES);
    client_io_init(&slot->io, slot->reading ? HV_STORVSC_READ : HV_STORVSC_WRITE, lba,
                   IO_BYTES / 512, data, IO_BYTES);
    slot->io.request.arg = slot;
    slot->io.request.done = slot_done;
    rc = hv_storvsc_submit(t->queue, &slot->io.request);
    if (rc)
        t->error = rc;
    else
        t->running++;
}

static void *run(void *arg)
{
    struct thread *t = arg;
    unsigned idle = 0;

    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        t->slots[i] = (struct slot){.thread = t};
        next(&t->slots[i]);
    }
    while (t->running && !t->error) {
        struct pollfd fd = {.fd = hv_storvsc_queue_fd(t->queue), .events = POLLIN};
        int rc = hv_storvsc_poll(t->queue);

        if (rc < 0)
            t->error = rc;
        if (rc || ++idle < 20)
            continue;
        idle = 0;
        if (!hv_storvsc_arm(t->queue))
            (void)poll(&fd, 1, hv_storvsc_next_deadline_ms(t->queue));
        hv_storvsc_disarm(t->queue);
    }
    atomic_store(&t->finished, true);
    return NULL;
}

static bool all_finished(struct thread *threads)
{
    for (unsigned i = 1; i < THREADS; i++)
        if (!atomic_load(&threads[i].finished))
            return false;
    return true;
}

static void test_threads(void)
{
    static struct thread threads[THREADS];
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    unsigned turns = 0;

    so.channels = THREADS;
    machine_opts_init(&mo);
    mo.host.workers_per_guest = 2;
    mo.storvsp.max_sub_channels = THREADS;
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, &so), 0);
    CU_ASSERT_EQUAL(hv_storvsc_queue_count(c.storvsc), THREADS);
    for (unsigned i = 1; i < THREADS; i++) {
        threads[i] = (struct thread){.queue = hv_storvsc_queue(c.storvsc, (uint16_t)i),
                                     .memory = c.memory + (size_t)i * (1u << 20),
                                     .index = i,
                                     .left = ROUNDS};
        CU_ASSERT_EQUAL(pthread_create(&threads[i].thread, NULL, run, &threads[i]), 0);
    }
    /* Queue 0 is ours: disks change while the others work. */
    while (!all_finished(threads) || turns < 4) {
        if (turns % 2 == 0) {
            machine_attach(m, 1, 1u << 20);
            machine_resize(m, 0, (uint64_t)(16 + turns) << 20);
        } else {
            machine_detach(m, 1);
        }
        turns++;
        c.event_count = 0;
        CU_ASSERT_PTR_NOT_NULL(client_wait_event(
            &c, turns % 2 ? HV_STORVSC_LUN_ADDED : HV_STORVSC_LUN_REMOVED, 10000));
    }
    for (unsigned i = 1; i < THREADS; i++) {
        (void)pthread_join(threads[i].thread, NULL);
        CU_ASSERT_EQUAL(threads[i].error, 0);
        CU_ASSERT_EQUAL(threads[i].wrong, 0);
        CU_ASSERT_EQUAL(threads[i].left, 0);
    }
    client_close(&c);
    machine_stop(m);
}

/* A violation on a sub-channel: its thread sees it, queue 0 tells, the others go on until the reopen. */
static void test_one_queue_dies(void)
{
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    struct machine_opts mo;
    struct machine *m;
    struct client c;
    struct client_io io;
    unsigned n = 0;

    so.channels = 2;
    machine_opts_init(&mo);
    mo.storvsp.max_sub_channels = 1;
    mo.storvsp.fault = "wrong-id@60";
    m = machine_start(&mo);
    CU_ASSERT_EQUAL(client_open(&c, m, &so), 0);
    do {
        client_io_init(&io, HV_STORVSC_READ, 0, 1, c.memory, 512);
        CU_ASSERT_EQUAL(client_submit(&c, 1, &io), 0);
    } while (client_wait(&c, 1, &io, 5000) && n++ < 100);
    CU_ASSERT_EQUAL(hv_storvsc_poll(hv_storvsc_queue(c.storvsc, 1)), -EPROTO);
    CU_ASSERT_PTR_NOT_NULL(client_wait_event(&c, HV_STORVSC_DEAD, 5000));
    CU_ASSERT_EQUAL(hv_storvsc_poll(hv_storvsc_queue(c.storvsc, 0)), 0);
    CU_ASSERT_EQUAL(io.done_count, 0);
    CU_ASSERT_EQUAL(hv_storvsc_reopen(c.storvsc, c.bus), 0);
    CU_ASSERT_EQUAL(io.done_count, 1);
    CU_ASSERT_EQUAL(io.result.error, -EIO);
    client_close(&c);
    machine_stop(m);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"a thread per channel", test_threads},
        {"one queue dies", test_one_queue_dies},
    };

    return hv_test_main("storvsc.threads", cases, HV_TEST_COUNT(cases), argc, argv);
}
