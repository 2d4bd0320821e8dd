/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVSP but for frames: the handshake in its order, buffers, sub-channels, the VF.  Primary channel only.
 *
 *   INIT -> [125 from version 2] -> 100 -> 101 -> [104] -> RNDIS INITIALIZE -> 133 ... -> 103, 106
 *
 * Wrong order, a message twice or one that the version does not have is a broken guest, as on OpenVMM: the geometry of the
 * buffers stands on what came before.
 */
#include "netvsp_impl.h"

#include <string.h>

#define MTU_FRAME_MIN 1514u /* outside of these a guest gets the smallest, as from Hyper-V */
#define MDL_CHAIN_MAX 34u

static void answer(struct hv_netvsp_queue *q, uint64_t trans_id, const void *message,
                   uint32_t bytes)
{
    struct hv_packet_desc desc = {
        .trans_id = trans_id, .payload_bytes = q->message_bytes, .type = HV_PACKET_COMPLETION};
    struct hv_packet_slot slot;

    if (!hv_netvsp_reserve(q, &desc, &slot))
        return;
    memset(slot.payload, 0, q->message_bytes);
    memcpy(slot.payload, message, hv_min_u32(bytes, q->message_bytes));
}

bool hv_netvsp_fault_request(struct hv_netvsp_queue *q, bool *ret_refuse)
{
    const struct hv_netvsp_fault_rule *rule =
        q->nic->fault ? hv_netvsp_fault_next(q->nic->fault, HV_NIC_FAULTS_REQUEST) : NULL;

    *ret_refuse = rule && rule->action == HV_NIC_FAULT_REFUSE;
    return rule && rule->action == HV_NIC_FAULT_IGNORE;
}

/* ---- Versions ---- */

static const uint32_t versions[] = {HV_NVSP_VERSION_6_1, HV_NVSP_VERSION_6, HV_NVSP_VERSION_5,
                                    HV_NVSP_VERSION_4,   HV_NVSP_VERSION_2, HV_NVSP_VERSION_1};

/** Newest of ours in the guest's range, 0 = none.  Guests put the same at both ends. */
static uint32_t choose_version(const struct hv_netvsp *nic, const struct hv_nvsp_init *init)
{
    for (size_t i = 0; i < HV_COUNT_OF(versions); i++)
        if (versions[i] <= nic->max_version && versions[i] >= init->min_version &&
            versions[i] <= init->max_version)
            return versions[i];
    return 0;
}

static void on_init(struct hv_netvsp_queue *q, uint64_t trans_id, const struct hv_nvsp_init *init,
                    bool refuse)
{
    struct hv_netvsp_session *s = q->session;
    uint32_t version = refuse ? 0 : choose_version(q->nic, init);
    struct hv_nvsp_message reply = {.type = HV_NVSP_INIT_COMPLETE};

    reply.init_complete.version = version == HV_NVSP_VERSION_1 ? 2 : UINT32_MAX;
    reply.init_complete.max_mdl_chain = MDL_CHAIN_MAX;
    reply.init_complete.status = HV_NVSP_STATUS_SUCCESS;
    if (!version)
        reply.init_complete.status = init->min_version > q->nic->max_version
                                         ? HV_NVSP_STATUS_TOO_NEW
                                         : HV_NVSP_STATUS_FAILURE;
    q->message_bytes = version && version < HV_NVSP_VERSION_6_1 ? HV_NVSP_MESSAGE_MIN_BYTES
                                                                : HV_NVSP_MESSAGE_BYTES;
    answer(q, trans_id, &reply, sizeof(reply));
    if (!version)
        return;
    pthread_mutex_lock(&q->nic->lock); /* the control thread reads it */
    s->version = version;
    pthread_mutex_unlock(&q->nic->lock);
    s->phase = HV_NETVSP_PHASE_SETUP;
}

