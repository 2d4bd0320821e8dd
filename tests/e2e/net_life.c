/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Life of a port, for net_life.py: what testpmd cannot do, or not a thousand times in a row.
 *
 *   net_life interrupts ADDR ADDR    two ends of a pair: a thread that sleeps is woken by each frame
 *   net_life cycles ADDR COUNT       start, some frames around a loop, stop
 *   net_life removals ADDR COUNT     attach, wait until the host takes the device away, close; a line on stdin each time
 *   net_life held ADDR               close a port while received frames are in hand, then free them
 *   net_life refused ADDR            frames and settings that cannot be, and a pool that is empty
 *
 * Prints what it counted; exit 1 with a sentence when something is wrong.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_interrupts.h>

#define FRAMES   32
#define DEADLINE 20000 /* ms */

static struct rte_mempool *pool;

static _Noreturn void fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    _exit(1);
}

/** What a leak would make grow. */
struct usage {
    unsigned fds, maps, mbufs;
};

static struct usage measure(void)
{
    struct usage usage = {.mbufs = rte_mempool_avail_count(pool)};
    DIR *folder = opendir("/proc/self/fd");
    FILE *maps = fopen("/proc/self/maps", "re");
    int c;

    while (folder && readdir(folder))
        usage.fds++;
    while (maps && (c = fgetc(maps)) != EOF)
        usage.maps += c == '\n';
    if (folder)
        (void)closedir(folder);
    if (maps)
        (void)fclose(maps);
    return usage;
}

static uint16_t attach(const char *name, const char *address)
{
    char args[256];
    uint16_t port;

    (void)snprintf(args, sizeof(args), "addr=%s", address);
    if (rte_eal_hotplug_add("vdev", name, args) || rte_eth_dev_get_port_by_name(name, &port))
        fail("%s cannot be attached", address);
    return port;
}

static void configure(uint16_t port, bool interrupts)
{
    struct rte_eth_conf conf = {.intr_conf = {.lsc = 1, .rmv = 1, .rxq = interrupts}};

    if (rte_eth_dev_configure(port, 1, 1, &conf) ||
        rte_eth_rx_queue_setup(port, 0, 512, (unsigned int)SOCKET_ID_ANY, NULL, pool) ||
        rte_eth_tx_queue_setup(port, 0, 512, (unsigned int)SOCKET_ID_ANY, NULL))
        fail("port %u cannot be configured", port);
}

static void start(uint16_t port)
{
    if (rte_eth_dev_start(port) || rte_eth_promiscuous_enable(port))
        fail("port %u does not start", port);
}

static void detach(uint16_t port)
{
    struct rte_eth_dev_info info;

    if (rte_eth_dev_info_get(port, &info))
        fail("port %u has no information", port);
    (void)rte_eth_dev_stop(port);
    if (rte_eth_dev_close(port) || rte_dev_remove(info.device))
        fail("port %u cannot be closed", port);
}

static void send_frames(uint16_t port, uint16_t count, uint16_t bytes)
{
    struct rte_mbuf *mbufs[FRAMES];
    uint16_t sent = 0;

    if (rte_pktmbuf_alloc_bulk(pool, mbufs, count))
        fail("no mbufs");
    for (uint16_t i = 0; i < count; i++)
        memset(rte_pktmbuf_append(mbufs[i], bytes), 0xff, bytes);
    while (sent < count)
        sent = (uint16_t)(sent + rte_eth_tx_burst(port, 0, mbufs + sent, (uint16_t)(count - sent)));
}

/** Frames of port until there were `count` of them; kept in `keep` where given. */
static void receive_frames(uint16_t port, unsigned count, struct rte_mbuf **keep)
{
    uint64_t end = rte_get_timer_cycles() + rte_get_timer_hz() * (DEADLINE / 1000);
    struct rte_mbuf *mbufs[FRAMES];
    unsigned total = 0;

    while (total < count) {
        uint16_t got = rte_eth_rx_burst(port, 0, mbufs, FRAMES);

        for (uint16_t i = 0; i < got; i++, total++)
            if (keep && total < count)
                keep[total] = mbufs[i];
            else
                rte_pktmbuf_free(mbufs[i]);
        if (!got && rte_get_timer_cycles() > end)
            fail("port %u: %u frames of %u", port, total, count);
    }
}

/* ---- Interrupts ---- */

struct sleeper {
    uint16_t port;
    _Atomic int thread_id;
    _Atomic unsigned woken;
    unsigned rounds;
};

