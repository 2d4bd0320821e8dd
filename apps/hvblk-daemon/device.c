/* SPDX-License-Identifier: BSD-3-Clause */
#include "device.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/size.h"
#include "common/spin.h"
#include "log.h"

#define BUS_TIMEOUT_MS   5000u
#define INIT_TIMEOUT_MS  10000u
#define PAUSE_MIN_MS     100u
#define PAUSE_MAX_MS     2000u
#define STABLE_NS        UINT64_C(5000000000) /* after so long the pauses start small again */
#define MS_NS            UINT64_C(1000000)
#define FLUSH_TIMEOUT_MS 30000u

/* ---- Events of the libraries ---- */

static void bus_event(void *arg, enum hv_vmbus_event event, const struct hv_guid *instance)
{
    struct device *device = arg;

    (void)instance;
    if (event == HV_VMBUS_HOST_GONE)
        device->host_gone = true;
}

/** In the thread of reactor 0. */
static void storvsc_event(void *arg, enum hv_storvsc_event event, const struct hv_storvsc_lun *lun)
{
    const struct device *device = arg;
    struct mail news = {.kind = DEVICE_LUNS_CHANGED};

    (void)lun;
    if (event != HV_STORVSC_DEAD) /* the queues say that themselves */
        (void)mailbox_post(device->opts.news, &news);
}

/* ---- LUNs ---- */

static void describe(const struct lun *lun, const char *what)
{
    char size[HV_SIZE_TEXT_BYTES];

    log_line(HV_LOG_INFO, "%s: %s, %s in blocks of %" PRIu32 "%s (%s)", lun->name, what,
             hv_size_text(lun->bytes, size), lun->block_bytes, lun->read_only ? ", read-only" : "",
             lun->description);
}

/** Take one LUN over into its slot; says what is new about it. */
static void take_lun(struct device *device, const struct hv_storvsc_lun *from)
{
    struct lun lun = {0};
    struct lun *slot;
    uint16_t index;

    if (!lun_from_device(from, &lun)) {
        log_line(HV_LOG_INFO, "LUN %u of target %u is no disk that can be exported",
                 from->address.lun, from->address.target);
        return;
    }
    index = lun_slot(&device->luns, &from->address);
    if (index == LUN_NONE) {
        log_line(HV_LOG_WARNING, "more than %u LUNs: %s is not exported", LUN_MAX, lun.name);
        return;
    }
    slot = &device->luns.lun[index];
    if (!slot->name[0])
        describe(&lun, "export");
    else if (slot->bytes != lun.bytes)
        describe(&lun, "new size, connections to come see it");
    *slot = lun;
}

static void read_luns(struct device *device)
{
    struct hv_storvsc_lun *found = calloc(LUN_MAX, sizeof(*found));
    struct lun_table *before = malloc(sizeof(*before));
    size_t count;

    if (found && before) {
        *before = device->luns;
        count = hv_storvsc_luns(device->storvsc, found, LUN_MAX);
        for (uint16_t i = 0; i < device->luns.count; i++)
            device->luns.lun[i].present = false;
        for (size_t i = 0; i < count && i < LUN_MAX; i++)
            take_lun(device, &found[i]);
        for (uint16_t i = 0; i < before->count; i++)
            if (before->lun[i].present && !device->luns.lun[i].present)
                describe(&before->lun[i], "gone");
            else if (!before->lun[i].present && device->luns.lun[i].present)
                describe(&before->lun[i], "back");
    } else {
        log_line(HV_LOG_ERROR, "out of memory: LUNs are not looked at");
    }
    free(found);
    free(before);
    device->generation++;
    for (unsigned i = 0; i < device->opts.reactor_count; i++)
        reactor_set_luns(&device->opts.reactors[i], &device->luns);
}

void device_luns_changed(struct device *device)
{
    if (device->up)
        read_luns(device);
}

/* ---- Connecting ---- */

static int open_bus(struct device *device, struct hv_vmbus **ret_bus)
{
    struct hv_vmbus_opts opts = HV_VMBUS_OPTS_INIT;
    const char *address = device->opts.address;
    char text[24];
    int ret;

    if (device->opts.emulate) {
        int fd = emulate_connect(device->opts.emulate);

        if (fd < 0)
            return fd;
        (void)snprintf(text, sizeof(text), "fd:%d", fd);
        address = text;
    }
    opts.log = log_hook("bus");
    opts.max_version = device->opts.max_vmbus;
    opts.timeout_ms = BUS_TIMEOUT_MS;
    opts.event = bus_event;
    opts.event_arg = device;
    device->host_gone = false;
    ret = hv_vmbus_open(address, &opts, ret_bus);
    return ret;
}

