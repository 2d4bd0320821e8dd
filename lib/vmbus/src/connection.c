/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's end of the VMBus control messages (docs/wire.md, "Control messages"): what the host may send, and the
 * first steps of a connection.
 */
#include "sock_impl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/wire/ring.h>

/** Newest first. */
static const uint32_t versions[] = {
    HV_VERSION_5_3, HV_VERSION_5_2, HV_VERSION_5_1, HV_VERSION_5_0,
    HV_VERSION_4_1, HV_VERSION_4_0, HV_VERSION_3_0, HV_VERSION_2_4,
};

#define MAJOR(version) ((version) >> 16)
#define MINOR(version) ((version)&0xffffu)

static void violation(struct hv_sock *sock, const char *what, uint32_t type, uint32_t relid)
{
    hv_sock_lose(sock, -EPROTO, "%s (message type %u, relid %u)", what, type, relid);
}

/* ---- What the host sends ---- */

/** One message, copied out of its frame; what lies behind `bytes` is zero. */
struct message {
    union {
        struct hv_msg_header hdr;
        struct hv_msg_offer offer;
        struct hv_msg_relid relid;
        struct hv_msg_open_result open_result;
        struct hv_msg_gpadl_created gpadl_created;
        struct hv_msg_gpadl_torndown gpadl_torndown;
        struct hv_msg_version_response version_response;
        struct hv_msg_modify_channel_result modify_result;
        uint8_t raw[HV_MESSAGE_MAX_BYTES];
    };
};

static const char *check_offer(const struct hv_sock *sock, const struct hv_msg_offer *msg,
                               const struct hv_sock_frame *frame)
{
    if (frame->fd_count != 2)
        return "offer without its two descriptors";
    if (!hv_event_is_eventfd(frame->fds[0]) || !hv_event_is_eventfd(frame->fds[1]))
        return "offer with a descriptor that is no eventfd";
    if (!msg->relid || msg->relid > HV_CHANNELS_MAX)
        return "offer with an impossible relid";
    if ((msg->monitor_allocated & 1) && (msg->monitor_id >= HV_MONITOR_MAX || !sock->monitor))
        return "offer with an impossible monitor id";
    return NULL;
}

static void on_offer(struct hv_sock *sock, const struct message *msg, struct hv_sock_frame *frame)
{
    const struct hv_msg_offer *m = &msg->offer;
    const char *why = check_offer(sock, m, frame);
    struct hv_offer offer = {
        .class_id = m->class_id,
        .instance_id = m->instance_id,
        .relid = m->relid,
        .index = m->sub_channel_index,
        .flags = m->flags,
        .monitored = m->monitor_allocated & 1,
        .monitor_id = m->monitor_id,
        .signal_fd = frame->fds[0],
        .event_fd = frame->fds[1],
    };
    int err;

    if (why) {
        violation(sock, why, m->hdr.type, m->relid);
        return;
    }
    memcpy(offer.user_data, m->user_data, sizeof(offer.user_data));
    frame->fd_count = 0; /* the offer's now */
    err = hv_bus_add_offer(sock->bus, &offer, &why);
    if (err == -EPROTO)
        violation(sock, why, m->hdr.type, m->relid);
    else if (err)
        hv_sock_lose(sock, err, "no memory for an offer");
}

static void on_rescind(struct hv_sock *sock, const struct message *msg, struct hv_sock_frame *frame)
{
    struct hv_offer *offer = hv_bus_find_relid(sock->bus, msg->relid.relid);

    (void)frame;
    if (!offer || offer->rescinded) {
        violation(sock, offer ? "rescinded twice" : "rescind of an unknown channel", msg->hdr.type,
                  msg->relid.relid);
        return;
    }
    hv_bus_rescind(sock->bus, offer);
    if (sock->want && sock->want->offer == offer) {
        sock->want->done = true;
        sock->want->rescinded = true;
    }
}

static void on_all_offers(struct hv_sock *sock, const struct message *msg,
                          struct hv_sock_frame *frame)
{
    (void)frame;
    hv_sock_answer(sock, msg->hdr.type, 0, 0);
}

static void on_open_result(struct hv_sock *sock, const struct message *msg,
                           struct hv_sock_frame *frame)
{
    (void)frame;
    hv_sock_answer(sock, msg->hdr.type,
                   hv_reply_key(msg->open_result.relid, msg->open_result.open_id),
                   msg->open_result.status);
}

static void on_gpadl_created(struct hv_sock *sock, const struct message *msg,
                             struct hv_sock_frame *frame)
{
    (void)frame;
    hv_sock_answer(sock, msg->hdr.type,
                   hv_reply_key(msg->gpadl_created.relid, msg->gpadl_created.gpadl),
                   msg->gpadl_created.status);
}

static void on_gpadl_torndown(struct hv_sock *sock, const struct message *msg,
                              struct hv_sock_frame *frame)
{
    (void)frame;
    hv_sock_answer(sock, msg->hdr.type, msg->gpadl_torndown.gpadl, 0);
}

