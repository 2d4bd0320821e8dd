/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Initiators and what they are to be told.  An initiator is known from its first command on; what happens afterwards is
 * told to it once, as UNIT ATTENTION on its next command that may carry one.
 */
#include "scsi_command.h"

#include <stdlib.h>

static struct hv_initiator *find_initiator(struct hv_disk *disk, uint64_t id)
{
    for (uint32_t i = 0; i < disk->initiator_count; i++)
        if (disk->initiators[i].id == id)
            return &disk->initiators[i];
    return NULL;
}

/* An initiator that finds no memory is served all the same; it is told nothing. */
static struct hv_initiator *add_initiator(struct hv_disk *disk, uint64_t id)
{
    struct hv_initiator *initiator = find_initiator(disk, id);

    if (initiator)
        return initiator;
    if (disk->initiator_count == disk->initiator_capacity) {
        uint32_t capacity = disk->initiator_capacity ? 2 * disk->initiator_capacity : 8;
        struct hv_initiator *more = realloc(disk->initiators, capacity * sizeof(*more));

        if (!more)
            return NULL;
        disk->initiators = more;
        disk->initiator_capacity = capacity;
    }
    initiator = &disk->initiators[disk->initiator_count++];
    *initiator = (struct hv_initiator){.id = id};
    return initiator;
}

static void update_gate(struct hv_disk *disk)
{
    bool pending = false;

    for (uint32_t i = 0; i < disk->initiator_count && !pending; i++)
        pending = disk->initiators[i].attention_count != 0;
    if (pending)
        hv_gate_set(disk, HV_GATE_ATTENTION);
    else
        hv_gate_clear(disk, HV_GATE_ATTENTION);
}

static void tell_one(struct hv_initiator *initiator, uint16_t asc)
{
    for (uint32_t i = 0; i < initiator->attention_count; i++)
        if (initiator->attention[i] == asc)
            return;
    if (initiator->attention_count < HV_DISK_ATTENTION_MAX)
        initiator->attention[initiator->attention_count++] = asc;
}

void hv_scsi_tell(struct hv_disk *disk, uint64_t initiator, bool to_all_but, uint16_t asc)
{
    for (uint32_t i = 0; i < disk->initiator_count; i++)
        if ((disk->initiators[i].id == initiator) != to_all_but)
            tell_one(&disk->initiators[i], asc);
    update_gate(disk);
}

uint16_t hv_scsi_take_attention(struct hv_disk *disk, uint64_t id)
{
    struct hv_initiator *initiator = find_initiator(disk, id);
    uint16_t asc;

    if (!initiator || !initiator->attention_count)
        return 0;
    asc = initiator->attention[0];
    initiator->attention_count--;
    for (uint32_t i = 0; i < initiator->attention_count; i++)
        initiator->attention[i] = initiator->attention[i + 1];
    update_gate(disk);
    return asc;
}

/* Power-on and reset come before a reservation conflict, everything else after it (SAM-4 5.3.3). */
static uint16_t attention_before_conflict(struct hv_disk *disk,
                                          const struct hv_initiator *initiator)
{
    if (initiator && initiator->attention_count && initiator->attention[0] >> 8 == 0x29)
        return hv_scsi_take_attention(disk, initiator->id);
    return 0;
}

bool hv_scsi_admit(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct hv_disk *disk = queue->disk;
    bool quiet = command->impl.operation->flags & HV_SCSI_NO_UA;
    struct hv_initiator *initiator;
    bool conflicts = false;
    uint16_t asc = 0;

    pthread_mutex_lock(&disk->lock);
    initiator = add_initiator(disk, command->initiator);
    if (initiator)
        queue->known[command->initiator % HV_DISK_KNOWN] = command->initiator + 1;
    if (!quiet)
        asc = attention_before_conflict(disk, initiator);
    if (!asc)
        conflicts = hv_scsi_conflicts(disk, command);
    if (!asc && !conflicts && !quiet)
        asc = hv_scsi_take_attention(disk, command->initiator);
    pthread_mutex_unlock(&disk->lock);
    if (conflicts)
        hv_scsi_conflict(command);
    else if (asc)
        hv_scsi_fail(command, HV_SENSE_UNIT_ATTENTION, asc);
    return !conflicts && !asc;
}

void hv_disk_raise_attention(struct hv_disk *disk, uint16_t asc)
{
    pthread_mutex_lock(&disk->lock);
    for (uint32_t i = 0; i < disk->initiator_count; i++)
        tell_one(&disk->initiators[i], asc);
    update_gate(disk);
    pthread_mutex_unlock(&disk->lock);
}

void hv_disk_tell(struct hv_disk *disk, uint64_t initiator, uint16_t asc)
{
    pthread_mutex_lock(&disk->lock);
    hv_scsi_tell(disk, initiator, false, asc);
    pthread_mutex_unlock(&disk->lock);
}

void hv_disk_untell(struct hv_disk *disk, uint64_t id, uint16_t asc)
{
    struct hv_initiator *initiator;
    uint32_t left = 0;

    pthread_mutex_lock(&disk->lock);
    initiator = find_initiator(disk, id);
    for (uint32_t i = 0; initiator && i < initiator->attention_count; i++)
        if (initiator->attention[i] != asc)
            initiator->attention[left++] = initiator->attention[i];
    if (initiator)
        initiator->attention_count = left;
    update_gate(disk);
    pthread_mutex_unlock(&disk->lock);
}

void hv_disk_forget_initiator(struct hv_disk *disk, uint64_t id)
{
    struct hv_initiator *initiator;

    pthread_mutex_lock(&disk->lock);
    initiator = find_initiator(disk, id);
    if (initiator) {
        *initiator = disk->initiators[--disk->initiator_count];
        update_gate(disk);
    }
    if (disk->reservations.legacy && disk->reservations.legacy_holder == id) {
        disk->reservations.legacy = false; /* RESERVE(6) ends with the nexus */
        hv_reservations_update_gate(disk);
    }
    atomic_fetch_add(&disk->gate, HV_GATE_GENERATION);
    pthread_mutex_unlock(&disk->lock);
}

void hv_disk_forget_initiators(struct hv_disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    disk->initiator_count = 0;
    disk->reservations.legacy = false;
    update_gate(disk);
    hv_reservations_update_gate(disk);
    atomic_fetch_add(&disk->gate, HV_GATE_GENERATION);
    pthread_mutex_unlock(&disk->lock);
}
