/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One disk, a queue in each of several threads: COMPARE AND WRITE is atomic, PREEMPT AND ABORT leaves nothing on its
 * way, attentions are told once.  Meant for ThreadSanitizer too: what the disk must keep apart is kept apart by it
 * alone, on memory that everybody writes.
 */
#include "scsi_rig.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hv/base/endian.h>

#include "suite.h"

#define IMAGE   "test_scsi_threads.img"
#define THREADS 3
#define BLOCKS  64 /* of the region everybody writes */
#define DEPTH   8

static const struct {
    const char *name;
    enum hv_disk_store store;
    bool buffered;
    int increments, rounds;
} kinds[] = {
    {"memory", HV_DISK_MEMORY, false, 2000, 200},
    {"buffered file", HV_DISK_FILE, true, 500, 100},
    {"direct file", HV_DISK_FILE, false, 100, 40},
};

static int open_kind(struct scsi_rig *rig, size_t kind)
{
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;
    int err;

    (void)unlink(IMAGE);
    opts.store = kinds[kind].store;
    opts.path = IMAGE;
    opts.bytes = 1u << 20;
    opts.buffered = kinds[kind].buffered;
    err = scsi_rig_open(rig, opts);
    HV_CHECK_ROW(kinds[kind].name, err == 0);
    return err;
}

static struct scsi_result run(struct hv_disk_queue *queue, uint64_t who, const uint8_t *cdb,
                              size_t cdb_bytes, uint8_t direction, void *data, size_t bytes)
{
    struct iovec iov = {.iov_base = data, .iov_len = bytes};

    return scsi_run_iov(queue, who, cdb, cdb_bytes, direction, &iov, bytes != 0);
}

struct counter {
    struct hv_disk *disk;
    uint64_t who;
    int increments;
    _Atomic int failed;
};

static bool is_miscompare(struct scsi_result r)
{
    return scsi_is_sense(r, HV_SENSE_MISCOMPARE, HV_ASC_MISCOMPARE);
}

/* Count up in block 0, together with others; write a block of its own in between. */
static void *count_up(void *arg)
{
    struct counter *c = arg;
    uint8_t *data = aligned_alloc(4096, 4096), cdb[16], caw[16] = {HV_SCSI_COMPARE_AND_WRITE};
    struct hv_disk_queue *queue = NULL;

    c->failed = hv_disk_queue_create(c->disk, 16, &queue) != 0;
    caw[13] = 1;
    for (int i = 0; i < c->increments && !c->failed; i++) {
        struct scsi_result r;

        do {
            scsi_cdb16(cdb, HV_SCSI_READ_16, 0, 0, 1);
            r = run(queue, c->who, cdb, 16, HV_VSTOR_DATA_IN, data, 512);
            memcpy(data + 512, data, 512);
            hv_put_be64(data + 512, hv_get_be64(data) + 1);
            if (r.status == 0)
                r = run(queue, c->who, caw, 16, HV_VSTOR_DATA_OUT, data, 1024);
        } while (is_miscompare(r));
        c->failed |= !scsi_is_good(r, 1024);
        scsi_cdb16(cdb, HV_SCSI_WRITE_16, 0, c->who, 1);
        c->failed |= !scsi_is_good(run(queue, c->who, cdb, 16, HV_VSTOR_DATA_OUT, data, 512), 512);
    }
    hv_disk_queue_destroy(queue);
    free(data);
    return NULL;
}

static void test_threads_compare_and_write(void)
{
    for (size_t kind = 0; kind < HV_TEST_COUNT(kinds); kind++) {
        struct counter c[THREADS];
        pthread_t thread[THREADS];
        struct scsi_rig rig;
        uint8_t data[512];

        if (open_kind(&rig, kind) == 0) {
            for (int i = 0; i < THREADS; i++) {
                c[i] = (struct counter){.disk = rig.disk,
                                        .who = (uint64_t)i + 10,
                                        .increments = kinds[kind].increments};
                CU_ASSERT_FATAL(pthread_create(&thread[i], NULL, count_up, &c[i]) == 0);
            }
            for (int i = 0; i < THREADS; i++) {
                CU_ASSERT(pthread_join(thread[i], NULL) == 0);
                HV_CHECK_ROW(kinds[kind].name, !c[i].failed);
            }
            CU_ASSERT(scsi_is_good(scsi_read(&rig, 0, 1, 0, data), 512));
            HV_CHECK_ROW(kinds[kind].name,
                         hv_get_be64(data) == (uint64_t)THREADS * (uint64_t)kinds[kind].increments);
        }
        scsi_rig_close(&rig);
    }
    (void)unlink(IMAGE);
}