static void free_dma(struct device *device)
{
    for (unsigned i = 0; i < device->opts.reactor_count; i++) {
        hv_dma_free(device->opts.reactors[i].dma);
        device->opts.reactors[i].dma = NULL;
    }
}

/** Let the host of this bus reach the reactors' buffers. */
static int register_dma(struct device *device, struct hv_vmbus *bus)
{
    for (unsigned i = 0; i < device->opts.reactor_count; i++) {
        struct reactor *reactor = &device->opts.reactors[i];
        int ret = hv_dma_register(bus, reactor->arena, reactor->opts.buffer_bytes,
                                  reactor->arena_fd, 0, &reactor->dma);

        if (ret) {
            free_dma(device);
            return ret;
        }
    }
    return 0;
}

/** Reactors that have a queue get it; the others lose their connections, which come back to the first. */
static void attach_all(struct device *device)
{
    struct hv_host_worker *workers[REACTOR_MAX] = {0};
    unsigned queues = hv_storvsc_queue_count(device->storvsc);

    if (device->opts.emulate)
        (void)emulate_lend(device->opts.emulate, workers, REACTOR_MAX);
    if (queues > device->opts.reactor_count)
        queues = device->opts.reactor_count;
    if (queues < device->opts.reactor_count && queues != device->active)
        log_line(HV_LOG_WARNING, "the host grants %u of %u channels; as many reactors work", queues,
                 device->opts.reactor_count);
    device->active = queues;
    for (unsigned i = 0; i < device->opts.reactor_count; i++)
        if (i < queues)
            reactor_attach(&device->opts.reactors[i],
                           hv_storvsc_queue(device->storvsc, (uint16_t)i), workers[i]);
        else
            reactor_drop(&device->opts.reactors[i]);
    device->up = true;
    device->up_ns = hv_spin_clock_ns();
}

static void detach_all(struct device *device)
{
    for (unsigned i = 0; i < device->opts.reactor_count; i++)
        reactor_detach(&device->opts.reactors[i]);
    if (device->opts.emulate)
        emulate_take_back(device->opts.emulate);
    device->up = false;
}

int device_open(struct device *device, const struct device_opts *opts)
{
    struct hv_storvsc_opts storvsc = HV_STORVSC_OPTS_INIT;
    int ret;

    device->opts = *opts;
    ret = open_bus(device, &device->bus);
    if (ret)
        return ret;
    ret = register_dma(device, device->bus);
    if (ret)
        return ret;
    storvsc.log = log_hook("storvsc");
    storvsc.channels = (uint16_t)opts->reactor_count;
    storvsc.max_version = opts->max_storvsc;
    storvsc.depth = opts->depth;
    storvsc.init_timeout_ms = INIT_TIMEOUT_MS;
    storvsc.event = storvsc_event;
    storvsc.event_arg = device;
    ret = hv_storvsc_open(device->bus, NULL, &storvsc, &device->storvsc);
    if (ret)
        return ret;
    read_luns(device);
    attach_all(device);
    return 0;
}

/* ---- Lost and found ---- */

void device_lost(struct device *device)
{
    uint64_t now = hv_spin_clock_ns();
    unsigned lost = 0;

    if (!device->up)
        return;
    detach_all(device);
    for (unsigned i = 0; i < device->luns.count; i++)
        if (atomic_exchange(&device->shared[i].dirty, false)) {
            atomic_store(&device->shared[i].lost, true);
            lost++;
        }
    log_line(HV_LOG_ERROR, "the device is lost (%s); requests in flight fail with EIO%s",
             device->host_gone ? "the host is gone" : "see above",
             lost ? ", and the next flush will, too, since acknowledged writes may be lost" : "");
    if (now - device->up_ns > STABLE_NS)
        device->pause_ms = 0;
    device->tries = 0;
    device->down_ns = now;
    device->try_ns = now + device->pause_ms * MS_NS;
}

