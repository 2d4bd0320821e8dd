/* SPDX-License-Identifier: BSD-3-Clause */
/* What the host says about the NIC, and what it is told to let through: addresses, MTU, link, filter. */
#include "netvsc_impl.h"

#include <errno.h>
#include <string.h>

#define MEDIA_CONNECTED  0u
#define LINK_SPEED_UNIT  100u /* bit/s */
#define PARAMETER_STRING 2u
#define MAC_BYTES        6u
#define FILTER_DEFAULT   (HV_FILTER_DIRECTED | HV_FILTER_ALLMULTI | HV_FILTER_BROADCAST)
#define FILTER_ALLOWED                                                                             \
    (HV_FILTER_DIRECTED | HV_FILTER_MULTICAST | HV_FILTER_ALLMULTI | HV_FILTER_BROADCAST |         \
     HV_FILTER_PROMISCUOUS)

static bool is_unicast(const uint8_t mac[MAC_BYTES])
{
    static const uint8_t zero[MAC_BYTES];

    return !(mac[0] & 1) && memcmp(mac, zero, MAC_BYTES) != 0;
}

/** The address in use; hosts that do not know it know the one that was built in. */
static int query_mac(struct hv_netvsc *n)
{
    uint8_t mac[MAC_BYTES];
    int err = hv_netvsc_query(n, HV_OID_CURRENT_MAC, NULL, 0, mac, sizeof(mac), sizeof(mac));

    if (err == -EOPNOTSUPP || err == -EIO)
        err = hv_netvsc_query(n, HV_OID_PERMANENT_MAC, NULL, 0, mac, sizeof(mac), sizeof(mac));
    if (err)
        return err;
    if (!is_unicast(mac)) {
        hv_log(&n->opts.log, HV_LOG_ERROR, "network: the host gives a MAC address that is none");
        return -EPROTO;
    }
    memcpy(n->mac, mac, sizeof(mac));
    return 0;
}

/** An optional number: `otherwise` when the host does not tell it. */
static int query_number(struct hv_netvsc *n, uint32_t oid, uint32_t otherwise, uint32_t *ret)
{
    int err = hv_netvsc_query(n, oid, NULL, 0, ret, sizeof(*ret), sizeof(*ret));

    if (err == -EOPNOTSUPP || err == -EIO) {
        *ret = otherwise;
        err = 0;
    }
    return err;
}

/** The host may grant less than it was configured for; some fall back to 1500 then, so it is no maximum. */
static int query_mtu(struct hv_netvsc *n)
{
    uint32_t granted;
    int err = query_number(n, HV_OID_MAX_FRAME_SIZE, n->mtu, &granted);

    if (err)
        return err;
    if (granted < HV_NETVSC_MTU_MIN)
        return -EPROTO;
    if (granted < n->mtu) {
        hv_log(&n->opts.log, HV_LOG_WARNING, "network: the host allows an MTU of %u, not of %u",
               granted, n->mtu);
        n->mtu = (uint16_t)granted;
    }
    n->device->frame_bytes_max = n->mtu + HV_NETVSC_ETHER_BYTES + 4; /* and a VLAN tag */
    return 0;
}

static int query_link(struct hv_netvsc *n)
{
    uint32_t connect, speed;
    int err = query_number(n, HV_OID_MEDIA_CONNECT, MEDIA_CONNECTED, &connect);

    if (!err)
        err = query_number(n, HV_OID_LINK_SPEED, 0, &speed);
    if (err)
        return err;
    n->link_up = connect == MEDIA_CONNECTED;
    n->link_bits_per_second = (uint64_t)speed * LINK_SPEED_UNIT;
    return 0;
}

int hv_netvsc_query_all(struct hv_netvsc *n)
{
    int err = query_mtu(n);

    if (!err)
        err = query_mac(n);
    if (!err)
        err = query_link(n);
    if (!err) /* hosts that keep no list say 0, or do not know the question */
        err = query_number(n, HV_OID_MULTICAST_MAX, 0, &n->multicast_max);
    return err;
}

