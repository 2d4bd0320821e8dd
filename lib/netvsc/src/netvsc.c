/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's life: options, opening, closing, another MTU; and what it says about itself. */
#include "netvsc_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define RING_BYTES_DEFAULT (1u << 20)
/* The longer a section has rested, the less of it is left in the cache of the core that read it last: 23 against 18 million
 * frames of 64 bytes a second with 16 MiB. */
#define RECEIVE_BYTES_DEFAULT (31u << 20)
#define SEND_BYTES_DEFAULT    (16u << 20)
#define COPY_BYTES_DEFAULT    2048u /* whole frames at an MTU of 1500, as Linux copies them */
#define TIMEOUT_MS_DEFAULT    10000u
#define DEBOUNCE_MS_DEFAULT   2000u

static int take_opts(struct hv_netvsc *n, const struct hv_netvsc_opts *opts)
{
    struct hv_netvsc_opts o = HV_NETVSC_OPTS_INIT;

    if (opts) {
        if (opts->size != sizeof(o))
            return -EINVAL;
        o = *opts;
    }
    o.max_version = o.max_version ? o.max_version : HV_NVSP_VERSION_6_1;
    o.mtu = o.mtu ? o.mtu : HV_NETVSC_MTU_DEFAULT;
    o.max_queues = o.max_queues ? o.max_queues : 1;
    o.ring_bytes = o.ring_bytes ? o.ring_bytes : RING_BYTES_DEFAULT;
    o.receive_bytes = o.receive_bytes ? o.receive_bytes : RECEIVE_BYTES_DEFAULT;
    o.send_bytes = o.send_bytes ? o.send_bytes : SEND_BYTES_DEFAULT;
    o.tx_copy_bytes = o.tx_copy_bytes ? o.tx_copy_bytes : COPY_BYTES_DEFAULT;
    o.timeout_ms = o.timeout_ms ? o.timeout_ms : TIMEOUT_MS_DEFAULT;
    o.link_debounce_ms = o.link_debounce_ms ? o.link_debounce_ms : DEBOUNCE_MS_DEFAULT;
    if (o.max_version < HV_NVSP_VERSION_1 || o.mtu < HV_NETVSC_MTU_MIN ||
        o.mtu > HV_NETVSC_MTU_MAX || o.max_queues > HV_NETVSC_QUEUES_MAX)
        return -EINVAL;
    n->opts = o;
    n->mtu = o.mtu;
    n->filter = HV_FILTER_DIRECTED | HV_FILTER_ALLMULTI | HV_FILTER_BROADCAST;
    return 0;
}

