/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests from the guest: copied once, the copy checked, the copy used. */
#include "storvsp_impl.h"

#include <string.h>
#include <sys/timerfd.h>

#include <hv/base/bits.h>
#include <hv/base/clock.h>
#include <hv/base/log.h>

#define NS_PER_MS 1000000u
#define NS_PER_S  1000000000u
/* What the packet must contain of an SRB; the rest of revision 2 is of no use to us. */
#define SRB_LEAST_BYTES (sizeof(struct hv_vstor_header) + HV_VSTOR_SRB_V1_BYTES)

static void finish(struct hv_storvsp_slot *slot)
{
    hv_storvsp_answer_srb(slot);
    hv_storvsp_slot_free(slot->channel, slot);
}

static void command_done(struct hv_scsi_command *command)
{
    struct hv_storvsp_slot *slot = command->arg;

    slot->binding->busy--;
    finish(slot);
}

/** Cut the vector to what the request is about; it is at least that long. */
static uint32_t cut_iov(struct iovec *iov, uint32_t count, uint32_t bytes)
{
    uint32_t used = 0;

    while (bytes && used < count) {
        if (iov[used].iov_len > bytes)
            iov[used].iov_len = bytes;
        bytes -= (uint32_t)iov[used].iov_len;
        used++;
    }
    return used;
}

/** Returns an SRB status: success = the command can be carried out. */
static uint8_t check(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot,
                     const struct hv_packet *packet, const struct hv_vstor_srb *srb, uint32_t bytes)
{
    struct hv_scsi_command *command = &slot->command;
    uint32_t have = 0;
    ssize_t count;

    if (bytes < SRB_LEAST_BYTES || srb->length < HV_VSTOR_SRB_V1_BYTES)
        return HV_SRB_BAD_LENGTH;
    if (!srb->cdb_bytes || srb->cdb_bytes > HV_VSTOR_CDB_BYTES || srb->data_in > HV_VSTOR_DATA_NONE)
        return HV_SRB_INVALID_REQUEST;
    memcpy(command->cdb, srb->cdb, srb->cdb_bytes);
    command->cdb_bytes = srb->cdb_bytes;
    command->data_bytes = srb->data_transfer_bytes;
    if (!command->data_bytes) {
        command->data_direction = HV_VSTOR_DATA_NONE;
        return HV_SRB_SUCCESS;
    }
    /* "None" with data means that the guest did not care to say: data goes to it, as on Hyper-V. */
    command->data_direction = srb->data_in ? (uint8_t)HV_VSTOR_DATA_IN : srb->data_in;
    if (command->data_bytes > ch->storvsp->max_transfer_bytes ||
        packet->type != HV_PACKET_GPA_DIRECT)
        return HV_SRB_INVALID_REQUEST;
    count = hv_host_channel_map_gpa(ch->channel, packet, slot->iov, ch->iov_max, &have);
    if (count <= 0 || have < command->data_bytes)
        return HV_SRB_INVALID_REQUEST;
    command->iov = slot->iov;
    command->iov_count = cut_iov(slot->iov, (uint32_t)count, command->data_bytes);
    return HV_SRB_SUCCESS;
}

static void refuse(struct hv_storvsp_slot *slot, uint8_t srb_status)
{
    struct hv_scsi_command *command = &slot->command;

    hv_storvsp_count(&slot->channel->counters.malformed, 1);
    command->iov_count = 0;
    if (srb_status == HV_SRB_INVALID_REQUEST)
        hv_scsi_set_sense(command, srb_status, HV_SENSE_ILLEGAL_REQUEST,
                          HV_ASC_INVALID_FIELD_IN_CDB);
    else
        command->srb_status = srb_status;
    command->transferred_bytes = 0;
    finish(slot);
}

