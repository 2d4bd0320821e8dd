/* SPDX-License-Identifier: BSD-3-Clause */
/* What the host, its devices and its guests are made of.  Control thread, except where said. */
#ifndef HV_HOST_IMPL_H
#define HV_HOST_IMPL_H

#include <hv/base/log.h>
#include <hv/wire/monitor.h>

#include "channel_impl.h"

#define HV_HOST_CHANNELS_MAX    256u /* offered to one guest at a time */
#define HV_HOST_GPADLS_MAX      256u /* of one guest */
#define HV_HOST_GPADL_PAGES_MAX (1u << 20)
#define HV_HOST_RING_RUNS_MAX   1024u  /* mappings that the open rings of one guest may need */
#define HV_HOST_BUFFER_RUNS_MAX 16384u /* ... its mapped GPADLs: a NIC's largest, page by page */
#define HV_HOST_STUCK_NS        100000000ull /* a worker that takes longer to answer is looked at */
#define HV_HOST_WHY_BYTES       256u
#define HV_HOST_COMPLAINTS_MAX  100u /* lines about one guest: a log must not grow at its will */

/** Something in the host's epoll set.  Freed only at the end of hv_host_poll(). */
struct hv_host_source {
    void (*ready)(struct hv_host_source *source, uint32_t events);
};

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
TAILQ_HEAD(hv_host_device_list, hv_host_device);

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
    uint32_t complaints;
    uint32_t version;
    struct hv_monitor_page *monitor; /* guest to host; NULL = none given */
    uint32_t monitor_used[HV_MONITOR_GROUPS];
    uint64_t monitor_serial; /* of the contact that gave it */
    struct hv_host_channel_list channels;
    uint32_t channel_count;
    uint32_t relid_hint;
    uint8_t relid_used[(HV_CHANNELS_MAX + 8) / 8];
    pthread_mutex_t gpadl_lock; /* see gpadl_map.c */
    struct hv_host_gpadl_list gpadls;
    uint32_t gpadl_count;
    uint32_t gpadl_pages;
    uint32_t ring_runs;
    uint32_t buffer_runs; /* under gpadl_lock */
    uint64_t serial;      /* counts opens, GPADLs, contacts: who came before a removal of memory */
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
    struct hv_host_device_list devices; /* withdrawn ones too, until they are gone */
    uint64_t device_order;
    /* from any thread */
    pthread_mutex_t work_lock;
    struct hv_host_work *work_first;
    struct hv_host_work **work_last; /* where the next one goes */
};

/* host.c */
int hv_host_watch(struct hv_host *host, int fd, uint32_t events, struct hv_host_source *source);
void hv_host_rewatch(struct hv_host *host, int fd, uint32_t events, struct hv_host_source *source);
/** Before closing it: another process may hold a duplicate, which would keep it in the set. */
void hv_host_unwatch(struct hv_host *host, int fd);
/** Any thread: hv_host_poll() has something to do. */
void hv_host_kick(struct hv_host *host);
/** What hv_host_post() queued; takes the kick back. */
void hv_host_run_work(struct hv_host *host);

/* guest.c */
void hv_host_guest_post(struct hv_host_guest *guest, const void *message, size_t bytes);
/** Something was refused that the guest goes on without. */
void hv_host_guest_complain(struct hv_host_guest *guest, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
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
void hv_host_offers_request(struct hv_host_guest *guest);
void hv_host_offers_subchannels(struct hv_host_channel *primary, uint16_t count);
void hv_host_offers_reap_devices(struct hv_host *host);
void hv_host_offers_guest_gone(struct hv_host_guest *guest);
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
