/* SPDX-License-Identifier: BSD-3-Clause */
/* Control messages: who may send what when.  Lengths and connection state are checked here, once. */
#include "host_impl.h"

#include <string.h>

#include <hv/base/bits.h>

/** From 5.0 the 8 bytes of the interrupt page say where messages are wanted. */
struct contact_target {
    uint8_t sint;
    uint8_t vtl;
    uint16_t zero;
    uint32_t features;
};
_Static_assert(sizeof(struct contact_target) == 8, "in place of the interrupt page");

#define CONTACT_FAILED 2u /* connection_state */

static const uint32_t versions[] = {HV_VERSION_5_3, HV_VERSION_5_2, HV_VERSION_5_1, HV_VERSION_5_0,
                                    HV_VERSION_4_1, HV_VERSION_4_0, HV_VERSION_3_0, HV_VERSION_2_4};

static bool version_is_ours(const struct hv_host *host, uint32_t version)
{
    for (size_t i = 0; i < HV_COUNT_OF(versions); i++) {
        if (versions[i] == version)
            return version <= host->opts.max_version;
    }
    return false;
}

/* ---- Contact ---- */

static void answer_contact(struct hv_host_guest *guest, bool supported, uint8_t connection_state)
{
    struct hv_msg_version_response message = {.hdr.type = HV_MSG_VERSION_RESPONSE,
                                              .supported = supported,
                                              .connection_state = connection_state};

    if (supported && guest->version >= HV_VERSION_5_0)
        message.connection_id = HV_CONNECTION_MESSAGES;
    hv_host_guest_post(guest, &message, sizeof(message));
}

/** Both monitor pages or neither, each a page of guest memory. */
static bool find_monitor(struct hv_host_guest *guest, const struct hv_msg_initiate_contact *contact,
                         struct hv_monitor_page **ret_page)
{
    struct hv_host_memory_hit hit = {0};
    uint8_t *h2g, *g2h;

    if (!contact->monitor_page_h2g && !contact->monitor_page_g2h) {
        *ret_page = NULL;
        return true;
    }
    if (contact->monitor_page_h2g % HV_PAGE_BYTES || contact->monitor_page_g2h % HV_PAGE_BYTES)
        return false;
    h2g = hv_host_memory_page(&guest->memory, contact->monitor_page_h2g >> HV_PAGE_SHIFT, &hit);
    g2h = hv_host_memory_page(&guest->memory, contact->monitor_page_g2h >> HV_PAGE_SHIFT, &hit);
    if (!h2g || !g2h)
        return false;
    *ret_page = (struct hv_monitor_page *)(void *)g2h;
    return true;
}

/** The reset is done: nothing of an earlier connection is left. */
void hv_host_messages_contact(struct hv_host_guest *guest)
{
    const struct hv_msg_initiate_contact *contact = &guest->initiate;
    const struct hv_log_hook *log = &guest->host->opts.log;
    struct contact_target target;

    memcpy(&target, &contact->interrupt_page, sizeof(target));
    if (!version_is_ours(guest->host, contact->version) ||
        (contact->version >= HV_VERSION_5_0 && (target.sint != HV_SINT_VMBUS || target.vtl))) {
        hv_log(log, HV_LOG_DEBUG, "guest %u (%s): VMBus %u.%u is not ours", guest->id, guest->name,
               contact->version >> 16, contact->version & 0xffff);
        answer_contact(guest, false, 0);
        return;
    }
    if (!find_monitor(guest, contact, &guest->monitor)) {
        hv_host_guest_complain(guest, "monitor pages are not guest memory");
        answer_contact(guest, true, CONTACT_FAILED);
        return;
    }
    guest->version = contact->version;
    guest->contact = HV_CONTACT_MADE;
    guest->monitor_serial = ++guest->serial;
    hv_log(log, HV_LOG_INFO, "guest %u (%s): speaks VMBus %u.%u", guest->id, guest->name,
           guest->version >> 16, guest->version & 0xffff);
    answer_contact(guest, true, 0);
}

static void on_contact(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    (void)bytes;
    memcpy(&guest->initiate, message, sizeof(guest->initiate));
    hv_host_guest_reset(guest, HV_RESET_CONTACT);
}

static void on_unload(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    (void)message;
    (void)bytes;
    hv_host_guest_reset(guest, HV_RESET_UNLOAD);
}

/* ---- Channels ---- */

static void on_request_offers(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    (void)message;
    (void)bytes;
    if (guest->contact == HV_CONTACT_OFFERED) {
        hv_host_guest_doom(guest, "offers requested twice");
        return;
    }
    guest->contact = HV_CONTACT_OFFERED;
    hv_host_offers_request(guest);
}

/** NULL, and the guest is doomed, when there is no such channel. */
static struct hv_host_channel *channel_of(struct hv_host_guest *guest, uint32_t relid,
                                          const char *what)
{
    struct hv_host_channel *channel = hv_host_channel_find(guest, relid);

    if (!channel)
        hv_host_guest_doom(guest, "%s of channel %u, which does not exist", what, relid);
    return channel;
}

