/* SPDX-License-Identifier: BSD-3-Clause */
/* What people see: a line for each port and queue, written over itself on a terminal; or one JSON object a line. */
#include "runner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>
#include <rte_ethdev.h>

/** Counters of one queue, as rte_eth_stats has them. */
struct counts {
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
};

static struct counts before[RUN_PORTS_MAX][RTE_ETHDEV_QUEUE_STAT_CNTRS];
static double before_s;
static unsigned lines_up;

static const char *link_text(const struct run_port *port)
{
    struct rte_eth_link link;

    if (atomic_load(&port->gone))
        return "gone";
    return !rte_eth_link_get_nowait(port->id, &link) && link.link_status ? "up" : "down";
}

static struct json_object *number(uint64_t value)
{
    return json_object_new_uint64(value);
}

static void print(struct json_object *object)
{
    (void)printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
    (void)fflush(stdout);
    json_object_put(object);
}

void report_start(const struct run *run)
{
    struct json_object *object, *ports;

    if (!run->options.json) {
        (void)printf("ready: %s, %u port%s, %u queue%s each, %u core%s\n", run->options.mode_text,
                     run->port_count, run->port_count > 1 ? "s" : "", run->queues,
                     run->queues > 1 ? "s" : "", run->options.cores.count,
                     run->options.cores.count > 1 ? "s" : "");
        (void)fflush(stdout);
        return;
    }
    object = json_object_new_object();
    ports = json_object_new_array();
    for (unsigned i = 0; i < run->port_count; i++)
        (void)json_object_array_add(ports, json_object_new_string(run->ports[i].text));
    (void)json_object_object_add(object, "event", json_object_new_string("ready"));
    (void)json_object_object_add(object, "mode", json_object_new_string(run->options.mode_text));
    (void)json_object_object_add(object, "ports", ports);
    (void)json_object_object_add(object, "queues", number(run->queues));
    print(object);
}

static struct counts counts_of(const struct rte_eth_stats *stats, unsigned queue)
{
    return (struct counts){stats->q_ipackets[queue], stats->q_ibytes[queue],
                           stats->q_opackets[queue], stats->q_obytes[queue]};
}

/** Rate in the largest unit that leaves a digit in front: "14.88 M". */
static const char *rate(double value, char text[16])
{
    static const char units[] = {' ', 'k', 'M', 'G'};
    unsigned unit = 0;

    for (; value >= 1000 && unit < sizeof(units) - 1; unit++)
        value /= 1000;
    (void)snprintf(text, 16, "%6.2f %c", value, units[unit]);
    return text;
}

/** On a terminal: forget what the line had before. */
static const char *line_end(void)
{
    return isatty(STDOUT_FILENO) ? "\033[K" : "";
}

static void text_queue(unsigned port, unsigned queue, const struct counts *now, double seconds)
{
    const struct counts *then = &before[port][queue];
    char a[16], b[16], c[16], d[16];

    (void)printf("  port %u queue %-2u  rx %spkt/s %sbit/s   tx %spkt/s %sbit/s%s\n", port, queue,
                 rate((double)(now->rx_packets - then->rx_packets) / seconds, a),
                 rate((double)(now->rx_bytes - then->rx_bytes) * 8 / seconds, b),
                 rate((double)(now->tx_packets - then->tx_packets) / seconds, c),
                 rate((double)(now->tx_bytes - then->tx_bytes) * 8 / seconds, d), line_end());
}

