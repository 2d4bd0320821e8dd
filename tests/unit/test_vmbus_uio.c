/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices of uio_hv_generic under kernels of several generations: found, opened, signalled, slept on, taken away. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hv/wire/ring.h>

#include "suite.h"
#include "uio_tree.h"

/** A network device, its primary channel open, and the host's ends of it. */
struct rig {
    struct tree tree;
    struct tree_device device;
    struct hv_guid instance;
    struct hv_vmbus *bus;
    struct hv_channel *channel;
    struct hv_ring_area to_host, to_guest;
    struct hv_ring_rx host_rx;
    struct hv_ring_tx host_tx;
    struct hv_monitor_page *monitor;
    unsigned maps; /* of the host's ends */
};

/** `before` may prepare the tree and the host's rings; NULL = nothing. */
static void rig_init(struct rig *rig, const struct tree_kernel *kernel, int monitor_id,
                     void (*before)(struct rig *rig))
{
    *rig = (struct rig){0};
    tree_init(&rig->tree, kernel);
    rig->device = tree_network(monitor_id);
    rig->instance = tree_instance(&rig->device);
    tree_device(&rig->tree, &rig->device);
    tree_map_rings(&rig->tree, &rig->device, &rig->to_host, &rig->to_guest);
    rig->monitor = tree_map_monitor(&rig->tree, &rig->device);
    atomic_store(&rig->to_guest.control->interrupt_mask, kernel->mask_at_open);
    CU_ASSERT(!hv_ring_tx_init(&rig->host_tx, &rig->to_guest));
    rig->maps = tree_count_maps();
    if (before)
        before(rig);
    CU_ASSERT(!tree_open(&rig->tree, "uio:" TREE_INSTANCE, &rig->bus));
    CU_ASSERT(!hv_channel_open(rig->bus, &rig->instance, 0, NULL, &rig->channel));
    CU_ASSERT(!hv_ring_rx_init(&rig->host_rx, &rig->to_host));
}

static void rig_fini(struct rig *rig)
{
    hv_vmbus_close(rig->bus);
    hv_ring_unmap(&rig->to_host);
    hv_ring_unmap(&rig->to_guest);
    tree_unmap_monitor(rig->monitor);
    tree_fini(&rig->tree);
}

static uint32_t guest_mask(const struct rig *rig)
{
    return atomic_load(&rig->to_guest.control->interrupt_mask);
}

static uint32_t pending_bits(const struct rig *rig, unsigned group)
{
    return atomic_load(&rig->monitor->group[group].pending);
}

static int guest_send(struct rig *rig, uint64_t id, uint64_t word, uint32_t words)
{
    struct hv_packet_desc desc = {
        .trans_id = id,
        .type = HV_PACKET_INBAND,
        .payload_bytes = words * 8,
    };
    struct hv_packet_slot slot;
    int err = hv_channel_reserve(rig->channel, &desc, &slot);

    for (uint32_t i = 0; !err && i < words; i++)
        memcpy((uint64_t *)slot.payload + i, &word, sizeof(word));
    return err;
}

/** The next packet in the guest's ring is from tree_send(). */
static bool guest_take(struct rig *rig, uint64_t id, uint64_t word, uint32_t words)
{
    struct hv_packet packet;
    const uint64_t *payload;
    bool same;

    if (hv_channel_peek(rig->channel, &packet))
        return false;
    payload = packet.payload;
    same = packet.trans_id == id && packet.payload_bytes == words * 8 && payload[0] == word &&
           payload[words - 1] == word;
    hv_channel_release(rig->channel);
    return same;
}

/* ---- Finding ---- */

