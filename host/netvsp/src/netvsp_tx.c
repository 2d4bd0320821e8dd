/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames from the guest: messages 107 by section, several RNDIS packets in each, or by pages, one packet.
 *
 * Headers and per-packet information are copied before they are looked at; the frame itself stays where it is until the
 * link has taken it.  What makes no sense is dropped, counted and completed with "invalid RNDIS"; the packets before it in
 * the same message are sent.
 */
#include "netvsp_impl.h"

#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <hv/base/clock.h>

#include "frame.h"

#define LINE_BYTES    64u
#define FETCH_BYTES   512u /* ahead of the packet that is parsed */
#define PPI_BYTES_MAX 256u
#define NEVER_ASKED                                                                                \
    UINT64_C(0x5a5a5a5a5a5a5a5a) /* turns an id into one that the guest did not use */
#define NS_PER_MS 1000000u
#define NS_PER_S  1000000000u

/* ---- Per-packet information ---- */

static bool take_csum(const struct hv_netvsp *nic, uint32_t info, struct hv_frame *frame)
{
    if (!(info & (HV_TX_CSUM_TCP | HV_TX_CSUM_UDP | HV_TX_CSUM_IPHDR)))
        return true;
    if (!hv_netvsp_can_offload(nic, HV_NETVSP_OFF_TX_CSUM))
        return false;
    frame->flags |= info & HV_TX_CSUM_IPV4 ? HV_FRAME_IPV4 : 0;
    frame->flags |= info & HV_TX_CSUM_IPV6 ? HV_FRAME_IPV6 : 0;
    frame->flags |= info & HV_TX_CSUM_TCP ? HV_FRAME_TCP : 0;
    frame->flags |= info & HV_TX_CSUM_UDP ? HV_FRAME_UDP : 0;
    frame->flags |= info & HV_TX_CSUM_IPHDR ? HV_FRAME_IP_CSUM : 0;
    if (info & (HV_TX_CSUM_TCP | HV_TX_CSUM_UDP))
        frame->l4_offset = (uint16_t)(info >> HV_TX_CSUM_L4_SHIFT & HV_TX_CSUM_L4_MASK);
    return true;
}

static bool take_lso(const struct hv_netvsp *nic, uint32_t info, struct hv_frame *frame)
{
    uint32_t mss = info & HV_LSO_MSS_MASK;

    if (!hv_netvsp_can_offload(nic, HV_NETVSP_OFF_TSO) || !mss || mss > UINT16_MAX)
        return false;
    frame->flags |= HV_FRAME_TSO | HV_FRAME_TCP;
    frame->flags |= info & HV_LSO_IPV6 ? HV_FRAME_IPV6 : HV_FRAME_IPV4 | HV_FRAME_IP_CSUM;
    frame->mss = (uint16_t)mss;
    frame->l4_offset = (uint16_t)(info >> HV_LSO_TCP_SHIFT & HV_LSO_TCP_MASK);
    return true;
}

static bool take_vlan(const struct hv_netvsp *nic, uint32_t info, struct hv_frame *frame)
{
    if (!hv_netvsp_can_offload(nic, HV_NETVSP_OFF_VLAN))
        return false;
    frame->flags |= HV_FRAME_VLAN;
    frame->vlan_tci = (uint16_t)((info & HV_VLAN_PRIORITY_MASK) << 13 | (info & HV_VLAN_CFI) << 9 |
                                 (info >> HV_VLAN_ID_SHIFT & 0xfffu));
    return true;
}

