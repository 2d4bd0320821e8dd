/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection to a host: opened at probe and reset, closed when nobody holds a frame of it any more. */
#include "port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_alarm.h>

/** How often a device that waits for held frames looks for them. */
#define ORPHAN_US 100000

static void log_line(void *arg, enum hv_log_level level, const char *line)
{
    static const uint32_t levels[] = {
        [HV_LOG_ERROR] = RTE_LOG_ERR,
        [HV_LOG_WARNING] = RTE_LOG_WARNING,
        [HV_LOG_INFO] = RTE_LOG_INFO,
        [HV_LOG_DEBUG] = RTE_LOG_DEBUG,
    };
    const struct hvnet_device *device = arg;

    rte_log(levels[level], (uint32_t)hvnet_log_type, "net_hvnet: %s: %s\n", device->name, line);
}

static void on_event(void *arg, enum hv_netvsc_event event)
{
    struct hvnet_device *device = arg;

    switch (event) {
    case HV_NETVSC_LINK_UP:
    case HV_NETVSC_LINK_DOWN:
        device->link_event = true;
        break;
    case HV_NETVSC_VF_ADDED:
    case HV_NETVSC_VF_REMOVED: /* told in the log and in info; traffic stays on VMBus */
        HVNET_LOG(NOTICE, "%s: the host %s a virtual function; frames stay on VMBus\n",
                  device->name, event == HV_NETVSC_VF_ADDED ? "offers" : "takes away");
        break;
    case HV_NETVSC_DEAD:
        device->dead_event = true;
        break;
    }
}

static int open_netvsc(struct hvnet_device *device, uint16_t mtu)
{
    static const struct hv_guid network =
        HV_GUID_INIT(0xf8615163, 0xdf3e, 0x46c5, 0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e);
    struct hv_netvsc_opts opts = HV_NETVSC_OPTS_INIT;
    struct hv_vmbus_device found;
    int err = hv_vmbus_find(device->bus, &network, &found);

    if (err) {
        HVNET_LOG(ERR, "%s: %s offers no such network device\n", device->name,
                  device->args.address);
        return err;
    }
    hvnet_devargs_to_opts(&device->args, &opts);
    opts.log = (struct hv_log_hook){.line = log_line, .arg = device};
    opts.mtu = mtu;
    opts.event = on_event;
    opts.event_arg = device;
    err = hv_netvsc_open(device->bus, &found.instance_id, &opts, &device->netvsc);
    if (err)
        HVNET_LOG(ERR, "%s: cannot open the network device at %s: %s\n", device->name,
                  device->args.address, strerror(-err));
    return err;
}

int hvnet_device_open(const struct hvnet_devargs *args, const char *name, uint16_t mtu,
                      struct hvnet_device **ret_device)
{
    struct hvnet_device *device = calloc(1, sizeof(*device));
    struct hv_vmbus_opts opts = HV_VMBUS_OPTS_INIT;
    int err;

    if (!device)
        return -ENOMEM;
    device->args = *args;
    (void)snprintf(device->name, sizeof(device->name), "%s", name);
    (void)pthread_mutex_init(&device->lock, NULL); /* default attributes: cannot fail */
    opts.log = (struct hv_log_hook){.line = log_line, .arg = device};
    opts.timeout_ms = args->timeout_ms;
    err = hv_vmbus_open(args->address, &opts, &device->bus);
    if (err)
        HVNET_LOG(ERR, "%s: no host at %s: %s\n", name, args->address, strerror(-err));
    if (!err)
        err = open_netvsc(device, mtu);
    if (!err)
        err = hvnet_dma_start(device);
    if (err) {
        hvnet_device_close(device);
        return err;
    }
    *ret_device = device;
    return 0;
}

bool hvnet_device_holds(const struct hvnet_device *device)
{
    for (uint16_t q = 0; q < HV_NETVSC_QUEUES_MAX; q++)
        for (uint32_t i = 0; device->holds[q] && i < HVNET_HOLDS; i++)
            if (atomic_load_explicit(&device->holds[q][i].busy, memory_order_acquire))
                return true;
    return false;
}

int hvnet_device_holds_alloc(struct hvnet_device *device, uint16_t queue)
{
    if (!device->holds[queue])
        device->holds[queue] = calloc(HVNET_HOLDS, sizeof(struct hvnet_hold));
    return device->holds[queue] ? 0 : -ENOMEM;
}

static void destroy(struct hvnet_device *device)
{
    hv_netvsc_close(device->netvsc);
    hv_vmbus_close(device->bus);
    for (uint16_t q = 0; q < HV_NETVSC_QUEUES_MAX; q++)
        free(device->holds[q]);
    free(device->dma);
    (void)pthread_mutex_destroy(&device->lock);
    free(device);
}

static void look_after_orphan(void *arg);

/** True: frames are held, and the device is looked at later.  Without an alarm it stays: the application still reads them. */
static bool is_needed(struct hvnet_device *device)
{
    if (!hvnet_device_holds(device))
        return false;
    if (rte_eal_alarm_set(ORPHAN_US, look_after_orphan, device))
        HVNET_LOG(ERR, "%s: received frames are in use and no alarm can be set: never closed\n",
                  device->name);
    return true;
}

/** In EAL's alarm thread: nobody else knows the device any more. */
static void look_after_orphan(void *arg)
{
    if (!is_needed(arg))
        destroy(arg);
}

void hvnet_device_close(struct hvnet_device *device)
{
    if (!device)
        return;
    hvnet_dma_stop(device);
    if (is_needed(device)) {
        HVNET_LOG(
            NOTICE,
            "%s: received frames are still in use: the connection stays until they are freed\n",
            device->name);
        return;
    }
    destroy(device);
}

void hvnet_device_poll(struct hvnet_device *device, bool *ret_link, bool *ret_dead)
{
    (void)pthread_mutex_lock(&device->lock);
    if (hv_netvsc_poll_control(device->netvsc))
        device->dead_event = true;
    *ret_link = device->link_event;
    *ret_dead = device->dead_event;
    device->link_event = device->dead_event = false;
    (void)pthread_mutex_unlock(&device->lock);
}
