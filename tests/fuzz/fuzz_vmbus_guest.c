/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile host for lib/vmbus: the input is what it says, and what the guest does in between.
 *
 *   byte 0      bit 0: first a proper handshake with one device, so that the rest meets an open bus
 *   records     u8 how, u16 length (at most 600), that many bytes
 *                 how bits 0-1  descriptors sent with it: 0 .. 2 eventfds, 3 = one pipe
 *                     bit  2    the bytes are a VMBus message: wrap them in a well-formed frame
 *                     bits 3-5  what the guest does afterwards, see act()
 *
 * The host speaks first and the guest's answers are thrown away: one thread, and what it waits for is there or never
 * comes.  Beside what a sanitizer finds, no descriptor may be leaked and no call may say what it does not document.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hv/vmbus.h>
#include <hv/wire/message.h>
#include <hv/wire/ring.h>
#include <hv/wire/sock.h>

#define RECORD_MAX_BYTES 600u
#define CHANNELS         2u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct hv_guid instance = {{0x11}};

struct run {
    int host_fd;
    int guest_fd; /* -1 once the bus has it */
    int event_fds[2];
    int pipe_fd;
    struct hv_vmbus *bus;
    struct hv_channel *channel[CHANNELS];
};

static void check(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "fuzz_vmbus_guest: %s\n", what);
    abort();
}

/** The number that the next descriptor will get: the same before and after means that none is left. */
static int lowest_free_fd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    check(fd >= 0 && !close(fd), "eventfd");
    return fd;
}

/* ---- Host ---- */

