/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reservations: who may do what (SPC-3 5.6, SBC-3 4.17; RESERVE(6) of SPC-2 5.5), and PERSISTENT RESERVE IN.
 * Everything lives in memory: registrations outlast a guest's connection, not the host process.  There is nothing to
 * keep: an initiator is a connection, and its number names somebody else after a restart.  REPORT CAPABILITIES says so
 * (PTPL_C is clear), and a registration that asks for APTPL is refused (SPC-3 6.12.3) rather than given a promise that
 * does not hold.  sg_persist and cluster software ask for it only when told to; Linux's PR ioctls always do.
 */
#include "scsi_command.h"

#include <string.h>

#define READ_KEYS           0x00u
#define READ_RESERVATION    0x01u
#define REPORT_CAPABILITIES 0x02u
#define READ_FULL_STATUS    0x03u

#define TYPE_WRITE_EXCLUSIVE    1u
#define TYPE_WRITE_REGISTRANTS  5u
#define TYPE_ACCESS_REGISTRANTS 6u
#define TYPE_WRITE_ALL          7u
#define TYPE_ACCESS_ALL         8u
#define FULL_STATUS_BYTES       48u /* descriptor and a transport id of the smallest size */
#define PROTOCOL_UNKNOWN        0x0fu

struct hv_registration *hv_reservations_find(struct hv_disk *disk, uint64_t initiator)
{
    struct hv_reservations *r = &disk->reservations;

    for (uint32_t i = 0; i < r->count; i++)
        if (r->registration[i].initiator == initiator)
            return &r->registration[i];
    return NULL;
}

bool hv_reservations_all_registrants(const struct hv_reservations *r)
{
    return r->type == TYPE_WRITE_ALL || r->type == TYPE_ACCESS_ALL;
}

bool hv_reservations_registrants_only(uint8_t type)
{
    return type >= TYPE_WRITE_REGISTRANTS;
}

bool hv_reservations_is_holder(const struct hv_disk *disk, uint64_t initiator)
{
    const struct hv_reservations *r = &disk->reservations;

    if (!r->type)
        return false;
    if (!hv_reservations_all_registrants(r))
        return r->holder == initiator;
    for (uint32_t i = 0; i < r->count; i++)
        if (r->registration[i].initiator == initiator)
            return true;
    return false;
}

void hv_reservations_update_gate(struct hv_disk *disk)
{
    if (disk->reservations.count || disk->reservations.legacy)
        hv_gate_set(disk, HV_GATE_RESERVED);
    else
        hv_gate_clear(disk, HV_GATE_RESERVED);
}

static bool is_registered(const struct hv_reservations *r, uint64_t initiator)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (r->registration[i].initiator == initiator)
            return true;
    return false;
}

bool hv_scsi_conflicts(const struct hv_disk *disk, const struct hv_scsi_command *command)
{
    const struct hv_reservations *r = &disk->reservations;
    const struct hv_scsi_operation *operation = command->impl.operation;
    uint8_t access = operation->access;

    if (r->legacy) {
        /* Both kinds at once are refused to everybody, the holder of the older one included. */
        if (command->cdb[0] == HV_SCSI_PERSISTENT_RESERVE_IN ||
            command->cdb[0] == HV_SCSI_PERSISTENT_RESERVE_OUT)
            return true;
        return r->legacy_holder != command->initiator && !(operation->flags & HV_SCSI_LEGACY_OK);
    }
    if (!r->type || access == HV_ACCESS_ANY)
        return false;
    if (access == HV_ACCESS_READ &&
        (r->type == TYPE_WRITE_EXCLUSIVE || r->type == TYPE_WRITE_REGISTRANTS ||
         r->type == TYPE_WRITE_ALL))
        return false;
    if (hv_reservations_registrants_only(r->type))
        return !is_registered(r, command->initiator);
    return r->holder != command->initiator;
}

/*
 * RESERVE(6), RELEASE(6) beside persistent ones, SPC-3 5.6.3 (compatible handling, CRH): a registered initiator hears
 * good and nothing happens, any other one a conflict.
 */
static bool compatible(struct hv_disk *disk, struct hv_scsi_command *command)
{
    if (!disk->reservations.count)
        return false;
    if (!hv_reservations_find(disk, command->initiator))
        hv_scsi_conflict(command);
    return true;
}

