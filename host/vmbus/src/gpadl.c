/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GPADLs: lists of guest pages that a channel may use, told in a header and as many bodies as it takes.
 * The ranges are kept as they came and looked at when complete; surplus bytes at the end are ignored.
 */
#include "host_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>

static struct hv_host_gpadl *find(const struct hv_host_channel *channel, uint32_t id)
{
    struct hv_host_gpadl *gpadl;

    TAILQ_FOREACH(gpadl, &channel->guest->gpadls, entry)
    {
        if (gpadl->id == id && gpadl->channel == channel)
            return gpadl;
    }
    return NULL;
}

/** A body names no channel: ids are unique while bodies are outstanding. */
static struct hv_host_gpadl *find_growing(const struct hv_host_guest *guest, uint32_t id)
{
    struct hv_host_gpadl *gpadl;

    TAILQ_FOREACH(gpadl, &guest->gpadls, entry)
    {
        if (gpadl->id == id && !gpadl->created)
            return gpadl;
    }
    return NULL;
}

static uint32_t pages_of(const struct hv_host_gpadl *gpadl)
{
    return gpadl->want_bytes / 8;
}

static void drop(struct hv_host_gpadl *gpadl)
{
    struct hv_host_guest *guest = gpadl->channel->guest;

    pthread_mutex_lock(&guest->gpadl_lock); /* workers look for what they map */
    TAILQ_REMOVE(&guest->gpadls, gpadl, entry);
    pthread_mutex_unlock(&guest->gpadl_lock);
    guest->gpadl_count--;
    guest->gpadl_pages -= pages_of(gpadl);
    free(gpadl);
    hv_host_guest_reap_memory(guest);
}

static void post_created(struct hv_host_guest *guest, uint32_t relid, uint32_t id, uint32_t status)
{
    const struct hv_msg_gpadl_created message = {
        .hdr.type = HV_MSG_GPADL_CREATED, .relid = relid, .gpadl = id, .status = status};

    hv_host_guest_post(guest, &message, sizeof(message));
}

static void post_torndown(struct hv_host_guest *guest, uint32_t id)
{
    const struct hv_msg_gpadl_torndown message = {.hdr.type = HV_MSG_GPADL_TORNDOWN, .gpadl = id};

    hv_host_guest_post(guest, &message, sizeof(message));
}

