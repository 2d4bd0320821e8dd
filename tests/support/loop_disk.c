/* SPDX-License-Identifier: BSD-3-Clause */
#include "loop_disk.h"

#include <string.h>

#include <hv/base/endian.h>
#include <hv/wire/scsi.h>

uint64_t loop_disk_lba(const struct hv_vstor_srb *srb)
{
    return srb->cdb[0] >> 5 == 4 ? hv_get_be64(srb->cdb + 2) : hv_get_be32(srb->cdb + 2);
}

uint32_t loop_disk_count(const struct hv_vstor_srb *srb)
{
    return srb->cdb[0] >> 5 == 4 ? hv_get_be32(srb->cdb + 10) : hv_get_be16(srb->cdb + 7);
}

static void sense(const struct loop_disk *d, struct hv_vstor_srb *srb, uint8_t srb_status,
                  uint8_t key, uint16_t asc)
{
    srb->srb_status = srb_status | HV_SRB_SENSE_VALID | HV_SRB_QUEUE_FROZEN;
    srb->scsi_status = HV_SCSI_STATUS_CHECK_CONDITION;
    srb->data_transfer_bytes = 0;
    memset(srb->sense, 0, sizeof(srb->sense));
    if (d->descriptor_sense) {
        srb->sense[0] = 0x72;
        srb->sense[1] = key;
        hv_put_be16(srb->sense + 2, asc);
        srb->sense_bytes = 8;
        return;
    }
    srb->sense[0] = 0x70;
    srb->sense[2] = key;
    srb->sense[7] = 10;
    hv_put_be16(srb->sense + 12, asc);
    srb->sense_bytes = 18;
}

static void refuse(const struct loop_disk *d, struct hv_vstor_srb *srb, uint16_t asc)
{
    sense(d, srb, HV_SRB_ERROR, HV_SENSE_ILLEGAL_REQUEST, asc);
}

static void give(const struct loop_packet *p, struct hv_vstor_srb *srb, const void *data,
                 uint32_t bytes)
{
    srb->data_transfer_bytes = loop_guest_copy_in(p, data, bytes);
}

static void inquiry(struct loop_disk *d, const struct loop_packet *p, struct hv_vstor_srb *srb)
{
    uint8_t data[64] = {0};
    uint8_t page = p->vstor.srb.cdb[2];

    if (!(p->vstor.srb.cdb[1] & 1)) {
        data[2] = 4; /* claims SPC-2 and has pages all the same */
        data[4] = 31;
        memcpy(data + 8, "Msft    Virtual Disk    1.0 ", 28);
        give(p, srb, data, d->short_inquiry ? 8 : 36);
        return;
    }
    data[1] = page;
    if (d->no_vpd)
        page = 0xff; /* refused below, like any that is not there */
    if (page == 0x00) {
        static const uint8_t pages[] = {0, 0, 0, 4, 0x00, 0x80, 0xb0, 0xb2};

        give(p, srb, pages, sizeof(pages));
    } else if (page == 0x80) {
        data[3] = 8;
        memcpy(data + 4, "  S3RIAL", 8);
        give(p, srb, data, 12);
    } else if (page == 0xb0) {
        data[3] = 60;
        hv_put_be32(data + 8, d->max_transfer_blocks);
        hv_put_be32(data + 20, d->unmap_max_blocks);
        hv_put_be32(data + 24, d->unmap_descriptors);
        hv_put_be32(data + 28, d->unmap_granularity);
        hv_put_be32(data + 32, d->unmap_alignment | 0x80000000u);
        hv_put_be64(data + 36, d->write_same_max_blocks);
        give(p, srb, data, 64);
    } else if (page == 0xb2) {
        data[3] = 4;
        data[5] = (uint8_t)((d->unmap_descriptors ? 0x80 : 0) | (d->write_same_unmap ? 0x40 : 0));
        give(p, srb, data, 8);
    } else {
        refuse(d, srb, HV_ASC_INVALID_FIELD_IN_CDB);
    }
}

