/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client in transmission against a device that takes its time.  First byte: export and kind of replies.  Then actions:
 *
 *   0..199  give that many bytes of the input (plus 1) to the connection
 *   200+    n = value - 200: finish a held request (error by n), send a few reply bytes, parse again, stop the server,
 *           lose the device, take the LUN away or bring it back, kill
 *
 * Every request is answered once, replies are well formed in length, memory stays bounded and nothing is lost.
 */
#include <stdlib.h>

#include "nbd_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static struct nbd_rig rig;
static uint8_t out[65536];

static void finish_one(unsigned n)
{
    static const enum nbd_error errors[] = {NBD_OK, NBD_OK, NBD_EIO, NBD_ENOSPC};

    if (rig.held_count)
        nbd_rig_complete(&rig, n % rig.held_count, errors[n % 4]);
}

static void lose_device(void)
{
    for (unsigned i = 0; i < rig.held_count; i++)
        nbd_orphan(&rig.engine, rig.held[i]);
}

static void act(struct nbd_conn *conn, unsigned n)
{
    switch (n % 8) {
    case 0:
    case 1:
    case 2:
        finish_one(n / 8 + n % 8);
        break;
    case 3:
        (void)nbd_rig_get(conn, out, sizeof(out), 1 + n);
        break;
    case 4:
        rig.engine.turn_bytes = 0;
        nbd_conn_parse(conn);
        break;
    case 5:
        lose_device();
        break;
    case 6:
        rig.luns.lun[0].present = !rig.luns.lun[0].present;
        break;
    default:
        if (n > 50)
            nbd_conn_kill(conn, "fuzz");
        else if (n > 40) {
            rig.engine.shutting_down = true;
            nbd_conn_shutdown(conn);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const exports[] = {"", "lun1", "lun3", "lun0"};
    struct nbd_conn *conn;
    size_t at = 1;

    if (!size)
        return 0;
    nbd_rig_init(&rig, 3);
    conn = nbd_rig_ready(&rig, 0, exports[data[0] & 3], (enum rig_mode)((data[0] >> 2) % 3));
    rig.hold = true;
    rig.engine.turn_limit = data[0] & 0x80 ? 65536 : UINT64_MAX;
    while (at < size && conn->phase != NBD_DEAD) {
        uint8_t action = data[at++];

        if (action < 200) {
            size_t left = size - at, some = left < action + 1u ? left : action + 1u;

            (void)nbd_rig_put(conn, data + at, some, some);
            at += some;
        } else {
            act(conn, action - 200u);
        }
        CHECK(conn->io_count <= NBD_CONN_IO_MAX);
        CHECK(conn->phase == NBD_DEAD || rig.engine.buffers.used_bytes <= 3u << 20);
    }
    while (rig.held_count && conn->phase != NBD_DEAD) {
        finish_one(0);
        (void)nbd_rig_get(conn, out, sizeof(out), SIZE_MAX);
    }
    while (conn->phase != NBD_DEAD && nbd_rig_get(conn, out, sizeof(out), SIZE_MAX))
        ;
    CHECK(conn->phase == NBD_DEAD || conn->io_count == (conn->payload_io ? 1u : 0u));
    CHECK(nbd_rig_fini(&rig));
    return 0;
}
