/* SPDX-License-Identifier: BSD-3-Clause */
/* One queue = one channel = one thread: polling, publishing, sleeping. */
#include "storvsc_impl.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** Packets taken before their ring space is given back and what the callbacks submitted is published. */
#define BATCH_PACKETS 256u
/** Polls between two looks at the clock; an idle one counts for IDLE_POLL, after a sleep we look at once. */
#define CLOCK_POLLS 64u
#define IDLE_POLL   8u

int hv_storvsc_queue_create(struct hv_storvsc *s, uint16_t index,
                            struct hv_storvsc_queue **ret_queue)
{
    struct hv_storvsc_queue *q = calloc(1, sizeof(*q));
    int rc;

    if (!q)
        return -ENOMEM;
    q->storvsc = s;
    q->index = index;
    q->status = -ENODEV;
    q->timer_ns = HV_STORVSC_NEVER_NS;
    q->table = calloc(1, sizeof(*q->table));
    rc = q->table ? hv_storvsc_slots_create(q, s->opts.depth) : -ENOMEM;
    if (rc) {
        hv_storvsc_queue_destroy(q);
        return rc;
    }
    *ret_queue = q;
    return 0;
}

void hv_storvsc_queue_destroy(struct hv_storvsc_queue *q)
{
    if (!q)
        return;
    hv_storvsc_slots_destroy(q);
    free(q->table);
    free(q);
}

void hv_storvsc_queue_attach(struct hv_storvsc_queue *q, struct hv_vmbus *bus,
                             struct hv_channel *channel)
{
    q->bus = bus;
    q->channel = channel;
    q->status = 0;
    q->timer_ns = HV_STORVSC_NEVER_NS;
    q->batch_ns = 0;
    q->unflushed = false;
    q->starved = false;
    q->refused_bytes = 0;
    q->ladder = (struct hv_storvsc_ladder){0};
    q->packet_bytes = HV_VSTOR_PACKET_V2_BYTES;
}

/*
 * The table of LUNs changes a few times a day and is looked up with every request: each queue has a copy, and a
 * counter tells it when to take a new one.  Only then is there a lock.
 */
const struct hv_storvsc_table *hv_storvsc_queue_table(struct hv_storvsc_queue *q)
{
    struct hv_storvsc *s = q->storvsc;
    uint32_t generation =
        atomic_load_explicit(&s->table_generation, memory_order_acquire); /* pairs: publish */

    if (generation != q->table_generation) {
        pthread_mutex_lock(&s->table_lock);
        q->table->count = s->table->count;
        memcpy(q->table->disks, s->table->disks, s->table->count * sizeof(s->table->disks[0]));
        q->table_generation = atomic_load_explicit(&s->table_generation, memory_order_relaxed);
        pthread_mutex_unlock(&s->table_lock);
    }
    return q->table;
}

static uint32_t address_key(struct hv_storvsc_address a)
{
    return (uint32_t)a.path << 16 | (uint32_t)a.target << 8 | a.lun;
}

struct hv_storvsc_disk *hv_storvsc_find(struct hv_storvsc_queue *q,
                                        struct hv_storvsc_address address)
{
    const struct hv_storvsc_table *table = hv_storvsc_queue_table(q);
    uint32_t key = address_key(address);
    size_t low = 0, high = table->count;

