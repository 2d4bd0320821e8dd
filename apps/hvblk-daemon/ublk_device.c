/* SPDX-License-Identifier: BSD-3-Clause */
#include "ublk_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/size.h"
#include "log.h"
#include "reactor_ublk.h"
#include "ublk_helper.h"
#include "ublk_lun.h"

#define RETRY_NS   UINT64_C(20000000)
#define OPEN_NS    UINT64_C(10000000000) /* udev looks at the node and gives it to its user */
#define RECOVER_NS UINT64_C(30000000000) /* a killed daemon's memory takes a while to go */
#define HOLDERS_NS UINT64_C(1000000000)
#define DELETE_NS  UINT64_C(3000000000)
#define QUIESCE_MS 5000u

static void begin_stop(struct ublk_device *device);
static void begin_delete(struct ublk_device *device);

static int call(struct ublk_device *device, unsigned long op, void *data, uint16_t bytes,
                uint64_t value)
{
    struct ublk_command command = {
        .op = op, .device = device->info.device, .data = data, .bytes = bytes, .value = value};

    return ublk_control_call(device->control, &command);
}

int ublk_device_info(struct ublk_control *control, uint32_t id, struct ublkw_info *ret_info)
{
    struct ublkw_info info = {0};
    struct ublk_command command = {
        .op = UBLKW_GET_INFO2, .device = id, .data = &info, .bytes = sizeof(info)};
    int ret = ublk_control_call(control, &command);

    if (!ret)
        *ret_info = info;
    return ret;
}

/* ---- Trouble ---- */

static void fail(struct ublk_device *device, const char *what, int error)
{
    const char *hint = "";

    if (error == -ENOBUFS)
        hint = ": its requests need more memory, raise --buffers";
    else if (error == -EEXIST)
        hint = ": --recover takes it over, if a dead daemon of ours left it";
    if (device->info.device == UBLKW_ANY_DEVICE)
        log_line(HV_LOG_ERROR, "ublk device of %s: %s: %s%s", device->lun.name, what,
                 strerror(-error), hint);
    else
        log_line(HV_LOG_ERROR, "ublk device %u of %s: %s: %s%s", device->info.device,
                 device->lun.name, what, strerror(-error), hint);
    device->failed = true;
}

/** A device that we began to make or to take over. */
static void give_up(struct ublk_device *device, const char *what, int error)
{
    fail(device, what, error);
    if (device->recovered) {
        device->step = UBLK_KEPT; /* requests wait in it: let another daemon try */
        return;
    }
    begin_stop(device);
}

/* ---- Making ---- */

static uint64_t wanted_flags(const struct ublk_device *device)
{
    static const uint64_t recovery[] = {
        [UBLK_RECOVERY_REISSUE] = UBLKW_F_RECOVERY | UBLKW_F_REISSUE,
        [UBLK_RECOVERY_WAIT] = UBLKW_F_RECOVERY,
        [UBLK_RECOVERY_FAIL] = UBLKW_F_RECOVERY | UBLKW_F_FAIL_IO,
        [UBLK_RECOVERY_NONE] = 0,
    };
    uint64_t flags = UBLKW_F_IOCTL;

    if (device->option->user_copy)
        flags |= UBLKW_F_USER_COPY;
    if (device->control->unprivileged)
        return flags | UBLKW_F_UNPRIVILEGED;
    return flags | recovery[device->option->recovery];
}

static int add(struct ublk_device *device)
{
    uint64_t flags = wanted_flags(device);
    int ret;

    if (flags & ~device->control->features & ~UBLKW_F_IOCTL)
        return -EOPNOTSUPP;
    device->info = (struct ublkw_info){
        .queues = (uint16_t)device->active,
        .depth = device->option->depth,
        .max_io_bytes = device->option->max_io_bytes,
        .device = UBLKW_ANY_DEVICE,
        .flags = flags,
        .server_flags = ublk_identity(&device->lun),
    };
    if (device->option->given_id)
        device->info.device =
            device->option->id + (device->option->lun[0] ? 0 : device->lun.address.lun);
    ret = call(device, UBLKW_ADD, &device->info, sizeof(device->info), 0);
    if (!ret && (device->info.flags & flags) != flags)
        ret = -EOPNOTSUPP;
    return ret;
}

