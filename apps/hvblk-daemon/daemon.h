/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's life: options in, exit code out.
 *
 *   start: images, host, controller -> sockets -> "ready" -> serve
 *   stop (SIGTERM, quit): no new clients -> what came is answered -> flush -> close
 *
 * The control thread is the one that calls daemon_run(): it owns the bus, the listeners and the control socket.
 */
#ifndef HVBLK_DAEMON_H
#define HVBLK_DAEMON_H

#include "control.h"
#include "device.h"
#include "options.h"
#include "status_line.h"
#include "ublk.h"

struct daemon {
    const struct options *options;
    struct emulate *emulate;
    struct reactor *reactors;
    unsigned reactor_count;
    struct device device;
    struct listener listeners[LISTENER_MAX];
    unsigned listener_count;
    struct ublk_set *ublk; /* NULL: no --export ublk */
    unsigned luns_seen;    /* generation of the LUN table that it knows */
    struct mailbox news;
    struct control control;
    struct status_line status_line;
    atomic_uint connections;
    uint32_t next_connection;
    unsigned next_reactor;
    unsigned draining; /* reactors that still have connections to finish */
    uint64_t refused, start_ns, stop_ns;
    uint64_t accept_again_ns; /* out of descriptors: pause until then */
    bool closed_to_new;       /* drain: no new connections */
    bool stopping, listening, ready;
    int exit_code;
    int pid_fd;
};

/** Returns the exit code. */
int daemon_run(const struct options *options);

/* ---- for control.c and status_line.c ---- */

void daemon_sum(const struct daemon *daemon, struct stats_sum *ret_sum);
/** @keep  block devices stay, for a daemon that takes them over. */
void daemon_stop(struct daemon *daemon, bool keep);
void daemon_rescan(struct daemon *daemon);

#endif
