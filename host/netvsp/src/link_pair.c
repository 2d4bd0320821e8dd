/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pair: two NICs of one ID wired together.  A frame goes from the sending guest's memory straight into the other NIC's
 * deliver(), in the worker that sends.
 *
 * LIFETIME: a port sees its peer only through `peer`, which is set while both are there and both are switched on.  A worker
 * announces with `busy` that it looks; whoever takes a peer away clears `peer` and then waits until every busy worker is
 * through with its burst.  No lock on the data path: one exchange a burst.
 */
#include "link_impl.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define ID_BYTES 32u

struct port {
    struct hv_link *link;
    struct wire *wire;
    bool is_up;
    struct port *_Atomic peer;
    struct port_queue {
        _Alignas(64) _Atomic bool busy;
    } * queues;
};

struct wire {
    struct wire *next;
    const void *scope;
    char id[ID_BYTES];
    struct port *ports[2];
};

/* Every wire of the process; NICs find each other here.  Control threads only. */
static pthread_mutex_t wires_lock = PTHREAD_MUTEX_INITIALIZER;
static struct wire *wires;

static bool is_connected(const struct wire *wire)
{
    return wire->ports[0] && wire->ports[1] && wire->ports[0]->is_up && wire->ports[1]->is_up;
}

static void disconnect(struct port *port)
{
    atomic_store(&port->peer, NULL);
    for (uint16_t i = 0; i < port->link->queue_count; i++)
        while (atomic_load(&port->queues[i].busy))
            (void)sched_yield();
}

/* After anything changed: connect or disconnect, and tell both.  A NIC's carrier() must not come back here. */
static void rewire(struct wire *wire, bool was_connected)
{
    bool connected = is_connected(wire);

    for (unsigned i = 0; i < 2; i++) {
        struct port *port = wire->ports[i];

        if (!port || connected == was_connected)
            continue;
        if (connected)
            atomic_store(&port->peer, wire->ports[!i]);
        else
            disconnect(port);
        if (port->link->nic.carrier)
            port->link->nic.carrier(port->link->nic.arg, connected);
    }
}

static struct wire *get_wire(const void *scope, const char *id)
{
    struct wire *wire;

    for (wire = wires; wire; wire = wire->next)
        if (wire->scope == scope && !strcmp(wire->id, id))
            return wire;
    wire = calloc(1, sizeof(*wire));
    if (!wire)
        return NULL;
    wire->scope = scope;
    memcpy(wire->id, id, strlen(id) + 1); /* length checked by the caller */
    wire->next = wires;
    wires = wire;
    return wire;
}

static void put_wire(struct wire *wire)
{
    struct wire **at = &wires;

    if (wire->ports[0] || wire->ports[1])
        return;
    while (*at != wire)
        at = &(*at)->next;
    *at = wire->next;
    free(wire);
}

static int pair_create(struct hv_link *link, char *text, char why[HV_NETVSP_WHY_BYTES])
{
    size_t queue_bytes = link->queue_count * sizeof(struct port_queue);
    struct port *port;
    struct wire *wire;
    int err = 0;

    if (!*text || strlen(text) >= ID_BYTES ||
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") !=
            strlen(text))
        return hv_link_fail(why, -EINVAL,
                            "pair:%.40s: an ID has 1 to %u letters, digits, '_', '.', '-'", text,
                            ID_BYTES - 1);
    port = calloc(1, sizeof(*port));
    link->impl = port;
    if (port)
        port->queues = aligned_alloc(_Alignof(struct port_queue), queue_bytes);
    if (!port || !port->queues)
        return hv_link_fail(why, -ENOMEM, "no memory for a pair");
    memset(port->queues, 0, queue_bytes);
    port->link = link;
    port->is_up = true;
    (void)pthread_mutex_lock(&wires_lock);
    wire = get_wire(link->scope, text);
    if (!wire) {
        err = hv_link_fail(why, -ENOMEM, "no memory for a pair");
    } else if (wire->ports[0] && wire->ports[1]) {
        err = hv_link_fail(why, -EBUSY, "pair:%s has two NICs already", text);
    } else {
        port->wire = wire;
        wire->ports[wire->ports[0] ? 1 : 0] = port;
        rewire(wire, false);
    }
    (void)pthread_mutex_unlock(&wires_lock);
    return err;
}

static void pair_destroy(struct hv_link *link)
{
    struct port *port = link->impl;

    if (!port)
        return;
    if (port->wire) {
        struct wire *wire = port->wire;
        bool was_connected;

        (void)pthread_mutex_lock(&wires_lock);
        was_connected = is_connected(wire);
        wire->ports[wire->ports[0] == port ? 0 : 1] = NULL;
        rewire(wire, was_connected);
        put_wire(wire);
        (void)pthread_mutex_unlock(&wires_lock);
    }
    free(port->queues);
    free(port);
}

static void pair_set_up(struct hv_link *link, bool up)
{
    struct port *port = link->impl;
    bool was_connected;

    (void)pthread_mutex_lock(&wires_lock);
    was_connected = is_connected(port->wire);
    port->is_up = up;
    rewire(port->wire, was_connected);
    (void)pthread_mutex_unlock(&wires_lock);
}

static bool pair_carrier(const struct hv_link *link)
{
    const struct port *port = link->impl;

    return atomic_load(&port->peer) != NULL;
}

static void pair_take(void *arg, const struct hv_frame *frames, uint16_t count)
{
    struct hv_link *to = arg;
    uint16_t taken = to->nic.deliver(to->nic.arg, -1, -1, frames, count);

    /* Written by the workers of the other NIC. */
    atomic_fetch_add_explicit(&to->foreign.delivered, taken, memory_order_relaxed);
    atomic_fetch_add_explicit(&to->foreign.delivered_bytes, hv_link_bytes(frames, taken),
                              memory_order_relaxed);
    if (taken < count)
        atomic_fetch_add_explicit(&to->foreign.deliver_dropped, (uint64_t)(count - taken),
                                  memory_order_relaxed);
}

static void pair_send(struct hv_link *link, struct hv_link_queue *queue,
                      const struct hv_frame *frames, uint16_t count)
{
    struct port *port = link->impl;
    _Atomic bool *busy = &port->queues[queue->index].busy;
    struct port *peer;

    (void)atomic_exchange(busy, true);
    peer = atomic_load(&port->peer);
    if (peer) {
        hv_link_count(&queue->count.sent, count);
        hv_link_count(&queue->count.sent_bytes, hv_link_bytes(frames, count));
        hv_link_finish(queue, frames, count, pair_take, peer->link);
    } else {
        hv_link_count(&queue->count.send_dropped, count);
    }
    atomic_store_explicit(busy, false, memory_order_release);
}

const struct hv_link_ops hv_link_pair = {
    .name = "pair",
    .takes_text = true,
    .create = pair_create,
    .destroy = pair_destroy,
    .send = pair_send,
    .carrier = pair_carrier,
    .set_up = pair_set_up,
};
