/* SPDX-License-Identifier: BSD-3-Clause */
/* The links that need nothing of the machine: loop, sink, source, pair; and what is said about wrong ones. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>

#include "netvsp_nic.h"
#include "suite.h"

static struct nic nic_a, nic_b, nic_c;
static struct net_frame net;
static void test_wrong_texts(void)
{
    static const struct {
        const char *text;
        int want;
        const char *says;
    } cases[] = {
        {NULL, -EINVAL, "needs a link"},
        {"", -EINVAL, "is no link"},
        {"loo", -EINVAL, "allowed are tap:NAME, loop"},
        {"loopy", -EINVAL, "is no link"},
        {"loop:", -EINVAL, "nothing may follow"},
        {"sink:1", -EINVAL, "nothing may follow"},
        {"pair", -EINVAL, "something must follow"},
        {"pair:", -EINVAL, "an ID has 1 to 31"},
        {"pair:a b", -EINVAL, "an ID has"},
        {"pair:01234567890123456789012345678901", -EINVAL, "an ID has"},
        {"source:", -EINVAL, "from 60 to 1514"},
        {"source:59", -EINVAL, "from 60 to 1514"},
        {"source:1515", -EINVAL, "from 60 to 1514"},
        {"source:64x", -EINVAL, "from 60"},
        {"source:-64", -EINVAL, "from 60"},
        {"source:64,flows=0", -EINVAL, "not a number from 1 to 65536"},
        {"source:64,flows=65537", -EINVAL, "flows=65537"},
        {"source:64,flows=", -EINVAL, "not a number"},
        {"source:64,count=0", -EINVAL, "count=0"},
        {"source:64,speed=1", -EINVAL, "\"speed=1\" is no option"},
        {"source:1514,flows=65536", 0, ""},
        {"tap:", -EINVAL, "a name has 1 to 15"},
        {"tap:0123456789abcdef", -EINVAL, "a name has"},
        {"tap:a/b", -EINVAL, "a name has"},
        {"tap:tap%d", -EINVAL, "a name has"},
        {"tap:..", -EINVAL, "a name has"},
        {"tap:a b", -EINVAL, "a name has"},
        {"tap:hv0,kernel-offload=off", -EINVAL, "is no option"},
        {"pcap:", -EINVAL, "needs a file"},
        {"pcap:,", -EINVAL, "needs a file"},
        {"pcap:/nonexistent/a.pcap", -ENOENT, "No such file"},
        {"pcap:/dev/null", -EINVAL, "no regular file"},
        {"pcap:,/dev/null", -EINVAL, "no regular file"},
        {"pcap:a,b,c", -EINVAL, "\"c\""},
        {"pcap:a,repeat=x", -EINVAL, "not a number"},
    };

    for (size_t i = 0; i < HV_COUNT_OF(cases); i++) {
        const char *name = cases[i].text ? cases[i].text : "NULL";

        HV_CHECK_ROW(name, nic_open(&nic_a, cases[i].text, 1, NULL) == cases[i].want);
        HV_CHECK_ROW(name, strstr(nic_a.why, cases[i].says) != NULL);
        HV_CHECK_ROW(name, (nic_a.link != NULL) == (cases[i].want == 0));
        nic_close(&nic_a);
    }
    CU_ASSERT_EQUAL(nic_open(&nic_a, "loop", 0, NULL), -EINVAL);
    CU_ASSERT_EQUAL(nic_open(&nic_a, "loop", 65, NULL), -EINVAL);
    CU_ASSERT_PTR_NULL(nic_a.link);
    hv_link_destroy(NULL);
}

static void test_sink(void)
{
    const struct net_shape shape = {.payload = 100};
    struct hv_frame frames[2];

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic_a, "sink", 2, NULL), 0);
    net_make(&net, &shape);
    frames[0] = frames[1] = net.frame;
    hv_link_send(nic_a.link, 0, frames, 2);
    hv_link_send(nic_a.link, 1, frames, 1);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).sent, 3);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).sent_bytes, 3 * net.frame.bytes);
    CU_ASSERT_EQUAL(hv_link_poll(nic_a.link, 0, 32), 0);
    CU_ASSERT(!hv_link_arm(nic_a.link, 0));
    CU_ASSERT_EQUAL(hv_link_fd(nic_a.link, 0), -1);
    CU_ASSERT(hv_link_carrier(nic_a.link));
    CU_ASSERT_EQUAL(nic_a.frames, 0);
    nic_close(&nic_a);
}

static void test_loop(void)
{
    const struct net_shape shape = {.payload = 1000, .max_piece = 300};
    const struct net_shape lso = {.payload = 3000, .lso = true};
    static struct net_frame large;
    struct hv_frame frames[3];

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic_a, "loop", 4, NULL), 0);
    net_make(&net, &shape);
    net_make(&large, &lso);
    frames[0] = net.frame;
    frames[0].flags = HV_FRAME_VLAN;
    frames[0].vlan_tci = 5;
    frames[1] = large.frame;
    frames[1].flags = HV_FRAME_TSO | HV_FRAME_IPV4;
    frames[1].mss = 1448;
    frames[2] = net.frame;
    hv_link_send(nic_a.link, 3, frames, 3);
    CU_ASSERT_EQUAL(nic_a.kept_count, 5); /* in order: one, three segments, one */
    CU_ASSERT_EQUAL(nic_a.from_queue, 3);
    CU_ASSERT_EQUAL(nic_a.to_queue, 3);
    CU_ASSERT_EQUAL(nic_a.kept[0].vlan_tci, 5);
    CU_ASSERT_EQUAL(nic_a.kept[0].flags, HV_FRAME_VLAN);
    CU_ASSERT_EQUAL(nic_a.kept[0].bytes, net.frame.bytes);
    CU_ASSERT(!memcmp(nic_a.kept[0].data, net.data, net.frame.bytes));
    CU_ASSERT_EQUAL(nic_a.kept[1].bytes, large.payload + 1448);
    CU_ASSERT_EQUAL(nic_a.kept[3].bytes, large.payload + 104);
    for (unsigned i = 1; i <= 3; i++)
        CU_ASSERT(net_checksums_good(nic_a.kept[i].data, nic_a.kept[i].bytes, 14, 34));
    CU_ASSERT_EQUAL(nic_a.kept[4].bytes, net.frame.bytes);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).sent, 3);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).segmented, 1);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).delivered, 5);

    nic_a.room = 2; /* the rest is lost, as on a wire, and counted */
    hv_link_send(nic_a.link, 0, frames, 3);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).delivered, 7);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).deliver_dropped, 3);
    frames[1].mss = 1; /* and what cannot be done is dropped alone */
    nic_a.room = 100;
    hv_link_send(nic_a.link, 0, frames, 3);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).delivered, 9);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).send_dropped, 1);
    nic_close(&nic_a);
}