/** Faults that stand in for the disk.  True = the slot is finished. */
static bool fault_instead(struct hv_storvsp_slot *slot)
{
    struct hv_scsi_command *command = &slot->command;
    bool out = command->data_direction == HV_VSTOR_DATA_OUT;

    switch (slot->fault->action) {
    case HV_FAULT_MEDIUM_ERROR:
        hv_scsi_set_sense(command, HV_SRB_ERROR, HV_SENSE_MEDIUM_ERROR,
                          out ? HV_ASC_WRITE_ERROR : HV_ASC_UNRECOVERED_READ_ERROR);
        break;
    case HV_FAULT_NOSPACE:
        hv_scsi_set_sense(command, HV_SRB_ERROR, HV_SENSE_DATA_PROTECT,
                          HV_ASC_SPACE_ALLOCATION_FAILED);
        break;
    case HV_FAULT_BUSY:
        command->srb_status = HV_SRB_BUSY;
        command->scsi_status = HV_SCSI_STATUS_BUSY;
        break;
    case HV_FAULT_RESCIND:
        hv_host_channel_rescind(slot->channel->channel);
        hv_storvsp_slot_free(slot->channel, slot); /* the device is gone: no answer */
        return true;
    default:
        return false;
    }
    finish(slot);
    return true;
}

void hv_storvsp_start(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot)
{
    struct hv_scsi_command *command = &slot->command;
    struct hv_storvsp_binding *binding = NULL;

    if (slot->fault && fault_instead(slot))
        return;
    if (!hv_storvsp_is_controller_command(command))
        binding = hv_storvsp_find(ch, slot->path, slot->target, slot->lun);
    if (!binding) {
        hv_storvsp_controller_command(ch, slot);
        finish(slot);
        return;
    }
    if (!binding->queue) { /* no memory or kernel resources for it now */
        command->srb_status = HV_SRB_BUSY;
        command->scsi_status = HV_SCSI_STATUS_BUSY;
        finish(slot);
        return;
    }
    slot->binding = binding;
    binding->busy++;
    if (!binding->touched) {
        binding->touched = true;
        binding->touched_next = ch->touched;
        ch->touched = binding;
    }
    hv_disk_execute(binding->queue, command);
}

/** Ring the timer when the first delayed request is due; 0 stops it. */
static void set_timer(struct hv_storvsp_channel *ch, uint64_t due_ns)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due_ns / NS_PER_S), .tv_nsec = (long)(due_ns % NS_PER_S)}};

    (void)timerfd_settime(ch->timer_fd, TFD_TIMER_ABSTIME, &when, NULL); /* valid by construction */
}

static void delay(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot)
{
    struct hv_storvsp_slot **at = &ch->delayed;

    slot->due_ns = hv_clock_ns() + (uint64_t)slot->fault->delay_ms * NS_PER_MS;
    while (*at && (*at)->due_ns <= slot->due_ns)
        at = &(*at)->next;
    slot->next = *at;
    *at = slot;
    set_timer(ch, ch->delayed->due_ns);
}

int hv_storvsp_run_due(struct hv_storvsp_channel *ch)
{
    uint64_t now = hv_clock_ns();
    int done = 0;

    while (ch->delayed && ch->delayed->due_ns <= now) {
        struct hv_storvsp_slot *slot = ch->delayed;

        ch->delayed = slot->next;
        hv_storvsp_start(ch, slot);
        done++;
    }
    if (done)
        set_timer(ch, ch->delayed ? ch->delayed->due_ns : 0);
    return done;
}

static struct hv_storvsp_slot *new_slot(struct hv_storvsp_channel *ch, uint8_t kind,
                                        const struct hv_packet *packet,
                                        const struct hv_vstor_packet *request, uint32_t bytes)
{
    struct hv_storvsp_slot *slot = hv_storvsp_slot_take(ch);

    slot->kind = kind;
    slot->trans_id = packet->trans_id;
    slot->reply_bytes = bytes;
    slot->sequence = ++ch->sequence;
    slot->operation = request->hdr.operation;
    slot->path = request->srb.path_id;
    slot->target = request->srb.target_id;
    slot->lun = request->srb.lun;
    slot->data_in = request->srb.data_in;
    slot->binding = NULL;
    slot->fault = NULL;
    return slot;
}

