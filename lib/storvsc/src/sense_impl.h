/* SPDX-License-Identifier: BSD-3-Clause */
/* Private: what an answer of the host means.  Pure functions. */
#ifndef HV_STORVSC_SENSE_IMPL_H
#define HV_STORVSC_SENSE_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hv_storvsc_sense {
    uint8_t key;
    uint16_t asc;  /* asc << 8 | ascq; 0 when the data were too short to tell */
    bool deferred; /* about an earlier command */
};

/** Fixed (70, 71) and descriptor (72, 73) formats.  False: neither, or too short for a key; ret untouched. */
bool hv_storvsc_sense_parse(const uint8_t *sense, size_t bytes, struct hv_storvsc_sense *ret_sense);

struct hv_storvsc_verdict {
    enum {
        HV_STORVSC_DONE,       /* tell the caller `error` */
        HV_STORVSC_AGAIN,      /* send it again at once, a few times; then `error` */
        HV_STORVSC_AGAIN_LATER /* send it again after a pause, until its deadline; then `error` */
    } action;
    int error;
    bool rescan; /* the LUN may have changed or gone */
};

/**
 * Judge an answer.
 *
 * @srb_status  With its flag bits.  Codes that are not known are errors, whatever the SCSI status says.
 * @sense       NULL when there is none; valid sense needs CHECK CONDITION and the flag 0x80, which is checked here.
 */
struct hv_storvsc_verdict hv_storvsc_judge(uint8_t srb_status, uint8_t scsi_status,
                                           const struct hv_storvsc_sense *sense);
/** CHECK CONDITION and the flag: only then are the sense bytes sense. */
bool hv_storvsc_sense_is_valid(uint8_t srb_status, uint8_t scsi_status);

#endif
