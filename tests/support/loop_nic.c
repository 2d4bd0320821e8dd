/* SPDX-License-Identifier: BSD-3-Clause */
/* How a good host behaves: NVSP, RNDIS, OIDs. */
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>

#include "loop_nic_impl.h"

static const uint8_t built_in_mac[6] = {0x00, 0x15, 0x5d, 0x01, 0x02, 0x03};

struct loop_nic_opts *loop_nic_opts(struct loop_nic *nic)
{
    return &nic->opts;
}

struct loop_nic_seen *loop_nic_seen(struct loop_nic *nic)
{
    return &nic->seen;
}

static void note(struct loop_nic *nic, uint32_t what)
{
    if (nic->seen.log_count < LOOP_NIC_LOG)
        nic->seen.log[nic->seen.log_count++] = what;
}

void loop_nic_closed(struct loop_nic *nic)
{
    nic->granted = 0;
    nic->receive_told = nic->send_told = false;
    memset(nic->with_guest, 0, sizeof(nic->with_guest));
}

/** A rule that a host can only insist on if it answered as it should. */
static void agreed(const struct loop_nic *nic, bool ok, const char *what)
{
    loop_nic_must(ok || nic->opts.lying, what);
}

/* ---- Sending ---- */

bool loop_nic_complete(struct loop_nic *nic, uint16_t channel, uint64_t id, const void *payload,
                       uint32_t bytes)
{
    return loop_nic_put(nic, channel, HV_PACKET_COMPLETION, id, NULL, 0, payload, bytes);
}

bool loop_nic_inband(struct loop_nic *nic, const void *payload, uint32_t bytes)
{
    return loop_nic_put(nic, 0, HV_PACKET_INBAND, 0, NULL, 0, payload, bytes);
}

bool loop_nic_transfer(struct loop_nic *nic, uint16_t channel, uint64_t id, uint16_t set_id,
                       uint32_t range_count, uint32_t offset, uint32_t range_bytes)
{
    struct {
        struct hv_transfer_pages pages;
        struct hv_transfer_range range;
    } ext = {{set_id, 0, 0, range_count}, {range_bytes, offset}};
    const struct hv_nvsp_message nvsp = {
        .type = HV_NVSP_SEND_RNDIS_PACKET,
        .rndis = {HV_NVSP_CHANNEL_CONTROL, HV_NVSP_SECTION_NONE, 0},
    };

    return loop_nic_put(nic, channel, HV_PACKET_TRANSFER_PAGES, id, &ext, sizeof(ext), &nvsp,
                        sizeof(nvsp));
}

bool loop_nic_control(struct loop_nic *nic, const void *rndis, uint32_t bytes, uint32_t range_bytes)
{
    uint32_t id = 0;

    if (!nic->receive_told || bytes > LOOP_NIC_SECTION_BYTES)
        return false;
    while (id < nic->receive_sections && nic->with_guest[id])
        id++;
    if (id == nic->receive_sections)
        return false;
    memcpy((uint8_t *)nic->shared[HV_SHARED_RECEIVE].address + (size_t)id * LOOP_NIC_SECTION_BYTES,
           rndis, bytes);
    nic->with_guest[id] =
        loop_nic_transfer(nic, 0, id, HV_NVSP_RECEIVE_BUFFER_ID, 1, id * LOOP_NIC_SECTION_BYTES,
                          range_bytes ? range_bytes : bytes);
    return nic->with_guest[id];
}

bool loop_nic_indicate(struct loop_nic *nic, uint32_t status, const void *buffer, uint32_t bytes)
{
    uint8_t message[512];
    struct hv_rndis_indicate indicate = {
        .hdr = {HV_RNDIS_INDICATE, (uint32_t)sizeof(indicate) + bytes},
        .status = status,
        .buffer_bytes = bytes,
        .buffer_offset = bytes ? sizeof(indicate) - HV_RNDIS_OFFSET_BASE : 0,
    };

    loop_nic_must(bytes <= sizeof(message) - sizeof(indicate), "indication too long");
    memcpy(message, &indicate, sizeof(indicate));
    if (bytes)
        memcpy(message + sizeof(indicate), buffer, bytes);
    return loop_nic_control(nic, message, indicate.hdr.length_bytes, 0);
}

