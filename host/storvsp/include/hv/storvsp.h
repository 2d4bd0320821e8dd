/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Storage provider of the emulated Hyper-V: a SCSI controller (vstor 2.0 .. 6.2) whose LUNs are SCSI disks on a store
 * (file or block device, memory, null).
 *
 *   hv_disk_create(opts) -> hv_storvsp_create(host, opts) -> hv_storvsp_attach(controller, disk, lun)
 *   ... guests use it ...  hv_storvsp_detach() -> hv_storvsp_destroy() -> hv_disk_destroy()
 *
 * A disk may be attached to one controller; all guests share it, as on a shared bus (persistent reservations tell the
 * guests apart).  THREADS: create, attach, detach, resize, destroy in the host's control thread.
 */
#ifndef HV_STORVSP_H
#define HV_STORVSP_H

#include <hv/host.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hv_disk;
struct hv_storvsp;

enum hv_disk_store {
    HV_DISK_FILE, /* regular file or block device, libaio with O_DIRECT where the file system can */
    HV_DISK_MEMORY, /* anonymous memory, gone with the process */
    HV_DISK_NULL,   /* reads zeroes, forgets writes */
};

struct hv_disk_opts {
    size_t size;
    struct hv_log_hook log;
    enum hv_disk_store store;
    const char *path; /* FILE */
    uint64_t
        bytes; /* MEMORY, NULL: size; FILE: create it with this size when missing, 0 = must exist */
    uint32_t block_bytes; /* 512 or 4096; 0 = 512 */
    bool read_only;
    bool
        no_write_cache; /* report no volatile cache; every write is made durable before it completes */
    bool no_thin;       /* no UNMAP, fully provisioned */
    bool rotational;
    bool buffered;      /* FILE: page cache instead of O_DIRECT */
    const char *serial; /* up to 64 printable characters; NULL = made from the path, stable */
};
#define HV_DISK_OPTS_INIT                                                                          \
    {                                                                                              \
        .size = sizeof(struct hv_disk_opts)                                                        \
    }

/**
 * Open the store.
 *
 * @why  At least HV_DISK_WHY_BYTES: on failure a sentence that names path, what was wrong and what is allowed.
 *
 * Returns 0, or -ENOENT, -EACCES, -EROFS, -EBUSY (somebody else holds the image), -EINVAL (size no multiple of the
 * block: the sentence names the nearest sizes; options), -ENOSPC, -ENOMEM, -EIO.
 */
#define HV_DISK_WHY_BYTES 512
int hv_disk_create(const struct hv_disk_opts *opts, char why[HV_DISK_WHY_BYTES],
                   struct hv_disk **ret_disk);
/** The disk must be detached.  NULL is fine. */
void hv_disk_destroy(struct hv_disk *disk);
uint64_t hv_disk_bytes(const struct hv_disk *disk);
uint32_t hv_disk_block_bytes(const struct hv_disk *disk);
bool hv_disk_is_direct(const struct hv_disk *disk); /* O_DIRECT in use */
/** Grow or shrink; guests are told by CAPACITY DATA HAS CHANGED.  FILE: follows the file; bytes = 0 re-reads it. */
int hv_disk_resize(struct hv_disk *disk, uint64_t bytes);

struct hv_storvsp_opts {
    size_t size;
    struct hv_log_hook log;
    struct hv_guid instance_id;  /* all zero = a fixed default */
    uint16_t max_version;        /* highest vstor version; 0 = 6.2 */
    uint16_t max_sub_channels;   /* 0 = none: one channel */
    uint32_t max_transfer_bytes; /* 4096 .. 8 MiB; 0 = 1 MiB */
    uint32_t depth;              /* requests in flight per channel; 0 = 256 */
    bool monitored;
    const char *fault; /* fault plan, see hv_storvsp_parse_fault(); NULL = none */
};
#define HV_STORVSP_OPTS_INIT                                                                       \
    {                                                                                              \
        .size = sizeof(struct hv_storvsp_opts)                                                     \
    }

/**
 * Check a fault plan.
 *
 * Comma-separated ACTION@N, N = nth EXECUTE_SRB packet counted from 1 over all channels ("N+" = from the
 * nth on, "N/M" = the nth and then every Mth).  ACTION: drop (no answer), delay:MS, repeat (answer twice), shorten
 * (reply 8 bytes long), wrong-id (answer with an id never asked), bad-index (impossible write index), bad-length
 * (claims more data moved than asked), bad-sense (sense length 255), medium-error, nospace, busy, rescind.
 * A delayed request touches neither disk nor guest memory before its time has come; a dropped one is carried out.
 * Where several fit, the first one counts.
 *
 * @why  At least HV_DISK_WHY_BYTES: on failure a sentence that names the word and what is allowed.
 *
 * Returns 0 or -EINVAL.
 */
int hv_storvsp_parse_fault(const char *plan, char why[HV_DISK_WHY_BYTES]);

/**
 * Offer a controller.
 *
 * Returns 0, -EINVAL (options, fault plan; the log says which word), -ENOMEM.
 */
int hv_storvsp_create(struct hv_host *host, const struct hv_storvsp_opts *opts,
                      struct hv_storvsp **ret_storvsp);
/** Withdraws the controller; `gone` runs in the control thread when it is freed.  Disks stay the caller's. */
void hv_storvsp_destroy(struct hv_storvsp *storvsp, void (*gone)(void *arg), void *arg);
/**
 * LUN 0 .. 63.  Guests are told: by ENUMERATE_BUS, before 4.2 by a unit attention of the other LUNs.
 *
 * Returns 0, -EBUSY (LUN taken), -EINVAL, -ENOMEM.
 */
int hv_storvsp_attach(struct hv_storvsp *storvsp, struct hv_disk *disk, uint8_t lun);
/** Guests are told (REMOVE_DEVICE); requests in flight finish first: `gone` runs in the control thread then.
 *  Returns 0 or -ENOENT (no disk there). */
int hv_storvsp_detach(struct hv_storvsp *storvsp, uint8_t lun, void (*gone)(void *arg), void *arg);

/** Sums over all channels of all guests, those gone included. */
struct hv_storvsp_stats {
    uint64_t requests;    /* EXECUTE_SRB packets */
    uint64_t read_bytes;  /* moved to guests */
    uint64_t write_bytes; /* moved from guests */
    uint64_t errors;      /* answered with anything but success */
    uint64_t malformed;   /* packets that made no sense */
    uint64_t batches;     /* polls that found requests: requests / batches is the batch size */
    uint32_t in_flight;
    uint32_t channels; /* open now */
};
void hv_storvsp_get_stats(struct hv_storvsp *storvsp, struct hv_storvsp_stats *ret_stats);
/** The disk attached there, or NULL. */
struct hv_disk *hv_storvsp_disk(struct hv_storvsp *storvsp, uint8_t lun);

#ifdef __cplusplus
}
#endif

#endif
