/* SPDX-License-Identifier: BSD-3-Clause */
#include "reactor.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "reactor_ublk.h"

#define IO_COUNT    1024u /* requests at a time, and as many stand-ins for orphans */
#define TICK_NS     UINT64_C(1000000000)
#define EVENTS_MAX  64
#define DIRECT_MAX  4u /* so many sockets are asked one by one while spinning; more by epoll */
#define BLIND_TURNS 4u /* busy turns without a look at the sockets */
#define BATCH_DEEP  4u /* a client that sends so many at once does not wait for one of them */

enum {
    MAIL_DETACH,
    MAIL_ATTACH,
    MAIL_LUNS,
    MAIL_RESCAN,
    MAIL_STATS,
    MAIL_DRAIN,
    MAIL_DROP,
    MAIL_STOP,
    MAIL_ADD,
    MAIL_UBLK_ADD,
    MAIL_UBLK_REMOVE,
};

/* ---- Messages ---- */

static void drop_all(struct reactor *reactor, const char *reason)
{
    for (uint32_t i = 0; i < reactor->client_count; i++)
        nbd_conn_kill(&reactor->clients[i]->nbd, reason);
    reactor->sweep = true;
}

static void drain(struct reactor *reactor)
{
    reactor->engine.shutting_down = true;
    reactor->draining = true;
    for (uint32_t i = 0; i < reactor->client_count; i++)
        nbd_conn_shutdown(&reactor->clients[i]->nbd);
    reactor->sweep = true;
}

static void handle(struct reactor *reactor, const struct mail *mail)
{
    switch (mail->kind) {
    case MAIL_DETACH:
        reactor_device_detach(reactor);
        break;
    case MAIL_ATTACH:
        reactor_device_attach(reactor, mail->data, mail->data2);
        break;
    case MAIL_LUNS:
        *reactor->luns = *(const struct lun_table *)mail->data;
        break;
    case MAIL_RESCAN:
        if (reactor->attached && hv_storvsc_rescan(mail->data))
            log_line(HV_LOG_WARNING, "rescan: the queue is full, try again");
        break;
    case MAIL_STATS:
        if (reactor->attached)
            hv_storvsc_get_stats(reactor->queue, mail->data);
        break;
    case MAIL_DRAIN:
        drain(reactor);
        break;
    case MAIL_DROP:
        drop_all(reactor, "its channel is gone");
        break;
    case MAIL_STOP:
        drop_all(reactor, "server stops");
        reactor->quit = true;
        break;
    case MAIL_UBLK_ADD:
        *(int *)mail->data2 = reactor_ublk_fetch(reactor, mail->data);
        break;
    case MAIL_UBLK_REMOVE:
        reactor_ublk_release(reactor, mail->data);
        break;
    default: /* MAIL_ADD */
        (void)reactor_socket_add(reactor, mail->fd, (uint32_t)(uintptr_t)mail->data);
        break;
    }
}

static void handle_all(struct reactor *reactor)
{
    struct mail *mail;

    while ((mail = mailbox_take(&reactor->mailbox))) {
        handle(reactor, mail);
        mailbox_answer(mail);
    }
}

static void call(struct reactor *reactor, unsigned kind, void *data, void *data2)
{
    struct mail mail = {.kind = kind, .data = data, .data2 = data2};

    if (reactor->started)
        mailbox_call(&reactor->mailbox, &mail);
    else
        handle(reactor, &mail);
}

void reactor_detach(struct reactor *reactor)
{
    call(reactor, MAIL_DETACH, NULL, NULL);
}

void reactor_attach(struct reactor *reactor, struct hv_storvsc_queue *queue,
                    struct hv_host_worker *worker)
{
    call(reactor, MAIL_ATTACH, queue, worker);
}

void reactor_set_luns(struct reactor *reactor, const struct lun_table *luns)
{
    call(reactor, MAIL_LUNS, (void *)(uintptr_t)luns, NULL);
}

void reactor_rescan(struct reactor *reactor, struct hv_storvsc *storvsc)
{
    call(reactor, MAIL_RESCAN, storvsc, NULL);
}

void reactor_queue_stats(struct reactor *reactor, struct hv_storvsc_stats *ret_stats)
{
    call(reactor, MAIL_STATS, ret_stats, NULL);
}

void reactor_drop(struct reactor *reactor)
{
    call(reactor, MAIL_DROP, NULL, NULL);
}

void reactor_drain(struct reactor *reactor)
{
    call(reactor, MAIL_DRAIN, NULL, NULL);
}

int reactor_ublk_add(struct reactor *reactor, struct ublk_queue *queue)
{
    int ret = 0;

    call(reactor, MAIL_UBLK_ADD, queue, &ret);
    return ret;
}

void reactor_ublk_remove(struct reactor *reactor, struct ublk_queue *queue)
{
    call(reactor, MAIL_UBLK_REMOVE, queue, NULL);
}

int reactor_add(struct reactor *reactor, int fd, uint32_t id)
{
    struct mail mail = {.kind = MAIL_ADD, .fd = fd, .data = (void *)(uintptr_t)id};

    return mailbox_post(&reactor->mailbox, &mail);
}

