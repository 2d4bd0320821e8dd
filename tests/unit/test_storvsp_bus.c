/* SPDX-License-Identifier: BSD-3-Clause */
/* LUNs that come and go, places where none is, resets, sub-channels, full rings. */
#include <errno.h>
#include <string.h>

#include <hv/base/endian.h>
#include <hv/wire/ring.h>

#include "scsi_impl.h"
#include "storvsp_rig.h"
#include "suite.h"

static struct rig_srb report_luns(uint8_t path, uint8_t target, uint8_t lun, uint32_t bytes)
{
    struct rig_srb srb = {.path = path,
                          .target = target,
                          .lun = lun,
                          .cdb = {HV_SCSI_REPORT_LUNS},
                          .cdb_bytes = 12,
                          .data_in = HV_VSTOR_DATA_IN,
                          .data_bytes = bytes,
                          .range_bytes = bytes};

    hv_put_be32(srb.cdb + 6, bytes);
    return srb;
}

static struct rig_srb inquiry(uint8_t path, uint8_t target, uint8_t lun, uint16_t bytes)
{
    struct rig_srb srb = {.path = path,
                          .target = target,
                          .lun = lun,
                          .cdb = {HV_SCSI_INQUIRY},
                          .cdb_bytes = 6,
                          .data_in = HV_VSTOR_DATA_IN,
                          .data_bytes = bytes,
                          .range_bytes = bytes};

    hv_put_be16(srb.cdb + 3, bytes);
    return srb;
}

static void on_gone(void *arg)
{
    (*(int *)arg)++;
}

static void test_report_luns(void)
{
    static const struct {
        const char *name;
        uint8_t path, target, lun;
        uint32_t bytes, moved, list;
    } rows[] = {
        {"by LUN 0", 0, 0, 0, 4096, 24, 16}, {"by an absent LUN", 0, 0, 9, 4096, 24, 16},
        {"cut", 0, 0, 0, 16, 16, 16},        {"path 1", 1, 0, 0, 4096, 8, 0},
        {"target 1", 0, 1, 0, 4096, 8, 0},   {"too small", 0, 0, 0, 15, 0, 0},
    };
    struct hv_disk *disk;
    struct storvsp_rig rig;
    int gone = 0;

    rig_init(&rig, NULL, 3, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    /* LUN 0 and 2 leave, 5 comes: the list needs no LUN 0. */
    CU_ASSERT_EQUAL(hv_storvsp_detach(rig.storvsp, 0, on_gone, &gone), 0);
    CU_ASSERT_EQUAL(hv_storvsp_detach(rig.storvsp, 2, on_gone, &gone), 0);
    disk = rig.disks[0];
    CU_ASSERT_EQUAL(gone, 0); /* not before the control thread is at it */
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT_EQUAL(gone, 2);
    CU_ASSERT_EQUAL(hv_storvsp_attach(rig.storvsp, disk, 5), 0);
    CU_ASSERT_EQUAL(hv_storvsp_attach(rig.storvsp, disk, 5), -EBUSY);
    CU_ASSERT_EQUAL(hv_storvsp_attach(rig.storvsp, disk, 64), -EINVAL);
    CU_ASSERT_EQUAL(hv_storvsp_detach(rig.storvsp, 0, on_gone, &gone), -ENOENT);
    CU_ASSERT(loop_settle(rig.loop));
    while (!hv_ring_rx_peek(&rig.loop->channels[0].guest_rx, &(struct hv_packet){0}))
        (void)hv_ring_rx_release(&rig.loop->channels[0].guest_rx);
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rig_srb srb = report_luns(rows[i].path, rows[i].target, rows[i].lun, rows[i].bytes);
        struct rig_reply reply;

        memset(rig_page(&rig, 0), 0xff, 4096);
        reply = rig_do(&rig, &srb);
        HV_CHECK_ROW(rows[i].name,
                     (reply.packet.srb.srb_status == HV_SRB_SUCCESS) == (rows[i].moved != 0));
        HV_CHECK_ROW(rows[i].name, reply.packet.srb.data_transfer_bytes == rows[i].moved);
        if (rows[i].moved >= 8)
            HV_CHECK_ROW(rows[i].name, hv_get_be32(rig_page(&rig, 0)) == rows[i].list);
        if (rows[i].moved >= 16)
            HV_CHECK_ROW(rows[i].name, hv_get_be64(rig_page(&rig, 0) + 8) == UINT64_C(1) << 48);
        if (rows[i].moved >= 24)
            HV_CHECK_ROW(rows[i].name, hv_get_be64(rig_page(&rig, 0) + 16) == UINT64_C(5) << 48);
        HV_CHECK_ROW(rows[i].name, rig_page(&rig, 0)[rows[i].moved] == 0xff);
    }
    rig_fini(&rig);
}

