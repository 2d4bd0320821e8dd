/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One guest, whatever kind it is: from hello to the end.
 *
 *   LIVE    takes messages; a breach dooms it, and the doom is carried out at a place where nothing of it is in use
 *   DYING   disconnected; every channel is being closed by its worker, guest memory stays mapped
 *   GONE    no channel is left, the program was told; freed after hv_host_guest_put()
 */
#include "host_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/clock.h>

/* ---- Coming ---- */

static void free_workers(struct hv_host_guest *guest)
{
    for (uint16_t i = 0; i < guest->worker_count; i++)
        hv_host_worker_fini(&guest->workers[i]);
}

int hv_host_guest_create(struct hv_host *host, const char *name,
                         const struct hv_host_guest_ops *ops, void *impl,
                         struct hv_host_guest **ret_guest)
{
    uint16_t workers = host->opts.workers_per_guest;
    size_t bytes = sizeof(struct hv_host_guest) + workers * sizeof(struct hv_host_worker);
    struct hv_host_guest *guest = aligned_alloc(alignof(struct hv_host_guest),
                                                hv_align_up(bytes, alignof(struct hv_host_guest)));
    int err = 0;

    if (!guest)
        return -ENOMEM;
    memset(guest, 0, bytes);
    guest->host = host;
    guest->ops = ops;
    guest->impl = impl;
    guest->memory.kick_fd = host->opts.vanishing_memory ? host->kick_fd : -1;
    TAILQ_INIT(&guest->channels);
    TAILQ_INIT(&guest->gpadls);
    TAILQ_INIT(&guest->events);
    while (guest->worker_count < workers) {
        err = hv_host_worker_init(&guest->workers[guest->worker_count], guest);
        if (err)
            break;
        guest->worker_count++;
    }
    if (err) {
        free_workers(guest);
        free(guest);
        return err;
    }
    pthread_mutex_init(&guest->lock, NULL);
    pthread_mutex_init(&guest->gpadl_lock, NULL);
    guest->id = ++host->guest_serial;
    (void)snprintf(guest->name, sizeof(guest->name), "%s", name); /* cut names do */
    TAILQ_INSERT_TAIL(&host->guests, guest, entry);
    host->guest_count++;
    hv_log(&host->opts.log, HV_LOG_INFO, "guest %u (%s): connected", guest->id, guest->name);
    *ret_guest = guest;
    if (host->opts.guest_added)
        host->opts.guest_added(host->opts.arg, guest);
    return 0;
}

/* ---- Messages and memory ---- */

void hv_host_guest_post(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    /* a guest that starts again does not want to hear of the last time */
    if (guest->state == HV_GUEST_LIVE && !guest->doomed && !guest->reset)
        guest->ops->post(guest->impl, message, bytes, NULL);
}

int hv_host_guest_memory_add(struct hv_host_guest *guest, uint64_t first_pfn, uint64_t page_count,
                             int fd, uint64_t offset)
{
    int err = hv_host_memory_add(&guest->memory, first_pfn, page_count, fd, offset);

    if (err)
        hv_host_guest_complain(guest, "%llu pages of memory from 0x%llx refused: %s",
                               (unsigned long long)page_count, (unsigned long long)first_pfn,
                               strerror(-err));
    return err;
}

int hv_host_guest_memory_remove(struct hv_host_guest *guest, uint64_t first_pfn,
                                uint64_t page_count)
{
    int err = hv_host_memory_remove(&guest->memory, first_pfn, page_count, guest->serial);

    if (!err)
        hv_host_guest_reap_memory(guest);
    return err;
}

/** Serial of the oldest thing that may still use memory. */
static uint64_t oldest_user(const struct hv_host_guest *guest)
{
    const struct hv_host_channel *channel;
    const struct hv_host_gpadl *gpadl;
    uint64_t oldest = guest->monitor ? guest->monitor_serial : UINT64_MAX;

    TAILQ_FOREACH(channel, &guest->channels, entry)
    {
        if (channel->state != HV_CHANNEL_CLOSED)
            oldest = hv_min_u64(oldest, channel->serial);
    }
    TAILQ_FOREACH(gpadl, &guest->gpadls, entry)
    oldest = hv_min_u64(oldest, gpadl->serial);
    return oldest;
}

