/* SPDX-License-Identifier: BSD-3-Clause */
/* Metadata contexts: we have one, base:allocation. */
#include <endian.h>
#include <string.h>

#include "nbd_handshake.h"
#include "nbd_status.h"

static const char name[] = NBD_STATUS_CONTEXT_NAME;
#define NAME_BYTES      ((uint32_t)sizeof(name) - 1)
#define NAMESPACE_BYTES 5u /* "base:" */

static bool matches(const char *query, uint32_t bytes, bool list)
{
    if (list && bytes == NAMESPACE_BYTES && !memcmp(query, name, NAMESPACE_BYTES))
        return true; /* "base:" asks for all of the namespace */
    return bytes == NAME_BYTES && !memcmp(query, name, NAME_BYTES);
}

/** Check all queries before any answer.  False = malformed. */
static bool look_at_queries(struct option_data data, bool list, bool *ret_match)
{
    uint32_t count;
    bool match;

    if (!option_take_u32(&data, &count))
        return false;
    match = list && !count; /* no query: list everything */
    for (uint32_t i = 0; i < count; i++) {
        const char *query;
        uint32_t bytes;

        if (!option_take_string(&data, &query, &bytes))
            return false;
        match |= matches(query, bytes, list);
    }
    if (data.bytes)
        return false;
    *ret_match = match;
    return true;
}

void nbd_meta_option(struct nbd_conn *conn, uint32_t option, struct option_data data)
{
    struct nbd_handshake *handshake = conn->handshake;
    bool list = option == NBD_OPT_LIST_META_CONTEXT, match;
    uint32_t id = list ? 0 : htobe32(NBD_STATUS_CONTEXT_ID), bytes;
    const char *export;

    if (!list)
        handshake->meta_set = false; /* the last SET counts, also when it fails */
    if (!conn->structured) {
        handshake_answer(conn, option, NBD_REP_ERR_INVALID, "structured replies come first");
        return;
    }
    if (!option_take_string(&data, &export, &bytes) || !look_at_queries(data, list, &match)) {
        handshake_answer(conn, option, NBD_REP_ERR_INVALID, "malformed queries");
        return;
    }
    if (lun_find(conn->engine->luns, export, bytes) == LUN_NONE) {
        handshake_answer(conn, option, NBD_REP_ERR_UNKNOWN, "no such export");
        return;
    }
    if (match) {
        handshake_reply(conn, option, NBD_REP_META_CONTEXT, &id, sizeof(id), name, NAME_BYTES);
        if (!list) {
            handshake->meta_set = true;
            handshake->meta_name_bytes = bytes;
            memcpy(handshake->meta_name, export, bytes);
        }
    }
    handshake_answer(conn, option, NBD_REP_ACK, NULL);
}
