/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From an open channel to a controller that takes commands.
 *
 *   BEGIN_INITIALIZATION -> QUERY_PROTOCOL_VERSION, newest first, until one is taken -> QUERY_PROPERTIES ->
 *   END_INITIALIZATION -> [CREATE_SUB_CHANNELS -> offers -> open each]
 *
 * All in the control thread, step by step, each with its time limit.  Wire: docs/wire.md "vstor handshake".
 */
#include "storvsc_impl.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

/** What a host without a limit of its own is asked for at most. */
#define TRANSFER_DEFAULT (128u << 10)

static const uint16_t versions[] = {
    HV_VSTOR_VERSION_6_2, HV_VSTOR_VERSION_6_0, HV_VSTOR_VERSION_5_1,
    HV_VSTOR_VERSION_4_2, HV_VSTOR_VERSION_2_0,
};

/* Sleep until the host says something or `deadline_ns` comes. */
static void sleep_for_news(struct hv_storvsc *s, uint64_t now_ns, uint64_t deadline_ns)
{
    struct hv_storvsc_queue *q = s->queues[0];
    struct pollfd fds[2] = {
        {.fd = hv_channel_fd(q->channel), .events = POLLIN},
        {.fd = hv_vmbus_fd(s->bus), .events = POLLIN},
    };
    uint64_t ms = (deadline_ns - now_ns) / HV_STORVSC_MS_NS + 1;
    int next = hv_storvsc_next_deadline_ms(q);

    if (next >= 0 && (uint64_t)next < ms)
        ms = (uint64_t)next;
    if (!hv_storvsc_arm(q))
        (void)poll(fds, 2,
                   (int)hv_min_u64(ms, INT_MAX)); /* whatever it says, we look for ourselves */
    hv_storvsc_disarm(q);
}

int hv_storvsc_wait(struct hv_storvsc *s, const bool *done, uint64_t deadline_ns)
{
    struct hv_storvsc_queue *q = s->queues[0];

    for (;;) {
        uint64_t now;
        int rc = hv_storvsc_poll(q);

        if (*done)
            return 0;
        if (rc < 0)
            return rc;
        rc = hv_vmbus_poll(s->bus);
        if (rc)
            return rc;
        now = hv_clock_ns();
        if (now >= deadline_ns)
            return -ETIMEDOUT;
        sleep_for_news(s, now, deadline_ns);
    }
}

static uint64_t step_deadline(const struct hv_storvsc *s)
{
    return hv_clock_ns() + s->opts.init_timeout_ms * HV_STORVSC_MS_NS;
}

/* Send one packet and wait for its answer; 0 says that there is one, not what it is. */
static int ask(struct hv_storvsc *s, const struct hv_vstor_packet *packet,
               struct hv_vstor_packet *ret_reply)
{
    struct hv_storvsc_control control = {0};
    int rc = hv_storvsc_start_control(s->queues[0], packet, &control);

    if (!rc)
        rc = hv_storvsc_wait(s, &control.done, step_deadline(s));
    if (!rc)
        *ret_reply = control.reply;
    else
        hv_storvsc_forget_control(s->queues[0], &control);
    return rc;
}

static struct hv_vstor_packet packet_of(uint32_t operation)
{
    return (struct hv_vstor_packet){
        .hdr = {.operation = operation, .flags = HV_VSTOR_FLAG_REQUEST_COMPLETION},
    };
}

/* A step that the host must agree to. */
static int demand(struct hv_storvsc *s, uint32_t operation, const char *name,
                  struct hv_vstor_packet *ret_reply)
{
    struct hv_vstor_packet packet = packet_of(operation);
    struct hv_vstor_packet reply = {0};
    int rc = ask(s, &packet, &reply);

    if (rc) {
        hv_log(&s->opts.log, HV_LOG_ERROR, "no answer to %s: %s", name, strerrordesc_np(-rc));
        return rc;
    }
    if (reply.hdr.status) {
        hv_log(&s->opts.log, HV_LOG_ERROR, "the host refuses %s, status %08x", name,
               reply.hdr.status);
        return -EPROTO;
    }
    *ret_reply = reply;
    return 0;
}

static int agree_on_version(struct hv_storvsc *s)
{
    for (size_t i = 0; i < HV_COUNT_OF(versions); i++) {
        struct hv_vstor_packet packet = packet_of(HV_VSTOR_QUERY_PROTOCOL_VERSION);
        struct hv_vstor_packet reply = {0};
        int rc;

        if (versions[i] > s->opts.max_version)
            continue;
        packet.version.version = versions[i];
        rc = ask(s, &packet, &reply);
        if (rc)
            return rc;
        if (!reply.hdr.status) {
            s->version = versions[i];
            return 0;
        }
    }
    hv_log(&s->opts.log, HV_LOG_ERROR, "the host speaks no version from 2.0 to %u.%u",
           s->opts.max_version >> 8, s->opts.max_version & 0xffu);
    return -EPROTONOSUPPORT;
}

