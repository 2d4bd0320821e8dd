/* SPDX-License-Identifier: BSD-3-Clause */
#include "loop_host.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hv/base/bits.h>

#define SETTLE_POLLS 10000

struct hv_host_device {
    struct loop *loop;
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "loop host: %s\n", what);
    abort();
}

struct loop *loop_create(uint32_t data_bytes)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    uint32_t ring_bytes = data_bytes + HV_PAGE_BYTES;

    must(loop, "memory");
    loop->work_tail = &loop->work;
    loop->memory = mmap(NULL, (size_t)LOOP_PAGES * HV_PAGE_BYTES, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(loop->memory != MAP_FAILED, "memory");
    for (uint16_t i = 0; i < LOOP_CHANNELS; i++) {
        struct hv_host_channel *channel = &loop->channels[i];
        int fd = memfd_create("loop", MFD_CLOEXEC);

        must(fd >= 0 && !ftruncate(fd, 2 * (off_t)ring_bytes), "ring file");
        must(!hv_ring_map(fd, 0, ring_bytes, ring_bytes, &channel->to_host, &channel->to_guest),
             "ring mapping");
        (void)close(fd);
        channel->loop = loop;
        channel->index = i;
    }
    return loop;
}

static void unmap(struct loop *loop, uint32_t i)
{
    if (loop->gpadls[i].mapped)
        (void)munmap(loop->gpadls[i].mapped, loop->gpadls[i].mapped_bytes);
    loop->gpadls[i].mapped = NULL;
}

static void forget_buffers(struct loop *loop)
{
    for (uint32_t i = 0; i < LOOP_GPADLS; i++)
        unmap(loop, i);
    memset(loop->gpadls, 0, sizeof(loop->gpadls));
}

void loop_destroy(struct loop *loop)
{
    must(!loop->work, "posted work was never run");
    for (uint16_t i = 0; i < LOOP_CHANNELS; i++) {
        must(!loop->channels[i].open && !loop->channels[i].watches, "a channel was left open");
        hv_ring_unmap(&loop->channels[i].to_host);
        hv_ring_unmap(&loop->channels[i].to_guest);
    }
    forget_buffers(loop);
    (void)munmap(loop->memory, (size_t)LOOP_PAGES * HV_PAGE_BYTES);
    free(loop);
}

struct hv_host *loop_host(struct loop *loop)
{
    return (struct hv_host *)loop;
}

int loop_open(struct loop *loop, uint16_t index)
{
    struct hv_host_channel *channel = &loop->channels[index];
    uint8_t user_data[120] = {0};
    int ret;

    must(!channel->open, "opened twice");
    channel->closing = channel->closed = channel->held = channel->killed = false;
    channel->rescinded = channel->corrupted = false;
    channel->why[0] = '\0';
    hv_ring_reset(&channel->to_host);
    hv_ring_reset(&channel->to_guest);
    must(!hv_ring_rx_init(&channel->host_rx, &channel->to_host) &&
             !hv_ring_tx_init(&channel->host_tx, &channel->to_guest) &&
             !hv_ring_tx_init(&channel->guest_tx, &channel->to_host) &&
             !hv_ring_rx_init(&channel->guest_rx, &channel->to_guest),
         "ring ends");
    ret = loop->ops->open(loop->device_ctx, channel, user_data, sizeof(user_data), &channel->ctx);
    channel->open = !ret;
    return ret;
}

void loop_close(struct loop *loop, uint16_t index)
{
    struct hv_host_channel *channel = &loop->channels[index];

    if (!channel->open || channel->closing)
        return;
    channel->closing = true;
    loop->ops->close(channel->ctx);
}

void loop_guest_gone(struct loop *loop)
{
    loop->ops->guest_gone(loop->device_ctx, LOOP_GUEST_ID);
}

static int run_work(struct loop *loop)
{
    int done = 0;

    while (loop->work) {
        struct hv_host_work *work = loop->work;

        loop->work = work->next;
        if (!loop->work)
            loop->work_tail = &loop->work;
        work->run(work);
        done++;
    }
    return done;
}

static void finish_withdraw(struct loop *loop)
{
    for (uint16_t i = 0; i < LOOP_CHANNELS; i++)
        if (loop->channels[i].open)
            return;
    loop->withdrawing = false;
    loop->withdrawn(loop->withdrawn_arg);
}

int loop_poll(struct loop *loop)
{
    int done = 0;

    for (uint16_t i = 0; i < LOOP_CHANNELS; i++) {
        struct hv_host_channel *channel = &loop->channels[i];

        if (channel->open && !channel->closed) {
            int n = loop->ops->poll(channel->ctx);

            done += n;
        }
        if (channel->open && channel->closed) {
            channel->open = false;
            if (!i)
                forget_buffers(loop); /* unmapped with the primary */
            done++;
        }
    }
    done += run_work(loop);
    if (loop->withdrawing)
        finish_withdraw(loop);
    return done;
}

bool loop_settle(struct loop *loop)
{
    for (int i = 0; i < SETTLE_POLLS; i++)
        if (!loop_poll(loop))
            return true;
    return false;
}

