/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SCSI commands of the disk.  Private to host/storvsp.
 *
 * A command is a row in a table (scsi_command.c) and a start function, which either fills the result and returns
 * HV_STEP_DONE, or describes one transfer in impl.io, names the function that takes its result in impl.step, and returns
 * HV_STEP_IO.  The caller runs these steps; nothing here waits or recurses.
 *
 * Bytes and codes: T10 SPC-3, SBC-3; docs/wire.md "SCSI".
 */
#ifndef HV_STORVSP_SCSI_COMMAND_H
#define HV_STORVSP_SCSI_COMMAND_H

#include <hv/base/bits.h>
#include <hv/base/endian.h>

#include "disk_impl.h"

#define HV_SCSI_CDB_FUA     0x08u
#define HV_SCSI_CDB_PROTECT 0xe0u

#define HV_ASC_INVALID_RELEASE           0x2604u
#define HV_ASC_MODE_PARAMETERS_CHANGED   0x2a01u
#define HV_ASC_RESERVATIONS_RELEASED     0x2a04u
#define HV_ASC_NO_REGISTRATION_RESOURCES 0x5504u

/* What a reservation of another initiator does to a command (SPC-3 table 31, SBC-3 table 13). */
enum hv_scsi_access {
    HV_ACCESS_ANY,   /* always allowed */
    HV_ACCESS_READ,  /* refused by exclusive access */
    HV_ACCESS_WRITE, /* refused by write exclusive too */
};

#define HV_SCSI_MEDIA     0x01u /* touches the medium: never beside a command that runs alone */
#define HV_SCSI_MODIFIES  0x02u /* refused on a read-only disk */
#define HV_SCSI_ALONE     0x04u /* runs alone */
#define HV_SCSI_NO_UA     0x08u /* neither reports nor clears unit attentions */
#define HV_SCSI_LEGACY_OK 0x10u /* allowed beside somebody else's RESERVE(6) */

struct hv_scsi_operation {
    enum hv_step (*start)(struct hv_disk_queue *queue, struct hv_scsi_command *command);
    uint8_t access; /* enum hv_scsi_access */
    uint8_t flags;
};

/* impl.state of the commands that move data */
#define HV_SCSI_STATE_VERIFY  0x1u /* after writing, look whether it is there */
#define HV_SCSI_STATE_COMPARE 0x2u /* and equals the command's data */

#define HV_SCSI_WRITE_SAME_MAX (32u << 20) /* bytes */
#define HV_SCSI_UNMAP_MAX      256u        /* descriptors */
#define HV_SCSI_COMPARE_MAX    (HV_DISK_BOUNCE_BYTES / 2)

typedef enum hv_step hv_scsi_step(struct hv_disk_queue *queue, struct hv_scsi_command *command);

/* scsi_command.c */
const struct hv_scsi_operation *hv_scsi_find(const uint8_t *cdb, uint8_t cdb_bytes);
bool hv_scsi_runs_alone(const struct hv_scsi_command *command);

/* scsi_sense.c: each fills the result and returns HV_STEP_DONE, to be returned at once */
enum hv_step hv_scsi_good(struct hv_scsi_command *command, uint64_t transferred_bytes);
enum hv_step hv_scsi_fail(struct hv_scsi_command *command, uint8_t key, uint16_t asc);
enum hv_step hv_scsi_bad_field(struct hv_scsi_command *command);
enum hv_step hv_scsi_bad_parameter(struct hv_scsi_command *command);
enum hv_step hv_scsi_conflict(struct hv_scsi_command *command);
enum hv_step hv_scsi_overrun(struct hv_scsi_command *command);
/** A store's errno.  `at` is the byte on the disk where the failed transfer began. */
enum hv_step hv_scsi_io_error(struct hv_disk_queue *queue, struct hv_scsi_command *command,
                              int64_t error, bool writing, uint64_t at);
void hv_scsi_set_information(struct hv_scsi_command *command, uint64_t information);
void hv_scsi_write_fixed_sense(uint8_t sense[18], uint8_t key, uint16_t asc);

/* scsi_data.c */
/** Data in: at most `allocation` bytes of `data`, as far as the guest's buffer reaches. */
enum hv_step hv_scsi_reply(struct hv_scsi_command *command, const void *data, size_t bytes,
                           uint64_t allocation);
