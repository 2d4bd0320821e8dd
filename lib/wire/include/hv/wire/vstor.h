/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VSTOR: the storage protocol inside VMBus packets.  VSC = guest, VSP = host.
 *
 *   0x00 operation   0x04 flags   0x08 status (NTSTATUS from the VSP)   0x0c payload by operation
 *
 * Revision 1 (before 5.1): packet 48, SCSI request 36, sense 18 bytes.
 * Revision 2 (from 5.1):   packet 64, SCSI request 52, sense 20 bytes.
 * A VSP answers with as many bytes as it received, padded with zeroes or cut.
 * Source: docs/wire.md "vstor".
 */
#ifndef HV_WIRE_VSTOR_H
#define HV_WIRE_VSTOR_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum hv_vstor_operation {
    HV_VSTOR_COMPLETE_IO = 1,
    HV_VSTOR_REMOVE_DEVICE = 2, /* VSP, unsolicited, id 0 */
    HV_VSTOR_EXECUTE_SRB = 3,
    HV_VSTOR_RESET_LUN = 4,
    HV_VSTOR_RESET_ADAPTER = 5,
    HV_VSTOR_RESET_BUS = 6,
    HV_VSTOR_BEGIN_INITIALIZATION = 7,
    HV_VSTOR_END_INITIALIZATION = 8,
    HV_VSTOR_QUERY_PROTOCOL_VERSION = 9,
    HV_VSTOR_QUERY_PROPERTIES = 10,
    HV_VSTOR_ENUMERATE_BUS = 11, /* VSP, unsolicited, from 4.2 */
    HV_VSTOR_FC_HBA_DATA = 12,
    HV_VSTOR_CREATE_SUB_CHANNELS = 13,
    HV_VSTOR_EVENT_NOTIFICATION = 14, /* VSP, from 6.0 */
};

#define HV_VSTOR_FLAG_REQUEST_COMPLETION 0x1u

#define HV_VSTOR_VERSION(major, minor) ((uint16_t)((major) << 8 | (minor)))
#define HV_VSTOR_VERSION_2_0           HV_VSTOR_VERSION(2, 0)
#define HV_VSTOR_VERSION_4_2           HV_VSTOR_VERSION(4, 2)
#define HV_VSTOR_VERSION_5_1           HV_VSTOR_VERSION(5, 1)
#define HV_VSTOR_VERSION_6_0           HV_VSTOR_VERSION(6, 0)
#define HV_VSTOR_VERSION_6_2           HV_VSTOR_VERSION(6, 2)

#define HV_VSTOR_PACKET_V1_BYTES 48u
#define HV_VSTOR_PACKET_V2_BYTES 64u
#define HV_VSTOR_SRB_V1_BYTES    36u
#define HV_VSTOR_SRB_V2_BYTES    52u
#define HV_VSTOR_SENSE_V1_BYTES  18u
#define HV_VSTOR_SENSE_V2_BYTES  20u
#define HV_VSTOR_CDB_BYTES       16u

struct hv_vstor_header {
    uint32_t operation; /* enum hv_vstor_operation */
    uint32_t flags;
    uint32_t status; /* HV_NTSTATUS_* */
};
static_assert(sizeof(struct hv_vstor_header) == 12, "vstor header");

/** Payload of QUERY_PROTOCOL_VERSION. */
struct hv_vstor_version {
    uint16_t version;
    uint16_t build; /* informative, 0 */
};
static_assert(sizeof(struct hv_vstor_version) == 4, "version payload");

/** Payload of QUERY_PROPERTIES' reply. */
struct hv_vstor_properties {
    uint32_t reserved1;
    uint16_t max_sub_channels;
    uint16_t reserved2;
    uint32_t flags; /* HV_VSTOR_PROPERTY_* */
    uint32_t max_transfer_bytes;
    uint64_t reserved3;
} __attribute__((packed));
static_assert(sizeof(struct hv_vstor_properties) == 24, "properties payload");
#define HV_VSTOR_PROPERTY_MULTI_CHANNEL 0x1u

/** Payload of EVENT_NOTIFICATION. */
struct hv_vstor_event {
    uint8_t lun;
    uint8_t target;
    uint8_t path;
    uint8_t flags;
};
static_assert(sizeof(struct hv_vstor_event) == 4, "event payload");

