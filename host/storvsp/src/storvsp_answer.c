/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What goes to the guest.  Room for an answer is set aside before its request is read (may_take() in
 * storvsp_channel.c), so an answer always fits.
 */
#include "storvsp_impl.h"

#include <errno.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/base/log.h>

#define SHORTENED_BYTES 8u
#define NEVER_ASKED                                                                                \
    UINT64_C(0x5a5a5a5a5a5a5a5a) /* turns an id into one that the guest did not use */
#define SENSE_IMPOSSIBLE 255u

void hv_storvsp_answer(struct hv_storvsp_channel *ch, uint64_t trans_id,
                       const struct hv_vstor_packet *reply, uint32_t bytes)
{
    struct hv_packet_desc desc = {
        .trans_id = trans_id, .payload_bytes = bytes, .type = HV_PACKET_COMPLETION};
    struct hv_packet_slot slot;

    if (ch->closing || ch->dead)
        return; /* nobody listens any more */
    if (hv_host_channel_reserve(ch->channel, &desc, &slot)) {
        hv_storvsp_broken(ch, "took back room for answers");
        return;
    }
    memcpy(slot.payload, reply, bytes);
    ch->room -= hv_min_u32(ch->room, hv_ring_packet_bytes(0, bytes));
    ch->unpublished = true;
}

static void apply_fault(const struct hv_storvsp_slot *slot, struct hv_vstor_packet *reply,
                        uint64_t *trans_id, uint32_t *bytes)
{
    switch (slot->fault->action) {
    case HV_FAULT_SHORTEN:
        *bytes = hv_min_u32(*bytes, SHORTENED_BYTES);
        break;
    case HV_FAULT_WRONG_ID:
        *trans_id ^= NEVER_ASKED;
        break;
    case HV_FAULT_BAD_LENGTH:
        reply->srb.data_transfer_bytes = slot->command.data_bytes + 1;
        break;
    case HV_FAULT_BAD_SENSE:
        reply->srb.srb_status = HV_SRB_ERROR | HV_SRB_SENSE_VALID;
        reply->srb.scsi_status = HV_SCSI_STATUS_CHECK_CONDITION;
        reply->srb.sense_bytes = SENSE_IMPOSSIBLE;
        break;
    default:
        break;
    }
}

static void count_result(struct hv_storvsp_channel *ch, const struct hv_scsi_command *command)
{
    struct hv_storvsp_counters *c = &ch->counters;

    ch->moved += command->transferred_bytes;
    if ((command->srb_status & HV_SRB_STATUS_MASK) != HV_SRB_SUCCESS)
        hv_storvsp_count(&c->errors, 1);
    else if (command->data_direction == HV_VSTOR_DATA_OUT)
        hv_storvsp_count(&c->write_bytes, command->transferred_bytes);
    else
        hv_storvsp_count(&c->read_bytes, command->transferred_bytes);
}

void hv_storvsp_answer_srb(struct hv_storvsp_slot *slot)
{
    struct hv_storvsp_channel *ch = slot->channel;
    const struct hv_scsi_command *command = &slot->command;
    uint32_t version = hv_storvsp_version(&ch->guest->session);
    struct hv_vstor_packet reply = {.hdr = {.operation = HV_VSTOR_COMPLETE_IO}};
    uint64_t trans_id = slot->trans_id;
    uint32_t bytes = slot->reply_bytes;
    uint8_t sense = command->sense_bytes;

    count_result(ch, command);
    if (sense > hv_storvsp_sense_bytes(version))
        sense = hv_storvsp_sense_bytes(version);
    reply.hdr.status = hv_storvsp_ntstatus(command->srb_status);
    reply.srb.length = hv_storvsp_srb_bytes(version);
    reply.srb.srb_status = command->srb_status;
    reply.srb.scsi_status = command->scsi_status;
    reply.srb.path_id = slot->path;
    reply.srb.target_id = slot->target;
    reply.srb.lun = slot->lun;
    reply.srb.cdb_bytes = HV_VSTOR_CDB_BYTES;
    reply.srb.data_in = slot->data_in;
    reply.srb.data_transfer_bytes = hv_min_u32(command->transferred_bytes, command->data_bytes);
    if (sense) {
        reply.srb.srb_status |= HV_SRB_SENSE_VALID;
        reply.srb.sense_bytes = sense;
        memcpy(reply.srb.sense, command->sense, sense);
    }
    if (slot->fault) {
        if (slot->fault->action == HV_FAULT_DROP)
            return;
        apply_fault(slot, &reply, &trans_id, &bytes);
    }
    hv_storvsp_answer(ch, trans_id, &reply, bytes);
    if (!slot->fault || ch->closing || ch->dead)
        return;
    /* The second answer is no request's: it may use only what the others do not need. */
    if (slot->fault->action == HV_FAULT_REPEAT &&
        hv_host_channel_free_bytes(ch->channel) >= (ch->in_flight + 1) * HV_STORVSP_ANSWER_ROOM)
        hv_storvsp_answer(ch, trans_id, &reply, bytes);
    if (slot->fault->action == HV_FAULT_BAD_INDEX) {
        hv_storvsp_publish(ch);
        hv_host_channel_corrupt_index(ch->channel);
    }
}

/** An unsolicited packet.  False when there is no room now. */
static bool tell_one(struct hv_storvsp_channel *ch, uint32_t operation)
{
    struct hv_vstor_packet packet = {.hdr = {.operation = operation}};
    uint32_t bytes = hv_storvsp_packet_bytes(hv_storvsp_version(&ch->guest->session));
    struct hv_packet_desc desc = {.payload_bytes = bytes, .type = HV_PACKET_INBAND};
    struct hv_packet_slot slot;

    if (hv_host_channel_free_bytes(ch->channel) < (ch->in_flight + 1) * HV_STORVSP_ANSWER_ROOM ||
        hv_host_channel_reserve(ch->channel, &desc, &slot)) {
        ch->short_of_room = true;
        return false;
    }
    memcpy(slot.payload, &packet, bytes);
    ch->room -= hv_min_u32(ch->room, hv_ring_packet_bytes(0, bytes));
    ch->unpublished = true;
    return true;
}

void hv_storvsp_tell(struct hv_storvsp_channel *ch)
{
    if (ch->closing || ch->dead)
        return;
    if (ch->tell_removed)
        ch->tell_removed = !tell_one(ch, HV_VSTOR_REMOVE_DEVICE);
    if (ch->tell_enumerate)
        ch->tell_enumerate = !tell_one(ch, HV_VSTOR_ENUMERATE_BUS);
}

void hv_storvsp_publish(struct hv_storvsp_channel *ch)
{
    int ret;

    ch->moved = 0;
    if (!ch->unpublished || ch->closing || ch->dead)
        return;
    ch->unpublished = false;
    ret = hv_host_channel_flush(ch->channel);
    if (ret < 0)
        hv_storvsp_broken(ch, "broke the ring to it");
}

void hv_storvsp_broken(struct hv_storvsp_channel *ch, const char *what)
{
    if (ch->dead)
        return;
    ch->dead = true;
    hv_host_channel_kill(ch->channel, "storvsp: guest %u %s", ch->guest->id, what);
}
