/* SPDX-License-Identifier: BSD-3-Clause */
/* hv/host.h by itself: options, descriptors, work, and what an idle host and worker say; all in one thread. */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hv/host.h>
#include <hv/wire/message.h>
#include <hv/wire/sock.h>

#include "suite.h"

static void test_create_options(void)
{
    struct hv_host_opts opts = HV_HOST_OPTS_INIT;
    struct hv_host *host = NULL;

    CU_ASSERT_EQUAL(hv_host_create(NULL, &host), -EINVAL);
    opts.size = 1;
    CU_ASSERT_EQUAL(hv_host_create(&opts, &host), -EINVAL);
    opts.size = sizeof(opts);
    opts.max_version = 0x00010001u; /* older than the oldest we speak */
    CU_ASSERT_EQUAL(hv_host_create(&opts, &host), -EINVAL);
    CU_ASSERT_PTR_NULL(host);
    opts.max_version = HV_VERSION_2_4;
    CU_ASSERT_EQUAL(hv_host_create(&opts, &host), 0);
    CU_ASSERT_EQUAL(hv_host_poll(host), 0);
    CU_ASSERT_EQUAL(hv_host_next_deadline_ms(host), -1);
    hv_host_destroy(host);
    hv_host_destroy(NULL);
}

static struct hv_host *make_host(void)
{
    const struct hv_host_opts opts = HV_HOST_OPTS_INIT;
    struct hv_host *host = NULL;

    CU_ASSERT_EQUAL_FATAL(hv_host_create(&opts, &host), 0);
    return host;
}

static void test_listen_errors(void)
{
    struct hv_host *host = make_host();
    char longest[200];

    memset(longest, 'x', sizeof(longest) - 1);
    longest[0] = '/';
    longest[sizeof(longest) - 1] = 0;
    CU_ASSERT_EQUAL(hv_host_listen(host, NULL), -EINVAL);
    CU_ASSERT_EQUAL(hv_host_listen(host, ""), -EINVAL);
    CU_ASSERT_EQUAL(hv_host_listen(host, longest), -ENAMETOOLONG);
    CU_ASSERT_EQUAL(hv_host_listen(host, "/nonexistent-folder/sock"), -ENOENT);
    CU_ASSERT_EQUAL(hv_host_listen(host, "/dev/null"), -EADDRINUSE); /* never removed */
    CU_ASSERT_EQUAL(access("/dev/null", F_OK), 0);
    CU_ASSERT_EQUAL(hv_host_adopt(host, -1), -EBADF);
    hv_host_destroy(host);
}

/* ---- Devices ---- */

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

static const struct hv_host_device_ops never = {
    .open = never_open, .poll = never_poll, .close = never_close};

static void count_gone(void *arg)
{
    (*(int *)arg)++;
}

static void test_device_offers(void)
{
    struct hv_host_device_opts opts = {.size = sizeof(opts), .instance_id = {{1}}};
    struct hv_host_device_ops half = never;
    struct hv_host *host = make_host();
    struct hv_host_device *device = NULL, *other;
    struct pollfd fd = {.fd = hv_host_fd(host), .events = POLLIN};
    int gone = 0;

    half.close = NULL;
    CU_ASSERT_EQUAL(hv_host_device_offer(host, &opts, &half, NULL, &device), -EINVAL);
    CU_ASSERT_EQUAL(hv_host_device_offer(host, NULL, &never, NULL, &device), -EINVAL);
    opts.size--;
    CU_ASSERT_EQUAL(hv_host_device_offer(host, &opts, &never, NULL, &device), -EINVAL);
    opts.size++;
    CU_ASSERT_PTR_NULL(device);
    CU_ASSERT_EQUAL(hv_host_device_offer(host, &opts, &never, NULL, &device), 0);
    CU_ASSERT_EQUAL(hv_host_device_offer(host, &opts, &never, NULL, &other), -EEXIST);
    hv_host_device_withdraw(device, count_gone, &gone);
    CU_ASSERT_EQUAL(gone, 0); /* from poll, not from within */
    CU_ASSERT_EQUAL(hv_host_device_offer(host, &opts, &never, NULL, &other), 0);
    CU_ASSERT_EQUAL(poll(&fd, 1, 0), 1);
    CU_ASSERT_EQUAL(hv_host_poll(host), 0);
    CU_ASSERT_EQUAL(gone, 1);
    CU_ASSERT_EQUAL(poll(&fd, 1, 0), 0);
    hv_host_device_withdraw(other, count_gone, &gone);
    hv_host_destroy(host); /* or from destroy */
    CU_ASSERT_EQUAL(gone, 2);
}

