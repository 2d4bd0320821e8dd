/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two threads on the two ends of one ring, over one mapping (so that ThreadSanitizer sees both).  Each sleeps on an
 * eventfd when it has nothing to do and is woken only when the other end was told to signal: a signal that the ring
 * fails to ask for leaves a sleeper with work before it, and the wait fails at the deadline.  Half of the loads sleep
 * by spinning on a counter instead: a hundred times more goings to sleep a second, each a chance to lose a wake-up.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <hv/base/clock.h>
#include <hv/ring.h>

#include "ring_pair.h"
#include "suite.h"

#define WAIT_NS   30000000000ull /* a sleep this long is a wake-up lost */
#define BUDGET_NS 1500000000ull  /* a slow machine stops a load here and not at its packet count */

struct load {
    const char *name;
    uint32_t data_bytes;
    uint32_t max_payload_bytes;
    uint32_t max_batch; /* packets a publish and a release */
    uint32_t packets;
    bool masks;            /* the reader masks while it is awake */
    bool may_publish_late; /* the writer goes to sleep with reserved packets still hidden */
    bool spins;            /* sleeps are spins */
};

struct bell {
    int fd;
    _Atomic uint32_t rung;
};

struct stress {
    const struct load *load;
    struct ring_pair pair;
    struct bell data, room;
    uint64_t end_ns;
    _Atomic bool failed;
    uint64_t writer_stagger, reader_stagger;
    uint32_t writer_slept, reader_slept;
};

/* xorshift: the two ends draw the same lengths from the same seed. */
static uint32_t draw(uint64_t *state, uint32_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 33) % below;
}

static void ring_bell(const struct stress *s, struct bell *bell)
{
    uint64_t one = 1;

    if (s->load->spins)
        atomic_fetch_add(&bell->rung, 1);
    else if (write(bell->fd, &one, sizeof(one)) != sizeof(one))
        CU_FAIL("eventfd");
}

static bool wait_fd(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    uint64_t count;

    return poll(&poll_fd, 1, (int)(WAIT_NS / 1000000)) == 1 &&
           read(fd, &count, sizeof(count)) == sizeof(count);
}

static bool wait_rung(const struct stress *s, struct bell *bell)
{
    uint64_t deadline_ns = hv_clock_ns() + WAIT_NS;

    for (uint32_t i = 1; !atomic_exchange(&bell->rung, 0); i++) {
        if (i % 256)
            continue;
        if (hv_clock_ns() >= deadline_ns || atomic_load(&s->failed))
            return false;
        sched_yield(); /* on a machine with one core the other side needs it */
    }
    return true;
}

/** Until the bell; false at the deadline or when the other side has given up. */
static bool wait_bell(struct stress *s, struct bell *bell)
{
    bool ok = s->load->spins ? wait_rung(s, bell) : wait_fd(bell->fd);

    if (!ok)
        atomic_store(&s->failed, true);
    return !atomic_load(&s->failed);
}

/** A few hundred cycles at most, so that the two sides meet at every point of each other's code. */
static void stagger(uint64_t *state)
{
    for (uint32_t i = draw(state, 64); i; i--)
        atomic_signal_fence(memory_order_seq_cst);
}

/** Room for a packet of `bytes`, sleeping if need be. */
static bool wait_room(struct stress *s, uint32_t bytes)
{
    struct hv_ring_tx *tx = &s->pair.tx;

    /* a reader that has drained everything makes no more room: hidden packets must not wait for it */
    if (!s->load->may_publish_late || hv_ring_tx_free(tx) > s->load->data_bytes / 2)
        if (hv_ring_tx_publish(tx))
            ring_bell(s, &s->data);
    stagger(&s->writer_stagger);
    while (!hv_ring_tx_want_room(tx, bytes)) {
        s->writer_slept++;
        if (!wait_bell(s, &s->room))
            return false;
    }
    return true;
}

static bool write_one(struct stress *s, uint64_t *state, uint32_t sequence, bool last)
{
    struct hv_packet_desc desc = {.trans_id = sequence,
                                  .payload_bytes = 8 + draw(state, s->load->max_payload_bytes - 7)};
    struct hv_packet_slot slot;
    int err;

    desc.type = last ? HV_PACKET_COMPLETION : HV_PACKET_INBAND;
    while ((err = hv_ring_tx_reserve(&s->pair.tx, &desc, &slot)) == -EAGAIN)
        if (!wait_room(s, hv_ring_packet_bytes(0, desc.payload_bytes)))
            return false;
    if (err)
        return false;
    memset(slot.payload, (int)(sequence & 0xff), desc.payload_bytes);
    memcpy(slot.payload, &desc.payload_bytes, 4);
    return true;
}

static void *writer(void *arg)
{
    struct stress *s = arg;
    uint64_t lengths = 88172645463325252u, batches = 362436069;
    uint32_t left = 1, i = 0;
    bool last = false;

    while (!last) {
        i++;
        last = i == s->load->packets || (i % 64 == 0 && hv_clock_ns() >= s->end_ns);
        if (!write_one(s, &lengths, i, last)) {
            atomic_store(&s->failed, true);
            break;
        }
        if (--left && !last)
            continue;
        left = 1 + draw(&batches, s->load->max_batch);
        if (hv_ring_tx_publish(&s->pair.tx))
            ring_bell(s, &s->data);
    }
    return NULL;
}