static void check_device(const struct tree_kernel *kernel, const char *address)
{
    struct hv_vmbus_device devices[2];
    struct hv_vmbus *bus = NULL;
    struct tree tree;
    struct tree_device device = tree_network(37);
    struct hv_guid instance = tree_instance(&device), class_id;

    tree_init(&tree, kernel);
    tree_device(&tree, &device);
    tree_put(&tree, "{00000000-0000-0000-0000-000000000001}",
             "sys/bus/vmbus/devices/00000000-0000-0000-0000-000000000001/device_id");
    HV_CHECK_ROW(kernel->release, tree_open(&tree, address, &bus) == 0);
    HV_CHECK_ROW(kernel->release, bus && hv_vmbus_devices(bus, devices, 2) == 1);
    HV_CHECK_ROW(kernel->release, hv_guid_equal(&devices[0].instance_id, &instance));
    HV_CHECK_ROW(kernel->release, !hv_guid_parse(TREE_NETWORK, &class_id) &&
                                      hv_guid_equal(&devices[0].class_id, &class_id));
    HV_CHECK_ROW(kernel->release, devices[0].relid == 14 && devices[0].monitored);
    HV_CHECK_ROW(kernel->release, !hv_vmbus_find(bus, &class_id, &devices[0]));
    HV_CHECK_ROW(kernel->release, hv_vmbus_version(bus) == 0);
    hv_vmbus_close(bus);
    tree_fini(&tree);
}

static void test_uio_devices(void)
{
    for (size_t i = 0; i < tree_kernel_count; i++) {
        check_device(&tree_kernels[i], "uio:" TREE_INSTANCE);
        check_device(&tree_kernels[i], "uio:");
        check_device(&tree_kernels[i], "uio:{F8615163-0001-1000-2000-00155D4EDC44}");
    }
}

/** Old kernels call devices vmbus_N; the name of the folder says nothing. */
static void test_uio_old_names(void)
{
    struct tree tree;
    struct tree_device device = tree_network(1);
    struct hv_vmbus *bus = NULL;
    char from[160], to[160];

    tree_init(&tree, tree_kernel("4.20"));
    tree_device(&tree, &device);
    (void)snprintf(from, sizeof(from), "%s/bus/vmbus/devices/" TREE_INSTANCE, tree.sysfs);
    (void)snprintf(to, sizeof(to), "%s/bus/vmbus/devices/vmbus_14", tree.sysfs);
    CU_ASSERT(!rename(from, to));
    CU_ASSERT(!tree_open(&tree, "uio:" TREE_INSTANCE, &bus));
    hv_vmbus_close(bus);
    tree_fini(&tree);
}

static void test_uio_not_there(void)
{
    struct tree tree;
    struct tree_device device = tree_network(1);
    struct hv_vmbus *bus = NULL;

    tree_init(&tree, tree_kernel("6.12"));
    CU_ASSERT_EQUAL(tree_open(&tree, "uio:" TREE_INSTANCE, &bus), -ENOENT);
    CU_ASSERT(strstr(tree.log, "no such device") != NULL);
    tree_device(&tree, &device);
    tree_remove(&tree, "sys/bus/vmbus/devices/" TREE_INSTANCE "/uio");
    tree.env.uevent_fd = -1; /* the first open took it */
    CU_ASSERT_EQUAL(tree_open(&tree, "uio:" TREE_INSTANCE, &bus), -ENOENT);
    CU_ASSERT(strstr(tree.log, "hvctl bind " TREE_INSTANCE) != NULL);
    tree_device(&tree, &device);
    tree_put(&tree, "uio_pci_generic", "sys/bus/vmbus/devices/" TREE_INSTANCE "/uio/uio3/name");
    CU_ASSERT_EQUAL(tree_open(&tree, "uio:" TREE_INSTANCE, &bus), -ENOENT);
    tree_remove(&tree, "sys/bus/vmbus/devices");
    CU_ASSERT_EQUAL(tree_open(&tree, "uio:", &bus), -ENOENT);
    CU_ASSERT(strstr(tree.log, "no VMBus") != NULL);
    CU_ASSERT(!bus);
    tree_fini(&tree);
}

/* ---- The primary channel ---- */

