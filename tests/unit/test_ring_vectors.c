/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/ring against the ring packets of tests/vectors: it reads them, and writes the same bytes. */
#include <stdlib.h>
#include <string.h>

#include <hv/ring.h>

#include "ring_pair.h"
#include "suite.h"
#include "vector.h"

static const char *const vectors[] = {
    "ring-inband",           "ring-completion",        "ring-gpa-direct-one-page",
    "ring-gpa-direct-pages", "ring-gpa-direct-ranges", "ring-transfer-pages",
};

struct vector {
    const char *name;
    _Alignas(8) uint8_t bytes[256];
    uint32_t packet_bytes; /* trailer included */
    uint32_t start;        /* as its trailer says */
};

static bool load(const char *name, struct vector *v)
{
    ssize_t bytes = hv_test_vector_load(name, v->bytes, sizeof(v->bytes));

    HV_CHECK_ROW(name, bytes >= 24);
    if (bytes < 24)
        return false;
    v->name = name;
    v->packet_bytes = (uint32_t)bytes;
    memcpy(&v->start, v->bytes + bytes - 4, sizeof(v->start));
    return true;
}

/** A ring whose both ends stand where the packet starts. */
static bool stand_at(struct ring_pair *p, uint32_t start)
{
    if (!ring_pair_create(p, 4096))
        return false;
    atomic_store(&p->area.control->write_index, start);
    atomic_store(&p->area.control->read_index, start);
    CU_ASSERT(!hv_ring_tx_init(&p->tx, &p->area) && !hv_ring_rx_init(&p->rx, &p->area));
    return true;
}

static void check_read(const struct vector *v, struct ring_pair *p, struct hv_packet *ret_packet)
{
    const uint8_t *d = v->bytes;
    uint32_t ext_bytes = d[2] * 8u - 16, payload_bytes = (d[4] - d[2]) * 8u;
    int err;

    memcpy(p->area.data + v->start, v->bytes, v->packet_bytes);
    atomic_store(&p->area.control->write_index, (v->start + v->packet_bytes) % 4096);
    err = hv_ring_rx_peek(&p->rx, ret_packet);
    HV_CHECK_ROW(v->name, !err);
    if (err)
        return;
    HV_CHECK_ROW(v->name, ret_packet->type == d[0] && ret_packet->flags == d[6]);
    HV_CHECK_ROW(v->name, !memcmp(&ret_packet->trans_id, d + 8, 8));
    HV_CHECK_ROW(v->name, ret_packet->ext_bytes == ext_bytes);
    HV_CHECK_ROW(v->name, ret_packet->payload_bytes == payload_bytes);
    HV_CHECK_ROW(v->name,
                 ret_packet->ext_bytes == ext_bytes && !memcmp(ret_packet->ext, d + 16, ext_bytes));
    HV_CHECK_ROW(v->name, ret_packet->payload_bytes == payload_bytes &&
                              !memcmp(ret_packet->payload, d + 16 + ext_bytes, payload_bytes));
    HV_CHECK_ROW(v->name, hv_ring_rx_peek(&p->rx, ret_packet) == -EAGAIN);
}

static void check_write(const struct vector *v, const struct hv_packet *packet, struct ring_pair *p)
{
    const struct hv_packet_desc desc = {.trans_id = packet->trans_id,
                                        .ext_bytes = packet->ext_bytes,
                                        .payload_bytes = packet->payload_bytes,
                                        .type = packet->type,
                                        .flags = packet->flags};
    struct hv_packet_slot slot = {0};
    int err;

    memset(p->area.data, 0xee, 4096);
    err = hv_ring_tx_reserve(&p->tx, &desc, &slot);
    HV_CHECK_ROW(v->name, !err);
    if (err)
        return;
    memcpy(slot.ext, v->bytes + 16, packet->ext_bytes);
    memcpy(slot.payload, v->bytes + 16 + packet->ext_bytes, packet->payload_bytes);
    (void)hv_ring_tx_publish(&p->tx);
    HV_CHECK_ROW(v->name, !memcmp(p->area.data + v->start, v->bytes, v->packet_bytes));
    HV_CHECK_ROW(v->name,
                 atomic_load(&p->area.control->write_index) == (v->start + v->packet_bytes) % 4096);
}

static void test_ring_vectors(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(vectors); i++) {
        struct hv_packet packet = {0};
        struct vector v;
        struct ring_pair p;

        if (!load(vectors[i], &v) || !stand_at(&p, v.start))
            continue;
        check_read(&v, &p, &packet);
        ring_pair_destroy(&p);
        if (!packet.type || !stand_at(&p, v.start))
            continue;
        check_write(&v, &packet, &p);
        ring_pair_destroy(&p);
    }
}

static const struct hv_test_case cases[] = {{"vectors", test_ring_vectors}};

int main(int argc, char **argv)
{
    return hv_test_main("ring.vectors", cases, HV_TEST_COUNT(cases), argc, argv);
}
