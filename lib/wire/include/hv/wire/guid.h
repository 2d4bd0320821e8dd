/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GUID as it crosses the wire: u32, u16, u16 little-endian, then 8 bytes in order.
 * Source: docs/wire.md "GUIDs".
 */
#ifndef HV_WIRE_GUID_H
#define HV_WIRE_GUID_H

#include <assert.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "VMBus is little-endian and so are all its guests; layouts here are read without swapping"
#endif

struct hv_guid {
    uint8_t b[16];
};
static_assert(sizeof(struct hv_guid) == 16, "GUID on the wire");

/* clang-format off */
/** Initialiser from the usual text form: HV_GUID_INIT(0xba6163d9, 0x04a1, 0x4d29, 0xb6, 0x05, ...). */
#define HV_GUID_INIT(a, b, c, d0, d1, d2, d3, d4, d5, d6, d7)                                       \
    {{ (uint8_t)((a) & 0xff), (uint8_t)(((a) >> 8) & 0xff), (uint8_t)(((a) >> 16) & 0xff),          \
       (uint8_t)(((a) >> 24) & 0xff), (uint8_t)((b) & 0xff), (uint8_t)(((b) >> 8) & 0xff),          \
       (uint8_t)((c) & 0xff), (uint8_t)(((c) >> 8) & 0xff),                                         \
       (d0), (d1), (d2), (d3), (d4), (d5), (d6), (d7) }}

/* Device classes. */
#define HV_CLASS_SCSI    HV_GUID_INIT(0xba6163d9u, 0x04a1u, 0x4d29u, 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f)
#define HV_CLASS_IDE     HV_GUID_INIT(0x32412632u, 0x86cbu, 0x44a2u, 0x9b, 0x5c, 0x50, 0xd1, 0x41, 0x73, 0x54, 0xf5)
#define HV_CLASS_FC      HV_GUID_INIT(0x2f9bcc4au, 0x0069u, 0x4af3u, 0xb7, 0x6b, 0x6f, 0xd0, 0xbe, 0x52, 0x8c, 0xda)
#define HV_CLASS_NETWORK HV_GUID_INIT(0xf8615163u, 0xdf3eu, 0x46c5u, 0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e)
/* clang-format on */

#endif
