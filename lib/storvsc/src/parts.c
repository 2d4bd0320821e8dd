/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests that take several commands: larger than the LUN's limit, UNMAP and zeroes over long ranges, and writes that
 * need a flush behind them because the LUN knows no FUA.  First error wins; the caller is told once.
 *
 *   submit --> issue parts ... each answered --> all answered --> [flush] --> done
 *                 ^                |
 *                 +--- list <------+   while blocks are left and a slot, ring space or bounce memory was missing
 *
 * Their bookkeeping is allocated per request: it is small beside what these commands cost, and a vector of the caller
 * may not be used after submit.
 * Source of the CDBs: T10 SBC-3 5.36 (UNMAP), 5.49 (WRITE SAME(16)).
 */
#include "storvsc_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/** Parts of one request in flight: enough to keep a device busy, not so many that others starve. */
#define RUNNING_MAX        8u
#define UNMAP_HEADER_BYTES 8u
#define UNMAP_PARAM_BYTES  24u
#define CDB_UNMAP_BIT      0x08u
#define BLOCKS_MAX         UINT32_MAX

struct parts {
    struct hv_storvsc_request *next; /* in the queue's list */
    uint64_t issued_blocks;
    struct hv_storvsc_cursor cursor; /* first byte not issued */
    uint32_t bytes;
    uint32_t running;
    int error;
    bool listed;
    bool flushing;
    uint8_t block_shift;
    struct hv_storvsc_result first_error;
    struct iovec iov[];
};

static struct parts *parts_of(struct hv_storvsc_request *r)
{
    return r->impl.list[0];
}

static void append(struct hv_storvsc_queue *q, struct hv_storvsc_request *r)
{
    struct parts *p = parts_of(r);

    p->listed = true;
    p->next = NULL;
    if (q->parts_tail)
        parts_of(q->parts_tail)->next = r;
    else
        q->parts_head = r;
    q->parts_tail = r;
}

static void pop(struct hv_storvsc_queue *q)
{
    struct parts *p = parts_of(q->parts_head);

    p->listed = false;
    q->parts_head = p->next;
    if (!q->parts_head)
        q->parts_tail = NULL;
}

static bool needs_flush(const struct hv_storvsc_request *r, const struct hv_storvsc_lun *lun)
{
    if (!(r->flags & HV_STORVSC_FUA) || !lun->write_cache)
        return false;
    return r->op != HV_STORVSC_WRITE || !lun->fua;
}

/* ---- One part ---- */

static uint64_t unmap_blocks(const struct hv_storvsc_disk *disk, uint64_t lba, uint64_t left)
{
    uint64_t granularity = disk->lun.unmap_granularity_blocks;
    uint64_t max = disk->lun.unmap_max_blocks ? disk->lun.unmap_max_blocks : BLOCKS_MAX;
    uint64_t over;

    if (left <= max)
        return left;
    /* End between two granules, or the device could free neither the end of this part nor the start of the next. */
    over = (lba + max + granularity - disk->unmap_alignment_blocks) % granularity;
    return over < max ? max - over : max;
}

static uint64_t build_unmap(const struct hv_storvsc_disk *disk, uint64_t lba, uint64_t left,
                            struct hv_storvsc_command *command, uint8_t param[UNMAP_PARAM_BYTES])
{
    uint64_t blocks = unmap_blocks(disk, lba, left);

    memset(param, 0, UNMAP_PARAM_BYTES);
    hv_put_be16(param, UNMAP_PARAM_BYTES - 2);
    hv_put_be16(param + 2, UNMAP_PARAM_BYTES - UNMAP_HEADER_BYTES);
    hv_put_be64(param + UNMAP_HEADER_BYTES, lba);
    hv_put_be32(param + UNMAP_HEADER_BYTES + 8, (uint32_t)blocks);
    command->cdb[0] = HV_SCSI_UNMAP;
    hv_put_be16(command->cdb + 7, UNMAP_PARAM_BYTES);
    command->cdb_bytes = 10;
    command->source = HV_STORVSC_FROM_PARAM;
    command->param = param;
    command->bytes = UNMAP_PARAM_BYTES;
    return blocks;
}

/*
 * UNMAP alone never makes zeroes: it is advice, which a device may ignore for any block.  WRITE SAME with its UNMAP bit
 * must leave what was asked for, by either means, on a device whose unmapped blocks read as zeroes.
 */
