/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory on huge pages: what it is good for, and that taking it away costs the guest its connection only. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hv/host.h>
#include <hv/vmbus.h>
#include <hv/wire/ring.h>

#include "suite.h"
#include "test_bus_guest.h"
#include "test_bus_raw.h"
#include "test_bus_rig.h"

#define HUGE  (2u << 20)
#define POOL  "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
#define PAGES 2 /* huge ones that a case needs */

static volatile sig_atomic_t faults;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (!hv_host_memory_fault(info->si_addr)) {
        (void)signal(number, SIG_DFL); /* comes again on return */
        return;
    }
    faults++;
}

struct huge {
    struct rig rig;
    struct hv_vmbus *bus;
    struct hv_channel *channel;
    struct hv_dma *dma;
    uint8_t *memory;
    int fd;
};

static int huge_file(void)
{
    int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);

    if (fd >= 0 && ftruncate(fd, PAGES * HUGE)) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

static int start(struct huge *h, bool vanishing)
{
    memset(h, 0, sizeof(*h));
    rig_start(&h->rig, &(struct rig_opts){.vanishing = vanishing});
    h->bus = guest_open(&h->rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(h->bus);
    CU_ASSERT_EQUAL_FATAL(hv_channel_open(h->bus, &h->rig.echo.instance, 0, NULL, &h->channel), 0);
    h->fd = huge_file();
    CU_ASSERT_FATAL(h->fd >= 0);
    h->memory = mmap(NULL, PAGES * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, h->fd, 0);
    CU_ASSERT_FATAL(h->memory != MAP_FAILED);
    return hv_dma_register(h->bus, h->memory, PAGES * HUGE, h->fd, 0, &h->dma);
}

static void stop(struct huge *h)
{
    hv_channel_close(h->channel);
    hv_dma_free(h->dma);
    hv_vmbus_close(h->bus);
    (void)munmap(h->memory, PAGES * HUGE);
    (void)close(h->fd);
    rig_stop(&h->rig);
}

/** Have the host add up, and count up, `bytes` from the start of the memory. */
static int ask(struct huge *h, uint32_t bytes, struct echo_gpa_result *ret_result)
{
    struct {
        uint32_t reserved, range_count, byte_count, byte_offset;
        uint64_t pfn[4];
    } ext = {.range_count = 1, .byte_count = bytes};
    struct hv_packet_desc desc = {
        .trans_id = 1, .type = HV_PACKET_GPA_DIRECT, .flags = 1, .ext_bytes = sizeof(ext)};
    struct hv_packet_slot slot;
    struct hv_packet packet;
    int err;

    CU_ASSERT_EQUAL(hv_dma_pfns(h->bus, h->memory, bytes, ext.pfn, 4), (bytes + 4095) / 4096);
    err = hv_channel_reserve(h->channel, &desc, &slot);
    if (!err) {
        memcpy(slot.ext, &ext, sizeof(ext));
        err = hv_channel_flush(h->channel);
    }
    while (!err && (err = hv_channel_peek(h->channel, &packet)) == -EAGAIN) {
        (void)hv_vmbus_poll(h->bus);
        err = guest_sleep(h->channel) ? 0 : -ETIMEDOUT;
    }
    if (!err && packet.payload_bytes == sizeof(*ret_result))
        memcpy(ret_result, packet.payload, sizeof(*ret_result));
    if (!err)
        hv_channel_release(h->channel);
    return err;
}

static void test_refused_without_handler(void)
{
    struct huge h;

    CU_ASSERT_NOT_EQUAL(start(&h, false), 0);
    CU_ASSERT_PTR_NULL(h.dma);
    CU_ASSERT_EQUAL(hv_vmbus_poll(h.bus), 0); /* the connection goes on without it */
    stop(&h);
}

static void test_requests(void)
{
    struct echo_gpa_result result = {0};
    struct huge h;

    CU_ASSERT_EQUAL_FATAL(start(&h, true), 0);
    CU_ASSERT_EQUAL(ask(&h, 4 * 4096, &result), 0);
    CU_ASSERT_EQUAL(result.bytes, 4 * 4096);
    CU_ASSERT_EQUAL(h.memory[0], 1);
    CU_ASSERT_EQUAL(h.memory[4 * 4096 - 1], 1);
    stop(&h);
    CU_ASSERT_EQUAL(faults, 0);
}

static void test_vanishes(void)
{
    struct echo_gpa_result result = {0};
    struct hv_vmbus *other;
    struct huge h;

    CU_ASSERT_EQUAL_FATAL(start(&h, true), 0);
    other = guest_open(&h.rig, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(other);
    CU_ASSERT_EQUAL(ask(&h, 4096, &result), 0);
    CU_ASSERT_EQUAL(ftruncate(h.fd, 0), 0);
    (void)ask(&h, 4096, &result); /* answered out of zeroes, or cut off before */
    CU_ASSERT(rig_wait(&h.rig.guests_removed, 1));
    CU_ASSERT_EQUAL(faults, 1);
    CU_ASSERT(rig_has_warned(&h.rig, "vanished"));
    CU_ASSERT_EQUAL(guest_wait_devices(other, 1), true);
    CU_ASSERT_EQUAL(hv_vmbus_poll(other), 0);
    hv_vmbus_close(other);
    stop(&h);
    faults = 0;
}

/** A ring has to last. */
static void test_no_gpadl(void)
{
    struct raw raw;
    struct rig rig;
    int fd = huge_file();

    rig_start(&rig, &(struct rig_opts){.vanishing = true});
    raw_ready(&raw, &rig, RAW_VERSION);
    CU_ASSERT_EQUAL(raw_memory_frame(&raw, HV_SOCK_MEMORY_ADD, 0x8000, 512, 4096, fd), 0);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), -EINVAL); /* not a whole page of its own */
    CU_ASSERT_EQUAL(raw_memory_frame(&raw, HV_SOCK_MEMORY_ADD, 0x8000, 511, 0, fd), 0);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), -EINVAL);
    CU_ASSERT_EQUAL(raw_memory_frame(&raw, HV_SOCK_MEMORY_ADD, 0x8000, 512, 0, fd), 0);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), 0);
    raw_gpadl_pages(&raw, raw.offers[0].message.relid, RAW_GPADL, 0x8000, 8);
    CU_ASSERT_NOT_EQUAL(raw_gpadl_status(&raw), 0);
    raw_disconnect(&raw);
    (void)close(fd);
    rig_stop(&rig);
}

