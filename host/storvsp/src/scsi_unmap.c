/* SPDX-License-Identifier: BSD-3-Clause */
/* Thin provisioning: UNMAP, WRITE SAME, and how blocks are backed (GET LBA STATUS). */
#include "scsi_command.h"

#include <errno.h>
#include <string.h>

#define UNMAP_HEADER_BYTES     8u
#define UNMAP_DESCRIPTOR_BYTES 16u
#define STATUS_DESCRIPTORS_MAX 64u
#define BLOCK_BYTES_MAX        4096u

/* The space was changed; then as durable as a write. */
static enum hv_step changed(struct hv_disk_queue *queue, struct hv_scsi_command *command,
                            uint64_t transferred)
{
    command->impl.progress = transferred;
    if (hv_scsi_wants_durable(queue->disk, false))
        return hv_scsi_sync(queue, command);
    return hv_scsi_good(command, transferred);
}

/* All descriptors are checked before the first is obeyed. */
enum hv_step hv_scsi_unmap(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    uint8_t list[UNMAP_HEADER_BYTES + HV_SCSI_UNMAP_MAX * UNMAP_DESCRIPTOR_BYTES];
    struct hv_disk *disk = queue->disk;
    uint32_t list_bytes = hv_get_be16(command->cdb + 7);
    uint32_t count;

    if (!disk->thin) {
        hv_scsi_set_sense(command, HV_SRB_INVALID_REQUEST, HV_SENSE_ILLEGAL_REQUEST,
                          HV_ASC_INVALID_OPCODE);
        return HV_STEP_DONE;
    }
    if (command->cdb[1] & 0x01) /* ANCHOR */
        return hv_scsi_bad_field(command);
    if (!list_bytes)
        return hv_scsi_good(command, 0);
    if (list_bytes < UNMAP_HEADER_BYTES)
        return hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST, HV_ASC_PARAMETER_LIST_LENGTH);
    if (!hv_scsi_has_data_out(command, list_bytes) ||
        !hv_scsi_take(command, list, hv_min_u64(list_bytes, sizeof(list))))
        return HV_STEP_DONE;
    if (hv_get_be16(list + 2) > list_bytes - UNMAP_HEADER_BYTES)
        return hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST, HV_ASC_PARAMETER_LIST_LENGTH);
    count = hv_get_be16(list + 2) / UNMAP_DESCRIPTOR_BYTES;
    if (count > HV_SCSI_UNMAP_MAX)
        return hv_scsi_bad_parameter(command);
    for (int obey = 0; obey < 2; obey++)
        for (uint32_t i = 0; i < count; i++) {
            const uint8_t *d = list + UNMAP_HEADER_BYTES + i * UNMAP_DESCRIPTOR_BYTES;
            int err = 0;

            if (!hv_scsi_check_range(disk, command, hv_get_be64(d), hv_get_be32(d + 8)))
                return HV_STEP_DONE;
            if (obey && command->impl.length)
                err = disk->ops->discard(disk, command->impl.offset, command->impl.length);
            if (err)
                return hv_scsi_io_error(queue, command, err, true, command->impl.offset);
        }
    return changed(queue, command, list_bytes);
}

static enum hv_step same_written(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct hv_store_io *io = &command->impl.io;
    uint64_t taken = command->impl.state, within;

    if (io->result <= 0)
        return hv_scsi_io_error(queue, command, io->result ? io->result : -EIO, true, io->offset);
    command->impl.progress += (uint64_t)io->result;
    if (command->impl.progress == command->impl.length) {
        command->impl.state = 0;
        return changed(queue, command, taken);
    }
    within = command->impl.progress & (queue->disk->block_bytes - 1); /* a write may end anywhere */
    io->buffer = command->impl.buffer + within;
    io->offset = command->impl.offset + command->impl.progress;
    io->length =
        hv_min_u64(command->impl.length - command->impl.progress, HV_DISK_BOUNCE_BYTES - within);
    return HV_STEP_IO;
}

/* Block after block, from a buffer full of copies. */
static enum hv_step write_pattern(struct hv_disk_queue *queue, struct hv_scsi_command *command,
                                  const uint8_t *block, uint32_t taken)
{
    struct hv_store_io *io = &command->impl.io;
    uint32_t block_bytes = queue->disk->block_bytes;

    command->impl.buffer = hv_disk_get_bounce(queue);
    if (!command->impl.buffer) {
        command->impl.step = hv_scsi_write_same;
        return HV_STEP_WAIT;
    }
    io->op = HV_STORE_WRITE;
    io->buffer = command->impl.buffer;
    io->offset = command->impl.offset;
    io->length = hv_min_u64(command->impl.length, HV_DISK_BOUNCE_BYTES);
    io->want_durable = false; /* one sync at the end */
    for (uint64_t at = 0; at < io->length; at += block_bytes)
        memcpy(io->buffer + at, block, block_bytes);
    command->impl.progress = 0;
    command->impl.state = taken;
    command->impl.step = same_written;
    return HV_STEP_IO;
}

