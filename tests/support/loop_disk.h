/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The smallest storage provider that a driver can be tried on, with the habits of real ones as switches.  For
 * loop_guest.h: give loop_disk_sent as its `sent`, or call loop_disk_answer() from there.  One disk, LUN 0.
 */
#ifndef HV_TEST_LOOP_DISK_H
#define HV_TEST_LOOP_DISK_H

#include "loop_guest.h"

#define LOOP_DISK_LOG 512

struct loop_disk {
    /* Before use. */
    uint16_t version; /* highest accepted; 0 = 6.2 */
    uint32_t max_transfer_bytes;
    uint16_t max_sub_channels;
    uint64_t blocks;
    uint32_t block_bytes;
    bool no_report_luns, no_capacity16, no_mode_sense10, no_vpd, short_inquiry;
    bool descriptor_sense, read_only, write_cache, fua, thin, lbprz;
    bool refuse_write_same; /* although it is announced */
    uint32_t unmap_max_blocks, unmap_granularity, unmap_alignment, unmap_descriptors;
    uint64_t write_same_max_blocks;
    uint32_t max_transfer_blocks; /* VPD B0 */
    bool write_same_unmap;
    uint8_t *data; /* blocks * block_bytes; NULL = none: reads give zeroes */

    /* The next commands to block 0 .. that are no scan: answered like this once each, in this order. */
    struct loop_fault {
        uint8_t srb_status, scsi_status, key;
        uint16_t asc;
        uint32_t short_by; /* good, but so many bytes fewer */
    } faults[16];
    unsigned fault_count, fault_at;

    /* What came: SRBs of READ, WRITE, UNMAP, WRITE SAME, SYNCHRONIZE CACHE. */
    struct hv_vstor_srb log[LOOP_DISK_LOG];
    unsigned log_count;
    unsigned resets[3]; /* LUN, adapter, bus */
};

void loop_disk_sent(void *arg, struct loop_guest *loop, const struct loop_packet *packet);
/** The answer that a good host gives; data moved already. */
void loop_disk_answer(struct loop_disk *disk, const struct loop_packet *packet,
                      struct hv_vstor_packet *ret_reply);
/** First block and number of blocks that a logged command names. */
uint64_t loop_disk_lba(const struct hv_vstor_srb *srb);
uint32_t loop_disk_count(const struct hv_vstor_srb *srb);

#endif
