/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvmbus: the guest side of VMBus in user space.
 *
 * A `struct hv_vmbus` is one connection to a host: its device list and its DMA memory.  A `struct hv_channel` is one
 * open channel: a ring to the host, a ring from it, and a way to wake each other.
 *
 *   hv_vmbus_open("unix:/run/hv.sock")            connect, agree on a version, receive the offers
 *     hv_vmbus_devices()                          what is there
 *     hv_dma_alloc()                              memory the host may reach
 *     hv_channel_open(bus, instance, 0, ...)      primary channel;  1 .. n are sub-channels
 *       reserve -> fill -> flush                  send: many packets, one publish, at most one signal
 *       peek -> look -> release                   receive: many packets in place, one commit
 *       arm -> (sleep on hv_channel_fd) -> disarm
 *     hv_channel_close()
 *   hv_vmbus_close()
 *
 * THREADS: the bus (open, close, poll, channel open and close, DMA) belongs to one thread, the control thread.  Each
 * channel's data path belongs to one thread, its owner, from open to close; no locks are taken there.  The library
 * starts no threads, prints nothing, reads no environment.
 *
 * ERRORS: 0 or a negative errno; results are written on success only.
 *   -EAGAIN not now; -EMSGSIZE, -EINVAL never; -EPROTO the host broke the protocol, the channel is dead;
 *   -ENODEV the device was taken away (rescind) or the host is gone.
 * After -EPROTO or -ENODEV every data-path call keeps failing the same way; close the channel.
 */
#ifndef HV_VMBUS_H
#define HV_VMBUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <hv/log_hook.h>
#include <hv/packet.h>
#include <hv/wire/guid.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hv_vmbus;
struct hv_channel;
struct hv_dma;

/** Text form without braces, 36 characters and a NUL. */
#define HV_GUID_TEXT_BYTES 37
void hv_guid_format(const struct hv_guid *guid, char text[HV_GUID_TEXT_BYTES]);
/** Accepts upper and lower case, with or without braces.  Returns 0 or -EINVAL. */
int hv_guid_parse(const char *text, struct hv_guid *ret_guid);
bool hv_guid_equal(const struct hv_guid *a, const struct hv_guid *b);

/** What is on the bus.  `sub_channel_count` counts the sub-channel offers seen so far. */
struct hv_vmbus_device {
    struct hv_guid class_id;
    struct hv_guid instance_id;
    uint32_t relid;       /* of the primary channel */
    uint16_t offer_flags; /* HV_OFFER_* */
    uint16_t sub_channel_count;
    bool monitored;
    uint8_t user_data[120]; /* of the primary's offer */
};

enum hv_vmbus_event {
    HV_VMBUS_DEVICE_ADDED,
    HV_VMBUS_DEVICE_REMOVED, /* rescinded: close its channels */
    HV_VMBUS_SUBCHANNEL_ADDED,
    HV_VMBUS_HOST_GONE, /* the connection is dead; every channel is too */
};

struct hv_vmbus_opts {
    size_t size; /* sizeof(struct hv_vmbus_opts) */
    struct hv_log_hook log;
    uint32_t max_version; /* 0 = newest known; else HV_VERSION_*: highest to ask for */
    uint32_t timeout_ms;  /* for each answer of the host; 0 = 10,000 */
    /** From hv_vmbus_poll(), in the control thread.  May be NULL. */
    void (*event)(void *arg, enum hv_vmbus_event event, const struct hv_guid *instance);
    void *event_arg;
};
#define HV_VMBUS_OPTS_INIT                                                                         \
    {                                                                                              \
        .size = sizeof(struct hv_vmbus_opts)                                                       \
    }

/**
 * Connect to a host.
 *
 * @address  "unix:PATH[,INSTANCE-GUID]" an hv-host process; "fd:N[,INSTANCE-GUID]" a connected Unix socket of type
 *           SOCK_SEQPACKET that the bus takes over (also on failure, unless -EINVAL); "uio:[INSTANCE-GUID]" a
 *           device bound to uio_hv_generic, or all of them (docs/uio.md).
 * @opts     May be NULL.  Copied.
 *
 * What is offered already is no event: ask hv_vmbus_devices().
 *
 * Returns 0, or
 *   -EINVAL         address not understood, opts->size unknown;
 *   -ENOENT, -ECONNREFUSED, -EACCES   nobody there, as connect(2) says; or the host has no room for us; uio: no such
 *                   device, or it is not bound to uio_hv_generic;
 *   -ENODEV         the host went away meanwhile;
 *   -EPROTONOSUPPORT  the host accepts no version we speak, or another socket protocol;
 *   -ETIMEDOUT      the host does not answer;
 *   -EPROTO         the host's answers make no sense.
 * The log hook is told the details.
 */
int hv_vmbus_open(const char *address, const struct hv_vmbus_opts *opts, struct hv_vmbus **ret_bus);
/**
 * Closes open channels, frees all DMA memory, says goodbye.  Their handles are gone then.  Not from the event callback.
 * NULL is fine.
 */
