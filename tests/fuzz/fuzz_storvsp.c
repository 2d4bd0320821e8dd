/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The storage controller against a guest that does things in any order: good requests, raw packets, resets, opening and
 * closing, and a host that plugs disks meanwhile.  The input is a list of actions.
 *
 * Beyond memory errors it finds: an answer that was never asked for or comes twice, a request that is never answered, a
 * controller that never comes to rest or cannot be taken down.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>
#include <hv/storvsp.h>
#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

#include "loop_host.h"

#define IDS_MAX    512
#define DISKS      3
#define DISK_BYTES (64u * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum action {
    ACT_HANDSHAKE,
    ACT_READ_WRITE,
    ACT_SRB,
    ACT_RAW,
    ACT_RESET,
    ACT_RECEIVE,
    ACT_POLL,
    ACT_OPEN,
    ACT_CLOSE,
    ACT_PLUG,
    ACT_RESIZE,
    ACT_CORRUPT,
    ACT_COUNT,
};

struct input {
    const uint8_t *at;
    size_t left;
};

struct machine {
    struct loop *loop;
    struct hv_storvsp *storvsp;
    struct hv_disk *disks[DISKS];
    bool leaving[DISKS], attached[DISKS];
    bool gone;
    /* Requests that want an answer, by id; the channel + 1 they were sent on, 0 = none. */
    uint8_t asked[IDS_MAX];
    uint64_t next_id;
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "fuzz_storvsp: %s\n", what);
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

/** Send, if there is room; remember that an answer is due. */
static void send_packet(struct machine *m, uint16_t index, struct hv_packet_desc *desc,
                        const void *ext, const void *payload)
{
    if (!m->loop->channels[index].open || m->loop->channels[index].closing || m->next_id == IDS_MAX)
        return;
    desc->trans_id = m->next_id;
    if (loop_send(m->loop, index, desc, ext, payload))
        return;
    if (desc->flags & HV_PACKET_FLAG_COMPLETION_REQUESTED)
        m->asked[m->next_id] = (uint8_t)(index + 1);
    m->next_id++;
}

static void receive(struct machine *m, uint16_t index)
{
    struct hv_host_channel *channel = &m->loop->channels[index];
    struct hv_packet packet;

    if (!channel->open || channel->killed)
        return;
    while (!hv_ring_rx_peek(&channel->guest_rx, &packet)) {
        if (packet.type == HV_PACKET_INBAND) {
            must(packet.trans_id == 0, "an unsolicited packet has id 0");
            continue;
        }
        must(packet.type == HV_PACKET_COMPLETION && packet.payload_bytes <= 64, "kind of answer");
        must(packet.trans_id < IDS_MAX && m->asked[packet.trans_id] == index + 1,
             "an answer that was not asked for, or twice");
        m->asked[packet.trans_id] = 0;
    }
    must(channel->guest_rx.fault == HV_RING_FAULT_NONE, "the host broke its ring");
    (void)hv_ring_rx_release(&channel->guest_rx);
}

static void forget(struct machine *m, uint16_t index)
{
    for (size_t i = 0; i < IDS_MAX; i++)
        if (m->asked[i] == index + 1)
            m->asked[i] = 0;
}

static void act_handshake(struct machine *m, struct input *in, uint16_t index)
{
    static const uint32_t steps[] = {HV_VSTOR_BEGIN_INITIALIZATION, HV_VSTOR_QUERY_PROTOCOL_VERSION,
                                     HV_VSTOR_QUERY_PROPERTIES, HV_VSTOR_END_INITIALIZATION,
                                     HV_VSTOR_CREATE_SUB_CHANNELS};
    static const uint16_t versions[] = {0x0602, 0x0600, 0x0501, 0x0402, 0x0200, 0x0700, 3, 1};
    struct hv_packet_desc desc = {.payload_bytes = 64,
                                  .type = HV_PACKET_INBAND,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};
    uint8_t which = take8(in);

    /* With the high bit all of it, so that inputs reach READY in two bytes. */
    for (size_t i = 0; i < HV_COUNT_OF(steps); i++) {
        struct hv_vstor_packet packet = {.hdr = {.operation = steps[i], .flags = 1}};

        if (!(which & 0x80) && i != (which & 7u))
            continue;
        packet.version.version = versions[(which >> 3) & 7];
        if (steps[i] == HV_VSTOR_CREATE_SUB_CHANNELS)
            packet.sub_channel_count &= 3;
        send_packet(m, index, &desc, NULL, &packet);
    }
}

