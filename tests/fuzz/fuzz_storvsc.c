/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The storage driver against a host that answers as it likes: changed, cut, repeated, misdirected or no answers, data of
 * its choice, notifications at any time, a channel that breaks, while requests of every kind are submitted and the
 * controller is reopened.  The input is what host and caller do, in the order in which they are asked.
 *
 * Beyond memory errors it finds: a request that completes twice or never, bytes written outside the caller's buffers,
 * packets that no host would take (loop_guest.c checks each), memory or channels left behind.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hv/storvsc.h>
#include <hv/wire/scsi.h>

#include "loop_disk.h"

#define REQUESTS     24
#define BUFFER_BYTES 20480u
#define GUARD        0x5c
#define DISK_BLOCKS  4096u
#define ACTIONS_MAX  200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

struct request {
    struct hv_storvsc_request request;
    struct iovec iov[3];
    bool busy;
    unsigned index;
};

struct scene {
    struct input in;
    struct loop_guest *loop;
    struct loop_disk disk;
    struct hv_storvsc *storvsc;
    struct hv_dma *dma;
    uint8_t *memory; /* a buffer per request, a guard page behind each */
    struct request requests[REQUESTS];
    unsigned busy;
};

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "fuzz_storvsc: %s\n", what);
    abort();
}

