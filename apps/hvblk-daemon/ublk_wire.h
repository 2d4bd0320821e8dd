/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Layouts and numbers of the ublk driver, as of Linux 7.1 (Documentation/block/ublk.rst, include/uapi/linux/ublk_cmd.h).
 * The kernel headers of the build machine are usually older; unit.ublk compares what both know.  Native byte order.
 *
 * CONTROL  /dev/ublk-control, one io_uring command each, 128-byte entries: struct ublkw_control in the entry
 * QUEUE    /dev/ublkcN, mapped read-only: struct ublkw_desc for each tag, written by the kernel before a command completes;
 *          one io_uring command for each tag: struct ublkw_io in the entry
 */
#ifndef HVBLK_UBLK_WIRE_H
#define HVBLK_UBLK_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define UBLKW_CONTROL_PATH "/dev/ublk-control"

struct ublkw_control {
    uint32_t device;
    uint16_t queue; /* UBLKW_NO_QUEUE unless the command is about one */
    uint16_t bytes; /* at `address`, the path included */
    uint64_t address;
    uint64_t value;
    uint16_t
        path_bytes; /* leading bytes at `address` that name /dev/ublkcN: unprivileged devices */
    uint16_t pad;
    uint32_t reserved;
};
static_assert(sizeof(struct ublkw_control) == 32, "layout");
static_assert(offsetof(struct ublkw_control, path_bytes) == 24, "layout");
#define UBLKW_NO_QUEUE UINT16_MAX

#define UBLKW_GET_INFO      _IOR('u', 0x02, struct ublkw_control)
#define UBLKW_ADD           _IOWR('u', 0x04, struct ublkw_control)
#define UBLKW_DELETE        _IOWR('u', 0x05, struct ublkw_control)
#define UBLKW_START         _IOWR('u', 0x06, struct ublkw_control) /* value = our pid */
#define UBLKW_STOP          _IOWR('u', 0x07, struct ublkw_control)
#define UBLKW_SET_PARAMS    _IOWR('u', 0x08, struct ublkw_control)
#define UBLKW_GET_PARAMS    _IOR('u', 0x09, struct ublkw_control)
#define UBLKW_RECOVER_START _IOWR('u', 0x10, struct ublkw_control)
#define UBLKW_RECOVER_END   _IOWR('u', 0x11, struct ublkw_control) /* value = our pid */
#define UBLKW_GET_INFO2     _IOR('u', 0x12, struct ublkw_control)  /* with the path */
#define UBLKW_GET_FEATURES  _IOR('u', 0x13, struct ublkw_control)
#define UBLKW_UPDATE_SIZE   _IOWR('u', 0x15, struct ublkw_control) /* value = sectors */
#define UBLKW_QUIESCE       _IOWR('u', 0x16, struct ublkw_control) /* value = ms */
#define UBLKW_NUMBER(op)    ((op)&0xffu)

/* Features, and flags of a device. */
#define UBLKW_F_ZERO_COPY    (UINT64_C(1) << 0)
#define UBLKW_F_GET_DATA     (UINT64_C(1) << 2)
#define UBLKW_F_RECOVERY     (UINT64_C(1) << 3)
#define UBLKW_F_REISSUE      (UINT64_C(1) << 4)
#define UBLKW_F_UNPRIVILEGED (UINT64_C(1) << 5)
#define UBLKW_F_IOCTL        (UINT64_C(1) << 6)
#define UBLKW_F_USER_COPY    (UINT64_C(1) << 7)
#define UBLKW_F_ZONED        (UINT64_C(1) << 8)
#define UBLKW_F_FAIL_IO      (UINT64_C(1) << 9)
#define UBLKW_F_UPDATE_SIZE  (UINT64_C(1) << 10)
#define UBLKW_F_AUTO_BUFFER  (UINT64_C(1) << 11)
#define UBLKW_F_QUIESCE      (UINT64_C(1) << 12)

