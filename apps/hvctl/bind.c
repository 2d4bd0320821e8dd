/* SPDX-License-Identifier: BSD-3-Clause */
#include "bind.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "guard.h"

/** One move of one device, and what is to be undone. */
struct move {
    const struct sys *sys;
    const struct device *device;
    char *why;
    bool id_added; /* by us, to the ids of uio_hv_generic */
};

static void say(struct move *move, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct move *move, const char *format, ...)
{
    size_t used = strlen(move->why);
    va_list args;

    if (used)
        used += (size_t)snprintf(move->why + used, BIND_WHY_BYTES - used, "; ");
    if (used >= BIND_WHY_BYTES)
        return;
    va_start(args, format);
    (void)vsnprintf(move->why + used, BIND_WHY_BYTES - used, format, args);
    va_end(args);
}

/* ---- Single steps; each says what failed ---- */

static bool is_with(const struct move *move, const char *driver)
{
    char now[SYS_TEXT_BYTES];

    device_read_driver(move->sys, move->device->folder, now);
    return !strcmp(now, driver);
}

static int set_override(struct move *move, const char *text)
{
    int err = sys_write(move->sys, text, DEVICE_PATH "/driver_override", move->device->folder);

    if (err)
        say(move, "cannot write driver_override: %s", strerror(-err));
    return err;
}

static int change_id(struct move *move, const char *file)
{
    char class[HV_GUID_TEXT_BYTES];

    hv_guid_format(&move->device->class_id, class);
    return sys_write(move->sys, class, DRIVER_PATH "/%s", UIO_DRIVER, file);
}

static int add_id(struct move *move)
{
    int err = change_id(move, "new_id");

    if (err == -EEXIST)
        return 0;
    if (err)
        say(move, "cannot add the class to " UIO_DRIVER ": %s", strerror(-err));
    move->id_added = !err;
    return err;
}

static int detach(struct move *move, const char *driver)
{
    int err = sys_write(move->sys, move->device->folder, DRIVER_PATH "/unbind", driver);

    if (!err && !is_with(move, ""))
        err = -EIO;
    if (err)
        say(move, "cannot take it from %s: %s", driver, strerror(-err));
    return err;
}

/** Some kernels answer success to a bind whose probe failed: look. */
static int attach(struct move *move, const char *driver)
{
    int err = sys_write(move->sys, move->device->folder, DRIVER_PATH "/bind", driver);

    if (is_with(move, driver))
        return 0; /* maybe it was quicker than we: new_id, autoprobe */
    return err ? err : -EIO;
}

/** Back to where it was; says how that went. */
static int put_back(struct move *move, int err)
{
    const char *driver = move->device->driver;
    int back = 0;

    if (move->device->has_override) {
        char text[SYS_TEXT_BYTES + 1];

        (void)snprintf(text, sizeof(text), "%s\n", move->device->override);
        (void)set_override(move, text);
    }
    if (move->id_added)
        (void)change_id(move, "remove_id");
    if (!is_with(move, driver)) {
        if (!*driver)
            back = detach(move, UIO_DRIVER);
        else
            back = attach(move, driver);
    }
    if (back && *driver)
        say(move,
            "and it could not be given back: %s; try: echo %s > /sys/bus/vmbus/drivers/%s/bind",
            strerror(-back), move->device->folder, driver);
    if (back)
        return -EIO;
    say(move, "%s%s", *driver ? "it is back with " : "it has no driver, as before", driver);
    return err;
}

/* ---- bind ---- */

/** Why uio_hv_generic may have refused it. */
static void explain(struct move *move, int err)
{
    say(move, UIO_DRIVER " does not take it: %s", strerror(-err));
    if (err == -ENOTSUP || err == -524) /* ENOTSUPP of the kernel */
        say(move, "this kernel takes only devices with a monitor bit; from 6.10 on it takes all");
    else if (err == -ENOMEM)
        say(move, "it needs 4 MiB of memory in one piece: bind early after boot, or echo 1 > "
                  "/proc/sys/vm/compact_memory");
    else
        say(move, "dmesg may say more");
}