static void *sleep_main(void *arg)
{
    struct sleeper *sleeper = arg;
    struct rte_epoll_event event;
    struct rte_mbuf *mbufs[FRAMES];

    if (rte_eth_dev_rx_intr_ctl_q(sleeper->port, 0, RTE_EPOLL_PER_THREAD, RTE_INTR_EVENT_ADD, NULL))
        fail("no receive interrupts");
    for (unsigned i = 0; i < sleeper->rounds; i++) {
        unsigned got = 0;

        if (rte_eth_dev_rx_intr_enable(sleeper->port, 0))
            fail("round %u: interrupts cannot be enabled", i);
        atomic_store(&sleeper->thread_id, (int)syscall(SYS_gettid));
        if (rte_epoll_wait(RTE_EPOLL_PER_THREAD, &event, 1, DEADLINE) != 1)
            fail("round %u: nobody was woken", i);
        if (rte_eth_dev_rx_intr_disable(sleeper->port, 0))
            fail("round %u: interrupts cannot be disabled", i);
        while (!got) {
            got = rte_eth_rx_burst(sleeper->port, 0, mbufs, FRAMES);
            rte_pktmbuf_free_bulk(mbufs, got);
        }
        atomic_store(&sleeper->thread_id, 0);
        atomic_fetch_add(&sleeper->woken, 1);
    }
    return NULL;
}

/** The kernel says that the thread sleeps. */
static bool is_asleep(int thread_id)
{
    char path[64], line[256] = "";
    const char *state;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread_id);
    file = fopen(path, "re");
    if (!file)
        return false;
    if (!fgets(line, sizeof(line), file))
        line[0] = '\0';
    (void)fclose(file);
    state = strrchr(line, ')');
    return state && state[1] && state[2] == 'S';
}

static void interrupts(const char *a, const char *b)
{
    struct sleeper sleeper = {.port = attach("net_hvnet0", a), .rounds = 200};
    uint16_t peer = attach("net_hvnet1", b);
    pthread_t thread;

    configure(sleeper.port, true);
    configure(peer, false);
    start(sleeper.port);
    start(peer);
    if (pthread_create(&thread, NULL, sleep_main, &sleeper))
        fail("no thread");
    for (unsigned i = 0; i < sleeper.rounds; i++) {
        int id;

        /* Every other round the frame comes early: before or while interrupts are being enabled. */
        while (i % 2 == 0 && (!(id = atomic_load(&sleeper.thread_id)) || !is_asleep(id)))
            (void)sched_yield();
        send_frames(peer, 1, 64);
        while (atomic_load(&sleeper.woken) <= i)
            (void)sched_yield();
    }
    (void)pthread_join(thread, NULL);
    (void)printf("woken %u\n", atomic_load(&sleeper.woken));
    detach(sleeper.port);
    detach(peer);
}

/* ---- Cycles ---- */

static void compare(const struct usage *then, const struct usage *now)
{
    (void)printf("descriptors %u %u maps %u %u mbufs %u %u\n", then->fds, now->fds, then->maps,
                 now->maps, then->mbufs, now->mbufs);
    if (now->fds > then->fds || now->maps > then->maps + 4 || now->mbufs < then->mbufs)
        fail("something is left");
}

static void cycles(const char *address, unsigned count)
{
    uint16_t port = attach("net_hvnet0", address);
    struct usage then = {0}, now;

    configure(port, false);
    for (unsigned i = 0; i < count; i++) {
        start(port);
        send_frames(port, FRAMES, i % 2 ? 64 : 1500);
        receive_frames(port, FRAMES, NULL);
        if (rte_eth_dev_stop(port))
            fail("cycle %u: does not stop", i);
        if (i == 10)
            then = measure();
    }
    now = measure();
    compare(&then, &now);
    detach(port);
    (void)printf("cycles %u\n", count);
}

/* ---- Removals ---- */

static _Atomic unsigned removed, link_changes;
static _Atomic bool close_inside; /* the port, out of the event of its removal */

static int on_event(uint16_t port, enum rte_eth_event_type event, void *arg, void *ret)
{
    (void)arg;
    (void)ret;
    if (event == RTE_ETH_EVENT_INTR_RMV && atomic_load(&close_inside))
        detach(port);
    atomic_fetch_add(event == RTE_ETH_EVENT_INTR_RMV ? &removed : &link_changes, 1);
    return 0;
}

/** A port whose device is gone: what is known of it, what it still gives, its end. */
static void leave(uint16_t port)
{
    struct rte_mbuf *mbufs[FRAMES];
    struct rte_eth_link link;
    uint16_t got;

    if (rte_eth_link_get_nowait(port, &link) || link.link_status)
        fail("the link is up");
    if (rte_eth_dev_is_removed(port) != 1)
        fail("not known as removed");
    while ((got = rte_eth_rx_burst(port, 0, mbufs, FRAMES)))
        rte_pktmbuf_free_bulk(mbufs, got);
    if (rte_pktmbuf_alloc_bulk(pool, mbufs, 1) || rte_eth_tx_burst(port, 0, mbufs, 1))
        fail("a frame was taken");
    rte_pktmbuf_free(mbufs[0]);
    detach(port);
}

