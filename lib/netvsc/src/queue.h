/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One channel of the device: receive side, transmit side, and the door through which the device talks to the host.
 *
 * The channel's ring carries everything at once, so whoever needs it takes the queue's lock, drains the ring (hv_nq_drain)
 * and finds its own part: received frames are staged for rx_burst, completions free descriptors, sections and cookies,
 * everything else goes to the hooks of the device.
 */
#ifndef HV_NETVSC_QUEUE_H
#define HV_NETVSC_QUEUE_H

#include <hv/netvsc.h>
#include <hv/wire/ndis.h>
#include <hv/wire/nvsp.h>
#include <hv/wire/rndis.h>

/** The buffers, shared by all queues, and the rules that came out of the handshake.  Lives longer than any queue. */
struct hv_nq_device {
    struct hv_shared receive, send;
    uint32_t receive_sections, receive_section_bytes;
    uint32_t send_sections, send_section_bytes; /* 0 sections: everything by page */
    uint32_t max_packets_per_message, max_message_bytes, packet_align_bytes;
    uint32_t tx_copy_bytes;
    uint32_t frame_bytes_max; /* MTU and headers, with a VLAN tag */
    uint32_t tso_bytes_max;
    uint32_t offloads; /* HV_NETVSC_*: switched on */
    struct hv_log_hook log;
    /* Called under the queue's lock, from whichever thread drains: copy what is needed, wake the control thread. */
    void *hook_arg;
    void (*control)(void *arg, const void *rndis, size_t bytes); /* an RNDIS control message */
    void (*notify)(void *arg, const void *nvsp, size_t bytes);   /* in-band packet of the host */
    void (*answer)(void *arg, uint32_t tag, const void *nvsp, size_t bytes); /* to send_nvsp */
    void (*dead)(void *arg); /* the channel died: once */
};

/**
 * `first_section`, `section_count`: the queue's own share of the send buffer.  `ring_bytes` as the channel was opened.
 * The channel stays the caller's; it is open, and its bursts start at hv_nq_resume().
 */
int hv_nq_create(const struct hv_nq_device *device, struct hv_channel *channel,
                 uint32_t first_section, uint32_t section_count, uint32_t descriptors,
                 struct hv_netvsc_queue **ret_queue);
/** The channel is closed, or the host is done with everything.  NULL is fine. */
void hv_nq_destroy(struct hv_netvsc_queue *queue);

/**
 * Under the lock or before anybody else polls: bursts return nothing and send nothing until resume.  Frames that still
 * arrive are given back to the host.
 */
void hv_nq_pause(struct hv_netvsc_queue *queue);
void hv_nq_resume(struct hv_netvsc_queue *queue);

/** Control thread: take the lock, drain the ring once, publish what is due. */
void hv_nq_poll(struct hv_netvsc_queue *queue);
/** Control thread: an NVSP message in-band; `answered`: the hook `answer` gets `tag` back.  0, -EAGAIN, -ENODEV, -EPROTO. */
int hv_nq_send_nvsp(struct hv_netvsc_queue *queue, const void *nvsp, size_t bytes, bool answered,
                    uint32_t tag);
/**
 * Control thread: an RNDIS control message of up to HV_RNDIS_CONTROL_MAX bytes, by page out of memory of the queue.
 * -EAGAIN also while all pages for control messages are with the host.
 */
int hv_nq_send_control(struct hv_netvsc_queue *queue, const void *rndis, size_t bytes);
/** Descriptors with the host, control messages included; frames held by the application. */
uint32_t hv_nq_busy(struct hv_netvsc_queue *queue);
struct hv_channel *hv_nq_channel(const struct hv_netvsc_queue *queue);

#endif
