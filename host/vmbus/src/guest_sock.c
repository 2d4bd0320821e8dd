/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest behind a Unix socket: frames in and out.  Wire: docs/socket-transport.md.
 * Connections before their HELLO live here alone; afterwards there is a guest (guest.h).
 */
#include "sock_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hv/base/clock.h>

/** Frames of one guest handled before others have their turn. */
#define FRAMES_PER_POLL 64

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)close(fds[i]);
}

/* ---- Sending ---- */

static void set_events(struct hv_host_sock *sock)
{
    uint32_t events = EPOLLRDHUP;

    if (!sock->paused)
        events |= EPOLLIN;
    if (!TAILQ_EMPTY(&sock->queue))
        events |= EPOLLOUT;
    if (sock->fd >= 0)
        hv_host_rewatch(sock->host, sock->fd, events, &sock->source);
}

/** 0 or a negative errno of sendmsg; never blocks. */
static int send_now(const struct hv_host_sock *sock, const void *frame, size_t bytes,
                    const int *fds, size_t fd_count)
{
    alignas(struct cmsghdr) char control[CMSG_SPACE(HV_SOCK_FDS_MAX * sizeof(int))] = {0};
    union {
        const void *in;
        void *out;
    } data = {.in = frame}; /* iovec is not const */
    struct iovec iov = {.iov_base = data.out, .iov_len = bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd_count) {
        struct cmsghdr *cmsg = (void *)control;

        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, fd_count * sizeof(int));
    }
    return sendmsg(sock->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/** The descriptors are duplicated: the channel may be gone before the guest reads. */
static int enqueue(struct hv_host_sock *sock, const void *frame, size_t bytes, const int *fds,
                   size_t fd_count)
{
    struct hv_host_sock_frame *queued;

    if (sock->queued >= HV_SOCK_QUEUE_MAX)
        return -ENOBUFS;
    queued = malloc(sizeof(*queued));
    if (!queued)
        return -ENOMEM;
    memcpy(queued->data, frame, bytes);
    queued->bytes = bytes;
    queued->fd_count = 0;
    while (queued->fd_count < fd_count) {
        int copy = fcntl(fds[queued->fd_count], F_DUPFD_CLOEXEC, 0);

        if (copy < 0) {
            int err = -errno;
            close_all(queued->fds, queued->fd_count);
            free(queued);
            return err;
        }
        queued->fds[queued->fd_count++] = copy;
    }
    TAILQ_INSERT_TAIL(&sock->queue, queued, entry);
    sock->queued++;
    set_events(sock);
    return 0;
}

static void dequeue(struct hv_host_sock *sock, struct hv_host_sock_frame *queued)
{
    TAILQ_REMOVE(&sock->queue, queued, entry);
    sock->queued--;
    close_all(queued->fds, queued->fd_count);
    free(queued);
}

static void send_failed(struct hv_host_sock *sock, int err)
{
    if (!sock->guest || err == -EPIPE || err == -ECONNRESET)
        return; /* its end of file comes in as well */
    hv_host_guest_doom(sock->guest, "cannot send to it: %s", strerror(-err));
}

static void send_frame(struct hv_host_sock *sock, const void *frame, size_t bytes, const int *fds,
                       size_t fd_count)
{
    int err = -EAGAIN;

    if (sock->fd < 0)
        return;
    if (TAILQ_EMPTY(&sock->queue))
        err = send_now(sock, frame, bytes, fds, fd_count);
    if (err == -EAGAIN)
        err = enqueue(sock, frame, bytes, fds, fd_count);
    if (err == -ENOBUFS && sock->guest)
        hv_host_guest_doom(sock->guest, "does not read: %u messages wait for it", sock->queued);
    else if (err)
        send_failed(sock, err);
}

static void send_queue(struct hv_host_sock *sock)
{
    struct hv_host_sock_frame *queued;
    int err = 0;

    while (!err && (queued = TAILQ_FIRST(&sock->queue))) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): dequeue() takes it off the list before it frees it */
        err = send_now(sock, queued->data, queued->bytes, queued->fds, queued->fd_count);
        if (err != -EAGAIN)
            dequeue(sock, queued);
    }
    if (err && err != -EAGAIN)
        send_failed(sock, err);
    set_events(sock);
}

