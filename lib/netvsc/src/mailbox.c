/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What comes over queue 0 and is no frame: hooks that sort it, and the control thread that waits for it.
 *
 * The hooks run in whichever thread drains the queue.  An answer is taken when it is the one that is waited for, whatever
 * else arrives before it; a notification becomes news, the latest of its kind.  Nothing is kept in a queue of unbounded
 * length, so a host that talks without end costs time and no memory.
 */
#include "netvsc_impl.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/** Nap of the control thread while others poll queue 0: they raise wake_fd, but only if they do poll. */
#define NAP_MS 1u

void hv_netvsc_mail_init(struct hv_netvsc_mailbox *mail)
{
    pthread_mutex_init(&mail->lock, NULL); /* cannot fail with default attributes */
}

void hv_netvsc_wake(struct hv_netvsc *n)
{
    const uint64_t one = 1;

    (void)!write(n->wake_fd, &one, sizeof(one)); /* full is fine: then it is readable anyway */
}

void hv_netvsc_mark_dead(struct hv_netvsc *n, int error)
{
    int alive = 0;

    if (atomic_compare_exchange_strong(&n->status, &alive, error))
        hv_netvsc_wake(n);
}

/* ---- Hooks: under the lock of a queue ---- */

/** With the mailbox locked: the answer to the one request. */
static void take_answer(struct hv_netvsc_mailbox *mail, const void *bytes, size_t length)
{
    mail->want_tag = mail->want_id = 0;
    mail->answered = true;
    mail->reply_bytes = length < sizeof(mail->reply) ? length : sizeof(mail->reply);
    memcpy(mail->reply, bytes, mail->reply_bytes);
}

static void on_answer(void *arg, uint32_t tag, const void *nvsp, size_t bytes)
{
    struct hv_netvsc *n = arg;

    if (!tag)
        return; /* of SWITCH_DATA_PATH: nobody waits for it */
    pthread_mutex_lock(&n->mail.lock);
    if (n->mail.want_tag == tag)
        take_answer(&n->mail, nvsp, bytes);
    else
        n->mail.news.late++;
    pthread_mutex_unlock(&n->mail.lock);
    hv_netvsc_wake(n);
}

/**
 * Message 134.  Hosts up to NVSP 6.0 may name an offset that is wrong; the table lies behind 40 bytes then.  Source:
 * docs/wire.md "Network validation", 10.
 */
static bool read_table(const struct hv_netvsc_mailbox *mail, const uint8_t *message, size_t bytes,
                       uint32_t channels[HV_NETVSC_SEND_TABLE])
{
    const size_t table_bytes = HV_NETVSC_SEND_TABLE * sizeof(channels[0]);
    uint32_t count, offset;

    if (bytes < 12)
        return false;
    memcpy(&count, message + 4, sizeof(count));
    memcpy(&offset, message + 8, sizeof(offset));
    if (count != HV_NETVSC_SEND_TABLE)
        return false;
    if (!hv_range_fits(offset, table_bytes, bytes)) {
        offset = HV_NVSP_MESSAGE_BYTES;
        if (mail->nvsp_version > HV_NVSP_VERSION_6 || !hv_range_fits(offset, table_bytes, bytes))
            return false;
    }
    memcpy(channels, message + offset, table_bytes);
    for (unsigned i = 0; i < HV_NETVSC_SEND_TABLE; i++)
        if (channels[i] >= HV_NETVSC_QUEUES_MAX)
            return false;
    return true;
}

static bool take_notification(struct hv_netvsc_mailbox *mail, const uint8_t *message, size_t bytes)
{
    struct hv_netvsc_news *news = &mail->news;
    struct hv_nvsp_message m = {0};
    uint32_t channels[HV_NETVSC_SEND_TABLE];

    memcpy(&m, message, bytes < sizeof(m) ? bytes : sizeof(m));
    switch (m.type) {
    case HV_NVSP_SEND_VF_ASSOCIATION:
        if (bytes < 4 + sizeof(m.vf_association))
            return false;
        news->vf = true;
        news->vf_present = m.vf_association.allocated != 0;
        news->vf_serial = m.vf_association.serial;
        return true;
    case HV_NVSP_SEND_INDIRECTION_TABLE:
        if (!read_table(mail, message, bytes, channels))
            return false;
        news->table = true;
        memcpy(news->table_channels, channels, sizeof(channels));
        return true;
    case HV_NVSP_SWITCH_DATA_PATH: /* the host has gone back to the path that we never left */
        return true;
    default:
        return false;
    }
}

