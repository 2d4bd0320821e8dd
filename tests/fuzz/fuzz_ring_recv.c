/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile peer on both ends of a ring of one data page.
 *
 * Input: 68 bytes of control page (write index to feature bits), then actions: one byte that says what, and its
 * operands.  What the peer rewrites in between comes from the input as well.  What is handed out must lie inside the
 * double mapping, add up, and never exceed what was published; after the first violation the end stays dead.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hv/ring.h>

#define DATA_BYTES      HV_PAGE_BYTES
#define CONTROL_BYTES   68u
#define ACTIONS_AT_MOST 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

static struct hv_ring_area area;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static uint32_t take(struct input *in, size_t bytes)
{
    uint32_t v = 0;

    if (bytes > in->left)
        bytes = in->left;
    memcpy(&v, in->at, bytes);
    in->at += bytes;
    in->left -= bytes;
    return v;
}

/** Once: mappings are slow, and a ring is whatever its bytes are. */
static void map_area(void)
{
    struct hv_ring_area other;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    CHECK(fd >= 0 && !ftruncate(fd, 4 * (off_t)HV_PAGE_BYTES));
    CHECK(!hv_ring_map(fd, 0, HV_RING_MIN_BYTES, HV_RING_MIN_BYTES, &area, &other));
    hv_ring_unmap(&other);
    close(fd);
}

static volatile uint64_t sink;

/** Read every byte handed out: the guard pages tell on a wrong one. */
static void check_packet(const struct hv_ring_rx *rx, const struct hv_packet *packet)
{
    const uint8_t *ext = packet->ext, *payload = packet->payload;

    CHECK(ext >= area.data + HV_RING_DESCRIPTOR_BYTES && ext + packet->ext_bytes == payload);
    CHECK(payload + packet->payload_bytes + HV_RING_TRAILER_BYTES <= area.data + 2 * DATA_BYTES);
    CHECK(packet->ext_bytes % 8 == 0 && packet->payload_bytes % 8 == 0);
    CHECK(hv_ring_packet_bytes(packet->ext_bytes, packet->payload_bytes) < DATA_BYTES);
    CHECK(packet->flags <= 1 && packet->type >= HV_PACKET_INBAND &&
          packet->type <= HV_PACKET_COMPLETION);
    CHECK(rx->read < DATA_BYTES && rx->read % 8 == 0);
    for (uint32_t i = 0; i < packet->ext_bytes; i++)
        sink += ext[i];
    for (uint32_t i = 0; i < packet->payload_bytes; i++)
        sink += payload[i];
}

static void consume(struct hv_ring_rx *rx, struct input *in, uint8_t action)
{
    static const uint8_t pattern[sizeof(struct hv_packet)] = {0x5a};
    enum hv_ring_fault fault = rx->fault;
    struct hv_packet packet;
    int err;

    memcpy(&packet, pattern, sizeof(packet));
    switch (action & 3) {
    case 0:
        err = hv_ring_rx_peek(rx, &packet);
        CHECK(err == 0 || err == -EAGAIN || err == -EPROTO);
        CHECK(!fault || err == -EPROTO);
        CHECK((err == -EPROTO) == (rx->fault != HV_RING_FAULT_NONE));
        if (err)
            CHECK(!memcmp(&packet, pattern, sizeof(packet)));
        else
            check_packet(rx, &packet);
        break;
    case 1:
        (void)hv_ring_rx_release(rx);
        break;
    case 2:
        if (hv_ring_rx_unmask(rx))
            hv_ring_rx_mask(rx);
        break;
    default:
        atomic_store(&area.control->write_index, take(in, 4));
    }
    CHECK(!fault || rx->fault == fault);
}

static void produce(struct hv_ring_tx *tx, struct input *in, uint8_t action)
{
    enum hv_ring_fault fault = tx->fault;
    struct hv_packet_desc desc = {.type = HV_PACKET_GPA_DIRECT, .trans_id = 7};
    struct hv_packet_slot slot = {0};
    uint32_t free_bytes;
    int err;

    switch (action & 3) {
    case 0:
        desc.ext_bytes = take(in, 2);
        desc.payload_bytes = take(in, 2);
        err = hv_ring_tx_reserve(tx, &desc, &slot);
        CHECK(!fault || err == -EPROTO);
        CHECK(!err == (slot.ext != NULL));
        if (!err) {
            memset(slot.ext, 1, desc.ext_bytes);
            memset(slot.payload, 2, desc.payload_bytes);
        }
        break;
    case 1:
        (void)hv_ring_tx_publish(tx);
        break;
    case 2:
        free_bytes = hv_ring_tx_free(tx);
        CHECK(free_bytes <= DATA_BYTES && (!fault || !free_bytes));
        if (!hv_ring_tx_want_room(tx, take(in, 4)))
            hv_ring_tx_clear_want(tx);
        break;
    default:
        atomic_store(&area.control->read_index, take(in, 4));
    }
    CHECK(tx->write < DATA_BYTES && tx->published < DATA_BYTES);
    CHECK(!fault || tx->fault == fault);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy =
        malloc(size ? size : 1); /* exactly as long, so that a sanitizer sees one byte too many */
    struct input in = {copy, size};
    struct hv_ring_tx tx = {0};
    struct hv_ring_rx rx = {0};

    if (!area.control)
        map_area();
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    memset(area.control, 0, sizeof(*area.control));
    memset(area.data, 0, DATA_BYTES);
    if (in.left >= CONTROL_BYTES) {
        memcpy(area.control, in.at, CONTROL_BYTES);
        in.at += CONTROL_BYTES;
        in.left -= CONTROL_BYTES;
    }
    if (!hv_ring_rx_init(&rx, &area) && !hv_ring_tx_init(&tx, &area)) {
        for (int i = 0; i < ACTIONS_AT_MOST && in.left; i++) {
            uint8_t action = (uint8_t)take(&in, 1);

            if (action & 0x80) { /* packet bytes anywhere in the ring */
                uint32_t at = take(&in, 2) % DATA_BYTES, bytes = action & 0x7f;

                for (uint32_t k = 0; k < bytes && in.left; k++)
                    area.data[at + k] = (uint8_t)take(&in, 1);
            } else if (action & 0x40) {
                produce(&tx, &in, action);
            } else {
                consume(&rx, &in, action);
            }
        }
    }
    free(copy);
    return 0;
}
