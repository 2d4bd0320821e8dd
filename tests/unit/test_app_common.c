/* SPDX-License-Identifier: BSD-3-Clause */
/* What the programs share: sizes, CPU lists, disk words, the spin window. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "common/cpus.h"
#include "common/disk_option.h"
#include "common/limits.h"
#include "common/option.h"
#include "common/size.h"
#include "common/spin.h"

#include "suite.h"

#define UNTOUCHED UINT64_C(0x5555)

static void test_size_values(void)
{
    static const struct {
        const char *text;
        uint64_t want; /* UNTOUCHED = refused */
    } rows[] = {
        {"4096", 4096},
        {"0", 0},
        {"64K", 65536},
        {"64k", 65536},
        {"1M", 1u << 20},
        {"1G", 1u << 30},
        {"2T", UINT64_C(2) << 40},
        {"16777215T", UINT64_C(16777215) << 40},
        {"16777216T", UNTOUCHED},
        {"18446744073709551616", UNTOUCHED},
        {"", UNTOUCHED},
        {"G", UNTOUCHED},
        {"1GB", UNTOUCHED},
        {"-1", UNTOUCHED},
        {" 1", UNTOUCHED},
        {"1.5G", UNTOUCHED},
        {"0x10", UNTOUCHED},
    };
    char why[HV_OPTION_WHY_BYTES];

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        uint64_t got = UNTOUCHED;
        int ret = hv_size_parse(rows[i].text, 0, UINT64_MAX, &got, why);

        HV_CHECK_ROW(rows[i].text, got == rows[i].want);
        HV_CHECK_ROW(rows[i].text, ret == (rows[i].want == UNTOUCHED ? -EINVAL : 0));
        HV_CHECK_ROW(rows[i].text, !ret || strstr(why, rows[i].text));
    }
}

static void test_size_limits_are_named(void)
{
    char why[HV_OPTION_WHY_BYTES];
    uint64_t got = UNTOUCHED;

    CU_ASSERT_EQUAL(hv_size_parse("4095", 4096, 1u << 30, &got, why), -EINVAL);
    CU_ASSERT(strstr(why, "4K") && strstr(why, "1G"));
    CU_ASSERT_EQUAL(hv_size_parse("4K", 4096, 1u << 30, &got, why), 0);
    CU_ASSERT_EQUAL(hv_size_parse("1G", 4096, 1u << 30, &got, why), 0);
    CU_ASSERT_EQUAL(hv_size_parse("1073741825", 4096, 1u << 30, &got, why), -EINVAL);
    CU_ASSERT_EQUAL(got, 1u << 30);
}

static void test_size_text(void)
{
    char text[HV_SIZE_TEXT_BYTES];

    CU_ASSERT_STRING_EQUAL(hv_size_text(0, text), "0");
    CU_ASSERT_STRING_EQUAL(hv_size_text(1023, text), "1023");
    CU_ASSERT_STRING_EQUAL(hv_size_text(4096, text), "4K");
    CU_ASSERT_STRING_EQUAL(hv_size_text(UINT64_C(5) << 50, text), "5120T");
    CU_ASSERT_STRING_EQUAL(hv_size_text(UINT64_MAX, text), "18446744073709551615");
}

static void test_versions(void)
{
    static const uint32_t list[] = {0x50003, 0x40001, 0};
    char why[HV_OPTION_WHY_BYTES];
    uint32_t got = 7;

    CU_ASSERT_EQUAL(hv_option_version("4.1", 16, list, &got, why), 0);
    CU_ASSERT_EQUAL(got, 0x40001);
    CU_ASSERT_EQUAL(hv_option_version("4.2", 16, list, &got, why), -EINVAL);
    CU_ASSERT_EQUAL(hv_option_version("4.1x", 16, list, &got, why), -EINVAL);
    CU_ASSERT_EQUAL(got, 0x40001);
    CU_ASSERT(strstr(why, "5.3, 4.1") != NULL);
}

static void test_cpu_lists(void)
{
    struct hv_cpus cpus = {.count = 77};
    char why[HV_OPTION_WHY_BYTES], text[32];
    cpu_set_t set, before;
    int first = 0;

    CU_ASSERT_EQUAL(sched_getaffinity(0, sizeof(before), &before), 0);
    while (!CPU_ISSET((size_t)first, &before))
        first++;
    snprintf(text, sizeof(text), "%d", first);
    CU_ASSERT_EQUAL(hv_cpus_parse(text, &cpus, why), 0);
    CU_ASSERT_EQUAL(cpus.count, 1);
    CU_ASSERT_EQUAL(cpus.cpu[0], first);
    CU_ASSERT_EQUAL(hv_cpus_pin(pthread_self(), &cpus, 5), 0);
    CU_ASSERT_EQUAL(sched_getaffinity(0, sizeof(set), &set), 0);
    CU_ASSERT_EQUAL(CPU_COUNT(&set), 1);
    /* Pinned to one CPU, a range beyond it is refused, and so is the CPU twice. */
    snprintf(text, sizeof(text), "%d-%d", first, first + 1);
    CU_ASSERT_EQUAL(hv_cpus_parse(text, &cpus, why), -EINVAL);
    snprintf(text, sizeof(text), "%d,%d", first, first);
    CU_ASSERT_EQUAL(hv_cpus_parse(text, &cpus, why), -EINVAL);
    for (const char *const *bad = (const char *const[]){"", ",", "0,", "x", "1-0", "0-", "-1",
                                                        "0;1", "99999999999999999999", NULL};
         *bad; bad++)
        HV_CHECK_ROW(*bad, hv_cpus_parse(*bad, &cpus, why) == -EINVAL);
    CU_ASSERT_EQUAL(cpus.count, 1);
    cpus.count = 0;
    CU_ASSERT_EQUAL(hv_cpus_pin(pthread_self(), &cpus, 0), 0);
    CU_ASSERT_EQUAL(sched_setaffinity(0, sizeof(before), &before), 0);
}

