/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The other end of a guest's socket, played by the test frame by frame: what the host will say is queued in the socket
 * before the guest asks, what the guest said is read and compared afterwards.  One thread, no timing.
 *
 * The answers must name what libvmbus chooses, and docs/socket-transport.md says what that is: page numbers from 0x1000
 * on (the first two are the monitor pages), GPADL ids from 0xe1e10, open ids from 1.
 */
#ifndef VMBUS_PEER_H
#define VMBUS_PEER_H

#include <stddef.h>
#include <stdint.h>

#include <hv/vmbus.h>
#include <hv/wire/message.h>
#include <hv/wire/sock.h>

#define PEER_MONITOR_PFN 0x1000u
#define PEER_FIRST_PFN   0x1002u
#define PEER_TIMEOUT_MS  50u /* for tests in which the host does not answer */

struct peer {
    int fd;       /* host's end */
    int guest_fd; /* -1 once the bus has it */
    struct hv_vmbus *bus;
    int signal_fd[4]; /* of offer i: guest writes; -1 = none */
    int event_fd[4];  /* host writes */
    unsigned offers;
    unsigned events[4];            /* calls of the event callback by enum hv_vmbus_event */
    struct hv_guid event_instance; /* of the latest */
    char log[4096];                /* all lines of warning level and worse */
    unsigned babble;     /* so many warnings are followed by another frame that nobody asked for */
    uint32_t timeout_ms; /* set before peer_open() */
    uint32_t max_version;
};

/** One frame from the guest. */
struct peer_frame {
    union {
        struct hv_sock_header hdr;
        struct hv_sock_hello hello;
        struct hv_sock_memory memory;
        struct hv_sock_message message;
        uint8_t bytes[HV_SOCK_FRAME_MAX_BYTES];
    };
    size_t length; /* 0: nothing there, or the guest hung up */
    int fd;        /* -1 = none */
};

extern const struct hv_guid peer_class;
extern const struct hv_guid peer_instance;

void peer_init(struct peer *peer);
/** Closes the bus too. */
void peer_fini(struct peer *peer);
/** Descriptors that this process has open. */
unsigned peer_count_fds(void);

/* What the host says. */
void peer_raw(struct peer *peer, const void *bytes, size_t length, const int *fds, size_t fd_count);
void peer_hello(struct peer *peer, uint32_t version);
void peer_memory_result(struct peer *peer, uint64_t first_pfn, int32_t error);
void peer_message(struct peer *peer, const void *message, size_t bytes);
void peer_words(struct peer *peer, size_t count, const uint32_t *words);
void peer_version(struct peer *peer, uint8_t supported, uint32_t connection_id);
/** An offer as the test likes; makes the two descriptors.  monitor_id -1 = not monitored. */
void peer_offer(struct peer *peer, uint32_t relid, uint16_t index, int monitor_id);
void peer_all_offers(struct peer *peer);
/** Hello, monitor pages, version 5.3: all but the offers. */
void peer_start(struct peer *peer);
/** The answers to a successful hv_channel_open(). */
void peer_channel_opened(struct peer *peer, uint32_t relid, uint32_t pfn, uint32_t gpadl,
                         uint32_t open_id);
void peer_torndown(struct peer *peer, uint32_t gpadl);
void peer_rescind(struct peer *peer, uint32_t relid);
void peer_goodbye(struct peer *peer, const char *text);
/** No more frames from the host; the guest can still send. */
void peer_end(struct peer *peer);

/** hv_vmbus_open() on the other end. */
int peer_open(struct peer *peer);
/** One device with relid 1, opened bus, and what the guest said so far thrown away. */
void peer_open_device(struct peer *peer, int monitor_id);

/* What the guest said. */
void peer_read(struct peer *peer, struct peer_frame *ret_frame);
/** Next frame is a message of this type, at least so long; copies it.  0 or -1. */
int peer_expect(struct peer *peer, uint32_t type, void *message, size_t bytes);
/** Next frame is MEMORY_ADD; its descriptor is the caller's.  0 or -1. */
int peer_expect_memory(struct peer *peer, uint64_t first_pfn, uint64_t page_count, int *ret_fd);
int peer_expect_remove(struct peer *peer, uint64_t first_pfn, uint64_t page_count);
/** Throw away what the guest said. */
void peer_skip(struct peer *peer);

/** True when poll(2) says readable now. */
int peer_readable(int fd);

#endif
