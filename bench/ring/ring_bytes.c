/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limit of the machine for messages of any length: a byte ring with an 8-byte length word before each message, the
 * indices on lines of their own, private copies, one publish a burst.  A skip word fills the end: no message wraps.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ring_plugin.h"

#define SKIP 0xffffffffu

struct area {
    _Alignas(128) _Atomic uint64_t head;
    _Alignas(128) _Atomic uint64_t tail;
    _Alignas(128) uint8_t data[];
};

struct end {
    struct area *area;
    uint64_t mine, other, size;
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
    end->size = memory->ring_bytes; /* a power of two */
    return end;
}

static unsigned send_burst(void *handle, const uint8_t *src, size_t stride, uint32_t len,
                           unsigned n)
{
    struct end *end = handle;
    uint64_t need = (len + 8 + 7) & ~7ull, mask = end->size - 1, word = len, skip = SKIP;
    unsigned i;

    for (i = 0; i < n; i++) {
        uint64_t at = end->mine & mask, left = end->size - at;
        uint64_t want = left < need ? left + need : need;

        if (end->mine + want - end->other > end->size) {
            end->other = atomic_load_explicit(&end->area->tail, memory_order_acquire);
            if (end->mine + want - end->other > end->size)
                break;
        }
        if (left < need) {
            memcpy(end->area->data + at, &skip, 8);
            end->mine += left;
            at = 0;
        }
        memcpy(end->area->data + at, &word, 8);
        memcpy(end->area->data + at + 8, src + i * stride, len);
        end->mine += need;
    }
    if (i)
        atomic_store_explicit(&end->area->head, end->mine, memory_order_release);
    return i;
}

static unsigned recv_burst(void *handle, uint8_t *dst, size_t stride, uint32_t len, unsigned n)
{
    struct end *end = handle;
    uint64_t mask = end->size - 1, word;
    unsigned i = 0;

    (void)len;
    while (i < n) {
        uint64_t at = end->mine & mask;

        if (end->mine == end->other) {
            end->other = atomic_load_explicit(&end->area->head, memory_order_acquire);
            if (end->mine == end->other)
                break;
        }
        memcpy(&word, end->area->data + at, 8);
        if (word == SKIP) {
            end->mine += end->size - at;
            continue;
        }
        memcpy(dst + i * stride, end->area->data + at + 8, word);
        end->mine += (word + 8 + 7) & ~7ull;
        i++;
    }
    if (i)
        atomic_store_explicit(&end->area->tail, end->mine, memory_order_release);
    return i;
}

const struct ring_ops ring_ops = {
    .name = "bytes",
    .shm_bytes = shm_bytes,
    .init = init,
    .attach = attach,
    .send = send_burst,
    .recv = recv_burst,
};
