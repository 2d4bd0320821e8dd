/* SPDX-License-Identifier: BSD-3-Clause */
/* RNDIS packet messages to be sent, and what the host wants of the headers of a frame that it is to cut. */
#include "queue_rndis.h"

#include <errno.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>

#define ETHERTYPE_AT   12u
#define VLAN_TAG_BYTES 4u
#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_IPV6 0x86ddu
#define ETHERTYPE_VLAN 0x8100u
#define ETHERTYPE_QINQ 0x88a8u
#define IPV4_BYTES     20u
#define IPV6_BYTES     40u
#define TCP_BYTES      20u
#define UDP_BYTES      8u

#define FLAG(name) HV_NETVSC_TX_FLAG_##name

uint32_t hv_nq_offloads_of(uint32_t flags)
{
    bool ip4 = flags & FLAG(IPV4), ip6 = flags & FLAG(IPV6);
    bool tcp = flags & (FLAG(TCP) | FLAG(TSO)), udp = flags & FLAG(UDP);
    uint32_t wanted = 0;

    if (flags & ~(uint32_t)HV_NQ_TX_FLAGS || (ip4 && ip6) || (tcp && udp) ||
        ((tcp || udp) && !ip4 && !ip6) || (flags & FLAG(IP_CSUM) && !ip4))
        return UINT32_MAX;
    if (flags & FLAG(IP_CSUM) && !(flags & FLAG(TSO))) /* cutting makes new headers anyway */
        wanted |= HV_NETVSC_TX_IP_CSUM;
    if (flags & FLAG(TSO))
        wanted |= ip4 ? HV_NETVSC_TX_TSO4 : HV_NETVSC_TX_TSO6;
    else if (tcp)
        wanted |= ip4 ? HV_NETVSC_TX_TCP4 : HV_NETVSC_TX_TCP6;
    if (udp)
        wanted |= ip4 ? HV_NETVSC_TX_UDP4 : HV_NETVSC_TX_UDP6;
    if (flags & FLAG(VLAN))
        wanted |= HV_NETVSC_TX_VLAN;
    return wanted;
}

int hv_nq_check_info(const struct hv_netvsc_tx *f)
{
    uint32_t l3_bytes = f->flags & FLAG(IPV6) ? IPV6_BYTES : IPV4_BYTES;
    uint32_t l4_bytes = f->flags & FLAG(UDP) ? UDP_BYTES : TCP_BYTES;

    if (f->flags & (FLAG(TCP) | FLAG(UDP) | FLAG(TSO)) &&
        (f->l4_offset < HV_NQ_ETHER_BYTES + l3_bytes || f->l4_offset > HV_NQ_L4_MAX_BYTES ||
         !hv_range_fits(f->l4_offset, l4_bytes, f->bytes)))
        return -EINVAL;
    return f->flags & FLAG(TSO) && !f->mss ? -EINVAL : 0;
}

uint32_t hv_nq_encode_bytes(uint32_t flags)
{
    uint32_t bytes = sizeof(struct hv_rndis_packet);

    if (flags & (FLAG(TSO) | FLAG(IP_CSUM) | FLAG(TCP) | FLAG(UDP)))
        bytes += HV_NQ_PPI_BYTES;
    if (flags & FLAG(VLAN))
        bytes += HV_NQ_PPI_BYTES;
    return bytes;
}

static uint8_t *put_ppi(uint8_t *to, uint32_t type, uint32_t data)
{
    struct hv_rndis_ppi ppi = {HV_NQ_PPI_BYTES, type, sizeof(ppi)};

    memcpy(to, &ppi, sizeof(ppi));
    memcpy(to + sizeof(ppi), &data, sizeof(data));
    return to + HV_NQ_PPI_BYTES;
}

static uint32_t checksum_info(const struct hv_netvsc_tx *f)
{
    uint32_t data = f->flags & FLAG(IPV6) ? HV_TX_CSUM_IPV6 : HV_TX_CSUM_IPV4;

    if (f->flags & FLAG(IP_CSUM))
        data |= HV_TX_CSUM_IPHDR;
    if (f->flags & FLAG(TCP))
        data |= HV_TX_CSUM_TCP;
    if (f->flags & FLAG(UDP))
        data |= HV_TX_CSUM_UDP;
    if (f->flags & (FLAG(TCP) | FLAG(UDP)))
        data |= (uint32_t)f->l4_offset << HV_TX_CSUM_L4_SHIFT;
    return data;
}

