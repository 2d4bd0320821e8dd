/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket of hv-host: frames out, answers awaited, the rest handed to kernel.c.  Any thread may ask. */
#ifndef HV_INTEROP_CONNECTION_H
#define HV_INTEROP_CONNECTION_H

#include <stddef.h>
#include <stdint.h>

#include <hv/wire/message.h>

/** What comes unasked, from the reader's thread.  Must not wait for answers. */
void kernel_offered(const struct hv_msg_offer *offer, int signal_fd, int event_fd);
void kernel_rescind(uint32_t relid);
void kernel_host_gone(void);

/** Hello, and the reader's thread.  Ends the process on failure. */
void connection_start(const char *path);
void connection_contact(uint64_t monitor_h2g, uint64_t monitor_g2h);
/** Returns when all offers have been handed over. */
void connection_request_offers(void);
/** These wait for the host's answer: 0, a negative errno, or a positive status of the message. */
int connection_memory_add(uint64_t pfn, uint64_t pages, int fd, uint64_t offset);
int connection_gpadl_create(uint32_t relid, uint32_t gpadl, uint64_t first_pfn, uint32_t pages);
int connection_gpadl_teardown(uint32_t relid, uint32_t gpadl);
int connection_open(uint32_t relid, uint32_t gpadl, uint32_t in_ring_page, uint32_t target_vp);
/** No answer. */
void connection_close_channel(uint32_t relid);
void connection_relid_released(uint32_t relid);
/** Does not wait: the answer comes when the last channel that may look at it is closed. */
void connection_memory_remove(uint64_t pfn, uint64_t pages);

#endif