static void mode_sense(struct loop_disk *d, const struct loop_packet *p, struct hv_vstor_srb *srb)
{
    bool ten = p->vstor.srb.cdb[0] == HV_SCSI_MODE_SENSE_10;
    uint8_t device = (uint8_t)((d->read_only ? 0x80 : 0) | (d->fua ? 0x10 : 0));
    uint8_t data[28] = {0};
    uint32_t header = ten ? 8 : 4;

    if (ten && d->no_mode_sense10) {
        refuse(d, srb, HV_ASC_INVALID_OPCODE);
        return;
    }
    data[ten ? 1 : 0] = (uint8_t)(header + 20 - (ten ? 2 : 1));
    data[ten ? 3 : 2] = device;
    data[header] = 0x08;
    data[header + 1] = 0x12;
    data[header + 2] = d->write_cache ? 0x04 : 0;
    give(p, srb, data, header + 20);
}

static void capacity16(struct loop_disk *d, const struct loop_packet *p, struct hv_vstor_srb *srb)
{
    uint8_t data[32] = {0};

    hv_put_be64(data, d->blocks - 1);
    hv_put_be32(data + 8, d->block_bytes);
    data[14] = (uint8_t)((d->thin ? 0x80 : 0) | (d->lbprz ? 0x40 : 0));
    give(p, srb, data, 32);
}

static void capacity10(struct loop_disk *d, const struct loop_packet *p, struct hv_vstor_srb *srb)
{
    uint8_t data[8];

    hv_put_be32(data, (uint32_t)(d->blocks - 1));
    hv_put_be32(data + 4, d->block_bytes);
    give(p, srb, data, 8);
}

static bool fault(struct loop_disk *d, struct hv_vstor_srb *srb)
{
    const struct loop_fault *f;

    if (d->fault_at == d->fault_count)
        return false;
    f = &d->faults[d->fault_at++];
    if (f->short_by) {
        srb->data_transfer_bytes -= f->short_by;
        return true;
    }
    if (f->key || f->asc) {
        sense(d, srb, f->srb_status, f->key, f->asc);
        return true;
    }
    srb->srb_status = f->srb_status;
    srb->scsi_status = f->scsi_status;
    srb->data_transfer_bytes = 0;
    return true;
}

static void move(struct loop_disk *d, const struct loop_packet *p, struct hv_vstor_srb *srb)
{
    static const uint8_t zeroes[8u << 20];
    uint64_t lba = loop_disk_lba(&p->vstor.srb), count = loop_disk_count(&p->vstor.srb);
    uint32_t bytes = (uint32_t)(count * d->block_bytes);
    uint8_t *at = d->data ? d->data + lba * d->block_bytes : NULL;

    if (lba > d->blocks || count > d->blocks - lba) {
        refuse(d, srb, HV_ASC_LBA_OUT_OF_RANGE);
        return;
    }
    switch (p->vstor.srb.cdb[0]) {
    case HV_SCSI_READ_10:
    case HV_SCSI_READ_16:
        give(p, srb, at ? at : zeroes, bytes);
        break;
    case HV_SCSI_WRITE_SAME_16:
        for (uint64_t i = 0; at && i < count; i++)
            loop_guest_copy_out(p, at + i * d->block_bytes, d->block_bytes);
        srb->data_transfer_bytes = d->block_bytes;
        break;
    default:
        srb->data_transfer_bytes = at ? loop_guest_copy_out(p, at, bytes) : bytes;
        break;
    }
}