/* ---- The loop ---- */

/** Ask epoll; true when any socket has something. */
static bool look(struct reactor *reactor, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(reactor->epoll, events, EVENTS_MAX, timeout_ms);
    bool any = false;

    reactor->turns_blind = 0;
    for (int i = 0; i < n; i++) {
        void *tag = events[i].data.ptr;

        if (tag == &reactor->mailbox) { /* looked at in every turn */
        } else if (tag == &reactor->queue) {
            reactor->queue_event = true;
        } else if (tag == &reactor->worker) {
            reactor->worker_event = true;
        } else {
            reactor_socket_event(reactor, tag, events[i].events);
            any = true;
        }
    }
    return any;
}

static void tick(struct reactor *reactor)
{
    reactor->tick_ns = reactor->engine.now_ns;
    reactor_device_tick(reactor);
    reactor_socket_tick(reactor);
    stats_set(&reactor->stats.buffer_bytes, reactor->engine.buffers.used_bytes);
}

/** How long nothing needs to be done without an event. */
static int sleep_ms(const struct reactor *reactor)
{
    int ms = reactor->client_count || !reactor->attached ? (int)(TICK_NS / 1000000) : -1;

    if (reactor->attached) {
        int deadline = hv_storvsc_next_deadline_ms(reactor->queue);

        if (deadline >= 0 && (ms < 0 || deadline < ms))
            ms = deadline;
    }
    return ms;
}

static void set_policy(const struct reactor *reactor)
{
    struct sched_param none = {0};

    /* A refusal (a real-time policy set from outside) costs some speed only. */
    (void)pthread_setschedparam(pthread_self(),
                                calm_is_batch(&reactor->calm) ? SCHED_BATCH : SCHED_OTHER, &none);
}

static void sleep_armed(struct reactor *reactor)
{
    bool work = reactor_device_arm(reactor);

    work |= reactor_ublk_waiting(reactor);
    work |= mailbox_waiting(&reactor->mailbox);
    if (!work)
        stats_add(&reactor->stats.sleeps, 1);
    if (calm_sleep(&reactor->calm, reactor->engine.now_ns, reactor->begun,
                   stats_get(&reactor->stats.sleeps)))
        set_policy(reactor);
    if (work || !reactor->ublk)
        (void)look(reactor, work ? 0 : sleep_ms(reactor));
    else if (reactor_ublk_sleep(reactor, sleep_ms(reactor)))
        (void)look(reactor, 0);
    reactor_device_disarm(reactor);
    reactor->probe = false;
}

/**
 * Nothing to do.  Spinning pays when one request is waited for: its wake-up would be most of its time.  A client with
 * many in flight is better served by sleeping until it has sent the next few.
 */
static void idle(struct reactor *reactor)
{
    bool deep;

    if (reactor->busy) {
        reactor->busy = false;
        reactor->depth = (uint32_t)(reactor->begun - reactor->begun_idle);
        reactor->begun_idle = reactor->begun;
    }
    deep = reactor->depth >= BATCH_DEEP && !reactor->opts.poll;
    if (deep || !hv_spin_again_at(&reactor->spin, reactor->engine.now_ns)) {
        sleep_armed(reactor);
        return;
    }
    reactor->probe = reactor->client_count <= DIRECT_MAX;
    if (!reactor->probe || ++reactor->turns_blind >= 64)
        (void)look(reactor, 0);
    else
        hv_spin_pause();
}

static bool turn(struct reactor *reactor)
{
    bool any = false;

    reactor->engine.now_ns = hv_spin_clock_ns();
    reactor->engine.turn_bytes = 0;
    if (reactor->engine.now_ns - reactor->tick_ns >= TICK_NS)
        tick(reactor);
    if (mailbox_waiting(&reactor->mailbox)) {
        handle_all(reactor);
        any = true;
    }
    any |= reactor_socket_resume(reactor);
    any |= reactor_socket_receive(reactor);
    any |= reactor_ublk_receive(reactor);
    any |= reactor->engine.turn_bytes != 0;
    any |= reactor_device_poll(reactor);
    if (reactor->engine.send_first)
        any |= reactor_socket_send(reactor);
    any |= reactor_ublk_send(reactor);
    if (reactor->sweep)
        reactor_socket_sweep(reactor);
    return any;
}

/**
 * Nothing is left that another turn could find: all requests are answered, all sockets read empty.  Saves a turn in vain
 * after each batch.
 */
static bool settled(const struct reactor *reactor)
{
    if (reactor->device_count || reactor->wait_first || reactor->engine.send_first ||
        reactor->sweep || reactor->quit || reactor_ublk_waiting(reactor))
        return false;
    for (uint32_t i = 0; i < reactor->client_count; i++)
        if (reactor->clients[i]->readable || reactor->clients[i]->nbd.stall)
            return false;
    return true;
}

