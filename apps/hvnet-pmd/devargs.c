/* SPDX-License-Identifier: BSD-3-Clause */
#include "devargs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024u
#define MIB (1024u * 1024u)

/* What max_nvsp may say; the numbers are those of NVSP's INIT message. */
static const struct {
    const char *text;
    uint32_t version;
} levels[] = {
    {"1", 0x00000002u}, {"2", 0x00030002u}, {"4", 0x00040000u},
    {"5", 0x00050000u}, {"6", 0x00060000u}, {"6.1", 0x00060001u},
};

static const struct number {
    const char *key;
    uint32_t min, max, unit;
    size_t offset; /* of an uint32_t */
} numbers[] = {
    {"ring", 64, 16384, KIB, offsetof(struct hvnet_devargs, ring_bytes)},
    {"rx_buffer", 1, 31, MIB, offsetof(struct hvnet_devargs, receive_bytes)},
    {"tx_buffer", 1, 31, MIB, offsetof(struct hvnet_devargs, send_bytes)},
    {"rx_copybreak", 0, 65535, 1, offsetof(struct hvnet_devargs, rx_copybreak)},
    {"tx_copybreak", 64, 65535, 1, offsetof(struct hvnet_devargs, tx_copybreak)},
    {"aggregate", 0, 64, 1, offsetof(struct hvnet_devargs, aggregate)},
    {"timeout", 100, 600000, 1, offsetof(struct hvnet_devargs, timeout_ms)},
};

static const char known[] = "queues, ring, rx_buffer, tx_buffer, rx_copybreak, tx_copybreak, "
                            "aggregate, max_nvsp, timeout";

const char *hvnet_nvsp_text(uint32_t version)
{
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (levels[i].version == version)
            return levels[i].text;
    return "?";
}

/** Decimal digits only, no sign, no unit. */
static int parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *ret_value)
{
    unsigned long value;
    char *end;

    if (*text < '0' || *text > '9')
        return -EINVAL;
    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno || *end || value < min || value > max)
        return -EINVAL;
    *ret_value = (uint32_t)value;
    return 0;
}

static int set_level(struct hvnet_devargs *args, const char *value, char why[HVNET_WHY_BYTES])
{
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (!strcmp(levels[i].text, value)) {
            args->max_nvsp = levels[i].version;
            return 0;
        }
    (void)snprintf(why, HVNET_WHY_BYTES, "max_nvsp=%.40s: allowed are 1, 2, 4, 5, 6, 6.1", value);
    return -EINVAL;
}

static int set_number(struct hvnet_devargs *args, const char *key, const char *value,
                      char why[HVNET_WHY_BYTES])
{
    uint32_t number = 0;

    if (!strcmp(key, "queues")) {
        if (parse_number(value, 1, HV_NETVSC_QUEUES_MAX, &number)) {
            (void)snprintf(why, HVNET_WHY_BYTES, "queues=%.40s: allowed are 1 to %d", value,
                           HV_NETVSC_QUEUES_MAX);
            return -EINVAL;
        }
        args->queues = (uint16_t)number;
        return 0;
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const struct number *n = &numbers[i];

        if (strcmp(key, n->key))
            continue;
        if (parse_number(value, n->min, n->max, &number)) {
            (void)snprintf(why, HVNET_WHY_BYTES, "%s=%.40s: allowed are %u to %u%s", key, value,
                           n->min, n->max,
                           n->unit == KIB   ? " KiB"
                           : n->unit == MIB ? " MiB"
                                            : "");
            return -EINVAL;
        }
        number *= n->unit;
        memcpy((char *)args + n->offset, &number, sizeof(number));
        return 0;
    }
    return -ENOENT;
}

