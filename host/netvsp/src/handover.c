/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * POSITIONS: head = (slot << 32 | byte) of the next reservation, tail likewise of the oldest frame; both halves only grow,
 * modulo 2^32.  A frame lies in one piece: where it would cross the end of the memory it starts at its begin, and the rest
 * is skipped.  Every slot keeps the byte position behind its frame, which is where the tail goes when it is released.
 *
 * ORDER: a producer fills the bytes and the slot, then stores slot.turn = its position + 1 (release); the consumer loads
 * turn (acquire) and stops at the first slot that is not its turn.  The tail is stored (release) after the consumer has
 * read the frames; producers load it (acquire) before they overwrite.
 *
 * SLEEP: the consumer sets `sleeping` and looks once more; a producer publishes and looks at `sleeping`.  Both do it with a
 * read-modify-write, once a batch: whichever comes second sees what the other did before.
 */
#include "handover.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hv/base/bits.h>

#include "frame.h"

#define FRAME_ALIGN 64u

struct slot {
    _Alignas(64) _Atomic uint32_t turn;
    uint32_t end; /* byte position behind the frame */
    struct hv_frame frame;
    struct iovec iov;
};
_Static_assert(sizeof(struct slot) == 64, "a slot is a cache line");

struct hv_handover {
    _Alignas(64) _Atomic uint64_t head; /* producers */
    _Alignas(64) _Atomic uint64_t tail; /* consumer */
    bool armed;
    _Alignas(64) _Atomic unsigned sleeping; /* both */
    _Alignas(64) uint32_t slot_mask;        /* constant from here on */
    uint32_t byte_mask;
    int fd;
    uint8_t *bytes;
    struct slot *slots;
};

static inline uint32_t slot_of(uint64_t position)
{
    return (uint32_t)(position >> 32);
}

static inline uint32_t byte_of(uint64_t position)
{
    return (uint32_t)position;
}

static inline uint64_t position_of(uint32_t slot, uint32_t byte)
{
    return (uint64_t)slot << 32 | byte;
}

void hv_handover_destroy(struct hv_handover *handover)
{
    if (!handover)
        return;
    if (handover->fd >= 0)
        (void)close(handover->fd);
    free(handover->slots);
    free(handover->bytes);
    free(handover);
}

int hv_handover_create(uint32_t slots, uint32_t bytes, struct hv_handover **ret_handover)
{
    struct hv_handover *handover;
    int err = -ENOMEM;

    if (!hv_is_power_of_two(slots) || slots < 2 || slots > 65536 || !hv_is_power_of_two(bytes) ||
        bytes < 4096 || bytes > 1u << 30)
        return -EINVAL;
    handover = aligned_alloc(_Alignof(struct hv_handover), sizeof(*handover));
    if (!handover)
        return -ENOMEM;
    memset(handover, 0, sizeof(*handover));
    handover->slot_mask = slots - 1;
    handover->byte_mask = bytes - 1;
    handover->fd = -1;
    handover->bytes = aligned_alloc(FRAME_ALIGN, bytes);
    handover->slots = aligned_alloc(_Alignof(struct slot), slots * sizeof(struct slot));
    if (!handover->bytes || !handover->slots)
        goto fail;
    memset(handover->slots, 0, slots * sizeof(struct slot));
    handover->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (handover->fd < 0) {
        err = -errno;
        goto fail;
    }
    *ret_handover = handover;
    return 0;
fail:
    hv_handover_destroy(handover);
    return err;
}

/* Where a frame of this length starts when `byte` is the next free position. */
static inline uint32_t place(const struct hv_handover *handover, uint32_t byte, uint32_t bytes)
{
    uint32_t size = handover->byte_mask + 1;
    uint32_t offset = byte & handover->byte_mask;

    return offset + bytes > size ? byte + (size - offset) : byte;
}

static inline uint32_t room_for(uint32_t bytes)
{
    return (uint32_t)hv_align_up(bytes, FRAME_ALIGN);
}

