/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One NBD client, without its socket: bytes in, requests out, replies in, bytes out.  The reactor moves the bytes; tests
 * move them too.
 *
 *   nbd_conn_init                      server's first words wait to be sent
 *     nbd_conn_rx_iov -> receive -> nbd_conn_rx_done(n)     parses all that came, starts requests
 *     nbd_conn_tx_iov -> send    -> nbd_conn_tx_done(n)
 *     nbd_conn_parse                   again, after something it waited for was freed
 *   nbd_conn_fini                      when `phase` is NBD_DEAD and no request is left (io_count)
 *
 * The engine is what the connections of one reactor share.  One thread.
 */
#ifndef HVBLK_NBD_CONNECTION_H
#define HVBLK_NBD_CONNECTION_H

#include <sys/uio.h>

#include "io.h"
#include "lun.h"
#include "stats.h"

#define NBD_CHUNK_BYTES   65536u /* receive buffer */
#define NBD_CHUNK_SMALL   512u   /* read behind large payloads: headers only */
#define NBD_LARGE_PAYLOAD 16384u /* from here on payload is received in place */
#define NBD_PAYLOAD_SKIP_MAX                                                                       \
    (128u << 20)                        /* a refused payload longer than this ends the connection */
#define NBD_OPTION_KEEP_MAX 32768u      /* option data that is looked at */
#define NBD_OPTION_SKIP_MAX (16u << 20) /* longer option data ends the connection */
#define NBD_CONN_IO_MAX     512u /* requests of one connection, received and not yet answered */
#define NBD_RX_IOV_MAX      (BUFFER_PER_REQUEST + 1)

enum nbd_phase {
    NBD_HELLO,        /* waiting for the client's flags */
    NBD_HAGGLING,     /* options */
    NBD_TRANSMISSION, /* requests */
    NBD_CLOSING,      /* nothing is read any more; what was asked is answered, then it ends */
    NBD_DEAD,         /* over; requests may still be with the device */
};

/** Why a connection is not read. */
enum nbd_stall {
    NBD_NOT_STALLED,
    NBD_STALL_ROOM,   /* too many requests unanswered, here or in the reactor */
    NBD_STALL_MEMORY, /* no buffers */
    NBD_STALL_TURN,   /* enough data begun in this turn: after the next look at the device */
};

struct nbd_handshake; /* only before transmission */
struct nbd_conn;

/** What a reactor provides to its connections. */
struct nbd_engine {
    const struct lun_table *luns;
    struct buffer_pool buffers;
    struct io_pool ios;
    uint32_t io_reserve; /* ios that no request may take: for replies in place of orphans */
    bool shutting_down;
    uint64_t now_ns;     /* of this turn */
    uint64_t turn_bytes; /* data of requests begun in this turn ... */
    uint64_t turn_limit; /* ... and when to stop beginning more */
    struct stats *stats;
    /** Carry a checked request out; later nbd_finish(). */
    void (*start)(struct nbd_engine *engine, struct io *io);
    struct nbd_conn *memory_waiter; /* first who waits for buffers: others do not overtake it */
    struct nbd_conn *send_first;    /* connections with something to send */
    void *owner;
};

struct nbd_conn {
    struct nbd_engine *engine;
    enum nbd_phase phase;
    enum nbd_stall stall;
    bool structured, extended, fixed, no_zeroes;
    bool allocation; /* base:allocation was agreed upon */
    uint16_t slot;   /* LUN, in transmission */
    uint32_t io_count;
    uint32_t id;        /* for the log */
    const char *reason; /* why it ended, a literal; NULL = the client said goodbye */
    struct nbd_handshake *handshake;
    /* receive side */
    uint8_t *chunk;
    uint32_t chunk_at, chunk_end; /* unparsed bytes of the chunk */
    uint32_t chunk_want;          /* how much to read behind a payload */
    struct io *payload_io;        /* WRITE whose payload comes in; without buffers: thrown away */
    uint32_t payload_at, payload_bytes;
    /* send side */
    struct io *out_first, *out_last;
    uint32_t out_sent; /* bytes of out_first that are gone */
    bool send_listed;
    struct nbd_conn *send_next;
};

/** 0 or -ENOMEM. */
int nbd_conn_init(struct nbd_conn *conn, struct nbd_engine *engine, uint32_t id);
void nbd_conn_fini(struct nbd_conn *conn);

/** Where the next bytes go; 0 entries = do not read now. */
unsigned nbd_conn_rx_iov(struct nbd_conn *conn, struct iovec iov[NBD_RX_IOV_MAX]);
void nbd_conn_rx_done(struct nbd_conn *conn, size_t bytes);
/** Parse what is there; after a stall, a drained output or when the engine shuts down. */
void nbd_conn_parse(struct nbd_conn *conn);

/** What to send next, up to `max` entries; 0 = nothing. */
unsigned nbd_conn_tx_iov(const struct nbd_conn *conn, struct iovec *iov, unsigned max);
void nbd_conn_tx_done(struct nbd_conn *conn, size_t bytes);
bool nbd_conn_tx_pending(const struct nbd_conn *conn);

/** The socket is gone, or the client broke the protocol: drop what need not be kept. */
void nbd_conn_kill(struct nbd_conn *conn, const char *reason);
/** The server stops: what came is answered, requests not taken up yet with ESHUTDOWN; then it closes. */
void nbd_conn_shutdown(struct nbd_conn *conn);
/** True when a closing connection has nothing left to say. */
bool nbd_conn_finished(const struct nbd_conn *conn);

/* ---- within the parser (nbd_handshake.c, nbd_request.c, nbd_reply.c) ---- */

/** One step of the handshake; false = more bytes or room needed. */
bool nbd_handshake_step(struct nbd_conn *conn);
int nbd_handshake_init(struct nbd_conn *conn);
void nbd_handshake_fini(struct nbd_conn *conn);
unsigned nbd_handshake_tx_iov(const struct nbd_conn *conn, struct iovec *iov);
/** Returns how many of `bytes` were its own. */
size_t nbd_handshake_tx_done(struct nbd_conn *conn, size_t bytes);

struct nbd_request {
    uint16_t flags, type;
    uint64_t cookie; /* raw */
    uint64_t offset, length;
};
/** Take a request up.  False = stalled, nothing happened. */
bool nbd_request_begin(struct nbd_conn *conn, const struct nbd_request *request);
/** The payload of conn->payload_io is complete. */
void nbd_request_payload_done(struct nbd_conn *conn);

/** The request is carried out: build and queue its reply.  Frees it when nobody waits. */
void nbd_finish(struct nbd_engine *engine, struct io *io, enum nbd_error error);
/** Statistics of a request that is carried out: io->error says how. */
void nbd_count_reply(struct nbd_engine *engine, const struct io *io);
/** Buffers and the io itself back to the engine. */
void nbd_release(struct nbd_engine *engine, struct io *io);
/**
 * The device died with this request: answer EIO by another io.  The old one stays with the library, without a
 * connection; nbd_release() it when it comes back.
 */
void nbd_orphan(struct nbd_engine *engine, struct io *io);

/** Reply bytes into io->header and io->part (nbd_reply.c). */
void nbd_reply_build(const struct nbd_conn *conn, struct io *io);
/** iovec of a reply without its first `skip` bytes; returns entries, 0 = does not fit in `max`. */
unsigned nbd_reply_iov(const struct io *io, uint32_t skip, struct iovec *iov, unsigned max);

#endif
