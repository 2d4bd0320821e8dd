/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A store in a regular file or block device: opening, space, and the buffered way of moving data.
 *
 * Rules of an image: one process writes it (open file description lock, shared for read-only), its size is a multiple
 * of the block, it is created only when asked and never resized behind the user's back.
 */
#include "disk_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/log.h>

#define SLICE_MAX 64 /* pieces in one preadv; the caller goes on behind them */

int64_t hv_store_file_sync_result(struct hv_store_file *file, int64_t result)
{
    /* The kernel tells a failed write-back once and then forgets it; we do not. */
    if (result < 0)
        file->lost_writes = true;
    return file->lost_writes ? (result < 0 ? result : -EIO) : 0;
}

static bool buffered_start(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct hv_store_file *file = queue->disk->store;
    struct hv_store_io *io = &command->impl.io;
    struct iovec iov[SLICE_MAX] = {{.iov_base = io->buffer, .iov_len = io->length}};
    size_t bytes = io->length;
    uint32_t count = 1;
    int flags = io->want_durable && !file->no_dsync ? RWF_DSYNC : 0;
    ssize_t n;

    if (io->op == HV_STORE_SYNC) {
        io->result = hv_store_file_sync_result(file, fdatasync(file->fd) ? -errno : 0);
        return true;
    }
    if (!io->buffer)
        count = hv_iov_slice(&io->data, iov, SLICE_MAX, &bytes);
    do {
        if (io->op == HV_STORE_READ)
            n = preadv(file->fd, iov, (int)count, (off_t)io->offset);
        else
            n = pwritev2(file->fd, iov, (int)count, (off_t)io->offset, flags);
        if (n < 0 && errno == EOPNOTSUPP && flags) {
            file->no_dsync = true; /* the SCSI disk syncs after the write then */
            flags = 0;
            errno = EINTR;
        }
    } while (n < 0 && errno == EINTR);
    io->is_durable = flags != 0;
    io->result = n < 0 ? -errno : n;
    return true;
}

int hv_store_file_discard(struct hv_disk *disk, uint64_t offset, uint64_t length)
{
    struct hv_store_file *file = disk->store;
    uint64_t range[2] = {offset, length};
    int err;

    if (file->block_discard)
        return ioctl(file->fd, BLKDISCARD, range) ? -errno : 0;
    if (!file->punch_hole)
        return -EOPNOTSUPP;
    do
        err = fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                        (off_t)length)
                  ? -errno
                  : 0;
    while (err == -EINTR);
    return err;
}

int hv_store_file_zero(struct hv_disk *disk, uint64_t offset, uint64_t length)
{
    struct hv_store_file *file = disk->store;
    int err;

    do
        err = fallocate(file->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                        (off_t)length)
                  ? -errno
                  : 0;
    while (err == -EINTR);
    return err == -EINVAL || err == -ENOSYS ? -EOPNOTSUPP : err;
}