static void exchange(struct rig *rig)
{
    const char *name = rig->tree.kernel->release;
    uint32_t data_bytes = rig->to_host.data_bytes;
    uint32_t words = data_bytes / 8 / 3;

    if (words > 60000)
        words = 60000; /* a packet's length is 16 bits */
    /* far enough to go round both rings twice: packets lie across their ends, in one piece for both sides */
    for (uint32_t i = 0; i < 2 * data_bytes / (words * 8) + 2; i++) {
        HV_CHECK_ROW(name,
                     !guest_send(rig, i + 1, i * 3, words) && !hv_channel_flush(rig->channel));
        HV_CHECK_ROW(name, tree_take(&rig->host_rx, i + 1, i * 3, words));
        tree_send(&rig->host_tx, i + 1, i * 5, words);
        HV_CHECK_ROW(name, guest_take(rig, i + 1, i * 5, words));
    }
}

static void test_uio_exchange(void)
{
    unsigned fds = tree_count_fds();

    for (size_t i = 0; i < tree_kernel_count; i++) {
        struct rig rig;

        rig_init(&rig, &tree_kernels[i], 37, NULL);
        exchange(&rig);
        rig_fini(&rig);
    }
    CU_ASSERT_EQUAL(tree_count_fds(), fds);
    CU_ASSERT_EQUAL(tree_count_maps(), 0);
}

static void send_early(struct rig *rig)
{
    tree_send(&rig->host_tx, 5, 55, 2);
}

/** The kernel opened the channel before us: what the host said since then counts. */
static void test_uio_host_first(void)
{
    struct rig rig;

    rig_init(&rig, tree_kernel("6.12"), -1, send_early);
    CU_ASSERT(guest_take(&rig, 5, 55, 2));
    rig_fini(&rig);
}

static void test_uio_signal_by_monitor(void)
{
    struct rig rig;

    rig_init(&rig, tree_kernel("5.15"), 37, NULL);
    atomic_store(&rig.monitor->group[1].pending, 0x80000001u); /* other channels' */
    CU_ASSERT(!guest_send(&rig, 1, 1, 1) && !hv_channel_flush(rig.channel));
    CU_ASSERT_EQUAL(pending_bits(&rig, 1), 0x80000001u | 1u << 5);
    CU_ASSERT(!pending_bits(&rig, 0) && !pending_bits(&rig, 2) && !pending_bits(&rig, 3));
    CU_ASSERT_EQUAL(tree_writes(&rig.tree), 0);
    CU_ASSERT(hv_channel_may_grow(rig.channel));
    rig_fini(&rig);
}

static void test_uio_signal_by_write(void)
{
    struct rig rig;

    rig_init(&rig, tree_kernel("6.12"), -1, NULL);
    CU_ASSERT_EQUAL(guest_mask(&rig), 1);
    atomic_store(&rig.to_guest.control->interrupt_mask, 0); /* as the kernel will at the write() */
    CU_ASSERT(!guest_send(&rig, 1, 1, 1) && !hv_channel_flush(rig.channel));
    CU_ASSERT_EQUAL(tree_writes(&rig.tree), 1);
    CU_ASSERT_EQUAL(guest_mask(&rig), 1); /* we are awake */
    CU_ASSERT(!guest_send(&rig, 2, 1, 1) && !hv_channel_flush(rig.channel));
    CU_ASSERT_EQUAL(tree_writes(&rig.tree),
                    0); /* the host has not read the first one: it is awake, too */
    CU_ASSERT(tree_take(&rig.host_rx, 1, 1, 1) && tree_take(&rig.host_rx, 2, 1, 1));
    CU_ASSERT(!hv_channel_arm(rig.channel));
    CU_ASSERT(!guest_send(&rig, 3, 1, 1) && !hv_channel_flush(rig.channel));
    CU_ASSERT_EQUAL(tree_writes(&rig.tree), 1);
    CU_ASSERT_EQUAL(guest_mask(&rig), 0); /* we go on wanting a signal */
    CU_ASSERT(!hv_channel_may_grow(rig.channel));
    CU_ASSERT(!pending_bits(&rig, 0) && !pending_bits(&rig, 3));
    rig_fini(&rig);
}

