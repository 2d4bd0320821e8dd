/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the socket transport (docs/socket-transport.md), lowest layer first:
 *
 *   sock_event.c      signals that never block
 *   sock_frame.c      one frame in, one frame out
 *   sock_memory.c     guest memory: files, page numbers
 *   connection.c      VMBus control messages: dispatch, version, offers
 *   gpadl.c           page lists
 *   sock_channel.c    open and close
 *   transport_sock.c  connect, wait, and the table of operations
 *
 * Control thread.  At most one request waits for its answer at a time (struct hv_reply); everything else that arrives
 * meanwhile is handled as it comes.
 */
#ifndef HV_VMBUS_SOCK_IMPL_H
#define HV_VMBUS_SOCK_IMPL_H

#include <hv/wire/message.h>
#include <hv/wire/monitor.h>
#include <hv/wire/sock.h>

#include "bus_impl.h"

/** Descriptors that a frame from the host can bring. */
#define HV_SOCK_FDS_MAX 2u

struct hv_sock_frame {
    union {
        struct hv_sock_header hdr;
        struct hv_sock_hello hello;
        struct hv_sock_memory_result memory_result;
        struct hv_sock_message message;
        uint8_t bytes[HV_SOCK_FRAME_MAX_BYTES];
    };
    size_t length;
    int fds[HV_SOCK_FDS_MAX];
    size_t fd_count;
};

/** Answers that are no VMBus message, beside enum hv_message_type. */
#define HV_REPLY_HELLO  0x10000u
#define HV_REPLY_MEMORY 0x10001u

/** A request that waits for its answer. */
struct hv_reply {
    uint32_t kind; /* type of the message that answers */
    uint64_t key;  /* which request of that kind, see hv_reply_key() */
    /** The wait ends with -ENODEV when this channel is rescinded; NULL = never. */
    const struct hv_offer *offer;
    bool done;
    bool rescinded; /* done by that */
    int64_t status; /* from the answer */
};

struct hv_sock {
    struct hv_vmbus *bus;
    int fd;            /* -1: the host is gone */
    bool hello_done;   /* the host may send something else now */
    bool contact_sent; /* a version response may come */
    uint32_t version;  /* agreed, else 0 */
    uint32_t post_to;  /* connection id of messages after the version is agreed */
    uint64_t next_pfn; /* page numbers are never used twice */
    uint32_t removes;  /* MEMORY_REMOVE without its answer yet */
    uint32_t next_gpadl;
    uint32_t next_open_id;
    struct hv_reply *want;
    struct hv_monitor_page *monitor; /* two pages: host to guest, guest to host */
    uint64_t monitor_pfn;
    struct hv_msg_version_response response; /* latest */
};

static inline uint64_t hv_reply_key(uint32_t high, uint32_t low)
{
    return (uint64_t)high << 32 | low;
}

/** The deadline for an answer that is asked for now. */
uint64_t hv_sock_deadline(const struct hv_sock *sock);

/* ---- sock_event.c: any thread ---- */

/** True unless the descriptor is known to be something else. */
bool hv_event_is_eventfd(int fd);
void hv_event_raise(int fd);
/** True when it was raised. */
bool hv_event_drain(int fd);

/* ---- sock_frame.c ---- */

/**
 * Send; header length is filled in.  `fd` = -1: no descriptor.  Waits until `deadline_ns` for room (0 = not at all).
 * Returns 0, -EAGAIN (only without a deadline), -ETIMEDOUT, -ENODEV (the host is gone, and marked so).
 */
int hv_sock_send(struct hv_sock *sock, struct hv_sock_header *frame, size_t length, int fd,
                 uint64_t deadline_ns);
