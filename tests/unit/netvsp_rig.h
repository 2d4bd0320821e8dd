/* SPDX-License-Identifier: BSD-3-Clause */
/* A NIC on the loop host, and a guest that says exactly what a test wants it to say. */
#ifndef HV_TEST_NETVSP_RIG_H
#define HV_TEST_NETVSP_RIG_H

#include <hv/netvsp.h>
#include <hv/wire/ndis.h>
#include <hv/wire/nvsp.h>
#include <hv/wire/rndis.h>

#include "loop_host.h"

/* Guest memory in pages: receive buffer, send buffer, the rest for packets by page. */
#define RIG_RECEIVE_GPADL LOOP_GPADL
#define RIG_SEND_GPADL    (LOOP_GPADL + 1)
#define RIG_RECEIVE_PAGES 40u
#define RIG_SEND_PAGE     40u
#define RIG_SEND_PAGES    12u
#define RIG_FREE_PAGE     52u /* .. 63 */

struct netvsp_rig {
    struct loop *loop;
    struct hv_netvsp *nic;
    char log[2048];
    bool destroyed;
    uint64_t next_id;
    uint32_t request_id;
    uint32_t sections, section_bytes; /* of the receive buffer */
};

/** One packet of the host, copied. */
struct rig_packet {
    uint64_t id;
    uint16_t type; /* 0 = there was none */
    uint16_t flags;
    uint32_t ext_bytes, bytes;
    uint8_t ext[3100];
    uint8_t payload[128];
};

/** Link and fault plan may be in opts, which may be NULL ("loop").  The primary channel is open. */
void rig_init(struct netvsp_rig *rig, const struct hv_netvsp_opts *opts);
void rig_fini(struct netvsp_rig *rig);

/** In-band, completion requested when `id` is not 0. */
void rig_send(struct netvsp_rig *rig, uint16_t index, uint64_t id, const void *payload,
              uint32_t bytes);
/** Poll, then take the next packet of the host. */
void rig_receive(struct netvsp_rig *rig, uint16_t index, struct rig_packet *ret_packet);
/** Acknowledge a packet of type 7. */
void rig_complete(struct netvsp_rig *rig, uint16_t index, uint64_t id);

/** An NVSP message of 40 bytes with these words behind the type; the answer in *ret_answer. */
void rig_nvsp(struct netvsp_rig *rig, uint32_t type, uint32_t a, uint32_t b, uint32_t c,
              struct rig_packet *ret_answer);
uint32_t rig_word(const struct rig_packet *packet, uint32_t offset);
/** INIT to 105 of a version; status of the first step that fails, 1 = success. */
uint32_t rig_attach(struct netvsp_rig *rig, uint32_t version, uint32_t mtu);
/** rig_attach() and RNDIS INITIALIZE; CUnit assertions. */
void rig_ready(struct netvsp_rig *rig, uint32_t version);

/** A control message by section; its completion is checked, the reply (RNDIS bytes) returned, 0 = none. */
uint32_t rig_control(struct netvsp_rig *rig, const void *message, uint32_t bytes, void *reply,
                     uint32_t max);
/** QUERY: status, and the answer's data. */
uint32_t rig_query(struct netvsp_rig *rig, uint32_t oid, const void *in, uint32_t in_bytes,
                   void *data, uint32_t max, uint32_t *ret_bytes);
uint32_t rig_set(struct netvsp_rig *rig, uint32_t oid, const void *in, uint32_t in_bytes);
void rig_filter(struct netvsp_rig *rig, uint32_t filter);

/** An RNDIS packet around a frame; returns its length. */
uint32_t rig_build(uint8_t *to, const void *frame, uint32_t bytes, const void *ppis,
                   uint32_t ppi_bytes);
/** Message 107 of `bytes` already in section 0; returns the status of the completion, ~0 = none came. */
uint32_t rig_send_section(struct netvsp_rig *rig, uint16_t index, uint32_t section, uint32_t bytes);
uint8_t *rig_section(struct netvsp_rig *rig, uint32_t section);
/** A frame of `bytes` with these addresses' first byte and a pattern, in section 0. */
uint32_t rig_send_frame(struct netvsp_rig *rig, uint16_t index, uint8_t destination,
                        uint32_t bytes);
/** Frames of the next data packet: how many; the first one's header in *ret_head, its bytes in data[2048]. */
uint32_t rig_receive_frames(struct netvsp_rig *rig, uint16_t index,
                            struct hv_rndis_packet *ret_head, uint8_t *data, uint64_t *ret_id);
struct hv_netvsp_stats rig_stats(struct netvsp_rig *rig);

#endif
