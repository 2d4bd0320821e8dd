/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the hypervisor says by CPUID.  Facts: Microsoft's Hypervisor Top Level Functional Specification, "Feature and
 * Interface Discovery"; Linux include/hyperv/hvgdk_mini.h.
 */
#ifndef HVCTL_HYPERV_H
#define HVCTL_HYPERV_H

#include "sys.h"

#define HYPERV_LEAF_FIRST 0x40000000u
#define HYPERV_LEAVES     13 /* 0x40000000 .. 0x4000000c */

enum hyperv_register { EAX, EBX, ECX, EDX };

struct hyperv {
    bool hypervisor;    /* CPUID says that there is one */
    bool present;       /* and it speaks Hyper-V's interface */
    char vendor[13];    /* printable */
    uint32_t last_leaf; /* zeroes beyond */
    uint32_t leaf[HYPERV_LEAVES][4];
};

/** A bit with its meaning; the table ends with a NULL name. */
struct hyperv_bit {
    uint8_t leaf; /* from HYPERV_LEAF_FIRST */
    uint8_t reg;  /* enum hyperv_register */
    uint8_t bit;
    const char *name;
};
extern const struct hyperv_bit hyperv_features[];        /* leaf 3 */
extern const struct hyperv_bit hyperv_recommendations[]; /* leaf 4 */
extern const struct hyperv_bit hyperv_hardware[]; /* leaf 6: what the hypervisor uses itself */
extern const struct hyperv_bit hyperv_nested[];   /* leaf 10 */

/** A number in a leaf. */
struct hyperv_limit {
    uint8_t leaf, reg;
    const char *name;
};
extern const struct hyperv_limit hyperv_limits[];

void hyperv_read(const struct sys *sys, struct hyperv *ret_hyperv);
static inline bool hyperv_has(const struct hyperv *hyperv, const struct hyperv_bit *bit)
{
    return hyperv->leaf[bit->leaf][bit->reg] >> bit->bit & 1;
}
/** "none", "VBS", "SEV-SNP", "TDX", "unknown". */
const char *hyperv_isolation(const struct hyperv *hyperv);
bool hyperv_has_paravisor(const struct hyperv *hyperv);

#endif
