/* SPDX-License-Identifier: BSD-3-Clause */
/* hvctl list and watch over recorded trees of eight kernels, and over trees that lie. */
#include "list.h"

#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "ctl_rig.h"
#include "suite.h"
#include "watch.h"

#define FOLDER "sys/bus/vmbus/devices/" TREE_INSTANCE

static void put_open(struct rig *rig)
{
    struct tree *tree = &rig->tree;

    tree_put(tree, "3\n", FOLDER "/state");
    tree_put(tree, "64\n", FOLDER "/out_read_bytes_avail");
    tree_put(tree, "2093056\n", FOLDER "/out_write_bytes_avail");
    tree_put(tree, "0\n", FOLDER "/in_read_bytes_avail");
    tree_put(tree, "2093120\n", FOLDER "/in_write_bytes_avail");
    tree_put(tree, "7\n", FOLDER "/channels/14/interrupts");
    tree_put(tree, "9\n", FOLDER "/channels/14/events");
}

/** The network device with the driver, and a sub-channel. */
static void start(struct rig *rig, const struct tree_kernel *kernel, int monitor_id)
{
    struct tree_device device = tree_network(monitor_id);

    rig_init(rig, kernel->release);
    tree_device(&rig->tree, &device);
    rig_link(rig, "sys/bus/vmbus/drivers/uio_hv_generic", FOLDER "/driver");
    tree_sub(&rig->tree, &device, 21, 1, monitor_id < 0 ? -1 : 38);
    tree_put(&rig->tree, "3\n", FOLDER "/channels/21/cpu");
    tree_put(&rig->tree, "12\n", FOLDER "/uio/uio3/event");
}

static void print_all(struct rig *rig, FILE *out)
{
    list_print(out, &rig->devices, NULL, 0);
}

static void print_json(struct rig *rig, FILE *out)
{
    CU_ASSERT_EQUAL(list_print_json(out, &rig->devices, NULL, 0), 0);
}

static void test_every_kernel(void)
{
    for (size_t k = 0; k < tree_kernel_count; k++)
        for (int monitored = 0; monitored <= 1; monitored++) {
            const char *name = tree_kernels[k].release;
            const struct device *device;
            struct rig rig;
            char *text;

            start(&rig, &tree_kernels[k], monitored ? 37 : -1);
            device = rig_load(&rig, TREE_INSTANCE);
            HV_CHECK_ROW(name, device && device->channel_count == 2 && device->uio == 3);
            HV_CHECK_ROW(name, device->relid == 14 && device->state == STATE_CLOSED);
            HV_CHECK_ROW(name, device->monitor_id == (monitored ? 37 : -1));
            text = rig_capture(&rig, print_all);
            HV_CHECK_ROW(name, strstr(text, "network " TREE_INSTANCE ": driver uio_hv_generic "
                                            "(/dev/uio3), closed\n"));
            HV_CHECK_ROW(name,
                         strstr(text, monitored ? "|- channel 14: primary, CPU 0, monitor bit 37\n"
                                                : "|- channel 14: primary, CPU 0, no monitor\n"));
            HV_CHECK_ROW(name,
                         strstr(text, monitored
                                          ? "`- channel 21: sub-channel 1, CPU 3, monitor bit 38\n"
                                          : "`- channel 21: sub-channel 1, CPU 3, no monitor\n"));
            free(text);
            rig_fini(&rig);
        }
}

static void test_fill(void)
{
    struct tree_device device = tree_network(37);
    struct rig rig;
    char *text;

    start(&rig, tree_kernel("6.12"), 37);
    put_open(&rig);
    tree_sub_ring(&rig.tree, &device, 21, 2u << 20);
    tree_put(&rig.tree, "48\n", FOLDER "/channels/21/read_avail");
    tree_put(&rig.tree, "2092992\n", FOLDER "/channels/21/write_avail");
    (void)rig_load(&rig, TREE_INSTANCE);
    text = rig_capture(&rig, print_all);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "(/dev/uio3), open\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "to host 64/2093120, from host 0/2093120 bytes\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "to host 64/2093056, from host 48/2093056 bytes\n"));
    free(text);
    rig_fini(&rig);
}

static struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    HV_CHECK_ROW(key, json_object_object_get_ex(object, key, &value));
    return value;
}

static void test_json(void)
{
    struct json_object *root, *device, *channel;
    struct rig rig;
    char *text;

    start(&rig, tree_kernel("6.12"), 37);
    put_open(&rig);
    (void)rig_load(&rig, TREE_INSTANCE);
    text = rig_capture(&rig, print_json);
    root = json_tokener_parse(text);
    device = json_object_array_get_idx(member(root, "devices"), 0);
    CU_ASSERT_STRING_EQUAL(json_object_get_string(member(device, "instance")), TREE_INSTANCE);
    CU_ASSERT_STRING_EQUAL(json_object_get_string(member(device, "class")), "network");
    CU_ASSERT_STRING_EQUAL(json_object_get_string(member(device, "class_id")), TREE_NETWORK);
    CU_ASSERT_STRING_EQUAL(json_object_get_string(member(device, "driver")), "uio_hv_generic");
    CU_ASSERT_STRING_EQUAL(json_object_get_string(member(device, "state")), "open");
    CU_ASSERT_EQUAL(json_object_get_int(member(device, "uio")), 3);
    CU_ASSERT_EQUAL(json_object_array_length(member(device, "channels")), 2);
    channel = json_object_array_get_idx(member(device, "channels"), 0);
    CU_ASSERT_EQUAL(json_object_get_int(member(channel, "relid")), 14);
    CU_ASSERT_EQUAL(json_object_get_int(member(channel, "interrupts")), 7);
    CU_ASSERT_EQUAL(json_object_get_int(member(member(channel, "to_host"), "used_bytes")), 64);
    CU_ASSERT_EQUAL(json_object_get_int(member(member(channel, "to_host"), "size_bytes")), 2093120);
    channel = json_object_array_get_idx(member(device, "channels"), 1);
    CU_ASSERT_EQUAL(json_object_get_int(member(channel, "index")), 1);
    CU_ASSERT_PTR_NULL(member(channel, "to_host")); /* JSON null */
    (void)json_object_put(root);
    free(text);
    rig_fini(&rig);
}

