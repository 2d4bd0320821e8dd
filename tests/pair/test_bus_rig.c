/* SPDX-License-Identifier: BSD-3-Clause */
#include "test_bus_rig.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <hv/wire/ring.h>

const struct hv_guid rig_class =
    HV_GUID_INIT(0x12345678u, 0x9abcu, 0xdef0u, 1, 2, 3, 4, 5, 6, 7, 8);

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "test rig: %s\n", what);
    abort();
}

/* ---- Echo device ---- */

struct echo_channel {
    struct echo *echo;
    struct hv_host_channel *channel;
    struct hv_packet packet; /* peeked, not answered */
    bool have;
    bool closing;
    uint8_t *mapped; /* last GPADL */
    size_t mapped_bytes;
};

static int echo_open(void *ctx, struct hv_host_channel *channel, const void *user_data,
                     size_t bytes, void **ret_ctx)
{
    struct echo *echo = ctx;
    struct echo_channel *e;

    require(bytes == 120, "open message has 120 bytes for the provider");
    if (echo->refuse && *(const uint8_t *)user_data == echo->refuse)
        return -EPERM;
    e = calloc(1, sizeof(*e));
    require(e, "memory");
    e->echo = echo;
    e->channel = channel;
    atomic_fetch_add(&echo->open_channels, 1);
    atomic_fetch_add(&echo->opened, 1);
    *ret_ctx = e;
    if (echo->late_fd)
        require(!hv_host_channel_watch(channel, echo->late_fd), "watch");
    if (!hv_host_channel_index(channel) && echo->subchannels_at_open)
        require(!hv_host_channel_offer_subchannels(channel, echo->subchannels_at_open),
                "sub-channels");
    return 0;
}

/** Map, use or unmap; the answer is what map_gpadl() said, the bytes, and the sum of the first byte of every page. */
static void echo_mapping(struct echo_channel *e, uint64_t trans_id, uint32_t gpadl)
{
    struct hv_packet_desc desc = {.trans_id = trans_id,
                                  .type = HV_PACKET_COMPLETION,
                                  .payload_bytes = sizeof(struct echo_gpa_result)};
    struct echo_gpa_result result = {0};
    struct hv_packet_slot slot;
    size_t bytes = 0;
    void *address;

    if ((uint8_t)trans_id == ECHO_MAP) {
        result.pieces = hv_host_channel_map_gpadl(e->channel, gpadl, &address, &bytes);
        if (!result.pieces) {
            e->mapped = address;
            e->mapped_bytes = bytes;
        }
    } else if ((uint8_t)trans_id == ECHO_UNMAP) {
        hv_host_channel_unmap_gpadl(e->channel, gpadl);
        e->mapped_bytes = 0;
    }
    for (size_t at = 0; at < e->mapped_bytes; at += HV_PAGE_BYTES) {
        result.sum += e->mapped[at];
        if ((uint8_t)trans_id == ECHO_TOUCH)
            e->mapped[at] = (uint8_t)(e->mapped[at] + at / HV_PAGE_BYTES + 1);
    }
    result.bytes = (uint32_t)e->mapped_bytes;
    require(!hv_host_channel_reserve(e->channel, &desc, &slot), "room for the answer");
    memcpy(slot.payload, &result, sizeof(result));
}

static void echo_command(struct echo_channel *e, uint64_t trans_id)
{
    uint16_t argument = (uint16_t)(trans_id >> 8);

    switch ((uint8_t)trans_id) {
    case ECHO_SUBCHANNELS:
        (void)hv_host_channel_offer_subchannels(e->channel, argument);
        break;
    case ECHO_RESCIND:
        hv_host_channel_rescind(e->channel);
        break;
    case ECHO_KILL:
        hv_host_channel_kill(e->channel, "asked to be killed %u", argument);
        break;
    case ECHO_CORRUPT:
        hv_host_channel_corrupt_index(e->channel);
        break;
    case ECHO_MAP:
    case ECHO_TOUCH:
    case ECHO_UNMAP:
        echo_mapping(e, trans_id, argument);
        break;
    default:
        break;
    }
}

