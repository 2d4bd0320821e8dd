/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What host, guest, channel and worker are made of.
 *
 * Two sorts of threads touch a channel: the control thread owns its state (enum hv_host_channel_state) and everything named
 * so below, the worker owns its data path.  They hand it to each other by two small queues: requests (control to
 * worker) and events (worker to control).  Each is a list of channels under a mutex, each channel carrying a set of
 * bits, so nothing is allocated and nothing can overflow.  A mutex is right here: it is held for a few instructions, a
 * few times in the life of a channel, and on the data path only an atomic flag is looked at.
 */
#ifndef HV_HOST_IMPL_H
#define HV_HOST_IMPL_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include <hv/base/log.h>
#include <hv/host.h>
#include <hv/ring.h>
#include <hv/wire/message.h>
#include <hv/wire/monitor.h>

#include "guest.h"
#include "memory.h"

#define HV_HOST_CHANNELS_MAX    256u /* offered to one guest at a time */
#define HV_HOST_GPADLS_MAX      256u /* of one guest */
#define HV_HOST_GPADL_PAGES_MAX (1u << 20)
#define HV_HOST_RING_RUNS_MAX   1024u /* mappings that the open rings of one guest may need */
#define HV_HOST_WATCH_MAX       72u   /* descriptors of one channel */
#define HV_HOST_MONITOR_US      100u
#define HV_HOST_STUCK_NS        100000000ull /* a worker that takes longer to answer is looked at */
#define HV_HOST_WHY_BYTES       256u

/** Something in the host's epoll set.  Freed only at the end of hv_host_poll(). */
struct hv_host_source {
    void (*ready)(struct hv_host_source *source, uint32_t events);
};

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
#define HV_EVENT_CLOSED      0x20u

struct hv_host_gpadl {
    TAILQ_ENTRY(hv_host_gpadl) entry;
    struct hv_host_channel *channel;
    uint32_t id;
    uint32_t range_count;
    uint32_t want_bytes; /* of all ranges */
    uint32_t have_bytes;
    bool created;
    bool tearing_down; /* torndown is owed */
    bool in_use;       /* holds the rings of an open channel */
    uint64_t serial;
    uint64_t words[]; /* the ranges as they came */
};
TAILQ_HEAD(hv_host_gpadl_list, hv_host_gpadl);

struct hv_host_device {
    TAILQ_ENTRY(hv_host_device) entry;
    struct hv_host *host;
    struct hv_host_device_opts opts;
    struct hv_host_device_ops ops;
    void *ctx;
    uint64_t order;
    uint32_t channels; /* that can still call its provider */
    bool withdrawn;
    void (*gone)(void *arg);
    void *gone_arg;
};
TAILQ_HEAD(hv_device_list, hv_host_device);

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
    struct hv_guid class_id;
    struct hv_guid instance_id;
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

enum hv_host_guest_state {
    HV_GUEST_LIVE,
    HV_GUEST_DYING, /* disconnected; channels stop */
    HV_GUEST_GONE,  /* guest_removed was called */
};

enum hv_host_contact {
    HV_CONTACT_NONE,
    HV_CONTACT_MADE,
    HV_CONTACT_OFFERED, /* offers were asked for */
};

/** What follows when every channel has stopped. */
enum hv_host_reset {
    HV_RESET_NONE,
    HV_RESET_CONTACT,
    HV_RESET_UNLOAD,
};

struct hv_host_guest {
    TAILQ_ENTRY(hv_host_guest) entry;
    struct hv_host *host;
    const struct hv_host_guest_ops *ops;
    void *impl;
    uint32_t id;
    char name[64];
    enum hv_host_guest_state state;
    enum hv_host_contact contact;
    enum hv_host_reset reset;
    struct hv_msg_initiate_contact initiate; /* answered after the reset */
    bool put;
    bool doomed;
    char why[HV_HOST_WHY_BYTES];
    uint32_t version;
    struct hv_monitor_page *monitor; /* guest to host; NULL = none given */
    uint32_t monitor_used[HV_MONITOR_GROUPS];
    uint64_t monitor_serial; /* of the contact that gave it */
    struct hv_host_channel_list channels;
    uint32_t channel_count;
    uint32_t relid_hint;
    uint8_t relid_used[(HV_CHANNELS_MAX + 8) / 8];
    struct hv_host_gpadl_list gpadls;
    uint32_t gpadl_count;
    uint32_t gpadl_pages;
    uint32_t ring_runs;
    uint64_t serial; /* counts opens, GPADLs, contacts: who came before a removal of memory */
    struct hv_host_memory memory;
    /* Workers to control. */
    alignas(64) atomic_bool pending;
    atomic_bool silent; /* nobody listens to events of channels any more */
    pthread_mutex_t lock;
    struct hv_host_channel_list events;
    char kill_why[HV_HOST_WHY_BYTES];
    uint16_t worker_count;
    struct hv_host_worker workers[];
};
TAILQ_HEAD(hv_host_guest_list, hv_host_guest);

