/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_bus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hv/base/bits.h>

struct hv_dma {
    struct hv_dma *next;
    struct ring_bus *bus;
    uint8_t *base;
    size_t bytes;
    bool reached; /* the test's */
};

struct ring_bus {
    struct hv_dma *dma;
};

/* The driver only passes it on. */
static struct ring_bus *of_bus(const struct hv_vmbus *bus)
{
    return (struct ring_bus *)(uintptr_t)bus;
}

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "ring bus: %s\n", what);
    abort();
}

struct ring_bus *ring_bus_create(void)
{
    struct ring_bus *bus = calloc(1, sizeof(*bus));

    must(bus != NULL, "memory");
    return bus;
}

void ring_bus_destroy(struct ring_bus *bus)
{
    while (bus->dma) {
        struct hv_dma *dma = bus->dma;

        must(dma->reached, "DMA memory is left");
        bus->dma = dma->next;
        free(dma);
    }
    free(bus);
}

struct hv_vmbus *ring_bus_vmbus(struct ring_bus *bus)
{
    return (struct hv_vmbus *)bus;
}

struct hv_channel *ring_bus_open(struct ring_bus *bus, uint32_t data_bytes)
{
    struct hv_channel *c = calloc(1, sizeof(*c));
    uint32_t ring_bytes = data_bytes + HV_PAGE_BYTES;
    int fd = memfd_create("ring", MFD_CLOEXEC);

    must(c && fd >= 0 && !ftruncate(fd, 2 * (off_t)ring_bytes), "ring file");
    must(!hv_ring_map(fd, 0, ring_bytes, ring_bytes, &c->out, &c->in), "ring mapping");
    (void)close(fd);
    c->fd = eventfd(0, EFD_CLOEXEC);
    must(c->fd >= 0, "eventfd");
    hv_ring_reset(&c->out);
    hv_ring_reset(&c->in);
    must(!hv_ring_tx_init(&c->tx, &c->out) && !hv_ring_rx_init(&c->rx, &c->in) &&
             !hv_ring_rx_init(&c->host_rx, &c->out) && !hv_ring_tx_init(&c->host_tx, &c->in),
         "ring ends");
    hv_ring_rx_mask(&c->rx);
    c->bus = bus;
    return c;
}

void ring_bus_close(struct hv_channel *c)
{
    hv_ring_unmap(&c->out);
    hv_ring_unmap(&c->in);
    (void)close(c->fd);
    free(c);
}

static struct hv_dma *add_memory(struct ring_bus *bus, uint8_t *base, size_t bytes, bool reached)
{
    struct hv_dma *dma = calloc(1, sizeof(*dma));

    must(dma != NULL && !((uintptr_t)base % HV_PAGE_BYTES), "memory");
    *dma = (struct hv_dma){bus->dma, bus, base, bytes, reached};
    bus->dma = dma;
    return dma;
}

void ring_bus_reach(struct ring_bus *bus, void *va, size_t bytes)
{
    (void)add_memory(bus, va, bytes, true);
}

bool ring_bus_send(struct hv_channel *c, uint16_t type, uint64_t id, const void *ext,
                   uint32_t ext_bytes, const void *payload, uint32_t payload_bytes)
{
    struct hv_packet_desc desc = {
        .trans_id = id,
        .ext_bytes = ext_bytes,
        .payload_bytes = payload_bytes,
        .type = type,
    };
    struct hv_packet_slot slot;

    if (hv_ring_tx_reserve(&c->host_tx, &desc, &slot))
        return false;
    if (ext_bytes)
        memcpy(slot.ext, ext, ext_bytes);
    if (payload_bytes)
        memcpy(slot.payload, payload, payload_bytes);
    (void)hv_ring_tx_publish(&c->host_tx);
    return true;
}

/* ---- DMA ---- */

