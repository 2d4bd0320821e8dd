/* SPDX-License-Identifier: BSD-3-Clause */
/* A command's data and the range of blocks it names. */
#include "scsi_command.h"

void hv_scsi_data(const struct hv_scsi_command *command, uint64_t skip, struct hv_iov_cursor *ret)
{
    *ret = (struct hv_iov_cursor){.iov = command->iov, .count = command->iov_count};
    hv_iov_skip(ret, skip);
}

enum hv_step hv_scsi_reply(struct hv_scsi_command *command, const void *data, size_t bytes,
                           uint64_t allocation)
{
    uint64_t moved = hv_min_u64(hv_min_u64(bytes, allocation), command->data_bytes);
    struct hv_iov_cursor to;

    if (!moved)
        return hv_scsi_good(command, 0);
    if (command->data_direction == HV_VSTOR_DATA_OUT)
        return hv_scsi_bad_field(command);
    hv_scsi_data(command, 0, &to);
    return hv_scsi_good(command, hv_iov_write(&to, data, moved));
}

bool hv_scsi_has_data_out(struct hv_scsi_command *command, uint64_t bytes)
{
    if (!bytes)
        return true;
    if (command->data_bytes < bytes) {
        hv_scsi_overrun(command);
        return false;
    }
    if (command->data_direction != HV_VSTOR_DATA_OUT) {
        hv_scsi_bad_field(command);
        return false;
    }
    return true;
}

bool hv_scsi_take(struct hv_scsi_command *command, void *to, size_t bytes)
{
    struct hv_iov_cursor from;

    if (!hv_scsi_has_data_out(command, bytes))
        return false;
    hv_scsi_data(command, 0, &from);
    if (hv_iov_read(&from, to, bytes) == bytes)
        return true;
    hv_scsi_overrun(command);
    return false;
}

bool hv_scsi_check_range(struct hv_disk *disk, struct hv_scsi_command *command, uint64_t lba,
                         uint64_t blocks)
{
    uint64_t capacity =
        atomic_load_explicit(&disk->bytes, memory_order_relaxed) >> disk->block_shift;

    /* A block count is at most 32 bits wide, so the shifts below cannot overflow. */
    if (!hv_range_fits(lba, blocks, capacity)) {
        hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST, HV_ASC_LBA_OUT_OF_RANGE);
        return false;
    }
    command->impl.offset = lba << disk->block_shift;
    command->impl.length = blocks << disk->block_shift;
    return true;
}

bool hv_scsi_range(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    const uint8_t *cdb = command->cdb;
    uint64_t lba, blocks;

    switch (cdb[0] >> 5) { /* the group decides the layout */
    case 0:
        lba = hv_get_be32(cdb) & 0x1fffff;
        blocks = cdb[4] ? cdb[4] : 256;
        break;
    case 1:
    case 2:
        lba = hv_get_be32(cdb + 2);
        blocks = hv_get_be16(cdb + 7);
        break;
    case 5:
        lba = hv_get_be32(cdb + 2);
        blocks = hv_get_be32(cdb + 6);
        break;
    default:
        lba = hv_get_be64(cdb + 2);
        blocks = hv_get_be32(cdb + 10);
        break;
    }
    return hv_scsi_check_range(queue->disk, command, lba, blocks);
}