static void test_absent_lun(void)
{
    struct rig_srb ask = inquiry(0, 0, 7, 96), vital = inquiry(0, 0, 7, 96);
    struct rig_srb ready = rig_command(7, HV_SCSI_TEST_UNIT_READY), far = inquiry(1, 3, 0, 8);
    struct rig_srb list = report_luns(0, 0, 0, 4096);
    struct storvsp_rig rig;
    struct rig_reply reply;

    rig_init(&rig, NULL, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    reply = rig_do(&rig, &ask);
    CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_SUCCESS);
    CU_ASSERT_EQUAL(reply.packet.srb.data_transfer_bytes, 36);
    CU_ASSERT_EQUAL(rig_page(&rig, 0)[0], 0x7f);
    CU_ASSERT_EQUAL(rig_page(&rig, 0)[4], 31);
    reply = rig_do(&rig, &far);
    CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_SUCCESS);
    CU_ASSERT_EQUAL(reply.packet.srb.data_transfer_bytes, 8);
    rig_page(&rig, 0)[0] = 0xee;
    ask.data_in = list.data_in = HV_VSTOR_DATA_OUT; /* "here is data": nothing is written over it */
    reply = rig_do(&rig, &ask);
    CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_INVALID_REQUEST | HV_SRB_SENSE_VALID);
    reply = rig_do(&rig, &list);
    CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_INVALID_REQUEST | HV_SRB_SENSE_VALID);
    CU_ASSERT_EQUAL(reply.packet.srb.data_transfer_bytes, 0);
    CU_ASSERT_EQUAL(rig_page(&rig, 0)[0], 0xee);
    vital.cdb[1] = 1;
    reply = rig_do(&rig, &vital);
    CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_INVALID_REQUEST | HV_SRB_SENSE_VALID);
    reply = rig_do(&rig, &ready);
    CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_INVALID_LUN); /* no sense flag */
    CU_ASSERT_EQUAL(reply.packet.srb.scsi_status, HV_SCSI_STATUS_CHECK_CONDITION);
    CU_ASSERT_EQUAL(reply.packet.hdr.status, HV_NTSTATUS_NO_DEVICE);
    rig_fini(&rig);
}