bool loop_nic_reply_query(struct loop_nic *nic, uint32_t request_id, uint32_t status,
                          const void *info, uint32_t bytes)
{
    uint8_t message[512];
    struct hv_rndis_query_complete reply = {
        .hdr = {HV_RNDIS_QUERY | HV_RNDIS_COMPLETE, (uint32_t)sizeof(reply) + bytes},
        .request_id = request_id,
        .status = status,
        .info_bytes = bytes,
        .info_offset = sizeof(reply) - HV_RNDIS_OFFSET_BASE,
    };

    memcpy(message, &reply, sizeof(reply));
    if (bytes)
        memcpy(message + sizeof(reply), info, bytes);
    return loop_nic_control(nic, message, reply.hdr.length_bytes, 0);
}

bool loop_nic_reply_set(struct loop_nic *nic, uint32_t type, uint32_t request_id, uint32_t status)
{
    const struct hv_rndis_set_complete reply = {
        .hdr = {type | HV_RNDIS_COMPLETE, sizeof(reply)},
        .request_id = request_id,
        .status = status,
    };

    return loop_nic_control(nic, &reply, sizeof(reply), 0);
}

/* ---- NVSP ---- */

static void on_init(struct loop_nic *nic, const struct loop_nic_message *m)
{
    uint32_t max = nic->opts.max_version ? nic->opts.max_version : HV_NVSP_VERSION_6_1;
    uint32_t version = m->nvsp.init.max_version;
    struct hv_nvsp_message reply = {.type = HV_NVSP_INIT_COMPLETE};

    loop_nic_must(m->nvsp.init.min_version == version, "one version at a time");
    reply.init_complete.version = UINT32_MAX;
    reply.init_complete.max_mdl_chain = 34;
    reply.init_complete.status = version <= max ? HV_NVSP_STATUS_SUCCESS : HV_NVSP_STATUS_TOO_NEW;
    if (version <= max)
        nic->seen.version = version;
    (void)loop_nic_complete(nic, 0, m->id, &reply, 16);
}

static void on_receive_buffer(struct loop_nic *nic, const struct loop_nic_message *m)
{
    const struct hv_shared *shared = &nic->shared[HV_SHARED_RECEIVE];
    struct hv_nvsp_message reply = {.type = HV_NVSP_RECEIVE_BUFFER_COMPLETE};

    loop_nic_must(shared->address && m->nvsp.buffer.gpadl == shared->gpadl &&
                      m->nvsp.buffer.id == HV_NVSP_RECEIVE_BUFFER_ID,
                  "receive buffer");
    nic->receive_sections =
        hv_min_u32((uint32_t)(shared->bytes / LOOP_NIC_SECTION_BYTES), sizeof(nic->with_guest));
    nic->receive_told = true;
    nic->seen.receive_bytes = (uint32_t)shared->bytes;
    reply.receive_buffer_complete.status = HV_NVSP_STATUS_SUCCESS;
    reply.receive_buffer_complete.section_count = 1;
    reply.receive_buffer_complete.section[0] =
        (struct hv_nvsp_section){0, LOOP_NIC_SECTION_BYTES, nic->receive_sections,
                                 nic->receive_sections * LOOP_NIC_SECTION_BYTES};
    (void)loop_nic_complete(nic, 0, m->id, &reply, 28);
}

static void on_send_buffer(struct loop_nic *nic, const struct loop_nic_message *m)
{
    struct hv_nvsp_message reply = {.type = HV_NVSP_SEND_BUFFER_COMPLETE};

    loop_nic_must(nic->shared[HV_SHARED_SEND].address &&
                      m->nvsp.buffer.gpadl == nic->shared[HV_SHARED_SEND].gpadl,
                  "send buffer");
    nic->send_told = true;
    reply.send_buffer_complete.status = HV_NVSP_STATUS_SUCCESS;
    reply.send_buffer_complete.section_bytes = 6144;
    (void)loop_nic_complete(nic, 0, m->id, &reply, 12);
}

