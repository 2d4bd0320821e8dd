/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHANNELS_MAX 4096 /* relids are 11 bits; a folder with more is none of the kernel's */
#define DEVICES_MAX  4096

const char *const device_state_names[] = {"offered", "opening", "closed", "open", "unknown"};
const char *const channel_counter_names[COUNTERS] = {
    "interrupts", "events", "intr_in_full", "intr_out_empty", "out_full_first", "out_full_total"};

/** An array that grows by doubling. */
static void *grow(void *list, size_t count, size_t item_bytes)
{
    if (count & (count - 1)) /* room is left up to the next power of two */
        return list;
    return reallocarray(list, count ? 2 * count : 1, item_bytes);
}

struct loading {
    const struct sys *sys;
    struct device *device;
    struct devices *devices;
    int err;
};

/* ---- Channels ---- */

#define CHANNEL_PATH DEVICE_PATH "/channels/%u/%s"

/** A small number, -1 when it is not there or none. */
static int small_number(const struct sys *sys, const struct device *device, uint32_t relid,
                        const char *leaf, uint32_t max)
{
    uint64_t value;

    return sys_number(sys, max, &value, CHANNEL_PATH, device->folder, relid, leaf) ? -1
                                                                                   : (int)value;
}

/** Data bytes of each ring, from the size of the file that user space maps. */
static uint64_t ring_file_bytes(const struct sys *sys, const struct device *device, uint32_t relid)
{
    char path[PATH_MAX];
    struct stat st;

    if (sys_path(sys, path, sizeof(path), CHANNEL_PATH, device->folder, relid, "ring") ||
        stat(path, &st) || st.st_size <= 0)
        return 0;
    return (uint64_t)st.st_size;
}

/** The primary's rings: the device shows both ends of both.  Fails while the kernel has none. */
static void read_primary_fill(const struct sys *sys, const struct device *device, const char *side,
                              struct ring_fill *fill)
{
    uint64_t used, free_bytes;

    if (sys_number(sys, UINT32_MAX, &used, DEVICE_PATH "/%s_read_bytes_avail", device->folder,
                   side) ||
        sys_number(sys, UINT32_MAX, &free_bytes, DEVICE_PATH "/%s_write_bytes_avail",
                   device->folder, side))
        return;
    *fill = (struct ring_fill){true, used, used + free_bytes};
}

/** A sub-channel shows what can be read and what can be written. */
static void read_sub_fill(const struct sys *sys, const struct device *device,
                          struct channel *channel)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), size = 0, value;

    if (channel->ring_file_bytes / 2 > page)
        size = channel->ring_file_bytes / 2 - page;
    if (!sys_number(sys, UINT32_MAX, &value, CHANNEL_PATH, device->folder, channel->relid,
                    "read_avail"))
        channel->in = (struct ring_fill){true, value, size};
    if (size &&
        !sys_number(sys, size, &value, CHANNEL_PATH, device->folder, channel->relid, "write_avail"))
        channel->out = (struct ring_fill){true, size - value, size};
}

static void read_channel(const struct sys *sys, const struct device *device,
                         struct channel *channel)
{
    channel->cpu = small_number(sys, device, channel->relid, "cpu", 65535);
    channel->monitor_id = small_number(sys, device, channel->relid, "monitor_id", MONITOR_MAX - 1);
    channel->ring_file_bytes = ring_file_bytes(sys, device, channel->relid);
    if (!channel->index) {
        read_primary_fill(sys, device, "out", &channel->out);
        read_primary_fill(sys, device, "in", &channel->in);
        if (channel->monitor_id < 0)
            channel->monitor_id = device->monitor_id;
    } else {
        read_sub_fill(sys, device, channel);
    }
    for (unsigned i = 0; i < COUNTERS; i++)
        channel->has_counter[i] =
            !sys_number(sys, UINT64_MAX, &channel->counter[i], CHANNEL_PATH, device->folder,
                        channel->relid, channel_counter_names[i]);
}

static bool take_channel(void *arg, const char *name)
{
    struct loading *loading = arg;
    struct device *device = loading->device;
    uint64_t relid, index;
    void *list;

    if (sys_parse(name, UINT16_MAX, &relid) || device->channel_count == CHANNELS_MAX)
        return true;
    if (sys_number(loading->sys, UINT16_MAX, &index, CHANNEL_PATH, device->folder, (unsigned)relid,
                   "subchannel_id")) {
        if (relid != device->relid)
            return true; /* half made, or half gone */
        index = 0;
    }
    list = grow(device->channels, device->channel_count, sizeof(struct channel));
    if (!list) {
        loading->err = -ENOMEM;
        return false;
    }
    device->channels = list;
    device->channels[device->channel_count] =
        (struct channel){.relid = (uint32_t)relid, .index = (uint32_t)index};
    read_channel(loading->sys, device, &device->channels[device->channel_count++]);
    return true;
}

