/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Signals over event descriptors that the host made and shares.  Neither reading nor writing may ever block us, and
 * O_NONBLOCK belongs to the description that the host can change at any moment: docs/socket-transport.md, section 6.
 */
#include "sock_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

bool hv_event_is_eventfd(int fd)
{
    static const char want[] = "anon_inode:[eventfd]";
    char path[32], target[64];
    ssize_t length;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    length = readlink(path, target, sizeof(target));
    if (length < 0)
        return true; /* no /proc: nothing is known; a wrong descriptor only costs the host its signals */
    return (size_t)length == strlen(want) && !memcmp(target, want, strlen(want));
}

static bool ready(int fd, short events)
{
    struct pollfd pfd = {.fd = fd, .events = events};

    return poll(&pfd, 1, 0) == 1 && (pfd.revents & events);
}

void hv_event_raise(int fd)
{
    const uint64_t one = 1;

    if (!ready(fd, POLLOUT))
        return; /* the counter is full: a signal is pending already */
    if (write(fd, &one, sizeof(one)) < 0)
        return; /* EAGAIN: the same */
}

bool hv_event_drain(int fd)
{
    uint64_t count = 0;
    struct iovec iov = {.iov_base = &count, .iov_len = sizeof(count)};
    ssize_t got = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

    if (got < 0 && errno == EOPNOTSUPP && ready(fd, POLLIN)) /* before Linux 5.8 */
        got = read(fd, &count, sizeof(count));
    return got == (ssize_t)sizeof(count);
}
