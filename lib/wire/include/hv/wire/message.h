/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VMBus control messages.  Every message starts with u32 type, u32 zero; G = the guest sends it, H = the host.
 * At most HV_MESSAGE_MAX_BYTES long (payload of one SynIC message slot).
 * Source: docs/wire.md "Control messages".
 */
#ifndef HV_WIRE_MESSAGE_H
#define HV_WIRE_MESSAGE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <hv/wire/guid.h>

#define HV_MESSAGE_MAX_BYTES 240u

enum hv_message_type {
    HV_MSG_OFFER_CHANNEL = 1,          /* H */
    HV_MSG_RESCIND_OFFER = 2,          /* H */
    HV_MSG_REQUEST_OFFERS = 3,         /* G */
    HV_MSG_ALL_OFFERS_DELIVERED = 4,   /* H */
    HV_MSG_OPEN_CHANNEL = 5,           /* G */
    HV_MSG_OPEN_RESULT = 6,            /* H */
    HV_MSG_CLOSE_CHANNEL = 7,          /* G, no reply exists */
    HV_MSG_GPADL_HEADER = 8,           /* G */
    HV_MSG_GPADL_BODY = 9,             /* G */
    HV_MSG_GPADL_CREATED = 10,         /* H */
    HV_MSG_GPADL_TEARDOWN = 11,        /* G */
    HV_MSG_GPADL_TORNDOWN = 12,        /* H */
    HV_MSG_RELID_RELEASED = 13,        /* G */
    HV_MSG_INITIATE_CONTACT = 14,      /* G */
    HV_MSG_VERSION_RESPONSE = 15,      /* H */
    HV_MSG_UNLOAD = 16,                /* G */
    HV_MSG_UNLOAD_COMPLETE = 17,       /* H */
    HV_MSG_MODIFY_CHANNEL = 22,        /* G */
    HV_MSG_MODIFY_CHANNEL_RESULT = 24, /* H, from 5.3 */
};

/* Protocol versions; the guest asks from the newest down (oldest tried: 2.4). */
#define HV_VERSION_2_4 0x00020004u
#define HV_VERSION_3_0 0x00030000u
#define HV_VERSION_4_0 0x00040000u
#define HV_VERSION_4_1 0x00040001u
#define HV_VERSION_5_0 0x00050000u
#define HV_VERSION_5_1 0x00050001u
#define HV_VERSION_5_2 0x00050002u
#define HV_VERSION_5_3 0x00050003u

/* Connection ids that control messages are posted to. */
#define HV_CONNECTION_MESSAGES   1u /* before 5.0, and what our host names in its version response */
#define HV_CONNECTION_CONTACT_V5 4u /* INITIATE_CONTACT from 5.0 */
#define HV_SINT_VMBUS            2u

#define HV_CHANNELS_MAX   2047u       /* relids 1 .. 2047 */
#define HV_VP_NONE        0xffffffffu /* target VP: no interrupts */
#define HV_GPADL_FIRST    0xe1e10u    /* Linux counts up from here */
#define HV_MONITOR_NONE   0xffu
#define HV_STATUS_INVALID 0x8000ffffu /* E_UNEXPECTED: malformed GPADL */
/** Open or modify refused. */
#define HV_STATUS_UNSUCCESSFUL 0xc0000001u

struct hv_msg_header {
    uint32_t type;
    uint32_t zero;
};
static_assert(sizeof(struct hv_msg_header) == 8, "message header");

/* Offer flags. */
#define HV_OFFER_ENUMERATE_INTERFACE          0x0001u
#define HV_OFFER_CONFIDENTIAL_RING            0x0002u
#define HV_OFFER_CONFIDENTIAL_EXTERNAL_MEMORY 0x0004u
#define HV_OFFER_NAMED_PIPE                   0x0010u

/** H: one channel is there.  Also REQUEST_OFFERS and ALL_OFFERS_DELIVERED are bare headers. */
struct hv_msg_offer {
    struct hv_msg_header hdr;
    struct hv_guid class_id;
    struct hv_guid instance_id;
    uint8_t reserved1[16];
    uint16_t flags; /* HV_OFFER_* */
    uint16_t mmio_mib;
    uint8_t user_data[120];
    uint16_t sub_channel_index; /* 0 = primary */
    uint16_t mmio_optional_mib;
    uint32_t relid;
    uint8_t monitor_id;
    uint8_t monitor_allocated;    /* bit 0 */
    uint16_t dedicated_interrupt; /* bit 0 */
    uint32_t connection_id;
};
static_assert(sizeof(struct hv_msg_offer) == 196, "offer");
static_assert(offsetof(struct hv_msg_offer, flags) == 56, "offer flags");
static_assert(offsetof(struct hv_msg_offer, user_data) == 60, "offer user data");
static_assert(offsetof(struct hv_msg_offer, sub_channel_index) == 180, "sub-channel index");
static_assert(offsetof(struct hv_msg_offer, relid) == 184, "offer relid");
static_assert(offsetof(struct hv_msg_offer, connection_id) == 192, "connection id");

