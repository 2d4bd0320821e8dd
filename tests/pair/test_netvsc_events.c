/* SPDX-License-Identifier: BSD-3-Clause */
/* The network driver when things happen: link, VF, a NIC that is taken away, a host that dies, faults of the provider. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <suite.h>

#include <hv/wire/ndis.h>

#include "netvsc_client.h"

static void begin_with(struct net_client *c, uint16_t queues, const char *fault)
{
    struct hv_netvsp_opts po;
    struct hv_netvsc_opts no;
    struct machine_opts mo;

    net_defaults(&mo, &po, &no, queues);
    po.fault = fault;
    no.timeout_ms = fault ? 300 : 0;
    net_start(c, &mo, &po, &no);
}

static void begin(struct net_client *c, uint16_t queues)
{
    begin_with(c, queues, NULL);
    CU_ASSERT_EQUAL(c->error, 0);
}

/* ---- Link and VF ---- */

static void test_link(void)
{
    struct hv_netvsc_info info;
    struct net_client c;

    begin(&c, 1);
    machine_nic_set_link(c.nic, false); /* stopped */
    CU_ASSERT(net_wait_event(&c, HV_NETVSC_LINK_DOWN, 1));
    hv_netvsc_get_info(c.netvsc, &info);
    CU_ASSERT(!info.link_up);
    net_run(&c, 1);
    machine_nic_set_link(
        c.nic, true); /* running: whoever polls queue 0 finds it, the control side tells it */
    CU_ASSERT(net_wait_event(&c, HV_NETVSC_LINK_UP, 1));
    net_exchange(&c, 10, 100);
    CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
    hv_netvsc_get_info(c.netvsc, &info);
    CU_ASSERT(info.link_up && info.link_bits_per_second == 40000000000u);
    net_stop(&c);
}

static void test_vf(void)
{
    struct hv_netvsp_state state;
    struct hv_netvsc_info info;
    struct net_client c;

    begin(&c, 1);
    machine_nic_set_vf(c.nic, true, 77);
    CU_ASSERT(net_wait_event(&c, HV_NETVSC_VF_ADDED, 1));
    hv_netvsc_get_info(c.netvsc, &info);
    CU_ASSERT(info.vf_present && info.vf_serial == 77);
    CU_ASSERT_EQUAL(hv_netvsc_keepalive(c.netvsc), 0); /* behind the message of the data path */
    machine_nic_get_state(c.nic, &state);
    CU_ASSERT(state.vf_present && !state.vf_active);
    net_run(&c, 1);
    net_exchange(&c, 10, 100);
    machine_nic_set_vf(c.nic, false, 0);
    CU_ASSERT(net_wait_event(&c, HV_NETVSC_VF_REMOVED, 1));
    net_stop(&c);
}

/** Nobody who watches the wait descriptor is kept busy for nothing: it becomes quiet after a few looks. */
static bool becomes_quiet(const struct net_client *c)
{
    struct pollfd pfd = {.fd = hv_netvsc_fd(c->netvsc), .events = POLLIN};
    unsigned looks = 0;

    while (looks < 10 && poll(&pfd, 1, 30) == 1) {
        (void)hv_netvsc_poll_control(c->netvsc);
        looks++;
    }
    return looks < 10;
}