static void on_subchannel(struct loop_nic *nic, const struct loop_nic_message *m)
{
    struct hv_nvsp_message reply = {.type = HV_NVSP_SUBCHANNEL};
    uint32_t granted = hv_min_u32(m->nvsp.subchannel_request.count, nic->opts.sub_channels);

    agreed(nic, nic->seen.version >= HV_NVSP_VERSION_5, "sub-channels before NVSP 5");
    loop_nic_must(m->nvsp.subchannel_request.operation == 1, "operation");
    nic->granted = granted;
    reply.subchannel_complete.status = granted ? HV_NVSP_STATUS_SUCCESS : HV_NVSP_STATUS_FAILURE;
    reply.subchannel_complete.count = granted;
    (void)loop_nic_complete(nic, 0, m->id, &reply, 12);
}

static void on_nvsp(struct loop_nic *nic, const struct loop_nic_message *m)
{
    switch (m->nvsp.type) {
    case HV_NVSP_INIT:
        on_init(nic, m);
        break;
    case HV_NVSP_SEND_NDIS_CONFIG:
        agreed(nic, nic->seen.version >= HV_NVSP_VERSION_2 && !nic->receive_told, "125");
        nic->seen.mtu = m->nvsp.ndis_config.mtu;
        nic->seen.capabilities = m->nvsp.ndis_config.capabilities;
        break;
    case HV_NVSP_SEND_NDIS_VERSION:
        nic->seen.ndis_version = m->nvsp.ndis_version.major << 16 | m->nvsp.ndis_version.minor;
        break;
    case HV_NVSP_SEND_RECEIVE_BUFFER:
        on_receive_buffer(nic, m);
        break;
    case HV_NVSP_SEND_SEND_BUFFER:
        on_send_buffer(nic, m);
        break;
    case HV_NVSP_REVOKE_RECEIVE_BUFFER:
    case HV_NVSP_REVOKE_SEND_BUFFER:
        nic->seen.revokes++;
        break;
    case HV_NVSP_SWITCH_DATA_PATH:
        nic->seen.data_paths += m->nvsp.data_path.active == 0;
        (void)loop_nic_complete(nic, 0, m->id, NULL, 0);
        break;
    case HV_NVSP_SUBCHANNEL:
        on_subchannel(nic, m);
        break;
    default:
        loop_nic_must(false, "an NVSP message that guests do not send");
    }
}

/* ---- RNDIS ---- */

static void on_initialize(struct loop_nic *nic, const struct loop_nic_message *m)
{
    const struct hv_rndis_initialize_complete reply = {
        .hdr = {HV_RNDIS_INITIALIZE | HV_RNDIS_COMPLETE, sizeof(reply)},
        .request_id = m->rndis.bare.request_id,
        .major = 1,
        .device_flags = 1,
        .max_packets_per_message = nic->opts.max_packets ? nic->opts.max_packets : 8,
        .max_xfer_bytes = 0xefffffffu,
        .packet_align_log2 = 3,
    };

    agreed(nic, nic->receive_told, "INITIALIZE before the receive buffer");
    loop_nic_must(m->rndis_bytes == sizeof(struct hv_rndis_initialize), "INITIALIZE");
    (void)loop_nic_control(nic, &reply, sizeof(reply), 0);
}

static uint32_t offload_caps(const struct loop_nic *nic, struct hv_ndis_offload *caps)
{
    uint32_t csum4 = HV_NDIS_CSUM_TCP | HV_NDIS_CSUM_UDP | HV_NDIS_CSUM_IP;
    uint32_t csum6 = HV_NDIS_CSUM_TCP | HV_NDIS_CSUM_UDP;
    bool old = nic->seen.ndis_version < HV_NDIS_VERSION_6_30;

    *caps = (struct hv_ndis_offload){
        .hdr = {HV_NDIS_OBJECT_OFFLOAD_CAPS, old ? 2 : 3, sizeof(*caps)},
        .csum = {.ip4_tx = csum4, .ip4_rx = csum4, .ip6_tx = csum6, .ip6_rx = csum6},
        .lso2 = {HV_NDIS_ENCAP_8023, HV_NDIS_LSO_MAX_BYTES, 2, HV_NDIS_ENCAP_8023, 0x8000, 2, 0},
    };
    if (old)
        caps->hdr.size_bytes = HV_NDIS_OFFLOAD_BYTES_REV2;
    return caps->hdr.size_bytes;
}

