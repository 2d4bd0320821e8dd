/* SPDX-License-Identifier: BSD-3-Clause */
/* The layouts of lib/wire against bytes that were not made from them: control messages, ring, monitor page, GUIDs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <hv/wire/message.h>
#include <hv/wire/monitor.h>
#include <hv/wire/ring.h>
#include <hv/wire/sock.h>

#include "vector.h"
#include "wire_fields.h"

#define RELID 0x15u

static void header(const struct wire_access *access, struct hv_msg_header *hdr, uint32_t type)
{
    FIELD(hdr->type, type);
    FIELD(hdr->zero, 0);
}

static void offer(const struct wire_access *access, void *at)
{
    static const struct hv_guid class_id = HV_CLASS_SCSI;
    static const struct hv_guid instance_id =
        HV_GUID_INIT(0xf8b3781au, 0x1e82u, 0x4818u, 0xa1, 0xc3, 0x63, 0xd8, 0x06, 0xec, 0x15, 0xbb);
    struct hv_msg_offer *m = at;

    header(access, &m->hdr, HV_MSG_OFFER_CHANNEL);
    FIELD_BYTES(&m->class_id, &class_id, 16);
    FIELD_BYTES(&m->instance_id, &instance_id, 16);
    for (uint32_t i = 0; i < sizeof(m->reserved1); i++)
        FIELD(m->reserved1[i], (uint8_t)(0xd0 + i));
    FIELD(m->flags, HV_OFFER_ENUMERATE_INTERFACE);
    FIELD(m->mmio_mib, 0x0102);
    for (uint32_t i = 0; i < sizeof(m->user_data); i++)
        FIELD(m->user_data[i], (uint8_t)(2 * i + 1));
    FIELD(m->sub_channel_index, 3);
    FIELD(m->mmio_optional_mib, 0x0a0b);
    FIELD(m->relid, RELID);
    FIELD(m->monitor_id, 37);
    FIELD(m->monitor_allocated, 1);
    FIELD(m->dedicated_interrupt, 1);
    FIELD(m->connection_id, RELID | HV_SINT_VMBUS << 12);
}

static void relid_message(const struct wire_access *access, struct hv_msg_relid *m, uint32_t type)
{
    header(access, &m->hdr, type);
    FIELD(m->relid, RELID);
}

static void rescind(const struct wire_access *access, void *at)
{
    relid_message(access, at, HV_MSG_RESCIND_OFFER);
}

static void close_channel(const struct wire_access *access, void *at)
{
    relid_message(access, at, HV_MSG_CLOSE_CHANNEL);
}

static void relid_released(const struct wire_access *access, void *at)
{
    relid_message(access, at, HV_MSG_RELID_RELEASED);
}

static void request_offers(const struct wire_access *access, void *at)
{
    header(access, at, HV_MSG_REQUEST_OFFERS);
}

static void all_offers(const struct wire_access *access, void *at)
{
    header(access, at, HV_MSG_ALL_OFFERS_DELIVERED);
}

static void unload(const struct wire_access *access, void *at)
{
    header(access, at, HV_MSG_UNLOAD);
}

static void unload_complete(const struct wire_access *access, void *at)
{
    header(access, at, HV_MSG_UNLOAD_COMPLETE);
}

static void open_channel(const struct wire_access *access, void *at)
{
    struct hv_msg_open *m = at;

    header(access, &m->hdr, HV_MSG_OPEN_CHANNEL);
    FIELD(m->relid, RELID);
    FIELD(m->open_id, 0x15a);
    FIELD(m->gpadl, HV_GPADL_FIRST);
    FIELD(m->target_vp, 3);
    FIELD(m->in_ring_page, 0x21);
    for (uint32_t i = 0; i < sizeof(m->user_data); i++)
        FIELD(m->user_data[i], (uint8_t)(0xff - 2 * i));
}

static void open_result(const struct wire_access *access, void *at)
{
    struct hv_msg_open_result *m = at;

    header(access, &m->hdr, HV_MSG_OPEN_RESULT);
    FIELD(m->relid, RELID);
    FIELD(m->open_id, 0x15a);
    FIELD(m->status, 0xc0000120u);
}

static void gpadl_header(const struct wire_access *access, void *at)
{
    struct hv_msg_gpadl_header *m = at;
    struct hv_gpa_range range = {0};
    uint64_t pfn[3] = {0};

    header(access, at, HV_MSG_GPADL_HEADER);
    FIELD(m->relid, RELID);
    FIELD(m->gpadl, HV_GPADL_FIRST + 1);
    FIELD(m->range_bytes, 8 + 3 * 8);
    FIELD(m->range_count, 1);
    /* the ranges lie at offset 20: 4-byte aligned only */
    memcpy(&range, m->ranges, sizeof(range));
    memcpy(pfn, m->ranges + sizeof(range), sizeof(pfn));
    FIELD(range.byte_count, 3 * HV_PAGE_BYTES);
    FIELD(range.byte_offset, 0);
    FIELD(pfn[0], 0x123456);
    FIELD(pfn[1], 0x123457);
    FIELD(pfn[2], 0xfedcba987);
    memcpy(m->ranges, &range, sizeof(range));
    memcpy(m->ranges + sizeof(range), pfn, sizeof(pfn));
}

