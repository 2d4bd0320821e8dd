/* SPDX-License-Identifier: BSD-3-Clause */
#include "ublk_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct task {
    struct ublk_device *device;
    struct mailbox *news;
    enum ublk_help help;
    char path[UBLK_PATH_BYTES];
};

static int flush(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), ret = 0;

    if (fd < 0)
        return -errno;
    /* BLKFLSBUF writes the mounted file system as well, fsync() only the device; the first wants more rights. */
    if (ioctl(fd, BLKFLSBUF) && fsync(fd))
        ret = -errno;
    (void)close(fd);
    return ret;
}

static int try_exclusively(const char *path)
{
    int fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    (void)close(fd);
    return 0;
}

static void *run(void *arg)
{
    struct task *task = arg;
    int ret = task->help == UBLK_HELP_FLUSH ? flush(task->path) : try_exclusively(task->path);
    struct mail news = {.kind = UBLK_HELPED, .data = task->device, .fd = ret};

    (void)mailbox_post(task->news, &news);
    free(task);
    return NULL;
}

void ublk_help(struct ublk_device *device, enum ublk_help help)
{
    struct task *task = malloc(sizeof(*task));
    struct mail news = {.kind = UBLK_HELPED, .data = device, .fd = -ENOMEM};
    pthread_t thread;
    int ret = ENOMEM;

    device->helping = true;
    if (task) {
        *task = (struct task){.device = device, .news = device->opts->news, .help = help};
        ublk_path('b', device->info.device, task->path);
        ret = pthread_create(&thread, NULL, run, task);
    }
    if (!ret) {
        (void)pthread_detach(thread);
        return;
    }
    free(task);
    (void)mailbox_post(device->opts->news, &news);
}