void hv_host_guest_reap_memory(struct hv_host_guest *guest)
{
    uint64_t oldest, first_pfn;

    if (!guest->memory.lingering_count)
        return;
    oldest = oldest_user(guest);
    while (hv_host_memory_reap(&guest->memory, oldest, &first_pfn)) {
        if (guest->state == HV_GUEST_LIVE && !guest->doomed)
            guest->ops->memory_removed(guest->impl, first_pfn);
    }
}

/* ---- Reset ---- */

static bool all_closed(const struct hv_host_guest *guest)
{
    const struct hv_host_channel *channel;

    TAILQ_FOREACH(channel, &guest->channels, entry)
    {
        if (channel->state != HV_CHANNEL_CLOSED)
            return false;
    }
    return true;
}

/** Nothing is to follow a close any more, and nobody is to be told. */
static void close_all(struct hv_host_guest *guest)
{
    struct hv_host_channel *channel;

    TAILQ_FOREACH(channel, &guest->channels, entry)
    {
        channel->reopen = false;
        channel->revoking = false;
        channel->released = false;
        hv_host_channel_close(channel);
    }
}

/** Every channel has stopped: forget the connection, keep the memory. */
static void forget_connection(struct hv_host_guest *guest)
{
    while (!TAILQ_EMPTY(&guest->channels))
        hv_host_channel_free(TAILQ_FIRST(&guest->channels));
    guest->contact = HV_CONTACT_NONE;
    guest->monitor = NULL;
    guest->version = 0;
    hv_host_guest_reap_memory(guest);
}

static void finish_reset(struct hv_host_guest *guest)
{
    const struct hv_msg_header unloaded = {.type = HV_MSG_UNLOAD_COMPLETE};
    enum hv_host_reset reset = guest->reset;

    forget_connection(guest);
    guest->reset = HV_RESET_NONE;
    if (reset == HV_RESET_CONTACT)
        hv_host_messages_contact(guest);
    else
        hv_host_guest_post(guest, &unloaded, sizeof(unloaded));
    guest->ops->pause(guest->impl, false);
}

void hv_host_guest_reset(struct hv_host_guest *guest, enum hv_host_reset reset)
{
    guest->reset = reset;
    guest->ops->pause(guest->impl, true); /* what comes next belongs to the new connection */
    close_all(guest);
    if (all_closed(guest))
        finish_reset(guest);
}

/* ---- Going ---- */

void hv_host_guest_complain(struct hv_host_guest *guest, const char *format, ...)
{
    const struct hv_log_hook *log = &guest->host->opts.log;
    char text[HV_HOST_WHY_BYTES];
    va_list args;

    if (guest->complaints >= HV_HOST_COMPLAINTS_MAX)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args); /* a cut line is still a line */
    va_end(args);
    hv_log(log, HV_LOG_WARNING, "guest %u (%s): %s", guest->id, guest->name, text);
    if (++guest->complaints == HV_HOST_COMPLAINTS_MAX)
        hv_log(log, HV_LOG_WARNING, "guest %u (%s): what else it does wrong is not logged",
               guest->id, guest->name);
}

void hv_host_guest_doom(struct hv_host_guest *guest, const char *format, ...)
{
    va_list args;

    if (guest->doomed || guest->state != HV_GUEST_LIVE)
        return;
    va_start(args, format);
    (void)vsnprintf(guest->why, sizeof(guest->why), format, args); /* a cut reason is one too */
    va_end(args);
    guest->doomed = true;
    hv_log(&guest->host->opts.log, HV_LOG_WARNING, "guest %u (%s): dropped: %s", guest->id,
           guest->name, guest->why);
    hv_host_kick(guest->host);
}

