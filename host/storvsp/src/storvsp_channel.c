/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel of a guest: opened, polled and closed by one worker.  A poll does, in this order:
 *
 *   news (kicked) -> completions of disks -> delayed requests -> new requests, a batch -> one io_submit per disk
 *   -> unsolicited packets -> publish answers once -> release the requests' ring space once
 *
 * A request on a memory disk is answered in the poll that read it.
 */
#include "storvsp_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/log.h>

struct hv_storvsp_slot *hv_storvsp_slot_take(struct hv_storvsp_channel *ch)
{
    struct hv_storvsp_slot *slot = ch->free;

    ch->free = slot->next;
    ch->in_flight++;
    return slot;
}

void hv_storvsp_slot_free(struct hv_storvsp_channel *ch, struct hv_storvsp_slot *slot)
{
    slot->kind = HV_SLOT_FREE;
    slot->next = ch->free;
    ch->free = slot;
    ch->in_flight--;
}

void hv_storvsp_wake_guest(struct hv_storvsp_guest *guest)
{
    pthread_mutex_lock(&guest->storvsp->lock);
    for (struct hv_storvsp_channel *ch = guest->channels; ch; ch = ch->next)
        hv_storvsp_kick(ch);
    pthread_mutex_unlock(&guest->storvsp->lock);
}

static int make_slots(struct hv_storvsp_channel *ch, const struct hv_storvsp *sp)
{
    ch->depth = sp->depth;
    ch->iov_max = sp->max_transfer_bytes / HV_PAGE_BYTES + 2; /* unaligned, and one to spare */
    ch->slots = calloc(ch->depth, sizeof(*ch->slots));
    ch->iov = calloc((size_t)ch->depth * ch->iov_max, sizeof(*ch->iov));
    if (!ch->slots || !ch->iov)
        return -ENOMEM;
    for (uint32_t i = ch->depth; i-- > 0;) {
        struct hv_storvsp_slot *slot = &ch->slots[i];

        slot->channel = ch;
        slot->iov = ch->iov + (size_t)i * ch->iov_max;
        slot->next = ch->free;
        ch->free = slot;
    }
    return 0;
}

/** Descriptors that wake the worker. */
static int make_events(struct hv_storvsp_channel *ch, const struct hv_storvsp *sp)
{
    int ret;

    ch->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ch->event_fd < 0)
        return -errno;
    ret = hv_host_channel_watch(ch->channel, ch->event_fd);
    if (ret || !sp->fault || !hv_storvsp_fault_has(sp->fault, HV_FAULT_DELAY))
        return ret;
    ch->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (ch->timer_fd < 0)
        return -errno;
    return hv_host_channel_watch(ch->channel, ch->timer_fd);
}

static void free_channel(struct hv_storvsp_channel *ch)
{
    if (ch->timer_fd >= 0) {
        hv_host_channel_unwatch(ch->channel, ch->timer_fd);
        (void)close(ch->timer_fd);
    }
    if (ch->event_fd >= 0) {
        hv_host_channel_unwatch(ch->channel, ch->event_fd);
        (void)close(ch->event_fd);
    }
    free(ch->iov);
    free(ch->slots);
    free(ch);
}

static int join_guest(struct hv_storvsp_channel *ch)
{
    struct hv_storvsp *sp = ch->storvsp;
    struct hv_storvsp_guest *guest;

    pthread_mutex_lock(&sp->lock);
    guest = hv_storvsp_get_guest(sp, hv_host_channel_guest_id(ch->channel));
    if (guest) {
        ch->guest = guest;
        ch->reset_number = guest->reset_number;
        ch->next = guest->channels;
        guest->channels = ch;
    }
    pthread_mutex_unlock(&sp->lock);
    return guest ? 0 : -ENOMEM;
}

int hv_storvsp_open(void *device_ctx, struct hv_host_channel *channel, const void *user_data,
                    size_t user_data_bytes, void **ret_ctx)
{
    struct hv_storvsp *sp = device_ctx;
    struct hv_storvsp_channel *ch = calloc(1, sizeof(*ch));
    int ret;

    (void)user_data; /* storage guests send zeroes */
    (void)user_data_bytes;
    if (!ch)
        return -ENOMEM;
    ch->storvsp = sp;
    ch->channel = channel;
    ch->primary = hv_host_channel_index(channel) == 0;
    ch->event_fd = ch->timer_fd = -1;
    ret = make_slots(ch, sp);
    if (!ret)
        ret = make_events(ch, sp);
    if (!ret)
        ret = join_guest(ch);
    if (ret) {
        free_channel(ch);
        return ret;
    }
    hv_storvsp_bind(ch);
    *ret_ctx = ch;
    return 0;
}

/** Closed, and nothing in flight uses guest memory any more. */
static void leave(struct hv_storvsp_channel *ch)
{
    struct hv_storvsp *sp = ch->storvsp;
    struct hv_host_channel *channel = ch->channel;
    struct hv_storvsp_channel **at = &ch->guest->channels;

    hv_storvsp_unbind(ch, true);
    pthread_mutex_lock(&sp->lock);
    while (*at != ch)
        at = &(*at)->next;
    *at = ch->next;
    hv_storvsp_reset_leave(ch);
    hv_storvsp_add_stats(&sp->past, ch);
    sp->past.channels = 0; /* counts open ones */
    pthread_mutex_unlock(&sp->lock);
    free_channel(ch);
    hv_host_channel_closed(channel);
}

