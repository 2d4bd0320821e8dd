/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's tree of devices is a tree of folders: a disk or NIC belongs to the VMBus device in whose folder it lies,
 * once all links are followed.  Devices made of others (device mapper, RAID, bonds, bridges, VLANs) name those in
 * slaves/ and lower_*.
 */
#include "guard.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 8 /* of devices on devices */

#define BLOCK_NAMES   "sys/class/block"
#define BLOCK_NUMBERS "sys/dev/block"
#define NET_NAMES     "sys/class/net"

struct search {
    const struct sys *sys;
    const char *below; /* real folder of the VMBus device */
    bool block;
    unsigned depth;
    bool known; /* what was asked for is a device */
    bool found; /* it stands on the VMBus device */
};

static bool lies_below(const char *path, const char *folder)
{
    size_t length = strlen(folder);

    return !strncmp(path, folder, length) && path[length] == '/';
}

static void search_name(struct search *search, const char *class, const char *name);

/** One of those that a device is made of. */
static bool take_lower(void *arg, const char *name)
{
    struct search *search = arg;

    if (search->block)
        search_name(search, BLOCK_NAMES, name);
    else if (!strncmp(name, "lower_", 6))
        search_name(search, NET_NAMES, name + 6);
    return !search->found;
}

static void search_name(struct search *search, const char *class, const char *name)
{
    char path[PATH_MAX];

    if (search->depth == DEPTH_MAX || sys_real(search->sys, path, "%s/%s", class, name))
        return;
    search->known = true;
    search->found = lies_below(path, search->below);
    search->depth++;
    if (!search->found)
        (void)sys_each(search->sys, take_lower, search, search->block ? "%s/%s/slaves" : "%s/%s",
                       class, name);
    if (!search->found && search->block) /* a partition: what its disk is made of */
        (void)sys_each(search->sys, take_lower, search, "%s/%s/../slaves", class, name);
    search->depth--;
}

/** Last component, for /dev/NAME; with links followed, as those of /dev/mapper are. */
static void device_name(const struct sys *sys, const char *file, char name[SYS_TEXT_BYTES])
{
    char path[PATH_MAX];
    const char *last;

    *name = '\0';
    if (strncmp(file, "/dev/", 5) || strstr(file, ".."))
        return;
    if (sys_real(sys, path, "%s", file + 1))
        (void)snprintf(path, sizeof(path), "%s", file);
    last = strrchr(path, '/') + 1;
    if (strlen(last) < SYS_TEXT_BYTES)
        memcpy(name, last, strlen(last) + 1);
}

/** Does a block device, by number or by its file, stand on the VMBus device? */
static struct search search_block(const struct sys *sys, const char *below, const char *number,
                                  const char *file)
{
    struct search search = {.sys = sys, .below = below, .block = true};
    char name[SYS_TEXT_BYTES];

    if (number)
        search_name(&search, BLOCK_NUMBERS, number);
    if (!search.known && file) {
        device_name(sys, file, name);
        if (*name)
            search_name(&search, BLOCK_NAMES, name);
    }
    return search;
}

/* ---- Disks ---- */

static bool holds_disks(const struct device *device)
{
    return device->facts->layer == LAYER_VSTOR;
}

/** File systems that are no disk's. */
static bool lives_without_disk(const char *type)
{
    static const char *const types[] = {"rootfs", "tmpfs", "ramfs", "nfs", "nfs4", "9p", "cifs"};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!strcmp(type, types[i]))
            return true;
    return false;
}

/** One line of mountinfo: "id parent major:minor root MOUNT-POINT options [tags] - TYPE SOURCE options". */
static int check_mount(const struct sys *sys, const struct device *device, const char *below,
                       char *line, char *why)
{
    char *field[5], *rest = line, *dash = strstr(line, " - "), *type, *source;
    struct search search;

    if (!dash)
        return 0;
    *dash = '\0';
    for (unsigned i = 0; i < 5; i++)
        if (!(field[i] = strtok_r(rest, " ", &rest)))
            return 0;
    rest = dash + 3;
    type = strtok_r(rest, " ", &rest);
    source = type ? strtok_r(rest, " ", &rest) : NULL;
    search = search_block(sys, below, field[2], source);
    if (search.found) {
        (void)snprintf(why, GUARD_WHY_BYTES, "a disk of it is mounted on %.300s", field[4]);
        return -EBUSY;
    }
    if (!search.known && !strcmp(field[4], "/") && type && !lives_without_disk(type) &&
        holds_disks(device)) {
        (void)snprintf(why, GUARD_WHY_BYTES,
                       "it may hold the root file system (%.32s: its disk cannot be told)", type);
        return -EBUSY;
    }
    return 0;
}

