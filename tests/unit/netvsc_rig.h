/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue of the network driver over real rings, buffers of its own, and the host's end by hand.
 *
 *   rig_start(&rig, NULL) -> put_frame(...), rig_deliver(...) -> hv_netvsc_rx_burst(rig.queue, ...) -> rig_take(...)
 *   -> rig_stop(&rig)
 */
#ifndef HV_TEST_NETVSC_RIG_H
#define HV_TEST_NETVSC_RIG_H

#include <ring_bus.h>

#include <queue.h>
#include <queue_rndis.h>

#define RIG_SECTIONS         64u
#define RIG_SECTION_BYTES    2048u
#define RIG_TX_SECTIONS      8u
#define RIG_TX_SECTION_BYTES 6144u
#define RIG_FRAME_MAX        1518u

struct rig_opts {
    uint32_t ring_bytes;       /* 0 = 64 KiB */
    uint32_t receive_sections; /* 0 = RIG_SECTIONS */
    uint32_t send_sections;    /* 0 = RIG_TX_SECTIONS; UINT32_MAX = none */
    uint32_t descriptors;      /* 0 = 32 */
    uint32_t first_section;
    uint32_t packets_per_message; /* 0 = 8 */
    uint32_t message_bytes;       /* 0 = plenty */
    uint32_t tx_copy_bytes;       /* 0 = 512 */
    uint32_t frame_bytes_max;     /* 0 = RIG_FRAME_MAX */
    bool paused;                  /* stays so */
};

/** A packet of the driver as the host sees it. */
struct rig_packet {
    uint64_t id;
    uint16_t type, flags;
    uint32_t ext_bytes, payload_bytes;
    _Alignas(8) uint8_t ext[4096];
    uint8_t payload[64];
};

struct rig {
    struct ring_bus *bus;
    struct hv_channel *channel;
    struct hv_nq_device device;
    struct hv_netvsc_queue *queue;
    uint8_t *receive, *send; /* exactly as large as they must be */
    uint8_t *memory;         /* of frames; the host reaches all of it */
    /* what the hooks were given */
    unsigned controls, notifies, answers, deaths;
    uint8_t last[4096];
    size_t last_bytes;
    uint32_t last_tag;
};
#define RIG_MEMORY_BYTES (64u * HV_PAGE_BYTES)

void rig_start(struct rig *rig, const struct rig_opts *opts);
/** The channel is closed: detach, destroy, all memory given back. */
void rig_stop(struct rig *rig);

/** An RNDIS packet at `offset` of the receive buffer, data behind the header and `ppi_bytes`.  Its length. */
uint32_t rig_put_frame(struct rig *rig, uint32_t offset, const void *frame, uint32_t bytes,
                       const void *ppis, uint32_t ppi_bytes);
/** A transfer-page packet of the host. */
bool rig_deliver(struct rig *rig, uint64_t id, const struct hv_transfer_range *ranges,
                 uint32_t count);
/** The same with every field in the test's hands. */
struct rig_raw {
    uint64_t id;
    uint16_t set_id;
    uint32_t range_count; /* as claimed */
    uint32_t channel_type, nvsp_type;
    uint32_t payload_bytes; /* 0 = 16 */
};
bool rig_deliver_raw(struct rig *rig, const struct rig_raw *raw,
                     const struct hv_transfer_range *ranges, uint32_t count);
/** One frame of `bytes` bytes, each `fill`, in section `section`, whose number is the packet's id. */
bool rig_deliver_one(struct rig *rig, uint32_t section, uint8_t fill, uint32_t bytes);

/** Next packet of the driver: false = none. */
bool rig_take(struct rig *rig, struct rig_packet *ret_packet);
/** Good completions of received packets: their ids in order.  How many; UINT32_MAX = there was something else. */
unsigned rig_take_completions(struct rig *rig, uint64_t *ids, unsigned max);
/** The host has done with a frame message. */
bool rig_complete(struct rig *rig, uint64_t id, uint32_t status);
/** Take everything that the driver sent and complete it.  How many. */
unsigned rig_complete_all(struct rig *rig);
/** Bytes that the list of a GPA-direct packet names, range after range.  How many; 0 = malformed. */
uint32_t rig_gather(const struct rig_packet *packet, uint8_t *bytes, uint32_t max,
                    uint32_t *ret_first_range);

struct hv_netvsc_queue_stats rig_stats(struct rig *rig);
/** Headers of IPv4 or IPv6 and TCP with 12 bytes of options for `data` bytes, `tags` VLAN tags in the frame.  Its length. */
uint32_t rig_put_tcp(uint8_t *to, bool ip6, unsigned tags, uint32_t data, uint16_t *ret_l4);
struct hv_netvsc_tx rig_frame(const void *data, uint32_t bytes);

#endif