static void take_srb(struct hv_storvsp_channel *ch, const struct hv_packet *packet,
                     const struct hv_vstor_packet *request, uint32_t bytes)
{
    struct hv_storvsp_slot *slot = new_slot(ch, HV_SLOT_SRB, packet, request, bytes);
    uint8_t status;

    hv_storvsp_count(&ch->counters.requests, 1);
    memset(&slot->command, 0, offsetof(struct hv_scsi_command, impl));
    slot->command.data_direction = HV_VSTOR_DATA_NONE;
    slot->command.initiator = ch->guest->id;
    slot->command.done = command_done;
    slot->command.arg = slot;
    if (ch->storvsp->fault)
        slot->fault = hv_storvsp_fault_next(ch->storvsp->fault);
    status = check(ch, slot, packet, &request->srb, bytes);
    if (status != HV_SRB_SUCCESS)
        refuse(slot, status);
    else if (slot->fault && slot->fault->action == HV_FAULT_DELAY)
        delay(ch, slot);
    else
        hv_storvsp_start(ch, slot);
}

static void take_handshake(struct hv_storvsp_channel *ch, const struct hv_packet *packet,
                           const struct hv_vstor_packet *request, uint32_t bytes)
{
    struct hv_vstor_packet reply = {0};
    struct hv_storvsp_effect effect =
        hv_storvsp_handshake(&ch->guest->session, ch->primary, request, bytes, &reply);

    hv_storvsp_answer(ch, packet->trans_id, &reply, bytes);
    if (effect.sub_channels)
        ch->offer_sub_channels = effect.sub_channels;
    if (effect.became_ready) {
        uint32_t version = hv_storvsp_version(&ch->guest->session);

        hv_log(&ch->storvsp->log, HV_LOG_INFO, "storvsp: guest %u is ready, version %u.%u",
               ch->guest->id, version >> 8, version & 0xff);
        hv_storvsp_wake_guest(ch->guest);
    }
}

static bool is_reset(uint32_t operation)
{
    return operation == HV_VSTOR_RESET_LUN || operation == HV_VSTOR_RESET_ADAPTER ||
           operation == HV_VSTOR_RESET_BUS;
}

void hv_storvsp_take(struct hv_storvsp_channel *ch, const struct hv_packet *packet)
{
    struct hv_vstor_packet request = {0};
    uint32_t bytes = hv_min_u32(packet->payload_bytes, sizeof(request)), operation;
    bool ready = hv_storvsp_is_ready(&ch->guest->session);

    memcpy(&request, packet->payload, bytes);
    operation = request.hdr.operation;
    if (!(packet->flags & HV_PACKET_FLAG_COMPLETION_REQUESTED)) {
        /* Nobody waits for an answer, and whatever it asks for could not be reported back. */
        hv_storvsp_count(&ch->counters.malformed, 1);
        if (!ch->warned)
            hv_log(&ch->storvsp->log, HV_LOG_WARNING,
                   "storvsp: guest %u sends packets that want no answer; they are ignored",
                   ch->guest->id);
        ch->warned = true;
    } else if ((packet->type != HV_PACKET_INBAND && packet->type != HV_PACKET_GPA_DIRECT) ||
               bytes < sizeof(request.hdr) ||
               (ready && is_reset(operation) && bytes < SRB_LEAST_BYTES &&
                operation == HV_VSTOR_RESET_LUN)) {
        struct hv_vstor_packet reply = {
            .hdr = {.operation = HV_VSTOR_COMPLETE_IO, .status = HV_NTSTATUS_INVALID_REQUEST}};

        hv_storvsp_count(&ch->counters.malformed, 1);
        hv_storvsp_answer(ch, packet->trans_id, &reply, bytes);
    } else if (ready && operation == HV_VSTOR_EXECUTE_SRB) {
        take_srb(ch, packet, &request, bytes);
    } else if (ready && is_reset(operation)) {
        hv_storvsp_reset_start(ch, new_slot(ch, HV_SLOT_RESET, packet, &request, bytes));
    } else {
        take_handshake(ch, packet, &request, bytes);
    }
}