/** RESCIND_OFFER (H), CLOSE_CHANNEL (G), RELID_RELEASED (G). */
struct hv_msg_relid {
    struct hv_msg_header hdr;
    uint32_t relid;
};
static_assert(sizeof(struct hv_msg_relid) == 12, "relid message");

struct hv_msg_open {
    struct hv_msg_header hdr;
    uint32_t relid;
    uint32_t open_id; /* Linux: the relid */
    uint32_t gpadl;   /* of the ring memory */
    uint32_t target_vp;
    uint32_t in_ring_page; /* where the H2G ring starts, in 4 KiB pages */
    uint8_t user_data[120];
};
static_assert(sizeof(struct hv_msg_open) == 148, "open");

struct hv_msg_open_result {
    struct hv_msg_header hdr;
    uint32_t relid;
    uint32_t open_id;
    uint32_t status; /* 0 = ok */
};
static_assert(sizeof(struct hv_msg_open_result) == 20, "open result");

/** GPADL_HEADER: range_count ranges follow (byte_count, byte_offset, pfns), cut off at the message's end. */
struct hv_msg_gpadl_header {
    struct hv_msg_header hdr;
    uint32_t relid;
    uint32_t gpadl;
    uint16_t range_bytes; /* bytes of all ranges, over all messages */
    uint16_t range_count;
    uint8_t ranges[];
} __attribute__((packed));
static_assert(sizeof(struct hv_msg_gpadl_header) == 20, "GPADL header");
static_assert(offsetof(struct hv_msg_gpadl_header, ranges) == 20, "GPADL ranges");
/** Page numbers of one range that fit behind the header, and into each body. */
#define HV_GPADL_HEADER_PFNS 26u
#define HV_GPADL_BODY_PFNS   28u
static_assert(20 + 8 + HV_GPADL_HEADER_PFNS * 8 <= HV_MESSAGE_MAX_BYTES, "header fits");
/** range_bytes is a u16: 8 + 8 * pages of one range. */
#define HV_GPADL_RANGE_MAX_PAGES 8190u

/** GPADL_BODY: page numbers up to the message's end; carries no relid. */
struct hv_msg_gpadl_body {
    struct hv_msg_header hdr;
    uint32_t message_number; /* Linux leaves 0 */
    uint32_t gpadl;
    uint64_t pfn[];
};
static_assert(sizeof(struct hv_msg_gpadl_body) == 16, "GPADL body");
static_assert(16 + HV_GPADL_BODY_PFNS * 8 == HV_MESSAGE_MAX_BYTES, "body fits exactly");

struct hv_msg_gpadl_created {
    struct hv_msg_header hdr;
    uint32_t relid;
    uint32_t gpadl;
    uint32_t status; /* 0 = ok */
};
static_assert(sizeof(struct hv_msg_gpadl_created) == 20, "GPADL created");

struct hv_msg_gpadl_teardown {
    struct hv_msg_header hdr;
    uint32_t relid;
    uint32_t gpadl;
};
static_assert(sizeof(struct hv_msg_gpadl_teardown) == 16, "GPADL teardown");

struct hv_msg_gpadl_torndown {
    struct hv_msg_header hdr;
    uint32_t gpadl;
};
static_assert(sizeof(struct hv_msg_gpadl_torndown) == 12, "GPADL torndown");

struct hv_msg_initiate_contact {
    struct hv_msg_header hdr;
    uint32_t version;
    uint32_t target_vp;        /* that messages go to */
    uint64_t interrupt_page;   /* before 5.0; from 5.0: u8 SINT, u8 VTL, u16 0, u32 feature flags */
    uint64_t monitor_page_h2g; /* guest physical address; both monitor pages or neither */
    uint64_t monitor_page_g2h;
};
static_assert(sizeof(struct hv_msg_initiate_contact) == 40, "initiate contact");

/** VERSION_RESPONSE: 16 bytes before 5.0 use connection_id as reserved. */
struct hv_msg_version_response {
    struct hv_msg_header hdr;
    uint8_t supported;
    uint8_t connection_state; /* 0 ok, 1 low resources, 2 failure */
    uint16_t reserved;
    uint32_t connection_id; /* from 5.0: where later messages are posted */
};
static_assert(sizeof(struct hv_msg_version_response) == 16, "version response");

struct hv_msg_modify_channel {
    struct hv_msg_header hdr;
    uint32_t relid;
    uint32_t target_vp;
};
static_assert(sizeof(struct hv_msg_modify_channel) == 16, "modify channel");

struct hv_msg_modify_channel_result {
    struct hv_msg_header hdr;
    uint32_t relid;
    uint32_t status;
};
static_assert(sizeof(struct hv_msg_modify_channel_result) == 16, "modify channel result");

#endif