static int watch_fd(const struct hv_netvsc *n, int fd)
{
    struct epoll_event e = {.events = EPOLLIN};

    return epoll_ctl(n->wait_fd, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

static int create_wait(struct hv_netvsc *n)
{
    int err;

    n->wait_fd = epoll_create1(EPOLL_CLOEXEC);
    n->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    n->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (n->wait_fd < 0 || n->wake_fd < 0 || n->timer_fd < 0)
        return errno ? -errno : -EIO;
    err = watch_fd(n, n->wake_fd);
    if (!err)
        err = watch_fd(n, n->timer_fd);
    return err ? err : watch_fd(n, hv_vmbus_fd(n->bus));
}

static void destroy(struct hv_netvsc *n)
{
    hv_nq_destroy(n->queues[0]);
    free(n->device);
    if (n->wait_fd >= 0)
        (void)close(n->wait_fd);
    if (n->wake_fd >= 0)
        (void)close(n->wake_fd);
    if (n->timer_fd >= 0)
        (void)close(n->timer_fd);
    pthread_mutex_destroy(&n->mail.lock);
    free(n);
}

int hv_netvsc_open(struct hv_vmbus *bus, const struct hv_guid *instance,
                   const struct hv_netvsc_opts *opts, struct hv_netvsc **ret_netvsc)
{
    struct hv_netvsc *n = calloc(1, sizeof(*n));
    int err;

    if (!n)
        return -ENOMEM;
    n->bus = bus;
    n->instance = *instance;
    n->queue_count = 1;
    n->wait_fd = n->wake_fd = n->timer_fd = -1;
    hv_netvsc_mail_init(&n->mail);
    hv_netvsc_rss_defaults(&n->rss);
    err = take_opts(n, opts);
    if (!err)
        err = create_wait(n);
    if (!err)
        err = hv_netvsc_attach(n);
    if (err) {
        destroy(n);
        return err;
    }
    n->link_told = n->link_up;
    hv_log(&n->opts.log, HV_LOG_INFO,
           "network: NVSP %u.%u, MTU %u, %u receive sections of %u bytes, %u send sections of %u",
           n->nvsp_version >> 16, n->nvsp_version & 0xffffu, n->mtu, n->device->receive_sections,
           n->device->receive_section_bytes, n->device->send_sections,
           n->device->send_section_bytes);
    hv_netvsc_tell(n);
    *ret_netvsc = n;
    return 0;
}

void hv_netvsc_close(struct hv_netvsc *n)
{
    if (!n)
        return;
    if (n->running && !hv_netvsc_status(n))
        (void)hv_netvsc_send_filter(n, 0); /* closing stops it in any case */
    for (uint16_t i = 0; n->running && i < n->queue_count; i++)
        hv_nq_pause(n->queues[i]);
    n->running = false;
    if (n->open_count)
        hv_netvsc_detach(n);
    destroy(n);
}

/** A new attachment with this MTU.  The host may think less of it: then it is no success. */
static int attach_with(struct hv_netvsc *n, uint16_t mtu)
{
    int err;

    n->mtu = mtu;
    err = hv_netvsc_reattach(n);
    return !err && n->mtu != mtu ? -EINVAL : err;
}

/** NVSP 1 has no message that would tell the host. */
static uint16_t max_mtu(const struct hv_netvsc *n)
{
    return n->nvsp_version >= HV_NVSP_VERSION_2 ? HV_NETVSC_MTU_MAX : n->mtu;
}

int hv_netvsc_set_mtu(struct hv_netvsc *n, uint16_t mtu)
{
    uint16_t before = n->mtu;
    int err = hv_netvsc_status(n), back;

    if (!err && n->running)
        err = -EBUSY;
    if (!err && (mtu < HV_NETVSC_MTU_MIN || mtu > max_mtu(n)))
        err = -EINVAL;
    if (err || mtu == before)
        return err;
    err = attach_with(n, mtu);
    if (err == -EBUSY)
        n->mtu = before;
    if (err && err != -EBUSY) {
        back = attach_with(n, before);
        if (back) {
            hv_log(&n->opts.log, HV_LOG_ERROR, "network: no MTU of %u, and none of %u any more: %s",
                   mtu, before, strerrordesc_np(-back));
            n->mtu = before;
            hv_netvsc_mark_dead(n, back == -ENODEV ? -ENODEV : -EPROTO);
        }
    }
    hv_netvsc_tell(n);
    return err;
}

/* ---- What it says about itself ---- */

void hv_netvsc_get_info(const struct hv_netvsc *n, struct hv_netvsc_info *ret_info)
{
    const struct hv_nq_device *device = n->device;

    *ret_info = (struct hv_netvsc_info){
        .link_up = n->link_up,
        .vf_present = n->vf_present,
        .vf_serial = n->vf_serial,
        .nvsp_version = n->nvsp_version,
        .ndis_version = n->ndis_version,
        .link_bits_per_second = n->link_bits_per_second,
        .mtu = n->mtu,
        .max_mtu = max_mtu(n),
        .max_queues = hv_netvsc_max_queues(n),
        .rss_table_entries = n->rss.table_entries,
        .rss_hash_types = n->rss.possible_types,
        .offloads_possible = n->offloads_possible,
        .offloads = atomic_load_explicit(&device->offloads, memory_order_relaxed),
        .tso_max_bytes = n->tso_max_bytes,
        .receive_sections = device->receive_sections,
        .receive_section_bytes = device->receive_section_bytes,
        .send_sections = device->send_sections,
        .send_section_bytes = device->send_section_bytes,
        .max_packets_per_message = device->max_packets_per_message,
        .packet_align_bytes = device->packet_align_bytes,
    };
    memcpy(ret_info->mac, n->mac, sizeof(ret_info->mac));
    memcpy(ret_info->send_table, n->send_table, sizeof(ret_info->send_table));
}

int hv_netvsc_fd(const struct hv_netvsc *n)
{
    return n->wait_fd;
}

int hv_netvsc_status(const struct hv_netvsc *n)
{
    return atomic_load_explicit(&n->status, memory_order_acquire);
}

uint16_t hv_netvsc_queue_count(const struct hv_netvsc *n)
{
    return n->queue_count;
}

struct hv_netvsc_queue *hv_netvsc_get_queue(struct hv_netvsc *n, uint16_t index)
{
    return index < n->queue_count ? n->queues[index] : NULL;
}
