/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A NIC as an option word:
 *
 *   --nic LINK[,KEY=VALUE...]     a comma inside a value is written twice
 *
 *   LINK   tap:NAME | loop | pair:ID | source:BYTES | sink | pcap:IN[,OUT]; words that are no keys of the NIC belong to it
 *
 *   mac=XX:XX:XX:XX:XX:XX   default: made from LINK
 *   queues=1..64            default 1
 *   mtu=1500..9202          largest that a guest may have, default 9000
 *   max-nvsp=V              6.1 (default) 6.0 5.0 4.0 2.0 1.0
 *   packets-per-message=N   1 .. 32, default 8
 *   section=SIZE            of the guest's send buffer, 2K .. 64K, default 6K
 *   offloads=LIST           off, all (default), or some of tx-csum+tso+rx-csum+vlan+rss
 *   speed=BITS              what the guest is told, with K, M or G (powers of 1000), default 40G
 *   guid=GUID               instance id, default made from the MAC
 *   monitor                 offered with a monitor bit
 *   fault=PLAN              hv/netvsp.h
 */
#ifndef HV_HOST_NIC_OPTION_H
#define HV_HOST_NIC_OPTION_H

#include <hv/netvsp.h>

#include "common/option.h"

struct nic_option {
    struct hv_netvsp_opts opts; /* link and fault point into `words` and `link` */
    char *words;
    char *link;
};

/**
 * @ret_option  Release with nic_option_fini().
 * @why         At least HV_OPTION_WHY_BYTES.
 * Returns 0, -EINVAL (why says what), -ENOMEM.
 */
int nic_option_parse(const char *text, struct nic_option *ret_option, char *why);
void nic_option_fini(struct nic_option *option);

/** Instance id in its usual form. */
#define NIC_GUID_TEXT_BYTES 37
void nic_guid_text(const struct hv_guid *guid, char text[NIC_GUID_TEXT_BYTES]);
#define NIC_MAC_TEXT_BYTES 18
void nic_mac_text(const uint8_t mac[6], char text[NIC_MAC_TEXT_BYTES]);

#endif
