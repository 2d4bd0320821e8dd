/* SPDX-License-Identifier: BSD-3-Clause */
#include "controller.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "report.h"

struct slot {
    struct controller *controller;
    struct hv_disk *disk; /* NULL = free */
    struct hv_disk_option option;
    bool leaving; /* detached, requests in flight */
    void (*done)(void *arg);
    void *done_arg;
};

struct controller {
    struct hv_host *host;
    const struct options *options;
    struct hv_storvsp *storvsp; /* NULL = rescinded */
    bool withdrawing;
    bool was_offered; /* once at least: who took it away has to bring it back */
    /* Who waits for the end: a command, and the end of the program on top of it. */
    struct {
        void (*done)(void *arg);
        void *arg;
    } waiting[2];
    unsigned waiting_count;
    struct hv_storvsp_stats past; /* of controllers that were rescinded */
    struct slot slots[HV_DISK_OPTION_LUNS];
};

static int refuse(char *why, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse(char *why, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, HV_DISK_WHY_BYTES, format, args);
    va_end(args);
    return err;
}

static int offer(struct controller *c)
{
    const struct options *o = c->options;
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;

    opts.log = report_hook();
    opts.max_version = (uint16_t)o->max_storvsc;
    opts.max_sub_channels = (uint16_t)(o->channels - 1);
    opts.max_transfer_bytes = o->max_transfer_bytes;
    opts.depth = o->depth;
    opts.monitored = o->monitor;
    opts.fault = o->fault;
    c->was_offered = true;
    return hv_storvsp_create(c->host, &opts, &c->storvsp);
}

/** Takes the option over on success. */
static int open_disk(struct controller *c, struct hv_disk_option *option, unsigned lun, char *why)
{
    struct hv_disk_opts opts = option->disk;
    struct slot *slot = &c->slots[lun];
    int err;

    opts.log = report_hook();
    err = hv_disk_create(&opts, why, &slot->disk);
    if (err)
        return err;
    slot->controller = c;
    slot->option = *option;
    slot->leaving = false;
    report(HV_LOG_INFO, "LUN %u: %s, %llu bytes in blocks of %u%s%s", lun, option->name,
           (unsigned long long)hv_disk_bytes(slot->disk), hv_disk_block_bytes(slot->disk),
           option->disk.read_only ? ", read-only" : "",
           option->disk.store == HV_DISK_FILE && !hv_disk_is_direct(slot->disk) ? ", page cache"
                                                                                : "");
    return 0;
}

static void close_disk(struct slot *slot)
{
    hv_disk_destroy(slot->disk);
    hv_disk_option_fini(&slot->option);
    slot->disk = NULL;
}

/** The wished place, or the lowest that nobody has and no later --disk wishes; -1 = none. */
static int choose_lun(const struct controller *c, int wish, const struct hv_disk_option *others,
                      unsigned other_count)
{
    if (wish >= 0)
        return c->slots[wish].disk ? -1 : wish;
    for (int lun = 0; lun < (int)HV_DISK_OPTION_LUNS; lun++) {
        bool taken = c->slots[lun].disk != NULL;

        for (unsigned i = 0; i < other_count; i++)
            taken |= others[i].lun == lun;
        if (!taken)
            return lun;
    }
    return -1;
}

static int open_all(struct controller *c)
{
    const struct options *o = c->options;
    char why[HV_DISK_WHY_BYTES];

    for (unsigned i = 0; i < o->disk_count; i++) {
        struct hv_disk_option *option = &o->disks[i];
        int lun = choose_lun(c, option->lun, o->disks, o->disk_count), err;

        if (lun < 0)
            return -ENOSPC; /* cannot be: the options were checked */
        err = open_disk(c, option, (unsigned)lun, why);
        if (err) {
            report(HV_LOG_ERROR, "--disk %s: %s", option->name, why);
            return err;
        }
        option->words = NULL; /* the slot's now */
    }
    return 0;
}

static int attach_all(struct controller *c)
{
    for (unsigned i = 0; i < HV_DISK_OPTION_LUNS; i++) {
        int err = c->slots[i].disk && !c->slots[i].leaving
                      ? hv_storvsp_attach(c->storvsp, c->slots[i].disk, (uint8_t)i)
                      : 0;

        if (err)
            return err;
    }
    return 0;
}

