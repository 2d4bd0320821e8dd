/* SPDX-License-Identifier: BSD-3-Clause */
/* hvctl info over processors, kernels and machines of several kinds; options. What a true kernel
 * decodes of a true hypervisor is compared in tests/vm/hvctl.sh. */
#include "info.h"

#include <stdlib.h>
#include <string.h>

#include "ctl_rig.h"
#include "options.h"
#include "quirks.h"
#include "suite.h"

/** Registers of a machine; leaf 1 tells that there is a hypervisor. */
struct processor {
    bool hypervisor;
    uint32_t leaf[HYPERV_LEAVES][4];
};

#define MICROSOFT_HV 0x7263694d, 0x666f736f, 0x76482074
#define HV_1         0x31237648

/* A VM with 240 processors; bits by the specification. */
static const struct processor large = {
    true,
    {
        [0] = {0x4000000b, MICROSOFT_HV},
        [1] = {HV_1, 0, 0, 0},
        [2] = {22477, 10u << 16, 1, 1369},
        [3] = {0xae7f, 0x3b8030, 0, 0xe0bed7b2},
        [4] = {0x9e4e24, 0xffffffff, 46, 0},
        [5] = {240, 1024, 0, 0},
        [6] = {0x0f, 0, 0, 0},
        [10] = {0xe0101, 0, 0, 0},
    },
};
static const struct processor snp = {
    true,
    {
        [0] = {0x4000000c, MICROSOFT_HV},
        [1] = {HV_1, 0, 0, 0},
        [3] = {0xae7f, 0x7b8030, 0, 0},
        [12] = {0x1, 0xba2, 0, 0},
    },
};
static const struct processor kvm = {true, {[0] = {0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d}}};
static const struct processor liar = {
    true, {[0] = {0xffffffff, 0x1b5b1b5b, 0x07070707, 0x01010101}, [1] = {HV_1, 0, 0, 0}}};
static const struct processor bare = {false, {{0}}};

static const struct processor *processor;

static void on_cpuid(void *arg, uint32_t leaf, uint32_t ret_registers[4])
{
    (void)arg;
    memset(ret_registers, 0, 16);
    if (leaf == 1)
        ret_registers[ECX] = processor->hypervisor ? 1u << 31 : 0;
    else if (leaf >= HYPERV_LEAF_FIRST && leaf - HYPERV_LEAF_FIRST < HYPERV_LEAVES)
        memcpy(ret_registers, processor->leaf[leaf - HYPERV_LEAF_FIRST], 16);
    else
        CU_FAIL("a leaf that nobody needs");
}

static struct info info;

static void print_text(struct rig *rig, FILE *out)
{
    (void)rig;
    info_print(out, &info);
}

static void print_json(struct rig *rig, FILE *out)
{
    (void)rig;
    CU_ASSERT_EQUAL(info_print_json(out, &info), 0);
}

static void start(struct rig *rig, const struct processor *of)
{
    processor = of;
    rig_init(rig, "6.12");
    rig->sys.cpuid = on_cpuid;
    tree_put(&rig->tree,
             "MemTotal:  100 kB\nHugePages_Total:    64\nHugePages_Free:     60\n"
             "HugePages_Rsvd:  0\nHugepagesize:       2048 kB\n",
             "proc/meminfo");
    tree_put(&rig->tree, "Name:\thvctl\nCapInh:\t0\nCapEff:\t000001ffffffffff\n",
             "proc/self/status");
    tree_put(&rig->tree,
             "6,300,100,-;hv_vmbus: Vmbus version:4.0\n6,400,100,-;hv_vmbus: Vmbus version:5.3\n",
             "dev/kmsg");
}

static void test_large(void)
{
    static const char *const lines[] = {
        "Hyper-V: build 10.0.22477-1-0.1369, vendor \"Microsoft Hv\"",
        "isolation: none\n",
        "  SynIC: messages and events\n",
        "  reference TSC page\n",
        "  may post messages\n",
        "  direct synthetic timers\n",
        "  hypercall to flush remote TLBs\n",
        "  relaxed timing\n",
        "  240 virtual processors\n",
        "  1024 logical processors\n",
        "hardware that it uses:\n",
        "VMBus: version 5.3, 2 devices, 1 of them with uio_hv_generic\n",
        "monitor page: 1 of 128 bits in use\n",
        "kernel: 6.12.95+deb12-amd64\n",
        "hugepages: 60 free of 64, 2048 KiB each\n",
        "  [ok] CAP_SYS_ADMIN",
        "  [ok] a VM whose memory",
    };
    static const char *const absent[] = {"may create partitions", "hypercall to switch", "DANGER",
                                         "  isolation\n"};
    struct tree_device device = tree_network(37);
    struct rig rig;
    char *text;

    start(&rig, &large);
    tree_device(&rig.tree, &device);
    rig_device(&rig, RIG_SCSI, RIG_DISK, 7, UIO_DRIVER, true);
    info_read(&rig.sys, &info);
    CU_ASSERT(info_is_hyperv(&info));
    text = rig_capture(&rig, print_text);
    for (size_t i = 0; i < HV_TEST_COUNT(lines); i++)
        HV_CHECK_ROW(lines[i], strstr(text, lines[i]));
    for (size_t i = 0; i < HV_TEST_COUNT(absent); i++)
        HV_CHECK_ROW(absent[i], !strstr(text, absent[i]));
    free(text);
    text = rig_capture(&rig, print_json);
    HV_CHECK_ROW(text, strstr(text, "\"vmbus_version\":\"5.3\""));
    HV_CHECK_ROW(text, strstr(text, "\"monitor_bits_used\":1"));
    free(text);
    rig_fini(&rig);
}

