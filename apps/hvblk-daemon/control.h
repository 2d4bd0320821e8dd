/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Control socket: a Unix stream socket for its owner only.  One command a line, a word or {"command": "word"}; one JSON
 * object a line in answer, with "ok".  A line that begins with GET is an HTTP request for Prometheus text.
 */
#ifndef HVBLK_CONTROL_H
#define HVBLK_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "listener.h"

#define CONTROL_CLIENTS_MAX 8u
#define CONTROL_LINE_BYTES  1024u
#define CONTROL_OUT_BYTES   262144u

struct daemon;
struct json_object;

struct control_client {
    int fd;
    size_t in_bytes, out_bytes, out_sent;
    bool close_after;
    char in[CONTROL_LINE_BYTES];
    char *out;
};

struct control {
    struct listener listener;
    bool open;
    struct control_client clients[CONTROL_CLIENTS_MAX];
};

/** 0 or a negative errno with a sentence in why[HV_OPTION_WHY_BYTES]. */
int control_open(struct control *control, const char *path, char *why);
void control_close(struct control *control);
/** Adds what to wait for; returns how many. */
unsigned control_fds(const struct control *control, struct pollfd *fds);
#define CONTROL_FDS_MAX (1 + CONTROL_CLIENTS_MAX)
/** Handle whatever is there; never blocks. */
void control_poll(struct control *control, struct daemon *daemon);

/** Everything as one object (report.c); json_object_put() it.  NULL = no memory. */
struct json_object *report_stats(const struct daemon *daemon);
struct json_object *report_status(const struct daemon *daemon);
struct json_object *report_luns(const struct daemon *daemon);
/** Prometheus text into text[bytes]; returns its length. */
size_t report_metrics(const struct daemon *daemon, char *text, size_t bytes);
/** --stats-json: 0 or a negative errno. */
int report_write(const struct daemon *daemon, const char *path);

#endif
