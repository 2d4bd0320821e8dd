/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_view.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING_MAX_BYTES                                                                             \
    (UINT64_C(1) << 30) /* each; the kernel's are 2 MiB, or 32 MiB with large pages */

/* ---- Mapping ---- */

static const struct channel *find_channel(const struct device *device, uint32_t index)
{
    for (size_t i = 0; i < device->channel_count; i++)
        if (device->channels[i].index == index)
            return &device->channels[i];
    return NULL;
}

/** Both rings: the file's size was a constant before 6.15, so the primary's is taken from the map of the device. */
static uint64_t rings_bytes(const struct sys *sys, const struct device *device,
                            const struct channel *channel)
{
    uint64_t bytes;

    if (channel->index || device->uio < 0 ||
        sys_number(sys, 2 * RING_MAX_BYTES, &bytes, DEVICE_PATH "/uio/uio%d/maps/map0/size",
                   device->folder, device->uio))
        return channel->ring_file_bytes;
    return bytes;
}

static int map(const char *path, uint64_t bytes, uint32_t page, struct ring_view *ret_view)
{
    struct ring_view view = {.mapping_bytes = bytes};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    view.mapping = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (view.mapping == MAP_FAILED)
        return -errno;
    view.size_bytes = (uint32_t)(bytes / 2 - page);
    for (unsigned side = 0; side < RING_SIDES; side++) {
        const uint8_t *start = (const uint8_t *)view.mapping + side * (bytes / 2);

        view.control[side] = (const struct hv_ring_control *)(const void *)start;
        view.data[side] = start + page;
    }
    *ret_view = view;
    return 0;
}

static int fail(char *why, int err, const char *text)
{
    (void)snprintf(why, RING_WHY_BYTES, "%s", text);
    return err;
}

int ring_open(const struct sys *sys, const struct device *device, uint32_t index,
              struct ring_view *ret_view, char *ret_why)
{
    const struct channel *channel = find_channel(device, index);
    uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
    char path[PATH_MAX];
    uint64_t bytes;
    int err;

    if (!device_is_on_uio(device))
        return fail(ret_why, -EINVAL,
                    "it is not bound to " UIO_DRIVER ": its rings are the kernel's");
    if (!channel)
        return fail(ret_why, -ENOENT, "it has no such channel");
    if (device->state != STATE_OPEN)
        return fail(ret_why, -ENODEV, "no program has it open: its rings are empty");
    if (!channel->ring_file_bytes)
        return fail(ret_why, -ENOENT,
                    "the kernel shows no rings of this channel (before 4.17, or it "
                    "is not open)");
    bytes = rings_bytes(sys, device, channel);
    if (bytes % (2 * HV_PAGE_BYTES) || bytes / 2 <= page || bytes / 2 > RING_MAX_BYTES)
        return fail(ret_why, -EPROTO, "the size of its rings is none that rings can have");
    err = sys_path(sys, path, sizeof(path), DEVICE_PATH "/channels/%u/ring", device->folder,
                   channel->relid);
    if (!err)
        err = map(path, bytes, page, ret_view);
    if (err)
        (void)snprintf(ret_why, RING_WHY_BYTES, "cannot map its rings: %s", strerror(-err));
    return err;
}

void ring_close(struct ring_view *view)
{
    if (view->mapping)
        (void)munmap(view->mapping, view->mapping_bytes);
    *view = (struct ring_view){0};
}

/* ---- Reading ---- */

static bool is_index(const struct ring_view *view, uint32_t index)
{
    return index < view->size_bytes && index % HV_RING_ALIGN_BYTES == 0;
}

int ring_indexes(const struct ring_view *view, enum ring_side side,
                 struct ring_indexes *ret_indexes)
{
    struct ring_indexes now;

    /* the read index first: then what lies between the two was there, at least at that moment */
    now.read = atomic_load_explicit(&view->control[side]->read_index, memory_order_acquire);
    now.write = atomic_load_explicit(&view->control[side]->write_index, memory_order_acquire);
    if (!is_index(view, now.read) || !is_index(view, now.write))
        return -EPROTO;
    *ret_indexes = now;
    return 0;
}

static uint32_t distance(const struct ring_view *view, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + view->size_bytes - from;
}

static void copy_out(const struct ring_view *view, enum ring_side side, uint32_t offset, void *to,
                     uint32_t bytes)
{
    uint32_t first = view->size_bytes - offset;

    if (first > bytes)
        first = bytes;
    memcpy(to, view->data[side] + offset, first);
    memcpy((uint8_t *)to + first, view->data[side], bytes - first);
}

static bool is_descriptor(const struct hv_ring_descriptor *desc, uint32_t room_bytes)
{
    return desc->offset8 >= 2 && desc->offset8 <= desc->length8 &&
           desc->length8 * 8u + HV_RING_TRAILER_BYTES <= room_bytes;
}

