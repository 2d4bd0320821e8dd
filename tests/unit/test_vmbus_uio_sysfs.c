/* SPDX-License-Identifier: BSD-3-Clause */
/* What the uio transport makes of text files that say strange things. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suite.h"
#include "uio_impl.h"
#include "uio_tree.h"

#define DEVICE "sys/bus/vmbus/devices/" TREE_INSTANCE

static void test_numbers(void)
{
    static const struct {
        const char *text;
        uint64_t max;
        int want;
        uint64_t value;
    } rows[] = {
        {"0", 10, 0, 0},
        {"10", 10, 0, 10},
        {"11", 10, -EPROTO, 0},
        {"0x1f", 100, 0, 31},
        {"0x000000000400000", UINT64_MAX, 0, 0x400000},
        {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, -EPROTO, 0},
        {"0xffffffffffffffff", UINT64_MAX, 0, UINT64_MAX},
        {"0x10000000000000000", UINT64_MAX, -EPROTO, 0},
        {"", 10, -EPROTO, 0},
        {"-1", UINT64_MAX, -EPROTO, 0},
        {"+1", UINT64_MAX, -EPROTO, 0},
        {" 1", UINT64_MAX, -EPROTO, 0},
        {"1 ", UINT64_MAX, -EPROTO, 0},
        {"1x", UINT64_MAX, -EPROTO, 0},
        {"0x", UINT64_MAX, -EPROTO, 0},
        {"0x-1", UINT64_MAX, -EPROTO, 0},
        {"0xg", UINT64_MAX, -EPROTO, 0},
        {"1f", UINT64_MAX, -EPROTO, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        uint64_t value = 7;

        HV_CHECK_ROW(rows[i].text,
                     hv_uio_parse_number(rows[i].text, rows[i].max, &value) == rows[i].want);
        HV_CHECK_ROW(rows[i].text, value == (rows[i].want ? 7 : rows[i].value));
    }
}

static void test_kernels(void)
{
    static const struct {
        const char *release;
        uint32_t want;
        bool subs; /* may interrupt, and can be signalled by write() */
    } rows[] = {
        {"4.20.17", HV_UIO_KERNEL(4, 20, 17), false},
        {"5.15.0-1089-azure", HV_UIO_KERNEL(5, 15, 0), false},
        {"6.12.53-cloud", HV_UIO_KERNEL(6, 12, 53), false}, /* these crash */
        {"6.12.57+deb13-amd64", HV_UIO_KERNEL(6, 12, 57), false},
        {"6.12.95+deb12-amd64", HV_UIO_KERNEL(6, 12, 95), true},
        {"6.13.0", HV_UIO_KERNEL(6, 13, 0), false},
        {"6.15.99", HV_UIO_KERNEL(6, 15, 99), false},
        {"6.16", HV_UIO_KERNEL(6, 16, 0), true},
        {"6.18.0-rc1", HV_UIO_KERNEL(6, 18, 0), true},
        {"7.0.1", HV_UIO_KERNEL(7, 0, 1), true},
        {"6.1.99999", HV_UIO_KERNEL(6, 1, 65535), false},
        {"6", 0, false},
        {"", 0, false},
        {"x.y", 0, false},
        {"999.1", 0, false},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        uint32_t kernel = hv_uio_parse_kernel(rows[i].release);

        HV_CHECK_ROW(rows[i].release, kernel == rows[i].want);
        HV_CHECK_ROW(rows[i].release, hv_uio_sub_may_interrupt(kernel) == rows[i].subs);
        HV_CHECK_ROW(rows[i].release, hv_uio_sub_can_signal(kernel) == rows[i].subs);
    }
}

