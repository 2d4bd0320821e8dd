/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A frame of a guest through everything that looks into it: hash, checksums, segmentation, tags, trains.
 *
 *   0 flags (u16)   2 l4_offset (u16)   4 mss (u16)   6 tag (u16)   8 length of pieces (u8)   9 the frame
 *
 * The frame lies in heap blocks of exactly the size of its pieces.  What comes out must be whole: no longer than a segment
 * or the frame, and together the payload.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <hv/base/endian.h>

#include "frame.h"
#include "link_tap.h"
#include "offload.h"
#include "toeplitz.h"

#define HEADER_BYTES 9u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct hv_offload *offload;
static struct hv_toeplitz toeplitz;
static struct hv_tap_train train;

static void expect(int condition)
{
    if (!condition)
        abort();
}

/* All bytes are read, so that the sanitizers see where they lie. */
static unsigned touch(const struct iovec *iov, uint32_t count, uint32_t bytes)
{
    unsigned sum = 0;
    uint32_t total = 0;

    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *p = iov[i].iov_base;

        for (size_t at = 0; at < iov[i].iov_len; at++)
            sum += p[at];
        total += (uint32_t)iov[i].iov_len;
    }
    expect(total == bytes);
    return sum;
}

static void finish(const struct hv_frame *frame)
{
    const struct hv_frame *out;
    uint32_t payload = 0, want = 0;
    struct hv_offload_headers h;
    uint16_t count;

    if (hv_offload_start(offload, frame)) {
        expect(hv_offload_next(offload, &out) == 0);
        return;
    }
    expect(!hv_offload_parse(frame, &h));
    want = frame->bytes - h.payload_offset;
    while ((count = hv_offload_next(offload, &out)) != 0) {
        expect(count <= HV_OFFLOAD_BATCH);
        for (uint16_t i = 0; i < count; i++) {
            expect(out[i].iov_count <= HV_FRAME_PIECES_MAX);
            expect(!(h.flags & HV_FRAME_TSO) || out[i].bytes <= h.payload_offset + frame->mss);
            (void)touch(out[i].iov, out[i].iov_count, out[i].bytes);
            payload += out[i].bytes - h.payload_offset;
        }
    }
    expect(payload == want);
}

/* The frame, and the segment that would follow it. */
static void look_as_train(const struct hv_frame *frame, const struct hv_offload_headers *h)
{
    static uint8_t copy[HV_FRAME_BYTES_MAX];
    struct iovec iov = {copy, frame->bytes};
    struct hv_frame frames[3] = {*frame, *frame, *frame};
    uint32_t sequence;
    uint16_t joined;

    (void)hv_frame_copy(frame, 0, copy, frame->bytes);
    if (h->flags & HV_FRAME_TCP) {
        sequence = hv_get_be32(copy + h->l4_offset + 4) + (h->end - h->payload_offset);
        hv_put_be32(copy + h->l4_offset + 4, sequence);
    }
    frames[1].iov = &iov;
    frames[1].iov_count = 1;
    joined = hv_tap_train_collect(&train, frames, 3);
    expect(joined >= 1 && joined <= 2);
    if (joined > 1)
        (void)touch(train.iov, train.iov_count,
                    HV_TAP_HEADER_BYTES + train.header_bytes + train.payload_bytes);
}

static void look(const struct hv_frame *frame)
{
    struct iovec iov[HV_VLAN_PIECES];
    struct hv_frame tagged;
    uint8_t head[HV_VLAN_HEAD_BYTES];
    struct hv_offload_headers h;
    uint32_t type;

    (void)hv_toeplitz_frame(&toeplitz, UINT32_MAX, frame->iov[0].iov_base, frame->iov[0].iov_len,
                            &type);
    if (!hv_frame_is_sound(frame))
        return;
    hv_offload_vlan_insert(frame, head, iov, &tagged);
    (void)touch(tagged.iov, tagged.iov_count, frame->bytes + 4);
    finish(&tagged);
    if (hv_offload_prepare(frame, &h))
        return;
    expect(h.payload_offset <= h.end && h.end <= frame->bytes && h.l3_offset < h.payload_offset);
    look_as_train(frame, &h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const uint8_t key[HV_TOEPLITZ_KEY_BYTES] = {0x6d, 0x5a, 0x56, 0xda};
    struct iovec iov[HV_FRAME_IOV_MAX];
    struct hv_frame frame = {.iov = iov};
    uint16_t words[4];
    size_t piece, at = HEADER_BYTES;

    if (!offload) {
        hv_toeplitz_init(&toeplitz, key);
        if (hv_offload_create(&offload))
            abort();
    }
    if (bytes <= HEADER_BYTES || bytes > HEADER_BYTES + 70000)
        return 0;
    memcpy(words, data, sizeof(words));
    piece = data[8] ? data[8] : bytes;
    while (at < bytes) {
        size_t left = bytes - at;
        size_t take = left > piece && frame.iov_count + 1 < HV_FRAME_IOV_MAX ? piece : left;
        uint8_t *block = malloc(take);

        if (!block)
            abort();
        memcpy(block, data + at, take);
        iov[frame.iov_count++] = (struct iovec){block, take};
        at += take;
    }
    frame.bytes = (uint32_t)(bytes - HEADER_BYTES);
    frame.flags = words[0];
    frame.l4_offset = words[1];
    frame.mss = words[2];
    frame.vlan_tci = words[3];
    finish(&frame);
    look(&frame);
    for (uint32_t i = 0; i < frame.iov_count; i++)
        free(iov[i].iov_base);
    return 0;
}
