/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the uio transport (docs/uio.md), lowest layer first:
 *
 *   uio_sysfs.c       what the kernel says about a device: files, numbers, names
 *   uio_event.c       going to sleep, signals, and the end of a device: the owner's side
 *   uio_sub.c         sub-channels
 *   uio_channel.c     open, map, close
 *   uio_share.c       the buffers of a network device
 *   uio_scan.c        devices and sub-channels that come and go
 *   uio_memory.c      hugepages and their page numbers
 *   transport_uio.c   open, wait, and the table of operations
 *
 * The kernel speaks VMBus for us; what it tells is in sysfs, and all of it is looked at as if it came from outside.
 */
#ifndef HV_VMBUS_UIO_IMPL_H
#define HV_VMBUS_UIO_IMPL_H

#include <hv/wire/monitor.h>

#include "bus_impl.h"
#include "uio_env.h"

/** Longest name of a folder below devices/ that we accept: a GUID, or vmbus_N of old kernels. */
#define HV_UIO_NAME_BYTES 64

/** Maps of a uio device that the kernel knows at most. */
#define HV_UIO_MAPS_MAX 5u

/** How soon to look again while the kernel is at work on something; how long is opts.timeout_ms. */
#define HV_UIO_RETRY_MS 10u

/** One VMBus device as sysfs shows it. */
struct hv_uio_facts {
    char folder[HV_UIO_NAME_BYTES]; /* below bus/vmbus/devices */
    struct hv_guid class_id;
    struct hv_guid instance_id;
    uint32_t relid;
    uint32_t number; /* of /dev/uioN */
    bool monitored;
    uint8_t monitor_id;
};

/** One map of a uio device. */
struct hv_uio_map {
    uint32_t index; /* file offset = index * page size of the guest */
    uint64_t bytes;
    uint64_t skip; /* what is ours starts so many bytes into the first page */
};

/** A sub-channel whose rings we have mapped (or could not), in use or not. */
struct hv_uio_sub {
    struct hv_uio_sub *next;
    uint32_t relid;
    bool taken; /* a channel uses the rings */
    bool seen;  /* by the scan at work */
    struct hv_ring_area out;
    struct hv_ring_area in;
};

/** A device whose primary channel is open.  Control thread, but for the two flags. */
struct hv_uio_device {
    struct hv_uio_device *next;
    struct hv_uio *uio;
    struct hv_uio_facts facts;
    struct hv_channel *primary; /* NULL: closed, sub-channels are still about to be */
    struct hv_uio_sub *subs;
    void *monitor; /* the mapping, a page of the guest */
    struct hv_monitor_page *monitor_page;
    unsigned users;      /* channels */
    unsigned unborn;     /* sub-channels that the kernel lists and has not opened */
    uint64_t give_up_ns; /* when they should be born */
    /** A write() now could crash the kernel; who wants one leaves word in `owed`. */
    _Atomic bool hold;
    _Atomic bool owed;
};

/** What a channel has of the transport: hv_channel.link. */
struct hv_uio_link {
    struct hv_uio_device *device;
    struct hv_uio_sub *sub; /* NULL: the primary */
    int map_fd;             /* /dev/uioN; -1 at a sub-channel */
    int event_fd; /* /dev/uioN, opened for this channel alone, so that its count of events is its own */
    int wake_fd;  /* eventfd: the control thread has news */
    int timer_fd; /* hv_channel.ticks; else -1 */
};

struct hv_uio {
    struct hv_vmbus *bus;
    struct hv_uio_env env;
    int fd;        /* epoll of all that follows, and of primaries that may die */
    int uevent_fd; /* -1: no news by themselves */
    int timer_fd;
    bool look_again; /* the scan found something half done */
    struct hv_uio_device *devices;
};

/* ---- uio_sysfs.c ---- */

/**
 * Text of an attribute of a device, without white space at its end.  0, -ENOENT and the like, -EPROTO (too long, or no
 * text).
 */
int hv_uio_read(const struct hv_uio *uio, char *text, size_t bytes, const char *folder,
                const char *leaf_format, ...) __attribute__((format(printf, 5, 6)));
/** "123" or "0x1f" and nothing else, at most `max`.  0 or -EPROTO. */
int hv_uio_parse_number(const char *text, uint64_t max, uint64_t *ret_value);
/** The same from an attribute; errors of either. */
int hv_uio_read_number(const struct hv_uio *uio, uint64_t max, uint64_t *ret_value,
                       const char *folder, const char *leaf_format, ...)
    __attribute__((format(printf, 5, 6)));
/** A path below sysfs that belongs to the device.  0 or -ENAMETOOLONG. */
int hv_uio_path(const struct hv_uio *uio, char *path, size_t bytes, const char *folder,
                const char *leaf);
/** 0; -ENODEV (not bound to uio_hv_generic); -ENOENT (not there, or not all of it yet); -EPROTO (garbage). */
int hv_uio_read_facts(const struct hv_uio *uio, const char *folder, struct hv_uio_facts *ret_facts);
/** Look for the device with this instance.  Errors of hv_uio_read_facts(). */
int hv_uio_find_facts(const struct hv_uio *uio, const struct hv_guid *instance,
                      struct hv_uio_facts *ret_facts);
