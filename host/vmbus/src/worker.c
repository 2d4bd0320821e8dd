/* SPDX-License-Identifier: BSD-3-Clause */
/* Workers: hand-over to and from the control thread, serving, sleeping. */
#include "host_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <hv/base/clock.h>

#define EVENTS_PER_DRAIN 64

/* What an entry of the worker's epoll set is: in the low bits of a pointer. */
enum wake_kind {
    WAKE_KICK,
    WAKE_TIMER,
    WAKE_SIGNAL, /* a channel's signal descriptor: drained here */
    WAKE_WATCH,  /* a provider's descriptor: drained by the provider */
};
#define WAKE_KIND_MASK ((uint64_t)3)

static int watch(const struct hv_host_worker *worker, int fd, enum wake_kind kind, void *object)
{
    struct epoll_event event = {.events = EPOLLIN};

    event.data.u64 = (uint64_t)(uintptr_t)object | kind;
    return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static void unwatch(const struct hv_host_worker *worker, int fd)
{
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* not there is as good */
}

int hv_host_worker_init(struct hv_host_worker *worker, struct hv_host_guest *guest)
{
    int err;

    worker->guest = guest;
    TAILQ_INIT(&worker->served);
    TAILQ_INIT(&worker->requests);
    pthread_mutex_init(&worker->lock, NULL);
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    worker->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (worker->epoll_fd < 0 || worker->kick_fd < 0 || worker->timer_fd < 0) {
        err = -errno;
    } else {
        err = watch(worker, worker->kick_fd, WAKE_KICK, NULL);
        if (!err)
            err = watch(worker, worker->timer_fd, WAKE_TIMER, NULL);
    }
    if (err)
        hv_host_worker_fini(worker);
    return err;
}

void hv_host_worker_fini(struct hv_host_worker *worker)
{
    const int fds[] = {worker->epoll_fd, worker->kick_fd, worker->timer_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
    }
    pthread_mutex_destroy(&worker->lock);
}

/* ---- Hand-over ---- */

void hv_host_worker_request(struct hv_host_channel *channel, uint32_t request)
{
    struct hv_host_worker *worker = channel->worker;
    const uint64_t one = 1;

    channel->asked_ns = hv_clock_ns();
    pthread_mutex_lock(&worker->lock);
    if (!channel->requests)
        TAILQ_INSERT_TAIL(&worker->requests, channel, request_entry);
    channel->requests |= request;
    atomic_store_explicit(&worker->pending, true, memory_order_release);
    pthread_mutex_unlock(&worker->lock);
    (void)!write(worker->kick_fd, &one, sizeof(one)); /* ours alone: cannot be full */
}

void hv_host_worker_report(struct hv_host_channel *channel, uint32_t event)
{
    struct hv_host_guest *guest = channel->guest;

    pthread_mutex_lock(&guest->lock);
    if (!channel->events)
        TAILQ_INSERT_TAIL(&guest->events, channel, event_entry);
    channel->events |= event;
    atomic_store_explicit(&guest->pending, true, memory_order_release);
    pthread_mutex_unlock(&guest->lock);
    hv_host_kick(guest->host);
}

static void serve(struct hv_host_worker *worker, struct hv_host_channel *channel)
{
    TAILQ_INSERT_TAIL(&worker->served, channel, served);
    worker->served_count++;
}

static void stop_serving(struct hv_host_worker *worker, struct hv_host_channel *channel)
{
    if (channel->serving) {
        unwatch(worker, channel->link.signal_fd);
        if (channel->monitor_group)
            worker->monitored--;
    }
    channel->serving = false;
}

static void take_out(struct hv_host_worker *worker, struct hv_host_channel *channel)
{
    stop_serving(worker, channel);
    TAILQ_REMOVE(&worker->served, channel, served);
    worker->served_count--;
}

static void drop_watches(struct hv_host_worker *worker, struct hv_host_channel *channel,
                         bool forget)
{
    for (size_t i = 0; i < HV_HOST_WATCH_MAX; i++) {
        if (channel->watched[i])
            unwatch(worker, channel->watched[i] - 1);
        if (forget)
            channel->watched[i] = 0;
    }
}

static void do_open(struct hv_host_worker *worker, struct hv_host_channel *channel)
{
    void *ctx = NULL;
    int err = channel->ops.open(channel->device_ctx, channel, channel->user_data,
                                sizeof(channel->user_data), &ctx);

    if (err < 0) {
        drop_watches(worker, channel, true);
    } else {
        channel->ctx = ctx;
        serve(worker, channel);
    }
    channel->open_status = err < 0 ? err : 0;
    hv_host_worker_report(channel, HV_EVENT_OPENED);
}

static void do_start(struct hv_host_worker *worker, struct hv_host_channel *channel)
{
    if (channel->stopping || channel->serving)
        return;
    channel->serving = true;
    if (channel->monitor_group)
        worker->monitored++;
    if (watch(worker, channel->link.signal_fd, WAKE_SIGNAL, channel))
        hv_host_channel_kill(channel, "cannot wait for signals");
    for (size_t i = 0; i < HV_HOST_WATCH_MAX; i++) { /* it may come from another worker */
        if (channel->watched[i])
            (void)watch(worker, channel->watched[i] - 1, WAKE_WATCH, channel);
    }
}

static void do_leave(struct hv_host_worker *worker, struct hv_host_channel *channel)
{
    take_out(worker, channel);
    drop_watches(worker, channel, false);
    hv_host_worker_report(channel, HV_EVENT_LEFT);
}

static void do_close(struct hv_host_worker *worker, struct hv_host_channel *channel)
{
    stop_serving(worker, channel);
    channel->stopping = true;
    channel->ops.close(channel->ctx);
}

static void carry_out(struct hv_host_worker *worker, struct hv_host_channel *channel,
                      uint32_t requests)
{
    if (requests & HV_REQUEST_OPEN)
        do_open(worker, channel);
    if (requests & HV_REQUEST_START) {
        bool known = false;
        struct hv_host_channel *c;

        TAILQ_FOREACH(c, &worker->served, served)
        known |= c == channel;
        if (!known)
            serve(worker, channel);
        do_start(worker, channel);
    }
    if (requests & HV_REQUEST_LEAVE)
        do_leave(worker, channel);
    if (requests & HV_REQUEST_CLOSE)
        do_close(worker, channel);
}

static int take_requests(struct hv_host_worker *worker)
{
    struct hv_host_channel *channel;
    uint32_t requests;
    int done = 0;

    for (;;) {
        pthread_mutex_lock(&worker->lock);
        channel = TAILQ_FIRST(&worker->requests);
        if (!channel) {
            atomic_store_explicit(&worker->pending, false, memory_order_relaxed);
            pthread_mutex_unlock(&worker->lock);
            return done;
        }
        TAILQ_REMOVE(&worker->requests, channel, request_entry);
        requests = channel->requests;
        channel->requests = 0;
        pthread_mutex_unlock(&worker->lock);
        carry_out(worker, channel, requests);
        done++;
    }
}

/* ---- Serving ---- */

/** Take the channel's bit out of the monitor page. */
static bool take_monitor_bit(struct hv_host_channel *channel)
{
    if (!(atomic_load_explicit(channel->monitor_group, memory_order_acquire) &
          channel->monitor_bit))
        return false;
    atomic_fetch_and_explicit(channel->monitor_group, ~channel->monitor_bit, memory_order_acq_rel);
    return true;
}

static void remove_stopped(struct hv_host_worker *worker, struct hv_host_channel *channel)
{
    take_out(worker, channel);
    drop_watches(worker, channel, true);
    channel->ctx = NULL;
    hv_host_worker_report(channel, HV_EVENT_CLOSED); /* the channel is the control thread's again */
}

int hv_host_worker_poll(struct hv_host_worker *worker)
{
    struct hv_host_channel *channel, *next;
    int done = 0;

    if (atomic_load_explicit(&worker->pending, memory_order_acquire))
        done += take_requests(worker);
    for (channel = TAILQ_FIRST(&worker->served); channel; channel = next) {
        next = TAILQ_NEXT(channel, served);
        if (channel->serving || (channel->stopping && !channel->stopped)) {
            int n;

            /* before the provider looks: a bit set behind its back must stay */
            if (channel->serving && channel->monitor_group)
                (void)take_monitor_bit(channel);
            n = channel->poll(channel->ctx);
            done += n > 0 ? n : 0;
        }
        if (channel->stopped) {
            remove_stopped(worker, channel);
            done++;
        }
    }
    return done;
}

int hv_host_worker_fd(const struct hv_host_worker *worker)
{
    return worker->epoll_fd;
}

/* ---- Sleeping ---- */

static void set_timer(struct hv_host_worker *worker, bool run)
{
    struct itimerspec when = {0};

    if (worker->timer_runs == run)
        return;
    if (run) {
        when.it_value.tv_nsec = HV_HOST_MONITOR_US * 1000;
        when.it_interval = when.it_value;
    }
    (void)timerfd_settime(worker->timer_fd, 0, &when, NULL);
    worker->timer_runs = run;
}

/** Awake: no signals for data, and none for room either. */
static void mask_all(struct hv_host_worker *worker)
{
    struct hv_host_channel *channel;

    TAILQ_FOREACH(channel, &worker->served, served)
    {
        if (!channel->serving)
            continue;
        hv_ring_rx_mask(&channel->rx);
        if (channel->waiting_room) {
            hv_ring_tx_clear_want(&channel->tx);
            channel->waiting_room = false;
        }
    }
}

static bool channel_has_work(struct hv_host_channel *channel)
{
    if (channel->stopped)
        return true;
    if (channel->serving && !channel->killed) {
        if (channel->monitor_group && take_monitor_bit(channel))
            return true;
        if (!channel->held && hv_ring_rx_unmask(&channel->rx))
            return true;
    }
    return (channel->serving || channel->stopping) && channel->ops.arm &&
           channel->ops.arm(channel->ctx);
}

bool hv_host_worker_arm(struct hv_host_worker *worker)
{
    struct hv_host_channel *channel;

    TAILQ_FOREACH(channel, &worker->served, served)
    {
        if (channel_has_work(channel)) {
            mask_all(worker);
            return true;
        }
    }
    /* the control thread writes the descriptor after the flag: one of the two is seen */
    if (atomic_load_explicit(&worker->pending, memory_order_acquire)) {
        mask_all(worker);
        return true;
    }
    if (worker->monitored)
        set_timer(worker, true);
    return false;
}

/** The guest may have cleared O_NONBLOCK, which both sides share: RWF_NOWAIT does not depend on it. */
static void drain_signal(struct hv_host_channel *channel)
{
    uint64_t count;
    struct iovec iov = {.iov_base = &count, .iov_len = sizeof(count)};

    if (preadv2(channel->link.signal_fd, &iov, 1, -1, RWF_NOWAIT) == (ssize_t)sizeof(count))
        channel->wakeups++;
}

void hv_host_worker_disarm(struct hv_host_worker *worker)
{
    struct epoll_event events[EVENTS_PER_DRAIN];
    int n = epoll_wait(worker->epoll_fd, events, EVENTS_PER_DRAIN, 0);
    uint64_t count;

    for (int i = 0; i < n; i++) {
        switch ((enum wake_kind)(events[i].data.u64 & WAKE_KIND_MASK)) {
        case WAKE_SIGNAL:
            drain_signal((void *)(uintptr_t)(events[i].data.u64 & ~WAKE_KIND_MASK));
            break;
        case WAKE_TIMER:
            (void)!read(worker->timer_fd, &count, sizeof(count));
            break;
        case WAKE_KICK:
            /* Here only: one that an awake worker took is kicked for later.  The flag is set before the kick. */
            (void)!read(worker->kick_fd, &count, sizeof(count));
            break;
        case WAKE_WATCH: /* the provider's */
            break;
        }
    }
    set_timer(worker, false);
    mask_all(worker);
}

/* ---- Providers' descriptors ---- */

int hv_host_worker_watch(struct hv_host_channel *channel, int fd)
{
    int err;

    for (size_t i = 0; i < HV_HOST_WATCH_MAX; i++) {
        if (channel->watched[i])
            continue;
        err = watch(channel->worker, fd, WAKE_WATCH, channel);
        if (!err)
            channel->watched[i] = fd + 1;
        return err;
    }
    return -ENOSPC;
}

void hv_host_worker_unwatch(struct hv_host_channel *channel, int fd)
{
    for (size_t i = 0; i < HV_HOST_WATCH_MAX; i++) {
        if (channel->watched[i] == fd + 1) {
            unwatch(channel->worker, fd);
            channel->watched[i] = 0;
            return;
        }
    }
}
