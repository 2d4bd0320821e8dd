/* SPDX-License-Identifier: BSD-3-Clause */
/* sink: swallows.  loop: every sent frame comes back, to the queue that sent it. */
#include "link_impl.h"

static void sink_send(struct hv_link *link, struct hv_link_queue *queue,
                      const struct hv_frame *frames, uint16_t count)
{
    (void)link;
    hv_link_count(&queue->count.sent, count);
    hv_link_count(&queue->count.sent_bytes, hv_link_bytes(frames, count));
}

const struct hv_link_ops hv_link_sink = {.name = "sink", .send = sink_send};

struct loop_way {
    struct hv_link *link;
    struct hv_link_queue *queue;
};

static void loop_take(void *arg, const struct hv_frame *frames, uint16_t count)
{
    const struct loop_way *way = arg;
    uint16_t taken = hv_link_deliver(way->link, way->queue, way->queue->index, frames, count);

    hv_link_count(&way->queue->count.deliver_dropped, (uint64_t)(count - taken));
}

/* Straight from the guest's memory into the guest's receive buffer: the only copy is that of deliver(). */
static void loop_send(struct hv_link *link, struct hv_link_queue *queue,
                      const struct hv_frame *frames, uint16_t count)
{
    struct loop_way way = {link, queue};

    hv_link_count(&queue->count.sent, count);
    hv_link_count(&queue->count.sent_bytes, hv_link_bytes(frames, count));
    hv_link_finish(queue, frames, count, loop_take, &way);
}

const struct hv_link_ops hv_link_loop = {.name = "loop", .send = loop_send};
