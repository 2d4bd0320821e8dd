/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a network device: what is said in which order, with hosts of every version, and with hosts that go wrong. */
#include <errno.h>
#include <string.h>

#include <suite.h>

#include "netvsc_nic.h"

#define R(type) (0x10000u | (type))

/* ---- Hosts that are well ---- */

static void test_order(void)
{
    static const uint32_t want[] = {
        HV_NVSP_INIT,
        HV_NVSP_SEND_NDIS_CONFIG,
        HV_NVSP_SEND_NDIS_VERSION,
        HV_NVSP_SEND_RECEIVE_BUFFER,
        HV_NVSP_SEND_SEND_BUFFER,
        R(HV_RNDIS_INITIALIZE),
        HV_OID_PACKET_FILTER,
        HV_OID_MAX_FRAME_SIZE,
        HV_OID_CURRENT_MAC,
        HV_OID_MEDIA_CONNECT,
        HV_OID_LINK_SPEED,
        HV_OID_MULTICAST_MAX,
        HV_OID_RSS_CAPABILITIES,
        HV_OID_OFFLOAD_CAPS,
        HV_OID_OFFLOAD_PARAMETERS,
    };
    static const uint32_t farewell[] = {R(HV_RNDIS_HALT), HV_NVSP_REVOKE_RECEIVE_BUFFER,
                                        HV_NVSP_REVOKE_SEND_BUFFER};
    const struct loop_nic_opts lo = {.rx_queues = 4};
    struct loop_nic_seen *seen;
    struct nic_fixture f;

    nic_start(&f, &lo, NULL);
    CU_ASSERT_EQUAL(f.error, 0);
    seen = loop_nic_seen(f.nic);
    CU_ASSERT_EQUAL(seen->log_count, HV_TEST_COUNT(want));
    CU_ASSERT(!memcmp(seen->log, want, sizeof(want)));
    CU_ASSERT_EQUAL(seen->filter, 0);
    CU_ASSERT_EQUAL(seen->mtu, 1514);
    CU_ASSERT_EQUAL(seen->receive_bytes, 256u << 10);
    CU_ASSERT_EQUAL(seen->capabilities,
                    HV_NVSP_CAP_8021Q | HV_NVSP_CAP_SRIOV | HV_NVSP_CAP_TEAMING);
    seen->log_count = 0;
    hv_netvsc_close(f.netvsc);
    CU_ASSERT_EQUAL(seen->log_count, HV_TEST_COUNT(farewell));
    CU_ASSERT(!memcmp(seen->log, farewell, sizeof(farewell)));
    loop_nic_destroy(f.nic);
}

