/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From an open channel to buffers that both sides know.
 *
 *   INIT, newest version first, until one is taken -> NDIS_CONFIG (from 2) -> NDIS_VERSION -> receive buffer -> send buffer
 *
 * The configuration comes before the receive buffer: the host cuts that according to the MTU.  Wire: docs/wire.md "NVSP".
 */
#include "netvsc_impl.h"

#include <errno.h>
#include <string.h>

/** Shortest part of the receive or the send buffer that any host makes. */
#define SECTION_MIN_BYTES 68u
/** Of an empty ring; how long we wait for the host to read the last messages. */
#define LINGER_MS 200u

static const uint32_t versions[] = {
    HV_NVSP_VERSION_6_1, HV_NVSP_VERSION_6, HV_NVSP_VERSION_5,
    HV_NVSP_VERSION_4,   HV_NVSP_VERSION_2, HV_NVSP_VERSION_1,
};

/** Is the answer of this type, and long enough for `body_bytes` behind it? */
static int check_reply(struct hv_netvsc *n, const struct hv_nvsp_message *reply, size_t bytes,
                       uint32_t type, size_t body_bytes)
{
    if (reply->type == type && bytes >= sizeof(reply->type) + body_bytes)
        return 0;
    hv_log(&n->opts.log, HV_LOG_ERROR, "network: NVSP answer %u of %zu bytes where %u was to come",
           reply->type, bytes, type);
    return -EPROTO;
}

static int refused(struct hv_netvsc *n, const char *what, uint32_t status)
{
    hv_log(&n->opts.log, HV_LOG_ERROR, "network: the host refuses %s, status %u", what, status);
    return -EIO;
}

/** 0, -EAGAIN: another version, or an error. */
static int try_version(struct hv_netvsc *n, uint32_t version)
{
    const struct hv_nvsp_message init = {
        .type = HV_NVSP_INIT,
        .init = {.min_version = version, .max_version = version},
    };
    struct hv_nvsp_message reply;
    size_t bytes;
    int err = hv_netvsc_nvsp_ask(n, &init, &reply, &bytes);

    if (!err)
        err = check_reply(n, &reply, bytes, HV_NVSP_INIT_COMPLETE, sizeof(reply.init_complete));
    if (!err && reply.init_complete.status != HV_NVSP_STATUS_SUCCESS)
        err = -EAGAIN;
    return err;
}

static int agree_on_version(struct hv_netvsc *n)
{
    /* attached before: everything that was said about the device holds for this version only */
    uint32_t newest = n->nvsp_version ? n->nvsp_version : n->opts.max_version;
    uint32_t oldest = n->nvsp_version;

    for (size_t i = 0; i < HV_COUNT_OF(versions); i++) {
        int err;

        if (versions[i] > newest || versions[i] < oldest)
            continue;
        err = try_version(n, versions[i]);
        if (err == -EAGAIN)
            continue;
        if (err)
            return err;
        n->nvsp_version = versions[i];
        n->ndis_version =
            versions[i] >= HV_NVSP_VERSION_5 ? HV_NDIS_VERSION_6_30 : HV_NDIS_VERSION_6_1;
        pthread_mutex_lock(&n->mail.lock);
        n->mail.nvsp_version = versions[i];
        pthread_mutex_unlock(&n->mail.lock);
        return 0;
    }
    hv_log(&n->opts.log, HV_LOG_ERROR, "network: the host speaks no NVSP from %08x to %08x",
           oldest ? oldest : HV_NVSP_VERSION_1, newest);
    return -EPROTONOSUPPORT;
}

static int send_config(struct hv_netvsc *n)
{
    struct hv_nvsp_message config = {
        .type = HV_NVSP_SEND_NDIS_CONFIG,
        .ndis_config = {.mtu = n->mtu + HV_NETVSC_ETHER_BYTES, .capabilities = HV_NVSP_CAP_8021Q},
    };

    if (n->nvsp_version < HV_NVSP_VERSION_2)
        return 0;
    if (n->nvsp_version >= HV_NVSP_VERSION_5) /* teaming: else no change of speed is told */
        config.ndis_config.capabilities |= HV_NVSP_CAP_SRIOV | HV_NVSP_CAP_TEAMING;
    return hv_netvsc_nvsp_post(n, &config);
}

static int send_ndis_version(struct hv_netvsc *n)
{
    const struct hv_nvsp_message version = {
        .type = HV_NVSP_SEND_NDIS_VERSION,
        .ndis_version = {.major = n->ndis_version >> 16, .minor = n->ndis_version & 0xffffu},
    };

    return hv_netvsc_nvsp_post(n, &version);
}

static int take_receive_geometry(struct hv_netvsc *n,
                                 const struct hv_nvsp_receive_buffer_complete *reply)
{
    const struct hv_nvsp_section *section = &reply->section[0];
    uint64_t bytes = (uint64_t)section->sub_allocation_bytes * section->sub_allocation_count;

    if (reply->section_count != 1 || section->offset ||
        section->sub_allocation_bytes < SECTION_MIN_BYTES || !section->sub_allocation_count ||
        bytes > n->device->receive.bytes) {
        hv_log(&n->opts.log, HV_LOG_ERROR,
               "network: %u sections of %u x %u bytes at %u do not fit a receive buffer of %zu",
               reply->section_count, section->sub_allocation_count, section->sub_allocation_bytes,
               section->offset, n->device->receive.bytes);
        return -EPROTO;
    }
    n->device->receive_sections = section->sub_allocation_count;
    n->device->receive_section_bytes = section->sub_allocation_bytes;
    return 0;
}

