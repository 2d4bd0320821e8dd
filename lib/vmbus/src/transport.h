/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seam below the bus: how devices are found, how a channel gets its rings, how it is signalled, and what memory the
 * host can reach.  Nothing here says how a transport learns that: by control messages over a socket (transport_sock.c),
 * or from a kernel that speaks for us.
 *
 * A transport reports what it finds through hv_bus_add_offer(), hv_bus_rescind() and hv_bus_mark_gone() (bus_impl.h).
 * Everything runs in the control thread, except `signal`, `drain` and `tick`, which run in the owner of the channel.
 */
#ifndef HV_VMBUS_TRANSPORT_H
#define HV_VMBUS_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include <hv/vmbus.h>

struct hv_offer;

struct hv_transport_ops {
    /**
     * Connect and report what is offered.  `where` is the address with its scheme, without the instance.
     * On failure everything is undone.
     */
    int (*open)(struct hv_vmbus *bus, const char *where);
    /** All channels are closed.  The host uses nothing of ours afterwards, or is cut off. */
    void (*close)(struct hv_vmbus *bus);
    /** Readable when `poll` has work; -1 when the host is gone. */
    int (*fd)(const struct hv_vmbus *bus);
    /** Handle what the host sent; never blocks.  A host that is lost on the way is reported, not returned. */
    void (*poll)(struct hv_vmbus *bus);
    /** Wait until the host sent something, and handle it.  0, -ETIMEDOUT (also when it never stops), -ENODEV. */
    int (*wait)(struct hv_vmbus *bus, uint64_t deadline_ns);
    uint32_t (*version)(const struct hv_vmbus *bus);
    /** The offer was rescinded, its channel is closed: give its relid back.  0, or -EAGAIN: ask again later. */
    int (*release_offer)(struct hv_vmbus *bus, struct hv_offer *offer);
    /** Free what the transport keeps for an offer; without a word to the host. */
    void (*forget_offer)(struct hv_offer *offer);

    /**
     * Open channel->offer.  Sets out, in and wait_fd, and calls hv_channel_start() before the host can see the rings.
     * Errors of hv_channel_open(); after any nothing is left.
     */
    int (*channel_open)(struct hv_channel *channel, const struct hv_channel_opts *opts);
    /** The host uses neither rings nor request memory afterwards, or is gone; the rings are unmapped. */
    void (*channel_close)(struct hv_channel *channel);
    int (*channel_set_target)(struct hv_channel *channel, uint32_t target_vp);
    /** See hv_channel_may_grow().  NULL: always. */
    bool (*channel_may_grow)(const struct hv_channel *channel);
    /**
     * Share zeroed memory of at least `bytes` through a primary channel, which shares none of this kind yet.
     * Errors of hv_channel_share(); after any nothing is left.
     */
    int (*share)(struct hv_channel *primary, enum hv_shared_kind kind, size_t bytes,
                 struct hv_shared *ret_shared);
    /** Take it back, before the channel closes or after: the host does not use it afterwards, or is cut off. */
    void (*unshare)(struct hv_channel *primary, enum hv_shared_kind kind);
    /** Tell the host to look at the channel. */
    void (*signal)(struct hv_channel *channel);
    /** Make wait_fd unreadable again; true when it was readable. */
    bool (*drain)(struct hv_channel *channel);
    /** A channel that `ticks` goes to sleep: make wait_fd readable in a moment.  NULL: there are none. */
    void (*tick)(struct hv_channel *channel);
    /** The channel is dead: make wait_fd readable, and get its owner out of `signal`.  Control thread. */
    void (*wake)(struct hv_channel *channel);

    /** Fill va, bytes and runs of `dma`.  Errors of hv_dma_alloc(). */
    int (*dma_alloc)(struct hv_dma *dma, size_t bytes);
    /** The same for memory at dma->va, dma->bytes that `fd` backs.  Errors of hv_dma_register(). */
    int (*dma_register)(struct hv_dma *dma, int fd, uint64_t offset);
    /** Take the memory from the host, and unmap what dma_alloc() mapped. */
    void (*dma_free)(struct hv_dma *dma);
};

extern const struct hv_transport_ops hv_transport_sock;
extern const struct hv_transport_ops hv_transport_uio;

/** The bus cannot be opened, and no transport has seen the address: close what an "fd:" address handed over. */
void hv_sock_abandon(const char *address);

#endif
