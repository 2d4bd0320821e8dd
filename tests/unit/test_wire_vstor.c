/* SPDX-License-Identifier: BSD-3-Clause */
/* The layouts of the storage protocol against bytes that were not made from them. */
#include <stdint.h>

#include <hv/base/endian.h>
#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

#include "wire_fields.h"

static struct hv_vstor_packet *packet(const struct wire_access *access, void *at,
                                      uint32_t operation, uint32_t flags, uint32_t status)
{
    struct hv_vstor_packet *p = at;

    FIELD(p->hdr.operation, operation);
    FIELD(p->hdr.flags, flags);
    FIELD(p->hdr.status, status);
    return p;
}

static struct hv_vstor_packet *request(const struct wire_access *access, void *at,
                                       uint32_t operation)
{
    return packet(access, at, operation, HV_VSTOR_FLAG_REQUEST_COMPLETION, 0);
}

static struct hv_vstor_packet *answer(const struct wire_access *access, void *at, uint32_t status)
{
    return packet(access, at, HV_VSTOR_COMPLETE_IO, 0, status);
}

static void begin(const struct wire_access *access, void *at)
{
    (void)request(access, at, HV_VSTOR_BEGIN_INITIALIZATION);
}

static void end(const struct wire_access *access, void *at)
{
    (void)request(access, at, HV_VSTOR_END_INITIALIZATION);
}

static void query_version(const struct wire_access *access, void *at)
{
    struct hv_vstor_packet *p = request(access, at, HV_VSTOR_QUERY_PROTOCOL_VERSION);

    FIELD(p->version.version, HV_VSTOR_VERSION_6_2);
    FIELD(p->version.build, 0);
}

static void query_version_v1(const struct wire_access *access, void *at)
{
    struct hv_vstor_packet *p = request(access, at, HV_VSTOR_QUERY_PROTOCOL_VERSION);

    FIELD(p->version.version, HV_VSTOR_VERSION_2_0);
    FIELD(p->version.build, 0x1db0);
}

static void version_refused(const struct wire_access *access, void *at)
{
    struct hv_vstor_packet *p = answer(access, at, HV_NTSTATUS_REVISION_MISMATCH);

    FIELD(p->version.version, HV_VSTOR_VERSION_6_2);
    FIELD(p->version.build, 0);
}

static void query_properties(const struct wire_access *access, void *at)
{
    (void)request(access, at, HV_VSTOR_QUERY_PROPERTIES);
}

static void properties(const struct wire_access *access, void *at)
{
    struct hv_vstor_packet *p = answer(access, at, HV_NTSTATUS_SUCCESS);

    FIELD(p->properties.reserved1, 0);
    FIELD(p->properties.max_sub_channels, 15);
    FIELD(p->properties.reserved2, 0);
    FIELD(p->properties.flags, HV_VSTOR_PROPERTY_MULTI_CHANNEL);
    FIELD(p->properties.max_transfer_bytes, 0x40000);
    FIELD(p->properties.reserved3, 0);
}

static void fc_hba_data(const struct wire_access *access, void *at)
{
    (void)request(access, at, HV_VSTOR_FC_HBA_DATA);
}

static void create_sub_channels(const struct wire_access *access, void *at)
{
    struct hv_vstor_packet *p = request(access, at, HV_VSTOR_CREATE_SUB_CHANNELS);

    FIELD(p->sub_channel_count, 3);
}

static void reset_lun(const struct wire_access *access, void *at)
{
    struct hv_vstor_packet *p = request(access, at, HV_VSTOR_RESET_LUN);

    FIELD(p->srb.length, HV_VSTOR_SRB_V2_BYTES);
    FIELD(p->srb.path_id, 0);
    FIELD(p->srb.target_id, 1);
    FIELD(p->srb.lun, 2);
}

static void reset_adapter(const struct wire_access *access, void *at)
{
    (void)request(access, at, HV_VSTOR_RESET_ADAPTER);
}

static void reset_bus(const struct wire_access *access, void *at)
{
    (void)request(access, at, HV_VSTOR_RESET_BUS);
}

static void enumerate_bus(const struct wire_access *access, void *at)
{
    (void)packet(access, at, HV_VSTOR_ENUMERATE_BUS, 0, 0);
}

static void remove_device(const struct wire_access *access, void *at)
{
    (void)packet(access, at, HV_VSTOR_REMOVE_DEVICE, 0, 0);
}

static void event_notification(const struct wire_access *access, void *at)
{
    struct hv_vstor_packet *p = packet(access, at, HV_VSTOR_EVENT_NOTIFICATION, 0, 0);

    FIELD(p->event.lun, 5);
    FIELD(p->event.target, 1);
    FIELD(p->event.path, 2);
    FIELD(p->event.flags, 0x81);
}

