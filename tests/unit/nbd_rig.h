/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A reactor's engine without threads, sockets and devices: a test puts bytes in and takes bytes out.  Requests that were
 * started are carried out on memory at once, or held until the test says how they end.
 */
#ifndef HV_TEST_NBD_RIG_H
#define HV_TEST_NBD_RIG_H

#include <nbd_connection.h>

#define RIG_DISK_BYTES (4u << 20)
#define RIG_HELD_MAX   1100u
#define RIG_CONNS      2u

struct nbd_rig {
    struct nbd_engine engine;
    struct stats stats;
    struct lun_table
        luns; /* lun0: 4 MiB of 512; lun1: the same, read-only, 4096; lun2: gone; lun3: 16 TiB */
    uint8_t *arena;
    uint8_t *disk;
    struct nbd_conn conn[RIG_CONNS];
    bool conn_open[RIG_CONNS];
    bool hold;
    struct io *held[RIG_HELD_MAX];
    unsigned held_count;
    unsigned started;
    struct io last; /* copy of the io started last */
};

/** @arena_mib  Data memory.  Aborts when there is no memory: this is a test. */
void nbd_rig_init(struct nbd_rig *rig, unsigned arena_mib);
/** Checks that nothing was lost: returns false when an io, a buffer or a count is missing. */
bool nbd_rig_fini(struct nbd_rig *rig);
struct nbd_conn *nbd_rig_open(struct nbd_rig *rig, unsigned index);

/** Give bytes to the connection, at most `step` at a time; returns how many it took. */
size_t nbd_rig_put(struct nbd_conn *conn, const void *bytes, size_t count, size_t step);
/** Take what it has to send, at most `step` at a time; returns how many bytes. */
size_t nbd_rig_get(struct nbd_conn *conn, void *bytes, size_t room, size_t step);
/** Finish held request number `index`. */
void nbd_rig_complete(struct nbd_rig *rig, unsigned index, enum nbd_error error);

/* ---- Bytes as a client writes them: numbers here are typed from the protocol text, not taken from nbd_wire.h ---- */

struct bytes {
    uint8_t at[131072];
    size_t count;
};
void put_u16(struct bytes *bytes, uint16_t value);
void put_u32(struct bytes *bytes, uint32_t value);
void put_u64(struct bytes *bytes, uint64_t value);
void put_data(struct bytes *bytes, const void *data, size_t count);
uint32_t get_u32(const uint8_t *at);
uint64_t get_u64(const uint8_t *at);
uint16_t get_u16(const uint8_t *at);

void put_option(struct bytes *bytes, uint32_t option, const void *data, uint32_t count);
/** Option data of GO and INFO. */
void put_go(struct bytes *bytes, uint32_t option, const char *name);
void put_request(struct bytes *bytes, uint16_t flags, uint16_t type, uint64_t cookie,
                 uint64_t offset, uint32_t length);
void put_ext_request(struct bytes *bytes, uint16_t flags, uint16_t type, uint64_t cookie,
                     uint64_t offset, uint64_t length);

enum rig_mode { RIG_SIMPLE, RIG_STRUCTURED, RIG_EXTENDED };
/** The whole handshake to `export`; base:allocation with structured and extended.  Its bytes are swallowed. */
struct nbd_conn *nbd_rig_ready(struct nbd_rig *rig, unsigned index, const char *export,
                               enum rig_mode mode);

#endif
