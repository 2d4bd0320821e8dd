/* SPDX-License-Identifier: BSD-3-Clause */
/* The tap device itself: made or attached to, set up, described when it does not work out. */
#include "link_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hv/base/log.h>

#define CLONE_DEVICE "/dev/net/tun"

int hv_tap_parse(struct hv_tap *tap, char *text, char why[HV_NETVSP_WHY_BYTES])
{
    char *option = strchr(text, ',');
    size_t length;

    if (option)
        *option++ = '\0';
    length = strlen(text);
    /* The kernel takes more, '%' even to number the device; this is what people use. */
    if (!length || length >= IFNAMSIZ ||
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") !=
            length ||
        !strcmp(text, ".") || !strcmp(text, ".."))
        return hv_link_fail(why, -EINVAL,
                            "tap:%.40s: a name has 1 to %u letters, digits, '_', '.', '-'", text,
                            (unsigned)IFNAMSIZ - 1);
    memcpy(tap->name, text, length + 1);
    tap->has_offloads = true;
    if (!option)
        return 0;
    if (!strcmp(option, "kernel-offloads=off"))
        tap->has_offloads = false;
    else if (strcmp(option, "kernel-offloads=on"))
        return hv_link_fail(why, -EINVAL,
                            "tap:%s: \"%.40s\" is no option: allowed: kernel-offloads=on|off",
                            tap->name, option);
    return 0;
}

/* One request about the interface, in the network namespace of the process. */
static int ask(const char *name, unsigned long what, struct ifreq *request)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int err = 0;

    if (fd < 0)
        return -errno;
    (void)snprintf(request->ifr_name, sizeof(request->ifr_name), "%s", name);
    if (ioctl(fd, what, request))
        err = -errno;
    (void)close(fd);
    return err;
}

/* Not by sysfs, which may show another network namespace. */
static bool is_tap(const char *name)
{
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq request = {.ifr_data = (char *)&info};

    return !ask(name, SIOCETHTOOL, &request) && !strcmp(info.driver, "tun") &&
           !strcmp(info.bus_info, "tap");
}

static int explain_open(int err, const char *name, char why[HV_NETVSP_WHY_BYTES])
{
    switch (err) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return hv_link_fail(why, -ENOENT,
                            "tap:%s: there is no " CLONE_DEVICE
                            ": load the module tun, or give the container the device",
                            name);
    case EACCES:
    case EPERM:
        return hv_link_fail(why, -EPERM, "tap:%s: " CLONE_DEVICE ": %s", name, strerror(err));
    default:
        return hv_link_fail(why, -err, "tap:%s: " CLONE_DEVICE ": %s", name, strerror(err));
    }
}

static int explain_attach(int err, const char *name, uint16_t queues, bool existed,
                          char why[HV_NETVSP_WHY_BYTES])
{
    switch (err) {
    case EPERM:
        return hv_link_fail(
            why, -EPERM,
            "tap:%s: making a tap needs CAP_NET_ADMIN; or let an administrator run: "
            "ip tuntap add %s mode tap user NAME%s",
            name, name, queues > 1 ? " multi_queue" : "");
    case EBUSY:
        return hv_link_fail(why, -EBUSY, "tap:%s: another program is attached to it", name);
    case E2BIG:
        return hv_link_fail(why, -EINVAL, "tap:%s: the kernel gives a tap no %u queues", name,
                            queues);
    case EINVAL:
        if (existed && !is_tap(name))
            return hv_link_fail(why, -EINVAL,
                                "tap:%s: an interface of that name exists and is no tap", name);
        if (existed && queues > 1)
            return hv_link_fail(why, -EINVAL,
                                "tap:%s exists with a single queue: make it with \"multi_queue\", "
                                "or use queues=1",
                                name);
        break;
    default:
        break;
    }
    return hv_link_fail(why, -err, "tap:%s: %s", name, strerror(err));
}

/* What the kernel may leave undone in frames for us, and how it says so. */
static int set_up_queue(const struct hv_tap *tap, int fd, char why[HV_NETVSP_WHY_BYTES])
{
    unsigned long offloads =
        tap->has_offloads ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0;
    int header_bytes = HV_TAP_HEADER_BYTES;

    if (ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) || ioctl(fd, TUNSETOFFLOAD, offloads))
        return hv_link_fail(why, -errno, "tap:%s: offloads: %s", tap->name, strerror(errno));
    return 0;
}

static int attach(int fd, const char *name, bool multi_queue)
{
    struct ifreq request = {0};

    (void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    request.ifr_flags =
        (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi_queue ? IFF_MULTI_QUEUE : 0));
    return ioctl(fd, TUNSETIFF, &request) ? errno : 0;
}

static int open_queue(const struct hv_tap *tap, uint16_t queues, int *ret_fd,
                      char why[HV_NETVSP_WHY_BYTES])
{
    int fd = open(CLONE_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int err;

    if (fd < 0)
        return explain_open(errno, tap->name, why);
    err = attach(fd, tap->name, queues > 1);
    /* One queue of a tap that was made for several. */
    if (err == EINVAL && queues == 1 && !attach(fd, tap->name, true))
        err = 0;
    if (err)
        err = explain_attach(err, tap->name, queues, !tap->is_ours, why);
    else
        err = set_up_queue(tap, fd, why);
    if (err) {
        (void)close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

int hv_tap_open(struct hv_tap *tap, uint16_t queues, int *ret_fds, char why[HV_NETVSP_WHY_BYTES])
{
    struct ifreq request = {0};

    tap->is_ours = !if_nametoindex(tap->name);
    for (uint16_t i = 0; i < queues; i++) {
        int err = open_queue(tap, queues, &ret_fds[i], why);

        if (err) {
            while (i--)
                (void)close(ret_fds[i]);
            return err;
        }
    }
    /* One that was there is somebody's: bridged, named, maybe down on purpose. */
    if (tap->is_ours && !ask(tap->name, SIOCGIFFLAGS, &request)) {
        request.ifr_flags |= IFF_UP;
        (void)ask(tap->name, SIOCSIFFLAGS, &request);
    }
    return 0;
}

void hv_tap_set_carrier(int fd, bool up)
{
    int carrier = up;

    (void)ioctl(fd, TUNSETCARRIER, &carrier); /* from Linux 5.0 */
}

void hv_tap_set_mtu(const struct hv_tap *tap, uint32_t mtu, const struct hv_log_hook *log)
{
    struct ifreq request = {.ifr_mtu = (int)mtu};
    int err;

    if (!tap->is_ours)
        return;
    err = ask(tap->name, SIOCSIFMTU, &request);
    if (err && err != -ENODEV) /* moved to another namespace: theirs now */
        hv_log(log, HV_LOG_WARNING, "tap:%s: MTU %u: %s", tap->name, mtu, strerror(-err));
}
