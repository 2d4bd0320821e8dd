/* SPDX-License-Identifier: BSD-3-Clause */
/* A storage controller on the loop host, and a guest that says exactly what a test wants it to say. */
#ifndef HV_TEST_STORVSP_RIG_H
#define HV_TEST_STORVSP_RIG_H

#include <hv/storvsp.h>
#include <hv/wire/scsi.h>
#include <hv/wire/vstor.h>

#include "loop_host.h"

#define RIG_BLOCKS 2048u /* of 512 bytes: each memory disk */

struct storvsp_rig {
    struct loop *loop;
    struct hv_storvsp *storvsp;
    struct hv_disk *disks[4];
    char log[2048];
    bool destroyed;
};

struct rig_reply {
    uint64_t id;
    uint32_t bytes;
    uint16_t type;
    struct hv_vstor_packet packet;
};

/** `luns` memory disks; opts may be NULL; rings of data_bytes (0 = 64 KiB).  The primary channel is open. */
void rig_init(struct storvsp_rig *rig, const struct hv_storvsp_opts *opts, unsigned luns,
              uint32_t data_bytes);
/** Closes everything; what is left in flight is the test's fault. */
void rig_fini(struct storvsp_rig *rig);
struct hv_disk *rig_disk(struct storvsp_rig *rig);

/** In-band vstor packet of `bytes`; completion requested. */
void rig_send(struct storvsp_rig *rig, uint16_t index, uint64_t id, const void *packet,
              uint32_t bytes);
/** Poll, then take the next packet from the host.  False = there is none. */
bool rig_receive(struct storvsp_rig *rig, uint16_t index, struct rig_reply *ret_reply);
/** Send a header-only operation, return the NTSTATUS of its answer; 0xffffffff = none came. */
uint32_t rig_operation(struct storvsp_rig *rig, uint16_t index, uint32_t operation,
                       uint16_t argument);
/** Whole handshake; CUnit assertions. */
void rig_handshake(struct storvsp_rig *rig, uint16_t version);

struct rig_srb {
    uint8_t path, target, lun;
    uint8_t cdb[16];
    uint8_t cdb_bytes;
    uint8_t data_in;
    uint32_t data_bytes;   /* said in the SRB */
    uint32_t range_bytes;  /* of the GPA range; 0 = none, in-band */
    uint32_t page_offset;  /* of the range */
    uint32_t first_page;   /* of guest memory */
    uint32_t packet_bytes; /* 0 = 64 */
};
/** Fills in a READ(16) or WRITE(16) of `blocks` at `lba`. */
struct rig_srb rig_rw(bool write, uint8_t lun, uint64_t lba, uint32_t blocks);
/** A command without data. */
struct rig_srb rig_command(uint8_t lun, uint8_t op);
void rig_send_srb(struct storvsp_rig *rig, uint16_t index, uint64_t id, const struct rig_srb *srb);
/** Send and wait: the answer, or ->bytes == 0. */
struct rig_reply rig_do(struct storvsp_rig *rig, const struct rig_srb *srb);
uint8_t *rig_page(struct storvsp_rig *rig, uint32_t page);

#endif
