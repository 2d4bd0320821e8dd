/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host with an echo device in threads of its own, for tests of the bus: one control thread, one thread per worker.
 * What must run in the control thread goes through rig_call().
 *
 * The echo device answers every packet with a completion of the same payload.  A packet whose trans_id has
 * ECHO_COMMAND set is a command instead: its low byte says which, the next two are its argument.
 */
#ifndef HV_TEST_BUS_RIG_H
#define HV_TEST_BUS_RIG_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <hv/host.h>

#define ECHO_COMMAND                       (1ull << 63)
#define ECHO_SUBCHANNELS                   1u /* offer up to so many */
#define ECHO_RESCIND                       2u
#define ECHO_KILL                          3u
#define ECHO_CORRUPT                       4u
#define ECHO_MAP                           5u /* a GPADL; answered like a GPA-direct packet */
#define ECHO_TOUCH                         6u /* count every page of what is mapped up, likewise */
#define ECHO_UNMAP                         7u /* likewise */
#define ECHO_COMMAND_OF(command, argument) (ECHO_COMMAND | (uint64_t)(argument) << 8 | (command))

#define ECHO_RANGES 0x1234567ull /* trans_id of a GPA-direct packet that may have several ranges */

/** Answer to a GPA-direct packet, and to the commands that map. */
#define ECHO_GPA_PIECES 8
struct echo_gpa_result {
    int64_t pieces; /* or the error */
    uint32_t bytes; /* as map_gpa() says */
    uint32_t sum;   /* of the pieces */
};

#define RIG_GUESTS_MAX 8
#define RIG_WORKERS    3

extern const struct hv_guid rig_class;

struct rig_opts {
    uint32_t max_version;
    uint32_t max_guests;
    uint16_t workers; /* 0 = 2 */
    bool monitored;
    bool no_device; /* offer nothing at first */
    bool vanishing; /* memory of hugetlbfs is welcome */
};

/** An echo device; counters are of all guests and channels. */
struct echo {
    struct hv_host_device *device;
    struct hv_guid instance;
    uint8_t refuse; /* first byte of the open message's user data that is refused; 0 = none */
    int late_fd;    /* if not 0: a close is answered when this event descriptor says so */
    uint16_t subchannels_at_open; /* asked for in the open of the primary already */
    atomic_uint open_channels;
    atomic_uint opened;
    atomic_uint closed;
    atomic_uint guests_gone;
    atomic_uint wakeups;     /* of the channel closed last */
    atomic_uint closing;     /* calls of close, ... */
    atomic_bool hold_worker; /* ... which do not return while this is set */
    atomic_bool hold_close;  /* while set, closes are not answered */
    atomic_ullong polls;
    atomic_ullong packets;
    atomic_uint last_thread; /* hash of the worker that polled last */
    atomic_bool gone;
};

struct rig_guest {
    struct hv_host_guest *guest;
    pthread_t threads[RIG_WORKERS];
    int stop_fd;
    uint16_t workers;
};

struct rig {
    struct hv_host *host;
    struct echo echo;
    pthread_t control;
    bool control_runs;
    bool stop; /* control thread */
    struct rig_guest guests[RIG_GUESTS_MAX];
    atomic_uint guests_added;
    atomic_uint guests_removed;
    pthread_mutex_t log_lock;
    char last_warning[512];
    unsigned warnings;
};

/** All or nothing: the test ends when the rig cannot be set up. */
void rig_start(struct rig *rig, const struct rig_opts *opts);
/** Disconnects everybody, stops every thread, frees the host. */
void rig_stop(struct rig *rig);
/** Run in the control thread, and wait until it did. */
void rig_call(struct rig *rig, void (*run)(struct rig *rig, void *arg), void *arg);
/** Connect a socket pair; returns the guest's end. */
int rig_connect(struct rig *rig);
/** The same as an address of hv_vmbus_open(). */
void rig_address(struct rig *rig, char *address, size_t bytes);
/** Wait for a counter to reach a value; false after 10 s. */
bool rig_wait(const atomic_uint *counter, unsigned value);
bool rig_wait_flag(const atomic_bool *flag);
bool rig_has_warned(struct rig *rig, const char *text);
/** What the host warned of last contains this; says so if not. */
bool rig_warned(struct rig *rig, const char *text);

void rig_offer(struct rig *rig, struct echo *echo, uint8_t number, bool monitored);
void rig_withdraw(struct rig *rig, struct echo *echo);

#endif