static void gpadl_header_full(const struct wire_access *access, void *at)
{
    struct hv_msg_gpadl_header *m = at;
    struct hv_gpa_range range = {0};
    uint64_t pfn[HV_GPADL_HEADER_PFNS] = {0};

    header(access, at, HV_MSG_GPADL_HEADER);
    FIELD(m->relid, RELID + 1);
    FIELD(m->gpadl, HV_GPADL_FIRST + 2);
    FIELD(m->range_bytes, 8 + (HV_GPADL_HEADER_PFNS + 2) * 8);
    FIELD(m->range_count, 1);
    memcpy(&range, m->ranges, sizeof(range));
    memcpy(pfn, m->ranges + sizeof(range), sizeof(pfn));
    FIELD(range.byte_count, (HV_GPADL_HEADER_PFNS + 2) * HV_PAGE_BYTES);
    FIELD(range.byte_offset, 0);
    for (uint32_t i = 0; i < HV_GPADL_HEADER_PFNS; i++)
        FIELD(pfn[i], 0x1000 + i);
    memcpy(m->ranges, &range, sizeof(range));
    memcpy(m->ranges + sizeof(range), pfn, sizeof(pfn));
}

static void gpadl_body(const struct wire_access *access, void *at)
{
    struct hv_msg_gpadl_body *m = at;

    header(access, &m->hdr, HV_MSG_GPADL_BODY);
    FIELD(m->message_number, 7);
    FIELD(m->gpadl, HV_GPADL_FIRST + 2);
    FIELD(m->pfn[0], 0x101a);
    FIELD(m->pfn[1], 0x101b);
}

static void gpadl_created(const struct wire_access *access, void *at)
{
    struct hv_msg_gpadl_created *m = at;

    header(access, &m->hdr, HV_MSG_GPADL_CREATED);
    FIELD(m->relid, RELID);
    FIELD(m->gpadl, HV_GPADL_FIRST + 1);
    FIELD(m->status, HV_STATUS_INVALID);
}

static void gpadl_teardown(const struct wire_access *access, void *at)
{
    struct hv_msg_gpadl_teardown *m = at;

    header(access, &m->hdr, HV_MSG_GPADL_TEARDOWN);
    FIELD(m->relid, RELID);
    FIELD(m->gpadl, HV_GPADL_FIRST + 1);
}

static void gpadl_torndown(const struct wire_access *access, void *at)
{
    struct hv_msg_gpadl_torndown *m = at;

    header(access, &m->hdr, HV_MSG_GPADL_TORNDOWN);
    FIELD(m->gpadl, HV_GPADL_FIRST + 1);
}

