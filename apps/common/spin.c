/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/spin.h"

#include <time.h>

#define MISSES_MAX  4u
#define BACKOFF_MAX 1024u
#define GAP_MAX     4000u /* several looks */
#define WINDOW_MIN  2000u /* below that a single look decides */

void hv_spin_init(struct hv_spin *spin, bool always, uint64_t max_ns)
{
    *spin = (struct hv_spin){.always = always, .backoff = 1, .window_ns = max_ns, .max_ns = max_ns};
}

static void missed(struct hv_spin *spin)
{
    spin->spinning = false;
    if (spin->window_ns && ++spin->misses < MISSES_MAX)
        return;
    /* Closed, or the trial failed: try again, but ever more rarely. */
    spin->window_ns = 0;
    spin->misses = 0;
    spin->skip = spin->backoff;
    if (spin->backoff < BACKOFF_MAX)
        spin->backoff *= 2;
}

bool hv_spin_again_at(struct hv_spin *spin, uint64_t now_ns)
{
    uint64_t window = spin->window_ns;

    spin->look_ns = now_ns;
    if (spin->always)
        return true;
    if (spin->spinning) {
        if (now_ns < spin->until_ns)
            return true;
        missed(spin);
        return false;
    }
    if (!window) {
        if (spin->skip) {
            spin->skip--;
            return false;
        }
        window = spin->max_ns;
    }
    spin->spinning = true;
    spin->start_ns = now_ns;
    spin->until_ns = now_ns + window;
    return window != 0;
}

void hv_spin_found_at(struct hv_spin *spin, uint64_t now_ns)
{
    uint64_t want;

    if (!spin->spinning)
        return;
    spin->spinning = false;
    spin->misses = 0;
    spin->backoff = 1;
    want = 2 * (now_ns - spin->start_ns);
    /* Follow slowly downwards: one quick answer must not close the window on the next normal one. */
    if (want < spin->window_ns)
        want = spin->window_ns - (spin->window_ns - want) / 8;
    if (want < WINDOW_MIN)
        want = WINDOW_MIN;
    spin->window_ns = want < spin->max_ns ? want : spin->max_ns;
}

void hv_spin_found_promptly_at(struct hv_spin *spin, uint64_t now_ns)
{
    if (spin->spinning && now_ns - spin->look_ns > GAP_MAX)
        missed(spin);
    else
        hv_spin_found_at(spin, now_ns);
}

uint64_t hv_spin_clock_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool hv_spin_again(struct hv_spin *spin)
{
    if (spin->always)
        return true;
    if (!spin->spinning && !spin->window_ns && spin->skip) {
        spin->skip--;
        return false;
    }
    return hv_spin_again_at(spin, hv_spin_clock_ns());
}
