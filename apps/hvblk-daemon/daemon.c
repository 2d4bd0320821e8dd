/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "log.h"
#include "pid_file.h"

/* Kinds of news beyond those of the reactors and the device. */
#define NEWS_SIGNAL (UBLK_HELPED + 1)

#define HUGEPAGE_BYTES  ((size_t)2 << 20)
#define DRAIN_NS        UINT64_C(30000000000) /* then connections are cut */
#define ACCEPT_PAUSE_NS UINT64_C(100000000)
#define SAME_WISH_NS    UINT64_C(200000000)
#define MS_NS           UINT64_C(1000000)

/* ---- Signals: a thread of their own, so that a second SIGTERM works whatever the others wait for ---- */

static sigset_t signals_of_ours(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    return set;
}

static void *watch_signals(void *arg)
{
    struct daemon *daemon = arg;
    sigset_t set = signals_of_ours();
    uint64_t told_ns = 0;
    int number;

    while (!sigwait(&set, &number)) {
        struct mail news = {.kind = NEWS_SIGNAL, .fd = number};
        uint64_t now_ns = hv_spin_clock_ns();

        if (number != SIGHUP) {
            /* timeout(1) and a closing terminal tell process and group: that is one wish. */
            if (told_ns && now_ns - told_ns < SAME_WISH_NS)
                continue;
            if (told_ns)
                _exit(HV_EXIT_FAILED); /* asked twice: at once */
            told_ns = now_ns;
        }
        (void)mailbox_post(&daemon->news, &news);
    }
    return NULL;
}

static int start_signals(struct daemon *daemon)
{
    sigset_t set = signals_of_ours();
    pthread_t thread;
    int ret;

    (void)signal(SIGPIPE, SIG_IGN);
    ret = -pthread_sigmask(SIG_BLOCK, &set, NULL); /* every thread to come inherits that */
    if (!ret)
        ret = -pthread_create(&thread, NULL, watch_signals, daemon);
    if (!ret)
        (void)pthread_detach(thread); /* lives as long as the process */
    return ret;
}

/* ---- Start ---- */

static unsigned reactors_wanted(const struct options *o)
{
    unsigned channels = 0;

    for (unsigned i = 0; i < o->disk_count; i++)
        if (o->disks[i].channels > channels)
            channels = o->disks[i].channels;
    if (o->reactors)
        return o->reactors;
    if (o->cpus.count)
        return o->cpus.count;
    return channels ? channels : 1;
}

static int start_emulate(struct daemon *daemon)
{
    const struct options *o = daemon->options;
    struct emulate_opts opts = {.disks = o->disks,
                                .disk_count = o->disk_count,
                                .max_transfer_bytes = o->max_transfer_bytes,
                                .fault = o->fault,
                                .monitored = o->monitor,
                                .workers = (uint16_t)daemon->reactor_count};
    char why[EMULATE_WHY_BYTES] = "out of memory";

    if (!o->disk_count)
        return 0;
    for (unsigned i = 0; i < o->disk_count; i++) { /* of the controller: the last word counts */
        const struct hv_disk_option *disk = &o->disks[i];

        opts.channels = disk->channels ? disk->channels : opts.channels;
        opts.max_storvsc = disk->max_version ? disk->max_version : opts.max_storvsc;
        opts.fault = disk->fault ? disk->fault : opts.fault;
        if (disk->max_transfer_bytes)
            opts.max_transfer_bytes = disk->max_transfer_bytes;
    }
    if (!opts.channels)
        opts.channels = (uint16_t)daemon->reactor_count;
    if (!emulate_create(&opts, why, &daemon->emulate))
        return 0;
    log_line(HV_LOG_ERROR, "%s", why);
    return HV_EXIT_FAILED;
}

/** Requests of all block devices in one reactor, and the memory that they own. */
static void count_ublk(const struct options *o, struct reactor_opts *opts)
{
    unsigned disks = 0;

    for (unsigned i = 0; i < o->disk_count; i++)
        disks += o->disks[i].luns ? o->disks[i].luns : 1;
    if (!disks)
        disks = 1; /* of a host elsewhere: more of them take from the common memory */
    for (unsigned i = 0; i < o->ublk_count; i++) {
        const struct ublk_option *ublk = &o->ublk[i];

        opts->buffer_bytes += ublk_option_bytes(ublk) * (ublk->lun[0] ? 1 : disks);
        opts->tag_count += ublk->depth * (ublk->lun[0] ? 1 : disks);
    }
}

