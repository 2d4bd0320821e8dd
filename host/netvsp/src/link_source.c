/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * source: the same frames again and again, made once.  A queue has a table of ready struct hv_frame, one or more rounds of
 * its flows; a poll passes the next few entries on.  Flows differ in address and port of the sender.
 *
 * UDP to port 9 (discard) between 198.18.0.0/16 and 198.19.0.0/16, the networks for measuring (RFC 2544), payload 0.
 */
#include "link_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/endian.h>

#include "frame.h"

#define BYTES_MIN   60u
#define FLOWS_MAX   65536u
#define MEMORY_MAX  (256u << 20) /* of one link */
#define TABLE_MIN   256u
#define HEADERS     42u /* Ethernet, IPv4, UDP */
#define FRAME_ALIGN 64u

struct source {
    uint32_t frame_bytes;
    uint32_t stride; /* of frames in memory */
    uint32_t flows;
    uint32_t table_entries; /* a multiple of flows */
    bool use_rss;
    bool is_counted;
    uint64_t count;
};

struct source_queue {
    uint32_t next;
    uint64_t left; /* where counted */
    uint8_t *memory;
    struct iovec *iov;       /* one per flow */
    struct hv_frame table[]; /* table_entries */
};

static void make_frame(const struct hv_link *link, const struct source *source, uint16_t queue,
                       uint32_t flow, uint8_t *p)
{
    static const uint8_t zero[6];
    uint8_t *ip = p + 14;
    uint8_t *udp = p + 34;
    uint8_t pseudo[12] = {0};
    uint16_t udp_bytes = (uint16_t)(source->frame_bytes - 34);
    uint16_t sum;

    memset(p, 0, source->stride);
    if (memcmp(link->mac, zero, sizeof(zero)))
        memcpy(p, link->mac, 6);
    else
        memset(p, 0xff, 6);
    memcpy(p + 6, (const uint8_t[6]){0x02, 0x68, 0x76, 0x00, 0x00, 0x01}, 6);
    hv_put_be16(p + 12, 0x0800);
    ip[0] = 0x45;
    hv_put_be16(ip + 2, (uint16_t)(udp_bytes + 20));
    ip[8] = 64;
    ip[9] = 17;
    hv_put_be32(ip + 12, 0xc6120000u | (uint32_t)queue << 8 | (flow >> 12 & 0xffu));
    hv_put_be32(ip + 16, 0xc6130001u);
    hv_put_be16(ip + 10, hv_offload_fold(hv_offload_sum(ip, 20, 0)));
    hv_put_be16(udp, (uint16_t)(1024 + (flow & 0xfffu)));
    hv_put_be16(udp + 2, 9);
    hv_put_be16(udp + 4, udp_bytes);
    memcpy(pseudo, ip + 12, 8);
    hv_put_be16(pseudo + 8, 17);
    hv_put_be16(pseudo + 10, udp_bytes);
    sum = hv_offload_fold(hv_offload_sum(udp, udp_bytes, hv_offload_sum(pseudo, 12, 0)));
    hv_put_be16(udp + 6, sum ? sum : 0xffff);
}

static int queue_init(struct hv_link *link, const struct source *source,
                      struct hv_link_queue *queue)
{
    struct source_queue *q = calloc(1, sizeof(*q) + source->table_entries * sizeof(q->table[0]));

    if (!q)
        return -ENOMEM;
    queue->impl = q;
    q->left = source->count;
    q->memory = aligned_alloc(FRAME_ALIGN, (size_t)source->flows * source->stride);
    q->iov = calloc(source->flows, sizeof(*q->iov));
    if (!q->memory || !q->iov)
        return -ENOMEM;
    for (uint32_t i = 0; i < source->table_entries; i++) {
        uint32_t flow = i % source->flows;
        uint8_t *p = q->memory + (size_t)flow * source->stride;

        if (i == flow)
            make_frame(link, source, queue->index, flow, p);
        hv_frame_set(&q->table[i], &q->iov[flow], p, source->frame_bytes);
        q->table[i].flags = HV_FRAME_IPV4 | HV_FRAME_UDP | HV_FRAME_L4_OK | HV_FRAME_IP_OK;
        q->table[i].l4_offset = 34;
    }
    return 0;
}

