/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocol.  What to copy for a driver of your own: find_device() and balloon_open() (set-up), send_message() (the
 * way out, with waiting for room), next_packet() (sleeping without losing a wake-up), and receive() (a host that may lie).
 */
#include "balloon.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <hv/wire/ring.h>

#include "dynmem.h"

#define DEFAULT_TIMEOUT_MS 10000u
#define RING_OVERHEAD      24u /* of each packet, as hv_channel_want_room() counts */

/* A message of the host, copied out of the ring: what is interpreted cannot change any more. */
struct message {
    struct dynmem_header header; /* in our byte order */
    union {
        uint64_t align;
        uint8_t bytes[56]; /* what follows the header; zeroes where the host sent less */
        uint64_t flags;
        uint32_t words[2];
    } body;
};

static int complain(struct balloon *b, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int complain(struct balloon *b, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(b->problem, sizeof(b->problem), format, args);
    va_end(args);
    return err;
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- Set-up ---- */

static int find_device(struct balloon *b)
{
    struct hv_vmbus_device device;
    struct hv_guid class_id;
    int err = hv_guid_parse(DYNMEM_CLASS_TEXT, &class_id);

    if (!err)
        err = hv_vmbus_find(b->bus, &class_id, &device);
    if (err)
        return complain(b, err, "the host offers no dynamic memory here");
    b->instance = device.instance_id;
    return 0;
}

int balloon_open(struct balloon *b, const char *address, const struct hv_vmbus_opts *opts)
{
    struct hv_channel_opts channel_opts = HV_CHANNEL_OPTS_INIT;
    int err;

    memset(b, 0, sizeof(*b));
    b->timeout_ms = DEFAULT_TIMEOUT_MS;
    b->next_id = 1;
    err = hv_vmbus_open(address, opts, &b->bus);
    if (err)
        return complain(b, err, "cannot reach a host at %s: %s", address, strerror(-err));
    err = find_device(b);
    if (!err) {
        err = hv_channel_open(b->bus, &b->instance, 0, &channel_opts, &b->channel);
        if (err)
            (void)complain(b, err, "the channel does not open: %s", strerror(-err));
    }
    if (err)
        balloon_close(b);
    return err;
}

void balloon_close(struct balloon *b)
{
    hv_channel_close(b->channel);
    hv_vmbus_close(b->bus);
    b->channel = NULL;
    b->bus = NULL;
}

/* ---- Sleeping ---- */

/**
 * Sleep until the host signals, something happens to the device, or the time is over.  The caller has asked for a signal,
 * and looks again afterwards.  1 = woken, 0 = time is over, or a negative errno.
 */
static int sleep_until(struct balloon *b, int64_t deadline)
{
    struct pollfd fds[] = {
        {.fd = hv_channel_fd(b->channel), .events = POLLIN},
        {.fd = hv_vmbus_fd(b->bus), .events = POLLIN},
    };
    int64_t left = deadline - now_ms();
    int count = poll(fds, sizeof(fds) / sizeof(fds[0]), left > 0 ? (int)left : 0);
    int err = count < 0 && errno != EINTR ? -errno : 0;

    b->sleeps++;
    hv_channel_disarm(b->channel);
    if (!err && count > 0 && fds[1].revents)
        err = hv_vmbus_poll(b->bus);
    return err ? err : count != 0;
}

/** The next packet, in place.  A wake-up cannot be lost: arm looks at the ring again after asking for the signal. */
static int next_packet(struct balloon *b, int64_t deadline, struct hv_packet *ret_packet)
{
    for (;;) {
        int err = hv_channel_peek(b->channel, ret_packet);

        if (err != -EAGAIN)
            return err;
        if (hv_channel_arm(b->channel))
            continue;
        err = sleep_until(b, deadline);
        if (err < 0)
            return err;
        if (err > 0)
            continue;
        if (!hv_channel_peek(b->channel, ret_packet)) {
            hv_channel_release(b->channel);
            return complain(b, -ETIMEDOUT, "a message lay in the ring, and its signal was lost");
        }
        return -EAGAIN;
    }
}

/* ---- Messages ---- */

/** Send one message: fills the header, publishes, signals the host if it sleeps. */
static int send_message(struct balloon *b, enum dynmem_type type, struct dynmem_header *message,
                        uint32_t bytes)
{
    struct hv_packet_desc desc = {
        .trans_id = b->next_id, .payload_bytes = bytes, .type = HV_PACKET_INBAND};
    int64_t deadline = now_ms() + b->timeout_ms;
    struct hv_packet_slot slot;
    int err;

    message->type = htole16(type);
    message->bytes = htole16((uint16_t)bytes);
    message->trans_id = htole32(b->next_id);
    while ((err = hv_channel_reserve(b->channel, &desc, &slot)) == -EAGAIN) {
        if (hv_channel_want_room(b->channel, RING_OVERHEAD + ((bytes + 7) & ~7u)))
            continue;
        err = sleep_until(b, deadline);
        if (err < 0)
            return err;
        if (!err)
            return complain(b, -ETIMEDOUT, "the host takes nothing from the ring");
    }
    if (err)
        return complain(b, err, "sending: %s", strerror(-err));
    memcpy(slot.payload, message, bytes);
    b->next_id++;
    return hv_channel_flush(b->channel);
}

/** The next message of the host, copied and checked.  -EAGAIN when none came in time. */
static int receive(struct balloon *b, uint32_t wait_ms, struct message *ret_message)
{
    struct message message = {.body.align = 0};
    struct hv_packet packet;
    int err = next_packet(b, now_ms() + wait_ms, &packet);

    if (err)
        return err;
    if (packet.type != HV_PACKET_INBAND || packet.payload_bytes < sizeof(message.header)) {
        hv_channel_kill(b->channel, "no dynamic-memory message");
        return complain(b, -EPROTO, "the host sent a packet of type %u with %u bytes", packet.type,
                        packet.payload_bytes);
    }
    memcpy(&message.header, packet.payload, sizeof(message.header));
    message.header.type = le16toh(message.header.type);
    message.header.bytes = le16toh(message.header.bytes);
    message.header.trans_id = le32toh(message.header.trans_id);
    uint32_t bytes = message.header.bytes;
    if (bytes < sizeof(message.header) || bytes > packet.payload_bytes) {
        hv_channel_kill(b->channel, "a dynamic-memory message longer than its packet");
        return complain(b, -EPROTO, "a message of %u bytes in a packet with %u", bytes,
                        packet.payload_bytes);
    }
    bytes -= (uint32_t)sizeof(message.header);
    memcpy(message.body.bytes, (const uint8_t *)packet.payload + sizeof(message.header),
           bytes < sizeof(message.body) ? bytes : sizeof(message.body));
    hv_channel_release(b->channel);
    *ret_message = message;
    return 0;
}

static int answer_balloon(struct balloon *b)
{
    struct dynmem_balloon_response response = {.ranges = 0}; /* we are at our minimum */

    return send_message(b, DYNMEM_BALLOON_RESPONSE, &response.header, sizeof(response));
}

static int answer_unballoon(struct balloon *b, const struct message *request)
{
    struct dynmem_header response;

    if (le32toh(request->body.words[0]) & 1)
        return 0;
    return send_message(b, DYNMEM_UNBALLOON_RESPONSE, &response, sizeof(response));
}

static int answer_hot_add(struct balloon *b)
{
    struct dynmem_hot_add_response response = {.result = 0}; /* never offered, so refused */

    return send_message(b, DYNMEM_HOT_ADD_RESPONSE, &response.header, sizeof(response));
}

/** What the host asks of its own accord.  What we do not know is none of our business: newer hosts say more. */
static int handle(struct balloon *b, const struct message *message)
{
    b->host_requests++;
    switch (message->header.type) {
    case DYNMEM_BALLOON_REQUEST:
        return answer_balloon(b);
    case DYNMEM_UNBALLOON_REQUEST:
        return answer_unballoon(b, message);
    case DYNMEM_HOT_ADD_REQUEST:
        return answer_hot_add(b);
    default:
        return 0;
    }
}

int balloon_serve(struct balloon *b, uint32_t wait_ms)
{
    struct message message = {.header.type = 0};
    int err = receive(b, wait_ms, &message);

    return err ? err : handle(b, &message);
}

/** Sleep until the answer of this type is there; what the host asks meanwhile is served. */
static int await(struct balloon *b, enum dynmem_type type, uint32_t trans_id, uint64_t *ret_flags)
{
    int64_t deadline = now_ms() + b->timeout_ms;

    for (;;) {
        int64_t left = deadline - now_ms();
        struct message message = {.header.type = 0};
        int err = left > 0 ? receive(b, (uint32_t)left, &message) : -EAGAIN;

        if (err == -EAGAIN)
            return complain(b, -ETIMEDOUT, "no answer to message %u within %u ms", trans_id,
                            b->timeout_ms);
        if (err)
            return err;
        if (message.header.type != type) {
            err = handle(b, &message);
            if (err)
                return err;
            continue;
        }
        if (message.header.bytes < sizeof(struct dynmem_answer) ||
            message.header.trans_id != trans_id) {
            hv_channel_kill(b->channel, "the answer to another question");
            return complain(b, -EPROTO, "answer %u of %u bytes to message %u",
                            message.header.trans_id, message.header.bytes, trans_id);
        }
        *ret_flags = le64toh(message.body.flags);
        return 0;
    }
}

/* ---- The conversation ---- */

int balloon_ask_version(struct balloon *b, uint32_t version, bool last, bool *ret_accepted)
{
    struct dynmem_version_request request = {.version = htole32(version),
                                             .last_attempt = htole32(last)};
    uint32_t trans_id = b->next_id;
    uint64_t flags = 0;
    int err = send_message(b, DYNMEM_VERSION_REQUEST, &request.header, sizeof(request));

    if (!err)
        err = await(b, DYNMEM_VERSION_RESPONSE, trans_id, &flags);
    if (err)
        return err;
    *ret_accepted = flags & DYNMEM_ACCEPTED;
    if (*ret_accepted)
        b->version = version;
    return 0;
}

int balloon_agree(struct balloon *b)
{
    static const uint32_t versions[] = {DYNMEM_VERSION(2, 0), DYNMEM_VERSION(1, 0),
                                        DYNMEM_VERSION(0, 3)};
    const size_t count = sizeof(versions) / sizeof(versions[0]);

    for (size_t i = 0; i < count; i++) {
        bool accepted;
        int err = balloon_ask_version(b, versions[i], i == count - 1, &accepted);

        if (err || accepted)
            return err;
    }
    return complain(b, -EPROTONOSUPPORT, "the host speaks no version that we do");
}

int balloon_report_capabilities(struct balloon *b)
{
    struct dynmem_capabilities capabilities = {
        .flags = htole64(
            DYNMEM_CAN_BALLOON), /* hosts expect it; requests are answered with "no pages" */
        .max_page_number = htole64(UINT64_MAX),
    };
    uint32_t trans_id = b->next_id;
    uint64_t flags = 0;
    int err = send_message(b, DYNMEM_CAPABILITIES, &capabilities.header, sizeof(capabilities));

    if (!err)
        err = await(b, DYNMEM_CAPABILITIES_RESPONSE, trans_id, &flags);
    if (err)
        return err;
    if (!(flags & DYNMEM_ACCEPTED))
        return complain(b, -ECONNREFUSED, "the host does not accept our capabilities");
    b->host_wants_none = flags & DYNMEM_NO_REPORTS;
    return 0;
}

int balloon_report_status(struct balloon *b, uint64_t available_pages, uint64_t committed_pages)
{
    struct dynmem_status status = {
        .available_pages = htole64(available_pages),
        .committed_pages = htole64(committed_pages),
    };

    return send_message(b, DYNMEM_STATUS, &status.header, sizeof(status));
}