bool loop_arm(struct loop *loop, uint16_t index)
{
    struct hv_host_channel *channel = &loop->channels[index];

    if (!channel->held && !channel->killed && hv_ring_rx_ready(&channel->host_rx))
        return true;
    return loop->ops->arm(channel->ctx);
}

int loop_send(struct loop *loop, uint16_t index, const struct hv_packet_desc *desc, const void *ext,
              const void *payload)
{
    struct hv_host_channel *channel = &loop->channels[index];
    struct hv_packet_slot slot;
    int ret = hv_ring_tx_reserve(&channel->guest_tx, desc, &slot);

    if (ret)
        return ret;
    if (desc->ext_bytes)
        memcpy(slot.ext, ext, desc->ext_bytes);
    if (desc->payload_bytes)
        memcpy(slot.payload, payload, desc->payload_bytes);
    (void)hv_ring_tx_publish(&channel->guest_tx);
    return 0;
}

/* ---- What providers call ---- */

int hv_host_device_offer(struct hv_host *host, const struct hv_host_device_opts *opts,
                         const struct hv_host_device_ops *ops, void *device_ctx,
                         struct hv_host_device **ret_device)
{
    struct loop *loop = (struct loop *)host;
    struct hv_host_device *device = calloc(1, sizeof(*device));

    must(device, "memory");
    device->loop = loop;
    loop->device = *opts;
    loop->ops = ops;
    loop->device_ctx = device_ctx;
    *ret_device = device;
    return 0;
}

void hv_host_device_withdraw(struct hv_host_device *device, void (*gone)(void *arg), void *arg)
{
    struct loop *loop = device->loop;

    for (uint16_t i = 0; i < LOOP_CHANNELS; i++)
        loop_close(loop, i);
    loop->withdrawing = true;
    loop->withdrawn = gone;
    loop->withdrawn_arg = arg;
    free(device);
}

void hv_host_post(struct hv_host *host, struct hv_host_work *work)
{
    struct loop *loop = (struct loop *)host;

    work->next = NULL;
    *loop->work_tail = work;
    loop->work_tail = &work->next;
}

int hv_host_channel_peek(struct hv_host_channel *channel, struct hv_packet *ret_packet)
{
    must(channel->open && !channel->closing, "peek on a closed channel");
    return channel->killed ? -EPROTO : hv_ring_rx_peek(&channel->host_rx, ret_packet);
}

void hv_host_channel_release(struct hv_host_channel *channel)
{
    (void)hv_ring_rx_release(&channel->host_rx);
}

int hv_host_channel_reserve(struct hv_host_channel *channel, const struct hv_packet_desc *desc,
                            struct hv_packet_slot *ret_slot)
{
    must(!channel->closing, "reserve on a closed channel");
    return channel->killed ? -EPROTO : hv_ring_tx_reserve(&channel->host_tx, desc, ret_slot);
}

int hv_host_channel_flush(struct hv_host_channel *channel)
{
    channel->flushes++;
    if (!channel->corrupted)
        (void)hv_ring_tx_publish(&channel->host_tx);
    return channel->killed ? -EPROTO : 0;
}

uint32_t hv_host_channel_free_bytes(struct hv_host_channel *channel)
{
    uint32_t bytes;

    /* Before the open is answered there is no ring yet. */
    if (!channel->open || channel->killed)
        return 0;
    bytes = hv_ring_tx_free(&channel->host_tx);
    if (channel->host_tx.fault)
        hv_host_channel_kill(channel, "%s", hv_ring_fault_text(channel->host_tx.fault));
    return bytes;
}

bool hv_host_channel_want_room(struct hv_host_channel *channel, uint32_t bytes)
{
    return hv_ring_tx_want_room(&channel->host_tx, bytes);
}

void hv_host_channel_hold(struct hv_host_channel *channel, bool held)
{
    channel->held = held;
}

void hv_host_channel_closed(struct hv_host_channel *channel)
{
    must(channel->closing && !channel->closed, "closed out of turn");
    channel->closed = true;
}

void hv_host_channel_kill(struct hv_host_channel *channel, const char *format, ...)
{
    va_list args;

    if (channel->killed)
        return;
    channel->killed = true;
    va_start(args, format);
    (void)vsnprintf(channel->why, sizeof(channel->why), format, args);
    va_end(args);
}

int hv_host_channel_offer_subchannels(struct hv_host_channel *primary, uint16_t count)
{
    must(!primary->index, "sub-channels come from the primary");
    primary->loop->sub_channels_offered = count;
    return 0;
}

void hv_host_channel_rescind(struct hv_host_channel *channel)
{
    channel->rescinded = true;
}

void hv_host_channel_corrupt_index(struct hv_host_channel *channel)
{
    channel->corrupted = true;
    channel->to_guest.control->write_index = channel->to_guest.data_bytes + 4;
}

uint16_t hv_host_channel_index(const struct hv_host_channel *channel)
{
    return channel->index;
}

