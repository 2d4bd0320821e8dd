/* SPDX-License-Identifier: BSD-3-Clause */
/* Links of all kinds: create, destroy, dispatch, counters. */
#include "link_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>

#define QUEUES_MAX 64u

static const struct hv_link_ops *const kinds[] = {
    &hv_link_loop, &hv_link_pair, &hv_link_pcap, &hv_link_sink, &hv_link_source, &hv_link_tap,
};

int hv_link_fail(char why[HV_NETVSP_WHY_BYTES], int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, HV_NETVSP_WHY_BYTES, format, args);
    va_end(args);
    return err;
}

int hv_link_option(const char *piece, const char *key, uint64_t min, uint64_t max,
                   uint64_t *ret_value, char why[HV_NETVSP_WHY_BYTES])
{
    size_t length = strlen(key);
    unsigned long long value;
    char *end;

    if (strncmp(piece, key, length) || piece[length] != '=')
        return 0;
    piece += length + 1;
    errno = 0;
    value = strtoull(piece, &end, 10);
    if (*piece < '0' || *piece > '9' || *end || errno || value < min || value > max)
        return hv_link_fail(why, -EINVAL, "%s=%.40s: not a number from %llu to %llu", key, piece,
                            (unsigned long long)min, (unsigned long long)max);
    *ret_value = value;
    return 1;
}

static const struct hv_link_ops *find_kind(const char *text, const char **ret_rest,
                                           char why[HV_NETVSP_WHY_BYTES])
{
    size_t length = strcspn(text, ":");

    for (size_t i = 0; i < HV_COUNT_OF(kinds); i++) {
        if (strlen(kinds[i]->name) != length || strncmp(text, kinds[i]->name, length))
            continue;
        if ((text[length] == ':') == kinds[i]->takes_text) {
            *ret_rest = text + length + kinds[i]->takes_text;
            return kinds[i];
        }
        (void)hv_link_fail(why, 0,
                           kinds[i]->takes_text ? "link \"%.64s\": something must follow \"%s:\""
                                                : "link \"%.64s\": nothing may follow \"%s\"",
                           text, kinds[i]->name);
        return NULL;
    }
    (void)hv_link_fail(why, 0,
                       "\"%.64s\" is no link: allowed are tap:NAME, loop, pair:ID, source:BYTES, "
                       "sink, pcap:IN[,OUT]",
                       text);
    return NULL;
}

static int create_queues(struct hv_link *link)
{
    size_t bytes = link->queue_count * sizeof(*link->queues);

    link->queues = aligned_alloc(_Alignof(struct hv_link_queue), bytes);
    if (!link->queues)
        return -ENOMEM;
    memset(link->queues, 0, bytes);
    for (uint16_t i = 0; i < link->queue_count; i++) {
        int err = hv_offload_create(&link->queues[i].offload);

        link->queues[i].index = i;
        if (err)
            return err;
    }
    return 0;
}

void hv_link_destroy(struct hv_link *link)
{
    if (!link)
        return;
    if (link->queues && link->ops->destroy)
        link->ops->destroy(link);
    for (uint16_t i = 0; link->queues && i < link->queue_count; i++)
        hv_offload_destroy(link->queues[i].offload);
    free(link->queues);
    free(link);
}

int hv_link_create(const struct hv_link_opts *opts, const struct hv_link_nic *nic,
                   char why[HV_NETVSP_WHY_BYTES], struct hv_link **ret_link)
{
    const struct hv_link_ops *ops;
    struct hv_link *link;
    const char *rest;
    char *text = NULL;
    int err;

    why[0] = '\0';
    if (!opts->text)
        return hv_link_fail(why, -EINVAL, "a NIC needs a link");
    ops = find_kind(opts->text, &rest, why);
    if (!ops)
        return -EINVAL;
    if (!opts->queues || opts->queues > QUEUES_MAX)
        return hv_link_fail(why, -EINVAL, "%u queues: not 1 to %u", opts->queues, QUEUES_MAX);
    link = calloc(1, sizeof(*link));
    if (!link)
        return hv_link_fail(why, -ENOMEM, "no memory for a link");
    link->ops = ops;
    link->nic = *nic;
    link->log = opts->log;
    link->scope = opts->scope;
    link->frame_bytes_max = opts->frame_bytes_max;
    memcpy(link->mac, opts->mac, sizeof(link->mac));
    link->queue_count = opts->queues;
    err = create_queues(link);
    if (!err && !(text = strdup(rest)))
        err = -ENOMEM;
    if (err)
        (void)hv_link_fail(why, err, "no memory for a link");
    else if (ops->create)
        err = ops->create(link, text, why);
    free(text);
    if (err) {
        hv_link_destroy(link);
        return err;
    }
    *ret_link = link;
    return 0;
}