enum { UBLKW_DEAD = 0, UBLKW_LIVE = 1, UBLKW_QUIESCED = 2, UBLKW_FAIL_IO = 3 };

#define UBLKW_ANY_DEVICE UINT32_MAX /* in ADD: the kernel chooses */
#define UBLKW_DEPTH_MAX  4096u

struct ublkw_info {
    uint16_t queues, depth, state, pad0;
    uint32_t max_io_bytes;
    uint32_t device;
    int32_t pid;
    uint32_t pad1;
    uint64_t flags;
    uint64_t server_flags; /* ours: the kernel keeps them unseen */
    uint32_t uid, gid;
    uint64_t reserved[2];
};
static_assert(sizeof(struct ublkw_info) == 64, "layout");
static_assert(offsetof(struct ublkw_info, flags) == 24, "layout");
static_assert(offsetof(struct ublkw_info, uid) == 40, "layout");

enum { UBLKW_PARAM_BASIC = 1, UBLKW_PARAM_DISCARD = 2 };
enum {
    UBLKW_ATTR_READ_ONLY = 1,
    UBLKW_ATTR_ROTATIONAL = 2,
    UBLKW_ATTR_CACHE = 4, /* volatile: the kernel sends flushes */
    UBLKW_ATTR_FUA = 8,   /* counts only with CACHE */
};

struct ublkw_basic {
    uint32_t attributes;
    uint8_t logical_shift, physical_shift, optimal_shift, minimum_shift;
    uint32_t max_sectors, chunk_sectors;
    uint64_t sectors; /* of 512 bytes, whatever the block size */
    uint64_t boundary_mask;
};
static_assert(sizeof(struct ublkw_basic) == 32, "layout");

struct ublkw_discard {
    uint32_t alignment, granularity;
    uint32_t max_sectors, max_zero_sectors;
    uint16_t max_segments; /* 1 */
    uint16_t reserved;
};
static_assert(sizeof(struct ublkw_discard) == 20, "layout");

/** What we use of the parameters; the kernel takes any length. */
struct ublkw_params {
    uint32_t bytes, types;
    struct ublkw_basic basic;
    struct ublkw_discard discard;
    uint32_t more; /* of types that are not ours */
};
static_assert(sizeof(struct ublkw_params) == 64, "layout");
static_assert(offsetof(struct ublkw_params, discard) == 40, "layout");

/* ---- Queue ---- */

#define UBLKW_FETCH        _IOWR('u', 0x20, struct ublkw_io)
#define UBLKW_COMMIT_FETCH _IOWR('u', 0x21, struct ublkw_io)

struct ublkw_io {
    uint16_t queue, tag;
    int32_t result; /* bytes, 0, or a negative errno */
    uint64_t address;
};
static_assert(sizeof(struct ublkw_io) == 16, "layout");

enum {
    UBLKW_OP_READ = 0,
    UBLKW_OP_WRITE = 1,
    UBLKW_OP_FLUSH = 2,
    UBLKW_OP_DISCARD = 3,
    UBLKW_OP_WRITE_ZEROES = 5,
};
#define UBLKW_OP(word)    ((word)&0xffu)
#define UBLKW_IO_FUA      (1u << 13) /* of the whole word, as is the next */
#define UBLKW_IO_NO_UNMAP (1u << 15)

struct ublkw_desc {
    uint32_t op_flags;
    uint32_t sectors;
    uint64_t start_sector;
    uint64_t address;
};
static_assert(sizeof(struct ublkw_desc) == 24, "layout");

/** Offsets in /dev/ublkcN: mapping of a queue's descriptors; data of a tag with USER_COPY. */
static inline uint64_t ublkw_desc_offset(uint16_t queue)
{
    return (uint64_t)queue * UBLKW_DEPTH_MAX * sizeof(struct ublkw_desc);
}

static inline uint64_t ublkw_data_offset(uint16_t queue, uint16_t tag)
{
    return UINT64_C(0x80000000) + ((uint64_t)queue << 41 | (uint64_t)tag << 25);
}

#endif
