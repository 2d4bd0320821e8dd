/* SPDX-License-Identifier: BSD-3-Clause */
/* The NICs, as options and commands see them: numbered from 0 in the order they came.  Control thread. */
#ifndef HV_HOST_NICS_H
#define HV_HOST_NICS_H

#include <stdbool.h>

#include <hv/netvsp.h>

#include "options.h"

struct json_object;
struct nics;

#define NICS_MAX 64u

/** Offer the NICs of the options.  What fails is reported.  0 or a negative errno; *ret_nics is to be withdrawn always. */
int nics_create(struct hv_host *host, const struct options *options, struct nics **ret_nics);
/** Take all from their guests; done(arg) runs when the last is gone, at once when there is none. */
void nics_withdraw(struct nics *nics, void (*done)(void *arg), void *arg);
/** After withdraw.  NULL is fine. */
void nics_destroy(struct nics *nics);

/* Commands.  0, or a negative errno and a sentence in why[HV_OPTION_WHY_BYTES]. */
int nics_add(struct nics *nics, const char *text, unsigned *ret_number, char *why);
/** done(arg) runs when it is gone from its guest. */
int nics_remove(struct nics *nics, unsigned number, void (*done)(void *arg), void *arg, char *why);
int nics_set_link(struct nics *nics, unsigned number, bool up, char *why);
int nics_set_vf(struct nics *nics, unsigned number, bool present, uint32_t serial, char *why);

/** An array: what each is, who has it. */
struct json_object *nics_json(const struct nics *nics);
/** An array of counters, by number. */
struct json_object *nics_stats_json(const struct nics *nics);

#endif
