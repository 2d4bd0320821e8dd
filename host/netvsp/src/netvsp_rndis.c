/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RNDIS control messages.  They come on the primary channel and are answered there, one to a packet, in receive sections
 * kept for them; what finds no section or ring space waits in a short queue.  Who fills that without taking the answers
 * is broken.
 */
#include "netvsp_impl.h"

#include <string.h>

#define MAX_XFER_BYTES        0xefffffffu /* no limit of ours: sections and packets have theirs */
#define PACKET_ALIGN_LOG2     3u
#define DEVICE_CONNECTIONLESS 1u

/* ---- To the guest ---- */

static struct hv_netvsp_control *new_message(struct hv_netvsp_queue *q)
{
    struct hv_netvsp_session *s = q->session;

    if (s->out_tail - s->out_head == HV_NETVSP_CONTROL_QUEUE) {
        hv_netvsp_broken(q, "the guest asks and takes no answers");
        return NULL;
    }
    return &s->out[s->out_tail++ % HV_NETVSP_CONTROL_QUEUE];
}

static void queue_message(struct hv_netvsp_queue *q, const void *message, uint32_t bytes)
{
    struct hv_netvsp_control *out = new_message(q);

    if (!out)
        return;
    memcpy(out->data, message, bytes);
    out->bytes = bytes;
}

static void send_one(struct hv_netvsp_queue *q, const struct hv_netvsp_control *out)
{
    struct hv_netvsp_session *s = q->session;
    uint32_t section = (uint32_t)__builtin_ctz(s->control_free);
    const struct hv_transfer_range range = {.byte_count = out->bytes,
                                            .byte_offset = section * s->receive.section_bytes};
    const struct hv_packet_desc desc = {.trans_id = section,
                                        .ext_bytes =
                                            sizeof(struct hv_transfer_pages) + sizeof(range),
                                        .payload_bytes = q->message_bytes,
                                        .type = HV_PACKET_TRANSFER_PAGES,
                                        .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};
    struct hv_packet_slot slot;

    memcpy(s->receive.address + range.byte_offset, out->data, out->bytes);
    if (!hv_netvsp_reserve(q, &desc, &slot))
        return;
    hv_netvsp_fill_transfer(q, &slot, HV_NVSP_CHANNEL_CONTROL, &range, 1);
    s->control_free = (uint16_t)(s->control_free & ~(1u << section));
    s->section_state[section] = 1;
}

int hv_netvsp_send_control(struct hv_netvsp_queue *q)
{
    struct hv_netvsp_session *s = q->session;
    int n = 0;

    while (s->out_head != s->out_tail && s->control_free && s->receive.address && !q->dead &&
           !atomic_load_explicit(&s->revoked, memory_order_relaxed)) {
        if (!hv_netvsp_has_room(q, 0))
            break;
        send_one(q, &s->out[s->out_head++ % HV_NETVSP_CONTROL_QUEUE]);
        n++;
    }
    return n;
}

void hv_netvsp_indicate(struct hv_netvsp_queue *q, uint32_t status, const void *buffer,
                        uint32_t bytes)
{
    struct hv_rndis_indicate message = {.hdr = {HV_RNDIS_INDICATE, sizeof(message) + bytes},
                                        .status = status,
                                        .buffer_bytes = bytes,
                                        .buffer_offset = bytes ? sizeof(message) - 8 : 0};
    uint8_t data[HV_NETVSP_CONTROL_BYTES];

    memcpy(data, &message, sizeof(message));
    if (bytes)
        memcpy(data + sizeof(message), buffer, bytes);
    queue_message(q, data, sizeof(message) + bytes);
}

void hv_netvsp_indicate_link(struct hv_netvsp_queue *q)
{
    struct hv_netvsp_session *s = q->session;

    if (!atomic_load_explicit(&s->operational, memory_order_relaxed) ||
        q->rules.link_up == s->told_link)
        return;
    s->told_link = q->rules.link_up;
    hv_netvsp_indicate(
        q, s->told_link ? HV_RNDIS_STATUS_MEDIA_CONNECT : HV_RNDIS_STATUS_MEDIA_DISCONNECT, NULL,
        0);
}

/* ---- From the guest ---- */

