/* SPDX-License-Identifier: BSD-3-Clause */
/* hvctl bind and unbind: what they decide, in which order they write, and how they undo it. */
#include "bind.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl_rig.h"
#include "suite.h"

#define ROOT_ON_SDA1 "29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"

static const char kernel_612[] = "6.12", kernel_420[] = "4.20";

struct rig_case {
    struct rig rig;
    char why[BIND_WHY_BYTES];
};

/** A SCSI controller with the kernel's driver. */
static void start(struct rig_case *c, const char *release, bool has_override)
{
    rig_init(&c->rig, release);
    rig_driver(&c->rig, "hv_storvsc");
    rig_device(&c->rig, RIG_SCSI, RIG_DISK, 7, "hv_storvsc", has_override);
}

static int bind(struct rig_case *c, bool force)
{
    c->rig.journal[0] = '\0';
    return bind_device(&c->rig.sys, rig_load(&c->rig, RIG_DISK), force, c->why);
}

static int unbind(struct rig_case *c, bool force)
{
    c->rig.journal[0] = '\0';
    return unbind_device(&c->rig.sys, rig_load(&c->rig, RIG_DISK), force, c->why);
}

static void expect_driver(struct rig_case *c, const char *driver)
{
    HV_CHECK_ROW(driver, !strcmp(rig_driver_of(&c->rig, RIG_DISK), driver));
}

static void expect_journal(struct rig_case *c, const char *text)
{
    HV_CHECK_ROW(c->rig.journal, !strcmp(c->rig.journal, text));
}

static void expect_why(struct rig_case *c, const char *part)
{
    HV_CHECK_ROW(c->why, strstr(c->why, part));
}

static void test_override(void)
{
    struct rig_case c;

    start(&c, kernel_612, true);
    CU_ASSERT_EQUAL(bind(&c, false), 0);
    expect_journal(&c, "driver_override uio_hv_generic\n"
                       "hv_storvsc/unbind " RIG_DISK "\n"
                       "uio_hv_generic/bind " RIG_DISK "\n");
    expect_driver(&c, "uio_hv_generic");
    CU_ASSERT_STRING_EQUAL(c.why, "");
    /* again: nothing to do, nothing written */
    CU_ASSERT_EQUAL(bind(&c, false), 0);
    expect_journal(&c, "");
    expect_why(&c, "already");
    /* and back */
    CU_ASSERT_EQUAL(unbind(&c, false), 0);
    expect_journal(&c, "driver_override \n"
                       "uio_hv_generic/remove_id " RIG_SCSI "\n"
                       "uio_hv_generic/unbind " RIG_DISK "\n"
                       "hv_storvsc/bind " RIG_DISK "\n");
    expect_driver(&c, "hv_storvsc");
    CU_ASSERT(tree_has(&c.rig.tree, "sys/bus/vmbus/devices/" RIG_DISK "/driver_override"));
    CU_ASSERT_STRING_EQUAL(rig_load(&c.rig, RIG_DISK)->override, "");
    rig_fini(&c.rig);
}

static void test_new_id(void)
{
    struct rig_case c;

    start(&c, kernel_420, false);
    CU_ASSERT_EQUAL(bind(&c, false), 0);
    expect_journal(&c, "uio_hv_generic/new_id " RIG_SCSI "\n"
                       "hv_storvsc/unbind " RIG_DISK "\n"
                       "uio_hv_generic/bind " RIG_DISK "\n");
    expect_driver(&c, "uio_hv_generic");
    expect_why(&c, "no driver_override");
    CU_ASSERT_EQUAL(unbind(&c, false), 0);
    CU_ASSERT(!c.rig.has_id);
    expect_driver(&c, "hv_storvsc");
    rig_fini(&c.rig);
}

/** The id was there before, and the device had no driver: new_id says EEXIST, and it stays there after a failure. */
static void test_new_id_known(void)
{
    struct rig_case c;

    start(&c, kernel_420, false);
    c.rig.has_id = true;
    c.rig.refuse[0].file = "uio_hv_generic/bind";
    c.rig.refuse[0].err = -ENOMEM;
    CU_ASSERT_EQUAL(bind(&c, false), -ENOMEM);
    CU_ASSERT(c.rig.has_id);
    expect_driver(&c, "hv_storvsc");
    expect_why(&c, "4 MiB");
    expect_why(&c, "back with hv_storvsc");
    rig_fini(&c.rig);
}

