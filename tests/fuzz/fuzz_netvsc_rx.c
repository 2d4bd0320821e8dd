/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lying host against the data path of the network driver.  The input is a program of one-byte commands with operands:
 * write into the receive buffer, transfer-page packets with any ids and ranges, completions, in-band packets, and what
 * the driver's user does in between.  Whatever comes: frames lie inside the buffer, each message is given back once, each
 * cookie comes back once, nothing hangs.
 */
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>

#include "netvsc_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define SECTIONS 16u
#define STEPS    400u
#define COOKIES  64u
#define IDS      32u

struct state {
    const uint8_t *at, *end;
    struct rig rig;
    bool with_us[SECTIONS]; /* messages that the driver took over, as far as the host can know */
    unsigned delivered[SECTIONS];
    unsigned completed[SECTIONS];
    uint32_t held[SECTIONS * 4];
    unsigned held_count;
    bool out[COOKIES]; /* with the driver */
    uint64_t ids[IDS]; /* of the driver's requests, newest last */
    unsigned id_count;
    volatile uint32_t sum;
};

static void must(bool ok)
{
    if (!ok)
        abort();
}

static uint8_t byte(struct state *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

static uint32_t number(struct state *s, unsigned count)
{
    uint32_t n = 0;

    while (count--)
        n = n << 8 | byte(s);
    return n;
}

/* ---- Host ---- */

static void write_buffer(struct state *s)
{
    uint32_t at = number(s, 2) % (SECTIONS * RIG_SECTION_BYTES);
    uint32_t n = byte(s);

    n = hv_min_u32(n, SECTIONS * RIG_SECTION_BYTES - at);
    n = hv_min_u32(n, (uint32_t)(s->end - s->at));
    memcpy(s->rig.receive + at, s->at, n);
    s->at += n;
}

/** A good message, of which the program may spoil a few bytes afterwards. */
static void write_frame(struct state *s)
{
    uint8_t frame[256] = {0};
    uint32_t section = byte(s) % SECTIONS;
    uint32_t words[8] = {16, byte(s) % 10u, 12, number(s, 4), 16, byte(s) % 10u, 12, number(s, 4)};

    (void)rig_put_frame(&s->rig, section * RIG_SECTION_BYTES, frame, byte(s) + 1u > 255 ? 60 : 200,
                        words, byte(s) % 3u * 16);
}

static void deliver(struct state *s)
{
    struct rig_raw raw = {
        .set_id = HV_NVSP_RECEIVE_BUFFER_ID,
        .nvsp_type = HV_NVSP_SEND_RNDIS_PACKET,
    };
    struct hv_transfer_range ranges[8];
    uint8_t kind = byte(s), spoil = byte(s);
    uint32_t count = kind % 8;

    raw.id = byte(s) % (SECTIONS + 1);
    raw.channel_type = kind >> 7;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t how = byte(s);

        ranges[i].byte_offset = how & 1 ? number(s, 4) : how / 2 % SECTIONS * RIG_SECTION_BYTES;
        ranges[i].byte_count = how & 1 ? number(s, 4) : number(s, 2) % (RIG_SECTION_BYTES + 9);
    }
    raw.range_count = spoil == 1 ? number(s, 4) : count;
    if (spoil == 2)
        raw.set_id = (uint16_t)number(s, 2);
    if (spoil == 3)
        raw.nvsp_type = byte(s);
    if (spoil == 4)
        raw.payload_bytes = byte(s) % (HV_NVSP_MESSAGE_BYTES + 1);
    if (spoil == 5)
        raw.id = (uint64_t)number(s, 4) << 32 | number(s, 4);
    if (rig_deliver_raw(&s->rig, &raw, ranges, count) && raw.id < SECTIONS)
        s->delivered[raw.id]++;
}

static void complete(struct state *s)
{
    uint8_t kind = byte(s);
    uint8_t payload[64] = {108, 0, 0, 0, byte(s)};
    uint64_t id = s->ids[kind % IDS];

    if (kind & 0x80)
        id ^= number(s, 4);
    payload[0] = kind & 0x40 ? byte(s) : 108;
    (void)ring_bus_send(s->rig.channel, HV_PACKET_COMPLETION, id, NULL, 0, payload, byte(s) % 64);
}

static void in_band(struct state *s)
{
    uint8_t payload[255];
    uint32_t n = byte(s);

    memset(payload, byte(s), sizeof(payload));
    (void)ring_bus_send(s->rig.channel, byte(s) & 1 ? HV_PACKET_INBAND : HV_PACKET_GPA_DIRECT,
                        number(s, 4), payload, 16, payload, n);
}

static void host_takes(struct state *s)
{
    static struct rig_packet p;

    while (rig_take(&s->rig, &p)) {
        if (p.type == HV_PACKET_COMPLETION) {
            must(p.id < SECTIONS);
            s->completed[p.id]++;
            must(s->completed[p.id] <= s->delivered[p.id]);
        } else {
            s->ids[s->id_count++ % IDS] = p.id;
        }
    }
}

