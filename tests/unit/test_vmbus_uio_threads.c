/* SPDX-License-Identifier: BSD-3-Clause */
/* An owner thread at work on a uio channel: no wake-up is lost, and the device may go at any moment. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <hv/wire/ring.h>

#include "suite.h"
#include "uio_tree.h"

#define ROUNDS 2000u

struct rig {
    struct tree tree;
    struct tree_device device;
    struct hv_guid instance;
    struct hv_vmbus *bus;
    struct hv_channel *channel;
    struct hv_ring_area to_host, to_guest;
    struct hv_ring_rx host_rx;
    struct hv_ring_tx host_tx;
    /* owner */
    uint32_t rounds;
    int status;
    _Atomic uint32_t done;
};

static void rig_init(struct rig *rig, const char *release)
{
    *rig = (struct rig){0};
    tree_init(&rig->tree, tree_kernel(release));
    rig->device = tree_network(37);
    rig->instance = tree_instance(&rig->device);
    tree_device(&rig->tree, &rig->device);
    tree_map_rings(&rig->tree, &rig->device, &rig->to_host, &rig->to_guest);
    CU_ASSERT(!tree_open(&rig->tree, "uio:" TREE_INSTANCE, &rig->bus));
    CU_ASSERT(!hv_channel_open(rig->bus, &rig->instance, 0, NULL, &rig->channel));
    CU_ASSERT(!hv_ring_rx_init(&rig->host_rx, &rig->to_host));
    CU_ASSERT(!hv_ring_tx_init(&rig->host_tx, &rig->to_guest));
}

static void rig_fini(struct rig *rig)
{
    hv_vmbus_close(rig->bus);
    hv_ring_unmap(&rig->to_host);
    hv_ring_unmap(&rig->to_guest);
    tree_fini(&rig->tree);
}

static int owner_send(struct rig *rig, uint64_t id)
{
    struct hv_packet_desc desc = {.trans_id = id, .type = HV_PACKET_INBAND, .payload_bytes = 8};
    struct hv_packet_slot slot;
    int err = hv_channel_reserve(rig->channel, &desc, &slot);

    if (err)
        return err;
    memcpy(slot.payload, &id, sizeof(id));
    return hv_channel_flush(rig->channel);
}

/** Sleep until there is something; -ETIMEDOUT: a wake-up was lost. */
static int owner_wait(struct rig *rig, struct hv_packet *packet)
{
    int err;

    while ((err = hv_channel_peek(rig->channel, packet)) == -EAGAIN) {
        struct pollfd pfd = {.fd = hv_channel_fd(rig->channel), .events = POLLIN};
        int ready;

        if (hv_channel_arm(rig->channel))
            continue;
        ready = poll(&pfd, 1, 20000);
        hv_channel_disarm(rig->channel);
        if (ready != 1)
            return -ETIMEDOUT;
    }
    return err;
}

static void *ask_and_sleep(void *arg)
{
    struct rig *rig = arg;

    while (rig->rounds < ROUNDS && !rig->status) {
        struct hv_packet packet = {0};

        rig->status = owner_send(rig, rig->rounds + 1);
        if (!rig->status)
            rig->status = owner_wait(rig, &packet);
        if (!rig->status && packet.trans_id != rig->rounds + 1)
            rig->status = -EBADMSG;
        if (rig->status)
            break;
        hv_channel_release(rig->channel);
        rig->rounds++;
    }
    atomic_store(&rig->done, 1);
    return NULL;
}

/** What the host does, and the kernel's interrupt handler after it, with the masks of its generation. */
static void answer_one(struct rig *rig, const struct hv_packet *packet)
{
    struct hv_packet_desc desc = {
        .trans_id = packet->trans_id,
        .type = HV_PACKET_INBAND,
        .payload_bytes = 8,
    };
    struct hv_packet_slot slot;

    if (hv_ring_tx_reserve(&rig->host_tx, &desc, &slot))
        return;
    memset(slot.payload, 0, 8);
    if (!hv_ring_tx_publish(&rig->host_tx))
        return;
    if (rig->tree.kernel->mask_at_open)
        atomic_store(&rig->to_guest.control->interrupt_mask, 1);
    tree_interrupt(&rig->tree);
}

static void test_no_lost_wakeup(void)
{
    static const char *const releases[] = {"5.15", "6.12", "6.16", "6.18.0"};

    for (size_t i = 0; i < HV_TEST_COUNT(releases); i++) {
        struct hv_channel_stats stats;
        pthread_t owner;
        struct rig rig;

        rig_init(&rig, releases[i]);
        CU_ASSERT(!pthread_create(&owner, NULL, ask_and_sleep, &rig));
        while (!atomic_load(&rig.done)) {
            struct hv_packet packet;

            if (hv_ring_rx_peek(&rig.host_rx, &packet)) {
                (void)sched_yield();
                continue;
            }
            answer_one(&rig, &packet);
            (void)hv_ring_rx_release(&rig.host_rx);
        }
        (void)pthread_join(owner, NULL);
        HV_CHECK_ROW(releases[i], rig.status == 0 && rig.rounds == ROUNDS);
        hv_channel_get_stats(rig.channel, &stats);
        HV_CHECK_ROW(releases[i], stats.wakeups > 0);
        rig_fini(&rig);
    }
}

/** Polls without ever sleeping: only the control thread can know that the device is gone. */
static void *work_and_poll(void *arg)
{
    struct rig *rig = arg;

    while (!rig->status) {
        struct hv_packet packet;
        int err = owner_send(rig, rig->rounds + 1);

        if (err == -EAGAIN)
            err = 0; /* nobody reads */
        if (!err)
            err = hv_channel_peek(rig->channel, &packet);
        if (!err)
            hv_channel_release(rig->channel);
        if (err && err != -EAGAIN)
            rig->status = err;
        atomic_store(&rig->done, ++rig->rounds);
    }
    return NULL;
}

static void test_end_under_the_owner(void)
{
#ifdef __SANITIZE_THREAD__
    /* it takes a mapping for a write, and what is replaced here under the owner's hands is meant to be */
    (void)printf("(not with ThreadSanitizer) ");
    (void)work_and_poll;
    return;
#endif
    for (int i = 0; i < 20; i++) {
        uint8_t before[3 * 4096], after[sizeof(before)];
        char path[160];
        pthread_t owner;
        struct rig rig;
        int fd;

        rig_init(&rig, "6.12");
        (void)snprintf(path, sizeof(path), "%s/uio3", rig.tree.dev);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        CU_ASSERT(!pthread_create(&owner, NULL, work_and_poll, &rig));
        while (atomic_load(&rig.done) < 100)
            (void)sched_yield();
        tree_die(&rig.tree);
        tree_remove(&rig.tree, "sys/bus/vmbus/devices/" TREE_INSTANCE);
        CU_ASSERT(!hv_vmbus_poll(rig.bus));
        /* from here on the kernel may use the memory for something else */
        CU_ASSERT(pread(fd, before, sizeof(before), 0) == sizeof(before));
        (void)pthread_join(owner, NULL);
        CU_ASSERT(pread(fd, after, sizeof(after), 0) == sizeof(after));
        CU_ASSERT(!memcmp(before, after, sizeof(before)));
        CU_ASSERT_EQUAL(rig.status, -ENODEV);
        (void)close(fd);
        rig_fini(&rig);
    }
}

static const struct hv_test_case cases[] = {
    {"no lost wake-up", test_no_lost_wakeup},
    {"end under the owner", test_end_under_the_owner},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.uio.threads", cases, HV_TEST_COUNT(cases), argc, argv);
}
