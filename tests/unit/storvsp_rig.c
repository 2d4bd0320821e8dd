/* SPDX-License-Identifier: BSD-3-Clause */
#include "storvsp_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/base/endian.h>

#include "suite.h"

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "storvsp rig: %s\n", what);
    abort();
}

static void log_line(void *arg, enum hv_log_level level, const char *line)
{
    struct storvsp_rig *rig = arg;
    size_t used = strlen(rig->log);

    (void)level;
    (void)snprintf(rig->log + used, sizeof(rig->log) - used, "%s\n", line);
}

struct hv_disk *rig_disk(struct storvsp_rig *rig)
{
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;
    char why[HV_DISK_WHY_BYTES];
    struct hv_disk *disk;

    (void)rig;
    opts.store = HV_DISK_MEMORY;
    opts.bytes = RIG_BLOCKS * 512u;
    must(!hv_disk_create(&opts, why, &disk), "disk");
    return disk;
}

void rig_init(struct storvsp_rig *rig, const struct hv_storvsp_opts *opts, unsigned luns,
              uint32_t data_bytes)
{
    struct hv_storvsp_opts defaults = HV_STORVSP_OPTS_INIT;

    memset(rig, 0, sizeof(*rig));
    rig->loop = loop_create(data_bytes ? data_bytes : 65536);
    if (opts)
        defaults = *opts;
    defaults.log = (struct hv_log_hook){.line = log_line, .arg = rig};
    must(!hv_storvsp_create(loop_host(rig->loop), &defaults, &rig->storvsp), rig->log);
    for (unsigned i = 0; i < luns; i++) {
        rig->disks[i] = rig_disk(rig);
        must(!hv_storvsp_attach(rig->storvsp, rig->disks[i], (uint8_t)i), "attach");
    }
    must(!loop_open(rig->loop, 0), "open");
}

static void on_gone(void *arg)
{
    struct storvsp_rig *rig = arg;

    rig->destroyed = true;
}

void rig_fini(struct storvsp_rig *rig)
{
    hv_storvsp_destroy(rig->storvsp, on_gone, rig);
    CU_ASSERT(loop_settle(rig->loop));
    CU_ASSERT(rig->destroyed);
    loop_destroy(rig->loop);
    for (size_t i = 0; i < HV_COUNT_OF(rig->disks); i++)
        hv_disk_destroy(rig->disks[i]);
}

uint8_t *rig_page(struct storvsp_rig *rig, uint32_t page)
{
    return rig->loop->memory + (size_t)page * HV_PAGE_BYTES;
}

void rig_send(struct storvsp_rig *rig, uint16_t index, uint64_t id, const void *packet,
              uint32_t bytes)
{
    struct hv_packet_desc desc = {.trans_id = id,
                                  .payload_bytes = bytes,
                                  .type = HV_PACKET_INBAND,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};

    must(!loop_send(rig->loop, index, &desc, NULL, packet), "ring to the host is full");
}

bool rig_receive(struct storvsp_rig *rig, uint16_t index, struct rig_reply *ret_reply)
{
    struct hv_host_channel *channel = &rig->loop->channels[index];
    struct hv_packet packet;

    (void)loop_poll(rig->loop);
    if (hv_ring_rx_peek(&channel->guest_rx, &packet))
        return false;
    memset(ret_reply, 0, sizeof(*ret_reply));
    ret_reply->id = packet.trans_id;
    ret_reply->type = packet.type;
    ret_reply->bytes = packet.payload_bytes;
    memcpy(&ret_reply->packet, packet.payload,
           hv_min_u32(packet.payload_bytes, sizeof(ret_reply->packet)));
    (void)hv_ring_rx_release(&channel->guest_rx);
    return true;
}

uint32_t rig_operation(struct storvsp_rig *rig, uint16_t index, uint32_t operation,
                       uint16_t argument)
{
    struct hv_vstor_packet packet = {.hdr = {.operation = operation, .flags = 1}};
    struct rig_reply reply;

    packet.version.version = argument;
    rig_send(rig, index, operation, &packet, sizeof(packet));
    if (!rig_receive(rig, index, &reply))
        return UINT32_MAX;
    CU_ASSERT_EQUAL(reply.id, operation);
    CU_ASSERT_EQUAL(reply.bytes, sizeof(packet));
    CU_ASSERT_EQUAL(reply.type, HV_PACKET_COMPLETION);
    CU_ASSERT_EQUAL(reply.packet.hdr.operation, HV_VSTOR_COMPLETE_IO);
    return reply.packet.hdr.status;
}

