/* SPDX-License-Identifier: BSD-3-Clause */
#include "control.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <json-c/json.h>

#include "command.h"
#include "report.h"

#define CLIENTS_MAX 16
#define LINE_BYTES  16384

struct client {
    struct control *control;
    int fd;       /* -1 = gone, but a command of it is still on its way */
    bool waiting; /* a command takes its time */
    bool used;
    size_t bytes;
    char line[LINE_BYTES];
};

struct control {
    int listen_fd;
    int epoll_fd;
    struct command_context context;
    struct sockaddr_un address;
    struct client clients[CLIENTS_MAX];
};

static void drop(struct client *client)
{
    if (client->fd >= 0)
        (void)close(client->fd); /* leaves the epoll set by that */
    client->fd = -1;
    client->used = client->waiting; /* the place is free when nothing refers to it any more */
}

/** One line; a client that does not read its answers is dropped. */
static void answer(struct client *client, struct json_object *reply)
{
    const char *text = json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE);
    struct iovec iov[2] = {{.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)},
                           {.iov_base = (void *)(uintptr_t) "\n", .iov_len = 1}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t want = (ssize_t)(iov[0].iov_len + 1);

    if (client->fd >= 0 && sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != want)
        drop(client);
    (void)json_object_put(reply);
}

static void run_lines(struct client *client);

/** The end of a command that took its time. */
static void command_finished(void *arg, struct json_object *reply)
{
    struct client *client = arg;

    client->waiting = false;
    answer(client, reply);
    if (client->fd < 0)
        client->used = false;
    else
        run_lines(client);
}

static void run_line(struct client *client, const char *line)
{
    struct json_object *reply;

    client->waiting = true;
    reply = command_run(&client->control->context, line, command_finished, client);
    if (!reply)
        return; /* command_finished() will be called, or was */
    client->waiting = false;
    answer(client, reply);
}

static void run_lines(struct client *client)
{
    char *end;

    while (!client->waiting && client->fd >= 0 &&
           (end = memchr(client->line, '\n', client->bytes))) {
        char line[LINE_BYTES];
        size_t n = (size_t)(end - client->line);

        memcpy(line, client->line, n);
        line[n] = '\0';
        client->bytes -= n + 1;
        memmove(client->line, end + 1, client->bytes);
        run_line(client, line);
    }
}

static void read_client(struct client *client)
{
    ssize_t n =
        recv(client->fd, client->line + client->bytes, LINE_BYTES - client->bytes, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop(client);
        return;
    }
    client->bytes += (size_t)n;
    run_lines(client);
    if (client->fd >= 0 && client->bytes == LINE_BYTES) {
        report(HV_LOG_WARNING, "control: a line of more than %d bytes, client dropped", LINE_BYTES);
        drop(client);
    }
}

static void accept_client(struct control *control)
{
    struct epoll_event event = {.events = EPOLLIN};
    int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    for (size_t i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
        struct client *client = &control->clients[i];

        if (client->used)
            continue;
        event.data.ptr = client;
        if (epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event))
            break;
        client->control = control;
        client->fd = fd;
        client->used = true;
        client->waiting = false;
        client->bytes = 0;
        return;
    }
    if (fd >= 0)
        (void)close(fd);
}

void control_poll(struct control *control)
{
    struct epoll_event events[CLIENTS_MAX + 1];
    int n = epoll_wait(control->epoll_fd, events, CLIENTS_MAX + 1, 0);

    for (int i = 0; i < n; i++) {
        struct client *client = events[i].data.ptr;

        if (!client)
            accept_client(control);
        else if (client->fd >= 0)
            read_client(client);
    }
}

int control_fd(const struct control *control)
{
    return control->epoll_fd;
}

/** A socket file that nobody listens on may be replaced. */
static int bind_replacing(int fd, const struct sockaddr_un *address)
{
    const struct sockaddr *name = (const struct sockaddr *)address;
    struct stat st;
    int probe;

    if (!bind(fd, name, sizeof(*address)))
        return 0;
    if (errno != EADDRINUSE || stat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
        return -errno;
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return -errno;
    if (!connect(probe, name, sizeof(*address)) || errno != ECONNREFUSED) {
        (void)close(probe);
        return -EADDRINUSE;
    }
    (void)close(probe);
    (void)unlink(address->sun_path);
    return bind(fd, name, sizeof(*address)) ? -errno : 0;
}

static int start_listening(struct control *control)
{
    struct epoll_event event = {.events = EPOLLIN};
    mode_t before = umask(0077); /* commands are the owner's */
    int err = bind_replacing(control->listen_fd, &control->address);

    (void)umask(before);
    if (err) {
        control->address.sun_path[0] = '\0'; /* not ours to remove */
        return err;
    }
    if (listen(control->listen_fd, CLIENTS_MAX) ||
        epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, control->listen_fd, &event))
        return -errno;
    return 0;
}

int control_create(const char *path, struct controller *controller, struct nics *nics,
                   struct guests *guests, bool *stop, struct control **ret_control)
{
    struct control *control = calloc(1, sizeof(*control));
    int err = -ENOMEM;

    if (control) {
        control->context = (struct command_context){
            .controller = controller, .nics = nics, .guests = guests, .stop = stop};
        control->address.sun_family = AF_UNIX;
        memcpy(control->address.sun_path, path, strlen(path)); /* the option was measured */
        control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        err = control->listen_fd < 0 || control->epoll_fd < 0 ? -errno : start_listening(control);
    }
    if (err) {
        report(HV_LOG_ERROR, "--control %s: %s", path,
               err == -EADDRINUSE ? "somebody else listens there" : strerror(-err));
        control_destroy(control);
        return err;
    }
    *ret_control = control;
    return 0;
}

void control_destroy(struct control *control)
{
    if (!control)
        return;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (control->clients[i].used && control->clients[i].fd >= 0)
            (void)close(control->clients[i].fd);
    if (control->listen_fd >= 0)
        (void)close(control->listen_fd);
    if (control->epoll_fd >= 0)
        (void)close(control->epoll_fd);
    if (control->address.sun_path[0])
        (void)unlink(control->address.sun_path);
    free(control);
}
