/* SPDX-License-Identifier: BSD-3-Clause */
/* The fault plan: what goes wrong at the nth request.  Syntax: hv/storvsp.h. */
#ifndef HV_STORVSP_FAULT_H
#define HV_STORVSP_FAULT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum hv_storvsp_fault_action {
    HV_FAULT_NONE,
    HV_FAULT_DROP,
    HV_FAULT_DELAY,
    HV_FAULT_REPEAT,
    HV_FAULT_SHORTEN,
    HV_FAULT_WRONG_ID,
    HV_FAULT_BAD_INDEX,
    HV_FAULT_BAD_LENGTH,
    HV_FAULT_BAD_SENSE,
    HV_FAULT_MEDIUM_ERROR,
    HV_FAULT_NOSPACE,
    HV_FAULT_BUSY,
    HV_FAULT_RESCIND,
};

struct hv_storvsp_fault_rule {
    enum hv_storvsp_fault_action action;
    uint32_t delay_ms;
    uint64_t first; /* counted from 1 */
    uint64_t every; /* 0 = the first only, 1 = from the first on */
};

#define HV_FAULT_RULES_MAX    32u
#define HV_FAULT_DELAY_MAX_MS 600000u

struct hv_storvsp_fault_plan {
    size_t count;
    struct hv_storvsp_fault_rule rules[HV_FAULT_RULES_MAX];
    _Atomic uint64_t seen; /* requests counted so far, over all channels */
};

/** @why  At least HV_DISK_WHY_BYTES.  Returns 0 or -EINVAL; the plan is written on success only. */
int hv_storvsp_fault_parse(const char *text, struct hv_storvsp_fault_plan *ret_plan, char *why);

/** Count one request.  The first rule that fits wins; NULL = nothing goes wrong. */
const struct hv_storvsp_fault_rule *hv_storvsp_fault_next(struct hv_storvsp_fault_plan *plan);

/** Is there a rule with this action? */
int hv_storvsp_fault_has(const struct hv_storvsp_fault_plan *plan,
                         enum hv_storvsp_fault_action action);

#endif
