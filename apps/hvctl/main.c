/* SPDX-License-Identifier: BSD-3-Clause */
/* hvctl: the operator's view of VMBus, and the way of a device to user space and back. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "common/option.h"
#include "info.h"
#include "list.h"
#include "live.h"
#include "options.h"

static int failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int failed(const char *format, ...)
{
    va_list args;

    (void)fputs("hvctl: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    return HV_EXIT_FAILED;
}

/** The bus as it is now; every command but info needs it. */
static int load(const struct sys *sys, const struct options *o, struct devices *devices)
{
    int err = devices_load(sys, devices);

    if (err == -ENOENT)
        return failed("this kernel has no VMBus (no /sys/bus/vmbus): not on Hyper-V, or modprobe "
                      "hv_vmbus is needed");
    if (err)
        return failed("cannot read /sys/bus/vmbus/devices: %s", strerror(-err));
    if (devices->broken)
        (void)failed("%zu folders in /sys/bus/vmbus/devices were left out: they are no devices "
                     "as a kernel shows them",
                     devices->broken);
    for (size_t i = 0; i < o->id_count; i++)
        if (!devices_find(devices, &o->ids[i])) {
            char text[HV_GUID_TEXT_BYTES];

            hv_guid_format(&o->ids[i], text);
            devices_fini(devices);
            return failed("no device has the instance %s: see hvctl list", text);
        }
    return 0;
}

static int run_list(const struct sys *sys, const struct options *o)
{
    struct devices devices;
    int code = load(sys, o, &devices);

    if (code)
        return code;
    if (!o->json)
        list_print(stdout, &devices, o->ids, o->id_count);
    else if (list_print_json(stdout, &devices, o->ids, o->id_count))
        code = failed("cannot write");
    devices_fini(&devices);
    return code;
}

static int move_one(const struct sys *sys, const struct options *o, const struct hv_guid *id)
{
    bool bind = o->command == COMMAND_BIND;
    char why[BIND_WHY_BYTES], driver[SYS_TEXT_BYTES];
    struct devices devices;
    struct device *device;
    int code = load(sys, o, &devices); /* afresh: the device before may have moved this one, too */

    if (code)
        return code;
    device = devices_find(&devices, id);
    if ((bind ? bind_device : unbind_device)(sys, device, o->force, why)) {
        code = failed("%s %s (%s): %s", bind ? "bind" : "unbind", device->instance_text,
                      device->facts->name, why);
    } else {
        device_read_driver(sys, device->folder, driver);
        (void)printf("%s (%s): %s -> %s%s%s\n", device->instance_text, device->facts->name,
                     *device->driver ? device->driver : "no driver", *driver ? driver : "no driver",
                     *why ? "; " : "", why);
    }
    devices_fini(&devices);
    return code;
}

/** One device after the other; the first that fails ends it, those before keep their new driver. */
static int run_move(const struct sys *sys, const struct options *o)
{
    int code = 0;

    for (size_t i = 0; i < o->id_count && !code; i++)
        code = move_one(sys, o, &o->ids[i]);
    return code;
}

static int run_info(const struct sys *sys, const struct options *o)
{
    struct info info;

    info_read(sys, &info);
    if (!o->json)
        info_print(stdout, &info);
    else if (info_print_json(stdout, &info))
        return failed("cannot write");
    return info_is_hyperv(&info) ? 0 : HV_EXIT_FAILED;
}

static int run_live(const struct sys *sys, const struct options *o)
{
    struct devices devices;
    int code = load(sys, o, &devices);

    if (code)
        return code;
    if (o->command == COMMAND_WATCH)
        code = live_watch(sys, o, &devices);
    else if (o->command == COMMAND_RING_DUMP)
        code = live_dump(sys, o, &devices);
    else
        code = live_trace(sys, o, &devices);
    devices_fini(&devices);
    return code;
}

static int run(const struct sys *sys, const struct options *o)
{
    switch (o->command) {
    case COMMAND_BIND:
    case COMMAND_UNBIND:
        return run_move(sys, o);
    case COMMAND_INFO:
        return run_info(sys, o);
    case COMMAND_LIST:
        return run_list(sys, o);
    default:
        return run_live(sys, o);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    enum options_result result = options_parse(argc, argv, &options);
    int code = result == OPTIONS_WRONG ? HV_EXIT_USAGE : 0;

    if (result == OPTIONS_RUN) {
        struct sys sys = {.root = options.root};

        code = run(&sys, &options);
    }
    options_fini(&options);
    if (fflush(stdout) && !code)
        code = failed("cannot write: %s", strerror(errno));
    return code;
}
