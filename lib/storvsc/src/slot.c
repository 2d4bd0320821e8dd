/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands in flight.
 *
 * An id is generation << 16 | tag + 1: the tag finds the slot, the generation changes with every packet sent, so an
 * answer to anything but the packet that is out now is recognised, and no packet ever carries id 0.
 * A slot returns to the free list only when the host has answered or its channel is closed: until then the host may
 * use the memory that its packet named, whatever the clock says.
 */
#include "storvsc_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_TAG    0xffu
#define QUEUE_SIMPLE 0x20u
#define HOST_SECONDS 60u
/** Everything but the payload of a packet whose data lie in one page. */
#define EXT_BYTES(pages)                                                                           \
    ((uint32_t)(sizeof(struct hv_gpa_direct) + sizeof(struct hv_gpa_range)) + 8u * (pages))

static struct hv_storvsc_slot *slot_get(struct hv_storvsc_queue *q, bool user)
{
    struct hv_storvsc_slot *slot;

    if (user && q->user_slots >= q->storvsc->opts.depth)
        return NULL;
    if (!q->free_count)
        return NULL;
    slot = &q->slots[q->free_tags[q->free_head]];
    if (++q->free_head == q->slot_count)
        q->free_head = 0;
    q->free_count--;
    slot->user = user;
    q->user_slots += user;
    return slot;
}

void hv_storvsc_slot_put(struct hv_storvsc_queue *q, struct hv_storvsc_slot *slot)
{
    uint32_t at = q->free_head + q->free_count;

    if (slot->sgl.bounce_pages || slot->sgl.piece_count)
        hv_storvsc_sgl_release(&q->pool, &slot->sgl);
    q->user_slots -= slot->user;
    slot->state = HV_STORVSC_SLOT_FREE;
    slot->request = NULL;
    slot->control = NULL;
    if (at >= q->slot_count)
        at -= q->slot_count;
    q->free_tags[at] = slot->tag;
    q->free_count++;
}

int hv_storvsc_slots_create(struct hv_storvsc_queue *q, uint32_t depth)
{
    uint32_t count = depth + HV_STORVSC_INTERNAL_SLOTS;

    q->slots = calloc(count, sizeof(*q->slots));
    q->free_tags = calloc(count, sizeof(*q->free_tags));
    if (!q->slots || !q->free_tags)
        return -ENOMEM;
    q->slot_count = count;
    q->free_count = count;
    for (uint32_t i = 0; i < count; i++) {
        q->slots[i].tag = (uint16_t)i;
        q->free_tags[i] = (uint16_t)i;
    }
    return 0;
}

void hv_storvsc_slots_destroy(struct hv_storvsc_queue *q)
{
    free(q->slots);
    free(q->free_tags);
    q->slots = NULL;
    q->free_tags = NULL;
}

/* What stays the same in every SRB of this connection. */
static void prepare_templates(struct hv_storvsc_queue *q)
{
    bool revision2 = q->packet_bytes == HV_VSTOR_PACKET_V2_BYTES;

    for (uint32_t i = 0; i < q->slot_count; i++) {
        struct hv_storvsc_slot *slot = &q->slots[i];
        struct hv_vstor_srb *srb = &slot->packet.srb;

        memset(&slot->packet, 0, sizeof(slot->packet));
        slot->packet.hdr.operation = HV_VSTOR_EXECUTE_SRB;
        slot->packet.hdr.flags = HV_VSTOR_FLAG_REQUEST_COMPLETION;
        srb->length = revision2 ? HV_VSTOR_SRB_V2_BYTES : HV_VSTOR_SRB_V1_BYTES;
        srb->sense_bytes = revision2 ? HV_VSTOR_SENSE_V2_BYTES : HV_VSTOR_SENSE_V1_BYTES;
        srb->queue_tag = QUEUE_TAG;
        srb->queue_action = QUEUE_SIMPLE;
        srb->timeout_seconds = HOST_SECONDS;
        slot->sgl.pfns = q->pfns + (size_t)i * q->pfn_max;
        slot->sgl.pfn_max = q->pfn_max;
    }
}

/*
 * One DMA block per queue:  zero page | parameter areas of the slots | bounce pages
 * Bounce memory holds the largest command at least, or a badly aligned one could never be sent.
 */
