/* SPDX-License-Identifier: BSD-3-Clause */
/* Between link_tap.c (frames) and link_tap_open.c (the device). */
#ifndef HV_NETVSP_LINK_TAP_H
#define HV_NETVSP_LINK_TAP_H

#include <linux/virtio_net.h>
#include <net/if.h>

#include "link_impl.h"

/* struct virtio_net_hdr_v1 in front of every frame; the kernel is told so. */
#define HV_TAP_HEADER_BYTES 12u

struct hv_tap {
    char name[IFNAMSIZ];
    bool is_ours; /* made by us, so that its MTU is ours to set */
    bool has_offloads;
    _Atomic bool is_gone; /* deleted under us */
};

#define HV_TAP_TRAIN_IOV 256u

/** Several TCP segments as one frame for the kernel: iov[0] the virtio header, iov[1] the headers, then payload. */
struct hv_tap_train {
    struct virtio_net_hdr_v1 header;
    uint8_t headers[HV_OFFLOAD_HEADER_MAX];
    uint32_t header_bytes;
    uint32_t payload_bytes;
    uint32_t iov_count;
    struct iovec iov[HV_TAP_TRAIN_IOV];
};

/** How many of the frames, from the first, make a train; 1 = none, the first goes as it is and `train` says nothing. */
uint16_t hv_tap_train_collect(struct hv_tap_train *train, const struct hv_frame *frames,
                              uint16_t count);

/** Parse "NAME[,kernel-offloads=off]".  0 or -EINVAL with `why`. */
int hv_tap_parse(struct hv_tap *tap, char *text, char why[HV_NETVSP_WHY_BYTES]);
/**
 * One descriptor per queue, made or attached to.
 * 0, -EPERM, -EBUSY, -ENOENT (no tun driver), -EINVAL (not a tap, or of other flags), or another negative errno.
 */
int hv_tap_open(struct hv_tap *tap, uint16_t queues, int *ret_fds, char why[HV_NETVSP_WHY_BYTES]);
void hv_tap_set_carrier(int fd, bool up);
void hv_tap_set_mtu(const struct hv_tap *tap, uint32_t mtu, const struct hv_log_hook *log);

#endif
