/* SPDX-License-Identifier: BSD-3-Clause */
/* storvsc against the emulated host: every version, block size, number of channels and ring size, by random requests. */
#include "storvsc_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <suite.h>

#include <hv/wire/vstor.h>

#define DISK_BYTES (16u << 20)

/* Requests here follow each other over different channels.  ThreadSanitizer does not see that order (machine.c), and
 * the race of two workers on a block of data would cost it a minute for each that it then suppresses. */
#ifdef __SANITIZE_THREAD__
#define WORKERS 1
#else
#define WORKERS 2
#endif

/* ---- Random requests against a model of the disk ---- */

struct model {
    uint8_t *bytes;
    uint64_t state; /* of the random numbers; fixed seed, so that a failure comes again */
};

static uint32_t random_below(struct model *m, uint32_t limit)
{
    m->state = m->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(m->state >> 33) % limit;
}

#define PIECES_MAX 12u

/* Cut [base, base + bytes) into pieces, some of odd places and sizes; returns how many. */
static uint32_t cut(struct model *m, uint8_t *base, size_t bytes, struct iovec *iov)
{
    uint32_t pieces = 1 + random_below(m, PIECES_MAX);
    uint32_t count = 0;
    size_t at = 0;

    while (at < bytes && count < PIECES_MAX + 1) {
        size_t left = bytes - at;
        size_t n = count + 1 >= pieces ? left : 1 + random_below(m, (uint32_t)left);

        if (random_below(m, 2) && n > 4096)
            n &= ~(size_t)4095;
        /* Gaps in memory between pieces: they are not neighbours then. */
        iov[count++] = (struct iovec){base, n};
        base += n + (random_below(m, 3) ? random_below(m, 5000) : 0);
        at += n;
    }
    return count;
}

static void gather(uint8_t *to, const struct iovec *iov, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
        to += iov[i].iov_len;
    }
}

struct random_io {
    struct client *client;
    struct model model;
    uint8_t *foreign; /* memory that the host cannot reach */
    uint8_t *flat;
    uint32_t block_bytes;
    uint64_t blocks;
    uint32_t max_bytes; /* of one request */
};

static int random_request(struct random_io *r)
{
    struct model *m = &r->model;
    struct iovec iov[PIECES_MAX + 1];
    struct client_io io;
    uint32_t max_blocks = r->max_bytes / r->block_bytes;
    uint64_t count = 1 + random_below(m, max_blocks);
    uint64_t lba = random_below(m, (uint32_t)(r->blocks - count + 1));
    size_t bytes = count * r->block_bytes;
    uint8_t *disk = m->bytes + lba * r->block_bytes;
    uint8_t *base = (random_below(m, 5) ? r->client->memory : r->foreign) + random_below(m, 9000);
    uint16_t queue = (uint16_t)random_below(m, hv_storvsc_queue_count(r->client->storvsc));
    uint32_t kind = random_below(m, 10);
    int rc;

    if (kind == 0 || kind == 1) {
        client_io_init(&io, HV_STORVSC_WRITE_ZEROES, lba, count, NULL, 0);
        io.request.flags = kind ? HV_STORVSC_MAY_UNMAP : HV_STORVSC_FUA;
        rc = client_run(r->client, queue, &io);
        memset(disk, 0, bytes);
        return rc;
    }
    client_io_init(&io, kind < 6 ? HV_STORVSC_READ : HV_STORVSC_WRITE, lba, count, NULL, 0);
    io.request.iov = iov;
    io.request.iov_count = cut(m, base, bytes, iov);
    if (kind >= 6) {
        for (uint32_t i = 0; i < io.request.iov_count; i++)
            memset(iov[i].iov_base, (int)random_below(m, 256), iov[i].iov_len);
        gather(disk, iov, io.request.iov_count);
        io.request.flags = kind == 9 ? HV_STORVSC_FUA : 0;
        return client_run(r->client, queue, &io);
    }
    for (uint32_t i = 0; i < io.request.iov_count; i++)
        memset(iov[i].iov_base, 0x5a, iov[i].iov_len);
    rc = client_run(r->client, queue, &io);
    gather(r->flat, iov, io.request.iov_count);
    if (!rc && memcmp(r->flat, disk, bytes))
        rc = -EBADMSG;
    if (!rc && io.result.bytes != bytes)
        rc = -EMSGSIZE;
    return rc;
}

static void random_io(struct client *client, unsigned rounds, uint32_t max_bytes, const char *row)
{
    struct hv_storvsc_lun lun = {0};
    struct random_io r = {.client = client, .max_bytes = max_bytes, .model = {.state = 42}};

    (void)hv_storvsc_luns(client->storvsc, &lun, 1);
    r.block_bytes = lun.block_bytes;
    r.blocks = lun.block_count;
    r.model.bytes = calloc(1, DISK_BYTES);
    r.foreign = malloc(CLIENT_DMA_BYTES);
    r.flat = malloc(max_bytes);
    if (r.model.bytes && r.foreign && r.flat && r.blocks)
        for (unsigned i = 0; i < rounds; i++) {
            int rc = random_request(&r);

            HV_CHECK_ROW(row, rc == 0);
            if (rc) {
                fprintf(stderr, "round %u: %s\n", i, strerror(-rc));
                break;
            }
        }
    else
        CU_FAIL("no disk or no memory");
    free(r.model.bytes);
    free(r.foreign);
    free(r.flat);
}