static void on_version_response(struct hv_sock *sock, const struct message *msg,
                                struct hv_sock_frame *frame)
{
    (void)frame;
    if (!sock->contact_sent) {
        violation(sock, "version response before contact", msg->hdr.type, 0);
        return;
    }
    sock->response = msg->version_response;
    hv_sock_answer(sock, msg->hdr.type, 0, 0);
}

static void on_unload_complete(struct hv_sock *sock, const struct message *msg,
                               struct hv_sock_frame *frame)
{
    (void)frame;
    hv_sock_answer(sock, msg->hdr.type, 0, 0);
}

static void on_modify_result(struct hv_sock *sock, const struct message *msg,
                             struct hv_sock_frame *frame)
{
    (void)frame;
    hv_sock_answer(sock, msg->hdr.type, msg->modify_result.relid, msg->modify_result.status);
}

typedef void handle_fn(struct hv_sock *sock, const struct message *msg,
                       struct hv_sock_frame *frame);

/** By message type: shortest legal length, and what to do.  Length 0: the type does not exist for us. */
static const struct {
    uint32_t min_bytes;
    handle_fn *handle; /* NULL: only guests send it */
} handlers[] = {
    [HV_MSG_OFFER_CHANNEL] = {sizeof(struct hv_msg_offer), on_offer},
    [HV_MSG_RESCIND_OFFER] = {sizeof(struct hv_msg_relid), on_rescind},
    [HV_MSG_REQUEST_OFFERS] = {sizeof(struct hv_msg_header), NULL},
    [HV_MSG_ALL_OFFERS_DELIVERED] = {sizeof(struct hv_msg_header), on_all_offers},
    [HV_MSG_OPEN_CHANNEL] = {sizeof(struct hv_msg_open), NULL},
    [HV_MSG_OPEN_RESULT] = {sizeof(struct hv_msg_open_result), on_open_result},
    [HV_MSG_CLOSE_CHANNEL] = {sizeof(struct hv_msg_relid), NULL},
    [HV_MSG_GPADL_HEADER] = {sizeof(struct hv_msg_gpadl_header), NULL},
    [HV_MSG_GPADL_BODY] = {sizeof(struct hv_msg_gpadl_body), NULL},
    [HV_MSG_GPADL_CREATED] = {sizeof(struct hv_msg_gpadl_created), on_gpadl_created},
    [HV_MSG_GPADL_TEARDOWN] = {sizeof(struct hv_msg_gpadl_teardown), NULL},
    [HV_MSG_GPADL_TORNDOWN] = {sizeof(struct hv_msg_gpadl_torndown), on_gpadl_torndown},
    [HV_MSG_RELID_RELEASED] = {sizeof(struct hv_msg_relid), NULL},
    [HV_MSG_INITIATE_CONTACT] = {sizeof(struct hv_msg_initiate_contact), NULL},
    [HV_MSG_VERSION_RESPONSE] = {sizeof(struct hv_msg_version_response), on_version_response},
    [HV_MSG_UNLOAD] = {sizeof(struct hv_msg_header), NULL},
    [HV_MSG_UNLOAD_COMPLETE] = {sizeof(struct hv_msg_header), on_unload_complete},
    [HV_MSG_MODIFY_CHANNEL] = {sizeof(struct hv_msg_modify_channel), NULL},
    [HV_MSG_MODIFY_CHANNEL_RESULT] = {sizeof(struct hv_msg_modify_channel_result),
                                      on_modify_result},
};

/** What is wrong with a message, or NULL. */
static const char *check_message(const struct hv_sock *sock, uint32_t type, size_t bytes,
                                 size_t fd_count)
{
    if (fd_count && type != HV_MSG_OFFER_CHANNEL)
        return "descriptors with a message that brings none";
    if (type < HV_COUNT_OF(handlers) && handlers[type].min_bytes) {
        if (!handlers[type].handle)
            return "message that only a guest sends";
        if (bytes < handlers[type].min_bytes)
            return "message too short for its type";
    }
    if (!sock->version && type != HV_MSG_VERSION_RESPONSE)
        return "message before a version is agreed";
    return NULL;
}

void hv_connection_dispatch(struct hv_sock *sock, struct hv_sock_frame *frame)
{
    size_t bytes = frame->length - sizeof(frame->message);
    struct message msg = {0};
    const char *why;
    uint32_t type;

    if (frame->message.payload_bytes != bytes) { /* the frame's length was checked: 8 .. 240 */
        violation(sock, "message of wrong length", 0, 0);
        return;
    }
    memcpy(msg.raw, frame->message.payload, bytes);
    type = msg.hdr.type;
    why = check_message(sock, type, bytes, frame->fd_count);
    if (why) {
        violation(sock, why, type, 0);
        return;
    }
    if (type >= HV_COUNT_OF(handlers) || !handlers[type].handle) {
        hv_log(&sock->bus->opts.log, HV_LOG_WARNING, "message of unknown type %u ignored", type);
        return;
    }
    hv_log(&sock->bus->opts.log, HV_LOG_DEBUG, "from host: message type %u, %zu bytes", type,
           bytes);
    handlers[type].handle(sock, &msg, frame);
}