/* ---- Guest ---- */

static void burst(struct state *s)
{
    struct hv_netvsc_frame frames[8];
    uint8_t kind = byte(s), hold = byte(s);
    uint16_t n = hv_netvsc_rx_burst(s->rig.queue, frames, kind % 8 + 1);

    must(n <= kind % 8 + 1);
    for (uint16_t i = 0; i < n; i++) {
        size_t offset = (size_t)(frames[i].data - s->rig.receive);

        must(hv_range_fits(offset, frames[i].bytes, SECTIONS * RIG_SECTION_BYTES));
        must(frames[i].bytes >= 14 && frames[i].bytes <= RIG_FRAME_MAX);
        must(frames[i].hold < SECTIONS);
        for (uint32_t b = 0; b < frames[i].bytes; b++)
            s->sum += frames[i].data[b];
        if (hold >> i & 1 && s->held_count < SECTIONS * 4 &&
            hv_netvsc_rx_hold(s->rig.queue, &frames[i]))
            s->held[s->held_count++] = frames[i].hold;
    }
    if (!(kind & 0x80))
        hv_netvsc_rx_done(s->rig.queue);
}

static void release(struct state *s)
{
    uint8_t which = byte(s);

    if (!s->held_count)
        return;
    which = (uint8_t)(which % s->held_count);
    hv_netvsc_rx_release(s->rig.queue, s->held[which]);
    s->held[which] = s->held[--s->held_count];
}

static void reap(struct state *s, uint16_t max)
{
    void *cookies[COOKIES];
    uint16_t n = hv_netvsc_tx_reap(s->rig.queue, cookies, max);

    for (uint16_t i = 0; i < n; i++) {
        uintptr_t cookie = (uintptr_t)cookies[i];

        must(cookie < COOKIES && s->out[cookie]);
        s->out[cookie] = false;
    }
}

static void transmit(struct state *s)
{
    struct hv_netvsc_tx tx[4];
    uint8_t lengths = byte(s);
    uint16_t n = 0, taken;

    for (uintptr_t cookie = 0; cookie < COOKIES && n < 4; cookie++)
        if (!s->out[cookie]) {
            tx[n] = rig_frame(s->rig.memory + cookie * 600, lengths >> n & 1 ? 600 : 60);
            tx[n++].cookie = (void *)cookie;
        }
    taken = hv_netvsc_tx_burst(s->rig.queue, tx, n, NULL);
    must(taken <= n);
    for (uint16_t i = 0; i < taken; i++)
        if (!tx[i].copied)
            s->out[(uintptr_t)tx[i].cookie] = true;
}

static void pause_resume(struct state *s)
{
    hv_nq_pause(s->rig.queue);
    hv_nq_poll(s->rig.queue);
    must(hv_netvsc_rx_pending(s->rig.queue) == 0);
    hv_nq_resume(s->rig.queue);
}

static void step(struct state *s)
{
    static const struct hv_nvsp_message query = {.type = HV_NVSP_OID_QUERY_EX};

    switch (byte(s) % 14) {
    case 0:
        return write_buffer(s);
    case 1:
        return write_frame(s);
    case 2:
    case 3:
        return deliver(s);
    case 4:
        return complete(s);
    case 5:
        return in_band(s);
    case 6:
        return host_takes(s);
    case 7:
    case 8:
        return burst(s);
    case 9:
        return release(s);
    case 10:
        return transmit(s);
    case 11:
        return reap(s, byte(s) % 8);
    case 12:
        (void)hv_nq_send_nvsp(s->rig.queue, &query, sizeof(query), true, 0);
        (void)hv_nq_send_control(s->rig.queue, &query, sizeof(query));
        (void)hv_netvsc_rx_arm(s->rig.queue);
        return;
    default:
        return pause_resume(s);
    }
}

/** Everything is let go of: nothing may be left over. */
static void finish(struct state *s)
{
    while (s->held_count)
        release(s);
    hv_nq_pause(s->rig.queue);
    for (int i = 0; i < 20; i++) {
        host_takes(s);
        hv_nq_poll(s->rig.queue);
    }
    must(hv_nq_held(s->rig.queue) == 0);
    hv_nq_detach(s->rig.queue);
    must(hv_nq_busy(s->rig.queue) == 0);
    reap(s, COOKIES);
    for (unsigned i = 0; i < COOKIES; i++)
        must(!s->out[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct rig_opts opts = {.ring_bytes = 4096, .receive_sections = SECTIONS, .descriptors = 16};
    struct state *s = calloc(1, sizeof(*s));

    must(s != NULL);
    s->at = data;
    s->end = data + bytes;
    rig_start(&s->rig, &opts);
    for (unsigned i = 0; i < STEPS && s->at < s->end; i++)
        step(s);
    finish(s);
    rig_stop(&s->rig);
    free(s);
    return 0;
}
