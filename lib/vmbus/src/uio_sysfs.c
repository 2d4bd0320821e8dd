/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel says about a device, in text files: docs/uio.md, "What is read". */
#include "uio_impl.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <hv/wire/ring.h>

#define DRIVER_NAME "uio_hv_generic"

/* ---- Text ---- */

int hv_uio_path(const struct hv_uio *uio, char *path, size_t bytes, const char *folder,
                const char *leaf)
{
    int length =
        snprintf(path, bytes, "%s/bus/vmbus/devices%s%s%s%s", uio->env.sysfs, folder ? "/" : "",
                 folder ? folder : "", leaf ? "/" : "", leaf ? leaf : "");

    return length < 0 || (size_t)length >= bytes ? -ENAMETOOLONG : 0;
}

static int read_file(const char *path, char *text, size_t bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got;

    if (fd < 0)
        return -errno;
    got = read(fd, text, bytes);
    if (got < 0)
        got = -errno;
    (void)close(fd);
    if (got < 0)
        return (int)got;
    if ((size_t)got == bytes || memchr(text, '\0', (size_t)got))
        return -EPROTO;
    while (got > 0 && isspace((unsigned char)text[got - 1]))
        got--;
    text[got] = '\0';
    return 0;
}

static __attribute__((format(printf, 5, 0))) int read_leaf(const struct hv_uio *uio, char *text,
                                                           size_t bytes, const char *folder,
                                                           const char *leaf_format, va_list args)
{
    char leaf[2 * HV_UIO_NAME_BYTES], path[PATH_MAX];
    int length = vsnprintf(leaf, sizeof(leaf), leaf_format, args);
    int err;

    if (length < 0 || (size_t)length >= sizeof(leaf))
        return -ENAMETOOLONG;
    err = hv_uio_path(uio, path, sizeof(path), folder, leaf);
    return err ? err : read_file(path, text, bytes);
}

int hv_uio_read(const struct hv_uio *uio, char *text, size_t bytes, const char *folder,
                const char *leaf_format, ...)
{
    va_list args;
    int err;

    va_start(args, leaf_format);
    err = read_leaf(uio, text, bytes, folder, leaf_format, args);
    va_end(args);
    return err;
}

int hv_uio_parse_number(const char *text, uint64_t max, uint64_t *ret_value)
{
    bool hex = text[0] == '0' && text[1] == 'x';
    const char *digits = hex ? text + 2 : text;
    unsigned long long value;
    char *end;

    if (!(hex ? isxdigit((unsigned char)*digits) : isdigit((unsigned char)*digits)))
        return -EPROTO; /* strtoull() takes signs and spaces */
    errno = 0;
    value = strtoull(digits, &end, hex ? 16 : 10);
    if (*end || errno || value > max)
        return -EPROTO;
    *ret_value = value;
    return 0;
}

int hv_uio_read_number(const struct hv_uio *uio, uint64_t max, uint64_t *ret_value,
                       const char *folder, const char *leaf_format, ...)
{
    char text[HV_UIO_NAME_BYTES] = "";
    va_list args;
    int err;

    va_start(args, leaf_format);
    err = read_leaf(uio, text, sizeof(text), folder, leaf_format, args);
    va_end(args);
    return err ? err : hv_uio_parse_number(text, max, ret_value);
}

/* ---- Folders ---- */

