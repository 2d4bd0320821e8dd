/* SPDX-License-Identifier: BSD-3-Clause */
#include "buffer.h"

#include <errno.h>
#include <stdlib.h>

#define PER_SLAB (BUFFER_SLAB_BYTES / BUFFER_MIN_BYTES)
#define NO_SLAB  UINT32_MAX

static uint32_t class_bytes(unsigned class)
{
    return BUFFER_MIN_BYTES << class;
}

static unsigned class_of(uint32_t bytes)
{
    if (bytes <= BUFFER_MIN_BYTES)
        return 0;
    return 32u - (unsigned)__builtin_clz((bytes - 1) / BUFFER_MIN_BYTES);
}

static void list_append(struct buffer_list *list, struct buffer *buffer)
{
    buffer->next = NULL;
    buffer->prev = list->last;
    if (list->last)
        list->last->next = buffer;
    else
        list->first = buffer;
    list->last = buffer;
    list->count++;
}

static void list_prepend(struct buffer_list *list, struct buffer *buffer)
{
    buffer->prev = NULL;
    buffer->next = list->first;
    if (list->first)
        list->first->prev = buffer;
    else
        list->last = buffer;
    list->first = buffer;
    list->count++;
}

static void list_remove(struct buffer_list *list, struct buffer *buffer)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): callers look at the count first */
    if (buffer->prev)
        buffer->prev->next = buffer->next;
    else
        list->first = buffer->next;
    if (buffer->next)
        buffer->next->prev = buffer->prev;
    else
        list->last = buffer->prev;
    list->count--;
}

int buffer_pool_init(struct buffer_pool *pool, void *arena, size_t bytes)
{
    uint32_t slabs = (uint32_t)(bytes / BUFFER_SLAB_BYTES);

    if (!slabs || (uintptr_t)arena % BUFFER_MIN_BYTES)
        return -EINVAL;
    *pool = (struct buffer_pool){.arena = arena, .slab_count = slabs, .uncut_count = slabs};
    pool->slabs = calloc(slabs, sizeof(*pool->slabs));
    pool->buffers = calloc((size_t)slabs * PER_SLAB, sizeof(*pool->buffers));
    if (!pool->slabs || !pool->buffers) {
        buffer_pool_fini(pool);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < slabs; i++)
        pool->slabs[i] = (struct buffer_slab){.class = BUFFER_CLASS_COUNT,
                                              .cut = pool->buffers + (size_t)i * PER_SLAB};
    return 0;
}

void buffer_pool_fini(struct buffer_pool *pool)
{
    free(pool->slabs);
    free(pool->buffers);
    *pool = (struct buffer_pool){0};
}

/** A slab that is uncut, or cut for another size and wholly free. */
static uint32_t find_slab(const struct buffer_pool *pool, unsigned class)
{
    uint32_t idle = NO_SLAB;

    for (uint32_t i = 0; i < pool->slab_count; i++) {
        const struct buffer_slab *slab = &pool->slabs[i];

        if (slab->class == BUFFER_CLASS_COUNT)
            return i;
        if (!slab->used && slab->class != class && idle == NO_SLAB)
            idle = i;
    }
    return idle;
}

/** Give a slab the size of `class`. */
static bool cut_slab(struct buffer_pool *pool, unsigned class)
{
    uint32_t index = find_slab(pool, class), bytes = class_bytes(class);
    struct buffer_slab *slab;

    if (index == NO_SLAB)
        return false;
    slab = &pool->slabs[index];
    if (slab->class == BUFFER_CLASS_COUNT)
        pool->uncut_count--;
    else
        for (uint32_t i = 0; i < BUFFER_SLAB_BYTES / class_bytes(slab->class); i++)
            list_remove(&pool->free[slab->class], &slab->cut[i]);
    slab->class = (uint8_t) class;
    for (uint32_t i = 0; i < BUFFER_SLAB_BYTES / bytes; i++) {
        slab->cut[i].data = pool->arena + (size_t)index * BUFFER_SLAB_BYTES + (size_t)i * bytes;
        slab->cut[i].slab = index;
        list_append(&pool->free[class], &slab->cut[i]);
    }
    return true;
}

static struct buffer *take_one(struct buffer_pool *pool, uint32_t bytes)
{
    unsigned class = class_of(bytes);
    struct buffer *buffer;

    if (!pool->free[class].first && !cut_slab(pool, class))
        return NULL;
    buffer = pool->free[class].first;
    list_remove(&pool->free[class], buffer);
    pool->slabs[buffer->slab].used++;
    pool->used_bytes += class_bytes(class);
    return buffer;
}

unsigned buffer_take(struct buffer_pool *pool, uint32_t bytes, struct buffer **ret_buffers)
{
    struct buffer *taken[BUFFER_PER_REQUEST];
    unsigned count = 0, want = buffer_count(bytes);

    if (want == 1) {
        taken[0] = take_one(pool, bytes);
        if (!taken[0])
            return 0;
        ret_buffers[0] = taken[0];
        return 1;
    }
    if (!want || want > BUFFER_PER_REQUEST)
        return 0;
    while (count < want) {
        taken[count] = take_one(pool, bytes < BUFFER_SLAB_BYTES ? bytes : BUFFER_SLAB_BYTES);
        if (!taken[count]) {
            buffer_give(pool, taken, count);
            return 0;
        }
        bytes -= BUFFER_SLAB_BYTES;
        count++;
    }
    for (unsigned i = 0; i < count; i++)
        ret_buffers[i] = taken[i];
    return count;
}

void buffer_give(struct buffer_pool *pool, struct buffer *const *buffers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct buffer_slab *slab = &pool->slabs[buffers[i]->slab];

        slab->used--;
        pool->used_bytes -= class_bytes(slab->class);
        if (pool->warm)
            list_prepend(&pool->free[slab->class], buffers[i]);
        else
            list_append(&pool->free[slab->class], buffers[i]);
    }
}
