/* SPDX-License-Identifier: BSD-3-Clause */
/* What a provider does with a channel: worker thread, data path. */
#include "host_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <hv/base/bits.h>

/** Tell the guest, unless it wants no interrupts or nobody is there. */
static void raise_event(struct hv_host_channel *channel)
{
    struct hv_host_guest *guest = channel->guest;

    if (channel->interrupts && !atomic_load_explicit(&guest->silent, memory_order_relaxed))
        guest->ops->raise(&channel->link);
}

static int corrupt_ring(struct hv_host_channel *channel, const char *which,
                        enum hv_ring_fault fault)
{
    if (!channel->killed)
        hv_host_channel_kill(channel, "%s ring: %s", which, hv_ring_fault_text(fault));
    return -EPROTO;
}

int hv_host_channel_peek(struct hv_host_channel *channel, struct hv_packet *ret_packet)
{
    int err;

    if (!channel->serving || channel->killed)
        return channel->killed ? -EPROTO : -EAGAIN;
    err = hv_ring_rx_peek(&channel->rx, ret_packet);
    if (err == -EPROTO)
        return corrupt_ring(channel, "guest-to-host", channel->rx.fault);
    return err;
}

void hv_host_channel_release(struct hv_host_channel *channel)
{
    if (channel->serving && hv_ring_rx_release(&channel->rx))
        raise_event(channel);
}

int hv_host_channel_reserve(struct hv_host_channel *channel, const struct hv_packet_desc *desc,
                            struct hv_packet_slot *ret_slot)
{
    int err;

    if (!channel->serving || channel->killed)
        return channel->killed ? -EPROTO : -EAGAIN;
    err = hv_ring_tx_reserve(&channel->tx, desc, ret_slot);
    if (err == -EPROTO)
        return corrupt_ring(channel, "host-to-guest", channel->tx.fault);
    return err;
}

int hv_host_channel_flush(struct hv_host_channel *channel)
{
    if (!channel->serving || channel->killed)
        return channel->killed ? -EPROTO : 0;
    if (!channel->corrupted && hv_ring_tx_publish(&channel->tx))
        raise_event(channel);
    return 0;
}

uint32_t hv_host_channel_free_bytes(struct hv_host_channel *channel)
{
    uint32_t bytes;

    if (!channel->serving || channel->killed)
        return 0;
    bytes = hv_ring_tx_free(&channel->tx);
    /* A provider that waits for room would never find out by itself. */
    if (channel->tx.fault)
        (void)corrupt_ring(channel, "host-to-guest", channel->tx.fault);
    return bytes;
}

bool hv_host_channel_want_room(struct hv_host_channel *channel, uint32_t bytes)
{
    if (!channel->serving || channel->killed)
        return false;
    if (!hv_ring_tx_want_room(&channel->tx, bytes)) {
        channel->waiting_room = true;
        return false;
    }
    channel->waiting_room = false;
    return true;
}

void hv_host_channel_hold(struct hv_host_channel *channel, bool held)
{
    channel->held = held;
}

void hv_host_channel_closed(struct hv_host_channel *channel)
{
    if (channel->stopping)
        channel->stopped = true;
}

void hv_host_channel_kill(struct hv_host_channel *channel, const char *format, ...)
{
    struct hv_host_guest *guest = channel->guest;
    va_list args;

    if (channel->killed)
        return;
    channel->killed = true;
    pthread_mutex_lock(&guest->lock);
    if (!guest->kill_why[0]) {
        int n = snprintf(guest->kill_why, sizeof(guest->kill_why), "channel %u: ", channel->relid);

        va_start(args, format); /* a cut reason is still a reason */
        (void)vsnprintf(guest->kill_why + n, sizeof(guest->kill_why) - (size_t)n, format, args);
        va_end(args);
    }
    pthread_mutex_unlock(&guest->lock);
    hv_host_worker_report(channel, HV_EVENT_KILL);
}

int hv_host_channel_offer_subchannels(struct hv_host_channel *primary, uint16_t count)
{
    struct hv_host_guest *guest = primary->guest;

    if (primary->index || count > primary->max_sub_channels)
        return -EINVAL;
    if (!count)
        return 0;
    pthread_mutex_lock(&guest->lock);
    if (count > primary->subchannels_wanted)
        primary->subchannels_wanted = count;
    pthread_mutex_unlock(&guest->lock);
    hv_host_worker_report(primary, HV_EVENT_SUBCHANNELS);
    return 0;
}

void hv_host_channel_rescind(struct hv_host_channel *channel)
{
    hv_host_worker_report(channel, HV_EVENT_RESCIND);
}

void hv_host_channel_corrupt_index(struct hv_host_channel *channel)
{
    if (!channel->serving)
        return;
    channel->corrupted = true;
    atomic_store(&channel->in_area.control->write_index, channel->in_area.data_bytes + 4);
    raise_event(channel);
}

uint16_t hv_host_channel_index(const struct hv_host_channel *channel)
{
    return channel->index;
}

uint32_t hv_host_channel_guest_id(const struct hv_host_channel *channel)
{
    return channel->guest_id;
}

uint32_t hv_host_channel_version(const struct hv_host_channel *channel)
{
    return channel->version;
}

int hv_host_channel_watch(struct hv_host_channel *channel, int fd)
{
    return fd < 0 ? -EBADF : hv_host_worker_watch(channel, fd);
}

void hv_host_channel_unwatch(struct hv_host_channel *channel, int fd)
{
    hv_host_worker_unwatch(channel, fd);
}

