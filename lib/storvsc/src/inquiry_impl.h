/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private: a LUN's description from the bytes that the host answers.  Pure functions over private copies of the data;
 * short answers are normal (docs/wire.md "SCSI quirks") and leave what they do not reach untouched.
 */
#ifndef HV_STORVSC_INQUIRY_IMPL_H
#define HV_STORVSC_INQUIRY_IMPL_H

#include <hv/storvsc.h>

/** A LUN and what the data path derives from it. */
struct hv_storvsc_disk {
    struct hv_storvsc_lun lun;
    uint8_t block_shift;
    bool short_cdb;      /* no READ CAPACITY(16), so no 16-byte commands: READ(10), WRITE(10) */
    bool no_write_same;  /* refused WRITE SAME although it should work; private to a queue */
    uint32_t max_blocks; /* of one READ or WRITE */
    uint32_t unmap_alignment_blocks;
};

/** What the probe of one LUN has gathered so far. */
struct hv_storvsc_identity {
    struct hv_storvsc_disk disk;
    bool have_page_list;
    bool has_page[256]; /* VPD pages listed; all true without a list */
    bool have_limits;
    uint32_t max_transfer_blocks;
    uint32_t optimal_transfer_blocks;
    uint32_t unmap_max_blocks;
    uint32_t unmap_max_descriptors;
    uint32_t unmap_granularity_blocks;
    uint32_t unmap_alignment_blocks;
    uint64_t write_same_max_blocks;
    bool can_unmap;            /* LBPU */
    bool can_write_same_unmap; /* LBPWS */
    bool capacity16_refused;
    bool have_capacity;
    bool have_mode;
};

/** Standard INQUIRY.  0, -ENODEV (nobody there), -EINVAL (too short to tell). */
int hv_storvsc_parse_inquiry(const uint8_t *data, size_t bytes, struct hv_storvsc_identity *id);
void hv_storvsc_parse_vpd(uint8_t page, const uint8_t *data, size_t bytes,
                          struct hv_storvsc_identity *id);
/** 0, or -EINVAL: too short or impossible numbers. */
int hv_storvsc_parse_capacity16(const uint8_t *data, size_t bytes, struct hv_storvsc_identity *id);
/** 0, -EINVAL, or -EOVERFLOW: READ CAPACITY(16) is needed. */
int hv_storvsc_parse_capacity10(const uint8_t *data, size_t bytes, struct hv_storvsc_identity *id);
/** MODE SENSE of the caching page; `header_bytes` 8 for the 10-byte form, 4 for the 6-byte form.  0 or -EINVAL. */
int hv_storvsc_parse_mode(const uint8_t *data, size_t bytes, size_t header_bytes,
                          struct hv_storvsc_identity *id);
/** Put limits together.  0, or -EINVAL: a disk without usable capacity. */
int hv_storvsc_identity_finish(struct hv_storvsc_identity *id, uint16_t vstor_version,
                               uint32_t max_transfer_bytes);

/** REPORT LUNS: calls back for each LUN number below 255 once per mention.  0 or -EINVAL (malformed). */
int hv_storvsc_parse_report_luns(const uint8_t *data, size_t bytes,
                                 void (*found)(void *arg, uint8_t lun), void *arg);

#endif
