/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A NIC against a guest that does things in any order: the handshake, control messages, frames in sections and by page,
 * raw packets, completions, opening and closing, revoking; and an owner that pulls the plug meanwhile.  The input is a
 * list of actions.
 *
 * Beyond memory errors it finds: a completion that was never asked for or comes twice, a packet for the guest outside its
 * receive buffer or in a section that the guest still has, a NIC that never comes to rest or cannot be taken down.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hv/netvsp.h>
#include <hv/wire/ndis.h>
#include <hv/wire/nvsp.h>
#include <hv/wire/rndis.h>

#include "loop_host.h"

#define IDS_MAX       512
#define CHANNELS      4
#define RECEIVE_PAGES 40u
#define SEND_PAGE     40u
#define SEND_PAGES    12u
#define SECTION_BYTES 2048u
#define SECTIONS_MAX  4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum action {
    ACT_HANDSHAKE,
    ACT_NVSP,
    ACT_CONTROL,
    ACT_QUERY,
    ACT_SET,
    ACT_FRAMES,
    ACT_MESSAGE,
    ACT_PAGES,
    ACT_RAW,
    ACT_RECEIVE,
    ACT_COMPLETE,
    ACT_OPEN,
    ACT_CLOSE,
    ACT_OWNER,
    ACT_CORRUPT,
    ACT_COUNT,
};

struct input {
    const uint8_t *at;
    size_t left;
};

struct machine {
    struct loop *loop;
    struct hv_netvsp *nic;
    bool gone;
    uint8_t asked[IDS_MAX]; /* completions that are due, by id; the channel + 1 */
    bool frames[IDS_MAX];   /* ... of a message 107 */
    uint64_t next_id;
    /* Packets of the host that were not completed: sections by channel + 1. */
    uint8_t held[SECTIONS_MAX];
    uint64_t given[64];
    uint16_t given_on[64];
    unsigned given_count;
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "fuzz_netvsp: %s\n", what);
    abort();
}

static void take(struct input *in, void *to, size_t bytes)
{
    size_t n = bytes < in->left ? bytes : in->left;

    memset(to, 0, bytes);
    memcpy(to, in->at, n);
    in->at += n;
    in->left -= n;
}

static uint8_t take8(struct input *in)
{
    uint8_t v;

    take(in, &v, 1);
    return v;
}

static uint8_t *section(struct machine *m, uint32_t i)
{
    return m->loop->memory + (size_t)SEND_PAGE * HV_PAGE_BYTES + (size_t)(i % 8) * SECTION_BYTES;
}

/* ---- To the host ---- */

static void send_packet(struct machine *m, uint16_t index, struct hv_packet_desc *desc,
                        const void *ext, const void *payload)
{
    if (!m->loop->channels[index].open || m->loop->channels[index].closing || m->next_id == IDS_MAX)
        return;
    if (desc->type != HV_PACKET_COMPLETION)
        desc->trans_id = m->next_id;
    if (loop_send(m->loop, index, desc, ext, payload) || desc->type == HV_PACKET_COMPLETION)
        return;
    if (desc->flags & HV_PACKET_FLAG_COMPLETION_REQUESTED)
        m->asked[m->next_id] = (uint8_t)(index + 1);
    m->frames[m->next_id] =
        desc->payload_bytes >= 16 && *(const uint32_t *)payload == HV_NVSP_SEND_RNDIS_PACKET;
    m->next_id++;
}

static void send_words(struct machine *m, uint16_t index, uint32_t a, uint32_t b, uint32_t c,
                       uint32_t d)
{
    const uint32_t message[10] = {a, b, c, d};
    struct hv_packet_desc desc = {.payload_bytes = sizeof(message),
                                  .type = HV_PACKET_INBAND,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};

    send_packet(m, index, &desc, NULL, message);
}

static void send_section(struct machine *m, uint16_t index, uint32_t type, uint32_t i,
                         uint32_t bytes)
{
    send_words(m, index, HV_NVSP_SEND_RNDIS_PACKET, type, i, bytes);
}

