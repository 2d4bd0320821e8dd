/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The storage controller on the real host, against a guest that writes vstor packets by hand: one thread a channel, all
 * sorts of requests and resets, while disks come and go.  Run under ThreadSanitizer by its preset.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hv/base/endian.h>
#include <hv/vmbus.h>
#include <hv/wire/ring.h>
#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

#include "machine.h"
#include "suite.h"

#define CHANNELS  3u
#define REQUESTS  6000u /* per channel */
#define IN_FLIGHT 24u
#define IO_BYTES  8192u

struct side {
    struct hv_channel *channel;
    pthread_t thread;
    uint8_t *memory;
    unsigned index, sent, answered, wrong, refused, resets;
    unsigned removed, enumerated; /* unsolicited packets */
    uint64_t running[IN_FLIGHT];  /* id, 0 = free place */
    _Atomic bool finished;
};

struct guest {
    struct machine *machine;
    struct hv_vmbus *bus;
    struct hv_vmbus_device device;
    struct hv_dma *dma;
    struct side sides[CHANNELS];
};

static void sleep_on(struct hv_channel *channel)
{
    struct pollfd fd = {.fd = hv_channel_fd(channel), .events = POLLIN};

    if (!hv_channel_arm(channel))
        (void)poll(&fd, 1, 10000);
    hv_channel_disarm(channel);
}

/** One operation on a quiet channel; its NTSTATUS. */
static uint32_t operation(struct hv_channel *channel, uint32_t op, uint16_t argument)
{
    struct hv_packet_desc desc = {.trans_id = 1,
                                  .payload_bytes = 64,
                                  .type = HV_PACKET_INBAND,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};
    struct hv_vstor_packet packet = {.hdr = {.operation = op, .flags = 1}};
    struct hv_packet_slot slot;
    struct hv_packet answer;

    packet.version.version = argument;
    if (hv_channel_reserve(channel, &desc, &slot))
        return UINT32_MAX;
    memcpy(slot.payload, &packet, sizeof(packet));
    if (hv_channel_flush(channel))
        return UINT32_MAX;
    for (int i = 0; i < 100; i++) {
        int ret = hv_channel_peek(channel, &answer);

        if (!ret) {
            memcpy(&packet, answer.payload, sizeof(packet));
            hv_channel_release(channel);
            return packet.hdr.status;
        }
        if (ret != -EAGAIN)
            return UINT32_MAX;
        sleep_on(channel);
    }
    return UINT32_MAX;
}

static bool guest_start(struct guest *g, struct machine *machine)
{
    static const struct hv_guid scsi = HV_CLASS_SCSI;
    struct hv_channel *primary;
    size_t part = (size_t)IN_FLIGHT * 2 * IO_BYTES;

    memset(g, 0, sizeof(*g));
    g->machine = machine;
    g->bus = machine_bus(machine);
    if (hv_vmbus_find(g->bus, &scsi, &g->device) ||
        hv_dma_alloc(g->bus, CHANNELS * part, &g->dma) ||
        hv_channel_open(g->bus, &g->device.instance_id, 0, NULL, &g->sides[0].channel))
        return false;
    primary = g->sides[0].channel;
    if (operation(primary, HV_VSTOR_BEGIN_INITIALIZATION, 0) ||
        operation(primary, HV_VSTOR_QUERY_PROTOCOL_VERSION, 0x0602) ||
        operation(primary, HV_VSTOR_QUERY_PROPERTIES, 0) ||
        operation(primary, HV_VSTOR_END_INITIALIZATION, 0) ||
        operation(primary, HV_VSTOR_CREATE_SUB_CHANNELS, CHANNELS - 1))
        return false;
    if (hv_vmbus_wait_subchannels(g->bus, &g->device.instance_id, CHANNELS - 1, 10000) !=
        CHANNELS - 1)
        return false;
    for (uint16_t i = 0; i < CHANNELS; i++) {
        struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;

        opts.target_vp = i;
        g->sides[i].index = i;
        g->sides[i].memory = (uint8_t *)hv_dma_address(g->dma) + i * part;
        if (i && hv_channel_open(g->bus, &g->device.instance_id, i, &opts, &g->sides[i].channel))
            return false;
    }
    return true;
}

static void guest_stop(struct guest *g)
{
    for (unsigned i = CHANNELS; i-- > 0;)
        hv_channel_close(g->sides[i].channel);
    hv_vmbus_close(g->bus);
}