int controller_create(struct hv_host *host, const struct options *options,
                      struct controller **ret_controller)
{
    struct controller *c = calloc(1, sizeof(*c));
    int err;

    if (!c)
        return -ENOMEM;
    c->host = host;
    c->options = options;
    err = open_all(c);
    if (!err && (options->disk_count || !options->nic_count)) { /* a host of NICs alone has none */
        err = offer(c);
        if (!err)
            err = attach_all(c);
        if (err)
            report(HV_LOG_ERROR, "no controller: %s", strerror(-err));
    }
    /* On failure too: the owner withdraws what there is. */
    *ret_controller = c;
    return err;
}

static void on_gone(void *arg)
{
    struct controller *c = arg;
    unsigned count = c->waiting_count;

    c->withdrawing = false;
    c->waiting_count = 0;
    for (unsigned i = 0; i < count; i++)
        if (c->waiting[i].done)
            c->waiting[i].done(c->waiting[i].arg);
}

void controller_withdraw(struct controller *controller, void (*done)(void *arg), void *arg)
{
    struct hv_storvsp *storvsp = controller->storvsp;

    controller->waiting[controller->waiting_count].done = done;
    controller->waiting[controller->waiting_count++].arg = arg;
    if (controller->withdrawing)
        return; /* a rescind is on its way */
    controller->withdrawing = true;
    controller->storvsp = NULL;
    hv_storvsp_destroy(storvsp, on_gone, controller); /* at once when there is none */
}

void controller_destroy(struct controller *controller)
{
    if (!controller)
        return;
    for (unsigned i = 0; i < HV_DISK_OPTION_LUNS; i++)
        if (controller->slots[i].disk)
            close_disk(&controller->slots[i]);
    free(controller);
}

int controller_attach(struct controller *controller, const char *disk, int *ret_lun, char *why)
{
    struct hv_disk_option option;
    char parse_why[HV_OPTION_WHY_BYTES];
    int err, lun;

    err = hv_disk_option_parse(HV_DISK_OPTION_DISK, disk, &option, parse_why);
    if (err)
        return refuse(why, err, "%.500s", parse_why);
    lun = choose_lun(controller, option.lun, NULL, 0);
    if (lun < 0)
        err = option.lun < 0 ? refuse(why, -ENOSPC, "all %u LUNs are taken", HV_DISK_OPTION_LUNS)
                             : refuse(why, -EBUSY, "LUN %d is taken", option.lun);
    if (!err)
        err = open_disk(controller, &option, (unsigned)lun, why);
    if (err) {
        hv_disk_option_fini(&option);
        return err;
    }
    if (!controller->storvsp && !controller->withdrawing && !controller->was_offered)
        err = offer(controller); /* the first disk of a host that had only NICs */
    if (!err && controller->storvsp)
        err = hv_storvsp_attach(controller->storvsp, controller->slots[lun].disk, (uint8_t)lun);
    if (err) {
        close_disk(&controller->slots[lun]);
        return refuse(why, err, "LUN %d: %s", lun, strerror(-err));
    }
    *ret_lun = lun;
    return 0;
}

static void on_detached(void *arg)
{
    struct slot *slot = arg;
    void (*done)(void *arg) = slot->done;

    report(HV_LOG_INFO, "LUN %d: detached", (int)(slot - slot->controller->slots));
    close_disk(slot);
    if (done)
        done(slot->done_arg);
}

int controller_detach(struct controller *controller, unsigned lun, void (*done)(void *arg),
                      void *arg, char *why)
{
    struct slot *slot = lun < HV_DISK_OPTION_LUNS ? &controller->slots[lun] : NULL;

    if (!slot || !slot->disk || slot->leaving)
        return refuse(why, -ENOENT, "there is no disk at LUN %u", lun);
    if (controller->withdrawing) /* channels on their way out still use the disk */
        return refuse(why, -EBUSY, "the controller is still being rescinded");
    slot->leaving = true;
    slot->done = done;
    slot->done_arg = arg;
    if (!controller->storvsp)
        on_detached(slot);
    else
        (void)hv_storvsp_detach(controller->storvsp, (uint8_t)lun, on_detached,
                                slot); /* it is there */
    return 0;
}

