/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An emulated Hyper-V inside the daemon: its disks, and a thread for its control messages.
 *
 * The workers of a guest (one for each channel) are polled by that thread while a controller is opened or reopened, and
 * lent to the reactors otherwise: the reactor that puts requests into a ring takes them out at the other end itself.
 *
 *   emulate_create -> emulate_connect -> (open the bus, the controller) -> emulate_lend -> reactors poll
 *   reactors detached -> emulate_take_back -> ... -> emulate_destroy
 */
#ifndef HVBLK_EMULATE_H
#define HVBLK_EMULATE_H

#include <hv/host.h>

#include "common/disk_option.h"

struct emulate;

#define EMULATE_WHY_BYTES 768

struct emulate_opts {
    const struct hv_disk_option *disks; /* each with its own number of LUNs */
    unsigned disk_count;
    uint16_t channels;
    uint16_t workers; /* threads that will poll: reactors */
    uint32_t max_vmbus;
    uint16_t max_storvsc;
    uint32_t max_transfer_bytes;
    const char *fault;
    bool monitored;
};

/** 0, or a negative errno and a sentence in why[EMULATE_WHY_BYTES]. */
int emulate_create(const struct emulate_opts *opts, char *why, struct emulate **ret_emulate);
/** The guest should have left, and its workers must be back.  NULL is fine. */
void emulate_destroy(struct emulate *emulate);

/** A guest's end of a new connection, or a negative errno.  The caller owns it. */
int emulate_connect(struct emulate *emulate);
/** Stop polling the workers of the newest guest and write them to ret_workers[max].  Returns how many there are. */
unsigned emulate_lend(struct emulate *emulate, struct hv_host_worker **ret_workers, unsigned max);
/** The reactors do not touch them any more. */
void emulate_take_back(struct emulate *emulate);
/** Look at the sizes of the image files again. */
void emulate_refresh(struct emulate *emulate);

#endif
