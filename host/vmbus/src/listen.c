/* SPDX-License-Identifier: BSD-3-Clause */
/* Socket guests come and go: listening, accepting, hanging up. */
#include "sock_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/clock.h>

#define ACCEPTS_PER_POLL 16
#define ACCEPT_RETRY_NS  200000000ull
#define DRAIN_MAX        4096

/* ---- Hanging up ---- */

static void send_goodbye(const struct hv_host_sock *sock, const char *why)
{
    union {
        struct hv_sock_header hdr;
        uint8_t bytes[sizeof(struct hv_sock_header) + HV_SOCK_GOODBYE_TEXT_MAX_BYTES];
    } frame = {.hdr = {.type = HV_SOCK_GOODBYE}};
    size_t text = hv_min_u64(strlen(why), HV_SOCK_GOODBYE_TEXT_MAX_BYTES);

    frame.hdr.length_bytes = (uint32_t)(sizeof(frame.hdr) + text);
    memcpy(frame.bytes + sizeof(frame.hdr), why, text);
    (void)send(sock->fd, &frame, frame.hdr.length_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void hv_host_sock_close(struct hv_host_sock *sock)
{
    char nothing[1];

    if (sock->fd < 0)
        return;
    /* what is unread would reset the connection, and the guest would see that before our GOODBYE */
    (void)shutdown(sock->fd, SHUT_RDWR);
    for (int i = 0; i < DRAIN_MAX; i++) {
        if (recv(sock->fd, nothing, sizeof(nothing), MSG_DONTWAIT | MSG_TRUNC) <= 0)
            break;
    }
    hv_host_unwatch(sock->host, sock->fd);
    (void)close(sock->fd);
    sock->fd = -1;
}

void hv_host_sock_hang_up(struct hv_host_sock *sock, const char *why)
{
    if (sock->fd >= 0 && why[0])
        send_goodbye(sock, why); /* behind a full queue it is lost: that guest does not read */
    hv_host_sock_close(sock);
}

void hv_host_sock_reject(struct hv_host_sock *sock, const char *why)
{
    hv_log(&sock->host->opts.log, HV_LOG_WARNING, "connection refused: %s", why);
    hv_host_sock_hang_up(sock, why);
}

void hv_host_sock_lost(struct hv_host_sock *sock)
{
    if (sock->guest)
        hv_host_guest_lost(sock->guest); /* hangs up in turn */
    else
        hv_host_sock_close(sock);
}

static void free_sock(struct hv_host_sock *sock)
{
    struct hv_host_sockets *sockets = sock->host->sockets;
    struct hv_host_sock_frame *frame;

    hv_host_sock_close(sock);
    while ((frame = TAILQ_FIRST(&sock->queue))) {
        TAILQ_REMOVE(&sock->queue, frame, entry);
        for (size_t i = 0; i < frame->fd_count; i++)
            (void)close(frame->fds[i]);
        free(frame);
    }
    TAILQ_REMOVE(&sockets->list, sock, entry);
    sockets->count--;
    free(sock);
}

/* ---- Coming ---- */

int hv_host_adopt(struct hv_host *host, int fd)
{
    struct hv_host_sockets *sockets = host->sockets;
    struct hv_host_sock *sock;
    int err;

    if (fd < 0)
        return -EBADF;
    sock = calloc(1, sizeof(*sock));
    if (!sock) {
        (void)close(fd);
        return -ENOMEM;
    }
    sock->source.ready = hv_host_sock_ready;
    sock->host = host;
    sock->fd = fd;
    sock->deadline_ns = hv_clock_ns() + HV_SOCK_HELLO_NS;
    TAILQ_INIT(&sock->queue);
    TAILQ_INSERT_TAIL(&sockets->list, sock, entry);
    sockets->count++;
    if (sockets->count > host->opts.max_guests) {
        hv_host_sock_reject(sock, "the host serves as many guests as it may");
        free_sock(sock);
        return -EUSERS;
    }
    err = hv_host_watch(host, fd, EPOLLIN | EPOLLRDHUP, &sock->source);
    if (err)
        free_sock(sock);
    return err;
}

/** Out of descriptors: a listener that stays ready would spin. */
static void stop_accepting(struct hv_host_sockets *sockets, int err)
{
    hv_log(&sockets->host->opts.log, HV_LOG_WARNING, "cannot accept a guest: %s", strerror(-err));
    hv_host_rewatch(sockets->host, sockets->listen_fd, 0, &sockets->listen_source);
    sockets->resume_ns = hv_clock_ns() + ACCEPT_RETRY_NS;
}

static void accept_guests(struct hv_host_source *source, uint32_t events)
{
    struct hv_host_sockets *sockets = (struct hv_host_sockets *)(void *)source;

    (void)events;
    for (int i = 0; i < ACCEPTS_PER_POLL; i++) {
        int fd = accept4(sockets->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            (void)hv_host_adopt(sockets->host, fd); /* refusals are told to the log and the peer */
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno != EAGAIN)
            stop_accepting(sockets, -errno);
        return;
    }
}

/* ---- Listening ---- */

/** True when nobody answers at the socket file in the way. */
static bool is_dead(const struct sockaddr_un *address)
{
    struct stat st;
    int fd, dead;

    if (lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    dead = connect(fd, (const struct sockaddr *)address, sizeof(*address)) && errno == ECONNREFUSED;
    (void)close(fd);
    return dead;
}

static int bind_to(int fd, const struct sockaddr_un *address)
{
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address))) {
        if (errno != EADDRINUSE)
            return -errno;
        if (!is_dead(address))
            return -EADDRINUSE;
        if (unlink(address->sun_path) ||
            bind(fd, (const struct sockaddr *)address, sizeof(*address)))
            return -errno;
    }
    return 0;
}

