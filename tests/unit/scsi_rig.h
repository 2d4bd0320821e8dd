/* SPDX-License-Identifier: BSD-3-Clause */
/* One SCSI command at a time on a disk, for the tests of host/storvsp's SCSI disk and its stores. */
#ifndef HV_TEST_SCSI_RIG_H
#define HV_TEST_SCSI_RIG_H

#include <scsi_impl.h>

struct scsi_rig {
    struct hv_disk *disk;
    struct hv_disk_queue *queue;
    char why[HV_DISK_WHY_BYTES];
    char log[2048]; /* everything said, line after line */
};

struct scsi_result {
    uint8_t srb, status;
    uint8_t key; /* 0 = no sense data */
    uint16_t asc;
    bool has_information;
    uint32_t information;
    uint32_t transferred;
};

/** Create a disk and a queue; opts.log is the rig's.  Returns 0 or the disk's error, `why` filled. */
int scsi_rig_open(struct scsi_rig *rig, struct hv_disk_opts opts);
void scsi_rig_close(struct scsi_rig *rig);

/** A memory disk of so many bytes in blocks of 512. */
int scsi_rig_memory(struct scsi_rig *rig, uint64_t bytes);

/** Run one command to its end.  `direction`: HV_VSTOR_DATA_*. */
struct scsi_result scsi_run_iov(struct hv_disk_queue *queue, uint64_t initiator, const void *cdb,
                                size_t cdb_bytes, uint8_t direction, const struct iovec *iov,
                                uint32_t iov_count);
struct scsi_result scsi_in(struct scsi_rig *rig, uint64_t initiator, const void *cdb,
                           size_t cdb_bytes, void *data, size_t bytes);
struct scsi_result scsi_out(struct scsi_rig *rig, uint64_t initiator, const void *cdb,
                            size_t cdb_bytes, const void *data, size_t bytes);
struct scsi_result scsi_none(struct scsi_rig *rig, uint64_t initiator, const void *cdb,
                             size_t cdb_bytes);

/** READ(16), WRITE(16) of whole blocks; flags = byte 1. */
struct scsi_result scsi_read(struct scsi_rig *rig, uint64_t lba, uint32_t blocks, uint8_t flags,
                             void *data);
struct scsi_result scsi_write(struct scsi_rig *rig, uint64_t lba, uint32_t blocks, uint8_t flags,
                              const void *data);
/** UNMAP of one range. */
struct scsi_result scsi_unmap(struct scsi_rig *rig, uint64_t lba, uint32_t blocks);
/** First descriptor of GET LBA STATUS: blocks in the run, 0 on failure. */
uint32_t scsi_lba_status(struct scsi_rig *rig, uint64_t lba, bool *ret_mapped);
void scsi_cdb16(uint8_t cdb[16], uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t blocks);

bool scsi_is_good(struct scsi_result r, uint32_t transferred);
bool scsi_is_sense(struct scsi_result r, uint8_t key, uint16_t asc);
bool scsi_is_conflict(struct scsi_result r);

/** A pattern that tells blocks apart. */
void scsi_fill(void *data, size_t bytes, uint64_t seed);

#endif
