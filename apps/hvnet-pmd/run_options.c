/* SPDX-License-Identifier: BSD-3-Clause */
#include "runner.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devargs.h"

static const char help[] =
    "Usage: hvnet-pmd --cores LIST --port ADDR[,KEY=VALUE...] [--port ...] [options]\n"
    "\n"
    "Forwards, receives or sends packets through VMBus network devices, with one polling loop a "
    "core.\n"
    "\n"
    "  --cores LIST         CPUs that run loops: 1,2-3\n"
    "  --port ADDR[,ARGS]   unix:PATH[,INSTANCE] (an hv-host), uio:INSTANCE (a device of "
    "Hyper-V);\n"
    "                       ARGS: queues=1-64 ring=64-16384 (KiB) rx_buffer=1-31 (MiB)\n"
    "                       tx_buffer=1-31 (MiB) rx_copybreak=0-65535 tx_copybreak=64-65535\n"
    "                       aggregate=0-64 max_nvsp=1|2|4|5|6|6.1 timeout=100-600000 (ms)\n"
    "  --emulate LINK       a port on an emulated host inside this process: loop, sink, "
    "source:BYTES,\n"
    "                       pair:ID, tap:NAME, pcap:IN[,OUT]\n"
    "\n"
    "What to do:\n"
    "  --mode MODE          io        every frame goes back where it came from (default)\n"
    "                       mac-swap  the same with source and destination address exchanged\n"
    "                       l2fwd     between ports 0 and 1, 2 and 3 ..., unchanged\n"
    "                       rxonly    receive and drop\n"
    "                       txonly    send UDP packets, many flows\n"
    "  --size BYTES         of frames that txonly sends, 60 to 9014 (default 64)\n"
    "  --queues N           of each port, 1 to 64 (default: one for each core)\n"
    "  --burst N            frames at a time, 1 to 64 (default 32)\n"
    "  --mtu BYTES          68 to 9000 (default: the device's)\n"
    "  --promiscuous        receive what is for others, too\n"
    "  --pcap FILE          write received frames into FILE; what the disk is too slow for is "
    "counted\n"
    "  --snap BYTES         of each of those frames, 64 to 65535 (default 65535)\n"
    "\n"
    "Running:\n"
    "  --duration SECONDS   end by itself, 1 to 86400\n"
    "  --interval MS        between status lines, 100 to 60000; 0 none (default 1000)\n"
    "  --json               one JSON object a line\n"
    "  --memory MIB         for frames and rings, 64 to 65536 (default 256)\n"
    "  --no-huge            do not look for huge pages\n"
    "  --log-level LEVEL    error, warning, notice (default), info, debug\n"
    "  --help, --version\n"
    "\n"
    "Examples:\n"
    "  hvnet-pmd --cores 1 --port unix:/run/hv.sock --mode mac-swap\n"
    "  hvnet-pmd --cores 1-2 --port uio:f8b3781a-1e82-4818-a1c3-63d806ec15bb,queues=2 --mode "
    "rxonly \\\n"
    "      --pcap in.pcap --duration 60\n"
    "  hvnet-pmd --cores 1 --emulate loop --mode txonly --duration 5\n"
    "\n"
    "SIGINT and SIGTERM end it in order.  Exit: 0 ended in order, 1 something failed (or every "
    "device\n"
    "was taken away), 2 wrong options.  dpdk-testpmd uses the same driver: hvnet-pmd(8).\n";

