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
    /** A guest said hello: start polling its workers.  Control thread. */
    void (*guest_added)(void *arg, struct hv_host_guest *guest);
    /** The guest is gone: stop polling its workers, then call hv_host_guest_put().  Control thread. */
    void (*guest_removed)(void *arg, struct hv_host_guest *guest);
    void *arg;
};
#define HV_HOST_OPTS_INIT                                                                          \
    {                                                                                              \
        .size = sizeof(struct hv_host_opts)                                                        \
    }

int hv_host_create(const struct hv_host_opts *opts, struct hv_host **ret_host);
/** All guests are disconnected first (guest_removed runs for each).  Devices must be withdrawn before.  NULL is fine. */
void hv_host_destroy(struct hv_host *host);
/** Listen on a Unix socket; a dead socket file in the way is replaced, a live one gives -EADDRINUSE. */
int hv_host_listen(struct hv_host *host, const char *path);
/** Serve the guest at the other end of a connected SOCK_SEQPACKET socket.  Takes fd over, also on failure. */
int hv_host_adopt(struct hv_host *host, int fd);
int hv_host_fd(const struct hv_host *host);
/** Handle connections and control messages.  Never blocks.  Returns 0 or a negative errno that is fatal. */
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

uint32_t hv_host_guest_id(const struct hv_host_guest *guest); /* 1, 2, ... for logs */
const char *hv_host_guest_name(const struct hv_host_guest *guest);
uint16_t hv_host_guest_worker_count(const struct hv_host_guest *guest);
struct hv_host_worker *hv_host_guest_worker(struct hv_host_guest *guest, uint16_t index);
/** Give the guest back after guest_removed, once no thread polls its workers. */
void hv_host_guest_put(struct hv_host_guest *guest);

/* ---- Workers: one thread each ---- */

/** Serve the worker's channels once.  Returns how much was done (0 = idle). */
int hv_host_worker_poll(struct hv_host_worker *worker);
/** Wait descriptor: signals, provider events, control hand-over. */
int hv_host_worker_fd(const struct hv_host_worker *worker);
/** Before sleeping: ask for signals.  True = there is work, do not sleep. */
bool hv_host_worker_arm(struct hv_host_worker *worker);
/** After waking: no signals wanted any more. */
void hv_host_worker_disarm(struct hv_host_worker *worker);

/* ---- Devices: for providers ---- */

/**
 * What a provider does with the channels of its device.  All run in the worker thread of the channel, except where said.
 */
struct hv_host_device_ops {
    /** Required.  The guest opens the channel; `*ret_ctx` is handed to the others.  0 or a negative errno (refused). */
    int (*open)(void *device_ctx, struct hv_host_channel *channel, const void *user_data,
                size_t user_data_bytes, void **ret_ctx);
    /** Required.  Take requests, send completions.  Returns how much was done. */
    int (*poll)(void *ctx);
    /** Optional.  About to sleep: return true when there is work outside the ring. */
    bool (*arm)(void *ctx);
    /**
     * Required.  The guest closed the channel or is gone.  Stop what runs; call hv_host_channel_closed() when guest
     * memory is not used any more (at once or from a later poll).  ctx is the provider's to free then.
     */
    void (*close)(void *ctx);
    /** Optional.  Relevant to all: the control thread tells that a guest is gone, after all channels closed. */
    void (*guest_gone)(void *device_ctx, uint32_t guest_id);
};

struct hv_host_device_opts {
    size_t size;
    struct hv_guid class_id;
    struct hv_guid instance_id;
    uint16_t offer_flags;
    bool
        monitored; /* offer with a monitor bit: signals by shared memory, polled every 100 us while asleep */
    uint8_t user_data[120];
    uint16_t max_sub_channels;
};

/** Offer a device to every guest, present and future.  The ops and ctx live until hv_host_device_withdraw(). */
int hv_host_device_offer(struct hv_host *host, const struct hv_host_device_opts *opts,
                         const struct hv_host_device_ops *ops, void *device_ctx,
                         struct hv_host_device **ret_device);
/** Rescind it from every guest.  Returns at once; `gone` runs in the control thread when no channel uses it any more. */
void hv_host_device_withdraw(struct hv_host_device *device, void (*gone)(void *arg), void *arg);

/* ---- Channels: for providers, in the worker thread ---- */

int hv_host_channel_peek(struct hv_host_channel *channel, struct hv_packet *ret_packet);
void hv_host_channel_release(struct hv_host_channel *channel);
int hv_host_channel_reserve(struct hv_host_channel *channel, const struct hv_packet_desc *desc,
                            struct hv_packet_slot *ret_slot);
/** Publish; signals the guest if it sleeps. */
int hv_host_channel_flush(struct hv_host_channel *channel);
uint32_t hv_host_channel_free_bytes(struct hv_host_channel *channel);
bool hv_host_channel_want_room(struct hv_host_channel *channel, uint32_t bytes);
/**
 * Packets that wait in the ring are no work for now (no free slot, no room for answers, handshake not finished): while
 * held, hv_host_worker_arm() leaves the ring masked and does not look at it, so that the worker can sleep until another
 * event (ops.arm, a watched descriptor, room in the ring) lets the provider go on.
 */
void hv_host_channel_hold(struct hv_host_channel *channel, bool held);
/** Nothing of the guest's memory is used through this channel any more (answer to ops.close). */
void hv_host_channel_closed(struct hv_host_channel *channel);
/** The guest broke the rules: drop its connection, telling it and the log why. */
void hv_host_channel_kill(struct hv_host_channel *channel, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** Offer sub-channels up to index `count` (those offered already count).  From 1. */
int hv_host_channel_offer_subchannels(struct hv_host_channel *primary, uint16_t count);
/** Take this device away from this guest (fault injection: rescind). */
void hv_host_channel_rescind(struct hv_host_channel *channel);
/** Fault injection: publish an impossible write index to the guest. */
void hv_host_channel_corrupt_index(struct hv_host_channel *channel);

uint16_t hv_host_channel_index(const struct hv_host_channel *channel); /* 0 = primary */
uint32_t hv_host_channel_guest_id(const struct hv_host_channel *channel);
uint32_t hv_host_channel_version(
    const struct hv_host_channel *channel); /* VMBus version agreed with the guest */
/** Register another descriptor that wakes the worker (e.g. completions of asynchronous file I/O). */
int hv_host_channel_watch(struct hv_host_channel *channel, int fd);
void hv_host_channel_unwatch(struct hv_host_channel *channel, int fd);

/**
 * Resolve the single range of a GPA-direct packet to addresses of ours, neighbouring pages merged.
 * Guest memory stays mapped until hv_host_channel_closed(); its contents may change at any moment.
 *
 * Returns the number of iovec entries (together `*ret_bytes` bytes), or -EINVAL (malformed: no range, several ranges,
 * wrong page count, offset > 4095, length 0), -EFAULT (not guest memory), -ENOBUFS (more than max entries).
 */
ssize_t hv_host_channel_map_gpa(struct hv_host_channel *channel, const struct hv_packet *packet,
                                struct iovec *iov, size_t max, uint32_t *ret_bytes);

struct hv_host_stats {
    struct hv_ring_stats in;  /* from the guest */
    struct hv_ring_stats out; /* to the guest */
    uint64_t wakeups;
};
void hv_host_channel_get_stats(const struct hv_host_channel *channel,
                               struct hv_host_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
