/* SPDX-License-Identifier: BSD-3-Clause */
/* The layouts of the network protocols against bytes that were not made from them. */
#include <stdint.h>

#include <hv/wire/ndis.h>
#include <hv/wire/nvsp.h>
#include <hv/wire/rndis.h>

#include "wire_fields.h"

/* ---- NVSP ---- */

static struct hv_nvsp_message *message(const struct wire_access *access, void *at, uint32_t type)
{
    struct hv_nvsp_message *m = at;

    FIELD(m->type, type);
    return m;
}

static void init_of(const struct wire_access *access, void *at, uint32_t version)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_INIT);

    FIELD(m->init.min_version, version);
    FIELD(m->init.max_version, version);
}

static void init(const struct wire_access *access, void *at)
{
    init_of(access, at, HV_NVSP_VERSION_6_1);
}

static void init_v1(const struct wire_access *access, void *at)
{
    init_of(access, at, HV_NVSP_VERSION_1);
}

static void init_answer(const struct wire_access *access, void *at, uint32_t status)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_INIT_COMPLETE);

    FIELD(m->init_complete.version, 0xffffffff);
    FIELD(m->init_complete.max_mdl_chain, 34);
    FIELD(m->init_complete.status, status);
}

static void init_complete(const struct wire_access *access, void *at)
{
    init_answer(access, at, HV_NVSP_STATUS_SUCCESS);
}

static void init_refused(const struct wire_access *access, void *at)
{
    init_answer(access, at, HV_NVSP_STATUS_TOO_NEW);
}

static void send_ndis_version(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SEND_NDIS_VERSION);

    FIELD(m->ndis_version.major, HV_NDIS_VERSION_6_30 >> 16);
    FIELD(m->ndis_version.minor, HV_NDIS_VERSION_6_30 & 0xffff);
}

static void send_receive_buffer(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SEND_RECEIVE_BUFFER);

    FIELD(m->buffer.gpadl, 0xe11234);
    FIELD(m->buffer.id, HV_NVSP_RECEIVE_BUFFER_ID);
    FIELD(m->buffer.reserved, 0);
}

static void receive_buffer_complete(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_RECEIVE_BUFFER_COMPLETE);
    struct hv_nvsp_receive_buffer_complete *c = &m->receive_buffer_complete;

    FIELD(c->status, HV_NVSP_STATUS_SUCCESS);
    FIELD(c->section_count, 1);
    FIELD(c->section[0].offset, 0);
    FIELD(c->section[0].sub_allocation_bytes, 1806);
    FIELD(c->section[0].sub_allocation_count, 9289);
    FIELD(c->section[0].end_offset, 1806 * 9289);
}

static void revoke_receive_buffer(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_REVOKE_RECEIVE_BUFFER);

    FIELD(m->revoke.id, HV_NVSP_RECEIVE_BUFFER_ID);
    FIELD(m->revoke.reserved, 0);
}

static void send_send_buffer(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SEND_SEND_BUFFER);

    FIELD(m->buffer.gpadl, 0xe11235);
    FIELD(m->buffer.id, HV_NVSP_SEND_BUFFER_ID);
    FIELD(m->buffer.reserved, 0);
}

static void send_buffer_complete(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SEND_BUFFER_COMPLETE);

    FIELD(m->send_buffer_complete.status, HV_NVSP_STATUS_SUCCESS);
    FIELD(m->send_buffer_complete.section_bytes, 6144);
}

static void revoke_send_buffer(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_REVOKE_SEND_BUFFER);

    FIELD(m->revoke.id, HV_NVSP_SEND_BUFFER_ID);
    FIELD(m->revoke.reserved, 0);
}

static void send_rndis_packet(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SEND_RNDIS_PACKET);

    FIELD(m->rndis.channel_type, HV_NVSP_CHANNEL_DATA);
    FIELD(m->rndis.section_index, 5);
    FIELD(m->rndis.section_bytes, 118);
}