/** READ(16) as both revisions carry it. */
static void read_16(const struct wire_access *access, struct hv_vstor_srb *srb, uint16_t length,
                    uint8_t sense_bytes)
{
    uint8_t cdb[HV_VSTOR_CDB_BYTES] = {HV_SCSI_READ_16, 0x08};

    hv_put_be64(cdb + 2, 0x0102030405);
    hv_put_be32(cdb + 10, 256);
    FIELD(srb->length, length);
    FIELD(srb->srb_status, HV_SRB_PENDING);
    FIELD(srb->scsi_status, HV_SCSI_STATUS_GOOD);
    FIELD(srb->port, 0);
    FIELD(srb->path_id, 1);
    FIELD(srb->target_id, 2);
    FIELD(srb->lun, 3);
    FIELD(srb->cdb_bytes, 16);
    FIELD(srb->sense_bytes, sense_bytes);
    FIELD(srb->data_in, HV_VSTOR_DATA_IN);
    FIELD(srb->properties, 0);
    FIELD(srb->data_transfer_bytes, 0x20000);
    FIELD_BYTES(srb->cdb, cdb, sizeof(cdb));
}

static void execute_srb(const struct wire_access *access, void *at)
{
    struct hv_vstor_srb *srb = &request(access, at, HV_VSTOR_EXECUTE_SRB)->srb;

    read_16(access, srb, HV_VSTOR_SRB_V2_BYTES, HV_VSTOR_SENSE_V2_BYTES);
    FIELD(srb->reserve, 0);
    FIELD(srb->queue_tag, 0xff);
    FIELD(srb->queue_action, 0x20);
    FIELD(srb->srb_flags, HV_SRB_FLAG_QUEUE_ACTION_ENABLE | HV_SRB_FLAG_DISABLE_SYNCH_TRANSFER |
                              HV_SRB_FLAG_DATA_IN | HV_SRB_FLAG_NO_QUEUE_FREEZE);
    FIELD(srb->timeout_seconds, 60);
    FIELD(srb->queue_sort_key, 0);
}

static void execute_srb_v1(const struct wire_access *access, void *at)
{
    read_16(access, &request(access, at, HV_VSTOR_EXECUTE_SRB)->srb, HV_VSTOR_SRB_V1_BYTES,
            HV_VSTOR_SENSE_V1_BYTES);
}

static void execute_srb_write(const struct wire_access *access, void *at)
{
    struct hv_vstor_srb *srb = &request(access, at, HV_VSTOR_EXECUTE_SRB)->srb;
    uint8_t cdb[10] = {HV_SCSI_WRITE_10};

    hv_put_be32(cdb + 2, 0x12345678);
    hv_put_be16(cdb + 7, 8);
    FIELD(srb->length, HV_VSTOR_SRB_V2_BYTES);
    FIELD(srb->lun, 7);
    FIELD(srb->cdb_bytes, 10);
    FIELD(srb->sense_bytes, HV_VSTOR_SENSE_V2_BYTES);
    FIELD(srb->data_in, HV_VSTOR_DATA_OUT);
    FIELD(srb->data_transfer_bytes, 4096);
    FIELD_BYTES(srb->cdb, cdb, sizeof(cdb));
    FIELD(srb->queue_tag, 0xff);
    FIELD(srb->queue_action, 0x20);
    FIELD(srb->srb_flags, HV_SRB_FLAG_DISABLE_SYNCH_TRANSFER | HV_SRB_FLAG_DATA_OUT);
    FIELD(srb->timeout_seconds, 180);
}

static void complete_io(const struct wire_access *access, void *at)
{
    struct hv_vstor_srb *srb = &answer(access, at, HV_NTSTATUS_SUCCESS)->srb;

    FIELD(srb->length, HV_VSTOR_SRB_V2_BYTES);
    FIELD(srb->srb_status, HV_SRB_SUCCESS);
    FIELD(srb->scsi_status, HV_SCSI_STATUS_GOOD);
    FIELD(srb->cdb_bytes, 16);
    FIELD(srb->data_transfer_bytes, 0x20000);
}

static void failed_io(const struct wire_access *access, void *at, uint16_t length,
                      uint8_t sense_bytes)
{
    struct hv_vstor_srb *srb = &answer(access, at, HV_NTSTATUS_IO_ERROR)->srb;

    FIELD(srb->length, length);
    FIELD(srb->srb_status, HV_SRB_ERROR | HV_SRB_SENSE_VALID);
    FIELD(srb->scsi_status, HV_SCSI_STATUS_CHECK_CONDITION);
    FIELD(srb->cdb_bytes, 16);
    FIELD(srb->sense_bytes, sense_bytes);
    FIELD(srb->data_in, HV_VSTOR_DATA_IN);
    FIELD(srb->data_transfer_bytes, 0);
    FIELD(srb->sense[0], 0x70);
    FIELD(srb->sense[2], HV_SENSE_ILLEGAL_REQUEST);
    FIELD(srb->sense[7], 10);
    FIELD(srb->sense[12], HV_ASC_INVALID_FIELD_IN_CDB >> 8);
    FIELD(srb->sense[13], HV_ASC_INVALID_FIELD_IN_CDB & 0xff);
    FIELD(srb->sense[15], 0xc0);
    FIELD(srb->sense[17], 2);
}

