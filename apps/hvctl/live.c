/* SPDX-License-Identifier: BSD-3-Clause */
#include "live.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/option.h"
#include "trace.h"
#include "watch.h"

#define HEADER_EVERY   20 /* reports */
#define TRACE_LOOK_MS  1  /* a ring of 2 MiB does not go round so quickly */
#define TRACE_CHECK_NS UINT64_C(100000000)

static uint64_t clock_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int said(const char *what, const char *why)
{
    (void)fprintf(stderr, "hvctl: %s: %s\n", what, why);
    return HV_EXIT_FAILED;
}

int live_watch(const struct sys *sys, const struct options *o, struct devices *devices)
{
    uint64_t before = clock_ns();

    for (uint64_t i = 0; !o->count || i < o->count; i++) {
        struct devices now;
        uint64_t at;
        int err;

        (void)poll(NULL, 0, (int)o->interval_ms); /* a signal ends the program, or makes it early */
        err = devices_load(sys, &now);
        if (err)
            return said("watch", strerror(-err));
        at = clock_ns();
        if (o->json)
            err = watch_print_json(stdout, devices, &now, at - before, o->ids, o->id_count);
        else
            watch_print(stdout, devices, &now, at - before, o->ids, o->id_count,
                        i % HEADER_EVERY == 0);
        devices_fini(devices);
        *devices = now;
        before = at;
        if (err || fflush(stdout))
            return said("watch", "cannot write");
    }
    return 0;
}

/** The device is gone, and with it the pages behind our mapping: nothing is left to be said about its rings. */
static void on_sigbus(int number)
{
    static const char text[] =
        "hvctl: the kernel has taken the rings away: device unbound or gone\n";

    (void)number;
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(HV_EXIT_FAILED);
}

/** The one device of the command, its rings mapped. */
static int open_view(const struct sys *sys, const struct options *o, const struct devices *devices,
                     const struct device **ret_device, struct ring_view *ret_view)
{
    const struct device *device = devices_find(devices, &o->ids[0]);
    char why[RING_WHY_BYTES];

    (void)signal(SIGBUS, on_sigbus);
    if (ring_open(sys, device, o->channel, ret_view, why))
        return said(device->instance_text, why);
    *ret_device = device;
    return 0;
}

int live_dump(const struct sys *sys, const struct options *o, const struct devices *devices)
{
    const struct device *device;
    struct ring_view view;
    int code = open_view(sys, o, devices, &device, &view);
    int err;

    if (code)
        return code;
    err = trace_dump(stdout, &view, device->facts->layer, o->count, o->hex);
    ring_close(&view);
    return err ? said(device->instance_text, strerror(-err)) : 0;
}

/** The owner has the channel open still: else its rings are not ours to look at. */
static bool still_open(const struct sys *sys, const struct device *device)
{
    uint64_t state;

    return !sys_number(sys, STATE_OPEN, &state, DEVICE_PATH "/state", device->folder) &&
           state == STATE_OPEN;
}

int live_trace(const struct sys *sys, const struct options *o, const struct devices *devices)
{
    const struct device *device;
    struct ring_view view;
    struct trace trace;
    uint64_t checked = clock_ns();
    int code = open_view(sys, o, devices, &device, &view);
    int err;

    if (code)
        return code;
    err = trace_begin(&view, &trace);
    trace.layer = device->facts->layer;
    trace.hex = o->hex;
    if (o->count)
        trace.left = o->count;
    while (!err && trace.left) {
        if (clock_ns() - checked > TRACE_CHECK_NS) {
            if (!still_open(sys, device)) {
                code = said(device->instance_text, "its program has closed it");
                break;
            }
            checked = clock_ns();
        }
        err = trace_look(stdout, &trace);
        if (!err && fflush(stdout))
            err = -EIO;
        if (!err && trace.left)
            (void)poll(NULL, 0, TRACE_LOOK_MS);
    }
    ring_close(&view);
    return err ? said(device->instance_text, strerror(-err)) : code;
}
