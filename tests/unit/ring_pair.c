/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_pair.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "suite.h"

static int map_new(uint32_t data_bytes, struct hv_ring_area *ret_area)
{
    int fd = memfd_create("ring", MFD_CLOEXEC), err = -EINVAL;
    struct hv_ring_area other;

    if (fd < 0)
        return -errno;
    if (!ftruncate(fd, (off_t)data_bytes + (off_t)HV_PAGE_BYTES + (off_t)HV_RING_MIN_BYTES))
        err = hv_ring_map(fd, 0, data_bytes + HV_PAGE_BYTES, HV_RING_MIN_BYTES, ret_area, &other);
    close(fd);
    if (!err)
        hv_ring_unmap(&other);
    return err;
}

bool ring_pair_create(struct ring_pair *p, uint32_t data_bytes)
{
    memset(p, 0, sizeof(*p));
    if (map_new(data_bytes, &p->area)) {
        CU_FAIL("no memory for a ring");
        return false;
    }
    hv_ring_reset(&p->area);
    if (hv_ring_tx_init(&p->tx, &p->area) || hv_ring_rx_init(&p->rx, &p->area)) {
        CU_FAIL("a fresh ring is refused");
        ring_pair_destroy(p);
        return false;
    }
    return true;
}

void ring_pair_destroy(struct ring_pair *p)
{
    hv_ring_unmap(&p->area);
}

static uint8_t pattern(uint32_t seed, uint32_t i)
{
    return (uint8_t)(seed * 31 + i * 7 + i / 256 + 1);
}

int ring_pair_send(struct ring_pair *p, uint32_t payload_bytes)
{
    struct hv_packet_desc desc = {
        .trans_id = p->sent + 1, .payload_bytes = payload_bytes, .type = HV_PACKET_INBAND};
    struct hv_packet_slot slot;
    int err = hv_ring_tx_reserve(&p->tx, &desc, &slot);

    if (err)
        return err;
    for (uint32_t i = 0; i < payload_bytes; i++)
        ((uint8_t *)slot.payload)[i] = pattern(p->sent, i);
    (void)hv_ring_tx_publish(&p->tx);
    p->sent++;
    return 0;
}

bool ring_pair_payload_ok(const struct hv_packet *packet, uint32_t payload_bytes, uint32_t seed)
{
    const uint8_t *bytes = packet->payload;

    if (packet->payload_bytes != ((payload_bytes + 7) & ~7u) || packet->trans_id != seed + 1)
        return false;
    for (uint32_t i = 0; i < packet->payload_bytes; i++)
        if (bytes[i] != (i < payload_bytes ? pattern(seed, i) : 0))
            return false;
    return true;
}

int ring_pair_drain(struct ring_pair *p)
{
    struct hv_packet packet;
    int count = 0;

    while (!hv_ring_rx_peek(&p->rx, &packet))
        count++;
    (void)hv_ring_rx_release(&p->rx);
    return count;
}

void ring_pair_raw(struct ring_pair *p, uint32_t at, uint16_t type, uint16_t offset8,
                   uint16_t length8, uint16_t flags)
{
    uint16_t words[4] = {type, offset8, length8, flags};
    uint64_t id = 0x1122334455;

    memcpy(p->area.data + at, words, sizeof(words));
    memcpy(p->area.data + at + sizeof(words), &id, sizeof(id));
}

void ring_pair_check_rx_dead(struct ring_pair *p, const char *row)
{
    uint32_t read = atomic_load(&p->area.control->read_index);
    struct hv_packet got;

    ring_pair_raw(p, p->rx.read, HV_PACKET_INBAND, 2, 2, 0);
    atomic_store(&p->area.control->write_index, p->rx.read + 24);
    HV_CHECK_ROW(row, hv_ring_rx_peek(&p->rx, &got) == -EPROTO);
    HV_CHECK_ROW(row, !hv_ring_rx_release(&p->rx));
    HV_CHECK_ROW(row, atomic_load(&p->area.control->read_index) == read);
    atomic_store(&p->area.control->write_index, p->rx.released);
    HV_CHECK_ROW(
        row, hv_ring_rx_unmask(&p->rx)); /* never sleep on a dead ring, even if it looks empty */
    HV_CHECK_ROW(row, hv_ring_rx_ready(&p->rx));
}
