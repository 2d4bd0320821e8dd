/* SPDX-License-Identifier: BSD-3-Clause */
/* A controller's life: options, opening, closing, opening again.  Control thread. */
#include "storvsc_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RING_BYTES_DEFAULT      (128u << 10)
#define BOUNCE_BYTES_DEFAULT    (4u << 20)
#define DEPTH_DEFAULT           256u
#define TIMEOUT_MS_DEFAULT      30000u
#define INIT_TIMEOUT_MS_DEFAULT 180000u

static int take_opts(struct hv_storvsc *s, const struct hv_storvsc_opts *opts)
{
    struct hv_storvsc_opts o = HV_STORVSC_OPTS_INIT;

    if (opts) {
        if (opts->size != sizeof(o))
            return -EINVAL;
        o = *opts;
    }
    o.channels = o.channels ? o.channels : 1;
    o.max_version = o.max_version ? o.max_version : HV_VSTOR_VERSION_6_2;
    o.ring_bytes = o.ring_bytes ? o.ring_bytes : RING_BYTES_DEFAULT;
    o.depth = o.depth ? o.depth : DEPTH_DEFAULT;
    o.bounce_bytes = o.bounce_bytes ? o.bounce_bytes : BOUNCE_BYTES_DEFAULT;
    o.timeout_ms = o.timeout_ms ? o.timeout_ms : TIMEOUT_MS_DEFAULT;
    o.init_timeout_ms = o.init_timeout_ms ? o.init_timeout_ms : INIT_TIMEOUT_MS_DEFAULT;
    if (o.channels > HV_STORVSC_QUEUES_MAX || o.depth > HV_STORVSC_DEPTH_MAX ||
        o.max_version < HV_VSTOR_VERSION_2_0)
        return -EINVAL;
    s->opts = o;
    s->queue_max = o.channels;
    if (o.target_vps) { /* reopen needs them, too */
        uint32_t *vps = calloc(o.channels, sizeof(*vps));

        s->opts.target_vps = vps;
        if (!vps)
            return -ENOMEM;
        memcpy(vps, o.target_vps, o.channels * sizeof(*vps));
    }
    return 0;
}

static int find_instance(struct hv_vmbus *bus, const struct hv_guid *wanted,
                         struct hv_guid *ret_instance)
{
    static const struct hv_guid scsi = HV_CLASS_SCSI;
    struct hv_vmbus_device device;
    int rc;

    if (wanted) {
        *ret_instance = *wanted;
        return 0;
    }
    rc = hv_vmbus_find(bus, &scsi, &device);
    if (!rc)
        *ret_instance = device.instance_id;
    return rc;
}

/* With several queues, queue 0 has two reasons to wake: its channel, and news from the others. */
static int create_wake(struct hv_storvsc *s)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (s->queue_max == 1)
        return 0;
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->queue0_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->wake_fd < 0 || s->queue0_fd < 0 ||
        epoll_ctl(s->queue0_fd, EPOLL_CTL_ADD, s->wake_fd, &event))
        return errno ? -errno : -EIO;
    return 0;
}

static int watch_channel0(struct hv_storvsc *s)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (s->queue0_fd < 0)
        return 0;
    if (epoll_ctl(s->queue0_fd, EPOLL_CTL_ADD, hv_channel_fd(s->queues[0]->channel), &event))
        return errno ? -errno : -EIO;
    return 0;
}

void hv_storvsc_close_channel(struct hv_storvsc_queue *q)
{
    struct hv_storvsc *s = q->storvsc;

    if (q->channel && q->index == 0 && s->queue0_fd >= 0) /* not there after half an open: fine */
        (void)epoll_ctl(s->queue0_fd, EPOLL_CTL_DEL, hv_channel_fd(q->channel), NULL);
    hv_channel_close(q->channel);
    q->channel = NULL;
    if (!q->status)
        q->status = -ENODEV;
}

/*
 * Let go of everything on the bus.  Only when every channel is closed does the host use no memory any more: then the
 * callbacks run and memory goes back.
 */
static void disconnect(struct hv_storvsc *s, int error)
{
    s->scan_allowed = false;
    for (uint16_t i = s->queue_count; i-- > 0;)
        hv_storvsc_close_channel(s->queues[i]);
    for (uint16_t i = 0; i < s->queue_count; i++) {
        hv_storvsc_slots_cancel(s->queues[i], error);
        hv_storvsc_parts_cancel(s->queues[i], error);
    }
    for (uint16_t i = 0; i < s->queue_count; i++) {
        s->queues[i]->status = -ENODEV;
        s->queues[i]->timer_ns = HV_STORVSC_NEVER_NS;
        hv_storvsc_memory_detach(s->queues[i]);
    }
    hv_storvsc_scan_detach(s);
    s->queue_count = 0;
    s->bus = NULL;
}