/** A GPA-direct packet: add 1 to every byte it names, and answer what map_gpa() said and how many pieces it took. */
static void echo_gpa(struct echo_channel *e)
{
    struct hv_packet_desc desc = {.trans_id = e->packet.trans_id,
                                  .type = HV_PACKET_COMPLETION,
                                  .payload_bytes = sizeof(struct echo_gpa_result)};
    struct echo_gpa_result result = {0};
    struct iovec iov[ECHO_GPA_PIECES];
    struct hv_packet_slot slot;

    if (e->packet.trans_id == ECHO_RANGES)
        result.pieces = hv_host_channel_map_gpa_ranges(e->channel, &e->packet, iov, ECHO_GPA_PIECES,
                                                       &result.bytes);
    else
        result.pieces =
            hv_host_channel_map_gpa(e->channel, &e->packet, iov, ECHO_GPA_PIECES, &result.bytes);
    for (ssize_t i = 0; i < result.pieces; i++) {
        uint8_t *bytes = iov[i].iov_base;

        for (size_t at = 0; at < iov[i].iov_len; at++)
            bytes[at]++;
        result.sum += (uint32_t)iov[i].iov_len;
    }
    require(!hv_host_channel_reserve(e->channel, &desc, &slot), "room for the answer");
    memcpy(slot.payload, &result, sizeof(result));
}

/** False when the ring to the guest is full. */
static bool echo_answer(struct echo_channel *e)
{
    struct hv_packet_desc desc = {.trans_id = e->packet.trans_id,
                                  .type = HV_PACKET_COMPLETION,
                                  .payload_bytes = e->packet.payload_bytes};
    struct hv_packet_slot slot;

    while (hv_host_channel_reserve(e->channel, &desc, &slot) == -EAGAIN) {
        (void)hv_host_channel_flush(e->channel);
        if (!hv_host_channel_want_room(e->channel, 24 + desc.payload_bytes))
            return false;
    }
    memcpy(slot.payload, e->packet.payload, desc.payload_bytes);
    return true;
}

static int echo_poll(void *ctx)
{
    struct echo_channel *e = ctx;
    int done = 0;

    atomic_store_explicit(&e->echo->last_thread, (unsigned)pthread_self() >> 4,
                          memory_order_relaxed);
    atomic_fetch_add_explicit(&e->echo->polls, 1, memory_order_relaxed);
    if (e->closing) {
        uint64_t count;

        if (atomic_load(&e->echo->hold_close))
            return 1; /* keeps the worker awake until it is allowed */
        if (e->echo->late_fd && read(e->echo->late_fd, &count, sizeof(count)) < 0)
            return 0; /* the worker sleeps until then */
        atomic_fetch_sub(&e->echo->open_channels, 1);
        atomic_fetch_add(&e->echo->closed, 1);
        hv_host_channel_closed(e->channel);
        free(e);
        return 1;
    }
    while (e->have || !hv_host_channel_peek(e->channel, &e->packet)) {
        e->have = true;
        if (e->packet.trans_id & ECHO_COMMAND)
            echo_command(e, e->packet.trans_id);
        else if (e->packet.type == HV_PACKET_GPA_DIRECT)
            echo_gpa(e);
        else if (!echo_answer(e))
            break;
        e->have = false;
        done++;
    }
    hv_host_channel_hold(e->channel, e->have);
    (void)hv_host_channel_flush(e->channel);
    if (!e->have)
        hv_host_channel_release(e->channel);
    atomic_fetch_add_explicit(&e->echo->packets, (unsigned)done, memory_order_relaxed);
    return done;
}

static void echo_close(void *ctx)
{
    struct echo_channel *e = ctx;
    struct hv_host_stats stats;

    hv_host_channel_get_stats(e->channel, &stats);
    atomic_store(&e->echo->wakeups, (unsigned)stats.wakeups);
    atomic_fetch_add(&e->echo->closing, 1);
    while (atomic_load(&e->echo->hold_worker))
        (void)poll(NULL, 0, 1);
    e->closing = true;
}

static void echo_guest_gone(void *ctx, uint32_t guest_id)
{
    struct echo *echo = ctx;

    require(guest_id, "guests count from 1");
    atomic_fetch_add(&echo->guests_gone, 1);
}

static const struct hv_host_device_ops echo_ops = {
    .open = echo_open, .poll = echo_poll, .close = echo_close, .guest_gone = echo_guest_gone};

static void echo_gone(void *arg)
{
    struct echo *echo = arg;

    require(!atomic_load(&echo->open_channels), "a device is gone when no channel is left");
    atomic_store(&echo->gone, true);
}

