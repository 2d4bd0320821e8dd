/* SPDX-License-Identifier: BSD-3-Clause */
#include "storvsc_loop.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct loop_disk fixture_disk(void)
{
    return (struct loop_disk){
        .max_transfer_bytes = 65536,
        .blocks = FIXTURE_DISK_BYTES / 512,
        .block_bytes = 512,
        .write_cache = true,
        .fua = true,
        .thin = true,
        .lbprz = true,
        .unmap_max_blocks = UINT32_MAX,
        .unmap_granularity = 1,
        .unmap_descriptors = 4096,
        .write_same_max_blocks = 16384,
        .write_same_unmap = true,
        .data = (uint8_t *)1, /* to be allocated */
    };
}

static void note_id(struct fixture *f, uint64_t id)
{
    for (unsigned i = 0; i < f->id_count; i++)
        f->ids_repeated += f->ids[i] == id;
    if (f->id_count < FIXTURE_IDS)
        f->ids[f->id_count++] = id;
}

static void sent(void *arg, struct loop_guest *loop, const struct loop_packet *packet)
{
    struct fixture *f = arg;
    struct hv_vstor_packet reply;

    f->last = *packet;
    f->last_bytes = 0;
    if (packet->pfn_count && packet->vstor.srb.data_in == HV_VSTOR_DATA_OUT)
        f->last_bytes = loop_guest_copy_out(packet, f->last_data, sizeof(f->last_data));
    note_id(f, packet->id);
    if (f->silent)
        return;
    loop_disk_answer(f->disk, packet, &reply);
    if (f->fail_key && packet->vstor.hdr.operation == HV_VSTOR_EXECUTE_SRB &&
        packet->vstor.srb.cdb[0] == f->fail_opcode) {
        memset(&reply.srb, 0, sizeof(reply.srb));
        reply.srb.srb_status = HV_SRB_ERROR | HV_SRB_SENSE_VALID;
        reply.srb.scsi_status = 2;
        reply.srb.sense_bytes = 18;
        reply.srb.sense[0] = 0x70;
        reply.srb.sense[2] = f->fail_key;
        reply.srb.sense[12] = (uint8_t)(f->fail_asc >> 8);
        reply.srb.sense[13] = (uint8_t)f->fail_asc;
    }
    (void)loop_guest_send(loop, packet->channel, HV_PACKET_COMPLETION, packet->id, &reply,
                          packet->vstor_bytes);
}

void fixture_fail_opcode(struct fixture *f, uint8_t opcode, uint8_t key, uint16_t asc)
{
    f->fail_opcode = opcode;
    f->fail_key = key;
    f->fail_asc = asc;
}

static void count_event(void *arg, enum hv_storvsc_event event, const struct hv_storvsc_lun *lun)
{
    struct fixture *f = arg;

    (void)lun;
    f->events[event]++;
}

void fixture_start_with(struct fixture *f, struct loop_disk *disk, const struct loop_guest_opts *go,
                        const struct hv_storvsc_opts *so)
{
    struct loop_guest_opts opts = {0};
    size_t bytes = disk->blocks * disk->block_bytes;

    memset(f, 0, sizeof(*f));
    if (go)
        opts = *go;
    opts.sent = sent;
    opts.arg = f;
    if (disk->data) {
        f->data = disk->data = malloc(bytes);
        if (!f->data)
            abort();
        memset(f->data, 0xa5, bytes);
    }
    f->disk = disk;
    f->loop = loop_guest_create(&opts);
    f->opts = (struct hv_storvsc_opts)HV_STORVSC_OPTS_INIT;
    if (so)
        f->opts = *so;
    f->opts.event = count_event;
    f->opts.event_arg = f;
    if (!f->opts.init_timeout_ms)
        f->opts.init_timeout_ms = 5000;
    if (hv_dma_alloc(loop_guest_bus(f->loop), FIXTURE_MEMORY_BYTES, &f->dma))
        abort();
    f->memory = hv_dma_address(f->dma);
    f->error = hv_storvsc_open(loop_guest_bus(f->loop), NULL, &f->opts, &f->storvsc);
}

void fixture_start(struct fixture *f, struct loop_disk *disk, const struct loop_guest_opts *go)
{
    fixture_start_with(f, disk, go, NULL);
    if (f->error) {
        fprintf(stderr, "open: %s\n", strerror(-f->error));
        abort();
    }
}

void fixture_stop(struct fixture *f)
{
    hv_storvsc_close(f->storvsc);
    hv_dma_free(f->dma);
    loop_guest_destroy(f->loop);
    free(f->data);
}

static void io_done(struct hv_storvsc_request *request, const struct hv_storvsc_result *result)
{
    struct test_io *io = request->arg;

    io->result = *result;
    if (result->sense)
        memcpy(io->sense, result->sense, result->sense_bytes);
    io->result.sense = NULL;
    io->done_count++;
}

struct test_io fixture_io(enum hv_storvsc_op op, uint64_t lba, uint64_t count, void *data,
                          size_t bytes)
{
    struct test_io io = {.iov = {data, bytes}};

    io.request.op = op;
    io.request.lba = lba;
    io.request.block_count = count;
    io.request.iov_count = bytes ? 1 : 0;
    return io;
}

int fixture_submit(struct fixture *f, struct test_io *io)
{
    io->request.iov = &io->iov;
    io->request.done = io_done;
    io->request.arg = io;
    return hv_storvsc_submit(hv_storvsc_queue(f->storvsc, 0), &io->request);
}

int fixture_run(struct fixture *f, struct test_io *io)
{
    struct hv_storvsc_queue *q = hv_storvsc_queue(f->storvsc, 0);
    time_t end = time(NULL) + 5;
    int rc = fixture_submit(f, io);

    if (rc)
        return rc;
    while (!io->done_count && time(NULL) < end) {
        rc = hv_storvsc_poll(q);
        if (rc < 0)
            return rc;
    }
    return io->done_count == 1 ? io->result.error : -ETIME;
}
