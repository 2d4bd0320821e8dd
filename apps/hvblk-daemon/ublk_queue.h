/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One hardware queue of a ublk device, served by one reactor; and the io_uring of that reactor, which all its queues share.
 *
 *   control thread   ublk_queue_create -> reactor_ublk_add (FETCH for every tag) ... reactor_ublk_remove -> destroy
 *   reactor          command completes -> descriptor checked -> struct io -> ... device ... -> COMMIT_AND_FETCH, once a turn
 *
 * DATA  With the kernel's copy each tag owns DMA memory of the bus, where the kernel puts data of writes before the request
 *       is told and takes that of reads when it is committed.  With USER_COPY a request takes memory when it comes, and
 *       this thread moves the data by preadv and pwritev.
 *
 * The kernel ties the tags to the thread that fetched them: all but create and destroy is the reactor's.
 */
#ifndef HVBLK_UBLK_QUEUE_H
#define HVBLK_UBLK_QUEUE_H

#include <liburing.h>

#include "reactor.h"
#include "ublk_lun.h"

#define UBLK_RING_QUEUES 256u

struct ublk_tag {
    struct buffer *buffer; /* kernel's copy: owned for ever */
    uint16_t next_starved; /* + 1; waits for memory */
    bool fetched;          /* ours or the kernel's; false: the queue ended for it */
};

struct ublk_queue_opts {
    int fd; /* /dev/ublkcN, stays the caller's */
    uint16_t index, depth, slot;
    uint32_t identity; /* of the disk: another one in its slot gets nothing */
    uint32_t max_io_bytes;
    bool user_copy;
    void *owner; /* for news REACTOR_UBLK_ENDED */
};

struct ublk_queue {
    struct ublk_queue_opts opts;
    const struct ublkw_desc *descs; /* written by the kernel */
    size_t desc_bytes;
    struct ublk_tag *tags;
    struct reactor *reactor;
    uint32_t place;                       /* in the reactor's list */
    uint32_t fetched;                     /* tags that are fetched */
    uint16_t starved_first, starved_last; /* + 1; first come, first served */
    bool failed;                          /* a command failed as none should */
    int error;                            /* of reactor_ublk_add */
    _Atomic uint64_t requests, errors;    /* the reactor writes, anybody reads */
};

/** Map the descriptors.  0 or a negative errno. */
int ublk_queue_create(const struct ublk_queue_opts *opts, struct ublk_queue **ret_queue);
/** NULL is fine; not while a reactor has it. */
void ublk_queue_destroy(struct ublk_queue *queue);

#endif
