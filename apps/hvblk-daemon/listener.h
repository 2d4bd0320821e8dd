/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets that clients connect to: Unix, TCP, or handed over by systemd. */
#ifndef HVBLK_LISTENER_H
#define HVBLK_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define LISTENER_MAX 16u

struct listener {
    int fd;
    char path[108]; /* Unix socket that we made; empty else */
    dev_t device;   /* of that file, so that only our own is removed */
    ino_t inode;
    char uri[256];
};

/**
 * Check `nbd:unix:PATH` or `nbd:tcp:ADDR:PORT` without touching anything.
 * @why  HV_OPTION_WHY_BYTES.  Returns 0 or -EINVAL.
 */
int listener_check(const char *address, char *why);
/**
 * Bind, not yet listening: nobody is let in before the daemon is ready.  A dead Unix socket in the way is replaced.
 * Returns 0 or a negative errno (-EADDRINUSE: a live one, or not a socket); why says what.
 */
int listener_open(struct listener *listener, const char *address, char *why);
/** Take a descriptor over from systemd. */
int listener_adopt(struct listener *listener, int fd, char *why);
/** Let clients in.  0 or a negative errno. */
int listener_start(struct listener *listener);
/** Next connection, non-blocking and tuned; -EAGAIN when none, -EMFILE ... */
int listener_accept(struct listener *listener);
/** Removes its file.  Takes one with fd -1. */
void listener_close(struct listener *listener);

#endif
