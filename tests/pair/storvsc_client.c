/* SPDX-License-Identifier: BSD-3-Clause */
#include "storvsc_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUN_LIMIT_MS 20000u

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void remember(void *arg, enum hv_storvsc_event event, const struct hv_storvsc_lun *lun)
{
    struct client *c = arg;

    if (c->event_count == CLIENT_EVENTS_MAX)
        return;
    c->events[c->event_count].event = event;
    c->events[c->event_count].lun = lun ? *lun : (struct hv_storvsc_lun){0};
    c->event_count++;
}

static void get_memory(struct client *c)
{
    if (hv_dma_alloc(c->bus, CLIENT_DMA_BYTES, &c->dma)) {
        fprintf(stderr, "client: no DMA memory\n");
        abort();
    }
    c->memory = hv_dma_address(c->dma);
}

int client_open(struct client *c, struct machine *machine, const struct hv_storvsc_opts *opts)
{
    struct hv_storvsc_opts o = HV_STORVSC_OPTS_INIT;

    *c = (struct client){.machine = machine};
    if (opts)
        o = *opts;
    o.log = machine_log(machine);
    o.event = remember;
    o.event_arg = c;
    c->bus = machine_bus(machine);
    get_memory(c);
    return hv_storvsc_open(c->bus, NULL, &o, &c->storvsc);
}

void client_close(struct client *c)
{
    hv_storvsc_close(c->storvsc);
    hv_dma_free(c->dma);
    hv_vmbus_close(c->bus);
    *c = (struct client){0};
}

int client_reopen_on_new_bus(struct client *c)
{
    struct hv_vmbus *old = c->bus;
    int rc;

    c->bus = machine_bus(c->machine);
    rc = hv_storvsc_reopen(c->storvsc, c->bus);
    hv_dma_free(c->dma);
    hv_vmbus_close(old);
    get_memory(c);
    return rc;
}

static void io_done(struct hv_storvsc_request *request, const struct hv_storvsc_result *result)
{
    struct client_io *io = request->arg;

    io->result = *result;
    io->result.sense = NULL;
    io->done_count++;
}

void client_io_init(struct client_io *io, enum hv_storvsc_op op, uint64_t lba, uint64_t blocks,
                    void *data, size_t bytes)
{
    *io = (struct client_io){.iov = {data, bytes}};
    io->request.op = op;
    io->request.lba = lba;
    io->request.block_count = blocks;
    io->request.iov = &io->iov;
    io->request.iov_count = bytes ? 1 : 0;
    io->request.done = io_done;
    io->request.arg = io;
}

/* Control thread and owner of the queue in one: sleep on both. */
static void nap(struct client *c, struct hv_storvsc_queue *queue, unsigned limit_ms)
{
    struct pollfd fds[2] = {
        {.fd = hv_storvsc_queue_fd(queue), .events = POLLIN},
        {.fd = hv_vmbus_fd(c->bus), .events = POLLIN},
    };
    int ms = hv_storvsc_next_deadline_ms(queue);

    if (ms < 0 || (unsigned)ms > limit_ms)
        ms = (int)limit_ms;
    if (!hv_storvsc_arm(queue))
        (void)poll(fds, 2, ms);
    hv_storvsc_disarm(queue);
}

int client_submit(struct client *c, uint16_t queue, struct client_io *io)
{
    struct hv_storvsc_queue *q = hv_storvsc_queue(c->storvsc, queue);
    uint64_t end = now_ms() + RUN_LIMIT_MS;
    int rc;

    while ((rc = hv_storvsc_submit(q, &io->request)) == -EAGAIN && now_ms() < end)
        if (hv_storvsc_poll(q) == 0)
            nap(c, q, 100);
    return rc;
}

bool client_wait(struct client *c, uint16_t queue, const struct client_io *io, unsigned limit_ms)
{
    struct hv_storvsc_queue *q = hv_storvsc_queue(c->storvsc, queue);
    uint64_t end = now_ms() + limit_ms;

    while (!io->done_count) {
        uint64_t now = now_ms();
        int rc = hv_storvsc_poll(q);

        if (rc < 0 || now >= end)
            break;
        (void)hv_vmbus_poll(c->bus);
        if (rc == 0 && !io->done_count)
            nap(c, q, (unsigned)(end - now));
    }
    return io->done_count == 1;
}

int client_run(struct client *c, uint16_t queue, struct client_io *io)
{
    int rc = client_submit(c, queue, io);

    if (rc)
        return rc;
    return client_wait(c, queue, io, RUN_LIMIT_MS) ? io->result.error : -ETIME;
}

const struct client_event *client_wait_event(struct client *c, enum hv_storvsc_event event,
                                             unsigned limit_ms)
{
    struct hv_storvsc_queue *q = hv_storvsc_queue(c->storvsc, 0);
    uint64_t end = now_ms() + limit_ms;
    size_t seen = 0;

    for (;;) {
        uint64_t now = now_ms();
        int rc;

        for (; seen < c->event_count; seen++)
            if (c->events[seen].event == event)
                return &c->events[seen];
        if (now >= end)
            return NULL;
        rc = hv_storvsc_poll(q);
        (void)hv_vmbus_poll(c->bus);
        if (rc == 0 && seen == c->event_count)
            nap(c, q, (unsigned)(end - now));
    }
}
