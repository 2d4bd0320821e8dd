/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a reactor that is woken may interrupt who woke it.
 *
 * Where client and reactor share a CPU, the kernel lets the reactor preempt its client at the first of many requests:
 * two context switches for every one or two requests.  As a batch task (sched(7)) the reactor waits until the client has
 * sent all it has; with 32 in flight that doubles the throughput.  But where a busy stranger shares the CPU, a batch task
 * waits for the stranger's whole time slice.  Nobody tells which is the case, so it is tried: while requests come in small
 * bunches, one short window as a batch task; that is kept only as long as clearly more gets done.  Trials that do not
 * help become ever rarer.
 */
#ifndef HVBLK_CALM_H
#define HVBLK_CALM_H

#include <stdbool.h>
#include <stdint.h>

enum calm_state {
    CALM_OFF,    /* policy other, and never anything else */
    CALM_NORMAL, /* policy other; measuring */
    CALM_TRIAL,  /* policy batch, to see what it does */
    CALM_BATCH,  /* policy batch, since it helps */
};

struct calm {
    enum calm_state state;
    uint64_t start_ns, requests, sleeps; /* at the start of this window */
    uint64_t normal_rate,
        normal_bunch; /* requests a second, and tenths for each sleep, without batch */
    uint64_t failed_rate, failed_bunch; /* the same when a trial did not help */
    uint32_t windows;                   /* in this state */
    uint32_t poor;                      /* windows in a row that batch did not help */
    uint32_t pause;                     /* windows between trials */
    uint32_t skip;                      /* windows until the next trial */
};

void calm_init(struct calm *calm, bool off, uint64_t now_ns);
/**
 * Before a sleep: @requests and @sleeps are running totals.
 * Returns true when the state changed between normal and batch: the caller sets calm_is_batch()'s policy.
 */
bool calm_sleep(struct calm *calm, uint64_t now_ns, uint64_t requests, uint64_t sleeps);
static inline bool calm_is_batch(const struct calm *calm)
{
    return calm->state == CALM_TRIAL || calm->state == CALM_BATCH;
}

#endif