/** An SRB around a CDB, with a range of guest memory. */
static void send_srb(struct machine *m, struct input *in, uint16_t index,
                     struct hv_vstor_packet *packet, uint32_t range_bytes)
{
    uint32_t offset = take8(in) * 16u, first = take8(in) % LOOP_PAGES;
    uint32_t pages = (offset + range_bytes + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;
    uint32_t header[4] = {0, 1, range_bytes, offset};
    uint64_t ext[2 + LOOP_PAGES] = {0};
    struct hv_packet_desc desc = {.payload_bytes = 64,
                                  .type = HV_PACKET_INBAND,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};

    if (range_bytes) {
        desc.type = HV_PACKET_GPA_DIRECT;
        desc.ext_bytes = 16 + 8 * hv_min_u32(pages, LOOP_PAGES);
        memcpy(ext, header, sizeof(header));
        for (uint32_t i = 0; i < hv_min_u32(pages, LOOP_PAGES); i++)
            ext[2 + i] = LOOP_FIRST_PFN + (first + i) % LOOP_PAGES;
    }
    send_packet(m, index, &desc, ext, packet);
}

static void act_read_write(struct machine *m, struct input *in, uint16_t index)
{
    struct hv_vstor_packet packet = {.hdr = {.operation = HV_VSTOR_EXECUTE_SRB, .flags = 1}};
    uint8_t what = take8(in), blocks = (uint8_t)(take8(in) % 32);

    packet.srb.length = HV_VSTOR_SRB_V2_BYTES;
    packet.srb.lun = what & 3;
    packet.srb.cdb_bytes = 16;
    packet.srb.data_in = !(what & 4);
    packet.srb.data_transfer_bytes = blocks * 512u;
    packet.srb.cdb[0] = what & 4 ? HV_SCSI_WRITE_16 : HV_SCSI_READ_16;
    packet.srb.cdb[9] = take8(in);
    packet.srb.cdb[13] = blocks;
    send_srb(m, in, index, &packet, blocks * 512u);
}

static void act_srb(struct machine *m, struct input *in, uint16_t index)
{
    struct hv_vstor_packet packet = {.hdr = {.operation = HV_VSTOR_EXECUTE_SRB, .flags = 1}};
    uint16_t range;

    take(in, &packet.srb, 32); /* as far as the CDB: the rest is not looked at */
    take(in, &range, sizeof(range));
    send_srb(m, in, index, &packet, range);
}

static void act_raw(struct machine *m, struct input *in, uint16_t index)
{
    static const uint16_t types[] = {HV_PACKET_INBAND, HV_PACKET_GPA_DIRECT,
                                     HV_PACKET_TRANSFER_PAGES, HV_PACKET_COMPLETION};
    uint8_t kind = take8(in), payload[128], ext[64];
    struct hv_packet_desc desc = {.type = types[kind & 3],
                                  .flags = kind >> 2 & 1,
                                  .ext_bytes = (kind >> 3 & 7) * 8u,
                                  .payload_bytes = take8(in) % sizeof(payload)};

    take(in, ext, desc.ext_bytes);
    take(in, payload, desc.payload_bytes);
    send_packet(m, index, &desc, ext, payload);
}

static void act_reset(struct machine *m, struct input *in, uint16_t index)
{
    struct hv_vstor_packet packet = {.hdr = {.flags = 1}};
    uint8_t what = take8(in);
    struct hv_packet_desc desc = {.payload_bytes = what & 0x80 ? 16 : 64,
                                  .type = HV_PACKET_INBAND,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};

    packet.hdr.operation = HV_VSTOR_RESET_LUN + what % 3;
    packet.srb.lun = what >> 4 & 3;
    send_packet(m, index, &desc, NULL, &packet);
}

static void act_open_close(struct machine *m, uint16_t index, bool open)
{
    struct hv_host_channel *channel = &m->loop->channels[index];

    if (open && !channel->open) {
        must(!loop_open(m->loop, index), "open");
    } else if (!open && channel->open) {
        loop_close(m->loop, index);
        must(loop_settle(m->loop) && !channel->open, "a closed channel comes to its end");
        forget(m, index);
    }
}

static void on_detached(void *arg)
{
    bool *leaving = arg;

    must(*leaving, "a disk is gone once");
    *leaving = false;
}

static void act_plug(struct machine *m, struct input *in)
{
    uint8_t i = take8(in) % DISKS;

    if (m->leaving[i])
        return;
    if (m->attached[i]) {
        m->leaving[i] = true;
        m->attached[i] = false;
        must(!hv_storvsp_detach(m->storvsp, i, on_detached, &m->leaving[i]), "detach");
    } else if (!hv_storvsp_attach(m->storvsp, m->disks[i], i)) {
        m->attached[i] = true;
    }
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
    act_open_close(m, index, false);
}

static void act(struct machine *m, struct input *in)
{
    uint8_t what = take8(in);
    uint16_t index = what >> 6;

    switch (what % 64 % ACT_COUNT) {
    case ACT_HANDSHAKE:
        act_handshake(m, in, index);
        break;
    case ACT_READ_WRITE:
        act_read_write(m, in, index);
        break;
    case ACT_SRB:
        act_srb(m, in, index);
        break;
    case ACT_RAW:
        act_raw(m, in, index);
        break;
    case ACT_RESET:
        act_reset(m, in, index);
        break;
    case ACT_RECEIVE:
        receive(m, index);
        break;
    case ACT_POLL:
        (void)loop_poll(m->loop);
        if (m->loop->channels[index].open)
            (void)loop_arm(m->loop, index);
        break;
    case ACT_OPEN:
        act_open_close(m, index, true);
        break;
    case ACT_CLOSE:
        act_open_close(m, index, false);
        break;
    case ACT_PLUG:
        act_plug(m, in);
        break;
    case ACT_RESIZE:
        (void)hv_disk_resize(m->disks[what % DISKS], 512u * (1 + take8(in)));
        break;
    default:
        act_corrupt(m, in, index);
        break;
    }
}

static void start(struct machine *m)
{
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
    char why[HV_DISK_WHY_BYTES];

    memset(m, 0, sizeof(*m));
    m->next_id = 1;
    m->loop = loop_create(4096);
    opts.max_sub_channels = 3;
    opts.max_transfer_bytes = 16384;
    opts.depth = 8;
    must(!hv_storvsp_create(loop_host(m->loop), &opts, &m->storvsp), "controller");
    for (uint8_t i = 0; i < DISKS; i++) {
        struct hv_disk_opts disk = HV_DISK_OPTS_INIT;

        disk.store = i == 2 ? HV_DISK_NULL : HV_DISK_MEMORY;
        disk.bytes = DISK_BYTES;
        must(!hv_disk_create(&disk, why, &m->disks[i]), why);
        m->attached[i] = i != 1 && !hv_storvsp_attach(m->storvsp, m->disks[i], i);
    }
    must(!loop_open(m->loop, 0), "open");
}

/** Everything that was asked is answered once the guest reads its answers. */
static void drain(struct machine *m)
{
    for (int round = 0; round < 100; round++) {
        must(loop_settle(m->loop), "the controller comes to rest");
        for (uint16_t i = 0; i < 4; i++)
            receive(m, i);
    }
    for (size_t i = 0; i < IDS_MAX; i++)
        must(m->asked[i] != 1 || m->loop->channels[0].killed, "a request was never answered");
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
    for (uint16_t i = 4; i-- > 0;)
        act_open_close(&m, i, false);
    loop_guest_gone(m.loop);
    hv_storvsp_destroy(m.storvsp, on_gone, &m.gone);
    must(loop_settle(m.loop) && m.gone, "the controller goes away");
    loop_destroy(m.loop);
    for (size_t i = 0; i < DISKS; i++)
        hv_disk_destroy(m.disks[i]);
    return 0;
}
