/* SPDX-License-Identifier: BSD-3-Clause */
/* What the driver calls: bus, DMA memory, channels. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop_nic_impl.h"

/* The driver only passes it on. */
static struct loop_nic *of_bus(const struct hv_vmbus *bus)
{
    return (struct loop_nic *)(uintptr_t)bus;
}

void loop_nic_must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "loop_nic: %s\n", what);
    abort();
}

struct loop_nic *loop_nic_create(const struct loop_nic_opts *opts)
{
    struct loop_nic *nic = calloc(1, sizeof(*nic));

    loop_nic_must(nic != NULL, "memory");
    nic->opts = *opts;
    nic->bus_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    nic->channel_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    loop_nic_must(nic->bus_fd >= 0 && nic->channel_fd >= 0, "eventfd");
    return nic;
}

void loop_nic_destroy(struct loop_nic *nic)
{
    loop_nic_must(!nic->dma, "DMA memory is left");
    loop_nic_must(!nic->shared[0].address && !nic->shared[1].address, "a buffer is left shared");
    for (unsigned i = 0; i < LOOP_NIC_CHANNELS; i++)
        loop_nic_must(!nic->channels[i].open, "a channel is left open");
    (void)close(nic->bus_fd);
    (void)close(nic->channel_fd);
    free(nic);
}

struct hv_vmbus *loop_nic_bus(struct loop_nic *nic)
{
    return (struct hv_vmbus *)nic;
}

bool loop_nic_put(struct loop_nic *nic, uint16_t channel, uint16_t type, uint64_t id,
                  const void *ext, uint32_t ext_bytes, const void *payload, uint32_t bytes)
{
    struct hv_channel *c = &nic->channels[channel];
    struct loop_nic_packet *p;

    if (!c->open || c->tail == LOOP_NIC_QUEUE || ext_bytes + bytes > LOOP_NIC_PACKET_BYTES)
        return false;
    p = &c->queue[c->tail++];
    memset(p, 0, sizeof(*p));
    if (ext_bytes)
        memcpy(p->bytes, ext, ext_bytes);
    if (bytes)
        memcpy((uint8_t *)p->bytes + ext_bytes, payload, bytes);
    p->packet = (struct hv_packet){
        .trans_id = id,
        .ext = p->bytes,
        .payload = (uint8_t *)p->bytes + ext_bytes,
        .ext_bytes = ext_bytes,
        .payload_bytes = (bytes + 7u) & ~7u,
        .type = type,
    };
    return true;
}

uint8_t *loop_nic_latest(struct loop_nic *nic, uint32_t *ret_bytes)
{
    struct hv_channel *c = &nic->channels[0];

    if (!c->open || c->head == c->tail)
        return NULL;
    *ret_bytes = LOOP_NIC_PACKET_BYTES;
    return (uint8_t *)c->queue[c->tail - 1].bytes;
}

uint8_t *loop_nic_receive_buffer(struct loop_nic *nic, uint32_t *ret_bytes)
{
    *ret_bytes = (uint32_t)nic->shared[HV_SHARED_RECEIVE].bytes;
    return nic->shared[HV_SHARED_RECEIVE].address;
}

void loop_nic_break(struct loop_nic *nic, uint16_t channel, int error)
{
    if (!nic->channels[channel].status)
        nic->channels[channel].status = error;
}

const char *loop_nic_killed(const struct loop_nic *nic, uint16_t channel)
{
    return nic->channels[channel].why[0] ? nic->channels[channel].why : NULL;
}

/** Counts down to the one that fails. */
static bool fails(struct loop_nic *nic)
{
    return nic->opts.fail_at && !--nic->opts.fail_at;
}

/* ---- Bus ---- */

int hv_vmbus_fd(const struct hv_vmbus *bus)
{
    return of_bus(bus)->bus_fd;
}

int hv_vmbus_poll(struct hv_vmbus *bus)
{
    (void)bus;
    return 0;
}

size_t hv_vmbus_wait_subchannels(struct hv_vmbus *bus, const struct hv_guid *instance, size_t count,
                                 uint32_t timeout_ms)
{
    const struct loop_nic *nic = of_bus(bus);
    size_t offered = nic->opts.offered ? nic->opts.offered : nic->granted;

    (void)instance;
    (void)timeout_ms;
    return offered < count ? offered : count;
}

bool hv_channel_may_grow(const struct hv_channel *c)
{
    return !c->nic->opts.may_not_grow;
}

/* ---- DMA ---- */

int hv_dma_alloc(struct hv_vmbus *bus, size_t bytes, struct hv_dma **ret_dma)
{
    struct loop_nic *nic = of_bus(bus);
    struct hv_dma *dma;

    if (fails(nic))
        return -ENOMEM;
    dma = calloc(1, sizeof(*dma));
    loop_nic_must(dma != NULL, "memory");
    dma->bytes = (bytes + HV_PAGE_BYTES - 1) & ~(size_t)(HV_PAGE_BYTES - 1);
    dma->base = aligned_alloc(HV_PAGE_BYTES, dma->bytes);
    loop_nic_must(dma->base != NULL, "memory");
    memset(dma->base, 0, dma->bytes);
    dma->bus = bus;
    dma->next = nic->dma;
    nic->dma = dma;
    *ret_dma = dma;
    return 0;
}

