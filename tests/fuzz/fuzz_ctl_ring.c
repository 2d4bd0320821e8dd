/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvctl's view of a ring, as a hostile host or guest fills it.  Input: layer and side, write index, read index (4 bytes
 * each, taken as multiples of 8 within twice the ring), then the data area, repeated to its end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"

#define DATA_BYTES 4096u
#define HEAD_BYTES 9u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void look(const struct ring_view *view, enum class_layer layer, uint32_t start)
{
    FILE *out = fopen("/dev/null", "we");
    struct trace trace;

    if (!out)
        abort();
    (void)trace_dump(out, view, layer, 64, true);
    if (!trace_begin(view, &trace)) {
        trace.layer = layer;
        trace.at[RING_OUT] = start % DATA_BYTES & ~7u; /* as if the indexes had moved meanwhile */
        (void)trace_look(out, &trace);
    }
    (void)fclose(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct hv_ring_control control[RING_SIDES];
    struct ring_view view = {.size_bytes = DATA_BYTES};
    uint32_t write, read;
    uint8_t *area;

    if (bytes <= HEAD_BYTES)
        return 0;
    area = malloc(DATA_BYTES); /* of exact size: what reads beyond it is seen */
    if (!area)
        return 0;
    for (size_t at = 0; at < DATA_BYTES; at++)
        area[at] = data[HEAD_BYTES + at % (bytes - HEAD_BYTES)];
    memcpy(&write, data + 1, sizeof(write));
    memcpy(&read, data + 5, sizeof(read));
    for (unsigned side = 0; side < RING_SIDES; side++) {
        view.control[side] = &control[side];
        view.data[side] = area;
        atomic_store(&control[side].write_index, write % (2 * DATA_BYTES) & ~7u);
        atomic_store(&control[side].read_index, side ? 0 : read % (2 * DATA_BYTES) & ~7u);
    }
    look(&view, (enum class_layer)(data[0] % 3), read);
    free(area);
    return 0;
}
