/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands to the ublk driver.  They may block in the kernel for long (START reads the partition table through our own
 * queues), so each is sent, and its end is a callback from ublk_control_poll().  Control thread.
 */
#ifndef HVBLK_UBLK_CONTROL_H
#define HVBLK_UBLK_CONTROL_H

#include <liburing.h>
#include <stdbool.h>

#include "ublk_wire.h"

#define UBLK_PATH_BYTES 32u

struct ublk_command;
typedef void (*ublk_done)(struct ublk_command *command, int result);

struct ublk_command {
    unsigned long op; /* UBLKW_* */
    uint32_t device;
    uint64_t value;
    void *data; /* in or out, the caller's until `done` */
    uint16_t bytes;
    ublk_done done;
    void *arg;
    bool busy; /* sent, not done */
    /* private */
    uint16_t path_bytes;
    char payload[UBLK_PATH_BYTES + 64];
};

struct ublk_control {
    int fd;
    bool unprivileged; /* no CAP_SYS_ADMIN: only devices of our own, without recovery */
    uint64_t features; /* of the kernel, UBLKW_F_* */
    struct io_uring ring;
};

/**
 * Open the control device, ask for its features.
 * Returns 0, or a negative errno with a sentence in why[HV_OPTION_WHY_BYTES]: what is missing, and what to do.
 */
int ublk_control_open(struct ublk_control *control, char *why);
/** Commands under way end with the ring; their callbacks do not run.  Takes a zeroed one. */
void ublk_control_close(struct ublk_control *control);

/** Send; `command` stays in place until done.  0 or a negative errno. */
int ublk_control_send(struct ublk_control *control, struct ublk_command *command);
/** Send and wait: for commands that the kernel answers at once.  Others' callbacks run meanwhile.  Its result. */
int ublk_control_call(struct ublk_control *control, struct ublk_command *command);
/** Run callbacks of what ended. */
void ublk_control_poll(struct ublk_control *control);
/** Readable when ublk_control_poll() has work. */
int ublk_control_fd(const struct ublk_control *control);

/** "/dev/ublkc3" or "/dev/ublkb3". */
void ublk_path(char kind, uint32_t device, char path[UBLK_PATH_BYTES]);

#endif