void hv_storvsp_close(void *ctx)
{
    struct hv_storvsp_channel *ch = ctx;

    ch->closing = true;
    if (ch->primary)
        hv_storvsp_session_reset(&ch->guest->session);
    while (ch->delayed) { /* not begun yet, and nobody waits for it any more */
        struct hv_storvsp_slot *slot = ch->delayed;

        ch->delayed = slot->next;
        hv_storvsp_slot_free(ch, slot);
    }
    if (!ch->in_flight)
        leave(ch);
}

/** Room that all answers need if one more request is read, and one unsolicited packet. */
static uint32_t room_for_one_more(const struct hv_storvsp_channel *ch)
{
    return (ch->in_flight + 2) * HV_STORVSP_ANSWER_ROOM;
}

/** May one more request be read?  Only when there is a slot for it and room for its answer. */
static bool may_take(struct hv_storvsp_channel *ch)
{
    uint32_t need = room_for_one_more(ch);

    if (!ch->primary && !hv_storvsp_is_ready(&ch->guest->session))
        return false; /* stays in the ring until the handshake is done */
    if (!ch->free)
        return false;
    if (ch->room >= need)
        return true;
    ch->room = hv_host_channel_free_bytes(ch->channel);
    if (ch->room > ch->room_seen)
        ch->room_seen = ch->room;
    ch->short_of_room |= ch->room < need;
    return ch->room >= need;
}

static int take_batch(struct hv_storvsp_channel *ch)
{
    struct hv_packet packet;
    bool held = false;
    int n = 0, ret;

    while (n < (int)HV_STORVSP_BATCH && !ch->dead) {
        if (!may_take(ch)) {
            held = true;
            break;
        }
        ret = hv_host_channel_peek(ch->channel, &packet);
        if (ret) {
            if (ret != -EAGAIN)
                hv_storvsp_broken(ch, "broke the ring from it");
            break;
        }
        n++;
        ch->unreleased = true;
        hv_storvsp_take(ch, &packet);
        if (ch->moved >= HV_STORVSP_PUBLISH)
            hv_storvsp_publish(ch);
    }
    if (held != ch->held) {
        ch->held = held;
        hv_host_channel_hold(ch->channel, held);
    }
    if (n)
        hv_storvsp_count(&ch->counters.batches, 1);
    return n;
}

/** Somebody changed something: LUNs, the handshake's state, a reset. */
static void attend(struct hv_storvsp_channel *ch)
{
    uint64_t kicks;

    /* First forget that we were kicked, then look: a kick in between is seen next time. */
    (void)atomic_exchange_explicit(&ch->kicked, false, memory_order_acq_rel);
    if (read(ch->event_fd, &kicks, sizeof(kicks)) < 0) {
        /* Emptied already, together with an earlier kick. */
    }
    hv_storvsp_bind(ch);
    hv_storvsp_reset_notice(ch);
    hv_storvsp_reset_answer(ch);
}

static int poll_disks(struct hv_storvsp_channel *ch)
{
    int done = 0;

    for (struct hv_storvsp_binding *b = ch->bound; b; b = b->next)
        if (b->busy || (b->queue && !hv_disk_queue_is_settled(b->queue)))
            done += hv_disk_queue_poll(b->queue);
    return done;
}

static void flush_disks(struct hv_storvsp_channel *ch)
{
    while (ch->touched) {
        struct hv_storvsp_binding *b = ch->touched;

        ch->touched = b->touched_next;
        b->touched = false;
        hv_disk_queue_flush(b->queue);
    }
}

/** What was read is copied: the guest may have the space back. */
static void release(struct hv_storvsp_channel *ch)
{
    if (ch->unreleased && !ch->closing && !ch->dead)
        hv_host_channel_release(ch->channel);
    ch->unreleased = false;
}

int hv_storvsp_poll(void *ctx)
{
    struct hv_storvsp_channel *ch = ctx;
    int done = 0;

    ch->short_of_room = false; /* until somebody misses some */
    if (atomic_load_explicit(&ch->kicked, memory_order_acquire)) {
        attend(ch);
        done++;
    }
    done += poll_disks(ch);
    if (ch->delayed)
        done += hv_storvsp_run_due(ch);
    if (!ch->closing && !ch->dead)
        done += take_batch(ch);
    if (ch->touched)
        flush_disks(ch);
    hv_storvsp_reset_progress(ch);
    if (ch->letting_go)
        hv_storvsp_unbind(ch, false);
    if (ch->tell_removed || ch->tell_enumerate)
        hv_storvsp_tell(ch);
    hv_storvsp_publish(ch);
    release(ch);
    if (ch->offer_sub_channels && !ch->closing && !ch->dead) {
        /* After the answer: a guest that is still handling it must not find its list of channels growing. */
        (void)hv_host_channel_offer_subchannels(ch->channel, ch->offer_sub_channels);
        ch->offer_sub_channels = 0;
    }
    if (done)
        atomic_store_explicit(&ch->in_flight_shown, ch->in_flight, memory_order_relaxed);
    if (ch->closing && !ch->in_flight)
        leave(ch);
    return done;
}

bool hv_storvsp_arm(void *ctx)
{
    struct hv_storvsp_channel *ch = ctx;

    if (atomic_load_explicit(&ch->kicked, memory_order_acquire))
        return true;
    /* More than the ring ever had: only completions help, and they wake us themselves. */
    if (ch->closing || ch->dead || !ch->short_of_room || room_for_one_more(ch) > ch->room_seen)
        return false;
    return hv_host_channel_want_room(ch->channel, room_for_one_more(ch));
}
