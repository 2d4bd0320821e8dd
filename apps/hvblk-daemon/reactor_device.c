/* SPDX-License-Identifier: BSD-3-Clause */
/* The device side of a reactor: requests of clients to storvsc requests and back, also while the device is away. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "log.h"
#include "nbd_status.h"
#include "reactor.h"
#include "reactor_ublk.h"

#define TURN_BYTES_WARM (256u << 10)

static struct reactor *reactor_of(const struct nbd_engine *engine)
{
    return engine->owner;
}

static enum nbd_error nbd_error_of(const struct io *io, int error)
{
    switch (error) {
    case 0:
        return NBD_OK;
    case -ENOSPC:
        return NBD_ENOSPC;
    case -EPERM:
        return NBD_EPERM;
    case -EINVAL: /* the LUN shrank after the request was checked */
        return io->type == NBD_CMD_WRITE || io->type == NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC
                                                                             : NBD_EINVAL;
    case -ENODEV:
        return NBD_ESHUTDOWN;
    case -EOPNOTSUPP:
        return NBD_ENOTSUP;
    default:
        return NBD_EIO;
    }
}

/** A request is carried out, for whoever waits. */
static void answer(struct reactor *reactor, struct io *io, enum nbd_error error)
{
    if (io->ublk)
        reactor_ublk_finish(io, error);
    else
        nbd_finish(&reactor->engine, io, error);
}

static bool nobody_waits(const struct io *io)
{
    return !io->ublk && (!io->conn || io->conn->phase == NBD_DEAD);
}

static bool changes_data(const struct io *io)
{
    return io->type == NBD_CMD_WRITE || io->type == NBD_CMD_TRIM ||
           io->type == NBD_CMD_WRITE_ZEROES;
}

/* ---- What a lost cache means: acknowledged writes, then a flush that says so once ---- */

static void note_result(struct reactor *reactor, const struct io *io, int error)
{
    struct lun_shared *shared = &reactor->opts.lun_shared[io->slot];

    if (io->type == NBD_CMD_FLUSH) {
        if (error && io->flush_owed)
            atomic_store_explicit(&shared->dirty, true, memory_order_relaxed);
    } else if (!error && changes_data(io) && !(io->flags & NBD_CMD_FUA) &&
               reactor->engine.luns->lun[io->slot].write_cache &&
               !atomic_load_explicit(&shared->dirty, memory_order_relaxed)) {
        atomic_store_explicit(&shared->dirty, true, memory_order_relaxed);
    }
}

/** True: this flush (or FUA) is the one that must fail. */
static bool must_confess(struct reactor *reactor, const struct io *io)
{
    struct lun_shared *shared = &reactor->opts.lun_shared[io->slot];
    bool promise = io->type == NBD_CMD_FLUSH || (changes_data(io) && (io->flags & NBD_CMD_FUA));

    if (!promise || !atomic_load_explicit(&shared->lost, memory_order_relaxed) ||
        !atomic_exchange(&shared->lost, false))
        return false;
    log_line(HV_LOG_WARNING,
             "%s: a flush is answered with EIO, because writes acknowledged before the device was "
             "lost may be gone",
             reactor->engine.luns->lun[io->slot].name);
    return true;
}

/* ---- Submission ---- */

static void done(struct hv_storvsc_request *request, const struct hv_storvsc_result *result);

static void prepare(struct reactor *reactor, struct io *io, struct iovec *iov)
{
    const struct lun *lun = &reactor->engine.luns->lun[io->slot];
    struct hv_storvsc_request *request = &io->request;

    request->flags = 0;
    request->address = lun->address;
    request->lba = io->offset / lun->block_bytes;
    request->block_count = io->length / lun->block_bytes;
    request->iov = iov;
    request->iov_count = 0;
    request->timeout_ms = 0;
    request->done = done;
    request->arg = io;
    switch (io->flushing ? NBD_CMD_FLUSH : io->type) {
    case NBD_CMD_READ:
    case NBD_CMD_WRITE:
        request->op = io->type == NBD_CMD_READ ? HV_STORVSC_READ : HV_STORVSC_WRITE;
        if (io->type == NBD_CMD_WRITE && io->flags & NBD_CMD_FUA)
            request->flags = HV_STORVSC_FUA;
        request->iov_count = io_data_iov(io, 0, (uint32_t)io->length, iov);
        break;
    case NBD_CMD_TRIM:
        request->op = HV_STORVSC_UNMAP;
        break;
    case NBD_CMD_WRITE_ZEROES:
        request->op = HV_STORVSC_WRITE_ZEROES;
        request->flags = (io->flags & NBD_CMD_FUA ? HV_STORVSC_FUA : 0) |
                         (io->flags & NBD_CMD_NO_HOLE ? 0 : HV_STORVSC_MAY_UNMAP) |
                         (io->flags & NBD_CMD_FAST_ZERO ? HV_STORVSC_FAST_ONLY : 0);
        break;
    case NBD_CMD_BLOCK_STATUS:
        request->op = HV_STORVSC_LBA_STATUS;
        iov[0].iov_base = io->buffer[0]->data;
        iov[0].iov_len = io->status_bytes;
        request->iov_count = 1;
        break;
    default: /* NBD_CMD_FLUSH */
        request->op = HV_STORVSC_FLUSH;
        request->lba = 0;
        request->block_count = 0;
        break;
    }
}

