/* SPDX-License-Identifier: BSD-3-Clause */
#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>
#include <systemd/sd-daemon.h>

#define LINE_BYTES 1024

static struct {
    int highest;
    bool json;
} settings = {HV_LOG_INFO, false};

static const char *const level_names[] = {"error", "warning", "info", "debug"};

/** One write per line, so that lines of several threads do not mix. */
static void put_line(int fd, const char *text)
{
    char line[LINE_BYTES + 64];
    int n = snprintf(line, sizeof(line), "%s\n", text);

    if (n >= (int)sizeof(line)) {
        n = (int)sizeof(line) - 1;
        line[n - 1] = '\n';
    }
    (void)!write(fd, line, (size_t)n); /* a log that cannot be written has nobody to be told */
}

static void put_json(int fd, const char *key, const char *value, const char *key2,
                     const char *value2)
{
    struct json_object *object = json_object_new_object();
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    json_object_object_add(object, "time",
                           json_object_new_double((double)now.tv_sec + (double)now.tv_nsec / 1e9));
    json_object_object_add(object, key, json_object_new_string(value));
    json_object_object_add(object, key2, json_object_new_string(value2));
    put_line(fd, json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)json_object_put(object);
}

static void log_line(void *arg, enum hv_log_level level, const char *line)
{
    char text[LINE_BYTES];

    (void)arg;
    if ((int)level > settings.highest)
        return;
    if (settings.json) {
        put_json(STDERR_FILENO, "level", level_names[level], "message", line);
        return;
    }
    (void)snprintf(text, sizeof(text), "hv-host: %s%s%s",
                   level < HV_LOG_INFO ? level_names[level] : "", level < HV_LOG_INFO ? ": " : "",
                   line);
    put_line(STDERR_FILENO, text);
}

void report_init(int highest, bool json)
{
    settings.highest = highest;
    settings.json = json;
}

struct hv_log_hook report_hook(void)
{
    return (struct hv_log_hook){.line = log_line};
}

void report(enum hv_log_level level, const char *format, ...)
{
    char line[LINE_BYTES - 32];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    log_line(NULL, level, line);
}

static int write_pid_file(const char *path)
{
    FILE *file = fopen(path, "we");
    int err = 0;

    if (!file || fprintf(file, "%ld\n", (long)getpid()) < 0)
        err = -errno;
    if (file && fclose(file) && !err)
        err = -errno;
    return err;
}

int report_ready(const char *listen, int ready_fd, const char *pid_file)
{
    char text[LINE_BYTES];
    int err = pid_file ? write_pid_file(pid_file) : 0;

    if (err) {
        report(HV_LOG_ERROR, "--pid-file %s: %s", pid_file, strerror(-err));
        return err;
    }
    if (settings.json) {
        (void)snprintf(text, sizeof(text), "unix:%s", listen);
        put_json(STDOUT_FILENO, "event", "ready", "address", text);
    } else {
        (void)snprintf(text, sizeof(text), "ready unix:%s", listen);
        put_line(STDOUT_FILENO, text);
    }
    if (ready_fd >= 0) {
        put_line(ready_fd, "ready");
        if (ready_fd > STDERR_FILENO)
            (void)close(ready_fd);
    }
    (void)sd_notify(0, "READY=1"); /* 0 or an error outside a service: both fine */
    return 0;
}

void report_stopping(const char *pid_file)
{
    (void)sd_notify(0, "STOPPING=1");
    if (pid_file)
        (void)unlink(pid_file);
}
