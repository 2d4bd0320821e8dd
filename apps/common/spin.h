/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long to look for work before sleeping.
 *
 *   for (;;) {
 *       if (work())                       { hv_spin_found(&spin); continue; }
 *       if (hv_spin_again(&spin))         continue;          // look once more
 *       arm; if (no work) sleep; disarm;
 *   }
 *
 * A spin that ends in work saves a wake-up (tens of microseconds); one that does not costs its whole window, and it
 * costs the peer even more when the peer needs this very CPU to produce the work.  So only success counts: the window
 * follows twice the time that successful spins took; a few misses in a row close it, and then a single trial is made
 * after 1, 2, 4 ... 1024 sleeps.  On a shared CPU trials keep failing and spinning vanishes; on CPUs of their own the
 * first trial opens the window again.
 */
#ifndef HV_APP_SPIN_H
#define HV_APP_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define HV_SPIN_MAX_NS 50000u /* about two wake-ups: longer waits are cheaper asleep */

struct hv_spin {
    bool always;        /* --poll: never sleep */
    bool spinning;      /* between the first idle look and its end */
    uint8_t misses;     /* spins in a row that found nothing */
    uint32_t backoff;   /* sleeps between trials while the window is closed */
    uint32_t skip;      /* sleeps until the next trial */
    uint64_t window_ns; /* 0 = closed */
    uint64_t max_ns;
    uint64_t start_ns;
    uint64_t until_ns;
    uint64_t look_ns; /* last idle look */
};

void hv_spin_init(struct hv_spin *spin, bool always, uint64_t max_ns);

/** Nothing to do at time `now`: true = look again, false = the window is over, sleep. */
bool hv_spin_again_at(struct hv_spin *spin, uint64_t now_ns);
/** Work was found at time `now` after at least one idle look. */
void hv_spin_found_at(struct hv_spin *spin, uint64_t now_ns);
/**
 * The same for a `now` taken right when the work showed up: long after the look before it, this thread did not run in
 * between.  Then somebody else had its CPU, most likely who made the work: no success, but a sign that spinning hurts.
 */
void hv_spin_found_promptly_at(struct hv_spin *spin, uint64_t now_ns);

/** The same with the monotonic clock, read only where it matters. */
bool hv_spin_again(struct hv_spin *spin);
uint64_t hv_spin_clock_ns(void);
static inline void hv_spin_found(struct hv_spin *spin)
{
    if (spin->spinning)
        hv_spin_found_at(spin, hv_spin_clock_ns());
}

/** Between two looks: leave the core's other hardware thread some room. */
static inline void hv_spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
