/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest must not do, said in raw frames: it costs that guest its connection, and nobody else anything. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "suite.h"
#include "test_bus_raw.h"

static uint32_t relid_of(const struct raw *raw)
{
    return raw->offers[0].message.relid;
}

static void post_header(struct raw *raw, uint32_t type, size_t bytes)
{
    uint64_t message[HV_MESSAGE_MAX_BYTES / 8] = {type};

    (void)raw_post(raw, message, bytes);
}

/* ---- Frames: what is sent instead of HELLO ---- */

static void frame_bad_magic(struct raw *raw)
{
    struct hv_sock_hello hello = {
        .hdr = {.type = HV_SOCK_HELLO, .length_bytes = sizeof(hello)}, .magic = 1, .version = 1};

    (void)raw_send(raw, &hello, sizeof(hello), NULL, 0);
}

static void frame_new_version(struct raw *raw)
{
    struct hv_sock_hello hello = {.hdr = {.type = HV_SOCK_HELLO, .length_bytes = sizeof(hello)},
                                  .magic = HV_SOCK_MAGIC,
                                  .version = 2};

    (void)raw_send(raw, &hello, sizeof(hello), NULL, 0);
    CU_ASSERT_EQUAL(raw_receive(raw), HV_SOCK_HELLO); /* so that the guest learns ours */
}

static void frame_not_hello(struct raw *raw)
{
    post_header(raw, HV_MSG_REQUEST_OFFERS, 8);
}

static void frame_tiny(struct raw *raw)
{
    (void)raw_send(raw, "\1\0\0\0", 4, NULL, 0);
}

static void frame_lies_about_length(struct raw *raw)
{
    const struct hv_sock_header hdr = {.type = HV_SOCK_HELLO, .length_bytes = 64};

    (void)raw_send(raw, &hdr, sizeof(hdr), NULL, 0);
}

/* ---- Frames after HELLO ---- */

static void frame_hello_again(struct raw *raw)
{
    CU_ASSERT_EQUAL(raw_hello(raw), 0);
    (void)raw_hello(raw);
}

static void frame_too_long(struct raw *raw)
{
    uint64_t frame[65] = {HV_SOCK_MESSAGE | 513ull << 32};

    CU_ASSERT_EQUAL(raw_hello(raw), 0);
    (void)raw_send(raw, frame, 513, NULL, 0);
}

static void frame_flags(struct raw *raw)
{
    const struct hv_sock_header hdr = {.type = HV_SOCK_MESSAGE, .flags = 1, .length_bytes = 8};

    CU_ASSERT_EQUAL(raw_hello(raw), 0);
    (void)raw_send(raw, &hdr, sizeof(hdr), NULL, 0);
}

static void frame_type_of_host(struct raw *raw)
{
    const struct hv_sock_header hdr = {.type = HV_SOCK_GOODBYE, .length_bytes = 8};

    CU_ASSERT_EQUAL(raw_hello(raw), 0);
    (void)raw_send(raw, &hdr, sizeof(hdr), NULL, 0);
}

static void frame_type_unknown(struct raw *raw)
{
    const struct hv_sock_header hdr = {.type = 0xffff, .length_bytes = 8};

    CU_ASSERT_EQUAL(raw_hello(raw), 0);
    (void)raw_send(raw, &hdr, sizeof(hdr), NULL, 0);
}

static void frame_without_fd(struct raw *raw)
{
    CU_ASSERT_EQUAL(raw_hello(raw), 0);
    (void)raw_memory_frame(raw, HV_SOCK_MEMORY_ADD, 1, 1, 0, -1);
}

static void frame_with_fd(struct raw *raw)
{
    CU_ASSERT_EQUAL(raw_hello(raw), 0);
    (void)raw_memory_frame(raw, HV_SOCK_MEMORY_REMOVE, 1, 1, 0, raw->fd);
}

