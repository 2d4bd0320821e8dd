/* SPDX-License-Identifier: BSD-3-Clause */
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static const char *const side_names[RING_SIDES] = {"to host", "from host"};

static void print_control(FILE *out, const struct ring_view *view, enum ring_side side)
{
    const struct hv_ring_control *control = view->control[side];

    (void)fprintf(out, "%s: %u bytes, write %u, read %u, mask %u, waits for %u, features 0x%x\n",
                  side_names[side], view->size_bytes,
                  atomic_load_explicit(&control->write_index, memory_order_relaxed),
                  atomic_load_explicit(&control->read_index, memory_order_relaxed),
                  atomic_load_explicit(&control->interrupt_mask, memory_order_relaxed),
                  atomic_load_explicit(&control->pending_send_size, memory_order_relaxed),
                  atomic_load_explicit(&control->feature_bits, memory_order_relaxed));
}

static int dump_side(FILE *out, const struct ring_view *view, enum ring_side side,
                     enum class_layer layer, size_t count, bool hex)
{
    struct ring_packet *packets;
    ssize_t got;

    if (count > view->size_bytes / HV_RING_DESCRIPTOR_BYTES)
        count = view->size_bytes / HV_RING_DESCRIPTOR_BYTES; /* more cannot be there */
    packets = calloc(count ? count : 1, sizeof(*packets));
    if (!packets)
        return -ENOMEM;
    print_control(out, view, side);
    got = ring_last(view, side, packets, count);
    for (ssize_t i = 0; i < got; i++) {
        decode_packet(out, layer, side, &packets[i], hex);
        free(packets[i].copy);
    }
    free(packets);
    if (got == -EPROTO)
        (void)fprintf(out, "  these are no indexes of a ring\n");
    return got < 0 ? (int)got : 0;
}

int trace_dump(FILE *out, const struct ring_view *view, enum class_layer layer, size_t count,
               bool hex)
{
    int err = dump_side(out, view, RING_OUT, layer, count, hex);

    return err ? err : dump_side(out, view, RING_IN, layer, count, hex);
}

int trace_begin(const struct ring_view *view, struct trace *ret_trace)
{
    struct trace trace = {.view = view, .left = UINT64_MAX};

    for (unsigned side = 0; side < RING_SIDES; side++) {
        struct ring_indexes now;
        int err = ring_indexes(view, side, &now);

        if (err)
            return err;
        trace.at[side] = now.write;
    }
    *ret_trace = trace;
    return 0;
}

static int look_at(FILE *out, struct trace *trace, enum ring_side side)
{
    struct ring_indexes now;
    struct ring_packet packet;
    int got = ring_indexes(trace->view, side, &now);

    if (got)
        return got;
    while (trace->left &&
           (got = ring_next(trace->view, side, trace->at[side], now.write, &packet)) == 1) {
        decode_packet(out, trace->layer, side, &packet, trace->hex);
        free(packet.copy);
        trace->left -= trace->left != UINT64_MAX;
        trace->at[side] = packet.offset + packet.bytes + HV_RING_TRAILER_BYTES;
        if (trace->at[side] >= trace->view->size_bytes)
            trace->at[side] -= trace->view->size_bytes;
    }
    if (got == -EPROTO) { /* the ring went round while nobody looked */
        trace->lost[side]++;
        trace->at[side] = now.write;
        (void)fprintf(out, "%s: packets were overwritten before they could be shown\n",
                      side_names[side]);
        got = 0;
    }
    return got < 0 ? got : 0;
}

int trace_look(FILE *out, struct trace *trace)
{
    int err = look_at(out, trace, RING_OUT);

    return err ? err : look_at(out, trace, RING_IN);
}
