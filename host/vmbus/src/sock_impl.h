/* SPDX-License-Identifier: BSD-3-Clause */
/* Socket guests: one connection, and the set of them.  guest_sock.c speaks, listen.c connects. */
#ifndef HV_HOST_SOCK_IMPL_H
#define HV_HOST_SOCK_IMPL_H

#include <hv/wire/sock.h>

#include "host_impl.h"

#define HV_SOCK_FDS_MAX   2u
#define HV_SOCK_QUEUE_MAX 4096u /* frames for a guest that does not read */
#define HV_SOCK_HELLO_NS  10000000000ull

/** What could not be sent yet. */
struct hv_host_sock_frame {
    TAILQ_ENTRY(hv_host_sock_frame) entry;
    size_t bytes;
    size_t fd_count;
    int fds[HV_SOCK_FDS_MAX];
    uint8_t data[HV_SOCK_FRAME_MAX_BYTES];
};
TAILQ_HEAD(hv_host_sock_frame_list, hv_host_sock_frame);

struct hv_host_sock {
    struct hv_host_source source; /* first: epoll knows only this */
    TAILQ_ENTRY(hv_host_sock) entry;
    struct hv_host *host;
    struct hv_host_guest *guest; /* NULL before HELLO, and when the guest was freed */
    int fd;                      /* -1 = hung up */
    bool paused;
    uint64_t deadline_ns; /* for HELLO */
    struct hv_host_sock_frame_list queue;
    uint32_t queued;
};
TAILQ_HEAD(hv_host_sock_list, hv_host_sock);

struct hv_host_sockets {
    struct hv_host_source listen_source;
    struct hv_host *host;
    int listen_fd; /* -1 = none */
    char *path;
    uint64_t inode;     /* of our own socket file */
    uint64_t resume_ns; /* out of descriptors: listen again then; 0 = listening */
    struct hv_host_sock_list list;
    uint32_t count;
};

/** guest_sock.c: the socket has something. */
void hv_host_sock_ready(struct hv_host_source *source, uint32_t events);

/** Say why, as the last thing, and close the socket.  An empty reason says nothing. */
void hv_host_sock_hang_up(struct hv_host_sock *sock, const char *why);
/** The same for a connection that is no guest yet; goes to the log too. */
void hv_host_sock_reject(struct hv_host_sock *sock, const char *why);
/** The other side went. */
void hv_host_sock_lost(struct hv_host_sock *sock);
/** Close without a word; freed by hv_host_sock_settle(). */
void hv_host_sock_close(struct hv_host_sock *sock);

#endif
