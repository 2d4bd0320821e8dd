/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A reactor: one thread, one storvsc queue, the connections and ublk queues given to it.  It shares nothing with other reactors but the
 * two flags of each LUN (lun.h).  With an emulated host it polls the host's worker of its channel too, so that no wake-up
 * lies between them.
 *
 * TURN  sockets and ublk: receive, parse, submit -> publish once -> emulated worker -> completions -> send, one call a
 *       connection, one for all of ublk
 * IDLE  spin as long as that pays (common/spin.h), else arm everything and sleep
 *
 * The control thread talks to it by messages.  It may use the queue and the worker itself only between reactor_detach()
 * and reactor_attach(); meanwhile the reactor goes on serving sockets, and requests wait.
 */
#ifndef HVBLK_REACTOR_H
#define HVBLK_REACTOR_H

#include <pthread.h>
#include <stdatomic.h>

#include <hv/host.h>
#include <hv/storvsc.h>

#include "calm.h"
#include "common/spin.h"
#include "mailbox.h"
#include "nbd_connection.h"

#define REACTOR_MAX 64u

struct reactor;

enum reactor_news {
    REACTOR_DEVICE_LOST, /* its queue died: detach all, connect anew */
    REACTOR_DRAINED,     /* no connection is left after a drain */
    REACTOR_UBLK_ENDED,  /* data = a queue that the kernel let go of (ublk_queue.h) */
    REACTOR_NEWS_COUNT,  /* other kinds in the same mailbox start here */
};

struct reactor_opts {
    unsigned index;
    bool poll;                     /* never sleep */
    bool normal;                   /* --sched normal: not even try to be calm (calm.h) */
    uint64_t wait_ns;              /* how long requests wait for a lost device */
    size_t buffer_bytes;           /* arena of DMA buffers */
    bool hugepages;                /* ... which must not move: the host is the machine's own */
    uint32_t tag_count;            /* requests that ublk may have in flight */
    struct lun_shared *lun_shared; /* LUN_MAX of them */
    atomic_uint *connections;      /* all reactors together; decremented when one ends */
    struct mailbox *news;          /* gets REACTOR_*, data = the reactor */
};

struct client {
    struct nbd_conn nbd;
    int fd;
    bool readable; /* bytes may wait in the socket */
    bool hung_up;  /* the client closed its end: read until nothing is left */
    bool want_out; /* the socket was full: waiting for EPOLLOUT */
    uint64_t since_ns, blocked_ns;
};

struct reactor {
    struct reactor_opts opts;
    pthread_t thread;
    bool started;
    struct mailbox mailbox;
    struct nbd_engine engine;
    struct stats stats;
    struct hv_spin spin;
    struct calm calm;
    int epoll;
    /* memory that the host may reach: one sealed file, registered with each bus */
    int arena_fd;
    void *arena;
    struct hv_dma *dma; /* control thread */
    /* device */
    bool attached;
    struct hv_storvsc_queue *queue;
    struct hv_host_worker *worker;  /* NULL: the host is elsewhere */
    int queue_fd, worker_fd;        /* as registered with epoll; -1 = not */
    bool queue_event, worker_event; /* they were readable */
    struct io *wait_first, *wait_last;
    struct io *returned;   /* came back from the library while detached; control thread */
    uint64_t outage_ns;    /* since when there is no device */
    bool failing;          /* the outage lasts too long: fail at once */
    uint32_t device_count; /* ios with the library */
    /* sockets */
    struct client **clients;
    uint32_t client_count, client_room;
    uint32_t turns_blind;       /* since the sockets were asked last */
    uint64_t begun, begun_idle; /* requests, now and at the last idle moment */
    uint32_t depth; /* how many came in the last busy spell: the clients send so many at once */
    bool busy;
    uint64_t tick_ns;
    bool probe;        /* spinning: ask the sockets directly */
    uint64_t found_ns; /* when that found something; 0 = it did not */
    bool sweep;        /* a connection may be over */
    bool quit, draining;
    struct reactor_ublk *ublk; /* NULL: no queue was ever added (reactor_ublk.h) */
    struct lun_table *luns;    /* its own copy */
    struct iovec iov[512];
};

/** 0 or a negative errno.  The thread starts with reactor_start(). */
int reactor_init(struct reactor *reactor, const struct reactor_opts *opts);
/** The thread must have ended.  Takes a zeroed one. */
void reactor_fini(struct reactor *reactor);
int reactor_start(struct reactor *reactor);

/* Control thread; each returns when the reactor has done it. */
void reactor_detach(struct reactor *reactor);
void reactor_attach(struct reactor *reactor, struct hv_storvsc_queue *queue,
                    struct hv_host_worker *worker);
void reactor_set_luns(struct reactor *reactor, const struct lun_table *luns);
/** hv_storvsc_rescan() in the owner of queue 0. */
void reactor_rescan(struct reactor *reactor, struct hv_storvsc *storvsc);
/** hv_storvsc_get_stats() in the owner of its queue; left alone while it has none. */
void reactor_queue_stats(struct reactor *reactor, struct hv_storvsc_stats *ret_stats);
/** End all its connections: it will get no queue any more. */
void reactor_drop(struct reactor *reactor);
/** Answer what came, close connections as they finish; REACTOR_DRAINED follows. */
void reactor_drain(struct reactor *reactor);
/** End connections and the thread, join it. */
void reactor_stop(struct reactor *reactor);
/** Hand a connected socket over; `id` names it in the log. */
int reactor_add(struct reactor *reactor, int fd, uint32_t id);

/* ---- between the reactor's files ---- */

/** reactor_device.c: engine->start. */
void reactor_device_start(struct nbd_engine *engine, struct io *io);
/** Publish, poll worker and queue.  True when something was done. */
bool reactor_device_poll(struct reactor *reactor);
void reactor_device_lost(struct reactor *reactor);
void reactor_device_attach(struct reactor *reactor, struct hv_storvsc_queue *queue,
                           struct hv_host_worker *worker);
void reactor_device_detach(struct reactor *reactor);
/** Requests that waited too long. */
void reactor_device_tick(struct reactor *reactor);
/** Ask for signals; true = there is work, do not sleep. */
bool reactor_device_arm(struct reactor *reactor);
void reactor_device_disarm(struct reactor *reactor);

/** reactor_socket.c */
bool reactor_socket_add(struct reactor *reactor, int fd, uint32_t id);
bool reactor_socket_receive(struct reactor *reactor);
bool reactor_socket_send(struct reactor *reactor);
void reactor_socket_event(struct reactor *reactor, struct client *client, uint32_t events);
/** Connections that waited for memory or room try again. */
bool reactor_socket_resume(struct reactor *reactor);
void reactor_socket_sweep(struct reactor *reactor);
void reactor_socket_tick(struct reactor *reactor);

#endif
