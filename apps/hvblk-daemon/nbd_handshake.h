/* SPDX-License-Identifier: BSD-3-Clause */
/* What a connection keeps while it haggles; private to nbd_handshake.c and nbd_meta.c. */
#ifndef HVBLK_NBD_HANDSHAKE_H
#define HVBLK_NBD_HANDSHAKE_H

#include "nbd_connection.h"

#define HANDSHAKE_OUT_BYTES 32768u
/* The longest answer to one option (LIST of all slots) fits into what is always left free. */
#define HANDSHAKE_OUT_FREE 24576u
_Static_assert(LUN_MAX *(sizeof(struct nbd_wire_option_reply) + 4 + 40) +
                       sizeof(struct nbd_wire_option_reply) <
                   HANDSHAKE_OUT_FREE,
               "LIST fits");

struct nbd_handshake {
    uint32_t out_at, out_end;
    uint32_t skip_bytes; /* of option data too long to look at */
    uint32_t skip_option;
    bool meta_set; /* base:allocation was agreed upon ... */
    uint32_t meta_name_bytes;
    char meta_name[NBD_STRING_MAX]; /* ... for this export */
    uint8_t out[HANDSHAKE_OUT_BYTES];
};

/** Option data, taken from the front. */
struct option_data {
    const uint8_t *at;
    uint32_t bytes;
};

bool option_take_u32(struct option_data *data, uint32_t *ret_value);
bool option_take_u16(struct option_data *data, uint16_t *ret_value);
/** u32 length and that many bytes, at most NBD_STRING_MAX. */
bool option_take_string(struct option_data *data, const char **ret_text, uint32_t *ret_bytes);

/** One reply with data in up to two pieces. */
void handshake_reply(struct nbd_conn *conn, uint32_t option, uint32_t type, const void *data,
                     uint32_t bytes, const void *more, uint32_t more_bytes);
/** A reply without data, or an error with a sentence for people. */
void handshake_answer(struct nbd_conn *conn, uint32_t option, uint32_t type, const char *message);

/** LIST_META_CONTEXT and SET_META_CONTEXT (nbd_meta.c). */
void nbd_meta_option(struct nbd_conn *conn, uint32_t option, struct option_data data);

#endif
