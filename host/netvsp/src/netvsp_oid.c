/* SPDX-License-Identifier: BSD-3-Clause */
/* OIDs: what a guest asks of a NIC, and what it sets.  Offloads and RSS: netvsp_task.c. */
#include "netvsp_impl.h"

#include <string.h>

#define VENDOR_ID        0x5d1500u /* of Hyper-V's own adapters */
#define DRIVER_VERSION   0x0006001eu
#define LOOKAHEAD        1514u
#define MAX_SEND_PACKETS 1u
#define MAC_OPTIONS                                                                                \
    0x1du /* copies lookahead, receives in order, transfers not pending, no loop-back */
#define CONNECTED    0u
#define DISCONNECTED 1u

static const char vendor_text[] = "libvmbus network adapter";

/* ---- Statistics ---- */

static uint64_t statistic(struct hv_netvsp_queue *q, uint32_t oid)
{
    struct hv_netvsp_stats stats;

    hv_netvsp_get_stats(q->nic, &stats);
    switch (oid) {
    case HV_OID_TX_OK:
        return stats.from_guest_packets;
    case HV_OID_RX_OK:
        return stats.to_guest_packets;
    case HV_OID_TX_ERROR:
        return stats.dropped_bad;
    case HV_OID_RX_NO_BUFFER:
        return stats.dropped_no_buffer;
    default:
        return 0; /* no wire that damages frames */
    }
}

/* ---- Fixed numbers ---- */

static uint32_t link_speed(const struct hv_netvsp *nic)
{
    return (uint32_t)hv_min_u64(nic->link_bits_per_second / 100, UINT32_MAX);
}

/** Ready, 802.3, no VLAN of its own, no wire that damages frames. */
static bool is_zero(uint32_t oid)
{
    return oid == HV_OID_HARDWARE_STATUS || oid == HV_OID_MEDIA_SUPPORTED ||
           oid == HV_OID_MEDIA_IN_USE || oid == HV_OID_VLAN_ID || oid == HV_OID_ALIGNMENT_ERRORS ||
           oid == HV_OID_ONE_COLLISION || oid == HV_OID_MORE_COLLISIONS;
}

/** OIDs whose answer is a u32.  False: another one. */
static bool query_u32(const struct hv_netvsp_queue *q, uint32_t oid, uint32_t *ret_value)
{
    const struct hv_netvsp_session *s = q->session;
    uint32_t frame = s->mtu + HV_NETVSP_ETHERNET_BYTES;

    if (is_zero(oid)) {
        *ret_value = 0;
        return true;
    }
    switch (oid) {
    case HV_OID_MAX_LOOKAHEAD:
    case HV_OID_CURRENT_LOOKAHEAD:
        *ret_value = LOOKAHEAD;
        return true;
    case HV_OID_MAX_FRAME_SIZE:
        *ret_value = s->mtu;
        return true;
    case HV_OID_LINK_SPEED:
        *ret_value = link_speed(q->nic);
        return true;
    case HV_OID_TRANSMIT_SPACE:
        *ret_value = s->send.section_bytes * s->send.section_count;
        return true;
    case HV_OID_RECEIVE_SPACE:
        *ret_value = s->receive.section_bytes * s->receive.section_count;
        return true;
    case HV_OID_TRANSMIT_BLOCK:
    case HV_OID_RECEIVE_BLOCK:
    case HV_OID_MAX_TOTAL_SIZE:
        *ret_value = frame;
        return true;
    case HV_OID_VENDOR_ID:
        *ret_value = VENDOR_ID;
        return true;
    case HV_OID_PACKET_FILTER:
        *ret_value = q->rules.filter;
        return true;
    case HV_OID_VENDOR_DRIVER_VERSION:
        *ret_value = DRIVER_VERSION;
        return true;
    case HV_OID_MAC_OPTIONS:
        *ret_value = MAC_OPTIONS;
        return true;
    case HV_OID_MEDIA_CONNECT:
        *ret_value = q->rules.link_up ? CONNECTED : DISCONNECTED;
        return true;
    case HV_OID_MAX_SEND_PACKETS:
        *ret_value = MAX_SEND_PACKETS;
        return true;
    case HV_OID_MULTICAST_MAX:
        *ret_value = HV_NETVSP_MULTICASTS;
        return true;
    default:
        return false;
    }
}