static void frame_with_many_fds(struct raw *raw)
{
    const struct hv_sock_memory memory = {
        .hdr = {.type = HV_SOCK_MEMORY_ADD, .length_bytes = sizeof(memory)}};
    const int fds[7] = {raw->fd, raw->fd, raw->fd, raw->fd, raw->fd, raw->fd, raw->fd};

    CU_ASSERT_EQUAL(raw_hello(raw), 0);
    (void)raw_send(raw, &memory, sizeof(memory), fds, 7);
}

static void frame_message_lies(struct raw *raw)
{
    struct {
        struct hv_sock_message head;
        uint64_t payload[2];
    } frame = {.head = {.hdr = {.type = HV_SOCK_MESSAGE, .length_bytes = sizeof(frame)},
                        .payload_bytes = 8}};

    CU_ASSERT_EQUAL(raw_hello(raw), 0);
    (void)raw_send(raw, &frame, sizeof(frame), NULL, 0);
}

static const struct {
    const char *name;
    void (*run)(struct raw *raw);
    const char *goodbye;
} frames[] = {
    {"bad magic", frame_bad_magic, "wrong magic"},
    {"newer version", frame_new_version, "version"},
    {"no hello", frame_not_hello, "HELLO first"},
    {"4 bytes", frame_tiny, "length"},
    {"lies about its length", frame_lies_about_length, "length"},
    {"second hello", frame_hello_again, "second HELLO"},
    {"513 bytes", frame_too_long, "too long"},
    {"flags", frame_flags, "flags"},
    {"type of the host", frame_type_of_host, "type"},
    {"type unknown", frame_type_unknown, "type"},
    {"memory without descriptor", frame_without_fd, "descriptors"},
    {"removal with descriptor", frame_with_fd, "descriptors"},
    {"seven descriptors", frame_with_many_fds, "descriptors"},
    {"message lies about its length", frame_message_lies, "message of 8 bytes"},
};

static void test_frames(void)
{
    struct rig rig;

    rig_start(&rig, &(struct rig_opts){0});
    for (size_t i = 0; i < HV_TEST_COUNT(frames); i++) {
        struct raw raw;

        raw_connect(&raw, &rig);
        frames[i].run(&raw);
        HV_CHECK_ROW(frames[i].name, raw_goodbye(&raw, frames[i].goodbye));
        HV_CHECK_ROW(frames[i].name, rig_warned(&rig, frames[i].goodbye));
        raw_disconnect(&raw);
    }
    rig_stop(&rig);
}

/* ---- Messages of a guest that is ready ---- */

static void msg_unknown(struct raw *raw)
{
    post_header(raw, 99, 8);
}

static void msg_of_host(struct raw *raw)
{
    post_header(raw, HV_MSG_OFFER_CHANNEL, 200);
}

static void msg_hvsocket(struct raw *raw)
{
    post_header(raw, 21, 56);
}

static void msg_short(struct raw *raw)
{
    post_header(raw, HV_MSG_OPEN_CHANNEL, 147);
}

static void msg_elsewhere(struct raw *raw)
{
    const struct hv_msg_relid close = {.hdr.type = HV_MSG_CLOSE_CHANNEL, .relid = relid_of(raw)};

    (void)raw_post_to(raw, 4, &close, sizeof(close));
}

static void msg_offers_again(struct raw *raw)
{
    post_header(raw, HV_MSG_REQUEST_OFFERS, 8);
}

static void msg_open_unknown(struct raw *raw)
{
    raw_post_open(raw, 2047, 1, 4, 0);
}

static void msg_open_twice(struct raw *raw)
{
    CU_ASSERT_EQUAL(raw_open(raw, relid_of(raw)), 0);
    raw_post_open(raw, relid_of(raw), RAW_GPADL, 4, 0);
}

static void msg_close_closed(struct raw *raw)
{
    raw_post_relid(raw, HV_MSG_CLOSE_CHANNEL, relid_of(raw));
}

