/* SPDX-License-Identifier: BSD-3-Clause */
/* GUIDs, addresses, options. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <hv/vmbus.h>
#include <hv/wire/message.h>

#include "suite.h"
#include "vmbus_peer.h"

/* ---- GUIDs ---- */

static void test_guid_wire_order(void)
{
    /* sysfs of a network device: class_id {f8615163-df3e-46c5-913f-f2d2f965ed0e}, modalias vmbus:635161f8... */
    static const uint8_t wire[16] = {0x63, 0x51, 0x61, 0xf8, 0x3e, 0xdf, 0xc5, 0x46,
                                     0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e};
    const struct hv_guid network = HV_CLASS_NETWORK;
    char text[HV_GUID_TEXT_BYTES];
    struct hv_guid guid;

    CU_ASSERT_EQUAL(hv_guid_parse("f8615163-df3e-46c5-913f-f2d2f965ed0e", &guid), 0);
    CU_ASSERT(!memcmp(guid.b, wire, sizeof(wire)));
    CU_ASSERT(hv_guid_equal(&guid, &network));
    hv_guid_format(&guid, text);
    CU_ASSERT_STRING_EQUAL(text, "f8615163-df3e-46c5-913f-f2d2f965ed0e");
    CU_ASSERT_EQUAL(hv_guid_parse("{F8615163-DF3E-46C5-913F-F2D2F965ED0E}", &guid), 0);
    CU_ASSERT(hv_guid_equal(&guid, &network));
    guid.b[15] ^= 1;
    CU_ASSERT(!hv_guid_equal(&guid, &network));
}

static void test_guid_malformed(void)
{
    static const char *const bad[] = {
        "",
        "{",
        "f8615163",
        "f8615163-",
        "f8615163-df3e-46c5-913f-f2d2f965ed0",
        "f8615163-df3e-46c5-913f-f2d2f965ed0e0",
        "f8615163-df3e-46c5-913f-f2d2f965ed0g",
        "f8615163-df3e-46c5-913ff-2d2f965ed0e",
        "f8615163df3e46c5913ff2d2f965ed0e",
        "{f8615163-df3e-46c5-913f-f2d2f965ed0e",
        "f8615163-df3e-46c5-913f-f2d2f965ed0e}",
        " f8615163-df3e-46c5-913f-f2d2f965ed0e",
    };
    struct hv_guid guid = {{42}};

    for (size_t i = 0; i < HV_TEST_COUNT(bad); i++)
        HV_CHECK_ROW(bad[i], hv_guid_parse(bad[i], &guid) == -EINVAL);
    CU_ASSERT_EQUAL(hv_guid_parse(NULL, &guid), -EINVAL);
    CU_ASSERT_EQUAL(guid.b[0], 42); /* results stay untouched */
}

/* ---- Addresses ---- */

static void keep_line(void *arg, enum hv_log_level level, const char *line)
{
    (void)level;
    (void)snprintf(arg, 512, "%s", line);
}

static void test_addresses(void)
{
    static const struct {
        const char *address;
        int want;
        const char *log; /* part of the last line */
    } rows[] = {
        {"", -EINVAL, "not a bus address"},
        {"/run/hv.sock", -EINVAL, "allowed: unix:PATH"},
        {"tcp:1.2.3.4", -EINVAL, "not a bus address"},
        {"unix:", -EINVAL, "1 to 107 characters"},
        {"unix:/nowhere/at/all", -ENOENT, "unix:/nowhere/at/all: connect: No such file"},
        {"unix:/nowhere,f8615163-df3e-46c5-913f-f2d2f965ed0e", -ENOENT, "unix:/nowhere: connect"},
        {"unix:/nowhere,f8615163", -ENOENT, "unix:/nowhere,f8615163: connect"},
        {"fd:", -EINVAL, ""},
        {"fd:x", -EINVAL, ""},
        {"fd:-1", -EINVAL, ""},
        {"fd:1x", -EINVAL, ""},
        {"fd:99999999999999999999", -EINVAL, ""},
        {"fd:1000000", -EINVAL, "no Unix socket"},
        {"uio:f8615163-df3e-46c5-913f-f2d2f965ed0e", -ENOENT, "uio:f8615163-df3e-46c5"},
        {"uio:f8615163", -EINVAL, "instance GUID"},
        {"uio:f8615163,f8615163-df3e-46c5-913f-f2d2f965ed0e", -EINVAL, "instance GUID"},
    };
    char line[512];

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_vmbus_opts opts = HV_VMBUS_OPTS_INIT;
        struct hv_vmbus *bus = NULL;

        line[0] = '\0';
        opts.log = (struct hv_log_hook){keep_line, line};
        HV_CHECK_ROW(rows[i].address, hv_vmbus_open(rows[i].address, &opts, &bus) == rows[i].want);
        HV_CHECK_ROW(rows[i].address, strstr(line, rows[i].log) && !bus);
    }
    CU_ASSERT_EQUAL(hv_vmbus_open(NULL, NULL, NULL), -EINVAL);
}

