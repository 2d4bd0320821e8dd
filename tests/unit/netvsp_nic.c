/* SPDX-License-Identifier: BSD-3-Clause */
#include "netvsp_nic.h"

#include <string.h>

static uint16_t nic_deliver(void *arg, int from_queue, int to_queue, const struct hv_frame *frames,
                            uint16_t count)
{
    struct nic *nic = arg;

    nic->from_queue = from_queue;
    nic->to_queue = to_queue;
    if (count > nic->room)
        count = (uint16_t)nic->room;
    nic->room -= count;
    for (uint16_t i = 0; i < count && nic->kept_count < NIC_KEEP; i++)
        net_flatten(&frames[i], &nic->kept[nic->kept_count++]);
    nic->frames += count;
    return count;
}

static void nic_carrier(void *arg, bool up)
{
    struct nic *nic = arg;

    nic->carrier = up;
    nic->told++;
}

int nic_open(struct nic *nic, const char *text, uint16_t queues, const void *scope)
{
    const struct hv_link_opts opts = {
        .text = text,
        .queues = queues,
        .frame_bytes_max = 1518,
        .mac = {2, 1, 2, 3, 4, 5},
        .scope = scope,
    };
    const struct hv_link_nic face = {nic, nic_deliver, nic_carrier};

    memset(nic, 0, sizeof(*nic));
    nic->room = UINT32_MAX;
    nic->carrier = -1;
    return hv_link_create(&opts, &face, nic->why, &nic->link);
}

void nic_close(struct nic *nic)
{
    hv_link_destroy(nic->link);
    nic->link = NULL;
}

struct hv_link_stats nic_stats(const struct nic *nic)
{
    struct hv_link_stats stats;

    hv_link_get_stats(nic->link, &stats);
    return stats;
}