static void initiate_contact(const struct wire_access *access, void *at)
{
    struct hv_msg_initiate_contact *m = at;

    header(access, &m->hdr, HV_MSG_INITIATE_CONTACT);
    FIELD(m->version, HV_VERSION_4_0);
    FIELD(m->target_vp, 1);
    FIELD(m->interrupt_page, 0x7f001000);
    FIELD(m->monitor_page_h2g, 0x7f002000);
    FIELD(m->monitor_page_g2h, 0x7f003000);
}

static void initiate_contact_v5(const struct wire_access *access, void *at)
{
    struct hv_msg_initiate_contact *m = at;

    header(access, &m->hdr, HV_MSG_INITIATE_CONTACT);
    FIELD(m->version, HV_VERSION_5_3);
    FIELD(m->target_vp, 1);
    FIELD(m->interrupt_page, HV_SINT_VMBUS | 1u << 8); /* SINT, then VTL 1 */
    FIELD(m->monitor_page_h2g, 0x7f002000);
    FIELD(m->monitor_page_g2h, 0x7f003000);
}

static void version_response(const struct wire_access *access, void *at)
{
    struct hv_msg_version_response *m = at;

    header(access, &m->hdr, HV_MSG_VERSION_RESPONSE);
    FIELD(m->supported, 1);
    FIELD(m->connection_state, 2);
    FIELD(m->reserved, 0);
    FIELD(m->connection_id, HV_CONNECTION_MESSAGES);
}

static void modify_channel(const struct wire_access *access, void *at)
{
    struct hv_msg_modify_channel *m = at;

    header(access, &m->hdr, HV_MSG_MODIFY_CHANNEL);
    FIELD(m->relid, RELID);
    FIELD(m->target_vp, 5);
}

static void modify_channel_result(const struct wire_access *access, void *at)
{
    struct hv_msg_modify_channel_result *m = at;

    header(access, &m->hdr, HV_MSG_MODIFY_CHANNEL_RESULT);
    FIELD(m->relid, RELID);
    FIELD(m->status, 0xc000000du);
}

static void guids(const struct wire_access *access, void *at)
{
    static const struct hv_guid classes[] = {HV_CLASS_SCSI, HV_CLASS_IDE, HV_CLASS_FC,
                                             HV_CLASS_NETWORK};

    FIELD_BYTES(at, classes, sizeof(classes));
}

static void monitor_page(const struct wire_access *access, void *at)
{
    struct hv_monitor_page *m = at;

    FIELD(m->trigger_state, 0xf);
    FIELD(m->group[37 / HV_MONITOR_PER_GROUP].pending, 1u << 37 % HV_MONITOR_PER_GROUP);
    FIELD(m->group[1].armed, 0x11);
    FIELD(m->group[127 / HV_MONITOR_PER_GROUP].pending, 1u << 127 % HV_MONITOR_PER_GROUP);
    FIELD(m->group[3].armed, 0);
    FIELD(m->next_check[1][5], 0x0badcafe);
    FIELD(m->next_check[3][31], 0x7fffffff);
    FIELD(m->latency[1][5], 500);
    FIELD(m->latency[3][31], 1000);
    FIELD(m->parameter[1][5].connection_id, 0x2015);
    FIELD(m->parameter[1][5].flag_number, 0x15);
    FIELD(m->parameter[3][31].connection_id, 0x27ff);
    FIELD(m->parameter[3][31].flag_number, 0x7ff);
}

static void ring_control(const struct wire_access *access, void *at)
{
    struct hv_ring_control *m = at;

    FIELD(m->write_index, 0x1238);
    FIELD(m->read_index, 0x0ff0);
    FIELD(m->interrupt_mask, 1);
    FIELD(m->pending_send_size, 0x2000);
    FIELD(m->feature_bits, HV_RING_FEATURE_PENDING_SEND_SIZE);
    FIELD(m->guest_to_host_interrupts, 0x0102030405060708);
}