/** Next frame, shape checked.  0, -EAGAIN, -ENODEV (gone, marked so).  Descriptors are the caller's. */
int hv_sock_receive(struct hv_sock *sock, struct hv_sock_frame *ret_frame);
void hv_sock_close_fds(struct hv_sock_frame *frame);
/** The host hangs up and says why. */
void hv_sock_goodbye(struct hv_sock *sock, const struct hv_sock_frame *frame);
/** Replace what is no printable ASCII, so that a host cannot write control characters to a log. */
void hv_sock_clean_text(char *text);
void hv_sock_hang_up(struct hv_sock *sock);
/** The connection is over, for the reason given: say so, close it, tell all owners.  Later reasons are ignored. */
void hv_sock_lose(struct hv_sock *sock, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- sock_memory.c ---- */

/** A sealed memory file.  Returns the descriptor or a negative errno. */
int hv_memory_file(size_t bytes);
/** Make pages of `fd` guest memory, and wait until the host has them.  0, -ENODEV, -ETIMEDOUT, or the host's error. */
int hv_sock_memory_add(struct hv_sock *sock, int fd, uint64_t offset, size_t bytes,
                       uint64_t align_pages, uint64_t *ret_first_pfn);
/** Take them away again; does not wait, since the page numbers are never used again. */
void hv_sock_memory_remove(struct hv_sock *sock, uint64_t first_pfn, uint64_t page_count);
int hv_sock_monitor_create(struct hv_sock *sock);
void hv_sock_monitor_destroy(struct hv_sock *sock);
int hv_sock_dma_alloc(struct hv_dma *dma, size_t bytes);
int hv_sock_dma_register(struct hv_dma *dma, int fd, uint64_t offset);
void hv_sock_dma_free(struct hv_dma *dma);

/* ---- connection.c ---- */

/** Post a control message.  Errors of hv_sock_send(). */
int hv_connection_post(struct hv_sock *sock, const void *message, size_t bytes,
                       uint64_t deadline_ns);
/** Agree on a version.  0, -EPROTONOSUPPORT, or an error of a wait. */
int hv_connection_negotiate(struct hv_sock *sock, uint32_t max_version);
int hv_connection_request_offers(struct hv_sock *sock);
void hv_connection_unload(struct hv_sock *sock);
/** Handle a MESSAGE frame.  May take its descriptors.  Loses the connection on a violation. */
void hv_connection_dispatch(struct hv_sock *sock, struct hv_sock_frame *frame);
/** An answer came: hand it to who waits for it, or warn. */
void hv_sock_answer(struct hv_sock *sock, uint32_t kind, uint64_t key, int64_t status);

/* ---- gpadl.c ---- */

/** Tell the host that `page_count` pages from `first_pfn` on belong to the channel.  0, -EIO (refused), or of a wait. */
int hv_gpadl_create(struct hv_sock *sock, const struct hv_offer *offer, uint64_t first_pfn,
                    uint32_t page_count, uint32_t *ret_gpadl);
/** 0: the host uses it no more; or an error of a wait. */
int hv_gpadl_teardown(struct hv_sock *sock, const struct hv_offer *offer, uint32_t gpadl);

/* ---- sock_channel.c ---- */

int hv_sock_channel_open(struct hv_channel *channel, const struct hv_channel_opts *opts);
void hv_sock_channel_close(struct hv_channel *channel);
int hv_sock_channel_set_target(struct hv_channel *channel, uint32_t target_vp);
int hv_sock_channel_share(struct hv_channel *primary, enum hv_shared_kind kind, size_t bytes,
                          struct hv_shared *ret_shared);
void hv_sock_channel_unshare(struct hv_channel *primary, enum hv_shared_kind kind);
void hv_sock_channel_signal(struct hv_channel *channel);
bool hv_sock_channel_drain(struct hv_channel *channel);
void hv_sock_channel_wake(struct hv_channel *channel);

/* ---- transport_sock.c ---- */

/** Handle what arrives until `want` is answered.  0, -ETIMEDOUT, -ENODEV (rescinded, gone). */
int hv_sock_wait(struct hv_sock *sock, struct hv_reply *want, uint64_t deadline_ns);

#endif