static void test_versions(void)
{
    static const struct {
        const char *name;
        uint32_t host, guest, want, ndis;
        unsigned tries, config, queues; /* INITs; 125 sent; at most */
        uint32_t udp;                   /* offload possible */
    } rows[] = {
        {"6.1", 0, 0, HV_NVSP_VERSION_6_1, 0x6001e, 1, 1, 4, HV_NETVSC_TX_UDP4},
        {"6", HV_NVSP_VERSION_6, 0, HV_NVSP_VERSION_6, 0x6001e, 2, 1, 4, HV_NETVSC_TX_UDP4},
        {"5", HV_NVSP_VERSION_5, 0, HV_NVSP_VERSION_5, 0x6001e, 3, 1, 4, HV_NETVSC_TX_UDP4},
        {"4", HV_NVSP_VERSION_4, 0, HV_NVSP_VERSION_4, 0x60001, 4, 1, 1, 0},
        {"2", HV_NVSP_VERSION_2, 0, HV_NVSP_VERSION_2, 0x60001, 5, 1, 1, 0},
        {"1", HV_NVSP_VERSION_1, 0, HV_NVSP_VERSION_1, 0x60001, 6, 0, 1, 0},
        {"guest wants 5", 0, HV_NVSP_VERSION_5, HV_NVSP_VERSION_5, 0x6001e, 1, 1, 4,
         HV_NETVSC_TX_UDP4},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        const struct loop_nic_opts lo = {
            .max_version = rows[i].host, .rx_queues = 4, .sub_channels = 3};
        struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;
        unsigned tries = 0, configs = 0;
        struct loop_nic_seen *seen;
        struct hv_netvsc_info info;
        struct nic_fixture f;

        no.max_version = rows[i].guest;
        no.max_queues = 8;
        nic_start(&f, &lo, &no);
        HV_CHECK_ROW(rows[i].name, !f.error);
        if (f.error) {
            nic_stop(&f);
            continue;
        }
        seen = loop_nic_seen(f.nic);
        for (unsigned k = 0; k < seen->log_count; k++) {
            tries += seen->log[k] == HV_NVSP_INIT;
            configs += seen->log[k] == HV_NVSP_SEND_NDIS_CONFIG;
        }
        hv_netvsc_get_info(f.netvsc, &info);
        HV_CHECK_ROW(rows[i].name, info.nvsp_version == rows[i].want);
        HV_CHECK_ROW(rows[i].name, seen->ndis_version == rows[i].ndis);
        HV_CHECK_ROW(rows[i].name, info.ndis_version == rows[i].ndis);
        HV_CHECK_ROW(rows[i].name, tries == rows[i].tries && configs == rows[i].config);
        HV_CHECK_ROW(rows[i].name, info.max_queues == rows[i].queues);
        HV_CHECK_ROW(rows[i].name, (info.offloads_possible & HV_NETVSC_TX_UDP4) == rows[i].udp);
        HV_CHECK_ROW(rows[i].name,
                     !(info.offloads_possible & HV_NETVSC_TX_VLAN) == !rows[i].config);
        HV_CHECK_ROW(rows[i].name, seen->offload_bytes == (rows[i].ndis == 0x60001 ? 22u : 28u));
        nic_stop(&f);
    }
}

/** NVSP 1 and 2 allow 15 MiB, whatever was asked for. */
static void test_receive_buffer_limit(void)
{
    const struct loop_nic_opts lo = {.max_version = HV_NVSP_VERSION_2};
    struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;
    struct nic_fixture f;

    no.receive_bytes = 31u << 20;
    nic_start(&f, &lo, &no);
    CU_ASSERT_EQUAL(f.error, 0);
    CU_ASSERT_EQUAL(loop_nic_seen(f.nic)->receive_bytes, 15u << 20);
    nic_stop(&f);
}

static void test_info(void)
{
    static const uint8_t mac[6] = {0x00, 0x15, 0x5d, 0x01, 0x02, 0x03};
    const struct loop_nic_opts lo = {.rx_queues = 4, .table_entries = 64, .max_packets = 5};
    struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;
    struct hv_netvsc_info info;
    struct nic_fixture f;

    no.max_queues = 3;
    no.mtu = 9000;
    nic_start(&f, &lo, &no);
    CU_ASSERT_EQUAL(f.error, 0);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT(!memcmp(info.mac, mac, 6));
    CU_ASSERT(info.link_up && !info.vf_present);
    CU_ASSERT_EQUAL(info.link_bits_per_second, 10000000000u);
    CU_ASSERT(info.mtu == 9000 && info.max_mtu == 9202);
    CU_ASSERT(info.max_queues == 3 && info.rss_table_entries == 64);
    CU_ASSERT_EQUAL(info.rss_hash_types,
                    HV_NDIS_HASH_IPV4 | HV_NDIS_HASH_TCP4 | HV_NDIS_HASH_IPV6 | HV_NDIS_HASH_TCP6);
    CU_ASSERT_EQUAL(info.tso_max_bytes, 0x8000); /* the smaller of both */
    CU_ASSERT(info.receive_sections == 128 && info.receive_section_bytes == 2048);
    CU_ASSERT(info.send_sections == 42 && info.send_section_bytes == 6144);
    CU_ASSERT(info.max_packets_per_message == 5 && info.packet_align_bytes == 8);
    CU_ASSERT_EQUAL(info.offloads, info.offloads_possible);
    CU_ASSERT_EQUAL(info.offloads_possible, 0x7ff);
    CU_ASSERT_EQUAL(hv_netvsc_queue_count(f.netvsc), 1);
    CU_ASSERT_PTR_NOT_NULL(hv_netvsc_get_queue(f.netvsc, 0));
    CU_ASSERT_PTR_NULL(hv_netvsc_get_queue(f.netvsc, 1));
    nic_stop(&f);
}

