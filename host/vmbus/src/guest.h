/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seam between the bus and its guests: what a kind of guest must be able to do, and what it tells the bus.
 * guest_sock.c is one kind (a process behind a socket); a virtual machine is another.  Nothing of sockets above this line.
 *
 *   bus -> guest     post a control message; make, raise and free the two signals of a channel; pause; hang up
 *   guest -> bus     hv_host_guest_create(), hv_host_guest_message(), hv_host_guest_lost(); memory through memory.h
 *
 * Control thread, except raise().
 */
#ifndef HV_HOST_GUEST_H
#define HV_HOST_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hv_host;
struct hv_host_guest;

/** The two signals of one channel. */
struct hv_host_guest_link {
    int signal_fd; /* event descriptor: the guest signalled */
    int event_fd;  /* how the guest is told; what it means is the guest kind's business */
};

struct hv_host_guest_ops {
    /** Queue a control message.  `link` comes with an offer only.  Failure is told by hv_host_guest_doom(). */
    void (*post)(void *impl, const void *message, size_t bytes,
                 const struct hv_host_guest_link *link);
    /** Memory answer: the removed region that started at this page number is not used any more. */
    void (*memory_removed)(void *impl, uint64_t first_pfn);
    /** 0 or a negative errno. */
    int (*link_create)(void *impl, struct hv_host_guest_link *ret_link);
    void (*link_destroy)(void *impl, struct hv_host_guest_link *link);
    /** Worker thread: tell the guest to look at the channel. */
    void (*raise)(const struct hv_host_guest_link *link);
    /** A worker did not answer for a while: true when raise() may hang because of the guest, which is undone. */
    bool (*unblock)(const struct hv_host_guest_link *link);
    /** Take no messages for now, or go on. */
    void (*pause)(void *impl, bool paused);
    /** Say why and end the connection; nothing is called after this but link_destroy, unblock and destroy. */
    void (*hang_up)(void *impl, const char *why);
    void (*destroy)(void *impl);
};

/**
 * A guest is there and has a name: it takes part from now on.  `impl` is the guest's until ops->destroy.
 * Returns 0, -ENOMEM or the negative errno of what its workers need; impl stays the caller's then.
 */
int hv_host_guest_create(struct hv_host *host, const char *name,
                         const struct hv_host_guest_ops *ops, void *impl,
                         struct hv_host_guest **ret_guest);
/** A message was posted to a connection id.  `message` is a private copy, 8-byte aligned, at most 240 bytes. */
void hv_host_guest_message(struct hv_host_guest *guest, uint32_t connection_id, const void *message,
                           size_t bytes);
/** The guest broke the rules or cannot be reached: it is disconnected soon.  The first reason counts. */
void hv_host_guest_doom(struct hv_host_guest *guest, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** The guest went by itself. */
void hv_host_guest_lost(struct hv_host_guest *guest);
/** Nothing of the guest is listened to any more. */
bool hv_host_guest_is_doomed(const struct hv_host_guest *guest);

/** Its memory: the four functions of memory.h with the rules of the bus.  0 or a negative errno; takes fd over. */
int hv_host_guest_memory_add(struct hv_host_guest *guest, uint64_t first_pfn, uint64_t page_count,
                             int fd, uint64_t offset);
/** 0: ops->memory_removed follows.  -ENOENT. */
int hv_host_guest_memory_remove(struct hv_host_guest *guest, uint64_t first_pfn,
                                uint64_t page_count);

#endif
