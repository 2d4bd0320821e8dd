/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive side scaling: hash types, key and the 128 entries that say which queue a hash goes to. */
#include "port.h"

#include <errno.h>
#include <string.h>

#include "convert.h"

int hvnet_rss_apply(struct hvnet_port *port)
{
    if (port->info.max_queues < 2 || !port->info.rss_table_entries)
        return 0; /* an old host, or one without RSS: one queue gets everything */
    if (!port->rss_on)
        return hv_netvsc_set_rss(port->device->netvsc, 0, NULL, NULL);
    return hv_netvsc_set_rss(port->device->netvsc, port->hash_types, port->reta, port->rss_key);
}

int hvnet_rss_configure(struct hvnet_port *port)
{
    const struct rte_eth_conf *conf = &port->eth->data->dev_conf;
    const struct rte_eth_rss_conf *rss = &conf->rx_adv_conf.rss_conf;
    unsigned int queues = RTE_MAX(port->eth->data->nb_rx_queues, 1u);

    for (uint16_t i = 0; i < HV_NETVSC_RSS_TABLE; i++)
        port->reta[i] = (uint16_t)(i % queues);
    port->rss_on = (conf->rxmode.mq_mode & RTE_ETH_MQ_RX_RSS_FLAG) && queues > 1;
    if (rss->rss_key) {
        if (rss->rss_key_len && rss->rss_key_len != HV_NETVSC_RSS_KEY) {
            HVNET_LOG(ERR, "%s: an RSS key of %u bytes, it has %d\n", port->eth->data->name,
                      rss->rss_key_len, HV_NETVSC_RSS_KEY);
            return -EINVAL;
        }
        memcpy(port->rss_key, rss->rss_key, HV_NETVSC_RSS_KEY);
    }
    port->hash_types = hvnet_rss_from_dpdk(rss->rss_hf, port->info.rss_hash_types);
    if (port->rss_on && !port->hash_types) /* nothing named: what the host can do */
        port->hash_types = rss->rss_hf ? 0 : port->info.rss_hash_types;
    if (port->rss_on && !port->hash_types) {
        HVNET_LOG(NOTICE,
                  "%s: the host has none of the hash types asked for: queue 0 gets everything\n",
                  port->eth->data->name);
        port->rss_on = false;
    }
    return 0;
}

static int apply_if_started(struct rte_eth_dev *dev)
{
    struct hvnet_port *port = hvnet_port(dev);
    int err = 0;

    if (!dev->data->dev_started)
        return 0;
    (void)pthread_mutex_lock(&port->device->lock);
    err = hvnet_rss_apply(port);
    (void)pthread_mutex_unlock(&port->device->lock);
    return err;
}

int hvnet_reta_update(struct rte_eth_dev *dev, struct rte_eth_rss_reta_entry64 *conf, uint16_t size)
{
    struct hvnet_port *port = hvnet_port(dev);
    uint16_t before[HV_NETVSC_RSS_TABLE];
    int err;

    if (size != HV_NETVSC_RSS_TABLE)
        return -EINVAL;
    for (uint16_t i = 0; i < size; i++)
        if ((conf[i / RTE_ETH_RETA_GROUP_SIZE].mask >> (i % RTE_ETH_RETA_GROUP_SIZE) & 1) &&
            conf[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] >=
                dev->data->nb_rx_queues)
            return -EINVAL;
    memcpy(before, port->reta, sizeof(before));
    for (uint16_t i = 0; i < size; i++)
        if (conf[i / RTE_ETH_RETA_GROUP_SIZE].mask >> (i % RTE_ETH_RETA_GROUP_SIZE) & 1)
            port->reta[i] = conf[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
    err = apply_if_started(dev);
    if (err)
        memcpy(port->reta, before, sizeof(before));
    return err;
}

int hvnet_reta_query(struct rte_eth_dev *dev, struct rte_eth_rss_reta_entry64 *conf, uint16_t size)
{
    const struct hvnet_port *port = hvnet_port(dev);

    if (size != HV_NETVSC_RSS_TABLE)
        return -EINVAL;
    for (uint16_t i = 0; i < size; i++)
        if (conf[i / RTE_ETH_RETA_GROUP_SIZE].mask >> (i % RTE_ETH_RETA_GROUP_SIZE) & 1)
            conf[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = port->reta[i];
    return 0;
}

int hvnet_rss_hash_update(struct rte_eth_dev *dev, struct rte_eth_rss_conf *conf)
{
    struct hvnet_port *port = hvnet_port(dev);
    uint32_t types = hvnet_rss_from_dpdk(conf->rss_hf, port->info.rss_hash_types);
    uint8_t key_before[HV_NETVSC_RSS_KEY];
    uint32_t types_before = port->hash_types;
    bool on_before = port->rss_on;
    int err;

    if (conf->rss_hf && !types)
        return -EINVAL;
    if (conf->rss_key && conf->rss_key_len != HV_NETVSC_RSS_KEY)
        return -EINVAL;
    if (types && dev->data->nb_rx_queues < 2)
        return 0; /* nothing to spread over */
    memcpy(key_before, port->rss_key, sizeof(key_before));
    if (conf->rss_key)
        memcpy(port->rss_key, conf->rss_key, HV_NETVSC_RSS_KEY);
    port->hash_types = types;
    port->rss_on = types != 0;
    err = apply_if_started(dev);
    if (err) {
        memcpy(port->rss_key, key_before, sizeof(key_before));
        port->hash_types = types_before;
        port->rss_on = on_before;
    }
    return err;
}

int hvnet_rss_hash_get(struct rte_eth_dev *dev, struct rte_eth_rss_conf *conf)
{
    const struct hvnet_port *port = hvnet_port(dev);

    conf->rss_hf = port->rss_on ? hvnet_rss_to_dpdk(port->hash_types) : 0;
    if (conf->rss_key && conf->rss_key_len >= HV_NETVSC_RSS_KEY)
        memcpy(conf->rss_key, port->rss_key, HV_NETVSC_RSS_KEY);
    conf->rss_key_len = HV_NETVSC_RSS_KEY;
    return 0;
}
