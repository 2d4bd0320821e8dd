/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "devargs.h"
#include "suite.h"

#define GUID "f8b3781a-1e82-4818-a1c3-63d806ec15bb"

static void test_devargs_defaults(void)
{
    struct hv_netvsc_opts opts = HV_NETVSC_OPTS_INIT;
    struct hvnet_devargs args;
    char why[HVNET_WHY_BYTES];

    CU_ASSERT_EQUAL_FATAL(hvnet_devargs_parse("addr=unix:/run/hv.sock", NULL, &args, why), 0);
    CU_ASSERT_STRING_EQUAL(args.address, "unix:/run/hv.sock");
    CU_ASSERT_EQUAL(args.queues, HV_NETVSC_QUEUES_MAX);
    CU_ASSERT_EQUAL(args.rx_copybreak, 256);
    CU_ASSERT_EQUAL(args.tx_copybreak, 2048);
    CU_ASSERT_EQUAL(args.max_nvsp, 0);
    hvnet_devargs_to_opts(&args, &opts);
    CU_ASSERT_EQUAL(opts.max_queues, HV_NETVSC_QUEUES_MAX);
    CU_ASSERT_EQUAL(opts.tx_copy_bytes, 2048);
    CU_ASSERT_EQUAL(opts.ring_bytes, 0);
}

static void test_devargs_all(void)
{
    struct hv_netvsc_opts opts = HV_NETVSC_OPTS_INIT;
    struct hvnet_devargs args;
    char why[HVNET_WHY_BYTES];

    CU_ASSERT_EQUAL_FATAL(
        hvnet_devargs_parse("queues=4,addr=unix:/a," GUID ",ring=64,rx_buffer=31,tx_buffer=15,"
                            "rx_copybreak=0,tx_copybreak=64,aggregate=1,max_nvsp=5,timeout=100",
                            NULL, &args, why),
        0);
    CU_ASSERT_STRING_EQUAL(args.address, "unix:/a," GUID);
    hvnet_devargs_to_opts(&args, &opts);
    CU_ASSERT_EQUAL(opts.max_queues, 4);
    CU_ASSERT_EQUAL(opts.ring_bytes, 65536);
    CU_ASSERT_EQUAL(opts.receive_bytes, 31u << 20);
    CU_ASSERT_EQUAL(opts.send_bytes, 15u << 20);
    CU_ASSERT_EQUAL(args.rx_copybreak, 0);
    CU_ASSERT_EQUAL(opts.tx_copy_bytes, 64);
    CU_ASSERT_EQUAL(opts.aggregate_packets, 1);
    CU_ASSERT_EQUAL(opts.max_version, 0x00050000);
    CU_ASSERT_EQUAL(opts.timeout_ms, 100);
}

static void test_devargs_on_bus(void)
{
    struct hvnet_devargs args;
    char why[HVNET_WHY_BYTES];

    CU_ASSERT_EQUAL(hvnet_devargs_parse(NULL, "uio:" GUID, &args, why), 0);
    CU_ASSERT_STRING_EQUAL(args.address, "uio:" GUID);
    CU_ASSERT_EQUAL(hvnet_devargs_parse("addr=unix:/a", "uio:" GUID, &args, why), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "addr"));
}

