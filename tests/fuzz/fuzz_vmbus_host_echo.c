/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz_vmbus_host_echo.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <hv/wire/ring.h>

struct echo echo;

struct echo_channel {
    struct hv_host_channel *channel;
    bool closing;
};

static int echo_open(void *ctx, struct hv_host_channel *channel, const void *user_data,
                     size_t user_data_bytes, void **ret_ctx)
{
    struct echo_channel *e;

    (void)ctx;
    CHECK(user_data && user_data_bytes == 120);
    if (echo.refuse)
        return -EPERM;
    e = calloc(1, sizeof(*e));
    CHECK(e);
    e->channel = channel;
    echo.open++;
    echo.opened++;
    *ret_ctx = e;
    return 0;
}

static volatile uint64_t sink;

static void touch_gpa(struct echo_channel *e, const struct hv_packet *packet)
{
    struct iovec iov[16];
    uint32_t bytes, sum = 0;
    ssize_t n = hv_host_channel_map_gpa(e->channel, packet, iov, 16, &bytes);

    for (ssize_t i = 0; i < n; i++) {
        volatile uint8_t *at = iov[i].iov_base;

        CHECK(iov[i].iov_len);
        sink += at[0];
        at[iov[i].iov_len - 1] = (uint8_t)sink;
        sum += (uint32_t)iov[i].iov_len;
    }
    CHECK(n < 0 || sum == bytes);
}

static void answer(struct echo_channel *e, const struct hv_packet *packet)
{
    struct hv_packet_desc desc = {.trans_id = packet->trans_id, .type = HV_PACKET_COMPLETION};
    struct hv_packet_slot slot;

    switch (packet->trans_id & 7) {
    case 1:
        (void)hv_host_channel_offer_subchannels(e->channel, (uint16_t)(packet->trans_id >> 8));
        break;
    case 2:
        hv_host_channel_rescind(e->channel);
        break;
    case 3:
        hv_host_channel_kill(e->channel, "asked for by packet %llu",
                             (unsigned long long)packet->trans_id);
        break;
    case 4:
        hv_host_channel_corrupt_index(e->channel);
        break;
    case 5:
        (void)hv_host_channel_want_room(e->channel, (uint32_t)(packet->trans_id >> 8));
        break;
    default:
        break;
    }
    if (packet->type == HV_PACKET_GPA_DIRECT)
        touch_gpa(e, packet);
    desc.payload_bytes = packet->payload_bytes;
    if (!hv_host_channel_reserve(e->channel, &desc, &slot))
        memcpy(slot.payload, packet->payload, packet->payload_bytes);
}

static int echo_poll(void *ctx)
{
    struct echo_channel *e = ctx;
    struct hv_packet packet;
    int done = 0;

    if (e->closing) {
        if (echo.hold_close)
            return 0;
        echo.open--;
        echo.closed++;
        hv_host_channel_closed(e->channel);
        free(e);
        return 1;
    }
    while (done < 64 && !hv_host_channel_peek(e->channel, &packet)) {
        answer(e, &packet);
        done++;
    }
    (void)hv_host_channel_flush(e->channel);
    hv_host_channel_release(e->channel);
    return done;
}

static void echo_close(void *ctx)
{
    struct echo_channel *e = ctx;

    CHECK(!e->closing);
    e->closing = true;
}

const struct hv_host_device_ops echo_ops = {
    .open = echo_open, .poll = echo_poll, .close = echo_close};

void echo_gone(void *arg)
{
    (void)arg;
    CHECK(!echo.open);
    echo.gone = true;
}
