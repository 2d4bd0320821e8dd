/* SPDX-License-Identifier: BSD-3-Clause */
#include "command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "common/size.h"

#define COMMANDS                                                                                   \
    "status, stats, attach, detach, resize, rescind, offer, nic-list, nic-stats, nic-add, "        \
    "nic-remove, nic-link, nic-vf, shutdown"

/** A command on its way. */
struct pending {
    void (*done)(void *arg, struct json_object *reply);
    void *arg;
};

static struct json_object *reply_ok(void)
{
    struct json_object *reply = json_object_new_object();

    json_object_object_add(reply, "ok", json_object_new_boolean(1));
    return reply;
}

static struct json_object *reply_error(const char *why)
{
    struct json_object *reply = json_object_new_object();

    json_object_object_add(reply, "ok", json_object_new_boolean(0));
    json_object_object_add(reply, "error", json_object_new_string(why));
    return reply;
}

static void pending_done(void *arg)
{
    struct pending *pending = arg;

    pending->done(pending->arg, reply_ok());
    free(pending);
}

/** "lun" of the command: 0, or -EINVAL and a sentence. */
static int get_lun(struct json_object *command, unsigned *ret_lun, char *why)
{
    struct json_object *lun;

    if (!json_object_object_get_ex(command, "lun", &lun) ||
        !json_object_is_type(lun, json_type_int) || json_object_get_int64(lun) < 0 ||
        json_object_get_int64(lun) >= HV_DISK_OPTION_LUNS)
        return hv_option_fail(why, "\"lun\" must be a number from 0 to %u",
                              HV_DISK_OPTION_LUNS - 1);
    *ret_lun = (unsigned)json_object_get_int64(lun);
    return 0;
}

/** "bytes": a number or a size as text; 0 = look at the file again. */
static int get_bytes(struct json_object *command, uint64_t *ret_bytes, char *why)
{
    struct json_object *bytes;

    if (json_object_object_get_ex(command, "bytes", &bytes)) {
        if (json_object_is_type(bytes, json_type_string))
            return hv_size_parse(json_object_get_string(bytes), 0, UINT64_C(1) << 60, ret_bytes,
                                 why);
        if (json_object_is_type(bytes, json_type_int) && json_object_get_int64(bytes) >= 0) {
            *ret_bytes = (uint64_t)json_object_get_int64(bytes);
            return 0;
        }
    }
    return hv_option_fail(why, "\"bytes\" must be a number, or text such as \"2G\"");
}

static struct json_object *run_status(struct command_context *context)
{
    struct json_object *reply = reply_ok();

    json_object_object_add(reply, "version", json_object_new_string(HV_VERSION_TEXT));
    json_object_object_add(reply, "pid", json_object_new_int64(getpid()));
    json_object_object_add(reply, "offered",
                           json_object_new_boolean(controller_is_offered(context->controller)));
    json_object_object_add(reply, "guests", guests_json(context->guests));
    json_object_object_add(reply, "disks", controller_disks_json(context->controller));
    json_object_object_add(reply, "nics", nics_json(context->nics));
    return reply;
}

static struct json_object *run_stats(struct command_context *context)
{
    struct json_object *reply = reply_ok();

    json_object_object_add(reply, "storage", controller_stats_json(context->controller));
    json_object_object_add(reply, "nics", nics_stats_json(context->nics));
    json_object_object_add(reply, "guests",
                           json_object_new_int64((int64_t)guests_count(context->guests)));
    return reply;
}

static struct json_object *run_attach(struct command_context *context, struct json_object *command)
{
    char why[HV_OPTION_WHY_BYTES];
    struct json_object *disk, *reply;
    int lun;

    if (!json_object_object_get_ex(command, "disk", &disk) ||
        !json_object_is_type(disk, json_type_string))
        return reply_error("\"disk\" is missing: text as after --disk");
    if (controller_attach(context->controller, json_object_get_string(disk), &lun, why))
        return reply_error(why);
    reply = reply_ok();
    json_object_object_add(reply, "lun", json_object_new_int(lun));
    return reply;
}

static struct json_object *run_resize(struct command_context *context, struct json_object *command)
{
    char why[HV_OPTION_WHY_BYTES];
    uint64_t bytes = 0;
    unsigned lun = 0;

    if (get_lun(command, &lun, why) || get_bytes(command, &bytes, why) ||
        controller_resize(context->controller, lun, bytes, why))
        return reply_error(why);
    return reply_ok();
}

static struct json_object *run_offer(struct command_context *context)
{
    char why[HV_OPTION_WHY_BYTES];

    return controller_offer(context->controller, why) ? reply_error(why) : reply_ok();
}

/* ---- NICs ---- */

static int get_number(struct json_object *command, const char *key, uint64_t max, uint64_t *ret,
                      char *why)
{
    struct json_object *number;

    if (!json_object_object_get_ex(command, key, &number) ||
        !json_object_is_type(number, json_type_int) || json_object_get_int64(number) < 0 ||
        (uint64_t)json_object_get_int64(number) > max)
        return hv_option_fail(why, "\"%s\" must be a number from 0 to %llu", key,
                              (unsigned long long)max);
    *ret = (uint64_t)json_object_get_int64(number);
    return 0;
}

static int get_flag(struct json_object *command, const char *key, bool *ret, char *why)
{
    struct json_object *flag;

    if (!json_object_object_get_ex(command, key, &flag) ||
        !json_object_is_type(flag, json_type_boolean))
        return hv_option_fail(why, "\"%s\" must be true or false", key);
    *ret = json_object_get_boolean(flag);
    return 0;
}