static bool is_zero(const uint8_t *block, size_t bytes)
{
    return !block[0] && memcmp(block, block + 1, bytes - 1) == 0;
}

enum hv_step hv_scsi_write_same(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct hv_disk *disk = queue->disk;
    uint8_t flags = command->cdb[1];
    bool long_form = command->cdb[0] == HV_SCSI_WRITE_SAME_16;
    bool unmap = flags & 0x08, no_data = flags & 0x01;
    uint8_t block[BLOCK_BYTES_MAX] = {0};
    uint32_t taken = no_data ? 0 : disk->block_bytes;
    int err = -EOPNOTSUPP;

    if ((flags & (HV_SCSI_CDB_PROTECT | 0x10 | 0x06)) || /* ANCHOR; PBDATA, LBDATA are obsolete */
        (unmap && !disk->thin) || (no_data && !long_form))
        return hv_scsi_bad_field(command);
    if (!hv_scsi_range(queue, command))
        return HV_STEP_DONE;
    if (!command->impl.length || command->impl.length > HV_SCSI_WRITE_SAME_MAX)
        return hv_scsi_bad_field(command); /* block limits page: WSNZ, maximum WRITE SAME length */
    if (taken && !hv_scsi_take(command, block, taken))
        return HV_STEP_DONE;
    if (is_zero(block, disk->block_bytes)) {
        if (unmap && disk->discard_zeroes)
            err = disk->ops->discard(disk, command->impl.offset, command->impl.length);
        if (err == -EOPNOTSUPP)
            err = disk->ops->zero(disk, command->impl.offset, command->impl.length);
        if (!err)
            return changed(queue, command, taken);
        if (err != -EOPNOTSUPP)
            return hv_scsi_io_error(queue, command, err, true, command->impl.offset);
    }
    return write_pattern(queue, command, block, taken);
}

/* A run of blocks of one kind; a block with any data in it is mapped. */
static int block_run(struct hv_disk *disk, uint64_t offset, uint64_t end, bool *ret_mapped,
                     uint64_t *ret_length)
{
    uint64_t mask = disk->block_bytes - 1, length = 0;
    bool mapped = true;
    int err = disk->ops->extent(disk, offset, &mapped, &length);

    if (err)
        return err;
    if (!mapped && length < disk->block_bytes)
        mapped = true;
    length = mapped ? (length + mask) & ~mask : length & ~mask;
    *ret_mapped = mapped;
    *ret_length = hv_min_u64(length, end - offset);
    return 0;
}

enum hv_step hv_scsi_get_lba_status(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    uint8_t reply[8 + STATUS_DESCRIPTORS_MAX * 16] = {0};
    struct hv_disk *disk = queue->disk;
    uint64_t lba = hv_get_be64(command->cdb + 2);
    uint32_t allocation = hv_get_be32(command->cdb + 10);
    uint64_t room = hv_min_u64(allocation, command->data_bytes), count = 0;
    uint64_t wanted = hv_min_u64(room < 24 ? 1 : (room - 8) / 16, STATUS_DESCRIPTORS_MAX);
    uint64_t at, end;

    if (!hv_scsi_check_range(disk, command, lba, 1))
        return HV_STEP_DONE;
    at = command->impl.offset;
    end = disk->bytes;
    for (uint32_t looks = 0; at < end && looks < 2 * STATUS_DESCRIPTORS_MAX; looks++) {
        uint8_t *last = reply + 8 + (count ? count - 1 : 0) * 16;
        uint64_t length = 0;
        bool mapped = true;
        int err = block_run(disk, at, end, &mapped, &length);

        if (err)
            return hv_scsi_io_error(queue, command, err, false, at);
        length = hv_min_u64(length >> disk->block_shift, UINT32_MAX);
        if (count && last[12] == !mapped &&
            hv_get_be32(last + 8) + length <= UINT32_MAX) { /* more of the same */
            hv_put_be32(last + 8, (uint32_t)(hv_get_be32(last + 8) + length));
        } else {
            if (count == wanted)
                break;
            last = reply + 8 + count++ * 16;
            hv_put_be64(last, at >> disk->block_shift);
            hv_put_be32(last + 8, (uint32_t)length);
            last[12] = !mapped; /* 0 mapped, 1 deallocated */
        }
        at += length << disk->block_shift;
    }
    hv_put_be32(reply, (uint32_t)(4 + count * 16));
    return hv_scsi_reply(command, reply, 8 + count * 16, allocation);
}
