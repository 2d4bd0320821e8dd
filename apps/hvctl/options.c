/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/option.h"

static const char help[] =
    "Usage: hvctl COMMAND [options] [GUID ...]\n"
    "\n"
    "Looks at the VMBus devices of this machine, and moves them between the kernel and user "
    "space.\n"
    "A device is named by its instance GUID, as `hvctl list` shows it.\n"
    "\n"
    "  list [GUID ...]       devices with driver, state, channels, ring fill\n"
    "  bind GUID ...         give devices to uio_hv_generic, for hvblk-daemon and hvnet-pmd\n"
    "  unbind GUID ...       give them back to the kernel's driver\n"
    "  info                  Hyper-V, this kernel's known faults, memory, permissions; what to do\n"
    "  watch [GUID ...]      interrupts, signals and ring fill, live\n"
    "  ring dump GUID        last packets of a channel that a program has open\n"
    "  trace GUID            the same, as they come; never changes the ring\n"
    "\n"
    "  --json                list, info, watch: JSON\n"
    "  --force               bind: also what holds / or swap, or the default route\n"
    "                        unbind: also while a program has it open\n"
    "  --interval SECONDS    watch: between two reports, 0.1 to 3600 (default 1)\n"
    "  --count N             watch: reports, trace: packets (default 0: for ever)\n"
    "                        ring dump: packets of each ring (default 16)\n"
    "  --channel N           ring dump, trace: sub-channel N (default 0, the primary)\n"
    "  --hex                 ring dump, trace: payloads in hexadecimal, too\n"
    "  --help, --version\n"
    "\n"
    "Examples:\n"
    "  hvctl info\n"
    "  hvctl bind f8615163-0001-1000-2000-00155d4edc44\n"
    "  hvctl watch --interval 0.5 --count 20\n"
    "  hvctl ring dump f8615163-0001-1000-2000-00155d4edc44 --count 4\n"
    "  hvctl unbind f8615163-0001-1000-2000-00155d4edc44\n"
    "\n"
    "Exit: 0 done (info: Hyper-V is there), 1 something failed or was refused, 2 wrong options.\n";

enum {
    OPT_JSON = 256,
    OPT_FORCE,
    OPT_INTERVAL,
    OPT_COUNT,
    OPT_CHANNEL,
    OPT_HEX,
    OPT_ROOT,
    OPT_HELP,
    OPT_VERSION,
};

#define FOR(command) (1u << (command))

