/* SPDX-License-Identifier: BSD-3-Clause */
#include "connection.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <hv/wire/ring.h>
#include <hv/wire/sock.h>

#include "kernel.h"

/** Somebody who waits for an answer: of this kind, about this thing. */
struct wait {
    struct wait *next;
    uint32_t type; /* HV_MSG_*, or MEMORY */
    uint64_t key;
    bool done;
    int status;
};
#define MEMORY 0x1000u

static int sock = -1;
static uint32_t connection_id = HV_CONNECTION_MESSAGES;
static struct wait *waits;
static bool gone;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t send_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;

/* ---- Waiting ---- */

static void expect(struct wait *wait, uint32_t type, uint64_t key)
{
    *wait = (struct wait){.type = type, .key = key};
    (void)pthread_mutex_lock(&lock);
    wait->next = waits;
    waits = wait;
    (void)pthread_mutex_unlock(&lock);
}

static int await(struct wait *wait)
{
    struct wait **at = &waits;

    (void)pthread_mutex_lock(&lock);
    while (!wait->done && !gone)
        (void)pthread_cond_wait(&answered, &lock);
    while (*at != wait)
        at = &(*at)->next;
    *at = wait->next;
    (void)pthread_mutex_unlock(&lock);
    return wait->done ? wait->status : -ENODEV;
}

static void answer(uint32_t type, uint64_t key, int status)
{
    (void)pthread_mutex_lock(&lock);
    for (struct wait *wait = waits; wait; wait = wait->next) {
        if (wait->type == type && wait->key == key && !wait->done) {
            wait->done = true;
            wait->status = status;
            break;
        }
    }
    (void)pthread_cond_broadcast(&answered);
    (void)pthread_mutex_unlock(&lock);
}

/* ---- Sending ---- */

static void send_frame(const void *frame, size_t bytes, int fd)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    uint8_t copy[HV_SOCK_FRAME_MAX_BYTES];
    struct iovec iov = {.iov_base = copy, .iov_len = bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    memcpy(copy, frame, bytes);
    if (fd >= 0) {
        struct cmsghdr *cmsg = (void *)control;

        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
    }
    (void)sendmsg(sock, &msg, MSG_NOSIGNAL); /* a host that is gone is noticed by the reader */
}

static void post_to(uint32_t id, const void *message, size_t bytes)
{
    union {
        struct hv_sock_message head;
        uint8_t bytes[HV_SOCK_FRAME_MAX_BYTES];
    } frame = {.head = {.hdr = {.type = HV_SOCK_MESSAGE,
                                .length_bytes = (uint32_t)(sizeof(frame.head) + bytes)},
                        .connection_id = id,
                        .payload_bytes = (uint32_t)bytes}};

    memcpy(frame.bytes + sizeof(frame.head), message, bytes);
    send_frame(&frame, sizeof(frame.head) + bytes, -1);
}

static void post(const void *message, size_t bytes)
{
    post_to(connection_id, message, bytes);
}

static void send_memory(uint16_t type, uint64_t pfn, uint64_t pages, int fd, uint64_t offset)
{
    const struct hv_sock_memory frame = {
        .hdr = {.type = type, .length_bytes = sizeof(frame)},
        .first_pfn = pfn,
        .page_count = pages,
        .offset_bytes = offset,
    };

    send_frame(&frame, sizeof(frame), fd);
}

int connection_memory_add(uint64_t pfn, uint64_t pages, int fd, uint64_t offset)
{
    struct wait wait;

    expect(&wait, MEMORY, pfn);
    send_memory(HV_SOCK_MEMORY_ADD, pfn, pages, fd, offset);
    return await(&wait);
}

void connection_memory_remove(uint64_t pfn, uint64_t pages)
{
    send_memory(HV_SOCK_MEMORY_REMOVE, pfn, pages, -1, 0);
}