static void host_says(struct run *run, void *bytes, size_t length, unsigned fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = bytes, .iov_len = length};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    size_t fd_bytes = (fds == 3 ? 1 : fds) * sizeof(int);

    if (fds) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(fd_bytes);
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(fd_bytes);
        memcpy(CMSG_DATA(&control.align), fds == 3 ? &run->pipe_fd : run->event_fds, fd_bytes);
    }
    if (sendmsg(run->host_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        check(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET, "sendmsg");
}

static void host_message(struct run *run, const void *message, size_t length, unsigned fds)
{
    struct {
        struct hv_sock_message head;
        uint8_t payload[RECORD_MAX_BYTES];
    } frame = {
        .head = {.hdr = {HV_SOCK_MESSAGE, 0, (uint32_t)(sizeof(frame.head) + length)},
                 .payload_bytes = (uint32_t)length},
    };

    if (length)
        memcpy(frame.payload, message, length);
    host_says(run, &frame, sizeof(frame.head) + length, fds);
}

static void host_result(struct run *run, uint64_t first_pfn)
{
    struct hv_sock_memory_result result = {.hdr = {HV_SOCK_MEMORY_RESULT, 0, sizeof(result)},
                                           .first_pfn = first_pfn};

    host_says(run, &result, sizeof(result), 0);
}

static void handshake(struct run *run)
{
    struct hv_sock_hello hello = {.hdr = {HV_SOCK_HELLO, 0, sizeof(hello)},
                                  .magic = HV_SOCK_MAGIC,
                                  .version = HV_SOCK_VERSION};
    struct hv_msg_version_response version = {
        .hdr.type = HV_MSG_VERSION_RESPONSE, .supported = 1, .connection_id = 1};
    struct hv_msg_offer offer = {
        .hdr.type = HV_MSG_OFFER_CHANNEL, .instance_id = instance, .relid = 1};
    struct hv_msg_header end = {.type = HV_MSG_ALL_OFFERS_DELIVERED};

    host_says(run, &hello, sizeof(hello), 0);
    host_result(run, 0x1000);
    host_message(run, &version, sizeof(version), 0);
    host_message(run, &offer, sizeof(offer), 2);
    host_message(run, &end, sizeof(end), 0);
}

/* ---- Guest ---- */

static void drain(const struct run *run)
{
    uint8_t bytes[RECORD_MAX_BYTES];

    while (recv(run->host_fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
}

static void open_bus(struct run *run)
{
    struct hv_vmbus_opts opts = HV_VMBUS_OPTS_INIT;
    char address[32];
    int err;

    if (run->guest_fd < 0)
        return;
    opts.timeout_ms = 1;
    (void)snprintf(address, sizeof(address), "fd:%d", run->guest_fd);
    run->guest_fd = -1;
    err = hv_vmbus_open(address, &opts, &run->bus);
    check(!err == !!run->bus, "open: bus and result disagree");
    check(!err || err == -ECONNREFUSED || err == -ENODEV || err == -EPROTONOSUPPORT ||
              err == -ETIMEDOUT || err == -EPROTO || err == -ENOMEM || err == -EACCES ||
              err == -EINVAL,
          "open: result that is not documented");
}

static void open_channel(struct run *run, uint16_t index)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    int err;

    opts.out_bytes = 0x20000; /* long enough for GPADL bodies */
    opts.in_bytes = 0x2000;
    if (run->channel[index])
        return;
    err = hv_channel_open(run->bus, &instance, index, &opts, &run->channel[index]);
    check(!err == !!run->channel[index], "channel open: channel and result disagree");
}

static void use_channel(struct hv_channel *channel)
{
    const struct hv_packet_desc desc = {
        .trans_id = 1, .payload_bytes = 64, .type = HV_PACKET_INBAND};
    struct hv_packet_slot slot = {0};
    struct hv_packet packet = {0};
    int status = hv_channel_status(channel);

    if (!hv_channel_reserve(channel, &desc, &slot))
        memset(slot.payload, 1, desc.payload_bytes);
    (void)hv_channel_flush(channel);
    if (!hv_channel_arm(channel))
        hv_channel_disarm(channel);
    if (!hv_channel_peek(channel, &packet))
        hv_channel_release(channel);
    check(!status || hv_channel_status(channel) == status, "a dead channel changed its mind");
}

static void close_channel(struct run *run, unsigned index)
{
    hv_channel_close(run->channel[index]);
    run->channel[index] = NULL;
}

static void act(struct run *run, unsigned what)
{
    struct hv_dma *dma = NULL;

    if (!what)
        return;
    open_bus(run);
    if (!run->bus)
        return;
    drain(run);
    switch (what) {
    case 1:
        (void)hv_vmbus_poll(run->bus);
        break;
    case 2:
        open_channel(run, 0);
        break;
    case 3:
        open_channel(run, 1);
        break;
    case 4:
        close_channel(run, 1);
        break;
    case 5:
        close_channel(run, 0);
        break;
    case 6:
        for (unsigned i = 0; i < CHANNELS; i++)
            if (run->channel[i])
                use_channel(run->channel[i]);
        break;
    default:
        (void)hv_vmbus_wait_subchannels(run->bus, &instance, 1, 1);
        if (!hv_dma_alloc(run->bus, 4096, &dma))
            hv_dma_free(dma);
        break;
    }
}

static void play(struct run *run, const uint8_t *data, size_t size)
{
    uint8_t bytes[RECORD_MAX_BYTES];

    while (size >= 3) {
        unsigned how = data[0];
        size_t length = data[1] | (size_t)data[2] << 8;

        data += 3;
        size -= 3;
        if (length > size)
            length = size;
        if (length > sizeof(bytes))
            length = sizeof(bytes);
        memcpy(bytes, data, length);
        data += length;
        size -= length;
        if (how & 4)
            host_message(run, bytes, length, how & 3);
        else if (length)
            host_says(run, bytes, length, how & 3);
        act(run, how >> 3 & 7);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {.guest_fd = -1};
    int free_before = lowest_free_fd();
    int pair[2], pipe_fds[2];

    if (!size)
        return 0;
    check(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
    run.host_fd = pair[0];
    run.guest_fd = pair[1];
    for (unsigned i = 0; i < 2; i++)
        run.event_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    check(run.event_fds[1] >= 0 && !pipe2(pipe_fds, O_CLOEXEC), "eventfd and pipe");
    run.pipe_fd = pipe_fds[1];
    if (data[0] & 1) {
        handshake(&run);
        act(&run, 1);
    }
    play(&run, data + 1, size - 1);
    act(&run, 1);
    check(!shutdown(run.host_fd, SHUT_WR) || errno == ENOTCONN, "shutdown");
    for (unsigned i = CHANNELS; i-- > 0;)
        close_channel(&run, i);
    hv_vmbus_close(run.bus);
    if (run.guest_fd >= 0)
        (void)close(run.guest_fd);
    (void)close(run.host_fd);
    (void)close(run.event_fds[0]);
    (void)close(run.event_fds[1]);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    check(lowest_free_fd() == free_before, "a descriptor is left open");
    return 0;
}