static void msg_close_unknown(struct raw *raw)
{
    raw_post_relid(raw, HV_MSG_CLOSE_CHANNEL, 0);
}

static void msg_close_twice(struct raw *raw)
{
    CU_ASSERT_EQUAL(raw_open(raw, relid_of(raw)), 0);
    raw_post_relid(raw, HV_MSG_CLOSE_CHANNEL, relid_of(raw));
    raw_post_relid(raw, HV_MSG_CLOSE_CHANNEL, relid_of(raw));
}

static void msg_release_open(struct raw *raw)
{
    CU_ASSERT_EQUAL(raw_open(raw, relid_of(raw)), 0);
    raw_post_relid(raw, HV_MSG_RELID_RELEASED, relid_of(raw));
}

static void msg_release_twice(struct raw *raw)
{
    raw_post_relid(raw, HV_MSG_RELID_RELEASED, relid_of(raw));
    raw_post_relid(raw, HV_MSG_RELID_RELEASED, relid_of(raw));
}

static void msg_modify_unknown(struct raw *raw)
{
    const struct hv_msg_modify_channel modify = {.hdr.type = HV_MSG_MODIFY_CHANNEL, .relid = 9999};

    (void)raw_post(raw, &modify, sizeof(modify));
}

static void msg_modify_closed(struct raw *raw)
{
    const struct hv_msg_modify_channel modify = {.hdr.type = HV_MSG_MODIFY_CHANNEL,
                                                 .relid = relid_of(raw)};

    (void)raw_post(raw, &modify, sizeof(modify));
}

static void msg_gpadl_twice(struct raw *raw)
{
    raw_gpadl_pages(raw, relid_of(raw), 5, RAW_PFN, 1);
    raw_gpadl_pages(raw, relid_of(raw), 5, RAW_PFN, 1);
}

static void msg_teardown_growing(struct raw *raw)
{
    const struct hv_msg_gpadl_header header = {.hdr.type = HV_MSG_GPADL_HEADER,
                                               .relid = relid_of(raw),
                                               .gpadl = 5,
                                               .range_bytes = 16,
                                               .range_count = 1};

    (void)raw_post(raw, &header, sizeof(header)); /* not one range yet */
    raw_post_teardown(raw, relid_of(raw), 5);
}

static void msg_teardown_twice(struct raw *raw)
{
    CU_ASSERT_EQUAL(raw_open(raw, relid_of(raw)), 0);
    raw_post_teardown(raw, relid_of(raw), RAW_GPADL);
    raw_post_teardown(raw, relid_of(raw), RAW_GPADL);
}

static void ring_index_beyond(struct raw *raw)
{
    CU_ASSERT_EQUAL(raw_open(raw, relid_of(raw)), 0);
    atomic_store(&raw_out(raw)->write_index, 3 * HV_PAGE_BYTES);
    raw_signal(raw, 0);
}

static void ring_index_odd(struct raw *raw)
{
    CU_ASSERT_EQUAL(raw_open(raw, relid_of(raw)), 0);
    atomic_store(&raw_out(raw)->write_index, 12);
    raw_signal(raw, 0);
}

static void ring_garbage(struct raw *raw)
{
    CU_ASSERT_EQUAL(raw_open(raw, relid_of(raw)), 0);
    memset(raw_out(raw) + 1, 0xff, 64);
    atomic_store(&raw_out(raw)->write_index, 64);
    raw_signal(raw, 0);
}

