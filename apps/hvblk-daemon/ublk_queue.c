/* SPDX-License-Identifier: BSD-3-Clause */
#include "ublk_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int ublk_queue_create(const struct ublk_queue_opts *opts, struct ublk_queue **ret_queue)
{
    struct ublk_queue *queue = calloc(1, sizeof(*queue));
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *descs;

    if (!queue)
        return -ENOMEM;
    queue->opts = *opts;
    queue->tags = calloc(opts->depth, sizeof(*queue->tags));
    if (!queue->tags) {
        ublk_queue_destroy(queue);
        return -ENOMEM;
    }
    queue->desc_bytes = (opts->depth * sizeof(*queue->descs) + page - 1) / page * page;
    descs = mmap(NULL, queue->desc_bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, opts->fd,
                 (off_t)ublkw_desc_offset(opts->index));
    if (descs == MAP_FAILED) {
        int ret = -errno;

        ublk_queue_destroy(queue);
        return ret;
    }
    queue->descs = descs;
    *ret_queue = queue;
    return 0;
}

void ublk_queue_destroy(struct ublk_queue *queue)
{
    if (!queue)
        return;
    if (queue->descs)
        (void)munmap((void *)(uintptr_t)queue->descs, queue->desc_bytes);
    free(queue->tags);
    free(queue);
}
