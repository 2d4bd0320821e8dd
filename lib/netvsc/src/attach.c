/* SPDX-License-Identifier: BSD-3-Clause */
/* From a closed channel to a stopped device that has said what it can do, and back. */
#include "netvsc_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/** Messages with the host at a time, of each queue: with several frames in each more than any ring is deep. */
#define DESCRIPTORS 2048u

int hv_netvsc_watch(struct hv_netvsc *n, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN};
    int fd;

    if (wanted == n->watched)
        return 0;
    fd = hv_channel_fd(n->channels[0]);
    if (epoll_ctl(n->wait_fd, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &event))
        return errno ? -errno : -EIO;
    n->watched = wanted;
    return 0;
}

/** Hooks look at the channels up to open_count: it grows when both channel and queue are there. */
int hv_netvsc_open_channel(struct hv_netvsc *n, uint16_t index)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    int err;

    opts.out_bytes = opts.in_bytes = n->opts.ring_bytes;
    opts.target_vp = index; /* one after the other: as many as the host has */
    err = hv_channel_open(n->bus, &n->instance, index, &opts, &n->channels[index]);
    if (err)
        return err;
    err = hv_nq_create(n->device, n->channels[index], DESCRIPTORS, &n->queues[index]);
    if (err) {
        hv_channel_close(n->channels[index]);
        n->channels[index] = NULL;
        return err;
    }
    n->open_count = (uint16_t)(index + 1);
    return 0;
}

/** Stopped: the host delivers nothing, which it may do after INITIALIZE (FreeBSD's experience). */
static int learn(struct hv_netvsc *n)
{
    int err = hv_netvsc_rndis_init(n);

    if (!err)
        err = hv_netvsc_send_filter(n, 0);
    if (!err)
        err = hv_netvsc_restore(n);
    if (!err)
        err = hv_netvsc_rss_query(n);
    if (!err)
        err = hv_netvsc_offload_init(n);
    return err;
}

/** Take the attachment down; its queue 0 and its device stay, without a channel. */
void hv_netvsc_detach(struct hv_netvsc *n)
{
    if (!hv_netvsc_status(n)) {
        hv_netvsc_rndis_halt(n);
        hv_netvsc_nvsp_revoke(n);
    }
    n->rndis_up = n->told_receive = n->told_send = false;
    (void)hv_netvsc_watch(n, false); /* was there, so it can be taken out */
    for (uint16_t i = 0; i < n->open_count; i++)
        hv_nq_detach(n->queues[i]);
    for (uint16_t i = n->open_count; i-- > 0;) {
        struct hv_channel *channel = n->channels[i];

        n->channels[i] = NULL;
        n->open_count = i;
        hv_channel_close(channel);
        if (i) {
            hv_nq_destroy(n->queues[i]);
            n->queues[i] = NULL;
        }
    }
    n->shared_among = n->asked_subs = n->granted_subs = 0;
    n->queue_count = 1;
    n->rss.on = false;
    n->vf_present = n->data_path_due = false;
}

/** Free what detach leaves. */
static void discard(struct hv_netvsc *n)
{
    hv_nq_destroy(n->queues[0]);
    n->queues[0] = NULL;
    free(n->device);
    n->device = NULL;
}

int hv_netvsc_attach(struct hv_netvsc *n)
{
    int err;

    n->queues[0] = NULL;
    n->device = calloc(1, sizeof(*n->device));
    if (!n->device)
        return -ENOMEM;
    hv_netvsc_set_hooks(n, n->device);
    n->device->tx_copy_bytes = n->opts.tx_copy_bytes;
    err = hv_netvsc_open_channel(n, 0);
    if (!err)
        err = hv_netvsc_watch(n, true);
    if (!err)
        err = hv_netvsc_nvsp_init(n);
    if (!err)
        err = learn(n);
    if (err) {
        hv_netvsc_detach(n);
        discard(n);
    }
    return err;
}

bool hv_netvsc_holds_frames(struct hv_netvsc *n)
{
    bool held = false;

    for (uint16_t i = 0; i < n->open_count; i++)
        held |= hv_nq_held(n->queues[i]) != 0;
    return held;
}

int hv_netvsc_reattach(struct hv_netvsc *n)
{
    struct hv_netvsc_queue *queue = n->queues[0];
    struct hv_nq_device *device = n->device;
    int err;

    if (hv_netvsc_holds_frames(n))
        return -EBUSY;
    if (n->open_count) /* an earlier try may have failed half-way */
        hv_netvsc_detach(n);
    err = hv_netvsc_attach(n);
    if (err) {
        /* there is always a queue 0: one that answers nothing but that it is dead */
        n->queues[0] = queue;
        n->device = device;
        return err;
    }
    hv_nq_destroy(queue);
    free(device);
    return 0;
}
