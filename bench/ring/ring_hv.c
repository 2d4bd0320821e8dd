/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lib/ring as it is used by guest and host: doubly mapped, every check and counter on.  With RING_IN_PLACE the receiver
 * looks at the first and last 8 bytes of each payload where it lies and copies nothing else.
 */
#include <stdlib.h>
#include <string.h>

#include <hv/ring.h>

#include "ring_plugin.h"

struct end {
    struct hv_ring_tx tx;
    struct hv_ring_rx rx;
};

static size_t shm_bytes(size_t ring_bytes)
{
    return HV_PAGE_BYTES + ring_bytes;
}

static void init(const struct ring_memory *memory)
{
    struct hv_ring_control *control = memory->shm;

    memset(control, 0, sizeof(*control));
    atomic_store(&control->feature_bits, HV_RING_FEATURE_PENDING_SEND_SIZE);
    atomic_store(&control->interrupt_mask, 1); /* the receiver starts awake */
}

static int map(const struct ring_memory *memory, struct hv_ring_area *ret_area)
{
    uint32_t pages = (uint32_t)(shm_bytes(memory->ring_bytes) / HV_PAGE_BYTES);
    int *fds = calloc(pages, sizeof(*fds));
    uint64_t *offsets = calloc(pages, sizeof(*offsets));
    int err = -ENOMEM;

    for (uint32_t i = 0; fds && offsets && i < pages; i++) {
        fds[i] = memory->fd;
        offsets[i] = (uint64_t)i * HV_PAGE_BYTES;
    }
    if (fds && offsets)
        err = hv_ring_map_pages(fds, offsets, pages, ret_area);
    free(fds);
    free(offsets);
    return err;
}

static void *attach(const struct ring_memory *memory, enum ring_role role)
{
    struct end *end = aligned_alloc(128, (sizeof(*end) + 127) & ~(size_t)127);
    struct hv_ring_area area = {0};

    if (!end || map(memory, &area)) {
        free(end);
        return NULL;
    }
    memset(end, 0, sizeof(*end));
    if (role == RING_SENDER ? hv_ring_tx_init(&end->tx, &area) : hv_ring_rx_init(&end->rx, &area)) {
        hv_ring_unmap(&area);
        free(end);
        return NULL;
    }
    return end;
}

static unsigned send_burst(void *handle, const uint8_t *src, size_t stride, uint32_t len,
                           unsigned n)
{
    struct hv_ring_tx *tx = &((struct end *)handle)->tx;
    struct hv_packet_desc desc = {.payload_bytes = len, .type = HV_PACKET_INBAND};
    struct hv_packet_slot slot;
    unsigned i;

    for (i = 0; i < n; i++) {
        desc.trans_id = i + 1;
        if (hv_ring_tx_reserve(tx, &desc, &slot))
            break;
        memcpy(slot.payload, src + i * stride, len);
    }
    (void)hv_ring_tx_publish(tx); /* the harness looks at the counter */
    return i;
}

/** What a receiver does with a payload. */
static void use(uint8_t *dst, const struct hv_packet *packet, uint32_t len)
{
#ifdef RING_IN_PLACE
    memcpy(dst, packet->payload, 8);
    memcpy(dst + len - 8, (const uint8_t *)packet->payload + len - 8, 8);
#else
    memcpy(dst, packet->payload, len);
#endif
}

static unsigned recv_burst(void *handle, uint8_t *dst, size_t stride, uint32_t len, unsigned n)
{
    struct hv_ring_rx *rx = &((struct end *)handle)->rx;
    struct hv_packet packet;
    unsigned i;

    for (i = 0; i < n; i++) {
        int err = hv_ring_rx_peek(rx, &packet);

        if (err == -EAGAIN)
            break;
        if (err || packet.payload_bytes < len)
            abort(); /* the harness is its own peer: a bug here or in the ring */
        use(dst + i * stride, &packet, len);
    }
    (void)hv_ring_rx_release(rx);
    return i;
}

static uint64_t signals(const void *handle)
{
    return ((const struct end *)handle)->tx.stats.signals;
}

static bool arm(void *handle)
{
    return hv_ring_rx_unmask(&((struct end *)handle)->rx);
}

static void disarm(void *handle)
{
    hv_ring_rx_mask(&((struct end *)handle)->rx);
}

const struct ring_ops ring_ops = {
#ifdef RING_IN_PLACE
    .name = "hv-inplace",
#else
    .name = "hv",
#endif
    .shm_bytes = shm_bytes,
    .init = init,
    .attach = attach,
    .send = send_burst,
    .recv = recv_burst,
    .signals = signals,
    .arm = arm,
    .disarm = disarm,
};