/** Descriptor, and the trailer behind the packet.  Returns what follows the descriptor. */
static uint8_t *packet(const struct wire_access *access, void *at,
                       const struct hv_ring_descriptor *want, uint32_t start)
{
    struct hv_ring_descriptor *d = at;
    uint32_t *trailer;

    FIELD(d->type, want->type);
    FIELD(d->offset8, want->offset8);
    FIELD(d->length8, want->length8);
    FIELD(d->flags, want->flags);
    FIELD(d->trans_id, want->trans_id);
    trailer = (uint32_t *)at + want->length8 * 2;
    FIELD(trailer[0], 0);
    FIELD(trailer[1], start);
    return (uint8_t *)at + HV_RING_DESCRIPTOR_BYTES;
}

static void ring_inband(const struct wire_access *access, void *at)
{
    static const struct hv_ring_descriptor d = {
        HV_PACKET_INBAND, 2, 4, HV_PACKET_FLAG_COMPLETION_REQUESTED, 0x1122334455667788};

    FIELD_BYTES(packet(access, at, &d, 0x58), "VMBus payload\0\0", 16);
}

static void ring_completion(const struct wire_access *access, void *at)
{
    static const struct hv_ring_descriptor d = {HV_PACKET_COMPLETION, 2, 3, 0, 0x1122334455667788};

    FIELD_BYTES(packet(access, at, &d, 0xff8), "answered", 8);
}

static void ring_gpa_one_page(const struct wire_access *access, void *at)
{
    static const struct hv_ring_descriptor d = {HV_PACKET_GPA_DIRECT, 5, 6, 1, 0x42};
    struct hv_gpa_direct *gpa = (void *)packet(access, at, &d, 0);
    struct hv_gpa_range *range = (void *)(gpa + 1);

    FIELD(gpa->reserved, 0);
    FIELD(gpa->range_count, 1);
    FIELD(range->byte_count, 512);
    FIELD(range->byte_offset, 0x200);
    FIELD(range->pfn[0], 0x77001);
    FIELD_BYTES(range->pfn + 1, "request!", 8);
}

static void ring_gpa_pages(const struct wire_access *access, void *at)
{
    static const struct hv_ring_descriptor d = {HV_PACKET_GPA_DIRECT, 7, 8, 1, 0x43};
    struct hv_gpa_direct *gpa = (void *)packet(access, at, &d, 0x38);
    struct hv_gpa_range *range = (void *)(gpa + 1);

    FIELD(gpa->reserved, 0xdeadbeef);
    FIELD(gpa->range_count, 1);
    FIELD(range->byte_count, 8192);
    FIELD(range->byte_offset, 0x600);
    FIELD(range->pfn[0], 0x77001);
    FIELD(range->pfn[1], 0x99002);
    FIELD(range->pfn[2], 0x55003);
    FIELD_BYTES(range->pfn + 3, "request!", 8);
}

static void ring_gpa_ranges(const struct wire_access *access, void *at)
{
    static const struct hv_ring_descriptor d = {HV_PACKET_GPA_DIRECT, 7, 8, 1, 0x44};
    struct hv_gpa_direct *gpa = (void *)packet(access, at, &d, 0x88);
    struct hv_gpa_range *range = (void *)(gpa + 1);

    FIELD(gpa->reserved, 0);
    FIELD(gpa->range_count, 2);
    FIELD(range->byte_count, 96);
    FIELD(range->byte_offset, 0xfa0);
    FIELD(range->pfn[0], 0x12345);
    range = (void *)(range->pfn + 1);
    FIELD(range->byte_count, 1500);
    FIELD(range->byte_offset, 0);
    FIELD(range->pfn[0], 0x12349);
    FIELD_BYTES(range->pfn + 1, "rndispkt", 8);
}

