/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest in front of the host, all in one thread.
 *
 * Input: actions, each one byte that says what, and its operands: raw frames, raw control messages, and orderly steps
 * (hello, memory, contact, offers, GPADL, open, close, ...) with the numbers of the input, so that every state is
 * reached.  The ring and monitor pages are scribbled over as well.  However it ends: when the guest has gone, every
 * channel was closed exactly once, the guest is forgotten and nothing of it is left.
 */
#include <fcntl.h>
#include <stdalign.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hv/host.h>
#include <hv/wire/message.h>
#include <hv/wire/monitor.h>
#include <hv/wire/ring.h>
#include <hv/wire/sock.h>

#include "fuzz_vmbus_host_echo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAGES           64u
#define PFN             0x100u
#define WORKERS         2u
#define ACTIONS_AT_MOST 2000
#define ROUNDS_AT_MOST  100000 /* until a guest that left is forgotten */
#define CHANNELS_MAX    64

struct input {
    const uint8_t *at;
    size_t left;
};

static uint32_t take(struct input *in, size_t bytes)
{
    uint32_t v = 0;

    if (bytes > in->left)
        bytes = in->left;
    memcpy(&v, in->at, bytes);
    in->at += bytes;
    in->left -= bytes;
    return v;
}

/* ---- The guest ---- */

struct guest {
    struct hv_host *host;
    struct hv_host_guest *handle;
    struct hv_host_device *device;
    int fd;
    int events[CHANNELS_MAX], signals[CHANNELS_MAX];
    unsigned channels;
    uint8_t *memory;
    int memory_fd;
    bool done; /* guest_removed was called */
};

static void guest_added(void *arg, struct hv_host_guest *handle)
{
    struct guest *g = arg;

    CHECK(!g->handle);
    g->handle = handle;
}

static void guest_removed(void *arg, struct hv_host_guest *handle)
{
    struct guest *g = arg;

    CHECK(g->handle == handle && !g->done);
    g->handle = NULL;
    g->done = true;
    hv_host_guest_put(handle);
}

