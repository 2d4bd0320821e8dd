/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/option.h"

static const char suffixes[] = "KMGT";

/** Shift of a suffix, 0 for none (end of text), -1 for what is none. */
static int suffix_shift(const char *suffix)
{
    const char *at;
    char upper = *suffix;

    if (!upper)
        return 0;
    if (upper >= 'a' && upper <= 'z')
        upper = (char)(upper - 'a' + 'A');
    at = strchr(suffixes, upper);
    return at && !suffix[1] ? 10 * (int)(at - suffixes + 1) : -1;
}

int hv_size_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_bytes, char *why)
{
    char low[HV_SIZE_TEXT_BYTES], high[HV_SIZE_TEXT_BYTES];
    uint64_t value = 0;
    const char *c = text;
    int overflow = 0, shift;

    for (; *c >= '0' && *c <= '9'; c++)
        overflow |= __builtin_mul_overflow(value, 10u, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value);
    shift = suffix_shift(c);
    if (c == text || shift < 0)
        return hv_option_fail(why,
                              "\"%s\" is no size; allowed: a number with at most one suffix "
                              "K, M, G or T (powers of 1024), e.g. 512M",
                              text);
    if (overflow || value > UINT64_MAX >> shift || value << shift < min || value << shift > max)
        return hv_option_fail(why, "%s is not allowed; allowed: %s to %s", text,
                              hv_size_text(min, low), hv_size_text(max, high));
    *ret_bytes = value << shift;
    return 0;
}

const char *hv_size_text(uint64_t bytes, char text[HV_SIZE_TEXT_BYTES])
{
    int i = -1;

    while (bytes && !(bytes & 1023) && suffixes[i + 1]) {
        bytes >>= 10;
        i++;
    }
    if (i < 0)
        (void)snprintf(text, HV_SIZE_TEXT_BYTES, "%" PRIu64, bytes);
    else
        (void)snprintf(text, HV_SIZE_TEXT_BYTES, "%" PRIu64 "%c", bytes, suffixes[i]);
    return text;
}
