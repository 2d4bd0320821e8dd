/* SPDX-License-Identifier: BSD-3-Clause */
/* Images: what is opened, refused and why; locks, sizes, space, serial numbers. */
#include "scsi_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hv/base/endian.h>

#include "suite.h"

#define IMAGE "test_store.img"
#define MIB   (1ull << 20)

static struct hv_disk_opts file_opts(const char *path)
{
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;

    opts.store = HV_DISK_FILE;
    opts.path = path;
    return opts;
}

static void make_image(const char *path, off_t bytes)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);

    CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, bytes) == 0);
    (void)close(fd);
}

static off_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) ? -1 : st.st_size;
}

static off_t space_of(const char *path)
{
    struct stat st;

    return stat(path, &st) ? -1 : st.st_blocks * 512;
}

static int refused(const struct hv_disk_opts *opts, char *why)
{
    struct hv_disk *disk = (struct hv_disk *)1;
    int err;

    why[0] = 0;
    err = hv_disk_create(opts, why, &disk);
    CU_ASSERT(disk == (struct hv_disk *)1 || !err); /* untouched on failure */
    if (!err)
        hv_disk_destroy(disk);
    return err;
}

static void test_store_options(void)
{
    static const struct {
        const char *name, *says, *also;
        int store;
        uint64_t bytes;
        uint32_t block;
        const char *path, *serial;
    } rows[] = {
        {"block", "1024", "512 and 4096", HV_DISK_MEMORY, MIB, 1024, NULL, NULL},
        {"no size", "memory", "size", HV_DISK_MEMORY, 0, 0, NULL, NULL},
        {"no size", "null", "size", HV_DISK_NULL, 0, 0, NULL, NULL},
        {"no multiple", "1048576", "1049088", HV_DISK_MEMORY, MIB + 1, 0, NULL, NULL},
        {"no multiple of 4096", "4096", "8192", HV_DISK_NULL, 512, 4096, NULL, NULL},
        {"too large", "1152921504606846976", "at most", HV_DISK_NULL, 1ull << 61, 0, NULL, NULL},
        {"no path", "path", "", HV_DISK_FILE, 0, 0, NULL, NULL},
        {"empty path", "path", "", HV_DISK_FILE, 0, 0, "", NULL},
        {"empty serial", "64", "serial", HV_DISK_MEMORY, MIB, 0, NULL, ""},
        {"serial not printable", "64", "serial", HV_DISK_MEMORY, MIB, 0, NULL, "a\nb"},
        {"serial too long", "64", "serial", HV_DISK_MEMORY, MIB, 0, NULL,
         "01234567890123456789012345678901234567890123456789012345678901234"},
        {"no such store", "7", "null", 7, MIB, 0, NULL, NULL},
    };
    char why[HV_DISK_WHY_BYTES];
    struct hv_disk_opts opts;

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        opts = (struct hv_disk_opts)HV_DISK_OPTS_INIT;
        opts.store = (enum hv_disk_store)rows[i].store;
        opts.bytes = rows[i].bytes;
        opts.block_bytes = rows[i].block;
        opts.path = rows[i].path;
        opts.serial = rows[i].serial;
        HV_CHECK_ROW(rows[i].name, refused(&opts, why) == -EINVAL);
        HV_CHECK_ROW(rows[i].name, strstr(why, rows[i].says) && strstr(why, rows[i].also));
    }
    opts.size = sizeof(opts) + 8;
    CU_ASSERT(refused(&opts, why) == -EINVAL);
}

