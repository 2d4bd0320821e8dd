/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client that says anything while it haggles, and goes on to requests if it gets so far.  The first byte says in what
 * pieces the bytes come.  Whatever it says, nothing is lost, and a connection that lives has a consistent state.
 */
#include <stdlib.h>

#include "nbd_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct nbd_rig rig;
    static uint8_t out[65536];
    struct nbd_conn *conn;
    size_t step = size ? data[0] + 1u : 1, at = size ? 1 : 0;

    nbd_rig_init(&rig, 2);
    conn = nbd_rig_open(&rig, 0);
    while (at < size) {
        size_t left = size - at, some = left < step ? left : step;
        size_t took = nbd_rig_put(conn, data + at, some, some);

        at += took;
        (void)nbd_rig_get(conn, out, sizeof(out), 777);
        if (conn->phase < NBD_CLOSING)
            nbd_conn_parse(conn);
        if (!took)
            break;
    }
    CHECK(conn->phase != NBD_TRANSMISSION || conn->slot < rig.luns.count);
    CHECK(!conn->extended || conn->structured);
    CHECK(!conn->allocation || conn->structured);
    CHECK(conn->chunk_at <= conn->chunk_end && conn->chunk_end <= NBD_CHUNK_BYTES);
    CHECK(nbd_rig_fini(&rig));
    return 0;
}
