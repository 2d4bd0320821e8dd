/* SPDX-License-Identifier: BSD-3-Clause */
#include <hv/base/log.h>

#include <stdio.h>

void hv_log(const struct hv_log_hook *hook, enum hv_log_level level, const char *format, ...)
{
    char line[512];
    va_list args;

    if (!hook || !hook->line)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args); /* a cut line is still a line */
    va_end(args);
    hook->line(hook->arg, level, line);
}
