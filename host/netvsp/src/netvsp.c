/* SPDX-License-Identifier: BSD-3-Clause */
/* The NIC: what its owner does with it. */
#include "netvsp_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hv/wire/guid.h>

#define HANDOVER_SLOTS     1024u
#define HANDOVER_BYTES     (4u << 20)
#define SECTION_BYTES      6144u /* as Hyper-V */
#define SECTION_MIN        2048u
#define SECTION_MAX        65536u
#define PACKETS_PER_BUFFER 8u
#define SPEED              UINT64_C(40000000000)
#define MTU_DEFAULT        9000u

void hv_netvsp_kick(struct hv_netvsp_port *port)
{
    uint64_t one = 1;

    /* The descriptor first: whoever sees the flag empties it and finds something in it. */
    if (write(port->event_fd, &one, sizeof(one)) < 0) {
        /* Full after 2^64 - 1 kicks only, and then it is readable anyway. */
    }
    atomic_store_explicit(&port->kicked, true, memory_order_release);
}

void hv_netvsp_kick_all(struct hv_netvsp *nic)
{
    for (uint16_t i = 0; i < nic->queues; i++)
        hv_netvsp_kick(&nic->ports[i]);
}

static void guest_gone(void *device_ctx, uint32_t guest_id)
{
    (void)device_ctx; /* its session ended with the primary channel */
    (void)guest_id;
}

static const struct hv_host_device_ops device_ops = {
    .open = hv_netvsp_open,
    .poll = hv_netvsp_poll,
    .arm = hv_netvsp_arm,
    .close = hv_netvsp_close,
    .guest_gone = guest_gone,
};

/* ---- Options ---- */

static int refuse(char *why, const char *what, unsigned long long value, const char *allowed)
{
    (void)snprintf(why, HV_NETVSP_WHY_BYTES, "%s %llu: %s", what, value, allowed);
    return -EINVAL;
}

static bool version_known(uint32_t version)
{
    return version == HV_NVSP_VERSION_1 || version == HV_NVSP_VERSION_2 ||
           version == HV_NVSP_VERSION_4 || version == HV_NVSP_VERSION_5 ||
           version == HV_NVSP_VERSION_6 || version == HV_NVSP_VERSION_6_1;
}

/** Stable for one text, locally administered, not a group. */
static void make_mac(const char *text, uint8_t mac[6])
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < 6; i++)
        mac[i] = (uint8_t)(hash >> (8 * i + 8));
    mac[0] = (uint8_t)((mac[0] & 0xfcu) | 0x02u);
}

static void make_instance(const uint8_t mac[6], struct hv_guid *ret_id)
{
    static const struct hv_guid base =
        HV_GUID_INIT(0x6e657476u, 0x7370u, 0x4e49u, 0x83, 0x00, 0, 0, 0, 0, 0, 0);

    *ret_id = base;
    memcpy(&ret_id->b[10], mac, 6);
}

static int check_options(const struct hv_netvsp_opts *o, char *why)
{
    if (!o->link || !*o->link)
        return refuse(why, "link", 0, "none given; one of tap:, loop, pair:, source:, sink, pcap:");
    if (o->queues > HV_NETVSP_QUEUES_MAX)
        return refuse(why, "queues", o->queues, "allowed: 1 to 64");
    if (o->max_mtu && (o->max_mtu < HV_NETVSP_MTU || o->max_mtu > HV_NETVSP_MTU_MAX))
        return refuse(why, "mtu", o->max_mtu, "allowed: 1500 to 9202");
    if (o->max_version && !version_known(o->max_version))
        return refuse(why, "NVSP version", o->max_version, "allowed: 1, 2, 4, 5, 6, 6.1");
    if (o->send_section_bytes &&
        (o->send_section_bytes < SECTION_MIN || o->send_section_bytes > SECTION_MAX ||
         o->send_section_bytes % 64))
        return refuse(why, "section", o->send_section_bytes,
                      "allowed: 2048 to 65536, a multiple of 64");
    if (o->max_packets_per_message > HV_NETVSP_MESSAGE_MAX)
        return refuse(why, "packets per message", o->max_packets_per_message, "allowed: 1 to 32");
    if (o->mac[0] & 1) {
        (void)snprintf(why, HV_NETVSP_WHY_BYTES, "a group address is nobody's own");
        return -EINVAL;
    }
    return 0;
}

