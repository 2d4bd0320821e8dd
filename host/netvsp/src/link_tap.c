/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tap: the kernel's network stack at the other end.
 *
 * Checksums and TCP segments are left to whoever can do them best.  Guest to kernel: as the guest left them, said in the
 * virtio header in front of each frame, and segments that follow each other joined again (link_tap_train.c).  Kernel to
 * guest: the kernel hands large TCP frames over in one read; they are cut here, because a guest takes no frame beyond its
 * MTU, and checksums are completed, because the guest may send the frame on.
 *
 * A tap takes and gives one frame a system call.  So frames are read in runs into one piece of memory, as many as wait and
 * fit, then delivered together; an empty tap is not asked again for a while, and a sleeping worker is woken by epoll.  What
 * the guest has no room for stays where it is, at last in the kernel's queue, which TCP notices: nothing is dropped here.
 */
#include "link_tap.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/clock.h>
#include <hv/base/endian.h>
#include <hv/base/log.h>

#include "frame.h"

#define READ_MAX    64u          /* frames in one run */
#define ARENA_BYTES (256u << 10) /* of a run; a frame from the kernel has up to 64 KiB */
#define FRAME_ALIGN 64u
#define IDLE_NS     10000u /* an empty tap is left alone for so long while the worker does not sleep */

_Static_assert(sizeof(struct virtio_net_hdr_v1) == HV_TAP_HEADER_BYTES, "virtio header");

struct tap_queue {
    int fd;
    int epoll_fd; /* -1 = none yet */
    bool is_listening;
    uint64_t idle_until_ns;
    uint8_t *arena;
    uint16_t next, count;            /* of frames[], not delivered yet */
    const struct hv_frame *finished; /* of the frame that is being cut */
    uint16_t finished_count;
    bool is_cutting;
    struct hv_frame frames[READ_MAX];
    struct iovec iov[READ_MAX][2];
    struct hv_tap_train train; /* towards the kernel */
};

/* ---- from the guest ---- */

static void describe(const struct hv_offload_headers *h, const struct hv_frame *frame,
                     struct virtio_net_hdr_v1 *header)
{
    if (!h->l4_offset)
        return;
    header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header->csum_start = h->l4_offset;
    header->csum_offset = h->flags & HV_FRAME_TCP ? 16 : 6;
    if (!(h->flags & HV_FRAME_TSO))
        return;
    header->gso_type =
        h->flags & HV_FRAME_IPV6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
    if (h->bytes[h->l4_offset + 13] & 0x80u) /* CWR: on the first segment only */
        header->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
    header->gso_size = frame->mss;
    header->hdr_len = h->payload_offset;
}

/* True: the kernel has it. */
static bool send_one(const struct tap_queue *q, const struct hv_frame *frame)
{
    struct virtio_net_hdr_v1 header = {0};
    struct iovec iov[HV_VLAN_PIECES + 2];
    struct iovec tagged_iov[HV_VLAN_PIECES];
    uint8_t tagged_head[HV_VLAN_HEAD_BYTES];
    struct hv_offload_headers h;
    struct hv_frame tagged;
    uint32_t count = 1;
    uint32_t rest;
    uint32_t offset = 0;

    if (frame->flags & HV_FRAME_VLAN) {
        hv_offload_vlan_insert(frame, tagged_head, tagged_iov, &tagged);
        frame = &tagged;
    }
    iov[0] = (struct iovec){&header, sizeof(header)};
    if (hv_offload_is_needed(frame)) {
        if (hv_offload_prepare(frame, &h))
            return false;
        describe(&h, frame, &header);
        iov[count++] = (struct iovec){h.bytes, h.payload_offset};
        offset = h.payload_offset;
    }
    if (offset < frame->bytes) {
        rest = hv_frame_slice(frame, offset, frame->bytes - offset, iov + count,
                              (uint32_t)HV_COUNT_OF(iov) - count);
        if (!rest)
            return false;
        count += rest;
    }
    return writev(q->fd, iov, (int)count) > 0;
}

struct tap_way {
    const struct tap_queue *q;
    struct hv_link_queue *queue;
};