/* ---- Work ---- */

struct counted {
    struct hv_host_work work;
    struct hv_host *host;
    int runs;
    bool again;
};

static void count_run(struct hv_host_work *work)
{
    struct counted *c = (struct counted *)(void *)work;

    c->runs++;
    if (c->again)
        hv_host_post(c->host, &c->work);
}

static void test_work(void)
{
    struct hv_host *host = make_host();
    struct counted a = {.work.run = count_run, .host = host}, b = a, c = a;
    struct pollfd fd = {.fd = hv_host_fd(host), .events = POLLIN};

    hv_host_post(host, &a.work);
    hv_host_post(host, &b.work);
    hv_host_post(host, &a.work); /* queued already */
    CU_ASSERT_EQUAL(poll(&fd, 1, 0), 1);
    CU_ASSERT_EQUAL(hv_host_poll(host), 0);
    CU_ASSERT_EQUAL(a.runs, 1);
    CU_ASSERT_EQUAL(b.runs, 1);
    CU_ASSERT_EQUAL(poll(&fd, 1, 0), 0);
    c.again = true; /* queues itself: once a poll, not for ever */
    hv_host_post(host, &c.work);
    for (int i = 1; i <= 3; i++) {
        CU_ASSERT_EQUAL(hv_host_poll(host), 0);
        CU_ASSERT_EQUAL(c.runs, i);
    }
    c.again = false;
    hv_host_post(host, &a.work);
    hv_host_destroy(host); /* carries out what is queued */
    CU_ASSERT_EQUAL(a.runs, 2);
    CU_ASSERT_EQUAL(c.runs, 4);
}

/* ---- A guest that only says hello ---- */

struct seen {
    struct hv_host_guest *guest;
    int added, removed;
    bool put;
};

static void seen_added(void *arg, struct hv_host_guest *guest)
{
    struct seen *seen = arg;

    seen->guest = guest;
    seen->added++;
}

static void seen_removed(void *arg, struct hv_host_guest *guest)
{
    struct seen *seen = arg;

    CU_ASSERT_PTR_EQUAL(seen->guest, guest);
    seen->removed++;
    if (seen->put)
        hv_host_guest_put(guest);
}

static int say_hello(struct hv_host *host)
{
    struct hv_sock_hello hello = {.hdr = {.type = HV_SOCK_HELLO, .length_bytes = sizeof(hello)},
                                  .magic = HV_SOCK_MAGIC,
                                  .version = HV_SOCK_VERSION};
    int fds[2];

    memset(hello.name, 'n', sizeof(hello.name)); /* no zero at the end */
    hello.name[3] = '\n';
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    CU_ASSERT_EQUAL(hv_host_adopt(host, fds[0]), 0);
    CU_ASSERT(hv_host_next_deadline_ms(host) > 0); /* for the hello */
    CU_ASSERT(hv_host_next_deadline_ms(host) <= 10000);
    CU_ASSERT_EQUAL(send(fds[1], &hello, sizeof(hello), 0), sizeof(hello));
    CU_ASSERT_EQUAL(hv_host_poll(host), 0);
    CU_ASSERT_EQUAL(hv_host_next_deadline_ms(host), -1);
    return fds[1];
}

