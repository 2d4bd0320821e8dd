/* SPDX-License-Identifier: BSD-3-Clause */
/* How a command ends: status, SRB status and fixed-format sense (SPC-3 4.5.3). */
#include "scsi_command.h"

#include <errno.h>
#include <string.h>

#define FIXED_SENSE_BYTES 18u

void hv_scsi_write_fixed_sense(uint8_t sense[18], uint8_t key, uint16_t asc)
{
    memset(sense, 0, FIXED_SENSE_BYTES);
    sense[0] = 0x70; /* current, fixed format */
    sense[2] = key;
    sense[7] = FIXED_SENSE_BYTES - 8;
    hv_put_be16(sense + 12, asc);
}

void hv_scsi_set_sense(struct hv_scsi_command *command, uint8_t srb_status, uint8_t key,
                       uint16_t asc)
{
    memset(command->sense, 0, sizeof(command->sense));
    hv_scsi_write_fixed_sense(command->sense, key, asc);
    command->sense_bytes = FIXED_SENSE_BYTES;
    command->srb_status = srb_status;
    command->scsi_status = HV_SCSI_STATUS_CHECK_CONDITION;
}

void hv_scsi_set_information(struct hv_scsi_command *command, uint64_t information)
{
    if (information > UINT32_MAX)
        return; /* does not fit the fixed format: not valid */
    command->sense[0] |= 0x80;
    hv_put_be32(command->sense + 3, (uint32_t)information);
}

enum hv_step hv_scsi_good(struct hv_scsi_command *command, uint64_t transferred_bytes)
{
    command->transferred_bytes = (uint32_t)transferred_bytes; /* at most data_bytes */
    return HV_STEP_DONE;
}

enum hv_step hv_scsi_fail(struct hv_scsi_command *command, uint8_t key, uint16_t asc)
{
    hv_scsi_set_sense(command, HV_SRB_ERROR, key, asc);
    return HV_STEP_DONE;
}

enum hv_step hv_scsi_bad_field(struct hv_scsi_command *command)
{
    hv_scsi_set_sense(command, HV_SRB_INVALID_REQUEST, HV_SENSE_ILLEGAL_REQUEST,
                      HV_ASC_INVALID_FIELD_IN_CDB);
    return HV_STEP_DONE;
}

enum hv_step hv_scsi_bad_parameter(struct hv_scsi_command *command)
{
    return hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST, HV_ASC_INVALID_FIELD_IN_PARAMETER);
}

enum hv_step hv_scsi_conflict(struct hv_scsi_command *command)
{
    command->srb_status = HV_SRB_ERROR;
    command->scsi_status = HV_SCSI_STATUS_RESERVATION_CONFLICT;
    return HV_STEP_DONE;
}

enum hv_step hv_scsi_overrun(struct hv_scsi_command *command)
{
    command->srb_status = HV_SRB_DATA_OVERRUN;
    return HV_STEP_DONE;
}

enum hv_step hv_scsi_io_error(struct hv_disk_queue *queue, struct hv_scsi_command *command,
                              int64_t error, bool writing, uint64_t at)
{
    switch (-error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return hv_scsi_fail(command, HV_SENSE_DATA_PROTECT, HV_ASC_SPACE_ALLOCATION_FAILED);
    case EROFS:
    case EPERM:
    case EACCES:
        return hv_scsi_fail(command, HV_SENSE_DATA_PROTECT, HV_ASC_WRITE_PROTECTED);
    case ENOMEM:
    case EAGAIN: /* for now only: the guest tries again */
        command->srb_status = HV_SRB_BUSY;
        command->scsi_status = HV_SCSI_STATUS_BUSY;
        return HV_STEP_DONE;
    case EFAULT: /* the guest's memory went away, not the medium */
        return hv_scsi_fail(command, HV_SENSE_HARDWARE_ERROR, HV_ASC_INTERNAL_TARGET_FAILURE);
    default:
        hv_scsi_fail(command, HV_SENSE_MEDIUM_ERROR,
                     writing ? HV_ASC_WRITE_ERROR : HV_ASC_UNRECOVERED_READ_ERROR);
        hv_scsi_set_information(command, at >> queue->disk->block_shift);
        return HV_STEP_DONE;
    }
}