/* Somebody who writes, several commands in flight, until refused. */
struct writer {
    struct hv_disk *disk;
    struct hv_scsi_command command[DEPTH];
    struct iovec iov[DEPTH];
    uint8_t *data;
    int in_flight;
    _Atomic int unexpected;
    bool refused;
    _Atomic int writes; /* for the other thread: it has begun */
};

static void written(struct hv_scsi_command *command)
{
    struct writer *w = command->arg;

    w->in_flight--;
    if (command->scsi_status == HV_SCSI_STATUS_GOOD)
        w->writes++;
    else if (command->scsi_status == HV_SCSI_STATUS_RESERVATION_CONFLICT)
        w->refused = true;
    else
        w->unexpected++;
}

static void *write_on(void *arg)
{
    struct writer *w = arg;
    struct hv_disk_queue *queue = NULL;
    bool busy[DEPTH] = {false};
    uint32_t block = 0;

    w->unexpected = hv_disk_queue_create(w->disk, DEPTH, &queue) != 0;
    while (queue && (!w->refused || w->in_flight)) {
        for (int i = 0; i < DEPTH && !w->refused && !w->in_flight; i++)
            busy[i] = false; /* a burst at a time */
        for (int i = 0; i < DEPTH && !w->refused; i++) {
            struct hv_scsi_command *c = &w->command[i];

            if (busy[i])
                continue;
            busy[i] = true;
            scsi_cdb16(c->cdb, HV_SCSI_WRITE_16, 0, block++ % BLOCKS, 1);
            c->cdb_bytes = 16;
            c->data_direction = HV_VSTOR_DATA_OUT;
            c->data_bytes = 512;
            c->initiator = 2;
            w->iov[i] = (struct iovec){.iov_base = w->data, .iov_len = 512};
            c->iov = &w->iov[i];
            c->iov_count = 1;
            c->done = written;
            c->arg = w;
            w->in_flight++;
            hv_disk_execute(queue, c);
        }
        hv_disk_queue_flush(queue);
        (void)hv_disk_queue_poll(queue);
    }
    hv_disk_queue_destroy(queue);
    return NULL;
}

static struct scsi_result pr_out(struct hv_disk_queue *queue, uint64_t who, uint8_t action,
                                 uint64_t key, uint64_t new_key)
{
    uint8_t cdb[10] = {HV_SCSI_PERSISTENT_RESERVE_OUT, action, 5, [8] = 24}, list[24] = {0};

    hv_put_be64(list, key);
    hv_put_be64(list + 8, new_key);
    return run(queue, who, cdb, 10, HV_VSTOR_DATA_OUT, list, 24);
}

/* 1 throws 2 out while it writes, then writes everything itself: nothing of 2 may come after that. */
static bool preempt_round(struct scsi_rig *rig)
{
    uint8_t *mine = aligned_alloc(4096, BLOCKS * 512), *in = aligned_alloc(4096, BLOCKS * 512);
    struct writer *w = calloc(1, sizeof(*w));
    pthread_t thread;
    bool good;

    memset(mine, 0xaa, BLOCKS * 512);
    w->disk = rig->disk;
    w->data = aligned_alloc(4096, 4096);
    memset(w->data, 0xbb, 4096);
    good = scsi_is_good(pr_out(rig->queue, 2, 6, 0, 22), 24);
    CU_ASSERT_FATAL(pthread_create(&thread, NULL, write_on, w) == 0);
    while (w->writes < 20 && !w->unexpected)
        (void)sched_yield(); /* the round is about a writer in full swing */
    good = scsi_is_good(pr_out(rig->queue, 1, 5, 11, 22), 24) && good;
    good = scsi_is_good(scsi_write(rig, 0, BLOCKS, 0, mine), BLOCKS * 512) && good;
    CU_ASSERT(pthread_join(thread, NULL) == 0);
    good = scsi_is_good(scsi_read(rig, 0, BLOCKS, 0, in), BLOCKS * 512) && good;
    good = good && w->refused && !w->unexpected && memcmp(in, mine, BLOCKS * 512) == 0;
    /* And is told when it may talk again. */
    good = run(rig->queue, 2, (const uint8_t[6]){0}, 6, HV_VSTOR_DATA_NONE, NULL, 0).asc ==
               HV_ASC_REGISTRATIONS_PREEMPTED &&
           good;
    free(w->data);
    free(w);
    free(mine);
    free(in);
    return good;
}

