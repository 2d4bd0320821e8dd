/* SPDX-License-Identifier: BSD-3-Clause */
#include "decode.h"

#include <inttypes.h>
#include <string.h>

#define RANGES_SHOWN 4
#define HEX_COLUMNS  16

static const char *packet_name(uint16_t type)
{
    switch (type) {
    case HV_PACKET_INBAND:
        return "in-band";
    case HV_PACKET_TRANSFER_PAGES:
        return "transfer-pages";
    case HV_PACKET_GPA_DIRECT:
        return "GPA-direct";
    case HV_PACKET_COMPLETION:
        return "completion";
    default:
        return NULL;
    }
}

/** Ranges in the receive buffer. */
static void decode_transfer(FILE *out, const uint8_t *extension, size_t bytes)
{
    struct hv_transfer_pages head;
    struct hv_transfer_range range;
    size_t at = sizeof(head);

    if (bytes < sizeof(head)) {
        (void)fprintf(out, " [extension cut]");
        return;
    }
    memcpy(&head, extension, sizeof(head));
    (void)fprintf(out, " [set 0x%x, %u ranges", head.set_id, head.range_count);
    for (uint32_t i = 0; i < head.range_count && i < RANGES_SHOWN; i++, at += sizeof(range)) {
        if (bytes - at < sizeof(range)) {
            (void)fprintf(out, " cut");
            break;
        }
        memcpy(&range, extension + at, sizeof(range));
        (void)fprintf(out, " %u+%u", range.byte_offset, range.byte_count);
    }
    (void)fprintf(out, "%s]", head.range_count > RANGES_SHOWN ? " ..." : "");
}

/** Ranges of guest pages. */
static void decode_gpa(FILE *out, const uint8_t *extension, size_t bytes)
{
    struct hv_gpa_direct head;
    struct hv_gpa_range range;
    size_t at = sizeof(head);

    if (bytes < sizeof(head)) {
        (void)fprintf(out, " [extension cut]");
        return;
    }
    memcpy(&head, extension, sizeof(head));
    (void)fprintf(out, " [%u ranges", head.range_count);
    for (uint32_t i = 0; i < head.range_count && i < RANGES_SHOWN; i++) {
        uint64_t pages, pfn = 0;

        if (bytes - at < sizeof(range)) {
            (void)fprintf(out, " cut");
            break;
        }
        memcpy(&range, extension + at, sizeof(range));
        at += sizeof(range);
        pages =
            ((uint64_t)range.byte_offset + range.byte_count + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;
        if (!pages || pages > (bytes - at) / sizeof(pfn)) {
            (void)fprintf(out, " %u bytes, pages cut", range.byte_count);
            break;
        }
        memcpy(&pfn, extension + at, sizeof(pfn));
        at += pages * sizeof(pfn);
        (void)fprintf(out, " %u bytes in %" PRIu64 " pages from 0x%" PRIx64, range.byte_count,
                      pages, pfn * HV_PAGE_BYTES + range.byte_offset);
    }
    (void)fprintf(out, "%s]", head.range_count > RANGES_SHOWN ? " ..." : "");
}

static void print_hex(FILE *out, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i % HEX_COLUMNS == 0)
            (void)fprintf(out, "      %04zx:", i);
        (void)fprintf(out, " %02x%s", bytes[i],
                      i + 1 == count || i % HEX_COLUMNS == HEX_COLUMNS - 1 ? "\n" : "");
    }
}

void decode_packet(FILE *out, enum class_layer layer, enum ring_side side,
                   const struct ring_packet *packet, bool hex)
{
    struct hv_ring_descriptor desc;
    const uint8_t *payload;
    size_t extension_bytes, bytes;
    const char *name;

    memcpy(&desc, packet->copy, sizeof(desc)); /* lengths are checked: ring_view.h */
    extension_bytes = desc.offset8 * 8u - sizeof(desc);
    payload = packet->copy + desc.offset8 * 8u;
    bytes = packet->bytes - desc.offset8 * 8u;
    name = packet_name(desc.type);
    (void)fprintf(out, "%s %08x %c ", side == RING_OUT ? "->" : "<-", packet->offset,
                  packet->pending ? '*' : ' ');
    if (name)
        (void)fprintf(out, "%s", name);
    else
        (void)fprintf(out, "type %u", desc.type);
    (void)fprintf(out, " id 0x%" PRIx64 "%s %zu bytes", desc.trans_id,
                  desc.flags & HV_PACKET_FLAG_COMPLETION_REQUESTED ? " wants-completion" : "",
                  bytes);
    if (desc.type == HV_PACKET_TRANSFER_PAGES)
        decode_transfer(out, packet->copy + sizeof(desc), extension_bytes);
    else if (desc.type == HV_PACKET_GPA_DIRECT)
        decode_gpa(out, packet->copy + sizeof(desc), extension_bytes);
    if (layer == LAYER_VSTOR)
        decode_vstor(out, payload, bytes);
    else if (layer == LAYER_NVSP)
        decode_nvsp(out, payload, bytes);
    (void)fputc('\n', out);
    if (hex)
        print_hex(out, payload, bytes);
}