static void test_hot_plug_is_told(void)
{
    static const struct {
        uint16_t version;
        uint32_t bytes;
        bool enumerate;
    } rows[] = {{HV_VSTOR_VERSION_6_2, 64, true},
                {HV_VSTOR_VERSION_4_2, 48, true},
                {HV_VSTOR_VERSION_2_0, 48, false}};
    struct rig_srb ready = rig_command(0, HV_SCSI_TEST_UNIT_READY);

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct storvsp_rig rig;
        struct rig_reply reply;
        int gone = 0;

        rig_init(&rig, NULL, 1, 0);
        rig.disks[1] = rig_disk(&rig);
        rig.disks[2] = rig_disk(&rig);
        /* Before READY nobody is told: the guest will look anyway. */
        CU_ASSERT_EQUAL(hv_storvsp_attach(rig.storvsp, rig.disks[2], 2), 0);
        CU_ASSERT_FALSE(rig_receive(&rig, 0, &reply));
        rig_handshake(&rig, rows[i].version);
        CU_ASSERT_FALSE(rig_receive(&rig, 0, &reply));
        CU_ASSERT_EQUAL(rig_do(&rig, &ready).packet.srb.scsi_status, HV_SCSI_STATUS_GOOD);
        CU_ASSERT_EQUAL(hv_storvsp_attach(rig.storvsp, rig.disks[1], 1), 0);
        CU_ASSERT(loop_arm(rig.loop, 0)); /* a sleeping worker would be woken */
        CU_ASSERT_EQUAL(rig_receive(&rig, 0, &reply), rows[i].enumerate);
        if (rows[i].enumerate) {
            CU_ASSERT_EQUAL(reply.id, 0);
            CU_ASSERT_EQUAL(reply.type, HV_PACKET_INBAND);
            CU_ASSERT_EQUAL(reply.bytes, rows[i].bytes);
            CU_ASSERT_EQUAL(reply.packet.hdr.operation, HV_VSTOR_ENUMERATE_BUS);
        } else {
            reply = rig_do(&rig, &ready); /* the other way to tell it */
            CU_ASSERT_EQUAL(reply.packet.srb.sense[2], HV_SENSE_UNIT_ATTENTION);
            CU_ASSERT_EQUAL(hv_get_be16(reply.packet.srb.sense + 12), HV_ASC_LUNS_CHANGED);
        }
        CU_ASSERT_EQUAL(rig_do(&rig, &ready).packet.srb.scsi_status, HV_SCSI_STATUS_GOOD);
        CU_ASSERT_EQUAL(hv_storvsp_detach(rig.storvsp, 1, on_gone, &gone), 0);
        CU_ASSERT(rig_receive(&rig, 0, &reply));
        CU_ASSERT_EQUAL(reply.packet.hdr.operation, HV_VSTOR_REMOVE_DEVICE);
        CU_ASSERT_EQUAL(reply.id, 0);
        CU_ASSERT_EQUAL(gone, 1);
        CU_ASSERT_FALSE(rig_receive(&rig, 0, &reply));
        CU_ASSERT_FALSE(loop_arm(rig.loop, 0));
        rig_fini(&rig);
    }
}

/** Who asked for the list knows; the attention is not told on each LUN after that. */
static void test_report_luns_settles(void)
{
    struct rig_srb ready = rig_command(0, HV_SCSI_TEST_UNIT_READY);
    struct rig_srb list = report_luns(0, 0, 0, 4096);
    struct storvsp_rig rig;

    rig_init(&rig, NULL, 2, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_2_0);
    for (ready.lun = 0; ready.lun < 2; ready.lun++)
        CU_ASSERT_EQUAL(rig_do(&rig, &ready).packet.srb.scsi_status, HV_SCSI_STATUS_GOOD);
    rig.disks[2] = rig_disk(&rig);
    CU_ASSERT_EQUAL(hv_storvsp_attach(rig.storvsp, rig.disks[2], 2), 0);
    ready.lun = 0;
    CU_ASSERT_EQUAL(rig_do(&rig, &ready).packet.srb.scsi_status, HV_SCSI_STATUS_CHECK_CONDITION);
    CU_ASSERT_EQUAL(rig_do(&rig, &list).packet.srb.data_transfer_bytes, 8 + 3 * 8);
    for (ready.lun = 0; ready.lun < 3; ready.lun++)
        CU_ASSERT_EQUAL(rig_do(&rig, &ready).packet.srb.scsi_status, HV_SCSI_STATUS_GOOD);
    rig_fini(&rig);
}

