/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit: mbufs become frames of the library, which copies small ones (they are free at once) and names large ones by
 * page (they stay with the host until it says so).
 *
 * A frame that can never be sent is dropped and counted (oerrors) rather than refused for ever: an application that
 * wants to know beforehand asks rte_eth_tx_prepare().
 */
#include "port.h"

#include <errno.h>

#include <rte_errno.h>
#include <rte_net.h>

#include "convert.h"

#define TX_OFFLOADS_KNOWN                                                                          \
    (RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_VLAN | \
     RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6)
#define TX_OFFLOADS_HEADERS                                                                        \
    (RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_VLAN)

uint32_t hvnet_tx_reap(struct hvnet_txq *txq, uint32_t max)
{
    void *cookies[HVNET_BURST];
    struct rte_mbuf *mbufs[HVNET_BURST];
    uint32_t total = 0;

    while (txq->busy_count && total < max) {
        uint16_t ask = hvnet_chunk(max - total);
        uint16_t got = hv_netvsc_tx_reap(txq->queue, cookies, ask);

        for (uint16_t i = 0; i < got; i++) {
            uint16_t slot = (uint16_t)((uintptr_t)cookies[i] - 1);

            mbufs[i] = txq->slots[slot];
            txq->slots[slot] = NULL;
            txq->free_slots[txq->free_count++] = slot;
        }
        rte_pktmbuf_free_bulk(mbufs, got);
        txq->busy_count -= got;
        total += got;
        if (got < ask)
            break;
    }
    return total;
}

void hvnet_tx_drop(struct hvnet_txq *txq)
{
    for (uint16_t slot = 0; slot < HVNET_TX_SLOTS; slot++) {
        rte_pktmbuf_free(txq->slots[slot]);
        txq->slots[slot] = NULL;
        txq->free_slots[slot] = slot;
    }
    txq->free_count = HVNET_TX_SLOTS;
    txq->busy_count = 0;
}

/** The segments behind the first one. */
static void fill_more(struct hv_netvsc_tx *tx, const struct rte_mbuf *m, struct iovec *iov)
{
    uint16_t count = 0;

    tx->more = iov;
    for (m = m->next; m && count < HV_NETVSC_SEGMENTS_MAX; m = m->next)
        iov[count++] =
            (struct iovec){.iov_base = rte_pktmbuf_mtod(m, void *), .iov_len = m->data_len};
    tx->more_count = count;
}

static void fill_offloads(struct hv_netvsc_tx *tx, const struct rte_mbuf *m)
{
    tx->flags |= hvnet_tx_flags(m->ol_flags);
    tx->vlan_tci = m->vlan_tci;
    tx->l4_offset = (uint16_t)(m->l2_len + m->l3_len);
    tx->mss = m->tso_segsz;
}

/** Memory that is not ours to be named by page, as far as one can tell without asking. */
static inline bool is_foreign(const struct hvnet_txq *txq, const struct rte_mbuf *m)
{
    return m->pool == txq->foreign || RTE_MBUF_HAS_EXTBUF(m);
}

/** False: no slot is left for a frame that the host may read where it lies. */
static inline bool fill(struct hvnet_txq *txq, struct hv_netvsc_tx *tx, struct rte_mbuf *m,
                        uint16_t index)
{
    tx->data = rte_pktmbuf_mtod(m, void *);
    tx->data_bytes = m->data_len;
    tx->bytes = m->pkt_len;
    tx->more_count = 0;
    tx->flags = 0;
    tx->copied = 1;
    tx->cookie = NULL;
    if (unlikely(m->nb_segs > 1))
        fill_more(tx, m, txq->iov + (size_t)index * HV_NETVSC_SEGMENTS_MAX);
    if (unlikely(m->ol_flags & TX_OFFLOADS_HEADERS))
        fill_offloads(tx, m);
    if (m->pkt_len <= txq->copy_bytes || (is_foreign(txq, m) && m->pkt_len < txq->section_bytes)) {
        tx->flags |= HV_NETVSC_TX_FLAG_COPY;
        return true;
    }
    if (!txq->free_count)
        return false;
    tx->cookie = (void *)((uintptr_t)txq->free_slots[--txq->free_count] + 1);
    return true;
}

/** Slots of frames that were copied or not taken at all go back; the others hold their mbufs. */
static void settle_slots(struct hvnet_txq *txq, const struct hv_netvsc_tx *frames,
                         struct rte_mbuf **mbufs, uint16_t sent, uint16_t count)
{
    for (uint16_t i = 0; i < count; i++) {
        uint16_t slot = (uint16_t)((uintptr_t)frames[i].cookie - 1);

        if (!frames[i].cookie)
            continue;
        if (i < sent && !frames[i].copied) {
            txq->slots[slot] = mbufs[i];
            txq->busy_count++;
        } else {
            /* copied, though it could have stayed: no DMA memory, which spares the next ones of its pool the attempt */
            if (i < sent && frames[i].bytes < txq->section_bytes && mbufs[i]->nb_segs == 1)
                txq->foreign = mbufs[i]->pool;
            txq->free_slots[txq->free_count++] = slot;
        }
    }
}