/* Reserve for as many of the frames as fit.  Returns how many, and the position of the first. */
static uint16_t reserve(struct hv_handover *handover, const struct hv_frame *frames, uint16_t count,
                        uint64_t *ret_position)
{
    uint64_t head = atomic_load_explicit(&handover->head, memory_order_relaxed);
    uint64_t next;
    uint16_t taken;

    do {
        uint64_t tail = atomic_load_explicit(&handover->tail, memory_order_acquire);
        uint32_t slot = slot_of(head);
        uint32_t byte = byte_of(head);

        /* A tail newer than this head makes the differences wrap: nothing fits, or the exchange below fails. */
        for (taken = 0; taken < count; taken++) {
            uint32_t end;

            if (frames[taken].bytes > (handover->byte_mask + 1) / 2)
                break; /* need not fit even into an empty one */
            end = place(handover, byte, frames[taken].bytes) + room_for(frames[taken].bytes);
            if (slot - slot_of(tail) > handover->slot_mask ||
                end - byte_of(tail) > handover->byte_mask + 1)
                break;
            slot++;
            byte = end;
        }
        if (!taken) {
            uint64_t now = atomic_load_explicit(&handover->head, memory_order_relaxed);

            if (now == head)
                return 0;
            head = now;
            continue;
        }
        next = position_of(slot, byte);
        if (atomic_compare_exchange_weak_explicit(&handover->head, &head, next,
                                                  memory_order_relaxed, memory_order_relaxed))
            break;
    } while (true);
    *ret_position = head;
    return taken;
}

static void fill(struct hv_handover *handover, uint32_t position, uint32_t *byte,
                 const struct hv_frame *frame)
{
    struct slot *slot = &handover->slots[position & handover->slot_mask];
    uint32_t start = place(handover, *byte, frame->bytes);
    uint8_t *to = handover->bytes + (start & handover->byte_mask);

    *byte = start + room_for(frame->bytes);
    slot->end = *byte;
    slot->frame = *frame;
    slot->iov.iov_base = to;
    slot->iov.iov_len = hv_frame_copy(frame, 0, to, frame->bytes);
    slot->frame.bytes = (uint32_t)slot->iov.iov_len;
    slot->frame.iov_count = 1;
    atomic_store_explicit(&slot->turn, position + 1, memory_order_release);
}

static void wake(struct hv_handover *handover)
{
    static const uint64_t one = 1;

    if (atomic_fetch_or_explicit(&handover->sleeping, 0, memory_order_acq_rel) &&
        atomic_exchange_explicit(&handover->sleeping, 0, memory_order_relaxed))
        (void)!write(handover->fd, &one, sizeof(one)); /* cannot fill up: written once per sleep */
}

uint16_t hv_handover_put(struct hv_handover *handover, const struct hv_frame *frames,
                         uint16_t count)
{
    uint64_t position;
    uint32_t byte;
    uint16_t taken = reserve(handover, frames, count, &position);

    if (!taken)
        return 0;
    byte = byte_of(position);
    for (uint16_t i = 0; i < taken; i++)
        fill(handover, slot_of(position) + i, &byte, &frames[i]);
    wake(handover);
    return taken;
}

static inline bool is_ready(const struct hv_handover *handover, uint32_t position)
{
    const struct slot *slot = &handover->slots[position & handover->slot_mask];

    return atomic_load_explicit(&slot->turn, memory_order_acquire) == position + 1;
}

uint16_t hv_handover_peek(struct hv_handover *handover, struct hv_frame *ret_frames, uint16_t max)
{
    uint32_t position = slot_of(atomic_load_explicit(&handover->tail, memory_order_relaxed));
    uint16_t count;

    for (count = 0; count < max && is_ready(handover, position); count++, position++) {
        struct slot *slot = &handover->slots[position & handover->slot_mask];

        ret_frames[count] = slot->frame;
        ret_frames[count].iov = &slot->iov;
    }
    return count;
}

void hv_handover_release(struct hv_handover *handover, uint16_t count)
{
    uint32_t position = slot_of(atomic_load_explicit(&handover->tail, memory_order_relaxed));

    if (!count)
        return;
    position += count;
    atomic_store_explicit(
        &handover->tail,
        position_of(position, handover->slots[(position - 1) & handover->slot_mask].end),
        memory_order_release);
}

bool hv_handover_arm(struct hv_handover *handover)
{
    (void)atomic_exchange_explicit(&handover->sleeping, 1, memory_order_acq_rel);
    if (is_ready(handover, slot_of(atomic_load_explicit(&handover->tail, memory_order_relaxed)))) {
        (void)atomic_exchange_explicit(&handover->sleeping, 0, memory_order_relaxed);
        return true;
    }
    handover->armed = true;
    return false;
}

void hv_handover_disarm(struct hv_handover *handover)
{
    uint64_t count;

    if (!handover->armed)
        return;
    handover->armed = false;
    (void)atomic_exchange_explicit(&handover->sleeping, 0, memory_order_relaxed);
    /* Always: a producer that saw us asleep just before an earlier disarm may have written after it. */
    (void)!read(handover->fd, &count, sizeof(count));
}

int hv_handover_fd(const struct hv_handover *handover)
{
    return handover->fd;
}
