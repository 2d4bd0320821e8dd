/* SPDX-License-Identifier: BSD-3-Clause */
/* Offloads and RSS: what this NIC can do, and what the guest wants of it. */
#include "netvsp_impl.h"

#include <string.h>

#define LSO_MIN_SEGMENTS 2u

/* ---- Offloads ---- */

static void fill_csum(const struct hv_netvsp_queue *q, struct hv_ndis_offload *offload)
{
    const struct hv_netvsp *nic = q->nic;
    /* no UDP before version 5: guests of that age do not expect it */
    uint32_t udp = q->session->version > HV_NVSP_VERSION_4 ? HV_NDIS_CSUM_UDP : 0;

    if (hv_netvsp_can_offload(nic, HV_NETVSP_OFF_TX_CSUM)) {
        offload->csum.ip4_tx_encap = offload->csum.ip6_tx_encap = HV_NDIS_ENCAP_8023;
        offload->csum.ip4_tx = HV_NDIS_CSUM_IP_OPTIONS | HV_NDIS_CSUM_TCP_OPTIONS |
                               HV_NDIS_CSUM_TCP | udp | HV_NDIS_CSUM_IP;
        offload->csum.ip6_tx = HV_NDIS_CSUM_IP_OPTIONS | HV_NDIS_CSUM_TCP_OPTIONS |
                               HV_NDIS_CSUM_TCP | udp; /* bit 0: extension headers */
    }
    if (hv_netvsp_can_offload(nic, HV_NETVSP_OFF_RX_CSUM)) {
        offload->csum.ip4_rx_encap = offload->csum.ip6_rx_encap = HV_NDIS_ENCAP_8023;
        offload->csum.ip4_rx = HV_NDIS_CSUM_IP_OPTIONS | HV_NDIS_CSUM_TCP_OPTIONS |
                               HV_NDIS_CSUM_TCP | udp | HV_NDIS_CSUM_IP;
        offload->csum.ip6_rx =
            HV_NDIS_CSUM_IP_OPTIONS | HV_NDIS_CSUM_TCP_OPTIONS | HV_NDIS_CSUM_TCP | udp;
    }
}

static void fill_lso(const struct hv_netvsp *nic, struct hv_ndis_offload *offload)
{
    if (!hv_netvsp_can_offload(nic, HV_NETVSP_OFF_TSO))
        return;
    offload->lso2.ip4_encap = offload->lso2.ip6_encap = HV_NDIS_ENCAP_8023;
    offload->lso2.ip4_max_bytes = offload->lso2.ip6_max_bytes = HV_NDIS_LSO_MAX_BYTES;
    offload->lso2.ip4_min_segments = offload->lso2.ip6_min_segments = LSO_MIN_SEGMENTS;
    offload->lso2.ip6_options =
        0x5u; /* extension headers and TCP options: 1 = yes, in bits 0-1 and 2-3 */
}

static bool does(uint8_t setting, uint8_t direction)
{
    return setting == HV_NDIS_CSUM_SET_BOTH || setting == direction;
}