/* ---- Structures ---- */

static uint32_t give(uint8_t *reply, uint32_t *ret_bytes, const void *data, size_t bytes)
{
    memcpy(reply, data, bytes);
    *ret_bytes = (uint32_t)bytes;
    return HV_RNDIS_STATUS_SUCCESS;
}

static uint32_t query_link_state(const struct hv_netvsp_queue *q, uint8_t *reply,
                                 uint32_t *ret_bytes)
{
    const struct hv_ndis_link_state state = {
        .hdr = {HV_NDIS_OBJECT_DEFAULT, 1, sizeof(state)},
        .connect = q->rules.link_up ? HV_NDIS_MEDIA_CONNECTED : HV_NDIS_MEDIA_DISCONNECTED,
        .duplex = HV_NDIS_DUPLEX_FULL,
        .xmit_bits_per_second = q->nic->link_bits_per_second,
        .receive_bits_per_second = q->nic->link_bits_per_second};

    return give(reply, ret_bytes, &state, sizeof(state));
}

static uint32_t query_link_speed(const struct hv_netvsp_queue *q, uint8_t *reply,
                                 uint32_t *ret_bytes)
{
    const uint64_t speeds[2] = {q->nic->link_bits_per_second, q->nic->link_bits_per_second};

    return give(reply, ret_bytes, speeds, sizeof(speeds));
}

static uint32_t query_current_mac(struct hv_netvsp_queue *q, uint8_t *reply, uint32_t *ret_bytes)
{
    pthread_mutex_lock(&q->nic->lock);
    (void)give(reply, ret_bytes, q->nic->rules.mac, 6);
    pthread_mutex_unlock(&q->nic->lock);
    return HV_RNDIS_STATUS_SUCCESS;
}

static uint32_t query_multicast(struct hv_netvsp_queue *q, uint8_t *reply, uint32_t *ret_bytes)
{
    const struct hv_netvsp_rules *rules = &q->nic->rules;

    pthread_mutex_lock(&q->nic->lock);
    (void)give(reply, ret_bytes, rules->multicast, 6u * rules->multicast_count);
    pthread_mutex_unlock(&q->nic->lock);
    return HV_RNDIS_STATUS_SUCCESS;
}

/* ---- Query ---- */

static const uint32_t supported[] = {
    HV_OID_SUPPORTED_LIST,
    HV_OID_HARDWARE_STATUS,
    HV_OID_MEDIA_SUPPORTED,
    HV_OID_MEDIA_IN_USE,
    HV_OID_MAX_LOOKAHEAD,
    HV_OID_MAX_FRAME_SIZE,
    HV_OID_LINK_SPEED,
    HV_OID_TRANSMIT_SPACE,
    HV_OID_RECEIVE_SPACE,
    HV_OID_TRANSMIT_BLOCK,
    HV_OID_RECEIVE_BLOCK,
    HV_OID_VENDOR_ID,
    HV_OID_VENDOR_TEXT,
    HV_OID_PACKET_FILTER,
    HV_OID_CURRENT_LOOKAHEAD,
    HV_OID_DRIVER_VERSION,
    HV_OID_MAX_TOTAL_SIZE,
    HV_OID_PROTOCOL_OPTIONS,
    HV_OID_MAC_OPTIONS,
    HV_OID_MEDIA_CONNECT,
    HV_OID_MAX_SEND_PACKETS,
    HV_OID_VENDOR_DRIVER_VERSION,
    HV_OID_NETWORK_ADDRESSES,
    HV_OID_MACHINE_NAME,
    HV_OID_RSS_CAPABILITIES,
    HV_OID_RSS_PARAMETERS,
    HV_OID_MAX_LINK_SPEED,
    HV_OID_LINK_STATE,
    HV_OID_LINK_PARAMETERS,
    HV_OID_INTERRUPT_MODERATION,
    HV_OID_CONFIG_PARAMETER,
    HV_OID_VLAN_ID,
    HV_OID_TX_OK,
    HV_OID_RX_OK,
    HV_OID_TX_ERROR,
    HV_OID_RX_ERROR,
    HV_OID_RX_NO_BUFFER,
    HV_OID_PERMANENT_MAC,
    HV_OID_CURRENT_MAC,
    HV_OID_MULTICAST_LIST,
    HV_OID_MULTICAST_MAX,
    HV_OID_ALIGNMENT_ERRORS,
    HV_OID_ONE_COLLISION,
    HV_OID_MORE_COLLISIONS,
    HV_OID_OFFLOAD_ENCAPSULATION,
    HV_OID_OFFLOAD_CONFIG,
    HV_OID_OFFLOAD_PARAMETERS,
    HV_OID_OFFLOAD_CAPS,
};
_Static_assert(sizeof(supported) <=
                   HV_NETVSP_CONTROL_BYTES - sizeof(struct hv_rndis_query_complete),
               "the list fits one reply");

