/* SPDX-License-Identifier: BSD-3-Clause */
/* Between offload.c (headers, sums) and offload_cut.c (finished frames). */
#ifndef HV_NETVSP_OFFLOAD_IMPL_H
#define HV_NETVSP_OFFLOAD_IMPL_H

#include "offload.h"

uint64_t hv_offload_sum_pieces(const struct iovec *iov, uint32_t count, uint64_t sum);
uint64_t hv_offload_pseudo_sum(const struct hv_offload_headers *h, uint32_t l4_bytes);
void hv_offload_ip_checksum(struct hv_offload_headers *h);
void hv_offload_set_ip_length(struct hv_offload_headers *h, uint32_t end);

/** Of the checksum in the L4 header. */
static inline uint16_t hv_offload_csum_offset(const struct hv_offload_headers *h)
{
    return h->flags & HV_FRAME_TCP ? 16 : 6;
}

#endif