static void on_initialize(struct hv_netvsp_queue *q, const struct hv_rndis_initialize *request,
                          bool refuse)
{
    struct hv_netvsp_session *s = q->session;
    const struct hv_rndis_initialize_complete reply = {
        .hdr = {HV_RNDIS_INITIALIZE | HV_RNDIS_COMPLETE, sizeof(reply)},
        .request_id = request->request_id,
        .status = refuse || request->major != 1 ? HV_RNDIS_STATUS_FAILURE : HV_RNDIS_STATUS_SUCCESS,
        .major = 1,
        .device_flags = DEVICE_CONNECTIONLESS,
        .max_packets_per_message = q->nic->max_packets_per_message,
        .max_xfer_bytes = MAX_XFER_BYTES,
        .packet_align_log2 = PACKET_ALIGN_LOG2};

    queue_message(q, &reply, sizeof(reply));
    if (reply.status)
        return;
    hv_netvsp_default_offloads(q);
    atomic_store(&s->operational, true);
    q->told_due = true;
}

static void on_halt(struct hv_netvsp_queue *q)
{
    atomic_store(&q->session->operational, false);
    pthread_mutex_lock(&q->nic->lock);
    q->nic->rules.filter = 0;
    pthread_mutex_unlock(&q->nic->lock);
    hv_netvsp_kick_all(q->nic);
}

/** What the offset and length of a query or set name.  False: not inside the message. */
static bool find_info(const struct hv_rndis_request *request, const uint8_t *message,
                      uint32_t bytes, const uint8_t **ret_info)
{
    uint64_t at = (uint64_t)request->info_offset + HV_RNDIS_OFFSET_BASE;

    if (!request->info_bytes) {
        *ret_info = message;
        return true;
    }
    if (at < sizeof(*request) || !hv_range_fits(at, request->info_bytes, bytes))
        return false;
    *ret_info = message + at;
    return true;
}

static void on_query(struct hv_netvsp_queue *q, const struct hv_rndis_request *request,
                     const uint8_t *message, uint32_t bytes, bool refuse)
{
    struct {
        struct hv_rndis_query_complete head;
        uint8_t info[HV_NETVSP_CONTROL_BYTES - sizeof(struct hv_rndis_query_complete)];
    } reply = {.head = {.request_id = request->request_id}};
    uint32_t info_bytes = 0;
    const uint8_t *in;

    if (refuse)
        reply.head.status = HV_RNDIS_STATUS_FAILURE;
    else if (!find_info(request, message, bytes, &in))
        reply.head.status = HV_RNDIS_STATUS_INVALID_DATA;
    else
        reply.head.status =
            hv_netvsp_oid_query(q, request->oid, in, request->info_bytes, reply.info, &info_bytes);
    if (reply.head.status)
        info_bytes = 0;
    reply.head.hdr.type = HV_RNDIS_QUERY | HV_RNDIS_COMPLETE;
    reply.head.hdr.length_bytes = (uint32_t)sizeof(reply.head) + info_bytes;
    reply.head.info_bytes = info_bytes;
    reply.head.info_offset = info_bytes ? sizeof(reply.head) - HV_RNDIS_OFFSET_BASE : 0;
    queue_message(q, &reply, reply.head.hdr.length_bytes);
}

static void answer_set(struct hv_netvsp_queue *q, uint32_t type, uint32_t request_id,
                       uint32_t status)
{
    const struct hv_rndis_set_complete reply = {.hdr = {type | HV_RNDIS_COMPLETE, sizeof(reply)},
                                                .request_id = request_id,
                                                .status = status};

    queue_message(q, &reply, sizeof(reply));
}

static void on_set(struct hv_netvsp_queue *q, const struct hv_rndis_request *request,
                   const uint8_t *message, uint32_t bytes, bool refuse)
{
    uint32_t status = HV_RNDIS_STATUS_FAILURE;
    const uint8_t *in;

    if (!refuse) {
        status = HV_RNDIS_STATUS_INVALID_DATA;
        if (find_info(request, message, bytes, &in))
            status = hv_netvsp_oid_set(q, request->oid, in, request->info_bytes);
    }
    answer_set(q, HV_RNDIS_SET, request->request_id, status);
    if (!status && request->oid == HV_OID_OFFLOAD_PARAMETERS) {
        struct hv_ndis_offload current;
        uint32_t current_bytes;

        (void)hv_netvsp_query_offloads(q, NULL, 0, true, (uint8_t *)&current, &current_bytes);
        hv_netvsp_indicate(q, HV_RNDIS_STATUS_OFFLOAD_CONFIG, &current, current_bytes);
    }
}