static void ring_transfer_pages(const struct wire_access *access, void *at)
{
    static const struct hv_ring_descriptor d = {HV_PACKET_TRANSFER_PAGES, 5, 6, 1, 0x45};
    struct hv_transfer_pages *set = (void *)packet(access, at, &d, 0x10);
    struct hv_transfer_range *range = (void *)(set + 1);

    FIELD(set->set_id, 0xcafe);
    FIELD(set->sender_owns_set, 0x5a);
    FIELD(set->reserved, 0xa5);
    FIELD(set->range_count, 2);
    FIELD(range[0].byte_count, 60);
    FIELD(range[0].byte_offset, 0x1a000);
    FIELD(range[1].byte_count, 1514);
    FIELD(range[1].byte_offset, 0x1a800);
    FIELD_BYTES(range + 2, "nvspmsg.", 8);
}

static void frame(const struct wire_access *access, struct hv_sock_header *hdr, uint16_t type,
                  uint32_t bytes)
{
    FIELD(hdr->type, type);
    FIELD(hdr->flags, 0);
    FIELD(hdr->length_bytes, bytes);
}

static void sock_hello(const struct wire_access *access, void *at)
{
    struct hv_sock_hello *f = at;

    frame(access, &f->hdr, HV_SOCK_HELLO, 64);
    FIELD(f->magic, HV_SOCK_MAGIC);
    FIELD(f->version, HV_SOCK_VERSION);
    FIELD_BYTES(f->name, "hvblk-daemon", 13);
}

static void sock_memory_add(const struct wire_access *access, void *at)
{
    struct hv_sock_memory *f = at;

    frame(access, &f->hdr, HV_SOCK_MEMORY_ADD, 32);
    FIELD(f->first_pfn, 0x100000);
    FIELD(f->page_count, 512);
    FIELD(f->offset_bytes, 0x3000);
}

static void sock_memory_remove(const struct wire_access *access, void *at)
{
    struct hv_sock_memory *f = at;

    frame(access, &f->hdr, HV_SOCK_MEMORY_REMOVE, 32);
    FIELD(f->first_pfn, 0x100000);
    FIELD(f->page_count, 512);
    FIELD(f->offset_bytes, 0);
}

static void sock_memory_result(const struct wire_access *access, void *at)
{
    struct hv_sock_memory_result *f = at;

    frame(access, &f->hdr, HV_SOCK_MEMORY_RESULT, 24);
    FIELD(f->first_pfn, 0x100000);
    FIELD(f->error, -EINVAL);
    FIELD(f->reserved, 0);
}

static void sock_message(const struct wire_access *access, void *at)
{
    struct hv_sock_message *f = at;

    frame(access, &f->hdr, HV_SOCK_MESSAGE, 28);
    FIELD(f->connection_id, HV_CONNECTION_MESSAGES);
    FIELD(f->payload_bytes, 12);
    relid_message(access, (void *)f->payload, HV_MSG_RELID_RELEASED);
}

static void sock_goodbye(const struct wire_access *access, void *at)
{
    struct hv_sock_header *hdr = at;

    frame(access, hdr, HV_SOCK_GOODBYE, 20);
    FIELD_BYTES(hdr + 1, "no room here", 12);
}

