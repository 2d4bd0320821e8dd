/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An outside program, built against the installed libraries alone:  readblock ADDRESS > block
 *
 * Writes block 0 of the first LUN of the first SCSI controller at ADDRESS (unix:PATH) to standard output.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include <hv/storvsc.h>
#include <hv/vmbus.h>

static void print_line(void *arg, enum hv_log_level level, const char *line)
{
    (void)arg;
    if (level <= HV_LOG_WARNING)
        fprintf(stderr, "%s\n", line);
}

static void done(struct hv_storvsc_request *request, const struct hv_storvsc_result *result)
{
    int *ret = request->arg;

    *ret = result->error;
}

/* One request, sleeping until the host answers. */
static int run(struct hv_storvsc_queue *queue, struct hv_storvsc_request *request)
{
    int ret = 1; /* no error number: still running */

    request->done = done;
    request->arg = &ret;
    int err = hv_storvsc_submit(queue, request);
    while (!err && ret == 1) {
        err = hv_storvsc_poll(queue);
        if (err < 0)
            return err;
        err = 0;
        if (ret == 1 && !hv_storvsc_arm(queue)) {
            struct pollfd fd = {.fd = hv_storvsc_queue_fd(queue), .events = POLLIN};

            (void)poll(&fd, 1, hv_storvsc_next_deadline_ms(queue)); /* woken early: look again */
        }
        hv_storvsc_disarm(queue);
    }
    return err ? err : ret;
}

static int read_block(struct hv_vmbus *bus, struct hv_storvsc *storvsc)
{
    struct hv_storvsc_lun lun;
    struct hv_dma *dma;
    int err;

    if (!hv_storvsc_luns(storvsc, &lun, 1))
        return -ENODEV;
    err = hv_dma_alloc(bus, lun.block_bytes, &dma);
    if (err)
        return err;

    struct iovec data = {.iov_base = hv_dma_address(dma), .iov_len = lun.block_bytes};
    struct hv_storvsc_request request = {
        .op = HV_STORVSC_READ,
        .address = lun.address,
        .block_count = 1,
        .iov = &data,
        .iov_count = 1,
    };
    err = run(hv_storvsc_queue(storvsc, 0), &request);
    if (!err && fwrite(data.iov_base, 1, data.iov_len, stdout) != data.iov_len)
        err = -EIO;
    hv_dma_free(dma);
    return err;
}

int main(int argc, char **argv)
{
    struct hv_vmbus_opts bus_opts = HV_VMBUS_OPTS_INIT;
    struct hv_storvsc_opts opts = HV_STORVSC_OPTS_INIT;
    struct hv_storvsc *storvsc = NULL;
    struct hv_vmbus *bus = NULL;
    int err;

    if (argc != 2) {
        fprintf(stderr, "usage: readblock ADDRESS\n");
        return 2;
    }
    bus_opts.log.line = print_line;
    opts.log.line = print_line;
    err = hv_vmbus_open(argv[1], &bus_opts, &bus);
    if (!err)
        err = hv_storvsc_open(bus, NULL, &opts, &storvsc);
    if (!err)
        err = read_block(bus, storvsc);
    hv_storvsc_close(storvsc);
    hv_vmbus_close(bus);
    if (err)
        fprintf(stderr, "readblock: %s: %s\n", argv[1], strerror(-err));
    return err ? 1 : 0;
}
