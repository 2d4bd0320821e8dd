/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The system that hvctl looks at: text files below /sys, /proc and /dev.  All paths here are formatted, without a leading
 * slash, from the root: "sys/bus/vmbus/devices/%s/id".  A test puts a recorded tree in the place of the root, and itself
 * in the place of the kernel that is written to, and of the processor.
 *
 * What is read is not believed: lengths are bounded, numbers parsed strictly, names checked, and what is not printable
 * becomes '?'.
 */
#ifndef HVCTL_SYS_H
#define HVCTL_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYS_TEXT_BYTES 128 /* a line of sysfs, or a name */

struct sys {
    const char *root; /* "" is the system itself */
    /** Write one file of sysfs; NULL: write(2).  0 or a negative errno. */
    int (*write)(void *arg, const char *path, const char *text);
    /** One CPUID leaf: eax, ebx, ecx, edx; zeroes when there is none.  NULL: the processor. */
    void (*cpuid)(void *arg, uint32_t leaf, uint32_t ret_registers[4]);
    void *arg;
};

/** A path of the system; -ENAMETOOLONG. */
int sys_path(const struct sys *sys, char *path, size_t bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/** One short line, trimmed.  -EPROTO: longer than that, or no text. */
int sys_read(const struct sys *sys, char ret_text[SYS_TEXT_BYTES], const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** A number, decimal or 0x..., at most max. */
int sys_number(const struct sys *sys, uint64_t max, uint64_t *ret_value, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/** Text as a number of that form; -EPROTO. */
int sys_parse(const char *text, uint64_t max, uint64_t *ret_value);
/** A whole file of at most 1 MiB; free() it. */
int sys_slurp(const struct sys *sys, char **ret_text, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** Last component of what a link points to. */
int sys_link(const struct sys *sys, char ret_name[SYS_TEXT_BYTES], const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** Where a path leads, links followed; PATH_MAX bytes. */
int sys_real(const struct sys *sys, char *ret_path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool sys_has(const struct sys *sys, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Sound names in a folder (letters, digits, "-_.:@!"), until `each` says false.  In no order. */
int sys_each(const struct sys *sys, bool (*each)(void *arg, const char *name), void *arg,
             const char *format, ...) __attribute__((format(printf, 4, 5)));
int sys_write(const struct sys *sys, const char *text, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sys_cpuid(const struct sys *sys, uint32_t leaf, uint32_t ret_registers[4]);

/** "6.12.95+deb12-amd64" as a number to compare; SYS_KERNEL(0, 0, 0) when it is none. */
#define SYS_KERNEL(major, minor, patch)                                                            \
    ((uint32_t)(major) << 24 | (uint32_t)(minor) << 16 | (uint32_t)(patch))
uint32_t sys_parse_kernel(const char *release);

#endif