uint32_t hv_netvsp_oid_query(struct hv_netvsp_queue *q, uint32_t oid, const uint8_t *in,
                             uint32_t in_bytes, uint8_t *reply, uint32_t *ret_bytes)
{
    uint32_t value;
    uint64_t count;

    if (query_u32(q, oid, &value))
        return give(reply, ret_bytes, &value, sizeof(value));
    switch (oid) {
    case HV_OID_SUPPORTED_LIST:
        return give(reply, ret_bytes, supported, sizeof(supported));
    case HV_OID_VENDOR_TEXT:
        return give(reply, ret_bytes, vendor_text, sizeof(vendor_text));
    case HV_OID_DRIVER_VERSION: /* of NDIS: 6.30 */
        value = 0x061eu;
        return give(reply, ret_bytes, &value, 2);
    case HV_OID_TX_OK:
    case HV_OID_RX_OK:
    case HV_OID_TX_ERROR:
    case HV_OID_RX_ERROR:
    case HV_OID_RX_NO_BUFFER:
        count = statistic(q, oid);
        return give(reply, ret_bytes, &count, sizeof(count));
    case HV_OID_PERMANENT_MAC:
        return give(reply, ret_bytes, q->nic->mac, 6);
    case HV_OID_CURRENT_MAC:
        return query_current_mac(q, reply, ret_bytes);
    case HV_OID_MULTICAST_LIST:
        return query_multicast(q, reply, ret_bytes);
    case HV_OID_MAX_LINK_SPEED:
        return query_link_speed(q, reply, ret_bytes);
    case HV_OID_LINK_STATE:
        return query_link_state(q, reply, ret_bytes);
    case HV_OID_RSS_CAPABILITIES:
        return hv_netvsp_query_rss(q, reply, ret_bytes);
    case HV_OID_OFFLOAD_CAPS:
    case HV_OID_OFFLOAD_CONFIG:
        return hv_netvsp_query_offloads(q, in, in_bytes, oid == HV_OID_OFFLOAD_CONFIG, reply,
                                        ret_bytes);
    default:
        hv_log(&q->nic->log, HV_LOG_DEBUG, "NIC: query of OID 0x%08x, which we do not have", oid);
        return HV_RNDIS_STATUS_NOT_SUPPORTED;
    }
}

/* ---- Set ---- */

static uint32_t set_filter(struct hv_netvsp_queue *q, const uint8_t *in, uint32_t in_bytes)
{
    uint32_t filter;

    if (in_bytes < sizeof(filter))
        return HV_RNDIS_STATUS_INVALID_LENGTH;
    memcpy(&filter, in, sizeof(filter));
    pthread_mutex_lock(&q->nic->lock);
    q->nic->rules.filter = filter;
    pthread_mutex_unlock(&q->nic->lock);
    q->rules.filter = filter; /* in force on this queue when the answer goes out */
    hv_netvsp_kick_all(q->nic);
    return HV_RNDIS_STATUS_SUCCESS;
}

