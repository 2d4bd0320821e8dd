/* SPDX-License-Identifier: BSD-3-Clause */
#include "stats.h"

static const char *const command_names[NBD_CMD_COUNT] = {
    [NBD_CMD_READ] = "read",
    [NBD_CMD_WRITE] = "write",
    [NBD_CMD_DISC] = "disc",
    [NBD_CMD_FLUSH] = "flush",
    [NBD_CMD_TRIM] = "trim",
    [NBD_CMD_CACHE] = "cache",
    [NBD_CMD_WRITE_ZEROES] = "write_zeroes",
    [NBD_CMD_BLOCK_STATUS] = "block_status",
};

const char *stats_command_name(unsigned command)
{
    return command < NBD_CMD_COUNT ? command_names[command] : "unknown";
}

void stats_latency(struct stats *stats, uint64_t ns)
{
    uint64_t us = ns / 1000;
    unsigned bucket = us ? 64u - (unsigned)__builtin_clzll(us) : 0;

    stats_add(&stats->latency_us_sum, us);
    stats_add(&stats->latency[bucket < STATS_LATENCY_BUCKETS ? bucket : STATS_LATENCY_BUCKETS - 1],
              1);
}

void stats_gather(const struct stats *stats, struct stats_sum *sum)
{
    for (unsigned i = 0; i < NBD_CMD_COUNT; i++) {
        sum->ops[i] += stats_get(&stats->ops[i]);
        sum->errors[i] += stats_get(&stats->errors[i]);
    }
    for (unsigned i = 0; i < STATS_LATENCY_BUCKETS; i++)
        sum->latency[i] += stats_get(&stats->latency[i]);
    sum->latency_us_sum += stats_get(&stats->latency_us_sum);
    sum->read_bytes += stats_get(&stats->read_bytes);
    sum->written_bytes += stats_get(&stats->written_bytes);
    sum->in_flight += stats_get(&stats->in_flight);
    sum->connections += stats_get(&stats->connections);
    sum->connections_total += stats_get(&stats->connections_total);
    sum->connections_refused += stats_get(&stats->connections_refused);
    sum->turns += stats_get(&stats->turns);
    sum->sleeps += stats_get(&stats->sleeps);
    sum->receives += stats_get(&stats->receives);
    sum->sends += stats_get(&stats->sends);
    sum->waits += stats_get(&stats->waits);
    sum->stalls += stats_get(&stats->stalls);
    sum->buffer_bytes += stats_get(&stats->buffer_bytes);
}

uint64_t stats_quantile_us(const struct stats_sum *sum, double share)
{
    uint64_t all = 0, seen = 0;

    for (unsigned i = 0; i < STATS_LATENCY_BUCKETS; i++)
        all += sum->latency[i];
    for (unsigned i = 0; i < STATS_LATENCY_BUCKETS; i++) {
        seen += sum->latency[i];
        if (seen && (double)seen >= share * (double)all)
            return UINT64_C(1) << i;
    }
    return 0;
}

uint64_t stats_total_ops(const struct stats_sum *sum)
{
    uint64_t all = 0;

    for (unsigned i = 0; i < NBD_CMD_COUNT; i++)
        all += sum->ops[i];
    return all;
}
