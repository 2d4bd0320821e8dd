/* SPDX-License-Identifier: BSD-3-Clause */
/* READ, WRITE, SYNCHRONIZE CACHE, START STOP UNIT. */
#include "scsi_command.h"

#include <errno.h>

bool hv_scsi_wants_durable(const struct hv_disk *disk, bool fua)
{
    return fua || !atomic_load_explicit(&disk->write_cache, memory_order_relaxed);
}

enum hv_step hv_scsi_sync(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    (void)queue;
    command->impl.io.op = HV_STORE_SYNC;
    command->impl.io.buffer = NULL;
    command->impl.step = hv_scsi_sync_done;
    return HV_STEP_IO;
}

enum hv_step hv_scsi_sync_done(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    if (command->impl.io.result < 0)
        return hv_scsi_io_error(queue, command, command->impl.io.result, true,
                                command->impl.offset);
    if (command->impl.state & HV_SCSI_STATE_VERIFY)
        return hv_scsi_verify_written(queue, command);
    return hv_scsi_good(command, command->impl.progress);
}

/* The rest of the command's data. */
static enum hv_step move(struct hv_scsi_command *command)
{
    command->impl.io.offset = command->impl.offset + command->impl.progress;
    command->impl.io.length = command->impl.length - command->impl.progress;
    hv_scsi_data(command, command->impl.progress, &command->impl.io.data);
    return HV_STEP_IO;
}

static enum hv_step moved(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct hv_store_io *io = &command->impl.io;
    bool writing = io->op == HV_STORE_WRITE;

    if (io->result <= 0) { /* nothing at all: the file ends before the disk */
        command->transferred_bytes = (uint32_t)command->impl.progress;
        return hv_scsi_io_error(queue, command, io->result ? io->result : -EIO, writing,
                                command->impl.offset + command->impl.progress);
    }
    command->impl.progress += (uint64_t)io->result;
    if (command->impl.progress < command->impl.length)
        return move(command);
    if (writing && io->want_durable && !io->is_durable)
        return hv_scsi_sync(queue, command);
    if (command->impl.state & HV_SCSI_STATE_VERIFY)
        return hv_scsi_verify_written(queue, command);
    return hv_scsi_good(command, command->impl.length);
}

static bool is_six_bytes(const struct hv_scsi_command *command)
{
    return command->cdb[0] < 0x20;
}

static bool has_fua(const struct hv_scsi_command *command)
{
    return !is_six_bytes(command) && (command->cdb[1] & HV_SCSI_CDB_FUA);
}

static bool check_transfer(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    if (!is_six_bytes(command) && (command->cdb[1] & HV_SCSI_CDB_PROTECT)) {
        hv_scsi_bad_field(command); /* no protection information here */
        return false;
    }
    return hv_scsi_range(queue, command);
}

static enum hv_step start_moving(struct hv_scsi_command *command, enum hv_store_op op)
{
    command->impl.io.op = (uint8_t)op;
    command->impl.io.buffer = NULL;
    command->impl.step = moved;
    command->impl.io.want_durable = command->impl.durable;
    return move(command);
}

static enum hv_step read_after_sync(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    if (command->impl.io.result < 0)
        return hv_scsi_io_error(queue, command, command->impl.io.result, true,
                                command->impl.offset);
    return start_moving(command, HV_STORE_READ);
}

enum hv_step hv_scsi_read(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    if (!check_transfer(queue, command))
        return HV_STEP_DONE;
    if (!command->impl.length)
        return hv_scsi_good(command, 0);
    if (command->data_bytes < command->impl.length)
        return hv_scsi_overrun(command);
    if (command->data_direction == HV_VSTOR_DATA_OUT)
        return hv_scsi_bad_field(command);
    if (has_fua(command)) {
        /* From the medium: what a cache holds has to get there first (SBC-3 5.11). */
        command->impl.io.op = HV_STORE_SYNC;
        command->impl.step = read_after_sync;
        return HV_STEP_IO;
    }
    return start_moving(command, HV_STORE_READ);
}

enum hv_step hv_scsi_write(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    if (!check_transfer(queue, command) || !hv_scsi_has_data_out(command, command->impl.length))
        return HV_STEP_DONE;
    if (!command->impl.length)
        return hv_scsi_good(command, 0);
    command->impl.durable = hv_scsi_wants_durable(queue->disk, has_fua(command)) ||
                            (command->impl.state & HV_SCSI_STATE_VERIFY);
    return start_moving(command, HV_STORE_WRITE);
}

/* The whole disk; the range is only checked.  IMMED is allowed to be late. */
enum hv_step hv_scsi_synchronize_cache(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    if (!hv_scsi_range(queue, command))
        return HV_STEP_DONE;
    return hv_scsi_sync(queue, command);
}

/* The medium cannot be stopped, loaded or ejected; stopping flushes it, as Hyper-V does (OpenVMM scsidisk). */
enum hv_step hv_scsi_start_stop(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    const uint8_t *cdb = command->cdb;

    if ((cdb[1] & 0x01) || (cdb[4] & 0xf2)) /* IMMED; power condition, LOEJ */
        return hv_scsi_bad_field(command);
    if (cdb[4] & 0x05) /* START, NO_FLUSH */
        return hv_scsi_good(command, 0);
    return hv_scsi_sync(queue, command);
}
