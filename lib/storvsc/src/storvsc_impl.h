/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private: what the files of lib/storvsc share.  Users: hv/storvsc.h.
 *
 *   storvsc.c    the controller's life: open, close, reopen       (control thread)
 *   handshake.c  version, properties, sub-channels                (control thread)
 *   queue.c      submit, poll, sleep; timers                      (owner of the queue)
 *   slot.c       commands in flight: ids, sending                 (owner)
 *   answer.c     what the host sends, checked                     (owner)
 *   sgl.c        page rule, bounce pages                          (owner)
 *   block.c      request -> command; single commands              (owner)
 *   parts.c      requests of several commands                     (owner)
 *   recovery.c   deadlines, resets, end of a queue                (owner)
 *   scan.c, inquiry.c, events.c   LUNs and what became of them    (owner of queue 0)
 *   sense.c      answer -> error                                  (pure)
 *
 * One SRB is a COMMAND and occupies a SLOT from before it is sent until the host has answered or let go of everything.
 * A REQUEST of the caller is one command (the usual case) or several PARTS.  Queues share only what the structure
 * hv_storvsc marks "any thread".
 */
#ifndef HV_STORVSC_IMPL_H
#define HV_STORVSC_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include <hv/base/bits.h>
#include <hv/base/clock.h>
#include <hv/base/endian.h>
#include <hv/base/log.h>
#include <hv/storvsc.h>
#include <hv/wire/ring.h>
#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

#include "inquiry_impl.h"
#include "sense_impl.h"
#include "sgl_impl.h"

#define HV_STORVSC_LUNS_MAX       256u
#define HV_STORVSC_QUEUES_MAX     256u
#define HV_STORVSC_DEPTH_MAX      1024u
#define HV_STORVSC_PROBES         8u  /* LUNs asked at the same time */
#define HV_STORVSC_INTERNAL_SLOTS 16u /* probes, resets, handshake: never the caller's */
#define HV_STORVSC_TRANSFER_MAX   (8u << 20)
#define HV_STORVSC_PARAM_BYTES    64u /* per slot: parameter data that the library sends itself */
#define HV_STORVSC_NEVER_NS       UINT64_MAX
#define HV_STORVSC_MS_NS          UINT64_C(1000000)
/** In request->flags of the library's own commands: retried like block commands, not counted, any LUN. */
#define HV_STORVSC_INTERNAL 0x80000000u

struct hv_storvsc_table {
    size_t count; /* in address order */
    struct hv_storvsc_disk disks[HV_STORVSC_LUNS_MAX];
};

enum hv_storvsc_slot_state {
    HV_STORVSC_SLOT_FREE,
    HV_STORVSC_SLOT_SENT,    /* the host may use its memory */
    HV_STORVSC_SLOT_WAITING, /* to be sent (again) at retry_ns */
};

/** Answer to a packet that is no SRB: handshake and resets. */
struct hv_storvsc_control {
    bool done;
    struct hv_vstor_packet reply; /* checked to be a COMPLETE_IO */
};

struct hv_storvsc_slot {
    struct hv_vstor_packet packet;      /* as sent; kept for another try */
    uint64_t id;                        /* generation << 16 | tag + 1, of the last try */
    struct hv_storvsc_request *request; /* SRB: whose */
    struct hv_storvsc_control *control; /* else: where the answer goes; NULL = nowhere */
    uint64_t deadline_ns;
    uint64_t retry_ns;
    uint8_t state; /* enum hv_storvsc_slot_state */
    bool part;     /* one of several commands of the request */
    bool user;     /* counts against the caller's depth */
    bool expired;  /* past its deadline, still with the host */
    uint16_t retries;
    uint16_t tag;
    struct hv_storvsc_sgl sgl; /* pfn_count 0 = no data */
};

/** Recovery of a queue; recovery.c. */
struct hv_storvsc_ladder {
    enum { HV_STORVSC_CALM, HV_STORVSC_LUN_RESET, HV_STORVSC_BUS_RESET } step;
    uint64_t step_ends_ns;
    uint32_t expired; /* slots */
};

