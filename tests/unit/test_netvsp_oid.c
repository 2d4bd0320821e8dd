/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest asks of a NIC, and sets: every OID with its known answer; link and VF; the owner's options. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "netvsp_rig.h"
#include "suite.h"

static const uint8_t mac[6] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};

static void init(struct netvsp_rig *rig, uint32_t version)
{
    struct hv_netvsp_opts opts = HV_NETVSP_OPTS_INIT;

    opts.queues = 4;
    opts.link_bits_per_second = UINT64_C(25000000000);
    memcpy(opts.mac, mac, 6);
    rig_init(rig, &opts);
    rig_ready(rig, version);
}

/* ---- Queries ---- */

#define WORD(v)                                                                                    \
    {                                                                                              \
        (v) & 0xff, (v) >> 8 & 0xff, (v) >> 16 & 0xff, (v) >> 24 & 0xff                            \
    }

static const struct {
    const char *name;
    uint32_t oid, bytes;
    uint8_t data[40];
} known_answers[] = {
    {"hardware status", 0x00010102, 4, {0}},
    {"media supported", 0x00010103, 4, {0}},
    {"media in use", 0x00010104, 4, {0}},
    {"maximum lookahead", 0x00010105, 4, WORD(1514)},
    {"maximum frame size", 0x00010106, 4, WORD(1500)},
    {"link speed", 0x00010107, 4, WORD(250000000)},
    {"transmit buffer space", 0x00010108, 4, WORD(49152)},
    {"receive buffer space", 0x00010109, 4, WORD(94 * 1728)},
    {"transmit block", 0x0001010a, 4, WORD(1514)},
    {"receive block", 0x0001010b, 4, WORD(1514)},
    {"vendor id", 0x0001010c, 4, {0x00, 0x15, 0x5d, 0x00}},
    {"packet filter", 0x0001010e, 4, {0}},
    {"current lookahead", 0x0001010f, 4, WORD(1514)},
    {"driver version", 0x00010110, 2, {0x1e, 0x06}},
    {"maximum total size", 0x00010111, 4, WORD(1514)},
    {"MAC options", 0x00010113, 4, WORD(0x1d)},
    {"media connect", 0x00010114, 4, {0}},
    {"maximum send packets", 0x00010115, 4, WORD(1)},
    {"vendor driver version", 0x00010116, 4, WORD(0x6001e)},
    {"RSS capabilities",
     0x00010203,
     18,
     {0x88, 2, 18, 0, 0x01, 0x1b, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 128, 0}},
    {"maximum link speed",
     0x00010206,
     16,
     {0x00, 0xba, 0x1d, 0xd2, 5, 0, 0, 0, 0x00, 0xba, 0x1d, 0xd2, 5, 0, 0, 0}},
    {"link state", 0x00010207, 40, {0x80, 1, 40,   0,    1,    0,    0,    0,    2,    0, 0,
                                    0,    0, 0,    0,    0,    0x00, 0xba, 0x1d, 0xd2, 5, 0,
                                    0,    0, 0x00, 0xba, 0x1d, 0xd2, 5,    0,    0,    0}},
    {"VLAN id", 0x0001021c, 4, {0}},
    {"frames sent", 0x00020101, 8, {0}},
    {"frames received", 0x00020102, 8, {0}},
    {"send errors", 0x00020103, 8, {0}},
    {"receive errors", 0x00020104, 8, {0}},
    {"no buffer", 0x00020105, 8, {0}},
    {"permanent MAC", 0x01010101, 6, {0x02, 0x11, 0x22, 0x33, 0x44, 0x55}},
    {"current MAC", 0x01010102, 6, {0x02, 0x11, 0x22, 0x33, 0x44, 0x55}},
    {"multicast list", 0x01010103, 0, {0}},
    {"multicast maximum", 0x01010104, 4, WORD(64)},
    {"alignment errors", 0x01020101, 4, {0}},
    {"one collision", 0x01020102, 4, {0}},
    {"more collisions", 0x01020103, 4, {0}},
};

