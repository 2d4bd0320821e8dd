/* SPDX-License-Identifier: BSD-3-Clause */
#include "log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;
    enum hv_log_level highest;
    bool journal;
    void (*before)(void);
    void (*after)(void);
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .highest = HV_LOG_INFO};

static const struct {
    const char *prefix;
    const char *journal; /* sd-daemon(3) */
} levels[] = {
    [HV_LOG_ERROR] = {"error: ", "<3>"},
    [HV_LOG_WARNING] = {"warning: ", "<4>"},
    [HV_LOG_INFO] = {"", "<6>"},
    [HV_LOG_DEBUG] = {"debug: ", "<7>"},
};

void log_init(enum hv_log_level highest)
{
    state.highest = highest;
    state.journal = getenv("JOURNAL_STREAM") != NULL;
}

void log_set_around(void (*before)(void), void (*after)(void))
{
    (void)pthread_mutex_lock(&state.lock);
    state.before = before;
    state.after = after;
    (void)pthread_mutex_unlock(&state.lock);
}

void log_line(enum hv_log_level level, const char *format, ...)
{
    char line[1024];
    va_list args;
    int used, more;

    if (level > state.highest)
        return;
    used = snprintf(line, sizeof(line), "%shvblk-daemon: %s",
                    state.journal ? levels[level].journal : "", levels[level].prefix);
    va_start(args, format);
    more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, args);
    va_end(args);
    used = more < 0 ? used : used + more;
    if ((size_t)used > sizeof(line) - 2)
        used = (int)sizeof(line) - 2;
    line[used++] = '\n';
    (void)pthread_mutex_lock(&state.lock);
    if (state.before)
        state.before();
    (void)!write(STDERR_FILENO, line, (size_t)used); /* nowhere to complain */
    if (state.after)
        state.after();
    (void)pthread_mutex_unlock(&state.lock);
}

static void hook_line(void *arg, enum hv_log_level level, const char *line)
{
    log_line(level, "%s: %s", (const char *)arg, line);
}

struct hv_log_hook log_hook(const char *who)
{
    return (struct hv_log_hook){.line = hook_line, .arg = (void *)(uintptr_t)who};
}
