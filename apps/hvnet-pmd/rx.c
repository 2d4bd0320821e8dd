/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receive: frames of the receive buffer become mbufs, copied when small, else pointing at the bytes where they lie.
 *
 * Without mbufs frames are dropped and counted (rx_nombuf): they go back to the host at once, so nothing stalls.
 */
#include "port.h"

#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_malloc.h>
#include <rte_memcpy.h>
#include <rte_net.h>

#include "convert.h"

#define PTYPES_ASKED (RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK | RTE_PTYPE_L4_MASK)

/** The last reference is gone, in any thread. */
static void on_free(void *addr, void *opaque)
{
    struct hvnet_hold *hold = opaque;

    (void)addr;
    hv_netvsc_rx_release(hold->queue, hold->token);
    atomic_store_explicit(&hold->busy, false, memory_order_release);
}

/** A place to remember a frame in; frames come back more or less in order, so the next one is nearly always free. */
static struct hvnet_hold *find_hold(struct hvnet_rxq *rxq)
{
    for (uint32_t i = 0; i < 8; i++) {
        struct hvnet_hold *hold = &rxq->holds[(rxq->hold_next + i) % HVNET_HOLDS];

        if (!atomic_load_explicit(&hold->busy, memory_order_acquire)) {
            rxq->hold_next += i + 1;
            return hold;
        }
    }
    rxq->hold_next += 8;
    return NULL;
}

/** Point the mbuf at the frame.  False: it must be copied. */
static bool attach(struct hvnet_rxq *rxq, struct rte_mbuf *m, const struct hv_netvsc_frame *frame)
{
    struct hvnet_hold *hold;
    uint8_t *start;

    if (frame->bytes > UINT16_MAX - HVNET_ZC_HEADROOM)
        return false;
    hold = find_hold(rxq);
    if (!hold || !hv_netvsc_rx_hold(rxq->queue, frame))
        return false;
    hold->queue = rxq->queue;
    hold->token = frame->hold;
    hold->shinfo.free_cb = on_free;
    hold->shinfo.fcb_opaque = hold;
    hold->shinfo.refcnt = 1;
    atomic_store_explicit(&hold->busy, true, memory_order_relaxed);
    /* The receive buffer is ours to write to; const only says that the library does not ask for it. */
    start = (uint8_t *)(uintptr_t)frame->data - HVNET_ZC_HEADROOM;
    rte_pktmbuf_attach_extbuf(m, start, (rte_iova_t)(uintptr_t)start,
                              (uint16_t)(frame->bytes + HVNET_ZC_HEADROOM), &hold->shinfo);
    m->data_off = HVNET_ZC_HEADROOM;
    m->data_len = (uint16_t)frame->bytes;
    m->pkt_len = frame->bytes;
    rxq->zero_copied++;
    return true;
}

/** Fill further mbufs behind `m`.  False: too long, or no mbufs. */
static bool copy_scattered(struct hvnet_rxq *rxq, struct rte_mbuf *m,
                           const struct hv_netvsc_frame *frame)
{
    uint32_t at = rxq->room, bytes = frame->bytes;
    struct rte_mbuf *last = m;

    if (!rxq->scatter) {
        rxq->too_long++;
        return false;
    }
    rte_memcpy(rte_pktmbuf_mtod(m, void *), frame->data, at);
    m->data_len = rxq->room;
    while (at < bytes) {
        struct rte_mbuf *next = rte_pktmbuf_alloc(rxq->pool);
        uint32_t part = RTE_MIN(bytes - at, (uint32_t)rxq->room);

        if (!next) {
            rxq->nombuf++;
            rte_pktmbuf_free(m->next);
            m->next = NULL;
            m->nb_segs = 1;
            return false;
        }
        rte_memcpy(rte_pktmbuf_mtod(next, void *), frame->data + at, part);
        next->data_len = (uint16_t)part;
        at += part;
        last->next = next;
        last = next;
        m->nb_segs++;
    }
    m->pkt_len = bytes;
    rxq->copied_bytes += bytes;
    return true;
}

/** The tag back into the frame, for an application that did not ask for it to be taken out. */
static void put_vlan_back(struct rte_mbuf *m, uint16_t tci)
{
    struct rte_vlan_hdr *tag;
    uint8_t *start = (uint8_t *)rte_pktmbuf_prepend(m, RTE_VLAN_HLEN);

    if (!start) { /* cannot be: both ways leave that much room */
        m->vlan_tci = tci;
        m->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
        return;
    }
    memmove(start, start + RTE_VLAN_HLEN, 2 * RTE_ETHER_ADDR_LEN);
    start[12] = RTE_ETHER_TYPE_VLAN >> 8;
    start[13] = RTE_ETHER_TYPE_VLAN & 0xff;
    tag = (struct rte_vlan_hdr *)(start + 14);
    tag->vlan_tci = rte_cpu_to_be_16(tci);
}

