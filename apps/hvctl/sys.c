/* SPDX-License-Identifier: BSD-3-Clause */
#include "sys.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#define SLURP_MAX_BYTES (1u << 20)

static __attribute__((format(printf, 4, 0))) int
format_path(const struct sys *sys, char *path, size_t bytes, const char *format, va_list args)
{
    int start = snprintf(path, bytes, "%s/", sys->root);
    int length;

    if (start < 0 || (size_t)start >= bytes)
        return -ENAMETOOLONG;
    length = vsnprintf(path + start, bytes - (size_t)start, format, args);
    return length < 0 || (size_t)length >= bytes - (size_t)start ? -ENAMETOOLONG : 0;
}

/** The path of a variadic function. */
#define TAKE_PATH(path, err)                                                                       \
    do {                                                                                           \
        va_list args_;                                                                             \
        va_start(args_, format);                                                                   \
        (err) = format_path(sys, path, sizeof(path), format, args_);                               \
        va_end(args_);                                                                             \
    } while (0)

int sys_path(const struct sys *sys, char *path, size_t bytes, const char *format, ...)
{
    va_list args;
    int err;

    va_start(args, format);
    err = format_path(sys, path, bytes, format, args);
    va_end(args);
    return err;
}

/** Up to `bytes` of a file; how many, or a negative errno. */
static ssize_t read_file(const char *path, char *text, size_t bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t used = 0;
    ssize_t got = 1;

    if (fd < 0)
        return -errno;
    while (got > 0 && used < bytes) {
        got = read(fd, text + used, bytes - used);
        if (got > 0)
            used += (size_t)got;
    }
    if (got < 0)
        got = -errno;
    (void)close(fd);
    return got < 0 ? got : (ssize_t)used;
}

static int read_line(const char *path, char text[SYS_TEXT_BYTES])
{
    char line[SYS_TEXT_BYTES];
    ssize_t got = read_file(path, line, sizeof(line));

    if (got < 0)
        return (int)got;
    if ((size_t)got == sizeof(line) || memchr(line, '\0', (size_t)got))
        return -EPROTO;
    while (got > 0 && isspace((unsigned char)line[got - 1]))
        got--;
    line[got] = '\0';
    for (char *c = line; *c; c++)
        if (!isprint((unsigned char)*c))
            *c = '?';
    memcpy(text, line, (size_t)got + 1);
    return 0;
}

int sys_read(const struct sys *sys, char ret_text[SYS_TEXT_BYTES], const char *format, ...)
{
    char path[PATH_MAX];
    int err;

    TAKE_PATH(path, err);
    return err ? err : read_line(path, ret_text);
}

int sys_parse(const char *text, uint64_t max, uint64_t *ret_value)
{
    bool hex = text[0] == '0' && text[1] == 'x';
    const char *digits = hex ? text + 2 : text;
    unsigned long long value;
    char *end;

    if (!(hex ? isxdigit((unsigned char)*digits) : isdigit((unsigned char)*digits)))
        return -EPROTO; /* strtoull() takes signs and spaces */
    errno = 0;
    value = strtoull(digits, &end, hex ? 16 : 10);
    if (*end || errno || value > max)
        return -EPROTO;
    *ret_value = value;
    return 0;
}

int sys_number(const struct sys *sys, uint64_t max, uint64_t *ret_value, const char *format, ...)
{
    char path[PATH_MAX], text[SYS_TEXT_BYTES];
    int err;

    TAKE_PATH(path, err);
    if (!err)
        err = read_line(path, text);
    return err ? err : sys_parse(text, max, ret_value);
}

int sys_slurp(const struct sys *sys, char **ret_text, const char *format, ...)
{
    char path[PATH_MAX], *text;
    ssize_t got;
    int err;

    TAKE_PATH(path, err);
    if (err)
        return err;
    text = malloc(SLURP_MAX_BYTES + 1);
    if (!text)
        return -ENOMEM;
    got = read_file(path, text, SLURP_MAX_BYTES + 1);
    if (got < 0 || got > (ssize_t)SLURP_MAX_BYTES) {
        free(text);
        return got < 0 ? (int)got : -EFBIG;
    }
    text[got] = '\0';
    *ret_text = text;
    return 0;
}

int sys_link(const struct sys *sys, char ret_name[SYS_TEXT_BYTES], const char *format, ...)
{
    char path[PATH_MAX], target[PATH_MAX];
    const char *name;
    ssize_t got;
    int err;

    TAKE_PATH(path, err);
    if (err)
        return err;
    got = readlink(path, target, sizeof(target) - 1);
    if (got < 0)
        return -errno;
    target[got] = '\0';
    name = strrchr(target, '/');
    name = name ? name + 1 : target;
    if (!*name || strlen(name) >= SYS_TEXT_BYTES)
        return -EPROTO;
    memcpy(ret_name, name, strlen(name) + 1);
    return 0;
}

int sys_real(const struct sys *sys, char *ret_path, const char *format, ...)
{
    char path[PATH_MAX], real[PATH_MAX];
    int err;

    TAKE_PATH(path, err);
    if (err)
        return err;
    if (!realpath(path, real))
        return -errno;
    memcpy(ret_path, real, strlen(real) + 1);
    return 0;
}

bool sys_has(const struct sys *sys, const char *format, ...)
{
    char path[PATH_MAX];
    int err;

    TAKE_PATH(path, err);
    return !err && !access(path, F_OK);
}

static bool name_is_sound(const char *name)
{
    size_t length = strlen(name);

    return *name != '.' && length < SYS_TEXT_BYTES &&
           strspn(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:@!") ==
               length;
}

int sys_each(const struct sys *sys, bool (*each)(void *arg, const char *name), void *arg,
             const char *format, ...)
{
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *dir;
    int err;

    TAKE_PATH(path, err);
    if (err)
        return err;
    dir = opendir(path);
    if (!dir)
        return -errno;
    while ((entry = readdir(dir)))
        if (name_is_sound(entry->d_name) && !each(arg, entry->d_name))
            break;
    (void)closedir(dir);
    return 0;
}

int sys_write(const struct sys *sys, const char *text, const char *format, ...)
{
    char path[PATH_MAX];
    int fd, err;

    TAKE_PATH(path, err);
    if (err)
        return err;
    if (sys->write)
        return sys->write(sys->arg, path, text);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    err = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
    (void)close(fd);
    return err;
}

void sys_cpuid(const struct sys *sys, uint32_t leaf, uint32_t ret_registers[4])
{
    memset(ret_registers, 0, 4 * sizeof(*ret_registers));
    if (sys->cpuid) {
        sys->cpuid(sys->arg, leaf, ret_registers);
        return;
    }
#if defined(__x86_64__) || defined(__i386__)
    __cpuid_count(leaf, 0, ret_registers[0], ret_registers[1], ret_registers[2], ret_registers[3]);
#endif
}

uint32_t sys_parse_kernel(const char *release)
{
    unsigned part[3] = {0};
    int got = sscanf(release, "%3u.%3u.%5u", &part[0], &part[1], &part[2]);

    if (got < 2 || part[0] > 255 || part[1] > 255)
        return 0;
    return SYS_KERNEL(part[0], part[1], part[2] > UINT16_MAX ? UINT16_MAX : part[2]);
}