static int take_options(struct hv_netvsp *nic, const struct hv_netvsp_opts *o, char *why)
{
    static const uint8_t no_mac[6];
    static const struct hv_guid no_id;
    int err = check_options(o, why);

    if (err)
        return err;
    nic->log = o->log;
    nic->queues = o->queues ? o->queues : 1;
    nic->max_mtu = o->max_mtu ? o->max_mtu : MTU_DEFAULT;
    nic->max_version = o->max_version ? o->max_version : HV_NVSP_VERSION_6_1;
    nic->send_section_bytes = o->send_section_bytes ? o->send_section_bytes : SECTION_BYTES;
    nic->max_packets_per_message =
        o->max_packets_per_message ? o->max_packets_per_message : PACKETS_PER_BUFFER;
    nic->offloads_off = o->offloads_off;
    nic->link_bits_per_second = o->link_bits_per_second ? o->link_bits_per_second : SPEED;
    nic->link_up = true;
    if (memcmp(o->mac, no_mac, 6) != 0)
        memcpy(nic->mac, o->mac, 6);
    else
        make_mac(o->link, nic->mac);
    if (memcmp(&o->instance_id, &no_id, sizeof(no_id)) != 0)
        nic->instance_id = o->instance_id;
    else
        make_instance(nic->mac, &nic->instance_id);
    if (!o->fault)
        return 0;
    nic->fault = calloc(1, sizeof(*nic->fault));
    if (!nic->fault)
        return -ENOMEM;
    return hv_netvsp_fault_parse(o->fault, nic->fault, why);
}

/* ---- Life ---- */

static int make_ports(struct hv_netvsp *nic)
{
    nic->ports = calloc(nic->queues, sizeof(*nic->ports));
    if (!nic->ports)
        return -ENOMEM;
    for (uint16_t i = 0; i < nic->queues; i++)
        nic->ports[i].event_fd = -1;
    for (uint16_t i = 0; i < nic->queues; i++) {
        int err;

        nic->ports[i].event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (nic->ports[i].event_fd < 0)
            return -errno;
        err = hv_handover_create(HANDOVER_SLOTS, HANDOVER_BYTES, &nic->ports[i].handover);
        if (err)
            return err;
    }
    return 0;
}

static void free_all(struct hv_netvsp *nic)
{
    hv_link_destroy(nic->link); /* first: it may still deliver */
    for (uint16_t i = 0; nic->ports && i < nic->queues; i++) {
        if (nic->ports[i].event_fd >= 0)
            (void)close(nic->ports[i].event_fd);
        hv_handover_destroy(nic->ports[i].handover);
    }
    free(nic->ports);
    free(nic->fault);
    pthread_mutex_destroy(&nic->lock);
    free(nic);
}

/** Any thread. */
static void on_carrier(void *arg, bool up)
{
    struct hv_netvsp *nic = arg;

    atomic_store(&nic->carrier, up);
    hv_netvsp_kick_all(nic);
}

static int make_link(struct hv_netvsp *nic, const char *text, char *why)
{
    struct hv_link_opts opts = {.text = text,
                                .queues = nic->queues,
                                .frame_bytes_max =
                                    nic->max_mtu + HV_NETVSP_ETHERNET_BYTES + HV_NETVSP_TAG_BYTES,
                                .scope = nic->host,
                                .log = nic->log};
    const struct hv_link_nic side = {
        .arg = nic, .deliver = hv_netvsp_deliver, .carrier = on_carrier};
    int err;

    memcpy(opts.mac, nic->mac, sizeof(opts.mac));
    err = hv_link_create(&opts, &side, why, &nic->link);
    if (!err)
        atomic_store(&nic->carrier, hv_link_carrier(nic->link));
    return err;
}

static int offer(struct hv_netvsp *nic, bool monitored)
{
    struct hv_host_device_opts device = {.size = sizeof(device),
                                         .class_id = HV_CLASS_NETWORK,
                                         .instance_id = nic->instance_id,
                                         .monitored = monitored,
                                         .max_sub_channels = (uint16_t)(nic->queues - 1)};

    return hv_host_device_offer(nic->host, &device, &device_ops, nic, &nic->device);
}

int hv_netvsp_create(struct hv_host *host, const struct hv_netvsp_opts *opts,
                     char why[HV_NETVSP_WHY_BYTES], struct hv_netvsp **ret_netvsp)
{
    struct hv_netvsp_opts o = HV_NETVSP_OPTS_INIT;
    struct hv_netvsp *nic;
    int err;

    (void)snprintf(why, HV_NETVSP_WHY_BYTES, "the options have another size");
    if (!opts->size || opts->size > sizeof(o))
        return -EINVAL;
    memcpy(&o, opts, opts->size);
    why[0] = '\0';
    nic = calloc(1, sizeof(*nic));
    if (!nic)
        return -ENOMEM;
    nic->host = host;
    pthread_mutex_init(&nic->lock, NULL);
    err = take_options(nic, &o, why);
    if (!err)
        err = make_ports(nic);
    if (!err)
        err = make_link(nic, o.link, why);
    if (!err)
        err = offer(nic, o.monitored);
    if (err) {
        if (!why[0])
            (void)snprintf(why, HV_NETVSP_WHY_BYTES, "%s", strerror(-err));
        free_all(nic);
        return err;
    }
    *ret_netvsp = nic;
    return 0;
}