/** Nothing is wrong with a NIC that asks; the filter starts anew. */
static void on_reset(struct hv_netvsp_queue *q)
{
    const struct {
        struct hv_rndis_header hdr;
        uint32_t status;
        uint32_t addressing_reset; /* the guest sets filter and addresses again */
    } reply = {.hdr = {HV_RNDIS_RESET | HV_RNDIS_COMPLETE, sizeof(reply)}, .addressing_reset = 1};

    pthread_mutex_lock(&q->nic->lock);
    q->nic->rules.filter = 0;
    q->nic->rules.multicast_count = 0;
    pthread_mutex_unlock(&q->nic->lock);
    hv_netvsp_kick_all(q->nic);
    queue_message(q, &reply, sizeof(reply));
}

static uint32_t least_bytes(uint32_t type)
{
    switch (type) {
    case HV_RNDIS_INITIALIZE:
        return sizeof(struct hv_rndis_initialize);
    case HV_RNDIS_QUERY:
    case HV_RNDIS_SET:
        return sizeof(struct hv_rndis_request);
    case HV_RNDIS_HALT:
    case HV_RNDIS_RESET:
    case HV_RNDIS_KEEPALIVE:
        return sizeof(struct hv_rndis_bare);
    default:
        return UINT32_MAX; /* nothing that a guest sends here */
    }
}

static void dispatch(struct hv_netvsp_queue *q, const uint8_t *message, uint32_t bytes, bool refuse)
{
    struct hv_rndis_initialize initialize;
    struct hv_rndis_request request;
    struct hv_rndis_bare bare;

    memcpy(&bare, message, sizeof(bare));
    switch (bare.hdr.type) {
    case HV_RNDIS_INITIALIZE:
        memcpy(&initialize, message, sizeof(initialize));
        on_initialize(q, &initialize, refuse);
        break;
    case HV_RNDIS_QUERY:
        memcpy(&request, message, sizeof(request));
        on_query(q, &request, message, bytes, refuse);
        break;
    case HV_RNDIS_SET:
        memcpy(&request, message, sizeof(request));
        on_set(q, &request, message, bytes, refuse);
        break;
    case HV_RNDIS_RESET:
        on_reset(q);
        break;
    case HV_RNDIS_HALT:
        on_halt(q);
        break;
    default:
        answer_set(q, HV_RNDIS_KEEPALIVE, bare.request_id,
                   refuse ? HV_RNDIS_STATUS_FAILURE : HV_RNDIS_STATUS_SUCCESS);
        break;
    }
}

bool hv_netvsp_rndis_control(struct hv_netvsp_queue *q, const uint8_t *message, uint32_t bytes)
{
    struct hv_netvsp_session *s = q->session;
    struct hv_rndis_header hdr;
    bool refuse = false;

    if (bytes < sizeof(hdr))
        return false;
    memcpy(&hdr, message, sizeof(hdr));
    if (hdr.length_bytes > bytes || hdr.length_bytes < least_bytes(hdr.type))
        return false;
    if (s->phase == HV_NETVSP_PHASE_SETUP) {
        if (!s->ndis_version || hdr.type != HV_RNDIS_INITIALIZE) {
            hv_netvsp_broken(q, s->ndis_version ? "RNDIS begins with INITIALIZE"
                                                : "RNDIS before the NDIS version");
            return true;
        }
        s->phase = HV_NETVSP_PHASE_RNDIS;
    }
    if (!atomic_load(&s->operational) && hdr.type != HV_RNDIS_INITIALIZE &&
        hdr.type != HV_RNDIS_HALT)
        return false;
    hv_netvsp_count(&q->counters.control, 1);
    if (hdr.type != HV_RNDIS_HALT && hv_netvsp_fault_request(q, &refuse))
        return true;
    dispatch(q, message, hdr.length_bytes, refuse);
    return true;
}