static void send_hello(struct hv_host_sock *sock)
{
    const struct hv_sock_hello hello = {
        .hdr = {.type = HV_SOCK_HELLO, .length_bytes = sizeof(hello)},
        .magic = HV_SOCK_MAGIC,
        .version = HV_SOCK_VERSION,
        .name = "hv-host",
    };

    send_frame(sock, &hello, sizeof(hello), NULL, 0);
}

static void send_memory_result(struct hv_host_sock *sock, uint64_t first_pfn, int err)
{
    const struct hv_sock_memory_result result = {
        .hdr = {.type = HV_SOCK_MEMORY_RESULT, .length_bytes = sizeof(result)},
        .first_pfn = first_pfn,
        .error = err,
    };

    send_frame(sock, &result, sizeof(result), NULL, 0);
}

/* ---- The guest's side of the seam ---- */

static void sock_post(void *impl, const void *message, size_t bytes,
                      const struct hv_host_guest_link *link)
{
    union {
        struct hv_sock_message head;
        uint8_t bytes[sizeof(struct hv_sock_message) + HV_MESSAGE_MAX_BYTES];
    } frame = {.head = {.hdr = {.type = HV_SOCK_MESSAGE}, .payload_bytes = (uint32_t)bytes}};
    size_t length = sizeof(frame.head) + bytes;
    int fds[2] = {-1, -1};

    frame.head.hdr.length_bytes = (uint32_t)length;
    memcpy(frame.bytes + sizeof(frame.head), message, bytes);
    if (link) {
        fds[0] = link->signal_fd;
        fds[1] = link->event_fd;
    }
    send_frame(impl, &frame, length, fds, link ? 2 : 0);
}

static void sock_memory_removed(void *impl, uint64_t first_pfn)
{
    send_memory_result(impl, first_pfn, 0);
}

static int sock_link_create(void *impl, struct hv_host_guest_link *ret_link)
{
    int signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    (void)impl;
    if (signal_fd < 0 || event_fd < 0) {
        int err = -errno;
        if (signal_fd >= 0)
            (void)close(signal_fd);
        if (event_fd >= 0)
            (void)close(event_fd);
        return err;
    }
    ret_link->signal_fd = signal_fd;
    ret_link->event_fd = event_fd;
    return 0;
}

static void sock_link_destroy(void *impl, struct hv_host_guest_link *link)
{
    (void)impl;
    (void)close(link->signal_fd);
    (void)close(link->event_fd);
}

static bool event_is_full(const struct hv_host_guest_link *link)
{
    struct pollfd fd = {.fd = link->event_fd, .events = POLLOUT};

    return poll(&fd, 1, 0) == 0;
}

/** The guest may have cleared O_NONBLOCK: a full counter would hold this worker up.  Full means it is told already. */
static void sock_raise(const struct hv_host_guest_link *link)
{
    const uint64_t one = 1;

    if (!event_is_full(link))
        (void)!write(link->event_fd, &one, sizeof(one));
}

static bool sock_unblock(const struct hv_host_guest_link *link)
{
    uint64_t count;
    struct iovec iov = {.iov_base = &count, .iov_len = sizeof(count)};

    if (!event_is_full(link))
        return false;
    (void)!preadv2(link->event_fd, &iov, 1, -1, RWF_NOWAIT);
    return true;
}

static void sock_pause(void *impl, bool paused)
{
    struct hv_host_sock *sock = impl;

    sock->paused = paused;
    set_events(sock);
}

static void sock_hang_up(void *impl, const char *why)
{
    hv_host_sock_hang_up(impl, why);
}

static void sock_destroy(void *impl)
{
    struct hv_host_sock *sock = impl;

    sock->guest = NULL;
    hv_host_sock_close(sock);
}

