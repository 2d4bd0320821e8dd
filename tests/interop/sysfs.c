/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of /sys/bus/vmbus that a driver in user space looks at, as Linux 6.12 shows them. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel.h"

#define PATH_BYTES 512

static void make_folder(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void make_file(const char *path, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void make_folder(const char *format, ...)
{
    char path[PATH_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(path, sizeof(path), format, args);
    va_end(args);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(path, 0755);
        *slash = '/';
    }
    if (mkdir(path, 0755) && errno != EEXIST)
        kernel_panic("%s: %s", path, strerror(errno));
}

static void make_file(const char *path, const char *name, const char *format, ...)
{
    char whole[PATH_BYTES + 64];
    va_list args;
    FILE *file;

    (void)snprintf(whole, sizeof(whole), "%s/%s", path, name);
    file = fopen(whole, "w");
    if (!file)
        kernel_panic("%s: %s", whole, strerror(errno));
    va_start(args, format);
    (void)vfprintf(file, format, args);
    va_end(args);
    if (fclose(file))
        kernel_panic("%s: %s", whole, strerror(errno));
}

void sysfs_set_open(const char *sysfs, const char *guid, bool is_open)
{
    char path[PATH_BYTES];

    (void)snprintf(path, sizeof(path), "%s/devices/%s", sysfs, guid);
    make_file(path, "state", "%d\n", is_open ? 3 : 2);
}

void sysfs_add_device(const char *sysfs, const struct kernel_sysfs_device *device)
{
    char path[PATH_BYTES], map[PATH_BYTES];

    (void)snprintf(path, sizeof(path), "%s/devices/%s", sysfs, device->guid);
    make_folder("%s/channels", path);
    make_file(path, "class_id", "{%s}\n", device->class_guid);
    make_file(path, "device_id", "{%s}\n", device->guid);
    make_file(path, "id", "%u\n", device->relid);
    make_file(path, "state", "2\n");
    make_file(path, "vendor", "0x1414\n");
    make_file(path, "device", "0x1\n");
    make_file(path, "numa_node", "0\n");
    make_file(path, "driver_override", "(null)\n");
    if (device->monitor_id >= 0)
        make_file(path, "monitor_id", "%d\n", device->monitor_id);
    for (unsigned i = 0; i < KERNEL_UIO_MAPS; i++) {
        (void)snprintf(map, sizeof(map), "%.400s/uio/uio%u/maps/map%u", path, device->number, i);
        make_folder("%s", map);
        make_file(map, "name", "%s\n", device->map[i].name);
        make_file(map, "size", "0x%016zx\n", device->map[i].bytes);
        make_file(map, "addr", "0x%016x\n", 0);
        make_file(map, "offset", "0x%x\n", 0);
    }
    (void)snprintf(map, sizeof(map), "%.400s/uio/uio%u", path, device->number);
    make_file(map, "name", "uio_hv_generic\n");
    make_file(map, "version", "0.02.1\n");
    make_file(map, "event", "0\n");
}

void sysfs_add_channel(const char *sysfs, const char *guid,
                       const struct kernel_sysfs_channel *channel)
{
    char path[PATH_BYTES], ring[PATH_BYTES + 8], target[64];

    (void)snprintf(path, sizeof(path), "%s/devices/%s/channels/%u", sysfs, guid, channel->relid);
    make_folder("%s", path);
    make_file(path, "subchannel_id", "%u\n", channel->sub_channel);
    make_file(path, "cpu", "0\n");
    if (channel->monitor_id >= 0)
        make_file(path, "monitor_id", "%d\n", channel->monitor_id);
    if (channel->sub_channel) { /* the kernel has opened it: it shows what it has rings for */
        make_file(path, "in_mask", "0\n");
        make_file(path, "out_mask", "0\n");
    }
    (void)snprintf(ring, sizeof(ring), "%s/ring", path);
    (void)snprintf(target, sizeof(target), "/proc/self/fd/%d", channel->ring_fd);
    if (symlink(target, ring))
        kernel_panic("%s: %s", ring, strerror(errno));
}

void sysfs_remove_channel(const char *sysfs, const char *guid, uint32_t relid)
{
    static const char *const names[] = {"ring",       "subchannel_id", "cpu",
                                        "monitor_id", "in_mask",       "out_mask"};
    char path[PATH_BYTES], name[PATH_BYTES + 32];

    (void)snprintf(path, sizeof(path), "%s/devices/%s/channels/%u", sysfs, guid, relid);
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(name, sizeof(name), "%s/%s", path, names[i]);
        (void)unlink(name);
    }
    (void)rmdir(path);
}