static int set_params(struct ublk_device *device)
{
    struct ublkw_params params;
    int ret = ublk_params(&device->lun, device->info.max_io_bytes, &params);

    if (ret)
        return ret;
    return call(device, UBLKW_SET_PARAMS, &params, (uint16_t)params.bytes, 0);
}

static void begin_open(struct ublk_device *device)
{
    device->step = UBLK_OPENING;
    device->retry_ns = 0;
    device->deadline_ns = hv_spin_clock_ns() + OPEN_NS;
}

int ublk_device_make(struct ublk_device *device)
{
    int ret = add(device);

    device->fd = -1;
    if (ret) {
        fail(device,
             ret == -EOPNOTSUPP ? "the kernel cannot do what its options ask for"
                                : "cannot be made",
             ret);
        device->step = UBLK_GONE;
        return ret;
    }
    begin_open(device);
    return 0;
}

/* ---- Taking over ---- */

void ublk_device_recover(struct ublk_device *device, const struct ublkw_info *info)
{
    device->info = *info;
    device->fd = -1;
    device->recovered = true;
    device->step = UBLK_RECOVERING;
    device->retry_ns = 0;
    device->deadline_ns = hv_spin_clock_ns() + RECOVER_NS;
}

/** The kernel's idea of the size, so that a change in between shows. */
static int read_size(struct ublk_device *device)
{
    struct ublkw_params params = {.bytes = sizeof(params)};
    int ret = call(device, UBLKW_GET_PARAMS, &params, sizeof(params), 0);
    uint64_t bytes = params.basic.sectors << 9;

    if (ret)
        return ret;
    if (bytes > device->lun.bytes)
        return -ENOSPC;
    device->lun.bytes = bytes;
    return 0;
}

/** START_USER_RECOVERY; fine as well when a daemon began that and died over it. */
static int start_recovery(struct ublk_device *device)
{
    int ret = call(device, UBLKW_RECOVER_START, NULL, 0, 0);
    struct ublkw_info info;

    if (ret == -EINVAL && !ublk_device_info(device->control, device->info.device, &info) &&
        (info.state == UBLKW_QUIESCED || info.state == UBLKW_FAIL_IO))
        return 0;
    return ret;
}

static void try_recover(struct ublk_device *device, uint64_t now_ns)
{
    int ret = read_size(device);

    if (!ret)
        ret = start_recovery(device);
    if (ret == -EBUSY && now_ns < device->deadline_ns) { /* the old daemon is not quite gone */
        device->retry_ns = now_ns + RETRY_NS;
        return;
    }
    if (ret)
        give_up(device,
                ret == -EBUSY    ? "cannot be taken over, its daemon lives"
                : ret == -ENOSPC ? "is larger than the disk now"
                                 : "cannot be taken over",
                ret);
    else
        begin_open(device);
}

/* ---- Queues ---- */

static void started(struct ublk_command *command, int result);

static int make_queues(struct ublk_device *device)
{
    struct ublk_queue_opts opts = {
        .fd = device->fd,
        .depth = device->info.depth,
        .slot = device->slot,
        .identity = device->lun.identity,
        .max_io_bytes = device->info.max_io_bytes,
        .user_copy = device->info.flags & UBLKW_F_USER_COPY,
        .owner = device,
    };

    if (device->info.queues > UBLK_QUEUES_MAX || device->info.depth > UBLKW_DEPTH_MAX ||
        (!opts.user_copy && opts.max_io_bytes > BUFFER_SLAB_BYTES))
        return -E2BIG;
    for (uint16_t i = 0; i < device->info.queues; i++) {
        struct reactor *reactor = &device->opts->reactors[i % device->active];
        struct ublk_queue *queue;
        int ret;

        opts.index = i;
        ret = ublk_queue_create(&opts, &queue);
        if (ret)
            return ret;
        ret = reactor_ublk_add(reactor, queue);
        if (ret) {
            ublk_queue_destroy(queue);
            return ret;
        }
        device->queues[device->queue_count++] = queue;
        device->queues_live++;
    }
    return 0;
}

