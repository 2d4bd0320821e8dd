/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the two cores can do at all: core clock, cost of an uncontended locked operation and of a fence, hand-over of a
 * cache line from core to core (one line that both write; two lines with a writer each), copy bandwidth by cache level.
 *
 *   corelimits [-c cpu,cpu] [-T seconds] [-p]
 *
 *   -p  only the hand-over of one line, in ns: how near to each other do the (virtual) cores lie right now
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static int cpus[2] = {0, 1};
static double seconds = 0.3;

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
    if (sched_setaffinity(0, sizeof(set), &set)) {
        perror("corelimits: sched_setaffinity");
        exit(1);
    }
}

static _Alignas(128) _Atomic uint64_t line_a;
static _Alignas(128) _Atomic uint64_t line_b;
static _Alignas(128) _Atomic int go, stop;
static bool two_lines;

/** Until line a holds v; false when it is time to stop. */
static bool await(_Atomic uint64_t *line, uint64_t v)
{
    while (atomic_load_explicit(line, memory_order_acquire) != v)
        if (atomic_load_explicit(&stop, memory_order_relaxed))
            return false;
    return true;
}

static void *pong(void *arg)
{
    (void)arg;
    pin(cpus[1]);
    atomic_store(&go, 1);
    if (two_lines)
        for (uint64_t i = 1; await(&line_a, i); i++)
            atomic_store_explicit(&line_b, i, memory_order_release);
    else
        for (uint64_t i = 1; await(&line_a, i); i += 2)
            atomic_store_explicit(&line_a, i + 1, memory_order_release);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/** One way; the first quartile of many short runs, for others may have a core for a while. */
static double handover_ns(bool two)
{
    static double runs[100000];
    const size_t most = sizeof(runs) / sizeof(runs[0]);
    uint64_t n = 0, start = now_ns();
    size_t count = 0;
    pthread_t thread;

    two_lines = two;
    atomic_store(&line_a, 0);
    atomic_store(&line_b, 0);
    atomic_store(&go, 0);
    atomic_store(&stop, 0);
    pin(cpus[0]);
    if (pthread_create(&thread, NULL, pong, NULL))
        exit(1);
    while (!atomic_load(&go))
        _mm_pause();
    while (count < most && ((double)(now_ns() - start) < seconds * 1e9 || !count)) {
        uint64_t before = now_ns();

        for (int k = 0; k < 250; k++, n++) {
            atomic_store_explicit(&line_a, two ? n + 1 : 2 * n + 1, memory_order_release);
            (void)(two ? await(&line_b, n + 1) : await(&line_a, 2 * n + 2));
        }
        runs[count++] = (double)(now_ns() - before) / 250 / 2;
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    qsort(runs, count, sizeof(runs[0]), by_value);
    return runs[count / 4];
}

static double tsc_ghz(void)
{
    uint64_t t0 = now_ns(), c0 = __rdtsc(), t1;

    do
        t1 = now_ns();
    while (t1 - t0 < 50000000);
    return (double)(__rdtsc() - c0) / (double)(t1 - t0);
}

static double adds_per_ns(void)
{
    uint64_t x = 1;
    double best = 0;

    for (int turn = 0; turn < 20; turn++) {
        uint64_t start = now_ns();
        double rate;

        for (int k = 0; k < 100000; k++)
            __asm__ volatile("add $1,%0\n add $1,%0\n add $1,%0\n add $1,%0\n add $1,%0\n"
                             "add $1,%0\n add $1,%0\n add $1,%0\n add $1,%0\n add $1,%0"
                             : "+r"(x));
        rate = 1e6 / (double)(now_ns() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

static _Alignas(64) _Atomic uint32_t word;

static void locked_add(void)
{
    atomic_fetch_add(&word, 1);
}

static void compare_and_swap(void)
{
    uint32_t old = atomic_load_explicit(&word, memory_order_relaxed);

    (void)atomic_compare_exchange_strong(&word, &old, old + 1);
}

static void exchange(void)
{
    (void)atomic_exchange(&word, 1);
}

static void mfence(void)
{
    _mm_mfence();
}

static void rdtscp(void)
{
    unsigned aux;

    (void)__rdtscp(&aux);
}

static void pause_once(void)
{
    _mm_pause();
}

static inline __attribute__((always_inline)) double best_ns(void (*operation)(void))
{
    double best = 1e9;

    for (int turn = 0; turn < 20; turn++) {
        uint64_t start = now_ns();
        double ns;

        for (int k = 0; k < 200000; k++)
            operation();
        ns = (double)(now_ns() - start) / 200000;
        best = ns < best ? ns : best;
    }
    return best;
}

static double copy_gib_s(size_t bytes)
{
    uint8_t *a = aligned_alloc(4096, bytes), *b = aligned_alloc(4096, bytes);
    uint64_t n = 0, start, end;

    if (!a || !b)
        exit(1);
    memset(a, 1, bytes);
    memset(b, 2, bytes);
    start = now_ns();
    do {
        for (size_t k = 0; k < 1 + (1u << 22) / bytes; k++, n++) {
            memcpy(b, a, bytes);
            __asm__ volatile("" ::: "memory");
        }
        end = now_ns();
    } while ((double)(end - start) < seconds * 0.3e9);
    free(a);
    free(b);
    return (double)(n * bytes) / (double)(end - start) * 1e9 / (1 << 30);
}

int main(int argc, char **argv)
{
    bool probe = false;
    int option;

    while ((option = getopt(argc, argv, "c:T:p")) != -1) {
        if (option == 'T')
            seconds = strtod(optarg, NULL);
        else if (option == 'p')
            probe = true;
        else if (option != 'c' || sscanf(optarg, "%d,%d", &cpus[0], &cpus[1]) != 2)
            return 2;
    }
    pin(cpus[0]);
    if (probe) {
        printf("%.2f\n", handover_ns(false));
        return 0;
    }
    printf("{\"tsc_ghz\":%.4f,\"adds_per_ns\":%.3f", tsc_ghz(), adds_per_ns());
    printf(",\"locked_add_ns\":%.3f,\"cas_ns\":%.3f,\"xchg_ns\":%.3f,\"mfence_ns\":%.3f",
           best_ns(locked_add), best_ns(compare_and_swap), best_ns(exchange), best_ns(mfence));
    printf(",\"rdtscp_ns\":%.3f,\"pause_ns\":%.3f", best_ns(rdtscp), best_ns(pause_once));
    printf(",\"oneway_one_line_ns\":%.2f,\"oneway_two_lines_ns\":%.2f", handover_ns(false),
           handover_ns(true));
    pin(cpus[0]);
    printf(",\"copy_16k_gib_s\":%.2f,\"copy_256k_gib_s\":%.2f,\"copy_4m_gib_s\":%.2f,"
           "\"copy_256m_gib_s\":%.2f}\n",
           copy_gib_s(16 << 10), copy_gib_s(256 << 10), copy_gib_s(4 << 20), copy_gib_s(256 << 20));
    return 0;
}
