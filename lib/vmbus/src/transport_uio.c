/* SPDX-License-Identifier: BSD-3-Clause */
/* The uio transport: devices that the kernel gave to uio_hv_generic.  docs/uio.md. */
#include "uio_impl.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/clock.h>

/** News handled in one poll. */
#define EVENTS_MAX 16
/** Announcements read in one poll; each is one datagram. */
#define UEVENTS_MAX  256
#define UEVENT_BYTES 4096

/* ---- News of the kernel ---- */

/** Announcements of all devices of the machine; open to everybody, but not in every container. */
static int open_uevents(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address))) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/** "add@/devices/...", then lines KEY=VALUE, each with a NUL behind it. */
static bool concerns_us(const char *text, size_t bytes)
{
    static const char *const lines[] = {
        "SUBSYSTEM=vmbus",
        "SUBSYSTEM=uio",
        "SUBSYSTEM=channels",
    };

    for (const char *end; bytes && (end = memchr(text, '\0', bytes));
         bytes -= (size_t)(end - text) + 1, text = end + 1)
        for (size_t i = 0; i < HV_COUNT_OF(lines); i++)
            if (!strcmp(text, lines[i]))
                return true;
    return false;
}

/** True when something happened to VMBus or uio devices, or may have: who says so does not matter, we look ourselves. */
static bool take_uevents(const struct hv_uio *uio)
{
    char text[UEVENT_BYTES];
    bool ours = false;

    for (unsigned i = 0; i < UEVENTS_MAX; i++) {
        ssize_t got = recv(uio->uevent_fd, text, sizeof(text), MSG_DONTWAIT);

        if (got < 0 && errno == ENOBUFS) {
            ours = true; /* some were lost */
            continue;
        }
        if (got <= 0)
            break;
        ours = ours || concerns_us(text, (size_t)got);
    }
    return ours;
}

/** Look again soon, or not at all. */
static void set_timer(const struct hv_uio *uio)
{
    struct itimerspec when = {.it_value.tv_nsec = uio->look_again ? HV_UIO_RETRY_MS * 1000000 : 0};

    (void)timerfd_settime(uio->timer_fd, 0, &when, NULL); /* cannot fail: a timer, a legal time */
}

static void look(struct hv_uio *uio)
{
    (void)hv_uio_scan(uio); /* no VMBus any more: then no news of it either */
    set_timer(uio);
}

/** Every interrupt of the device is counted there too, but we asked for its end alone. */
static void device_ended(struct hv_uio_device *device)
{
    struct hv_vmbus *bus = device->uio->bus;
    struct hv_channel *primary = device->primary;
    const struct hv_uio_link *link;

    if (!primary)
        return;
    link = primary->link;
    (void)epoll_ctl(device->uio->fd, EPOLL_CTL_DEL, link->event_fd, NULL);
    hv_log(&bus->opts.log, HV_LOG_WARNING, "channel %u: the kernel took the device away",
           device->facts.relid);
    if (!primary->offer->rescinded)
        hv_bus_rescind(bus, primary->offer);
    for (struct hv_uio_sub *sub = device->subs; sub; sub = sub->next) {
        struct hv_offer *offer = hv_bus_find_relid(bus, sub->relid);

        if (offer && !offer->rescinded)
            hv_bus_rescind(bus, offer);
    }
}

/** Which of our own descriptors an event is about; anything else is a device. */
static bool is_own(const struct hv_uio *uio, const void *what)
{
    return what == &uio->uevent_fd || what == &uio->timer_fd;
}

static void uio_poll(struct hv_vmbus *bus)
{
    struct hv_uio *uio = bus->transport;
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(uio->fd, events, EVENTS_MAX, 0);
    bool look_now = false;
    uint64_t ticks;

    /* devices first: the sooner nobody touches their rings any more, the better */
    for (int i = 0; i < count; i++)
        if (!is_own(uio, events[i].data.ptr)) {
            device_ended(events[i].data.ptr);
            look_now = true;
        }
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == &uio->uevent_fd && take_uevents(uio))
            look_now = true;
        if (events[i].data.ptr == &uio->timer_fd && read(uio->timer_fd, &ticks, sizeof(ticks)) > 0)
            look_now = true;
    }
    if (look_now)
        look(uio);
}

uint64_t hv_uio_deadline(const struct hv_uio *uio)
{
    return hv_clock_ns() + uio->bus->opts.timeout_ms * UINT64_C(1000000);
}

void hv_uio_pause(const struct hv_uio *uio)
{
    struct pollfd pfd = {.fd = uio->uevent_fd, .events = POLLIN};
    struct timespec moment = {.tv_nsec = HV_UIO_RETRY_MS * 1000000};

    (void)ppoll(&pfd, 1, &moment, NULL); /* too short a pause is one look more */
}

static int uio_wait(struct hv_vmbus *bus, uint64_t deadline_ns)
{
    struct hv_uio *uio = bus->transport;

    uio_poll(bus);
    look(uio); /* not every news is announced: a sub-channel is open some time after it came */
    if (hv_clock_ns() >= deadline_ns)
        return -ETIMEDOUT;
    hv_uio_pause(uio);
    return 0;
}

/* ---- Open ---- */