int hv_storvsc_memory_attach(struct hv_storvsc_queue *q)
{
    const struct hv_storvsc *s = q->storvsc;
    size_t params = hv_align_up((uint64_t)q->slot_count * HV_STORVSC_PARAM_BYTES, HV_PAGE_BYTES);
    size_t bounce = s->opts.bounce_bytes;
    size_t pages;
    uint64_t *pfns;
    uint8_t *base;
    int rc;

    q->pfn_max = s->max_transfer_bytes / HV_PAGE_BYTES + 1;
    if (bounce < (size_t)q->pfn_max * HV_PAGE_BYTES)
        bounce = (size_t)q->pfn_max * HV_PAGE_BYTES;
    bounce = hv_align_up(bounce, HV_PAGE_BYTES);
    pages = (HV_PAGE_BYTES + params + bounce) / HV_PAGE_BYTES;
    q->pfns = calloc((size_t)q->slot_count * q->pfn_max, sizeof(*q->pfns));
    pfns = calloc(pages, sizeof(*pfns));
    rc = q->pfns && pfns ? hv_dma_alloc(s->bus, pages * HV_PAGE_BYTES, &q->dma) : -ENOMEM;
    if (!rc) {
        base = hv_dma_address(q->dma);
        if (hv_dma_pfns(s->bus, base, pages * HV_PAGE_BYTES, pfns, pages) != (ssize_t)pages)
            rc = -ENOMEM;
    }
    if (!rc) {
        size_t skip = 1 + params / HV_PAGE_BYTES;

        q->zero_pfn = pfns[0];
        q->params = base + HV_PAGE_BYTES;
        rc = hv_storvsc_pool_init(&q->pool, base + skip * HV_PAGE_BYTES, pfns + skip,
                                  (uint32_t)(pages - skip));
    }
    free(pfns);
    if (rc) {
        hv_storvsc_memory_detach(q);
        return rc;
    }
    prepare_templates(q);
    return 0;
}

void hv_storvsc_memory_detach(struct hv_storvsc_queue *q)
{
    hv_storvsc_pool_fini(&q->pool);
    hv_dma_free(q->dma);
    q->dma = NULL;
    free(q->pfns);
    q->pfns = NULL;
    for (uint32_t i = 0; q->slots && i < q->slot_count; i++)
        q->slots[i].sgl = (struct hv_storvsc_sgl){0};
}

static void fill_packet(const struct hv_storvsc_queue *q, const struct hv_storvsc_slot *slot,
                        const struct hv_packet_slot *room)
{
    uint32_t n = slot->sgl.pfn_count;

    if (n) {
        struct hv_gpa_direct *direct = room->ext;
        struct hv_gpa_range *range = (struct hv_gpa_range *)(direct + 1);

        direct->reserved = 0;
        direct->range_count = 1;
        range->byte_count = slot->sgl.bytes;
        range->byte_offset = slot->sgl.offset;
        memcpy(range->pfn, slot->sgl.pfns, n * sizeof(uint64_t));
    }
    if (q->packet_bytes == HV_VSTOR_PACKET_V2_BYTES)
        memcpy(room->payload, &slot->packet, HV_VSTOR_PACKET_V2_BYTES);
    else
        memcpy(room->payload, &slot->packet, HV_VSTOR_PACKET_V1_BYTES);
}

/* 0; -EAGAIN: no room in the ring; else the queue is dead. */
static int slot_push(struct hv_storvsc_queue *q, struct hv_storvsc_slot *slot)
{
    uint32_t n = slot->sgl.pfn_count;
    struct hv_packet_desc desc = {
        .trans_id = ++q->generation << 16 | (slot->tag + 1u),
        .ext_bytes = n ? EXT_BYTES(n) : 0,
        .payload_bytes = q->packet_bytes,
        .type = n ? HV_PACKET_GPA_DIRECT : HV_PACKET_INBAND,
        .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED,
    };
    struct hv_packet_slot room;
    int rc = hv_channel_reserve(q->channel, &desc, &room);

    if (rc == 0) {
        fill_packet(q, slot, &room);
        slot->id = desc.trans_id;
        slot->state = HV_STORVSC_SLOT_SENT;
        q->unflushed = true;
        return 0;
    }
    if (rc == -EAGAIN) {
        q->refused_bytes =
            HV_RING_DESCRIPTOR_BYTES + desc.ext_bytes + desc.payload_bytes + HV_RING_TRAILER_BYTES;
        return rc;
    }
    if (rc == -EMSGSIZE || rc == -EINVAL) /* the limits were made for this ring: a bug of ours */
        return rc;
    hv_storvsc_die(q, rc, "the ring to the host cannot be used any more");
    return rc;
}

