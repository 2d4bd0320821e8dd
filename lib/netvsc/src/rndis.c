/* SPDX-License-Identifier: BSD-3-Clause */
/* RNDIS requests: built here, sent and answered through mailbox.c, answers checked here. */
#include "netvsc_impl.h"

#include <errno.h>
#include <string.h>

/** Alignment of concatenated packets beyond this makes no sense, and could not be shifted safely. */
#define ALIGN_LOG2_MAX 7u
/** Packets in one message that we make use of. */
#define PACKETS_MAX 64u

static uint32_t new_id(struct hv_netvsc *n)
{
    return ++n->next_id ? n->next_id : ++n->next_id;
}

static int status_error(uint32_t status)
{
    switch (status) {
    case HV_RNDIS_STATUS_SUCCESS:
        return 0;
    case HV_RNDIS_STATUS_NOT_SUPPORTED:
    case HV_RNDIS_STATUS_INVALID_OID:
        return -EOPNOTSUPP;
    case HV_RNDIS_STATUS_MULTICAST_FULL:
        return -ENOSPC;
    default:
        return -EIO;
    }
}

static int malformed(struct hv_netvsc *n, const char *what)
{
    hv_log(&n->opts.log, HV_LOG_ERROR, "network: the host's answer to %s makes no sense", what);
    return -EPROTO;
}

/** What the packets of the data path must obey. */
static int take_limits(struct hv_netvsc *n, const struct hv_rndis_initialize_complete *reply)
{
    struct hv_nq_device *device = n->device;
    uint32_t packets = hv_min_u32(reply->max_packets_per_message, PACKETS_MAX);

    if (reply->packet_align_log2 > ALIGN_LOG2_MAX || !reply->max_xfer_bytes)
        return malformed(n, "RNDIS INITIALIZE");
    if (n->opts.aggregate_packets)
        packets = hv_min_u32(packets, n->opts.aggregate_packets);
    device->max_packets_per_message = packets ? packets : 1;
    device->max_message_bytes = reply->max_xfer_bytes;
    device->packet_align_bytes = 1u << reply->packet_align_log2;
    return 0;
}

int hv_netvsc_rndis_init(struct hv_netvsc *n)
{
    struct hv_rndis_initialize request = {
        .hdr = {HV_RNDIS_INITIALIZE, sizeof(request)},
        .request_id = new_id(n),
        .major = 1,
        .max_xfer_bytes = HV_RNDIS_MAX_XFER,
    };
    struct hv_rndis_initialize_complete reply = {0};
    size_t bytes;
    int err = hv_netvsc_control_ask(n, &request, sizeof(request), &bytes);

    if (err)
        return err;
    if (bytes < HV_RNDIS_INITIALIZE_COMPLETE_MIN_BYTES)
        return malformed(n, "RNDIS INITIALIZE");
    memcpy(&reply, n->mail.reply, hv_min_u64(bytes, sizeof(reply)));
    if (reply.status) {
        hv_log(&n->opts.log, HV_LOG_ERROR, "network: the host refuses RNDIS, status %08x",
               reply.status);
        return -EIO;
    }
    n->rndis_up = true;
    return take_limits(n, &reply);
}

void hv_netvsc_rndis_halt(struct hv_netvsc *n)
{
    struct hv_rndis_bare halt = {
        .hdr = {HV_RNDIS_HALT, sizeof(halt)},
        .request_id = new_id(n),
    };

    if (n->rndis_up)
        (void)hv_netvsc_control_post(n, &halt, sizeof(halt)); /* a dead host needs none */
    n->rndis_up = false;
}

int hv_netvsc_keepalive(struct hv_netvsc *n)
{
    struct hv_rndis_bare request = {
        .hdr = {HV_RNDIS_KEEPALIVE, sizeof(request)},
        .request_id = new_id(n),
    };
    struct hv_rndis_set_complete reply;
    size_t bytes;
    int err = hv_netvsc_control_ask(n, &request, sizeof(request), &bytes);

    if (!err && bytes < sizeof(reply))
        err = malformed(n, "RNDIS KEEPALIVE");
    if (!err) {
        memcpy(&reply, n->mail.reply, sizeof(reply));
        err = reply.status ? -EPROTO : 0; /* there is nothing in it to refuse */
    }
    hv_netvsc_tell(n);
    return err;
}

/** QUERY and SET look alike. */
static int ask_oid(struct hv_netvsc *n, uint32_t type, uint32_t oid, const void *data, size_t bytes,
                   size_t *ret_reply_bytes)
{
    uint8_t message[HV_RNDIS_CONTROL_MAX];
    struct hv_rndis_request request = {
        .hdr = {type, (uint32_t)(sizeof(request) + bytes)},
        .request_id = new_id(n),
        .oid = oid,
        .info_bytes = (uint32_t)bytes,
        .info_offset = HV_RNDIS_REQUEST_INFO_OFFSET, /* 0 would be refused even without data */
    };

    if (bytes > sizeof(message) - sizeof(request))
        return -EMSGSIZE;
    memcpy(message, &request, sizeof(request));
    if (bytes)
        memcpy(message + sizeof(request), data, bytes);
    return hv_netvsc_control_ask(n, message, sizeof(request) + bytes, ret_reply_bytes);
}

int hv_netvsc_query(struct hv_netvsc *n, uint32_t oid, const void *in, size_t in_bytes, void *ret,
                    size_t min_bytes, size_t max_bytes)
{
    struct hv_rndis_query_complete reply;
    size_t bytes;
    int err = ask_oid(n, HV_RNDIS_QUERY, oid, in, in_bytes, &bytes);

    if (err)
        return err;
    if (bytes < sizeof(struct hv_rndis_set_complete))
        return malformed(n, "an RNDIS query");
    memset(&reply, 0, sizeof(reply));
    memcpy(&reply, n->mail.reply, hv_min_u64(bytes, sizeof(reply)));
    err = status_error(reply.status);
    if (err)
        return err;
    if (bytes < sizeof(reply) || reply.info_bytes < min_bytes ||
        reply.info_offset < sizeof(reply) - HV_RNDIS_OFFSET_BASE ||
        !hv_range_fits(reply.info_offset, reply.info_bytes, bytes - HV_RNDIS_OFFSET_BASE)) {
        hv_log(&n->opts.log, HV_LOG_ERROR,
               "network: the host's answer to a query of OID %08x makes no sense", oid);
        return -EPROTO;
    }
    memset(ret, 0, max_bytes);
    memcpy(ret, n->mail.reply + HV_RNDIS_OFFSET_BASE + reply.info_offset,
           hv_min_u64(reply.info_bytes, max_bytes));
    return 0;
}

int hv_netvsc_set(struct hv_netvsc *n, uint32_t oid, const void *data, size_t data_bytes)
{
    struct hv_rndis_set_complete reply;
    size_t bytes;
    int err = ask_oid(n, HV_RNDIS_SET, oid, data, data_bytes, &bytes);

    if (err)
        return err;
    if (bytes < sizeof(reply))
        return malformed(n, "an RNDIS set");
    memcpy(&reply, n->mail.reply, sizeof(reply));
    if (reply.status)
        hv_log(&n->opts.log, HV_LOG_WARNING, "network: the host refuses OID %08x, status %08x", oid,
               reply.status);
    return status_error(reply.status);
}
