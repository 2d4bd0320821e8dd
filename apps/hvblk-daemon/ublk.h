/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The block devices of --export ublk: which disks get one, and their life with them.  Control thread.
 *
 *   ublk_open -> ublk_luns() whenever the LUN table changed -> ublk_poll() ... -> ublk_stop -> ublk_poll() ... -> ublk_close
 *
 * Nothing here waits for the kernel: a device is started and stopped while the reactors serve it.  Without liburing
 * ublk_open() fails (noublk.c), and NULL is a set without devices everywhere.
 */
#ifndef HVBLK_UBLK_H
#define HVBLK_UBLK_H

#include "lun.h"
#include "mailbox.h"
#include "reactor.h"
#include "ublk_option.h"

/** News of a helper thread, after DEVICE_LUNS_CHANGED. */
#define UBLK_HELPED ((unsigned)REACTOR_NEWS_COUNT + 1)

#define UBLK_DEVICES_MAX 64u

struct ublk_set;

struct ublk_opts {
    const struct ublk_option *exports;
    unsigned export_count;
    bool recover; /* take over what a dead daemon left */
    struct reactor *reactors;
    unsigned reactor_count;
    struct mailbox *news;
};

/** Before any thread starts: this process must not wait for its own devices to get memory. */
void ublk_protect_process(void);

/** 0 or a negative errno with a sentence in why[HV_OPTION_WHY_BYTES]. */
int ublk_open(const struct ublk_opts *opts, char *why, struct ublk_set **ret_set);
/** Whatever is still there stays with the kernel.  The reactors must have been stopped.  NULL is fine. */
void ublk_close(struct ublk_set *set);

/** What disks there are now.  @active  reactors that have a storvsc queue. */
void ublk_luns(struct ublk_set *set, const struct lun_table *luns, unsigned active);
void ublk_poll(struct ublk_set *set, uint64_t now_ns);
/** Descriptor to wait for, -1 = none; and for how long, -1 = for ever. */
int ublk_wait(const struct ublk_set *set, uint64_t now_ns, int *ret_ms);
/** REACTOR_UBLK_ENDED, UBLK_HELPED. */
void ublk_news(struct ublk_set *set, const struct mail *news);
/** Remove the devices; @keep: leave those that can be taken over by a daemon started with --recover. */
void ublk_stop(struct ublk_set *set, bool keep);

/** Something is not yet as it shall be: devices that come up, or after ublk_stop() devices that are left. */
bool ublk_busy(const struct ublk_set *set);
/** A device could not be made. */
bool ublk_failed(const struct ublk_set *set);

struct ublk_status {
    uint32_t id;
    char lun[40];
    const char *state, *recovery, *copy;
    bool live, unprivileged;
    unsigned queues, depth;
    uint32_t max_io_bytes;
    uint64_t bytes, requests, errors;
};
/** Copies up to `max`; returns how many there are. */
unsigned ublk_status(const struct ublk_set *set, struct ublk_status *status, unsigned max);

#endif
