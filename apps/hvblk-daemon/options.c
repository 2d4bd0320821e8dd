/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hv/storvsp.h>

#include "common/size.h"
#include "reactor.h"

#define BUFFER_BYTES_DEFAULT (64u << 20)
#define RECONNECT_S_DEFAULT  30u
#define CONNECTIONS_DEFAULT  100u

/** VMBus versions, major << 16 | minor. */
static const uint32_t vmbus_versions[] = {5u << 16 | 3, 5u << 16 | 2, 5u << 16 | 1,
                                          5u << 16,     4u << 16 | 1, 4u << 16,
                                          3u << 16,     2u << 16 | 4, 0};

static int keep(char **text, const char *value, char *why)
{
    free(*text);
    *text = strdup(value);
    return *text ? 0 : hv_option_fail(why, "out of memory");
}

static int number(const char *value, uint64_t min, uint64_t max, unsigned *ret_value, char *why)
{
    uint64_t n;
    int ret = hv_option_number(value, min, max, &n, why);

    if (!ret)
        *ret_value = (unsigned)n;
    return ret;
}

static int set_emulate(struct options *o, const char *value, char *why)
{
    if (o->disk_count == OPTIONS_DISKS_MAX)
        return hv_option_fail(why, "given more than %u times", OPTIONS_DISKS_MAX);
    if (hv_disk_option_parse(HV_DISK_OPTION_EMULATE, value, &o->disks[o->disk_count], why))
        return -EINVAL;
    o->disk_count++;
    return 0;
}

static int set_device(struct options *o, const char *value, char *why)
{
    if ((strncmp(value, "unix:", 5) && strncmp(value, "uio:", 4)) || !strchr(value, ':')[1])
        return hv_option_fail(why,
                              "\"%s\" is not allowed; allowed: unix:PATH[,INSTANCE-GUID] (an "
                              "hv-host), uio:INSTANCE-GUID",
                              value);
    return keep(&o->device, value, why);
}

static int set_ublk(struct options *o, const char *value, char *why)
{
    int ret;

    if (o->ublk_count == UBLK_EXPORTS_MAX)
        return hv_option_fail(why, "ublk given more than %u times", UBLK_EXPORTS_MAX);
    ret = ublk_option_parse(value, &o->ublk[o->ublk_count], why);
    o->ublk_count += !ret;
    return ret;
}

static int set_export(struct options *o, const char *value, char *why)
{
    int ret;

    if (ublk_option_is(value))
        return set_ublk(o, value, why);
    ret = listener_check(value, why);
    if (ret)
        return ret;
    if (o->export_count == LISTENER_MAX)
        return hv_option_fail(why, "given more than %u times", LISTENER_MAX);
    ret = keep(&o->exports[o->export_count], value, why);
    o->export_count += !ret;
    return ret;
}

static int set_cpus(struct options *o, const char *value, char *why)
{
    int ret = hv_cpus_parse(value, &o->cpus, why);

    if (!ret && o->cpus.count > REACTOR_MAX)
        ret = hv_option_fail(why, "\"%s\" is not allowed; allowed: up to %u CPUs", value,
                             REACTOR_MAX);
    return ret;
}

static int set_reactors(struct options *o, const char *value, char *why)
{
    return number(value, 1, REACTOR_MAX, &o->reactors, why);
}

static int set_switch(bool *flag, const char *value, char *why)
{
    int on = 1, ret = value ? hv_option_switch(value, &on, why) : 0;

    if (!ret)
        *flag = on;
    return ret;
}

static int set_poll(struct options *o, const char *value, char *why)
{
    return set_switch(&o->poll, value, why);
}

static int set_sched(struct options *o, const char *value, char *why)
{
    o->normal = !strcmp(value, "normal");
    if (o->normal || !strcmp(value, "auto"))
        return 0;
    return hv_option_fail(why, "\"%s\" is not allowed; allowed: auto, normal", value);
}

static int set_recover(struct options *o, const char *value, char *why)
{
    return set_switch(&o->recover, value, why);
}

static int set_status(struct options *o, const char *value, char *why)
{
    return set_switch(&o->status, value, why);
}

static int set_monitor(struct options *o, const char *value, char *why)
{
    return set_switch(&o->monitor, value, why);
}

static int set_pid_file(struct options *o, const char *value, char *why)
{
    return keep(&o->pid_file, value, why);
}

