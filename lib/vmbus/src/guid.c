/* SPDX-License-Identifier: BSD-3-Clause */
#include <hv/vmbus.h>

#include <errno.h>
#include <string.h>

/** Which byte on the wire each pair of hexadecimal digits is: the first three groups are little-endian. */
static const uint8_t byte_of_pair[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

/** A dash stands before these pairs. */
static bool dash_before(size_t pair)
{
    return pair == 4 || pair == 6 || pair == 8 || pair == 10;
}

void hv_guid_format(const struct hv_guid *guid, char text[HV_GUID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t pair = 0; pair < 16; pair++) {
        uint8_t byte = guid->b[byte_of_pair[pair]];

        if (dash_before(pair))
            *text++ = '-';
        *text++ = digits[byte >> 4];
        *text++ = digits[byte & 15];
    }
    *text = '\0';
}

/** -1 for anything else, the final NUL too. */
static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hv_guid_parse(const char *text, struct hv_guid *ret_guid)
{
    struct hv_guid guid;
    bool braces;

    if (!text)
        return -EINVAL;
    braces = *text == '{';
    text += braces;
    for (size_t pair = 0; pair < 16; pair++) {
        int high, low;

        if (dash_before(pair) && *text++ != '-')
            return -EINVAL;
        high = digit_value(text[0]);
        if (high < 0)
            return -EINVAL;
        low = digit_value(text[1]);
        if (low < 0)
            return -EINVAL;
        guid.b[byte_of_pair[pair]] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (braces && *text++ != '}')
        return -EINVAL;
    if (*text)
        return -EINVAL;
    *ret_guid = guid;
    return 0;
}

bool hv_guid_equal(const struct hv_guid *a, const struct hv_guid *b)
{
    return !memcmp(a, b, sizeof(*a));
}
