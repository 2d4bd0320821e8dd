/* SPDX-License-Identifier: BSD-3-Clause */
/* What there is only so much of, and what takes its time. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "suite.h"
#include "test_bus_raw.h"

/* ---- Messages that wait for the guest ---- */

#define REQUESTS 1500u

/** Answers that do not fit the socket are kept, in order, the descriptors of offers with them. */
static void test_slow_reader(void)
{
    const struct hv_msg_header offers = {.type = HV_MSG_REQUEST_OFFERS};
    struct hv_msg_initiate_contact contact = {.hdr.type = HV_MSG_INITIATE_CONTACT,
                                              .version = HV_VERSION_4_0};
    const struct hv_sock_memory_result *result;
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    raw_connect(&raw, &rig);
    CU_ASSERT_EQUAL(raw_hello(&raw), 0);
    result = (const void *)raw.frame;
    for (uint32_t i = 0; i < REQUESTS; i++)
        CU_ASSERT_EQUAL(raw_memory_frame(&raw, HV_SOCK_MEMORY_REMOVE, 1 + i, 1, 0, -1), 0);
    CU_ASSERT_EQUAL(raw_post(&raw, &contact, sizeof(contact)), 0);
    CU_ASSERT_EQUAL(raw_post(&raw, &offers, sizeof(offers)), 0);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        if (raw_receive(&raw) != HV_SOCK_MEMORY_RESULT || result->first_pfn != 1 + i) {
            CU_FAIL("out of order");
            break;
        }
    }
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_ALL_OFFERS_DELIVERED));
    CU_ASSERT_EQUAL(raw.offer_count, 1);
    raw_signal(&raw, 0); /* they are what they should be */
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/** A guest that goes without reading what waits for it. */
static void test_reader_leaves(void)
{
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    raw_connect(&raw, &rig);
    CU_ASSERT_EQUAL(raw_hello(&raw), 0);
    for (uint32_t i = 0; i < REQUESTS; i++)
        CU_ASSERT_EQUAL(raw_memory_frame(&raw, HV_SOCK_MEMORY_REMOVE, 1 + i, 1, 0, -1), 0);
    raw_disconnect(&raw);
    CU_ASSERT(rig_wait(&rig.guests_removed, 1));
    rig_stop(&rig);
}

/* ---- Channels ---- */

#define DEVICES 256

static int never_open(void *device_ctx, struct hv_host_channel *channel, const void *user_data,
                      size_t user_data_bytes, void **ret_ctx)
{
    (void)device_ctx;
    (void)channel;
    (void)user_data;
    (void)user_data_bytes;
    (void)ret_ctx;
    return -EPERM;
}

static int never_poll(void *ctx)
{
    (void)ctx;
    return 0;
}

static void never_close(void *ctx)
{
    (void)ctx;
}

/** Some more devices than fit, each class twice, the larger one first. */
static void offer_many(struct rig *rig, void *arg)
{
    static const struct hv_host_device_ops never = {
        .open = never_open, .poll = never_poll, .close = never_close};
    struct hv_host_device_opts opts = {.size = sizeof(opts), .monitored = true};
    struct hv_host_device **devices = arg;

    for (unsigned i = 0; i < DEVICES; i++) {
        opts.class_id.b[0] = (uint8_t)(2 - i % 2);
        opts.instance_id.b[0] = (uint8_t)i;
        CU_ASSERT_EQUAL(hv_host_device_offer(rig->host, &opts, &never, NULL, &devices[i]), 0);
    }
    opts.instance_id.b[1] = 1;
    CU_ASSERT_EQUAL(hv_host_device_offer(rig->host, &opts, &never, NULL, &devices[0]), -ENOSPC);
}

static void withdraw_many(struct rig *rig, void *arg)
{
    struct hv_host_device **devices = arg;

    (void)rig;
    for (unsigned i = 0; i < DEVICES; i++)
        hv_host_device_withdraw(devices[i], NULL, NULL);
}

