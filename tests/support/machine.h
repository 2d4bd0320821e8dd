/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole machine in one process, for pair tests: an emulated host with its control thread and workers, one storage
 * controller with memory disks, and buses of guests over socket pairs.
 *
 *   machine_start(&opts) -> machine_bus(m) ... any hv_vmbus / hv_storvsc calls ... hv_vmbus_close() -> machine_stop(m)
 *
 * Disks, attach, detach and the like belong to the host's control thread: machine_run() runs a function there.
 * Failures of the machine itself end the program with a message: they are not what is tested.
 */
#ifndef HV_TEST_MACHINE_H
#define HV_TEST_MACHINE_H

#include <hv/storvsc.h>
#include <hv/storvsp.h>

#define MACHINE_LUNS_MAX 16

struct machine;

struct machine_opts {
    struct hv_host_opts host;       /* workers_per_guest, max_version; the rest is the machine's */
    struct hv_storvsp_opts storvsp; /* version, channels, limits, fault plan */
    struct hv_disk_opts disk;       /* of every LUN; store, bytes, block_bytes, ... */
    uint8_t luns;                   /* 0 .. luns - 1, each with a disk of its own */
    bool quiet;                     /* keep what host and guest log, show nothing */
};
/** One LUN of 16 MiB in memory, one worker, everything else by default. */
void machine_opts_init(struct machine_opts *opts);

struct machine *machine_start(const struct machine_opts *opts);
/** Guests must have closed their buses.  Waits until the host has let go of everything. */
void machine_stop(struct machine *machine);

/** Connect another guest. */
struct hv_vmbus *machine_bus(struct machine *machine);
/** The newest guest loses its host, and the host its guest: the socket is shut down, as when a process is killed. */
void machine_cut(struct machine *machine);

/** Run in the host's control thread and wait for the end of it. */
void machine_run(struct machine *machine, void (*run)(void *arg), void *arg);
struct hv_host *machine_host(struct machine *machine);
struct hv_storvsp *machine_storvsp(struct machine *machine);
/** Disk of a LUN; NULL while there is none. */
struct hv_disk *machine_disk(struct machine *machine, uint8_t lun);
/** Hot plug: a new disk like those of the options, but of `bytes`. */
void machine_attach(struct machine *machine, uint8_t lun, uint64_t bytes);
/** Returns when nothing uses the disk any more; it is gone then. */
void machine_detach(struct machine *machine, uint8_t lun);
void machine_resize(struct machine *machine, uint8_t lun, uint64_t bytes);
/** Withdraw the controller from every guest: they see a rescind. */
void machine_withdraw(struct machine *machine);

/** What both sides said so far contains `text`. */
bool machine_said(struct machine *machine, const char *text);
/** Log hook of the machine, for the guest's side. */
struct hv_log_hook machine_log(struct machine *machine);

#endif