/** Folders and files that no kernel would show. */
static void test_hostile(void)
{
    static const struct {
        const char *name, *file, *text;
        size_t devices, broken;
    } rows[] = {
        {"instance", "device_id", "{no guid}\n", 0, 1},
        {"class", "class_id", "", 0, 1},
        {"no number", "id", "-1\n", 0, 1},
        {"large number", "id", "65536\n", 0, 1},
        {"long line", "device_id",
         "{f8615163-0001-1000-2000-00155d4edc44}                                                   "
         " "
         "                                                                                        ",
         0, 1},
        {"state", "state", "77\n", 1, 0},
        {"monitor", "monitor_id", "128\n", 1, 0},
        {"cpu", "channels/14/cpu", "99999999999999999999\n", 1, 0},
        {"channel index", "channels/21/subchannel_id", "65536\n", 1, 0},
        {"control characters", "driver_override", "\033[2Jx\n", 1, 0},
        {"fill", "out_read_bytes_avail", "5000000000\n", 1, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rig rig;
        char *text;

        start(&rig, tree_kernel("6.12"), 37);
        put_open(&rig);
        tree_put(&rig.tree, "", FOLDER "/channels/..x/cpu");
        tree_put(&rig.tree, "1\n", FOLDER "/channels/no number/subchannel_id");
        tree_put(&rig.tree, rows[i].text, FOLDER "/%s", rows[i].file);
        (void)rig_load(&rig, TREE_INSTANCE);
        HV_CHECK_ROW(rows[i].name, rig.devices.count == rows[i].devices);
        HV_CHECK_ROW(rows[i].name, rig.devices.broken == rows[i].broken);
        text = rig_capture(&rig, print_json);
        HV_CHECK_ROW(rows[i].name, !strchr(text, '\033'));
        free(text);
        rig_fini(&rig);
    }
}

static void test_classes(void)
{
    static const struct {
        const char *id, *name;
    } rows[] = {
        {TREE_NETWORK, "network"},
        {RIG_SCSI, "SCSI"},
        {TREE_BALLOON, "balloon"},
        {"0E0B6031-5213-4934-818B-38D90CED39DB", "shutdown"},
        {"00000000-0000-0000-0000-000000000000", "unknown"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_guid id;

        CU_ASSERT_EQUAL(hv_guid_parse(rows[i].id, &id), 0);
        HV_CHECK_ROW(rows[i].name, !strcmp(class_find(&id)->name, rows[i].name));
    }
}

/* ---- watch ---- */

struct reports {
    struct devices before;
};
static struct reports reports;

static void print_watch(struct rig *rig, FILE *out)
{
    CU_ASSERT_EQUAL(watch_print_json(out, &reports.before, &rig->devices, 2000000000, NULL, 0), 0);
}

/** Ten interrupts and four signals in two seconds; a counter that began anew; a device that was not there. */
static void test_watch(void)
{
    struct rig rig;
    char *text;

    start(&rig, tree_kernel("6.12"), 37);
    put_open(&rig);
    CU_ASSERT_EQUAL(devices_load(&rig.sys, &reports.before), 0);
    tree_put(&rig.tree, "17\n", FOLDER "/channels/14/interrupts");
    tree_put(&rig.tree, "4\n", FOLDER "/channels/14/events");
    tree_put(&rig.tree, "18\n", FOLDER "/uio/uio3/event");
    (void)rig_load(&rig, TREE_INSTANCE);
    text = rig_capture(&rig, print_watch);
    HV_CHECK_ROW(text, strstr(text, "\"interrupts\":5.0"));
    HV_CHECK_ROW(text, strstr(text, "\"events\":2.0"));
    HV_CHECK_ROW(text, strstr(text, "\"uio_events\":3.0"));
    HV_CHECK_ROW(text, strchr(text, '\n') == text + strlen(text) - 1); /* one line */
    free(text);
    devices_fini(&reports.before); /* now there was nothing before */
    text = rig_capture(&rig, print_watch);
    HV_CHECK_ROW(text, strstr(text, "\"interrupts\":0.0"));
    free(text);
    rig_fini(&rig);
}

static void test_no_bus(void)
{
    struct sys sys = {.root = "/nonexistent"};
    struct devices devices;

    CU_ASSERT_EQUAL(devices_load(&sys, &devices), -2); /* ENOENT */
}

static const struct hv_test_case cases[] = {
    {"every kernel", test_every_kernel},
    {"ring fill", test_fill},
    {"JSON", test_json},
    {"hostile sysfs", test_hostile},
    {"classes", test_classes},
    {"watch", test_watch},
    {"no bus", test_no_bus},
};

int main(int argc, char **argv)
{
    return hv_test_main("ctl.list", cases, HV_TEST_COUNT(cases), argc, argv);
}
