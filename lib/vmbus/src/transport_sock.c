/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket transport: connect, say hello, wait for answers.  Specification: docs/socket-transport.md. */
#include "sock_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <hv/base/clock.h>

/** Guest memory starts at 16 MiB; page 0 means "none" to VMBus. */
#define FIRST_PFN 0x1000u
/** Frames that one poll handles at most, so that a host that never stops sending does not hold us. */
#define FRAMES_PER_POLL 256u

uint64_t hv_sock_deadline(const struct hv_sock *sock)
{
    return hv_clock_ns() + sock->bus->opts.timeout_ms * UINT64_C(1000000);
}

/* ---- Frames in ---- */

void hv_sock_answer(struct hv_sock *sock, uint32_t kind, uint64_t key, int64_t status)
{
    struct hv_reply *want = sock->want;

    if (want && !want->done && want->kind == kind && want->key == key) {
        want->done = true;
        want->status = status;
        return;
    }
    hv_log(&sock->bus->opts.log, HV_LOG_WARNING,
           "answer to a question that was not asked, or given up: type %u, key 0x%llx", kind,
           (unsigned long long)key);
}

static void on_hello(struct hv_sock *sock, const struct hv_sock_hello *hello)
{
    char name[sizeof(hello->name) + 1] = {0};

    if (sock->hello_done || hello->magic != HV_SOCK_MAGIC) {
        hv_sock_lose(sock, -EPROTO, sock->hello_done ? "second hello" : "hello without its magic");
        return;
    }
    memcpy(name, hello->name, sizeof(hello->name));
    hv_sock_clean_text(name);
    sock->hello_done = true;
    hv_log(&sock->bus->opts.log, HV_LOG_INFO, "host \"%s\", socket protocol %u", name,
           hello->version);
    hv_sock_answer(sock, HV_REPLY_HELLO, 0, hello->version);
}

static void on_memory_result(struct hv_sock *sock, const struct hv_sock_memory_result *result)
{
    bool wanted =
        sock->want && sock->want->kind == HV_REPLY_MEMORY && sock->want->key == result->first_pfn;

    if (!wanted && sock->removes)
        sock->removes--; /* nobody waits for these: see hv_sock_memory_remove() */
    else
        hv_sock_answer(sock, HV_REPLY_MEMORY, result->first_pfn, result->error);
}

static void dispatch(struct hv_sock *sock, struct hv_sock_frame *frame)
{
    if (frame->hdr.type == HV_SOCK_GOODBYE) {
        hv_sock_goodbye(sock, frame);
        return;
    }
    if (!sock->hello_done && frame->hdr.type != HV_SOCK_HELLO) {
        hv_sock_lose(sock, -EPROTO, "frame of type %u before hello", frame->hdr.type);
        return;
    }
    switch (frame->hdr.type) {
    case HV_SOCK_HELLO:
        on_hello(sock, &frame->hello);
        break;
    case HV_SOCK_MEMORY_RESULT:
        on_memory_result(sock, &frame->memory_result);
        break;
    default: /* hv_sock_receive() let nothing else pass */
        hv_connection_dispatch(sock, frame);
        break;
    }
}

/** One frame.  0, -EAGAIN, -ENODEV. */
static int handle_one(struct hv_sock *sock)
{
    struct hv_sock_frame frame;
    int err = hv_sock_receive(sock, &frame);

    if (err)
        return err;
    dispatch(sock, &frame);
    hv_sock_close_fds(&frame);
    return sock->fd < 0 ? -ENODEV : 0;
}

/** Until something can be read or the deadline is over. */
static int wait_readable(const struct hv_sock *sock, uint64_t deadline_ns)
{
    struct pollfd pfd = {.fd = sock->fd, .events = POLLIN};
    uint64_t now_ns = hv_clock_ns();
    struct timespec left;

    if (now_ns >= deadline_ns)
        return -ETIMEDOUT;
    left.tv_sec = (time_t)((deadline_ns - now_ns) / 1000000000u);
    left.tv_nsec = (long)((deadline_ns - now_ns) % 1000000000u);
    (void)ppoll(&pfd, 1, &left, NULL); /* interrupted or late: the caller looks again */
    return 0;
}