static bool take_ppis(const struct hv_netvsp *nic, const uint8_t *at, uint32_t left,
                      struct hv_frame *frame)
{
    while (left) {
        struct hv_rndis_ppi ppi;
        uint32_t info;

        if (left < sizeof(ppi))
            return false;
        memcpy(&ppi, at, sizeof(ppi));
        if (ppi.size_bytes < sizeof(ppi) || ppi.size_bytes > left || ppi.size_bytes % 4)
            return false;
        if (ppi.type == HV_PPI_CHECKSUM || ppi.type == HV_PPI_LSO || ppi.type == HV_PPI_VLAN) {
            if (ppi.data_offset < sizeof(ppi) ||
                !hv_range_fits(ppi.data_offset, sizeof(info), ppi.size_bytes))
                return false;
            memcpy(&info, at + ppi.data_offset, sizeof(info));
            if (ppi.type == HV_PPI_CHECKSUM ? !take_csum(nic, info, frame)
                : ppi.type == HV_PPI_LSO    ? !take_lso(nic, info, frame)
                                            : !take_vlan(nic, info, frame))
                return false;
        }
        at += ppi.size_bytes;
        left -= ppi.size_bytes;
    }
    return true;
}

/* ---- One RNDIS packet ---- */

/** Offsets count from byte 8 and are as hostile as everything: [offset + 8, + bytes) of a message of `limit`. */
static bool body_fits(uint32_t offset, uint32_t bytes, uint32_t limit)
{
    return offset >= sizeof(struct hv_rndis_packet) - HV_RNDIS_OFFSET_BASE &&
           hv_range_fits((uint64_t)offset + HV_RNDIS_OFFSET_BASE, bytes, limit);
}

/** Most messages lie in one piece, a section. */
static bool copy_header(const struct hv_frame *whole, struct hv_rndis_packet *header)
{
    if (whole->iov_count > 1)
        return hv_frame_copy(whole, 0, header, sizeof(*header)) == sizeof(*header);
    if (whole->bytes < sizeof(*header))
        return false;
    hv_netvsp_snapshot(header, whole->iov->iov_base, sizeof(*header));
    return true;
}

static uint32_t slice(const struct hv_frame *whole, uint32_t offset, uint32_t bytes,
                      struct iovec *pieces)
{
    if (whole->iov_count > 1)
        return hv_frame_slice(whole, offset, bytes, pieces, HV_FRAME_IOV_MAX);
    pieces->iov_base = (uint8_t *)whole->iov->iov_base + offset;
    pieces->iov_len = bytes;
    return 1;
}

/**
 * The packet at the start of `whole`, which may be longer.  On success the frame stands at the end of q->frames, and its
 * pieces at the end of q->pieces.
 */
static bool take_packet(struct hv_netvsp_queue *q, const struct hv_frame *whole,
                        uint32_t *ret_length)
{
    const struct hv_netvsp_session *s = q->session;
    struct hv_frame *frame = &q->frames[q->frame_count];
    struct iovec *pieces = &q->pieces[q->piece_count];
    uint8_t ppis[PPI_BYTES_MAX];
    struct hv_rndis_packet h;

    if (!copy_header(whole, &h) || h.hdr.type != HV_RNDIS_PACKET ||
        h.hdr.length_bytes < sizeof(h) || h.hdr.length_bytes > whole->bytes)
        return false;
    if (!body_fits(h.data_offset, h.data_bytes, h.hdr.length_bytes) || h.oob_bytes || h.oob_count)
        return false;
    *frame = (struct hv_frame){.iov = pieces, .bytes = h.data_bytes};
    if (h.ppi_bytes) {
        if (h.ppi_bytes > sizeof(ppis) || h.ppi_offset % 4 ||
            !body_fits(h.ppi_offset, h.ppi_bytes, h.hdr.length_bytes))
            return false;
        (void)hv_frame_copy(whole, h.ppi_offset + HV_RNDIS_OFFSET_BASE, ppis, h.ppi_bytes);
        if (!take_ppis(q->nic, ppis, h.ppi_bytes, frame))
            return false;
    }
    if (h.data_bytes < HV_FRAME_BYTES_MIN ||
        h.data_bytes > (frame->flags & HV_FRAME_TSO ? HV_FRAME_BYTES_MAX : s->frame_bytes_max))
        return false;
    frame->iov_count = slice(whole, h.data_offset + HV_RNDIS_OFFSET_BASE, h.data_bytes, pieces);
    if (!frame->iov_count)
        return false;
    q->frame_count++;
    q->piece_count += frame->iov_count;
    hv_netvsp_count(&q->counters.from_bytes, h.data_bytes);
    *ret_length = h.hdr.length_bytes;
    return true;
}

