/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest made of raw frames, which can be as wrong as the test wants.  Everything ends the test program on failure
 * of the machine, and is reported by a result otherwise. */
#ifndef HV_TEST_BUS_RAW_H
#define HV_TEST_BUS_RAW_H

#include <hv/wire/message.h>
#include <hv/wire/monitor.h>
#include <hv/wire/ring.h>
#include <hv/wire/sock.h>

#include "test_bus_rig.h"

#define RAW_PFN     0x1000u /* first page of the memory that raw_memory() adds */
#define RAW_PAGES   256u
#define RAW_OFFERS  16
#define RAW_GPADL   0xe1e10u
#define RAW_VERSION HV_VERSION_5_3

struct raw_offer {
    struct hv_msg_offer message;
    int signal_fd;
    int event_fd;
};

struct raw {
    int fd;
    uint8_t *memory; /* RAW_PAGES */
    int memory_fd;
    uint32_t version;
    struct raw_offer offers[RAW_OFFERS];
    unsigned offer_count;
    uint32_t rescinded; /* relid of the last one */
    char goodbye[512];
    _Alignas(8) uint8_t frame[512]; /* last one received */
    size_t frame_bytes;
};

void raw_connect(struct raw *raw, struct rig *rig);
void raw_disconnect(struct raw *raw);

/** Any bytes, with descriptors.  0 or a negative errno. */
int raw_send(struct raw *raw, const void *frame, size_t bytes, const int *fds, size_t fd_count);
int raw_hello(struct raw *raw);
/** A control message; connection id as the version wants it. */
int raw_post(struct raw *raw, const void *message, size_t bytes);
int raw_post_to(struct raw *raw, uint32_t connection_id, const void *message, size_t bytes);
int raw_memory_frame(struct raw *raw, uint16_t type, uint64_t first_pfn, uint64_t pages,
                     uint64_t offset, int fd);
/** A memory file; seals 0 = none. */
int raw_file(size_t bytes, int seals);

/**
 * Next frame, within 10 s.  Offers, rescinds and goodbyes are noted besides.
 * Returns its type (HV_SOCK_*), 0 = the connection ended, -ETIMEDOUT.
 */
int raw_receive(struct raw *raw);
/** Next message of this type; others are skipped.  NULL when there is none. */
const void *raw_expect(struct raw *raw, uint32_t type);
/** True when the next second brings nothing of this type.  (Milliseconds, for a busy machine enough to be wrong.) */
bool raw_silent(struct raw *raw, int milliseconds);
/** Until the end: true when GOODBYE contained this. */
bool raw_goodbye(struct raw *raw, const char *text);
/** Result of the next MEMORY_RESULT, or 1. */
int raw_memory_result(struct raw *raw);

/* Steps of an orderly guest; each returns 0 when the host answered as it should. */
int raw_memory(struct raw *raw);
int raw_contact(struct raw *raw, uint32_t version, bool monitor);
int raw_offers(struct raw *raw);
/** Close their descriptors, make room for more. */
void raw_forget_offers(struct raw *raw);
/** All of the above, from hello. */
void raw_ready(struct raw *raw, struct rig *rig, uint32_t version);
/** Header and bodies for `pages` consecutive pages from first; does not wait. */
void raw_gpadl_pages(struct raw *raw, uint32_t relid, uint32_t id, uint64_t first_pfn,
                     uint32_t pages);
/** The same, last page first. */
void raw_gpadl_backwards(struct raw *raw, uint32_t relid, uint32_t id, uint64_t first_pfn,
                         uint32_t pages);
/** Status of GPADL_CREATED. */
uint32_t raw_gpadl_status(struct raw *raw);
/** Ask to open; status by raw_open_status(). */
void raw_post_open(struct raw *raw, uint32_t relid, uint32_t gpadl, uint32_t in_ring_page,
                   uint32_t target_vp);
uint32_t raw_open_status(struct raw *raw);
/** GPADL of 8 pages from page 16 on, rings reset, open.  Status. */
uint32_t raw_open(struct raw *raw, uint32_t relid);
void raw_post_relid(struct raw *raw, uint32_t type, uint32_t relid);
void raw_post_teardown(struct raw *raw, uint32_t relid, uint32_t id);
/** Control pages of the rings of raw_open(). */
struct hv_ring_control *raw_out(struct raw *raw);
struct hv_ring_control *raw_in(struct raw *raw);
void raw_signal(struct raw *raw, unsigned offer);

#endif
