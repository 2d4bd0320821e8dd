/* SPDX-License-Identifier: BSD-3-Clause */
/* Life of a port: configure, start, stop, reset, close; and the table of operations. */
#include "port.h"

#include <errno.h>
#include <string.h>

#include <rte_malloc.h>

#include "convert.h"

int hvnet_link_update(struct rte_eth_dev *dev, int wait)
{
    struct hvnet_port *port = hvnet_port(dev);
    struct rte_eth_link link = {
        .link_duplex = RTE_ETH_LINK_FULL_DUPLEX,
        .link_autoneg = RTE_ETH_LINK_FIXED,
        .link_status = RTE_ETH_LINK_DOWN,
        .link_speed = RTE_ETH_SPEED_NUM_NONE,
    };

    (void)wait;
    (void)pthread_mutex_lock(&port->device->lock);
    hvnet_refresh(port);
    (void)pthread_mutex_unlock(&port->device->lock);
    if (port->info.link_up && !hv_netvsc_status(port->device->netvsc)) {
        link.link_status = RTE_ETH_LINK_UP;
        link.link_speed = hvnet_link_speed(port->info.link_bits_per_second);
    }
    return rte_eth_linkstatus_set(dev, &link);
}

static int infos_get(struct rte_eth_dev *dev, struct rte_eth_dev_info *out)
{
    const struct hvnet_port *port = hvnet_port(dev);
    const struct hv_netvsc_info *info = &port->info;

    out->driver_name = "net_hvnet";
    out->min_mtu = RTE_ETHER_MIN_MTU;
    out->max_mtu = info->max_mtu;
    out->min_rx_bufsize = RTE_ETHER_HDR_LEN;
    out->max_rx_pktlen = (uint32_t)info->max_mtu + RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN;
    out->max_rx_queues = info->max_queues;
    out->max_tx_queues = info->max_queues;
    out->max_mac_addrs = 1;
    out->rx_offload_capa = hvnet_rx_capabilities(info->offloads_possible);
    out->tx_offload_capa = hvnet_tx_capabilities(info->offloads_possible);
    out->reta_size = info->max_queues > 1 && info->rss_table_entries ? HV_NETVSC_RSS_TABLE : 0;
    out->hash_key_size = out->reta_size ? HV_NETVSC_RSS_KEY : 0;
    out->flow_type_rss_offloads = out->reta_size ? hvnet_rss_to_dpdk(info->rss_hash_types) : 0;
    out->speed_capa = RTE_ETH_LINK_SPEED_FIXED |
                      rte_eth_speed_bitflag(hvnet_link_speed(info->link_bits_per_second),
                                            RTE_ETH_LINK_FULL_DUPLEX);
    /* Rings are counted in bytes; a descriptor count is taken as said and has no effect. */
    out->rx_desc_lim = (struct rte_eth_desc_lim){.nb_max = 32768, .nb_min = 1, .nb_align = 1};
    out->tx_desc_lim = (struct rte_eth_desc_lim){.nb_max = 32768,
                                                 .nb_min = 1,
                                                 .nb_align = 1,
                                                 .nb_seg_max = HV_NETVSC_SEGMENTS_MAX,
                                                 .nb_mtu_seg_max = HV_NETVSC_SEGMENTS_MAX};
    out->default_rxportconf =
        (struct rte_eth_dev_portconf){.burst_size = 32, .ring_size = 1024, .nb_queues = 1};
    out->default_txportconf = out->default_rxportconf;
    out->dev_capa &= ~(uint64_t)RTE_ETH_DEV_CAPA_FLOW_RULE_KEEP;
    return 0;
}

static int configure(struct rte_eth_dev *dev)
{
    struct hvnet_port *port = hvnet_port(dev);
    const struct rte_eth_conf *conf = &dev->data->dev_conf;
    bool rss = conf->rxmode.mq_mode & RTE_ETH_MQ_RX_RSS_FLAG;
    uint32_t wanted;
    int err;

    if (conf->rxmode.mq_mode & ~RTE_ETH_MQ_RX_RSS_FLAG ||
        conf->txmode.mq_mode != RTE_ETH_MQ_TX_NONE) {
        HVNET_LOG(ERR, "%s: neither DCB nor VMDq: receive mode 0x%x, transmit mode 0x%x\n",
                  dev->data->name, conf->rxmode.mq_mode, conf->txmode.mq_mode);
        return -EINVAL;
    }
    err = hv_netvsc_status(port->device->netvsc);
    if (!err && conf->rxmode.mtu)
        err = hvnet_mtu_apply(port, (uint16_t)conf->rxmode.mtu);
    if (!err)
        err = hvnet_rss_configure(port);
    if (err)
        return err;
    wanted = hvnet_offloads_wanted(conf->rxmode.offloads, conf->txmode.offloads, rss,
                                   port->info.offloads_possible);
    (void)pthread_mutex_lock(&port->device->lock);
    err = hv_netvsc_set_offloads(port->device->netvsc, wanted);
    hvnet_refresh(port);
    (void)pthread_mutex_unlock(&port->device->lock);
    if (err)
        HVNET_LOG(ERR, "%s: the host does not switch offloads 0x%x on: %s\n", dev->data->name,
                  wanted, strerror(-err));
    return err;
}

