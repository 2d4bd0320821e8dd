/* SPDX-License-Identifier: BSD-3-Clause */
#include "loop_guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RING_BYTES     126976u /* data of a ring of 128 KiB */
#define PACKET_BYTES   64u
#define PENDING_MAX    2048u
#define SLOT_BYTES     (16u + LOOP_GUEST_PFNS * 8u + PACKET_BYTES)
#define OVERHEAD_BYTES 24u /* descriptor and trailer */

struct to_driver {
    struct hv_packet packet;
    uint64_t payload[16];
};

struct from_driver {
    struct hv_packet_desc desc;
    uint8_t *bytes; /* extension, payload */
};

struct hv_channel {
    struct loop_guest *loop;
    uint16_t index;
    bool open;
    int status;
    char why[128];
    struct to_driver *queue; /* [head, tail) waits; below head: peeked */
    uint32_t head, tail;
    struct from_driver pending[PENDING_MAX];
    uint32_t pending_count;
    uint32_t used_bytes;
};

struct hv_dma {
    struct hv_dma *next;
    struct hv_vmbus *bus;
    uint8_t *base;
    size_t bytes;
};

struct loop_guest {
    struct loop_guest_opts opts;
    struct hv_channel channels[LOOP_GUEST_CHANNELS];
    struct hv_dma *dma;
    int ready_fd; /* always readable: nobody sleeps here */
};

/* The driver only passes it on. */
static struct loop_guest *of_bus(const struct hv_vmbus *bus)
{
    return (struct loop_guest *)(uintptr_t)bus;
}

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "loop_guest: %s\n", what);
    abort();
}

struct loop_guest *loop_guest_create(const struct loop_guest_opts *opts)
{
    struct loop_guest *loop = calloc(1, sizeof(*loop));

    must(loop != NULL, "memory");
    loop->opts = *opts;
    if (!loop->opts.max_bytes)
        loop->opts.max_bytes = RING_BYTES - 8 - OVERHEAD_BYTES;
    if (!loop->opts.room_bytes)
        loop->opts.room_bytes = UINT32_MAX;
    loop->ready_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    must(loop->ready_fd >= 0, "eventfd");
    return loop;
}

void loop_guest_destroy(struct loop_guest *loop)
{
    must(!loop->dma, "DMA memory is left");
    for (unsigned i = 0; i < LOOP_GUEST_CHANNELS; i++) {
        must(!loop->channels[i].open, "a channel is left open");
        free(loop->channels[i].queue);
    }
    (void)close(loop->ready_fd);
    free(loop);
}

struct hv_vmbus *loop_guest_bus(struct loop_guest *loop)
{
    return (struct hv_vmbus *)loop;
}

bool loop_guest_send(struct loop_guest *loop, uint16_t channel, uint16_t type, uint64_t id,
                     const void *payload, uint32_t bytes)
{
    struct hv_channel *c = &loop->channels[channel];
    struct to_driver *t;

    if (!c->open || c->tail == LOOP_GUEST_QUEUE || bytes > sizeof(t->payload))
        return false;
    t = &c->queue[c->tail++];
    memset(t, 0, sizeof(*t));
    memcpy(t->payload, payload, bytes);
    t->packet.trans_id = id;
    t->packet.type = type;
    t->packet.payload = t->payload;
    t->packet.ext = t->payload;
    t->packet.payload_bytes = (bytes + 7u) & ~7u;
    return true;
}

void loop_guest_break(struct loop_guest *loop, uint16_t channel, int error)
{
    if (!loop->channels[channel].status)
        loop->channels[channel].status = error;
}

const char *loop_guest_killed(const struct loop_guest *loop, uint16_t channel)
{
    return loop->channels[channel].why[0] ? loop->channels[channel].why : NULL;
}

static uint32_t copy(const struct loop_packet *p, uint8_t *data, uint32_t bytes, bool in)
{
    uint32_t done = 0;

    if (bytes > p->range_bytes)
        bytes = p->range_bytes;
    while (done < bytes) {
        uint32_t at = p->range_offset + done;
        uint32_t n = HV_PAGE_BYTES - at % HV_PAGE_BYTES;
        uint8_t *page;

        if (n > bytes - done)
            n = bytes - done;
        must(at / HV_PAGE_BYTES < p->pfn_count, "a page is missing from the list");
        page = (uint8_t *)(uintptr_t)(p->pfns[at / HV_PAGE_BYTES] << HV_PAGE_SHIFT);
        if (in)
            memcpy(page + at % HV_PAGE_BYTES, data + done, n);
        else
            memcpy(data + done, page + at % HV_PAGE_BYTES, n);
        done += n;
    }
    return done;
}