static int check_mounts(const struct sys *sys, const struct device *device, const char *below,
                        char *why)
{
    char *text, *rest, *line;
    int err = sys_slurp(sys, &text, "proc/self/mountinfo");

    if (err) {
        (void)snprintf(why, GUARD_WHY_BYTES, "cannot read /proc/self/mountinfo: %s",
                       strerror(-err));
        return err;
    }
    rest = text;
    while (!err && (line = strtok_r(rest, "\n", &rest)))
        err = check_mount(sys, device, below, line, why);
    free(text);
    return err;
}

/** "/dev/sda3 partition 1048572 0 -2" */
static int check_swaps(const struct sys *sys, const char *below, char *why)
{
    char *text, *rest, *line;
    int err = 0;

    if (sys_slurp(sys, &text, "proc/swaps"))
        return 0; /* a kernel without swap */
    rest = text;
    while (!err && (line = strtok_r(rest, "\n", &rest))) {
        const char *file = strtok_r(line, " \t", &line);

        if (!file || !search_block(sys, below, NULL, file).found)
            continue;
        (void)snprintf(why, GUARD_WHY_BYTES, "swap space is on a disk of it (%.200s)", file);
        err = -EBUSY;
    }
    free(text);
    return err;
}

/* ---- NICs ---- */

static int check_interface(const struct sys *sys, const char *below, const char *name, char *why)
{
    struct search search = {.sys = sys, .below = below};

    if (*name == '.' || strchr(name, '/'))
        return 0;
    search_name(&search, NET_NAMES, name);
    if (!search.found)
        return 0;
    (void)snprintf(why, GUARD_WHY_BYTES, "the default route goes through it (%.64s)", name);
    return -EBUSY;
}

/** "eth0 00000000 0100000A 0003 0 0 100 00000000 ...": interface, destination, ..., mask (8th). */
static const char *default_route(char *line)
{
    const char *field[8];

    for (unsigned i = 0; i < 8; i++)
        if (!(field[i] = strtok_r(line, " \t", &line)))
            return NULL;
    return !strcmp(field[1], "00000000") && !strcmp(field[7], "00000000") ? field[0] : NULL;
}

/** 32 digits, prefix length, ...; the interface is the tenth.  The kernel lists its own "unreachable" on lo, too. */
static const char *default_route6(char *line)
{
    const char *field[10];

    for (unsigned i = 0; i < 10; i++)
        if (!(field[i] = strtok_r(line, " \t", &line)))
            return NULL;
    return strspn(field[0], "0") == 32 && !strcmp(field[1], "00") ? field[9] : NULL;
}

static int check_routes(const struct sys *sys, const char *below, const char *file,
                        const char *(*parse)(char *line), char *why)
{
    char *text, *rest, *line;
    int err = 0;

    if (sys_slurp(sys, &text, "proc/net/%s", file))
        return 0; /* a kernel without this protocol */
    rest = text;
    while (!err && (line = strtok_r(rest, "\n", &rest))) {
        const char *name = parse(line);

        if (name)
            err = check_interface(sys, below, name, why);
    }
    free(text);
    return err;
}

int guard_check(const struct sys *sys, const struct device *device, char *ret_why)
{
    char below[PATH_MAX];
    int err = sys_real(sys, below, DEVICE_PATH, device->folder);

    if (err) {
        (void)snprintf(ret_why, GUARD_WHY_BYTES, "it is gone: %s", strerror(-err));
        return err;
    }
    err = check_mounts(sys, device, below, ret_why);
    if (!err)
        err = check_swaps(sys, below, ret_why);
    if (!err)
        err = check_routes(sys, below, "route", default_route, ret_why);
    if (!err)
        err = check_routes(sys, below, "ipv6_route", default_route6, ret_why);
    return err;
}
