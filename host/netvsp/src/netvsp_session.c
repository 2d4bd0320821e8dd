/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest comes and goes: channels open, learn what changed, take back what the guest revokes, close. */
#include "netvsp_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void free_session(struct hv_netvsp_session *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < HV_NETVSP_QUEUES_MAX; i++)
        free(s->share[i]);
    free(s->out);
    free(s->next_section);
    free(s->section_state);
    free(s);
}

static struct hv_netvsp_session *make_session(uint32_t guest_id)
{
    struct hv_netvsp_session *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->guest_id = guest_id;
    s->out = calloc(HV_NETVSP_CONTROL_QUEUE, sizeof(*s->out));
    if (!s->out) {
        free(s);
        return NULL;
    }
    s->mtu = HV_NETVSP_MTU;
    s->control_free = UINT16_MAX;
    s->told_link = true; /* guests take a link for up until told */
    return s;
}

static void free_queue(struct hv_netvsp_queue *q)
{
    hv_host_channel_unwatch(q->channel, q->port->event_fd);
    hv_host_channel_unwatch(q->channel, hv_handover_fd(q->port->handover));
    for (uint16_t i = 0; i < q->polled_count; i++) {
        int fd = hv_link_fd(q->nic->link, q->polled[i]);

        if (fd >= 0)
            hv_host_channel_unwatch(q->channel, fd);
    }
    if (q->timer_fd >= 0) {
        hv_host_channel_unwatch(q->channel, q->timer_fd);
        (void)close(q->timer_fd);
    }
    free(q->delayed);
    free(q->sections);
    free(q);
}

static bool plan_delays(const struct hv_netvsp_fault_plan *plan)
{
    for (size_t i = 0; plan && i < plan->count; i++)
        if (plan->rules[i].action == HV_NIC_FAULT_DELAY)
            return true;
    return false;
}

/** Descriptors that wake the worker. */
static int make_events(struct hv_netvsp_queue *q)
{
    int err = hv_host_channel_watch(q->channel, q->port->event_fd);

    if (!err)
        err = hv_host_channel_watch(q->channel, hv_handover_fd(q->port->handover));
    if (err || !plan_delays(q->nic->fault))
        return err;
    q->delayed = calloc(HV_NETVSP_DELAYED, sizeof(*q->delayed));
    if (!q->delayed)
        return -ENOMEM;
    q->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (q->timer_fd < 0)
        return -errno;
    return hv_host_channel_watch(q->channel, q->timer_fd);
}

/* ---- Ports ---- */

/** Who polls what changed: watch what is ours now. */
static void watch_ports(struct hv_netvsp_queue *q)
{
    struct hv_netvsp *nic = q->nic;
    uint16_t count = 0;

    for (uint16_t i = 0; i < q->polled_count; i++) {
        int fd = hv_link_fd(nic->link, q->polled[i]);

        if (fd >= 0 && nic->ports[q->polled[i]].poller != q)
            hv_host_channel_unwatch(q->channel, fd);
    }
    for (uint16_t i = 0; i < nic->queues; i++) {
        int fd = hv_link_fd(nic->link, i);

        if (nic->ports[i].poller != q)
            continue;
        if (fd >= 0)
            (void)hv_host_channel_watch(q->channel, fd); /* watched already is fine */
        q->polled[count++] = (uint8_t)i;
    }
    q->polled_count = count;
}

/** The primary lets go of ports whose own queue is there. */
static void give_ports(struct hv_netvsp_queue *q)
{
    struct hv_netvsp *nic = q->nic;

    for (uint16_t i = 1; i < nic->queues; i++) {
        struct hv_netvsp_port *port = &nic->ports[i];

        if (port->poller != q || !port->wanted)
            continue;
        port->poller = port->queue;
        port->wanted = false;
        hv_netvsp_kick(port);
    }
}

/* ---- Open ---- */

/** Under lock. */
static int join_session(struct hv_netvsp_queue *q)
{
    struct hv_netvsp *nic = q->nic;
    uint32_t guest_id = hv_host_channel_guest_id(q->channel);
    struct hv_netvsp_session *s = nic->session;

    if (q->index) {
        if (!s || s->guest_id != guest_id || q->index > s->granted)
            return -EINVAL;
    } else {
        if (s)
            return -EBUSY; /* another guest has it */
        s = make_session(guest_id);
        if (!s)
            return -ENOMEM;
        nic->session = s;
        memset(&nic->rules, 0, sizeof(nic->rules));
        memcpy(nic->rules.mac, nic->mac, 6);
        nic->steering.on = false;
        nic->steering_serial++;
        nic->vf_active = false;
    }
    q->session = s;
    return 0;
}

static int join(struct hv_netvsp_queue *q)
{
    struct hv_netvsp *nic = q->nic;
    struct hv_netvsp_session *s;
    int err;

    pthread_mutex_lock(&nic->lock);
    err = join_session(q);
    s = q->session;
    if (!err && q->index) {
        q->message_bytes =
            s->version >= HV_NVSP_VERSION_6_1 ? HV_NVSP_MESSAGE_BYTES : HV_NVSP_MESSAGE_MIN_BYTES;
        q->detached = atomic_load(&s->revoked);
        err = hv_netvsp_rx_take_sections(q, s->share[q->index], 0, s->share_count[q->index],
                                         s->share_count[q->index]);
        if (!err && !q->detached)
            s->users++;
    }
    if (!err) {
        q->port->queue = q;
        atomic_fetch_add(&nic->open_count, 1);
        if (!q->index) {
            for (uint16_t i = 0; i < nic->queues; i++)
                nic->ports[i].poller = q;
        } else {
            q->port->wanted = true;
            hv_netvsp_kick(&nic->ports[0]);
        }
        atomic_store(&q->port->open, true);
    }
    pthread_mutex_unlock(&nic->lock);
    return err;
}

