/* SPDX-License-Identifier: BSD-3-Clause */
/* Channels: open, close, rescind, and the data path against a host end made of the same memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hv/ring.h>
#include <hv/wire/monitor.h>

#include "suite.h"
#include "vmbus_peer.h"

#define GPADL 0xe1e10u

/** A guest with one open channel, and the host's end of its rings. */
struct open_channel {
    struct peer peer;
    struct hv_channel *channel;
    struct hv_ring_area to_host;
    struct hv_ring_area to_guest;
    struct hv_ring_rx rx; /* host's */
    struct hv_ring_tx tx;
};

static int open_with(struct peer *peer, uint16_t index, uint32_t out_bytes, uint32_t in_bytes,
                     struct hv_channel **ret_channel)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;

    opts.out_bytes = out_bytes;
    opts.in_bytes = in_bytes;
    return hv_channel_open(peer->bus, &peer_instance, index, &opts, ret_channel);
}

/** Rings of 3 and 2 pages. */
static void open_small(struct open_channel *o, int monitor_id)
{
    int fd;

    memset(o, 0, sizeof(*o));
    peer_init(&o->peer);
    peer_open_device(&o->peer, monitor_id);
    peer_channel_opened(&o->peer, 1, PEER_FIRST_PFN, GPADL, 1);
    CU_ASSERT_EQUAL(open_with(&o->peer, 0, 0x3000, 0x2000, &o->channel), 0);
    CU_ASSERT_EQUAL(peer_expect_memory(&o->peer, PEER_FIRST_PFN, 5, &fd), 0);
    CU_ASSERT_EQUAL(hv_ring_map(fd, 0, 0x3000, 0x2000, &o->to_host, &o->to_guest), 0);
    close(fd);
    CU_ASSERT_EQUAL(hv_ring_rx_init(&o->rx, &o->to_host), 0);
    CU_ASSERT_EQUAL(hv_ring_tx_init(&o->tx, &o->to_guest), 0);
    peer_skip(&o->peer);
}

static void fini(struct open_channel *o)
{
    peer_fini(&o->peer);
    hv_ring_unmap(&o->to_host);
    hv_ring_unmap(&o->to_guest);
}

static int send_one(struct hv_channel *channel, uint64_t id)
{
    const struct hv_packet_desc desc = {
        .trans_id = id, .payload_bytes = 8, .type = HV_PACKET_INBAND};
    struct hv_packet_slot slot = {0};
    int err = hv_channel_reserve(channel, &desc, &slot);

    if (!err)
        memcpy(slot.payload, "12345678", 8);
    return err;
}

static bool host_sends(struct open_channel *o, uint64_t id)
{
    const struct hv_packet_desc desc = {
        .trans_id = id, .payload_bytes = 8, .type = HV_PACKET_COMPLETION};
    struct hv_packet_slot slot = {0};

    CU_ASSERT_EQUAL(hv_ring_tx_reserve(&o->tx, &desc, &slot), 0);
    memset(slot.payload, 7, 8);
    return hv_ring_tx_publish(&o->tx);
}

static void raise_event(const struct open_channel *o)
{
    const uint64_t one = 1;

    CU_ASSERT_EQUAL(write(o->peer.event_fd[0], &one, 8), 8);
}

/* ---- Open ---- */

