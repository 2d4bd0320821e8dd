/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "common/option.h"
#include "common/size.h"
#include "nic_option.h"
#include "nics.h"

#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

static const char help[] =
    "Usage: hv-host --listen PATH [--disk DISK ...] [--nic NIC ...] [options]\n"
    "\n"
    "An emulated Hyper-V: guests connect to the socket and find a SCSI controller and NICs on "
    "their "
    "VMBus.\n"
    "\n"
    "  --listen PATH        Unix socket for guests (hvblk-daemon --device unix:PATH)\n"
    "  --disk DISK          one LUN: PATH | mem:SIZE | null:SIZE, then any of\n"
    "                         ,size=SIZE      create the file with this size when it is missing\n"
    "                         ,block=512|4096 ,ro ,serial=TEXT ,lun=0..63 ,rotational=on|off\n"
    "                         ,cache=on|off ,thin=on|off ,direct=on|off\n"
    "                       SIZE: a number with K, M, G or T (powers of 1024)\n"
    "  --nic NIC            one network adapter: where it is plugged in, then any of the words\n"
    "                         tap:NAME | loop | pair:ID | source:BYTES | sink | pcap:IN[,OUT]\n"
    "                         ,mac=XX:XX:XX:XX:XX:XX ,queues=1..64 ,mtu=1500..9202 ,speed=BITS\n"
    "                         ,max-nvsp=6.1|6.0|5.0|4.0|2.0|1.0 ,packets-per-message=1..32\n"
    "                         ,section=SIZE ,offloads=all|off|tx-csum+tso+rx-csum+vlan+rss\n"
    "                         ,monitor ,guid=GUID ,fault=PLAN (hv-host(1))\n"
    "\n"
    "Controller:\n"
    "  --channels N         channels of the controller, 1 to 64 (default 1)\n"
    "  --max-vmbus V        newest VMBus version: 5.3 (default) 5.2 5.1 5.0 4.1 4.0 3.0 2.4\n"
    "  --max-storvsc V      newest storage version: 6.2 (default) 6.0 5.1 4.2 2.0\n"
    "  --max-transfer SIZE  largest request, 4K to 8M (default 1M)\n"
    "  --depth N            requests in flight per channel, 1 to 4096 (default 256)\n"
    "  --monitor            offer the device with a monitor bit\n"
    "  --fault PLAN         faults: ACTION@N[,...], N = nth request, N+ from it on, N/M every Mth\n"
    "                         drop delay:MS repeat shorten wrong-id bad-index bad-length "
    "bad-sense\n"
    "                         medium-error nospace busy rescind\n"
    "\n"
    "Running:\n"
    "  --workers N          threads per guest, 1 to 64 (default 1)\n"
    "  --cpus LIST          pin those threads, in turn: 0,2-3\n"
    "  --poll               never sleep (default: look a short time, then sleep)\n"
    "  --max-guests N       1 to 1024 (default 16)\n"
    "  --control PATH       Unix socket for commands, one JSON object a line (hv-host(1))\n"
    "  --pid-file PATH      write the process id once guests may come\n"
    "  --ready-fd N         write a line to this descriptor once guests may come\n"
    "  --log-level LEVEL    error, warning, info (default), debug\n"
    "  --json               ready line and log as JSON\n"
    "  --help, --version\n"
    "\n"
    "Examples:\n"
    "  hv-host --listen /run/hv.sock --disk disk.img,size=10G\n"
    "  hv-host --listen hv.sock --disk mem:1G --disk archive.img,ro,lun=5 --channels 4 --workers "
    "2\n"
    "  hv-host --listen hv.sock --disk mem:64M --fault delay:500@10,medium-error@20/100\n"
    "  hv-host --listen hv.sock --nic tap:hv0,queues=4 --workers 4\n"
    "  hv-host --listen hv.sock --nic pair:a,mac=02:00:00:00:00:01 --nic pair:a --poll\n"
    "\n"
    "Once guests may come, `ready unix:PATH` is printed.  SIGTERM and SIGINT end it in order.\n"
    "Exit: 0 ended in order, 1 something failed, 2 wrong options.\n";