static void test_store_image_refused(void)
{
    char why[HV_DISK_WHY_BYTES];
    struct hv_disk_opts opts = file_opts(IMAGE);

    (void)unlink(IMAGE);
    CU_ASSERT(refused(&opts, why) == -ENOENT && strstr(why, IMAGE) && strstr(why, "size"));
    opts.bytes = MIB;
    opts.read_only = true;
    CU_ASSERT(refused(&opts, why) == -ENOENT && size_of(IMAGE) == -1);
    opts = file_opts("no-such-folder/image");
    opts.bytes = MIB;
    CU_ASSERT(refused(&opts, why) == -ENOENT && strstr(why, "no-such-folder"));
    opts = file_opts(".");
    CU_ASSERT(refused(&opts, why) < 0 && strstr(why, "."));
    opts.read_only = true;
    CU_ASSERT(refused(&opts, why) == -EINVAL && strstr(why, "neither a regular file"));
    opts = file_opts("/dev/null");
    CU_ASSERT(refused(&opts, why) == -EINVAL && strstr(why, "neither a regular file"));
    opts = file_opts(IMAGE);
    make_image(IMAGE, 0);
    CU_ASSERT(refused(&opts, why) == -EINVAL && strstr(why, "512"));
    make_image(IMAGE, MIB + 100);
    CU_ASSERT(refused(&opts, why) == -EINVAL && strstr(why, "1048576") && strstr(why, "1049088"));
    make_image(IMAGE, MIB + 512);
    opts.block_bytes = 4096;
    CU_ASSERT(refused(&opts, why) == -EINVAL && strstr(why, "1048576") && strstr(why, "1052672"));
    opts.block_bytes = 0;
    opts.bytes = 2 * MIB;
    CU_ASSERT(refused(&opts, why) == -EINVAL && strstr(why, "1049088") && strstr(why, "2097152"));
    CU_ASSERT(size_of(IMAGE) == MIB + 512); /* never resized */
    opts.bytes = MIB + 512;
    CU_ASSERT(refused(&opts, why) == 0);
    (void)unlink(IMAGE);
}

static void test_store_image_unwritable(void)
{
    char why[HV_DISK_WHY_BYTES], path[] = "/tmp/test_store.XXXXXX";
    struct hv_disk_opts opts = file_opts(path);
    int fd = mkstemp(path);
    uid_t user = geteuid();

    CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, MIB) == 0 && fchmod(fd, 0444) == 0);
    (void)close(fd);
    if (user == 0)
        CU_ASSERT(seteuid(65534) == 0); /* root may write everything */
    CU_ASSERT(refused(&opts, why) == -EACCES && strstr(why, path) && strstr(why, "writing"));
    opts.read_only = true;
    CU_ASSERT(refused(&opts, why) == 0);
    CU_ASSERT(seteuid(user) == 0);
    (void)unlink(path);
}

static void test_store_create(void)
{
    struct hv_disk_opts opts = file_opts(IMAGE);
    struct scsi_rig rig;

    (void)unlink(IMAGE);
    opts.bytes = 64 * MIB;
    CU_ASSERT(scsi_rig_open(&rig, opts) == 0);
    CU_ASSERT(hv_disk_bytes(rig.disk) == 64 * MIB && hv_disk_block_bytes(rig.disk) == 512);
    CU_ASSERT(size_of(IMAGE) == 64 * MIB && space_of(IMAGE) < (off_t)MIB); /* sparse */
    scsi_rig_close(&rig);
    opts.bytes = 0; /* is there now */
    CU_ASSERT(scsi_rig_open(&rig, opts) == 0 && hv_disk_bytes(rig.disk) == 64 * MIB);
    scsi_rig_close(&rig);
    make_image(IMAGE, 0); /* empty holds nothing that could be lost */
    opts.bytes = MIB;
    CU_ASSERT(scsi_rig_open(&rig, opts) == 0 && size_of(IMAGE) == MIB);
    scsi_rig_close(&rig);
    (void)unlink(IMAGE);
}

static void test_store_lock(void)
{
    char why[HV_DISK_WHY_BYTES];
    struct hv_disk_opts opts = file_opts(IMAGE);
    struct scsi_rig first, second;

    make_image(IMAGE, MIB);
    CU_ASSERT(scsi_rig_open(&first, opts) == 0);
    CU_ASSERT(refused(&opts, why) == -EBUSY && strstr(why, IMAGE) &&
              strstr(why, "held by another"));
    opts.read_only = true;
    CU_ASSERT(refused(&opts, why) == -EBUSY);
    scsi_rig_close(&first);
    CU_ASSERT(scsi_rig_open(&first, opts) == 0); /* readers share */
    CU_ASSERT(scsi_rig_open(&second, opts) == 0);
    opts.read_only = false;
    CU_ASSERT(refused(&opts, why) == -EBUSY);
    scsi_rig_close(&first);
    scsi_rig_close(&second);
    CU_ASSERT(refused(&opts, why) == 0);
    (void)unlink(IMAGE);
}

