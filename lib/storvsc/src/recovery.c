/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When the host does not answer.
 *
 *   deadline of a command --> RESET_LUN --half a time-out--> RESET_BUS --half a time-out--> the queue is dead
 *
 * Each step ends at once when every overdue command has been answered.  The protocol has no abort, resets need not
 * have an effect, and a late answer is an answer: a command's memory is the host's until it answers or its channel is
 * closed, which only the control thread can do (hv_storvsc_reopen, hv_storvsc_close).
 */
#include "storvsc_impl.h"

#include <errno.h>

void hv_storvsc_die(struct hv_storvsc_queue *q, int error, const char *reason)
{
    struct hv_storvsc *s = q->storvsc;

    if (q->status)
        return;
    q->status = error;
    hv_log(&s->opts.log, HV_LOG_ERROR, "queue %u is dead: %s", q->index, reason);
    if (error != -ENODEV) /* that one the channel knows itself */
        hv_channel_kill(q->channel, reason);
    atomic_store_explicit(&s->dead, true, memory_order_release);
    if (q->index != 0)
        hv_storvsc_wake(s);
}

static void send_reset(struct hv_storvsc_queue *q, uint32_t operation,
                       const struct hv_storvsc_slot *overdue)
{
    const struct hv_vstor_srb *srb = &overdue->packet.srb;
    struct hv_vstor_packet packet = {
        .hdr = {.operation = operation, .flags = HV_VSTOR_FLAG_REQUEST_COMPLETION},
        .srb = {.length = srb->length,
                .path_id = srb->path_id,
                .target_id = srb->target_id,
                .lun = srb->lun},
    };

    hv_log(&q->storvsc->opts.log, HV_LOG_WARNING,
           "queue %u: no answer to command %02x of %u bytes in %u pages for LUN %u:%u:%u; "
           "%u commands overdue; asking for a reset of the %s",
           q->index, srb->cdb[0], srb->data_transfer_bytes, overdue->sgl.pfn_count, srb->path_id,
           srb->target_id, srb->lun, q->ladder.expired,
           operation == HV_VSTOR_RESET_LUN ? "LUN" : "bus");
    q->stats.resets++;
    /* No room for it: the step's time runs all the same, and the next step does not need any. */
    (void)hv_storvsc_start_control(q, &packet, NULL);
}

static void climb(struct hv_storvsc_queue *q, const struct hv_storvsc_slot *overdue,
                  uint64_t now_ns)
{
    struct hv_storvsc_ladder *ladder = &q->ladder;
    uint64_t half_ns = q->storvsc->opts.timeout_ms * HV_STORVSC_MS_NS / 2;

    if (ladder->step != HV_STORVSC_CALM && now_ns < ladder->step_ends_ns)
        return;
    switch (ladder->step) {
    case HV_STORVSC_CALM:
        ladder->step = HV_STORVSC_LUN_RESET;
        send_reset(q, HV_VSTOR_RESET_LUN, overdue);
        break;
    case HV_STORVSC_LUN_RESET:
        ladder->step = HV_STORVSC_BUS_RESET;
        send_reset(q, HV_VSTOR_RESET_BUS, overdue);
        break;
    case HV_STORVSC_BUS_RESET:
        hv_storvsc_die(q, -ETIMEDOUT, "no answer to commands, nor after resets");
        return;
    }
    ladder->step_ends_ns = now_ns + half_ns;
}

void hv_storvsc_expired_answered(struct hv_storvsc_queue *q, struct hv_storvsc_slot *slot)
{
    slot->expired = false;
    if (--q->ladder.expired == 0)
        q->ladder.step = HV_STORVSC_CALM;
}

/* A command that is to be sent again.  The host does not have it, so its deadline can end it here. */
static void retry_due(struct hv_storvsc_queue *q, struct hv_storvsc_slot *slot, uint64_t now_ns)
{
    struct hv_storvsc_result result = {.error = -EIO};

    if (now_ns >= slot->deadline_ns) {
        q->stats.timeouts++;
        hv_storvsc_slot_finish(q, slot, &result);
        return;
    }
    if (now_ns >= slot->retry_ns) {
        int rc = hv_storvsc_slot_send(q, slot);

        if (rc && rc != -EAGAIN) /* the queue is dead: reopen and close find the slot waiting */
            return;
    }
    hv_storvsc_timer_at(q, slot->state == HV_STORVSC_SLOT_WAITING ? slot->retry_ns
                                                                  : slot->deadline_ns);
}

void hv_storvsc_timers(struct hv_storvsc_queue *q, uint64_t now_ns)
{
    const struct hv_storvsc_slot *overdue = NULL;

    q->timer_ns = HV_STORVSC_NEVER_NS;
    for (uint32_t i = 0; i < q->slot_count && !q->status; i++) {
        struct hv_storvsc_slot *slot = &q->slots[i];

        if (slot->state == HV_STORVSC_SLOT_WAITING) {
            retry_due(q, slot, now_ns);
        } else if (slot->state == HV_STORVSC_SLOT_SENT) {
            if (now_ns < slot->deadline_ns) {
                hv_storvsc_timer_at(q, slot->deadline_ns);
                continue;
            }
            if (!slot->expired) {
                slot->expired = true;
                q->ladder.expired++;
                q->stats.timeouts++;
            }
            overdue = slot;
        }
    }
    if (overdue && !q->status) {
        climb(q, overdue, now_ns);
        hv_storvsc_timer_at(q, q->ladder.step_ends_ns);
    }
}