static void offer_here(struct rig *rig, struct echo *echo, uint8_t number, bool monitored)
{
    struct hv_host_device_opts opts = {.size = sizeof(opts),
                                       .class_id = rig_class,
                                       .instance_id = {{number}},
                                       .monitored = monitored,
                                       .max_sub_channels = 4};

    memset(opts.user_data, number, sizeof(opts.user_data));
    atomic_store(&echo->gone, false);
    echo->instance = opts.instance_id;
    require(!hv_host_device_offer(rig->host, &opts, &echo_ops, echo, &echo->device), "offer");
}

struct offer_call {
    struct echo *echo;
    uint8_t number;
    bool monitored;
};

static void do_offer(struct rig *rig, void *arg)
{
    const struct offer_call *call = arg;

    offer_here(rig, call->echo, call->number, call->monitored);
}

void rig_offer(struct rig *rig, struct echo *echo, uint8_t number, bool monitored)
{
    struct offer_call call = {echo, number, monitored};

    rig_call(rig, do_offer, &call);
}

static void do_withdraw(struct rig *rig, void *arg)
{
    struct echo *echo = arg;

    (void)rig;
    hv_host_device_withdraw(echo->device, echo_gone, echo);
    echo->device = NULL;
}

void rig_withdraw(struct rig *rig, struct echo *echo)
{
    rig_call(rig, do_withdraw, echo);
}

/* ---- Threads ---- */

struct worker_arg {
    struct hv_host_worker *worker;
    int stop_fd;
};

static void *run_worker(void *opaque)
{
    struct worker_arg arg = *(struct worker_arg *)opaque;
    struct pollfd fds[2] = {{.fd = hv_host_worker_fd(arg.worker), .events = POLLIN},
                            {.fd = arg.stop_fd, .events = POLLIN}};

    free(opaque);
    for (;;) {
        if (hv_host_worker_poll(arg.worker) || hv_host_worker_arm(arg.worker))
            continue;
        (void)poll(fds, 2, -1);
        hv_host_worker_disarm(arg.worker);
        if (fds[1].revents)
            return NULL;
    }
}

static void guest_added(void *opaque, struct hv_host_guest *guest)
{
    struct rig *rig = opaque;
    struct rig_guest *g = rig->guests;

    while (g < rig->guests + RIG_GUESTS_MAX && g->guest)
        g++;
    require(g < rig->guests + RIG_GUESTS_MAX, "too many guests");
    g->guest = guest;
    g->workers = hv_host_guest_worker_count(guest);
    g->stop_fd = eventfd(0, EFD_CLOEXEC);
    require(g->workers <= RIG_WORKERS && g->stop_fd >= 0, "workers");
    for (uint16_t i = 0; i < g->workers; i++) {
        struct worker_arg *arg = malloc(sizeof(*arg));

        require(arg, "memory");
        arg->worker = hv_host_guest_worker(guest, i);
        arg->stop_fd = g->stop_fd;
        require(!pthread_create(&g->threads[i], NULL, run_worker, arg), "thread");
    }
    atomic_fetch_add(&rig->guests_added, 1);
}

static void guest_removed(void *opaque, struct hv_host_guest *guest)
{
    struct rig *rig = opaque;
    struct rig_guest *g = rig->guests;
    const uint64_t one = 1;

    while (g->guest != guest)
        g++;
    require(write(g->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one), "stop");
    for (uint16_t i = 0; i < g->workers; i++)
        (void)pthread_join(g->threads[i], NULL);
    (void)close(g->stop_fd);
    g->guest = NULL;
    hv_host_guest_put(guest);
    atomic_fetch_add(&rig->guests_removed, 1);
}

static void *run_control(void *opaque)
{
    struct rig *rig = opaque;
    struct pollfd fd = {.fd = hv_host_fd(rig->host), .events = POLLIN};

    for (;;) {
        require(!hv_host_poll(rig->host), "host poll");
        if (rig->stop) /* set in there */
            return NULL;
        (void)poll(&fd, 1, hv_host_next_deadline_ms(rig->host));
    }
}

struct call {
    struct hv_host_work work;
    struct rig *rig;
    void (*run)(struct rig *rig, void *arg);
    void *arg;
    sem_t done;
};

static void run_call(struct hv_host_work *work)
{
    struct call *call = (struct call *)(void *)work;

    call->run(call->rig, call->arg);
    sem_post(&call->done);
}

