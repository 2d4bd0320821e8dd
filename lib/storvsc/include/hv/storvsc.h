/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libstorvsc: SCSI initiator over a VMBus storage device (one controller, several LUNs, several channels).
 *
 *   hv_storvsc_open(bus, instance)      open channel 0, agree on a version (6.2 .. 2.0), properties, sub-channels, scan
 *     hv_storvsc_luns()                 what was found
 *     hv_storvsc_queue(s, 0 .. n-1)     one queue per channel, each owned by one thread
 *       hv_storvsc_submit(queue, request) ... hv_storvsc_flush(queue)     many requests, one publish
 *       hv_storvsc_poll(queue)                                            callbacks run from here only
 *       arm -> sleep on hv_storvsc_queue_fd() -> disarm
 *   hv_storvsc_close()
 *
 * THREADS: open, scan, reopen and close in the control thread of the bus, while no queue is in use elsewhere.  A queue
 * belongs to one thread at a time.  Different queues run in parallel without locks.
 *
 * MEMORY: data buffers should be DMA memory of the bus (hv_dma_alloc, hv_dma_register): then nothing is copied, except
 * segments that break the host's page rule (docs/wire.md "Scatter-gather"): only those are bounced.  Other memory works
 * too and is bounced whole.  The buffers belong to the library from a successful submit until the callback; the
 * callback is the only sign that the host will not touch them any more, also after time-outs and resets.
 *
 * ERRORS in results: 0; -EIO (medium, hardware, unknown; sense tells); -ENOSPC (space allocation failed);
 * -EPERM (write-protected); -EINVAL (outside the LUN, refused field); -EBUSY (reservation conflict); -ENODEV (LUN or
 * device gone); -EOPNOTSUPP (the LUN cannot do that); -ETIMEDOUT (reset ladder ran out); -EILSEQ (miscompare).
 *
 * A QUEUE IS DEAD when the host broke the protocol (-EPROTO: an id that is not in flight, a second answer, lengths that
 * cannot be, a corrupt ring), answered neither commands nor resets (-ETIMEDOUT), or is gone (-ENODEV).  Every call says
 * so from then on, and HV_STORVSC_DEAD comes from queue 0.  What is in flight stays with the library, because the host
 * may still write there, until hv_storvsc_reopen() or hv_storvsc_close().
 *
 * NO ANSWER: after the time-out of a command the LUN is reset, half a time-out later the bus, half a time-out later the
 * queue is dead.  Answers that come late are answers.  The protocol knows no abort.
 */
#ifndef HV_STORVSC_H
#define HV_STORVSC_H

#include <hv/vmbus.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hv_storvsc;
struct hv_storvsc_queue;

struct hv_storvsc_address {
    uint8_t path;
    uint8_t target;
    uint8_t lun;
};

/** A disk as the host describes it. */
struct hv_storvsc_lun {
    struct hv_storvsc_address address;
    uint8_t
        type; /* INQUIRY peripheral device type, 0 = disk; others may have no blocks (block_bytes 0) */
    bool read_only;
    bool write_cache; /* volatile cache on, or not known: flush matters */
    bool fua;         /* FUA writes honoured (DPOFUA) */
    bool rotational;
    bool thin;             /* LBPME */
    bool unmap;            /* UNMAP command works */
    bool unmap_zeroes;     /* LBPRZ: unmapped blocks read as zeroes */
    bool write_same;       /* WRITE SAME(16) works (host 6.2 or any that reports it) */
    bool write_same_unmap; /* ... with the UNMAP bit */
    uint32_t block_bytes;  /* logical, 512 .. 4096 */
    uint32_t physical_block_bytes;
    uint64_t block_count;
    uint32_t max_transfer_bytes;     /* one command, after all limits; larger requests are split */
    uint32_t optimal_transfer_bytes; /* 0 = not said */
    uint32_t unmap_max_blocks;       /* one descriptor; 0 = none */
    uint32_t unmap_granularity_blocks;
    uint64_t write_same_max_blocks;
    char vendor[9], product[17], revision[5], serial[65];
    uint8_t naa[16]; /* NAA identifier of VPD 83; zero when absent */
    uint8_t naa_bytes;
};

enum hv_storvsc_event {
    HV_STORVSC_LUN_ADDED,
    HV_STORVSC_LUN_REMOVED,
    HV_STORVSC_LUN_RESIZED,
    HV_STORVSC_LUN_CHANGED, /* anything else about it: cache, protection */
    HV_STORVSC_DEAD, /* the controller is lost (rescind, protocol violation, host gone): reopen or close */
};