static void test_wait_descriptor(void)
{
    struct pollfd pfd = {.events = POLLIN};
    struct net_client c;
    int fd;

    begin(&c, 2);
    fd = pfd.fd = hv_netvsc_fd(c.netvsc);
    CU_ASSERT(becomes_quiet(&c)); /* stopped */
    machine_nic_set_link(c.nic, false);
    CU_ASSERT_EQUAL(poll(&pfd, 1, 10000), 1); /* and wakes */
    CU_ASSERT(net_wait_event(&c, HV_NETVSC_LINK_DOWN, 1));
    CU_ASSERT(becomes_quiet(&c));
    machine_nic_set_link(c.nic, true);
    CU_ASSERT(net_wait_event(&c, HV_NETVSC_LINK_UP, 1));
    net_run(&c, 2);
    net_exchange(&c, 20, 100);
    CU_ASSERT(becomes_quiet(&c)); /* running, and nobody polls */
    CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(c.netvsc, 4000), 0);
    CU_ASSERT(becomes_quiet(&c)); /* on another channel */
    CU_ASSERT_EQUAL(hv_netvsc_fd(c.netvsc), fd);
    machine_nic_set_link(c.nic, false);
    CU_ASSERT_EQUAL(poll(&pfd, 1, 10000), 1);
    machine_nic_withdraw(c.nic);
    CU_ASSERT(net_wait_event(&c, HV_NETVSC_DEAD, 1));
    CU_ASSERT(becomes_quiet(&c)); /* dead */
    net_stop(&c);
}

/* ---- A thread that polls queue 0 while the control thread asks ---- */

struct poller {
    struct hv_netvsc_queue *queue;
    _Atomic bool stop;
    bool sleeps; /* between polls, on the channel */
    uint64_t frames;
};

static void *poll_queue(void *arg)
{
    struct poller *p = arg;
    struct hv_netvsc_frame frames[16];

    while (!atomic_load(&p->stop)) {
        uint16_t count = hv_netvsc_rx_burst(p->queue, frames, 16);

        p->frames += count;
        hv_netvsc_rx_done(p->queue);
        if (p->sleeps && !count) {
            (void)hv_netvsc_rx_arm(p->queue);
            hv_netvsc_rx_disarm(p->queue);
        }
    }
    return NULL;
}

static void test_settings_while_polled(void)
{
    for (unsigned round = 0; round < 2; round++) {
        struct poller p = {.sleeps = round};
        uint16_t table[HV_NETVSC_RSS_TABLE] = {0};
        struct net_client c;
        pthread_t thread;

        begin(&c, 2);
        net_run(&c, 2);
        p.queue = hv_netvsc_get_queue(c.netvsc, 0);
        if (pthread_create(&thread, NULL, poll_queue, &p))
            abort();
        for (unsigned i = 0; i < 25; i++) {
            CU_ASSERT_EQUAL(hv_netvsc_keepalive(c.netvsc), 0);
            CU_ASSERT_EQUAL(hv_netvsc_set_filter(c.netvsc, 1 + i % 8), 0);
            CU_ASSERT_EQUAL(hv_netvsc_set_offloads(c.netvsc, i & 1 ? HV_NETVSC_TX_TCP4 : 0), 0);
            table[i] = 1;
            CU_ASSERT_EQUAL(hv_netvsc_set_rss(c.netvsc, HV_NDIS_HASH_TCP4, table, NULL), 0);
            machine_nic_set_link(c.nic, i & 1);
            CU_ASSERT_EQUAL(hv_netvsc_poll_control(c.netvsc), 0);
        }
        atomic_store(&p.stop, true);
        (void)pthread_join(thread, NULL);
        CU_ASSERT_EQUAL(hv_netvsc_stop(c.netvsc), 0);
        net_stop(&c);
    }
}

/* ---- The end ---- */

static void check_dead(struct net_client *c)
{
    struct hv_netvsc_frame frame;
    uint16_t queues;

    CU_ASSERT_EQUAL(hv_netvsc_status(c->netvsc), -ENODEV);
    CU_ASSERT_EQUAL(c->events[HV_NETVSC_DEAD], 1);
    CU_ASSERT_EQUAL(hv_netvsc_rx_burst(hv_netvsc_get_queue(c->netvsc, 0), &frame, 1), 0);
    CU_ASSERT_EQUAL(hv_netvsc_keepalive(c->netvsc), -ENODEV);
    CU_ASSERT_EQUAL(hv_netvsc_stop(c->netvsc), -ENODEV);
    CU_ASSERT_EQUAL(hv_netvsc_start(c->netvsc, 1, &queues), -ENODEV);
    CU_ASSERT_EQUAL(hv_netvsc_set_mtu(c->netvsc, 4000), -ENODEV);
}