static const struct option long_options[] = {
    {"json", no_argument, NULL, OPT_JSON},
    {"force", no_argument, NULL, OPT_FORCE},
    {"interval", required_argument, NULL, OPT_INTERVAL},
    {"count", required_argument, NULL, OPT_COUNT},
    {"channel", required_argument, NULL, OPT_CHANNEL},
    {"hex", no_argument, NULL, OPT_HEX},
    {"root", required_argument, NULL, OPT_ROOT}, /* a recorded tree, for tests */
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static const struct {
    const char *name;
    enum command command;
    size_t min_ids, max_ids;
} commands[] = {
    {"list", COMMAND_LIST, 0, SIZE_MAX},     {"bind", COMMAND_BIND, 1, SIZE_MAX},
    {"unbind", COMMAND_UNBIND, 1, SIZE_MAX}, {"info", COMMAND_INFO, 0, 0},
    {"watch", COMMAND_WATCH, 0, SIZE_MAX},   {"ring", COMMAND_RING_DUMP, 1, 1},
    {"trace", COMMAND_TRACE, 1, 1},
};

static unsigned allowed_for(int option)
{
    switch (option) {
    case OPT_JSON:
        return FOR(COMMAND_LIST) | FOR(COMMAND_INFO) | FOR(COMMAND_WATCH);
    case OPT_FORCE:
        return FOR(COMMAND_BIND) | FOR(COMMAND_UNBIND);
    case OPT_INTERVAL:
        return FOR(COMMAND_WATCH);
    case OPT_COUNT:
        return FOR(COMMAND_WATCH) | FOR(COMMAND_RING_DUMP) | FOR(COMMAND_TRACE);
    case OPT_CHANNEL:
    case OPT_HEX:
        return FOR(COMMAND_RING_DUMP) | FOR(COMMAND_TRACE);
    default:
        return UINT_MAX;
    }
}

static enum options_result wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static enum options_result wrong(const char *format, ...)
{
    char why[HV_OPTION_WHY_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    (void)fprintf(stderr, "hvctl: %s; see hvctl --help\n", why);
    return OPTIONS_WRONG;
}

/** Seconds with up to three decimals, as milliseconds. */
static int take_interval(const char *value, uint32_t *ret_ms, char *why)
{
    const char *dot = strchr(value, '.');
    size_t decimals = dot ? strlen(dot + 1) : 0;
    char digits[16];
    uint64_t ms;

    if (decimals <= 3 && (!dot || (dot != value && decimals)) &&
        (size_t)snprintf(digits, sizeof(digits), "%.*s%s%.*s", dot ? (int)(dot - value) : 9, value,
                         dot ? dot + 1 : "", 3 - (int)decimals, "000") < sizeof(digits) &&
        !hv_option_number(digits, 100, 3600000, &ms, why)) {
        *ret_ms = (uint32_t)ms;
        return 0;
    }
    return hv_option_fail(why, "\"%s\" is not allowed; allowed: seconds from 0.1 to 3600", value);
}

static int take(struct options *o, int option, const char *value, char *why)
{
    uint64_t number = 0;
    int err;

    switch (option) {
    case OPT_INTERVAL:
        return take_interval(value, &o->interval_ms, why);
    case OPT_COUNT:
        return hv_option_number(value, 0, UINT32_MAX, &o->count, why);
    case OPT_CHANNEL:
        err = hv_option_number(value, 0, UINT16_MAX, &number, why);
        o->channel = (uint32_t)number;
        return err;
    default: /* OPT_ROOT */
        o->root = value;
        return 0;
    }
}

static enum options_result take_one(struct options *o, int option, const char *name,
                                    const char *value)
{
    char why[HV_OPTION_WHY_BYTES];

    switch (option) {
    case OPT_HELP:
        (void)fputs(help, stdout);
        return OPTIONS_DONE;
    case OPT_VERSION:
        (void)puts("hvctl " HV_VERSION_TEXT);
        return OPTIONS_DONE;
    case OPT_JSON:
        o->json = true;
        break;
    case OPT_FORCE:
        o->force = true;
        break;
    case OPT_HEX:
        o->hex = true;
        break;
    default:
        if (take(o, option, value, why)) {
            (void)fprintf(stderr, "hvctl: --%s %s: %s\n", name, value, why);
            return OPTIONS_WRONG;
        }
    }
    return OPTIONS_RUN;
}

static enum options_result take_ids(struct options *o, size_t command, char **words, int count)
{
    if ((size_t)count < commands[command].min_ids)
        return wrong("%s: which device?  its instance GUID is missing", commands[command].name);
    if ((size_t)count > commands[command].max_ids)
        return wrong("%s: \"%s\" is too much", commands[command].name,
                     words[commands[command].max_ids]);
    if (!count)
        return OPTIONS_RUN;
    o->ids = calloc((size_t)count, sizeof(*o->ids));
    if (!o->ids)
        return wrong("out of memory");
    for (int i = 0; i < count; i++)
        if (hv_guid_parse(words[i], &o->ids[o->id_count++]))
            return wrong("\"%s\" is no GUID", words[i]);
    return OPTIONS_RUN;
}

static enum options_result take_words(struct options *o, char **words, int count, unsigned given)
{
    size_t i = 0;

    if (!count)
        return wrong("a command is missing: list, bind, unbind, info, watch, ring dump or trace");
    while (i < sizeof(commands) / sizeof(commands[0]) && strcmp(words[0], commands[i].name))
        i++;
    if (i == sizeof(commands) / sizeof(commands[0]))
        return wrong("\"%s\" is no command", words[0]);
    o->command = commands[i].command;
    if (o->command == COMMAND_RING_DUMP) {
        if (count < 2 || strcmp(words[1], "dump"))
            return wrong("ring: the only thing to do with it is: ring dump GUID");
        words++;
        count--;
        if (!(given & 1u << (OPT_COUNT - OPT_JSON)))
            o->count = 16;
    }
    for (int option = OPT_JSON; option < OPT_ROOT; option++)
        if (given & 1u << (option - OPT_JSON) && !(allowed_for(option) & FOR(o->command)))
            return wrong("--%s is not for %s", long_options[option - OPT_JSON].name,
                         commands[i].name);
    return take_ids(o, i, words + 1, count - 1);
}

enum options_result options_parse(int argc, char **argv, struct options *ret_options)
{
    struct options *o = ret_options;
    enum options_result result;
    int option, index = -1;
    unsigned given = 0; /* bit: option */

    *o = (struct options){.root = "", .interval_ms = 1000};
    opterr = 0;
    optind = 0; /* tests parse more than once */
    while ((option = getopt_long(argc, argv, ":", long_options, &index)) != -1) {
        if (option == ':')
            return wrong("%s needs a value", argv[optind - 1]);
        if (option == '?')
            return wrong("%s is not known", argv[optind - 1]);
        given |= 1u << (option - OPT_JSON);
        result = take_one(o, option, long_options[index].name, optarg);
        if (result != OPTIONS_RUN)
            return result;
    }
    return take_words(o, argv + optind, argc - optind, given);
}

void options_fini(struct options *options)
{
    free(options->ids);
    options->ids = NULL;
    options->id_count = 0;
}