/** Room in the ring and on the wire for one request; false when the ring is full. */
static bool send_io(struct side *s, unsigned place, uint64_t id, bool write, uint8_t lun)
{
    uint8_t *data = s->memory + (size_t)place * 2 * IO_BYTES + (place % 5) * 512;
    uint64_t pfns[4];
    ssize_t pages = hv_dma_pfns(hv_channel_bus(s->channel), data, IO_BYTES, pfns, 4);
    uint32_t range[4] = {0, 1, IO_BYTES, (place % 5) * 512};
    struct hv_packet_desc desc = {.trans_id = id,
                                  .ext_bytes = 16 + 8 * (uint32_t)pages,
                                  .payload_bytes = 64,
                                  .type = HV_PACKET_GPA_DIRECT,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};
    struct hv_vstor_packet packet = {.hdr = {.operation = HV_VSTOR_EXECUTE_SRB, .flags = 1}};
    struct hv_packet_slot slot;

    if (pages <= 0 || hv_channel_reserve(s->channel, &desc, &slot))
        return false;
    packet.srb.length = HV_VSTOR_SRB_V2_BYTES;
    packet.srb.lun = lun;
    packet.srb.cdb_bytes = 16;
    packet.srb.data_in = !write;
    packet.srb.data_transfer_bytes = IO_BYTES;
    packet.srb.cdb[0] = write ? HV_SCSI_WRITE_16 : HV_SCSI_READ_16;
    hv_put_be64(packet.srb.cdb + 2, (s->index * IN_FLIGHT + place) * (IO_BYTES / 512));
    hv_put_be32(packet.srb.cdb + 10, IO_BYTES / 512);
    memcpy(slot.ext, range, sizeof(range));
    memcpy((uint8_t *)slot.ext + sizeof(range), pfns, 8 * (size_t)pages);
    memcpy(slot.payload, &packet, sizeof(packet));
    return true;
}

static bool send_reset(struct side *s, uint64_t id)
{
    struct hv_packet_desc desc = {.trans_id = id,
                                  .payload_bytes = 64,
                                  .type = HV_PACKET_INBAND,
                                  .flags = HV_PACKET_FLAG_COMPLETION_REQUESTED};
    struct hv_vstor_packet packet = {.hdr = {.flags = 1}};
    struct hv_packet_slot slot;

    packet.hdr.operation = id % 3 == 0   ? HV_VSTOR_RESET_LUN
                           : id % 3 == 1 ? HV_VSTOR_RESET_BUS
                                         : HV_VSTOR_RESET_ADAPTER;
    if (hv_channel_reserve(s->channel, &desc, &slot))
        return false;
    memcpy(slot.payload, &packet, sizeof(packet));
    s->resets++;
    return true;
}

static void fill_ring(struct side *s)
{
    for (unsigned place = 0; place < IN_FLIGHT && s->sent < REQUESTS; place++) {
        uint64_t id = s->sent + 1;

        if (s->running[place])
            continue;
        if (!(id % 97 ? send_io(s, place, id, id & 1, id % 5 == 0) : send_reset(s, id)))
            break;
        s->running[place] = id;
        s->sent++;
    }
    s->wrong += hv_channel_flush(s->channel) != 0;
}

static void take_answer(struct side *s, const struct hv_packet *answer)
{
    struct hv_vstor_packet packet;
    unsigned place = 0;

    memcpy(&packet, answer->payload, sizeof(packet));
    if (answer->type == HV_PACKET_INBAND) {
        s->removed += packet.hdr.operation == HV_VSTOR_REMOVE_DEVICE;
        s->enumerated += packet.hdr.operation == HV_VSTOR_ENUMERATE_BUS;
        return;
    }
    while (place < IN_FLIGHT && s->running[place] != answer->trans_id)
        place++;
    if (place == IN_FLIGHT || !answer->trans_id) { /* never asked, or answered before */
        s->wrong++;
        return;
    }
    s->running[place] = 0;
    s->answered++;
    if (answer->trans_id % 97 == 0)
        s->wrong += packet.hdr.status != 0;
    else if (packet.srb.srb_status == HV_SRB_INVALID_LUN && answer->trans_id % 5 == 0)
        s->refused++; /* that disk comes and goes */
    else
        s->wrong +=
            packet.srb.srb_status != HV_SRB_SUCCESS || packet.srb.data_transfer_bytes != IO_BYTES;
}

static void *run_side(void *arg)
{
    struct side *s = arg;
    unsigned idle = 0;

    /* The primary stays until it has heard of disks that went and came. */
    while ((s->answered < REQUESTS || (!s->index && !(s->removed && s->enumerated))) && !s->wrong) {
        struct hv_packet answer;
        unsigned got = 0;
        int ret;

        fill_ring(s);
        while (!(ret = hv_channel_peek(s->channel, &answer))) {
            take_answer(s, &answer);
            got++;
        }
        s->wrong += ret != -EAGAIN;
        hv_channel_release(s->channel);
        if (got || ++idle < 50)
            continue;
        idle = 0;
        sleep_on(s->channel);
    }
    atomic_store(&s->finished, true);
    return NULL;
}

