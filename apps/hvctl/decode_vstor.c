/* SPDX-License-Identifier: BSD-3-Clause */
#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

#include <endian.h>
#include <inttypes.h>
#include <string.h>

#include "decode.h"

static const char *const operations[] = {
    [HV_VSTOR_COMPLETE_IO] = "COMPLETE_IO",
    [HV_VSTOR_REMOVE_DEVICE] = "REMOVE_DEVICE",
    [HV_VSTOR_EXECUTE_SRB] = "EXECUTE_SRB",
    [HV_VSTOR_RESET_LUN] = "RESET_LUN",
    [HV_VSTOR_RESET_ADAPTER] = "RESET_ADAPTER",
    [HV_VSTOR_RESET_BUS] = "RESET_BUS",
    [HV_VSTOR_BEGIN_INITIALIZATION] = "BEGIN_INITIALIZATION",
    [HV_VSTOR_END_INITIALIZATION] = "END_INITIALIZATION",
    [HV_VSTOR_QUERY_PROTOCOL_VERSION] = "QUERY_PROTOCOL_VERSION",
    [HV_VSTOR_QUERY_PROPERTIES] = "QUERY_PROPERTIES",
    [HV_VSTOR_ENUMERATE_BUS] = "ENUMERATE_BUS",
    [HV_VSTOR_FC_HBA_DATA] = "FC_HBA_DATA",
    [HV_VSTOR_CREATE_SUB_CHANNELS] = "CREATE_SUB_CHANNELS",
    [HV_VSTOR_EVENT_NOTIFICATION] = "EVENT_NOTIFICATION",
};

static const struct {
    uint8_t code;
    const char *name;
} commands[] = {
    {HV_SCSI_TEST_UNIT_READY, "TEST UNIT READY"},
    {HV_SCSI_REQUEST_SENSE, "REQUEST SENSE"},
    {HV_SCSI_INQUIRY, "INQUIRY"},
    {HV_SCSI_MODE_SENSE_6, "MODE SENSE(6)"},
    {HV_SCSI_MODE_SENSE_10, "MODE SENSE(10)"},
    {HV_SCSI_MODE_SELECT_6, "MODE SELECT(6)"},
    {HV_SCSI_MODE_SELECT_10, "MODE SELECT(10)"},
    {HV_SCSI_START_STOP_UNIT, "START STOP UNIT"},
    {HV_SCSI_PREVENT_REMOVAL, "PREVENT REMOVAL"},
    {HV_SCSI_READ_CAPACITY_10, "READ CAPACITY(10)"},
    {HV_SCSI_READ_6, "READ(6)"},
    {HV_SCSI_READ_10, "READ(10)"},
    {HV_SCSI_READ_12, "READ(12)"},
    {HV_SCSI_READ_16, "READ(16)"},
    {HV_SCSI_WRITE_6, "WRITE(6)"},
    {HV_SCSI_WRITE_10, "WRITE(10)"},
    {HV_SCSI_WRITE_12, "WRITE(12)"},
    {HV_SCSI_WRITE_16, "WRITE(16)"},
    {HV_SCSI_WRITE_SAME_10, "WRITE SAME(10)"},
    {HV_SCSI_WRITE_SAME_16, "WRITE SAME(16)"},
    {HV_SCSI_VERIFY_10, "VERIFY(10)"},
    {HV_SCSI_VERIFY_16, "VERIFY(16)"},
    {HV_SCSI_SYNCHRONIZE_CACHE_10, "SYNCHRONIZE CACHE(10)"},
    {HV_SCSI_SYNCHRONIZE_CACHE_16, "SYNCHRONIZE CACHE(16)"},
    {HV_SCSI_UNMAP, "UNMAP"},
    {HV_SCSI_COMPARE_AND_WRITE, "COMPARE AND WRITE"},
    {HV_SCSI_SERVICE_ACTION_IN_16, "SERVICE ACTION IN(16)"},
    {HV_SCSI_REPORT_LUNS, "REPORT LUNS"},
    {HV_SCSI_MAINTENANCE_IN, "MAINTENANCE IN"},
    {HV_SCSI_PERSISTENT_RESERVE_IN, "PERSISTENT RESERVE IN"},
    {HV_SCSI_PERSISTENT_RESERVE_OUT, "PERSISTENT RESERVE OUT"},
};