static void test_open_messages(void)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    struct hv_channel *channel = NULL;
    struct hv_msg_gpadl_teardown teardown;
    struct hv_msg_relid close_msg;
    struct hv_msg_open open;
    uint8_t header[28 + 5 * 8];
    /* relid 1, GPADL, 48 bytes, 1 range; 20480 bytes at offset 0; pages */
    static const uint32_t want[] = {8,      0,      1,      GPADL, 48 | 1 << 16, 0x5000, 0,
                                    0x1002, 0,      0x1003, 0,     0x1004,       0,      0x1005,
                                    0,      0x1006, 0};
    struct peer peer;
    int fd;

    peer_init(&peer);
    peer_open_device(&peer, -1);
    peer_channel_opened(&peer, 1, PEER_FIRST_PFN, GPADL, 1);
    opts.out_bytes = 0x3000;
    opts.in_bytes = 0x2000;
    opts.target_vp = 3;
    opts.user_data = "abc";
    opts.user_data_bytes = 3;
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 0, &opts, &channel), 0);
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 0, &opts, &channel), -EBUSY);
    CU_ASSERT_EQUAL(peer_expect_memory(&peer, PEER_FIRST_PFN, 5, &fd), 0);
    CU_ASSERT_EQUAL(lseek(fd, 0, SEEK_END), 5 * 4096);
    CU_ASSERT_EQUAL(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    close(fd);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_GPADL_HEADER, header, sizeof(header)), 0);
    CU_ASSERT(!memcmp(header, want, sizeof(header)));
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_OPEN_CHANNEL, &open, sizeof(open)), 0);
    CU_ASSERT(open.relid == 1 && open.gpadl == GPADL && open.target_vp == 3);
    CU_ASSERT_EQUAL(open.in_ring_page, 3);
    CU_ASSERT(!memcmp(open.user_data, "abc\0", 4));

    peer_torndown(&peer, GPADL);
    hv_channel_close(channel);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_CLOSE_CHANNEL, &close_msg, sizeof(close_msg)), 0);
    CU_ASSERT_EQUAL(close_msg.relid, 1);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_GPADL_TEARDOWN, &teardown, sizeof(teardown)), 0);
    CU_ASSERT(teardown.relid == 1 && teardown.gpadl == GPADL);
    CU_ASSERT_EQUAL(peer_expect_remove(&peer, PEER_FIRST_PFN, 5), 0);

    /* again, with the next ids */
    peer_memory_result(&peer, PEER_FIRST_PFN, 0); /* of the remove */
    peer_channel_opened(&peer, 1, PEER_FIRST_PFN + 5, GPADL + 1, 2);
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 0, &opts, &channel), 0);
    peer_torndown(&peer, GPADL + 1);
    hv_channel_close(channel);
    CU_ASSERT_STRING_EQUAL(peer.log, "");
    peer_fini(&peer);
}

/** Page lists longer than a message: pages in header and bodies, in order, none missing. */
static void check_page_list(uint32_t pages)
{
    struct hv_channel *channel = NULL;
    struct peer_frame frame;
    uint64_t next = PEER_FIRST_PFN, pfn;
    struct peer peer;
    int fd;

    peer_init(&peer);
    peer_open_device(&peer, -1);
    peer_channel_opened(&peer, 1, PEER_FIRST_PFN, GPADL, 1);
    CU_ASSERT_EQUAL(open_with(&peer, 0, (pages - 2) * 4096, 2 * 4096, &channel), 0);
    CU_ASSERT_EQUAL(peer_expect_memory(&peer, PEER_FIRST_PFN, pages, &fd), 0);
    close(fd);
    for (bool first = true; next < PEER_FIRST_PFN + pages; first = false) {
        size_t at = first ? 28 : 16; /* header and range, or body */
        uint32_t fields[4];

        peer_read(&peer, &frame);
        memcpy(fields, frame.message.payload, sizeof(fields));
        CU_ASSERT_EQUAL(fields[0], first ? HV_MSG_GPADL_HEADER : HV_MSG_GPADL_BODY);
        CU_ASSERT_EQUAL(fields[3], GPADL);
        if (frame.length <= 16 + at)
            break;
        for (; at < frame.message.payload_bytes; at += 8) {
            memcpy(&pfn, frame.message.payload + at, 8);
            CU_ASSERT_EQUAL(pfn, next++);
        }
    }
    CU_ASSERT_EQUAL(next, PEER_FIRST_PFN + pages);
    peer_read(&peer, &frame);
    CU_ASSERT_EQUAL(frame.message.payload[0], HV_MSG_OPEN_CHANNEL);
    peer_fini(&peer);
}