/** The map whose name starts so.  0, -ENOENT, -EPROTO.  `ret_rest` (may be NULL) gets the rest of the name. */
int hv_uio_find_map(const struct hv_uio *uio, const struct hv_uio_facts *facts, const char *prefix,
                    struct hv_uio_map *ret_map, char ret_rest[HV_UIO_NAME_BYTES]);
/** Calls `each` for the folders below `leaf` of the device (NULL: for all devices) until it says no. */
int hv_uio_each(const struct hv_uio *uio, const char *folder, const char *leaf,
                bool (*each)(void *arg, const char *name), void *arg);
/** What the kernel does with a sub-channel of ours (docs/uio.md, "Sub-channels"). */
bool hv_uio_sub_may_interrupt(uint32_t kernel);
bool hv_uio_sub_can_signal(uint32_t kernel);
/** The kernel has rings for this channel. */
bool hv_uio_sub_is_open(const struct hv_uio *uio, const char *folder, uint32_t relid);

/* ---- uio_event.c: owner thread, but for hv_uio_wake() and hv_uio_hold() ---- */

void hv_uio_signal(struct hv_channel *channel);
bool hv_uio_drain(struct hv_channel *channel);
void hv_uio_tick(struct hv_channel *channel);
void hv_uio_wake(struct hv_channel *channel);
/** The rings' memory is or will be gone.  Any thread; not after the channel was closed. */
void hv_uio_detach(struct hv_channel *channel);
/** Keep all channels of the device from write(), or let them again and do what is owed. */
void hv_uio_hold(struct hv_uio_device *device, bool hold);

/* ---- uio_channel.c ---- */

int hv_uio_channel_open(struct hv_channel *channel, const struct hv_channel_opts *opts);
void hv_uio_channel_close(struct hv_channel *channel);
int hv_uio_channel_set_target(struct hv_channel *channel, uint32_t target_vp);
bool hv_uio_channel_may_grow(const struct hv_channel *channel);
/** The device whose primary channel is open, or NULL. */
struct hv_uio_device *hv_uio_find_device(const struct hv_uio *uio, const struct hv_guid *instance);
/** Both rings of a channel from a device file; `bytes` is what the kernel says they have together. */
int hv_uio_map_rings(const struct hv_uio *uio, int fd, uint64_t offset, uint64_t bytes,
                     struct hv_ring_area *ret_out, struct hv_ring_area *ret_in);
int hv_uio_map_monitor(struct hv_channel *channel, struct hv_uio_link *link);
/** Open /dev/uioN for this channel. */
int hv_uio_open_device(const struct hv_channel *channel, struct hv_uio_link *link);

/** No interrupts any more; its rings may be mapped and not in use yet. */
void hv_uio_quiet(const struct hv_channel *channel);

/* ---- uio_sub.c ---- */

/**
 * The kernel has opened a sub-channel: map its rings and mask its interrupts, at once.  -EAGAIN: its file is not there
 * yet.  After any other failure the sub-channel is known all the same, without rings.
 */
int hv_uio_sub_map(struct hv_uio_device *device, uint32_t relid);
void hv_uio_sub_unmap(struct hv_uio_device *device, struct hv_uio_sub *sub);
int hv_uio_sub_open(struct hv_channel *channel, struct hv_uio_link *link);
/** Its rings stay mapped and masked as long as the kernel has the channel open: until the primary is closed. */
void hv_uio_sub_close(struct hv_channel *channel, struct hv_uio_link *link);
/** The primary is about to be closed. */
void hv_uio_end_subs(struct hv_uio_device *device);

/* ---- uio_share.c ---- */

int hv_uio_share(struct hv_channel *primary, enum hv_shared_kind kind, size_t bytes,
                 struct hv_shared *ret_shared);
void hv_uio_unshare(struct hv_channel *primary, enum hv_shared_kind kind);

/* ---- uio_scan.c ---- */

/** Look at all of sysfs that concerns us and tell the bus what is new.  0, -ENOENT (no VMBus here), -ENOMEM. */
int hv_uio_scan(struct hv_uio *uio);
/** The device's sub-channels alone: what is new, what is gone, what is unborn. */
void hv_uio_scan_subs(struct hv_uio_device *device);

/* ---- uio_memory.c ---- */

int hv_uio_dma_alloc(struct hv_dma *dma, size_t bytes);
int hv_uio_dma_register(struct hv_dma *dma, int fd, uint64_t offset);
void hv_uio_dma_free(struct hv_dma *dma);

/* ---- transport_uio.c ---- */

/** Until when to wait for what the kernel should have done by then, from now. */
uint64_t hv_uio_deadline(const struct hv_uio *uio);
/** Wait a moment for the kernel: HV_UIO_RETRY_MS, or until it has news. */
void hv_uio_pause(const struct hv_uio *uio);

#endif
