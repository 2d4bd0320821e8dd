/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory shared with the host under a handle: what is said, what is undone, what is refused. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "suite.h"
#include "vmbus_peer.h"

#define GPADL      0xe1e10u /* of the rings; buffers follow */
#define RING_PAGES 4u
#define SHARE_PFN  (PEER_FIRST_PFN + RING_PAGES)
#define PAGE       4096u

/** A guest with one open channel; what it said so far is thrown away. */
static struct hv_channel *begin(struct peer *peer, uint32_t timeout_ms)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    struct hv_channel *channel = NULL;

    opts.out_bytes = opts.in_bytes = 2 * PAGE;
    peer_init(peer);
    if (timeout_ms)
        peer->timeout_ms = timeout_ms;
    peer_open_device(peer, -1);
    peer_channel_opened(peer, 1, PEER_FIRST_PFN, GPADL, 1);
    CU_ASSERT_EQUAL(hv_channel_open(peer->bus, &peer_instance, 0, &opts, &channel), 0);
    peer_skip(peer);
    return channel;
}

static void peer_gpadl_created(struct peer *peer, uint32_t gpadl, uint32_t status)
{
    peer_words(peer, 5, (const uint32_t[]){HV_MSG_GPADL_CREATED, 0, 1, gpadl, status});
}

static void share_answers(struct peer *peer, uint64_t pfn, uint32_t gpadl)
{
    peer_memory_result(peer, pfn, 0);
    peer_gpadl_created(peer, gpadl, 0);
}

static void expect_teardown(struct peer *peer, uint32_t gpadl)
{
    struct hv_msg_gpadl_teardown teardown = {0};

    CU_ASSERT_EQUAL(peer_expect(peer, HV_MSG_GPADL_TEARDOWN, &teardown, sizeof(teardown)), 0);
    CU_ASSERT(teardown.relid == 1 && teardown.gpadl == gpadl);
}

static void test_messages(void)
{
    /* relid 1, GPADL, 32 bytes, 1 range; 12288 bytes at offset 0; pages */
    static const uint32_t want[] = {8,
                                    0,
                                    1,
                                    GPADL + 1,
                                    32 | 1 << 16,
                                    3 * PAGE,
                                    0,
                                    SHARE_PFN,
                                    0,
                                    SHARE_PFN + 1,
                                    0,
                                    SHARE_PFN + 2,
                                    0};
    struct hv_shared shared = {0};
    uint8_t header[sizeof(want)];
    uint64_t pfns[3];
    struct hv_channel *channel;
    struct peer peer;
    uint8_t byte = 0;
    uint8_t *va;
    int fd;

    channel = begin(&peer, 0);
    share_answers(&peer, SHARE_PFN, GPADL + 1);
    CU_ASSERT_EQUAL(hv_channel_share(channel, HV_SHARED_RECEIVE, 2 * PAGE + 1, &shared), 0);
    CU_ASSERT_EQUAL(shared.bytes, 3 * PAGE);
    CU_ASSERT_EQUAL(shared.gpadl, GPADL + 1);
    va = shared.address;
    CU_ASSERT_EQUAL((uintptr_t)va % PAGE, 0);
    CU_ASSERT_EQUAL(va[0] | va[3 * PAGE - 1], 0);
    CU_ASSERT_EQUAL(peer_expect_memory(&peer, SHARE_PFN, 3, &fd), 0);
    CU_ASSERT_EQUAL(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_GPADL_HEADER, header, sizeof(header)), 0);
    CU_ASSERT(!memcmp(header, want, sizeof(want)));
    CU_ASSERT_EQUAL(pwrite(fd, "x", 1, PAGE + 5), 1); /* what the host writes, the guest reads */
    memcpy(&byte, va + PAGE + 5, 1);
    CU_ASSERT_EQUAL(byte, 'x');
    close(fd);
    /* it is DMA memory, too */
    CU_ASSERT_EQUAL(hv_dma_pfns(peer.bus, va, 3 * PAGE, pfns, 3), 3);
    CU_ASSERT_EQUAL(pfns[2], SHARE_PFN + 2);

    peer_torndown(&peer, GPADL + 1);
    hv_channel_unshare(channel, HV_SHARED_RECEIVE);
    expect_teardown(&peer, GPADL + 1);
    CU_ASSERT_EQUAL(peer_expect_remove(&peer, SHARE_PFN, 3), 0);
    CU_ASSERT_EQUAL(hv_dma_pfns(peer.bus, va, PAGE, pfns, 3), -EFAULT);
    hv_channel_unshare(channel, HV_SHARED_RECEIVE); /* nothing shared */
    hv_channel_unshare(channel, HV_SHARED_SEND);
    CU_ASSERT_EQUAL(hv_channel_status(channel), 0);
    CU_ASSERT_STRING_EQUAL(peer.log, "");
    peer_fini(&peer);
}