struct hv_storvsc_opts {
    size_t size;
    struct hv_log_hook log;
    uint16_t channels;    /* 0 = 1; the host may grant fewer */
    uint16_t max_version; /* 0 = 6.2; else as HV_VSTOR_VERSION() */
    uint32_t ring_bytes;  /* each direction, control page included; 0 = 128 KiB */
    uint32_t depth;       /* commands in flight per queue, 1 .. 1024; 0 = 256 */
    uint32_t
        bounce_bytes; /* bounce memory per queue, at least one largest transfer is taken; 0 = 4 MiB */
    uint32_t timeout_ms;        /* per command, before the reset ladder starts; 0 = 30,000 */
    uint32_t init_timeout_ms;   /* per handshake step; 0 = 180,000 */
    const uint32_t *target_vps; /* one per channel; NULL = 0, 1, 2 ... */
    /** From hv_storvsc_poll() of queue 0.  May be NULL. */
    void (*event)(void *arg, enum hv_storvsc_event event, const struct hv_storvsc_lun *lun);
    void *event_arg;
};
#define HV_STORVSC_OPTS_INIT                                                                       \
    {                                                                                              \
        .size = sizeof(struct hv_storvsc_opts)                                                     \
    }

/**
 * Open a controller: channels, handshake, scan.  Blocks, with the time limits of the options.
 *
 * @instance  Which one; NULL = the first SCSI controller on the bus.
 *
 * Returns 0, -ENODEV (none, rescinded), -EPROTONOSUPPORT (no common version), -EPROTO, -ETIMEDOUT, -EINVAL (options),
 * -EBUSY (opened before), -EIO (the host refuses the channel), -ENOMEM.  Nothing is left behind then.
 */
int hv_storvsc_open(struct hv_vmbus *bus, const struct hv_guid *instance,
                    const struct hv_storvsc_opts *opts, struct hv_storvsc **ret_storvsc);
/** Cancels what is in flight: callbacks run with -ENODEV once the host has let go.  NULL is fine. */
void hv_storvsc_close(struct hv_storvsc *storvsc);
/**
 * Tear all channels down and open them anew on `bus` (the same, or a new one after HV_VMBUS_HOST_GONE: the old one
 * must live until this returns).  Pending requests complete with -EIO before anything is opened, or with -ETIMEDOUT when
 * it was they that were not answered; submits from their callbacks fail.  Queue handles stay valid, their descriptors
 * change, and there may be fewer or more of them in use: ask hv_storvsc_queue_count().  LUNs that changed meanwhile are
 * told by events.  Errors as open; may be tried again, on any bus: after a failure nothing of either bus is used.
 */
int hv_storvsc_reopen(struct hv_storvsc *storvsc, struct hv_vmbus *bus);

uint16_t hv_storvsc_version(const struct hv_storvsc *storvsc);
uint16_t hv_storvsc_queue_count(const struct hv_storvsc *storvsc);
/** Queue `index`, NULL beyond opts.channels.  Those from hv_storvsc_queue_count() on are closed (-ENODEV). */
struct hv_storvsc_queue *hv_storvsc_queue(struct hv_storvsc *storvsc, uint16_t index);
/** Any thread.  Copies up to `max` LUNs, in address order; returns how many there are. */
size_t hv_storvsc_luns(const struct hv_storvsc *storvsc, struct hv_storvsc_lun *luns, size_t max);
/** Look for LUNs and their properties again; owner of queue 0; events tell the differences later.  0, or queue 0's death. */
int hv_storvsc_rescan(struct hv_storvsc *storvsc);

/* ---- Requests: owner thread of the queue ---- */

enum hv_storvsc_op {
    HV_STORVSC_READ,
    HV_STORVSC_WRITE,
    HV_STORVSC_FLUSH,
    HV_STORVSC_UNMAP,        /* deallocate; contents undefined unless unmap_zeroes */
    HV_STORVSC_WRITE_ZEROES, /* WRITE SAME, else written zeroes */
    HV_STORVSC_LBA_STATUS,   /* GET LBA STATUS parameter data into iov */
    HV_STORVSC_SCSI, /* any CDB; sent once: only the others are tried again after resets, busy and the like */
};

#define HV_STORVSC_FUA                                                                             \
    0x1u /* WRITE, WRITE_ZEROES: on stable storage before completion; falls back to a flush */