static void act_handshake(struct machine *m, struct input *in, uint16_t index)
{
    static const uint32_t versions[] = {
        HV_NVSP_VERSION_6_1, HV_NVSP_VERSION_6, HV_NVSP_VERSION_5, HV_NVSP_VERSION_4,
        HV_NVSP_VERSION_2,   HV_NVSP_VERSION_1, 0x70000,           3};
    struct hv_rndis_initialize initialize = {.hdr = {HV_RNDIS_INITIALIZE, sizeof(initialize)},
                                             .major = 1};
    const struct {
        struct hv_rndis_request request;
        uint32_t filter;
    } filter = {.request = {.hdr = {HV_RNDIS_SET, sizeof(filter)},
                            .oid = HV_OID_PACKET_FILTER,
                            .info_bytes = 4,
                            .info_offset = 20},
                .filter = HV_FILTER_PROMISCUOUS};
    uint8_t which = take8(in);
    uint32_t version = versions[which & 7];

    send_words(m, index, HV_NVSP_INIT, version, version, 0);
    if (version >= HV_NVSP_VERSION_2)
        send_words(m, index, HV_NVSP_SEND_NDIS_CONFIG, which & 8 ? 1514 : 4014, 0,
                   HV_NVSP_CAP_SRIOV);
    send_words(m, index, HV_NVSP_SEND_NDIS_VERSION, 6, version >= HV_NVSP_VERSION_5 ? 30 : 1, 0);
    if (which & 16)
        return;
    send_words(m, index, HV_NVSP_SEND_RECEIVE_BUFFER, LOOP_GPADL, HV_NVSP_RECEIVE_BUFFER_ID, 0);
    send_words(m, index, HV_NVSP_SEND_SEND_BUFFER, LOOP_GPADL + 1, 0, 0);
    (void)loop_poll(m->loop);
    if (which & 32)
        return;
    memcpy(section(m, 0), &initialize, sizeof(initialize));
    send_section(m, index, HV_NVSP_CHANNEL_CONTROL, 0, sizeof(initialize));
    (void)loop_poll(m->loop);
    if (which & 64)
        return;
    memcpy(section(m, 1), &filter, sizeof(filter));
    send_section(m, index, HV_NVSP_CHANNEL_CONTROL, 1, sizeof(filter));
    if (which & 128)
        send_words(m, index, HV_NVSP_SUBCHANNEL, 1, 3, 0);
    (void)loop_poll(m->loop);
}

static void act_nvsp(struct machine *m, struct input *in, uint16_t index)
{
    static const uint32_t types[] = {1, 100, 101, 103, 104, 106, 107, 125, 128, 129, 131, 133, 134};
    uint8_t which = take8(in);
    uint32_t words[3];

    take(in, words, sizeof(words));
    send_words(m, index, types[which % (sizeof(types) / sizeof(types[0]))], words[0], words[1],
               words[2]);
}

static void act_control(struct machine *m, struct input *in, uint16_t index)
{
    static const uint32_t types[] = {HV_RNDIS_INITIALIZE, HV_RNDIS_HALT,        HV_RNDIS_QUERY,
                                     HV_RNDIS_SET,        HV_RNDIS_RESET,       HV_RNDIS_INDICATE,
                                     HV_RNDIS_KEEPALIVE,  HV_RNDIS_COMPLETE | 4};
    uint8_t which = take8(in), bytes = take8(in);
    uint32_t words[8];

    take(in, words, sizeof(words));
    words[0] = which & 0x80 ? words[0] : types[which & 7];
    if (!(which & 0x40))
        words[1] = bytes;
    memcpy(section(m, 2), words, sizeof(words));
    send_section(m, index, HV_NVSP_CHANNEL_CONTROL, 2, bytes);
}

/** A well-formed query or set with data of the input. */
static void act_request(struct machine *m, struct input *in, uint16_t index, uint32_t type)
{
    static const uint32_t oids[] = {
        HV_OID_PACKET_FILTER,      HV_OID_MULTICAST_LIST, HV_OID_CONFIG_PARAMETER,
        HV_OID_OFFLOAD_PARAMETERS, HV_OID_RSS_PARAMETERS, HV_OID_OFFLOAD_CAPS,
        HV_OID_RSS_CAPABILITIES,   HV_OID_SUPPORTED_LIST, HV_OID_LINK_STATE,
        HV_OID_CURRENT_MAC,        HV_OID_TX_OK,          HV_OID_VENDOR_TEXT};
    uint8_t which = take8(in);
    uint32_t bytes = take8(in) * 3u;
    struct hv_rndis_request request = {.hdr = {type, (uint32_t)sizeof(request) + bytes},
                                       .oid = oids[which % (sizeof(oids) / sizeof(oids[0]))],
                                       .info_bytes = bytes,
                                       .info_offset = 20};

    memcpy(section(m, 3), &request, sizeof(request));
    take(in, section(m, 3) + sizeof(request), bytes);
    send_section(m, index, HV_NVSP_CHANNEL_CONTROL, 3, request.hdr.length_bytes);
}