/** Take away what the guest did not switch on. */
static void cut_to_settings(const struct hv_ndis_offload_params *p, struct hv_ndis_offload *offload)
{
    struct hv_ndis_csum_caps *c = &offload->csum;

    c->ip4_tx &= ~(does(p->ip4_csum, HV_NDIS_CSUM_SET_TX) ? 0 : HV_NDIS_CSUM_IP);
    c->ip4_tx &= ~(does(p->tcp4_csum, HV_NDIS_CSUM_SET_TX) ? 0 : HV_NDIS_CSUM_TCP);
    c->ip4_tx &= ~(does(p->udp4_csum, HV_NDIS_CSUM_SET_TX) ? 0 : HV_NDIS_CSUM_UDP);
    c->ip6_tx &= ~(does(p->tcp6_csum, HV_NDIS_CSUM_SET_TX) ? 0 : HV_NDIS_CSUM_TCP);
    c->ip6_tx &= ~(does(p->udp6_csum, HV_NDIS_CSUM_SET_TX) ? 0 : HV_NDIS_CSUM_UDP);
    c->ip4_rx &= ~(does(p->ip4_csum, HV_NDIS_CSUM_SET_RX) ? 0 : HV_NDIS_CSUM_IP);
    c->ip4_rx &= ~(does(p->tcp4_csum, HV_NDIS_CSUM_SET_RX) ? 0 : HV_NDIS_CSUM_TCP);
    c->ip4_rx &= ~(does(p->udp4_csum, HV_NDIS_CSUM_SET_RX) ? 0 : HV_NDIS_CSUM_UDP);
    c->ip6_rx &= ~(does(p->tcp6_csum, HV_NDIS_CSUM_SET_RX) ? 0 : HV_NDIS_CSUM_TCP);
    c->ip6_rx &= ~(does(p->udp6_csum, HV_NDIS_CSUM_SET_RX) ? 0 : HV_NDIS_CSUM_UDP);
    if (p->lso2_ip4 != HV_NDIS_OFFLOAD_ON)
        offload->lso2.ip4_encap = offload->lso2.ip4_max_bytes = offload->lso2.ip4_min_segments = 0;
    if (p->lso2_ip6 != HV_NDIS_OFFLOAD_ON)
        offload->lso2.ip6_encap = offload->lso2.ip6_max_bytes = offload->lso2.ip6_min_segments =
            offload->lso2.ip6_options = 0;
}

/** Revision that this guest understands: what its NDIS has, or less if it asks for less. */
static uint8_t choose_revision(const struct hv_netvsp_queue *q, const uint8_t *in,
                               uint32_t in_bytes)
{
    uint32_t ndis = q->session->ndis_version;
    uint8_t revision = ndis >= HV_NDIS_VERSION_6_30 ? 3 : ndis >= HV_NDIS_VERSION_6_1 ? 2 : 1;
    struct hv_ndis_header hdr;

    if (in_bytes >= sizeof(hdr)) {
        memcpy(&hdr, in, sizeof(hdr));
        if (hdr.revision && hdr.revision < revision)
            revision = hdr.revision;
    }
    return revision;
}

uint32_t hv_netvsp_query_offloads(struct hv_netvsp_queue *q, const uint8_t *in, uint32_t in_bytes,
                                  bool current, uint8_t *reply, uint32_t *ret_bytes)
{
    static const uint16_t bytes[] = {0, HV_NDIS_OFFLOAD_BYTES_REV1, HV_NDIS_OFFLOAD_BYTES_REV2,
                                     sizeof(struct hv_ndis_offload)};
    uint8_t revision = choose_revision(q, in, in_bytes);
    struct hv_ndis_offload offload = {
        .hdr = {HV_NDIS_OBJECT_OFFLOAD_CAPS, revision, bytes[revision]}};

    fill_csum(q, &offload);
    fill_lso(q->nic, &offload);
    if (current)
        cut_to_settings(&q->session->offloads, &offload);
    memcpy(reply, &offload, bytes[revision]);
    *ret_bytes = bytes[revision];
    return HV_RNDIS_STATUS_SUCCESS;
}

/** Until the guest says otherwise: what Hyper-V switches on by itself. */
void hv_netvsp_default_offloads(struct hv_netvsp_queue *q)
{
    struct hv_ndis_offload_params *p = &q->session->offloads;

    memset(p, 0, sizeof(*p));
    p->ip4_csum = p->tcp4_csum = p->udp4_csum = p->tcp6_csum = p->udp6_csum = HV_NDIS_CSUM_SET_BOTH;
    p->lso2_ip4 = p->lso2_ip6 = HV_NDIS_OFFLOAD_ON;
    pthread_mutex_lock(&q->nic->lock);
    q->nic->rules.checksums = hv_netvsp_can_offload(q->nic, HV_NETVSP_OFF_RX_CSUM);
    pthread_mutex_unlock(&q->nic->lock);
    hv_netvsp_kick_all(q->nic);
}

