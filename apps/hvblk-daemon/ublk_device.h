/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One ublk device, from ADD_DEV to DEL_DEV.  Control thread.
 *
 *   replace  CLEARING (DEL of a dead device), then make
 *   make     ADD, SET_PARAMS ........ -> OPENING -> queues fetch -> STARTING (START) ......... -> LIVE
 *   recover  RECOVERING (START_USER_RECOVERY) -> OPENING -> queues fetch -> STARTING (END_USER_RECOVERY) -> LIVE
 *   remove   FLUSHING (helper) -> STOPPING (STOP, queues end) -> DELETING (DEL) -> GONE
 *   keep     QUIESCING where the kernel can -> KEPT
 *
 * FLUSHING: STOP fails what is still to be written when the device can be recovered, so file system and cache are written
 * before, by a helper thread, because that goes through our own reactors.
 */
#ifndef HVBLK_UBLK_DEVICE_H
#define HVBLK_UBLK_DEVICE_H

#include "ublk.h"
#include "ublk_control.h"
#include "ublk_queue.h"

#define UBLK_QUEUES_MAX REACTOR_MAX

enum ublk_step {
    UBLK_CLEARING,
    UBLK_RECOVERING,
    UBLK_OPENING,
    UBLK_STARTING,
    UBLK_LIVE,
    UBLK_FLUSHING,
    UBLK_STOPPING,
    UBLK_DELETING,
    UBLK_QUIESCING,
    UBLK_KEPT,
    UBLK_GONE,
};

struct ublk_device {
    struct ublk_control *control;
    const struct ublk_opts *opts;
    const struct ublk_option *option;
    unsigned active; /* reactors that queues are dealt to */
    struct lun lun;
    uint16_t slot;
    enum ublk_step step;
    struct ublkw_info info; /* as the kernel last told */
    bool recovered, failed, kept;
    bool stop_wanted, keep_wanted; /* as soon as that is possible */
    bool stopped;                  /* STOP has ended */
    bool helping;                  /* a helper thread runs */
    bool orphaned;                 /* its LUN is gone: remove it when nobody holds it */
    int fd;                        /* /dev/ublkcN */
    struct ublk_queue *queues[UBLK_QUEUES_MAX];
    unsigned queue_count, queues_live;
    uint64_t retry_ns, deadline_ns;
    struct ublk_command start, end;
};

/** Make it.  0, or a negative errno: `step` is GONE and the log says why. */
int ublk_device_make(struct ublk_device *device);
/** Make it as soon as the kernel has deleted this dead device, which waits for whoever still holds that. */
void ublk_device_replace(struct ublk_device *device, uint32_t dead);
/** Take over a device whose daemon died; info from GET_DEV_INFO. */
void ublk_device_recover(struct ublk_device *device, const struct ublkw_info *info);
/** Remove it, or leave it to the next daemon.  May be called in any step, and again. */
void ublk_device_stop(struct ublk_device *device, bool keep);
/** The disk has other properties now, or (NULL) is gone. */
void ublk_device_lun(struct ublk_device *device, const struct lun *lun);
void ublk_device_poll(struct ublk_device *device, uint64_t now_ns);
/** When ublk_device_poll() must run, 0 = on events only. */
uint64_t ublk_device_deadline(const struct ublk_device *device);
void ublk_device_queue_ended(struct ublk_device *device, const struct ublk_queue *queue);
/** A helper ended; @result 0 or a negative errno. */
void ublk_device_helped(struct ublk_device *device, int result);
/** The process ends: let go of memory, whatever the step. */
void ublk_device_fini(struct ublk_device *device);

/** Ask about a device.  0, -ENODEV, ... */
int ublk_device_info(struct ublk_control *control, uint32_t id, struct ublkw_info *ret_info);

/** "reissue", "wait", ...: what device flags say. */
const char *ublk_recovery_name(uint64_t flags);
const char *ublk_step_name(const struct ublk_device *device);

#endif