static void test_isolated(void)
{
    struct rig rig;
    char *text;

    start(&rig, &snp);
    info_read(&rig.sys, &info);
    text = rig_capture(&rig, print_text);
    HV_CHECK_ROW(text, strstr(text, "isolation: SEV-SNP, with paravisor\n"));
    HV_CHECK_ROW(text, strstr(text, "[--] a VM whose memory the host may reach\n"));
    free(text);
    rig_fini(&rig);
}

static void test_no_hyperv(void)
{
    static const struct {
        const struct processor *processor;
        const char *says;
    } rows[] = {
        {&kvm, "no Hyper-V: the hypervisor is \"KVMKVMKVM\""},
        {&bare, "no Hyper-V: this machine has no hypervisor"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rig rig;
        char *text;

        start(&rig, rows[i].processor);
        tree_remove(&rig.tree, "sys/bus");
        info_read(&rig.sys, &info);
        HV_CHECK_ROW(rows[i].says, !info_is_hyperv(&info));
        text = rig_capture(&rig, print_text);
        HV_CHECK_ROW(rows[i].says, strstr(text, rows[i].says));
        free(text);
        rig_fini(&rig);
    }
}

/** ARM: no CPUID, but the bus is there. */
static void test_by_bus(void)
{
    struct rig rig;

    start(&rig, &bare);
    rig_device(&rig, RIG_SCSI, RIG_DISK, 7, "", true);
    info_read(&rig.sys, &info);
    CU_ASSERT(info_is_hyperv(&info));
    rig_fini(&rig);
}

/** A hypervisor that claims four thousand million leaves, and escape sequences for a name. */
static void test_liar(void)
{
    struct rig rig;
    char *text;

    start(&rig, &liar);
    info_read(&rig.sys, &info);
    text = rig_capture(&rig, print_json);
    CU_ASSERT_PTR_NULL(strchr(text, '\033'));
    CU_ASSERT_PTR_NULL(strstr(text, "\\u001b"));
    free(text);
    rig_fini(&rig);
}

static void test_needs(void)
{
    struct rig rig;
    char *text;

    start(&rig, &large);
    tree_put(&rig.tree, "HugePages_Total: 4\nHugePages_Free: 0\n", "proc/meminfo");
    tree_put(&rig.tree, "CapEff:\t0000000000000000\n", "proc/self/status");
    tree_remove(&rig.tree, "sys/bus/vmbus/drivers/uio_hv_generic");
    tree_remove(&rig.tree, "dev/kmsg");
    info_read(&rig.sys, &info);
    text = rig_capture(&rig, print_text);
    HV_CHECK_ROW(text,
                 strstr(text, "[--] the driver uio_hv_generic\n    -> modprobe uio_hv_generic\n"));
    HV_CHECK_ROW(text, strstr(text, "[--] free hugepages"));
    HV_CHECK_ROW(text, strstr(text, "[--] CAP_SYS_ADMIN"));
    HV_CHECK_ROW(text, strstr(text, "version not in the kernel's log"));
    free(text);
    rig_fini(&rig);
}

static void test_quirks(void)
{
    static const struct {
        const char *release, *quirk;
        bool want;
    } rows[] = {
        {"4.17.0", "no-override", true},
        {"4.18.0", "no-override", false},
        {"4.19.0", "opened-at-bind", true},
        {"4.20.0", "opened-at-bind", false},
        {"5.15.194", "mask", true},
        {"5.15.195", "mask", false},
        {"5.15.194", "sub-channel-crash-masked", true},
        {"5.15.195", "sub-channel-crash-masked", false},
        {"5.15.195", "sub-channel-crash", true},
        {"6.1.155", "sub-channel-crash", false},
        {"6.1.156", "sub-channel-crash", true},
        {"6.9.12", "monitor-needed", true},
        {"6.10.0", "monitor-needed", false},
        {"6.10.9", "rescind-crash", true},
        {"6.10.10", "rescind-crash", false},
        {"6.11.0", "rescind-crash", false},
        {"6.12.52", "mask", true},
        {"6.12.53", "mask", false},
        {"6.12.57+deb13-cloud-amd64", "sub-channel-crash", true},
        {"6.12.60", "sub-channel-crash", false},
        {"6.12.60", "signal-race", true},
        {"6.13.0", "sub-channel-crash-masked", true},
        {"6.13.0", "sub-channel-signal", true},
        {"6.16.0", "sub-channel-signal", false},
        {"6.16.0", "mask", true},
        {"6.17.2", "mask", true},
        {"6.17.3", "mask", false},
        {"6.18.0", "mask", false},
        {"7.0.0", "sub-channel-crash", false},
        {"7.0.0", "contiguous", true},
        {"not a kernel", "monitor-needed", true},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        bool known = false;

        for (size_t q = 0; q < quirk_count; q++) {
            if (strcmp(quirks[q].name, rows[i].quirk))
                continue;
            known = true;
            HV_CHECK_ROW(rows[i].release,
                         quirks[q].applies(sys_parse_kernel(rows[i].release)) == rows[i].want);
        }
        HV_CHECK_ROW(rows[i].quirk, known);
    }
}

/* ---- Options ---- */

static void test_options(void)
{
    static const struct {
        const char *words[8];
        enum options_result want;
    } rows[] = {
        {{"hvctl", "list"}, OPTIONS_RUN},
        {{"hvctl", "list", "--json", RIG_DISK}, OPTIONS_RUN},
        {{"hvctl", "bind", "--force", "{ba6163d9-0001-1000-2000-00155d4edc44}", RIG_BALLOON},
         OPTIONS_RUN},
        {{"hvctl", "bind"}, OPTIONS_WRONG},
        {{"hvctl", "unbind", "sda"}, OPTIONS_WRONG},
        {{"hvctl", "info", RIG_DISK}, OPTIONS_WRONG},
        {{"hvctl", "info", "--force"}, OPTIONS_WRONG},
        {{"hvctl", "watch", "--interval", "0.5", "--count", "3"}, OPTIONS_RUN},
        {{"hvctl", "watch", "--interval", "0.05"}, OPTIONS_WRONG},
        {{"hvctl", "watch", "--interval", "1."}, OPTIONS_WRONG},
        {{"hvctl", "watch", "--interval", ".5"}, OPTIONS_WRONG},
        {{"hvctl", "watch", "--interval", "1.2345"}, OPTIONS_WRONG},
        {{"hvctl", "watch", "--interval", "-1"}, OPTIONS_WRONG},
        {{"hvctl", "watch", "--interval", "3601"}, OPTIONS_WRONG},
        {{"hvctl", "watch", "--interval", "99999999999999999999"}, OPTIONS_WRONG},
        {{"hvctl", "ring", RIG_DISK}, OPTIONS_WRONG},
        {{"hvctl", "ring", "dump", RIG_DISK, "--channel", "2"}, OPTIONS_RUN},
        {{"hvctl", "ring", "dump", RIG_DISK, RIG_DISK}, OPTIONS_WRONG},
        {{"hvctl", "trace", RIG_DISK, "--json"}, OPTIONS_WRONG},
        {{"hvctl", "trace", RIG_DISK, "--channel", "65536"}, OPTIONS_WRONG},
        {{"hvctl", "steal", RIG_DISK}, OPTIONS_WRONG},
        {{"hvctl", "--verbose", "list"}, OPTIONS_WRONG},
        {{"hvctl"}, OPTIONS_WRONG},
        {{"hvctl", "--version"}, OPTIONS_DONE},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct options options;
        char *words[9] = {NULL}, copies[8][64];
        int count = 0;

        for (; count < 8 && rows[i].words[count]; count++) {
            (void)snprintf(copies[count], sizeof(copies[count]), "%s", rows[i].words[count]);
            words[count] = copies[count];
        }
        HV_CHECK_ROW(rows[i].words[count - 1],
                     options_parse(count, words, &options) == rows[i].want);
        if (i == 7)
            CU_ASSERT(options.interval_ms == 500 && options.count == 3);
        if (i == 16)
            CU_ASSERT(options.channel == 2 && options.count == 16 && options.id_count == 1);
        options_fini(&options);
    }
}

static const struct hv_test_case cases[] = {
    {"large VM", test_large},    {"isolated", test_isolated}, {"no Hyper-V", test_no_hyperv},
    {"by its bus", test_by_bus}, {"liar", test_liar},         {"needs", test_needs},
    {"quirks", test_quirks},     {"options", test_options},
};

int main(int argc, char **argv)
{
    return hv_test_main("ctl.info", cases, HV_TEST_COUNT(cases), argc, argv);
}
