/* SPDX-License-Identifier: BSD-3-Clause */
/* What answers what, and when: GPADLs, opens, closes, rescinds, resets; in raw frames, so that the order is the test's. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "suite.h"
#include "test_bus_raw.h"

static uint32_t relid_of(const struct raw *raw)
{
    return raw->offers[0].message.relid;
}

static const struct hv_msg_offer *offer_of(const struct raw *raw, unsigned i)
{
    return &raw->offers[i].message;
}

/* ---- Contact ---- */

static void test_contact_states(void)
{
    struct hv_msg_initiate_contact contact = {.hdr.type = HV_MSG_INITIATE_CONTACT,
                                              .version = HV_VERSION_5_3,
                                              .interrupt_page = HV_SINT_VMBUS,
                                              .monitor_page_h2g = 0x1000ull * RAW_PFN};
    const struct hv_msg_version_response *response;
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){.max_version = HV_VERSION_5_2});
    raw_connect(&raw, &rig);
    CU_ASSERT_EQUAL(raw_hello(&raw), 0);
    CU_ASSERT_EQUAL(raw_memory(&raw), 0);
    CU_ASSERT_EQUAL(raw_contact(&raw, HV_VERSION_5_3, false), -EPROTONOSUPPORT);
    CU_ASSERT_EQUAL(raw_contact(&raw, 0x0000000du, false), -EPROTONOSUPPORT);
    CU_ASSERT_EQUAL(raw_contact(&raw, 0x00050009u, false), -EPROTONOSUPPORT);
    contact.version = HV_VERSION_5_2; /* one monitor page without the other */
    CU_ASSERT_EQUAL(raw_post(&raw, &contact, sizeof(contact)), 0);
    response = raw_expect(&raw, HV_MSG_VERSION_RESPONSE);
    CU_ASSERT(response && response->connection_state == 2);
    contact.monitor_page_h2g = 0;
    contact.interrupt_page = 5; /* another SINT */
    CU_ASSERT_EQUAL(raw_post(&raw, &contact, sizeof(contact)), 0);
    response = raw_expect(&raw, HV_MSG_VERSION_RESPONSE);
    CU_ASSERT(response && !response->supported);
    CU_ASSERT_EQUAL(raw_contact(&raw, HV_VERSION_5_2, true), 0);
    response = (const void *)(raw.frame + 16);
    CU_ASSERT_EQUAL(response->connection_id, HV_CONNECTION_MESSAGES);
    CU_ASSERT_EQUAL(raw_contact(&raw, HV_VERSION_4_1, true), 0);
    CU_ASSERT_EQUAL(response->connection_id, 0);
    CU_ASSERT_EQUAL(raw_offers(&raw), 0);
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/* ---- Offers ---- */

static void test_offer_fields(void)
{
    struct rig rig;
    struct raw raw;
    struct echo late = {0};

    rig_start(&rig, &(struct rig_opts){.monitored = true});
    raw_ready(&raw, &rig, RAW_VERSION);
    CU_ASSERT_EQUAL(raw.offer_count, 1);
    CU_ASSERT_EQUAL(memcmp(&offer_of(&raw, 0)->class_id, &rig_class, sizeof(rig_class)), 0);
    CU_ASSERT_EQUAL(offer_of(&raw, 0)->instance_id.b[0], 1);
    CU_ASSERT_EQUAL(offer_of(&raw, 0)->user_data[119], 1);
    CU_ASSERT_EQUAL(offer_of(&raw, 0)->monitor_id, 0);
    CU_ASSERT_EQUAL(offer_of(&raw, 0)->monitor_allocated, 1);
    CU_ASSERT_EQUAL(offer_of(&raw, 0)->dedicated_interrupt, 1);
    CU_ASSERT_EQUAL(offer_of(&raw, 0)->sub_channel_index, 0);
    CU_ASSERT_EQUAL(offer_of(&raw, 0)->connection_id, 0x2000 + relid_of(&raw));
    rig_offer(&rig, &late, 7, false); /* hot-added: no ALL_OFFERS_DELIVERED after it */
    CU_ASSERT_EQUAL(raw_receive(&raw), HV_SOCK_MESSAGE);
    CU_ASSERT_EQUAL(raw.offer_count, 2);
    CU_ASSERT_EQUAL(offer_of(&raw, 1)->monitor_id, HV_MONITOR_NONE);
    CU_ASSERT_EQUAL(offer_of(&raw, 1)->monitor_allocated, 0);
    rig_withdraw(&rig, &late);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_RESCIND_OFFER));
    CU_ASSERT_EQUAL(raw.rescinded, offer_of(&raw, 1)->relid);
    CU_ASSERT(rig_wait_flag(&late.gone));
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/* ---- GPADLs ---- */

