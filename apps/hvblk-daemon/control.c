/* SPDX-License-Identifier: BSD-3-Clause */
#include "control.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/option.h"
#include "daemon.h"

static void end_client(struct control_client *client)
{
    if (client->fd >= 0)
        (void)close(client->fd);
    free(client->out);
    *client = (struct control_client){.fd = -1};
}

int control_open(struct control *control, const char *path, char *why)
{
    char address[sizeof(control->listener.path) + 16];
    mode_t mask = umask(0177); /* the owner alone may steer */
    int ret;

    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        control->clients[i].fd = -1;
    (void)snprintf(address, sizeof(address), "nbd:unix:%.*s", (int)sizeof(control->listener.path),
                   path);
    ret = listener_check(address, why);
    if (ret)
        (void)hv_option_fail(why, "\"%s\" cannot be the path of a socket", path);
    else
        ret = listener_open(&control->listener, address, why);
    (void)umask(mask);
    if (!ret)
        ret = listener_start(&control->listener);
    control->open = !ret;
    return ret;
}

void control_close(struct control *control)
{
    if (!control->open)
        return;
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        end_client(&control->clients[i]);
    listener_close(&control->listener);
    control->open = false;
}

unsigned control_fds(const struct control *control, struct pollfd *fds)
{
    unsigned count = 0;

    if (!control->open)
        return 0;
    fds[count++] = (struct pollfd){.fd = control->listener.fd, .events = POLLIN};
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        const struct control_client *client = &control->clients[i];

        if (client->fd >= 0)
            fds[count++] =
                (struct pollfd){.fd = client->fd, .events = client->out ? POLLOUT : POLLIN};
    }
    return count;
}

/* ---- Commands ---- */

static struct json_object *answer(bool ok)
{
    struct json_object *object = json_object_new_object();

    (void)json_object_object_add(object, "ok", json_object_new_boolean(ok));
    return object;
}

static struct json_object *with(const char *key, struct json_object *value)
{
    struct json_object *object = answer(true);

    (void)json_object_object_add(object, key, value);
    return object;
}

static struct json_object *refuse(const char *why)
{
    struct json_object *object = answer(false);

    (void)json_object_object_add(object, "error", json_object_new_string(why));
    return object;
}

static struct json_object *run_command(struct daemon *daemon, const char *word)
{
    if (!strcmp(word, "status"))
        return with("status", report_status(daemon));
    if (!strcmp(word, "stats"))
        return with("stats", report_stats(daemon));
    if (!strcmp(word, "luns"))
        return with("luns", report_luns(daemon));
    if (!strcmp(word, "rescan")) {
        if (!daemon->device.up)
            return refuse("the device is lost");
        daemon_rescan(daemon);
        return answer(true);
    }
    if (!strcmp(word, "drain") || !strcmp(word, "resume")) {
        daemon->closed_to_new = word[0] == 'd';
        return with("connections", json_object_new_int((int)atomic_load(&daemon->connections)));
    }
    if (!strcmp(word, "quit")) {
        daemon_stop(daemon, false);
        return answer(true);
    }
    if (!strcmp(word, "handover")) {
        daemon_stop(daemon, true);
        return answer(true);
    }
    return refuse(
        "unknown command; known: status, stats, luns, rescan, drain, resume, quit, handover");
}

/** A bare word, or {"command": "word"}. */
static struct json_object *run_line(struct daemon *daemon, const char *line)
{
    struct json_object *parsed, *command, *reply;

    if (line[0] != '{')
        return run_command(daemon, line);
    parsed = json_tokener_parse(line);
    if (!parsed)
        return refuse("this is no JSON");
    if (json_object_object_get_ex(parsed, "command", &command) &&
        json_object_is_type(command, json_type_string))
        reply = run_command(daemon, json_object_get_string(command));
    else
        reply = refuse("\"command\" is missing");
    json_object_put(parsed);
    return reply;
}