/** Copy a parameter list of `bytes` once.  False: the result is filled. */
bool hv_scsi_take(struct hv_scsi_command *command, void *to, size_t bytes);
bool hv_scsi_has_data_out(struct hv_scsi_command *command, uint64_t bytes);
void hv_scsi_data(const struct hv_scsi_command *command, uint64_t skip, struct hv_iov_cursor *ret);
/** LBA and count of a 6, 10, 12 or 16 byte CDB in impl.offset and impl.length.  False: the result is filled. */
bool hv_scsi_range(struct hv_disk_queue *queue, struct hv_scsi_command *command);
bool hv_scsi_check_range(struct hv_disk *disk, struct hv_scsi_command *command, uint64_t lba,
                         uint64_t blocks);

/* Shared steps, scsi_rw.c */
/** Make what was written durable, then good with `length` transferred. */
enum hv_step hv_scsi_sync(struct hv_disk_queue *queue, struct hv_scsi_command *command);
enum hv_step hv_scsi_sync_done(struct hv_disk_queue *queue, struct hv_scsi_command *command);
/** FUA, or no write cache to hold the data back in. */
bool hv_scsi_wants_durable(const struct hv_disk *disk, bool fua);
/** Second half of WRITE AND VERIFY, scsi_verify.c. */
enum hv_step hv_scsi_verify_written(struct hv_disk_queue *queue, struct hv_scsi_command *command);

hv_scsi_step hv_scsi_read, hv_scsi_write;                      /* scsi_rw.c */
hv_scsi_step hv_scsi_synchronize_cache, hv_scsi_start_stop;    /* scsi_rw.c */
hv_scsi_step hv_scsi_verify, hv_scsi_write_and_verify;         /* scsi_verify.c */
hv_scsi_step hv_scsi_compare_and_write;                        /* scsi_verify.c */
hv_scsi_step hv_scsi_unmap, hv_scsi_write_same;                /* scsi_unmap.c */
hv_scsi_step hv_scsi_get_lba_status;                           /* scsi_unmap.c */
hv_scsi_step hv_scsi_inquiry;                                  /* scsi_inquiry.c */
hv_scsi_step hv_scsi_mode_sense, hv_scsi_mode_select;          /* scsi_mode.c */
hv_scsi_step hv_scsi_test_unit_ready, hv_scsi_request_sense;   /* scsi_misc.c */
hv_scsi_step hv_scsi_prevent_removal, hv_scsi_send_diagnostic; /* scsi_misc.c */
hv_scsi_step hv_scsi_format_unit, hv_scsi_read_capacity_10;    /* scsi_misc.c */
hv_scsi_step hv_scsi_service_action_in;                        /* scsi_misc.c */
hv_scsi_step hv_scsi_reserve, hv_scsi_release;                 /* scsi_reserve.c */
hv_scsi_step hv_scsi_persistent_in;                            /* scsi_reserve.c */
hv_scsi_step hv_scsi_persistent_out;                           /* scsi_reserve_out.c */

/* scsi_attention.c */
/** Who is it, is there something to tell it, may it?  False: the result is filled. */
bool hv_scsi_admit(struct hv_disk_queue *queue, struct hv_scsi_command *command);
/** The oldest pending attention of an initiator, taken; 0 = none.  Lock held. */
uint16_t hv_scsi_take_attention(struct hv_disk *disk, uint64_t initiator);
/** Lock held.  `to_all_but`: tell everybody except `initiator`; else only `initiator`. */
void hv_scsi_tell(struct hv_disk *disk, uint64_t initiator, bool to_all_but, uint16_t asc);

/* scsi_reserve.c; lock held */
bool hv_scsi_conflicts(const struct hv_disk *disk, const struct hv_scsi_command *command);
struct hv_registration *hv_reservations_find(struct hv_disk *disk, uint64_t initiator);
bool hv_reservations_all_registrants(const struct hv_reservations *r);
bool hv_reservations_registrants_only(uint8_t type);
bool hv_reservations_is_holder(const struct hv_disk *disk, uint64_t initiator);
void hv_reservations_update_gate(struct hv_disk *disk);

#endif