static void test_known_answers(void)
{
    struct netvsp_rig rig;

    init(&rig, HV_NVSP_VERSION_6_1);
    for (size_t i = 0; i < HV_TEST_COUNT(known_answers); i++) {
        uint8_t data[512] = {0};
        uint32_t bytes = 99;

        HV_CHECK_ROW(known_answers[i].name, rig_query(&rig, known_answers[i].oid, NULL, 0, data,
                                                      sizeof(data), &bytes) == 0);
        HV_CHECK_ROW(known_answers[i].name, bytes == known_answers[i].bytes);
        HV_CHECK_ROW(known_answers[i].name,
                     !memcmp(data, known_answers[i].data, known_answers[i].bytes));
    }
    rig_fini(&rig);
}

/** Whatever is on the list can be asked or set; nothing else can. */
static void test_supported_list(void)
{
    static const uint32_t set_only[] = {0x00010112, 0x00010118, 0x00010204, 0x00010208, 0x00010209,
                                        0x0001021a, 0x0001021b, 0x0101010a, 0xfc01020c};
    uint32_t list[128], bytes, count, ignored;
    uint8_t data[512];
    struct netvsp_rig rig;

    init(&rig, HV_NVSP_VERSION_6_1);
    CU_ASSERT_EQUAL(rig_query(&rig, 0x00010101, NULL, 0, list, sizeof(list), &bytes), 0);
    count = bytes / 4;
    CU_ASSERT(count > 40 && bytes % 4 == 0);
    for (uint32_t i = 0; i < count; i++) {
        bool set = false;
        uint32_t status = rig_query(&rig, list[i], NULL, 0, data, sizeof(data), &ignored);

        for (size_t n = 0; n < HV_TEST_COUNT(set_only); n++)
            set |= set_only[n] == list[i];
        if (status != (set ? HV_RNDIS_STATUS_NOT_SUPPORTED : 0))
            fprintf(stderr, "OID 0x%08x: status 0x%08x\n", list[i], status);
        CU_ASSERT_EQUAL(status, set ? HV_RNDIS_STATUS_NOT_SUPPORTED : 0);
    }
    CU_ASSERT_EQUAL(rig_query(&rig, 0x12345678, NULL, 0, data, sizeof(data), &bytes),
                    HV_RNDIS_STATUS_NOT_SUPPORTED);
    CU_ASSERT_EQUAL(bytes, 0);
    CU_ASSERT_EQUAL(rig_set(&rig, 0x12345678, data, 4), HV_RNDIS_STATUS_NOT_SUPPORTED);
    CU_ASSERT_EQUAL(rig_query(&rig, HV_OID_VENDOR_TEXT, NULL, 0, data, sizeof(data), &bytes), 0);
    CU_ASSERT_STRING_EQUAL((char *)data, "libvmbus network adapter");
    rig_fini(&rig);
}

/* ---- Offloads ---- */

static uint32_t word_at(const uint8_t *data, size_t offset)
{
    uint32_t word;

    memcpy(&word, data + offset, sizeof(word));
    return word;
}