static void count_sent(struct hv_link_queue *queue, bool sent, const struct hv_frame *frames,
                       uint16_t count)
{
    hv_link_count(sent ? &queue->count.sent : &queue->count.send_dropped, count);
    if (sent)
        hv_link_count(&queue->count.sent_bytes, hv_link_bytes(frames, count));
}

static void tap_take(void *arg, const struct hv_frame *frames, uint16_t count)
{
    const struct tap_way *way = arg;

    for (uint16_t i = 0; i < count; i++)
        count_sent(way->queue, send_one(way->q, &frames[i]), &frames[i], 1);
}

static void take_in_trains(struct tap_queue *q, struct hv_link_queue *queue,
                           const struct hv_frame *frames, uint16_t count)
{
    while (count) {
        uint16_t joined = hv_tap_train_collect(&q->train, frames, count);
        bool sent = joined > 1 ? writev(q->fd, q->train.iov, (int)q->train.iov_count) > 0
                               : send_one(q, frames);

        count_sent(queue, sent, frames, joined);
        frames += joined;
        count = (uint16_t)(count - joined);
    }
}

static void tap_send(struct hv_link *link, struct hv_link_queue *queue,
                     const struct hv_frame *frames, uint16_t count)
{
    const struct hv_tap *tap = link->impl;
    struct tap_way way = {queue->impl, queue};

    if (tap->has_offloads)
        take_in_trains(queue->impl, queue, frames, count);
    else
        hv_link_finish(queue, frames, count, tap_take, &way);
}

/* ---- from the kernel ---- */

/* HV_FRAME_* of the transport that a good checksum is known of, 0 = we cannot tell a guest which it is. */
static uint16_t transport_flags(const uint8_t *p, uint32_t bytes)
{
    unsigned protocol;
    uint16_t flags;

    if (bytes >= 18 && hv_get_be16(p + 12) == 0x8100) { /* will be taken out */
        p += 4;
        bytes -= 4;
    }
    if (bytes >= 34 && hv_get_be16(p + 12) == 0x0800 && !(hv_get_be16(p + 20) & 0x3fffu)) {
        flags = HV_FRAME_IPV4;
        protocol = p[23];
    } else if (bytes >= 54 && hv_get_be16(p + 12) == 0x86dd) {
        flags = HV_FRAME_IPV6;
        protocol = p[20];
    } else {
        return 0;
    }
    if (protocol == IPPROTO_TCP)
        return flags | HV_FRAME_TCP | HV_FRAME_L4_OK;
    return protocol == IPPROTO_UDP ? flags | HV_FRAME_UDP | HV_FRAME_L4_OK : 0;
}

/* The kernel left a pseudo-header sum in the place of the checksum. */
static bool complete_checksum(uint8_t *p, uint32_t bytes, const struct virtio_net_hdr_v1 *header)
{
    uint32_t start = header->csum_start;
    uint32_t at = start + header->csum_offset;
    uint16_t checksum;

    if (start > bytes || at + 2 > bytes)
        return false;
    checksum = hv_offload_fold(hv_offload_sum(p + start, bytes - start, 0));
    hv_put_be16(p + at, checksum ? checksum : 0xffff);
    return true;
}

/* One frame as read, into a struct hv_frame; false = nothing that we know. */
static bool take_in(struct tap_queue *q, uint16_t index, uint8_t *p, uint32_t bytes,
                    const struct virtio_net_hdr_v1 *header)
{
    struct hv_frame *frame = &q->frames[index];

    hv_frame_set(frame, q->iov[index], p, bytes);
    if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        unsigned type = header->gso_type & ~(unsigned)VIRTIO_NET_HDR_GSO_ECN;

        if (type != VIRTIO_NET_HDR_GSO_TCPV4 && type != VIRTIO_NET_HDR_GSO_TCPV6)
            return false;
        frame->flags = HV_FRAME_TSO | HV_FRAME_TCP;
        frame->mss = header->gso_size;
    } else if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        if (!complete_checksum(p, bytes, header))
            return false;
        frame->flags = transport_flags(p, bytes);
    } else if (header->flags & VIRTIO_NET_HDR_F_DATA_VALID) {
        frame->flags = transport_flags(p, bytes);
    }
    hv_offload_vlan_strip(frame, q->iov[index]);
    return true;
}

