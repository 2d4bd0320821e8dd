/* SPDX-License-Identifier: BSD-3-Clause */
/* What the driver says and what it understands, against bytes that were not made from our structures. */
#include <errno.h>
#include <string.h>

#include <suite.h>
#include <vector.h>

#include "netvsc_nic.h"

#define BYTES_MAX 256u

/** Messages of the driver by vector: NVSP type, RNDIS type | 0x10000, or OID. */
static const struct {
    uint32_t what;
    const char *vector;
    uint32_t own_at, own_bytes; /* numbers that each guest chooses: GPADL, request id */
} said[] = {
    {HV_NVSP_INIT, "nvsp-init", 0, 0},
    {HV_NVSP_SEND_NDIS_CONFIG, "nvsp-send-ndis-config", 0, 0},
    {HV_NVSP_SEND_NDIS_VERSION, "nvsp-send-ndis-version", 0, 0},
    {HV_NVSP_SEND_RECEIVE_BUFFER, "nvsp-send-receive-buffer", 4, 4},
    {HV_NVSP_SEND_SEND_BUFFER, "nvsp-send-send-buffer", 4, 4},
    {HV_NVSP_SUBCHANNEL, "nvsp-subchannel", 0, 0},
    {HV_NVSP_REVOKE_RECEIVE_BUFFER, "nvsp-revoke-receive-buffer", 0, 0},
    {HV_NVSP_REVOKE_SEND_BUFFER, "nvsp-revoke-send-buffer", 0, 0},
    {0x10000u | HV_RNDIS_INITIALIZE, "rndis-initialize", 8, 4},
    {0x10000u | HV_RNDIS_KEEPALIVE, "rndis-keepalive", 8, 4},
    {0x10000u | HV_RNDIS_HALT, "rndis-halt", 8, 4},
    {HV_OID_CURRENT_MAC, "rndis-query", 8, 4},
    {HV_OID_PACKET_FILTER, "rndis-set", 8, 4}, /* the latest: at start */
    {HV_OID_RSS_PARAMETERS, "ndis-rss-params", 0, 0},
    {HV_OID_CONFIG_PARAMETER, "ndis-config-parameter", 0, 0},
};

/** What a host answers, by the same numbers; for queries and sets with the OID's data only. */
static const struct {
    uint32_t what;
    const char *vector;
    bool data;
} answers[] = {
    {HV_NVSP_INIT, "nvsp-init-complete", false},
    {HV_NVSP_SEND_RECEIVE_BUFFER, "nvsp-receive-buffer-complete", false},
    {HV_NVSP_SEND_SEND_BUFFER, "nvsp-send-buffer-complete", false},
    {0x10000u | HV_RNDIS_INITIALIZE, "rndis-initialize-complete", false},
    {0x10000u | HV_RNDIS_KEEPALIVE, "rndis-keepalive-complete", false},
    {HV_OID_CURRENT_MAC, "rndis-query-complete", false},
    {HV_OID_OFFLOAD_CAPS, "ndis-offload-caps", true},
    {HV_OID_RSS_CAPABILITIES, "ndis-rss-caps", true},
};

struct record {
    uint8_t bytes[HV_TEST_COUNT(said)][BYTES_MAX];
    size_t length[HV_TEST_COUNT(said)];
    bool from_vectors; /* the host answers with vectors */
};

static bool has_oid(const struct loop_nic_message *m)
{
    return m->rndis_bytes &&
           (m->rndis.hdr.type == HV_RNDIS_QUERY || m->rndis.hdr.type == HV_RNDIS_SET);
}

static uint32_t what_is(const struct loop_nic_message *m)
{
    if (!m->rndis_bytes)
        return m->nvsp.type;
    if (has_oid(m))
        return m->rndis.request.oid;
    return 0x10000u | m->rndis.hdr.type;
}

static size_t load(const char *name, uint8_t bytes[BYTES_MAX])
{
    ssize_t length = hv_test_vector_load(name, bytes, BYTES_MAX);

    HV_CHECK_ROW(name, length > 0);
    return length > 0 ? (size_t)length : 0;
}

static void record(struct record *r, const struct loop_nic_message *m)
{
    uint32_t what = what_is(m);
    bool data = has_oid(m) && what != HV_OID_CURRENT_MAC && what != HV_OID_PACKET_FILTER;

    for (size_t i = 0; i < HV_TEST_COUNT(said); i++) {
        const uint8_t *bytes = m->rndis_bytes ? m->rndis.bytes : (const uint8_t *)&m->nvsp;
        size_t length = m->rndis_bytes ? m->rndis_bytes : m->nvsp_bytes;

        if (said[i].what != what || length > BYTES_MAX)
            continue;
        if (data) { /* the vector is the data of the OID */
            bytes += sizeof(m->rndis.request);
            length -= sizeof(m->rndis.request);
        }
        if (said[i].what == HV_OID_PACKET_FILTER && !bytes[length - 4])
            continue; /* taken away: the vector is the other one */
        if (said[i].what == HV_OID_RSS_PARAMETERS && bytes[4] & HV_NDIS_RSS_DISABLE)
            continue;
        memcpy(r->bytes[i], bytes, length);
        r->length[i] = length;
    }
}