    /* LUN n of a controller without gaps is entry n. */
    if (key < high && address_key(table->disks[key].lun.address) == key)
        return &q->table->disks[key];
    while (low < high) {
        size_t mid = (low + high) / 2;
        uint32_t here = address_key(table->disks[mid].lun.address);

        if (here == key)
            return &q->table->disks[mid];
        if (here < key)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

int hv_storvsc_flush(struct hv_storvsc_queue *q)
{
    int rc;

    if (q->status)
        return q->status;
    if (!q->unflushed)
        return 0;
    q->unflushed = false;
    q->batch_ns = 0;
    rc = hv_channel_flush(q->channel);
    if (rc)
        hv_storvsc_die(q, rc, "the ring to the host cannot be used any more");
    return q->status;
}

static void drain(struct hv_storvsc_queue *q)
{
    struct hv_packet packet;
    uint32_t count = 0;
    int rc = 0;

    while (count < BATCH_PACKETS && !rc) {
        rc = hv_channel_peek(q->channel, &packet);
        if (rc)
            break;
        count++;
        rc = hv_storvsc_packet(q, &packet);
    }
    if (count)
        hv_channel_release(q->channel);
    if (rc && rc != -EAGAIN)
        hv_storvsc_die(q, rc,
                       rc == -ENODEV ? "the device or its host is gone" : "the ring is corrupt");
}

static void look_at_clock(struct hv_storvsc_queue *q, bool idle)
{
    uint64_t now;

    if (q->timer_ns == HV_STORVSC_NEVER_NS)
        return;
    q->polls += idle ? IDLE_POLL : 1;
    if (!q->woke && q->polls < CLOCK_POLLS)
        return;
    q->polls = 0;
    q->woke = false;
    now = hv_clock_ns();
    if (now >= q->timer_ns)
        hv_storvsc_timers(q, now);
}

int hv_storvsc_poll(struct hv_storvsc_queue *q)
{
    uint64_t before = q->stats.completed;
    uint64_t done;

    if (q->in_poll) /* from a callback */
        return 0;
    q->in_poll = true;
    if (!q->status) {
        drain(q);
        look_at_clock(q, q->stats.completed == before);
        if (q->parts_head && !q->status)
            hv_storvsc_parts_pump(q);
    }
    if (q->index == 0)
        hv_storvsc_housekeeping(q->storvsc);
    (void)hv_storvsc_flush(q); /* a failure is in q->status */
    q->in_poll = false;
    done = q->stats.completed - before;
    return done ? (int)hv_min_u64(done, INT_MAX) : q->status;
}

int hv_storvsc_queue_fd(const struct hv_storvsc_queue *q)
{
    if (q->index == 0 && q->storvsc->queue0_fd >= 0)
        return q->storvsc->queue0_fd;
    return q->channel ? hv_channel_fd(q->channel) : -1;
}

bool hv_storvsc_arm(struct hv_storvsc_queue *q)
{
    if (hv_storvsc_flush(q) ||
        (q->index == 0 && q->storvsc->scan_allowed && hv_storvsc_has_news(q->storvsc)))
        return true;
    /* Nothing comes back while the ring is full of packets that the host has not taken: room is news, too. */
    if (q->refused_bytes && hv_channel_want_room(q->channel, q->refused_bytes)) {
        q->refused_bytes = 0;
        return true;
    }
    return hv_channel_arm(q->channel);
}

void hv_storvsc_disarm(struct hv_storvsc_queue *q)
{
    uint64_t count;

    q->woke = true;
    q->refused_bytes = 0;
    if (q->channel)
        hv_channel_disarm(q->channel);
    /* Nonblocking and a counter: an empty one is fine, and one read empties it. */
    if (q->index == 0 && q->storvsc->wake_fd >= 0)
        (void)!read(q->storvsc->wake_fd, &count, sizeof(count));
}

int hv_storvsc_next_deadline_ms(const struct hv_storvsc_queue *q)
{
    uint64_t now, ms;

    if (q->status || q->timer_ns == HV_STORVSC_NEVER_NS)
        return -1;
    now = hv_clock_ns();
    if (now >= q->timer_ns)
        return q->timer_ns ? 0 : 1; /* 1: waits for ring space, which also wakes */
    ms = (q->timer_ns - now + HV_STORVSC_MS_NS - 1) / HV_STORVSC_MS_NS;
    return (int)hv_min_u64(ms, INT_MAX);
}

uint32_t hv_storvsc_in_flight(const struct hv_storvsc_queue *q)
{
    return q->requests;
}

void hv_storvsc_get_stats(const struct hv_storvsc_queue *q, struct hv_storvsc_stats *ret_stats)
{
    *ret_stats = q->stats;
    if (q->channel)
        hv_channel_get_stats(q->channel, &ret_stats->channel);
}