static void lose(struct hv_link *link, struct tap_queue *q, int err)
{
    struct hv_tap *tap = link->impl;

    if (atomic_exchange(&tap->is_gone, true))
        return;
    hv_log(&link->log, HV_LOG_WARNING, "tap:%s is gone: %s", tap->name, strerror(err));
    (void)epoll_ctl(q->epoll_fd, EPOLL_CTL_DEL, q->fd, NULL);
    q->is_listening = false;
    if (link->nic.carrier)
        link->nic.carrier(link->nic.arg, false);
}

/* Read what waits, into an empty arena. */
static void read_run(struct hv_link *link, struct hv_link_queue *queue)
{
    const size_t most = HV_TAP_HEADER_BYTES + HV_FRAME_BYTES_MAX;
    struct tap_queue *q = queue->impl;
    size_t at = FRAME_ALIGN;

    q->next = 0;
    q->count = 0;
    while (q->count < READ_MAX && at + most <= ARENA_BYTES) {
        struct virtio_net_hdr_v1 header;
        uint8_t *p = q->arena + at;
        ssize_t n = read(q->fd, p - sizeof(header), most);
        uint32_t bytes;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            q->idle_until_ns = hv_clock_ns() + IDLE_NS;
            if (errno != EAGAIN)
                lose(link, q, errno);
            return;
        }
        if ((size_t)n < sizeof(header) + HV_FRAME_BYTES_MIN)
            continue;
        memcpy(&header, p - sizeof(header), sizeof(header));
        bytes = (uint32_t)((size_t)n - sizeof(header));
        if (!take_in(q, q->count, p, bytes, &header)) {
            hv_link_count(&queue->count.deliver_dropped, 1);
            continue;
        }
        q->count++;
        /* Room for the next header in front of an aligned frame. */
        at += hv_align_up(bytes + sizeof(header), FRAME_ALIGN);
    }
}

/* Frames that can be delivered as they are: how many, 0 = none left of this run. */
static uint16_t ready_frames(struct hv_link_queue *queue, const struct hv_frame **ret_frames)
{
    struct tap_queue *q = queue->impl;
    uint16_t end;

    while (true) {
        if (q->is_cutting && !q->finished_count) {
            q->finished_count = hv_offload_next(queue->offload, &q->finished);
            if (!q->finished_count) {
                q->is_cutting = false;
                q->next++;
            }
        }
        if (q->finished_count) {
            *ret_frames = q->finished;
            return q->finished_count;
        }
        if (q->next == q->count)
            return 0;
        if (!hv_offload_is_needed(&q->frames[q->next]))
            break;
        hv_link_count(&queue->count.segmented, 1);
        if (hv_offload_start(queue->offload, &q->frames[q->next])) {
            hv_link_count(&queue->count.deliver_dropped, 1);
            q->next++;
        } else {
            q->is_cutting = true;
        }
    }
    for (end = q->next; end < q->count && !hv_offload_is_needed(&q->frames[end]);)
        end++;
    *ret_frames = &q->frames[q->next];
    return (uint16_t)(end - q->next);
}

static int tap_poll(struct hv_link *link, struct hv_link_queue *queue, uint16_t budget)
{
    const struct hv_tap *tap = link->impl;
    struct tap_queue *q = queue->impl;
    int done = 0;

    while (done < budget) {
        const struct hv_frame *frames;
        uint16_t count = ready_frames(queue, &frames);
        uint16_t taken;

        if (!count) {
            if (atomic_load_explicit(&tap->is_gone, memory_order_relaxed) ||
                (q->idle_until_ns && hv_clock_ns() < q->idle_until_ns))
                break;
            q->idle_until_ns = 0;
            read_run(link, queue);
            if (!q->count)
                break;
            continue;
        }
        if (count > budget - done)
            count = (uint16_t)(budget - done);
        taken = hv_link_deliver(link, queue, -1, frames, count);
        if (q->finished_count) {
            q->finished += taken;
            q->finished_count = (uint16_t)(q->finished_count - taken);
        } else {
            q->next = (uint16_t)(q->next + taken);
        }
        done += taken;
        if (taken < count)
            break;
    }
    return done;
}