/** Several packets of RNDIS in a section, one field of one of them perhaps spoilt. */
static void act_frames(struct machine *m, struct input *in, uint16_t index)
{
    uint8_t count = (uint8_t)(take8(in) % 10), spoilt = take8(in), field = take8(in);
    uint32_t at = 0, value;

    take(in, &value, sizeof(value));
    for (uint8_t i = 0; i < count; i++) {
        uint8_t *to = section(m, 4) + at;
        struct hv_rndis_packet head = {.hdr = {HV_RNDIS_PACKET, sizeof(head) + 16 + 64},
                                       .data_offset = sizeof(head) + 16 - 8,
                                       .data_bytes = 64,
                                       .ppi_offset = sizeof(head) - 8,
                                       .ppi_bytes = 16};
        uint32_t ppi[4] = {16, field >> 4, 12, value};

        memcpy(to, &head, sizeof(head));
        memcpy(to + sizeof(head), ppi, sizeof(ppi));
        memset(to + sizeof(head) + sizeof(ppi), 2, 64);
        if (spoilt % 16 == i)
            memcpy(to + 4u * (field % 15), &value, sizeof(value));
        at += sizeof(head) + sizeof(ppi) + 64;
    }
    send_section(m, index, HV_NVSP_CHANNEL_DATA, 4, at + (spoilt & 0x80 ? value % 64 : 0));
}

static void act_message(struct machine *m, struct input *in, uint16_t index)
{
    uint8_t what = take8(in), bytes = take8(in);

    take(in, section(m, what), bytes);
    send_section(m, index, what >> 6 & 1, what & 7, bytes);
}

static void act_pages(struct machine *m, struct input *in, uint16_t index)
{
    const uint32_t payload[10] = {HV_NVSP_SEND_RNDIS_PACKET, take8(in) & 1, HV_NVSP_SECTION_NONE};
    struct hv_packet_desc desc = {.type = HV_PACKET_GPA_DIRECT,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED,
                                  .payload_bytes = sizeof(payload)};
    uint32_t words = 1;
    uint64_t ext[24];
    uint8_t ranges = (uint8_t)(take8(in) % 10);

    ext[0] = (uint64_t)ranges << 32;
    for (uint8_t i = 0; i < ranges; i++) {
        uint32_t bytes = 1u + take8(in) * 16u, offset = take8(in) * 16u, page = take8(in);

        ext[words++] = (uint64_t)offset << 32 | bytes;
        for (uint32_t n = 0; n * HV_PAGE_BYTES < offset + bytes && words < 24; n++)
            ext[words++] = LOOP_FIRST_PFN + (page + n) % (LOOP_PAGES + 1);
        if (words >= 22)
            break;
    }
    desc.ext_bytes = words * 8;
    send_packet(m, index, &desc, ext, payload);
}

static void act_raw(struct machine *m, struct input *in, uint16_t index)
{
    static const uint16_t types[] = {HV_PACKET_INBAND, HV_PACKET_GPA_DIRECT,
                                     HV_PACKET_TRANSFER_PAGES, HV_PACKET_COMPLETION};
    uint8_t kind = take8(in), payload[64], ext[64];
    struct hv_packet_desc desc = {.type = types[kind & 3],
                                  .flags = kind >> 2 & 1,
                                  .ext_bytes = (kind >> 3 & 7) * 8u,
                                  .payload_bytes = take8(in) % sizeof(payload)};

    take(in, ext, desc.ext_bytes);
    take(in, payload, desc.payload_bytes);
    if (desc.type == HV_PACKET_COMPLETION)
        return; /* ACT_COMPLETE keeps account of them */
    send_packet(m, index, &desc, ext, payload);
}

/* ---- From the host ---- */