static void send_frames(struct hv_netvsp_queue *q)
{
    if (!q->frame_count)
        return;
    hv_netvsp_count(&q->counters.from_packets, q->frame_count);
    if (q->rules.link_up)
        hv_link_send(q->nic->link, q->index, q->frames, (uint16_t)q->frame_count);
    else
        hv_netvsp_count(&q->counters.link, q->frame_count);
    q->frame_count = q->piece_count = 0;
}

static void make_room(struct hv_netvsp_queue *q)
{
    if (q->frame_count == HV_NETVSP_FRAMES ||
        q->piece_count > HV_NETVSP_PIECES - HV_FRAME_IOV_MAX - HV_NETVSP_PIECES_MAX)
        send_frames(q);
}

/** One or, in a section, several packets behind each other.  Returns the status for the completion. */
static uint32_t take_packets(struct hv_netvsp_queue *q, struct iovec *iov, uint32_t iov_count,
                             uint32_t bytes, uint32_t max)
{
    struct hv_frame whole = {.iov = iov, .iov_count = iov_count, .bytes = bytes};

    while (whole.bytes) {
        uint32_t length;

        make_room(q);
        __builtin_prefetch((const uint8_t *)iov->iov_base + FETCH_BYTES);
        __builtin_prefetch((const uint8_t *)iov->iov_base + FETCH_BYTES + LINE_BYTES);
        if (!max-- || !take_packet(q, &whole, &length)) {
            hv_netvsp_count(&q->counters.bad, 1);
            return HV_NVSP_STATUS_INVALID_RNDIS;
        }
        if (iov_count > 1 || whole.bytes - length < sizeof(struct hv_rndis_header))
            break; /* by pages it is a single one; what follows is padding */
        iov->iov_base = (uint8_t *)iov->iov_base + length;
        iov->iov_len -= length;
        whole.bytes -= length;
    }
    return HV_NVSP_STATUS_SUCCESS;
}

/* ---- Messages ---- */

/** Only a hint: what it reads is read again, and checked, when the packet is taken. */
void hv_netvsp_prefetch(const struct hv_netvsp_queue *q, const struct hv_packet *packet)
{
    const struct hv_netvsp_buffer *send = &q->session->send;
    const uint32_t *words = packet->payload;
    const uint8_t *section;
    uint32_t index;

    if (packet->type != HV_PACKET_INBAND || packet->payload_bytes < 12 || q->detached)
        return;
    index = __atomic_load_n(&words[2], __ATOMIC_RELAXED);
    if (!send->address || index >= send->section_count)
        return;
    section = send->address + (size_t)index * send->section_bytes;
    __builtin_prefetch(section);
    __builtin_prefetch(section + LINE_BYTES);
}

/** Where the message lies.  Returns the number of pieces, 0 = nowhere. */
static uint32_t find_message(struct hv_netvsp_queue *q, const struct hv_packet *packet,
                             const struct hv_nvsp_rndis *rndis, struct iovec *iov,
                             uint32_t *ret_bytes)
{
    const struct hv_netvsp_buffer *send = &q->session->send;
    ssize_t n;

    if (packet->type == HV_PACKET_GPA_DIRECT) {
        n = hv_host_channel_map_gpa_ranges(q->channel, packet, iov, HV_NETVSP_PIECES_MAX,
                                           ret_bytes);
        return n > 0 ? (uint32_t)n : 0;
    }
    if (!send->address || rndis->section_index >= send->section_count || !rndis->section_bytes ||
        rndis->section_bytes > send->section_bytes)
        return 0;
    iov->iov_base = send->address + (size_t)rndis->section_index * send->section_bytes;
    iov->iov_len = rndis->section_bytes;
    *ret_bytes = rndis->section_bytes;
    return 1;
}

