/* SPDX-License-Identifier: BSD-3-Clause */
#include "scsi_rig.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/endian.h>

static void collect(void *arg, enum hv_log_level level, const char *line)
{
    struct scsi_rig *rig = arg;
    size_t at = strlen(rig->log);

    (void)level;
    (void)snprintf(rig->log + at, sizeof(rig->log) - at, "%s\n", line);
}

int scsi_rig_open(struct scsi_rig *rig, struct hv_disk_opts opts)
{
    int err;

    memset(rig, 0, sizeof(*rig));
    opts.log = (struct hv_log_hook){.line = collect, .arg = rig};
    err = hv_disk_create(&opts, rig->why, &rig->disk);
    if (!err)
        err = hv_disk_queue_create(rig->disk, 64, &rig->queue);
    return err;
}

void scsi_rig_close(struct scsi_rig *rig)
{
    hv_disk_queue_destroy(rig->queue);
    hv_disk_destroy(rig->disk);
    memset(rig, 0, sizeof(*rig));
}

int scsi_rig_memory(struct scsi_rig *rig, uint64_t bytes)
{
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;

    opts.store = HV_DISK_MEMORY;
    opts.bytes = bytes;
    opts.serial = "TEST-1";
    return scsi_rig_open(rig, opts);
}

static void finished(struct hv_scsi_command *command)
{
    ++*(int *)command->arg;
}

struct scsi_result scsi_run_iov(struct hv_disk_queue *queue, uint64_t initiator, const void *cdb,
                                size_t cdb_bytes, uint8_t direction, const struct iovec *iov,
                                uint32_t iov_count)
{
    struct hv_scsi_command *command = malloc(sizeof(*command));
    struct scsi_result r = {0};
    int done = 0;

    memset(command, 0xa5, sizeof(*command)); /* nothing may depend on what the caller left there */
    memset(command->cdb, 0, sizeof(command->cdb));
    memcpy(command->cdb, cdb, cdb_bytes);
    command->cdb_bytes = (uint8_t)cdb_bytes;
    command->data_direction = direction;
    command->data_bytes = 0;
    for (uint32_t i = 0; i < iov_count; i++)
        command->data_bytes += (uint32_t)iov[i].iov_len;
    command->initiator = initiator;
    command->iov = iov;
    command->iov_count = iov_count;
    command->done = finished;
    command->arg = &done;
    hv_disk_execute(queue, command);
    hv_disk_queue_flush(queue);
    while (!done) { /* sleeping as a worker does: a lost wake-up ends in the time-out of the test */
        struct pollfd p = {.fd = hv_disk_queue_fd(queue), .events = POLLIN};

        if (!hv_disk_queue_poll(queue))
            (void)poll(&p, 1, -1);
    }
    r.srb = command->srb_status;
    r.status = command->scsi_status;
    r.transferred = command->transferred_bytes;
    if (command->sense_bytes) {
        r.key = command->sense[2] & 0x0f;
        r.asc = hv_get_be16(command->sense + 12);
        r.has_information = command->sense[0] & 0x80;
        r.information = hv_get_be32(command->sense + 3);
    }
    free(command);
    return done == 1 ? r : (struct scsi_result){.srb = 0xff};
}

struct scsi_result scsi_in(struct scsi_rig *rig, uint64_t initiator, const void *cdb,
                           size_t cdb_bytes, void *data, size_t bytes)
{
    struct iovec iov = {.iov_base = data, .iov_len = bytes};

    return scsi_run_iov(rig->queue, initiator, cdb, cdb_bytes, HV_VSTOR_DATA_IN, &iov, 1);
}

