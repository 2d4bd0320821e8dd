/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvnet-pmd, the program: parts and what they share.
 *
 *   run_options  ->  eal (DPDK set-up)  ->  run_ports (configure, start)  ->  run_loop on each core
 *   the main thread: signals, status line, the end;  capture: a thread of its own;  emulate: the host's thread
 */
#ifndef HVNET_RUNNER_H
#define HVNET_RUNNER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "common/cpus.h"
#include "common/option.h"

#define RUN_PORTS_MAX  16
#define RUN_QUEUES_MAX 64
#define RUN_BURST_MAX  64

enum run_mode {
    RUN_IO,
    RUN_MAC_SWAP,
    RUN_L2FWD,
    RUN_RXONLY,
    RUN_TXONLY,
};

struct run_options {
    struct hv_cpus cores;
    const char *ports[RUN_PORTS_MAX]; /* ADDR[,devargs] */
    unsigned port_count;
    const char *links[RUN_PORTS_MAX]; /* --emulate */
    unsigned link_count;
    enum run_mode mode;
    const char *mode_text;
    uint16_t queues; /* of each port; 0 = as many as cores */
    uint16_t burst;
    uint16_t mtu;
    uint16_t frame_bytes; /* txonly */
    bool promiscuous, no_huge, json;
    uint32_t memory_mib;
    uint32_t duration_s;  /* 0 = until a signal */
    uint32_t interval_ms; /* 0 = no status */
    const char *capture;
    uint32_t snap_bytes;
    unsigned log_level;
};

/** 0; 1: help or version was printed; HV_EXIT_USAGE: said why on stderr. */
int run_options_parse(int argc, char **argv, struct run_options *ret_options);

/** One port of DPDK. */
struct run_port {
    uint16_t id;
    const char *text; /* as the user named it */
    _Atomic bool gone;
    _Atomic bool link_changed;
    _Atomic uint64_t dropped; /* received here, but the way out was full */
};

struct run {
    struct run_options options;
    struct run_port ports[RUN_PORTS_MAX];
    unsigned port_count;
    uint16_t queues;
    struct rte_mempool *pool;
    struct capture *capture;
    struct run_emulate *emulate;
    _Atomic bool stop;
};

/* run_eal.c */
/** Starts DPDK with a port for each --port and --emulate.  0 or an exit code. */
int run_eal_start(struct run *run, const char *const *addresses);

/* run_ports.c */
int run_ports_start(struct run *run);
void run_ports_stop(struct run *run);

/* run_loop.c */
/** Main function of a core's thread; `arg` is a struct run_loop. */
struct run_loop {
    struct run *run;
    unsigned index, count; /* this core among the cores */
};
int run_loop_main(void *arg);

/* run_capture.c */
int capture_create(const char *path, uint32_t snap_bytes, unsigned loops,
                   struct capture **ret_capture);
/** Remember these frames; from loop `loop`.  Copies; never waits: what finds no room is counted. */
void capture_add(struct capture *capture, unsigned loop, struct rte_mbuf **mbufs, uint16_t count);
void capture_counts(const struct capture *capture, uint64_t *ret_written, uint64_t *ret_missed);
/** Writes what is left.  NULL is fine.  0 or the first error of writing. */
int capture_destroy(struct capture *capture);

/* run_report.c */
void report_start(const struct run *run);
void report_status(struct run *run, double seconds, bool last);

/* run_emulate.c */
#define RUN_ADDRESS_BYTES 80
int run_emulate_create(const char *const *links, unsigned count, unsigned queues,
                       char (*ret_addresses)[RUN_ADDRESS_BYTES], struct run_emulate **ret_emulate);
void run_emulate_destroy(struct run_emulate *emulate);

#endif