static void test_gpadl_statuses(void)
{
    static const struct {
        const char *name;
        uint64_t first_pfn;
        uint32_t pages, byte_count, byte_offset;
        uint16_t range_bytes, range_count;
        uint32_t want;
    } rows[] = {
        {"one page", RAW_PFN, 1, 4096, 0, 16, 1, 0},
        {"part of a page", RAW_PFN, 1, 1, 4095, 16, 1, 0},
        {"two pages by offset", RAW_PFN, 2, 4096, 1, 24, 1, 0},
        {"surplus bytes", RAW_PFN, 4, 4096, 0, 16, 1, 0},
        {"no range", RAW_PFN, 1, 4096, 0, 16, 0, HV_STATUS_INVALID},
        {"two ranges in the bytes of one", RAW_PFN, 1, 4096, 0, 16, 2, HV_STATUS_INVALID},
        {"no bytes", RAW_PFN, 1, 0, 0, 16, 1, HV_STATUS_INVALID},
        {"offset beyond the page", RAW_PFN, 2, 1, 4096, 16, 1, HV_STATUS_INVALID},
        {"fewer pages than bytes", RAW_PFN, 2, 8193, 0, 24, 1, HV_STATUS_INVALID},
        {"overflow", RAW_PFN, 2, ~0u, 4095, 24, 1, HV_STATUS_INVALID},
        {"not guest memory", RAW_PFN + RAW_PAGES - 1, 2, 8192, 0, 24, 1, HV_STATUS_INVALID},
        {"range bytes no multiple of 8", RAW_PFN, 1, 4096, 0, 17, 1, HV_STATUS_INVALID},
        {"no page number", RAW_PFN, 1, 4096, 0, 8, 1, HV_STATUS_INVALID},
    };
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    for (uint32_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct {
            struct hv_msg_gpadl_header header;
            uint32_t byte_count, byte_offset;
            uint32_t pfns[8][2];
        } message = {.header = {.hdr.type = HV_MSG_GPADL_HEADER,
                                .relid = relid_of(&raw),
                                .gpadl = 100 + i,
                                .range_bytes = rows[i].range_bytes,
                                .range_count = rows[i].range_count},
                     .byte_count = rows[i].byte_count,
                     .byte_offset = rows[i].byte_offset};

        for (uint32_t page = 0; page < rows[i].pages; page++)
            message.pfns[page][0] = (uint32_t)rows[i].first_pfn + page;
        CU_ASSERT_EQUAL(raw_post(&raw, &message, 28 + 8 * (size_t)rows[i].pages), 0);
        HV_CHECK_ROW(rows[i].name, raw_gpadl_status(&raw) == rows[i].want);
    }
    raw_gpadl_pages(&raw, 2000, 1, RAW_PFN, 1); /* no such channel */
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), HV_STATUS_INVALID);
    raw_gpadl_pages(&raw, relid_of(&raw), 0, RAW_PFN, 1); /* id 0 */
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), HV_STATUS_INVALID);
    raw_post_teardown(&raw, relid_of(&raw), 4711); /* unknown: ignored */
    raw_post_teardown(&raw, relid_of(&raw), 100);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    raw_disconnect(&raw);
    rig_stop(&rig);
}

static void test_gpadl_bound(void)
{
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    for (uint32_t i = 0; i < 256; i++) {
        raw_gpadl_pages(&raw, relid_of(&raw), 1 + i, RAW_PFN, 1 + i % 60);
        CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
    }
    raw_gpadl_pages(&raw, relid_of(&raw), 257, RAW_PFN, 1);
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), HV_STATUS_INVALID);
    raw_post_teardown(&raw, relid_of(&raw), 17);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    raw_gpadl_pages(&raw, relid_of(&raw), 257, RAW_PFN, 1);
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/* ---- Open and close ---- */