void hv_link_send(struct hv_link *link, uint16_t queue, const struct hv_frame *frames,
                  uint16_t count)
{
    link->ops->send(link, &link->queues[queue], frames, count);
}

int hv_link_poll(struct hv_link *link, uint16_t queue, uint16_t budget)
{
    return link->ops->poll ? link->ops->poll(link, &link->queues[queue], budget) : 0;
}

bool hv_link_arm(struct hv_link *link, uint16_t queue)
{
    return link->ops->arm && link->ops->arm(link, &link->queues[queue]);
}

void hv_link_mute(struct hv_link *link, uint16_t queue)
{
    if (link->ops->mute)
        link->ops->mute(link, &link->queues[queue]);
}

int hv_link_fd(const struct hv_link *link, uint16_t queue)
{
    return link->ops->fd ? link->ops->fd(link, &link->queues[queue]) : -1;
}

bool hv_link_carrier(const struct hv_link *link)
{
    return !link->ops->carrier || link->ops->carrier(link);
}

void hv_link_set_up(struct hv_link *link, bool up)
{
    if (link->ops->set_up)
        link->ops->set_up(link, up);
}

void hv_link_set_mtu(struct hv_link *link, uint32_t mtu)
{
    if (link->ops->set_mtu)
        link->ops->set_mtu(link, mtu);
}

static void add_counters(struct hv_link_stats *stats, const struct hv_link_counters *count)
{
    stats->sent += atomic_load_explicit(&count->sent, memory_order_relaxed);
    stats->sent_bytes += atomic_load_explicit(&count->sent_bytes, memory_order_relaxed);
    stats->delivered += atomic_load_explicit(&count->delivered, memory_order_relaxed);
    stats->delivered_bytes += atomic_load_explicit(&count->delivered_bytes, memory_order_relaxed);
    stats->send_dropped += atomic_load_explicit(&count->send_dropped, memory_order_relaxed);
    stats->deliver_dropped += atomic_load_explicit(&count->deliver_dropped, memory_order_relaxed);
    stats->segmented += atomic_load_explicit(&count->segmented, memory_order_relaxed);
    stats->checksummed += atomic_load_explicit(&count->checksummed, memory_order_relaxed);
}

void hv_link_get_stats(const struct hv_link *link, struct hv_link_stats *ret_stats)
{
    struct hv_link_stats stats = {0};

    for (uint16_t i = 0; i < link->queue_count; i++)
        add_counters(&stats, &link->queues[i].count);
    add_counters(&stats, &link->foreign);
    *ret_stats = stats;
}

uint64_t hv_link_bytes(const struct hv_frame *frames, uint32_t count)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < count; i++)
        bytes += frames[i].bytes;
    return bytes;
}

uint16_t hv_link_deliver(struct hv_link *link, struct hv_link_queue *queue, int to_queue,
                         const struct hv_frame *frames, uint16_t count)
{
    uint16_t taken = link->nic.deliver(link->nic.arg, queue->index, to_queue, frames, count);

    queue->is_blocked = taken < count;
    hv_link_count(&queue->count.delivered, taken);
    hv_link_count(&queue->count.delivered_bytes, hv_link_bytes(frames, taken));
    return taken;
}

/* One frame that needs work. */
static void finish_one(struct hv_link_queue *queue, const struct hv_frame *frame,
                       void (*take)(void *arg, const struct hv_frame *frames, uint16_t count),
                       void *arg)
{
    const struct hv_frame *finished;
    uint16_t count;

    if (hv_offload_start(queue->offload, frame)) {
        hv_link_count(&queue->count.send_dropped, 1);
        return;
    }
    hv_link_count(frame->flags & HV_FRAME_TSO ? &queue->count.segmented : &queue->count.checksummed,
                  1);
    while ((count = hv_offload_next(queue->offload, &finished)) != 0)
        take(arg, finished, count);
}

void hv_link_finish(struct hv_link_queue *queue, const struct hv_frame *frames, uint16_t count,
                    void (*take)(void *arg, const struct hv_frame *frames, uint16_t count),
                    void *arg)
{
    uint16_t first = 0; /* of a run that needs no work */

    for (uint16_t i = 0; i < count; i++) {
        if (!hv_offload_is_needed(&frames[i]))
            continue;
        if (i > first)
            take(arg, frames + first, (uint16_t)(i - first));
        finish_one(queue, &frames[i], take, arg);
        first = (uint16_t)(i + 1);
    }
    if (count > first)
        take(arg, frames + first, (uint16_t)(count - first));
}