static void test_many_devices(void)
{
    static struct hv_host_device *devices[DEVICES];
    const struct hv_msg_header request = {.type = HV_MSG_REQUEST_OFFERS};
    const struct hv_sock_message *message;
    const struct hv_msg_offer *offer;
    unsigned monitored = 0, count = 0;
    uint8_t last_class = 0;
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){.no_device = true});
    rig_call(&rig, offer_many, devices);
    raw_connect(&raw, &rig);
    CU_ASSERT_EQUAL(raw_hello(&raw), 0);
    CU_ASSERT_EQUAL(raw_memory(&raw), 0);
    CU_ASSERT_EQUAL(raw_contact(&raw, RAW_VERSION, true), 0);
    CU_ASSERT_EQUAL(raw_post(&raw, &request, sizeof(request)), 0);
    message = (const void *)raw.frame;
    offer = (const void *)message->payload;
    while (raw_receive(&raw) == HV_SOCK_MESSAGE && offer->hdr.type == HV_MSG_OFFER_CHANNEL) {
        count++;
        CU_ASSERT(offer->class_id.b[0] >= last_class); /* sorted by class, then as they were made */
        last_class = offer->class_id.b[0];
        CU_ASSERT_EQUAL(offer->instance_id.b[0], (2 * (count - 1) + (count <= 128)) % 256);
        if (offer->monitor_allocated)
            CU_ASSERT_EQUAL(offer->monitor_id, monitored++);
        raw_forget_offers(&raw);
    }
    CU_ASSERT_EQUAL(offer->hdr.type, HV_MSG_ALL_OFFERS_DELIVERED);
    CU_ASSERT_EQUAL(count, DEVICES);
    CU_ASSERT_EQUAL(monitored, 128); /* the others go without */
    rig_call(&rig, withdraw_many, devices);
    for (unsigned i = 0; i < DEVICES; i++)
        CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_RESCIND_OFFER));
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/** Rings whose pages lie backwards need a mapping for each page; there are only so many. */
static void test_scattered_rings(void)
{
    struct echo more[4] = {0};
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    for (uint8_t i = 0; i < 4; i++)
        rig_offer(&rig, &more[i], (uint8_t)(2 + i), false);
    raw_ready(&raw, &rig, RAW_VERSION);
    CU_ASSERT_EQUAL_FATAL(raw.offer_count, 5);
    for (unsigned i = 0; i < 5; i++) {
        raw_gpadl_backwards(&raw, raw.offers[i].message.relid, 50 + i, RAW_PFN, RAW_PAGES);
        CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
        raw_post_open(&raw, raw.offers[i].message.relid, 50 + i, RAW_PAGES / 2, 0);
        CU_ASSERT_EQUAL(raw_open_status(&raw), i < 4 ? 0 : HV_STATUS_UNSUCCESSFUL);
    }
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, raw.offers[1].message.relid);
    raw_post_teardown(&raw, raw.offers[1].message.relid, 51);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    raw_post_open(&raw, raw.offers[4].message.relid, 54, RAW_PAGES / 2, 0); /* now there is room */
    CU_ASSERT_EQUAL(raw_open_status(&raw), 0);
    raw_disconnect(&raw);
    CU_ASSERT(rig_wait(&rig.guests_removed, 1));
    for (unsigned i = 0; i < 4; i++) {
        rig_withdraw(&rig, &more[i]);
        CU_ASSERT(rig_wait_flag(&more[i].gone));
    }
    rig_stop(&rig);
}

/* ---- Descriptors ---- */

static void do_listen(struct rig *rig, void *arg)
{
    CU_ASSERT_EQUAL(hv_host_listen(rig->host, arg), 0);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, path, strlen(path));
    CU_ASSERT_EQUAL(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/** No descriptor left to accept a guest with: it is accepted when there is one again. */
static void test_out_of_descriptors(void)
{
    char folder[] = "/tmp/hv-limits-XXXXXX", path[64];
    struct rlimit limit, tight;
    struct rig rig;
    struct raw raw = {.memory_fd = -1};

    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/sock", folder);
    rig_start(&rig, &(struct rig_opts){0});
    rig_call(&rig, do_listen, path);
    CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
    raw.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    tight = limit;
    tight.rlim_cur = (rlim_t)raw.fd + 1; /* it has the last one */
    (void)close(raw.fd);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &tight), 0);
    raw.fd = connect_to(path);
    while (!rig_has_warned(&rig, "cannot accept"))
        (void)poll(NULL, 0, 1);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CU_ASSERT_EQUAL(raw_hello(&raw), 0);
    raw_disconnect(&raw);
    rig_stop(&rig);
    CU_ASSERT_EQUAL(rmdir(folder), 0);
}

#define FILLERS_MAX 64

static void do_nothing(struct rig *rig, void *arg)
{
    (void)rig;
    (void)arg;
}

/** Take every number below the limit that is still free. */
static size_t fill_descriptors(int fd, int fillers[FILLERS_MAX])
{
    size_t count = 0;

    while (count < FILLERS_MAX && (fillers[count] = dup(fd)) >= 0)
        count++;
    CU_ASSERT_TRUE(count < FILLERS_MAX);
    return count;
}

/** No descriptor left for the memory of a guest that did nothing wrong. */
static void test_no_descriptor_for_memory(void)
{
    int fd, fillers[FILLERS_MAX];
    struct rlimit limit, tight;
    struct rig rig;
    struct raw raw;
    size_t count;

    rig_start(&rig, &(struct rig_opts){0});
    raw_connect(&raw, &rig);
    CU_ASSERT_EQUAL(raw_hello(&raw), 0);
    fd = raw_file(4096, F_SEAL_SHRINK);
    rig_call(&rig, do_nothing, NULL); /* it has closed what it wants to close */
    CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
    tight = limit;
    tight.rlim_cur = (rlim_t)fd + 1;
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &tight), 0);
    count = fill_descriptors(fd, fillers);
    (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_ADD, 0x10, 1, 0, fd);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), -ENOMEM);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    while (count)
        (void)close(fillers[--count]);
    (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_ADD, 0x10, 1, 0, fd);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), 0);
    (void)close(fd);
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/* ---- Providers that take their time ---- */

