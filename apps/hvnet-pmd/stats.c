/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Statistics.  Packets and bytes are what went through the mbufs, counted by the queues here; everything else is counted
 * by the library, per channel, from start to stop, and summed up here over starts.
 */
#include "port.h"

#include <string.h>

/* The counters are 64-bit words in a row: sums and differences word by word. */
#define WORDS (sizeof(struct hv_netvsc_queue_stats) / sizeof(uint64_t))
_Static_assert(sizeof(struct hv_netvsc_queue_stats) % sizeof(uint64_t) == 0, "counters only");

static void add(struct hv_netvsc_queue_stats *to, const struct hv_netvsc_queue_stats *what,
                bool minus)
{
    uint64_t *a = (uint64_t *)to;
    const uint64_t *b = (const uint64_t *)what;

    for (size_t i = 0; i < WORDS; i++)
        a[i] = minus ? a[i] - b[i] : a[i] + b[i];
}

/** Since the port was probed. */
static void get_total(struct hvnet_port *port, uint16_t channel, struct hv_netvsc_queue_stats *out)
{
    struct hvnet_sums *sums = &port->sums[channel];
    struct hv_netvsc_queue_stats now;

    *out = sums->carried;
    if (!sums->queue)
        return;
    hv_netvsc_get_queue_stats(sums->queue, &now);
    add(&now, &sums->base, true);
    add(out, &now, false);
}

void hvnet_stats_channel(struct hvnet_port *port, uint16_t channel,
                         struct hv_netvsc_queue_stats *ret_stats)
{
    get_total(port, channel, ret_stats);
    add(ret_stats, &port->sums[channel].at_reset, true);
}

void hvnet_stats_save(struct hvnet_port *port)
{
    for (uint16_t i = 0; i < HV_NETVSC_QUEUES_MAX; i++) {
        struct hvnet_sums *sums = &port->sums[i];

        if (!sums->queue)
            continue;
        get_total(port, i, &sums->carried);
        hv_netvsc_get_queue_stats(sums->queue, &sums->base);
        sums->queue = NULL;
    }
}

/** A channel that counted less than before is another one. */
static bool is_new(const struct hv_netvsc_queue_stats *now,
                   const struct hv_netvsc_queue_stats *before)
{
    const uint64_t *a = (const uint64_t *)now, *b = (const uint64_t *)before;

    for (size_t i = 0; i < WORDS; i++)
        if (a[i] < b[i])
            return true;
    return false;
}

void hvnet_stats_take(struct hvnet_port *port, uint16_t channels)
{
    for (uint16_t i = 0; i < channels; i++) {
        struct hvnet_sums *sums = &port->sums[i];
        struct hv_netvsc_queue_stats now;

        sums->queue = hv_netvsc_get_queue(port->device->netvsc, i);
        if (!sums->queue)
            continue;
        hv_netvsc_get_queue_stats(sums->queue, &now);
        if (is_new(&now, &sums->base))
            memset(&sums->base, 0, sizeof(sums->base));
    }
}