#define HV_STORVSC_MAY_UNMAP 0x2u /* WRITE_ZEROES: may deallocate as long as zeroes are read back */
#define HV_STORVSC_FAST_ONLY                                                                       \
    0x4u /* WRITE_ZEROES: -EOPNOTSUPP rather than writing zeroes the slow way */

struct hv_storvsc_result {
    int error;          /* 0 or negative errno, see above */
    uint8_t srb_status; /* HV_SRB_*, flag bits removed */
    uint8_t scsi_status;
    uint8_t sense_key; /* 0 when there is no valid sense */
    uint16_t asc;      /* asc << 8 | ascq */
    uint32_t bytes;    /* moved */
    const uint8_t
        *sense; /* raw, during the callback only; NULL when none, or when the request was split */
    uint8_t sense_bytes;
};

/**
 * One request, in the caller's storage until the callback; unused members are zero.  Those from `impl` on are the
 * library's.
 * Callbacks run exactly once per successful submit, from hv_storvsc_poll(), hv_storvsc_reopen() or
 * hv_storvsc_close(); they may submit again.
 */
struct hv_storvsc_request {
    enum hv_storvsc_op op;
    uint32_t flags;
    struct hv_storvsc_address address;
    uint64_t lba;            /* READ, WRITE, UNMAP, WRITE_ZEROES, LBA_STATUS */
    uint64_t block_count;    /* same; any size, split as the LUN demands */
    const struct iovec *iov; /* READ, WRITE, LBA_STATUS, SCSI; read during submit only */
    uint32_t iov_count;
    uint8_t cdb[16]; /* SCSI */
    uint8_t cdb_bytes;
    bool data_in;        /* SCSI with data: from the device */
    uint32_t timeout_ms; /* 0 = the controller's */
    void (*done)(struct hv_storvsc_request *request, const struct hv_storvsc_result *result);
    void *arg; /* the caller's */
    struct {
        void *list[2];
        uint64_t word[6];
    } impl;
};

/**
 * Queue a request; published to the host by hv_storvsc_flush() or hv_storvsc_poll().
 *
 * Returns 0, or (nothing queued, callback will not run)
 *   -EAGAIN   queue depth, ring or bounce memory used up, or a split request waits for them: poll, then try again;
 *   -EINVAL   outside the LUN, no blocks, data length does not match block_count or is 4 GiB and more, a raw command
 *             larger than max_transfer_bytes, unknown flags, not a known LUN;
 *   -EPERM    writing to a read-only LUN;
 *   -EOPNOTSUPP  the LUN cannot do it;
 *   -ENOMEM   for the bookkeeping of a split request;
 *   -ENODEV, -EPROTO, -ETIMEDOUT  the queue is dead.
 */
int hv_storvsc_submit(struct hv_storvsc_queue *queue, struct hv_storvsc_request *request);
/** Publish what was submitted; signals the host when it sleeps.  0, or the queue's death. */
int hv_storvsc_flush(struct hv_storvsc_queue *queue);
/** Handle completions (callbacks run), events, deadlines; flushes.  Returns how many requests completed, or
 *  -ENODEV, -EPROTO, -ETIMEDOUT once the queue is dead (pending requests stay with the library until reopen or close).
 *  Does nothing when called from a callback. */
int hv_storvsc_poll(struct hv_storvsc_queue *queue);
/** Wait descriptor; another one after each reopen; -1 while closed. */
int hv_storvsc_queue_fd(const struct hv_storvsc_queue *queue);
/** Flushes, then as hv_channel_arm(): true = do not sleep, poll. */
bool hv_storvsc_arm(struct hv_storvsc_queue *queue);
void hv_storvsc_disarm(struct hv_storvsc_queue *queue);
/** Milliseconds until hv_storvsc_poll() must run even without a wake-up, -1 = never: the longest sleep allowed. */
int hv_storvsc_next_deadline_ms(const struct hv_storvsc_queue *queue);
uint32_t hv_storvsc_in_flight(const struct hv_storvsc_queue *queue);

struct hv_storvsc_stats {
    uint64_t submitted, completed, failed;
    uint64_t read_bytes, written_bytes;
    uint64_t bounced_bytes, bounced_segments, split_requests;
    uint64_t retries, timeouts, resets, unknown_ids;
    struct hv_channel_stats channel;
};
/** Owner of the queue. */
void hv_storvsc_get_stats(const struct hv_storvsc_queue *queue, struct hv_storvsc_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
