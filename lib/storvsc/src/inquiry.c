/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * INQUIRY, VPD pages, READ CAPACITY, MODE SENSE, REPORT LUNS.
 * Source: T10 SPC-4 6.6, 7.8 and SBC-3 5.15, 6.4, 6.5; what Hyper-V makes of them: docs/wire.md "SCSI quirks".
 */
#include "inquiry_impl.h"

#include <errno.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>
#include <hv/wire/ring.h>
#include <hv/wire/vstor.h>

#define PAGE_LIST         0x00u
#define PAGE_SERIAL       0x80u
#define PAGE_IDENTIFIERS  0x83u
#define PAGE_LIMITS       0xb0u
#define PAGE_ROTATION     0xb1u
#define PAGE_PROVISIONING 0xb2u

#define TYPE_DISK    0x00u
#define TYPE_UNKNOWN 0x1fu

#define ROTATION_SSD         1u
#define ROTATION_RPM_MIN     0x0401u
#define WRITE_SAME_BLOCKS    0xffffu /* when the device takes WRITE SAME but names no limit */
#define LUN_NUMBERS          255u
#define REPORT_HEADER_BYTES  8u
#define DISK_BYTES_MAX       (UINT64_C(1) << 62)
#define DESIGNATOR_NAA       3u
#define CACHING_PAGE         0x08u
#define MODE_WRITE_PROTECTED 0x80u
#define MODE_DPOFUA          0x10u

/* Printable text without surrounding blanks; anything else in it ends it. */
static void copy_text(char *to, size_t to_bytes, const uint8_t *from, size_t bytes)
{
    size_t n = 0;

    while (bytes && *from == ' ') {
        from++;
        bytes--;
    }
    while (n < bytes && n < to_bytes - 1 && from[n] >= 0x20 && from[n] < 0x7f) {
        to[n] = (char)from[n];
        n++;
    }
    while (n && to[n - 1] == ' ')
        n--;
    memset(to + n, 0, to_bytes - n);
}

int hv_storvsc_parse_inquiry(const uint8_t *data, size_t bytes, struct hv_storvsc_identity *id)
{
    struct hv_storvsc_lun *lun = &id->disk.lun;

    if (bytes < 1)
        return -EINVAL;
    /* Qualifier 0 is the only one that means "connected"; type 1F is nothing at all. */
    if (data[0] >> 5 || (data[0] & 0x1fu) == TYPE_UNKNOWN)
        return -ENODEV;
    lun->type = data[0] & 0x1fu;
    if (bytes >= 36) {
        copy_text(lun->vendor, sizeof(lun->vendor), data + 8, 8);
        copy_text(lun->product, sizeof(lun->product), data + 16, 16);
        copy_text(lun->revision, sizeof(lun->revision), data + 32, 4);
    }
    return 0;
}

static void parse_page_list(const uint8_t *list, size_t bytes, struct hv_storvsc_identity *id)
{
    /* Page 00 lists itself: a list without it is one of the wrong answers, not a device without pages. */
    if (!memchr(list, PAGE_LIST, bytes))
        return;
    id->have_page_list = true;
    memset(id->has_page, 0, sizeof(id->has_page));
    for (size_t i = 0; i < bytes; i++)
        id->has_page[list[i]] = true;
}

static void parse_identifiers(const uint8_t *list, size_t bytes, struct hv_storvsc_identity *id)
{
    struct hv_storvsc_lun *lun = &id->disk.lun;
    size_t at = 0;

    while (bytes - at >= 4) {
        const uint8_t *d = list + at;
        size_t length = d[3];

        if (length > bytes - at - 4)
            return;
        /* Association 0: the LUN itself.  The longest NAA name wins. */
        if ((d[1] & 0xfu) == DESIGNATOR_NAA && !((d[1] >> 4) & 3u) &&
            (length == 8 || length == 16) && length > lun->naa_bytes) {
            memset(lun->naa, 0, sizeof(lun->naa));
            memcpy(lun->naa, d + 4, length);
            lun->naa_bytes = (uint8_t)length;
        }
        at += 4 + length;
    }
}

