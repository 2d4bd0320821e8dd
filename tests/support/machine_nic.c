/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine_nic.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct machine_nic {
    struct machine *machine;
    struct hv_netvsp *netvsp; /* NULL once withdrawn */
    struct hv_netvsp_opts opts;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool gone;
};

struct job {
    struct machine_nic *nic;
    bool yes;
    uint32_t serial;
    struct hv_netvsp_state *state;
    struct hv_netvsp_stats *stats;
};

static void do_add(void *arg)
{
    struct machine_nic *nic = arg;
    char why[HV_NETVSP_WHY_BYTES] = "";

    if (hv_netvsp_create(machine_host(nic->machine), &nic->opts, why, &nic->netvsp)) {
        fprintf(stderr, "machine: NIC: %s\n", why);
        abort();
    }
}

struct machine_nic *machine_nic_add(struct machine *machine, const struct hv_netvsp_opts *opts)
{
    struct machine_nic *nic = calloc(1, sizeof(*nic));

    if (!nic)
        abort();
    nic->machine = machine;
    nic->opts = *opts;
    nic->opts.log = machine_log(machine);
    pthread_mutex_init(&nic->lock, NULL);
    pthread_cond_init(&nic->changed, NULL);
    machine_run(machine, do_add, nic);
    return nic;
}

static void is_gone(void *arg)
{
    struct machine_nic *nic = arg;

    pthread_mutex_lock(&nic->lock);
    nic->gone = true;
    pthread_cond_signal(&nic->changed);
    pthread_mutex_unlock(&nic->lock);
}

static void do_withdraw(void *arg)
{
    struct machine_nic *nic = arg;

    hv_netvsp_destroy(nic->netvsp, is_gone, nic);
    nic->netvsp = NULL;
}

void machine_nic_withdraw(struct machine_nic *nic)
{
    machine_run(nic->machine, do_withdraw, nic);
}

void machine_nic_remove(struct machine_nic *nic)
{
    if (!nic)
        return;
    if (nic->netvsp)
        machine_nic_withdraw(nic);
    pthread_mutex_lock(&nic->lock);
    while (!nic->gone)
        pthread_cond_wait(&nic->changed, &nic->lock);
    pthread_mutex_unlock(&nic->lock);
    pthread_mutex_destroy(&nic->lock);
    pthread_cond_destroy(&nic->changed);
    free(nic);
}

static void do_set_link(void *arg)
{
    const struct job *job = arg;

    hv_netvsp_set_link(job->nic->netvsp, job->yes);
}

void machine_nic_set_link(struct machine_nic *nic, bool up)
{
    struct job job = {.nic = nic, .yes = up};

    machine_run(nic->machine, do_set_link, &job);
}

static void do_set_vf(void *arg)
{
    const struct job *job = arg;

    hv_netvsp_set_vf(job->nic->netvsp, job->yes, job->serial);
}

void machine_nic_set_vf(struct machine_nic *nic, bool present, uint32_t serial)
{
    struct job job = {.nic = nic, .yes = present, .serial = serial};

    machine_run(nic->machine, do_set_vf, &job);
}

static void do_get(void *arg)
{
    const struct job *job = arg;

    if (job->state)
        hv_netvsp_get_state(job->nic->netvsp, job->state);
    if (job->stats)
        hv_netvsp_get_stats(job->nic->netvsp, job->stats);
}

void machine_nic_get_state(struct machine_nic *nic, struct hv_netvsp_state *ret_state)
{
    struct job job = {.nic = nic, .state = ret_state};

    machine_run(nic->machine, do_get, &job);
}

void machine_nic_get_stats(struct machine_nic *nic, struct hv_netvsp_stats *ret_stats)
{
    struct job job = {.nic = nic, .stats = ret_stats};

    machine_run(nic->machine, do_get, &job);
}
