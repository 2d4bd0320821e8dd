/* SPDX-License-Identifier: BSD-3-Clause */
#include "netvsc_rig.h"

#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>

static void take_last(struct rig *rig, const void *bytes, size_t count)
{
    rig->last_bytes = count < sizeof(rig->last) ? count : sizeof(rig->last);
    memcpy(rig->last, bytes, rig->last_bytes);
}

static void on_control(void *arg, const void *rndis, size_t bytes)
{
    struct rig *rig = arg;

    rig->controls++;
    take_last(rig, rndis, bytes);
}

static void on_notify(void *arg, const void *nvsp, size_t bytes)
{
    struct rig *rig = arg;

    rig->notifies++;
    take_last(rig, nvsp, bytes);
}

static void on_answer(void *arg, uint32_t tag, const void *nvsp, size_t bytes)
{
    struct rig *rig = arg;

    rig->answers++;
    rig->last_tag = tag;
    take_last(rig, nvsp, bytes);
}

static void on_dead(void *arg)
{
    ((struct rig *)arg)->deaths++;
}

static uint8_t *memory(size_t bytes)
{
    uint8_t *at = bytes ? calloc(1, bytes) : NULL;

    if (bytes && !at)
        abort();
    return at;
}

/** No two pages alike. */
static void fill_pattern(uint8_t *at)
{
    static uint8_t pattern[RIG_MEMORY_BYTES]; /* the same each time: a fuzzer starts many rigs */

    if (!pattern[1])
        for (uint32_t i = 0; i < RIG_MEMORY_BYTES; i++)
            pattern[i] = (uint8_t)(i * 7 + (i >> 8));
    memcpy(at, pattern, sizeof(pattern));
}

static uint32_t or_default(uint32_t value, uint32_t standard)
{
    return value ? value : standard;
}

void rig_start(struct rig *rig, const struct rig_opts *given)
{
    struct rig_opts o = given ? *given : (struct rig_opts){0};
    struct hv_nq_share share;

    memset(rig, 0, sizeof(*rig));
    o.receive_sections = or_default(o.receive_sections, RIG_SECTIONS);
    o.send_sections =
        o.send_sections == UINT32_MAX ? 0 : or_default(o.send_sections, RIG_TX_SECTIONS);
    rig->bus = ring_bus_create();
    rig->channel = ring_bus_open(rig->bus, or_default(o.ring_bytes, 0x10000));
    rig->receive = memory((size_t)o.receive_sections * RIG_SECTION_BYTES);
    rig->send = memory((size_t)o.send_sections * RIG_TX_SECTION_BYTES);
    rig->memory = aligned_alloc(HV_PAGE_BYTES, RIG_MEMORY_BYTES);
    if (!rig->memory)
        abort();
    fill_pattern(rig->memory);
    ring_bus_reach(rig->bus, rig->memory, RIG_MEMORY_BYTES);
    rig->device = (struct hv_nq_device){
        .receive = {rig->receive, (size_t)o.receive_sections * RIG_SECTION_BYTES, 1},
        .send = {rig->send, (size_t)o.send_sections * RIG_TX_SECTION_BYTES, 2},
        .receive_sections = o.receive_sections,
        .receive_section_bytes = RIG_SECTION_BYTES,
        .send_sections = o.send_sections,
        .send_section_bytes = RIG_TX_SECTION_BYTES,
        .max_packets_per_message = or_default(o.packets_per_message, 8),
        .max_message_bytes = or_default(o.message_bytes, 0x4000),
        .packet_align_bytes = 8,
        .tx_copy_bytes = or_default(o.tx_copy_bytes, 512),
        .frame_bytes_max = or_default(o.frame_bytes_max, RIG_FRAME_MAX),
        .tso_bytes_max = 0xf53c,
        .offloads = 0x7ff,
        .hook_arg = rig,
        .control = on_control,
        .notify = on_notify,
        .answer = on_answer,
        .dead = on_dead,
    };
    share = (struct hv_nq_share){
        .first_section = o.first_section,
        .section_count = o.send_sections - o.first_section,
        .receive_sections = o.receive_sections,
    };
    if (hv_nq_create(&rig->device, rig->channel, or_default(o.descriptors, 32), &rig->queue) ||
        hv_nq_set_share(rig->queue, &share))
        abort();
    if (!o.paused)
        hv_nq_resume(rig->queue);
}