static int set_stats_json(struct options *o, const char *value, char *why)
{
    return keep(&o->stats_json, value, why);
}

static int set_control(struct options *o, const char *value, char *why)
{
    return keep(&o->control, value, why);
}

static int set_config(struct options *o, const char *value, char *why)
{
    return keep(&o->config, value, why);
}

static int set_fault(struct options *o, const char *value, char *why)
{
    char sentence[HV_DISK_WHY_BYTES];

    if (hv_storvsp_parse_fault(value, sentence))
        return hv_option_fail(why, "%.480s", sentence);
    return keep(&o->fault, value, why);
}

static int set_depth(struct options *o, const char *value, char *why)
{
    return number(value, 1, 1024, &o->depth, why);
}

static int set_max_transfer(struct options *o, const char *value, char *why)
{
    uint64_t bytes;
    int ret = hv_size_parse(value, 4096, 8u << 20, &bytes, why);

    if (!ret)
        o->max_transfer_bytes = (uint32_t)bytes;
    return ret;
}

static int set_buffers(struct options *o, const char *value, char *why)
{
    return hv_size_parse(value, (uint64_t)BUFFER_PER_REQUEST << 20, UINT64_C(16) << 30,
                         &o->buffer_bytes, why);
}

static int set_reconnect(struct options *o, const char *value, char *why)
{
    return number(value, 0, 86400, &o->reconnect_s, why);
}

static int set_max_connections(struct options *o, const char *value, char *why)
{
    return number(value, 1, 10000, &o->max_connections, why);
}

static int set_log_level(struct options *o, const char *value, char *why)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};

    for (unsigned i = 0; i < 4; i++)
        if (!strcmp(value, names[i])) {
            o->log_level = (enum hv_log_level)i;
            return 0;
        }
    return hv_option_fail(why, "\"%s\" is not allowed; allowed: error, warning, info, debug",
                          value);
}

static int set_max_storvsc(struct options *o, const char *value, char *why)
{
    uint32_t version;
    int ret = hv_option_version(value, 8, hv_disk_option_versions, &version, why);

    if (!ret)
        o->max_storvsc = (uint16_t)version;
    return ret;
}

static int set_max_vmbus(struct options *o, const char *value, char *why)
{
    return hv_option_version(value, 16, vmbus_versions, &o->max_vmbus, why);
}

enum { TAKES_VALUE = 1, MAY_REPEAT = 2 };

static const struct key {
    const char *name;
    unsigned how;
    int (*set)(struct options *o, const char *value, char *why);
} keys[] = {
    {"emulate", TAKES_VALUE | MAY_REPEAT, set_emulate},
    {"device", TAKES_VALUE, set_device},
    {"export", TAKES_VALUE | MAY_REPEAT, set_export},
    {"recover", 0, set_recover},
    {"cpus", TAKES_VALUE, set_cpus},
    {"reactors", TAKES_VALUE, set_reactors},
    {"poll", 0, set_poll},
    {"sched", TAKES_VALUE, set_sched},
    {"status", 0, set_status},
    {"monitor", 0, set_monitor},
    {"pid-file", TAKES_VALUE, set_pid_file},
    {"stats-json", TAKES_VALUE, set_stats_json},
    {"control", TAKES_VALUE, set_control},
    {"config", TAKES_VALUE, set_config},
    {"fault", TAKES_VALUE, set_fault},
    {"depth", TAKES_VALUE, set_depth},
    {"max-transfer", TAKES_VALUE, set_max_transfer},
    {"buffers", TAKES_VALUE, set_buffers},
    {"reconnect", TAKES_VALUE, set_reconnect},
    {"max-connections", TAKES_VALUE, set_max_connections},
    {"log-level", TAKES_VALUE, set_log_level},
    {"max-storvsc", TAKES_VALUE, set_max_storvsc},
    {"max-vmbus", TAKES_VALUE, set_max_vmbus},
};
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

