/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues: set-up, information, state.  The library's queues come and go with start and stop; these stay. */
#include "port.h"

#include <errno.h>
#include <string.h>

#include <rte_malloc.h>

#include "convert.h"

static uint64_t make_rearm(uint16_t port_id)
{
    struct rte_mbuf m = {.data_off = RTE_PKTMBUF_HEADROOM, .nb_segs = 1, .port = port_id};

    uint64_t rearm;

    rte_mbuf_refcnt_set(&m, 1);
    memcpy(&rearm, (const char *)&m + offsetof(struct rte_mbuf, rearm_data), sizeof(rearm));
    return rearm;
}

int hvnet_rx_queue_setup(struct rte_eth_dev *dev, uint16_t index, uint16_t desc_count,
                         unsigned int socket, const struct rte_eth_rxconf *conf,
                         struct rte_mempool *pool)
{
    uint32_t room = rte_pktmbuf_data_room_size(pool);
    struct hvnet_rxq *rxq;
    int err;

    if (room <= RTE_PKTMBUF_HEADROOM + RTE_ETHER_HDR_LEN) {
        HVNET_LOG(ERR, "%s: mbufs of pool %s have %u bytes of room, %d are the headroom\n",
                  dev->data->name, pool->name, room, RTE_PKTMBUF_HEADROOM);
        return -EINVAL;
    }
    rxq = rte_zmalloc_socket("hvnet rx queue", sizeof(*rxq), RTE_CACHE_LINE_SIZE, (int)socket);
    if (!rxq)
        return -ENOMEM;
    rxq->port = hvnet_port(dev);
    rxq->index = index;
    rxq->desc_count = desc_count;
    rxq->pool = pool;
    rxq->room = (uint16_t)(room - RTE_PKTMBUF_HEADROOM);
    rxq->rearm = make_rearm(dev->data->port_id);
    rxq->deferred = conf->rx_deferred_start;
    rxq->wait_fd = rxq->kick_fd = -1;
    err = dev->data->dev_conf.intr_conf.rxq ? hvnet_rx_interrupt_setup(rxq) : 0;
    if (err) {
        rte_free(rxq);
        return err;
    }
    dev->data->rx_queues[index] = rxq;
    return 0;
}

void hvnet_rx_queue_release(struct rte_eth_dev *dev, uint16_t index)
{
    struct hvnet_rxq *rxq = dev->data->rx_queues[index];

    if (!rxq)
        return;
    hvnet_rx_interrupt_release(rxq);
    for (uint16_t i = 0; i < rxq->stock_count; i++)
        rte_mempool_put(rxq->pool, rxq->stock[i]);
    rte_free(rxq);
    dev->data->rx_queues[index] = NULL;
}

