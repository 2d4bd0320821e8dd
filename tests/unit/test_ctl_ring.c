/* SPDX-License-Identifier: BSD-3-Clause */
/* hvctl ring dump and trace: rings that a guest and a host fill, and rings that lie. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <hv/wire/nvsp.h>
#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

#include "ctl_rig.h"
#include "suite.h"
#include "trace.h"

#define FOLDER     "sys/bus/vmbus/devices/" TREE_INSTANCE
#define RING_BYTES (64u << 10)

struct rings {
    struct rig rig;
    struct hv_ring_area to_host, to_guest;
    struct hv_ring_tx guest, host;
    struct hv_ring_rx host_rx;
    struct ring_view view;
    struct trace trace;
    char why[RING_WHY_BYTES];
};

static void start(struct rings *r)
{
    struct tree_device device = tree_network(37);
    struct device *found;

    memset(r, 0, sizeof(*r));
    rig_init(&r->rig, "6.12");
    tree_device(&r->rig.tree, &device);
    rig_link(&r->rig, "sys/bus/vmbus/drivers/uio_hv_generic", FOLDER "/driver");
    tree_put(&r->rig.tree, "3\n", FOLDER "/state");
    tree_sub(&r->rig.tree, &device, 21, 1, -1);
    tree_sub_ring(&r->rig.tree, &device, 21, RING_BYTES);
    tree_map_sub_rings(&r->rig.tree, &device, 21, &r->to_host, &r->to_guest);
    CU_ASSERT_EQUAL(hv_ring_tx_init(&r->guest, &r->to_host), 0);
    CU_ASSERT_EQUAL(hv_ring_rx_init(&r->host_rx, &r->to_host), 0);
    CU_ASSERT_EQUAL(hv_ring_tx_init(&r->host, &r->to_guest), 0);
    found = rig_load(&r->rig, TREE_INSTANCE);
    CU_ASSERT_EQUAL(ring_open(&r->rig.sys, found, 1, &r->view, r->why), 0);
}

static void stop(struct rings *r)
{
    ring_close(&r->view);
    hv_ring_unmap(&r->to_host);
    hv_ring_unmap(&r->to_guest);
    rig_fini(&r->rig);
}

/** A packet with a payload, from the guest or from the host. */
static void send(struct hv_ring_tx *tx, uint16_t type, uint64_t id, const void *payload,
                 uint32_t bytes)
{
    struct hv_packet_desc desc = {.trans_id = id, .type = type, .payload_bytes = bytes};
    struct hv_packet_slot slot;

    if (hv_ring_tx_reserve(tx, &desc, &slot)) {
        CU_FAIL("no room in the ring");
        return;
    }
    memcpy(slot.payload, payload, bytes);
    (void)hv_ring_tx_publish(tx);
}

/** The host reads everything. */
static void host_reads(struct rings *r)
{
    struct hv_packet packet;

    while (!hv_ring_rx_peek(&r->host_rx, &packet))
        continue;
    (void)hv_ring_rx_release(&r->host_rx);
}

static enum class_layer layer;
static size_t count = 100;

static void print_dump(struct rig *rig, FILE *out)
{
    struct rings *r = (struct rings *)rig; /* its first member */

    (void)trace_dump(out, &r->view, layer, count, false);
}

static void print_trace(struct rig *rig, FILE *out)
{
    struct rings *r = (struct rings *)rig;

    CU_ASSERT_EQUAL(trace_look(out, &r->trace), 0);
}

static unsigned lines_with(const char *text, const char *part)
{
    unsigned found = 0;

    while ((text = strstr(text, part))) {
        found++;
        text += strlen(part);
    }
    return found;
}

/** What was read is shown, what is pending is marked, oldest first. */
static void test_dump(void)
{
    struct rings r;
    char *text;

    start(&r);
    tree_send(&r.guest, 0x11, 1, 2);
    tree_send(&r.guest, 0x12, 2, 4);
    host_reads(&r);
    tree_send(&r.guest, 0x13, 3, 1);
    tree_send(&r.host, 0x21, 4, 1);
    layer = LAYER_NONE;
    text = rig_capture(&r.rig, print_dump);
    HV_CHECK_ROW(text, strstr(text, "-> 00000000   in-band id 0x11 16 bytes\n"
                                    "-> 00000028   in-band id 0x12 32 bytes\n"
                                    "-> 00000060 * in-band id 0x13 8 bytes\n"));
    HV_CHECK_ROW(text, strstr(text, "<- 00000000 * in-band id 0x21 8 bytes\n"));
    free(text);
    count = 1; /* the newest */
    text = rig_capture(&r.rig, print_dump);
    HV_CHECK_ROW(text, lines_with(text, "->") == 1 && strstr(text, "id 0x13"));
    free(text);
    count = 100;
    stop(&r);
}