static bool has_frames(const struct tap_queue *q)
{
    return q->finished_count || q->is_cutting || q->next < q->count;
}

/* Woken by frames that nobody wants, or that the guest has no room for, a worker would never sleep. */
static void listen_if(struct tap_queue *q, bool listen)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (listen != q->is_listening &&
        !epoll_ctl(q->epoll_fd, listen ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, q->fd, &event))
        q->is_listening = listen;
    q->idle_until_ns = 0;
}

static bool tap_arm(struct hv_link *link, struct hv_link_queue *queue)
{
    const struct hv_tap *tap = link->impl;
    struct tap_queue *q = queue->impl;

    if (!queue->is_blocked && has_frames(q))
        return true;
    listen_if(q, !queue->is_blocked && !atomic_load(&tap->is_gone));
    return false;
}

static void tap_mute(struct hv_link *link, struct hv_link_queue *queue)
{
    (void)link;
    listen_if(queue->impl, false);
}

static int tap_fd(const struct hv_link *link, const struct hv_link_queue *queue)
{
    const struct tap_queue *q = queue->impl;

    (void)link;
    return q->epoll_fd;
}

static bool tap_carrier(const struct hv_link *link)
{
    const struct hv_tap *tap = link->impl;

    return !atomic_load(&tap->is_gone);
}

static void tap_set_up(struct hv_link *link, bool up)
{
    const struct tap_queue *q = link->queues[0].impl;

    hv_tap_set_carrier(q->fd, up);
}

static void tap_set_mtu(struct hv_link *link, uint32_t mtu)
{
    hv_tap_set_mtu(link->impl, mtu, &link->log);
}

static void tap_destroy(struct hv_link *link)
{
    for (uint16_t i = 0; i < link->queue_count; i++) {
        struct tap_queue *q = link->queues[i].impl;

        if (!q)
            continue;
        if (q->epoll_fd >= 0)
            (void)close(q->epoll_fd);
        (void)close(q->fd);
        free(q->arena);
        free(q);
    }
    free(link->impl);
}

/* Takes fd over when it succeeds. */
static int queue_init(struct hv_link_queue *queue, int fd)
{
    struct tap_queue *q = calloc(1, sizeof(*q));
    struct epoll_event event = {.events = EPOLLIN};

    if (!q)
        return -ENOMEM;
    q->fd = fd;
    q->arena = aligned_alloc(FRAME_ALIGN, ARENA_BYTES);
    q->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!q->arena || q->epoll_fd < 0 || epoll_ctl(q->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
        int err = q->arena ? -errno : -ENOMEM;

        if (q->epoll_fd >= 0)
            (void)close(q->epoll_fd);
        free(q->arena);
        free(q);
        return err;
    }
    q->is_listening = true;
    queue->impl = q;
    return 0;
}

static int tap_create(struct hv_link *link, char *text, char why[HV_NETVSP_WHY_BYTES])
{
    struct hv_tap *tap = calloc(1, sizeof(*tap));
    int fds[64];
    int err;

    if (!tap)
        return hv_link_fail(why, -ENOMEM, "no memory for a tap");
    link->impl = tap;
    err = hv_tap_parse(tap, text, why);
    if (!err)
        err = hv_tap_open(tap, link->queue_count, fds, why);
    if (err)
        return err;
    for (uint16_t i = 0; i < link->queue_count; i++) {
        if (!err)
            err = queue_init(&link->queues[i], fds[i]);
        if (err)
            (void)close(fds[i]);
    }
    return err ? hv_link_fail(why, err, "tap:%s: %s", tap->name, strerror(-err)) : 0;
}

const struct hv_link_ops hv_link_tap = {
    .name = "tap",
    .takes_text = true,
    .create = tap_create,
    .destroy = tap_destroy,
    .send = tap_send,
    .poll = tap_poll,
    .arm = tap_arm,
    .mute = tap_mute,
    .fd = tap_fd,
    .carrier = tap_carrier,
    .set_up = tap_set_up,
    .set_mtu = tap_set_mtu,
};
