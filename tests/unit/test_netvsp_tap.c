/* SPDX-License-Identifier: BSD-3-Clause */
/* The tap link against the kernel, in a network namespace of the test's own that vanishes with it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>

#include "netvsp_nic.h"
#include "suite.h"

#define NAME "hvtest0"

static struct nic nic, other;
static struct net_frame net;

static int control(unsigned long what, struct ifreq *request)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int ret;

    (void)snprintf(request->ifr_name, sizeof(request->ifr_name), NAME);
    ret = ioctl(fd, what, request);
    (void)close(fd);
    return ret;
}

static int interface_flags(void)
{
    struct ifreq request = {0};

    return control(SIOCGIFFLAGS, &request) ? -1 : request.ifr_flags;
}

/* The kernel works a change of carrier off in a thread of its own. */
static bool has_carrier_soon(bool want)
{
    for (unsigned ms = 0; ms < 5000; ms++) {
        if (!(interface_flags() & IFF_RUNNING) == !want)
            return true;
        (void)poll(NULL, 0, 1);
    }
    return false;
}

/* The kernel speaks by itself on a new interface (IPv6); keep it to what the test sends. */
static void quiet(void)
{
    int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!write(fd, "1", 1);
        (void)close(fd);
    }
}

static int open_packet(void)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    struct sockaddr_ll to = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_ALL),
                             .sll_ifindex = (int)if_nametoindex(NAME)};
    int one = 1;

    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) ||
        bind(fd, (struct sockaddr *)&to, sizeof(to)))
        CU_FAIL("packet socket");
    return fd;
}

/* Wait as a worker does: arm, sleep on the descriptor, poll. */
static int poll_link(struct nic *of, uint16_t queue)
{
    struct pollfd p = {.fd = hv_link_fd(of->link, queue), .events = POLLIN};
    int done = 0;

    for (unsigned round = 0; round < 100 && !done; round++) {
        if (!hv_link_arm(of->link, queue) && poll(&p, 1, 5000) != 1)
            break;
        done = hv_link_poll(of->link, queue, 64);
    }
    return done;
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static void test_device(void)
{
    struct ifreq request = {0};

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic, "tap:" NAME, 1, NULL), 0);
    CU_ASSERT(interface_flags() & IFF_UP);
    CU_ASSERT(has_carrier_soon(true));
    CU_ASSERT(hv_link_carrier(nic.link));
    CU_ASSERT(!hv_link_arm(nic.link, 0));
    CU_ASSERT_EQUAL(hv_link_poll(nic.link, 0, 32), 0);

    hv_link_set_mtu(nic.link, 1400);
    CU_ASSERT_EQUAL(control(SIOCGIFMTU, &request), 0);
    CU_ASSERT_EQUAL(request.ifr_mtu, 1400);
    hv_link_set_up(nic.link, false);
    CU_ASSERT(has_carrier_soon(false));
    hv_link_set_up(nic.link, true);
    CU_ASSERT(has_carrier_soon(true));

    CU_ASSERT_EQUAL(nic_open(&other, "tap:" NAME, 1, NULL), -EBUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(other.why, "another program is attached"));
    CU_ASSERT_EQUAL(nic_open(&other, "tap:" NAME, 2, NULL), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(other.why, "single queue"));
    CU_ASSERT_EQUAL(nic_open(&other, "tap:lo", 1, NULL), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(other.why, "is no tap"));
    nic_close(&nic);
    CU_ASSERT_EQUAL(if_nametoindex(NAME), 0); /* gone with us */

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic, "tap:" NAME, 4, NULL), 0);
    for (uint16_t i = 0; i < 4; i++)
        CU_ASSERT(hv_link_fd(nic.link, i) >= 0);
    CU_ASSERT_EQUAL_FATAL(nic_open(&other, "tap:" NAME, 1, NULL), 0); /* one more queue of it */
    nic_close(&other);
    CU_ASSERT(if_nametoindex(NAME) != 0);
    nic_close(&nic);
}

