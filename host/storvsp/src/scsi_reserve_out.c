/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PERSISTENT RESERVE OUT (SPC-3 5.6.6 to 5.6.10 and 6.12).
 *
 * PREEMPT AND ABORT runs alone on the disk (disk_impl.h): when it is done, nothing that a preempted initiator sent is
 * still on its way to the medium.  What was in flight is finished rather than cut off.
 */
#include "scsi_command.h"

#include <string.h>

#define LIST_BYTES 24u

enum service_action {
    REGISTER = 0,
    RESERVE = 1,
    RELEASE = 2,
    CLEAR = 3,
    PREEMPT = 4,
    PREEMPT_AND_ABORT = 5,
    REGISTER_AND_IGNORE = 6,
};

struct request {
    uint64_t initiator;
    uint64_t key;     /* reservation key: the initiator's own */
    uint64_t new_key; /* service action reservation key */
    uint8_t type;
};

static bool is_type(uint8_t type)
{
    return type == 1 || type == 3 || (type >= 5 && type <= 8);
}

/* Tell every registrant but one. */
static void tell_registrants(struct hv_disk *disk, uint64_t but, uint16_t asc)
{
    struct hv_reservations *r = &disk->reservations;

    for (uint32_t i = 0; i < r->count; i++)
        if (r->registration[i].initiator != but)
            hv_scsi_tell(disk, r->registration[i].initiator, false, asc);
}

static void drop_reservation(struct hv_disk *disk, uint64_t by)
{
    struct hv_reservations *r = &disk->reservations;

    if (hv_reservations_registrants_only(r->type))
        tell_registrants(disk, by, HV_ASC_RESERVATIONS_RELEASED);
    r->type = 0;
}

static void unregister(struct hv_disk *disk, struct hv_registration *one)
{
    struct hv_reservations *r = &disk->reservations;
    uint64_t initiator = one->initiator;
    bool held = hv_reservations_is_holder(disk, initiator);

    *one = r->registration[--r->count];
    if (held && (!hv_reservations_all_registrants(r) || !r->count))
        drop_reservation(disk, initiator);
}

static enum hv_step do_register(struct hv_disk *disk, struct hv_scsi_command *command,
                                const struct request *q, bool ignore)
{
    struct hv_reservations *r = &disk->reservations;
    struct hv_registration *own = hv_reservations_find(disk, q->initiator);

    if (!ignore && q->key != (own ? own->key : 0))
        return hv_scsi_conflict(command);
    if (own && q->new_key) {
        own->key = q->new_key;
    } else if (own) {
        unregister(disk, own);
    } else if (q->new_key) {
        if (r->count == HV_DISK_REGISTRATION_MAX)
            return hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST,
                                HV_ASC_NO_REGISTRATION_RESOURCES);
        r->registration[r->count++] =
            (struct hv_registration){.initiator = q->initiator, .key = q->new_key};
    }
    r->generation++;
    return hv_scsi_good(command, LIST_BYTES);
}

static enum hv_step do_reserve(struct hv_disk *disk, struct hv_scsi_command *command,
                               const struct request *q)
{
    struct hv_reservations *r = &disk->reservations;

    if (r->type && (!hv_reservations_is_holder(disk, q->initiator) || r->type != q->type))
        return hv_scsi_conflict(command);
    if (!r->type) {
        r->type = q->type;
        r->holder = q->initiator;
    }
    return hv_scsi_good(command, LIST_BYTES);
}

static enum hv_step do_release(struct hv_disk *disk, struct hv_scsi_command *command,
                               const struct request *q)
{
    struct hv_reservations *r = &disk->reservations;

    if (!hv_reservations_is_holder(disk, q->initiator))
        return hv_scsi_good(command, LIST_BYTES); /* nothing of its own to release */
    if (r->type != q->type)
        return hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST, HV_ASC_INVALID_RELEASE);
    drop_reservation(disk, q->initiator);
    return hv_scsi_good(command, LIST_BYTES);
}

static enum hv_step do_clear(struct hv_disk *disk, struct hv_scsi_command *command,
                             const struct request *q)
{
    struct hv_reservations *r = &disk->reservations;

    tell_registrants(disk, q->initiator, HV_ASC_RESERVATIONS_PREEMPTED);
    r->count = 0;
    r->type = 0;
    r->generation++;
    return hv_scsi_good(command, LIST_BYTES);
}