static void on_config(struct hv_netvsp_queue *q, const struct hv_nvsp_ndis_config *config)
{
    struct hv_netvsp_session *s = q->session;
    uint32_t max = q->nic->max_mtu + HV_NETVSP_ETHERNET_BYTES;
    uint32_t mtu = config->mtu < MTU_FRAME_MIN || config->mtu > max ? MTU_FRAME_MIN : config->mtu;

    s->configured = true;
    pthread_mutex_lock(&q->nic->lock);
    s->capabilities = config->capabilities;
    s->mtu = (uint16_t)(mtu - HV_NETVSP_ETHERNET_BYTES);
    pthread_mutex_unlock(&q->nic->lock);
    hv_link_set_mtu(q->nic->link, s->mtu);
}

static void on_ndis_version(struct hv_netvsp_queue *q, const struct hv_packet *packet,
                            const struct hv_nvsp_ndis_version *version)
{
    struct hv_netvsp_session *s = q->session;

    s->ndis_version = version->major << 16 | (version->minor & 0xffffu);
    if (!s->ndis_version)
        hv_netvsp_broken(q, "NDIS version 0");
    if (packet->flags & HV_PACKET_FLAG_COMPLETION_REQUESTED) /* UEFI waits for one */
        answer(q, packet->trans_id, "", 0);
}

/* ---- Buffers ---- */

static bool map_buffer(struct hv_netvsp_queue *q, const struct hv_nvsp_buffer *buffer,
                       struct hv_netvsp_buffer *ret_buffer, size_t *ret_bytes)
{
    void *address;
    int err = hv_host_channel_map_gpadl(q->channel, buffer->gpadl, &address, ret_bytes);

    if (err) {
        hv_log(&q->nic->log, HV_LOG_DEBUG, "NIC: buffer of GPADL 0x%x cannot be mapped (%d)",
               buffer->gpadl, err);
        return false;
    }
    ret_buffer->address = address;
    ret_buffer->gpadl = buffer->gpadl;
    ret_buffer->id = buffer->id;
    return true;
}

/** Sections: headroom for RNDIS, the frame, and what Windows guests cannot use; whole cache lines. */
static bool setup_receive(struct hv_netvsp_queue *q, const struct hv_nvsp_buffer *buffer)
{
    struct hv_netvsp_session *s = q->session;
    struct hv_netvsp_buffer *receive = &s->receive;
    size_t bytes;

    if (!map_buffer(q, buffer, receive, &bytes))
        return false;
    if (s->version <= HV_NVSP_VERSION_2 && bytes > HV_NVSP_RECEIVE_MAX_BYTES_V2)
        bytes = HV_NVSP_RECEIVE_MAX_BYTES_V2;
    s->frame_bytes_max = s->mtu + HV_NETVSP_ETHERNET_BYTES + HV_NETVSP_TAG_BYTES;
    receive->section_bytes = (uint32_t)hv_align_up(
        HV_NETVSP_HEADROOM_BYTES + s->frame_bytes_max + HV_NETVSP_TAIL_BYTES, 64);
    receive->section_count = (uint32_t)(bytes / receive->section_bytes);
    if (receive->section_count > 2 * HV_NETVSP_CONTROL_SECTIONS && !hv_netvsp_rx_setup(q))
        return true;
    hv_host_channel_unmap_gpadl(q->channel, buffer->gpadl);
    receive->address = NULL;
    return false;
}

static void on_receive_buffer(struct hv_netvsp_queue *q, uint64_t trans_id,
                              const struct hv_nvsp_buffer *buffer, bool refuse)
{
    struct hv_netvsp_session *s = q->session;
    struct hv_nvsp_message reply = {.type = HV_NVSP_RECEIVE_BUFFER_COMPLETE};

    if (s->receive.address || (s->version >= HV_NVSP_VERSION_2 && !s->configured)) {
        hv_netvsp_broken(q, s->receive.address ? "a second receive buffer"
                                               : "receive buffer before NDIS configuration");
        return;
    }
    reply.receive_buffer_complete.status = HV_NVSP_STATUS_FAILURE;
    if (!refuse && buffer->id == HV_NVSP_RECEIVE_BUFFER_ID && setup_receive(q, buffer)) {
        reply.receive_buffer_complete.status = HV_NVSP_STATUS_SUCCESS;
        reply.receive_buffer_complete.section_count = 1;
        reply.receive_buffer_complete.section[0] = (struct hv_nvsp_section){
            .sub_allocation_bytes = s->receive.section_bytes,
            .sub_allocation_count = s->receive.section_count,
            .end_offset = s->receive.section_bytes * s->receive.section_count};
    }
    answer(q, trans_id, &reply, sizeof(reply));
}