void hv_host_guest_lost(struct hv_host_guest *guest)
{
    if (guest->doomed || guest->state != HV_GUEST_LIVE)
        return;
    guest->doomed = true;
    hv_log(&guest->host->opts.log, HV_LOG_INFO, "guest %u (%s): gone", guest->id, guest->name);
    hv_host_kick(guest->host);
}

bool hv_host_guest_is_doomed(const struct hv_host_guest *guest)
{
    return guest->doomed;
}

static void disconnect(struct hv_host_guest *guest)
{
    guest->state = HV_GUEST_DYING;
    guest->reset = HV_RESET_NONE;
    atomic_store_explicit(&guest->silent, true, memory_order_relaxed);
    guest->ops->hang_up(guest->impl, guest->why);
    close_all(guest);
}

/** Nothing of the guest is used any more: everybody may forget it. */
static void bury(struct hv_host_guest *guest)
{
    forget_connection(guest);
    hv_host_offers_guest_gone(guest);
    hv_host_memory_fini(&guest->memory);
    guest->state = HV_GUEST_GONE;
}

void hv_host_guest_free(struct hv_host_guest *guest)
{
    struct hv_host *host = guest->host;

    TAILQ_REMOVE(&host->guests, guest, entry);
    host->guest_count--;
    guest->ops->destroy(guest->impl);
    free_workers(guest);
    pthread_mutex_destroy(&guest->gpadl_lock);
    pthread_mutex_destroy(&guest->lock);
    free(guest);
}

/* ---- Now and then ---- */

static void take_events(struct hv_host_guest *guest)
{
    uint32_t turns = guest->channel_count + 1; /* a busy worker may report faster than we look */
    struct hv_host_channel *channel;
    uint32_t events;

    while (atomic_load_explicit(&guest->pending, memory_order_acquire)) {
        if (!turns--) {
            hv_host_kick(guest->host); /* the rest has its turn in the next poll */
            return;
        }
        pthread_mutex_lock(&guest->lock);
        channel = TAILQ_FIRST(&guest->events);
        if (!channel) {
            atomic_store_explicit(&guest->pending, false, memory_order_relaxed);
            pthread_mutex_unlock(&guest->lock);
            return;
        }
        TAILQ_REMOVE(&guest->events, channel, event_entry);
        events = channel->events;
        channel->events = 0;
        pthread_mutex_unlock(&guest->lock);
        hv_host_channel_event(channel, events);
    }
}

/**
 * A worker that owes an answer may hang in raise(), because the guest filled the counter of an event descriptor that it
 * does not read.  That costs a live guest its connection, and a dying one nothing more.
 */
static void unblock_workers(struct hv_host_guest *guest)
{
    const struct hv_host_channel *channel;
    uint64_t now = hv_clock_ns();
    bool stuck = false;

    TAILQ_FOREACH(channel, &guest->channels, entry)
    stuck |= channel->state != HV_CHANNEL_CLOSED && channel->state != HV_CHANNEL_OPEN &&
             now - channel->asked_ns >= HV_HOST_STUCK_NS;
    if (!stuck)
        return;
    TAILQ_FOREACH(channel, &guest->channels, entry)
    {
        if (guest->ops->unblock(&channel->link))
            hv_host_guest_doom(guest, "channel %u: fills its event counter and never reads it",
                               channel->relid);
    }
}

void hv_host_guest_settle(struct hv_host_guest *guest)
{
    const struct hv_host_opts *opts = &guest->host->opts;

    take_events(guest);
    if (hv_host_faults_vanished(guest->memory.faults))
        hv_host_guest_doom(guest, "memory that was in use vanished");
    if (guest->state != HV_GUEST_GONE)
        unblock_workers(guest);
    if (guest->state == HV_GUEST_LIVE && guest->doomed)
        disconnect(guest);
    if (guest->state == HV_GUEST_LIVE && guest->reset && all_closed(guest))
        finish_reset(guest);
    if (guest->state == HV_GUEST_DYING && all_closed(guest)) {
        bury(guest);
        if (opts->guest_removed)
            opts->guest_removed(opts->arg, guest);
        else
            guest->put = true;
    }
    if (guest->state == HV_GUEST_GONE && guest->put)
        hv_host_guest_free(guest);
}