static int make_reactors(struct daemon *daemon)
{
    const struct options *o = daemon->options;
    struct reactor_opts opts = {.poll = o->poll,
                                .normal = o->normal,
                                .wait_ns = o->reconnect_s * UINT64_C(1000000000),
                                .buffer_bytes = o->buffer_bytes,
                                .lun_shared = daemon->device.shared,
                                .connections = &daemon->connections,
                                .news = &daemon->news};
    int ret = 0;

    count_ublk(o, &opts);
    if (o->device && !strncmp(o->device, "uio:", 4)) {
        opts.hugepages = true;
        opts.buffer_bytes =
            (opts.buffer_bytes + HUGEPAGE_BYTES - 1) / HUGEPAGE_BYTES * HUGEPAGE_BYTES;
    }
    daemon->reactors = calloc(daemon->reactor_count, sizeof(*daemon->reactors));
    if (!daemon->reactors)
        ret = -ENOMEM;
    for (unsigned i = 0; !ret && i < daemon->reactor_count; i++) {
        opts.index = i;
        ret = reactor_init(&daemon->reactors[i], &opts);
    }
    if (!ret)
        return 0;
    if (opts.hugepages && ret == -ENOMEM)
        log_line(HV_LOG_ERROR,
                 "%u reactors need %zu hugepages each, and more for the driver: "
                 "sysctl vm.nr_hugepages=N, or a smaller --buffers",
                 daemon->reactor_count, opts.buffer_bytes / HUGEPAGE_BYTES);
    else
        log_line(HV_LOG_ERROR, "reactors: %s", strerror(-ret));
    return HV_EXIT_FAILED;
}

static int open_device(struct daemon *daemon)
{
    const struct options *o = daemon->options;
    struct device_opts opts = {.address = o->device,
                               .emulate = daemon->emulate,
                               .reactors = daemon->reactors,
                               .reactor_count = daemon->reactor_count,
                               .news = &daemon->news,
                               .depth = o->depth,
                               .max_vmbus = o->max_vmbus,
                               .max_storvsc = o->max_storvsc};
    int ret = device_open(&daemon->device, &opts);

    if (ret) {
        log_line(HV_LOG_ERROR, "%s: the controller cannot be opened: %s",
                 o->device ? o->device : "emulated host", strerror(-ret));
        return HV_EXIT_FAILED;
    }
    if (!daemon->device.luns.count)
        log_line(HV_LOG_WARNING, "no disk yet: exports will appear when the host adds one");
    return 0;
}

static int start_reactors(struct daemon *daemon)
{
    for (unsigned i = 0; i < daemon->reactor_count; i++) {
        int ret = reactor_start(&daemon->reactors[i]);

        if (!ret)
            ret = hv_cpus_pin(daemon->reactors[i].thread, &daemon->options->cpus, i);
        if (ret) {
            log_line(HV_LOG_ERROR, "reactor %u: %s", i, strerror(-ret));
            return HV_EXIT_FAILED;
        }
    }
    return 0;
}

static int open_sockets(struct daemon *daemon)
{
    const struct options *o = daemon->options;
    int handed = sd_listen_fds(0);
    char why[HV_OPTION_WHY_BYTES] = "";

    for (int i = 0; i < handed && daemon->listener_count < LISTENER_MAX; i++) {
        if (listener_adopt(&daemon->listeners[daemon->listener_count], SD_LISTEN_FDS_START + i,
                           why)) {
            log_line(HV_LOG_ERROR, "%s", why);
            return HV_EXIT_FAILED;
        }
        daemon->listener_count++;
    }
    for (unsigned i = 0; i < o->export_count && daemon->listener_count < LISTENER_MAX; i++) {
        if (listener_open(&daemon->listeners[daemon->listener_count], o->exports[i], why)) {
            log_line(HV_LOG_ERROR, "--export %s: %s", o->exports[i], why);
            return HV_EXIT_FAILED;
        }
        daemon->listener_count++;
    }
    if (o->control && control_open(&daemon->control, o->control, why)) {
        log_line(HV_LOG_ERROR, "--control %s", why);
        return HV_EXIT_FAILED;
    }
    return 0;
}

