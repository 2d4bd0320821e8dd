/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/disk_option.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/size.h"

#define DISK_MIN_BYTES 4096u
#define DISK_MAX_BYTES (UINT64_C(1) << 60)

const uint32_t hv_disk_option_versions[] = {0x0602, 0x0600, 0x0501, 0x0402, 0x0200, 0};

/** Next word in place: up to a single comma, doubled ones become one.  NULL at the end. */
static char *next_word(char **text)
{
    char *in = *text, *out = in, *word = in;

    if (!in)
        return NULL;
    while (*in && (*in != ',' || in[1] == ',')) {
        if (*in == ',')
            in++;
        *out++ = *in++;
    }
    *text = *in ? in + 1 : NULL;
    *out = '\0';
    return word;
}

static int parse_store(struct hv_disk_option *o, char *word, char *why)
{
    static const struct {
        const char *prefix;
        enum hv_disk_store store;
    } kinds[] = {{"mem:", HV_DISK_MEMORY}, {"null:", HV_DISK_NULL}};

    o->name = word;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (!strncmp(word, kinds[i].prefix, strlen(kinds[i].prefix))) {
            o->disk.store = kinds[i].store;
            return hv_size_parse(word + strlen(kinds[i].prefix), DISK_MIN_BYTES, DISK_MAX_BYTES,
                                 &o->disk.bytes, why);
        }
    if (!*word)
        return hv_option_fail(why,
                              "no disk is named; allowed: the path of an image or block device, "
                              "mem:SIZE or null:SIZE");
    o->disk.store = HV_DISK_FILE;
    o->disk.path = word;
    return 0;
}

static int set_size(struct hv_disk_option *o, const char *value, char *why)
{
    if (o->disk.store != HV_DISK_FILE)
        return hv_option_fail(why, "\"%s\" has its size already; size= is for files", o->name);
    return hv_size_parse(value, DISK_MIN_BYTES, DISK_MAX_BYTES, &o->disk.bytes, why);
}

static int set_block(struct hv_disk_option *o, const char *value, char *why)
{
    if (strcmp(value, "512") && strcmp(value, "4096"))
        return hv_option_fail(why, "\"%s\" is not allowed; allowed: 512, 4096", value);
    o->disk.block_bytes = value[0] == '5' ? 512 : 4096;
    return 0;
}

static int set_serial(struct hv_disk_option *o, const char *value, char *why)
{
    size_t n = strlen(value);

    for (const char *c = value; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            n = 0;
    if (!n || n > 64)
        return hv_option_fail(why, "\"%s\" is not allowed; allowed: 1 to 64 printable characters",
                              value);
    o->disk.serial = value;
    return 0;
}

/** A switch whose option field means "off". */
static int set_inverse(bool *ret_off, const char *value, char *why)
{
    int on, ret = hv_option_switch(value, &on, why);

    if (!ret)
        *ret_off = !on;
    return ret;
}

static int set_cache(struct hv_disk_option *o, const char *value, char *why)
{
    return set_inverse(&o->disk.no_write_cache, value, why);
}

static int set_thin(struct hv_disk_option *o, const char *value, char *why)
{
    return set_inverse(&o->disk.no_thin, value, why);
}

static int set_direct(struct hv_disk_option *o, const char *value, char *why)
{
    return set_inverse(&o->disk.buffered, value, why);
}

static int set_rotational(struct hv_disk_option *o, const char *value, char *why)
{
    int on, ret = hv_option_switch(value, &on, why);

    if (!ret)
        o->disk.rotational = on;
    return ret;
}

static int set_read_only(struct hv_disk_option *o, const char *value, char *why)
{
    (void)value;
    (void)why;
    o->disk.read_only = true;
    return 0;
}

static int set_lun(struct hv_disk_option *o, const char *value, char *why)
{
    uint64_t n;
    int ret = hv_option_number(value, 0, HV_DISK_OPTION_LUNS - 1, &n, why);

    if (!ret)
        o->lun = (int)n;
    return ret;
}

static int set_luns(struct hv_disk_option *o, const char *value, char *why)
{
    uint64_t n;
    int ret = hv_option_number(value, 1, HV_DISK_OPTION_LUNS, &n, why);

    if (!ret)
        o->luns = (uint16_t)n;
    return ret;
}

static int set_channels(struct hv_disk_option *o, const char *value, char *why)
{
    uint64_t n;
    int ret = hv_option_number(value, 1, HV_DISK_OPTION_CHANNELS, &n, why);

    if (!ret)
        o->channels = (uint16_t)n;
    return ret;
}

static int set_version(struct hv_disk_option *o, const char *value, char *why)
{
    uint32_t version;
    int ret = hv_option_version(value, 8, hv_disk_option_versions, &version, why);

    if (!ret)
        o->max_version = (uint16_t)version;
    return ret;
}

static int set_max_transfer(struct hv_disk_option *o, const char *value, char *why)
{
    uint64_t n;
    int ret = hv_size_parse(value, 4096, 8u << 20, &n, why);

    if (!ret)
        o->max_transfer_bytes = (uint32_t)n;
    return ret;
}

static int set_fault(struct hv_disk_option *o, const char *value, char *why)
{
    (void)why; /* the controller explains what it does not understand */
    o->fault = value;
    return 0;
}

#define ON_DISK    (1u << HV_DISK_OPTION_DISK)
#define ON_EMULATE (1u << HV_DISK_OPTION_EMULATE)
#define ON_BOTH    (ON_DISK | ON_EMULATE)

static const struct key {
    const char *name;
    unsigned where;
    bool bare; /* stands alone, without a value */
    int (*set)(struct hv_disk_option *o, const char *value, char *why);
} keys[] = {
    {"size", ON_BOTH, false, set_size},
    {"block", ON_BOTH, false, set_block},
    {"ro", ON_BOTH, true, set_read_only},
    {"serial", ON_BOTH, false, set_serial},
    {"cache", ON_BOTH, false, set_cache},
    {"thin", ON_BOTH, false, set_thin},
    {"direct", ON_BOTH, false, set_direct},
    {"rotational", ON_BOTH, false, set_rotational},
    {"lun", ON_DISK, false, set_lun},
    {"luns", ON_EMULATE, false, set_luns},
    {"channels", ON_EMULATE, false, set_channels},
    {"version", ON_EMULATE, false, set_version},
    {"max-transfer", ON_EMULATE, false, set_max_transfer},
    {"fault", ON_EMULATE, false, set_fault},
};
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

static int unknown_key(const char *word, unsigned where, char *why)
{
    char list[256] = "";
    size_t used = 0;

    for (size_t i = 0; i < KEY_COUNT && used < sizeof(list); i++)
        if (keys[i].where & where)
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s%s", used ? ", " : "",
                                     keys[i].name, keys[i].bare ? "" : "=");
    return hv_option_fail(why, "\"%s\" is not known; allowed after the disk: %s", word, list);
}

