/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon tells about itself: JSON and Prometheus text. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/spin.h"
#include "daemon.h"

static void add_u64(struct json_object *object, const char *key, uint64_t value)
{
    (void)json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_commands(struct json_object *object, const char *key,
                         const uint64_t counts[NBD_CMD_COUNT])
{
    struct json_object *inner = json_object_new_object();

    for (unsigned i = 0; i < NBD_CMD_COUNT; i++)
        if (i != NBD_CMD_DISC)
            add_u64(inner, stats_command_name(i), counts[i]);
    (void)json_object_object_add(object, key, inner);
}

static uint64_t cpu_us(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage))
        return 0;
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static uint64_t resident_bytes(void)
{
    unsigned long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (!file)
        return 0;
    if (fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    (void)fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/** Counters of the channels: only while the queues exist. */
static struct json_object *channels(const struct daemon *daemon)
{
    struct json_object *list = json_object_new_array();

    for (unsigned i = 0; daemon->device.up && i < daemon->device.active; i++) {
        struct json_object *one = json_object_new_object();
        struct hv_storvsc_stats s = {0};

        reactor_queue_stats(&daemon->reactors[i], &s);
        add_u64(one, "submitted", s.submitted);
        add_u64(one, "completed", s.completed);
        add_u64(one, "failed", s.failed);
        add_u64(one, "split_requests", s.split_requests);
        add_u64(one, "bounced_bytes", s.bounced_bytes);
        add_u64(one, "retries", s.retries);
        add_u64(one, "timeouts", s.timeouts);
        add_u64(one, "resets", s.resets);
        add_u64(one, "packets_out", s.channel.out.packets);
        add_u64(one, "packets_in", s.channel.in.packets);
        add_u64(one, "signals_sent", s.channel.out.signals);
        add_u64(one, "signals_saved", s.channel.out.signals_saved);
        add_u64(one, "wakeups", s.channel.wakeups);
        (void)json_object_array_add(list, one);
    }
    return list;
}

static void add_text(struct json_object *object, const char *key, const char *value)
{
    (void)json_object_object_add(object, key, json_object_new_string(value));
}

/** Block devices. */
static struct json_object *devices(const struct daemon *daemon)
{
    struct json_object *list = json_object_new_array();
    struct ublk_status status[UBLK_DEVICES_MAX];
    unsigned count = ublk_status(daemon->ublk, status, UBLK_DEVICES_MAX);

    for (unsigned i = 0; i < count; i++) {
        struct json_object *one = json_object_new_object();
        char path[32];

        (void)snprintf(path, sizeof(path), "/dev/ublkb%" PRIu32, status[i].id);
        add_text(one, "device", path);
        add_u64(one, "id", status[i].id);
        add_text(one, "lun", status[i].lun);
        add_text(one, "state", status[i].state);
        add_text(one, "recovery", status[i].recovery);
        add_text(one, "copy", status[i].copy);
        (void)json_object_object_add(one, "unprivileged",
                                     json_object_new_boolean(status[i].unprivileged));
        add_u64(one, "bytes", status[i].bytes);
        add_u64(one, "queues", status[i].queues);
        add_u64(one, "depth", status[i].depth);
        add_u64(one, "max_io_bytes", status[i].max_io_bytes);
        add_u64(one, "requests", status[i].requests);
        add_u64(one, "errors", status[i].errors);
        (void)json_object_array_add(list, one);
    }
    return list;
}

struct json_object *report_stats(const struct daemon *daemon)
{
    struct json_object *object = json_object_new_object();
    struct stats_sum sum;

    if (!object)
        return NULL;
    daemon_sum(daemon, &sum);
    add_u64(object, "uptime_ms", (hv_spin_clock_ns() - daemon->start_ns) / 1000000);
    add_commands(object, "operations", sum.ops);
    add_commands(object, "errors", sum.errors);
    add_u64(object, "read_bytes", sum.read_bytes);
    add_u64(object, "written_bytes", sum.written_bytes);
    add_u64(object, "in_flight", sum.in_flight);
    add_u64(object, "connections", sum.connections);
    add_u64(object, "connections_total", sum.connections_total);
    add_u64(object, "connections_refused", sum.connections_refused);
    add_u64(object, "latency_p50_us", stats_quantile_us(&sum, 0.5));
    add_u64(object, "latency_p99_us", stats_quantile_us(&sum, 0.99));
    add_u64(object, "latency_sum_us", sum.latency_us_sum);
    add_u64(object, "turns", sum.turns);
    add_u64(object, "sleeps", sum.sleeps);
    add_u64(object, "receives", sum.receives);
    add_u64(object, "sends", sum.sends);
    add_u64(object, "waits", sum.waits);
    add_u64(object, "stalls", sum.stalls);
    add_u64(object, "buffer_bytes", sum.buffer_bytes);
    add_u64(object, "reconnects", daemon->device.reconnects);
    add_u64(object, "cpu_us", cpu_us());
    add_u64(object, "resident_bytes", resident_bytes());
    (void)json_object_object_add(object, "channels", channels(daemon));
    (void)json_object_object_add(object, "block_devices", devices(daemon));
    return object;
}

struct json_object *report_luns(const struct daemon *daemon)
{
    struct json_object *list = json_object_new_array();

    for (unsigned i = 0; list && i < daemon->device.luns.count; i++) {
        const struct lun *lun = &daemon->device.luns.lun[i];
        struct json_object *one;

        if (!lun->present)
            continue;
        one = json_object_new_object();
        (void)json_object_object_add(one, "name", json_object_new_string(lun->name));
        (void)json_object_object_add(one, "description", json_object_new_string(lun->description));
        add_u64(one, "bytes", lun->bytes);
        add_u64(one, "block_bytes", lun->block_bytes);
        (void)json_object_object_add(one, "read_only", json_object_new_boolean(lun->read_only));
        (void)json_object_object_add(one, "write_cache", json_object_new_boolean(lun->write_cache));
        (void)json_object_object_add(one, "trim", json_object_new_boolean(lun->unmap));
        (void)json_object_array_add(list, one);
    }
    return list;
}

struct json_object *report_status(const struct daemon *daemon)
{
    struct json_object *object = json_object_new_object(), *exports = json_object_new_array();
    struct stats_sum sum;
    uint16_t version = daemon->device.up ? hv_storvsc_version(daemon->device.storvsc) : 0;
    char text[16];

    if (!object || !exports) {
        json_object_put(object);
        json_object_put(exports);
        return NULL;
    }
    daemon_sum(daemon, &sum);
    (void)json_object_object_add(object, "version", json_object_new_string(HV_VERSION_TEXT));
    add_u64(object, "pid", (uint64_t)getpid());
    (void)json_object_object_add(object, "state",
                                 json_object_new_string(daemon->stopping        ? "stopping"
                                                        : !daemon->device.up    ? "device lost"
                                                        : daemon->closed_to_new ? "draining"
                                                                                : "serving"));
    for (unsigned i = 0; i < daemon->listener_count; i++)
        (void)json_object_array_add(exports, json_object_new_string(daemon->listeners[i].uri));
    (void)json_object_object_add(object, "exports", exports);
    (void)json_object_object_add(object, "block_devices", devices(daemon));
    (void)json_object_object_add(object, "luns", report_luns(daemon));
    (void)snprintf(text, sizeof(text), "%u.%u", version >> 8, version & 0xffu);
    (void)json_object_object_add(object, "storage_protocol", json_object_new_string(text));
    add_u64(object, "reactors", daemon->device.active);
    add_u64(object, "connections", sum.connections);
    add_u64(object, "in_flight", sum.in_flight);
    return object;
}

/* ---- Prometheus ---- */

struct text {
    char *at;
    size_t room, used;
};

static void put(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *text, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text->at + text->used, text->room - text->used, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < text->room - text->used)
        text->used += (size_t)n; /* else: cut off at a whole line */
}

static void metric(struct text *text, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    put(text, "# HELP hvblk_%s %s\n# TYPE hvblk_%s %s\nhvblk_%s %" PRIu64 "\n", name, help, name,
        type, name, value);
}

static void metric_commands(struct text *text, const char *name, const char *help,
                            const uint64_t counts[NBD_CMD_COUNT])
{
    put(text, "# HELP hvblk_%s %s\n# TYPE hvblk_%s counter\n", name, help, name);
    for (unsigned i = 0; i < NBD_CMD_COUNT; i++)
        if (i != NBD_CMD_DISC)
            put(text, "hvblk_%s{command=\"%s\"} %" PRIu64 "\n", name, stats_command_name(i),
                counts[i]);
}

static void metric_devices(struct text *text, const struct daemon *daemon)
{
    struct ublk_status status[UBLK_DEVICES_MAX];
    unsigned count = ublk_status(daemon->ublk, status, UBLK_DEVICES_MAX);

    if (!count)
        return;
    put(text, "# HELP hvblk_block_device_up 1 while the block device is served\n"
              "# TYPE hvblk_block_device_up gauge\n");
    for (unsigned i = 0; i < count; i++)
        put(text, "hvblk_block_device_up{device=\"ublkb%" PRIu32 "\",lun=\"%s\"} %d\n",
            status[i].id, status[i].lun, status[i].live);
    put(text, "# HELP hvblk_block_device_requests_total Requests of the kernel answered\n"
              "# TYPE hvblk_block_device_requests_total counter\n");
    for (unsigned i = 0; i < count; i++)
        put(text, "hvblk_block_device_requests_total{device=\"ublkb%" PRIu32 "\"} %" PRIu64 "\n",
            status[i].id, status[i].requests);
    put(text, "# HELP hvblk_block_device_errors_total ... with an error\n"
              "# TYPE hvblk_block_device_errors_total counter\n");
    for (unsigned i = 0; i < count; i++)
        put(text, "hvblk_block_device_errors_total{device=\"ublkb%" PRIu32 "\"} %" PRIu64 "\n",
            status[i].id, status[i].errors);
}

static void metric_latency(struct text *text, const struct stats_sum *sum)
{
    uint64_t below = 0;

    put(text, "# HELP hvblk_latency_seconds From reception to reply\n"
              "# TYPE hvblk_latency_seconds histogram\n");
    for (unsigned i = 0; i < STATS_LATENCY_BUCKETS; i++) {
        below += sum->latency[i];
        if (i < 25) /* half a minute; all the rest is in +Inf */
            put(text, "hvblk_latency_seconds_bucket{le=\"%.6f\"} %" PRIu64 "\n",
                (double)(UINT64_C(1) << i) / 1e6, below);
    }
    put(text,
        "hvblk_latency_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n"
        "hvblk_latency_seconds_sum %.6f\nhvblk_latency_seconds_count %" PRIu64 "\n",
        below, (double)sum->latency_us_sum / 1e6, below);
}

size_t report_metrics(const struct daemon *daemon, char *buffer, size_t bytes)
{
    struct text text = {.at = buffer, .room = bytes};
    struct stats_sum sum;

    daemon_sum(daemon, &sum);
    metric_commands(&text, "operations_total", "Requests answered", sum.ops);
    metric_commands(&text, "errors_total", "Requests answered with an error", sum.errors);
    metric(&text, "read_bytes_total", "counter", "Bytes read by clients", sum.read_bytes);
    metric(&text, "written_bytes_total", "counter", "Bytes written by clients", sum.written_bytes);
    metric(&text, "connections", "gauge", "Clients now", sum.connections);
    metric(&text, "connections_total", "counter", "Clients ever", sum.connections_total);
    metric(&text, "connections_refused_total", "counter", "Clients over the limit",
           sum.connections_refused);
    metric(&text, "in_flight", "gauge", "Requests not yet answered", sum.in_flight);
    metric(&text, "waits_total", "counter", "Requests that waited for the device", sum.waits);
    metric(&text, "stalls_total", "counter", "Times a client was not read for want of room",
           sum.stalls);
    metric(&text, "sleeps_total", "counter", "Times a reactor slept", sum.sleeps);
    metric(&text, "buffer_bytes", "gauge", "Data memory in use", sum.buffer_bytes);
    metric(&text, "device_up", "gauge", "1 while the controller works", daemon->device.up);
    metric(&text, "reconnects_total", "counter", "Times the controller came back",
           daemon->device.reconnects);
    metric(&text, "resident_bytes", "gauge", "Memory of the process", resident_bytes());
    put(&text,
        "# HELP hvblk_cpu_seconds_total CPU time of the process\n"
        "# TYPE hvblk_cpu_seconds_total counter\nhvblk_cpu_seconds_total %.6f\n",
        (double)cpu_us() / 1e6);
    metric_devices(&text, daemon);
    metric_latency(&text, &sum);
    return text.used;
}

int report_write(const struct daemon *daemon, const char *path)
{
    struct json_object *object = report_stats(daemon);
    bool to_stdout = !strcmp(path, "-");
    FILE *file = to_stdout ? stdout : fopen(path, "we");
    int ret = 0;

    if (!object || !file) {
        ret = object ? -errno : -ENOMEM;
    } else {
        if (fprintf(file, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY)) <
                0 ||
            fflush(file))
            ret = -EIO;
    }
    if (file && !to_stdout && fclose(file) && !ret)
        ret = -EIO;
    json_object_put(object);
    return ret;
}
