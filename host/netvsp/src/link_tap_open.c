/* SPDX-License-Identifier: BSD-3-Clause */
/* The tap device itself: made or attached to, set up, described when it does not work out. */
#include "link_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
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
    if (!strcmp(option, "offloads=off"))
        tap->has_offloads = false;
    else if (strcmp(option, "offloads=on"))
        return hv_link_fail(why, -EINVAL,
                            "tap:%s: \"%.40s\" is no option: allowed are offloads=on, offloads=off",
                            tap->name, option);
    return 0;
}

/* Flags of an existing tun or tap device, 0 = there is an interface but no such device, -1 = no interface. */
static int existing_flags(const char *name)
{
    char path[64];
    unsigned flags = 0;
    FILE *file;

    if (!if_nametoindex(name))
        return -1;
    (void)snprintf(path, sizeof(path), "/sys/class/net/%s/tun_flags", name);
    file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%x", &flags) != 1)
        flags = 0;
    (void)fclose(file);
    return (int)(flags & 0x7fffffff);
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

static int explain_attach(int err, const char *name, uint16_t queues, int flags,
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
        if (flags >= 0 && !(flags & IFF_TAP))
            return hv_link_fail(why, -EINVAL,
                                "tap:%s: an interface of that name exists and is no tap", name);
        if (flags >= 0 && queues > 1 && !(flags & IFF_MULTI_QUEUE))
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
    unsigned long offloads = tap->has_offloads ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0;
    int header_bytes = HV_TAP_HEADER_BYTES;

    if (ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) || ioctl(fd, TUNSETOFFLOAD, offloads))
        return hv_link_fail(why, -errno, "tap:%s: offloads: %s", tap->name, strerror(errno));
    return 0;
}

static int open_queue(const struct hv_tap *tap, uint16_t queues, int flags, int *ret_fd,
                      char why[HV_NETVSP_WHY_BYTES])
{
    struct ifreq request = {0};
    bool multi = flags > 0 ? flags & IFF_MULTI_QUEUE : queues > 1;
    int fd = open(CLONE_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int err;

    if (fd < 0)
        return explain_open(errno, tap->name, why);
    memcpy(request.ifr_name, tap->name, sizeof(request.ifr_name));
    request.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi ? IFF_MULTI_QUEUE : 0));
    if (queues > 1 && !multi)
        err = explain_attach(EINVAL, tap->name, queues, flags, why);
    else if (ioctl(fd, TUNSETIFF, &request))
        err = explain_attach(errno, tap->name, queues, flags, why);
    else
        err = set_up_queue(tap, fd, why);
    if (err) {
        (void)close(fd);
        return err;
    }
    *ret_fd = fd;
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

int hv_tap_open(struct hv_tap *tap, uint16_t queues, int *ret_fds, char why[HV_NETVSP_WHY_BYTES])
{
    struct ifreq request = {0};
    int flags = existing_flags(tap->name);

    tap->is_ours = flags < 0;
    for (uint16_t i = 0; i < queues; i++) {
        int err = open_queue(tap, queues, flags, &ret_fds[i], why);

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