/* ---- MAC address ---- */

static size_t put_utf16(uint8_t *to, const char *text)
{
    size_t length = strlen(text);

    for (size_t i = 0; i < length; i++) {
        to[2 * i] = (uint8_t)text[i];
        to[2 * i + 1] = 0;
    }
    return 2 * length;
}

static int send_mac(struct hv_netvsc *n, const uint8_t mac[MAC_BYTES])
{
    static const char name[] = "NetworkAddress", digits[] = "0123456789abcdef";
    uint8_t data[sizeof(struct hv_ndis_config_parameter) + 2 * sizeof(name) + 4 * MAC_BYTES];
    struct hv_ndis_config_parameter parameter = {
        .name_offset = sizeof(parameter),
        .type = PARAMETER_STRING,
    };
    char text[2 * MAC_BYTES + 1];

    for (size_t i = 0; i < MAC_BYTES; i++) {
        text[2 * i] = digits[mac[i] >> 4];
        text[2 * i + 1] = digits[mac[i] & 15];
    }
    text[2 * MAC_BYTES] = '\0';
    parameter.name_bytes = (uint32_t)put_utf16(data + parameter.name_offset, name);
    parameter.value_offset = parameter.name_offset + parameter.name_bytes;
    parameter.value_bytes = (uint32_t)put_utf16(data + parameter.value_offset, text);
    memcpy(data, &parameter, sizeof(parameter));
    return hv_netvsc_set(n, HV_OID_CONFIG_PARAMETER, data,
                         parameter.value_offset + parameter.value_bytes);
}

int hv_netvsc_set_mac(struct hv_netvsc *n, const uint8_t mac[6])
{
    int err = is_unicast(mac) ? send_mac(n, mac) : -EINVAL;

    if (!err) {
        memcpy(n->mac, mac, MAC_BYTES);
        n->own_mac = true;
    }
    hv_netvsc_tell(n);
    return err;
}

/* ---- Filters ---- */

int hv_netvsc_send_filter(struct hv_netvsc *n, uint32_t filter)
{
    return hv_netvsc_set(n, HV_OID_PACKET_FILTER, &filter, sizeof(filter));
}

int hv_netvsc_set_filter(struct hv_netvsc *n, uint32_t filter)
{
    int err = filter & ~FILTER_ALLOWED ? -EINVAL : hv_netvsc_status(n);

    if (!err && n->running)
        err = hv_netvsc_send_filter(n, filter);
    if (!err)
        n->filter = filter;
    hv_netvsc_tell(n);
    return err;
}

int hv_netvsc_set_multicast(struct hv_netvsc *n, const uint8_t (*macs)[6], size_t count)
{
    int err = hv_netvsc_status(n);

    for (size_t i = 0; i < count && !err; i++)
        err = macs[i][0] & 1 ? 0 : -EINVAL;
    if (!err && (count > n->multicast_max || count > HV_NETVSC_MULTICAST_MAX))
        err = -ENOSPC;
    if (!err && (count || n->multicast_count)) /* an empty list is known to be there at first */
        err = hv_netvsc_set(n, HV_OID_MULTICAST_LIST, macs, count * MAC_BYTES);
    if (!err) {
        if (count)
            memcpy(n->multicast, macs, count * MAC_BYTES);
        n->multicast_count = count;
    }
    hv_netvsc_tell(n);
    return err;
}

int hv_netvsc_restore(struct hv_netvsc *n)
{
    uint8_t wanted[MAC_BYTES];
    int err = 0;

    memcpy(wanted, n->mac, sizeof(wanted));
    err = hv_netvsc_query_all(n);
    if (!err && n->own_mac && memcmp(wanted, n->mac, sizeof(wanted)) != 0) {
        err = send_mac(n, wanted);
        if (!err)
            memcpy(n->mac, wanted, sizeof(wanted));
    }
    if (!err && n->multicast_count)
        err = hv_netvsc_set(n, HV_OID_MULTICAST_LIST, n->multicast, n->multicast_count * MAC_BYTES);
    return err;
}
