/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capture into a pcap file (nanoseconds): the loops copy frames into mbufs of a pool of its own and put them into a ring
 * each; a thread writes.  A slow disk costs captured frames, which are counted, and never the forwarding.
 */
#include "runner.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <rte_lcore.h>
#include <rte_ring.h>

#define RING_FRAMES 4096u
#define IDLE_MS     1
#define BATCH       64u

struct loop_ring {
    struct rte_ring *ring;
    _Atomic uint64_t missed;
};

struct capture {
    FILE *file;
    struct rte_mempool *pool;
    uint32_t snap_bytes;
    unsigned loops;
    pthread_t thread;
    bool started;
    int stop_fd;
    _Atomic uint64_t written;
    int error;
    struct loop_ring rings[];
};

/** In front of the copy, in its headroom. */
struct stamp {
    uint64_t ns;
    uint32_t frame_bytes, reserved;
};

/* The file format of libpcap, in our own byte order, which the magic number tells. */
struct pcap_file_header {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, accuracy, snap_bytes, link_type;
};
struct pcap_record {
    uint32_t seconds, nanoseconds, stored_bytes, frame_bytes;
};
_Static_assert(sizeof(struct pcap_file_header) == 24 && sizeof(struct pcap_record) == 16,
               "libpcap's");
#define PCAP_MAGIC_NS 0xa1b23c4du
#define LINK_ETHERNET 1u

static void write_frame(struct capture *capture, struct rte_mbuf *m)
{
    const struct stamp *stamp = rte_pktmbuf_mtod(m, const struct stamp *);
    struct pcap_record record = {
        .seconds = (uint32_t)(stamp->ns / 1000000000u),
        .nanoseconds = (uint32_t)(stamp->ns % 1000000000u),
        .stored_bytes = m->pkt_len - (uint32_t)sizeof(*stamp),
        .frame_bytes = stamp->frame_bytes,
    };
    bool ok = fwrite(&record, sizeof(record), 1, capture->file) == 1;
    uint32_t skip = sizeof(*stamp);

    for (const struct rte_mbuf *s = m; s && ok; s = s->next) {
        ok = s->data_len == skip || fwrite(rte_pktmbuf_mtod(s, const char *) + skip,
                                           s->data_len - skip, 1, capture->file) == 1;
        skip = 0;
    }
    if (ok)
        atomic_fetch_add_explicit(&capture->written, 1, memory_order_relaxed);
    else if (!capture->error)
        capture->error = errno ? -errno : -EIO;
    rte_pktmbuf_free(m);
}

static unsigned drain(struct capture *capture)
{
    struct rte_mbuf *mbufs[BATCH];
    unsigned total = 0;

    for (unsigned i = 0; i < capture->loops; i++) {
        unsigned got =
            rte_ring_sc_dequeue_burst(capture->rings[i].ring, (void **)mbufs, BATCH, NULL);

        for (unsigned k = 0; k < got; k++)
            write_frame(capture, mbufs[k]);
        total += got;
    }
    return total;
}

static void *write_loop(void *arg)
{
    struct capture *capture = arg;
    struct pollfd stop = {.fd = capture->stop_fd, .events = POLLIN};

    while (!stop.revents) /* look again every millisecond: waking us would cost the loops more */
        (void)poll(&stop, 1, drain(capture) ? 0 : IDLE_MS);
    while (drain(capture))
        ;
    return NULL;
}

static int start(struct capture *capture)
{
    const struct pcap_file_header header = {.magic = PCAP_MAGIC_NS,
                                            .major = 2,
                                            .minor = 4,
                                            .snap_bytes = capture->snap_bytes,
                                            .link_type = LINK_ETHERNET};
    char name[RTE_RING_NAMESIZE];

    /* Small buffers: a long frame becomes a chain. */
    capture->pool = rte_pktmbuf_pool_create("capture", 2 * RING_FRAMES * capture->loops - 1, 256, 0,
                                            RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (!capture->pool)
        return -ENOMEM;
    for (unsigned i = 0; i < capture->loops; i++) {
        (void)snprintf(name, sizeof(name), "capture%u", i);
        capture->rings[i].ring =
            rte_ring_create(name, RING_FRAMES, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
        if (!capture->rings[i].ring)
            return -ENOMEM;
    }
    if (fwrite(&header, sizeof(header), 1, capture->file) != 1)
        return -EIO;
    capture->started =
        !rte_ctrl_thread_create(&capture->thread, "capture", NULL, write_loop, capture);
    return capture->started ? 0 : -EAGAIN;
}

int capture_create(const char *path, uint32_t snap_bytes, unsigned loops,
                   struct capture **ret_capture)
{
    struct capture *capture = calloc(1, sizeof(*capture) + loops * sizeof(capture->rings[0]));
    int err;

    if (!capture)
        return -ENOMEM;
    capture->snap_bytes = snap_bytes;
    capture->loops = loops;
    capture->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    capture->file = capture->stop_fd < 0 ? NULL : fopen(path, "we");
    err = capture->file ? start(capture) : -errno;
    if (err) {
        (void)capture_destroy(capture);
        return err;
    }
    *ret_capture = capture;
    return 0;
}

void capture_add(struct capture *capture, unsigned loop, struct rte_mbuf **mbufs, uint16_t count)
{
    struct loop_ring *to = &capture->rings[loop];
    struct timespec now;
    uint64_t ns;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* once a burst, without a system call */
    ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    for (uint16_t i = 0; i < count; i++) {
        struct rte_mbuf *copy = rte_pktmbuf_copy(mbufs[i], capture->pool, 0, capture->snap_bytes);
        struct stamp *stamp =
            copy ? (struct stamp *)rte_pktmbuf_prepend(copy, sizeof(*stamp)) : NULL;

        if (stamp)
            *stamp = (struct stamp){.ns = ns, .frame_bytes = mbufs[i]->pkt_len};
        if (!stamp || rte_ring_sp_enqueue(to->ring, copy)) {
            rte_pktmbuf_free(copy);
            atomic_fetch_add_explicit(&to->missed, 1, memory_order_relaxed);
        }
    }
}

void capture_counts(const struct capture *capture, uint64_t *ret_written, uint64_t *ret_missed)
{
    uint64_t missed = 0;

    for (unsigned i = 0; i < capture->loops; i++)
        missed += atomic_load_explicit(&capture->rings[i].missed, memory_order_relaxed);
    *ret_written = atomic_load_explicit(&capture->written, memory_order_relaxed);
    *ret_missed = missed;
}

int capture_destroy(struct capture *capture)
{
    const uint64_t one = 1;
    int err;

    if (!capture)
        return 0;
    if (capture->started) {
        (void)!write(capture->stop_fd, &one, sizeof(one)); /* cannot fail: there is room for one */
        (void)pthread_join(capture->thread, NULL);
    }
    if (capture->stop_fd >= 0)
        (void)close(capture->stop_fd);
    err = capture->error;
    if (capture->file && fclose(capture->file) && !err)
        err = -errno;
    for (unsigned i = 0; i < capture->loops; i++)
        rte_ring_free(capture->rings[i].ring);
    rte_mempool_free(capture->pool);
    free(capture);
    return err;
}