/* ---- What we send ---- */

/** Where a message is posted: docs/socket-transport.md, section 3. */
static uint32_t connection_id(const struct hv_sock *sock, const struct hv_msg_header *hdr)
{
    const struct hv_msg_initiate_contact *contact = (const void *)hdr;

    if (hdr->type == HV_MSG_INITIATE_CONTACT)
        return contact->version >= HV_VERSION_5_0 ? HV_CONNECTION_CONTACT_V5
                                                  : HV_CONNECTION_MESSAGES;
    return sock->post_to;
}

int hv_connection_post(struct hv_sock *sock, const void *message, size_t bytes,
                       uint64_t deadline_ns)
{
    struct hv_sock_frame frame;
    const struct hv_msg_header *hdr = message;

    frame.message = (struct hv_sock_message){
        .hdr.type = HV_SOCK_MESSAGE,
        .connection_id = connection_id(sock, hdr),
        .payload_bytes = (uint32_t)bytes,
    };
    memcpy(frame.message.payload, message, bytes);
    hv_log(&sock->bus->opts.log, HV_LOG_DEBUG, "to host: message type %u, %zu bytes", hdr->type,
           bytes);
    return hv_sock_send(sock, &frame.hdr, sizeof(frame.message) + bytes, -1, deadline_ns);
}

/** Ask for one version.  0 when the host answered, whatever it did. */
static int ask_version(struct hv_sock *sock, uint32_t version)
{
    uint64_t deadline_ns = hv_sock_deadline(sock);
    struct hv_reply reply = {.kind = HV_MSG_VERSION_RESPONSE};
    struct hv_msg_initiate_contact contact = {
        .hdr.type = HV_MSG_INITIATE_CONTACT,
        .version = version,
        .interrupt_page = version >= HV_VERSION_5_0 ? HV_SINT_VMBUS : 0,
        .monitor_page_h2g = sock->monitor_pfn << HV_PAGE_SHIFT,
        .monitor_page_g2h = (sock->monitor_pfn + 1) << HV_PAGE_SHIFT,
    };
    int err;

    sock->contact_sent = true;
    err = hv_connection_post(sock, &contact, sizeof(contact), deadline_ns);
    return err ? err : hv_sock_wait(sock, &reply, deadline_ns);
}

int hv_connection_negotiate(struct hv_sock *sock, uint32_t max_version)
{
    const struct hv_log_hook *log = &sock->bus->opts.log;

    for (size_t i = 0; i < HV_COUNT_OF(versions); i++) {
        uint32_t version = versions[i];
        int err;

        if (max_version && version > max_version)
            continue;
        err = ask_version(sock, version);
        if (err)
            return err;
        if (!sock->response.supported)
            continue;
        if (sock->response.connection_state) {
            hv_log(log, HV_LOG_ERROR, "host accepts VMBus %u.%u but cannot serve us: state %u",
                   MAJOR(version), MINOR(version), sock->response.connection_state);
            return -ECONNREFUSED;
        }
        sock->version = version;
        sock->post_to =
            version >= HV_VERSION_5_0 ? sock->response.connection_id : HV_CONNECTION_MESSAGES;
        return 0;
    }
    hv_log(log, HV_LOG_ERROR, "host accepts no VMBus version from 2.4 on%s",
           max_version ? " up to the one allowed" : "");
    return -EPROTONOSUPPORT;
}

int hv_connection_request_offers(struct hv_sock *sock)
{
    uint64_t deadline_ns = hv_sock_deadline(sock);
    struct hv_msg_header request = {.type = HV_MSG_REQUEST_OFFERS};
    struct hv_reply reply = {.kind = HV_MSG_ALL_OFFERS_DELIVERED};
    int err = hv_connection_post(sock, &request, sizeof(request), deadline_ns);

    return err ? err : hv_sock_wait(sock, &reply, deadline_ns);
}

void hv_connection_unload(struct hv_sock *sock)
{
    uint64_t deadline_ns = hv_sock_deadline(sock);
    struct hv_msg_header unload = {.type = HV_MSG_UNLOAD};
    struct hv_reply reply = {.kind = HV_MSG_UNLOAD_COMPLETE};

    if (sock->version < HV_VERSION_3_0)
        return; /* closing the socket says it all */
    if (hv_connection_post(sock, &unload, sizeof(unload), deadline_ns) ||
        hv_sock_wait(sock, &reply, deadline_ns))
        hv_log(&sock->bus->opts.log, HV_LOG_WARNING, "host does not confirm the unload");
}