enum {
    OPT_LISTEN = 256,
    OPT_DISK,
    OPT_NIC,
    OPT_CHANNELS,
    OPT_MAX_VMBUS,
    OPT_MAX_STORVSC,
    OPT_MAX_TRANSFER,
    OPT_DEPTH,
    OPT_MONITOR,
    OPT_FAULT,
    OPT_WORKERS,
    OPT_CPUS,
    OPT_POLL,
    OPT_MAX_GUESTS,
    OPT_CONTROL,
    OPT_PID_FILE,
    OPT_READY_FD,
    OPT_LOG_LEVEL,
    OPT_JSON,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"disk", required_argument, NULL, OPT_DISK},
    {"nic", required_argument, NULL, OPT_NIC},
    {"channels", required_argument, NULL, OPT_CHANNELS},
    {"max-vmbus", required_argument, NULL, OPT_MAX_VMBUS},
    {"max-storvsc", required_argument, NULL, OPT_MAX_STORVSC},
    {"max-transfer", required_argument, NULL, OPT_MAX_TRANSFER},
    {"depth", required_argument, NULL, OPT_DEPTH},
    {"monitor", no_argument, NULL, OPT_MONITOR},
    {"fault", required_argument, NULL, OPT_FAULT},
    {"workers", required_argument, NULL, OPT_WORKERS},
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"poll", no_argument, NULL, OPT_POLL},
    {"max-guests", required_argument, NULL, OPT_MAX_GUESTS},
    {"control", required_argument, NULL, OPT_CONTROL},
    {"pid-file", required_argument, NULL, OPT_PID_FILE},
    {"ready-fd", required_argument, NULL, OPT_READY_FD},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static const uint32_t vmbus_versions[] = {0x50003, 0x50002, 0x50001, 0x50000, 0x40001,
                                          0x40000, 0x30000, 0x20004, 0};

static int take_number16(const char *value, uint16_t max, uint16_t *ret, char *why)
{
    uint64_t n;
    int err = hv_option_number(value, 1, max, &n, why);

    if (!err)
        *ret = (uint16_t)n;
    return err;
}

static int take_number32(const char *value, uint32_t max, uint32_t *ret, char *why)
{
    uint64_t n;
    int err = hv_option_number(value, 1, max, &n, why);

    if (!err)
        *ret = (uint32_t)n;
    return err;
}

static int take_transfer(const char *value, struct options *o, char *why)
{
    uint64_t bytes;
    int err = hv_size_parse(value, 4096, 8u << 20, &bytes, why);

    if (!err)
        o->max_transfer_bytes = (uint32_t)bytes;
    return err;
}

static int take_path(const char *value, size_t max, const char **ret_path, char *why)
{
    if (!*value || strlen(value) > max)
        return hv_option_fail(why, "\"%s\" is not allowed; allowed: a path of 1 to %zu characters",
                              value, max);
    *ret_path = value;
    return 0;
}

static int take_log_level(const char *value, struct options *o, char *why)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};

    for (int i = 0; i < 4; i++)
        if (!strcmp(value, names[i])) {
            o->log_level = i;
            return 0;
        }
    return hv_option_fail(why, "\"%s\" is not allowed; allowed: error, warning, info, debug",
                          value);
}

static int take_ready_fd(const char *value, struct options *o, char *why)
{
    uint64_t n = 0;
    int err = hv_option_number(value, 0, 65535, &n, why);

    if (!err && fcntl((int)n, F_GETFD) < 0)
        err = hv_option_fail(why, "%s is no open descriptor", value);
    if (!err)
        o->ready_fd = (int)n;
    return err;
}

static int take_disk(const char *value, struct options *o, char *why)
{
    struct hv_disk_option *disks, disk;
    int err;

    if (o->disk_count == HV_DISK_OPTION_LUNS)
        return hv_option_fail(why, "more than %u disks", HV_DISK_OPTION_LUNS);
    err = hv_disk_option_parse(HV_DISK_OPTION_DISK, value, &disk, why);
    if (err)
        return err;
    for (unsigned i = 0; i < o->disk_count; i++)
        if (disk.lun >= 0 && disk.lun == o->disks[i].lun) {
            hv_disk_option_fini(&disk);
            return hv_option_fail(why, "lun=%d is given twice", o->disks[i].lun);
        }
    disks = realloc(o->disks, (o->disk_count + 1) * sizeof(*disks));
    if (!disks) {
        hv_disk_option_fini(&disk);
        return hv_option_fail(why, "out of memory");
    }
    o->disks = disks;
    o->disks[o->disk_count++] = disk;
    return 0;
}