/** Payload of EXECUTE_SRB and of its completion. */
struct hv_vstor_srb {
    uint16_t length;     /* 52, or 36 in revision 1 */
    uint8_t srb_status;  /* HV_SRB_*, two flag bits on top */
    uint8_t scsi_status; /* SAM status */
    uint8_t port;
    uint8_t path_id;
    uint8_t target_id;
    uint8_t lun;
    uint8_t cdb_bytes;
    uint8_t sense_bytes;
    uint8_t data_in; /* HV_VSTOR_DATA_* */
    uint8_t properties;
    uint32_t data_transfer_bytes; /* asked; in the completion: moved */
    union {
        uint8_t cdb[HV_VSTOR_CDB_BYTES];
        uint8_t sense[HV_VSTOR_SENSE_V2_BYTES];
    };
    /* revision 2 from here */
    uint16_t reserve;
    uint8_t queue_tag;    /* 0xff */
    uint8_t queue_action; /* 0x20 simple */
    uint32_t srb_flags;   /* HV_SRB_FLAG_* */
    uint32_t timeout_seconds;
    uint32_t queue_sort_key;
};
static_assert(sizeof(struct hv_vstor_srb) == HV_VSTOR_SRB_V2_BYTES, "SCSI request");
static_assert(offsetof(struct hv_vstor_srb, reserve) == HV_VSTOR_SRB_V1_BYTES,
              "revision 1 ends here");
static_assert(offsetof(struct hv_vstor_srb, cdb) == 16, "CDB");
static_assert(offsetof(struct hv_vstor_srb, srb_flags) == 40, "SRB flags");

#define HV_VSTOR_DATA_OUT  0u /* to the device */
#define HV_VSTOR_DATA_IN   1u /* from the device */
#define HV_VSTOR_DATA_NONE 2u

struct hv_vstor_packet {
    struct hv_vstor_header hdr;
    union {
        struct hv_vstor_srb srb;
        struct hv_vstor_version version;
        struct hv_vstor_properties properties;
        struct hv_vstor_event event;
        uint16_t sub_channel_count;
        uint32_t client_properties;
        uint8_t raw[HV_VSTOR_SRB_V2_BYTES];
    };
};
static_assert(sizeof(struct hv_vstor_packet) == HV_VSTOR_PACKET_V2_BYTES, "vstor packet");
static_assert(offsetof(struct hv_vstor_packet, srb) == 12, "payload");

/* SRB status: low 6 bits, then flags. */
#define HV_SRB_PENDING           0x00u
#define HV_SRB_SUCCESS           0x01u
#define HV_SRB_ABORTED           0x02u
#define HV_SRB_ABORT_FAILED      0x03u
#define HV_SRB_ERROR             0x04u
#define HV_SRB_BUSY              0x05u
#define HV_SRB_INVALID_REQUEST   0x06u
#define HV_SRB_INVALID_PATH      0x07u
#define HV_SRB_NO_DEVICE         0x08u
#define HV_SRB_TIMEOUT           0x09u
#define HV_SRB_SELECTION_TIMEOUT 0x0au
#define HV_SRB_COMMAND_TIMEOUT   0x0bu
#define HV_SRB_BUS_RESET         0x0eu
#define HV_SRB_DATA_OVERRUN      0x12u
#define HV_SRB_BAD_LENGTH        0x15u
#define HV_SRB_FLUSHED           0x16u
#define HV_SRB_INVALID_LUN       0x20u
#define HV_SRB_INVALID_TARGET    0x21u
#define HV_SRB_BAD_FUNCTION      0x22u
#define HV_SRB_ERROR_RECOVERY    0x23u
#define HV_SRB_LINK_DOWN         0x25u
#define HV_SRB_INTERNAL_ERROR    0x30u
#define HV_SRB_STATUS_MASK       0x3fu
#define HV_SRB_QUEUE_FROZEN      0x40u
#define HV_SRB_SENSE_VALID       0x80u

#define HV_SRB_FLAG_QUEUE_ACTION_ENABLE    0x00000002u
#define HV_SRB_FLAG_DISABLE_SYNCH_TRANSFER 0x00000008u
#define HV_SRB_FLAG_DATA_IN                0x00000040u
#define HV_SRB_FLAG_DATA_OUT               0x00000080u
#define HV_SRB_FLAG_NO_QUEUE_FREEZE        0x00000100u

/* NTSTATUS of the vstor header. */
#define HV_NTSTATUS_SUCCESS           0x00000000u
#define HV_NTSTATUS_BUSY              0x80000011u
#define HV_NTSTATUS_OVERRUN           0x80000005u
#define HV_NTSTATUS_FLUSHED           0xc0000001u
#define HV_NTSTATUS_INVALID_PARAMETER 0xc000000du
#define HV_NTSTATUS_INVALID_REQUEST   0xc0000010u
#define HV_NTSTATUS_REVISION_MISMATCH 0xc0000059u
#define HV_NTSTATUS_SELECTION_TIMEOUT 0xc000009du
#define HV_NTSTATUS_IO_TIMEOUT        0xc00000b5u
#define HV_NTSTATUS_NO_DEVICE         0xc00000c0u
#define HV_NTSTATUS_CANCELLED         0xc0000120u
#define HV_NTSTATUS_INVALID_STATE     0xc0000184u
#define HV_NTSTATUS_IO_ERROR          0xc0000185u

#endif