/** A whole control message, copied.  Returns the status for the completion. */
static uint32_t take_control(struct hv_netvsp_queue *q, const struct iovec *iov, uint32_t iov_count,
                             uint32_t bytes)
{
    const struct hv_frame whole = {.iov = iov, .iov_count = iov_count, .bytes = bytes};
    uint8_t message[HV_RNDIS_CONTROL_MAX] __attribute__((aligned(8)));

    if (q->index || bytes > sizeof(message)) {
        hv_netvsp_count(&q->counters.bad, 1);
        return HV_NVSP_STATUS_INVALID_RNDIS;
    }
    (void)hv_frame_copy(&whole, 0, message, bytes);
    if (!hv_netvsp_rndis_control(q, message, bytes)) {
        hv_netvsp_count(&q->counters.bad, 1);
        return HV_NVSP_STATUS_INVALID_RNDIS;
    }
    return HV_NVSP_STATUS_SUCCESS;
}

/** The fault plan on a message with frames.  True = its frames are not sent. */
static bool fault_frames(struct hv_netvsp_queue *q, const struct hv_netvsp_fault_rule *rule)
{
    switch (rule->action) {
    case HV_NIC_FAULT_FAIL:
        return true;
    case HV_NIC_FAULT_LINK_FLAP:
        atomic_fetch_add(&q->nic->ports[0].flaps, 1);
        hv_netvsp_kick(&q->nic->ports[0]);
        return false;
    case HV_NIC_FAULT_BAD_INDEX:
        hv_host_channel_corrupt_index(q->channel);
        return false;
    case HV_NIC_FAULT_RESCIND:
        hv_host_channel_rescind(q->channel);
        return false;
    default:
        return false;
    }
}

static uint32_t take_data(struct hv_netvsp_queue *q, struct iovec *iov, uint32_t iov_count,
                          uint32_t bytes, const struct hv_netvsp_fault_rule **ret_rule)
{
    uint32_t max = q->nic->max_packets_per_message;

    hv_netvsp_count(&q->counters.from_messages, 1);
    if (q->nic->fault) {
        *ret_rule = hv_netvsp_fault_next(q->nic->fault, HV_NIC_FAULTS_FROM_GUEST);
        if (*ret_rule && fault_frames(q, *ret_rule))
            return HV_NVSP_STATUS_FAILURE;
    }
    return take_packets(q, iov, iov_count, bytes, max);
}

void hv_netvsp_take_rndis(struct hv_netvsp_queue *q, const struct hv_packet *packet,
                          const struct hv_nvsp_rndis *rndis)
{
    struct hv_netvsp_session *s = q->session;
    const struct hv_netvsp_fault_rule *rule = NULL;
    struct iovec iov[HV_NETVSP_PIECES_MAX];
    uint32_t bytes = 0, status = HV_NVSP_STATUS_INVALID_RNDIS, n;
    bool control = rndis->channel_type == HV_NVSP_CHANNEL_CONTROL;

    if (!s->receive.address && !atomic_load_explicit(&s->revoked, memory_order_relaxed)) {
        hv_netvsp_broken(q, "RNDIS before there is a receive buffer");
        return;
    }
    if (!control && !atomic_load_explicit(&s->operational, memory_order_relaxed) &&
        s->phase < HV_NETVSP_PHASE_RNDIS) {
        hv_netvsp_broken(q, "frames before RNDIS INITIALIZE");
        return;
    }
    if (q->detached || atomic_load_explicit(&s->revoked, memory_order_relaxed)) {
        status = HV_NVSP_STATUS_FAILURE; /* it took the buffers back, or HALTed */
    } else if ((n = find_message(q, packet, rndis, iov, &bytes)) == 0 ||
               rndis->channel_type > HV_NVSP_CHANNEL_CONTROL) {
        hv_netvsp_count(&q->counters.bad, 1);
    } else if (control) {
        status = take_control(q, iov, n, bytes);
    } else if (!atomic_load_explicit(&s->operational, memory_order_relaxed)) {
        status = HV_NVSP_STATUS_FAILURE;
    } else {
        status = take_data(q, iov, n, bytes, &rule);
    }
    if (packet->flags & HV_PACKET_FLAG_COMPLETION_REQUESTED)
        q->done[q->done_count++] =
            (struct hv_netvsp_done){.trans_id = packet->trans_id, .status = status, .fault = rule};
}