int hv_storvsc_slot_send(struct hv_storvsc_queue *q, struct hv_storvsc_slot *slot)
{
    int rc = slot_push(q, slot);

    if (rc == -EAGAIN) {
        slot->state = HV_STORVSC_SLOT_WAITING;
        slot->retry_ns = 0;
        hv_storvsc_timer_at(q, 0);
    }
    return rc;
}

void hv_storvsc_slot_retry(struct hv_storvsc_queue *q, struct hv_storvsc_slot *slot,
                           uint64_t delay_ns)
{
    q->stats.retries++;
    slot->retries++;
    slot->state = HV_STORVSC_SLOT_WAITING;
    slot->retry_ns = delay_ns ? hv_clock_ns() + delay_ns : 0;
    hv_storvsc_timer_at(q, slot->retry_ns);
}

/* One clock reading per batch of submits: nobody notices, and a busy queue reads it once per hundred commands. */
static uint64_t batch_time(struct hv_storvsc_queue *q)
{
    if (!q->batch_ns)
        q->batch_ns = hv_clock_ns();
    return q->batch_ns;
}

static void fill_srb(struct hv_vstor_srb *srb, struct hv_storvsc_address address,
                     const struct hv_storvsc_command *command)
{
    uint32_t flags = HV_SRB_FLAG_QUEUE_ACTION_ENABLE | HV_SRB_FLAG_NO_QUEUE_FREEZE |
                     HV_SRB_FLAG_DISABLE_SYNCH_TRANSFER;

    if (command->direction == HV_VSTOR_DATA_IN)
        flags |= HV_SRB_FLAG_DATA_IN;
    else if (command->direction == HV_VSTOR_DATA_OUT)
        flags |= HV_SRB_FLAG_DATA_OUT;
    srb->path_id = address.path;
    srb->target_id = address.target;
    srb->lun = address.lun;
    srb->cdb_bytes = command->cdb_bytes;
    srb->data_in = command->direction;
    srb->data_transfer_bytes = command->bytes;
    srb->srb_flags = flags;
    memcpy(srb->cdb, command->cdb, sizeof(srb->cdb));
}

static ssize_t resolve(const void *ctx, const void *va, size_t bytes, uint64_t *pfns, size_t max)
{
    return hv_dma_pfns(ctx, va, bytes, pfns, max);
}

/* The list of the common case, a single stretch of DMA memory, without the machinery. */
static bool list_single(const struct hv_storvsc_queue *q, const struct hv_storvsc_command *command,
                        struct hv_storvsc_sgl *sgl)
{
    const struct hv_storvsc_cursor *c = &command->cursor;
    const uint8_t *va;
    ssize_t n;

    if (!c->iov_count || c->iov->iov_len - c->offset < command->bytes)
        return false;
    va = (const uint8_t *)c->iov->iov_base + c->offset;
    if ((uintptr_t)va & 1u)
        return false;
    n = hv_dma_pfns(q->bus, va, command->bytes, sgl->pfns, sgl->pfn_max);
    if (n <= 0)
        return false;
    sgl->pfn_count = (uint32_t)n;
    sgl->offset = (uint32_t)((uintptr_t)va & (HV_PAGE_BYTES - 1));
    sgl->bytes = command->bytes;
    return true;
}

