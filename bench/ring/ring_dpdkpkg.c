/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VMBus ring of the installed DPDK package, through the functions its library exports (rte_vmbus_chan_send,
 * rte_vmbus_chan_recv).  They take an opaque channel object; here one is made whose receive and transmit ring
 * descriptions (pointer, data size, write index) lie at the offsets of ABI 23 (22.11): 32 and 48.  There is no device,
 * so signals are left to the caller.
 */
#include <stdlib.h>
#include <string.h>

#include <rte_bus_vmbus.h>
#include <rte_vmbus_reg.h>

#include "ring_plugin.h"

#define CONTROL_BYTES 4096u
#define MASK_OFFSET   8u

struct ring_view {
    void *ring;
    uint32_t data_bytes, write;
};

static size_t shm_bytes(size_t ring_bytes)
{
    return CONTROL_BYTES + ring_bytes;
}

static void init(const struct ring_memory *memory)
{
    uint32_t one = 1; /* the receiver polls */

    memset(memory->shm, 0, CONTROL_BYTES);
    memcpy((uint8_t *)memory->shm + MASK_OFFSET, &one, sizeof(one));
}

static void *attach(const struct ring_memory *memory, enum ring_role role)
{
    const struct ring_view view = {memory->shm, (uint32_t)memory->ring_bytes, 0};
    uint8_t *channel = aligned_alloc(128, 256);

    (void)role;
    if (!channel)
        return NULL;
    memset(channel, 0, 256);
    memcpy(channel + 32, &view, sizeof(view));
    memcpy(channel + 48, &view, sizeof(view));
    return channel;
}

static unsigned send_burst(void *handle, const uint8_t *src, size_t stride, uint32_t len,
                           unsigned n)
{
    bool signal = false;
    unsigned i;

    for (i = 0; i < n; i++)
        if (rte_vmbus_chan_send(handle, VMBUS_CHANPKT_TYPE_INBAND,
                                (void *)(uintptr_t)(src + i * stride), len, i, 0, &signal))
            break;
    return i;
}

static unsigned recv_burst(void *handle, uint8_t *dst, size_t stride, uint32_t len, unsigned n)
{
    unsigned i;

    (void)len;
    for (i = 0; i < n; i++) {
        uint32_t bytes = (uint32_t)stride;
        uint64_t id;

        if (rte_vmbus_chan_recv(handle, dst + i * stride, &bytes, &id))
            break;
    }
    return i;
}

const struct ring_ops ring_ops = {
    .name = "dpdkpkg",
    .shm_bytes = shm_bytes,
    .init = init,
    .attach = attach,
    .send = send_burst,
    .recv = recv_burst,
};