static void test_rescind(void)
{
    for (unsigned running = 0; running < 2; running++) {
        struct net_client c;

        begin(&c, 2);
        if (running) {
            net_run(&c, 2);
            net_exchange(&c, 20, 100);
        }
        machine_nic_withdraw(c.nic);
        CU_ASSERT(net_wait_event(&c, HV_NETVSC_DEAD, 1));
        check_dead(&c);
        net_stop(&c);
    }
}

static void test_host_dies(void)
{
    for (unsigned running = 0; running < 2; running++) {
        struct net_client c;

        begin(&c, 2);
        if (running) {
            net_run(&c, 2);
            net_exchange(&c, 20, 100);
        }
        machine_cut(c.machine);
        CU_ASSERT(net_wait_event(&c, HV_NETVSC_DEAD, 1));
        check_dead(&c);
        net_stop(&c);
    }
}

/** It is taken away while another thread polls. */
static void test_rescind_while_polled(void)
{
    for (unsigned round = 0; round < 5; round++) {
        struct poller p = {.sleeps = round & 1};
        struct net_client c;
        pthread_t thread;

        begin(&c, 1);
        net_run(&c, 1);
        p.queue = hv_netvsc_get_queue(c.netvsc, 0);
        if (pthread_create(&thread, NULL, poll_queue, &p))
            abort();
        machine_nic_withdraw(c.nic);
        CU_ASSERT(net_wait_event(&c, HV_NETVSC_DEAD, 1));
        atomic_store(&p.stop, true);
        (void)pthread_join(thread, NULL);
        check_dead(&c);
        net_stop(&c);
    }
}

/* ---- Faults of the provider: requests that it refuses or ignores ---- */

static void test_requests_refused(void)
{
    char plan[32];

    /* 1 INIT .. : each step of opening, and the first few of starting */
    for (unsigned i = 1; i <= 16; i++) {
        struct net_client c;
        uint16_t queues = 0;

        (void)snprintf(plan, sizeof(plan), "refuse@%u", i);
        begin_with(&c, 2, plan);
        if (c.error) {
            if (c.error != -EIO && c.error != -EPROTO)
                fprintf(stderr, "%s: %d\n", plan, c.error);
            HV_CHECK_ROW(plan, c.error == -EIO || c.error == -EPROTO);
        } else {
            int err = hv_netvsc_start(c.netvsc, 2, &queues);

            HV_CHECK_ROW(plan, !err || err == -EIO || err == -EOPNOTSUPP);
            if (!err)
                net_exchange(&c, 5, 100);
        }
        net_stop(&c);
    }
}

static void test_requests_ignored(void)
{
    char plan[32];

    for (unsigned i = 1; i <= 16; i += 3) {
        struct net_client c;
        uint16_t queues = 0;

        (void)snprintf(plan, sizeof(plan), "ignore@%u", i);
        begin_with(&c, 2, plan);
        if (c.error)
            HV_CHECK_ROW(plan, c.error == -ETIMEDOUT);
        else
            HV_CHECK_ROW(plan, hv_netvsc_start(c.netvsc, 2, &queues) == -ETIMEDOUT || i > 15);
        net_stop(&c);
    }
}

static const struct hv_test_case cases[] = {
    {"link", test_link},
    {"VF", test_vf},
    {"wait descriptor", test_wait_descriptor},
    {"settings while polled", test_settings_while_polled},
    {"rescind", test_rescind},
    {"host dies", test_host_dies},
    {"rescind while polled", test_rescind_while_polled},
    {"requests refused", test_requests_refused},
    {"requests ignored", test_requests_ignored},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.events", cases, HV_TEST_COUNT(cases), argc, argv);
}
