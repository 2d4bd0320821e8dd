/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames to the guest.
 *
 * The receive buffer is cut into sections, one frame each.  The first 16 carry control messages; the others are the
 * primary's until it sets shares aside for its sub-channels.  Each queue takes its sections first in, first out: one that
 * the guest has only just read lies in its cache, and the longer it has had to leave, the better.
 *
 * All frames of a poll go in one packet, a range each.  Its transaction id is the first section; the others hang behind it
 * in next_section, and come back together with the guest's completion.
 *
 *   section:  RNDIS packet, 44 | per-packet information, 16 each | 0 .. 2 | frame
 *
 * so that the IP header is 4-aligned and a short frame with its headers takes two cache lines.
 */
#include "netvsp_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "offload.h"

#define FETCH_AHEAD  8u /* sections */
#define LINE_BYTES   64u
#define LINK_BUDGET  64u
#define HEADER_BYTES ((uint32_t)sizeof(struct hv_rndis_packet))
#define PACKET_ROOM                                                                                \
    (HV_RING_DESCRIPTOR_BYTES + (uint32_t)sizeof(struct hv_transfer_pages) +                       \
     HV_NVSP_MESSAGE_BYTES + HV_RING_TRAILER_BYTES)

/* ---- Sections ---- */

static void push(struct hv_netvsp_queue *q, uint32_t section)
{
    q->sections[q->section_tail++ & q->section_mask] = section;
}

int hv_netvsp_rx_take_sections(struct hv_netvsp_queue *q, const uint32_t *ids, uint32_t first,
                               uint32_t count, uint32_t capacity)
{
    uint32_t slots = 1;

    while (slots < capacity)
        slots *= 2;
    q->sections = calloc(slots, sizeof(*q->sections));
    if (!q->sections)
        return -ENOMEM;
    q->section_mask = slots - 1;
    for (uint32_t i = 0; i < count; i++)
        push(q, ids ? ids[i] : first + i);
    return 0;
}

int hv_netvsp_rx_setup(struct hv_netvsp_queue *q)
{
    struct hv_netvsp_session *s = q->session;
    uint32_t count = s->receive.section_count;

    s->next_section = calloc(count, sizeof(*s->next_section));
    s->section_state = calloc(count, sizeof(*s->section_state));
    if (!s->next_section || !s->section_state)
        return -ENOMEM; /* the session frees what there is */
    return hv_netvsp_rx_take_sections(q, NULL, HV_NETVSP_CONTROL_SECTIONS,
                                      count - HV_NETVSP_CONTROL_SECTIONS, count);
}

int hv_netvsp_rx_split(struct hv_netvsp_queue *q, uint16_t from, uint16_t to)
{
    struct hv_netvsp_session *s = q->session;
    uint32_t free_count = q->section_tail - q->section_head, share;

    if (from > to)
        return 0;
    share = free_count / (to - from + 2u);
    for (uint16_t i = from; i <= to; i++) {
        free(s->share[i]); /* of an attempt that failed */
        s->share[i] = calloc(share ? share : 1, sizeof(*s->share[i]));
        if (!s->share[i])
            return -ENOMEM;
    }
    for (uint16_t i = from; i <= to; i++) {
        for (uint32_t n = 0; n < share; n++)
            s->share[i][n] = q->sections[q->section_head++ & q->section_mask];
        s->share_count[i] = share;
    }
    return 0;
}

void hv_netvsp_rx_completed(struct hv_netvsp_queue *q, uint64_t trans_id)
{
    struct hv_netvsp_session *s = q->session;
    uint32_t section = (uint32_t)trans_id;

    if (!s->section_state || trans_id >= s->receive.section_count ||
        s->section_state[section] != q->index + 1) {
        hv_netvsp_count(&q->counters.bad, 1); /* never sent, or answered before */
        return;
    }
    s->section_state[section] = 0;
    if (section < HV_NETVSP_CONTROL_SECTIONS) {
        s->control_free = (uint16_t)(s->control_free | 1u << section);
        return;
    }
    do {
        push(q, section);
        section = s->next_section[section];
    } while (section != HV_NETVSP_NONE);
}

