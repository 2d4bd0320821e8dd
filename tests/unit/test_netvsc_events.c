/* SPDX-License-Identifier: BSD-3-Clause */
/* What a network device tells: link, VF, send table, the end; and answers that never come. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include <suite.h>

#include "netvsc_nic.h"

static const uint8_t some_mac[6] = {0x02, 0xab, 0x0c, 0xd0, 0x01, 0xff};

static void wait_ready(const struct nic_fixture *f)
{
    struct pollfd pfd = {.fd = hv_netvsc_fd(f->netvsc), .events = POLLIN};

    CU_ASSERT_EQUAL(poll(&pfd, 1, 5000), 1);
}

/** Poll until so many events of the kind were told; the wait descriptor says when. */
static void poll_until(struct nic_fixture *f, enum hv_netvsc_event event, unsigned count)
{
    for (unsigned i = 0; i < 1000000 && f->events[event] < count; i++) {
        wait_ready(f);
        if (hv_netvsc_poll_control(f->netvsc))
            break;
    }
    CU_ASSERT_EQUAL(f->events[event], count);
}

static void test_link(void)
{
    static const uint32_t speed = 250000000;
    struct hv_netvsc_info info;
    struct nic_fixture f;

    nic_begin(&f, NULL, 1);
    CU_ASSERT(loop_nic_indicate(f.nic, HV_RNDIS_STATUS_MEDIA_DISCONNECT, NULL, 0));
    CU_ASSERT(nic_is_ready(&f));
    CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), 0);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_LINK_DOWN], 1); /* at once */
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT(!info.link_up);
    /* a link that flaps within the time is told once, as it is at the end */
    for (unsigned i = 0; i < 5; i++) {
        CU_ASSERT(loop_nic_indicate(f.nic, HV_RNDIS_STATUS_MEDIA_CONNECT, NULL, 0));
        CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), 0);
        if (i == 4)
            break;
        CU_ASSERT(loop_nic_indicate(f.nic, HV_RNDIS_STATUS_MEDIA_DISCONNECT, NULL, 0));
        CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), 0);
    }
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT(info.link_up);
    poll_until(&f, HV_NETVSC_LINK_UP, 1);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_LINK_DOWN], 1);
    /* another network behind the same link: addresses must be asked for anew */
    CU_ASSERT(loop_nic_indicate(f.nic, HV_RNDIS_STATUS_NETWORK_CHANGE, NULL, 0));
    poll_until(&f, HV_NETVSC_LINK_UP, 2);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_LINK_DOWN], 2);
    CU_ASSERT_EQUAL(f.order[f.event_count - 1], HV_NETVSC_LINK_UP);
    CU_ASSERT(loop_nic_indicate(f.nic, HV_RNDIS_STATUS_LINK_SPEED, &speed, sizeof(speed)));
    CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), 0);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.link_bits_per_second, 25000000000u);
    nic_stop(&f);
}

/** Old hosts leave the status buffer out of the message's length. */
static void test_speed_beyond_message(void)
{
    struct {
        struct hv_rndis_indicate indicate;
        uint32_t speed;
    } m = {
        .indicate = {.hdr = {HV_RNDIS_INDICATE, sizeof(m.indicate)},
                     .status = HV_RNDIS_STATUS_LINK_SPEED,
                     .buffer_bytes = 4,
                     .buffer_offset = 12},
        .speed = 10000000,
    };
    struct hv_netvsc_info info;
    struct nic_fixture f;

    nic_begin(&f, NULL, 1);
    CU_ASSERT(loop_nic_control(f.nic, &m, sizeof(m), sizeof(m)));
    CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), 0);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.link_bits_per_second, 1000000000u);
    m.speed = 1;
    CU_ASSERT(loop_nic_control(f.nic, &m, sizeof(m), sizeof(m) - 1)); /* not within the range */
    m.indicate.buffer_offset = UINT32_MAX - 2;
    CU_ASSERT(loop_nic_control(f.nic, &m, sizeof(m), sizeof(m)));
    CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), 0);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT_EQUAL(info.link_bits_per_second, 1000000000u);
    nic_stop(&f);
}

static void send_vf(const struct nic_fixture *f, uint32_t present, uint32_t serial)
{
    const struct hv_nvsp_message m = {.type = HV_NVSP_SEND_VF_ASSOCIATION,
                                      .vf_association = {present, serial}};

    CU_ASSERT(loop_nic_inband(f->nic, &m, sizeof(m)));
    CU_ASSERT_EQUAL(hv_netvsc_poll_control(f->netvsc), 0);
}