static void test_store_read_only(void)
{
    static const struct {
        const char *name;
        uint8_t cdb[16];
        uint8_t bytes;
    } rows[] = {
        {"WRITE(6)", {0x0a, 0, 0, 0, 1}, 6},
        {"WRITE(16)", {0x8a, [13] = 1}, 16},
        {"WRITE SAME", {0x41, [8] = 1}, 10},
        {"UNMAP", {0x42, [8] = 24}, 10},
        {"WRITE AND VERIFY", {0x2e, [8] = 1}, 10},
        {"COMPARE AND WRITE", {0x89, [13] = 1}, 16},
        {"FORMAT UNIT", {0x04}, 6},
    };
    struct hv_disk_opts opts = file_opts(IMAGE);
    uint8_t data[1024] = {0}, sense[32];
    struct scsi_rig rig;

    make_image(IMAGE, MIB);
    (void)chmod(IMAGE, 0400);
    opts.read_only = true;
    CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++)
        HV_CHECK_ROW(rows[i].name, scsi_is_sense(scsi_out(&rig, 1, rows[i].cdb, rows[i].bytes, data,
                                                          sizeof(data)),
                                                 HV_SENSE_DATA_PROTECT, HV_ASC_WRITE_PROTECTED));
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 0, 2, 0, data), 1024));
    CU_ASSERT(scsi_is_good(scsi_none(&rig, 1, (const uint8_t[10]){0x35}, 10), 0));
    CU_ASSERT(
        scsi_is_good(scsi_in(&rig, 1, (const uint8_t[6]){0x1a, 0, 8, 0, 32}, 6, sense, 32), 32));
    CU_ASSERT(sense[2] == 0x90);
    CU_ASSERT(hv_disk_resize(rig.disk, 2 * MIB) == -EROFS && hv_disk_bytes(rig.disk) == MIB);
    scsi_rig_close(&rig);
    (void)unlink(IMAGE);
}

static void read_serial(struct scsi_rig *rig, char serial[65])
{
    uint8_t page[96] = {0};

    CU_ASSERT(scsi_in(rig, 1, (const uint8_t[6]){0x12, 1, 0x80, 0, 96}, 6, page, 96).status == 0);
    memcpy(serial, page + 4, page[3]);
    serial[page[3]] = 0;
}

static void test_store_serial(void)
{
    char first[65], second[65];
    struct hv_disk_opts opts = file_opts(IMAGE);
    struct scsi_rig rig;

    make_image(IMAGE, MIB);
    make_image(IMAGE ".2", MIB);
    CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
    read_serial(&rig, first);
    scsi_rig_close(&rig);
    opts.path = "./" IMAGE; /* the same file by another name */
    CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
    read_serial(&rig, second);
    CU_ASSERT(strlen(first) == 16 && strcmp(first, second) == 0);
    scsi_rig_close(&rig);
    opts.path = IMAGE ".2";
    CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
    read_serial(&rig, second);
    CU_ASSERT(strcmp(first, second) != 0);
    scsi_rig_close(&rig);
    opts.serial = "0123456789012345678901234567890123456789012345678901234567890123";
    CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
    read_serial(&rig, second);
    CU_ASSERT(strcmp(opts.serial, second) == 0);
    scsi_rig_close(&rig);
    (void)unlink(IMAGE);
    (void)unlink(IMAGE ".2");
}