/* ---- One frame ---- */

/** Four words, stored one by one: gathered on the stack first they would have to be read back as a vector. */
static uint8_t *put_ppi(uint8_t *at, uint32_t type, uint32_t value)
{
    uint32_t *ppi = (uint32_t *)(void *)at;

    ppi[0] = 16;
    ppi[1] = type;
    ppi[2] = 12;
    ppi[3] = value;
    return at + 16;
}

static uint32_t rx_csum(const struct hv_frame *frame)
{
    uint32_t info = 0;

    if (frame->flags & HV_FRAME_IP_OK)
        info |= HV_RX_CSUM_IP_OK;
    if (frame->flags & HV_FRAME_L4_OK)
        info |= frame->flags & HV_FRAME_TCP   ? HV_RX_CSUM_TCP_OK
                : frame->flags & HV_FRAME_UDP ? HV_RX_CSUM_UDP_OK
                                              : 0;
    return info;
}

static uint32_t tag_info(uint16_t tci)
{
    return (uint32_t)tci >> 13 | (tci & 0x1000u) >> 9 | (tci & 0xfffu) << HV_VLAN_ID_SHIFT;
}

/** The section starts on a cache line.  Nothing that is written here is ever read back: it is the guest's by now. */
static void put_header(uint8_t *to, uint32_t ppi_bytes, uint32_t offset, uint32_t bytes)
{
    struct hv_rndis_packet *h = (struct hv_rndis_packet *)(void *)to;

    h->hdr.type = HV_RNDIS_PACKET;
    h->hdr.length_bytes = offset + bytes;
    h->data_offset = offset - HV_RNDIS_OFFSET_BASE;
    h->data_bytes = bytes;
    h->oob_offset = h->oob_bytes = h->oob_count = 0;
    h->ppi_offset = ppi_bytes ? HEADER_BYTES - HV_RNDIS_OFFSET_BASE : 0;
    h->ppi_bytes = ppi_bytes;
    h->vc_handle = h->reserved = 0;
}

/** Headers and frame; returns the length of the message. */
static uint32_t write_frame(const struct hv_netvsp_queue *q, uint8_t *to,
                            const struct hv_frame *frame, struct hv_netvsp_hash hash)
{
    uint8_t *ppis = to + HEADER_BYTES, *at = ppis;
    uint32_t csum = q->rules.checksums ? rx_csum(frame) : 0, offset;

    if (csum)
        at = put_ppi(at, HV_PPI_CHECKSUM, csum);
    if (frame->flags & HV_FRAME_VLAN)
        at = put_ppi(at, HV_PPI_VLAN, tag_info(frame->vlan_tci));
    if (hash.type) {
        at = put_ppi(at, HV_PPI_HASH_VALUE, hash.value);
        at = put_ppi(at, HV_PPI_HASH_INFO, HV_NDIS_HASH_TOEPLITZ | hash.type);
    }
    offset = (uint32_t)(at - to) + 2; /* 4 n + 2 */
    put_header(to, (uint32_t)(at - ppis), offset, frame->bytes);
    at = to + offset;
    for (uint32_t i = 0; i < frame->iov_count; i++) {
        memcpy(at, frame->iov[i].iov_base, frame->iov[i].iov_len);
        at += frame->iov[i].iov_len;
    }
    return offset + frame->bytes;
}

static uint32_t write_section(const struct hv_netvsp_queue *q, uint8_t *to,
                              const struct hv_frame *frame, struct hv_netvsp_hash hash)
{
    struct iovec iov[HV_VLAN_PIECES];
    uint8_t head[HV_VLAN_HEAD_BYTES];
    struct hv_frame tagged;

    if (!(frame->flags & HV_FRAME_VLAN) || q->tags_aside)
        return write_frame(q, to, frame, hash);
    hv_offload_vlan_insert(frame, head, iov, &tagged); /* this guest knows no tags aside */
    return write_frame(q, to, &tagged, hash);
}

