/* SPDX-License-Identifier: BSD-3-Clause */
/* Small arithmetic that must not overflow, and the number of things in a table. */
#ifndef HV_BASE_BITS_H
#define HV_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HV_COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

#define hv_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline uint32_t hv_min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint64_t hv_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/** True when [offset, offset + length) lies inside [0, limit); cannot overflow. */
static inline bool hv_range_fits(uint64_t offset, uint64_t length, uint64_t limit)
{
    return offset <= limit && length <= limit - offset;
}

static inline bool hv_is_power_of_two(uint64_t v)
{
    return v && !(v & (v - 1));
}

/** v rounded up to a power of two `align`; the caller knows that it does not overflow. */
static inline uint64_t hv_align_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

#endif
