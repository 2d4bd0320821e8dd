/* SPDX-License-Identifier: BSD-3-Clause */
/* When a reactor becomes a batch task: a made-up machine where it helps, does not, or hurts. */
#include <calm.h>

#include "suite.h"

#define WINDOW_NS UINT64_C(20000000)

struct machine {
    struct calm calm;
    uint64_t now_ns, requests, sleeps;
    uint64_t normal_rate, batch_rate; /* requests a window */
    uint64_t bunch;                   /* requests for each sleep, without batch */
    unsigned batch_windows, trials;
};

static void run(struct machine *m, unsigned windows)
{
    for (unsigned i = 0; i < windows; i++) {
        bool batch = calm_is_batch(&m->calm);
        uint64_t done = batch ? m->batch_rate : m->normal_rate;

        m->batch_windows += batch;
        m->now_ns += WINDOW_NS;
        m->requests += done;
        m->sleeps += done / (batch ? 16 : m->bunch);
        if (calm_sleep(&m->calm, m->now_ns, m->requests, m->sleeps))
            m->trials += calm_is_batch(&m->calm);
    }
}

static struct machine begin(uint64_t normal_rate, uint64_t batch_rate, uint64_t bunch)
{
    struct machine m = {.normal_rate = normal_rate, .batch_rate = batch_rate, .bunch = bunch};

    calm_init(&m.calm, false, 0);
    return m;
}

static void test_helps(void)
{
    struct machine m = begin(2000, 4000, 2);

    run(&m, 10);
    CU_ASSERT(m.calm.state == CALM_BATCH && m.batch_windows >= 6);
    run(&m, 1000);
    CU_ASSERT(m.batch_windows > 960); /* measured anew now and then */
}

static void test_hurts(void)
{
    struct machine m = begin(2000, 100, 2);

    run(&m, 2000);
    CU_ASSERT(m.trials >= 8 && m.batch_windows == m.trials); /* one window each */
    CU_ASSERT(m.trials < 30);
}

static void test_no_difference(void)
{
    struct machine m = begin(2000, 2100, 2);

    run(&m, 2000);
    CU_ASSERT(m.calm.state != CALM_BATCH && m.batch_windows < 30);
}

/** A stranger comes while batch is on: given up after a few windows, not after a single poor one. */
static void test_stranger(void)
{
    struct machine m = begin(2000, 4000, 2);

    run(&m, 20);
    CU_ASSERT(m.calm.state == CALM_BATCH);
    m.batch_rate = 100;
    run(&m, 2);
    m.batch_rate = 4000;
    run(&m, 1);
    CU_ASSERT(m.calm.state == CALM_BATCH);
    m.batch_rate = 100;
    run(&m, 3);
    CU_ASSERT(m.calm.state == CALM_NORMAL);
    m.batch_windows = 0;
    run(&m, 500);
    CU_ASSERT(m.batch_windows < 25);
}

/** Trials in vain are forgotten when the load changes. */
static void test_new_load(void)
{
    struct machine m = begin(2000, 2000, 2);

    run(&m, 1000);
    m.normal_rate = 3000;
    m.batch_rate = 6000;
    run(&m, 40);
    CU_ASSERT(m.calm.state == CALM_BATCH);
}

static void test_not_tried(void)
{
    struct machine one = begin(2000, 4000, 1), deep = begin(2000, 4000, 16);
    struct machine quiet = begin(40, 80, 2), off = begin(2000, 4000, 2);

    run(&one, 500); /* one by one: the client waits for each */
    CU_ASSERT(!one.trials);
    run(&deep, 500); /* gathered already */
    CU_ASSERT(!deep.trials);
    run(&quiet, 500);
    CU_ASSERT(!quiet.trials);
    calm_init(&off.calm, true, 0);
    run(&off, 500);
    CU_ASSERT(!off.trials);
}

/** Between windows nothing is decided. */
static void test_windows(void)
{
    struct calm calm;

    calm_init(&calm, false, 1000);
    for (uint64_t i = 0; i < 1000; i++)
        CU_ASSERT(!calm_sleep(&calm, 1000 + i * 1000, i * 100, i * 50));
    CU_ASSERT(calm.start_ns == 1000);
}

static const struct hv_test_case cases[] = {
    {"helps", test_helps},       {"hurts", test_hurts},       {"no difference", test_no_difference},
    {"stranger", test_stranger}, {"new load", test_new_load}, {"not tried", test_not_tried},
    {"windows", test_windows},
};

int main(int argc, char **argv)
{
    return hv_test_main("nbd calm", cases, HV_TEST_COUNT(cases), argc, argv);
}