/* Remove the registrations with this key (0 = all), `keep` excepted.  Returns how many there were. */
static uint32_t remove_key(struct hv_disk *disk, uint64_t key, const uint64_t *keep, uint64_t by)
{
    struct hv_reservations *r = &disk->reservations;
    uint32_t removed = 0;

    for (uint32_t i = 0; i < r->count;) {
        struct hv_registration *one = &r->registration[i];

        if ((key && one->key != key) || (keep && one->initiator == *keep)) {
            i++;
            continue;
        }
        if (one->initiator != by)
            hv_scsi_tell(disk, one->initiator, false, HV_ASC_REGISTRATIONS_PREEMPTED);
        *one = r->registration[--r->count];
        removed++;
    }
    return removed;
}

static void take_over(struct hv_disk *disk, const struct request *q)
{
    struct hv_reservations *r = &disk->reservations;
    uint8_t old = r->type;

    (void)remove_key(disk, q->new_key, &q->initiator, q->initiator);
    r->type = q->type;
    r->holder = q->initiator;
    if (old != q->type && hv_reservations_registrants_only(old))
        tell_registrants(disk, q->initiator, HV_ASC_RESERVATIONS_RELEASED);
}

static enum hv_step do_preempt(struct hv_disk *disk, struct hv_scsi_command *command,
                               const struct request *q)
{
    struct hv_reservations *r = &disk->reservations;
    bool all = hv_reservations_all_registrants(r);
    bool is_holders_key = false;

    for (uint32_t i = 0; i < r->count && r->type && !all; i++)
        if (r->registration[i].initiator == r->holder)
            is_holders_key = r->registration[i].key == q->new_key;
    if (!q->new_key && !all)
        return hv_scsi_bad_parameter(command);
    if (is_holders_key || (all && !q->new_key)) {
        take_over(disk, q);
    } else {
        if (!remove_key(disk, q->new_key, NULL, q->initiator))
            return hv_scsi_conflict(command);
        if (all && !r->count)
            r->type = 0;
    }
    r->generation++;
    return hv_scsi_good(command, LIST_BYTES);
}

/* Lock held; everything in the list is checked. */
static enum hv_step obey(struct hv_disk *disk, struct hv_scsi_command *command,
                         enum service_action action, const struct request *q)
{
    const struct hv_registration *own = hv_reservations_find(disk, q->initiator);

    if (disk->reservations.legacy) /* came between admission and here */
        return hv_scsi_conflict(command);
    if (action == REGISTER || action == REGISTER_AND_IGNORE)
        return do_register(disk, command, q, action == REGISTER_AND_IGNORE);
    if (!own || own->key != q->key)
        return hv_scsi_conflict(command);
    switch (action) {
    case RESERVE:
        return do_reserve(disk, command, q);
    case RELEASE:
        return do_release(disk, command, q);
    case CLEAR:
        return do_clear(disk, command, q);
    default:
        return do_preempt(disk, command, q);
    }
}

enum hv_step hv_scsi_persistent_out(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    uint8_t list[LIST_BYTES];
    struct hv_disk *disk = queue->disk;
    enum service_action action = command->cdb[1] & 0x1f;
    struct request q = {.initiator = command->initiator, .type = command->cdb[2] & 0x0f};
    bool names_type =
        action == RESERVE || action == RELEASE || action == PREEMPT || action == PREEMPT_AND_ABORT;
    enum hv_step step;

    if (action > REGISTER_AND_IGNORE)
        return hv_scsi_bad_field(command);
    if (names_type && ((command->cdb[2] & 0xf0) || !is_type(q.type))) /* scope: logical unit only */
        return hv_scsi_bad_field(command);
    if (hv_get_be32(command->cdb + 5) != LIST_BYTES)
        return hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST, HV_ASC_PARAMETER_LIST_LENGTH);
    if (!hv_scsi_take(command, list, sizeof(list)))
        return HV_STEP_DONE;
    /* SPEC_I_PT, ALL_TG_PT and APTPL: REPORT CAPABILITIES claims none of them. */
    if ((action == REGISTER || action == REGISTER_AND_IGNORE) && (list[20] & 0x0d))
        return hv_scsi_bad_parameter(command);
    q.key = hv_get_be64(list);
    q.new_key = hv_get_be64(list + 8);
    pthread_mutex_lock(&disk->lock);
    step = obey(disk, command, action, &q);
    hv_reservations_update_gate(disk);
    pthread_mutex_unlock(&disk->lock);
    return step;
}