int controller_resize(struct controller *controller, unsigned lun, uint64_t bytes, char *why)
{
    struct slot *slot = lun < HV_DISK_OPTION_LUNS ? &controller->slots[lun] : NULL;
    int err;

    if (!slot || !slot->disk || slot->leaving)
        return refuse(why, -ENOENT, "there is no disk at LUN %u", lun);
    err = hv_disk_resize(slot->disk, bytes);
    if (err)
        return refuse(why, err, "LUN %u cannot have %llu bytes: %s (blocks of %u)", lun,
                      (unsigned long long)bytes, strerror(-err), hv_disk_block_bytes(slot->disk));
    report(HV_LOG_INFO, "LUN %u: %llu bytes now", lun,
           (unsigned long long)hv_disk_bytes(slot->disk));
    return 0;
}

static void keep_stats(struct controller *c)
{
    struct hv_storvsp_stats now;

    hv_storvsp_get_stats(c->storvsp, &now);
    c->past.requests += now.requests;
    c->past.read_bytes += now.read_bytes;
    c->past.write_bytes += now.write_bytes;
    c->past.errors += now.errors;
    c->past.malformed += now.malformed;
    c->past.batches += now.batches;
}

int controller_rescind(struct controller *controller, void (*done)(void *arg), void *arg, char *why)
{
    if (!controller->storvsp) /* so that at most one command waits */
        return refuse(why, -EALREADY, "the controller is rescinded already");
    for (unsigned i = 0; i < HV_DISK_OPTION_LUNS; i++)
        if (controller->slots[i].disk && controller->slots[i].leaving)
            return refuse(why, -EBUSY, "LUN %u is still being detached", i);
    keep_stats(controller);
    controller_withdraw(controller, done, arg);
    return 0;
}

int controller_offer(struct controller *controller, char *why)
{
    int err;

    if (controller->storvsp)
        return refuse(why, -EALREADY, "the controller is offered already");
    if (controller->withdrawing)
        return refuse(why, -EBUSY, "the controller is still being rescinded");
    err = offer(controller);
    if (!err)
        err = attach_all(controller);
    return err ? refuse(why, err, "no controller: %s", strerror(-err)) : 0;
}

bool controller_is_offered(const struct controller *controller)
{
    return controller->storvsp != NULL;
}

struct json_object *controller_disks_json(const struct controller *controller)
{
    struct json_object *list = json_object_new_array();

    for (unsigned i = 0; i < HV_DISK_OPTION_LUNS; i++) {
        const struct slot *slot = &controller->slots[i];
        struct json_object *one;

        if (!slot->disk)
            continue;
        one = json_object_new_object();
        json_object_object_add(one, "lun", json_object_new_int((int)i));
        json_object_object_add(one, "disk", json_object_new_string(slot->option.name));
        json_object_object_add(one, "bytes", json_object_new_uint64(hv_disk_bytes(slot->disk)));
        json_object_object_add(one, "block_bytes",
                               json_object_new_int((int)hv_disk_block_bytes(slot->disk)));
        json_object_object_add(one, "read_only",
                               json_object_new_boolean(slot->option.disk.read_only));
        json_object_object_add(one, "direct",
                               json_object_new_boolean(hv_disk_is_direct(slot->disk)));
        json_object_object_add(one, "leaving", json_object_new_boolean(slot->leaving));
        (void)json_object_array_add(list, one);
    }
    return list;
}

struct json_object *controller_stats_json(const struct controller *controller)
{
    struct hv_storvsp_stats s = {0};
    const struct hv_storvsp_stats *past = &controller->past;
    struct json_object *stats = json_object_new_object();

    if (controller->storvsp)
        hv_storvsp_get_stats(controller->storvsp, &s);
    json_object_object_add(stats, "requests", json_object_new_uint64(past->requests + s.requests));
    json_object_object_add(stats, "read_bytes",
                           json_object_new_uint64(past->read_bytes + s.read_bytes));
    json_object_object_add(stats, "write_bytes",
                           json_object_new_uint64(past->write_bytes + s.write_bytes));
    json_object_object_add(stats, "errors", json_object_new_uint64(past->errors + s.errors));
    json_object_object_add(stats, "malformed",
                           json_object_new_uint64(past->malformed + s.malformed));
    json_object_object_add(stats, "batches", json_object_new_uint64(past->batches + s.batches));
    json_object_object_add(stats, "in_flight", json_object_new_uint64(s.in_flight));
    json_object_object_add(stats, "channels", json_object_new_uint64(s.channels));
    return stats;
}
