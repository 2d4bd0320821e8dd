/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire_fields.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>

#include "vector.h"

#define VECTOR_MAX_BYTES 4096

static void check_layout(const struct wire_layout *layout)
{
    _Alignas(8) static uint8_t want[VECTOR_MAX_BYTES + 8], got[VECTOR_MAX_BYTES + 8];
    struct wire_access access = {.vector = layout->vector};
    ssize_t bytes;

    memset(want, 0, sizeof(want));
    memset(got, 0, sizeof(got));
    bytes = hv_test_vector_load(layout->vector, want, VECTOR_MAX_BYTES);
    HV_CHECK_ROW(layout->vector, bytes == (ssize_t)layout->bytes);
    if (bytes != (ssize_t)layout->bytes)
        return;
    layout->fields(&access, want);
    access.writing = true;
    layout->fields(&access, got);
    HV_CHECK_ROW(layout->vector, !memcmp(want, got, sizeof(got)));
}

void wire_check_layouts(const struct wire_layout *layouts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_layout(&layouts[i]);
}

static bool has_layout(const char *file, const struct wire_layout *layouts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(layouts[i].vector);

        if (!strncmp(file, layouts[i].vector, length) && !strcmp(file + length, ".hex"))
            return true;
    }
    return false;
}

void wire_check_all_covered(const char *const *prefixes, const struct wire_layout *layouts,
                            size_t count)
{
    DIR *folder = opendir(HV_TEST_VECTOR_DIR);
    const struct dirent *entry;
    size_t found = 0;

    CU_ASSERT(folder != NULL);
    while (folder && (entry = readdir(folder)))
        for (const char *const *p = prefixes; *p; p++) {
            if (strncmp(entry->d_name, *p, strlen(*p)))
                continue;
            found++;
            HV_CHECK_ROW(entry->d_name, has_layout(entry->d_name, layouts, count));
        }
    CU_ASSERT(found == count);
    if (folder)
        (void)closedir(folder);
}
