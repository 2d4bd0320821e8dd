/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One channel of the device: receive side, transmit side, and the door through which the device talks to the host.
 *
 * The channel's ring carries everything at once, so whoever needs it takes the queue's lock, drains the ring (hv_nq_poll)
 * and finds its own part: received frames are staged for rx_burst, completions free descriptors, sections and cookies,
 * everything else goes to the hooks of the device.
 */
#ifndef HV_NETVSC_QUEUE_H
#define HV_NETVSC_QUEUE_H

#include <stdatomic.h>

#include <hv/netvsc.h>
#include <hv/wire/ndis.h>
#include <hv/wire/nvsp.h>
#include <hv/wire/rndis.h>

/** The buffers, shared by all queues, and the rules that came out of the handshake.  Lives longer than any queue. */
struct hv_nq_device {
    struct hv_shared receive, send;
    uint32_t receive_sections, receive_section_bytes;
    uint32_t send_sections, send_section_bytes; /* 0 sections: everything by page */
    uint32_t max_packets_per_message, max_message_bytes, packet_align_bytes; /* align: 2^n, 0 = 1 */
    uint32_t tx_copy_bytes;
    uint32_t frame_bytes_max; /* MTU and headers, with a VLAN tag */
    uint32_t tso_bytes_max;
    _Atomic uint32_t offloads; /* HV_NETVSC_*: switched on; may change while queues are polled */
    struct hv_log_hook log;
    /* Called under the queue's lock, from whichever thread drains: copy what is needed, wake the control thread. */
    void *hook_arg;
    void (*control)(void *arg, const void *rndis, size_t bytes); /* an RNDIS control message */
    void (*notify)(void *arg, const void *nvsp, size_t bytes);   /* in-band packet of the host */
    void (*answer)(void *arg, uint32_t tag, const void *nvsp, size_t bytes); /* to send_nvsp */
    void (*dead)(void *arg); /* the channel died: once */
};
/** What the hooks are given is a private copy, cut at these lengths.  `control` gets the whole range of the host. */
#define HV_NQ_NVSP_MAX 256u

/**
 * What a queue may use of the buffers: sections of the send buffer that are its own, and how many sections of the receive
 * buffer the host has for it, so that holding frames never takes them all.
 */
struct hv_nq_share {
    uint32_t first_section, section_count;
    uint32_t receive_sections;
};

/**
 * A paused queue on an open channel.  Fields of `device` up to the handshake's results may be filled in later, before
 * hv_nq_set_share(), which makes the queue fit for resume.  `descriptors`: messages with the host at a time, 16 .. 4096.
 * The channel stays the caller's.  0, -EINVAL, or as hv_dma_alloc().
 */
int hv_nq_create(const struct hv_nq_device *device, struct hv_channel *channel,
                 uint32_t descriptors, struct hv_netvsc_queue **ret_queue);
/** The channel is closed, and no frame is held or the device closes.  NULL is fine. */
void hv_nq_destroy(struct hv_netvsc_queue *queue);
/** While paused and not busy, nothing held; again whenever shares or buffers change.  0, -EBUSY, -EINVAL, or as hv_dma_alloc(). */
int hv_nq_set_share(struct hv_netvsc_queue *queue, const struct hv_nq_share *share);

/**
 * From pause to resume nobody polls the queue but hv_nq_poll(); bursts that come all the same do nothing.  Frames that
 * still arrive are given back to the host.
 */
void hv_nq_pause(struct hv_netvsc_queue *queue);
void hv_nq_resume(struct hv_netvsc_queue *queue);
/**
 * Before the channel is closed: the queue is dead (the hook `dead` is not called) and never touches the channel again.
 * What still works: reap gives all cookies back, held frames are released, statistics.
 */
void hv_nq_detach(struct hv_netvsc_queue *queue);

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
/** Messages with the host: frames to be sent and control messages. */
uint32_t hv_nq_busy(struct hv_netvsc_queue *queue);
/** Transfer-page packets that the host has not got back: staged, or with frames held by the application. */
uint32_t hv_nq_held(struct hv_netvsc_queue *queue);
struct hv_channel *hv_nq_channel(const struct hv_netvsc_queue *queue);

#endif
