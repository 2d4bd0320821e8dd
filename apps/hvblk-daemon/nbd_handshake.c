/* SPDX-License-Identifier: BSD-3-Clause */
/* Fixed newstyle haggling.  Answers are gathered in a buffer; an option is looked at only while its answer fits. */
#include "nbd_handshake.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Reading option data ---- */

bool option_take_u32(struct option_data *data, uint32_t *ret_value)
{
    uint32_t value;

    if (data->bytes < sizeof(value))
        return false;
    memcpy(&value, data->at, sizeof(value));
    data->at += sizeof(value);
    data->bytes -= (uint32_t)sizeof(value);
    *ret_value = be32toh(value);
    return true;
}

bool option_take_u16(struct option_data *data, uint16_t *ret_value)
{
    uint16_t value;

    if (data->bytes < sizeof(value))
        return false;
    memcpy(&value, data->at, sizeof(value));
    data->at += sizeof(value);
    data->bytes -= (uint32_t)sizeof(value);
    *ret_value = be16toh(value);
    return true;
}

bool option_take_string(struct option_data *data, const char **ret_text, uint32_t *ret_bytes)
{
    uint32_t bytes;

    if (!option_take_u32(data, &bytes) || bytes > NBD_STRING_MAX || bytes > data->bytes)
        return false;
    *ret_text = (const char *)data->at;
    *ret_bytes = bytes;
    data->at += bytes;
    data->bytes -= bytes;
    return true;
}

/* ---- Writing ---- */

static void say(struct nbd_conn *conn, const void *data, uint32_t bytes)
{
    struct nbd_handshake *handshake = conn->handshake;

    if (bytes > HANDSHAKE_OUT_BYTES - handshake->out_end) {
        nbd_conn_kill(conn, "handshake answers do not fit"); /* the asserts say: never */
        return;
    }
    memcpy(handshake->out + handshake->out_end, data, bytes);
    handshake->out_end += bytes;
}

void handshake_reply(struct nbd_conn *conn, uint32_t option, uint32_t type, const void *data,
                     uint32_t bytes, const void *more, uint32_t more_bytes)
{
    struct nbd_wire_option_reply wire = {htobe64(NBD_OPTION_REPLY_MAGIC), htobe32(option),
                                         htobe32(type), htobe32(bytes + more_bytes)};

    say(conn, &wire, sizeof(wire));
    if (bytes)
        say(conn, data, bytes);
    if (more_bytes)
        say(conn, more, more_bytes);
}

void handshake_answer(struct nbd_conn *conn, uint32_t option, uint32_t type, const char *message)
{
    handshake_reply(conn, option, type, message, message ? (uint32_t)strlen(message) : 0, NULL, 0);
}

/* ---- Options ---- */

static void begin_transmission(struct nbd_conn *conn, uint16_t slot, bool allocation)
{
    if (conn->phase != NBD_HAGGLING)
        return; /* its answer found no room */
    conn->slot = slot;
    conn->allocation = allocation;
    conn->phase = NBD_TRANSMISSION;
}

/** No error can be told here: the connection ends. */
static void export_name(struct nbd_conn *conn, struct option_data data)
{
    static const uint8_t zeroes[NBD_EXPORT_NAME_ZEROES];
    uint16_t slot = data.bytes <= NBD_STRING_MAX
                        ? lun_find(conn->engine->luns, (const char *)data.at, data.bytes)
                        : LUN_NONE;
    const struct lun *lun;
    struct nbd_wire_export_name wire;

    if (conn->extended || conn->engine->shutting_down || slot == LUN_NONE) {
        nbd_conn_kill(conn, conn->extended     ? "EXPORT_NAME after extended headers"
                            : slot == LUN_NONE ? "unknown export by EXPORT_NAME"
                                               : "server stops");
        return;
    }
    lun = &conn->engine->luns->lun[slot];
    wire.size = htobe64(lun->bytes);
    wire.flags = htobe16(lun_export_flags(lun, conn->structured));
    say(conn, &wire, sizeof(wire));
    if (!conn->no_zeroes)
        say(conn, zeroes, sizeof(zeroes));
    begin_transmission(conn, slot, false);
}

static void info_reply(struct nbd_conn *conn, uint32_t option, uint16_t type, const char *text)
{
    uint16_t wire = htobe16(type);

    handshake_reply(conn, option, NBD_REP_INFO, &wire, sizeof(wire), text, (uint32_t)strlen(text));
}

/** What INFO and GO tell: size and block sizes always, name and description when asked for. */
static void send_infos(struct nbd_conn *conn, uint32_t option, const struct lun *lun,
                       struct option_data asked)
{
    struct nbd_wire_info_export export = {htobe16(NBD_INFO_EXPORT), htobe64(lun->bytes),
                                          htobe16(lun_export_flags(lun, conn->structured))};
    struct nbd_wire_info_block_size sizes = {
        htobe16(NBD_INFO_BLOCK_SIZE), htobe32(lun->block_bytes), htobe32(lun->preferred_bytes),
        htobe32(NBD_CLIENT_MAXIMUM)};
    bool name = false, description = false;
    uint16_t type;