/** Kernels before 6.18 set the mask at each interrupt, later ones never do: both wake us, again and again. */
static void test_uio_sleep(void)
{
    for (size_t i = 0; i < tree_kernel_count; i++) {
        const char *name = tree_kernels[i].release;
        struct hv_channel_stats stats;
        struct rig rig;

        rig_init(&rig, &tree_kernels[i], -1, NULL);
        HV_CHECK_ROW(name, guest_mask(&rig) == 1);
        for (uint64_t n = 0; n < 3; n++) {
            HV_CHECK_ROW(name, !hv_channel_arm(rig.channel) && guest_mask(&rig) == 0);
            HV_CHECK_ROW(name, !tree_fd_readable(hv_channel_fd(rig.channel)));
            tree_send(&rig.host_tx, 1, n, 4);
            if (tree_kernels[i].mask_at_open)
                atomic_store(&rig.to_guest.control->interrupt_mask, 1);
            tree_interrupt(&rig.tree);
            HV_CHECK_ROW(name, tree_fd_readable(hv_channel_fd(rig.channel)));
            hv_channel_disarm(rig.channel);
            HV_CHECK_ROW(name, guest_mask(&rig) == 1);
            HV_CHECK_ROW(name, !tree_fd_readable(hv_channel_fd(rig.channel)));
            HV_CHECK_ROW(name, hv_channel_arm(rig.channel)); /* there is something */
            HV_CHECK_ROW(name, guest_take(&rig, 1, n, 4));
        }
        hv_channel_get_stats(rig.channel, &stats);
        HV_CHECK_ROW(name, stats.wakeups == 3);
        rig_fini(&rig);
    }
}

static void test_uio_reopen(void)
{
    struct rig rig;
    unsigned fds;

    rig_init(&rig, tree_kernel("6.18"), 37, NULL);
    hv_channel_close(rig.channel);
    CU_ASSERT_EQUAL(guest_mask(&rig), 1);
    CU_ASSERT_EQUAL(tree_count_maps(),
                    rig.maps); /* a mapping would keep the kernel's channel open */
    fds = tree_count_fds();
    for (int i = 0; i < 3; i++) {
        tree_die(&rig.tree);
        CU_ASSERT(!hv_channel_open(rig.bus, &rig.instance, 0, NULL, &rig.channel));
        CU_ASSERT_EQUAL(hv_channel_open(rig.bus, &rig.instance, 0, NULL, &rig.channel), -EBUSY);
        hv_channel_close(rig.channel);
    }
    tree_die(&rig.tree);
    CU_ASSERT(tree_count_fds() <= fds);
    rig_fini(&rig);
}

static void test_uio_open_fails(void)
{
    static const struct {
        const char *name;
        int error, want;
        const char *log;
    } rows[] = {
        {"no node", -ENOENT, -ENODEV, "its node is not there"},
        {"not allowed", -EACCES, -EACCES, "root"},
        {"no memory", -ENOMEM, -ENOMEM, "memory for the rings"},
        {"host refuses", -EIO, -EIO, "Input/output error"},
    };
    struct tree tree;
    struct tree_device device = tree_network(37);
    struct hv_guid instance = tree_instance(&device);
    struct hv_channel_opts opts = HV_CHANNEL_OPTS_INIT;
    struct hv_channel *channel = NULL;
    struct hv_vmbus *bus = NULL;

    tree_init(&tree, tree_kernel("6.12"));
    tree_device(&tree, &device);
    CU_ASSERT(!tree_open(&tree, "uio:", &bus));
    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        tree.open_error = rows[i].error;
        HV_CHECK_ROW(rows[i].name,
                     hv_channel_open(bus, &instance, 0, NULL, &channel) == rows[i].want);
        HV_CHECK_ROW(rows[i].name, strstr(tree.log, rows[i].log) && !channel);
    }
    tree.open_error = 0;
    opts.user_data = "x";
    opts.user_data_bytes = 1;
    CU_ASSERT_EQUAL(hv_channel_open(bus, &instance, 0, &opts, &channel), -EOPNOTSUPP);
    CU_ASSERT_EQUAL(hv_channel_open(bus, &instance, 1, NULL, &channel), -EINVAL);
    CU_ASSERT_EQUAL(tree.open_count, 0);
    hv_vmbus_close(bus);
    tree_fini(&tree);
}