static void on_withdrawn(void *arg)
{
    struct hv_netvsp *nic = arg;
    void (*gone)(void *arg) = nic->gone;
    void *gone_arg = nic->gone_arg;

    free_all(nic);
    if (gone)
        gone(gone_arg);
}

void hv_netvsp_destroy(struct hv_netvsp *netvsp, void (*gone)(void *arg), void *arg)
{
    if (!netvsp) {
        if (gone)
            gone(arg);
        return;
    }
    netvsp->gone = gone;
    netvsp->gone_arg = arg;
    hv_host_device_withdraw(netvsp->device, on_withdrawn, netvsp);
}

/* ---- Settings ---- */

void hv_netvsp_set_link(struct hv_netvsp *netvsp, bool up)
{
    pthread_mutex_lock(&netvsp->lock);
    netvsp->link_up = up;
    pthread_mutex_unlock(&netvsp->lock);
    hv_link_set_up(netvsp->link, up);
    hv_netvsp_kick_all(netvsp);
}

void hv_netvsp_set_vf(struct hv_netvsp *netvsp, bool present, uint32_t serial)
{
    pthread_mutex_lock(&netvsp->lock);
    netvsp->vf_present = present;
    netvsp->vf_serial = serial;
    if (!present)
        netvsp->vf_active = false;
    pthread_mutex_unlock(&netvsp->lock);
    hv_netvsp_kick(&netvsp->ports[0]);
}

/* ---- Looking ---- */

void hv_netvsp_get_state(struct hv_netvsp *netvsp, struct hv_netvsp_state *ret_state)
{
    struct hv_netvsp_state state = {.queues = netvsp->queues,
                                    .max_mtu = netvsp->max_mtu,
                                    .instance_id = netvsp->instance_id,
                                    .link_bits_per_second = netvsp->link_bits_per_second,
                                    .carrier = atomic_load(&netvsp->carrier)};

    memcpy(state.mac, netvsp->mac, 6);
    pthread_mutex_lock(&netvsp->lock);
    state.link_up = netvsp->link_up;
    state.vf_present = netvsp->vf_present;
    state.vf_active = netvsp->vf_active;
    state.vf_serial = netvsp->vf_serial;
    state.open_channels = atomic_load(&netvsp->open_count);
    memcpy(state.current_mac, netvsp->session ? netvsp->rules.mac : netvsp->mac, 6);
    if (netvsp->session) {
        state.guest_id = netvsp->session->guest_id;
        state.nvsp_version = netvsp->session->version;
        state.mtu = netvsp->session->mtu;
        state.packet_filter = netvsp->rules.filter;
        state.rss = netvsp->steering.on;
    }
    pthread_mutex_unlock(&netvsp->lock);
    *ret_state = state;
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void hv_netvsp_add_stats(struct hv_netvsp_stats *sum, const struct hv_netvsp_queue *q)
{
    const struct hv_netvsp_counters *c = &q->counters;

    sum->from_guest_packets += get(&c->from_packets);
    sum->from_guest_bytes += get(&c->from_bytes);
    sum->from_guest_messages += get(&c->from_messages);
    sum->to_guest_packets += get(&c->to_packets);
    sum->to_guest_bytes += get(&c->to_bytes);
    sum->to_guest_messages += get(&c->to_messages);
    sum->signals_from_guest += get(&c->signals_from);
    sum->signals_to_guest += get(&c->signals_to);
    sum->dropped_no_buffer += get(&c->no_buffer);
    sum->buffer_ran_dry += get(&c->dry);
    sum->dropped_filter += get(&c->filter);
    sum->dropped_bad += get(&c->bad);
    sum->dropped_link += get(&c->link);
    sum->control_messages += get(&c->control);
    sum->handed_over += get(&c->handed_over);
}

void hv_netvsp_get_stats(struct hv_netvsp *netvsp, struct hv_netvsp_stats *ret_stats)
{
    struct hv_link_stats link = {0};
    struct hv_netvsp_stats sum;

    hv_link_get_stats(netvsp->link, &link);
    pthread_mutex_lock(&netvsp->lock);
    sum = netvsp->past;
    for (uint16_t i = 0; i < netvsp->queues; i++)
        if (netvsp->ports[i].queue)
            hv_netvsp_add_stats(&sum, netvsp->ports[i].queue);
    pthread_mutex_unlock(&netvsp->lock);
    sum.dropped_filter += atomic_load(&netvsp->unowned_drops);
    sum.dropped_no_buffer += link.deliver_dropped;
    sum.dropped_link += link.send_dropped;
    sum.segmented = link.segmented;
    sum.checksummed = link.checksummed;
    *ret_stats = sum;
}
