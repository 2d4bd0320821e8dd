/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest with one open controller, for the pair tests of storvsc. */
#ifndef HV_TEST_STORVSC_CLIENT_H
#define HV_TEST_STORVSC_CLIENT_H

#include <machine.h>

#define CLIENT_EVENTS_MAX 64
#define CLIENT_DMA_BYTES  (8u << 20)

struct client_event {
    enum hv_storvsc_event event;
    struct hv_storvsc_lun lun;
};

struct client {
    struct machine *machine;
    struct hv_vmbus *bus;
    struct hv_storvsc *storvsc;
    struct hv_dma *dma;
    uint8_t *memory; /* CLIENT_DMA_BYTES of DMA memory */
    struct client_event events[CLIENT_EVENTS_MAX];
    size_t event_count;
};

/** A request and what became of it. */
struct client_io {
    struct hv_storvsc_request request;
    struct iovec iov;
    struct hv_storvsc_result result; /* `sense` points nowhere */
    unsigned done_count;
};

/** 0 or what hv_storvsc_open() said; the bus is open in either case.  `opts` may be NULL. */
int client_open(struct client *client, struct machine *machine, const struct hv_storvsc_opts *opts);
void client_close(struct client *client);
/** Give up the bus for a new one, as after the death of a host; the old one is closed after the reopen. */
int client_reopen_on_new_bus(struct client *client);

/** Fill in a READ, WRITE, ... of one piece of memory, LUN 0. */
void client_io_init(struct client_io *io, enum hv_storvsc_op op, uint64_t lba, uint64_t blocks,
                    void *data, size_t bytes);
/** Submit, again while -EAGAIN. */
int client_submit(struct client *client, uint16_t queue, struct client_io *io);
/** Poll the queue, sleeping in between, until `io` is done, the queue is dead or `limit_ms` is over.  True when done. */
bool client_wait(struct client *client, uint16_t queue, const struct client_io *io,
                 unsigned limit_ms);
/** Submit and wait; the result's error, or that of submit. */
int client_run(struct client *client, uint16_t queue, struct client_io *io);
/** Poll queue 0 until an event of this kind came (and return it) or `limit_ms` is over (NULL). */
const struct client_event *client_wait_event(struct client *client, enum hv_storvsc_event event,
                                             unsigned limit_ms);

#endif