static int scan_all(struct hv_storvsc *s)
{
    uint64_t limit_ns = (uint64_t)s->opts.init_timeout_ms * HV_STORVSC_MS_NS;

    atomic_store_explicit(&s->rescan_wanted, false, memory_order_relaxed);
    hv_storvsc_scan_start(s);
    return hv_storvsc_wait(s, hv_storvsc_scan_idle(s), hv_clock_ns() + limit_ns);
}

static int connect(struct hv_storvsc *s, struct hv_vmbus *bus)
{
    struct hv_storvsc_queue *q = s->queues[0];
    int rc;

    s->bus = bus;
    atomic_store_explicit(&s->dead, false, memory_order_relaxed);
    s->dead_told = false;
    rc = hv_storvsc_open_channel(s, q, 0);
    if (rc) {
        s->bus = NULL;
        return rc;
    }
    s->queue_count = 1;
    rc = watch_channel0(s);
    if (!rc)
        rc = hv_storvsc_handshake(s);
    if (!rc)
        rc = hv_storvsc_memory_attach(q);
    if (!rc)
        rc = hv_storvsc_scan_attach(s);
    if (!rc)
        rc = hv_storvsc_open_subchannels(s);
    if (!rc)
        rc = scan_all(s);
    if (rc)
        disconnect(s, rc);
    else
        s->scan_allowed = true;
    return rc;
}

static int create_queues(struct hv_storvsc *s)
{
    s->queues = calloc(s->queue_max, sizeof(s->queues[0]));
    if (!s->queues)
        return -ENOMEM;
    for (uint16_t i = 0; i < s->queue_max; i++) {
        int rc = hv_storvsc_queue_create(s, i, &s->queues[i]);

        if (rc)
            return rc;
    }
    return 0;
}

static void destroy(struct hv_storvsc *s)
{
    for (uint16_t i = 0; s->queues && i < s->queue_max; i++)
        hv_storvsc_queue_destroy(s->queues[i]);
    free(s->queues);
    hv_storvsc_scan_destroy(s);
    free(s->table);
    free(s->events);
    free((void *)(uintptr_t)s->opts.target_vps); /* our copy */
    if (s->wake_fd >= 0)
        (void)close(s->wake_fd);
    if (s->queue0_fd >= 0)
        (void)close(s->queue0_fd);
    pthread_mutex_destroy(&s->table_lock);
    free(s);
}

int hv_storvsc_open(struct hv_vmbus *bus, const struct hv_guid *instance,
                    const struct hv_storvsc_opts *opts, struct hv_storvsc **ret_storvsc)
{
    struct hv_storvsc *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return -ENOMEM;
    s->wake_fd = s->queue0_fd = -1;
    pthread_mutex_init(&s->table_lock, NULL); /* cannot fail with default attributes */
    rc = take_opts(s, opts);
    if (!rc)
        rc = find_instance(bus, instance, &s->instance);
    if (!rc) {
        s->table = calloc(1, sizeof(*s->table));
        rc = s->table ? hv_storvsc_scan_create(s) : -ENOMEM;
    }
    if (!rc)
        rc = create_wake(s);
    if (!rc)
        rc = create_queues(s);
    if (!rc)
        rc = connect(s, bus);
    if (rc) {
        destroy(s);
        return rc;
    }
    *ret_storvsc = s;
    return 0;
}

void hv_storvsc_close(struct hv_storvsc *s)
{
    if (!s)
        return;
    disconnect(s, -ENODEV);
    destroy(s);
}

int hv_storvsc_reopen(struct hv_storvsc *s, struct hv_vmbus *bus)
{
    disconnect(s, -EIO);
    return connect(s, bus);
}

uint16_t hv_storvsc_version(const struct hv_storvsc *s)
{
    return s->version;
}

uint16_t hv_storvsc_queue_count(const struct hv_storvsc *s)
{
    return s->queue_count;
}

struct hv_storvsc_queue *hv_storvsc_queue(struct hv_storvsc *s, uint16_t index)
{
    return index < s->queue_max ? s->queues[index] : NULL;
}

size_t hv_storvsc_luns(const struct hv_storvsc *storvsc, struct hv_storvsc_lun *luns, size_t max)
{
    /* The lock is not part of what const promises. */
    struct hv_storvsc *s = (struct hv_storvsc *)(uintptr_t)storvsc;
    size_t count;

    pthread_mutex_lock(&s->table_lock);
    count = s->table->count;
    for (size_t i = 0; i < count && i < max; i++)
        luns[i] = s->table->disks[i].lun;
    pthread_mutex_unlock(&s->table_lock);
    return count;
}

int hv_storvsc_rescan(struct hv_storvsc *s)
{
    if (s->queues[0]->status)
        return s->queues[0]->status;
    hv_storvsc_want_rescan(s);
    return 0;
}