static void send_rndis_control(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SEND_RNDIS_PACKET);

    FIELD(m->rndis.channel_type, HV_NVSP_CHANNEL_CONTROL);
    FIELD(m->rndis.section_index, HV_NVSP_SECTION_NONE);
    FIELD(m->rndis.section_bytes, 0);
}

static void rndis_packet_complete(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SEND_RNDIS_PACKET_COMPLETE);

    FIELD(m->rndis_complete.status, HV_NVSP_STATUS_SUCCESS);
}

static void send_ndis_config(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SEND_NDIS_CONFIG);

    FIELD(m->ndis_config.mtu, 1514);
    FIELD(m->ndis_config.reserved, 0);
    FIELD(m->ndis_config.capabilities, HV_NVSP_CAP_SRIOV | HV_NVSP_CAP_8021Q | HV_NVSP_CAP_TEAMING);
}

static void vf_association(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SEND_VF_ASSOCIATION);

    FIELD(m->vf_association.allocated, 1);
    FIELD(m->vf_association.serial, 2);
}

static void switch_data_path(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SWITCH_DATA_PATH);

    FIELD(m->data_path.active, 1);
}

static void subchannel(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SUBCHANNEL);

    FIELD(m->subchannel_request.operation, 1);
    FIELD(m->subchannel_request.count, 3);
}

static void subchannel_complete(const struct wire_access *access, void *at)
{
    struct hv_nvsp_message *m = message(access, at, HV_NVSP_SUBCHANNEL);

    FIELD(m->subchannel_complete.status, HV_NVSP_STATUS_SUCCESS);
    FIELD(m->subchannel_complete.count, 2);
}

static void indirection_table(const struct wire_access *access, void *at)
{
    struct hv_nvsp_indirection_message *m = at;

    FIELD(m->type, HV_NVSP_SEND_INDIRECTION_TABLE);
    FIELD(m->indirection.count, HV_NVSP_INDIRECTION_COUNT);
    FIELD(m->indirection.offset, 12);
    for (uint32_t i = 0; i < HV_NVSP_INDIRECTION_COUNT; i++)
        FIELD(m->indirection.channel[i], i % 4);
}

/* ---- RNDIS ---- */

static void *header(const struct wire_access *access, void *at, uint32_t type, uint32_t bytes)
{
    struct hv_rndis_header *h = at;

    FIELD(h->type, type);
    FIELD(h->length_bytes, bytes);
    return at;
}

static struct hv_rndis_packet *packet(const struct wire_access *access, void *at, uint32_t bytes,
                                      uint32_t data_at, uint32_t data_bytes)
{
    struct hv_rndis_packet *p = header(access, at, HV_RNDIS_PACKET, bytes);

    FIELD(p->data_offset, data_at - HV_RNDIS_OFFSET_BASE);
    FIELD(p->data_bytes, data_bytes);
    FIELD(p->oob_offset, 0);
    FIELD(p->oob_bytes, 0);
    FIELD(p->oob_count, 0);
    FIELD(p->ppi_offset, (uint32_t)sizeof(*p) - HV_RNDIS_OFFSET_BASE);
    FIELD(p->ppi_bytes, 64);
    FIELD(p->vc_handle, 0);
    FIELD(p->reserved, 0);
    return p;
}

static void ppi(const struct wire_access *access, void *at, uint32_t type, uint32_t value)
{
    struct hv_rndis_ppi *p = at;
    uint32_t *data = (uint32_t *)(p + 1);

    FIELD(p->size_bytes, 16);
    FIELD(p->type, type);
    FIELD(p->data_offset, (uint32_t)sizeof(*p));
    FIELD(*data, value);
}

