/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A system with VMBus devices bound to uio_hv_generic, made of files in a scratch folder: what sysfs shows under a
 * kernel of some generation, a sparse file in place of /dev/uioN, and a socket pair for each open of it, whose other
 * end plays the kernel's event counter.  The test is the kernel and the host; nothing happens by itself.
 *
 * Facts of the generations: docs/uio.md, "Kernels".
 */
#ifndef UIO_TREE_H
#define UIO_TREE_H

#include <hv/ring.h>
#include <hv/wire/monitor.h>

#include "uio_env.h"

#define TREE_OPENS_MAX  8
#define TREE_MAP_STRIDE (UINT64_C(64) << 20)
#define TREE_INSTANCE   "f8615163-0001-1000-2000-00155d4edc44"
#define TREE_NETWORK    "f8615163-df3e-46c5-913f-f2d2f965ed0e"
#define TREE_BALLOON                                                                               \
    "525074dc-8985-46e2-8057-a307dc18a502" /* unknown to uio_hv_generic's table of sizes */

/** What differs from kernel to kernel. */
struct tree_kernel {
    const char *release;
    uint32_t page_bytes;
    uint32_t ring_bytes;      /* each, of an unknown class */
    uint32_t small_map_bytes; /* interrupt and monitor page */
    bool buffers_for_all;     /* recv and send maps exist whatever the class */
    bool mask_at_open;   /* the kernel sets the primary's mask at open, and at each interrupt */
    bool sub_interrupts; /* the kernel survives an interrupt of a sub-channel */
};
extern const struct tree_kernel tree_kernels[];
extern const size_t tree_kernel_count;
const struct tree_kernel *tree_kernel(const char *release);

struct tree_device {
    const char *class_id; /* without braces */
    const char *instance_id;
    uint32_t relid;
    uint32_t number; /* /dev/uioN */
    int monitor_id;  /* -1 = none */
};

struct tree {
    const struct tree_kernel *kernel;
    struct hv_uio_env env;
    char root[64], sysfs[80], dev[80], proc[80];
    int uevent_fd; /* the kernel's end */
    int opens
        [TREE_OPENS_MAX]; /* kernel's ends of what is open, in the order of opening; -1 = none */
    unsigned open_count;  /* opens so far */
    uint32_t events;
    int open_error; /* the next open fails so */
    uint32_t timeout_ms;
    unsigned told[4]; /* calls of the event callback by enum hv_vmbus_event */
    char log[16384];  /* everything that was logged */
};

void tree_init(struct tree *tree, const struct tree_kernel *kernel);
void tree_fini(struct tree *tree);
/** A file below the root, folders made on the way. */
void tree_put(struct tree *tree, const char *text, const char *path_format, ...)
    __attribute__((format(printf, 3, 4)));
/** Take a file or a whole folder away. */
void tree_remove(struct tree *tree, const char *path_format, ...)
    __attribute__((format(printf, 2, 3)));
bool tree_has(const struct tree *tree, const char *path_format, ...)
    __attribute__((format(printf, 2, 3)));
/** A device bound to uio_hv_generic, closed. */
void tree_device(struct tree *tree, const struct tree_device *device);
/** The network device that most tests use: relid 14, /dev/uio3, monitor id 37 (or none). */
struct tree_device tree_network(int monitor_id);

/** A sub-channel that the kernel lists: before it is open, after, and its ring file. */
void tree_sub(struct tree *tree, const struct tree_device *device, uint32_t relid, unsigned index,
              int monitor_id);
void tree_sub_opened(struct tree *tree, const struct tree_device *device, uint32_t relid);
void tree_sub_ring(struct tree *tree, const struct tree_device *device, uint32_t relid,
                   uint32_t ring_bytes);

/** hv_uio_vmbus_open() with everything of the tree. */
int tree_open(struct tree *tree, const char *address, struct hv_vmbus **ret_bus);
/** The instance as a GUID. */
struct hv_guid tree_instance(const struct tree_device *device);

/** The host's view of the rings: `to_host` is what the guest writes. */
void tree_map_rings(struct tree *tree, const struct tree_device *device,
                    struct hv_ring_area *ret_to_host, struct hv_ring_area *ret_to_guest);
void tree_map_sub_rings(struct tree *tree, const struct tree_device *device, uint32_t relid,
                        struct hv_ring_area *ret_to_host, struct hv_ring_area *ret_to_guest);
struct hv_monitor_page *tree_map_monitor(struct tree *tree, const struct tree_device *device);
void tree_unmap_monitor(struct hv_monitor_page *page);

/** An interrupt of the device: every open of it sees the count move. */
void tree_interrupt(struct tree *tree);
/** How often the guest signalled by write() since the last call, through any open. */
unsigned tree_writes(struct tree *tree);
/** The device is gone for all who have it open. */
void tree_die(struct tree *tree);
/** The kernel announces something. */
void tree_uevent(struct tree *tree, const char *subsystem);

/** In-band packet with `words` equal words, as the host or as the guest would. */
void tree_send(struct hv_ring_tx *tx, uint64_t id, uint64_t word, uint32_t words);
/** Next packet is that; takes it. */
bool tree_take(struct hv_ring_rx *rx, uint64_t id, uint64_t word, uint32_t words);

bool tree_fd_readable(int fd);
unsigned tree_count_fds(void);
unsigned tree_count_maps(void);

#endif