bool loop_nic_indicate_offloads(struct loop_nic *nic)
{
    const struct hv_ndis_offload_params *p = &nic->seen.offload;
    struct hv_ndis_offload now;
    uint32_t bytes = offload_caps(nic, &now);

    if (p->tcp4_csum != HV_NDIS_CSUM_SET_BOTH && p->tcp4_csum != HV_NDIS_CSUM_SET_TX)
        now.csum.ip4_tx = 0;
    if (p->tcp6_csum != HV_NDIS_CSUM_SET_BOTH && p->tcp6_csum != HV_NDIS_CSUM_SET_TX)
        now.csum.ip6_tx = 0;
    if (p->lso2_ip4 != HV_NDIS_OFFLOAD_ON)
        now.lso2.ip4_encap = 0;
    if (p->lso2_ip6 != HV_NDIS_OFFLOAD_ON)
        now.lso2.ip6_encap = 0;
    return loop_nic_indicate(nic, HV_RNDIS_STATUS_OFFLOAD_CONFIG, &now, bytes);
}

static void reply_number(struct loop_nic *nic, const struct loop_nic_message *m, uint32_t number)
{
    (void)loop_nic_reply_query(nic, m->rndis.request.request_id, HV_RNDIS_STATUS_SUCCESS, &number,
                               sizeof(number));
}

static void query_rss(struct loop_nic *nic, const struct loop_nic_message *m)
{
    const struct hv_ndis_rss_caps caps = {
        .hdr = {HV_NDIS_OBJECT_RSS_CAPS, 2, 18},
        .flags = HV_NDIS_RSS_CAP_TOEPLITZ | HV_NDIS_RSS_CAP_TCP4 | HV_NDIS_RSS_CAP_TCP6,
        .rx_queues = nic->opts.rx_queues,
        .table_entries = nic->opts.table_entries,
    };

    agreed(nic, nic->seen.version >= HV_NVSP_VERSION_5, "RSS before NVSP 5");
    (void)loop_nic_reply_query(nic, m->rndis.request.request_id,
                               nic->opts.rx_queues ? HV_RNDIS_STATUS_SUCCESS
                                                   : HV_RNDIS_STATUS_NOT_SUPPORTED,
                               &caps, nic->opts.rx_queues ? 18 : 0);
}

static void on_query(struct loop_nic *nic, const struct loop_nic_message *m)
{
    uint32_t max = nic->opts.max_mtu ? nic->opts.max_mtu : 9000;
    uint32_t mtu = nic->seen.mtu ? nic->seen.mtu - 14 : 1500;
    uint32_t id = m->rndis.request.request_id;
    struct hv_ndis_offload caps;

    switch (m->rndis.request.oid) {
    case HV_OID_MAX_FRAME_SIZE:
        reply_number(nic, m, mtu > max ? 1500 : mtu);
        break;
    case HV_OID_PERMANENT_MAC:
    case HV_OID_CURRENT_MAC:
        (void)loop_nic_reply_query(nic, id, 0, built_in_mac, sizeof(built_in_mac));
        break;
    case HV_OID_MEDIA_CONNECT:
        reply_number(nic, m, nic->opts.link_down);
        break;
    case HV_OID_LINK_SPEED:
        reply_number(nic, m, LOOP_NIC_SPEED);
        break;
    case HV_OID_MULTICAST_MAX:
        reply_number(nic, m, nic->opts.multicast_max);
        break;
    case HV_OID_RSS_CAPABILITIES:
        query_rss(nic, m);
        break;
    case HV_OID_OFFLOAD_CAPS:
        if (nic->opts.no_offloads)
            (void)loop_nic_reply_query(nic, id, HV_RNDIS_STATUS_NOT_SUPPORTED, NULL, 0);
        else
            (void)loop_nic_reply_query(nic, id, 0, &caps, offload_caps(nic, &caps));
        break;
    default:
        (void)loop_nic_reply_query(nic, id, HV_RNDIS_STATUS_NOT_SUPPORTED, NULL, 0);
        break;
    }
}