static int may_bind(struct move *move, bool force)
{
    char why[GUARD_WHY_BYTES] = "";
    int err;

    if (!sys_has(move->sys, DRIVER_PATH, UIO_DRIVER)) {
        say(move, UIO_DRIVER " is not loaded: modprobe " UIO_DRIVER);
        return -ENOENT;
    }
    if (force)
        return 0;
    err = guard_check(move->sys, move->device, why);
    if (err)
        say(move, "%s; --force takes it all the same", why);
    return err;
}

static int choose_driver(struct move *move)
{
    if (move->device->has_override)
        return set_override(move, UIO_DRIVER);
    say(move, "this kernel has no driver_override: every device of this class that has no driver "
              "goes to " UIO_DRIVER);
    return add_id(move);
}

int bind_device(const struct sys *sys, const struct device *device, bool force, char *ret_why)
{
    struct move move = {.sys = sys, .device = device, .why = ret_why};
    int err;

    *ret_why = '\0';
    if (device_is_on_uio(device)) {
        say(&move, "it is bound to " UIO_DRIVER " already");
        return 0;
    }
    err = may_bind(&move, force);
    if (!err)
        err = choose_driver(&move);
    if (err)
        return err;
    if (*device->driver && (err = detach(&move, device->driver)))
        return put_back(&move, err);
    err = attach(&move, UIO_DRIVER);
    if (err) {
        explain(&move, err);
        return put_back(&move, err);
    }
    return 0;
}

/* ---- unbind ---- */

/** The kernel's own driver takes it, by name or as the bus finds it.  -ENOENT: there is none. */
static int attach_kernel(struct move *move)
{
    const char *driver = move->device->facts->driver;
    int err;

    if (driver && sys_has(move->sys, DRIVER_PATH, driver))
        return attach(move, driver);
    err = sys_write(move->sys, move->device->folder, "sys/bus/vmbus/drivers_probe");
    if (!is_with(move, "") && !is_with(move, UIO_DRIVER))
        return 0;
    return err && err != -EINVAL ? err : -ENOENT;
}

/** Kernels before 4.20 open the channel when the driver takes the device: there its state says nothing. */
static bool state_tells(const struct sys *sys)
{
    char release[SYS_TEXT_BYTES];

    return sys_read(sys, release, "proc/sys/kernel/osrelease") ||
           sys_parse_kernel(release) >= SYS_KERNEL(4, 20, 0);
}

static int may_unbind(struct move *move, bool force)
{
    const struct device *device = move->device;

    if (!device_is_on_uio(device)) {
        say(move, "it is not bound to " UIO_DRIVER ", but %s%s",
            *device->driver ? "to " : "has no driver", device->driver);
        return -EINVAL;
    }
    if (force || device->state != STATE_OPEN || !state_tells(move->sys))
        return 0;
    say(move, "a program has /dev/uio%d open: end it first; --force takes the device from it",
        device->uio);
    return -EBUSY;
}

int unbind_device(const struct sys *sys, const struct device *device, bool force, char *ret_why)
{
    struct move move = {.sys = sys, .device = device, .why = ret_why};
    int err;

    *ret_why = '\0';
    err = may_unbind(&move, force);
    if (err)
        return err;
    if (device->has_override && (err = set_override(&move, "\n")))
        return err;
    /* Unknown to a driver that never got the id; then there is nothing to remove. */
    move.id_added = !change_id(&move, "remove_id");
    err = detach(&move, UIO_DRIVER);
    if (err)
        goto undo;
    err = attach_kernel(&move);
    if (err == -ENOENT) {
        say(&move, "no driver of the kernel has it now%s%s",
            device->facts->driver ? "; modprobe " : "",
            device->facts->driver ? device->facts->driver : "");
        return 0;
    }
    if (!err)
        return 0;
    say(&move, "%s does not take it: %s",
        device->facts->driver ? device->facts->driver : "the kernel", strerror(-err));
undo:
    if (move.id_added)
        (void)change_id(&move, "new_id");
    move.id_added = false;
    return put_back(&move, err);
}