static void send_frame(struct guest *g, const void *frame, size_t bytes, int fd)
{
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    uint8_t copy[1024];
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
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
    }
    (void)!sendmsg(g->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void post_to(struct guest *g, uint32_t connection, const void *message, size_t bytes)
{
    union {
        struct hv_sock_message head;
        uint8_t bytes[512];
    } frame = {.head = {.hdr = {.type = HV_SOCK_MESSAGE,
                                .length_bytes = (uint32_t)(sizeof(frame.head) + bytes)},
                        .connection_id = connection,
                        .payload_bytes = (uint32_t)bytes}};

    memcpy(frame.bytes + sizeof(frame.head), message, bytes);
    send_frame(g, &frame, sizeof(frame.head) + bytes, -1);
}

static void post(struct guest *g, const void *message, size_t bytes)
{
    post_to(g, HV_CONNECTION_MESSAGES, message, bytes);
}

/** What the host said: keep the descriptors of offers, throw the rest away. */
static void receive_all(struct guest *g)
{
    alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
    alignas(8) uint8_t frame[512];
    struct iovec iov = {.iov_base = frame, .iov_len = sizeof(frame)};
    ssize_t n;

    do {
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
        const struct hv_sock_header *hdr = (const void *)frame;
        struct cmsghdr *c;
        int fds[2];

        n = recvmsg(g->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        CHECK(n <= 0 || ((size_t)n >= sizeof(*hdr) && hdr->length_bytes == (size_t)n));
        c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
        if (!c)
            continue;
        CHECK(c->cmsg_len == CMSG_LEN(sizeof(fds)));
        memcpy(fds, CMSG_DATA(c), sizeof(fds));
        if (g->channels < CHANNELS_MAX) {
            g->signals[g->channels] = fds[0];
            g->events[g->channels++] = fds[1];
        } else {
            (void)close(fds[0]);
            (void)close(fds[1]);
        }
    } while (n > 0);
}

static void run_host(struct guest *g)
{
    CHECK(!hv_host_poll(g->host));
    for (uint16_t i = 0; g->handle && i < WORKERS; i++)
        (void)hv_host_worker_poll(hv_host_guest_worker(g->handle, i));
    CHECK(!hv_host_poll(g->host));
}

/** What a thread that wants to sleep does; it must not miss anything, which the end of the run checks. */
static void sleep_workers(struct guest *g)
{
    for (uint16_t i = 0; g->handle && i < WORKERS; i++) {
        struct hv_host_worker *worker = hv_host_guest_worker(g->handle, i);

        (void)hv_host_worker_arm(worker);
        hv_host_worker_disarm(worker);
    }
}

/* ---- Steps with the numbers of the input ---- */

static void step_contact(struct guest *g, struct input *in)
{
    static const uint32_t versions[] = {HV_VERSION_5_3, HV_VERSION_5_2, HV_VERSION_5_0,
                                        HV_VERSION_4_1, HV_VERSION_4_0, HV_VERSION_3_0,
                                        HV_VERSION_2_4, 0x00060000u};
    uint8_t how = (uint8_t)take(in, 1);
    struct hv_msg_initiate_contact contact = {.hdr.type = HV_MSG_INITIATE_CONTACT,
                                              .version = versions[how & 7],
                                              .interrupt_page = how & 0x40 ? how : HV_SINT_VMBUS};

    if (how & 0x10)
        contact.monitor_page_h2g = (uint64_t)PFN << HV_PAGE_SHIFT;
    if (how & 0x20)
        contact.monitor_page_g2h = (uint64_t)(PFN + 1) << HV_PAGE_SHIFT;
    post_to(g,
            contact.version >= HV_VERSION_5_0 ? HV_CONNECTION_CONTACT_V5 : HV_CONNECTION_MESSAGES,
            &contact, sizeof(contact));
}

static void step_gpadl(struct guest *g, struct input *in)
{
    union {
        struct hv_msg_gpadl_header header;
        uint32_t words[HV_MESSAGE_MAX_BYTES / 4];
    } message = {.header = {.hdr.type = HV_MSG_GPADL_HEADER, .range_count = 1}};
    uint32_t pages, first;

    message.header.relid = take(in, 1);
    message.header.gpadl = take(in, 1);
    pages = 1 + take(in, 1) % 40;
    first = PFN + take(in, 1) % PAGES;
    message.header.range_bytes = (uint16_t)(8 + 8 * pages);
    message.words[5] =
        pages * HV_PAGE_BYTES; /* byte count, then byte offset 0, then the page numbers */
    for (uint32_t i = 0; i < HV_GPADL_HEADER_PFNS; i++)
        message.words[7 + 2 * i] = first + i;
    if (pages > HV_GPADL_HEADER_PFNS)
        pages = HV_GPADL_HEADER_PFNS; /* the rest in bodies, or not at all */
    post(g, &message, 28 + 8 * (size_t)pages);
}

static void step_body(struct guest *g, struct input *in)
{
    union {
        struct hv_msg_gpadl_body body;
        uint64_t words[HV_MESSAGE_MAX_BYTES / 8];
    } message = {.body.hdr.type = HV_MSG_GPADL_BODY};
    uint32_t pages;

    message.body.gpadl = take(in, 1);
    pages = take(in, 1) % (HV_GPADL_BODY_PFNS + 1);
    for (uint32_t i = 0; i < pages; i++)
        message.words[2 + i] = PFN + 26 + i;
    post(g, &message, 16 + 8 * (size_t)pages);
}

static void step_open(struct guest *g, struct input *in)
{
    struct hv_msg_open open = {.hdr.type = HV_MSG_OPEN_CHANNEL};

    open.relid = take(in, 1);
    open.gpadl = take(in, 1);
    open.in_ring_page = take(in, 1);
    open.target_vp = take(in, 1);
    if (open.target_vp == 0xff)
        open.target_vp = HV_VP_NONE;
    post(g, &open, sizeof(open));
}

static void step_two(struct guest *g, struct input *in, uint32_t type)
{
    struct hv_msg_gpadl_teardown message = {.hdr.type = type};

    message.relid = take(in, 1);
    message.gpadl = take(in, 1); /* or the target of a modify */
    if (message.gpadl == 0xff)
        message.gpadl = HV_VP_NONE;
    post(g, &message, type == HV_MSG_CLOSE_CHANNEL || type == HV_MSG_RELID_RELEASED ? 12 : 16);
}

static void step_memory(struct guest *g, struct input *in, uint16_t type)
{
    struct hv_sock_memory memory = {.hdr = {.type = type, .length_bytes = sizeof(memory)},
                                    .first_pfn = PFN,
                                    .page_count = PAGES};
    uint8_t how = (uint8_t)take(in, 1);

    if (how) {
        memory.first_pfn = PFN + how;
        memory.page_count = take(in, 1) % (PAGES + 2);
        memory.offset_bytes = take(in, 1) * 512;
    }
    send_frame(g, &memory, sizeof(memory), type == HV_SOCK_MEMORY_ADD ? g->memory_fd : -1);
}

/** A packet into the page that a ring may start at, and its index moved; or any four bytes anywhere. */
static void step_scribble(struct guest *g, struct input *in)
{
    uint8_t how = (uint8_t)take(in, 1);
    uint8_t *page = g->memory + (size_t)(how % (PAGES - 1)) * HV_PAGE_BYTES;
    struct hv_ring_control *control = (void *)page;
    struct hv_ring_descriptor d = {.type = HV_PACKET_INBAND, .offset8 = 2, .length8 = 3};
    uint32_t at;

    if (how & 0x80) {
        at = take(in, 2) % HV_PAGE_BYTES & ~3u;
        atomic_store((_Atomic uint32_t *)(void *)(page + at), take(in, 4));
        return;
    }
    d.trans_id = take(in, 2);
    if (d.trans_id & 0x80) {
        d.type = HV_PACKET_GPA_DIRECT;
        d.offset8 = 6;
        d.length8 = 6;
    }
    at = atomic_load(&control->write_index) % (HV_PAGE_BYTES - 128) & ~7u;
    memcpy(page + HV_PAGE_BYTES + at, &d, sizeof(d));
    if (d.type == HV_PACKET_GPA_DIRECT) {
        const uint32_t ext[8] = {
            0, 1, take(in, 2), take(in, 2), PFN + take(in, 1), 0, PFN + take(in, 1)};
        memcpy(page + HV_PAGE_BYTES + at + 16, ext, sizeof(ext));
    }
    atomic_store(&control->write_index, (at + d.length8 * 8u + 8) % HV_PAGE_BYTES);
}

static void step_event(struct guest *g, struct input *in)
{
    uint8_t which = (uint8_t)take(in, 1);
    uint64_t value = 1;

    if (!g->channels)
        return;
    if (which & 0x80) { /* fill the counter that the host writes to, and make it block */
        int fd = g->events[which % g->channels];

        value = UINT64_MAX - 1;
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
        (void)!write(fd, &value, sizeof(value));
        (void)fcntl(fd, F_SETFL, 0);
        return;
    }
    (void)!write(g->signals[which % g->channels], &value, sizeof(value));
}

static void step_raw(struct guest *g, struct input *in, bool control_message)
{
    alignas(8) uint8_t bytes[600] = {0};
    size_t size = take(in, 2) % sizeof(bytes);
    size_t have = size < in->left ? size : in->left;

    memcpy(bytes, in->at, have);
    in->at += have;
    in->left -= have;
    if (control_message)
        post(g, bytes, size % (HV_MESSAGE_MAX_BYTES + 1));
    else
        send_frame(g, bytes, size, -1);
}

static void offer(struct guest *g)
{
    struct hv_host_device_opts opts = {.size = sizeof(opts),
                                       .class_id = HV_CLASS_SCSI,
                                       .instance_id = {{1}},
                                       .monitored = true,
                                       .max_sub_channels = 3};

    CHECK(!hv_host_device_offer(g->host, &opts, &echo_ops, NULL, &g->device));
}

static void step_device(struct guest *g)
{
    if (g->device) {
        hv_host_device_withdraw(g->device, echo_gone, NULL);
        g->device = NULL;
        echo.gone = false;
    } else if (echo.gone) {
        offer(g);
    }
}

static void hello(struct guest *g)
{
    const struct hv_sock_hello frame = {
        .hdr = {.type = HV_SOCK_HELLO, .length_bytes = sizeof(frame)},
        .magic = HV_SOCK_MAGIC,
        .version = HV_SOCK_VERSION,
    };

    send_frame(g, &frame, sizeof(frame), -1);
}

/** Frames and messages of an orderly guest, in any order. */
static void act_as_guest(struct guest *g, struct input *in, uint32_t what)
{
    static const struct hv_msg_header offers = {.type = HV_MSG_REQUEST_OFFERS};
    static const struct hv_msg_header unload = {.type = HV_MSG_UNLOAD};

    if (what == 2)
        hello(g);
    else if (what == 3)
        step_memory(g, in, HV_SOCK_MEMORY_ADD);
    else if (what == 4)
        step_memory(g, in, HV_SOCK_MEMORY_REMOVE);
    else if (what == 5)
        step_contact(g, in);
    else if (what == 6)
        post(g, &offers, sizeof(offers));
    else if (what == 7)
        step_gpadl(g, in);
    else if (what == 8)
        step_body(g, in);
    else if (what == 9)
        step_open(g, in);
    else if (what == 10)
        step_two(g, in, HV_MSG_CLOSE_CHANNEL);
    else if (what == 11)
        step_two(g, in, HV_MSG_GPADL_TEARDOWN);
    else if (what == 12)
        step_two(g, in, HV_MSG_RELID_RELEASED);
    else if (what == 13)
        step_two(g, in, HV_MSG_MODIFY_CHANNEL);
    else if (what == 14)
        post(g, &unload, sizeof(unload));
}

static void act(struct guest *g, struct input *in)
{
    uint32_t what = take(in, 1) % 24;

    if (what <= 1)
        step_raw(g, in, what);
    else if (what <= 14)
        act_as_guest(g, in, what);
    else if (what <= 16)
        step_scribble(g, in);
    else if (what == 17)
        step_event(g, in);
    else if (what == 18)
        step_device(g);
    else if (what == 19)
        echo.hold_close = !echo.hold_close;
    else if (what == 20)
        echo.refuse = !echo.refuse;
    else if (what == 21)
        receive_all(g);
    else if (what == 22)
        sleep_workers(g);
    else
        run_host(g);
}

/* ---- A run ---- */

static void start(struct guest *g)
{
    struct hv_host_opts opts = HV_HOST_OPTS_INIT;
    int fds[2];

    memset(&echo, 0, sizeof(echo));
    opts.workers_per_guest = WORKERS;
    opts.guest_added = guest_added;
    opts.guest_removed = guest_removed;
    opts.arg = g;
    CHECK(!hv_host_create(&opts, &g->host));
    offer(g);
    CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds));
    CHECK(!hv_host_adopt(g->host, fds[0]));
    g->fd = fds[1];
}

