/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What it costs to wake a sleeping peer: round trips of two processes over an eventfd (blocking read), an eventfd behind
 * epoll, a futex in shared memory and a Unix stream socket, on two cores and on one; and a system call, an eventfd write
 * and a futex wake that nobody waits for.
 *
 *   wakelimits [-c cpu,cpu] [-T seconds]
 */
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum kind { KIND_EVENTFD, KIND_EPOLL, KIND_FUTEX, KIND_SOCKET, KIND_COUNT };

static const char *const names[] = {"eventfd", "eventfd_epoll", "futex", "socket"};

struct side {
    enum kind kind;
    int in, out, epoll;
    _Atomic uint32_t *word_in, *word_out;
    uint32_t last;
};

static int cpus[2] = {0, 1};
static double seconds = 0.2;

static void die(const char *what)
{
    perror(what);
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

static void ring_bell(struct side *s)
{
    uint64_t one = 1;

    if (s->kind == KIND_FUTEX) {
        atomic_fetch_add(s->word_out, 1);
        (void)syscall(SYS_futex, s->word_out, FUTEX_WAKE, 1, NULL, NULL, 0);
    } else if (write(s->out, &one, s->kind == KIND_SOCKET ? 1 : 8) < 0) {
        die("write");
    }
}

static void wait_bell(struct side *s)
{
    struct epoll_event event;
    uint64_t count;

    if (s->kind == KIND_FUTEX) {
        uint32_t word;

        while ((word = atomic_load(s->word_in)) == s->last)
            (void)syscall(SYS_futex, s->word_in, FUTEX_WAIT, word, NULL, NULL, 0);
        s->last = word;
        return;
    }
    if (s->kind == KIND_EPOLL)
        (void)epoll_wait(s->epoll, &event, 1, -1); /* the read blocks if it came back early */
    if (read(s->in, &count, s->kind == KIND_SOCKET ? 1 : 8) <= 0)
        die("read");
}

/** Both sides of a pair, over `words` (shared memory). */
static void connect_sides(enum kind kind, _Atomic uint32_t *words, struct side sides[2])
{
    int fds[2];

    if (kind == KIND_SOCKET) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
            die("socketpair");
        sides[0] = (struct side){.kind = kind, .in = fds[0], .out = fds[0]};
        sides[1] = (struct side){.kind = kind, .in = fds[1], .out = fds[1]};
    } else {
        fds[0] = eventfd(0, 0);
        fds[1] = eventfd(0, 0);
        sides[0] = (struct side){.kind = kind, .in = fds[1], .out = fds[0]};
        sides[1] = (struct side){.kind = kind, .in = fds[0], .out = fds[1]};
    }
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN};

        sides[i].epoll = epoll_create1(0);
        sides[i].word_in = words + 64 * i;
        sides[i].word_out = words + 64 * !i;
        if (epoll_ctl(sides[i].epoll, EPOLL_CTL_ADD, sides[i].in, &event))
            die("epoll_ctl");
    }
}

static void disconnect_sides(struct side sides[2])
{
    for (int i = 0; i < 2; i++) {
        close(sides[i].epoll);
        close(sides[i].in); /* each descriptor is the `in` of one side */
    }
}

static double measure(struct side *side)
{
    uint64_t n = 0, start, t;

    for (int i = 0; i < 200; i++) {
        ring_bell(side);
        wait_bell(side);
    }
    start = now_ns();
    do {
        for (int i = 0; i < 50; i++, n++) {
            ring_bell(side);
            wait_bell(side);
        }
        t = now_ns();
    } while ((double)(t - start) < seconds * 1e9);
    return (double)(t - start) / (double)n;
}

static double round_trip_ns(enum kind kind, int here, int there)
{
    _Atomic uint32_t *words =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct side sides[2];
    double ns;
    pid_t child;

    if (words == MAP_FAILED)
        die("mmap");
    connect_sides(kind, words, sides);
    child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(there);
        for (;;) {
            wait_bell(&sides[1]);
            ring_bell(&sides[1]);
        }
    }
    pin(here);
    ns = measure(&sides[0]);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    disconnect_sides(sides);
    (void)munmap(words, 4096);
    return ns;
}

static void system_call(int fd, uint32_t *word)
{
    (void)fd;
    (void)word;
    (void)syscall(SYS_getppid);
}

static void write_unwaited(int fd, uint32_t *word)
{
    uint64_t one = 1;

    (void)word;
    if (write(fd, &one, sizeof(one)) < 0)
        die("eventfd");
}

static void wake_unwaited(int fd, uint32_t *word)
{
    (void)fd;
    (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static double call_ns(void (*call)(int, uint32_t *))
{
    int fd = eventfd(0, EFD_NONBLOCK);
    uint32_t word = 0;
    uint64_t start = now_ns();

    for (int i = 0; i < 200000; i++)
        call(fd, &word);
    close(fd);
    return (double)(now_ns() - start) / 2e5;
}

int main(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "c:T:")) != -1) {
        if (option == 'T')
            seconds = strtod(optarg, NULL);
        else if (option != 'c' || sscanf(optarg, "%d,%d", &cpus[0], &cpus[1]) != 2)
            return 2;
    }
    pin(cpus[0]);
    printf("{\"syscall_ns\":%.1f,\"eventfd_write_ns\":%.1f,\"futex_wake_ns\":%.1f",
           call_ns(system_call), call_ns(write_unwaited), call_ns(wake_unwaited));
    for (int k = 0; k < KIND_COUNT; k++)
        printf(",\"%s_two_cores_ns\":%.0f,\"%s_one_core_ns\":%.0f", names[k],
               round_trip_ns((enum kind)k, cpus[0], cpus[1]), names[k],
               round_trip_ns((enum kind)k, cpus[0], cpus[0]));
    printf("}\n");
    return 0;
}