uint32_t loop_guest_copy_out(const struct loop_packet *packet, void *data, uint32_t bytes)
{
    return copy(packet, data, bytes, false);
}

uint32_t loop_guest_copy_in(const struct loop_packet *packet, const void *data, uint32_t bytes)
{
    return copy(packet, (uint8_t *)(uintptr_t)data, bytes, true);
}

/* ---- Bus ---- */

int hv_vmbus_fd(const struct hv_vmbus *bus)
{
    return of_bus(bus)->ready_fd;
}

int hv_vmbus_poll(struct hv_vmbus *bus)
{
    (void)bus;
    return 0;
}

int hv_vmbus_find(const struct hv_vmbus *bus, const struct hv_guid *class_id,
                  struct hv_vmbus_device *ret_device)
{
    (void)bus;
    memset(ret_device, 0, sizeof(*ret_device));
    ret_device->class_id = *class_id;
    ret_device->instance_id.b[0] = 1;
    return 0;
}

size_t hv_vmbus_wait_subchannels(struct hv_vmbus *bus, const struct hv_guid *instance, size_t count,
                                 uint32_t timeout_ms)
{
    size_t offered = of_bus(bus)->opts.sub_channels;

    (void)instance;
    (void)timeout_ms;
    return offered < count ? offered : count;
}

bool hv_channel_may_grow(const struct hv_channel *c)
{
    return !c->loop->opts.lonely;
}

/* ---- DMA ---- */

int hv_dma_alloc(struct hv_vmbus *bus, size_t bytes, struct hv_dma **ret_dma)
{
    struct loop_guest *loop = of_bus(bus);
    struct hv_dma *dma = calloc(1, sizeof(*dma));

    must(dma != NULL, "memory");
    dma->bytes = (bytes + HV_PAGE_BYTES - 1) & ~(size_t)(HV_PAGE_BYTES - 1);
    dma->base = aligned_alloc(HV_PAGE_BYTES, dma->bytes);
    must(dma->base != NULL, "memory");
    memset(dma->base, 0, dma->bytes);
    dma->bus = bus;
    dma->next = loop->dma;
    loop->dma = dma;
    *ret_dma = dma;
    return 0;
}

void hv_dma_free(struct hv_dma *dma)
{
    struct hv_dma **at;

    if (!dma)
        return;
    for (at = &of_bus(dma->bus)->dma; *at != dma; at = &(*at)->next)
        must(*at != NULL, "memory that is not there is freed");
    *at = dma->next;
    free(dma->base);
    free(dma);
}

void *hv_dma_address(const struct hv_dma *dma)
{
    return dma->base;
}

ssize_t hv_dma_pfns(const struct hv_vmbus *bus, const void *va, size_t bytes, uint64_t *pfns,
                    size_t max)
{
    const uint8_t *at = va;

    for (const struct hv_dma *dma = of_bus(bus)->dma; dma; dma = dma->next) {
        uintptr_t first = (uintptr_t)at >> HV_PAGE_SHIFT;
        uintptr_t last = ((uintptr_t)at + bytes - 1) >> HV_PAGE_SHIFT;

        if (at < dma->base || at >= dma->base + dma->bytes ||
            bytes > (size_t)(dma->base + dma->bytes - at))
            continue;
        if (last - first + 1 > max)
            return -ENOBUFS;
        for (uintptr_t pfn = first; pfn <= last; pfn++)
            *pfns++ = pfn;
        return (ssize_t)(last - first + 1);
    }
    return -EFAULT;
}

/* ---- Channels ---- */

int hv_channel_open(struct hv_vmbus *bus, const struct hv_guid *instance, uint16_t index,
                    const struct hv_channel_opts *opts, struct hv_channel **ret_channel)
{
    struct loop_guest *loop = of_bus(bus);
    struct hv_channel *c = &loop->channels[index];
    struct to_driver *queue = c->queue;

    (void)instance;
    (void)opts;
    must(index < LOOP_GUEST_CHANNELS, "too many channels");
    if (c->open)
        return -EBUSY;
    if (index > loop->opts.openable)
        return -EIO;
    if (!queue)
        queue = calloc(LOOP_GUEST_QUEUE, sizeof(*queue));
    must(queue != NULL, "memory");
    memset(c, 0, sizeof(*c));
    c->queue = queue;
    c->loop = loop;
    c->index = index;
    c->open = true;
    *ret_channel = c;
    return 0;
}

void hv_channel_close(struct hv_channel *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->pending_count; i++)
        free(c->pending[i].bytes);
    c->pending_count = 0;
    c->open = false;
}

