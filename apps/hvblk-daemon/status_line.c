/* SPDX-License-Identifier: BSD-3-Clause */
#include "status_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define TERMINAL_MS 500u
#define PLAIN_MS    10000u
#define MIB         (1024.0 * 1024.0)

/** The line as it stands on the terminal, to be drawn again after somebody else wrote. */
static char shown[160];

static void wipe(void)
{
    if (shown[0])
        (void)!write(STDERR_FILENO, "\r\033[K", 4);
}

static void draw(void)
{
    if (shown[0])
        (void)!write(STDERR_FILENO, shown, strlen(shown));
}

static uint64_t period_ns(const struct status_line *line)
{
    return (line->terminal ? TERMINAL_MS : PLAIN_MS) * UINT64_C(1000000);
}

void status_line_start(struct status_line *line, uint64_t now_ns)
{
    line->on = true;
    line->terminal = isatty(STDERR_FILENO);
    line->last_ns = now_ns;
    if (line->terminal)
        log_set_around(wipe, draw);
}

int status_line_wait(const struct status_line *line, uint64_t now_ns)
{
    uint64_t next = line->last_ns + period_ns(line);

    if (!line->on)
        return -1;
    return now_ns >= next ? 0 : (int)((next - now_ns) / 1000000) + 1;
}

void status_line_tick(struct status_line *line, uint64_t now_ns, const struct stats_sum *sum,
                      bool device_up)
{
    double seconds = (double)(now_ns - line->last_ns) / 1e9;
    double moved = (double)(sum->read_bytes + sum->written_bytes) -
                   (double)(line->last.read_bytes + line->last.written_bytes);
    double ops = (double)stats_total_ops(sum) - (double)stats_total_ops(&line->last);
    char text[120];

    if (!line->on || now_ns - line->last_ns < period_ns(line))
        return;
    (void)snprintf(text, sizeof(text),
                   "%9.0f IOPS %8.1f MiB/s  depth %4" PRIu64 "  clients %3" PRIu64 "%s",
                   ops / seconds, moved / MIB / seconds, sum->in_flight, sum->connections,
                   device_up ? "" : "  DEVICE LOST");
    line->last = *sum;
    line->last_ns = now_ns;
    if (!line->terminal) {
        log_line(HV_LOG_INFO, "%s", text);
        return;
    }
    log_set_around(NULL, NULL);
    wipe();
    (void)snprintf(shown, sizeof(shown), "%s", text);
    draw();
    log_set_around(wipe, draw);
}

void status_line_stop(struct status_line *line, const struct stats_sum *sum, uint64_t start_ns,
                      uint64_t now_ns)
{
    uint64_t errors = 0;

    if (!line->on)
        return;
    if (line->terminal) {
        log_set_around(NULL, NULL);
        wipe();
        shown[0] = '\0';
    }
    for (unsigned i = 0; i < NBD_CMD_COUNT; i++)
        errors += sum->errors[i];
    log_line(HV_LOG_INFO,
             "served %" PRIu64 " requests in %.1f s: %.1f MiB read, %.1f MiB written, %" PRIu64
             " errors, half below %" PRIu64 " us, 99 %% below %" PRIu64 " us",
             stats_total_ops(sum), (double)(now_ns - start_ns) / 1e9, (double)sum->read_bytes / MIB,
             (double)sum->written_bytes / MIB, errors, stats_quantile_us(sum, 0.5),
             stats_quantile_us(sum, 0.99));
    line->on = false;
}