/** The ring goes round many times: never anything that was not sent, the newest always. */
static void test_dump_wrapped(void)
{
    struct rings r;

    start(&r);
    for (uint64_t id = 1; id < 2000; id++) {
        tree_send(&r.guest, id, id, (uint32_t)(id % 37) + 1);
        host_reads(&r);
        if (id % 400)
            continue;
        for (unsigned want = 1; want <= 100; want += 33) {
            struct ring_packet packets[100];
            ssize_t got = ring_last(&r.view, RING_OUT, packets, want);

            CU_ASSERT_EQUAL(got, want);
            for (ssize_t i = 0; i < got; i++) {
                struct hv_ring_descriptor desc;
                uint64_t word;

                memcpy(&desc, packets[i].copy, sizeof(desc));
                memcpy(&word, packets[i].copy + packets[i].bytes - 8, 8);
                CU_ASSERT_EQUAL(desc.trans_id, id - want + 1 + (uint64_t)i);
                CU_ASSERT_EQUAL(word, desc.trans_id);
                CU_ASSERT(!packets[i].pending);
                free(packets[i].copy);
            }
        }
    }
    stop(&r);
}

/** A host like QEMU's: trailers are zero.  The packets are found all the same. */
static void test_dump_without_trailers(void)
{
    struct rings r;
    char *text;

    start(&r);
    layer = LAYER_NONE;
    tree_send(&r.host, 0x21, 4, 1);
    tree_send(&r.host, 0x22, 4, 2);
    memset(r.to_guest.data + 24, 0, 8);
    memset(r.to_guest.data + 32 + 32, 0, 8);
    text = rig_capture(&r.rig, print_dump);
    HV_CHECK_ROW(text, strstr(text, "<- 00000000 * in-band id 0x21 8 bytes\n"
                                    "<- 00000020 * in-band id 0x22 16 bytes\n"));
    free(text);
    count = 1;
    text = rig_capture(&r.rig, print_dump);
    HV_CHECK_ROW(text, lines_with(text, "<-") == 1 && strstr(text, "id 0x22"));
    free(text);
    count = 100;
    stop(&r);
}

/** Words in shared memory that no end would write: nothing is believed, nothing outside of the ring is touched. */
static void test_hostile(void)
{
    struct rings r;
    uint32_t seed = 7;

    start(&r);
    layer = LAYER_VSTOR;
    for (unsigned i = 0; i < 4000; i++) {
        struct hv_ring_control *control = r.to_guest.control;
        char *text;

        for (uint32_t at = 0; at < 512; at++) {
            seed = seed * 1664525 + 1013904223;
            r.to_guest.data[at] =
                (uint8_t)(seed >> 29); /* small numbers fit together now and then */
        }
        seed = seed * 1664525 + 1013904223;
        atomic_store(&control->write_index, i % 4 ? (seed >> 20) & 0x1f8 : seed);
        atomic_store(&control->read_index, i % 5 ? 0 : seed >> 3);
        layer = i % 2 ? LAYER_VSTOR : LAYER_NVSP;
        text = rig_capture(&r.rig, print_dump);
        CU_ASSERT(strstr(text, "from host:") != NULL);
        free(text);
    }
    stop(&r);
}

static void test_trace(void)
{
    struct rings r;
    char *text;

    start(&r);
    tree_send(&r.guest, 0x11, 1, 2); /* before: not shown */
    CU_ASSERT_EQUAL(trace_begin(&r.view, &r.trace), 0);
    text = rig_capture(&r.rig, print_trace);
    CU_ASSERT_STRING_EQUAL(text, "");
    free(text);
    tree_send(&r.guest, 0x12, 1, 2);
    tree_send(&r.host, 0x21, 1, 2);
    tree_send(&r.guest, 0x13, 1, 2);
    text = rig_capture(&r.rig, print_trace);
    HV_CHECK_ROW(text,
                 strstr(text, "id 0x12") && strstr(text, "id 0x13") && strstr(text, "id 0x21"));
    HV_CHECK_ROW(text, lines_with(text, "\n") == 3);
    free(text);
    r.trace.left = 1;
    tree_send(&r.guest, 0x14, 1, 2);
    tree_send(&r.guest, 0x15, 1, 2);
    text = rig_capture(&r.rig, print_trace);
    HV_CHECK_ROW(text, strstr(text, "id 0x14") && !strstr(text, "id 0x15"));
    CU_ASSERT_EQUAL(r.trace.left, 0);
    free(text);
    stop(&r);
}