static void test_page_lists(void)
{
    static const uint32_t pages[] = {4, 26, 27, 54, 55, 1000};

    for (size_t i = 0; i < HV_TEST_COUNT(pages); i++)
        check_page_list(pages[i]);
}

static void test_sizes(void)
{
    static const struct {
        uint32_t out, in;
    } rows[] = {
        {0x1000, 0x2000},      {0x2000, 0x1000},        {0x2001, 0x2000}, {0x2000, 0x2800},
        {0x80000000u, 0x2000}, {8189 * 4096, 2 * 4096}, /* one page more than a GPADL holds */
    };
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    struct hv_guid other = {{1}};
    struct hv_channel *channel = NULL;
    struct peer_frame frame;
    struct peer peer;

    peer_init(&peer);
    peer_open_device(&peer, -1);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++)
        CU_ASSERT_EQUAL(open_with(&peer, 0, rows[i].out, rows[i].in, &channel), -EINVAL);
    opts.user_data = "x";
    opts.user_data_bytes = 121;
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 0, &opts, &channel), -EINVAL);
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 1, NULL, &channel), -EINVAL);
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &other, 0, NULL, &channel), -ENODEV);
    CU_ASSERT_PTR_NULL(channel);
    peer_read(&peer, &frame);
    CU_ASSERT_EQUAL(frame.length, 0); /* the host heard nothing of it */
    hv_channel_close(NULL);
    peer_fini(&peer);
}

/* ---- Open that fails ---- */

static void gpadl_refused(struct peer *peer)
{
    peer_memory_result(peer, PEER_FIRST_PFN, 0);
    peer_words(peer, 5, (const uint32_t[]){10, 0, 1, GPADL, HV_STATUS_INVALID});
}

static void open_refused(struct peer *peer)
{
    peer_memory_result(peer, PEER_FIRST_PFN, 0);
    peer_words(peer, 5, (const uint32_t[]){10, 0, 1, GPADL, 0});
    peer_words(peer, 5, (const uint32_t[]){6, 0, 1, 1, 1});
    peer_torndown(peer, GPADL);
}

static void memory_refused(struct peer *peer)
{
    peer_memory_result(peer, PEER_FIRST_PFN, -ENOMEM);
}

static void rescinded_before_gpadl(struct peer *peer)
{
    peer_memory_result(peer, PEER_FIRST_PFN, 0);
    peer_rescind(peer, 1);
}

static void rescinded_before_result(struct peer *peer)
{
    peer_memory_result(peer, PEER_FIRST_PFN, 0);
    peer_words(peer, 5, (const uint32_t[]){10, 0, 1, GPADL, 0});
    peer_rescind(peer, 1);
    peer_torndown(peer, GPADL);
}

static void gone_before_result(struct peer *peer)
{
    peer_memory_result(peer, PEER_FIRST_PFN, 0);
    peer_words(peer, 5, (const uint32_t[]){10, 0, 1, GPADL, 0});
    peer_end(peer);
}

/** Results with the wrong relid, open id or GPADL are not ours: the call waits on. */
static void others_answers(struct peer *peer)
{
    peer_memory_result(peer, PEER_FIRST_PFN, 0);
    peer_words(peer, 5, (const uint32_t[]){10, 0, 2, GPADL, 0});
    peer_words(peer, 5, (const uint32_t[]){10, 0, 1, GPADL + 1, 0});
    peer_words(peer, 5, (const uint32_t[]){10, 0, 1, GPADL, 0});
    peer_words(peer, 5, (const uint32_t[]){6, 0, 2, 1, 0});
    peer_words(peer, 5, (const uint32_t[]){6, 0, 1, 2, 0});
    peer_words(peer, 5, (const uint32_t[]){6, 0, 1, 1, 5});
    peer_torndown(peer, GPADL + 1);
    peer_torndown(peer, GPADL);
}

