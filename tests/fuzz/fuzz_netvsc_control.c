/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The network driver's control side against a host that answers as it likes: changed, cut, repeated, misdirected, late or
 * no answers, indications and notifications at any time, transfer pages that point anywhere, a receive buffer that changes
 * while it is read, a channel that breaks, while the program starts, stops and sets whatever it can.  The input is what
 * host and program do, in the order in which they are asked.
 *
 * Beyond memory errors it finds: memory, buffers or channels left behind, messages that no host would take (loop_nic.c
 * checks each), limits beyond the buffers, a death that is told twice or not at all.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hv/netvsc.h>

#include "loop_nic.h"

#define ACTIONS_MAX  100
#define BUFFER_BYTES (64u << 10)
#define QUEUES       4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

struct scene {
    struct input in;
    struct loop_nic *nic;
    struct hv_netvsc *netvsc;
    unsigned deaths;
};

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "fuzz_netvsc_control: %s\n", what);
    abort();
}

static uint8_t next(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

static uint32_t next32(struct input *in)
{
    uint32_t word = 0;

    for (unsigned i = 0; i < 4; i++)
        word = word << 8 | next(in);
    return word;
}

/** Small, or near a limit, or anything. */
static uint32_t number(struct input *in)
{
    switch (next(in) % 4u) {
    case 0:
        return next(in);
    case 1:
        return UINT32_MAX - next(in);
    case 2:
        return 1u << (next(in) % 32u);
    default:
        return next32(in);
    }
}

/* ---- The host ---- */

static void spoil(struct input *in, uint8_t *bytes, uint32_t size)
{
    for (unsigned count = next(in) % 6u; bytes && count; count--) {
        uint32_t at = next(in) % size;

        bytes[at] = next(in);
    }
}

/** Any section of the receive buffer; control messages lie in the first ones. */
static void spoil_buffer(struct scene *s)
{
    uint32_t bytes;
    uint8_t *buffer = loop_nic_receive_buffer(s->nic, &bytes);
    uint32_t section = next(&s->in) % 4u * LOOP_NIC_SECTION_BYTES;

    if (buffer && section + 256 <= bytes)
        spoil(&s->in, buffer + section, 256);
}

static void notify(struct scene *s)
{
    static const uint32_t types[] = {HV_NVSP_SEND_VF_ASSOCIATION, HV_NVSP_SEND_INDIRECTION_TABLE,
                                     HV_NVSP_SWITCH_DATA_PATH, HV_NVSP_SEND_RNDIS_PACKET};
    uint32_t words[26] = {types[next(&s->in) % 4u]};

    for (unsigned i = 1; i < 5; i++)
        words[i] = number(&s->in);
    if (next(&s->in) & 1)
        words[1] = HV_NVSP_INDIRECTION_COUNT;
    (void)loop_nic_inband(s->nic, words, next(&s->in) % (sizeof(words) + 1));
}

static void indicate(struct scene *s)
{
    static const uint32_t statuses[] = {
        HV_RNDIS_STATUS_MEDIA_CONNECT, HV_RNDIS_STATUS_MEDIA_DISCONNECT, HV_RNDIS_STATUS_LINK_SPEED,
        HV_RNDIS_STATUS_NETWORK_CHANGE, HV_RNDIS_STATUS_OFFLOAD_CONFIG};
    uint8_t buffer[200];

    for (unsigned i = 0; i < sizeof(buffer); i++)
        buffer[i] = (uint8_t)(i < 32 ? next(&s->in) : 0xff);
    if (next(&s->in) & 1)
        (void)loop_nic_indicate_offloads(s->nic);
    else
        (void)loop_nic_indicate(s->nic, statuses[next(&s->in) % 5u], buffer, next(&s->in) % 201u);
    if (next(&s->in) & 1)
        spoil_buffer(s);
}

static void transfer(struct scene *s)
{
    uint16_t set = next(&s->in) % 4u ? HV_NVSP_RECEIVE_BUFFER_ID : next(&s->in);
    uint32_t count = next(&s->in) % 4u ? 1 : number(&s->in);
    uint32_t offset = number(&s->in);

    (void)loop_nic_transfer(s->nic, next(&s->in) % QUEUES, next(&s->in) % 64u, set, count, offset,
                            number(&s->in));
}

/** An answer of the host's own making. */
static void invent(struct scene *s, const struct loop_nic_message *m)
{
    uint32_t words[16];

    for (unsigned i = 0; i < 16; i++)
        words[i] = number(&s->in);
    if (!m->rndis_bytes) {
        if (next(&s->in) & 1)
            words[0] = m->nvsp.type + (m->nvsp.type != HV_NVSP_SUBCHANNEL);
        words[1] = next(&s->in) & 1 ? HV_NVSP_STATUS_SUCCESS : words[1];
        (void)loop_nic_complete(s->nic, 0, m->id, words, next(&s->in) % 65u);
        return;
    }
    words[0] = m->rndis.hdr.type | HV_RNDIS_COMPLETE;
    words[1] = next(&s->in) & 1 ? 12 + next(&s->in) % 53u : words[1];
    words[2] = m->rndis.bare.request_id;
    words[3] = next(&s->in) & 1 ? HV_RNDIS_STATUS_SUCCESS : words[3];
    (void)loop_nic_control(s->nic, words, sizeof(words), number(&s->in));
}

static bool hook(void *arg, struct loop_nic *nic, const struct loop_nic_message *m)
{
    struct scene *s = arg;
    uint32_t bytes = 0;
    uint8_t *latest;

    switch (next(&s->in) % 32u) {
    case 1:
        return true;
    case 2:
        loop_nic_answer(nic, m);
        return false;
    case 3:
        invent(s, m);
        return true;
    case 4:
        notify(s);
        return false;
    case 5:
        indicate(s);
        return false;
    case 6:
        transfer(s);
        return false;
    case 7:
        loop_nic_answer(nic, m);
        latest = loop_nic_latest(nic, &bytes);
        spoil(&s->in, latest, bytes);
        return true;
    case 8:
        loop_nic_answer(nic, m);
        spoil_buffer(s);
        return true;
    case 9:
        loop_nic_break(nic, 0, next(&s->in) & 1 ? -ENODEV : -EPROTO);
        return false;
    case 10:
        (void)loop_nic_complete(nic, 0, number(&s->in), "", 0);
        return false;
    default:
        return false;
    }
}

/* ---- The program ---- */

static void on_event(void *arg, enum hv_netvsc_event event)
{
    struct scene *s = arg;

    s->deaths += event == HV_NETVSC_DEAD;
}

static void check_info(const struct scene *s)
{
    struct hv_netvsc_info info;

    hv_netvsc_get_info(s->netvsc, &info);
    check((uint64_t)info.receive_sections * info.receive_section_bytes <= BUFFER_BYTES,
          "receive sections beyond the buffer");
    check((uint64_t)info.send_sections * info.send_section_bytes <= BUFFER_BYTES,
          "send sections beyond the buffer");
    check(info.max_queues >= 1 && info.max_queues <= QUEUES, "number of queues");
    check(info.packet_align_bytes <= 128 && info.max_packets_per_message <= 64, "limits");
    check(info.mtu >= 68 && info.mtu <= 9202 && !(info.mac[0] & 1), "MTU or MAC");
    check(!(info.offloads & ~info.offloads_possible), "an offload that is not possible is on");
    check(info.rss_table_entries <= HV_NETVSC_RSS_TABLE, "table entries");
    for (unsigned i = 0; i < 16; i++)
        check(info.send_table[i] < HV_NETVSC_QUEUES_MAX, "send table");
}

static void set_rss(struct scene *s)
{
    uint16_t table[HV_NETVSC_RSS_TABLE];

    for (unsigned i = 0; i < HV_NETVSC_RSS_TABLE; i++)
        table[i] = (uint16_t)(i % (1u + next(&s->in) % QUEUES));
    (void)hv_netvsc_set_rss(s->netvsc, next32(&s->in) & 0xff00u, table, NULL);
}

static void receive(struct scene *s)
{
    struct hv_netvsc_queue *queue =
        hv_netvsc_get_queue(s->netvsc, (uint16_t)(next(&s->in) % hv_netvsc_queue_count(s->netvsc)));
    struct hv_netvsc_frame frames[8];
    uint16_t count = hv_netvsc_rx_burst(queue, frames, 8);

    for (uint16_t i = 0; i < count; i++)
        check(frames[i].bytes && frames[i].data[0] + frames[i].data[frames[i].bytes - 1] >= 0,
              "frame"); /* a sanitizer sees what lies outside */
    hv_netvsc_rx_done(queue);
}

static bool act(struct scene *s)
{
    const uint8_t mac[6] = {2, 1, 2, 3, 4, next(&s->in)};
    const uint8_t group[1][6] = {{1, 0, 0x5e, 0, 0, 1}};
    uint16_t queues;

    switch (next(&s->in) % 16u) {
    case 0:
        return false;
    case 1:
    case 2:
        if (!hv_netvsc_start(s->netvsc, 1 + next(&s->in) % QUEUES, &queues))
            check(queues && queues == hv_netvsc_queue_count(s->netvsc), "queues started");
        break;
    case 3:
        (void)hv_netvsc_stop(s->netvsc);
        break;
    case 4:
        (void)hv_netvsc_set_mtu(s->netvsc, (uint16_t)next32(&s->in));
        break;
    case 5:
        (void)hv_netvsc_set_mac(s->netvsc, mac);
        break;
    case 6:
        set_rss(s);
        break;
    case 7:
        (void)hv_netvsc_set_offloads(s->netvsc, next32(&s->in) & 0x7ffu);
        break;
    case 8:
        (void)hv_netvsc_keepalive(s->netvsc);
        break;
    case 9:
        (void)hv_netvsc_set_multicast(s->netvsc, group, next(&s->in) & 1u);
        break;
    case 10:
        notify(s);
        break;
    case 11:
        indicate(s);
        break;
    case 12:
        transfer(s);
        break;
    case 13:
        receive(s);
        break;
    default:
        (void)hv_netvsc_poll_control(s->netvsc);
        break;
    }
    check_info(s);
    return true;
}

static void set_up(struct scene *s)
{
    static const uint32_t versions[] = {HV_NVSP_VERSION_6_1, HV_NVSP_VERSION_6,  HV_NVSP_VERSION_5,
                                        HV_NVSP_VERSION_4,   HV_NVSP_VERSION_2,  HV_NVSP_VERSION_1,
                                        HV_NVSP_VERSION_6_1, HV_NVSP_VERSION_6_1};
    static const struct hv_guid instance = {{1}};
    struct loop_nic_opts lo = {.hook = hook, .arg = s, .lying = true};
    struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;

    lo.max_version = versions[next(&s->in) % 8u];
    lo.sub_channels = next(&s->in) % QUEUES;
    lo.rx_queues = next(&s->in) % 8u;
    lo.multicast_max = next(&s->in) % 2u;
    no.max_queues = QUEUES;
    no.receive_bytes = no.send_bytes = BUFFER_BYTES;
    no.timeout_ms = 2;
    no.link_debounce_ms = 1;
    no.event = on_event;
    no.event_arg = s;
    s->nic = loop_nic_create(&lo);
    if (hv_netvsc_open(loop_nic_bus(s->nic), &instance, &no, &s->netvsc))
        s->netvsc = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct scene s = {.in = {data, size}};

    set_up(&s);
    for (unsigned i = 0; s.netvsc && i < ACTIONS_MAX && s.in.left && act(&s); i++) {
    }
    if (s.netvsc) {
        int status = hv_netvsc_poll_control(s.netvsc);

        check(s.deaths == (status != 0), "death told once");
    }
    hv_netvsc_close(s.netvsc);
    loop_nic_destroy(s.nic);
    return 0;
}
