/* SPDX-License-Identifier: BSD-3-Clause */
/* Replay of capture files of every kind, written here byte by byte; recording, read back the same way; hostile files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>

#include "netvsp_nic.h"
#include "suite.h"

#define FILE_BYTES 65536u

static struct nic nic;
static struct net_frame net;
static char folder[] = "/tmp/hv-pcap-XXXXXX";
static char in_path[64], out_path[64], text[256];

struct file {
    uint8_t data[FILE_BYTES];
    size_t bytes;
    bool big;
};
static struct file file;

static void put32(uint32_t v)
{
    v = file.big ? htobe32(v) : htole32(v);
    memcpy(file.data + file.bytes, &v, 4);
    file.bytes += 4;
}

static void put16(uint16_t v)
{
    v = file.big ? htobe16(v) : htole16(v);
    memcpy(file.data + file.bytes, &v, 2);
    file.bytes += 2;
}

static void put_bytes(const void *data, size_t bytes)
{
    memcpy(file.data + file.bytes, data, bytes);
    file.bytes += bytes;
}

/* draft-ietf-opsawg-pcap: magic, version 2.4, zone, accuracy, snap length, link type. */
static void begin_classic(bool big, bool nano, uint32_t type)
{
    file.bytes = 0;
    file.big = big;
    put32(nano ? 0xa1b23c4d : 0xa1b2c3d4);
    put16(2);
    put16(4);
    put32(0);
    put32(0);
    put32(65535);
    put32(type);
}

static void put_classic(const void *frame, uint32_t captured, uint32_t length)
{
    put32(1700000000);
    put32(5);
    put32(captured);
    put32(length);
    put_bytes(frame, captured);
}

/* draft-ietf-opsawg-pcapng: section header, one interface, enhanced packets. */
static void begin_ng(void)
{
    file.bytes = 0;
    file.big = false;
    put32(0x0a0d0d0a);
    put32(28);
    put32(0x1a2b3c4d);
    put16(1);
    put16(0);
    put32(0xffffffff);
    put32(0xffffffff);
    put32(28);
    put32(1);
    put32(20);
    put16(1);
    put16(0);
    put32(0);
    put32(20);
}

static void put_ng(const void *frame, uint32_t bytes)
{
    uint32_t padded = (bytes + 3) & ~3u;

    put32(6);
    put32(32 + padded);
    put32(0);
    put32(0);
    put32(1);
    put32(bytes);
    put32(bytes);
    put_bytes(frame, bytes);
    put_bytes("\0\0\0", padded - bytes);
    put32(32 + padded);
}

static void save(void)
{
    FILE *f = fopen(in_path, "wb");

    CU_ASSERT_FATAL(f != NULL);
    CU_ASSERT_EQUAL(fwrite(file.data, 1, file.bytes, f), file.bytes);
    CU_ASSERT_EQUAL(fclose(f), 0);
}

static int replay(const char *rest)
{
    (void)snprintf(text, sizeof(text), "pcap:%s%.80s", in_path, rest);
    return nic_open(&nic, text, 2, NULL);
}

static void expect_three(const char *name)
{
    HV_CHECK_ROW(name, nic.kept_count == 3);
    for (unsigned i = 0; i < nic.kept_count; i++) {
        HV_CHECK_ROW(name, nic.kept[i].bytes == 60 + i);
        HV_CHECK_ROW(name, !memcmp(nic.kept[i].data, net.data, 60 + i));
    }
}

static void test_formats(void)
{
    const struct net_shape shape = {.payload = 100};
    static const char *const names[] = {"little us", "little ns", "big us", "big ns", "pcapng"};

    net_make(&net, &shape);
    for (unsigned kind = 0; kind < 5; kind++) {
        if (kind < 4)
            begin_classic(kind & 2, kind & 1, 1);
        else
            begin_ng();
        for (uint32_t i = 0; i < 3; i++) {
            if (kind < 4)
                put_classic(net.data, 60 + i, 60 + i);
            else
                put_ng(net.data, 60 + i);
        }
        save();
        CU_ASSERT_EQUAL_FATAL(replay(""), 0);
        HV_CHECK_ROW(names[kind], hv_link_arm(nic.link, 0));
        HV_CHECK_ROW(names[kind], hv_link_poll(nic.link, 1, 2) == 2);
        HV_CHECK_ROW(names[kind], hv_link_poll(nic.link, 0, 32) == 1);
        HV_CHECK_ROW(names[kind], nic.to_queue == -1);
        HV_CHECK_ROW(names[kind], hv_link_poll(nic.link, 0, 32) == 0);
        HV_CHECK_ROW(names[kind], !hv_link_arm(nic.link, 0));
        expect_three(names[kind]);
        nic_close(&nic);
        CU_ASSERT_EQUAL_FATAL(replay(",repeat=20"), 0);
        nic.room = 50;
        while (hv_link_poll(nic.link, 0, 7))
            continue;
        HV_CHECK_ROW(names[kind], nic.frames == 50);
        HV_CHECK_ROW(names[kind], !hv_link_arm(nic.link, 0));
        nic.room = 50;
        while (hv_link_poll(nic.link, 0, 7))
            continue;
        HV_CHECK_ROW(names[kind], nic.frames == 60);
        nic_close(&nic);
    }
}

