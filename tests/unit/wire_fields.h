/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One list of fields per layout, used in both directions: reading, each field of the vector's bytes has the value in
 * the list; writing, a zeroed struct filled from the list is the vector, byte for byte.
 */
#ifndef HV_TEST_WIRE_FIELDS_H
#define HV_TEST_WIRE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "suite.h"

struct wire_access {
    const char *vector;
    bool writing;
};

#define FIELD(lvalue, value)                                                                       \
    do {                                                                                           \
        if (access->writing)                                                                       \
            (lvalue) = (value);                                                                    \
        else                                                                                       \
            HV_CHECK_ROW(access->vector, (lvalue) == (value));                                     \
    } while (0)

#define FIELD_BYTES(array, bytes, count)                                                           \
    do {                                                                                           \
        if (access->writing)                                                                       \
            memcpy((array), (bytes), (count));                                                     \
        else                                                                                       \
            HV_CHECK_ROW(access->vector, !memcmp((array), (bytes), (count)));                      \
    } while (0)

struct wire_layout {
    const char *vector;
    size_t bytes;
    void (*fields)(const struct wire_access *access, void *at);
};

/** Hold every layout against its vector. */
void wire_check_layouts(const struct wire_layout *layouts, size_t count);

/** Every file of tests/vectors with one of the prefixes (NULL-terminated) has a layout in the table. */
void wire_check_all_covered(const char *const *prefixes, const struct wire_layout *layouts,
                            size_t count);

#endif