static void removals(const char *address, unsigned count)
{
    struct usage then = {0}, now;
    char line[64];

    for (unsigned i = 0; i < count; i++) {
        uint16_t port = attach("net_hvnet0", address);

        atomic_store(&close_inside, i % 4 == 3);
        configure(port, false);
        (void)rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_RMV, on_event, NULL);
        (void)rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_LSC, on_event, NULL);
        start(port);
        send_frames(port, FRAMES, 1500);
        receive_frames(port, FRAMES, NULL);
        send_frames(port, FRAMES, 1500); /* some are on their way when it goes */
        (void)printf("up %u\n", i);
        (void)fflush(stdout);
        while (atomic_load(&removed) <= i)
            (void)sched_yield();
        if (atomic_load(&link_changes) <= i)
            fail("no link event");
        if (!atomic_load(&close_inside))
            leave(port);
        if (i == 5)
            then = measure();
        (void)printf("closed %u\n", i);
        (void)fflush(stdout);
        if (!fgets(line, sizeof(line), stdin))
            fail("nobody is there");
    }
    now = measure();
    compare(&then, &now);
}

/* ---- Held frames ---- */

static void held(const char *address)
{
    uint16_t port = attach("net_hvnet0", address);
    struct rte_mbuf *mbufs[FRAMES];
    struct usage before, after;

    configure(port, false);
    start(port);
    before = measure();
    send_frames(port, FRAMES, 1500);
    receive_frames(port, FRAMES, mbufs);
    if (!RTE_MBUF_HAS_EXTBUF(mbufs[0]))
        fail("frames were copied");
    detach(port);
    for (unsigned i = 0; i < FRAMES; i++) { /* the bytes are still there */
        if (*rte_pktmbuf_mtod_offset(mbufs[i], const uint8_t *, 1499) != 0xff)
            fail("frame %u changed", i);
        rte_pktmbuf_free(mbufs[i]);
    }
    /* The connection ends when the last frame is free: soon after, by an alarm. */
    for (uint64_t end = rte_get_timer_cycles() + rte_get_timer_hz() * (DEADLINE / 1000);;) {
        after = measure();
        if (after.fds < before.fds)
            break;
        if (rte_get_timer_cycles() > end)
            fail("the connection stays: %u descriptors of %u", after.fds, before.fds);
        (void)sched_yield();
    }
    (void)printf("held\n");
}

/* ---- What cannot be ---- */

static struct rte_mbuf *chain(unsigned segments, uint16_t bytes_each)
{
    struct rte_mbuf *first = NULL, *m;

    for (unsigned i = 0; i < segments; i++) {
        m = rte_pktmbuf_alloc(pool);
        if (!m || !rte_pktmbuf_append(m, bytes_each))
            fail("no mbufs");
        memset(rte_pktmbuf_mtod(m, void *), 0xff, bytes_each);
        if (!first)
            first = m;
        else if (rte_pktmbuf_chain(first, m))
            fail("no chain");
    }
    return first;
}

static struct rte_mbuf *with_flags(uint64_t flags)
{
    struct rte_mbuf *m = chain(1, 100);

    m->ol_flags = flags;
    m->l2_len = 14;
    m->l3_len = 20;
    m->l4_len = 20;
    return m;
}

/** rte_eth_tx_prepare() says why; rte_eth_tx_burst() drops what it cannot send, counts it, and goes on. */
static void check_frames(uint16_t port)
{
    const struct {
        const char *name;
        struct rte_mbuf *m;
        int error; /* of prepare; 0: fine */
        bool dropped;
    } rows[] = {
        {"fine", chain(1, 1514), 0, false},
        {"with room for a tag", chain(1, 1518), 0, false},
        {"longer than the MTU", chain(1, 1600), EINVAL, true},
        {"shorter than its header", chain(1, 13), EINVAL, true},
        {"many segments", chain(31, 40), 0, false},
        {"too many segments", chain(32, 40), EINVAL, true},
        {"checksum never switched on", with_flags(RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM),
         ENOTSUP, true},
        {"SCTP", with_flags(RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_SCTP_CKSUM), ENOTSUP, false},
        {"segmentation never switched on", with_flags(RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_SEG),
         ENOTSUP, true},
        {"tunnel", with_flags(RTE_MBUF_F_TX_TUNNEL_VXLAN), ENOTSUP, false},
    };
    uint64_t sent = 0, errors = 0;
    struct rte_eth_stats stats;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rte_mbuf *m = rows[i].m;

        rte_errno = 0;
        if (rte_eth_tx_prepare(port, 0, &m, 1) != !rows[i].error || rte_errno != rows[i].error)
            fail("%s: prepare says %d", rows[i].name, rte_errno);
        if (rte_eth_tx_burst(port, 0, &m, 1) != 1)
            fail("%s: in the way", rows[i].name);
        errors += rows[i].dropped;
        sent += !rows[i].dropped;
        if (rte_eth_stats_get(port, &stats) || stats.opackets != sent || stats.oerrors != errors)
            fail("%s: sent %" PRIu64 ", errors %" PRIu64, rows[i].name, stats.opackets,
                 stats.oerrors);
    }
    receive_frames(port, (unsigned)sent, NULL);
}

