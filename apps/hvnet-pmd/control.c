/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings: addresses, filter, MTU, VLAN, packet types; and what the device says of itself. */
#include "port.h"

#include <errno.h>
#include <string.h>

#include "convert.h"

int hvnet_filter_apply(struct hvnet_port *port)
{
    const struct rte_eth_dev_data *data = port->eth->data;
    bool all = data->all_multicast || port->multicast_full;
    int err;

    (void)pthread_mutex_lock(&port->device->lock);
    err = hv_netvsc_set_filter(port->device->netvsc, hvnet_filter(data->promiscuous, all));
    (void)pthread_mutex_unlock(&port->device->lock);
    return err;
}

/** ethdev sets the word before or after the call, depending on the direction: set it here for the filter, and back. */
static int set_flag(struct rte_eth_dev *dev, bool promiscuous, bool all_multicast)
{
    unsigned int old_promiscuous = dev->data->promiscuous, old_all = dev->data->all_multicast;
    int err;

    dev->data->promiscuous = promiscuous;
    dev->data->all_multicast = all_multicast;
    err = hvnet_filter_apply(hvnet_port(dev));
    dev->data->promiscuous = old_promiscuous & 1;
    dev->data->all_multicast = old_all & 1;
    return err;
}

int hvnet_promiscuous_enable(struct rte_eth_dev *dev)
{
    return set_flag(dev, true, dev->data->all_multicast);
}

int hvnet_promiscuous_disable(struct rte_eth_dev *dev)
{
    return set_flag(dev, false, dev->data->all_multicast);
}

int hvnet_allmulticast_enable(struct rte_eth_dev *dev)
{
    return set_flag(dev, dev->data->promiscuous, true);
}

int hvnet_allmulticast_disable(struct rte_eth_dev *dev)
{
    return set_flag(dev, dev->data->promiscuous, false);
}

int hvnet_mac_set(struct rte_eth_dev *dev, struct rte_ether_addr *mac)
{
    struct hvnet_port *port = hvnet_port(dev);
    int err;

    (void)pthread_mutex_lock(&port->device->lock);
    err = hv_netvsc_set_mac(port->device->netvsc, mac->addr_bytes);
    (void)pthread_mutex_unlock(&port->device->lock);
    return err;
}

int hvnet_multicast_set(struct rte_eth_dev *dev, struct rte_ether_addr *macs, uint32_t count)
{
    struct hvnet_port *port = hvnet_port(dev);
    bool was_full = port->multicast_full;
    int err;

    (void)pthread_mutex_lock(&port->device->lock);
    err = hv_netvsc_set_multicast(port->device->netvsc, (const uint8_t(*)[6])macs, count);
    (void)pthread_mutex_unlock(&port->device->lock);
    if (err && err != -ENOSPC && err != -EIO && err != -EOPNOTSUPP)
        return err;
    /* More than the host takes, many take none: then every multicast frame comes, and the application picks. */
    port->multicast_full = err != 0 && count;
    port->multicast_count = (uint16_t)count;
    return port->multicast_full != was_full ? hvnet_filter_apply(port) : 0;
}

void hvnet_refresh(struct hvnet_port *port)
{
    hv_netvsc_get_info(port->device->netvsc, &port->info);
}

int hvnet_mtu_apply(struct hvnet_port *port, uint16_t mtu)
{
    const char *name = port->eth->data->name;
    int err;

    if (mtu == port->info.mtu)
        return 0;
    if (mtu < RTE_ETHER_MIN_MTU || mtu > port->info.max_mtu) {
        HVNET_LOG(ERR, "%s: an MTU of %u: allowed are %d to %u\n", name, mtu, RTE_ETHER_MIN_MTU,
                  port->info.max_mtu);
        return -EINVAL;
    }
    if (hvnet_device_holds(port->device)) { /* the receive buffer is made anew */
        HVNET_LOG(ERR, "%s: free the received frames before changing the MTU\n", name);
        return -EBUSY;
    }
    hvnet_stats_save(port);
    (void)pthread_mutex_lock(&port->device->lock);
    err = hv_netvsc_set_mtu(port->device->netvsc, mtu);
    hvnet_refresh(port);
    (void)pthread_mutex_unlock(&port->device->lock);
    hvnet_stats_take(port, 1);
    if (err)
        HVNET_LOG(ERR, "%s: the host does not take an MTU of %u: %s\n", name, mtu, strerror(-err));
    return err;
}

