/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NICs in a machine (machine.h), for pair tests of the network driver.
 *
 *   machine_start() -> machine_nic_add() ... -> hv_vmbus_close() -> machine_nic_remove() ... -> machine_stop()
 *
 * Failures of the machine itself end the program with a message: they are not what is tested.
 */
#ifndef HV_TEST_MACHINE_NIC_H
#define HV_TEST_MACHINE_NIC_H

#include <hv/netvsp.h>

#include "machine.h"

struct machine_nic;

struct machine_nic *machine_nic_add(struct machine *machine, const struct hv_netvsp_opts *opts);
/** Withdraw it from every guest: they see a rescind.  Only remove may follow. */
void machine_nic_withdraw(struct machine_nic *nic);
/** Returns when nothing uses it any more.  NULL is fine. */
void machine_nic_remove(struct machine_nic *nic);

/* In the host's control thread. */
void machine_nic_set_link(struct machine_nic *nic, bool up);
void machine_nic_set_vf(struct machine_nic *nic, bool present, uint32_t serial);
void machine_nic_get_state(struct machine_nic *nic, struct hv_netvsp_state *ret_state);
void machine_nic_get_stats(struct machine_nic *nic, struct hv_netvsp_stats *ret_stats);

#endif
