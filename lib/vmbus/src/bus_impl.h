/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of lib/vmbus: bus, offers, channels, DMA memory.  The interface is hv/vmbus.h, the seam transport.h. */
#ifndef HV_VMBUS_BUS_IMPL_H
#define HV_VMBUS_BUS_IMPL_H

#include <stdatomic.h>

#include <hv/base/log.h>
#include <hv/ring.h>
#include <hv/vmbus.h>

#include "transport.h"

/** Channels that a host may offer at a time; each costs us two descriptors. */
#define HV_OFFERS_MAX 256u
/** Of enum hv_shared_kind. */
#define HV_SHARED_KINDS 2u

/** One channel that is or was offered.  Control thread. */
struct hv_offer {
    struct hv_offer *next; /* in the order of arrival */
    struct hv_guid class_id;
    struct hv_guid instance_id;
    uint32_t relid;
    uint16_t index; /* 0 = primary */
    uint16_t flags;
    uint8_t user_data[120];
    bool monitored;
    uint8_t monitor_id;
    bool rescinded;
    bool added_told;   /* the program knows of it, or never will */
    bool removed_told; /* the same for its end */
    int signal_fd;     /* the transport's, else -1 */
    int event_fd;
    struct hv_channel *channel; /* while open */
};

struct hv_channel {
    /* owner thread */
    struct hv_ring_tx tx;
    struct hv_ring_rx rx;
    bool pending;    /* packets are reserved and not published */
    bool armed;      /* signals are wanted */
    bool wants_room; /* the host was asked for a signal when there is room */
    bool ticks; /* the host must not interrupt: never ask it to, sleep by the clock (set at open) */
    uint64_t wakeups;
    /* any thread: 0, then once -ENODEV or -EPROTO */
    _Atomic int status;
    /* set by the transport at open, then constant */
    const struct hv_transport_ops *ops;
    int wait_fd;
    int signal_fd;                  /* where the transport signals by descriptor */
    _Atomic uint32_t *monitor_word; /* where it signals by memory, else NULL */
    uint32_t monitor_bit;
    void *link; /* what else the transport keeps */
    /* control thread */
    struct hv_vmbus *bus;
    struct hv_offer *offer;
    struct hv_ring_area out;
    struct hv_ring_area in;
    uint64_t memory_pfn; /* of the ring memory, where the transport made it */
    uint32_t memory_pages;
    uint32_t gpadl; /* 0 = none */
    bool host_opened;
    struct hv_shared shared[HV_SHARED_KINDS];   /* address NULL = none */
    struct hv_dma *shared_dma[HV_SHARED_KINDS]; /* its memory, where the transport made it */
};

/** Memory with consecutive page numbers. */
struct hv_dma_run {
    uintptr_t start; /* page aligned */
    uintptr_t end;
    uint64_t first_pfn;
};

/** All memory that the host can reach, ascending.  Immutable once readers can see it. */
struct hv_dma_table {
    struct hv_dma_table *older; /* owners of channels may still look at these: hv_dma_trim() */
    size_t count;
    struct hv_dma_run runs[];
};

struct hv_dma {
    struct hv_dma *next;
    struct hv_vmbus *bus;
    void *va;
    size_t bytes;
    bool registered; /* the caller's memory */
    size_t run_count;
    struct hv_dma_run *runs; /* to be freed; or &only */
    struct hv_dma_run only;
};

struct hv_uio_env;

struct hv_vmbus {
    struct hv_vmbus_opts opts; /* timeout_ms is set */
    const struct hv_uio_env
        *env; /* during open: another system than this one, for tests; else NULL */
    const struct hv_transport_ops *ops;
    void *transport;
    bool has_instance; /* the address named one */
    struct hv_guid instance;
    struct hv_offer *offers;
    size_t offer_count;
    bool opening;   /* what is there already is no news */
    int gone;       /* 0, then once the reason as a negative errno */
    bool gone_told; /* the program knows */
    int wait_fd;    /* epoll: the transport's descriptor, and ... */
    int news_fd;    /* ... an eventfd of our own: events to be told */
    struct hv_dma *dma;
    _Atomic(struct hv_dma_table *) dma_table;
};

/* ---- bus.c ---- */

/** hv_vmbus_open() in another system (uio_env.h); NULL = in this one. */
int hv_bus_open(const char *address, const struct hv_vmbus_opts *opts, const struct hv_uio_env *env,
                struct hv_vmbus **ret_bus);

/* ---- offers.c ---- */

/** Takes over the descriptors in `offer`, also on failure.  0, -ENOMEM, -EPROTO (with the reason in *ret_why). */
int hv_bus_add_offer(struct hv_vmbus *bus, const struct hv_offer *offer, const char **ret_why);
/** The live channel `index` of a device, or NULL. */
struct hv_offer *hv_bus_find_offer(const struct hv_vmbus *bus, const struct hv_guid *instance,
                                   uint16_t index);
struct hv_offer *hv_bus_find_relid(const struct hv_vmbus *bus, uint32_t relid);
/** The host takes the channel away: tells its owner, and the program at its next poll. */
void hv_bus_rescind(struct hv_vmbus *bus, struct hv_offer *offer);
/** The host is lost: tells all owners, and the program at its next poll.  Only the first reason counts. */
void hv_bus_mark_gone(struct hv_vmbus *bus, int error);
/** Give back what was rescinded, closed and told. */
void hv_bus_reap(struct hv_vmbus *bus);
/** Run the program's event callback for everything new. */
void hv_bus_tell(struct hv_vmbus *bus);
void hv_bus_forget_offers(struct hv_vmbus *bus);

/* ---- channel.c ---- */

/** From the transport's channel_open: both ends of fresh rings, asking for no signals yet. */
int hv_channel_start(struct hv_channel *channel);
/** The same where the rings are in use by the host already. */
int hv_channel_adopt(struct hv_channel *channel);
/** The first failure stays.  Wakes nobody. */
void hv_channel_fail(struct hv_channel *channel, int error);

/* ---- dma.c ---- */

/** No channel is open, so nobody looks page numbers up: free the tables that were replaced. */
void hv_dma_trim(struct hv_vmbus *bus);
void hv_dma_free_all(struct hv_vmbus *bus);

#endif
