/* SPDX-License-Identifier: BSD-3-Clause */
#include "vmbus_peer.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "suite.h"

const struct hv_guid peer_class = HV_CLASS_SCSI;
const struct hv_guid peer_instance =
    HV_GUID_INIT(0x6b2d7f9au, 0x0102u, 0x0304u, 5, 6, 7, 8, 9, 10, 11, 12);

static void fail(const char *what)
{
    perror(what);
    abort();
}

unsigned peer_count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    if (!dir)
        fail("/proc/self/fd");
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

void peer_init(struct peer *peer)
{
    int pair[2];

    memset(peer, 0, sizeof(*peer));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        fail("socketpair");
    peer->fd = pair[0];
    peer->guest_fd = pair[1];
    peer->timeout_ms = 5000;
    for (size_t i = 0; i < HV_TEST_COUNT(peer->signal_fd); i++) {
        peer->signal_fd[i] = -1;
        peer->event_fd[i] = -1;
    }
}

void peer_fini(struct peer *peer)
{
    peer_end(peer); /* so that closing the bus waits for nothing */
    hv_vmbus_close(peer->bus);
    if (peer->guest_fd >= 0)
        close(peer->guest_fd);
    close(peer->fd);
    for (unsigned i = 0; i < HV_TEST_COUNT(peer->signal_fd); i++) {
        if (peer->signal_fd[i] >= 0)
            close(peer->signal_fd[i]);
        if (peer->event_fd[i] >= 0)
            close(peer->event_fd[i]);
    }
}

/* ---- What the host says ---- */

void peer_raw(struct peer *peer, const void *bytes, size_t length, const int *fds, size_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_len = length};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    memcpy(&iov.iov_base, &bytes, sizeof(bytes));
    if (fd_count) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(&control.align), fds, fd_count * sizeof(int));
    }
    if (sendmsg(peer->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length)
        fail("sendmsg");
}

void peer_hello(struct peer *peer, uint32_t version)
{
    struct hv_sock_hello hello = {
        .hdr = {HV_SOCK_HELLO, 0, sizeof(hello)},
        .magic = HV_SOCK_MAGIC,
        .version = version,
        .name = "test",
    };

    peer_raw(peer, &hello, sizeof(hello), NULL, 0);
}

void peer_memory_result(struct peer *peer, uint64_t first_pfn, int32_t error)
{
    struct hv_sock_memory_result result = {
        .hdr = {HV_SOCK_MEMORY_RESULT, 0, sizeof(result)},
        .first_pfn = first_pfn,
        .error = error,
    };

    peer_raw(peer, &result, sizeof(result), NULL, 0);
}

static void message_with_fds(struct peer *peer, const void *message, size_t bytes, const int *fds,
                             size_t fd_count)
{
    struct peer_frame frame;

    frame.message = (struct hv_sock_message){
        .hdr = {HV_SOCK_MESSAGE, 0, (uint32_t)(sizeof(frame.message) + bytes)},
        .payload_bytes = (uint32_t)bytes,
    };
    memcpy(frame.message.payload, message, bytes);
    peer_raw(peer, &frame, sizeof(frame.message) + bytes, fds, fd_count);
}

void peer_message(struct peer *peer, const void *message, size_t bytes)
{
    message_with_fds(peer, message, bytes, NULL, 0);
}

void peer_words(struct peer *peer, size_t count, const uint32_t *words)
{
    peer_message(peer, words, count * sizeof(*words));
}

void peer_version(struct peer *peer, uint8_t supported, uint32_t connection_id)
{
    struct hv_msg_version_response response = {
        .hdr.type = HV_MSG_VERSION_RESPONSE,
        .supported = supported,
        .connection_id = connection_id,
    };

    peer_message(peer, &response, sizeof(response));
}