    while (option_take_u16(&asked, &type)) {
        name |= type == NBD_INFO_NAME;
        description |= type == NBD_INFO_DESCRIPTION;
    }
    handshake_reply(conn, option, NBD_REP_INFO, &export, sizeof(export), NULL, 0);
    handshake_reply(conn, option, NBD_REP_INFO, &sizes, sizeof(sizes), NULL, 0);
    if (name)
        info_reply(conn, option, NBD_INFO_NAME, lun->name);
    if (description)
        info_reply(conn, option, NBD_INFO_DESCRIPTION, lun->description);
}

static void info_or_go(struct nbd_conn *conn, uint32_t option, struct option_data data)
{
    const struct nbd_handshake *handshake = conn->handshake;
    const char *name;
    uint32_t name_bytes;
    uint16_t count, slot;

    if (!option_take_string(&data, &name, &name_bytes) || !option_take_u16(&data, &count) ||
        data.bytes != (uint32_t)count * sizeof(uint16_t)) {
        handshake_answer(conn, option, NBD_REP_ERR_INVALID, "malformed export name or list");
        return;
    }
    if (conn->engine->shutting_down) {
        handshake_answer(conn, option, NBD_REP_ERR_SHUTDOWN, "server stops");
        return;
    }
    slot = lun_find(conn->engine->luns, name, name_bytes);
    if (slot == LUN_NONE) {
        handshake_answer(conn, option, NBD_REP_ERR_UNKNOWN, "no such export");
        return;
    }
    send_infos(conn, option, &conn->engine->luns->lun[slot], data);
    handshake_answer(conn, option, NBD_REP_ACK, NULL);
    if (option == NBD_OPT_GO)
        begin_transmission(conn, slot,
                           handshake->meta_set && handshake->meta_name_bytes == name_bytes &&
                               !memcmp(handshake->meta_name, name, name_bytes));
}

static void list(struct nbd_conn *conn)
{
    const struct lun_table *luns = conn->engine->luns;

    for (uint16_t i = 0; i < luns->count; i++) {
        const char *name = luns->lun[i].name;
        uint32_t bytes = (uint32_t)strlen(name), wire = htobe32(bytes);

        if (luns->lun[i].present)
            handshake_reply(conn, NBD_OPT_LIST, NBD_REP_SERVER, &wire, sizeof(wire), name, bytes);
    }
    handshake_answer(conn, NBD_OPT_LIST, NBD_REP_ACK, NULL);
}

/** Options that carry no data. */
static void plain_option(struct nbd_conn *conn, uint32_t option, uint32_t bytes)
{
    if (bytes) {
        handshake_answer(conn, option, NBD_REP_ERR_INVALID, "this option carries no data");
        return;
    }
    switch (option) {
    case NBD_OPT_LIST:
        list(conn);
        return;
    case NBD_OPT_STARTTLS:
        handshake_answer(conn, option, NBD_REP_ERR_UNSUP, "no TLS here");
        return;
    case NBD_OPT_STRUCTURED_REPLY:
        if (conn->extended) {
            handshake_answer(conn, option, NBD_REP_ERR_EXT_HEADER_REQD,
                             "extended headers are on already");
            return;
        }
        conn->structured = true;
        break;
    default: /* NBD_OPT_EXTENDED_HEADERS */
        conn->structured = conn->extended = true;
        break;
    }
    handshake_answer(conn, option, NBD_REP_ACK, NULL);
}

static void do_option(struct nbd_conn *conn, uint32_t option, struct option_data data)
{
    switch (option) {
    case NBD_OPT_EXPORT_NAME:
        export_name(conn, data);
        break;
    case NBD_OPT_ABORT:
        handshake_answer(conn, option, NBD_REP_ACK, NULL);
        if (conn->phase == NBD_HAGGLING)
            conn->phase = NBD_CLOSING;
        break;
    case NBD_OPT_LIST:
    case NBD_OPT_STARTTLS:
    case NBD_OPT_STRUCTURED_REPLY:
    case NBD_OPT_EXTENDED_HEADERS:
        plain_option(conn, option, data.bytes);
        break;
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        info_or_go(conn, option, data);
        break;
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        nbd_meta_option(conn, option, data);
        break;
    default:
        handshake_answer(conn, option, NBD_REP_ERR_UNSUP, "unknown option");
        break;
    }
}

/* ---- Steps ---- */

static uint32_t chunk_bytes(const struct nbd_conn *conn)
{
    return conn->chunk_end - conn->chunk_at;
}