/** A disk is gone for new commands at once, and for its owner when no channel uses it any more. */
static void test_detach_lets_channels_go_first(void)
{
    struct rig_srb srb = rig_rw(false, 1, 0, 1);
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
    struct storvsp_rig rig;
    struct rig_reply reply;
    int gone = 0;

    opts.max_sub_channels = 1;
    rig_init(&rig, &opts, 2, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    CU_ASSERT_EQUAL(loop_open(rig.loop, 1), 0);
    CU_ASSERT_EQUAL(rig_do(&rig, &srb).packet.srb.srb_status, HV_SRB_SUCCESS);
    rig_send_srb(&rig, 1, 9, &srb);
    CU_ASSERT(rig_receive(&rig, 1, &reply));
    CU_ASSERT_EQUAL(hv_storvsp_detach(rig.storvsp, 1, on_gone, &gone), 0);
    CU_ASSERT_PTR_NULL(hv_storvsp_disk(rig.storvsp, 1));
    CU_ASSERT_PTR_EQUAL(hv_storvsp_disk(rig.storvsp, 0), rig.disks[0]);
    /* Only the primary has noticed so far. */
    (void)rig.loop->ops->poll(rig.loop->channels[0].ctx);
    CU_ASSERT_PTR_NULL(rig.loop->work);
    (void)rig.loop->ops->poll(rig.loop->channels[1].ctx);
    CU_ASSERT_PTR_NOT_NULL(rig.loop->work);
    CU_ASSERT_EQUAL(gone, 0);
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT_EQUAL(gone, 1);
    CU_ASSERT(rig_receive(&rig, 0, &reply)); /* REMOVE_DEVICE */
    CU_ASSERT_EQUAL(rig_do(&rig, &srb).packet.srb.srb_status, HV_SRB_INVALID_LUN);
    rig_fini(&rig);
}

static void nothing(struct hv_scsi_command *command)
{
    (void)command;
}

/** What another guest hears from a disk that is on no bus. */
static uint8_t status_for_stranger(struct hv_disk *disk)
{
    struct hv_scsi_command command = {
        .cdb = {HV_SCSI_TEST_UNIT_READY}, .cdb_bytes = 6, .initiator = 99, .done = nothing};
    struct hv_disk_queue *queue = NULL;

    CU_ASSERT_EQUAL_FATAL(hv_disk_queue_create(disk, 1, &queue), 0);
    hv_disk_execute(queue, &command);
    hv_disk_queue_destroy(queue);
    return command.scsi_status;
}

/** RESERVE(6) ends with the nexus, and there is none without a bus: nobody could end it any more. */
static void test_reservations_leave_with_the_bus(void)
{
    struct rig_srb reserve = rig_command(0, HV_SCSI_RESERVE_6);
    struct storvsp_rig rig;
    int gone = 0;

    rig_init(&rig, NULL, 2, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    for (uint8_t lun = 0; lun < 2; lun++) {
        reserve.lun = lun;
        CU_ASSERT_EQUAL(rig_do(&rig, &reserve).packet.srb.srb_status, HV_SRB_SUCCESS);
        CU_ASSERT_EQUAL(status_for_stranger(rig.disks[lun]), HV_SCSI_STATUS_RESERVATION_CONFLICT);
    }
    CU_ASSERT_EQUAL(hv_storvsp_detach(rig.storvsp, 1, on_gone, &gone), 0);
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT_EQUAL(status_for_stranger(rig.disks[1]), HV_SCSI_STATUS_GOOD);
    CU_ASSERT_EQUAL(status_for_stranger(rig.disks[0]), HV_SCSI_STATUS_RESERVATION_CONFLICT);
    hv_storvsp_destroy(rig.storvsp, on_gone, &gone);
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT_EQUAL(gone, 2);
    CU_ASSERT_EQUAL(status_for_stranger(rig.disks[0]), HV_SCSI_STATUS_GOOD);
    loop_destroy(rig.loop);
    hv_disk_destroy(rig.disks[0]);
    hv_disk_destroy(rig.disks[1]);
}

static void test_reservations_leave_with_the_guest(void)
{
    struct rig_srb reserve = rig_command(0, HV_SCSI_RESERVE_6);
    struct storvsp_rig rig;

    rig_init(&rig, NULL, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    CU_ASSERT_EQUAL(rig_do(&rig, &reserve).packet.srb.srb_status, HV_SRB_SUCCESS);
    loop_close(rig.loop, 0);
    CU_ASSERT_EQUAL(status_for_stranger(rig.disks[0]), HV_SCSI_STATUS_RESERVATION_CONFLICT);
    loop_guest_gone(rig.loop);
    CU_ASSERT_EQUAL(status_for_stranger(rig.disks[0]), HV_SCSI_STATUS_GOOD);
    rig_fini(&rig);
}

static void test_no_sub_channels_before_5_1(void)
{
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
    struct storvsp_rig rig;

    opts.max_sub_channels = 3;
    rig_init(&rig, &opts, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_4_2);
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_CREATE_SUB_CHANNELS, 1),
                    HV_NTSTATUS_INVALID_PARAMETER);
    CU_ASSERT_EQUAL(rig.loop->sub_channels_offered, 0);
    rig_fini(&rig);
}

static void test_sub_channels(void)
{
    struct rig_srb srb = rig_rw(false, 0, 0, 1);
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
    struct storvsp_rig rig;
    struct rig_reply reply;

    opts.max_sub_channels = 3;
    rig_init(&rig, &opts, 1, 0);
    CU_ASSERT_EQUAL(rig.loop->device.max_sub_channels, 3);
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_BEGIN_INITIALIZATION, 0), 0);
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_QUERY_PROTOCOL_VERSION, 0x0602), 0);
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_QUERY_PROPERTIES, 0), 0);
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_CREATE_SUB_CHANNELS, 4),
                    HV_NTSTATUS_INVALID_PARAMETER);
    CU_ASSERT_EQUAL(rig.loop->sub_channels_offered, 0);
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_CREATE_SUB_CHANNELS, 2), 0);
    CU_ASSERT_EQUAL(rig.loop->sub_channels_offered, 2);
    /* I/O that comes early is held, not lost, and keeps no worker awake. */
    CU_ASSERT_EQUAL(loop_open(rig.loop, 1), 0);
    CU_ASSERT_EQUAL(loop_open(rig.loop, 2), 0);
    rig_send_srb(&rig, 1, 31, &srb);
    rig_send_srb(&rig, 2, 32, &srb);
    CU_ASSERT_FALSE(rig_receive(&rig, 1, &reply));
    CU_ASSERT(rig.loop->channels[1].held);
    CU_ASSERT_FALSE(loop_arm(rig.loop, 1));
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_END_INITIALIZATION, 0), 0);
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT(rig_receive(&rig, 1, &reply));
    CU_ASSERT_EQUAL(reply.id, 31);
    CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_SUCCESS);
    CU_ASSERT(rig_receive(&rig, 2, &reply));
    CU_ASSERT_FALSE(rig.loop->channels[1].held);
    /* The handshake is the primary's. */
    CU_ASSERT_EQUAL(rig_operation(&rig, 1, HV_VSTOR_CREATE_SUB_CHANNELS, 3),
                    HV_NTSTATUS_INVALID_STATE);
    CU_ASSERT_EQUAL(rig_operation(&rig, 0, HV_VSTOR_CREATE_SUB_CHANNELS, 3), 0);
    CU_ASSERT_EQUAL(rig.loop->sub_channels_offered, 3);
    /* Without its primary a sub-channel waits again. */
    loop_close(rig.loop, 0);
    CU_ASSERT(loop_settle(rig.loop));
    rig_send_srb(&rig, 1, 33, &srb);
    CU_ASSERT_FALSE(rig_receive(&rig, 1, &reply));
    rig_fini(&rig);
}

