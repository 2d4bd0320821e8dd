/* SPDX-License-Identifier: BSD-3-Clause */
/* One thread for each worker of each guest. */
#ifndef HV_HOST_GUESTS_H
#define HV_HOST_GUESTS_H

#include <stdbool.h>

#include <hv/host.h>

#include "common/cpus.h"

struct json_object;
struct guests;

struct guests *guests_create(const struct hv_cpus *cpus, bool poll);
/** All guests must be gone (hv_host_destroy()). */
void guests_destroy(struct guests *guests);

/** For hv_host_opts; arg is the struct guests. */
void guests_added(void *arg, struct hv_host_guest *guest);
void guests_removed(void *arg, struct hv_host_guest *guest);

unsigned guests_count(const struct guests *guests);
/** An array: id, name, and per worker how often it slept. */
struct json_object *guests_json(const struct guests *guests);

#endif
