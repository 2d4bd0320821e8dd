/* SPDX-License-Identifier: BSD-3-Clause */
#include "io.h"

#include <errno.h>
#include <stdlib.h>

int io_pool_init(struct io_pool *pool, uint32_t count, struct nbd_engine *engine)
{
    struct io *all = calloc(count, sizeof(*all));

    if (!all)
        return -ENOMEM;
    *pool = (struct io_pool){.all = all, .count = count};
    for (uint32_t i = count; i-- > 0;) {
        all[i].engine = engine;
        io_give(pool, &all[i]);
    }
    return 0;
}

void io_pool_fini(struct io_pool *pool)
{
    free(pool->all);
    *pool = (struct io_pool){0};
}

struct io *io_take(struct io_pool *pool, uint32_t reserve)
{
    struct io *io = pool->free;

    if (pool->free_count <= reserve)
        return NULL;
    pool->free = io->next;
    pool->free_count--;
    io->next = NULL;
    io->buffer_count = 0;
    io->part_count = 0;
    io->reply_bytes = 0;
    io->error = NBD_OK;
    io->flushing = false;
    io->flush_owed = false;
    return io;
}

void io_give(struct io_pool *pool, struct io *io)
{
    io->state = IO_FREE;
    io->conn = NULL;
    io->ublk = NULL;
    io->next = pool->free;
    pool->free = io;
    pool->free_count++;
}

unsigned io_data_iov(const struct io *io, uint32_t offset, uint32_t bytes, struct iovec *iov)
{
    unsigned count = 0;

    while (bytes) {
        uint32_t at = offset % BUFFER_SLAB_BYTES, take = BUFFER_SLAB_BYTES - at;

        if (take > bytes)
            take = bytes;
        iov[count].iov_base = io->buffer[offset / BUFFER_SLAB_BYTES]->data + at;
        iov[count++].iov_len = take;
        offset += take;
        bytes -= take;
    }
    return count;
}
