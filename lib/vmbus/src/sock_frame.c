/* SPDX-License-Identifier: BSD-3-Clause */
/* One datagram is one frame: sending with a bound, receiving with every check of docs/socket-transport.md section 2. */
#include "sock_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hv/base/clock.h>

/** Room for more descriptors than any frame brings: what exceeds even this the kernel closes (MSG_CTRUNC). */
#define FDS_RECEIVED 8u
/** How far we look for a GOODBYE when the host does not read any more. */
#define FRAMES_AFTER_END 256u

void hv_sock_clean_text(char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            *text = '?';
}

void hv_sock_close_fds(struct hv_sock_frame *frame)
{
    while (frame->fd_count)
        (void)close(frame->fds[--frame->fd_count]);
}

void hv_sock_hang_up(struct hv_sock *sock)
{
    if (sock->fd < 0)
        return;
    (void)shutdown(sock->fd,
                   SHUT_RDWR); /* a copy of the descriptor may live on in a child process */
    (void)close(sock->fd);
    sock->fd = -1;
}

void hv_sock_lose(struct hv_sock *sock, int error, const char *format, ...)
{
    char reason[HV_SOCK_FRAME_MAX_BYTES];
    va_list args;

    if (sock->fd < 0)
        return;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof(reason), format, args); /* cut is fine */
    va_end(args);
    hv_log(&sock->bus->opts.log, HV_LOG_ERROR, "host lost: %s", reason);
    hv_bus_mark_gone(sock->bus, error);
    hv_sock_hang_up(sock);
}

/* ---- Receive ---- */

/** Descriptors out of the control data; those that no frame can carry are closed.  Returns how many came. */
static size_t take_fds(struct msghdr *msg, struct hv_sock_frame *frame)
{
    size_t came = 0;

    frame->fd_count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            came++;
            if (frame->fd_count < HV_SOCK_FDS_MAX)
                frame->fds[frame->fd_count++] = fd;
            else
                (void)close(fd);
        }
    }
    return came;
}

static const struct {
    uint16_t type;
    uint16_t min_bytes;
    uint16_t max_bytes;
    uint16_t max_fds;
} shapes[] = {
    {HV_SOCK_HELLO, sizeof(struct hv_sock_hello), sizeof(struct hv_sock_hello), 0},
    {HV_SOCK_MEMORY_RESULT, sizeof(struct hv_sock_memory_result),
     sizeof(struct hv_sock_memory_result), 0},
    {HV_SOCK_MESSAGE, sizeof(struct hv_sock_message) + sizeof(struct hv_msg_header),
     sizeof(struct hv_sock_message) + HV_MESSAGE_MAX_BYTES, HV_SOCK_FDS_MAX},
    {HV_SOCK_GOODBYE, sizeof(struct hv_sock_header),
     sizeof(struct hv_sock_header) + HV_SOCK_GOODBYE_TEXT_MAX_BYTES, 0},
};

/** What is wrong with a frame, or NULL. */
static const char *check_shape(const struct hv_sock_frame *frame, size_t fds_came)
{
    if (frame->length < sizeof(frame->hdr))
        return "frame shorter than its header";
    if (frame->hdr.length_bytes != frame->length)
        return "frame of wrong length";
    if (frame->hdr.flags)
        return "frame with unknown flags";
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (shapes[i].type != frame->hdr.type)
            continue;
        if (frame->length < shapes[i].min_bytes || frame->length > shapes[i].max_bytes)
            return "frame too short or too long for its type";
        return fds_came > shapes[i].max_fds ? "frame with too many descriptors" : NULL;
    }
    return "frame of unknown type";
}

static int check_frame(struct hv_sock *sock, struct hv_sock_frame *frame, int msg_flags,
                       size_t fds_came)
{
    const char *why = check_shape(frame, fds_came);

    if (msg_flags & MSG_TRUNC)
        why = "frame longer than 512 bytes";
    else if (msg_flags & MSG_CTRUNC)
        why = "descriptors lost: too many sent, or our limit of open files reached";
    if (!why)
        return 0;
    hv_sock_close_fds(frame);
    hv_sock_lose(sock, -EPROTO, "%s (type %u, %zu bytes, %zu descriptors)", why,
                 frame->length >= sizeof(frame->hdr) ? frame->hdr.type : 0u, frame->length,
                 fds_came);
    return -ENODEV;
}