static void complete_io_sense(const struct wire_access *access, void *at)
{
    failed_io(access, at, HV_VSTOR_SRB_V2_BYTES, HV_VSTOR_SENSE_V2_BYTES);
}

static void complete_io_sense_v1(const struct wire_access *access, void *at)
{
    failed_io(access, at, HV_VSTOR_SRB_V1_BYTES, HV_VSTOR_SENSE_V1_BYTES);
}

/* SCSI data is big-endian and read by offset: here the helpers and the numbers are what is held against the bytes. */
#define FIELD_BE(bits, at_, value)                                                                 \
    do {                                                                                           \
        if (access->writing)                                                                       \
            hv_put_be##bits((at_), (value));                                                       \
        else                                                                                       \
            HV_CHECK_ROW(access->vector, hv_get_be##bits(at_) == (value));                         \
    } while (0)

static void sense_fixed(const struct wire_access *access, void *at)
{
    uint8_t *b = at;

    FIELD(b[0], 0xf0);
    FIELD(b[2], HV_SENSE_MEDIUM_ERROR);
    FIELD_BE(32, b + 3, 0x01020304);
    FIELD(b[7], 10);
    FIELD_BE(16, b + 12, HV_ASC_UNRECOVERED_READ_ERROR);
}

static void sense_descriptor(const struct wire_access *access, void *at)
{
    uint8_t *b = at;

    FIELD(b[0], 0x72);
    FIELD(b[1], HV_SENSE_UNIT_ATTENTION);
    FIELD_BE(16, b + 2, HV_ASC_CAPACITY_CHANGED);
    FIELD(b[7], 12);
    FIELD(b[9], 10);
    FIELD(b[10], 0x80);
    FIELD_BE(64, b + 12, 0x0a0b0c0d);
}

static void read_10(const struct wire_access *access, void *at)
{
    uint8_t *b = at;

    FIELD(b[0], HV_SCSI_READ_10);
    FIELD(b[1], 0x08);
    FIELD_BE(32, b + 2, 0x12345678);
    FIELD_BE(16, b + 7, 0x100);
}

static void read_capacity_16(const struct wire_access *access, void *at)
{
    uint8_t *b = at;

    FIELD_BE(64, b, 0x1fffffff);
    FIELD_BE(32, b + 8, 512);
    FIELD(b[13], 3);
    FIELD(b[14], 0xc0);
}

#define V1 HV_VSTOR_PACKET_V1_BYTES
#define V2 HV_VSTOR_PACKET_V2_BYTES

static const struct wire_layout layouts[] = {
    {"vstor-begin-initialization", V2, begin},
    {"vstor-end-initialization", V2, end},
    {"vstor-query-version", V2, query_version},
    {"vstor-query-version-v1", V1, query_version_v1},
    {"vstor-version-refused", V2, version_refused},
    {"vstor-query-properties", V2, query_properties},
    {"vstor-properties", V2, properties},
    {"vstor-fc-hba-data", V2, fc_hba_data},
    {"vstor-create-sub-channels", V2, create_sub_channels},
    {"vstor-reset-lun", V2, reset_lun},
    {"vstor-reset-adapter", V2, reset_adapter},
    {"vstor-reset-bus", V2, reset_bus},
    {"vstor-enumerate-bus", V2, enumerate_bus},
    {"vstor-remove-device", V2, remove_device},
    {"vstor-event-notification", V2, event_notification},
    {"vstor-execute-srb", V2, execute_srb},
    {"vstor-execute-srb-v1", V1, execute_srb_v1},
    {"vstor-execute-srb-write", V2, execute_srb_write},
    {"vstor-complete-io", V2, complete_io},
    {"vstor-complete-io-sense", V2, complete_io_sense},
    {"vstor-complete-io-sense-v1", V1, complete_io_sense_v1},
    {"scsi-sense-fixed", 18, sense_fixed},
    {"scsi-sense-descriptor", 20, sense_descriptor},
    {"scsi-read-10", 10, read_10},
    {"scsi-read-capacity-16", 32, read_capacity_16},
};

static void test_wire_vstor_layouts(void)
{
    wire_check_layouts(layouts, HV_TEST_COUNT(layouts));
}

static void test_wire_vstor_covered(void)
{
    static const char *const prefixes[] = {"vstor-", "scsi-", NULL};

    wire_check_all_covered(prefixes, layouts, HV_TEST_COUNT(layouts));
}

static const struct hv_test_case cases[] = {
    {"layouts", test_wire_vstor_layouts},
    {"all vectors are used", test_wire_vstor_covered},
};

int main(int argc, char **argv)
{
    return hv_test_main("wire.vstor", cases, HV_TEST_COUNT(cases), argc, argv);
}
