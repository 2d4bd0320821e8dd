/* SPDX-License-Identifier: BSD-3-Clause */
/* The fault plan of a NIC: what goes wrong at the nth message.  Syntax and meaning: hv/netvsp.h. */
#ifndef HV_NETVSP_FAULT_H
#define HV_NETVSP_FAULT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/** What is counted. */
enum hv_netvsp_fault_class {
    HV_NIC_FAULTS_REQUEST,
    HV_NIC_FAULTS_FROM_GUEST,
    HV_NIC_FAULTS_TO_GUEST,
    HV_NIC_FAULTS_CLASSES,
};

enum hv_netvsp_fault_action {
    HV_NIC_FAULT_NONE,
    HV_NIC_FAULT_REFUSE,
    HV_NIC_FAULT_IGNORE,
    HV_NIC_FAULT_DROP,
    HV_NIC_FAULT_DELAY,
    HV_NIC_FAULT_REPEAT,
    HV_NIC_FAULT_WRONG_ID,
    HV_NIC_FAULT_FAIL,
    HV_NIC_FAULT_LINK_FLAP,
    HV_NIC_FAULT_BAD_INDEX,
    HV_NIC_FAULT_RESCIND,
    HV_NIC_FAULT_BAD_OFFSET,
    HV_NIC_FAULT_BAD_RANGE,
    HV_NIC_FAULT_BAD_RNDIS,
    HV_NIC_FAULT_BAD_DATA,
    HV_NIC_FAULT_BAD_PPI,
    HV_NIC_FAULT_BAD_BUFFER,
    HV_NIC_FAULT_BAD_COUNT,
    HV_NIC_FAULT_BAD_RX_ID,
    HV_NIC_FAULT_RX_TWICE,
    HV_NIC_FAULT_NO_BUFFER,
};

struct hv_netvsp_fault_rule {
    enum hv_netvsp_fault_action action;
    enum hv_netvsp_fault_class counts;
    uint32_t delay_ms;
    uint64_t first; /* counted from 1 */
    uint64_t every; /* 0 = the first only, 1 = from the first on */
};

#define HV_NIC_FAULT_RULES_MAX    32u
#define HV_NIC_FAULT_DELAY_MAX_MS 600000u

struct hv_netvsp_fault_plan {
    size_t count;
    struct hv_netvsp_fault_rule rules[HV_NIC_FAULT_RULES_MAX];
    _Atomic uint64_t seen[HV_NIC_FAULTS_CLASSES]; /* over all channels */
};

/** @why  At least HV_NETVSP_WHY_BYTES.  Returns 0 or -EINVAL; the plan is written on success only. */
int hv_netvsp_fault_parse(const char *text, struct hv_netvsp_fault_plan *ret_plan, char *why);

/** Count one message of a class.  The first rule that fits wins; NULL = nothing goes wrong. */
const struct hv_netvsp_fault_rule *hv_netvsp_fault_next(struct hv_netvsp_fault_plan *plan,
                                                        enum hv_netvsp_fault_class counts);

#endif