/** Closing the channel gives everything back, after the rings. */
static void test_close(void)
{
    struct hv_shared receive = {0}, send = {0};
    struct hv_channel *channel;
    struct hv_msg_relid close_msg;
    unsigned fds = peer_count_fds();
    struct peer peer;

    channel = begin(&peer, 0);
    share_answers(&peer, SHARE_PFN, GPADL + 1);
    share_answers(&peer, SHARE_PFN + 1, GPADL + 2);
    CU_ASSERT_EQUAL(hv_channel_share(channel, HV_SHARED_RECEIVE, PAGE, &receive), 0);
    CU_ASSERT_EQUAL(hv_channel_share(channel, HV_SHARED_SEND, 2 * PAGE, &send), 0);
    CU_ASSERT(receive.address != send.address && receive.gpadl != send.gpadl);
    CU_ASSERT_EQUAL(hv_channel_share(channel, HV_SHARED_SEND, PAGE, &send), -EBUSY);
    peer_skip(&peer);
    peer_torndown(&peer, GPADL);
    peer_torndown(&peer, GPADL + 2);
    peer_torndown(&peer, GPADL + 1);
    hv_channel_close(channel);
    CU_ASSERT_EQUAL(peer_expect(&peer, HV_MSG_CLOSE_CHANNEL, &close_msg, sizeof(close_msg)), 0);
    expect_teardown(&peer, GPADL);
    CU_ASSERT_EQUAL(peer_expect_remove(&peer, PEER_FIRST_PFN, RING_PAGES), 0);
    expect_teardown(&peer, GPADL + 2);
    CU_ASSERT_EQUAL(peer_expect_remove(&peer, SHARE_PFN + 1, 2), 0);
    expect_teardown(&peer, GPADL + 1);
    CU_ASSERT_EQUAL(peer_expect_remove(&peer, SHARE_PFN, 1), 0);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    CU_ASSERT_STRING_EQUAL(peer.log, "");
    peer_fini(&peer);
    CU_ASSERT_EQUAL(peer_count_fds(), fds);
}

static void memory_refused(struct peer *peer)
{
    peer_memory_result(peer, SHARE_PFN, -ENOMEM);
}

static void gpadl_refused(struct peer *peer)
{
    peer_memory_result(peer, SHARE_PFN, 0);
    peer_gpadl_created(peer, GPADL + 1, HV_STATUS_INVALID);
}

static void rescinded(struct peer *peer)
{
    peer_memory_result(peer, SHARE_PFN, 0);
    peer_rescind(peer, 1);
}

static void gone(struct peer *peer)
{
    peer_memory_result(peer, SHARE_PFN, 0);
    peer_end(peer);
}

static void silent(struct peer *peer)
{
    peer_memory_result(peer, SHARE_PFN, 0);
}