static void take_rss(struct loop_nic *nic, const uint8_t *info, uint32_t bytes)
{
    struct hv_ndis_rss_params *p = &nic->seen.rss.params;

    loop_nic_must(bytes >= sizeof(*p), "RSS parameters cut off");
    memcpy(p, info, sizeof(*p));
    loop_nic_must(p->hdr.type == HV_NDIS_OBJECT_RSS_PARAMS, "RSS parameters");
    if (p->flags & HV_NDIS_RSS_DISABLE) {
        nic->seen.rss_off++;
        return;
    }
    agreed(nic, nic->seen.rss_off > nic->seen.rss_on, "RSS changed while it is on");
    loop_nic_must(p->key_bytes == sizeof(nic->seen.rss.key) &&
                      p->table_bytes <= sizeof(nic->seen.rss.table) &&
                      hv_range_fits(p->table_offset, p->table_bytes, bytes) &&
                      hv_range_fits(p->key_offset, p->key_bytes, bytes),
                  "RSS table or key beyond the structure");
    memcpy(nic->seen.rss.table, info + p->table_offset, p->table_bytes);
    memcpy(nic->seen.rss.key, info + p->key_offset, p->key_bytes);
    nic->seen.rss_on++;
}

static void on_set(struct loop_nic *nic, const struct loop_nic_message *m)
{
    const struct hv_rndis_request *r = &m->rndis.request;
    const uint8_t *info = m->rndis.bytes + sizeof(*r);
    struct loop_nic_seen *seen = &nic->seen;

    switch (r->oid) {
    case HV_OID_PACKET_FILTER:
        loop_nic_must(r->info_bytes == 4, "packet filter");
        memcpy(&seen->filter, info, 4);
        seen->filters++;
        break;
    case HV_OID_OFFLOAD_PARAMETERS:
        loop_nic_must(r->info_bytes <= sizeof(seen->offload), "offload parameters");
        memset(&seen->offload, 0, sizeof(seen->offload));
        memcpy(&seen->offload, info, r->info_bytes);
        seen->offload_bytes = r->info_bytes;
        break;
    case HV_OID_RSS_PARAMETERS:
        take_rss(nic, info, r->info_bytes);
        break;
    case HV_OID_CONFIG_PARAMETER:
        seen->mac_parameter_bytes = hv_min_u32(r->info_bytes, sizeof(seen->mac_parameter));
        memcpy(seen->mac_parameter, info, seen->mac_parameter_bytes);
        break;
    case HV_OID_MULTICAST_LIST:
        loop_nic_must(r->info_bytes <= sizeof(seen->multicast), "multicast list");
        memcpy(seen->multicast, info, r->info_bytes);
        seen->multicast_bytes = r->info_bytes;
        break;
    default:
        loop_nic_must(false, "an OID that guests do not set");
    }
    (void)loop_nic_reply_set(nic, HV_RNDIS_SET, r->request_id, HV_RNDIS_STATUS_SUCCESS);
    if (r->oid == HV_OID_OFFLOAD_PARAMETERS && !nic->opts.silent_offloads)
        (void)loop_nic_indicate_offloads(nic);
}

static void on_rndis(struct loop_nic *nic, const struct loop_nic_message *m)
{
    switch (m->rndis.hdr.type) {
    case HV_RNDIS_INITIALIZE:
        on_initialize(nic, m);
        break;
    case HV_RNDIS_HALT:
        nic->seen.halts++;
        break;
    case HV_RNDIS_QUERY:
        on_query(nic, m);
        break;
    case HV_RNDIS_SET:
        on_set(nic, m);
        break;
    case HV_RNDIS_KEEPALIVE:
        (void)loop_nic_reply_set(nic, HV_RNDIS_KEEPALIVE, m->rndis.bare.request_id, 0);
        break;
    default:
        loop_nic_must(false, "an RNDIS message that guests do not send");
    }
}

void loop_nic_believe(struct loop_nic *nic, const struct loop_nic_message *message)
{
    if (message->nvsp.type == HV_NVSP_INIT)
        nic->seen.version = message->nvsp.init.max_version;
    if (message->nvsp.type == HV_NVSP_SEND_RECEIVE_BUFFER) {
        nic->receive_sections = HV_COUNT_OF(nic->with_guest);
        nic->receive_told = true;
    }
}

void loop_nic_answer(struct loop_nic *nic, const struct loop_nic_message *message)
{
    if (message->rndis_bytes)
        on_rndis(nic, message);
    else
        on_nvsp(nic, message);
}