/** A host that grants less than was configured. */
static void test_mtu_granted(void)
{
    const struct loop_nic_opts lo = {.max_mtu = 4000};
    struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;
    struct hv_netvsc_info info;
    struct nic_fixture f;

    no.mtu = 9000;
    nic_start(&f, &lo, &no);
    CU_ASSERT_EQUAL(f.error, 0);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.mtu, 1500);
    nic_stop(&f);
}

static void test_options(void)
{
    static const struct {
        const char *name;
        struct hv_netvsc_opts opts;
    } rows[] = {
        {"size", {.size = 1}},
        {"version", {.size = sizeof(struct hv_netvsc_opts), .max_version = 1}},
        {"MTU too small", {.size = sizeof(struct hv_netvsc_opts), .mtu = 67}},
        {"MTU too large", {.size = sizeof(struct hv_netvsc_opts), .mtu = 9203}},
        {"queues", {.size = sizeof(struct hv_netvsc_opts), .max_queues = 65}},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct nic_fixture f;

        nic_start(&f, NULL, &rows[i].opts);
        HV_CHECK_ROW(rows[i].name, f.error == -EINVAL && !f.netvsc);
        HV_CHECK_ROW(rows[i].name, loop_nic_seen(f.nic)->log_count == 0);
        nic_stop(&f);
    }
}

/* ---- Hosts that are not ---- */

/** Something else at one step; `step` as in the log. */
struct odd {
    uint32_t step;
    enum {
        SILENT,
        REFUSE,   /* NVSP status, RNDIS status */
        WRONG,    /* another type of answer */
        SHORT,    /* cut off */
        GEOMETRY, /* `words` instead of the body behind the type */
        LATE_ID,  /* an answer to another request first: must not be taken */
        TWICE,    /* the answer comes twice */
        CHATTER,  /* notifications come first */
        RESCIND,
        EMPTY, /* a query answered without data */
    } how;
    uint32_t words[6];
    unsigned word_count;
};

static uint32_t step_of(const struct loop_nic_message *m)
{
    if (!m->rndis_bytes)
        return m->nvsp.type;
    if (m->rndis.hdr.type == HV_RNDIS_QUERY || m->rndis.hdr.type == HV_RNDIS_SET)
        return m->rndis.request.oid;
    return R(m->rndis.hdr.type);
}

/** Type that answers. */
static uint32_t answer_type(uint32_t nvsp)
{
    return nvsp == HV_NVSP_SUBCHANNEL ? nvsp : nvsp + 1;
}

static void nvsp_words(struct loop_nic *nic, const struct loop_nic_message *m, uint32_t type,
                       const uint32_t *words, unsigned count, uint32_t bytes)
{
    uint32_t message[10] = {type};

    memcpy(message + 1, words, count * sizeof(*words));
    (void)loop_nic_complete(nic, 0, m->id, message, bytes);
}