void hv_vmbus_close(struct hv_vmbus *bus);

/** Protocol version agreed upon, HV_VERSION_*; 0 where the kernel speaks for us (uio). */
uint32_t hv_vmbus_version(const struct hv_vmbus *bus);
/** Wait descriptor for poll(2): readable when hv_vmbus_poll() has work. */
int hv_vmbus_fd(const struct hv_vmbus *bus);
/**
 * Handle what the host sent, run the event callback, give rescinded and closed channels back.  Never blocks by itself.
 * Returns 0, or -ENODEV when the host is gone.
 */
int hv_vmbus_poll(struct hv_vmbus *bus);
/** Copies up to `max` devices; returns how many there are. */
size_t hv_vmbus_devices(const struct hv_vmbus *bus, struct hv_vmbus_device *devices, size_t max);
/** First device of a class, or the one whose instance is given in the address.  Returns 0 or -ENODEV. */
int hv_vmbus_find(const struct hv_vmbus *bus, const struct hv_guid *class_id,
                  struct hv_vmbus_device *ret_device);
/** Wait until at least `count` sub-channels of the device were offered.  Returns how many there are now. */
size_t hv_vmbus_wait_subchannels(struct hv_vmbus *bus, const struct hv_guid *instance, size_t count,
                                 uint32_t timeout_ms);

/* ---- DMA memory: what packets may point the host at ---- */

/**
 * Allocate zeroed memory that the host can reach, page aligned, contiguous for us, present and at the host.
 * hv_dma_bytes() says how much it is: rounded up to pages, from 2 MiB on to 2 MiB (uio: always to hugepages).
 * Returns 0, -EINVAL (0 bytes), -ENOMEM (uio: no hugepages), -ENODEV, -EPERM (uio: capability missing), -ETIMEDOUT.
 */
int hv_dma_alloc(struct hv_vmbus *bus, size_t bytes, struct hv_dma **ret_dma);
/** The caller promises that no request uses it any more.  Control thread.  NULL is fine. */
void hv_dma_free(struct hv_dma *dma);
/**
 * Let the host reach memory of the caller: `fd` backs [va, va + bytes) from `offset`; all page aligned.  The
 * descriptor stays the caller's and is not needed afterwards.  A memory file that is not sealed against shrinking gets
 * that seal.  uio: the memory must be hugepages, wherever they are from.  Errors as hv_dma_alloc(); -EINVAL: alignment, file too short, memory registered already; -EACCES: the
 * file can shrink and cannot be sealed, or is sealed against writing.
 */
int hv_dma_register(struct hv_vmbus *bus, void *va, size_t bytes, int fd, uint64_t offset,
                    struct hv_dma **ret_dma);
void *hv_dma_address(const struct hv_dma *dma);
size_t hv_dma_bytes(const struct hv_dma *dma);
/**
 * Host page numbers (4096 bytes each) of [va, va + bytes), first page first.  Lock-free; any thread, while a channel of
 * the bus is open or nothing else is done with the bus.
 * Returns how many were written, or -EFAULT when not all of it is DMA memory, -ENOBUFS when more than `max`.
 */
ssize_t hv_dma_pfns(const struct hv_vmbus *bus, const void *va, size_t bytes, uint64_t *pfns,
                    size_t max);

/* ---- Channels: set-up, control thread ---- */

struct hv_channel_opts {
    size_t size;
    uint32_t
        out_bytes; /* ring to the host, control page included; 0 = 128 KiB (uio: the kernel decides) */
    uint32_t in_bytes;     /* ring from the host; 0 = 128 KiB */
    uint32_t target_vp;    /* virtual processor that the host should serve it near; default 0 */
    const void *user_data; /* up to 120 bytes for the open message; NULL = zeroes */
    size_t user_data_bytes;
};
#define HV_CHANNEL_OPTS_INIT                                                                       \
    {                                                                                              \
        .size = sizeof(struct hv_channel_opts)                                                     \
    }

/**
 * Open channel `index` of a device: 0 the primary, else a sub-channel that was offered.
 *
 * Returns 0, or -EINVAL (sizes, index never offered), -EBUSY (open already; uio: by another program), -ENODEV
 * (rescinded, host gone), -EIO (the host refused), -ETIMEDOUT, -ENOMEM; uio: -EACCES, -EOPNOTSUPP (user data; a
 * sub-channel that this kernel cannot signal).  After any failure nothing is left behind.  A host that does not
 * confirm giving the ring memory back is cut off, as by hv_channel_close().
 */
int hv_channel_open(struct hv_vmbus *bus, const struct hv_guid *instance, uint16_t index,
                    const struct hv_channel_opts *opts, struct hv_channel **ret_channel);
