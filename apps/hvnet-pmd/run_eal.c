/* SPDX-License-Identifier: BSD-3-Clause */
/* DPDK's environment out of our options: cores, memory, a virtual device for each port. */
#include "runner.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>

#define ARGS_MAX (24 + RUN_PORTS_MAX * 2)

/** Free huge pages of 2 MiB. */
static unsigned long huge_pages_free(void)
{
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
    char line[32] = "";
    unsigned long count = 0;

    if (file) {
        if (fgets(line, sizeof(line), file))
            count = strtoul(line, NULL, 10);
        (void)fclose(file);
    }
    return count;
}

/** "0@(0,1,2),1@1,2@2": lcore 0 is the main thread, wherever the system puts it; the others are pinned. */
static void cores_text(const struct hv_cpus *cores, char *out, size_t bytes)
{
    size_t used = (size_t)snprintf(out, bytes, "0@(");
    cpu_set_t allowed;

    CPU_ZERO(&allowed);
    (void)sched_getaffinity(0, sizeof(allowed), &allowed);
    for (unsigned cpu = 0, n = 0; cpu < CPU_SETSIZE && used < bytes; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            used += (size_t)snprintf(out + used, bytes - used, n++ ? ",%u" : "%u", cpu);
    used += (size_t)snprintf(out + used, bytes - used, ")");
    for (unsigned i = 0; i < cores->count && used < bytes; i++)
        used += (size_t)snprintf(out + used, bytes - used, ",%u@%u", i + 1, cores->cpu[i]);
}

struct args {
    char *word[ARGS_MAX];
    int count;
};

static void add(struct args *args, const char *word)
{
    if (args->count < ARGS_MAX - 1)
        args->word[args->count++] = strdup(word);
}

static void add_memory(struct args *args, const struct run *run)
{
    unsigned long need = (run->options.memory_mib + 1) / 2, have = huge_pages_free();
    char text[16];

    (void)snprintf(text, sizeof(text), "%u", run->options.memory_mib);
    add(args, "-m");
    add(args, text);
    if (run->options.no_huge || have < need) {
        if (!run->options.no_huge)
            (void)fprintf(stderr,
                          "hvnet-pmd: %lu huge pages are free, %lu are needed: going on without "
                          "(slower; echo %lu >/proc/sys/vm/nr_hugepages reserves them)\n",
                          have, need, need);
        add(args, "--no-huge");
    } else {
        add(args, "--in-memory"); /* anonymous huge pages: nothing stays in a file system */
        add(args, "--single-file-segments");
    }
}

int run_eal_start(struct run *run, const char *const *addresses)
{
    static struct args args; /* EAL keeps the words, and changes the list that it is given */
    char *list[ARGS_MAX];
    char text[8192];
    int ret;

    add(&args, "hvnet-pmd");
    cores_text(&run->options.cores, text, sizeof(text));
    add(&args, "--lcores");
    add(&args, text);
    add(&args, "--no-pci");
    add(&args, "--no-shconf");
    (void)snprintf(text, sizeof(text), "hvnet-%d", (int)getpid());
    add(&args, "--file-prefix");
    add(&args, text);
    (void)snprintf(text, sizeof(text), "--log-level=lib.*:%s",
                   run->options.log_level > 6 ? "info" : "error");
    add(&args, text);
    (void)snprintf(text, sizeof(text), "--log-level=pmd.net.hvnet:%u", run->options.log_level);
    add(&args, text);
    add_memory(&args, run);
    for (unsigned i = 0; i < run->port_count; i++) {
        (void)snprintf(text, sizeof(text), "net_hvnet%u,addr=%s", i, addresses[i]);
        add(&args, "--vdev");
        add(&args, text);
    }
    memcpy(list, args.word, sizeof(list)); /* ends with NULL */
    ret = rte_eal_init(args.count, list);
    if (ret < 0) {
        (void)fprintf(stderr, "hvnet-pmd: DPDK does not start: %s\n", rte_strerror(rte_errno));
        return HV_EXIT_FAILED;
    }
    return 0;
}