enum {
    OPT_CORES = 256,
    OPT_PORT,
    OPT_EMULATE,
    OPT_MODE,
    OPT_SIZE,
    OPT_QUEUES,
    OPT_BURST,
    OPT_MTU,
    OPT_PROMISCUOUS,
    OPT_PCAP,
    OPT_SNAP,
    OPT_DURATION,
    OPT_INTERVAL,
    OPT_JSON,
    OPT_MEMORY,
    OPT_NO_HUGE,
    OPT_LOG_LEVEL,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option words[] = {
    {"cores", required_argument, NULL, OPT_CORES},
    {"port", required_argument, NULL, OPT_PORT},
    {"emulate", required_argument, NULL, OPT_EMULATE},
    {"mode", required_argument, NULL, OPT_MODE},
    {"size", required_argument, NULL, OPT_SIZE},
    {"queues", required_argument, NULL, OPT_QUEUES},
    {"burst", required_argument, NULL, OPT_BURST},
    {"mtu", required_argument, NULL, OPT_MTU},
    {"promiscuous", no_argument, NULL, OPT_PROMISCUOUS},
    {"pcap", required_argument, NULL, OPT_PCAP},
    {"snap", required_argument, NULL, OPT_SNAP},
    {"duration", required_argument, NULL, OPT_DURATION},
    {"interval", required_argument, NULL, OPT_INTERVAL},
    {"json", no_argument, NULL, OPT_JSON},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"no-huge", no_argument, NULL, OPT_NO_HUGE},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static int set_mode(struct run_options *o, const char *value, char *why)
{
    static const char *const modes[] = {
        [RUN_IO] = "io",         [RUN_MAC_SWAP] = "mac-swap", [RUN_L2FWD] = "l2fwd",
        [RUN_RXONLY] = "rxonly", [RUN_TXONLY] = "txonly",
    };

    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (!strcmp(modes[i], value)) {
            o->mode = (enum run_mode)i;
            o->mode_text = modes[i];
            return 0;
        }
    return hv_option_fail(
        why, "\"%s\" is not allowed; allowed: io, mac-swap, l2fwd, rxonly, txonly", value);
}

static int set_log_level(struct run_options *o, const char *value, char *why)
{
    /* numbers as in syslog, which DPDK counts from 1 */
    static const struct {
        const char *text;
        unsigned level;
    } levels[] = {{"error", 4}, {"warning", 5}, {"notice", 6}, {"info", 7}, {"debug", 8}};

    for (unsigned i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (!strcmp(levels[i].text, value)) {
            o->log_level = levels[i].level;
            return 0;
        }
    return hv_option_fail(
        why, "\"%s\" is not allowed; allowed: error, warning, notice, info, debug", value);
}

static int set_port(struct run_options *o, const char *value, char *why)
{
    char args[512], reason[HVNET_WHY_BYTES];
    struct hvnet_devargs parsed;

    if (o->port_count + o->link_count == RUN_PORTS_MAX)
        return hv_option_fail(why, "more than %d ports", RUN_PORTS_MAX);
    if (snprintf(args, sizeof(args), "addr=%s", value) >= (int)sizeof(args))
        return hv_option_fail(why, "longer than %zu", sizeof(args));
    if (hvnet_devargs_parse(args, NULL, &parsed, reason))
        return hv_option_fail(why, "%s", reason);
    o->ports[o->port_count++] = value;
    return 0;
}

static int set_link(struct run_options *o, const char *value, char *why)
{
    if (o->port_count + o->link_count == RUN_PORTS_MAX)
        return hv_option_fail(why, "more than %d ports", RUN_PORTS_MAX);
    o->links[o->link_count++] = value;
    return 0;
}

static const struct number {
    int option;
    uint64_t min, max;
    size_t offset, bytes;
} numbers[] = {
#define NUMBER(option, min, max, member)                                                           \
    {                                                                                              \
        option, min, max, offsetof(struct run_options, member),                                    \
            sizeof(((struct run_options *)0)->member)                                              \
    }
    NUMBER(OPT_SIZE, 60, 9014, frame_bytes),    NUMBER(OPT_QUEUES, 1, RUN_QUEUES_MAX, queues),
    NUMBER(OPT_BURST, 1, RUN_BURST_MAX, burst), NUMBER(OPT_MTU, 68, 9000, mtu),
    NUMBER(OPT_SNAP, 64, 65535, snap_bytes),    NUMBER(OPT_DURATION, 1, 86400, duration_s),
    NUMBER(OPT_MEMORY, 64, 65536, memory_mib),
};

static int set_interval(struct run_options *o, const char *value, char *why)
{
    uint64_t n = 0;
    int err = hv_option_number(value, 0, 60000, &n, why);

    if (!err && n && n < 100)
        err = hv_option_fail(why, "\"%s\" is not allowed; allowed: 0, or 100 to 60000", value);
    if (!err)
        o->interval_ms = (uint32_t)n;
    return err;
}

static int set_number(struct run_options *o, int option, const char *value, char *why)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const struct number *n = &numbers[i];
        uint64_t wide = 0;
        uint16_t narrow;
        int err;

        if (n->option != option)
            continue;
        err = hv_option_number(value, n->min, n->max, &wide, why);
        if (err)
            return err;
        narrow = (uint16_t)wide;
        if (n->bytes == sizeof(narrow))
            memcpy((char *)o + n->offset, &narrow, sizeof(narrow));
        else
            memcpy((char *)o + n->offset, &(uint32_t){(uint32_t)wide}, sizeof(uint32_t));
        return 0;
    }
    return hv_option_fail(why, "unknown");
}

