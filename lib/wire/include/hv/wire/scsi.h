/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SCSI numbers used by both ends: operation codes, status, sense.  Fields inside CDBs and data are big-endian.
 * Source: docs/wire.md "SCSI"; T10 SPC-4, SBC-3.
 */
#ifndef HV_WIRE_SCSI_H
#define HV_WIRE_SCSI_H

#define HV_SCSI_TEST_UNIT_READY        0x00u
#define HV_SCSI_REQUEST_SENSE          0x03u
#define HV_SCSI_FORMAT_UNIT            0x04u
#define HV_SCSI_READ_6                 0x08u
#define HV_SCSI_WRITE_6                0x0au
#define HV_SCSI_INQUIRY                0x12u
#define HV_SCSI_MODE_SELECT_6          0x15u
#define HV_SCSI_RESERVE_6              0x16u
#define HV_SCSI_RELEASE_6              0x17u
#define HV_SCSI_MODE_SENSE_6           0x1au
#define HV_SCSI_START_STOP_UNIT        0x1bu
#define HV_SCSI_SEND_DIAGNOSTIC        0x1du
#define HV_SCSI_PREVENT_REMOVAL        0x1eu
#define HV_SCSI_READ_CAPACITY_10       0x25u
#define HV_SCSI_READ_10                0x28u
#define HV_SCSI_WRITE_10               0x2au
#define HV_SCSI_WRITE_AND_VERIFY_10    0x2eu
#define HV_SCSI_VERIFY_10              0x2fu
#define HV_SCSI_SYNCHRONIZE_CACHE_10   0x35u
#define HV_SCSI_WRITE_SAME_10          0x41u
#define HV_SCSI_UNMAP                  0x42u
#define HV_SCSI_MODE_SELECT_10         0x55u
#define HV_SCSI_MODE_SENSE_10          0x5au
#define HV_SCSI_PERSISTENT_RESERVE_IN  0x5eu
#define HV_SCSI_PERSISTENT_RESERVE_OUT 0x5fu
#define HV_SCSI_READ_16                0x88u
#define HV_SCSI_COMPARE_AND_WRITE      0x89u
#define HV_SCSI_WRITE_16               0x8au
#define HV_SCSI_WRITE_AND_VERIFY_16    0x8eu
#define HV_SCSI_VERIFY_16              0x8fu
#define HV_SCSI_SYNCHRONIZE_CACHE_16   0x91u
#define HV_SCSI_WRITE_SAME_16          0x93u
#define HV_SCSI_SERVICE_ACTION_IN_16   0x9eu
#define HV_SCSI_SAI_READ_CAPACITY_16   0x10u
#define HV_SCSI_SAI_GET_LBA_STATUS     0x12u
#define HV_SCSI_REPORT_LUNS            0xa0u
#define HV_SCSI_MAINTENANCE_IN         0xa3u
#define HV_SCSI_READ_12                0xa8u
#define HV_SCSI_WRITE_12               0xaau
#define HV_SCSI_WRITE_AND_VERIFY_12    0xaeu
#define HV_SCSI_VERIFY_12              0xafu

#define HV_SCSI_STATUS_GOOD                 0x00u
#define HV_SCSI_STATUS_CHECK_CONDITION      0x02u
#define HV_SCSI_STATUS_BUSY                 0x08u
#define HV_SCSI_STATUS_RESERVATION_CONFLICT 0x18u
#define HV_SCSI_STATUS_TASK_SET_FULL        0x28u
#define HV_SCSI_STATUS_TASK_ABORTED         0x40u

#define HV_SENSE_NO_SENSE        0x0u
#define HV_SENSE_RECOVERED       0x1u
#define HV_SENSE_NOT_READY       0x2u
#define HV_SENSE_MEDIUM_ERROR    0x3u
#define HV_SENSE_HARDWARE_ERROR  0x4u
#define HV_SENSE_ILLEGAL_REQUEST 0x5u
#define HV_SENSE_UNIT_ATTENTION  0x6u
#define HV_SENSE_DATA_PROTECT    0x7u
#define HV_SENSE_ABORTED_COMMAND 0xbu
#define HV_SENSE_MISCOMPARE      0xeu

/* Additional sense code and qualifier as one u16: asc << 8 | ascq. */
#define HV_ASC_WRITE_ERROR                0x0c00u
#define HV_ASC_UNRECOVERED_READ_ERROR     0x1100u
#define HV_ASC_PARAMETER_LIST_LENGTH      0x1a00u
#define HV_ASC_MISCOMPARE                 0x1d00u
#define HV_ASC_INVALID_OPCODE             0x2000u
#define HV_ASC_LBA_OUT_OF_RANGE           0x2100u
#define HV_ASC_INVALID_FIELD_IN_CDB       0x2400u
#define HV_ASC_LUN_NOT_SUPPORTED          0x2500u
#define HV_ASC_INVALID_FIELD_IN_PARAMETER 0x2600u
#define HV_ASC_WRITE_PROTECTED            0x2700u
#define HV_ASC_SPACE_ALLOCATION_FAILED    0x2707u
#define HV_ASC_POWER_ON_RESET             0x2900u
#define HV_ASC_PARAMETERS_CHANGED         0x2a00u
#define HV_ASC_RESERVATIONS_PREEMPTED     0x2a03u
#define HV_ASC_REGISTRATIONS_PREEMPTED    0x2a05u
#define HV_ASC_CAPACITY_CHANGED           0x2a09u
#define HV_ASC_SAVING_NOT_SUPPORTED       0x3900u
#define HV_ASC_MEDIUM_NOT_PRESENT         0x3a00u
#define HV_ASC_LUNS_CHANGED               0x3f0eu
#define HV_ASC_INTERNAL_TARGET_FAILURE    0x4400u

#endif