/** What is wrong, and the words that the sentence must have: the argument and what is allowed. */
static void test_devargs_refused(void)
{
    static const struct {
        const char *name, *args, *names, *allows;
    } rows[] = {
        {"nothing", "", "addr", "unix:PATH"},
        {"no address", "queues=1", "addr", "unix:PATH"},
        {"address of a kind unknown", "addr=tcp:1", "addr=tcp:1", "unix:PATH"},
        {"address without a path", "addr=unix:", "addr=unix:", "unix:PATH"},
        {"unknown", "addr=unix:/a,latency=50", "latency", "rx_copybreak"},
        {"no value", "addr=unix:/a,queues", "queues", "known are"},
        {"instance twice", "addr=unix:/a," GUID "," GUID, GUID, "KEY=VALUE"},
        {"instance of another", "queues=1," GUID ",addr=unix:/a", GUID, "KEY=VALUE"},
        {"zero queues", "addr=unix:/a,queues=0", "queues=0", "1 to 64"},
        {"too many queues", "addr=unix:/a,queues=65", "queues=65", "1 to 64"},
        {"empty", "addr=unix:/a,queues=", "queues=", "1 to 64"},
        {"sign", "addr=unix:/a,queues=+1", "queues=+1", "1 to 64"},
        {"blank", "addr=unix:/a,queues= 1", "queues= 1", "1 to 64"},
        {"hex", "addr=unix:/a,queues=0x1", "queues=0x1", "1 to 64"},
        {"tail", "addr=unix:/a,queues=1k", "queues=1k", "1 to 64"},
        {"small ring", "addr=unix:/a,ring=63", "ring=63", "64 to 16384 KiB"},
        {"large ring", "addr=unix:/a,ring=16385", "ring=16385", "64 to 16384 KiB"},
        {"no receive buffer", "addr=unix:/a,rx_buffer=0", "rx_buffer=0", "1 to 31 MiB"},
        {"large send buffer", "addr=unix:/a,tx_buffer=257", "tx_buffer=257", "1 to 31 MiB"},
        {"large copybreak", "addr=unix:/a,rx_copybreak=65536", "rx_copybreak=65536", "0 to 65535"},
        {"small copybreak", "addr=unix:/a,tx_copybreak=63", "tx_copybreak=63", "64 to 65535"},
        {"aggregate", "addr=unix:/a,aggregate=65", "aggregate=65", "0 to 64"},
        {"version 3", "addr=unix:/a,max_nvsp=3", "max_nvsp=3", "1, 2, 4, 5, 6, 6.1"},
        {"timeout", "addr=unix:/a,timeout=99", "timeout=99", "100 to 600000"},
        {"beyond 64 bits", "addr=unix:/a,ring=99999999999999999999", "ring=9999", "64 to 16384"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hvnet_devargs args, before;
        char why[HVNET_WHY_BYTES] = "";

        memset(&args, 0x5a, sizeof(args));
        before = args;
        HV_CHECK_ROW(rows[i].name, hvnet_devargs_parse(rows[i].args, NULL, &args, why) == -EINVAL);
        HV_CHECK_ROW(rows[i].name, strstr(why, rows[i].names) != NULL);
        HV_CHECK_ROW(rows[i].name, strstr(why, rows[i].allows) != NULL);
        HV_CHECK_ROW(rows[i].name, !memcmp(&args, &before, sizeof(args)));
    }
}

static void test_devargs_address_length(void)
{
    struct hvnet_devargs args;
    char why[HVNET_WHY_BYTES];
    char text[HVNET_ADDRESS_BYTES + 16] = "addr=unix:";

    memset(text + 10, 'x', HVNET_ADDRESS_BYTES - 6);
    text[10 + HVNET_ADDRESS_BYTES - 6] = '\0'; /* with "unix:" one less than the room */
    CU_ASSERT_EQUAL(hvnet_devargs_parse(text, NULL, &args, why), 0);
    CU_ASSERT_EQUAL(strlen(args.address), HVNET_ADDRESS_BYTES - 1);
    text[10 + HVNET_ADDRESS_BYTES - 6] = 'y';
    text[10 + HVNET_ADDRESS_BYTES - 5] = '\0';
    CU_ASSERT_EQUAL(hvnet_devargs_parse(text, NULL, &args, why), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "longer"));
}

static void test_devargs_levels(void)
{
    CU_ASSERT_STRING_EQUAL(hvnet_nvsp_text(0x00000002), "1");
    CU_ASSERT_STRING_EQUAL(hvnet_nvsp_text(0x00060001), "6.1");
    CU_ASSERT_STRING_EQUAL(hvnet_nvsp_text(7), "?");
}

static const struct hv_test_case cases[] = {
    {"defaults", test_devargs_defaults},
    {"every argument", test_devargs_all},
    {"on the vmbus bus", test_devargs_on_bus},
    {"refused with name and range", test_devargs_refused},
    {"length of the address", test_devargs_address_length},
    {"names of levels", test_devargs_levels},
};

int main(int argc, char **argv)
{
    return hv_test_main("hvnet.devargs", cases, HV_TEST_COUNT(cases), argc, argv);
}