static void on_send_buffer(struct hv_netvsp_queue *q, uint64_t trans_id,
                           const struct hv_nvsp_buffer *buffer, bool refuse)
{
    struct hv_netvsp_session *s = q->session;
    struct hv_nvsp_message reply = {.type = HV_NVSP_SEND_BUFFER_COMPLETE};
    size_t bytes;

    if (s->send.address) {
        hv_netvsp_broken(q, "a second send buffer");
        return;
    }
    reply.send_buffer_complete.status = HV_NVSP_STATUS_FAILURE;
    if (!refuse && map_buffer(q, buffer, &s->send, &bytes)) {
        s->send.section_bytes = q->nic->send_section_bytes;
        s->send.section_count = (uint32_t)(bytes / s->send.section_bytes);
        reply.send_buffer_complete.status = HV_NVSP_STATUS_SUCCESS;
        reply.send_buffer_complete.section_bytes = s->send.section_bytes;
    }
    answer(q, trans_id, &reply, sizeof(reply));
}

/* ---- Sub-channels and the VF ---- */

static void on_subchannels(struct hv_netvsp_queue *q, uint64_t trans_id,
                           const struct hv_nvsp_subchannel_request *request, bool refuse)
{
    struct hv_netvsp_session *s = q->session;
    struct hv_nvsp_message reply = {.type = HV_NVSP_SUBCHANNEL};
    uint32_t count = hv_min_u32(request->count, q->nic->queues - 1u);

    if (!atomic_load(&s->operational)) {
        hv_netvsp_broken(q, "sub-channels before RNDIS INITIALIZE");
        return;
    }
    reply.subchannel_complete.status = HV_NVSP_STATUS_FAILURE;
    if (!refuse && request->operation == 1 && count && count < s->granted)
        count = s->granted; /* none is taken back */
    if (!refuse && request->operation == 1 && count &&
        !hv_netvsp_rx_split(q, (uint16_t)(s->granted + 1), (uint16_t)count)) {
        reply.subchannel_complete.status = HV_NVSP_STATUS_SUCCESS;
        reply.subchannel_complete.count = hv_min_u32(request->count, count);
        pthread_mutex_lock(&q->nic->lock);
        s->granted = (uint16_t)count;
        pthread_mutex_unlock(&q->nic->lock);
        q->offer_sub_channels = (uint16_t)count;
    }
    answer(q, trans_id, &reply, sizeof(reply));
}

static void on_data_path(struct hv_netvsp_queue *q, const struct hv_packet *packet,
                         const struct hv_nvsp_data_path *path)
{
    struct hv_netvsp *nic = q->nic;

    pthread_mutex_lock(&nic->lock);
    nic->vf_active = path->active == 1 && nic->vf_present;
    pthread_mutex_unlock(&nic->lock);
    hv_log(&nic->log, HV_LOG_DEBUG, "NIC: guest %u moved its traffic to the %s",
           q->session->guest_id, path->active ? "VF" : "synthetic path");
    if (packet->flags & HV_PACKET_FLAG_COMPLETION_REQUESTED)
        answer(q, packet->trans_id, "", 0);
}

static void on_oid_query_ex(struct hv_netvsp_queue *q, uint64_t trans_id)
{
    const uint32_t reply[3] = {HV_NVSP_OID_QUERY_EX_COMPLETE, HV_NVSP_STATUS_UNSUPPORTED, 0};

    answer(q, trans_id, reply, sizeof(reply));
}