static void test_offload_caps(void)
{
    static const struct {
        const char *name;
        uint32_t version;
        uint8_t in[4];
        uint32_t bytes, udp;
    } rows[] = {
        {"6.1, revision 3", HV_NVSP_VERSION_6_1, {0xa7, 3, 156, 0}, 156, 0x40},
        {"5, nothing asked", HV_NVSP_VERSION_5, {0}, 156, 0x40},
        {"5, revision 1", HV_NVSP_VERSION_5, {0xa7, 1, 112, 0}, 112, 0x40},
        {"4: NDIS 6.1, no UDP", HV_NVSP_VERSION_4, {0xa7, 3, 156, 0}, 144, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        uint8_t data[512] = {0};
        struct netvsp_rig rig;
        uint32_t bytes;

        init(&rig, rows[i].version);
        HV_CHECK_ROW(rows[i].name, rig_query(&rig, HV_OID_OFFLOAD_CAPS, rows[i].in, 4, data,
                                             sizeof(data), &bytes) == 0);
        HV_CHECK_ROW(rows[i].name, bytes == rows[i].bytes && data[0] == 0xa7);
        HV_CHECK_ROW(rows[i].name, (data[2] | data[3] << 8) == (int)bytes);
        HV_CHECK_ROW(rows[i].name,
                     word_at(data, 4) == 2 && word_at(data, 8) == (0x115 | rows[i].udp));
        HV_CHECK_ROW(rows[i].name, word_at(data, 16) == (0x115 | rows[i].udp)); /* receive */
        HV_CHECK_ROW(rows[i].name, word_at(data, 24) == (0x015 | rows[i].udp)); /* IPv6 */
        HV_CHECK_ROW(rows[i].name, word_at(data, 80) == 2 && word_at(data, 84) == 0xf53c &&
                                       word_at(data, 88) == 2);
        HV_CHECK_ROW(rows[i].name, word_at(data, 92) == 2 && word_at(data, 96) == 0xf53c);
        rig_fini(&rig);
    }
}

/** Parameters: what is switched off disappears from the current configuration, which is also indicated. */
static void test_offload_params(void)
{
    struct hv_ndis_offload_params params = {.hdr = {HV_NDIS_OBJECT_OFFLOAD_PARAMS, 3, 26},
                                            .ip4_csum = 1,
                                            .tcp4_csum = 2,
                                            .udp4_csum = 3,
                                            .tcp6_csum = 4,
                                            .lso2_ip4 = 1};
    struct hv_rndis_indicate indicate;
    struct rig_packet packet;
    uint8_t data[512];
    struct netvsp_rig rig;
    uint32_t bytes;

    init(&rig, HV_NVSP_VERSION_6_1);
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_OFFLOAD_PARAMETERS, &params, 28), 0);
    rig_receive(&rig, 0, &packet);
    CU_ASSERT_EQUAL(packet.type, HV_PACKET_TRANSFER_PAGES);
    memcpy(&indicate, rig.loop->memory + rig.section_bytes * packet.id, sizeof(indicate));
    CU_ASSERT_EQUAL(indicate.status, HV_RNDIS_STATUS_OFFLOAD_CONFIG);
    CU_ASSERT_EQUAL(indicate.buffer_bytes, 156);
    CU_ASSERT_EQUAL(indicate.buffer_offset, 12);
    memcpy(data, rig.loop->memory + rig.section_bytes * packet.id + 20, 156);
    CU_ASSERT_EQUAL(word_at(data, 8), 0x015);  /* TCP out; neither IP nor UDP */
    CU_ASSERT_EQUAL(word_at(data, 16), 0x045); /* UDP in */
    CU_ASSERT_EQUAL(word_at(data, 24), 0x055); /* IPv6: TCP as told, UDP as before */
    CU_ASSERT_EQUAL(word_at(data, 84), 0);
    CU_ASSERT_EQUAL(word_at(data, 96), 0xf53c);
    rig_complete(&rig, 0, packet.id);
    CU_ASSERT_EQUAL(rig_query(&rig, HV_OID_OFFLOAD_CONFIG, NULL, 0, data, sizeof(data), &bytes), 0);
    CU_ASSERT_EQUAL(word_at(data, 8), 0x015);
    params.tcp4_csum = 5;
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_OFFLOAD_PARAMETERS, &params, 28),
                    HV_RNDIS_STATUS_INVALID_DATA);
    params.tcp4_csum = 0;
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_OFFLOAD_PARAMETERS, &params, 19),
                    HV_RNDIS_STATUS_INVALID_LENGTH);
    params.hdr.type = 0x81;
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_OFFLOAD_PARAMETERS, &params, 28),
                    HV_RNDIS_STATUS_INVALID_DATA);
    rig_fini(&rig);
}

/* ---- RSS ---- */

struct rss {
    struct hv_ndis_rss_params params;
    uint32_t table[HV_NDIS_RSS_TABLE_MAX];
    uint8_t key[HV_NDIS_RSS_KEY_BYTES];
};