static void test_open_refusals(void)
{
    static const struct {
        const char *name;
        uint32_t gpadl, in_ring_page;
    } rows[] = {
        {"unknown GPADL", 999, 4},      {"out ring of one page", 50, 1},
        {"in ring of one page", 50, 7}, {"in ring behind the memory", 50, 8},
        {"far behind it", 50, ~0u},     {"in ring at 0", 50, 0},
        {"three pages in all", 51, 2},  {"one page in all", 52, 1},
    };
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    raw_gpadl_pages(&raw, relid_of(&raw), 50, RAW_PFN + 16, 8);
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
    raw_gpadl_pages(&raw, relid_of(&raw), 51, RAW_PFN + 32, 3);
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
    raw_gpadl_pages(&raw, relid_of(&raw), 52, RAW_PFN + 40, 1);
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        raw_post_open(&raw, relid_of(&raw), rows[i].gpadl, rows[i].in_ring_page, 0);
        HV_CHECK_ROW(rows[i].name, raw_open_status(&raw) == HV_STATUS_UNSUCCESSFUL);
    }
    atomic_store(&raw_in(&raw)->write_index, 1u << 20); /* rings that cannot be */
    raw_post_open(&raw, relid_of(&raw), 50, 4, 0);
    CU_ASSERT_EQUAL(raw_open_status(&raw), HV_STATUS_UNSUCCESSFUL);
    atomic_store(&raw_in(&raw)->write_index, 0);
    raw_post_open(&raw, relid_of(&raw), 50, 4, 0);
    CU_ASSERT_EQUAL(raw_open_status(&raw), 0);
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.opened), 1);
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/** Torndown only when the provider has let go; an open that comes meanwhile is carried out after it. */
static void test_close_order(void)
{
    struct rig rig;
    struct raw raw;
    uint32_t relid;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    relid = relid_of(&raw);
    CU_ASSERT_EQUAL(raw_open(&raw, relid), 0);
    atomic_store(&rig.echo.hold_close, true);
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid);
    raw_post_teardown(&raw, relid, RAW_GPADL);
    raw_gpadl_pages(&raw, relid, 5, RAW_PFN + 32, 8);
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
    raw_post_open(&raw, relid, 5, 4, 0);
    CU_ASSERT(raw_silent(&raw, 50)); /* neither torndown nor open result */
    atomic_store(&rig.echo.hold_close, false);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    CU_ASSERT_EQUAL(raw_open_status(&raw), 0);
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.opened), 2);
    /* close again at once, before the result of yet another open */
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid);
    raw_post_open(&raw, relid, 5, 4, 0);
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid);
    raw_post_teardown(&raw, relid, 5);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.open_channels), 0);
    /* released while closed: gone for this connection, back in the next */
    raw_post_relid(&raw, HV_MSG_RELID_RELEASED, relid);
    CU_ASSERT_EQUAL(raw_contact(&raw, RAW_VERSION, false), 0);
    CU_ASSERT_EQUAL(raw_offers(&raw), 0);
    CU_ASSERT_EQUAL(raw.offer_count, 1);
    CU_ASSERT_NOT_EQUAL(relid_of(&raw), relid);
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/** An open that waits for a close can be taken back, and so can the channel. */
static void test_open_taken_back(void)
{
    struct rig rig;
    struct raw raw;
    uint32_t relid;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    relid = relid_of(&raw);
    CU_ASSERT_EQUAL(raw_open(&raw, relid), 0);
    raw_gpadl_pages(&raw, relid, 5, RAW_PFN + 32, 8);
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
    atomic_store(&rig.echo.hold_close, true);
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid);
    raw_post_open(&raw, relid, 5, 4, 0);
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid);
    raw_post_open(&raw, relid, 5, 4, 0);
    raw_post_relid(&raw, HV_MSG_RELID_RELEASED, relid);
    raw_post_teardown(&raw, relid, RAW_GPADL);
    CU_ASSERT(raw_silent(&raw, 50));
    atomic_store(&rig.echo.hold_close, false);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.opened), 1);
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid);
    CU_ASSERT(raw_goodbye(&raw, "does not exist"));
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/* ---- Rescind ---- */