static void try_open(struct ublk_device *device, uint64_t now_ns)
{
    char path[UBLK_PATH_BYTES];
    int ret;

    ublk_path('c', device->info.device, path);
    device->fd = open(path, O_RDWR | O_CLOEXEC);
    ret = device->fd < 0 ? -errno : 0;
    if ((ret == -EBUSY || ret == -ENOENT || ret == -EACCES) && now_ns < device->deadline_ns) {
        device->retry_ns = now_ns + RETRY_NS;
        return;
    }
    if (!ret &&
        !device
             ->recovered) /* not before: an unprivileged device is ours when udev has given it to us */
        ret = set_params(device);
    if (!ret)
        ret = make_queues(device);
    device->start.op = device->recovered ? UBLKW_RECOVER_END : UBLKW_START;
    device->start.device = device->info.device;
    device->start.value = (uint64_t)getpid();
    device->start.done = started;
    device->start.arg = device;
    device->step = UBLK_STARTING;
    if (!ret)
        ret = ublk_control_send(device->control, &device->start);
    if (ret)
        give_up(device, path, ret);
}

static void started(struct ublk_command *command, int result)
{
    struct ublk_device *device = command->arg;
    char size[HV_SIZE_TEXT_BYTES];

    if (device->step != UBLK_STARTING) /* given up meanwhile */
        return;
    if (result) {
        give_up(device, "cannot be started", result);
        return;
    }
    device->step = UBLK_LIVE;
    log_line(
        HV_LOG_INFO, "%s: %s /dev/ublkb%u, %u queue%s of %u requests, up to %s each, recovery %s",
        device->lun.name, device->recovered ? "taken over as" : "block device", device->info.device,
        device->info.queues, device->info.queues == 1 ? "" : "s", device->info.depth,
        hv_size_text(device->info.max_io_bytes, size), ublk_recovery_name(device->info.flags));
    if (device->stop_wanted)
        ublk_device_stop(device, device->keep_wanted);
}

/* ---- Removing ---- */

static void drop_queues(struct ublk_device *device)
{
    for (unsigned i = 0; i < device->queue_count; i++) {
        struct ublk_queue *queue = device->queues[i];

        if (queue->reactor)
            reactor_ublk_remove(queue->reactor, queue);
        ublk_queue_destroy(queue);
    }
    device->queue_count = device->queues_live = 0;
    if (device->fd >= 0)
        (void)close(device->fd);
    device->fd = -1;
}

static void deleted(struct ublk_command *command, int result)
{
    struct ublk_device *device = command->arg;

    if (device->step != UBLK_DELETING) /* waited for long enough */
        return;
    if (result)
        log_line(HV_LOG_ERROR, "ublk device %u cannot be deleted: %s", device->info.device,
                 strerror(-result));
    else
        log_line(HV_LOG_INFO, "%s: /dev/ublkb%u is removed", device->lun.name, device->info.device);
    device->step = UBLK_GONE;
}

/** DEL waits until nobody holds the dead device, a mount for instance; the kernel removes it then, without us. */
static void leave_to_holders(struct ublk_device *device)
{
    log_line(HV_LOG_WARNING,
             "%s: /dev/ublkb%u is held by a mount or a program: it fails all I/O, and is removed "
             "when that lets go",
             device->lun.name, device->info.device);
    device->step = UBLK_GONE;
}

static void send_end(struct ublk_device *device, unsigned long op, uint64_t value, ublk_done done)
{
    int ret;

    device->end = (struct ublk_command){
        .op = op, .device = device->info.device, .value = value, .done = done, .arg = device};
    ret = ublk_control_send(device->control, &device->end);
    if (ret)
        done(&device->end, ret);
}

