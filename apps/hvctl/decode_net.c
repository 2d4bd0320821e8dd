/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVSP.  Its RNDIS messages are not in the ring: they lie in shared buffers or guest pages.  A packet says where.
 */
#include <hv/wire/nvsp.h>

#include <inttypes.h>
#include <string.h>

#include "decode.h"

static const char *nvsp_name(uint32_t type)
{
    static const struct {
        uint32_t type;
        const char *name;
    } names[] = {
        {HV_NVSP_INIT, "INIT"},
        {HV_NVSP_INIT_COMPLETE, "INIT_COMPLETE"},
        {HV_NVSP_SEND_NDIS_VERSION, "SEND_NDIS_VERSION"},
        {HV_NVSP_SEND_RECEIVE_BUFFER, "SEND_RECEIVE_BUFFER"},
        {HV_NVSP_RECEIVE_BUFFER_COMPLETE, "RECEIVE_BUFFER_COMPLETE"},
        {HV_NVSP_REVOKE_RECEIVE_BUFFER, "REVOKE_RECEIVE_BUFFER"},
        {HV_NVSP_SEND_SEND_BUFFER, "SEND_SEND_BUFFER"},
        {HV_NVSP_SEND_BUFFER_COMPLETE, "SEND_BUFFER_COMPLETE"},
        {HV_NVSP_REVOKE_SEND_BUFFER, "REVOKE_SEND_BUFFER"},
        {HV_NVSP_SEND_RNDIS_PACKET, "RNDIS_PACKET"},
        {HV_NVSP_SEND_RNDIS_PACKET_COMPLETE, "RNDIS_PACKET_COMPLETE"},
        {HV_NVSP_SEND_NDIS_CONFIG, "SEND_NDIS_CONFIG"},
        {HV_NVSP_SEND_VF_ASSOCIATION, "VF_ASSOCIATION"},
        {HV_NVSP_SWITCH_DATA_PATH, "SWITCH_DATA_PATH"},
        {HV_NVSP_OID_QUERY_EX, "OID_QUERY_EX"},
        {HV_NVSP_OID_QUERY_EX_COMPLETE, "OID_QUERY_EX_COMPLETE"},
        {HV_NVSP_SUBCHANNEL, "SUBCHANNEL"},
        {HV_NVSP_SEND_INDIRECTION_TABLE, "INDIRECTION_TABLE"},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].type == type)
            return names[i].name;
    return NULL;
}

static void decode_rndis_place(FILE *out, const struct hv_nvsp_rndis *rndis)
{
    (void)fprintf(out, " %s",
                  rndis->channel_type == HV_NVSP_CHANNEL_DATA      ? "data"
                  : rndis->channel_type == HV_NVSP_CHANNEL_CONTROL ? "control"
                                                                   : "?");
    if (rndis->section_index == HV_NVSP_SECTION_NONE)
        (void)fprintf(out, ", message in the ranges");
    else
        (void)fprintf(out, ", message of %u bytes in section %u", rndis->section_bytes,
                      rndis->section_index);
}

static void decode_buffer_complete(FILE *out,
                                   const struct hv_nvsp_receive_buffer_complete *complete)
{
    (void)fprintf(out, " status %u, %u sections of %u bytes", complete->status,
                  complete->section[0].sub_allocation_count,
                  complete->section[0].sub_allocation_bytes);
}

static void decode_body(FILE *out, const struct hv_nvsp_message *message)
{
    switch (message->type) {
    case HV_NVSP_INIT:
        (void)fprintf(out, " version 0x%x to 0x%x", message->init.min_version,
                      message->init.max_version);
        break;
    case HV_NVSP_INIT_COMPLETE:
        (void)fprintf(out, " status %u", message->init_complete.status);
        break;
    case HV_NVSP_SEND_RECEIVE_BUFFER:
    case HV_NVSP_SEND_SEND_BUFFER:
        (void)fprintf(out, " GPADL %u id 0x%x", message->buffer.gpadl, message->buffer.id);
        break;
    case HV_NVSP_RECEIVE_BUFFER_COMPLETE:
        decode_buffer_complete(out, &message->receive_buffer_complete);
        break;
    case HV_NVSP_SEND_BUFFER_COMPLETE:
        (void)fprintf(out, " status %u, sections of %u bytes", message->send_buffer_complete.status,
                      message->send_buffer_complete.section_bytes);
        break;
    case HV_NVSP_SEND_RNDIS_PACKET:
        decode_rndis_place(out, &message->rndis);
        break;
    case HV_NVSP_SEND_RNDIS_PACKET_COMPLETE:
        (void)fprintf(out, " status %u", message->raw[0]);
        break;
    case HV_NVSP_SEND_NDIS_CONFIG: {
        struct hv_nvsp_ndis_config config;

        memcpy(&config, message->raw, sizeof(config));
        (void)fprintf(out, " MTU %u capabilities 0x%" PRIx64, config.mtu, config.capabilities);
        break;
    }
    case HV_NVSP_SUBCHANNEL: /* request: operation, count; answer: status, count */
        (void)fprintf(out, " %u, count %u", message->subchannel_request.operation,
                      message->subchannel_request.count);
        break;
    case HV_NVSP_SEND_VF_ASSOCIATION:
        (void)fprintf(out, " %s, serial %u", message->vf_association.allocated ? "there" : "gone",
                      message->vf_association.serial);
        break;
    case HV_NVSP_SWITCH_DATA_PATH:
        (void)fprintf(out, " to %s", message->data_path.active ? "VF" : "synthetic");
        break;
    default:
        break;
    }
}

void decode_nvsp(FILE *out, const uint8_t *payload, size_t bytes)
{
    struct hv_nvsp_message message = {0};
    const char *name;

    if (bytes < 8) /* a completion has no less */
        return;
    memcpy(&message, payload, bytes < sizeof(message) ? bytes : sizeof(message));
    name = nvsp_name(message.type);
    if (!name) {
        (void)fprintf(out, " NVSP type %u", message.type);
        return;
    }
    (void)fprintf(out, " NVSP %s", name);
    if (bytes >= HV_NVSP_MESSAGE_MIN_BYTES || message.type == HV_NVSP_SEND_RNDIS_PACKET_COMPLETE)
        decode_body(out, &message);
}
