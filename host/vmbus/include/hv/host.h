/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libhvhost: an emulated Hyper-V in user space.  The other end of everything in hv/vmbus.h.
 *
 *   hv_host_create()
 *     hv_storvsp_create(), ...           providers offer devices (their own headers)
 *     hv_host_listen("/run/hv.sock")     guests connect; or hv_host_adopt(fd) for one end of a socket pair
 *     hv_host_poll()                     control messages of all guests; control thread
 *       opts.guest_added -> the program gives each of the guest's workers a thread (or polls them itself)
 *       hv_host_worker_poll()            rings of the channels bound to this worker
 *       opts.guest_removed -> stop polling the guest's workers, then hv_host_guest_put()
 *   hv_host_destroy()
 *
 * THREADS: one control thread (everything without "worker" or "channel" in its name), and per guest as many workers as
 * asked for, each polled by one thread at a time.  A channel is served by the worker target_vp % workers.  Nothing of one
 * guest is ever waited for by another guest's worker or by the control thread.
 *
 * TRUST: a guest may send anything.  What it does wrong costs it its connection (hv_host_channel_kill) and nobody else
 * anything.
 */
#ifndef HV_HOST_H
#define HV_HOST_H

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

struct hv_host;
struct hv_host_guest;
struct hv_host_worker;
struct hv_host_channel;
struct hv_host_device; /* an offer that every guest sees */

struct hv_host_opts {
    size_t size;
    struct hv_log_hook log;
    uint32_t max_version;       /* highest VMBus version accepted; 0 = 5.3 */
    uint32_t max_guests;        /* 0 = 16 */
    uint16_t workers_per_guest; /* 0 = 1 */
    /**
     * Accept memory of hugetlbfs as well (DPDK's), for requests, not for rings.  Such files cannot be sealed, so the guest
     * can make pages vanish: the program has a handler of SIGBUS that calls hv_host_memory_fault().
     */
    bool vanishing_memory;
    /** A guest said hello: start polling its workers.  Control thread. */
    void (*guest_added)(void *arg, struct hv_host_guest *guest);
    /**
     * The guest is gone and all its channels are closed: stop polling its workers, then call hv_host_guest_put(), now or
     * later.  Control thread.  From hv_host_destroy() channels may still be closing, and both must be done on return.
     */
    void (*guest_removed)(void *arg, struct hv_host_guest *guest);
    void *arg;
};
#define HV_HOST_OPTS_INIT                                                                          \
    {                                                                                              \
        .size = sizeof(struct hv_host_opts)                                                        \
    }

/** Options are copied.  0, -EINVAL (options), -ENOMEM, or the negative errno of a descriptor that cannot be made. */
int hv_host_create(const struct hv_host_opts *opts, struct hv_host **ret_host);
/**
 * Disconnects every guest (guest_removed runs for each), then polls their workers itself until all channels are closed,
 * however long providers take; carries out posted work; tells `gone` of withdrawn devices.  Devices must be withdrawn
 * before, but need not be gone.  NULL is fine.
 */
void hv_host_destroy(struct hv_host *host);
/**
 * Listen on a Unix socket.  A dead socket file in the way is replaced; destroy removes the file.
 * Returns 0, -EINVAL (no path), -EALREADY (listens), -ENAMETOOLONG, -EADDRINUSE (something lives there, or it is no
 * socket), or what socket(2), bind(2) and listen(2) say.
 */
int hv_host_listen(struct hv_host *host, const char *path);
/**
 * Serve the guest at the other end of a connected Unix socket of type SOCK_SEQPACKET.  Takes fd over, also on failure.
 * Returns 0, -EBADF, -EUSERS (max_guests), -ENOMEM, or the negative errno of epoll_ctl(2).
 */
int hv_host_adopt(struct hv_host *host, int fd);
/** Wait descriptor: readable when hv_host_poll() has work. */
int hv_host_fd(const struct hv_host *host);
/** Handle connections, messages, and what workers report.  Never blocks.  0 or a negative errno that is fatal. */
int hv_host_poll(struct hv_host *host);
/** Milliseconds until hv_host_poll() must run even without the descriptor, -1 = never. */
int hv_host_next_deadline_ms(const struct hv_host *host);

/** Something for the control thread to do; lives in the caller's own object until it runs. */
struct hv_host_work {
    void (*run)(struct hv_host_work *work);
    struct hv_host_work *next; /* the host's */
};
/** From any thread: run work->run(work) once in the control thread, from hv_host_poll().  Wakes it.  Not queued twice. */
void hv_host_post(struct hv_host *host, struct hv_host_work *work);

/**
 * For the program's handler of SIGBUS (opts.vanishing_memory): `address` is si_addr.  True: it lay in memory that a guest
 * took away; zeroes are there now, and the guest is dropped soon: return from the handler.  False: not ours.  Safe in any
 * signal handler of any thread; one answer for all hosts of the process.
 */
bool hv_host_memory_fault(const void *address);

