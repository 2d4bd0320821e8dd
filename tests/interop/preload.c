/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Preloaded into an unmodified program: /dev/uioN is a NIC of hv-host, and huge pages that the program maps become memory
 * that the host can reach under their physical addresses.
 *
 *   HV_INTEROP_SOCKET   hv-host --listen
 *   HV_INTEROP_SYSFS    an empty folder that the program sees as /sys/bus/vmbus
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "kernel.h"

#define FDS     65536
#define PAGE    4096u
#define REGIONS 1024

typedef int open_fn(const char *path, int flags, ...);
typedef void *mmap_fn(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
typedef int munmap_fn(void *at, size_t bytes);
typedef int close_fn(int fd);
typedef ssize_t read_fn(int fd, void *data, size_t bytes);
typedef ssize_t write_fn(int fd, const void *data, size_t bytes);

static open_fn *real_open;
static mmap_fn *real_mmap;
static munmap_fn *real_munmap;
static close_fn *real_close;
static read_fn *real_read;
static write_fn *real_write;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool started; /* set before the program's main() */

static struct kernel_device *device_of[FDS]; /* by descriptor */
static uint32_t event_count[FDS];

/** Huge pages of the program that the host knows. */
static struct region {
    uint8_t *base;
    size_t bytes;
    uint64_t pfn;
} regions[REGIONS];
static pthread_mutex_t region_lock = PTHREAD_MUTEX_INITIALIZER;

static void *find(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    if (!symbol)
        kernel_panic("no %s in the C library", name);
    return symbol;
}

static void look_up(void)
{
    void *symbol;

#define LOOK_UP(name)                                                                              \
    do {                                                                                           \
        symbol = find(#name);                                                                      \
        memcpy(&real_##name, &symbol, sizeof(symbol));                                             \
    } while (0)
    LOOK_UP(open);
    LOOK_UP(mmap);
    LOOK_UP(munmap);
    LOOK_UP(close);
    LOOK_UP(read);
    LOOK_UP(write);
#undef LOOK_UP
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("HV_INTEROP_SOCKET");
    const char *sysfs = getenv("HV_INTEROP_SYSFS");

    (void)pthread_once(&once, look_up);
    if (!path || !sysfs)
        return;                   /* a shell on the way to the program */
    (void)unsetenv("LD_PRELOAD"); /* for the program alone, not for what it runs */
    kernel_start(path, sysfs);
    started = true;
}

static struct kernel_device *device_at(int fd)
{
    return fd >= 0 && fd < FDS ? device_of[fd] : NULL;
}

/* ---- /dev/uioN ---- */

static int open_uio(struct kernel_device *device, int flags)
{
    int fd = kernel_open(device);

    if (fd < 0 || fd >= FDS) {
        errno = fd < 0 ? -fd : EMFILE;
        return -1;
    }
    if (flags & O_NONBLOCK)
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    event_count[fd] = 0;
    device_of[fd] = device;
    return fd;
}

static int open_any(const char *path, int flags, mode_t mode)
{
    struct kernel_device *device;
    unsigned number;
    char rest;

    (void)pthread_once(&once, look_up);
    if (started && sscanf(path, "/dev/uio%u%c", &number, &rest) == 1) {
        device = kernel_device(number);
        if (device)
            return open_uio(device, flags);
    }
    return real_open(path, flags, mode);
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(args, int) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = mode_of(flags, args);
    va_end(args);
    return open_any(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = mode_of(flags, args);
    va_end(args);
    return open_any(path, flags, mode);
}

/* What fortified programs call. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
ssize_t __read_chk(int fd, void *data, size_t bytes, size_t room);

int __open_2(const char *path, int flags)
{
    return open_any(path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
    return open_any(path, flags, 0);
}

int close(int fd)
{
    struct kernel_device *device = device_at(fd);

    (void)pthread_once(&once, look_up);
    if (device) {
        device_of[fd] = NULL;
        kernel_close(device, fd);
    }
    return real_close(fd);
}

static ssize_t read_uio(struct kernel_device *device, int fd, void *data, size_t bytes)
{
    uint64_t count;

    if (bytes != sizeof(uint32_t)) {
        errno = EINVAL;
        return -1;
    }
    if (kernel_rescinded(device)) {
        errno = EIO;
        return -1;
    }
    if (real_read(fd, &count, sizeof(count)) < 0)
        return -1;
    event_count[fd] += (uint32_t)count;
    memcpy(data, &event_count[fd], sizeof(uint32_t));
    return sizeof(uint32_t);
}

ssize_t read(int fd, void *data, size_t bytes)
{
    struct kernel_device *device = device_at(fd);

    (void)pthread_once(&once, look_up);
    return device ? read_uio(device, fd, data, bytes) : real_read(fd, data, bytes);
}

ssize_t __read_chk(int fd, void *data, size_t bytes, size_t room)
{
    if (bytes > room)
        abort();
    return read(fd, data, bytes);
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    struct kernel_device *device = device_at(fd);
    int32_t on;

    (void)pthread_once(&once, look_up);
    if (!device)
        return real_write(fd, data, bytes);
    if (bytes != sizeof(on) || kernel_rescinded(device)) {
        errno = bytes != sizeof(on) ? EINVAL : EIO;
        return -1;
    }
    memcpy(&on, data, sizeof(on));
    kernel_irqcontrol(device, on);
    return (ssize_t)bytes;
}

/* ---- Huge pages ---- */

/** Physical page number of a mapped, present page. */
static uint64_t pfn_of(const void *address)
{
    int fd = real_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t entry = 0;
    ssize_t n = pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)address / PAGE * 8));

    (void)real_close(fd);
    if (n != (ssize_t)sizeof(entry) || !(entry >> 63))
        kernel_panic("a huge page is not present");
    entry &= (UINT64_C(1) << 55) - 1;
    if (!entry)
        kernel_panic("physical addresses need CAP_SYS_ADMIN");
    return entry;
}

/** What is mapped at [at, at + bytes) goes. */
static void forget(const uint8_t *at, size_t bytes)
{
    (void)pthread_mutex_lock(&region_lock);
    for (unsigned i = 0; i < REGIONS; i++) {
        struct region *region = &regions[i];

        if (!region->bytes || region->base >= at + bytes || at >= region->base + region->bytes)
            continue;
        kernel_memory_remove(region->pfn, region->bytes / PAGE);
        region->bytes = 0;
    }
    (void)pthread_mutex_unlock(&region_lock);
}

static struct region *free_region(uint64_t pfn)
{
    struct region *free = NULL;

    for (unsigned i = 0; i < REGIONS; i++) {
        if (regions[i].bytes && regions[i].pfn == pfn)
            return NULL; /* the same page, mapped once more */
        if (!regions[i].bytes && !free)
            free = &regions[i];
    }
    if (!free)
        kernel_panic("more than %d huge pages", REGIONS);
    return free;
}

static void remember(uint8_t *at, size_t bytes, int fd, off_t offset, size_t page)
{
    for (size_t done = 0; done < bytes; done += page) {
        uint64_t pfn;
        struct region *region;
        int err = 0;

        *(volatile uint8_t *)(at + done); /* present */
        pfn = pfn_of(at + done);
        (void)pthread_mutex_lock(&region_lock);
        region = free_region(pfn);
        if (region) {
            err = kernel_memory_add(pfn, page / PAGE, fd, offset + (off_t)done);
            *region = (struct region){.base = at + done, .bytes = err ? 0 : page, .pfn = pfn};
        }
        (void)pthread_mutex_unlock(&region_lock);
        if (err)
            kernel_panic("the host refuses a huge page: %s", strerror(-err));
    }
}

static void *mmap_any(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    struct kernel_device *device = device_at(fd);
    struct statfs fs;
    struct stat st;
    size_t room;
    void *result;
    int saved;

    (void)pthread_once(&once, look_up);
    if (device) {
        if (!kernel_map(device, (unsigned)(offset / PAGE), &fd, &offset, &room) || bytes > room) {
            errno = EINVAL;
            return MAP_FAILED;
        }
        return real_mmap(at, bytes, prot, flags, fd, offset);
    }
    if (started && flags & MAP_FIXED)
        forget(at, bytes);
    result = real_mmap(at, bytes, prot, flags, fd, offset);
    saved = errno;
    if (started && result != MAP_FAILED && fd >= 0 && flags & MAP_SHARED && prot & PROT_WRITE &&
        !fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC && !fstat(fd, &st))
        remember(result, bytes, fd, offset, (size_t)st.st_blksize);
    errno = saved;
    return result;
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    return mmap_any(at, bytes, prot, flags, fd, offset);
}

void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off64_t offset)
{
    return mmap_any(at, bytes, prot, flags, fd, offset);
}

int munmap(void *at, size_t bytes)
{
    (void)pthread_once(&once, look_up);
    if (started)
        forget(at, bytes);
    return real_munmap(at, bytes);
}
