/* SPDX-License-Identifier: BSD-3-Clause */
#include "pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

int pid_file_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644), ret;

    if (fd < 0)
        return -errno;
    if (!flock(fd, LOCK_EX | LOCK_NB))
        return fd;
    ret = errno == EWOULDBLOCK ? -EBUSY : -errno;
    (void)close(fd);
    return ret;
}

int pid_file_write(int fd)
{
    if (ftruncate(fd, 0) || dprintf(fd, "%d\n", (int)getpid()) < 0)
        return -errno;
    return 0;
}

void pid_file_close(int fd, const char *path)
{
    if (fd < 0)
        return;
    (void)unlink(path); /* before the lock goes, so that no successor's file is removed */
    (void)close(fd);
}