uint32_t hv_host_channel_guest_id(const struct hv_host_channel *channel)
{
    (void)channel;
    return LOOP_GUEST_ID;
}

int hv_host_channel_watch(struct hv_host_channel *channel, int fd)
{
    must(fd >= 0, "watch");
    channel->watches++;
    return 0;
}

void hv_host_channel_unwatch(struct hv_host_channel *channel, int fd)
{
    must(fd >= 0 && channel->watches, "unwatch");
    channel->watches--;
}

ssize_t hv_host_channel_map_gpa(struct hv_host_channel *channel, const struct hv_packet *packet,
                                struct iovec *iov, size_t max, uint32_t *ret_bytes)
{
    const uint64_t *pfn = (const uint64_t *)packet->ext + 2;
    uint32_t header[4], left, offset;
    size_t n = 0, pages;

    if (packet->type != HV_PACKET_GPA_DIRECT || packet->ext_bytes < sizeof(header))
        return -EINVAL;
    memcpy(header, packet->ext, sizeof(header));
    left = header[2];
    offset = header[3];
    pages = ((uint64_t)left + offset + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;
    if (header[1] != 1 || !left || offset >= HV_PAGE_BYTES ||
        pages > (packet->ext_bytes - sizeof(header)) / sizeof(*pfn))
        return -EINVAL;
    for (size_t i = 0; i < pages; i++) {
        uint32_t bytes = hv_min_u32(left, HV_PAGE_BYTES - offset);

        if (pfn[i] < LOOP_FIRST_PFN || pfn[i] >= LOOP_FIRST_PFN + LOOP_PAGES)
            return -EFAULT;
        if (n == max)
            return -ENOBUFS;
        iov[n].iov_base =
            channel->loop->memory + (pfn[i] - LOOP_FIRST_PFN) * HV_PAGE_BYTES + offset;
        iov[n++].iov_len = bytes;
        left -= bytes;
        offset = 0;
    }
    *ret_bytes = header[2];
    return (ssize_t)n;
}

ssize_t hv_host_channel_map_gpa_ranges(struct hv_host_channel *channel,
                                       const struct hv_packet *packet, struct iovec *iov,
                                       size_t max, uint32_t *ret_bytes)
{
    const uint64_t *word = packet->ext;
    uint32_t words = packet->ext_bytes / 8, at = 1, total = 0, ranges;
    size_t n = 0;

    if (packet->type != HV_PACKET_GPA_DIRECT || !words)
        return -EINVAL;
    ranges = (uint32_t)(word[0] >> 32);
    if (!ranges)
        return -EINVAL;
    for (; ranges; ranges--) {
        uint32_t left = at < words ? (uint32_t)word[at] : 0;
        uint64_t offset = at < words ? word[at] >> 32 : 0;

        if (!left || offset >= HV_PAGE_BYTES)
            return -EINVAL;
        for (at++, total += left; left; at++) {
            uint32_t bytes = hv_min_u32(left, HV_PAGE_BYTES - (uint32_t)offset);

            if (at >= words)
                return -EINVAL;
            if (word[at] < LOOP_FIRST_PFN || word[at] >= LOOP_FIRST_PFN + LOOP_PAGES)
                return -EFAULT;
            if (n == max)
                return -ENOBUFS;
            iov[n].iov_base =
                channel->loop->memory + (word[at] - LOOP_FIRST_PFN) * HV_PAGE_BYTES + offset;
            iov[n++].iov_len = bytes;
            left -= bytes;
            offset = 0;
        }
    }
    *ret_bytes = total;
    return (ssize_t)n;
}

int hv_host_channel_map_gpadl(struct hv_host_channel *channel, uint32_t gpadl, void **ret_address,
                              size_t *ret_bytes)
{
    struct loop *loop = channel->loop;
    uint32_t i = gpadl - LOOP_GPADL;

    if (i >= LOOP_GPADLS || !loop->gpadls[i].pages)
        return -ENOENT;
    if (loop->gpadls[i].mapped)
        return -EEXIST;
    /* seen a second time, as in the real host: who uses it after unmapping falls */
    *ret_bytes = (size_t)loop->gpadls[i].pages * HV_PAGE_BYTES;
    *ret_address = mremap(loop->memory + (size_t)loop->gpadls[i].first * HV_PAGE_BYTES, 0,
                          *ret_bytes, MREMAP_MAYMOVE);
    must(*ret_address != MAP_FAILED, "buffer mapping");
    loop->gpadls[i].mapped = *ret_address;
    loop->gpadls[i].mapped_bytes = *ret_bytes;
    return 0;
}

void hv_host_channel_unmap_gpadl(struct hv_host_channel *channel, uint32_t gpadl)
{
    if (gpadl - LOOP_GPADL < LOOP_GPADLS)
        unmap(channel->loop, gpadl - LOOP_GPADL);
}

void hv_host_channel_get_stats(const struct hv_host_channel *channel,
                               struct hv_host_stats *ret_stats)
{
    *ret_stats =
        (struct hv_host_stats){.in = channel->host_rx.stats, .out = channel->host_tx.stats};
}
