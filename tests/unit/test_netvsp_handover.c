/* SPDX-License-Identifier: BSD-3-Clause */
/* The FIFO between workers: order, bounds, wrap, sleep, many producers. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include <hv/base/bits.h>

#include "frame.h"
#include "handover.h"
#include "suite.h"

static bool is_readable(struct hv_handover *handover)
{
    struct pollfd p = {.fd = hv_handover_fd(handover), .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

/* A frame of `bytes` in two pieces that tells its number. */
struct made {
    uint8_t data[4096];
    struct iovec iov[2];
    struct hv_frame frame;
};

static void make(struct made *made, uint32_t number, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        made->data[i] = (uint8_t)(number + i);
    memcpy(made->data, &number, sizeof(number));
    made->iov[0] = (struct iovec){made->data, 6};
    made->iov[1] = (struct iovec){made->data + 6, bytes - 6};
    made->frame = (struct hv_frame){.iov = made->iov,
                                    .iov_count = 2,
                                    .bytes = bytes,
                                    .flags = HV_FRAME_VLAN | HV_FRAME_HASH,
                                    .vlan_tci = (uint16_t)number,
                                    .rss_hash = ~number};
}

static bool is_made(const struct hv_frame *frame, uint32_t number, uint32_t bytes)
{
    const uint8_t *data = frame->iov[0].iov_base;
    uint32_t told;

    if (frame->iov_count != 1 || frame->bytes != bytes || frame->iov[0].iov_len != bytes ||
        frame->vlan_tci != (uint16_t)number || frame->rss_hash != ~number ||
        frame->flags != (HV_FRAME_VLAN | HV_FRAME_HASH))
        return false;
    memcpy(&told, data, sizeof(told));
    for (uint32_t i = 4; i < bytes; i++)
        if (data[i] != (uint8_t)(number + i))
            return false;
    return told == number;
}

static void test_options(void)
{
    static const struct {
        uint32_t slots, bytes;
        int want;
    } cases[] = {
        {0, 4096, -EINVAL},  {1, 4096, -EINVAL},  {3, 4096, -EINVAL}, {131072, 4096, -EINVAL},
        {16, 2048, -EINVAL}, {16, 5000, -EINVAL}, {2, 4096, 0},       {65536, 4096, 0},
    };

    for (size_t i = 0; i < HV_COUNT_OF(cases); i++) {
        struct hv_handover *handover = NULL;

        CU_ASSERT_EQUAL(hv_handover_create(cases[i].slots, cases[i].bytes, &handover),
                        cases[i].want);
        CU_ASSERT_EQUAL(handover != NULL, cases[i].want == 0);
        hv_handover_destroy(handover);
    }
    hv_handover_destroy(NULL);
}

/* Lengths that leave a rest at the end of the memory; every frame comes out whole, in order. */
static void test_order_and_wrap(void)
{
    struct hv_handover *handover;
    struct made made;
    uint32_t in = 0, out = 0;

    CU_ASSERT_EQUAL_FATAL(hv_handover_create(8, 4096, &handover), 0);
    while (out < 5000) {
        struct hv_frame frames[3];
        uint16_t n;

        while (true) {
            make(&made, in, 14 + in * 37 % 1300);
            if (!hv_handover_put(handover, &made.frame, 1))
                break;
            in++;
        }
        CU_ASSERT(in > out);
        n = hv_handover_peek(handover, frames, 3);
        CU_ASSERT(n > 0);
        for (uint16_t i = 0; i < n; i++, out++)
            CU_ASSERT(is_made(&frames[i], out, 14 + out * 37 % 1300));
        hv_handover_release(handover, n);
        if (!n)
            break;
    }
    hv_handover_destroy(handover);
}

static void test_bounds(void)
{
    struct hv_handover *handover;
    struct hv_frame frames[16];
    struct made made[9];

    CU_ASSERT_EQUAL_FATAL(hv_handover_create(8, 4096, &handover), 0);
    for (uint32_t i = 0; i < 9; i++) {
        make(&made[i], i, 64);
        frames[i] = made[i].frame;
    }
    CU_ASSERT_EQUAL(hv_handover_put(handover, frames, 9), 8); /* slots */
    CU_ASSERT_EQUAL(hv_handover_put(handover, frames, 1), 0);
    CU_ASSERT_EQUAL(hv_handover_peek(handover, frames, 16), 8);
    CU_ASSERT_EQUAL(hv_handover_peek(handover, frames, 16), 8); /* not released: the same again */
    hv_handover_release(handover, 5);
    CU_ASSERT_EQUAL(hv_handover_peek(handover, frames, 16), 3);
    CU_ASSERT(is_made(&frames[0], 5, 64));
    hv_handover_release(handover, 3);
    hv_handover_release(handover, 0);
    CU_ASSERT_EQUAL(hv_handover_peek(handover, frames, 16), 0);

    make(&made[0], 0, 2049); /* more than half the memory: never */
    CU_ASSERT_EQUAL(hv_handover_put(handover, &made[0].frame, 1), 0);
    for (uint32_t round = 0; round < 50; round++) { /* half of it: always into an empty one */
        make(&made[0], round, 2048);
        CU_ASSERT_EQUAL(hv_handover_put(handover, &made[0].frame, 1), 1);
        make(&made[1], round, 14 + round * 61 % 1500);
        (void)hv_handover_put(handover, &made[1].frame, 1);
        hv_handover_release(handover, hv_handover_peek(handover, frames, 16));
        CU_ASSERT_EQUAL(hv_handover_peek(handover, frames, 16), 0);
    }
    hv_handover_destroy(handover);
}