/** What a kernel calls a device or a channel; nothing that leads elsewhere, or into a log. */
static bool name_is_sound(const char *name)
{
    size_t length = strlen(name);

    return length && length < HV_UIO_NAME_BYTES &&
           strspn(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") ==
               length;
}

int hv_uio_each(const struct hv_uio *uio, const char *folder, const char *leaf,
                bool (*each)(void *arg, const char *name), void *arg)
{
    char path[PATH_MAX];
    struct dirent *entry;
    int err = hv_uio_path(uio, path, sizeof(path), folder, leaf);
    DIR *dir;

    if (err)
        return err;
    dir = opendir(path);
    if (!dir)
        return -errno;
    while ((entry = readdir(dir)))
        if (name_is_sound(entry->d_name) && !each(arg, entry->d_name))
            break;
    (void)closedir(dir);
    return 0;
}

/** "uio7" -> 7. */
static bool take_uio_number(void *arg, const char *name)
{
    uint64_t number;

    if (strncmp(name, "uio", 3) || hv_uio_parse_number(name + 3, UINT16_MAX, &number))
        return true;
    *(int64_t *)arg = (int64_t)number;
    return false;
}

static int read_guid(const struct hv_uio *uio, const char *folder, const char *leaf,
                     struct hv_guid *ret_guid)
{
    char text[HV_UIO_NAME_BYTES];
    int err = hv_uio_read(uio, text, sizeof(text), folder, "%s", leaf);

    if (err)
        return err;
    return hv_guid_parse(text, ret_guid) ? -EPROTO : 0;
}

/** A kernel before 4.19 may show an id that is none; a channel without a monitor has no file. */
static int read_monitor(const struct hv_uio *uio, struct hv_uio_facts *facts)
{
    uint64_t id;
    int err = hv_uio_read_number(uio, UINT8_MAX, &id, facts->folder, "monitor_id");

    if (err == -ENOENT || (!err && id >= HV_MONITOR_MAX))
        return 0;
    if (err)
        return err;
    facts->monitored = true;
    facts->monitor_id = (uint8_t)id;
    return 0;
}

/** Which /dev/uioN; -ENODEV: none of uio_hv_generic's. */
static int read_uio(const struct hv_uio *uio, struct hv_uio_facts *facts)
{
    char name[HV_UIO_NAME_BYTES];
    int64_t number = -1;
    int err = hv_uio_each(uio, facts->folder, "uio", take_uio_number, &number);

    if (err == -ENOENT || (!err && number < 0))
        return -ENODEV;
    if (!err)
        err =
            hv_uio_read(uio, name, sizeof(name), facts->folder, "uio/uio%u/name", (unsigned)number);
    if (err)
        return err;
    facts->number = (uint32_t)number;
    return strcmp(name, DRIVER_NAME) ? -ENODEV : 0;
}

int hv_uio_read_facts(const struct hv_uio *uio, const char *folder, struct hv_uio_facts *ret_facts)
{
    struct hv_uio_facts facts = {0};
    uint64_t relid = 0;
    int err;

    if (!name_is_sound(folder))
        return -EPROTO;
    memcpy(facts.folder, folder, strlen(folder) + 1);
    err = read_guid(uio, folder, "device_id", &facts.instance_id);
    if (!err)
        err = read_guid(uio, folder, "class_id", &facts.class_id);
    if (!err)
        err = hv_uio_read_number(uio, UINT32_MAX, &relid, folder, "id");
    if (!err)
        err = read_monitor(uio, &facts);
    if (!err)
        err = read_uio(uio, &facts);
    if (err || !relid)
        return err ? err : -EPROTO;
    facts.relid = (uint32_t)relid;
    *ret_facts = facts;
    return 0;
}

struct search {
    const struct hv_uio *uio;
    const struct hv_guid *instance;
    struct hv_uio_facts facts;
    int err;
};

static bool match_instance(void *arg, const char *name)
{
    struct search *search = arg;
    struct hv_guid instance;

    if (read_guid(search->uio, name, "device_id", &instance) ||
        !hv_guid_equal(&instance, search->instance))
        return true;
    search->err = hv_uio_read_facts(search->uio, name, &search->facts);
    return search->err == -EPROTO; /* a namesake may be sound */
}

int hv_uio_find_facts(const struct hv_uio *uio, const struct hv_guid *instance,
                      struct hv_uio_facts *ret_facts)
{
    struct search search = {.uio = uio, .instance = instance, .err = -ENOENT};
    int err = hv_uio_each(uio, NULL, NULL, match_instance, &search);

    if (!err)
        err = search.err;
    if (!err)
        *ret_facts = search.facts;
    return err;
}

/* ---- Maps ---- */

static int read_map(const struct hv_uio *uio, const struct hv_uio_facts *facts, uint32_t index,
                    struct hv_uio_map *ret_map)
{
    struct hv_uio_map map = {.index = index};
    int err = hv_uio_read_number(uio, INT64_MAX, &map.bytes, facts->folder,
                                 "uio/uio%u/maps/map%u/size", facts->number, index);

    if (!err)
        err = hv_uio_read_number(uio, uio->env.page_bytes - 1, &map.skip, facts->folder,
                                 "uio/uio%u/maps/map%u/offset", facts->number, index);
    if (err)
        return err;
    *ret_map = map;
    return 0;
}

int hv_uio_find_map(const struct hv_uio *uio, const struct hv_uio_facts *facts, const char *prefix,
                    struct hv_uio_map *ret_map, char ret_rest[HV_UIO_NAME_BYTES])
{
    size_t length = strlen(prefix);

    for (uint32_t i = 0; i < HV_UIO_MAPS_MAX; i++) {
        char name[HV_UIO_NAME_BYTES];
        int err = hv_uio_read(uio, name, sizeof(name), facts->folder, "uio/uio%u/maps/map%u/name",
                              facts->number, i);

        if (err || strncmp(name, prefix, length))
            continue;
        if (!ret_rest && name[length])
            continue;
        err = read_map(uio, facts, i, ret_map);
        if (!err && ret_rest)
            memcpy(ret_rest, name + length, strlen(name + length) + 1);
        return err;
    }
    return -ENOENT;
}

/* ---- Kernels ---- */

uint32_t hv_uio_parse_kernel(const char *release)
{
    unsigned part[3] = {0};
    int got = sscanf(release, "%3u.%3u.%5u", &part[0], &part[1], &part[2]);

    if (got < 2 || part[0] > 255 || part[1] > 255)
        return 0;
    return HV_UIO_KERNEL(part[0], part[1], part[2] > UINT16_MAX ? UINT16_MAX : part[2]);
}

/** The mainline change is d062463edf17 of 6.16; of the older series only 6.12 is known to have got it for good. */
static bool knows_subs(uint32_t kernel)
{
    return kernel >= HV_UIO_KERNEL(6, 16, 0) ||
           (kernel >= HV_UIO_KERNEL(6, 12, 60) && kernel < HV_UIO_KERNEL(6, 13, 0));
}

bool hv_uio_sub_may_interrupt(uint32_t kernel)
{
    return knows_subs(kernel);
}

bool hv_uio_sub_can_signal(uint32_t kernel)
{
    return knows_subs(kernel);
}

bool hv_uio_sub_is_open(const struct hv_uio *uio, const char *folder, uint32_t relid)
{
    uint64_t mask;

    /* the kernel shows these only while it has rings for the channel */
    return !hv_uio_read_number(uio, UINT32_MAX, &mask, folder, "channels/%u/in_mask", relid) &&
           !hv_uio_read_number(uio, UINT32_MAX, &mask, folder, "channels/%u/out_mask", relid);
}

void hv_uio_env_init(struct hv_uio_env *env)
{
    struct utsname name;

    *env = (struct hv_uio_env){
        .sysfs = "/sys",
        .dev = "/dev",
        .proc = "/proc",
        .page_bytes = (uint32_t)sysconf(_SC_PAGESIZE),
        .map_stride = (uint64_t)sysconf(_SC_PAGESIZE),
        .kernel = uname(&name) ? 0 : hv_uio_parse_kernel(name.release),
        .file_flags = MFD_CLOEXEC | MFD_HUGETLB,
        .uevent_fd = -1,
    };
}