static void test_uio_busy(void)
{
    struct tree tree;
    struct tree_device device = tree_network(37);
    struct hv_guid instance = tree_instance(&device);
    struct hv_channel *channel = NULL;
    struct hv_vmbus *bus = NULL;
    char path[160];
    int fd;

    tree_init(&tree, tree_kernel("6.12"));
    tree_device(&tree, &device);
    CU_ASSERT(!tree_open(&tree, "uio:", &bus));
    (void)snprintf(path, sizeof(path), "%s/uio3", tree.dev);
    fd = open(path, O_RDWR | O_CLOEXEC);
    CU_ASSERT(!flock(fd, LOCK_EX | LOCK_NB));
    CU_ASSERT_EQUAL(hv_channel_open(bus, &instance, 0, NULL, &channel), -EBUSY);
    (void)close(fd);
    /* a program that locks nothing shows in the state */
    tree_put(&tree, "3\n", "sys/bus/vmbus/devices/" TREE_INSTANCE "/state");
    CU_ASSERT_EQUAL(hv_channel_open(bus, &instance, 0, NULL, &channel), -EBUSY);
    CU_ASSERT(strstr(tree.log, "another program has /dev/uio3 open") != NULL);
    hv_vmbus_close(bus);
    tree_fini(&tree);
}

/* ---- The end of a device ---- */

/** What the guest writes from now on must not reach the memory that the rings were in. */
static void check_untouched(struct rig *rig)
{
    uint32_t write = atomic_load(&rig->to_host.control->write_index);
    uint32_t read = atomic_load(&rig->to_guest.control->read_index);
    struct hv_packet packet;

    atomic_store(&rig->to_guest.control->interrupt_mask, 0x55);
    atomic_store(&rig->to_host.control->pending_send_size, 0x66);
    hv_channel_release(rig->channel);
    CU_ASSERT_EQUAL(hv_channel_flush(rig->channel), -ENODEV);
    CU_ASSERT_EQUAL(hv_channel_peek(rig->channel, &packet), -ENODEV);
    CU_ASSERT(hv_channel_arm(rig->channel));
    CU_ASSERT(hv_channel_want_room(rig->channel, 100));
    (void)hv_channel_free_bytes(rig->channel);
    hv_channel_disarm(rig->channel);
    CU_ASSERT_EQUAL(atomic_load(&rig->to_guest.control->interrupt_mask), 0x55);
    CU_ASSERT_EQUAL(atomic_load(&rig->to_host.control->pending_send_size), 0x66);
    CU_ASSERT_EQUAL(atomic_load(&rig->to_host.control->write_index), write);
    CU_ASSERT_EQUAL(atomic_load(&rig->to_guest.control->read_index), read);
}

/** Half of everything in flight when the device goes. */
static void start_work(struct rig *rig)
{
    struct hv_packet packet;

    tree_send(&rig->host_tx, 1, 1, 1);
    tree_send(&rig->host_tx, 2, 2, 1);
    CU_ASSERT(!hv_channel_peek(rig->channel, &packet));
    CU_ASSERT(!guest_send(rig, 3, 3, 3));
}

static void test_uio_end_seen_by_owner(void)
{
    struct rig rig;

    rig_init(&rig, tree_kernel("6.12"), -1, NULL);
    CU_ASSERT(!hv_channel_arm(rig.channel));
    tree_die(&rig.tree);
    CU_ASSERT(tree_fd_readable(hv_channel_fd(rig.channel)));
    hv_channel_disarm(rig.channel);
    CU_ASSERT_EQUAL(hv_channel_status(rig.channel), -ENODEV);
    check_untouched(&rig);
    CU_ASSERT(tree_fd_readable(hv_channel_fd(rig.channel)));
    rig_fini(&rig);
}

static void test_uio_end_seen_by_signal(void)
{
    struct rig rig;

    rig_init(&rig, tree_kernel("6.12"), -1, NULL);
    start_work(&rig);
    tree_die(&rig.tree);
    CU_ASSERT_EQUAL(hv_channel_flush(rig.channel), -ENODEV);
    check_untouched(&rig);
    rig_fini(&rig);
}