/** Open the channels, with the lock held. */
static int start_device(struct hvnet_port *port, uint16_t channels)
{
    struct hv_netvsc *netvsc = port->device->netvsc;
    uint16_t granted = 0;
    int err = hv_netvsc_start(netvsc, channels, &granted);

    if (!err && granted < channels) {
        HVNET_LOG(ERR, "%s: the host grants %u queues of %u: configure that many\n",
                  port->eth->data->name, granted, channels);
        err = -EIO;
    } else if (!err) {
        err = hvnet_rss_apply(port);
    }
    if (err && granted)
        (void)hv_netvsc_stop(netvsc);
    return err;
}

static void attach_queues(struct rte_eth_dev *dev)
{
    struct hvnet_port *port = hvnet_port(dev);
    struct hvnet_device *device = port->device;

    for (uint16_t i = 0; i < dev->data->nb_rx_queues; i++) {
        struct hvnet_rxq *rxq = dev->data->rx_queues[i];

        rxq->queue = hv_netvsc_get_queue(device->netvsc, i);
        rxq->holds = device->holds[i];
        hvnet_rxq_prepare(rxq);
        hvnet_rx_interrupt_attach(rxq);
        rxq->running = !rxq->deferred;
        dev->data->rx_queue_state[i] =
            rxq->running ? RTE_ETH_QUEUE_STATE_STARTED : RTE_ETH_QUEUE_STATE_STOPPED;
    }
    for (uint16_t i = 0; i < dev->data->nb_tx_queues; i++) {
        struct hvnet_txq *txq = dev->data->tx_queues[i];

        txq->queue = hv_netvsc_get_queue(device->netvsc, i);
        txq->section_bytes = port->info.send_sections ? port->info.send_section_bytes : 0;
        txq->copy_bytes = RTE_MIN(port->args.tx_copybreak, txq->section_bytes);
        txq->section_bytes -= RTE_MIN(txq->section_bytes, 256u); /* headers come in front */
        txq->foreign = NULL;
        txq->running = !txq->deferred;
        dev->data->tx_queue_state[i] =
            txq->running ? RTE_ETH_QUEUE_STATE_STARTED : RTE_ETH_QUEUE_STATE_STOPPED;
    }
}

static int dev_start(struct rte_eth_dev *dev)
{
    struct hvnet_port *port = hvnet_port(dev);
    struct hvnet_device *device = port->device;
    uint16_t rx = dev->data->nb_rx_queues, tx = dev->data->nb_tx_queues;
    uint16_t channels = rx > tx ? rx : tx;
    int err = 0;

    for (uint16_t i = 0; i < dev->data->nb_rx_queues && !err; i++)
        err = hvnet_device_holds_alloc(device, i);
    if (!err && dev->data->dev_conf.intr_conf.rxq)
        err = hvnet_rx_interrupts_publish(port, dev->data->nb_rx_queues);
    if (err)
        return err;
    hvnet_stats_save(port);
    (void)pthread_mutex_lock(&device->lock);
    err = start_device(port, channels);
    hvnet_refresh(port);
    (void)pthread_mutex_unlock(&device->lock);
    hvnet_stats_take(port, err ? 1 : channels);
    if (err) {
        HVNET_LOG(ERR, "%s: cannot start: %s\n", dev->data->name, strerror(-err));
        return err;
    }
    port->channels = channels;
    attach_queues(dev);
    (void)hvnet_link_update(dev, 0);
    return 0;
}

int hvnet_dev_stop(struct rte_eth_dev *dev)
{
    struct hvnet_port *port = hvnet_port(dev);
    int err;

    dev->data->dev_started = 0;
    for (uint16_t i = 0; i < dev->data->nb_rx_queues; i++) {
        struct hvnet_rxq *rxq = dev->data->rx_queues[i];

        rxq->running = false;
        hvnet_rx_interrupt_detach(rxq);
        dev->data->rx_queue_state[i] = RTE_ETH_QUEUE_STATE_STOPPED;
    }
    for (uint16_t i = 0; i < dev->data->nb_tx_queues; i++)
        (void)hvnet_tx_queue_stop(dev, i);
    port->channels = 0;
    (void)pthread_mutex_lock(&port->device->lock);
    err = hv_netvsc_stop(port->device->netvsc);
    hvnet_refresh(port);
    (void)pthread_mutex_unlock(&port->device->lock);
    for (uint16_t i = 0; i < dev->data->nb_rx_queues; i++)
        ((struct hvnet_rxq *)dev->data->rx_queues[i])->queue = NULL;
    for (uint16_t i = 0; i < dev->data->nb_tx_queues; i++) {
        struct hvnet_txq *txq = dev->data->tx_queues[i];

        txq->queue = NULL;
        hvnet_tx_drop(txq); /* the host has done with all of it, or is gone */
    }
    /* A device that died while running has stopped all the same. */
    return err == -ENODEV || err == -EPROTO ? 0 : err;
}