int hvnet_mtu_set(struct rte_eth_dev *dev, uint16_t mtu)
{
    if (dev->data->dev_started) {
        HVNET_LOG(ERR, "%s: stop the port before changing the MTU\n", dev->data->name);
        return -EBUSY;
    }
    return hvnet_mtu_apply(hvnet_port(dev), mtu);
}

int hvnet_vlan_offload_set(struct rte_eth_dev *dev, int mask)
{
    /* ethdev has put the wish into dev_conf; a queue reads one word of it for each frame with a tag */
    if (mask & RTE_ETH_VLAN_STRIP_MASK)
        for (uint16_t i = 0; i < dev->data->nb_rx_queues; i++)
            if (dev->data->rx_queues[i])
                hvnet_rxq_prepare(dev->data->rx_queues[i]);
    return 0;
}

const uint32_t *hvnet_ptypes_get(struct rte_eth_dev *dev)
{
    static const uint32_t types[] = {
        RTE_PTYPE_L2_ETHER,    RTE_PTYPE_L2_ETHER_VLAN, RTE_PTYPE_L2_ETHER_QINQ, RTE_PTYPE_L3_IPV4,
        RTE_PTYPE_L3_IPV4_EXT, RTE_PTYPE_L3_IPV6,       RTE_PTYPE_L3_IPV6_EXT,   RTE_PTYPE_L4_FRAG,
        RTE_PTYPE_L4_TCP,      RTE_PTYPE_L4_UDP,        RTE_PTYPE_L4_SCTP,       RTE_PTYPE_UNKNOWN,
    };

    (void)dev;
    return types;
}

int hvnet_ptypes_set(struct rte_eth_dev *dev, uint32_t mask)
{
    struct hvnet_port *port = hvnet_port(dev);

    port->ptype_mask = mask;
    for (uint16_t i = 0; i < dev->data->nb_rx_queues; i++)
        if (dev->data->rx_queues[i])
            hvnet_rxq_prepare(dev->data->rx_queues[i]);
    return 0;
}

int hvnet_fw_version(struct rte_eth_dev *dev, char *text, size_t bytes)
{
    const struct hvnet_port *port = hvnet_port(dev);
    int need =
        snprintf(text, bytes, "NVSP %s, NDIS %u.%u", hvnet_nvsp_text(port->info.nvsp_version),
                 port->info.ndis_version >> 16, port->info.ndis_version & 0xffff);

    return need >= 0 && (size_t)need < bytes ? 0 : need + 1;
}

int hvnet_priv_dump(struct rte_eth_dev *dev, FILE *file)
{
    struct hvnet_port *port = hvnet_port(dev);
    const struct hv_netvsc_info *info = &port->info;

    hvnet_refresh(port);
    fprintf(file, "address: %s\n", port->args.address);
    fprintf(file, "status: %s\n", strerror(-hv_netvsc_status(port->device->netvsc)));
    fprintf(file, "NVSP %s, NDIS %u.%u\n", hvnet_nvsp_text(info->nvsp_version),
            info->ndis_version >> 16, info->ndis_version & 0xffff);
    fprintf(file, "channels: %u open, %u possible\n", port->channels, info->max_queues);
    fprintf(file, "receive buffer: %u sections of %u bytes\n", info->receive_sections,
            info->receive_section_bytes);
    fprintf(file, "send buffer: %u sections of %u bytes, %u frames a message, aligned to %u\n",
            info->send_sections, info->send_section_bytes, info->max_packets_per_message,
            info->packet_align_bytes);
    fprintf(file, "offloads: 0x%x possible, 0x%x on, TSO up to %u bytes\n", info->offloads_possible,
            info->offloads, info->tso_max_bytes);
    fprintf(file, "virtual function: %s, serial %u\n", info->vf_present ? "offered" : "none",
            info->vf_serial);
    fprintf(file, "registered memory: %zu pieces\n", port->device->dma_count);
    fprintf(file, "received frames held: %s\n", hvnet_device_holds(port->device) ? "yes" : "no");
    return 0;
}
