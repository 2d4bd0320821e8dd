/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive-side scaling: what the host can do, and the hash, key and table that it is told. */
#include "netvsc_impl.h"

#include <errno.h>
#include <string.h>

/** The structure without its padding: what hosts expect and older ones send. */
#define CAPS_BYTES 18u

/** The key of Microsoft's specification of RSS, which its hash examples are computed with. */
static const uint8_t default_key[HV_NETVSC_RSS_KEY] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};
/** Without UDP: fragments carry no ports, and would come to another queue than the rest. */
#define TYPES_DEFAULT                                                                              \
    (HV_NDIS_HASH_IPV4 | HV_NDIS_HASH_TCP4 | HV_NDIS_HASH_IPV6 | HV_NDIS_HASH_TCP6)

void hv_netvsc_rss_defaults(struct hv_netvsc_rss *rss)
{
    memcpy(rss->key, default_key, sizeof(rss->key));
}

static uint32_t types_of(uint32_t caps)
{
    uint32_t types = 0;

    if (caps & HV_NDIS_RSS_CAP_TCP4)
        types |= HV_NDIS_HASH_IPV4 | HV_NDIS_HASH_TCP4;
    if (caps & HV_NDIS_RSS_CAP_TCP6)
        types |= HV_NDIS_HASH_IPV6 | HV_NDIS_HASH_TCP6;
    if (caps & HV_NDIS_RSS_CAP_UDP4)
        types |= HV_NDIS_HASH_UDP4;
    if (caps & HV_NDIS_RSS_CAP_UDP6)
        types |= HV_NDIS_HASH_UDP6;
    return types;
}

int hv_netvsc_rss_query(struct hv_netvsc *n)
{
    struct hv_netvsc_rss *rss = &n->rss;
    struct hv_ndis_rss_caps in = {
        .hdr = {HV_NDIS_OBJECT_RSS_CAPS, 2, CAPS_BYTES},
    };
    struct hv_ndis_rss_caps caps;
    int err = -EOPNOTSUPP;

    rss->possible = rss->on = false;
    rss->max_queues = 1;
    rss->table_entries = 0;
    rss->possible_types = 0;
    if (n->nvsp_version >= HV_NVSP_VERSION_5)
        err = hv_netvsc_query(n, HV_OID_RSS_CAPABILITIES, &in, CAPS_BYTES, &caps, CAPS_BYTES,
                              sizeof(caps));
    if (err == -EOPNOTSUPP || err == -EIO)
        return 0;
    if (err)
        return err;
    if (caps.hdr.type != HV_NDIS_OBJECT_RSS_CAPS || caps.hdr.size_bytes < CAPS_BYTES) {
        hv_log(&n->opts.log, HV_LOG_ERROR, "network: the host's RSS capabilities make no sense");
        return -EPROTO;
    }
    if (!(caps.flags & HV_NDIS_RSS_CAP_TOEPLITZ) || !types_of(caps.flags) || !caps.rx_queues)
        return 0;
    rss->possible = true;
    rss->possible_types = types_of(caps.flags);
    rss->max_queues = (uint16_t)hv_min_u32(caps.rx_queues, HV_NETVSC_QUEUES_MAX);
    rss->table_entries = HV_NETVSC_RSS_TABLE; /* 0 = the host does not care */
    if (caps.table_entries && caps.table_entries < HV_NETVSC_RSS_TABLE)
        rss->table_entries = caps.table_entries;
    if (!rss->own_types)
        rss->types = TYPES_DEFAULT & rss->possible_types;
    else
        rss->types &= rss->possible_types;
    return 0;
}

/** Entries name queues that are there: a program's own table may stem from a time with more of them. */
static uint16_t entry_of(const struct hv_netvsc *n, unsigned i)
{
    return (uint16_t)((n->rss.own_table ? n->rss.table[i] : i) % n->queue_count);
}

static int send_off(struct hv_netvsc *n)
{
    const struct hv_ndis_rss_params off = {
        .hdr = {HV_NDIS_OBJECT_RSS_PARAMS, 2, sizeof(off)},
        .flags = HV_NDIS_RSS_DISABLE,
    };
    int err = hv_netvsc_set(n, HV_OID_RSS_PARAMETERS, &off, sizeof(off));

    if (!err)
        n->rss.on = false;
    return err;
}

static int send_on(struct hv_netvsc *n)
{
    struct {
        struct hv_ndis_rss_params params;
        uint32_t table[HV_NETVSC_RSS_TABLE];
        uint8_t key[HV_NETVSC_RSS_KEY];
    } m = {0};
    uint32_t table_bytes = n->rss.table_entries * (uint32_t)sizeof(m.table[0]);

    m.params = (struct hv_ndis_rss_params){
        .hdr = {HV_NDIS_OBJECT_RSS_PARAMS, 2, sizeof(m.params)},
        .hash_info = HV_NDIS_HASH_TOEPLITZ | n->rss.types,
        .table_bytes = (uint16_t)table_bytes,
        .table_offset = sizeof(m.params),
        .key_bytes = HV_NETVSC_RSS_KEY,
        .key_offset = (uint32_t)sizeof(m.params) + table_bytes,
    };
    for (unsigned i = 0; i < n->rss.table_entries; i++)
        m.table[i] = entry_of(n, i);
    /* a short table moves the key forward */
    memcpy((uint8_t *)&m + m.params.key_offset, n->rss.key, sizeof(n->rss.key));
    return hv_netvsc_set(n, HV_OID_RSS_PARAMETERS, &m, m.params.key_offset + sizeof(n->rss.key));
}

int hv_netvsc_rss_apply(struct hv_netvsc *n)
{
    bool wanted = n->rss.possible && n->queue_count > 1 && n->rss.types;
    int err = 0;

    /* hosts want it off before it changes, and ours may remember an older guest's */
    if (n->rss.on || wanted)
        err = send_off(n);
    if (!err && wanted)
        err = send_on(n);
    if (!err)
        n->rss.on = wanted;
    return err;
}

int hv_netvsc_set_rss(struct hv_netvsc *n, uint32_t hash_types, const uint16_t *table,
                      const uint8_t *key)
{
    uint16_t queues = n->running ? n->queue_count : hv_netvsc_max_queues(n);
    struct hv_netvsc_rss before = n->rss;
    int err = hv_netvsc_status(n);

    if (!err && hash_types & ~n->rss.possible_types)
        err = -EOPNOTSUPP;
    for (unsigned i = 0; table && i < HV_NETVSC_RSS_TABLE && !err; i++)
        err = table[i] < queues ? 0 : -EINVAL;
    if (err)
        return err;
    n->rss.types = hash_types;
    n->rss.own_types = true;
    if (table) {
        memcpy(n->rss.table, table, sizeof(n->rss.table));
        n->rss.own_table = true;
    }
    if (key)
        memcpy(n->rss.key, key, sizeof(n->rss.key));
    if (n->running)
        err = hv_netvsc_rss_apply(n);
    if (err) {
        bool on = n->rss.on;

        n->rss = before;
        n->rss.on = on;
    }
    hv_netvsc_tell(n);
    return err;
}

void hv_netvsc_get_rss(const struct hv_netvsc *n, uint32_t *ret_hash_types,
                       uint16_t table[HV_NETVSC_RSS_TABLE], uint8_t key[HV_NETVSC_RSS_KEY])
{
    *ret_hash_types = n->rss.types;
    for (unsigned i = 0; i < HV_NETVSC_RSS_TABLE; i++)
        table[i] = entry_of(n, i);
    memcpy(key, n->rss.key, sizeof(n->rss.key));
}