static void send_inband(struct hv_netvsp_queue *q, const void *message, uint32_t bytes)
{
    const struct hv_packet_desc desc = {.type = HV_PACKET_INBAND, .payload_bytes = bytes};
    struct hv_packet_slot slot;

    if (hv_netvsp_reserve(q, &desc, &slot))
        memcpy(slot.payload, message, bytes);
}

static void tell_vf(struct hv_netvsp_queue *q)
{
    struct hv_netvsp_session *s = q->session;
    struct hv_nvsp_message message = {.type = HV_NVSP_SEND_VF_ASSOCIATION};
    bool present;

    pthread_mutex_lock(&q->nic->lock);
    present = q->nic->vf_present;
    message.vf_association.allocated = present;
    message.vf_association.serial = present ? q->nic->vf_serial : s->told_vf_serial;
    pthread_mutex_unlock(&q->nic->lock);
    if (present == s->told_vf && (!present || message.vf_association.serial == s->told_vf_serial))
        return;
    s->told_vf = present;
    s->told_vf_serial = message.vf_association.serial;
    send_inband(q, &message, q->message_bytes);
}

/** Which channel the guest should send on, by its own hash: once, when all it asked for are open. */
static void tell_table(struct hv_netvsp_queue *q)
{
    struct hv_nvsp_indirection_message message = {.type = HV_NVSP_SEND_INDIRECTION_TABLE};
    uint32_t queues = q->session->granted + 1u;

    q->session->table_told = true;
    message.indirection.count = HV_NVSP_INDIRECTION_COUNT;
    message.indirection.offset = offsetof(struct hv_nvsp_indirection_message, indirection.channel);
    for (uint32_t i = 0; i < HV_NVSP_INDIRECTION_COUNT; i++)
        message.indirection.channel[i] = i % queues;
    send_inband(q, &message, sizeof(message));
}

void hv_netvsp_tell(struct hv_netvsp_queue *q)
{
    struct hv_netvsp_session *s = q->session;

    if (!atomic_load_explicit(&s->operational, memory_order_relaxed) || !q->told_due)
        return;
    q->told_due = false;
    if (!hv_netvsp_has_room(
            q, 0)) { /* there is room set aside for these, but not if somebody used it up */
        q->told_due = true;
        return;
    }
    if (s->version >= HV_NVSP_VERSION_4 && (s->capabilities & HV_NVSP_CAP_SRIOV))
        tell_vf(q);
    if (s->granted && !s->table_told && atomic_load(&q->nic->open_count) == s->granted + 1)
        tell_table(q);
}

/* ---- Dispatch ---- */

static const struct {
    uint32_t type, min_version, min_body;
    bool answered; /* counted by the fault plan */
    bool setup;    /* only before RNDIS INITIALIZE */
} messages[] = {
    {HV_NVSP_SEND_NDIS_VERSION, 0, sizeof(struct hv_nvsp_ndis_version), false, true},
    {HV_NVSP_SEND_NDIS_CONFIG, HV_NVSP_VERSION_2, sizeof(struct hv_nvsp_ndis_config), false, true},
    {HV_NVSP_SEND_RECEIVE_BUFFER, 0, sizeof(struct hv_nvsp_buffer), true, true},
    {HV_NVSP_SEND_SEND_BUFFER, 0, sizeof(struct hv_nvsp_buffer), true, true},
    {HV_NVSP_REVOKE_RECEIVE_BUFFER, 0, sizeof(struct hv_nvsp_revoke), false, false},
    {HV_NVSP_REVOKE_SEND_BUFFER, 0, sizeof(struct hv_nvsp_revoke), false, false},
    {HV_NVSP_SWITCH_DATA_PATH, HV_NVSP_VERSION_4, sizeof(struct hv_nvsp_data_path), false, false},
    {HV_NVSP_OID_QUERY_EX, HV_NVSP_VERSION_5, 8, true, false},
    {HV_NVSP_SUBCHANNEL, HV_NVSP_VERSION_5, sizeof(struct hv_nvsp_subchannel_request), true, false},
};