static void test_open_fails(void)
{
    static const struct {
        const char *name;
        void (*host)(struct peer *peer);
        int want;
        int poll; /* afterwards */
        unsigned removed;
    } rows[] = {
        {"GPADL refused", gpadl_refused, -EIO, 0, 0},
        {"open refused", open_refused, -EIO, 0, 0},
        {"memory refused", memory_refused, -ENOMEM, 0, 0},
        {"rescinded before GPADL", rescinded_before_gpadl, -ENODEV, 0, 1},
        {"rescinded before result", rescinded_before_result, -ENODEV, 0, 1},
        {"host gone", gone_before_result, -ENODEV, -ENODEV, 0},
        {"answers to others", others_answers, -EIO, 0, 0},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        unsigned fds = peer_count_fds();
        struct hv_channel *channel = NULL;
        struct peer peer;

        peer_init(&peer);
        peer_open_device(&peer, -1);
        rows[i].host(&peer);
        HV_CHECK_ROW(rows[i].name, open_with(&peer, 0, 0x2000, 0x2000, &channel) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, !channel);
        HV_CHECK_ROW(rows[i].name, hv_vmbus_poll(peer.bus) == rows[i].poll);
        HV_CHECK_ROW(rows[i].name, peer.events[HV_VMBUS_DEVICE_REMOVED] == rows[i].removed);
        if (!rows[i].removed && !rows[i].poll) { /* nothing is left behind: it can be tried again */
            peer_channel_opened(&peer, 1, PEER_FIRST_PFN + 4, GPADL + (i != 2),
                                i == 1 || i == 6 ? 2 : 1);
            HV_CHECK_ROW(rows[i].name, open_with(&peer, 0, 0x2000, 0x2000, &channel) == 0);
        }
        peer_fini(&peer);
        HV_CHECK_ROW(rows[i].name, peer_count_fds() == fds);
    }
}

/** An open that was given up is undone: close, teardown. */
static void test_open_times_out(void)
{
    struct hv_msg_gpadl_teardown teardown;
    struct hv_channel *channel = NULL;
    struct hv_msg_relid close_msg;
    struct hv_msg_open open;
    struct peer_frame frame;
    struct peer peer;

    peer_init(&peer);
    peer.timeout_ms = PEER_TIMEOUT_MS;
    peer_open_device(&peer, -1);
    peer_memory_result(&peer, PEER_FIRST_PFN, 0);
    peer_words(&peer, 5, (const uint32_t[]){10, 0, 1, GPADL, 0});
    CU_ASSERT_EQUAL(open_with(&peer, 0, 0x2000, 0x2000, &channel), -ETIMEDOUT);
    peer_read(&peer, &frame);
    close(frame.fd);
    peer_read(&peer, &frame);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_OPEN_CHANNEL, &open, sizeof(open)), 0);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_CLOSE_CHANNEL, &close_msg, sizeof(close_msg)), 0);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_GPADL_TEARDOWN, &teardown, sizeof(teardown)), 0);
    /* the teardown was not answered either: such a host is cut off */
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), -ENODEV);
    CU_ASSERT(strstr(peer.log, "does not give the rings back") != NULL);
    peer_fini(&peer);
}

/* ---- Data path ---- */

