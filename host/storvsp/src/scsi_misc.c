/* SPDX-License-Identifier: BSD-3-Clause */
/* The short commands. */
#include "scsi_command.h"

#include <string.h>

enum hv_step hv_scsi_test_unit_ready(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    (void)queue;
    return hv_scsi_good(command, 0);
}

/* A pending unit attention is told as data and is over then. */
enum hv_step hv_scsi_request_sense(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct hv_disk *disk = queue->disk;
    uint8_t sense[18];
    uint16_t asc;
    uint8_t key;

    pthread_mutex_lock(&disk->lock);
    asc = hv_scsi_take_attention(disk, command->initiator);
    pthread_mutex_unlock(&disk->lock);
    key = asc ? HV_SENSE_UNIT_ATTENTION : HV_SENSE_NO_SENSE;
    if (command->cdb[1] & 0x01) { /* DESC: descriptor format without descriptors */
        uint8_t descriptor[8] = {0x72, key, (uint8_t)(asc >> 8), (uint8_t)asc};

        return hv_scsi_reply(command, descriptor, sizeof(descriptor), command->cdb[4]);
    }
    hv_scsi_write_fixed_sense(sense, key, asc);
    return hv_scsi_reply(command, sense, sizeof(sense), command->cdb[4]);
}

/* The medium cannot be removed, so there is nothing to prevent. */
enum hv_step hv_scsi_prevent_removal(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    (void)queue;
    return hv_scsi_good(command, 0);
}

/* The self-test passes; other diagnostics do not exist. */
enum hv_step hv_scsi_send_diagnostic(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    (void)queue;
    if ((command->cdb[1] & 0xe3) || hv_get_be16(command->cdb + 3))
        return hv_scsi_bad_field(command); /* self-test code, DEVOFFL, UNITOFFL, parameters */
    return hv_scsi_good(command, 0);
}

/* Good without effect, as Hyper-V answers: what a format leaves on the medium is not defined. */
enum hv_step hv_scsi_format_unit(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    (void)queue;
    if (command->cdb[1] & 0xc0) /* FMTPINFO: no protection information here */
        return hv_scsi_bad_field(command);
    return hv_scsi_good(command, 0);
}

enum hv_step hv_scsi_read_capacity_10(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    const struct hv_disk *disk = queue->disk;
    uint64_t last = (disk->bytes >> disk->block_shift) - 1;
    uint8_t reply[8];

    if (!(command->cdb[8] & 0x01) && hv_get_be32(command->cdb + 2)) /* PMI */
        return hv_scsi_bad_field(command);
    hv_put_be32(reply, (uint32_t)hv_min_u64(last, UINT32_MAX)); /* all ones: ask READ CAPACITY 16 */
    hv_put_be32(reply + 4, disk->block_bytes);
    return hv_scsi_reply(command, reply, sizeof(reply), sizeof(reply));
}

static enum hv_step read_capacity_16(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    const struct hv_disk *disk = queue->disk;
    uint8_t reply[32] = {0};

    if (!(command->cdb[14] & 0x01) && hv_get_be64(command->cdb + 2)) /* PMI */
        return hv_scsi_bad_field(command);
    hv_put_be64(reply, (disk->bytes >> disk->block_shift) - 1);
    hv_put_be32(reply + 8, disk->block_bytes);
    for (uint32_t bytes = disk->block_bytes; bytes < disk->physical_bytes; bytes *= 2)
        reply[13]++;
    if (disk->thin)
        reply[14] = (uint8_t)(0x80 | (disk->discard_zeroes ? 0x40 : 0)); /* LBPME, LBPRZ */
    return hv_scsi_reply(command, reply, sizeof(reply), hv_get_be32(command->cdb + 10));
}

enum hv_step hv_scsi_service_action_in(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    switch (command->cdb[1] & 0x1f) {
    case HV_SCSI_SAI_READ_CAPACITY_16:
        return read_capacity_16(queue, command);
    case HV_SCSI_SAI_GET_LBA_STATUS:
        return hv_scsi_get_lba_status(queue, command);
    default:
        return hv_scsi_bad_field(command);
    }
}
