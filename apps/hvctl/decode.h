/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets in words: VMBus descriptor, then the protocol of the device's class. */
#ifndef HVCTL_DECODE_H
#define HVCTL_DECODE_H

#include <stdio.h>

#include "classes.h"
#include "ring_view.h"

/** One line, and the payload in hexadecimal below it if `hex`. */
void decode_packet(FILE *out, enum class_layer layer, enum ring_side side,
                   const struct ring_packet *packet, bool hex);

/* One protocol each: " vstor EXECUTE_SRB ...".  Any bytes are allowed. */
void decode_vstor(FILE *out, const uint8_t *payload, size_t bytes);
void decode_nvsp(FILE *out, const uint8_t *payload, size_t bytes);

#endif
