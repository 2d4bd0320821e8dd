/* SPDX-License-Identifier: BSD-3-Clause */
/* The ublk side of a reactor: commands of the kernel to requests and back. */
#include "reactor_ublk.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "log.h"
#include "ublk_queue.h"

#define RING_ENTRIES   256u       /* commits of one turn; more are sent in between */
#define RING_CQ_SIZE   4096u      /* more completions than that wait in the kernel */
#define OTHERS         UINT64_MAX /* user data of the request that watches everything else */
#define TAG_BITS       12
#define TAG_OF(data)   ((uint16_t)((data) & ((1u << TAG_BITS) - 1)))
#define PLACE_OF(data) ((uint32_t)((data) >> TAG_BITS))

struct reactor_ublk {
    struct io_uring ring;
    struct ublk_queue *queues[UBLK_RING_QUEUES];
    uint32_t place_count; /* used ones are below */
    uint32_t starved;     /* requests that wait for memory, of all queues */
    bool to_send;
    bool watching; /* a request of the ring waits for the epoll set */
};

/* ---- Commands to the kernel ---- */

static void command(struct ublk_queue *queue, unsigned long op, uint16_t tag, int result)
{
    struct reactor_ublk *ublk = queue->reactor->ublk;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ublk->ring);
    const struct ublk_tag *state = &queue->tags[tag];
    const struct ublkw_io wire = {
        .queue = queue->opts.index,
        .tag = tag,
        .result = result,
        .address = state->buffer ? (uintptr_t)state->buffer->data : 0,
    };

    if (!sqe) { /* full: the kernel takes all of them at once */
        (void)io_uring_submit(&ublk->ring);
        sqe = io_uring_get_sqe(&ublk->ring);
    }
    if (!sqe) { /* it did not: memory is so short that nothing helps */
        log_line(HV_LOG_ERROR, "ublk: the kernel takes no commands; tag %u is lost", tag);
        return;
    }
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = queue->opts.fd;
    sqe->cmd_op = (uint32_t)op;
    memcpy(sqe->cmd, &wire, sizeof(wire));
    sqe->user_data = (uint64_t)queue->place << TAG_BITS | tag;
    ublk->to_send = true;
}

static void commit(struct ublk_queue *queue, uint16_t tag, int result)
{
    stats_add(&queue->requests, 1);
    if (result < 0)
        stats_add(&queue->errors, 1);
    command(queue, UBLKW_COMMIT_FETCH, tag, result);
}

/* ---- Memory ---- */

static bool has_data(const struct io *io)
{
    return io->type == NBD_CMD_READ || io->type == NBD_CMD_WRITE;
}

/** Move data of a request between its memory and ours.  0 or -EIO. */
static int copy_data(const struct ublk_queue *queue, const struct io *io)
{
    struct iovec iov[BUFFER_PER_REQUEST];
    int count = (int)io_data_iov(io, 0, (uint32_t)io->length, iov);
    off_t at = (off_t)ublkw_data_offset(queue->opts.index, (uint16_t)io->cookie);
    ssize_t moved;

    /* The kernel moves all of a request or none. */
    if (io->type == NBD_CMD_WRITE)
        moved = preadv(queue->opts.fd, iov, count, at);
    else
        moved = pwritev(queue->opts.fd, iov, count, at);
    return moved == (ssize_t)io->length ? 0 : -EIO;
}

/** False: none free now. */
static bool take_memory(struct ublk_queue *queue, struct io *io)
{
    struct nbd_engine *engine = &queue->reactor->engine;

    if (!has_data(io))
        return true;
    if (!queue->opts.user_copy) { /* lent by the tag */
        io->buffer[0] = queue->tags[io->cookie].buffer;
        io->buffer_count = 1;
        return true;
    }
    io->buffer_count = buffer_take(&engine->buffers, (uint32_t)io->length, io->buffer);
    return io->buffer_count != 0;
}

static void give_memory(struct ublk_queue *queue, struct io *io)
{
    if (!queue->opts.user_copy)
        io->buffer_count = 0; /* the tag keeps it */
    nbd_release(&queue->reactor->engine, io);
}