int hv_host_listen(struct hv_host *host, const char *path)
{
    struct hv_host_sockets *sockets = host->sockets;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    int fd, err;

    if (!path || !path[0])
        return -EINVAL;
    if (sockets->listen_fd >= 0)
        return -EALREADY;
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    err = bind_to(fd, &address);
    if (err) {
        (void)close(fd);
        return err;
    }
    err = listen(fd, SOMAXCONN) ? -errno : 0;
    if (!err)
        err = hv_host_watch(host, fd, EPOLLIN, &sockets->listen_source);
    if (err) {
        (void)unlink(path); /* made above */
        (void)close(fd);
        return err;
    }
    sockets->path = strdup(path);
    sockets->inode = lstat(path, &st) ? 0 : st.st_ino;
    sockets->listen_fd = fd;
    return 0;
}

void hv_host_sock_stop_listening(struct hv_host *host)
{
    struct hv_host_sockets *sockets = host->sockets;
    struct stat st;

    if (!sockets || sockets->listen_fd < 0)
        return;
    if (sockets->path && !lstat(sockets->path, &st) && st.st_ino == sockets->inode)
        (void)unlink(sockets->path); /* not one that somebody else has put there since */
    hv_host_unwatch(host, sockets->listen_fd);
    (void)close(sockets->listen_fd);
    sockets->listen_fd = -1;
    free(sockets->path);
    sockets->path = NULL;
}

/* ---- The set ---- */

int hv_host_sock_init(struct hv_host *host)
{
    struct hv_host_sockets *sockets = calloc(1, sizeof(*sockets));

    if (!sockets)
        return -ENOMEM;
    sockets->listen_source.ready = accept_guests;
    sockets->host = host;
    sockets->listen_fd = -1;
    TAILQ_INIT(&sockets->list);
    host->sockets = sockets;
    return 0;
}

void hv_host_sock_settle(struct hv_host *host)
{
    struct hv_host_sockets *sockets = host->sockets;
    struct hv_host_sock *sock, *next;
    uint64_t now = hv_clock_ns();

    for (sock = TAILQ_FIRST(&sockets->list); sock; sock = next) {
        next = TAILQ_NEXT(sock, entry);
        if (!sock->guest && sock->fd >= 0 && now >= sock->deadline_ns)
            hv_host_sock_reject(sock, "no HELLO in time");
        if (!sock->guest && sock->fd < 0)
            free_sock(sock);
    }
    if (sockets->resume_ns && now >= sockets->resume_ns && sockets->listen_fd >= 0) {
        sockets->resume_ns = 0;
        hv_host_rewatch(host, sockets->listen_fd, EPOLLIN, &sockets->listen_source);
    }
}

uint64_t hv_host_sock_deadline_ns(const struct hv_host *host)
{
    const struct hv_host_sockets *sockets = host->sockets;
    const struct hv_host_sock *sock;
    uint64_t deadline = sockets->resume_ns ? sockets->resume_ns : UINT64_MAX;

    TAILQ_FOREACH(sock, &sockets->list, entry)
    {
        if (!sock->guest)
            deadline = hv_min_u64(deadline, sock->deadline_ns);
    }
    return deadline;
}

void hv_host_sock_fini(struct hv_host *host)
{
    struct hv_host_sockets *sockets = host->sockets;

    if (!sockets)
        return;
    hv_host_sock_stop_listening(host);
    while (!TAILQ_EMPTY(&sockets->list))
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): free_sock() takes it off the list first */
        free_sock(TAILQ_FIRST(&sockets->list));
    free(sockets);
    host->sockets = NULL;
}