/** Count what was sent, free the mbufs that were copied. */
static inline void settle(struct hvnet_txq *txq, const struct hv_netvsc_tx *frames,
                          struct rte_mbuf **mbufs, uint16_t sent)
{
    struct rte_mbuf *done[HVNET_BURST];
    uint64_t bytes = 0, flags = 0;
    uint16_t count = 0;

    for (uint16_t i = 0; i < sent; i++) {
        bytes += frames[i].bytes;
        flags |= mbufs[i]->ol_flags;
        if (likely(frames[i].copied))
            done[count++] = mbufs[i];
    }
    txq->packets += sent;
    txq->bytes += bytes;
    if (!count)
        return;
    /* one pool and one reference are promised, not that an mbuf has its own buffer: ours of large frames have not */
    if (txq->fast_free && likely(!(flags & (RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT))))
        rte_mempool_put_bulk(done[0]->pool, (void **)done, count);
    else
        rte_pktmbuf_free_bulk(done, count);
}

/** What stopped the library at a frame.  True: that can never be sent, and was dropped. */
static __rte_noinline bool drop_refused(struct hvnet_txq *txq, struct rte_mbuf *m, int err)
{
    if (err != -EFAULT && err != -EMSGSIZE && err != -EINVAL)
        return false; /* full, or dead: what is left stays the application's */
    txq->errors++;
    rte_pktmbuf_free(m);
    return true;
}

/** One call of the library; returns how many mbufs are done with, *ret_more says whether to go on. */
static uint16_t send_some(struct hvnet_txq *txq, struct rte_mbuf **mbufs, uint16_t count,
                          bool *ret_more)
{
    struct hv_netvsc_tx frames[HVNET_BURST];
    uint16_t free_before = txq->free_count, sent, asked = 0;
    bool dropped = false;
    int err = 0;

    while (asked < count && fill(txq, &frames[asked], mbufs[asked], asked))
        asked++;
    sent = hv_netvsc_tx_burst(txq->queue, frames, asked, &err);
    if (txq->free_count != free_before)
        settle_slots(txq, frames, mbufs, sent, asked);
    settle(txq, frames, mbufs, sent);
    *ret_more = sent == count;
    if (unlikely(sent < asked))
        *ret_more = dropped = drop_refused(txq, mbufs[sent], err);
    return (uint16_t)(sent + dropped);
}

uint16_t hvnet_tx_burst(void *queue, struct rte_mbuf **mbufs, uint16_t count)
{
    struct hvnet_txq *txq = queue;
    uint16_t total = 0;
    bool more = true, reaped = false;

    if (unlikely(!txq->running))
        return 0;
    if (txq->busy_count)
        (void)hvnet_tx_reap(txq, UINT32_MAX);
    while (total < count) {
        total = (uint16_t)(total + send_some(txq, mbufs + total,
                                             hvnet_chunk((unsigned int)(count - total)), &more));
        if (more)
            continue;
        /* Full: once more after looking for what the host has done with. */
        if (reaped || !txq->busy_count || !hvnet_tx_reap(txq, UINT32_MAX))
            break;
        reaped = true;
    }
    return total;
}

/** 0, or the errno that rte_eth_tx_prepare() reports for a frame that cannot be sent as it is. */
static int check(const struct hvnet_txq *txq, const struct rte_mbuf *m)
{
    const struct hvnet_port *port = txq->port;
    uint64_t flags = m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK;
    uint64_t l4 = flags & RTE_MBUF_F_TX_L4_MASK;

    if (flags & ~TX_OFFLOADS_KNOWN)
        return ENOTSUP;
    if (l4 == RTE_MBUF_F_TX_SCTP_CKSUM ||
        ((flags & RTE_MBUF_F_TX_TCP_SEG) && !(txq->offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO)) ||
        (l4 == RTE_MBUF_F_TX_TCP_CKSUM &&
         !(txq->offloads & (RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO))) ||
        (l4 == RTE_MBUF_F_TX_UDP_CKSUM && !(txq->offloads & RTE_ETH_TX_OFFLOAD_UDP_CKSUM)) ||
        ((flags & RTE_MBUF_F_TX_VLAN) && !(txq->offloads & RTE_ETH_TX_OFFLOAD_VLAN_INSERT)))
        return ENOTSUP;
    if (m->nb_segs > HV_NETVSC_SEGMENTS_MAX || m->pkt_len < RTE_ETHER_HDR_LEN)
        return EINVAL;
    if (flags & RTE_MBUF_F_TX_TCP_SEG)
        return !m->tso_segsz || m->pkt_len > port->info.tso_max_bytes || !m->l2_len || !m->l3_len ||
                       !m->l4_len
                   ? EINVAL
                   : 0;
    return m->pkt_len > (uint32_t)port->info.mtu + RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN ? EINVAL : 0;
}

uint16_t hvnet_tx_prepare(void *queue, struct rte_mbuf **mbufs, uint16_t count)
{
    const struct hvnet_txq *txq = queue;

    for (uint16_t i = 0; i < count; i++) {
        int err = check(txq, mbufs[i]);

        if (!err)
            err =
                -rte_net_intel_cksum_prepare(mbufs[i]); /* pseudo-header sums, as NDIS wants them */
        if (err) {
            rte_errno = err;
            return i;
        }
    }
    return count;
}