static void wait_append(struct reactor *reactor, struct io *io)
{
    io->state = IO_WAITING;
    io->next = NULL;
    if (reactor->wait_last)
        reactor->wait_last->next = io;
    else
        reactor->wait_first = io;
    reactor->wait_last = io;
    stats_add(&reactor->stats.waits, 1);
}

/** 0: it is the device's, or finished.  -EAGAIN: try again later. */
static int submit(struct reactor *reactor, struct io *io)
{
    struct iovec iov[BUFFER_PER_REQUEST];
    int ret;

    if (nobody_waits(io)) { /* and nothing was promised */
        answer(reactor, io, NBD_EIO);
        return 0;
    }
    prepare(reactor, io, iov);
    if (io->request.op == HV_STORVSC_FLUSH && !io->flushing)
        io->flush_owed = atomic_exchange_explicit(&reactor->opts.lun_shared[io->slot].dirty, false,
                                                  memory_order_relaxed);
    ret = hv_storvsc_submit(reactor->queue, &io->request);
    if (!ret) {
        io->state = IO_DEVICE;
        reactor->device_count++;
        return 0;
    }
    note_result(reactor, io, ret);
    if (ret == -EAGAIN)
        return ret;
    if (ret == -ENODEV || ret == -EPROTO) {
        reactor_device_lost(reactor);
        return -EAGAIN;
    }
    if (io->type == NBD_CMD_BLOCK_STATUS) { /* cannot say: all of it counts as allocated */
        io->status_bytes = 0;
        ret = 0;
    }
    answer(reactor, io, nbd_error_of(io, ret));
    return 0;
}

void reactor_device_start(struct nbd_engine *engine, struct io *io)
{
    struct reactor *reactor = reactor_of(engine);

    reactor->begun++;
    if (must_confess(reactor, io)) {
        answer(reactor, io, NBD_EIO);
    } else if (io->type == NBD_CMD_CACHE) {
        answer(reactor, io, NBD_OK); /* a hint; the device has its own idea of caching */
    } else if (io->type == NBD_CMD_BLOCK_STATUS && !engine->luns->lun[io->slot].status) {
        io->status_bytes = 0;
        answer(reactor, io, NBD_OK);
    } else if (reactor->failing) {
        answer(reactor, io, NBD_EIO);
    } else if (!reactor->attached || reactor->wait_first || submit(reactor, io)) {
        wait_append(reactor, io);
    }
}

static bool submit_waiting(struct reactor *reactor)
{
    bool any = false;

    while (reactor->attached && reactor->wait_first) {
        struct io *io = reactor->wait_first, *next = io->next;

        if (submit(reactor, io))
            break;
        reactor->wait_first = next;
        if (!next)
            reactor->wait_last = NULL;
        any = true;
    }
    return any;
}

/* ---- Completion ---- */

static void finish(struct reactor *reactor, struct io *io, const struct hv_storvsc_result *result)
{
    int error = result->error;

    note_result(reactor, io, error);
    if (!error && io->type == NBD_CMD_TRIM && io->flags & NBD_CMD_FUA && !io->flushing) {
        io->flushing = true; /* UNMAP knows no FUA */
        if (reactor->wait_first || submit(reactor, io))
            wait_append(reactor, io);
        return;
    }
    if (io->type == NBD_CMD_BLOCK_STATUS) {
        if (error == -EOPNOTSUPP || error == -EINVAL)
            error = 0; /* cannot say: allocated */
        if (result->error)
            io->status_bytes = 0;
        else if (result->bytes < io->status_bytes)
            io->status_bytes = result->bytes;
    }
    if (!error && (io->type == NBD_CMD_READ || io->type == NBD_CMD_WRITE) &&
        result->bytes != io->length)
        error = -EIO; /* good status, short count */
    answer(reactor, io, nbd_error_of(io, error));
}

static void done(struct hv_storvsc_request *request, const struct hv_storvsc_result *result)
{
    struct io *io = request->arg;
    struct reactor *reactor = reactor_of(io->engine);

    if (!reactor->attached) { /* from reopen or close, in the control thread: put it aside */
        io->next = reactor->returned;
        reactor->returned = io;
        return;
    }
    reactor->device_count--;
    io->state = IO_WAITING; /* for its reply, or for a second step */
    finish(reactor, io, result);
}

/* ---- The device comes and goes ---- */

static void unwatch(struct reactor *reactor, int *fd)
{
    if (*fd >= 0)
        (void)epoll_ctl(reactor->epoll, EPOLL_CTL_DEL, *fd, NULL); /* may be closed already */
    *fd = -1;
}

static void watch(struct reactor *reactor, int fd, void *tag, int *ret_fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};

    if (fd >= 0 && !epoll_ctl(reactor->epoll, EPOLL_CTL_ADD, fd, &event))
        *ret_fd = fd;
}