static void test_disk_all_words(void)
{
    struct hv_disk_option o;
    char why[HV_OPTION_WHY_BYTES];

    CU_ASSERT_EQUAL_FATAL(
        hv_disk_option_parse(HV_DISK_OPTION_DISK,
                             "/tmp/a,,b.img,size=1G,block=4096,ro,serial=S,,1,cache=off,thin=off,"
                             "direct=off,rotational=on,lun=7",
                             &o, why),
        0);
    CU_ASSERT_EQUAL(o.disk.store, HV_DISK_FILE);
    CU_ASSERT_STRING_EQUAL(o.disk.path, "/tmp/a,b.img");
    CU_ASSERT_STRING_EQUAL(o.disk.serial, "S,1");
    CU_ASSERT_EQUAL(o.disk.bytes, 1u << 30);
    CU_ASSERT_EQUAL(o.disk.block_bytes, 4096);
    CU_ASSERT(o.disk.read_only && o.disk.no_write_cache && o.disk.no_thin && o.disk.buffered);
    CU_ASSERT(o.disk.rotational);
    CU_ASSERT_EQUAL(o.lun, 7);
    hv_disk_option_fini(&o);
    hv_disk_option_fini(&o);

    CU_ASSERT_EQUAL_FATAL(
        hv_disk_option_parse(HV_DISK_OPTION_EMULATE,
                             "disk=null:1T,luns=3,channels=4,version=5.1,max-transfer=256K,"
                             "fault=drop@3,,busy@5",
                             &o, why),
        0);
    CU_ASSERT_EQUAL(o.disk.store, HV_DISK_NULL);
    CU_ASSERT_EQUAL(o.disk.bytes, UINT64_C(1) << 40);
    CU_ASSERT_EQUAL(o.luns, 3);
    CU_ASSERT_EQUAL(o.channels, 4);
    CU_ASSERT_EQUAL(o.max_version, 0x0501);
    CU_ASSERT_EQUAL(o.max_transfer_bytes, 256 * 1024);
    CU_ASSERT_STRING_EQUAL(o.fault, "drop@3,busy@5");
    hv_disk_option_fini(&o);

    CU_ASSERT_EQUAL_FATAL(
        hv_disk_option_parse(HV_DISK_OPTION_DISK, "mem:1G,cache=on,thin=on", &o, why), 0);
    CU_ASSERT_EQUAL(o.disk.store, HV_DISK_MEMORY);
    CU_ASSERT(!o.disk.read_only && !o.disk.no_write_cache && !o.disk.no_thin && !o.disk.buffered);
    CU_ASSERT_EQUAL(o.lun, -1);
    CU_ASSERT_EQUAL(o.luns, 1);
    CU_ASSERT_PTR_NULL(o.disk.serial);
    hv_disk_option_fini(&o);
}