static struct json_object *run_nic_list(struct command_context *context, bool stats)
{
    struct json_object *reply = reply_ok();

    json_object_object_add(reply, "nics",
                           stats ? nics_stats_json(context->nics) : nics_json(context->nics));
    return reply;
}

static struct json_object *run_nic_add(struct command_context *context, struct json_object *command)
{
    char why[HV_OPTION_WHY_BYTES];
    struct json_object *option, *reply;
    unsigned number;

    if (!json_object_object_get_ex(command, "option", &option) ||
        !json_object_is_type(option, json_type_string))
        return reply_error("\"option\" is missing: text as after --nic");
    if (nics_add(context->nics, json_object_get_string(option), &number, why))
        return reply_error(why);
    reply = reply_ok();
    json_object_object_add(reply, "nic", json_object_new_int((int)number));
    return reply;
}

static struct json_object *run_nic_link(struct command_context *context,
                                        struct json_object *command)
{
    char why[HV_OPTION_WHY_BYTES];
    uint64_t nic = 0;
    bool up = false;

    if (get_number(command, "nic", NICS_MAX - 1, &nic, why) || get_flag(command, "up", &up, why) ||
        nics_set_link(context->nics, (unsigned)nic, up, why))
        return reply_error(why);
    return reply_ok();
}

static struct json_object *run_nic_vf(struct command_context *context, struct json_object *command)
{
    char why[HV_OPTION_WHY_BYTES];
    uint64_t nic = 0, serial = 0;
    bool present = false;

    if (get_number(command, "nic", NICS_MAX - 1, &nic, why) ||
        get_flag(command, "present", &present, why) ||
        (present && get_number(command, "serial", UINT32_MAX, &serial, why)) ||
        nics_set_vf(context->nics, (unsigned)nic, present, (uint32_t)serial, why))
        return reply_error(why);
    return reply_ok();
}

/** NULL = no command of a NIC. */
static struct json_object *run_nic(struct command_context *context, struct json_object *command,
                                   const char *name)
{
    if (!strcmp(name, "nic-list") || !strcmp(name, "nic-stats"))
        return run_nic_list(context, name[4] == 's');
    if (!strcmp(name, "nic-add"))
        return run_nic_add(context, command);
    if (!strcmp(name, "nic-link"))
        return run_nic_link(context, command);
    if (!strcmp(name, "nic-vf"))
        return run_nic_vf(context, command);
    return NULL;
}

/* ---- What takes its time ---- */

enum slow {
    SLOW_DETACH,
    SLOW_RESCIND,
    SLOW_NIC_REMOVE,
};

/** Answered when the last request in flight is done, or the guest has closed its channels. */
static struct json_object *run_slow(struct command_context *context, struct json_object *command,
                                    enum slow what,
                                    void (*done)(void *arg, struct json_object *reply), void *arg)
{
    uint64_t nic = 0;
    char why[HV_OPTION_WHY_BYTES];
    struct pending *pending = malloc(sizeof(*pending));
    unsigned lun = 0;
    int err = -EINVAL; /* every kind sets it */

    if (!pending)
        return reply_error("out of memory");
    *pending = (struct pending){.done = done, .arg = arg};
    if (what == SLOW_RESCIND)
        err = controller_rescind(context->controller, pending_done, pending, why);
    else if (what == SLOW_DETACH && !(err = get_lun(command, &lun, why)))
        err = controller_detach(context->controller, lun, pending_done, pending, why);
    else if (what == SLOW_NIC_REMOVE &&
             !(err = get_number(command, "nic", NICS_MAX - 1, &nic, why)))
        err = nics_remove(context->nics, (unsigned)nic, pending_done, pending, why);
    if (!err)
        return NULL;
    free(pending);
    return reply_error(why);
}

static struct json_object *run_parsed(struct command_context *context, struct json_object *command,
                                      void (*done)(void *arg, struct json_object *reply), void *arg)
{
    struct json_object *name, *reply;
    const char *text;

    if (!json_object_is_type(command, json_type_object) ||
        !json_object_object_get_ex(command, "command", &name) ||
        !json_object_is_type(name, json_type_string))
        return reply_error("allowed: {\"command\":NAME,...}, NAME: " COMMANDS);
    text = json_object_get_string(name);
    if (!strcmp(text, "status"))
        return run_status(context);
    if (!strcmp(text, "stats"))
        return run_stats(context);
    if (!strcmp(text, "attach"))
        return run_attach(context, command);
    if (!strcmp(text, "resize"))
        return run_resize(context, command);
    if (!strcmp(text, "offer"))
        return run_offer(context);
    if (!strcmp(text, "detach"))
        return run_slow(context, command, SLOW_DETACH, done, arg);
    if (!strcmp(text, "rescind"))
        return run_slow(context, command, SLOW_RESCIND, done, arg);
    if (!strcmp(text, "nic-remove"))
        return run_slow(context, command, SLOW_NIC_REMOVE, done, arg);
    reply = run_nic(context, command, text);
    if (reply)
        return reply;
    if (!strcmp(text, "shutdown")) {
        *context->stop = true;
        return reply_ok();
    }
    return reply_error("the command is not known; allowed: " COMMANDS);
}

struct json_object *command_run(struct command_context *context, const char *line,
                                void (*done)(void *arg, struct json_object *reply), void *arg)
{
    enum json_tokener_error error = json_tokener_success;
    struct json_object *command = json_tokener_parse_verbose(line, &error), *reply;

    if (error != json_tokener_success) {
        (void)json_object_put(command);
        return reply_error(json_tokener_error_desc(error));
    }
    reply = run_parsed(context, command, done, arg);
    (void)json_object_put(command);
    return reply;
}
