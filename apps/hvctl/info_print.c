/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <inttypes.h>

#include <json-c/json.h>

#include "info.h"
#include "quirks.h"

/** "10.0.20348 (service pack 1, branch 0, build 1138)" by the fields of leaf 2. */
static const char *build_text(const struct hyperv *hyperv, char text[64])
{
    const uint32_t *leaf = hyperv->leaf[2];

    (void)snprintf(text, 64, "%u.%u.%u-%u-%u.%u", leaf[EBX] >> 16, leaf[EBX] & 0xffff, leaf[EAX],
                   leaf[ECX], leaf[EDX] >> 24, leaf[EDX] & 0xffffff);
    return text;
}

/* ---- Text ---- */

static void print_bits(FILE *out, const struct hyperv *hyperv, const char *title,
                       const struct hyperv_bit *bits)
{
    for (bool first = true; bits->name; bits++) {
        if (!hyperv_has(hyperv, bits))
            continue;
        if (first)
            (void)fprintf(out, "%s:\n", title);
        first = false;
        (void)fprintf(out, "  %s\n", bits->name);
    }
}

static void print_limit(FILE *out, uint32_t value, const char *name)
{
    if (value == UINT32_MAX)
        (void)fprintf(out, "  any number of %s\n", name);
    else if (value)
        (void)fprintf(out, "  %u %s\n", value, name);
}

static void print_hyperv(FILE *out, const struct info *info)
{
    const struct hyperv *hyperv = &info->hyperv;
    char build[64];

    if (!hyperv->present) {
        (void)fprintf(out, "Hyper-V: CPUID tells nothing on this machine, but its bus is there\n");
        return;
    }
    (void)fprintf(out, "Hyper-V: build %s, vendor \"%s\", leaves up to 0x%08x\n",
                  build_text(hyperv, build), hyperv->vendor, hyperv->last_leaf);
    (void)fprintf(out, "isolation: %s%s\n", hyperv_isolation(hyperv),
                  hyperv_has_paravisor(hyperv) ? ", with paravisor" : "");
    print_bits(out, hyperv, "features", hyperv_features);
    print_bits(out, hyperv, "recommendations", hyperv_recommendations);
    if (hyperv->leaf[4][EBX] != UINT32_MAX) /* which means never */
        (void)fprintf(out, "  %u spins on a lock before telling the hypervisor\n",
                      hyperv->leaf[4][EBX]);
    (void)fprintf(out, "limits:\n");
    for (const struct hyperv_limit *limit = hyperv_limits; limit->name; limit++)
        print_limit(out, hyperv->leaf[limit->leaf][limit->reg], limit->name);
    print_bits(out, hyperv, "hardware that it uses", hyperv_hardware);
    if (hyperv->leaf[10][EAX])
        print_bits(out, hyperv, "for nested guests", hyperv_nested);
}

static void print_machine(FILE *out, const struct info *info)
{
    (void)fprintf(out, "VMBus: %s%s, %zu devices, %zu of them with uio_hv_generic\n",
                  *info->vmbus_version ? "version " : "version not in the kernel's log",
                  info->vmbus_version, info->device_count, info->uio_count);
    (void)fprintf(out, "monitor page: %u of %d bits in use\n", info->monitor_used, MONITOR_MAX);
    (void)fprintf(out, "kernel: %s\n", *info->release ? info->release : "not known");
    for (size_t i = 0; i < quirk_count; i++)
        if (quirks[i].applies(info->kernel))
            (void)fprintf(out, "  %s%s\n    -> %s\n", quirks[i].danger ? "DANGER: " : "",
                          quirks[i].what, quirks[i].todo);
    (void)fprintf(out, "hugepages: %" PRIu64 " free of %" PRIu64 ", %" PRIu64 " KiB each\n",
                  info->huge_free, info->huge_total, info->huge_bytes / 1024);
    (void)fprintf(out, "needed for devices in user space:\n");
    for (size_t i = 0; i < need_count; i++) {
        bool met = needs[i].met(info);

        (void)fprintf(out, "  [%s] %s\n", met ? "ok" : "--", needs[i].what);
        if (!met)
            (void)fprintf(out, "    -> %s\n", needs[i].todo);
    }
}