static void take_ranges(struct machine *m, uint16_t index, const struct hv_packet *packet)
{
    const uint32_t *words = packet->ext;
    uint32_t count = words[1];

    must((words[0] & 0xffff) == HV_NVSP_RECEIVE_BUFFER_ID, "the receive buffer's id");
    must(count && packet->ext_bytes == 8 + 8 * count, "as many ranges as it says");
    must(packet->trans_id < SECTIONS_MAX && !m->held[packet->trans_id], "a section that is free");
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bytes = words[2 + 2 * i], offset = words[3 + 2 * i];

        must(offset < RECEIVE_PAGES * HV_PAGE_BYTES &&
                 bytes <= RECEIVE_PAGES * HV_PAGE_BYTES - offset && bytes >= 8,
             "a range inside the receive buffer");
    }
    m->held[packet->trans_id] = (uint8_t)(index + 1);
    if (m->given_count < 64) {
        m->given[m->given_count] = packet->trans_id;
        m->given_on[m->given_count++] = index;
    }
}

static void receive(struct machine *m, uint16_t index)
{
    struct hv_host_channel *channel = &m->loop->channels[index];
    struct hv_packet packet;

    if (!channel->open || channel->killed)
        return;
    while (!hv_ring_rx_peek(&channel->guest_rx, &packet)) {
        if (packet.type == HV_PACKET_INBAND) {
            must(!index && packet.payload_bytes >= 12, "messages of the host's own");
        } else if (packet.type == HV_PACKET_TRANSFER_PAGES) {
            take_ranges(m, index, &packet);
        } else {
            must(packet.type == HV_PACKET_COMPLETION, "kind of packet");
            must(packet.trans_id < IDS_MAX && m->asked[packet.trans_id] == index + 1,
                 "a completion that was not asked for, or twice");
            m->asked[packet.trans_id] = 0;
        }
    }
    must(channel->guest_rx.fault == HV_RING_FAULT_NONE, "the host broke its ring");
    (void)hv_ring_rx_release(&channel->guest_rx);
}

static void act_complete(struct machine *m, struct input *in, uint16_t index)
{
    const uint32_t payload[2] = {HV_NVSP_SEND_RNDIS_PACKET_COMPLETE, HV_NVSP_STATUS_SUCCESS};
    struct hv_packet_desc desc = {.type = HV_PACKET_COMPLETION, .payload_bytes = sizeof(payload)};
    uint8_t which = take8(in);

    if (which &
        0x80) { /* one that is not ours to give back, or not yet: no section becomes free by it */
        desc.trans_id = which & 0x40 ? UINT64_MAX - which : SECTIONS_MAX + which;
        send_packet(m, index, &desc, NULL, payload);
        return;
    }
    while (m->given_count) { /* the oldest first */
        desc.trans_id = m->given[0];
        index = m->given_on[0];
        m->given_count--;
        memmove(m->given, m->given + 1, m->given_count * sizeof(m->given[0]));
        memmove(m->given_on, m->given_on + 1, m->given_count * sizeof(m->given_on[0]));
        if (!m->loop->channels[index].open)
            continue;
        m->held[desc.trans_id] = 0;
        send_packet(m, index, &desc, NULL, payload);
        if (!(which & 1))
            break;
    }
}

/* ---- Life ---- */

static void forget(struct machine *m, uint16_t index)
{
    unsigned kept = 0;

    for (size_t i = 0; i < IDS_MAX; i++)
        if (m->asked[i] == index + 1)
            m->asked[i] = 0;
    for (size_t i = 0; i < SECTIONS_MAX; i++)
        if (m->held[i] == index + 1)
            m->held[i] = 0;
    for (unsigned i = 0; i < m->given_count; i++)
        if (m->given_on[i] != index) {
            m->given[kept] = m->given[i];
            m->given_on[kept++] = m->given_on[i];
        }
    m->given_count = kept;
}

static void provide_gpadls(struct machine *m)
{
    m->loop->gpadls[0].pages = RECEIVE_PAGES;
    m->loop->gpadls[1].first = SEND_PAGE;
    m->loop->gpadls[1].pages = SEND_PAGES;
}

static void act_open(struct machine *m, uint16_t index)
{
    if (m->loop->channels[index].open)
        return;
    if (!index)
        provide_gpadls(m);
    if (index > m->loop->sub_channels_offered || !m->loop->channels[0].open)
        return; /* the bus lets no guest open what was not offered */
    (void)loop_open(m->loop, index);
}