/** The producer goes round while nobody looks: that is said, and the trace goes on. */
static void test_trace_overrun(void)
{
    struct rings r;
    char *text;

    start(&r);
    CU_ASSERT_EQUAL(trace_begin(&r.view, &r.trace), 0);
    for (uint64_t id = 1; id <= 300; id++) {
        tree_send(&r.guest, id, UINT64_MAX, 60); /* 504 bytes: over twice the ring */
        host_reads(&r);
    }
    text = rig_capture(&r.rig, print_trace);
    HV_CHECK_ROW(text, strstr(text, "overwritten"));
    CU_ASSERT_EQUAL(r.trace.lost[RING_OUT], 1);
    free(text);
    tree_send(&r.guest, 0x777, 1, 1);
    text = rig_capture(&r.rig, print_trace);
    HV_CHECK_ROW(text, strstr(text, "id 0x777"));
    free(text);
    stop(&r);
}

static void test_layers(void)
{
    struct hv_vstor_packet vstor = {.hdr = {.operation = HV_VSTOR_EXECUTE_SRB}};
    struct hv_nvsp_message nvsp = {.type = HV_NVSP_SEND_RNDIS_PACKET};
    struct rings r;
    char *text;

    start(&r);
    vstor.srb.lun = 3;
    vstor.srb.data_in = HV_VSTOR_DATA_IN;
    vstor.srb.data_transfer_bytes = 4096;
    memcpy(vstor.srb.cdb, "\x28\0\0\0\x12\x34\0\0\x08\0", 10); /* READ(10) */
    send(&r.guest, HV_PACKET_GPA_DIRECT, 5, &vstor, sizeof(vstor));
    vstor =
        (struct hv_vstor_packet){.hdr = {.operation = HV_VSTOR_COMPLETE_IO, .status = 0xc0000001}};
    vstor.srb.srb_status = HV_SRB_ERROR | HV_SRB_SENSE_VALID;
    vstor.srb.scsi_status = HV_SCSI_STATUS_CHECK_CONDITION;
    vstor.srb.sense_bytes = 18;
    vstor.srb.sense[2] = HV_SENSE_MEDIUM_ERROR;
    vstor.srb.sense[12] = 0x11;
    send(&r.host, HV_PACKET_COMPLETION, 5, &vstor, sizeof(vstor));
    layer = LAYER_VSTOR;
    text = rig_capture(&r.rig, print_dump);
    HV_CHECK_ROW(text,
                 strstr(text, "vstor EXECUTE_SRB 0:0:3 READ(10) block 4660 count 8, data in 4096 "
                              "bytes\n"));
    HV_CHECK_ROW(
        text, strstr(text, "completion id 0x5 64 bytes vstor COMPLETE_IO 0:0:0 SRB status 0x84, "
                           "SCSI status 0x02, moved 0 bytes, sense 3/11/00 status 0xc0000001\n"));
    free(text);
    nvsp.rndis.channel_type = HV_NVSP_CHANNEL_CONTROL;
    nvsp.rndis.section_index = 7;
    nvsp.rndis.section_bytes = 24;
    send(&r.guest, HV_PACKET_INBAND, 6, &nvsp, sizeof(nvsp));
    send(&r.guest, HV_PACKET_INBAND, 7, "\x6b\0\0", 4); /* cut short */
    layer = LAYER_NVSP;
    text = rig_capture(&r.rig, print_dump);
    HV_CHECK_ROW(text,
                 strstr(text, "NVSP RNDIS_PACKET control, message of 24 bytes in section 7\n"));
    free(text);
    stop(&r);
}

static void test_refused(void)
{
    static const struct {
        const char *name, *file, *text, *says;
        uint32_t channel;
    } rows[] = {
        {"closed", "state", "2\n", "no program has it open", 1},
        {"no channel", "state", "3\n", "no such channel", 2},
        {"no rings", "state", "3\n", "shows no rings", 0},
        {"odd size", "channels/21/ring", "x", "size", 1},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct rings r;
        struct ring_view view;
        struct device *device;

        start(&r);
        tree_put(&r.rig.tree, rows[i].text, FOLDER "/%s", rows[i].file);
        device = rig_load(&r.rig, TREE_INSTANCE);
        HV_CHECK_ROW(rows[i].name,
                     ring_open(&r.rig.sys, device, rows[i].channel, &view, r.why) < 0);
        HV_CHECK_ROW(r.why, strstr(r.why, rows[i].says));
        tree_remove(&r.rig.tree, FOLDER "/driver");
        device = rig_load(&r.rig, TREE_INSTANCE);
        HV_CHECK_ROW(rows[i].name, ring_open(&r.rig.sys, device, 1, &view, r.why) == -EINVAL);
        stop(&r);
    }
}

static const struct hv_test_case cases[] = {
    {"dump", test_dump},
    {"dump of a ring gone round", test_dump_wrapped},
    {"dump without trailers", test_dump_without_trailers},
    {"hostile rings", test_hostile},
    {"trace", test_trace},
    {"trace, overrun", test_trace_overrun},
    {"layers", test_layers},
    {"refused", test_refused},
};

int main(int argc, char **argv)
{
    return hv_test_main("ctl.ring", cases, HV_TEST_COUNT(cases), argc, argv);
}
