/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An emulated Hyper-V inside the process: a NIC for each link, and one thread that is the host, for control messages and
 * frames alike.  It looks for work for a while and sleeps when there is none.
 */
#include "runner.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hv/netvsp.h>

#define SPINS 2000u

struct run_emulate {
    struct hv_host *host;
    struct hv_netvsp *nics[RUN_PORTS_MAX];
    unsigned nic_count;
    struct hv_host_guest *guests[RUN_PORTS_MAX];
    unsigned guest_count;
    struct hv_host_guest *left[RUN_PORTS_MAX];
    unsigned left_count;
    pthread_t thread;
    bool started;
    _Atomic bool stop;
    int wake_fd;
};

static void guest_added(void *arg, struct hv_host_guest *guest)
{
    struct run_emulate *emulate = arg;

    if (emulate->guest_count < RUN_PORTS_MAX) /* max_guests says so too */
        emulate->guests[emulate->guest_count++] = guest;
}

/** Put from the loop, not from within the host's own poll. */
static void guest_removed(void *arg, struct hv_host_guest *guest)
{
    struct run_emulate *emulate = arg;

    for (unsigned i = 0; i < emulate->guest_count; i++)
        if (emulate->guests[i] == guest) {
            emulate->guests[i] = emulate->guests[--emulate->guest_count];
            emulate->left[emulate->left_count++] = guest;
            return;
        }
}

static void put_left(struct run_emulate *emulate)
{
    while (emulate->left_count)
        hv_host_guest_put(emulate->left[--emulate->left_count]);
}

static bool each_worker(struct run_emulate *emulate, bool (*act)(struct hv_host_worker *worker))
{
    bool any = false;

    for (unsigned i = 0; i < emulate->guest_count; i++)
        for (uint16_t w = 0; w < hv_host_guest_worker_count(emulate->guests[i]); w++)
            any |= act(hv_host_guest_worker(emulate->guests[i], w));
    return any;
}

static bool act_poll(struct hv_host_worker *worker)
{
    return hv_host_worker_poll(worker) > 0;
}

static bool act_disarm(struct hv_host_worker *worker)
{
    hv_host_worker_disarm(worker);
    return false;
}

static void sleep_until_work(struct run_emulate *emulate)
{
    struct pollfd fds[2 + RUN_PORTS_MAX] = {{.fd = hv_host_fd(emulate->host), .events = POLLIN},
                                            {.fd = emulate->wake_fd, .events = POLLIN}};
    int timeout = hv_host_next_deadline_ms(emulate->host);
    nfds_t count = 2;

    for (unsigned i = 0; i < emulate->guest_count; i++)
        fds[count++] = (struct pollfd){
            .fd = hv_host_worker_fd(hv_host_guest_worker(emulate->guests[i], 0)), .events = POLLIN};
    if (each_worker(emulate, hv_host_worker_arm))
        timeout = 0;
    (void)poll(fds, count, timeout); /* whatever woke us is looked for by everybody */
    (void)each_worker(emulate, act_disarm);
}

static void *host_main(void *arg)
{
    struct run_emulate *emulate = arg;
    unsigned idle = 0;

    while (!atomic_load_explicit(&emulate->stop, memory_order_relaxed)) {
        if (idle % 64 == 0) { /* control messages are rare */
            (void)hv_host_poll(emulate->host);
            put_left(emulate);
        }
        idle = each_worker(emulate, act_poll) ? idle - idle % 64 + 1 : idle + 1;
        if (idle >= SPINS) {
            sleep_until_work(emulate);
            idle = 0;
        }
    }
    return NULL;
}

static int add_nic(struct run_emulate *emulate, const char *link, unsigned queues,
                   char address[RUN_ADDRESS_BYTES])
{
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;
    char why[HV_NETVSP_WHY_BYTES];
    unsigned index = emulate->nic_count;
    int fds[2], err;

    opts.link = link;
    opts.queues = (uint16_t)queues;
    opts.instance_id = (struct hv_guid)HV_GUID_INIT(0x68766e74, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    opts.instance_id.b[15] = (uint8_t)(index + 1);
    opts.mac[0] = 0x02;
    opts.mac[5] = (uint8_t)(index + 1);
    err = hv_netvsp_create(emulate->host, &opts, why, &emulate->nics[index]);
    if (err) {
        (void)fprintf(stderr, "hvnet-pmd: --emulate %s: %s\n", link, why);
        return err;
    }
    emulate->nic_count++;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
        return -errno;
    err = hv_host_adopt(emulate->host, fds[0]); /* takes its end over in any case */
    if (err) {
        (void)close(fds[1]);
        return err;
    }
    (void)snprintf(address, RUN_ADDRESS_BYTES, "fd:%d,68766e74-0000-0000-0000-0000000000%02x",
                   fds[1], index + 1);
    return 0;
}

/** Memory on huge pages cannot be sealed: the host drops a guest that takes it away. */
static void on_sigbus(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (!hv_host_memory_fault(info->si_addr))
        (void)signal(number, SIG_DFL); /* a fault of our own: it comes again on return */
}

int run_emulate_create(const char *const *links, unsigned count, unsigned queues,
                       char (*ret_addresses)[RUN_ADDRESS_BYTES], struct run_emulate **ret_emulate)
{
    struct run_emulate *emulate = calloc(1, sizeof(*emulate));
    const struct sigaction fault = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    struct hv_host_opts opts = HV_HOST_OPTS_INIT;
    int err;

    if (!emulate)
        return -ENOMEM;
    (void)sigaction(SIGBUS, &fault, NULL); /* cannot fail: a signal that there is */
    opts.max_guests = RUN_PORTS_MAX;
    opts.workers_per_guest = 1;
    opts.vanishing_memory = true;
    opts.guest_added = guest_added;
    opts.guest_removed = guest_removed;
    opts.arg = emulate;
    emulate->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = emulate->wake_fd < 0 ? -errno : hv_host_create(&opts, &emulate->host);
    for (unsigned i = 0; i < count && !err; i++)
        err = add_nic(emulate, links[i], queues, ret_addresses[i]);
    if (!err) {
        err = -pthread_create(&emulate->thread, NULL, host_main, emulate);
        emulate->started = !err;
    }
    if (err)
        run_emulate_destroy(emulate);
    else
        *ret_emulate = emulate;
    return err;
}

static void gone(void *arg)
{
    unsigned *leaving = arg;

    (*leaving)--;
}

void run_emulate_destroy(struct run_emulate *emulate)
{
    const uint64_t one = 1;
    unsigned leaving = 0;

    if (!emulate)
        return;
    if (emulate->started) {
        atomic_store(&emulate->stop, true);
        (void)!write(emulate->wake_fd, &one, sizeof(one));
        (void)pthread_join(emulate->thread, NULL);
    }
    for (unsigned i = 0; i < emulate->nic_count; i++) {
        leaving++;
        hv_netvsp_destroy(emulate->nics[i], gone, &leaving);
    }
    for (unsigned tries = 0; leaving && tries < 1000; tries++) { /* the ports are closed: soon */
        (void)hv_host_poll(emulate->host);
        (void)each_worker(emulate, act_poll);
        put_left(emulate);
    }
    hv_host_destroy(emulate->host);
    put_left(emulate);
    if (emulate->wake_fd >= 0)
        (void)close(emulate->wake_fd);
    free(emulate);
}