static void test_long_path(void)
{
    struct hv_vmbus *bus = NULL;
    char address[200] = "unix:/";

    memset(address + 6, 'a', 107);
    CU_ASSERT_EQUAL(hv_vmbus_open(address, NULL, &bus), -EINVAL);
    address[5 + 107] = '\0'; /* the longest that fits */
    CU_ASSERT_EQUAL(hv_vmbus_open(address, NULL, &bus), -ENOENT);
}

static void test_nobody_listens(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/vmbus-XXXXXX", text[128];
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct hv_vmbus *bus = NULL;

    CU_ASSERT(mkdtemp(folder) && fd >= 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", folder);
    (void)snprintf(text, sizeof(text), "unix:%s", address.sun_path);
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    CU_ASSERT_EQUAL(hv_vmbus_open(text, NULL, &bus), -ECONNREFUSED);
    close(fd);
    CU_ASSERT_EQUAL(unlink(address.sun_path), 0);
    CU_ASSERT_EQUAL(rmdir(folder), 0);
}

static void test_wrong_sockets(void)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};

    for (size_t i = 0; i < HV_TEST_COUNT(types); i++) {
        struct hv_vmbus *bus = NULL;
        char address[32];
        int pair[2];

        CU_ASSERT_EQUAL(socketpair(AF_UNIX, types[i], 0, pair), 0);
        (void)snprintf(address, sizeof(address), "fd:%d", pair[0]);
        CU_ASSERT_EQUAL(hv_vmbus_open(address, NULL, &bus), -EINVAL);
        CU_ASSERT_EQUAL(close(pair[0]), 0); /* still ours */
        CU_ASSERT_EQUAL(close(pair[1]), 0);
    }
}

/* ---- Options, and what an open bus tells ---- */

static void test_options(void)
{
    struct hv_vmbus_opts opts = HV_VMBUS_OPTS_INIT;
    struct hv_vmbus *bus = NULL;

    opts.size--;
    CU_ASSERT_EQUAL(hv_vmbus_open("unix:/nowhere", &opts, &bus), -EINVAL);
    opts.size += 2;
    CU_ASSERT_EQUAL(hv_vmbus_open("unix:/nowhere", &opts, &bus), -EINVAL);
    opts.size--;
    opts.max_version = HV_VERSION_2_4 - 1;
    CU_ASSERT_EQUAL(hv_vmbus_open("unix:/nowhere", &opts, &bus), -EINVAL);
    hv_vmbus_close(NULL);
}

static void test_find(void)
{
    const struct hv_guid network = HV_CLASS_NETWORK;
    struct hv_vmbus_device device[2];
    struct peer peer;

    peer_init(&peer);
    peer_open_device(&peer, -1);
    CU_ASSERT_EQUAL(hv_vmbus_devices(peer.bus, NULL, 0), 1);
    CU_ASSERT_EQUAL(hv_vmbus_devices(peer.bus, device, 2), 1);
    CU_ASSERT(hv_guid_equal(&device[0].class_id, &peer_class));
    CU_ASSERT(hv_guid_equal(&device[0].instance_id, &peer_instance));
    CU_ASSERT_EQUAL(device[0].relid, 1);
    CU_ASSERT_EQUAL(device[0].offer_flags, HV_OFFER_ENUMERATE_INTERFACE);
    CU_ASSERT_EQUAL(device[0].sub_channel_count, 0);
    CU_ASSERT_EQUAL(device[0].user_data[2], 3);
    CU_ASSERT(!device[0].monitored);
    CU_ASSERT_EQUAL(hv_vmbus_find(peer.bus, &peer_class, &device[1]), 0);
    CU_ASSERT(!memcmp(&device[0], &device[1], sizeof(device[0])));
    CU_ASSERT_EQUAL(hv_vmbus_find(peer.bus, &network, &device[1]), -ENODEV);
    peer_fini(&peer);
}

/** The instance behind the comma chooses the device. */
static void test_find_instance(void)
{
    static const struct {
        const char *instance;
        int want;
    } rows[] = {
        {"6b2d7f9a-0102-0304-0506-0708090a0b0c", 0},
        {"6b2d7f9a-0102-0304-0506-0708090a0b0d", -ENODEV},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_vmbus_device device;
        struct peer peer;
        char address[64];

        peer_init(&peer);
        peer_start(&peer);
        peer_offer(&peer, 1, 0, -1);
        peer_all_offers(&peer);
        (void)snprintf(address, sizeof(address), "fd:%d,%s", peer.guest_fd, rows[i].instance);
        peer.guest_fd = -1;
        CU_ASSERT_EQUAL(hv_vmbus_open(address, NULL, &peer.bus), 0);
        HV_CHECK_ROW(rows[i].instance,
                     hv_vmbus_find(peer.bus, &peer_class, &device) == rows[i].want);
        peer_fini(&peer);
    }
}

static const struct hv_test_case cases[] = {
    {"GUID in wire order", test_guid_wire_order},
    {"malformed GUIDs", test_guid_malformed},
    {"addresses", test_addresses},
    {"path too long", test_long_path},
    {"nobody listens", test_nobody_listens},
    {"sockets of other types", test_wrong_sockets},
    {"options", test_options},
    {"find a device", test_find},
    {"find by instance", test_find_instance},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus", cases, HV_TEST_COUNT(cases), argc, argv);
}
