/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that go on: watch, ring dump, trace.  Exit codes; what is wrong is said on stderr. */
#ifndef HVCTL_LIVE_H
#define HVCTL_LIVE_H

#include "devices.h"
#include "options.h"

/** @devices  A first snapshot; live_watch() puts later ones in its place. */
int live_watch(const struct sys *sys, const struct options *o, struct devices *devices);
int live_dump(const struct sys *sys, const struct options *o, const struct devices *devices);
int live_trace(const struct sys *sys, const struct options *o, const struct devices *devices);

#endif