static void text_status(struct run *run, double seconds, bool last)
{
    double span = seconds - before_s > 0 ? seconds - before_s : 1;
    unsigned lines = 0;

    if (lines_up && isatty(STDOUT_FILENO))
        (void)printf("\033[%uA", lines_up);
    for (unsigned p = 0; p < run->port_count; p++) {
        struct rte_eth_stats stats = {0};

        (void)rte_eth_stats_get(run->ports[p].id, &stats);
        (void)printf("%7.1f s  port %u %s  link %s  received %" PRIu64 "  sent %" PRIu64
                     "  missed %" PRIu64 "  dropped %" PRIu64 "  errors %" PRIu64 "%s\n",
                     seconds, p, run->ports[p].text, link_text(&run->ports[p]), stats.ipackets,
                     stats.opackets, stats.imissed + stats.rx_nombuf,
                     atomic_load(&run->ports[p].dropped), stats.ierrors + stats.oerrors,
                     line_end());
        lines++;
        for (unsigned q = 0; q < run->queues && q < RTE_ETHDEV_QUEUE_STAT_CNTRS && !last; q++) {
            struct counts now = counts_of(&stats, q);

            text_queue(p, q, &now, span);
            before[p][q] = now;
            lines++;
        }
    }
    lines_up = lines;
    before_s = seconds;
    (void)fflush(stdout);
}

static struct json_object *json_port(struct run *run, unsigned p)
{
    struct json_object *object = json_object_new_object(), *queues = json_object_new_array();
    struct rte_eth_stats stats = {0};

    (void)rte_eth_stats_get(run->ports[p].id, &stats);
    (void)json_object_object_add(object, "port", json_object_new_string(run->ports[p].text));
    (void)json_object_object_add(object, "link", json_object_new_string(link_text(&run->ports[p])));
    (void)json_object_object_add(object, "rx_packets", number(stats.ipackets));
    (void)json_object_object_add(object, "rx_bytes", number(stats.ibytes));
    (void)json_object_object_add(object, "tx_packets", number(stats.opackets));
    (void)json_object_object_add(object, "tx_bytes", number(stats.obytes));
    (void)json_object_object_add(object, "rx_missed", number(stats.imissed));
    (void)json_object_object_add(object, "rx_nombuf", number(stats.rx_nombuf));
    (void)json_object_object_add(object, "tx_dropped", number(atomic_load(&run->ports[p].dropped)));
    (void)json_object_object_add(object, "rx_errors", number(stats.ierrors));
    (void)json_object_object_add(object, "tx_errors", number(stats.oerrors));
    for (unsigned q = 0; q < run->queues && q < RTE_ETHDEV_QUEUE_STAT_CNTRS; q++) {
        struct counts now = counts_of(&stats, q);
        struct json_object *row = json_object_new_object();

        (void)json_object_object_add(row, "rx_packets", number(now.rx_packets));
        (void)json_object_object_add(row, "rx_bytes", number(now.rx_bytes));
        (void)json_object_object_add(row, "tx_packets", number(now.tx_packets));
        (void)json_object_object_add(row, "tx_bytes", number(now.tx_bytes));
        (void)json_object_array_add(queues, row);
    }
    (void)json_object_object_add(object, "queues", queues);
    return object;
}

static void json_status(struct run *run, double seconds, bool last)
{
    struct json_object *object = json_object_new_object(), *ports = json_object_new_array();

    (void)json_object_object_add(object, "event", json_object_new_string(last ? "end" : "status"));
    (void)json_object_object_add(object, "seconds", json_object_new_double(seconds));
    for (unsigned p = 0; p < run->port_count; p++)
        (void)json_object_array_add(ports, json_port(run, p));
    (void)json_object_object_add(object, "ports", ports);
    if (run->capture) {
        uint64_t written, missed;

        capture_counts(run->capture, &written, &missed);
        (void)json_object_object_add(object, "captured", number(written));
        (void)json_object_object_add(object, "capture_missed", number(missed));
    }
    print(object);
}

void report_status(struct run *run, double seconds, bool last)
{
    uint64_t written, missed;

    if (run->options.json) {
        json_status(run, seconds, last);
        return;
    }
    text_status(run, seconds, last);
    if (last && run->capture) {
        capture_counts(run->capture, &written, &missed);
        (void)printf("captured %" PRIu64 " frames into %s, no room for %" PRIu64 "\n", written,
                     run->options.capture, missed);
    }
}