/* Largest command that a packet in this ring can describe, wherever its data start in their page. */
static uint32_t ring_transfer_bytes(const struct hv_storvsc_queue *q)
{
    uint32_t fixed = (uint32_t)(sizeof(struct hv_gpa_direct) + sizeof(struct hv_gpa_range)) +
                     HV_VSTOR_PACKET_V2_BYTES;
    uint32_t max = hv_channel_max_bytes(q->channel);
    uint32_t pages = max > fixed ? (max - fixed) / 8 : 0;

    return pages > 1 ? (uint32_t)hv_min_u64((pages - 1) * (uint64_t)HV_PAGE_BYTES,
                                            HV_STORVSC_TRANSFER_MAX)
                     : 0;
}

static int take_properties(struct hv_storvsc *s, const struct hv_vstor_properties *properties)
{
    uint32_t host = properties->max_transfer_bytes;
    uint32_t ring = ring_transfer_bytes(s->queues[0]);
    uint32_t bytes = hv_min_u32(host ? host : TRANSFER_DEFAULT, ring);

    s->max_transfer_bytes = bytes & ~(HV_PAGE_BYTES - 1);
    s->max_sub_channels = 0;
    if (s->version >= HV_VSTOR_VERSION_5_1 && (properties->flags & HV_VSTOR_PROPERTY_MULTI_CHANNEL))
        s->max_sub_channels = properties->max_sub_channels;
    if (!s->max_transfer_bytes) {
        hv_log(&s->opts.log, HV_LOG_ERROR,
               "transfers of %u bytes at most (host %u, ring %u) are of no use", bytes, host, ring);
        return -EPROTO;
    }
    hv_log(&s->opts.log, HV_LOG_INFO,
           "version %u.%u, transfers up to %u KiB (host %u KiB), %u sub-channels offered",
           s->version >> 8, s->version & 0xffu, s->max_transfer_bytes >> 10, host >> 10,
           s->max_sub_channels);
    return 0;
}

int hv_storvsc_handshake(struct hv_storvsc *s)
{
    struct hv_vstor_packet reply = {0};
    int rc = demand(s, HV_VSTOR_BEGIN_INITIALIZATION, "BEGIN_INITIALIZATION", &reply);

    if (!rc)
        rc = agree_on_version(s);
    if (rc)
        return rc;
    /* From here on packets have the size of the revision, and so have the answers. */
    if (s->version < HV_VSTOR_VERSION_5_1)
        s->queues[0]->packet_bytes = HV_VSTOR_PACKET_V1_BYTES;
    rc = demand(s, HV_VSTOR_QUERY_PROPERTIES, "QUERY_PROPERTIES", &reply);
    if (!rc)
        rc = take_properties(s, &reply.properties);
    if (!rc)
        rc = demand(s, HV_VSTOR_END_INITIALIZATION, "END_INITIALIZATION", &reply);
    return rc;
}

int hv_storvsc_open_channel(struct hv_storvsc *s, struct hv_storvsc_queue *q,
                            uint16_t channel_index)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    struct hv_channel *channel;
    int rc;

    opts.out_bytes = s->opts.ring_bytes;
    opts.in_bytes = s->opts.ring_bytes;
    opts.target_vp = s->opts.target_vps ? s->opts.target_vps[q->index] : q->index;
    rc = hv_channel_open(s->bus, &s->instance, channel_index, &opts, &channel);
    if (!rc)
        hv_storvsc_queue_attach(q, s->bus, channel);
    return rc;
}

static void open_offered(struct hv_storvsc *s, uint16_t offered)
{
    for (uint16_t i = 1; i <= offered && s->queue_count < s->queue_max; i++) {
        struct hv_storvsc_queue *q = s->queues[s->queue_count];
        int rc = hv_storvsc_open_channel(s, q, i);

        if (!rc) {
            q->packet_bytes = s->queues[0]->packet_bytes;
            rc = hv_storvsc_memory_attach(q);
            if (rc)
                hv_storvsc_close_channel(q);
        }
        if (rc)
            hv_log(&s->opts.log, HV_LOG_WARNING, "sub-channel %u is left out: %s", i,
                   strerrordesc_np(-rc));
        else
            s->queue_count++;
    }
}

int hv_storvsc_open_subchannels(struct hv_storvsc *s)
{
    struct hv_vstor_packet packet = packet_of(HV_VSTOR_CREATE_SUB_CHANNELS);
    struct hv_vstor_packet reply = {0};
    uint32_t count = hv_min_u32(s->queue_max - 1u, s->max_sub_channels);
    size_t offered;
    int rc;

    if (!count)
        return 0;
    if (!hv_channel_may_grow(s->queues[0]->channel)) {
        hv_log(&s->opts.log, HV_LOG_INFO, "no sub-channels on a channel without monitor");
        return 0;
    }
    packet.sub_channel_count = (uint16_t)count;
    rc = ask(s, &packet, &reply);
    if (rc && rc != -ETIMEDOUT)
        return rc;
    if (rc || reply.hdr.status) {
        hv_log(&s->opts.log, HV_LOG_WARNING,
               "no sub-channels (status %08x), going on with one channel", reply.hdr.status);
        return 0;
    }
    offered = hv_vmbus_wait_subchannels(s->bus, &s->instance, count, s->opts.init_timeout_ms);
    open_offered(s, (uint16_t)hv_min_u64(offered, count));
    if (s->queue_count < s->queue_max)
        hv_log(&s->opts.log, HV_LOG_INFO, "%u channels of %u wanted", s->queue_count, s->queue_max);
    return s->queues[0]->status;
}
