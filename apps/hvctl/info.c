/* SPDX-License-Identifier: BSD-3-Clause */
#include "info.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CAP_IPC_LOCK  14 /* linux/capability.h */
#define CAP_SYS_ADMIN 21
#define LOG_RECORDS   100000 /* of the kernel; more than any buffer has */

/* ---- Reading ---- */

/** "HugePages_Free:       12" or "Hugepagesize:       2048 kB" -> the number; 0 when missing. */
static uint64_t value_of(const char *text, const char *key, int base)
{
    size_t length = strlen(key);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, key, length) && line[length] == ':')
            return strtoull(line + length + 1, NULL, base);
    }
    return 0;
}

static void read_memory(const struct sys *sys, struct info *info)
{
    struct rlimit limit = {0};
    char *text;

    if (!sys_slurp(sys, &text, "proc/meminfo")) {
        info->huge_total = value_of(text, "HugePages_Total", 10);
        info->huge_free = value_of(text, "HugePages_Free", 10);
        info->huge_bytes = value_of(text, "Hugepagesize", 10) * 1024;
        free(text);
    }
    if (!sys_slurp(sys, &text, "proc/self/status")) {
        info->capabilities = value_of(text, "CapEff", 16);
        free(text);
    }
    (void)getrlimit(RLIMIT_MEMLOCK, &limit); /* of this process: it has one */
    info->memory_lock_bytes = limit.rlim_cur;
    info->locks_all = limit.rlim_cur == RLIM_INFINITY || info->capabilities >> CAP_IPC_LOCK & 1;
}

/** What hv_vmbus said when it connected.  The last one counts. */
static void take_version(const char *record, char version[16])
{
    static const char key[] = "Vmbus version:";
    const char *at = record;
    size_t length;

    while ((at = strstr(at, key))) {
        at += sizeof(key) - 1;
        length = strspn(at, "0123456789.");
        if (length && length < 16) {
            memcpy(version, at, length);
            version[length] = '\0';
        }
    }
}

/** The kernel's log: one record a read, -EAGAIN at its end, -EPIPE for what was overwritten meanwhile. */
static void read_log(const struct sys *sys, char version[16])
{
    char path[PATH_MAX], record[8193];
    int fd = sys_path(sys, path, sizeof(path), "dev/kmsg")
                 ? -1
                 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    for (unsigned i = 0; fd >= 0 && i < LOG_RECORDS; i++) {
        ssize_t got = read(fd, record, sizeof(record) - 1);

        if (got < 0 && errno == EPIPE)
            continue;
        if (got <= 0)
            break;
        record[got] = '\0';
        take_version(record, version);
    }
    if (fd >= 0)
        (void)close(fd);
}

static void read_bus(const struct sys *sys, struct info *info)
{
    bool used[MONITOR_MAX] = {false};
    struct devices devices;

    info->uio_loaded = sys_has(sys, DRIVER_PATH, UIO_DRIVER);
    info->has_bus = !devices_load(sys, &devices);
    if (!info->has_bus)
        return;
    info->device_count = devices.count;
    for (size_t i = 0; i < devices.count; i++) {
        const struct device *device = &devices.list[i];

        info->uio_count += device_is_on_uio(device);
        for (size_t c = 0; c < device->channel_count; c++)
            if (device->channels[c].monitor_id >= 0)
                used[device->channels[c].monitor_id] = true;
    }
    for (unsigned i = 0; i < MONITOR_MAX; i++)
        info->monitor_used += used[i];
    devices_fini(&devices);
}

void info_read(const struct sys *sys, struct info *ret_info)
{
    *ret_info = (struct info){0};
    hyperv_read(sys, &ret_info->hyperv);
    read_bus(sys, ret_info);
    if (sys_read(sys, ret_info->release, "proc/sys/kernel/osrelease"))
        ret_info->release[0] = '\0';
    ret_info->kernel = sys_parse_kernel(ret_info->release);
    read_log(sys, ret_info->vmbus_version);
    read_memory(sys, ret_info);
}

bool info_is_hyperv(const struct info *info)
{
    return info->hyperv.present ||
           (!info->hyperv.hypervisor && info->has_bus && info->device_count);
}

/* ---- What the stack needs ---- */

static bool has_bus(const struct info *info)
{
    return info->has_bus;
}
static bool has_driver(const struct info *info)
{
    return info->uio_loaded;
}
static bool has_pages(const struct info *info)
{
    return info->huge_free;
}
static bool sees_pages(const struct info *info)
{
    return info->capabilities >> CAP_SYS_ADMIN & 1;
}
static bool may_lock(const struct info *info)
{
    return info->locks_all;
}
static bool not_isolated(const struct info *info)
{
    return !strcmp(hyperv_isolation(&info->hyperv), "none");
}

const struct need needs[] = {
    {"vmbus", has_bus, "the kernel's VMBus", "modprobe hv_vmbus"},
    {"uio", has_driver, "the driver uio_hv_generic", "modprobe uio_hv_generic"},
    {"hugepages", has_pages, "free hugepages, for memory that the host reaches",
     "sysctl vm.nr_hugepages=N; hvblk-daemon takes 32 of 2 MiB a reactor and about 2 a queue"},
    {"page-numbers", sees_pages, "CAP_SYS_ADMIN, to see page numbers", "run as root, or grant it"},
    {"memory-lock", may_lock, "locked memory without limit",
     "CAP_IPC_LOCK, ulimit -l unlimited, or LimitMEMLOCK=infinity in the service"},
    {"not-confidential", not_isolated, "a VM whose memory the host may reach",
     "uio_hv_generic in a confidential VM is not supported: use another size of VM"},
};
const size_t need_count = sizeof(needs) / sizeof(needs[0]);
