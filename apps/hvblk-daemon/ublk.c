/* SPDX-License-Identifier: BSD-3-Clause */
#include "ublk.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "common/option.h"
#include "log.h"
#include "ublk_device.h"
#include "ublk_lun.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif
#define LEFT_MAX 256u

struct ublk_set {
    struct ublk_opts opts;
    struct ublk_control control;
    struct ublk_device *devices[UBLK_DEVICES_MAX];
    unsigned count;
    struct ublkw_info left[LEFT_MAX]; /* what dead daemons of ours left; device = ANY: taken */
    unsigned left_count;
    const struct lun_table *luns;
    unsigned active;
    bool stopping, keep, failed, again;
};

void ublk_protect_process(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0))
        log_line(HV_LOG_WARNING,
                 "not marked as I/O flusher (%s; CAP_SYS_RESOURCE): when memory is short, this "
                 "process may wait "
                 "for its own disk",
                 strerror(errno));
    /* With a limit in place MCL_FUTURE would make later mappings fail. */
    if (setrlimit(RLIMIT_MEMLOCK, &limit) || mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
        log_line(HV_LOG_WARNING,
                 "memory is not locked (%s; LimitMEMLOCK=infinity or CAP_IPC_LOCK): do not swap to "
                 "these disks",
                 strerror(errno));
}

/* ---- What dead daemons left ---- */

static void find_left(struct ublk_set *set)
{
    DIR *folder = opendir("/dev");
    const struct dirent *entry;

    if (!folder)
        return;
    while (set->left_count < LEFT_MAX && (entry = readdir(folder))) {
        struct ublkw_info info;
        char why[HV_OPTION_WHY_BYTES];
        uint64_t id;

        if (strncmp(entry->d_name, "ublkc", 5) ||
            hv_option_number(entry->d_name + 5, 0, UBLK_ID_MAX, &id, why) ||
            ublk_device_info(&set->control, (uint32_t)id, &info))
            continue;
        if (ublk_identity_ours(info.server_flags))
            set->left[set->left_count++] = info;
    }
    (void)closedir(folder);
}

static struct ublkw_info *match_left(struct ublk_set *set, const struct ublk_option *option,
                                     const struct lun *lun)
{
    uint32_t id = option->id + (option->lun[0] ? 0 : lun->address.lun);

    for (unsigned i = 0; i < set->left_count; i++) {
        struct ublkw_info *left = &set->left[i];

        if (left->device == UBLKW_ANY_DEVICE || left->server_flags != ublk_identity(lun))
            continue;
        if (!option->given_id || left->device == id)
            return left;
    }
    return NULL;
}

/* ---- Devices ---- */

int ublk_open(const struct ublk_opts *opts, char *why, struct ublk_set **ret_set)
{
    struct ublk_set *set = calloc(1, sizeof(*set));
    int ret;

    if (!set) {
        (void)hv_option_fail(why, "out of memory");
        return -ENOMEM;
    }
    set->opts = *opts;
    ret = ublk_control_open(&set->control, why);
    if (ret) {
        free(set);
        return ret;
    }
    if (set->control.unprivileged)
        log_line(HV_LOG_INFO,
                 "no CAP_SYS_ADMIN: unprivileged ublk devices, which do not outlive this process");
    if (opts->recover)
        find_left(set);
    *ret_set = set;
    return 0;
}

void ublk_close(struct ublk_set *set)
{
    if (!set)
        return;
    ublk_control_close(&set->control);
    for (unsigned i = 0; i < set->count; i++) {
        ublk_device_fini(set->devices[i]);
        if (!set->devices[i]->helping) /* else its thread ends with the process */
            free(set->devices[i]);
    }
    free(set);
}

static void make(struct ublk_set *set, const struct ublk_option *option, uint16_t slot)
{
    const struct lun *lun = &set->luns->lun[slot];
    struct ublkw_info *left = match_left(set, option, lun);
    struct ublk_device *device = set->count < UBLK_DEVICES_MAX ? calloc(1, sizeof(*device)) : NULL;

    if (!device) {
        log_line(HV_LOG_WARNING, "%s gets no block device: %s", lun->name,
                 set->count < UBLK_DEVICES_MAX ? "out of memory" : "there are too many");
        return;
    }
    device->control = &set->control;
    device->opts = &set->opts;
    device->option = option;
    device->active = set->active ? set->active : 1;
    device->lun = *lun;
    device->slot = slot;
    set->devices[set->count++] = device;
    if (!left)
        (void)ublk_device_make(device);
    else if (left->state == UBLKW_DEAD) /* no request waits in it */
        ublk_device_replace(device, left->device);
    else
        ublk_device_recover(device, left);
    if (left)
        left->device = UBLKW_ANY_DEVICE;
}

static bool wants(const struct ublk_set *set, const struct ublk_option *option,
                  const struct lun *lun)
{
    if (option->lun[0])
        return !strcmp(option->lun, lun->name);
    /* Two devices of one disk would not see what the other has in its cache: only when both are named. */
    for (unsigned i = 0; i < set->opts.export_count; i++)
        if (!strcmp(set->opts.exports[i].lun, lun->name))
            return false;
    /* Numbers count from ID by LUN: that needs one target. */
    return !option->given_id || (!lun->address.path && !lun->address.target);
}