static void make_rss(struct rss *rss, uint32_t entries)
{
    memset(rss, 0, sizeof(*rss));
    rss->params =
        (struct hv_ndis_rss_params){.hdr = {HV_NDIS_OBJECT_RSS_PARAMS, 2, 40},
                                    .hash_info = HV_NDIS_HASH_TOEPLITZ | HV_NDIS_HASH_TCP4,
                                    .table_bytes = (uint16_t)(entries * 4),
                                    .table_offset = 40,
                                    .key_bytes = 40,
                                    .key_offset = 40 + 4 * HV_NDIS_RSS_TABLE_MAX};
    for (uint32_t i = 0; i < HV_NDIS_RSS_TABLE_MAX; i++)
        rss->table[i] = i % 4;
}

static const struct {
    const char *name;
    uint32_t entries, entry0, key_bytes, key_offset, table_offset, hash_info, bytes;
    uint16_t flags;
    uint8_t type;
    uint32_t status;
    bool on;
} rss_settings[] = {
    {"fine", 128, 0, 40, 552, 40, 0x201, 592, 0, 0x89, 0, true},
    {"16 entries", 16, 3, 40, 552, 40, 0x201, 592, 0, 0x89, 0, true},
    {"one entry", 1, 3, 40, 552, 40, 0x201, 592, 0, 0x89, 0, true},
    {"off by flag", 128, 9, 1, 9999, 40, 0x201, 592, 0x10, 0x89, 0, false},
    {"off by function", 128, 0, 40, 552, 40, 0x200, 592, 0, 0x89, 0, false},
    {"table and key unchanged", 128, 9, 1, 9999, 9999, 0x201, 592, 0xc, 0x89, 0, true},
    {"another structure", 128, 0, 40, 552, 40, 0x201, 592, 0, 0x80, HV_RNDIS_STATUS_INVALID_DATA,
     true},
    {"cut", 128, 0, 40, 552, 40, 0x201, 27, 0, 0x89, HV_RNDIS_STATUS_INVALID_LENGTH, true},
    {"no power of two", 100, 0, 40, 552, 40, 0x201, 592, 0, 0x89, HV_RNDIS_STATUS_INVALID_LENGTH,
     true},
    {"empty table", 0, 0, 40, 552, 40, 0x201, 592, 0, 0x89, HV_RNDIS_STATUS_INVALID_LENGTH, true},
    {"256 entries", 256, 0, 40, 552, 40, 0x201, 592, 0, 0x89, HV_RNDIS_STATUS_INVALID_LENGTH, true},
    {"table outside", 128, 0, 40, 552, 81, 0x201, 592, 0, 0x89, HV_RNDIS_STATUS_INVALID_LENGTH,
     true},
    {"table offset wraps", 128, 0, 40, 552, 0xffffff00u, 0x201, 592, 0, 0x89,
     HV_RNDIS_STATUS_INVALID_LENGTH, true},
    {"short key", 128, 0, 39, 552, 40, 0x201, 592, 0, 0x89, HV_RNDIS_STATUS_INVALID_LENGTH, true},
    {"key outside", 128, 0, 40, 553, 40, 0x201, 592, 0, 0x89, HV_RNDIS_STATUS_INVALID_LENGTH, true},
    {"queue that is not there", 128, 4, 40, 552, 40, 0x201, 592, 0, 0x89,
     HV_RNDIS_STATUS_INVALID_DATA, true},
};