/** new_id alone gives an unbound device to uio_hv_generic: the bind after it says that it is busy, which is fine. */
static void test_new_id_binds_at_once(void)
{
    struct rig_case c;

    rig_init(&c.rig, kernel_420);
    rig_device(&c.rig, RIG_SCSI, RIG_DISK, 7, "", false);
    CU_ASSERT_EQUAL(bind(&c, false), 0);
    expect_driver(&c, "uio_hv_generic");
    rig_fini(&c.rig);
}

static void test_undo(void)
{
    static const struct {
        const char *name, *file;
        int err;
        bool lies;
        int want;
        const char *says;
    } rows[] = {
        {"no monitor", "uio_hv_generic/bind", -524, false, -524, "6.10"},
        {"no memory", "uio_hv_generic/bind", -ENOMEM, false, -ENOMEM, "4 MiB"},
        {"refused, but success", "uio_hv_generic/bind", 0, true, -EIO, "does not take it"},
        {"kernel keeps it", "hv_storvsc/unbind", -EBUSY, false, -EBUSY, "cannot take it"},
        {"kept, but success", "hv_storvsc/unbind", 0, true, -EIO, "cannot take it"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++)
        for (int has_override = 0; has_override <= 1; has_override++) {
            struct rig_case c;

            start(&c, has_override ? kernel_612 : kernel_420, has_override);
            c.rig.refuse[0].file = rows[i].file;
            c.rig.refuse[0].err = rows[i].err;
            c.rig.lies = rows[i].lies;
            HV_CHECK_ROW(rows[i].name, bind(&c, false) == rows[i].want);
            HV_CHECK_ROW(rows[i].name, strstr(c.why, rows[i].says));
            HV_CHECK_ROW(rows[i].name, strstr(c.why, "back with hv_storvsc"));
            HV_CHECK_ROW(rows[i].name, !strcmp(rig_driver_of(&c.rig, RIG_DISK), "hv_storvsc"));
            HV_CHECK_ROW(rows[i].name, !*rig_load(&c.rig, RIG_DISK)->override);
            HV_CHECK_ROW(rows[i].name, !c.rig.has_id);
            rig_fini(&c.rig);
        }
}

/** Neither driver wants it: that is said, with the command to try. */
static void test_undo_fails(void)
{
    struct rig_case c;

    start(&c, kernel_612, true);
    c.rig.refuse[0].file = "uio_hv_generic/bind";
    c.rig.refuse[0].err = -EINVAL;
    c.rig.refuse[1].file = "hv_storvsc/bind";
    c.rig.refuse[1].err = -ENOMEM;
    CU_ASSERT_EQUAL(bind(&c, false), -EIO);
    expect_driver(&c, "");
    expect_why(&c, "echo " RIG_DISK " > /sys/bus/vmbus/drivers/hv_storvsc/bind");
    rig_fini(&c.rig);
}

/** It had another override before: that is what it gets back. */
static void test_undo_restores_override(void)
{
    struct rig_case c;

    start(&c, kernel_612, true);
    tree_put(&c.rig.tree, "hv_storvsc\n", "sys/bus/vmbus/devices/" RIG_DISK "/driver_override");
    c.rig.refuse[0].file = "uio_hv_generic/bind";
    c.rig.refuse[0].err = -EINVAL;
    CU_ASSERT_EQUAL(bind(&c, false), -EINVAL);
    CU_ASSERT_STRING_EQUAL(rig_load(&c.rig, RIG_DISK)->override, "hv_storvsc");
    expect_driver(&c, "hv_storvsc");
    rig_fini(&c.rig);
}

static void test_module_missing(void)
{
    struct rig_case c;

    start(&c, kernel_612, true);
    tree_remove(&c.rig.tree, "sys/bus/vmbus/drivers/uio_hv_generic");
    CU_ASSERT_EQUAL(bind(&c, true), -ENOENT);
    expect_why(&c, "modprobe uio_hv_generic");
    expect_journal(&c, "");
    expect_driver(&c, "hv_storvsc");
    rig_fini(&c.rig);
}

#define DISK_FOLDER "sys/bus/vmbus/devices/" RIG_DISK "/host0/target0:0:0/0:0:0:0/block/sda"

/** sda with sda1 on the controller, and dm-0 on sda1. */
static void put_disk(struct rig_case *c)
{
    struct tree *tree = &c->rig.tree;

    tree_put(tree, "8:1\n", DISK_FOLDER "/sda1/dev");
    tree_put(tree, "253:0\n", "sys/devices/virtual/block/dm-0/dev");
    rig_link(&c->rig, DISK_FOLDER "/sda1", "sys/class/block/sda1");
    rig_link(&c->rig, DISK_FOLDER, "sys/class/block/sda");
    rig_link(&c->rig, DISK_FOLDER "/sda1", "sys/dev/block/8:1");
    rig_link(&c->rig, "sys/devices/virtual/block/dm-0", "sys/class/block/dm-0");
    rig_link(&c->rig, "sys/devices/virtual/block/dm-0", "sys/dev/block/253:0");
    rig_link(&c->rig, DISK_FOLDER "/sda1", "sys/devices/virtual/block/dm-0/slaves/sda1");
}

static void test_root_disk(void)
{
    static const struct {
        const char *name, *mounts, *swaps, *says;
        int want;
    } rows[] = {
        {"partition", ROOT_ON_SDA1, "", "mounted on /", -EBUSY},
        {"device mapper", "29 1 253:0 / / rw - xfs /dev/mapper/root rw\n", "", "mounted on /",
         -EBUSY},
        {"btrfs, by its file", "29 1 0:25 /@ / rw - btrfs /dev/sda1 rw\n", "", "mounted on /",
         -EBUSY},
        {"another mount",
         "29 1 0:20 / / rw - tmpfs t rw\n30 29 8:1 / /data rw - ext4 /dev/sda1 rw\n", "",
         "mounted on /data", -EBUSY},
        {"cannot be told", "29 1 0:25 / / rw - overlay overlay rw\n", "", "cannot be told", -EBUSY},
        {"swap", "29 1 0:20 / / rw - tmpfs t rw\n",
         "Filename Type Size Used Priority\n/dev/sda1 partition 100 0 -2\n", "swap", -EBUSY},
        {"another disk", "29 1 9:9 / / rw - tmpfs t rw\n30 29 0:4 / /proc rw - proc proc rw\n",
         "Filename Type Size Used Priority\n/dev/zram0 partition 100 0 -2\n", "", 0},
        {"torn lines", "29 1\n\n - \n30 29 0:25 / /x rw\n", "x\n\n", "", 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rig_case c;

        start(&c, kernel_612, true);
        put_disk(&c);
        tree_put(&c.rig.tree, rows[i].mounts, "proc/self/mountinfo");
        tree_put(&c.rig.tree, rows[i].swaps, "proc/swaps");
        HV_CHECK_ROW(rows[i].name, bind(&c, false) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, strstr(c.why, rows[i].says));
        HV_CHECK_ROW(rows[i].name, !rows[i].want || (!*c.rig.journal && strstr(c.why, "--force")));
        HV_CHECK_ROW(rows[i].name, bind(&c, true) == 0);
        expect_driver(&c, "uio_hv_generic");
        rig_fini(&c.rig);
    }
}

/** Without mountinfo nobody can say whether the disk is needed. */
static void test_mountinfo_missing(void)
{
    struct rig_case c;

    start(&c, kernel_612, true);
    tree_remove(&c.rig.tree, "proc/self/mountinfo");
    CU_ASSERT_EQUAL(bind(&c, false), -ENOENT);
    expect_why(&c, "mountinfo");
    expect_journal(&c, "");
    rig_fini(&c.rig);
}

#define ROUTE_HEAD                                                                                 \
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
#define ZEROES "00000000000000000000000000000000"

static void test_default_route(void)
{
    static const struct {
        const char *name, *routes, *routes6;
        int want;
    } rows[] = {
        {"direct", ROUTE_HEAD "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n", "",
         -EBUSY},
        {"bond", ROUTE_HEAD "bond0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n", "",
         -EBUSY},
        {"IPv6", ROUTE_HEAD,
         ZEROES " 00 " ZEROES
                " 00 fe800000000000000000000000000001 00000400 1 0 00000003     eth0\n",
         -EBUSY},
        {"another NIC", ROUTE_HEAD "eth1\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
         ZEROES " 00 " ZEROES " 00 " ZEROES " ffffffff 1 0 00200200       lo\n", 0},
        {"only its network",
         ROUTE_HEAD "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", "", 0},
        {"names that lead elsewhere", "../../x\t00000000\t0\t0003\t0\t0\t0\t00000000\t0\n\n\t\n",
         "x\n", 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rig_case c;

        rig_init(&c.rig, kernel_612);
        rig_driver(&c.rig, "hv_netvsc");
        rig_device(&c.rig, TREE_NETWORK, RIG_DISK, 7, "hv_netvsc", true);
        tree_put(&c.rig.tree, "1\n", "sys/bus/vmbus/devices/" RIG_DISK "/net/eth0/carrier");
        tree_put(&c.rig.tree, "1\n", "sys/devices/virtual/net/bond0/carrier");
        rig_link(&c.rig, "sys/bus/vmbus/devices/" RIG_DISK "/net/eth0", "sys/class/net/eth0");
        rig_link(&c.rig, "sys/devices/virtual/net/bond0", "sys/class/net/bond0");
        rig_link(&c.rig, "sys/bus/vmbus/devices/" RIG_DISK "/net/eth0",
                 "sys/devices/virtual/net/bond0/lower_eth0");
        tree_put(&c.rig.tree, rows[i].routes, "proc/net/route");
        tree_put(&c.rig.tree, rows[i].routes6, "proc/net/ipv6_route");
        HV_CHECK_ROW(rows[i].name, bind(&c, false) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, !rows[i].want || strstr(c.why, "default route"));
        HV_CHECK_ROW(rows[i].name, bind(&c, true) == 0);
        rig_fini(&c.rig);
    }
}

static void test_unbind_refused(void)
{
    struct rig_case c;

    start(&c, kernel_612, true);
    CU_ASSERT_EQUAL(unbind(&c, true), -EINVAL); /* the kernel has it */
    expect_why(&c, "hv_storvsc");
    expect_journal(&c, "");
    CU_ASSERT_EQUAL(bind(&c, false), 0);
    tree_put(&c.rig.tree, "3\n", "sys/bus/vmbus/devices/" RIG_DISK "/state");
    CU_ASSERT_EQUAL(unbind(&c, false), -EBUSY);
    expect_why(&c, "open");
    expect_journal(&c, "");
    CU_ASSERT_EQUAL(unbind(&c, true), 0);
    expect_driver(&c, "hv_storvsc");
    rig_fini(&c.rig);
}

/** The kernel's driver is not loaded, or somebody else's answers. */
static void test_unbind_without_driver(void)
{
    struct rig_case c;

    start(&c, kernel_612, true);
    CU_ASSERT_EQUAL(bind(&c, false), 0);
    tree_remove(&c.rig.tree, "sys/bus/vmbus/drivers/hv_storvsc");
    CU_ASSERT_EQUAL(unbind(&c, false), 0);
    expect_why(&c, "modprobe hv_storvsc");
    expect_driver(&c, "");
    CU_ASSERT_EQUAL(bind(&c, false), 0);
    c.rig.probe_driver = "a_driver";
    CU_ASSERT_EQUAL(unbind(&c, false), 0);
    expect_driver(&c, "a_driver");
    rig_fini(&c.rig);
}

static void test_unbind_undo(void)
{
    for (int has_override = 0; has_override <= 1; has_override++) {
        struct rig_case c;

        start(&c, has_override ? kernel_612 : kernel_420, has_override);
        CU_ASSERT_EQUAL(bind(&c, false), 0);
        c.rig.refuse[0].file = "hv_storvsc/bind";
        c.rig.refuse[0].err = -EIO;
        CU_ASSERT_EQUAL(unbind(&c, false), -EIO);
        expect_driver(&c, "uio_hv_generic");
        expect_why(&c, "back with uio_hv_generic");
        rig_fini(&c.rig);
    }
}

static const struct hv_test_case cases[] = {
    {"driver_override and back", test_override},
    {"new_id and back", test_new_id},
    {"new_id known before", test_new_id_known},
    {"new_id binds at once", test_new_id_binds_at_once},
    {"undo", test_undo},
    {"undo fails", test_undo_fails},
    {"undo restores the override", test_undo_restores_override},
    {"module missing", test_module_missing},
    {"root disk", test_root_disk},
    {"no mountinfo", test_mountinfo_missing},
    {"default route", test_default_route},
    {"unbind refused", test_unbind_refused},
    {"unbind without a driver", test_unbind_without_driver},
    {"unbind undo", test_unbind_undo},
};

int main(int argc, char **argv)
{
    return hv_test_main("ctl.bind", cases, HV_TEST_COUNT(cases), argc, argv);
}