/** Send a reset, poll, see whether it was answered. */
static bool reset(struct storvsp_rig *rig, uint16_t index, uint32_t operation, uint8_t lun)
{
    struct hv_vstor_packet packet = {.hdr = {.operation = operation, .flags = 1}};
    struct rig_reply reply;

    packet.srb.lun = lun;
    rig_send(rig, index, 1000, &packet, 64);
    for (int i = 0; i < 4; i++)
        if (rig_receive(rig, index, &reply))
            return reply.id == 1000 && reply.packet.hdr.status == 0;
    return false;
}

static void test_reset_waits_for_its_scope(void)
{
    static const struct {
        const char *name;
        uint32_t operation;
        uint8_t lun;
        uint16_t busy_channel;
        uint8_t busy_path;
        bool waits;
    } rows[] = {
        {"LUN, busy", HV_VSTOR_RESET_LUN, 0, 0, 0, true},
        {"LUN, busy elsewhere", HV_VSTOR_RESET_LUN, 1, 0, 0, false},
        {"LUN, busy in another channel", HV_VSTOR_RESET_LUN, 0, 1, 0, true},
        {"bus", HV_VSTOR_RESET_BUS, 1, 0, 0, true},
        {"bus, busy on another", HV_VSTOR_RESET_BUS, 1, 0, 1, false},
        {"adapter, busy on another bus", HV_VSTOR_RESET_ADAPTER, 1, 0, 1, true},
        {"adapter, busy in another channel", HV_VSTOR_RESET_ADAPTER, 1, 1, 0, true},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rig_srb srb = rig_rw(false, 0, 0, 1);
        struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
        struct storvsp_rig rig;
        struct rig_reply reply;

        opts.max_sub_channels = 1;
        opts.fault = "delay:600000@1";
        rig_init(&rig, &opts, 2, 0);
        rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
        CU_ASSERT_EQUAL(loop_open(rig.loop, 1), 0);
        srb.path = rows[i].busy_path;
        rig_send_srb(&rig, rows[i].busy_channel, 55, &srb); /* in flight for ten minutes */
        srb.path = 0;
        CU_ASSERT_FALSE(rig_receive(&rig, rows[i].busy_channel, &reply));
        HV_CHECK_ROW(rows[i].name, reset(&rig, 0, rows[i].operation, rows[i].lun) != rows[i].waits);
        CU_ASSERT(loop_settle(rig.loop));
        CU_ASSERT_FALSE(loop_arm(rig.loop, 0)); /* waiting is no spinning */
        /* Later requests are not what it waits for. */
        CU_ASSERT_EQUAL(rig_do(&rig, &srb).packet.srb.srb_status, HV_SRB_SUCCESS);
        if (rows[i].busy_channel) { /* the busy channel leaves: nothing to wait for any more */
            loop_close(rig.loop, 1);
            CU_ASSERT(loop_settle(rig.loop));
            HV_CHECK_ROW(rows[i].name, rig_receive(&rig, 0, &reply) && reply.id == 1000);
        }
        rig_fini(&rig);
    }
}

