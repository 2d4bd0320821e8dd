/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's own structures.
 *
 *   rte_eth_dev ── dev_private ──> struct hvnet_port       what DPDK configured: queues, offloads, counters
 *                                    └─> struct hvnet_device   the connection: bus, NIC, DMA registrations, held frames
 *
 * A device outlives its port while the application still holds received frames: their bytes lie in the receive buffer.
 * An alarm closes it when the last one has come back.
 *
 * THREADS: what DPDK calls control operations, the interrupt thread (link, loss) and memory events come from different
 * threads: device->lock lets one of them at a time talk to the host.  It is taken inside DPDK's memory lock (memory events
 * come with that held), so nothing that takes the memory lock is called with device->lock held.  No burst takes it.
 */
#ifndef HVNET_PORT_H
#define HVNET_PORT_H

#include <pthread.h>
#include <stdatomic.h>

#include <ethdev_driver.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_mbuf.h>

#include <hv/netvsc.h>

#include "devargs.h"

extern int hvnet_log_type;
#define HVNET_LOG(level, ...)                                                                      \
    rte_log(RTE_LOG_##level, (uint32_t)hvnet_log_type, "net_hvnet: " __VA_ARGS__)

/** Frames in one call of the library. */
#define HVNET_BURST 64
/** Below this many bytes in front of a frame its RNDIS header lies, which nobody needs any more: room to prepend. */
#define HVNET_ZC_HEADROOM 44
/** Frames of one queue that mbufs may hold at a time; the library has its own, usually lower limit. */
#define HVNET_HOLDS 4096
/** Frames of one queue that the host may be reading from mbufs at a time. */
#define HVNET_TX_SLOTS 1024

/** A received frame in an mbuf's hands. */
struct hvnet_hold {
    struct rte_mbuf_ext_shared_info shinfo;
    struct hv_netvsc_queue *queue;
    uint32_t token;
    _Atomic bool busy; /* set by the queue's thread, cleared by whoever frees the last mbuf */
};

struct hvnet_dma {
    void *va;
    size_t bytes;
    struct hv_dma *dma;
};

struct hvnet_device {
    struct hvnet_devargs args;
    struct hv_vmbus *bus;
    struct hv_netvsc *netvsc;
    pthread_mutex_t lock;
    char name[RTE_ETH_NAME_MAX_LEN];
    char dma_name[32]; /* of the memory event callback; empty when there is none */
    struct hvnet_dma *dma;
    size_t dma_count, dma_room;
    bool dma_refused; /* said once */
    struct hvnet_hold *holds[HV_NETVSC_QUEUES_MAX];
    /* What the library's event callback saw; taken by hvnet_device_poll(). */
    bool link_event, dead_event;
};

struct hvnet_port;

struct hvnet_rxq {
    struct hv_netvsc_queue *queue;
    bool running;
    bool zero_copy, keep_vlan, ptypes, scatter; /* what the application wants */
    uint16_t room;                              /* data bytes of an mbuf */
    uint32_t copybreak;
    uint32_t wanted; /* HV_NETVSC_RX_* that go into mbufs */
    uint64_t rearm;  /* data_off, refcnt, nb_segs, port of a fresh mbuf */
    struct rte_mempool *pool;
    struct hvnet_hold *holds;
    uint32_t hold_next;
    uint16_t stock_count;
    struct rte_mbuf *stock[HVNET_BURST];
    /* Counters: written by the queue's thread only. */
    uint64_t packets, bytes, copied_bytes, zero_copied, nombuf, too_long;
    uint64_t base_packets, base_bytes, base_nombuf, base_too_long, base_copied, base_zero_copied;
    /* Set up once. */
    struct hvnet_port *port;
    uint16_t index, desc_count;
    bool deferred;
    int wait_fd, kick_fd; /* epoll set the application sleeps on; the event that says "do not" */
} __rte_cache_aligned;

struct hvnet_txq {
    struct hv_netvsc_queue *queue;
    bool running;
    bool fast_free;              /* one pool, one reference each, as the application promised */
    uint16_t free_count;         /* of free_slots */
    uint32_t copy_bytes;         /* longer frames may stay with the host ... */
    uint32_t section_bytes;      /* ... shorter ones can be copied at need */
    uint32_t busy_count;         /* mbufs that the host may be reading */
    struct rte_mempool *foreign; /* pool last seen outside of DMA memory */
    struct rte_mbuf **slots;     /* those mbufs; the index + 1 is the cookie */
    uint16_t *free_slots;
    struct iovec *iov; /* HVNET_BURST frames' further segments */
    uint64_t packets, bytes, errors;
    uint64_t base_packets, base_bytes, base_errors;
    struct hvnet_port *port;
    uint16_t index, desc_count, free_thresh;
    bool deferred;
    uint64_t offloads;
} __rte_cache_aligned;

/**
 * Sums of a channel's library counters.  They go on counting while the port is stopped; where the library makes the
 * channel anew (another MTU, more queues), what the old one had is carried over.
 */
struct hvnet_sums {
    struct hv_netvsc_queue *queue;        /* read from; NULL = none */
    struct hv_netvsc_queue_stats carried; /* of channels that are no more */
    struct hv_netvsc_queue_stats base;    /* of `queue`: in carried already */
    struct hv_netvsc_queue_stats at_reset;
};

struct hvnet_port {
    struct rte_eth_dev *eth;
    struct hvnet_device *device;
    struct hvnet_devargs args;
    struct hv_netvsc_info info; /* as of the last open, start or change */
    struct rte_intr_handle *intr_handle;
    bool intr_registered;
    _Atomic uintptr_t intr_thread; /* pthread_t inside our interrupt handler, else 0 */
    uint16_t channels;             /* open since start */
    uint32_t filter;
    uint32_t ptype_mask;
    uint16_t multicast_count;
    bool multicast_full; /* the host takes no such list: all-multicast instead */
    bool rss_on;
    uint32_t hash_types;
    uint16_t reta[HV_NETVSC_RSS_TABLE];
    uint8_t rss_key[HV_NETVSC_RSS_KEY];
    struct hvnet_sums sums[HV_NETVSC_QUEUES_MAX];
};

/** How many of `wanted` fit into one call of the library. */
static inline uint16_t hvnet_chunk(unsigned int wanted)
{
    return wanted < HVNET_BURST ? (uint16_t)wanted : HVNET_BURST;
}

static inline struct hvnet_port *hvnet_port(struct rte_eth_dev *dev)
{
    return dev->data->dev_private;
}

/* device.c */
int hvnet_device_open(const struct hvnet_devargs *args, const char *name, uint16_t mtu,
                      struct hvnet_device **ret_device);
/** Close it, or leave that to an alarm while frames are held.  NULL is fine. */
void hvnet_device_close(struct hvnet_device *device);
bool hvnet_device_holds(const struct hvnet_device *device);
/** Room to remember held frames of a queue.  0 or -ENOMEM. */
int hvnet_device_holds_alloc(struct hvnet_device *device, uint16_t queue);
/** Run hv_netvsc_poll_control(); says what happened since the last time. */
void hvnet_device_poll(struct hvnet_device *device, bool *ret_link, bool *ret_dead);

/* dma.c */
int hvnet_dma_start(struct hvnet_device *device);
void hvnet_dma_stop(struct hvnet_device *device);

/* interrupt.c */
int hvnet_interrupt_start(struct hvnet_port *port);
void hvnet_interrupt_stop(struct hvnet_port *port);
int hvnet_rx_interrupt_setup(struct hvnet_rxq *rxq);
void hvnet_rx_interrupt_release(struct hvnet_rxq *rxq);
/** Give the handle the queues' descriptors; count 0 takes them away. */
int hvnet_rx_interrupts_publish(struct hvnet_port *port, uint16_t count);
void hvnet_rx_interrupt_attach(struct hvnet_rxq *rxq);
void hvnet_rx_interrupt_detach(struct hvnet_rxq *rxq);
int hvnet_rx_interrupt_enable(struct rte_eth_dev *dev, uint16_t queue);
int hvnet_rx_interrupt_disable(struct rte_eth_dev *dev, uint16_t queue);

/* rx.c, tx.c */
uint16_t hvnet_rx_burst(void *queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t hvnet_tx_burst(void *queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t hvnet_tx_prepare(void *queue, struct rte_mbuf **mbufs, uint16_t count);
/** Frees what the host has done with; at most `max`, returns how many. */
uint32_t hvnet_tx_reap(struct hvnet_txq *txq, uint32_t max);
/** The device is stopped: free all that was with the host. */
void hvnet_tx_drop(struct hvnet_txq *txq);

/* queue.c */
int hvnet_rx_queue_setup(struct rte_eth_dev *dev, uint16_t index, uint16_t desc_count,
                         unsigned int socket, const struct rte_eth_rxconf *conf,
                         struct rte_mempool *pool);
int hvnet_tx_queue_setup(struct rte_eth_dev *dev, uint16_t index, uint16_t desc_count,
                         unsigned int socket, const struct rte_eth_txconf *conf);
void hvnet_rx_queue_release(struct rte_eth_dev *dev, uint16_t index);
void hvnet_tx_queue_release(struct rte_eth_dev *dev, uint16_t index);
void hvnet_rxq_info(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_rxq_info *info);
void hvnet_txq_info(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_txq_info *info);
int hvnet_rx_burst_mode(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_burst_mode *mode);
int hvnet_tx_burst_mode(struct rte_eth_dev *dev, uint16_t index, struct rte_eth_burst_mode *mode);
int hvnet_rx_queue_start(struct rte_eth_dev *dev, uint16_t index);
int hvnet_rx_queue_stop(struct rte_eth_dev *dev, uint16_t index);
int hvnet_tx_queue_start(struct rte_eth_dev *dev, uint16_t index);
int hvnet_tx_queue_stop(struct rte_eth_dev *dev, uint16_t index);
uint32_t hvnet_rx_queue_count(void *queue);
int hvnet_rx_descriptor_status(void *queue, uint16_t offset);
int hvnet_tx_descriptor_status(void *queue, uint16_t offset);
int hvnet_tx_done_cleanup(void *queue, uint32_t count);
/** Take what the application wants from the configuration. */
void hvnet_rxq_prepare(struct hvnet_rxq *rxq);

/* rss.c */
/** Set RSS on the device from the port's state; with the lock held. */
int hvnet_rss_apply(struct hvnet_port *port);
int hvnet_rss_configure(struct hvnet_port *port);
int hvnet_reta_update(struct rte_eth_dev *dev, struct rte_eth_rss_reta_entry64 *conf,
                      uint16_t size);
int hvnet_reta_query(struct rte_eth_dev *dev, struct rte_eth_rss_reta_entry64 *conf, uint16_t size);
int hvnet_rss_hash_update(struct rte_eth_dev *dev, struct rte_eth_rss_conf *conf);
int hvnet_rss_hash_get(struct rte_eth_dev *dev, struct rte_eth_rss_conf *conf);

/* stats.c */
/** Library counters of a channel since the last reset, over all starts. */
void hvnet_stats_channel(struct hvnet_port *port, uint16_t channel,
                         struct hv_netvsc_queue_stats *ret_stats);
/** Before the library may make channels anew, and after it. */
void hvnet_stats_save(struct hvnet_port *port);
void hvnet_stats_take(struct hvnet_port *port, uint16_t channels);
int hvnet_stats_get(struct rte_eth_dev *dev, struct rte_eth_stats *stats);
int hvnet_stats_reset(struct rte_eth_dev *dev);
int hvnet_xstats_get(struct rte_eth_dev *dev, struct rte_eth_xstat *xstats, unsigned int count);
int hvnet_xstats_names(struct rte_eth_dev *dev, struct rte_eth_xstat_name *names,
                       unsigned int count);

/* ops.c, control.c */
extern const struct eth_dev_ops hvnet_ops;
int hvnet_link_update(struct rte_eth_dev *dev, int wait);
int hvnet_dev_stop(struct rte_eth_dev *dev);
int hvnet_dev_close(struct rte_eth_dev *dev);
/** Read info anew after the device or its state changed. */
void hvnet_refresh(struct hvnet_port *port);
int hvnet_filter_apply(struct hvnet_port *port);
int hvnet_promiscuous_enable(struct rte_eth_dev *dev);
int hvnet_promiscuous_disable(struct rte_eth_dev *dev);
int hvnet_allmulticast_enable(struct rte_eth_dev *dev);
int hvnet_allmulticast_disable(struct rte_eth_dev *dev);
int hvnet_mac_set(struct rte_eth_dev *dev, struct rte_ether_addr *mac);
int hvnet_multicast_set(struct rte_eth_dev *dev, struct rte_ether_addr *macs, uint32_t count);
int hvnet_mtu_set(struct rte_eth_dev *dev, uint16_t mtu);
int hvnet_mtu_apply(struct hvnet_port *port, uint16_t mtu);
int hvnet_vlan_offload_set(struct rte_eth_dev *dev, int mask);
const uint32_t *hvnet_ptypes_get(struct rte_eth_dev *dev);
int hvnet_ptypes_set(struct rte_eth_dev *dev, uint32_t mask);
int hvnet_fw_version(struct rte_eth_dev *dev, char *text, size_t bytes);
int hvnet_priv_dump(struct rte_eth_dev *dev, FILE *file);

#endif
