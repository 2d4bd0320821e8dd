/* SPDX-License-Identifier: BSD-3-Clause */
/* Which commands there are, what a reservation does to each, and what each needs of the disk. */
#include "scsi_command.h"

static enum hv_step unknown_operation(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    (void)queue;
    hv_scsi_set_sense(command, HV_SRB_INVALID_REQUEST, HV_SENSE_ILLEGAL_REQUEST,
                      HV_ASC_INVALID_OPCODE);
    return HV_STEP_DONE;
}

static enum hv_step cut_cdb(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    (void)queue;
    return hv_scsi_bad_field(command);
}

#define READS  HV_ACCESS_READ, HV_SCSI_MEDIA
#define WRITES HV_ACCESS_WRITE, HV_SCSI_MEDIA | HV_SCSI_MODIFIES
#define ASKS   HV_ACCESS_ANY, 0

static const struct hv_scsi_operation operations[256] = {
    [HV_SCSI_TEST_UNIT_READY] = {hv_scsi_test_unit_ready, ASKS},
    [HV_SCSI_REQUEST_SENSE] = {hv_scsi_request_sense, HV_ACCESS_ANY,
                               HV_SCSI_NO_UA | HV_SCSI_LEGACY_OK},
    [HV_SCSI_FORMAT_UNIT] = {hv_scsi_format_unit, WRITES},
    [HV_SCSI_READ_6] = {hv_scsi_read, READS},
    [HV_SCSI_WRITE_6] = {hv_scsi_write, WRITES},
    [HV_SCSI_INQUIRY] = {hv_scsi_inquiry, HV_ACCESS_ANY, HV_SCSI_NO_UA | HV_SCSI_LEGACY_OK},
    [HV_SCSI_MODE_SELECT_6] = {hv_scsi_mode_select, HV_ACCESS_WRITE, HV_SCSI_MEDIA},
    [HV_SCSI_RESERVE_6] = {hv_scsi_reserve, ASKS},
    [HV_SCSI_RELEASE_6] = {hv_scsi_release, HV_ACCESS_ANY, HV_SCSI_LEGACY_OK},
    [HV_SCSI_MODE_SENSE_6] = {hv_scsi_mode_sense, HV_ACCESS_READ, 0},
    [HV_SCSI_START_STOP_UNIT] = {hv_scsi_start_stop, HV_ACCESS_ANY, HV_SCSI_MEDIA},
    [HV_SCSI_SEND_DIAGNOSTIC] = {hv_scsi_send_diagnostic, HV_ACCESS_WRITE, 0},
    [HV_SCSI_PREVENT_REMOVAL] = {hv_scsi_prevent_removal, ASKS},
    [HV_SCSI_READ_CAPACITY_10] = {hv_scsi_read_capacity_10, ASKS},
    [HV_SCSI_READ_10] = {hv_scsi_read, READS},
    [HV_SCSI_WRITE_10] = {hv_scsi_write, WRITES},
    [HV_SCSI_WRITE_AND_VERIFY_10] = {hv_scsi_write_and_verify, WRITES},
    [HV_SCSI_VERIFY_10] = {hv_scsi_verify, READS},
    [HV_SCSI_SYNCHRONIZE_CACHE_10] = {hv_scsi_synchronize_cache, HV_ACCESS_WRITE, HV_SCSI_MEDIA},
    [HV_SCSI_WRITE_SAME_10] = {hv_scsi_write_same, WRITES},
    [HV_SCSI_UNMAP] = {hv_scsi_unmap, WRITES},
    [HV_SCSI_MODE_SELECT_10] = {hv_scsi_mode_select, HV_ACCESS_WRITE, HV_SCSI_MEDIA},
    [HV_SCSI_MODE_SENSE_10] = {hv_scsi_mode_sense, HV_ACCESS_READ, 0},
    [HV_SCSI_PERSISTENT_RESERVE_IN] = {hv_scsi_persistent_in, ASKS},
    [HV_SCSI_PERSISTENT_RESERVE_OUT] = {hv_scsi_persistent_out, ASKS},
    [HV_SCSI_READ_16] = {hv_scsi_read, READS},
    [HV_SCSI_COMPARE_AND_WRITE] = {hv_scsi_compare_and_write, HV_ACCESS_WRITE,
                                   HV_SCSI_ALONE | HV_SCSI_MODIFIES},
    [HV_SCSI_WRITE_16] = {hv_scsi_write, WRITES},
    [HV_SCSI_WRITE_AND_VERIFY_16] = {hv_scsi_write_and_verify, WRITES},
    [HV_SCSI_VERIFY_16] = {hv_scsi_verify, READS},
    [HV_SCSI_SYNCHRONIZE_CACHE_16] = {hv_scsi_synchronize_cache, HV_ACCESS_WRITE, HV_SCSI_MEDIA},
    [HV_SCSI_WRITE_SAME_16] = {hv_scsi_write_same, WRITES},
    [HV_SCSI_SERVICE_ACTION_IN_16] = {hv_scsi_service_action_in, ASKS},
    [HV_SCSI_READ_12] = {hv_scsi_read, READS},
    [HV_SCSI_WRITE_12] = {hv_scsi_write, WRITES},
    [HV_SCSI_WRITE_AND_VERIFY_12] = {hv_scsi_write_and_verify, WRITES},
    [HV_SCSI_VERIFY_12] = {hv_scsi_verify, READS},
};

/* Two commands whose service action or bits decide. */
static const struct hv_scsi_operation get_lba_status = {hv_scsi_service_action_in, READS};
static const struct hv_scsi_operation stop_unit = {hv_scsi_start_stop, HV_ACCESS_WRITE,
                                                   HV_SCSI_MEDIA};
static const struct hv_scsi_operation prevent = {hv_scsi_prevent_removal, HV_ACCESS_WRITE, 0};
static const struct hv_scsi_operation unknown = {unknown_operation, ASKS};
static const struct hv_scsi_operation short_cdb = {cut_cdb, ASKS};

const struct hv_scsi_operation *hv_scsi_find(const uint8_t *cdb, uint8_t cdb_bytes)
{
    static const uint8_t group_bytes[8] = {6, 10, 10, 0, 16, 12, 0, 0};
    const struct hv_scsi_operation *operation = &operations[cdb[0]];

    if (!operation->start)
        return &unknown;
    if (cdb_bytes < group_bytes[cdb[0] >> 5])
        return &short_cdb;
    if (cdb[0] == HV_SCSI_SERVICE_ACTION_IN_16 && (cdb[1] & 0x1f) == HV_SCSI_SAI_GET_LBA_STATUS)
        return &get_lba_status;
    if (cdb[0] == HV_SCSI_START_STOP_UNIT && (cdb[4] & 0xf1) != 0x01)
        return &stop_unit;
    if (cdb[0] == HV_SCSI_PREVENT_REMOVAL && (cdb[4] & 0x03))
        return &prevent;
    return operation;
}

bool hv_scsi_runs_alone(const struct hv_scsi_command *command)
{
    /* PREEMPT AND ABORT: nothing that the preempted initiators sent may reach the medium afterwards. */
    return (command->impl.operation->flags & HV_SCSI_ALONE) ||
           (command->cdb[0] == HV_SCSI_PERSISTENT_RESERVE_OUT && (command->cdb[1] & 0x1f) == 5);
}