static uint64_t build_zeroes(const struct hv_storvsc_disk *disk, const struct hv_storvsc_request *r,
                             uint64_t lba, uint64_t left, struct hv_storvsc_command *command)
{
    const struct hv_storvsc_lun *lun = &disk->lun;
    uint64_t blocks;

    command->source = HV_STORVSC_FROM_ZEROES;
    if (!lun->write_same || disk->no_write_same) {
        blocks = hv_min_u64(left, disk->max_blocks);
        command->cdb_bytes =
            hv_storvsc_cdb_rw(disk, true, false, lba, (uint32_t)blocks, command->cdb);
        command->bytes = (uint32_t)(blocks << disk->block_shift);
        return blocks;
    }
    blocks = hv_min_u64(hv_min_u64(left, lun->write_same_max_blocks), BLOCKS_MAX);
    command->cdb[0] = HV_SCSI_WRITE_SAME_16;
    if ((r->flags & HV_STORVSC_MAY_UNMAP) && lun->write_same_unmap && lun->unmap_zeroes)
        command->cdb[1] = CDB_UNMAP_BIT;
    hv_put_be64(command->cdb + 2, lba);
    hv_put_be32(command->cdb + 10, (uint32_t)blocks);
    command->cdb_bytes = 16;
    command->bytes = lun->block_bytes;
    return blocks;
}

static uint64_t build_rw(const struct hv_storvsc_disk *disk, struct hv_storvsc_request *r,
                         uint64_t lba, uint64_t left, struct hv_storvsc_command *command)
{
    uint64_t blocks = hv_min_u64(left, disk->max_blocks);
    bool write = r->op == HV_STORVSC_WRITE;
    bool fua = write && (r->flags & HV_STORVSC_FUA) && disk->lun.fua;

    command->cdb_bytes = hv_storvsc_cdb_rw(disk, write, fua, lba, (uint32_t)blocks, command->cdb);
    command->direction = (uint8_t)(write ? HV_VSTOR_DATA_OUT : HV_VSTOR_DATA_IN);
    command->source = HV_STORVSC_FROM_IOV;
    command->bytes = (uint32_t)(blocks << disk->block_shift);
    command->cursor = parts_of(r)->cursor;
    return blocks;
}

static int issue_part(struct hv_storvsc_queue *q, const struct hv_storvsc_disk *disk,
                      struct hv_storvsc_request *r)
{
    struct parts *p = parts_of(r);
    uint64_t lba = r->lba + p->issued_blocks;
    uint64_t left = r->block_count - p->issued_blocks;
    struct hv_storvsc_command command = {.direction = HV_VSTOR_DATA_OUT, .part = true};
    uint8_t param[UNMAP_PARAM_BYTES];
    uint64_t blocks;
    int rc;

    switch (r->op) {
    case HV_STORVSC_UNMAP:
        blocks = build_unmap(disk, lba, left, &command, param);
        break;
    case HV_STORVSC_WRITE_ZEROES:
        blocks = build_zeroes(disk, r, lba, left, &command);
        break;
    default:
        blocks = build_rw(disk, r, lba, left, &command);
        break;
    }
    rc = hv_storvsc_start(q, r, &command);
    if (rc)
        return rc;
    if (command.source == HV_STORVSC_FROM_IOV)
        hv_storvsc_cursor_advance(&p->cursor, command.bytes);
    p->issued_blocks += blocks;
    p->running++;
    return 0;
}

/* 0: nothing left to send for now; -EAGAIN: something is missing; else why it failed. */
static int issue(struct hv_storvsc_queue *q, struct hv_storvsc_request *r)
{
    struct parts *p = parts_of(r);
    const struct hv_storvsc_disk *disk = hv_storvsc_find(q, r->address);
    struct hv_storvsc_command sync = {.part = true};
    int rc = 0;

    if (p->error)
        return 0;
    if (!disk)
        return -ENODEV;
    if (disk->block_shift != p->block_shift) /* another disk in its place */
        return -EIO;
    while (!rc && p->issued_blocks < r->block_count && p->running < RUNNING_MAX)
        rc = issue_part(q, disk, r);
    if (rc || p->issued_blocks < r->block_count || p->running || p->flushing ||
        !needs_flush(r, &disk->lun))
        return rc;
    hv_storvsc_cdb_sync(&sync);
    rc = hv_storvsc_start(q, r, &sync);
    if (rc)
        return rc;
    p->flushing = true;
    p->running++;
    return 0;
}

/* ---- The whole ---- */

static void finish(struct hv_storvsc_queue *q, struct hv_storvsc_request *r)
{
    struct parts *p = parts_of(r);
    struct hv_storvsc_result result = p->first_error;

    result.error = p->error;
    if (!p->error)
        result.srb_status = HV_SRB_SUCCESS;
    result.bytes = p->bytes;
    r->impl.list[0] = NULL;
    free(p);
    hv_storvsc_request_done(q, r, &result);
}

