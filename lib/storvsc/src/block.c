/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests: checked against the LUN, turned into commands.
 * Source of the CDBs: T10 SBC-3 5.11 (READ), 5.42 (WRITE), 5.26 (SYNCHRONIZE CACHE), 5.6 (GET LBA STATUS).
 */
#include "storvsc_impl.h"

#include <errno.h>
#include <string.h>

#define CDB_FUA    0x08u
#define USER_FLAGS (HV_STORVSC_FUA | HV_STORVSC_MAY_UNMAP | HV_STORVSC_FAST_ONLY)

uint8_t hv_storvsc_cdb_rw(const struct hv_storvsc_disk *disk, bool write, bool fua, uint64_t lba,
                          uint32_t blocks, uint8_t cdb[HV_VSTOR_CDB_BYTES])
{
    uint8_t fua_bit = fua ? CDB_FUA : 0;

    memset(cdb, 0, HV_VSTOR_CDB_BYTES);
    cdb[1] = fua_bit;
    if (!disk->short_cdb) {
        cdb[0] = write ? HV_SCSI_WRITE_16 : HV_SCSI_READ_16;
        hv_put_be64(cdb + 2, lba);
        hv_put_be32(cdb + 10, blocks);
        return 16;
    }
    cdb[0] = write ? HV_SCSI_WRITE_10 : HV_SCSI_READ_10;
    hv_put_be32(cdb + 2, (uint32_t)lba);
    hv_put_be16(cdb + 7, (uint16_t)blocks);
    return 10;
}

void hv_storvsc_cdb_sync(struct hv_storvsc_command *command)
{
    memset(command->cdb, 0, sizeof(command->cdb));
    command->cdb[0] = HV_SCSI_SYNCHRONIZE_CACHE_10; /* block 0, count 0: everything */
    command->cdb_bytes = 10;
    command->direction = HV_VSTOR_DATA_NONE;
    command->bytes = 0;
}

/* Sum of the vector, or UINT64_MAX when it is longer than any command may be. */
static uint64_t iov_bytes(const struct hv_storvsc_request *r)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < r->iov_count; i++) {
        if (r->iov[i].iov_len > UINT32_MAX - sum)
            return UINT64_MAX;
        sum += r->iov[i].iov_len;
    }
    return sum;
}

static int check_range(const struct hv_storvsc_disk *disk, const struct hv_storvsc_request *r)
{
    if (!disk->lun.block_count)
        return -EOPNOTSUPP;
    if (!r->block_count || !hv_range_fits(r->lba, r->block_count, disk->lun.block_count))
        return -EINVAL;
    return 0;
}

static int submit_rw(struct hv_storvsc_queue *q, const struct hv_storvsc_disk *disk,
                     struct hv_storvsc_request *r)
{
    bool write = r->op == HV_STORVSC_WRITE;
    bool fua = write && (r->flags & HV_STORVSC_FUA);
    struct hv_storvsc_command command;
    int rc = check_range(disk, r);

    if (rc)
        return rc;
    if (write && disk->lun.read_only)
        return -EPERM;
    /* The count is below 2^62 >> block_shift: no overflow. */
    if (iov_bytes(r) != r->block_count << disk->block_shift)
        return -EINVAL;
    if (r->block_count > disk->max_blocks || (fua && disk->lun.write_cache && !disk->lun.fua))
        return hv_storvsc_parts_submit(q, r, disk);

    command.cdb_bytes = hv_storvsc_cdb_rw(disk, write, fua && disk->lun.fua, r->lba,
                                          (uint32_t)r->block_count, command.cdb);
    command.direction = (uint8_t)(write ? HV_VSTOR_DATA_OUT : HV_VSTOR_DATA_IN);
    command.source = HV_STORVSC_FROM_IOV;
    command.part = false;
    command.bytes = (uint32_t)(r->block_count << disk->block_shift);
    command.cursor = (struct hv_storvsc_cursor){r->iov, r->iov_count, 0};
    return hv_storvsc_start(q, r, &command);
}

