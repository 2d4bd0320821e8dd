/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/limits.h"

#include <sys/resource.h>

void hv_raise_file_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files))
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}
