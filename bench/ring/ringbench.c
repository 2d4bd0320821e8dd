/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Throughput, cost, round trip and signals of one-producer one-consumer rings, each ring a plug-in (ring_plugin.h).
 *
 *   ringbench [-m tput|cycles|rtt|wake] [-s ring_bytes] [-l len] [-b burst] [-c cpu,cpu] [-T seconds] [-P] [-H] PLUGIN
 *
 *   tput    sender on the first cpu, receiver on the second, who polls: time a message, signals a message
 *   cycles  one thread fills, then drains: time-stamp-counter cycles a call
 *   rtt     two rings, one message bounced: time a round trip
 *   wake    as tput, but the receiver spins for a bounded time and then sleeps on an eventfd: signals a message
 *   -P      two processes instead of two threads;  -H  2 MiB huge pages
 *
 * Every message carries its sequence number in its first and (from 16 bytes on) last 8 bytes; the receiver checks both.
 * Time is also taken in slices of about 1 ms; the first quartile of these is what a machine that others use as well gave
 * while both ends were running.  One line of JSON is printed.  Exit: 0, 1 failed or messages were wrong, 2 usage.
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "ring_plugin.h"

#define WARM_UP_NS 50000000u
#define SLICE_NS   1000000u
#define SLICES_MAX 16384u
#define SPINS      2000u /* empty looks before a sleep, about 50 us */

static const struct ring_ops *ops;
static size_t ring_bytes = 256 << 10;
static uint32_t len = 64;
static unsigned burst = 32;
static int cpus[2] = {0, 1};
static double seconds = 0.5;
static bool use_processes, use_huge_pages, sleeps;

struct shared {
    _Atomic int ready;
    _Alignas(64) _Atomic int stop;
    _Alignas(64) uint64_t messages, ns, empty, bad, slept, signals;
    double ns_q1;
    _Alignas(64) uint64_t full;
    _Atomic uint64_t signals_now; /* of the sender, while it runs */
};
static struct shared *shared;
static struct ring_memory memory[2];
static int bell;

