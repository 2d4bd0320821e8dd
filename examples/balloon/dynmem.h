/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of Hyper-V's dynamic memory, as far as a client that gives no memory away needs them.  Little endian; each is
 * the payload of one in-band packet.  Facts: Linux drivers/hv/hv_balloon.c.
 *
 *   guest                                   host
 *   VERSION_REQUEST  (newest first) ------> VERSION_RESPONSE      until one is accepted
 *   CAPABILITIES     ---------------------> CAPABILITIES_RESPONSE
 *   STATUS           --------------------->                       every second, unless the host wants none
 *   BALLOON_RESPONSE <--------------------- BALLOON_REQUEST       when the host likes
 *   UNBALLOON_RESPONSE <------------------- UNBALLOON_REQUEST
 *   HOT_ADD_RESPONSE <--------------------- HOT_ADD_REQUEST
 */
#ifndef DYNMEM_H
#define DYNMEM_H

#include <stdint.h>

#include <hv/wire/guid.h>

/* 525074dc-8985-46e2-8057-a307dc18a502 */
#define DYNMEM_CLASS_TEXT "525074dc-8985-46e2-8057-a307dc18a502"

#define DYNMEM_VERSION(major, minor) ((uint32_t)(major) << 16 | (minor))

enum dynmem_type {
    DYNMEM_VERSION_REQUEST = 1,
    DYNMEM_VERSION_RESPONSE = 2,
    DYNMEM_CAPABILITIES = 3,
    DYNMEM_CAPABILITIES_RESPONSE = 4,
    DYNMEM_STATUS = 5,
    DYNMEM_BALLOON_REQUEST = 6,
    DYNMEM_BALLOON_RESPONSE = 7,
    DYNMEM_UNBALLOON_REQUEST = 8,
    DYNMEM_UNBALLOON_RESPONSE = 9,
    DYNMEM_HOT_ADD_REQUEST = 10,
    DYNMEM_HOT_ADD_RESPONSE = 11,
    DYNMEM_INFO = 12,
};

struct dynmem_header {
    uint16_t type;
    uint16_t bytes; /* of the whole message */
    uint32_t trans_id;
};

struct dynmem_version_request {
    struct dynmem_header header;
    uint32_t version;
    uint32_t last_attempt; /* bit 0 */
};

/** VERSION_RESPONSE and CAPABILITIES_RESPONSE. */
struct dynmem_answer {
    struct dynmem_header header;
    uint64_t flags;
};
#define DYNMEM_ACCEPTED   0x1u
#define DYNMEM_NO_REPORTS 0x4u /* of capabilities: the host wants no status reports */

struct dynmem_capabilities {
    struct dynmem_header header;
    uint64_t flags;
    uint64_t min_pages;       /* the guest will not go below */
    uint64_t max_page_number; /* highest that hot-added memory may have */
};
#define DYNMEM_CAN_BALLOON 0x1u

struct dynmem_status {
    struct dynmem_header header;
    uint64_t available_pages;
    uint64_t committed_pages;
    uint64_t page_file_pages;
    uint64_t zero_pages;
    uint32_t page_file_writes;
    uint32_t io_diff;
};

struct dynmem_balloon_response {
    struct dynmem_header header;
    uint32_t reserved;
    uint32_t ranges; /* bit 0: more messages follow; then their count */
};

struct dynmem_unballoon_request {
    struct dynmem_header header;
    uint32_t more; /* bit 0: another message follows before the answer */
    uint32_t ranges;
};

struct dynmem_hot_add_response {
    struct dynmem_header header;
    uint32_t pages;
    uint32_t result; /* 1 = added */
};

_Static_assert(sizeof(struct dynmem_version_request) == 16, "size on the wire");
_Static_assert(sizeof(struct dynmem_answer) == 16, "size on the wire");
_Static_assert(sizeof(struct dynmem_capabilities) == 32, "size on the wire");
_Static_assert(sizeof(struct dynmem_status) == 48, "size on the wire");
_Static_assert(sizeof(struct dynmem_balloon_response) == 16, "size on the wire");
_Static_assert(sizeof(struct dynmem_unballoon_request) == 16, "size on the wire");
_Static_assert(sizeof(struct dynmem_hot_add_response) == 16, "size on the wire");

#endif
