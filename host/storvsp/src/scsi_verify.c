/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VERIFY, WRITE AND VERIFY, COMPARE AND WRITE: what is on the medium is read back into a private buffer, from the
 * device itself where the store is direct.
 */
#include "scsi_command.h"

#include <errno.h>

#define CDB_BYTCHK 0x06u

static hv_scsi_step verify_next, compare_read, compare_write;

static enum hv_step miscompare(struct hv_scsi_command *command, uint64_t at)
{
    hv_scsi_fail(command, HV_SENSE_MISCOMPARE, HV_ASC_MISCOMPARE);
    hv_scsi_set_information(command, at); /* offset in the data-out buffer, SBC-3 5.2 */
    return HV_STEP_DONE;
}

/* Read or write through the private buffer: the rest of the range, at most `limit` bytes. */
static enum hv_step transfer(struct hv_scsi_command *command, enum hv_store_op op, uint8_t *buffer,
                             uint64_t limit)
{
    struct hv_store_io *io = &command->impl.io;

    io->op = (uint8_t)op;
    io->buffer = buffer;
    io->offset = command->impl.offset + command->impl.progress;
    io->length = hv_min_u64(command->impl.length - command->impl.progress, limit);
    io->want_durable = command->impl.durable;
    return HV_STEP_IO;
}

/* False: the transfer failed and the result is filled. */
static bool advance(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    const struct hv_store_io *io = &command->impl.io;

    if (io->result > 0) {
        command->impl.progress += (uint64_t)io->result;
        return true;
    }
    (void)hv_scsi_io_error(queue, command, io->result ? io->result : -EIO, io->op == HV_STORE_WRITE,
                           io->offset);
    return false;
}

static enum hv_step verify_check(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    uint64_t before = command->impl.progress;
    uint32_t state = command->impl.state;

    if (!advance(queue, command))
        return HV_STEP_DONE;
    if (state & HV_SCSI_STATE_COMPARE) {
        size_t bytes = command->impl.progress - before;
        struct hv_iov_cursor data;
        size_t equal;

        hv_scsi_data(command, before, &data);
        equal = hv_iov_compare(&data, command->impl.buffer, bytes);
        if (equal < bytes)
            return miscompare(command, before + equal);
    }
    if (command->impl.progress < command->impl.length)
        return verify_next(queue, command);
    return hv_scsi_good(command, state ? command->impl.length : 0);
}

static enum hv_step verify_next(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    command->impl.step = verify_next;
    if (!command->impl.buffer)
        command->impl.buffer = hv_disk_get_bounce(queue);
    if (!command->impl.buffer)
        return HV_STEP_WAIT;
    command->impl.step = verify_check;
    return transfer(command, HV_STORE_READ, command->impl.buffer, HV_DISK_BOUNCE_BYTES);
}

static bool check_verify(struct hv_scsi_command *command)
{
    uint8_t bytchk = command->cdb[1] & CDB_BYTCHK;

    if ((command->cdb[1] & HV_SCSI_CDB_PROTECT) || bytchk > 0x02) {
        hv_scsi_bad_field(command);
        return false;
    }
    if (bytchk)
        command->impl.state |= HV_SCSI_STATE_COMPARE;
    return true;
}

enum hv_step hv_scsi_verify(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    if (!check_verify(command) || !hv_scsi_range(queue, command))
        return HV_STEP_DONE;
    if (!command->impl.length)
        return hv_scsi_good(command, 0);
    if (command->impl.length > queue->disk->max_transfer_bytes)
        return hv_scsi_bad_field(command); /* block limits page: maximum transfer length */
    if ((command->impl.state & HV_SCSI_STATE_COMPARE) &&
        !hv_scsi_has_data_out(command, command->impl.length))
        return HV_STEP_DONE;
    return verify_next(queue, command);
}

enum hv_step hv_scsi_write_and_verify(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    if (!check_verify(command))
        return HV_STEP_DONE;
    command->impl.state |= HV_SCSI_STATE_VERIFY;
    return hv_scsi_write(queue, command);
}

enum hv_step hv_scsi_verify_written(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    command->impl.progress = 0;
    return verify_next(queue, command);
}

/*
 * COMPARE AND WRITE runs alone on the disk (disk_impl.h): no other command touches the medium between its read and its
 * write, whatever its range and queue.
 */
static enum hv_step compare_read(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    uint64_t length = command->impl.length;
    struct hv_iov_cursor data;
    size_t equal;

    if (!advance(queue, command))
        return HV_STEP_DONE;
    if (command->impl.progress < length)
        return transfer(command, HV_STORE_READ, command->impl.buffer + command->impl.progress,
                        HV_SCSI_COMPARE_MAX);
    hv_scsi_data(command, 0, &data);
    equal = hv_iov_compare(&data, command->impl.buffer, length);
    if (equal < length)
        return miscompare(command, equal);
    command->impl.progress = 0;
    command->impl.step = compare_write;
    return transfer(command, HV_STORE_WRITE, command->impl.buffer + HV_SCSI_COMPARE_MAX,
                    HV_SCSI_COMPARE_MAX);
}

static enum hv_step compare_write(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    if (!advance(queue, command))
        return HV_STEP_DONE;
    if (command->impl.progress < command->impl.length)
        return transfer(command, HV_STORE_WRITE,
                        command->impl.buffer + HV_SCSI_COMPARE_MAX + command->impl.progress,
                        HV_SCSI_COMPARE_MAX);
    command->impl.progress = 2 * command->impl.length; /* both halves of the data were taken */
    if (command->impl.durable && !command->impl.io.is_durable)
        return hv_scsi_sync(queue, command);
    return hv_scsi_good(command, command->impl.progress);
}

enum hv_step hv_scsi_compare_and_write(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    const uint8_t *cdb = command->cdb;
    struct hv_iov_cursor data;

    if (cdb[1] & HV_SCSI_CDB_PROTECT)
        return hv_scsi_bad_field(command);
    if (!hv_scsi_check_range(queue->disk, command, hv_get_be64(cdb + 2), cdb[13]))
        return HV_STEP_DONE;
    if (command->impl.length > HV_SCSI_COMPARE_MAX)
        return hv_scsi_bad_field(command);
    if (!hv_scsi_has_data_out(command, 2 * command->impl.length))
        return HV_STEP_DONE;
    if (!command->impl.length)
        return hv_scsi_good(command, 0);
    command->impl.buffer = hv_disk_get_bounce(queue);
    if (!command->impl.buffer) /* cannot be while alone; BUSY is an answer all the same */
        return hv_scsi_io_error(queue, command, -EAGAIN, true, 0);
    hv_scsi_data(command, command->impl.length, &data);
    (void)hv_iov_read(&data, command->impl.buffer + HV_SCSI_COMPARE_MAX, command->impl.length);
    command->impl.durable = hv_scsi_wants_durable(queue->disk, cdb[1] & HV_SCSI_CDB_FUA);
    command->impl.step = compare_read;
    return transfer(command, HV_STORE_READ, command->impl.buffer, HV_SCSI_COMPARE_MAX);
}