int hvnet_tx_queue_setup(struct rte_eth_dev *dev, uint16_t index, uint16_t desc_count,
                         unsigned int socket, const struct rte_eth_txconf *conf)
{
    const size_t queue_bytes = sizeof(struct hvnet_txq);
    const size_t slots_bytes = HVNET_TX_SLOTS * (sizeof(struct rte_mbuf *) + sizeof(uint16_t));
    const size_t iov_bytes = sizeof(struct iovec) * HVNET_BURST * HV_NETVSC_SEGMENTS_MAX;
    struct hvnet_txq *txq = rte_zmalloc_socket(
        "hvnet tx queue", queue_bytes + slots_bytes + iov_bytes, RTE_CACHE_LINE_SIZE, (int)socket);

    if (!txq)
        return -ENOMEM;
    txq->iov = (struct iovec *)(txq + 1);
    txq->slots = (struct rte_mbuf **)(txq->iov + HVNET_BURST * HV_NETVSC_SEGMENTS_MAX);
    txq->free_slots = (uint16_t *)(txq->slots + HVNET_TX_SLOTS);
    hvnet_tx_drop(txq); /* of nothing: makes the slots free */
    txq->port = hvnet_port(dev);
    txq->index = index;
    txq->desc_count = desc_count;
    txq->free_thresh = conf->tx_free_thresh;
    txq->deferred = conf->tx_deferred_start;
    txq->offloads = conf->offloads | dev->data->dev_conf.txmode.offloads;
    txq->fast_free = (txq->offloads & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE) &&
                     !(txq->offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
    dev->data->tx_queues[index] = txq;
    return 0;
}

void hvnet_tx_queue_release(struct rte_eth_dev *dev, uint16_t index)
{
    struct hvnet_txq *txq = dev->data->tx_queues[index];

    if (!txq)
        return;
    hvnet_tx_drop(txq);
    rte_free(txq);
    dev->data->tx_queues[index] = NULL;
}

void hvnet_rxq_prepare(struct hvnet_rxq *rxq)
{
    struct hvnet_port *port = rxq->port;
    const struct rte_eth_conf *conf = &port->eth->data->dev_conf;
    uint64_t offloads = conf->rxmode.offloads;

    rxq->copybreak = port->args.rx_copybreak;
    rxq->zero_copy = rxq->copybreak < UINT16_MAX && rxq->holds;
    rxq->scatter = offloads & RTE_ETH_RX_OFFLOAD_SCATTER;
    rxq->keep_vlan = !(offloads & RTE_ETH_RX_OFFLOAD_VLAN_STRIP);
    rxq->ptypes = port->ptype_mask != 0;
    rxq->wanted = HV_NETVSC_RX_HAS_VLAN;
    if (offloads & RTE_ETH_RX_OFFLOAD_CHECKSUM)
        rxq->wanted |=
            HV_NETVSC_RX_IP_OK | HV_NETVSC_RX_IP_BAD | HV_NETVSC_RX_L4_OK | HV_NETVSC_RX_L4_BAD;
    if ((offloads & RTE_ETH_RX_OFFLOAD_RSS_HASH) || (conf->rxmode.mq_mode & RTE_ETH_MQ_RX_RSS_FLAG))
        rxq->wanted |= HV_NETVSC_RX_HAS_HASH;
}

void hvnet_rxq_info(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_rxq_info *info)
{
    const struct hvnet_rxq *rxq = dev->data->rx_queues[index];

    info->mp = rxq->pool;
    info->scattered_rx = rxq->scatter;
    info->nb_desc = rxq->desc_count;
    info->rx_buf_size = rxq->room;
    info->conf.rx_drop_en = 1;
    info->conf.rx_deferred_start = rxq->deferred;
    info->conf.offloads = dev->data->dev_conf.rxmode.offloads;
}

void hvnet_txq_info(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_txq_info *info)
{
    const struct hvnet_txq *txq = dev->data->tx_queues[index];

    info->nb_desc = txq->desc_count;
    info->conf.tx_free_thresh = txq->free_thresh;
    info->conf.tx_deferred_start = txq->deferred;
    info->conf.offloads = txq->offloads;
}

int hvnet_rx_burst_mode(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_burst_mode *mode)
{
    const struct hvnet_port *port = hvnet_port(dev);

    (void)index;
    if (port->args.rx_copybreak >= UINT16_MAX)
        (void)snprintf(mode->info, sizeof(mode->info), "Scalar, copy");
    else
        (void)snprintf(mode->info, sizeof(mode->info), "Scalar, zero-copy above %u bytes",
                       port->args.rx_copybreak);
    return 0;
}

int hvnet_tx_burst_mode(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_burst_mode *mode)
{
    const struct hvnet_port *port = hvnet_port(dev);

    (void)index;
    (void)snprintf(mode->info, sizeof(mode->info),
                   "Scalar, by page above %u bytes, %u frames a message", port->args.tx_copybreak,
                   port->info.max_packets_per_message);
    return 0;
}

int hvnet_rx_queue_start(struct rte_eth_dev *dev, uint16_t index)
{
    struct hvnet_rxq *rxq = dev->data->rx_queues[index];

    if (!rxq->queue)
        return -EINVAL;
    rxq->running = true;
    dev->data->rx_queue_state[index] = RTE_ETH_QUEUE_STATE_STARTED;
    return 0;
}

int hvnet_rx_queue_stop(struct rte_eth_dev *dev, uint16_t index)
{
    struct hvnet_rxq *rxq = dev->data->rx_queues[index];

    rxq->running = false;
    dev->data->rx_queue_state[index] = RTE_ETH_QUEUE_STATE_STOPPED;
    return 0;
}

int hvnet_tx_queue_start(struct rte_eth_dev *dev, uint16_t index)
{
    struct hvnet_txq *txq = dev->data->tx_queues[index];

    if (!txq->queue)
        return -EINVAL;
    txq->running = true;
    dev->data->tx_queue_state[index] = RTE_ETH_QUEUE_STATE_STARTED;
    return 0;
}

int hvnet_tx_queue_stop(struct rte_eth_dev *dev, uint16_t index)
{
    struct hvnet_txq *txq = dev->data->tx_queues[index];

    txq->running = false;
    if (txq->queue)
        (void)hvnet_tx_reap(txq, UINT32_MAX);
    dev->data->tx_queue_state[index] = RTE_ETH_QUEUE_STATE_STOPPED;
    return 0;
}

uint32_t hvnet_rx_queue_count(void *queue)
{
    struct hvnet_rxq *rxq = queue;

    return rxq->running ? hv_netvsc_rx_pending(rxq->queue) : 0;
}

int hvnet_rx_descriptor_status(void *queue, uint16_t offset)
{
    struct hvnet_rxq *rxq = queue;

    if (offset >= rxq->desc_count)
        return -EINVAL;
    return offset < hvnet_rx_queue_count(queue) ? RTE_ETH_RX_DESC_DONE : RTE_ETH_RX_DESC_AVAIL;
}

int hvnet_tx_descriptor_status(void *queue, uint16_t offset)
{
    struct hvnet_txq *txq = queue;

    if (offset >= txq->desc_count)
        return -EINVAL;
    if (!txq->running)
        return RTE_ETH_TX_DESC_UNAVAIL;
    /* Counted from the next free one: the far end of the ring is what the host still has. */
    return hv_netvsc_tx_in_flight(txq->queue) + offset < hv_netvsc_tx_descriptors(txq->queue)
               ? RTE_ETH_TX_DESC_DONE
               : RTE_ETH_TX_DESC_FULL;
}

int hvnet_tx_done_cleanup(void *queue, uint32_t count)
{
    struct hvnet_txq *txq = queue;

    return txq->queue ? (int)hvnet_tx_reap(txq, count ? count : UINT32_MAX) : 0;
}
