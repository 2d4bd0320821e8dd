/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the program is told: link, VF, the end.
 *
 * A link that flaps is told once: after a change no other is told for a while, and then only if the link is another than
 * the program knows.  A VF is reported and not used: the data path stays the synthetic one, which the host is told.
 */
#include "netvsc_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define LINK_SPEED_UNIT 100u /* bit/s */
#define NS_PER_S        UINT64_C(1000000000)

static void take_vf(struct hv_netvsc *n, const struct hv_netvsc_news *news)
{
    n->vf_present = news->vf_present;
    n->vf_serial = news->vf_serial;
    n->data_path_due = n->nvsp_version >= HV_NVSP_VERSION_4;
}

static void take_table(struct hv_netvsc *n, const struct hv_netvsc_news *news)
{
    for (unsigned i = 0; i < HV_NETVSC_SEND_TABLE; i++)
        n->send_table[i] = (uint16_t)news->table_channels[i];
}

void hv_netvsc_digest(struct hv_netvsc *n)
{
    struct hv_netvsc_news news;

    hv_netvsc_take_news(n, &news);
    if (news.speed)
        n->link_bits_per_second = (uint64_t)news.speed_100bps * LINK_SPEED_UNIT;
    if (news.link)
        n->link_up = news.link_up;
    n->renew |= news.network_change;
    if (news.vf)
        take_vf(n, &news);
    if (news.offload)
        hv_netvsc_offload_current(n, &news.offloads);
    if (news.table)
        take_table(n, &news);
    if (news.late)
        hv_log(&n->opts.log, HV_LOG_DEBUG, "network: %u answers that nobody waits for", news.late);
    if (news.malformed)
        hv_log(&n->opts.log, HV_LOG_WARNING, "network: %u messages of the host make no sense",
               news.malformed);
}

/** The VF may carry frames only when we say so: say that it does not. */
static void keep_data_path(struct hv_netvsc *n)
{
    const struct hv_nvsp_message message = {
        .type = HV_NVSP_SWITCH_DATA_PATH,
        .data_path = {.active = 0},
    };

    if (!n->data_path_due || hv_netvsc_status(n))
        return;
    if (hv_nq_send_nvsp(n->queues[0], &message, sizeof(message), true, 0) == -EAGAIN)
        hv_netvsc_wake(n); /* no room: the next poll tries again */
    else
        n->data_path_due = false;
}

static void event(struct hv_netvsc *n, enum hv_netvsc_event what)
{
    if (n->opts.event)
        n->opts.event(n->opts.event_arg, what);
}

static void set_timer(struct hv_netvsc *n, uint64_t at_ns)
{
    const struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)},
    };

    (void)timerfd_settime(n->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL); /* cannot fail */
}

static void tell_link(struct hv_netvsc *n)
{
    uint64_t now_ns;

    if (n->link_up == n->link_told && !(n->renew && n->link_up)) {
        n->renew = false; /* a link that is down will come up anew anyway */
        return;
    }
    now_ns = hv_clock_ns();
    if (now_ns < n->link_quiet_ns) {
        set_timer(n, n->link_quiet_ns);
        return;
    }
    n->link_quiet_ns = now_ns + n->opts.link_debounce_ms * HV_NETVSC_MS_NS;
    n->renew = false;
    if (n->link_up == n->link_told) /* up, but to another network */
        event(n, HV_NETVSC_LINK_DOWN);
    n->link_told = n->link_up;
    event(n, n->link_up ? HV_NETVSC_LINK_UP : HV_NETVSC_LINK_DOWN);
}

static void tell_vf(struct hv_netvsc *n)
{
    bool other = n->vf_told && n->vf_present && n->vf_serial != n->vf_serial_told;

    if (n->vf_told && (!n->vf_present || other)) {
        n->vf_told = false;
        event(n, HV_NETVSC_VF_REMOVED);
    }
    if (n->vf_present && !n->vf_told) {
        n->vf_told = true;
        n->vf_serial_told = n->vf_serial;
        event(n, HV_NETVSC_VF_ADDED);
    }
}

static void tell_dead(struct hv_netvsc *n)
{
    if (n->dead_told || !hv_netvsc_status(n))
        return;
    n->dead_told = true;
    if (n->open_count)
        (void)hv_netvsc_watch(
            n, false); /* it stays readable, and there is nothing to look for any more */
    event(n, HV_NETVSC_DEAD);
}

void hv_netvsc_tell(struct hv_netvsc *n)
{
    if (n->telling)
        return; /* a setting from the callback: the outer call goes on */
    n->telling = true;
    hv_netvsc_digest(n);
    keep_data_path(n);
    tell_link(n);
    tell_vf(n);
    tell_dead(n);
    n->telling = false;
    if (!hv_netvsc_status(n) && !n->running && hv_netvsc_rx_arm(n->queues[0]))
        hv_netvsc_wake(n); /* something is there already */
}

int hv_netvsc_poll_control(struct hv_netvsc *n)
{
    uint64_t count;

    (void)!read(n->wake_fd, &count, sizeof(count)); /* EAGAIN: it is something else */
    (void)!read(n->timer_fd, &count, sizeof(count));
    if (!hv_netvsc_status(n)) {
        if (!n->running)
            hv_netvsc_rx_disarm(n->queues[0]);
        (void)hv_netvsc_look(n);
    } else {
        (void)hv_vmbus_poll(n->bus); /* whoever watches us does not watch the bus */
    }
    hv_netvsc_tell(n);
    return hv_netvsc_status(n);
}