static void packet_tx(const struct wire_access *access, void *at)
{
    struct hv_rndis_packet *p = packet(access, at, 112, 108, 4);
    uint8_t *next = (uint8_t *)(p + 1);
    uint32_t *data = (uint32_t *)(next + 64);

    ppi(access, next, HV_PPI_CHECKSUM,
        HV_TX_CSUM_IPV4 | HV_TX_CSUM_TCP | HV_TX_CSUM_IPHDR | 34u << HV_TX_CSUM_L4_SHIFT);
    ppi(access, next + 16, HV_PPI_LSO, HV_LSO_V2 | 34u << HV_LSO_TCP_SHIFT | 1448u);
    ppi(access, next + 32, HV_PPI_VLAN, 3u | 100u << HV_VLAN_ID_SHIFT);
    ppi(access, next + 48, HV_PPI_HASH_VALUE, 2);
    FIELD(*data, 2);
}

static void packet_rx(const struct wire_access *access, void *at)
{
    struct hv_rndis_packet *p = packet(access, at, 316, 256, 60);
    uint8_t *next = (uint8_t *)(p + 1);

    ppi(access, next, HV_PPI_CHECKSUM, HV_RX_CSUM_TCP_OK | HV_RX_CSUM_IP_OK);
    ppi(access, next + 16, HV_PPI_VLAN, HV_VLAN_CFI | 5u << HV_VLAN_ID_SHIFT);
    ppi(access, next + 32, HV_PPI_HASH_VALUE, 0x51ccc178);
    ppi(access, next + 48, HV_PPI_HASH_INFO, HV_NDIS_HASH_TOEPLITZ | HV_NDIS_HASH_TCP4);
}

static void initialize(const struct wire_access *access, void *at)
{
    struct hv_rndis_initialize *m = header(access, at, HV_RNDIS_INITIALIZE, 24);

    FIELD(m->request_id, 1);
    FIELD(m->major, 1);
    FIELD(m->minor, 0);
    FIELD(m->max_xfer_bytes, HV_RNDIS_MAX_XFER);
}

static void initialize_complete(const struct wire_access *access, void *at)
{
    struct hv_rndis_initialize_complete *m =
        header(access, at, HV_RNDIS_INITIALIZE | HV_RNDIS_COMPLETE, 52);

    FIELD(m->request_id, 1);
    FIELD(m->status, HV_RNDIS_STATUS_SUCCESS);
    FIELD(m->major, 1);
    FIELD(m->minor, 0);
    FIELD(m->device_flags, 1);
    FIELD(m->medium, 0);
    FIELD(m->max_packets_per_message, 8);
    FIELD(m->max_xfer_bytes, 0xefffffff);
    FIELD(m->packet_align_log2, 3);
    FIELD(m->af_list_offset, 0);
    FIELD(m->af_list_bytes, 0);
}

static void halt(const struct wire_access *access, void *at)
{
    struct hv_rndis_bare *m = header(access, at, HV_RNDIS_HALT, 12);

    FIELD(m->request_id, 9);
}

static void query(const struct wire_access *access, void *at)
{
    struct hv_rndis_request *m = header(access, at, HV_RNDIS_QUERY, 28);

    FIELD(m->request_id, 2);
    FIELD(m->oid, HV_OID_CURRENT_MAC);
    FIELD(m->info_bytes, 0);
    FIELD(m->info_offset, HV_RNDIS_REQUEST_INFO_OFFSET);
    FIELD(m->vc_handle, 0);
}

static void query_complete(const struct wire_access *access, void *at)
{
    struct hv_rndis_query_complete *m = header(access, at, HV_RNDIS_QUERY | HV_RNDIS_COMPLETE, 30);

    FIELD(m->request_id, 2);
    FIELD(m->status, HV_RNDIS_STATUS_SUCCESS);
    FIELD(m->info_bytes, 6);
    FIELD(m->info_offset, 16);
    FIELD_BYTES((uint8_t *)at + HV_RNDIS_OFFSET_BASE + 16, "\x02\x15\x5d\x01\x02\x03", 6);
}