static void test_threads_preempt_and_abort(void)
{
    for (size_t kind = 0; kind < HV_TEST_COUNT(kinds); kind++) {
        struct scsi_rig rig;

        if (open_kind(&rig, kind) == 0) {
            CU_ASSERT(scsi_is_good(pr_out(rig.queue, 1, 0, 0, 11), 24));
            CU_ASSERT(scsi_is_good(pr_out(rig.queue, 1, 1, 11, 0), 24));
            for (int i = 0; i < kinds[kind].rounds; i++)
                HV_CHECK_ROW(kinds[kind].name, preempt_round(&rig));
        }
        scsi_rig_close(&rig);
    }
    (void)unlink(IMAGE);
}

struct listener {
    struct hv_disk *disk;
    uint64_t who;
    _Atomic int heard;
    _Atomic bool stop;
    _Atomic int failed;
};

static void *listen(void *arg)
{
    struct listener *l = arg;
    struct hv_disk_queue *queue = NULL;
    uint8_t cdb[16], data[512];

    l->failed = hv_disk_queue_create(l->disk, 4, &queue) != 0;
    scsi_cdb16(cdb, HV_SCSI_READ_16, 0, 0, 1);
    while (!l->stop && !l->failed) {
        struct scsi_result r = run(queue, l->who, cdb, 16, HV_VSTOR_DATA_IN, data, 512);

        if (scsi_is_sense(r, HV_SENSE_UNIT_ATTENTION, HV_ASC_LUNS_CHANGED))
            l->heard++;
        else
            l->failed |= !scsi_is_good(r, 512);
    }
    hv_disk_queue_destroy(queue);
    return NULL;
}

static void test_threads_attention(void)
{
    struct listener l[2];
    pthread_t thread[2];
    struct scsi_rig rig;

    CU_ASSERT_FATAL(scsi_rig_memory(&rig, 1u << 20) == 0);
    for (uint64_t i = 0; i < 2; i++) {
        l[i] = (struct listener){.disk = rig.disk, .who = i};
        /* Known before the first change, whenever its thread begins. */
        CU_ASSERT(run(rig.queue, i, (const uint8_t[6]){0}, 6, HV_VSTOR_DATA_NONE, NULL, 0).status ==
                  0);
        CU_ASSERT_FATAL(pthread_create(&thread[i], NULL, listen, &l[i]) == 0);
    }
    for (int n = 1; n <= 300; n++) {
        hv_disk_raise_attention(rig.disk, HV_ASC_LUNS_CHANGED);
        while ((l[0].heard < n || l[1].heard < n) && !l[0].failed && !l[1].failed)
            (void)sched_yield();
        hv_disk_forget_initiator(rig.disk, 77); /* somebody else's leaving changes nothing */
    }
    for (int i = 0; i < 2; i++) {
        l[i].stop = true;
        CU_ASSERT(pthread_join(thread[i], NULL) == 0);
        CU_ASSERT(!l[i].failed && l[i].heard == 300);
    }
    scsi_rig_close(&rig);
}

struct one {
    struct hv_scsi_command command;
    struct iovec iov;
    uint8_t *data;
    int done;
};

static void one_done(struct hv_scsi_command *command)
{
    struct one *one = command->arg;

    one->done++;
}

/* Start, without submitting. */
static void one_start(struct one *one, struct hv_disk_queue *queue, uint64_t who, uint8_t opcode,
                      uint8_t flags, uint32_t bytes)
{
    struct hv_scsi_command *c = &one->command;

    if (!one->data)
        one->data = aligned_alloc(4096, 4096);
    one->done = 0;
    one->iov = (struct iovec){.iov_base = one->data, .iov_len = bytes};
    scsi_cdb16(c->cdb, opcode, flags, 0, 1);
    if (opcode == HV_SCSI_COMPARE_AND_WRITE)
        c->cdb[13] = 1;
    c->cdb_bytes = 16;
    c->data_direction = opcode == HV_SCSI_READ_16 ? HV_VSTOR_DATA_IN : HV_VSTOR_DATA_OUT;
    c->data_bytes = bytes;
    c->initiator = who;
    c->iov = &one->iov;
    c->iov_count = 1;
    c->done = one_done;
    c->arg = one;
    hv_disk_execute(queue, c);
}

