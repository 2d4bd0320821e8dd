/* SPDX-License-Identifier: BSD-3-Clause */
/* What people read about a device. */
#include "ublk_device.h"

static const char *const recovery_names[] = {
    [UBLK_RECOVERY_REISSUE] = "reissue",
    [UBLK_RECOVERY_WAIT] = "wait",
    [UBLK_RECOVERY_FAIL] = "fail",
    [UBLK_RECOVERY_NONE] = "none",
};

const char *ublk_step_name(const struct ublk_device *device)
{
    static const char *const names[] = {
        [UBLK_CLEARING] = "starting", [UBLK_RECOVERING] = "recovering",
        [UBLK_OPENING] = "starting",  [UBLK_STARTING] = "starting",
        [UBLK_LIVE] = "live",         [UBLK_FLUSHING] = "stopping",
        [UBLK_STOPPING] = "stopping", [UBLK_DELETING] = "stopping",
        [UBLK_QUIESCING] = "kept",    [UBLK_KEPT] = "kept",
        [UBLK_GONE] = "gone",
    };

    return device->orphaned && device->step == UBLK_LIVE ? "disk gone" : names[device->step];
}

static enum ublk_recovery recovery_of(uint64_t flags)
{
    if (!(flags & UBLKW_F_RECOVERY))
        return UBLK_RECOVERY_NONE;
    if (flags & UBLKW_F_REISSUE)
        return UBLK_RECOVERY_REISSUE;
    return flags & UBLKW_F_FAIL_IO ? UBLK_RECOVERY_FAIL : UBLK_RECOVERY_WAIT;
}

const char *ublk_recovery_name(uint64_t flags)
{
    return recovery_names[recovery_of(flags)];
}
