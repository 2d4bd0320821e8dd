/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One request: of NBD, from its header to the last byte of its reply; of ublk, from the kernel's word to ours.
 *
 *   io_take -> (WRITE: payload comes in) -> engine->start() -> ... device ... -> nbd_reply_*() -> sent -> io_give
 *
 * OWNER: the connection counts it until it is sent.  While the device works on it, `request` and the buffers belong to
 * the storvsc library.  When the device dies meanwhile, the client's side of it moves to a fresh io (io_orphan) and
 * this one lives on without a connection until the library lets go.
 */
#ifndef HVBLK_IO_H
#define HVBLK_IO_H

#include <hv/storvsc.h>

#include "buffer.h"
#include "nbd_wire.h"

struct nbd_conn;
struct nbd_engine;
struct ublk_queue;

#define IO_PARTS_MAX    8u                         /* chunks of one READ reply */
#define IO_HEADER_BYTES (IO_PARTS_MAX * (32 + 12)) /* largest header of a chunk: extended hole */

enum io_state {
    IO_FREE,
    IO_RECEIVING, /* payload is coming in */
    IO_WAITING,   /* for the device to take it */
    IO_DEVICE,    /* the device works on it */
    IO_REPLY,     /* reply built, not wholly sent */
};

/** Header bytes, then a stretch of the data. */
struct io_part {
    uint16_t header_bytes;
    uint32_t data_offset;
    uint32_t data_bytes;
};

struct io {
    struct hv_storvsc_request request;
    struct io *next;           /* free list, waiting list or output queue */
    struct nbd_engine *engine; /* whose it is, always */
    struct nbd_conn *conn;     /* the NBD client that waits for it, or ... */
    struct ublk_queue *ublk;   /* ... the kernel; both NULL: nobody any more */
    uint64_t cookie;           /* as the client wrote it; the tag of ublk */
    uint64_t offset;
    uint64_t length;
    uint64_t start_ns;
    uint16_t type;  /* enum nbd_command_type, or what the client sent */
    uint16_t flags; /* NBD_CMD_* */
    uint16_t slot;  /* LUN */
    uint8_t state;
    bool flushing;         /* second step of a TRIM with FUA */
    bool flush_owed;       /* FLUSH: the LUN was dirty when it started */
    uint32_t error;        /* enum nbd_error */
    uint32_t status_bytes; /* BLOCK_STATUS: parameter data asked for */
    uint32_t buffer_count;
    uint32_t part_count;
    uint32_t reply_bytes;
    struct io_part part[IO_PARTS_MAX];
    uint8_t header[IO_HEADER_BYTES];
    struct buffer *buffer[BUFFER_PER_REQUEST];
};

struct io_pool {
    struct io *all;
    struct io *free;
    uint32_t count, free_count;
};

int io_pool_init(struct io_pool *pool, uint32_t count, struct nbd_engine *engine);
void io_pool_fini(struct io_pool *pool);
/** Last in first out, so that a few stay warm.  Keeps `reserve` of them back; NULL = not now. */
struct io *io_take(struct io_pool *pool, uint32_t reserve);
/** The buffers must have been given back. */
void io_give(struct io_pool *pool, struct io *io);

/** iovec over data bytes [offset, offset + bytes); returns the entries used. */
unsigned io_data_iov(const struct io *io, uint32_t offset, uint32_t bytes, struct iovec *iov);

#endif