static const struct {
    const char *name;
    void (*run)(struct raw *raw);
    const char *goodbye;
    uint32_t version; /* 0 = newest */
} messages[] = {
    {"type 99", msg_unknown, "type 99", 0},
    {"an offer from the guest", msg_of_host, "type 1,", 0},
    {"hvsocket", msg_hvsocket, "type 21", 0},
    {"short open", msg_short, "147 bytes, needs 148", 0},
    {"wrong connection", msg_elsewhere, "connection 4", 0},
    {"second request for offers", msg_offers_again, "twice", 0},
    {"open of nothing", msg_open_unknown, "channel 2047", 0},
    {"open of an open channel", msg_open_twice, "which is open", 0},
    {"close of a closed channel", msg_close_closed, "not open", 0},
    {"close of relid 0", msg_close_unknown, "channel 0", 0},
    {"close twice", msg_close_twice, "not open", 0},
    {"release of an open channel", msg_release_open, "which is open", 0},
    {"release twice", msg_release_twice, "does not exist", 0},
    {"modify of nothing", msg_modify_unknown, "channel 9999", 0},
    {"modify at 4.0", msg_modify_unknown, "newer than the version", HV_VERSION_4_0},
    {"modify of a closed channel at 5.2", msg_modify_closed, "not open", HV_VERSION_5_2},
    {"GPADL id twice", msg_gpadl_twice, "exists already", 0},
    {"teardown of half a GPADL", msg_teardown_growing, "not complete", 0},
    {"teardown twice", msg_teardown_twice, "being torn down", 0},
    {"write index beyond the ring", ring_index_beyond, "ring index", 0},
    {"write index not aligned", ring_index_odd, "multiple of 8", 0},
    {"garbage in the ring", ring_garbage, "guest-to-host ring", 0},
};

static void test_messages(void)
{
    struct rig rig;
    struct raw witness;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&witness, &rig, RAW_VERSION);
    for (size_t i = 0; i < HV_TEST_COUNT(messages); i++) {
        struct raw raw;

        raw_ready(&raw, &rig, messages[i].version ? messages[i].version : RAW_VERSION);
        messages[i].run(&raw);
        HV_CHECK_ROW(messages[i].name, raw_goodbye(&raw, messages[i].goodbye));
        HV_CHECK_ROW(messages[i].name, rig_warned(&rig, "raw"));
        raw_disconnect(&raw);
    }
    CU_ASSERT_EQUAL(raw_open(&witness, relid_of(&witness)), 0); /* untouched by all of it */
    raw_disconnect(&witness);
    CU_ASSERT(rig_wait(&rig.guests_removed, HV_TEST_COUNT(messages) + 1));
    rig_stop(&rig);
}

static void test_before_contact(void)
{
    static const uint32_t types[] = {3, 5, 7, 8, 9, 11, 13, 16, 22};
    struct rig rig;

    rig_start(&rig, &(struct rig_opts){0});
    for (size_t i = 0; i < HV_TEST_COUNT(types); i++) {
        struct raw raw;

        raw_connect(&raw, &rig);
        CU_ASSERT_EQUAL(raw_hello(&raw), 0);
        post_header(&raw, types[i], 200);
        CU_ASSERT(raw_goodbye(&raw, "before contact"));
        raw_disconnect(&raw);
    }
    rig_stop(&rig);
}

/* ---- Memory ---- */