static void test_send(void)
{
    struct hv_channel_stats stats;
    struct hv_packet packet = {0};
    struct open_channel o;

    open_small(&o, -1);
    CU_ASSERT_EQUAL(hv_channel_max_bytes(o.channel), 0x2000 - 8 - 24);
    CU_ASSERT_EQUAL(hv_channel_free_bytes(o.channel), 0x2000);
    CU_ASSERT_EQUAL(hv_channel_flush(o.channel), 0);
    CU_ASSERT(!peer_readable(o.peer.signal_fd[0]));
    CU_ASSERT_EQUAL(send_one(o.channel, 1), 0);
    CU_ASSERT_EQUAL(send_one(o.channel, 2), 0);
    CU_ASSERT_EQUAL(hv_ring_rx_peek(&o.rx, &packet), -EAGAIN); /* not published yet */
    CU_ASSERT_EQUAL(hv_channel_flush(o.channel), 0);
    CU_ASSERT(peer_readable(o.peer.signal_fd[0])); /* one, for both */
    CU_ASSERT_EQUAL(hv_ring_rx_peek(&o.rx, &packet), 0);
    CU_ASSERT(packet.trans_id == 1 && !memcmp(packet.payload, "12345678", 8));
    CU_ASSERT_EQUAL(hv_ring_rx_peek(&o.rx, &packet), 0);
    CU_ASSERT_EQUAL(packet.trans_id, 2);
    (void)hv_ring_rx_release(&o.rx);
    hv_ring_rx_mask(&o.rx); /* awake: no signals */
    CU_ASSERT_EQUAL(send_one(o.channel, 3), 0);
    CU_ASSERT_EQUAL(hv_channel_flush(o.channel), 0);
    hv_channel_get_stats(o.channel, &stats);
    CU_ASSERT(stats.out.packets == 3 && stats.out.signals == 1 && stats.out.signals_saved == 1);
    fini(&o);
}

static uint64_t take_signals(const struct open_channel *o)
{
    uint64_t count = 0;

    return peer_readable(o->peer.signal_fd[0]) && read(o->peer.signal_fd[0], &count, 8) == 8 ? count
                                                                                             : 0;
}

static void test_signal_count(void)
{
    struct open_channel o;

    open_small(&o, -1);
    CU_ASSERT_EQUAL(send_one(o.channel, 1), 0);
    CU_ASSERT_EQUAL(hv_channel_flush(o.channel), 0);
    CU_ASSERT_EQUAL(send_one(o.channel, 2), 0);
    CU_ASSERT_EQUAL(hv_channel_flush(o.channel), 0); /* the ring was not empty any more */
    CU_ASSERT_EQUAL(take_signals(&o), 1);
    CU_ASSERT_EQUAL(take_signals(&o), 0);
    fini(&o);
}

static void test_receive_and_sleep(void)
{
    struct hv_channel_stats stats;
    struct hv_packet packet = {0};
    struct open_channel o;
    int fd;

    open_small(&o, -1);
    fd = hv_channel_fd(o.channel);
    CU_ASSERT_EQUAL(hv_channel_peek(o.channel, &packet), -EAGAIN);
    CU_ASSERT(!host_sends(&o, 5)); /* the guest is awake */
    CU_ASSERT(hv_channel_arm(o.channel));
    CU_ASSERT_EQUAL(hv_channel_peek(o.channel, &packet), 0);
    CU_ASSERT(packet.trans_id == 5 && packet.type == HV_PACKET_COMPLETION);
    CU_ASSERT(hv_channel_arm(o.channel)); /* peeked, not released */
    hv_channel_release(o.channel);
    CU_ASSERT(!hv_channel_arm(o.channel));
    CU_ASSERT(!peer_readable(fd));
    CU_ASSERT(host_sends(&o, 6)); /* the guest sleeps */
    raise_event(&o);
    CU_ASSERT(peer_readable(fd));
    hv_channel_disarm(o.channel);
    CU_ASSERT(!peer_readable(fd));
    CU_ASSERT_EQUAL(hv_channel_peek(o.channel, &packet), 0);
    CU_ASSERT_EQUAL(packet.trans_id, 6);
    hv_channel_release(o.channel);
    CU_ASSERT(!host_sends(&o, 7)); /* awake again */
    hv_channel_disarm(o.channel);  /* nothing to undo */
    hv_channel_get_stats(o.channel, &stats);
    CU_ASSERT_EQUAL(stats.wakeups, 1);
    fini(&o);
}