static const struct wire_layout layouts[] = {
    {"message-offer", 196, offer},
    {"message-rescind-offer", 12, rescind},
    {"message-request-offers", 8, request_offers},
    {"message-all-offers-delivered", 8, all_offers},
    {"message-open", 148, open_channel},
    {"message-open-result", 20, open_result},
    {"message-close", 12, close_channel},
    {"message-gpadl-header", 52, gpadl_header},
    {"message-gpadl-header-full", 236, gpadl_header_full},
    {"message-gpadl-body", 32, gpadl_body},
    {"message-gpadl-created", 20, gpadl_created},
    {"message-gpadl-teardown", 16, gpadl_teardown},
    {"message-gpadl-torndown", 12, gpadl_torndown},
    {"message-relid-released", 12, relid_released},
    {"message-initiate-contact", 40, initiate_contact},
    {"message-initiate-contact-v5", 40, initiate_contact_v5},
    {"message-version-response", 16, version_response},
    {"message-unload", 8, unload},
    {"message-unload-complete", 8, unload_complete},
    {"message-modify-channel", 16, modify_channel},
    {"message-modify-channel-result", 16, modify_channel_result},
    {"guid-classes", 64, guids},
    {"monitor-page", 4096, monitor_page},
    {"ring-control", 4096, ring_control},
    {"ring-inband", 40, ring_inband},
    {"ring-completion", 32, ring_completion},
    {"ring-gpa-direct-one-page", 56, ring_gpa_one_page},
    {"ring-gpa-direct-pages", 72, ring_gpa_pages},
    {"ring-gpa-direct-ranges", 72, ring_gpa_ranges},
    {"ring-transfer-pages", 56, ring_transfer_pages},
    {"sock-hello", 64, sock_hello},
    {"sock-memory-add", 32, sock_memory_add},
    {"sock-memory-remove", 32, sock_memory_remove},
    {"sock-memory-result", 24, sock_memory_result},
    {"sock-message", 28, sock_message},
    {"sock-goodbye", 20, sock_goodbye},
};

static void test_wire_layouts(void)
{
    wire_check_layouts(layouts, HV_TEST_COUNT(layouts));
}

static void test_wire_covered(void)
{
    static const char *const prefixes[] = {"message-", "guid-", "monitor-", "ring-", "sock-", NULL};

    wire_check_all_covered(prefixes, layouts, HV_TEST_COUNT(layouts));
}

/** The loader itself: a vector that is half read would prove little. */
static void test_wire_vector_files(void)
{
    static const struct {
        const char *name, *text;
        ssize_t want;
    } rows[] = {
        {"empty", "", 0},
        {"comment", "# 01 02\n", 0},
        {"bytes", "01 ff\n00 # 11\n", 3},
        {"no line end", "01", 1},
        {"zeroes", "01 @8 02\n", 9},
        {"zeroes up to here", "01 @1 02\n", 2},
        {"back", "01 02 @1\n", -EINVAL},
        {"one digit", "1\n", -EINVAL},
        {"three digits", "012\n", -EINVAL},
        {"no hex", "0g\n", -EINVAL},
        {"sign", "-1\n", -EINVAL},
        {"offset without digits", "@\n", -EINVAL},
        {"offset no hex", "@1g\n", -EINVAL},
        {"full", "@10\n", 16},
        {"too many", "@10 01\n", -ENOSPC},
        {"too many zeroes", "@11\n", -ENOSPC},
    };

    for (size_t i = 0; i < HV_TEST_COUNT(rows); i++) {
        char path[] = "/tmp/hv-vector-XXXXXX";
        int fd = mkstemp(path);
        uint8_t bytes[16];

        CU_ASSERT(fd >= 0 && write(fd, rows[i].text, strlen(rows[i].text)) >= 0);
        HV_CHECK_ROW(rows[i].name,
                     hv_test_vector_load_file(path, bytes, sizeof(bytes)) == rows[i].want);
        if (fd >= 0) {
            close(fd);
            (void)unlink(path);
        }
    }
    CU_ASSERT(hv_test_vector_load("no-such-vector", NULL, 0) == -ENOENT);
}

static const struct hv_test_case cases[] = {
    {"layouts", test_wire_layouts},
    {"all vectors are used", test_wire_covered},
    {"vector files", test_wire_vector_files},
};

int main(int argc, char **argv)
{
    return hv_test_main("wire", cases, HV_TEST_COUNT(cases), argc, argv);
}
