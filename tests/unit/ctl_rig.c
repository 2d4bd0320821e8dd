/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl_rig.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "suite.h"

#define DEVICES "sys/bus/vmbus/devices"
#define DRIVERS "sys/bus/vmbus/drivers"

void rig_link(struct rig *rig, const char *target, const char *path_format, ...)
{
    char path[PATH_MAX], full[PATH_MAX], name[PATH_MAX / 2];
    va_list args;

    va_start(args, path_format);
    (void)vsnprintf(name, sizeof(name), path_format, args);
    va_end(args);
    tree_put(&rig->tree, "", "%s", name); /* makes the folders */
    tree_remove(&rig->tree, "%s", name);
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", rig->tree.root, name) >= sizeof(path) ||
        (size_t)snprintf(full, sizeof(full), "%s/%s", rig->tree.root, target) >= sizeof(full) ||
        symlink(full, path))
        abort();
}

static void set_driver(struct rig *rig, const char *instance, const char *driver)
{
    char target[256];

    tree_remove(&rig->tree, DEVICES "/%s/driver", instance);
    if (!*driver)
        return;
    (void)snprintf(target, sizeof(target), DRIVERS "/%s", driver);
    rig_link(rig, target, DEVICES "/%s/driver", instance);
}

const char *rig_driver_of(struct rig *rig, const char *instance)
{
    static char name[SYS_TEXT_BYTES];

    device_read_driver(&rig->sys, instance, name);
    return name;
}

/* ---- The kernel ---- */

static int kernel_bind(struct rig *rig, const char *driver, const char *instance)
{
    bool uio = !strcmp(driver, UIO_DRIVER);
    char override[SYS_TEXT_BYTES] = "(null)";

    if (*rig_driver_of(rig, instance))
        return -EBUSY;
    (void)sys_read(&rig->sys, override, DEVICE_PATH "/driver_override", instance);
    if (*override && strcmp(override, "(null)") ? strcmp(override, driver) : uio && !rig->has_id)
        return -ENODEV; /* no match */
    set_driver(rig, instance, driver);
    return 0;
}

/** new_id: every device of the class that nobody has; here all devices are of one class. */
static int kernel_new_id(struct rig *rig)
{
    if (rig->has_id)
        return -EEXIST;
    rig->has_id = true;
    for (size_t i = 0; i < rig->devices.count; i++)
        if (!*rig_driver_of(rig, rig->devices.list[i].folder))
            set_driver(rig, rig->devices.list[i].folder, UIO_DRIVER);
    return 0;
}

static int kernel_write(struct rig *rig, const char *file, const char *text)
{
    char driver[64] = "", verb[32] = "", folder[64];

    if (!strcmp(file, "sys/bus/vmbus/drivers_probe")) {
        if (rig->probe_driver)
            set_driver(rig, text, rig->probe_driver);
        return rig->probe_driver ? 0 : -EINVAL;
    }
    if (sscanf(file, DEVICES "/%63[^/]/driver_override", folder) == 1 &&
        strstr(file, "_override")) {
        tree_put(&rig->tree, *text == '\n' ? "(null)\n" : text, "%s", file);
        return 0;
    }
    if (sscanf(file, DRIVERS "/%63[^/]/%31s", driver, verb) != 2)
        return -ENOENT;
    if (!strcmp(verb, "new_id"))
        return kernel_new_id(rig);
    if (!strcmp(verb, "remove_id")) {
        bool had = rig->has_id;

        rig->has_id = false;
        return had ? 0 : -ENODEV;
    }
    if (!strcmp(verb, "bind"))
        return kernel_bind(rig, driver, text);
    if (strcmp(rig_driver_of(rig, text), driver))
        return -ENODEV;
    set_driver(rig, text, "");
    return 0;
}

static int on_write(void *arg, const char *path, const char *text)
{
    struct rig *rig = arg;
    const char *file = path + strlen(rig->tree.root) + 1;
    size_t used = strlen(rig->journal);
    const char *tail = strstr(file, "drivers/");

    tail = tail ? tail + 8 : strrchr(file, '/') + 1;
    (void)snprintf(rig->journal + used, sizeof(rig->journal) - used, "%s %.*s\n", tail,
                   (int)strcspn(text, "\n"), text);
    for (unsigned i = 0; i < RIG_REFUSALS; i++)
        if (rig->refuse[i].file && !strcmp(rig->refuse[i].file, tail)) {
            if (rig->lies)
                return 0;
            return rig->refuse[i].err;
        }
    return kernel_write(rig, file, text);
}

/* ---- Set-up ---- */

void rig_init(struct rig *rig, const char *release)
{
    memset(rig, 0, sizeof(*rig));
    tree_init(&rig->tree, tree_kernel(release));
    rig->sys = (struct sys){.root = rig->tree.root, .write = on_write, .arg = rig};
    tree_put(&rig->tree, rig->tree.kernel->release, "proc/sys/kernel/osrelease");
    tree_put(&rig->tree, "22 1 0:20 / / rw - tmpfs tmpfs rw\n", "proc/self/mountinfo");
    tree_remove(&rig->tree, DEVICES "/.keep");
    rig_driver(rig, UIO_DRIVER);
}

void rig_fini(struct rig *rig)
{
    devices_fini(&rig->devices);
    tree_fini(&rig->tree);
}

void rig_driver(struct rig *rig, const char *name)
{
    tree_put(&rig->tree, "", DRIVERS "/%s/bind", name);
}

void rig_device(struct rig *rig, const char *class_id, const char *instance, uint32_t relid,
                const char *driver, bool has_override)
{
    struct tree *tree = &rig->tree;
    char text[64];

    (void)snprintf(text, sizeof(text), "{%s}\n", instance);
    tree_put(tree, text, DEVICES "/%s/device_id", instance);
    (void)snprintf(text, sizeof(text), "{%s}\n", class_id);
    tree_put(tree, text, DEVICES "/%s/class_id", instance);
    (void)snprintf(text, sizeof(text), "%u\n", relid);
    tree_put(tree, text, DEVICES "/%s/id", instance);
    tree_put(tree, "2\n", DEVICES "/%s/state", instance);
    tree_put(tree, "0\n", DEVICES "/%s/channels/%u/subchannel_id", instance, relid);
    if (has_override)
        tree_put(tree, "(null)\n", DEVICES "/%s/driver_override", instance);
    set_driver(rig, instance, driver);
}

struct device *rig_load(struct rig *rig, const char *instance)
{
    struct hv_guid id;

    devices_fini(&rig->devices);
    if (devices_load(&rig->sys, &rig->devices) || hv_guid_parse(instance, &id))
        abort();
    return devices_find(&rig->devices, &id);
}

char *rig_capture(struct rig *rig, void (*print)(struct rig *rig, FILE *out))
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    if (!out)
        abort();
    print(rig, out);
    (void)fclose(out);
    return text;
}