uint64_t hv_host_guest_deadline_ns(const struct hv_host_guest *guest)
{
    const struct hv_host_channel *channel;
    uint64_t deadline = UINT64_MAX;

    TAILQ_FOREACH(channel, &guest->channels, entry)
    {
        if (channel->state != HV_CHANNEL_CLOSED && channel->state != HV_CHANNEL_OPEN)
            deadline = hv_min_u64(deadline, channel->asked_ns + HV_HOST_STUCK_NS);
    }
    /* one that is overdue is looked at again a while later, not at once */
    return deadline == UINT64_MAX
               ? deadline
               : (deadline > hv_clock_ns() ? deadline : hv_clock_ns() + HV_HOST_STUCK_NS);
}

/** Wakes for anything that a worker or the control thread could do. */
static int watch_workers(const struct hv_host_guest *guest)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};

    (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, guest->host->kick_fd, &event);
    for (uint16_t i = 0; i < guest->worker_count; i++)
        (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, guest->workers[i].epoll_fd, &event);
    return epoll_fd; /* negative: then waiting does not wait */
}

static void wait_for_workers(struct hv_host_guest *guest, int epoll_fd)
{
    struct epoll_event event;
    bool ready = false;

    for (uint16_t i = 0; i < guest->worker_count; i++)
        ready |= hv_host_worker_arm(&guest->workers[i]);
    if (!ready && !atomic_load_explicit(&guest->pending, memory_order_acquire))
        (void)epoll_wait(epoll_fd, &event, 1, 100); /* a kick taken before is seen then */
    for (uint16_t i = 0; i < guest->worker_count; i++)
        hv_host_worker_disarm(&guest->workers[i]);
}

/** No thread polls the workers any more: do it here until every channel is closed. */
static void run_workers_down(struct hv_host_guest *guest)
{
    int epoll_fd = watch_workers(guest);

    for (;;) {
        int done = 0;

        for (uint16_t i = 0; i < guest->worker_count; i++)
            done += hv_host_worker_poll(&guest->workers[i]);
        hv_host_run_work(guest->host); /* providers may need it to close */
        take_events(guest);
        if (all_closed(guest))
            break;
        if (!done)
            wait_for_workers(guest, epoll_fd);
    }
    if (epoll_fd >= 0)
        (void)close(epoll_fd);
}

void hv_host_guest_finish(struct hv_host_guest *guest)
{
    const struct hv_host_opts *opts = &guest->host->opts;
    const struct hv_host_channel *channel;

    if (guest->state != HV_GUEST_GONE) {
        hv_host_guest_doom(guest, "the host is shutting down");
        if (guest->state == HV_GUEST_LIVE)
            disconnect(guest);
        TAILQ_FOREACH(channel, &guest->channels, entry) /* the program waits for its threads */
        (void)guest->ops->unblock(&channel->link);
        if (opts->guest_removed)
            opts->guest_removed(opts->arg, guest);
        run_workers_down(guest);
        bury(guest);
    }
    hv_host_guest_free(guest);
}

/* ---- For programs ---- */

uint32_t hv_host_guest_id(const struct hv_host_guest *guest)
{
    return guest->id;
}

const char *hv_host_guest_name(const struct hv_host_guest *guest)
{
    return guest->name;
}

void hv_host_guest_drop(struct hv_host_guest *guest, const char *format, ...)
{
    char why[HV_HOST_WHY_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, sizeof(why), format, args); /* a cut reason is one too */
    va_end(args);
    hv_host_guest_doom(guest, "%s", why);
}

uint16_t hv_host_guest_worker_count(const struct hv_host_guest *guest)
{
    return guest->worker_count;
}

struct hv_host_worker *hv_host_guest_worker(struct hv_host_guest *guest, uint16_t index)
{
    return index < guest->worker_count ? &guest->workers[index] : NULL;
}

void hv_host_guest_put(struct hv_host_guest *guest)
{
    if (!guest)
        return;
    guest->put = true;
    hv_host_kick(guest->host);
}
