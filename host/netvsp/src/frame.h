/* SPDX-License-Identifier: BSD-3-Clause */
/* Pieces of frames.  Callers have checked that iov_count <= HV_FRAME_IOV_MAX and that the pieces add up to bytes. */
#ifndef HV_NETVSP_FRAME_H
#define HV_NETVSP_FRAME_H

#include "link.h"

#include <string.h>

/** Once headers are in memory of their own, and a tag is inserted. */
#define HV_FRAME_PIECES_MAX (HV_FRAME_IOV_MAX + 2u)

/** Copy [offset, offset + bytes) of the frame; less when it ends before.  Returns how much. */
size_t hv_frame_copy(const struct hv_frame *frame, size_t offset, void *to, size_t bytes);

/** Pieces of [offset, offset + bytes): how many, 0 when `max` is too few or the frame ends before. */
uint32_t hv_frame_slice(const struct hv_frame *frame, size_t offset, size_t bytes,
                        struct iovec *iov, uint32_t max);

/** The pieces are as many as allowed, and add up. */
bool hv_frame_is_sound(const struct hv_frame *frame);

/** A frame in one piece. */
static inline void hv_frame_set(struct hv_frame *frame, struct iovec *iov, void *data,
                                uint32_t bytes)
{
    iov->iov_base = data;
    iov->iov_len = bytes;
    *frame = (struct hv_frame){.iov = iov, .iov_count = 1, .bytes = bytes};
}

#endif