/* O_DIRECT where the file system can, and said aloud where it cannot. */
static void test_store_direct(void)
{
    struct hv_disk_opts opts = file_opts(IMAGE);
    struct scsi_rig rig;

    (void)unlink(IMAGE);
    opts.bytes = MIB;
    CU_ASSERT(scsi_rig_open(&rig, opts) == 0);
    CU_ASSERT(hv_disk_is_direct(rig.disk) == !strstr(rig.log, "page cache"));
    CU_ASSERT((hv_disk_queue_fd(rig.queue) >= 0) == hv_disk_is_direct(rig.disk));
    if (!hv_disk_is_direct(rig.disk))
        fprintf(stderr, "(no O_DIRECT in the test's folder: the direct way is not tested here)\n");
    scsi_rig_close(&rig);
    opts.buffered = true;
    CU_ASSERT(scsi_rig_open(&rig, opts) == 0);
    CU_ASSERT(!hv_disk_is_direct(rig.disk) && hv_disk_queue_fd(rig.queue) == -1);
    scsi_rig_close(&rig);
    (void)unlink(IMAGE);
    opts = file_opts("/dev/shm/hv_test_store.img");
    opts.bytes = MIB;
    if (access("/dev/shm", W_OK) == 0) {
        CU_ASSERT(scsi_rig_open(&rig, opts) == 0);
        CU_ASSERT(!hv_disk_is_direct(rig.disk) && strstr(rig.log, "refuses O_DIRECT"));
        scsi_rig_close(&rig);
        (void)unlink(opts.path);
    } else {
        fprintf(stderr, "(no /dev/shm: a refusal of O_DIRECT is not tested)\n");
    }
}

static void unmap_gives_back(bool buffered)
{
    struct hv_disk_opts opts = file_opts(IMAGE);
    uint8_t *data = aligned_alloc(4096, 8 * MIB);
    struct scsi_rig rig;

    scsi_fill(data, 8 * MIB, 1);
    (void)unlink(IMAGE);
    opts.bytes = 16 * MIB;
    opts.buffered = buffered;
    CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 16384, 8, data), 8 * MIB));
    CU_ASSERT(space_of(IMAGE) >= (off_t)(8 * MIB));
    CU_ASSERT(scsi_is_good(scsi_unmap(&rig, 0, 8192), 24));
    CU_ASSERT(scsi_is_good(scsi_none(&rig, 1, (const uint8_t[10]){0x35}, 10), 0));
    CU_ASSERT(space_of(IMAGE) < (off_t)(5 * MIB));
    CU_ASSERT(scsi_is_good(scsi_unmap(&rig, 0, 32768), 24));
    CU_ASSERT(scsi_is_good(scsi_none(&rig, 1, (const uint8_t[10]){0x35}, 10), 0));
    CU_ASSERT(space_of(IMAGE) < (off_t)MIB && size_of(IMAGE) == 16 * MIB);
    scsi_rig_close(&rig);
    (void)unlink(IMAGE);
    free(data);
}

static void test_store_unmap_gives_back(void)
{
    unmap_gives_back(false);
    unmap_gives_back(true);
}

static void test_store_resize(void)
{
    struct hv_disk_opts opts = file_opts(IMAGE);
    uint8_t data[512];
    struct scsi_rig rig;

    make_image(IMAGE, MIB);
    CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 0, 1, 0, data), 512));
    CU_ASSERT(hv_disk_resize(rig.disk, 2 * MIB) == 0 && size_of(IMAGE) == 2 * MIB);
    CU_ASSERT(scsi_is_sense(scsi_read(&rig, 2048, 1, 0, data), HV_SENSE_UNIT_ATTENTION,
                            HV_ASC_CAPACITY_CHANGED));
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 2048, 1, 0, data), 512));
    CU_ASSERT(truncate(IMAGE, 3 * MIB + 100) == 0); /* behind our back; the odd tail is no block */
    CU_ASSERT(hv_disk_resize(rig.disk, 0) == 0 && hv_disk_bytes(rig.disk) == 3 * MIB);
    CU_ASSERT(hv_disk_resize(rig.disk, MIB / 2) == 0 && size_of(IMAGE) == MIB / 2);
    CU_ASSERT(scsi_is_sense(scsi_read(&rig, 1024, 1, 0, data), HV_SENSE_UNIT_ATTENTION,
                            HV_ASC_CAPACITY_CHANGED)); /* one, though it changed twice */
    CU_ASSERT(scsi_is_sense(scsi_read(&rig, 1024, 1, 0, data), HV_SENSE_ILLEGAL_REQUEST,
                            HV_ASC_LBA_OUT_OF_RANGE));
    CU_ASSERT(hv_disk_resize(rig.disk, MIB + 1) == -EINVAL);
    CU_ASSERT(hv_disk_resize(rig.disk, 0) == 0); /* nothing new: nobody is told */
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 0, 1, 0, data), 512));
    scsi_rig_close(&rig);
    (void)unlink(IMAGE);
}