/* A TCP frame of the guest, seen as the kernel sees it. */
static void test_to_kernel(void)
{
    static uint8_t seen[NET_BYTES];
    struct virtio_net_hdr header;
    struct net_shape shape = {.payload = 5000, .lso = true, .max_piece = 900};
    int fd;
    ssize_t n;

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic, "tap:" NAME, 1, NULL), 0);
    fd = open_packet();
    net_make(&net, &shape);
    net.frame.flags = HV_FRAME_TSO | HV_FRAME_IPV4;
    net.frame.mss = 1448;
    hv_link_send(nic.link, 0, &net.frame, 1);
    n = recv(fd, seen, sizeof(seen), 0); /* whole, not cut, not summed */
    memcpy(&header, seen, sizeof(header));
    CU_ASSERT_EQUAL(n - (ssize_t)sizeof(header), net.frame.bytes);
    CU_ASSERT_EQUAL(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    CU_ASSERT_EQUAL(header.gso_size, 1448);
    CU_ASSERT_EQUAL(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    CU_ASSERT_EQUAL(header.csum_start, net.l4);
    CU_ASSERT_EQUAL(hv_get_be16(seen + sizeof(header) + net.l3 + 2), net.end - net.l3);
    CU_ASSERT_EQUAL(net_naive_sum(seen + sizeof(header) + net.l3, 20, 0), 0xffff);
    CU_ASSERT(!memcmp(seen + sizeof(header) + net.payload, net.data + net.payload, 5000));

    shape = (struct net_shape){.ipv6 = true, .udp = true, .payload = 77};
    net_make(&net, &shape); /* left undone as well, behind a tag */
    net.frame.flags = HV_FRAME_UDP | HV_FRAME_VLAN;
    net.frame.vlan_tci = 0x2005;
    hv_link_send(nic.link, 0, &net.frame, 1);
    n = recv(fd, seen, sizeof(seen), 0);
    memcpy(&header, seen, sizeof(header));
    CU_ASSERT_EQUAL(header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
    CU_ASSERT_EQUAL(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    CU_ASSERT_EQUAL(header.csum_offset, 6);
    CU_ASSERT(n >= (ssize_t)(sizeof(header) + net.frame.bytes)); /* the kernel puts the tag aside */
    CU_ASSERT_EQUAL(nic_stats(&nic).sent, 2);

    net.frame.flags = HV_FRAME_TCP; /* contradicts the frame */
    hv_link_send(nic.link, 0, &net.frame, 1);
    CU_ASSERT_EQUAL(nic_stats(&nic).send_dropped, 1);
    CU_ASSERT_EQUAL(nic_stats(&nic).sent, 2);
    (void)close(fd);
    nic_close(&nic);
}

/* A kernel that is given finished frames: cut and summed by us. */
static void test_to_kernel_finished(void)
{
    static uint8_t seen[NET_BYTES];
    struct virtio_net_hdr header;
    const struct net_shape shape = {.payload = 2000, .lso = true};
    int fd;
    ssize_t n;

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic, "tap:" NAME ",kernel-offloads=off", 1, NULL), 0);
    fd = open_packet();
    net_make(&net, &shape);
    net.frame.flags = HV_FRAME_TSO | HV_FRAME_IPV4;
    net.frame.mss = 1448;
    hv_link_send(nic.link, 0, &net.frame, 1);
    for (unsigned i = 0; i < 2; i++) {
        n = recv(fd, seen, sizeof(seen), 0) - (ssize_t)sizeof(header);
        memcpy(&header, seen, sizeof(header));
        CU_ASSERT_EQUAL(header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
        CU_ASSERT_EQUAL(header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
        CU_ASSERT_EQUAL(n, net.payload + (i ? 552 : 1448));
        CU_ASSERT(net_checksums_good(seen + sizeof(header), (uint32_t)n, net.l3, net.l4));
    }
    (void)close(fd);
    nic_close(&nic);
}

/* Four segments; the third one differs. */
static const struct {
    const char *name;
    bool ipv6, undone, bad_payload, bad_ip, other_port;
    unsigned sequence_off;
    uint8_t second_flags, third_flags; /* TCP; 0 = ACK */
    uint16_t third_frame_flags;
    unsigned want; /* frames for the kernel */
} trains[] = {
    {.name = "all alike", .want = 1},
    {.name = "IPv6", .ipv6 = true, .want = 1},
    {.name = "checksums to do", .undone = true, .want = 1},
    {.name = "IPv6, checksums to do", .ipv6 = true, .undone = true, .want = 1},
    {.name = "PSH ends it", .second_flags = 0x18, .want = 2},
    {.name = "a gap", .sequence_off = 1, .want = 3},
    {.name = "bad checksum", .bad_payload = true, .want = 3},
    {.name = "bad IP checksum", .bad_ip = true, .want = 3},
    {.name = "another port", .other_port = true, .want = 3},
    {.name = "FIN", .third_flags = 0x11, .want = 3},
    {.name = "ECE", .third_flags = 0x50, .want = 3},
    {.name = "tagged", .third_frame_flags = HV_FRAME_VLAN, .want = 3},
};

/* What the kernel got, in order: all payload, whole frames with good or undone checksums. */
static void judge_train(const char *name, int fd, unsigned want, bool is_clean)
{
    static uint8_t seen[NET_BYTES];
    struct virtio_net_hdr header;
    unsigned frames = 0, payload = 0;

    while (payload < 4 * 1448) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n = poll(&p, 1, 5000) == 1 ? recv(fd, seen, sizeof(seen), 0) : -1;
        const uint8_t *l4 = seen + sizeof(header) + net.l4;
        unsigned bytes;

        HV_CHECK_ROW(name, n > (ssize_t)(sizeof(header) + net.payload));
        if (n <= (ssize_t)(sizeof(header) + net.payload))
            return;
        memcpy(&header, seen, sizeof(header));
        bytes = (unsigned)n - (unsigned)sizeof(header) - net.payload;
        if (header.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
            HV_CHECK_ROW(name, header.gso_size == 1448);
            HV_CHECK_ROW(name, header.flags == VIRTIO_NET_HDR_F_NEEDS_CSUM);
            HV_CHECK_ROW(name, header.csum_start == net.l4 && header.csum_offset == 16);
            HV_CHECK_ROW(name, bytes % 1448 == 0);
        }
        if (is_clean) {
            HV_CHECK_ROW(name, hv_get_be32(l4 + 4) == 0xfffff000u + payload);
            HV_CHECK_ROW(name, l4[13] == 0x18);
            for (unsigned i = 0; i < bytes; i += 1448)
                HV_CHECK_ROW(name, !memcmp(l4 + 20 + i, net.data + net.payload, 1448));
        }
        payload += bytes;
        frames++;
    }
    HV_CHECK_ROW(name, payload == 4 * 1448);
    HV_CHECK_ROW(name, frames == want);
}

static void test_trains(void)
{
    static struct net_frame made[4];
    struct hv_frame frames[4];
    int fd;

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic, "tap:" NAME, 1, NULL), 0);
    fd = open_packet();
    for (size_t row = 0; row < HV_COUNT_OF(trains); row++) {
        for (unsigned i = 0; i < 4; i++) {
            struct net_shape shape = {.ipv6 = trains[row].ipv6,
                                      .payload = 1448,
                                      .finished = !trains[row].undone,
                                      .tcp_flags = i == 3 ? 0x18 : 0,
                                      .max_piece = 700,
                                      .sequence = i * 1448};

            if (i == 1)
                shape.tcp_flags = trains[row].second_flags;
            if (i == 2) {
                shape.tcp_flags = trains[row].third_flags;
                shape.sequence += trains[row].sequence_off;
            }
            net_make(&made[i], &shape);
            frames[i] = made[i].frame;
            if (trains[row].undone)
                frames[i].flags = HV_FRAME_TCP | (shape.ipv6 ? 0 : HV_FRAME_IP_CSUM);
        }
        made[2].data[made[2].l3 + 11] ^= trains[row].bad_ip;
        made[2].data[made[2].l4 + 3] ^= trains[row].other_port;
        made[2].data[made[2].payload + 1000] ^= trains[row].bad_payload;
        frames[2].flags |= trains[row].third_frame_flags;
        net = made[0];
        hv_link_send(nic.link, 0, frames, 4);
        judge_train(trains[row].name, fd, trains[row].want, trains[row].want == 1);
    }
    CU_ASSERT_EQUAL(nic_stats(&nic).sent, 4 * HV_COUNT_OF(trains));
    (void)close(fd);
    nic_close(&nic);
}