static bool packet_ok(const struct hv_packet *packet, uint32_t bytes, uint32_t sequence)
{
    const uint8_t *payload = packet->payload;
    uint32_t said;

    memcpy(&said, payload, sizeof(said));
    if (packet->trans_id != sequence || said != bytes || packet->ext_bytes ||
        packet->payload_bytes != ((bytes + 7) & ~7u))
        return false;
    for (uint32_t i = 4; i < packet->payload_bytes; i++)
        if (payload[i] != (i < bytes ? (uint8_t)sequence : 0))
            return false;
    return true;
}

static void release(struct stress *s)
{
    if (hv_ring_rx_release(&s->pair.rx))
        ring_bell(s, &s->room);
}

/** Empty: sleep as the ring's rules say. */
static bool wait_data(struct stress *s)
{
    bool more;

    release(s);
    stagger(&s->reader_stagger);
    more = hv_ring_rx_unmask(&s->pair.rx);
    if (!more) {
        s->reader_slept++;
        if (!wait_bell(s, &s->data))
            return false;
    }
    if (s->load->masks)
        hv_ring_rx_mask(&s->pair.rx);
    return true;
}

/** In this thread.  True when every packet came as it was sent, to the last. */
static bool read_all(struct stress *s)
{
    uint64_t lengths = 88172645463325252u, batches = 521288629;
    uint32_t left = 1;

    for (uint32_t i = 1;;) {
        struct hv_packet packet;
        int err = hv_ring_rx_peek(&s->pair.rx, &packet);

        if (err == -EAGAIN) {
            if (!wait_data(s))
                return false;
            continue;
        }
        if (err || !packet_ok(&packet, 8 + draw(&lengths, s->load->max_payload_bytes - 7), i++))
            return false;
        if (packet.type == HV_PACKET_COMPLETION)
            break;
        if (--left == 0) {
            left = 1 + draw(&batches, s->load->max_batch);
            stagger(&s->reader_stagger);
            release(s);
        }
    }
    release(s);
    return true;
}

/** False when a side gave up: the next load would only wait in vain too. */
static bool run(const struct load *load)
{
    struct stress s = {.load = load,
                       .data.fd = eventfd(0, EFD_CLOEXEC),
                       .room.fd = eventfd(0, EFD_CLOEXEC),
                       .writer_stagger = 2463534242,
                       .reader_stagger = 521288629,
                       .end_ns = hv_clock_ns() + BUDGET_NS};
    const struct hv_ring_stats *tx = &s.pair.tx.stats, *rx = &s.pair.rx.stats;
    pthread_t thread;

    if (!ring_pair_create(&s.pair, load->data_bytes))
        return false;
    if (load->masks)
        hv_ring_rx_mask(&s.pair.rx);
    if (!pthread_create(&thread, NULL, writer, &s)) {
        bool ok = read_all(&s);

        HV_CHECK_ROW(load->name, ok);
        if (!ok) {
            atomic_store(&s.failed, true);
            ring_bell(&s, &s.room);
        }
        pthread_join(thread, NULL);
        HV_CHECK_ROW(load->name, !atomic_load(&s.failed));
        HV_CHECK_ROW(load->name, tx->packets > 1 && tx->packets == rx->packets);
        HV_CHECK_ROW(load->name, tx->bytes == rx->bytes);
        HV_CHECK_ROW(load->name, tx->signals && tx->signals <= tx->packets);
        HV_CHECK_ROW(load->name, s.writer_slept + s.reader_slept > 0);
    } else {
        CU_FAIL("no thread");
    }
    ring_pair_destroy(&s.pair);
    close(s.data.fd);
    close(s.room.fd);
    return !atomic_load(&s.failed);
}

static void test_ring_stress(void)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    enum { PACKETS = 20000 };
#else
    enum { PACKETS = 100000 };
#endif
    static const struct load loads[] = {
        {"smallest ring, one by one", 4096, 64, 1, PACKETS, true, false, false},
        {"smallest ring, batches", 4096, 400, 8, PACKETS, true, false, false},
        {"smallest ring, packets as large as fit", 4096, 4064, 3, PACKETS / 4, true, false, false},
        {"never masked", 4096, 400, 8, PACKETS, false, false, false},
        {"three pages", 3 * 4096, 1500, 32, PACKETS / 2, true, false, false},
        {"sleeping with hidden packets", 3 * 4096, 600, 16, PACKETS / 2, true, true, false},
        {"sixteen pages", 16 * 4096, 4000, 64, PACKETS / 4, true, false, false},
        {"one by one, spinning", 4096, 64, 1, 10 * PACKETS, true, false, true},
        {"always full, spinning", 4096, 4000, 1, 10 * PACKETS, true, false, true},
        {"batches, spinning", 4096, 400, 8, 10 * PACKETS, true, false, true},
        {"never masked, spinning", 4096, 400, 8, 10 * PACKETS, false, false, true},
        {"hidden packets, spinning", 3 * 4096, 600, 16, 10 * PACKETS, true, true, true},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(loads) && run(&loads[i]); i++)
        continue;
}

static const struct hv_test_case cases[] = {{"two threads", test_ring_stress}};

int main(int argc, char **argv)
{
    return hv_test_main("ring_stress", cases, HV_TEST_COUNT(cases), argc, argv);
}
