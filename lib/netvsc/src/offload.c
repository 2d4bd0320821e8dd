/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offloads: ask what the host can do, keep what we know, tell it what we want, use what it says is on.
 *
 *   query OFFLOAD_CAPS -> possible -> set OFFLOAD_PARAMETERS -> (indication OFFLOAD_CONFIG) -> on
 */
#include "netvsc_impl.h"

#include <errno.h>
#include <string.h>

#define TX_CSUM                                                                                    \
    (HV_NETVSC_TX_IP_CSUM | HV_NETVSC_TX_TCP4 | HV_NETVSC_TX_UDP4 | HV_NETVSC_TX_TCP6 |            \
     HV_NETVSC_TX_UDP6)
#define TX_TSO (HV_NETVSC_TX_TSO4 | HV_NETVSC_TX_TSO6)
/** What the structures of NDIS speak of; the others are per-packet information that needs no switch. */
#define SWITCHED (TX_CSUM | TX_TSO | HV_NETVSC_RX_CSUM)

static bool is_offload(const struct hv_ndis_offload *o)
{
    return o->hdr.type == HV_NDIS_OBJECT_OFFLOAD_CAPS && o->hdr.revision &&
           o->hdr.size_bytes >= HV_NDIS_OFFLOAD_BYTES_REV1;
}

static struct hv_netvsc_checked checked_by(const struct hv_ndis_offload *o)
{
    return (struct hv_netvsc_checked){
        .ip4 = o->csum.ip4_rx & HV_NDIS_CSUM_IP,
        .tcp4 = o->csum.ip4_rx & HV_NDIS_CSUM_TCP,
        .udp4 = o->csum.ip4_rx & HV_NDIS_CSUM_UDP,
        .tcp6 = o->csum.ip6_rx & HV_NDIS_CSUM_TCP,
        .udp6 = o->csum.ip6_rx & HV_NDIS_CSUM_UDP,
    };
}

/** TSO needs the checksum of the same protocol, and room for more than one frame. */
static uint32_t tso_of(const struct hv_netvsc *n, const struct hv_ndis_offload *o, uint32_t csum)
{
    uint32_t least = n->device->frame_bytes_max, tso = 0;

    if (o->lso2.ip4_encap & HV_NDIS_ENCAP_8023 && o->lso2.ip4_max_bytes > least &&
        csum & HV_NETVSC_TX_TCP4)
        tso |= HV_NETVSC_TX_TSO4;
    if (o->lso2.ip6_encap & HV_NDIS_ENCAP_8023 && o->lso2.ip6_max_bytes > least &&
        csum & HV_NETVSC_TX_TCP6)
        tso |= HV_NETVSC_TX_TSO6;
    return tso;
}

/** What a structure of the host, its capabilities or its current configuration, allows. */
static uint32_t allowed_by(const struct hv_netvsc *n, const struct hv_ndis_offload *o)
{
    struct hv_netvsc_checked rx = checked_by(o);
    uint32_t allowed = 0;

    if (o->csum.ip4_tx & HV_NDIS_CSUM_IP)
        allowed |= HV_NETVSC_TX_IP_CSUM;
    if (o->csum.ip4_tx & HV_NDIS_CSUM_TCP)
        allowed |= HV_NETVSC_TX_TCP4;
    if (o->csum.ip6_tx & HV_NDIS_CSUM_TCP)
        allowed |= HV_NETVSC_TX_TCP6;
    if (n->nvsp_version >= HV_NVSP_VERSION_5) { /* older hosts say so, and do it wrong */
        if (o->csum.ip4_tx & HV_NDIS_CSUM_UDP)
            allowed |= HV_NETVSC_TX_UDP4;
        if (o->csum.ip6_tx & HV_NDIS_CSUM_UDP)
            allowed |= HV_NETVSC_TX_UDP6;
    }
    if (rx.tcp4 || rx.tcp6)
        allowed |= HV_NETVSC_RX_CSUM;
    return allowed | tso_of(n, o, allowed);
}

static uint32_t tso_max(const struct hv_ndis_offload *o, uint32_t allowed)
{
    uint32_t max = HV_NDIS_LSO_MAX_BYTES;

    if (allowed & HV_NETVSC_TX_TSO4)
        max = hv_min_u32(max, o->lso2.ip4_max_bytes);
    if (allowed & HV_NETVSC_TX_TSO6)
        max = hv_min_u32(max, o->lso2.ip6_max_bytes);
    return allowed & TX_TSO ? max : 0;
}

/** 2 OR 3 is not "both": that is what other drivers got wrong. */
static uint8_t csum_setting(bool tx, bool rx)
{
    if (tx && rx)
        return HV_NDIS_CSUM_SET_BOTH;
    if (tx)
        return HV_NDIS_CSUM_SET_TX;
    return rx ? HV_NDIS_CSUM_SET_RX : HV_NDIS_CSUM_SET_OFF;
}

static uint8_t lso_setting(bool on)
{
    return on ? HV_NDIS_OFFLOAD_ON : HV_NDIS_OFFLOAD_OFF;
}