static void test_sleep(void)
{
    struct hv_handover *handover;
    struct hv_frame frame;
    struct made made;

    CU_ASSERT_EQUAL_FATAL(hv_handover_create(8, 4096, &handover), 0);
    make(&made, 1, 64);
    CU_ASSERT_EQUAL(hv_handover_put(handover, &made.frame, 1), 1);
    CU_ASSERT(!is_readable(handover)); /* awake: no system call */
    CU_ASSERT(hv_handover_arm(handover));
    CU_ASSERT_EQUAL(hv_handover_peek(handover, &frame, 1), 1);
    hv_handover_release(handover, 1);
    CU_ASSERT(!hv_handover_arm(handover));
    CU_ASSERT(!is_readable(handover));
    CU_ASSERT_EQUAL(hv_handover_put(handover, &made.frame, 1), 1);
    CU_ASSERT(is_readable(handover));
    hv_handover_disarm(handover);
    CU_ASSERT(!is_readable(handover));
    CU_ASSERT_EQUAL(hv_handover_put(handover, &made.frame, 1), 1);
    CU_ASSERT(!is_readable(handover));
    hv_handover_disarm(handover); /* twice is fine */
    CU_ASSERT(hv_handover_arm(handover));
    hv_handover_destroy(handover);
}

#define PRODUCERS 3u
#define FRAMES    30000u

struct producer {
    struct hv_handover *handover;
    uint32_t index;
};

static void *produce(void *arg)
{
    const struct producer *producer = arg;
    struct made made[4];
    struct hv_frame frames[4];
    uint32_t sent = 0;

    while (sent < FRAMES) {
        uint16_t count = (uint16_t)hv_min_u32(1 + sent % 4, FRAMES - sent);

        for (uint32_t i = 0; i < count; i++) {
            make(&made[i], producer->index << 24 | (sent + i), 14 + (sent + i) * 13 % 200);
            frames[i] = made[i].frame;
        }
        sent += hv_handover_put(producer->handover, frames, count);
    }
    return NULL;
}

/* Frames of each producer come in its order, none twice, none lost, the consumer sleeping whenever it may. */
static void test_threads(void)
{
    struct hv_handover *handover;
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    uint32_t next[PRODUCERS] = {0};
    uint32_t total = 0;
    uint32_t wrong = 0;

    CU_ASSERT_EQUAL_FATAL(hv_handover_create(64, 8192, &handover), 0);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){handover, i};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    while (total < PRODUCERS * FRAMES && !wrong) {
        struct hv_frame frames[16];
        uint16_t n = hv_handover_peek(handover, frames, 16);

        for (uint16_t i = 0; i < n; i++) {
            uint32_t number;
            uint32_t from;

            memcpy(&number, frames[i].iov[0].iov_base, sizeof(number));
            from = number >> 24;
            if (from >= PRODUCERS || (number & 0xffffff) != next[from] ||
                !is_made(&frames[i], number, 14 + next[from] * 13 % 200))
                wrong++;
            else
                next[from]++;
        }
        hv_handover_release(handover, n);
        total += n;
        if (!n && !hv_handover_arm(handover)) {
            struct pollfd p = {.fd = hv_handover_fd(handover), .events = POLLIN};

            if (poll(&p, 1, 20000) != 1) /* a lost wake-up */
                wrong++;
            hv_handover_disarm(handover);
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    while (wrong && hv_handover_peek(handover, &(struct hv_frame){0}, 1))
        hv_handover_release(handover, 1);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        CU_ASSERT_EQUAL(pthread_join(threads[i], NULL), 0);
        CU_ASSERT_EQUAL(next[i], FRAMES);
    }
    hv_handover_destroy(handover);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"options", test_options}, {"order and wrap", test_order_and_wrap},
        {"bounds", test_bounds},   {"sleep", test_sleep},
        {"threads", test_threads},
    };

    return hv_test_main("netvsp.handover", cases, HV_TEST_COUNT(cases), argc, argv);
}
