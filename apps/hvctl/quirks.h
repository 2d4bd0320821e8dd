/* SPDX-License-Identifier: BSD-3-Clause */
/* What is known of uio_hv_generic and VMBus in kernels by their numbers.  Sources: docs/uio.md, "Kernels". */
#ifndef HVCTL_QUIRKS_H
#define HVCTL_QUIRKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quirk {
    const char *name; /* one word, for scripts */
    bool (*applies)(uint32_t kernel);
    bool danger; /* it can take the machine down */
    const char *what;
    const char *todo;
};

extern const struct quirk quirks[];
extern const size_t quirk_count;

#endif
