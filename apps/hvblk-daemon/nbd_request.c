/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests: what is allowed, what it needs, and how it ends. */
#include <string.h>

#include "nbd_connection.h"
#include "nbd_status.h"

/** Flags that make sense for a command; FUA is accepted on all of them. */
static const uint16_t allowed_flags[NBD_CMD_COUNT] = {
    [NBD_CMD_READ] = NBD_CMD_FUA | NBD_CMD_DF,
    [NBD_CMD_WRITE] = NBD_CMD_FUA,
    [NBD_CMD_DISC] = NBD_CMD_FUA,
    [NBD_CMD_FLUSH] = NBD_CMD_FUA,
    [NBD_CMD_TRIM] = NBD_CMD_FUA,
    [NBD_CMD_CACHE] = NBD_CMD_FUA,
    [NBD_CMD_WRITE_ZEROES] = NBD_CMD_FUA | NBD_CMD_NO_HOLE | NBD_CMD_FAST_ZERO,
    [NBD_CMD_BLOCK_STATUS] = NBD_CMD_FUA | NBD_CMD_REQ_ONE,
};

static bool changes_data(unsigned type)
{
    return type == NBD_CMD_WRITE || type == NBD_CMD_TRIM || type == NBD_CMD_WRITE_ZEROES;
}

/** Bytes that follow the header. */
static uint64_t payload_bytes(const struct nbd_conn *conn, const struct nbd_request *request)
{
    if (request->type == NBD_CMD_WRITE ||
        (conn->extended && (request->flags & NBD_CMD_PAYLOAD_LEN)))
        return request->length;
    return 0;
}

static enum nbd_error check_flags(const struct nbd_conn *conn, const struct nbd_request *request)
{
    unsigned allowed = allowed_flags[request->type];

    if (!conn->structured)
        allowed &= ~NBD_CMD_DF;
    if (conn->extended && request->type == NBD_CMD_WRITE) {
        if (!(request->flags & NBD_CMD_PAYLOAD_LEN))
            return NBD_EINVAL;
        allowed |= NBD_CMD_PAYLOAD_LEN;
    }
    return request->flags & ~allowed ? NBD_EINVAL : NBD_OK;
}

/** Range against the LUN as it is now; a check again at the device catches a shrink that comes later. */
static enum nbd_error check_range(const struct lun *lun, const struct nbd_request *request)
{
    bool outside = request->offset > lun->bytes || request->length > lun->bytes - request->offset;

    if (!request->length || (request->offset | request->length) & (lun->block_bytes - 1))
        return NBD_EINVAL;
    if ((request->type == NBD_CMD_READ || request->type == NBD_CMD_WRITE) &&
        request->length > NBD_CLIENT_MAXIMUM)
        return NBD_EINVAL;
    if (outside)
        return request->type == NBD_CMD_WRITE || request->type == NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC
                                                                                       : NBD_EINVAL;
    return NBD_OK;
}

static enum nbd_error check(const struct nbd_conn *conn, const struct nbd_request *request)
{
    const struct lun *lun = &conn->engine->luns->lun[conn->slot];
    enum nbd_error error;

    if (conn->engine->shutting_down || !lun->present)
        return NBD_ESHUTDOWN;
    if (request->type >= NBD_CMD_COUNT)
        return NBD_EINVAL;
    error = check_flags(conn, request);
    if (error)
        return error;
    if (request->type == NBD_CMD_BLOCK_STATUS && !conn->allocation)
        return NBD_EINVAL;
    if (lun->read_only && changes_data(request->type))
        return NBD_EPERM;
    if (request->type == NBD_CMD_TRIM && !lun->unmap)
        return NBD_ENOTSUP;
    return request->type == NBD_CMD_FLUSH ? NBD_OK : check_range(lun, request);
}

static uint32_t memory_needed(const struct nbd_conn *conn, struct io *io)
{
    const struct lun *lun = &conn->engine->luns->lun[io->slot];

    switch (io->type) {
    case NBD_CMD_READ:
    case NBD_CMD_WRITE:
        return (uint32_t)io->length;
    case NBD_CMD_BLOCK_STATUS:
        io->status_bytes = lun->status ? nbd_status_memory(io->flags) : BUFFER_MIN_BYTES;
        return io->status_bytes;
    default:
        return 0;
    }
}

static bool stall(struct nbd_conn *conn, enum nbd_stall why)
{
    conn->stall = why;
    if (why != NBD_STALL_TURN)
        stats_add(&conn->engine->stats->stalls, 1);
    return false;
}

/** All the buffers or none; who waits first is served first. */
static bool take_memory(struct nbd_conn *conn, struct io *io)
{
    struct nbd_engine *engine = conn->engine;
    uint32_t bytes = memory_needed(conn, io);

    if (!bytes)
        return true;
    if (!engine->memory_waiter || engine->memory_waiter == conn) {
        io->buffer_count = buffer_take(&engine->buffers, bytes, io->buffer);
        if (io->buffer_count) {
            engine->turn_bytes += bytes;
            engine->memory_waiter = NULL;
            return true;
        }
        engine->memory_waiter = conn;
    }
    return false;
}

