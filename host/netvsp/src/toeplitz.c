/* SPDX-License-Identifier: BSD-3-Clause */
#include "toeplitz.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include <hv/base/endian.h>
#include <hv/wire/ndis.h>

#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_IPV6 0x86ddu
#define ETHERTYPE_VLAN 0x8100u
#define ETHERTYPE_QINQ 0x88a8u
#define EXTENSIONS_MAX 8 /* IPv6 extension headers looked through */

_Static_assert(HV_TOEPLITZ_KEY_BYTES == HV_NDIS_RSS_KEY_BYTES, "key");

void hv_toeplitz_init(struct hv_toeplitz *toeplitz, const uint8_t key[HV_TOEPLITZ_KEY_BYTES])
{
    for (unsigned i = 0; i < HV_TOEPLITZ_INPUT_BYTES; i++) {
        uint64_t window = (uint64_t)hv_get_be32(key + i) << 8 | key[i + 4];

        for (unsigned value = 0; value < 256; value++) {
            uint32_t hash = 0;

            for (unsigned bit = 0; bit < 8; bit++)
                if (value & (0x80u >> bit))
                    hash ^= (uint32_t)(window >> (8 - bit));
            toeplitz->table[i][value] = hash;
        }
    }
}

static inline uint32_t hash_at(const struct hv_toeplitz *toeplitz, unsigned position,
                               const uint8_t *input, size_t bytes)
{
    uint32_t hash = 0;

    for (size_t i = 0; i < bytes; i++)
        hash ^= toeplitz->table[position + i][input[i]];
    return hash;
}

uint32_t hv_toeplitz_hash(const struct hv_toeplitz *toeplitz, const void *input, size_t bytes)
{
    if (bytes > HV_TOEPLITZ_INPUT_BYTES)
        bytes = HV_TOEPLITZ_INPUT_BYTES;
    return hash_at(toeplitz, 0, input, bytes);
}

/* Memory of the guest: what is decided upon is loaded once. */
static inline uint8_t load8(const uint8_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline unsigned load16(const uint8_t *p)
{
    return (unsigned)load8(p) << 8 | load8(p + 1);
}

/* Where the hash input lies. */
struct flow {
    const uint8_t *addresses;
    const uint8_t *ports; /* NULL: none, or not to be used */
    unsigned protocol;
};

static bool find_ipv4(const uint8_t *ip, size_t bytes, struct flow *ret_flow)
{
    unsigned header;

    if (bytes < 20)
        return false;
    header = (load8(ip) & 15u) * 4;
    ret_flow->addresses = ip + 12;
    ret_flow->protocol = load8(ip + 9);
    ret_flow->ports = NULL;
    if (header >= 20 && bytes >= header + 4 && !(load16(ip + 6) & 0x3fffu))
        ret_flow->ports = ip + header;
    return true;
}

static bool find_ipv6(const uint8_t *ip, size_t bytes, struct flow *ret_flow)
{
    unsigned next;
    size_t at = 40;

    if (bytes < 40)
        return false;
    next = load8(ip + 6);
    ret_flow->addresses = ip + 8;
    ret_flow->ports = NULL;
    ret_flow->protocol = IPPROTO_NONE;
    for (unsigned i = 0; i < EXTENSIONS_MAX && bytes - at >= 4; i++) {
        if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) {
            ret_flow->protocol = next;
            if (next != IPPROTO_FRAGMENT)
                ret_flow->ports = ip + at;
            break;
        }
        next = load8(ip + at);
        at += (load8(ip + at + 1) + 1u) * 8;
        if (at > bytes)
            break;
    }
    return true;
}

static inline uint32_t pick_type(const struct flow *flow, uint32_t types, uint32_t tcp,
                                 uint32_t udp, uint32_t address)
{
    if (flow->ports && flow->protocol == IPPROTO_TCP && (types & tcp))
        return tcp;
    if (flow->ports && flow->protocol == IPPROTO_UDP && (types & udp))
        return udp;
    return types & address;
}

uint32_t hv_toeplitz_frame(const struct hv_toeplitz *toeplitz, uint32_t types, const void *frame,
                           size_t bytes, uint32_t *ret_type)
{
    const uint8_t *p = frame;
    struct flow flow;
    unsigned ethertype;
    size_t at = 14;
    uint32_t type = 0;
    uint32_t hash = 0;

    *ret_type = 0;
    if (bytes < at)
        return 0;
    ethertype = load16(p + 12);
    for (unsigned tags = 0; tags < 2; tags++) {
        if ((ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ) || bytes < at + 4)
            break;
        ethertype = load16(p + at + 2);
        at += 4;
    }
    if (ethertype == ETHERTYPE_IPV4 && find_ipv4(p + at, bytes - at, &flow)) {
        type = pick_type(&flow, types, HV_NDIS_HASH_TCP4, HV_NDIS_HASH_UDP4, HV_NDIS_HASH_IPV4);
        if (type)
            hash = hash_at(toeplitz, 0, flow.addresses, 8);
        if (type & (HV_NDIS_HASH_TCP4 | HV_NDIS_HASH_UDP4))
            hash ^= hash_at(toeplitz, 8, flow.ports, 4);
    } else if (ethertype == ETHERTYPE_IPV6 && find_ipv6(p + at, bytes - at, &flow)) {
        type = pick_type(&flow, types, HV_NDIS_HASH_TCP6, HV_NDIS_HASH_UDP6, HV_NDIS_HASH_IPV6);
        if (type)
            hash = hash_at(toeplitz, 0, flow.addresses, 32);
        if (type & (HV_NDIS_HASH_TCP6 | HV_NDIS_HASH_UDP6))
            hash ^= hash_at(toeplitz, 32, flow.ports, 4);
    }
    *ret_type = type;
    return hash;
}