/* Frames of the kernel with work left: finished here. */
static void test_from_kernel(void)
{
    static uint8_t sent[NET_BYTES];
    struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                    .gso_size = 1448};
    const struct net_shape large = {.payload = 5000};
    const struct net_shape small = {.udp = true, .payload = 100, .ipv6 = true};
    const struct net_shape tagged = {.payload = 60, .tags = 1};
    int fd;

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic, "tap:" NAME, 1, NULL), 0);
    fd = open_packet();
    net_make(&net, &large);
    hv_put_be16(net.data + 24, (uint16_t)~net_naive_sum(net.data + 14, 20, 0));
    header.csum_start = (uint16_t)net.l4;
    header.csum_offset = 16;
    header.hdr_len = (uint16_t)net.payload;
    memcpy(sent, &header, sizeof(header));
    memcpy(sent + sizeof(header), net.data, net.frame.bytes);
    CU_ASSERT(send(fd, sent, sizeof(header) + net.frame.bytes, 0) > 0);
    CU_ASSERT_EQUAL(poll_link(&nic, 0), 4);
    for (unsigned i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(nic.kept[i].bytes, net.payload + (i < 3 ? 1448 : 656));
        CU_ASSERT(net_checksums_good(nic.kept[i].data, nic.kept[i].bytes, net.l3, net.l4));
        CU_ASSERT_EQUAL(nic.kept[i].flags,
                        HV_FRAME_IPV4 | HV_FRAME_TCP | HV_FRAME_L4_OK | HV_FRAME_IP_OK);
        CU_ASSERT(!memcmp(nic.kept[i].data + net.payload, net.data + net.payload + 1448 * i,
                          nic.kept[i].bytes - net.payload));
    }
    CU_ASSERT_EQUAL(nic.to_queue, -1);

    net_make(&net, &small);
    header = (struct virtio_net_hdr){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = (uint16_t)net.l4, .csum_offset = 6};
    memcpy(sent, &header, sizeof(header));
    memcpy(sent + sizeof(header), net.data, net.frame.bytes);
    CU_ASSERT(send(fd, sent, sizeof(header) + net.frame.bytes, 0) > 0);
    CU_ASSERT_EQUAL(poll_link(&nic, 0), 1);
    CU_ASSERT(net_checksums_good(nic.kept[4].data, nic.kept[4].bytes, net.l3, net.l4));
    CU_ASSERT_EQUAL(nic.kept[4].flags, HV_FRAME_IPV6 | HV_FRAME_UDP | HV_FRAME_L4_OK);

    net_make(&net, &tagged); /* nothing left to do; the tag comes aside */
    memset(sent, 0, sizeof(header));
    memcpy(sent + sizeof(header), net.data, net.frame.bytes);
    CU_ASSERT(send(fd, sent, sizeof(header) + net.frame.bytes, 0) > 0);
    CU_ASSERT_EQUAL(poll_link(&nic, 0), 1);
    CU_ASSERT_EQUAL(nic.kept[5].flags, HV_FRAME_VLAN);
    CU_ASSERT_EQUAL(nic.kept[5].vlan_tci, 7);
    CU_ASSERT_EQUAL(nic.kept[5].bytes, net.frame.bytes - 4);
    CU_ASSERT(!memcmp(nic.kept[5].data + 12, net.data + 16, net.frame.bytes - 16));
    (void)close(fd);
    nic_close(&nic);
}

