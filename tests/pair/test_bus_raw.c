/* SPDX-License-Identifier: BSD-3-Clause */
#include "test_bus_raw.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING_PAGE  16u /* where raw_open() puts the rings in memory */
#define RING_PAGES 8u
#define IN_PAGE    4u

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "raw guest: %s: %s\n", what, strerror(errno));
    abort();
}

void raw_connect(struct raw *raw, struct rig *rig)
{
    memset(raw, 0, sizeof(*raw));
    raw->memory_fd = -1;
    raw->fd = rig_connect(rig);
}

void raw_forget_offers(struct raw *raw)
{
    for (unsigned i = 0; i < raw->offer_count; i++) {
        (void)close(raw->offers[i].signal_fd);
        (void)close(raw->offers[i].event_fd);
    }
    raw->offer_count = 0;
}

void raw_disconnect(struct raw *raw)
{
    raw_forget_offers(raw);
    if (raw->memory)
        (void)munmap(raw->memory, RAW_PAGES * HV_PAGE_BYTES);
    if (raw->memory_fd >= 0)
        (void)close(raw->memory_fd);
    (void)close(raw->fd);
}

/* ---- Frames ---- */

int raw_send(struct raw *raw, const void *frame, size_t bytes, const int *fds, size_t fd_count)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct iovec iov = {.iov_len = bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    uint8_t copy[1024];

    memcpy(copy, frame, bytes);
    iov.iov_base = copy;
    if (fd_count) {
        struct cmsghdr *cmsg = (void *)control;

        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, fd_count * sizeof(int));
    }
    return sendmsg(raw->fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int raw_hello(struct raw *raw)
{
    const struct hv_sock_hello hello = {
        .hdr = {.type = HV_SOCK_HELLO, .length_bytes = sizeof(hello)},
        .magic = HV_SOCK_MAGIC,
        .version = HV_SOCK_VERSION,
        .name = "raw",
    };

    (void)raw_send(raw, &hello, sizeof(hello), NULL, 0);
    return raw_receive(raw) == HV_SOCK_HELLO ? 0 : -EPROTO;
}

int raw_post_to(struct raw *raw, uint32_t connection_id, const void *message, size_t bytes)
{
    union {
        struct hv_sock_message head;
        uint8_t bytes[512];
    } frame = {.head = {.hdr = {.type = HV_SOCK_MESSAGE,
                                .length_bytes = (uint32_t)(sizeof(frame.head) + bytes)},
                        .connection_id = connection_id,
                        .payload_bytes = (uint32_t)bytes}};

    memcpy(frame.bytes + sizeof(frame.head), message, bytes);
    return raw_send(raw, &frame, sizeof(frame.head) + bytes, NULL, 0);
}

int raw_post(struct raw *raw, const void *message, size_t bytes)
{
    const struct hv_msg_initiate_contact *contact = message;
    bool v5 = contact->hdr.type == HV_MSG_INITIATE_CONTACT && contact->version >= HV_VERSION_5_0;

    return raw_post_to(raw, v5 ? HV_CONNECTION_CONTACT_V5 : HV_CONNECTION_MESSAGES, message, bytes);
}

int raw_memory_frame(struct raw *raw, uint16_t type, uint64_t first_pfn, uint64_t pages,
                     uint64_t offset, int fd)
{
    const struct hv_sock_memory memory = {
        .hdr = {.type = type, .length_bytes = sizeof(memory)},
        .first_pfn = first_pfn,
        .page_count = pages,
        .offset_bytes = offset,
    };

    return raw_send(raw, &memory, sizeof(memory), &fd, fd >= 0 ? 1 : 0);
}

int raw_file(size_t bytes, int seals)
{
    int fd = memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    require(fd >= 0 && !ftruncate(fd, (off_t)bytes), "memory file");
    require(!seals || !fcntl(fd, F_ADD_SEALS, seals), "seals");
    return fd;
}

/* ---- Receiving ---- */

static void note_offer(struct raw *raw, const struct hv_msg_offer *offer, const int *fds, size_t n)
{
    struct raw_offer *o = &raw->offers[raw->offer_count];

    require(n == 2, "an offer brings two descriptors");
    require(raw->offer_count < RAW_OFFERS, "offers");
    o->message = *offer;
    o->signal_fd = fds[0];
    o->event_fd = fds[1];
    raw->offer_count++;
}

static void note(struct raw *raw, const int *fds, size_t fd_count)
{
    const struct hv_sock_message *message = (const void *)raw->frame;
    const struct hv_msg_relid *relid = (const void *)message->payload;

    if (message->hdr.type == HV_SOCK_GOODBYE) {
        size_t bytes = raw->frame_bytes - sizeof(message->hdr);

        memcpy(raw->goodbye, raw->frame + sizeof(message->hdr), bytes);
        raw->goodbye[bytes] = 0;
    }
    if (message->hdr.type == HV_SOCK_MESSAGE && relid->hdr.type == HV_MSG_OFFER_CHANNEL)
        note_offer(raw, (const void *)message->payload, fds, fd_count);
    else
        require(!fd_count, "descriptors come with offers only");
    if (message->hdr.type == HV_SOCK_MESSAGE && relid->hdr.type == HV_MSG_RESCIND_OFFER)
        raw->rescinded = relid->relid;
}

static int receive_within(struct raw *raw, int milliseconds)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
    struct iovec iov = {.iov_base = raw->frame, .iov_len = sizeof(raw->frame)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct pollfd fd = {.fd = raw->fd, .events = POLLIN};
    const struct hv_sock_header *hdr = (const void *)raw->frame;
    int fds[4];
    size_t fd_count = 0;
    ssize_t n;

    if (poll(&fd, 1, milliseconds) == 0)
        return -ETIMEDOUT;
    n = recvmsg(raw->fd, &msg, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        fd_count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(c), fd_count * sizeof(int));
    }
    raw->frame_bytes = (size_t)n;
    require((size_t)n >= sizeof(*hdr) && hdr->length_bytes == (size_t)n, "frame of the host");
    note(raw, fds, fd_count);
    return hdr->type;
}

