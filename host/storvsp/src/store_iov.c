/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes between a command's data (guest memory, in pieces) and private memory. */
#include "store_impl.h"

#include <string.h>

/* The next run of contiguous bytes, at most `bytes`; 0 at the end.  The cursor goes past it. */
static size_t next_run(struct hv_iov_cursor *cursor, size_t bytes, uint8_t **ret_run)
{
    while (cursor->index < cursor->count) {
        const struct iovec *piece = &cursor->iov[cursor->index];
        size_t run = piece->iov_len - cursor->offset;

        if (!run) {
            cursor->index++;
            cursor->offset = 0;
            continue;
        }
        if (run > bytes)
            run = bytes;
        *ret_run = (uint8_t *)piece->iov_base + cursor->offset;
        cursor->offset += run;
        return run;
    }
    return 0;
}

size_t hv_iov_read(struct hv_iov_cursor *from, void *to, size_t bytes)
{
    size_t moved = 0;

    while (moved < bytes) {
        uint8_t *run;
        size_t n = next_run(from, bytes - moved, &run);

        if (!n)
            break;
        memcpy((uint8_t *)to + moved, run, n);
        moved += n;
    }
    return moved;
}

size_t hv_iov_write(struct hv_iov_cursor *to, const void *from, size_t bytes)
{
    size_t moved = 0;

    while (moved < bytes) {
        uint8_t *run;
        size_t n = next_run(to, bytes - moved, &run);

        if (!n)
            break;
        memcpy(run, (const uint8_t *)from + moved, n);
        moved += n;
    }
    return moved;
}

size_t hv_iov_zero(struct hv_iov_cursor *to, size_t bytes)
{
    size_t moved = 0;

    while (moved < bytes) {
        uint8_t *run;
        size_t n = next_run(to, bytes - moved, &run);

        if (!n)
            break;
        memset(run, 0, n);
        moved += n;
    }
    return moved;
}

void hv_iov_skip(struct hv_iov_cursor *cursor, size_t bytes)
{
    uint8_t *run;

    while (bytes) {
        size_t n = next_run(cursor, bytes, &run);

        if (!n)
            break;
        bytes -= n;
    }
}

size_t hv_iov_compare(struct hv_iov_cursor *with, const uint8_t *data, size_t bytes)
{
    uint8_t copy
        [4096]; /* the guest may change its memory between finding and pointing at a difference */
    size_t at = 0;

    while (at < bytes) {
        size_t n = hv_iov_read(with, copy, bytes - at < sizeof(copy) ? bytes - at : sizeof(copy));

        if (!n)
            return at;
        if (memcmp(copy, data + at, n) != 0)
            for (size_t i = 0; i < n; i++)
                if (copy[i] != data[at + i])
                    return at + i;
        at += n;
    }
    return bytes;
}

uint32_t hv_iov_slice(const struct hv_iov_cursor *cursor, struct iovec *iov, uint32_t iov_max,
                      size_t *bytes)
{
    struct hv_iov_cursor at = *cursor;
    size_t left = *bytes;
    uint32_t count = 0;

    while (left && count < iov_max) {
        uint8_t *run;
        size_t n = next_run(&at, left, &run);

        if (!n)
            break;
        iov[count++] = (struct iovec){.iov_base = run, .iov_len = n};
        left -= n;
    }
    *bytes -= left;
    return count;
}
