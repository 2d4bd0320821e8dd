/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbd_rig.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbd_status.h>

#define RIG_IOS 600u

/* ---- The device: memory ---- */

static enum nbd_error carry_out(struct nbd_rig *rig, struct io *io)
{
    struct iovec iov[BUFFER_PER_REQUEST + 1];
    unsigned count = io->buffer_count && io->type <= NBD_CMD_WRITE
                         ? io_data_iov(io, 0, (uint32_t)io->length, iov)
                         : 0;
    uint64_t at = io->offset;

    if (io->type == NBD_CMD_BLOCK_STATUS) {
        io->status_bytes = 0;
        return NBD_OK;
    }
    if (at > RIG_DISK_BYTES || io->length > RIG_DISK_BYTES - at)
        return NBD_OK; /* of the large LUN: no memory behind it */
    for (unsigned i = 0; i < count; at += iov[i++].iov_len)
        if (io->type == NBD_CMD_READ)
            memcpy(iov[i].iov_base, rig->disk + at, iov[i].iov_len);
        else
            memcpy(rig->disk + at, iov[i].iov_base, iov[i].iov_len);
    return NBD_OK;
}

static void start(struct nbd_engine *engine, struct io *io)
{
    struct nbd_rig *rig = engine->owner;

    rig->started++;
    rig->last = *io;
    if (!rig->hold || rig->held_count == RIG_HELD_MAX) {
        nbd_finish(engine, io, carry_out(rig, io));
        return;
    }
    io->state = IO_DEVICE;
    rig->held[rig->held_count++] = io;
}

void nbd_rig_complete(struct nbd_rig *rig, unsigned index, enum nbd_error error)
{
    struct io *io = rig->held[index];

    memmove(rig->held + index, rig->held + index + 1,
            (rig->held_count - index - 1) * sizeof(rig->held[0]));
    rig->held_count--;
    if (!error && io->conn)
        error = carry_out(rig, io);
    nbd_finish(&rig->engine, io, error);
}

/* ---- Life ---- */

static void add_lun(struct nbd_rig *rig, uint64_t blocks, uint32_t block_bytes, bool read_only)
{
    struct hv_storvsc_lun device = {.address.lun = (uint8_t)rig->luns.count,
                                    .block_count = blocks,
                                    .block_bytes = block_bytes,
                                    .physical_block_bytes = 4096,
                                    .read_only = read_only,
                                    .write_cache = true,
                                    .thin = true,
                                    .unmap = true,
                                    .unmap_zeroes = true,
                                    .vendor = "Msft",
                                    .product = "Virtual Disk",
                                    .serial = "s0"};
    uint16_t slot = lun_slot(&rig->luns, &device.address);

    if (!lun_from_device(&device, &rig->luns.lun[slot]))
        abort();
}

void nbd_rig_init(struct nbd_rig *rig, unsigned arena_mib)
{
    static uint8_t *arena, *disk; /* kept: fuzzing sets up thousands of rigs a second */
    static unsigned arena_max;

    memset(rig, 0, sizeof(*rig));
    if (arena_mib > arena_max) {
        free(arena);
        arena = aligned_alloc(4096, (size_t)arena_mib << 20);
        arena_max = arena_mib;
    }
    if (!disk)
        disk = malloc(RIG_DISK_BYTES);
    rig->arena = arena;
    rig->disk = disk;
    add_lun(rig, RIG_DISK_BYTES / 512, 512, false);
    add_lun(rig, RIG_DISK_BYTES / 4096, 4096, true);
    add_lun(rig, 8, 512, false);
    rig->luns.lun[2].present = false;
    add_lun(rig, UINT64_C(1) << 35, 512, false);
    rig->engine.luns = &rig->luns;
    rig->engine.stats = &rig->stats;
    rig->engine.start = start;
    rig->engine.owner = rig;
    rig->engine.turn_limit = UINT64_MAX;
    if (!rig->arena || !rig->disk)
        abort();
    memset(disk, 0, RIG_DISK_BYTES);
    if (buffer_pool_init(&rig->engine.buffers, rig->arena, (size_t)arena_mib << 20) ||
        io_pool_init(&rig->engine.ios, RIG_IOS, &rig->engine))
        abort();
}

bool nbd_rig_fini(struct nbd_rig *rig)
{
    bool clean;

    rig->hold = false;
    for (unsigned i = 0; i < RIG_CONNS; i++)
        if (rig->conn_open[i])
            nbd_conn_kill(&rig->conn[i], NULL);
    while (rig->held_count)
        nbd_rig_complete(rig, 0, NBD_EIO);
    clean = rig->engine.ios.free_count == rig->engine.ios.count &&
            !rig->engine.buffers.used_bytes && !stats_get(&rig->stats.in_flight);
    for (unsigned i = 0; i < RIG_CONNS; i++) {
        if (!rig->conn_open[i])
            continue;
        clean &= !rig->conn[i].io_count;
        nbd_conn_fini(&rig->conn[i]);
    }
    io_pool_fini(&rig->engine.ios);
    buffer_pool_fini(&rig->engine.buffers);
    return clean;
}

struct nbd_conn *nbd_rig_open(struct nbd_rig *rig, unsigned index)
{
    if (nbd_conn_init(&rig->conn[index], &rig->engine, index))
        abort();
    rig->conn_open[index] = true;
    return &rig->conn[index];
}