static void test_memory_results(void)
{
    static const struct {
        const char *name;
        uint64_t first_pfn, pages, offset;
        int seals, want;
    } rows[] = {
        {"fits", 0x10, 4, 0, F_SEAL_SHRINK, 0},
        {"behind it", 0x14, 2, 8192, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, 0},
        {"overlaps at the end", 0x15, 4, 0, F_SEAL_SHRINK, -EINVAL},
        {"overlaps at the start", 0x0f, 2, 0, F_SEAL_SHRINK, -EINVAL},
        {"in front of it", 0x01, 4, 0, F_SEAL_SHRINK, 0},
        {"page 0", 0, 1, 0, F_SEAL_SHRINK, -EINVAL},
        {"no page", 0x100, 0, 0, F_SEAL_SHRINK, -EINVAL},
        {"longer than the file", 0x100, 5, 0, F_SEAL_SHRINK, -EINVAL},
        {"offset beyond the file", 0x100, 1, 1 << 20, F_SEAL_SHRINK, -EINVAL},
        {"offset overflows", 0x100, 1, ~0xfffull, F_SEAL_SHRINK, -EINVAL},
        {"offset not aligned", 0x100, 1, 512, F_SEAL_SHRINK, -EINVAL},
        {"page count overflows", 0x100, 1ull << 52, 0, F_SEAL_SHRINK, -EINVAL},
        {"page numbers beyond 2^40", (1ull << 40) - 1, 2, 0, F_SEAL_SHRINK, -EINVAL},
        {"last page number", (1ull << 40) - 1, 1, 0, F_SEAL_SHRINK, 0},
        {"not sealed", 0x200, 1, 0, 0, -EACCES},
        {"sealed against growing only", 0x200, 1, 0, F_SEAL_GROW, -EACCES},
        {"sealed against writing", 0x200, 1, 0, F_SEAL_SHRINK | F_SEAL_WRITE, -EACCES},
    };
    struct rig rig;
    struct raw raw;
    int fds[2];

    rig_start(&rig, &(struct rig_opts){0});
    raw_connect(&raw, &rig);
    CU_ASSERT_EQUAL(raw_hello(&raw), 0);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        int fd = raw_file(4 * HV_PAGE_BYTES, rows[i].seals);

        (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_ADD, rows[i].first_pfn, rows[i].pages,
                               rows[i].offset, fd);
        HV_CHECK_ROW(rows[i].name, raw_memory_result(&raw) == rows[i].want);
        (void)close(fd);
    }
    CU_ASSERT_EQUAL(pipe(fds), 0);
    (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_ADD, 0x200, 1, 0, fds[0]);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), -EOPNOTSUPP);
    (void)close(fds[0]);
    (void)close(fds[1]);
    (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_REMOVE, 0x10, 3, 0, -1);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), -ENOENT);
    (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_REMOVE, 0x10, 4, 0, -1);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), 0);
    (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_REMOVE, 0x10, 4, 0, -1);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), -ENOENT);
    raw_disconnect(&raw);
    rig_stop(&rig);
}

