/* SPDX-License-Identifier: BSD-3-Clause */
/* What an image is and what its file system or device can do. */
#include "disk_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/log.h>

int hv_store_file_size(int fd, uint64_t *ret_bytes, bool *ret_is_block_device)
{
    struct stat st;
    uint64_t bytes;

    if (fstat(fd, &st))
        return -errno;
    if (S_ISREG(st.st_mode)) {
        bytes = (uint64_t)st.st_size;
    } else if (S_ISBLK(st.st_mode)) {
        if (ioctl(fd, BLKGETSIZE64, &bytes))
            return -errno;
    } else {
        return S_ISDIR(st.st_mode) ? -EISDIR : -ENOTBLK;
    }
    *ret_bytes = bytes;
    *ret_is_block_device = S_ISBLK(st.st_mode);
    return 0;
}

/* Alignments of direct I/O.  Kernels before 6.1 do not tell; then the device's or the file system's block is safe. */
static bool direct_alignment(struct hv_store_file *file)
{
    struct stat st;
    int sector = 0;
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN)) {
        file->memory_align = stx.stx_dio_mem_align;
        file->offset_align = stx.stx_dio_offset_align;
        return file->offset_align != 0;
    }
#endif
    if (file->is_block_device && ioctl(file->fd, BLKSSZGET, &sector) == 0 && sector > 0)
        file->offset_align = (uint32_t)sector;
    else if (fstat(file->fd, &st) == 0 && st.st_blksize > 0 && st.st_blksize <= 65536)
        file->offset_align = (uint32_t)st.st_blksize;
    else
        file->offset_align = 4096;
    file->memory_align = file->offset_align;
    return true;
}

bool hv_store_file_try_direct(struct hv_disk *disk, struct hv_store_file *file, const char *path)
{
    struct statfs fs;
    int flags = fcntl(file->fd, F_GETFL);

    /* tmpfs takes O_DIRECT since Linux 6.6 and ignores it. */
    if ((fstatfs(file->fd, &fs) == 0 && !file->is_block_device && fs.f_type == TMPFS_MAGIC) ||
        flags < 0 || fcntl(file->fd, F_SETFL, flags | O_DIRECT)) {
        hv_log(&disk->log, HV_LOG_WARNING,
               "%s: the file system refuses O_DIRECT; using the page cache", path);
        return false;
    }
    if (!direct_alignment(file)) {
        hv_log(&disk->log, HV_LOG_WARNING,
               "%s: the file system has no direct I/O for this file; using the page cache", path);
    } else if (!hv_is_power_of_two(file->offset_align) || !hv_is_power_of_two(file->memory_align) ||
               file->memory_align > HV_DISK_BOUNCE_BYTES ||
               file->offset_align > disk->block_bytes) {
        hv_log(&disk->log, HV_LOG_WARNING,
               "%s: direct I/O here works in units of %u bytes, the disk's blocks have %u; "
               "using the page cache",
               path, file->offset_align, disk->block_bytes);
    } else {
        return true;
    }
    (void)fcntl(file->fd, F_SETFL, flags);
    return false;
}

static FILE *open_limit(const char *folder, dev_t device, const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s", major(device),
                   minor(device), folder, name);
    return fopen(path, "re");
}

/* One number from the request queue's limits of a block device, or of the device that holds a partition. */
static uint64_t queue_limit(dev_t device, const char *name)
{
    FILE *f = open_limit("", device, name);
    unsigned long long value = 0;

    if (!f)
        f = open_limit("../", device, name);
    if (!f)
        return 0;
    if (fscanf(f, "%llu", &value) != 1)
        value = 0;
    (void)fclose(f);
    return value;
}

/*
 * Regular file: punching a hole behind the end is harmless and tells.  Block device: punching a hole is a discard that
 * zeroes, and works where the device can write zeroes; BLKDISCARD alone promises nothing about the contents.
 */
void hv_store_file_probe_discard(struct hv_disk *disk, struct hv_store_file *file)
{
    struct stat st;

    if (fstat(file->fd, &st))
        return;
    if (file->is_block_device) {
        bool discards = queue_limit(st.st_rdev, "discard_max_bytes") != 0;

        file->punch_hole = discards && queue_limit(st.st_rdev, "write_zeroes_max_bytes") != 0;
        file->block_discard = discards && !file->punch_hole;
        return;
    }
    file->punch_hole =
        disk->read_only || fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     st.st_size, disk->block_bytes) == 0;
}
