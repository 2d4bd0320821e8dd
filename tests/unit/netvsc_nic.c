/* SPDX-License-Identifier: BSD-3-Clause */
#include "netvsc_nic.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_event(void *arg, enum hv_netvsc_event event)
{
    struct nic_fixture *f = arg;

    f->events[event]++;
    if (f->event_count < 32)
        f->order[f->event_count++] = event;
    if (f->on_event)
        f->on_event(f, event);
}

void nic_start(struct nic_fixture *f, const struct loop_nic_opts *lo,
               const struct hv_netvsc_opts *no)
{
    static const struct hv_guid instance = {{1}};
    struct hv_netvsc_opts opts = HV_NETVSC_OPTS_INIT;
    struct loop_nic_opts loop = {0};

    memset(f, 0, sizeof(*f));
    if (lo)
        loop = *lo;
    if (no)
        opts = *no;
    opts.event = on_event;
    opts.event_arg = f;
    opts.receive_bytes = opts.receive_bytes ? opts.receive_bytes : 256u << 10;
    opts.send_bytes = opts.send_bytes ? opts.send_bytes : 256u << 10;
    opts.timeout_ms = opts.timeout_ms ? opts.timeout_ms : 5000;
    opts.link_debounce_ms = opts.link_debounce_ms ? opts.link_debounce_ms : NIC_DEBOUNCE_MS;
    f->nic = loop_nic_create(&loop);
    f->error = hv_netvsc_open(loop_nic_bus(f->nic), &instance, &opts, &f->netvsc);
}

void nic_begin(struct nic_fixture *f, const struct loop_nic_opts *lo, uint16_t queues)
{
    struct hv_netvsc_opts no = HV_NETVSC_OPTS_INIT;

    no.max_queues = queues;
    nic_start(f, lo, &no);
    if (f->error) {
        fprintf(stderr, "open: %s\n", strerror(-f->error));
        abort();
    }
}

void nic_stop(struct nic_fixture *f)
{
    hv_netvsc_close(f->netvsc);
    loop_nic_destroy(f->nic);
}

bool nic_is_ready(const struct nic_fixture *f)
{
    struct pollfd pfd = {.fd = hv_netvsc_fd(f->netvsc), .events = POLLIN};

    return poll(&pfd, 1, 0) == 1;
}
