/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers are those of kernel.org; distributions carry fixes under numbers of their own.  `kernel` is SYS_KERNEL(), 0 when
 * it is not known: then whatever old kernels do is assumed.
 */
#include "quirks.h"

#include "sys.h"

#define V SYS_KERNEL

struct fix {
    uint32_t from, before; /* of one series */
};

/** In the series of the list from a patch level on, or in mainline from `mainline` on. */
static bool fixed(uint32_t kernel, uint32_t mainline, const struct fix *fixes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (kernel >= fixes[i].from && kernel < fixes[i].before)
            return true;
    return kernel >= mainline;
}
#define FIXED(kernel, mainline, fixes)                                                             \
    fixed(kernel, mainline, fixes, sizeof(fixes) / sizeof((fixes)[0]))

/** b15b7d2a1b09: the mask is left to user space. */
static bool leaves_mask(uint32_t kernel)
{
    static const struct fix fixes[] = {
        {V(5, 4, 301), V(5, 5, 0)}, {V(5, 10, 246), V(5, 11, 0)}, {V(5, 15, 195), V(5, 16, 0)},
        {V(6, 1, 156), V(6, 2, 0)}, {V(6, 6, 112), V(6, 7, 0)},   {V(6, 12, 53), V(6, 13, 0)},
        {V(6, 17, 3), V(6, 18, 0)},
    };

    return FIXED(kernel, V(6, 18, 0), fixes);
}

/** d062463edf17: interrupts of sub-channels are survived, and signals reach them. */
static bool knows_subs(uint32_t kernel)
{
    static const struct fix fixes[] = {{V(6, 12, 60), V(6, 13, 0)}};

    return FIXED(kernel, V(6, 16, 0), fixes);
}

/** fb1adbd7e50f, 6fd28941447b. */
static bool survives_rescind(uint32_t kernel)
{
    static const struct fix fixes[] = {
        {V(4, 19, 322), V(4, 20, 0)}, {V(5, 4, 284), V(5, 5, 0)}, {V(5, 10, 226), V(5, 11, 0)},
        {V(5, 15, 167), V(5, 16, 0)}, {V(6, 1, 110), V(6, 2, 0)}, {V(6, 6, 51), V(6, 7, 0)},
        {V(6, 10, 10), V(6, 11, 0)},
    };

    return FIXED(kernel, V(6, 11, 0), fixes);
}

static bool masks(uint32_t kernel)
{
    return !leaves_mask(kernel);
}
static bool sub_crash_exposed(uint32_t kernel)
{
    return leaves_mask(kernel) && !knows_subs(kernel);
}
static bool sub_crash_hidden(uint32_t kernel)
{
    return !leaves_mask(kernel) && !knows_subs(kernel);
}
static bool write_crash(uint32_t kernel)
{
    return knows_subs(kernel);
}
static bool rescind_crash(uint32_t kernel)
{
    return !survives_rescind(kernel);
}
static bool needs_monitor(uint32_t kernel)
{
    return kernel < V(6, 10, 0);
}
static bool cannot_signal_subs(uint32_t kernel)
{
    return kernel >= V(6, 10, 0) && !knows_subs(kernel);
}
static bool no_override(uint32_t kernel)
{
    return kernel < V(4, 18, 0);
}
static bool opens_at_bind(uint32_t kernel)
{
    return kernel < V(4, 20, 0);
}
static bool no_buffers(uint32_t kernel)
{
    return kernel < V(4, 16, 0);
}
static bool reoffer_race(uint32_t kernel)
{
    return kernel < V(6, 15, 0);
}
static bool always(uint32_t kernel)
{
    (void)kernel;
    return true;
}

const struct quirk quirks[] = {
    {"sub-channel-crash", sub_crash_exposed, true,
     "an interrupt of a sub-channel crashes this kernel, and it does not mask them",
     "use one queue, or update to 6.16 or to 6.12.60 and later 6.12; libvmbus masks them at once "
     "and "
     "then sleeps 1 ms at a time, DPDK's own driver does not"},
    {"sub-channel-crash-masked", sub_crash_hidden, false,
     "an interrupt of a sub-channel would crash this kernel; it masks them, and they stay masked",
     "nothing for libvmbus, whose sub-channels sleep 1 ms at a time; fewer wake-ups with 6.16 or "
     "later"},
    {"rescind-crash", rescind_crash, true,
     "a device that the host takes away can crash this kernel, or never come back",
     "do not detach disks or NICs while they are bound; update to 6.11, or to a stable kernel of "
     "September 2024 or later"},
    {"signal-race", write_crash, false,
     "a signal by write() while a sub-channel is being made can crash this kernel",
     "nothing: libvmbus signals by monitor bit, or asks for no sub-channels"},
    {"mask", masks, false, "the kernel sets the interrupt mask at open and at each interrupt",
     "nothing for libvmbus; other programs can sleep for ever: update to 6.18, or to a stable "
     "kernel "
     "of October 2025 or later"},
    {"monitor-needed", needs_monitor, false,
     "devices without a monitor bit cannot be bound to uio_hv_generic",
     "update to 6.10 or later where `hvctl list` says \"no monitor\""},
    {"sub-channel-signal", cannot_signal_subs, false,
     "sub-channels without a monitor bit cannot be signalled", "use one queue there"},
    {"no-override", no_override, false, "VMBus has no driver_override: whole classes are bound",
     "unbound devices of the same class go to uio_hv_generic, too"},
    {"opened-at-bind", opens_at_bind, false, "channels are opened when the driver binds",
     "`state` does not tell whether a program has a device open"},
    {"no-buffers", no_buffers, false, "there are no receive and send buffers for user space",
     "network devices need 4.16 or later"},
    {"reoffer", reoffer_race, false,
     "the file `ring` of a channel can be missing after a device came back, or have a wrong size",
     "unbind and bind the device again"},
    {"contiguous", always, false,
     "rings of a bound device take 4 MiB of memory in one piece, each channel",
     "bind early after boot; else: echo 1 > /proc/sys/vm/compact_memory"},
    {"hibernation", always, false, "a machine with bound devices cannot hibernate",
     "unbind them before"},
};
const size_t quirk_count = sizeof(quirks) / sizeof(quirks[0]);