static int compare_channels(const void *a, const void *b)
{
    const struct channel *x = a, *y = b;

    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return x->relid < y->relid ? -1 : x->relid > y->relid;
}

/* ---- Devices ---- */

static int read_guid(const struct sys *sys, const char *folder, const char *leaf,
                     struct hv_guid *ret_guid)
{
    char text[SYS_TEXT_BYTES];
    int err = sys_read(sys, text, DEVICE_PATH "/%s", folder, leaf);

    if (err)
        return err;
    return hv_guid_parse(text, ret_guid) ? -EPROTO : 0;
}

static bool take_uio(void *arg, const char *name)
{
    uint64_t number;

    if (strncmp(name, "uio", 3) || sys_parse(name + 3, UINT16_MAX, &number))
        return true;
    *(int *)arg = (int)number;
    return false;
}

void device_read_driver(const struct sys *sys, const char *folder, char ret_driver[SYS_TEXT_BYTES])
{
    if (sys_link(sys, ret_driver, DEVICE_PATH "/driver", folder))
        *ret_driver = '\0';
}

static void read_driver(const struct sys *sys, struct device *device)
{
    device_read_driver(sys, device->folder, device->driver);
    device->has_override =
        !sys_read(sys, device->override, DEVICE_PATH "/driver_override", device->folder);
    if (!device->has_override || !strcmp(device->override, "(null)"))
        *device->override = '\0';
    device->uio = -1;
    (void)sys_each(sys, take_uio, &device->uio, DEVICE_PATH "/uio", device->folder);
    if (device->uio >= 0)
        (void)sys_number(sys, UINT64_MAX, &device->uio_events, DEVICE_PATH "/uio/uio%d/event",
                         device->folder, device->uio);
}

static int read_device(const struct sys *sys, struct device *device)
{
    uint64_t number;
    int err = read_guid(sys, device->folder, "device_id", &device->instance_id);

    if (!err)
        err = read_guid(sys, device->folder, "class_id", &device->class_id);
    if (!err)
        err = sys_number(sys, UINT16_MAX, &number, DEVICE_PATH "/id", device->folder);
    if (err)
        return err;
    device->relid = (uint32_t)number;
    hv_guid_format(&device->instance_id, device->instance_text);
    device->facts = class_find(&device->class_id);
    device->state = sys_number(sys, STATE_OPEN, &number, DEVICE_PATH "/state", device->folder)
                        ? STATE_UNKNOWN
                        : (enum device_state)number;
    device->monitor_id =
        sys_number(sys, MONITOR_MAX - 1, &number, DEVICE_PATH "/monitor_id", device->folder)
            ? -1
            : (int)number;
    read_driver(sys, device);
    return 0;
}

static bool take_device(void *arg, const char *name)
{
    struct loading *loading = arg;
    struct devices *devices = loading->devices;
    struct device *device;
    void *list;

    if (devices->count == DEVICES_MAX)
        return false;
    list = grow(devices->list, devices->count, sizeof(struct device));
    if (!list) {
        loading->err = -ENOMEM;
        return false;
    }
    devices->list = list;
    device = loading->device = &devices->list[devices->count];
    *device = (struct device){0};
    memcpy(device->folder, name, strlen(name) + 1); /* sys_each() has bounded it */
    if (read_device(loading->sys, device)) {
        devices->broken++;
        return true;
    }
    devices->count++;
    (void)sys_each(loading->sys, take_channel, loading, DEVICE_PATH "/channels", device->folder);
    if (device->channel_count)
        qsort(device->channels, device->channel_count, sizeof(struct channel), compare_channels);
    return !loading->err;
}

static int compare_devices(const void *a, const void *b)
{
    const struct device *x = a, *y = b;
    int order = strcmp(x->facts->name, y->facts->name);

    return order ? order : strcmp(x->instance_text, y->instance_text);
}

int devices_load(const struct sys *sys, struct devices *ret_devices)
{
    struct devices devices = {0};
    struct loading loading = {.sys = sys, .devices = &devices};
    int err = sys_each(sys, take_device, &loading, "sys/bus/vmbus/devices");

    if (!err)
        err = loading.err;
    if (err) {
        devices_fini(&devices);
        return err;
    }
    if (devices.count)
        qsort(devices.list, devices.count, sizeof(struct device), compare_devices);
    *ret_devices = devices;
    return 0;
}

void devices_fini(struct devices *devices)
{
    for (size_t i = 0; i < devices->count; i++)
        free(devices->list[i].channels);
    free(devices->list);
    *devices = (struct devices){0};
}

struct device *devices_find(const struct devices *devices, const struct hv_guid *instance)
{
    for (size_t i = 0; i < devices->count; i++)
        if (hv_guid_equal(&devices->list[i].instance_id, instance))
            return &devices->list[i];
    return NULL;
}

bool device_is_on_uio(const struct device *device)
{
    return !strcmp(device->driver, UIO_DRIVER);
}