static void *run(void *arg)
{
    struct reactor *reactor = arg;
    struct mail drained = {.kind = REACTOR_DRAINED, .data = reactor};

    while (!reactor->quit) {
        bool any = turn(reactor);

        stats_add(&reactor->stats.turns, 1);
        if (reactor->draining && !reactor->client_count) {
            reactor->draining = false;
            (void)mailbox_post(reactor->opts.news, &drained);
        }
        if (any) {
            if (reactor->found_ns)
                hv_spin_found_promptly_at(&reactor->spin, reactor->found_ns);
            else
                hv_spin_found_at(&reactor->spin, reactor->engine.now_ns);
            reactor->found_ns = 0;
            reactor->busy = true;
            reactor->probe = false;
        }
        if (!any || settled(reactor))
            idle(reactor);
        else if (++reactor->turns_blind >= BLIND_TURNS)
            (void)look(reactor, 0);
    }
    return NULL;
}

/* ---- Life ---- */

#define HUGE_2M (MFD_HUGETLB | 21u << MAP_HUGE_SHIFT)

/** One file that cannot shrink, so that a host may map it without fear. */
static int make_arena(struct reactor *reactor)
{
    size_t bytes = reactor->opts.buffer_bytes;

    reactor->arena_fd = memfd_create("hvblk-buffers", MFD_CLOEXEC | MFD_ALLOW_SEALING |
                                                          (reactor->opts.hugepages ? HUGE_2M : 0u));
    if (reactor->arena_fd < 0)
        return -errno;
    if (ftruncate(reactor->arena_fd, (off_t)bytes) ||
        fcntl(reactor->arena_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return -errno;
    reactor->arena = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, reactor->arena_fd, 0);
    if (reactor->arena == MAP_FAILED) {
        reactor->arena = NULL;
        return -errno;
    }
    return buffer_pool_init(&reactor->engine.buffers, reactor->arena, bytes);
}

static int make_epoll(struct reactor *reactor)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &reactor->mailbox};

    reactor->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (reactor->epoll < 0 || epoll_ctl(reactor->epoll, EPOLL_CTL_ADD, reactor->mailbox.fd, &event))
        return -errno;
    return 0;
}

int reactor_init(struct reactor *reactor, const struct reactor_opts *opts)
{
    int ret;

    *reactor = (struct reactor){
        .opts = *opts, .arena_fd = -1, .epoll = -1, .queue_fd = -1, .worker_fd = -1};
    reactor->luns = calloc(1, sizeof(*reactor->luns));
    reactor->engine.luns = reactor->luns;
    reactor->engine.stats = &reactor->stats;
    reactor->engine.start = reactor_device_start;
    reactor->engine.owner = reactor;
    /* Requests of ublk and their orphans: those never wait for one. */
    reactor->engine.io_reserve = IO_COUNT + 2 * opts->tag_count;
    reactor->engine.turn_limit = UINT64_MAX;
    reactor->engine.now_ns = reactor->outage_ns = hv_spin_clock_ns();
    hv_spin_init(&reactor->spin, opts->poll, HV_SPIN_MAX_NS);
    calm_init(&reactor->calm, opts->poll || opts->normal, reactor->engine.now_ns);
    ret = reactor->luns ? mailbox_init(&reactor->mailbox) : -ENOMEM;
    if (!ret)
        ret = make_epoll(reactor);
    if (!ret)
        ret = make_arena(reactor);
    if (!ret)
        ret = io_pool_init(&reactor->engine.ios, IO_COUNT + reactor->engine.io_reserve,
                           &reactor->engine);
    if (ret)
        reactor_fini(reactor);
    return ret;
}

void reactor_fini(struct reactor *reactor)
{
    if (!reactor->luns)
        return;
    mailbox_fini(&reactor->mailbox);
    for (uint32_t i = 0; i < reactor->client_count; i++) {
        nbd_conn_kill(&reactor->clients[i]->nbd, NULL);
        nbd_conn_fini(&reactor->clients[i]->nbd);
        if (reactor->clients[i]->fd >= 0)
            (void)close(reactor->clients[i]->fd);
        free(reactor->clients[i]);
    }
    free(reactor->clients);
    reactor_ublk_close(reactor);
    io_pool_fini(&reactor->engine.ios);
    buffer_pool_fini(&reactor->engine.buffers);
    if (reactor->arena)
        (void)munmap(reactor->arena, reactor->opts.buffer_bytes);
    if (reactor->arena_fd >= 0)
        (void)close(reactor->arena_fd);
    if (reactor->epoll >= 0)
        (void)close(reactor->epoll);
    free(reactor->luns);
    *reactor = (struct reactor){.arena_fd = -1, .epoll = -1};
}

int reactor_start(struct reactor *reactor)
{
    char name[16];
    int ret = pthread_create(&reactor->thread, NULL, run, reactor);

    if (ret)
        return -ret;
    reactor->started = true;
    (void)snprintf(name, sizeof(name), "reactor%u", reactor->opts.index);
    (void)pthread_setname_np(reactor->thread, name); /* only for people */
    return 0;
}

void reactor_stop(struct reactor *reactor)
{
    if (!reactor->started)
        return;
    call(reactor, MAIL_STOP, NULL, NULL);
    (void)pthread_join(reactor->thread, NULL);
    reactor->started = false;
}
