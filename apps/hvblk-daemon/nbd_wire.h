/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NBD as it crosses the socket: fixed newstyle handshake and transmission.  Everything is big-endian; layouts are
 * packed, copied out of the receive buffer and swapped there.
 * Source: NetworkBlockDevice/nbd doc/proto.md, extended headers included.
 *
 *   S  hello      magic, IHAVEOPT, flags            C  flags
 *   C  option     IHAVEOPT, option, length, data    S  option replies, the last one an ACK or an error
 *   ... after EXPORT_NAME or GO:
 *   C  request    [payload]                         S  replies in any order
 */
#ifndef HVBLK_NBD_WIRE_H
#define HVBLK_NBD_WIRE_H

#include <stdint.h>

#define NBD_MAGIC              UINT64_C(0x4e42444d41474943) /* "NBDMAGIC" */
#define NBD_IHAVEOPT           UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC UINT64_C(0x0003e889045565a9)
#define NBD_REQUEST_MAGIC      0x25609513u
#define NBD_EXT_REQUEST_MAGIC  0x21e41c71u
#define NBD_SIMPLE_REPLY_MAGIC 0x67446698u
#define NBD_STRUCT_REPLY_MAGIC 0x668e33efu
#define NBD_EXT_REPLY_MAGIC    0x6e8a278cu
#define NBD_EXPORT_NAME_ZEROES 124u  /* after the EXPORT_NAME answer, unless NO_ZEROES */
#define NBD_STRING_MAX         4096u /* export names, contexts, messages */
#define NBD_CLIENT_MAXIMUM     (32u << 20)
#define NBD_DF_MINIMUM         65536u
#define NBD_STATUS_EXTENTS_MAX (1u << 20)

/* Handshake flags, both directions. */
#define NBD_FLAG_FIXED_NEWSTYLE 0x1u
#define NBD_FLAG_NO_ZEROES      0x2u

enum nbd_option {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10,
    NBD_OPT_EXTENDED_HEADERS = 11,
};

#define NBD_REP_ACK                 1u
#define NBD_REP_SERVER              2u
#define NBD_REP_INFO                3u
#define NBD_REP_META_CONTEXT        4u
#define NBD_REP_ERR_UNSUP           0x80000001u
#define NBD_REP_ERR_POLICY          0x80000002u
#define NBD_REP_ERR_INVALID         0x80000003u
#define NBD_REP_ERR_UNKNOWN         0x80000006u
#define NBD_REP_ERR_SHUTDOWN        0x80000007u
#define NBD_REP_ERR_TOO_BIG         0x80000009u
#define NBD_REP_ERR_EXT_HEADER_REQD 0x8000000au

#define NBD_INFO_EXPORT      0u
#define NBD_INFO_NAME        1u
#define NBD_INFO_DESCRIPTION 2u
#define NBD_INFO_BLOCK_SIZE  3u

/* Transmission flags of an export. */
#define NBD_EXPORT_HAS_FLAGS    0x0001u
#define NBD_EXPORT_READ_ONLY    0x0002u
#define NBD_EXPORT_FLUSH        0x0004u
#define NBD_EXPORT_FUA          0x0008u
#define NBD_EXPORT_ROTATIONAL   0x0010u
#define NBD_EXPORT_TRIM         0x0020u
#define NBD_EXPORT_WRITE_ZEROES 0x0040u
#define NBD_EXPORT_DF           0x0080u
#define NBD_EXPORT_MULTI_CONN   0x0100u
#define NBD_EXPORT_CACHE        0x0400u
#define NBD_EXPORT_FAST_ZERO    0x0800u

enum nbd_command_type {
    NBD_CMD_READ = 0,
    NBD_CMD_WRITE = 1,
    NBD_CMD_DISC = 2,
    NBD_CMD_FLUSH = 3,
    NBD_CMD_TRIM = 4,
    NBD_CMD_CACHE = 5,
    NBD_CMD_WRITE_ZEROES = 6,
    NBD_CMD_BLOCK_STATUS = 7,
    NBD_CMD_COUNT,
};

