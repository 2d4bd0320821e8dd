/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters of one reactor.  The reactor alone writes them, anybody may read: relaxed loads and stores, no locked
 * operation on the data path.
 */
#ifndef HVBLK_STATS_H
#define HVBLK_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "nbd_wire.h"

#define STATS_LATENCY_BUCKETS 32u /* bucket i: below 2^i microseconds */

struct stats {
    _Atomic uint64_t ops[NBD_CMD_COUNT];
    _Atomic uint64_t errors[NBD_CMD_COUNT]; /* replies with an error */
    _Atomic uint64_t read_bytes, written_bytes;
    _Atomic uint64_t latency_us_sum;
    _Atomic uint64_t latency[STATS_LATENCY_BUCKETS];
    _Atomic uint64_t in_flight; /* requests received and not yet answered */
    _Atomic uint64_t connections, connections_total, connections_refused;
    _Atomic uint64_t turns, sleeps, receives, sends;
    _Atomic uint64_t waits;  /* requests that waited for the device: queue full, or away */
    _Atomic uint64_t stalls; /* times a connection was not read for want of memory or room */
    _Atomic uint64_t buffer_bytes;
};

static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void stats_sub(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) - n,
                          memory_order_relaxed);
}

static inline void stats_set(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static inline uint64_t stats_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/** A plain copy of all reactors' counters together. */
struct stats_sum {
    uint64_t ops[NBD_CMD_COUNT], errors[NBD_CMD_COUNT];
    uint64_t read_bytes, written_bytes;
    uint64_t latency_us_sum, latency[STATS_LATENCY_BUCKETS];
    uint64_t in_flight, connections, connections_total, connections_refused;
    uint64_t turns, sleeps, receives, sends, waits, stalls, buffer_bytes;
};

/** Note that a request took `ns` from its reception to its reply. */
void stats_latency(struct stats *stats, uint64_t ns);
/** Add the counters of one reactor to a sum. */
void stats_gather(const struct stats *stats, struct stats_sum *sum);
/** Microseconds that a share of the requests (0 .. 1) did not exceed, to a factor of two. */
uint64_t stats_quantile_us(const struct stats_sum *sum, double share);
uint64_t stats_total_ops(const struct stats_sum *sum);
const char *stats_command_name(unsigned command);

#endif
