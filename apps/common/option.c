/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/option.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int hv_option_fail(char *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, HV_OPTION_WHY_BYTES, format, args);
    va_end(args);
    return -EINVAL;
}

int hv_option_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value, char *why)
{
    uint64_t value = 0;
    const char *c = text;

    for (; *c >= '0' && *c <= '9'; c++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
            break;
    if (c == text || *c || value < min || value > max)
        return hv_option_fail(
            why, "\"%s\" is not allowed; allowed: a number from %" PRIu64 " to %" PRIu64, text, min,
            max);
    *ret_value = value;
    return 0;
}

int hv_option_switch(const char *text, int *ret_on, char *why)
{
    if (!strcmp(text, "on"))
        *ret_on = 1;
    else if (!strcmp(text, "off"))
        *ret_on = 0;
    else
        return hv_option_fail(why, "\"%s\" is not allowed; allowed: on, off", text);
    return 0;
}

int hv_option_version(const char *text, unsigned shift, const uint32_t *list, uint32_t *ret_version,
                      char *why)
{
    char allowed[128] = "";
    size_t used = 0;

    for (const uint32_t *v = list; *v; v++) {
        char one[24];

        (void)snprintf(one, sizeof(one), "%" PRIu32 ".%" PRIu32, *v >> shift,
                       *v & ((1u << shift) - 1));
        if (!strcmp(one, text)) {
            *ret_version = *v;
            return 0;
        }
        if (used < sizeof(allowed))
            used += (size_t)snprintf(allowed + used, sizeof(allowed) - used, "%s%s",
                                     used ? ", " : "", one);
    }
    return hv_option_fail(why, "\"%s\" is not allowed; allowed: %s", text, allowed);
}
