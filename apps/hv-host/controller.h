/* SPDX-License-Identifier: BSD-3-Clause */
/* The SCSI controller and its disks, as options and commands see them.  Control thread. */
#ifndef HV_HOST_CONTROLLER_H
#define HV_HOST_CONTROLLER_H

#include <stdbool.h>

#include <hv/storvsp.h>

#include "options.h"

struct json_object;
struct controller;

/**
 * Open all disks, then offer the controller.  What fails is reported.  Returns 0 or a negative errno.
 * The options outlive the controller.
 */
int controller_create(struct hv_host *host, const struct options *options,
                      struct controller **ret_controller);
/** Take the controller from all guests; done(arg) runs from hv_host_poll() when no disk is used any more. */
void controller_withdraw(struct controller *controller, void (*done)(void *arg), void *arg);
/** After withdraw.  NULL is fine. */
void controller_destroy(struct controller *controller);

/* Commands.  0, or a negative errno and a sentence in why[HV_DISK_WHY_BYTES]. */
int controller_attach(struct controller *controller, const char *disk, int *ret_lun, char *why);
int controller_detach(struct controller *controller, unsigned lun, void (*done)(void *arg),
                      void *arg, char *why);
int controller_resize(struct controller *controller, unsigned lun, uint64_t bytes, char *why);
/** Rescind the controller from all guests, keep the disks; offer() brings it back. */
int controller_rescind(struct controller *controller, void (*done)(void *arg), void *arg,
                       char *why);
int controller_offer(struct controller *controller, char *why);

struct json_object *controller_disks_json(const struct controller *controller);
/** Sums, controllers that were rescinded included. */
struct json_object *controller_stats_json(const struct controller *controller);
bool controller_is_offered(const struct controller *controller);

#endif
