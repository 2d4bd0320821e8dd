/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receive and the send buffer that the kernel sets aside when it binds a device (from 6.14 on: a network device):
 * maps named "recv:925200" and "send:925201", where the number is the handle that the host knows the memory by.
 */
#include "uio_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <hv/base/bits.h>
#include <hv/wire/message.h>

static const char *const prefixes[HV_SHARED_KINDS] = {
    [HV_SHARED_RECEIVE] = "recv:",
    [HV_SHARED_SEND] = "send:",
};

/** NULL: see errno. */
static void *map_buffer(const struct hv_uio *uio, const struct hv_uio_link *link,
                        const struct hv_uio_map *map)
{
    void *at =
        mmap(NULL, hv_align_up(map->bytes, uio->env.page_bytes), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_POPULATE, link->map_fd, (off_t)(map->index * uio->env.map_stride));

    return at == MAP_FAILED ? NULL : at;
}

int hv_uio_share(struct hv_channel *primary, enum hv_shared_kind kind, size_t bytes,
                 struct hv_shared *ret_shared)
{
    const struct hv_uio *uio = primary->bus->transport;
    const struct hv_uio_link *link = primary->link;
    const struct hv_log_hook *log = &primary->bus->opts.log;
    char number[HV_UIO_NAME_BYTES];
    struct hv_uio_map map;
    uint64_t handle = 0;
    void *address = NULL;
    int err;

    (void)bytes; /* there is what there is, see struct hv_shared */
    err = hv_uio_find_map(uio, &link->device->facts, prefixes[kind], &map, number);

    if (err == -ENOENT)
        return -EOPNOTSUPP;
    if (!err)
        err = hv_uio_parse_number(number, UINT32_MAX, &handle);
    if (!err && (!handle || map.skip || map.bytes % HV_PAGE_BYTES ||
                 map.bytes >> HV_PAGE_SHIFT > HV_GPADL_RANGE_MAX_PAGES))
        err = -EPROTO;
    if (!err) {
        address = map_buffer(uio, link, &map);
        err = address ? 0 : -errno;
    }
    if (!address) {
        hv_log(log, HV_LOG_ERROR, "cannot map \"%s\": %s", prefixes[kind], strerror(-err));
        return err == -EPROTO ? -EIO : err;
    }
    memset(address, 0, map.bytes); /* it outlives a close, with what the last user left there */
    *ret_shared = (struct hv_shared){
        .address = address,
        .bytes = map.bytes,
        .gpadl = (uint32_t)handle,
    };
    return 0;
}

void hv_uio_unshare(struct hv_channel *primary, enum hv_shared_kind kind)
{
    struct hv_shared *shared = &primary->shared[kind];

    (void)munmap(shared->address, shared->bytes);
    *shared = (struct hv_shared){0};
}