/**
 * Close.  Returns when the host has confirmed that it uses neither the rings nor memory named in them any more, or is
 * gone; so request memory may be reused afterwards.  A host that does not confirm in time is cut off (HOST_GONE): what
 * it still writes to nobody knows, so free registered memory only when its process is gone.  Sub-channels before their
 * primary.  The owner must have stopped.  NULL is fine.
 */
void hv_channel_close(struct hv_channel *channel);
/** Ask the host to serve the channel near another virtual processor (4.1).  Returns 0, -EOPNOTSUPP, -EIO. */
int hv_channel_set_target(struct hv_channel *channel, uint32_t target_vp);
/**
 * True: the driver may ask the host for sub-channels of this primary channel.  False (uio, a channel that the host does
 * not monitor): do without; kernels that can have such a channel can crash when a sub-channel comes while it signals.
 */
bool hv_channel_may_grow(const struct hv_channel *primary);

/**
 * Memory that the host reaches under a handle for as long as it is shared: the receive and the send buffer of a network
 * device.  At most one of each kind a channel.
 */
enum hv_shared_kind {
    HV_SHARED_RECEIVE,
    HV_SHARED_SEND,
};
struct hv_shared {
    void *address; /* page aligned, contiguous for us, zeroed */
    size_t
        bytes; /* what there is: at least what was asked for, or what the kernel has set aside (uio) */
    uint32_t gpadl;
};
/**
 * Share memory through an open primary channel.  Control thread, while nothing else is done with the bus.
 * Returns 0, -EINVAL (0 bytes, more than the 8,190 pages that a handle can name, a sub-channel), -EBUSY (shared
 * already), -ENOMEM, -EIO (the host refused), -ENODEV, -ETIMEDOUT, -EOPNOTSUPP (uio: the kernel set nothing aside for
 * this device).
 */
int hv_channel_share(struct hv_channel *primary, enum hv_shared_kind kind, size_t bytes,
                     struct hv_shared *ret_shared);
/**
 * Take it back: returns when the host has confirmed that it does not use it, or is cut off.  Tell the host's driver
 * before.  hv_channel_close() does it for what is shared still.  Nothing shared: does nothing.
 */
void hv_channel_unshare(struct hv_channel *primary, enum hv_shared_kind kind);

/* ---- Channels: data path, owner thread ---- */

/** As hv_ring_tx_reserve(): room for one packet.  0, -EAGAIN, -EMSGSIZE, -EPROTO, -ENODEV. */
int hv_channel_reserve(struct hv_channel *channel, const struct hv_packet_desc *desc,
                       struct hv_packet_slot *ret_slot);
/** Publish what was reserved, signal the host if it sleeps.  Cheap when nothing is pending.  0, -EPROTO, -ENODEV. */
int hv_channel_flush(struct hv_channel *channel);
/** Next packet from the host, in place.  0, -EAGAIN (none), -EPROTO, -ENODEV. */
int hv_channel_peek(struct hv_channel *channel, struct hv_packet *ret_packet);
/** Give the space of all peeked packets back; signals the host if it waits for room. */
void hv_channel_release(struct hv_channel *channel);
/** Free bytes in the ring to the host; 0 when the channel is dead because of them, see hv_channel_status(). */
uint32_t hv_channel_free_bytes(struct hv_channel *channel);
/** Largest extension plus payload that one packet can carry. */
uint32_t hv_channel_max_bytes(const struct hv_channel *channel);
/**
 * Before sleeping on a full ring: the host will signal when `bytes` are free, where a packet takes 24 bytes more than its
 * extension and its payload rounded up to 8.  True = there is room already, or the channel is dead: do not sleep.
 * hv_channel_disarm() withdraws it.
 */
bool hv_channel_want_room(struct hv_channel *channel, uint32_t bytes);

/**
 * Wait descriptor: readable after the host signalled, was lost, or took the device away.  The host may have it open, too:
 * take it out of an epoll set before hv_channel_close(), for closing does not.
 */
int hv_channel_fd(const struct hv_channel *channel);
/**
 * Before sleeping: ask for signals.  True = packets are waiting (or peeked and not released), or the channel is dead:
 * do not sleep, no signals were asked for.
 */
bool hv_channel_arm(struct hv_channel *channel);
/** After waking: no more signals wanted, drain the descriptor.  Costs nothing when not armed. */
void hv_channel_disarm(struct hv_channel *channel);
/** 0 while alive, else -ENODEV or -EPROTO. */
int hv_channel_status(const struct hv_channel *channel);
/** Declare the channel dead because the driver found the host lying above the ring level.  -EPROTO from then on. */
void hv_channel_kill(struct hv_channel *channel, const char *reason);
/** The bus it belongs to, e.g. for hv_dma_pfns(). */
struct hv_vmbus *hv_channel_bus(const struct hv_channel *channel);

struct hv_channel_stats {
    struct hv_ring_stats out;
    struct hv_ring_stats in;
    uint64_t wakeups; /* times the owner was woken by the host */
};
void hv_channel_get_stats(const struct hv_channel *channel, struct hv_channel_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
