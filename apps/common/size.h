/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes as people write them: 4096, 64K, 1G; suffixes K M G T are powers of 1024. */
#ifndef HV_APP_SIZE_H
#define HV_APP_SIZE_H

#include <stdint.h>

/**
 * @why  At least HV_OPTION_WHY_BYTES (common/option.h).
 * Returns 0 or -EINVAL: not a number with at most one suffix, beyond 64 bits, below min or above max.
 */
int hv_size_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_bytes, char *why);

/** Shortest exact form ("1G", "4097"); into text[24]. */
#define HV_SIZE_TEXT_BYTES 24
const char *hv_size_text(uint64_t bytes, char text[HV_SIZE_TEXT_BYTES]);

#endif