static void say(struct control_client *client, const char *text, size_t bytes)
{
    client->out = malloc(bytes);
    if (!client->out) {
        end_client(client);
        return;
    }
    memcpy(client->out, text, bytes);
    client->out_bytes = bytes;
    client->out_sent = 0;
}

static void say_json(struct control_client *client, struct json_object *reply)
{
    size_t bytes = 0;
    const char *text = json_object_to_json_string_length(reply, JSON_C_TO_STRING_PLAIN, &bytes);

    if (text) {
        char *line = malloc(bytes + 1);

        if (line) {
            memcpy(line, text, bytes);
            line[bytes] = '\n';
            say(client, line, bytes + 1);
        } else {
            end_client(client);
        }
        free(line);
    }
    json_object_put(reply);
}

static void say_metrics(struct control_client *client, const struct daemon *daemon)
{
    static const char head[] = "HTTP/1.0 200 OK\r\n"
                               "Content-Type: text/plain; version=0.0.4\r\n\r\n";
    size_t head_bytes = sizeof(head) - 1;
    char *text = malloc(CONTROL_OUT_BYTES);

    client->close_after = true;
    if (!text) {
        end_client(client);
        return;
    }
    memcpy(text, head, head_bytes);
    say(client, text,
        head_bytes + report_metrics(daemon, text + head_bytes, CONTROL_OUT_BYTES - head_bytes));
    free(text);
}

/* ---- Bytes ---- */

/** Carry out the first whole line, if there is one and the last answer has gone. */
static void next_line(struct control_client *client, struct daemon *daemon)
{
    char *end = memchr(client->in, '\n', client->in_bytes);
    size_t used;

    if (!end || client->out)
        return;
    used = (size_t)(end - client->in) + 1;
    *end = '\0';
    if (end > client->in && end[-1] == '\r')
        end[-1] = '\0';
    if (!strncmp(client->in, "GET ", 4))
        say_metrics(client, daemon);
    else if (client->in[0])
        say_json(client, run_line(daemon, client->in));
    if (client->fd < 0)
        return;
    client->in_bytes -= used;
    memmove(client->in, client->in + used, client->in_bytes);
}

static void send_some(struct control_client *client)
{
    ssize_t n;

    if (client->fd < 0 || !client->out)
        return;
    n = send(client->fd, client->out + client->out_sent, client->out_bytes - client->out_sent,
             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            end_client(client);
        return;
    }
    client->out_sent += (size_t)n;
    if (client->out_sent < client->out_bytes)
        return;
    free(client->out);
    client->out = NULL;
    if (client->close_after)
        end_client(client);
}

static void serve(struct control_client *client, struct daemon *daemon)
{
    ssize_t n;

    send_some(client);
    if (client->fd < 0 || client->out)
        return;
    n = recv(client->fd, client->in + client->in_bytes, sizeof(client->in) - client->in_bytes,
             MSG_DONTWAIT);
    if (!n || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        end_client(client);
        return;
    }
    if (n > 0)
        client->in_bytes += (size_t)n;
    if (client->in_bytes == sizeof(client->in) && !memchr(client->in, '\n', client->in_bytes)) {
        end_client(client); /* no command is so long */
        return;
    }
    do {
        next_line(client, daemon);
        send_some(client);
    } while (client->fd >= 0 && !client->out && memchr(client->in, '\n', client->in_bytes));
}

static void take_new(struct control *control)
{
    int fd;

    while ((fd = listener_accept(&control->listener)) >= 0) {
        struct control_client *free_client = NULL;

        for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
            if (control->clients[i].fd < 0)
                free_client = &control->clients[i];
        if (free_client)
            free_client->fd = fd;
        else
            (void)close(fd);
    }
}

void control_poll(struct control *control, struct daemon *daemon)
{
    if (!control->open)
        return;
    take_new(control);
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (control->clients[i].fd >= 0)
            serve(&control->clients[i], daemon);
}
