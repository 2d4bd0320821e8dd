/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus as one channel sees it: which LUNs there are, and what the controller itself answers about them. */
#include "storvsp_impl.h"

#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>
#include <hv/base/log.h>

#define INQUIRY_BYTES     36u
#define INQUIRY_NO_DEVICE 0x7fu /* qualifier 3: no device can be there; type 1f */
#define INQUIRY_EVPD      0x01u
#define REPORT_LUNS_BYTES (8u + 8u * HV_STORVSP_LUNS)

/** One binding more; false without memory. */
static bool add_binding(struct hv_storvsp_channel *ch, struct hv_storvsp_lun *lun)
{
    struct hv_storvsp_binding *binding = calloc(1, sizeof(*binding));

    if (!binding)
        return false;
    binding->lun = lun;
    binding->watched_fd = -1;
    binding->next = ch->bound;
    ch->bound = binding;
    ch->luns[lun->lun] = binding;
    lun->references++;
    return true;
}

/**
 * There is no ENUMERATE_BUS before 4.2: the guest hears of a new LUN as SCSI has it, by REPORTED LUNS DATA HAS CHANGED
 * from the others, and a REPORT LUNS settles it (SAM-4 5.14, SPC-4 6.33).
 */
static void for_luns(struct hv_storvsp_channel *ch,
                     void (*what)(struct hv_disk *disk, uint64_t initiator, uint16_t asc))
{
    for (size_t i = 0; i < HV_STORVSP_LUNS; i++)
        if (ch->luns[i])
            what(ch->luns[i]->lun->disk, ch->guest->id, HV_ASC_LUNS_CHANGED);
}

void hv_storvsp_bind(struct hv_storvsp_channel *ch)
{
    struct hv_storvsp *sp = ch->storvsp;
    bool removed = false, added = false, failed = false;

    if (atomic_load_explicit(&sp->generation, memory_order_acquire) == ch->generation)
        return;
    pthread_mutex_lock(&sp->lock);
    ch->generation = atomic_load_explicit(&sp->generation, memory_order_relaxed);
    for (size_t i = 0; i < HV_STORVSP_LUNS; i++) {
        struct hv_storvsp_binding *have = ch->luns[i];
        struct hv_storvsp_lun *want = sp->luns[i];

        if (have && have->lun != want) {
            have->detached = ch->letting_go = removed = true;
            ch->luns[i] = have = NULL;
        }
        if (want && !have) {
            added = true;
            failed |= !add_binding(ch, want);
        }
    }
    pthread_mutex_unlock(&sp->lock);
    if (failed)
        hv_log(&sp->log, HV_LOG_ERROR, "storvsp: guest %u: out of memory, a LUN stays hidden",
               ch->guest->id);
    if (!ch->primary || !hv_storvsp_is_ready(&ch->guest->session))
        return;
    ch->tell_removed |= removed;
    if (!added)
        return;
    if (hv_storvsp_version(&ch->guest->session) >= HV_VSTOR_VERSION_4_2)
        ch->tell_enumerate = true;
    else
        for_luns(ch, hv_disk_tell);
}

static void drop_binding(struct hv_storvsp_channel *ch, struct hv_storvsp_binding *binding)
{
    struct hv_storvsp *sp = ch->storvsp;

    if (binding->watched_fd >= 0)
        hv_host_channel_unwatch(ch->channel, binding->watched_fd);
    hv_disk_queue_destroy(binding->queue);
    pthread_mutex_lock(&sp->lock);
    hv_storvsp_put_lun(binding->lun);
    pthread_mutex_unlock(&sp->lock);
    free(binding);
}

void hv_storvsp_unbind(struct hv_storvsp_channel *ch, bool all)
{
    struct hv_storvsp_binding **at = &ch->bound;

    ch->letting_go = false;
    while (*at) {
        struct hv_storvsp_binding *binding = *at;

        if (binding->busy || !(all || binding->detached)) {
            ch->letting_go |= binding->detached;
            at = &binding->next;
            continue;
        }
        *at = binding->next;
        drop_binding(ch, binding);
    }
}

