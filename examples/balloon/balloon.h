/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client of Hyper-V's dynamic memory on libvmbus: the smallest whole driver, to learn from.
 *
 *   balloon_open(&b, address)          connect, find the device, open its channel
 *   balloon_agree(&b)                  version, newest first
 *   balloon_report_capabilities(&b)
 *   balloon_report_status(&b, ...)     now and then
 *   balloon_serve(&b, wait_ms)         answer what the host asks
 *   balloon_close(&b)
 *
 * It tells the host how the memory is used, and gives none away.  One thread.  0 or a negative errno; the reason in
 * words is in b->problem.
 */
#ifndef BALLOON_H
#define BALLOON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hv/vmbus.h>

struct balloon {
    struct hv_vmbus *bus;
    struct hv_channel *channel;
    struct hv_guid instance;
    uint32_t timeout_ms;  /* for each answer of the host */
    uint32_t version;     /* agreed upon, as DYNMEM_VERSION(); 0 = none yet */
    bool host_wants_none; /* status reports */
    uint32_t next_id;     /* of our next message */
    uint64_t sleeps;      /* times a wait had to block */
    uint64_t host_requests;
    char problem[160];
};

/** Options of the bus may be NULL.  Errors of hv_vmbus_open() and hv_channel_open(); after any, nothing is open. */
int balloon_open(struct balloon *b, const char *address, const struct hv_vmbus_opts *opts);
/** Safe after a failure, too. */
void balloon_close(struct balloon *b);

/**
 * One round: ask for a version, sleep until the host has answered.
 * Returns 0, -ETIMEDOUT (no answer, or one whose signal was lost), -EPROTO (nonsense), -ENODEV (taken away).
 */
int balloon_ask_version(struct balloon *b, uint32_t version, bool last, bool *ret_accepted);
/** From 2.0 down to 0.3.  As above, and -EPROTONOSUPPORT. */
int balloon_agree(struct balloon *b);
/** -ECONNREFUSED when the host does not want us. */
int balloon_report_capabilities(struct balloon *b);
/** Pages of 4096 bytes.  There is no answer. */
int balloon_report_status(struct balloon *b, uint64_t available_pages, uint64_t committed_pages);
/** Wait for a message of the host and answer it.  -EAGAIN when none came in time. */
int balloon_serve(struct balloon *b, uint32_t wait_ms);

#endif