static void test_source(void)
{
    static const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
    unsigned ports[8] = {0};

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic_a, "source:67,flows=8,count=70", 2, NULL), 0);
    CU_ASSERT(hv_link_arm(nic_a.link, 0)); /* has work at once */
    CU_ASSERT_EQUAL(hv_link_poll(nic_a.link, 0, 32), 32);
    CU_ASSERT_EQUAL(nic_a.to_queue, 0);
    nic_a.room = 5;
    CU_ASSERT_EQUAL(hv_link_poll(nic_a.link, 0, 32), 5);
    CU_ASSERT(!hv_link_arm(nic_a.link, 0)); /* no room: sleep until there is */
    CU_ASSERT_EQUAL(hv_link_poll(nic_a.link, 0, 32), 0);
    nic_a.room = 100;
    CU_ASSERT_EQUAL(hv_link_poll(nic_a.link, 0, 32), 32);
    CU_ASSERT(hv_link_arm(nic_a.link, 0));
    CU_ASSERT_EQUAL(hv_link_poll(nic_a.link, 0, 32), 1); /* the last of 70 */
    CU_ASSERT_EQUAL(hv_link_poll(nic_a.link, 0, 32), 0);
    CU_ASSERT(!hv_link_arm(nic_a.link, 0));
    CU_ASSERT_EQUAL(nic_a.frames, 70);
    CU_ASSERT_EQUAL(nic_a.kept_count, NIC_KEEP);
    for (unsigned i = 0; i < NIC_KEEP; i++) {
        const struct net_flat *kept = &nic_a.kept[i];

        CU_ASSERT_EQUAL(kept->bytes, 67);
        CU_ASSERT(!memcmp(kept->data, mac, 6));
        CU_ASSERT(net_checksums_good(kept->data, kept->bytes, 14, 34));
        CU_ASSERT_EQUAL(kept->flags,
                        HV_FRAME_IPV4 | HV_FRAME_UDP | HV_FRAME_L4_OK | HV_FRAME_IP_OK);
        ports[hv_get_be16(kept->data + 34) % 8]++;
    }
    for (unsigned i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(ports[i], NIC_KEEP / 8);
    nic_a.room = 100;
    CU_ASSERT_EQUAL(hv_link_poll(nic_a.link, 1, 100), 70); /* each queue its own */
    CU_ASSERT_EQUAL(nic_a.from_queue, 1);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).delivered, 140);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).delivered_bytes, 140 * 67);
    nic_close(&nic_a);

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic_a, "source:64,rss", 1, NULL), 0);
    CU_ASSERT_EQUAL(hv_link_poll(nic_a.link, 0, 64), 64);
    CU_ASSERT_EQUAL(nic_a.to_queue, -1);
    for (unsigned i = 0; i < 10000; i++) /* never ends */
        CU_ASSERT(hv_link_poll(nic_a.link, 0, 64) == 64);
    nic_close(&nic_a);
}

static void send_one(struct nic *nic)
{
    const struct net_shape shape = {.payload = 100};

    net_make(&net, &shape);
    net.frame.flags = HV_FRAME_TCP | HV_FRAME_IP_CSUM;
    hv_link_send(nic->link, 0, &net.frame, 1);
}

