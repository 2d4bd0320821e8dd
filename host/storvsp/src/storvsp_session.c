/* SPDX-License-Identifier: BSD-3-Clause */
#include "storvsp_session.h"

#include <stddef.h>

#include <hv/base/bits.h>

static const uint16_t versions[] = {
    HV_VSTOR_VERSION_6_2, HV_VSTOR_VERSION_6_0, HV_VSTOR_VERSION_5_1,
    HV_VSTOR_VERSION_4_2, HV_VSTOR_VERSION_2_0,
};

void hv_storvsp_session_reset(struct hv_storvsp_session *session)
{
    atomic_store_explicit(&session->state, HV_STORVSP_BEGIN, memory_order_release);
    atomic_store_explicit(&session->version, 0, memory_order_relaxed);
}

static void move_to(struct hv_storvsp_session *session, enum hv_storvsp_state state)
{
    atomic_store_explicit(&session->state, state, memory_order_release);
}

static uint32_t query_version(struct hv_storvsp_session *session,
                              const struct hv_vstor_packet *request, struct hv_vstor_packet *reply)
{
    uint16_t wanted = request->version.version;

    reply->version.version = wanted; /* echoed whether accepted or not */
    for (size_t i = 0; i < HV_COUNT_OF(versions); i++)
        if (versions[i] == wanted && wanted <= session->max_version) {
            atomic_store_explicit(&session->version, wanted, memory_order_relaxed);
            move_to(session, HV_STORVSP_QUERY_PROPERTIES);
            return HV_NTSTATUS_SUCCESS;
        }
    return HV_NTSTATUS_REVISION_MISMATCH;
}

static uint32_t query_properties(struct hv_storvsp_session *session, struct hv_vstor_packet *reply)
{
    struct hv_vstor_properties *p = &reply->properties;

    p->max_transfer_bytes = session->max_transfer_bytes;
    if (hv_storvsp_version(session) >= HV_VSTOR_VERSION_5_1 && session->max_sub_channels) {
        p->max_sub_channels = session->max_sub_channels;
        p->flags = HV_VSTOR_PROPERTY_MULTI_CHANNEL;
    }
    move_to(session, HV_STORVSP_END);
    return HV_NTSTATUS_SUCCESS;
}

static uint32_t create_sub_channels(const struct hv_storvsp_session *session, uint32_t state,
                                    const struct hv_vstor_packet *request,
                                    struct hv_storvsp_effect *effect)
{
    uint16_t limit =
        hv_storvsp_version(session) >= HV_VSTOR_VERSION_5_1 ? session->max_sub_channels : 0;

    if (state < HV_STORVSP_END)
        return HV_NTSTATUS_INVALID_STATE;
    if (request->sub_channel_count > limit)
        return HV_NTSTATUS_INVALID_PARAMETER;
    effect->sub_channels = request->sub_channel_count;
    return HV_NTSTATUS_SUCCESS;
}

/** Header and payload that an operation cannot do without. */
static uint32_t least_bytes(uint32_t operation)
{
    switch (operation) {
    case HV_VSTOR_QUERY_PROTOCOL_VERSION:
        return sizeof(struct hv_vstor_header) + sizeof(struct hv_vstor_version);
    case HV_VSTOR_CREATE_SUB_CHANNELS:
        return sizeof(struct hv_vstor_header) + sizeof(uint16_t);
    default:
        return sizeof(struct hv_vstor_header);
    }
}

struct hv_storvsp_effect hv_storvsp_handshake(struct hv_storvsp_session *session, bool primary,
                                              const struct hv_vstor_packet *request, uint32_t bytes,
                                              struct hv_vstor_packet *reply)
{
    struct hv_storvsp_effect effect = {0};
    uint32_t operation = request->hdr.operation, status = HV_NTSTATUS_INVALID_STATE;
    uint32_t state = atomic_load_explicit(&session->state, memory_order_relaxed);

    if (bytes < least_bytes(operation) || operation == HV_VSTOR_FC_HBA_DATA) {
        status = HV_NTSTATUS_INVALID_REQUEST; /* cut off, or meant for a Fibre Channel adapter */
    } else if (!primary) {
        status = HV_NTSTATUS_INVALID_STATE;
    } else if (operation == HV_VSTOR_BEGIN_INITIALIZATION && state == HV_STORVSP_BEGIN) {
        move_to(session, HV_STORVSP_QUERY_VERSION);
        status = HV_NTSTATUS_SUCCESS;
    } else if (operation == HV_VSTOR_QUERY_PROTOCOL_VERSION && state == HV_STORVSP_QUERY_VERSION) {
        status = query_version(session, request, reply);
    } else if (operation == HV_VSTOR_QUERY_PROPERTIES && state == HV_STORVSP_QUERY_PROPERTIES) {
        status = query_properties(session, reply);
    } else if (operation == HV_VSTOR_CREATE_SUB_CHANNELS) {
        status = create_sub_channels(session, state, request, &effect);
    } else if (operation == HV_VSTOR_END_INITIALIZATION && state == HV_STORVSP_END) {
        effect.became_ready = true;
        move_to(session, HV_STORVSP_READY);
        status = HV_NTSTATUS_SUCCESS;
    }
    reply->hdr.operation = HV_VSTOR_COMPLETE_IO;
    reply->hdr.status = status;
    return effect;
}

uint32_t hv_storvsp_ntstatus(uint8_t srb_status)
{
    switch (srb_status & HV_SRB_STATUS_MASK) {
    case HV_SRB_SUCCESS:
        return HV_NTSTATUS_SUCCESS;
    case HV_SRB_BUSY:
        return HV_NTSTATUS_BUSY;
    case HV_SRB_DATA_OVERRUN:
        return HV_NTSTATUS_OVERRUN;
    case HV_SRB_NO_DEVICE:
    case HV_SRB_INVALID_LUN:
    case HV_SRB_INVALID_TARGET:
        return HV_NTSTATUS_NO_DEVICE;
    case HV_SRB_TIMEOUT:
    case HV_SRB_COMMAND_TIMEOUT:
        return HV_NTSTATUS_IO_TIMEOUT;
    case HV_SRB_SELECTION_TIMEOUT:
        return HV_NTSTATUS_SELECTION_TIMEOUT;
    case HV_SRB_BAD_FUNCTION:
    case HV_SRB_BAD_LENGTH:
        return HV_NTSTATUS_INVALID_REQUEST;
    case HV_SRB_FLUSHED:
        return HV_NTSTATUS_FLUSHED;
    case HV_SRB_ABORTED:
        return HV_NTSTATUS_CANCELLED;
    default:
        return HV_NTSTATUS_IO_ERROR;
    }
}