void peer_offer(struct peer *peer, uint32_t relid, uint16_t index, int monitor_id)
{
    struct hv_msg_offer offer = {
        .hdr.type = HV_MSG_OFFER_CHANNEL,
        .class_id = peer_class,
        .instance_id = peer_instance,
        .flags = HV_OFFER_ENUMERATE_INTERFACE,
        .user_data = {1, 2, 3},
        .sub_channel_index = index,
        .relid = relid,
        .monitor_id = monitor_id < 0 ? HV_MONITOR_NONE : (uint8_t)monitor_id,
        .monitor_allocated = monitor_id >= 0,
    };
    int fds[2] = {eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

    if (fds[0] < 0 || fds[1] < 0 || peer->offers >= HV_TEST_COUNT(peer->signal_fd))
        fail("eventfd");
    peer->signal_fd[peer->offers] = fds[0];
    peer->event_fd[peer->offers++] = fds[1];
    message_with_fds(peer, &offer, sizeof(offer), fds, 2);
}

void peer_all_offers(struct peer *peer)
{
    peer_words(peer, 2, (const uint32_t[]){HV_MSG_ALL_OFFERS_DELIVERED, 0});
}

void peer_start(struct peer *peer)
{
    peer_hello(peer, HV_SOCK_VERSION);
    peer_memory_result(peer, PEER_MONITOR_PFN, 0);
    peer_version(peer, 1, 77);
}

void peer_channel_opened(struct peer *peer, uint32_t relid, uint32_t pfn, uint32_t gpadl,
                         uint32_t open_id)
{
    peer_memory_result(peer, pfn, 0);
    peer_words(peer, 5, (const uint32_t[]){HV_MSG_GPADL_CREATED, 0, relid, gpadl, 0});
    peer_words(peer, 5, (const uint32_t[]){HV_MSG_OPEN_RESULT, 0, relid, open_id, 0});
}

void peer_torndown(struct peer *peer, uint32_t gpadl)
{
    peer_words(peer, 3, (const uint32_t[]){HV_MSG_GPADL_TORNDOWN, 0, gpadl});
}

void peer_rescind(struct peer *peer, uint32_t relid)
{
    peer_words(peer, 3, (const uint32_t[]){HV_MSG_RESCIND_OFFER, 0, relid});
}

void peer_goodbye(struct peer *peer, const char *text)
{
    struct peer_frame frame;
    size_t length = sizeof(frame.hdr) + strlen(text);

    frame.hdr = (struct hv_sock_header){HV_SOCK_GOODBYE, 0, (uint32_t)length};
    memcpy(frame.bytes + sizeof(frame.hdr), text, strlen(text));
    peer_raw(peer, &frame, length, NULL, 0);
}

void peer_end(struct peer *peer)
{
    (void)shutdown(peer->fd, SHUT_WR); /* fails when the guest has hung up */
}

/* ---- Guest ---- */

static void on_log(void *arg, enum hv_log_level level, const char *line)
{
    struct peer *peer = arg;
    size_t used = strlen(peer->log);

    if (level <= HV_LOG_WARNING)
        (void)snprintf(peer->log + used, sizeof(peer->log) - used, "%s\n", line);
    if (level == HV_LOG_WARNING && peer->babble) {
        peer->babble--;
        peer_words(peer, 2, (const uint32_t[]){HV_MSG_UNLOAD_COMPLETE, 0});
    }
}

static void on_event(void *arg, enum hv_vmbus_event event, const struct hv_guid *instance)
{
    struct peer *peer = arg;

    peer->events[event]++;
    peer->event_instance = *instance;
}

int peer_open(struct peer *peer)
{
    struct hv_vmbus_opts opts = HV_VMBUS_OPTS_INIT;
    char address[32];

    opts.log = (struct hv_log_hook){on_log, peer};
    opts.event = on_event;
    opts.event_arg = peer;
    opts.timeout_ms = peer->timeout_ms;
    opts.max_version = peer->max_version;
    (void)snprintf(address, sizeof(address), "fd:%d", peer->guest_fd);
    peer->guest_fd = -1;
    return hv_vmbus_open(address, &opts, &peer->bus);
}

void peer_open_device(struct peer *peer, int monitor_id)
{
    int err;

    peer_start(peer);
    peer_offer(peer, 1, 0, monitor_id);
    peer_all_offers(peer);
    err = peer_open(peer);
    CU_ASSERT_EQUAL(err, 0);
    if (err)
        abort(); /* nothing below could work */
    peer_skip(peer);
}

/* ---- What the guest said ---- */

void peer_read(struct peer *peer, struct peer_frame *ret_frame)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = ret_frame->bytes, .iov_len = sizeof(ret_frame->bytes)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t got = recvmsg(peer->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *c = got > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

    ret_frame->length = got > 0 ? (size_t)got : 0;
    ret_frame->fd = -1;
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&ret_frame->fd, CMSG_DATA(c), sizeof(int));
    if (got > 0)
        CU_ASSERT(got >= 8 && ret_frame->hdr.length_bytes == (size_t)got && !ret_frame->hdr.flags);
}

void peer_skip(struct peer *peer)
{
    struct peer_frame frame;

    do {
        peer_read(peer, &frame);
        if (frame.fd >= 0)
            close(frame.fd);
    } while (frame.length);
}

int peer_expect(struct peer *peer, uint32_t type, void *message, size_t bytes)
{
    struct peer_frame frame;
    uint32_t got;

    peer_read(peer, &frame);
    if (frame.length < sizeof(frame.message) + bytes || frame.hdr.type != HV_SOCK_MESSAGE ||
        frame.message.payload_bytes != frame.length - sizeof(frame.message)) {
        fprintf(stderr, "message %u expected, got frame %u of %zu bytes\n", type,
                frame.length ? frame.hdr.type : 0u, frame.length);
        return -1;
    }
    memcpy(&got, frame.message.payload, sizeof(got));
    memcpy(message, frame.message.payload, bytes);
    if (got != type)
        fprintf(stderr, "message %u expected, got %u\n", type, got);
    return got == type && frame.fd < 0 ? 0 : -1;
}

static int expect_memory(struct peer *peer, uint16_t type, uint64_t first_pfn, uint64_t page_count,
                         int *ret_fd)
{
    struct peer_frame frame;

    peer_read(peer, &frame);
    *ret_fd = frame.fd;
    return frame.length == sizeof(frame.memory) && frame.hdr.type == type &&
                   frame.memory.first_pfn == first_pfn && frame.memory.page_count == page_count
               ? 0
               : -1;
}

int peer_expect_memory(struct peer *peer, uint64_t first_pfn, uint64_t page_count, int *ret_fd)
{
    return expect_memory(peer, HV_SOCK_MEMORY_ADD, first_pfn, page_count, ret_fd);
}

int peer_expect_remove(struct peer *peer, uint64_t first_pfn, uint64_t page_count)
{
    int fd;

    return expect_memory(peer, HV_SOCK_MEMORY_REMOVE, first_pfn, page_count, &fd) || fd >= 0 ? -1
                                                                                             : 0;
}

int peer_readable(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    return poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLIN);
}