static void parse_limits(const uint8_t *data, size_t bytes, struct hv_storvsc_identity *id)
{
    if (bytes < 16)
        return;
    id->have_limits = true;
    id->max_transfer_blocks = hv_get_be32(data + 8);
    id->optimal_transfer_blocks = hv_get_be32(data + 12);
    if (bytes >= 36) {
        uint32_t alignment = hv_get_be32(data + 32);

        id->unmap_max_blocks = hv_get_be32(data + 20);
        id->unmap_max_descriptors = hv_get_be32(data + 24);
        id->unmap_granularity_blocks = hv_get_be32(data + 28);
        id->unmap_alignment_blocks = alignment >> 31 ? alignment & 0x7fffffffu : 0;
    }
    if (bytes >= 44)
        id->write_same_max_blocks = hv_get_be64(data + 36);
}

void hv_storvsc_parse_vpd(uint8_t page, const uint8_t *data, size_t bytes,
                          struct hv_storvsc_identity *id)
{
    struct hv_storvsc_lun *lun = &id->disk.lun;
    size_t total;

    if (bytes < 4 || data[1] != page)
        return;
    total = 4 + (size_t)hv_get_be16(data + 2);
    if (total < bytes)
        bytes = total;
    switch (page) {
    case PAGE_LIST:
        parse_page_list(data + 4, bytes - 4, id);
        break;
    case PAGE_SERIAL:
        copy_text(lun->serial, sizeof(lun->serial), data + 4, bytes - 4);
        /* Zeroes are no name. */
        if (strspn(lun->serial, "0") == strlen(lun->serial))
            memset(lun->serial, 0, sizeof(lun->serial));
        break;
    case PAGE_IDENTIFIERS:
        parse_identifiers(data + 4, bytes - 4, id);
        break;
    case PAGE_LIMITS:
        parse_limits(data, bytes, id);
        break;
    case PAGE_ROTATION:
        if (bytes >= 6)
            lun->rotational = hv_get_be16(data + 4) >= ROTATION_RPM_MIN;
        break;
    case PAGE_PROVISIONING:
        if (bytes >= 6) {
            id->can_unmap = data[5] & 0x80u;
            id->can_write_same_unmap = data[5] & 0x40u;
        }
        break;
    default:
        break;
    }
}

static int set_capacity(struct hv_storvsc_identity *id, uint64_t last_lba, uint32_t block_bytes)
{
    struct hv_storvsc_disk *disk = &id->disk;

    if (block_bytes < 512 || block_bytes > HV_PAGE_BYTES || !hv_is_power_of_two(block_bytes))
        return -EINVAL;
    if (last_lba >= DISK_BYTES_MAX / block_bytes)
        return -EINVAL;
    disk->lun.block_bytes = block_bytes;
    disk->lun.physical_block_bytes = block_bytes;
    disk->lun.block_count = last_lba + 1;
    disk->block_shift = (uint8_t)__builtin_ctz(block_bytes);
    id->have_capacity = true;
    return 0;
}

int hv_storvsc_parse_capacity16(const uint8_t *data, size_t bytes, struct hv_storvsc_identity *id)
{
    int rc;

    if (bytes < 12)
        return -EINVAL;
    rc = set_capacity(id, hv_get_be64(data), hv_get_be32(data + 8));
    if (rc)
        return rc;
    id->disk.short_cdb = false;
    if (bytes >= 16) {
        uint32_t exponent = data[13] & 0xfu;

        id->disk.lun.physical_block_bytes = id->disk.lun.block_bytes << exponent;
        id->disk.lun.thin = data[14] & 0x80u;
        id->disk.lun.unmap_zeroes = (data[14] & 0xc0u) == 0xc0u;
    }
    return 0;
}

int hv_storvsc_parse_capacity10(const uint8_t *data, size_t bytes, struct hv_storvsc_identity *id)
{
    int rc;

    if (bytes < 8)
        return -EINVAL;
    if (hv_get_be32(data) == UINT32_MAX)
        return -EOVERFLOW;
    rc = set_capacity(id, hv_get_be32(data), hv_get_be32(data + 4));
    if (!rc)
        id->disk.short_cdb = true;
    return rc;
}

int hv_storvsc_parse_mode(const uint8_t *data, size_t bytes, size_t header_bytes,
                          struct hv_storvsc_identity *id)
{
    struct hv_storvsc_lun *lun = &id->disk.lun;
    uint8_t device;
    size_t total, at;

