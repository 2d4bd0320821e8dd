/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MONITOR PAGE, guest to host: a signal without a hypercall.  4096 bytes, shared by every channel of the guest.
 *
 *   0x000 trigger_state   bits 0..3 enable groups 0..3
 *   0x008 group[4]        u32 pending (guest sets, host clears: atomic), u32 armed
 *   0x040 next_check[4][32]
 *   0x240 latency[4][32]  u16, 100 ns units
 *   0x440 parameter[4][32]
 *
 * Monitor id 0..127: group = id / 32, bit = id % 32.  Signal = atomic OR of the bit into pending.
 * Source: docs/wire.md "Monitor page".
 */
#ifndef HV_WIRE_MONITOR_H
#define HV_WIRE_MONITOR_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HV_MONITOR_GROUPS    4u
#define HV_MONITOR_PER_GROUP 32u
#define HV_MONITOR_MAX       (HV_MONITOR_GROUPS * HV_MONITOR_PER_GROUP)

struct hv_monitor_group {
    _Atomic uint32_t pending;
    uint32_t armed;
};

struct hv_monitor_parameter {
    uint32_t connection_id;
    uint16_t flag_number;
    uint16_t reserved;
};

struct hv_monitor_page {
    uint32_t trigger_state;
    uint32_t reserved1;
    struct hv_monitor_group group[HV_MONITOR_GROUPS];
    uint8_t reserved2[24];
    int32_t next_check[HV_MONITOR_GROUPS][HV_MONITOR_PER_GROUP];
    uint16_t latency[HV_MONITOR_GROUPS][HV_MONITOR_PER_GROUP];
    uint8_t reserved3[256];
    struct hv_monitor_parameter parameter[HV_MONITOR_GROUPS][HV_MONITOR_PER_GROUP];
    uint8_t reserved4[1984];
};
static_assert(sizeof(struct hv_monitor_page) == 4096, "monitor page");
static_assert(offsetof(struct hv_monitor_page, group) == 0x008, "trigger groups");
static_assert(offsetof(struct hv_monitor_page, next_check) == 0x040, "next check");
static_assert(offsetof(struct hv_monitor_page, latency) == 0x240, "latency");
static_assert(offsetof(struct hv_monitor_page, parameter) == 0x440, "parameters");

#endif
