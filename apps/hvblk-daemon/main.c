/* SPDX-License-Identifier: BSD-3-Clause */
#include <systemd/sd-daemon.h>

#include "common/limits.h"
#include "daemon.h"

int main(int argc, char **argv)
{
    static struct options options;
    int ret = 0;

    switch (options_parse(&options, argc, argv, sd_listen_fds(0) > 0)) {
    case OPTIONS_RUN:
        hv_raise_file_limit();
        ret = daemon_run(&options);
        break;
    case OPTIONS_BAD:
        ret = HV_EXIT_USAGE;
        break;
    case OPTIONS_DONE:
        break;
    }
    options_fini(&options);
    return ret;
}
