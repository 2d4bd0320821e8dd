/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private seam inside host/storvsp: the SCSI disk (scsi_*.c, store_*.c) below, the vstor protocol (storvsp*.c) above.
 * The SCSI disk knows no VMBus: it takes a CDB and an iovec and completes later, from hv_disk_queue_poll() of the same
 * thread.
 *
 *   hv_disk_queue_create()             one per worker thread and disk
 *     hv_disk_execute() ...            start commands; some complete at once
 *     hv_disk_queue_flush()            one io_submit for all of them
 *     hv_disk_queue_poll()             complete what is ready
 *   hv_disk_queue_destroy()            nothing may be in flight
 */
#ifndef HV_STORVSP_SCSI_IMPL_H
#define HV_STORVSP_SCSI_IMPL_H

#include <hv/storvsp.h>
#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

/** Per worker and disk: submission context of the store (an aio context, a list); one thread. */
struct hv_disk_queue;
struct hv_scsi_operation;
struct hv_scsi_command;

#define HV_SCSI_IOV_MAX         2050 /* 8 MiB unaligned, page by page, and one to spare */
#define HV_SCSI_TRANSFER_MAX    (8u << 20)
#define HV_DISK_QUEUE_DEPTH_MAX 4096u

/** A position in a command's iovec. */
struct hv_iov_cursor {
    const struct iovec *iov;
    uint32_t count;
    uint32_t index;
    size_t offset; /* in iov[index] */
};

/** One transfer between the store and a command's data or a private buffer; see store_impl.h. */
struct hv_store_io {
    uint8_t op; /* enum hv_store_op */
    bool want_durable;
    bool is_durable; /* the store made this write durable itself */
    bool bounced;    /* store: goes through impl.buffer */
    uint64_t offset; /* bytes */
    uint64_t length;
    uint8_t *buffer; /* private memory; NULL = the command's data at `data` */
    struct hv_iov_cursor data;
    int64_t result; /* bytes moved, possibly fewer than asked; or a negative errno */
};

/** What a step of a command wants next. */
enum hv_step {
    HV_STEP_DONE, /* result fields are filled */
    HV_STEP_IO,   /* impl.io is filled; call impl.step again with its result */
    HV_STEP_WAIT, /* no bounce buffer free: call impl.step again when one is */
};

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
    /* For scsi_*.c, store_*.c and disk*.c; need not be initialised. */
    struct {
        struct hv_disk_queue *queue;
        struct hv_scsi_command *next; /* in one of the queue's lists */
        const struct hv_scsi_operation *operation;
        enum hv_step (*step)(struct hv_disk_queue *queue, struct hv_scsi_command *command);
        uint64_t offset; /* of the range named by the CDB, bytes */
        uint64_t length;
        uint64_t progress;
        uint8_t *buffer; /* bounce buffer of the queue, given back before done */
        uint32_t state;
        bool media;     /* counted in the queue's media commands */
        bool exclusive; /* runs alone on the disk */
        bool durable;   /* FUA, or the write cache is off */
        struct hv_store_io io;
        uint64_t aio[8]; /* struct iocb */
    } impl;
};

/**
 * REPORT LUNS and commands to an absent LUN are the controller's; everything else comes here.
 *
 * @depth  Requests that can be in the kernel at once, 1 .. HV_DISK_QUEUE_DEPTH_MAX; more commands are taken and wait.
 *
 * Returns 0, -EINVAL, -ENOMEM, -EMFILE, or -EAGAIN when the system has no more asynchronous I/O contexts
 * (fs.aio-max-nr); the log says which.
 */
int hv_disk_queue_create(struct hv_disk *disk, uint32_t depth, struct hv_disk_queue **ret_queue);
/** Nothing may be in flight.  NULL is fine. */
void hv_disk_queue_destroy(struct hv_disk_queue *queue);
/** Start a command.  May complete at once. */
void hv_disk_execute(struct hv_disk_queue *queue, struct hv_scsi_command *command);
/** Push what was started to the kernel (one io_submit for a batch). */
void hv_disk_queue_flush(struct hv_disk_queue *queue);
/** Complete what is ready.  Returns how many.  Only a call that returned 0 leaves the descriptor armed. */
int hv_disk_queue_poll(struct hv_disk_queue *queue);
/** Nothing is to be read from the descriptor: an idle queue that is not settled has to be polled until it is. */
bool hv_disk_queue_is_settled(const struct hv_disk_queue *queue);
/** Readable when poll has work; -1 when the store always completes at once. */
int hv_disk_queue_fd(const struct hv_disk_queue *queue);
uint32_t hv_disk_queue_in_flight(const struct hv_disk_queue *queue);

/** Fill a command's result with CHECK CONDITION and fixed-format sense. */
void hv_scsi_set_sense(struct hv_scsi_command *command, uint8_t srb_status, uint8_t key,
                       uint16_t asc);

/** A guest is gone: its unit attentions are forgotten; registrations stay (they belong to the initiator name). */
void hv_disk_forget_initiator(struct hv_disk *disk, uint64_t initiator);
/** The disk leaves its controller: so do all its guests, of whose end nobody would tell it any more. */
void hv_disk_forget_initiators(struct hv_disk *disk);
/** Pending unit attention for one initiator, if the disk knows it; and taken back. */
void hv_disk_tell(struct hv_disk *disk, uint64_t initiator, uint16_t asc);
void hv_disk_untell(struct hv_disk *disk, uint64_t initiator, uint16_t asc);
/** Pending unit attention for every known initiator, told once to each. */
void hv_disk_raise_attention(struct hv_disk *disk, uint16_t asc);
/** The controller's limit for one transfer, shown in the block limits page; the default is 8 MiB. */
void hv_disk_set_max_transfer(struct hv_disk *disk, uint32_t bytes);

#endif
