/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/cpus.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/option.h"

/** "0-3,6": what the process may run on. */
static void list_allowed(const cpu_set_t *set, char *text, size_t bytes)
{
    size_t used = 0;

    text[0] = '\0';
    for (int i = 0; i < HV_CPUS_MAX && used < bytes; i++) {
        int first = i;

        if (!CPU_ISSET((size_t)i, set))
            continue;
        while (i + 1 < HV_CPUS_MAX && CPU_ISSET((size_t)i + 1, set))
            i++;
        used += (size_t)snprintf(text + used, bytes - used, used ? ",%d" : "%d", first);
        if (i > first && used < bytes)
            used += (size_t)snprintf(text + used, bytes - used, "-%d", i);
    }
}

/** One number; moves *text behind it.  -1 when there is none. */
static long take_number(const char **text)
{
    char *end;
    long value;

    if (**text < '0' || **text > '9')
        return -1;
    value = strtol(*text, &end, 10);
    *text = end;
    return value < HV_CPUS_MAX ? value : HV_CPUS_MAX;
}

static int add_range(long first, long last, cpu_set_t *free_cpus, struct hv_cpus *cpus)
{
    for (long i = first; i <= last; i++) {
        if (i >= HV_CPUS_MAX || !CPU_ISSET((size_t)i, free_cpus))
            return -EINVAL;
        CPU_CLR((size_t)i, free_cpus); /* a second mention is refused */
        cpus->cpu[cpus->count++] = (uint16_t)i;
    }
    return 0;
}

int hv_cpus_parse(const char *text, struct hv_cpus *ret_cpus, char *why)
{
    struct hv_cpus cpus = {0};
    cpu_set_t allowed, left;
    char have[128];
    const char *c = text;

    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        return hv_option_fail(why, "cannot ask which CPUs there are");
    left = allowed;
    list_allowed(&allowed, have, sizeof(have));
    for (;;) {
        long first = take_number(&c), last = first;

        if (first >= 0 && *c == '-') {
            c++;
            last = take_number(&c);
        }
        if (first < 0 || last < first || (*c && *c != ','))
            return hv_option_fail(
                why, "\"%s\" is no list of CPUs; allowed: numbers and ranges out of %s, e.g. 0,2-3",
                text, have);
        if (add_range(first, last, &left, &cpus))
            return hv_option_fail(why, "\"%s\" is not allowed; allowed: each of %s at most once",
                                  text, have);
        if (!*c++)
            break;
    }
    *ret_cpus = cpus;
    return 0;
}

int hv_cpus_pin(pthread_t thread, const struct hv_cpus *cpus, unsigned turn)
{
    cpu_set_t set;

    if (!cpus->count)
        return 0;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpus->cpu[turn % cpus->count], &set);
    return -pthread_setaffinity_np(thread, sizeof(set), &set);
}