static void test_disk_errors_say_what_is_allowed(void)
{
    static const struct {
        enum hv_disk_option_kind kind;
        const char *text;
        const char *say; /* in the sentence */
    } rows[] = {
        {HV_DISK_OPTION_DISK, "", "mem:SIZE"},
        {HV_DISK_OPTION_DISK, ",ro", "mem:SIZE"},
        {HV_DISK_OPTION_DISK, "mem:", "suffix"},
        {HV_DISK_OPTION_DISK, "mem:1X", "1X"},
        {HV_DISK_OPTION_DISK, "mem:1", "4K"},
        {HV_DISK_OPTION_DISK, "null:1G,size=1G", "for files"},
        {HV_DISK_OPTION_DISK, "mem:1G,direct=off", "for files"},
        {HV_DISK_OPTION_DISK, "a,block=1024", "block=\"1024\" is not allowed; allowed: 512, 4096"},
        {HV_DISK_OPTION_DISK, "a,block", "needs a value"},
        {HV_DISK_OPTION_DISK, "a,block=", "needs a value"},
        {HV_DISK_OPTION_DISK, "a,ro=1", "takes no value"},
        {HV_DISK_OPTION_DISK, "a,cache=maybe", "on, off"},
        {HV_DISK_OPTION_DISK, "a,lun=64", "0 to 63"},
        {HV_DISK_OPTION_DISK, "a,lun=1,lun=2", "twice"},
        {HV_DISK_OPTION_DISK, "a,luns=2", "\"luns\" is not known"},
        {HV_DISK_OPTION_DISK, "a,,,ro", NULL}, /* the path is "a," */
        {HV_DISK_OPTION_DISK, "a,", "is not known"},
        {HV_DISK_OPTION_DISK, "a,serial=\t", "printable"},
        {HV_DISK_OPTION_DISK,
         "a,serial=01234567890123456789012345678901234567890123456789012345678901234", "64"},
        {HV_DISK_OPTION_EMULATE, "a.img", "disk="},
        {HV_DISK_OPTION_EMULATE, "disk=", "mem:SIZE"},
        {HV_DISK_OPTION_EMULATE, "disk=a,lun=1", "\"lun\" is not known"},
        {HV_DISK_OPTION_EMULATE, "disk=a,luns=0", "1 to 64"},
        {HV_DISK_OPTION_EMULATE, "disk=a,channels=65", "1 to 64"},
        {HV_DISK_OPTION_EMULATE, "disk=a,version=5.0", "6.2, 6.0, 5.1, 4.2, 2.0"},
        {HV_DISK_OPTION_EMULATE, "disk=a,max-transfer=9M", "8M"},
    };
    char why[HV_OPTION_WHY_BYTES];

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_disk_option o = {.lun = 4711};
        int ret = hv_disk_option_parse(rows[i].kind, rows[i].text, &o, why);

        if (!rows[i].say) {
            HV_CHECK_ROW(rows[i].text, ret == 0);
            hv_disk_option_fini(&o);
            continue;
        }
        HV_CHECK_ROW(rows[i].text, ret == -EINVAL && strstr(why, rows[i].say));
        HV_CHECK_ROW(rows[i].text, o.lun == 4711);
    }
}

/** One idle phase in which work comes after work_ns (or never).  Returns the time spun. */
static uint64_t idle(struct hv_spin *spin, uint64_t *now, uint64_t work_ns)
{
    uint64_t start = *now;

    while (hv_spin_again_at(spin, *now)) {
        if (*now - start >= work_ns) {
            hv_spin_found_at(spin, *now);
            break;
        }
        *now += 500;
    }
    return *now - start;
}

static void test_spin_window(void)
{
    struct hv_spin spin;
    uint64_t now = 1000, spun = 0, wide;

    hv_spin_init(&spin, false, HV_SPIN_MAX_NS);
    /* Success keeps it open, as wide as needed and not wider. */
    for (int i = 0; i < 200; i++)
        CU_ASSERT(idle(&spin, &now, 5000) >= 5000);
    CU_ASSERT(spin.window_ns >= 9000 && spin.window_ns <= 14000);
    /* Work that never comes while spinning: the cost goes to nothing. */
    for (int i = 0; i < 10000; i++)
        spun += idle(&spin, &now, UINT64_MAX);
    CU_ASSERT_EQUAL(spin.window_ns, 0);
    CU_ASSERT(spun / 10000 < HV_SPIN_MAX_NS / 200);
    /* When things change, one trial opens it again. */
    for (int i = 0; i < 1100 && !spin.window_ns; i++)
        (void)idle(&spin, &now, 30000);
    wide = spin.window_ns;
    CU_ASSERT(wide > 30000 && wide <= HV_SPIN_MAX_NS);
    CU_ASSERT(idle(&spin, &now, 30000) >= 30000);
    /* --poll never sleeps. */
    hv_spin_init(&spin, true, HV_SPIN_MAX_NS);
    for (int i = 0; i < 100; i++)
        CU_ASSERT(hv_spin_again(&spin));
    /* A window of nothing never spins. */
    hv_spin_init(&spin, false, 0);
    for (int i = 0; i < 100; i++)
        CU_ASSERT_FALSE(hv_spin_again_at(&spin, now));
}

static void test_file_limit(void)
{
    struct rlimit before, files;

    CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    files = before;
    files.rlim_cur = before.rlim_max < 64 ? before.rlim_max : 64;
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &files), 0);
    hv_raise_file_limit();
    CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &files), 0);
    CU_ASSERT_EQUAL(files.rlim_cur, before.rlim_max);
    CU_ASSERT_EQUAL(files.rlim_max, before.rlim_max);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"size: values", test_size_values},
        {"size: limits are named", test_size_limits_are_named},
        {"size: shortest text", test_size_text},
        {"versions", test_versions},
        {"cpus: lists and pinning", test_cpu_lists},
        {"disk: every word", test_disk_all_words},
        {"disk: errors say what is allowed", test_disk_errors_say_what_is_allowed},
        {"spin: window follows success", test_spin_window},
        {"limits: files", test_file_limit},
    };

    return hv_test_main("app_common", cases, HV_TEST_COUNT(cases), argc, argv);
}
