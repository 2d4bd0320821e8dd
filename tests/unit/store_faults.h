/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults below a file store.  The system calls of the store are caught by functions of the same name in the test
 * program, counted, and on demand made to fail, to move less, or to be refused.
 */
#ifndef HV_TEST_STORE_FAULTS_H
#define HV_TEST_STORE_FAULTS_H

#include <stdint.h>
#include <sys/types.h>

struct store_faults {
    /* wanted; 0 = none */
    int read_errno, write_errno; /* every read or write fails */
    size_t most_bytes;           /* no read or write moves more */
    int sync_errno;              /* every sync fails */
    int submit_errno;            /* the next submit_errno_count io_submit() fail */
    int submit_errno_count;
    int fallocate_errno; /* every fallocate() fails */
    int dsync_errno;     /* RWF_DSYNC is refused */
    int lock_errno;      /* no lock on a file is to be had */
    /* seen */
    int syncs, writes, durable_writes, reads, submits, holes;
};
extern struct store_faults store_faults;

#endif