/** Extension of a GPA-direct packet with one range; loaded once, then checked. */
struct gpa_header {
    struct hv_gpa_direct direct;
    uint32_t byte_count;
    uint32_t byte_offset;
};
_Static_assert(sizeof(struct gpa_header) == 16, "header and range header");

static int load_gpa_header(const struct hv_packet *packet, struct gpa_header *ret_header,
                           uint32_t *ret_pages)
{
    struct gpa_header header;
    uint64_t words[2], end, pages;

    if (packet->type != HV_PACKET_GPA_DIRECT || packet->ext_bytes < sizeof(header))
        return -EINVAL;
    words[0] = __atomic_load_n((const uint64_t *)packet->ext, __ATOMIC_RELAXED);
    words[1] = __atomic_load_n((const uint64_t *)packet->ext + 1, __ATOMIC_RELAXED);
    memcpy(&header, words, sizeof(header));
    if (header.direct.range_count != 1 || !header.byte_count || header.byte_offset >= HV_PAGE_BYTES)
        return -EINVAL;
    end = (uint64_t)header.byte_offset + header.byte_count;
    pages = (end + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;
    if (pages > (packet->ext_bytes - sizeof(header)) / sizeof(uint64_t))
        return -EINVAL;
    *ret_header = header;
    *ret_pages = (uint32_t)pages;
    return 0;
}

ssize_t hv_host_channel_map_gpa(struct hv_host_channel *channel, const struct hv_packet *packet,
                                struct iovec *iov, size_t max, uint32_t *ret_bytes)
{
    struct hv_host_memory *memory = &channel->guest->memory;
    const uint64_t *pfn;
    struct gpa_header header;
    uint32_t pages, left, offset;
    uint8_t *end = NULL;
    size_t n = 0;
    int err = load_gpa_header(packet, &header, &pages);

    if (err)
        return err;
    pfn = (const uint64_t *)packet->ext + 2;
    left = header.byte_count;
    offset = header.byte_offset;
    for (uint32_t i = 0; i < pages; i++) {
        uint32_t bytes = hv_min_u32(left, HV_PAGE_BYTES - offset);
        uint8_t *page =
            hv_host_memory_page(memory, __atomic_load_n(&pfn[i], __ATOMIC_RELAXED), &channel->hit);

        if (!page)
            return -EFAULT;
        if (end && page == end) {
            iov[n - 1].iov_len += bytes;
        } else {
            if (n == max)
                return -ENOBUFS;
            iov[n++] = (struct iovec){.iov_base = page + offset, .iov_len = bytes};
        }
        end = page + offset + bytes;
        left -= bytes;
        offset = 0;
    }
    *ret_bytes = header.byte_count;
    return (ssize_t)n;
}

/** The pages of one range, appended to `iov`.  Returns the new number of entries, or as map_gpa(). */
static ssize_t map_range(struct hv_host_channel *channel, const uint64_t *pfn,
                         const struct hv_gpa_range *range, struct iovec *iov, size_t n, size_t max)
{
    uint32_t left = range->byte_count, offset = range->byte_offset;
    size_t first = n;

    for (; left; pfn++) {
        uint32_t bytes = hv_min_u32(left, HV_PAGE_BYTES - offset);
        uint8_t *page = hv_host_memory_page(&channel->guest->memory,
                                            __atomic_load_n(pfn, __ATOMIC_RELAXED), &channel->hit);

        if (!page)
            return -EFAULT;
        if (n > first && page == (uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len) {
            iov[n - 1].iov_len += bytes;
        } else {
            if (n == max)
                return -ENOBUFS;
            iov[n++] = (struct iovec){.iov_base = page + offset, .iov_len = bytes};
        }
        left -= bytes;
        offset = 0;
    }
    return (ssize_t)n;
}

ssize_t hv_host_channel_map_gpa_ranges(struct hv_host_channel *channel,
                                       const struct hv_packet *packet, struct iovec *iov,
                                       size_t max, uint32_t *ret_bytes)
{
    const uint64_t *word = packet->ext;
    uint64_t left = packet->ext_bytes / sizeof(uint64_t), total = 0;
    struct hv_gpa_direct direct;
    ssize_t n = 0;

    if (packet->type != HV_PACKET_GPA_DIRECT || !left)
        return -EINVAL;
    total = __atomic_load_n(word++, __ATOMIC_RELAXED);
    memcpy(&direct, &total, sizeof(direct));
    total = 0;
    left--;
    if (!direct.range_count || direct.range_count > left / 2)
        return -EINVAL;
    for (uint32_t i = 0; i < direct.range_count && n >= 0; i++) {
        struct hv_gpa_range range;
        uint64_t head, pages;

        if (left < 2)
            return -EINVAL;
        head = __atomic_load_n(word, __ATOMIC_RELAXED);
        memcpy(&range, &head, sizeof(range));
        pages =
            ((uint64_t)range.byte_offset + range.byte_count + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;
        if (!range.byte_count || range.byte_offset >= HV_PAGE_BYTES || pages > left - 1)
            return -EINVAL;
        n = map_range(channel, word + 1, &range, iov, (size_t)n, max);
        word += 1 + pages;
        left -= 1 + pages;
        total += range.byte_count;
    }
    if (n < 0)
        return n;
    if (total > UINT32_MAX)
        return -EINVAL;
    *ret_bytes = (uint32_t)total;
    return n;
}

void hv_host_channel_get_stats(const struct hv_host_channel *channel,
                               struct hv_host_stats *ret_stats)
{
    ret_stats->in = channel->rx.stats;
    ret_stats->out = channel->tx.stats;
    ret_stats->wakeups = channel->wakeups;
}