/* What the guest has no room for waits, in order, and does not keep the worker awake. */
static void test_no_room(void)
{
    const struct net_shape shape = {.udp = true, .payload = 200, .finished = true};
    static uint8_t sent[512];
    int fd;

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic, "tap:" NAME, 1, NULL), 0);
    fd = open_packet();
    net_make(&net, &shape);
    nic.room = 3;
    for (unsigned i = 0; i < 10; i++) {
        memcpy(sent + sizeof(struct virtio_net_hdr), net.data, net.frame.bytes);
        sent[sizeof(struct virtio_net_hdr) + net.payload] = (uint8_t)i;
        CU_ASSERT(send(fd, sent, sizeof(struct virtio_net_hdr) + net.frame.bytes, 0) > 0);
    }
    CU_ASSERT_EQUAL(poll_link(&nic, 0), 3);
    CU_ASSERT(!hv_link_arm(nic.link, 0));
    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT(send(fd, sent, sizeof(struct virtio_net_hdr) + net.frame.bytes, 0) > 0);
        CU_ASSERT(!is_readable(hv_link_fd(nic.link, 0)));
    }
    nic.room = 100;
    CU_ASSERT_EQUAL(hv_link_poll(nic.link, 0, 4), 4); /* budget */
    CU_ASSERT(hv_link_arm(nic.link, 0));
    CU_ASSERT_EQUAL(hv_link_poll(nic.link, 0, 64), 6); /* with what came meanwhile */
    for (unsigned i = 0; i < 13; i++)
        CU_ASSERT_EQUAL(nic.kept[i].data[net.payload], i < 10 ? i : 9);
    CU_ASSERT(!hv_link_arm(nic.link, 0));
    CU_ASSERT(send(fd, sent, sizeof(struct virtio_net_hdr) + net.frame.bytes, 0) > 0);
    CU_ASSERT(is_readable(hv_link_fd(nic.link, 0))); /* it listens again */
    CU_ASSERT_EQUAL(poll_link(&nic, 0), 1);
    CU_ASSERT_EQUAL(nic_stats(&nic).delivered, 14);
    hv_link_mute(nic.link, 0); /* nobody wants frames: they wait, and wake nobody */
    CU_ASSERT(send(fd, sent, sizeof(struct virtio_net_hdr) + net.frame.bytes, 0) > 0);
    CU_ASSERT(!is_readable(hv_link_fd(nic.link, 0)));
    CU_ASSERT_EQUAL(poll_link(&nic, 0), 1);
    (void)close(fd);
    nic_close(&nic);
}

