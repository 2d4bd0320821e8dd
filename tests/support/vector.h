/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets as plain bytes: tests/vectors/NAME.hex.
 *
 *   # to the end of the line: a comment; the first one names where the layout comes from
 *   01 00 2a                   bytes, two hex digits each
 *   @240                       zeroes up to this offset (hex)
 */
#ifndef HV_TEST_VECTOR_H
#define HV_TEST_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** Bytes of the vector, or a negative errno: -ENOENT and others of open, -EINVAL (not hex), -ENOSPC (more than max). */
ssize_t hv_test_vector_load(const char *name, uint8_t *ret_bytes, size_t max);

/** The same for a file of any place. */
ssize_t hv_test_vector_load_file(const char *path, uint8_t *ret_bytes, size_t max);

#endif
