/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Open and close of a channel over the socket: ring memory -> guest memory -> GPADL -> open, and back.
 * close_steps() undoes what the channel's members say was done, so that a failed open and a close are the same.
 */
#include "sock_impl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int make_rings(struct hv_channel *channel, const struct hv_channel_opts *opts)
{
    struct hv_sock *sock = channel->bus->transport;
    size_t bytes = (size_t)opts->out_bytes + opts->in_bytes;
    uint64_t first_pfn;
    int fd, err;

    if (bytes >> HV_PAGE_SHIFT > HV_GPADL_RANGE_MAX_PAGES)
        return -EINVAL;
    fd = hv_memory_file(bytes);
    if (fd < 0)
        return fd;
    err = hv_ring_map(fd, 0, opts->out_bytes, opts->in_bytes, &channel->out, &channel->in);
    if (!err)
        err = hv_channel_start(channel);
    if (!err)
        err = hv_sock_memory_add(sock, fd, 0, bytes, 1, &first_pfn);
    (void)close(fd); /* both sides have it mapped */
    if (err)
        return err;
    channel->memory_pfn = first_pfn;
    channel->memory_pages = (uint32_t)(bytes >> HV_PAGE_SHIFT);
    return 0;
}

static int post_open(struct hv_channel *channel, const struct hv_channel_opts *opts)
{
    struct hv_sock *sock = channel->bus->transport;
    const struct hv_offer *offer = channel->offer;
    uint64_t deadline_ns = hv_sock_deadline(sock);
    struct hv_msg_open open = {
        .hdr.type = HV_MSG_OPEN_CHANNEL,
        .relid = offer->relid,
        .open_id = sock->next_open_id++,
        .gpadl = channel->gpadl,
        .target_vp = opts->target_vp,
        .in_ring_page = opts->out_bytes >> HV_PAGE_SHIFT,
    };
    struct hv_reply reply = {
        .kind = HV_MSG_OPEN_RESULT,
        .key = hv_reply_key(open.relid, open.open_id),
        .offer = offer,
    };
    int err;

    if (opts->user_data_bytes)
        memcpy(open.user_data, opts->user_data, opts->user_data_bytes);
    err = hv_connection_post(sock, &open, sizeof(open), deadline_ns);
    if (err)
        return err;
    channel->host_opened =
        true; /* until it says no: an answer that comes too late must be undone too */
    err = hv_sock_wait(sock, &reply, deadline_ns);
    if (err || !reply.status)
        return err;
    channel->host_opened = false;
    hv_log(&channel->bus->opts.log, HV_LOG_ERROR, "channel %u: host refuses to open it: 0x%llx",
           offer->relid, (unsigned long long)reply.status);
    return -EIO;
}

static void post_close(struct hv_channel *channel)
{
    struct hv_sock *sock = channel->bus->transport;
    struct hv_msg_relid close_msg = {
        .hdr.type = HV_MSG_CLOSE_CHANNEL,
        .relid = channel->offer->relid,
    };

    /* a failure shows in the teardown that follows */
    (void)hv_connection_post(sock, &close_msg, sizeof(close_msg), hv_sock_deadline(sock));
}

static void close_steps(struct hv_channel *channel)
{
    struct hv_sock *sock = channel->bus->transport;

    if (channel->host_opened && !channel->offer->rescinded)
        post_close(channel);
    channel->host_opened = false;
    if (channel->gpadl && hv_gpadl_teardown(sock, channel->offer, channel->gpadl) == -ETIMEDOUT)
        /* what it still writes to, nobody knows; cut off, it finds memory that nobody uses */
        hv_sock_lose(sock, -ETIMEDOUT, "channel %u: it does not give the rings back",
                     channel->offer->relid);
    channel->gpadl = 0;
    /* unconfirmed or not, unmapping is safe: the host's mapping keeps the pages, and their numbers are not used again */
    if (channel->memory_pages)
        hv_sock_memory_remove(sock, channel->memory_pfn, channel->memory_pages);
    channel->memory_pages = 0;
    hv_ring_unmap(&channel->out);
    hv_ring_unmap(&channel->in);
}