static void starve(struct ublk_queue *queue, uint16_t tag)
{
    uint16_t link = (uint16_t)(tag + 1);

    queue->tags[tag].next_starved = 0;
    if (queue->starved_last)
        queue->tags[queue->starved_last - 1].next_starved = link;
    else
        queue->starved_first = link;
    queue->starved_last = link;
    queue->reactor->ublk->starved++;
    stats_add(&queue->reactor->stats.stalls, 1);
}

/* ---- Requests ---- */

/** The kernel sent a request.  False = no memory for it now; nothing happened. */
static bool begin(struct ublk_queue *queue, uint16_t tag)
{
    struct nbd_engine *engine = &queue->reactor->engine;
    const struct lun *lun = &engine->luns->lun[queue->opts.slot];
    const struct ublkw_desc desc = queue->descs[tag];
    struct ublk_request request;
    struct io *io;
    int ret = -EIO;

    if (lun->identity == queue->opts.identity)
        ret = ublk_decode(&desc, lun, queue->opts.max_io_bytes, &request);
    if (ret) {
        log_line(HV_LOG_DEBUG, "ublk: queue %u tag %u: request 0x%x at %llu, %u sectors: %s",
                 queue->opts.index, tag, desc.op_flags, (unsigned long long)desc.start_sector,
                 desc.sectors, strerror(-ret));
        commit(queue, tag, ret);
        return true;
    }
    io = io_take(&engine->ios, 0);
    if (!io)
        return false;
    io->ublk = queue;
    io->conn = NULL;
    io->cookie = tag;
    io->offset = request.offset;
    io->length = request.length;
    io->type = request.type;
    io->flags = request.flags;
    io->slot = queue->opts.slot;
    io->start_ns = engine->now_ns;
    io->state = IO_WAITING;
    if (!take_memory(queue, io)) {
        io_give(&engine->ios, io);
        return false;
    }
    stats_add(&engine->stats->in_flight, 1);
    if (queue->opts.user_copy && io->type == NBD_CMD_WRITE && copy_data(queue, io))
        reactor_ublk_finish(io, NBD_EIO);
    else
        engine->start(engine, io);
    return true;
}

void reactor_ublk_finish(struct io *io, enum nbd_error error)
{
    struct ublk_queue *queue = io->ublk;
    uint16_t tag = (uint16_t)io->cookie;
    int result = error ? -(int)error : has_data(io) ? (int)io->length : 0;

    if (!error && queue->opts.user_copy && io->type == NBD_CMD_READ && copy_data(queue, io)) {
        error = NBD_EIO;
        result = -EIO;
    }
    io->error = error;
    nbd_count_reply(io->engine, io);
    give_memory(queue, io);
    commit(queue, tag, result);
}

bool reactor_ublk_orphan(struct io *io)
{
    struct ublk_queue *queue = io->ublk;
    struct ublk_tag *tag = &queue->tags[io->cookie];

    if (has_data(io) && !queue->opts.user_copy) {
        struct buffer *fresh; /* the old one belongs to the host until the library lets go */

        if (!buffer_take(&queue->reactor->engine.buffers, queue->opts.max_io_bytes, &fresh))
            return false;
        tag->buffer = fresh;
    }
    io->ublk = NULL;
    io->error = NBD_EIO;
    nbd_count_reply(io->engine, io);
    commit(queue, (uint16_t)io->cookie, -EIO);
    return true;
}

/* ---- A turn ---- */

static void tag_ended(struct ublk_queue *queue, uint16_t tag, int result)
{
    struct mail news = {.kind = REACTOR_UBLK_ENDED, .data = queue};

    if (!queue->tags[tag].fetched)
        return;
    queue->tags[tag].fetched = false;
    queue->fetched--;
    if (result != -ENODEV && !queue->failed) { /* ENODEV: the device is stopped */
        log_line(HV_LOG_ERROR, "ublk: the kernel refuses a command of queue %u: %s",
                 queue->opts.index, strerror(-result));
        queue->failed = true;
    }
    if (!queue->fetched)
        (void)mailbox_post(queue->reactor->opts.news, &news);
}