static bool wants_group(const struct hv_netvsp_rules *rules, const uint8_t mac[6])
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    if (!memcmp(mac, broadcast, 6))
        return rules->filter & HV_FILTER_BROADCAST;
    if (rules->filter & HV_FILTER_ALLMULTI)
        return true;
    if (!(rules->filter & HV_FILTER_MULTICAST))
        return false;
    for (uint16_t i = 0; i < rules->multicast_count; i++)
        if (!memcmp(rules->multicast[i], mac, 6))
            return true;
    return false;
}

/** The packet filter; the receiver's address may not lie in the first piece. */
static bool is_wanted(const struct hv_netvsp_rules *rules, const struct hv_frame *frame)
{
    uint8_t mac[6];
    size_t have = 0;

    if (rules->filter & HV_FILTER_PROMISCUOUS)
        return true;
    if (!rules->filter)
        return false;
    for (uint32_t i = 0; i < frame->iov_count && have < sizeof(mac); i++) {
        size_t n = hv_min_u64(frame->iov[i].iov_len, sizeof(mac) - have);

        memcpy(mac + have, frame->iov[i].iov_base, n);
        have += n;
    }
    if (have < sizeof(mac))
        return false;
    if (mac[0] & 1)
        return wants_group(rules, mac);
    return (rules->filter & HV_FILTER_DIRECTED) && !memcmp(rules->mac, mac, sizeof(mac));
}

static bool fits(const struct hv_netvsp_queue *q, const struct hv_frame *frame)
{
    return frame->bytes >= HV_FRAME_BYTES_MIN &&
           frame->bytes <= q->session->frame_bytes_max -
                               (frame->flags & HV_FRAME_VLAN ? HV_NETVSP_TAG_BYTES : 0);
}

/** Dropped by a rule: taken, as far as the link is concerned. */
static bool is_dropped(struct hv_netvsp_queue *q, const struct hv_frame *frame)
{
    const struct hv_netvsp_session *s = q->session;

    if (q->detached || q->dead || !s->receive.address ||
        !atomic_load_explicit(&s->operational, memory_order_relaxed) ||
        !is_wanted(&q->rules, frame)) {
        hv_netvsp_count(&q->counters.filter, 1);
        return true;
    }
    if (!q->rules.link_up) {
        hv_netvsp_count(&q->counters.link, 1);
        return true;
    }
    if (!fits(q, frame)) {
        hv_netvsp_count(&q->counters.bad, 1);
        return true;
    }
    return false;
}

/** The section that is written some frames from now, where the guest has read it. */
static void fetch_section(const struct hv_netvsp_queue *q)
{
    const struct hv_netvsp_buffer *receive = &q->session->receive;
    const uint8_t *next;

    if (q->section_tail - q->section_head <= FETCH_AHEAD)
        return;
    next =
        receive->address + (size_t)q->sections[(q->section_head + FETCH_AHEAD) & q->section_mask] *
                               receive->section_bytes;
    __builtin_prefetch(next, 1);
    __builtin_prefetch(next + LINE_BYTES, 1);
}

bool hv_netvsp_rx_place(struct hv_netvsp_queue *q, const struct hv_frame *frame,
                        struct hv_netvsp_hash hash)
{
    struct hv_netvsp_session *s = q->session;
    uint32_t section;

