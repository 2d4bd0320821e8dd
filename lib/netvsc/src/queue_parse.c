/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A received RNDIS message.  It lies in memory that the host may rewrite while we look: header and per-packet information
 * are copied, the copy is checked, the copy is used.  The compiler must not go back to the original: hv_snapshot().
 */
#include "queue_rndis.h"

#include <hv/base/bits.h>

/** A copy that stays one: after this the compiler knows nothing of where the bytes came from. */
#define hv_snapshot(copy, from)                                                                    \
    do {                                                                                           \
        memcpy(&(copy), (from), sizeof(copy));                                                     \
        __asm__ volatile("" : "+m"(copy));                                                         \
    } while (0)

/** Where the parts of a message may lie: behind the header, within the message; all counted from byte 8. */
#define OFFSET_MIN (sizeof(struct hv_rndis_packet) - HV_RNDIS_OFFSET_BASE)

/** Data and information each within the message, and not over each other. */
static bool parts_fit(const struct hv_rndis_packet *p, uint32_t body_bytes)
{
    uint32_t room = body_bytes - (uint32_t)OFFSET_MIN;

    if (p->data_offset < OFFSET_MIN || !hv_range_fits(p->data_offset, p->data_bytes, body_bytes))
        return false;
    if (!p->ppi_bytes && !p->oob_bytes)
        return true;
    if ((uint64_t)p->data_bytes + p->ppi_bytes + p->oob_bytes > room)
        return false;
    if (p->oob_bytes &&
        (p->oob_offset < OFFSET_MIN || !hv_range_fits(p->oob_offset, p->oob_bytes, body_bytes)))
        return false;
    if (!p->ppi_bytes)
        return true;
    if (p->ppi_offset < OFFSET_MIN || p->ppi_offset % 4 ||
        !hv_range_fits(p->ppi_offset, p->ppi_bytes, body_bytes))
        return false;
    /* neither sum overflows: both ranges fit the message */
    return p->ppi_offset + p->ppi_bytes <= p->data_offset ||
           p->data_offset + p->data_bytes <= p->ppi_offset;
}

static uint32_t flags_of_checksum(uint32_t sum)
{
    uint32_t flags = 0;

    if (sum & HV_RX_CSUM_IP_OK)
        flags |= HV_NETVSC_RX_IP_OK;
    if (sum & (HV_RX_CSUM_TCP_OK | HV_RX_CSUM_UDP_OK))
        flags |= HV_NETVSC_RX_L4_OK;
    /* whoever claims both is not believed */
    if (sum & HV_RX_CSUM_IP_FAILED)
        flags = (flags & ~HV_NETVSC_RX_IP_OK) | HV_NETVSC_RX_IP_BAD;
    if (sum & (HV_RX_CSUM_TCP_FAILED | HV_RX_CSUM_UDP_FAILED))
        flags = (flags & ~HV_NETVSC_RX_L4_OK) | HV_NETVSC_RX_L4_BAD;
    return flags;
}

static void take_info(uint32_t type, uint32_t data, struct hv_netvsc_frame *frame)
{
    switch (type) {
    case HV_PPI_CHECKSUM:
        frame->flags |= flags_of_checksum(data);
        break;
    case HV_PPI_VLAN:
        frame->flags |= HV_NETVSC_RX_HAS_VLAN;
        frame->vlan_tci =
            (uint16_t)((data & HV_VLAN_PRIORITY_MASK) << 13 | (data & HV_VLAN_CFI ? 1u << 12 : 0) |
                       (data >> HV_VLAN_ID_SHIFT & 0xfffu));
        break;
    case HV_PPI_HASH_VALUE:
        frame->flags |= HV_NETVSC_RX_HAS_HASH;
        frame->hash = data;
        break;
    default:
        break; /* nothing that we asked for */
    }
}

/** All of the list; what is interpreted carries four bytes.  Each turn takes 12 bytes at least off `left`. */
static bool parse_ppis(const uint8_t *at, uint32_t left, struct hv_netvsc_frame *frame)
{
    while (left) {
        struct hv_rndis_ppi ppi;
        bool known;

        if (left < sizeof(ppi))
            return false;
        hv_snapshot(ppi, at);
        if (ppi.size_bytes < sizeof(ppi) || ppi.size_bytes % 4 || ppi.size_bytes > left)
            return false;
        known =
            ppi.type == HV_PPI_CHECKSUM || ppi.type == HV_PPI_VLAN || ppi.type == HV_PPI_HASH_VALUE;
        if (known) {
            uint32_t data;

            if (ppi.data_offset < sizeof(ppi) ||
                !hv_range_fits(ppi.data_offset, sizeof(data), ppi.size_bytes))
                return false;
            hv_snapshot(data, at + ppi.data_offset);
            take_info(ppi.type, data, frame);
        }
        at += ppi.size_bytes;
        left -= ppi.size_bytes;
    }
    return true;
}

enum hv_nq_verdict hv_nq_parse(const uint8_t *message, uint32_t range_bytes,
                               uint32_t frame_bytes_max, struct hv_netvsc_frame *frame)
{
    struct hv_rndis_packet p;
    uint32_t body_bytes;

    if (range_bytes < sizeof(p)) {
        hv_snapshot(p.hdr, message);
        return p.hdr.type != HV_RNDIS_PACKET ? HV_NQ_CONTROL : HV_NQ_BAD_RNDIS;
    }
    hv_snapshot(p, message);
    if (p.hdr.type != HV_RNDIS_PACKET)
        return HV_NQ_CONTROL;
    if (p.hdr.length_bytes < sizeof(p) || p.hdr.length_bytes > range_bytes)
        return HV_NQ_BAD_RNDIS;
    body_bytes = p.hdr.length_bytes - HV_RNDIS_OFFSET_BASE;
    if (!parts_fit(&p, body_bytes))
        return HV_NQ_BAD_RNDIS;
    if (p.data_bytes < HV_NQ_ETHER_BYTES || p.data_bytes > frame_bytes_max)
        return HV_NQ_BAD_LENGTH;
    frame->data = message + HV_RNDIS_OFFSET_BASE + p.data_offset;
    frame->bytes = p.data_bytes;
    frame->flags = 0;
    frame->hash = 0;
    frame->vlan_tci = 0;
    frame->reserved = 0;
    if (p.ppi_bytes &&
        !parse_ppis(message + HV_RNDIS_OFFSET_BASE + p.ppi_offset, p.ppi_bytes, frame))
        return HV_NQ_BAD_PPI;
    return HV_NQ_FRAME;
}