static uint8_t next(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

static uint16_t next16(struct input *in)
{
    uint16_t high = next(in);

    return (uint16_t)(high << 8 | next(in));
}

/* ---- The host ---- */

static void change(struct input *in, uint8_t *bytes, size_t size)
{
    for (unsigned n = next(in) % 8u; n; n--) {
        size_t at = next(in) % size;

        bytes[at] = next(in);
    }
}

static void change_data(struct input *in, const struct loop_packet *packet)
{
    uint8_t bytes[64];
    uint32_t n = next(in) % sizeof(bytes);

    if (!packet->pfn_count || packet->vstor.srb.data_in != HV_VSTOR_DATA_IN)
        return;
    n = loop_guest_copy_out(packet, bytes, n);
    if (n)
        change(in, bytes, n);
    (void)loop_guest_copy_in(packet, bytes, n);
}

static void notify(struct scene *s, uint16_t channel)
{
    struct hv_vstor_packet packet = {.hdr = {.operation = next(&s->in) % 16u}};

    (void)loop_guest_send(s->loop, channel, next(&s->in) % 16u, next(&s->in) % 4u ? 0 : 5, &packet,
                          next(&s->in) % (sizeof(packet) + 1));
}

static void sent(void *arg, struct loop_guest *loop, const struct loop_packet *packet)
{
    struct scene *s = arg;
    struct hv_vstor_packet reply;
    uint64_t id = packet->id;
    uint32_t bytes = packet->vstor_bytes;
    uint8_t how = next(&s->in);

    loop_disk_answer(&s->disk, packet, &reply);
    switch (how) {
    case 1:
        return;
    case 2:
        (void)loop_guest_send(loop, packet->channel, HV_PACKET_COMPLETION, id, &reply, bytes);
        break;
    case 3:
        id ^= UINT64_C(1) << (next(&s->in) % 64u);
        break;
    case 4:
        bytes = next(&s->in) % 100u;
        break;
    case 5:
        notify(s, packet->channel);
        break;
    case 6:
        loop_guest_break(loop, packet->channel, next(&s->in) & 1 ? -ENODEV : -EPROTO);
        break;
    case 7: /* an error in good form */
        reply.srb.srb_status = next(&s->in);
        reply.srb.scsi_status = next(&s->in);
        reply.srb.sense_bytes = next(&s->in) % 22u;
        reply.srb.data_transfer_bytes = next16(&s->in);
        for (unsigned i = 0; i < 14; i++)
            reply.srb.sense[i] = i == 0 ? (uint8_t)(0x70u | next(&s->in) % 4u) : next(&s->in);
        break;
    case 8:
        change(&s->in, (uint8_t *)&reply, sizeof(reply));
        break;
    case 9:
        change_data(&s->in, packet);
        break;
    default:
        break;
    }
    (void)loop_guest_send(loop, packet->channel, HV_PACKET_COMPLETION, id, &reply,
                          bytes < sizeof(reply) ? bytes : sizeof(reply));
}

/* ---- The caller ---- */

static void done(struct hv_storvsc_request *request, const struct hv_storvsc_result *result)
{
    struct scene *s = request->arg;
    struct request *r = (struct request *)request;

    check(r->busy, "completed twice");
    check(result->sense_bytes <= 20 && (result->sense || !result->sense_bytes), "sense");
    check(result->error <= 0, "error");
    r->busy = false;
    s->busy--;
}

static uint8_t *buffer(const struct scene *s, unsigned i)
{
    return s->memory + (size_t)i * (BUFFER_BYTES + HV_PAGE_BYTES);
}

static void make_iov(struct scene *s, struct request *r, uint32_t bytes)
{
    uint32_t at = next(&s->in);

    r->request.iov = r->iov;
    r->request.iov_count = 1u + next(&s->in) % 3u;
    for (uint32_t i = 0; i < r->request.iov_count; i++) {
        uint32_t n = i + 1 == r->request.iov_count ? bytes : next16(&s->in) % (bytes + 1);

        r->iov[i] = (struct iovec){buffer(s, r->index) + at, n};
        bytes -= n;
        at += n + next(&s->in) % 64u;
    }
}

static void submit(struct scene *s)
{
    struct hv_storvsc_queue *q = hv_storvsc_queue(s->storvsc, next(&s->in) % 3u);
    struct request *r = NULL;
    uint32_t block = s->disk.block_bytes;

    for (unsigned i = 0; i < REQUESTS && !r; i++)
        if (!s->requests[i].busy)
            r = &s->requests[i];
    if (!r || !q)
        return;
    memset(&r->request, 0, sizeof(r->request));
    r->request.op = next(&s->in) % 7u;
    r->request.flags = next(&s->in) % 8u;
    r->request.address.lun = next(&s->in) % 8u ? 0 : 1;
    r->request.lba = next16(&s->in) % 4200u;
    r->request.block_count = 1u + next(&s->in) % (16384u / block);
    r->request.done = done;
    r->request.arg = s;
    make_iov(s, r, (uint32_t)r->request.block_count * block);
    if (r->request.op == HV_STORVSC_WRITE_ZEROES || r->request.op == HV_STORVSC_UNMAP)
        r->request.block_count *= 1u + next(&s->in);
    if (r->request.op == HV_STORVSC_SCSI) {
        r->request.cdb_bytes = (uint8_t)(6u + 2u * (next(&s->in) % 6u));
        r->request.data_in = true;
        r->request.cdb[0] = HV_SCSI_INQUIRY;
        r->request.cdb[1] = next(&s->in);
        r->request.cdb[2] = next(&s->in);
        r->request.cdb[4] = 255;
    }
    if (hv_storvsc_submit(q, &r->request))
        return;
    r->busy = true;
    s->busy++;
}

static void sleep_and_wake(struct hv_storvsc_queue *q)
{
    (void)hv_storvsc_next_deadline_ms(q);
    (void)hv_storvsc_arm(q);
    hv_storvsc_disarm(q);
}

static bool act(struct scene *s)
{
    struct hv_storvsc_queue *q = hv_storvsc_queue(s->storvsc, next(&s->in) % 2u);

    if (!q)
        q = hv_storvsc_queue(s->storvsc, 0);
    switch (next(&s->in) % 16u) {
    case 0:
        return false;
    case 1:
        (void)hv_storvsc_rescan(s->storvsc);
        break;
    case 2:
        (void)hv_storvsc_reopen(s->storvsc, loop_guest_bus(s->loop));
        break;
    case 3:
        sleep_and_wake(q);
        break;
    case 4:
        notify(s, 0);
        break;
    case 5:
    case 6:
    case 7:
        (void)hv_storvsc_poll(q);
        break;
    case 8:
        (void)hv_storvsc_flush(q);
        break;
    default:
        submit(s);
        break;
    }
    return true;
}

static void set_up(struct scene *s)
{
    struct loop_guest_opts go = {.sent = sent, .arg = s, .sub_channels = 2, .openable = 2};
    struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
    uint8_t bits = next(&s->in);
    size_t bytes = REQUESTS * (size_t)(BUFFER_BYTES + HV_PAGE_BYTES);

    s->disk = (struct loop_disk){
        .version = bits & 1 ? HV_VSTOR_VERSION_4_2 : HV_VSTOR_VERSION_6_2,
        .max_transfer_bytes = bits & 2 ? 4096 : 16384,
        .max_sub_channels = bits & 4 ? 2 : 0,
        .blocks = DISK_BLOCKS,
        .block_bytes = bits & 8 ? 4096 : 512,
        .fua = bits & 16,
        .write_cache = true,
        .thin = true,
        .lbprz = bits & 32,
        .unmap_descriptors = 1,
        .unmap_max_blocks = 100,
        .unmap_granularity = 8,
        .write_same_max_blocks = bits & 64 ? 1000 : 0,
        .no_capacity16 = bits & 128,
    };
    go.room_bytes = next(&s->in) & 1 ? 400 : 0;
    so.channels = 3;
    so.depth = 1u + next(&s->in) % 8u;
    so.bounce_bytes = 4096;
    so.timeout_ms = 2;
    so.init_timeout_ms = 4;
    s->loop = loop_guest_create(&go);
    check(hv_dma_alloc(loop_guest_bus(s->loop), bytes, &s->dma) == 0, "memory");
    s->memory = hv_dma_address(s->dma);
    memset(s->memory, GUARD, bytes);
    for (unsigned i = 0; i < REQUESTS; i++)
        s->requests[i].index = i;
    if (hv_storvsc_open(loop_guest_bus(s->loop), NULL, &so, &s->storvsc))
        s->storvsc = NULL;
}

static void tear_down(struct scene *s)
{
    hv_storvsc_close(s->storvsc);
    check(s->busy == 0, "never completed");
    for (unsigned i = 0; i < REQUESTS; i++)
        for (unsigned k = 0; k < HV_PAGE_BYTES; k++)
            check(buffer(s, i)[BUFFER_BYTES + k] == GUARD, "guard overwritten");
    hv_dma_free(s->dma);
    loop_guest_destroy(s->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scene s; /* large */

    memset(&s, 0, sizeof(s));
    s.in = (struct input){data, size};
    set_up(&s);
    for (unsigned i = 0; s.storvsc && i < ACTIONS_MAX && s.in.left && act(&s); i++) {
    }
    tear_down(&s);
    return 0;
}