static int open_pid_file(struct daemon *daemon)
{
    const char *path = daemon->options->pid_file;

    if (!path)
        return 0;
    daemon->pid_fd = pid_file_open(path);
    if (daemon->pid_fd >= 0)
        return 0;
    log_line(HV_LOG_ERROR, "--pid-file %s: %s", path,
             daemon->pid_fd == -EBUSY ? "another daemon runs with it" : strerror(-daemon->pid_fd));
    return HV_EXIT_FAILED;
}

static int open_ublk(struct daemon *daemon)
{
    const struct options *o = daemon->options;
    const struct ublk_opts opts = {.exports = o->ublk,
                                   .export_count = o->ublk_count,
                                   .recover = o->recover,
                                   .reactors = daemon->reactors,
                                   .reactor_count = daemon->reactor_count,
                                   .news = &daemon->news};
    char why[HV_OPTION_WHY_BYTES] = "";

    if (!o->ublk_count || !ublk_open(&opts, why, &daemon->ublk))
        return 0;
    log_line(HV_LOG_ERROR, "--export ublk: %s", why);
    return HV_EXIT_FAILED;
}

static void print_devices(const struct daemon *daemon)
{
    struct ublk_status status[UBLK_DEVICES_MAX];
    unsigned count = ublk_status(daemon->ublk, status, UBLK_DEVICES_MAX);

    for (unsigned i = 0; i < count; i++)
        if (status[i].live)
            (void)printf("ready ublk:/dev/ublkb%u\n", status[i].id);
}

/** Let clients in, and say so to everybody who waits for that. */
static int say_ready(struct daemon *daemon)
{
    for (unsigned i = 0; i < daemon->listener_count; i++) {
        int ret = listener_start(&daemon->listeners[i]);

        if (ret) {
            log_line(HV_LOG_ERROR, "%s: %s", daemon->listeners[i].uri, strerror(-ret));
            return HV_EXIT_FAILED;
        }
    }
    daemon->listening = true;
    if (daemon->pid_fd >= 0 && pid_file_write(daemon->pid_fd)) {
        log_line(HV_LOG_ERROR, "--pid-file %s: cannot be written", daemon->options->pid_file);
        return HV_EXIT_FAILED;
    }
    for (unsigned i = 0; i < daemon->listener_count; i++)
        (void)printf("ready %s\n", daemon->listeners[i].uri);
    print_devices(daemon);
    (void)fflush(stdout);
    (void)sd_notify(0, "READY=1");
    if (daemon->options->status)
        status_line_start(&daemon->status_line, hv_spin_clock_ns());
    return 0;
}

static int start(struct daemon *daemon)
{
    int ret;

    if (mailbox_init(&daemon->news) || start_signals(daemon))
        return HV_EXIT_FAILED;
    if (daemon->options->ublk_count)
        ublk_protect_process();
    ret = open_pid_file(daemon);
    if (!ret)
        ret = start_emulate(daemon);
    if (!ret)
        ret = make_reactors(daemon);
    if (!ret)
        ret = open_device(daemon);
    if (!ret)
        ret = start_reactors(daemon);
    if (!ret)
        ret = open_sockets(daemon);
    if (!ret)
        ret = open_ublk(daemon);
    return ret;
}

/* ---- Serve ---- */

void daemon_sum(const struct daemon *daemon, struct stats_sum *ret_sum)
{
    struct stats_sum sum = {.connections_refused = daemon->refused};

    for (unsigned i = 0; i < daemon->reactor_count; i++)
        stats_gather(&daemon->reactors[i].stats, &sum);
    *ret_sum = sum;
}