static void on_notify(void *arg, const void *nvsp, size_t bytes)
{
    struct hv_netvsc *n = arg;

    pthread_mutex_lock(&n->mail.lock);
    if (!take_notification(&n->mail, nvsp, bytes))
        n->mail.news.malformed++;
    pthread_mutex_unlock(&n->mail.lock);
    hv_netvsc_wake(n);
}

/**
 * The status buffer of an indication, `bytes` of the message being there.  Old hosts leave the buffer out of the message's
 * length, so it is the range that bounds it.  NULL: it does not lie there.
 */
static const uint8_t *status_buffer(const uint8_t *message, size_t bytes, size_t min_bytes,
                                    size_t *ret_bytes)
{
    struct hv_rndis_indicate m;

    memcpy(&m, message, sizeof(m));
    if (m.buffer_offset < sizeof(m) - HV_RNDIS_OFFSET_BASE || m.buffer_bytes < min_bytes ||
        !hv_range_fits(m.buffer_offset, m.buffer_bytes, bytes - HV_RNDIS_OFFSET_BASE))
        return NULL;
    *ret_bytes = m.buffer_bytes;
    return message + HV_RNDIS_OFFSET_BASE + m.buffer_offset;
}

static bool take_indication(struct hv_netvsc_news *news, const uint8_t *message, size_t bytes)
{
    struct hv_rndis_indicate m;
    const uint8_t *buffer;
    size_t buffer_bytes;

    if (bytes < sizeof(m))
        return false;
    memcpy(&m, message, sizeof(m));
    switch (m.status) {
    case HV_RNDIS_STATUS_MEDIA_CONNECT:
    case HV_RNDIS_STATUS_MEDIA_DISCONNECT:
        news->link = true;
        news->link_up = m.status == HV_RNDIS_STATUS_MEDIA_CONNECT;
        return true;
    case HV_RNDIS_STATUS_NETWORK_CHANGE:
        news->network_change = true;
        return true;
    case HV_RNDIS_STATUS_LINK_SPEED:
        buffer = status_buffer(message, bytes, sizeof(news->speed_100bps), &buffer_bytes);
        if (!buffer)
            return false;
        memcpy(&news->speed_100bps, buffer, sizeof(news->speed_100bps));
        news->speed = true;
        return true;
    case HV_RNDIS_STATUS_OFFLOAD_CONFIG:
        buffer = status_buffer(message, bytes, HV_NDIS_OFFLOAD_BYTES_REV1, &buffer_bytes);
        if (!buffer)
            return false;
        memset(&news->offloads, 0, sizeof(news->offloads));
        if (buffer_bytes > sizeof(news->offloads))
            buffer_bytes = sizeof(news->offloads);
        memcpy(&news->offloads, buffer, buffer_bytes);
        news->offload = true;
        return true;
    default:
        return true; /* there are many, and none of the others concerns us */
    }
}

/** With the mailbox locked.  False: it makes no sense. */
static bool take_control(struct hv_netvsc_mailbox *mail, const uint8_t *message, size_t bytes)
{
    struct hv_rndis_bare m;

    if (bytes < sizeof(m.hdr))
        return false;
    memcpy(&m, message, bytes < sizeof(m) ? bytes : sizeof(m));
    if (m.hdr.length_bytes < sizeof(m.hdr) || m.hdr.length_bytes > bytes)
        return false;
    if (m.hdr.type == HV_RNDIS_INDICATE)
        return take_indication(&mail->news, message, bytes);
    if (!(m.hdr.type & HV_RNDIS_COMPLETE) || m.hdr.length_bytes < sizeof(m))
        return false;
    if (mail->want_id && mail->want_id == m.request_id &&
        m.hdr.type == (mail->want_type | HV_RNDIS_COMPLETE))
        take_answer(mail, message, m.hdr.length_bytes);
    else
        mail->news.late++;
    return true;
}