static void set(const struct wire_access *access, void *at)
{
    struct hv_rndis_request *m = header(access, at, HV_RNDIS_SET, 32);
    uint32_t *filter = (uint32_t *)(m + 1);

    FIELD(m->request_id, 3);
    FIELD(m->oid, HV_OID_PACKET_FILTER);
    FIELD(m->info_bytes, 4);
    FIELD(m->info_offset, HV_RNDIS_REQUEST_INFO_OFFSET);
    FIELD(m->vc_handle, 0);
    FIELD(*filter, HV_FILTER_DIRECTED | HV_FILTER_ALLMULTI | HV_FILTER_BROADCAST);
}

static void set_complete(const struct wire_access *access, void *at)
{
    struct hv_rndis_set_complete *m = header(access, at, HV_RNDIS_SET | HV_RNDIS_COMPLETE, 16);

    FIELD(m->request_id, 3);
    FIELD(m->status, HV_RNDIS_STATUS_NOT_SUPPORTED);
}

static void indicate(const struct wire_access *access, void *at)
{
    struct hv_rndis_indicate *m = header(access, at, HV_RNDIS_INDICATE, 20);

    FIELD(m->status, HV_RNDIS_STATUS_MEDIA_DISCONNECT);
    FIELD(m->buffer_bytes, 0);
    FIELD(m->buffer_offset, 0);
}

static void keepalive(const struct wire_access *access, void *at)
{
    struct hv_rndis_bare *m = header(access, at, HV_RNDIS_KEEPALIVE, 12);

    FIELD(m->request_id, 4);
}

static void keepalive_complete(const struct wire_access *access, void *at)
{
    struct hv_rndis_set_complete *m =
        header(access, at, HV_RNDIS_KEEPALIVE | HV_RNDIS_COMPLETE, 16);

    FIELD(m->request_id, 4);
    FIELD(m->status, HV_RNDIS_STATUS_SUCCESS);
}

/* ---- NDIS ---- */

static void *object(const struct wire_access *access, void *at, uint8_t type, uint8_t revision,
                    uint16_t bytes)
{
    struct hv_ndis_header *h = at;

    FIELD(h->type, type);
    FIELD(h->revision, revision);
    FIELD(h->size_bytes, bytes);
    return at;
}

static void offload_caps(const struct wire_access *access, void *at)
{
    const uint32_t six = HV_NDIS_CSUM_TCP_OPTIONS | HV_NDIS_CSUM_TCP | HV_NDIS_CSUM_UDP;
    const uint32_t four = six | HV_NDIS_CSUM_IP_OPTIONS | HV_NDIS_CSUM_IP;
    struct hv_ndis_offload *o = object(access, at, HV_NDIS_OBJECT_OFFLOAD_CAPS, 3, 156);

    FIELD(o->csum.ip4_tx_encap, HV_NDIS_ENCAP_8023);
    FIELD(o->csum.ip4_tx, four);
    FIELD(o->csum.ip4_rx_encap, HV_NDIS_ENCAP_8023);
    FIELD(o->csum.ip4_rx, four);
    FIELD(o->csum.ip6_tx_encap, HV_NDIS_ENCAP_8023);
    FIELD(o->csum.ip6_tx, six);
    FIELD(o->csum.ip6_rx_encap, HV_NDIS_ENCAP_8023);
    FIELD(o->csum.ip6_rx, six);
    FIELD(o->lso2.ip4_encap, HV_NDIS_ENCAP_8023);
    FIELD(o->lso2.ip4_max_bytes, HV_NDIS_LSO_MAX_BYTES);
    FIELD(o->lso2.ip4_min_segments, 2);
    FIELD(o->lso2.ip6_encap, HV_NDIS_ENCAP_8023);
    FIELD(o->lso2.ip6_max_bytes, HV_NDIS_LSO_MAX_BYTES);
    FIELD(o->lso2.ip6_min_segments, 2);
    FIELD(o->lso2.ip6_options, 5);
    FIELD(o->flags, 0);
    FIELD(o->rsc_ip4, 1);
    FIELD(o->rsc_ip6, 0);
}