void hv_dma_free(struct hv_dma *dma)
{
    struct hv_dma **at;

    if (!dma)
        return;
    for (at = &of_bus(dma->bus)->dma; *at != dma; at = &(*at)->next)
        loop_nic_must(*at != NULL, "memory that is not there is freed");
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
    struct loop_nic *nic = of_bus(bus);
    struct hv_channel *c = &nic->channels[index];

    (void)instance;
    (void)opts;
    loop_nic_must(index < LOOP_NIC_CHANNELS, "too many channels");
    if (c->open)
        return -EBUSY;
    if (index > nic->granted)
        return -EINVAL;
    if (fails(nic))
        return -ENOMEM;
    if (nic->opts.openable && index > nic->opts.openable)
        return -EIO;
    memset(c, 0, sizeof(*c));
    c->nic = nic;
    c->index = index;
    c->open = true;
    nic->seen.opens++;
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
    if (c->index)
        return;
    for (unsigned i = 1; i < LOOP_NIC_CHANNELS; i++)
        loop_nic_must(!c->nic->channels[i].open, "the primary is closed before a sub-channel");
    hv_channel_unshare(c, HV_SHARED_RECEIVE);
    hv_channel_unshare(c, HV_SHARED_SEND);
    loop_nic_closed(c->nic);
}

int hv_channel_share(struct hv_channel *primary, enum hv_shared_kind kind, size_t bytes,
                     struct hv_shared *ret_shared)
{
    struct hv_shared *shared = &primary->nic->shared[kind];

    loop_nic_must(!primary->index && !shared->address, "shared twice");
    if (fails(primary->nic))
        return -ENOMEM;
    shared->bytes = (bytes + HV_PAGE_BYTES - 1) & ~(size_t)(HV_PAGE_BYTES - 1);
    shared->address = aligned_alloc(HV_PAGE_BYTES, shared->bytes);
    loop_nic_must(shared->address != NULL, "memory");
    memset(shared->address, 0, shared->bytes);
    shared->gpadl = 0x100u + (uint32_t)kind;
    *ret_shared = *shared;
    return 0;
}

void hv_channel_unshare(struct hv_channel *primary, enum hv_shared_kind kind)
{
    free(primary->nic->shared[kind].address);
    primary->nic->shared[kind] = (struct hv_shared){0};
}

int hv_channel_reserve(struct hv_channel *c, const struct hv_packet_desc *desc,
                       struct hv_packet_slot *ret_slot)
{
    uint32_t bytes = desc->ext_bytes + ((desc->payload_bytes + 7u) & ~7u);
    struct loop_nic_pending *p;

    if (c->status)
        return c->status;
    if (c->pending_count == LOOP_NIC_PENDING)
        return -EAGAIN;
    p = &c->pending[c->pending_count++];
    p->desc = *desc;
    p->bytes = malloc(bytes ? bytes : 1); /* exactly: a sanitizer sees one byte too many */
    loop_nic_must(p->bytes != NULL, "memory");
    ret_slot->ext = p->bytes;
    ret_slot->payload = p->bytes + desc->ext_bytes;
    return 0;
}

int hv_channel_flush(struct hv_channel *c)
{
    uint32_t i;

    if (c->status || c->flushing)
        return c->status;
    c->flushing = true;
    for (i = 0; i < c->pending_count && !c->status; i++) {
        loop_nic_take(c->nic, c->index, &c->pending[i].desc, c->pending[i].bytes);
        free(c->pending[i].bytes);
    }
    memmove(c->pending, c->pending + i, (c->pending_count - i) * sizeof(c->pending[0]));
    c->pending_count -= i;
    c->flushing = false;
    return c->status;
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
    memmove(c->queue, c->queue + c->head, (c->tail - c->head) * sizeof(c->queue[0]));
    for (uint32_t i = 0; i < c->tail - c->head; i++) {
        struct hv_packet *p = &c->queue[i].packet;

        p->ext = c->queue[i].bytes;
        p->payload = (const uint8_t *)c->queue[i].bytes + p->ext_bytes;
    }
    c->tail -= c->head;
    c->head = 0;
}

uint32_t hv_channel_max_bytes(const struct hv_channel *c)
{
    (void)c;
    return 0x10000;
}

uint32_t hv_channel_free_bytes(struct hv_channel *c)
{
    return c->status ? 0 : 0x10020;
}

int hv_channel_fd(const struct hv_channel *c)
{
    return c->nic->channel_fd;
}

bool hv_channel_arm(struct hv_channel *c)
{
    return c->status || c->head != c->tail;
}

void hv_channel_disarm(struct hv_channel *c)
{
    (void)c;
}

int hv_channel_status(const struct hv_channel *c)
{
    return c->status;
}

void hv_channel_kill(struct hv_channel *c, const char *reason)
{
    if (!c->status)
        c->status = -EPROTO;
    (void)snprintf(c->why, sizeof(c->why), "%s", reason);
}

struct hv_vmbus *hv_channel_bus(const struct hv_channel *c)
{
    return loop_nic_bus(c->nic);
}

void hv_channel_get_stats(const struct hv_channel *c, struct hv_channel_stats *ret_stats)
{
    (void)c;
    memset(ret_stats, 0, sizeof(*ret_stats));
}
