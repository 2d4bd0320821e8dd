/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DPDK's memory becomes DMA memory: large frames are then named by page and read by the host where they lie.
 *
 * Pieces of one file that lie one behind the other in memory and file become one registration.  What cannot be registered
 * (no descriptor, a host that refuses, memory of the application's own) is copied from: slower, never wrong.
 */
#include "port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <rte_memory.h>

/** Pieces found so far that continue each other. */
struct run {
    struct hvnet_device *device;
    uint8_t *va;
    size_t bytes;
    int fd;
    uint64_t offset;
    const void *from, *to; /* only what lies in here */
};

static int remember(struct hvnet_device *device, void *va, size_t bytes, struct hv_dma *dma)
{
    if (device->dma_count == device->dma_room) {
        size_t room = device->dma_room ? 2 * device->dma_room : 64;
        struct hvnet_dma *more = realloc(device->dma, room * sizeof(*more));

        if (!more)
            return -ENOMEM;
        device->dma = more;
        device->dma_room = room;
    }
    device->dma[device->dma_count++] = (struct hvnet_dma){.va = va, .bytes = bytes, .dma = dma};
    return 0;
}

static void end_run(struct run *run)
{
    struct hvnet_device *device = run->device;
    struct hv_dma *dma;
    int err;

    if (!run->bytes)
        return;
    (void)pthread_mutex_lock(&device->lock);
    err = hv_dma_register(device->bus, run->va, run->bytes, run->fd, run->offset, &dma);
    if (!err) {
        err = remember(device, run->va, run->bytes, dma);
        if (err)
            hv_dma_free(dma);
    }
    if (err && !device->dma_refused) {
        device->dma_refused = true;
        HVNET_LOG(NOTICE, "%s: memory stays unknown to the host (%s): frames are copied from it\n",
                  device->name, strerror(-err));
    }
    (void)pthread_mutex_unlock(&device->lock);
    run->bytes = 0;
}

static bool same_file(int a, int b)
{
    struct stat one, other;

    return a == b || (!fstat(a, &one) && !fstat(b, &other) && one.st_dev == other.st_dev &&
                      one.st_ino == other.st_ino);
}

/** With DPDK's memory lock held. */
static int add_piece(const struct rte_memseg_list *list, const struct rte_memseg *seg, void *arg)
{
    struct run *run = arg;
    size_t offset = 0;
    int fd;

    if (list->external ||
        (run->to && ((const void *)seg->addr < run->from || (const void *)seg->addr >= run->to)))
        return 0;
    fd = rte_memseg_get_fd_thread_unsafe(seg);
    if (fd < 0 || rte_memseg_get_fd_offset_thread_unsafe(seg, &offset) < 0)
        return 0;
    if (run->bytes && run->va + run->bytes == seg->addr && run->offset + run->bytes == offset &&
        same_file(fd, run->fd)) {
        run->bytes += seg->len;
        return 0;
    }
    end_run(run);
    run->va = seg->addr;
    run->bytes = seg->len;
    run->fd = fd;
    run->offset = offset;
    return 0;
}

static void forget(struct hvnet_device *device, const void *va, size_t bytes)
{
    const uint8_t *from = va, *to = from + bytes;

    (void)pthread_mutex_lock(&device->lock);
    for (size_t i = 0; i < device->dma_count;) {
        const uint8_t *at = device->dma[i].va;

        if (at < to && at + device->dma[i].bytes > from) {
            /* What else the registration held is copied from now on; it came and goes in the same pieces as a rule. */
            hv_dma_free(device->dma[i].dma);
            device->dma[i] = device->dma[--device->dma_count];
        } else {
            i++;
        }
    }
    (void)pthread_mutex_unlock(&device->lock);
}

/** With DPDK's memory lock held; freed memory is still there. */
static void on_memory(enum rte_mem_event event, const void *va, size_t bytes, void *arg)
{
    struct run run = {.device = arg, .from = va, .to = (const uint8_t *)va + bytes};

    if (event == RTE_MEM_EVENT_FREE) {
        forget(arg, va, bytes);
        return;
    }
    (void)rte_memseg_walk_thread_unsafe(add_piece, &run);
    end_run(&run);
}

int hvnet_dma_start(struct hvnet_device *device)
{
    struct run run = {.device = device};

    (void)snprintf(device->dma_name, sizeof(device->dma_name), "hvnet-%p", (void *)device);
    if (rte_mem_event_callback_register(device->dma_name, on_memory, device)) {
        device->dma_name[0] =
            '\0'; /* memory is not dynamic here: what there is now is all there will be */
        if (rte_errno != ENOTSUP)
            return rte_errno ? -rte_errno : -ENOMEM;
    }
    if (rte_memseg_walk(add_piece, &run) < 0)
        return -EIO;
    end_run(&run);
    return 0;
}

void hvnet_dma_stop(struct hvnet_device *device)
{
    if (device->dma_name[0])
        (void)rte_mem_event_callback_unregister(device->dma_name, device);
    device->dma_name[0] = '\0';
}