static struct ublk_device *find(const struct ublk_set *set, const struct ublk_option *option,
                                uint16_t slot)
{
    for (unsigned i = 0; i < set->count; i++)
        if (set->devices[i]->option == option && set->devices[i]->slot == slot)
            return set->devices[i];
    return NULL;
}

void ublk_luns(struct ublk_set *set, const struct lun_table *luns, unsigned active)
{
    if (!set)
        return;
    set->luns = luns;
    set->active = active;
    for (unsigned e = 0; e < set->opts.export_count; e++)
        for (uint16_t slot = 0; slot < luns->count; slot++) {
            const struct ublk_option *option = &set->opts.exports[e];
            const struct lun *lun = &luns->lun[slot];
            struct ublk_device *device = find(set, option, slot);

            if (device && device->step == UBLK_GONE && !lun->present)
                device->failed = false; /* a disk that comes back may try again */
            else if (device)
                ublk_device_lun(device, lun->present ? lun : NULL);
            else if (lun->present && wants(set, option, lun) && !set->stopping)
                make(set, option, slot);
        }
}

/** Forget devices that are gone.  Those that failed are remembered, so that they are not tried again and again. */
static void reap(struct ublk_set *set)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < set->count; i++) {
        struct ublk_device *device = set->devices[i];

        set->failed |= device->failed;
        if (device->step == UBLK_GONE && !device->failed && !device->helping &&
            !device->start.busy && !device->end.busy) {
            free(device);
            set->again = true;
            continue;
        }
        set->devices[kept++] = device;
    }
    set->count = kept;
}

void ublk_poll(struct ublk_set *set, uint64_t now_ns)
{
    if (!set)
        return;
    ublk_control_poll(&set->control);
    for (unsigned i = 0; i < set->count; i++)
        ublk_device_poll(set->devices[i], now_ns);
    reap(set);
    if (set->again && set->luns && !set->stopping)
        ublk_luns(set, set->luns, set->active);
    set->again = false;
}

int ublk_wait(const struct ublk_set *set, uint64_t now_ns, int *ret_ms)
{
    uint64_t first = 0;

    *ret_ms = -1;
    if (!set)
        return -1;
    for (unsigned i = 0; i < set->count; i++) {
        uint64_t deadline = ublk_device_deadline(set->devices[i]);

        if (deadline && (!first || deadline < first))
            first = deadline;
    }
    if (first)
        *ret_ms = first <= now_ns ? 0 : (int)((first - now_ns) / 1000000) + 1;
    return ublk_control_fd(&set->control);
}

void ublk_news(struct ublk_set *set, const struct mail *news)
{
    if (!set)
        return;
    if (news->kind == UBLK_HELPED) {
        ublk_device_helped(news->data, news->fd);
        return;
    }
    for (unsigned i = 0; i < set->count; i++) /* the queue itself may be gone */
        ublk_device_queue_ended(set->devices[i], news->data);
}

void ublk_stop(struct ublk_set *set, bool keep)
{
    if (!set)
        return;
    set->stopping = true;
    set->keep = keep;
    for (unsigned i = 0; i < set->count; i++)
        ublk_device_stop(set->devices[i], keep);
}

/* ---- Questions ---- */

bool ublk_busy(const struct ublk_set *set)
{
    for (unsigned i = 0; set && i < set->count; i++) {
        enum ublk_step step = set->devices[i]->step;

        if (step != UBLK_GONE && step != UBLK_KEPT && (set->stopping || step != UBLK_LIVE))
            return true;
    }
    return false;
}

bool ublk_failed(const struct ublk_set *set)
{
    return set && set->failed;
}

unsigned ublk_status(const struct ublk_set *set, struct ublk_status *status, unsigned max)
{
    unsigned count = 0;

    for (unsigned i = 0; set && i < set->count && count < max; i++) {
        const struct ublk_device *device = set->devices[i];
        struct ublk_status *one = &status[count++];

        *one = (struct ublk_status){
            .id = device->info.device,
            .state = device->failed ? "failed" : ublk_step_name(device),
            .recovery = ublk_recovery_name(device->info.flags),
            .copy = device->info.flags & UBLKW_F_USER_COPY ? "user" : "kernel",
            .live = device->step == UBLK_LIVE,
            .unprivileged = device->info.flags & UBLKW_F_UNPRIVILEGED,
            .queues = device->info.queues,
            .depth = device->info.depth,
            .max_io_bytes = device->info.max_io_bytes,
            .bytes = device->lun.bytes,
        };
        memcpy(one->lun, device->lun.name, sizeof(one->lun));
        for (unsigned q = 0; q < device->queue_count; q++) {
            one->requests += stats_get(&device->queues[q]->requests);
            one->errors += stats_get(&device->queues[q]->errors);
        }
    }
    return count;
}