static void die(const char *what)
{
    fprintf(stderr, "ringbench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set))
        die("sched_setaffinity");
}

static void *shared_alloc(size_t bytes, bool huge, int *ret_fd)
{
    size_t unit = huge ? 2u << 20 : 4096;
    int fd = memfd_create("ring", huge ? MFD_HUGETLB : 0);
    void *p;

    bytes = (bytes + unit - 1) & ~(unit - 1);
    if (fd < 0 || ftruncate(fd, (off_t)bytes))
        die("memfd");
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (p == MAP_FAILED)
        die("mmap");
    memset(p, 0, bytes);
    *ret_fd = fd;
    return p;
}

static size_t stride(void)
{
    return (len + 63u) & ~63u;
}

static uint8_t *buffers(void)
{
    uint8_t *p = aligned_alloc(4096, (stride() * burst + 4095) & ~(size_t)4095);

    if (!p)
        die("buffers");
    memset(p, 0x5a, stride() * burst);
    return p;
}

static void *attach(unsigned ring, enum ring_role role)
{
    void *handle = ops->attach(&memory[ring], role);

    if (!handle)
        die("attach");
    return handle;
}

static inline void stamp(uint8_t *message, uint64_t sequence)
{
    memcpy(message, &sequence, 8);
    if (len >= 16)
        memcpy(message + len - 8, &sequence, 8);
}

static inline bool check(const uint8_t *message, uint64_t sequence)
{
    uint64_t first, last = sequence;

    memcpy(&first, message, 8);
    if (len >= 16)
        memcpy(&last, message + len - 8, 8);
    return first == sequence && last == sequence;
}

static bool stopped(void)
{
    return atomic_load_explicit(&shared->stop, memory_order_relaxed);
}

static void rendezvous(void)
{
    atomic_fetch_add(&shared->ready, 1);
    while (atomic_load(&shared->ready) < 2)
        _mm_pause();
}

static void ring_bell(void)
{
    uint64_t one = 1;

    if (write(bell, &one, sizeof(one)) != sizeof(one))
        die("eventfd");
}

/** Tell the receiver what send decided; returns the new count. */
static uint64_t pass_signals(const void *handle, uint64_t before)
{
    uint64_t after = ops->signals(handle);

    if (after != before) {
        atomic_store_explicit(&shared->signals_now, after, memory_order_relaxed);
        if (sleeps)
            ring_bell();
    }
    return after;
}

/** All of a burst, or false when it is time to stop. */
static bool send_all(void *handle, uint8_t *src, uint64_t *signals)
{
    for (unsigned done = 0; done < burst;) {
        unsigned k = ops->send(handle, src + done * stride(), stride(), len, burst - done);

        done += k;
        if (ops->signals)
            *signals = pass_signals(handle, *signals);
        if (k)
            continue;
        shared->full++;
        _mm_pause();
        if (stopped())
            return false;
    }
    return true;
}

static void *sender(void *arg)
{
    uint64_t sequence = 0, signals = 0;
    uint8_t *src;
    void *handle;

    (void)arg;
    pin(cpus[0]);
    src = buffers();
    handle = attach(0, RING_SENDER);
    rendezvous();
    for (uint64_t turn = 1; turn & 255 || !stopped(); turn++) {
        for (unsigned i = 0; i < burst; i++)
            stamp(src + i * stride(), sequence + i);
        if (!send_all(handle, src, &signals))
            break;
        sequence += burst;
    }
    return NULL;
}

/** Nothing came: spin a while, then sleep until the bell. */
static void idle(void *handle, unsigned *empty_looks)
{
    uint64_t count;

    _mm_pause();
    if (!sleeps || ++*empty_looks < SPINS)
        return;
    *empty_looks = 0;
    if (!ops->arm(handle)) {
        shared->slept++;
        if (read(bell, &count, sizeof(count)) != sizeof(count))
            die("eventfd");
    }
    ops->disarm(handle);
}

/** Values of which the first quartile is wanted. */
struct slices {
    double value[SLICES_MAX];
    size_t count;
};

static void add_slice(struct slices *slices, double value)
{
    if (slices->count < SLICES_MAX)
        slices->value[slices->count++] = value;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double first_quartile(struct slices *slices)
{
    if (!slices->count)
        return 0;
    qsort(slices->value, slices->count, sizeof(slices->value[0]), by_value);
    return slices->value[slices->count / 4];
}

struct meter {
    uint64_t begin_ns, start_ns, end_ns, messages, empty, signals, slept;
    uint64_t slice_ns, slice_messages;
    struct slices slices;
};

static void start_meter(struct meter *m, uint64_t t, uint64_t messages, uint64_t empty)
{
    m->start_ns = t;
    m->messages = messages;
    m->empty = empty;
    m->slept = shared->slept;
    m->signals = atomic_load_explicit(&shared->signals_now, memory_order_relaxed);
    m->slice_ns = t;
    m->slice_messages = messages;
}

/** True when the time is up; starts counting after the warm-up. */
static bool time_is_up(struct meter *m, uint64_t messages, uint64_t empty)
{
    uint64_t t = now_ns();

    if (!m->start_ns) {
        if (t - m->begin_ns > WARM_UP_NS)
            start_meter(m, t, messages, empty);
        return false;
    }
    if (t - m->slice_ns >= SLICE_NS) {
        if (messages != m->slice_messages)
            add_slice(&m->slices,
                      (double)(t - m->slice_ns) / (double)(messages - m->slice_messages));
        m->slice_ns = t;
        m->slice_messages = messages;
    }
    m->end_ns = t;
    return (double)(t - m->start_ns) > seconds * 1e9;
}

static void account(struct meter *m, uint64_t messages, uint64_t empty, uint64_t bad)
{
    shared->messages = messages - m->messages;
    shared->ns = m->end_ns - m->start_ns;
    shared->empty = empty - m->empty;
    shared->slept -= m->slept;
    shared->signals = atomic_load(&shared->signals_now) - m->signals;
    shared->bad = bad;
    shared->ns_q1 = first_quartile(&m->slices);
}

static void *receiver(void *arg)
{
    uint64_t sequence = 0, empty = 0, bad = 0;
    static struct meter meter; /* one of these runs in a process, once */
    unsigned empty_looks = 0;
    uint8_t *dst;
    void *handle;

    (void)arg;
    pin(cpus[1]);
    dst = buffers();
    handle = attach(0, RING_RECEIVER);
    rendezvous();
    meter.begin_ns = now_ns();
    for (uint64_t turn = 1;; turn++) {
        unsigned k = ops->recv(handle, dst, stride(), len, burst);

        for (unsigned i = 0; i < k; i++)
            bad += !check(dst + i * stride(), sequence + i);
        sequence += k;
        if (k) {
            empty_looks = 0;
        } else {
            empty++;
            idle(handle, &empty_looks);
        }
        if (!(turn & 255) && time_is_up(&meter, sequence, empty))
            break;
    }
    account(&meter, sequence, empty, bad);
    atomic_store(&shared->stop, 1);
    return NULL;
}

static void *echo(void *arg)
{
    void *rx, *tx;
    uint8_t *b;

    (void)arg;
    pin(cpus[1]);
    b = buffers();
    rx = attach(0, RING_RECEIVER);
    tx = attach(1, RING_SENDER);
    rendezvous();
    for (;;) {
        while (!ops->recv(rx, b, stride(), len, 1)) {
            _mm_pause();
            if (stopped())
                return NULL;
        }
        while (!ops->send(tx, b, stride(), len, 1))
            _mm_pause();
    }
}

static void *bounce(void *arg)
{
    uint64_t sequence = 0, bad = 0;
    static struct meter meter; /* one of these runs in a process, once */
    uint8_t *a, *b;
    void *rx, *tx;

    (void)arg;
    pin(cpus[0]);
    a = buffers();
    b = buffers();
    tx = attach(0, RING_SENDER);
    rx = attach(1, RING_RECEIVER);
    rendezvous();
    meter.begin_ns = now_ns();
    do {
        stamp(a, sequence);
        while (!ops->send(tx, a, stride(), len, 1))
            _mm_pause();
        while (!ops->recv(rx, b, stride(), len, 1))
            _mm_pause();
        bad += !check(b, sequence);
    } while (++sequence & 255 || !time_is_up(&meter, sequence, 0));
    atomic_store(&shared->stop, 1);
    account(&meter, sequence, 0, bad);
    return NULL;
}

static void run_pair(void *(*here)(void *), void *(*there)(void *))
{
    pthread_t thread;
    pid_t child;
    int status = 0;

    if (!use_processes) {
        if (pthread_create(&thread, NULL, there, NULL))
            die("pthread_create");
        (void)here(NULL);
        pthread_join(thread, NULL);
        return;
    }
    child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* or a lost parent leaves it spinning */
        (void)there(NULL);
        _exit(0);
    }
    (void)here(NULL);
    if (waitpid(child, &status, 0) != child || status)
        die("other process");
}

struct cycle_count {
    uint64_t bad;
    struct slices send, recv; /* cycles a message of one fill, of one drain */
};

/** Fill to at most a half, then drain, in one thread: both ends in one cache. */
static void fill_and_drain(void *tx, void *rx, uint8_t *src, uint8_t *dst, uint64_t sequence,
                           struct cycle_count *count)
{
    uint64_t rounds = ring_bytes / 2 / ((uint64_t)(len + 24) * burst);
    uint64_t c0, c1, c2, sent = 0, got = 0;
    unsigned aux;

    rounds = rounds < 1 ? 1 : rounds > 64 ? 64 : rounds;
    for (unsigned i = 0; i < burst; i++)
        stamp(src + i * stride(), sequence);
    c0 = __rdtscp(&aux);
    for (uint64_t r = 0; r < rounds; r++)
        sent += ops->send(tx, src, stride(), len, burst);
    c1 = __rdtscp(&aux);
    while (got < sent) {
        unsigned k = ops->recv(rx, dst, stride(), len, burst);

        if (!k)
            break;
        got += k;
    }
    c2 = __rdtscp(&aux);
    count->bad += (uint64_t)!check(dst, sequence) + (got != sent);
    add_slice(&count->send, (double)(c1 - c0) / (double)sent);
    add_slice(&count->recv, (double)(c2 - c1) / (double)sent);
}

static int run_cycles(void)
{
    static struct cycle_count count;
    uint8_t *src, *dst;
    void *tx, *rx;
    uint64_t start;
    bool warm = false;

    pin(cpus[0]);
    src = buffers();
    dst = buffers();
    tx = attach(0, RING_SENDER);
    rx = attach(0, RING_RECEIVER);
    start = now_ns();
    for (uint64_t sequence = 0;; sequence++) {
        uint64_t t = now_ns();

        fill_and_drain(tx, rx, src, dst, sequence, &count);
        if (!warm && t - start > WARM_UP_NS) {
            warm = true;
            count.send.count = count.recv.count = 0;
            start = t;
        } else if (warm && (double)(t - start) > seconds * 1e9) {
            break;
        }
    }
    printf("{\"mode\":\"cycles\",\"ring\":\"%s\",\"len\":%u,\"burst\":%u,\"ring_bytes\":%zu,"
           "\"tsc_per_send\":%.2f,\"tsc_per_recv\":%.2f,\"bad\":%lu}\n",
           ops->name, len, burst, ring_bytes, first_quartile(&count.send),
           first_quartile(&count.recv), count.bad);
    return count.bad != 0;
}

static int run_two(const char *mode)
{
    bool rtt = !strcmp(mode, "rtt");
    double messages, ns;

    if (rtt)
        run_pair(bounce, echo);
    else
        run_pair(receiver, sender);
    if (!shared->messages || !(shared->ns_q1 > 0)) {
        fprintf(stderr, "ringbench: the machine gave the two ends no time together\n");
        return 1;
    }
    messages = (double)shared->messages;
    ns = (double)shared->ns / messages;
    printf("{\"mode\":\"%s\",\"ring\":\"%s\",\"len\":%u,\"burst\":%u,\"ring_bytes\":%zu,"
           "\"processes\":%d,\"huge\":%d,\"ns\":%.3f,\"ns_q1\":%.3f,\"mmsg_s\":%.4f,\"gib_s\":%.4f,"
           "\"empty_per_msg\":%.4f,\"full_per_msg\":%.4f,\"signals_per_msg\":%.6f,"
           "\"slept\":%lu,\"bad\":%lu}\n",
           mode, ops->name, len, rtt ? 1 : burst, ring_bytes, use_processes, use_huge_pages, ns,
           shared->ns_q1, 1e3 / ns, len / ns * 1e9 / (1 << 30), (double)shared->empty / messages,
           (double)shared->full / messages, (double)shared->signals / messages, shared->slept,
           shared->bad);
    return shared->bad != 0;
}

static bool known_mode(const char *mode)
{
    static const char *const modes[] = {"tput", "cycles", "rtt", "wake"};

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (!strcmp(mode, modes[i]))
            return true;
    return false;
}

static int usage(void)
{
    fprintf(stderr, "usage: ringbench [-m tput|cycles|rtt|wake] [-s ring_bytes] [-l len >= 8] "
                    "[-b burst] [-c cpu,cpu] [-T seconds] [-P] [-H] PLUGIN.so\n");
    return 2;
}

static bool load_plugin(const char *path)
{
    char *full = realpath(path, NULL);
    void *so = full ? dlopen(full, RTLD_NOW | RTLD_LOCAL) : NULL;

    free(full);
    ops = so ? dlsym(so, "ring_ops") : NULL;
    if (!ops)
        fprintf(stderr, "ringbench: %s: %s\n", path, dlerror());
    else if (ops->fixed_len)
        len = ops->fixed_len;
    return ops != NULL;
}

/** 0, or what to exit with. */
static int parse(int argc, char **argv, const char **ret_mode)
{
    int option;

    while ((option = getopt(argc, argv, "m:s:l:b:c:T:PH")) != -1) {
        if (option == 'm')
            *ret_mode = optarg;
        else if (option == 's')
            ring_bytes = strtoul(optarg, NULL, 0);
        else if (option == 'l')
            len = (uint32_t)strtoul(optarg, NULL, 0);
        else if (option == 'b')
            burst = (unsigned)strtoul(optarg, NULL, 0);
        else if (option == 'T')
            seconds = strtod(optarg, NULL);
        else if (option == 'P')
            use_processes = true;
        else if (option == 'H')
            use_huge_pages = true;
        else if (option != 'c' || sscanf(optarg, "%d,%d", &cpus[0], &cpus[1]) != 2)
            return usage();
    }
    if (optind != argc - 1 || len < 8 || !burst || !(seconds > 0) || !known_mode(*ret_mode))
        return usage();
    return load_plugin(argv[optind]) ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *mode = "tput";
    int err = parse(argc, argv, &mode), fd;

    if (err)
        return err;
    sleeps = !strcmp(mode, "wake");
    if (sleeps && !ops->arm) {
        fprintf(stderr, "ringbench: %s cannot sleep\n", ops->name);
        return 1;
    }
    bell = eventfd(0, EFD_CLOEXEC);
    if (bell < 0)
        die("eventfd");
    shared = shared_alloc(sizeof(*shared), false, &fd);
    for (int i = 0; i < 2; i++) {
        memory[i].ring_bytes = ring_bytes;
        memory[i].shm = shared_alloc(ops->shm_bytes(ring_bytes), use_huge_pages, &memory[i].fd);
        ops->init(&memory[i]);
    }
    return strcmp(mode, "cycles") ? run_two(mode) : run_cycles();
}
