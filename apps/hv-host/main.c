/* SPDX-License-Identifier: BSD-3-Clause */
/* hv-host: the emulated Hyper-V as a process.  This thread handles control messages, commands and signals. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/limits.h"
#include "common/spin.h"
#include "control.h"
#include "controller.h"
#include "guests.h"
#include "nics.h"
#include "options.h"
#include "report.h"

#define STOP_DEADLINE_NS UINT64_C(10000000000) /* for requests in flight at the end */

struct program {
    struct options options;
    struct guests *guests;
    struct hv_host *host;
    struct controller *controller;
    struct nics *nics;
    struct control *control;
    int signal_fd;
    bool stop;
    unsigned withdrawing; /* controller, NICs */
    bool ready;           /* the pid file is ours */
};

/** Memory on huge pages cannot be sealed: a guest that takes it away while we use it loses its connection. */
static void on_sigbus(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (!hv_host_memory_fault(info->si_addr))
        (void)signal(number, SIG_DFL); /* a fault of our own: it comes again on return */
}

static int block_signals(void)
{
    const struct sigaction fault = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) || sigaction(SIGBUS, &fault, NULL))
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int start_host(struct program *p)
{
    struct hv_host_opts opts = HV_HOST_OPTS_INIT;
    int err;

    p->guests = guests_create(&p->options.cpus, p->options.poll);
    if (!p->guests)
        return -ENOMEM;
    opts.log = report_hook();
    opts.max_version = p->options.max_vmbus;
    opts.max_guests = p->options.max_guests;
    opts.workers_per_guest = p->options.workers;
    opts.vanishing_memory = true;
    opts.guest_added = guests_added;
    opts.guest_removed = guests_removed;
    opts.arg = p->guests;
    err = hv_host_create(&opts, &p->host);
    if (err)
        report(HV_LOG_ERROR, "cannot start: %s", strerror(-err));
    return err;
}

static int start(struct program *p)
{
    int err;

    p->signal_fd = block_signals();
    if (p->signal_fd < 0) {
        err = -errno;
        report(HV_LOG_ERROR, "no signals: %s", strerror(-err));
        return err;
    }
    err = start_host(p);
    if (!err)
        err = controller_create(p->host, &p->options, &p->controller);
    if (!err)
        err = nics_create(p->host, &p->options, &p->nics);
    if (!err && p->options.control)
        err = control_create(p->options.control, p->controller, p->nics, p->guests, &p->stop,
                             &p->control);
    if (err)
        return err;
    err = hv_host_listen(p->host, p->options.listen);
    if (err) {
        report(HV_LOG_ERROR, "--listen %s: %s", p->options.listen,
               err == -EADDRINUSE ? "somebody else listens there" : strerror(-err));
        return err;
    }
    err = report_ready(p->options.listen, p->options.ready_fd, p->options.pid_file);
    p->ready = !err;
    return err;
}

/** Sleep until something happens, handle it.  Returns a fatal error of the host. */
static int run_once(struct program *p, int wait_ms)
{
    struct pollfd fds[3] = {{.fd = hv_host_fd(p->host), .events = POLLIN},
                            {.fd = p->signal_fd, .events = POLLIN},
                            {.fd = p->control ? control_fd(p->control) : -1, .events = POLLIN}};
    int due_ms = hv_host_next_deadline_ms(p->host);
    struct signalfd_siginfo info;

    if (due_ms >= 0 && (wait_ms < 0 || due_ms < wait_ms))
        wait_ms = due_ms;
    if (poll(fds, 3, wait_ms) < 0 && errno != EINTR)
        return -errno;
    if (read(p->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        report(HV_LOG_INFO, "%s: ending", info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
        p->stop = true;
    }
    if (p->control)
        control_poll(p->control);
    return hv_host_poll(p->host);
}

static void on_withdrawn(void *arg)
{
    struct program *p = arg;

    p->withdrawing--;
}

/** Take disks and NICs from the guests, let requests in flight end, then let go of everything. */
static int stop(struct program *p)
{
    uint64_t deadline = hv_spin_clock_ns() + STOP_DEADLINE_NS;
    int err = 0;

    report_stopping(p->ready ? p->options.pid_file : NULL);
    p->withdrawing = (p->controller ? 1u : 0u) + (p->nics ? 1u : 0u);
    if (p->nics)
        nics_withdraw(p->nics, on_withdrawn, p);
    if (p->controller)
        controller_withdraw(p->controller, on_withdrawn, p);
    while (!err && p->withdrawing && hv_spin_clock_ns() < deadline)
        err = run_once(p, 1000);
    if (p->withdrawing) {
        report(HV_LOG_ERROR, "requests are stuck in a disk; ending without them");
        return HV_EXIT_FAILED; /* whoever uses the disks still may go on until the process is gone */
    }
    hv_host_destroy(p->host);
    control_destroy(p->control);
    controller_destroy(p->controller);
    nics_destroy(p->nics);
    guests_destroy(p->guests);
    if (p->signal_fd >= 0)
        (void)close(p->signal_fd);
    options_fini(&p->options);
    return err ? HV_EXIT_FAILED : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct program p = {.signal_fd = -1};
    int err, code;

    switch (options_parse(argc, argv, &p.options)) {
    case OPTIONS_DONE:
        options_fini(&p.options);
        return EXIT_SUCCESS;
    case OPTIONS_WRONG:
        options_fini(&p.options);
        return HV_EXIT_USAGE;
    case OPTIONS_RUN:
        break;
    }
    hv_raise_file_limit();
    report_init(p.options.log_level, p.options.json);
    err = start(&p); /* has said what failed */
    while (!err && !p.stop) {
        err = run_once(&p, -1);
        if (err)
            report(HV_LOG_ERROR, "cannot go on: %s", strerror(-err));
    }
    code = stop(&p);
    return err ? HV_EXIT_FAILED : code;
}
