/* SPDX-License-Identifier: BSD-3-Clause */
#include "hyperv.h"

#include <ctype.h>
#include <string.h>

#define SIGNATURE_HV1       0x31237648u /* "Hv#1" in eax of the second leaf */
#define HYPERVISOR_PRESENT  (1u << 31)  /* ecx of leaf 1 */
#define PRIVILEGE_ISOLATION (1u << 22)  /* ebx of leaf 3: leaf 12 tells more */

const struct hyperv_bit hyperv_features[] = {
    {3, EAX, 0, "virtual processor run time"},
    {3, EAX, 1, "partition reference counter"},
    {3, EAX, 2, "SynIC: messages and events"},
    {3, EAX, 3, "synthetic timers"},
    {3, EAX, 4, "APIC registers"},
    {3, EAX, 5, "hypercalls"},
    {3, EAX, 6, "virtual processor index"},
    {3, EAX, 7, "system reset"},
    {3, EAX, 8, "statistics pages"},
    {3, EAX, 9, "reference TSC page"},
    {3, EAX, 10, "guest idle"},
    {3, EAX, 11, "TSC and APIC frequencies"},
    {3, EAX, 12, "debugging registers"},
    {3, EAX, 13, "re-enlightenment after migration"},
    {3, EBX, 0, "may create partitions"},
    {3, EBX, 1, "may see partition ids"},
    {3, EBX, 4, "may post messages"},
    {3, EBX, 5, "may signal events"},
    {3, EBX, 6, "may create ports"},
    {3, EBX, 7, "may connect ports"},
    {3, EBX, 8, "may read statistics"},
    {3, EBX, 11, "may debug"},
    {3, EBX, 12, "may manage processors"},
    {3, EBX, 16, "virtual secure mode"},
    {3, EBX, 17, "virtual processor registers"},
    {3, EBX, 20, "extended hypercalls"},
    {3, EBX, 21, "may start virtual processors"},
    {3, EBX, 22, "isolation"},
    {3, EDX, 1, "guest debugging"},
    {3, EDX, 2, "performance monitor"},
    {3, EDX, 3, "processors come and go"},
    {3, EDX, 4, "hypercall input in XMM registers"},
    {3, EDX, 5, "virtual guest idle state"},
    {3, EDX, 6, "hypervisor sleep state"},
    {3, EDX, 7, "NUMA distances"},
    {3, EDX, 8, "timer frequencies"},
    {3, EDX, 9, "synthetic machine checks"},
    {3, EDX, 10, "guest crash registers"},
    {3, EDX, 11, "debug registers"},
    {3, EDX, 14, "flush of extended address ranges"},
    {3, EDX, 15, "hypercall output in XMM registers"},
    {3, EDX, 17, "SINT polling"},
    {3, EDX, 19, "direct synthetic timers"},
    {0, 0, 0, NULL},
};

const struct hyperv_bit hyperv_recommendations[] = {
    {4, EAX, 0, "hypercall to switch address spaces"},
    {4, EAX, 1, "hypercall to flush the local TLB"},
    {4, EAX, 2, "hypercall to flush remote TLBs"},
    {4, EAX, 3, "registers for APIC access"},
    {4, EAX, 4, "register for reset"},
    {4, EAX, 5, "relaxed timing"},
    {4, EAX, 6, "DMA remapping"},
    {4, EAX, 7, "interrupt remapping"},
    {4, EAX, 8, "x2APIC registers"},
    {4, EAX, 9, "no automatic end of interrupt"},
    {4, EAX, 10, "hypercall for IPIs"},
    {4, EAX, 11, "extended processor masks"},
    {4, EAX, 12, "nested: Hyper-V runs in Hyper-V"},
    {4, EAX, 14, "enlightened VMCS"},
    {4, EAX, 15, "synchronised timeline"},
    {4, EAX, 17, "direct flush of the whole TLB"},
    {4, EAX, 18, "cores are not shared between guests"},
    {0, 0, 0, NULL},
};

const struct hyperv_bit hyperv_hardware[] = {
    {6, EAX, 0, "APIC overlay"},
    {6, EAX, 1, "MSR bitmaps"},
    {6, EAX, 2, "performance counters"},
    {6, EAX, 3, "second-level address translation"},
    {6, EAX, 4, "DMA remapping"},
    {6, EAX, 5, "interrupt remapping"},
    {6, EAX, 6, "memory scrubber"},
    {6, EAX, 7, "DMA protection"},
    {6, EAX, 8, "HPET"},
    {6, EAX, 9, "volatile synthetic timers"},
    {0, 0, 0, NULL},
};

const struct hyperv_bit hyperv_nested[] = {
    {10, EAX, 17, "direct virtual flush"},
    {10, EAX, 18, "flush by guest physical address"},
    {10, EAX, 19, "enlightened MSR bitmap"},
    {0, 0, 0, NULL},
};

const struct hyperv_limit hyperv_limits[] = {
    {5, EAX, "virtual processors"},
    {5, EBX, "logical processors"},
    {5, ECX, "interrupt vectors for remapping"},
    {0, 0, NULL},
};

static void read_vendor(const uint32_t registers[4], char vendor[13])
{
    memcpy(vendor, &registers[EBX], 4);
    memcpy(vendor + 4, &registers[ECX], 4);
    memcpy(vendor + 8, &registers[EDX], 4);
    vendor[12] = '\0';
    for (char *c = vendor; *c; c++)
        if (!isprint((unsigned char)*c))
            *c = '?';
}

void hyperv_read(const struct sys *sys, struct hyperv *ret_hyperv)
{
    struct hyperv hyperv = {0};
    uint32_t registers[4];

    sys_cpuid(sys, 1, registers);
    hyperv.hypervisor = registers[ECX] & HYPERVISOR_PRESENT;
    if (hyperv.hypervisor) {
        sys_cpuid(sys, HYPERV_LEAF_FIRST, hyperv.leaf[0]);
        read_vendor(hyperv.leaf[0], hyperv.vendor);
        sys_cpuid(sys, HYPERV_LEAF_FIRST + 1, registers);
        hyperv.present =
            registers[EAX] == SIGNATURE_HV1 && hyperv.leaf[0][EAX] >= HYPERV_LEAF_FIRST + 5;
    }
    if (hyperv.present) {
        hyperv.last_leaf = hyperv.leaf[0][EAX];
        for (uint32_t i = 1; i < HYPERV_LEAVES && HYPERV_LEAF_FIRST + i <= hyperv.last_leaf; i++)
            sys_cpuid(sys, HYPERV_LEAF_FIRST + i, hyperv.leaf[i]);
    }
    *ret_hyperv = hyperv;
}

const char *hyperv_isolation(const struct hyperv *hyperv)
{
    static const char *const names[] = {"none", "VBS", "SEV-SNP", "TDX"};
    uint32_t type = hyperv->leaf[12][EBX] & 0xf;

    if (!(hyperv->leaf[3][EBX] & PRIVILEGE_ISOLATION))
        return "none";
    return type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown";
}

bool hyperv_has_paravisor(const struct hyperv *hyperv)
{
    return hyperv->leaf[3][EBX] & PRIVILEGE_ISOLATION && hyperv->leaf[12][EAX] & 1;
}
