/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts: one descriptor of the device (link changes, loss), watched by EAL's interrupt thread, and one for each
 * receive queue, which the application sleeps on.
 *
 * A receive queue's descriptor is an epoll set of two: the channel's own, and an event that is raised when frames were
 * waiting already at the moment interrupts were enabled.  So enabling never loses a frame, and the set stays what the
 * application has in its own epoll over stop and start.
 */
#include "port.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_interrupts.h>

static void tell(struct rte_eth_dev *dev, enum rte_eth_event_type event)
{
    if (dev->state != RTE_ETH_DEV_UNUSED)
        (void)rte_eth_dev_callback_process(dev, event, NULL);
}

/** Set when the application closed the port out of one of its callbacks: nothing of it may be touched any more. */
static __thread bool closed_inside;

/** What happened is told; true when the port still exists. */
static bool tell_all(struct rte_eth_dev *dev, bool link, bool dead)
{
    if ((link || dead) && !hvnet_link_update(dev, 0) && dev->data->dev_conf.intr_conf.lsc)
        tell(dev, RTE_ETH_EVENT_INTR_LSC);
    if (dead && !closed_inside) {
        HVNET_LOG(NOTICE, "%s: the device is gone\n", dev->data->name);
        tell(dev, RTE_ETH_EVENT_INTR_RMV);
    }
    return !closed_inside;
}

static void on_interrupt(void *arg)
{
    struct hvnet_port *port = arg;
    bool link, dead;

    closed_inside = false;
    atomic_store(&port->intr_thread, (uintptr_t)pthread_self());
    hvnet_device_poll(port->device, &link, &dead);
    if (dead && port->intr_registered) { /* the descriptor may stay readable for ever */
        (void)rte_intr_callback_unregister_pending(port->intr_handle, on_interrupt, port, NULL);
        port->intr_registered = false;
    }
    if (tell_all(port->eth, link, dead))
        atomic_store(&port->intr_thread, 0);
}

int hvnet_interrupt_start(struct hvnet_port *port)
{
    int err;

    if (!port->intr_handle)
        port->intr_handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_SHARED);
    if (!port->intr_handle)
        return -ENOMEM;
    if (rte_intr_type_set(port->intr_handle, RTE_INTR_HANDLE_EXT) ||
        rte_intr_fd_set(port->intr_handle, hv_netvsc_fd(port->device->netvsc)))
        return -rte_errno;
    err = rte_intr_callback_register(port->intr_handle, on_interrupt, port);
    if (err)
        return err;
    port->intr_registered = true;
    atomic_store(&port->intr_thread,
                 0); /* a reset inside a callback: that handler is done with us */
    port->eth->intr_handle = port->intr_handle;
    return 0;
}

void hvnet_interrupt_stop(struct hvnet_port *port)
{
    bool inside = atomic_load(&port->intr_thread) == (uintptr_t)pthread_self();

    closed_inside = inside;
    /* Another thread: the handler runs to its end first.  Inside it, the registration goes when it returns. */
    while (!inside && atomic_load(&port->intr_thread))
        (void)sched_yield();
    if (port->intr_registered && inside)
        (void)rte_intr_callback_unregister_pending(port->intr_handle, on_interrupt, port, NULL);
    else if (port->intr_registered)
        (void)rte_intr_callback_unregister_sync(port->intr_handle, on_interrupt, port);
    port->intr_registered = false;
    hvnet_rx_interrupts_publish(port, 0);
    rte_intr_instance_free(port->intr_handle);
    port->intr_handle = NULL;
    port->eth->intr_handle = NULL;
}

int hvnet_rx_interrupt_setup(struct hvnet_rxq *rxq)
{
    struct epoll_event event = {.events = EPOLLIN};

    rxq->wait_fd = epoll_create1(EPOLL_CLOEXEC);
    rxq->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (rxq->wait_fd >= 0 && rxq->kick_fd >= 0 &&
        !epoll_ctl(rxq->wait_fd, EPOLL_CTL_ADD, rxq->kick_fd, &event))
        return 0;
    hvnet_rx_interrupt_release(rxq);
    return -ENFILE;
}

void hvnet_rx_interrupt_release(struct hvnet_rxq *rxq)
{
    if (rxq->wait_fd >= 0)
        (void)close(rxq->wait_fd);
    if (rxq->kick_fd >= 0)
        (void)close(rxq->kick_fd);
    rxq->wait_fd = rxq->kick_fd = -1;
}

int hvnet_rx_interrupts_publish(struct hvnet_port *port, uint16_t count)
{
    struct rte_intr_handle *handle = port->intr_handle;
    int err = 0;

    if (!handle)
        return 0;
    if (!count) {
        rte_intr_free_epoll_fd(handle);
        rte_intr_vec_list_free(handle);
        (void)rte_intr_nb_efd_set(handle, 0);
        return 0;
    }
    if (count > RTE_MAX_RXTX_INTR_VEC_ID)
        return -ENOTSUP;
    if (rte_intr_vec_list_alloc(handle, "hvnet", count) || rte_intr_nb_efd_set(handle, count) ||
        rte_intr_max_intr_set(handle, count + 1))
        return -ENOMEM;
    for (uint16_t i = 0; i < count && !err; i++) {
        struct hvnet_rxq *rxq = port->eth->data->rx_queues[i];

        if (rte_intr_vec_list_index_set(handle, i, RTE_INTR_VEC_RXTX_OFFSET + i) ||
            rte_intr_efds_index_set(handle, i, rxq->wait_fd))
            err = -EINVAL;
    }
    return err;
}

void hvnet_rx_interrupt_attach(struct hvnet_rxq *rxq)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (rxq->wait_fd >= 0)
        (void)epoll_ctl(rxq->wait_fd, EPOLL_CTL_ADD, hv_netvsc_rx_fd(rxq->queue), &event);
}

void hvnet_rx_interrupt_detach(struct hvnet_rxq *rxq)
{
    if (rxq->wait_fd >= 0 && rxq->queue)
        (void)epoll_ctl(rxq->wait_fd, EPOLL_CTL_DEL, hv_netvsc_rx_fd(rxq->queue), NULL);
}

int hvnet_rx_interrupt_enable(struct rte_eth_dev *dev, uint16_t queue)
{
    const uint64_t one = 1;
    struct hvnet_rxq *rxq = dev->data->rx_queues[queue];

    if (rxq->wait_fd < 0 || !rxq->queue)
        return -ENOTSUP;
    if (hv_netvsc_rx_arm(rxq->queue) && write(rxq->kick_fd, &one, sizeof(one)) < 0)
        return -errno;
    return 0;
}

int hvnet_rx_interrupt_disable(struct rte_eth_dev *dev, uint16_t queue)
{
    struct hvnet_rxq *rxq = dev->data->rx_queues[queue];
    uint64_t count;

    if (rxq->wait_fd < 0 || !rxq->queue)
        return -ENOTSUP;
    hv_netvsc_rx_disarm(rxq->queue);
    if (read(rxq->kick_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        return -errno;
    return 0;
}
