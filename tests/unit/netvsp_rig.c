/* SPDX-License-Identifier: BSD-3-Clause */
#include "netvsp_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define CONTROL_SECTION 7u

static void log_line(void *arg, enum hv_log_level level, const char *line)
{
    struct netvsp_rig *rig = arg;

    (void)level;
    (void)snprintf(rig->log, sizeof(rig->log), "%s", line);
}

void rig_init(struct netvsp_rig *rig, const struct hv_netvsp_opts *opts)
{
    struct hv_netvsp_opts o = HV_NETVSP_OPTS_INIT;
    char why[HV_NETVSP_WHY_BYTES];
    int err;

    memset(rig, 0, sizeof(*rig));
    if (opts)
        o = *opts;
    if (!o.link)
        o.link = "loop";
    o.log.line = log_line;
    o.log.arg = rig;
    rig->next_id = 1;
    rig->request_id = 100;
    rig->loop = loop_create(65536);
    err = hv_netvsp_create(loop_host(rig->loop), &o, why, &rig->nic);
    if (err) {
        fprintf(stderr, "netvsp rig: %s\n", why);
        abort();
    }
    CU_ASSERT_EQUAL_FATAL(loop_open(rig->loop, 0), 0);
    rig->loop->gpadls[0].pages = RIG_RECEIVE_PAGES;
    rig->loop->gpadls[1].first = RIG_SEND_PAGE;
    rig->loop->gpadls[1].pages = RIG_SEND_PAGES;
}

static void on_gone(void *arg)
{
    struct netvsp_rig *rig = arg;

    rig->destroyed = true;
}

void rig_fini(struct netvsp_rig *rig)
{
    for (uint16_t i = LOOP_CHANNELS; i-- > 0;) {
        loop_close(rig->loop, i);
        CU_ASSERT(loop_settle(rig->loop));
    }
    hv_netvsp_destroy(rig->nic, on_gone, rig);
    CU_ASSERT(loop_settle(rig->loop));
    CU_ASSERT(rig->destroyed);
    loop_destroy(rig->loop);
}

/* ---- Packets ---- */

void rig_send(struct netvsp_rig *rig, uint16_t index, uint64_t id, const void *payload,
              uint32_t bytes)
{
    const struct hv_packet_desc desc = {.trans_id = id,
                                        .type = HV_PACKET_INBAND,
                                        .flags = id ? HV_PACKET_FLAG_COMPLETION_REQUESTED : 0,
                                        .payload_bytes = bytes};

    CU_ASSERT_EQUAL(loop_send(rig->loop, index, &desc, NULL, payload), 0);
}

void rig_receive(struct netvsp_rig *rig, uint16_t index, struct rig_packet *ret_packet)
{
    struct hv_ring_rx *rx = &rig->loop->channels[index].guest_rx;
    struct hv_packet packet;

    memset(ret_packet, 0, sizeof(*ret_packet));
    CU_ASSERT(loop_settle(rig->loop));
    if (hv_ring_rx_peek(rx, &packet))
        return;
    ret_packet->id = packet.trans_id;
    ret_packet->type = packet.type;
    ret_packet->flags = packet.flags;
    ret_packet->ext_bytes = packet.ext_bytes;
    ret_packet->bytes = packet.payload_bytes;
    CU_ASSERT_FATAL(packet.ext_bytes <= sizeof(ret_packet->ext) &&
                    packet.payload_bytes <= sizeof(ret_packet->payload));
    memcpy(ret_packet->ext, packet.ext, packet.ext_bytes);
    memcpy(ret_packet->payload, packet.payload, packet.payload_bytes);
    (void)hv_ring_rx_release(rx);
}

void rig_complete(struct netvsp_rig *rig, uint16_t index, uint64_t id)
{
    const struct hv_packet_desc desc = {
        .trans_id = id, .type = HV_PACKET_COMPLETION, .payload_bytes = 8};
    const uint32_t message[2] = {HV_NVSP_SEND_RNDIS_PACKET_COMPLETE, HV_NVSP_STATUS_SUCCESS};

    CU_ASSERT_EQUAL(loop_send(rig->loop, index, &desc, NULL, message), 0);
    CU_ASSERT(loop_settle(rig->loop));
}

