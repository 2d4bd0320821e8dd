/* SPDX-License-Identifier: BSD-3-Clause */
/* hvctl list: the devices as a tree, for people or as JSON. */
#ifndef HVCTL_LIST_H
#define HVCTL_LIST_H

#include <stdio.h>

#include "devices.h"

/** Only those of `ids`, or all when there are none. */
void list_print(FILE *out, const struct devices *devices, const struct hv_guid *ids,
                size_t id_count);
int list_print_json(FILE *out, const struct devices *devices, const struct hv_guid *ids,
                    size_t id_count);

/** "1.2 K of 2.0 M, 0 %"; "-" when it is not known. */
#define FILL_TEXT_BYTES 48
const char *list_fill_text(const struct ring_fill *fill, char text[FILL_TEXT_BYTES]);
/** True when `ids` is empty or has the device. */
bool list_is_wanted(const struct device *device, const struct hv_guid *ids, size_t id_count);

#endif
