/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel, and the worker that serves it.
 *
 * Two sorts of threads touch a channel: the control thread owns its state (enum hv_host_channel_state) and everything
 * named so below, the worker owns its data path.  They hand it to each other by two small queues: requests (control to
 * worker) and events (worker to control).  Each is a list of channels under a mutex, each channel carrying a set of
 * bits, so nothing is allocated and nothing can overflow.  A mutex is right here: it is held for a few instructions, a
 * few times in the life of a channel, and on the data path only an atomic flag is looked at.
 */
#ifndef HV_HOST_CHANNEL_IMPL_H
#define HV_HOST_CHANNEL_IMPL_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include <hv/host.h>
#include <hv/ring.h>
#include <hv/wire/message.h>

#include "guest.h"
#include "memory.h"

#define HV_HOST_WATCH_MAX  72u /* descriptors of one channel: a controller's disks and some */
#define HV_HOST_MONITOR_US 100u

struct hv_host_device;

enum hv_host_channel_state {
    HV_CHANNEL_CLOSED,
    HV_CHANNEL_OPENING, /* the worker asks the provider */
    HV_CHANNEL_OPEN,
    HV_CHANNEL_MOVING,  /* leaves one worker for another */
    HV_CHANNEL_CLOSING, /* the provider stops */
};

/* Control to worker, carried out in this order. */
#define HV_REQUEST_OPEN  0x1u
#define HV_REQUEST_START 0x2u /* the open result is out: serve the ring */
#define HV_REQUEST_LEAVE 0x4u
#define HV_REQUEST_CLOSE 0x8u

/* Worker to control, seen in this order. */
#define HV_EVENT_KILL        0x01u
#define HV_EVENT_RESCIND     0x02u
#define HV_EVENT_SUBCHANNELS 0x04u
#define HV_EVENT_OPENED      0x08u
#define HV_EVENT_LEFT        0x10u
#define HV_EVENT_UNMAPPED    0x20u /* a GPADL whose teardown waits */
#define HV_EVENT_CLOSED      0x40u

struct hv_host_gpadl {
    TAILQ_ENTRY(hv_host_gpadl) entry;
    struct hv_host_channel *channel;
    uint32_t id;
    uint32_t range_count;
    uint32_t want_bytes; /* of all ranges */
    uint32_t have_bytes;
    uint64_t serial;
    /* read by workers too: changed under guest->gpadl_lock */
    bool created;
    bool tearing_down; /* torndown is owed */
    bool in_use;       /* holds the rings of an open channel */
    /* the worker's, under the lock */
    bool held; /* mapped, or about to be */
    void *mapped;
    size_t mapped_bytes;
    uint32_t map_runs;
    uint64_t words[]; /* the ranges as they came */
};
TAILQ_HEAD(hv_host_gpadl_list, hv_host_gpadl);

struct hv_host_channel {
    /* Worker: data path. */
    struct hv_ring_rx rx;
    struct hv_ring_tx tx;
    int (*poll)(void *ctx);
    void *ctx;
    TAILQ_ENTRY(hv_host_channel) served;
    _Atomic uint32_t *monitor_group; /* NULL = signalled by descriptor */
    uint32_t monitor_bit;
    bool serving;  /* the ring is live for the provider */
    bool stopping; /* the provider was told to close */
    bool stopped;  /* ... and has */
    bool held;
    bool waiting_room;
    bool killed;
    bool corrupted; /* an impossible index was published: nothing true follows */
    struct hv_host_memory_hit hit;
    uint64_t wakeups;
    int watched[HV_HOST_WATCH_MAX]; /* 0 = free, else descriptor + 1 */

    /* Fixed while a worker has the channel. */
    alignas(64) struct hv_host_guest *guest;
    struct hv_host_worker *worker;
    struct hv_host_guest_link link;
    struct hv_host_device_ops ops;
    void *device_ctx;
    uint32_t guest_id;
    uint32_t version;
    uint16_t index;
    uint16_t max_sub_channels;
    bool interrupts; /* the guest wants them */
    uint8_t user_data[120];

    /* Hand-over; under the mutex of the queue. */
    uint32_t requests;
    uint32_t events;
    TAILQ_ENTRY(hv_host_channel) request_entry;
    TAILQ_ENTRY(hv_host_channel) event_entry;
    int open_status;
    uint16_t subchannels_wanted;

