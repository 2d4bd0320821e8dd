/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private seam inside host/storvsp: the SCSI disk (scsi_*.c, store_*.c) below, the vstor protocol (storvsp*.c) above.
 * The SCSI disk knows no VMBus: it takes a CDB and an iovec and completes later, from hv_disk_queue_poll() of the same
 * thread.
 */
#ifndef HV_STORVSP_SCSI_IMPL_H
#define HV_STORVSP_SCSI_IMPL_H

#include <hv/storvsp.h>
#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

/** Per worker and disk: submission context of the store (an aio context, a list); one thread. */
struct hv_disk_queue;

#define HV_SCSI_IOV_MAX 2050 /* 8 MiB unaligned, page by page, and one to spare */

struct hv_scsi_command {
    uint8_t cdb[HV_VSTOR_CDB_BYTES]; /* private copy */
    uint8_t cdb_bytes;
    uint8_t data_direction; /* HV_VSTOR_DATA_* as the guest said */
    uint32_t data_bytes;    /* length of iov, already clamped to what the guest asked */
    uint64_t initiator;     /* guest id: persistent reservations, unit attentions */
    const struct iovec
        *iov; /* guest memory: contents may change at any moment.  Lives until done. */
    uint32_t iov_count;
    /* Result, valid in done() */
    uint8_t srb_status; /* HV_SRB_*, without flag bits */
    uint8_t scsi_status;
    uint8_t sense_bytes; /* 0 = none */
    uint8_t sense[HV_VSTOR_SENSE_V2_BYTES];
    uint32_t transferred_bytes;
    /** Exactly once, from hv_disk_execute() or hv_disk_queue_poll(). */
    void (*done)(struct hv_scsi_command *command);
    void *arg;
    /* For scsi_*.c and store_*.c */
    struct {
        struct hv_disk_queue *queue;
        uint64_t offset; /* bytes */
        uint64_t length;
        uint64_t progress;
        uint32_t state;
        uint32_t flags;
        void *buffer; /* bounce or scratch, freed before done */
        void *aux;
        uint64_t word[8];
    } impl;
};

/** REPORT LUNS and commands to an absent LUN are the controller's; everything else comes here. */
int hv_disk_queue_create(struct hv_disk *disk, uint32_t depth, struct hv_disk_queue **ret_queue);
/** Nothing may be in flight.  NULL is fine. */
void hv_disk_queue_destroy(struct hv_disk_queue *queue);
/** Start a command.  May complete at once. */
void hv_disk_execute(struct hv_disk_queue *queue, struct hv_scsi_command *command);
/** Push what was started to the kernel (one io_submit for a batch). */
void hv_disk_queue_flush(struct hv_disk_queue *queue);
/** Complete what is ready.  Returns how many. */
int hv_disk_queue_poll(struct hv_disk_queue *queue);
/** Readable when poll has work; -1 when the store always completes at once. */
int hv_disk_queue_fd(const struct hv_disk_queue *queue);
uint32_t hv_disk_queue_in_flight(const struct hv_disk_queue *queue);

/** Fill a command's result with CHECK CONDITION and fixed-format sense. */
void hv_scsi_set_sense(struct hv_scsi_command *command, uint8_t srb_status, uint8_t key,
                       uint16_t asc);

/** A guest is gone: its unit attentions are forgotten; registrations stay (they belong to the initiator name). */
void hv_disk_forget_initiator(struct hv_disk *disk, uint64_t initiator);
/** Pending unit attention for this initiator ("LUNs changed" and the like), told once. */
void hv_disk_raise_attention(struct hv_disk *disk, uint16_t asc);

#endif