static const char help[] =
    "usage: hvblk-daemon (--emulate disk=DISK | --device ADDRESS) --export EXPORT [options]\n"
    "\n"
    "Exports the SCSI disks behind a VMBus storage controller to NBD clients, and as block "
    "devices\n"
    "of this machine (ublk).\n"
    "\n"
    "  --emulate disk=PATH|mem:SIZE|null:SIZE[,size=SIZE][,block=512|4096][,ro][,serial=TEXT]\n"
    "            [,luns=N][,channels=N][,cache=on|off][,thin=on|off][,direct=on|off]...\n"
    "                         disk of an emulated host inside this process; may be repeated\n"
    "  --device unix:PATH     controller of an hv-host process\n"
    "  --export nbd:unix:PATH | nbd:tcp:ADDRESS:PORT    where clients connect; may be repeated.\n"
    "                         Export names: \"\" is the first disk, lunN is LUN N\n"
    "  --export ublk[:ID][,lun=NAME][,depth=N][,max-io=SIZE][,recovery=MODE][,copy=kernel|user]\n"
    "                         block devices /dev/ublkbID: of the disk NAME, else of every disk, "
    "LUN N\n"
    "                         as ID+N; MODE when this process dies: reissue (default), wait, fail, "
    "none\n"
    "  --recover              take over the block devices of a daemon that died; make the others\n"
    "  --config FILE          lines \"key = value\" with the keys of these options\n"
    "\n"
    "Threads and speed\n"
    "  --cpus LIST            one reactor pinned to each CPU, e.g. 0,2-3\n"
    "  --reactors N           that many reactors (default: CPUs named, else channels=, else 1)\n"
    "  --poll                 never sleep: lowest latency, whole CPUs burnt\n"
    "  --sched auto|normal    whether reactors may run as batch tasks where that helps\n"
    "                         (default auto)\n"
    "  --depth N              commands in flight per channel, 1 to 1024 (default 256)\n"
    "  --buffers SIZE         data memory per reactor, from 32M (default 64M)\n"
    "\n"
    "Behaviour\n"
    "  --reconnect SECONDS    how long requests wait for a lost device (default 30; 0: fail at "
    "once)\n"
    "  --max-connections N    (default 100)\n"
    "  --pid-file PATH        written when ready, removed at the end\n"
    "  --control PATH         Unix socket: status, stats, luns, rescan, drain, resume, quit, "
    "handover\n"
    "                         as lines or JSON; GET /metrics gives Prometheus text\n"
    "  --status               a live line on stderr: IOPS, MiB/s, queue depth\n"
    "  --stats-json PATH|-    statistics at the end\n"
    "  --log-level LEVEL      error, warning, info (default), debug\n"
    "\n"
    "Emulation and tests\n"
    "  --fault PLAN           faults of the emulated host, e.g. medium-error@100,drop@200/50\n"
    "  --max-transfer SIZE    largest command of the emulated controller, 4K to 8M\n"
    "  --monitor              the emulated host offers the device with a monitor bit\n"
    "  --max-storvsc V        highest storage protocol version to ask for: 6.2, 6.0, 5.1, 4.2, "
    "2.0\n"
    "  --max-vmbus V          highest VMBus version to ask for, 5.3 to 2.4\n"
    "  --help, --version\n"
    "\n"
    "Examples\n"
    "  hvblk-daemon --emulate disk=/tmp/disk.img,size=1G --export nbd:unix:/tmp/nbd.sock\n"
    "  nbdinfo 'nbd+unix:///?socket=/tmp/nbd.sock'\n"
    "  hvblk-daemon --emulate disk=mem:1G --export nbd:tcp:127.0.0.1:10809 --cpus 0 --poll\n"
    "  hvblk-daemon --emulate disk=/tmp/disk.img --export ublk:0 --recover\n"
    "  hv-host --listen /run/hv.sock --disk /dev/sdb & \n"
    "  hvblk-daemon --device unix:/run/hv.sock --export nbd:unix:/run/nbd.sock --status\n"
    "\n"
    "Exit: 0 asked to stop; 1 something outside failed; 2 an option is wrong.\n";

int options_set(struct options *options, const char *name, const char *value, bool from_file,
                char *why)
{
    char inner[HV_OPTION_WHY_BYTES];
    uint32_t *mine = from_file ? &options->in_file : &options->given;
    int ret;

    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct key *key = &keys[i];

        if (strcmp(key->name, name))
            continue;
        if (from_file && options->given & 1u << i)
            return 0;
        if (*mine & 1u << i && !(key->how & MAY_REPEAT))
            return hv_option_fail(why, "%s: given twice", name);
        *mine |= 1u << i;
        if (key->how & TAKES_VALUE && (!value || !*value))
            return hv_option_fail(why, "%s: needs a value", name);
        ret = key->set(options, value, inner);
        if (ret)
            (void)hv_option_fail(why, "%s: %.480s", name, inner);
        return ret;
    }
    return hv_option_fail(why, "%s: unknown; --help lists what is known", name);
}