static void test_memory_bound(void)
{
    struct rig rig;
    struct raw raw;
    int fd = raw_file(HV_PAGE_BYTES, F_SEAL_SHRINK);
    unsigned i;
    int err = 0;

    rig_start(&rig, &(struct rig_opts){0});
    raw_connect(&raw, &rig);
    CU_ASSERT_EQUAL(raw_hello(&raw), 0);
    for (i = 0; i < 2000 && !err; i++) {
        (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_ADD, 2000 - i, 1, 0, fd);
        err = raw_memory_result(&raw);
    }
    CU_ASSERT_EQUAL(err, -ENOSPC);
    CU_ASSERT_EQUAL(i - 1, 1024);
    (void)close(fd);
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/** What an open channel may use stays until it is closed. */
static void test_memory_removed_late(void)
{
    struct rig rig;
    struct raw raw;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    CU_ASSERT_EQUAL(raw_contact(&raw, RAW_VERSION, false), 0);
    CU_ASSERT_EQUAL(raw_offers(&raw), 0);
    CU_ASSERT_EQUAL(raw_open(&raw, relid_of(&raw)), 0);
    (void)raw_memory_frame(&raw, HV_SOCK_MEMORY_REMOVE, RAW_PFN, RAW_PAGES, 0, -1);
    raw_gpadl_pages(&raw, relid_of(&raw), 9, RAW_PFN, 1);
    CU_ASSERT_EQUAL(raw_gpadl_status(&raw), HV_STATUS_INVALID); /* no new use */
    CU_ASSERT(raw_silent(&raw, 50));
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid_of(&raw));
    raw_post_teardown(&raw, relid_of(&raw), RAW_GPADL);
    CU_ASSERT_EQUAL(raw_memory_result(&raw), 0);
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/* ---- A guest that does not read ---- */

static void test_guest_does_not_read(void)
{
    struct rig rig;
    struct raw raw;
    int err = 0;

    rig_start(&rig, &(struct rig_opts){0});
    raw_connect(&raw, &rig);
    CU_ASSERT_EQUAL(raw_hello(&raw), 0);
    for (unsigned i = 0; i < 100000 && !err; i++) /* each is answered -ENOENT */
        err = raw_memory_frame(&raw, HV_SOCK_MEMORY_REMOVE, 1, 1, 0, -1);
    CU_ASSERT_EQUAL(err, -EPIPE);
    CU_ASSERT(rig_warned(&rig, "does not read"));
    CU_ASSERT(rig_wait(&rig.guests_removed, 1));
    raw_disconnect(&raw);
    rig_stop(&rig);
}

/** A full event counter that would block the worker: it goes on, and who leaves it so is dropped. */
static void test_event_counter_full(void)
{
    const uint64_t full = UINT64_MAX - 1;
    struct rig rig;
    struct raw raw;
    int flags;

    rig_start(&rig, &(struct rig_opts){0});
    raw_ready(&raw, &rig, RAW_VERSION);
    flags = fcntl(raw.offers[0].event_fd, F_GETFL);
    CU_ASSERT_EQUAL(fcntl(raw.offers[0].event_fd, F_SETFL, flags & ~O_NONBLOCK), 0);
    CU_ASSERT_EQUAL(write(raw.offers[0].event_fd, &full, sizeof(full)), sizeof(full));
    CU_ASSERT_EQUAL(raw_open(&raw, relid_of(&raw)), 0);
    /* one packet: the answer wants an event, because the mask is 0 and the ring was empty */
    const struct hv_ring_descriptor packet = {
        .type = HV_PACKET_INBAND, .offset8 = 2, .length8 = 3, .trans_id = 1};
    memcpy(raw_out(&raw) + 1, &packet, sizeof(packet));
    atomic_store(&raw_out(&raw)->write_index, 32);
    raw_signal(&raw, 0);
    while (atomic_load(&raw_in(&raw)->write_index) != 32)
        (void)poll(NULL, 0, 1);
    atomic_store(&rig.echo.hold_close, true);
    raw_post_relid(&raw, HV_MSG_CLOSE_CHANNEL, relid_of(&raw));
    CU_ASSERT(raw_goodbye(&raw, "event counter"));
    atomic_store(&rig.echo.hold_close, false);
    CU_ASSERT(rig_wait(&rig.guests_removed, 1));
    raw_disconnect(&raw);
    rig_stop(&rig);
}

static void test_too_many_guests(void)
{
    struct rig rig;
    struct raw raw[3];

    rig_start(&rig, &(struct rig_opts){.max_guests = 2});
    for (unsigned i = 0; i < 3; i++)
        raw_connect(&raw[i], &rig);
    CU_ASSERT(raw_goodbye(&raw[2], "as many guests as it may"));
    CU_ASSERT_EQUAL(raw_hello(&raw[0]), 0);
    raw_disconnect(&raw[0]);
    CU_ASSERT(rig_wait(&rig.guests_removed, 1));
    raw_disconnect(&raw[2]);
    raw_connect(&raw[2], &rig);
    CU_ASSERT_EQUAL(raw_hello(&raw[2]), 0);
    raw_disconnect(&raw[1]);
    raw_disconnect(&raw[2]);
    rig_stop(&rig);
}

static const struct hv_test_case cases[] = {
    {"frames", test_frames},
    {"messages", test_messages},
    {"messages before contact", test_before_contact},
    {"memory results", test_memory_results},
    {"memory regions are bounded", test_memory_bound},
    {"memory in use is removed late", test_memory_removed_late},
    {"guest does not read", test_guest_does_not_read},
    {"event counter full", test_event_counter_full},
    {"too many guests", test_too_many_guests},
};

int main(int argc, char **argv)
{
    return hv_test_main("pair.bus.hostile", cases, HV_TEST_COUNT(cases), argc, argv);
}