    if (bytes < header_bytes)
        return -EINVAL;
    if (header_bytes == 8) {
        total = 2 + (size_t)hv_get_be16(data);
        device = data[3];
        at = 8 + (size_t)hv_get_be16(data + 6);
    } else {
        total = 1 + (size_t)data[0];
        device = data[2];
        at = 4 + (size_t)data[3];
    }
    if (total < header_bytes)
        return -EINVAL;
    if (total < bytes)
        bytes = total;
    lun->read_only = device & MODE_WRITE_PROTECTED;
    lun->fua = device & MODE_DPOFUA;
    while (at < bytes && bytes - at >= 3) {
        if ((data[at] & 0x3fu) == CACHING_PAGE) {
            lun->write_cache = data[at + 2] & 0x04u;
            return 0;
        }
        at += 2 + (size_t)data[at + 1];
    }
    return 0; /* protection is known; the cache stays "maybe", which is on */
}

static void finish_unmap(struct hv_storvsc_identity *id, uint16_t version)
{
    struct hv_storvsc_disk *disk = &id->disk;
    struct hv_storvsc_lun *lun = &disk->lun;

    lun->unmap = lun->thin && id->can_unmap && id->unmap_max_blocks && id->unmap_max_descriptors;
    if (lun->unmap) {
        lun->unmap_max_blocks = id->unmap_max_blocks == UINT32_MAX ? 0 : id->unmap_max_blocks;
        lun->unmap_granularity_blocks =
            id->unmap_granularity_blocks ? id->unmap_granularity_blocks : 1;
        disk->unmap_alignment_blocks = id->unmap_alignment_blocks % lun->unmap_granularity_blocks;
    }
    /* Whoever names a limit takes it; others only as far as Linux found out: Microsoft's disks from 6.2 on. */
    lun->write_same =
        !disk->short_cdb && (id->write_same_max_blocks || id->can_write_same_unmap ||
                             (version >= HV_VSTOR_VERSION_6_2 && !strcmp(lun->vendor, "Msft")));
    if (lun->write_same) {
        lun->write_same_unmap = lun->thin && id->can_write_same_unmap;
        lun->write_same_max_blocks =
            id->write_same_max_blocks ? id->write_same_max_blocks : WRITE_SAME_BLOCKS;
    }
}

int hv_storvsc_identity_finish(struct hv_storvsc_identity *id, uint16_t vstor_version,
                               uint32_t max_transfer_bytes)
{
    struct hv_storvsc_disk *disk = &id->disk;
    struct hv_storvsc_lun *lun = &disk->lun;
    uint64_t max_bytes = max_transfer_bytes;

    if (!id->have_capacity)
        return lun->type == TYPE_DISK ? -EINVAL : 0;
    if (lun->type != TYPE_DISK)
        lun->read_only = true;
    if (id->max_transfer_blocks)
        max_bytes = hv_min_u64(max_bytes, (uint64_t)id->max_transfer_blocks << disk->block_shift);
    if (disk->short_cdb)
        max_bytes = hv_min_u64(max_bytes, (uint64_t)UINT16_MAX << disk->block_shift);
    /* Whole pages, so that parts of a large request stay aligned as it was. */
    if (max_bytes >= HV_PAGE_BYTES)
        max_bytes &= ~(uint64_t)(HV_PAGE_BYTES - 1);
    lun->max_transfer_bytes = (uint32_t)max_bytes;
    disk->max_blocks = (uint32_t)(max_bytes >> disk->block_shift);
    lun->optimal_transfer_bytes =
        (uint32_t)hv_min_u64(max_bytes, (uint64_t)id->optimal_transfer_blocks << disk->block_shift);
    finish_unmap(id, vstor_version);
    return 0;
}

/* One entry: peripheral (00) and flat (01) addressing of a single level. */
static bool lun_number(const uint8_t *entry, uint8_t *ret_lun)
{
    uint32_t lun;

    if (entry[0] >> 6 > 1)
        return false;
    lun = (uint32_t)(entry[0] & 0x3fu) << 8 | entry[1];
    if (lun >= LUN_NUMBERS)
        return false;
    *ret_lun = (uint8_t)lun;
    return true;
}

int hv_storvsc_parse_report_luns(const uint8_t *data, size_t bytes,
                                 void (*found)(void *arg, uint8_t lun), void *arg)
{
    size_t list;

    if (bytes < REPORT_HEADER_BYTES)
        return -EINVAL;
    list = hv_get_be32(data);
    if (list > bytes - REPORT_HEADER_BYTES)
        list = bytes - REPORT_HEADER_BYTES;
    for (size_t at = 0; list - at >= 8; at += 8) {
        uint8_t lun;

        if (lun_number(data + REPORT_HEADER_BYTES + at, &lun))
            found(arg, lun);
    }
    return 0;
}
