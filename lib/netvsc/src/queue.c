/* SPDX-License-Identifier: BSD-3-Clause */
/* A queue's life, the messages of the control thread, statistics. */
#include "queue_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hv/base/clock.h>

#define DESCRIPTORS_MIN 16u
#define DESCRIPTORS_MAX 4096u

/* ---- Memory ---- */

static uint32_t power_of_two(uint32_t n)
{
    uint32_t p = 1;

    while (p < n)
        p *= 2;
    return p;
}

/** All numbers 0 .. count - 1 in it when `full`. */
static int fifo_init(struct hv_nq_fifo *f, uint32_t count, bool full)
{
    uint32_t size = power_of_two(count);

    free(f->entries);
    *f = (struct hv_nq_fifo){.entries = calloc(size, sizeof(f->entries[0])), .mask = size - 1};
    if (!f->entries)
        return -ENOMEM;
    for (uint32_t i = 0; full && i < count; i++)
        hv_nq_fifo_put(f, (uint16_t)i);
    return 0;
}

static int alloc_tables(struct hv_netvsc_queue *q)
{
    int err = fifo_init(&q->tx.descriptors, q->descriptor_count, true);

    if (!err)
        err = fifo_init(&q->tx.cookies, q->descriptor_count, false);
    q->done_mask = power_of_two(q->descriptor_count) - 1;
    q->done = calloc(q->done_mask + 1, sizeof(q->done[0]));
    q->ids = calloc(q->id_count, sizeof(q->ids[0]));
    q->tx.table = calloc(q->descriptor_count, sizeof(q->tx.table[0]));
    q->staged = calloc(HV_NQ_STAGED, sizeof(q->staged[0]));
    q->scratch = malloc(HV_RNDIS_CONTROL_MAX);
    return err || !q->done || !q->ids || !q->tx.table || !q->staged || !q->scratch ? -ENOMEM : 0;
}

/** Headers of frames sent by page, then pages for control messages; with their page numbers. */
static int alloc_dma(struct hv_netvsc_queue *q)
{
    size_t heads = hv_align_up((uint64_t)q->descriptor_count * HV_NQ_HEAD_BYTES, HV_PAGE_BYTES);
    size_t head_pages = heads >> HV_PAGE_SHIFT;
    ssize_t n;
    int err = hv_dma_alloc(hv_channel_bus(q->channel),
                           heads + (size_t)HV_NQ_CONTROL_PAGES * HV_PAGE_BYTES, &q->dma);

    if (err)
        return err;
    q->heads = hv_dma_address(q->dma);
    q->control_pages = q->heads + heads;
    q->head_pfns = calloc(head_pages, sizeof(q->head_pfns[0]));
    if (!q->head_pfns)
        return -ENOMEM;
    n = hv_dma_pfns(q->bus, q->heads, heads, q->head_pfns, head_pages);
    if (n > 0)
        n = hv_dma_pfns(q->bus, q->control_pages, (size_t)HV_NQ_CONTROL_PAGES * HV_PAGE_BYTES,
                        q->control_pfns, HV_NQ_CONTROL_PAGES);
    return n < 0 ? (int)n : 0;
}

static int create_wait(struct hv_netvsc_queue *q)
{
    struct epoll_event event = {.events = EPOLLIN};

    q->wait_fd = epoll_create1(EPOLL_CLOEXEC);
    q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return q->wait_fd < 0 || q->kick_fd < 0 ||
                   epoll_ctl(q->wait_fd, EPOLL_CTL_ADD, q->kick_fd, &event) ||
                   epoll_ctl(q->wait_fd, EPOLL_CTL_ADD, hv_channel_fd(q->channel), &event)
               ? -errno
               : 0;
}