static void test_rescind_while_waiting(void)
{
    const struct hv_msg_gpadl_header half = {
        .hdr.type = HV_MSG_GPADL_HEADER, .gpadl = 77, .range_bytes = 24, .range_count = 1};
    struct hv_msg_gpadl_header header = half;
    struct rig rig;
    struct raw raw;
    uint32_t relid;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    relid = header.relid = relid_of(&raw);
    CU_ASSERT_EQUAL(raw_open(&raw, relid), 0);
    CU_ASSERT_EQUAL(raw_post(&raw, &header, sizeof(header)), 0); /* a GPADL half told */
    atomic_store(&rig.echo.hold_close, true);
    raw_post_teardown(&raw, relid, RAW_GPADL); /* waits for the close */
    rig_withdraw(&rig, &rig.echo);
    CU_ASSERT(raw_silent(&raw, 50)); /* the provider still writes to guest memory */
    CU_ASSERT_FALSE(atomic_load(&rig.echo.gone));
    atomic_store(&rig.echo.hold_close, false);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), HV_STATUS_INVALID);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_RESCIND_OFFER));
    CU_ASSERT(rig_wait_flag(&rig.echo.gone));
    /* what crosses with the rescind is ignored; GPADLs still work */
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid);
    raw_post_open(&raw, relid, 5, 4, 0);
    raw_gpadl_pages(&raw, relid, 5, RAW_PFN + 32, 8);
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
    raw_post_teardown(&raw, relid, 5);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    raw_post_relid(&raw, HV_MSG_RELID_RELEASED, relid);
    raw_post_relid(&raw, HV_MSG_RELID_RELEASED, relid);
    CU_ASSERT(raw_goodbye(&raw, "does not exist"));
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/* ---- Resets ---- */

static void test_contact_resets(void)
{
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    for (unsigned i = 1; i <= 3; i++) {
        CU_ASSERT_EQUAL(raw_open(&raw, relid_of(&raw)), 0);
        CU_ASSERT_EQUAL(raw_contact(&raw, RAW_VERSION, i & 1), 0); /* no close, no teardown */
        CU_ASSERT_EQUAL(atomic_load(&rig.echo.closed), i);
        CU_ASSERT_EQUAL(raw_offers(&raw), 0);
        CU_ASSERT_EQUAL(raw.offer_count, 1);
    }
    raw_disconnect(&raw);
    rig_stop(&rig);
}

static void test_unload(void)
{
    const struct hv_msg_header unload = {.type = HV_MSG_UNLOAD};
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    CU_ASSERT_EQUAL(raw_open(&raw, relid_of(&raw)), 0);
    atomic_store(&rig.echo.hold_close, true);
    CU_ASSERT_EQUAL(raw_post(&raw, &unload, sizeof(unload)), 0);
    CU_ASSERT(raw_silent(&raw, 50));
    atomic_store(&rig.echo.hold_close, false);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_UNLOAD_COMPLETE));
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.closed), 1);
    CU_ASSERT_EQUAL(raw_contact(&raw, HV_VERSION_2_4, false), 0); /* and from the start again */
    CU_ASSERT_EQUAL(raw_post(&raw, &unload, sizeof(unload)), 0);
    CU_ASSERT(raw_goodbye(&raw, "newer than the version"));
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/** Dies with a channel open whose provider takes its time: memory and guest last until it is done. */
static void test_guest_dies(void)
{
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    CU_ASSERT_EQUAL(raw_open(&raw, relid_of(&raw)), 0);
    atomic_store(&rig.echo.hold_close, true);
    raw_disconnect(&raw);
    raw_ready(&raw, &rig, RAW_VERSION); /* others come and go meanwhile */
    raw_disconnect(&raw);
    CU_ASSERT(rig_wait(&rig.guests_removed, 1));
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.guests_gone), 1);
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.open_channels), 1);
    atomic_store(&rig.echo.hold_close, false);
    CU_ASSERT(rig_wait(&rig.guests_removed, 2));
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.guests_gone), 2);
    rig_stop(&rig);
}

/* ---- Modify ---- */

static void post_modify(struct raw *raw, uint32_t relid, uint32_t vp)
{
    const struct hv_msg_modify_channel modify = {
        .hdr.type = HV_MSG_MODIFY_CHANNEL, .relid = relid, .target_vp = vp};

    (void)raw_post(raw, &modify, sizeof(modify));
}

static uint32_t modify_status(struct raw *raw)
{
    const struct hv_msg_modify_channel_result *result =
        raw_expect(raw, HV_MSG_MODIFY_CHANNEL_RESULT);

    return result ? result->status : ~0u;
}

