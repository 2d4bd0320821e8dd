/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Option errors name the option, the value and what is allowed: "--cpus 0-x: \"0-x\" is no CPU number; allowed: ...".
 * Parsers of values fill `why` with all but the option's name; the program adds that and exits with 2.
 */
#ifndef HV_APP_OPTION_H
#define HV_APP_OPTION_H

#include <stdint.h>

/** Room that every parser's `why` must have; it is always terminated. */
#define HV_OPTION_WHY_BYTES 512

/** Exit codes of all programs. */
#define HV_EXIT_FAILED 1 /* something outside refused: an image, a socket, a device */
#define HV_EXIT_USAGE  2 /* an option is wrong */

/** Format into why[HV_OPTION_WHY_BYTES]; returns -EINVAL, so that a parser can return it. */
int hv_option_fail(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** A decimal number min .. max without sign, blank or suffix.  0 or -EINVAL. */
int hv_option_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value, char *why);

/** "on", "off".  0 or -EINVAL. */
int hv_option_switch(const char *text, int *ret_on, char *why);

/** A version such as "6.2" that is in the list (major << shift | minor), which ends with 0.  0 or -EINVAL. */
int hv_option_version(const char *text, unsigned shift, const uint32_t *list, uint32_t *ret_version,
                      char *why);

#endif
