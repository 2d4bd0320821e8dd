/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The storage controller above the SCSI disks (scsi_impl.h).
 *
 *   hv_storvsp  1 --- n  lun       an attached disk; table guarded by `lock`, changes counted by `generation`
 *       |                 ^
 *       n                 | one reference per binding
 *     guest  1 --- n  channel  1 --- n  binding  --- hv_disk_queue
 *   (session)              |
 *                          n slots, one per request in flight
 *
 * THREADS.  hv_storvsp and guests are changed under `lock`, by the control thread (attach, detach) and by workers where
 * channels open and close.  A channel belongs to one worker, which takes no lock per request: it looks LUNs up in
 * bindings of its own.  Who changes the table adds to `generation` and kicks all channels; a channel that finds itself
 * kicked brings its bindings up to date under `lock` before it takes the next request.  A detached lun lives on while a
 * binding refers to it, that is until the last request in flight there is done; the last reference hands the news
 * to the control thread (hv_host_post).
 */
#ifndef HV_STORVSP_IMPL_H
#define HV_STORVSP_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include <hv/ring.h>

#include "scsi_impl.h"
#include "storvsp_fault.h"
#include "storvsp_session.h"

#define HV_STORVSP_LUNS      64u
#define HV_STORVSP_DEPTH     256u
#define HV_STORVSP_DEPTH_MAX 4096u
#define HV_STORVSP_BATCH     64u /* requests taken per poll, so that completions are not kept waiting */
#define HV_STORVSP_PUBLISH                                                                         \
    262144u /* bytes moved by which answers are shown although the batch goes on */
#define HV_STORVSP_TRANSFER 1048576u /* default limit of a request */
#define HV_STORVSP_ANSWER_ROOM                                                                     \
    (HV_RING_DESCRIPTOR_BYTES + HV_VSTOR_PACKET_V2_BYTES + HV_RING_TRAILER_BYTES)

/** A disk at a place on the bus.  Dies with its last reference after detach. */
struct hv_storvsp_lun {
    struct hv_host_work work; /* first: posted when the last reference is gone */
    struct hv_storvsp *storvsp;
    struct hv_disk *disk;
    void (*gone)(void *arg);
    void *gone_arg;
    uint32_t references; /* bindings; under lock */
    uint8_t lun;
    bool detached;
};

/** What a channel knows of a lun; owned by the channel. */
struct hv_storvsp_binding {
    struct hv_storvsp_lun *lun;
    struct hv_disk_queue *queue;     /* created by the first command */
    struct hv_storvsp_binding *next; /* in channel->bound: all of the channel's */
    struct hv_storvsp_binding *touched_next;
    uint32_t busy; /* commands in the queue */
    bool touched;  /* to be flushed to the kernel at the end of the batch */
    bool detached; /* takes no new command, dies when idle */
    int watched_fd;
};

/** Counters with one writer; other threads may read them at any time. */
struct hv_storvsp_counters {
    _Atomic uint64_t requests;
    _Atomic uint64_t read_bytes;
    _Atomic uint64_t write_bytes;
    _Atomic uint64_t errors;
    _Atomic uint64_t malformed;
    _Atomic uint64_t batches;
};

static inline void hv_storvsp_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

enum hv_storvsp_slot_kind {
    HV_SLOT_FREE,
    HV_SLOT_SRB,
    HV_SLOT_RESET,
};

/** One request in flight.  All of a channel's are allocated when it opens and reused last in, first out. */
struct hv_storvsp_slot {
    struct hv_scsi_command command;
    struct hv_storvsp_channel *channel;
    struct hv_storvsp_binding *binding; /* NULL = not with a disk */
    struct hv_storvsp_slot *next;       /* free list, delayed list, lists of resets */
    struct iovec *iov;                  /* channel->iov_max entries */
    const struct hv_storvsp_fault_rule *fault;
    uint64_t trans_id;
    uint64_t sequence; /* order of arrival in this channel */
    uint64_t due_ns;   /* delayed until then */
    uint32_t reply_bytes;
    uint32_t operation; /* HV_VSTOR_*: which reset */
    uint8_t kind;
    uint8_t path, target, lun;
    uint8_t data_in;
};

struct hv_storvsp_guest {
    struct hv_storvsp *storvsp;
    struct hv_storvsp_guest *next;
    struct hv_storvsp_channel *channels; /* under lock */
    struct hv_storvsp_session session;
    uint32_t id;
    /* Resets, one after the other; under lock.  Each waits until every channel has finished what it had in flight. */
    struct hv_storvsp_slot *reset_head, *reset_tail;
    uint64_t reset_number;  /* of the running one */
    uint32_t reset_pending; /* channels that have not drained yet */
};

struct hv_storvsp_channel {
    struct hv_storvsp *storvsp;
    struct hv_storvsp_guest *guest;
    struct hv_storvsp_channel *next; /* in guest->channels */
    struct hv_host_channel *channel;
    struct hv_storvsp_slot *slots, *free, *delayed;
    struct iovec *iov;
    uint64_t sequence;