static void test_rss_params(void)
{
    struct hv_netvsp_state state;
    struct rig_packet packet;
    struct netvsp_rig rig;
    struct rss rss;

    init(&rig, HV_NVSP_VERSION_6_1);
    rig_nvsp(&rig, HV_NVSP_SUBCHANNEL, 1, 3, 0, &packet);
    for (size_t i = 0; i < HV_TEST_COUNT(rss_settings); i++) {
        make_rss(&rss, 128); /* on, to begin with */
        CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_RSS_PARAMETERS, &rss, sizeof(rss)), 0);
        make_rss(&rss, rss_settings[i].entries);
        rss.params.hdr.type = rss_settings[i].type;
        rss.params.flags = rss_settings[i].flags;
        rss.params.hash_info = rss_settings[i].hash_info;
        rss.params.table_offset = rss_settings[i].table_offset;
        rss.params.key_bytes = (uint16_t)rss_settings[i].key_bytes;
        rss.params.key_offset = rss_settings[i].key_offset;
        rss.table[0] = rss_settings[i].entry0;
        HV_CHECK_ROW(rss_settings[i].name,
                     rig_set(&rig, HV_OID_RSS_PARAMETERS, &rss, rss_settings[i].bytes) ==
                         rss_settings[i].status);
        hv_netvsp_get_state(rig.nic, &state);
        HV_CHECK_ROW(rss_settings[i].name, state.rss == rss_settings[i].on);
    }
    rig_fini(&rig);
}

static void test_rss_needs_5(void)
{
    uint8_t data[32];
    struct netvsp_rig rig;
    uint32_t bytes;

    init(&rig, HV_NVSP_VERSION_4);
    CU_ASSERT_EQUAL(rig_query(&rig, HV_OID_RSS_CAPABILITIES, NULL, 0, data, 32, &bytes),
                    HV_RNDIS_STATUS_NOT_SUPPORTED);
    rig_fini(&rig);
}

/* ---- Addresses ---- */

struct network_address {
    struct hv_ndis_config_parameter head;
    uint16_t name[14];
    uint16_t value[12];
};

static void make_address(struct network_address *a, const char *name, const char *value)
{
    memset(a, 0, sizeof(*a));
    a->head = (struct hv_ndis_config_parameter){
        .name_offset = 20, .name_bytes = 28, .type = 2, .value_offset = 48, .value_bytes = 24};
    for (size_t i = 0; i < 14 && name[i]; i++)
        a->name[i] = (uint16_t)name[i];
    for (size_t i = 0; i < 12 && value[i]; i++)
        a->value[i] = (uint16_t)value[i];
}

static void test_set_mac(void)
{
    static const struct {
        const char *name, *key, *value;
        uint32_t type, value_offset, status;
    } rows[] = {
        {"fine", "NetworkAddress", "02aBcDeF0123", 2, 48, 0},
        {"another parameter", "NetworkAdjunct", "02aBcDeF0123", 2, 48,
         HV_RNDIS_STATUS_NOT_SUPPORTED},
        {"a number", "NetworkAddress", "02aBcDeF0123", 0, 48, HV_RNDIS_STATUS_INVALID_DATA},
        {"no digit", "NetworkAddress", "02aBcDeF012g", 2, 48, HV_RNDIS_STATUS_INVALID_DATA},
        {"a group", "NetworkAddress", "03aBcDeF0123", 2, 48, HV_RNDIS_STATUS_INVALID_DATA},
        {"value outside", "NetworkAddress", "02aBcDeF0123", 2, 49, HV_RNDIS_STATUS_INVALID_DATA},
        {"value wraps", "NetworkAddress", "02aBcDeF0123", 2, 0xfffffff0u,
         HV_RNDIS_STATUS_INVALID_DATA},
    };
    static const uint8_t want[6] = {0x02, 0xab, 0xcd, 0xef, 0x01, 0x23};

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct network_address address;
        struct netvsp_rig rig;
        uint8_t now[6];
        uint32_t bytes;

        init(&rig, HV_NVSP_VERSION_6_1);
        make_address(&address, rows[i].key, rows[i].value);
        address.head.type = rows[i].type;
        address.head.value_offset = rows[i].value_offset;
        HV_CHECK_ROW(rows[i].name, rig_set(&rig, HV_OID_CONFIG_PARAMETER, &address,
                                           sizeof(address)) == rows[i].status);
        HV_CHECK_ROW(rows[i].name,
                     rig_query(&rig, HV_OID_CURRENT_MAC, NULL, 0, now, 6, &bytes) == 0);
        HV_CHECK_ROW(rows[i].name, !memcmp(now, rows[i].status ? mac : want, 6));
        HV_CHECK_ROW(rows[i].name,
                     rig_query(&rig, HV_OID_PERMANENT_MAC, NULL, 0, now, 6, &bytes) == 0);
        HV_CHECK_ROW(rows[i].name, !memcmp(now, mac, 6));
        rig_fini(&rig);
    }
}