int hv_sock_wait(struct hv_sock *sock, struct hv_reply *want, uint64_t deadline_ns)
{
    int err = 0;

    if (want->offer && want->offer->rescinded)
        return -ENODEV;
    sock->want = want;
    while (!err && !want->done) {
        err = handle_one(sock);
        if (err == -EAGAIN)
            err = wait_readable(sock, deadline_ns);
        else if (!err && hv_clock_ns() >= deadline_ns)
            err = -ETIMEDOUT; /* a host that talks without end but never answers */
    }
    sock->want = NULL;
    if (want->rescinded)
        return -ENODEV;
    if (want->done)
        return 0;
    if (err == -ETIMEDOUT)
        hv_log(&sock->bus->opts.log, HV_LOG_ERROR, "host does not answer (question %u)",
               want->kind);
    return err;
}

/* ---- Connect ---- */

static int connect_path(struct hv_sock *sock, const char *path)
{
    const struct hv_vmbus *bus = sock->bus;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {
        .tv_sec = (time_t)(bus->opts.timeout_ms / 1000),
        .tv_usec = (suseconds_t)(bus->opts.timeout_ms % 1000) * 1000,
    };
    int err = 0;

    if (!*path || strlen(path) >= sizeof(address.sun_path)) {
        hv_log(&bus->opts.log, HV_LOG_ERROR, "unix:%s: a socket path has 1 to %zu characters", path,
               sizeof(address.sun_path) - 1);
        return -EINVAL;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    sock->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock->fd < 0)
        return -errno;
    /* connect() waits while the host's queue is full: not longer than for any other answer */
    if (setsockopt(sock->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
        connect(sock->fd, (const struct sockaddr *)&address, sizeof(address)))
        err = errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (err)
        hv_log(&bus->opts.log, HV_LOG_ERROR, "unix:%s: connect: %s", path, strerror(-err));
    return err;
}

/** "7" -> 7, when that is a socket of the right kind; else -EINVAL. */
static int parse_fd(const char *number)
{
    int domain = 0, type = 0;
    socklen_t length = sizeof(int);
    char *end;
    long fd;

    errno = 0;
    fd = strtol(number, &end, 10);
    if (*number < '0' || *number > '9' || *end || errno || fd > INT32_MAX)
        return -EINVAL;
    if (getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) ||
        getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &length) || domain != AF_UNIX ||
        type != SOCK_SEQPACKET)
        return -EINVAL;
    return (int)fd;
}

static int take_fd(struct hv_sock *sock, const char *number)
{
    int fd = parse_fd(number);

    if (fd < 0) {
        hv_log(&sock->bus->opts.log, HV_LOG_ERROR, "fd:%s: no Unix socket of type SOCK_SEQPACKET",
               number);
        return fd;
    }
    sock->fd = fd;
    return fcntl(sock->fd, F_SETFD, FD_CLOEXEC) ? -errno : 0;
}

void hv_sock_abandon(const char *address)
{
    char number[16];
    const char *comma;
    int fd;

    if (strncmp(address, "fd:", 3))
        return;
    address += 3;
    comma = strchrnul(address, ',');
    if ((size_t)(comma - address) >= sizeof(number))
        return;
    memcpy(number, address, (size_t)(comma - address));
    number[comma - address] = '\0';
    fd = parse_fd(number);
    if (fd >= 0)
        (void)close(fd);
}

static int say_hello(struct hv_sock *sock)
{
    uint64_t deadline_ns = hv_sock_deadline(sock);
    struct hv_reply reply = {.kind = HV_REPLY_HELLO};
    struct hv_sock_hello hello = {
        .hdr.type = HV_SOCK_HELLO,
        .magic = HV_SOCK_MAGIC,
        .version = HV_SOCK_VERSION,
    };
    int err;

    (void)snprintf((char *)hello.name, sizeof(hello.name), "libvmbus, process %ld", (long)getpid());
    err = hv_sock_send(sock, &hello.hdr, sizeof(hello), -1, deadline_ns);
    if (!err)
        err = hv_sock_wait(sock, &reply, deadline_ns);
    if (err)
        return err;
    if (reply.status == HV_SOCK_VERSION)
        return 0;
    hv_log(&sock->bus->opts.log, HV_LOG_ERROR, "host speaks socket protocol %lld, we speak %u",
           (long long)reply.status, HV_SOCK_VERSION);
    return -EPROTONOSUPPORT;
}

