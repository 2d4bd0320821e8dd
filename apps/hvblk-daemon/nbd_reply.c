/* SPDX-License-Identifier: BSD-3-Clause */
/* Replies: headers beside the data, never data copied behind headers. */
#include <endian.h>
#include <string.h>

#include "nbd_connection.h"
#include "nbd_status.h"

#define HOLE_SEGMENT_BYTES 65536u /* zeroes are looked for in stretches of this size */

struct chunk {
    uint16_t type;
    bool last;
    uint32_t data_offset, data_bytes;
    const void *payload; /* fixed part, before the data */
    uint16_t payload_bytes;
};

static void add_part(struct io *io, uint32_t header_bytes, uint32_t data_offset,
                     uint32_t data_bytes)
{
    struct io_part *part = &io->part[io->part_count++];

    part->header_bytes = (uint16_t)header_bytes;
    part->data_offset = data_offset;
    part->data_bytes = data_bytes;
    io->reply_bytes += header_bytes + data_bytes;
}

/** Bytes of headers so far; parts lie one behind the other in io->header. */
static uint32_t header_end(const struct io *io)
{
    uint32_t end = 0;

    for (uint32_t i = 0; i < io->part_count; i++)
        end += io->part[i].header_bytes;
    return end;
}

static void add_chunk(const struct nbd_conn *conn, struct io *io, const struct chunk *chunk)
{
    uint16_t flags = chunk->last ? NBD_CHUNK_DONE : 0;
    uint32_t bytes = chunk->payload_bytes + chunk->data_bytes, used;
    uint8_t *at = io->header + header_end(io);

    if (conn->extended) {
        struct nbd_wire_ext_chunk wire = {htobe32(NBD_EXT_REPLY_MAGIC), htobe16(flags),
                                          htobe16(chunk->type),         io->cookie,
                                          htobe64(io->offset),          htobe64(bytes)};

        memcpy(at, &wire, sizeof(wire));
        used = sizeof(wire);
    } else {
        struct nbd_wire_chunk wire = {htobe32(NBD_STRUCT_REPLY_MAGIC), htobe16(flags),
                                      htobe16(chunk->type), io->cookie, htobe32(bytes)};

        memcpy(at, &wire, sizeof(wire));
        used = sizeof(wire);
    }
    if (chunk->payload_bytes)
        memcpy(at + used, chunk->payload, chunk->payload_bytes);
    add_part(io, used + chunk->payload_bytes, chunk->data_offset, chunk->data_bytes);
}

static void build_simple(struct io *io, uint32_t data_bytes)
{
    struct nbd_wire_simple_reply wire = {htobe32(NBD_SIMPLE_REPLY_MAGIC), htobe32(io->error),
                                         io->cookie};

    memcpy(io->header, &wire, sizeof(wire));
    add_part(io, sizeof(wire), 0, data_bytes);
}

static void build_error(const struct nbd_conn *conn, struct io *io)
{
    struct nbd_wire_chunk_error error = {htobe32(io->error), 0};
    struct chunk chunk = {
        .type = NBD_CHUNK_ERROR, .last = true, .payload = &error, .payload_bytes = sizeof(error)};

    add_chunk(conn, io, &chunk);
}

static bool is_zero(const uint8_t *data, size_t bytes)
{
    static const uint8_t zero[16];

    /* Data that is not zero nearly always shows it at its start. */
    return !memcmp(data, zero, sizeof(zero)) && !memcmp(data, data + 16, bytes - 16);
}

static bool zero_range(const struct io *io, uint32_t offset, uint32_t bytes)
{
    struct iovec iov[BUFFER_PER_REQUEST + 1];
    unsigned count = io_data_iov(io, offset, bytes, iov);

    for (unsigned i = 0; i < count; i++)
        if (!is_zero(iov[i].iov_base, iov[i].iov_len))
            return false;
    return true;
}

