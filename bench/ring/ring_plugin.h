/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One ring under test = one shared object that exports `const struct ring_ops ring_ops`.
 *
 * The harness makes one memory file per ring, lets the plug-in initialise it once, attaches once as sender and once as
 * receiver (in two threads or two processes) and moves messages of one length in bursts.
 */
#ifndef HV_BENCH_RING_PLUGIN_H
#define HV_BENCH_RING_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The memory of one ring: shm_bytes() of it, zeroed, as a file and mapped. */
struct ring_memory {
    int fd;
    void *shm;
    size_t ring_bytes; /* data area */
};

enum ring_role { RING_SENDER, RING_RECEIVER };

struct ring_ops {
    const char *name;
    size_t (*shm_bytes)(size_t ring_bytes);
    void (*init)(const struct ring_memory *memory);
    /** A handle of one end, for the life of the process; NULL when it cannot be had. */
    void *(*attach)(const struct ring_memory *memory, enum ring_role role);
    /** Send up to n messages of len bytes found at src + i * stride, show them, return how many were taken. */
    unsigned (*send)(void *handle, const uint8_t *src, size_t stride, uint32_t len, unsigned n);
    /** Receive up to n messages to dst + i * stride, give their space back, return how many came. */
    unsigned (*recv)(void *handle, uint8_t *dst, size_t stride, uint32_t len, unsigned n);
    /** 0, or the only message length the ring can carry. */
    uint32_t fixed_len;
    /** How often send said that the peer must be signalled, so far; NULL when the ring has no such thing. */
    uint64_t (*signals)(const void *handle);
    /** Receiver: ask for signals; true when messages are there already.  NULL together with signals. */
    bool (*arm)(void *handle);
    /** Receiver, awake again: no signals, please. */
    void (*disarm)(void *handle);
};

extern const struct ring_ops ring_ops;

#endif