void rig_stop(struct rig *rig)
{
    hv_nq_detach(rig->queue);
    ring_bus_close(rig->channel);
    hv_nq_destroy(rig->queue);
    ring_bus_destroy(rig->bus);
    free(rig->receive);
    free(rig->send);
    free(rig->memory);
}

uint32_t rig_put_frame(struct rig *rig, uint32_t offset, const void *frame, uint32_t bytes,
                       const void *ppis, uint32_t ppi_bytes)
{
    struct hv_rndis_packet p = {
        .hdr = {HV_RNDIS_PACKET, (uint32_t)sizeof(p) + ppi_bytes + bytes},
        .data_offset = (uint32_t)sizeof(p) - 8 + ppi_bytes,
        .data_bytes = bytes,
        .ppi_offset = ppi_bytes ? (uint32_t)sizeof(p) - 8 : 0,
        .ppi_bytes = ppi_bytes,
    };
    uint8_t *at = rig->receive + offset;

    memcpy(at, &p, sizeof(p));
    if (ppi_bytes)
        memcpy(at + sizeof(p), ppis, ppi_bytes);
    memcpy(at + sizeof(p) + ppi_bytes, frame, bytes);
    return p.hdr.length_bytes;
}

bool rig_deliver_raw(struct rig *rig, const struct rig_raw *raw,
                     const struct hv_transfer_range *ranges, uint32_t count)
{
    uint8_t ext[8 + 1024 * sizeof(*ranges)];
    struct hv_transfer_pages pages = {.set_id = raw->set_id, .range_count = raw->range_count};
    struct hv_nvsp_message nvsp = {
        .type = raw->nvsp_type,
        .rndis = {raw->channel_type, HV_NVSP_SECTION_NONE, 0},
    };

    if (count > 1024)
        abort();
    memcpy(ext, &pages, sizeof(pages));
    if (count)
        memcpy(ext + 8, ranges, count * sizeof(*ranges));
    return ring_bus_send(rig->channel, HV_PACKET_TRANSFER_PAGES, raw->id, ext,
                         8 + count * (uint32_t)sizeof(*ranges), &nvsp,
                         raw->payload_bytes ? raw->payload_bytes : 16);
}

bool rig_deliver(struct rig *rig, uint64_t id, const struct hv_transfer_range *ranges,
                 uint32_t count)
{
    struct rig_raw raw = {
        .id = id,
        .set_id = HV_NVSP_RECEIVE_BUFFER_ID,
        .range_count = count,
        .nvsp_type = HV_NVSP_SEND_RNDIS_PACKET,
    };

    return rig_deliver_raw(rig, &raw, ranges, count);
}

bool rig_deliver_one(struct rig *rig, uint32_t section, uint8_t fill, uint32_t bytes)
{
    uint8_t frame[RIG_SECTION_BYTES];
    struct hv_transfer_range range = {0, section * RIG_SECTION_BYTES};

    memset(frame, fill, bytes);
    range.byte_count = rig_put_frame(rig, range.byte_offset, frame, bytes, NULL, 0);
    return rig_deliver(rig, section, &range, 1);
}