static void test_pair(void)
{
    int scope = 0;

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic_a, "pair:x", 1, &scope), 0);
    CU_ASSERT(!hv_link_carrier(nic_a.link));
    send_one(&nic_a);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).send_dropped, 1);
    CU_ASSERT_EQUAL_FATAL(nic_open(&nic_c, "pair:x", 1, NULL), 0); /* another host's */
    CU_ASSERT(!hv_link_carrier(nic_a.link));
    nic_close(&nic_c);
    CU_ASSERT_EQUAL_FATAL(nic_open(&nic_c, "pair:y", 1, &scope), 0);
    CU_ASSERT(!hv_link_carrier(nic_a.link));
    nic_close(&nic_c);

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic_b, "pair:x", 2, &scope), 0);
    CU_ASSERT(hv_link_carrier(nic_a.link) && hv_link_carrier(nic_b.link));
    CU_ASSERT_EQUAL(nic_a.carrier, 1);
    CU_ASSERT_EQUAL(nic_open(&nic_c, "pair:x", 1, &scope), -EBUSY);
    CU_ASSERT_STRING_EQUAL(nic_c.why, "pair:x has two NICs already");
    send_one(&nic_a);
    CU_ASSERT_EQUAL(nic_b.kept_count, 1);
    CU_ASSERT_EQUAL(nic_b.from_queue, -1);
    CU_ASSERT_EQUAL(nic_b.to_queue, -1);
    CU_ASSERT(net_checksums_good(nic_b.kept[0].data, nic_b.kept[0].bytes, 14, 34));
    CU_ASSERT_EQUAL(nic_a.kept_count, 0);
    nic_a.room = 0;
    send_one(&nic_b);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).deliver_dropped, 1);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).delivered, 0);
    CU_ASSERT_EQUAL(nic_stats(&nic_b).delivered, 1);
    CU_ASSERT_EQUAL(nic_stats(&nic_b).sent, 1);

    hv_link_set_up(nic_a.link, false); /* switched off: both without carrier */
    CU_ASSERT(nic_b.carrier == 0 && !hv_link_carrier(nic_b.link));
    send_one(&nic_b);
    CU_ASSERT_EQUAL(nic_stats(&nic_b).send_dropped, 1);
    hv_link_set_up(nic_a.link, false);
    CU_ASSERT_EQUAL(nic_b.told, 2);
    hv_link_set_up(nic_a.link, true);
    CU_ASSERT(nic_b.carrier == 1 && hv_link_carrier(nic_b.link));

    nic_close(&nic_a);
    CU_ASSERT(nic_b.carrier == 0 && !hv_link_carrier(nic_b.link));
    CU_ASSERT_EQUAL_FATAL(nic_open(&nic_c, "pair:x", 1, &scope), 0); /* the place is free */
    CU_ASSERT(nic_b.carrier == 1);
    send_one(&nic_b);
    CU_ASSERT_EQUAL(nic_c.kept_count, 1);
    nic_close(&nic_b);
    nic_close(&nic_c);
}

static _Atomic bool stop;

static void *send_for_ever(void *arg)
{
    static const uint8_t bytes[64] = {0};
    union {
        const uint8_t *in;
        void *out;
    } data = {.in = bytes};
    const struct iovec iov = {data.out, sizeof(bytes)};
    const struct hv_frame frame = {.iov = &iov, .iov_count = 1, .bytes = sizeof(bytes)};

    while (!stop)
        hv_link_send(arg, 0, &frame, 1);
    return NULL;
}

/* The peer comes and goes while a worker sends: nothing is delivered to a NIC that is gone. */
static void test_pair_threads(void)
{
    pthread_t thread;
    uint64_t delivered = 0;

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic_a, "pair:t", 1, NULL), 0);
    stop = false;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, send_for_ever, nic_a.link), 0);
    for (unsigned round = 0; round < 200; round++) {
        struct nic *nic = malloc(sizeof(*nic));

        if (!nic || nic_open(nic, "pair:t", 1, NULL)) {
            CU_FAIL("no peer");
            free(nic);
            break;
        }
        while (!nic->frames)
            sched_yield();
        hv_link_destroy(nic->link);
        delivered += nic->frames;
        memset(nic, 0x5a, sizeof(*nic));
        free(nic);
    }
    stop = true;
    CU_ASSERT_EQUAL(pthread_join(thread, NULL), 0);
    CU_ASSERT(delivered >= 200);
    CU_ASSERT_EQUAL(nic_stats(&nic_a).sent, delivered);
    nic_close(&nic_a);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"wrong texts", test_wrong_texts}, {"sink", test_sink}, {"loop", test_loop},
        {"source", test_source},           {"pair", test_pair}, {"pair threads", test_pair_threads},
    };

    return hv_test_main("netvsp.link", cases, HV_TEST_COUNT(cases), argc, argv);
}