struct scsi_result scsi_out(struct scsi_rig *rig, uint64_t initiator, const void *cdb,
                            size_t cdb_bytes, const void *data, size_t bytes)
{
    void *copy = malloc(bytes ? bytes : 1); /* exact size: reading past it is found by ASan */
    struct iovec iov = {.iov_base = copy, .iov_len = bytes};
    struct scsi_result r;

    if (bytes)
        memcpy(copy, data, bytes);
    r = scsi_run_iov(rig->queue, initiator, cdb, cdb_bytes, HV_VSTOR_DATA_OUT, &iov, 1);
    free(copy);
    return r;
}

struct scsi_result scsi_none(struct scsi_rig *rig, uint64_t initiator, const void *cdb,
                             size_t cdb_bytes)
{
    return scsi_run_iov(rig->queue, initiator, cdb, cdb_bytes, HV_VSTOR_DATA_NONE, NULL, 0);
}

void scsi_cdb16(uint8_t cdb[16], uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t blocks)
{
    memset(cdb, 0, 16);
    cdb[0] = opcode;
    cdb[1] = flags;
    hv_put_be64(cdb + 2, lba);
    hv_put_be32(cdb + 10, blocks);
}

struct scsi_result scsi_read(struct scsi_rig *rig, uint64_t lba, uint32_t blocks, uint8_t flags,
                             void *data)
{
    uint8_t cdb[16];

    scsi_cdb16(cdb, HV_SCSI_READ_16, flags, lba, blocks);
    return scsi_in(rig, 1, cdb, 16, data, (size_t)blocks * hv_disk_block_bytes(rig->disk));
}

struct scsi_result scsi_write(struct scsi_rig *rig, uint64_t lba, uint32_t blocks, uint8_t flags,
                              const void *data)
{
    uint8_t cdb[16];

    scsi_cdb16(cdb, HV_SCSI_WRITE_16, flags, lba, blocks);
    return scsi_out(rig, 1, cdb, 16, data, (size_t)blocks * hv_disk_block_bytes(rig->disk));
}

struct scsi_result scsi_unmap(struct scsi_rig *rig, uint64_t lba, uint32_t blocks)
{
    static const uint8_t cdb[10] = {HV_SCSI_UNMAP, [8] = 24};
    uint8_t list[24] = {[1] = 22, [3] = 16};

    hv_put_be64(list + 8, lba);
    hv_put_be32(list + 16, blocks);
    return scsi_out(rig, 1, cdb, 10, list, sizeof(list));
}

uint32_t scsi_lba_status(struct scsi_rig *rig, uint64_t lba, bool *ret_mapped)
{
    uint8_t cdb[16], reply[24] = {0};
    struct scsi_result r;

    scsi_cdb16(cdb, HV_SCSI_SERVICE_ACTION_IN_16, HV_SCSI_SAI_GET_LBA_STATUS, lba, sizeof(reply));
    r = scsi_in(rig, 1, cdb, 16, reply, sizeof(reply));
    if (!scsi_is_good(r, sizeof(reply)) || hv_get_be32(reply) != 20 ||
        hv_get_be64(reply + 8) != lba)
        return 0;
    *ret_mapped = reply[20] == 0;
    return hv_get_be32(reply + 16);
}

bool scsi_is_good(struct scsi_result r, uint32_t transferred)
{
    return r.srb == HV_SRB_SUCCESS && r.status == HV_SCSI_STATUS_GOOD && !r.key && !r.asc &&
           r.transferred == transferred;
}

bool scsi_is_sense(struct scsi_result r, uint8_t key, uint16_t asc)
{
    return r.srb != HV_SRB_SUCCESS && r.status == HV_SCSI_STATUS_CHECK_CONDITION && r.key == key &&
           r.asc == asc;
}

bool scsi_is_conflict(struct scsi_result r)
{
    return r.srb == HV_SRB_ERROR && r.status == HV_SCSI_STATUS_RESERVATION_CONFLICT && !r.key &&
           !r.asc;
}

void scsi_fill(void *data, size_t bytes, uint64_t seed)
{
    uint8_t *to = data;

    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        to[i] = (uint8_t)(seed >> 56);
    }
}
