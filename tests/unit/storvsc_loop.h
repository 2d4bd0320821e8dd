/* SPDX-License-Identifier: BSD-3-Clause */
/* A controller opened over a loop_guest with a loop_disk, for unit tests of storvsc. */
#ifndef HV_TEST_STORVSC_LOOP_H
#define HV_TEST_STORVSC_LOOP_H

#include <loop_disk.h>

#include <hv/storvsc.h>

#define FIXTURE_DISK_BYTES   (8u << 20)
#define FIXTURE_MEMORY_BYTES (4u << 20)
#define FIXTURE_IDS          4096

struct test_io {
    struct hv_storvsc_request request;
    struct iovec iov;
    struct hv_storvsc_result result;
    uint8_t sense[20];
    unsigned done_count;
};

struct fixture {
    struct loop_guest *loop;
    struct loop_disk *disk;
    struct hv_storvsc *storvsc;
    struct hv_dma *dma;
    uint8_t *memory; /* FIXTURE_MEMORY_BYTES the host can reach */
    uint8_t *data;   /* of the disk, filled with A5; NULL when the test gave none to fill */
    struct loop_packet last;
    uint8_t last_data[64]; /* of a short list to the device */
    uint32_t last_bytes;
    uint64_t ids[FIXTURE_IDS];
    unsigned id_count, ids_repeated;
    uint8_t fail_opcode, fail_key;
    uint16_t fail_asc;
    bool silent; /* take packets, answer nothing */
    int error;   /* of hv_storvsc_open() */
    struct hv_storvsc_opts opts;
    unsigned events[8]; /* by kind */
};

/** 8 MiB of 512-byte blocks with all features; 64 KiB transfers. */
struct loop_disk fixture_disk(void);
/** Open; `go` may set limits of the bus.  Options of the driver: fixture_start_with(). */
void fixture_start(struct fixture *f, struct loop_disk *disk, const struct loop_guest_opts *go);
void fixture_start_with(struct fixture *f, struct loop_disk *disk, const struct loop_guest_opts *go,
                        const struct hv_storvsc_opts *so);
void fixture_stop(struct fixture *f);
/** Every command with this opcode fails from now on. */
void fixture_fail_opcode(struct fixture *f, uint8_t opcode, uint8_t key, uint16_t asc);

struct test_io fixture_io(enum hv_storvsc_op op, uint64_t lba, uint64_t count, void *data,
                          size_t bytes);
/** Queue 0: submit and poll until done; its error.  -ETIME when it is not answered in 5 s. */
int fixture_run(struct fixture *f, struct test_io *io);
/** Submit only; `io` must stay where it is. */
int fixture_submit(struct fixture *f, struct test_io *io);

#endif