static void test_vf(void)
{
    struct hv_netvsc_info info;
    struct nic_fixture f;

    nic_begin(&f, NULL, 1);
    send_vf(&f, 1, 42);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT(info.vf_present && info.vf_serial == 42);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_VF_ADDED], 1);
    CU_ASSERT_EQUAL(loop_nic_seen(f.nic)->data_paths, 1); /* the traffic stays here */
    send_vf(&f, 1, 42);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_VF_ADDED], 1);
    send_vf(&f, 1, 43);
    CU_ASSERT(f.events[HV_NETVSC_VF_REMOVED] == 1 && f.events[HV_NETVSC_VF_ADDED] == 2);
    send_vf(&f, 0, 43);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_VF_REMOVED], 2);
    hv_netvsc_get_info(f.netvsc, &info);
    CU_ASSERT(!info.vf_present);
    nic_stop(&f);
}

/** Message 134, with the offsets of good hosts and of those that compute it wrongly. */
static void test_table(void)
{
    static const struct {
        const char *name;
        uint32_t version, count, offset, at, bytes; /* at: where the table lies */
        uint32_t entry;
        bool taken;
    } rows[] = {
        {"usual", 0, 16, 12, 12, 76, 2, true},
        {"behind 40 bytes", 0, 16, 40, 40, 104, 2, true},
        {"wrong offset, 6", HV_NVSP_VERSION_6, 16, 0x1000, 40, 104, 2, true},
        {"wrong offset, 5", HV_NVSP_VERSION_5, 16, UINT32_MAX, 40, 104, 2, true},
        {"wrong offset, 6.1", 0, 16, 0x1000, 40, 104, 2, false},
        {"wrong offset, no room behind 40", HV_NVSP_VERSION_6, 16, 0x1000, 12, 76, 2, false},
        {"too many", 0, 17, 12, 12, 80, 2, false},
        {"too few", 0, 15, 12, 12, 72, 2, false},
        {"count wraps", 0, 0x40000010, 12, 12, 76, 2, false},
        {"offset wraps", 0, 16, UINT32_MAX - 3, 12, 76, 2, false},
        {"cut off", 0, 16, 12, 12, 72, 2, false},
        {"no such channel", 0, 16, 12, 12, 76, 64, false},
        {"no such channel at all", 0, 16, 12, 12, 76, UINT32_MAX, false},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        const struct loop_nic_opts lo = {.max_version = rows[i].version};
        uint32_t words[26] = {HV_NVSP_SEND_INDIRECTION_TABLE, rows[i].count, rows[i].offset};
        struct hv_netvsc_info info;
        struct nic_fixture f;

        nic_begin(&f, &lo, 1);
        for (unsigned k = rows[i].at / 4; k < 26; k++)
            words[k] = 1;
        words[rows[i].at / 4] = rows[i].entry;
        CU_ASSERT(loop_nic_inband(f.nic, words, rows[i].bytes));
        HV_CHECK_ROW(rows[i].name, hv_netvsc_poll_control(f.netvsc) == 0);
        hv_netvsc_get_info(f.netvsc, &info);
        HV_CHECK_ROW(rows[i].name, info.send_table[0] == (rows[i].taken ? rows[i].entry : 0));
        HV_CHECK_ROW(rows[i].name, info.send_table[15] == rows[i].taken);
        nic_stop(&f);
    }
}

/** A setting from the callback, and events that arrive during a setting. */
static void set_from_event(struct nic_fixture *f, enum hv_netvsc_event event)
{
    if (event == HV_NETVSC_LINK_DOWN)
        CU_ASSERT_EQUAL(hv_netvsc_set_filter(f->netvsc, HV_FILTER_BROADCAST), 0);
}

static void test_setting_in_event(void)
{
    struct nic_fixture f;
    uint16_t queues;

    nic_begin(&f, NULL, 1);
    f.on_event = set_from_event;
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), 0);
    CU_ASSERT(loop_nic_indicate(f.nic, HV_RNDIS_STATUS_MEDIA_DISCONNECT, NULL, 0));
    CU_ASSERT_EQUAL(hv_netvsc_keepalive(f.netvsc), 0);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_LINK_DOWN], 1);
    CU_ASSERT_EQUAL(loop_nic_seen(f.nic)->filter, HV_FILTER_BROADCAST);
    nic_stop(&f);
}

/* ---- The end ---- */

static bool silent_keepalive(void *arg, struct loop_nic *nic, const struct loop_nic_message *m)
{
    unsigned *how = arg;

    if (!m->rndis_bytes || m->rndis.hdr.type != HV_RNDIS_KEEPALIVE)
        return false;
    if (*how == 1)
        loop_nic_break(nic, 0, -ENODEV);
    return *how < 2;
}