/** Header and bodies stand together: another GPADL must not come between for the host to be simple. */
int connection_gpadl_create(uint32_t relid, uint32_t gpadl, uint64_t first_pfn, uint32_t pages)
{
    union {
        struct hv_msg_gpadl_header header;
        struct hv_msg_gpadl_body body;
        uint64_t words[HV_MESSAGE_MAX_BYTES / 8];
        uint8_t bytes[HV_MESSAGE_MAX_BYTES];
    } message = {.header = {.hdr.type = HV_MSG_GPADL_HEADER,
                            .relid = relid,
                            .gpadl = gpadl,
                            .range_bytes = (uint16_t)(8 + 8 * pages),
                            .range_count = 1}};
    const struct hv_gpa_range range = {.byte_count = pages * HV_PAGE_BYTES};
    uint32_t done = 0, n = pages < HV_GPADL_HEADER_PFNS ? pages : HV_GPADL_HEADER_PFNS;
    struct wait wait;

    expect(&wait, HV_MSG_GPADL_CREATED, gpadl);
    memcpy(message.bytes + 20, &range, sizeof(range));
    for (; done < n; done++, first_pfn++)
        memcpy(message.bytes + 28 + 8 * (size_t)done, &first_pfn, sizeof(first_pfn));
    (void)pthread_mutex_lock(&send_lock);
    post(&message, 28 + 8 * (size_t)n);
    while (done < pages) {
        message.body = (struct hv_msg_gpadl_body){.hdr.type = HV_MSG_GPADL_BODY, .gpadl = gpadl};
        for (n = 0; n < HV_GPADL_BODY_PFNS && done < pages; n++, done++)
            message.words[2 + n] = first_pfn++;
        post(&message, 16 + 8 * (size_t)n);
    }
    (void)pthread_mutex_unlock(&send_lock);
    return await(&wait);
}

int connection_gpadl_teardown(uint32_t relid, uint32_t gpadl)
{
    const struct hv_msg_gpadl_teardown message = {
        .hdr.type = HV_MSG_GPADL_TEARDOWN, .relid = relid, .gpadl = gpadl};
    struct wait wait;

    expect(&wait, HV_MSG_GPADL_TORNDOWN, gpadl);
    post(&message, sizeof(message));
    return await(&wait);
}

int connection_open(uint32_t relid, uint32_t gpadl, uint32_t in_ring_page, uint32_t target_vp)
{
    const struct hv_msg_open message = {.hdr.type = HV_MSG_OPEN_CHANNEL,
                                        .relid = relid,
                                        .open_id = relid,
                                        .gpadl = gpadl,
                                        .target_vp = target_vp,
                                        .in_ring_page = in_ring_page};
    struct wait wait;

    expect(&wait, HV_MSG_OPEN_RESULT, relid);
    post(&message, sizeof(message));
    return await(&wait);
}

static void post_relid(uint32_t type, uint32_t relid)
{
    const struct hv_msg_relid message = {.hdr.type = type, .relid = relid};

    post(&message, sizeof(message));
}

void connection_close_channel(uint32_t relid)
{
    post_relid(HV_MSG_CLOSE_CHANNEL, relid);
}

void connection_relid_released(uint32_t relid)
{
    post_relid(HV_MSG_RELID_RELEASED, relid);
}

/* ---- Receiving: a thread ---- */

static void take_message(const void *payload, const int *fds, unsigned fd_count)
{
    const union {
        struct hv_msg_header hdr;
        struct hv_msg_offer offer;
        struct hv_msg_relid relid;
        struct hv_msg_gpadl_created created;
        struct hv_msg_gpadl_torndown torndown;
        struct hv_msg_open_result opened;
        struct hv_msg_version_response version;
    } *message = payload;

    switch (message->hdr.type) {
    case HV_MSG_OFFER_CHANNEL:
        if (fd_count != 2)
            kernel_panic("an offer came without its two descriptors");
        kernel_offered(&message->offer, fds[0], fds[1]);
        break;
    case HV_MSG_RESCIND_OFFER:
        kernel_rescind(message->relid.relid);
        break;
    case HV_MSG_ALL_OFFERS_DELIVERED:
        answer(HV_MSG_ALL_OFFERS_DELIVERED, 0, 0);
        break;
    case HV_MSG_GPADL_CREATED:
        answer(HV_MSG_GPADL_CREATED, message->created.gpadl, (int)message->created.status);
        break;
    case HV_MSG_GPADL_TORNDOWN:
        answer(HV_MSG_GPADL_TORNDOWN, message->torndown.gpadl, 0);
        break;
    case HV_MSG_OPEN_RESULT:
        answer(HV_MSG_OPEN_RESULT, message->opened.relid, (int)message->opened.status);
        break;
    case HV_MSG_VERSION_RESPONSE:
        connection_id = message->version.connection_id;
        answer(HV_MSG_VERSION_RESPONSE, 0, message->version.supported ? 0 : -EPROTONOSUPPORT);
        break;
    default:
        break;
    }
}

