/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rings of a channel that another program has open, read-only.
 *
 * They are mapped by the file `ring` of sysfs, not by /dev/uioN: opening that would open the channel where nobody has, and
 * keep it open where its owner closes it.  Nothing is ever written.  Both ends go on meanwhile: everything is copied
 * first and checked then, and what does not fit together is left out.
 */
#ifndef HVCTL_RING_VIEW_H
#define HVCTL_RING_VIEW_H

#include <stdio.h>

#include <hv/wire/ring.h>

#include "devices.h"

enum ring_side {
    RING_OUT, /* to the host */
    RING_IN,  /* from the host */
    RING_SIDES,
};

struct ring_view {
    void *mapping;
    size_t mapping_bytes;
    const struct hv_ring_control *control[RING_SIDES];
    const uint8_t *data[RING_SIDES];
    uint32_t size_bytes; /* of each data area */
};

struct ring_indexes {
    uint32_t write, read;
};

/** A packet as it lay in the ring, without its trailer. */
struct ring_packet {
    uint32_t offset;
    bool pending; /* not read yet */
    uint32_t bytes;
    uint8_t *copy; /* at least a descriptor, and lengths in it that fit */
};

#define RING_WHY_BYTES 256

/** 0, or a negative errno with a sentence: not with uio_hv_generic, nobody has it open, no such channel. */
int ring_open(const struct sys *sys, const struct device *device, uint32_t index,
              struct ring_view *ret_view, char *ret_why);
void ring_close(struct ring_view *view);

/** -EPROTO: no indexes that a ring can have. */
int ring_indexes(const struct ring_view *view, enum ring_side side,
                 struct ring_indexes *ret_indexes);
/**
 * The last packets, oldest first: from the write index back, by the trailers, as far as they make sense, but not
 * further than half a ring behind what is read: what lies there may be overwritten while we look.  Where a host writes no
 * trailers: those that lie between the start of the ring, else the read index, and the write index.
 * Returns how many of at most `max`; a negative errno.  Free each copy.
 */
ssize_t ring_last(const struct ring_view *view, enum ring_side side, struct ring_packet *packets,
                  size_t max);
/**
 * The packet at `offset`, when there is a whole one before the write index `write`.
 * 1, 0 (offset is write), -EPROTO (no packet: it was overwritten, or the ring is broken), -ENOMEM.
 */
int ring_next(const struct ring_view *view, enum ring_side side, uint32_t offset, uint32_t write,
              struct ring_packet *ret_packet);

#endif