/** One file is wrong: the device is not there, and nothing else happens. */
static void test_hostile_device(void)
{
    static const struct {
        const char *leaf, *text;
        bool found;
    } rows[] = {
        {"device_id", "", false},
        {"device_id", "{f8615163-0001-1000-2000-00155d4edc4}", false},
        {"device_id", "{f8615163-0001-1000-2000-00155d4edc44", false},
        {"class_id", "network", false},
        {"class_id", "{f8615163-df3e-46c5-913f-f2d2f965ed0e}{f8615163-df3e-46c5-913f-f2d2f965ed0e}",
         false},
        {"id", "-1", false},
        {"id", "", false},
        {"id", "4294967296", false},
        {"id", "0", false},
        {"id", "14\n\n", true},
        {"monitor_id", "x", false},
        {"monitor_id", "256", false},
        {"monitor_id", "127", true},
        {"monitor_id", "128", true}, /* of a kernel that shows what is not allocated */
        {"monitor_id", "255", true},
        {"uio/uio3/name", "uio_hv_generic2", false},
        {"uio/uio3/name", "", false},
        {"uio/uio03x/name", "uio_hv_generic", true}, /* a stranger beside it */
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct tree_device device = tree_network(37);
        struct hv_vmbus_device found;
        struct hv_vmbus *bus = NULL;
        struct tree tree;
        char name[128];

        (void)snprintf(name, sizeof(name), "%s=%.40s", rows[i].leaf, rows[i].text);
        tree_init(&tree, tree_kernel("6.12"));
        tree_device(&tree, &device);
        tree_put(&tree, rows[i].text, DEVICE "/%s", rows[i].leaf);
        HV_CHECK_ROW(name, !tree_open(&tree, "uio:", &bus));
        HV_CHECK_ROW(name, hv_vmbus_devices(bus, &found, 1) == rows[i].found);
        if (rows[i].found && !strcmp(rows[i].leaf, "monitor_id"))
            HV_CHECK_ROW(name, found.monitored == !strcmp(rows[i].text, "127"));
        hv_vmbus_close(bus);
        tree_fini(&tree);
    }
}

static void test_missing_files(void)
{
    static const char *const leaves[] = {"device_id", "class_id", "id",
                                         "uio",       "uio/uio3", "uio/uio3/name"};

    for (size_t i = 0; i < HV_TEST_COUNT(leaves); i++) {
        struct tree_device device = tree_network(37);
        struct hv_vmbus *bus = NULL;
        struct tree tree;

        tree_init(&tree, tree_kernel("6.12"));
        tree_device(&tree, &device);
        tree_remove(&tree, DEVICE "/%s", leaves[i]);
        HV_CHECK_ROW(leaves[i], tree_open(&tree, "uio:" TREE_INSTANCE, &bus) == -ENOENT && !bus);
        tree_fini(&tree);
    }
}