    if (is_dropped(q, frame))
        return true;
    if (q->range_count == HV_NETVSP_RANGES)
        hv_netvsp_rx_flush(q);
    if (q->section_head == q->section_tail) {
        q->short_of_sections = true;
        return false;
    }
    if (!hv_netvsp_has_room(q,
                            sizeof(struct hv_transfer_range) + (q->range_count ? 0 : PACKET_ROOM)))
        return false;
    section = q->sections[q->section_head++ & q->section_mask];
    fetch_section(q);
    q->ranges[q->range_count++] = (struct hv_transfer_range){
        .byte_count = write_section(
            q, s->receive.address + (size_t)section * s->receive.section_bytes, frame, hash),
        .byte_offset = section * s->receive.section_bytes};
    if (q->chain_head == HV_NETVSP_NONE)
        q->chain_head = section;
    else
        s->next_section[q->chain_tail] = section;
    s->next_section[section] = HV_NETVSP_NONE;
    q->chain_tail = section;
    hv_netvsp_count(&q->counters.to_bytes, frame->bytes);
    return true;
}

/* ---- One packet ---- */

uint32_t hv_netvsp_rx_promised(const struct hv_netvsp_queue *q)
{
    return q->range_count
               ? PACKET_ROOM + q->range_count * (uint32_t)sizeof(struct hv_transfer_range)
               : 0;
}

void hv_netvsp_fill_transfer(const struct hv_netvsp_queue *q, const struct hv_packet_slot *slot,
                             uint32_t channel_type, const struct hv_transfer_range *ranges,
                             uint32_t count)
{
    const struct hv_transfer_pages head = {.set_id = HV_NVSP_RECEIVE_BUFFER_ID,
                                           .range_count = count};
    struct hv_nvsp_message message = {.type = HV_NVSP_SEND_RNDIS_PACKET};

    message.rndis.channel_type = channel_type;
    message.rndis.section_index = HV_NVSP_SECTION_NONE;
    memcpy(slot->ext, &head, sizeof(head));
    memcpy((uint8_t *)slot->ext + sizeof(head), ranges, count * sizeof(*ranges));
    memcpy(slot->payload, &message, q->message_bytes);
}

/** Make the packet about to be sent wrong; see hv/netvsp.h. */
static void spoil(struct hv_netvsp_queue *q, const struct hv_netvsp_fault_rule *rule,
                  const struct hv_packet_slot *slot)
{
    struct hv_netvsp_session *s = q->session;
    struct hv_transfer_pages *head = slot->ext;
    struct hv_transfer_range *range = (void *)(head + 1);
    struct hv_rndis_packet *h = (void *)(s->receive.address + q->ranges[0].byte_offset);
    uint32_t word;

    switch (rule->action) {
    case HV_NIC_FAULT_BAD_OFFSET:
        range->byte_offset = UINT32_MAX - 7;
        break;
    case HV_NIC_FAULT_BAD_RANGE:
        range->byte_count = s->receive.section_bytes + 1;
        break;
    case HV_NIC_FAULT_BAD_RNDIS:
        word = range->byte_count + 1;
        memcpy(&h->hdr.length_bytes, &word, sizeof(word));
        break;
    case HV_NIC_FAULT_BAD_DATA:
        word = UINT32_MAX - 35;
        memcpy(&h->data_offset, &word, sizeof(word));
        break;
    case HV_NIC_FAULT_BAD_PPI: /* one without length, in place of the frame's start if there was none */
        word = HEADER_BYTES - HV_RNDIS_OFFSET_BASE;
        memcpy(&h->ppi_offset, &word, sizeof(word));
        word = sizeof(struct hv_rndis_ppi) + 4;
        memcpy(&h->ppi_bytes, &word, sizeof(word));
        memset(h + 1, 0, sizeof(struct hv_rndis_ppi));
        break;
    case HV_NIC_FAULT_BAD_BUFFER:
        head->set_id = 0xbeef;
        break;
    case HV_NIC_FAULT_BAD_COUNT:
        head->range_count += 1000;
        break;
    default:
        break;
    }
}