struct hv_storvsc_queue {
    struct hv_storvsc *storvsc;
    struct hv_channel *channel; /* NULL while closed */
    const struct hv_vmbus *bus;
    int status; /* 0, or why it is dead */
    uint16_t index;
    bool in_poll;
    bool unflushed;
    bool starved;           /* a part waits for a slot or memory: newcomers wait behind it */
    bool woke;              /* slept: look at the clock */
    uint32_t polls;         /* since the last look at the clock, weighted */
    uint32_t packet_bytes;  /* vstor packet of the revision agreed upon */
    uint64_t batch_ns;      /* time of the first submit since the last flush; 0 = none yet */
    uint64_t timer_ns;      /* nothing has to be done before; HV_STORVSC_NEVER_NS */
    uint32_t refused_bytes; /* ring space of the last packet that found none; 0 = none */

    struct hv_storvsc_slot *slots;
    uint32_t slot_count;
    uint32_t user_slots; /* in use by requests of the caller */
    uint32_t requests;   /* of the caller, submitted and not called back */
    uint16_t *free_tags; /* ring of slot_count entries, first in first out */
    uint32_t free_head, free_count;
    uint64_t generation;

    uint64_t *pfns; /* slot_count lists of pfn_max */
    uint32_t pfn_max;
    struct hv_dma *dma; /* zero page, parameter areas, bounce pages */
    uint8_t *params;
    uint64_t zero_pfn;
    struct hv_storvsc_pool pool;

    struct hv_storvsc_request *parts_head, *parts_tail; /* with parts to send; parts.c */
    struct hv_storvsc_ladder ladder;
    struct hv_storvsc_table *table; /* private copy */
    uint32_t table_generation;
    struct hv_storvsc_stats stats;
};

struct hv_storvsc_event_entry {
    enum hv_storvsc_event event;
    bool has_lun;
    struct hv_storvsc_lun lun;
};

struct hv_storvsc {
    struct hv_vmbus *bus; /* NULL after a reopen that failed */
    struct hv_guid instance;
    struct hv_storvsc_opts opts; /* defaults filled in */
    uint16_t version;
    uint16_t queue_count; /* open now */
    uint16_t queue_max;   /* allocated: opts.channels */
    uint32_t max_transfer_bytes;
    uint16_t max_sub_channels; /* what the host grants */
    struct hv_storvsc_queue **queues;
    struct hv_storvsc_scan *scan;          /* owner of queue 0 */
    struct hv_storvsc_event_entry *events; /* to be told; owner of queue 0 */
    size_t event_count, event_max;
    bool dead_told;
    bool scan_allowed; /* open: queue 0 starts scans and tells events by itself */
    int wake_fd;       /* eventfd that wakes the owner of queue 0; -1 with one queue */
    int queue0_fd;     /* epoll of wake_fd and channel 0; -1 with one queue */

    /* Any thread. */
    _Atomic bool rescan_wanted;
    _Atomic bool dead;
    _Atomic uint32_t table_generation;
    pthread_mutex_t
        table_lock; /* taken when the table changes and when a queue sees that it did: never per request */
    struct hv_storvsc_table *table;
};

/** One SRB to be sent. */
struct hv_storvsc_command {
    uint8_t cdb[HV_VSTOR_CDB_BYTES];
    uint8_t cdb_bytes;
    uint8_t direction; /* HV_VSTOR_DATA_* */
    enum { HV_STORVSC_FROM_IOV, HV_STORVSC_FROM_ZEROES, HV_STORVSC_FROM_PARAM } source;
    bool part;
    uint32_t bytes;
    struct hv_storvsc_cursor cursor; /* FROM_IOV */
    const void *param;               /* FROM_PARAM: at most HV_STORVSC_PARAM_BYTES */
};

/* ---- slot.c ---- */

