/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MODE SENSE and MODE SELECT: caching (08) and control (0A).  The write cache can really be switched: off, every write
 * is made durable before it completes.  Nothing is saved.
 */
#include "scsi_command.h"

#include <string.h>

#define PAGE_CACHING 0x08u
#define PAGE_CONTROL 0x0au
#define PAGE_ALL     0x3fu

#define CACHING_BYTES 20u
#define CONTROL_BYTES 12u
#define WCE           0x04u

#define SELECT_BYTES_MAX (8u + 16u + CACHING_BYTES + CONTROL_BYTES)

enum page_control {
    CURRENT,
    CHANGEABLE,
    DEFAULT,
    SAVED,
};

static void caching_page(const struct hv_disk *disk, enum page_control control,
                         uint8_t page[CACHING_BYTES])
{
    bool on = control == CURRENT ? disk->write_cache : !disk->cache_fixed;

    memset(page, 0, CACHING_BYTES);
    page[0] = PAGE_CACHING;
    page[1] = CACHING_BYTES - 2;
    page[2] = on ? WCE : 0; /* changeable exactly where it is on by default */
}

static void control_page(enum page_control control, uint8_t page[CONTROL_BYTES])
{
    memset(page, 0, CONTROL_BYTES);
    page[0] = PAGE_CONTROL;
    page[1] = CONTROL_BYTES - 2;
    if (control != CHANGEABLE)
        page[3] = 0x10; /* commands may be reordered */
}

/* 8 or 16 bytes: number of blocks (all ones when it does not fit) and block length. */
static size_t block_descriptor(const struct hv_disk *disk, bool long_form, uint8_t *to)
{
    uint64_t blocks = disk->bytes >> disk->block_shift;

    if (long_form) {
        hv_put_be64(to, blocks);
        hv_put_be32(to + 12, disk->block_bytes);
        return 16;
    }
    hv_put_be32(to, (uint32_t)hv_min_u64(blocks, UINT32_MAX));
    hv_put_be32(to + 4, disk->block_bytes); /* byte 4 is reserved: a length has three bytes */
    return 8;
}

enum hv_step hv_scsi_mode_sense(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    const uint8_t *cdb = command->cdb;
    const struct hv_disk *disk = queue->disk;
    bool ten = cdb[0] == HV_SCSI_MODE_SENSE_10;
    uint32_t allocation = ten ? hv_get_be16(cdb + 7) : cdb[4];
    uint8_t reply[8 + 16 + CACHING_BYTES + CONTROL_BYTES] = {0};
    uint8_t specific = (uint8_t)((disk->read_only ? 0x80 : 0) | 0x10); /* WP, DPOFUA */
    uint8_t code = cdb[2] & 0x3f;
    enum page_control control = cdb[2] >> 6;
    size_t header = ten ? 8 : 4, descriptor = 0, at;

    if (code != PAGE_CACHING && code != PAGE_CONTROL && code != PAGE_ALL)
        return hv_scsi_bad_field(command);
    if (cdb[3] && !(code == PAGE_ALL && cdb[3] == 0xff))
        return hv_scsi_bad_field(command); /* no subpages */
    if (control == SAVED)
        return hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST, HV_ASC_SAVING_NOT_SUPPORTED);
    if (!(cdb[1] & 0x08)) /* DBD */
        descriptor = block_descriptor(disk, ten && (cdb[1] & 0x10), reply + header);
    at = header + descriptor;
    if (code != PAGE_CONTROL) {
        caching_page(disk, control, reply + at);
        at += CACHING_BYTES;
    }
    if (code != PAGE_CACHING) {
        control_page(control, reply + at);
        at += CONTROL_BYTES;
    }
    if (ten) {
        hv_put_be16(reply, (uint16_t)(at - 2));
        reply[3] = specific;
        reply[4] = descriptor == 16; /* LONGLBA */
        hv_put_be16(reply + 6, (uint16_t)descriptor);
    } else {
        reply[0] = (uint8_t)(at - 1);
        reply[2] = specific;
        reply[3] = (uint8_t)descriptor;
    }
    return hv_scsi_reply(command, reply, at, allocation);
}