void reactor_device_lost(struct reactor *reactor)
{
    struct mail news = {.kind = REACTOR_DEVICE_LOST, .data = reactor};
    struct nbd_engine *engine = &reactor->engine;

    if (!reactor->attached)
        return;
    reactor->attached = false;
    reactor->outage_ns = engine->now_ns;
    reactor->failing = !reactor->opts.wait_ns;
    unwatch(reactor, &reactor->queue_fd);
    for (uint32_t i = 0; i < engine->ios.count; i++) {
        struct io *io = &engine->ios.all[i];

        if (io->state != IO_DEVICE || nobody_waits(io))
            continue;
        note_result(reactor, io, -EIO);
        if (io->conn) /* a block device waits instead: its requests are sent again (attach) */
            nbd_orphan(engine, io);
    }
    (void)mailbox_post(reactor->opts.news, &news); /* the bus tells the control thread as well */
    reactor_device_tick(reactor);
}

void reactor_device_detach(struct reactor *reactor)
{
    reactor_device_lost(reactor);
    unwatch(reactor, &reactor->worker_fd);
    reactor->worker = NULL;
    reactor->queue = NULL;
}

/** The library let go of a request from before the loss. */
static void take_back(struct reactor *reactor, struct io *io)
{
    if (!io->ublk) {
        nbd_release(&reactor->engine, io);
    } else if (must_confess(reactor, io)) {
        answer(reactor, io, NBD_EIO);
    } else {
        io->flushing = false;
        wait_append(reactor, io);
    }
}

void reactor_device_attach(struct reactor *reactor, struct hv_storvsc_queue *queue,
                           struct hv_host_worker *worker)
{
    while (reactor->returned) {
        struct io *io = reactor->returned;

        reactor->returned = io->next;
        reactor->device_count--;
        take_back(reactor, io);
    }
    reactor->queue = queue;
    reactor->worker = worker;
    watch(reactor, hv_storvsc_queue_fd(queue), &reactor->queue, &reactor->queue_fd);
    if (worker)
        watch(reactor, hv_host_worker_fd(worker), &reactor->worker, &reactor->worker_fd);
    /*
     * Data that this thread copies from the emulated disk should still be in its cache when it goes to the socket: no
     * more than that in one turn, and the buffers used last first.  A host on a CPU of its own likes the opposite.
     */
    reactor->engine.turn_limit = worker ? TURN_BYTES_WARM : UINT64_MAX;
    reactor->engine.buffers.warm = worker != NULL;
    reactor->attached = true;
    reactor->failing = false;
    (void)submit_waiting(reactor);
}

/** Requests of block devices that the library keeps: they waited long enough. */
static void fail_kept(struct reactor *reactor)
{
    for (uint32_t i = 0; i < reactor->engine.ios.count; i++) {
        struct io *io = &reactor->engine.ios.all[i];

        if (io->state == IO_DEVICE && io->ublk)
            (void)reactor_ublk_orphan(io); /* or in the next tick */
    }
}

void reactor_device_tick(struct reactor *reactor)
{
    struct io *io = reactor->wait_first;

    if (reactor->attached)
        return;
    if (reactor->engine.now_ns - reactor->outage_ns >= reactor->opts.wait_ns)
        reactor->failing = true;
    if (!reactor->failing)
        return;
    reactor->wait_first = reactor->wait_last = NULL;
    while (io) {
        struct io *next = io->next;

        answer(reactor, io, NBD_EIO);
        io = next;
    }
    fail_kept(reactor);
}

/* ---- Polling ---- */

bool reactor_device_poll(struct reactor *reactor)
{
    bool any = false;
    int n;

    if (reactor->attached && reactor->wait_first)
        any |= submit_waiting(reactor);
    if (reactor->attached && hv_storvsc_flush(reactor->queue))
        reactor_device_lost(reactor);
    if (reactor->worker)
        any |= hv_host_worker_poll(reactor->worker) > 0;
    if (!reactor->attached)
        return any;
    n = hv_storvsc_poll(reactor->queue);
    if (n < 0)
        reactor_device_lost(reactor);
    return any || n;
}

/*
 * With the host's worker in our own turn, nobody signals us for packets: both ends stay masked, and what others have to
 * say (control messages, file completions) shows at the descriptors.  That saves the system calls of arming.
 */
bool reactor_device_arm(struct reactor *reactor)
{
    return reactor->attached && !reactor->worker && hv_storvsc_arm(reactor->queue);
}

void reactor_device_disarm(struct reactor *reactor)
{
    if (reactor->attached && reactor->worker && reactor->queue_event)
        (void)hv_storvsc_arm(reactor->queue); /* only an armed queue drains its descriptor */
    if (reactor->attached && (!reactor->worker || reactor->queue_event))
        hv_storvsc_disarm(reactor->queue);
    if (reactor->worker && reactor->worker_event)
        hv_host_worker_disarm(reactor->worker);
    reactor->queue_event = reactor->worker_event = false;
}
