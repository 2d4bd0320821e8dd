/* SPDX-License-Identifier: BSD-3-Clause */
/* A network device opened over a loop_nic, for unit tests of the driver's control side. */
#ifndef HV_TEST_NETVSC_NIC_H
#define HV_TEST_NETVSC_NIC_H

#include <loop_nic.h>

#include <hv/netvsc.h>

#define NIC_TIMEOUT_MS  30u /* for hosts that do not answer */
#define NIC_DEBOUNCE_MS 40u

struct nic_fixture {
    struct loop_nic *nic;
    struct hv_netvsc *netvsc; /* NULL when it could not be opened */
    int error;                /* of hv_netvsc_open() */
    unsigned events[8];       /* by kind */
    enum hv_netvsc_event order[32];
    unsigned event_count;
    void (*on_event)(struct nic_fixture *f, enum hv_netvsc_event event);
};

void nic_start(struct nic_fixture *f, const struct loop_nic_opts *lo,
               const struct hv_netvsc_opts *no);
/** Open with so many queues allowed, or abort. */
void nic_begin(struct nic_fixture *f, const struct loop_nic_opts *lo, uint16_t queues);
/** Aborts when anything is left behind. */
void nic_stop(struct nic_fixture *f);
/** The wait descriptor is readable. */
bool nic_is_ready(const struct nic_fixture *f);

#endif