uint32_t hv_nq_encode(uint8_t *to, const struct hv_netvsc_tx *f)
{
    uint8_t *ppis = to + sizeof(struct hv_rndis_packet);
    uint8_t *at = ppis;
    struct hv_rndis_packet packet = {.hdr.type = HV_RNDIS_PACKET, .data_bytes = f->bytes};
    uint32_t bytes;

    if (f->flags & FLAG(TSO))
        at = put_ppi(at, HV_PPI_LSO,
                     f->mss | (uint32_t)f->l4_offset << HV_LSO_TCP_SHIFT | HV_LSO_V2 |
                         (f->flags & FLAG(IPV6) ? HV_LSO_IPV6 : 0));
    else if (f->flags & (FLAG(IP_CSUM) | FLAG(TCP) | FLAG(UDP)))
        at = put_ppi(at, HV_PPI_CHECKSUM, checksum_info(f));
    if (f->flags & FLAG(VLAN))
        at = put_ppi(at, HV_PPI_VLAN,
                     (uint32_t)f->vlan_tci >> 13 | (f->vlan_tci & 1u << 12 ? HV_VLAN_CFI : 0) |
                         (f->vlan_tci & 0xfffu) << HV_VLAN_ID_SHIFT);
    bytes = (uint32_t)(at - to);
    packet.hdr.length_bytes = bytes + f->bytes;
    packet.data_offset = bytes - HV_RNDIS_OFFSET_BASE;
    packet.ppi_bytes = (uint32_t)(at - ppis);
    if (packet.ppi_bytes)
        packet.ppi_offset = sizeof(packet) - HV_RNDIS_OFFSET_BASE;
    memcpy(to, &packet, sizeof(packet));
    return bytes;
}

/** Where the IP header starts, behind up to two tags; -EINVAL: another protocol than the flags say. */
static int l3_offset(const uint8_t *head, const struct hv_netvsc_tx *f)
{
    uint32_t at = ETHERTYPE_AT;
    uint16_t type = hv_get_be16(head + at);

    for (int tags = 0; tags < 2 && (type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ); tags++) {
        at += VLAN_TAG_BYTES;
        type = hv_get_be16(head + at);
    }
    return type == (f->flags & FLAG(IPV6) ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4) ? (int)at + 2
                                                                             : -EINVAL;
}

int hv_nq_tso_headers(const uint8_t *head, uint32_t bytes, const struct hv_netvsc_tx *f)
{
    uint32_t l3_bytes = f->flags & FLAG(IPV6) ? IPV6_BYTES : IPV4_BYTES;
    uint32_t tcp_bytes;
    int l3;

    if (!hv_range_fits(f->l4_offset, TCP_BYTES, bytes))
        return -EINVAL;
    l3 = l3_offset(head, f); /* l4_offset was checked: 34 bytes are there */
    if (l3 < 0 || (uint32_t)l3 + l3_bytes > f->l4_offset)
        return -EINVAL;
    tcp_bytes = (uint32_t)(head[f->l4_offset + 12] >> 4) * 4;
    if (tcp_bytes < TCP_BYTES || !hv_range_fits(f->l4_offset, tcp_bytes, bytes))
        return -EINVAL;
    return (int)(f->l4_offset + tcp_bytes);
}

void hv_nq_tso_prepare(uint8_t *head, const struct hv_netvsc_tx *f)
{
    int l3 = l3_offset(head, f);

    if (l3 < 0)
        return; /* hv_nq_tso_headers() has seen to it */
    if (f->flags & FLAG(IPV6)) {
        hv_put_be16(head + l3 + 4, 0); /* payload length */
    } else {
        hv_put_be16(head + l3 + 2, 0);  /* total length */
        hv_put_be16(head + l3 + 10, 0); /* header checksum */
    }
}
