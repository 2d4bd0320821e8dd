/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sockets of a reactor.  Edge-triggered for reading, registered once: no epoll_ctl per request.  A short read says
 * that the socket is empty, so nothing is read in vain; EPOLLOUT is asked for only while a socket is full.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "reactor.h"

#define TURN_BYTES_MAX     (1u << 20) /* of one connection; then the others */
#define HANDSHAKE_NS       UINT64_C(10000000000)
#define BLOCKED_NS         UINT64_C(10000000000)
#define IOV_COUNT(reactor) (sizeof((reactor)->iov) / sizeof((reactor)->iov[0]))

static int watch(struct reactor *reactor, struct client *client, int how, bool out)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (out ? EPOLLOUT : 0u),
                                .data.ptr = client};

    return epoll_ctl(reactor->epoll, how, client->fd, &event) ? -errno : 0;
}

static bool make_room(struct reactor *reactor)
{
    uint32_t room = reactor->client_room ? 2 * reactor->client_room : 16;
    struct client **clients;

    if (reactor->client_count < reactor->client_room)
        return true;
    clients = realloc(reactor->clients, room * sizeof(*clients));
    if (!clients)
        return false;
    reactor->clients = clients;
    reactor->client_room = room;
    return true;
}

static void list_for_sending(struct client *client)
{
    struct nbd_engine *engine = client->nbd.engine;

    if (client->nbd.send_listed)
        return;
    client->nbd.send_listed = true;
    client->nbd.send_next = engine->send_first;
    engine->send_first = &client->nbd;
}

static struct client *client_of(struct nbd_conn *conn)
{
    return (struct client *)(void *)((char *)conn - offsetof(struct client, nbd));
}

bool reactor_socket_add(struct reactor *reactor, int fd, uint32_t id)
{
    struct client *client = calloc(1, sizeof(*client));

    if (!client || !make_room(reactor) || nbd_conn_init(&client->nbd, &reactor->engine, id)) {
        free(client);
        (void)close(fd);
        atomic_fetch_sub(reactor->opts.connections, 1);
        return false;
    }
    client->fd = fd;
    client->since_ns = reactor->engine.now_ns;
    reactor->clients[reactor->client_count++] = client;
    stats_set(&reactor->stats.connections, reactor->client_count);
    stats_add(&reactor->stats.connections_total, 1);
    if (watch(reactor, client, EPOLL_CTL_ADD, false))
        nbd_conn_kill(&client->nbd, "out of memory");
    client->readable = true;
    list_for_sending(client);
    if (reactor->engine.shutting_down)
        nbd_conn_shutdown(&client->nbd);
    reactor->sweep = true;
    return true;
}

/* ---- Receiving ---- */

static void lost(struct reactor *reactor, struct client *client, const char *reason)
{
    nbd_conn_kill(&client->nbd, reason);
    client->readable = false;
    reactor->sweep = true;
}

static bool receive(struct reactor *reactor, struct client *client)
{
    size_t total = 0;

    while (total < TURN_BYTES_MAX) {
        struct iovec iov[NBD_RX_IOV_MAX];
        unsigned count = nbd_conn_rx_iov(&client->nbd, iov);
        size_t want = 0;
        ssize_t got;

        if (!count)
            break;
        for (unsigned i = 0; i < count; i++)
            want += iov[i].iov_len;
        got = count == 1 ? recv(client->fd, iov[0].iov_base, iov[0].iov_len, 0)
                         : readv(client->fd, iov, (int)count);
        if (got <= 0) {
            client->readable = got < 0 && errno == EINTR;
            if (!got)
                lost(reactor, client, "the client left without a word");
            else if (errno != EAGAIN && errno != EINTR)
                lost(reactor, client, "the client is gone");
            return total != 0;
        }
        if (reactor->probe && !reactor->found_ns)
            reactor->found_ns = hv_spin_clock_ns();
        stats_add(&reactor->stats.receives, 1);
        total += (size_t)got;
        client->readable = (size_t)got == want || client->hung_up;
        nbd_conn_rx_done(&client->nbd, (size_t)got);
        if (!client->readable)
            break;
    }
    if (client->nbd.handshake || client->nbd.phase != NBD_TRANSMISSION) {
        reactor->sweep = true;
        list_for_sending(client);
    }
    return total != 0;
}

bool reactor_socket_receive(struct reactor *reactor)
{
    bool any = false;

    for (uint32_t i = 0; i < reactor->client_count; i++) {
        struct client *client = reactor->clients[i];

        if (client->readable || reactor->probe)
            any |= receive(reactor, client);
    }
    return any;
}