static void test_multicast_list(void)
{
    uint8_t list[65 * 6], got[512];
    struct netvsp_rig rig;
    uint32_t bytes;

    init(&rig, HV_NVSP_VERSION_6_1);
    memset(list, 0x33, sizeof(list));
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_MULTICAST_LIST, list, 64 * 6), 0);
    CU_ASSERT_EQUAL(rig_query(&rig, HV_OID_MULTICAST_LIST, NULL, 0, got, sizeof(got), &bytes), 0);
    CU_ASSERT_EQUAL(bytes, 64 * 6);
    CU_ASSERT(!memcmp(list, got, bytes));
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_MULTICAST_LIST, list, 65 * 6),
                    HV_RNDIS_STATUS_MULTICAST_FULL);
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_MULTICAST_LIST, list, 7), HV_RNDIS_STATUS_INVALID_LENGTH);
    list[6] = 0x32; /* nobody's group */
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_MULTICAST_LIST, list, 12), HV_RNDIS_STATUS_INVALID_DATA);
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_MULTICAST_LIST, NULL, 0), 0);
    CU_ASSERT_EQUAL(rig_query(&rig, HV_OID_MULTICAST_LIST, NULL, 0, got, sizeof(got), &bytes), 0);
    CU_ASSERT_EQUAL(bytes, 0);
    CU_ASSERT_EQUAL(rig_set(&rig, HV_OID_PACKET_FILTER, list, 3), HV_RNDIS_STATUS_INVALID_LENGTH);
    rig_fini(&rig);
}

/* ---- Link and VF ---- */

static uint32_t next_indication(struct netvsp_rig *rig)
{
    struct hv_rndis_indicate indicate;
    struct rig_packet packet;

    rig_receive(rig, 0, &packet);
    if (packet.type != HV_PACKET_TRANSFER_PAGES)
        return 0;
    memcpy(&indicate, rig->loop->memory + rig->section_bytes * packet.id, sizeof(indicate));
    rig_complete(rig, 0, packet.id);
    return indicate.hdr.type == HV_RNDIS_INDICATE ? indicate.status : 1;
}

static void test_link(void)
{
    struct netvsp_rig rig;
    uint32_t connect, bytes;

    rig_init(&rig, NULL);
    hv_netvsp_set_link(rig.nic, false); /* before anybody listens */
    rig_ready(&rig, HV_NVSP_VERSION_6_1);
    CU_ASSERT_EQUAL(next_indication(&rig), HV_RNDIS_STATUS_MEDIA_DISCONNECT);
    CU_ASSERT_EQUAL(rig_query(&rig, HV_OID_MEDIA_CONNECT, NULL, 0, &connect, 4, &bytes), 0);
    CU_ASSERT_EQUAL(connect, 1);
    rig_filter(&rig, HV_FILTER_PROMISCUOUS);
    CU_ASSERT_EQUAL(rig_send_frame(&rig, 0, 2, 60), HV_NVSP_STATUS_SUCCESS);
    CU_ASSERT_EQUAL(rig_stats(&rig).dropped_link, 1);
    hv_netvsp_set_link(rig.nic, true);
    CU_ASSERT_EQUAL(next_indication(&rig), HV_RNDIS_STATUS_MEDIA_CONNECT);
    hv_netvsp_set_link(rig.nic, true);
    CU_ASSERT_EQUAL(next_indication(&rig), 0); /* nothing new */
    rig_fini(&rig);
}