static int is_removed(struct rte_eth_dev *dev)
{
    return hv_netvsc_status(hvnet_port(dev)->device->netvsc) != 0;
}

/** As after probing: no RSS, the usual filter, what the host offers. */
static int reset_settings(struct rte_eth_dev *dev)
{
    struct hvnet_port *port = hvnet_port(dev);
    struct hv_netvsc *netvsc = port->device->netvsc;
    int err;

    port->rss_on = false;
    port->ptype_mask = RTE_PTYPE_ALL_MASK;
    port->multicast_full = false;
    port->multicast_count = 0;
    (void)pthread_mutex_lock(&port->device->lock);
    err = hv_netvsc_set_offloads(netvsc, port->info.offloads_possible);
    if (!err)
        err = hv_netvsc_set_filter(netvsc, hvnet_filter(false, false));
    hvnet_refresh(port);
    (void)pthread_mutex_unlock(&port->device->lock);
    return err;
}

/** Dead: a new connection takes the place of the old one, which stays where there is none.  Stopped by ethdev. */
static int dev_reset(struct rte_eth_dev *dev)
{
    struct hvnet_port *port = hvnet_port(dev);
    struct hvnet_device *fresh;
    int err;

    if (hv_netvsc_status(port->device->netvsc)) {
        err = hvnet_device_open(&port->args, dev->data->name, dev->data->mtu, &fresh);
        if (err)
            return err;
        hvnet_interrupt_stop(port);
        hvnet_stats_save(port);
        hvnet_device_close(port->device);
        port->device = fresh;
        hvnet_stats_take(port, 1);
        hvnet_refresh(port);
        err = hvnet_interrupt_start(port);
        if (err)
            return err;
    }
    return reset_settings(dev);
}

const struct eth_dev_ops hvnet_ops = {
    .dev_configure = configure,
    .dev_start = dev_start,
    .dev_stop = hvnet_dev_stop,
    .dev_close = hvnet_dev_close,
    .dev_reset = dev_reset,
    .link_update = hvnet_link_update,
    .is_removed = is_removed,
    .promiscuous_enable = hvnet_promiscuous_enable,
    .promiscuous_disable = hvnet_promiscuous_disable,
    .allmulticast_enable = hvnet_allmulticast_enable,
    .allmulticast_disable = hvnet_allmulticast_disable,
    .mac_addr_set = hvnet_mac_set,
    .set_mc_addr_list = hvnet_multicast_set,
    .mtu_set = hvnet_mtu_set,
    .stats_get = hvnet_stats_get,
    .stats_reset = hvnet_stats_reset,
    .xstats_get = hvnet_xstats_get,
    .xstats_reset = hvnet_stats_reset,
    .xstats_get_names = hvnet_xstats_names,
    .dev_infos_get = infos_get,
    .rxq_info_get = hvnet_rxq_info,
    .txq_info_get = hvnet_txq_info,
    .rx_burst_mode_get = hvnet_rx_burst_mode,
    .tx_burst_mode_get = hvnet_tx_burst_mode,
    .fw_version_get = hvnet_fw_version,
    .dev_supported_ptypes_get = hvnet_ptypes_get,
    .dev_ptypes_set = hvnet_ptypes_set,
    .vlan_offload_set = hvnet_vlan_offload_set,
    .rx_queue_start = hvnet_rx_queue_start,
    .rx_queue_stop = hvnet_rx_queue_stop,
    .tx_queue_start = hvnet_tx_queue_start,
    .tx_queue_stop = hvnet_tx_queue_stop,
    .rx_queue_setup = hvnet_rx_queue_setup,
    .rx_queue_release = hvnet_rx_queue_release,
    .rx_queue_intr_enable = hvnet_rx_interrupt_enable,
    .rx_queue_intr_disable = hvnet_rx_interrupt_disable,
    .tx_queue_setup = hvnet_tx_queue_setup,
    .tx_queue_release = hvnet_tx_queue_release,
    .tx_done_cleanup = hvnet_tx_done_cleanup,
    .rss_hash_update = hvnet_rss_hash_update,
    .rss_hash_conf_get = hvnet_rss_hash_get,
    .reta_update = hvnet_reta_update,
    .reta_query = hvnet_reta_query,
    .eth_dev_priv_dump = hvnet_priv_dump,
};