static void refuse(struct loop_nic *nic, const struct loop_nic_message *m)
{
    static const uint32_t failure[4] = {HV_NVSP_STATUS_FAILURE, 0, HV_NVSP_STATUS_FAILURE, 0};
    struct hv_rndis_initialize_complete reply = {
        .hdr = {HV_RNDIS_INITIALIZE | HV_RNDIS_COMPLETE, sizeof(reply)},
        .status = HV_RNDIS_STATUS_FAILURE,
    };

    if (!m->rndis_bytes) {
        nvsp_words(nic, m, answer_type(m->nvsp.type), failure, 4, 28);
    } else if (m->rndis.hdr.type == HV_RNDIS_INITIALIZE) {
        reply.request_id = m->rndis.bare.request_id;
        (void)loop_nic_control(nic, &reply, sizeof(reply), 0);
    } else if (m->rndis.hdr.type == HV_RNDIS_QUERY) {
        (void)loop_nic_reply_query(nic, m->rndis.request.request_id, HV_RNDIS_STATUS_FAILURE, NULL,
                                   0);
    } else {
        (void)loop_nic_reply_set(nic, m->rndis.hdr.type, m->rndis.bare.request_id,
                                 HV_RNDIS_STATUS_FAILURE);
    }
}

static void cut_off(struct loop_nic *nic, const struct loop_nic_message *m)
{
    static const uint32_t success[4] = {HV_NVSP_STATUS_SUCCESS};
    const struct hv_rndis_bare bare = {
        .hdr = {m->rndis.hdr.type | HV_RNDIS_COMPLETE, sizeof(bare)},
        .request_id = m->rndis.bare.request_id,
    };

    if (m->rndis_bytes)
        (void)loop_nic_control(nic, &bare, sizeof(bare), 0);
    else
        nvsp_words(nic, m, answer_type(m->nvsp.type), success, 1, 8);
}

static void chatter(struct loop_nic *nic)
{
    const struct hv_nvsp_message vf = {.type = HV_NVSP_SEND_VF_ASSOCIATION,
                                       .vf_association = {1, 7}};
    const struct hv_nvsp_indirection_message table = {
        .type = HV_NVSP_SEND_INDIRECTION_TABLE,
        .indirection = {.count = 16, .offset = 12},
    };

    (void)loop_nic_inband(nic, &table, sizeof(table));
    (void)loop_nic_inband(nic, &vf, sizeof(vf));
    (void)loop_nic_indicate(nic, HV_RNDIS_STATUS_MEDIA_DISCONNECT, NULL, 0);
}

static void wrong_id(struct loop_nic *nic, const struct loop_nic_message *m)
{
    struct loop_nic_message other = *m;

    if (m->rndis_bytes) {
        other.rndis.bare.request_id += 1000;
        loop_nic_answer(nic, &other);
        other.rndis.bare.request_id = 0;
        loop_nic_answer(nic, &other);
    } else {
        const struct hv_nvsp_message nonsense = {.type = 999};

        (void)loop_nic_complete(nic, 0, m->id ^ 0x10000, &nonsense, sizeof(nonsense));
        (void)loop_nic_complete(nic, 0, 0, &nonsense, sizeof(nonsense));
        (void)loop_nic_complete(nic, 0, UINT64_MAX, &nonsense, sizeof(nonsense));
    }
}

static bool odd_hook(void *arg, struct loop_nic *nic, const struct loop_nic_message *m)
{
    const struct odd *odd = arg;

    if (odd->step != step_of(m))
        return false;
    switch (odd->how) {
    case SILENT:
        return true;
    case REFUSE:
        refuse(nic, m);
        return true;
    case WRONG:
        nvsp_words(nic, m, 999, odd->words, 0, 28);
        return true;
    case SHORT:
        cut_off(nic, m);
        return true;
    case GEOMETRY:
        nvsp_words(nic, m, answer_type(m->nvsp.type), odd->words, odd->word_count,
                   4 + 4 * odd->word_count);
        return true;
    case LATE_ID:
        wrong_id(nic, m);
        return false;
    case TWICE:
        loop_nic_answer(nic, m);
        return false;
    case CHATTER:
        chatter(nic);
        return false;
    case RESCIND:
        loop_nic_break(nic, 0, -ENODEV);
        return true;
    case EMPTY:
        (void)loop_nic_reply_query(nic, m->rndis.request.request_id, 0, NULL, 0);
        return true;
    }
    return false;
}