int hv_channel_reserve(struct hv_channel *c, const struct hv_packet_desc *desc,
                       struct hv_packet_slot *ret_slot)
{
    uint32_t bytes = desc->ext_bytes + ((desc->payload_bytes + 7u) & ~7u);
    struct from_driver *p;

    if (c->status)
        return c->status;
    if (bytes > c->loop->opts.max_bytes || bytes > SLOT_BYTES)
        return -EMSGSIZE;
    if (c->pending_count == PENDING_MAX ||
        bytes + OVERHEAD_BYTES > c->loop->opts.room_bytes - c->used_bytes)
        return -EAGAIN;
    p = &c->pending[c->pending_count++];
    c->used_bytes += bytes + OVERHEAD_BYTES;
    p->desc = *desc;
    p->bytes = malloc(bytes); /* exactly: a sanitizer sees one byte too many */
    must(p->bytes != NULL, "memory");
    ret_slot->ext = p->bytes;
    ret_slot->payload = p->bytes + desc->ext_bytes;
    return 0;
}

static void take_apart(const struct hv_channel *c, const struct from_driver *from,
                       struct loop_packet *p)
{
    const struct hv_gpa_direct *direct = (const struct hv_gpa_direct *)from->bytes;
    const struct hv_gpa_range *range = (const struct hv_gpa_range *)(direct + 1);

    memset(&p->vstor, 0, sizeof(p->vstor));
    p->channel = c->index;
    p->type = from->desc.type;
    p->id = from->desc.trans_id;
    p->vstor_bytes = from->desc.payload_bytes;
    p->range_bytes = p->range_offset = p->pfn_count = 0;
    must(p->id != 0, "a packet with id 0");
    must(from->desc.flags == HV_PACKET_FLAG_COMPLETION_REQUESTED, "no completion requested");
    must(p->vstor_bytes == 64 || p->vstor_bytes == 48, "vstor packet of a strange size");
    memcpy(&p->vstor, from->bytes + from->desc.ext_bytes, p->vstor_bytes);
    if (p->type == HV_PACKET_INBAND) {
        must(from->desc.ext_bytes == 0, "in-band packet with an extension");
        return;
    }
    must(p->type == HV_PACKET_GPA_DIRECT && from->desc.ext_bytes >= 24, "packet type");
    must(direct->range_count == 1, "one range");
    p->range_bytes = range->byte_count;
    p->range_offset = range->byte_offset;
    p->pfn_count = (from->desc.ext_bytes - 16) / 8;
    must(p->range_bytes > 0 && p->range_offset < HV_PAGE_BYTES, "range");
    must(p->pfn_count == (p->range_offset + p->range_bytes + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES,
         "number of pages");
    memcpy(p->pfns, range->pfn, p->pfn_count * sizeof(p->pfns[0]));
}

int hv_channel_flush(struct hv_channel *c)
{
    static struct loop_packet packet; /* too large for a stack; one thread */
    uint32_t count = c->pending_count;

    if (c->status)
        return c->status;
    c->pending_count = 0;
    c->used_bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        take_apart(c, &c->pending[i], &packet);
        free(c->pending[i].bytes);
        if (c->loop->opts.sent)
            c->loop->opts.sent(c->loop->opts.arg, c->loop, &packet);
    }
    return 0;
}

int hv_channel_peek(struct hv_channel *c, struct hv_packet *ret_packet)
{
    if (c->status)
        return c->status;
    if (c->head == c->tail)
        return -EAGAIN;
    *ret_packet = c->queue[c->head++].packet;
    return 0;
}

/* Peeked packets are overwritten, as a ring would in time. */
void hv_channel_release(struct hv_channel *c)
{
    memset(c->queue, 0xee, c->head * sizeof(c->queue[0]));
    if (c->head == c->tail)
        c->head = c->tail = 0;
}

uint32_t hv_channel_max_bytes(const struct hv_channel *c)
{
    return c->loop->opts.max_bytes;
}

bool hv_channel_want_room(struct hv_channel *c, uint32_t bytes)
{
    (void)c;
    (void)bytes;
    return true;
}

int hv_channel_fd(const struct hv_channel *c)
{
    return c->loop->ready_fd;
}

bool hv_channel_arm(struct hv_channel *c)
{
    return c->status || c->head != c->tail;
}

void hv_channel_disarm(struct hv_channel *c)
{
    (void)c;
}

void hv_channel_kill(struct hv_channel *c, const char *reason)
{
    if (!c->status)
        c->status = -EPROTO;
    (void)snprintf(c->why, sizeof(c->why), "%s", reason);
}

void hv_channel_get_stats(const struct hv_channel *c, struct hv_channel_stats *ret_stats)
{
    (void)c;
    memset(ret_stats, 0, sizeof(*ret_stats));
}
