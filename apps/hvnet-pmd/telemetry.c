/* SPDX-License-Identifier: BSD-3-Clause */
/* Telemetry: /hvnet/list names our ports, /hvnet/info,PORT tells what the device is and does. */
#include "port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_telemetry.h>

static bool is_ours(uint16_t port_id)
{
    return rte_eth_dev_is_valid_port(port_id) && rte_eth_devices[port_id].dev_ops == &hvnet_ops;
}

static int list(const char *command, const char *params, struct rte_tel_data *data)
{
    (void)command;
    (void)params;
    (void)rte_tel_data_start_array(data, RTE_TEL_INT_VAL);
    for (uint16_t port_id = 0; port_id < RTE_MAX_ETHPORTS; port_id++)
        if (is_ours(port_id))
            (void)rte_tel_data_add_array_int(data, port_id);
    return 0;
}

static void add_queue(struct hvnet_port *port, struct rte_tel_data *data, uint16_t channel)
{
    struct rte_tel_data *row = rte_tel_data_alloc();
    struct hv_netvsc_queue_stats stats;
    char name[16];

    if (!row)
        return;
    hvnet_stats_channel(port, channel, &stats);
    (void)rte_tel_data_start_dict(row);
    (void)rte_tel_data_add_dict_u64(row, "rx_packets", stats.rx_packets);
    (void)rte_tel_data_add_dict_u64(row, "rx_messages", stats.rx_messages);
    (void)rte_tel_data_add_dict_u64(row, "rx_held", stats.rx_held);
    (void)rte_tel_data_add_dict_u64(row, "rx_overrun", stats.rx_overrun);
    (void)rte_tel_data_add_dict_u64(row, "tx_packets", stats.tx_packets);
    (void)rte_tel_data_add_dict_u64(row, "tx_messages", stats.tx_messages);
    (void)rte_tel_data_add_dict_u64(row, "tx_full", stats.tx_full);
    (void)rte_tel_data_add_dict_u64(row, "signals", stats.channel.out.signals);
    (void)snprintf(name, sizeof(name), "queue_%u", channel);
    if (rte_tel_data_add_dict_container(data, name, row, 0))
        rte_tel_data_free(row);
}

static int info(const char *command, const char *params, struct rte_tel_data *data)
{
    char *end = NULL;
    unsigned long port_id = params ? strtoul(params, &end, 10) : UINT16_MAX;
    struct hvnet_port *port;

    (void)command;
    if (!params || end == params || *end || port_id >= RTE_MAX_ETHPORTS ||
        !is_ours((uint16_t)port_id))
        return -EINVAL;
    port = hvnet_port(&rte_eth_devices[port_id]);
    (void)rte_tel_data_start_dict(data);
    (void)rte_tel_data_add_dict_string(data, "name", port->eth->data->name);
    (void)rte_tel_data_add_dict_string(data, "address", port->args.address);
    (void)rte_tel_data_add_dict_string(data, "nvsp", hvnet_nvsp_text(port->info.nvsp_version));
    (void)rte_tel_data_add_dict_int(data, "alive", !hv_netvsc_status(port->device->netvsc));
    (void)rte_tel_data_add_dict_int(data, "link_up", port->eth->data->dev_link.link_status);
    (void)rte_tel_data_add_dict_int(data, "mtu", port->info.mtu);
    (void)rte_tel_data_add_dict_int(data, "channels", port->channels);
    (void)rte_tel_data_add_dict_u64(data, "receive_sections", port->info.receive_sections);
    (void)rte_tel_data_add_dict_u64(data, "send_sections", port->info.send_sections);
    (void)rte_tel_data_add_dict_u64(data, "offloads", port->info.offloads);
    (void)rte_tel_data_add_dict_u64(data, "memory_pieces", port->device->dma_count);
    for (uint16_t i = 0; i < port->channels; i++)
        add_queue(port, data, i);
    return 0;
}

RTE_INIT(hvnet_telemetry)
{
    (void)rte_telemetry_register_cmd("/hvnet/list", list,
                                     "Ports of net_hvnet. Takes no parameters");
    (void)rte_telemetry_register_cmd("/hvnet/info", info,
                                     "A port of net_hvnet and its queues. Parameters: int port_id");
}
