/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch.h"

#include <errno.h>
#include <inttypes.h>

#include <json-c/json.h>

#include "list.h"

/** Channels keep their relid as long as they are offered. */
static const struct channel *channel_before(const struct devices *before,
                                            const struct device *device,
                                            const struct channel *channel)
{
    const struct device *old = devices_find(before, &device->instance_id);

    for (size_t i = 0; old && i < old->channel_count; i++)
        if (old->channels[i].relid == channel->relid)
            return &old->channels[i];
    return NULL;
}

/** Events a second; a counter that went back began anew. */
static double rate(const struct channel *old, const struct channel *now,
                   enum channel_counter counter, uint64_t elapsed_ns)
{
    uint64_t from = old && old->has_counter[counter] ? old->counter[counter] : 0;

    if (!now->has_counter[counter] || !elapsed_ns)
        return 0;
    if (!old)
        return 0; /* it came meanwhile: since when is not known */
    if (now->counter[counter] < from)
        from = 0;
    return (double)(now->counter[counter] - from) * 1e9 / (double)elapsed_ns;
}

/** Interrupts that reached the program: the counter of /dev/uioN, 32 bits that wrap. */
static double uio_rate(const struct devices *before, const struct device *device,
                       uint64_t elapsed_ns)
{
    const struct device *old = devices_find(before, &device->instance_id);

    if (device->uio < 0 || !old || old->uio != device->uio || !elapsed_ns)
        return 0;
    return (double)(uint32_t)(device->uio_events - old->uio_events) * 1e9 / (double)elapsed_ns;
}

static void print_channel(FILE *out, const struct devices *before, const struct device *device,
                          const struct channel *channel, uint64_t elapsed_ns)
{
    const struct channel *old = channel_before(before, device, channel);
    char out_text[FILL_TEXT_BYTES], in_text[FILL_TEXT_BYTES];

    (void)fprintf(out, "%-36s %4u %3d %9.0f %9.0f %9.0f %8.0f %16s %16s\n",
                  channel->index ? "" : device->instance_text, channel->index, channel->cpu,
                  rate(old, channel, COUNT_INTERRUPTS, elapsed_ns),
                  channel->index ? 0.0 : uio_rate(before, device, elapsed_ns),
                  rate(old, channel, COUNT_EVENTS, elapsed_ns),
                  rate(old, channel, COUNT_OUT_FULL_TOTAL, elapsed_ns),
                  list_fill_text(&channel->out, out_text), list_fill_text(&channel->in, in_text));
}

void watch_print(FILE *out, const struct devices *before, const struct devices *now,
                 uint64_t elapsed_ns, const struct hv_guid *ids, size_t id_count, bool header)
{
    if (header)
        (void)fprintf(out, "%-36s %4s %3s %9s %9s %9s %8s %16s %16s\n", "device", "chan", "CPU",
                      "int/s", "uio/s", "signal/s", "full/s", "to host", "from host");
    for (size_t i = 0; i < now->count; i++) {
        const struct device *device = &now->list[i];

        if (list_is_wanted(device, ids, id_count))
            for (size_t c = 0; c < device->channel_count; c++)
                print_channel(out, before, device, &device->channels[c], elapsed_ns);
    }
    (void)fputc('\n', out);
}

/* ---- JSON ---- */

static struct json_object *channel_object(const struct devices *before, const struct device *device,
                                          const struct channel *channel, uint64_t elapsed_ns)
{
    const struct channel *old = channel_before(before, device, channel);
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "instance", json_object_new_string(device->instance_text));
    json_object_object_add(object, "index", json_object_new_int64(channel->index));
    for (unsigned i = 0; i < COUNTERS; i++)
        json_object_object_add(object, channel_counter_names[i],
                               json_object_new_double(rate(old, channel, i, elapsed_ns)));
    if (!channel->index)
        json_object_object_add(object, "uio_events",
                               json_object_new_double(uio_rate(before, device, elapsed_ns)));
    json_object_object_add(object, "to_host_bytes",
                           channel->out.known ? json_object_new_uint64(channel->out.used_bytes)
                                              : NULL);
    json_object_object_add(object, "from_host_bytes",
                           channel->in.known ? json_object_new_uint64(channel->in.used_bytes)
                                             : NULL);
    return object;
}

int watch_print_json(FILE *out, const struct devices *before, const struct devices *now,
                     uint64_t elapsed_ns, const struct hv_guid *ids, size_t id_count)
{
    struct json_object *root = json_object_new_object();
    struct json_object *array = json_object_new_array();
    int err;

    json_object_object_add(root, "seconds", json_object_new_double((double)elapsed_ns / 1e9));
    for (size_t i = 0; i < now->count; i++) {
        const struct device *device = &now->list[i];

        for (size_t c = 0; list_is_wanted(device, ids, id_count) && c < device->channel_count; c++)
            json_object_array_add(array,
                                  channel_object(before, device, &device->channels[c], elapsed_ns));
    }
    json_object_object_add(root, "channels", array);
    err = fprintf(out, "%s\n", json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN)) < 0
              ? -EIO
              : 0;
    (void)json_object_put(root);
    return err;
}
