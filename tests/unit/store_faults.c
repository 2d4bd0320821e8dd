/* SPDX-License-Identifier: BSD-3-Clause */
#include "store_faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

struct store_faults store_faults;

static int fail(int error)
{
    errno = error;
    return -1;
}

/* First pieces of at most most_bytes. */
static int shorten(const struct iovec *iov, int count, struct iovec *to)
{
    size_t left = store_faults.most_bytes;
    int n = 0;

    while (n < count && left) {
        to[n] = iov[n];
        if (to[n].iov_len > left)
            to[n].iov_len = left;
        left -= to[n++].iov_len;
    }
    return n;
}

ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
    ssize_t (*next)(int, const struct iovec *, int, off_t) = dlsym(RTLD_NEXT, "preadv");
    struct iovec less[64];

    store_faults.reads++;
    if (store_faults.read_errno)
        return fail(store_faults.read_errno);
    if (store_faults.most_bytes && count <= 64) {
        count = shorten(iov, count, less);
        iov = less;
    }
    return next(fd, iov, count, offset);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    ssize_t (*next)(int, const struct iovec *, int, off_t, int) = dlsym(RTLD_NEXT, "pwritev2");
    struct iovec less[64];

    if ((flags & RWF_DSYNC) && store_faults.dsync_errno)
        return fail(store_faults.dsync_errno);
    store_faults.writes++;
    store_faults.durable_writes += (flags & RWF_DSYNC) != 0;
    if (store_faults.write_errno)
        return fail(store_faults.write_errno);
    if (store_faults.most_bytes && count <= 64) {
        count = shorten(iov, count, less);
        iov = less;
    }
    return next(fd, iov, count, offset, flags);
}

int fdatasync(int fd)
{
    int (*next)(int) = dlsym(RTLD_NEXT, "fdatasync");

    store_faults.syncs++;
    return store_faults.sync_errno ? fail(store_faults.sync_errno) : next(fd);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    int (*next)(int, int, off_t, off_t) = dlsym(RTLD_NEXT, "fallocate");

    store_faults.holes++;
    return store_faults.fallocate_errno ? fail(store_faults.fallocate_errno)
                                        : next(fd, mode, offset, length);
}

int fcntl(int fd, int command, ...)
{
    int (*next)(int, int, ...) = dlsym(RTLD_NEXT, "fcntl");
    va_list args;
    void *argument;

    va_start(args, command);
    argument = va_arg(args, void *); /* as wide as whatever there is, or not looked at */
    va_end(args);
    if (command == F_OFD_SETLK && store_faults.lock_errno)
        return fail(store_faults.lock_errno);
    return next(fd, command, argument);
}

/* Make it a request that the kernel takes and fails: four bytes of an eventfd come back as EINVAL. */
static void doom(struct iocb *iocb)
{
    static char buffer[8];
    static int fd = -1;

    if (fd < 0)
        fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    iocb->aio_lio_opcode = IO_CMD_PREAD;
    iocb->aio_fildes = fd;
    iocb->aio_rw_flags = 0;
    iocb->u.c.buf = buffer;
    iocb->u.c.nbytes = 4;
    iocb->u.c.offset = 0;
}

static void spoil(struct iocb *iocb)
{
    bool writing = iocb->aio_lio_opcode == IO_CMD_PWRITE || iocb->aio_lio_opcode == IO_CMD_PWRITEV;
    bool vector = iocb->aio_lio_opcode == IO_CMD_PREADV || iocb->aio_lio_opcode == IO_CMD_PWRITEV;

    if (iocb->aio_lio_opcode == IO_CMD_FDSYNC) {
        store_faults.syncs++;
        if (store_faults.sync_errno)
            doom(iocb);
        return;
    }
    if (writing) {
        store_faults.writes++;
        store_faults.durable_writes += (iocb->aio_rw_flags & RWF_DSYNC) != 0;
    } else {
        store_faults.reads++;
    }
    if (writing ? store_faults.write_errno : store_faults.read_errno)
        doom(iocb);
    else if (store_faults.most_bytes && vector)
        iocb->u.c.nbytes = 1; /* pieces */
    else if (store_faults.most_bytes && iocb->u.c.nbytes > store_faults.most_bytes)
        iocb->u.c.nbytes = store_faults.most_bytes;
}

int io_submit(io_context_t context, long count, struct iocb **iocbs)
{
    int (*next)(io_context_t, long, struct iocb **) = dlsym(RTLD_NEXT, "io_submit");

    store_faults.submits++;
    if (store_faults.submit_errno_count > 0) {
        store_faults.submit_errno_count--;
        return -store_faults.submit_errno;
    }
    for (long i = 0; i < count; i++)
        spoil(iocbs[i]);
    return next(context, count, iocbs);
}