static void offload_params(const struct wire_access *access, void *at)
{
    struct hv_ndis_offload_params *p = object(access, at, HV_NDIS_OBJECT_OFFLOAD_PARAMS, 3, 28);

    FIELD(p->ip4_csum, HV_NDIS_CSUM_SET_OFF);
    FIELD(p->tcp4_csum, HV_NDIS_CSUM_SET_BOTH);
    FIELD(p->udp4_csum, HV_NDIS_CSUM_SET_BOTH);
    FIELD(p->tcp6_csum, HV_NDIS_CSUM_SET_BOTH);
    FIELD(p->udp6_csum, HV_NDIS_CSUM_SET_TX);
    FIELD(p->lso1, HV_NDIS_OFFLOAD_NO_CHANGE);
    FIELD(p->ipsec1, 0);
    FIELD(p->lso2_ip4, HV_NDIS_OFFLOAD_ON);
    FIELD(p->lso2_ip6, HV_NDIS_OFFLOAD_OFF);
    FIELD(p->tcp_conn_ip4, 0);
    FIELD(p->tcp_conn_ip6, 0);
    FIELD(p->flags, 0);
    FIELD(p->rsc_ip4, HV_NDIS_OFFLOAD_OFF);
    FIELD(p->rsc_ip6, HV_NDIS_OFFLOAD_ON);
}

static void rss_caps(const struct wire_access *access, void *at)
{
    struct hv_ndis_rss_caps *c = object(access, at, HV_NDIS_OBJECT_RSS_CAPS, 2, 18);

    /* 0x400 is TCP over IPv6 with extension headers, which nobody here uses. */
    FIELD(c->flags,
          HV_NDIS_RSS_CAP_TOEPLITZ | HV_NDIS_RSS_CAP_TCP4 | HV_NDIS_RSS_CAP_TCP6 | 0x400u);
    FIELD(c->msi_count, 8);
    FIELD(c->rx_queues, 8);
    FIELD(c->table_entries, HV_NDIS_RSS_TABLE_MAX);
    FIELD(c->pad, 0);
}

static void rss_params(const struct wire_access *access, void *at)
{
    static const uint8_t key[HV_NDIS_RSS_KEY_BYTES] = {
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
        0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
        0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};
    struct hv_ndis_rss_params *p = object(access, at, HV_NDIS_OBJECT_RSS_PARAMS, 2, 40);
    uint32_t *table = (uint32_t *)(p + 1);

    FIELD(p->flags, 0);
    FIELD(p->base_cpu, 0);
    FIELD(p->hash_info, HV_NDIS_HASH_TOEPLITZ | HV_NDIS_HASH_IPV4 | HV_NDIS_HASH_TCP4 |
                            HV_NDIS_HASH_IPV6 | HV_NDIS_HASH_TCP6);
    FIELD(p->table_bytes, 16);
    FIELD(p->pad, 0);
    FIELD(p->table_offset, (uint32_t)sizeof(*p));
    FIELD(p->key_bytes, HV_NDIS_RSS_KEY_BYTES);
    FIELD(p->pad2, 0);
    FIELD(p->key_offset, (uint32_t)sizeof(*p) + 16);
    FIELD(p->cpu_mask_offset, 0);
    FIELD(p->cpu_mask_count, 0);
    FIELD(p->cpu_mask_entry_bytes, 0);
    for (uint32_t i = 0; i < 4; i++)
        FIELD(table[i], i);
    FIELD_BYTES(table + 4, key, sizeof(key));
}

static void config_parameter(const struct wire_access *access, void *at)
{
    struct hv_ndis_config_parameter *p = at;
    uint8_t *text = (uint8_t *)(p + 1);

    FIELD(p->name_offset, (uint32_t)sizeof(*p));
    FIELD(p->name_bytes, 28);
    FIELD(p->type, 2);
    FIELD(p->value_offset, (uint32_t)sizeof(*p) + 28);
    FIELD(p->value_bytes, 24);
    for (size_t i = 0; i < 14; i++)
        FIELD(text[2 * i], (uint8_t) "NetworkAddress"[i]);
    for (size_t i = 0; i < 12; i++)
        FIELD(text[28 + 2 * i], (uint8_t) "020304050607"[i]);
}

