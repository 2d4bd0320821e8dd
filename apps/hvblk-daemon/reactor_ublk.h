/* SPDX-License-Identifier: BSD-3-Clause */
/* What a reactor does for ublk.  Without liburing these do nothing (reactor_noublk.c). */
#ifndef HVBLK_REACTOR_UBLK_H
#define HVBLK_REACTOR_UBLK_H

#include <stdbool.h>

#include "nbd_wire.h"

struct io;
struct reactor;
struct ublk_queue;

/* Control thread. */
/** Take memory, fetch all tags.  0 or a negative errno: then it has let go of the queue. */
int reactor_ublk_add(struct reactor *reactor, struct ublk_queue *queue);
/** Let go: after REACTOR_UBLK_ENDED, or when the process is about to end. */
void reactor_ublk_remove(struct reactor *reactor, struct ublk_queue *queue);

/* The reactor's other files. */
int reactor_ublk_fetch(struct reactor *reactor, struct ublk_queue *queue);
void reactor_ublk_release(struct reactor *reactor, struct ublk_queue *queue);
void reactor_ublk_close(struct reactor *reactor);
/** Take up what the kernel sent.  True when that was something. */
bool reactor_ublk_receive(struct reactor *reactor);
/** Tell the kernel what was finished, in one call. */
bool reactor_ublk_send(struct reactor *reactor);
/**
 * Sleep, `ms` or for ever (-1), until the kernel sends something or the epoll set of the reactor is ready; only with a
 * ring (reactor->ublk).  In one system call, which also sends what is left to send.  True: look at the epoll set.
 */
bool reactor_ublk_sleep(struct reactor *reactor, int ms);
/** There is something to receive or to send. */
bool reactor_ublk_waiting(const struct reactor *reactor);
/** A request of a queue is carried out. */
void reactor_ublk_finish(struct io *io, enum nbd_error error);
/** The library keeps it, the kernel waits no longer: answer EIO.  False = no memory for the tag's next request yet. */
bool reactor_ublk_orphan(struct io *io);

#endif
