/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake of one guest with the controller, and the form of all answers.  Pure: knows no channel, no disk.
 *
 *   BEGIN --7--> QUERY_VERSION --9--> QUERY_PROPERTIES --10--> END --8--> READY
 *                 ^ refused version: stay        any other operation: INVALID_STATE, stay
 *
 * The primary channel's worker is the only writer.  Sub-channels' workers read state and version, hence atomics: who
 * sees READY (acquire) sees the version that was agreed on before it.
 */
#ifndef HV_STORVSP_SESSION_H
#define HV_STORVSP_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <hv/wire/vstor.h>

enum hv_storvsp_state {
    HV_STORVSP_BEGIN,
    HV_STORVSP_QUERY_VERSION,
    HV_STORVSP_QUERY_PROPERTIES,
    HV_STORVSP_END,
    HV_STORVSP_READY,
};

struct hv_storvsp_session {
    _Atomic uint32_t state;   /* enum hv_storvsp_state */
    _Atomic uint32_t version; /* agreed, 0 before */
    uint16_t max_version;
    uint16_t max_sub_channels;
    uint32_t max_transfer_bytes;
};

/** What the channel has to do after the answer was sent. */
struct hv_storvsp_effect {
    bool became_ready;
    uint16_t sub_channels; /* offer so many, 0 = none asked */
};

static inline bool hv_storvsp_is_ready(const struct hv_storvsp_session *session)
{
    return atomic_load_explicit(&session->state, memory_order_acquire) == HV_STORVSP_READY;
}

static inline uint32_t hv_storvsp_version(const struct hv_storvsp_session *session)
{
    return atomic_load_explicit(&session->version, memory_order_relaxed);
}

/** Back to BEGIN: the primary channel was closed. */
void hv_storvsp_session_reset(struct hv_storvsp_session *session);

/**
 * Answer any operation but EXECUTE_SRB and the resets in READY.
 *
 * @request  Private copy, zero-padded.
 * @bytes    What the guest really sent; an operation whose payload is missing is refused.
 * @reply    Zeroed by the caller; the first `bytes` of it are to be sent.
 */
struct hv_storvsp_effect hv_storvsp_handshake(struct hv_storvsp_session *session, bool primary,
                                              const struct hv_vstor_packet *request, uint32_t bytes,
                                              struct hv_vstor_packet *reply);

/** NTSTATUS of the header that goes with an SRB status (flag bits ignored). */
uint32_t hv_storvsp_ntstatus(uint8_t srb_status);

/** Sizes of the agreed revision. */
static inline uint32_t hv_storvsp_packet_bytes(uint32_t version)
{
    return version >= HV_VSTOR_VERSION_5_1 ? HV_VSTOR_PACKET_V2_BYTES : HV_VSTOR_PACKET_V1_BYTES;
}

static inline uint8_t hv_storvsp_sense_bytes(uint32_t version)
{
    return version >= HV_VSTOR_VERSION_5_1 ? HV_VSTOR_SENSE_V2_BYTES : HV_VSTOR_SENSE_V1_BYTES;
}

static inline uint16_t hv_storvsp_srb_bytes(uint32_t version)
{
    return version >= HV_VSTOR_VERSION_5_1 ? HV_VSTOR_SRB_V2_BYTES : HV_VSTOR_SRB_V1_BYTES;
}

#endif
