/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports come and go: --vdev net_hvnet0,addr=... and devices on DPDK's vmbus bus.
 *
 * On the vmbus bus this driver is asked before DPDK's own when it is loaded with -d, because plug-ins register before the
 * drivers of the distribution.  The bus has mapped the device by then; it lets go, for libvmbus maps it itself.
 */
#include "port.h"

#include <errno.h>
#include <string.h>

#include <bus_vdev_driver.h>
#include <bus_vmbus_driver.h>
#include <rte_malloc.h>

#include "convert.h"

RTE_LOG_REGISTER(hvnet_log_type, pmd.net.hvnet, NOTICE);

static int fill_port(struct rte_eth_dev *dev, struct rte_device *device,
                     const struct hvnet_devargs *args)
{
    struct hvnet_port *port = hvnet_port(dev);
    int err;

    dev->device = device;
    dev->data->numa_node = device->numa_node;
    dev->data->dev_flags =
        RTE_ETH_DEV_INTR_LSC | RTE_ETH_DEV_INTR_RMV | RTE_ETH_DEV_AUTOFILL_QUEUE_XSTATS;
    port->eth = dev;
    port->args = *args;
    port->ptype_mask = RTE_PTYPE_ALL_MASK;
    dev->data->mac_addrs = rte_zmalloc("hvnet mac", sizeof(struct rte_ether_addr), 0);
    if (!dev->data->mac_addrs)
        return -ENOMEM;
    err = hvnet_device_open(args, dev->data->name, 0, &port->device);
    if (err)
        return err;
    hvnet_refresh(port);
    memcpy(dev->data->mac_addrs[0].addr_bytes, port->info.mac, RTE_ETHER_ADDR_LEN);
    dev->data->mtu = port->info.mtu;
    hvnet_stats_take(port, 1);
    hv_netvsc_get_rss(port->device->netvsc, &port->hash_types, port->reta, port->rss_key);
    err = hvnet_interrupt_start(port);
    if (err) {
        hvnet_device_close(port->device);
        return err;
    }
    dev->dev_ops = &hvnet_ops;
    dev->rx_pkt_burst = hvnet_rx_burst;
    dev->tx_pkt_burst = hvnet_tx_burst;
    dev->tx_pkt_prepare = hvnet_tx_prepare;
    dev->rx_queue_count = hvnet_rx_queue_count;
    dev->rx_descriptor_status = hvnet_rx_descriptor_status;
    dev->tx_descriptor_status = hvnet_tx_descriptor_status;
    return 0;
}

static int create_port(struct rte_device *device, const char *text, const char *bus_address)
{
    const char *name = device->name;
    char why[HVNET_WHY_BYTES];
    struct hvnet_devargs args;
    struct rte_eth_dev *dev;
    int err;

    if (rte_eal_process_type() != RTE_PROC_PRIMARY) {
        HVNET_LOG(ERR,
                  "%s: a secondary process cannot use this port: the connection to the host is the "
                  "primary's\n",
                  name);
        return -ENOTSUP;
    }
    err = hvnet_devargs_parse(text, bus_address, &args, why);
    if (err) {
        HVNET_LOG(ERR, "%s: %s\n", name, why);
        return err;
    }
    dev = rte_eth_dev_allocate(name);
    if (!dev)
        return -ENOMEM;
    dev->data->dev_private =
        rte_zmalloc_socket(name, sizeof(struct hvnet_port), RTE_CACHE_LINE_SIZE, device->numa_node);
    err = dev->data->dev_private ? fill_port(dev, device, &args) : -ENOMEM;
    if (err) {
        (void)rte_eth_dev_release_port(dev); /* frees what is in data */
        return err;
    }
    rte_eth_dev_probing_finish(dev);
    return 0;
}

int hvnet_dev_close(struct rte_eth_dev *dev)
{
    struct hvnet_port *port = hvnet_port(dev);

    if (rte_eal_process_type() != RTE_PROC_PRIMARY)
        return 0;
    if (dev->data->dev_started)
        (void)hvnet_dev_stop(dev);
    hvnet_interrupt_stop(port);
    for (uint16_t i = 0; i < dev->data->nb_rx_queues; i++)
        hvnet_rx_queue_release(dev, i);
    for (uint16_t i = 0; i < dev->data->nb_tx_queues; i++)
        hvnet_tx_queue_release(dev, i);
    hvnet_device_close(port->device);
    port->device = NULL;
    return 0;
}

static int remove_port(const struct rte_device *device)
{
    struct rte_eth_dev *dev = rte_eth_dev_allocated(device->name);

    if (!dev)
        return 0; /* closed by the application already */
    if (dev->data->dev_started)
        (void)rte_eth_dev_stop(dev->data->port_id);
    return rte_eth_dev_close(dev->data->port_id);
}

static int vdev_probe(struct rte_vdev_device *vdev)
{
    return create_port(&vdev->device, rte_vdev_device_args(vdev), NULL);
}

static int vdev_remove(struct rte_vdev_device *vdev)
{
    return remove_port(&vdev->device);
}

static struct rte_vdev_driver vdev_driver = {
    .probe = vdev_probe,
    .remove = vdev_remove,
};
RTE_PMD_REGISTER_VDEV(net_hvnet, vdev_driver);
RTE_PMD_REGISTER_PARAM_STRING(net_hvnet, HVNET_DEVARGS_TEXT);

static int vmbus_probe(struct rte_vmbus_driver *driver, struct rte_vmbus_device *device)
{
    char address[sizeof("uio:") + HV_GUID_TEXT_BYTES];
    const struct rte_devargs *devargs = device->device.devargs;
    char uuid[RTE_UUID_STRLEN];

    (void)driver;
    rte_uuid_unparse(device->device_id, uuid, sizeof(uuid));
    (void)snprintf(address, sizeof(address), "uio:%s", uuid);
    rte_vmbus_unmap_device(device);
    return create_port(&device->device, devargs ? devargs->args : NULL, address);
}

static int vmbus_remove(struct rte_vmbus_device *device)
{
    return remove_port(&device->device);
}

static const rte_uuid_t vmbus_ids[] = {
    RTE_UUID_INIT(0xf8615163, 0xdf3e, 0x46c5, 0x913f, 0xf2d2f965ed0eULL),
    {0},
};
static struct rte_vmbus_driver vmbus_driver = {
    .probe = vmbus_probe,
    .remove = vmbus_remove,
    .id_table = vmbus_ids,
};
RTE_PMD_REGISTER_VMBUS(net_hvnet_vmbus, vmbus_driver);
