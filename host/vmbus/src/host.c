/* SPDX-License-Identifier: BSD-3-Clause */
/* The host: its descriptor, its poll, work from other threads. */
#include "host_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hv/base/clock.h>

#define SOURCES_PER_POLL 64
#define MAX_GUESTS       16u

/** End of the list of work: "next" of something queued is never NULL, so nothing is queued twice. */
static struct hv_host_work work_end;

/* ---- Sources ---- */

int hv_host_watch(struct hv_host *host, int fd, uint32_t events, struct hv_host_source *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    return epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

void hv_host_rewatch(struct hv_host *host, int fd, uint32_t events, struct hv_host_source *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    (void)epoll_ctl(host->epoll_fd, EPOLL_CTL_MOD, fd, &event); /* it is in the set */
}

void hv_host_unwatch(struct hv_host *host, int fd)
{
    (void)epoll_ctl(host->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* not there is as good */
}

/* ---- Kicks and work ---- */

void hv_host_kick(struct hv_host *host)
{
    const uint64_t one = 1;

    (void)!write(host->kick_fd, &one, sizeof(one)); /* ours alone: cannot be full */
}

void hv_host_post(struct hv_host *host, struct hv_host_work *work)
{
    pthread_mutex_lock(&host->work_lock);
    if (!work->next) {
        work->next = &work_end;
        *host->work_last = work;
        host->work_last = &work->next;
    }
    pthread_mutex_unlock(&host->work_lock);
    hv_host_kick(host);
}

void hv_host_run_work(struct hv_host *host)
{
    struct hv_host_work *work, *next;
    uint64_t count;

    (void)!read(host->kick_fd, &count, sizeof(count)); /* before the list: a later kick counts */
    pthread_mutex_lock(&host->work_lock);
    work = host->work_first; /* what is queued from here on has its turn in the next poll */
    host->work_first = &work_end;
    host->work_last = &host->work_first;
    pthread_mutex_unlock(&host->work_lock);
    for (; work != &work_end; work = next) {
        pthread_mutex_lock(&host->work_lock); /* another thread may be posting the same */
        next = work->next;
        work->next = NULL; /* run() may queue it again, or free it */
        pthread_mutex_unlock(&host->work_lock);
        work->run(work);
    }
}

static void kicked(struct hv_host_source *source, uint32_t events)
{
    (void)source;
    (void)events; /* the descriptor only wakes; what it is for is looked at in every poll */
}

/* ---- Create and destroy ---- */

static int check_opts(const struct hv_host_opts *opts)
{
    if (!opts || opts->size != sizeof(*opts))
        return -EINVAL;
    if (opts->max_version && (opts->max_version < HV_VERSION_2_4))
        return -EINVAL;
    return 0;
}

int hv_host_create(const struct hv_host_opts *opts, struct hv_host **ret_host)
{
    struct hv_host *host;
    int err = check_opts(opts);

    if (err)
        return err;
    host = calloc(1, sizeof(*host));
    if (!host)
        return -ENOMEM;
    host->opts = *opts;
    if (!opts->max_version)
        host->opts.max_version = HV_VERSION_5_3;
    if (!opts->max_guests)
        host->opts.max_guests = MAX_GUESTS;
    if (!opts->workers_per_guest)
        host->opts.workers_per_guest = 1;
    TAILQ_INIT(&host->guests);
    TAILQ_INIT(&host->devices);
    pthread_mutex_init(&host->work_lock, NULL);
    host->work_first = &work_end;
    host->work_last = &host->work_first;
    host->kick.ready = kicked;
    host->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    host->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (host->epoll_fd < 0 || host->kick_fd < 0)
        err = -errno;
    if (!err)
        err = hv_host_watch(host, host->kick_fd, EPOLLIN, &host->kick);
    if (!err)
        err = hv_host_sock_init(host);
    if (err) {
        hv_host_destroy(host);
        return err;
    }
    *ret_host = host;
    return 0;
}

void hv_host_destroy(struct hv_host *host)
{
    struct hv_host_guest *guest, *next;
    struct hv_host_device *device;

    if (!host)
        return;
    hv_host_sock_stop_listening(host);
    for (guest = TAILQ_FIRST(&host->guests); guest; guest = next) {
        next = TAILQ_NEXT(guest, entry);
        hv_host_guest_finish(guest);
    }
    do { /* either may lead to the other */
        hv_host_run_work(host);
        hv_host_offers_reap_devices(host);
    } while (host->work_first != &work_end);
    while ((device = TAILQ_FIRST(&host->devices))) { /* never withdrawn: nobody asks to be told */
        TAILQ_REMOVE(&host->devices, device, entry);
        free(device);
    }
    hv_host_sock_fini(host);
    if (host->kick_fd >= 0)
        (void)close(host->kick_fd);
    if (host->epoll_fd >= 0)
        (void)close(host->epoll_fd);
    pthread_mutex_destroy(&host->work_lock);
    free(host);
}

/* ---- Poll ---- */

int hv_host_fd(const struct hv_host *host)
{
    return host->epoll_fd;
}

int hv_host_poll(struct hv_host *host)
{
    struct epoll_event events[SOURCES_PER_POLL];
    struct hv_host_guest *guest, *next;
    int n = epoll_wait(host->epoll_fd, events, SOURCES_PER_POLL, 0);

    if (n < 0 && errno != EINTR)
        return -errno;
    for (int i = 0; i < n; i++) {
        struct hv_host_source *source = events[i].data.ptr;
        source->ready(source, events[i].events);
    }
    hv_host_run_work(host);
    /* only here is anything freed that an event above could have named */
    for (guest = TAILQ_FIRST(&host->guests); guest; guest = next) {
        next = TAILQ_NEXT(guest, entry);
        hv_host_guest_settle(guest);
    }
    hv_host_sock_settle(host);
    hv_host_offers_reap_devices(host);
    return 0;
}

int hv_host_next_deadline_ms(const struct hv_host *host)
{
    const struct hv_host_guest *guest;
    uint64_t deadline = hv_host_sock_deadline_ns(host);
    uint64_t now;

    TAILQ_FOREACH(guest, &host->guests, entry)
    {
        uint64_t other = hv_host_guest_deadline_ns(guest);
        deadline = other < deadline ? other : deadline;
    }
    if (deadline == UINT64_MAX)
        return -1;
    now = hv_clock_ns();
    return deadline <= now ? 0 : (int)((deadline - now + 999999) / 1000000);
}