static void poll_until(struct hv_disk_queue *queue, const struct one *one)
{
    while (!one->done) {
        struct pollfd p = {.fd = hv_disk_queue_fd(queue), .events = POLLIN};

        if (!hv_disk_queue_poll(queue))
            (void)poll(&p, 1, -1);
    }
}

static bool is_ready(struct hv_disk_queue *queue)
{
    struct pollfd p = {.fd = hv_disk_queue_fd(queue), .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

/* Who wants to be alone waits for what other queues have begun; who comes then waits until that is over. */
static void test_threads_step_by_step(void)
{
    struct one write = {.done = 0}, compare = {.done = 0}, second = {.done = 0}, read = {.done = 0};
    struct hv_disk_queue *other = NULL;
    struct scsi_rig rig;

    if (open_kind(&rig, 2) || !hv_disk_is_direct(rig.disk)) {
        fprintf(stderr, "(no O_DIRECT here: this order of events is not tested)\n");
        scsi_rig_close(&rig);
        return;
    }
    CU_ASSERT_FATAL(hv_disk_queue_create(rig.disk, 4, &other) == 0);
    write.data = aligned_alloc(4096, 4096);
    memset(write.data, 1, 4096);
    compare.data = aligned_alloc(4096, 4096);
    memset(compare.data, 1, 512);
    memset(compare.data + 512, 2, 512);
    second.data = aligned_alloc(4096, 4096);
    memset(second.data, 2, 512);
    memset(second.data + 512, 3, 512);
    one_start(&write, other, 2, HV_SCSI_WRITE_16, 0, 512); /* begun, not submitted */
    one_start(&compare, rig.queue, 1, HV_SCSI_COMPARE_AND_WRITE, 0, 1024);
    for (int i = 0; i < 10; i++) {
        hv_disk_queue_flush(rig.queue);
        CU_ASSERT(hv_disk_queue_poll(rig.queue) == 0);
    }
    CU_ASSERT(!compare.done && !write.done && hv_disk_queue_in_flight(rig.queue) == 1);
    one_start(&second, other, 2, HV_SCSI_COMPARE_AND_WRITE, 0, 1024); /* both have to wait now */
    one_start(&read, other, 2, HV_SCSI_READ_16, 0, 512);
    hv_disk_queue_flush(other);
    poll_until(other, &write);
    CU_ASSERT(is_ready(rig.queue)); /* woken by the last command of the other queue */
    CU_ASSERT(hv_disk_queue_poll(other) == 0 && !read.done && !second.done);
    poll_until(rig.queue, &compare);
    CU_ASSERT(compare.command.scsi_status == HV_SCSI_STATUS_GOOD); /* it saw the write */
    CU_ASSERT(is_ready(other)); /* and those that waited are woken */
    poll_until(other, &second);
    poll_until(other, &read);
    CU_ASSERT(second.command.scsi_status == HV_SCSI_STATUS_GOOD);
    CU_ASSERT(read.data[0] == 3 && read.data[511] == 3);
    CU_ASSERT(!hv_disk_queue_in_flight(other) && !hv_disk_queue_in_flight(rig.queue));
    hv_disk_queue_destroy(other);
    scsi_rig_close(&rig);
    (void)unlink(IMAGE);
    free(write.data);
    free(compare.data);
    free(second.data);
    free(read.data);
}

static const struct hv_test_case cases[] = {
    {"alone, step by step", test_threads_step_by_step},
    {"COMPARE AND WRITE is atomic", test_threads_compare_and_write},
    {"PREEMPT AND ABORT leaves nothing behind", test_threads_preempt_and_abort},
    {"attentions are told once", test_threads_attention},
};

int main(int argc, char **argv)
{
    return hv_test_main("scsi threads", cases, HV_TEST_COUNT(cases), argc, argv);
}