static bool is_legal(struct hv_netvsp_queue *q, uint32_t type, uint32_t body, bool *ret_answered)
{
    const struct hv_netvsp_session *s = q->session;

    if (s->phase == HV_NETVSP_PHASE_VERSION) {
        hv_netvsp_broken(q, "message %u before INIT", type);
        return false;
    }
    for (size_t i = 0; i < HV_COUNT_OF(messages); i++) {
        if (messages[i].type != type || s->version < messages[i].min_version)
            continue;
        if (body < messages[i].min_body) {
            hv_netvsp_broken(q, "message %u of %u bytes", type, body + 4);
            return false;
        }
        if (messages[i].setup && s->phase != HV_NETVSP_PHASE_SETUP) {
            hv_netvsp_broken(q, "message %u after RNDIS INITIALIZE", type);
            return false;
        }
        *ret_answered = messages[i].answered;
        return true;
    }
    hv_netvsp_broken(q, "message %u, which version 0x%x does not have", type, s->version);
    return false;
}

static void carry_out(struct hv_netvsp_queue *q, const struct hv_packet *packet,
                      const struct hv_nvsp_message *message, bool refuse)
{
    struct hv_netvsp_session *s = q->session;

    switch (message->type) {
    case HV_NVSP_SEND_NDIS_VERSION:
        if (s->ndis_version)
            hv_netvsp_broken(q, "a second NDIS version");
        else
            on_ndis_version(q, packet, &message->ndis_version);
        break;
    case HV_NVSP_SEND_NDIS_CONFIG:
        if (s->configured || s->receive.address)
            hv_netvsp_broken(q, s->configured ? "a second NDIS configuration"
                                              : "NDIS configuration after the receive buffer");
        else
            on_config(q, &message->ndis_config);
        break;
    case HV_NVSP_SEND_RECEIVE_BUFFER:
        on_receive_buffer(q, packet->trans_id, &message->buffer, refuse);
        break;
    case HV_NVSP_SEND_SEND_BUFFER:
        on_send_buffer(q, packet->trans_id, &message->buffer, refuse);
        break;
    case HV_NVSP_REVOKE_RECEIVE_BUFFER:
    case HV_NVSP_REVOKE_SEND_BUFFER:
        hv_netvsp_revoke(q);
        break;
    case HV_NVSP_SWITCH_DATA_PATH:
        on_data_path(q, packet, &message->data_path);
        break;
    case HV_NVSP_SUBCHANNEL:
        on_subchannels(q, packet->trans_id, &message->subchannel_request, refuse);
        break;
    default:
        on_oid_query_ex(q, packet->trans_id);
        break;
    }
}

void hv_netvsp_control_message(struct hv_netvsp_queue *q, const struct hv_packet *packet,
                               const struct hv_nvsp_message *message, uint32_t bytes)
{
    struct hv_netvsp_session *s = q->session;
    uint32_t body = bytes - (uint32_t)sizeof(message->type);
    bool answered = false, refuse = false;

    hv_netvsp_count(&q->counters.control, 1);
    if (message->type == HV_NVSP_INIT) {
        if (s->phase != HV_NETVSP_PHASE_VERSION || body < sizeof(message->init))
            hv_netvsp_broken(q, s->phase != HV_NETVSP_PHASE_VERSION ? "INIT after INIT"
                                                                    : "INIT cut off");
        else if (!hv_netvsp_fault_request(q, &refuse))
            on_init(q, packet->trans_id, &message->init, refuse);
        return;
    }
    if (!is_legal(q, message->type, body, &answered))
        return;
    if (answered && hv_netvsp_fault_request(q, &refuse))
        return;
    carry_out(q, packet, message, refuse);
}