/** First command to this LUN on this channel: the only one that allocates. */
static void create_queue(struct hv_storvsp_channel *ch, struct hv_storvsp_binding *binding)
{
    int ret = hv_disk_queue_create(binding->lun->disk, ch->depth, &binding->queue), fd;

    if (ret) {
        binding->queue = NULL;
        hv_log(&ch->storvsp->log, HV_LOG_ERROR, "storvsp: guest %u, LUN %u: no queue: %s",
               ch->guest->id, binding->lun->lun, strerror(-ret));
        return;
    }
    fd = hv_disk_queue_fd(binding->queue);
    if (fd >= 0 && !hv_host_channel_watch(ch->channel, fd))
        binding->watched_fd = fd;
    else if (fd >= 0) { /* without it completions would not wake anybody */
        hv_disk_queue_destroy(binding->queue);
        binding->queue = NULL;
    }
}

struct hv_storvsp_binding *hv_storvsp_find(struct hv_storvsp_channel *ch, uint8_t path,
                                           uint8_t target, uint8_t lun)
{
    struct hv_storvsp_binding *binding;

    if (path || target || lun >= HV_STORVSP_LUNS)
        return NULL;
    binding = ch->luns[lun];
    if (binding && !binding->queue)
        create_queue(ch, binding);
    return binding;
}

static void refuse_field(struct hv_scsi_command *command)
{
    hv_scsi_set_sense(command, HV_SRB_INVALID_REQUEST, HV_SENSE_ILLEGAL_REQUEST,
                      HV_ASC_INVALID_FIELD_IN_CDB);
}

/** Give bytes to the guest: as much as it asked for, as much as it has room for. */
static void give(struct hv_scsi_command *command, const uint8_t *data, size_t bytes,
                 size_t allocation)
{
    size_t left = bytes < allocation ? bytes : allocation;

    if (command->data_bytes && command->data_direction == HV_VSTOR_DATA_OUT) {
        refuse_field(command); /* its memory is to be read, not to be written */
        return;
    }
    for (uint32_t i = 0; i < command->iov_count && left; i++) {
        size_t n = left < command->iov[i].iov_len ? left : command->iov[i].iov_len;

        memcpy(command->iov[i].iov_base, data, n);
        data += n;
        left -= n;
        command->transferred_bytes += (uint32_t)n;
    }
    command->srb_status = HV_SRB_SUCCESS;
    command->scsi_status = HV_SCSI_STATUS_GOOD;
}

/** The list is empty on every path and target but 0, so that a guest does not take LUN 0 for gone (Linux). */
static void report_luns(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot)
{
    struct hv_scsi_command *command = &slot->command;
    uint8_t list[REPORT_LUNS_BYTES] = {0}, select = command->cdb[2];
    uint32_t allocation = hv_get_be32(command->cdb + 6), bytes = 8;

    /* 0, 2: logical units; 1: well-known ones, of which there are none (SPC-4). */
    if (select > 2 || allocation < 16) {
        refuse_field(command);
        return;
    }
    for (uint8_t i = 0; i < HV_STORVSP_LUNS && select != 1 && !slot->path && !slot->target; i++)
        if (ch->luns[i]) {
            list[bytes + 1] = i; /* peripheral device addressing, bus 0 */
            bytes += 8;
        }
    hv_put_be32(list, bytes - 8);
    if (hv_storvsp_version(&ch->guest->session) < HV_VSTOR_VERSION_4_2)
        for_luns(ch, hv_disk_untell);
    give(command, list, bytes, allocation);
}

/** A guest that scans asks every place; the answer must not look like an error (Linux, FreeBSD). */
static void inquiry_absent(struct hv_scsi_command *command)
{
    uint8_t data[INQUIRY_BYTES] = {INQUIRY_NO_DEVICE, 0, 5 /* SPC-3 */, 2 /* format */,
                                   INQUIRY_BYTES - 5};

    if (command->cdb[1] & INQUIRY_EVPD || command->cdb[2])
        refuse_field(command);
    else
        give(command, data, sizeof(data), hv_get_be16(command->cdb + 3));
}

bool hv_storvsp_is_controller_command(const struct hv_scsi_command *command)
{
    return command->cdb[0] == HV_SCSI_REPORT_LUNS;
}

void hv_storvsp_controller_command(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot)
{
    struct hv_scsi_command *command = &slot->command;

    if (command->cdb[0] == HV_SCSI_REPORT_LUNS) {
        report_luns(ch, slot);
    } else if (command->cdb[0] == HV_SCSI_INQUIRY) {
        inquiry_absent(command);
    } else {
        command->srb_status = HV_SRB_INVALID_LUN;
        command->scsi_status =
            HV_SCSI_STATUS_CHECK_CONDITION; /* without sense, as Hyper-V has it */
    }
}