static int set_address(struct hvnet_devargs *args, const char *value, char why[HVNET_WHY_BYTES])
{
    const char *path = strchr(value, ':');

    if (!path || !path[1] ||
        (strncmp(value, "unix:", 5) && strncmp(value, "uio:", 4) && strncmp(value, "fd:", 3))) {
        (void)snprintf(
            why, HVNET_WHY_BYTES,
            "addr=%.60s: allowed are unix:PATH[,INSTANCE], uio:INSTANCE, fd:N[,INSTANCE]", value);
        return -EINVAL;
    }
    if (strlen(value) >= sizeof(args->address)) {
        (void)snprintf(why, HVNET_WHY_BYTES, "addr=%.60s...: longer than the allowed %zu", value,
                       sizeof(args->address) - 1);
        return -EINVAL;
    }
    memcpy(args->address, value, strlen(value) + 1);
    return 0;
}

/** A word without '=' behind addr=unix:PATH is the instance, for that is how addresses are written everywhere. */
static int append_instance(struct hvnet_devargs *args, const char *word, char why[HVNET_WHY_BYTES])
{
    size_t used = strlen(args->address);
    struct hv_guid guid;

    if (!strncmp(args->address, "uio:", 4) || strchr(args->address, ',') ||
        hv_guid_parse(word, &guid) || used + 1 + strlen(word) >= sizeof(args->address)) {
        (void)snprintf(why, HVNET_WHY_BYTES, "\"%.60s\" is no argument; known are addr, %s", word,
                       known);
        return -EINVAL;
    }
    (void)snprintf(args->address + used, sizeof(args->address) - used, ",%s", word);
    return 0;
}

static int parse_word(struct hvnet_devargs *args, char *word, bool with_address, bool after_address,
                      char why[HVNET_WHY_BYTES])
{
    char *value = strchr(word, '=');
    int err;

    if (!value) {
        if (with_address && after_address)
            return append_instance(args, word, why);
        (void)snprintf(why, HVNET_WHY_BYTES, "\"%.60s\" is no KEY=VALUE", word);
        return -EINVAL;
    }
    *value++ = '\0';
    if (with_address && !strcmp(word, "addr"))
        return set_address(args, value, why);
    if (!strcmp(word, "max_nvsp"))
        return set_level(args, value, why);
    err = set_number(args, word, value, why);
    if (err == -ENOENT) {
        (void)snprintf(why, HVNET_WHY_BYTES, "unknown argument \"%.40s\"; known are %s%s", word,
                       with_address ? "addr, " : "", known);
        err = -EINVAL;
    }
    return err;
}

int hvnet_devargs_parse(const char *args, const char *bus_address, struct hvnet_devargs *ret_args,
                        char why[HVNET_WHY_BYTES])
{
    struct hvnet_devargs out = {
        .queues = HV_NETVSC_QUEUES_MAX,
        .rx_copybreak = 256,
        .tx_copybreak = 2048,
    };
    char *copy = strdup(args ? args : ""), *rest = copy, *word;
    bool after_address = false;
    int err = 0;

    if (!copy) {
        (void)snprintf(why, HVNET_WHY_BYTES, "out of memory");
        return -ENOMEM;
    }
    if (bus_address)
        err = set_address(&out, bus_address, why);
    while (!err && (word = strsep(&rest, ",")) != NULL) {
        if (!*word)
            continue;
        err = parse_word(&out, word, !bus_address, after_address, why);
        after_address = !strcmp(word, "addr");
    }
    free(copy);
    if (!err && !out.address[0]) {
        (void)snprintf(why, HVNET_WHY_BYTES,
                       "addr is missing: addr=unix:PATH[,INSTANCE] names the host");
        err = -EINVAL;
    }
    if (!err)
        *ret_args = out;
    return err;
}

void hvnet_devargs_to_opts(const struct hvnet_devargs *args, struct hv_netvsc_opts *opts)
{
    opts->max_version = args->max_nvsp;
    opts->max_queues = args->queues;
    opts->ring_bytes = args->ring_bytes;
    opts->receive_bytes = args->receive_bytes;
    opts->send_bytes = args->send_bytes;
    opts->tx_copy_bytes = args->tx_copybreak;
    opts->aggregate_packets = args->aggregate;
    opts->timeout_ms = args->timeout_ms;
}
