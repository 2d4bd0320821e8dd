/* SPDX-License-Identifier: BSD-3-Clause */
/* balloon ADDRESS: tell a Hyper-V host how the memory of this machine is used. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "balloon.h"
#include "dynmem.h"

#define NO_VERSION                                                                                 \
    DYNMEM_VERSION(0xffff, 0) /* which no host has: so it can be asked for again and again */
#define KIB_A_PAGE 4u

enum { EXIT_USAGE = 2 };

struct plan {
    const char *address;
    unsigned long rounds, cycles, reports, interval_ms, serve_ms, dma_kib, timeout_ms;
};

static const char help[] =
    "usage: balloon ADDRESS [OPTION]...\n"
    "Speaks Hyper-V's dynamic memory (balloon) protocol: version, capabilities, status reports.  "
    "Gives no memory away.\n"
    "\n"
    "  ADDRESS           uio:INSTANCE-GUID (a device bound to uio_hv_generic), or unix:PATH\n"
    "  --reports N       status reports to send (1)\n"
    "  --interval MS     between two reports; what the host asks is answered meanwhile (0)\n"
    "  --serve MS        then answer what the host asks, for so long (0)\n"
    "  --dma KIB         memory that the host may reach, as a driver for disks or networks has it; "
    "held to the end (0)\n"
    "  --rounds N        before all that, N questions that the host must refuse, each waited for "
    "asleep (0)\n"
    "  --cycles N        all of it N times, from opening to closing (1)\n"
    "  --timeout MS      for each answer (10000)\n"
    "  --help            this text\n"
    "\n"
    "  balloon uio:1eccfd72-4b41-45ef-b73a-4a6e44c12924\n"
    "  balloon uio:1eccfd72-4b41-45ef-b73a-4a6e44c12924 --reports 3600 --interval 1000\n"
    "\n"
    "Exit code: 0 done, 1 the host or the channel failed, 2 the command line is wrong.\n";

static int64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void print_line(void *arg, enum hv_log_level level, const char *line)
{
    (void)arg;
    if (level <= HV_LOG_WARNING)
        fprintf(stderr, "balloon: %s\n", line);
}

/** A line of /proc/meminfo, in pages; 0 when it is not there. */
static uint64_t memory_pages(const char *name)
{
    FILE *file = fopen("/proc/meminfo", "re");
    size_t length = strlen(name);
    uint64_t pages = 0;
    char line[128];

    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (!strncmp(line, name, length) && line[length] == ':')
            pages = strtoull(line + length + 1, NULL, 10) / KIB_A_PAGE;
    (void)fclose(file);
    return pages;
}

static int ask_in_vain(struct balloon *b, unsigned long rounds)
{
    int64_t start = now_us(), longest = 0;

    for (unsigned long i = 0; i < rounds; i++) {
        int64_t before = now_us();
        bool accepted;
        int err = balloon_ask_version(b, NO_VERSION, false, &accepted);

        if (err)
            return err;
        if (accepted) {
            (void)snprintf(b->problem, sizeof(b->problem),
                           "the host accepted a version that does not exist");
            return -EPROTO;
        }
        if (now_us() - before > longest)
            longest = now_us() - before;
    }
    if (rounds)
        printf("%lu rounds, %" PRIu64 " sleeps, mean %.3f ms, longest %.3f ms\n", rounds, b->sleeps,
               (double)(now_us() - start) / 1e3 / (double)rounds, (double)longest / 1e3);
    return 0;
}

static int serve(struct balloon *b, unsigned long milliseconds)
{
    int64_t end = now_us() + (int64_t)milliseconds * 1000;
    int64_t left;

    while ((left = end - now_us()) > 0) {
        int err = balloon_serve(b, (uint32_t)((left + 999) / 1000));

        if (err && err != -EAGAIN)
            return err;
    }
    return 0;
}

static int report(struct balloon *b, const struct plan *plan)
{
    for (unsigned long i = 0; i < plan->reports; i++) {
        uint64_t available = memory_pages("MemAvailable"), committed = memory_pages("Committed_AS");
        int err = balloon_report_status(b, available, committed);

        if (!err && i + 1 < plan->reports)
            err = serve(b, plan->interval_ms);
        if (err)
            return err;
        if (i == 0)
            printf("reported %" PRIu64 " pages available, %" PRIu64 " committed\n", available,
                   committed);
    }
    return 0;
}