void daemon_rescan(struct daemon *daemon)
{
    if (daemon->emulate)
        emulate_refresh(daemon->emulate);
    if (daemon->device.up)
        reactor_rescan(&daemon->reactors[0], daemon->device.storvsc);
}

void daemon_stop(struct daemon *daemon, bool keep)
{
    if (daemon->stopping)
        return;
    daemon->stopping = true;
    daemon->stop_ns = hv_spin_clock_ns();
    (void)sd_notify(0, "STOPPING=1");
    log_line(HV_LOG_INFO, "stopping: %u connections finish what they began",
             atomic_load(&daemon->connections));
    for (unsigned i = 0; i < daemon->listener_count; i++)
        listener_close(&daemon->listeners[i]);
    daemon->listening = false;
    ublk_stop(daemon->ublk, keep);
    daemon->draining = daemon->reactor_count;
    for (unsigned i = 0; i < daemon->reactor_count; i++)
        reactor_drain(&daemon->reactors[i]);
}

static void handle_news(struct daemon *daemon, const struct mail *news)
{
    switch (news->kind) {
    case REACTOR_DEVICE_LOST:
        device_lost(&daemon->device);
        break;
    case REACTOR_DRAINED:
        daemon->draining--;
        break;
    case REACTOR_UBLK_ENDED:
    case UBLK_HELPED:
        ublk_news(daemon->ublk, news);
        break;
    case DEVICE_LUNS_CHANGED:
        device_luns_changed(&daemon->device);
        break;
    default: /* NEWS_SIGNAL */
        if (news->fd == SIGHUP)
            daemon_rescan(daemon);
        else
            daemon_stop(daemon, false);
        break;
    }
}

/** One client to the next reactor; false = none waits. */
static bool accept_one(struct daemon *daemon, struct listener *listener, uint64_t now_ns)
{
    int fd = listener_accept(listener);
    unsigned active = daemon->device.active ? daemon->device.active : 1;

    if (fd < 0) {
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS)
            daemon->accept_again_ns = now_ns + ACCEPT_PAUSE_NS;
        return fd == -ECONNABORTED || fd == -EINTR;
    }
    if (atomic_fetch_add(&daemon->connections, 1) >= daemon->options->max_connections ||
        reactor_add(&daemon->reactors[daemon->next_reactor++ % active], fd,
                    ++daemon->next_connection)) {
        atomic_fetch_sub(&daemon->connections, 1);
        (void)close(fd);
        if (!daemon->refused++)
            log_line(HV_LOG_WARNING, "more than %u connections: refused",
                     daemon->options->max_connections);
    }
    return true;
}

static void accept_all(struct daemon *daemon, uint64_t now_ns)
{
    for (unsigned i = 0; daemon->listening && i < daemon->listener_count; i++)
        while (!daemon->closed_to_new && now_ns >= daemon->accept_again_ns &&
               accept_one(daemon, &daemon->listeners[i], now_ns))
            ;
}