#define NBD_CMD_FUA         0x01u
#define NBD_CMD_NO_HOLE     0x02u
#define NBD_CMD_DF          0x04u
#define NBD_CMD_REQ_ONE     0x08u
#define NBD_CMD_FAST_ZERO   0x10u
#define NBD_CMD_PAYLOAD_LEN 0x20u

#define NBD_CHUNK_DONE             1u /* flag: last chunk of a reply */
#define NBD_CHUNK_NONE             0u
#define NBD_CHUNK_OFFSET_DATA      1u
#define NBD_CHUNK_OFFSET_HOLE      2u
#define NBD_CHUNK_BLOCK_STATUS     5u
#define NBD_CHUNK_BLOCK_STATUS_EXT 6u
#define NBD_CHUNK_ERROR            0x8001u

#define NBD_STATE_HOLE 1u
#define NBD_STATE_ZERO 2u

enum nbd_error {
    NBD_OK = 0,
    NBD_EPERM = 1,
    NBD_EIO = 5,
    NBD_ENOMEM = 12,
    NBD_EINVAL = 22,
    NBD_ENOSPC = 28,
    NBD_EOVERFLOW = 75,
    NBD_ENOTSUP = 95,
    NBD_ESHUTDOWN = 108,
};

#define NBD_PACKED __attribute__((packed))

struct nbd_wire_hello {
    uint64_t magic;
    uint64_t ihaveopt;
    uint16_t flags;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_hello) == 18, "server's first words");

struct nbd_wire_option {
    uint64_t magic;
    uint32_t option;
    uint32_t bytes; /* of data behind it */
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_option) == 16, "option header");

struct nbd_wire_option_reply {
    uint64_t magic;
    uint32_t option;
    uint32_t type;
    uint32_t bytes;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_option_reply) == 20, "option reply header");

struct nbd_wire_export_name {
    uint64_t size;
    uint16_t flags;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_export_name) == 10, "answer to EXPORT_NAME");

struct nbd_wire_info_export {
    uint16_t type;
    uint64_t size;
    uint16_t flags;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_info_export) == 12, "INFO_EXPORT");

struct nbd_wire_info_block_size {
    uint16_t type;
    uint32_t minimum;
    uint32_t preferred;
    uint32_t maximum;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_info_block_size) == 14, "INFO_BLOCK_SIZE");

struct nbd_wire_request {
    uint32_t magic;
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint64_t offset;
    uint32_t length;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_request) == 28, "request");

struct nbd_wire_ext_request {
    uint32_t magic;
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint64_t offset;
    uint64_t length;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_ext_request) == 32, "extended request");

struct nbd_wire_simple_reply {
    uint32_t magic;
    uint32_t error;
    uint64_t cookie;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_simple_reply) == 16, "simple reply");

struct nbd_wire_chunk {
    uint32_t magic;
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint32_t bytes;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_chunk) == 20, "structured reply chunk");

struct nbd_wire_ext_chunk {
    uint32_t magic;
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint64_t offset; /* of the request */
    uint64_t bytes;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_ext_chunk) == 32, "extended reply chunk");

struct nbd_wire_hole {
    uint64_t offset;
    uint32_t bytes;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_hole) == 12, "payload of a hole chunk");

struct nbd_wire_chunk_error {
    uint32_t error;
    uint16_t message_bytes;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_chunk_error) == 6, "payload of an error chunk");

struct nbd_wire_extent {
    uint32_t bytes;
    uint32_t flags;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_extent) == 8, "block status extent");

struct nbd_wire_ext_extent {
    uint64_t bytes;
    uint64_t flags;
} NBD_PACKED;
_Static_assert(sizeof(struct nbd_wire_ext_extent) == 16, "extended block status extent");

#endif