/* ---- Completions ---- */

static void complete(struct hv_netvsp_queue *q, uint64_t trans_id, uint32_t status)
{
    const struct hv_packet_desc desc = {
        .trans_id = trans_id, .payload_bytes = 8, .type = HV_PACKET_COMPLETION};
    struct hv_packet_slot slot;
    const uint32_t message[2] = {HV_NVSP_SEND_RNDIS_PACKET_COMPLETE, status};

    if (hv_netvsp_reserve(q, &desc, &slot))
        memcpy(slot.payload, message, sizeof(message));
}

static void set_timer(const struct hv_netvsp_queue *q)
{
    struct itimerspec when = {0};
    uint64_t due = UINT64_MAX;

    for (uint32_t i = 0; i < HV_NETVSP_DELAYED; i++)
        if (q->delayed[i].due_ns && q->delayed[i].due_ns < due)
            due = q->delayed[i].due_ns;
    if (due != UINT64_MAX) {
        when.it_value.tv_sec = (time_t)(due / NS_PER_S);
        when.it_value.tv_nsec = (long)(due % NS_PER_S);
    }
    (void)timerfd_settime(q->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/** may_take() saw to a free place. */
static void delay(struct hv_netvsp_queue *q, const struct hv_netvsp_done *done)
{
    struct hv_netvsp_delayed *d = q->delayed;

    while (d->due_ns)
        d++;
    *d = (struct hv_netvsp_delayed){.due_ns =
                                        hv_clock_ns() + (uint64_t)done->fault->delay_ms * NS_PER_MS,
                                    .trans_id = done->trans_id,
                                    .status = done->status};
    q->delayed_count++;
    set_timer(q);
}

int hv_netvsp_run_delayed(struct hv_netvsp_queue *q)
{
    uint64_t now = hv_clock_ns(), expirations;
    int n = 0;

    for (uint32_t i = 0; i < HV_NETVSP_DELAYED; i++) {
        struct hv_netvsp_delayed *d = &q->delayed[i];

        if (!d->due_ns || d->due_ns > now)
            continue;
        d->due_ns = 0;
        q->delayed_count--;
        complete(q, d->trans_id, d->status);
        n++;
    }
    if (n) {
        (void)!read(q->timer_fd, &expirations, sizeof(expirations)); /* set anew anyway */
        set_timer(q);
    }
    return n;
}

static void complete_with_fault(struct hv_netvsp_queue *q, const struct hv_netvsp_done *done)
{
    switch (done->fault->action) {
    case HV_NIC_FAULT_DROP:
        return;
    case HV_NIC_FAULT_DELAY:
        if (q->delayed_count < HV_NETVSP_DELAYED)
            delay(q, done);
        else
            complete(q, done->trans_id, done->status);
        return;
    case HV_NIC_FAULT_WRONG_ID:
        complete(q, done->trans_id ^ NEVER_ASKED, done->status);
        return;
    case HV_NIC_FAULT_REPEAT: /* twice as small as the room set aside */
        complete(q, done->trans_id, done->status);
        break;
    default:
        break;
    }
    complete(q, done->trans_id, done->status);
}

void hv_netvsp_finish_taken(struct hv_netvsp_queue *q)
{
    uint32_t count = q->done_count;

    send_frames(q);
    q->done_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (q->done[i].fault)
            complete_with_fault(q, &q->done[i]);
        else
            complete(q, q->done[i].trans_id, q->done[i].status);
    }
}