static void test_vf(void)
{
    struct rig_packet packet;
    struct netvsp_rig rig;
    struct hv_netvsp_state state;

    rig_init(&rig, NULL);
    hv_netvsp_set_vf(rig.nic, true, 42);
    rig_ready(&rig, HV_NVSP_VERSION_5);
    rig_receive(&rig, 0, &packet);
    CU_ASSERT_EQUAL(packet.type, HV_PACKET_INBAND);
    CU_ASSERT_EQUAL(rig_word(&packet, 0), HV_NVSP_SEND_VF_ASSOCIATION);
    CU_ASSERT_EQUAL(rig_word(&packet, 4), 1);
    CU_ASSERT_EQUAL(rig_word(&packet, 8), 42);
    rig_nvsp(&rig, HV_NVSP_SWITCH_DATA_PATH, 1, 0, 0, &packet);
    CU_ASSERT_EQUAL(packet.type, HV_PACKET_COMPLETION);
    hv_netvsp_get_state(rig.nic, &state);
    CU_ASSERT(state.vf_active);
    hv_netvsp_set_vf(rig.nic, false, 0);
    rig_receive(&rig, 0, &packet);
    CU_ASSERT_EQUAL(rig_word(&packet, 0), HV_NVSP_SEND_VF_ASSOCIATION);
    CU_ASSERT_EQUAL(rig_word(&packet, 4), 0);
    CU_ASSERT_EQUAL(rig_word(&packet, 8), 42);
    hv_netvsp_get_state(rig.nic, &state);
    CU_ASSERT_FALSE(state.vf_active);
    rig_fini(&rig);
}

static void test_no_vf_before_4(void)
{
    struct rig_packet packet;
    struct netvsp_rig rig;

    rig_init(&rig, NULL);
    rig_ready(&rig, HV_NVSP_VERSION_2);
    hv_netvsp_set_vf(rig.nic, true, 42);
    rig_receive(&rig, 0, &packet);
    CU_ASSERT_EQUAL(packet.type, 0);
    rig_fini(&rig);
}

/* ---- Owner ---- */

static void test_options(void)
{
    static const struct {
        const char *name;
        struct hv_netvsp_opts opts;
        const char *why;
    } rows[] = {
        {"link", {.link = "wire"}, "wire"},
        {"no link", {.link = ""}, "link"},
        {"queues", {.link = "loop", .queues = 65}, "64"},
        {"mtu", {.link = "loop", .max_mtu = 1400}, "1500"},
        {"version", {.link = "loop", .max_version = 0x30000}, "6.1"},
        {"section", {.link = "loop", .send_section_bytes = 2050}, "64"},
        {"packets", {.link = "loop", .max_packets_per_message = 33}, "32"},
        {"group address", {.link = "loop", .mac = {1}}, "group"},
        {"fault", {.link = "loop", .fault = "explode@1"}, "explode"},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_netvsp_opts opts = rows[i].opts;
        struct loop *loop = loop_create(4096);
        char why[HV_NETVSP_WHY_BYTES];
        struct hv_netvsp *nic = NULL;

        opts.size = sizeof(opts);
        HV_CHECK_ROW(rows[i].name, hv_netvsp_create(loop_host(loop), &opts, why, &nic) == -EINVAL);
        HV_CHECK_ROW(rows[i].name, strstr(why, rows[i].why) != NULL);
        HV_CHECK_ROW(rows[i].name, nic == NULL);
        loop_destroy(loop);
    }
}

static const struct hv_test_case cases[] = {
    {"known answers", test_known_answers},
    {"supported list", test_supported_list},
    {"offload caps", test_offload_caps},
    {"offload params", test_offload_params},
    {"rss params", test_rss_params},
    {"rss needs 5", test_rss_needs_5},
    {"set mac", test_set_mac},
    {"multicast list", test_multicast_list},
    {"link", test_link},
    {"vf", test_vf},
    {"no vf before 4", test_no_vf_before_4},
    {"options", test_options},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsp.oid", cases, HV_TEST_COUNT(cases), argc, argv);
}