static const struct hv_host_guest_ops sock_ops = {
    .post = sock_post,
    .memory_removed = sock_memory_removed,
    .link_create = sock_link_create,
    .link_destroy = sock_link_destroy,
    .raise = sock_raise,
    .unblock = sock_unblock,
    .pause = sock_pause,
    .hang_up = sock_hang_up,
    .destroy = sock_destroy,
};

/* ---- Receiving ---- */

struct frame {
    alignas(8) uint8_t data[HV_SOCK_FRAME_MAX_BYTES];
    size_t bytes;
    int fds[HV_SOCK_FDS_MAX];
    size_t fd_count;
    bool cut;     /* more bytes than fit */
    bool fds_cut; /* not all descriptors came: too many, or we can have no more */
};

static void take_fds(struct frame *frame, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (frame->fd_count < HV_SOCK_FDS_MAX)
                frame->fds[frame->fd_count++] = fd;
            else
                (void)close(fd);
        }
    }
}

/** Returns 1 = a frame, 0 = end, or a negative errno. */
static int receive(const struct hv_host_sock *sock, struct frame *frame)
{
    alignas(struct cmsghdr) char control[CMSG_SPACE(HV_SOCK_FDS_MAX * sizeof(int))];
    struct iovec iov = {.iov_base = frame->data, .iov_len = sizeof(frame->data)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(sock->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return -errno;
    frame->bytes = (size_t)n;
    frame->fd_count = 0;
    frame->cut = (msg.msg_flags & MSG_TRUNC) != 0;
    frame->fds_cut = (msg.msg_flags & MSG_CTRUNC) != 0;
    take_fds(frame, &msg);
    return n > 0;
}

/** None of them came although there were some: that is not the guest's fault, others may have used them up. */
static bool lacks_descriptors(const struct frame *frame, size_t want)
{
    return want && frame->fds_cut && !frame->fd_count;
}

/** What is wrong with the frame, NULL when nothing is. */
static const char *check_frame(const struct frame *frame, const struct hv_host_sock *sock)
{
    static const struct {
        size_t min_bytes, max_bytes, fds;
    } table[] = {
        [HV_SOCK_HELLO] = {sizeof(struct hv_sock_hello), sizeof(struct hv_sock_hello), 0},
        [HV_SOCK_MEMORY_ADD] = {sizeof(struct hv_sock_memory), sizeof(struct hv_sock_memory), 1},
        [HV_SOCK_MEMORY_REMOVE] = {sizeof(struct hv_sock_memory), sizeof(struct hv_sock_memory), 0},
        [HV_SOCK_MEMORY_RESULT] = {0},
        [HV_SOCK_MESSAGE] = {sizeof(struct hv_sock_message) + sizeof(struct hv_msg_header),
                             sizeof(struct hv_sock_message) + HV_MESSAGE_MAX_BYTES, 0},
    };
    const struct hv_sock_header *hdr = (const void *)frame->data;

    if (frame->cut)
        return "frame too long";
    if (frame->bytes < sizeof(*hdr) || hdr->length_bytes != frame->bytes)
        return "frame length is not that of the datagram";
    if (hdr->flags)
        return "frame with unknown flags";
    if (hdr->type >= sizeof(table) / sizeof(table[0]) || !table[hdr->type].max_bytes)
        return "frame of a type that no guest sends";
    if (frame->bytes < table[hdr->type].min_bytes || frame->bytes > table[hdr->type].max_bytes)
        return "frame of a wrong length for its type";
    if (frame->fd_count != table[hdr->type].fds && !lacks_descriptors(frame, table[hdr->type].fds))
        return "frame with a wrong number of descriptors";
    if ((hdr->type == HV_SOCK_HELLO) != !sock->guest)
        return sock->guest ? "a second HELLO" : "anything but HELLO first";
    return NULL;
}

static void on_hello(struct hv_host_sock *sock, const struct hv_sock_hello *hello)
{
    char name[sizeof(hello->name) + 1] = "";
    int err;

    if (hello->magic != HV_SOCK_MAGIC) {
        hv_host_sock_reject(sock, "HELLO with a wrong magic");
        return;
    }
    send_hello(sock);
    if (hello->version != HV_SOCK_VERSION) {
        hv_host_sock_reject(sock, "socket protocol version not spoken here");
        return;
    }
    memcpy(name, hello->name, sizeof(hello->name));
    for (size_t i = 0; name[i]; i++) {
        if (name[i] < ' ' || name[i] > '~')
            name[i] = '?';
    }
    sock->deadline_ns = UINT64_MAX;
    err = hv_host_guest_create(sock->host, name, &sock_ops, sock, &sock->guest);
    if (err) {
        hv_host_sock_reject(sock, "the host is out of memory or descriptors");
        return;
    }
}

static void on_memory(struct hv_host_sock *sock, struct frame *frame)
{
    const struct hv_sock_memory *memory = (const void *)frame->data;
    int err;

    if (memory->hdr.type == HV_SOCK_MEMORY_ADD && !frame->fd_count) {
        hv_host_guest_complain(sock->guest, "memory refused: no descriptor left for it");
        send_memory_result(sock, memory->first_pfn, -ENOMEM);
        return;
    }
    if (memory->hdr.type == HV_SOCK_MEMORY_ADD) {
        frame->fd_count = 0; /* taken over */
        err = hv_host_guest_memory_add(sock->guest, memory->first_pfn, memory->page_count,
                                       frame->fds[0], memory->offset_bytes);
        send_memory_result(sock, memory->first_pfn, err);
        return;
    }
    err = hv_host_guest_memory_remove(sock->guest, memory->first_pfn, memory->page_count);
    if (err)
        send_memory_result(sock, memory->first_pfn, err);
}

static void on_message(struct hv_host_sock *sock, const struct frame *frame)
{
    const struct hv_sock_message *message = (const void *)frame->data;

    if (message->payload_bytes != frame->bytes - sizeof(*message)) {
        hv_host_guest_doom(sock->guest, "message of %u bytes in a frame of %zu",
                           message->payload_bytes, frame->bytes);
        return;
    }
    hv_host_guest_message(sock->guest, message->connection_id, message->payload,
                          message->payload_bytes);
}

static void handle(struct hv_host_sock *sock, struct frame *frame)
{
    const char *wrong = check_frame(frame, sock);
    const struct hv_sock_header *hdr = (const void *)frame->data;

    if (wrong && sock->guest)
        hv_host_guest_doom(sock->guest, "%s", wrong);
    else if (wrong)
        hv_host_sock_reject(sock, wrong);
    else if (hdr->type == HV_SOCK_HELLO)
        on_hello(sock, (const void *)frame->data);
    else if (hdr->type == HV_SOCK_MESSAGE)
        on_message(sock, frame);
    else
        on_memory(sock, frame);
    close_all(frame->fds, frame->fd_count);
}

static bool listens(const struct hv_host_sock *sock)
{
    return sock->fd >= 0 && !sock->paused && !(sock->guest && hv_host_guest_is_doomed(sock->guest));
}

void hv_host_sock_ready(struct hv_host_source *source, uint32_t events)
{
    struct hv_host_sock *sock = (struct hv_host_sock *)(void *)source;
    struct frame frame;

    if (sock->fd < 0)
        return;
    if (events & EPOLLOUT)
        send_queue(sock);
    for (int i = 0; i < FRAMES_PER_POLL && listens(sock); i++) {
        int got = receive(sock, &frame);

        if (got > 0) {
            handle(sock, &frame);
            continue;
        }
        close_all(frame.fds, got < 0 ? 0 : frame.fd_count);
        if (got == -EAGAIN || got == -EINTR)
            return;
        hv_host_sock_lost(sock);
        return;
    }
    if (sock->paused && (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)))
        hv_host_sock_lost(sock);
}
