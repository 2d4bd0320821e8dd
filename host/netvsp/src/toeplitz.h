/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hash of receive side scaling: Toeplitz over addresses and ports, as Microsoft defines it for NDIS.
 *
 * One table per input byte, so that a hash is one load and one XOR a byte: 12 for TCP over IPv4.  Frames may lie in memory
 * of the guest: every length is loaded once, and no byte beyond `bytes` is read whatever they say.
 */
#ifndef HV_NETVSP_TOEPLITZ_H
#define HV_NETVSP_TOEPLITZ_H

#include <stddef.h>
#include <stdint.h>

#define HV_TOEPLITZ_KEY_BYTES   40u
#define HV_TOEPLITZ_INPUT_BYTES 36u /* two IPv6 addresses, two ports */

struct hv_toeplitz {
    uint32_t table[HV_TOEPLITZ_INPUT_BYTES][256];
};

void hv_toeplitz_init(struct hv_toeplitz *toeplitz, const uint8_t key[HV_TOEPLITZ_KEY_BYTES]);

/** Hash of up to HV_TOEPLITZ_INPUT_BYTES bytes. */
uint32_t hv_toeplitz_hash(const struct hv_toeplitz *toeplitz, const void *input, size_t bytes);

/**
 * Hash of a frame that starts with its Ethernet header; up to two VLAN tags are skipped.
 *
 * @types     HV_NDIS_HASH_* that the guest asked for; ports are used where their type is among them, else the addresses
 *            where HV_NDIS_HASH_IPV4 or _IPV6 is.  Fragments hash by address.
 * @bytes     How much of the frame lies at `frame` in one piece; 128 is always enough.
 * @ret_type  The one HV_NDIS_HASH_* that was used, 0 = none applies (then the hash is 0 too).
 */
uint32_t hv_toeplitz_frame(const struct hv_toeplitz *toeplitz, uint32_t types, const void *frame,
                           size_t bytes, uint32_t *ret_type);

#endif