void rig_call(struct rig *rig, void (*run)(struct rig *rig, void *arg), void *arg)
{
    struct call call = {.work.run = run_call, .rig = rig, .run = run, .arg = arg};

    sem_init(&call.done, 0, 0);
    hv_host_post(rig->host, &call.work);
    while (sem_wait(&call.done))
        require(errno == EINTR, "semaphore");
    sem_destroy(&call.done);
}

/* ---- The rig ---- */

static void log_line(void *arg, enum hv_log_level level, const char *line)
{
    struct rig *rig = arg;

    if (getenv("RIG_VERBOSE"))
        fprintf(stderr, "%d %s\n", (int)level, line);
    if (level > HV_LOG_WARNING)
        return;
    pthread_mutex_lock(&rig->log_lock);
    (void)snprintf(rig->last_warning, sizeof(rig->last_warning), "%s", line);
    rig->warnings++;
    pthread_mutex_unlock(&rig->log_lock);
}

bool rig_has_warned(struct rig *rig, const char *text)
{
    bool found;

    pthread_mutex_lock(&rig->log_lock);
    found = strstr(rig->last_warning, text) != NULL;
    pthread_mutex_unlock(&rig->log_lock);
    return found;
}

bool rig_warned(struct rig *rig, const char *text)
{
    if (rig_has_warned(rig, text))
        return true;
    fprintf(stderr, "expected \"%s\", the host said \"%s\"\n", text, rig->last_warning);
    return false;
}

void rig_start(struct rig *rig, const struct rig_opts *opts)
{
    struct hv_host_opts host_opts = HV_HOST_OPTS_INIT;

    memset(rig, 0, sizeof(*rig));
    pthread_mutex_init(&rig->log_lock, NULL);
    host_opts.log.line = log_line;
    host_opts.log.arg = rig;
    host_opts.max_version = opts->max_version;
    host_opts.max_guests = opts->max_guests;
    host_opts.workers_per_guest = opts->workers ? opts->workers : 2;
    host_opts.vanishing_memory = opts->vanishing;
    host_opts.guest_added = guest_added;
    host_opts.guest_removed = guest_removed;
    host_opts.arg = rig;
    require(!hv_host_create(&host_opts, &rig->host), "host");
    if (!opts->no_device)
        offer_here(rig, &rig->echo, 1, opts->monitored);
    require(!pthread_create(&rig->control, NULL, run_control, rig), "thread");
    rig->control_runs = true;
}

static void do_stop(struct rig *rig, void *arg)
{
    (void)arg;
    rig->stop = true;
}

void rig_stop(struct rig *rig)
{
    rig_call(rig, do_stop, NULL);
    (void)pthread_join(rig->control, NULL);
    if (rig->echo.device)
        do_withdraw(rig, &rig->echo);
    hv_host_destroy(rig->host);
    require(!atomic_load(&rig->echo.open_channels), "every channel was closed");
    require(atomic_load(&rig->guests_added) == atomic_load(&rig->guests_removed),
            "every guest that came went");
    pthread_mutex_destroy(&rig->log_lock);
}

struct adopt_call {
    int fd;
    int err;
};

static void do_adopt(struct rig *rig, void *arg)
{
    struct adopt_call *call = arg;

    call->err = hv_host_adopt(rig->host, call->fd);
}

int rig_connect(struct rig *rig)
{
    struct adopt_call call;
    int fds[2];

    require(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), "socketpair");
    call.fd = fds[0];
    rig_call(rig, do_adopt, &call);
    return fds[1];
}

void rig_address(struct rig *rig, char *address, size_t bytes)
{
    (void)snprintf(address, bytes, "fd:%d", rig_connect(rig));
}

/** Another thread is about to do it: yield to it, and look again. */
static bool wait_until(bool (*done)(const void *arg, unsigned value), const void *arg,
                       unsigned value)
{
    struct timespec now, end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += 10;
    while (!done(arg, value)) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end.tv_sec)
            return false;
        (void)poll(NULL, 0, 1);
    }
    return true;
}

static bool counter_reached(const void *arg, unsigned value)
{
    return atomic_load((const atomic_uint *)arg) == value;
}

static bool flag_is_set(const void *arg, unsigned value)
{
    (void)value;
    return atomic_load((const atomic_bool *)arg);
}

bool rig_wait(const atomic_uint *counter, unsigned value)
{
    return wait_until(counter_reached, counter, value);
}

bool rig_wait_flag(const atomic_bool *flag)
{
    return wait_until(flag_is_set, flag, 0);
}