static bool answer(struct loop_nic *nic, const struct loop_nic_message *m)
{
    uint8_t bytes[BYTES_MAX];

    for (size_t i = 0; i < HV_TEST_COUNT(answers); i++) {
        size_t length;

        if (answers[i].what != what_is(m))
            continue;
        length = load(answers[i].vector, bytes);
        if (answers[i].data) /* RSS capabilities end before their padding */
            return loop_nic_reply_query(nic, m->rndis.request.request_id, 0, bytes,
                                        length == 20 ? 18 : (uint32_t)length);
        if (!m->rndis_bytes)
            return loop_nic_complete(nic, 0, m->id, bytes, (uint32_t)length);
        memcpy(bytes + 8, &m->rndis.bare.request_id, 4);
        return loop_nic_control(nic, bytes, (uint32_t)length, 0);
    }
    return false;
}

static bool hook(void *arg, struct loop_nic *nic, const struct loop_nic_message *m)
{
    struct record *r = arg;

    record(r, m);
    if (!r->from_vectors)
        return false;
    loop_nic_believe(nic, m);
    return answer(nic, m);
}

static void check_said(const struct record *r)
{
    for (size_t i = 0; i < HV_TEST_COUNT(said); i++) {
        uint8_t want[BYTES_MAX], got[BYTES_MAX];
        size_t length = load(said[i].vector, want);

        memcpy(got, r->bytes[i], sizeof(got));
        memcpy(got + said[i].own_at, want + said[i].own_at, said[i].own_bytes);
        HV_CHECK_ROW(said[i].vector, r->length[i] == length);
        HV_CHECK_ROW(said[i].vector, !memcmp(got, want, length));
    }
}

static void test_said(void)
{
    static const uint8_t mac[6] = {2, 3, 4, 5, 6, 7};
    struct record r = {.from_vectors = false};
    const struct loop_nic_opts lo = {
        .hook = hook, .arg = &r, .rx_queues = 4, .sub_channels = 3, .table_entries = 4};
    struct nic_fixture f;
    uint16_t queues;

    nic_begin(&f, &lo, 4);
    CU_ASSERT_EQUAL(hv_netvsc_set_mac(f.netvsc, mac), 0);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 4, &queues), 0);
    CU_ASSERT_EQUAL(hv_netvsc_keepalive(f.netvsc), 0);
    nic_stop(&f);
    check_said(&r);
}

static void inband(struct nic_fixture *f, const char *name)
{
    uint8_t bytes[BYTES_MAX];
    size_t length = load(name, bytes);

    CU_ASSERT(loop_nic_inband(f->nic, bytes, (uint32_t)length));
    CU_ASSERT_EQUAL(hv_netvsc_poll_control(f->netvsc), 0);
}

static void test_understood(void)
{
    static const uint8_t mac[6] = {0x02, 0x15, 0x5d, 0x01, 0x02, 0x03};
    struct record r = {.from_vectors = true};
    const struct loop_nic_opts lo = {.hook = hook, .arg = &r, .silent_offloads = true};
    struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;
    struct hv_netvsc_info info;
    struct nic_fixture f;
    uint8_t bytes[BYTES_MAX];
    size_t length;

    no.max_queues = 64;
    no.receive_bytes = no.send_bytes = 16u << 20;
    nic_start(&f, &lo, &no);
    CU_ASSERT_EQUAL(f.error, 0);
    if (f.error) {
        nic_stop(&f);
        return;
    }
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT(info.receive_sections == 9289 && info.receive_section_bytes == 1806);
    CU_ASSERT(info.send_section_bytes == 6144 && info.send_sections == 2730);
    CU_ASSERT(info.max_packets_per_message == 8 && info.packet_align_bytes == 8);
    CU_ASSERT(!memcmp(info.mac, mac, 6));
    CU_ASSERT(info.max_queues == 8 && info.rss_table_entries == 128);
    CU_ASSERT_EQUAL(info.rss_hash_types,
                    HV_NDIS_HASH_IPV4 | HV_NDIS_HASH_TCP4 | HV_NDIS_HASH_IPV6 | HV_NDIS_HASH_TCP6);
    CU_ASSERT_EQUAL(info.offloads_possible, 0x7ff);
    CU_ASSERT_EQUAL(info.tso_max_bytes, 0xf53c);
    CU_ASSERT_EQUAL(hv_netvsc_keepalive(f.netvsc), 0);
    inband(&f, "nvsp-vf-association");
    inband(&f, "nvsp-indirection-table");
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT(info.vf_present && info.vf_serial == 2);
    CU_ASSERT(info.send_table[0] == 0 && info.send_table[3] == 3 && info.send_table[13] == 1);
    length = load("rndis-indicate", bytes);
    CU_ASSERT(loop_nic_control(f.nic, bytes, (uint32_t)length, 0));
    CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), 0);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_LINK_DOWN], 1);
    nic_stop(&f);
}

static const struct hv_test_case cases[] = {
    {"what it says", test_said},
    {"what it understands", test_understood},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.vectors", cases, HV_TEST_COUNT(cases), argc, argv);
}
