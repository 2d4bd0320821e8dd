/* SPDX-License-Identifier: BSD-3-Clause */
#include "frame.h"

size_t hv_frame_copy(const struct hv_frame *frame, size_t offset, void *to, size_t bytes)
{
    size_t done = 0;

    for (uint32_t i = 0; i < frame->iov_count && done < bytes; i++) {
        size_t length = frame->iov[i].iov_len;
        size_t take;

        if (offset >= length) {
            offset -= length;
            continue;
        }
        take = length - offset < bytes - done ? length - offset : bytes - done;
        memcpy((char *)to + done, (const char *)frame->iov[i].iov_base + offset, take);
        done += take;
        offset = 0;
    }
    return done;
}

uint32_t hv_frame_slice(const struct hv_frame *frame, size_t offset, size_t bytes,
                        struct iovec *iov, uint32_t max)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < frame->iov_count && bytes; i++) {
        size_t length = frame->iov[i].iov_len;

        if (offset >= length) {
            offset -= length;
            continue;
        }
        if (count == max)
            return 0;
        iov[count].iov_base = (char *)frame->iov[i].iov_base + offset;
        iov[count].iov_len = length - offset < bytes ? length - offset : bytes;
        bytes -= iov[count++].iov_len;
        offset = 0;
    }
    return bytes ? 0 : count;
}

bool hv_frame_is_sound(const struct hv_frame *frame)
{
    size_t bytes = 0;

    if (!frame->iov_count || frame->iov_count > HV_FRAME_PIECES_MAX)
        return false;
    for (uint32_t i = 0; i < frame->iov_count; i++) {
        if (frame->iov[i].iov_len > HV_FRAME_BYTES_MAX - bytes)
            return false;
        bytes += frame->iov[i].iov_len;
    }
    return bytes == frame->bytes && bytes >= HV_FRAME_BYTES_MIN;
}