/* ---- In the place of a dead one ---- */

static void cleared(struct ublk_command *command, int result)
{
    struct ublk_device *device = command->arg;

    if (result)
        log_line(HV_LOG_WARNING, "ublk device %u, left dead, cannot be deleted: %s",
                 command->device, strerror(-result));
    device->retry_ns = 0; /* go on now */
}

void ublk_device_replace(struct ublk_device *device, uint32_t dead)
{
    device->fd = -1;
    device->info.device = dead;
    device->step = UBLK_CLEARING;
    device->retry_ns = device->deadline_ns = hv_spin_clock_ns() + DELETE_NS;
    send_end(device, UBLKW_DELETE, 0, cleared);
}

static void try_make(struct ublk_device *device)
{
    if (!device->end.busy) {
        (void)ublk_device_make(device);
        return;
    }
    fail(device, "what a dead daemon left is held by a mount or a program", -EBUSY);
    device->step = UBLK_GONE;
}

/* ---- The end ---- */

static void begin_delete(struct ublk_device *device)
{
    drop_queues(device);
    device->step = UBLK_DELETING;
    device->retry_ns = device->deadline_ns = hv_spin_clock_ns() + DELETE_NS;
    send_end(device, UBLKW_DELETE, 0, deleted);
}

/** STOP and the queues end in either order. */
static void try_delete(struct ublk_device *device)
{
    if (device->step == UBLK_STOPPING && device->stopped && !device->queues_live)
        begin_delete(device);
}

static void stop_ended(struct ublk_command *command, int result)
{
    struct ublk_device *device = command->arg;

    if (result)
        log_line(HV_LOG_WARNING, "ublk device %u: stop: %s", device->info.device,
                 strerror(-result));
    device->stopped = true;
    try_delete(device);
}

static void begin_stop(struct ublk_device *device)
{
    device->step = UBLK_STOPPING;
    device->stopped = false;
    if (device->queue_count)
        send_end(device, UBLKW_STOP, 0, stop_ended);
    else
        begin_delete(device);
}

static void quiesced(struct ublk_command *command, int result)
{
    struct ublk_device *device = command->arg;

    if (result)
        log_line(HV_LOG_WARNING, "ublk device %u: quiesce: %s", device->info.device,
                 strerror(-result));
    device->step = UBLK_KEPT;
}

static void keep(struct ublk_device *device)
{
    log_line(HV_LOG_INFO, "%s: /dev/ublkb%u stays for the next daemon: --recover", device->lun.name,
             device->info.device);
    device->step = UBLK_QUIESCING;
    if (device->control->features & UBLKW_F_QUIESCE)
        send_end(device, UBLKW_QUIESCE, QUIESCE_MS, quiesced);
    else
        device->step = UBLK_KEPT;
}

void ublk_device_stop(struct ublk_device *device, bool keep_it)
{
    device->stop_wanted = true;
    device->keep_wanted = keep_it;
    switch (device->step) {
    case UBLK_CLEARING:
        device->step = UBLK_GONE; /* nothing is made yet */
        break;
    case UBLK_RECOVERING:
        device->step = UBLK_KEPT; /* not ours yet */
        break;
    case UBLK_OPENING:
        if (device->recovered)
            device->step = UBLK_KEPT;
        else
            begin_stop(device);
        break;
    case UBLK_LIVE:
        if (keep_it && device->info.flags & UBLKW_F_RECOVERY && !device->orphaned)
            keep(device);
        else if (device->orphaned)
            begin_stop(device);
        else if (!device->helping) { /* else when that one is back */
            device->step = UBLK_FLUSHING;
            ublk_help(device, UBLK_HELP_FLUSH);
        }
        break;
    default: /* STARTING: when it has; the others are on their way */
        break;
    }
}

/* ---- Events ---- */