static int list_data(struct hv_storvsc_queue *q, struct hv_storvsc_slot *slot,
                     const struct hv_storvsc_command *command)
{
    struct hv_storvsc_sgl *sgl = &slot->sgl;
    int rc;

    switch (command->source) {
    case HV_STORVSC_FROM_ZEROES: /* the same page over and over */
        sgl->pfn_count = (command->bytes + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;
        if (sgl->pfn_count > sgl->pfn_max)
            return -EMSGSIZE;
        for (uint32_t i = 0; i < sgl->pfn_count; i++)
            sgl->pfns[i] = q->zero_pfn;
        sgl->offset = 0;
        sgl->bytes = command->bytes;
        return 0;
    case HV_STORVSC_FROM_PARAM: {
        uint8_t *param = q->params + (size_t)slot->tag * HV_STORVSC_PARAM_BYTES;

        memcpy(param, command->param, command->bytes);
        if (hv_dma_pfns(q->bus, param, command->bytes, sgl->pfns, sgl->pfn_max) != 1)
            return -EMSGSIZE;
        sgl->pfn_count = 1;
        sgl->offset = (uint32_t)((uintptr_t)param & (HV_PAGE_BYTES - 1));
        sgl->bytes = command->bytes;
        return 0;
    }
    default:
        break;
    }
    if (list_single(q, command, sgl))
        return 0;
    rc = hv_storvsc_sgl_build(&q->pool, resolve, q->bus, &command->cursor, command->bytes,
                              command->direction == HV_VSTOR_DATA_IN, sgl);
    if (rc == 0) {
        q->stats.bounced_bytes += sgl->bounced_bytes;
        q->stats.bounced_segments += sgl->bounced_segments;
    }
    return rc;
}

int hv_storvsc_start(struct hv_storvsc_queue *q, struct hv_storvsc_request *request,
                     const struct hv_storvsc_command *command)
{
    bool internal = request->flags & HV_STORVSC_INTERNAL;
    struct hv_storvsc_slot *slot = slot_get(q, !internal);
    uint32_t timeout_ms;
    int rc = 0;

    if (!slot)
        return -EAGAIN;
    slot->sgl.pfn_count = 0;
    fill_srb(&slot->packet.srb, request->address, command);
    if (command->bytes)
        rc = list_data(q, slot, command);
    if (!rc)
        rc = slot_push(q, slot);
    if (rc) {
        hv_storvsc_slot_put(q, slot);
        return rc;
    }
    timeout_ms = request->timeout_ms ? request->timeout_ms : q->storvsc->opts.timeout_ms;
    slot->request = request;
    slot->part = command->part;
    slot->expired = false;
    slot->retries = 0;
    slot->deadline_ns = batch_time(q) + timeout_ms * HV_STORVSC_MS_NS;
    hv_storvsc_timer_at(q, slot->deadline_ns);
    return 0;
}

int hv_storvsc_start_control(struct hv_storvsc_queue *q, const struct hv_vstor_packet *packet,
                             struct hv_storvsc_control *control)
{
    struct hv_storvsc_slot *slot = slot_get(q, false);
    struct hv_vstor_packet template;
    int rc;

    if (!slot)
        return -EAGAIN;
    template = slot->packet;
    slot->packet = *packet;
    slot->sgl.pfn_count = 0;
    rc = slot_push(q, slot);
    slot->packet = template;
    if (rc) {
        hv_storvsc_slot_put(q, slot);
        return rc;
    }
    slot->request = NULL;
    slot->control = control;
    slot->part = false;
    slot->expired = false;
    slot->deadline_ns = HV_STORVSC_NEVER_NS;
    return 0;
}

void hv_storvsc_forget_control(struct hv_storvsc_queue *q, const struct hv_storvsc_control *control)
{
    for (uint32_t i = 0; i < q->slot_count; i++)
        if (q->slots[i].control == control)
            q->slots[i].control = NULL;
}

void hv_storvsc_request_done(struct hv_storvsc_queue *q, struct hv_storvsc_request *request,
                             const struct hv_storvsc_result *result)
{
    if (!(request->flags & HV_STORVSC_INTERNAL)) {
        q->requests--;
        q->stats.completed++;
        q->stats.failed += result->error != 0;
        if (request->op == HV_STORVSC_READ)
            q->stats.read_bytes += result->bytes;
        else if (request->op == HV_STORVSC_WRITE)
            q->stats.written_bytes += result->bytes;
    }
    request->done(request, result);
}

void hv_storvsc_slot_finish(struct hv_storvsc_queue *q, struct hv_storvsc_slot *slot,
                            const struct hv_storvsc_result *result)
{
    struct hv_storvsc_request *request = slot->request;

    if (slot->expired)
        hv_storvsc_expired_answered(q, slot);
    if (slot->part) {
        hv_storvsc_part_done(q, request, slot, result);
        hv_storvsc_slot_put(q, slot);
        hv_storvsc_part_settle(q, request);
        return;
    }
    hv_storvsc_slot_put(q, slot);
    hv_storvsc_request_done(q, request, result);
}

void hv_storvsc_slots_cancel(struct hv_storvsc_queue *q, int error)
{
    for (uint32_t i = 0; i < q->slot_count; i++) {
        struct hv_storvsc_slot *slot = &q->slots[i];
        struct hv_storvsc_result result = {.error = error};

        if (slot->state == HV_STORVSC_SLOT_FREE)
            continue;
        if (!slot->request) {
            hv_storvsc_slot_put(q, slot);
            continue;
        }
        if (slot->expired)
            result.error = -ETIMEDOUT;
        hv_storvsc_slot_finish(q, slot, &result);
    }
}