static int take_packet(const struct ring_view *view, enum ring_side side, uint32_t offset,
                       uint32_t room_bytes, struct ring_packet *ret_packet)
{
    struct hv_ring_descriptor desc;
    uint8_t *copy;

    if (room_bytes < sizeof(desc) + HV_RING_TRAILER_BYTES)
        return -EPROTO;
    copy_out(view, side, offset, &desc, sizeof(desc));
    if (!is_descriptor(&desc, room_bytes))
        return -EPROTO;
    copy = malloc(desc.length8 * 8u);
    if (!copy)
        return -ENOMEM;
    copy_out(view, side, offset, copy, desc.length8 * 8u);
    memcpy(copy, &desc, sizeof(desc)); /* the copy that was checked */
    *ret_packet = (struct ring_packet){.offset = offset, .bytes = desc.length8 * 8u, .copy = copy};
    return 0;
}

int ring_next(const struct ring_view *view, enum ring_side side, uint32_t offset, uint32_t write,
              struct ring_packet *ret_packet)
{
    int err;

    if (offset == write)
        return 0;
    err = take_packet(view, side, offset, distance(view, offset, write), ret_packet);
    return err ? err : 1;
}

/** Where the packet starts that ends at `end`; false when there is none. */
static bool packet_before(const struct ring_view *view, enum ring_side side, uint32_t end,
                          uint32_t *ret_start)
{
    struct {
        uint32_t zero, start;
    } trailer;
    struct hv_ring_descriptor desc;

    copy_out(view, side, end >= sizeof(trailer) ? end - 8 : view->size_bytes - 8, &trailer,
             sizeof(trailer));
    if (trailer.zero || !is_index(view, trailer.start) || trailer.start == end)
        return false;
    copy_out(view, side, trailer.start, &desc, sizeof(desc));
    if (!is_descriptor(&desc, UINT32_MAX) ||
        desc.length8 * 8u + HV_RING_TRAILER_BYTES != distance(view, trailer.start, end))
        return false;
    *ret_start = trailer.start;
    return true;
}

/** Along the trailers, newest first. */
static size_t walk_back(const struct ring_view *view, enum ring_side side,
                        const struct ring_indexes *now, struct ring_packet *packets, size_t max)
{
    uint32_t used = distance(view, now->read, now->write), back = 0, end = now->write, start;
    size_t count = 0;

    while (count < max && packet_before(view, side, end, &start)) {
        uint32_t bytes = distance(view, start, end);

        if (back + bytes > used && back + bytes > view->size_bytes / 2)
            break;
        if (take_packet(view, side, start, bytes, &packets[count]))
            break; /* overwritten meanwhile, as is all that is older */
        back += bytes;
        packets[count++].pending = back <= used;
        end = start;
    }
    return count;
}

/** How many packets lie from `start` to exactly the write index; 0 when they do not fit together. */
static size_t count_from(const struct ring_view *view, enum ring_side side, uint32_t start,
                         uint32_t write)
{
    struct hv_ring_descriptor desc;
    size_t count = 0;

    for (; start != write; count++) {
        uint32_t room = distance(view, start, write);

        if (room < sizeof(desc) + HV_RING_TRAILER_BYTES)
            return 0;
        copy_out(view, side, start, &desc, sizeof(desc));
        if (!is_descriptor(&desc, room))
            return 0;
        start = (start + desc.length8 * 8u + HV_RING_TRAILER_BYTES) % view->size_bytes;
    }
    return count;
}

/** Newest first, too: the last `max` of those that lie from `start` on. */
static size_t walk_on(const struct ring_view *view, enum ring_side side,
                      const struct ring_indexes *now, uint32_t start, struct ring_packet *packets,
                      size_t max)
{
    size_t all = count_from(view, side, start, now->write), left = all < max ? all : max, count = 0;
    uint32_t used = distance(view, now->read, now->write);

    for (size_t i = 0; i < all; i++) {
        struct ring_packet packet;

        if (ring_next(view, side, start, now->write, &packet) != 1)
            break;
        packet.pending = distance(view, start, now->write) <= used;
        start = (start + packet.bytes + HV_RING_TRAILER_BYTES) % view->size_bytes;
        if (i < all - left)
            free(packet.copy);
        else
            packets[left - 1 - count++] = packet;
    }
    if (count < left) /* overwritten meanwhile: what there is to the front */
        memmove(packets, packets + left - count, count * sizeof(*packets));
    return count;
}

ssize_t ring_last(const struct ring_view *view, enum ring_side side, struct ring_packet *packets,
                  size_t max)
{
    struct ring_indexes now;
    size_t count;
    int err = ring_indexes(view, side, &now);

    if (err)
        return err;
    count = walk_back(view, side, &now, packets, max);
    if (!count) /* QEMU leaves trailers empty: as long as the ring has not wrapped, all is there */
        count = walk_on(view, side, &now, 0, packets, max);
    if (!count)
        count = walk_on(view, side, &now, now.read, packets, max);
    for (size_t i = 0; i < count / 2; i++) { /* oldest first */
        struct ring_packet swap = packets[i];

        packets[i] = packets[count - 1 - i];
        packets[count - 1 - i] = swap;
    }
    return (ssize_t)count;
}