static void test_tag_and_odd_frames(void)
{
    const struct net_shape shape = {.payload = 3000, .tags = 1};

    net_make(&net, &shape);
    begin_classic(false, false, 1);
    put_classic(net.data, 13, 13);     /* less than Ethernet */
    put_classic(net.data, 1519, 1519); /* more than the NIC takes */
    put_classic(net.data, 60, 1000);   /* only its first bytes */
    put_classic(net.data, 1518, 1518);
    save();
    CU_ASSERT_EQUAL_FATAL(replay(""), 0);
    CU_ASSERT_EQUAL(hv_link_poll(nic.link, 0, 32), 1);
    CU_ASSERT_EQUAL(nic.kept[0].bytes, 1514);
    CU_ASSERT_EQUAL(nic.kept[0].flags, HV_FRAME_VLAN);
    CU_ASSERT_EQUAL(nic.kept[0].vlan_tci, 7);
    CU_ASSERT_EQUAL(nic_stats(&nic).deliver_dropped, 3);
    nic_close(&nic);
}

static void test_hostile(void)
{
    char onto_itself[80];
    const struct net_shape shape = {.payload = 100};

    net_make(&net, &shape);
    begin_classic(false, false, 101); /* raw IP */
    save();
    CU_ASSERT_EQUAL(replay(""), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(nic.why, "not Ethernet"));
    begin_classic(false, false, 1);
    for (size_t cut = 0; cut < 24; cut++) {
        file.bytes = cut;
        save();
        CU_ASSERT_EQUAL(replay(""), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(nic.why, in_path));
    }
    begin_classic(false, false, 1); /* a length from hell, after a good frame */
    put_classic(net.data, 60, 60);
    put_classic(net.data, 60, 60);
    for (unsigned at = 0; at < 8; at++)
        file.data[24 + 76 + 8 + at] = 0xff;
    save();
    CU_ASSERT_EQUAL_FATAL(replay(",repeat=0"), 0);
    CU_ASSERT_EQUAL(hv_link_poll(nic.link, 0, 32), 1);
    CU_ASSERT_EQUAL(hv_link_poll(nic.link, 0, 32), 0); /* not for ever */
    CU_ASSERT(!hv_link_arm(nic.link, 0));
    nic_close(&nic);
    begin_classic(false, false, 1); /* no frame at all, for ever */
    save();
    CU_ASSERT_EQUAL_FATAL(replay(",repeat=0"), 0);
    CU_ASSERT_EQUAL(hv_link_poll(nic.link, 0, 32), 0);
    CU_ASSERT(!hv_link_arm(nic.link, 0));
    nic_close(&nic);
    (void)snprintf(onto_itself, sizeof(onto_itself), ",%s", in_path);
    CU_ASSERT_EQUAL(replay(onto_itself), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(nic.why, "read and overwritten"));
    begin_classic(false, false, 1); /* and it was left alone */
    {
        uint8_t head[24];
        int fd = open(in_path, O_RDONLY | O_CLOEXEC);

        CU_ASSERT_EQUAL(read(fd, head, sizeof(head)), 24);
        CU_ASSERT(!memcmp(head, file.data, 24));
        (void)close(fd);
    }
}

static uint32_t get32(size_t at)
{
    uint32_t v;

    memcpy(&v, file.data + at, 4);
    return v;
}

static void test_record(void)
{
    const struct net_shape shape = {.payload = 2000, .lso = true, .max_piece = 100};
    size_t at = 24;
    int fd;

    (void)snprintf(text, sizeof(text), "pcap:,%s", out_path);
    CU_ASSERT_EQUAL_FATAL(nic_open(&nic, text, 2, NULL), 0);
    net_make(&net, &shape);
    net.frame.flags = HV_FRAME_TSO | HV_FRAME_VLAN;
    net.frame.vlan_tci = 9;
    net.frame.mss = 1448;
    hv_link_send(nic.link, 1, &net.frame, 1);
    CU_ASSERT_EQUAL(nic_stats(&nic).sent, 1);
    CU_ASSERT_EQUAL(hv_link_poll(nic.link, 0, 32), 0);
    CU_ASSERT(!hv_link_arm(nic.link, 0));
    nic_close(&nic);

    fd = open(out_path, O_RDONLY | O_CLOEXEC);
    file.bytes = (size_t)read(fd, file.data, sizeof(file.data));
    (void)close(fd);
    CU_ASSERT_EQUAL(get32(0), 0xa1b23c4d);
    CU_ASSERT_EQUAL(get32(20), 1);
    for (unsigned i = 0; i < 2; i++) { /* two segments, each with the tag in it */
        uint32_t bytes = net.payload + 4 + (i ? 552 : 1448);

        CU_ASSERT(get32(at) > 1600000000);
        CU_ASSERT(get32(at + 4) < 1000000000);
        CU_ASSERT_EQUAL(get32(at + 8), bytes);
        CU_ASSERT_EQUAL(get32(at + 12), bytes);
        CU_ASSERT(!memcmp(file.data + at + 16 + 12, "\x81\0\0\x09\x08\0", 6));
        CU_ASSERT(net_checksums_good(file.data + at + 16, bytes, net.l3 + 4, net.l4 + 4));
        at += 16 + bytes;
    }
    CU_ASSERT_EQUAL(file.bytes, at);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"formats", test_formats},
        {"tag and odd frames", test_tag_and_odd_frames},
        {"hostile files", test_hostile},
        {"record", test_record},
    };
    int failed;

    if (!mkdtemp(folder))
        return 1;
    (void)snprintf(in_path, sizeof(in_path), "%s/in.pcap", folder);
    (void)snprintf(out_path, sizeof(out_path), "%s/out.pcap", folder);
    failed = hv_test_main("netvsp.link.pcap", cases, HV_TEST_COUNT(cases), argc, argv);
    (void)unlink(in_path);
    (void)unlink(out_path);
    (void)rmdir(folder);
    return failed;
}