int hv_storvsc_parts_submit(struct hv_storvsc_queue *q, struct hv_storvsc_request *r,
                            const struct hv_storvsc_disk *disk)
{
    bool data = r->op == HV_STORVSC_READ || r->op == HV_STORVSC_WRITE;
    uint32_t iov_count = data ? r->iov_count : 0;
    struct parts *p = calloc(1, sizeof(*p) + iov_count * sizeof(p->iov[0]));
    int rc;

    if (!p)
        return -ENOMEM;
    if (iov_count)
        memcpy(p->iov, r->iov, iov_count * sizeof(p->iov[0]));
    p->cursor = (struct hv_storvsc_cursor){p->iov, iov_count, 0};
    p->block_shift = disk->block_shift;
    r->impl.list[0] = p;
    rc = issue(q, r);
    if (rc && rc != -EAGAIN) {
        p->error = rc;
        if (!p->running) {
            r->impl.list[0] = NULL;
            free(p);
            return rc;
        }
    } else if (rc) {
        append(q, r);
        q->starved = true;
    }
    q->stats.split_requests += p->issued_blocks < r->block_count || p->running > 1;
    return 0;
}

/* WRITE SAME refused by a device that should take it: from this part on zeroes are written. */
static bool falls_back(struct hv_storvsc_queue *q, struct hv_storvsc_request *r,
                       const struct hv_storvsc_slot *slot, const struct hv_storvsc_result *result)
{
    struct parts *p = parts_of(r);
    const uint8_t *cdb = slot->packet.srb.cdb;
    struct hv_storvsc_disk *disk = hv_storvsc_find(q, r->address);

    if (!disk || cdb[0] != HV_SCSI_WRITE_SAME_16 || result->asc == HV_ASC_LBA_OUT_OF_RANGE ||
        (result->error != -EOPNOTSUPP && result->error != -EINVAL))
        return false;
    disk->no_write_same = true;
    if (r->flags & HV_STORVSC_FAST_ONLY)
        return false;
    p->issued_blocks = hv_min_u64(p->issued_blocks, hv_get_be64(cdb + 2) - r->lba);
    return true;
}

void hv_storvsc_part_done(struct hv_storvsc_queue *q, struct hv_storvsc_request *r,
                          const struct hv_storvsc_slot *slot,
                          const struct hv_storvsc_result *result)
{
    struct parts *p = parts_of(r);
    bool data = r->op == HV_STORVSC_READ || r->op == HV_STORVSC_WRITE;

    p->running--;
    if (!result->error) {
        if (data)
            p->bytes += result->bytes;
        return;
    }
    if (p->error || falls_back(q, r, slot, result))
        return;
    p->error = result->error;
    p->first_error = *result;
    p->first_error.sense = NULL; /* gone after this callback */
    p->first_error.sense_bytes = 0;
    if (slot->packet.srb.cdb[0] == HV_SCSI_WRITE_SAME_16 && (r->flags & HV_STORVSC_FAST_ONLY) &&
        result->error == -EINVAL && result->asc != HV_ASC_LBA_OUT_OF_RANGE)
        p->error = -EOPNOTSUPP;
}

void hv_storvsc_part_settle(struct hv_storvsc_queue *q, struct hv_storvsc_request *r)
{
    struct parts *p = parts_of(r);
    const struct hv_storvsc_disk *disk;
    bool more;

    if (p->listed) /* whoever takes it off the list settles it */
        return;
    if (p->error) {
        if (!p->running)
            finish(q, r);
        return;
    }
    disk = hv_storvsc_find(q, r->address);
    more = p->issued_blocks < r->block_count ||
           (!p->running && !p->flushing && (!disk || needs_flush(r, &disk->lun)));
    if (more)
        append(q, r);
    else if (!p->running)
        finish(q, r);
}

void hv_storvsc_parts_pump(struct hv_storvsc_queue *q)
{
    q->starved = false;
    while (q->parts_head) {
        struct hv_storvsc_request *r = q->parts_head;
        struct parts *p = parts_of(r);
        int rc = issue(q, r);

        if (q->status) /* stays listed: reopen or close completes it */
            return;
        if (rc == -EAGAIN) {
            q->starved = true;
            return;
        }
        pop(q);
        if (rc)
            p->error = rc;
        if (!p->running)
            finish(q, r);
    }
}

void hv_storvsc_parts_cancel(struct hv_storvsc_queue *q, int error)
{
    while (q->parts_head) {
        struct hv_storvsc_request *r = q->parts_head;

        pop(q);
        if (!parts_of(r)->error)
            parts_of(r)->error = error;
        finish(q, r);
    }
}