/* ---- The pool ---- */

static long pool_size(void)
{
    FILE *file = fopen(POOL, "r");
    long size = -1;

    if (file && fscanf(file, "%ld", &size) != 1)
        size = -1;
    if (file)
        (void)fclose(file);
    return size;
}

static bool set_pool(long size)
{
    FILE *file = fopen(POOL, "w");
    bool ok = file && fprintf(file, "%ld", size) > 0;

    if (file && fclose(file))
        ok = false;
    return ok && pool_size() == size;
}

static const struct hv_test_case cases[] = {
    {"refused without handler", test_refused_without_handler},
    {"requests", test_requests},
    {"vanishes", test_vanishes},
    {"no gpadl", test_no_gpadl},
};

int main(int argc, char **argv)
{
    const struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    int pool = open(POOL, O_RDONLY | O_CLOEXEC);
    long before;
    int status;

    if (pool >= 0)
        (void)flock(pool, LOCK_EX); /* whoever else changes it waits until we are done */
    before = pool_size();
    if (before < 0 || !set_pool(before + 2L * PAGES)) {
        if (before >= 0)
            (void)set_pool(before);
        printf("SKIP: no huge pages can be reserved here (%s)\n", POOL);
        return 77;
    }
    if (sigaction(SIGBUS, &action, NULL))
        return 1;
    status = hv_test_main("pair.bus.huge", cases, HV_TEST_COUNT(cases), argc, argv);
    if (!set_pool(before))
        printf("the pool of huge pages could not be put back to %ld\n", before);
    return status;
}