static ssize_t receive_once(int fd, struct hv_sock_frame *frame, int *ret_flags, size_t *ret_fds)
{
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(FDS_RECEIVED * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = frame->bytes, .iov_len = sizeof(frame->bytes)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t got;

    do
        got = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got >= 0) {
        *ret_flags = msg.msg_flags;
        *ret_fds = take_fds(&msg, frame);
    }
    return got;
}

int hv_sock_receive(struct hv_sock *sock, struct hv_sock_frame *ret_frame)
{
    size_t fds_came = 0;
    int msg_flags = 0;
    ssize_t got;

    if (sock->fd < 0)
        return -ENODEV;
    got = receive_once(sock->fd, ret_frame, &msg_flags, &fds_came);
    if (got < 0 && errno == ECONNRESET) /* reported once, before what the host sent last */
        got = receive_once(sock->fd, ret_frame, &msg_flags, &fds_came);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return -EAGAIN;
    if (got < 0) {
        hv_sock_lose(sock, -ENODEV, "receive: %s", strerror(errno));
        return -ENODEV;
    }
    if (!got && !fds_came) { /* no frame is empty, so this is the end */
        hv_sock_lose(sock, -ENODEV, "it closed the connection");
        return -ENODEV;
    }
    ret_frame->length = (size_t)got;
    return check_frame(sock, ret_frame, msg_flags, fds_came);
}

/* ---- Send ---- */

void hv_sock_goodbye(struct hv_sock *sock, const struct hv_sock_frame *frame)
{
    char text[HV_SOCK_GOODBYE_TEXT_MAX_BYTES + 1];
    size_t length = frame->length - sizeof(frame->hdr);

    memcpy(text, frame->bytes + sizeof(frame->hdr), length);
    text[length] = '\0';
    hv_sock_clean_text(text);
    hv_sock_lose(sock, -ENODEV, "it says: %s", text);
}

/** The host hung up while we send: it may have said why. */
static int lost_while_sending(struct hv_sock *sock, int error)
{
    struct hv_sock_frame frame;

    for (unsigned i = 0; i < FRAMES_AFTER_END && !hv_sock_receive(sock, &frame); i++) {
        hv_sock_close_fds(&frame);
        if (frame.hdr.type == HV_SOCK_GOODBYE)
            hv_sock_goodbye(sock, &frame);
    }
    hv_sock_lose(sock, -ENODEV, "send: %s", strerror(error));
    return -ENODEV;
}

static ssize_t send_once(int socket, const void *frame, size_t length, int fd)
{
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_len = length};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    memcpy(&iov.iov_base, &frame, sizeof(frame)); /* sendmsg() only reads it */
    if (fd >= 0) {
        struct cmsghdr *c = &control.align;

        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    return sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/** 0 when there is room, or -ETIMEDOUT. */
static int wait_for_room(int socket, uint64_t deadline_ns)
{
    struct pollfd pfd = {.fd = socket, .events = POLLOUT};

    for (;;) {
        uint64_t now_ns = hv_clock_ns();
        struct timespec left;

        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        left.tv_sec = (time_t)((deadline_ns - now_ns) / 1000000000u);
        left.tv_nsec = (long)((deadline_ns - now_ns) % 1000000000u);
        if (ppoll(&pfd, 1, &left, NULL) > 0)
            return 0; /* or an error, which sendmsg() will name */
    }
}

int hv_sock_send(struct hv_sock *sock, struct hv_sock_header *frame, size_t length, int fd,
                 uint64_t deadline_ns)
{
    frame->length_bytes = (uint32_t)length;
    while (sock->fd >= 0) {
        if (send_once(sock->fd, frame, length, fd) >= 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return lost_while_sending(sock, errno);
        if (!deadline_ns)
            return -EAGAIN;
        if (wait_for_room(sock->fd, deadline_ns))
            return -ETIMEDOUT;
    }
    return -ENODEV;
}