int hv_storvsc_slots_create(struct hv_storvsc_queue *queue, uint32_t depth);
void hv_storvsc_slots_destroy(struct hv_storvsc_queue *queue);
/** Allocate what points into the bus: page lists, DMA memory.  After the limits are known. */
int hv_storvsc_memory_attach(struct hv_storvsc_queue *queue);
void hv_storvsc_memory_detach(struct hv_storvsc_queue *queue);
/** Send one SRB for the request.  0, -EAGAIN, -EMSGSIZE, -EINVAL, -ENOMEM, or the queue's death. */
int hv_storvsc_start(struct hv_storvsc_queue *queue, struct hv_storvsc_request *request,
                     const struct hv_storvsc_command *command);
/** Send a packet that is no SRB; `control` lives until it is done or the slots are cancelled.  NULL: answer unwanted. */
int hv_storvsc_start_control(struct hv_storvsc_queue *queue, const struct hv_vstor_packet *packet,
                             struct hv_storvsc_control *control);
/** Nobody waits for this answer any more. */
void hv_storvsc_forget_control(struct hv_storvsc_queue *queue,
                               const struct hv_storvsc_control *control);
/** Put a slot's packet into the ring under a fresh id; on -EAGAIN it waits. */
int hv_storvsc_slot_send(struct hv_storvsc_queue *queue, struct hv_storvsc_slot *slot);
void hv_storvsc_slot_retry(struct hv_storvsc_queue *queue, struct hv_storvsc_slot *slot,
                           uint64_t delay_ns);
/** The host has let go of the slot: release it and tell its request. */
void hv_storvsc_slot_finish(struct hv_storvsc_queue *queue, struct hv_storvsc_slot *slot,
                            const struct hv_storvsc_result *result);
/** Give a slot, its bounce pages and its tag back. */
void hv_storvsc_slot_put(struct hv_storvsc_queue *queue, struct hv_storvsc_slot *slot);
/** The channel is closed: everything in flight completes with `error`. */
void hv_storvsc_slots_cancel(struct hv_storvsc_queue *queue, int error);

/** A request of the caller is over: count it, call back. */
void hv_storvsc_request_done(struct hv_storvsc_queue *queue, struct hv_storvsc_request *request,
                             const struct hv_storvsc_result *result);

/* ---- answer.c ---- */

/** One packet of the host.  0, or -EPROTO: it broke the rules and the queue is dead. */
int hv_storvsc_packet(struct hv_storvsc_queue *queue, const struct hv_packet *packet);

/* ---- queue.c ---- */

int hv_storvsc_queue_create(struct hv_storvsc *storvsc, uint16_t index,
                            struct hv_storvsc_queue **ret_queue);
void hv_storvsc_queue_destroy(struct hv_storvsc_queue *queue);
void hv_storvsc_queue_attach(struct hv_storvsc_queue *queue, struct hv_vmbus *bus,
                             struct hv_channel *channel);
/** Have hv_storvsc_timers() run not later than `at_ns`. */
static inline void hv_storvsc_timer_at(struct hv_storvsc_queue *queue, uint64_t at_ns)
{
    if (at_ns < queue->timer_ns)
        queue->timer_ns = at_ns;
}
/** The queue's copy of the table, fresh. */
const struct hv_storvsc_table *hv_storvsc_queue_table(struct hv_storvsc_queue *queue);
struct hv_storvsc_disk *hv_storvsc_find(struct hv_storvsc_queue *queue,
                                        struct hv_storvsc_address address);

/* ---- block.c ---- */

/** READ or WRITE of [lba, lba + blocks) into cdb; returns its length. */
uint8_t hv_storvsc_cdb_rw(const struct hv_storvsc_disk *disk, bool write, bool fua, uint64_t lba,
                          uint32_t blocks, uint8_t cdb[HV_VSTOR_CDB_BYTES]);
void hv_storvsc_cdb_sync(struct hv_storvsc_command *command);
/** A raw command of the library: any address, extra slots, not counted, retried.  Else as hv_storvsc_submit(). */
int hv_storvsc_submit_internal(struct hv_storvsc_queue *queue, struct hv_storvsc_request *request);

