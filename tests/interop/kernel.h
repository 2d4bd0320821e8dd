/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a Linux kernel with hv_vmbus and uio_hv_generic would be to an unmodified program, played over a socket of hv-host:
 * the NICs of the host are bound to uio_hv_generic, sub-channels are opened as the host offers them, and the program
 * finds all of it below a folder that stands for /sys/bus/vmbus.
 *
 * Memory is named by true physical page numbers where the program brings it (huge pages), and by numbers far above any
 * memory for what the kernel would have allocated: rings, buffers, monitor pages.
 */
#ifndef HV_INTEROP_KERNEL_H
#define HV_INTEROP_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KERNEL_UIO_MAPS 5

struct kernel_device;

/** Connect, bind every NIC, fill `sysfs` (an empty folder).  Ends the process with a message on failure. */
void kernel_start(const char *socket_path, const char *sysfs);
/** The device of /dev/uioN, or NULL. */
struct kernel_device *kernel_device(unsigned number);
/**
 * The first open opens the primary channel.  Returns a descriptor of the caller's that becomes readable with every
 * interrupt of the device and counts those that this open has not read, or a negative errno.
 */
int kernel_open(struct kernel_device *device);
/** Before the descriptor is closed.  The last close closes all channels. */
void kernel_close(struct kernel_device *device, int fd);
bool kernel_rescinded(const struct kernel_device *device);
/** write() of a 4-byte value to /dev/uioN, as Linux 6.16 has it: all channels at once. */
void kernel_irqcontrol(struct kernel_device *device, int32_t on);
/** What stands behind map `number`. */
bool kernel_map(const struct kernel_device *device, unsigned number, int *ret_fd, off_t *ret_offset,
                size_t *ret_bytes);
/** Let the host reach memory of the program.  0 or a negative errno of the host. */
int kernel_memory_add(uint64_t pfn, uint64_t pages, int fd, off_t offset);
void kernel_memory_remove(uint64_t pfn, uint64_t pages);

/* ---- sysfs.c ---- */

struct kernel_sysfs_device {
    unsigned number; /* of uioN */
    char guid[37], class_guid[37];
    uint32_t relid;
    int monitor_id; /* -1 = none */
    struct {
        char name[32];
        size_t bytes;
    } map[KERNEL_UIO_MAPS];
};
struct kernel_sysfs_channel {
    uint32_t relid;
    uint32_t sub_channel;
    int monitor_id;
    int ring_fd;
};
void sysfs_add_device(const char *sysfs, const struct kernel_sysfs_device *device);
/** What `state` says; before it, the device is bound and not open. */
void sysfs_set_open(const char *sysfs, const char *guid, bool is_open);
/** `ring` appears last, as in the kernel. */
void sysfs_add_channel(const char *sysfs, const char *guid,
                       const struct kernel_sysfs_channel *channel);
void sysfs_remove_channel(const char *sysfs, const char *guid, uint32_t relid);

__attribute__((noreturn, format(printf, 1, 2))) void kernel_panic(const char *format, ...);

#endif
