/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus, guest library against host library: versions, offers, open and close, rescind, the ends of either side. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hv/vmbus.h>

#include "suite.h"
#include "test_bus_guest.h"
#include "test_bus_rig.h"

static const uint32_t versions[] = {0x00020004u, 0x00030000u, 0x00040000u, 0x00040001u,
                                    0x00050000u, 0x00050001u, 0x00050002u, 0x00050003u};

/** Echo works over this bus. */
static void check_echo(struct hv_vmbus *bus, const struct hv_guid *instance)
{
    struct hv_channel *channel;
    int err = hv_channel_open(bus, instance, 0, NULL, &channel);

    CU_ASSERT_EQUAL(err, 0);
    if (err)
        return;
    CU_ASSERT_EQUAL(guest_echo(channel, 10, 100), 0);
    hv_channel_close(channel);
}

/* ---- Versions ---- */

static void test_every_version(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(versions); i++) {
        struct rig rig;
        struct hv_vmbus *bus;
        char name[32];

        (void)snprintf(name, sizeof(name), "%u.%u", versions[i] >> 16, versions[i] & 0xffff);
        rig_start(&rig, &(struct rig_opts){.max_version = versions[i]});
        bus = guest_open(&rig, 0);
        HV_CHECK_ROW(name, bus != NULL);
        if (bus) {
            HV_CHECK_ROW(name, hv_vmbus_version(bus) == versions[i]);
            check_echo(bus, &rig.echo.instance);
        }
        hv_vmbus_close(bus);
        rig_stop(&rig);
    }
}

static void test_guest_asks_for_less(void)
{
    struct rig rig;

    rig_start(&rig, &(struct rig_opts){0});
    for (size_t i = 0; i < HV_TEST_COUNT(versions); i++) {
        struct hv_vmbus *bus = guest_open(&rig, versions[i]);

        CU_ASSERT_PTR_NOT_NULL(bus);
        if (bus)
            CU_ASSERT_EQUAL(hv_vmbus_version(bus), versions[i]);
        hv_vmbus_close(bus);
    }
    rig_stop(&rig);
}

static const struct hv_test_case cases[] = {
    {"every version of the host", test_every_version},
    {"every version of the guest", test_guest_asks_for_less},
};

int main(int argc, char **argv)
{
    return hv_test_main("pair.bus", cases, HV_TEST_COUNT(cases), argc, argv);
}