    /* Control thread. */
    TAILQ_ENTRY(hv_host_channel) entry;
    struct hv_host_device *device; /* NULL once the provider is out of it */
    enum hv_host_channel_state state;
    uint32_t relid;
    uint8_t monitor_id;
    bool close_wanted; /* as soon as the state allows */
    bool revoking;     /* rescind goes out when the provider has stopped */
    bool revoked;      /* ... and did */
    bool released;     /* the guest gave the relid back */
    bool reopen;       /* an open came while closing */
    struct hv_msg_open open;
    struct hv_host_gpadl *ring_gpadl;
    struct hv_ring_area out_area; /* guest to host */
    struct hv_ring_area in_area;
    uint32_t ring_runs;
    uint64_t serial; /* of the open */
    uint32_t target_vp;
    uint64_t asked_ns; /* when the worker was asked last */
};
TAILQ_HEAD(hv_host_channel_list, hv_host_channel);

struct hv_host_worker {
    struct hv_host_guest *guest;
    struct hv_host_channel_list served;
    uint32_t served_count;
    uint32_t monitored; /* of these */
    int epoll_fd;
    int kick_fd;
    int timer_fd; /* looks at the monitor page while asleep */
    bool timer_runs;
    /* requests */
    alignas(64) atomic_bool pending;
    pthread_mutex_t lock;
    struct hv_host_channel_list requests;
};

/* offers.c: control thread */
struct hv_host_channel *hv_host_channel_find(struct hv_host_guest *guest, uint32_t relid);
/** Not revoked and of a living device. */
struct hv_host_channel *hv_host_channel_of_device(struct hv_host_guest *guest,
                                                  const struct hv_host_device *device,
                                                  uint16_t index);
/** The provider cannot be called through this channel any more. */
void hv_host_channel_drop_device(struct hv_host_channel *channel);
void hv_host_channel_free(struct hv_host_channel *channel);

/* lifecycle.c: control thread */
void hv_host_channel_open(struct hv_host_channel *channel, const struct hv_msg_open *open);
void hv_host_channel_close(struct hv_host_channel *channel);
void hv_host_channel_close_by_guest(struct hv_host_channel *channel);
void hv_host_channel_modify(struct hv_host_channel *channel, uint32_t target_vp);
void hv_host_channel_revoke(struct hv_host_channel *channel);
void hv_host_channel_release_relid(struct hv_host_channel *channel);
void hv_host_channel_event(struct hv_host_channel *channel, uint32_t events);

/* gpadl.c */
void hv_host_gpadl_header(struct hv_host_guest *guest, const void *message, size_t bytes);
void hv_host_gpadl_body(struct hv_host_guest *guest, const void *message, size_t bytes);
void hv_host_gpadl_teardown(struct hv_host_guest *guest, uint32_t relid, uint32_t id);
/** The rings of an open channel lie in it. */
void hv_host_gpadl_use(struct hv_host_gpadl *gpadl);
/** The channel does not use it any more: answers a teardown that waits. */
void hv_host_gpadl_unuse(struct hv_host_gpadl *gpadl);
/** Before a rescind: answer what is pending. */
void hv_host_gpadl_revoke(struct hv_host_channel *channel);
void hv_host_gpadl_drop_all(struct hv_host_channel *channel);
/** Answer the teardowns that waited for a provider to unmap. */
void hv_host_gpadl_answer_unmapped(struct hv_host_channel *channel);
/**
 * Ring memory of an open: page numbers of the only range, which starts on a page boundary.
 * Returns 0 or -EINVAL.
 */
int hv_host_gpadl_ring(struct hv_host_channel *channel, uint32_t id,
                       struct hv_host_gpadl **ret_gpadl, const uint64_t **ret_pfns,
                       uint32_t *ret_pages);

/* gpadl_map.c */
/** Closed: what its provider mapped and left. */
void hv_host_gpadl_unmap_all(struct hv_host_channel *channel);

/* worker.c */
int hv_host_worker_init(struct hv_host_worker *worker, struct hv_host_guest *guest);
void hv_host_worker_fini(struct hv_host_worker *worker);
/** Control thread: ask for something. */
void hv_host_worker_request(struct hv_host_channel *channel, uint32_t request);
/** Worker thread: report something. */
void hv_host_worker_report(struct hv_host_channel *channel, uint32_t event);
int hv_host_worker_watch(struct hv_host_channel *channel, int fd);
void hv_host_worker_unwatch(struct hv_host_channel *channel, int fd);

#endif