static int send_params(struct hv_netvsc *n, uint32_t wanted)
{
    bool old = n->nvsp_version < HV_NVSP_VERSION_5, rx = wanted & HV_NETVSC_RX_CSUM;
    const struct hv_netvsc_checked *host = &n->rx_checked;
    struct hv_ndis_offload_params params = {
        .hdr = {HV_NDIS_OBJECT_OFFLOAD_PARAMS, 3, sizeof(params)},
        .ip4_csum = csum_setting(wanted & HV_NETVSC_TX_IP_CSUM, rx && host->ip4),
        .tcp4_csum = csum_setting(wanted & HV_NETVSC_TX_TCP4, rx && host->tcp4),
        .udp4_csum = csum_setting(wanted & HV_NETVSC_TX_UDP4, rx && host->udp4),
        .tcp6_csum = csum_setting(wanted & HV_NETVSC_TX_TCP6, rx && host->tcp6),
        .udp6_csum = csum_setting(wanted & HV_NETVSC_TX_UDP6, rx && host->udp6),
        .lso1 = HV_NDIS_OFFLOAD_OFF,
        .lso2_ip4 = lso_setting(wanted & HV_NETVSC_TX_TSO4),
        .lso2_ip6 = lso_setting(wanted & HV_NETVSC_TX_TSO6),
        .rsc_ip4 = HV_NDIS_OFFLOAD_OFF, /* frames of a host that glues them are nothing we know */
        .rsc_ip6 = HV_NDIS_OFFLOAD_OFF,
    };

    if (old) {
        params.hdr.revision = 2;
        params.hdr.size_bytes = HV_NDIS_OFFLOAD_PARAMS_BYTES_REV2;
        params.udp4_csum = params.udp6_csum = HV_NDIS_CSUM_SET_NO_CHANGE;
    }
    return hv_netvsc_set(n, HV_OID_OFFLOAD_PARAMETERS, &params, params.hdr.size_bytes);
}

static void switch_on(struct hv_netvsc *n, uint32_t offloads)
{
    atomic_store_explicit(&n->device->offloads, offloads, memory_order_relaxed);
}

void hv_netvsc_offload_current(struct hv_netvsc *n, const struct hv_ndis_offload *current)
{
    if (!is_offload(current)) {
        hv_log(&n->opts.log, HV_LOG_WARNING,
               "network: what the host says about its offloads makes no sense");
        return;
    }
    switch_on(n, n->offloads_wanted & (allowed_by(n, current) | ~SWITCHED));
}

/** Tell the host; then in force, as far as it does not say otherwise. */
static int apply(struct hv_netvsc *n, uint32_t wanted)
{
    uint32_t before; /* in force: not all that is wanted may be */
    int err;

    hv_netvsc_digest(n); /* what the host said before is no answer to this */
    before = atomic_load_explicit(&n->device->offloads, memory_order_relaxed);
    /* nothing is used while it is unsure: a frame of this moment is refused, and none sent wrongly */
    switch_on(n, before & wanted);
    err = send_params(n, wanted & SWITCHED);
    if (err) {
        switch_on(n, before);
        return err;
    }
    n->offloads_wanted = wanted;
    switch_on(n, wanted);
    hv_netvsc_digest(n); /* the host may have said by now what is really on */
    return 0;
}

static int query_caps(struct hv_netvsc *n, struct hv_ndis_offload *ret_caps)
{
    struct hv_ndis_offload in = {
        .hdr = {HV_NDIS_OBJECT_OFFLOAD_CAPS, 3, sizeof(in)},
    };
    int err;

    if (n->ndis_version < HV_NDIS_VERSION_6_30) {
        in.hdr.revision = 2;
        in.hdr.size_bytes = HV_NDIS_OFFLOAD_BYTES_REV2;
    }
    err = hv_netvsc_query(n, HV_OID_OFFLOAD_CAPS, &in, in.hdr.size_bytes, ret_caps,
                          HV_NDIS_OFFLOAD_BYTES_REV1, sizeof(*ret_caps));
    if (!err && !is_offload(ret_caps))
        err = -EPROTO;
    return err;
}

int hv_netvsc_offload_init(struct hv_netvsc *n)
{
    struct hv_ndis_offload caps = {0};
    uint32_t possible = 0, wanted;
    int err = query_caps(n, &caps);

    if (err && err != -EOPNOTSUPP && err != -EIO)
        return err;
    if (!err)
        possible = allowed_by(n, &caps);
    n->rx_checked = checked_by(&caps);
    n->tso_max_bytes = tso_max(&caps, possible);
    n->device->tso_bytes_max = n->tso_max_bytes;
    if (n->nvsp_version >= HV_NVSP_VERSION_2) /* agreed upon in SEND_NDIS_CONFIG */
        possible |= HV_NETVSC_TX_VLAN | HV_NETVSC_RX_VLAN;
    if (n->rss.possible)
        possible |= HV_NETVSC_RX_HASH;
    wanted = n->own_offloads ? n->offloads_wanted & possible : possible;
    if (!err)
        err = apply(n, wanted);
    if (err == -EOPNOTSUPP || err == -EIO) { /* a host without is as good, only slower */
        possible &= ~SWITCHED;
        wanted &= ~SWITCHED;
        switch_on(n, wanted);
        n->offloads_wanted = wanted;
        err = 0;
    }
    n->offloads_possible = possible;
    return err;
}

int hv_netvsc_set_offloads(struct hv_netvsc *n, uint32_t offloads)
{
    int err = offloads & ~n->offloads_possible ? -EOPNOTSUPP : hv_netvsc_status(n);

    /* TSO makes the host compute sums: without them it is nothing that can be asked for */
    if (!err && ((offloads & HV_NETVSC_TX_TSO4 && !(offloads & HV_NETVSC_TX_TCP4)) ||
                 (offloads & HV_NETVSC_TX_TSO6 && !(offloads & HV_NETVSC_TX_TCP6))))
        err = -EOPNOTSUPP;
    if (!err)
        err = apply(n, offloads);
    if (!err)
        n->own_offloads = true;
    hv_netvsc_tell(n);
    return err;
}
