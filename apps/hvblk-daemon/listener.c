/* SPDX-License-Identifier: BSD-3-Clause */
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/option.h"

#define SOCKET_BYTES                                                                               \
    (208 << 10) /* a few large replies, and still in the cache when they are read */
#define BACKLOG 64

static const char unix_prefix[] = "nbd:unix:", tcp_prefix[] = "nbd:tcp:";

struct tcp_address {
    char host[192];
    char port[8];
};

static int bad_address(const char *address, char *why)
{
    return hv_option_fail(why,
                          "\"%s\" is not allowed; allowed: nbd:unix:PATH (up to %zu characters of "
                          "path), nbd:tcp:ADDRESS:PORT (IPv6 in brackets), ublk[:ID]",
                          address, sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
}

static int split_tcp(const char *address, struct tcp_address *ret_tcp, char *why)
{
    const char *host = address + strlen(tcp_prefix), *colon = strrchr(host, ':');
    struct tcp_address tcp;
    uint64_t port;
    size_t bytes;

    if (!colon)
        return bad_address(address, why);
    bytes = (size_t)(colon - host);
    if (bytes >= 2 && host[0] == '[' && colon[-1] == ']') {
        host++;
        bytes -= 2;
    } else if (memchr(host, ':', bytes)) {
        return bad_address(address, why);
    }
    if (!bytes || bytes >= sizeof(tcp.host) || hv_option_number(colon + 1, 0, 65535, &port, why))
        return bad_address(address, why);
    memcpy(tcp.host, host, bytes);
    tcp.host[bytes] = '\0';
    (void)snprintf(tcp.port, sizeof(tcp.port), "%u", (unsigned)port);
    *ret_tcp = tcp;
    return 0;
}

int listener_check(const char *address, char *why)
{
    struct tcp_address tcp;

    if (!strncmp(address, tcp_prefix, strlen(tcp_prefix)))
        return split_tcp(address, &tcp, why);
    if (!strncmp(address, unix_prefix, strlen(unix_prefix))) {
        size_t bytes = strlen(address + strlen(unix_prefix));

        if (bytes && bytes < sizeof(((struct sockaddr_un *)0)->sun_path))
            return 0;
    }
    return bad_address(address, why);
}

/* ---- Unix ---- */

/** 0 when nobody answers there any more. */
static int clear_the_way(const struct sockaddr_un *address, char *why)
{
    struct stat file;
    int fd, ret;

    if (lstat(address->sun_path, &file))
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(file.st_mode)) {
        (void)hv_option_fail(why, "%s exists and is no socket; remove it or choose another path",
                             address->sun_path);
        return -EADDRINUSE;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    ret = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;
    (void)close(fd);
    if (ret != ECONNREFUSED) {
        (void)hv_option_fail(why, "%s is in use by another process", address->sun_path);
        return -EADDRINUSE;
    }
    return unlink(address->sun_path) && errno != ENOENT ? -errno : 0;
}

static int open_unix(struct listener *listener, const char *path, char *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat file;
    int ret;

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    (void)hv_option_fail(why, "%s: cannot be made", path);
    ret = clear_the_way(&address, why);
    if (ret)
        return ret;
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return -errno;
    if (bind(listener->fd, (const struct sockaddr *)&address, sizeof(address)) ||
        stat(path, &file)) {
        ret = -errno;
        (void)hv_option_fail(why, "%s: %s", path, strerror(-ret));
        return ret;
    }
    (void)snprintf(listener->path, sizeof(listener->path), "%s", path);
    listener->device = file.st_dev;
    listener->inode = file.st_ino;
    (void)snprintf(listener->uri, sizeof(listener->uri), "nbd+unix:///?socket=%s", path);
    return 0;
}

/* ---- TCP ---- */

static void name_tcp(struct listener *listener, const char *host)
{
    struct sockaddr_in6 bound = {0}; /* the port of IPv4 lies at the same place */
    socklen_t bytes = sizeof(bound);
    unsigned port = 0;

    if (!getsockname(listener->fd, (struct sockaddr *)&bound, &bytes))
        port = ntohs(bound.sin6_port);
    (void)snprintf(listener->uri, sizeof(listener->uri),
                   strchr(host, ':') ? "nbd://[%s]:%u" : "nbd://%s:%u", host, port);
}

static int bind_tcp(struct listener *listener, const struct addrinfo *info)
{
    int one = 1;

    listener->fd =
        socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, info->ai_protocol);
    if (listener->fd < 0)
        return -errno;
    /* A restarted daemon must get its port back at once. */
    (void)setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    return bind(listener->fd, info->ai_addr, info->ai_addrlen) ? -errno : 0;
}