    uint64_t generation; /* of the table that the bindings show */
    struct hv_storvsp_binding *luns[HV_STORVSP_LUNS];
    struct hv_storvsp_binding *bound, *touched;

    struct hv_storvsp_slot *reset_done; /* ours, to be answered; under lock */
    uint64_t reset_number;              /* last reset noticed */
    uint64_t reset_mark;                /* what arrived up to here must be done first */
    struct hv_storvsp_counters counters;

    uint32_t iov_max, depth, in_flight;
    uint32_t room;      /* ring bytes that are free at least */
    uint32_t room_seen; /* most that ever were */
    uint32_t moved;     /* bytes since the last publish */
    int event_fd;
    int timer_fd; /* -1 without delays in the fault plan */
    _Atomic uint32_t in_flight_shown;
    uint16_t offer_sub_channels;

    _Atomic bool kicked; /* somebody changed something for us; set after event_fd was written */
    bool primary, closing, dead, held, short_of_room, unpublished, unreleased, warned;
    bool reset_draining;
    bool letting_go;                   /* some binding is detached */
    bool tell_removed, tell_enumerate; /* unsolicited packets that are due */
};

struct hv_storvsp {
    struct hv_log_hook log;
    struct hv_host *host;
    struct hv_host_device *device;
    struct hv_storvsp_fault_plan *fault; /* NULL = none */
    uint32_t depth, max_transfer_bytes;
    uint16_t max_version, max_sub_channels;
    pthread_mutex_t lock;
    _Atomic uint64_t generation;
    struct hv_storvsp_lun *luns[HV_STORVSP_LUNS];
    struct hv_storvsp_guest *guests;
    struct hv_storvsp_stats past; /* of closed channels */
    uint32_t posted; /* detached luns whose end is on its way; control thread after detach */
    bool withdrawn;
    void (*gone)(void *arg);
    void *gone_arg;
};

/* storvsp.c */
/** Wake a channel.  Under lock. */
void hv_storvsp_kick(struct hv_storvsp_channel *ch);
struct hv_storvsp_guest *hv_storvsp_get_guest(struct hv_storvsp *sp, uint32_t id);
void hv_storvsp_add_stats(struct hv_storvsp_stats *sum, const struct hv_storvsp_channel *ch);
/** Drop a binding's reference.  Under lock. */
void hv_storvsp_put_lun(struct hv_storvsp_lun *lun);

/* storvsp_bus.c: LUNs as this channel sees them */
void hv_storvsp_bind(struct hv_storvsp_channel *ch);
/** Let go of bindings that are detached and idle; all of them when the channel closes. */
void hv_storvsp_unbind(struct hv_storvsp_channel *ch, bool all);
/** The binding with a queue to execute on.  NULL = no such LUN; a queue that cannot be had: NULL in ->queue. */
struct hv_storvsp_binding *hv_storvsp_find(struct hv_storvsp_channel *ch, uint8_t path,
                                           uint8_t target, uint8_t lun);
/** Answer for a LUN that is not there, or REPORT LUNS for any: fills the command's result. */
void hv_storvsp_controller_command(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot);
bool hv_storvsp_is_controller_command(const struct hv_scsi_command *command);

/* storvsp_channel.c */
int hv_storvsp_open(void *device_ctx, struct hv_host_channel *channel, const void *user_data,
                    size_t user_data_bytes, void **ret_ctx);
int hv_storvsp_poll(void *ctx);
bool hv_storvsp_arm(void *ctx);
void hv_storvsp_close(void *ctx);
struct hv_storvsp_slot *hv_storvsp_slot_take(struct hv_storvsp_channel *ch);
void hv_storvsp_slot_free(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot);
/** Kick all channels of the guest: sub-channels wait for READY. */
void hv_storvsp_wake_guest(struct hv_storvsp_guest *guest);
/** The peer broke the ring. */
void hv_storvsp_broken(struct hv_storvsp_channel *ch, const char *what);

/* storvsp_srb.c */
void hv_storvsp_take(struct hv_storvsp_channel *ch, const struct hv_packet *packet);
void hv_storvsp_start(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot);
/** Start delayed requests whose time has come. */
int hv_storvsp_run_due(struct hv_storvsp_channel *ch);

/* storvsp_answer.c */
void hv_storvsp_answer(struct hv_storvsp_channel *ch, uint64_t trans_id,
                       const struct hv_vstor_packet *reply, uint32_t bytes);
void hv_storvsp_answer_srb(struct hv_storvsp_slot *slot);
void hv_storvsp_tell(struct hv_storvsp_channel *ch);
void hv_storvsp_publish(struct hv_storvsp_channel *ch);

/* storvsp_reset.c */
void hv_storvsp_reset_start(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot);
void hv_storvsp_reset_notice(struct hv_storvsp_channel *ch);
void hv_storvsp_reset_progress(struct hv_storvsp_channel *ch);
void hv_storvsp_reset_answer(struct hv_storvsp_channel *ch);
/** The channel goes: nobody may wait for it.  Under lock. */
void hv_storvsp_reset_leave(struct hv_storvsp_channel *ch);

#endif