void ublk_device_queue_ended(struct ublk_device *device, const struct ublk_queue *queue)
{
    unsigned i = 0;

    while (i < device->queue_count && device->queues[i] != queue)
        i++;
    if (i == device->queue_count) /* news from before a removal */
        return;
    device->queues_live--;
    if (device->step == UBLK_LIVE || device->step == UBLK_STARTING ||
        device->step == UBLK_FLUSHING) {
        log_line(HV_LOG_WARNING, "%s: /dev/ublkb%u was stopped by somebody else", device->lun.name,
                 device->info.device);
        device->failed = true; /* not made again behind that somebody's back */
        begin_stop(device);
    }
    try_delete(device);
}

void ublk_device_helped(struct ublk_device *device, int result)
{
    device->helping = false;
    if (device->step == UBLK_FLUSHING) {
        if (result)
            log_line(HV_LOG_WARNING, "/dev/ublkb%u: last flush: %s", device->info.device,
                     strerror(-result));
        begin_stop(device);
    } else if (device->step == UBLK_LIVE && device->stop_wanted) {
        ublk_device_stop(device, device->keep_wanted);
    } else if (device->step == UBLK_LIVE && device->orphaned) {
        if (result == -EBUSY) /* mounted, or part of something */
            device->retry_ns = hv_spin_clock_ns() + HOLDERS_NS;
        else
            begin_stop(device);
    }
}

static void resize(struct ublk_device *device, uint64_t bytes)
{
    int ret = -EOPNOTSUPP;

    if (device->control->features & UBLKW_F_UPDATE_SIZE)
        ret = call(device, UBLKW_UPDATE_SIZE, NULL, 0, bytes >> 9);
    if (ret)
        log_line(
            HV_LOG_WARNING, "/dev/ublkb%u keeps its size of %llu bytes, the disk has %llu now: %s",
            device->info.device, (unsigned long long)device->lun.bytes, (unsigned long long)bytes,
            ret == -EOPNOTSUPP ? "Linux 6.16 is the first that can change it" : strerror(-ret));
}

void ublk_device_lun(struct ublk_device *device, const struct lun *lun)
{
    if (device->step != UBLK_LIVE)
        return;
    if (!lun || ublk_identity(lun) != ublk_identity(&device->lun)) {
        if (!device->orphaned)
            log_line(HV_LOG_WARNING,
                     "%s: /dev/ublkb%u fails its I/O, and goes when nobody holds it",
                     device->lun.name, device->info.device);
        device->orphaned = true;
        device->retry_ns = 1; /* as soon as possible */
        if (lun)              /* another disk in its place: not one request may reach that */
            begin_stop(device);
        return;
    }
    device->orphaned = false;
    device->retry_ns = 0;
    if (lun->bytes != device->lun.bytes)
        resize(device, lun->bytes);
    device->lun = *lun;
}

uint64_t ublk_device_deadline(const struct ublk_device *device)
{
    if (device->step == UBLK_CLEARING || device->step == UBLK_RECOVERING ||
        device->step == UBLK_OPENING)
        return device->retry_ns ? device->retry_ns : 1;
    if (device->step == UBLK_DELETING)
        return device->deadline_ns;
    if (device->step == UBLK_LIVE && device->orphaned && !device->helping)
        return device->retry_ns;
    return 0;
}

void ublk_device_poll(struct ublk_device *device, uint64_t now_ns)
{
    if (now_ns < device->retry_ns)
        return;
    if (device->step == UBLK_CLEARING)
        try_make(device);
    else if (device->step == UBLK_RECOVERING)
        try_recover(device, now_ns);
    else if (device->step == UBLK_OPENING)
        try_open(device, now_ns);
    else if (device->step == UBLK_DELETING)
        leave_to_holders(device);
    else if (device->step == UBLK_LIVE && device->orphaned && !device->helping)
        ublk_help(device, UBLK_HELP_TRY);
}

void ublk_device_fini(struct ublk_device *device)
{
    drop_queues(device);
}