static int sooner(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

static void wait_for_news(struct daemon *daemon, uint64_t now_ns)
{
    struct pollfd fds[3 + LISTENER_MAX + CONTROL_FDS_MAX];
    uint64_t watchdog_us = 0;
    nfds_t count = 0;
    int ms, ublk_ms, fd = device_wait(&daemon->device, now_ns, &ms);
    int ublk_fd = ublk_wait(daemon->ublk, now_ns, &ublk_ms);

    fds[count++] = (struct pollfd){.fd = daemon->news.fd, .events = POLLIN};
    if (fd >= 0)
        fds[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    if (ublk_fd >= 0)
        fds[count++] = (struct pollfd){.fd = ublk_fd, .events = POLLIN};
    ms = sooner(ms, ublk_ms);
    if (now_ns < daemon->accept_again_ns)
        ms = sooner(ms, (int)((daemon->accept_again_ns - now_ns) / MS_NS) + 1);
    else
        for (unsigned i = 0;
             daemon->listening && !daemon->closed_to_new && i < daemon->listener_count; i++)
            fds[count++] = (struct pollfd){.fd = daemon->listeners[i].fd, .events = POLLIN};
    count += control_fds(&daemon->control, fds + count);
    ms = sooner(ms, status_line_wait(&daemon->status_line, now_ns));
    if (daemon->stopping)
        ms = sooner(ms, 1000);
    if (sd_watchdog_enabled(0, &watchdog_us) > 0)
        ms = sooner(ms, (int)(watchdog_us / 2000));
    (void)poll(fds, count, ms); /* whatever woke us is looked for by everybody */
}

/** Block devices follow the LUNs; when all that there shall be are there, clients may come. */
static void serve_ublk(struct daemon *daemon, uint64_t now_ns)
{
    if (daemon->luns_seen != daemon->device.generation) {
        daemon->luns_seen = daemon->device.generation;
        ublk_luns(daemon->ublk, &daemon->device.luns, daemon->device.active);
    }
    ublk_poll(daemon->ublk, now_ns);
    if (daemon->ready || daemon->stopping || ublk_busy(daemon->ublk))
        return;
    daemon->ready = true;
    if (!ublk_failed(daemon->ublk) && !say_ready(daemon))
        return;
    daemon->exit_code = HV_EXIT_FAILED;
    daemon_stop(daemon, false);
}

static void serve(struct daemon *daemon)
{
    while (!daemon->stopping || daemon->draining || ublk_busy(daemon->ublk)) {
        uint64_t now_ns = hv_spin_clock_ns();
        struct stats_sum sum;
        struct mail *news;

        while (mailbox_waiting(&daemon->news) && (news = mailbox_take(&daemon->news))) {
            handle_news(daemon, news);
            mailbox_answer(news);
        }
        accept_all(daemon, now_ns);
        device_poll(&daemon->device, now_ns);
        serve_ublk(daemon, now_ns);
        control_poll(&daemon->control, daemon);
        if (daemon->status_line.on) {
            daemon_sum(daemon, &sum);
            status_line_tick(&daemon->status_line, now_ns, &sum, daemon->device.up);
        }
        (void)sd_notify(0, "WATCHDOG=1");
        if (daemon->stopping && now_ns > daemon->stop_ns + DRAIN_NS) {
            log_line(HV_LOG_WARNING, "clients did not finish in time and are cut off");
            break;
        }
        if (!daemon->stopping || daemon->draining || ublk_busy(daemon->ublk))
            wait_for_news(daemon, now_ns);
    }
}

/* ---- Stop ---- */

static void finish(struct daemon *daemon)
{
    const struct options *o = daemon->options;
    struct stats_sum sum;
    int ret;

    for (unsigned i = 0; i < daemon->listener_count; i++)
        listener_close(&daemon->listeners[i]);
    for (unsigned i = 0; daemon->reactors && i < daemon->reactor_count; i++)
        reactor_stop(&daemon->reactors[i]);
    ublk_close(daemon->ublk);
    if (daemon->listening || daemon->stopping) {
        daemon_sum(daemon, &sum);
        status_line_stop(&daemon->status_line, &sum, daemon->start_ns, hv_spin_clock_ns());
        ret = o->stats_json ? report_write(daemon, o->stats_json) : 0;
        if (ret)
            log_line(HV_LOG_ERROR, "--stats-json %s: %s", o->stats_json, strerror(-ret));
    }
    device_close(&daemon->device);
    emulate_destroy(daemon->emulate);
    control_close(&daemon->control);
    for (unsigned i = 0; daemon->reactors && i < daemon->reactor_count; i++)
        reactor_fini(&daemon->reactors[i]);
    free(daemon->reactors);
    pid_file_close(daemon->pid_fd, o->pid_file);
}

int daemon_run(const struct options *options)
{
    struct daemon *daemon = calloc(1, sizeof(*daemon));
    int ret;

    if (!daemon)
        return HV_EXIT_FAILED;
    daemon->options = options;
    daemon->pid_fd = -1;
    daemon->start_ns = hv_spin_clock_ns();
    daemon->reactor_count = reactors_wanted(options);
    log_init(options->log_level);
    ret = start(daemon);
    if (!ret) {
        serve(daemon);
        ret = daemon->exit_code;
    }
    finish(daemon);
    /* The signal thread may still look at the news: they end with the process. */
    return ret;
}