/* ---- Moving bytes ---- */

size_t nbd_rig_put(struct nbd_conn *conn, const void *bytes, size_t count, size_t step)
{
    const uint8_t *from = bytes;
    size_t done = 0;

    while (done < count) {
        struct iovec iov[NBD_RX_IOV_MAX];
        unsigned n = nbd_conn_rx_iov(conn, iov);
        size_t take = 0, limit = count - done < step ? count - done : step;

        for (unsigned i = 0; i < n && take < limit; i++) {
            size_t piece = limit - take < iov[i].iov_len ? limit - take : iov[i].iov_len;

            memcpy(iov[i].iov_base, from + done + take, piece);
            take += piece;
        }
        if (!take)
            break;
        done += take;
        nbd_conn_rx_done(conn, take);
    }
    return done;
}

size_t nbd_rig_get(struct nbd_conn *conn, void *bytes, size_t room, size_t step)
{
    uint8_t *to = bytes;
    size_t done = 0;

    while (done < room && conn->phase != NBD_DEAD) {
        struct iovec iov[64];
        unsigned n = nbd_conn_tx_iov(conn, iov, 64);
        size_t take = 0, limit = room - done < step ? room - done : step;

        for (unsigned i = 0; i < n && take < limit; i++) {
            size_t piece = limit - take < iov[i].iov_len ? limit - take : iov[i].iov_len;

            memcpy(to + done + take, iov[i].iov_base, piece);
            take += piece;
        }
        if (!take)
            break;
        done += take;
        nbd_conn_tx_done(conn, take);
    }
    return done;
}

/* ---- Building bytes ---- */

void put_data(struct bytes *bytes, const void *data, size_t count)
{
    if (count > sizeof(bytes->at) - bytes->count)
        abort();
    memcpy(bytes->at + bytes->count, data, count);
    bytes->count += count;
}

void put_u16(struct bytes *bytes, uint16_t value)
{
    uint16_t wire = htobe16(value);

    put_data(bytes, &wire, sizeof(wire));
}

void put_u32(struct bytes *bytes, uint32_t value)
{
    uint32_t wire = htobe32(value);

    put_data(bytes, &wire, sizeof(wire));
}

void put_u64(struct bytes *bytes, uint64_t value)
{
    uint64_t wire = htobe64(value);

    put_data(bytes, &wire, sizeof(wire));
}

uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)get_u16(at) << 16 | get_u16(at + 2);
}

uint64_t get_u64(const uint8_t *at)
{
    return (uint64_t)get_u32(at) << 32 | get_u32(at + 4);
}

void put_option(struct bytes *bytes, uint32_t option, const void *data, uint32_t count)
{
    put_data(bytes, "IHAVEOPT", 8);
    put_u32(bytes, option);
    put_u32(bytes, count);
    if (count)
        put_data(bytes, data, count);
}

void put_go(struct bytes *bytes, uint32_t option, const char *name)
{
    uint32_t name_bytes = (uint32_t)strlen(name);

    put_data(bytes, "IHAVEOPT", 8);
    put_u32(bytes, option);
    put_u32(bytes, 4 + name_bytes + 2);
    put_u32(bytes, name_bytes);
    put_data(bytes, name, name_bytes);
    put_u16(bytes, 0);
}

void put_request(struct bytes *bytes, uint16_t flags, uint16_t type, uint64_t cookie,
                 uint64_t offset, uint32_t length)
{
    put_u32(bytes, 0x25609513);
    put_u16(bytes, flags);
    put_u16(bytes, type);
    put_u64(bytes, cookie);
    put_u64(bytes, offset);
    put_u32(bytes, length);
}

void put_ext_request(struct bytes *bytes, uint16_t flags, uint16_t type, uint64_t cookie,
                     uint64_t offset, uint64_t length)
{
    put_u32(bytes, 0x21e41c71);
    put_u16(bytes, flags);
    put_u16(bytes, type);
    put_u64(bytes, cookie);
    put_u64(bytes, offset);
    put_u64(bytes, length);
}

static void put_set_meta(struct bytes *bytes, const char *export)
{
    uint32_t name_bytes = (uint32_t)strlen(export);

    put_data(bytes, "IHAVEOPT", 8);
    put_u32(bytes, 10);
    put_u32(bytes, 4 + name_bytes + 4 + 4 + 15);
    put_u32(bytes, name_bytes);
    put_data(bytes, export, name_bytes);
    put_u32(bytes, 1);
    put_u32(bytes, 15);
    put_data(bytes, "base:allocation", 15);
}

struct nbd_conn *nbd_rig_ready(struct nbd_rig *rig, unsigned index, const char *export,
                               enum rig_mode mode)
{
    struct nbd_conn *conn = nbd_rig_open(rig, index);
    static struct bytes bytes;
    uint8_t answers[1024];

    bytes.count = 0;
    put_u32(&bytes, 3);
    if (mode != RIG_SIMPLE) {
        put_option(&bytes, mode == RIG_EXTENDED ? 11 : 8, NULL, 0);
        put_set_meta(&bytes, export);
    }
    put_go(&bytes, 7, export);
    if (nbd_rig_put(conn, bytes.at, bytes.count, SIZE_MAX) != bytes.count ||
        conn->phase != NBD_TRANSMISSION)
        abort();
    (void)nbd_rig_get(conn, answers, sizeof(answers), SIZE_MAX);
    return conn;
}