bool rig_take(struct rig *rig, struct rig_packet *ret)
{
    struct hv_packet p;

    if (hv_ring_rx_peek(&rig->channel->host_rx, &p))
        return false;
    if (p.ext_bytes > sizeof(ret->ext) || p.payload_bytes > sizeof(ret->payload))
        abort();
    memset(ret, 0, sizeof(*ret));
    ret->id = p.trans_id;
    ret->type = p.type;
    ret->flags = p.flags;
    ret->ext_bytes = p.ext_bytes;
    ret->payload_bytes = p.payload_bytes;
    memcpy(ret->ext, p.ext, p.ext_bytes);
    memcpy(ret->payload, p.payload, p.payload_bytes);
    (void)hv_ring_rx_release(&rig->channel->host_rx);
    return true;
}

unsigned rig_take_completions(struct rig *rig, uint64_t *ids, unsigned max)
{
    static const uint8_t success[8] = {108, 0, 0, 0, 1, 0, 0, 0};
    struct rig_packet p;
    unsigned n = 0;

    while (n < max && rig_take(rig, &p)) {
        if (p.type != HV_PACKET_COMPLETION || p.payload_bytes != 8 || memcmp(p.payload, success, 8))
            return UINT32_MAX;
        ids[n++] = p.id;
    }
    return n;
}

bool rig_complete(struct rig *rig, uint64_t id, uint32_t status)
{
    uint32_t words[2] = {HV_NVSP_SEND_RNDIS_PACKET_COMPLETE, status};

    return ring_bus_send(rig->channel, HV_PACKET_COMPLETION, id, NULL, 0, words, sizeof(words));
}

unsigned rig_complete_all(struct rig *rig)
{
    struct rig_packet p;
    unsigned n = 0;

    while (rig_take(rig, &p))
        if (p.type != HV_PACKET_COMPLETION && rig_complete(rig, p.id, HV_NVSP_STATUS_SUCCESS))
            n++;
    return n;
}

uint32_t rig_gather(const struct rig_packet *p, uint8_t *bytes, uint32_t max,
                    uint32_t *ret_first_range)
{
    const uint64_t *words = (const uint64_t *)(const void *)p->ext;
    uint32_t count = p->ext_bytes / 8, at = 1, done = 0;
    uint32_t ranges = (uint32_t)(words[0] >> 32);

    for (uint32_t r = 0; r < ranges; r++) {
        uint32_t left = (uint32_t)words[at], offset = (uint32_t)(words[at] >> 32);

        at++;
        if (offset >= HV_PAGE_BYTES || !left || left > max - done)
            return 0;
        if (!r)
            *ret_first_range = left;
        for (; left; at++, offset = 0) {
            uint32_t n = hv_min_u32(left, HV_PAGE_BYTES - offset);

            if (at >= count)
                return 0;
            memcpy(bytes + done, (const uint8_t *)(uintptr_t)(words[at] << HV_PAGE_SHIFT) + offset,
                   n);
            done += n;
            left -= n;
        }
    }
    return at == count ? done : 0;
}

struct hv_netvsc_queue_stats rig_stats(struct rig *rig)
{
    struct hv_netvsc_queue_stats stats;

    hv_netvsc_get_queue_stats(rig->queue, &stats);
    return stats;
}

struct hv_netvsc_tx rig_frame(const void *data, uint32_t bytes)
{
    return (struct hv_netvsc_tx){.data = data, .data_bytes = bytes, .bytes = bytes, .copied = 7};
}

uint32_t rig_put_tcp(uint8_t *to, bool ip6, unsigned tags, uint32_t data, uint16_t *ret_l4)
{
    uint32_t l3 = 14 + tags * 4, l4 = l3 + (ip6 ? 40 : 20);

    memset(to, 0xee, l4 + 32);
    for (unsigned i = 0; i < tags; i++) {
        to[12 + i * 4] = i ? 0x81 : 0x88;
        to[13 + i * 4] = i ? 0x00 : 0xa8;
    }
    to[l3 - 2] = ip6 ? 0x86 : 0x08;
    to[l3 - 1] = ip6 ? 0xdd : 0x00;
    to[l3] = ip6 ? 0x60 : 0x45;
    to[l4 + 12] = 0x80;
    *ret_l4 = (uint16_t)l4;
    return l4 + 32 + data;
}