/** Block and count of the commands that have them. */
static void decode_blocks(FILE *out, const uint8_t *cdb)
{
    uint64_t lba;
    uint32_t high, count;
    uint16_t count16;

    switch (cdb[0]) {
    case HV_SCSI_READ_10:
    case HV_SCSI_WRITE_10:
        memcpy(&high, cdb + 2, sizeof(high));
        memcpy(&count16, cdb + 7, sizeof(count16));
        (void)fprintf(out, " block %u count %u", be32toh(high), be16toh(count16));
        break;
    case HV_SCSI_READ_16:
    case HV_SCSI_WRITE_16:
    case HV_SCSI_WRITE_SAME_16:
        memcpy(&lba, cdb + 2, sizeof(lba));
        memcpy(&count, cdb + 10, sizeof(count));
        (void)fprintf(out, " block %" PRIu64 " count %u", be64toh(lba), be32toh(count));
        break;
    default:
        break;
    }
}

static void decode_request(FILE *out, const struct hv_vstor_srb *srb)
{
    static const char *const directions[] = {"out", "in", "none"};
    const char *name = NULL;

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (commands[i].code == srb->cdb[0])
            name = commands[i].name;
    (void)fprintf(out, " %u:%u:%u", srb->path_id, srb->target_id, srb->lun);
    if (name)
        (void)fprintf(out, " %s", name);
    else
        (void)fprintf(out, " command 0x%02x", srb->cdb[0]);
    decode_blocks(out, srb->cdb);
    (void)fprintf(out, ", data %s %u bytes", srb->data_in < 3 ? directions[srb->data_in] : "?",
                  srb->data_transfer_bytes);
}

static void decode_result(FILE *out, const struct hv_vstor_srb *srb)
{
    (void)fprintf(out, " %u:%u:%u SRB status 0x%02x, SCSI status 0x%02x, moved %u bytes",
                  srb->path_id, srb->target_id, srb->lun, srb->srb_status, srb->scsi_status,
                  srb->data_transfer_bytes);
    if (srb->srb_status & HV_SRB_SENSE_VALID && srb->sense_bytes >= 14)
        (void)fprintf(out, ", sense %x/%02x/%02x", srb->sense[2] & 0xf, srb->sense[12],
                      srb->sense[13]);
}

void decode_vstor(FILE *out, const uint8_t *payload, size_t bytes)
{
    struct hv_vstor_packet packet = {0};
    uint32_t operation;

    if (bytes < sizeof(packet.hdr))
        return;
    memcpy(&packet, payload, bytes < sizeof(packet) ? bytes : sizeof(packet));
    operation = packet.hdr.operation;
    if (operation < sizeof(operations) / sizeof(operations[0]) && operations[operation])
        (void)fprintf(out, " vstor %s", operations[operation]);
    else
        (void)fprintf(out, " vstor operation %u", operation);
    if (bytes >= HV_VSTOR_PACKET_V1_BYTES - 4 && operation == HV_VSTOR_EXECUTE_SRB)
        decode_request(out, &packet.srb);
    else if (bytes >= HV_VSTOR_PACKET_V1_BYTES - 4 && operation == HV_VSTOR_COMPLETE_IO)
        decode_result(out, &packet.srb);
    else if (bytes >= 16 && operation == HV_VSTOR_QUERY_PROTOCOL_VERSION)
        (void)fprintf(out, " %u.%u", packet.version.version >> 8, packet.version.version & 0xff);
    if (packet.hdr.status)
        (void)fprintf(out, " status 0x%08x", packet.hdr.status);
}
