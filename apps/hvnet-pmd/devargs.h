/* SPDX-License-Identifier: BSD-3-Clause */
/* What stands behind the comma of --vdev net_hvnet0,... or -a <instance>,...: parsed and range-checked, without DPDK. */
#ifndef HVNET_DEVARGS_H
#define HVNET_DEVARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hv/netvsc.h>

#define HVNET_ADDRESS_BYTES 192
#define HVNET_WHY_BYTES     192

struct hvnet_devargs {
    char address[HVNET_ADDRESS_BYTES]; /* for hv_vmbus_open() */
    uint16_t queues;
    uint32_t ring_bytes;
    uint32_t receive_bytes, send_bytes;
    uint32_t rx_copybreak;
    uint32_t tx_copybreak;
    uint32_t aggregate;
    uint32_t max_nvsp; /* HV_NVSP_VERSION_*, 0 = newest */
    uint32_t timeout_ms;
};

/**
 * `args` may be NULL or empty.  `bus_address`: the address that the bus implies (then `addr` is unknown), or NULL (then
 * it is required).  Returns 0, or -EINVAL with a sentence in why[] that names the argument and what is allowed.
 */
int hvnet_devargs_parse(const char *args, const char *bus_address, struct hvnet_devargs *ret_args,
                        char why[HVNET_WHY_BYTES]);
/** For RTE_PMD_REGISTER_PARAM_STRING and --help. */
#define HVNET_DEVARGS_TEXT                                                                         \
    "addr=unix:PATH[,INSTANCE] queues=<1-64> ring=<64-16384> rx_buffer=<1-31> tx_buffer=<1-31> "   \
    "rx_copybreak=<0-65535> tx_copybreak=<64-65535> aggregate=<0-64> max_nvsp=<1|2|4|5|6|6.1> "    \
    "timeout=<100-600000>"

/** Options of the device; the callers add log, event and MTU. */
void hvnet_devargs_to_opts(const struct hvnet_devargs *args, struct hv_netvsc_opts *opts);
/** "6.1" and so on; "?" when unknown. */
const char *hvnet_nvsp_text(uint32_t version);

#endif