static void send_packet(struct hv_netvsp_queue *q, const struct hv_netvsp_fault_rule *rule)
{
    struct hv_netvsp_session *s = q->session;
    struct hv_packet_desc desc = {.trans_id = q->chain_head,
                                  .ext_bytes =
                                      (uint32_t)(sizeof(struct hv_transfer_pages) +
                                                 q->range_count * sizeof(struct hv_transfer_range)),
                                  .payload_bytes = q->message_bytes,
                                  .type = HV_PACKET_TRANSFER_PAGES,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};
    struct hv_packet_slot slot;

    if (rule && rule->action == HV_NIC_FAULT_BAD_RX_ID)
        desc.trans_id += s->receive.section_count;
    if (!hv_netvsp_reserve(q, &desc, &slot))
        return;
    hv_netvsp_fill_transfer(q, &slot, HV_NVSP_CHANNEL_DATA, q->ranges, q->range_count);
    if (rule)
        spoil(q, rule, &slot);
    s->section_state[q->chain_head] = (uint8_t)(q->index + 1);
    hv_netvsp_count(&q->counters.to_messages, 1);
    if (rule && rule->action == HV_NIC_FAULT_RX_TWICE &&
        hv_netvsp_has_room(q, hv_ring_packet_bytes(desc.ext_bytes, desc.payload_bytes)) &&
        hv_netvsp_reserve(q, &desc, &slot))
        hv_netvsp_fill_transfer(q, &slot, HV_NVSP_CHANNEL_DATA, q->ranges, q->range_count);
}

/** The sections of frames that were placed and not sent. */
static void take_back(struct hv_netvsp_queue *q)
{
    for (uint32_t at = q->chain_head; at != HV_NETVSP_NONE; at = q->session->next_section[at])
        push(q, at);
}

void hv_netvsp_rx_flush(struct hv_netvsp_queue *q)
{
    const struct hv_netvsp_fault_rule *rule = NULL;

    if (!q->range_count)
        return;
    if (q->nic->fault)
        rule = hv_netvsp_fault_next(q->nic->fault, HV_NIC_FAULTS_TO_GUEST);
    if (rule && rule->action == HV_NIC_FAULT_NO_BUFFER) {
        hv_netvsp_count(&q->counters.no_buffer, q->range_count);
        take_back(q);
    } else {
        hv_netvsp_count(&q->counters.to_packets, q->range_count);
        send_packet(q, rule);
    }
    q->range_count = 0;
    q->chain_head = q->chain_tail = HV_NETVSP_NONE;
}

/* ---- Poll ---- */

static bool may_deliver(const struct hv_netvsp_queue *q)
{
    return q->rules.filter && !q->detached && !q->dead &&
           atomic_load_explicit(&q->session->operational, memory_order_relaxed);
}

int hv_netvsp_rx_poll(struct hv_netvsp_queue *q)
{
    int done = hv_netvsp_take_handover(q);

    if (!may_deliver(q))
        return done;
    for (uint16_t i = 0; i < q->polled_count && q->section_head != q->section_tail; i++)
        done += hv_link_poll(q->nic->link, q->polled[i], LINK_BUDGET);
    if (q->section_head == q->section_tail)
        q->short_of_sections = true;
    if (q->short_of_sections && !q->was_short)
        hv_netvsp_count(&q->counters.dry, 1);
    q->was_short = q->short_of_sections;
    return done;
}

void hv_netvsp_rx_mute(struct hv_netvsp_queue *q)
{
    for (uint16_t i = 0; i < q->polled_count; i++)
        hv_link_mute(q->nic->link, q->polled[i]);
}

bool hv_netvsp_rx_arm(struct hv_netvsp_queue *q)
{
    if (q->short_of_sections) { /* the guest gives some back, and wakes us */
        hv_netvsp_rx_mute(q);
        return false;
    }
    q->handover_armed = true;
    if (hv_handover_arm(q->port->handover))
        return true;
    if (!may_deliver(q)) {
        hv_netvsp_rx_mute(q);
        return false;
    }
    for (uint16_t i = 0; i < q->polled_count; i++)
        if (hv_link_arm(q->nic->link, q->polled[i]))
            return true;
    return false;
}
