/* SPDX-License-Identifier: BSD-3-Clause */
/* hvnet-pmd: this thread waits for signals and tells how things go; the loops run on their cores. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include "common/limits.h"
#include "runner.h"

/** How often loss of a device is looked for when no status is due. */
#define LOOK_MS 100

static double seconds_since(const struct timespec *start)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/** Before any thread exists: they inherit the mask, and signals come through the descriptor. */
static int block_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
    return sigprocmask(SIG_BLOCK, &set, NULL) ? -errno
                                              : signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool all_gone(const struct run *run)
{
    for (unsigned i = 0; i < run->port_count; i++)
        if (!atomic_load(&run->ports[i].gone))
            return false;
    return true;
}

static void tell_changes(struct run *run, bool told[RUN_PORTS_MAX])
{
    for (unsigned i = 0; i < run->port_count; i++)
        if (atomic_load(&run->ports[i].gone) && !told[i]) {
            told[i] = true;
            (void)fprintf(stderr, "hvnet-pmd: %s: the device was taken away\n", run->ports[i].text);
        }
}

/** Until a signal, the end of the time, or nothing is left to serve.  Exit code. */
static int watch(struct run *run, int signal_fd)
{
    struct pollfd fd = {.fd = signal_fd, .events = POLLIN};
    double next = run->options.interval_ms / 1e3, now;
    bool told[RUN_PORTS_MAX] = {false};
    struct timespec start;
    int ret = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        if (poll(&fd, 1, LOOK_MS) > 0)
            break;
        now = seconds_since(&start);
        tell_changes(run, told);
        if (all_gone(run)) {
            ret = HV_EXIT_FAILED;
            break;
        }
        if (run->options.duration_s && now >= run->options.duration_s)
            break;
        if (run->options.interval_ms && now >= next) {
            report_status(run, now, false);
            next += run->options.interval_ms / 1e3;
        }
    }
    atomic_store(&run->stop, true);
    rte_eal_mp_wait_lcore();
    report_status(run, seconds_since(&start), true);
    return ret;
}

static int run_loops(struct run *run, int signal_fd)
{
    static struct run_loop loops[HV_CPUS_MAX];

    /* lcore 0 is this thread */
    for (unsigned i = 0; i < run->options.cores.count; i++) {
        loops[i] = (struct run_loop){.run = run, .index = i, .count = run->options.cores.count};
        if (rte_eal_remote_launch(run_loop_main, &loops[i], i + 1)) {
            (void)fprintf(stderr, "hvnet-pmd: no loop on CPU %u\n", run->options.cores.cpu[i]);
            atomic_store(&run->stop, true);
            rte_eal_mp_wait_lcore();
            return HV_EXIT_FAILED;
        }
    }
    report_start(run);
    return watch(run, signal_fd);
}

static int open_capture(struct run *run)
{
    int err;

    if (!run->options.capture)
        return 0;
    err = capture_create(run->options.capture, run->options.snap_bytes, run->options.cores.count,
                         &run->capture);
    if (err)
        (void)fprintf(stderr, "hvnet-pmd: --pcap %s: %s\n", run->options.capture, strerror(-err));
    return err ? HV_EXIT_FAILED : 0;
}

static int serve(struct run *run, int signal_fd)
{
    int ret = run_ports_start(run), err;

    if (!ret)
        ret = open_capture(run);
    if (!ret)
        ret = run_loops(run, signal_fd);
    err = capture_destroy(run->capture);
    if (err) {
        (void)fprintf(stderr, "hvnet-pmd: --pcap %s: %s\n", run->options.capture, strerror(-err));
        ret = ret ? ret : HV_EXIT_FAILED;
    }
    run_ports_stop(run);
    return ret;
}

/** The ports' addresses: those of the command line, then those of the emulated host. */
static int collect_ports(struct run *run, char (*emulated)[RUN_ADDRESS_BYTES],
                         const char **addresses)
{
    const struct run_options *o = &run->options;
    unsigned queues = o->queues ? o->queues : o->cores.count;

    if (o->link_count &&
        run_emulate_create(o->links, o->link_count, queues, emulated, &run->emulate))
        return HV_EXIT_FAILED;
    for (unsigned i = 0; i < o->port_count; i++) {
        run->ports[run->port_count].text = o->ports[i];
        addresses[run->port_count++] = o->ports[i];
    }
    for (unsigned i = 0; i < o->link_count; i++) {
        run->ports[run->port_count].text = o->links[i];
        addresses[run->port_count++] = emulated[i];
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct run run;
    static char emulated[RUN_PORTS_MAX][RUN_ADDRESS_BYTES];
    const char *addresses[RUN_PORTS_MAX];
    int ret = run_options_parse(argc, argv, &run.options), signal_fd;

    if (ret)
        return ret == 1 ? 0 : ret;
    hv_raise_file_limit();
    signal_fd = block_signals();
    if (signal_fd < 0) {
        (void)fprintf(stderr, "hvnet-pmd: no signals: %s\n", strerror(-signal_fd));
        return HV_EXIT_FAILED;
    }
    ret = collect_ports(&run, emulated, addresses);
    if (!ret)
        ret = run_eal_start(&run, addresses);
    if (!ret) {
        ret = serve(&run, signal_fd);
        (void)rte_eal_cleanup();
    }
    run_emulate_destroy(run.emulate);
    (void)close(signal_fd);
    return ret;
}