/** Whole ranges, of guest memory only. */
static bool ranges_are_legal(const struct hv_host_gpadl *gpadl)
{
    const struct hv_host_memory *memory = &gpadl->channel->guest->memory;
    const uint64_t *word = gpadl->words;
    size_t left = gpadl->want_bytes / 8;

    for (uint32_t i = 0; i < gpadl->range_count; i++) {
        struct hv_gpa_range range;
        uint64_t pages;

        if (!left)
            return false;
        memcpy(&range, word, sizeof(range));
        if (!range.byte_count || range.byte_offset >= HV_PAGE_BYTES)
            return false;
        pages =
            ((uint64_t)range.byte_offset + range.byte_count + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;
        if (pages > left - 1)
            return false;
        for (uint64_t page = 1; page <= pages; page++) {
            if (!hv_host_memory_find_lasting(memory, word[page]))
                return false;
        }
        word += 1 + pages;
        left -= 1 + pages;
    }
    return true;
}

/** Takes what is still missing; when nothing is, answers. */
static void add_bytes(struct hv_host_gpadl *gpadl, const void *data, size_t bytes)
{
    struct hv_host_guest *guest = gpadl->channel->guest;
    size_t take = hv_min_u64(bytes, gpadl->want_bytes - gpadl->have_bytes);

    memcpy((uint8_t *)gpadl->words + gpadl->have_bytes, data, take);
    gpadl->have_bytes += (uint32_t)take;
    if (gpadl->have_bytes < gpadl->want_bytes)
        return;
    if (!ranges_are_legal(gpadl)) {
        hv_host_guest_complain(guest, "GPADL 0x%x is malformed", gpadl->id);
        post_created(guest, gpadl->channel->relid, gpadl->id, HV_STATUS_INVALID);
        drop(gpadl);
        return;
    }
    pthread_mutex_lock(&guest->gpadl_lock);
    gpadl->created = true;
    pthread_mutex_unlock(&guest->gpadl_lock);
    post_created(guest, gpadl->channel->relid, gpadl->id, 0);
}

static struct hv_host_gpadl *create(struct hv_host_channel *channel,
                                    const struct hv_msg_gpadl_header *header)
{
    struct hv_host_guest *guest = channel->guest;
    struct hv_host_gpadl *gpadl;
    uint32_t pages = header->range_bytes / 8u;

    if (!header->range_count || header->range_bytes < sizeof(struct hv_gpa_range) + 8 ||
        header->range_bytes % 8)
        return NULL;
    if (guest->gpadl_count >= HV_HOST_GPADLS_MAX ||
        pages > HV_HOST_GPADL_PAGES_MAX - guest->gpadl_pages)
        return NULL;
    gpadl = calloc(1, sizeof(*gpadl) + header->range_bytes);
    if (!gpadl)
        return NULL;
    gpadl->channel = channel;
    gpadl->id = header->gpadl;
    gpadl->range_count = header->range_count;
    gpadl->want_bytes = header->range_bytes;
    gpadl->serial = ++guest->serial;
    guest->gpadl_count++;
    guest->gpadl_pages += pages;
    pthread_mutex_lock(&guest->gpadl_lock);
    TAILQ_INSERT_TAIL(&guest->gpadls, gpadl, entry);
    pthread_mutex_unlock(&guest->gpadl_lock);
    return gpadl;
}

void hv_host_gpadl_header(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    const struct hv_msg_gpadl_header *header = message;
    struct hv_host_channel *channel = hv_host_channel_find(guest, header->relid);
    struct hv_host_gpadl *gpadl;

    if (channel && (find(channel, header->gpadl) || find_growing(guest, header->gpadl))) {
        hv_host_guest_doom(guest, "GPADL 0x%x exists already", header->gpadl);
        return;
    }
    gpadl = channel && header->gpadl ? create(channel, header) : NULL;
    if (!gpadl) {
        hv_host_guest_complain(guest, "GPADL 0x%x of channel %u refused: %u ranges in %u bytes",
                               header->gpadl, header->relid, header->range_count,
                               header->range_bytes);
        post_created(guest, header->relid, header->gpadl, HV_STATUS_INVALID);
        return;
    }
    add_bytes(gpadl, header->ranges, bytes - sizeof(*header));
}

void hv_host_gpadl_body(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    const struct hv_msg_gpadl_body *body = message;
    struct hv_host_gpadl *gpadl = find_growing(guest, body->gpadl);

    if (gpadl) /* else it was refused already, or never was */
        add_bytes(gpadl, body->pfn, (bytes - sizeof(*body)) & ~(size_t)7);
}

void hv_host_gpadl_teardown(struct hv_host_guest *guest, uint32_t relid, uint32_t id)
{
    struct hv_host_channel *channel = hv_host_channel_find(guest, relid);
    struct hv_host_gpadl *gpadl = channel ? find(channel, id) : NULL;
    bool busy;

    if (!gpadl)
        return;
    if (!gpadl->created || gpadl->tearing_down) {
        hv_host_guest_doom(guest, "teardown of GPADL 0x%x, which is %s", id,
                           gpadl->created ? "being torn down" : "not complete");
        return;
    }
    pthread_mutex_lock(&guest->gpadl_lock);
    gpadl->tearing_down = true;
    busy = gpadl->in_use || gpadl->held;
    pthread_mutex_unlock(&guest->gpadl_lock);
    if (busy)
        return; /* answered when the channel has let go */
    drop(gpadl);
    post_torndown(guest, id);
}

void hv_host_gpadl_use(struct hv_host_gpadl *gpadl)
{
    struct hv_host_guest *guest = gpadl->channel->guest;

    pthread_mutex_lock(&guest->gpadl_lock);
    gpadl->in_use = true;
    pthread_mutex_unlock(&guest->gpadl_lock);
}

void hv_host_gpadl_unuse(struct hv_host_gpadl *gpadl)
{
    struct hv_host_guest *guest = gpadl->channel->guest;
    uint32_t id = gpadl->id;

    pthread_mutex_lock(&guest->gpadl_lock);
    gpadl->in_use = false;
    pthread_mutex_unlock(&guest->gpadl_lock);
    if (!gpadl->tearing_down)
        return;
    drop(gpadl);
    post_torndown(guest, id);
}

static bool is_held(const struct hv_host_gpadl *gpadl)
{
    struct hv_host_guest *guest = gpadl->channel->guest;
    bool held;

    pthread_mutex_lock(&guest->gpadl_lock);
    held = gpadl->held;
    pthread_mutex_unlock(&guest->gpadl_lock);
    return held;
}

void hv_host_gpadl_answer_unmapped(struct hv_host_channel *channel)
{
    struct hv_host_guest *guest = channel->guest;
    struct hv_host_gpadl *gpadl, *next;

    for (gpadl = TAILQ_FIRST(&guest->gpadls); gpadl; gpadl = next) {
        uint32_t id = gpadl->id;

        next = TAILQ_NEXT(gpadl, entry);
        if (gpadl->channel != channel || !gpadl->tearing_down || gpadl->in_use || is_held(gpadl))
            continue;
        drop(gpadl);
        post_torndown(guest, id);
    }
}

void hv_host_gpadl_revoke(struct hv_host_channel *channel)
{
    struct hv_host_guest *guest = channel->guest;
    struct hv_host_gpadl *gpadl, *next;

    for (gpadl = TAILQ_FIRST(&guest->gpadls); gpadl; gpadl = next) {
        next = TAILQ_NEXT(gpadl, entry);
        if (gpadl->channel != channel || gpadl->created)
            continue;
        post_created(guest, channel->relid, gpadl->id, HV_STATUS_INVALID);
        drop(gpadl);
    }
}

void hv_host_gpadl_drop_all(struct hv_host_channel *channel)
{
    struct hv_host_gpadl *gpadl, *next;

    for (gpadl = TAILQ_FIRST(&channel->guest->gpadls); gpadl; gpadl = next) {
        next = TAILQ_NEXT(gpadl, entry);
        if (gpadl->channel == channel)
            drop(gpadl);
    }
}

int hv_host_gpadl_ring(struct hv_host_channel *channel, uint32_t id,
                       struct hv_host_gpadl **ret_gpadl, const uint64_t **ret_pfns,
                       uint32_t *ret_pages)
{
    struct hv_host_gpadl *gpadl = find(channel, id);
    struct hv_gpa_range range;

    if (!gpadl || !gpadl->created || gpadl->tearing_down || gpadl->in_use || is_held(gpadl) ||
        gpadl->range_count != 1)
        return -EINVAL; /* no channel is open through which it could become held meanwhile */
    memcpy(&range, gpadl->words, sizeof(range));
    if (range.byte_offset || range.byte_count % HV_PAGE_BYTES)
        return -EINVAL;
    *ret_gpadl = gpadl;
    *ret_pfns = gpadl->words + 1;
    *ret_pages = range.byte_count / HV_PAGE_BYTES;
    return 0;
}