int hvnet_stats_get(struct rte_eth_dev *dev, struct rte_eth_stats *stats)
{
    struct hvnet_port *port = hvnet_port(dev);

    for (uint16_t i = 0; i < dev->data->nb_rx_queues; i++) {
        const struct hvnet_rxq *rxq = dev->data->rx_queues[i];
        struct hv_netvsc_queue_stats lib;
        uint64_t packets, bytes, bad;

        if (!rxq)
            continue;
        hvnet_stats_channel(port, i, &lib);
        packets = rxq->packets - rxq->base_packets;
        bytes = rxq->bytes - rxq->base_bytes;
        bad = rxq->too_long - rxq->base_too_long + lib.rx_bad_range + lib.rx_bad_rndis +
              lib.rx_bad_ppi + lib.rx_bad_length;
        stats->ipackets += packets;
        stats->ibytes += bytes;
        stats->ierrors += bad;
        stats->imissed += lib.rx_overrun;
        stats->rx_nombuf += rxq->nombuf - rxq->base_nombuf;
        if (i < RTE_ETHDEV_QUEUE_STAT_CNTRS) {
            stats->q_ipackets[i] = packets;
            stats->q_ibytes[i] = bytes;
            stats->q_errors[i] = bad;
        }
    }
    for (uint16_t i = 0; i < dev->data->nb_tx_queues; i++) {
        const struct hvnet_txq *txq = dev->data->tx_queues[i];
        struct hv_netvsc_queue_stats lib;

        if (!txq)
            continue;
        hvnet_stats_channel(port, i, &lib);
        stats->opackets += txq->packets - txq->base_packets;
        stats->obytes += txq->bytes - txq->base_bytes;
        stats->oerrors += txq->errors - txq->base_errors + lib.tx_failed;
        if (i < RTE_ETHDEV_QUEUE_STAT_CNTRS) {
            stats->q_opackets[i] = txq->packets - txq->base_packets;
            stats->q_obytes[i] = txq->bytes - txq->base_bytes;
        }
    }
    return 0;
}

int hvnet_stats_reset(struct rte_eth_dev *dev)
{
    struct hvnet_port *port = hvnet_port(dev);

    for (uint16_t i = 0; i < dev->data->nb_rx_queues; i++) {
        struct hvnet_rxq *rxq = dev->data->rx_queues[i];

        if (!rxq)
            continue;
        rxq->base_packets = rxq->packets;
        rxq->base_bytes = rxq->bytes;
        rxq->base_nombuf = rxq->nombuf;
        rxq->base_too_long = rxq->too_long;
        rxq->base_copied = rxq->copied_bytes;
        rxq->base_zero_copied = rxq->zero_copied;
    }
    for (uint16_t i = 0; i < dev->data->nb_tx_queues; i++) {
        struct hvnet_txq *txq = dev->data->tx_queues[i];

        if (!txq)
            continue;
        txq->base_packets = txq->packets;
        txq->base_bytes = txq->bytes;
        txq->base_errors = txq->errors;
    }
    for (uint16_t i = 0; i < HV_NETVSC_QUEUES_MAX; i++)
        get_total(port, i, &port->sums[i].at_reset);
    return 0;
}

/* ---- Extended: a sum for the port, then each channel ---- */

struct xstat {
    const char *name;
    size_t offset;
};
#define LIB(name, member)                                                                          \
    {                                                                                              \
        name, offsetof(struct hv_netvsc_queue_stats, member)                                       \
    }

static const struct xstat rx_names[] = {
    LIB("messages", rx_messages),
    LIB("held", rx_held),
    LIB("hold_refused", rx_hold_refused),
    LIB("overrun", rx_overrun),
    LIB("bad_packets_range", rx_bad_range),
    LIB("bad_packets_rndis", rx_bad_rndis),
    LIB("bad_packets_ppi", rx_bad_ppi),
    LIB("bad_packets_length", rx_bad_length),
    LIB("unknown_messages", rx_unknown),
    LIB("completions_sent", completions_sent),
    LIB("completions_delayed", completions_delayed),
    LIB("ring_packets", channel.in.packets),
    LIB("signals", channel.in.signals),
    LIB("signals_saved", channel.in.signals_saved),
    LIB("wakeups", channel.wakeups),
};
static const struct xstat tx_names[] = {
    LIB("messages", tx_messages),
    LIB("copied", tx_copied),
    LIB("by_page", tx_by_page),
    LIB("aggregated", tx_aggregated),
    LIB("full", tx_full),
    LIB("no_section", tx_no_section),
    LIB("refused", tx_refused),
    LIB("failed", tx_failed),
    LIB("bad_completions", bad_completions),
    LIB("ring_packets", channel.out.packets),
    LIB("ring_full", channel.out.full),
    LIB("signals", channel.out.signals),
    LIB("signals_saved", channel.out.signals_saved),
};
/* Counted by the receive queues of the driver. */
static const char *const own_names[] = {"copied_bytes", "zero_copy_packets", "no_mbuf", "too_long"};