/* ---- parts.c ---- */

/** A checked request that takes several commands.  0, -EAGAIN, -ENOMEM, or the queue's death. */
int hv_storvsc_parts_submit(struct hv_storvsc_queue *queue, struct hv_storvsc_request *request,
                            const struct hv_storvsc_disk *disk);
/** A part was answered: take note of it, while its slot still tells which part it was. */
void hv_storvsc_part_done(struct hv_storvsc_queue *queue, struct hv_storvsc_request *request,
                          const struct hv_storvsc_slot *slot,
                          const struct hv_storvsc_result *result);
/** After that, with the slot released: call back, or have the next parts sent. */
void hv_storvsc_part_settle(struct hv_storvsc_queue *queue, struct hv_storvsc_request *request);
/** Send what can be sent. */
void hv_storvsc_parts_pump(struct hv_storvsc_queue *queue);
/** After hv_storvsc_slots_cancel(): requests of which nothing was in flight. */
void hv_storvsc_parts_cancel(struct hv_storvsc_queue *queue, int error);

/* ---- recovery.c ---- */

/** Kill the channel, remember why, wake queue 0 to tell. */
void hv_storvsc_die(struct hv_storvsc_queue *queue, int error, const char *reason);
/** Deadlines and retries that are due. */
void hv_storvsc_timers(struct hv_storvsc_queue *queue, uint64_t now_ns);
/** An expired command was answered after all. */
void hv_storvsc_expired_answered(struct hv_storvsc_queue *queue, struct hv_storvsc_slot *slot);

/* ---- handshake.c ---- */

int hv_storvsc_handshake(struct hv_storvsc *storvsc);
/** Asks for sub-channels and opens them; fewer than wanted is no error.  0 or the death of queue 0. */
int hv_storvsc_open_subchannels(struct hv_storvsc *storvsc);
/** Wait in the control thread until `*done`, polling queue 0 and the bus.  0, -ETIMEDOUT, or the queue's death. */
int hv_storvsc_wait(struct hv_storvsc *storvsc, const bool *done, uint64_t deadline_ns);
int hv_storvsc_open_channel(struct hv_storvsc *storvsc, struct hv_storvsc_queue *queue,
                            uint16_t channel_index);
/** The host has let go of the queue's memory after this (storvsc.c). */
void hv_storvsc_close_channel(struct hv_storvsc_queue *queue);

/* ---- scan.c, events.c ---- */

int hv_storvsc_scan_create(struct hv_storvsc *storvsc);
void hv_storvsc_scan_destroy(struct hv_storvsc *storvsc);
/** DMA memory for the answers. */
int hv_storvsc_scan_attach(struct hv_storvsc *storvsc);
void hv_storvsc_scan_detach(struct hv_storvsc *storvsc);
void hv_storvsc_scan_start(struct hv_storvsc *storvsc);
/** Go on with what could not be sent before.  From the poll of queue 0. */
void hv_storvsc_scan_pump(struct hv_storvsc *storvsc);
/** True when no scan runs. */
const bool *hv_storvsc_scan_idle(const struct hv_storvsc *storvsc);
/** Something about the LUNs changed: have queue 0 look.  Any thread. */
void hv_storvsc_want_rescan(struct hv_storvsc *storvsc);
/** Wake the owner of queue 0.  Any thread. */
void hv_storvsc_wake(struct hv_storvsc *storvsc);
/** Replace the table; with `tell`, the differences become events.  0 or -ENOMEM (old table stays). */
int hv_storvsc_table_publish(struct hv_storvsc *storvsc, const struct hv_storvsc_table *next,
                             bool tell);
/** Start wanted scans, deliver events.  From the poll of queue 0. */
void hv_storvsc_housekeeping(struct hv_storvsc *storvsc);
/** There is work for it: do not sleep. */
bool hv_storvsc_has_news(const struct hv_storvsc *storvsc);

#endif