static int parse(const struct hv_link *link, struct source *source, char *text,
                 char why[HV_NETVSP_WHY_BYTES])
{
    uint64_t max = link->frame_bytes_max > BYTES_MIN + 4 ? link->frame_bytes_max - 4 : BYTES_MIN;
    uint64_t value = 0;
    char *rest = NULL;
    char *piece = strtok_r(text, ",", &rest);
    char *end = NULL;

    if (piece)
        value = strtoull(piece, &end, 10);
    if (!piece || *piece < '0' || *piece > '9' || *end || value < BYTES_MIN || value > max)
        return hv_link_fail(why, -EINVAL,
                            "source:%.40s: frames must have from %u to %llu bytes (no FCS)",
                            piece ? piece : "", BYTES_MIN, (unsigned long long)max);
    source->frame_bytes = (uint32_t)value;
    source->flows = 1;
    while ((piece = strtok_r(NULL, ",", &rest)) != NULL) {
        int is = hv_link_option(piece, "flows", 1, FLOWS_MAX, &value, why);

        if (is > 0) {
            source->flows = (uint32_t)value;
            continue;
        }
        if (!is)
            is = hv_link_option(piece, "count", 1, UINT64_MAX, &source->count, why);
        if (is > 0)
            source->is_counted = true;
        else if (!is && !strcmp(piece, "rss"))
            source->use_rss = true;
        else
            return is ? is
                      : hv_link_fail(why, -EINVAL,
                                     "source: \"%.40s\" is no option: allowed are flows=N, rss, "
                                     "count=N",
                                     piece);
    }
    return 0;
}

static int source_create(struct hv_link *link, char *text, char why[HV_NETVSP_WHY_BYTES])
{
    struct source *source = calloc(1, sizeof(*source));
    int err;

    if (!source)
        return hv_link_fail(why, -ENOMEM, "no memory for a source");
    link->impl = source;
    err = parse(link, source, text, why);
    if (err)
        return err;
    source->stride = (source->frame_bytes + FRAME_ALIGN - 1) & ~(FRAME_ALIGN - 1);
    while (source->table_entries < TABLE_MIN)
        source->table_entries += source->flows; /* 1 or more */
    if ((uint64_t)source->stride * source->flows * link->queue_count > MEMORY_MAX)
        return hv_link_fail(why, -EINVAL, "source: %u flows of %u bytes need more than %u MiB",
                            source->flows * link->queue_count, source->frame_bytes,
                            MEMORY_MAX >> 20);
    for (uint16_t i = 0; i < link->queue_count; i++)
        if (queue_init(link, source, &link->queues[i]))
            return hv_link_fail(why, -ENOMEM, "no memory for the frames of a source");
    return 0;
}

static void source_destroy(struct hv_link *link)
{
    for (uint16_t i = 0; i < link->queue_count; i++) {
        struct source_queue *q = link->queues[i].impl;

        if (!q)
            continue;
        free(q->memory);
        free(q->iov);
        free(q);
    }
    free(link->impl);
}

/* What the guest sends is swallowed. */
static void source_send(struct hv_link *link, struct hv_link_queue *queue,
                        const struct hv_frame *frames, uint16_t count)
{
    hv_link_sink.send(link, queue, frames, count);
}

static int source_poll(struct hv_link *link, struct hv_link_queue *queue, uint16_t budget)
{
    const struct source *source = link->impl;
    struct source_queue *q = queue->impl;
    uint32_t count = source->table_entries - q->next;
    uint16_t taken;

    if (count > budget)
        count = budget;
    if (source->is_counted && count > q->left)
        count = (uint32_t)q->left;
    if (!count)
        return 0;
    taken = hv_link_deliver(link, queue, source->use_rss ? -1 : queue->index, q->table + q->next,
                            (uint16_t)count);
    q->next += taken;
    if (q->next == source->table_entries)
        q->next = 0;
    q->left -= source->is_counted ? taken : 0;
    return taken;
}

static bool source_arm(struct hv_link *link, struct hv_link_queue *queue)
{
    const struct source *source = link->impl;
    const struct source_queue *q = queue->impl;

    return !queue->is_blocked && (!source->is_counted || q->left);
}

const struct hv_link_ops hv_link_source = {
    .name = "source",
    .takes_text = true,
    .create = source_create,
    .destroy = source_destroy,
    .send = source_send,
    .poll = source_poll,
    .arm = source_arm,
};