uint32_t rig_word(const struct rig_packet *packet, uint32_t offset)
{
    uint32_t word;

    memcpy(&word, packet->payload + offset, sizeof(word));
    return word;
}

/* ---- NVSP ---- */

void rig_nvsp(struct netvsp_rig *rig, uint32_t type, uint32_t a, uint32_t b, uint32_t c,
              struct rig_packet *ret_answer)
{
    const uint32_t message[10] = {type, a, b, c};
    uint64_t id = ret_answer ? rig->next_id++ : 0;

    rig_send(rig, 0, id, message, sizeof(message));
    CU_ASSERT(loop_settle(rig->loop));
    if (!ret_answer)
        return;
    rig_receive(rig, 0, ret_answer);
    if (ret_answer->type) {
        CU_ASSERT_EQUAL(ret_answer->type, HV_PACKET_COMPLETION);
        CU_ASSERT_EQUAL(ret_answer->id, id);
    }
}

uint32_t rig_attach(struct netvsp_rig *rig, uint32_t version, uint32_t mtu)
{
    const uint32_t config[5] = {HV_NVSP_SEND_NDIS_CONFIG, mtu + 14, 0,
                                HV_NVSP_CAP_8021Q | HV_NVSP_CAP_SRIOV, 0};
    uint32_t ndis = version >= HV_NVSP_VERSION_5 ? HV_NDIS_VERSION_6_30 : HV_NDIS_VERSION_6_1;
    struct rig_packet answer;

    rig_nvsp(rig, HV_NVSP_INIT, version, version, 0, &answer);
    if (rig_word(&answer, 12) != HV_NVSP_STATUS_SUCCESS)
        return rig_word(&answer, 12);
    if (version >= HV_NVSP_VERSION_2) {
        uint8_t message[40] = {0};

        memcpy(message, config, sizeof(config));
        rig_send(rig, 0, 0, message, sizeof(message));
    }
    rig_nvsp(rig, HV_NVSP_SEND_NDIS_VERSION, ndis >> 16, ndis & 0xffff, 0, NULL);
    rig_nvsp(rig, HV_NVSP_SEND_RECEIVE_BUFFER, RIG_RECEIVE_GPADL, HV_NVSP_RECEIVE_BUFFER_ID, 0,
             &answer);
    if (rig_word(&answer, 4) != HV_NVSP_STATUS_SUCCESS)
        return rig_word(&answer, 4);
    rig->section_bytes = rig_word(&answer, 16);
    rig->sections = rig_word(&answer, 20);
    rig_nvsp(rig, HV_NVSP_SEND_SEND_BUFFER, RIG_SEND_GPADL, HV_NVSP_SEND_BUFFER_ID, 0, &answer);
    return rig_word(&answer, 4);
}

