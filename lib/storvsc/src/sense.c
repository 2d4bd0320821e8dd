/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SRB status, SCSI status and sense -> one errno and what to do.
 * Source: docs/wire.md "SRB status"; T10 SPC-4 4.5 (sense data), Linux storvsc_drv.c (which codes occur).
 */
#include "sense_impl.h"

#include <errno.h>

#include <hv/base/bits.h>
#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

#define SENSE_KEY_VOLUME_OVERFLOW 0xdu
#define ASC_PAGE(asc)             ((asc)&0xff00u)
#define ASC_NOT_READY_BECOMING    0x0401u
#define ASC_RESET                 0x2900u
#define ASC_OPERATING_CONDITIONS  0x3f00u
#define SRB_NO_HBA                0x11u

bool hv_storvsc_sense_is_valid(uint8_t srb_status, uint8_t scsi_status)
{
    return scsi_status == HV_SCSI_STATUS_CHECK_CONDITION && (srb_status & HV_SRB_SENSE_VALID);
}

bool hv_storvsc_sense_parse(const uint8_t *sense, size_t bytes, struct hv_storvsc_sense *ret_sense)
{
    struct hv_storvsc_sense s = {0};

    if (bytes < 3)
        return false;
    switch (sense[0] & 0x7fu) {
    case 0x71:
        s.deferred = true;
        /* fall through */
    case 0x70:
        s.key = sense[2] & 0xfu;
        if (bytes >= 14)
            s.asc = (uint16_t)(sense[12] << 8 | sense[13]);
        break;
    case 0x73:
        s.deferred = true;
        /* fall through */
    case 0x72:
        s.key = sense[1] & 0xfu;
        if (bytes >= 4)
            s.asc = (uint16_t)(sense[2] << 8 | sense[3]);
        break;
    default:
        return false;
    }
    *ret_sense = s;
    return true;
}

static struct hv_storvsc_verdict done(int error)
{
    return (struct hv_storvsc_verdict){HV_STORVSC_DONE, error, false};
}

static struct hv_storvsc_verdict gone(void)
{
    return (struct hv_storvsc_verdict){HV_STORVSC_DONE, -ENODEV, true};
}

static struct hv_storvsc_verdict again(int error, bool rescan)
{
    return (struct hv_storvsc_verdict){HV_STORVSC_AGAIN, error, rescan};
}

static struct hv_storvsc_verdict again_later(int error)
{
    return (struct hv_storvsc_verdict){HV_STORVSC_AGAIN_LATER, error, false};
}

static struct hv_storvsc_verdict judge_illegal_request(uint16_t asc)
{
    switch (asc) {
    case HV_ASC_INVALID_OPCODE:
        return done(-EOPNOTSUPP);
    case HV_ASC_LUN_NOT_SUPPORTED:
        return gone();
    default: /* LBA out of range, invalid field, ... */
        return done(-EINVAL);
    }
}

static struct hv_storvsc_verdict judge_sense(const struct hv_storvsc_sense *sense)
{
    /* A deferred error is about data acknowledged earlier: sending this command again would hide it. */
    if (sense->deferred && sense->key != HV_SENSE_UNIT_ATTENTION)
        return done(sense->asc == HV_ASC_SPACE_ALLOCATION_FAILED ? -ENOSPC : -EIO);

    switch (sense->key) {
    case HV_SENSE_RECOVERED:
        return done(0);
    case HV_SENSE_NOT_READY:
        return sense->asc == ASC_NOT_READY_BECOMING ? again_later(-EIO) : done(-EIO);
    case HV_SENSE_ILLEGAL_REQUEST:
        return judge_illegal_request(sense->asc);
    case HV_SENSE_UNIT_ATTENTION:
        /* 2A/xx parameters, capacity; 3F/xx LUNs, definitions: what we know of the LUN may be old. */
        return again(-EIO, ASC_PAGE(sense->asc) == HV_ASC_PARAMETERS_CHANGED ||
                               ASC_PAGE(sense->asc) == ASC_OPERATING_CONDITIONS);
    case HV_SENSE_DATA_PROTECT:
        if (sense->asc == HV_ASC_SPACE_ALLOCATION_FAILED)
            return done(-ENOSPC);
        return (struct hv_storvsc_verdict){HV_STORVSC_DONE, -EPERM, true};
    case HV_SENSE_ABORTED_COMMAND:
        return again(-EIO, false);
    case SENSE_KEY_VOLUME_OVERFLOW:
        return done(-ENOSPC);
    case HV_SENSE_MISCOMPARE:
        return done(-EILSEQ);
    default: /* no sense, medium, hardware, blank check, vendor, ... */
        return done(-EIO);
    }
}

static struct hv_storvsc_verdict judge_status(uint8_t scsi_status,
                                              const struct hv_storvsc_sense *sense)
{
    switch (scsi_status) {
    case HV_SCSI_STATUS_GOOD:
        return done(0);
    case HV_SCSI_STATUS_CHECK_CONDITION:
        return sense ? judge_sense(sense) : done(-EIO);
    case HV_SCSI_STATUS_BUSY:
    case HV_SCSI_STATUS_TASK_SET_FULL:
        return again_later(-EIO);
    case HV_SCSI_STATUS_RESERVATION_CONFLICT:
        return done(-EBUSY);
    case HV_SCSI_STATUS_TASK_ABORTED:
        return again(-EIO, false);
    default:
        return done(-EIO);
    }
}

struct hv_storvsc_verdict hv_storvsc_judge(uint8_t srb_status, uint8_t scsi_status,
                                           const struct hv_storvsc_sense *sense)
{
    uint8_t srb = srb_status & HV_SRB_STATUS_MASK;

    if (!hv_storvsc_sense_is_valid(srb_status, scsi_status))
        sense = NULL;
    switch (srb) {
    case HV_SRB_SUCCESS:
        return judge_status(scsi_status, sense);
    case HV_SRB_NO_DEVICE:
    case HV_SRB_INVALID_PATH:
    case HV_SRB_INVALID_LUN:
    case HV_SRB_INVALID_TARGET:
    case SRB_NO_HBA:
        return gone();
    case HV_SRB_BUSY:
        return again_later(-EIO);
    default:
        break;
    }
    /* Everything else failed; the SCSI status may say how, but never that it did not. */
    if (sense ||
        (scsi_status != HV_SCSI_STATUS_GOOD && scsi_status != HV_SCSI_STATUS_CHECK_CONDITION)) {
        struct hv_storvsc_verdict verdict = judge_status(scsi_status, sense);

        if (verdict.action == HV_STORVSC_DONE && !verdict.error && srb != HV_SRB_ERROR)
            verdict.error = -EIO;
        return verdict;
    }
    switch (srb) {
    case HV_SRB_ABORTED:
    case HV_SRB_BUS_RESET:
    case HV_SRB_FLUSHED:
    case HV_SRB_TIMEOUT:
    case HV_SRB_COMMAND_TIMEOUT:
    case HV_SRB_SELECTION_TIMEOUT:
        return again(-EIO, false);
    case HV_SRB_INVALID_REQUEST:
    case HV_SRB_BAD_FUNCTION:
    case HV_SRB_BAD_LENGTH:
        return done(-EINVAL);
    default:
        return done(-EIO);
    }
}
