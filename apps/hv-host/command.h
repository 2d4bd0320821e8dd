/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands of the control socket, apart from sockets. */
#ifndef HV_HOST_COMMAND_H
#define HV_HOST_COMMAND_H

#include "controller.h"
#include "guests.h"
#include "nics.h"

struct json_object;

struct command_context {
    struct controller *controller;
    struct nics *nics;
    struct guests *guests;
    bool *stop;
};

/**
 * Run one command, given as the text of a JSON object.
 *
 * Returns the reply, or NULL when the command takes its time: then done(arg, reply) is called once, from
 * hv_host_poll().  The caller owns the reply.
 */
struct json_object *command_run(struct command_context *context, const char *line,
                                void (*done)(void *arg, struct json_object *reply), void *arg);

#endif