static int start(struct hv_sock *sock)
{
    int err = say_hello(sock);

    if (!err)
        err = hv_sock_monitor_create(sock);
    if (!err)
        err = hv_connection_negotiate(sock, sock->bus->opts.max_version);
    if (!err)
        err = hv_connection_request_offers(sock);
    if (err == -ENODEV && sock->bus->gone)
        err = sock->bus->gone; /* -EPROTO says more */
    return err == -ENODEV && !sock->hello_done ? -ECONNREFUSED : err;
}

static void destroy(struct hv_sock *sock)
{
    hv_sock_hang_up(sock);
    hv_sock_monitor_destroy(sock);
    sock->bus->transport = NULL;
    free(sock);
}

static int sock_open(struct hv_vmbus *bus, const char *where)
{
    struct hv_sock *sock = calloc(1, sizeof(*sock));
    int err;

    if (!sock) {
        hv_sock_abandon(where);
        return -ENOMEM;
    }
    sock->bus = bus;
    sock->fd = -1;
    sock->next_pfn = FIRST_PFN;
    sock->next_gpadl = HV_GPADL_FIRST;
    sock->next_open_id = 1;
    sock->post_to = HV_CONNECTION_MESSAGES;
    bus->transport = sock;
    if (!strncmp(where, "fd:", 3))
        err = take_fd(sock, where + 3);
    else
        err = connect_path(sock, where + strlen("unix:"));
    if (!err)
        err = start(sock);
    if (err) {
        destroy(sock);
        return err;
    }
    hv_log(&bus->opts.log, HV_LOG_INFO, "connected: VMBus %u.%u, %zu channels offered",
           sock->version >> 16, sock->version & 0xffffu, bus->offer_count);
    return 0;
}

static void sock_close(struct hv_vmbus *bus)
{
    struct hv_sock *sock = bus->transport;

    if (sock->fd >= 0)
        hv_connection_unload(sock);
    destroy(sock);
}

/* ---- The other operations ---- */

static int sock_fd(const struct hv_vmbus *bus)
{
    const struct hv_sock *sock = bus->transport;

    return sock->fd;
}

static void sock_poll(struct hv_vmbus *bus)
{
    for (unsigned i = 0; i < FRAMES_PER_POLL; i++)
        if (handle_one(bus->transport))
            return;
}

static int sock_wait(struct hv_vmbus *bus, uint64_t deadline_ns)
{
    int err = handle_one(bus->transport);

    if (!err && hv_clock_ns() >= deadline_ns)
        return -ETIMEDOUT; /* a host that talks without end */
    if (err != -EAGAIN)
        return err;
    err = wait_readable(bus->transport, deadline_ns);
    if (err)
        return err;
    err = handle_one(bus->transport);
    return err == -EAGAIN ? 0 : err;
}

static uint32_t sock_version(const struct hv_vmbus *bus)
{
    const struct hv_sock *sock = bus->transport;

    return sock->version;
}

static int sock_release_offer(struct hv_vmbus *bus, struct hv_offer *offer)
{
    struct hv_msg_relid released = {
        .hdr.type = HV_MSG_RELID_RELEASED,
        .relid = offer->relid,
    };

    return hv_connection_post(bus->transport, &released, sizeof(released), 0) == -EAGAIN ? -EAGAIN
                                                                                         : 0;
}

static void sock_forget_offer(struct hv_offer *offer)
{
    if (offer->signal_fd >= 0)
        (void)close(offer->signal_fd);
    if (offer->event_fd >= 0)
        (void)close(offer->event_fd);
    offer->signal_fd = -1;
    offer->event_fd = -1;
}

const struct hv_transport_ops hv_transport_sock = {
    .open = sock_open,
    .close = sock_close,
    .fd = sock_fd,
    .poll = sock_poll,
    .wait = sock_wait,
    .version = sock_version,
    .release_offer = sock_release_offer,
    .forget_offer = sock_forget_offer,
    .channel_open = hv_sock_channel_open,
    .channel_close = hv_sock_channel_close,
    .channel_set_target = hv_sock_channel_set_target,
    .share = hv_sock_channel_share,
    .unshare = hv_sock_channel_unshare,
    .signal = hv_sock_channel_signal,
    .drain = hv_sock_channel_drain,
    .wake = hv_sock_channel_wake,
    .dma_alloc = hv_sock_dma_alloc,
    .dma_register = hv_sock_dma_register,
    .dma_free = hv_sock_dma_free,
};
