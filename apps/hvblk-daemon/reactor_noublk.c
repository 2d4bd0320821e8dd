/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon built without liburing: no reactor ever has a queue of ublk. */
#include "reactor_ublk.h"

#include <errno.h>

int reactor_ublk_fetch(struct reactor *reactor, struct ublk_queue *queue)
{
    (void)reactor;
    (void)queue;
    return -ENOSYS;
}

void reactor_ublk_release(struct reactor *reactor, struct ublk_queue *queue)
{
    (void)reactor;
    (void)queue;
}

void reactor_ublk_close(struct reactor *reactor)
{
    (void)reactor;
}

bool reactor_ublk_receive(struct reactor *reactor)
{
    (void)reactor;
    return false;
}

bool reactor_ublk_send(struct reactor *reactor)
{
    (void)reactor;
    return false;
}

bool reactor_ublk_sleep(struct reactor *reactor, int ms)
{
    (void)reactor;
    (void)ms;
    return true;
}

bool reactor_ublk_waiting(const struct reactor *reactor)
{
    (void)reactor;
    return false;
}

void reactor_ublk_finish(struct io *io, enum nbd_error error)
{
    (void)io;
    (void)error;
}

bool reactor_ublk_orphan(struct io *io)
{
    (void)io;
    return true;
}