static void link_state(const struct wire_access *access, void *at)
{
    struct hv_ndis_link_state *s = object(access, at, HV_NDIS_OBJECT_DEFAULT, 1, 40);

    FIELD(s->connect, HV_NDIS_MEDIA_CONNECTED);
    FIELD(s->duplex, HV_NDIS_DUPLEX_FULL);
    FIELD(s->pad, 0);
    FIELD(s->xmit_bits_per_second, 1000000000);
    FIELD(s->receive_bits_per_second, 10000000000);
    FIELD(s->pause_functions, 0);
    FIELD(s->auto_negotiation, 0);
}

#define NVSP HV_NVSP_MESSAGE_BYTES

static const struct wire_layout layouts[] = {
    {"nvsp-init", NVSP, init},
    {"nvsp-init-v1", NVSP, init_v1},
    {"nvsp-init-complete", 16, init_complete},
    {"nvsp-init-refused", 16, init_refused},
    {"nvsp-send-ndis-version", NVSP, send_ndis_version},
    {"nvsp-send-receive-buffer", NVSP, send_receive_buffer},
    {"nvsp-receive-buffer-complete", 28, receive_buffer_complete},
    {"nvsp-revoke-receive-buffer", NVSP, revoke_receive_buffer},
    {"nvsp-send-send-buffer", NVSP, send_send_buffer},
    {"nvsp-send-buffer-complete", 12, send_buffer_complete},
    {"nvsp-revoke-send-buffer", NVSP, revoke_send_buffer},
    {"nvsp-send-rndis-packet", NVSP, send_rndis_packet},
    {"nvsp-send-rndis-control", NVSP, send_rndis_control},
    {"nvsp-rndis-packet-complete", 8, rndis_packet_complete},
    {"nvsp-send-ndis-config", NVSP, send_ndis_config},
    {"nvsp-vf-association", 12, vf_association},
    {"nvsp-switch-data-path", NVSP, switch_data_path},
    {"nvsp-subchannel", NVSP, subchannel},
    {"nvsp-subchannel-complete", 12, subchannel_complete},
    {"nvsp-indirection-table", 76, indirection_table},
    {"rndis-packet-tx", 112, packet_tx},
    {"rndis-packet-rx", 316, packet_rx},
    {"rndis-initialize", 24, initialize},
    {"rndis-initialize-complete", 52, initialize_complete},
    {"rndis-halt", 12, halt},
    {"rndis-query", 28, query},
    {"rndis-query-complete", 30, query_complete},
    {"rndis-set", 32, set},
    {"rndis-set-complete", 16, set_complete},
    {"rndis-indicate", 20, indicate},
    {"rndis-keepalive", 12, keepalive},
    {"rndis-keepalive-complete", 16, keepalive_complete},
    {"ndis-offload-caps", 156, offload_caps},
    {"ndis-offload-params", 28, offload_params},
    {"ndis-rss-caps", 20, rss_caps},
    {"ndis-rss-params", 96, rss_params},
    {"ndis-config-parameter", 72, config_parameter},
    {"ndis-link-state", 40, link_state},
};

static void test_wire_net_layouts(void)
{
    wire_check_layouts(layouts, HV_TEST_COUNT(layouts));
}

static void test_wire_net_covered(void)
{
    static const char *const prefixes[] = {"nvsp-", "rndis-", "ndis-", NULL};

    wire_check_all_covered(prefixes, layouts, HV_TEST_COUNT(layouts));
}

static const struct hv_test_case cases[] = {
    {"layouts", test_wire_net_layouts},
    {"all vectors are used", test_wire_net_covered},
};

int main(int argc, char **argv)
{
    return hv_test_main("wire.net", cases, HV_TEST_COUNT(cases), argc, argv);
}