enum hv_step hv_scsi_reserve(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct hv_disk *disk = queue->disk;

    if (command->cdb[1] & 0x11) /* third party, extents: obsolete */
        return hv_scsi_bad_field(command);
    pthread_mutex_lock(&disk->lock);
    if (disk->reservations.legacy && disk->reservations.legacy_holder != command->initiator) {
        hv_scsi_conflict(command); /* somebody came between admission and here */
    } else if (!compatible(disk, command)) {
        disk->reservations.legacy = true;
        disk->reservations.legacy_holder = command->initiator;
        hv_reservations_update_gate(disk);
    }
    pthread_mutex_unlock(&disk->lock);
    return HV_STEP_DONE;
}

enum hv_step hv_scsi_release(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct hv_disk *disk = queue->disk;

    if (command->cdb[1] & 0x11)
        return hv_scsi_bad_field(command);
    pthread_mutex_lock(&disk->lock);
    if (!compatible(disk, command) && disk->reservations.legacy &&
        disk->reservations.legacy_holder == command->initiator) {
        disk->reservations.legacy = false;
        hv_reservations_update_gate(disk);
    }
    pthread_mutex_unlock(&disk->lock);
    return HV_STEP_DONE;
}

/* Each writes what fits from reply + 8 on and returns how much there is. */
static size_t read_keys(const struct hv_reservations *r, uint8_t *to)
{
    for (uint32_t i = 0; i < r->count; i++)
        hv_put_be64(to + 8 * i, r->registration[i].key);
    return 8u * r->count;
}

static uint64_t holder_key(const struct hv_reservations *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (r->registration[i].initiator == r->holder && !hv_reservations_all_registrants(r))
            return r->registration[i].key;
    return 0; /* every registrant holds it */
}

static size_t read_reservation(const struct hv_reservations *r, uint8_t *to)
{
    if (!r->type)
        return 0;
    hv_put_be64(to, holder_key(r));
    to[13] = r->type; /* scope 0: the logical unit */
    return 16;
}

static size_t read_full_status(const struct hv_disk *disk, uint8_t *to)
{
    const struct hv_reservations *r = &disk->reservations;

    for (uint32_t i = 0; i < r->count; i++, to += FULL_STATUS_BYTES) {
        const struct hv_registration *one = &r->registration[i];
        bool holds = hv_reservations_is_holder(disk, one->initiator);

        hv_put_be64(to, one->key);
        to[12] = holds;
        to[13] = holds ? r->type : 0;
        hv_put_be16(to + 18, 1); /* the only target port */
        hv_put_be32(to + 20, FULL_STATUS_BYTES - 24);
        to[24] = PROTOCOL_UNKNOWN; /* VMBus has no transport id of T10's */
        hv_put_be64(to + 24 + 8, one->initiator);
    }
    return FULL_STATUS_BYTES * r->count;
}

static void capabilities(uint8_t to[8])
{
    hv_put_be16(to, 8);
    to[2] = 0x10;                             /* CRH */
    to[3] = 0x80;                             /* TMV: the type mask is valid */
    to[4] = 0x80 | 0x40 | 0x20 | 0x08 | 0x02; /* 7, 6, 5, 3, 1 */
    to[5] = 0x01;                             /* 8 */
}

enum hv_step hv_scsi_persistent_in(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    uint8_t reply[8 + HV_DISK_REGISTRATION_MAX * FULL_STATUS_BYTES] = {0};
    struct hv_disk *disk = queue->disk;
    uint16_t allocation = hv_get_be16(command->cdb + 7);
    size_t bytes = 0;

    pthread_mutex_lock(&disk->lock);
    hv_put_be32(reply, disk->reservations.generation);
    switch (command->cdb[1] & 0x1f) {
    case READ_KEYS:
        bytes = read_keys(&disk->reservations, reply + 8);
        break;
    case READ_RESERVATION:
        bytes = read_reservation(&disk->reservations, reply + 8);
        break;
    case REPORT_CAPABILITIES:
        capabilities(reply);
        pthread_mutex_unlock(&disk->lock);
        return hv_scsi_reply(command, reply, 8, allocation);
    case READ_FULL_STATUS:
        bytes = read_full_status(disk, reply + 8);
        break;
    default:
        pthread_mutex_unlock(&disk->lock);
        return hv_scsi_bad_field(command);
    }
    pthread_mutex_unlock(&disk->lock);
    hv_put_be32(reply + 4, (uint32_t)bytes);
    return hv_scsi_reply(command, reply, 8 + bytes, allocation);
}