static bool hello_step(struct nbd_conn *conn)
{
    uint32_t flags;

    if (chunk_bytes(conn) < sizeof(flags))
        return false;
    memcpy(&flags, conn->chunk + conn->chunk_at, sizeof(flags));
    flags = be32toh(flags);
    conn->chunk_at += (uint32_t)sizeof(flags);
    if (flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) {
        nbd_conn_kill(conn, "unknown client flags");
        return false;
    }
    conn->fixed = flags & NBD_FLAG_FIXED_NEWSTYLE;
    conn->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
    conn->phase = NBD_HAGGLING;
    return true;
}

static bool skip_step(struct nbd_conn *conn)
{
    struct nbd_handshake *handshake = conn->handshake;
    uint32_t take = chunk_bytes(conn);

    if (take > handshake->skip_bytes)
        take = handshake->skip_bytes;
    conn->chunk_at += take;
    handshake->skip_bytes -= take;
    if (handshake->skip_bytes)
        return false;
    handshake_answer(conn, handshake->skip_option, NBD_REP_ERR_TOO_BIG, "option data too long");
    return true;
}

/** False: nothing more of this connection will be understood. */
static bool acceptable(struct nbd_conn *conn, uint64_t magic, uint32_t option, uint32_t bytes)
{
    if (magic != NBD_IHAVEOPT)
        nbd_conn_kill(conn, "option with a wrong magic number");
    else if (bytes > NBD_OPTION_SKIP_MAX)
        nbd_conn_kill(conn, "option with absurdly long data");
    else if (bytes > NBD_OPTION_KEEP_MAX && option == NBD_OPT_EXPORT_NAME)
        nbd_conn_kill(conn, "export name too long");
    else if (!conn->fixed && option != NBD_OPT_EXPORT_NAME)
        nbd_conn_kill(conn, "option other than EXPORT_NAME without fixed newstyle");
    else
        return true;
    return false;
}

bool nbd_handshake_step(struct nbd_conn *conn)
{
    struct nbd_handshake *handshake = conn->handshake;
    struct nbd_wire_option wire;
    uint32_t option, bytes;

    if (conn->phase == NBD_HELLO)
        return hello_step(conn);
    if (HANDSHAKE_OUT_BYTES - handshake->out_end < HANDSHAKE_OUT_FREE)
        return false; /* the client does not read its answers */
    if (handshake->skip_bytes)
        return skip_step(conn);
    if (chunk_bytes(conn) < sizeof(wire))
        return false;
    memcpy(&wire, conn->chunk + conn->chunk_at, sizeof(wire));
    option = be32toh(wire.option);
    bytes = be32toh(wire.bytes);
    if (!acceptable(conn, be64toh(wire.magic), option, bytes))
        return false;
    if (bytes > NBD_OPTION_KEEP_MAX) {
        conn->chunk_at += (uint32_t)sizeof(wire);
        handshake->skip_bytes = bytes;
        handshake->skip_option = option;
        return true;
    }
    if (chunk_bytes(conn) < sizeof(wire) + bytes)
        return false;
    do_option(conn, option,
              (struct option_data){conn->chunk + conn->chunk_at + sizeof(wire), bytes});
    conn->chunk_at += (uint32_t)sizeof(wire) + bytes;
    return true;
}

/* ---- Life and output ---- */

int nbd_handshake_init(struct nbd_conn *conn)
{
    struct nbd_wire_hello hello = {htobe64(NBD_MAGIC), htobe64(NBD_IHAVEOPT),
                                   htobe16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)};

    conn->handshake = calloc(1, sizeof(*conn->handshake));
    if (!conn->handshake)
        return -ENOMEM;
    say(conn, &hello, sizeof(hello));
    return 0;
}

void nbd_handshake_fini(struct nbd_conn *conn)
{
    free(conn->handshake);
    conn->handshake = NULL;
}

unsigned nbd_handshake_tx_iov(const struct nbd_conn *conn, struct iovec *iov)
{
    struct nbd_handshake *handshake = conn->handshake;

    if (!handshake || handshake->out_at == handshake->out_end || conn->phase == NBD_DEAD)
        return 0;
    iov->iov_base = handshake->out + handshake->out_at;
    iov->iov_len = handshake->out_end - handshake->out_at;
    return 1;
}

size_t nbd_handshake_tx_done(struct nbd_conn *conn, size_t bytes)
{
    struct nbd_handshake *handshake = conn->handshake;
    size_t mine = handshake->out_end - handshake->out_at;

    if (mine > bytes)
        mine = bytes;
    handshake->out_at += (uint32_t)mine;
    if (handshake->out_at == handshake->out_end) {
        handshake->out_at = handshake->out_end = 0;
        if (conn->phase >= NBD_TRANSMISSION)
            nbd_handshake_fini(conn);
    }
    return mine;
}