static void add_read_chunk(const struct nbd_conn *conn, struct io *io, uint32_t at, uint32_t bytes,
                           bool hole)
{
    struct nbd_wire_hole where = {htobe64(io->offset + at), htobe32(bytes)};
    struct chunk chunk = {.type = hole ? NBD_CHUNK_OFFSET_HOLE : NBD_CHUNK_OFFSET_DATA,
                          .last = at + bytes == io->length,
                          .data_offset = at,
                          .data_bytes = hole ? 0 : bytes,
                          .payload = &where,
                          .payload_bytes = hole ? sizeof(where) : sizeof(where.offset)};

    add_chunk(conn, io, &chunk);
}

/** One chunk, or stretches of data and zeroes in turn as far as the parts reach. */
static void build_read(const struct nbd_conn *conn, struct io *io)
{
    uint32_t length = (uint32_t)io->length, start = 0, at = 0;
    uint32_t step = io->flags & NBD_CMD_DF ? length : HOLE_SEGMENT_BYTES;
    bool hole = false;

    while (at < length) {
        uint32_t bytes = length - at < step ? length - at : step;
        bool zero = zero_range(io, at, bytes);

        if (at > start && zero != hole) {
            if (io->part_count == IO_PARTS_MAX - 1) {
                hole = false; /* no room for more turns: the rest is data */
                break;
            }
            add_read_chunk(conn, io, start, at - start, hole);
            start = at;
        }
        hole = zero;
        at += bytes;
    }
    add_read_chunk(conn, io, start, length - start, hole);
}

static void build_status(const struct nbd_conn *conn, struct io *io)
{
    const struct nbd_status_range range = {.offset = io->offset,
                                           .length = io->length,
                                           .one = io->flags & NBD_CMD_REQ_ONE,
                                           .extended = conn->extended};
    uint32_t words[2] = {htobe32(NBD_STATUS_CONTEXT_ID), 0}, count, bytes;
    struct chunk chunk = {.last = true, .payload = words};

    bytes = nbd_status_convert(&conn->engine->luns->lun[io->slot], &range, io->buffer[0]->data,
                               io->status_bytes, &count);
    words[1] = htobe32(count);
    chunk.type = conn->extended ? NBD_CHUNK_BLOCK_STATUS_EXT : NBD_CHUNK_BLOCK_STATUS;
    chunk.payload_bytes = conn->extended ? 8 : 4;
    chunk.data_bytes = bytes;
    add_chunk(conn, io, &chunk);
}

void nbd_reply_build(const struct nbd_conn *conn, struct io *io)
{
    bool chunked =
        conn->extended ||
        (conn->structured && (io->type == NBD_CMD_READ || io->type == NBD_CMD_BLOCK_STATUS));

    io->part_count = 0;
    io->reply_bytes = 0;
    if (!chunked)
        build_simple(io, io->type == NBD_CMD_READ && !io->error ? (uint32_t)io->length : 0);
    else if (io->error)
        build_error(conn, io);
    else if (io->type == NBD_CMD_READ)
        build_read(conn, io);
    else if (io->type == NBD_CMD_BLOCK_STATUS)
        build_status(conn, io);
    else
        add_chunk(conn, io, &(struct chunk){.type = NBD_CHUNK_NONE, .last = true});
}

/** Append without the first *skip bytes. */
static unsigned put(struct iovec *iov, unsigned count, const void *data, uint32_t bytes,
                    uint32_t *skip)
{
    if (*skip >= bytes) {
        *skip -= bytes;
        return count;
    }
    iov[count].iov_base = (uint8_t *)(uintptr_t)data + *skip;
    iov[count].iov_len = bytes - *skip;
    *skip = 0;
    return count + 1;
}

unsigned nbd_reply_iov(const struct io *io, uint32_t skip, struct iovec *iov, unsigned max)
{
    const uint8_t *header = io->header;
    unsigned count = 0;

    if (max < 2 * io->part_count + io->buffer_count)
        return 0;
    for (uint32_t i = 0; i < io->part_count; i++) {
        const struct io_part *part = &io->part[i];

        count = put(iov, count, header, part->header_bytes, &skip);
        header += part->header_bytes;
        if (skip >= part->data_bytes) {
            skip -= part->data_bytes;
        } else {
            count +=
                io_data_iov(io, part->data_offset + skip, part->data_bytes - skip, iov + count);
            skip = 0;
        }
    }
    return count;
}