/** Why there is nothing to open at this address. */
static void explain(const struct hv_uio *uio, const char *where)
{
    const struct hv_log_hook *log = &uio->bus->opts.log;
    char instance[HV_GUID_TEXT_BYTES];
    struct hv_uio_facts facts;
    int err = hv_uio_find_facts(uio, &uio->bus->instance, &facts);

    hv_guid_format(&uio->bus->instance, instance);
    if (err == -ENODEV)
        hv_log(log, HV_LOG_ERROR,
               "%s: the device is not bound to uio_hv_generic; \"hvctl bind %s\" does that", where,
               instance);
    else if (err == -ENOENT)
        hv_log(log, HV_LOG_ERROR, "%s: no such device; \"hvctl list\" shows what there is", where);
    else
        hv_log(log, HV_LOG_ERROR, "%s: sysfs says nothing useful about it: %s", where,
               strerror(-err));
}

static int parse_where(struct hv_vmbus *bus, const char *where)
{
    const char *instance = where + strlen("uio:");

    if (!*instance)
        return 0; /* all there are */
    if (!bus->has_instance && !hv_guid_parse(instance, &bus->instance)) {
        bus->has_instance = true;
        return 0;
    }
    hv_log(&bus->opts.log, HV_LOG_ERROR,
           "%s: behind uio: comes the instance GUID of a device, or nothing", where);
    return -EINVAL;
}

static int watch(const struct hv_uio *uio, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};

    return epoll_ctl(uio->fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_fds(struct hv_uio *uio)
{
    int err;

    uio->fd = epoll_create1(EPOLL_CLOEXEC);
    if (uio->fd < 0)
        return -errno;
    uio->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (uio->timer_fd < 0)
        return -errno;
    err = watch(uio, uio->timer_fd, &uio->timer_fd);
    if (uio->uevent_fd < 0)
        uio->uevent_fd = open_uevents();
    if (uio->uevent_fd < 0)
        hv_log(&uio->bus->opts.log, HV_LOG_INFO,
               "the kernel's announcements cannot be heard here: new devices are not noticed");
    else if (!err)
        err = watch(uio, uio->uevent_fd, &uio->uevent_fd);
    return err;
}

static void destroy(struct hv_uio *uio)
{
    if (uio->timer_fd >= 0)
        (void)close(uio->timer_fd);
    if (uio->uevent_fd >= 0)
        (void)close(uio->uevent_fd);
    if (uio->fd >= 0)
        (void)close(uio->fd);
    uio->bus->transport = NULL;
    free(uio);
}

static int start(struct hv_uio *uio, const char *where)
{
    struct hv_vmbus *bus = uio->bus;
    int err = parse_where(bus, where);

    if (!err)
        err = open_fds(uio);
    if (err)
        return err;
    err = hv_uio_scan(uio);
    if (err == -ENOENT)
        hv_log(&bus->opts.log, HV_LOG_ERROR,
               "%s: this machine has no VMBus, or the module hv_vmbus is not loaded", where);
    else if (!err && bus->has_instance && !bus->offers) {
        explain(uio, where);
        err = -ENOENT;
    }
    set_timer(uio);
    return err;
}

static int uio_open(struct hv_vmbus *bus, const char *where)
{
    struct hv_uio *uio = calloc(1, sizeof(*uio));
    int err;

    if (!uio)
        return -ENOMEM;
    uio->bus = bus;
    uio->fd = -1;
    uio->timer_fd = -1;
    if (bus->env)
        uio->env = *bus->env;
    else
        hv_uio_env_init(&uio->env);
    uio->uevent_fd = uio->env.uevent_fd;
    bus->transport = uio;
    err = start(uio, where);
    if (err)
        destroy(uio);
    return err;
}

static void uio_close(struct hv_vmbus *bus)
{
    destroy(bus->transport);
}

/* ---- The other operations ---- */

static int uio_fd(const struct hv_vmbus *bus)
{
    const struct hv_uio *uio = bus->transport;

    return uio->fd;
}

static uint32_t uio_version(const struct hv_vmbus *bus)
{
    (void)bus;
    return 0; /* the kernel speaks for us */
}

static int uio_release_offer(struct hv_vmbus *bus, struct hv_offer *offer)
{
    (void)bus;
    (void)offer;
    return 0; /* the kernel does that */
}

static void uio_forget_offer(struct hv_offer *offer)
{
    (void)offer; /* nothing is kept there */
}

int hv_uio_vmbus_open(const char *address, const struct hv_vmbus_opts *opts,
                      const struct hv_uio_env *env, struct hv_vmbus **ret_bus)
{
    return hv_bus_open(address, opts, env, ret_bus);
}

const struct hv_transport_ops hv_transport_uio = {
    .open = uio_open,
    .close = uio_close,
    .fd = uio_fd,
    .poll = uio_poll,
    .wait = uio_wait,
    .version = uio_version,
    .release_offer = uio_release_offer,
    .forget_offer = uio_forget_offer,
    .channel_open = hv_uio_channel_open,
    .channel_close = hv_uio_channel_close,
    .channel_set_target = hv_uio_channel_set_target,
    .channel_may_grow = hv_uio_channel_may_grow,
    .signal = hv_uio_signal,
    .drain = hv_uio_drain,
    .tick = hv_uio_tick,
    .wake = hv_uio_wake,
    .share = hv_uio_share,
    .unshare = hv_uio_unshare,
    .dma_alloc = hv_uio_dma_alloc,
    .dma_register = hv_uio_dma_register,
    .dma_free = hv_uio_dma_free,
};