int hv_nq_create(const struct hv_nq_device *device, struct hv_channel *channel,
                 uint32_t descriptors, struct hv_netvsc_queue **ret_queue)
{
    struct hv_netvsc_queue *q;
    int err;

    if (descriptors < DESCRIPTORS_MIN || descriptors > DESCRIPTORS_MAX)
        return -EINVAL;
    q = aligned_alloc(HV_NQ_LINE, sizeof(*q)); /* its size is whole lines */
    if (!q)
        return -ENOMEM;
    memset(q, 0, sizeof(*q));
    q->device = device;
    q->channel = channel;
    q->bus = hv_channel_bus(channel);
    q->descriptor_count = descriptors;
    q->id_count = descriptors + HV_NQ_CONTROL_PAGES + HV_NQ_REQUESTS;
    q->due_head = q->due_tail = HV_NQ_NONE;
    atomic_init(&q->returned, HV_NQ_NONE);
    atomic_init(&q->paused, true);
    q->tx.offloads = UINT32_MAX; /* unlike any */
    q->wait_fd = q->kick_fd = -1;
    q->generation =
        hv_clock_ns() >> 10; /* answers to a queue before this one on the channel are nobody's */
    err = alloc_tables(q);
    if (!err)
        err = alloc_dma(q);
    if (!err)
        err = create_wait(q);
    if (err) {
        hv_nq_destroy(q);
        return err;
    }
    *ret_queue = q;
    return 0;
}

void hv_nq_destroy(struct hv_netvsc_queue *q)
{
    if (!q)
        return;
    hv_dma_free(q->dma);
    hv_dma_free(q->tx.bounce_dma);
    if (q->wait_fd >= 0)
        (void)close(q->wait_fd);
    if (q->kick_fd >= 0)
        (void)close(q->kick_fd);
    free(q->head_pfns);
    free(q->scratch);
    free(q->staged);
    free(q->slots);
    free(q->done);
    free(q->ids);
    free(q->tx.table);
    free(q->tx.descriptors.entries);
    free(q->tx.sections.entries);
    free(q->tx.cookies.entries);
    free(q->tx.bounces.entries);
    free(q);
}

/* ---- Buffers ---- */

static int check_share(const struct hv_nq_device *d, const struct hv_nq_share *share)
{
    if (!d->receive_sections || !d->receive.address || !d->receive_section_bytes)
        return -EINVAL;
    if (share->section_count &&
        (share->section_count > UINT16_MAX || !d->send.address ||
         !hv_range_fits(share->first_section, share->section_count, d->send_sections) ||
         (uint64_t)d->send_sections * d->send_section_bytes > d->send.bytes))
        return -EINVAL;
    return d->packet_align_bytes && !hv_is_power_of_two(d->packet_align_bytes) ? -EINVAL : 0;
}

static void learn_limits(struct hv_netvsc_queue *q, const struct hv_nq_share *share)
{
    const struct hv_nq_device *d = q->device;
    struct hv_nq_tx *tx = &q->tx;

    q->first_section = share->first_section;
    q->rx.held_max = hv_min_u32(share->receive_sections, d->receive_sections) / 2;
    tx->section_count = share->section_count;
    tx->section_bytes = d->send_section_bytes;
    tx->section_base = (uint8_t *)d->send.address; /* of section 0 of the share */
    if (share->section_count)
        tx->section_base += (size_t)share->first_section * d->send_section_bytes;
    tx->frames_max = d->max_packets_per_message ? d->max_packets_per_message : 1;
    tx->message_bytes_max = hv_min_u32(d->max_message_bytes, d->send_section_bytes);
    tx->align_mask = d->packet_align_bytes ? d->packet_align_bytes - 1 : 0;
    tx->copy_bytes = d->tx_copy_bytes;
    tx->frame_bytes_max = d->frame_bytes_max;
    tx->tso_bytes_max = d->tso_bytes_max;
    if (!tx->section_count)
        tx->copy_bytes = 0;
    tx->plain_span = hv_min_u32(tx->copy_bytes, tx->frame_bytes_max);
    tx->plain_span -= hv_min_u32(tx->plain_span, HV_NQ_ETHER_BYTES);
}

/** Memory for frames that fit no section, where the MTU allows such. */
static int alloc_bounces(struct hv_netvsc_queue *q)
{
    const struct hv_nq_device *d = q->device;
    uint32_t bytes = (uint32_t)hv_align_up(d->frame_bytes_max, HV_PAGE_BYTES);
    int err;

    if (d->frame_bytes_max + HV_NQ_ENCODE_MAX <= d->send_section_bytes && q->tx.section_count)
        bytes = 0;
    if (bytes != q->tx.bounce_bytes) {
        hv_dma_free(q->tx.bounce_dma);
        q->tx.bounce_dma = NULL;
        q->tx.bounce_bytes = bytes;
    }
    if (!bytes || q->tx.bounce_dma)
        return 0;
    err = fifo_init(&q->tx.bounces, HV_NQ_BOUNCES, true);
    return err ? err
               : hv_dma_alloc(hv_channel_bus(q->channel), (size_t)HV_NQ_BOUNCES * bytes,
                              &q->tx.bounce_dma);
}

