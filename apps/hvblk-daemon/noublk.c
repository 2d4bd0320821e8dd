/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon built without liburing: --export ublk says so, the rest has no devices. */
#include <errno.h>

#include "common/option.h"
#include "ublk.h"

void ublk_protect_process(void)
{
}

int ublk_open(const struct ublk_opts *opts, char *why, struct ublk_set **ret_set)
{
    (void)opts;
    (void)ret_set;
    (void)hv_option_fail(why, "this daemon was built without liburing, so it has no ublk");
    return -ENOSYS;
}

void ublk_close(struct ublk_set *set)
{
    (void)set;
}

void ublk_luns(struct ublk_set *set, const struct lun_table *luns, unsigned active)
{
    (void)set;
    (void)luns;
    (void)active;
}

void ublk_poll(struct ublk_set *set, uint64_t now_ns)
{
    (void)set;
    (void)now_ns;
}

int ublk_wait(const struct ublk_set *set, uint64_t now_ns, int *ret_ms)
{
    (void)set;
    (void)now_ns;
    *ret_ms = -1;
    return -1;
}

void ublk_news(struct ublk_set *set, const struct mail *news)
{
    (void)set;
    (void)news;
}

void ublk_stop(struct ublk_set *set, bool keep)
{
    (void)set;
    (void)keep;
}

bool ublk_busy(const struct ublk_set *set)
{
    (void)set;
    return false;
}

bool ublk_failed(const struct ublk_set *set)
{
    (void)set;
    return false;
}

unsigned ublk_status(const struct ublk_set *set, struct ublk_status *status, unsigned max)
{
    (void)set;
    (void)status;
    (void)max;
    return 0;
}
