/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_option.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/size.h"

#define SPEED_MAX   UINT64_C(400000000000)
#define SECTION_MIN 2048u
#define SECTION_MAX 65536u

static const uint32_t nvsp_versions[] = {0x60001, 0x60000, 0x50000, 0x40000, 0x20000, 0x10000, 0};

/** Next word in place: up to a single comma, doubled ones become one; *text is NULL behind the last. */
static char *next_word(char **text)
{
    char *in = *text, *out = in, *word = in;

    while (*in && (*in != ',' || in[1] == ',')) {
        if (*in == ',')
            in++;
        *out++ = *in++;
    }
    *text = *in ? in + 1 : NULL;
    *out = '\0';
    return word;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** `count` bytes of two digits each at *text, moved behind them. */
static bool take_bytes(const char **text, uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int high = hex((*text)[0]), low = high < 0 ? -1 : hex((*text)[1]);

        if (low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
        *text += 2;
    }
    return true;
}

static int set_mac(struct nic_option *o, const char *value, char *why)
{
    const char *at = value;
    uint8_t mac[6];
    bool ok = true;

    for (size_t i = 0; i < 6 && ok; i++)
        ok = take_bytes(&at, &mac[i], 1) && (i == 5 ? !*at : *at++ == ':');
    if (!ok || (mac[0] & 1) || !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]))
        return hv_option_fail(
            why, "\"%s\" is not allowed; allowed: XX:XX:XX:XX:XX:XX, no group address, not zero",
            value);
    memcpy(o->opts.mac, mac, sizeof(mac));
    return 0;
}

static int set_guid(struct nic_option *o, const char *value, char *why)
{
    static const uint8_t groups[] = {4, 2, 2, 2, 6};
    uint8_t b[16], *to = b;
    const char *at = value;
    bool ok = true;

    for (size_t i = 0; i < sizeof(groups) && ok; i++) {
        ok = take_bytes(&at, to, groups[i]) && (i + 1 == sizeof(groups) ? !*at : *at++ == '-');
        to += groups[i];
    }
    if (!ok)
        return hv_option_fail(
            why,
            "\"%s\" is not allowed; allowed: a GUID such as 12345678-1234-1234-1234-123456789abc",
            value);
    o->opts.instance_id = (struct hv_guid){{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8],
                                            b[9], b[10], b[11], b[12], b[13], b[14], b[15]}};
    return 0;
}

static int set_number16(uint16_t *to, const char *value, uint16_t min, uint16_t max, char *why)
{
    uint64_t n;
    int err = hv_option_number(value, min, max, &n, why);

    if (!err)
        *to = (uint16_t)n;
    return err;
}

static int set_queues(struct nic_option *o, const char *value, char *why)
{
    return set_number16(&o->opts.queues, value, 1, HV_NETVSP_QUEUES_MAX, why);
}

static int set_mtu(struct nic_option *o, const char *value, char *why)
{
    return set_number16(&o->opts.max_mtu, value, 1500, HV_NETVSP_MTU_MAX, why);
}

static int set_nvsp(struct nic_option *o, const char *value, char *why)
{
    int err = hv_option_version(value, 16, nvsp_versions, &o->opts.max_version, why);

    if (!err && o->opts.max_version == 0x10000) /* the numbers of the two oldest are odd ones */
        o->opts.max_version = 0x2;
    else if (!err && o->opts.max_version == 0x20000)
        o->opts.max_version = 0x30002;
    return err;
}

static int set_packets(struct nic_option *o, const char *value, char *why)
{
    uint64_t n;
    int err = hv_option_number(value, 1, HV_NETVSP_MESSAGE_MAX, &n, why);

    if (!err)
        o->opts.max_packets_per_message = (uint32_t)n;
    return err;
}

static int set_section(struct nic_option *o, const char *value, char *why)
{
    uint64_t n;
    int err = hv_size_parse(value, SECTION_MIN, SECTION_MAX, &n, why);

    if (!err && n % 64)
        return hv_option_fail(why, "\"%s\" is not allowed; allowed: multiples of 64", value);
    if (!err)
        o->opts.send_section_bytes = (uint32_t)n;
    return err;
}

