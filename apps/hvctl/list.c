/* SPDX-License-Identifier: BSD-3-Clause */
#include "list.h"

#include <errno.h>
#include <inttypes.h>

#include <json-c/json.h>

bool list_is_wanted(const struct device *device, const struct hv_guid *ids, size_t id_count)
{
    for (size_t i = 0; i < id_count; i++)
        if (hv_guid_equal(&device->instance_id, &ids[i]))
            return true;
    return !id_count;
}

const char *list_fill_text(const struct ring_fill *fill, char text[FILL_TEXT_BYTES])
{
    if (!fill->known)
        (void)snprintf(text, FILL_TEXT_BYTES, "-");
    else if (!fill->size_bytes)
        (void)snprintf(text, FILL_TEXT_BYTES, "%" PRIu64, fill->used_bytes);
    else
        (void)snprintf(text, FILL_TEXT_BYTES, "%" PRIu64 "/%" PRIu64, fill->used_bytes,
                       fill->size_bytes);
    return text;
}

static void print_channel(FILE *out, const struct channel *channel, bool last)
{
    char fill[FILL_TEXT_BYTES], name[24] = "primary";

    if (channel->index)
        (void)snprintf(name, sizeof(name), "sub-channel %u", channel->index);
    (void)fprintf(out, "  %s channel %u: %s", last ? "`-" : "|-", channel->relid, name);
    if (channel->cpu >= 0)
        (void)fprintf(out, ", CPU %d", channel->cpu);
    if (channel->monitor_id >= 0)
        (void)fprintf(out, ", monitor bit %d", channel->monitor_id);
    else
        (void)fprintf(out, ", no monitor");
    if (channel->out.known || channel->in.known) {
        (void)fprintf(out, ", to host %s", list_fill_text(&channel->out, fill));
        (void)fprintf(out, ", from host %s", list_fill_text(&channel->in, fill));
        (void)fprintf(out, " bytes");
    }
    (void)fputc('\n', out);
}

void list_print(FILE *out, const struct devices *devices, const struct hv_guid *ids,
                size_t id_count)
{
    for (size_t i = 0; i < devices->count; i++) {
        const struct device *device = &devices->list[i];

        if (!list_is_wanted(device, ids, id_count))
            continue;
        (void)fprintf(out, "%s %s: ", device->facts->name, device->instance_text);
        (void)fprintf(out, "%s%s", *device->driver ? "driver " : "no driver", device->driver);
        if (device->uio >= 0)
            (void)fprintf(out, " (/dev/uio%d)", device->uio);
        (void)fprintf(out, ", %s\n", device_state_names[device->state]);
        if (!*device->facts->id) {
            char text[HV_GUID_TEXT_BYTES];

            hv_guid_format(&device->class_id, text);
            (void)fprintf(out, "  class %s\n", text);
        }
        for (size_t c = 0; c < device->channel_count; c++)
            print_channel(out, &device->channels[c], c + 1 == device->channel_count);
    }
}

/* ---- JSON ---- */

static void add_number(struct json_object *object, const char *key, int64_t value)
{
    json_object_object_add(object, key, value < 0 ? NULL : json_object_new_int64(value));
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, *text ? json_object_new_string(text) : NULL);
}

static void add_fill(struct json_object *object, const char *key, const struct ring_fill *fill)
{
    struct json_object *ring = fill->known ? json_object_new_object() : NULL;

    if (ring) {
        add_number(ring, "used_bytes", (int64_t)fill->used_bytes);
        add_number(ring, "size_bytes", fill->size_bytes ? (int64_t)fill->size_bytes : -1);
    }
    json_object_object_add(object, key, ring);
}

static struct json_object *channel_object(const struct channel *channel)
{
    struct json_object *object = json_object_new_object();

    add_number(object, "relid", channel->relid);
    add_number(object, "index", channel->index);
    add_number(object, "cpu", channel->cpu);
    add_number(object, "monitor_id", channel->monitor_id);
    add_fill(object, "to_host", &channel->out);
    add_fill(object, "from_host", &channel->in);
    for (unsigned i = 0; i < COUNTERS; i++)
        if (channel->has_counter[i])
            json_object_object_add(object, channel_counter_names[i],
                                   json_object_new_uint64(channel->counter[i]));
    return object;
}

static struct json_object *device_object(const struct device *device)
{
    struct json_object *object = json_object_new_object();
    struct json_object *channels = json_object_new_array();
    char class_text[HV_GUID_TEXT_BYTES];

    hv_guid_format(&device->class_id, class_text);
    add_text(object, "instance", device->instance_text);
    add_text(object, "class", device->facts->name);
    add_text(object, "class_id", class_text);
    add_number(object, "relid", device->relid);
    add_text(object, "driver", device->driver);
    add_text(object, "driver_override", device->override);
    add_text(object, "state", device_state_names[device->state]);
    add_number(object, "uio", device->uio);
    add_number(object, "monitor_id", device->monitor_id);
    for (size_t c = 0; c < device->channel_count; c++)
        json_object_array_add(channels, channel_object(&device->channels[c]));
    json_object_object_add(object, "channels", channels);
    return object;
}

int list_print_json(FILE *out, const struct devices *devices, const struct hv_guid *ids,
                    size_t id_count)
{
    struct json_object *root = json_object_new_object();
    struct json_object *array = json_object_new_array();
    int err;

    for (size_t i = 0; i < devices->count; i++)
        if (list_is_wanted(&devices->list[i], ids, id_count))
            json_object_array_add(array, device_object(&devices->list[i]));
    json_object_object_add(root, "devices", array);
    err = fprintf(out, "%s\n",
                  json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
                                                           JSON_C_TO_STRING_NOSLASHESCAPE)) < 0
              ? -EIO
              : 0;
    (void)json_object_put(root);
    return err;
}