static void test_keepalive(void)
{
    unsigned how = 2;
    const struct loop_nic_opts lo = {.hook = silent_keepalive, .arg = &how};
    struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;
    struct nic_fixture f;

    no.timeout_ms = NIC_TIMEOUT_MS;
    nic_start(&f, &lo, &no);
    CU_ASSERT_EQUAL(f.error, 0);
    CU_ASSERT_EQUAL(hv_netvsc_keepalive(f.netvsc), 0);
    how = 0;
    CU_ASSERT_EQUAL(hv_netvsc_keepalive(f.netvsc), -ETIMEDOUT);
    /* the answer that comes too late is nobody's */
    CU_ASSERT(loop_nic_reply_set(f.nic, HV_RNDIS_KEEPALIVE, 9, 0));
    how = 2;
    CU_ASSERT_EQUAL(hv_netvsc_keepalive(f.netvsc), 0);
    how = 1;
    CU_ASSERT_EQUAL(hv_netvsc_keepalive(f.netvsc), -ENODEV);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_DEAD], 1);
    nic_stop(&f);
}

static void test_dead(void)
{
    static const int errors[] = {-ENODEV, -EPROTO};

    for (size_t i = 0; i < HV_TEST_COUNT(errors); i++) {
        struct nic_fixture f;
        uint16_t queues;

        nic_begin(&f, NULL, 1);
        if (i)
            CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), 0);
        loop_nic_break(f.nic, 0, errors[i]);
        CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), errors[i]);
        CU_ASSERT_EQUAL(hv_netvsc_poll_control(f.netvsc), errors[i]);
        CU_ASSERT_EQUAL(f.events[HV_NETVSC_DEAD], 1);
        CU_ASSERT_EQUAL(hv_netvsc_set_mac(f.netvsc, some_mac), errors[i]);
        CU_ASSERT_EQUAL(hv_netvsc_set_offloads(f.netvsc, 0), errors[i]);
        CU_ASSERT_EQUAL(hv_netvsc_set_rss(f.netvsc, 0, NULL, NULL), errors[i]);
        CU_ASSERT_EQUAL(hv_netvsc_set_filter(f.netvsc, 1), errors[i]);
        CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), errors[i]);
        CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), errors[i]);
        nic_stop(&f);
    }
}

/** The host never lets go of what it was sent. */
static bool keep_filter(void *arg, struct loop_nic *nic, const struct loop_nic_message *m)
{
    const bool *keep = arg;

    (void)nic;
    return *keep && m->rndis_bytes && m->rndis.hdr.type == HV_RNDIS_SET;
}

static void test_stop_unanswered(void)
{
    bool keep = false;
    const struct loop_nic_opts lo = {.hook = keep_filter, .arg = &keep};
    struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;
    struct nic_fixture f;
    uint16_t queues;

    no.timeout_ms = NIC_TIMEOUT_MS;
    nic_start(&f, &lo, &no);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), 0);
    keep = true;
    CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), -ETIMEDOUT);
    CU_ASSERT_EQUAL(hv_netvsc_status(f.netvsc), -EPROTO);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_DEAD], 1);
    nic_stop(&f);
}

/** A host that does not want the filter to be taken away: stopped all the same. */
static bool refuse_filter(void *arg, struct loop_nic *nic, const struct loop_nic_message *m)
{
    const bool *refuse = arg;

    if (!*refuse || m->rndis_bytes < sizeof(m->rndis.request) || m->rndis.hdr.type != HV_RNDIS_SET)
        return false;
    return loop_nic_reply_set(nic, HV_RNDIS_SET, m->rndis.request.request_id,
                              HV_RNDIS_STATUS_FAILURE);
}

static void test_stop_refused(void)
{
    bool refuse = false;
    const struct loop_nic_opts lo = {.hook = refuse_filter, .arg = &refuse};
    struct nic_fixture f;
    uint16_t queues;

    nic_begin(&f, &lo, 1);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), 0);
    refuse = true;
    CU_ASSERT_EQUAL(hv_netvsc_stop(f.netvsc), 0);
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), -EIO);
    refuse = false;
    CU_ASSERT_EQUAL(hv_netvsc_start(f.netvsc, 1, &queues), 0);
    CU_ASSERT_EQUAL(f.events[HV_NETVSC_DEAD], 0);
    nic_stop(&f);
}

static const struct hv_test_case cases[] = {
    {"link", test_link},
    {"speed beyond the message", test_speed_beyond_message},
    {"VF", test_vf},
    {"send table", test_table},
    {"a setting from the callback", test_setting_in_event},
    {"keepalive", test_keepalive},
    {"dead", test_dead},
    {"stop that is not answered", test_stop_unanswered},
    {"stop that is refused", test_stop_refused},
};

int main(int argc, char **argv)
{
    return hv_test_main("netvsc.events", cases, HV_TEST_COUNT(cases), argc, argv);
}
