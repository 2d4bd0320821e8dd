/* SPDX-License-Identifier: BSD-3-Clause */
/* What a disk is called, and why it could not be opened. */
#include "disk_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hv/base/clock.h>
#include <hv/base/endian.h>

void hv_disk_why(char *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, HV_DISK_WHY_BYTES, format, args); /* a cut sentence is still a sentence */
    va_end(args);
}

/* FNV-1a with a seed: identity, not security. */
static uint64_t hash(uint64_t seed, const void *data, size_t bytes)
{
    uint64_t h = 0xcbf29ce484222325u ^ seed;

    for (size_t i = 0; i < bytes; i++)
        h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

/* Of the real path, so that it survives a restart; a store without a path lives as long as the process, and so does
 * its serial number. */
static int default_serial(struct hv_disk *disk, const char *path)
{
    static _Atomic uint64_t counter;
    uint8_t id[24];
    char *real = path ? realpath(path, NULL) : NULL;
    uint64_t h;

    if (path && !real)
        return -errno;
    hv_put_be64(id, (uint64_t)getpid());
    hv_put_be64(id + 8, hv_clock_ns());
    hv_put_be64(id + 16, atomic_fetch_add(&counter, 1));
    h = real ? hash(0, real, strlen(real)) : hash(0, id, sizeof(id));
    free(real);
    (void)snprintf(disk->serial, sizeof(disk->serial), "%016llx", (unsigned long long)h);
    return 0;
}

int hv_disk_set_identity(struct hv_disk *disk, const char *serial, const char *path)
{
    static const uint8_t microsoft[4] = {0x60, 0x02, 0x24, 0x80}; /* NAA 6, OUI 00-22-48 */
    size_t bytes;
    int err = 0;

    if (serial)
        memcpy(disk->serial, serial, strlen(serial) + 1);
    else
        err = default_serial(disk, path);
    if (err)
        return err;
    bytes = strlen(disk->serial);
    memcpy(disk->naa, microsoft, sizeof(microsoft));
    hv_put_be64(disk->naa + 4, hash(1, disk->serial, bytes));
    hv_put_be32(disk->naa + 12, (uint32_t)hash(2, disk->serial, bytes));
    return 0;
}