static bool take_setting(uint8_t wanted, uint8_t most, uint8_t *setting)
{
    if (wanted > most)
        return false;
    if (wanted)
        *setting = wanted;
    return true;
}

uint32_t hv_netvsp_set_offloads(struct hv_netvsp_queue *q, const uint8_t *in, uint32_t in_bytes)
{
    struct hv_ndis_offload_params wanted = {0}, now = q->session->offloads;

    if (in_bytes < HV_NDIS_OFFLOAD_PARAMS_BYTES_REV1)
        return HV_RNDIS_STATUS_INVALID_LENGTH;
    memcpy(&wanted, in, hv_min_u32(in_bytes, sizeof(wanted)));
    if (wanted.hdr.type != HV_NDIS_OBJECT_OFFLOAD_PARAMS || !wanted.hdr.revision)
        return HV_RNDIS_STATUS_INVALID_DATA;
    if (!take_setting(wanted.ip4_csum, HV_NDIS_CSUM_SET_BOTH, &now.ip4_csum) ||
        !take_setting(wanted.tcp4_csum, HV_NDIS_CSUM_SET_BOTH, &now.tcp4_csum) ||
        !take_setting(wanted.udp4_csum, HV_NDIS_CSUM_SET_BOTH, &now.udp4_csum) ||
        !take_setting(wanted.tcp6_csum, HV_NDIS_CSUM_SET_BOTH, &now.tcp6_csum) ||
        !take_setting(wanted.udp6_csum, HV_NDIS_CSUM_SET_BOTH, &now.udp6_csum) ||
        !take_setting(wanted.lso2_ip4, HV_NDIS_OFFLOAD_ON, &now.lso2_ip4) ||
        !take_setting(wanted.lso2_ip6, HV_NDIS_OFFLOAD_ON, &now.lso2_ip6))
        return HV_RNDIS_STATUS_INVALID_DATA;
    q->session->offloads = now;
    pthread_mutex_lock(&q->nic->lock);
    q->nic->rules.checksums =
        hv_netvsp_can_offload(q->nic, HV_NETVSP_OFF_RX_CSUM) &&
        (does(now.ip4_csum, HV_NDIS_CSUM_SET_RX) || does(now.tcp4_csum, HV_NDIS_CSUM_SET_RX) ||
         does(now.udp4_csum, HV_NDIS_CSUM_SET_RX) || does(now.tcp6_csum, HV_NDIS_CSUM_SET_RX) ||
         does(now.udp6_csum, HV_NDIS_CSUM_SET_RX));
    pthread_mutex_unlock(&q->nic->lock);
    hv_netvsp_kick_all(q->nic);
    return HV_RNDIS_STATUS_SUCCESS;
}

/* ---- RSS ---- */

uint32_t hv_netvsp_query_rss(struct hv_netvsp_queue *q, uint8_t *reply, uint32_t *ret_bytes)
{
    const struct hv_ndis_rss_caps caps = {
        .hdr = {HV_NDIS_OBJECT_RSS_CAPS, 2, 18}, /* without the padding */
        .flags = HV_NDIS_RSS_CAP_TOEPLITZ | HV_NDIS_RSS_CAP_TCP4 | HV_NDIS_RSS_CAP_TCP6 |
                 HV_NDIS_RSS_CAP_UDP4 | HV_NDIS_RSS_CAP_UDP6,
        .msi_count = 1,
        .rx_queues = q->nic->queues,
        .table_entries = HV_NDIS_RSS_TABLE_MAX};

    if (!hv_netvsp_can_offload(q->nic, HV_NETVSP_OFF_RSS) ||
        q->session->version < HV_NVSP_VERSION_5)
        return HV_RNDIS_STATUS_NOT_SUPPORTED;
    memcpy(reply, &caps, sizeof(caps));
    *ret_bytes = caps.hdr.size_bytes; /* DPDK takes no byte more */
    return HV_RNDIS_STATUS_SUCCESS;
}