static int submit_lba_status(struct hv_storvsc_queue *q, const struct hv_storvsc_disk *disk,
                             struct hv_storvsc_request *r)
{
    uint64_t bytes = iov_bytes(r);
    struct hv_storvsc_command command = {
        .cdb = {HV_SCSI_SERVICE_ACTION_IN_16, HV_SCSI_SAI_GET_LBA_STATUS},
        .cdb_bytes = 16,
        .direction = HV_VSTOR_DATA_IN,
        .bytes = (uint32_t)bytes,
        .cursor = {r->iov, r->iov_count, 0},
    };
    int rc = check_range(disk, r);

    if (rc)
        return rc;
    if (disk->short_cdb)
        return -EOPNOTSUPP;
    if (!bytes || bytes > q->storvsc->max_transfer_bytes)
        return -EINVAL;
    hv_put_be64(command.cdb + 2, r->lba);
    hv_put_be32(command.cdb + 10, (uint32_t)bytes);
    return hv_storvsc_start(q, r, &command);
}

static int submit_scsi(struct hv_storvsc_queue *q, struct hv_storvsc_request *r)
{
    uint64_t bytes = iov_bytes(r);
    struct hv_storvsc_command command = {
        .cdb_bytes = r->cdb_bytes,
        .direction = bytes == 0   ? HV_VSTOR_DATA_NONE
                     : r->data_in ? HV_VSTOR_DATA_IN
                                  : HV_VSTOR_DATA_OUT,
        .bytes = (uint32_t)bytes,
        .cursor = {r->iov, r->iov_count, 0},
    };

    if (bytes > q->storvsc->max_transfer_bytes)
        return -EINVAL;
    if (r->cdb_bytes != 6 && r->cdb_bytes != 10 && r->cdb_bytes != 12 && r->cdb_bytes != 16)
        return -EINVAL;
    memcpy(command.cdb, r->cdb, r->cdb_bytes);
    return hv_storvsc_start(q, r, &command);
}

static int submit_deallocate(struct hv_storvsc_queue *q, const struct hv_storvsc_disk *disk,
                             struct hv_storvsc_request *r)
{
    int rc = check_range(disk, r);

    if (rc)
        return rc;
    if (disk->lun.read_only)
        return -EPERM;
    if (r->op == HV_STORVSC_UNMAP && !disk->lun.unmap)
        return -EOPNOTSUPP;
    if (r->op == HV_STORVSC_WRITE_ZEROES && (r->flags & HV_STORVSC_FAST_ONLY) &&
        (!disk->lun.write_same || disk->no_write_same))
        return -EOPNOTSUPP;
    return hv_storvsc_parts_submit(q, r, disk);
}

static int submit_flush(struct hv_storvsc_queue *q, struct hv_storvsc_request *r)
{
    struct hv_storvsc_command command = {.part = false};

    hv_storvsc_cdb_sync(&command);
    return hv_storvsc_start(q, r, &command);
}

static int dispatch(struct hv_storvsc_queue *q, struct hv_storvsc_request *r)
{
    const struct hv_storvsc_disk *disk;

    if (r->flags & HV_STORVSC_INTERNAL)
        return submit_scsi(q, r);
    disk = hv_storvsc_find(q, r->address);
    if (!disk)
        return -EINVAL;
    switch (r->op) {
    case HV_STORVSC_READ:
    case HV_STORVSC_WRITE:
        return submit_rw(q, disk, r);
    case HV_STORVSC_FLUSH:
        return submit_flush(q, r);
    case HV_STORVSC_UNMAP:
    case HV_STORVSC_WRITE_ZEROES:
        return submit_deallocate(q, disk, r);
    case HV_STORVSC_LBA_STATUS:
        return submit_lba_status(q, disk, r);
    case HV_STORVSC_SCSI:
        return submit_scsi(q, r);
    }
    return -EINVAL;
}

int hv_storvsc_submit(struct hv_storvsc_queue *q, struct hv_storvsc_request *r)
{
    int rc;

    if (q->status)
        return q->status;
    if (q->starved)
        return -EAGAIN;
    if (r->flags & ~USER_FLAGS)
        return -EINVAL;
    rc = dispatch(q, r);
    if (!rc) {
        q->requests++;
        q->stats.submitted++;
    }
    return rc;
}

int hv_storvsc_submit_internal(struct hv_storvsc_queue *q, struct hv_storvsc_request *r)
{
    r->flags |= HV_STORVSC_INTERNAL;
    return q->status ? q->status : dispatch(q, r);
}