void rig_handshake(struct storvsp_rig *rig, uint16_t version)
{
    CU_ASSERT_EQUAL(rig_operation(rig, 0, HV_VSTOR_BEGIN_INITIALIZATION, 0), 0);
    CU_ASSERT_EQUAL(rig_operation(rig, 0, HV_VSTOR_QUERY_PROTOCOL_VERSION, version), 0);
    CU_ASSERT_EQUAL(rig_operation(rig, 0, HV_VSTOR_QUERY_PROPERTIES, 0), 0);
    CU_ASSERT_EQUAL(rig_operation(rig, 0, HV_VSTOR_END_INITIALIZATION, 0), 0);
}

struct rig_srb rig_rw(bool write, uint8_t lun, uint64_t lba, uint32_t blocks)
{
    struct rig_srb srb = {.lun = lun,
                          .cdb_bytes = 16,
                          .data_in = write ? HV_VSTOR_DATA_OUT : HV_VSTOR_DATA_IN,
                          .data_bytes = blocks * 512,
                          .range_bytes = blocks * 512};

    srb.cdb[0] = write ? HV_SCSI_WRITE_16 : HV_SCSI_READ_16;
    hv_put_be64(srb.cdb + 2, lba);
    hv_put_be32(srb.cdb + 10, blocks);
    return srb;
}

struct rig_srb rig_command(uint8_t lun, uint8_t op)
{
    return (struct rig_srb){.lun = lun, .cdb = {op}, .cdb_bytes = 6, .data_in = HV_VSTOR_DATA_NONE};
}

void rig_send_srb(struct storvsp_rig *rig, uint16_t index, uint64_t id, const struct rig_srb *srb)
{
    struct hv_vstor_packet packet = {.hdr = {.operation = HV_VSTOR_EXECUTE_SRB, .flags = 1}};
    struct hv_packet_desc desc = {.trans_id = id,
                                  .payload_bytes = srb->packet_bytes ? srb->packet_bytes : 64,
                                  .type = HV_PACKET_INBAND,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};
    uint32_t range[4] = {0, 1, srb->range_bytes, srb->page_offset};
    uint64_t ext[2 + LOOP_PAGES];
    uint32_t pages = (srb->page_offset + srb->range_bytes + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;

    packet.srb.length = desc.payload_bytes >= 64 ? HV_VSTOR_SRB_V2_BYTES : HV_VSTOR_SRB_V1_BYTES;
    packet.srb.path_id = srb->path;
    packet.srb.target_id = srb->target;
    packet.srb.lun = srb->lun;
    packet.srb.cdb_bytes = srb->cdb_bytes;
    packet.srb.sense_bytes = HV_VSTOR_SENSE_V2_BYTES;
    packet.srb.data_in = srb->data_in;
    packet.srb.data_transfer_bytes = srb->data_bytes;
    memcpy(packet.srb.cdb, srb->cdb, sizeof(packet.srb.cdb));
    if (srb->range_bytes) {
        desc.type = HV_PACKET_GPA_DIRECT;
        desc.ext_bytes = 16 + 8 * pages;
        memcpy(ext, range, sizeof(range));
        for (uint32_t i = 0; i < pages; i++)
            ext[2 + i] = LOOP_FIRST_PFN + srb->first_page + i;
    }
    must(!loop_send(rig->loop, index, &desc, ext, &packet), "ring to the host is full");
}

struct rig_reply rig_do(struct storvsp_rig *rig, const struct rig_srb *srb)
{
    struct rig_reply reply;

    rig_send_srb(rig, 0, 4711, srb);
    if (!rig_receive(rig, 0, &reply))
        memset(&reply, 0, sizeof(reply));
    CU_ASSERT_EQUAL(reply.id, 4711);
    return reply;
}
