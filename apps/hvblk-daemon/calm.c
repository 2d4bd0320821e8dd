/* SPDX-License-Identifier: BSD-3-Clause */
#include "calm.h"

#define WINDOW_NS    UINT64_C(20000000)
#define SLEEPS_MIN   50u  /* in a window; below that nobody is in a hurry */
#define PAUSE_MAX    128u /* windows: 2.5 seconds */
#define PAUSE_NEWS   16u  /* windows: after a trial in vain, when the load looks different now */
#define POOR_MAX     3u   /* windows in a row: one may be somebody else's doing */
#define REFRESH      250u /* windows: what normal would do is measured anew */
#define SECOND_NS    UINT64_C(1000000000)
#define GAIN_PERCENT 115u /* to begin */
#define KEEP_PERCENT 108u /* to go on */
#define BUNCH_MIN_10                                                                               \
    13u /* requests for each sleep, in tenths: one by one there is nothing to gather ... */
#define BUNCH_MAX_10 80u /* ... and these are gathered already */

void calm_init(struct calm *calm, bool off, uint64_t now_ns)
{
    *calm = (struct calm){
        .state = off ? CALM_OFF : CALM_NORMAL, .start_ns = now_ns, .pause = 1, .skip = 1};
}

static void enter(struct calm *calm, enum calm_state state)
{
    calm->state = state;
    calm->windows = 0;
    calm->poor = 0;
}

/** Further apart than a quarter. */
static bool differ(uint64_t a, uint64_t b)
{
    return 4 * a > 5 * b || 4 * b > 5 * a;
}

/** Back to normal; the next trial after `pause` windows. */
static void give_up(struct calm *calm, uint32_t pause)
{
    enter(calm, CALM_NORMAL);
    calm->pause = pause < PAUSE_MAX ? pause : PAUSE_MAX;
    calm->skip = calm->pause;
    calm->failed_rate = calm->normal_rate;
    calm->failed_bunch = calm->normal_bunch;
}

static void end_normal(struct calm *calm, uint64_t rate, uint64_t requests, uint64_t sleeps)
{
    uint64_t bunch = sleeps ? 10 * requests / sleeps : 0;

    calm->normal_rate = rate;
    calm->normal_bunch = bunch;
    if (calm->windows >= PAUSE_NEWS &&
        (differ(rate, calm->failed_rate) || differ(bunch, calm->failed_bunch))) {
        calm->skip = 0;
        calm->pause = 1;
    }
    if (calm->skip) {
        calm->skip--;
        return;
    }
    if (sleeps >= SLEEPS_MIN && bunch >= BUNCH_MIN_10 && bunch <= BUNCH_MAX_10)
        enter(calm, CALM_TRIAL);
}

static void end_window(struct calm *calm, uint64_t rate, uint64_t requests, uint64_t sleeps)
{
    calm->windows++;
    switch (calm->state) {
    case CALM_OFF:
        break;
    case CALM_NORMAL:
        end_normal(calm, rate, requests, sleeps);
        break;
    case CALM_TRIAL:
        if (100 * rate >= GAIN_PERCENT * calm->normal_rate)
            enter(calm, CALM_BATCH);
        else
            give_up(calm, 2 * calm->pause);
        break;
    case CALM_BATCH:
        calm->poor = 100 * rate < KEEP_PERCENT * calm->normal_rate ? calm->poor + 1 : 0;
        if (calm->poor == POOR_MAX || calm->windows >= REFRESH)
            give_up(calm, 1);
        break;
    }
}

bool calm_sleep(struct calm *calm, uint64_t now_ns, uint64_t requests, uint64_t sleeps)
{
    bool before = calm_is_batch(calm);
    uint64_t ns = now_ns - calm->start_ns, done;

    if (calm->state == CALM_OFF || ns < WINDOW_NS)
        return false;
    done = requests - calm->requests;
    end_window(calm, done * SECOND_NS / ns, done, sleeps - calm->sleeps);
    calm->start_ns = now_ns;
    calm->requests = requests;
    calm->sleeps = sleeps;
    return calm_is_batch(calm) != before;
}
