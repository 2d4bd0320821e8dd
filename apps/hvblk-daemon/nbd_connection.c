/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbd_connection.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int nbd_conn_init(struct nbd_conn *conn, struct nbd_engine *engine, uint32_t id)
{
    *conn = (struct nbd_conn){.engine = engine,
                              .phase = NBD_HELLO,
                              .id = id,
                              .slot = LUN_NONE,
                              .chunk_want = NBD_CHUNK_BYTES};
    conn->chunk = malloc(NBD_CHUNK_BYTES);
    if (!conn->chunk || nbd_handshake_init(conn)) {
        free(conn->chunk);
        return -ENOMEM;
    }
    return 0;
}

void nbd_conn_fini(struct nbd_conn *conn)
{
    nbd_handshake_fini(conn);
    free(conn->chunk);
    conn->chunk = NULL;
}

/** Half a WRITE, never acknowledged. */
static void drop_payload(struct nbd_conn *conn)
{
    struct io *io = conn->payload_io;

    if (!io)
        return;
    conn->payload_io = NULL;
    conn->io_count--;
    stats_sub(&conn->engine->stats->in_flight, 1);
    nbd_release(conn->engine, io);
}

void nbd_conn_kill(struct nbd_conn *conn, const char *reason)
{
    struct nbd_engine *engine = conn->engine;

    if (conn->phase == NBD_DEAD)
        return;
    conn->phase = NBD_DEAD;
    conn->reason = reason;
    if (engine->memory_waiter == conn)
        engine->memory_waiter = NULL;
    drop_payload(conn);
    while (conn->out_first) {
        struct io *io = conn->out_first;

        conn->out_first = io->next;
        conn->io_count--;
        nbd_release(engine, io);
    }
    conn->out_last = NULL;
}

void nbd_conn_shutdown(struct nbd_conn *conn)
{
    if (conn->phase >= NBD_CLOSING)
        return;
    if (conn->phase < NBD_TRANSMISSION) {
        nbd_conn_kill(conn, "server stops");
        return;
    }
    nbd_conn_parse(conn);
    if (conn->phase != NBD_TRANSMISSION)
        return;
    drop_payload(conn);
    conn->phase = NBD_CLOSING;
}

bool nbd_conn_tx_pending(const struct nbd_conn *conn)
{
    struct iovec one;

    return conn->out_first || nbd_handshake_tx_iov(conn, &one);
}

bool nbd_conn_finished(const struct nbd_conn *conn)
{
    return conn->phase == NBD_CLOSING && !conn->io_count && !nbd_conn_tx_pending(conn);
}

/* ---- Receiving ---- */

unsigned nbd_conn_rx_iov(struct nbd_conn *conn, struct iovec iov[NBD_RX_IOV_MAX])
{
    unsigned count = 0;
    uint32_t room;

    if (conn->stall || conn->phase >= NBD_CLOSING)
        return 0;
    if (conn->chunk_at) {
        memmove(conn->chunk, conn->chunk + conn->chunk_at, conn->chunk_end - conn->chunk_at);
        conn->chunk_end -= conn->chunk_at;
        conn->chunk_at = 0;
    }
    room = NBD_CHUNK_BYTES - conn->chunk_end;
    if (conn->phase == NBD_TRANSMISSION) {
        /* All of the chunk is parsed, but for less than a header: a payload goes on in its place. */
        if (conn->payload_io && conn->payload_io->buffer_count)
            count = io_data_iov(conn->payload_io, conn->payload_at,
                                conn->payload_bytes - conn->payload_at, iov);
        if (room > conn->chunk_want)
            room = conn->chunk_want;
    }
    if (room) {
        iov[count].iov_base = conn->chunk + conn->chunk_end;
        iov[count++].iov_len = room;
    }
    return count;
}

void nbd_conn_rx_done(struct nbd_conn *conn, size_t bytes)
{
    if (conn->payload_io && conn->payload_io->buffer_count) {
        size_t left = conn->payload_bytes - conn->payload_at;
        size_t take = bytes < left ? bytes : left;

        conn->payload_at += (uint32_t)take;
        bytes -= take;
    }
    conn->chunk_end += (uint32_t)bytes;
    nbd_conn_parse(conn);
}

