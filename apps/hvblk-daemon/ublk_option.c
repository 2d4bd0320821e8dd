/* SPDX-License-Identifier: BSD-3-Clause */
#include "ublk_option.h"

#include <errno.h>
#include <string.h>

#include "buffer.h"
#include "common/option.h"
#include "common/size.h"

#define WORD_BYTES 64u

bool ublk_option_is(const char *text)
{
    return !strncmp(text, "ublk", 4) && (!text[4] || text[4] == ':' || text[4] == ',');
}

static int set_lun(struct ublk_option *o, const char *value, char *why)
{
    if (!*value || strlen(value) >= sizeof(o->lun))
        return hv_option_fail(why, "\"%s\" is no name of a disk; allowed: lunN, or as exported",
                              value);
    memcpy(o->lun, value, strlen(value) + 1);
    return 0;
}

static int set_depth(struct ublk_option *o, const char *value, char *why)
{
    uint64_t n;
    int ret = hv_option_number(value, 1, UBLK_DEPTH_MAX, &n, why);

    if (!ret)
        o->depth = (uint16_t)n;
    return ret;
}

static int set_max_io(struct ublk_option *o, const char *value, char *why)
{
    uint64_t n;
    int ret =
        hv_size_parse(value, BUFFER_MIN_BYTES, BUFFER_PER_REQUEST * BUFFER_SLAB_BYTES, &n, why);

    if (!ret && n % BUFFER_MIN_BYTES)
        ret = hv_option_fail(why, "\"%s\" is not allowed; allowed: multiples of 4K", value);
    if (!ret)
        o->max_io_bytes = (uint32_t)n;
    return ret;
}

static int choose(const char *const *names, unsigned count, const char *value, unsigned *ret_index,
                  char *why)
{
    char list[96] = "";

    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(names[i], value)) {
            *ret_index = i;
            return 0;
        }
        (void)strncat(list, i ? ", " : "", sizeof(list) - strlen(list) - 1);
        (void)strncat(list, names[i], sizeof(list) - strlen(list) - 1);
    }
    return hv_option_fail(why, "\"%s\" is not allowed; allowed: %s", value, list);
}

static int set_recovery(struct ublk_option *o, const char *value, char *why)
{
    static const char *const names[] = {
        [UBLK_RECOVERY_REISSUE] = "reissue",
        [UBLK_RECOVERY_WAIT] = "wait",
        [UBLK_RECOVERY_FAIL] = "fail",
        [UBLK_RECOVERY_NONE] = "none",
    };
    unsigned index = 0;
    int ret = choose(names, 4, value, &index, why);

    if (!ret)
        o->recovery = (enum ublk_recovery)index;
    return ret;
}

static int set_copy(struct ublk_option *o, const char *value, char *why)
{
    static const char *const names[] = {"kernel", "user"};
    unsigned index = 0;
    int ret = choose(names, 2, value, &index, why);

    if (!ret)
        o->user_copy = index == 1;
    return ret;
}

static const struct key {
    const char *name;
    int (*set)(struct ublk_option *o, const char *value, char *why);
} keys[] = {
    {"lun", set_lun},           {"depth", set_depth}, {"max-io", set_max_io},
    {"recovery", set_recovery}, {"copy", set_copy},
};
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

static int set_word(struct ublk_option *o, char *word, uint32_t *seen, char *why)
{
    char *value = strchr(word, '='), inner[HV_OPTION_WHY_BYTES];

    if (value)
        *value++ = '\0';
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (strcmp(keys[i].name, word))
            continue;
        if (!value)
            return hv_option_fail(why, "%s: needs a value", word);
        if (*seen & 1u << i)
            return hv_option_fail(why, "%s: given twice", word);
        *seen |= 1u << i;
        if (keys[i].set(o, value, inner))
            return hv_option_fail(why, "%s: %.400s", word, inner);
        return 0;
    }
    return hv_option_fail(
        why,
        "\"%s\" is not known; allowed after ublk: lun=, depth=, max-io=, recovery=, copy=", word);
}

/** What the kernel's copy cannot do: it wants one piece of memory for each request. */
static int check_whole(const struct ublk_option *o, char *why)
{
    if (!o->user_copy && o->max_io_bytes > BUFFER_SLAB_BYTES)
        return hv_option_fail(why, "max-io: more than 1M needs copy=user");
    return 0;
}

int ublk_option_parse(const char *text, struct ublk_option *ret_option, char *why)
{
    struct ublk_option option = {.depth = UBLK_DEPTH_DEFAULT, .max_io_bytes = UBLK_IO_DEFAULT};
    const char *at = text + 4;
    uint32_t seen = 0;
    uint64_t id = 0;

    while (*at) {
        bool first = *at == ':';
        size_t bytes = strcspn(++at, ",");
        char word[WORD_BYTES];
        int ret;

        if (bytes >= sizeof(word))
            return hv_option_fail(why, "\"%.80s\" is too long", at);
        memcpy(word, at, bytes);
        word[bytes] = '\0';
        if (first)
            ret = hv_option_number(word, 0, UBLK_ID_MAX, &id, why);
        else
            ret = set_word(&option, word, &seen, why);
        if (ret)
            return ret;
        option.given_id |= first;
        at += bytes;
    }
    option.id = (uint32_t)id;
    if (check_whole(&option, why))
        return -EINVAL;
    *ret_option = option;
    return 0;
}

uint64_t ublk_option_bytes(const struct ublk_option *option)
{
    uint64_t each = BUFFER_MIN_BYTES, slabs;

    if (option->user_copy)
        return 0;
    while (each < option->max_io_bytes)
        each *= 2;
    slabs = (option->depth * each + BUFFER_SLAB_BYTES - 1) / BUFFER_SLAB_BYTES;
    return slabs * BUFFER_SLAB_BYTES;
}