/* The file position is shared by the threads, but nothing here uses it: lseek() returns what it found. */
int hv_store_file_extent(struct hv_disk *disk, uint64_t offset, bool *ret_mapped,
                         uint64_t *ret_length)
{
    struct hv_store_file *file = disk->store;
    uint64_t bytes = disk->bytes;
    off_t data, hole;

    if (offset >= bytes)
        return -EIO;
    *ret_mapped = true; /* always a correct answer */
    *ret_length = bytes - offset;
    if (file->is_block_device)
        return 0;
    data = lseek(file->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return errno == EIO ? -EIO : 0;
    if (data < 0 || (uint64_t)data > offset) {
        *ret_mapped = false;
        if (data >= 0)
            *ret_length = hv_min_u64((uint64_t)data, bytes) - offset;
        return 0;
    }
    hole = lseek(file->fd, (off_t)offset, SEEK_HOLE);
    if (hole > data)
        *ret_length = hv_min_u64((uint64_t)hole, bytes) - offset;
    return 0;
}

int hv_store_file_resize(struct hv_disk *disk, uint64_t bytes, uint64_t *ret_bytes)
{
    struct hv_store_file *file = disk->store;
    bool is_block_device;

    if (bytes && file->is_block_device)
        return -EOPNOTSUPP;
    if (bytes && disk->read_only)
        return -EROFS;
    if (bytes && ftruncate(file->fd, (off_t)bytes))
        return -errno;
    return hv_store_file_size(file->fd, ret_bytes, &is_block_device);
}

void hv_store_file_close(struct hv_disk *disk)
{
    struct hv_store_file *file = disk->store;

    if (!file)
        return;
    if (file->fd >= 0)
        (void)close(file->fd); /* every acknowledged flush was synced; drops the lock */
    free(file);
    disk->store = NULL;
}

const struct hv_store_ops hv_store_buffered_ops = {
    .start = buffered_start,
    .discard = hv_store_file_discard,
    .zero = hv_store_file_zero,
    .extent = hv_store_file_extent,
    .resize = hv_store_file_resize,
    .close = hv_store_file_close,
};

static int open_image(struct hv_store_file *file, const struct hv_disk_opts *opts,
                      bool *ret_created, char *why)
{
    /* O_NONBLOCK: a FIFO does not make us wait.  O_EXCL: a block device that is mounted is not ours (Linux). */
    int flags = (opts->read_only ? O_RDONLY : O_RDWR | O_EXCL) | O_CLOEXEC | O_NONBLOCK;
    int err;

    file->fd = open(opts->path, flags);
    if (file->fd < 0 && errno == ENOENT && opts->bytes && !opts->read_only) {
        file->fd = open(opts->path, flags | O_CREAT | O_EXCL, 0644);
        *ret_created = file->fd >= 0;
    }
    if (file->fd >= 0)
        return 0;
    err = -errno;
    if (err == -ENOENT)
        hv_disk_why(why, "%s: no such image%s", opts->path,
                    opts->bytes ? "" : "; give a size to create it");
    else if (err == -EBUSY)
        hv_disk_why(why, "%s: the device is mounted or held by another process", opts->path);
    else if (err == -EACCES || err == -EPERM || err == -EROFS)
        hv_disk_why(why, "%s: cannot be opened for %s: %s", opts->path,
                    opts->read_only ? "reading" : "writing (read-only may work)", strerror(-err));
    else
        hv_disk_why(why, "%s: cannot be opened: %s", opts->path, strerror(-err));
    return err == -EPERM ? -EACCES : err;
}

static int lock_image(struct hv_store_file *file, const struct hv_disk_opts *opts, char *why)
{
    struct flock whole = {.l_type = opts->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(file->fd, F_OFD_SETLK, &whole) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES) {
        hv_disk_why(why, "%s: the image is held by another process%s", opts->path,
                    opts->read_only ? " that writes it" : "");
        return -EBUSY;
    }
    hv_disk_why(why, "%s: cannot be locked: %s", opts->path, strerror(errno));
    return -errno;
}

/* Size of the image; an image just created, or still empty, gets the size asked for. */
static int size_image(struct hv_disk *disk, struct hv_store_file *file,
                      const struct hv_disk_opts *opts, char *why)
{
    unsigned block = disk->block_bytes;
    uint64_t bytes = 0;
    int err = hv_store_file_size(file->fd, &bytes, &file->is_block_device);

    if (err) {
        hv_disk_why(why, "%s: %s", opts->path,
                    err == -EISDIR || err == -ENOTBLK
                        ? "is neither a regular file nor a block device"
                        : strerror(-err));
        return err == -EISDIR || err == -ENOTBLK ? -EINVAL : err;
    }
    if (!bytes && opts->bytes && !opts->read_only && !file->is_block_device) {
        if (ftruncate(file->fd, (off_t)opts->bytes)) {
            err = errno == EFBIG ? -ENOSPC : -errno;
            hv_disk_why(why, "%s: cannot be created with %llu bytes: %s", opts->path,
                        (unsigned long long)opts->bytes, strerror(errno));
            return err;
        }
        bytes = opts->bytes;
    }
    if (opts->bytes && bytes != opts->bytes) {
        hv_disk_why(why,
                    "%s: the image has %llu bytes, %llu were asked for; leave the size out to use "
                    "it as it is",
                    opts->path, (unsigned long long)bytes, (unsigned long long)opts->bytes);
        return -EINVAL;
    }
    if (bytes < block || (bytes & (block - 1))) {
        uint64_t below = bytes & ~((uint64_t)block - 1);

        hv_disk_why(why,
                    "%s: %llu bytes is no multiple of the block of %u bytes; the nearest sizes are "
                    "%llu and %llu",
                    opts->path, (unsigned long long)bytes, block,
                    (unsigned long long)(below ? below : block),
                    (unsigned long long)(below ? below + block : 2ull * block));
        return -EINVAL;
    }
    disk->bytes = bytes;
    return 0;
}

static void choose_way(struct hv_disk *disk, struct hv_store_file *file,
                       const struct hv_disk_opts *opts)
{
    io_context_t probe = NULL;
    int err;

    disk->ops = &hv_store_buffered_ops;
    if (opts->buffered || !hv_store_file_try_direct(disk, file, opts->path))
        return;
    err = io_setup(1, &probe);
    if (err == -ENOSYS || err == -EPERM) { /* a sandbox without asynchronous I/O */
        (void)fcntl(file->fd, F_SETFL, fcntl(file->fd, F_GETFL) & ~O_DIRECT);
        hv_log(&disk->log, HV_LOG_WARNING,
               "%s: no asynchronous I/O here (%s); using the page cache", opts->path,
               strerror(-err));
        return;
    }
    if (!err)
        (void)io_destroy(probe);
    disk->ops = &hv_store_aio_ops;
    disk->direct = true;
}

int hv_store_file_open(struct hv_disk *disk, const struct hv_disk_opts *opts, char *why)
{
    struct hv_store_file *file = calloc(1, sizeof(*file));
    bool created = false;
    int err;

    if (!file) {
        hv_disk_why(why, "%s: out of memory", opts->path);
        return -ENOMEM;
    }
    disk->store = file;
    err = open_image(file, opts, &created, why);
    if (!err) {
        err = lock_image(file, opts, why);
        created = created && !err; /* whoever was quicker with the lock uses the file already */
    }
    if (!err)
        err = size_image(disk, file, opts, why);
    if (err) {
        if (created)
            (void)unlink(opts->path);
        hv_store_file_close(disk);
        return err;
    }
    choose_way(disk, file, opts);
    hv_store_file_probe_discard(disk, file);
    disk->thin = !opts->no_thin && (file->punch_hole || file->block_discard);
    disk->discard_zeroes = file->punch_hole;
    disk->physical_bytes = disk->block_bytes > 4096 ? disk->block_bytes : 4096;
    if (!disk->thin && !opts->no_thin)
        hv_log(&disk->log, HV_LOG_INFO, "%s: no discard below; the disk is fully provisioned",
               opts->path);
    return 0;
}
