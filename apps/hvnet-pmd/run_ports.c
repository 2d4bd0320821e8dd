/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports of the runner: configured alike, with as many queues as there are loops to serve them. */
#include "runner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_ethdev.h>

#define MBUFS_PER_QUEUE 8192u
#define DESCRIPTORS     1024

static int on_event(uint16_t port_id, enum rte_eth_event_type type, void *arg, void *ret_param)
{
    struct run_port *port = arg;

    (void)port_id;
    (void)ret_param;
    if (type == RTE_ETH_EVENT_INTR_RMV)
        atomic_store(&port->gone, true);
    else
        atomic_store(&port->link_changed, true);
    return 0;
}

static int fail(const struct run_port *port, const char *what, int err)
{
    (void)fprintf(stderr, "hvnet-pmd: %s: %s: %s\n", port->text, what, strerror(-err));
    return HV_EXIT_FAILED;
}

static int start_port(struct run *run, struct run_port *port)
{
    struct rte_eth_conf conf = {.intr_conf = {.lsc = 1, .rmv = 1}};
    struct rte_eth_dev_info info;
    int err = rte_eth_dev_info_get(port->id, &info);

    if (err)
        return fail(port, "no information", err);
    if (run->options.mtu)
        conf.rxmode.mtu = run->options.mtu;
    conf.rxmode.offloads = RTE_ETH_RX_OFFLOAD_SCATTER;
    conf.txmode.offloads = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    if (run->queues > 1) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads;
    }
    (void)rte_eth_dev_callback_register(port->id, RTE_ETH_EVENT_INTR_RMV, on_event, port);
    (void)rte_eth_dev_callback_register(port->id, RTE_ETH_EVENT_INTR_LSC, on_event, port);
    err = rte_eth_dev_configure(port->id, run->queues, run->queues, &conf);
    if (err)
        return fail(port, "cannot be configured", err);
    for (uint16_t q = 0; q < run->queues; q++) {
        err = rte_eth_rx_queue_setup(port->id, q, DESCRIPTORS, (unsigned int)SOCKET_ID_ANY, NULL,
                                     run->pool);
        if (!err)
            err =
                rte_eth_tx_queue_setup(port->id, q, DESCRIPTORS, (unsigned int)SOCKET_ID_ANY, NULL);
        if (err)
            return fail(port, "no queue", err);
    }
    (void)rte_eth_dev_set_ptypes(port->id, RTE_PTYPE_UNKNOWN, NULL, 0); /* nobody here looks */
    err = rte_eth_dev_start(port->id);
    if (err)
        return fail(port, "does not start", err);
    if (run->options.promiscuous && rte_eth_promiscuous_enable(port->id))
        (void)fprintf(stderr, "hvnet-pmd: %s: no promiscuous mode\n", port->text);
    return 0;
}

/** As many queues as cores, or as the option says, but no more than every port has. */
static int choose_queues(struct run *run)
{
    uint16_t wanted = run->options.queues ? run->options.queues : run->options.cores.count;

    for (unsigned i = 0; i < run->port_count; i++) {
        struct rte_eth_dev_info info;

        if (rte_eth_dev_info_get(run->ports[i].id, &info))
            return HV_EXIT_FAILED;
        if (wanted > info.max_rx_queues && run->options.queues) {
            (void)fprintf(stderr, "hvnet-pmd: %s: --queues %u: it has %u\n", run->ports[i].text,
                          wanted, info.max_rx_queues);
            return HV_EXIT_FAILED;
        }
        if (wanted > info.max_rx_queues)
            wanted = info.max_rx_queues;
    }
    if (wanted < run->options.cores.count)
        (void)fprintf(stderr, "hvnet-pmd: %u queues for %u cores: the others idle\n", wanted,
                      run->options.cores.count);
    run->queues = wanted;
    return 0;
}

int run_ports_start(struct run *run)
{
    unsigned mbufs;
    uint32_t room = run->options.frame_bytes > RTE_MBUF_DEFAULT_DATAROOM
                        ? run->options.frame_bytes
                        : RTE_MBUF_DEFAULT_DATAROOM;
    int ret;

    for (unsigned i = 0; i < run->port_count; i++) {
        char name[24];

        (void)snprintf(name, sizeof(name), "net_hvnet%u", i);
        if (rte_eth_dev_get_port_by_name(name, &run->ports[i].id)) {
            (void)fprintf(stderr, "hvnet-pmd: %s: cannot be opened\n", run->ports[i].text);
            return HV_EXIT_FAILED;
        }
    }
    ret = choose_queues(run);
    if (ret)
        return ret;
    mbufs = MBUFS_PER_QUEUE * run->queues * run->port_count;
    run->pool = rte_pktmbuf_pool_create("frames", mbufs - 1, 256, 0,
                                        (uint16_t)(room + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY);
    if (!run->pool) {
        (void)fprintf(stderr, "hvnet-pmd: no memory for %u frames: give more by --memory\n", mbufs);
        return HV_EXIT_FAILED;
    }
    for (unsigned i = 0; i < run->port_count && !ret; i++)
        ret = start_port(run, &run->ports[i]);
    return ret;
}

void run_ports_stop(struct run *run)
{
    for (unsigned i = 0; i < run->port_count; i++) {
        (void)rte_eth_dev_stop(run->ports[i].id);
        (void)rte_eth_dev_close(run->ports[i].id);
    }
}
