/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kernel whose sysfs says what the input says.
 *
 * Input: records of {u8 which file, bit 7: only once the channel is open; u8 length; text}.
 */
#include <stdio.h>
#include <string.h>

#include "uio_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEVICE "sys/bus/vmbus/devices/" TREE_INSTANCE "/"

static const char *const files[] = {
    DEVICE "id",
    DEVICE "device_id",
    DEVICE "class_id",
    DEVICE "monitor_id",
    DEVICE "state",
    DEVICE "uio/uio3/name",
    DEVICE "uio/uio3/maps/map0/size",
    DEVICE "uio/uio3/maps/map0/offset",
    DEVICE "uio/uio3/maps/map0/name",
    DEVICE "uio/uio3/maps/map2/size",
    DEVICE "uio/uio3/maps/map2/offset",
    DEVICE "uio/uio3/maps/map2/name",
    DEVICE "uio/uio3/maps/map3/name",
    DEVICE "uio/uio3/maps/map3/size",
    DEVICE "channels/21/subchannel_id",
    DEVICE "channels/21/in_mask",
    DEVICE "channels/21/out_mask",
    DEVICE "channels/21/monitor_id",
    DEVICE "channels/21/ring",
    DEVICE "channels/22/subchannel_id",
    DEVICE "channels/22/in_mask",
};
#define FILE_COUNT (sizeof(files) / sizeof(files[0]))

/** Write the files of one of the two times. */
static void put_files(struct tree *tree, const uint8_t *data, size_t size, bool open)
{
    while (size >= 2) {
        size_t length = data[1] < size - 2 ? data[1] : size - 2;
        char text[256];

        memcpy(text, data + 2, length);
        text[length] = '\0';
        if (!(data[0] & 0x80) == !open)
            tree_put(tree, text, "%s", files[(data[0] & 0x7f) % FILE_COUNT]);
        data += 2 + length;
        size -= 2 + length;
    }
}

/** What a network driver does at its start. */
static void use(struct tree *tree, struct hv_vmbus *bus, const uint8_t *data, size_t size)
{
    struct hv_vmbus_device device;
    struct hv_channel *channel, *sub;
    struct hv_shared shared;

    if (!hv_vmbus_devices(bus, &device, 1) ||
        hv_channel_open(bus, &device.instance_id, 0, NULL, &channel))
        return;
    put_files(tree, data, size, true);
    (void)hv_vmbus_wait_subchannels(bus, &device.instance_id, 1, 0);
    (void)hv_channel_share(channel, HV_SHARED_RECEIVE, 4096, &shared);
    if (!hv_channel_open(bus, &device.instance_id, 1, NULL, &sub))
        hv_channel_close(sub);
    (void)hv_vmbus_poll(bus);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tree_device device = tree_network(37);
    struct hv_vmbus *bus;
    struct tree tree;

    tree_init(&tree, tree_kernel("6.12"));
    tree.timeout_ms = 1;
    tree_device(&tree, &device);
    tree_put(&tree, "0x4000", DEVICE "uio/uio3/maps/map0/size"); /* small, so that a run is quick */
    tree_put(&tree, "0x4000", DEVICE "uio/uio3/maps/map3/size");
    tree_sub(&tree, &device, 21, 1, 38);
    tree_sub_opened(&tree, &device, 21);
    tree_sub_ring(&tree, &device, 21, 0x4000);
    put_files(&tree, data, size, false);
    if (!tree_open(&tree, "uio:", &bus)) {
        use(&tree, bus, data, size);
        hv_vmbus_close(bus);
    }
    tree_fini(&tree);
    return 0;
}