int hv_dma_alloc(struct hv_vmbus *vmbus, size_t bytes, struct hv_dma **ret_dma)
{
    size_t whole = hv_align_up(bytes, HV_PAGE_BYTES);
    uint8_t *base = aligned_alloc(HV_PAGE_BYTES, whole);

    must(base != NULL, "memory");
    memset(base, 0, whole);
    *ret_dma = add_memory(of_bus(vmbus), base, whole, false);
    return 0;
}

void hv_dma_free(struct hv_dma *dma)
{
    struct hv_dma **at;

    if (!dma)
        return;
    for (at = &dma->bus->dma; *at != dma; at = &(*at)->next)
        must(*at != NULL, "memory that is not there is freed");
    *at = dma->next;
    free(dma->base);
    free(dma);
}

void *hv_dma_address(const struct hv_dma *dma)
{
    return dma->base;
}

size_t hv_dma_bytes(const struct hv_dma *dma)
{
    return dma->bytes;
}

ssize_t hv_dma_pfns(const struct hv_vmbus *vmbus, const void *va, size_t bytes, uint64_t *pfns,
                    size_t max)
{
    const uint8_t *at = va;
    uintptr_t first = (uintptr_t)at >> HV_PAGE_SHIFT;
    uintptr_t last = ((uintptr_t)at + bytes - 1) >> HV_PAGE_SHIFT;

    for (const struct hv_dma *dma = of_bus(vmbus)->dma; dma; dma = dma->next) {
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

int hv_channel_status(const struct hv_channel *c)
{
    return atomic_load(&c->status);
}

void hv_channel_kill(struct hv_channel *c, const char *reason)
{
    int alive = 0;

    if (atomic_compare_exchange_strong(&c->status, &alive, -EPROTO))
        (void)snprintf(c->why, sizeof(c->why), "%s", reason);
}

static int died(struct hv_channel *c, enum hv_ring_fault fault)
{
    hv_channel_kill(c, hv_ring_fault_text(fault));
    return hv_channel_status(c);
}

int hv_channel_reserve(struct hv_channel *c, const struct hv_packet_desc *desc,
                       struct hv_packet_slot *ret_slot)
{
    int err = hv_channel_status(c);

    if (err)
        return err;
    err = hv_ring_tx_reserve(&c->tx, desc, ret_slot);
    if (!err)
        c->pending = true;
    return err == -EPROTO ? died(c, c->tx.fault) : err;
}

int hv_channel_flush(struct hv_channel *c)
{
    if (c->pending) {
        c->pending = false;
        c->flushes++;
        c->signals += hv_ring_tx_publish(&c->tx);
    }
    return hv_channel_status(c);
}

int hv_channel_peek(struct hv_channel *c, struct hv_packet *ret_packet)
{
    int err = hv_channel_status(c);

    if (err)
        return err;
    err = hv_ring_rx_peek(&c->rx, ret_packet);
    return err == -EPROTO ? died(c, c->rx.fault) : err;
}

void hv_channel_release(struct hv_channel *c)
{
    (void)hv_ring_rx_release(&c->rx);
}

uint32_t hv_channel_free_bytes(struct hv_channel *c)
{
    return hv_ring_tx_free(&c->tx);
}

uint32_t hv_channel_max_bytes(const struct hv_channel *c)
{
    return hv_ring_tx_max_bytes(&c->tx);
}

int hv_channel_fd(const struct hv_channel *c)
{
    return c->fd;
}

bool hv_channel_arm(struct hv_channel *c)
{
    return hv_channel_status(c) || hv_ring_rx_ready(&c->rx);
}

void hv_channel_disarm(struct hv_channel *c)
{
    (void)c;
}

struct hv_vmbus *hv_channel_bus(const struct hv_channel *c)
{
    return ring_bus_vmbus(c->bus);
}

void hv_channel_get_stats(const struct hv_channel *c, struct hv_channel_stats *ret_stats)
{
    *ret_stats = (struct hv_channel_stats){.out = c->tx.stats, .in = c->rx.stats};
}