/* A descriptor may repeat what is, not change it. */
static bool same_descriptor(const struct hv_disk *disk, const uint8_t *given, size_t bytes)
{
    uint8_t current[16] = {0};
    bool long_form = bytes == 16;
    uint64_t blocks = long_form ? hv_get_be64(given) : hv_get_be32(given);
    uint32_t length = long_form ? hv_get_be32(given + 12) : hv_get_be32(given + 4) & 0xffffff;

    (void)block_descriptor(disk, long_form, current);
    return length == disk->block_bytes &&
           (!blocks || blocks == (long_form ? hv_get_be64(current) : hv_get_be32(current)));
}

/* One page of the list.  Only what is changeable may differ from what is. */
static bool take_page(const struct hv_disk *disk, const uint8_t *page, size_t bytes,
                      bool *ret_cache)
{
    uint8_t current[CACHING_BYTES], changeable[CACHING_BYTES];
    size_t want;

    if ((page[0] & 0x7f) == PAGE_CACHING) {
        want = CACHING_BYTES;
        caching_page(disk, CURRENT, current);
        caching_page(disk, CHANGEABLE, changeable);
    } else if ((page[0] & 0x7f) == PAGE_CONTROL) {
        want = CONTROL_BYTES;
        control_page(CURRENT, current);
        control_page(CHANGEABLE, changeable);
    } else {
        return false;
    }
    if (page[1] != current[1] || bytes < want)
        return false;
    for (size_t i = 2; i < want; i++)
        if ((page[i] ^ current[i]) & ~changeable[i])
            return false;
    if (want == CACHING_BYTES)
        *ret_cache = page[2] & WCE;
    return true;
}

/* Switch the cache; what it held becomes durable before the guest hears that it is off. */
static enum hv_step set_cache(struct hv_disk_queue *queue, struct hv_scsi_command *command,
                              bool cache, size_t list_bytes)
{
    struct hv_disk *disk = queue->disk;

    if (atomic_exchange(&disk->write_cache, cache) == cache)
        return hv_scsi_good(command, list_bytes);
    pthread_mutex_lock(&disk->lock);
    hv_scsi_tell(disk, command->initiator, true, HV_ASC_MODE_PARAMETERS_CHANGED);
    pthread_mutex_unlock(&disk->lock);
    command->impl.progress = list_bytes;
    if (!cache)
        return hv_scsi_sync(queue, command);
    return hv_scsi_good(command, list_bytes);
}

enum hv_step hv_scsi_mode_select(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    const uint8_t *cdb = command->cdb;
    bool ten = cdb[0] == HV_SCSI_MODE_SELECT_10;
    size_t bytes = ten ? hv_get_be16(cdb + 7) : cdb[4];
    size_t header = ten ? 8 : 4, descriptor, at;
    uint8_t list[SELECT_BYTES_MAX];
    bool cache = queue->disk->write_cache;

    if (!(cdb[1] & 0x10) || (cdb[1] & 0x01)) /* PF; SP: nothing is saved */
        return hv_scsi_bad_field(command);
    if (!bytes)
        return hv_scsi_good(command, 0);
    if (bytes < header || bytes > sizeof(list))
        return hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST, HV_ASC_PARAMETER_LIST_LENGTH);
    if (!hv_scsi_take(command, list, bytes))
        return HV_STEP_DONE;
    descriptor = ten ? hv_get_be16(list + 6) : list[3];
    if (descriptor > bytes - header)
        return hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST, HV_ASC_PARAMETER_LIST_LENGTH);
    if ((ten ? list[0] | list[1] | list[2] : list[0] | list[1]) || /* data length, medium type */
        (descriptor && descriptor != (ten && (list[4] & 1) ? 16u : 8u)) ||
        (descriptor && !same_descriptor(queue->disk, list + header, descriptor)))
        return hv_scsi_bad_parameter(command);
    for (at = header + descriptor; at < bytes;) {
        if (bytes - at < 2 || bytes - at < 2u + list[at + 1])
            return hv_scsi_fail(command, HV_SENSE_ILLEGAL_REQUEST, HV_ASC_PARAMETER_LIST_LENGTH);
        if (!take_page(queue->disk, list + at, bytes - at, &cache))
            return hv_scsi_bad_parameter(command);
        at += 2u + list[at + 1];
    }
    return set_cache(queue, command, cache, bytes);
}
