/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SOCKET TRANSPORT: what hv-host and a guest say to each other over a Unix SOCK_SEQPACKET socket, one frame a
 * datagram.  It stands in for what a hypervisor gives: guest memory, posted messages, signals, interrupts.
 *
 *   0x00 type    u16   HV_SOCK_*
 *   0x02 flags   u16   0
 *   0x04 length  u32   of the whole frame
 *   0x08 body          by type
 *
 * File descriptors travel as SCM_RIGHTS with the frame that the table in docs/socket-transport.md names.
 * That page is the specification; this header is the layout.
 */
#ifndef HV_WIRE_SOCK_H
#define HV_WIRE_SOCK_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <hv/wire/message.h>

#define HV_SOCK_MAGIC   0x53425648u /* "HVBS" */
#define HV_SOCK_VERSION 1u

enum hv_sock_type {
    HV_SOCK_HELLO = 1,         /* G then H: first frame of each side */
    HV_SOCK_MEMORY_ADD = 2,    /* G, 1 descriptor: memory becomes guest memory */
    HV_SOCK_MEMORY_REMOVE = 3, /* G */
    HV_SOCK_MEMORY_RESULT = 4, /* H: answers 2 and 3 */
    HV_SOCK_MESSAGE = 5, /* both: a VMBus control message; an offer (H) brings 2 descriptors */
    HV_SOCK_GOODBYE = 6, /* H: why the host hangs up, as text */
};

struct hv_sock_header {
    uint16_t type;
    uint16_t flags;
    uint32_t length_bytes;
};
static_assert(sizeof(struct hv_sock_header) == 8, "frame header");

struct hv_sock_hello {
    struct hv_sock_header hdr;
    uint32_t magic;
    uint32_t version;
    uint8_t name[48]; /* who speaks, for logs; zero-padded text */
};
static_assert(sizeof(struct hv_sock_hello) == 64, "hello");

/** MEMORY_ADD and MEMORY_REMOVE.  Page numbers are the guest's; regions never overlap. */
struct hv_sock_memory {
    struct hv_sock_header hdr;
    uint64_t first_pfn;
    uint64_t page_count;   /* 4096-byte pages */
    uint64_t offset_bytes; /* into the descriptor, page aligned; 0 in REMOVE */
};
static_assert(sizeof(struct hv_sock_memory) == 32, "memory");

struct hv_sock_memory_result {
    struct hv_sock_header hdr;
    uint64_t first_pfn;
    int32_t error; /* 0 or a negative errno of Linux */
    uint32_t reserved;
};
static_assert(sizeof(struct hv_sock_memory_result) == 24, "memory result");

/** Descriptors that come with an offer: [0] guest writes = signal, [1] host writes = channel event. */
struct hv_sock_message {
    struct hv_sock_header hdr;
    uint32_t connection_id; /* G: where it is posted; H: 0 */
    uint32_t payload_bytes; /* 8 .. 240 */
    uint8_t payload[];
};
static_assert(sizeof(struct hv_sock_message) == 16, "message");

#define HV_SOCK_GOODBYE_TEXT_MAX_BYTES 400u
#define HV_SOCK_FRAME_MAX_BYTES        512u

#endif
