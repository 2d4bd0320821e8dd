/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SCSI command parser: a script of commands on one memory disk, two queues, three initiators.
 *
 *   byte 0  bit 0 block of 4096, bit 1 read-only, bit 2 not thin, bit 3 no write cache
 *   then commands of 22 bytes and their data:
 *     0     bits 0-1 initiator, bit 2 queue, bit 3 forget the initiator afterwards, bit 4 resize afterwards,
 *           bits 5-7 how many pieces the data has
 *     1     bits 0-1 direction, bits 2-7 CDB bytes in units of 2 (0 = 16)
 *     2-17  CDB
 *     18-19 data bytes (little-endian), in units of 8 when bit 15 is set; 20-21 how many of them follow here
 */
#include "scsi_impl.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 22u
#define DISK_BYTES   (1u << 20)

static unsigned finished;

static void done(struct hv_scsi_command *command)
{
    (void)command;
    finished++;
}

static void require(int condition)
{
    if (!condition)
        abort();
}

/* What every answer keeps to. */
static void check(const struct hv_scsi_command *c)
{
    require(c->transferred_bytes <= c->data_bytes);
    require(c->sense_bytes <= HV_VSTOR_SENSE_V2_BYTES);
    require((c->srb_status & ~HV_SRB_STATUS_MASK) == 0 && c->srb_status != HV_SRB_PENDING);
    if (c->scsi_status == HV_SCSI_STATUS_CHECK_CONDITION)
        require(c->sense_bytes >= 18 && (c->sense[0] & 0x7f) == 0x70 && c->sense[2] != 0 &&
                c->srb_status != HV_SRB_SUCCESS);
    else
        require(c->sense_bytes == 0);
    if (c->scsi_status == HV_SCSI_STATUS_RESERVATION_CONFLICT)
        require(c->srb_status == HV_SRB_ERROR && c->transferred_bytes == 0);
}

/* Data in blocks of exact size, so that a byte too far is found. */
static void make_data(struct iovec *iov, uint32_t pieces, uint32_t bytes, const uint8_t *from,
                      uint32_t from_bytes)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t n = i + 1 < pieces ? bytes / pieces : bytes - at;
        uint32_t copied = at < from_bytes ? from_bytes - at : 0;

        iov[i].iov_base = calloc(1, n ? n : 1);
        iov[i].iov_len = n;
        if (copied > n)
            copied = n;
        if (copied)
            memcpy(iov[i].iov_base, from + at, copied);
        at += n;
    }
}

/* One command of the script; returns how many bytes it took. */
static size_t run(struct hv_disk *disk, struct hv_disk_queue *const queue[2], const uint8_t *at,
                  size_t left)
{
    struct hv_scsi_command *c = malloc(sizeof(*c));
    struct hv_disk_queue *q = queue[at[0] >> 2 & 1];
    uint32_t pieces = (uint32_t)(at[0] >> 5) + 1;
    uint32_t bytes = (uint32_t)(at[18] | at[19] << 8), given = (uint32_t)(at[20] | at[21] << 8);
    struct iovec iov[8];
    unsigned before = finished;

    if (bytes & 0x8000)
        bytes = (bytes & 0x7fff) * 8;
    if (given > left - HEADER_BYTES)
        given = (uint32_t)(left - HEADER_BYTES);
    make_data(iov, pieces, bytes, at + HEADER_BYTES, given);
    memset(c, 0xee, sizeof(*c));
    memcpy(c->cdb, at + 2, sizeof(c->cdb));
    c->cdb_bytes = at[1] >> 2 ? (uint8_t)((at[1] >> 2) * 2) : 16;
    c->data_direction = at[1] & 3;
    c->data_bytes = bytes;
    c->initiator = at[0] & 3;
    c->iov = iov;
    c->iov_count = pieces;
    c->done = done;
    hv_disk_execute(q, c);
    hv_disk_queue_flush(q);
    (void)hv_disk_queue_poll(q);
    require(finished == before + 1 && hv_disk_queue_in_flight(q) == 0); /* memory answers at once */
    check(c);
    for (uint32_t i = 0; i < pieces; i++)
        free(iov[i].iov_base);
    free(c);
    if (at[0] & 8)
        hv_disk_forget_initiator(disk, at[0] & 3);
    if (at[0] & 16)
        (void)hv_disk_resize(disk, (uint64_t)(at[2] + 1) * 4096);
    return HEADER_BYTES + given;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;
    struct hv_disk_queue *queue[2] = {NULL, NULL};
    char why[HV_DISK_WHY_BYTES];
    struct hv_disk *disk;

    if (!size)
        return 0;
    opts.store = HV_DISK_MEMORY;
    opts.bytes = DISK_BYTES;
    opts.block_bytes = data[0] & 1 ? 4096 : 512;
    opts.read_only = data[0] & 2;
    opts.no_thin = data[0] & 4;
    opts.no_write_cache = data[0] & 8;
    if (hv_disk_create(&opts, why, &disk))
        return 0;
    if (hv_disk_queue_create(disk, 4, &queue[0]) == 0 &&
        hv_disk_queue_create(disk, 4, &queue[1]) == 0)
        for (size_t at = 1; size - at >= HEADER_BYTES;)
            at += run(disk, queue, data + at, size - at);
    hv_disk_queue_destroy(queue[0]);
    hv_disk_queue_destroy(queue[1]);
    hv_disk_destroy(disk);
    return 0;
}
