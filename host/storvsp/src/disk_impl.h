/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The disk and its queues.  Private to host/storvsp.
 *
 * A disk is shared by the queues of several worker threads.  What the data path needs of it is constant or one atomic
 * word, the GATE:
 *
 *   bit 0       somebody holds a reservation or a registration
 *   bit 1       some initiator has a unit attention to hear
 *   bit 2       a command runs alone on the disk (COMPARE AND WRITE, PREEMPT AND ABORT)
 *   bits 3..31  counts up whenever an initiator is forgotten, so that queues forget what they know of it
 *
 * While the gate is calm and the queue has met the initiator before, a command takes no lock.
 *
 * ALONE: each queue counts its commands that touch the medium (`media`, written by its thread alone).  Who wants to be
 * alone sets bit 2, makes every thread of the process pass a memory barrier (membarrier(2), so that the data path needs
 * none of its own) and waits until all counts are zero; who counts up and then finds bit 2 set counts down again and
 * waits.  Queues whose store completes at once wait in a mutex, the others park the command and are woken by kick.
 * Lock order: exclusive_lock, queues_lock, lock.
 */
#ifndef HV_STORVSP_DISK_IMPL_H
#define HV_STORVSP_DISK_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store_impl.h"

#define HV_GATE_RESERVED   0x1u
#define HV_GATE_ATTENTION  0x2u
#define HV_GATE_EXCLUSIVE  0x4u
#define HV_GATE_GENERATION 0x8u /* and everything above */

#define HV_DISK_BOUNCE_BYTES     (256u << 10) /* one bounce buffer; larger transfers go in pieces */
#define HV_DISK_BOUNCE_COUNT     32u
#define HV_DISK_SERIAL_BYTES     64u
#define HV_DISK_NAA_BYTES        16u
#define HV_DISK_KNOWN            8u /* initiators a queue remembers */
#define HV_DISK_REGISTRATION_MAX 128u
#define HV_DISK_ATTENTION_MAX    8u /* pending for one initiator */

struct hv_initiator {
    uint64_t id;
    uint32_t attention_count;
    uint16_t attention[HV_DISK_ATTENTION_MAX];
};

struct hv_registration {
    uint64_t initiator;
    uint64_t key;
};

/** Persistent and legacy reservations; guarded by hv_disk.lock. */
struct hv_reservations {
    uint32_t generation;
    uint32_t count;
    struct hv_registration registration[HV_DISK_REGISTRATION_MAX];
    uint8_t type;    /* 0 = no persistent reservation */
    uint64_t holder; /* unless every registrant holds it */
    bool legacy;     /* RESERVE(6) */
    uint64_t legacy_holder;
};

struct hv_disk {
    struct hv_log_hook log;
    const struct hv_store_ops *ops;
    void *store;
    char serial[HV_DISK_SERIAL_BYTES + 1];
    uint8_t naa[HV_DISK_NAA_BYTES];
    uint32_t block_bytes;
    uint32_t block_shift;
    uint32_t physical_bytes;
    bool read_only;
    bool thin;
    bool discard_zeroes; /* discarded blocks read as zeroes */
    bool rotational;
    bool cache_fixed; /* the program said no write cache: guests cannot switch it on */
    bool direct;
    bool has_membarrier;
    _Atomic uint64_t bytes;
    _Atomic uint32_t max_transfer_bytes;
    _Atomic bool write_cache;
    _Atomic uint32_t gate; /* written under lock */

    pthread_mutex_t lock; /* the following */
    struct hv_initiator *initiators;
    uint32_t initiator_count;
    uint32_t initiator_capacity;
    struct hv_reservations reservations;
    struct hv_disk_queue *exclusive_owner; /* stores that complete later */

    pthread_mutex_t queues_lock;
    struct hv_disk_queue *queues;
    pthread_mutex_t exclusive_lock; /* stores that complete at once: held by who is alone */
};

/** FIFO of commands, linked by impl.next. */
struct hv_command_list {
    struct hv_scsi_command *first;
    struct hv_scsi_command **last;
};

struct hv_disk_queue {
    struct hv_disk *disk;
    const struct hv_store_ops *ops;
    uint32_t depth;
    uint32_t in_flight;
    uint32_t completed; /* since creation, wraps */
    uint32_t calm_gate; /* the gate's generation, other bits clear */
    bool at_once;
    uint64_t known[HV_DISK_KNOWN]; /* initiator + 1, 0 = none */

    uint8_t *bounce; /* HV_DISK_BOUNCE_BYTES each */
    uint32_t bounce_count;
    uint32_t bounce_free_count;
    uint32_t bounce_free[HV_DISK_BOUNCE_COUNT];

    struct hv_command_list waiting;            /* for a bounce buffer or a place in the kernel */
    struct hv_command_list parked;             /* until the command that is alone has finished */
    struct hv_scsi_command *exclusive_waiting; /* ours; waits for the other queues to drain */
    _Atomic bool has_parked;
    int fd; /* eventfd: low half counts completions, high half kicks; -1 = none */
    uint32_t events_seen, events_read;
    _Atomic uint32_t kicks_sent;
    uint32_t kicks_read;
    void *store;                /* the store's own */
    struct hv_disk_queue *next; /* of the disk */

    /* On a cache line of its own: read by other threads. */
    _Alignas(64) _Atomic uint32_t media;
};

/* disk_queue.c */
void hv_disk_continue(struct hv_disk_queue *queue, struct hv_scsi_command *command);
void hv_disk_wait(struct hv_disk_queue *queue, struct hv_scsi_command *command);
uint8_t *hv_disk_get_bounce(struct hv_disk_queue *queue);
void hv_disk_put_bounce(struct hv_disk_queue *queue, uint8_t *buffer);
void hv_command_list_init(struct hv_command_list *list);
void hv_command_list_push(struct hv_command_list *list, struct hv_scsi_command *command);
struct hv_scsi_command *hv_command_list_pop(struct hv_command_list *list);

/* disk_gate.c */
int hv_gate_init(struct hv_disk *disk);
void hv_gate_fini(struct hv_disk *disk);
void hv_gate_set(struct hv_disk *disk, uint32_t bits);   /* lock held */
void hv_gate_clear(struct hv_disk *disk, uint32_t bits); /* lock held */
uint32_t hv_gate_load(const struct hv_disk *disk);
/** Count a command in.  False: somebody is alone, the command is parked. */
bool hv_gate_enter(struct hv_disk_queue *queue, struct hv_scsi_command *command,
                   uint32_t *ret_gate);
void hv_gate_leave(struct hv_disk_queue *queue);
/** Be alone.  False: the command is parked or waits; it is started again from poll. */
bool hv_gate_exclude(struct hv_disk_queue *queue, struct hv_scsi_command *command);
bool hv_gate_is_alone(struct hv_disk_queue *queue);
void hv_gate_include(struct hv_disk_queue *queue);
void hv_gate_kick(struct hv_disk_queue *queue);

/* disk_open.c */
void hv_disk_why(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
int hv_disk_set_identity(struct hv_disk *disk, const char *serial, const char *path);

#endif