struct hv_host_sockets; /* guest_sock.c */

struct hv_host {
    struct hv_host_opts opts;
    int epoll_fd;
    int kick_fd;
    struct hv_host_source kick;
    struct hv_host_sockets *sockets;
    struct hv_host_guest_list guests;
    uint32_t guest_count;
    uint32_t guest_serial;
    struct hv_device_list devices; /* withdrawn ones too, until they are gone */
    uint64_t device_order;
    /* from any thread */
    pthread_mutex_t work_lock;
    struct hv_host_work *work_first;
    struct hv_host_work **work_last; /* where the next one goes */
};

/* host.c */
int hv_host_watch(struct hv_host *host, int fd, uint32_t events, struct hv_host_source *source);
void hv_host_rewatch(struct hv_host *host, int fd, uint32_t events, struct hv_host_source *source);
/** Any thread: hv_host_poll() has something to do. */
void hv_host_kick(struct hv_host *host);
/** What hv_host_post() queued; takes the kick back. */
void hv_host_run_work(struct hv_host *host);

/* guest.c */
void hv_host_guest_post(struct hv_host_guest *guest, const void *message, size_t bytes);
/** Carry out what workers reported, what was doomed, what has come to an end. */
void hv_host_guest_settle(struct hv_host_guest *guest);
/** For hv_host_destroy(). */
void hv_host_guest_finish(struct hv_host_guest *guest);
/** Stop every channel; when that is done, go on with what `reset` says. */
void hv_host_guest_reset(struct hv_host_guest *guest, enum hv_host_reset reset);
/** Something ended that removed memory may have waited for. */
void hv_host_guest_reap_memory(struct hv_host_guest *guest);
/** When to look at the guest again, in nanoseconds of hv_clock_ns(); UINT64_MAX = when told. */
uint64_t hv_host_guest_deadline_ns(const struct hv_host_guest *guest);
void hv_host_guest_free(struct hv_host_guest *guest);

/* messages.c */
void hv_host_messages_contact(struct hv_host_guest *guest);

/* offers.c */
struct hv_host_channel *hv_host_channel_find(struct hv_host_guest *guest, uint32_t relid);
/** Not revoked and of a living device. */
struct hv_host_channel *hv_host_channel_of_device(struct hv_host_guest *guest,
                                                  const struct hv_host_device *device,
                                                  uint16_t index);
void hv_host_offers_request(struct hv_host_guest *guest);
void hv_host_offers_subchannels(struct hv_host_channel *primary, uint16_t count);
void hv_host_offers_reap_devices(struct hv_host *host);
void hv_host_offers_guest_gone(struct hv_host_guest *guest);
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
/** The channel does not use it any more: answers a teardown that waits. */
void hv_host_gpadl_unuse(struct hv_host_gpadl *gpadl);
/** Before a rescind: answer what is pending. */
void hv_host_gpadl_revoke(struct hv_host_channel *channel);
void hv_host_gpadl_drop_all(struct hv_host_channel *channel);
/**
 * Ring memory of an open: page numbers of the only range, which starts on a page boundary.
 * Returns 0 or -EINVAL.
 */
int hv_host_gpadl_ring(struct hv_host_channel *channel, uint32_t id,
                       struct hv_host_gpadl **ret_gpadl, const uint64_t **ret_pfns,
                       uint32_t *ret_pages);

/* worker.c */
int hv_host_worker_init(struct hv_host_worker *worker, struct hv_host_guest *guest);
void hv_host_worker_fini(struct hv_host_worker *worker);
/** Control thread: ask for something. */
void hv_host_worker_request(struct hv_host_channel *channel, uint32_t request);
/** Worker thread: report something. */
void hv_host_worker_report(struct hv_host_channel *channel, uint32_t event);
int hv_host_worker_watch(struct hv_host_channel *channel, int fd);
void hv_host_worker_unwatch(struct hv_host_channel *channel, int fd);

/* guest_sock.c */
int hv_host_sock_init(struct hv_host *host);
/** Deadlines, and what is closed for good. */
void hv_host_sock_settle(struct hv_host *host);
uint64_t hv_host_sock_deadline_ns(const struct hv_host *host);
void hv_host_sock_stop_listening(struct hv_host *host);
void hv_host_sock_fini(struct hv_host *host);

static inline bool hv_host_guid_same(const struct hv_guid *a, const struct hv_guid *b)
{
    return !__builtin_memcmp(a, b, sizeof(*a));
}

#endif