static void test_uio_end_seen_by_bus(void)
{
    struct hv_vmbus_device device;
    struct rig rig;

    rig_init(&rig, tree_kernel("6.18"), 37, NULL);
    start_work(&rig);
    tree_interrupt(&rig.tree); /* of no interest to the bus */
    CU_ASSERT(!tree_fd_readable(hv_vmbus_fd(rig.bus)));
    tree_die(&rig.tree);
    tree_remove(&rig.tree, "sys/bus/vmbus/devices/" TREE_INSTANCE);
    CU_ASSERT(tree_fd_readable(hv_vmbus_fd(rig.bus)));
    CU_ASSERT(!hv_vmbus_poll(rig.bus));
    CU_ASSERT_EQUAL(rig.tree.told[HV_VMBUS_DEVICE_REMOVED], 1);
    CU_ASSERT_EQUAL(hv_vmbus_devices(rig.bus, &device, 1), 0);
    CU_ASSERT_EQUAL(hv_channel_status(rig.channel), -ENODEV);
    CU_ASSERT(tree_fd_readable(hv_channel_fd(rig.channel)));
    check_untouched(&rig);
    CU_ASSERT(!tree_fd_readable(hv_vmbus_fd(rig.bus)));
    rig_fini(&rig);
}

/** Taken away and offered again, under the same number, before the program has closed the old channel. */
static void test_uio_comes_back(void)
{
    struct hv_vmbus_device device;
    struct hv_channel *channel = NULL;
    struct rig rig;

    rig_init(&rig, tree_kernel("6.18"), 37, NULL);
    tree_die(&rig.tree);
    CU_ASSERT(!hv_vmbus_poll(rig.bus));
    CU_ASSERT_EQUAL(rig.tree.told[HV_VMBUS_DEVICE_ADDED], 0);
    CU_ASSERT_EQUAL(hv_channel_open(rig.bus, &rig.instance, 0, NULL, &channel), -ENODEV);
    hv_channel_close(rig.channel);
    for (int i = 0; i < 100 && !rig.tree.told[HV_VMBUS_DEVICE_ADDED]; i++) {
        (void)hv_vmbus_wait_subchannels(rig.bus, &rig.instance, 0, 0);
        tree_uevent(&rig.tree, "uio");
        CU_ASSERT(!hv_vmbus_poll(rig.bus));
    }
    CU_ASSERT_EQUAL(rig.tree.told[HV_VMBUS_DEVICE_ADDED], 1);
    CU_ASSERT_EQUAL(hv_vmbus_devices(rig.bus, &device, 1), 1);
    CU_ASSERT(!hv_channel_open(rig.bus, &rig.instance, 0, NULL, &rig.channel));
    rig_fini(&rig);
}

/* ---- News ---- */

static void test_uio_hot_add(void)
{
    struct tree tree;
    struct tree_device device = tree_network(37);
    struct hv_vmbus_device found;
    struct hv_vmbus *bus = NULL;

    tree_init(&tree, tree_kernel("6.12"));
    CU_ASSERT(!tree_open(&tree, "uio:", &bus));
    CU_ASSERT_EQUAL(hv_vmbus_devices(bus, &found, 1), 0);
    tree_device(&tree, &device);
    tree_uevent(&tree, "block");
    CU_ASSERT(!hv_vmbus_poll(bus));
    CU_ASSERT_EQUAL(hv_vmbus_devices(bus, &found, 1), 0); /* not our business, not looked at */
    tree_uevent(&tree, "vmbus");
    CU_ASSERT(tree_fd_readable(hv_vmbus_fd(bus)));
    CU_ASSERT(!hv_vmbus_poll(bus));
    CU_ASSERT_EQUAL(hv_vmbus_devices(bus, &found, 1), 1);
    CU_ASSERT_EQUAL(tree.told[HV_VMBUS_DEVICE_ADDED], 1);
    tree_remove(&tree, "sys/bus/vmbus/devices/" TREE_INSTANCE "/uio");
    tree_uevent(&tree, "uio");
    CU_ASSERT(!hv_vmbus_poll(bus));
    CU_ASSERT_EQUAL(hv_vmbus_devices(bus, &found, 1), 0);
    CU_ASSERT_EQUAL(tree.told[HV_VMBUS_DEVICE_REMOVED], 1);
    hv_vmbus_close(bus);
    tree_fini(&tree);
}