int raw_receive(struct raw *raw)
{
    return receive_within(raw, 10000);
}

const void *raw_expect(struct raw *raw, uint32_t type)
{
    const struct hv_sock_message *message = (const void *)raw->frame;
    const struct hv_msg_header *hdr = (const void *)message->payload;
    int got;

    while ((got = raw_receive(raw)) > 0) {
        if (got == HV_SOCK_MESSAGE && hdr->type == type)
            return hdr;
    }
    fprintf(stderr, "no message %u: %s\n", type, got ? strerror(-got) : raw->goodbye);
    return NULL;
}

bool raw_silent(struct raw *raw, int milliseconds)
{
    return receive_within(raw, milliseconds) == -ETIMEDOUT;
}

bool raw_goodbye(struct raw *raw, const char *text)
{
    int got;

    while ((got = raw_receive(raw)) > 0) {
    }
    if (!got && strstr(raw->goodbye, text))
        return true;
    fprintf(stderr, "expected goodbye \"%s\", got \"%s\"\n", text, raw->goodbye);
    return false;
}

int raw_memory_result(struct raw *raw)
{
    const struct hv_sock_memory_result *result = (const void *)raw->frame;

    while (raw_receive(raw) > 0) {
        if (result->hdr.type == HV_SOCK_MEMORY_RESULT)
            return result->error;
    }
    return 1;
}

/* ---- Steps ---- */

int raw_memory(struct raw *raw)
{
    raw->memory_fd = raw_file(RAW_PAGES * HV_PAGE_BYTES, F_SEAL_SHRINK);
    raw->memory = mmap(NULL, RAW_PAGES * HV_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                       raw->memory_fd, 0);
    require(raw->memory != MAP_FAILED, "memory");
    (void)raw_memory_frame(raw, HV_SOCK_MEMORY_ADD, RAW_PFN, RAW_PAGES, 0, raw->memory_fd);
    return raw_memory_result(raw);
}

int raw_contact(struct raw *raw, uint32_t version, bool monitor)
{
    struct hv_msg_initiate_contact contact = {.hdr.type = HV_MSG_INITIATE_CONTACT,
                                              .version = version};
    const struct hv_msg_version_response *response;

    if (version >= HV_VERSION_5_0)
        contact.interrupt_page = HV_SINT_VMBUS;
    if (monitor) {
        contact.monitor_page_h2g = (uint64_t)RAW_PFN << HV_PAGE_SHIFT;
        contact.monitor_page_g2h = (uint64_t)(RAW_PFN + 1) << HV_PAGE_SHIFT;
    }
    raw_forget_offers(raw);
    raw->version = version;
    (void)raw_post(raw, &contact, sizeof(contact));
    response = raw_expect(raw, HV_MSG_VERSION_RESPONSE);
    if (!response)
        return -EIO;
    return response->supported && !response->connection_state ? 0 : -EPROTONOSUPPORT;
}

int raw_offers(struct raw *raw)
{
    const struct hv_msg_header request = {.type = HV_MSG_REQUEST_OFFERS};

    (void)raw_post(raw, &request, sizeof(request));
    return raw_expect(raw, HV_MSG_ALL_OFFERS_DELIVERED) ? 0 : -EIO;
}

void raw_ready(struct raw *raw, struct rig *rig, uint32_t version)
{
    raw_connect(raw, rig);
    require(!raw_hello(raw) && !raw_memory(raw) && !raw_contact(raw, version, true) &&
                !raw_offers(raw),
            "an orderly start");
}