/** Nothing of it is given to the host: where it lies is what is of interest. */
static int show_dma(const struct balloon *b, const struct hv_dma *dma)
{
    size_t count = hv_dma_bytes(dma) / (KIB_A_PAGE * 1024), runs = 0;
    uint64_t *frames = calloc(count, sizeof(*frames));
    ssize_t found;

    if (!frames)
        return -ENOMEM;
    found = hv_dma_pfns(b->bus, hv_dma_address(dma), hv_dma_bytes(dma), frames, count);
    for (ssize_t i = 0; i < found; i++)
        runs += !i || frames[i] != frames[i - 1] + 1;
    if (found > 0)
        printf("dma %zd pages in %zu pieces, first frame %" PRIu64 "\n", found, runs, frames[0]);
    free(frames);
    return found < 0 ? (int)found : 0;
}

static int talk(struct balloon *b, const struct plan *plan)
{
    struct hv_dma *dma = NULL;
    int err = ask_in_vain(b, plan->rounds);

    if (!err)
        err = balloon_agree(b);
    if (!err) {
        printf("version %u.%u\n", b->version >> 16, b->version & 0xffff);
        err = balloon_report_capabilities(b);
    }
    if (!err) {
        printf("capabilities accepted, status reports %s\n",
               b->host_wants_none ? "not wanted" : "wanted");
        err = report(b, plan);
    }
    if (!err && plan->dma_kib)
        err = hv_dma_alloc(b->bus, plan->dma_kib * 1024, &dma);
    if (!err && dma)
        err = show_dma(b, dma);
    if (!err)
        err = serve(b, plan->serve_ms);
    hv_dma_free(dma);
    if (!err && b->host_requests)
        printf("answered %" PRIu64 " requests of the host\n", b->host_requests);
    return err;
}

static int run(const struct plan *plan)
{
    struct hv_vmbus_opts opts = HV_VMBUS_OPTS_INIT;
    struct balloon b;

    opts.log.line = print_line;
    opts.timeout_ms = (uint32_t)plan->timeout_ms;
    for (unsigned long i = 0; i < plan->cycles; i++) {
        int err = balloon_open(&b, plan->address, &opts);

        if (!err) {
            b.timeout_ms = (uint32_t)plan->timeout_ms;
            err = talk(&b, plan);
            balloon_close(&b);
        }
        if (err) {
            fprintf(stderr, "balloon: %s: %s\n", plan->address,
                    b.problem[0] ? b.problem : strerror(-err));
            return EXIT_FAILURE;
        }
    }
    if (plan->cycles > 1)
        printf("%lu cycles\n", plan->cycles);
    return EXIT_SUCCESS;
}

static unsigned long number(const char *option, const char *text, unsigned long min,
                            unsigned long max)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || value < min || value > max) {
        fprintf(stderr, "balloon: --%s %s: a number from %lu to %lu\n", option, text, min, max);
        exit(EXIT_USAGE);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"reports", required_argument, NULL, 'r'},
        {"serve", required_argument, NULL, 's'},
        {"interval", required_argument, NULL, 'i'},
        {"rounds", required_argument, NULL, 'n'},
        {"cycles", required_argument, NULL, 'c'},
        {"timeout", required_argument, NULL, 't'},
        {"dma", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct plan plan = {.cycles = 1, .reports = 1, .timeout_ms = 10000};
    int option, index = 0;

    while ((option = getopt_long(argc, argv, "", options, &index)) != -1) {
        const char *name = options[index].name;

        if (option == 'r')
            plan.reports = number(name, optarg, 0, 1000000000);
        else if (option == 's')
            plan.serve_ms = number(name, optarg, 0, 1000000000);
        else if (option == 'd')
            plan.dma_kib = number(name, optarg, 0, 1ul << 24);
        else if (option == 'i')
            plan.interval_ms = number(name, optarg, 0, 1000000);
        else if (option == 'n')
            plan.rounds = number(name, optarg, 0, 1000000000);
        else if (option == 'c')
            plan.cycles = number(name, optarg, 1, 1000000);
        else if (option == 't')
            plan.timeout_ms = number(name, optarg, 1, 600000);
        else if (option == 'h')
            return fputs(help, stdout) < 0;
        else
            return EXIT_USAGE;
    }
    if (argc - optind != 1) {
        fputs("balloon: one ADDRESS, please; see balloon --help\n", stderr);
        return EXIT_USAGE;
    }
    plan.address = argv[optind];
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    return run(&plan);
}
