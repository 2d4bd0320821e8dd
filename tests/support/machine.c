/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS_MAX 16
#define GUESTS_MAX  16
#define LOG_BYTES   65536

#ifdef __SANITIZE_THREAD__
/*
 * Guest memory and disk contents may change under these functions: that is the guest's business and by design.  When a
 * test orders two requests on different channels, it does so through rings that guest and host map at two addresses,
 * and ThreadSanitizer sees no order across two mappings of a page.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:^hv_iov_read$\nrace:^hv_iov_write$\nrace:^memory_zero$\n";
}
#endif

struct worker {
    struct machine *machine;
    struct hv_host_worker *worker;
    pthread_t thread;
    _Atomic bool stop;
    int stop_fd;
};

struct guest {
    struct hv_host_guest *guest; /* NULL = free entry */
    struct worker workers[WORKERS_MAX];
    uint16_t worker_count;
};

struct machine {
    struct machine_opts opts;
    struct hv_host *host;
    struct hv_storvsp *storvsp;
    struct hv_disk *disks[MACHINE_LUNS_MAX];
    struct guest guests[GUESTS_MAX];
    int last_socket; /* the newest guest's end; the bus owns it */
    bool withdrawn;

    pthread_t control;
    int wake_fd;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void (*job)(void *arg);
    void *job_arg;
    bool stopping;
    bool gone; /* what machine_detach() and machine_withdraw() wait for */

    pthread_mutex_t log_lock;
    char log[LOG_BYTES];
    size_t log_bytes;
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "machine: %s: %s\n", what, strerror(errno));
    abort();
}

static void must_zero(int rc, const char *what)
{
    errno = -rc;
    must(rc == 0, what);
}

static void note(void *arg, enum hv_log_level level, const char *line)
{
    struct machine *m = arg;
    size_t n = strlen(line);

    pthread_mutex_lock(&m->log_lock);
    if (n + 2 <= LOG_BYTES - m->log_bytes) {
        memcpy(m->log + m->log_bytes, line, n);
        m->log_bytes += n;
        m->log[m->log_bytes++] = '\n';
        m->log[m->log_bytes] = '\0';
    }
    pthread_mutex_unlock(&m->log_lock);
    if (!m->opts.quiet && level <= HV_LOG_WARNING)
        fprintf(stderr, "    %s\n", line);
}

struct hv_log_hook machine_log(struct machine *m)
{
    return (struct hv_log_hook){note, m};
}

bool machine_said(struct machine *m, const char *text)
{
    bool said;

    pthread_mutex_lock(&m->log_lock);
    said = strstr(m->log, text) != NULL;
    pthread_mutex_unlock(&m->log_lock);
    return said;
}

static void drain(int fd)
{
    uint64_t count;

    while (read(fd, &count, sizeof(count)) == sizeof(count)) {
    }
}

static void ring(int fd)
{
    uint64_t one = 1;

    must(write(fd, &one, sizeof(one)) == sizeof(one), "eventfd");
}

/* ---- Workers: spin a little, then sleep, so that both ways are exercised ---- */

static void *work(void *arg)
{
    struct worker *w = arg;
    unsigned idle = 0;

    while (!atomic_load(&w->stop)) {
        struct pollfd fds[2] = {
            {.fd = hv_host_worker_fd(w->worker), .events = POLLIN},
            {.fd = w->stop_fd, .events = POLLIN},
        };

        if (hv_host_worker_poll(w->worker) > 0) {
            idle = 0;
            continue;
        }
        if (++idle < 50)
            continue;
        idle = 0;
        if (!hv_host_worker_arm(w->worker))
            (void)poll(fds, 2, -1);
        hv_host_worker_disarm(w->worker);
    }
    return NULL;
}

static void guest_added(void *arg, struct hv_host_guest *guest)
{
    struct machine *m = arg;
    struct guest *g = NULL;

    for (size_t i = 0; i < GUESTS_MAX && !g; i++)
        if (!m->guests[i].guest)
            g = &m->guests[i];
    must(g != NULL, "too many guests");
    g->guest = guest;
    g->worker_count = hv_host_guest_worker_count(guest);
    must(g->worker_count <= WORKERS_MAX, "too many workers");
    for (uint16_t i = 0; i < g->worker_count; i++) {
        struct worker *w = &g->workers[i];

        w->machine = m;
        w->worker = hv_host_guest_worker(guest, i);
        atomic_store(&w->stop, false);
        w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        must(w->stop_fd >= 0, "eventfd");
        must_zero(-pthread_create(&w->thread, NULL, work, w), "worker thread");
    }
}