static void receive(struct reactor_ublk *ublk, const struct io_uring_cqe *cqe)
{
    struct ublk_queue *queue;
    uint16_t tag = TAG_OF(cqe->user_data);

    if (cqe->user_data == OTHERS) { /* what there is stays in the epoll set until somebody looks */
        ublk->watching = false;
        return;
    }
    queue = ublk->queues[PLACE_OF(cqe->user_data)];
    if (cqe->res < 0)
        tag_ended(queue, tag, cqe->res);
    else if (queue->starved_first || !begin(queue, tag))
        starve(queue, tag);
}

static bool feed(struct reactor_ublk *ublk)
{
    bool any = false;

    for (uint32_t i = 0; ublk->starved && i < ublk->place_count; i++) {
        struct ublk_queue *queue = ublk->queues[i];

        while (queue && queue->starved_first) {
            uint16_t tag = (uint16_t)(queue->starved_first - 1);

            if (!begin(queue, tag))
                break;
            queue->starved_first = queue->tags[tag].next_starved;
            if (!queue->starved_first)
                queue->starved_last = 0;
            ublk->starved--;
            any = true;
        }
    }
    return any;
}

/** Completions that the kernel will only write down when asked. */
static bool kernel_has_more(const struct reactor_ublk *ublk)
{
    return IO_URING_READ_ONCE(*ublk->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

bool reactor_ublk_receive(struct reactor *reactor)
{
    struct reactor_ublk *ublk = reactor->ublk;
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    bool any;

    if (!ublk)
        return false;
    any = feed(ublk);
    if (kernel_has_more(ublk))
        (void)io_uring_get_events(&ublk->ring);
    io_uring_for_each_cqe(&ublk->ring, head, cqe)
    {
        receive(ublk, cqe);
        count++;
    }
    io_uring_cq_advance(&ublk->ring, count);
    if (count && reactor->probe && !reactor->found_ns)
        reactor->found_ns = hv_spin_clock_ns();
    return any || count;
}

bool reactor_ublk_send(struct reactor *reactor)
{
    struct reactor_ublk *ublk = reactor->ublk;
    int ret;

    if (!ublk || !ublk->to_send)
        return false;
    ret = io_uring_submit_and_get_events(&ublk->ring);
    ublk->to_send = ret < 0 || io_uring_sq_ready(&ublk->ring);
    return true;
}

bool reactor_ublk_waiting(const struct reactor *reactor)
{
    const struct reactor_ublk *ublk = reactor->ublk;

    return ublk && (ublk->to_send || kernel_has_more(ublk) || io_uring_cq_ready(&ublk->ring));
}

/* ---- Asleep ---- */

/** Sockets, messages and the device: one request of the ring waits for the epoll set of all of them. */
static void watch_others(struct reactor *reactor, struct reactor_ublk *ublk)
{
    struct io_uring_sqe *sqe = ublk->watching ? NULL : io_uring_get_sqe(&ublk->ring);

    if (!sqe)
        return;
    io_uring_prep_poll_add(sqe, reactor->epoll, POLLIN);
    sqe->user_data = OTHERS;
    ublk->watching = true;
}

bool reactor_ublk_sleep(struct reactor *reactor, int ms)
{
    struct reactor_ublk *ublk = reactor->ublk;
    struct __kernel_timespec limit = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000LL};
    struct io_uring_cqe *cqe;
    bool others = false;
    unsigned head;

    watch_others(reactor, ublk);
    /* Interrupted, or the time is over: the reactor looks around and comes back. */
    (void)io_uring_submit_and_wait_timeout(&ublk->ring, &cqe, 1, ms < 0 ? NULL : &limit, NULL);
    ublk->to_send = io_uring_sq_ready(&ublk->ring);
    io_uring_for_each_cqe(&ublk->ring, head, cqe) others |= cqe->user_data == OTHERS;
    return others || !ublk->watching;
}

/* ---- Queues come and go ---- */

/** By the thread that will use it: the kernel wants that for DEFER_TASKRUN. */
static int open_ring(struct reactor *reactor)
{
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN |
                                              IORING_SETUP_TASKRUN_FLAG,
                                     .cq_entries = RING_CQ_SIZE};
    struct reactor_ublk *ublk = calloc(1, sizeof(*ublk));
    int ret;

    if (!ublk)
        return -ENOMEM;
    ret = io_uring_queue_init_params(RING_ENTRIES, &ublk->ring, &params);
    if (ret) {
        free(ublk);
        return ret;
    }
    reactor->ublk = ublk;
    return 0;
}