static void check_odd(const char *name, struct odd odd, int want)
{
    const struct loop_nic_opts lo = {.hook = odd_hook, .arg = &odd, .rx_queues = 4};
    struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;
    struct nic_fixture f;

    no.timeout_ms = odd.how == SILENT ? NIC_TIMEOUT_MS : 5000;
    nic_start(&f, &lo, &no);
    if (f.error != want)
        fprintf(stderr, "%s: %d\n", name, f.error);
    HV_CHECK_ROW(name, f.error == want);
    nic_stop(&f); /* aborts when anything is left behind */
}

static void test_nvsp_goes_wrong(void)
{
    static const struct {
        const char *name;
        struct odd odd;
        int want;
    } rows[] = {
        {"INIT silent", {HV_NVSP_INIT, SILENT, {0}, 0}, -ETIMEDOUT},
        {"INIT refused", {HV_NVSP_INIT, REFUSE, {0}, 0}, -EPROTONOSUPPORT},
        {"INIT answered by nonsense", {HV_NVSP_INIT, WRONG, {0}, 0}, -EPROTO},
        {"INIT answered shortly", {HV_NVSP_INIT, SHORT, {0}, 0}, -EPROTO},
        {"rescinded at INIT", {HV_NVSP_INIT, RESCIND, {0}, 0}, -ENODEV},
        {"receive buffer silent", {HV_NVSP_SEND_RECEIVE_BUFFER, SILENT, {0}, 0}, -ETIMEDOUT},
        {"receive buffer refused", {HV_NVSP_SEND_RECEIVE_BUFFER, REFUSE, {0}, 0}, -EIO},
        {"receive buffer nonsense", {HV_NVSP_SEND_RECEIVE_BUFFER, WRONG, {0}, 0}, -EPROTO},
        {"receive buffer shortly", {HV_NVSP_SEND_RECEIVE_BUFFER, SHORT, {0}, 0}, -EPROTO},
        {"send buffer silent", {HV_NVSP_SEND_SEND_BUFFER, SILENT, {0}, 0}, -ETIMEDOUT},
        {"send buffer refused", {HV_NVSP_SEND_SEND_BUFFER, REFUSE, {0}, 0}, -EIO},
        {"send buffer nonsense", {HV_NVSP_SEND_SEND_BUFFER, WRONG, {0}, 0}, -EPROTO},
        {"rescinded at send buffer", {HV_NVSP_SEND_SEND_BUFFER, RESCIND, {0}, 0}, -ENODEV},
        {"wrong id before INIT", {HV_NVSP_INIT, LATE_ID, {0}, 0}, 0},
        {"wrong id before 102", {HV_NVSP_SEND_RECEIVE_BUFFER, LATE_ID, {0}, 0}, 0},
        {"INIT answered twice", {HV_NVSP_INIT, TWICE, {0}, 0}, 0},
        {"105 comes twice", {HV_NVSP_SEND_SEND_BUFFER, TWICE, {0}, 0}, 0},
        {"134 and 128 before 105", {HV_NVSP_SEND_SEND_BUFFER, CHATTER, {0}, 0}, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++)
        check_odd(rows[i].name, rows[i].odd, rows[i].want);
}

/** Receive buffer of 256 KiB: status, sections, {offset, bytes, count, end}; send buffer: status, bytes. */
static void test_geometry(void)
{
    enum { RX = HV_NVSP_SEND_RECEIVE_BUFFER, TX = HV_NVSP_SEND_SEND_BUFFER };
    static const struct {
        const char *name;
        struct odd odd;
        int want;
    } rows[] = {
        {"no section", {RX, GEOMETRY, {1, 0, 0, 2048, 128, 0x40000}, 6}, -EPROTO},
        {"two sections", {RX, GEOMETRY, {1, 2, 0, 2048, 128, 0x40000}, 6}, -EPROTO},
        {"not from the start", {RX, GEOMETRY, {1, 1, 8, 2048, 64, 0x20000}, 6}, -EPROTO},
        {"too small", {RX, GEOMETRY, {1, 1, 0, 67, 128, 0}, 6}, -EPROTO},
        {"none", {RX, GEOMETRY, {1, 1, 0, 2048, 0, 0}, 6}, -EPROTO},
        {"one too many", {RX, GEOMETRY, {1, 1, 0, 2048, 129, 0}, 6}, -EPROTO},
        {"product wraps", {RX, GEOMETRY, {1, 1, 0, 0x10000, 0x10000, 0}, 6}, -EPROTO},
        {"huge", {RX, GEOMETRY, {1, 1, 0, UINT32_MAX, UINT32_MAX, 0}, 6}, -EPROTO},
        {"send sections", {TX, GEOMETRY, {1, 6144}, 2}, 0},
        {"send sections of nothing: by page", {TX, GEOMETRY, {1, 0}, 2}, 0},
        {"one send section", {TX, GEOMETRY, {1, 256u << 10}, 2}, 0},
        {"send sections too small", {TX, GEOMETRY, {1, 64}, 2}, -EPROTO},
        {"send sections not aligned", {TX, GEOMETRY, {1, 6146}, 2}, -EPROTO},
        {"send section beyond the buffer", {TX, GEOMETRY, {1, (256u << 10) + 4}, 2}, -EPROTO},
        {"send section huge", {TX, GEOMETRY, {1, UINT32_MAX - 3}, 2}, -EPROTO},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++)
        check_odd(rows[i].name, rows[i].odd, rows[i].want);
}

static void test_rndis_goes_wrong(void)
{
    static const struct {
        const char *name;
        struct odd odd;
        int want;
    } rows[] = {
        {"INITIALIZE silent", {R(HV_RNDIS_INITIALIZE), SILENT, {0}, 0}, -ETIMEDOUT},
        {"INITIALIZE refused", {R(HV_RNDIS_INITIALIZE), REFUSE, {0}, 0}, -EIO},
        {"INITIALIZE shortly", {R(HV_RNDIS_INITIALIZE), SHORT, {0}, 0}, -EPROTO},
        {"INITIALIZE, rescind", {R(HV_RNDIS_INITIALIZE), RESCIND, {0}, 0}, -ENODEV},
        {"INITIALIZE, another's answer", {R(HV_RNDIS_INITIALIZE), LATE_ID, {0}, 0}, 0},
        {"INITIALIZE answered twice", {R(HV_RNDIS_INITIALIZE), TWICE, {0}, 0}, 0},
        {"filter silent", {HV_OID_PACKET_FILTER, SILENT, {0}, 0}, -ETIMEDOUT},
        {"filter refused", {HV_OID_PACKET_FILTER, REFUSE, {0}, 0}, -EIO},
        {"filter shortly", {HV_OID_PACKET_FILTER, SHORT, {0}, 0}, -EPROTO},
        {"MTU silent", {HV_OID_MAX_FRAME_SIZE, SILENT, {0}, 0}, -ETIMEDOUT},
        {"MTU not told", {HV_OID_MAX_FRAME_SIZE, REFUSE, {0}, 0}, 0},
        {"MTU shortly", {HV_OID_MAX_FRAME_SIZE, SHORT, {0}, 0}, -EPROTO},
        {"MTU without a number", {HV_OID_MAX_FRAME_SIZE, EMPTY, {0}, 0}, -EPROTO},
        {"MTU, another's answer", {HV_OID_MAX_FRAME_SIZE, LATE_ID, {0}, 0}, 0},
        {"MAC not current: permanent", {HV_OID_CURRENT_MAC, REFUSE, {0}, 0}, 0},
        {"MAC empty", {HV_OID_CURRENT_MAC, EMPTY, {0}, 0}, -EPROTO},
        {"link not told", {HV_OID_MEDIA_CONNECT, REFUSE, {0}, 0}, 0},
        {"speed not told", {HV_OID_LINK_SPEED, REFUSE, {0}, 0}, 0},
        {"speed told twice", {HV_OID_LINK_SPEED, TWICE, {0}, 0}, 0},
        {"chatter before speed", {HV_OID_LINK_SPEED, CHATTER, {0}, 0}, 0},
        {"RSS not there", {HV_OID_RSS_CAPABILITIES, REFUSE, {0}, 0}, 0},
        {"RSS empty", {HV_OID_RSS_CAPABILITIES, EMPTY, {0}, 0}, -EPROTO},
        {"offloads not there", {HV_OID_OFFLOAD_CAPS, REFUSE, {0}, 0}, 0},
        {"offloads empty", {HV_OID_OFFLOAD_CAPS, EMPTY, {0}, 0}, -EPROTO},
        {"offloads refused", {HV_OID_OFFLOAD_PARAMETERS, REFUSE, {0}, 0}, 0},
        {"offloads silent", {HV_OID_OFFLOAD_PARAMETERS, SILENT, {0}, 0}, -ETIMEDOUT},
        {"offloads, rescind", {HV_OID_OFFLOAD_PARAMETERS, RESCIND, {0}, 0}, -ENODEV},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++)
        check_odd(rows[i].name, rows[i].odd, rows[i].want);
}

/** INITIALIZE answers with limits of all kinds. */
struct limits {
    uint32_t packets, bytes, align_log2;
};

static bool limits_hook(void *arg, struct loop_nic *nic, const struct loop_nic_message *m)
{
    const struct limits *limits = arg;
    struct hv_rndis_initialize_complete reply = {
        .hdr = {HV_RNDIS_INITIALIZE | HV_RNDIS_COMPLETE, HV_RNDIS_INITIALIZE_COMPLETE_MIN_BYTES},
        .request_id = m->rndis.bare.request_id,
        .major = 1,
        .max_packets_per_message = limits->packets,
        .max_xfer_bytes = limits->bytes,
        .packet_align_log2 = limits->align_log2,
    };

    if (step_of(m) != R(HV_RNDIS_INITIALIZE))
        return false;
    /* 48 bytes, as old hosts send */
    return loop_nic_control(nic, &reply, HV_RNDIS_INITIALIZE_COMPLETE_MIN_BYTES, 0);
}

static void test_limits(void)
{
    static const struct {
        const char *name;
        struct limits limits;
        int want;
        uint32_t packets, align;
    } rows[] = {
        {"usual", {8, 0xefffffff, 3}, 0, 8, 8},
        {"no packets is one", {0, 0x4000, 0}, 0, 1, 1},
        {"more than is of use", {1000000, 0x4000, 7}, 0, 64, 128},
        {"alignment too large", {8, 0x4000, 8}, -EPROTO, 0, 0},
        {"alignment far too large", {8, 0x4000, 0xffffffff}, -EPROTO, 0, 0},
        {"no bytes", {8, 0, 3}, -EPROTO, 0, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct limits limits = rows[i].limits;
        const struct loop_nic_opts lo = {.hook = limits_hook, .arg = &limits};
        struct hv_netvsc_info info = {0};
        struct nic_fixture f;

        nic_start(&f, &lo, NULL);
        HV_CHECK_ROW(rows[i].name, f.error == rows[i].want);
        if (!f.error)
            hv_netvsc_get_info(f.netvsc, &info);
        HV_CHECK_ROW(rows[i].name, info.max_packets_per_message == rows[i].packets &&
                                       info.packet_align_bytes == rows[i].align);
        nic_stop(&f);
    }
}

static const struct hv_test_case cases[] = {
    {"order of messages", test_order},
    {"every version", test_versions},
    {"receive buffer of old versions", test_receive_buffer_limit},
    {"info", test_info},
    {"host grants a smaller MTU", test_mtu_granted},
    {"options", test_options},
    {"NVSP goes wrong", test_nvsp_goes_wrong},
    {"geometry of the buffers", test_geometry},
    {"RNDIS goes wrong", test_rndis_goes_wrong},
    {"limits of INITIALIZE", test_limits},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.open", cases, HV_TEST_COUNT(cases), argc, argv);
}
