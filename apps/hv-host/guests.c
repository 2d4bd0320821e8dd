/* SPDX-License-Identifier: BSD-3-Clause */
#include "guests.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <json-c/json.h>

#include "common/spin.h"
#include "report.h"

struct worker {
    struct hv_host_worker *worker;
    pthread_t thread;
    _Atomic bool stop;
    int stop_fd;
    bool poll;
    _Atomic uint64_t sleeps;
};

struct guest {
    struct guest *next;
    struct hv_host_guest *guest;
    uint16_t worker_count; /* threads that run */
    struct worker workers[];
};

struct guests {
    struct hv_cpus cpus;
    bool poll;
    unsigned turn; /* next CPU of the list */
    unsigned count;
    struct guest *first;
};

static void sleep_until_work(struct worker *w)
{
    struct pollfd fds[2] = {{.fd = hv_host_worker_fd(w->worker), .events = POLLIN},
                            {.fd = w->stop_fd, .events = POLLIN}};

    if (hv_host_worker_arm(w->worker))
        return;
    atomic_fetch_add_explicit(&w->sleeps, 1, memory_order_relaxed);
    (void)poll(fds, 2, -1); /* interrupted is as good as woken */
    hv_host_worker_disarm(w->worker);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct hv_spin spin;

    hv_spin_init(&spin, w->poll, HV_SPIN_MAX_NS);
    while (!atomic_load_explicit(&w->stop, memory_order_acquire)) {
        if (hv_host_worker_poll(w->worker) > 0)
            hv_spin_found(&spin);
        else if (!hv_spin_again(&spin))
            sleep_until_work(w);
        else
            hv_spin_pause();
    }
    return NULL;
}

static int start_worker(struct guests *guests, struct worker *w, struct hv_host_worker *worker)
{
    sigset_t all, before;
    int err;

    w->worker = worker;
    w->poll = guests->poll;
    w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->stop_fd < 0)
        return -errno;
    (void)sigfillset(&all); /* signals are the control thread's */
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    err = -pthread_create(&w->thread, NULL, worker_main, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err) {
        (void)close(w->stop_fd);
        return err;
    }
    err = hv_cpus_pin(w->thread, &guests->cpus, guests->turn++);
    if (err)
        report(HV_LOG_WARNING, "a worker stays unpinned: %s", strerror(-err));
    return 0;
}

static void stop_workers(struct guest *g)
{
    uint64_t one = 1;

    for (uint16_t i = 0; i < g->worker_count; i++) {
        atomic_store_explicit(&g->workers[i].stop, true, memory_order_release);
        (void)!write(g->workers[i].stop_fd, &one, sizeof(one)); /* cannot be full */
    }
    for (uint16_t i = 0; i < g->worker_count; i++) {
        (void)pthread_join(g->workers[i].thread, NULL);
        (void)close(g->workers[i].stop_fd);
    }
    g->worker_count = 0;
}

void guests_added(void *arg, struct hv_host_guest *guest)
{
    struct guests *guests = arg;
    uint16_t count = hv_host_guest_worker_count(guest);
    struct guest *g = calloc(1, sizeof(*g) + count * sizeof(g->workers[0]));
    int err = g ? 0 : -ENOMEM;

    while (!err && g->worker_count < count) {
        err = start_worker(guests, &g->workers[g->worker_count],
                           hv_host_guest_worker(guest, g->worker_count));
        if (!err)
            g->worker_count++;
    }
    if (err) {
        if (g)
            stop_workers(g); /* no channel is open yet: nobody needs them to close one */
        free(g);
        hv_host_guest_drop(guest, "no threads to serve it: %s", strerror(-err));
        return;
    }
    g->guest = guest;
    g->next = guests->first;
    guests->first = g;
    guests->count++;
    report(HV_LOG_INFO, "guest %u (%s) connected", hv_host_guest_id(guest),
           hv_host_guest_name(guest));
}

void guests_removed(void *arg, struct hv_host_guest *guest)
{
    struct guests *guests = arg;

    for (struct guest **at = &guests->first; *at; at = &(*at)->next)
        if ((*at)->guest == guest) {
            struct guest *g = *at;

            *at = g->next;
            guests->count--;
            stop_workers(g); /* its channels are closed: the threads are idle and end at once */
            free(g);
            break;
        }
    report(HV_LOG_INFO, "guest %u (%s) is gone", hv_host_guest_id(guest),
           hv_host_guest_name(guest));
    hv_host_guest_put(guest);
}

struct guests *guests_create(const struct hv_cpus *cpus, bool poll)
{
    struct guests *guests = calloc(1, sizeof(*guests));

    if (!guests)
        return NULL;
    guests->cpus = *cpus;
    guests->poll = poll;
    return guests;
}

void guests_destroy(struct guests *guests)
{
    free(guests);
}

unsigned guests_count(const struct guests *guests)
{
    return guests->count;
}

struct json_object *guests_json(const struct guests *guests)
{
    struct json_object *list = json_object_new_array();

    for (const struct guest *g = guests->first; g; g = g->next) {
        struct json_object *one = json_object_new_object(), *workers = json_object_new_array();

        for (uint16_t i = 0; i < g->worker_count; i++) {
            struct json_object *w = json_object_new_object();

            json_object_object_add(w, "sleeps",
                                   json_object_new_uint64(atomic_load_explicit(
                                       &g->workers[i].sleeps, memory_order_relaxed)));
            (void)json_object_array_add(workers, w);
        }
        json_object_object_add(one, "id",
                               json_object_new_int64((int64_t)hv_host_guest_id(g->guest)));
        json_object_object_add(one, "name", json_object_new_string(hv_host_guest_name(g->guest)));
        json_object_object_add(one, "workers", workers);
        (void)json_object_array_add(list, one);
    }
    return list;
}