static void guest_removed(void *arg, struct hv_host_guest *guest)
{
    struct machine *m = arg;

    for (size_t i = 0; i < GUESTS_MAX; i++) {
        struct guest *g = &m->guests[i];

        if (g->guest != guest)
            continue;
        for (uint16_t k = 0; k < g->worker_count; k++) {
            atomic_store(&g->workers[k].stop, true);
            ring(g->workers[k].stop_fd);
        }
        for (uint16_t k = 0; k < g->worker_count; k++) {
            (void)pthread_join(g->workers[k].thread, NULL);
            (void)close(g->workers[k].stop_fd);
        }
        g->guest = NULL;
    }
    hv_host_guest_put(guest);
}

/* ---- Control thread ---- */

static void run_job(struct machine *m)
{
    void (*job)(void *arg);
    void *arg;

    pthread_mutex_lock(&m->lock);
    job = m->job;
    arg = m->job_arg;
    pthread_mutex_unlock(&m->lock);
    if (!job)
        return;
    job(arg);
    pthread_mutex_lock(&m->lock);
    m->job = NULL;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static void *control(void *arg)
{
    struct machine *m = arg;
    bool stop = false;

    while (!stop) {
        struct pollfd fds[2] = {
            {.fd = hv_host_fd(m->host), .events = POLLIN},
            {.fd = m->wake_fd, .events = POLLIN},
        };

        (void)poll(fds, 2, hv_host_next_deadline_ms(m->host));
        drain(m->wake_fd);
        must_zero(hv_host_poll(m->host), "hv_host_poll");
        run_job(m);
        pthread_mutex_lock(&m->lock);
        stop = m->stopping;
        pthread_mutex_unlock(&m->lock);
    }
    return NULL;
}

void machine_run(struct machine *m, void (*run)(void *arg), void *arg)
{
    pthread_mutex_lock(&m->lock);
    m->job = run;
    m->job_arg = arg;
    ring(m->wake_fd);
    while (m->job)
        pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

static void is_gone(void *arg)
{
    struct machine *m = arg;

    pthread_mutex_lock(&m->lock);
    m->gone = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static void wait_gone(struct machine *m)
{
    pthread_mutex_lock(&m->lock);
    while (!m->gone)
        pthread_cond_wait(&m->changed, &m->lock);
    m->gone = false;
    pthread_mutex_unlock(&m->lock);
}

/* ---- Set-up ---- */

void machine_opts_init(struct machine_opts *opts)
{
    *opts = (struct machine_opts){
        .host = HV_HOST_OPTS_INIT,
        .storvsp = HV_STORVSP_OPTS_INIT,
        .disk = HV_DISK_OPTS_INIT,
        .luns = 1,
        .quiet = true,
    };
    opts->disk.store = HV_DISK_MEMORY;
    opts->disk.bytes = 16u << 20;
    opts->host.workers_per_guest = 1;
}

struct job {
    struct machine *machine;
    uint8_t lun;
    uint64_t bytes;
    int fd;
};

static void do_attach(void *arg)
{
    struct job *job = arg;
    struct machine *m = job->machine;
    struct hv_disk_opts opts = m->opts.disk;
    char why[HV_DISK_WHY_BYTES] = "";
    char serial[32];

    opts.log = machine_log(m);
    opts.bytes = job->bytes;
    if (!opts.serial) {
        (void)snprintf(serial, sizeof(serial), "TEST-%u-%llu", job->lun,
                       (unsigned long long)job->bytes);
        opts.serial = serial;
    }
    must_zero(hv_disk_create(&opts, why, &m->disks[job->lun]), why);
    must_zero(hv_storvsp_attach(m->storvsp, m->disks[job->lun], job->lun), "attach");
}

void machine_attach(struct machine *m, uint8_t lun, uint64_t bytes)
{
    struct job job = {.machine = m, .lun = lun, .bytes = bytes};

    machine_run(m, do_attach, &job);
}

static void do_detach(void *arg)
{
    struct job *job = arg;

    must_zero(hv_storvsp_detach(job->machine->storvsp, job->lun, is_gone, job->machine), "detach");
}

static void do_destroy_disk(void *arg)
{
    struct job *job = arg;

    hv_disk_destroy(job->machine->disks[job->lun]);
    job->machine->disks[job->lun] = NULL;
}

void machine_detach(struct machine *m, uint8_t lun)
{
    struct job job = {.machine = m, .lun = lun};

    machine_run(m, do_detach, &job);
    wait_gone(m);
    machine_run(m, do_destroy_disk, &job);
}

static void do_resize(void *arg)
{
    struct job *job = arg;

    must_zero(hv_disk_resize(job->machine->disks[job->lun], job->bytes), "resize");
}

void machine_resize(struct machine *m, uint8_t lun, uint64_t bytes)
{
    struct job job = {.machine = m, .lun = lun, .bytes = bytes};

    machine_run(m, do_resize, &job);
}

static void do_withdraw(void *arg)
{
    struct machine *m = arg;

    hv_storvsp_destroy(m->storvsp, is_gone, m);
    m->storvsp = NULL;
}

/* The guests learn of it at once; the disks are free once they have closed their channels. */
void machine_withdraw(struct machine *m)
{
    machine_run(m, do_withdraw, m);
    m->withdrawn = true;
}

static void do_start(void *arg)
{
    struct machine *m = arg;
    struct hv_storvsp_opts opts = m->opts.storvsp;

    opts.log = machine_log(m);
    must_zero(hv_storvsp_create(m->host, &opts, &m->storvsp), "hv_storvsp_create");
}

struct machine *machine_start(const struct machine_opts *opts)
{
    struct machine *m = calloc(1, sizeof(*m));
    struct hv_host_opts host = opts->host;

    must(m != NULL, "memory");
    m->opts = *opts;
    m->last_socket = -1;
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->log_lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    must(m->wake_fd >= 0, "eventfd");
    host.log = machine_log(m);
    host.guest_added = guest_added;
    host.guest_removed = guest_removed;
    host.arg = m;
    must_zero(hv_host_create(&host, &m->host), "hv_host_create");
    must_zero(-pthread_create(&m->control, NULL, control, m), "control thread");
    machine_run(m, do_start, m);
    for (uint8_t i = 0; i < opts->luns; i++)
        machine_attach(m, i, opts->disk.bytes);
    return m;
}

static void do_adopt(void *arg)
{
    struct job *job = arg;

    must_zero(hv_host_adopt(job->machine->host, job->fd), "hv_host_adopt");
}

struct hv_vmbus *machine_bus(struct machine *m)
{
    struct hv_vmbus_opts opts = HV_VMBUS_OPTS_INIT;
    struct hv_vmbus *bus = NULL;
    struct job job = {.machine = m};
    char address[32];
    int fds[2];

    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
    m->last_socket = fds[1];
    job.fd = fds[0];
    machine_run(m, do_adopt, &job);
    opts.log = machine_log(m);
    (void)snprintf(address, sizeof(address), "fd:%d", fds[1]);
    must_zero(hv_vmbus_open(address, &opts, &bus), "hv_vmbus_open");
    return bus;
}

void machine_cut(struct machine *m)
{
    must(shutdown(m->last_socket, SHUT_RDWR) == 0, "shutdown");
}

struct hv_host *machine_host(struct machine *m)
{
    return m->host;
}

struct hv_storvsp *machine_storvsp(struct machine *m)
{
    return m->storvsp;
}

struct hv_disk *machine_disk(struct machine *m, uint8_t lun)
{
    return m->disks[lun];
}

static void do_destroy_host(void *arg)
{
    struct machine *m = arg;

    hv_host_destroy(m->host);
    for (size_t i = 0; i < MACHINE_LUNS_MAX; i++)
        hv_disk_destroy(m->disks[i]);
}

void machine_stop(struct machine *m)
{
    if (!m)
        return;
    if (!m->withdrawn)
        machine_withdraw(m);
    wait_gone(m);
    pthread_mutex_lock(&m->lock);
    m->stopping = true;
    pthread_mutex_unlock(&m->lock);
    ring(m->wake_fd);
    (void)pthread_join(m->control, NULL);
    do_destroy_host(m);
    (void)close(m->wake_fd);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->log_lock);
    pthread_cond_destroy(&m->changed);
    free(m);
}
