/* SPDX-License-Identifier: BSD-3-Clause */
/* A store that reads zeroes and forgets writes: for measuring everything above it. */
#include "disk_impl.h"

#include <errno.h>
#include <string.h>

static bool null_start(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct hv_store_io *io = &command->impl.io;

    (void)queue;
    if (io->op == HV_STORE_READ) {
        if (io->buffer)
            memset(io->buffer, 0, io->length);
        else
            hv_iov_zero(&io->data, io->length);
    }
    io->is_durable = true;
    io->result = io->op == HV_STORE_SYNC ? 0 : (int64_t)io->length;
    return true;
}

static int null_discard(struct hv_disk *disk, uint64_t offset, uint64_t length)
{
    (void)disk, (void)offset, (void)length;
    return 0;
}

static int null_extent(struct hv_disk *disk, uint64_t offset, bool *ret_mapped,
                       uint64_t *ret_length)
{
    *ret_mapped = false;
    *ret_length = disk->bytes - offset;
    return 0;
}

static int null_resize(struct hv_disk *disk, uint64_t bytes, uint64_t *ret_bytes)
{
    *ret_bytes = bytes ? bytes : disk->bytes;
    return 0;
}

static void null_close(struct hv_disk *disk)
{
    (void)disk;
}

static const struct hv_store_ops null_ops = {
    .start = null_start,
    .discard = null_discard,
    .zero = null_discard,
    .extent = null_extent,
    .resize = null_resize,
    .close = null_close,
};

int hv_store_null_open(struct hv_disk *disk, const struct hv_disk_opts *opts, char *why)
{
    (void)why;
    disk->ops = &null_ops;
    disk->bytes = opts->bytes;
    disk->thin = !opts->no_thin;
    disk->discard_zeroes = true;
    disk->physical_bytes = disk->block_bytes;
    return 0;
}