static int find_place(struct reactor_ublk *ublk, struct ublk_queue *queue)
{
    for (uint32_t i = 0; i < UBLK_RING_QUEUES; i++)
        if (!ublk->queues[i]) {
            ublk->queues[i] = queue;
            queue->place = i;
            if (i >= ublk->place_count)
                ublk->place_count = i + 1;
            return 0;
        }
    return -ENOSPC;
}

/** Present, so that a write-back which needs this device does not need memory first. */
static void populate(const struct ublk_queue *queue, const struct buffer *buffer)
{
#ifdef MADV_POPULATE_WRITE
    (void)madvise(buffer->data, queue->opts.max_io_bytes, MADV_POPULATE_WRITE);
#else
    memset(buffer->data, 0, queue->opts.max_io_bytes);
#endif
}

static int take_buffers(struct reactor *reactor, struct ublk_queue *queue)
{
    if (queue->opts.user_copy)
        return 0;
    for (uint16_t i = 0; i < queue->opts.depth; i++) {
        if (!buffer_take(&reactor->engine.buffers, queue->opts.max_io_bytes,
                         &queue->tags[i].buffer))
            return -ENOBUFS;
        populate(queue, queue->tags[i].buffer);
    }
    return 0;
}

int reactor_ublk_fetch(struct reactor *reactor, struct ublk_queue *queue)
{
    int ret = reactor->ublk ? 0 : open_ring(reactor);

    if (ret)
        return ret;
    ret = find_place(reactor->ublk, queue);
    if (ret)
        return ret;
    queue->reactor = reactor;
    ret = take_buffers(reactor, queue);
    if (ret) {
        reactor_ublk_release(reactor, queue);
        return ret;
    }
    for (uint16_t i = 0; i < queue->opts.depth; i++) {
        queue->tags[i].fetched = true;
        queue->fetched++;
        command(queue, UBLKW_FETCH, i, 0);
    }
    (void)reactor_ublk_send(reactor);
    return 0;
}

void reactor_ublk_release(struct reactor *reactor, struct ublk_queue *queue)
{
    struct nbd_engine *engine = &reactor->engine;

    if (!reactor->ublk || reactor->ublk->queues[queue->place] != queue)
        return;
    for (uint32_t i = 0; i < engine->ios.count; i++) { /* the library may still have some */
        struct io *io = &engine->ios.all[i];

        if (io->ublk != queue)
            continue;
        if (!queue->opts.user_copy && io->buffer_count)
            queue->tags[io->cookie].buffer = NULL; /* comes back with the request */
        io->ublk = NULL;
        stats_sub(&engine->stats->in_flight, 1);
    }
    for (uint16_t i = 0; i < queue->opts.depth; i++)
        if (queue->tags[i].buffer)
            buffer_give(&engine->buffers, &queue->tags[i].buffer, 1);
    while (queue->starved_first) {
        queue->starved_first = queue->tags[queue->starved_first - 1].next_starved;
        reactor->ublk->starved--;
    }
    reactor->ublk->queues[queue->place] = NULL;
    queue->reactor = NULL;
}

void reactor_ublk_close(struct reactor *reactor)
{
    if (!reactor->ublk)
        return;
    io_uring_queue_exit(&reactor->ublk->ring);
    free(reactor->ublk);
    reactor->ublk = NULL;
}
