/* SPDX-License-Identifier: BSD-3-Clause */
/* --status: one line on stderr that refreshes itself on a terminal, a line now and then elsewhere. */
#ifndef HVBLK_STATUS_LINE_H
#define HVBLK_STATUS_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "stats.h"

struct status_line {
    bool on, terminal;
    uint64_t last_ns;
    struct stats_sum last;
};

void status_line_start(struct status_line *line, uint64_t now_ns);
/** Milliseconds until the next refresh, -1 = off. */
int status_line_wait(const struct status_line *line, uint64_t now_ns);
/** Print when it is time. */
void status_line_tick(struct status_line *line, uint64_t now_ns, const struct stats_sum *sum,
                      bool device_up);
/** A summary line, and the cursor below. */
void status_line_stop(struct status_line *line, const struct stats_sum *sum, uint64_t start_ns,
                      uint64_t now_ns);

#endif