/** Frames that were left for an earlier guest. */
static void empty_handover(struct hv_netvsp_queue *q)
{
    struct hv_frame frames[16];
    uint16_t n;

    while ((n = hv_handover_peek(q->port->handover, frames, (uint16_t)HV_COUNT_OF(frames)))) {
        hv_handover_release(q->port->handover, n);
        hv_netvsp_count(&q->counters.filter, n);
    }
}

int hv_netvsp_open(void *device_ctx, struct hv_host_channel *channel, const void *user_data,
                   size_t user_data_bytes, void **ret_ctx)
{
    struct hv_netvsp *nic = device_ctx;
    struct hv_netvsp_queue *q = calloc(1, sizeof(*q));
    int err;

    (void)user_data; /* network guests send zeroes */
    (void)user_data_bytes;
    if (!q)
        return -ENOMEM;
    q->nic = nic;
    q->channel = channel;
    q->index = hv_host_channel_index(channel);
    q->port = &nic->ports[q->index]; /* the host offers no more sub-channels than there are */
    q->timer_fd = -1;
    q->chain_head = q->chain_tail = HV_NETVSP_NONE;
    q->message_bytes = HV_NVSP_MESSAGE_BYTES;
    err = make_events(q);
    if (!err)
        err = join(q);
    if (err) {
        free_queue(q);
        return err;
    }
    empty_handover(q);
    hv_netvsp_kick(q->port);
    *ret_ctx = q;
    return 0;
}

/* ---- News ---- */

/** Under lock: a sub-channel that touches the buffers no more. */
static void stop_using(struct hv_netvsp_queue *q)
{
    if (!q->index || q->detached)
        return;
    q->detached = true;
    if (!--q->session->users)
        hv_netvsp_kick(&q->nic->ports[0]);
}

/** The primary, when nobody uses the buffers: the guest may have them back. */
static void unmap_revoked(struct hv_netvsp_queue *q)
{
    struct hv_netvsp_session *s = q->session;

    if (s->receive.address)
        hv_host_channel_unmap_gpadl(q->channel, s->receive.gpadl);
    if (s->send.address)
        hv_host_channel_unmap_gpadl(q->channel, s->send.gpadl);
    s->receive.address = s->send.address = NULL;
}

void hv_netvsp_attend(struct hv_netvsp_queue *q)
{
    struct hv_netvsp *nic = q->nic;
    bool unmap;
    uint64_t kicks;

    /* First forget that we were kicked, then look: a kick in between is seen next time. */
    (void)atomic_exchange_explicit(&q->port->kicked, false, memory_order_acq_rel);
    if (read(q->port->event_fd, &kicks, sizeof(kicks)) < 0) {
        /* Emptied already, together with an earlier kick. */
    }
    pthread_mutex_lock(&nic->lock);
    if (atomic_load(&q->session->revoked))
        stop_using(q);
    unmap = !q->index && atomic_load(&q->session->revoked) && !q->session->users;
    if (!q->index)
        give_ports(q);
    watch_ports(q);
    q->told_due = true;
    q->tags_aside = (q->session->capabilities & HV_NVSP_CAP_8021Q) &&
                    hv_netvsp_can_offload(nic, HV_NETVSP_OFF_VLAN);
    q->rules = nic->rules;
    q->rules.link_up = nic->link_up && atomic_load(&nic->carrier);
    if (q->steering_serial != nic->steering_serial) {
        q->steering = nic->steering;
        q->steering_serial = nic->steering_serial;
    }
    pthread_mutex_unlock(&nic->lock);
    if (unmap)
        unmap_revoked(q);
}

void hv_netvsp_revoke(struct hv_netvsp_queue *q)
{
    struct hv_netvsp *nic = q->nic;

    pthread_mutex_lock(&nic->lock);
    atomic_store(&q->session->revoked, true);
    nic->rules.filter = 0;
    hv_netvsp_kick_all(nic);
    pthread_mutex_unlock(&nic->lock);
    q->session->phase = HV_NETVSP_PHASE_REVOKED;
    q->rules.filter = 0;
}

/* ---- Close ---- */

void hv_netvsp_close(void *ctx)
{
    struct hv_netvsp_queue *q = ctx;
    struct hv_netvsp *nic = q->nic;
    struct hv_host_channel *channel = q->channel;
    struct hv_netvsp_session *ended = NULL;

    q->closing = true;
    pthread_mutex_lock(&nic->lock);
    atomic_store(&q->port->open, false);
    stop_using(q);
    q->port->queue = NULL;
    q->port->wanted = false;
    if (q->port->poller == q)
        q->port->poller = q->index ? nic->ports[0].queue : NULL;
    if (!q->index) {
        for (uint16_t i = 0; i < nic->queues; i++)
            nic->ports[i].poller = NULL;
        ended = nic->session;
        nic->session = NULL;
        nic->rules.filter = 0;
    } else {
        hv_netvsp_kick(&nic->ports[0]);
    }
    atomic_fetch_sub(&nic->open_count, 1);
    hv_netvsp_add_stats(&nic->past, q);
    pthread_mutex_unlock(&nic->lock);
    free_queue(q);
    free_session(ended);
    hv_host_channel_closed(channel);
}
