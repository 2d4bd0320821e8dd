/* SPDX-License-Identifier: BSD-3-Clause */
/* hvctl ring dump, trace. */
#ifndef HVCTL_TRACE_H
#define HVCTL_TRACE_H

#include "decode.h"

/** What lies in both rings: indexes, and the last `count` packets of each.  0 or a negative errno. */
int trace_dump(FILE *out, const struct ring_view *view, enum class_layer layer, size_t count,
               bool hex);

/** A place in the stream of each ring. */
struct trace {
    const struct ring_view *view;
    enum class_layer layer;
    bool hex;
    uint64_t left; /* packets to show; UINT64_MAX = no end */
    uint32_t at[RING_SIDES];
    uint64_t lost[RING_SIDES]; /* times that packets were overwritten before they were seen */
};

/** From now on.  -EPROTO: no rings. */
int trace_begin(const struct ring_view *view, struct trace *ret_trace);
/** Show what came since the last look.  -EPROTO: the indexes are impossible. */
int trace_look(FILE *out, struct trace *trace);

#endif