int hv_sock_channel_open(struct hv_channel *channel, const struct hv_channel_opts *opts)
{
    struct hv_sock *sock = channel->bus->transport;
    const struct hv_offer *offer = channel->offer;
    int err;

    channel->wait_fd = offer->event_fd;
    channel->signal_fd = offer->signal_fd;
    if (offer->monitored) {
        struct hv_monitor_page *to_host = &sock->monitor[1];

        channel->monitor_word = &to_host->group[offer->monitor_id / HV_MONITOR_PER_GROUP].pending;
        channel->monitor_bit = 1u << offer->monitor_id % HV_MONITOR_PER_GROUP;
    }
    err = make_rings(channel, opts);
    if (!err)
        err = hv_gpadl_create(sock, offer, channel->memory_pfn, channel->memory_pages,
                              &channel->gpadl);
    if (!err)
        err = post_open(channel, opts);
    if (err)
        close_steps(channel);
    return err;
}

void hv_sock_channel_close(struct hv_channel *channel)
{
    close_steps(channel);
}

int hv_sock_channel_set_target(struct hv_channel *channel, uint32_t target_vp)
{
    struct hv_sock *sock = channel->bus->transport;
    uint64_t deadline_ns = hv_sock_deadline(sock);
    struct hv_msg_modify_channel modify = {
        .hdr.type = HV_MSG_MODIFY_CHANNEL,
        .relid = channel->offer->relid,
        .target_vp = target_vp,
    };
    struct hv_reply reply = {
        .kind = HV_MSG_MODIFY_CHANNEL_RESULT,
        .key = modify.relid,
        .offer = channel->offer,
    };
    int err;

    if (sock->version < HV_VERSION_4_1)
        return -EOPNOTSUPP;
    err = hv_connection_post(sock, &modify, sizeof(modify), deadline_ns);
    if (!err && sock->version >= HV_VERSION_5_3)
        err = hv_sock_wait(sock, &reply, deadline_ns);
    if (err)
        return err;
    return reply.status ? -EIO : 0;
}

int hv_sock_channel_share(struct hv_channel *primary, enum hv_shared_kind kind, size_t bytes,
                          struct hv_shared *ret_shared)
{
    struct hv_sock *sock = primary->bus->transport;
    uint32_t page_count = (uint32_t)(bytes >> HV_PAGE_SHIFT);
    struct hv_dma *dma;
    uint32_t gpadl;
    int err;

    /* DMA memory like any other, so that packets can name what lies in it, too */
    err = hv_dma_alloc(primary->bus, bytes, &dma);
    if (err)
        return err;
    err = hv_gpadl_create(sock, primary->offer, dma->only.first_pfn, page_count, &gpadl);
    if (err) {
        hv_dma_free(dma);
        return err;
    }
    primary->shared_dma[kind] = dma;
    *ret_shared = (struct hv_shared){
        .address = hv_dma_address(dma),
        .bytes = (size_t)page_count << HV_PAGE_SHIFT,
        .gpadl = gpadl,
    };
    return 0;
}

void hv_sock_channel_unshare(struct hv_channel *primary, enum hv_shared_kind kind)
{
    struct hv_sock *sock = primary->bus->transport;

    if (hv_gpadl_teardown(sock, primary->offer, primary->shared[kind].gpadl) == -ETIMEDOUT)
        /* as with rings: what it still writes to, nobody knows */
        hv_sock_lose(sock, -ETIMEDOUT, "channel %u: it does not give a shared buffer back",
                     primary->offer->relid);
    hv_dma_free(primary->shared_dma[kind]);
    primary->shared_dma[kind] = NULL;
}

void hv_sock_channel_signal(struct hv_channel *channel)
{
    if (channel->monitor_word)
        /* after our stores to the ring, which the host looks at when it has taken the bit */
        atomic_fetch_or_explicit(channel->monitor_word, channel->monitor_bit, memory_order_release);
    else
        hv_event_raise(channel->signal_fd);
}

bool hv_sock_channel_drain(struct hv_channel *channel)
{
    return hv_event_drain(channel->wait_fd);
}

void hv_sock_channel_wake(struct hv_channel *channel)
{
    /* the owner may be stuck in a write to a counter that a hostile host filled: sock_event.c */
    if (channel->signal_fd >= 0)
        (void)hv_event_drain(channel->signal_fd);
    hv_event_raise(channel->wait_fd);
}