/* ---- Shared buffers ---- */

static void test_uio_share(void)
{
    struct hv_shared shared = {0}, send = {0};
    struct rig rig;

    rig_init(&rig, tree_kernel("6.12"), 37, NULL);
    CU_ASSERT(!hv_channel_share(rig.channel, HV_SHARED_RECEIVE, 1 << 20, &shared));
    CU_ASSERT(shared.gpadl == 925200 && shared.bytes == 31u << 20 && shared.address);
    CU_ASSERT(!hv_channel_share(rig.channel, HV_SHARED_SEND, 1 << 20, &send));
    CU_ASSERT(send.gpadl == 925201 && send.bytes == 16u << 20);
    memset(shared.address, 0x77, 100); /* left behind for the next one */
    hv_channel_unshare(rig.channel, HV_SHARED_RECEIVE);
    CU_ASSERT(!hv_channel_share(rig.channel, HV_SHARED_RECEIVE, 1 << 20, &shared));
    CU_ASSERT(!((const uint8_t *)shared.address)[0] && !((const uint8_t *)shared.address)[99]);
    hv_channel_close(rig.channel); /* and gives them back */
    CU_ASSERT_EQUAL(tree_count_maps(), rig.maps);
    tree_put(&rig.tree, "recv:12x\n",
             "sys/bus/vmbus/devices/" TREE_INSTANCE "/uio/uio3/maps/map3/name");
    tree_remove(&rig.tree, "sys/bus/vmbus/devices/" TREE_INSTANCE "/uio/uio3/maps/map4");
    tree_die(&rig.tree);
    CU_ASSERT(!hv_channel_open(rig.bus, &rig.instance, 0, NULL, &rig.channel));
    CU_ASSERT_EQUAL(hv_channel_share(rig.channel, HV_SHARED_RECEIVE, 4096, &shared), -EIO);
    CU_ASSERT_EQUAL(hv_channel_share(rig.channel, HV_SHARED_SEND, 4096, &shared), -EOPNOTSUPP);
    rig_fini(&rig);
}

/* ---- A descriptor handed over ---- */

/** "fd:N" is the bus' also when there is nothing left to make a bus of. */
static void test_fd_not_leaked(void)
{
    struct rlimit limit, low;
    struct hv_vmbus *bus = NULL;
    char address[32];
    int pair[2];

    CU_ASSERT(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    (void)snprintf(address, sizeof(address), "fd:%d", pair[0]);
    CU_ASSERT(!getrlimit(RLIMIT_NOFILE, &limit));
    low = limit;
    low.rlim_cur = 0; /* no descriptor more */
    CU_ASSERT(!setrlimit(RLIMIT_NOFILE, &low));
    CU_ASSERT_EQUAL(hv_vmbus_open(address, NULL, &bus), -EMFILE);
    CU_ASSERT(!setrlimit(RLIMIT_NOFILE, &limit));
    CU_ASSERT(fcntl(pair[0], F_GETFD) < 0);
    (void)close(pair[1]);
}

static const struct hv_test_case cases[] = {
    {"devices", test_uio_devices},
    {"old names", test_uio_old_names},
    {"not there", test_uio_not_there},
    {"exchange", test_uio_exchange},
    {"host first", test_uio_host_first},
    {"signal by monitor", test_uio_signal_by_monitor},
    {"signal by write", test_uio_signal_by_write},
    {"sleep", test_uio_sleep},
    {"reopen", test_uio_reopen},
    {"open fails", test_uio_open_fails},
    {"busy", test_uio_busy},
    {"end seen by owner", test_uio_end_seen_by_owner},
    {"end seen by signal", test_uio_end_seen_by_signal},
    {"end seen by bus", test_uio_end_seen_by_bus},
    {"comes back", test_uio_comes_back},
    {"hot add", test_uio_hot_add},
    {"share", test_uio_share},
    {"descriptor not leaked", test_fd_not_leaked},
};

int main(int argc, char **argv)
{
    return hv_test_main("vmbus.uio", cases, HV_TEST_COUNT(cases), argc, argv);
}