/** Payload bytes that came with the chunk: copied to their place, or thrown away. */
static bool take_payload(struct nbd_conn *conn)
{
    struct io *io = conn->payload_io;
    uint32_t left = conn->payload_bytes - conn->payload_at;
    uint32_t take = conn->chunk_end - conn->chunk_at;

    if (take > left)
        take = left;
    if (take && io->buffer_count) {
        struct iovec iov[BUFFER_PER_REQUEST];
        unsigned count = io_data_iov(io, conn->payload_at, take, iov);
        const uint8_t *from = conn->chunk + conn->chunk_at;

        for (unsigned i = 0; i < count; i++) {
            memcpy(iov[i].iov_base, from, iov[i].iov_len);
            from += iov[i].iov_len;
        }
    }
    conn->chunk_at += take;
    conn->payload_at += take;
    if (conn->payload_at < conn->payload_bytes)
        return false;
    nbd_request_payload_done(conn);
    return true;
}

static bool decode(const struct nbd_conn *conn, struct nbd_request *ret_request)
{
    const uint8_t *at = conn->chunk + conn->chunk_at;

    if (conn->extended) {
        struct nbd_wire_ext_request wire;

        memcpy(&wire, at, sizeof(wire));
        *ret_request = (struct nbd_request){.flags = be16toh(wire.flags),
                                            .type = be16toh(wire.type),
                                            .cookie = wire.cookie,
                                            .offset = be64toh(wire.offset),
                                            .length = be64toh(wire.length)};
        return be32toh(wire.magic) == NBD_EXT_REQUEST_MAGIC;
    } else {
        struct nbd_wire_request wire;

        memcpy(&wire, at, sizeof(wire));
        *ret_request = (struct nbd_request){.flags = be16toh(wire.flags),
                                            .type = be16toh(wire.type),
                                            .cookie = wire.cookie,
                                            .offset = be64toh(wire.offset),
                                            .length = be32toh(wire.length)};
        return be32toh(wire.magic) == NBD_REQUEST_MAGIC;
    }
}

/** One request or one payload; false = more bytes needed, or stalled. */
static bool transmission_step(struct nbd_conn *conn)
{
    size_t header_bytes =
        conn->extended ? sizeof(struct nbd_wire_ext_request) : sizeof(struct nbd_wire_request);
    struct nbd_request request;

    if (conn->payload_io)
        return take_payload(conn);
    if (conn->chunk_end - conn->chunk_at < header_bytes)
        return false;
    if (!decode(conn, &request)) {
        nbd_conn_kill(conn, "request with a wrong magic number");
        return false;
    }
    if (!nbd_request_begin(conn, &request))
        return false;
    conn->chunk_at += (uint32_t)header_bytes;
    return true;
}

void nbd_conn_parse(struct nbd_conn *conn)
{
    bool more = true;

    conn->stall = NBD_NOT_STALLED;
    while (more) {
        if (conn->phase == NBD_TRANSMISSION)
            more = transmission_step(conn);
        else if (conn->phase < NBD_TRANSMISSION)
            more = nbd_handshake_step(conn);
        else
            break;
    }
    if (conn->chunk_at == conn->chunk_end)
        conn->chunk_at = conn->chunk_end = 0;
}

/* ---- Sending ---- */

unsigned nbd_conn_tx_iov(const struct nbd_conn *conn, struct iovec *iov, unsigned max)
{
    unsigned count = conn->handshake ? nbd_handshake_tx_iov(conn, iov) : 0;
    uint32_t skip = conn->out_sent;

    for (const struct io *io = conn->out_first; io; io = io->next) {
        unsigned n = nbd_reply_iov(io, skip, iov + count, max - count);

        if (!n)
            break;
        count += n;
        skip = 0;
    }
    return count;
}

void nbd_conn_tx_done(struct nbd_conn *conn, size_t bytes)
{
    if (conn->handshake)
        bytes -= nbd_handshake_tx_done(conn, bytes);
    bytes += conn->out_sent;
    while (conn->out_first && bytes >= conn->out_first->reply_bytes) {
        struct io *io = conn->out_first;

        bytes -= io->reply_bytes;
        conn->out_first = io->next;
        if (!conn->out_first)
            conn->out_last = NULL;
        conn->io_count--;
        nbd_release(conn->engine, io);
    }
    conn->out_sent = (uint32_t)bytes;
}
