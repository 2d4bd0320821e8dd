/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limit of the layout: a ring in the VMBus layout (write index, read index and interrupt mask on ONE line; packet =
 * 16-byte header, payload padded to 8, 8-byte trailer), driven as well as that allows and nothing else: private copies
 * of the indices, one publish, one full fence and one signal decision a burst; no checks, no counters, no double
 * mapping, no flow control.  With RING_IN_PLACE the receiver copies only the first and last 8 bytes of a payload.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ring_plugin.h"

#define CONTROL_BYTES 4096u

struct control {
    _Atomic uint32_t write, read, mask, pending;
};

struct end {
    struct control *control;
    uint8_t *data;
    uint32_t size, mine, other;
    uint64_t signals;
};

static size_t shm_bytes(size_t ring_bytes)
{
    return CONTROL_BYTES + ring_bytes;
}

static void init(const struct ring_memory *memory)
{
    struct control *control = memory->shm;

    memset(control, 0, CONTROL_BYTES);
    atomic_store(&control->mask, 1); /* the receiver polls */
}

static void *attach(const struct ring_memory *memory, enum ring_role role)
{
    struct end *end = aligned_alloc(128, 128);

    (void)role;
    if (!end)
        return NULL;
    memset(end, 0, sizeof(*end));
    end->control = memory->shm;
    end->data = (uint8_t *)memory->shm + CONTROL_BYTES;
    end->size = (uint32_t)memory->ring_bytes;
    return end;
}

static void put(const struct end *end, uint32_t at, const void *src, uint32_t bytes)
{
    uint32_t left = end->size - at;

    if (bytes <= left) {
        memcpy(end->data + at, src, bytes);
    } else {
        memcpy(end->data + at, src, left);
        memcpy(end->data, (const uint8_t *)src + left, bytes - left);
    }
}

static void get(const struct end *end, uint32_t at, void *dst, uint32_t bytes)
{
    uint32_t left = end->size - at;

    if (bytes <= left) {
        memcpy(dst, end->data + at, bytes);
    } else {
        memcpy(dst, end->data + at, left);
        memcpy((uint8_t *)dst + left, end->data, bytes - left);
    }
}

static inline uint32_t advance(const struct end *end, uint32_t index, uint32_t bytes)
{
    index += bytes;
    return index >= end->size ? index - end->size : index;
}

static inline uint32_t room(const struct end *end)
{
    return end->mine >= end->other ? end->size - (end->mine - end->other) : end->other - end->mine;
}

static inline void put_packet(struct end *end, const uint8_t *src, uint32_t len, uint32_t bytes,
                              uint64_t id)
{
    uint64_t words[2] = {6 | 2ull << 16 | (uint64_t)(bytes >> 3) << 32, id};
    uint64_t trailer = (uint64_t)end->mine << 32;

    if (end->size - end->mine >= bytes + 8) {
        uint8_t *p = end->data + end->mine;

        memcpy(p, words, 16);
        memcpy(p + 16, src, len);
        memcpy(p + bytes, &trailer, 8);
    } else {
        put(end, end->mine, words, 16);
        put(end, advance(end, end->mine, 16), src, len);
        put(end, advance(end, end->mine, bytes), &trailer, 8);
    }
    end->mine = advance(end, end->mine, bytes + 8);
}

static unsigned send_burst(void *handle, const uint8_t *src, size_t stride, uint32_t len,
                           unsigned n)
{
    struct end *end = handle;
    uint32_t bytes = (16 + len + 7) & ~7u, first = end->mine;
    unsigned i;

    for (i = 0; i < n; i++) {
        if (room(end) <= bytes + 8) {
            end->other = atomic_load_explicit(&end->control->read, memory_order_acquire);
            if (room(end) <= bytes + 8)
                break;
        }
        put_packet(end, src + i * stride, len, bytes, i);
    }
    if (!i)
        return 0;
    atomic_store_explicit(&end->control->write, end->mine, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    if (!atomic_load_explicit(&end->control->mask, memory_order_relaxed) &&
        atomic_load_explicit(&end->control->read, memory_order_relaxed) == first)
        end->signals++;
    return i;
}

static unsigned recv_burst(void *handle, uint8_t *dst, size_t stride, uint32_t len, unsigned n)
{
    struct end *end = handle;
    unsigned i;

    for (i = 0; i < n; i++) {
        uint32_t header, total;
        uint64_t word;
        uint8_t *d = dst + i * stride;

        if (end->mine == end->other) {
            end->other = atomic_load_explicit(&end->control->write, memory_order_acquire);
            if (end->mine == end->other)
                break;
        }
        memcpy(&word, end->data + end->mine, 8); /* 8-aligned: never wraps */
        header = (uint32_t)(word >> 16 & 0xffff) << 3;
        total = (uint32_t)(word >> 32 & 0xffff) << 3;
        if (header < 16 || total < header || total - header > stride || total + 8 > end->size)
            abort();
#ifdef RING_IN_PLACE
        get(end, advance(end, end->mine, header), d, 8);
        get(end, advance(end, end->mine, header + len - 8), d + len - 8, 8);
#else
        (void)len;
        get(end, advance(end, end->mine, header), d, total - header);
#endif
        end->mine = advance(end, end->mine, total + 8);
    }
    if (i)
        atomic_store_explicit(&end->control->read, end->mine, memory_order_release);
    return i;
}

const struct ring_ops ring_ops = {
#ifdef RING_IN_PLACE
    .name = "vmbusref-inplace",
#else
    .name = "vmbusref",
#endif
    .shm_bytes = shm_bytes,
    .init = init,
    .attach = attach,
    .send = send_burst,
    .recv = recv_burst,
};