static int set_offloads(struct nic_option *o, const char *value, char *why)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } names[] = {{"tx-csum", HV_NETVSP_OFF_TX_CSUM},
                 {"tso", HV_NETVSP_OFF_TSO},
                 {"rx-csum", HV_NETVSP_OFF_RX_CSUM},
                 {"vlan", HV_NETVSP_OFF_VLAN},
                 {"rss", HV_NETVSP_OFF_RSS}};
    const uint32_t all = HV_NETVSP_OFF_TX_CSUM | HV_NETVSP_OFF_TSO | HV_NETVSP_OFF_RX_CSUM |
                         HV_NETVSP_OFF_VLAN | HV_NETVSP_OFF_RSS;
    const char *at = value;
    uint32_t on = 0;

    if (!strcmp(value, "all") || !strcmp(value, "off")) {
        o->opts.offloads_off = value[0] == 'a' ? 0 : all;
        return 0;
    }
    for (;;) {
        size_t n = strcspn(at, "+"), i = 0;

        while (i < 5 && (strlen(names[i].name) != n || strncmp(names[i].name, at, n) != 0))
            i++;
        if (i == 5)
            return hv_option_fail(
                why,
                "\"%s\" is not allowed; allowed: all, off, or some of tx-csum+tso+rx-csum+vlan+rss",
                value);
        on |= names[i].bit;
        if (!at[n])
            break;
        at += n + 1;
    }
    o->opts.offloads_off = all & ~on;
    return 0;
}

static int set_speed(struct nic_option *o, const char *value, char *why)
{
    static const struct {
        char suffix;
        uint64_t factor;
    } units[] = {{'K', 1000}, {'M', 1000000}, {'G', 1000000000}};
    char number[24];
    size_t n = strlen(value);
    uint64_t factor = 1, v = 0;

    if (n && n < sizeof(number)) {
        memcpy(number, value, n + 1);
        for (size_t i = 0; i < 3; i++)
            if (number[n - 1] == units[i].suffix) {
                factor = units[i].factor;
                number[n - 1] = '\0';
                break;
            }
        if (!hv_option_number(number, 1, SPEED_MAX / factor, &v, why) && v * factor >= 1000000) {
            o->opts.link_bits_per_second = v * factor;
            return 0;
        }
    }
    return hv_option_fail(why, "\"%s\" is not allowed; allowed: 1M to 400G bit/s", value);
}

static int set_fault(struct nic_option *o, const char *value, char *why)
{
    _Static_assert(HV_NETVSP_WHY_BYTES <= HV_OPTION_WHY_BYTES, "sentence fits");
    o->opts.fault = value;
    return hv_netvsp_parse_fault(value, why);
}

static const struct {
    const char *key;
    int (*set)(struct nic_option *o, const char *value, char *why);
} keys[] = {
    {"mac=", set_mac},
    {"queues=", set_queues},
    {"mtu=", set_mtu},
    {"max-nvsp=", set_nvsp},
    {"packets-per-message=", set_packets},
    {"section=", set_section},
    {"offloads=", set_offloads},
    {"speed=", set_speed},
    {"guid=", set_guid},
    {"fault=", set_fault},
};

/** Words that the NIC does not know are the link's; there is room for all of them. */
static void add_to_link(struct nic_option *o, const char *word)
{
    size_t used = strlen(o->link), bytes = strlen(word) + 1;

    if (used)
        o->link[used++] = ',';
    memcpy(o->link + used, word, bytes);
}

static int take_word(struct nic_option *o, const char *word, char *why)
{
    if (!strcmp(word, "monitor")) {
        o->opts.monitored = true;
        return 0;
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!strncmp(word, keys[i].key, strlen(keys[i].key)))
            return keys[i].set(o, word + strlen(keys[i].key), why);
    add_to_link(o, word);
    return 0;
}

static int take_words(struct nic_option *o, char *rest, char *why)
{
    int err = 0;

    while (!err && rest)
        err = take_word(o, next_word(&rest), why);
    if (!err && !*o->link)
        err = hv_option_fail(why, "no link is named; allowed: tap:NAME, loop, pair:ID, "
                                  "source:BYTES, sink, pcap:IN[,OUT]");
    return err;
}

int nic_option_parse(const char *text, struct nic_option *ret_option, char *why)
{
    struct nic_option o = {.opts = HV_NETVSP_OPTS_INIT};
    char *words = strdup(text), *link = calloc(1, strlen(text) + 1);
    int err = -ENOMEM;

    o.link = link;
    if (words && link)
        err = take_words(&o, words, why);
    else
        (void)hv_option_fail(why, "out of memory");
    if (err) {
        free(words);
        free(link);
        return err;
    }
    o.words = words;
    o.opts.link = link;
    *ret_option = o;
    return 0;
}

void nic_option_fini(struct nic_option *option)
{
    free(option->words);
    free(option->link);
    option->words = option->link = NULL;
}

void nic_guid_text(const struct hv_guid *guid, char text[NIC_GUID_TEXT_BYTES])
{
    const uint8_t *b = guid->b;

    (void)snprintf(text, NIC_GUID_TEXT_BYTES,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[3],
                   b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
}

void nic_mac_text(const uint8_t mac[6], char text[NIC_MAC_TEXT_BYTES])
{
    (void)snprintf(text, NIC_MAC_TEXT_BYTES, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
                   mac[2], mac[3], mac[4], mac[5]);
}