static int parse_key(struct hv_disk_option *o, unsigned where, char *word, uint32_t *seen,
                     char *why)
{
    char *value = strchr(word, '='), inner[HV_OPTION_WHY_BYTES];
    int ret;

    if (value)
        *value++ = '\0';
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct key *key = &keys[i];

        if (!(key->where & where) || strcmp(key->name, word))
            continue;
        if (*seen & 1u << i)
            return hv_option_fail(why, "%s is given twice", key->name);
        *seen |= 1u << i;
        if (key->bare && value)
            return hv_option_fail(why, "%s takes no value", key->name);
        if (!key->bare && (!value || !*value))
            return hv_option_fail(why, "%s needs a value: %s=...", key->name, key->name);
        ret = key->set(o, value, inner);
        if (ret)
            (void)hv_option_fail(why, "%s=%.400s", key->name, inner);
        return ret;
    }
    return unknown_key(word, where, why);
}

int hv_disk_option_parse(enum hv_disk_option_kind kind, const char *text,
                         struct hv_disk_option *ret_option, char *why)
{
    struct hv_disk_option o = {.disk = HV_DISK_OPTS_INIT, .lun = -1, .luns = 1};
    uint32_t seen = 0;
    char *words, *rest, *word;
    int ret;

    if (kind == HV_DISK_OPTION_EMULATE) {
        if (strncmp(text, "disk=", 5))
            return hv_option_fail(
                why, "\"%s\" is not allowed; allowed: disk=PATH|mem:SIZE|null:SIZE[,...]", text);
        text += 5;
    }
    words = strdup(text);
    if (!words) {
        (void)hv_option_fail(why, "out of memory");
        return -ENOMEM;
    }
    rest = words;
    ret = parse_store(&o, next_word(&rest), why);
    while (!ret && (word = next_word(&rest)))
        ret = parse_key(&o, 1u << kind, word, &seen, why);
    if (!ret && o.disk.store != HV_DISK_FILE && o.disk.buffered)
        ret = hv_option_fail(why, "direct=off is for files, not for \"%s\"", o.name);
    if (ret) {
        free(words);
        return ret;
    }
    o.words = words;
    *ret_option = o;
    return 0;
}

void hv_disk_option_fini(struct hv_disk_option *option)
{
    if (!option)
        return;
    free(option->words);
    option->words = NULL;
}