/** Text that never ends, text with zeroes, and files that are none. */
static void test_odd_files(void)
{
    struct tree_device device = tree_network(37);
    struct hv_vmbus_device found;
    struct hv_vmbus *bus = NULL;
    struct tree tree;
    char text[4097], path[256];

    tree_init(&tree, tree_kernel("6.12"));
    tree_device(&tree, &device);
    memset(text, ' ', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memcpy(text, "14", 2);
    tree_put(&tree, text, DEVICE "/id");
    CU_ASSERT(!tree_open(&tree, "uio:", &bus));
    CU_ASSERT_EQUAL(hv_vmbus_devices(bus, &found, 1), 0);
    hv_vmbus_close(bus);
    tree_remove(&tree, DEVICE "/id");
    (void)snprintf(path, sizeof(path), "%s/" DEVICE "/id", tree.root);
    CU_ASSERT(!mkfifo(path, 0600)); /* nobody will ever write */
    tree.env.uevent_fd = -1;
    CU_ASSERT(!tree_open(&tree, "uio:", &bus));
    CU_ASSERT_EQUAL(hv_vmbus_devices(bus, &found, 1), 0);
    hv_vmbus_close(bus);
    tree_fini(&tree);
}

/** Names that lead elsewhere or do harm in a terminal are not looked into. */
static void test_odd_names(void)
{
    static const char *const names[] = {
        "a b", "x\033[2J", "%s%n",
        "..x", "\xff",     "0123456789012345678901234567890123456789012345678901234567890123456789",
    };
    struct tree_device device = tree_network(37);
    struct hv_vmbus_device found;
    struct hv_vmbus *bus = NULL;
    struct tree tree;

    tree_init(&tree, tree_kernel("6.12"));
    tree_device(&tree, &device);
    for (size_t i = 0; i < HV_TEST_COUNT(names); i++) {
        char from[256], to[256];

        (void)snprintf(from, sizeof(from), "%s/" DEVICE, tree.root);
        (void)snprintf(to, sizeof(to), "%s/sys/bus/vmbus/devices/%s", tree.root, names[i]);
        CU_ASSERT(!rename(from, to));
        CU_ASSERT(!tree_open(&tree, "uio:", &bus));
        HV_CHECK_ROW(names[i], hv_vmbus_devices(bus, &found, 1) == 0);
        hv_vmbus_close(bus);
        tree.env.uevent_fd = -1;
        CU_ASSERT(!rename(to, from));
    }
    tree_fini(&tree);
}

/** The kernel's sizes are looked at before anything is mapped by them. */
static void test_hostile_maps(void)
{
    static const struct {
        const char *leaf, *text;
        int want;
    } rows[] = {
        {"map0/size", "0x0", -EINVAL},
        {"map0/size", "0x1000", -EINVAL},
        {"map0/size", "0x2000", -EINVAL}, /* no data */
        {"map0/size", "0x4000", 0},
        {"map0/size", "0x5000", -EINVAL}, /* halves are no whole pages */
        {"map0/size", "0x4001", -EINVAL},
        {"map0/size", "0x7fffffffffffffff", -EINVAL},
        {"map0/size", "0x8000000000000000", -EPROTO},
        {"map0/size", "0x80000000", -EINVAL},        /* more than the file behind it */
        {"map0/size", "0x200000000004000", -EINVAL}, /* small only in 32 bits */
        {"map0/size", "four", -EPROTO},
        {"map0/offset", "0x8", -EPROTO},
        {"map0/offset", "0x1000", -EPROTO},
        {"map0/name", "txrx_rings2", -ENOENT},
        {"map0/name", "", -ENOENT},
        {"map2/name", "monitor", -ENOENT},
        {"map2/size", "0xfff", -EPROTO},
        {"map2/offset", "0x8", -EPROTO}, /* would end behind the page */
        {"map2/size", "0x1000", 0},
        {"map1/name", "txrx_rings", 0}, /* the first of a name counts */
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct tree_device device = tree_network(37);
        struct hv_guid instance = tree_instance(&device);
        struct hv_channel *channel = NULL;
        struct hv_vmbus *bus = NULL;
        struct tree tree;
        char name[128];
        unsigned fds;

        (void)snprintf(name, sizeof(name), "%s=%s", rows[i].leaf, rows[i].text);
        tree_init(&tree, tree_kernel("6.12"));
        tree_device(&tree, &device);
        tree_put(&tree, rows[i].text, DEVICE "/uio/uio3/maps/%s", rows[i].leaf);
        CU_ASSERT(!tree_open(&tree, "uio:", &bus));
        fds = tree_count_fds();
        HV_CHECK_ROW(name, hv_channel_open(bus, &instance, 0, NULL, &channel) == rows[i].want);
        if (rows[i].want) {
            tree_die(&tree);
            HV_CHECK_ROW(name, !channel && tree_count_fds() == fds && !tree_count_maps());
        }
        hv_vmbus_close(bus);
        tree_fini(&tree);
    }
}

static void test_hostile_subs(void)
{
    static const struct {
        const char *leaf, *text;
    } rows[] = {
        {"21/subchannel_id", "0"},
        {"21/subchannel_id", "65536"},
        {"21/subchannel_id", "one"},
        {"21/in_mask", "?"},
        {"21/out_mask", ""},
        {"21/ring", ""},     /* no bytes at all */
        {"21/ring", "1234"}, /* no pages */
        {"021/subchannel_id",
         "1"}, /* a namesake that leads to the real one: its number is taken already */
        {"4294967296/subchannel_id", "1"},
        {"-1/subchannel_id", "1"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct tree_device device = tree_network(37);
        struct hv_guid instance = tree_instance(&device);
        struct hv_channel *channel = NULL;
        struct hv_vmbus *bus = NULL;
        struct tree tree;
        bool own = !strncmp(rows[i].leaf, "21/", 3);

        tree_init(&tree, tree_kernel("6.12"));
        tree_device(&tree, &device);
        CU_ASSERT(!tree_open(&tree, "uio:", &bus));
        CU_ASSERT(!hv_channel_open(bus, &instance, 0, NULL, &channel));
        tree_sub(&tree, &device, 21, 1, 38);
        tree_sub_opened(&tree, &device, 21);
        tree_sub_ring(&tree, &device, 21, 0x4000);
        tree_put(&tree, rows[i].text, DEVICE "/channels/%s", rows[i].leaf);
        HV_CHECK_ROW(rows[i].leaf,
                     hv_vmbus_wait_subchannels(bus, &instance, 2, 15) == (own ? 0 : 1));
        HV_CHECK_ROW(rows[i].leaf, !hv_channel_status(channel)); /* it has a monitor: no harm */
        hv_vmbus_close(bus);
        tree_fini(&tree);
    }
}

static const struct hv_test_case cases[] = {
    {"numbers", test_numbers},
    {"kernels", test_kernels},
    {"hostile device", test_hostile_device},
    {"missing files", test_missing_files},
    {"odd files", test_odd_files},
    {"odd names", test_odd_names},
    {"hostile maps", test_hostile_maps},
    {"hostile sub-channels", test_hostile_subs},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.uio.sysfs", cases, HV_TEST_COUNT(cases), argc, argv);
}