/** step 1 = forwards, -1 = backwards. */
static void send_gpadl(struct raw *raw, uint32_t relid, uint32_t id, uint64_t pfn, int step,
                       uint32_t pages)
{
    union {
        struct hv_msg_gpadl_header header;
        struct hv_msg_gpadl_body body;
        uint64_t words[HV_MESSAGE_MAX_BYTES / 8];
        uint8_t bytes[HV_MESSAGE_MAX_BYTES];
    } message = {.header = {.hdr.type = HV_MSG_GPADL_HEADER,
                            .relid = relid,
                            .gpadl = id,
                            .range_bytes = (uint16_t)(8 + 8 * pages),
                            .range_count = 1}};
    const struct hv_gpa_range range = {.byte_count = pages * HV_PAGE_BYTES};
    uint32_t done = 0, n = pages < HV_GPADL_HEADER_PFNS ? pages : HV_GPADL_HEADER_PFNS;

    memcpy(message.bytes + 20, &range, sizeof(range));
    for (; done < n; done++, pfn += (uint64_t)step)
        memcpy(message.bytes + 28 + 8 * done, &pfn, sizeof(pfn));
    (void)raw_post(raw, &message, 28 + 8 * (size_t)n);
    while (done < pages) {
        message.body = (struct hv_msg_gpadl_body){.hdr.type = HV_MSG_GPADL_BODY, .gpadl = id};
        for (n = 0; n < HV_GPADL_BODY_PFNS && done < pages; n++, done++, pfn += (uint64_t)step)
            message.words[2 + n] = pfn;
        (void)raw_post(raw, &message, 16 + 8 * (size_t)n);
    }
}

void raw_gpadl_pages(struct raw *raw, uint32_t relid, uint32_t id, uint64_t first_pfn,
                     uint32_t pages)
{
    send_gpadl(raw, relid, id, first_pfn, 1, pages);
}

void raw_gpadl_backwards(struct raw *raw, uint32_t relid, uint32_t id, uint64_t first_pfn,
                         uint32_t pages)
{
    send_gpadl(raw, relid, id, first_pfn + pages - 1, -1, pages);
}

uint32_t raw_gpadl_status(struct raw *raw)
{
    const struct hv_msg_gpadl_created *created = raw_expect(raw, HV_MSG_GPADL_CREATED);

    return created ? created->status : ~0u;
}

void raw_post_open(struct raw *raw, uint32_t relid, uint32_t gpadl, uint32_t in_ring_page,
                   uint32_t target_vp)
{
    const struct hv_msg_open open = {.hdr.type = HV_MSG_OPEN_CHANNEL,
                                     .relid = relid,
                                     .open_id = relid + 77,
                                     .gpadl = gpadl,
                                     .target_vp = target_vp,
                                     .in_ring_page = in_ring_page};

    (void)raw_post(raw, &open, sizeof(open));
}

uint32_t raw_open_status(struct raw *raw)
{
    const struct hv_msg_open_result *result = raw_expect(raw, HV_MSG_OPEN_RESULT);

    return result && result->open_id == result->relid + 77 ? result->status : ~0u;
}

struct hv_ring_control *raw_out(struct raw *raw)
{
    return (struct hv_ring_control *)(void *)(raw->memory + (size_t)RING_PAGE * HV_PAGE_BYTES);
}

struct hv_ring_control *raw_in(struct raw *raw)
{
    return raw_out(raw) + IN_PAGE;
}

uint32_t raw_open(struct raw *raw, uint32_t relid)
{
    memset(raw_out(raw), 0, HV_PAGE_BYTES);
    memset(raw_in(raw), 0, HV_PAGE_BYTES);
    raw_gpadl_pages(raw, relid, RAW_GPADL, RAW_PFN + RING_PAGE, RING_PAGES);
    if (raw_gpadl_status(raw))
        return ~0u;
    raw_post_open(raw, relid, RAW_GPADL, IN_PAGE, 0);
    return raw_open_status(raw);
}

void raw_post_relid(struct raw *raw, uint32_t type, uint32_t relid)
{
    const struct hv_msg_relid message = {.hdr.type = type, .relid = relid};

    (void)raw_post(raw, &message, sizeof(message));
}

void raw_post_teardown(struct raw *raw, uint32_t relid, uint32_t id)
{
    const struct hv_msg_gpadl_teardown message = {
        .hdr.type = HV_MSG_GPADL_TEARDOWN, .relid = relid, .gpadl = id};

    (void)raw_post(raw, &message, sizeof(message));
}

void raw_signal(struct raw *raw, unsigned offer)
{
    const uint64_t one = 1;

    require(write(raw->offers[offer].signal_fd, &one, sizeof(one)) == (ssize_t)sizeof(one),
            "signal");
}