void info_print(FILE *out, const struct info *info)
{
    if (info_is_hyperv(info))
        print_hyperv(out, info);
    else if (info->hyperv.hypervisor)
        (void)fprintf(out, "no Hyper-V: the hypervisor is \"%s\"\n", info->hyperv.vendor);
    else
        (void)fprintf(out, "no Hyper-V: this machine has no hypervisor that says so\n");
    if (info_is_hyperv(info) || info->has_bus)
        print_machine(out, info);
}

/* ---- JSON ---- */

static void add_number(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, *text ? json_object_new_string(text) : NULL);
}

static void add_bits(struct json_object *object, const char *key, const struct hyperv *hyperv,
                     const struct hyperv_bit *bits)
{
    struct json_object *array = json_object_new_array();

    for (; bits->name; bits++)
        if (hyperv_has(hyperv, bits))
            json_object_array_add(array, json_object_new_string(bits->name));
    json_object_object_add(object, key, array);
}

static struct json_object *leaves_object(const struct hyperv *hyperv)
{
    struct json_object *object = json_object_new_object();

    for (uint32_t i = 0; i < HYPERV_LEAVES && HYPERV_LEAF_FIRST + i <= hyperv->last_leaf; i++) {
        struct json_object *registers = json_object_new_array();
        char key[16];

        (void)snprintf(key, sizeof(key), "0x%08x", HYPERV_LEAF_FIRST + i);
        for (unsigned r = 0; r < 4; r++)
            json_object_array_add(registers, json_object_new_int64(hyperv->leaf[i][r]));
        json_object_object_add(object, key, registers);
    }
    return object;
}

static struct json_object *hyperv_object(const struct hyperv *hyperv)
{
    struct json_object *object = json_object_new_object();
    struct json_object *limits = json_object_new_object();
    char build[64];

    add_text(object, "vendor", hyperv->vendor);
    add_text(object, "build", build_text(hyperv, build));
    add_text(object, "isolation", hyperv_isolation(hyperv));
    add_bits(object, "features", hyperv, hyperv_features);
    add_bits(object, "recommendations", hyperv, hyperv_recommendations);
    for (const struct hyperv_limit *limit = hyperv_limits; limit->name; limit++)
        add_number(limits, limit->name, hyperv->leaf[limit->leaf][limit->reg]);
    json_object_object_add(object, "limits", limits);
    add_bits(object, "hardware", hyperv, hyperv_hardware);
    add_bits(object, "nested", hyperv, hyperv_nested);
    json_object_object_add(object, "leaves", leaves_object(hyperv));
    return object;
}

static struct json_object *quirks_array(const struct info *info)
{
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; i < quirk_count; i++) {
        struct json_object *quirk;

        if (!quirks[i].applies(info->kernel))
            continue;
        quirk = json_object_new_object();
        add_text(quirk, "name", quirks[i].name);
        json_object_object_add(quirk, "danger", json_object_new_boolean(quirks[i].danger));
        add_text(quirk, "what", quirks[i].what);
        add_text(quirk, "todo", quirks[i].todo);
        json_object_array_add(array, quirk);
    }
    return array;
}

static struct json_object *needs_object(const struct info *info)
{
    struct json_object *object = json_object_new_object();

    for (size_t i = 0; i < need_count; i++)
        json_object_object_add(object, needs[i].name, json_object_new_boolean(needs[i].met(info)));
    return object;
}

int info_print_json(FILE *out, const struct info *info)
{
    struct json_object *root = json_object_new_object();
    int err;

    json_object_object_add(root, "hyper_v",
                           info->hyperv.present ? hyperv_object(&info->hyperv) : NULL);
    add_text(root, "vmbus_version", info->vmbus_version);
    add_number(root, "devices", info->device_count);
    add_number(root, "devices_on_uio", info->uio_count);
    add_number(root, "monitor_bits_used", info->monitor_used);
    add_text(root, "kernel", info->release);
    json_object_object_add(root, "quirks", quirks_array(info));
    add_number(root, "hugepages_free", info->huge_free);
    add_number(root, "hugepages_total", info->huge_total);
    add_number(root, "hugepage_bytes", info->huge_bytes);
    json_object_object_add(root, "needs", needs_object(info));
    err = fprintf(out, "%s\n",
                  json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
                                                           JSON_C_TO_STRING_NOSLASHESCAPE)) < 0
              ? -EIO
              : 0;
    (void)json_object_put(root);
    return err;
}