void rig_ready(struct netvsp_rig *rig, uint32_t version)
{
    struct hv_rndis_initialize initialize = {.hdr = {HV_RNDIS_INITIALIZE, sizeof(initialize)},
                                             .request_id = 1,
                                             .major = 1,
                                             .max_xfer_bytes = 0x4000};
    struct hv_rndis_initialize_complete reply;

    CU_ASSERT_EQUAL_FATAL(rig_attach(rig, version, 1500), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT_EQUAL_FATAL(rig_control(rig, &initialize, sizeof(initialize), &reply, sizeof(reply)),
                          sizeof(reply));
    CU_ASSERT_EQUAL(reply.status, 0);
}

/* ---- RNDIS control ---- */

uint8_t *rig_section(struct netvsp_rig *rig, uint32_t section)
{
    return rig->loop->memory + (size_t)RIG_SEND_PAGE * HV_PAGE_BYTES + (size_t)section * 6144;
}

static uint32_t send_section(struct netvsp_rig *rig, uint16_t index, uint32_t channel_type,
                             uint32_t section, uint32_t bytes)
{
    const uint32_t message[10] = {HV_NVSP_SEND_RNDIS_PACKET, channel_type, section, bytes};
    struct rig_packet answer;
    uint64_t id = rig->next_id++;

    rig_send(rig, index, id, message, sizeof(message));
    for (;;) { /* what came before stands in front of it */
        rig_receive(rig, index, &answer);
        if (!answer.type)
            return ~0u;
        if (answer.type == HV_PACKET_COMPLETION && answer.id == id)
            break;
        if (answer.type == HV_PACKET_TRANSFER_PAGES)
            rig_complete(rig, index, answer.id);
    }
    CU_ASSERT_EQUAL(rig_word(&answer, 0), HV_NVSP_SEND_RNDIS_PACKET_COMPLETE);
    return rig_word(&answer, 4);
}

uint32_t rig_control(struct netvsp_rig *rig, const void *message, uint32_t bytes, void *reply,
                     uint32_t max)
{
    const uint32_t head[10] = {HV_NVSP_SEND_RNDIS_PACKET, HV_NVSP_CHANNEL_CONTROL, CONTROL_SECTION,
                               bytes};
    uint32_t range[2], got = 0;
    bool completed = false;
    uint64_t id = rig->next_id++;

    memcpy(rig_section(rig, CONTROL_SECTION), message, bytes);
    rig_send(rig, 0, id, head, sizeof(head));
    for (int i = 0; i < 2; i++) { /* completion and reply, in any order */
        struct rig_packet packet;

        rig_receive(rig, 0, &packet);
        if (packet.type == HV_PACKET_COMPLETION && packet.id == id) {
            completed = rig_word(&packet, 4) == HV_NVSP_STATUS_SUCCESS;
        } else if (packet.type == HV_PACKET_TRANSFER_PAGES) {
            CU_ASSERT_EQUAL(rig_word(&packet, 4), HV_NVSP_CHANNEL_CONTROL);
            memcpy(range, packet.ext + 8, sizeof(range));
            got = range[0] < max ? range[0] : max;
            memcpy(reply, rig->loop->memory + range[1], got);
            rig_complete(rig, 0, packet.id);
        }
    }
    CU_ASSERT(completed);
    return got;
}

static uint32_t build_request(uint8_t *to, uint32_t type, uint32_t id, uint32_t oid, const void *in,
                              uint32_t in_bytes)
{
    const struct hv_rndis_request request = {.hdr = {type, (uint32_t)sizeof(request) + in_bytes},
                                             .request_id = id,
                                             .oid = oid,
                                             .info_bytes = in_bytes,
                                             .info_offset = HV_RNDIS_REQUEST_INFO_OFFSET};

    memcpy(to, &request, sizeof(request));
    if (in_bytes)
        memcpy(to + sizeof(request), in, in_bytes);
    return request.hdr.length_bytes;
}

uint32_t rig_query(struct netvsp_rig *rig, uint32_t oid, const void *in, uint32_t in_bytes,
                   void *data, uint32_t max, uint32_t *ret_bytes)
{
    uint8_t message[1024], reply[1024] = {0};
    struct hv_rndis_query_complete head;
    uint32_t id = rig->request_id++;
    uint32_t bytes = build_request(message, HV_RNDIS_QUERY, id, oid, in, in_bytes);
    uint32_t got = rig_control(rig, message, bytes, reply, sizeof(reply));

    memcpy(&head, reply, sizeof(head));
    CU_ASSERT_EQUAL(head.hdr.type, HV_RNDIS_QUERY | HV_RNDIS_COMPLETE);
    CU_ASSERT_EQUAL(head.hdr.length_bytes, got);
    CU_ASSERT_EQUAL(head.request_id, id);
    *ret_bytes = head.info_bytes;
    if (head.info_bytes) {
        CU_ASSERT_EQUAL(head.info_offset, 16);
        CU_ASSERT_EQUAL(got, 24 + head.info_bytes);
        memcpy(data, reply + 24, head.info_bytes < max ? head.info_bytes : max);
    }
    return head.status;
}

uint32_t rig_set(struct netvsp_rig *rig, uint32_t oid, const void *in, uint32_t in_bytes)
{
    uint8_t message[1024];
    struct hv_rndis_set_complete reply = {{0}, 0, 0};
    uint32_t id = rig->request_id++;
    uint32_t bytes = build_request(message, HV_RNDIS_SET, id, oid, in, in_bytes);

    CU_ASSERT_EQUAL(rig_control(rig, message, bytes, &reply, sizeof(reply)), sizeof(reply));
    CU_ASSERT_EQUAL(reply.hdr.type, HV_RNDIS_SET | HV_RNDIS_COMPLETE);
    CU_ASSERT_EQUAL(reply.request_id, id);
    return reply.status;
}

void rig_filter(struct netvsp_rig *rig, uint32_t filter)
{
    CU_ASSERT_EQUAL(rig_set(rig, HV_OID_PACKET_FILTER, &filter, sizeof(filter)), 0);
}

/* ---- Frames ---- */

uint32_t rig_build(uint8_t *to, const void *frame, uint32_t bytes, const void *ppis,
                   uint32_t ppi_bytes)
{
    const struct hv_rndis_packet head = {
        .hdr = {HV_RNDIS_PACKET, (uint32_t)sizeof(head) + ppi_bytes + bytes},
        .data_offset = (uint32_t)sizeof(head) - 8 + ppi_bytes,
        .data_bytes = bytes,
        .ppi_offset = ppi_bytes ? sizeof(head) - 8 : 0,
        .ppi_bytes = ppi_bytes};

    memcpy(to, &head, sizeof(head));
    if (ppi_bytes)
        memcpy(to + sizeof(head), ppis, ppi_bytes);
    memcpy(to + sizeof(head) + ppi_bytes, frame, bytes);
    return head.hdr.length_bytes;
}

uint32_t rig_send_section(struct netvsp_rig *rig, uint16_t index, uint32_t section, uint32_t bytes)
{
    return send_section(rig, index, HV_NVSP_CHANNEL_DATA, section, bytes);
}

uint32_t rig_send_frame(struct netvsp_rig *rig, uint16_t index, uint8_t destination, uint32_t bytes)
{
    uint8_t frame[2048];
    uint32_t length;

    for (uint32_t i = 0; i < bytes; i++)
        frame[i] = (uint8_t)(i * 7);
    memset(frame, destination, 6);
    memset(frame + 6, 2, 6);
    frame[12] = 0x88;
    frame[13] = 0xb5;
    length = rig_build(rig_section(rig, 0), frame, bytes, NULL, 0);
    return rig_send_section(rig, index, 0, length);
}

uint32_t rig_receive_frames(struct netvsp_rig *rig, uint16_t index,
                            struct hv_rndis_packet *ret_head, uint8_t *data, uint64_t *ret_id)
{
    struct rig_packet packet;
    uint32_t count, range[2];

    rig_receive(rig, index, &packet);
    if (packet.type != HV_PACKET_TRANSFER_PAGES)
        return 0;
    CU_ASSERT_EQUAL(rig_word(&packet, 4), HV_NVSP_CHANNEL_DATA);
    memcpy(&count, packet.ext + 4, sizeof(count));
    memcpy(range, packet.ext + 8, sizeof(range));
    CU_ASSERT_FATAL(range[1] <= rig->sections * rig->section_bytes - range[0]);
    memcpy(ret_head, rig->loop->memory + range[1], sizeof(*ret_head));
    CU_ASSERT_EQUAL(ret_head->hdr.type, HV_RNDIS_PACKET);
    CU_ASSERT_EQUAL(ret_head->hdr.length_bytes, range[0]);
    CU_ASSERT_FATAL(ret_head->data_offset + 8 + ret_head->data_bytes <= range[0]);
    memcpy(data, rig->loop->memory + range[1], range[0]);
    *ret_id = packet.id;
    return count;
}

struct hv_netvsp_stats rig_stats(struct netvsp_rig *rig)
{
    struct hv_netvsp_stats stats;

    hv_netvsp_get_stats(rig->nic, &stats);
    return stats;
}
