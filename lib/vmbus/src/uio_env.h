/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The system that the uio transport runs on.  A test describes another one: a recorded sysfs tree, files in place of
 * devices, another kernel, another page size.
 */
#ifndef HV_VMBUS_UIO_ENV_H
#define HV_VMBUS_UIO_ENV_H

#include <hv/vmbus.h>

#define HV_UIO_KERNEL(major, minor, patch)                                                         \
    ((uint32_t)(major) << 24 | (uint32_t)(minor) << 16 | (uint32_t)(patch))

struct hv_uio_env {
    const char *sysfs; /* "/sys"; these three live as long as the bus */
    const char *dev;   /* "/dev" */
    const char *proc;  /* "/proc" */
    uint32_t page_bytes;
    uint64_t map_stride; /* where map N of a device starts in its file, for N: the page size */
    uint32_t kernel;     /* HV_UIO_KERNEL() */
    uint32_t file_flags; /* for memfd_create(2) of DMA memory */
    int uevent_fd;       /* news of the kernel, a datagram each, taken over; -1 = netlink */
    /**
     * Open a device: a descriptor to map, and one that counts events and takes signals; may be the same one.
     * Returns 0 or a negative errno.  NULL: open(2).
     */
    int (*open_device)(void *arg, const char *path, int *ret_map_fd, int *ret_event_fd);
    void *arg;
};

/** The system as it is. */
void hv_uio_env_init(struct hv_uio_env *env);

/** "6.12.95+deb12-amd64" as HV_UIO_KERNEL(); 0 when it is none. */
uint32_t hv_uio_parse_kernel(const char *release);

/** hv_vmbus_open() of a "uio:" address in another system.  `env` is copied. */
int hv_uio_vmbus_open(const char *address, const struct hv_vmbus_opts *opts,
                      const struct hv_uio_env *env, struct hv_vmbus **ret_bus);

#endif
