/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the host sends: answers to commands, notifications, and nonsense.
 *
 * Checked on a private copy: packet type and length, id in flight, operation, no more data than asked for, a sense
 * length that exists.  A host that fails a check has lost track or lies: the queue is dead, nothing is completed by it.
 */
#include "storvsc_impl.h"

#include <errno.h>
#include <string.h>

#define TAG_MASK 0xffffu
/** Tries after the first for answers that say "again": resets, unit attentions. */
#define AGAIN_MAX       8u
#define PAUSE_SHIFT_MAX 7u /* 1 .. 128 ms */

/* What of a command's bytes may be missing from a good answer. */
static bool may_be_short(const struct hv_storvsc_request *request)
{
    return request->op == HV_STORVSC_SCSI || request->op == HV_STORVSC_LBA_STATUS;
}

static bool is_retried(const struct hv_storvsc_request *request)
{
    return request->op != HV_STORVSC_SCSI || (request->flags & HV_STORVSC_INTERNAL);
}

static void complete_good(struct hv_storvsc_queue *q, struct hv_storvsc_slot *slot, uint32_t moved)
{
    uint32_t asked = slot->packet.srb.data_transfer_bytes;
    struct hv_storvsc_result result = {.srb_status = HV_SRB_SUCCESS, .bytes = moved};

    if (moved < asked && !may_be_short(slot->request))
        result.error = -EIO;
    else if (slot->sgl.piece_count)
        hv_storvsc_sgl_copy_back(&slot->sgl);
    hv_storvsc_slot_finish(q, slot, &result);
}

/*
 * The scan's own commands find absent LUNs, and its TEST UNIT READY collects unit attentions: what it reads after that
 * is fresh.  An attention behind that means that a change overtook the scan.
 */
static bool is_news(const struct hv_storvsc_slot *slot, const struct hv_storvsc_verdict *verdict)
{
    if (!(slot->request->flags & HV_STORVSC_INTERNAL))
        return true;
    return verdict->action == HV_STORVSC_AGAIN &&
           slot->packet.srb.cdb[0] != HV_SCSI_TEST_UNIT_READY;
}

/* Anything but a plain success. */
static void complete_odd(struct hv_storvsc_queue *q, struct hv_storvsc_slot *slot,
                         const struct hv_vstor_srb *srb)
{
    uint32_t asked = slot->packet.srb.data_transfer_bytes;
    uint32_t sense_max = slot->packet.srb.sense_bytes;
    struct hv_storvsc_result result = {
        .srb_status = srb->srb_status & HV_SRB_STATUS_MASK,
        .scsi_status = srb->scsi_status,
        .bytes = srb->data_transfer_bytes,
    };
    struct hv_storvsc_sense sense = {0};
    struct hv_storvsc_verdict verdict;
    bool valid = false;

    if (hv_storvsc_sense_is_valid(srb->srb_status, srb->scsi_status)) {
        result.sense = srb->sense;
        result.sense_bytes = (uint8_t)hv_min_u32(srb->sense_bytes, sense_max);
        valid = hv_storvsc_sense_parse(result.sense, result.sense_bytes, &sense);
        result.sense_key = sense.key;
        result.asc = sense.asc;
    }
    verdict = hv_storvsc_judge(srb->srb_status, srb->scsi_status, valid ? &sense : NULL);
    if (verdict.rescan && is_news(slot, &verdict))
        hv_storvsc_want_rescan(q->storvsc);
    if (verdict.action != HV_STORVSC_DONE && !slot->expired && is_retried(slot->request)) {
        if (verdict.action == HV_STORVSC_AGAIN_LATER) {
            uint32_t shift = hv_min_u32(slot->retries, PAUSE_SHIFT_MAX);

            hv_storvsc_slot_retry(q, slot, HV_STORVSC_MS_NS << shift);
            return;
        }
        if (slot->retries < AGAIN_MAX) {
            hv_storvsc_slot_retry(q, slot, 0);
            return;
        }
    }
    result.error = verdict.error;
    /* Late, and told to come again: the time for that is over. */
    if (slot->expired && verdict.action != HV_STORVSC_DONE)
        result.error = -ETIMEDOUT;
    if (!result.error && result.bytes < asked && !may_be_short(slot->request))
        result.error = -EIO;
    if (slot->sgl.piece_count && (!result.error || slot->request->op == HV_STORVSC_SCSI))
        hv_storvsc_sgl_copy_back(&slot->sgl);
    hv_storvsc_slot_finish(q, slot, &result);
}