static void on_control(void *arg, const void *rndis, size_t bytes)
{
    struct hv_netvsc *n = arg;

    pthread_mutex_lock(&n->mail.lock);
    if (!take_control(&n->mail, rndis, bytes))
        n->mail.news.malformed++;
    pthread_mutex_unlock(&n->mail.lock);
    hv_netvsc_wake(n);
}

/** Channels come and go only while nobody polls, so they can be looked at here. */
static int channel_error(const struct hv_netvsc *n)
{
    int err = 0;

    for (uint16_t i = 0; i < n->open_count && !err; i++)
        err = hv_channel_status(n->channels[i]);
    return err;
}

static void on_dead(void *arg)
{
    struct hv_netvsc *n = arg;
    int err = channel_error(n);

    hv_netvsc_mark_dead(n, err ? err : -EPROTO);
}

void hv_netvsc_set_hooks(struct hv_netvsc *n, struct hv_nq_device *device)
{
    device->log = n->opts.log;
    device->hook_arg = n;
    device->control = on_control;
    device->notify = on_notify;
    device->answer = on_answer;
    device->dead = on_dead;
}

/* ---- Control thread ---- */

void hv_netvsc_take_news(struct hv_netvsc *n, struct hv_netvsc_news *ret_news)
{
    pthread_mutex_lock(&n->mail.lock);
    *ret_news = n->mail.news;
    memset(&n->mail.news, 0, sizeof(n->mail.news));
    pthread_mutex_unlock(&n->mail.lock);
}

uint64_t hv_netvsc_deadline(const struct hv_netvsc *n)
{
    return hv_clock_ns() + n->opts.timeout_ms * HV_NETVSC_MS_NS;
}

int hv_netvsc_look(struct hv_netvsc *n)
{
    int err = hv_netvsc_status(n);

    if (err)
        return err;
    hv_nq_poll(n->queues[0]);
    err = hv_vmbus_poll(n->bus);
    if (!err)
        err = channel_error(n);
    if (err)
        hv_netvsc_mark_dead(n, err);
    return hv_netvsc_status(n);
}

static void drain_wake(const struct hv_netvsc *n)
{
    uint64_t count;

    (void)!read(n->wake_fd, &count, sizeof(count)); /* EAGAIN: it was not raised */
}

int hv_netvsc_sleep(struct hv_netvsc *n, uint64_t deadline_ns)
{
    struct pollfd fds[3] = {
        {.fd = n->wake_fd, .events = POLLIN},
        {.fd = hv_vmbus_fd(n->bus), .events = POLLIN},
        {.fd = hv_channel_fd(n->channels[0]), .events = POLLIN},
    };
    uint64_t now_ns = hv_clock_ns();
    uint64_t ms;

    if (now_ns >= deadline_ns)
        return -ETIMEDOUT;
    ms = hv_min_u64((deadline_ns - now_ns) / HV_NETVSC_MS_NS + 1, INT_MAX);
    if (n->running) {
        /* whoever polls queue 0 may sleep on its channel: that is his to arm */
        (void)poll(fds, 2, (int)hv_min_u64(ms, NAP_MS));
    } else {
        if (!hv_netvsc_rx_arm(n->queues[0]))
            (void)poll(fds, 3, (int)ms); /* whatever it says, the caller looks again */
        hv_netvsc_rx_disarm(n->queues[0]);
    }
    drain_wake(n);
    return 0;
}

static bool is_answered(struct hv_netvsc *n)
{
    bool answered;

    pthread_mutex_lock(&n->mail.lock);
    answered = n->mail.answered;
    pthread_mutex_unlock(&n->mail.lock);
    return answered;
}

/** Whatever arrives for it from now on is late. */
static void forget(struct hv_netvsc *n)
{
    pthread_mutex_lock(&n->mail.lock);
    n->mail.want_tag = n->mail.want_id = 0;
    n->mail.answered = false;
    pthread_mutex_unlock(&n->mail.lock);
}