static void block_command(struct loop_disk *d, const struct loop_packet *p,
                          struct hv_vstor_srb *srb)
{
    if (d->log_count < LOOP_DISK_LOG)
        d->log[d->log_count++] = p->vstor.srb;
    srb->data_transfer_bytes = p->vstor.srb.data_transfer_bytes;
    switch (p->vstor.srb.cdb[0]) {
    case HV_SCSI_WRITE_SAME_16:
        if (d->refuse_write_same)
            refuse(d, srb, HV_ASC_INVALID_OPCODE);
        else
            move(d, p, srb);
        break;
    case HV_SCSI_UNMAP: {
        /* Kept as if it were in the CDB, for loop_disk_lba() and loop_disk_count(). */
        struct hv_vstor_srb *log = &d->log[d->log_count - 1];
        uint8_t list[24];

        loop_guest_copy_out(p, list, sizeof(list));
        memcpy(log->cdb + 2, list + 12, 4);
        memcpy(log->cdb + 7, list + 18, 2);
        break;
    }
    case HV_SCSI_SYNCHRONIZE_CACHE_10:
        srb->data_transfer_bytes = 0;
        break;
    default:
        move(d, p, srb);
        break;
    }
    (void)fault(d, srb);
}

static void execute(struct loop_disk *d, const struct loop_packet *p, struct hv_vstor_srb *srb)
{
    const struct hv_vstor_srb *in = &p->vstor.srb;
    static const uint8_t luns[16] = {0, 0, 0, 8};

    srb->srb_status = HV_SRB_SUCCESS;
    if (in->path_id || in->target_id || in->lun) {
        srb->srb_status = HV_SRB_INVALID_LUN;
        srb->scsi_status = HV_SCSI_STATUS_CHECK_CONDITION;
        return;
    }
    switch (in->cdb[0]) {
    case HV_SCSI_REPORT_LUNS:
        if (d->no_report_luns)
            refuse(d, srb, HV_ASC_INVALID_OPCODE);
        else
            give(p, srb, luns, sizeof(luns));
        break;
    case HV_SCSI_INQUIRY:
        inquiry(d, p, srb);
        break;
    case HV_SCSI_TEST_UNIT_READY:
        break;
    case HV_SCSI_MODE_SENSE_6:
    case HV_SCSI_MODE_SENSE_10:
        mode_sense(d, p, srb);
        break;
    case HV_SCSI_SERVICE_ACTION_IN_16:
        if (d->no_capacity16)
            refuse(d, srb, HV_ASC_INVALID_OPCODE);
        else
            capacity16(d, p, srb);
        break;
    case HV_SCSI_READ_CAPACITY_10:
        capacity10(d, p, srb);
        break;
    default:
        block_command(d, p, srb);
        break;
    }
}

void loop_disk_answer(struct loop_disk *d, const struct loop_packet *p,
                      struct hv_vstor_packet *ret_reply)
{
    uint16_t version = d->version ? d->version : HV_VSTOR_VERSION_6_2;

    memset(ret_reply, 0, sizeof(*ret_reply));
    ret_reply->hdr.operation = HV_VSTOR_COMPLETE_IO;
    switch (p->vstor.hdr.operation) {
    case HV_VSTOR_QUERY_PROTOCOL_VERSION:
        ret_reply->version = p->vstor.version;
        if (p->vstor.version.version > version)
            ret_reply->hdr.status = HV_NTSTATUS_REVISION_MISMATCH;
        break;
    case HV_VSTOR_QUERY_PROPERTIES:
        ret_reply->properties.max_transfer_bytes = d->max_transfer_bytes;
        ret_reply->properties.max_sub_channels = d->max_sub_channels;
        ret_reply->properties.flags = d->max_sub_channels ? HV_VSTOR_PROPERTY_MULTI_CHANNEL : 0;
        break;
    case HV_VSTOR_EXECUTE_SRB:
        execute(d, p, &ret_reply->srb);
        break;
    case HV_VSTOR_RESET_LUN:
    case HV_VSTOR_RESET_ADAPTER:
    case HV_VSTOR_RESET_BUS:
        d->resets[p->vstor.hdr.operation - HV_VSTOR_RESET_LUN]++;
        break;
    default:
        break;
    }
}

void loop_disk_sent(void *arg, struct loop_guest *loop, const struct loop_packet *p)
{
    struct hv_vstor_packet reply;

    loop_disk_answer(arg, p, &reply);
    (void)loop_guest_send(loop, p->channel, HV_PACKET_COMPLETION, p->id, &reply, p->vstor_bytes);
}