/* ---- What the driver sends ---- */

static void take_control(const struct hv_packet_desc *desc, const uint8_t *bytes,
                         struct loop_nic_message *m)
{
    uint64_t words[3];
    struct hv_gpa_range range;

    loop_nic_must(desc->ext_bytes == sizeof(words), "one range of one page");
    memcpy(words, bytes, sizeof(words));
    memcpy(&range, &words[1], sizeof(range));
    loop_nic_must(words[0] >> 32 == 1 && range.byte_count >= 12 &&
                      range.byte_offset + (uint64_t)range.byte_count <= HV_PAGE_BYTES,
                  "a control message lies in one page");
    loop_nic_must(m->nvsp.rndis.channel_type == HV_NVSP_CHANNEL_CONTROL &&
                      m->nvsp.rndis.section_index == HV_NVSP_SECTION_NONE,
                  "control messages go by page");
    m->rndis_bytes = range.byte_count;
    memcpy(m->rndis.bytes,
           (const uint8_t *)(uintptr_t)(words[2] << HV_PAGE_SHIFT) + range.byte_offset,
           range.byte_count);
    loop_nic_must(m->rndis.hdr.length_bytes == range.byte_count, "length of a control message");
    if (m->rndis.hdr.type == HV_RNDIS_QUERY || m->rndis.hdr.type == HV_RNDIS_SET)
        loop_nic_must(
            range.byte_count >= sizeof(m->rndis.request) && m->rndis.request.info_offset == 20 &&
                m->rndis.request.info_bytes == range.byte_count - sizeof(m->rndis.request),
            "QUERY or SET");
}

static void take_completion(struct loop_nic *nic, const struct hv_packet_desc *desc,
                            const uint8_t *bytes)
{
    uint32_t words[2];

    loop_nic_must(desc->payload_bytes == sizeof(words) &&
                      desc->trans_id < HV_COUNT_OF(nic->with_guest),
                  "a completion");
    memcpy(words, bytes, sizeof(words));
    loop_nic_must(words[0] == HV_NVSP_SEND_RNDIS_PACKET_COMPLETE, "a completion's type");
    nic->with_guest[desc->trans_id] = false;
    nic->seen.completions++;
}

void loop_nic_take(struct loop_nic *nic, uint16_t channel, const struct hv_packet_desc *desc,
                   const uint8_t *bytes)
{
    static struct loop_nic_message m; /* large; one thread */
    const struct hv_nvsp_message done = {.type = HV_NVSP_SEND_RNDIS_PACKET_COMPLETE,
                                         .rndis_complete = {HV_NVSP_STATUS_SUCCESS}};

    if (desc->type == HV_PACKET_COMPLETION) {
        take_completion(nic, desc, bytes);
        return;
    }
    memset(&m, 0, sizeof(m));
    m.channel = channel;
    m.type = desc->type;
    m.flags = desc->flags;
    m.id = desc->trans_id;
    m.nvsp_bytes = desc->payload_bytes;
    loop_nic_must(m.nvsp_bytes == HV_NVSP_MESSAGE_BYTES && !channel, "an NVSP message");
    memcpy(&m.nvsp, bytes + desc->ext_bytes, m.nvsp_bytes);
    if (m.nvsp.type == HV_NVSP_SEND_RNDIS_PACKET) {
        loop_nic_must(desc->type == HV_PACKET_GPA_DIRECT, "packet type");
        take_control(desc, bytes, &m);
        note(nic, m.rndis.hdr.type == HV_RNDIS_QUERY || m.rndis.hdr.type == HV_RNDIS_SET
                      ? m.rndis.request.oid
                      : 0x10000u | m.rndis.hdr.type);
    } else {
        loop_nic_must(desc->type == HV_PACKET_INBAND && !desc->ext_bytes, "packet type");
        note(nic, m.nvsp.type);
    }
    if (!nic->opts.hook || !nic->opts.hook(nic->opts.arg, nic, &m))
        loop_nic_answer(nic, &m);
    if (m.rndis_bytes) /* behind the answer, as hosts may do it */
        (void)loop_nic_complete(nic, channel, m.id, &done, 8);
}