static uint32_t set_multicast(struct hv_netvsp_queue *q, const uint8_t *in, uint32_t in_bytes)
{
    struct hv_netvsp_rules *rules = &q->nic->rules;

    if (in_bytes % 6)
        return HV_RNDIS_STATUS_INVALID_LENGTH;
    if (in_bytes / 6 > HV_NETVSP_MULTICASTS)
        return HV_RNDIS_STATUS_MULTICAST_FULL;
    for (uint32_t at = 0; at < in_bytes; at += 6)
        if (!(in[at] & 1))
            return HV_RNDIS_STATUS_INVALID_DATA;
    pthread_mutex_lock(&q->nic->lock);
    memcpy(rules->multicast, in, in_bytes);
    rules->multicast_count = (uint16_t)(in_bytes / 6);
    pthread_mutex_unlock(&q->nic->lock);
    hv_netvsp_kick_all(q->nic);
    return HV_RNDIS_STATUS_SUCCESS;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (uint8_t)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** Twelve digits in UTF-16, all that "NetworkAddress" may be. */
static bool parse_mac(const uint8_t *text, uint32_t bytes, uint8_t mac[6])
{
    if (bytes < 24)
        return false;
    for (uint32_t i = 0; i < 12; i++) {
        int digit = text[2 * i + 1] ? -1 : hex_digit(text[2 * i]);

        if (digit < 0)
            return false;
        mac[i / 2] = (uint8_t)(i % 2 ? mac[i / 2] | digit : digit << 4);
    }
    return !(mac[0] & 1);
}

static bool is_network_address(const uint8_t *name, uint32_t bytes)
{
    static const char want[] = "NetworkAddress";

    if (bytes < 2 * (sizeof(want) - 1))
        return false;
    for (size_t i = 0; i < sizeof(want) - 1; i++)
        if (name[2 * i] != (uint8_t)want[i] || name[2 * i + 1])
            return false;
    return true;
}

static uint32_t set_config_parameter(struct hv_netvsp_queue *q, const uint8_t *in,
                                     uint32_t in_bytes)
{
    struct hv_ndis_config_parameter parameter;
    uint8_t mac[6];

    if (in_bytes < sizeof(parameter))
        return HV_RNDIS_STATUS_INVALID_LENGTH;
    memcpy(&parameter, in, sizeof(parameter));
    if (!hv_range_fits(parameter.name_offset, parameter.name_bytes, in_bytes) ||
        !hv_range_fits(parameter.value_offset, parameter.value_bytes, in_bytes))
        return HV_RNDIS_STATUS_INVALID_DATA;
    if (!is_network_address(in + parameter.name_offset, parameter.name_bytes))
        return HV_RNDIS_STATUS_NOT_SUPPORTED;
    if (parameter.type != 2 || !parse_mac(in + parameter.value_offset, parameter.value_bytes, mac))
        return HV_RNDIS_STATUS_INVALID_DATA;
    pthread_mutex_lock(&q->nic->lock);
    memcpy(q->nic->rules.mac, mac, 6);
    pthread_mutex_unlock(&q->nic->lock);
    hv_netvsp_kick_all(q->nic);
    return HV_RNDIS_STATUS_SUCCESS;
}

uint32_t hv_netvsp_oid_set(struct hv_netvsp_queue *q, uint32_t oid, const uint8_t *in,
                           uint32_t in_bytes)
{
    switch (oid) {
    case HV_OID_PACKET_FILTER:
        return set_filter(q, in, in_bytes);
    case HV_OID_MULTICAST_LIST:
        return set_multicast(q, in, in_bytes);
    case HV_OID_CONFIG_PARAMETER:
        return set_config_parameter(q, in, in_bytes);
    case HV_OID_OFFLOAD_PARAMETERS:
        return hv_netvsp_set_offloads(q, in, in_bytes);
    case HV_OID_RSS_PARAMETERS:
        return hv_netvsp_set_rss(q, in, in_bytes);
    case HV_OID_CURRENT_LOOKAHEAD: /* heard, and of no consequence here */
    case HV_OID_PROTOCOL_OPTIONS:
    case HV_OID_NETWORK_ADDRESSES:
    case HV_OID_MACHINE_NAME:
    case HV_OID_LINK_PARAMETERS:
    case HV_OID_INTERRUPT_MODERATION:
    case HV_OID_OFFLOAD_ENCAPSULATION:
        return HV_RNDIS_STATUS_SUCCESS;
    default:
        hv_log(&q->nic->log, HV_LOG_DEBUG, "NIC: set of OID 0x%08x, which we do not have", oid);
        return HV_RNDIS_STATUS_NOT_SUPPORTED;
    }
}