static void test_guest(void)
{
    struct hv_host_opts opts = HV_HOST_OPTS_INIT;
    struct hv_host *host = NULL;
    struct seen seen = {0};
    struct hv_host_worker *worker;
    struct pollfd fd = {.events = POLLIN};
    int guest;

    opts.workers_per_guest = 2;
    opts.guest_added = seen_added;
    opts.guest_removed = seen_removed;
    opts.arg = &seen;
    CU_ASSERT_EQUAL_FATAL(hv_host_create(&opts, &host), 0);
    guest = say_hello(host);
    CU_ASSERT_EQUAL_FATAL(seen.added, 1);
    CU_ASSERT_EQUAL(hv_host_guest_id(seen.guest), 1);
    CU_ASSERT_EQUAL(strncmp(hv_host_guest_name(seen.guest), "nnn?nnn", 7), 0);
    CU_ASSERT_EQUAL(strlen(hv_host_guest_name(seen.guest)), 48);
    CU_ASSERT_EQUAL(hv_host_guest_worker_count(seen.guest), 2);
    CU_ASSERT_PTR_NULL(hv_host_guest_worker(seen.guest, 2));
    worker = hv_host_guest_worker(seen.guest, 1);
    CU_ASSERT_EQUAL(hv_host_worker_poll(worker), 0);
    CU_ASSERT_FALSE(hv_host_worker_arm(worker));
    fd.fd = hv_host_worker_fd(worker);
    CU_ASSERT_EQUAL(poll(&fd, 1, 0), 0);
    hv_host_worker_disarm(worker);
    (void)close(guest);
    CU_ASSERT_EQUAL(hv_host_poll(host), 0);
    CU_ASSERT_EQUAL(seen.removed, 1);
    CU_ASSERT_EQUAL(hv_host_worker_poll(worker), 0); /* not given back yet */
    hv_host_guest_put(seen.guest);
    CU_ASSERT_EQUAL(hv_host_poll(host), 0);
    seen.put = true;
    guest = say_hello(host);
    CU_ASSERT_EQUAL(hv_host_guest_id(seen.guest), 2);
    hv_host_destroy(host);
    CU_ASSERT_EQUAL(seen.removed, 2);
    (void)close(guest);
}

static void drop_added(void *arg, struct hv_host_guest *guest)
{
    seen_added(arg, guest);
    hv_host_guest_drop(guest, "no %s", "threads");
}

/* A program that cannot serve a guest hangs up; nobody ever polls its workers. */
static void test_guest_dropped(void)
{
    struct hv_host_opts opts = HV_HOST_OPTS_INIT;
    struct hv_host *host = NULL;
    struct seen seen = {0};
    char frame[512] __attribute__((aligned(8)));
    const struct hv_sock_header *goodbye = (const void *)frame;
    ssize_t bytes;
    int guest;

    opts.guest_added = drop_added;
    opts.guest_removed = seen_removed;
    opts.arg = &seen;
    CU_ASSERT_EQUAL_FATAL(hv_host_create(&opts, &host), 0);
    guest = say_hello(host);
    CU_ASSERT_EQUAL(seen.added, 1);
    CU_ASSERT_EQUAL(seen.removed, 1);
    CU_ASSERT_EQUAL(recv(guest, frame, sizeof(frame), MSG_DONTWAIT), sizeof(struct hv_sock_hello));
    bytes = recv(guest, frame, sizeof(frame), MSG_DONTWAIT);
    CU_ASSERT_FATAL(bytes > (ssize_t)sizeof(*goodbye));
    CU_ASSERT_EQUAL(goodbye->type, HV_SOCK_GOODBYE);
    CU_ASSERT_EQUAL(strncmp(frame + sizeof(*goodbye), "no threads", 10), 0);
    CU_ASSERT_EQUAL(recv(guest, frame, sizeof(frame), MSG_DONTWAIT), 0);
    (void)close(guest);
    hv_host_guest_put(seen.guest);
    hv_host_destroy(host);
}

static const struct hv_test_case cases[] = {
    {"options", test_create_options},
    {"listen errors", test_listen_errors},
    {"devices", test_device_offers},
    {"work", test_work},
    {"guest", test_guest},
    {"guest dropped", test_guest_dropped},
};

int main(int argc, char **argv)
{
    return hv_test_main("unit.host", cases, HV_TEST_COUNT(cases), argc, argv);
}
