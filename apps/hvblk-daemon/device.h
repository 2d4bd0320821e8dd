/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller that is exported: bus, storvsc, the LUN table, and what to do when it is lost.  Control thread.
 *
 *   device_open -> device_poll()* -> device_close
 *
 * LOST: all reactors are detached (what was in flight is answered with EIO), then the same bus is tried again, or a new
 * connection, with growing pauses, for ever.  Reactors let new requests wait meanwhile.
 */
#ifndef HVBLK_DEVICE_H
#define HVBLK_DEVICE_H

#include <hv/storvsc.h>

#include "emulate.h"
#include "lun.h"
#include "mailbox.h"
#include "reactor.h"

/** Further kind of news, after enum reactor_news. */
#define DEVICE_LUNS_CHANGED ((unsigned)REACTOR_NEWS_COUNT)

struct device_opts {
    const char *address;     /* NULL: emulated */
    struct emulate *emulate; /* NULL: elsewhere */
    struct reactor *reactors;
    unsigned reactor_count;
    struct mailbox *news;
    uint32_t depth;
    uint32_t max_vmbus;
    uint16_t max_storvsc;
};

struct device {
    struct device_opts opts;
    struct hv_vmbus *bus;
    struct hv_storvsc *storvsc;
    bool up;
    bool host_gone;
    unsigned active; /* reactors that have a queue: connections go to the first so many */
    struct lun_table luns;
    unsigned generation; /* of that table */
    struct lun_shared shared[LUN_MAX];
    uint64_t down_ns, up_ns, try_ns;
    unsigned pause_ms, tries;
    uint64_t reconnects;
};

/** Open everything and attach the reactors, which must be initialised and may not have started.  0 or negative errno. */
int device_open(struct device *device, const struct device_opts *opts);
/** Flushes what is dirty.  The reactors must have been stopped.  Takes a zeroed one. */
void device_close(struct device *device);

/** A reactor lost its queue, or the bus says so. */
void device_lost(struct device *device);
/** LUNs came, went or changed: tell the reactors and the log. */
void device_luns_changed(struct device *device);
/** Bus events; a try to reconnect when it is time. */
void device_poll(struct device *device, uint64_t now_ns);
/** Descriptor to wait on, -1 = none; *ret_ms: when device_poll() must run at the latest, -1 = never. */
int device_wait(const struct device *device, uint64_t now_ns, int *ret_ms);

#endif
