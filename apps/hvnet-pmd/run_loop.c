/* SPDX-License-Identifier: BSD-3-Clause */
/* What a core does: queue q of each port belongs to core q mod cores, both directions. */
#include "runner.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_udp.h>

static void swap_macs(struct rte_mbuf **mbufs, uint16_t count)
{
    for (uint16_t i = 0; i < count; i++) {
        struct rte_ether_hdr *ether = rte_pktmbuf_mtod(mbufs[i], struct rte_ether_hdr *);
        struct rte_ether_addr source = ether->src_addr;

        ether->src_addr = ether->dst_addr;
        ether->dst_addr = source;
    }
}

/** The port where frames of port `from` go: its neighbour for l2fwd, else itself. */
static const struct run_port *way_out(const struct run *run, unsigned from)
{
    unsigned to = from ^ 1u;

    return &run->ports[run->options.mode == RUN_L2FWD && to < run->port_count ? to : from];
}

static uint16_t forward(struct run_loop *loop, unsigned from, uint16_t queue)
{
    struct run *run = loop->run;
    struct rte_mbuf *mbufs[RUN_BURST_MAX];
    uint16_t got = rte_eth_rx_burst(run->ports[from].id, queue, mbufs, run->options.burst);
    uint16_t sent;

    if (!got)
        return 0;
    if (run->capture)
        capture_add(run->capture, loop->index, mbufs, got);
    if (run->options.mode == RUN_RXONLY) {
        rte_pktmbuf_free_bulk(mbufs, got);
        return got;
    }
    if (run->options.mode == RUN_MAC_SWAP)
        swap_macs(mbufs, got);
    sent = rte_eth_tx_burst(way_out(run, from)->id, queue, mbufs, got);
    if (sent < got) {
        atomic_fetch_add_explicit(&run->ports[from].dropped, got - sent, memory_order_relaxed);
        rte_pktmbuf_free_bulk(mbufs + sent, got - sent);
    }
    return got;
}

/** A UDP packet of the benchmark network (RFC 2544), with a source port of its own so that flows spread. */
static void build_frame(struct rte_mbuf *m, const struct rte_ether_addr *from, uint16_t bytes,
                        uint16_t flow)
{
    struct rte_ether_hdr *ether = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
    struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(ether + 1);
    struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);

    m->data_len = bytes; /* it fits: see the pool and the range of --size */
    m->pkt_len = bytes;
    memset(ether, 0, bytes);
    memset(&ether->dst_addr, 0xff, sizeof(ether->dst_addr));
    ether->dst_addr.addr_bytes[0] = 0x02;
    ether->src_addr = *from;
    ether->ether_type = htons(RTE_ETHER_TYPE_IPV4);
    ip->version_ihl = 0x45;
    ip->total_length = htons((uint16_t)(bytes - sizeof(*ether)));
    ip->time_to_live = 64;
    ip->next_proto_id = IPPROTO_UDP;
    ip->src_addr = htonl(0xc6120001u); /* 198.18.0.1 */
    ip->dst_addr = htonl(0xc6120002u);
    ip->hdr_checksum = rte_ipv4_cksum(ip);
    udp->src_port = htons((uint16_t)(1024 + flow % 1024));
    udp->dst_port = htons(9);
    udp->dgram_len = htons((uint16_t)(bytes - sizeof(*ether) - sizeof(*ip)));
}

static uint16_t transmit(struct run_loop *loop, unsigned port, uint16_t queue, uint16_t *flow)
{
    struct run *run = loop->run;
    struct rte_mbuf *mbufs[RUN_BURST_MAX];
    uint16_t burst = run->options.burst, sent;
    struct rte_ether_addr mac;

    if (atomic_load_explicit(&run->ports[port].gone, memory_order_relaxed) ||
        rte_pktmbuf_alloc_bulk(run->pool, mbufs, burst) ||
        rte_eth_macaddr_get(run->ports[port].id, &mac))
        return 0;
    for (uint16_t i = 0; i < burst; i++)
        build_frame(mbufs[i], &mac, run->options.frame_bytes, (*flow)++);
    sent = rte_eth_tx_burst(run->ports[port].id, queue, mbufs, burst);
    if (sent < burst)
        rte_pktmbuf_free_bulk(mbufs + sent, burst - sent);
    return sent;
}

int run_loop_main(void *arg)
{
    struct run_loop *loop = arg;
    struct run *run = loop->run;
    uint16_t flow = 0;

    while (!atomic_load_explicit(&run->stop, memory_order_relaxed)) {
        unsigned work = 0;

        for (unsigned p = 0; p < run->port_count; p++)
            for (unsigned q = loop->index; q < run->queues; q += loop->count)
                work += run->options.mode == RUN_TXONLY ? transmit(loop, p, (uint16_t)q, &flow)
                                                        : forward(loop, p, (uint16_t)q);
        if (!work)
            rte_pause();
    }
    return 0;
}