static int set_option(struct run_options *o, int option, const char *value, char *why)
{
    switch (option) {
    case OPT_CORES:
        return hv_cpus_parse(value, &o->cores, why);
    case OPT_PORT:
        return set_port(o, value, why);
    case OPT_EMULATE:
        return set_link(o, value, why);
    case OPT_MODE:
        return set_mode(o, value, why);
    case OPT_PROMISCUOUS:
        o->promiscuous = true;
        return 0;
    case OPT_PCAP:
        o->capture = value;
        return 0;
    case OPT_JSON:
        o->json = true;
        return 0;
    case OPT_NO_HUGE:
        o->no_huge = true;
        return 0;
    case OPT_INTERVAL:
        return set_interval(o, value, why);
    case OPT_LOG_LEVEL:
        return set_log_level(o, value, why);
    default:
        return set_number(o, option, value, why);
    }
}

static int usage(const char *option, const char *why)
{
    (void)fprintf(stderr, "hvnet-pmd: %s%s%s; see hvnet-pmd --help\n", option, *option ? ": " : "",
                  why);
    return HV_EXIT_USAGE;
}

static int check(const struct run_options *o)
{
    if (!o->cores.count)
        return usage("", "--cores is missing: the CPUs that run loops");
    if (!o->port_count && !o->link_count)
        return usage("", "--port or --emulate is missing");
    if (o->mode == RUN_L2FWD && (o->port_count + o->link_count) % 2)
        return usage("--mode l2fwd", "needs an even number of ports");
    return 0;
}

int run_options_parse(int argc, char **argv, struct run_options *ret_options)
{
    struct run_options o = {.mode_text = "io",
                            .burst = 32,
                            .frame_bytes = 64,
                            .snap_bytes = 65535,
                            .memory_mib = 256,
                            .interval_ms = 1000,
                            .log_level = 6};
    char why[HV_OPTION_WHY_BYTES];
    int option, index = 0, err;

    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", words, &index)) != -1) {
        if (option == '?' || option == ':') {
            (void)snprintf(why, sizeof(why),
                           option == ':' ? "%s wants a value" : "unknown option %s",
                           argv[optind - 1]);
            return usage("", why);
        }
        if (option == OPT_HELP || option == OPT_VERSION) {
            (void)fputs(option == OPT_HELP ? help : "hvnet-pmd " HV_VERSION_TEXT "\n", stdout);
            return 1;
        }
        if (set_option(&o, option, optarg, why)) {
            char name[32];

            (void)snprintf(name, sizeof(name), "--%s", words[index].name);
            return usage(name, why);
        }
    }
    if (optind < argc) {
        (void)snprintf(why, sizeof(why), "\"%.100s\" is not an option", argv[optind]);
        return usage("", why);
    }
    err = check(&o);
    if (!err)
        *ret_options = o;
    return err;
}