/** The guest leaves; then nothing of it may be left either. */
static void stop(struct guest *g)
{
    bool was_there;

    receive_all(g);
    (void)close(g->fd);
    echo.hold_close = false;
    run_host(g);
    was_there = g->handle || g->done;
    for (int i = 0; was_there && !g->done; i++) {
        run_host(g);
        CHECK(i < ROUNDS_AT_MOST);
    }
    CHECK(!echo.open && echo.opened == echo.closed);
    for (unsigned i = 0; i < g->channels; i++) {
        (void)close(g->signals[i]);
        (void)close(g->events[i]);
    }
    if (g->device)
        hv_host_device_withdraw(g->device, echo_gone, NULL);
    hv_host_destroy(g->host);
    CHECK(echo.gone);
}

/** Once for all runs: the same pages, emptied for each. */
static void make_memory(struct guest *g)
{
    static uint8_t *memory;
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        CHECK(fd >= 0 && !ftruncate(fd, PAGES * (off_t)HV_PAGE_BYTES));
        CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
        memory = mmap(NULL, PAGES * HV_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(memory != MAP_FAILED);
    }
    memset(memory, 0, PAGES * HV_PAGE_BYTES);
    g->memory = memory;
    g->memory_fd = fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.at = data, .left = size};
    struct guest g = {0};

    make_memory(&g);
    start(&g);
    for (int i = 0; i < ACTIONS_AT_MOST && in.left; i++)
        act(&g, &in);
    stop(&g);
    return 0;
}