/** Rare things; kept out of the loop. */
static __rte_noinline void fill_rest(struct hvnet_rxq *rxq, struct rte_mbuf *m,
                                     const struct hv_netvsc_frame *frame)
{
    uint32_t flags = frame->flags & rxq->wanted;

    if (flags & HV_NETVSC_RX_HAS_VLAN) {
        if (rxq->keep_vlan) {
            put_vlan_back(m, frame->vlan_tci);
            flags &= ~HV_NETVSC_RX_HAS_VLAN;
        } else {
            m->vlan_tci = frame->vlan_tci;
        }
    }
    if (flags & HV_NETVSC_RX_HAS_HASH)
        m->hash.rss = frame->hash;
    m->ol_flags |= hvnet_rx_flags(flags);
    if (rxq->ptypes)
        m->packet_type = rte_net_get_ptype(m, NULL, PTYPES_ASKED);
}

static inline void reinit(const struct hvnet_rxq *rxq, struct rte_mbuf *m)
{
    memcpy((char *)m + offsetof(struct rte_mbuf, rearm_data), &rxq->rearm, sizeof(rxq->rearm));
    m->ol_flags = 0;
    m->packet_type = 0;
}

/** Frames into mbufs of the stock; returns how many became one.  Mbufs not used stay in the stock. */
static uint16_t take(struct hvnet_rxq *rxq, const struct hv_netvsc_frame *frames, uint16_t count,
                     struct rte_mbuf **out)
{
    uint16_t taken = 0;
    uint64_t bytes = 0;

    for (uint16_t i = 0; i < count; i++) {
        const struct hv_netvsc_frame *frame = &frames[i];
        struct rte_mbuf *m = rxq->stock[rxq->stock_count - 1];

        reinit(rxq, m);
        if (frame->bytes > rxq->copybreak && rxq->zero_copy && attach(rxq, m, frame)) {
            /* nothing copied */
        } else if (likely(frame->bytes <= rxq->room)) {
            rte_memcpy(rte_pktmbuf_mtod(m, void *), frame->data, frame->bytes);
            m->data_len = (uint16_t)frame->bytes;
            m->pkt_len = frame->bytes;
            rxq->copied_bytes += frame->bytes;
        } else if (!copy_scattered(rxq, m, frame)) {
            continue;
        }
        rxq->stock_count--;
        if ((frame->flags & rxq->wanted) || rxq->ptypes)
            fill_rest(rxq, m, frame);
        bytes += m->pkt_len;
        out[taken++] = m;
    }
    rxq->packets += taken;
    rxq->bytes += bytes;
    return taken;
}

/** At least `count` mbufs in the stock, or as many as the pool has. */
static uint16_t fill_stock(struct hvnet_rxq *rxq, uint16_t count)
{
    unsigned int missing = HVNET_BURST - rxq->stock_count;

    if (!rte_mempool_get_bulk(rxq->pool, (void **)&rxq->stock[rxq->stock_count], missing)) {
        rxq->stock_count = HVNET_BURST;
        return count;
    }
    while (rxq->stock_count < count) {
        if (rte_mempool_get(rxq->pool, (void **)&rxq->stock[rxq->stock_count]))
            break;
        rxq->stock_count++;
    }
    return rxq->stock_count < count ? rxq->stock_count : count;
}

uint16_t hvnet_rx_burst(void *queue, struct rte_mbuf **mbufs, uint16_t count)
{
    struct hv_netvsc_frame frames[HVNET_BURST];
    struct hvnet_rxq *rxq = queue;
    uint16_t total = 0;

    if (unlikely(!rxq->running))
        return 0;
    while (total < count) {
        uint16_t ask = hvnet_chunk((unsigned int)(count - total)), usable;
        uint16_t got = hv_netvsc_rx_burst(rxq->queue, frames, ask);

        if (!got)
            break;
        usable = got;
        if (rxq->stock_count < got)
            usable = fill_stock(rxq, got);
        if (unlikely(usable < got))
            rxq->nombuf += got - usable;
        total = (uint16_t)(total + take(rxq, frames, usable, mbufs + total));
        hv_netvsc_rx_done(rxq->queue);
        if (got < ask)
            break;
    }
    return total;
}