static int wait_answer(struct hv_netvsc *n, uint64_t deadline_ns)
{
    int err = 0;

    while (!err) {
        err = hv_netvsc_look(n);
        if (is_answered(n))
            return 0;
        if (!err)
            err = hv_netvsc_sleep(n, deadline_ns);
    }
    return err;
}

/** The ring, or what the host still has of ours, is full: come again in a moment. */
static int wait_room(struct hv_netvsc *n, uint64_t deadline_ns)
{
    int err = hv_netvsc_look(n);

    return err ? err : hv_netvsc_sleep(n, hv_min_u64(deadline_ns, hv_clock_ns() + HV_NETVSC_MS_NS));
}

static int send_nvsp(struct hv_netvsc *n, const struct hv_nvsp_message *message, bool answered,
                     uint32_t tag, uint64_t deadline_ns)
{
    int err, room = 0;

    do
        err = hv_nq_send_nvsp(n->queues[0], message, sizeof(*message), answered, tag);
    while (err == -EAGAIN && !(room = wait_room(n, deadline_ns)));
    return room ? room : err;
}

static int send_control(struct hv_netvsc *n, const void *message, size_t bytes,
                        uint64_t deadline_ns)
{
    int err, room = 0;

    do
        err = hv_nq_send_control(n->queues[0], message, bytes);
    while (err == -EAGAIN && !(room = wait_room(n, deadline_ns)));
    return room ? room : err;
}

int hv_netvsc_nvsp_post(struct hv_netvsc *n, const struct hv_nvsp_message *message)
{
    int err = hv_netvsc_status(n);

    return err ? err : send_nvsp(n, message, false, 0, hv_netvsc_deadline(n));
}

int hv_netvsc_nvsp_ask(struct hv_netvsc *n, const struct hv_nvsp_message *message,
                       struct hv_nvsp_message *ret_reply, size_t *ret_bytes)
{
    uint64_t deadline_ns = hv_netvsc_deadline(n);
    uint32_t tag = ++n->next_tag ? n->next_tag : ++n->next_tag;
    int err = hv_netvsc_status(n);

    if (err)
        return err;
    pthread_mutex_lock(&n->mail.lock);
    n->mail.want_tag = tag;
    n->mail.answered = false;
    pthread_mutex_unlock(&n->mail.lock);
    err = send_nvsp(n, message, true, tag, deadline_ns);
    if (!err)
        err = wait_answer(n, deadline_ns);
    if (!err) {
        struct hv_nvsp_message reply = {0};

        *ret_bytes = n->mail.reply_bytes;
        memcpy(&reply, n->mail.reply, hv_min_u64(n->mail.reply_bytes, sizeof(reply)));
        *ret_reply = reply;
    } else {
        hv_log(&n->opts.log, HV_LOG_ERROR, "network: no answer to NVSP message %u: %s",
               message->type, strerrordesc_np(-err));
    }
    forget(n);
    return err;
}

int hv_netvsc_control_post(struct hv_netvsc *n, const void *message, size_t bytes)
{
    int err = hv_netvsc_status(n);

    return err ? err : send_control(n, message, bytes, hv_netvsc_deadline(n));
}

int hv_netvsc_control_ask(struct hv_netvsc *n, const void *message, size_t bytes, size_t *ret_bytes)
{
    uint64_t deadline_ns = hv_netvsc_deadline(n);
    int err = hv_netvsc_status(n);
    struct hv_rndis_bare head;

    if (err)
        return err;
    memcpy(&head, message, sizeof(head));
    pthread_mutex_lock(&n->mail.lock);
    n->mail.want_id = head.request_id;
    n->mail.want_type = head.hdr.type;
    n->mail.answered = false;
    pthread_mutex_unlock(&n->mail.lock);
    err = send_control(n, message, bytes, deadline_ns);
    if (!err)
        err = wait_answer(n, deadline_ns);
    if (!err)
        *ret_bytes = n->mail.reply_bytes; /* nothing changes it now: nobody waits */
    else
        hv_log(&n->opts.log, HV_LOG_ERROR, "network: no answer to RNDIS message %u: %s",
               head.hdr.type, strerrordesc_np(-err));
    forget(n);
    return err;
}
