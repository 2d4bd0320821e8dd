/* SPDX-License-Identifier: BSD-3-Clause */
#include "vector.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
    uint8_t *at;
    size_t count, max;
};

static int put(struct bytes *out, uint8_t byte)
{
    if (out->count == out->max)
        return -ENOSPC;
    out->at[out->count++] = byte;
    return 0;
}

static int put_zeroes(struct bytes *out, const char *digits)
{
    char *end;
    unsigned long offset = strtoul(digits, &end, 16);
    int err = 0;

    if (end == digits || *end || offset < out->count)
        return -EINVAL;
    while (!err && out->count < offset)
        err = put(out, 0);
    return err;
}

static int put_word(struct bytes *out, const char *word)
{
    if (*word == '@')
        return put_zeroes(out, word + 1);
    if (strlen(word) != 2 || !isxdigit((unsigned char)word[0]) || !isxdigit((unsigned char)word[1]))
        return -EINVAL;
    return put(out, (uint8_t)strtoul(word, NULL, 16));
}

static int put_line(struct bytes *out, char *line)
{
    char *save, *word;
    int err = 0;

    line[strcspn(line, "#\n")] = '\0';
    for (word = strtok_r(line, " ", &save); word && !err; word = strtok_r(NULL, " ", &save))
        err = put_word(out, word);
    return err;
}

ssize_t hv_test_vector_load_file(const char *path, uint8_t *ret_bytes, size_t max)
{
    struct bytes out = {.at = ret_bytes, .max = max};
    FILE *file = fopen(path, "re");
    char line[256];
    int err = 0;

    if (!file)
        return -errno;
    while (!err && fgets(line, sizeof(line), file))
        err = put_line(&out, line);
    (void)fclose(file); /* only read from */
    return err ? err : (ssize_t)out.count;
}

ssize_t hv_test_vector_load(const char *name, uint8_t *ret_bytes, size_t max)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s.hex", HV_TEST_VECTOR_DIR, name);
    return hv_test_vector_load_file(path, ret_bytes, max);
}