static bool all_finished(struct guest *g)
{
    for (unsigned i = 0; i < CHANNELS; i++)
        if (!atomic_load(&g->sides[i].finished))
            return false;
    return true;
}

static void test_requests_resets_and_plugging(void)
{
    static struct guest guests[2];
    struct hv_storvsp_stats stats;
    struct machine_opts opts;
    struct machine *machine;
    unsigned plugs = 0, srbs = 0;
    bool ok = true;

    machine_opts_init(&opts);
    opts.host.workers_per_guest = 2;
    opts.storvsp.max_sub_channels = CHANNELS - 1;
    opts.storvsp.depth = 16; /* fewer than the guests keep in flight: channels are held back */
    opts.luns = 2;
    machine = machine_start(&opts);
    for (unsigned i = 0; i < 2; i++)
        ok = ok && guest_start(&guests[i], machine);
    CU_ASSERT(ok);
    for (unsigned i = 0; ok && i < 2 * CHANNELS; i++) {
        struct side *s = &guests[i / CHANNELS].sides[i % CHANNELS];

        CU_ASSERT_EQUAL(pthread_create(&s->thread, NULL, run_side, s), 0);
    }
    while (ok && !(all_finished(&guests[0]) && all_finished(&guests[1]))) {
        machine_detach(machine, 1);
        machine_attach(machine, 1, 16u << 20);
        plugs++;
    }
    for (unsigned i = 0; ok && i < 2 * CHANNELS; i++) {
        struct side *s = &guests[i / CHANNELS].sides[i % CHANNELS];

        (void)pthread_join(s->thread, NULL);
        CU_ASSERT_EQUAL(s->wrong, 0);
        CU_ASSERT_EQUAL(s->answered, REQUESTS);
        srbs += s->sent - s->resets;
        /* Each primary heard of it, and nobody else did. */
        CU_ASSERT_EQUAL(s->index == 0, s->removed > 0);
        CU_ASSERT_EQUAL(s->index == 0, s->enumerated > 0);
    }
    CU_ASSERT(plugs > 0);
    hv_storvsp_get_stats(machine_storvsp(machine), &stats);
    CU_ASSERT_EQUAL(stats.requests, srbs);
    CU_ASSERT_EQUAL(stats.malformed, 0);
    CU_ASSERT_EQUAL(stats.channels, 2 * CHANNELS);
    for (unsigned i = 0; i < 2; i++)
        guest_stop(&guests[i]);
    hv_storvsp_get_stats(machine_storvsp(machine), &stats);
    CU_ASSERT_EQUAL(stats.requests, srbs); /* kept when channels close */
    CU_ASSERT_EQUAL(stats.channels, 0);
    CU_ASSERT_EQUAL(stats.in_flight, 0);
    machine_stop(machine);
}

/** A file disk has requests in the kernel when its guest closes, or dies: both are waited for. */
static void test_leaving_with_requests_in_flight(void)
{
    char path[] = "/var/tmp/hv-test-XXXXXX";
    struct machine_opts opts;
    struct machine *machine;
    int fd = mkostemp(path, O_CLOEXEC);

    CU_ASSERT_FATAL(fd >= 0);
    (void)close(fd);
    machine_opts_init(&opts);
    opts.storvsp.max_sub_channels = CHANNELS - 1;
    opts.host.workers_per_guest = 2;
    opts.disk.store = HV_DISK_FILE;
    opts.disk.path = path;
    CU_ASSERT_EQUAL(truncate(path, 16 << 20), 0);
    machine = machine_start(&opts);
    for (unsigned round = 0; round < 6; round++) {
        static struct guest g;
        bool ok = guest_start(&g, machine);

        CU_ASSERT(ok);
        for (unsigned i = 0; ok && i < CHANNELS; i++)
            fill_ring(&g.sides[i]);
        if (round & 1)
            machine_cut(machine);
        guest_stop(&g);
    }
    machine_detach(machine, 0);
    machine_stop(machine);
    (void)unlink(path);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"requests, resets and plugging", test_requests_resets_and_plugging},
        {"leaving with requests in flight", test_leaving_with_requests_in_flight},
    };

    return hv_test_main("storvsp", cases, HV_TEST_COUNT(cases), argc, argv);
}