/** A full ring: the guest asks for room, the host signals when there is, and not after disarm. */
static void test_room(void)
{
    struct hv_packet packet = {0};
    struct open_channel o;
    unsigned sent = 0;

    open_small(&o, -1);
    while (!send_one(o.channel, ++sent))
        ;
    CU_ASSERT_EQUAL(hv_channel_flush(o.channel), 0);
    CU_ASSERT(!hv_channel_want_room(o.channel, 32));
    CU_ASSERT_EQUAL(hv_ring_rx_peek(&o.rx, &packet), 0);
    CU_ASSERT(hv_ring_rx_release(&o.rx));
    CU_ASSERT(hv_channel_want_room(o.channel, 32)); /* there is room by now */
    while (!send_one(o.channel, ++sent))
        ;
    CU_ASSERT_EQUAL(hv_channel_flush(o.channel), 0);
    CU_ASSERT(!hv_channel_want_room(o.channel, 32));
    hv_channel_disarm(o.channel);
    CU_ASSERT_EQUAL(hv_ring_rx_peek(&o.rx, &packet), 0);
    CU_ASSERT(!hv_ring_rx_release(&o.rx));
    fini(&o);
}

/** The host waits for room in its ring: giving some back signals it. */
static void test_release_signals(void)
{
    const struct hv_packet_desc desc = {
        .trans_id = 1, .payload_bytes = 2000, .type = HV_PACKET_INBAND};
    struct hv_packet_slot slot = {0};
    struct hv_packet packet = {0};
    struct open_channel o;

    open_small(&o, -1);
    while (!hv_ring_tx_reserve(&o.tx, &desc, &slot))
        ;
    (void)hv_ring_tx_publish(&o.tx);
    CU_ASSERT(!hv_ring_tx_want_room(&o.tx, 2024));
    CU_ASSERT_EQUAL(hv_channel_peek(o.channel, &packet), 0);
    CU_ASSERT_EQUAL(take_signals(&o), 0);
    hv_channel_release(o.channel);
    CU_ASSERT_EQUAL(take_signals(&o), 1);
    fini(&o);
}

static void test_monitored(void)
{
    struct hv_monitor_page *pages;
    struct hv_vmbus_device device;
    struct hv_channel *channel = NULL;
    struct peer_frame frame;
    struct peer peer;

    peer_init(&peer);
    peer_start(&peer);
    peer_offer(&peer, 1, 0, 37); /* group 1, bit 5 */
    peer_all_offers(&peer);
    CU_ASSERT_EQUAL(peer_open(&peer), 0);
    peer_read(&peer, &frame);
    peer_read(&peer, &frame); /* monitor pages */
    pages = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, frame.fd, 0);
    close(frame.fd);
    CU_ASSERT(pages != MAP_FAILED);
    CU_ASSERT_EQUAL(hv_vmbus_find(peer.bus, &peer_class, &device), 0);
    CU_ASSERT(device.monitored);
    peer_channel_opened(&peer, 1, PEER_FIRST_PFN, GPADL, 1);
    CU_ASSERT_EQUAL(open_with(&peer, 0, 0x2000, 0x2000, &channel), 0);
    atomic_store(&pages[1].group[1].pending, 0x80u); /* another channel's bit */
    CU_ASSERT_EQUAL(send_one(channel, 1), 0);
    CU_ASSERT_EQUAL(hv_channel_flush(channel), 0);
    CU_ASSERT_EQUAL(atomic_load(&pages[1].group[1].pending), 0x80u | 1u << 5);
    CU_ASSERT_EQUAL(atomic_load(&pages[1].group[0].pending), 0);
    CU_ASSERT_EQUAL(atomic_load(&pages[0].group[1].pending), 0); /* host to guest: not ours */
    CU_ASSERT(!peer_readable(peer.signal_fd[0]));
    munmap(pages, 2 * 4096);
    peer_fini(&peer);
}

static const struct hv_test_case cases[] = {
    {"messages of open and close", test_open_messages},
    {"page lists", test_page_lists},
    {"sizes and names", test_sizes},
    {"open fails", test_open_fails},
    {"open times out", test_open_times_out},
    {"send", test_send},
    {"signal once", test_signal_count},
    {"receive and sleep", test_receive_and_sleep},
    {"ask for room", test_room},
    {"give room", test_release_signals},
    {"monitor bit", test_monitored},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.channel", cases, HV_TEST_COUNT(cases), argc, argv);
}