int hv_nq_set_share(struct hv_netvsc_queue *q, const struct hv_nq_share *share)
{
    struct hv_nq_slot *slots;
    int err = check_share(q->device, share);

    if (err)
        return err;
    if (!hv_nq_is_paused(q) || hv_nq_busy(q) || hv_nq_held(q))
        return -EBUSY;
    slots = calloc(q->device->receive_sections, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    hv_nq_lock(q);
    free(q->slots);
    q->slots = slots;
    q->slot_count = q->device->receive_sections;
    hv_nq_unlock(q);
    hv_nq_tx_collect(q); /* cookies nobody reaped stay; sections are all back */
    err = share->section_count ? fifo_init(&q->tx.sections, share->section_count, true) : 0;
    if (err)
        return err;
    learn_limits(q, share);
    return alloc_bounces(q);
}

/* ---- Pause, poll ---- */

void hv_nq_pause(struct hv_netvsc_queue *q)
{
    hv_nq_lock(q);
    atomic_store_explicit(&q->paused, true, memory_order_release);
    hv_nq_unstage(q);
    if (!hv_nq_is_dead(q)) {
        hv_nq_complete(q);
        hv_nq_flush(q);
    }
    hv_nq_unlock(q);
}

void hv_nq_resume(struct hv_netvsc_queue *q)
{
    atomic_store_explicit(&q->paused, false, memory_order_release);
}

void hv_nq_detach(struct hv_netvsc_queue *q)
{
    hv_nq_lock(q);
    atomic_store_explicit(&q->paused, true, memory_order_release);
    atomic_store_explicit(&q->dead, true, memory_order_release);
    if (!q->detached) /* closing alone leaves it in the set as long as the host has a copy */
        (void)epoll_ctl(q->wait_fd, EPOLL_CTL_DEL, hv_channel_fd(q->channel), NULL);
    q->detached = true;
    hv_nq_unstage(q);
    hv_nq_complete(q);
    hv_nq_unlock(q);
}

void hv_nq_poll(struct hv_netvsc_queue *q)
{
    hv_nq_lock(q);
    if (!hv_nq_is_dead(q))
        hv_nq_drain_for_others(q);
    hv_nq_unlock(q);
}

uint32_t hv_nq_busy(struct hv_netvsc_queue *q)
{
    if (hv_nq_is_dead(q))
        return 0;
    return atomic_load_explicit(&q->messages, memory_order_relaxed) +
           atomic_load_explicit(&q->controls, memory_order_relaxed);
}

uint32_t hv_nq_held(struct hv_netvsc_queue *q)
{
    hv_nq_lock(q);
    hv_nq_complete(q); /* what was released since */
    hv_nq_flush(q);
    hv_nq_unlock(q);
    return atomic_load_explicit(&q->outstanding, memory_order_relaxed);
}

struct hv_channel *hv_nq_channel(const struct hv_netvsc_queue *q)
{
    return q->channel;
}

/* ---- Messages of the control thread ---- */

/** Ring space for one, and its id; under the lock. */
static int reserve(struct hv_netvsc_queue *q, const struct hv_packet_desc *desc,
                   struct hv_packet_slot *ret_place)
{
    uint32_t bytes = HV_RING_DESCRIPTOR_BYTES + desc->ext_bytes +
                     (uint32_t)hv_align_up(desc->payload_bytes, 8) + HV_RING_TRAILER_BYTES;
    int err;

    if (hv_nq_is_dead(q)) {
        err = q->detached ? -ENODEV : hv_channel_status(q->channel);
        return err ? err : -EPROTO;
    }
    if (!hv_nq_has_room(q, bytes))
        return -EAGAIN;
    err = hv_channel_reserve(q->channel, desc, ret_place);
    if (!err)
        q->room -= bytes;
    else if (hv_channel_status(q->channel))
        hv_nq_die(q);
    return err;
}

static uint64_t next_id(struct hv_netvsc_queue *q, uint32_t index)
{
    return q->generation++ << 16 | (index + 1);
}

int hv_nq_send_nvsp(struct hv_netvsc_queue *q, const void *nvsp, size_t bytes, bool answered,
                    uint32_t tag)
{
    uint32_t request, index;
    struct hv_packet_desc desc;
    struct hv_packet_slot place;
    int err;

    hv_nq_lock(q);
    /* the oldest request gives way: nobody waits for its answer any more */
    request = q->next_request % HV_NQ_REQUESTS;
    index = q->descriptor_count + HV_NQ_CONTROL_PAGES + request;
    desc = (struct hv_packet_desc){
        .trans_id = next_id(q, answered ? index : q->id_count),
        .payload_bytes = (uint32_t)bytes,
        .type = HV_PACKET_INBAND,
        .flags = answered ? HV_PACKET_FLAG_COMPLETION_REQUESTED : 0,
    };
    err = reserve(q, &desc, &place);
    if (!err) {
        memcpy(place.payload, nvsp, bytes);
        if (answered) {
            q->ids[index] = desc.trans_id;
            q->request_tags[request] = tag;
            q->next_request++;
        }
        hv_nq_flush(q);
    }
    hv_nq_unlock(q);
    return err;
}

/** A control page that is not with the host; under the lock.  Their number, when there is none. */
static uint32_t free_control_page(const struct hv_netvsc_queue *q)
{
    uint32_t page = 0;

    while (page < HV_NQ_CONTROL_PAGES && q->ids[q->descriptor_count + page])
        page++;
    return page;
}

int hv_nq_send_control(struct hv_netvsc_queue *q, const void *rndis, size_t bytes)
{
    struct hv_nvsp_message nvsp = {
        .type = HV_NVSP_SEND_RNDIS_PACKET,
        .rndis = {HV_NVSP_CHANNEL_CONTROL, HV_NVSP_SECTION_NONE, 0},
    };
    struct hv_packet_desc desc = {
        .ext_bytes = 24,
        .payload_bytes = sizeof(nvsp),
        .type = HV_PACKET_GPA_DIRECT,
        .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED,
    };
    struct hv_gpa_direct direct = {.range_count = 1};
    struct hv_gpa_range range = {.byte_count = (uint32_t)bytes};
    struct hv_packet_slot place;
    uint32_t page;
    int err = -EAGAIN;

    if (!bytes || bytes > HV_RNDIS_CONTROL_MAX)
        return -EINVAL;
    hv_nq_lock(q);
    page = free_control_page(q);
    desc.trans_id = next_id(q, q->descriptor_count + page);
    if (page < HV_NQ_CONTROL_PAGES || hv_nq_is_dead(q))
        err = reserve(q, &desc, &place);
    if (!err) {
        uint64_t list[3] = {0, 0, q->control_pfns[page]};

        memcpy(&list[0], &direct, sizeof(direct));
        memcpy(&list[1], &range, sizeof(range));
        memcpy(q->control_pages + (size_t)page * HV_PAGE_BYTES, rndis, bytes);
        memcpy(place.ext, list, sizeof(list));
        memcpy(place.payload, &nvsp, sizeof(nvsp));
        q->ids[q->descriptor_count + page] = desc.trans_id;
        hv_nq_add(&q->controls, 1);
        hv_nq_flush(q);
    }
    hv_nq_unlock(q);
    return err;
}

/* ---- Statistics ---- */

/** The structure's counters, each with one writer: whoever polls that side, or has the lock. */
static void add_stats(struct hv_netvsc_queue_stats *sum, const struct hv_netvsc_queue_stats *part)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)part;

    for (size_t i = 0; i < offsetof(struct hv_netvsc_queue_stats, channel) / sizeof(*to); i++)
        to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

void hv_netvsc_get_queue_stats(const struct hv_netvsc_queue *queue,
                               struct hv_netvsc_queue_stats *ret_stats)
{
    struct hv_netvsc_queue *q = (struct hv_netvsc_queue *)(uintptr_t)queue; /* for its lock */
    struct hv_netvsc_queue_stats sum = {0};

    add_stats(&sum, &q->stats);
    add_stats(&sum, &q->rx.stats);
    add_stats(&sum, &q->tx.stats);
    hv_nq_lock(q);
    if (!q->detached)
        hv_channel_get_stats(q->channel, &sum.channel);
    hv_nq_unlock(q);
    *ret_stats = sum;
}