/** Without mbufs frames are counted, and the next ones come when there are mbufs again. */
static void check_empty_pool(uint16_t port)
{
    static struct rte_mbuf *all[4096];
    unsigned count = 0;
    struct rte_mbuf *mbufs[FRAMES];
    struct rte_eth_stats stats;

    for (unsigned round = 0; round < 100; round++) { /* more frames than a stock of mbufs */
        send_frames(port, FRAMES, 64);
        while (!rte_mempool_get(pool, (void **)&all[count]))
            count++;
        for (uint64_t seen = 0; seen < FRAMES;) {
            uint16_t got = rte_eth_rx_burst(port, 0, mbufs, FRAMES);

            for (uint16_t i = 0; i < got; i++) /* kept, so that the pool stays empty */
                all[count++] = mbufs[i];
            seen += got;
            if (rte_eth_stats_get(port, &stats))
                fail("no statistics");
            if (stats.rx_nombuf)
                break;
        }
        if (stats.rx_nombuf)
            break;
        while (count)
            rte_mempool_put(pool, all[--count]);
    }
    if (!stats.rx_nombuf)
        fail("nothing was missed");
    while (count)
        rte_pktmbuf_free(all[--count]);
    send_frames(port, FRAMES, 64);
    receive_frames(port, FRAMES, NULL);
}

static void refused(const char *address)
{
    uint16_t port = attach("net_hvnet0", address), mtu;
    struct rte_eth_dev_info info;

    configure(port, false);
    if (rte_eth_dev_info_get(port, &info) ||
        rte_eth_dev_set_mtu(port, (uint16_t)(info.max_mtu + 1)) != -EINVAL ||
        rte_eth_dev_set_mtu(port, 67) != -EINVAL)
        fail("an MTU that is not there");
    start(port);
    if (rte_eth_dev_set_mtu(port, 1400) != -EBUSY || rte_eth_dev_get_mtu(port, &mtu) || mtu != 1500)
        fail("another MTU while running");
    check_frames(port);
    check_empty_pool(port);
    detach(port);
    (void)printf("refused\n");
}

int main(int argc, char **argv)
{
    char lcores[4096] = "0@(";
    char *eal[] = {argv[0],
                   (char[]){"--lcores"},
                   lcores,
                   (char[]){"--no-huge"},
                   (char[]){"-m"},
                   (char[]){"64"},
                   (char[]){"--no-pci"},
                   (char[]){"--no-shconf"},
                   (char[]){"--no-telemetry"},
                   NULL};
    size_t used = strlen(lcores);
    cpu_set_t allowed;

    /* The main thread floats, and so do those that it makes. */
    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        fail("no CPUs");
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && used < sizeof(lcores) - 8; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            used += (size_t)snprintf(lcores + used, sizeof(lcores) - used, "%u,", cpu);
    lcores[used - 1] = ')'; /* in place of the last comma */
    if (rte_eal_init(sizeof(eal) / sizeof(eal[0]) - 1, eal) < 0)
        fail("EAL does not start");
    pool = rte_pktmbuf_pool_create("frames", 4095, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (!pool)
        fail("no pool");
    if (argc == 4 && !strcmp(argv[1], "interrupts"))
        interrupts(argv[2], argv[3]);
    else if (argc == 4 && !strcmp(argv[1], "cycles"))
        cycles(argv[2], (unsigned)atoi(argv[3]));
    else if (argc == 4 && !strcmp(argv[1], "removals"))
        removals(argv[2], (unsigned)atoi(argv[3]));
    else if (argc == 3 && !strcmp(argv[1], "held"))
        held(argv[2]);
    else if (argc == 3 && !strcmp(argv[1], "refused"))
        refused(argv[2]);
    else
        fail("usage: see the top of net_life.c");
    (void)rte_eal_cleanup();
    return 0;
}