/* What a shrink cut off is not there when the disk grows again; and it can grow where it is. */
static void test_store_memory_resize(void)
{
    uint8_t data[4096], zero[4096] = {0}, in[4096];
    struct scsi_rig rig;

    CU_ASSERT_FATAL(scsi_rig_memory(&rig, MIB + 512) == 0);
    scsi_fill(data, sizeof(data), 3);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 2041, 8, 0, data), 4096));
    CU_ASSERT(hv_disk_resize(rig.disk, MIB) == 0);
    CU_ASSERT(hv_disk_resize(rig.disk, 512 * MIB) == 0);
    CU_ASSERT(scsi_read(&rig, 0, 1, 0, in).key == HV_SENSE_UNIT_ATTENTION);
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 2041, 8, 0, in), 4096));
    CU_ASSERT(memcmp(in, data, 3584) == 0 && memcmp(in + 3584, zero, 512) == 0);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 1048568, 8, 0, data), 4096));
    CU_ASSERT(hv_disk_resize(rig.disk, 1ull << 50) == -ENOSPC);
    CU_ASSERT(hv_disk_bytes(rig.disk) == 512 * MIB);
    scsi_rig_close(&rig);
}

/* The image is shorter than the disk: an error where data is missing, never zeroes or success. */
static void truncated(bool buffered)
{
    static uint8_t data[8192] __attribute__((aligned(4096)));
    struct hv_disk_opts opts = file_opts(IMAGE);
    struct scsi_result r;
    struct scsi_rig rig;

    make_image(IMAGE, MIB);
    opts.buffered = buffered;
    CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
    CU_ASSERT(truncate(IMAGE, MIB / 2) == 0);
    r = scsi_read(&rig, 1020, 16, 0, data); /* 4 blocks are left */
    CU_ASSERT(scsi_is_sense(r, HV_SENSE_MEDIUM_ERROR, HV_ASC_UNRECOVERED_READ_ERROR));
    CU_ASSERT(r.srb == HV_SRB_ERROR && r.has_information && r.information == 1024);
    CU_ASSERT(r.transferred == 2048);
    r = scsi_none(&rig, 1, (const uint8_t[10]){0x2f, 0, 0, 0, 4, 1, 0, 0, 1}, 10); /* VERIFY */
    CU_ASSERT(scsi_is_sense(r, HV_SENSE_MEDIUM_ERROR, HV_ASC_UNRECOVERED_READ_ERROR));
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 1020, 4, 0, data), 2048));
    scsi_rig_close(&rig);
    (void)unlink(IMAGE);
}

static void test_store_truncated(void)
{
    truncated(false);
    truncated(true);
}

/* A full file system: DATA PROTECT, SPACE ALLOCATION FAILED. */
static void is_full(const char *path, bool buffered)
{
    struct hv_disk_opts opts = file_opts(path);
    uint8_t *data = aligned_alloc(4096, 8 * MIB);
    struct scsi_result r = {0};
    struct scsi_rig rig;
    int written = 0;

    memset(data, 1, 8 * MIB);
    (void)unlink(path);
    opts.bytes = 64 * MIB;
    opts.buffered = buffered;
    CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
    for (int i = 0; i < 8 && !r.status; i++, written++)
        r = scsi_write(&rig, (uint64_t)i * 16384, 16384, 0, data);
    CU_ASSERT(scsi_is_sense(r, HV_SENSE_DATA_PROTECT, HV_ASC_SPACE_ALLOCATION_FAILED));
    CU_ASSERT(written <= 3); /* 16 MiB are there */
    CU_ASSERT(scsi_is_sense(scsi_write(&rig, 100000, 1, 8, data), HV_SENSE_DATA_PROTECT,
                            HV_ASC_SPACE_ALLOCATION_FAILED));
    CU_ASSERT(scsi_is_good(scsi_unmap(&rig, 0, 16384), 24)); /* makes room */
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 100000, 1, 8, data), 512));
    scsi_rig_close(&rig);
    (void)unlink(path);
    free(data);
}

