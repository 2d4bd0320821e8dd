/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a store does for the SCSI disk.  Private to host/storvsp.
 *
 * start() moves some of what impl.io asks for: at least one byte unless it fails.  The caller goes on from there, so a
 * store may cut a transfer wherever that is convenient (iovec limits, bounce buffers, short reads).
 *
 *              completes   reads and writes              flush
 *   memory     at once     memcpy                        nothing to do
 *   null       at once     zeroes, nothing               nothing to do
 *   buffered   at once     preadv/pwritev (may block)    fdatasync (blocks)
 *   direct     later       libaio                        libaio
 */
#ifndef HV_STORVSP_STORE_IMPL_H
#define HV_STORVSP_STORE_IMPL_H

#include "scsi_impl.h"

enum hv_store_op {
    HV_STORE_NOTHING, /* no transfer: the step is called again when there is a bounce buffer */
    HV_STORE_READ,
    HV_STORE_WRITE,
    HV_STORE_SYNC,
};

struct hv_store_ops {
    /** True: done, io.result is set.  False: later, through hv_disk_continue(). */
    bool (*start)(struct hv_disk_queue *queue, struct hv_scsi_command *command);
    /** Make a range read as zeroes and give its space back.  Synchronous.  0 or a negative errno. */
    int (*discard)(struct hv_disk *disk, uint64_t offset, uint64_t length);
    /** Make a range read as zeroes and keep its space.  -EOPNOTSUPP: write zeroes instead. */
    int (*zero)(struct hv_disk *disk, uint64_t offset, uint64_t length);
    /** How the range from `offset` on is backed, and how far that holds (at least one byte). */
    int (*extent)(struct hv_disk *disk, uint64_t offset, bool *ret_mapped, uint64_t *ret_length);
    /** bytes = 0: look at what is below.  The new size comes back. */
    int (*resize)(struct hv_disk *disk, uint64_t bytes, uint64_t *ret_bytes);
    void (*close)(struct hv_disk *disk);
    /* Only stores that complete later have these. */
    int (*queue_init)(struct hv_disk_queue *queue);
    void (*queue_fini)(struct hv_disk_queue *queue); /* takes a half-built queue */
    void (*flush)(struct hv_disk_queue *queue);
    void (*reap)(struct hv_disk_queue *queue);
};

/* Open a store: fill disk->ops, store, bytes and what it can do.  On failure `why` is filled and nothing is kept. */
int hv_store_file_open(struct hv_disk *disk, const struct hv_disk_opts *opts, char *why);
int hv_store_memory_open(struct hv_disk *disk, const struct hv_disk_opts *opts, char *why);
int hv_store_null_open(struct hv_disk *disk, const struct hv_disk_opts *opts, char *why);

/** An open file or block device, shared by the buffered and the direct way. */
struct hv_store_file {
    int fd;
    bool is_block_device;
    bool punch_hole;       /* fallocate(PUNCH_HOLE) makes a range read as zeroes */
    bool block_discard;    /* BLKDISCARD: a hint, contents undefined afterwards */
    uint32_t memory_align; /* O_DIRECT: of addresses and lengths of each piece */
    uint32_t offset_align; /* O_DIRECT: of offset and length of a transfer */
    _Atomic bool no_dsync; /* RWF_DSYNC was refused: write, then sync */
    _Atomic bool
        lost_writes; /* a sync failed: what it covered may be gone, no later sync may succeed */
};

/* store_file.c, used by store_aio.c too */
int hv_store_file_discard(struct hv_disk *disk, uint64_t offset, uint64_t length);
int hv_store_file_zero(struct hv_disk *disk, uint64_t offset, uint64_t length);
int hv_store_file_extent(struct hv_disk *disk, uint64_t offset, bool *ret_mapped,
                         uint64_t *ret_length);
int hv_store_file_resize(struct hv_disk *disk, uint64_t bytes, uint64_t *ret_bytes);
void hv_store_file_close(struct hv_disk *disk);
int64_t hv_store_file_sync_result(struct hv_store_file *file, int64_t result);
/* store_probe.c: what kind of file this is, how large, what it can do */
int hv_store_file_size(int fd, uint64_t *ret_bytes, bool *ret_is_block_device);
bool hv_store_file_try_direct(struct hv_disk *disk, struct hv_store_file *file, const char *path);
void hv_store_file_probe_discard(struct hv_disk *disk, struct hv_store_file *file);

extern const struct hv_store_ops hv_store_buffered_ops;
extern const struct hv_store_ops hv_store_aio_ops;

/* Moving bytes between a command's data and private memory; the cursor goes on.  Returns how many. */
size_t hv_iov_read(struct hv_iov_cursor *from, void *to, size_t bytes);
size_t hv_iov_write(struct hv_iov_cursor *to, const void *from, size_t bytes);
size_t hv_iov_zero(struct hv_iov_cursor *to, size_t bytes);
void hv_iov_skip(struct hv_iov_cursor *cursor, size_t bytes);
/** Index of the first byte that differs, or `bytes`.  Guest memory is read once. */
size_t hv_iov_compare(struct hv_iov_cursor *with, const uint8_t *data, size_t bytes);
/** Pieces for at most *bytes, in `iov`; *bytes becomes what they hold.  The cursor stays. */
uint32_t hv_iov_slice(const struct hv_iov_cursor *cursor, struct iovec *iov, uint32_t iov_max,
                      size_t *bytes);

#endif