static int violation(struct hv_storvsc_queue *q, const char *what)
{
    hv_storvsc_die(q, -EPROTO, what);
    return -EPROTO;
}

/* Packets that the host sends of its own accord have id 0; only three are known, the rest is nobody's business. */
static int unsolicited(struct hv_storvsc_queue *q, const struct hv_vstor_header *header)
{
    switch (header->operation) {
    case HV_VSTOR_REMOVE_DEVICE:
    case HV_VSTOR_ENUMERATE_BUS:
    case HV_VSTOR_EVENT_NOTIFICATION:
        hv_storvsc_want_rescan(q->storvsc);
        break;
    default:
        q->stats.unknown_ids++;
        break;
    }
    return 0;
}

static int complete(struct hv_storvsc_queue *q, uint64_t id, const struct hv_vstor_packet *reply)
{
    uint32_t tag = (uint32_t)(id & TAG_MASK) - 1u;
    struct hv_storvsc_slot *slot = tag < q->slot_count ? &q->slots[tag] : NULL;
    uint32_t asked;

    if (!slot || slot->state != HV_STORVSC_SLOT_SENT || slot->id != id) {
        q->stats.unknown_ids++;
        return violation(q, "answer with an id that is not in flight");
    }
    if (reply->hdr.operation != HV_VSTOR_COMPLETE_IO)
        return violation(q, "answer that is no COMPLETE_IO");
    if (!slot->request) {
        if (slot->control) {
            slot->control->reply = *reply;
            slot->control->done = true;
        }
        hv_storvsc_slot_put(q, slot);
        return 0;
    }
    asked = slot->packet.srb.data_transfer_bytes;
    if (reply->srb.data_transfer_bytes > asked)
        return violation(q, "answer that claims more data than asked for");
    if (reply->srb.sense_bytes > HV_VSTOR_SENSE_V2_BYTES)
        return violation(q, "answer with impossible sense length");
    if ((reply->srb.srb_status & HV_SRB_STATUS_MASK) == HV_SRB_SUCCESS &&
        reply->srb.scsi_status == HV_SCSI_STATUS_GOOD)
        complete_good(q, slot, reply->srb.data_transfer_bytes);
    else
        complete_odd(q, slot, &reply->srb);
    return 0;
}

int hv_storvsc_packet(struct hv_storvsc_queue *q, const struct hv_packet *packet)
{
    struct hv_vstor_packet copy;

    /* The host may rewrite the packet while we look: everything below sees this copy only. */
    if (packet->type == HV_PACKET_COMPLETION) {
        if (packet->payload_bytes < q->packet_bytes)
            return violation(q, "answer that is too short");
        if (q->packet_bytes == HV_VSTOR_PACKET_V2_BYTES) {
            memcpy(&copy, packet->payload, HV_VSTOR_PACKET_V2_BYTES);
        } else {
            memset(&copy, 0, sizeof(copy));
            memcpy(&copy, packet->payload, HV_VSTOR_PACKET_V1_BYTES);
        }
        return complete(q, packet->trans_id, &copy);
    }
    if (packet->type != HV_PACKET_INBAND || packet->trans_id)
        return violation(q, "packet that is neither an answer nor a notification");
    if (packet->payload_bytes < sizeof(copy.hdr))
        return violation(q, "notification that is too short");
    memcpy(&copy.hdr, packet->payload, sizeof(copy.hdr));
    return unsolicited(q, &copy.hdr);
}