static void test_store_full(void)
{
    char folder[] = "test_store_full.XXXXXX", path[64];
    struct rlimit old, small = {.rlim_cur = 16 * MIB, .rlim_max = RLIM_INFINITY};

    if (mkdtemp(folder) && mount("hv-test", folder, "tmpfs", 0, "size=16m") == 0) {
        (void)snprintf(path, sizeof(path), "%s/image", folder);
        is_full(path, true);
        CU_ASSERT(umount(folder) == 0);
    } else {
        fprintf(stderr, "(cannot mount a small tmpfs: ENOSPC is not tested)\n");
    }
    (void)rmdir(folder);
    /* A limit on file size is the same to a guest, on the direct way too. */
    make_image(IMAGE, 64 * MIB);
    CU_ASSERT(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small.rlim_max = old.rlim_max;
    (void)signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &small) == 0) {
        struct hv_disk_opts opts = file_opts(IMAGE);
        static uint8_t data[4096] __attribute__((aligned(4096)));
        struct scsi_rig rig;

        CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
        CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 8, 0, data), 4096));
        CU_ASSERT(scsi_is_sense(scsi_write(&rig, 40000, 8, 0, data), HV_SENSE_DATA_PROTECT,
                                HV_ASC_SPACE_ALLOCATION_FAILED));
        scsi_rig_close(&rig);
        CU_ASSERT(setrlimit(RLIMIT_FSIZE, &old) == 0);
    }
    (void)signal(SIGXFSZ, SIG_DFL);
    (void)unlink(IMAGE);
}

/* Written through one life of the image, read in the next. */
static void test_store_persists(void)
{
    struct hv_disk_opts opts = file_opts(IMAGE);
    static uint8_t data[65536] __attribute__((aligned(4096))),
        in[65536] __attribute__((aligned(4096)));
    struct scsi_rig rig;

    scsi_fill(data, sizeof(data), 8);
    make_image(IMAGE, MIB);
    for (int life = 0; life < 3; life++) {
        opts.buffered = life == 1;
        CU_ASSERT_FATAL(scsi_rig_open(&rig, opts) == 0);
        if (life) {
            CU_ASSERT(scsi_is_good(scsi_read(&rig, 77, 128, 0, in), sizeof(in)));
            CU_ASSERT(memcmp(in, data, sizeof(in)) == 0);
            data[life] ^= 0xff;
        }
        CU_ASSERT(scsi_is_good(scsi_write(&rig, 77, 128, 0, data), sizeof(data)));
        scsi_rig_close(&rig);
    }
    (void)unlink(IMAGE);
}

static void test_store_queue_misuse(void)
{
    struct hv_disk_queue *queue = (struct hv_disk_queue *)1;
    struct scsi_rig rig;

    CU_ASSERT_FATAL(scsi_rig_memory(&rig, MIB) == 0);
    CU_ASSERT(hv_disk_queue_create(rig.disk, 0, &queue) == -EINVAL);
    CU_ASSERT(hv_disk_queue_create(rig.disk, HV_DISK_QUEUE_DEPTH_MAX + 1, &queue) == -EINVAL);
    CU_ASSERT(queue == (struct hv_disk_queue *)1);
    hv_disk_queue_destroy(NULL);
    hv_disk_destroy(NULL);
    scsi_rig_close(&rig);
}

static const struct hv_test_case cases[] = {
    {"options", test_store_options},
    {"images refused", test_store_image_refused},
    {"an unwritable image", test_store_image_unwritable},
    {"an image is created", test_store_create},
    {"one writer or many readers", test_store_lock},
    {"read-only", test_store_read_only},
    {"serial numbers", test_store_serial},
    {"direct or said aloud", test_store_direct},
    {"UNMAP gives space back", test_store_unmap_gives_back},
    {"resize", test_store_resize},
    {"resize in memory", test_store_memory_resize},
    {"a truncated image", test_store_truncated},
    {"no space", test_store_full},
    {"data persists", test_store_persists},
    {"misuse of queues", test_store_queue_misuse},
};

int main(int argc, char **argv)
{
    return hv_test_main("store", cases, HV_TEST_COUNT(cases), argc, argv);
}