/** Next frame; 0 when the connection has ended. */
static size_t receive(void *frame, int fds[4], unsigned *ret_fd_count)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
    struct iovec iov = {.iov_base = frame, .iov_len = HV_SOCK_FRAME_MAX_BYTES};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n;

    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    *ret_fd_count = 0;
    if (n <= 0)
        return 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        *ret_fd_count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(c), *ret_fd_count * sizeof(int));
    }
    return (size_t)n;
}

static void *read_frames(void *arg)
{
    _Alignas(8) uint8_t frame[HV_SOCK_FRAME_MAX_BYTES + 1];
    const struct hv_sock_message *message = (const void *)frame;
    const struct hv_sock_memory_result *result = (const void *)frame;
    unsigned fd_count;
    size_t bytes;
    int fds[4];

    (void)arg;
    while ((bytes = receive(frame, fds, &fd_count))) {
        frame[bytes] = 0;
        switch (message->hdr.type) {
        case HV_SOCK_HELLO:
            answer(MEMORY, UINT64_MAX, 0);
            break;
        case HV_SOCK_MEMORY_RESULT:
            answer(MEMORY, result->first_pfn, result->error);
            break;
        case HV_SOCK_MESSAGE:
            take_message(message->payload, fds, fd_count);
            break;
        case HV_SOCK_GOODBYE:
            fprintf(stderr, "interop: the host says: %s\n", (const char *)frame + 8);
            break;
        default:
            break;
        }
    }
    (void)pthread_mutex_lock(&lock);
    gone = true;
    (void)pthread_cond_broadcast(&answered);
    (void)pthread_mutex_unlock(&lock);
    kernel_host_gone();
    return NULL;
}

/* ---- Start ---- */

void connection_start(const char *path)
{
    const struct hv_sock_hello hello = {
        .hdr = {.type = HV_SOCK_HELLO, .length_bytes = sizeof(hello)},
        .magic = HV_SOCK_MAGIC,
        .version = HV_SOCK_VERSION,
        .name = "interop",
    };
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct wait wait;
    pthread_t thread;

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (const void *)&address, sizeof(address)))
        kernel_panic("%s: %s", path, strerror(errno));
    expect(&wait, MEMORY, UINT64_MAX);
    send_frame(&hello, sizeof(hello), -1);
    if (pthread_create(&thread, NULL, read_frames, NULL))
        kernel_panic("no thread");
    (void)pthread_detach(thread);
    if (await(&wait))
        kernel_panic("%s does not say hello", path);
}

void connection_contact(uint64_t monitor_h2g, uint64_t monitor_g2h)
{
    const struct hv_msg_initiate_contact contact = {
        .hdr.type = HV_MSG_INITIATE_CONTACT,
        .version = HV_VERSION_5_3,
        .interrupt_page = HV_SINT_VMBUS,
        .monitor_page_h2g = monitor_h2g,
        .monitor_page_g2h = monitor_g2h,
    };
    struct wait wait;
    int err;

    expect(&wait, HV_MSG_VERSION_RESPONSE, 0);
    post_to(HV_CONNECTION_CONTACT_V5, &contact, sizeof(contact));
    err = await(&wait);
    if (err)
        kernel_panic("no VMBus 5.3: %s", strerror(-err));
}

void connection_request_offers(void)
{
    const struct hv_msg_header request = {.type = HV_MSG_REQUEST_OFFERS};
    struct wait wait;

    expect(&wait, HV_MSG_ALL_OFFERS_DELIVERED, 0);
    post(&request, sizeof(request));
    if (await(&wait))
        kernel_panic("the host went before it had made its offers");
}