static void on_open(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    const struct hv_msg_open *open = message;
    struct hv_host_channel *channel = channel_of(guest, open->relid, "open");

    (void)bytes;
    if (channel)
        hv_host_channel_open(channel, open);
}

static void on_close(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    const struct hv_msg_relid *close = message;
    struct hv_host_channel *channel = channel_of(guest, close->relid, "close");

    (void)bytes;
    if (channel)
        hv_host_channel_close_by_guest(channel);
}

static void on_teardown(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    const struct hv_msg_gpadl_teardown *teardown = message;

    (void)bytes;
    hv_host_gpadl_teardown(guest, teardown->relid, teardown->gpadl);
}

static void on_released(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    const struct hv_msg_relid *released = message;
    struct hv_host_channel *channel = channel_of(guest, released->relid, "release");

    (void)bytes;
    if (channel)
        hv_host_channel_release_relid(channel);
}

static void on_modify(struct hv_host_guest *guest, const void *message, size_t bytes)
{
    const struct hv_msg_modify_channel *modify = message;
    struct hv_host_channel *channel = channel_of(guest, modify->relid, "modify");

    (void)bytes;
    if (channel)
        hv_host_channel_modify(channel, modify->target_vp);
}

/* ---- Dispatch ---- */

/** What a guest may send; the shortest legal length, and the version that brought it. */
static const struct {
    void (*run)(struct hv_host_guest *guest, const void *message, size_t bytes);
    size_t min_bytes;
    uint32_t min_version;
} table[] = {
    [HV_MSG_REQUEST_OFFERS] = {on_request_offers, sizeof(struct hv_msg_header), 0},
    [HV_MSG_OPEN_CHANNEL] = {on_open, sizeof(struct hv_msg_open), 0},
    [HV_MSG_CLOSE_CHANNEL] = {on_close, sizeof(struct hv_msg_relid), 0},
    [HV_MSG_GPADL_HEADER] = {hv_host_gpadl_header, sizeof(struct hv_msg_gpadl_header), 0},
    [HV_MSG_GPADL_BODY] = {hv_host_gpadl_body, sizeof(struct hv_msg_gpadl_body), 0},
    [HV_MSG_GPADL_TEARDOWN] = {on_teardown, sizeof(struct hv_msg_gpadl_teardown), 0},
    [HV_MSG_RELID_RELEASED] = {on_released, sizeof(struct hv_msg_relid), 0},
    [HV_MSG_INITIATE_CONTACT] = {on_contact, sizeof(struct hv_msg_initiate_contact), 0},
    [HV_MSG_UNLOAD] = {on_unload, sizeof(struct hv_msg_header), HV_VERSION_3_0},
    [HV_MSG_MODIFY_CHANNEL] = {on_modify, sizeof(struct hv_msg_modify_channel), HV_VERSION_4_1},
};

/** Contact goes to an id of its own from 5.0, everything else to the one we named. */
static uint32_t expected_connection(const void *message, uint32_t type)
{
    const struct hv_msg_initiate_contact *contact = message;

    return type == HV_MSG_INITIATE_CONTACT && contact->version >= HV_VERSION_5_0
               ? HV_CONNECTION_CONTACT_V5
               : HV_CONNECTION_MESSAGES;
}

void hv_host_guest_message(struct hv_host_guest *guest, uint32_t connection_id, const void *message,
                           size_t bytes)
{
    const struct hv_msg_header *hdr = message;

    if (hv_host_guest_is_doomed(guest))
        return;
    if (bytes < sizeof(*hdr) || bytes > HV_MESSAGE_MAX_BYTES) {
        hv_host_guest_doom(guest, "control message of %zu bytes", bytes);
        return;
    }
    if (hdr->type >= HV_COUNT_OF(table) || !table[hdr->type].run) {
        hv_host_guest_doom(guest, "control message of type %u, which no guest sends", hdr->type);
        return;
    }
    if (bytes < table[hdr->type].min_bytes) {
        hv_host_guest_doom(guest, "control message of type %u has %zu bytes, needs %zu", hdr->type,
                           bytes, table[hdr->type].min_bytes);
        return;
    }
    if (connection_id != expected_connection(message, hdr->type)) {
        hv_host_guest_doom(guest, "control message of type %u posted to connection %u", hdr->type,
                           connection_id);
        return;
    }
    if (hdr->type != HV_MSG_INITIATE_CONTACT &&
        (guest->contact == HV_CONTACT_NONE || guest->version < table[hdr->type].min_version)) {
        hv_host_guest_doom(guest, "control message of type %u %s", hdr->type,
                           guest->contact == HV_CONTACT_NONE ? "before contact"
                                                             : "is newer than the version agreed");
        return;
    }
    hv_log(&guest->host->opts.log, HV_LOG_DEBUG, "guest %u (%s): message %u, %zu bytes", guest->id,
           guest->name, hdr->type, bytes);
    table[hdr->type].run(guest, message, bytes);
}