static void fill_io(struct nbd_conn *conn, struct io *io, const struct nbd_request *request)
{
    io->conn = conn;
    io->cookie = request->cookie;
    io->offset = request->offset;
    io->length = request->length;
    io->type = request->type;
    io->flags = request->flags;
    io->slot = conn->slot;
    io->start_ns = conn->engine->now_ns;
}

bool nbd_request_begin(struct nbd_conn *conn, const struct nbd_request *request)
{
    struct nbd_engine *engine = conn->engine;
    uint64_t payload = payload_bytes(conn, request);
    struct io *io;

    if (request->type == NBD_CMD_DISC) {
        conn->phase = NBD_CLOSING;
        return true;
    }
    if (payload > NBD_PAYLOAD_SKIP_MAX) {
        nbd_conn_kill(conn, "request with an absurd payload");
        return false;
    }
    if (engine->turn_bytes >= engine->turn_limit)
        return stall(conn, NBD_STALL_TURN);
    io = conn->io_count < NBD_CONN_IO_MAX ? io_take(&engine->ios, engine->io_reserve) : NULL;
    if (!io)
        return stall(conn, NBD_STALL_ROOM);
    fill_io(conn, io, request);
    io->error = check(conn, request);
    if (!io->error && !take_memory(conn, io)) {
        io_give(&engine->ios, io);
        return stall(conn, NBD_STALL_MEMORY);
    }
    conn->io_count++;
    stats_add(&engine->stats->in_flight, 1);
    if (payload) {
        io->state = IO_RECEIVING;
        conn->payload_io = io;
        conn->payload_at = 0;
        conn->payload_bytes = (uint32_t)payload;
        conn->chunk_want = payload >= NBD_LARGE_PAYLOAD ? NBD_CHUNK_SMALL : NBD_CHUNK_BYTES;
    } else if (io->error) {
        nbd_finish(engine, io, io->error);
    } else {
        engine->start(engine, io);
    }
    return true;
}

void nbd_request_payload_done(struct nbd_conn *conn)
{
    struct io *io = conn->payload_io;

    conn->payload_io = NULL;
    if (io->error)
        nbd_finish(conn->engine, io, io->error);
    else
        conn->engine->start(conn->engine, io);
}

void nbd_release(struct nbd_engine *engine, struct io *io)
{
    buffer_give(&engine->buffers, io->buffer, io->buffer_count);
    io->buffer_count = 0;
    io_give(&engine->ios, io);
}

void nbd_count_reply(struct nbd_engine *engine, const struct io *io)
{
    struct stats *stats = engine->stats;

    stats_sub(&stats->in_flight, 1);
    if (io->type >= NBD_CMD_COUNT)
        return;
    stats_add(&stats->ops[io->type], 1);
    if (io->error)
        stats_add(&stats->errors[io->type], 1);
    else if (io->type == NBD_CMD_READ)
        stats_add(&stats->read_bytes, io->length);
    else if (io->type == NBD_CMD_WRITE)
        stats_add(&stats->written_bytes, io->length);
    stats_latency(stats, engine->now_ns - io->start_ns);
}

void nbd_finish(struct nbd_engine *engine, struct io *io, enum nbd_error error)
{
    struct nbd_conn *conn = io->conn;

    if (!conn) { /* an orphan: its client was answered long ago */
        nbd_release(engine, io);
        return;
    }
    io->error = error;
    nbd_count_reply(engine, io);
    if (conn->phase == NBD_DEAD) {
        conn->io_count--;
        nbd_release(engine, io);
        return;
    }
    nbd_reply_build(conn, io);
    if (io->type == NBD_CMD_WRITE || error) {
        buffer_give(&engine->buffers, io->buffer, io->buffer_count);
        io->buffer_count = 0;
    }
    io->state = IO_REPLY;
    io->next = NULL;
    if (conn->out_last)
        conn->out_last->next = io;
    else
        conn->out_first = io;
    conn->out_last = io;
    if (!conn->send_listed) {
        conn->send_listed = true;
        conn->send_next = engine->send_first;
        engine->send_first = conn;
    }
}

void nbd_orphan(struct nbd_engine *engine, struct io *io)
{
    struct nbd_conn *conn = io->conn;
    struct io *stand_in;

    if (!conn)
        return;
    io->conn = NULL;
    stand_in = io_take(&engine->ios, 0);
    if (!stand_in) {
        conn->io_count--;
        stats_sub(&engine->stats->in_flight, 1);
        nbd_conn_kill(conn, "device lost, and no room left to say so");
        return;
    }
    stand_in->conn = conn;
    stand_in->cookie = io->cookie;
    stand_in->offset = io->offset;
    stand_in->length = io->length;
    stand_in->type = io->type;
    stand_in->flags = io->flags;
    stand_in->slot = io->slot;
    stand_in->start_ns = io->start_ns;
    nbd_finish(engine, stand_in, NBD_EIO);
}
