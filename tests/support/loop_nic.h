/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bus with one NIC for the network driver alone: no host, no rings, no threads.  What the driver sends is answered when
 * it publishes it, as a good host would, unless the test's hook does something else.  It stands in for lib/vmbus (defines
 * the hv_vmbus_*, hv_channel_* and hv_dma_* functions that the driver calls), so link the driver's objects with this
 * instead.
 *
 * Page numbers are addresses of this process, shifted.  What the driver must not do ends the program: packets that no host
 * would take, memory or channels left behind.
 */
#ifndef HV_TEST_LOOP_NIC_H
#define HV_TEST_LOOP_NIC_H

#include <hv/vmbus.h>
#include <hv/wire/ndis.h>
#include <hv/wire/nvsp.h>
#include <hv/wire/rndis.h>

#define LOOP_NIC_CHANNELS      5
#define LOOP_NIC_QUEUE         256 /* packets to the driver that fit */
#define LOOP_NIC_LOG           512
#define LOOP_NIC_SECTION_BYTES 2048u
#define LOOP_NIC_SPEED         100000000u /* 10 Gbit/s in units of 100 bit/s */

/** What the driver sent, taken apart; rndis_bytes 0 = no control message. */
struct loop_nic_message {
    uint16_t channel;
    uint16_t type;  /* of the packet */
    uint16_t flags; /* of the packet */
    uint64_t id;
    uint32_t nvsp_bytes;
    struct hv_nvsp_message nvsp;
    uint32_t rndis_bytes;
    union {
        struct hv_rndis_header hdr;
        struct hv_rndis_bare bare;
        struct hv_rndis_request request;
        uint8_t bytes[HV_RNDIS_CONTROL_MAX];
    } rndis;
};

struct loop_nic;

struct loop_nic_opts {
    /** Before the usual answer: true = there is none. */
    bool (*hook)(void *arg, struct loop_nic *nic, const struct loop_nic_message *message);
    void *arg;
    uint32_t max_version;   /* 0 = 6.1 */
    uint16_t sub_channels;  /* granted at most */
    uint16_t offered;       /* of these; the others never come; 0 = all */
    uint16_t openable;      /* of these; 0 = all */
    uint16_t rx_queues;     /* as RSS capabilities say; 0 = no RSS */
    uint16_t table_entries; /* the same */
    uint32_t max_mtu;       /* 0 = 9000 */
    uint32_t max_packets;   /* 0 = 8 */
    uint32_t multicast_max;
    bool no_offloads, silent_offloads; /* unknown; no indication of what is on */
    bool link_down;
    bool may_not_grow; /* the kernel could not hand out sub-channels */
    unsigned fail_at;  /* this one of the requests for channels and memory fails, from 1 */
    bool lying;        /* the hook lies about what was agreed: do not hold the driver to it */
};

/** What the driver told, for tests to look at. */
struct loop_nic_seen {
    uint32_t log[LOOP_NIC_LOG]; /* NVSP types; RNDIS types | 0x10000; OIDs */
    unsigned log_count;
    uint32_t version, mtu;
    uint64_t capabilities;
    uint32_t ndis_version;
    uint32_t receive_bytes;
    uint32_t filter;
    unsigned filters;
    struct hv_ndis_offload_params offload;
    uint32_t offload_bytes;
    struct {
        struct hv_ndis_rss_params params;
        uint32_t table[HV_NDIS_RSS_TABLE_MAX];
        uint8_t key[HV_NDIS_RSS_KEY_BYTES];
    } rss;
    unsigned rss_off, rss_on;
    uint8_t mac_parameter[128];
    uint32_t mac_parameter_bytes;
    uint8_t multicast[64][6];
    uint32_t multicast_bytes;
    unsigned data_paths; /* SWITCH_DATA_PATH messages to the synthetic path */
    unsigned halts, revokes, opens, completions;
};

struct loop_nic *loop_nic_create(const struct loop_nic_opts *opts);
/** Aborts when memory or channels are left. */
void loop_nic_destroy(struct loop_nic *nic);
struct hv_vmbus *loop_nic_bus(struct loop_nic *nic);
struct loop_nic_opts *loop_nic_opts(struct loop_nic *nic);
struct loop_nic_seen *loop_nic_seen(struct loop_nic *nic);

/* What the host sends; false: the channel is closed or full. */
bool loop_nic_complete(struct loop_nic *nic, uint16_t channel, uint64_t id, const void *payload,
                       uint32_t bytes);
bool loop_nic_inband(struct loop_nic *nic, const void *payload, uint32_t bytes);
/** An RNDIS message in the receive buffer; the range is `range_bytes` long (0 = as the message). */
bool loop_nic_control(struct loop_nic *nic, const void *rndis, uint32_t bytes,
                      uint32_t range_bytes);
/** The same with any transaction id, buffer id, offset and count of ranges. */
bool loop_nic_transfer(struct loop_nic *nic, uint16_t channel, uint64_t id, uint16_t set_id,
                       uint32_t range_count, uint32_t offset, uint32_t range_bytes);
bool loop_nic_indicate(struct loop_nic *nic, uint32_t status, const void *buffer, uint32_t bytes);
/** What is on, as the driver wanted it. */
bool loop_nic_indicate_offloads(struct loop_nic *nic);
/** What lies in front of the driver, to be spoilt: payload of the latest packet, the receive buffer.  NULL = nothing. */
uint8_t *loop_nic_latest(struct loop_nic *nic, uint32_t *ret_bytes);
uint8_t *loop_nic_receive_buffer(struct loop_nic *nic, uint32_t *ret_bytes);
/** The usual answer, for hooks that change a little. */
void loop_nic_answer(struct loop_nic *nic, const struct loop_nic_message *message);
/** Take note of what the driver told, for hooks that answer by themselves: version and receive buffer. */
void loop_nic_believe(struct loop_nic *nic, const struct loop_nic_message *message);
/** Answers to QUERY and SET, and what a good host says to a query. */
bool loop_nic_reply_query(struct loop_nic *nic, uint32_t request_id, uint32_t status,
                          const void *info, uint32_t bytes);
bool loop_nic_reply_set(struct loop_nic *nic, uint32_t type, uint32_t request_id, uint32_t status);
/** The next look at the ring of this channel fails like this. */
void loop_nic_break(struct loop_nic *nic, uint16_t channel, int error);
/** Why the driver killed the channel; NULL when it did not. */
const char *loop_nic_killed(const struct loop_nic *nic, uint16_t channel);

#endif