static void test_share_fails(void)
{
    static const struct {
        const char *name;
        void (*host)(struct peer *peer);
        int want;
        bool again; /* it can be tried again */
    } rows[] = {
        {"memory refused", memory_refused, -ENOMEM, true},
        {"handle refused", gpadl_refused, -EIO, true},
        {"no answer", silent, -ETIMEDOUT, true},
        {"rescinded meanwhile", rescinded, -ENODEV, false},
        {"host gone", gone, -ENODEV, false},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct hv_shared shared = {.gpadl = 42};
        unsigned fds = peer_count_fds();
        struct hv_channel *channel;
        struct peer peer;

        channel = begin(&peer, rows[i].want == -ETIMEDOUT ? PEER_TIMEOUT_MS : 0);
        rows[i].host(&peer);
        HV_CHECK_ROW(rows[i].name,
                     hv_channel_share(channel, HV_SHARED_SEND, PAGE, &shared) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, !shared.address && shared.gpadl == 42);
        if (rows[i].again) {
            share_answers(&peer, SHARE_PFN + 1, GPADL + (i ? 2 : 1));
            HV_CHECK_ROW(rows[i].name,
                         hv_channel_share(channel, HV_SHARED_SEND, PAGE, &shared) == 0);
        } else {
            HV_CHECK_ROW(rows[i].name,
                         hv_channel_share(channel, HV_SHARED_SEND, PAGE, &shared) == -ENODEV);
        }
        peer_fini(&peer);
        HV_CHECK_ROW(rows[i].name, peer_count_fds() == fds);
    }
}

static void test_arguments(void)
{
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    struct hv_shared shared = {0};
    struct hv_channel *channel, *sub = NULL;
    struct peer_frame frame;
    struct peer peer;

    channel = begin(&peer, 0);
    CU_ASSERT_EQUAL(hv_channel_share(channel, HV_SHARED_SEND, 0, &shared), -EINVAL);
    CU_ASSERT_EQUAL(hv_channel_share(channel, HV_SHARED_SEND,
                                     (size_t)HV_GPADL_RANGE_MAX_PAGES * PAGE + 1, &shared),
                    -EINVAL);
    peer_offer(&peer, 2, 1, -1);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), 0);
    opts.out_bytes = opts.in_bytes = 2 * PAGE;
    peer_channel_opened(&peer, 2, SHARE_PFN, GPADL + 1, 2);
    CU_ASSERT_EQUAL(hv_channel_open(peer.bus, &peer_instance, 1, &opts, &sub), 0);
    peer_skip(&peer);
    CU_ASSERT_EQUAL(hv_channel_share(sub, HV_SHARED_SEND, PAGE, &shared), -EINVAL);
    hv_channel_unshare(sub, HV_SHARED_SEND);
    peer_read(&peer, &frame);
    CU_ASSERT_EQUAL(frame.length, 0); /* the host heard nothing of it */
    CU_ASSERT_PTR_NULL(shared.address);
    peer_fini(&peer);
}

/** A host that keeps the buffer is cut off. */
static void test_unshare_unanswered(void)
{
    struct hv_shared shared = {0};
    struct hv_channel *channel;
    struct peer peer;

    channel = begin(&peer, PEER_TIMEOUT_MS);
    share_answers(&peer, SHARE_PFN, GPADL + 1);
    CU_ASSERT_EQUAL(hv_channel_share(channel, HV_SHARED_SEND, PAGE, &shared), 0);
    hv_channel_unshare(channel, HV_SHARED_SEND);
    CU_ASSERT_EQUAL(hv_channel_status(channel), -ENODEV);
    CU_ASSERT_EQUAL(hv_vmbus_poll(peer.bus), -ENODEV);
    CU_ASSERT(strstr(peer.log, "does not give a shared buffer back") != NULL);
    peer_fini(&peer);
}

static const struct hv_test_case cases[] = {
    {"messages of share and unshare", test_messages},
    {"close gives back", test_close},
    {"share fails", test_share_fails},
    {"arguments", test_arguments},
    {"unshare that is not answered", test_unshare_unanswered},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.share", cases, HV_TEST_COUNT(cases), argc, argv);
}