/** A busy guest that goes on sending does not put its own reset off. */
static void test_reset_ignores_what_came_later(void)
{
    struct rig_srb srb = rig_rw(false, 0, 0, 1);
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
    struct storvsp_rig rig;
    struct rig_reply reply = {0};

    opts.fault = "delay:30@1,delay:600000@2";
    rig_init(&rig, &opts, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    rig_send_srb(&rig, 0, 55, &srb);
    CU_ASSERT_FALSE(reset(&rig, 0, HV_VSTOR_RESET_BUS, 0));
    rig_send_srb(&rig, 0, 56, &srb);
    while (!rig_receive(&rig, 0, &reply))
        ; /* the clock ends this */
    CU_ASSERT_EQUAL(reply.id, 55);
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT(rig_receive(&rig, 0, &reply));
    CU_ASSERT_EQUAL(reply.id, 1000);
    rig_fini(&rig);
}

static void test_resets_queue_up(void)
{
    struct hv_vstor_packet packet = {.hdr = {.operation = HV_VSTOR_RESET_BUS, .flags = 1}};
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
    struct storvsp_rig rig;
    struct rig_reply reply;
    unsigned answers[2] = {0, 0};

    opts.max_sub_channels = 1;
    rig_init(&rig, &opts, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    CU_ASSERT_EQUAL(loop_open(rig.loop, 1), 0);
    for (uint64_t i = 0; i < 20; i++)
        rig_send(&rig, i & 1, i, &packet, 64);
    CU_ASSERT(loop_settle(rig.loop));
    for (uint16_t c = 0; c < 2; c++)
        while (rig_receive(&rig, c, &reply))
            answers[c] += (reply.id & 1) == c && !reply.packet.hdr.status;
    CU_ASSERT_EQUAL(answers[0], 10);
    CU_ASSERT_EQUAL(answers[1], 10);
    /* Cut off before the place it is about: refused, and nothing waits for it. */
    packet.hdr.operation = HV_VSTOR_RESET_LUN;
    rig_send(&rig, 0, 99, &packet, 16);
    CU_ASSERT(rig_receive(&rig, 0, &reply));
    CU_ASSERT_EQUAL(reply.packet.hdr.status, HV_NTSTATUS_INVALID_REQUEST);
    rig_fini(&rig);
}

/** A guest that does not read its answers is not read any more, costs nothing, and loses nothing. */
static void test_full_ring_holds_back(void)
{
    struct rig_srb srb = rig_command(0, HV_SCSI_TEST_UNIT_READY);
    struct storvsp_rig rig;
    struct hv_packet packet;
    unsigned sent = 0, answered = 0;
    bool seen[100] = {false};

    rig_init(&rig, NULL, 1, 4096);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 40; i++)
            rig_send_srb(&rig, 0, sent++, &srb);
        CU_ASSERT(loop_settle(rig.loop));
    }
    CU_ASSERT(rig.loop->channels[0].held);
    CU_ASSERT_FALSE(loop_arm(rig.loop, 0)); /* asleep until there is room */
    CU_ASSERT(rig.loop->channels[0].to_guest.control->pending_send_size > 0);
    while (answered < sent) {
        while (!hv_ring_rx_peek(&rig.loop->channels[0].guest_rx, &packet)) {
            CU_ASSERT_FATAL(packet.trans_id < sent && !seen[packet.trans_id]);
            seen[packet.trans_id] = true;
            answered++;
        }
        (void)hv_ring_rx_release(&rig.loop->channels[0].guest_rx);
        CU_ASSERT_FATAL(loop_poll(rig.loop) > 0 || answered == sent);
    }
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT_FALSE(rig.loop->channels[0].held);
    rig_fini(&rig);
}