/** The bus closes sub-channels before their primary. */
static void act_close(struct machine *m, uint16_t index)
{
    for (uint16_t i = index ? index : CHANNELS - 1; i >= index; i--) {
        if (m->loop->channels[i].open) {
            loop_close(m->loop, i);
            must(loop_settle(m->loop) && !m->loop->channels[i].open,
                 "a closed channel comes to its end");
            forget(m, i);
        }
        if (!i)
            break;
    }
    if (!index)
        m->loop->sub_channels_offered = 0;
}

static void act_owner(struct machine *m, struct input *in)
{
    uint8_t what = take8(in);
    struct hv_netvsp_stats stats;
    struct hv_netvsp_state state;

    if (what & 1)
        hv_netvsp_set_link(m->nic, what & 2);
    else
        hv_netvsp_set_vf(m->nic, what & 2, what);
    hv_netvsp_get_stats(m->nic, &stats);
    hv_netvsp_get_state(m->nic, &state);
}

static void act_corrupt(struct machine *m, struct input *in, uint16_t index)
{
    struct hv_host_channel *channel = &m->loop->channels[index];
    uint32_t value;
    uint8_t which = take8(in);

    take(in, &value, sizeof(value));
    if (!channel->open)
        return;
    if (which & 1)
        channel->to_host.control->write_index = value;
    else
        channel->to_guest.control->read_index = value;
    /* The guest has nothing to expect from this channel any more. */
    (void)loop_poll(m->loop);
    act_close(m, index);
}

static void act(struct machine *m, struct input *in)
{
    uint8_t what = take8(in);
    uint16_t index = what >> 6;

    switch (what % 64 % ACT_COUNT) {
    case ACT_HANDSHAKE:
        act_handshake(m, in, 0);
        break;
    case ACT_NVSP:
        act_nvsp(m, in, index);
        break;
    case ACT_CONTROL:
        act_control(m, in, index);
        break;
    case ACT_QUERY:
        act_request(m, in, index, HV_RNDIS_QUERY);
        break;
    case ACT_SET:
        act_request(m, in, index, HV_RNDIS_SET);
        break;
    case ACT_FRAMES:
        act_frames(m, in, index);
        break;
    case ACT_MESSAGE:
        act_message(m, in, index);
        break;
    case ACT_PAGES:
        act_pages(m, in, index);
        break;
    case ACT_RAW:
        act_raw(m, in, index);
        break;
    case ACT_RECEIVE:
        (void)loop_poll(m->loop);
        receive(m, index);
        if (m->loop->channels[index].open)
            (void)loop_arm(m->loop, index);
        break;
    case ACT_COMPLETE:
        act_complete(m, in, index);
        break;
    case ACT_OPEN:
        act_open(m, index);
        break;
    case ACT_CLOSE:
        act_close(m, index);
        break;
    case ACT_OWNER:
        act_owner(m, in);
        break;
    default:
        act_corrupt(m, in, index);
        break;
    }
}

static void start(struct machine *m)
{
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
    char why[HV_NETVSP_WHY_BYTES];

    memset(m, 0, sizeof(*m));
    m->next_id = 1;
    m->loop = loop_create(8192);
    opts.link = "loop";
    opts.queues = CHANNELS;
    opts.send_section_bytes = SECTION_BYTES;
    must(!hv_netvsp_create(loop_host(m->loop), &opts, why, &m->nic), why);
    provide_gpadls(m);
    must(!loop_open(m->loop, 0), "open");
}

/** What does not follow the rules may stay without an answer; frames of a living guest do not. */
static void drain(struct machine *m)
{
    bool living = true;

    for (int round = 0; round < 100; round++) {
        must(loop_settle(m->loop), "the NIC comes to rest");
        for (uint16_t i = 0; i < CHANNELS; i++)
            receive(m, i);
    }
    for (uint16_t i = 0; i < CHANNELS; i++)
        living &= !m->loop->channels[i].killed && !m->loop->channels[i].host_rx.fault;
    for (size_t i = 0; i < IDS_MAX; i++)
        must(!living || !m->asked[i] || !m->frames[i], "frames were never completed");
}

static void on_gone(void *arg)
{
    bool *gone = arg;

    *gone = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.at = data, .left = size};
    struct machine m;

    start(&m);
    while (in.left)
        act(&m, &in);
    drain(&m);
    act_close(&m, 0);
    loop_guest_gone(m.loop);
    hv_netvsp_destroy(m.nic, on_gone, &m.gone);
    must(loop_settle(m.loop) && m.gone, "the NIC goes away");
    loop_destroy(m.loop);
    return 0;
}