void reactor_socket_event(struct reactor *reactor, struct client *client, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        client->hung_up = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        client->readable = true;
    if (events & EPOLLOUT && client->want_out) {
        client->want_out = false;
        if (watch(reactor, client, EPOLL_CTL_MOD, false))
            lost(reactor, client, "out of memory");
        list_for_sending(client);
    }
}

bool reactor_socket_resume(struct reactor *reactor)
{
    struct nbd_conn *first = reactor->engine.memory_waiter;
    bool any = false;

    if (first && first->stall) {
        nbd_conn_parse(first);
        any |= !first->stall;
    }
    for (uint32_t i = 0; i < reactor->client_count; i++) {
        struct nbd_conn *conn = &reactor->clients[i]->nbd;

        if (!conn->stall || conn == reactor->engine.memory_waiter)
            continue;
        nbd_conn_parse(conn);
        any |= !conn->stall;
    }
    return any;
}

/* ---- Sending ---- */

static void blocked(struct reactor *reactor, struct client *client)
{
    client->want_out = true;
    client->blocked_ns = reactor->engine.now_ns;
    if (watch(reactor, client, EPOLL_CTL_MOD, true))
        lost(reactor, client, "out of memory");
}

/** Send all that fits; one call where the socket takes it. */
static void send_to(struct reactor *reactor, struct client *client)
{
    while (!client->want_out && client->nbd.phase != NBD_DEAD) {
        struct msghdr message = {.msg_iov = reactor->iov};
        size_t want = 0;
        ssize_t sent;

        message.msg_iovlen = nbd_conn_tx_iov(&client->nbd, reactor->iov, IOV_COUNT(reactor));
        if (!message.msg_iovlen)
            break;
        for (size_t i = 0; i < message.msg_iovlen; i++)
            want += reactor->iov[i].iov_len;
        sent = sendmsg(client->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN) {
            lost(reactor, client, "the client does not take its replies any more");
            return;
        }
        stats_add(&reactor->stats.sends, 1);
        if (sent > 0)
            nbd_conn_tx_done(&client->nbd, (size_t)sent);
        if (sent < 0 || (size_t)sent < want)
            blocked(reactor, client);
    }
    if (client->nbd.phase < NBD_TRANSMISSION)
        nbd_conn_parse(&client->nbd); /* options may have waited for room */
    else if (client->nbd.phase > NBD_TRANSMISSION)
        reactor->sweep = true;
}

bool reactor_socket_send(struct reactor *reactor)
{
    struct nbd_conn *list = reactor->engine.send_first;
    bool any = list != NULL;

    reactor->engine.send_first = NULL;
    while (list) {
        struct nbd_conn *conn = list;

        list = conn->send_next;
        conn->send_listed = false;
        send_to(reactor, client_of(conn));
    }
    return any;
}

/* ---- Ends ---- */

static void say_goodbye(const struct client *client)
{
    const struct nbd_conn *nbd = &client->nbd;

    if (nbd->reason)
        log_line(HV_LOG_INFO, "connection %u closed: %s", nbd->id, nbd->reason);
    else
        log_line(HV_LOG_DEBUG, "connection %u closed", nbd->id);
}

void reactor_socket_sweep(struct reactor *reactor)
{
    uint32_t kept = 0;

    reactor->sweep = false;
    for (uint32_t i = 0; i < reactor->client_count; i++) {
        struct client *client = reactor->clients[i];
        struct nbd_conn *nbd = &client->nbd;
        bool over = nbd->phase == NBD_DEAD || nbd_conn_finished(nbd);

        if (over && client->fd >= 0) {
            say_goodbye(client);
            (void)close(client->fd); /* leaves the epoll set with it */
            client->fd = -1;
            nbd_conn_kill(nbd, NULL);
            client->readable = false;
        }
        if (over && !nbd->io_count && !nbd->send_listed) {
            nbd_conn_fini(nbd);
            free(client);
            atomic_fetch_sub(reactor->opts.connections, 1);
            continue;
        }
        if (over)
            reactor->sweep = true; /* its last requests are still with the device */
        reactor->clients[kept++] = client;
    }
    reactor->client_count = kept;
    stats_set(&reactor->stats.connections, kept);
}

void reactor_socket_tick(struct reactor *reactor)
{
    uint64_t now = reactor->engine.now_ns;

    for (uint32_t i = 0; i < reactor->client_count; i++) {
        struct client *client = reactor->clients[i];

        if (client->nbd.phase < NBD_TRANSMISSION && now - client->since_ns > HANDSHAKE_NS)
            lost(reactor, client, "no export chosen within 10 seconds");
        else if (client->want_out && reactor->engine.memory_waiter &&
                 now - client->blocked_ns > BLOCKED_NS)
            lost(reactor, client, "it took no replies for 10 seconds while others need the memory");
    }
}