static void test_modify(void)
{
    struct rig rig;
    struct raw raw;
    uint32_t relid;

    rig_start(&rig, &(struct rig_opts){.workers = 3});
    raw_ready(&raw, &rig, RAW_VERSION);
    relid = relid_of(&raw);
    post_modify(&raw, relid, 1); /* not open */
    CU_ASSERT_EQUAL(modify_status(&raw), HV_STATUS_UNSUCCESSFUL);
    CU_ASSERT_EQUAL(raw_open(&raw, relid), 0);
    for (uint32_t vp = 0; vp < 10; vp++) {
        post_modify(&raw, relid, vp);
        CU_ASSERT_EQUAL(modify_status(&raw), 0);
    }
    post_modify(&raw, relid, HV_VP_NONE);
    CU_ASSERT_EQUAL(modify_status(&raw), HV_STATUS_UNSUCCESSFUL);
    post_modify(&raw, relid, 1); /* close follows before it is done */
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid);
    raw_post_teardown(&raw, relid, RAW_GPADL);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.closed), 1);
    /* before 5.3 there is no reply, and the last of several counts */
    CU_ASSERT_EQUAL(raw_contact(&raw, HV_VERSION_5_2, false), 0);
    CU_ASSERT_EQUAL(raw_offers(&raw), 0);
    CU_ASSERT_EQUAL(raw_open(&raw, relid_of(&raw)), 0);
    for (uint32_t vp = 0; vp < 10; vp++)
        post_modify(&raw, relid_of(&raw), vp);
    CU_ASSERT(raw_silent(&raw, 50));
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/* ---- Workers ---- */

/** True when the worker stops looking at the channel while nothing happens. */
static bool falls_asleep(const struct echo *echo)
{
    for (unsigned i = 0; i < 100; i++) {
        unsigned long long polls = atomic_load(&echo->polls);

        (void)poll(NULL, 0, 100);
        if (atomic_load(&echo->polls) == polls)
            return true;
    }
    return false;
}

/** A request that a worker takes because it is awake is kicked for all the same: it sleeps again nevertheless. */
static void test_worker_asked_while_awake(void)
{
    struct echo others[2] = {0};
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){.workers = 1});
    rig_offer(&rig, &others[0], 2, false);
    rig_offer(&rig, &others[1], 3, false);
    raw_ready(&raw, &rig, RAW_VERSION);
    for (unsigned i = 0; i < 3; i++) {
        raw_gpadl_pages(&raw, offer_of(&raw, i)->relid, 50 + i, RAW_PFN + 16 + 8 * i, 8);
        CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
        raw_post_open(&raw, offer_of(&raw, i)->relid, 50 + i, 4, 0);
        CU_ASSERT_EQUAL(raw_open_status(&raw), 0);
    }
    atomic_store(&rig.echo.hold_worker, true);
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid_of(&raw));
    CU_ASSERT(rig_wait(&rig.echo.closing, 1));
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, offer_of(&raw, 1)->relid);
    (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_REMOVE, 1, 1, 0, -1);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), -ENOENT); /* so the host has read the close */
    atomic_store(&rig.echo.hold_worker, false);
    CU_ASSERT(rig_wait(&others[0].closed, 1));
    CU_ASSERT(falls_asleep(&others[1]));
    raw_disconnect(&raw);
    CU_ASSERT(rig_wait(&rig.guests_removed, 1));
    for (unsigned i = 0; i < 2; i++) {
        rig_withdraw(&rig, &others[i]);
        CU_ASSERT(rig_wait_flag(&others[i].gone));
    }
    rig_stop(&rig);
}

static const struct hv_test_case cases[] = {
    {"contact", test_contact_states},
    {"offer fields, hot add, withdraw", test_offer_fields},
    {"GPADL statuses", test_gpadl_statuses},
    {"GPADLs are bounded", test_gpadl_bound},
    {"opens refused", test_open_refusals},
    {"close, teardown, reopen, release", test_close_order},
    {"open taken back", test_open_taken_back},
    {"rescind while waiting", test_rescind_while_waiting},
    {"contact resets", test_contact_resets},
    {"unload", test_unload},
    {"guest dies", test_guest_dies},
    {"modify", test_modify},
    {"worker asked while awake", test_worker_asked_while_awake},
};

int main(int argc, char **argv)
{
    return hv_test_main("pair.bus.order", cases, HV_TEST_COUNT(cases), argc, argv);
}
