/* SPDX-License-Identifier: BSD-3-Clause */
/* INQUIRY: who the disk is and what it can do (SPC-3 6.4 and 7.6, SBC-3 6.5). */
#include "scsi_command.h"

#include <string.h>

#define VENDOR   "Msft    "
#define PRODUCT  "Virtual Disk    "
#define REVISION "1.0 "

#define VPD_SUPPORTED    0x00u
#define VPD_SERIAL       0x80u
#define VPD_IDENTIFIERS  0x83u
#define VPD_LIMITS       0xb0u
#define VPD_MEDIUM       0xb1u
#define VPD_PROVISIONING 0xb2u
#define VPD_HEADER_BYTES 4u
#define VPD_BYTES_MAX    (VPD_HEADER_BYTES + 128u)

_Static_assert(8 + HV_DISK_SERIAL_BYTES + 4 + 4 + HV_DISK_NAA_BYTES <= 128, "page 83");

static size_t supported_pages(const struct hv_disk *disk, uint8_t *page)
{
    static const uint8_t pages[] = {VPD_SUPPORTED, VPD_SERIAL, VPD_IDENTIFIERS,
                                    VPD_LIMITS,    VPD_MEDIUM, VPD_PROVISIONING};
    size_t count = disk->thin ? sizeof(pages) : sizeof(pages) - 1;

    memcpy(page, pages, count);
    return count;
}

static size_t identifiers(const struct hv_disk *disk, uint8_t *page)
{
    size_t serial_bytes = strlen(disk->serial);
    uint8_t *naa = page + 4 + 8 + serial_bytes;

    page[0] = 0x02; /* ASCII */
    page[1] = 0x01; /* of the logical unit, T10 vendor id */
    page[3] = (uint8_t)(8 + serial_bytes);
    memcpy(page + 4, VENDOR, 8);
    memcpy(page + 12, disk->serial, serial_bytes);
    naa[0] = 0x01; /* binary */
    naa[1] = 0x03; /* of the logical unit, NAA */
    naa[2] = 0;
    naa[3] = HV_DISK_NAA_BYTES;
    memcpy(naa + 4, disk->naa, HV_DISK_NAA_BYTES);
    return 4 + 8 + serial_bytes + 4 + HV_DISK_NAA_BYTES;
}

static size_t block_limits(const struct hv_disk *disk, uint8_t *page)
{
    uint8_t *from_zero = page - VPD_HEADER_BYTES; /* the standard counts from the header */
    uint32_t max_transfer = disk->max_transfer_bytes >> disk->block_shift;
    uint32_t physical = disk->physical_bytes >> disk->block_shift;
    uint32_t compare = HV_SCSI_COMPARE_MAX >> disk->block_shift;

    from_zero[4] = 0x01; /* WSNZ: a WRITE SAME names its length */
    from_zero[5] = (uint8_t)hv_min_u32(compare, 255);
    hv_put_be16(from_zero + 6, (uint16_t)physical);
    hv_put_be32(from_zero + 8, max_transfer);
    hv_put_be32(from_zero + 12, hv_min_u32(max_transfer, (1u << 20) >> disk->block_shift));
    if (disk->thin) {
        hv_put_be32(from_zero + 20, UINT32_MAX);
        hv_put_be32(from_zero + 24, HV_SCSI_UNMAP_MAX);
        hv_put_be32(from_zero + 28, physical);
        hv_put_be32(from_zero + 32, 0x80000000u); /* alignment 0 is valid */
    }
    hv_put_be64(from_zero + 36, HV_SCSI_WRITE_SAME_MAX >> disk->block_shift);
    return 0x3c;
}

static size_t medium(const struct hv_disk *disk, uint8_t *page)
{
    hv_put_be16(page, disk->rotational ? 7200 : 1); /* 1: does not rotate */
    return 0x3c;
}

static size_t provisioning(const struct hv_disk *disk, uint8_t *page)
{
    page[1] = 0x80 | 0x40 | 0x20;               /* UNMAP, WRITE SAME 16 and 10 with UNMAP */
    page[1] |= disk->discard_zeroes ? 0x04 : 0; /* LBPRZ */
    page[2] = 0x02;                             /* thin */
    return 4;
}

static enum hv_step vital_product_data(struct hv_disk *disk, struct hv_scsi_command *command,
                                       uint16_t allocation)
{
    uint8_t page[VPD_BYTES_MAX] = {0};
    uint8_t *body = page + VPD_HEADER_BYTES;
    size_t bytes;

    switch (command->cdb[2]) {
    case VPD_SUPPORTED:
        bytes = supported_pages(disk, body);
        break;
    case VPD_SERIAL:
        bytes = strlen(disk->serial);
        memcpy(body, disk->serial, bytes);
        break;
    case VPD_IDENTIFIERS:
        bytes = identifiers(disk, body);
        break;
    case VPD_LIMITS:
        bytes = block_limits(disk, body);
        break;
    case VPD_MEDIUM:
        bytes = medium(disk, body);
        break;
    case VPD_PROVISIONING:
        if (disk->thin) {
            bytes = provisioning(disk, body);
            break;
        }
        return hv_scsi_bad_field(command);
    default:
        return hv_scsi_bad_field(command);
    }
    page[1] = command->cdb[2];
    hv_put_be16(page + 2, (uint16_t)bytes);
    return hv_scsi_reply(command, page, VPD_HEADER_BYTES + bytes, allocation);
}

enum hv_step hv_scsi_inquiry(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    uint16_t allocation = hv_get_be16(command->cdb + 3);
    uint8_t data[36] = {
        [0] = 0x00, /* a disk, connected */
        [2] = 0x05, /* SPC-3 */
        [3] = 0x12, /* HISUP, response format 2 */
        [4] = sizeof(data) - 5,
        [7] = 0x02, /* CMDQUE */
    };

    if (command->cdb[1] & 0x01)
        return vital_product_data(queue->disk, command, allocation);
    if ((command->cdb[1] & 0x02) || command->cdb[2]) /* CMDDT is obsolete */
        return hv_scsi_bad_field(command);
    memcpy(data + 8, VENDOR, 8);
    memcpy(data + 16, PRODUCT, 16);
    memcpy(data + 32, REVISION, 4);
    return hv_scsi_reply(command, data, sizeof(data), allocation);
}
