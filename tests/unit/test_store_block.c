/* SPDX-License-Identifier: BSD-3-Clause */
/* A block device as store: a loop device over a file.  Needs root and the loop driver; exit 77 without. */
#include "scsi_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suite.h"

#define IMAGE "test_store_block.img"
#define MIB   (1ull << 20)

static char device[32];
static int loop_fd = -1;

/* A loop device of 64 MiB with sectors of this size. */
static int attach(uint32_t sector)
{
    struct loop_config config = {.block_size = sector};
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), fd, n = -1;

    fd = open(IMAGE, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    if (control >= 0 && fd >= 0 && ftruncate(fd, 64 * MIB) == 0)
        n = ioctl(control, LOOP_CTL_GET_FREE);
    (void)snprintf(device, sizeof(device), "/dev/loop%d", n);
    loop_fd = n >= 0 ? open(device, O_RDWR | O_CLOEXEC) : -1;
    config.fd = (uint32_t)fd;
    if (loop_fd >= 0 && ioctl(loop_fd, LOOP_CONFIGURE, &config)) {
        (void)close(loop_fd);
        loop_fd = -1;
    }
    if (fd >= 0)
        (void)close(fd);
    if (control >= 0)
        (void)close(control);
    return loop_fd < 0;
}

static void detach(void)
{
    CU_ASSERT(ioctl(loop_fd, LOOP_CLR_FD) == 0);
    (void)close(loop_fd);
    (void)unlink(IMAGE);
}

static int open_device(struct scsi_rig *rig, bool read_only)
{
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;

    opts.path = device;
    opts.read_only = read_only;
    return scsi_rig_open(rig, opts);
}

static off_t space(void)
{
    struct stat st;

    return stat(IMAGE, &st) ? -1 : st.st_blocks * 512;
}

static void test_block_device(void)
{
    uint8_t *data = aligned_alloc(4096, 8 * MIB), *in = aligned_alloc(4096, 8 * MIB);
    uint8_t capacity[32], zero[512] = {0}, cdb[16];
    struct scsi_rig rig, second;
    bool mapped = false;

    CU_ASSERT_FATAL(attach(512) == 0);
    CU_ASSERT_FATAL(open_device(&rig, false) == 0);
    CU_ASSERT(hv_disk_is_direct(rig.disk) && hv_disk_bytes(rig.disk) == 64 * MIB);
    CU_ASSERT(open_device(&second, false) == -EBUSY && strstr(second.why, "held by another"));
    scsi_fill(data, 8 * MIB, 4);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 5, 16384, 8, data), 8 * MIB));
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 5, 16384, 8, in), 8 * MIB));
    CU_ASSERT(memcmp(in, data, 8 * MIB) == 0);
    /* A loop device can discard and write zeroes, so discarded blocks read as zeroes, and we say so. */
    scsi_cdb16(cdb, HV_SCSI_SERVICE_ACTION_IN_16, HV_SCSI_SAI_READ_CAPACITY_16, 0, 32);
    CU_ASSERT(scsi_is_good(scsi_in(&rig, 1, cdb, 16, capacity, 32), 32) && capacity[14] == 0xc0);
    CU_ASSERT(space() >= (off_t)(8 * MIB));
    CU_ASSERT(scsi_is_good(scsi_unmap(&rig, 0, 131072), 24));
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 5, 16384, 0, in), 8 * MIB));
    CU_ASSERT(in[0] == 0 && memcmp(in, in + 1, 8 * MIB - 1) == 0);
    CU_ASSERT(space() < (off_t)MIB);
    CU_ASSERT(scsi_lba_status(&rig, 0, &mapped) == 131072 && mapped); /* unknown is mapped */
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 0, 64, 0, data), 32768));
    scsi_cdb16(cdb, HV_SCSI_WRITE_SAME_16, 0, 8, 8);
    CU_ASSERT(scsi_is_good(scsi_out(&rig, 1, cdb, 16, zero, 512), 512));
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 0, 64, 0, in), 32768));
    CU_ASSERT(memcmp(in, data, 4096) == 0 && in[4096] == 0 &&
              memcmp(in + 4096, in + 4097, 4095) == 0);
    CU_ASSERT(memcmp(in + 8192, data + 8192, 32768 - 8192) == 0);
    CU_ASSERT(
        scsi_is_good(scsi_none(&rig, 1, (const uint8_t[10]){HV_SCSI_SYNCHRONIZE_CACHE_10}, 10), 0));
    CU_ASSERT(hv_disk_resize(rig.disk, 32 * MIB) == -EOPNOTSUPP);
    CU_ASSERT(hv_disk_bytes(rig.disk) == 64 * MIB);
    CU_ASSERT(truncate(IMAGE, 128 * MIB) == 0 && ioctl(loop_fd, LOOP_SET_CAPACITY) == 0);
    CU_ASSERT(hv_disk_resize(rig.disk, 0) == 0 && hv_disk_bytes(rig.disk) == 128 * MIB);
    scsi_rig_close(&rig);
    detach();
    free(data);
    free(in);
}

/* Sectors larger than the disk's blocks: direct I/O cannot write half of one, so the page cache does. */
static void test_block_large_sectors(void)
{
    uint8_t data[512] __attribute__((aligned(4096))), in[512] __attribute__((aligned(4096)));
    struct scsi_rig rig;

    if (attach(4096)) {
        fprintf(stderr, "(no loop device with large sectors here)\n");
        return;
    }
    CU_ASSERT_FATAL(open_device(&rig, false) == 0);
    CU_ASSERT(!hv_disk_is_direct(rig.disk) && strstr(rig.log, "4096"));
    scsi_fill(data, sizeof(data), 6);
    CU_ASSERT(scsi_is_good(scsi_write(&rig, 9, 1, 8, data), 512));
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 9, 1, 0, in), 512) && memcmp(in, data, 512) == 0);
    scsi_rig_close(&rig);
    CU_ASSERT(open_device(&rig, true) == 0);
    CU_ASSERT(scsi_is_good(scsi_read(&rig, 9, 1, 0, in), 512) && memcmp(in, data, 512) == 0);
    scsi_rig_close(&rig);
    detach();
}

static const struct hv_test_case cases[] = {
    {"a block device", test_block_device},
    {"large sectors", test_block_large_sectors},
};

int main(int argc, char **argv)
{
    if (attach(512)) {
        fprintf(stderr, "no loop device to be had (root, loop driver): %s\n", strerror(errno));
        (void)unlink(IMAGE);
        return 77;
    }
    (void)ioctl(loop_fd, LOOP_CLR_FD);
    (void)close(loop_fd);
    return hv_test_main("store block", cases, HV_TEST_COUNT(cases), argc, argv);
}