static int open_tcp(struct listener *listener, const char *text, char *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    struct tcp_address tcp;
    int ret = split_tcp(text, &tcp, why);

    if (ret)
        return ret;
    ret = getaddrinfo(tcp.host, tcp.port, &hints, &found);
    if (ret) {
        (void)hv_option_fail(why, "%s: %s", tcp.host, gai_strerror(ret));
        return -EADDRNOTAVAIL;
    }
    ret = bind_tcp(listener, found);
    freeaddrinfo(found);
    if (ret)
        (void)hv_option_fail(why, "%s port %s: %s", tcp.host, tcp.port, strerror(-ret));
    else
        name_tcp(listener, tcp.host);
    return ret;
}

/* ---- All ---- */

int listener_open(struct listener *listener, const char *address, char *why)
{
    int ret;

    *listener = (struct listener){.fd = -1};
    if (!strncmp(address, unix_prefix, strlen(unix_prefix)))
        ret = open_unix(listener, address + strlen(unix_prefix), why);
    else
        ret = open_tcp(listener, address, why);
    if (ret)
        listener_close(listener);
    return ret;
}

int listener_adopt(struct listener *listener, int fd, char *why)
{
    struct sockaddr_storage bound = {0};
    socklen_t bytes = sizeof(bound);
    int listening = 0;
    socklen_t size = sizeof(listening);
    char host[64] = "";

    *listener = (struct listener){.fd = fd};
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) || !listening ||
        getsockname(fd, (struct sockaddr *)&bound, &bytes)) {
        (void)hv_option_fail(why, "descriptor %d from systemd is no listening socket", fd);
        return -ENOTSOCK;
    }
    int flags = fcntl(fd, F_GETFL); /* the service manager hands sockets over that block */

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK)) {
        (void)hv_option_fail(why, "descriptor %d from systemd: %s", fd, strerror(errno));
        return -errno;
    }
    if (bound.ss_family == AF_UNIX) {
        (void)snprintf(listener->uri, sizeof(listener->uri), "nbd+unix:///?socket=%s",
                       ((const struct sockaddr_un *)(const void *)&bound)->sun_path);
        return 0;
    }
    (void)getnameinfo((const struct sockaddr *)&bound, bytes, host, sizeof(host), NULL, 0,
                      NI_NUMERICHOST); /* an empty name in the log at worst */
    name_tcp(listener, host);
    return 0;
}

int listener_start(struct listener *listener)
{
    return listen(listener->fd, BACKLOG) ? -errno : 0;
}

/**
 * More room than the system's default lets more replies leave with one call; much more, and the client finds them in
 * memory in place of its cache (128 KiB reads on one core: 9 % slower with 1 MiB).
 */
static void tune(int fd, int family)
{
    int one = 1, bytes = SOCKET_BYTES;

    if (family != AF_UNIX) {
        /* TCP sizes its buffers itself; setting them would stop that. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
        return;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

int listener_accept(struct listener *listener)
{
    struct sockaddr_storage peer = {0};
    socklen_t bytes = sizeof(peer);
    int fd = accept4(listener->fd, (struct sockaddr *)&peer, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return -errno;
    tune(fd, peer.ss_family);
    return fd;
}

void listener_close(struct listener *listener)
{
    struct stat file;

    if (listener->fd >= 0)
        (void)close(listener->fd);
    if (listener->path[0] && !lstat(listener->path, &file) && file.st_dev == listener->device &&
        file.st_ino == listener->inode)
        (void)unlink(listener->path);
    *listener = (struct listener){.fd = -1};
}