/** One word of the command line, or two. */
static int take_word(struct options *options, int argc, char **argv, int *at, char *why)
{
    char inner[HV_OPTION_WHY_BYTES], name[32];
    const char *word = argv[*at], *equals = strchr(word, '='), *value = NULL;
    size_t bytes = equals ? (size_t)(equals - word) : strlen(word);
    int ret;

    if (strncmp(word, "--", 2) || bytes - 2 >= sizeof(name))
        return hv_option_fail(why, "\"%.200s\" is no option; --help lists them", word);
    memcpy(name, word + 2, bytes - 2);
    name[bytes - 2] = '\0';
    if (equals)
        value = equals + 1;
    for (size_t i = 0; !equals && i < KEY_COUNT; i++)
        if (!strcmp(keys[i].name, name) && keys[i].how & TAKES_VALUE && *at + 1 < argc)
            value = argv[++*at];
    ret = options_set(options, name, value, false, inner);
    if (ret)
        (void)hv_option_fail(why, "--%.480s", inner);
    return ret;
}

/** What only the whole can tell. */
static int check_whole(const struct options *o, bool sockets_given, char *why)
{
    if (!o->device && !o->disk_count)
        return hv_option_fail(why, "what to export? give --emulate disk=... or --device unix:...");
    if (o->device && o->disk_count)
        return hv_option_fail(why, "--device and --emulate exclude each other");
    if (o->device && (o->fault || o->max_transfer_bytes || o->monitor))
        return hv_option_fail(
            why, "--%s is about the emulated host: use it with --emulate, or with hv-host",
            o->fault     ? "fault"
            : o->monitor ? "monitor"
                         : "max-transfer");
    if (!o->export_count && !o->ublk_count && !sockets_given)
        return hv_option_fail(why,
                              "where? give --export nbd:unix:PATH, nbd:tcp:ADDRESS:PORT or ublk");
    if (o->recover && !o->ublk_count)
        return hv_option_fail(why, "--recover is about block devices: use it with --export ublk");
    if (o->reactors && o->cpus.count && o->reactors < o->cpus.count)
        return hv_option_fail(why, "--reactors %u: fewer than the %u CPUs of --cpus", o->reactors,
                              o->cpus.count);
    for (unsigned i = 0; i < o->disk_count; i++) {
        char sentence[HV_DISK_WHY_BYTES];

        if (o->disks[i].fault && hv_storvsp_parse_fault(o->disks[i].fault, sentence))
            return hv_option_fail(why, "--emulate: fault=%.480s", sentence);
    }
    return 0;
}

enum options_verdict options_parse(struct options *options, int argc, char **argv,
                                   bool sockets_given)
{
    char why[HV_OPTION_WHY_BYTES];
    int ret = 0;

    *options = (struct options){.log_level = HV_LOG_INFO,
                                .buffer_bytes = BUFFER_BYTES_DEFAULT,
                                .reconnect_s = RECONNECT_S_DEFAULT,
                                .max_connections = CONNECTIONS_DEFAULT};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            (void)fputs(help, stdout);
            return OPTIONS_DONE;
        }
        if (!strcmp(argv[i], "--version")) {
            (void)puts("hvblk-daemon " HV_VERSION_TEXT);
            return OPTIONS_DONE;
        }
    }
    for (int i = 1; !ret && i < argc; i++)
        ret = take_word(options, argc, argv, &i, why);
    if (!ret && options->config)
        ret = options_file(options, options->config, why);
    if (!ret)
        ret = check_whole(options, sockets_given, why);
    if (!ret)
        return OPTIONS_RUN;
    (void)fprintf(stderr, "hvblk-daemon: %s\n", why);
    return OPTIONS_BAD;
}

void options_fini(struct options *o)
{
    for (unsigned i = 0; i < o->disk_count; i++)
        hv_disk_option_fini(&o->disks[i]);
    for (unsigned i = 0; i < o->export_count; i++)
        free(o->exports[i]);
    free(o->device);
    free(o->pid_file);
    free(o->stats_json);
    free(o->control);
    free(o->fault);
    free(o->config);
}