static void delete_interface(void)
{
    struct {
        struct nlmsghdr header;
        struct ifinfomsg info;
        uint8_t answer[256];
    } message = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                   .nlmsg_type = RTM_DELLINK,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .info = {.ifi_index = (int)if_nametoindex(NAME)},
    };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    CU_ASSERT(send(fd, &message, message.header.nlmsg_len, 0) > 0);
    CU_ASSERT(recv(fd, &message, sizeof(message), 0) > 0);
    (void)close(fd);
}

/* Somebody deletes the interface: carrier gone, told once, the worker sleeps. */
static void test_deleted(void)
{
    const struct net_shape shape = {.payload = 10};

    CU_ASSERT_EQUAL_FATAL(nic_open(&nic, "tap:" NAME, 2, NULL), 0);
    delete_interface();
    for (uint16_t i = 0; i < 2; i++) {
        CU_ASSERT(is_readable(hv_link_fd(nic.link, i)));
        CU_ASSERT_EQUAL(hv_link_poll(nic.link, i, 32), 0);
        CU_ASSERT(!hv_link_arm(nic.link, i));
        CU_ASSERT(!is_readable(hv_link_fd(nic.link, i)));
    }
    CU_ASSERT(!hv_link_carrier(nic.link));
    CU_ASSERT_EQUAL(nic.carrier, 0);
    CU_ASSERT_EQUAL(nic.told, 1);
    net_make(&net, &shape);
    hv_link_send(nic.link, 0, &net.frame, 1);
    CU_ASSERT_EQUAL(nic_stats(&nic).send_dropped, 1);
    nic_close(&nic);
}

/* Without the right to make one: said in a sentence.  Last: the rights do not come back. */
static void test_no_rights(void)
{
    if (setuid(65534)) {
        CU_FAIL("setuid");
        return;
    }
    CU_ASSERT_EQUAL(nic_open(&nic, "tap:" NAME, 1, NULL), -EPERM);
    CU_ASSERT(strstr(nic.why, "CAP_NET_ADMIN") || strstr(nic.why, "/dev/net/tun"));
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"device", test_device},
        {"to the kernel", test_to_kernel},
        {"finished to the kernel", test_to_kernel_finished},
        {"trains", test_trains},
        {"from the kernel", test_from_kernel},
        {"no room", test_no_room},
        {"deleted", test_deleted},
        {"no rights", test_no_rights},
    };

    if (access("/dev/net/tun", R_OK | W_OK)) {
        printf("skipped: no /dev/net/tun: %s\n", strerror(errno));
        return 77;
    }
    if (geteuid() || unshare(CLONE_NEWNET)) {
        printf("skipped: a network namespace needs root: %s\n",
               strerror(geteuid() ? EPERM : errno));
        return 77;
    }
    quiet();
    return hv_test_main("netvsp.link.tap", cases, HV_TEST_COUNT(cases), argc, argv);
}
