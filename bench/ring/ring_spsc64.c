/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limit of the machine: 64-byte slots, the two indices on lines of their own, private copies of the other's index,
 * one publish a burst.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ring_plugin.h"

#define SLOT_BYTES 64u

struct area {
    _Alignas(128) _Atomic uint64_t head; /* written by the sender */
    _Alignas(128) _Atomic uint64_t tail; /* written by the receiver */
    _Alignas(128) uint8_t slot[][SLOT_BYTES];
};

struct end {
    struct area *area;
    uint64_t mine, other, mask, slots;
};

static size_t shm_bytes(size_t ring_bytes)
{
    return sizeof(struct area) + ring_bytes;
}

static void init(const struct ring_memory *memory)
{
    memset(memory->shm, 0, sizeof(struct area));
}

static void *attach(const struct ring_memory *memory, enum ring_role role)
{
    struct end *end = aligned_alloc(128, 128);

    (void)role;
    if (!end)
        return NULL;
    memset(end, 0, sizeof(*end));
    end->area = memory->shm;
    end->slots = memory->ring_bytes / SLOT_BYTES;
    end->mask = end->slots - 1;
    return end;
}

static unsigned send_burst(void *handle, const uint8_t *src, size_t stride, uint32_t len,
                           unsigned n)
{
    struct end *end = handle;
    uint64_t room = end->slots - (end->mine - end->other);

    (void)len;
    if (room < n) {
        end->other = atomic_load_explicit(&end->area->tail, memory_order_acquire);
        room = end->slots - (end->mine - end->other);
        if (room < n)
            n = (unsigned)room;
        if (!n)
            return 0;
    }
    for (unsigned i = 0; i < n; i++)
        memcpy(end->area->slot[(end->mine + i) & end->mask], src + i * stride, SLOT_BYTES);
    end->mine += n;
    atomic_store_explicit(&end->area->head, end->mine, memory_order_release);
    return n;
}

static unsigned recv_burst(void *handle, uint8_t *dst, size_t stride, uint32_t len, unsigned n)
{
    struct end *end = handle;
    uint64_t have = end->other - end->mine;

    (void)len;
    if (have < n) {
        end->other = atomic_load_explicit(&end->area->head, memory_order_acquire);
        have = end->other - end->mine;
        if (have < n)
            n = (unsigned)have;
        if (!n)
            return 0;
    }
    for (unsigned i = 0; i < n; i++)
        memcpy(dst + i * stride, end->area->slot[(end->mine + i) & end->mask], SLOT_BYTES);
    end->mine += n;
    atomic_store_explicit(&end->area->tail, end->mine, memory_order_release);
    return n;
}

const struct ring_ops ring_ops = {
    .name = "spsc64",
    .shm_bytes = shm_bytes,
    .init = init,
    .attach = attach,
    .send = send_burst,
    .recv = recv_burst,
    .fixed_len = SLOT_BYTES,
};
