/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GPADL: a list of page numbers that the host gets under an id.  One range; its first numbers travel behind a header
 * message, the others in body messages.
 */
#include "sock_impl.h"

#include <errno.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/wire/ring.h>

/** Length of the header message for a range of `page_count` pages; `room` has HV_MESSAGE_MAX_BYTES. */
static size_t build_header(uint8_t *room, uint32_t relid, uint32_t gpadl, uint64_t first_pfn,
                           uint32_t page_count)
{
    struct hv_msg_gpadl_header header = {
        .hdr.type = HV_MSG_GPADL_HEADER,
        .relid = relid,
        .gpadl = gpadl,
        .range_bytes = (uint16_t)(sizeof(struct hv_gpa_range) + page_count * sizeof(uint64_t)),
        .range_count = 1,
    };
    struct hv_gpa_range range = {.byte_count = page_count * HV_PAGE_BYTES};
    uint32_t here = hv_min_u32(page_count, HV_GPADL_HEADER_PFNS);
    uint8_t *at = room;

    memcpy(at, &header, sizeof(header));
    at += sizeof(header);
    memcpy(at, &range, sizeof(range));
    at += sizeof(range);
    for (uint32_t i = 0; i < here; i++, at += sizeof(uint64_t)) {
        uint64_t pfn = first_pfn + i;

        memcpy(at, &pfn, sizeof(pfn)); /* 20 + 8 bytes in: not aligned */
    }
    return (size_t)(at - room);
}

static int post_bodies(struct hv_sock *sock, uint32_t gpadl, uint64_t pfn, uint32_t left,
                       uint64_t deadline_ns)
{
    while (left) {
        struct {
            struct hv_msg_gpadl_body body;
            uint64_t pfns[HV_GPADL_BODY_PFNS];
        } message = {.body = {.hdr.type = HV_MSG_GPADL_BODY, .gpadl = gpadl}};
        uint32_t here = hv_min_u32(left, HV_GPADL_BODY_PFNS);
        int err;

        for (uint32_t i = 0; i < here; i++)
            message.pfns[i] = pfn++;
        left -= here;
        err = hv_connection_post(sock, &message, sizeof(message.body) + here * sizeof(uint64_t),
                                 deadline_ns);
        if (err)
            return err;
    }
    return 0;
}

int hv_gpadl_create(struct hv_sock *sock, const struct hv_offer *offer, uint64_t first_pfn,
                    uint32_t page_count, uint32_t *ret_gpadl)
{
    uint64_t deadline_ns = hv_sock_deadline(sock);
    uint8_t header[HV_MESSAGE_MAX_BYTES];
    uint32_t gpadl = sock->next_gpadl;
    uint32_t here = hv_min_u32(page_count, HV_GPADL_HEADER_PFNS);
    struct hv_reply reply = {
        .kind = HV_MSG_GPADL_CREATED,
        .key = hv_reply_key(offer->relid, gpadl),
        .offer = offer,
    };
    size_t bytes;
    int err;

    if (!page_count || page_count > HV_GPADL_RANGE_MAX_PAGES)
        return -EINVAL;
    sock->next_gpadl = gpadl + 1 ? gpadl + 1 : 1; /* 2^32 opens later: 0 means none */
    bytes = build_header(header, offer->relid, gpadl, first_pfn, page_count);
    err = hv_connection_post(sock, header, bytes, deadline_ns);
    if (!err)
        err = post_bodies(sock, gpadl, first_pfn + here, page_count - here, deadline_ns);
    if (!err)
        err = hv_sock_wait(sock, &reply, deadline_ns);
    if (err)
        return err;
    if (reply.status) {
        hv_log(&sock->bus->opts.log, HV_LOG_ERROR, "channel %u: host refuses a GPADL: 0x%llx",
               offer->relid, (unsigned long long)reply.status);
        return -EIO;
    }
    *ret_gpadl = gpadl;
    return 0;
}

int hv_gpadl_teardown(struct hv_sock *sock, const struct hv_offer *offer, uint32_t gpadl)
{
    uint64_t deadline_ns = hv_sock_deadline(sock);
    struct hv_msg_gpadl_teardown teardown = {
        .hdr.type = HV_MSG_GPADL_TEARDOWN,
        .relid = offer->relid,
        .gpadl = gpadl,
    };
    struct hv_reply reply = {.kind = HV_MSG_GPADL_TORNDOWN, .key = gpadl};
    int err = hv_connection_post(sock, &teardown, sizeof(teardown), deadline_ns);

    return err ? err : hv_sock_wait(sock, &reply, deadline_ns);
}
