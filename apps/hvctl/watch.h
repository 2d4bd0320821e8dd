/* SPDX-License-Identifier: BSD-3-Clause */
/* hvctl watch: what happened on each channel between two looks. */
#ifndef HVCTL_WATCH_H
#define HVCTL_WATCH_H

#include <stdio.h>

#include "devices.h"

/**
 * One report: rates since `before`, which may lack devices that have come, and the state now.
 * @header  Print the line of column names first (text only).
 */
void watch_print(FILE *out, const struct devices *before, const struct devices *now,
                 uint64_t elapsed_ns, const struct hv_guid *ids, size_t id_count, bool header);
/** The same as one line of JSON. */
int watch_print_json(FILE *out, const struct devices *before, const struct devices *now,
                     uint64_t elapsed_ns, const struct hv_guid *ids, size_t id_count);

#endif