static int take_nic(const char *value, struct options *o, char *why)
{
    struct nic_option option;
    const char **nics;
    int err;

    if (o->nic_count == NICS_MAX)
        return hv_option_fail(why, "more than %u NICs", NICS_MAX);
    err = nic_option_parse(value, &option, why);
    if (err)
        return err;
    nic_option_fini(&option);
    nics = realloc(o->nics, (o->nic_count + 1) * sizeof(*nics));
    if (!nics)
        return hv_option_fail(why, "out of memory");
    o->nics = nics;
    o->nics[o->nic_count++] = value;
    return 0;
}

static int take_fault(const char *value, struct options *o, char *why)
{
    o->fault = value;
    _Static_assert(HV_DISK_WHY_BYTES <= HV_OPTION_WHY_BYTES, "sentence fits");
    return hv_storvsp_parse_fault(value, why);
}

static int take(struct options *o, int option, const char *value, char *why)
{
    switch (option) {
    case OPT_LISTEN:
        return take_path(value, SOCKET_PATH_MAX, &o->listen, why);
    case OPT_DISK:
        return take_disk(value, o, why);
    case OPT_NIC:
        return take_nic(value, o, why);
    case OPT_CHANNELS:
        return take_number16(value, HV_DISK_OPTION_CHANNELS, &o->channels, why);
    case OPT_MAX_VMBUS:
        return hv_option_version(value, 16, vmbus_versions, &o->max_vmbus, why);
    case OPT_MAX_STORVSC:
        return hv_option_version(value, 8, hv_disk_option_versions, &o->max_storvsc, why);
    case OPT_MAX_TRANSFER:
        return take_transfer(value, o, why);
    case OPT_DEPTH:
        return take_number32(value, 4096, &o->depth, why);
    case OPT_FAULT:
        return take_fault(value, o, why);
    case OPT_WORKERS:
        return take_number16(value, 64, &o->workers, why);
    case OPT_CPUS:
        return hv_cpus_parse(value, &o->cpus, why);
    case OPT_MAX_GUESTS:
        return take_number32(value, 1024, &o->max_guests, why);
    case OPT_CONTROL:
        return take_path(value, SOCKET_PATH_MAX, &o->control, why);
    case OPT_PID_FILE:
        return take_path(value, 4095, &o->pid_file, why);
    case OPT_READY_FD:
        return take_ready_fd(value, o, why);
    default: /* OPT_LOG_LEVEL */
        return take_log_level(value, o, why);
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
    (void)fprintf(stderr, "hv-host: %s; see hv-host --help\n", why);
    return OPTIONS_WRONG;
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
        (void)puts("hv-host " HV_VERSION_TEXT);
        return OPTIONS_DONE;
    case OPT_MONITOR:
        o->monitor = true;
        return OPTIONS_RUN;
    case OPT_POLL:
        o->poll = true;
        return OPTIONS_RUN;
    case OPT_JSON:
        o->json = true;
        return OPTIONS_RUN;
    default:
        if (!take(o, option, value, why))
            return OPTIONS_RUN;
        (void)fprintf(stderr, "hv-host: --%s %s: %s\n", name, value, why);
        return OPTIONS_WRONG;
    }
}

enum options_result options_parse(int argc, char **argv, struct options *ret_options)
{
    struct options *o = ret_options;
    enum options_result result;
    int option, index = -1;

    *o = (struct options){
        .channels = 1, .workers = 1, .max_guests = 16, .log_level = HV_LOG_INFO, .ready_fd = -1};
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", long_options, &index)) != -1) {
        if (option == ':')
            return wrong("%s needs a value", argv[optind - 1]);
        if (option == '?')
            return wrong("%s is not known", argv[optind - 1]);
        result = take_one(o, option, long_options[index].name, optarg);
        if (result != OPTIONS_RUN)
            return result;
    }
    if (optind < argc)
        return wrong("\"%s\" is no option; everything has a name here", argv[optind]);
    if (!o->listen)
        return wrong("--listen PATH is missing: the socket that guests connect to");
    if (!o->disk_count && !o->nic_count && !o->control)
        return wrong("--disk DISK or --nic NIC is missing: at least one, or --control to add some "
                     "later");
    return OPTIONS_RUN;
}

void options_fini(struct options *options)
{
    for (unsigned i = 0; i < options->disk_count; i++)
        hv_disk_option_fini(&options->disks[i]);
    free(options->disks);
    options->disks = NULL;
    options->disk_count = 0;
    free(options->nics);
    options->nics = NULL;
    options->nic_count = 0;
}