/** Held back, the controller still sees that the guest lies about how much it has read. */
static void test_full_ring_and_a_lie(void)
{
    struct rig_srb srb = rig_command(0, HV_SCSI_TEST_UNIT_READY);
    struct storvsp_rig rig;

    rig_init(&rig, NULL, 1, 4096);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    for (uint64_t i = 0; i < 80; i++) {
        if (i == 40)
            CU_ASSERT(loop_settle(rig.loop));
        rig_send_srb(&rig, 0, i, &srb);
    }
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT(rig.loop->channels[0].held && !rig.loop->channels[0].killed);
    rig.loop->channels[0].to_guest.control->read_index = 4095;
    CU_ASSERT(loop_settle(rig.loop));
    CU_ASSERT(rig.loop->channels[0].killed);
    rig_fini(&rig);
}

static void test_depth_is_kept(void)
{
    struct rig_srb srb = rig_rw(false, 0, 0, 1);
    struct hv_storvsp_opts opts = HV_STORVSP_OPTS_INIT;
    struct hv_storvsp_stats stats;
    struct storvsp_rig rig;

    opts.depth = 4;
    opts.fault = "delay:600000@1+";
    rig_init(&rig, &opts, 1, 0);
    rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
    for (uint64_t i = 1; i <= 10; i++)
        rig_send_srb(&rig, 0, i, &srb);
    CU_ASSERT(loop_settle(rig.loop));
    hv_storvsp_get_stats(rig.storvsp, &stats);
    CU_ASSERT_EQUAL(stats.requests, 4);
    CU_ASSERT_EQUAL(stats.in_flight, 4);
    CU_ASSERT_EQUAL(stats.channels, 1);
    CU_ASSERT(rig.loop->channels[0].held);
    CU_ASSERT_FALSE(loop_arm(rig.loop, 0));
    rig_fini(&rig);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"report LUNs", test_report_luns},
        {"absent LUN", test_absent_lun},
        {"hot plug is told", test_hot_plug_is_told},
        {"REPORT LUNS settles", test_report_luns_settles},
        {"detach lets channels go first", test_detach_lets_channels_go_first},
        {"reservations leave with the bus", test_reservations_leave_with_the_bus},
        {"reservations leave with the guest", test_reservations_leave_with_the_guest},
        {"no sub-channels before 5.1", test_no_sub_channels_before_5_1},
        {"sub-channels", test_sub_channels},
        {"reset waits for its scope", test_reset_waits_for_its_scope},
        {"reset ignores what came later", test_reset_ignores_what_came_later},
        {"resets queue up", test_resets_queue_up},
        {"full ring holds back", test_full_ring_holds_back},
        {"full ring and a lie", test_full_ring_and_a_lie},
        {"depth is kept", test_depth_is_kept},
    };

    return hv_test_main("storvsp.bus", cases, HV_TEST_COUNT(cases), argc, argv);
}