/* ---- Versions, blocks, channels, rings ---- */

static const struct {
    const char *name;
    uint16_t host_version, guest_version;
    uint16_t want_version;
    uint32_t block_bytes;
    uint16_t channels, host_sub_channels, want_channels;
    uint32_t ring_bytes;
    uint32_t max_transfer_bytes;
    uint32_t depth;
    bool no_thin, no_write_cache;
} rows[] = {
    {.name = "6.2, all by default"},
    {.name = "host 6.0",
     .host_version = HV_VSTOR_VERSION_6_0,
     .want_version = HV_VSTOR_VERSION_6_0},
    {.name = "host 5.1",
     .host_version = HV_VSTOR_VERSION_5_1,
     .want_version = HV_VSTOR_VERSION_5_1},
    {.name = "host 4.2",
     .host_version = HV_VSTOR_VERSION_4_2,
     .want_version = HV_VSTOR_VERSION_4_2},
    {.name = "host 2.0",
     .host_version = HV_VSTOR_VERSION_2_0,
     .want_version = HV_VSTOR_VERSION_2_0},
    {.name = "guest 2.0",
     .guest_version = HV_VSTOR_VERSION_2_0,
     .want_version = HV_VSTOR_VERSION_2_0},
    {.name = "guest 5.1",
     .guest_version = HV_VSTOR_VERSION_5_1,
     .want_version = HV_VSTOR_VERSION_5_1},
    {.name = "4096-byte blocks", .block_bytes = 4096},
    {.name = "2 channels", .channels = 2, .host_sub_channels = 3, .want_channels = 2},
    {.name = "4 channels", .channels = 4, .host_sub_channels = 3, .want_channels = 4},
    {.name = "4 wanted, 1 sub-channel there",
     .channels = 4,
     .host_sub_channels = 1,
     .want_channels = 2},
    {.name = "4 wanted, none there", .channels = 4, .want_channels = 1},
    {.name = "3 channels of 5.1, 4096",
     .channels = 3,
     .host_sub_channels = 7,
     .want_channels = 3,
     .host_version = HV_VSTOR_VERSION_5_1,
     .want_version = HV_VSTOR_VERSION_5_1,
     .block_bytes = 4096},
    {.name = "no channels more below 5.1",
     .channels = 3,
     .host_sub_channels = 3,
     .want_channels = 1,
     .host_version = HV_VSTOR_VERSION_4_2,
     .want_version = HV_VSTOR_VERSION_4_2},
    {.name = "smallest ring", .ring_bytes = 8192},
    {.name = "smallest ring, 2.0",
     .ring_bytes = 8192,
     .host_version = HV_VSTOR_VERSION_2_0,
     .want_version = HV_VSTOR_VERSION_2_0},
    {.name = "4 KiB transfers", .max_transfer_bytes = 4096},
    {.name = "4 KiB transfers, 4096-byte blocks, depth 1",
     .max_transfer_bytes = 4096,
     .block_bytes = 4096,
     .depth = 1},
    {.name = "depth 1, 64 KiB", .max_transfer_bytes = 65536, .depth = 1},
    {.name = "no thin, no cache", .no_thin = true, .no_write_cache = true},
};

static void test_matrix(void)
{
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        struct machine_opts mo;
        struct hv_storvsc_opts so = HV_STORVSC_OPTS_INIT;
        struct machine *m;
        struct client c;

        machine_opts_init(&mo);
        mo.host.workers_per_guest = WORKERS;
        mo.storvsp.max_version = rows[i].host_version;
        mo.storvsp.max_sub_channels = rows[i].host_sub_channels;
        mo.storvsp.max_transfer_bytes = rows[i].max_transfer_bytes;
        mo.disk.bytes = DISK_BYTES;
        mo.disk.block_bytes = rows[i].block_bytes;
        mo.disk.no_thin = rows[i].no_thin;
        mo.disk.no_write_cache = rows[i].no_write_cache;
        so.max_version = rows[i].guest_version;
        so.channels = rows[i].channels;
        so.ring_bytes = rows[i].ring_bytes;
        so.depth = rows[i].depth;
        m = machine_start(&mo);
        HV_CHECK_ROW(rows[i].name, client_open(&c, m, &so) == 0);
        if (c.storvsc) {
            uint16_t version = rows[i].want_version ? rows[i].want_version : HV_VSTOR_VERSION_6_2;
            uint16_t channels = rows[i].want_channels ? rows[i].want_channels : 1;

            HV_CHECK_ROW(rows[i].name, hv_storvsc_version(c.storvsc) == version);
            HV_CHECK_ROW(rows[i].name, hv_storvsc_queue_count(c.storvsc) == channels);
            random_io(&c, 150, 300000, rows[i].name);
        }
        client_close(&c);
        machine_stop(m);
    }
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"versions, blocks, channels, rings", test_matrix},
    };

    return hv_test_main("storvsc.levels", cases, HV_TEST_COUNT(cases), argc, argv);
}