#define COUNT(a) ((unsigned int)(sizeof(a) / sizeof((a)[0])))
#define ROW      (COUNT(rx_names) + COUNT(tx_names) + COUNT(own_names))

static unsigned int channels_of(const struct rte_eth_dev *dev)
{
    uint16_t rx = dev->data->nb_rx_queues, tx = dev->data->nb_tx_queues;

    return rx > tx ? rx : tx;
}

static uint64_t value_of(const struct hv_netvsc_queue_stats *stats, const struct xstat *x)
{
    return *(const uint64_t *)((const char *)stats + x->offset);
}

static void own_values(const struct rte_eth_dev *dev, unsigned int channel,
                       uint64_t out[COUNT(own_names)])
{
    const struct hvnet_rxq *rxq =
        channel < dev->data->nb_rx_queues ? dev->data->rx_queues[channel] : NULL;

    memset(out, 0, sizeof(uint64_t) * COUNT(own_names));
    if (!rxq)
        return;
    out[0] = rxq->copied_bytes - rxq->base_copied;
    out[1] = rxq->zero_copied - rxq->base_zero_copied;
    out[2] = rxq->nombuf - rxq->base_nombuf;
    out[3] = rxq->too_long - rxq->base_too_long;
}

static void fill_row(struct rte_eth_dev *dev, unsigned int channel, uint64_t row[ROW])
{
    struct hv_netvsc_queue_stats stats;
    unsigned int n = 0;

    hvnet_stats_channel(hvnet_port(dev), (uint16_t)channel, &stats);
    for (unsigned int i = 0; i < COUNT(rx_names); i++)
        row[n++] = value_of(&stats, &rx_names[i]);
    for (unsigned int i = 0; i < COUNT(tx_names); i++)
        row[n++] = value_of(&stats, &tx_names[i]);
    own_values(dev, channel, row + n);
}

int hvnet_xstats_get(struct rte_eth_dev *dev, struct rte_eth_xstat *xstats, unsigned int count)
{
    unsigned int channels = channels_of(dev), need = ROW * (channels + 1);
    uint64_t row[ROW];

    if (count < need || !xstats)
        return (int)need;
    for (unsigned int i = 0; i < need; i++)
        xstats[i] = (struct rte_eth_xstat){.id = i};
    for (unsigned int c = 0; c < channels; c++) {
        fill_row(dev, c, row);
        for (unsigned int i = 0; i < ROW; i++) {
            xstats[i].value += row[i];
            xstats[ROW * (c + 1) + i].value = row[i];
        }
    }
    return (int)need;
}

static void name_row(struct rte_eth_xstat_name *names, const char *queue)
{
    const size_t bytes = sizeof(names[0].name);
    unsigned int n = 0;

    for (unsigned int i = 0; i < COUNT(rx_names); i++)
        (void)snprintf(names[n++].name, bytes, "rx_%s%s", queue, rx_names[i].name);
    for (unsigned int i = 0; i < COUNT(tx_names); i++)
        (void)snprintf(names[n++].name, bytes, "tx_%s%s", queue, tx_names[i].name);
    for (unsigned int i = 0; i < COUNT(own_names); i++)
        (void)snprintf(names[n++].name, bytes, "rx_%s%s", queue, own_names[i]);
}

int hvnet_xstats_names(struct rte_eth_dev *dev, struct rte_eth_xstat_name *names,
                       unsigned int count)
{
    unsigned int channels = channels_of(dev), need = ROW * (channels + 1);
    char queue[16];

    if (!names || count < need)
        return (int)need;
    name_row(names, "");
    for (unsigned int c = 0; c < channels; c++) {
        (void)snprintf(queue, sizeof(queue), "q%u_", c);
        name_row(names + ROW * (c + 1), queue);
    }
    return (int)need;
}
