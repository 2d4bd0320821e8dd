/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Resets.  Nothing can be taken back from a disk, so a reset is answered once everything in its scope that was in
 * flight when it came is done, in all channels of the guest.  Each channel keeps its own books: it is kicked, notes the
 * number of its youngest request, and reports when everything up to that has been answered.
 */
#include "storvsp_impl.h"

/** Head of the list becomes the running reset.  Under lock. */
static void begin(struct hv_storvsp_guest *guest)
{
    guest->reset_number++;
    guest->reset_pending = 0;
    for (struct hv_storvsp_channel *ch = guest->channels; ch; ch = ch->next) {
        guest->reset_pending++;
        hv_storvsp_kick(ch);
    }
}

/** A channel has drained; after the last one the reset goes back to the channel that asked.  Under lock. */
static void report(struct hv_storvsp_guest *guest)
{
    struct hv_storvsp_slot *slot = guest->reset_head;

    if (--guest->reset_pending)
        return;
    guest->reset_head = slot->next;
    slot->next = slot->channel->reset_done;
    slot->channel->reset_done = slot;
    hv_storvsp_kick(slot->channel);
    if (guest->reset_head)
        begin(guest);
}

void hv_storvsp_reset_start(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot)
{
    struct hv_storvsp_guest *guest = ch->guest;
    bool first;

    slot->next = NULL;
    pthread_mutex_lock(&ch->storvsp->lock);
    first = !guest->reset_head;
    if (first)
        guest->reset_head = slot;
    else
        guest->reset_tail->next = slot;
    guest->reset_tail = slot;
    if (first)
        begin(guest);
    pthread_mutex_unlock(&ch->storvsp->lock);
}

void hv_storvsp_reset_notice(struct hv_storvsp_channel *ch)
{
    struct hv_storvsp_guest *guest = ch->guest;

    pthread_mutex_lock(&ch->storvsp->lock);
    if (guest->reset_head && ch->reset_number != guest->reset_number) {
        ch->reset_number = guest->reset_number;
        ch->reset_mark = ch->sequence;
        ch->reset_draining = true;
    }
    pthread_mutex_unlock(&ch->storvsp->lock);
}

static bool in_scope(const struct hv_storvsp_slot *reset, const struct hv_storvsp_slot *slot)
{
    switch (reset->operation) {
    case HV_VSTOR_RESET_LUN:
        return slot->path == reset->path && slot->target == reset->target &&
               slot->lun == reset->lun;
    case HV_VSTOR_RESET_BUS:
        return slot->path == reset->path;
    default:
        return true;
    }
}

void hv_storvsp_reset_progress(struct hv_storvsp_channel *ch)
{
    const struct hv_storvsp_slot *reset;

    if (!ch->reset_draining)
        return;
    reset = ch->guest->reset_head; /* stays while we have not reported */
    for (uint32_t i = 0; i < ch->depth; i++)
        if (ch->slots[i].kind == HV_SLOT_SRB && ch->slots[i].sequence <= ch->reset_mark &&
            in_scope(reset, &ch->slots[i]))
            return;
    ch->reset_draining = false;
    pthread_mutex_lock(&ch->storvsp->lock);
    report(ch->guest);
    pthread_mutex_unlock(&ch->storvsp->lock);
}

void hv_storvsp_reset_answer(struct hv_storvsp_channel *ch)
{
    struct hv_storvsp_slot *list;

    pthread_mutex_lock(&ch->storvsp->lock);
    list = ch->reset_done;
    ch->reset_done = NULL;
    pthread_mutex_unlock(&ch->storvsp->lock);
    while (list) {
        struct hv_storvsp_slot *slot = list;
        struct hv_vstor_packet reply = {.hdr = {.operation = HV_VSTOR_COMPLETE_IO}};

        list = slot->next;
        hv_storvsp_answer(ch, slot->trans_id, &reply, slot->reply_bytes);
        hv_storvsp_slot_free(ch, slot);
    }
}

void hv_storvsp_reset_leave(struct hv_storvsp_channel *ch)
{
    struct hv_storvsp_guest *guest = ch->guest;

    if (ch->reset_draining || (guest->reset_head && ch->reset_number != guest->reset_number))
        report(guest);
    ch->reset_draining = false;
}