static int reconnect(struct device *device)
{
    struct hv_vmbus *bus = device->bus, *old = NULL;
    struct hv_dma *old_dma[REACTOR_MAX] = {0};
    int ret;

    /* The same bus, while it lives; every other time a new connection, in case that the bus is the trouble. */
    if (!bus || device->host_gone || hv_vmbus_poll(bus) || device->tries % 2) {
        ret = open_bus(device, &bus);
        if (ret)
            return ret;
        old = device->bus;
        for (unsigned i = 0; i < device->opts.reactor_count; i++)
            old_dma[i] = device->opts.reactors[i].dma;
        ret = register_dma(device, bus);
        if (ret) {
            for (unsigned i = 0; i < device->opts.reactor_count; i++)
                device->opts.reactors[i].dma = old_dma[i];
            hv_vmbus_close(bus);
            return ret;
        }
    }
    ret = hv_storvsc_reopen(device->storvsc, bus);
    if (bus == device->bus)
        return ret;
    /* Either way the controller has let go of the old bus. */
    for (unsigned i = 0; i < device->opts.reactor_count; i++)
        hv_dma_free(old_dma[i]);
    device->bus = bus;
    hv_vmbus_close(old);
    return ret;
}

static void try_again(struct device *device, uint64_t now_ns)
{
    int ret = reconnect(device);

    device->tries++;
    device->pause_ms = device->pause_ms ? 2 * device->pause_ms : PAUSE_MIN_MS;
    if (device->pause_ms > PAUSE_MAX_MS)
        device->pause_ms = PAUSE_MAX_MS;
    if (ret) {
        if (device->tries == 1)
            log_line(HV_LOG_WARNING, "no way back to the device yet: %s; trying on",
                     strerror(-ret));
        device->try_ns = now_ns + device->pause_ms * MS_NS;
        return;
    }
    device->reconnects++;
    read_luns(device);
    attach_all(device);
    log_line(HV_LOG_WARNING, "the device is back after %.1f s",
             (double)(device->up_ns - device->down_ns) / 1e9);
}

void device_poll(struct device *device, uint64_t now_ns)
{
    if (device->up && hv_vmbus_poll(device->bus)) {
        device->host_gone = true;
        device_lost(device);
    }
    if (!device->up && now_ns >= device->try_ns)
        try_again(device, now_ns);
}

int device_wait(const struct device *device, uint64_t now_ns, int *ret_ms)
{
    *ret_ms = -1;
    if (device->up)
        return hv_vmbus_fd(device->bus);
    *ret_ms = now_ns >= device->try_ns ? 0 : (int)((device->try_ns - now_ns) / MS_NS) + 1;
    return -1;
}

/* ---- Closing ---- */

struct last_flush {
    struct hv_storvsc_request request;
    int error; /* 1 = not done yet */
};

static void flushed(struct hv_storvsc_request *request, const struct hv_storvsc_result *result)
{
    struct last_flush *flush = request->arg;

    flush->error = result->error;
}

/** Wait for one flush; the host's worker is polled by the host's thread now. */
static int flush_lun(struct device *device, const struct lun *lun)
{
    struct hv_storvsc_queue *queue = hv_storvsc_queue(device->storvsc, 0);
    uint64_t end_ns = hv_spin_clock_ns() + FLUSH_TIMEOUT_MS * MS_NS;
    static struct last_flush flush; /* the library may keep it until close */
    int ret;

    flush = (struct last_flush){.error = 1};
    flush.request.op = HV_STORVSC_FLUSH;
    flush.request.address = lun->address;
    flush.request.done = flushed;
    flush.request.arg = &flush;
    ret = hv_storvsc_submit(queue, &flush.request);
    while (!ret && flush.error == 1) {
        struct pollfd fd = {.fd = hv_storvsc_queue_fd(queue), .events = POLLIN};

        ret = hv_storvsc_poll(queue);
        if (ret < 0 || flush.error != 1)
            break;
        ret = hv_spin_clock_ns() > end_ns ? -ETIMEDOUT : 0;
        if (!hv_storvsc_arm(queue))
            (void)poll(&fd, 1, 100);
        hv_storvsc_disarm(queue);
    }
    if (flush.error != 1)
        return flush.error;
    return ret < 0 ? ret : -EIO;
}

void device_close(struct device *device)
{
    if (device->up) {
        detach_all(device);
        for (unsigned i = 0; i < device->luns.count; i++) {
            const struct lun *lun = &device->luns.lun[i];
            int ret;

            if (!lun->present || lun->read_only || !atomic_load(&device->shared[i].dirty))
                continue;
            ret = flush_lun(device, lun);
            if (ret)
                log_line(HV_LOG_ERROR, "%s: last flush: %s", lun->name, strerror(-ret));
            if (ret == -ETIMEDOUT || ret == -ENODEV || ret == -EPROTO)
                break;
        }
    }
    hv_storvsc_close(device->storvsc);
    device->storvsc = NULL;
    if (device->opts.reactors)
        free_dma(device);
    hv_vmbus_close(device->bus);
    device->bus = NULL;
}
