/* SPDX-License-Identifier: BSD-3-Clause */
#include "ublk_control.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/option.h"

#define RING_ENTRIES 64u /* more than there are devices that do something at the same time */

void ublk_path(char kind, uint32_t device, char path[UBLK_PATH_BYTES])
{
    (void)snprintf(path, UBLK_PATH_BYTES, "/dev/ublk%c%u", kind, device);
}

static bool has_admin(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    if (syscall(SYS_capget, &header, data))
        return false;
    return data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN);
}

/* ---- Commands ---- */

/** The payload in one piece: the path first, where the kernel wants one. */
static void pack(const struct ublk_control *control, struct ublk_command *command)
{
    char path[UBLK_PATH_BYTES];
    bool about_device = command->op != UBLKW_ADD && command->op != UBLKW_GET_FEATURES;

    command->path_bytes = 0;
    if (about_device && (control->unprivileged || command->op == UBLKW_GET_INFO2)) {
        ublk_path('c', command->device, path);
        command->path_bytes = (uint16_t)(strlen(path) + 1);
        memcpy(command->payload, path, command->path_bytes);
    }
    if (command->bytes)
        memcpy(command->payload + command->path_bytes, command->data, command->bytes);
}

int ublk_control_send(struct ublk_control *control, struct ublk_command *command)
{
    struct io_uring_sqe *sqe;
    struct ublkw_control wire;
    int ret;

    if (command->bytes > sizeof(command->payload) - UBLK_PATH_BYTES)
        return -EINVAL;
    sqe = io_uring_get_sqe(&control->ring);
    if (!sqe)
        return -EBUSY;
    pack(control, command);
    wire = (struct ublkw_control){.device = command->device,
                                  .queue = UBLKW_NO_QUEUE,
                                  .bytes = (uint16_t)(command->path_bytes + command->bytes),
                                  .address = (uintptr_t)command->payload,
                                  .value = command->value,
                                  .path_bytes = command->path_bytes};
    memset(sqe, 0, 2 * sizeof(*sqe)); /* 128-byte entries */
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = control->fd;
    sqe->cmd_op = (uint32_t)command->op;
    memcpy(sqe->cmd, &wire, sizeof(wire));
    io_uring_sqe_set_data(sqe, command);
    command->busy = true;
    ret = io_uring_submit(&control->ring);
    if (ret == 1)
        return 0;
    command->busy = false;
    return ret < 0 ? ret : -EAGAIN;
}

void ublk_control_poll(struct ublk_control *control)
{
    struct io_uring_cqe *cqe;

    while (!io_uring_peek_cqe(&control->ring, &cqe)) {
        struct ublk_command *command = io_uring_cqe_get_data(cqe);
        int result = cqe->res;

        io_uring_cqe_seen(&control->ring, cqe);
        command->busy = false;
        if (command->bytes)
            memcpy(command->data, command->payload + command->path_bytes, command->bytes);
        command->done(command, result);
    }
}

static void note(struct ublk_command *command, int result)
{
    *(int *)command->arg = result;
}

int ublk_control_call(struct ublk_control *control, struct ublk_command *command)
{
    struct io_uring_cqe *cqe;
    int result = 0, ret;

    command->done = note;
    command->arg = &result;
    ret = ublk_control_send(control, command);
    while (!ret && command->busy) {
        (void)io_uring_wait_cqe(&control->ring, &cqe); /* interrupted: again */
        ublk_control_poll(control);
    }
    command->arg = NULL;
    return ret ? ret : result;
}

int ublk_control_fd(const struct ublk_control *control)
{
    return control->ring.ring_fd;
}

/* ---- Open ---- */

static int open_device(struct ublk_control *control, char *why)
{
    control->fd = open(UBLKW_CONTROL_PATH, O_RDWR | O_CLOEXEC);
    if (control->fd >= 0)
        return 0;
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
        (void)hv_option_fail(why, UBLKW_CONTROL_PATH
                             " is missing: modprobe ublk_drv (Linux 6.5 or newer built with it)");
    else
        (void)hv_option_fail(why, UBLKW_CONTROL_PATH ": %s: run as root, or let this user open it",
                             strerror(errno));
    return errno == ENOENT ? -ENOENT : -EACCES;
}

static int open_ring(struct ublk_control *control, char *why)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SQE128};
    int ret = io_uring_queue_init_params(RING_ENTRIES, &control->ring, &params);

    if (!ret)
        return 0;
    control->ring.ring_fd = -1;
    (void)hv_option_fail(
        why, "io_uring: %s%s", strerror(-ret),
        ret == -EPERM || ret == -ENOSYS
            ? ": see kernel.io_uring_disabled in sysctl(8), or the container's rules"
            : "");
    return ret;
}

static int ask_features(struct ublk_control *control, char *why)
{
    struct ublk_command command = {.op = UBLKW_GET_FEATURES,
                                   .device = UBLKW_ANY_DEVICE,
                                   .data = &control->features,
                                   .bytes = sizeof(control->features)};
    int ret = ublk_control_call(control, &command);

    if (ret)
        (void)hv_option_fail(why,
                             "the ublk driver of this kernel is too old (%s): Linux 6.5 or newer",
                             strerror(-ret));
    return ret;
}

int ublk_control_open(struct ublk_control *control, char *why)
{
    int ret;

    *control = (struct ublk_control){.fd = -1, .ring.ring_fd = -1};
    control->unprivileged = !has_admin();
    ret = open_device(control, why);
    if (!ret)
        ret = open_ring(control, why);
    if (!ret)
        ret = ask_features(control, why);
    if (!ret && control->unprivileged && !(control->features & UBLKW_F_UNPRIVILEGED))
        ret = hv_option_fail(why, "this kernel has no unprivileged ublk devices: run as root");
    if (ret)
        ublk_control_close(control);
    return ret;
}

void ublk_control_close(struct ublk_control *control)
{
    if (control->fd > 0) {
        if (control->ring.ring_fd >= 0)
            io_uring_queue_exit(&control->ring);
        (void)close(control->fd);
    }
    *control = (struct ublk_control){.fd = -1, .ring.ring_fd = -1};
}
