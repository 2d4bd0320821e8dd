/* SPDX-License-Identifier: BSD-3-Clause */
/* The bus handle: address, open and close, wait descriptor, device list. */
#include "bus_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hv/base/clock.h>
#include <hv/wire/message.h>

#define TIMEOUT_DEFAULT_MS 10000u

static const struct {
    const char *scheme;
    const struct hv_transport_ops *ops;
} schemes[] = {
    {"unix:", &hv_transport_sock},
    {"fd:", &hv_transport_sock},
    {"uio:", &hv_transport_uio},
};

/** Split "WHERE[,INSTANCE-GUID]"; a path may contain commas, so only a GUID behind the last one counts. */
static char *split_instance(const char *address, bool *ret_has, struct hv_guid *ret_instance)
{
    char *where = strdup(address);
    char *comma = where ? strrchr(where, ',') : NULL;

    *ret_has = comma && !hv_guid_parse(comma + 1, ret_instance);
    if (*ret_has)
        *comma = '\0';
    return where;
}

static int find_scheme(struct hv_vmbus *bus, const char *address)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (strncmp(address, schemes[i].scheme, strlen(schemes[i].scheme)))
            continue;
        bus->ops = schemes[i].ops;
        return 0;
    }
    hv_log(&bus->opts.log, HV_LOG_ERROR,
           "%s: not a bus address; allowed: unix:PATH[,INSTANCE-GUID], fd:N, uio:[INSTANCE-GUID]",
           address);
    return -EINVAL;
}

static int watch(struct hv_vmbus *bus, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(bus->wait_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_wait(struct hv_vmbus *bus)
{
    bus->wait_fd = epoll_create1(EPOLL_CLOEXEC);
    bus->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bus->wait_fd < 0 || bus->news_fd < 0)
        return -errno;
    return watch(bus, bus->news_fd);
}

static void free_bus(struct hv_vmbus *bus)
{
    if (bus->wait_fd >= 0)
        (void)close(bus->wait_fd);
    if (bus->news_fd >= 0)
        (void)close(bus->news_fd);
    free(bus);
}

static int connect_bus(struct hv_vmbus *bus, const char *address)
{
    char *where = split_instance(address, &bus->has_instance, &bus->instance);
    int err = where ? open_wait(bus) : -ENOMEM;

    if (err)
        hv_sock_abandon(address);
    if (!err) {
        bus->opening = true;
        err = bus->ops->open(bus, where);
        bus->opening = false;
    }
    free(where);
    if (err)
        return err;
    err = watch(bus, bus->ops->fd(bus));
    if (err)
        bus->ops->close(bus);
    return err;
}

static int check_opts(const struct hv_vmbus_opts *opts)
{
    if (!opts)
        return 0;
    if (opts->size != sizeof(*opts))
        return -EINVAL;
    return opts->max_version && opts->max_version < HV_VERSION_2_4 ? -EINVAL : 0;
}

int hv_bus_open(const char *address, const struct hv_vmbus_opts *opts, const struct hv_uio_env *env,
                struct hv_vmbus **ret_bus)
{
    struct hv_vmbus *bus;
    int err;

    if (!address || check_opts(opts))
        return -EINVAL;
    bus = calloc(1, sizeof(*bus));
    if (!bus) {
        hv_sock_abandon(address);
        return -ENOMEM;
    }
    bus->env = env;
    bus->wait_fd = -1;
    bus->news_fd = -1;
    if (opts)
        bus->opts = *opts;
    if (!bus->opts.timeout_ms)
        bus->opts.timeout_ms = TIMEOUT_DEFAULT_MS;
    err = find_scheme(bus, address);
    if (!err)
        err = connect_bus(bus, address);
    if (err) {
        hv_bus_forget_offers(bus);
        hv_dma_free_all(bus);
        free_bus(bus);
        return err;
    }
    *ret_bus = bus;
    return 0;
}

int hv_vmbus_open(const char *address, const struct hv_vmbus_opts *opts, struct hv_vmbus **ret_bus)
{
    return hv_bus_open(address, opts, NULL, ret_bus);
}

/** An open channel; sub-channels first. */
static struct hv_channel *next_open(const struct hv_vmbus *bus)
{
    struct hv_channel *primary = NULL;

    for (struct hv_offer *offer = bus->offers; offer; offer = offer->next) {
        if (offer->channel && offer->index)
            return offer->channel;
        if (offer->channel)
            primary = offer->channel;
    }
    return primary;
}

void hv_vmbus_close(struct hv_vmbus *bus)
{
    struct hv_channel *channel;

    if (!bus)
        return;
    while ((channel = next_open(bus)))
        hv_channel_close(channel);
    bus->ops->close(bus);
    hv_bus_forget_offers(bus);
    hv_dma_free_all(bus);
    free_bus(bus);
}

uint32_t hv_vmbus_version(const struct hv_vmbus *bus)
{
    return bus->ops->version(bus);
}

int hv_vmbus_fd(const struct hv_vmbus *bus)
{
    return bus->wait_fd;
}

int hv_vmbus_poll(struct hv_vmbus *bus)
{
    if (!bus->gone)
        bus->ops->poll(bus);
    hv_bus_tell(bus);
    hv_bus_reap(bus);
    return bus->gone ? -ENODEV : 0;
}

static uint16_t count_subchannels(const struct hv_vmbus *bus, const struct hv_guid *instance)
{
    uint16_t count = 0;

    for (const struct hv_offer *offer = bus->offers; offer; offer = offer->next)
        if (offer->index && !offer->rescinded && hv_guid_equal(&offer->instance_id, instance))
            count++;
    return count;
}

static void describe(const struct hv_vmbus *bus, const struct hv_offer *offer,
                     struct hv_vmbus_device *ret_device)
{
    *ret_device = (struct hv_vmbus_device){
        .class_id = offer->class_id,
        .instance_id = offer->instance_id,
        .relid = offer->relid,
        .offer_flags = offer->flags,
        .sub_channel_count = count_subchannels(bus, &offer->instance_id),
        .monitored = offer->monitored,
    };
    memcpy(ret_device->user_data, offer->user_data, sizeof(ret_device->user_data));
}

size_t hv_vmbus_devices(const struct hv_vmbus *bus, struct hv_vmbus_device *devices, size_t max)
{
    size_t count = 0;

    for (const struct hv_offer *offer = bus->offers; offer; offer = offer->next) {
        if (offer->index || offer->rescinded)
            continue;
        if (count < max)
            describe(bus, offer, &devices[count]);
        count++;
    }
    return count;
}

int hv_vmbus_find(const struct hv_vmbus *bus, const struct hv_guid *class_id,
                  struct hv_vmbus_device *ret_device)
{
    for (const struct hv_offer *offer = bus->offers; offer; offer = offer->next) {
        if (offer->index || offer->rescinded || !hv_guid_equal(&offer->class_id, class_id))
            continue;
        if (bus->has_instance && !hv_guid_equal(&offer->instance_id, &bus->instance))
            continue;
        describe(bus, offer, ret_device);
        return 0;
    }
    return -ENODEV;
}

size_t hv_vmbus_wait_subchannels(struct hv_vmbus *bus, const struct hv_guid *instance, size_t count,
                                 uint32_t timeout_ms)
{
    uint64_t deadline_ns = hv_clock_ns() + timeout_ms * 1000000ull;

    while (!bus->gone && hv_bus_find_offer(bus, instance, 0) &&
           count_subchannels(bus, instance) < count)
        if (bus->ops->wait(bus, deadline_ns))
            break;
    return count_subchannels(bus, instance);
}