uint32_t hv_host_guest_id(const struct hv_host_guest *guest); /* 1, 2, ... for logs */
const char *hv_host_guest_name(const struct hv_host_guest *guest);
uint16_t hv_host_guest_worker_count(const struct hv_host_guest *guest);
/**
 * Hang up on a guest, telling it and the log why; guest_removed follows from a later hv_host_poll().  From guest_added it
 * comes before any channel opens: then no worker need ever be polled.
 */
void hv_host_guest_drop(struct hv_host_guest *guest, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct hv_host_worker *hv_host_guest_worker(struct hv_host_guest *guest, uint16_t index);
/** Give the guest back after guest_removed, once no thread polls its workers.  Control thread.  NULL is fine. */
void hv_host_guest_put(struct hv_host_guest *guest);

/*
 * ---- Workers: one thread each ----
 *
 *   poll ... poll (0 = idle) -> arm (true: poll again) -> sleep on fd -> disarm -> poll ...
 *
 * Whoever never sleeps needs only poll.
 */

/** Serve the worker's channels once.  Returns how much was done (0 = idle). */
int hv_host_worker_poll(struct hv_host_worker *worker);
/** Wait descriptor: signals, provider events, control hand-over. */
int hv_host_worker_fd(const struct hv_host_worker *worker);
/** Before sleeping: ask for signals.  True = there is work, do not sleep (nothing is armed then). */
bool hv_host_worker_arm(struct hv_host_worker *worker);
/** After waking: no signals wanted any more. */
void hv_host_worker_disarm(struct hv_host_worker *worker);

/* ---- Devices: for providers ---- */

/**
 * What a provider does with the channels of its device.  All run in the worker thread of the channel, except where said.
 *
 *   open -> poll, arm ... -> close -> poll, arm ... until hv_host_channel_closed()
 *
 * Calls for one channel never overlap; but MODIFY_CHANNEL may move it to another worker, and so to another thread, in
 * between.  The ring can be used from the first poll on, when the guest has its open result; in open, and after close,
 * peek and reserve say -EAGAIN.  A primary is closed when all its sub-channels have said hv_host_channel_closed().
 */
struct hv_host_device_ops {
    /**
     * Required.  The guest opens the channel; `user_data` (120 bytes) lives during the call; `*ret_ctx` is handed to the
     * others.  0, or a negative errno: refused, and nothing else is called.
     */
    int (*open)(void *device_ctx, struct hv_host_channel *channel, const void *user_data,
                size_t user_data_bytes, void **ret_ctx);
    /** Required.  Take requests, send completions.  Returns how much was done. */
    int (*poll)(void *ctx);
    /** Optional.  About to sleep: return true when there is work outside the ring. */
    bool (*arm)(void *ctx);
    /**
     * Required.  The guest closed the channel or is gone, or the device is taken away.  Stop what runs; call
     * hv_host_channel_closed() when guest memory is not used any more (at once or from a later poll).  ctx is the
     * provider's to free then.
     */
    void (*close)(void *ctx);
    /** Optional, control thread: a guest is gone, after all its channels closed.  Its id never comes back. */
    void (*guest_gone)(void *device_ctx, uint32_t guest_id);
};

struct hv_host_device_opts {
    size_t size;
    struct hv_guid class_id;
    struct hv_guid instance_id;
    uint16_t offer_flags;
    /** Offer with a monitor bit where there is one left: signals by shared memory, polled every 100 us while asleep. */
    bool monitored;
    uint8_t user_data[120];
    uint16_t max_sub_channels;
};

/**
 * Offer a device to every guest, present and future.  opts and ops are copied; device_ctx lives until `gone` of
 * hv_host_device_withdraw().
 * Returns 0, -EINVAL (options, required ops), -EEXIST (class and instance are taken), -ENOSPC (256 devices), -ENOMEM.
 */
int hv_host_device_offer(struct hv_host *host, const struct hv_host_device_opts *opts,
                         const struct hv_host_device_ops *ops, void *device_ctx,
                         struct hv_host_device **ret_device);
/**
 * Rescind it from every guest: each is told when the provider has closed its channels.  Returns at once; `gone` (may be
 * NULL) runs from hv_host_poll() or hv_host_destroy() when no channel uses the device any more.  The handle is gone.
 */
void hv_host_device_withdraw(struct hv_host_device *device, void (*gone)(void *arg), void *arg);

/* ---- Channels: for providers, in the worker thread ---- */

/** Next packet, in place: 0, -EAGAIN (none), -EPROTO (corrupt: the guest is dropped; nothing comes any more). */
int hv_host_channel_peek(struct hv_host_channel *channel, struct hv_packet *ret_packet);
/** Give the space of all peeked packets back; signals the guest if it waits for room. */
void hv_host_channel_release(struct hv_host_channel *channel);
/** Room for one packet: 0, -EAGAIN (full), -EMSGSIZE (never fits this ring), -EINVAL (extension), -EPROTO as above. */
int hv_host_channel_reserve(struct hv_host_channel *channel, const struct hv_packet_desc *desc,
                            struct hv_packet_slot *ret_slot);
/** Publish what was reserved; signals the guest if it sleeps.  0 or -EPROTO. */
int hv_host_channel_flush(struct hv_host_channel *channel);
uint32_t hv_host_channel_free_bytes(struct hv_host_channel *channel);
bool hv_host_channel_want_room(struct hv_host_channel *channel, uint32_t bytes);
/**
 * Packets that wait in the ring are no work for now (no free slot, no room for answers, handshake not finished): while
 * held, hv_host_worker_arm() leaves the ring masked and does not look at it, so that the worker can sleep until another
 * event (ops.arm, a watched descriptor, room in the ring) lets the provider go on.
 */
void hv_host_channel_hold(struct hv_host_channel *channel, bool held);
/**
 * Nothing of the guest's memory is used through this channel any more: answer to ops.close, from in there or from a later
 * poll.  The channel must not be used afterwards.
 */
void hv_host_channel_closed(struct hv_host_channel *channel);
/** The guest broke the rules: drop its connection, telling it and the log why. */
void hv_host_channel_kill(struct hv_host_channel *channel, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/**
 * Offer sub-channels up to index `count` (those offered already count).  From 1.  They are rescinded when the guest closes
 * the primary.  Returns 0, or -EINVAL (not a primary, more than max_sub_channels).
 */
int hv_host_channel_offer_subchannels(struct hv_host_channel *primary, uint16_t count);
/** Take this device away from this guest, for as long as it stays connected (fault injection: rescind). */
void hv_host_channel_rescind(struct hv_host_channel *channel);
/** Fault injection: publish an impossible write index to the guest, and nothing after it. */
void hv_host_channel_corrupt_index(struct hv_host_channel *channel);

uint16_t hv_host_channel_index(const struct hv_host_channel *channel); /* 0 = primary */
uint32_t hv_host_channel_guest_id(const struct hv_host_channel *channel);
uint32_t hv_host_channel_version(
    const struct hv_host_channel *channel); /* VMBus version agreed with the guest */
/**
 * Register another descriptor that wakes the worker (e.g. completions of asynchronous file I/O); the provider reads it.
 * It follows the channel to another worker, and is forgotten when the channel has closed.
 * Returns 0, -EBADF, -ENOSPC (72 of one channel), -EEXIST (watched already), or what epoll_ctl(2) says.
 */
int hv_host_channel_watch(struct hv_host_channel *channel, int fd);
void hv_host_channel_unwatch(struct hv_host_channel *channel, int fd);

/**
 * Resolve the single range of a GPA-direct packet to addresses of ours, neighbouring pages merged.
 * Guest memory stays mapped until hv_host_channel_closed(); its contents may change at any moment.
 *
 * Page numbers beyond those that the range needs are ignored (Linux sends some).
 *
 * Returns the number of iovec entries (together `*ret_bytes` bytes), or -EINVAL (malformed: no range, several ranges,
 * too few page numbers, offset > 4095, length 0), -EFAULT (not guest memory), -ENOBUFS (more than max entries).
 */
ssize_t hv_host_channel_map_gpa(struct hv_host_channel *channel, const struct hv_packet *packet,
                                struct iovec *iov, size_t max, uint32_t *ret_bytes);

/**
 * The same for a packet of one or more ranges, one behind the other, as network guests send them.  Neighbouring pages
 * are merged within a range only.  Also -EINVAL: together more than 4 GiB.
 */
ssize_t hv_host_channel_map_gpa_ranges(struct hv_host_channel *channel,
                                       const struct hv_packet *packet, struct iovec *iov,
                                       size_t max, uint32_t *ret_bytes);

/**
 * Map memory that the guest shared under a handle, contiguous for us, to read and to write; its contents may change at any
 * moment.  In ops.poll of the channel that it was shared through; the address is good for other channels of the device
 * too, in any thread.  It stays mapped until hv_host_channel_unmap_gpadl() or hv_host_channel_closed(); a guest that
 * tears the GPADL down before gets its answer when nothing is mapped any more.
 *
 * Returns 0, or -ENOENT (no such handle, not shared through this channel, being torn down, one of a ring), -EEXIST
 * (mapped already), -EINVAL (several ranges, or not from the start of a page), -ENOSPC (this guest's buffers lie
 * scattered over too many pieces), -ENOMEM.
 */
int hv_host_channel_map_gpadl(struct hv_host_channel *channel, uint32_t gpadl, void **ret_address,
                              size_t *ret_bytes);
/** Not mapped: does nothing. */
void hv_host_channel_unmap_gpadl(struct hv_host_channel *channel, uint32_t gpadl);

struct hv_host_stats {
    struct hv_ring_stats in;  /* from the guest */
    struct hv_ring_stats out; /* to the guest */
    uint64_t wakeups;         /* times a signal of the guest was taken */
};
/** Worker thread; from ops.close as well. */
void hv_host_channel_get_stats(const struct hv_host_channel *channel,
                               struct hv_host_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