static void say_now(const struct echo *echo)
{
    const uint64_t one = 1;

    CU_ASSERT_EQUAL(write(echo->late_fd, &one, sizeof(one)), sizeof(one));
}

/** The descriptor that a provider watches wakes the worker, also after a move to another. */
static void test_watched_descriptor(void)
{
    struct hv_msg_modify_channel modify = {.hdr.type = HV_MSG_MODIFY_CHANNEL};
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    rig.echo.late_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    raw_ready(&raw, &rig, RAW_VERSION);
    modify.relid = raw.offers[0].message.relid;
    for (uint32_t round = 0; round < 3; round++) {
        CU_ASSERT_EQUAL(raw_open(&raw, modify.relid), 0);
        for (uint32_t vp = 0; vp <= round; vp++) {
            modify.target_vp = vp;
            CU_ASSERT_EQUAL(raw_post(&raw, &modify, sizeof(modify)), 0);
            CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_MODIFY_CHANNEL_RESULT));
        }
        raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, modify.relid);
        raw_post_teardown(&raw, modify.relid, RAW_GPADL);
        CU_ASSERT(raw_silent(&raw, 50));
        say_now(&rig.echo);
        CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    }
    raw_disconnect(&raw);
    rig_stop(&rig);
    (void)close(rig.echo.late_fd);
}

static void *say_late(void *arg)
{
    struct echo *echo = arg;

    (void)rig_wait(&echo->closing, 1);
    (void)poll(NULL, 0, 50); /* long enough for destroy to be asleep */
    say_now(echo);
    return NULL;
}

/** The host is destroyed while a provider still writes to guest memory: it is waited for, asleep. */
static void test_destroy_waits(void)
{
    pthread_t thread;
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    rig.echo.late_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    raw_ready(&raw, &rig, RAW_VERSION);
    CU_ASSERT_EQUAL(raw_open(&raw, raw.offers[0].message.relid), 0);
    CU_ASSERT_EQUAL(pthread_create(&thread, NULL, say_late, &rig.echo), 0);
    rig_stop(&rig);
    CU_ASSERT_EQUAL(atomic_load(&rig.echo.closed), 1);
    (void)pthread_join(thread, NULL);
    raw_disconnect(&raw);
    (void)close(rig.echo.late_fd);
}

/** A worker is busy with one channel while another is told to move and, before it did, to close. */
static void test_close_before_move(void)
{
    struct hv_msg_modify_channel modify = {.hdr.type = HV_MSG_MODIFY_CHANNEL, .target_vp = 1};
    struct echo other = {0};
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    rig_offer(&rig, &other, 2, false);
    raw_ready(&raw, &rig, RAW_VERSION);
    CU_ASSERT_EQUAL(raw_open(&raw, raw.offers[0].message.relid), 0);
    modify.relid = raw.offers[1].message.relid;
    raw_gpadl_pages(&raw, modify.relid, 60, RAW_PFN + 32, 8);
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), 0);
    raw_post_open(&raw, modify.relid, 60, 4, 0);
    CU_ASSERT_EQUAL(raw_open_status(&raw), 0);
    atomic_store(&rig.echo.hold_worker, true);
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, raw.offers[0].message.relid);
    CU_ASSERT(rig_wait(&rig.echo.closing, 1));
    CU_ASSERT_EQUAL(raw_post(&raw, &modify, sizeof(modify)), 0);
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, modify.relid);
    raw_post_teardown(&raw, modify.relid, 60);
    (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_REMOVE, 1, 1, 0, -1);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), -ENOENT); /* all of it was read */
    atomic_store(&rig.echo.hold_worker, false);
    CU_ASSERT_PTR_NOT_NULL(raw_expect(&raw, HV_MSG_GPADL_TORNDOWN));
    CU_ASSERT_EQUAL(atomic_load(&other.closed), 1);
    raw_disconnect(&raw);
    CU_ASSERT(rig_wait(&rig.guests_removed, 1));
    rig_withdraw(&rig, &other);
    CU_ASSERT(rig_wait_flag(&other.gone));
    rig_stop(&rig);
}

static const struct hv_test_case cases[] = {
    {"slow reader", test_slow_reader},
    {"reader leaves", test_reader_leaves},
    {"256 devices", test_many_devices},
    {"scattered rings", test_scattered_rings},
    {"out of descriptors", test_out_of_descriptors},
    {"no descriptor for memory", test_no_descriptor_for_memory},
    {"watched descriptor", test_watched_descriptor},
    {"destroy waits for providers", test_destroy_waits},
    {"close before a move", test_close_before_move},
};

int main(int argc, char **argv)
{
    return hv_test_main("pair.bus.limits", cases, HV_TEST_COUNT(cases), argc, argv);
}