static int give_receive_buffer(struct hv_netvsc *n)
{
    struct hv_nvsp_message message = {
        .type = HV_NVSP_SEND_RECEIVE_BUFFER,
        .buffer = {.id = HV_NVSP_RECEIVE_BUFFER_ID},
    };
    struct hv_nvsp_message reply;
    uint32_t wanted = n->opts.receive_bytes;
    size_t bytes;
    int err;

    if (n->nvsp_version <= HV_NVSP_VERSION_2)
        wanted = hv_min_u32(wanted, HV_NVSP_RECEIVE_MAX_BYTES_V2);
    err = hv_channel_share(n->channels[0], HV_SHARED_RECEIVE, wanted, &n->device->receive);
    if (err)
        return err;
    message.buffer.gpadl = n->device->receive.gpadl;
    n->told_receive = true; /* from now on, whatever becomes of the answer */
    err = hv_netvsc_nvsp_ask(n, &message, &reply, &bytes);
    if (!err)
        err = check_reply(n, &reply, bytes, HV_NVSP_RECEIVE_BUFFER_COMPLETE, sizeof(uint32_t));
    if (err)
        return err;
    if (reply.receive_buffer_complete.status != HV_NVSP_STATUS_SUCCESS)
        return refused(n, "the receive buffer", reply.receive_buffer_complete.status);
    err = check_reply(n, &reply, bytes, HV_NVSP_RECEIVE_BUFFER_COMPLETE,
                      sizeof(reply.receive_buffer_complete));
    return err ? err : take_receive_geometry(n, &reply.receive_buffer_complete);
}

static int take_send_geometry(struct hv_netvsc *n, uint32_t section_bytes)
{
    if (!section_bytes) /* then everything goes by page */
        return 0;
    if (section_bytes < SECTION_MIN_BYTES || section_bytes % 4 ||
        section_bytes > n->device->send.bytes) {
        hv_log(&n->opts.log, HV_LOG_ERROR,
               "network: sections of %u bytes do not fit a send buffer of %zu", section_bytes,
               n->device->send.bytes);
        return -EPROTO;
    }
    n->device->send_section_bytes = section_bytes;
    n->device->send_sections =
        (uint32_t)hv_min_u64(n->device->send.bytes / section_bytes, UINT32_MAX - 1);
    return 0;
}

static int give_send_buffer(struct hv_netvsc *n)
{
    struct hv_nvsp_message message = {
        .type = HV_NVSP_SEND_SEND_BUFFER,
        .buffer = {.id = HV_NVSP_SEND_BUFFER_ID},
    };
    struct hv_nvsp_message reply;
    size_t bytes;
    int err =
        hv_channel_share(n->channels[0], HV_SHARED_SEND, n->opts.send_bytes, &n->device->send);

    if (err == -EOPNOTSUPP)
        return 0; /* the kernel has set none aside: everything goes by page */
    if (err)
        return err;
    message.buffer.gpadl = n->device->send.gpadl;
    n->told_send = true;
    err = hv_netvsc_nvsp_ask(n, &message, &reply, &bytes);
    if (!err)
        err = check_reply(n, &reply, bytes, HV_NVSP_SEND_BUFFER_COMPLETE, sizeof(uint32_t));
    if (err)
        return err;
    if (reply.send_buffer_complete.status != HV_NVSP_STATUS_SUCCESS)
        return refused(n, "the send buffer", reply.send_buffer_complete.status);
    err = check_reply(n, &reply, bytes, HV_NVSP_SEND_BUFFER_COMPLETE,
                      sizeof(reply.send_buffer_complete));
    return err ? err : take_send_geometry(n, reply.send_buffer_complete.section_bytes);
}

/** From here on the host may send control messages, which come through the receive buffer. */
static int show_receive_buffer(struct hv_netvsc *n)
{
    const struct hv_nq_share share = {.receive_sections = n->device->receive_sections};

    return hv_nq_set_share(n->queues[0], &share);
}

int hv_netvsc_nvsp_init(struct hv_netvsc *n)
{
    int err = agree_on_version(n);

    if (!err)
        err = send_config(n);
    if (!err)
        err = send_ndis_version(n);
    if (!err)
        err = give_receive_buffer(n);
    if (!err)
        err = show_receive_buffer(n);
    if (!err)
        err = give_send_buffer(n);
    return err;
}

/** Nothing is answered, so the sign that the host has read them is an empty ring. */
static void linger(struct hv_netvsc *n)
{
    struct hv_channel *channel = n->channels[0];
    uint64_t deadline_ns = hv_clock_ns() + LINGER_MS * HV_NETVSC_MS_NS;
    uint32_t all = hv_channel_max_bytes(channel);

    while (hv_channel_free_bytes(channel) < all && !hv_netvsc_look(n) &&
           !hv_netvsc_sleep(n, hv_min_u64(deadline_ns, hv_clock_ns() + HV_NETVSC_MS_NS)))
        ;
}

void hv_netvsc_nvsp_revoke(struct hv_netvsc *n)
{
    const struct hv_nvsp_message receive = {
        .type = HV_NVSP_REVOKE_RECEIVE_BUFFER,
        .revoke = {.id = HV_NVSP_RECEIVE_BUFFER_ID},
    };
    const struct hv_nvsp_message send = {
        .type = HV_NVSP_REVOKE_SEND_BUFFER,
        .revoke = {.id = HV_NVSP_SEND_BUFFER_ID},
    };

    /* a host that is gone needs no telling; closing the channel makes sure in any case */
    if (n->told_receive)
        (void)hv_netvsc_nvsp_post(n, &receive);
    if (n->told_send)
        (void)hv_netvsc_nvsp_post(n, &send);
    if (n->told_receive || n->told_send)
        linger(n);
    n->told_receive = n->told_send = false;
}