/** Queue numbers of 32 bits; as many as a power of two. */
static uint32_t take_table(const struct hv_netvsp_queue *q, const struct hv_ndis_rss_params *params,
                           const uint8_t *in, uint32_t in_bytes,
                           struct hv_netvsp_steering *steering)
{
    uint32_t entries = params->table_bytes / sizeof(uint32_t);

    if (!hv_is_power_of_two(entries) || entries > HV_NDIS_RSS_TABLE_MAX ||
        !hv_range_fits(params->table_offset, params->table_bytes, in_bytes))
        return HV_RNDIS_STATUS_INVALID_LENGTH;
    for (uint32_t i = 0; i < entries; i++) {
        uint32_t queue;

        memcpy(&queue, in + params->table_offset + i * sizeof(queue), sizeof(queue));
        if (queue > q->session->granted)
            return HV_RNDIS_STATUS_INVALID_DATA;
        steering->table[i] = (uint8_t)queue;
    }
    steering->mask = (uint16_t)(entries - 1);
    return HV_RNDIS_STATUS_SUCCESS;
}

static uint32_t take_rss(const struct hv_netvsp_queue *q, const struct hv_ndis_rss_params *params,
                         const uint8_t *in, uint32_t in_bytes, struct hv_netvsp_steering *steering)
{
    uint32_t status = HV_RNDIS_STATUS_SUCCESS;

    if (!(params->flags & HV_NDIS_RSS_HASH_UNCHANGED))
        steering->hash_types = params->hash_info & ~0xffu;
    if (!(params->flags & HV_NDIS_RSS_KEY_UNCHANGED)) {
        if (params->key_bytes != HV_NDIS_RSS_KEY_BYTES ||
            !hv_range_fits(params->key_offset, params->key_bytes, in_bytes))
            return HV_RNDIS_STATUS_INVALID_LENGTH;
        memcpy(steering->key, in + params->key_offset, sizeof(steering->key));
        hv_toeplitz_init(&steering->toeplitz, steering->key);
    }
    if (!(params->flags & HV_NDIS_RSS_TABLE_UNCHANGED))
        status = take_table(q, params, in, in_bytes, steering);
    return status;
}

uint32_t hv_netvsp_set_rss(struct hv_netvsp_queue *q, const uint8_t *in, uint32_t in_bytes)
{
    struct hv_netvsp *nic = q->nic;
    struct hv_ndis_rss_params params = {0};
    uint32_t status = HV_RNDIS_STATUS_SUCCESS;

    if (!hv_netvsp_can_offload(nic, HV_NETVSP_OFF_RSS))
        return HV_RNDIS_STATUS_NOT_SUPPORTED;
    if (in_bytes < HV_NDIS_RSS_PARAMS_BYTES_REV1)
        return HV_RNDIS_STATUS_INVALID_LENGTH;
    memcpy(&params, in, hv_min_u32(in_bytes, sizeof(params)));
    if (params.hdr.type != HV_NDIS_OBJECT_RSS_PARAMS)
        return HV_RNDIS_STATUS_INVALID_DATA;
    /* The primary's copy is the newest: only this worker changes it.  A large one, so built in place. */
    if ((params.flags & HV_NDIS_RSS_DISABLE) ||
        (!(params.flags & HV_NDIS_RSS_HASH_UNCHANGED) && !(params.hash_info & 0xffu))) {
        q->steering.on = false;
    } else {
        status = take_rss(q, &params, in, in_bytes, &q->steering);
        q->steering.on = q->steering.hash_types != 0;
    }
    pthread_mutex_lock(&nic->lock);
    if (status) { /* as it was */
        q->steering = nic->steering;
    } else {
        nic->steering = q->steering;
        q->steering_serial = ++nic->steering_serial;
    }
    pthread_mutex_unlock(&nic->lock);
    hv_netvsp_kick_all(nic);
    return status;
}
