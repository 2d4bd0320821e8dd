/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory that can vanish: files of hugetlbfs cannot be sealed, so the guest may cut one off while we use it, and the
 * next access is a SIGBUS.  The program's handler asks hv_host_memory_fault(), which puts zeroes where the region was and
 * dooms the guest; the interrupted access goes on and nobody else notices.
 *
 * The handler may run in any thread at any moment, so what it reads are tables of atomics that are never freed: a guest
 * with such memory takes one, and the next guest gets it when that one is gone.
 */
#ifndef HV_HOST_FAULT_H
#define HV_HOST_FAULT_H

#include <stdbool.h>
#include <stddef.h>

struct hv_host_faults;

/** -ENOMEM, or -ENOSPC: too many guests of the process have such memory.  kick_fd is written to when memory vanishes. */
int hv_host_faults_take(int kick_fd, struct hv_host_faults **ret_faults);
/** Nothing is watched any more.  NULL is fine. */
void hv_host_faults_give(struct hv_host_faults *faults);
/** Before the first access: watch a mapping.  Returns its slot, or -ENOSPC. */
int hv_host_faults_watch(struct hv_host_faults *faults, void *base, size_t bytes);
/** No thread uses the mapping any more. */
void hv_host_faults_unwatch(struct hv_host_faults *faults, int slot);
/** Something of it has vanished.  NULL: false. */
bool hv_host_faults_vanished(const struct hv_host_faults *faults);

#endif
